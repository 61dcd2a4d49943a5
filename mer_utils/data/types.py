"""What a music dataset is: tracks with labels, the features of their audio, both together.

Conventions: shapes are (tracks, labels) and (segments, layers, dim); starts and durations in
seconds; segments of a track stand together.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, FiniteFloat
from sklearn.preprocessing import MultiLabelBinarizer

from mer_utils.data.checks import PlainText, need, no_duplicates, plain_texts, refuse
from mer_utils.storage import settings_hash

SPLITS = ("train", "validation", "test")
Layer = int | str


@dataclass(frozen=True)
class Dataset:
    """Tracks with emotion labels out of one ordered vocabulary.

    name: short name, such as "emotify".
    labels: the vocabulary, in the order of the columns of `targets()`.
    tracks: a table indexed by track id (text, unique; the index is named "track") with the columns
        audio (path as text, or None), labels (a tuple of vocabulary entries), split (of SPLITS, or
        None), group (artist, or whatever must not be split; text), and perhaps more.
    source: what it came from: files with their hashes, options (JSON-able).
    top_k: how many labels the paper's vote gives a song, 1 to all; None where nobody said.
    """

    name: str
    labels: tuple[str, ...]
    tracks: pd.DataFrame
    source: dict = field(default_factory=dict)
    top_k: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no other module can rely on."""
        plain_texts("a dataset", "names", [self.name])
        plain_texts(self.name, "labels", self.labels)
        need(self.name, "columns of tracks", ("audio", "labels", "split", "group"), self.tracks)
        no_duplicates(self.name, "labels", self.labels)
        no_duplicates(self.name, "track ids", self.tracks.index)
        if self.top_k is not None and self.top_k not in range(1, len(self.labels) + 1):
            count = len(self.labels)
            raise ValueError(f"{self.name}: top_k is None or 1 to {count}, not {self.top_k!r}")
        known, given = set(self.labels), self.tracks["labels"].items()
        strange = [f"{x} of {track}" for track, own in given for x in own if x not in known]
        refuse(self.name, f"labels outside the vocabulary of {len(known)}", strange)

    def __len__(self) -> int:
        return len(self.tracks)

    def targets(self) -> np.ndarray:
        """Which track has which label: boolean (tracks, labels)."""
        binarizer = MultiLabelBinarizer(classes=self.labels)
        return binarizer.fit_transform(self.tracks["labels"]).astype(bool)


def track_table(
    track_ids: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    group: Sequence[str],
    audio: Sequence[str | None] | None = None,
    split: Sequence[str | None] | None = None,
    **more: Sequence,
) -> pd.DataFrame:
    """The table of tracks that a Dataset holds; None stands for a column of None."""
    columns = {"audio": audio, "labels": labels, "split": split, "group": group}
    columns = {key: value if value is None else list(value) for key, value in columns.items()}
    index = pd.Index(track_ids, name="track", dtype=object)
    table = pd.DataFrame(columns, index=index, dtype=object)  # else pandas turns None into NaN
    return table.assign(**{key: list(value) for key, value in more.items()})


def label_tuples(targets: np.ndarray, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each row of a boolean matrix (tracks, labels)."""
    return [tuple(label for label, on in zip(labels, row, strict=True) if on) for row in targets]


def describe(datasets: Iterable[Dataset]) -> pd.DataFrame:
    """Size up datasets side by side: a row each; hours where the tracks have a duration."""
    rows = {}
    for dataset in datasets:
        tracks, targets = dataset.tracks, dataset.targets()  # targets: (tracks, labels)
        rows[dataset.name] = {
            "tracks": len(dataset),
            "labels": len(dataset.labels),
            "labels used": int(targets.any(axis=0).sum()),
            "labels a track": targets.sum(axis=1).mean() if len(dataset) else np.nan,
            "without label": int((~targets.any(axis=1)).sum()),
            "groups": tracks["group"].nunique(),
            "with audio": int(tracks["audio"].notna().sum()),
            "hours": tracks.get("duration", pd.Series([np.nan])).sum(skipna=False) / 3600,
            "licence": dataset.source.get("licence", "unknown"),
        }
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="dataset"))


class EncoderSettings(BaseModel):
    """What is read of `Features.encoder` where a file has it."""

    name: PlainText
    layers: list[int | PlainText] = Field(min_length=1)
    dim: int | None = None
    segment_seconds: FiniteFloat = Field(1.0, gt=0)
    columns: list[int | str] = []
    tags: list[str] = []
    blocks: list[int] | None = None


@dataclass(frozen=True)
class Features:
    """Encoder outputs, one row a segment, segments of a track together and in order.

    values: (segments, layers, dim), float16 or float32.
    track: (segments,) the track id of each segment (text).
    start: (segments,) where each segment starts, seconds.
    encoder: what exactly made them (JSON-able), at least "name" and "layers".
    """

    values: np.ndarray
    track: np.ndarray
    start: np.ndarray
    encoder: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse shapes that do not go together."""
        shapes = np.shape(self.values), np.shape(self.track), np.shape(self.start)
        if len(shapes[0]) != 3 or not shapes[0][:1] == shapes[1] == shapes[2]:
            raise ValueError(
                f"expected (segments, layers, dim) and twice (segments,), not {shapes}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def track_index(self, dataset: Dataset) -> np.ndarray:
        """Row of each segment's track in `dataset.tracks`: (segments,) int."""
        rows = dataset.tracks.index.get_indexer(self.track)
        strange = sorted(set(self.track[rows < 0].tolist()))
        refuse(dataset.name, "tracks with features that the dataset does not have", strange)
        return rows

    def only(self, segments: np.ndarray) -> "Features":
        """Some of the segments: a bool mask (segments,) or row numbers."""
        arrays = {key: getattr(self, key)[segments] for key in ("values", "track", "start")}
        return replace(self, **arrays)


def select(features: Features, columns: slice | Sequence[int]) -> Features:
    """Some of the dim values of features, recorded in their encoder's "columns"."""
    dim = features.values.shape[2]
    kept = np.asarray(features.encoder.get("columns", range(dim)))[columns].tolist()
    encoder = features.encoder | {"columns": kept}
    return replace(features, values=features.values[:, :, columns], encoder=encoder)


def pool_tracks(features: Features, dataset: Dataset) -> np.ndarray:
    """Average each track's segments: (tracks, layers, dim) float32, in the dataset's order."""
    rows = features.track_index(dataset)  # (segments,)
    without = dataset.tracks.index[np.setdiff1d(np.arange(len(dataset)), rows)]
    refuse(dataset.name, "tracks have no features", without, len(dataset))
    first_segments = np.flatnonzero(np.diff(rows, prepend=-1))  # (tracks,) where each track begins
    if len(first_segments) != len(dataset):
        raise ValueError(f"{dataset.name}: segments of a track have to stand together; sort them")
    counts = np.diff(first_segments, append=len(rows))[:, None]  # (tracks, 1)
    means = np.empty((len(dataset), *features.values.shape[1:]), dtype=np.float32)
    for layer in range(means.shape[1]):  # one at a time, so that mapped features stay on disk
        values = np.asarray(features.values[:, layer], dtype=np.float32)  # (segments, dim)
        means[rows[first_segments], layer] = np.add.reduceat(values, first_segments) / counts
    return means


@dataclass(frozen=True)
class Labelled:
    """A dataset with the features of its audio."""

    dataset: Dataset
    features: Features

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.dataset.name

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of everything that training or scoring reads."""
        table, encoder = self.dataset.tracks, self.features.encoder
        read = ("name", "columns", "blocks", *(["tags"] if "tags" in encoder else []))
        segments = "\n".join(map(str, self.features.track)).encode()
        return settings_hash(
            {
                "labels": list(self.dataset.labels),
                "tracks": [str(track) for track in table.index],
                "targets": hashlib.sha256(self.dataset.targets()).hexdigest(),
                "groups": [str(group) for group in table["group"]],
                "splits": [str(split) for split in table["split"]],
                "values": hashlib.sha256(np.ascontiguousarray(self.features.values)).hexdigest(),
                "segments": hashlib.sha256(segments).hexdigest(),
                "shape": list(self.features.values.shape),
                "encoder": {k: encoder.get(k) for k in read},
            }
        )


def restricted(part: Labelled, labels: Sequence[str], tracks: np.ndarray) -> Labelled:
    """The part of a dataset that has these labels and tracks (bool mask) only."""
    table = part.dataset.tracks[tracks].copy()
    keep = set(labels)
    table["labels"] = [tuple(x for x in own if x in keep) for own in table["labels"]]
    top_k = part.dataset.top_k and min(part.dataset.top_k, len(labels))
    dataset = replace(part.dataset, labels=tuple(labels), tracks=table, top_k=top_k)
    if tracks.all():
        return Labelled(dataset, part.features)
    segments = np.isin(part.features.track, table.index.to_numpy())
    return Labelled(dataset, part.features.only(segments))


def with_rare_labels(part: Labelled) -> Labelled:
    """The dataset with labels that too few tracks have for scores, if it has a column rare_labels.

    To learn from, not to predict.
    """
    tracks = part.dataset.tracks
    if "rare_labels" not in tracks:
        return part
    rare = sorted(set().union(*tracks["rare_labels"]))
    both = tracks.assign(labels=tracks["labels"] + tracks["rare_labels"])
    both = both.drop(columns="rare_labels")  # they are labels now
    labels = (*part.dataset.labels, *rare)
    return replace(part, dataset=replace(part.dataset, labels=labels, tracks=both))


def usable_tracks(dataset: Dataset, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tracks train and which validate: two boolean (tracks,) masks.

    Official splits are kept: a test part does neither. Without a validation part, a share of the
    groups that are left, drawn with the seed, validates.
    """
    usable = ~official_part(dataset, "test")
    validation = official_part(dataset, "validation") & usable
    if not validation.any():
        groups = dataset.tracks["group"].to_numpy()
        names = np.unique(groups[usable])
        if len(names) == 1:
            one = f"all tracks to train on are of one group, {names[0]!r}"
            raise ValueError(f"{dataset.name}: {one}; give the tracks groups or a split")
        count = min(max(1, round(share * len(names))), len(names) - 1)
        drawn = np.random.default_rng(seed).choice(names, max(0, count), replace=False)
        validation = np.isin(groups, drawn) & usable
    if not (usable & ~validation).any():
        raise ValueError(f"{dataset.name}: no track to train on; give some the split train")
    return usable & ~validation, validation


def official_part(dataset: Dataset, part: str) -> np.ndarray:
    """Tracks of a part of SPLITS, and those without one that share a group with them: bool."""
    split, group = dataset.tracks["split"], dataset.tracks["group"]
    inside = split == part
    return (inside | (split.isna() & group.isin(group[inside]))).to_numpy(dtype=bool)
