"""What a music dataset is: tracks with labels; and the features of their audio.

For every module that works with datasets but does not read them: `Dataset`, `Features` and both
together, `Labelled`, with their splits and parts. Conventions: shapes are (tracks, labels) and
(segments, layers, dim); starts and durations in seconds; segments of a track stand together.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from mer_utils import storage

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """Tracks with emotion labels out of one ordered vocabulary.

    name: short name, such as "emotify".
    labels: the vocabulary, in the order of the columns of `targets()`.
    tracks: a table indexed by track id (text, unique; the index is named "track") with the columns
        audio (path as text, or None), labels (a tuple of vocabulary entries), split ("train",
        "validation", "test" or None) and group (artist, or whatever must not be split; text).
        More columns may follow.
    source: what it came from: files with their hashes, options (JSON-able).
    top_k: how many labels the paper's vote gives a song, 1 to all; None where nobody said.
    """

    name: str
    labels: tuple[str, ...]
    tracks: pd.DataFrame
    source: dict = field(default_factory=dict)
    top_k: int | None = None

    def __post_init__(self) -> None:
        """Check what every other module relies on."""
        repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if repeated:
            raise ValueError(f"{self.name}: labels occur twice in the vocabulary: {repeated}")
        missing = [c for c in ("audio", "labels", "split", "group") if c not in self.tracks.columns]
        if missing:
            raise ValueError(f"{self.name}: the table of tracks lacks the columns {missing}")
        if not self.tracks.index.is_unique:
            twice = self.tracks.index[self.tracks.index.duplicated()].unique().tolist()
            raise ValueError(f"{self.name}: {len(twice)} track ids occur twice, first: {twice[:3]}")
        if self.top_k is not None and self.top_k not in range(1, len(self.labels) + 1):
            raise ValueError(
                f"{self.name}: a song's vote cannot give {self.top_k!r} of {len(self.labels)} "
                "labels; top_k is 1 to all of them, or None"
            )
        known = set(self.labels)
        for track, labels in self.tracks["labels"].items():
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise ValueError(
                    f"{self.name}: track {track} has the label {unknown[0]!r}, which is not one of "
                    f"the {len(self.labels)} labels of the vocabulary"
                )

    def __len__(self) -> int:
        return len(self.tracks)

    def targets(self) -> np.ndarray:
        """Which track has which label: boolean (tracks, labels)."""
        column = {label: i for i, label in enumerate(self.labels)}
        matrix = np.zeros((len(self.tracks), len(self.labels)), dtype=bool)
        for row, labels in enumerate(self.tracks["labels"]):
            matrix[row, [column[label] for label in labels]] = True
        return matrix


def group_split(dataset: Dataset, fractions: Mapping[str, float], seed: int) -> Dataset:
    """Give every track a split, whole groups together, at random.

    The groups are shuffled and laid end to end; where a group's middle falls decides its part. So
    the fractions are fractions of the tracks, as nearly as the sizes of the groups allow.

    dataset: any; its own splits are replaced.
    fractions: the share of the tracks for each of "train", "validation", "test" (or some of
        them), above 0, together 1.
    seed: decides the order of the groups; the same seed gives the same split, in whatever order
        the tracks stand.
    Returns a new Dataset; `source["split"]` records fractions and seed.
    Raises ValueError for other parts, fractions that do not add up, or a part that gets no track.
    """
    parts = list(fractions)
    shares = np.array([fractions[part] for part in parts], dtype=float)
    if not parts or not set(parts) <= set(SPLITS):
        raise ValueError(f"{dataset.name}: parts are {', '.join(SPLITS)}, not {parts}")
    if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"{dataset.name}: fractions are above 0 and add up to 1, not {dict(fractions)}"
        )
    sizes = dataset.tracks["group"].value_counts().sort_index()
    sizes = sizes.iloc[np.random.default_rng(seed).permutation(len(sizes))]
    middle = sizes.cumsum().to_numpy() - sizes.to_numpy() / 2  # (groups,)
    ends = shares.cumsum()[:-1] * len(dataset)  # (parts - 1,)
    part_of_group = pd.Series(np.searchsorted(ends, middle, side="right"), index=sizes.index)
    part = dataset.tracks["group"].map(part_of_group)
    counts = np.bincount(part.to_numpy(dtype=int), minlength=len(parts))
    if (counts == 0).any():
        empty = [parts[i] for i in np.flatnonzero(counts == 0)]
        raise ValueError(
            f"{dataset.name}: {', '.join(empty)} gets no track: {len(dataset)} tracks in "
            f"{len(sizes)} groups (the largest has {sizes.max() if len(sizes) else 0}) do not "
            f"divide into {dict(fractions)}; use fewer parts, other fractions or another seed"
        )
    split = pd.Series([parts[i] for i in part], index=dataset.tracks.index, dtype=object)
    source = {**dataset.source, "split": {"fractions": dict(fractions), "seed": seed}}
    return replace(dataset, tracks=dataset.tracks.assign(split=split), source=source)


def describe(datasets: Iterable[Dataset]) -> pd.DataFrame:
    """Size up datasets side by side.

    Returns one row a dataset, indexed by name: tracks, labels (in the vocabulary), labels used (by
    at least one track), labels a track (mean), without label (tracks), groups, with audio
    (tracks), hours (of all tracks, where the dataset has a column duration; else missing), licence.
    """
    rows, index = [], []
    for dataset in datasets:
        targets = dataset.targets()  # (tracks, labels)
        durations = dataset.tracks.get("duration")
        row = {
            "tracks": len(dataset),
            "labels": len(dataset.labels),
            "labels used": int(targets.any(axis=0).sum()),
            "labels a track": targets.sum(axis=1).mean() if len(dataset) else np.nan,
            "without label": int((~targets.any(axis=1)).sum()),
            "groups": dataset.tracks["group"].nunique(),
            "with audio": int(dataset.tracks["audio"].notna().sum()),
            "hours": np.nan if durations is None else durations.sum() / 3600,
            "licence": dataset.source.get("licence", "unknown"),
        }
        rows.append(row)
        index.append(dataset.name)
    return pd.DataFrame(rows, index=pd.Index(index, name="dataset"))


def label_tuples(targets: np.ndarray, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each row of a boolean matrix (tracks, labels)."""
    return [tuple(label for label, on in zip(labels, row, strict=True) if on) for row in targets]


def track_table(
    track_ids: Sequence[str],
    audio: Sequence[str | None] | None,
    labels: Sequence[tuple[str, ...]],
    split: Sequence[str | None] | None,
    group: Sequence[str],
    **more: Sequence,
) -> pd.DataFrame:
    """The table of tracks that a Dataset holds; None stands for a column of None."""
    nothing = [None] * len(track_ids)
    columns = {
        "audio": nothing if audio is None else audio,
        "labels": labels,
        "split": nothing if split is None else split,
        "group": group,
    }
    index = pd.Index(track_ids, name="track", dtype=object)
    # Series of objects: pandas would else turn None into NaN.
    series = {key: pd.Series(list(v), index=index, dtype=object) for key, v in columns.items()}
    series |= {key: pd.Series(list(v), index=index) for key, v in more.items()}
    return pd.DataFrame(series, index=index)


Layer = int | str


@dataclass(frozen=True)
class Features:
    """Encoder outputs, one row a segment, segments of a track together and in order.

    values: (segments, layers, dim), float16 or float32.
    track: (segments,) the track id of each segment (text).
    start: (segments,) where each segment starts, seconds.
    encoder: the encoder and the exact settings that made them (JSON-able): at least "name" and
        "layers".
    """

    values: np.ndarray
    track: np.ndarray
    start: np.ndarray
    encoder: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes against one another."""
        if self.values.ndim != 3:
            raise ValueError(
                f"features have the shape (segments, layers, dim), not {self.values.shape}"
            )
        if not len(self.values) == len(self.track) == len(self.start):
            raise ValueError(
                f"{len(self.values)} segments but {len(self.track)} track ids and "
                f"{len(self.start)} start times"
            )

    def __len__(self) -> int:
        return len(self.values)

    def track_index(self, dataset: Dataset) -> np.ndarray:
        """Row of each segment's track in `dataset.tracks`: (segments,) int.

        Raises ValueError if a segment's track is not in the dataset.
        """
        rows = dataset.tracks.index.get_indexer(self.track)
        if (rows < 0).any():
            strange = sorted(set(self.track[rows < 0].tolist()))
            raise ValueError(
                f"{dataset.name}: features of {len(strange)} tracks that the dataset does not "
                f"have, first: {strange[:3]}; were they extracted from another dataset?"
            )
        return rows

    def only(self, segments: np.ndarray) -> "Features":
        """Some of the segments: a bool mask (segments,) or row numbers."""
        return replace(
            self,
            values=self.values[segments],
            track=self.track[segments],
            start=self.start[segments],
        )


def pool_tracks(features: Features, dataset: Dataset) -> np.ndarray:
    """Average each track's segments.

    features: segments of tracks of `dataset`, those of a track together.
    dataset: gives the order of the result.
    Returns (tracks, layers, dim) float32, row i for `dataset.tracks.index[i]`.
    Raises ValueError if a track has no features, or features belong to no track of the dataset.
    """
    rows = features.track_index(dataset)  # (segments,)
    without = np.setdiff1d(np.arange(len(dataset)), rows)
    if len(without):
        first = dataset.tracks.index[without[:3]].tolist()
        raise ValueError(
            f"{dataset.name}: {len(without)} of {len(dataset)} tracks have no features, first: "
            f"{first}; extract them, or leave these tracks out of the dataset"
        )
    first_segments = np.flatnonzero(np.diff(rows, prepend=-1))  # (tracks,) where each track begins
    if len(first_segments) != len(dataset):
        raise ValueError(
            f"{dataset.name}: the segments of a track do not stand together in the features; "
            "sort them by track"
        )
    counts = np.diff(first_segments, append=len(rows))[:, None]  # (tracks, 1)
    _, layers, dim = features.values.shape
    means = np.empty((len(dataset), layers, dim), dtype=np.float32)  # (tracks, layers, dim)
    for layer in range(layers):  # one layer at a time, so that mapped features stay on disk
        values = np.asarray(features.values[:, layer], dtype=np.float32)  # (segments, dim)
        means[rows[first_segments], layer] = np.add.reduceat(values, first_segments) / counts
    return means


def standardise(
    values: np.ndarray, mean: np.ndarray | None = None, std: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring every column to mean 0 and standard deviation 1.

    values: (rows, ...) any float type.
    mean, std: (...) the statistics to use, from an earlier call; both or neither: without them they
        are computed from `values`.
    Returns the standardised values (rows, ...) float32, and the mean and std (...) float32. A
    column that does not vary has std 1, so it becomes 0.
    """
    if (mean is None) != (std is None):
        raise ValueError("standardise takes mean and std together or neither of them")
    values = np.asarray(values, dtype=np.float32)
    if mean is None or std is None:
        scaler = StandardScaler().fit(values.reshape(len(values), -1))  # (rows, columns)
        mean = scaler.mean_.astype(np.float32).reshape(values.shape[1:])
        std = scaler.scale_.astype(np.float32).reshape(values.shape[1:])
    if not np.shape(mean) == np.shape(std) == values.shape[1:]:
        raise ValueError(
            f"mean {np.shape(mean)} and std {np.shape(std)} do not fit rows of the shape "
            f"{values.shape[1:]}; were they computed from other layers or another encoder?"
        )
    return (values - mean) / std, mean, std


def select(
    features: Features,
    layers: Sequence[Layer] | None = None,
    columns: slice | Sequence[int] | None = None,
) -> Features:
    """Keep some layers and some columns.

    layers: as the encoder numbers or names them (`features.encoder["layers"]`), in the order
        wanted; None keeps all.
    columns: which of the dim values to keep; None keeps all.
    Returns features (segments, chosen layers, chosen columns).
    Raises ValueError if a layer is not among the features' layers.
    """
    values, encoder = features.values, dict(features.encoder)
    if layers is not None:
        at = layer_positions(layers, encoder["layers"], str(encoder.get("name")))
        values = values[:, at]  # (segments, chosen layers, dim)
        encoder["layers"] = list(layers)
    if columns is not None:
        kept = np.arange(values.shape[2])[columns]
        values = values[:, :, columns]  # (segments, layers, chosen columns)
        before = encoder.get("columns", range(features.values.shape[2]))
        encoder["columns"] = np.asarray(before)[kept].tolist()
    return replace(features, values=values, encoder=encoder)


def layer_positions(wanted: Sequence[Layer], there: Sequence[Layer], name: str) -> list[int]:
    """Where each wanted layer stands among those that are there."""
    missing = [layer for layer in wanted if layer not in there]
    if missing:
        raise ValueError(f"{name}: no layer {missing[0]!r} among these features; they have {there}")
    return [list(there).index(layer) for layer in wanted]


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
        table = self.dataset.tracks
        segments = "\n".join(map(str, self.features.track)).encode()
        return storage.settings_hash(
            {
                "labels": list(self.dataset.labels),
                "tracks": [str(track) for track in table.index],
                "targets": hashlib.sha256(self.dataset.targets()).hexdigest(),
                "groups": [str(group) for group in table["group"]],
                "splits": [str(split) for split in table["split"]],
                "values": hashlib.sha256(np.ascontiguousarray(self.features.values)).hexdigest(),
                "segments": hashlib.sha256(segments).hexdigest(),
                "shape": list(self.features.values.shape),
                "encoder": {k: self.features.encoder.get(k) for k in ("name", "columns", "blocks")},
            }
        )


def usable_tracks(dataset: Dataset, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which tracks train and which validate: two boolean (tracks,) masks.

    Official splits are kept: a test part does neither. Tracks without a split go where others of
    their group are, else they train. Without a validation part, a share of the groups that are
    left, drawn with the seed, validates.
    Raises ValueError if nothing is left to train on, or to validate on.
    """
    usable = ~official_part(dataset, "test")
    validation = official_part(dataset, "validation") & usable
    if not validation.any():
        groups = dataset.tracks["group"].to_numpy()
        names = np.unique(groups[usable])
        if len(names) == 1:
            raise ValueError(
                f"{dataset.name}: all {usable.sum()} tracks outside of its test part belong to one "
                f"group ({names[0]!r}), so none can be set aside for validation; give the tracks "
                "groups or a split"
            )
        count = min(max(1, round(share * len(names))), len(names) - 1)
        drawn = np.random.default_rng(seed).choice(names, max(0, count), replace=False)
        validation = np.isin(groups, drawn) & usable
    if not (usable & ~validation).any():
        raise ValueError(
            f"{dataset.name}: no track to train on: of {len(dataset)}, {(~usable).sum()} are for "
            f"the test and {validation.sum()} for validation; give some of them the split train"
        )
    return usable & ~validation, validation


def official_part(dataset: Dataset, part: str) -> np.ndarray:
    """Tracks of a part of the official split, and those without one that share a group with them.

    part: "train", "validation" or "test". Returns (tracks,) bool.
    """
    split, group = dataset.tracks["split"], dataset.tracks["group"]
    inside = split == part
    return (inside | (split.isna() & group.isin(group[inside]))).to_numpy(dtype=bool)


# --- Choosing settings without the target ---------------------------------------------------------


def restricted(part: Labelled, labels: Sequence[str], tracks: np.ndarray) -> Labelled:
    """The part of a dataset that has these labels and tracks (bool mask) only."""
    table = part.dataset.tracks[tracks].copy()
    keep = set(labels)
    table["labels"] = [tuple(x for x in own if x in keep) for own in table["labels"]]
    top_k = part.dataset.top_k and min(part.dataset.top_k, len(labels))
    dataset = replace(part.dataset, labels=tuple(labels), tracks=table, top_k=top_k)
    segments = np.isin(part.features.track, table.index.to_numpy())
    return Labelled(dataset, part.features.only(segments))
