"""What there is to listen to, as plain arrays: layers of tracks, and single frames."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mer_utils.data.types import Dataset, Features, pool_tracks
from mer_utils.progress import in_processes
from mer_utils.sound import audio, cues, musicnn
from mer_utils.sound.encoders import Encoder
from mer_utils.sound.features import workers

Layers = dict[Hashable, np.ndarray]
"""{layer: (tracks, dim) float32}"""


def some_tracks(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """At most `count` of a dataset's tracks, drawn at random, in their order."""
    if count >= len(dataset):
        return dataset
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:count])
    # so that its features get a store of their own
    source = {**dataset.source, "drawn": {"tracks": count, "of": len(dataset), "seed": seed}}
    return replace(dataset, tracks=dataset.tracks.iloc[rows], source=source)


def track_layers(features: Features, dataset: Dataset) -> Layers:
    """The mean of each track's segments; `features` may be of more tracks than the dataset has.

    Raises ValueError for a track without features.
    """
    own = features.only(np.isin(features.track, dataset.tracks.index.to_numpy(dtype=str)))
    return split_layers(pool_tracks(own, dataset), features.encoder["layers"])


def split_layers(values: np.ndarray, layers: Sequence[Hashable]) -> Layers:
    """An encoder's output (rows, layers, dim) by the layers' names or numbers.

    The one layer of musicnn and musicnn+cues becomes its parts in the order of the network
    (`sound.cues.PARTS`), the tags on a logarithmic scale (`sound.musicnn.log_tags`).
    """
    values = np.asarray(values, dtype=np.float32)
    if list(layers) not in (["all"], [cues.LAYER]):
        return {layer: values[:, i] for i, layer in enumerate(layers)}
    there = ["pooled", "penultimate", "tags", *(["cues"] if cues.LAYER in layers else [])]
    parts = {part: values[:, 0, cues.PARTS[part]] for part in there}
    return parts | {"tags": musicnn.log_tags(parts["tags"])}


def pool_frames(encoder: Encoder, dataset: Dataset) -> dict[str, Layers]:
    """Encode one segment of every track frame by frame, and sum its frames up in several ways.

    The segment is the middle one of a track, so that no fade-in is to blame for what a first frame
    lacks. musicnn's frames are windows of 3 s.
    Returns layers by pooling: "mean", "first frame" (what the paper's code keeps), "middle frame".
    """
    paths = dataset.tracks["audio"].tolist()
    settings = {"jobs": workers(encoder), "least": 24, "desc": dataset.name, "unit": "track"}
    pooled = in_processes(partial(_middle_segment, encoder), paths, **settings)
    names = ("mean", "first frame", "middle frame")
    values = map(np.stack, zip(*pooled, strict=True))  # of each pooling (tracks, layers, dim)
    return {name: split_layers(v, encoder.layers) for name, v in zip(names, values, strict=True)}


def _middle_segment(encoder: Encoder, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a track's middle segment: mean, first and middle frame, (layers, dim) each."""
    waveform = audio.read(path, encoder.sample_rate)
    segments = audio.segments(waveform, encoder.sample_rate, encoder.segment_seconds)
    frames = encoder.frames(segments[len(segments) // 2])  # (layers, frames, dim)
    return frames.mean(1), frames[:, 0], frames[:, frames.shape[1] // 2]
