"""Do labels that listeners give together lie together? Text vectors beside real annotations."""

import warnings

import numpy as np
from scipy import stats

from mer_utils.labels.language_model import unit_rows


def co_occurrence(targets: np.ndarray) -> np.ndarray:
    """How often labels are given together, beyond how often each is given: their correlation.

    targets: (items, labels), boolean (then it is phi) or shares of listeners, 0 to 1.
    Returns (labels, labels) float64; NaN where a label is the same for all items.
    """
    matrix = targets.astype(np.float64)
    centred = matrix - matrix.mean(axis=0)
    spread = np.where(np.ptp(matrix, axis=0) > 0, matrix.std(axis=0), np.nan)  # (labels,)
    return centred.T @ centred / len(matrix) / np.outer(spread, spread)


def affect_correlation(vectors: np.ndarray, targets: np.ndarray) -> float:
    """Do labels that are given together lie together? Spearman's rank correlation over all pairs.

    Of two labels' cosine and their co-occurrence in real annotations. Nine labels make 36 pairs, so
    differences of .1 say little.

    vectors: (labels, d), not zero; targets: (items, labels), as in `co_occurrence`.
    Returns −1 to 1. Labels that are the same for all items are left out with a warning.
    Raises ValueError if fewer than three labels remain, or all pairs of labels are alike.
    """
    if len(vectors) != targets.shape[1]:
        raise ValueError(f"{len(vectors)} label vectors, but targets for {targets.shape[1]} labels")
    varies = (targets != targets[0]).any(axis=0)  # (labels,)
    kept, alike = np.flatnonzero(varies), np.flatnonzero(~varies).tolist()
    if alike:
        said = f"labels that are the same for all items are left out: columns {alike}"
        warnings.warn(said, stacklevel=2)
    if len(kept) < 3:
        raise ValueError(f"{len(kept)} labels that tell items apart; a correlation needs 3")
    unit = unit_rows(vectors[kept].astype(np.float64), [f"column {i}" for i in kept])
    pairs = np.triu_indices(len(kept), k=1)
    # Rounded, so that pairs that are alike but for rounding errors share a rank.
    near = (unit @ unit.T)[pairs].round(9)  # (pairs,)
    often = co_occurrence(targets)[np.ix_(kept, kept)][pairs].round(9)  # (pairs,)
    if np.ptp(near) == 0 or np.ptp(often) == 0:
        raise ValueError("all pairs of labels are alike; there is nothing to correlate")
    return float(stats.spearmanr(near, often).statistic)
