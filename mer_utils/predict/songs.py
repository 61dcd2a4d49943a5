"""Songs of one's own: which files they are, and their features as a model takes them."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mer_utils import storage
from mer_utils.data.types import Features
from mer_utils.progress import printable
from mer_utils.projector.model import Model
from mer_utils.sound import audio, musicnn
from mer_utils.sound.cues import projector_input
from mer_utils.sound.encoders import Encoder, load_encoder
from mer_utils.sound.features import code_hash

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf")
SUFFIXES += (".w64", ".rf64")
REFUSED = (".m4a", ".mp4", ".aac", ".wma", ".webm")  # of a folder too, saying how to convert them
LEAST_HOP, MOST_HOP = 0.1, 3_600.0  # seconds
KEPT = {"values": (None, None, None), "starts": (None,)}  # the shapes of `_listen`'s tensors


def encoder_of(model: Model, checkpoint: str = "") -> Encoder:
    """The audio encoder that a model was trained with.

    checkpoint: folder with its weights, if it needs one; errors as in `sound.load_encoder`.
    """
    name, seconds = model.encoder["name"], model.encoder["segment_seconds"]
    layers = None if name.startswith("musicnn") else tuple(model.encoder["layers"])
    return load_encoder(name, checkpoint or None, layers, segment_seconds=seconds)


def find_songs(
    paths: Sequence[str | Path], most: int | None = None, seconds: float = np.inf
) -> list[Path]:
    """Audio files; a folder stands for all audio files in it and below, but not behind links.

    most: of each folder, take the first so many, which are the first ones found.
    seconds: how long to look for them.
    Raises FileNotFoundError for a path that is not there and a folder without audio, TimeoutError.
    """
    found: list[Path] = []
    until = time.monotonic() + seconds
    for path in map(Path, paths):
        is_folder = os.path.isdir(path)
        inside = sorted(islice(_walk(path, until), most)) if is_folder else [path]
        found += inside
        if not inside:
            kinds = f"looked for {', '.join(SUFFIXES)}"
            raise FileNotFoundError(f"{printable(path)}: no audio file here ({kinds})")
        if not is_folder and not os.path.lexists(path):
            raise FileNotFoundError(f"{printable(path)}: no such file; is the name right?")
    return list(dict.fromkeys(found))


def _walk(folder: Path, until: float) -> Iterator[Path]:
    """Audio files of a folder and below: no pipes or devices, and no end in links to folders."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            inside = sorted(os.scandir(here), key=attrgetter("name"))
        except OSError as error:
            warnings.warn(f"{printable(here)}: left out ({error.strerror})", stacklevel=3)
            continue
        for entry in inside:
            if time.monotonic() > until:
                wanted = "name the folder that the songs are in"
                raise TimeoutError(f"{printable(folder)}: too much to look through; {wanted}")
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry))
                continue
            # a dead link is found as well, so that it is told of
            is_song = os.path.isfile(entry) or not os.path.exists(entry)
            if is_song and Path(entry).suffix.lower() in SUFFIXES + REFUSED:
                yield Path(entry)


def song_features(
    path: str | Path,
    encoder: Encoder,
    hop_seconds: float | None = None,
    cache: Path | None = None,
) -> Features:
    """A song's features as a projector takes them.

    hop_seconds: from the start of one segment to the next, LEAST_HOP to MOST_HOP, and a last one
        that ends with the song. If None, segments follow one another as they do in training, where
        a rest at the end that makes no whole segment is not heard.
    cache: folder that keeps them, so that other words for the same song take no time. One that
        cannot be written to is warned of.
    Raises audio.AudioError, naming the file and the mend, for what cannot be decoded.
    """
    if hop_seconds is not None and not LEAST_HOP <= hop_seconds <= MOST_HOP:
        raise ValueError(f"hop_seconds is {hop_seconds}; expected {LEAST_HOP} to {MOST_HOP} s")
    settings = encoder.settings()
    kept = None
    if cache is not None:
        state = audio.file_state(path)
        made_by = {"bytes": state.st_size, "time": state.st_mtime_ns}
        made_by |= {"path": ascii(os.path.realpath(path)), "encoder": settings}
        made_by |= {"hop_seconds": hop_seconds, "code": code_hash(encoder, "predict.songs")}
        kept = cache / f"{storage.settings_hash(made_by)}.safetensors"
    tensors = None
    with suppress(OSError, ValueError):  # not there, or damaged: made again
        tensors = storage.read_tensors(kept, KEPT) if kept else None
    if tensors is None:
        tensors = _listen(path, encoder, hop_seconds)
        try:
            if kept:
                storage.write_tensors(kept, tensors)
        except OSError as error:
            reason = getattr(error, "strerror", error)  # without the path: it is said once
            warnings.warn(f"{cache}: keeps no features of songs ({reason})", stacklevel=2)
    values, starts = tensors["values"].numpy(), tensors["starts"].numpy()
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    track = np.full(len(starts), name)
    return projector_input(Features(values, track, starts, settings))


def _listen(path: str | Path, encoder: Encoder, hop_seconds: float | None) -> dict:
    """The encoder's "values" for each segment, (segments, layers, dim), and its "starts", s."""
    rate, seconds = encoder.sample_rate, hop_seconds or encoder.segment_seconds
    with audio.opened(path) as file:
        count = file.frames / file.samplerate / seconds
    if count > audio.MOST_WINDOWS and file.format != "MP3":  # whose length may be a guess
        found = f"{count:.0f} segments, {seconds:g} s apart, at most {audio.MOST_WINDOWS}"
        raise audio.bad(path, f"{found} are heard; take a longer hop, or cut it up")
    length, hop = round(encoder.segment_seconds * rate), max(1, round(seconds * rate))
    stretches = audio.stream(path, rate, max(audio.MINIMUM_SECONDS, encoder.minimum_samples / rate))
    values, starts = [], []
    try:
        for first, cut, _ in audio.windows(stretches, length, hop, hop_seconds is not None):
            values += [encoder(segment[None]) for segment in cut]
            starts.append(first / rate)
    except FloatingPointError as error:
        raise audio.bad(path, f"{error} Or is the sound far beyond -1 to 1?") from error
    values, starts = np.concatenate(values), np.concatenate(starts)
    return {"values": torch.from_numpy(values), "starts": torch.from_numpy(starts)}


def tags(features: Features, count: int = 5) -> pd.Series:
    """The musicnn tags most probable over a song; empty for features without tags."""
    if list(features.encoder.get("columns", ()))[:1] != ["tags"]:
        return pd.Series(dtype=float)
    probabilities = np.exp(features.values[:, 0, : len(musicnn.TAGS)]).mean(0)
    return pd.Series(probabilities, index=list(musicnn.TAGS), name="probability").nlargest(count)
