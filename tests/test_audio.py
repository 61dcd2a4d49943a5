"""Audio: what is read, what is refused, how it is cut."""

import os
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
    ("file_format", "subtype", "sample_rate", "channels"),
    [
        ("WAV", "PCM_16", 8_000, 1),
        ("WAV", "FLOAT", 192_000, 2),
        ("WAV", "PCM_24", 44_100, 6),
        ("FLAC", "PCM_16", 96_000, 3),
        ("OGG", "VORBIS", 22_050, 2),
        ("OGG", "OPUS", 48_000, 2),
        ("MP3", "MPEG_LAYER_III", 44_100, 2),
        ("MP3", "MPEG_LAYER_III", 16_000, 1),
    ],
)
def test_every_format_rate_and_number_of_channels(
    tmp_path, file_format, subtype, sample_rate, channels
):
    path = tmp_path / "tone.audio"
    soundfile.write(
        path, tone(sample_rate, 2, channels), sample_rate, format=file_format, subtype=subtype
    )
    waveform = audio.read(path, 24_000)
    assert waveform.dtype == np.float32
    assert waveform.shape == (48_000,)
    assert loudest_hertz(waveform, 24_000) == pytest.approx(440, abs=1)
    middle = waveform[10_000:38_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_mono_is_the_mean_of_the_channels_and_the_own_rate_is_not_resampled(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, (24_000, 4)).astype(np.float32)
    soundfile.write(tmp_path / "four.wav", noise, 24_000, subtype="FLOAT")
    read = audio.read(tmp_path / "four.wav", 24_000)
    np.testing.assert_allclose(read, noise.mean(axis=1), atol=1e-6)


def test_files_longer_than_a_block_are_read_whole(tmp_path, monkeypatch):
    wave = tone(8_000, 3)
    soundfile.write(tmp_path / "long.flac", wave, 8_000)
    whole = audio.read(tmp_path / "long.flac", 8_000)
    monkeypatch.setattr(audio, "_BLOCK", 1_000)
    np.testing.assert_array_equal(audio.read(tmp_path / "long.flac", 8_000), whole)
    assert len(whole) == 24_000


def test_variable_bit_rate_mp3_without_a_length_is_read_to_its_end(tmp_path):
    """libsndfile guesses such a file's length and alone would stop after a fifth of it."""
    noise = np.random.default_rng(0).normal(0, 0.3, 44_100 * 5)
    quiet = 1e-3 * np.sin(np.arange(44_100 * 10) * 0.05)
    with_length, without = tmp_path / "with.mp3", tmp_path / "without.mp3"
    soundfile.write(
        with_length,
        np.concatenate([noise, quiet]),
        44_100,
        bitrate_mode="VARIABLE",
        compression_level=0.9,
    )
    data = with_length.read_bytes()
    assert b"Xing" in data[:200]
    without.write_bytes(data[data.find(b"\xff\xfb", 4) :])  # from the second frame on
    with soundfile.SoundFile(without) as file:
        assert file.frames < 44_100 * 10
    before = threading.active_count()
    assert len(audio.read(without, 44_100)) == pytest.approx(44_100 * 15, abs=3_000)
    assert threading.active_count() == before


def bad_files(folder: Path) -> dict[str, str]:
    """Bad files by name, and what the error has to say."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 44_100 * 4)
    good_mp3, good_flac = folder / "good.mp3", folder / "good.flac"
    soundfile.write(good_mp3, noise, 44_100)
    soundfile.write(good_flac, noise, 44_100)
    mp3, flac = good_mp3.read_bytes(), good_flac.read_bytes()
    holed = bytearray(mp3)
    holed[len(mp3) // 3 : len(mp3) // 2] = bytes(len(mp3) // 2 - len(mp3) // 3)

    (folder / "cut.mp3").write_bytes(mp3[: len(mp3) // 2])
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "holed.mp3").write_bytes(holed)
    (folder / "empty.mp3").touch()
    (folder / "page.mp3").write_text("<html>404 not found</html>")
    (folder / "headless.raw").write_bytes(bytes(1_000))
    soundfile.write(folder / "nothing.wav", np.zeros((0, 2)), 44_100)
    soundfile.write(folder / "short.wav", noise[:22_050], 44_100)
    with_nan = noise.astype(np.float32)
    with_nan[100:110] = np.nan
    soundfile.write(folder / "nan.wav", with_nan, 44_100, subtype="FLOAT")
    return {
        "cut.mp3": "cut short",
        "cut.flac": "damaged",
        "holed.mp3": "damaged",
        "empty.mp3": "empty (0 bytes)",
        "page.mp3": "not readable as audio",
        "headless.raw": "not readable as audio",
        "nothing.wav": "no samples",
        "short.wav": "0.50 s long",
        "nan.wav": "10 of 176400 samples",
        "absent.mp3": "no such file",
    }


def test_bad_files_are_errors_that_name_them(tmp_path):
    for name, said in bad_files(tmp_path).items():
        with pytest.raises(AudioError, match=re.escape(said)) as caught:
            audio.read(tmp_path / name, 24_000)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_minimum_seconds_can_be_lowered(tmp_path):
    soundfile.write(tmp_path / "short.wav", tone(24_000, 0.25), 24_000)
    assert len(audio.read(tmp_path / "short.wav", 24_000, minimum_seconds=0)) == 6_000


def dataset_of(paths: dict[str, str | None]) -> Dataset:
    columns = {"audio": list(paths.values()), "labels": [()] * len(paths), "split": None}
    index = pd.Index(list(paths), name="track", dtype=object)
    return Dataset("test", ("sad",), pd.DataFrame(columns | {"group": "g"}, index=index))


def test_check_lists_every_bad_file_and_no_good_one(tmp_path):
    expected = bad_files(tmp_path) | {"silent.wav": "silent"}
    soundfile.write(tmp_path / "silent.wav", np.full(88_200, 1e-5), 44_100)
    paths = {name: str(tmp_path / name) for name in [*expected, "good.mp3", "good.flac"]}
    bad = audio.check(dataset_of(paths | {"labels only": None}), threads=2)
    assert list(bad.index) == list(expected)
    assert list(bad["audio"]) == [paths[name] for name in expected]
    for name, said in expected.items():
        assert said in bad.loc[name, "problem"]
        assert str(tmp_path) not in bad.loc[name, "problem"]


def test_segments_by_hand():
    wave = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(audio.segments(wave, 2, 2), [[0, 1, 2, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(audio.segments(wave, 2, 60), [wave])


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


@pytest.mark.parametrize(
    ("shape", "seconds", "message"),
    [
        (0, 1, "nothing to cut"),
        (100, 0.001, "nothing to cut"),
        (100, -1, "nothing to cut"),
        ((100, 2), 1, "mono"),
    ],
)
def test_what_cannot_be_cut_is_an_error(shape, seconds, message):
    with pytest.raises(ValueError, match=message):
        audio.segments(np.zeros(shape), 100, seconds)


@pytest.mark.real_data
def test_real_mp3_and_the_same_cut_short(emotify_root, tmp_path):
    """Emotify's mp3s hold no length, so a part of one is simply a shorter track."""
    path = min((emotify_root / "emotifymusic").rglob("*.mp3"))
    waveform = audio.read(path, 24_000)
    assert 59 < len(waveform) / 24_000 < 61
    assert audio.segments(waveform, 24_000, 10).shape in [(5, 240_000), (6, 240_000)]
    data = path.read_bytes()
    (tmp_path / "part.mp3").write_bytes(data[: len(data) // 2])
    part = audio.read(tmp_path / "part.mp3", 24_000)
    assert 28 < len(part) / 24_000 < 31
    np.testing.assert_allclose(part[: 20 * 24_000], waveform[: 20 * 24_000], atol=1e-5)
    (tmp_path / "scrap.mp3").write_bytes(data[:3_000])
    with pytest.raises(AudioError, match=r"scrap\.mp3"):
        audio.read(tmp_path / "scrap.mp3", 24_000)


# --- by ffmpeg


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch) -> Path:
    """A program of that name that writes two channels of 0.25 and 0.75, as AU, or fails."""
    sound = tmp_path / "sound.au"
    waveform = np.tile([0.25, 0.75], (16_000, 1))
    soundfile.write(sound, waveform, 16_000, format="AU", subtype="FLOAT", endian="BIG")
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *broken*) echo "Invalid data" >&2; exit 1;; esac\ncat {sound}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_what_soundfile_does_not_read_is_read_by_ffmpeg(ffmpeg, tmp_path):
    song = tmp_path / "song.m4a"
    song.write_bytes(b"aac")
    waveform = audio.read(song, 16_000)
    assert waveform.shape == (16_000,)
    np.testing.assert_allclose(waveform, 0.5, atol=1e-6)


def test_what_ffmpeg_cannot_read_is_named(ffmpeg, tmp_path):
    (tmp_path / "broken.wma").write_bytes(b"x")
    with pytest.raises(AudioError, match=r"broken\.wma: .*Invalid data"):
        audio.read(tmp_path / "broken.wma", 16_000)


def test_without_ffmpeg_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "song.m4a").write_bytes(b"aac")
    with pytest.raises(AudioError, match=r"ffmpeg -i song\.m4a song\.flac"):
        audio.read(tmp_path / "song.m4a", 16_000)
