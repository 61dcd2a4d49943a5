"""Intervals: groups of tracks drawn with replacement, and the luck of seeds.

Intervals are 95 % and hold the luck of the tracks and of the training's seeds.
- Tracks: whole groups of tracks (an artist's, say) are drawn with replacement, and all metrics see
  the same draws; a label that loses all its positives in a draw is left out of that draw's mean.
- Seeds: the variance of a mean over n seeds is their variance / n, what drawing n − 1 of them gives
  on average (Rao & Wu 1988); three seeds are too few for percentiles of draws.
- The variances are added, which errs on the wide side (Owen, The pigeonhole bootstrap, 2007). The
  interval is the value ± Student's quantile × standard error. The value is the middle, not the mean
  of the draws: a track drawn twice stands beside its own copy, which lifts average precision.
- With one seed an interval knows nothing of seeds; none knows of other datasets.
"""

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import sem
from scipy.stats import t as student

from mer_utils.metrics import Measure

INTERVAL = (2.5, 97.5)  # per cent
BLOCK = 256  # draws scored at once: bounds memory to about 256 weights a track
BOOTSTRAP, CHANCE = 1, 2  # streams of one seed, so that chance draws never move the intervals


def group_numbers(groups: Sequence[Hashable] | None, tracks: int) -> np.ndarray:
    """Number of each track's group, (tracks,), from 0 on without gaps; None: each track its own.

    Raises ValueError for another number of groups than tracks, or a track without one.
    """
    if groups is None:
        return np.arange(tracks)
    if len(groups) != tracks:
        raise ValueError(f"{len(groups)} groups for {tracks} tracks; expected one each")
    numbers = pd.factorize(pd.Series(list(groups), dtype=object))[0]
    if (numbers < 0).any():
        raise ValueError(f"{(numbers < 0).sum()} of {tracks} tracks have no group (None or NaN)")
    return numbers


def draw_weights(groups: np.ndarray, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw as many groups as there are, with replacement, again and again.

    groups: (tracks,) as by `group_numbers`.
    Yields float64 (tracks, draws), how often each track was drawn, a block of draws at a time.
    """
    rng = np.random.default_rng((seed, BOOTSTRAP))
    count = groups.max() + 1
    for start in range(0, resamples, BLOCK):
        weights = np.empty((count, min(BLOCK, resamples - start)))
        for draw in range(weights.shape[1]):
            weights[:, draw] = np.bincount(rng.integers(0, count, count), minlength=count)
        yield weights[groups]


def resampled(
    measures: Mapping[str, Measure], groups: np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Every metric in every draw of groups: by name (resamples, labels).

    Raises ValueError for fewer than 2 resamples or groups.
    """
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}, expected at least 2")
    if groups.max() == 0:
        raise ValueError(f"{len(groups)} tracks are in 1 group; resampling needs 2 or more")
    blocks = [
        {name: measure(weights) for name, measure in measures.items()}
        for weights in draw_weights(groups, resamples, seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in measures}


def interval(
    value: float | np.ndarray, draws: np.ndarray, groups: np.ndarray, *of_seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95 % interval of a mean over seeds, and the two-sided p-value of its being 0.

    The variance is that of the draws of G groups, times G / (G − 1) (Rao & Wu 1988), plus that of
    the mean over n seeds of each method. Degrees of freedom are G − 1 and n − 1 each; those of the
    sum are Satterthwaite's (Biometrics Bulletin 2, 1946).

    value: one, or (labels,); draws: (draws,) or (draws, labels), of the mean over seeds.
    of_seeds: for each method (seeds,) or (seeds, labels).
    Returns low, high, p, each shaped like value; NaN where fewer than two draws have a value.
    """
    others = groups.max()  # groups − 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Degrees of freedom <= 0", RuntimeWarning)
        parts = [(np.nanvar(draws, axis=0, ddof=1) * (others + 1) / others, others)]
    parts += [(s.var(axis=0, ddof=1) / len(s), len(s) - 1) for s in of_seeds if len(s) > 1]
    variance = np.sum([part for part, _ in parts], axis=0)
    squares = np.sum([part**2 / freedom for part, freedom in parts], axis=0)
    freedom = np.where(squares > 0, variance**2 / np.where(squares > 0, squares, 1), others)
    error = np.sqrt(variance)
    half = student.ppf(0.975, freedom) * error
    # The tolerance keeps rounding from telling apart two methods that rank alike.
    same = np.abs(value) < 1e-12
    away = np.abs(value) / np.where(error == 0, np.finfo(float).tiny, error)
    return value - half, value + half, np.where(same, 1.0, 2 * student.sf(away, freedom))[()]


def percentiles(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5 and 97.5 % over the draws (draws, ...); NaN where there are none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice|Mean of empty", RuntimeWarning)
        low, high = np.nanpercentile(draws, INTERVAL, axis=0)
    return low, high


def interval_over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of a few independent values; NaN for fewer than two."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    half = student.ppf(0.975, len(values) - 1) * sem(values)
    return float(values.mean() - half), float(values.mean() + half)
