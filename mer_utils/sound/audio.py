"""Audio files to mono waveforms, and waveforms to segments.

A track is decoded once and whole with soundfile, mixed to mono as the mean of its channels,
resampled once with soxr, and then cut. Nothing is ever padded: padding changes what an encoder sees
(group normalisation runs over the time axis).

Conventions: waveforms are float32 in the file's own scale (full scale is 1), shape (samples,);
sample rates are in Hz, times in seconds. A segment starts where the one before it ends; a rest
shorter than a segment is left out; a track shorter than one segment is one shorter segment.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from mer_utils.data.types import Dataset
from mer_utils.progress import progress_bar

MINIMUM_SECONDS = 1.0  # less music than this says nothing about its mood
SILENCE = 1e-4  # peak amplitude, -80 dB of full scale
_BLOCK = 2**20  # frames decoded at a time


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file, what is wrong, the mend."""


def read(
    path: str | Path, sample_rate: int, minimum_seconds: float = MINIMUM_SECONDS
) -> np.ndarray:
    """Decode a whole file, of any number of channels and any rate, to mono at one sample rate.

    minimum_seconds: a shorter file is an error; 0 allows every file that is not empty.
    Returns the waveform, float32 (samples,); resampled with soxr's quality "HQ".
    Raises AudioError for a file that is missing, unreadable, cut short, too short or not finite.
    """
    waveform, own_rate = _load(Path(path), minimum_seconds)
    if own_rate == sample_rate:
        return waveform
    return soxr.resample(waveform, own_rate, sample_rate, quality="HQ")


def segments(waveform: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Cut a waveform (samples,) into equal segments of so many seconds: (segments, samples).

    A view of it. Raises ValueError for one that is empty or not mono, or too short segments.
    """
    length = min(round(seconds * sample_rate), len(waveform))
    if waveform.ndim != 1 or length < 1:
        raise ValueError(f"nothing to cut: no {seconds} s at {sample_rate} Hz in {waveform.shape}")
    count = len(waveform) // length
    return waveform[: count * length].reshape(count, length)


def check(dataset: Dataset) -> pd.DataFrame:
    """Decode every audio file of a dataset and list those that cannot be used.

    Returns one row a bad file, indexed by track: audio (path), problem (text): all that `read`
    refuses, and silent files. To go on without:
    `dataclasses.replace(dataset, tracks=dataset.tracks.drop(bad.index))`.
    """

    def problem(path: str) -> str:
        try:
            waveform, _ = _load(Path(path), MINIMUM_SECONDS)
        except AudioError as error:
            return str(error).removeprefix(f"{path}: ")
        peak = np.abs(waveform).max()
        return f"silent (peak {peak:.1g}, full scale is 1)" if peak < SILENCE else ""

    table = dataset.tracks[["audio"]].dropna()
    table["problem"] = for_each(problem, table["audio"], f"check {dataset.name}")
    return table[table["problem"] != ""]


def for_each(function: Callable, paths: pd.Series, description: str) -> list:
    """What a function gives for each path, one a CPU core at a time, with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(function, paths)
        return list(progress_bar(found, total=len(paths), desc=description, unit="file"))


def _load(path: Path, minimum_seconds: float) -> tuple[np.ndarray, int]:
    """A file decoded, mixed to mono and checked: waveform (samples,) and its own sample rate."""
    if not path.is_file() or not path.stat().st_size:
        raise AudioError(f"{path}: no such file, or an empty one; get it again")
    try:
        waveform, sample_rate = _decode(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = getattr(error, "error_string", error)  # without the path, which is said already
        raise AudioError(
            f"{path}: not readable as audio ({reason}); get it again, or convert it: "
            f"ffmpeg -i {path.name} {path.stem}.flac"
        ) from error
    seconds = len(waveform) / sample_rate
    if not len(waveform) or seconds < minimum_seconds:
        raise AudioError(f"{path}: {seconds:.2f} s long, at least {minimum_seconds:g} s are needed")
    if bad := np.count_nonzero(~np.isfinite(waveform)):
        raise AudioError(
            f"{path}: {bad} of {len(waveform)} samples are not finite; convert it again"
        )
    return waveform, sample_rate


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode and mix a whole file: waveform (samples,) and its sample rate."""
    with soundfile.SoundFile(path) as file:
        sample_rate, announced, kind = file.samplerate, file.frames, file.format
        waveform = _mono(path, file)
    if kind != "MP3":
        return waveform, sample_rate
    with _piped(path) as file:
        if not file.seekable():  # no header tells its length
            # libsndfile then guesses it from the first frames' bit rate and stops there.
            return _mono(path, file) if len(waveform) >= announced else waveform, sample_rate
    if len(waveform) < announced - sample_rate:
        seconds, whole = len(waveform) / sample_rate, announced / sample_rate
        raise AudioError(f"{path}: cut short, ends after {seconds:.1f} of {whole:.1f} s")
    return waveform, sample_rate


def _mono(path: Path, file: soundfile.SoundFile) -> np.ndarray:
    """The rest of an open file, mixed to mono: (samples,).

    In blocks until nothing comes, since a header's number of frames may be wrong or missing.
    """
    buffer = np.empty((_BLOCK, file.channels), dtype=np.float32)
    mix = np.full(file.channels, 1 / file.channels, dtype=np.float32)
    parts = [np.empty(0, dtype=np.float32)]
    while True:
        try:
            block = file.read(out=buffer)
        except soundfile.SoundFileError as error:
            seconds = sum(map(len, parts)) / file.samplerate
            raise AudioError(
                f"{path}: damaged somewhere after {seconds:.0f} s ({error}); get it again"
            ) from error
        if not len(block):
            return np.concatenate(parts)
        # Not block.mean(axis=1), which is ten times slower over so short an axis.
        parts.append(np.einsum("fc,c->f", block, mix))  # (frames, channels) -> (frames,)


@contextlib.contextmanager
def _piped(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file through a pipe, where libsndfile cannot guess a length and reads to the end."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        # If the reader gives up, it raises the error; here it only breaks the pipe.
        with contextlib.suppress(BrokenPipeError), open(write_end, "wb") as pipe:
            pipe.write(path.read_bytes())

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    with soundfile.SoundFile(read_end) as file:
        yield file
    feeder.join()


def loudness(samples: np.ndarray) -> float:
    """Root mean square of samples in dB relative to full scale; silence is -120."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
