"""Audio files to mono waveforms, and waveforms to segments.

A track is decoded once and whole with soundfile (m4a and the like by ffmpeg, where it is
installed), mixed to mono as the mean of its channels, resampled once with soxr, and then cut.
Nothing is ever padded: padding changes what an encoder sees (group normalisation runs over the
time axis). A file that is damaged, empty or too short is an `AudioError` that names it.

Conventions: waveforms are float32 in the file's own scale (full scale is 1), shape (samples,);
sample rates are in Hz, times in seconds. A segment starts where the one before it ends; a rest
shorter than a segment is left out; a track shorter than one segment is one shorter segment.
"""

import contextlib
import io
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from mer_utils.data.types import Dataset
from mer_utils.progress import progress_bar

NEEDS_FFMPEG = (".m4a", ".mp4", ".aac", ".wma", ".webm", ".ac3", ".mka")
MINIMUM_SECONDS = 1.0  # less music than this says nothing about its mood
SILENCE = 1e-4  # peak amplitude, -80 dB of full scale
_BLOCK = 2**20  # frames decoded at a time


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file, what is wrong, the mend."""


def read(
    path: str | Path, sample_rate: int, minimum_seconds: float = MINIMUM_SECONDS
) -> np.ndarray:
    """Decode a whole file to mono at one sample rate.

    path: the audio file; 1 or more channels, any sample rate.
    sample_rate: the wanted rate, Hz.
    minimum_seconds: a shorter file is an error; 0 allows every file that is not empty.
    Returns the waveform, float32 (samples,); resampled with soxr's quality "HQ".
    Raises AudioError, naming the file, if it is missing, of an unknown format, damaged, cut short
    (where its header says how long it should be), empty, too short, or holds values that are not
    finite. A silent file is read; `check` lists it.
    """
    waveform, own_rate = _load(Path(path), minimum_seconds)
    if own_rate == sample_rate:
        return waveform
    return soxr.resample(waveform, own_rate, sample_rate, quality="HQ")


def segments(waveform: np.ndarray, sample_rate: int, seconds: float) -> np.ndarray:
    """Cut a waveform (samples,) into equal segments of so many seconds, rounded to whole samples.

    Returns a view of it, (segments, samples of one segment).
    Raises ValueError for a waveform that is empty or not mono, or segments below one sample.
    """
    if waveform.ndim != 1:
        raise ValueError(f"a waveform is mono, of shape (samples,), not {waveform.shape}")
    length = min(round(seconds * sample_rate), len(waveform))
    if length < 1:
        raise ValueError(
            f"nothing to cut: a waveform of {len(waveform)} samples, segments of {seconds} s at "
            f"{sample_rate} Hz; both need at least one sample"
        )
    count = len(waveform) // length
    return waveform[: count * length].reshape(count, length)


def check(
    dataset: Dataset, minimum_seconds: float = MINIMUM_SECONDS, threads: int | None = None
) -> pd.DataFrame:
    """Decode every audio file of a dataset and list those that cannot be used.

    minimum_seconds: as for `read`. threads: how many at once; by default one a CPU core.
    Returns one row a bad file, indexed by track: audio (path), problem (text): all that `read`
    refuses, and silent files (peak below -80 dB). Tracks whose path is None are not looked at. To
    go on without the bad: `dataclasses.replace(dataset, tracks=dataset.tracks.drop(bad.index))`.
    """

    def problem(path: str) -> str:
        try:
            waveform, _ = _load(Path(path), minimum_seconds)
        except AudioError as error:
            return str(error).removeprefix(f"{path}: ")
        peak = np.abs(waveform).max()
        return f"silent (peak {peak:.1g}, full scale is 1)" if peak < SILENCE else ""

    paths = dataset.tracks["audio"].dropna()
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        found = pool.map(problem, paths)
        bar = progress_bar(found, total=len(paths), desc=f"check {dataset.name}", unit="file")
        table = pd.DataFrame({"audio": paths, "problem": list(bar)}, index=paths.index)
    return table[table["problem"] != ""]


def _load(path: Path, minimum_seconds: float) -> tuple[np.ndarray, int]:
    """A file decoded, mixed to mono and checked: waveform (samples,) and its own sample rate."""
    waveform, sample_rate = _decode(path)
    if not len(waveform):
        raise AudioError(f"{path}: the file has no samples; get it again")
    seconds = len(waveform) / sample_rate
    if seconds < minimum_seconds:
        raise AudioError(
            f"{path}: {seconds:.2f} s long, at least {minimum_seconds:g} s are needed; leave it "
            "out or lower minimum_seconds"
        )
    bad = np.count_nonzero(~np.isfinite(waveform))
    if bad:
        raise AudioError(
            f"{path}: {bad} of {len(waveform)} samples are not finite numbers; convert it again"
        )
    return waveform, sample_rate


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode and mix a whole file: waveform (samples,) and its sample rate."""
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    if not path.stat().st_size:
        raise AudioError(f"{path}: the file is empty (0 bytes); get it again")
    if path.suffix.lower() in NEEDS_FFMPEG:
        return _decode_by_ffmpeg(path)
    try:
        with soundfile.SoundFile(path) as file:
            sample_rate, announced, kind = file.samplerate, file.frames, file.format
            waveform = _mono(path, file)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        reason = getattr(error, "error_string", error)  # without the path, which is said already
        raise AudioError(
            f"{path}: not readable as audio ({reason}); get it again or convert it to flac, wav, "
            "ogg, opus or mp3"
        ) from error
    if kind == "MP3":
        if not _mp3_tells_its_length(path):
            # libsndfile then guesses the length from the first frames' bit rate and stops there.
            if len(waveform) >= announced:
                waveform = _decode_piped(path)
        elif len(waveform) < announced - sample_rate:
            raise AudioError(
                f"{path}: ends after {len(waveform) / sample_rate:.1f} of "
                f"{announced / sample_rate:.1f} s; the file is cut short, get it again"
            )
    return waveform, sample_rate


def _decode_by_ffmpeg(path: Path) -> tuple[np.ndarray, int]:
    """Decode what libsndfile does not read, by the program ffmpeg if it is on this machine."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{path}: {path.suffix} is read by ffmpeg, which is not on this machine; install it, "
            f"or convert the file elsewhere: ffmpeg -i {path.name} {path.stem}.flac"
        )
    command = [program, "-v", "error", "-nostdin", "-i", str(path), "-vn", "-f", "au"]
    command += ["-c:a", "pcm_f32be", "pipe:1"]  # AU needs no length in its header, unlike WAV
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise AudioError(f"{path}: ffmpeg cannot read it ({reason}); get it again")
    with soundfile.SoundFile(io.BytesIO(done.stdout)) as file:
        return _mono(path, file), file.samplerate


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


def _mp3_tells_its_length(path: Path) -> bool:
    """Whether an mp3 begins with a Xing, Info or VBRI header, which hold its number of frames."""
    with open(path, "rb") as file:
        start = file.read(10)
        size = 0
        if start[:3] == b"ID3" and len(start) == 10:
            # An ID3v2 tag comes first; its size is given in four bytes of seven bits.
            size = 10 + sum(x << shift for x, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
        file.seek(size)
        first_frame = file.read(2048)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _decode_piped(path: Path) -> np.ndarray:
    """Decode a file through a pipe, where libsndfile cannot guess a length and reads to the end."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        # If the reader gives up, it raises the error; here it only breaks the pipe.
        with contextlib.suppress(BrokenPipeError), open(write_end, "wb") as pipe:
            pipe.write(path.read_bytes())

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    with soundfile.SoundFile(read_end) as file:
        waveform = _mono(path, file)
    feeder.join()
    return waveform


def loudness(samples: np.ndarray) -> float:
    """Root mean square of samples in dB relative to full scale; silence is -120."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
