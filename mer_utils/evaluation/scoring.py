"""Score methods and compare them: every metric with its interval, its chance, its sample size.

Arrays come in, pandas tables go out; their conventions are those of `mer_utils.metrics`, the
intervals those of `evaluation.resampling`. Songs' ROC-AUC and average precision are those of the
mean score of a song's segments. A label that cannot be scored (no positives, no negatives) never
counts as 0 or 1: it is left out of the mean, and the tables name it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mer_utils import metrics
from mer_utils.evaluation.chance import chance_levels, checked_targets
from mer_utils.evaluation.resampling import group_numbers, interval, percentiles, resampled
from mer_utils.metrics import Measure, macro

Scores = np.ndarray | Sequence[np.ndarray]
"""Scores of a method: one array, or a list of one a seed."""


def evaluate(
    scores: Scores,
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

    scores: (segments, labels) with `track_index`, or (tracks, labels); finite. A list of such
        arrays, one a seed, gives the mean over seeds, and an interval that holds the seeds' luck.
    targets: boolean (tracks, labels).
    k: how many labels are predicted, 1 … labels (paper: MTG-Jamendo 2, CAL500 4, Emotify 3).
    track_index: (segments,) row of each segment's track in `targets`; every track has a segment.
    resamples: draws of groups of tracks for the 95 % interval, 2 or more.
    seed: decides all draws; the same seed resamples the same tracks for every method.
    chance_draws: draws of random scores for the chance level, 1 or more.
    label_names: (labels,) names for the column labels_left_out (default: the column numbers).
    unscored: "error", or "leave_out": a label whose scores are all NaN (as `supervised_reference`
        gives for one it cannot learn) is named and left out, of the k predicted labels too.
    groups: (tracks,) artist or whatever is drawn together (default: each track for itself).

    Returns a table indexed by metric: segment_macro_f1 (only with `track_index`), song_macro_f1
    (with `track_index` by `vote`, else by `top_k`), song_roc_auc and song_average_precision.
    Columns: value; low, high (95 % interval); chance, chance_low, chance_high (mean and 2.5/97.5 %
    of random scores); tracks; labels (in the mean); labels_left_out (names, comma-separated); k (of
    the F1 rows); seeds; seed_sd (deviation of the value over seeds, NaN for one).
    Raises ValueError that names what does not fit.
    """
    if chance_draws < 1:
        raise ValueError(f"chance_draws is {chance_draws}, expected at least 1")
    problem = _problem(scores, targets, resamples, seed, label_names, unscored, groups)
    scored = _scored(problem, problem.scores, k, track_index)
    segments = None if track_index is None else np.bincount(track_index)
    chance = chance_levels(problem.targets, k, segments, chance_draws, seed)
    rows = {}
    for metric, (values, draws) in scored.items():
        value, of_seeds = macro(values.mean(axis=0)), macro(values)
        low, high = np.clip(interval(value, macro(draws), problem.groups, of_seeds)[:2], 0, 1)
        row = {"value": value, "low": low, "high": high, "chance": np.mean(chance[metric])}
        row["chance_low"], row["chance_high"] = percentiles(chance[metric])
        row |= _measured_on(problem, metric, values[0], k)
        rows[metric] = row | {"seeds": len(values), "seed_sd": pd.Series(of_seeds).std()}
    return _table(rows)


def metric_values(
    scores: Scores, targets: np.ndarray, k: int, track_index: np.ndarray | None = None
) -> pd.Series:
    """The column `value` of `evaluate` alone, without intervals and chance: for many runs."""
    problem = _problem(scores, targets)
    measures = [_measures(each, problem.targets, k, track_index) for each in problem.scores]
    values = _values(measures, len(problem.targets))
    means = {metric: macro(of_seeds.mean(axis=0)) for metric, of_seeds in values.items()}
    return pd.Series(means, name="value").rename_axis("metric")


def reference_rows(targets: np.ndarray, k: int, **settings: object) -> pd.DataFrame:
    """Song macro-F1 that needs no audio: of every label, and of the k most frequent ones.

    Arguments and columns as those of `evaluate`; chance is that of k labels at random.
    Returns the rows "every label" (what a higher k can buy) and "most frequent" (uses the target's
    labels: a reference, not a method).
    """
    frequency = np.tile(np.sum(targets, axis=0), (len(targets), 1))
    predicted = {"every label": frequency.shape[1], "most frequent": k}
    rows = [evaluate(frequency, targets, count, **settings) for count in predicted.values()]
    table = pd.concat([row.loc[["song_macro_f1"]] for row in rows])
    return table.set_axis(pd.Index(predicted, name="reference"))


def per_label_scores(
    scores: Scores,
    targets: np.ndarray,
    label_names: Sequence[str],
    track_index: np.ndarray | None = None,
    **settings: object,
) -> pd.DataFrame:
    """ROC-AUC and average precision of each label over songs, with 95 % intervals.

    Arguments as for `evaluate`; settings: resamples, seed, unscored, groups.
    Returns a table indexed by label: tracks, positives, prevalence; roc_auc, roc_auc_low,
    roc_auc_high; average_precision, …_low, …_high (NaN for a label that cannot be scored);
    average_precision_chance (what random scores are expected to reach: the prevalence, and a little
    more where tracks are few). An interval is over the draws in which a label has positives.
    """
    problem = _problem(scores, targets, label_names=label_names, **settings)
    tracks, positives = len(targets), np.sum(targets, axis=0)  # of all labels
    index = pd.Index([str(name) for name in label_names], name="label")
    table = pd.DataFrame({"tracks": tracks, "positives": positives}, index)
    table["prevalence"] = positives / tracks
    scored = _scored(problem, problem.scores, None, track_index)
    for song_metric, (values, draws) in scored.items():
        value = values.mean(axis=0)  # (labels,)
        low, high = np.clip(interval(value, draws, problem.groups, values)[:2], 0, 1)
        for end, column in {"": value, "_low": low, "_high": high}.items():
            table[song_metric.removeprefix("song_") + end] = pd.Series(column, problem.names)
    return table.assign(average_precision_chance=_expected_average_precision(positives, tracks))


def _expected_average_precision(positives: np.ndarray, tracks: int) -> np.ndarray:
    """Expected average precision of random scores without ties: (labels,), NaN without positives.

    At rank i stands a positive with probability P/N, and then 1 + (i − 1)(P − 1)/(N − 1) of the
    first i are expected to be positive; the mean over ranks of that count / i is the result.
    """
    harmonic = (1 / np.arange(1, tracks + 1)).sum()
    others = (positives - 1) / max(tracks - 1, 1)
    expected = (harmonic + others * (tracks - harmonic)) / tracks
    return np.where(positives > 0, expected, np.nan)


def compare(
    scores_a: Scores,
    scores_b: Scores,
    targets: np.ndarray,
    k: int,
    track_index: np.ndarray | None = None,
    **settings: object,
) -> pd.DataFrame:
    """Compare two methods: every draw takes the same tracks, so what makes one hard cancels.

    The seeds of the two are taken as independent. Arguments as for `evaluate` (settings: resamples,
    seed, label_names, unscored, groups); a label unscored for one is left out for both.

    Returns a table indexed by metric: value_a, value_b, difference (a − b), low, high (95 %
    interval of the difference), p, tracks, labels, labels_left_out, k, seed_sd_a, seed_sd_b. p is
    two-sided: below .05 exactly if the interval leaves 0 out. For many comparisons see `holm`.
    """
    seeds_a, seeds_b = _seeds(scores_a), _seeds(scores_b)
    problem = _problem([*seeds_a, *seeds_b], targets, **settings)
    a = _scored(problem, problem.scores[: len(seeds_a)], k, track_index)
    b = _scored(problem, problem.scores[len(seeds_a) :], k, track_index)
    rows = {}
    for metric, (values_a, draws_a) in a.items():
        values_b, draws_b = b[metric]
        row = {"value_a": macro(values_a.mean(axis=0)), "value_b": macro(values_b.mean(axis=0))}
        row["difference"] = row["value_a"] - row["value_b"]
        of_a, of_b = macro(values_a), macro(values_b)  # (seeds,)
        draws = macro(draws_a) - macro(draws_b)
        low, high, p = interval(row["difference"], draws, problem.groups, of_a, of_b)
        row |= {"low": low, "high": high, "p": p, **_measured_on(problem, metric, values_a[0], k)}
        row |= {"seed_sd_a": pd.Series(of_a).std(), "seed_sd_b": pd.Series(of_b).std()}
        rows[metric] = row
    return _table(rows)


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values corrected for how many they are (Holm 1979), in their order."""
    ascending = pd.Series(list(p), dtype=float).sort_values()
    corrected = (ascending * np.arange(len(p), 0, -1)).cummax().clip(upper=1)
    return corrected.sort_index().to_numpy()


@dataclass(frozen=True)
class _Problem:
    """Checked arguments, without the labels that are not scored; `left_out` names those."""

    scores: list[np.ndarray]
    targets: np.ndarray
    names: np.ndarray
    left_out: list[str]
    groups: np.ndarray
    resamples: int
    seed: int


def _problem(
    scores: Scores,
    targets: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    label_names: Sequence[str] | None = None,
    unscored: str = "error",
    groups: Sequence[Hashable] | None = None,
) -> _Problem:
    """Check the arguments of `evaluate`; scores of one or more methods."""
    if unscored not in ("error", "leave_out"):
        raise ValueError(f'unscored is {unscored!r}, expected "error" or "leave_out"')
    targets, names = checked_targets(targets, label_names)
    arrays = [np.asarray(each) for each in _seeds(scores)]
    for each in arrays:
        if each.ndim != 2 or each.shape[1] != len(names) or not len(each):
            raise ValueError(f"scores have the shape {each.shape}, expected (items, {len(names)})")
    missing = np.any([np.isnan(each).all(axis=0) for each in arrays], axis=0)  # (labels,)
    left_out = names[missing].tolist()
    if left_out and unscored == "error":
        named = ", ".join(left_out)
        raise ValueError(f'the scores of labels are all NaN: {named}; give unscored="leave_out"?')
    names, targets = names[~missing], targets[:, ~missing]
    if not targets.any():
        raise ValueError(f"none of {len(names)} scored labels has a positive track in targets")
    arrays = [metrics.check_scores(each[:, ~missing], names) for each in arrays]
    numbers = group_numbers(groups, len(targets))
    return _Problem(arrays, targets, names, left_out, numbers, resamples, seed)


def _seeds(scores: Scores) -> list[np.ndarray]:
    """One array of scores, or several of one method, as a list."""
    if not isinstance(scores, list | tuple):
        return [scores]
    if not scores:
        raise ValueError("an empty list of scores; expected one array a seed")
    return list(scores)


def _scored(
    problem: _Problem, seeds: list[np.ndarray], k: int | None, track_index: np.ndarray | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By metric: values (seeds, labels), and the mean over seeds in every draw (draws, labels)."""
    measures = [_measures(scores, problem.targets, k, track_index) for scores in seeds]

    def mean_over_seeds(name: str, weights: np.ndarray) -> np.ndarray:
        return np.mean([each[name](weights) for each in measures], axis=0)

    means = {name: partial(mean_over_seeds, name) for name in measures[0]}
    draws = resampled(means, problem.groups, problem.resamples, problem.seed)
    values = _values(measures, len(problem.targets))
    return {name: (values[name], draws[name]) for name in values}


def _values(measures: list[dict[str, Measure]], tracks: int) -> dict[str, np.ndarray]:
    """Every metric with every track counted once: by name (seeds, labels)."""
    ones = np.ones((tracks, 1))
    return {name: np.stack([each[name](ones)[0] for each in measures]) for name in measures[0]}


def _measures(
    scores: np.ndarray, targets: np.ndarray, k: int | None, track_index: np.ndarray | None
) -> dict[str, Measure]:
    """The metrics of scores, counted and sorted once; without k those without a threshold alone."""
    songs = scores
    if track_index is not None:
        track_index = metrics.check_track_index(track_index, len(scores), len(targets))
        songs = metrics.track_scores(scores, track_index, len(targets))
    elif len(scores) != len(targets):
        raise ValueError(f"{len(scores)} rows of scores, {len(targets)} tracks: give track_index")
    measures, f1 = {}, metrics.f1_measure
    if k is not None:
        metrics.check_k(k, targets.shape[1])
        predicted = metrics.top_k(songs, k)
        if track_index is not None:
            votes = metrics.count_votes(scores, track_index, k, len(targets))
            measures["segment_macro_f1"] = f1(votes, targets, np.bincount(track_index))
            predicted = metrics.elect(votes, songs, k)
        measures["song_macro_f1"] = f1(predicted, targets)
    roc_auc, average_precision = metrics.ranking_measures(songs, targets)
    return measures | {"song_roc_auc": roc_auc, "song_average_precision": average_precision}


def _measured_on(problem: _Problem, metric: str, values: np.ndarray, k: int) -> dict:
    """The columns that say what a metric was measured on; values (labels,), NaN if left out."""
    unscored = problem.names[np.isnan(values)].tolist()
    return {
        "tracks": len(problem.targets),
        "labels": len(values) - len(unscored),
        "labels_left_out": ", ".join(problem.left_out + unscored),
        "k": k if metric.endswith("f1") else None,
    }


def _table(rows: dict[str, dict]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")
    return table.astype({"k": "Int64"})
