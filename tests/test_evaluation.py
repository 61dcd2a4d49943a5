"""Scoring: parity with scikit-learn, cases by hand, REFERENCE.md's chance values, bad input."""

import csv
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mer_utils import evaluation, metrics

EMOTIFY_LABELS = 9
MANY = settings(max_examples=60, deadline=None)


@st.composite
def problems(draw, least_tracks=2):
    """Scores with many ties, targets, and weights of which some are 0."""
    tracks, labels = draw(st.integers(least_tracks, 14)), draw(st.integers(1, 5))
    scores = draw(hnp.arrays(np.float64, (tracks, labels), elements=st.integers(-3, 3)))
    targets = draw(hnp.arrays(bool, (tracks, labels)))
    weights = draw(hnp.arrays(np.float64, (3, tracks), elements=st.integers(0, 3)))
    return scores / 8, targets, weights


@pytest.fixture(scope="module")
def simulated():
    """Segments of 60 tracks with a signal: scores, targets, track_index."""
    rng = np.random.default_rng(3)
    targets = rng.random((60, 6)) < 0.3
    targets[:6] |= np.eye(6, dtype=bool)
    track_index = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    scores = rng.standard_normal((len(track_index), 6)) + targets[track_index]
    return scores, targets, track_index


# --- Predictions ---


@MANY
@given(problems(), st.data())
def test_top_k_takes_the_highest_and_of_equal_ones_the_earlier(problem, data):
    scores = problem[0]
    k = data.draw(st.integers(1, scores.shape[1]))
    expected = np.zeros(scores.shape, dtype=bool)
    for row, values in enumerate(scores):
        order = sorted(range(len(values)), key=lambda label: (-values[label], label))
        expected[row, order[:k]] = True
    np.testing.assert_array_equal(metrics.top_k(scores, k), expected)


def test_vote_by_hand():
    # Track 0: three segments vote for {0, 1}, {0, 2}, {2, 3} → labels 0 and 2 with two votes each.
    # Track 1: one segment votes for {1, 3}.
    similarities = np.array([[9, 8, 1, 0], [9, 0, 8, 1], [0, 1, 9, 8], [0, 5, 1, 6]], dtype=float)
    track_index = np.array([0, 0, 0, 1])
    np.testing.assert_array_equal(
        metrics.count_votes(similarities, track_index, 2), [[2, 1, 2, 1], [0, 1, 0, 1]]
    )
    np.testing.assert_array_equal(
        evaluation.vote(similarities, track_index, 2),
        [[True, False, True, False], [False, True, False, True]],
    )


def test_the_vote_beats_the_mean():
    # Label 0 wins two of three segments narrowly; label 1 has by far the highest mean.
    similarities = np.array([[0.2, 0.1], [0.2, 0.1], [0.0, 1.0]])
    track_index = np.zeros(3, dtype=int)
    np.testing.assert_array_equal(evaluation.vote(similarities, track_index, 1), [[True, False]])
    means = metrics.track_scores(similarities, track_index)
    np.testing.assert_array_equal(metrics.top_k(means, 1), [[False, True]])


def test_equal_votes_go_to_the_higher_mean_then_to_the_earlier_label():
    track_index = np.zeros(2, dtype=int)
    higher_mean = np.array([[0.0, 0.5, 0.1], [0.0, 0.1, 0.75]])  # one vote each for 1 and 2
    np.testing.assert_array_equal(
        evaluation.vote(higher_mean, track_index, 1), [[False, False, True]]
    )
    equal_mean = np.array([[0.0, 0.5, 0.25], [0.0, 0.25, 0.5]])
    np.testing.assert_array_equal(
        evaluation.vote(equal_mean, track_index, 1), [[False, True, False]]
    )


@MANY
@given(st.integers(0, 2**32 - 1))
def test_vote_equals_a_plain_loop_in_any_order_of_segments(seed):
    rng = np.random.default_rng(seed)
    tracks, labels, k = rng.integers(1, 6), rng.integers(2, 7), 2
    track_index = np.concatenate([np.arange(tracks), rng.integers(0, tracks, 12)])
    rng.shuffle(track_index)
    similarities = rng.integers(-4, 5, (len(track_index), labels)) / 4  # exact sums
    expected = np.zeros((tracks, labels), dtype=bool)
    for track in range(tracks):
        segments = similarities[track_index == track]
        votes = Counter(
            label
            for values in segments
            for label in sorted(range(labels), key=lambda label: (-values[label], label))[:k]
        )
        order = sorted(
            range(labels), key=lambda label: (-votes[label], -segments[:, label].mean(), label)
        )
        expected[track, order[:k]] = True
    np.testing.assert_array_equal(evaluation.vote(similarities, track_index, k), expected)
    shuffled = rng.permutation(len(track_index))
    np.testing.assert_array_equal(
        evaluation.vote(similarities[shuffled], track_index[shuffled], k), expected
    )


def test_track_scores_are_means_of_interleaved_segments():
    scores = np.array([[1.0, 0.0], [5.0, 1.0], [3.0, 4.0]], dtype=np.float32)
    means = metrics.track_scores(scores, np.array([1, 0, 1]))
    np.testing.assert_array_equal(means, [[5, 1], [2, 2]])
    assert means.dtype == np.float64


# --- Metrics against scikit-learn ---


@MANY
@given(problems())
def test_roc_auc_equals_scikit_learn(problem):
    scores, targets, weights = problem
    values = metrics.roc_auc(scores, targets, weights)
    plain = metrics.roc_auc(scores, targets)
    for label in range(targets.shape[1]):
        target, score = targets[:, label], scores[:, label]
        for draw, weight in enumerate(weights):
            if (weight * target).sum() == 0 or (weight * ~target).sum() == 0:
                assert np.isnan(values[draw, label])
            else:
                expected = sklearn_metrics.roc_auc_score(target, score, sample_weight=weight)
                assert values[draw, label] == pytest.approx(expected, abs=1e-12)
        if 0 < target.sum() < len(target):
            assert plain[label] == pytest.approx(
                sklearn_metrics.roc_auc_score(target, score), abs=1e-12
            )


@MANY
@given(problems())
def test_average_precision_equals_scikit_learn(problem):
    scores, targets, weights = problem
    values = metrics.average_precision(scores, targets, weights)
    plain = metrics.average_precision(scores, targets)
    for label in range(targets.shape[1]):
        target, score = targets[:, label], scores[:, label]
        for draw, weight in enumerate(weights):
            if (weight * target).sum() == 0:
                assert np.isnan(values[draw, label])
            else:
                expected = sklearn_metrics.average_precision_score(
                    target, score, sample_weight=weight
                )
                assert values[draw, label] == pytest.approx(expected, abs=1e-12)
        if target.any():
            expected = sklearn_metrics.average_precision_score(target, score)
            assert plain[label] == pytest.approx(expected, abs=1e-12)


@MANY
@given(problems())
def test_macro_f1_equals_scikit_learn_over_labels_with_positives(problem):
    scores, targets, weights = problem
    predicted = scores > 0
    values = metrics.macro_f1(predicted, targets, weights)
    for draw, weight in enumerate(weights):
        present = np.flatnonzero(weight @ targets)
        if not len(present):
            assert np.isnan(values[draw])
            continue
        # Label by label: scikit-learn takes a single column for classes "no" and "yes".
        expected = np.mean(
            [
                sklearn_metrics.f1_score(
                    targets[:, label], predicted[:, label], sample_weight=weight, zero_division=0
                )
                for label in present
            ]
        )
        assert values[draw] == pytest.approx(expected, abs=1e-12)


@MANY
@given(problems())
def test_a_weight_is_a_repetition(problem):
    scores, targets, weights = problem
    weights = weights[0].astype(int) + 1
    repeated = np.repeat(np.arange(len(scores)), weights)
    for metric in (metrics.roc_auc, metrics.average_precision):
        np.testing.assert_allclose(
            metric(scores, targets, weights), metric(scores[repeated], targets[repeated])
        )


@MANY
@given(problems(), st.integers(0, 2**32 - 1))
def test_the_order_of_tracks_does_not_matter(problem, seed):
    scores, targets, _ = problem
    order = np.random.default_rng(seed).permutation(len(scores))
    for metric in (metrics.roc_auc, metrics.average_precision):
        np.testing.assert_allclose(
            metric(scores[order], targets[order]), metric(scores, targets), rtol=1e-12
        )


def test_roc_auc_and_average_precision_by_hand():
    scores = np.array([[4.0], [3.0], [3.0], [1.0]])
    targets = np.array([[True], [False], [True], [False]])
    # Pairs: 4 beats both, 3 ties with 3 and beats 1 → 3.5 of 4.
    assert metrics.roc_auc(scores, targets)[0] == 3.5 / 4
    # Half the recall at precision 1, the other half at the threshold 3 with precision 2/3.
    assert metrics.average_precision(scores, targets)[0] == pytest.approx((1 + 2 / 3) / 2)


def test_never_predicted_is_0_but_without_positives_is_left_out():
    targets = np.array([[True, True, False], [True, False, False]])
    predicted = np.array([[True, False, True], [True, False, False]])
    np.testing.assert_array_equal(metrics.f1(predicted, targets), [1, 0, np.nan])
    assert metrics.macro_f1(predicted, targets) == 0.5


# --- Tables ---


def test_evaluate_by_segments(simulated):
    scores, targets, track_index = simulated
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=300)
    assert tuple(table.index) == metrics.METRICS
    songs = metrics.track_scores(scores, track_index)
    expected = [
        sklearn_metrics.f1_score(targets[track_index], metrics.top_k(scores, 2), average="macro"),
        sklearn_metrics.f1_score(targets, evaluation.vote(scores, track_index, 2), average="macro"),
        sklearn_metrics.roc_auc_score(targets, songs, average="macro"),
        sklearn_metrics.average_precision_score(targets, songs, average="macro"),
    ]
    np.testing.assert_allclose(table["value"], expected, rtol=1e-12)
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert (table["chance_low"] < table["chance"]).all()
    assert (table["chance"] < table["chance_high"]).all()
    assert (table["value"] > table["chance_high"]).all()  # there is a signal
    assert table["tracks"].eq(60).all()
    assert table["labels"].eq(6).all()
    assert table["labels_left_out"].eq("").all()
    assert table["k"].tolist() == [2, 2, pd.NA, pd.NA]
    np.testing.assert_array_equal(
        metrics.metric_values(scores, targets, 2, track_index), table["value"]
    )


def test_the_same_seed_gives_the_same_table_and_another_seed_another(simulated):
    scores, targets, track_index = simulated
    first, second = (
        evaluation.evaluate(scores, targets, 2, track_index, resamples=50, seed=4) for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)
    other = evaluation.evaluate(scores, targets, 2, track_index, resamples=50, seed=5)
    assert (other["low"] != first["low"]).all()
    assert (other["chance"] != first["chance"]).all()


def test_segments_follow_their_track_in_every_draw(simulated):
    """The segment interval against a bootstrap that really repeats the segments."""
    scores, targets, track_index = simulated
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=40, seed=7)
    segments = [np.flatnonzero(track_index == track) for track in range(60)]
    predicted = metrics.top_k(scores, 2)
    draws = []
    for counts in metrics.resampling_counts(60, 40, seed=7):
        rows = np.concatenate([np.tile(segments[t], n) for t, n in enumerate(counts)])
        draws.append(
            sklearn_metrics.f1_score(targets[track_index[rows]], predicted[rows], average="macro")
        )
    value = table.loc["segment_macro_f1", "value"]
    error = np.sqrt(np.var(draws, ddof=1) * 60 / 59)
    expected = value + stats.t.ppf([0.025, 0.975], 59) * error
    np.testing.assert_allclose(table.loc["segment_macro_f1", ["low", "high"]].tolist(), expected)


def test_evaluate_by_tracks_has_no_segment_row(simulated):
    scores, targets, track_index = simulated
    songs = metrics.track_scores(scores, track_index)
    table = evaluation.evaluate(songs, targets, 3, resamples=20)
    assert tuple(table.index) == metrics.METRICS[1:]
    expected = sklearn_metrics.f1_score(targets, metrics.top_k(songs, 3), average="macro")
    assert table.loc["song_macro_f1", "value"] == pytest.approx(expected)


def test_one_segment_a_track_gives_equal_segment_and_song_scores(simulated):
    scores, targets, track_index = simulated
    songs = metrics.track_scores(scores, track_index)
    table = evaluation.evaluate(songs, targets, 2, np.arange(60), resamples=30)
    alone = evaluation.evaluate(songs, targets, 2, resamples=30)
    pd.testing.assert_frame_equal(table.loc[alone.index], alone)
    bootstrap = ["value", "low", "high"]
    np.testing.assert_array_equal(
        table.loc["segment_macro_f1", bootstrap], table.loc["song_macro_f1", bootstrap]
    )


def test_labels_without_positives_or_negatives_are_named_and_left_out():
    rng = np.random.default_rng(0)
    targets = rng.random((40, 4)) < 0.4
    targets[:, 1], targets[:, 2] = False, True
    scores = rng.standard_normal((40, 4))
    names = ["calm", "never", "always", "tense"]
    table = evaluation.evaluate(scores, targets, 1, label_names=names, resamples=50)
    assert table["labels_left_out"].to_dict() == {
        "song_macro_f1": "never",
        "song_roc_auc": "never, always",
        "song_average_precision": "never",
    }
    assert table["labels"].tolist() == [3, 2, 3]
    kept = [0, 3]
    assert table.loc["song_roc_auc", "value"] == pytest.approx(
        sklearn_metrics.roc_auc_score(targets[:, kept], scores[:, kept])
    )
    by_label = metrics.per_label_scores(scores, targets, names, resamples=50)
    assert by_label["positives"].tolist() == targets.sum(axis=0).tolist()
    assert by_label["roc_auc"].isna().tolist() == [False, True, True, False]
    assert by_label["average_precision_low"].isna().tolist() == [False, True, False, False]
    # A label that every track has: average precision and its chance are 1.
    assert by_label.loc["always", ["average_precision", "average_precision_chance"]].tolist() == [
        1,
        pytest.approx(1),
    ]


def test_a_draw_that_loses_a_label_leaves_it_out():
    targets = np.array([[True, True], [True, False], [False, False]])
    scores = np.array([[1.0, 1.0], [0.5, 0.0], [0.0, 0.5]])
    weights = np.array([[1, 1, 1], [0, 2, 1]])  # the second draw has no positive of label 1
    values = metrics.macro_f1(metrics.top_k(scores, 1), targets, weights)
    # Top-1 gives label 0 to the first two tracks and label 1 to the third.
    np.testing.assert_allclose(values, [0.5, 1.0])


def test_average_precision_interval_holds_the_value_where_plain_percentiles_do_not():
    rng = np.random.default_rng(0)
    targets = rng.random((2000, 40)) < 0.03
    scores = rng.standard_normal((2000, 40)) + 0.5 * targets
    table = evaluation.evaluate(scores, targets, 2, resamples=100, chance_draws=2)
    row = table.loc["song_average_precision"]
    weights = metrics.resampling_counts(2000, 100)
    draws = np.nanmean(metrics.average_precision(scores, targets, weights), axis=1)
    assert np.percentile(draws, 2.5) > row["value"]  # a copied track lifts its own precision
    assert row["low"] < row["value"] < row["high"]
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * draws.std(), rel=0.02)


def artists(rng: np.random.Generator, seeds: int) -> tuple[list[list], np.ndarray, np.ndarray]:
    """Two equally good methods, drawn anew with the tracks of 25 artists and with their seeds.

    An artist has a taste for some labels and a sound that moves the scores; each seed hears the
    labels more or less well. Returns the scores of both, one (tracks, labels) a seed; targets;
    groups.
    """
    groups = np.repeat(np.arange(25), rng.integers(1, 9, 25))
    size = (25, 3)
    targets = 1.5 * rng.standard_normal(size)[groups] + rng.logistic(size=(len(groups), 3)) > 0
    heard = rng.standard_normal(size)[groups] + rng.standard_normal(targets.shape)

    def training(own: np.ndarray) -> np.ndarray:
        gain = np.array([0.4, 0.8, 1.2]) + 0.25 * rng.standard_normal()
        return gain * targets + heard + own + 0.5 * rng.standard_normal(targets.shape)

    both = [rng.standard_normal(size)[groups] for _ in range(2)]
    return [[training(own) for _ in range(seeds)] for own in both], targets, groups


def test_intervals_cover_other_artists_and_other_seeds():
    """Studies of new artists and new trainings each; the truth is the mean over all of them.

    Here the normal quantile covers .92 and drawing single tracks .89; p < .05 in .07 and .12.
    """
    rng = np.random.default_rng(1)
    alone, paired = [], []
    for study in range(240):
        (a, b), targets, groups = artists(rng, seeds=(3, 5)[study % 2])
        settings = {"resamples": 100, "seed": study, "groups": groups}
        alone.append(evaluation.evaluate(a, targets, 1, chance_draws=1, **settings))
        paired.append(evaluation.compare(a, b, targets, 1, **settings))
    alone, paired = (pd.concat(t).loc["song_roc_auc"] for t in (alone, paired))
    truth = alone["value"].mean()
    assert 0.93 <= np.mean((alone["low"] <= truth) & (truth <= alone["high"])) <= 0.97
    away = (paired["low"] > 0) | (paired["high"] < 0)
    assert 0.03 <= away.mean() <= 0.07  # the two are equally good
    np.testing.assert_array_equal(away, paired["p"] < 0.05)


def test_standard_error_and_degrees_of_freedom_by_hand():
    # Tracks: draws with variance 2.5 of 5 groups → 2.5 · 5/4 = 3.125 with 4 degrees of freedom.
    # Seeds: variance 9 of three → 3 with 2. Together 6.125² / (3.125²/4 + 3²/2) = 5.405.
    draws, seeds = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0.0, 3.0, 6.0])
    half = stats.t.ppf(0.975, 6.125**2 / (3.125**2 / 4 + 3**2 / 2)) * np.sqrt(6.125)
    low, high, p = metrics._student(half, draws, np.arange(5), seeds)
    np.testing.assert_allclose([low, high, p], [0, 2 * half, 0.05], atol=1e-12)
    # One seed: tracks alone. Draws without a value are left out.
    low, *_ = metrics._student(0.0, np.append(draws, np.nan), np.arange(5), seeds[:1])
    assert low == pytest.approx(-stats.t.ppf(0.975, 4) * np.sqrt(3.125))


def test_a_group_is_drawn_whole(simulated):
    scores, targets, track_index = simulated
    groups = [f"artist {track // 6}" for track in range(60)]
    counts = metrics.resampling_counts(60, 50, groups=groups)
    by_artist = counts.reshape(50, 10, 6)
    assert (by_artist == by_artist[:, :, :1]).all()
    assert (by_artist[:, :, 0].sum(axis=1) == 10).all()
    # Tracks that are copies of one another tell no more than one of them.
    songs = metrics.track_scores(scores, track_index)
    one = {"resamples": 400, "chance_draws": 1}
    once = evaluation.evaluate(songs, targets, 2, **one)
    copies = np.repeat(np.arange(60), 4)
    copied = evaluation.evaluate(songs[copies], targets[copies], 2, groups=copies, **one)
    np.testing.assert_allclose(copied[["value", "low", "high"]], once[["value", "low", "high"]])
    paired = evaluation.compare(songs, -songs, targets, 2, resamples=50)
    copied = evaluation.compare(
        songs[copies], -songs[copies], targets[copies], 2, resamples=50, groups=copies
    )
    np.testing.assert_allclose(copied[["low", "high", "p"]], paired[["low", "high", "p"]])
    names = list("abcdef")
    by_label = metrics.per_label_scores(songs, targets, names, resamples=50)["roc_auc_high"]
    copied = metrics.per_label_scores(
        songs[copies], targets[copies], names, resamples=50, groups=copies
    )
    np.testing.assert_allclose(copied["roc_auc_high"], by_label)


def test_intervals_cover_the_truth():
    """95 % intervals of 100 simulated studies hold the mean result in about 95 of them."""
    rng = np.random.default_rng(8)
    studies = []
    for seed in range(100):
        targets = rng.random((120, 5)) < 0.2
        scores = rng.standard_normal((120, 5)) + targets
        studies.append(
            evaluation.evaluate(scores, targets, 1, resamples=200, seed=seed, chance_draws=1)
        )
    values = pd.concat([study["value"] for study in studies], axis=1)
    truth = values.mean(axis=1)
    covered = pd.concat(
        [(study["low"] <= truth) & (truth <= study["high"]) for study in studies], axis=1
    ).mean(axis=1)
    assert covered.between(0.88, 1.0).all(), covered
    width = np.mean([study["high"] - study["low"] for study in studies], axis=0)
    np.testing.assert_allclose(width, 2 * 1.96 * values.std(axis=1), rtol=0.2)


def test_resampling_draws_as_many_tracks_as_there_are():
    counts = metrics.resampling_counts(50, 400, seed=1)
    assert counts.shape == (400, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.var() == pytest.approx(1, abs=0.05)  # as drawn with replacement
    np.testing.assert_array_equal(counts[:10], metrics.resampling_counts(50, 10, seed=1))


def test_chance_is_that_of_random_scores():
    """The short cuts (random subsets, ranks, vote by symmetry) against scoring random scores."""
    rng = np.random.default_rng(5)
    targets = rng.random((40, 5)) < [0.1, 0.3, 0.5, 0.2, 0.7]
    targets[:5] |= np.eye(5, dtype=bool)
    track_index = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    table = evaluation.evaluate(
        np.zeros((len(track_index), 5)), targets, 2, track_index, resamples=2, chance_draws=3000
    )
    segments, songs = [], []
    for _ in range(600):
        scores = rng.random((len(track_index), 5))
        segments.append(metrics.metric_values(scores, targets, 2, track_index))
        songs.append(metrics.metric_values(rng.random((40, 5)), targets, 2))
    # Rank metrics: one random score a song; F1: random segments and their vote.
    brute = pd.concat(
        [
            pd.DataFrame(segments)[["segment_macro_f1", "song_macro_f1"]],
            pd.DataFrame(songs)[["song_roc_auc", "song_average_precision"]],
        ],
        axis=1,
    )
    standard_error = brute.std() * np.sqrt(1 / 600 + 1 / 3000)  # of the difference
    assert ((table["chance"] - brute.mean()).abs() < 4 * standard_error).all()
    np.testing.assert_allclose(table["chance_low"], brute.quantile(0.025), atol=0.015)
    np.testing.assert_allclose(table["chance_high"], brute.quantile(0.975), atol=0.015)


def test_expected_average_precision_is_exact():
    """All 20 orders of 3 positives among 6 tracks, by hand."""
    targets = np.array([1, 1, 1, 0, 0, 0], dtype=bool)[:, None]
    orders = {tuple(targets[np.random.default_rng(seed).permutation(6), 0]) for seed in range(2000)}
    assert len(orders) == 20
    scores = np.arange(6.0)[:, None]
    mean = np.mean(
        [metrics.average_precision(scores, np.array(order)[:, None])[0] for order in orders]
    )
    table = metrics.per_label_scores(scores, targets, ["x"], resamples=2)
    assert table.loc["x", "average_precision_chance"] == pytest.approx(mean)
    assert table.loc["x", "prevalence"] == 0.5


def test_per_label_agrees_with_the_macro_row(simulated):
    scores, targets, track_index = simulated
    names = [f"label {i}" for i in range(6)]
    by_label = metrics.per_label_scores(scores, targets, names, track_index, resamples=100)
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=100, chance_draws=400)
    assert list(by_label.index) == names
    assert by_label["roc_auc"].mean() == pytest.approx(table.loc["song_roc_auc", "value"])
    row = table.loc["song_average_precision"]
    assert by_label["average_precision"].mean() == pytest.approx(row["value"])
    assert by_label["average_precision_chance"].mean() == pytest.approx(row["chance"], abs=0.01)
    assert (by_label["roc_auc_low"] < by_label["roc_auc"]).all()
    assert (by_label["roc_auc"] < by_label["roc_auc_high"]).all()


# --- Comparison ---


def test_compare_pairs_the_same_tracks(simulated):
    scores, targets, track_index = simulated
    worse = scores - 0.7 * targets[track_index]
    table = evaluation.compare(scores, worse, targets, 2, track_index, track_index, resamples=400)
    assert tuple(table.index) == metrics.METRICS
    np.testing.assert_allclose(table["difference"], table["value_a"] - table["value_b"])
    assert (table["low"] > 0).all()
    assert (table["p"] < 0.01).all()
    swapped = evaluation.compare(worse, scores, targets, 2, track_index, track_index, resamples=400)
    np.testing.assert_allclose(swapped["difference"], -table["difference"])
    np.testing.assert_allclose(swapped["low"], -table["high"])
    np.testing.assert_allclose(swapped["p"], table["p"])
    # Pairing: the interval is narrower than if the two were resampled apart.
    apart = [
        evaluation.evaluate(s, targets, 2, track_index, resamples=400) for s in (scores, worse)
    ]
    unpaired = np.sqrt(sum((t["high"] - t["low"]) ** 2 for t in apart))
    assert (table["high"] - table["low"] < unpaired).all()


def test_a_method_does_not_differ_from_itself(simulated):
    scores, targets, track_index = simulated
    table = evaluation.compare(
        scores, scores + 1, targets, 2, track_index, track_index, resamples=20
    )
    np.testing.assert_allclose(table[["difference", "low", "high"]], 0, atol=1e-12)
    same = evaluation.compare(scores, scores, targets, 2, track_index, track_index, resamples=20)
    assert same["p"].eq(1).all()
    assert table["p"].eq(1).all()


def test_holm_by_hand():
    np.testing.assert_allclose(metrics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(metrics.holm([0.5, 0.9]), [1, 1])
    assert len(metrics.holm([])) == 0


def test_segments_can_be_compared_with_songs(simulated):
    scores, targets, track_index = simulated
    songs = metrics.track_scores(scores, track_index)
    table = evaluation.compare(scores, songs, targets, 2, track_index, resamples=20)
    assert tuple(table.index) == metrics.METRICS[1:]
    assert table.loc["song_roc_auc", "difference"] == 0


def test_shuffled_chance_summarises_the_draws(simulated):
    scores, targets, track_index = simulated
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal(scores.shape) for _ in range(5)]
    table = metrics.shuffled_chance(draws, targets, 2, track_index)
    values = [metrics.metric_values(draw, targets, 2, track_index) for draw in draws]
    np.testing.assert_allclose(table["mean"], np.mean(values, axis=0))
    np.testing.assert_allclose(table["largest"], np.max(values, axis=0))
    assert table["draws"].eq(5).all()


# --- Reference rows, on the real labels ---


def emotify_targets(root: Path) -> np.ndarray:
    """Emotify's top-3 rule, read by hand: most votes, ties to the earlier column."""
    with open(root / "data.csv", newline="", encoding="utf-8") as file:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    emotions = list(rows[0])[2 : 2 + EMOTIFY_LABELS]
    assert emotions[0] == "amazement"
    assert emotions[-1] == "sadness"
    votes = np.zeros((400, EMOTIFY_LABELS), dtype=int)
    for row in rows:
        votes[int(row["track id"]) - 1] += [int(row[emotion]) for emotion in emotions]
    targets = np.zeros(votes.shape, dtype=bool)
    for track, counts in enumerate(votes):
        order = sorted(range(EMOTIFY_LABELS), key=lambda label: (-counts[label], label))
        targets[track, order[:3]] = True
    return targets


def mtg_test_targets(root: Path) -> np.ndarray:
    """MTG-Jamendo mood/theme, test part of split 0, read by hand."""
    path = root / "data" / "splits" / "split-0" / "autotagging_moodtheme-test.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    tags = [set(line.split("\t")[5:]) for line in lines]
    vocabulary = sorted(set().union(*tags))
    return np.array([[tag in track for tag in vocabulary] for track in tags])


@pytest.mark.real_data
def test_emotify_chance_is_that_of_the_reference(emotify_root):
    targets = emotify_targets(emotify_root)
    assert targets.shape == (400, 9)
    chance = metrics.random_top_k(targets, 3)
    assert chance.shape == (200,)
    assert chance.mean() == pytest.approx(0.323, abs=0.003)
    assert chance.std() == pytest.approx(0.013, abs=0.003)
    assert metrics.every_label(targets) == pytest.approx(0.489, abs=0.0005)
    last_tenth = metrics.random_top_k(targets[360:], 3)
    assert last_tenth.mean() == pytest.approx(0.309, abs=0.008)
    assert last_tenth.std() == pytest.approx(0.037, abs=0.006)


@pytest.mark.real_data
def test_mtg_chance_is_that_of_the_reference(mtg_root):
    targets = mtg_test_targets(mtg_root)
    assert targets.shape == (4231, 56)
    chance = metrics.random_top_k(targets, 2)
    assert chance.mean() == pytest.approx(0.0295, abs=0.0006)
    assert chance.std() == pytest.approx(0.0019, abs=0.0004)
    assert metrics.every_label(targets) == pytest.approx(0.061, abs=0.0005)
    # Average precision of chance is the mean prevalence, .032 in the literature.
    table = evaluation.evaluate(np.zeros(targets.shape), targets, 2, resamples=2, chance_draws=20)
    assert table.loc["song_average_precision", "chance"] == pytest.approx(0.032, abs=0.003)
    assert table.loc["song_roc_auc", "chance"] == pytest.approx(0.5, abs=0.003)


def test_reference_rows_by_hand():
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]])
    # Every label: F1 = 1, 2/4, 2/4; label 3 has no positives. Top 1 = label 0: 1, 0, 0.
    assert metrics.every_label(targets) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert metrics.most_frequent(targets, 1) == pytest.approx(1 / 3)
    # Two most frequent: label 0, and of labels 1 and 2 with one track each the earlier.
    assert metrics.most_frequent(targets, 2) == pytest.approx((1 + 0.5 + 0) / 3)
    table = evaluation.reference_rows(targets, 2, resamples=20, label_names=list("abcd"))
    assert list(table.index) == ["every_label", "most_frequent", "random_top_k"]
    assert table["value"].tolist()[:2] == pytest.approx([2 / 3, 0.5])
    assert table["labels"].eq(3).all()
    assert table["labels_left_out"].eq("d").all()
    assert table["k"].tolist() == [pd.NA, 2, 2]
    assert table.loc["random_top_k", "value"] == metrics.random_top_k(targets, 2).mean()


def test_random_top_k_of_all_labels_is_every_label():
    targets = np.array([[1, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(
        metrics.random_top_k(targets, 3, draws=2), metrics.every_label(targets)
    )


# --- Supervised reference ---


def arff(path: Path) -> tuple[list[str], np.ndarray]:
    """A Mulan file, read by hand: attribute names and rows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [m[1] for line in lines if (m := re.match(r"@attribute\s+(\S+)\s", line, re.I))]
    start = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data")
    rows = [line.split(",") for line in lines[start + 1 :] if line.strip()]
    return names, np.array(rows, dtype=float)


@pytest.mark.real_data
def test_the_ceiling_on_mulan_is_that_of_the_reference(mulan_root):
    _, emotions = arff(mulan_root / "emotions.arff")
    targets = emotions[:, 72:].astype(bool)
    scores = evaluation.supervised_reference(emotions[:, :64], targets)
    assert metrics.roc_auc(scores, targets).mean() == pytest.approx(0.836, abs=0.006)

    names, cal500 = arff(mulan_root / "CAL500.arff")
    timbre = [i for i, name in enumerate(names) if "Acc1000" in name and "Zero" not in name]
    words = [i for i, name in enumerate(names) if name.startswith(("Emotion-", "Angry"))]
    assert (len(timbre), len(words)) == (64, 18)
    targets = cal500[:, words].astype(bool)
    scores = evaluation.supervised_reference(cal500[:, timbre], targets)
    assert metrics.roc_auc(scores, targets).mean() == pytest.approx(0.588, abs=0.012)


def test_the_ceiling_never_learns_from_a_tracks_own_group():
    """The features only tell the group apart: with groups kept together nothing can be learned."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    targets = (rng.random(40) < 0.5)[groups, None]
    features = rng.standard_normal((40, 60))[groups]
    leaking = evaluation.supervised_reference(features, targets)
    honest = evaluation.supervised_reference(features, targets, [f"artist {g}" for g in groups])
    assert metrics.roc_auc(leaking, targets)[0] > 0.9
    assert metrics.roc_auc(honest, targets)[0] < 0.75


def test_the_ceiling_names_a_label_that_cannot_be_learned():
    rng = np.random.default_rng(1)
    targets = rng.random((30, 3)) < 0.5
    targets[:, 1] = np.arange(30) == 4  # one positive: none to train on when it is left out
    features = rng.standard_normal((30, 4))
    with pytest.warns(UserWarning, match="1 of 3 labels have no positives.*: rare$"):
        scores = evaluation.supervised_reference(features, targets, label_names=["a", "rare", "b"])
    assert np.isnan(scores).all(axis=0).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="1 of 3 labels are all NaN: rare; pass unscored="):
        evaluation.evaluate(scores, targets, 1, label_names=["a", "rare", "b"])
    table = evaluation.evaluate(
        scores, targets, 1, label_names=["a", "rare", "b"], unscored="leave_out", resamples=20
    )
    assert table["labels_left_out"].eq("rare").all()
    pd.testing.assert_series_equal(
        table["value"], metrics.metric_values(scores[:, [0, 2]], targets[:, [0, 2]], 1)
    )
    by_label = metrics.per_label_scores(
        scores, targets, ["a", "rare", "b"], unscored="leave_out", resamples=20
    )
    assert by_label["roc_auc"].isna().tolist() == [False, True, False]
    assert by_label["positives"].tolist()[1] == 1
    against = evaluation.compare(
        scores, np.zeros((30, 3)), targets, 1, unscored="leave_out", resamples=20
    )
    assert against["labels"].eq(2).all()


def test_the_ceiling_is_quiet_and_repeatable():
    rng = np.random.default_rng(2)
    targets = rng.random((30, 2)) < [0.5, 0.12]  # fewer positives than folds
    targets[:3, 1] = True
    features = rng.standard_normal((30, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = evaluation.supervised_reference(features, targets, seed=1)
    np.testing.assert_array_equal(first, evaluation.supervised_reference(features, targets, seed=1))
    assert (first != evaluation.supervised_reference(features, targets, seed=2)).any()


# --- Bad input ---

SCORES = np.arange(12.0).reshape(4, 3)
TARGETS = np.eye(4, 3, dtype=bool)
WITH_NAN = np.where(SCORES == 7, np.nan, SCORES)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.top_k(SCORES, 4), "k is 4, expected a whole number from 1 to 3"),
        (lambda: metrics.top_k(SCORES, 0), "k is 0, expected"),
        (lambda: metrics.top_k(SCORES, 1.5), "k is 1.5, expected"),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 4), "k is 4, expected"),
        (lambda: metrics.most_frequent(TARGETS, 4), "k is 4, expected"),
        (lambda: metrics.random_top_k(TARGETS, 4), "k is 4, expected"),
        (lambda: evaluation.evaluate(WITH_NAN, TARGETS, 1), "1 of 12 scores are NaN.*row 2, label"),
        (
            lambda: evaluation.evaluate(WITH_NAN, TARGETS, 1, label_names=["a", "b", "c"]),
            "row 2, label b",
        ),
        (lambda: evaluation.vote(WITH_NAN, np.zeros(4, int), 1), "1 of 12 scores are NaN"),
        (lambda: evaluation.evaluate(SCORES[:, :2], TARGETS, 1), "for 2 labels but targets for 3"),
        (lambda: evaluation.evaluate(SCORES, TARGETS[:3], 1), "4 rows but targets 3.*track_index"),
        (lambda: evaluation.evaluate(SCORES, TARGETS[:0], 1), r"shape \(0, 3\).*not empty"),
        (lambda: evaluation.evaluate(SCORES[:0], TARGETS, 1), r"shape \(0, 3\).*not empty"),
        (
            lambda: evaluation.evaluate(SCORES, np.zeros((4, 3)), 1),
            "no scored label has a positive",
        ),
        (lambda: evaluation.evaluate(SCORES, TARGETS * 2, 1), "other than true, false, 0 and 1"),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 1, resamples=1), "resamples is 1"),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 1, groups=["x"] * 4), "4 tracks.*1 group"),
        (lambda: evaluation.compare(SCORES, SCORES, TARGETS, 1, groups=["x"]), "1 groups.*4"),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 1, label_names="ab"), "2 label_names"),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 1, unscored="skip"), "unscored is 'skip'"),
        (lambda: evaluation.evaluate(SCORES * np.nan, TARGETS, 1, unscored="leave_out"), "all 3"),
        (
            lambda: evaluation.vote(SCORES, np.array([0, 0, 2, 2]), 1),
            r"1 of 3 tracks have no segment.*rows \[1\]",
        ),
        (
            lambda: evaluation.evaluate(SCORES, TARGETS, 1, np.array([0, 1, 1, 2])),
            r"1 of 4 tracks have no segment.*rows \[3\]",
        ),
        (lambda: evaluation.evaluate(SCORES, TARGETS, 1, np.array([0, 1, 2, 4])), "from 0 to 4"),
        (lambda: evaluation.vote(SCORES, np.array([-1, 0, 0, 0]), 1), "from -1 to 0"),
        (lambda: evaluation.vote(SCORES, np.arange(3), 1), r"shape \(3,\)"),
        (lambda: evaluation.vote(SCORES, np.arange(4.0), 1), "type float64"),
        (lambda: metrics.roc_auc(SCORES, TARGETS, np.ones(3)), r"weights have the shape \(3,\)"),
        (lambda: metrics.roc_auc(SCORES, TARGETS, -np.ones(4)), "negative or not finite"),
        (lambda: metrics.f1(TARGETS[:3], TARGETS), r"predictions have the shape \(3, 3\)"),
        (lambda: metrics.shuffled_chance([], TARGETS, 1), "no scores of trainings"),
        (
            lambda: evaluation.supervised_reference(SCORES[:3], TARGETS),
            r"features have the shape \(3, 3\)",
        ),
        (lambda: evaluation.supervised_reference(WITH_NAN, TARGETS, folds=2), "1 feature values"),
        (lambda: evaluation.supervised_reference(SCORES, TARGETS), "folds is 5, expected 2 to 2"),
        (
            lambda: evaluation.supervised_reference(SCORES, TARGETS, ["x"] * 4, folds=2),
            "4 tracks in 1 groups",
        ),
        (
            lambda: evaluation.supervised_reference(
                SCORES, TARGETS, ["x", "y", None, "z"], folds=2
            ),
            "1 of 4 tracks have no group",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_seeds_are_averaged_in_the_value_and_in_every_draw():
    random = np.random.default_rng(5)
    targets = random.random((40, 3)) < 0.4
    seeds = [random.random((80, 3)) for _ in range(3)]
    index = np.repeat(np.arange(40), 2)
    together = evaluation.evaluate(seeds, targets, 1, index, resamples=100)
    apart = [evaluation.evaluate(scores, targets, 1, index, resamples=100) for scores in seeds]
    np.testing.assert_allclose(
        together["value"], np.mean([table["value"] for table in apart], axis=0), rtol=1e-12
    )
    values = [table["value"] for table in apart]
    np.testing.assert_allclose(together["seed_sd"], np.std(values, axis=0, ddof=1))
    assert together["seeds"].eq(3).all()
    assert apart[0]["seed_sd"].isna().all()
    same = evaluation.evaluate([seeds[0]] * 2, targets, 1, index, resamples=100)
    assert same["seed_sd"].eq(0).all()  # then only the tracks count
    pd.testing.assert_frame_equal(same.iloc[:, :-2], apart[0].iloc[:, :-2])
    by_label = metrics.per_label_scores(seeds, targets, list("abc"), index, resamples=100)
    assert by_label["roc_auc"].mean() == pytest.approx(together.loc["song_roc_auc", "value"])
    paired = evaluation.compare(seeds, seeds, targets, 1, index, index, resamples=100)
    assert (paired["difference"] == 0).all()
    with pytest.raises(ValueError, match="one array a seed"):
        evaluation.evaluate([], targets, 1)
