"""Scoring: parity with scikit-learn, cases by hand, known chance values, bad input."""

from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mer_utils import data, evaluation, metrics
from mer_utils.evaluation import chance, resampling, scoring, tables

MANY = settings(max_examples=30, deadline=None)
METRICS = tuple(tables.METRICS)
MEASURES = {  # place in `metrics.ranking_measures`, and the same of scikit-learn
    "roc_auc": (0, sklearn_metrics.roc_auc_score),
    "average_precision": (1, sklearn_metrics.average_precision_score),
}


def drawn(tracks: int, resamples: int, seed: int = 0, groups: list | None = None) -> np.ndarray:
    """How often each track is drawn: (tracks, resamples)."""
    numbers = resampling.group_numbers(groups, tracks)
    return np.hstack(list(resampling.draw_weights(numbers, resamples, seed)))


@st.composite
def problems(draw):
    """Scores with many ties, targets, and weights of which some are 0."""
    tracks, labels = draw(st.integers(2, 14)), draw(st.integers(1, 5))
    scores = draw(hnp.arrays(np.float64, (tracks, labels), elements=st.integers(-3, 3)))
    targets = draw(hnp.arrays(bool, (tracks, labels)))
    weights = draw(hnp.arrays(np.float64, (tracks, 3), elements=st.integers(0, 3)))
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


def test_vote_by_hand():
    # Track 0: three segments vote for {0, 1}, {0, 2}, {2, 3} → labels 0 and 2 with two votes each.
    # Track 1: one segment votes for {1, 3}.
    similarities = np.array([[9, 8, 1, 0], [9, 0, 8, 1], [0, 1, 9, 8], [0, 5, 1, 6]], dtype=float)
    track_index = np.array([0, 0, 0, 1])
    votes = metrics.count_votes(similarities, track_index, 2)
    assert votes.tolist() == [[2, 1, 2, 1], [0, 1, 0, 1]]
    elected = evaluation.vote(similarities, track_index, 2)
    assert elected.astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]


@MANY
@given(st.integers(0, 2**32 - 1))
def test_vote_equals_a_plain_loop_in_any_order_of_segments(seed):
    """Votes before means before the order of the labels."""
    rng = np.random.default_rng(seed)
    tracks, labels, k = rng.integers(1, 6), rng.integers(2, 7), 2
    track_index = np.concatenate([np.arange(tracks), rng.integers(0, tracks, 12)])
    rng.shuffle(track_index)
    similarities = rng.integers(-4, 5, (len(track_index), labels)) / 4  # exact sums
    expected = np.zeros((tracks, labels), dtype=bool)
    for track in range(tracks):
        own = similarities[track_index == track]
        best = [sorted(range(labels), key=lambda i: (-row[i], i))[:k] for row in own]
        votes, means = Counter(i for first in best for i in first), own.mean(axis=0)
        order = sorted(range(labels), key=lambda i: (-votes[i], -means[i], i))
        expected[track, order[:k]] = True
    for rows in (np.arange(len(track_index)), rng.permutation(len(track_index))):
        found = evaluation.vote(similarities[rows], track_index[rows], k)
        np.testing.assert_array_equal(found, expected)


# --- Metrics against scikit-learn ---


@pytest.mark.parametrize("name", MEASURES)
@MANY
@given(problem=problems())
def test_rankings_equal_scikit_learn(name, problem):
    scores, targets, weights = problem
    place, expected = MEASURES[name]
    weights = np.hstack([weights, np.ones((len(scores), 1))])
    values = metrics.ranking_measures(scores, targets)[place](weights)
    for label, target in enumerate(targets.T):
        for draw, weight in enumerate(weights.T):
            negative = (weight * ~target).sum() if name == "roc_auc" else 1
            if (weight * target).sum() == 0 or negative == 0:
                assert np.isnan(values[draw, label])
            else:
                own = expected(target, scores[:, label], sample_weight=weight)
                assert values[draw, label] == pytest.approx(own, abs=1e-12)
    if name == "roc_auc":  # the short cut without weights
        np.testing.assert_array_equal(metrics.roc_auc(scores, targets), values[-1])


@MANY
@given(problems())
def test_macro_f1_equals_scikit_learn_over_labels_with_positives(problem):
    scores, targets, weights = problem
    predicted = scores > 0
    values = metrics.macro(metrics.f1_measure(predicted, targets)(weights))
    for value, weight in zip(values, weights.T, strict=True):
        # Label by label: scikit-learn takes a single column for classes "no" and "yes".
        expected = [
            sklearn_metrics.f1_score(
                targets[:, label], predicted[:, label], sample_weight=weight, zero_division=0
            )
            for label in np.flatnonzero(weight @ targets)
        ]
        mean = np.mean(expected) if expected else np.nan
        assert value == pytest.approx(mean, abs=1e-12, nan_ok=True)


def test_never_predicted_is_0_but_without_positives_is_left_out():
    targets = np.array([[True, True, False], [True, False, False]])
    predicted = np.array([[True, False, True], [True, False, False]])
    weights = np.array([[1, 0], [1, 2]])  # the second draw has no positive of label 1 either
    values = metrics.f1_measure(predicted, targets)(weights)
    np.testing.assert_array_equal(values, [[1, 0, np.nan], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(metrics.macro(values), [0.5, 1])


# --- Tables ---


def test_evaluate_by_segments(simulated):
    scores, targets, track_index = simulated
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=300)
    assert tuple(table.index) == METRICS
    songs = metrics.track_scores(scores, track_index)
    expected = [
        sklearn_metrics.f1_score(targets[track_index], metrics.top_k(scores, 2), average="macro"),
        sklearn_metrics.f1_score(targets, evaluation.vote(scores, track_index, 2), average="macro"),
        sklearn_metrics.roc_auc_score(targets, songs, average="macro"),
        sklearn_metrics.average_precision_score(targets, songs, average="macro"),
    ]
    np.testing.assert_allclose(table["value"], expected, rtol=1e-12)
    ascending = ["chance_low", "chance", "chance_high", "value", "high"]  # there is a signal
    assert (table[ascending].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    assert (table["low"] < table["value"]).all()
    measured_on = table[["tracks", "labels", "labels_left_out"]].drop_duplicates()
    assert measured_on.to_numpy().tolist() == [[60, 6, ""]]
    assert table["k"].tolist() == [2, 2, pd.NA, pd.NA]
    np.testing.assert_array_equal(
        scoring.metric_values(scores, targets, 2, track_index), table["value"]
    )


def test_segments_follow_their_track_in_every_draw(simulated):
    """The segment interval against a bootstrap that really repeats the segments."""
    scores, targets, track_index = simulated
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=40, seed=7)
    truth, predicted = targets[track_index], metrics.top_k(scores, 2)
    draws = []
    for counts in drawn(60, 40, seed=7).T.astype(int):
        rows = np.repeat(np.arange(len(scores)), counts[track_index])
        draws.append(sklearn_metrics.f1_score(truth[rows], predicted[rows], average="macro"))
    found = table.loc["segment_macro_f1", ["value", "low", "high"]].astype(float)
    error = np.sqrt(np.var(draws, ddof=1) * 60 / 59)
    expected = found["value"] + stats.t.ppf([0.025, 0.975], 59) * error
    np.testing.assert_allclose(found[["low", "high"]], expected)


def test_labels_without_positives_or_negatives_are_named_and_left_out():
    rng = np.random.default_rng(0)
    targets = rng.random((40, 4)) < 0.4
    targets[:, 1], targets[:, 2] = False, True
    scores = rng.standard_normal((40, 4))
    names = ["calm", "never", "always", "tense"]
    table = evaluation.evaluate(scores, targets, 1, label_names=names, resamples=50)
    assert table["labels_left_out"].tolist() == ["never", "never, always", "never"]
    assert table["labels"].tolist() == [3, 2, 3]
    assert table.loc["song_roc_auc", "value"] == pytest.approx(
        sklearn_metrics.roc_auc_score(targets[:, [0, 3]], scores[:, [0, 3]])
    )
    by_label = scoring.per_label_scores(scores, targets, names, resamples=50)
    assert by_label["positives"].tolist() == targets.sum(axis=0).tolist()
    assert by_label["roc_auc"].isna().tolist() == [False, True, True, False]
    assert by_label["average_precision_low"].isna().tolist() == [False, True, False, False]
    # A label that every track has: average precision and its chance are 1.
    certain = by_label.loc["always", ["average_precision", "average_precision_chance"]]
    np.testing.assert_allclose(certain.astype(float), 1)


def test_average_precision_interval_holds_the_value_where_plain_percentiles_do_not():
    rng = np.random.default_rng(0)
    targets = rng.random((2000, 40)) < 0.03
    scores = rng.standard_normal((2000, 40)) + 0.5 * targets
    table = evaluation.evaluate(scores, targets, 2, resamples=100, chance_draws=2)
    low, value, high = table.loc["song_average_precision", ["low", "value", "high"]]
    average_precision = metrics.ranking_measures(scores, targets)[1]
    draws = np.nanmean(average_precision(drawn(2000, 100)), axis=1)
    assert np.percentile(draws, 2.5) > value  # a copied track lifts its own precision
    assert low < value < high
    assert high - low == pytest.approx(2 * 1.96 * draws.std(), rel=0.02)


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


def mean_roc_auc(seeds: list[np.ndarray], targets: np.ndarray) -> metrics.Measure:
    """ROC-AUC of each label, the mean over seeds."""
    measures = [metrics.ranking_measures(scores, targets)[0] for scores in seeds]
    return lambda weights: np.mean([measure(weights) for measure in measures], axis=0)


def test_intervals_cover_other_artists_and_other_seeds():
    """Studies of new artists and new trainings each; the truth is the mean over all of them.

    Here the normal quantile covers .92 and drawing single tracks .89; p < .05 in .07 and .12.
    """
    rng = np.random.default_rng(1)
    alone, away = [], []
    for study in range(240):
        both, targets, groups = artists(rng, seeds=(3, 5)[study % 2])
        measures = {place: mean_roc_auc(seeds, targets) for place, seeds in enumerate(both)}
        a, b = map(metrics.macro, resampling.resampled(measures, groups, 100, study).values())
        of_a, of_b = (
            np.array([metrics.roc_auc(each, targets).mean() for each in seeds]) for seeds in both
        )
        low, high, _ = resampling.interval(of_a.mean(), a, groups, of_a)
        alone.append((low, of_a.mean(), high))
        low, high, p = resampling.interval(of_a.mean() - of_b.mean(), a - b, groups, of_a, of_b)
        away.append(low > 0 or high < 0)
        assert away[-1] == (p < 0.05)
    low, value, high = np.transpose(alone)
    assert 0.93 <= np.mean((low <= value.mean()) & (value.mean() <= high)) <= 0.97
    assert 0.03 <= np.mean(away) <= 0.07  # the two are equally good


def test_standard_error_and_degrees_of_freedom_by_hand():
    # Tracks: draws with variance 2.5 of 5 groups → 2.5 · 5/4 = 3.125 with 4 degrees of freedom.
    # Seeds: variance 9 of three → 3 with 2. Together 6.125² / (3.125²/4 + 3²/2) = 5.405.
    draws, seeds = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0.0, 3.0, 6.0])
    half = stats.t.ppf(0.975, 6.125**2 / (3.125**2 / 4 + 3**2 / 2)) * np.sqrt(6.125)
    low, high, p = resampling.interval(half, draws, np.arange(5), seeds)
    np.testing.assert_allclose([low, high, p], [0, 2 * half, 0.05], atol=1e-12)
    # One seed: tracks alone. Draws without a value are left out.
    low, *_ = resampling.interval(0.0, np.append(draws, np.nan), np.arange(5), seeds[:1])
    assert low == pytest.approx(-stats.t.ppf(0.975, 4) * np.sqrt(3.125))


def test_a_group_is_drawn_whole(simulated):
    by_artist = drawn(60, 50, groups=[f"artist {track // 6}" for track in range(60)])
    by_artist = by_artist.reshape(10, 6, 50)
    assert (by_artist == by_artist[:, :1]).all()
    assert (by_artist[:, 0].sum(axis=0) == 10).all()
    # Tracks that are copies of one another tell no more than one of them.
    scores, targets, track_index = simulated
    songs, copies = metrics.track_scores(scores, track_index), np.repeat(np.arange(60), 4)
    one = {"k": 2, "resamples": 400, "chance_draws": 1}
    once = evaluation.evaluate(songs, targets, **one)
    copied = evaluation.evaluate(songs[copies], targets[copies], groups=copies, **one)
    np.testing.assert_allclose(copied[["value", "low", "high"]], once[["value", "low", "high"]])


def test_chance_is_that_of_random_scores():
    """The short cuts (random subsets, ranks, vote by symmetry) against scoring random scores."""
    rng = np.random.default_rng(5)
    targets = rng.random((40, 5)) < [0.1, 0.3, 0.5, 0.2, 0.7]
    targets[:5] |= np.eye(5, dtype=bool)
    track_index = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    table = evaluation.evaluate(
        np.zeros((len(track_index), 5)), targets, 2, track_index, resamples=2, chance_draws=2000
    )
    rows = []
    for _ in range(200):  # F1: random segments and their vote; the others: a random score a song
        scores = rng.random((len(track_index), 5))
        of_segments = scoring.metric_values(scores, targets, 2, track_index)
        of_songs = scoring.metric_values(rng.random((40, 5)), targets, 2)
        rows.append({**of_songs, **of_segments[["segment_macro_f1", "song_macro_f1"]]})
    brute = pd.DataFrame(rows)[list(METRICS)]
    standard_error = brute.std() * np.sqrt(1 / 200 + 1 / 2000)  # of the difference
    assert ((table["chance"] - brute.mean()).abs() < 4 * standard_error).all()
    np.testing.assert_allclose(table["chance_low"], brute.quantile(0.025), atol=0.025)
    np.testing.assert_allclose(table["chance_high"], brute.quantile(0.975), atol=0.025)


def test_expected_average_precision_is_exact():
    """All 20 orders of 3 positives among 6 tracks, by hand."""
    targets = np.array([1, 1, 1, 0, 0, 0], dtype=bool)[:, None]
    orders = np.array([np.isin(range(6), chosen) for chosen in combinations(range(6), 3)]).T
    scores = np.tile(np.arange(6.0)[:, None], len(orders.T))
    mean = metrics.ranking_measures(scores, orders)[1](np.ones((6, 1))).mean()
    table = scoring.per_label_scores(scores[:, :1], targets, ["x"], resamples=2)
    assert table.loc["x", "average_precision_chance"] == pytest.approx(mean)
    assert table.loc["x", "prevalence"] == 0.5


# --- Comparison ---


def test_compare_pairs_the_same_tracks(simulated):
    scores, targets, index = simulated
    worse = scores - 0.7 * targets[index]
    shared = {"targets": targets, "k": 2, "resamples": 400}
    pairs = [(scores, worse), (worse, scores), (scores, scores + 1)]
    table, swapped, itself = (
        evaluation.compare(*pair, track_index=index, **shared) for pair in pairs
    )
    assert tuple(table.index) == METRICS
    np.testing.assert_allclose(table["difference"], table["value_a"] - table["value_b"])
    assert (table["low"] > 0).all()
    assert (table["p"] < 0.01).all()
    np.testing.assert_allclose(swapped[["difference", "low"]], -table[["difference", "high"]])
    np.testing.assert_allclose(swapped["p"], table["p"])
    # Pairing: the interval is narrower than if the two were resampled apart.
    apart = [evaluation.evaluate(s, track_index=index, **shared) for s in (scores, worse)]
    unpaired = np.sqrt(sum((t["high"] - t["low"]) ** 2 for t in apart))
    assert (table["high"] - table["low"] < unpaired).all()
    np.testing.assert_allclose(itself[["difference", "low", "high"]], 0, atol=1e-12)
    assert itself["p"].eq(1).all()


def test_holm_by_hand():
    np.testing.assert_allclose(scoring.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(scoring.holm([0.5, 0.9]), [1, 1])
    assert len(scoring.holm([])) == 0


# --- Reference rows, on the real labels ---


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::UserWarning")  # of missing audio
def test_emotify_chance_is_that_of_the_reference(emotify_root):
    targets = data.load_emotify(emotify_root, audio="skip").targets()
    assert targets.shape == (400, 9)
    random = chance.random_top_k(targets, 3, 200, np.random.default_rng(0))
    assert random.mean() == pytest.approx(0.323, abs=0.003)
    assert random.std() == pytest.approx(0.013, abs=0.003)
    table = evaluation.reference_rows(targets, 3, resamples=2)
    assert table.loc["every label", "value"] == pytest.approx(0.489, abs=0.0005)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::UserWarning")  # of missing audio
def test_mtg_chance_is_that_of_the_reference(mtg_root):
    dataset = data.load_mtg_jamendo(mtg_root, audio="skip")
    targets = dataset.targets()[dataset.tracks["split"] == "test"]
    assert targets.shape == (4231, 56)
    random = chance.random_top_k(targets, 2, 200, np.random.default_rng(0))
    assert random.mean() == pytest.approx(0.0295, abs=0.0006)
    assert random.std() == pytest.approx(0.0019, abs=0.0004)
    table = evaluation.reference_rows(targets, 2, resamples=2, chance_draws=1)
    assert table.loc["every label", "value"] == pytest.approx(0.061, abs=0.0005)
    # Average precision of chance is the mean prevalence, .032 in the literature.
    table = evaluation.evaluate(np.zeros(targets.shape), targets, 2, resamples=2, chance_draws=20)
    assert table.loc["song_average_precision", "chance"] == pytest.approx(0.032, abs=0.003)
    assert table.loc["song_roc_auc", "chance"] == pytest.approx(0.5, abs=0.003)


def test_reference_rows_by_hand():
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]])
    # Every label: F1 = 1, 2/4, 2/4; label 3 has no positives. Top 1 = label 0: 1, 0, 0.
    # Two most frequent: label 0, and of labels 1 and 2 with one track each the earlier.
    table = evaluation.reference_rows(targets, 2, resamples=20, label_names=list("abcd"))
    assert table["value"].to_dict() == pytest.approx({"every label": 2 / 3, "most frequent": 0.5})
    assert table["labels_left_out"].eq("d").all()
    assert table["k"].tolist() == [4, 2]
    one = evaluation.reference_rows(targets, 1, resamples=20)
    assert one.loc["most frequent", "value"] == pytest.approx(1 / 3)
    every = evaluation.reference_rows(targets, 4, resamples=20, chance_draws=2)  # no choice left
    np.testing.assert_allclose(every[["value", "chance"]], 2 / 3)


# --- Supervised reference ---


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "published", "near"), [("emotions", 0.836, 0.006), ("CAL500", 0.588, 0.012)]
)
def test_the_ceiling_on_mulan_is_that_of_the_reference(mulan_root, file, published, near):
    part = data.Labelled(*data.load_mulan(mulan_root / f"{file}.arff"))
    targets = part.dataset.targets()
    scores = evaluation.supervised_reference(part.features.values[:, 0], targets)
    assert metrics.roc_auc(scores, targets).mean() == pytest.approx(published, abs=near)


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
    names = {"label_names": ["a", "rare", "b"]}
    with pytest.warns(UserWarning, match="rare"):
        scores = evaluation.supervised_reference(rng.standard_normal((30, 4)), targets, **names)
    assert np.isnan(scores).all(axis=0).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="rare"):
        evaluation.evaluate(scores, targets, 1, **names)
    settings = {"unscored": "leave_out", "resamples": 20, **names}
    table = evaluation.evaluate(scores, targets, 1, **settings)
    assert table["labels_left_out"].eq("rare").all()
    pd.testing.assert_series_equal(
        table["value"], scoring.metric_values(scores[:, [0, 2]], targets[:, [0, 2]], 1)
    )
    by_label = scoring.per_label_scores(scores, targets, **settings)
    assert by_label["roc_auc"].isna().tolist() == [False, True, False]
    against = evaluation.compare(scores, np.zeros((30, 3)), targets, 1, **settings)
    assert against["labels"].eq(2).all()


@pytest.mark.filterwarnings("error")
def test_the_ceiling_is_quiet_and_repeatable():
    rng = np.random.default_rng(2)
    targets = rng.random((30, 2)) < [0.5, 0.12]  # fewer positives than folds
    targets[:3, 1] = True
    features = rng.standard_normal((30, 3))
    first, again, other = (
        evaluation.supervised_reference(features, targets, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# --- Bad input ---

SCORES = np.arange(12.0).reshape(4, 3)
TARGETS = np.eye(4, 3, dtype=bool)
WITH_NAN = np.where(SCORES == 7, np.nan, SCORES)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("k is 0", {"k": 0}),
        ("row 2, label b", {"scores": WITH_NAN, "label_names": list("abc")}),
        (r"\(4, 2\)", {"scores": SCORES[:, :2]}),
        ("track_index", {"targets": TARGETS[:3]}),
        ("empty list", {"scores": []}),
        ("positive", {"targets": np.zeros((4, 3))}),
        ("targets", {"targets": TARGETS * 2}),
        ("resamples is 1", {"resamples": 1}),
        ("chance_draws is 0", {"chance_draws": 0}),
        ("1 group", {"groups": ["x"] * 4}),
        ("groups", {"groups": ["x"]}),
        ("no group", {"groups": ["x", "y", None, "z"]}),
        ("2 label_names", {"label_names": "ab"}),
        ("skip", {"unscored": "skip"}),
        ("all NaN: 0, 1, 2", {"scores": SCORES * np.nan}),
        (r"\[3\]", {"track_index": np.array([0, 1, 1, 2])}),
        ("from 0 to 4", {"track_index": np.array([0, 1, 2, 4])}),
    ],
)
def test_bad_input_is_named(message, changes):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(**{"scores": SCORES, "targets": TARGETS, "k": 1} | changes)


@pytest.mark.parametrize(
    ("message", "features", "groups", "folds"),
    [("NaN", WITH_NAN, None, 2), ("5 folds", SCORES, None, 5), ("1 groups", SCORES, "xxxx", 2)],
)
def test_bad_input_of_the_ceiling_is_named(message, features, groups, folds):
    with pytest.raises(ValueError, match=message):
        evaluation.supervised_reference(features, [[1], [0], [1], [0]], groups, folds)


def test_bad_votes_are_named():
    with pytest.raises(ValueError, match="1 of 12"):
        evaluation.vote(WITH_NAN, np.zeros(4, int), 1)


def test_seeds_are_averaged_in_the_value_and_in_every_draw():
    random = np.random.default_rng(5)
    targets = random.random((40, 3)) < 0.4
    seeds = [random.random((80, 3)) for _ in range(3)]
    task = {"targets": targets, "k": 1, "resamples": 100}
    index = np.repeat(np.arange(40), 2)
    together, *apart, same = (
        evaluation.evaluate(scores, track_index=index, **task)
        for scores in (seeds, *seeds, [seeds[0]] * 2)
    )
    values = [table["value"] for table in apart]
    np.testing.assert_allclose(together["value"], np.mean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(together["seed_sd"], np.std(values, axis=0, ddof=1))
    assert together["seeds"].eq(3).all()
    assert apart[0]["seed_sd"].isna().all()
    assert same["seed_sd"].eq(0).all()  # then only the tracks count
    pd.testing.assert_frame_equal(same.iloc[:, :-2], apart[0].iloc[:, :-2])
    by_label = scoring.per_label_scores(seeds, targets, list("abc"), index, resamples=100)
    assert by_label["roc_auc"].mean() == pytest.approx(together.loc["song_roc_auc", "value"])
    paired = evaluation.compare(seeds, seeds, track_index=index, **task)
    assert (paired["difference"] == 0).all()


@pytest.mark.parametrize(
    ("row", "chosen"),
    [
        ([0.3, 0.1, 0.2], [0, 2]),
        ([0.1, 0.2, 0.2], [1, 2]),
        ([0.2, 0.2, 0.2], [0, 1]),  # of equal ones the earlier
        ([np.nan, 0.1, 0.2], [1, 2]),  # a label without a score comes last
        ([np.nan, np.nan, 0.2], [0, 2]),
        ([-np.inf, np.inf, -np.inf], [0, 1]),
    ],
)
def test_exactly_k_labels_are_the_highest(row, chosen):
    found = metrics.top_k(np.array([row, [3.0, 2.0, 1.0]]), 2)
    assert found[0].nonzero()[0].tolist() == chosen
    assert found[1].tolist() == [True, True, False]
