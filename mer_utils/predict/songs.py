"""Songs of one's own: which files they are, and their features as a model takes them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mer_utils import storage
from mer_utils.data.types import Features
from mer_utils.projector.model import Model
from mer_utils.sound import audio, musicnn
from mer_utils.sound.cues import projector_input
from mer_utils.sound.encoders import Encoder, load_encoder
from mer_utils.sound.features import code_hash

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf")
SUFFIXES += (".m4a", ".mp4", ".aac", ".wma", ".webm")  # refused, saying how to convert them


def encoder_of(model: Model, checkpoint: str = "") -> Encoder:
    """The audio encoder that a model was trained with.

    checkpoint: folder with its weights, if it needs one; errors as in `sound.load_encoder`.
    """
    name, seconds = model.encoder["name"], model.encoder["segment_seconds"]
    layers = None if name.startswith("musicnn") else tuple(model.encoder["layers"])
    return load_encoder(name, checkpoint or None, layers, segment_seconds=seconds)


def find_songs(paths: Sequence[str | Path]) -> list[Path]:
    """Audio files; a folder stands for all audio files in it and below.

    Raises FileNotFoundError for a path that is not there and a folder without audio.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        found += inside if path.is_dir() else [path]
        if path.is_dir() and not inside:
            raise FileNotFoundError(f"{path}: no audio file here (looked for {SUFFIXES})")
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
    return list(dict.fromkeys(found))


def song_features(
    path: str | Path,
    encoder: Encoder,
    hop_seconds: float | None = None,
    cache: Path | None = None,
) -> Features:
    """A song's features as a projector takes them.

    hop_seconds: from the start of one segment to the next, above 0, and a last one that ends with
        the song. If None, segments follow one another as they do in training, where a rest at the
        end that makes no whole segment is not heard.
    cache: folder that keeps them, so that other words for the same song take no time.
    Raises audio.AudioError, naming the file and the mend, for what cannot be decoded.
    """
    if hop_seconds is not None and not hop_seconds > 0:
        raise ValueError(f"hop_seconds is {hop_seconds}; it must be above 0")
    path = Path(path)
    settings = encoder.settings()
    kept = None
    if cache is not None:
        state = path.stat()
        made_by = {"path": str(path.resolve()), "bytes": state.st_size, "time": state.st_mtime_ns}
        made_by |= {"encoder": settings, "hop_seconds": hop_seconds}
        made_by |= {"code": code_hash(encoder, "predict.songs")}
        kept = cache / f"{storage.settings_hash(made_by)}.safetensors"
    if kept and kept.is_file():
        tensors = storage.read_tensors(kept)
    else:
        tensors = _listen(path, encoder, hop_seconds)
        if kept:
            storage.write_tensors(kept, tensors)
    values, starts = tensors["values"].numpy(), tensors["starts"].numpy()
    return projector_input(Features(values, np.full(len(starts), str(path)), starts, settings))


def _listen(path: Path, encoder: Encoder, hop_seconds: float | None) -> dict[str, torch.Tensor]:
    """The encoder's "values" for each segment, (segments, layers, dim), and its "starts", s."""
    waveform = audio.read(path, encoder.sample_rate)
    length = min(round(encoder.segment_seconds * encoder.sample_rate), len(waveform))
    hop = length if hop_seconds is None else max(1, round(hop_seconds * encoder.sample_rate))
    starts = np.arange(0, len(waveform) - length + 1, hop)
    if hop_seconds is not None and starts[-1] + length < len(waveform):  # the curve's end
        starts = np.append(starts, len(waveform) - length)
    values = np.concatenate([encoder(waveform[None, x : x + length]) for x in starts])
    seconds = starts / encoder.sample_rate
    return {"values": torch.from_numpy(values), "starts": torch.from_numpy(seconds)}


def tags(features: Features, count: int = 5) -> pd.Series:
    """The musicnn tags most probable over a song; empty for features without tags."""
    if list(features.encoder.get("columns", ()))[:1] != ["tags"]:
        return pd.Series(dtype=float)
    probabilities = np.exp(features.values[:, 0, : len(musicnn.TAGS)]).mean(0)
    return pd.Series(probabilities, index=list(musicnn.TAGS), name="probability").nlargest(count)
