"""Datasets whose made-up features tell the mood, and their vocabularies; label vectors by hand."""

import numpy as np
import pandas as pd

from mer_utils.data import Dataset, Features, Labelled
from mer_utils.labels import LabelEmbeddings

# three vocabularies; for each label whether such music sounds pleasant, and lively
MOODS: dict[str, dict[str, tuple[int, int]]] = {
    "one": {"happy": (1, 1), "calm": (1, -1), "angry": (-1, 1), "sad": (-1, -1)},
    "two": {"joyful": (1, 1), "relaxed": (1, -1), "furious": (-1, 1), "sorrowful": (-1, -1)},
    "three": {"cheerful": (1, 1), "peaceful": (1, -1), "aggressive": (-1, 1), "gloomy": (-1, -1)},
}


def mood_dataset(name: str, tracks: int = 60, shift: float = 0.0) -> Labelled:
    """A labelled dataset of made-up features: two segments a track, 8 columns.

    The first two columns say whether the track is pleasant and lively, six are noise.

    name: of MOODS; shift: added to every feature.
    """
    random = np.random.default_rng(sum(map(ord, name)))
    moods = MOODS[name]
    chosen = [list(moods)[i % 4] for i in range(tracks)]
    points = np.array([moods[label] for label in chosen], dtype=float)
    values = np.concatenate([points, np.zeros((tracks, 6))], axis=1).repeat(2, axis=0)
    values = values + 0.6 * random.normal(size=values.shape) + shift
    ids = [f"{name}-{i}" for i in range(tracks)]
    table = pd.DataFrame(
        {
            "audio": None,
            "labels": [(label,) for label in chosen],
            "split": None,
            "group": [f"artist {i // 3}" for i in range(tracks)],
        },
        index=pd.Index(ids, name="track"),
    )
    features = Features(
        values[:, None, :].astype(np.float32),
        np.repeat(ids, 2),
        np.tile([0.0, 10.0], tracks),
        {"name": "made-up", "layers": [0]},
    )
    return Labelled(Dataset(name, tuple(moods), table), features)


def by_hand(*rows: list[float], model: str = "m") -> LabelEmbeddings:
    """Embeddings of labels a, b, c … with given vectors, brought to unit length."""
    vectors = np.array(rows, dtype=np.float32)  # (labels, d)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple("abcdefghijklmnopqrstuvwxyz"[: len(rows)])
    return LabelEmbeddings(names, tuple((name,) for name in names), vectors, model, "name")
