"""Scoring: how well scores for emotion labels agree with the labels that listeners gave.

What is measured. The paper's own score (Liu, Roy, Herremans, arXiv 2410.11522): the k labels with
the highest scores are the prediction, macro-F1 over labels, for segments and for songs (a song's
labels by vote of its segments). Beside it stand scores without a threshold: ROC-AUC (the chance
that a track with the label ranks above one without it, ties count a half) and average precision
(scikit-learn's definition: precision at every distinct score, weighted by the recall gained there,
no interpolation), both over songs, whose score is the mean over their segments.

Conventions.
- Arrays come in, pandas tables go out. scores: (segments, labels) with `track_index`, or (tracks,
  labels); higher means more likely, any scale. targets: boolean (tracks, labels). track_index:
  (segments,) the row of each segment's track in `targets`.
- Macro means over labels leave out a label without positives (and, for ROC-AUC, one without
  negatives); the tables name it. It never counts as 0 or 1. A label with positives that is never
  predicted has F1 0, as in scikit-learn.
- Intervals are 95 % and hold the luck of the tracks and of the training's seeds. Tracks: whole
  groups of tracks (an artist's, say) are drawn with replacement, a track's segments go with it, and
  all metrics see the same draws; a label that loses all its positives in a draw is left out of that
  draw's mean. Seeds: the variance of a mean over n seeds is their variance / n, what drawing n − 1
  of them gives on average (Rao & Wu 1988); three seeds are too few for percentiles of draws, so it
  is calculated. The variances are added, and the interval is the value ± Student's quantile ×
  standard error with the degrees of freedom of Satterthwaite (1946): `_student`. What seeds and
  tracks do together is in both variances, which errs on the wide side (Owen, The pigeonhole
  bootstrap, 2007). The value is the middle, not the mean of the draws: a track that is drawn twice
  stands beside its own copy, which lifts average precision.
- With one seed an interval knows nothing of seeds, and no interval knows of other datasets.
- A draw is written as how often each track was drawn, a weight, so that all draws of a block are
  scored by a few matrix products: scores are sorted once a label, not once a draw.
- Chance is the same metric on the same labels for scores drawn at random.
- Sums that decide are exact: counts of tracks and segments in float64.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.stats import rankdata
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mer_utils.progress import progress_bar

METRICS = ("segment_macro_f1", "song_macro_f1", "song_roc_auc", "song_average_precision")
_INTERVAL = (2.5, 97.5)  # per cent
_BLOCK = 256  # draws scored at once: bounds memory to about 256 weights a track
_BOOTSTRAP, _CHANCE = 1, 2  # streams of one seed, so that chance draws never move the intervals


# --- Predictions -------------------------------------------------------------------------------


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The k labels with the highest scores of every row; of equal scores the earlier label.

    scores: (rows, labels), finite.
    k: 1 … labels.

    Returns a boolean array (rows, labels) with exactly k true in each row.
    Raises ValueError for scores that are not finite or a k outside the vocabulary.
    """
    scores = _finite_scores(scores)
    _check_k(k, scores.shape[1])
    return _top_k(scores, k)


def count_votes(
    similarities: np.ndarray, track_index: np.ndarray, k: int, tracks: int | None = None
) -> np.ndarray:
    """How many segments of each track have each label among their k most similar ones.

    similarities: (segments, labels), finite.
    track_index: (segments,) rows 0 … tracks − 1; every track has at least one segment.
    tracks: number of tracks (default: the largest row + 1).

    Returns integers (tracks, labels); a row sums to k times the track's segments.
    """
    similarities = _finite_scores(similarities)
    _check_k(k, similarities.shape[1])
    track_index, tracks = _checked_track_index(track_index, len(similarities), tracks)
    return _count_votes(similarities, track_index, k, tracks)


def vote(similarities: np.ndarray, track_index: np.ndarray, k: int) -> np.ndarray:
    """The paper's song vote: a song's labels are the k that most of its segments vote for.

    Every segment votes for the k labels most similar to it. The paper's code leaves labels with
    equally many votes to the order in which torch.topk happens to give them; here the label with
    the higher mean similarity over the track's segments wins, then the earlier label.

    similarities: (segments, labels) cosine of projected audio and label, finite.
    track_index: (segments,) row of each segment's track, 0 … tracks − 1, none without a segment.
    k: 1 … labels.

    Returns a boolean array (tracks, labels) with exactly k true in each row.
    Raises ValueError for similarities that are not finite, a k outside the vocabulary, a
    track_index of another length or with gaps.
    """
    similarities = _finite_scores(similarities)
    _check_k(k, similarities.shape[1])
    track_index, tracks = _checked_track_index(track_index, len(similarities), None)
    votes = _count_votes(similarities, track_index, k, tracks)
    return _elect(votes, _track_means(similarities, track_index, tracks), k)


def track_scores(
    scores: np.ndarray, track_index: np.ndarray, tracks: int | None = None
) -> np.ndarray:
    """Mean score of each track's segments.

    scores: (segments, labels), finite.
    track_index: (segments,) rows 0 … tracks − 1; every track has at least one segment.
    tracks: number of tracks (default: the largest row + 1).

    Returns float64 (tracks, labels).
    """
    scores = _finite_scores(scores)
    track_index, tracks = _checked_track_index(track_index, len(scores), tracks)
    return _track_means(scores, track_index, tracks)


def _top_k(scores: np.ndarray, k: int) -> np.ndarray:
    if k == scores.shape[1]:
        return np.ones(scores.shape, dtype=bool)
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # (rows, 1) the k-th highest score
    chosen = scores >= last  # (rows, labels): more than k where scores are equal
    crowded = np.flatnonzero(chosen.sum(axis=1) > k)
    above = scores[crowded] > last[crowded]
    equal = chosen[crowded] & ~above
    places = k - above.sum(axis=1, keepdims=True)
    chosen[crowded] = above | (equal & (np.cumsum(equal, axis=1) <= places))
    return chosen


def _count_votes(scores: np.ndarray, track_index: np.ndarray, k: int, tracks: int) -> np.ndarray:
    labels = scores.shape[1]
    segment, label = np.nonzero(_top_k(scores, k))
    votes = np.bincount(track_index[segment] * labels + label, minlength=tracks * labels)
    return votes.reshape(tracks, labels)


def _track_means(scores: np.ndarray, track_index: np.ndarray, tracks: int) -> np.ndarray:
    if (np.diff(track_index) < 0).any():
        order = np.argsort(track_index, kind="stable")
        scores, track_index = scores[order], track_index[order]
    segments = np.bincount(track_index, minlength=tracks)
    starts = np.cumsum(segments) - segments
    sums = np.add.reduceat(scores, starts, axis=0, dtype=np.float64)  # (tracks, labels)
    return sums / segments[:, None]


def _elect(votes: np.ndarray, means: np.ndarray, k: int) -> np.ndarray:
    ranked = np.lexsort((-means, -votes), axis=1)[:, :k]  # stable: then the earlier label
    elected = np.zeros(votes.shape, dtype=bool)
    np.put_along_axis(elected, ranked, True, axis=1)
    return elected


# --- Metrics over weighted tracks ----------------------------------------------------------------


@dataclass(frozen=True)
class _Counts:
    """What macro-F1 needs of each track: (tracks, labels) each."""

    hits: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray


@dataclass(frozen=True)
class _Ranking:
    """One label's tracks in descending order of score, cut into runs.

    A run is a set of equal scores with a positive in it, or a stretch of tracks without one.
    runs: (runs, tracks) which tracks are in which run.
    positives: (runs with positives, tracks) which positives are in them.
    positive_runs: rows of `runs` that have positives.
    """

    runs: csr_array
    positives: csr_array
    positive_runs: np.ndarray


def f1(predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of each label; NaN for a label without positives.

    predicted, targets: boolean (tracks, labels).
    weights: (tracks,) or (draws, tracks), non-negative, such as how often each track was drawn.

    Returns (labels,) or (draws, labels).
    """
    targets = _checked_targets(targets)
    predicted = _boolean(predicted, "predictions", targets.shape)
    return _weighted(lambda w: _f1(_counts(predicted, targets), w), weights, len(targets))


def macro_f1(
    predicted: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Mean F1 over the labels that have positives; arguments as for `f1`.

    Returns a number, or (draws,) for weights (draws, tracks).
    """
    return _macro(f1(predicted, targets, weights))


def roc_auc(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """ROC-AUC of each label, exact with ties; NaN for a label without positives or negatives.

    scores: (tracks, labels), finite.
    targets: boolean (tracks, labels).
    weights: (tracks,) or (draws, tracks), non-negative.

    Returns (labels,) or (draws, labels).
    """
    targets = _checked_targets(targets)
    scores = _finite_scores(scores, targets.shape)
    if weights is None:
        return _roc_auc_once(scores, targets)
    rankings = _rankings(scores, targets)
    return _weighted(lambda w: _roc_auc(rankings, w), weights, len(targets))


def average_precision(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Average precision of each label (equal scores count as one threshold), NaN without positives.

    Arguments and shapes as for `roc_auc`.
    """
    targets = _checked_targets(targets)
    rankings = _rankings(_finite_scores(scores, targets.shape), targets)
    return _weighted(lambda w: _average_precision(rankings, w), weights, len(targets))


def resampling_counts(
    tracks: int, resamples: int, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """How often each track is drawn when as many groups as there are are drawn with replacement.

    groups: (tracks,) what is drawn together (default: each track for itself).

    Returns integers (resamples, tracks), equal within a group; without groups every row sums to
    `tracks`. These are the draws that `evaluate`, `per_label` and `compare` use with the same seed.
    """
    blocks = _weight_blocks(_checked_groups(groups, tracks), resamples, seed)
    return np.concatenate([weights.T for weights in blocks]).astype(np.int64)


def _weighted(
    metric: Callable[[np.ndarray], np.ndarray], weights: np.ndarray | None, tracks: int
) -> np.ndarray:
    """Call a metric that wants weights (tracks, draws) with weights as a caller gives them."""
    if weights is None:
        return metric(np.ones((tracks, 1)))[0]
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim not in (1, 2) or weights.shape[-1] != tracks:
        raise ValueError(
            f"weights have the shape {weights.shape}, expected ({tracks},) or (draws, {tracks}): "
            "one weight for each track"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights hold values that are negative or not finite; expected counts")
    values = metric(np.atleast_2d(weights).T)
    return values[0] if weights.ndim == 1 else values


def _macro(values: np.ndarray) -> float | np.ndarray:
    """Mean over the last axis without the labels that are NaN; NaN if all are."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
    return float(mean) if mean.ndim == 0 else mean


def _counts(predicted: np.ndarray, targets: np.ndarray, segments: np.ndarray | int = 1) -> _Counts:
    """Counts of each track: `predicted` (tracks, labels) says how many of its segments predict."""
    return _Counts(
        hits=np.where(targets, predicted, 0).astype(np.float64),
        predicted=predicted.astype(np.float64),
        actual=(targets * np.reshape(segments, (-1, 1))).astype(np.float64),
    )


def _f1(counts: _Counts, weights: np.ndarray) -> np.ndarray:
    hits = weights.T @ counts.hits  # (draws, labels)
    actual = weights.T @ counts.actual
    predicted = weights.T @ counts.predicted
    return _divide(2 * hits, np.where(actual > 0, predicted + actual, 0))


def _rankings(scores: np.ndarray, targets: np.ndarray) -> list[_Ranking]:
    return [_ranking(scores[:, label], targets[:, label]) for label in range(targets.shape[1])]


def _ranking(scores: np.ndarray, targets: np.ndarray) -> _Ranking:
    """Sort one label's tracks: scores (tracks,), targets (tracks,) boolean."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    group = np.concatenate([[0], np.cumsum(ranked[1:] != ranked[:-1])])  # (tracks,) equal scores
    hit = np.zeros(group[-1] + 1, dtype=bool)
    hit[group[targets[order]]] = True  # (groups,) has a positive
    opens = np.ones(len(hit), dtype=bool)
    opens[1:] = hit[1:] | hit[:-1]  # groups without positives join the one before
    run = (np.cumsum(opens) - 1)[group]  # (tracks,) in ranked order
    positive_runs = np.unique(run[targets[order]])
    return _Ranking(
        runs=_membership(run, order, run[-1] + 1, len(scores)),
        positives=_membership(
            np.searchsorted(positive_runs, run[targets[order]]),
            order[targets[order]],
            len(positive_runs),
            len(scores),
        ),
        positive_runs=positive_runs,
    )


def _membership(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> csr_array:
    """A 0/1 matrix with ones at (rows, columns); rows ascend."""
    pointers = np.searchsorted(rows, np.arange(height + 1))
    return csr_array((np.ones(len(columns)), columns, pointers), shape=(height, width))


def _roc_auc_once(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Every track counted once, by the sum of the positives' ranks (Mann & Whitney 1947).

    The same numbers as `_roc_auc` with weights of 1, in a tenth of the time: training asks for it
    after every epoch.
    """
    ranks = rankdata(scores, axis=0)  # (tracks, labels), ties share their mean rank
    positive = targets.sum(axis=0).astype(np.float64)  # (labels,)
    won = np.where(targets, ranks, 0).sum(axis=0) - positive * (positive + 1) / 2
    return _divide(won, positive * (len(targets) - positive))


def _roc_auc(rankings: list[_Ranking], weights: np.ndarray) -> np.ndarray:
    values = np.empty((weights.shape[1], len(rankings)))  # (draws, labels)
    for label, ranking in enumerate(rankings):
        inside = ranking.runs @ weights  # (runs, draws)
        positives = ranking.positives @ weights  # (runs with positives, draws)
        retrieved = np.cumsum(inside, axis=0)[ranking.positive_runs]
        above_or_tied = retrieved - np.cumsum(positives, axis=0)  # negatives
        tied = inside[ranking.positive_runs] - positives
        positive = positives.sum(axis=0)  # (draws,)
        negative = inside.sum(axis=0) - positive
        won = (positives * (negative - above_or_tied + tied / 2)).sum(axis=0)
        values[:, label] = _divide(won, positive * negative)
    return values


def _average_precision(rankings: list[_Ranking], weights: np.ndarray) -> np.ndarray:
    values = np.empty((weights.shape[1], len(rankings)))  # (draws, labels)
    for label, ranking in enumerate(rankings):
        positives = ranking.positives @ weights  # (runs with positives, draws)
        retrieved = np.cumsum(ranking.runs @ weights, axis=0)[ranking.positive_runs]
        precision = np.cumsum(positives, axis=0) / np.where(retrieved > 0, retrieved, 1)
        values[:, label] = _divide((positives * precision).sum(axis=0), positives.sum(axis=0))
    return values


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient; NaN where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0
    )


# --- Tables --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """Scores of one method on one dataset, ready to be weighted.

    metrics: name → function of weights (tracks, draws) that gives (draws, labels).
    targets: (tracks, labels) of the labels that are scored.
    segments: (tracks,) number of segments, or none if the scores are per track.
    """

    metrics: dict[str, Callable[[np.ndarray], np.ndarray]]
    targets: np.ndarray
    segments: np.ndarray | None


def evaluate(
    scores: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    k: int,
    track_index: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    chance_draws: int = 200,
    label_names: Sequence[str] | None = None,
    unscored: str = "error",
    groups: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Score a method: every metric with its interval, its chance and what it was measured on.

    scores: (segments, labels) with `track_index`, or (tracks, labels); finite. A list or tuple of
        such arrays, one a seed, gives the mean over seeds of every metric, and its interval holds
        the seeds' luck. With one array the interval knows nothing of seeds.
    targets: boolean (tracks, labels).
    k: how many labels are predicted, 1 … labels (paper: MTG-Jamendo 2, CAL500 4, Emotify 3).
    track_index: (segments,) row of each segment's track in `targets`; every track has a segment.
    resamples: draws of groups of tracks for the 95 % interval (module's docstring), 2 or more.
    seed: decides all draws; the same seed resamples the same tracks for every method.
    chance_draws: draws of random scores for the chance level.
    label_names: (labels,) names for the column labels_left_out (default: the column numbers).
    unscored: "error", or "leave_out": a label whose scores are all NaN (as `supervised_reference`
        gives for one it cannot learn) is named and left out, of the k predicted labels too.
    groups: (tracks,) artist or whatever is drawn together (default: each track for itself).

    Returns a table indexed by metric: segment_macro_f1 (only with `track_index`), song_macro_f1
    (with `track_index` by `vote`, else by `top_k`), song_roc_auc and song_average_precision (of
    the mean score of a song's segments). Columns: value; low, high (95 % interval); chance,
    chance_low, chance_high (mean and 2.5/97.5 % of random scores on the same labels); tracks;
    labels (in the mean); labels_left_out (names, comma-separated); k (of the F1 rows); seeds;
    seed_sd (deviation of the value over seeds, NaN for one).

    Chance: for segments, random scores of every segment; for songs, one random score of every song
    and label. The vote over random segments needs no draws of its own: by symmetry among the labels
    it elects every set of k labels with the same probability, as random scores of the song do.

    Raises ValueError that names what does not fit: shapes, NaN, k, empty targets, a track without
    segments, tracks that are all of one group.
    """
    _check_positive(chance_draws=chance_draws)
    seeds, targets, names, left_out = _prepared(_seeds(scores), targets, label_names, unscored)
    cases = [_case(scores, targets, k, track_index) for scores in seeds]
    groups = _checked_groups(groups, len(targets))
    draws = _resampled(_means(cases), groups, resamples, seed)
    chance = _chance(cases[0], k, chance_draws, seed)
    rows = {}
    for metric in cases[0].metrics:
        values = _values(cases, metric)  # (seeds, labels)
        value, of_seeds = _macro(values.mean(axis=0)), _macro(values)
        low, high, _ = _student(value, _macro(draws[metric]), groups, of_seeds)
        chance_low, chance_high = _percentiles(chance[metric])
        rows[metric] = {
            "value": value,
            "low": np.clip(low, 0, 1),
            "high": np.clip(high, 0, 1),
            "chance": np.mean(chance[metric]),
            "chance_low": chance_low,
            "chance_high": chance_high,
        } | _measured_on(metric, values[0], names, left_out, len(targets), k)
        rows[metric] |= {"seeds": len(seeds), "seed_sd": _deviation(of_seeds)}
    return _table(rows)


def metric_values(
    scores: np.ndarray,
    targets: np.ndarray,
    k: int,
    track_index: np.ndarray | None = None,
    unscored: str = "error",
) -> pd.Series:
    """The column `value` of `evaluate` alone, without intervals and chance: for many runs.

    Arguments as for `evaluate`. Returns a series indexed by metric.
    """
    (scores,), targets, _, _ = _prepared([scores], targets, None, unscored)
    case = _case(scores, targets, k, track_index)
    ones = np.ones((len(targets), 1))
    values = {metric: _macro(measure(ones)[0]) for metric, measure in case.metrics.items()}
    return pd.Series(values, name="value").rename_axis("metric")


def shuffled_chance(
    scores_of_draws: Iterable[np.ndarray],
    targets: np.ndarray,
    k: int,
    track_index: np.ndarray | None = None,
) -> pd.DataFrame:
    """Chance of a trained method: scores of the same method trained with shuffled labels.

    Random scores are too low a bar for a trained zero-shot model, whose labels are correlated.

    scores_of_draws: one array of scores for each training with shuffled labels, as for `evaluate`.

    Returns a table indexed by metric: mean, sd, low, high (2.5/97.5 %), largest, draws.
    """
    draws = pd.DataFrame(
        [metric_values(scores, targets, k, track_index) for scores in scores_of_draws]
    )
    if draws.empty:
        raise ValueError("no scores of trainings with shuffled labels were given; expected some")
    low, high = np.percentile(draws.to_numpy(), _INTERVAL, axis=0)
    return pd.DataFrame(
        {
            "mean": draws.mean(),
            "sd": draws.std(ddof=1),
            "low": low,
            "high": high,
            "largest": draws.max(),
            "draws": len(draws),
        }
    ).rename_axis("metric")


def per_label_scores(
    scores: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    label_names: Sequence[str],
    track_index: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    unscored: str = "error",
    groups: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """ROC-AUC and average precision of each label over songs, with 95 % intervals.

    Arguments as for `evaluate`.

    Returns a table indexed by label, in the given order: tracks, positives, prevalence; roc_auc,
    roc_auc_low, roc_auc_high; average_precision, …_low, …_high; average_precision_chance (what
    random scores are expected to reach: the prevalence, and a little more where tracks are few;
    chance of ROC-AUC is .5). A label that cannot be scored has NaN there. An interval is over the
    draws in which the label still has positives (and negatives).
    """
    all_targets = _checked_targets(targets)
    names = _checked_names(label_names, all_targets.shape[1])
    seeds, targets, scored_names, _ = _prepared(_seeds(scores), targets, names, unscored)
    cases = [_ranking_case(_song_scores(s, targets, track_index)[0], targets) for s in seeds]
    groups = _checked_groups(groups, len(targets))
    draws = _resampled(_means(cases), groups, resamples, seed)
    columns = {}
    for song_metric in cases[0].metrics:
        metric, values = song_metric.removeprefix("song_"), _values(cases, song_metric)
        columns[metric] = values.mean(axis=0)  # (labels,)
        low, high, _ = _student(columns[metric], draws[song_metric], groups, values)
        columns[f"{metric}_low"], columns[f"{metric}_high"] = np.clip([low, high], 0, 1)
    scored = pd.DataFrame(columns, index=scored_names)
    positives = all_targets.sum(axis=0)
    table = pd.DataFrame({"tracks": len(all_targets), "positives": positives}, index=names)
    table["prevalence"] = positives / len(all_targets)
    table = table.join(scored).rename_axis("label")
    table["average_precision_chance"] = _expected_average_precision(positives, len(all_targets))
    return table


def compare(
    scores_a: np.ndarray | Sequence[np.ndarray],
    scores_b: np.ndarray | Sequence[np.ndarray],
    targets: np.ndarray,
    k: int,
    track_index_a: np.ndarray | None = None,
    track_index_b: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
    label_names: Sequence[str] | None = None,
    unscored: str = "error",
    groups: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Compare two methods on the same tracks by a paired bootstrap.

    Every draw takes the same tracks for both methods, so what makes a track hard for both cancels.
    The seeds of the two are taken as independent.

    scores_a, scores_b: scores of the two methods, each (segments, labels) with its own track index,
        or (tracks, labels), or a list of such, one a seed, as for `evaluate`. The segment row is
        there if both have segments.
    Other arguments as for `evaluate`; a label that is unscored for one is left out for both.

    Returns a table indexed by metric: value_a, value_b, difference (a − b), low, high (95 %
    interval of the difference), p, tracks, labels, labels_left_out, k, seed_sd_a, seed_sd_b. p is
    two-sided, from the same standard error and degrees of freedom as the interval: it is below .05
    exactly if the interval leaves 0 out. It is not corrected for many comparisons: see `holm`.
    """
    seeds_a, seeds_b = _seeds(scores_a), _seeds(scores_b)
    prepared, targets, names, left_out = _prepared(
        [*seeds_a, *seeds_b], targets, label_names, unscored
    )
    cases_a = [_case(s, targets, k, track_index_a) for s in prepared[: len(seeds_a)]]
    cases_b = [_case(s, targets, k, track_index_b) for s in prepared[len(seeds_a) :]]
    groups = _checked_groups(groups, len(targets))
    draws_a = _resampled(_means(cases_a), groups, resamples, seed)
    draws_b = _resampled(_means(cases_b), groups, resamples, seed)
    rows = {}
    for metric in [metric for metric in draws_a if metric in draws_b]:
        values_a, values_b = _values(cases_a, metric), _values(cases_b, metric)
        value_a, value_b = _macro(values_a.mean(axis=0)), _macro(values_b.mean(axis=0))
        of_a, of_b = _macro(values_a), _macro(values_b)  # (seeds,)
        draws = _macro(draws_a[metric]) - _macro(draws_b[metric])  # (draws,)
        low, high, p = _student(value_a - value_b, draws, groups, of_a, of_b)
        rows[metric] = {
            "value_a": value_a,
            "value_b": value_b,
            "difference": value_a - value_b,
            "low": low,
            "high": high,
            "p": p,
        } | _measured_on(metric, values_a[0], names, left_out, len(targets), k)
        rows[metric] |= {"seed_sd_a": _deviation(of_a), "seed_sd_b": _deviation(of_b)}
    return _table(rows)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values corrected for how many they are (Holm 1979), in their order."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(corrected, 1)
    return found


def _case(scores: np.ndarray, targets: np.ndarray, k: int, track_index: np.ndarray | None) -> _Case:
    """Count and sort once: everything that does not depend on which tracks are drawn."""
    _check_k(k, targets.shape[1])
    songs, segments = _song_scores(scores, targets, track_index)
    metrics = {}
    if segments is None:
        song_counts = _counts(_top_k(songs, k), targets)
    else:
        votes = _count_votes(scores, np.asarray(track_index), k, len(targets))
        segment_counts = _counts(votes, targets, segments)
        song_counts = _counts(_elect(votes, songs, k), targets)
        metrics["segment_macro_f1"] = lambda weights: _f1(segment_counts, weights)
    metrics["song_macro_f1"] = lambda weights: _f1(song_counts, weights)
    return _Case(metrics | _ranking_case(songs, targets).metrics, targets, segments)


def _ranking_case(songs: np.ndarray, targets: np.ndarray) -> _Case:
    """The metrics without a threshold alone, of scores (tracks, labels)."""
    rankings = _rankings(songs, targets)
    metrics = {
        "song_roc_auc": lambda weights: _roc_auc(rankings, weights),
        "song_average_precision": lambda weights: _average_precision(rankings, weights),
    }
    return _Case(metrics, targets, None)


def _seeds(scores: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """One array of scores, or several of one method, as a list."""
    if not isinstance(scores, list | tuple):
        return [scores]
    if not scores:
        raise ValueError("an empty list of scores; expected one array a seed")
    return list(scores)


def _values(cases: Sequence[_Case], metric: str) -> np.ndarray:
    """A metric of each seed on every track once: (seeds, labels)."""
    ones = np.ones((len(cases[0].targets), 1))
    return np.stack([case.metrics[metric](ones)[0] for case in cases])


def _means(cases: Sequence[_Case]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Every metric as the mean over the seeds of one method."""

    def mean(metric: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda weights: np.mean([case.metrics[metric](weights) for case in cases], axis=0)

    return {metric: mean(metric) for metric in cases[0].metrics}


def _song_scores(
    scores: np.ndarray, targets: np.ndarray, track_index: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores of each song (tracks, labels), and its number of segments if there are any."""
    if track_index is None:
        if len(scores) != len(targets):
            raise ValueError(
                f"scores have {len(scores)} rows but targets {len(targets)} tracks; "
                "if the rows are segments pass track_index, the row of each segment's track"
            )
        return scores, None
    track_index, tracks = _checked_track_index(track_index, len(scores), len(targets))
    return _track_means(scores, track_index, tracks), np.bincount(track_index, minlength=tracks)


def _resampled(
    metrics: dict[str, Callable[[np.ndarray], np.ndarray]],
    groups: np.ndarray,
    resamples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Every metric in every draw of groups: name → (resamples, labels)."""
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}, expected at least 2, better 1000")
    blocks = [
        {metric: measure(weights) for metric, measure in metrics.items()}
        for weights in _weight_blocks(groups, resamples, seed)
    ]
    return {metric: np.concatenate([block[metric] for block in blocks]) for metric in metrics}


def _weight_blocks(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The draws of `resampling_counts`, a block (tracks, draws) at a time to bound memory.

    groups: (tracks,) numbers from 0 on without gaps.
    """
    rng = np.random.default_rng((seed, _BOOTSTRAP))
    count = groups.max() + 1
    for start in range(0, resamples, _BLOCK):
        weights = np.empty((count, min(_BLOCK, resamples - start)))
        for draw in range(weights.shape[1]):
            weights[:, draw] = np.bincount(rng.integers(0, count, count), minlength=count)
        yield weights[groups]


def _percentiles(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2.5 and 97.5 % of chance draws (draws,); NaN if the metric exists in none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(draws, _INTERVAL)
    return low, high


def _deviation(of_seeds: np.ndarray) -> float:
    """Standard deviation over seeds (seeds,); NaN for one."""
    return of_seeds.std(ddof=1) if len(of_seeds) > 1 else np.nan


def _student(
    value: float | np.ndarray, draws: np.ndarray, groups: np.ndarray, *of_seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95 % interval of a mean over seeds, and the two-sided p-value of its being 0.

    The variance is that of the draws of G groups, times G / (G − 1) as for any variance of a mean
    (Rao & Wu 1988), plus that of the mean over n seeds of each method. Their degrees of freedom are
    G − 1 and n − 1 each; those of the sum are Satterthwaite's (Biometrics Bulletin 2, 1946).

    value: one, or (labels,); draws: (draws,) or (draws, labels), of the mean over seeds.
    groups: (tracks,) numbers from 0 on; of_seeds: for each method (seeds,) or (seeds, labels).
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


def _measured_on(
    metric: str, values: np.ndarray, names: list[str], left_out: list[str], tracks: int, k: int
) -> dict:
    """The columns that say what a metric was measured on; values (labels,), NaN if left out."""
    missing = np.isnan(values)
    omitted = left_out + [name for name, gone in zip(names, missing, strict=True) if gone]
    return {
        "tracks": tracks,
        "labels": int((~missing).sum()),
        "labels_left_out": ", ".join(omitted),
        "k": k if metric.endswith("f1") else None,
    }


def _table(rows: dict[str, dict]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
    return table.astype({"k": "Int64"})


# --- Chance and reference rows -------------------------------------------------------------------


def random_top_k(targets: np.ndarray, k: int, draws: int = 200, seed: int = 0) -> np.ndarray:
    """Macro-F1 of k labels drawn at random for every track.

    targets: boolean (tracks, labels).
    k: 1 … labels.

    Returns one macro-F1 a draw: (draws,).
    """
    targets = _checked_targets(targets)
    _check_k(k, targets.shape[1])
    _check_positive(draws=draws)
    rng = np.random.default_rng((seed, _CHANCE))
    return _random_top_k(rng, targets, np.arange(len(targets)), k, draws)


def every_label(targets: np.ndarray) -> float:
    """Macro-F1 of predicting every label for every track: what a higher k can buy.

    targets: boolean (tracks, labels).
    """
    targets = _checked_targets(targets)
    return macro_f1(np.ones_like(targets), targets)


def most_frequent(targets: np.ndarray, k: int) -> float:
    """Macro-F1 of predicting the target's k most frequent labels (ties: earlier) for every track.

    It looks at the target's labels, so it is a row to compare with and not a zero-shot method.

    targets: boolean (tracks, labels).
    k: 1 … labels.
    """
    targets = _checked_targets(targets)
    _check_k(k, targets.shape[1])
    return macro_f1(_most_frequent(targets, k), targets)


def reference_rows(
    targets: np.ndarray,
    k: int,
    resamples: int = 1000,
    draws: int = 200,
    seed: int = 0,
    label_names: Sequence[str] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Song macro-F1 that needs no audio: every label, the k most frequent, k at random.

    Arguments as for `evaluate`. Returns a table with the rows every_label, most_frequent (uses the
    target's labels: a reference, not a method) and random_top_k, and the columns value, low, high
    (95 % intervals over tracks; for random_top_k mean and 2.5/97.5 % of the draws), tracks, labels,
    labels_left_out, k (none for every_label).
    """
    _check_positive(draws=draws)
    targets = _checked_targets(targets)
    _check_k(k, targets.shape[1])
    names = _checked_names(label_names, targets.shape[1])
    predictions = {
        "every_label": np.ones_like(targets),
        "most_frequent": _most_frequent(targets, k),
    }
    counts = {name: _counts(predicted, targets) for name, predicted in predictions.items()}
    metrics = {name: (lambda weights, c=c: _f1(c, weights)) for name, c in counts.items()}
    groups = _checked_groups(groups, len(targets))
    resampled = _resampled(metrics, groups, resamples, seed)
    rows = {}
    for name, predicted in predictions.items():
        value = macro_f1(predicted, targets)
        low, high, _ = _student(value, _macro(resampled[name]), groups)
        rows[name] = (value, *np.clip([low, high], 0, 1))
    random = random_top_k(targets, k, draws, seed)
    rows["random_top_k"] = (random.mean(), *_percentiles(random))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    without = [
        name for name, any_track in zip(names, targets.any(axis=0), strict=True) if not any_track
    ]
    table["tracks"] = len(targets)
    table["labels"] = int(targets.any(axis=0).sum())
    table["labels_left_out"] = ", ".join(without)
    table["k"] = pd.array([None, k, k], dtype="Int64")
    return table.rename_axis("reference")


def _chance(case: _Case, k: int, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Each metric of random scores: name → (draws,)."""
    rng = np.random.default_rng((seed, _CHANCE))
    tracks = np.arange(len(case.targets))
    chance = {"song_macro_f1": _random_top_k(rng, case.targets, tracks, k, draws)}
    chance["song_roc_auc"], chance["song_average_precision"] = _random_ranks(
        rng, case.targets, draws
    )
    if case.segments is not None:
        rows = np.repeat(tracks, case.segments)
        chance["segment_macro_f1"] = _random_top_k(rng, case.targets, rows, k, draws)
    return chance


def _random_top_k(
    rng: np.random.Generator, targets: np.ndarray, rows: np.ndarray, k: int, draws: int
) -> np.ndarray:
    """Macro-F1 (draws,) of k random labels for each item; rows (items,) is its row in targets."""
    labels = targets.shape[1]
    actual = targets[rows].sum(axis=0)
    flat = targets.ravel()
    values = np.empty(draws)
    for draw in range(draws):
        picks = _random_subsets(rng, len(rows), labels, k)  # (k, items)
        hits = np.bincount(picks[flat[rows * labels + picks]], minlength=labels)  # (labels,)
        predicted = np.bincount(picks.ravel(), minlength=labels)
        values[draw] = _macro(_divide(2.0 * hits, np.where(actual > 0, predicted + actual, 0)))
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
    return _macro(auc), _macro(precision)


def _expected_average_precision(positives: np.ndarray, tracks: int) -> np.ndarray:
    """Expected average precision of random scores without ties: (labels,), NaN without positives.

    At rank i stands a positive with probability P/N, and then 1 + (i − 1)(P − 1)/(N − 1) of the
    first i are expected to be positive; the mean over ranks of that count / i is the result.
    """
    harmonic = (1 / np.arange(1, tracks + 1)).sum()
    others = (positives - 1) / max(tracks - 1, 1)
    expected = (harmonic + others * (tracks - harmonic)) / tracks
    return np.where(positives > 0, expected, np.nan)


def _most_frequent(targets: np.ndarray, k: int) -> np.ndarray:
    frequent = _top_k(targets.sum(axis=0, dtype=np.float64)[None], k)  # (1, labels)
    return np.repeat(frequent, len(targets), axis=0)


# --- Supervised reference ------------------------------------------------------------------------


def supervised_reference(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
    inverse_strength: float = 0.03,
    label_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Scores that the same features reach when a linear model may learn from the target's labels.

    For each label, standardised features and logistic regression, fitted on all folds but one and
    applied to the one left out. Folds keep the label's share of positives where possible
    (stratified) and never split a group. The regularisation is fixed, not chosen on the scores.

    features: (tracks, dim), finite; average segments and layers first.
    targets: boolean (tracks, labels).
    groups: (tracks,) artist or whatever must not be split (default: each track for itself).
    folds: 2 … half the tracks, at most the number of groups.
    seed: shuffles the folds.
    inverse_strength: scikit-learn's C, larger regularises less. The default .03 gives, over seeds,
        macro ROC-AUC about .835 on Mulan's emotions and .592 on its CAL500 (64 features); for
        comparison C = 1 gives .823 and .564.
    label_names: (labels,) names for messages (default: the column numbers).

    Returns (tracks, labels) log-odds, each from a model that did not see the track. A label that
    has no positives or no negatives in some training part cannot be learned: its column is NaN and
    a UserWarning names it; pass such scores on with unscored="leave_out".
    Raises ValueError for features of another length than targets or not finite, too many folds.
    """
    targets = _checked_targets(targets)
    names = _checked_names(label_names, targets.shape[1])
    features = _checked_features(features, len(targets))
    groups = _checked_groups(groups, len(targets), folds)
    scores = np.full(targets.shape, np.nan)
    for label in progress_bar(range(targets.shape[1]), desc="supervised reference", leave=False):
        target = targets[:, label]
        parts = _folds(target, groups, folds, seed)
        if all(target[train].any() and not target[train].all() for train, _ in parts):
            scores[:, label] = _out_of_fold(features, target, parts, inverse_strength)
    unlearned = [names[label] for label in np.flatnonzero(np.isnan(scores).any(axis=0))]
    if unlearned:
        warnings.warn(
            f"{len(unlearned)} of {len(names)} labels have no positives or no negatives in some "
            f"training part of {folds} folds and get no scores: {', '.join(unlearned)}",
            stacklevel=2,
        )
    return scores


def _out_of_fold(
    features: np.ndarray,
    target: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    inverse_strength: float,
) -> np.ndarray:
    """Log-odds (tracks,) of one label, each from the model of the fold that left the track out."""
    scores = np.empty(len(target))
    # Many small fits: BLAS threads would spend their time waiting for one another.
    with threadpool_limits(limits=1):
        for train, test in parts:
            classifier = LogisticRegression(C=inverse_strength, max_iter=1000)
            model = make_pipeline(StandardScaler(), classifier)
            model.fit(features[train], target[train])
            scores[test] = model.decision_function(features[test])
    return scores


def _folds(
    target: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of each fold for one label."""
    settings = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if len(np.unique(groups)) == len(groups):  # the plain splitter is much faster
        splits = StratifiedKFold(**settings).split(target, target)
    else:
        splits = StratifiedGroupKFold(**settings).split(target, target, groups)
    with warnings.catch_warnings():
        # A rare label is missing in some test parts, which does no harm.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splits)


# --- Checks --------------------------------------------------------------------------------------


def _prepared(
    all_scores: list[np.ndarray],
    targets: np.ndarray,
    label_names: Sequence[str] | None,
    unscored: str,
) -> tuple[list[np.ndarray], np.ndarray, list[str], list[str]]:
    """Checked scores and targets without the unscored labels; names of the rest and of those."""
    if unscored not in ("error", "leave_out"):
        raise ValueError(f'unscored is {unscored!r}, expected "error" or "leave_out"')
    targets = _checked_targets(targets)
    names = _checked_names(label_names, targets.shape[1])
    all_scores = [_scores_array(scores, (None, targets.shape[1])) for scores in all_scores]
    missing = np.any([np.isnan(scores).all(axis=0) for scores in all_scores], axis=0)  # (labels,)
    left_out = [name for name, gone in zip(names, missing, strict=True) if gone]
    if left_out and unscored == "error":
        raise ValueError(
            f"the scores of {len(left_out)} of {len(names)} labels are all NaN: "
            f'{", ".join(left_out)}; pass unscored="leave_out" to go on without them'
        )
    if missing.all():
        raise ValueError(f"the scores of all {len(names)} labels are NaN; nothing can be scored")
    kept = [name for name, gone in zip(names, missing, strict=True) if not gone]
    all_scores = [_finite_scores(scores[:, ~missing], names=kept) for scores in all_scores]
    targets = targets[:, ~missing]
    if not targets.any():
        raise ValueError("no scored label has a positive track in targets; nothing can be scored")
    return all_scores, targets, kept, left_out


def _scores_array(scores: np.ndarray, shape: tuple[int | None, int] | None = None) -> np.ndarray:
    """Scores as a floating array of two axes; `shape` (rows or none, labels) is that of targets."""
    scores = np.asarray(scores)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            f"scores have the shape {scores.shape}, expected (segments or tracks, labels), not "
            "empty"
        )
    if shape is not None and scores.shape[1] != shape[1]:
        raise ValueError(f"scores are for {scores.shape[1]} labels but targets for {shape[1]}")
    if shape is not None and shape[0] is not None and len(scores) != shape[0]:
        raise ValueError(f"scores have {len(scores)} rows but targets {shape[0]} tracks")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    return scores


def _finite_scores(
    scores: np.ndarray,
    shape: tuple[int | None, int] | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    scores = _scores_array(scores, shape)
    strange = ~np.isfinite(scores)
    if strange.any():
        row, label = np.argwhere(strange)[0]
        raise ValueError(
            f"{strange.sum()} of {scores.size} scores are NaN or infinite, first: row {row}, label "
            f"{names[label] if names else label} ({scores[row, label]}); expected finite numbers"
        )
    return scores


def _checked_targets(targets: np.ndarray) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.ndim != 2 or 0 in targets.shape:
        raise ValueError(
            f"targets have the shape {targets.shape}, expected (tracks, labels), not empty"
        )
    return _boolean(targets, "targets", targets.shape)


def _boolean(values: np.ndarray, what: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != shape:
        raise ValueError(f"{what} have the shape {values.shape}, expected {shape} as targets have")
    if values.dtype != bool:
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{what} hold values other than true, false, 0 and 1")
        values = values.astype(bool)
    return values


def _checked_names(label_names: Sequence[str] | None, labels: int) -> list[str]:
    if label_names is None:
        return [str(label) for label in range(labels)]
    names = [str(name) for name in label_names]
    if len(names) != labels:
        raise ValueError(f"{len(names)} label_names were given but targets have {labels} labels")
    return names


def _check_k(k: int, labels: int) -> None:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= labels:
        raise ValueError(
            f"k is {k!r}, expected a whole number from 1 to {labels}, the number of labels"
        )


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}, expected at least 1")


def _checked_track_index(
    track_index: np.ndarray, segments: int, tracks: int | None
) -> tuple[np.ndarray, int]:
    """Check the row of each segment's track; gives it with the number of tracks."""
    track_index = np.asarray(track_index)
    if track_index.shape != (segments,) or not np.issubdtype(track_index.dtype, np.integer):
        raise ValueError(
            f"track_index has the shape {track_index.shape} and type {track_index.dtype}, expected "
            f"({segments},) whole numbers: the row of each segment's track"
        )
    last = int(track_index.max())
    tracks = last + 1 if tracks is None else tracks
    if track_index.min() < 0 or last >= tracks:
        raise ValueError(
            f"track_index goes from {track_index.min()} to {last}, expected rows 0 to {tracks - 1} "
            f"of {tracks} tracks"
        )
    empty = np.flatnonzero(np.bincount(track_index, minlength=tracks) == 0)
    if len(empty):
        raise ValueError(
            f"{len(empty)} of {tracks} tracks have no segment in track_index, first: rows "
            f"{empty[:3].tolist()}; leave those tracks out of targets and number the rest anew"
        )
    return track_index, tracks


def _checked_features(features: np.ndarray, tracks: int) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != tracks:
        raise ValueError(
            f"features have the shape {features.shape}, expected ({tracks}, dim): one row a track; "
            "average segments and layers first"
        )
    strange = ~np.isfinite(features)
    if strange.any():
        raise ValueError(
            f"{strange.sum()} feature values are NaN or infinite, first in row "
            f"{np.argwhere(strange)[0][0]}; expected finite numbers"
        )
    return features


def _checked_groups(
    groups: Sequence[Hashable] | None, tracks: int, folds: int | None = None
) -> np.ndarray:
    """Number of each track's group, (tracks,), from 0 on without gaps; enough for the folds."""
    groups = np.arange(tracks) if groups is None else pd.factorize(np.asarray(groups))[0]
    if (groups < 0).any():
        raise ValueError(f"{(groups < 0).sum()} of {tracks} tracks have no group (None or NaN)")
    if len(groups) != tracks:
        raise ValueError(f"{len(groups)} groups were given for {tracks} tracks")
    count = int(groups.max()) + 1
    if folds is None and count < 2:
        raise ValueError(
            f"{tracks} tracks are in {count} group; resampling needs 2 groups or more (without "
            "groups each track is one)"
        )
    most = min(tracks // 2, count)
    if folds is not None and not 2 <= folds <= most:
        raise ValueError(
            f"folds is {folds}, expected 2 to {most} ({tracks} tracks in {count} groups)"
        )
    return groups
