"""Do labels that listeners give together lie together? Text vectors beside real annotations."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mer_utils.data.types import Labelled
from mer_utils.labels.language_model import unit_rows


def annotations(part: Labelled) -> np.ndarray:
    """How listeners gave the labels, (tracks, labels): shares of them if known, else yes or no."""
    table = part.dataset.tracks
    if "share" in table:
        return np.stack(table["share"].to_numpy())
    return part.dataset.targets()


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


def co_occurrence_map(
    vectors: Sequence[np.ndarray], targets: Sequence[np.ndarray], components: int = 4
) -> np.ndarray:
    """A linear map of text vectors, learned from which labels are given together in training data.

    For each dataset the matrix M with the least ‖V M Vᵀ − C‖² is found by ridge regression on both
    sides (penalty: the vectors' mean square length), where C is `co_occurrence`; the leading
    eigenvectors of their mean are the directions of the words that listeners keep together.

    vectors, targets: of each training dataset (labels, d) and (tracks, labels) bool.
    Returns (d, components): label vectors times it are the labels' new coordinates.
    """
    matrices = []
    for rows, items in zip(vectors, targets, strict=True):
        kept = (items != items[0]).any(axis=0)  # a label that all or no tracks have says nothing
        rows = np.asarray(rows, dtype=np.float64)[kept]
        together = co_occurrence(items[:, kept])  # (labels, labels)
        kernel = rows @ rows.T
        smooth = np.linalg.inv(kernel + np.trace(kernel) / len(kernel) * np.eye(len(rows)))
        matrices.append(rows.T @ smooth @ together @ smooth @ rows)  # (d, d)
    values, directions = np.linalg.eigh(np.mean(matrices, axis=0))
    order = np.argsort(-values)[:components]
    return directions[:, order] * np.sqrt(np.maximum(values[order], 0))
