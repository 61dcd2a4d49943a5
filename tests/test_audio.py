"""Audio: what is read, what is refused, how it is cut."""

import re
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_utils.data import Dataset
from mer_utils.sound import AudioError, audio


def tone(sample_rate: int, seconds: float, channels: int = 1, hertz: float = 440) -> np.ndarray:
    """A sine of amplitude 0.5 in every channel: (frames, channels)."""
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    wave = 0.5 * np.sin(2 * np.pi * hertz * time).astype(np.float32)
    return np.repeat(wave[:, None], channels, axis=1)


def loudest_hertz(waveform: np.ndarray, sample_rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * sample_rate / len(waveform)


@pytest.mark.parametrize(
    ("file_format", "sample_rate", "channels"),
    [("WAV", 8_000, 1), ("FLAC", 96_000, 3), ("OGG", 22_050, 2), ("MP3", 44_100, 2)],
)
def test_every_format_rate_and_number_of_channels(tmp_path, file_format, sample_rate, channels):
    path = tmp_path / "tone.audio"
    soundfile.write(path, tone(sample_rate, 2, channels), sample_rate, format=file_format)
    waveform = audio.read(path, 24_000)
    assert waveform.dtype == np.float32
    assert waveform.shape == (48_000,)
    assert loudest_hertz(waveform, 24_000) == pytest.approx(440, abs=1)
    middle = waveform[10_000:38_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_long_files_are_read_whole_as_the_mean_of_their_channels(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).uniform(-1, 1, (24_000, 4)).astype(np.float32)
    soundfile.write(tmp_path / "four.wav", noise, 24_000, subtype="FLOAT")
    monkeypatch.setattr(audio, "_BLOCK", 1_000)
    read = audio.read(tmp_path / "four.wav", 24_000)  # its own rate: not resampled
    np.testing.assert_allclose(read, noise.mean(axis=1), atol=1e-6)


def test_variable_bit_rate_mp3_without_a_length_is_read_to_its_end(tmp_path):
    """libsndfile guesses such a file's length and alone would stop after a fifth of it."""
    noise = np.random.default_rng(0).normal(0, 0.3, 44_100 * 5)
    quiet = 1e-3 * np.sin(np.arange(44_100 * 10) * 0.05)
    path, options = tmp_path / "a.mp3", {"bitrate_mode": "VARIABLE", "compression_level": 0.9}
    soundfile.write(path, np.concatenate([noise, quiet]), 44_100, **options)
    data = path.read_bytes()
    assert b"Xing" in data[:200]
    path.write_bytes(data[data.find(b"\xff\xfb", 4) :])  # from the second frame on
    assert soundfile.info(path).frames < 44_100 * 10
    before = threading.active_count()
    assert len(audio.read(path, 44_100)) == pytest.approx(44_100 * 15, abs=3_000)
    assert threading.active_count() == before


def bad_files(folder: Path) -> dict[str, str]:
    """Bad files by name, and what the error has to say."""
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100 * 4)
    for name in ("good.mp3", "good.flac"):
        soundfile.write(folder / name, noise, 44_100)
    mp3, flac = (folder / "good.mp3").read_bytes(), (folder / "good.flac").read_bytes()
    third, half = len(mp3) // 3, len(mp3) // 2
    (folder / "cut.mp3").write_bytes(mp3[:half])
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "holed.mp3").write_bytes(mp3[:third] + bytes(half - third) + mp3[half:])
    (folder / "empty.mp3").touch()
    (folder / "page.mp3").write_text("<html>404 not found</html>")
    (folder / "song.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(2_000))
    soundfile.write(folder / "short.wav", noise[:22_050], 44_100)
    with_nan = np.where(np.arange(len(noise)) < 10, np.nan, noise)
    soundfile.write(folder / "nan.wav", with_nan, 44_100, subtype="FLOAT")
    return {
        "cut.mp3": "cut short",
        "cut.flac": "damaged",
        "holed.mp3": "damaged",
        "empty.mp3": "empty",
        "page.mp3": "not readable",
        "song.m4a": "ffmpeg",
        "short.wav": "0.50 s",
        "nan.wav": "10 of 176400",
        "absent.mp3": "no such file",
    }


def test_bad_files_are_errors_that_name_them_and_check_lists_them_all(tmp_path):
    bad = bad_files(tmp_path)
    for name, said in bad.items():
        with pytest.raises(AudioError, match=re.escape(said)) as caught:
            audio.read(tmp_path / name, 24_000)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    bad |= {"silent.wav": "silent"}
    soundfile.write(tmp_path / "silent.wav", np.full(88_200, 1e-5), 44_100)
    paths = [str(tmp_path / name) for name in (*bad, "good.mp3", "good.flac")]
    columns = {"audio": [*paths, None], "labels": [()] * 13, "split": None, "group": "g"}
    tracks = pd.DataFrame(columns, index=pd.Index([*bad, "a", "b", "c"], name="track"))
    found = audio.check(Dataset("test", ("sad",), tracks))
    assert list(found.index) == list(bad)
    assert list(found["audio"]) == paths[: len(bad)]
    for name, said in bad.items():
        assert said in found.loc[name, "problem"]
        assert str(tmp_path) not in found.loc[name, "problem"]


@settings(deadline=None)
@given(
    samples=st.integers(1, 500),
    sample_rate=st.integers(1, 50),
    seconds=st.floats(0.1, 20),
)
def test_segments_are_equal_whole_and_without_gaps(samples, sample_rate, seconds):
    length = round(seconds * sample_rate)
    if length == 0:
        return
    wave = np.arange(samples)
    cut = audio.segments(wave, sample_rate, seconds)
    np.testing.assert_array_equal(cut.ravel(), wave[: cut.size])
    assert cut.base is not None  # a view: nothing is copied
    assert cut.shape[1] == min(length, samples)
    assert samples - cut.size < length
