"""Audio features: the encoder's layers averaged over the time of each segment."""

from dataclasses import dataclass, field

import numpy as np

from mer_utils.datasets import Dataset


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
