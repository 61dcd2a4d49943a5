"""Ratings of words: how music that people tag with a word sounds and feels, on 33 scales.

A semantic differential (Osgood, Suci & Tannenbaum 1957, *The Measurement of Meaning*) of music,
from valence and tempo to nostalgia and how typical of jazz it is. ratings.csv has the 352 words of
all vocabularies, antonyms and musicnn's tags, each rated three times from 0 to 10 by a large
language model that was shown the list of words, scales.csv and a question: no score, no label of a
track, no text of ours. docs/text_models.md has the question, word for word.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

PENALTY = 0.3  # of the ridge that rates new words, where a text vector has the length 1
SCALES = pd.read_csv(Path(__file__).with_name("scales.csv"), index_col="scale", dtype=str)
"""What 0 and 10 mean on each scale."""
FILE = Path(__file__).with_name("ratings.csv")


@cache
def rated_words() -> pd.DataFrame:
    """The mean of three ratings, a row a word and a column a scale, each scale at mean 0 and
    deviation 1.
    """
    mean = pd.read_csv(FILE).drop(columns="rater").groupby("word", sort=False).mean()
    return ((mean - mean.mean()) / mean.std(ddof=0)).astype(np.float32)


def fit_rater(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A ridge from text vectors to ratings, which rates new words.

    vectors: (rated words, d), in their order. Returns the mean vector (d,), to be subtracted, and
    the weights (d, scales).
    """
    mean = vectors.mean(axis=0)
    x = (vectors - mean).astype(np.float64)
    gram = x.T @ x + PENALTY * np.eye(x.shape[1])  # (d, d)
    weights = np.linalg.solve(gram, x.T @ rated_words().to_numpy(np.float64))
    return mean, weights.astype(np.float32)
