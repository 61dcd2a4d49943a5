"""Emotion-labelled music datasets."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


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
    """

    name: str
    labels: tuple[str, ...]
    tracks: pd.DataFrame
    source: dict = field(default_factory=dict)

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
