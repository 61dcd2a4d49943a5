"""Audio: what is read, what is refused, how it is cut."""

import os
import re
import struct
import threading
import wave

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from sounds import dataset_of

from mer_utils.sound import AudioError, audio


@pytest.mark.parametrize(
    ("file_format", "sample_rate", "channels"),
    [("WAV", 8_000, 1), ("FLAC", 96_000, 3), ("OGG", 22_050, 2), ("MP3", 44_100, 2)],
)
def test_every_format_rate_and_number_of_channels(tmp_path, file_format, sample_rate, channels):
    """A sine of 440 Hz and amplitude 0.5 in every channel."""
    path = tmp_path / "tone.audio"
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * sample_rate) / sample_rate)
    soundfile.write(path, np.repeat(sine[:, None], channels, 1), sample_rate, format=file_format)
    waveform = audio.read(path, 24_000)
    assert waveform.dtype == np.float32
    assert waveform.shape == (48_000,)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(48_000)))  # a bin is half a hertz
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=1)
    middle = waveform[10_000:38_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_stretches_are_the_bits_of_the_whole_and_the_mean_of_the_channels(tmp_path, monkeypatch):
    path, generator = tmp_path / "four.wav", np.random.default_rng(0)
    channels = generator.uniform(-1, 1, (270_000, 4)).astype(np.float32)  # three stretches
    soundfile.write(path, channels, 44_100, subtype="FLOAT")
    monkeypatch.setattr(audio, "_BLOCK", 10_000)
    monkeypatch.setattr(audio, "_STRETCH", 2)
    whole = audio.read(path, 44_100)  # its own rate: not resampled
    np.testing.assert_allclose(whole, channels.mean(axis=1), atol=1e-6)
    stretches = list(audio.stream(path, 16_000))
    assert len(stretches) == 4
    resampled = soxr.resample(whole, 44_100, 16_000, quality="HQ")
    np.testing.assert_array_equal(np.concatenate(stretches), resampled)


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


def test_bad_files_are_errors_that_name_them_and_check_lists_them_all(tmp_path):
    noise, good = np.random.default_rng(0).normal(0, 0.1, 44_100 * 4), ("good.mp3", "good.flac")
    for name in good:
        soundfile.write(tmp_path / name, noise, 44_100)
    mp3, flac = ((tmp_path / name).read_bytes() for name in good)
    third, half = len(mp3) // 3, len(mp3) // 2
    written = {
        "cut.mp3": (mp3[:half], "cut short"),
        "cut.flac": (flac[: len(flac) // 2], "damaged"),
        "holed.mp3": (mp3[:third] + bytes(half - third) + mp3[half:], "damaged"),
        "empty.mp3": (b"", "empty"),
        "page.mp3": (b"<html>404 not found</html>", "not readable"),
        "song.m4a": (b"\0\0\0 ftypM4A " + bytes(2_000), "ffmpeg"),
    }
    for name, (content, _) in written.items():
        (tmp_path / name).write_bytes(content)
    soundfile.write(tmp_path / "short.wav", noise[:22_050], 44_100)
    noise[:5], noise[5:10] = np.nan, 1e11
    soundfile.write(tmp_path / "nan.wav", noise, 44_100, subtype="FLOAT")
    bad = {name: said for name, (_, said) in written.items()}
    bad |= {"short.wav": "0.50 s", "nan.wav": "10 of 176400", "absent.mp3": "no such file"}
    for name, said in bad.items():
        with pytest.raises(AudioError, match=re.escape(said)) as caught:
            audio.read(tmp_path / name, 24_000)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
    bad |= {"silent.wav": "silent"}
    soundfile.write(tmp_path / "silent.wav", np.full(88_200, 1e-5), 44_100)
    paths = [str(tmp_path / name) for name in (*bad, *good)]
    found = audio.check(dataset_of([*paths, None], [*bad, "a", "b", "c"]))
    assert list(found.index) == list(bad)
    assert list(found["audio"]) == paths[: len(bad)]
    for name, said in bad.items():
        assert said in found.loc[name, "problem"]
        assert str(tmp_path) not in found.loc[name, "problem"]


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *[(x, None) for x in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "MP3")],
        ("WAV", "FLOAT"),
        ("WAV", "IMA_ADPCM"),
        ("AIFF", "ULAW"),
    ],
)
def test_a_file_that_ends_before_its_header_says_is_an_error(tmp_path, kind, subtype):
    path, noise = tmp_path / "song", np.random.default_rng(0).normal(0, 0.1, (44_100 * 4, 2))
    soundfile.write(path, noise, 44_100, format=kind, subtype=subtype)
    assert len(audio.read(path, 16_000)) == pytest.approx(64_000, abs=1_000)
    whole = path.read_bytes()
    for part in (1 / 3, 2 / 3):
        path.write_bytes(whole[: round(len(whole) * part)])
        with pytest.raises(AudioError, match="song"):
            audio.read(path, 16_000)


def test_headers_of_honest_writers_are_believed(tmp_path):
    """Sizes that a pipe's writer could not know, an odd chunk, long comments, an ID3 tag, aifc."""
    path, samples = tmp_path / "song.wav", np.arange(32_000, dtype="<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    whole = path.read_bytes()
    head, data = whole[8:36], whole[44:]
    sizes = [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000]
    written = [(min(n + 36, 2**32 - 1), head, n, data) for n in sizes]
    comment = (
        b"LIST" + struct.pack("<I", 5_004) + b"INFO" + (b"ICMT" + b"\x5c\0\0\0" + bytes(92)) * 50
    )
    odd = b"junk" + struct.pack("<I", 3) + b"abc\0"
    written += [(len(whole) - 8 + len(x), head + x, len(data), data) for x in (comment, odd)]
    written += [(len(whole) - 8, head, len(data), data + b"ID3\3\0\0\0\0\0\x0a" + bytes(10))]
    for riff, head, size, data in written:
        start = b"RIFF" + struct.pack("<I", riff) + head + b"data" + struct.pack("<I", size)
        path.write_bytes(start + data)
        np.testing.assert_array_equal(audio.read(path, 16_000)[:32_000] * 2**15, samples)
    form = b"AIFCCOMM\0\0\0\x18\0\1\0\0\x7d\0\0\x10\x40\x0c\xfa" + bytes(7) + b"NONE\0\0"
    form += b"SSND" + struct.pack(">I", 64_008) + bytes(8) + samples.astype(">i2").tobytes()
    path.write_bytes(b"FORM" + struct.pack(">I", len(form)) + form)
    np.testing.assert_array_equal(audio.read(path, 16_000) * 2**15, samples)


def test_what_no_song_is_is_refused_before_it_is_read(tmp_path):
    """A rate or number of channels that would take gigabytes, a pipe that would never end."""
    for name, rate, channels, kind in (
        ("slow", 1, 1, "WAV"),
        ("fast", 2_000_000, 1, "WAV"),
        ("wide", 8_000, 65, "WAV"),
        ("creative", 8_000, 1, "VOC"),
    ):
        soundfile.write(tmp_path / name, np.zeros((9_000, channels)), rate, format=kind)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "itself").symlink_to("itself")
    for name in ("slow", "fast", "wide", "creative", "pipe", "itself", ".", "x" * 300, "nul\0"):
        with pytest.raises(AudioError):
            audio.read(tmp_path / name, 16_000)
    with pytest.raises(AudioError, match=re.escape("a\\nb\\x1b")):
        audio.read(tmp_path / "a\nb\x1b", 16_000)


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    length=st.integers(1, 8),
    hop=st.integers(1, 12),
    to_end=st.booleans(),
)
def test_windows_are_those_of_the_whole_wherever_it_was_cut(lengths, length, hop, to_end):
    wave = np.arange(sum(lengths), dtype=np.float32)
    stretches = np.split(wave, np.cumsum(lengths)[:-1])
    starts, cut, ends = zip(*audio.windows(stretches, length, hop, to_end), strict=True)
    found = np.concatenate(starts).tolist()
    expected = list(range(0, max(1, len(wave) - length + 1), hop))
    last = len(wave) - length
    assert found == expected + [last] * (to_end and expected[-1] < last)
    assert ends[-1] == len(wave)
    for start, window in zip(found, (row for part in cut for row in part), strict=True):
        np.testing.assert_array_equal(window, wave[start : start + length])


@given(samples=st.integers(1, 500), length=st.integers(1, 600))
def test_segments_are_equal_whole_and_without_gaps(samples, length):
    wave = np.arange(samples)
    cut = audio.segments(wave, 50, length / 50)
    np.testing.assert_array_equal(cut.ravel(), wave[: cut.size])
    assert cut.base is not None  # a view: nothing is copied
    assert cut.shape[1] == min(length, samples)
    assert samples - cut.size < length
