"""What to compare with: random scores, and a model that learned from the target's own labels."""

import warnings
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mer_utils.evaluation.resampling import CHANCE, group_numbers
from mer_utils.metrics import f1_of_counts, macro
from mer_utils.progress import progress_bar

INVERSE_STRENGTH = 0.03
"""scikit-learn's C of the supervised reference: over seeds it gives macro ROC-AUC about .835 on
Mulan's emotions and .592 on its CAL500 (64 features); C = 1 gives .823 and .564."""


def checked_targets(
    targets: np.ndarray, label_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Boolean targets (tracks, labels), and the labels' names (default: the column numbers)."""
    targets = np.asarray(targets)
    if targets.ndim != 2 or 0 in targets.shape:
        raise ValueError(f"targets have the shape {targets.shape}, expected (tracks, labels)")
    if not np.isin(targets, (0, 1)).all():
        raise ValueError("targets hold values other than true, false, 0 and 1")
    labels = targets.shape[1]
    names = np.array(list(range(labels) if label_names is None else label_names), dtype=str)
    if len(names) != labels:
        raise ValueError(f"{len(names)} label_names for targets of {labels} labels")
    return targets.astype(bool), names


def chance_levels(
    targets: np.ndarray, k: int, segments: np.ndarray | None, draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Each metric of random scores, by name (draws,).

    The vote over random segments needs no draws of its own: by symmetry among the labels it elects
    every set of k labels with the same probability, as random scores of the song do.

    segments: (tracks,) number of segments, or None if scores are of tracks.
    """
    counts = None if segments is None else tuple(segments.tolist())
    return _chance_levels(targets.tobytes(), targets.shape, k, counts, draws, seed)


@lru_cache(maxsize=32)  # the methods of a target are all held against the same
def _chance_levels(
    marks: bytes, shape: tuple[int, int], k: int, segments: tuple | None, draws: int, seed: int
) -> dict[str, np.ndarray]:
    targets = np.frombuffer(marks, dtype=bool).reshape(shape)
    rng = np.random.default_rng((seed, CHANCE))
    chance = {"song_macro_f1": random_top_k(targets, k, draws, rng)}
    chance["song_roc_auc"], chance["song_average_precision"] = _random_ranks(rng, targets, draws)
    if segments is not None:
        rows = np.repeat(np.arange(len(targets)), segments)
        chance["segment_macro_f1"] = random_top_k(targets, k, draws, rng, rows)
    return chance


def random_top_k(
    targets: np.ndarray,
    k: int,
    draws: int,
    rng: np.random.Generator,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Macro-F1 (draws,) of k labels drawn at random for every track.

    rows: (items,) the row in targets of each item to draw for, such as a segment; None: the tracks.
    """
    rows = np.arange(len(targets)) if rows is None else rows
    labels = targets.shape[1]
    actual = targets[rows].sum(axis=0)
    flat = targets.ravel()
    values = np.empty(draws)
    for draw in range(draws):
        picks = _random_subsets(rng, len(rows), labels, k)  # (k, items)
        hits = np.bincount(picks[flat[rows * labels + picks]], minlength=labels)  # (labels,)
        predicted = np.bincount(picks.ravel(), minlength=labels)
        values[draw] = macro(f1_of_counts(hits, predicted, actual))
    return values


def _random_subsets(rng: np.random.Generator, items: int, labels: int, k: int) -> np.ndarray:
    """k different labels for each item, every set equally likely: (k, items).

    R. Floyd's algorithm (Bentley, Programming Pearls, CACM 30(9), 1987): k draws, not `labels`.
    """
    picks = np.empty((k, items), dtype=np.intp)
    for i, last in enumerate(range(labels - k, labels)):
        drawn = rng.integers(0, last + 1, size=items)
        picks[i] = np.where((picks[:i] == drawn).any(axis=0), last, drawn)
    return picks


def _random_ranks(
    rng: np.random.Generator, targets: np.ndarray, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Macro ROC-AUC and average precision (draws,) of one random score a song and label.

    Both depend only on the ranks of a label's positives, which are a random subset of all ranks.
    """
    tracks, labels = targets.shape
    auc = np.full((draws, labels), np.nan)
    precision = np.full((draws, labels), np.nan)
    for label, count in enumerate(targets.sum(axis=0)):
        if count == 0:
            continue
        ranks = np.stack(
            [rng.choice(tracks, count, replace=False, shuffle=False) for _ in range(draws)]
        )
        ranks.sort(axis=1)  # (draws, positives), 0 is the highest score
        before = np.arange(count)  # positives above
        precision[:, label] = ((before + 1) / (ranks + 1)).mean(axis=1)
        if count < tracks:
            auc[:, label] = 1 - (ranks - before).mean(axis=1) / (tracks - count)
    return macro(auc), macro(precision)


def supervised_reference(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
    label_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Scores that the same features reach when a linear model may learn from the target's labels.

    For each label, standardised features and logistic regression with fixed regularisation, out of
    stratified folds that never split a group.

    features: (tracks, dim); average segments and layers first.
    targets: boolean (tracks, labels).
    groups: (tracks,) artist or whatever must not be split (default: each track for itself).
    Returns (tracks, labels) log-odds, each from a model that did not see the track. A label that
    has no positives or no negatives in some training part cannot be learned: its column is NaN and
    a UserWarning names it; pass such scores on with unscored="leave_out".
    Raises ValueError for features that do not fit, and more folds than groups.
    """
    targets, names = checked_targets(targets, label_names)
    features = np.asarray(features)
    if len(features) != len(targets):
        raise ValueError(f"features are {features.shape}, expected ({len(targets)} tracks, dim)")
    groups = group_numbers(groups, len(targets))
    if folds > groups.max() + 1:
        raise ValueError(f"{folds} folds, but only {groups.max() + 1} groups of tracks")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_STRENGTH, max_iter=1000))
    scores = np.full(targets.shape, np.nan)
    # Many small fits: BLAS threads would spend their time waiting for one another.
    with threadpool_limits(limits=1):
        for label in progress_bar(range(len(names)), desc="supervised reference", leave=False):
            target = targets[:, label]
            parts = stratified_folds(target, groups, folds, seed)
            if any(target[train].all() or not target[train].any() for train, _ in parts):
                continue
            out_of_fold = {"cv": parts, "method": "decision_function"}
            scores[:, label] = cross_val_predict(model, features, target, **out_of_fold)
    unlearned = names[np.isnan(scores).any(axis=0)]
    if len(unlearned):
        warnings.warn(
            f"{len(unlearned)} of {len(names)} labels have no positives or no negatives in some "
            f"training part of {folds} folds and get no scores: {', '.join(unlearned)}",
            stacklevel=2,
        )
    return scores


def stratified_folds(
    target: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of each fold for one label, or any classes; groups are whole."""
    alone = len(np.unique(groups)) == len(groups)  # then the plain splitter, which is much faster
    splitter = StratifiedKFold if alone else StratifiedGroupKFold
    splitter = splitter(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A rare label is missing in some test parts, which does no harm.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(target, target, None if alone else groups))
