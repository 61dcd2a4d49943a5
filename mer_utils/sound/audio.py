"""Audio files to mono waveforms, and waveforms to segments.

A track is decoded once with soundfile, mixed to mono as the mean of its channels, resampled once
with soxr, and then cut; `stream` and `windows` do so a stretch at a time, bit for bit as if it were
done at once, so that memory does not grow with a track. Nothing is ever padded: padding changes
what an encoder sees (group normalisation runs over the time axis).

`opened` is the one door: what is no file, has another format than FORMATS, or a rate or number of
channels that no recording has, goes no further. A file that ends before its header says is an
error. Ogg (Vorbis, Opus) and an mp3 without a header promise no length: of these, a part is a song.

Conventions: waveforms are float32 in the file's own scale (full scale is 1), shape (samples,);
sample rates are in Hz, times in seconds. A segment starts where the one before it ends; a rest
shorter than a segment is left out; a track shorter than one segment is one shorter segment.
"""

import contextlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from mer_utils.data.types import Dataset
from mer_utils.progress import printable, progress_bar

MINIMUM_SECONDS = 1.0  # less music than this says nothing about its mood
SILENCE = 1e-4  # peak amplitude, -80 dB of full scale
LOUDEST = 1e10  # amplitude whose square a float can hold
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3")
LEAST_RATE, MOST_RATE, MOST_CHANNELS = 1_000, 1_000_000, 64
MOST_WINDOWS = 10_000  # of one track: 25 hours in segments of 9 s
_BLOCK = 2**20  # frames decoded at a time, of up to four channels
_STRETCH = 600  # seconds that are handed on at a time
# What libsndfile notes of a file that has another length than its header says: RIFF : 900 (should
# be 300), FORM : …, Data Size : …
_CUT = re.compile(r": (\d+) \(should be (\d+)\)")


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file, what is wrong, the mend."""


def bad(path: str | Path, reason: str) -> AudioError:
    """What is wrong with a file, as an error that names it."""
    return AudioError(f"{printable(path)}: {reason}")


def file_state(path: str | Path) -> os.stat_result:
    """Size and times of a file that may be audio; AudioError for what is no file, or is empty."""
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise bad(path, f"no such file that can be read ({reason}); get it again") from error
    if not stat.S_ISREG(state.st_mode):  # a pipe would never end
        raise bad(path, "a folder, pipe, device or socket, expected a file; give an audio file")
    if not state.st_size:
        raise bad(path, "an empty file; get it again")
    return state


def opened(path: str | Path) -> soundfile.SoundFile:
    """Open an audio file; AudioError, before any sound is read, for what cannot be one."""
    path = Path(path)
    file_state(path)
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError, OSError, ValueError) as error:  # TypeError: a .raw
        reason = getattr(error, "error_string", error)  # without the path, which is said already
        if "regular file" in str(reason):  # libsndfile's word for an mp3 in which it finds nothing
            reason = "no audio in it"
        hint = f"ffmpeg -i {printable(path.name)} {printable(path.stem)}.flac"
        mend = f"{', '.join(FORMATS)} are read; get it again, or convert it: {hint}"
        raise bad(path, f"not readable as audio ({reason}); {mend}") from error
    rate, channels, kind, frames = file.samplerate, file.channels, file.format, file.frames
    fits = LEAST_RATE <= rate <= MOST_RATE and channels <= MOST_CHANNELS and frames < 2**62
    if kind in FORMATS and fits:
        return file
    file.close()
    most = f"{LEAST_RATE} to {MOST_RATE} Hz, at most {MOST_CHANNELS} channels and known length"
    found = f"{kind} of {rate} Hz, {channels} channels and {frames} frames"
    raise bad(path, f"{found}, expected one of {', '.join(FORMATS)} of {most}; convert it")


def read(path: str | Path, sample_rate: int) -> np.ndarray:
    """Decode a whole file, of any number of channels and any rate, to mono at one sample rate.

    Returns the waveform, float32 (samples,); resampled with soxr's quality "HQ".
    Raises AudioError for a file that is missing, unreadable, cut short, too short or not finite.
    """
    return np.concatenate(list(stream(path, sample_rate)))


def stream(
    path: str | Path, sample_rate: int | None, minimum_seconds: float = MINIMUM_SECONDS
) -> Iterator[np.ndarray]:
    """What `read` gives, in stretches of about ten minutes; sample_rate None is the file's own.

    minimum_seconds: a shorter file is an error; 0 allows every file that is not empty.
    Raises AudioError as `read`, perhaps after some stretches: these are then to be thrown away.
    """
    with opened(path) as file:
        own, parts, ready, length = file.samplerate, [], 0, 0
        rate = sample_rate or own
        # gives the same bits as for the whole waveform at once
        resampler = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ")
        for block in _decode(Path(path), file):
            if wrong := np.count_nonzero(~(np.abs(block) <= LOUDEST)):  # NaN is not either
                found = f"{wrong} of {len(block)} samples after {length / own:.0f} s"
                raise bad(path, f"{found} are not finite, or beyond {LOUDEST:g}; convert it again")
            length += len(block)
            parts.append(block if rate == own else resampler.resample_chunk(block))
            ready += len(parts[-1])
            if ready >= _STRETCH * rate:
                yield np.concatenate(parts)
                parts, ready = [], 0
    if not length or length < minimum_seconds * own:
        found = f"{length / own:.2f} s long, at least {minimum_seconds:g} s are needed"
        raise bad(path, f"{found}; give a longer one")
    rest = np.empty(0, dtype=np.float32)
    parts.append(rest if rate == own else resampler.resample_chunk(rest, last=True))
    if sum(map(len, parts)):
        yield np.concatenate(parts)


def windows(
    stretches: Iterable[np.ndarray], length: int, hop: int, to_end: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Cut a waveform that comes in stretches into windows of `length` samples, `hop` apart.

    to_end: one more window ends with the waveform, if the last does not.
    Yields for each stretch the windows' first samples (windows,), the windows (windows, length),
    which may be none, and how many samples have come so far. A waveform that is shorter than a
    window is one shorter window. Raises AudioError for more than MOST_WINDOWS.
    """
    held, at, start, end = np.empty(0, dtype=np.float32), 0, 0, 0  # held: from sample `at` on
    for stretch in stretches:
        held = np.concatenate([held, stretch])
        end = at + len(held)
        starts = np.arange(start, end - length + 1, hop)
        if start // hop + len(starts) > MOST_WINDOWS:
            raise AudioError(f"more than {MOST_WINDOWS} windows; take a longer hop, or cut it up")
        cut = np.empty((0, length), dtype=np.float32)
        if len(starts):
            cut = np.lib.stride_tricks.sliding_window_view(held, length)[start - at :: hop]
        yield starts, cut, end
        start += hop * len(starts)
        done = max(0, min(start, end - length) - at)  # what no window needs any more
        held, at = held[done:], at + done
    if start == 0:
        yield np.zeros(1, dtype=int), held[None], end
    elif to_end and start - hop + length < end:
        yield np.array([end - length]), held[None, -length:], end


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
            peak = max(np.abs(stretch).max() for stretch in stream(path, None))
        except AudioError as error:
            return str(error).removeprefix(f"{printable(path)}: ")
        return f"silent (peak {peak:.1g}, full scale is 1)" if peak < SILENCE else ""

    table = dataset.tracks[["audio"]].dropna()
    table["problem"] = for_each(problem, table["audio"], f"check {dataset.name}")
    return table[table["problem"] != ""]


def for_each(function: Callable, paths: pd.Series, description: str) -> list:
    """What a function gives for each path, one a CPU core at a time, with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(function, paths)
        return list(progress_bar(found, total=len(paths), desc=description, unit="file"))


def _decode(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Decode and mix an open file, block by block; AudioError if it is damaged or cut short."""
    decoded, rate = 0, file.samplerate
    try:
        for block in _mono(file):
            decoded += len(block)
            yield block
        announced, tolerance = file.frames, rate / 10
        if file.format == "MP3":
            tolerance = rate
            with _piped(path) as whole:
                if not whole.seekable():  # no header tells its length
                    # libsndfile then guesses it from the first frames' bit rate and stops there.
                    for block in _mono(whole) if decoded >= announced else ():
                        yield block[decoded:]
                        decoded = max(0, decoded - len(block))
                    return
        elif file.format == "OGG":
            return
        elif file.format != "FLAC":  # libsndfile takes the length from the size of the file
            announced = decoded * _times_longer(file)
    except soundfile.SoundFileError as error:
        reason = f"damaged somewhere after {decoded / rate:.0f} s ({error}); get it again"
        raise bad(path, reason) from error
    if decoded < announced - tolerance:
        seconds = f"{decoded / rate:.1f} of {announced / rate:.1f} s"
        raise bad(path, f"cut short, ends after {seconds}; get it again")


def _times_longer(file: soundfile.SoundFile) -> float:
    """How many times as long as it is a file's header says it is; 1 if it does not say.

    Programs that write into a pipe do not know the length, and write about 0, 2 or 4 GiB.
    """
    header, there = map(int, found.groups()) if (found := _CUT.search(file.extra_info)) else (0, 1)
    return 1 if (header + 4096) % 2**31 <= 8192 else header / max(1, there)


def _mono(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """The rest of an open file, mixed to mono, in blocks (samples,).

    Until nothing comes, since a header's number of frames may be wrong or missing.
    """
    frames = min(_BLOCK, 4 * _BLOCK // file.channels)
    buffer = np.empty((frames, file.channels), dtype=np.float32)
    mix = np.full(file.channels, 1 / file.channels, dtype=np.float32)
    while len(block := file.read(out=buffer)):
        # Not block.mean(axis=1), which is ten times slower over so short an axis.
        yield np.einsum("fc,c->f", block, mix)  # (frames, channels) -> (frames,)


@contextlib.contextmanager
def _piped(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file through a pipe, where libsndfile cannot guess a length and reads to the end."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        # If the reader gives up, it raises the error; here it only breaks the pipe.
        broken = contextlib.suppress(BrokenPipeError)
        with broken, open(write_end, "wb") as pipe, path.open("rb") as file:
            shutil.copyfileobj(file, pipe)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    with open(read_end, "rb") as pipe, soundfile.SoundFile(pipe.fileno(), closefd=False) as file:
        yield file
    feeder.join()


def loudness(samples: np.ndarray) -> float:
    """Root mean square of samples in dB relative to full scale; silence is -120."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
