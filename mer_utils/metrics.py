"""How well scores for emotion labels agree with the labels that listeners gave: arrays, no tables.

The paper's score (Liu, Roy, Herremans, arXiv 2410.11522): the k labels with the highest scores are
the prediction, macro-F1 over labels, for segments and for songs (by vote of their segments). Beside
it scores without a threshold: ROC-AUC (the chance that a track with the label ranks above one
without it, ties count a half) and average precision (as in scikit-learn: no interpolation).

Conventions.
- scores: float (segments, labels) with `track_index`, or (tracks, labels); higher is more likely.
  targets: boolean (tracks, labels). track_index: (segments,) the row of each segment's track.
- Metrics of labels are NaN without positives (ROC-AUC also without negatives), and means leave
  these out. A label with positives that is never predicted has F1 0, as in scikit-learn.
- weights: float64 (tracks, draws), how often each draw counts each track. All draws are scored by a
  few matrix products: scores are sorted once a label, not once a draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.stats import rankdata

Measure = Callable[[np.ndarray], np.ndarray]
"""A metric as a function of weights (tracks, draws) that gives (draws, labels)."""


# --- Predictions -------------------------------------------------------------------------------


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The k labels with the highest scores of every row; of equal scores the earlier label.

    Returns a boolean array (rows, labels) with exactly k true in each row.
    """
    return _first(np.argsort(-scores, axis=1, kind="stable"), k)


def _first(ranked: np.ndarray, k: int) -> np.ndarray:
    """Mark the first k columns that each row of (rows, labels) names."""
    chosen = np.zeros(ranked.shape, dtype=bool)
    np.put_along_axis(chosen, ranked[:, :k], True, axis=1)
    return chosen


def count_votes(
    similarities: np.ndarray, track_index: np.ndarray, k: int, tracks: int | None = None
) -> np.ndarray:
    """How many segments of each track have each label among their k most similar ones.

    Returns integers (tracks, labels); a row sums to k times the track's segments.
    """
    tracks = tracks or track_index.max() + 1
    labels = similarities.shape[1]
    segment, label = np.nonzero(top_k(similarities, k))
    votes = np.bincount(track_index[segment] * labels + label, minlength=tracks * labels)
    return votes.reshape(tracks, labels)


def vote(similarities: np.ndarray, track_index: np.ndarray, k: int) -> np.ndarray:
    """The paper's song vote: a song's labels are the k that most of its segments vote for.

    Every segment votes for the k labels most similar to it. Of labels with equally many votes the
    one with the higher mean similarity wins, then the earlier (in the paper's code, chance).

    similarities: (segments, labels) cosine of projected audio and label.
    Returns a boolean array (tracks, labels) with exactly k true in each row.
    Raises ValueError for what `check_scores`, `check_k` and `check_track_index` refuse.
    """
    similarities = check_scores(similarities)
    check_k(k, similarities.shape[1])
    track_index = check_track_index(track_index, len(similarities))
    votes = count_votes(similarities, track_index, k)
    return elect(votes, track_scores(similarities, track_index), k)


def elect(votes: np.ndarray, means: np.ndarray, k: int) -> np.ndarray:
    """The k labels of most votes, then of the higher mean, then the earlier: (tracks, labels)."""
    return _first(np.lexsort((-means, -votes), axis=1), k)  # stable


def track_scores(
    scores: np.ndarray, track_index: np.ndarray, tracks: int | None = None
) -> np.ndarray:
    """Mean score of each track's segments: float64 (tracks, labels)."""
    if (np.diff(track_index) < 0).any():
        order = np.argsort(track_index, kind="stable")
        scores, track_index = scores[order], track_index[order]
    segments = np.bincount(track_index, minlength=tracks or 0)
    starts = np.cumsum(segments) - segments
    sums = np.add.reduceat(scores, starts, axis=0, dtype=np.float64)  # (tracks, labels)
    return sums / segments[:, None]


# --- Metrics -----------------------------------------------------------------------------------


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the labels that are NaN; NaN if all are."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)


def f1_of_counts(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """F1 where so many were predicted, so many were to be, and so many of these were hit."""
    return _divide(2.0 * hits, np.where(actual > 0, predicted + actual, 0))


def roc_auc(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """ROC-AUC of each label, exact with ties: (labels,).

    By the sum of the positives' ranks (Mann & Whitney 1947): the numbers of `ranking_measures`, in
    a tenth of the time. Training asks for it after every epoch.
    """
    ranks = rankdata(scores, axis=0)  # (tracks, labels), ties share their mean rank
    positive = targets.sum(axis=0).astype(np.float64)  # (labels,)
    won = np.where(targets, ranks, 0).sum(axis=0) - positive * (positive + 1) / 2
    return _divide(won, positive * (len(targets) - positive))


def f1_measure(
    predicted: np.ndarray, targets: np.ndarray, segments: np.ndarray | int = 1
) -> Measure:
    """F1 of each label: `predicted` says how many of a track's `segments` (tracks,) predict it."""
    hits = np.where(targets, predicted, 0)
    actual = targets * np.reshape(segments, (-1, 1))
    counts = np.concatenate([hits, predicted, actual], axis=1, dtype=np.float64)  # sums are exact

    def f1(weights: np.ndarray) -> np.ndarray:
        return f1_of_counts(*np.split(weights.T @ counts, 3, axis=1))

    return f1


@dataclass(frozen=True)
class Ranking:
    """One label's tracks in descending order of score, cut into runs.

    A run is a set of equal scores with a positive in it, or a stretch of tracks without one.
    runs: (runs, tracks) which tracks are in which run.
    positives: (runs with positives, tracks) which positives are in them.
    positive_runs: rows of `runs` that have positives.
    """

    runs: csr_array
    positives: csr_array
    positive_runs: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, target: np.ndarray) -> "Ranking":
        """Sort the tracks: scores and target (tracks,)."""
        order = np.argsort(-scores, kind="stable")
        ranked, target = scores[order], target[order]
        group = np.concatenate([[0], np.cumsum(ranked[1:] != ranked[:-1])])  # (tracks,) equal ones
        hit = np.zeros(group[-1] + 1, dtype=bool)
        hit[group[target]] = True  # (groups,) has a positive
        opens = np.ones(len(hit), dtype=bool)
        opens[1:] = hit[1:] | hit[:-1]  # groups without positives join the one before
        run = (np.cumsum(opens) - 1)[group]  # (tracks,) in ranked order
        positive_runs, row = np.unique(run[target], return_inverse=True)
        return cls(
            csr_array((np.ones(len(run)), (run, order))),
            csr_array((np.ones(len(row)), (row, order[target])), (len(positive_runs), len(run))),
            positive_runs,
        )

    def roc_auc(self, weights: np.ndarray) -> np.ndarray:
        """ROC-AUC, exact with ties: (draws,)."""
        inside = self.runs @ weights  # (runs, draws)
        positives = self.positives @ weights  # (runs with positives, draws)
        retrieved = _running_sums(inside)[self.positive_runs]
        above_or_tied = retrieved - _running_sums(positives)  # negatives
        tied = inside[self.positive_runs] - positives
        positive = positives.sum(axis=0)  # (draws,)
        negative = inside.sum(axis=0) - positive
        won = (positives * (negative - above_or_tied + tied / 2)).sum(axis=0)
        return _divide(won, positive * negative)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precision, equal scores one threshold: (draws,)."""
        positives = self.positives @ weights  # (runs with positives, draws)
        retrieved = _running_sums(self.runs @ weights)[self.positive_runs]
        precision = _running_sums(positives) / np.where(retrieved > 0, retrieved, 1)
        return _divide((positives * precision).sum(axis=0), positives.sum(axis=0))


def ranking_measures(scores: np.ndarray, targets: np.ndarray) -> tuple[Measure, Measure]:
    """ROC-AUC and average precision of each label; the tracks are sorted once."""
    labels = [Ranking.of(*columns) for columns in zip(scores.T, targets.T, strict=True)]

    def of_labels(measure: Callable, weights: np.ndarray) -> np.ndarray:
        return np.stack([measure(label, weights) for label in labels], axis=1)

    return partial(of_labels, Ranking.roc_auc), partial(of_labels, Ranking.average_precision)


def _running_sums(rows: np.ndarray) -> np.ndarray:
    """Cumulative sums down the rows (rows, draws): PyTorch's, a fifth of NumPy's time."""
    return torch.from_numpy(rows).cumsum(0).numpy()


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    nothing = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator > 0)


# --- Checks for the doors ------------------------------------------------------------------------


def check_scores(scores: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
    """Scores as a finite floating array of two axes; `names` of the labels are for the message."""
    scores = np.asarray(scores)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores have the shape {scores.shape}, expected (rows, labels)")
    strange = np.argwhere(~np.isfinite(scores))
    if len(strange):
        row, label = strange[0]
        first = f"row {row}, label {label if names is None else names[label]}"
        raise ValueError(f"{len(strange)} of {scores.size} scores are NaN or infinite: {first}, …")
    return scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)


def check_k(k: int, labels: int) -> None:
    """Refuse a number of predicted labels outside of the vocabulary."""
    if not isinstance(k, int | np.integer) or not 1 <= k <= labels:
        raise ValueError(f"k is {k!r}, expected a whole number from 1 to {labels}, all labels")


def check_track_index(
    track_index: np.ndarray, segments: int, tracks: int | None = None
) -> np.ndarray:
    """The row of each segment's track, (segments,): integers, every track with a segment."""
    index = np.asarray(track_index)
    if index.shape != (segments,) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"track_index is {index.dtype} {index.shape}, not integers ({segments},)")
    last = int(index.max())
    tracks = last + 1 if tracks is None else tracks
    if index.min() < 0 or last >= tracks:
        raise ValueError(f"track_index goes from {index.min()} to {last}, for {tracks} tracks")
    empty = np.setdiff1d(np.arange(tracks), index)
    if len(empty):
        first = empty[:3].tolist()
        raise ValueError(f"{len(empty)} of {tracks} tracks have no segment, first: rows {first}")
    return index
