"""Scoring: parity with scikit-learn, cases by hand, known chance values, bad input."""

from collections import Counter
from itertools import combinations, product

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
METRICS = list(tables.METRICS)


def drawn(tracks: int, resamples: int, seed: int = 0, groups: list | None = None) -> np.ndarray:
    """How often each track is drawn: (tracks, resamples)."""
    numbers = resampling.group_numbers(groups, tracks)
    return np.hstack(list(resampling.draw_weights(numbers, resamples, seed)))


@st.composite
def problems(draw):
    """Scores with many ties, targets, and weights of which some are 0 and the last all 1."""
    tracks, labels = draw(st.integers(2, 14)), draw(st.integers(1, 5))
    scores = draw(hnp.arrays(np.float64, (tracks, labels), elements=st.integers(-3, 3)))
    targets = draw(hnp.arrays(bool, (tracks, labels)))
    weights = draw(hnp.arrays(np.float64, (tracks, 3), elements=st.integers(0, 3)))
    return scores / 8, targets, np.hstack([weights, np.ones((tracks, 1))])


@pytest.fixture(scope="module")
def simulated():
    """Segments of 60 tracks with a signal: scores, targets, track_index."""
    rng = np.random.default_rng(3)
    targets = rng.random((60, 6)) < 0.3
    targets[:6] |= np.eye(6, dtype=bool)
    track_index = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    scores = rng.standard_normal((len(track_index), 6)) + targets[track_index]
    return scores, targets, track_index


# --- Predictions and metrics ---


def test_vote_by_hand():
    # Track 0: three segments vote for {0, 1}, {0, 2}, {2, 3} → labels 0 and 2 with two votes each.
    # Track 1: one segment votes for {1, 3}.
    similarities = np.array([[9, 8, 1, 0], [9, 0, 8, 1], [0, 1, 9, 8], [0, 5, 1, 6]], dtype=float)
    elected = evaluation.vote(similarities, np.array([0, 0, 0, 1]), 2)
    assert elected.astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_a_label_without_a_score_comes_last():
    found = metrics.top_k(np.array([[np.nan, 0.1, 0.2], [-np.inf, np.inf, -np.inf]]), 2)
    assert found.tolist() == [[False, True, True], [True, True, False]]


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


@MANY
@given(problems())
def test_metrics_equal_scikit_learn(problem):
    """Label by label and draw by draw; NaN for a label without positives (or, AUC, negatives)."""
    scores, targets, weights = problem
    predicted = scores > 0
    auc, precision = (measure(weights) for measure in metrics.ranking_measures(scores, targets))
    np.testing.assert_array_equal(metrics.roc_auc(scores, targets), auc[-1])  # the short cut
    found = {
        sklearn_metrics.roc_auc_score: (auc, scores),
        sklearn_metrics.average_precision_score: (precision, scores),
        sklearn_metrics.f1_score: (metrics.f1_measure(predicted, targets)(weights), predicted),
    }
    for (draw, label), (measure, (values, told)) in product(np.ndindex(auc.shape), found.items()):
        target, weight = targets[:, label], weights[:, draw]
        expected = np.nan
        if weight[target].any() and (weight[~target].any() or values is not auc):
            expected = measure(target, told[:, label], sample_weight=weight)
        assert values[draw, label] == pytest.approx(expected, abs=1e-12, nan_ok=True)


# --- Tables ---


def test_evaluate_by_segments(simulated):
    scores, targets, track_index = simulated
    table = evaluation.evaluate(scores, targets, 2, track_index, resamples=40, seed=7)
    assert list(table.index) == METRICS
    songs = metrics.track_scores(scores, track_index)
    truth, predicted = targets[track_index], metrics.top_k(scores, 2)
    elected = evaluation.vote(scores, track_index, 2)
    expected = [
        sklearn_metrics.f1_score(truth, predicted, average="macro"),
        sklearn_metrics.f1_score(targets, elected, average="macro"),
        sklearn_metrics.roc_auc_score(targets, songs, average="macro"),
        sklearn_metrics.average_precision_score(targets, songs, average="macro"),
    ]
    np.testing.assert_allclose(table["value"], expected, rtol=1e-12)
    ascending = ["chance_low", "chance", "chance_high", "value", "high"]  # there is a signal
    assert (table[ascending].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
    measured_on = table[["tracks", "labels", "labels_left_out"]].drop_duplicates()
    assert measured_on.to_numpy().tolist() == [[60, 6, ""]]
    assert table["k"].tolist() == [2, 2, pd.NA, pd.NA]
    # The interval of segments is that of a bootstrap that really repeats them with their tracks.
    draws = []
    for counts in drawn(60, 40, seed=7).T.astype(int):
        rows = np.repeat(np.arange(len(scores)), counts[track_index])
        draws.append(sklearn_metrics.f1_score(truth[rows], predicted[rows], average="macro"))
    ends = resampling.interval(expected[0], np.array(draws), np.arange(60))[:2]
    np.testing.assert_allclose(table.loc["segment_macro_f1", ["low", "high"]].astype(float), ends)


def test_labels_without_positives_or_negatives_are_named_and_left_out():
    rng = np.random.default_rng(0)
    targets = rng.random((40, 4)) < 0.4
    targets[:, 1], targets[:, 2] = False, True
    scores = rng.standard_normal((40, 4))
    names = ["calm", "never", "always", "tense"]
    table = evaluation.evaluate(scores, targets, 1, label_names=names, resamples=50)
    assert table["labels_left_out"].tolist() == ["never", "never, always", "never"]
    assert table["labels"].tolist() == [3, 2, 3]
    expected = sklearn_metrics.roc_auc_score(targets[:, [0, 3]], scores[:, [0, 3]])
    assert table.loc["song_roc_auc", "value"] == pytest.approx(expected)
    by_label = scoring.per_label_scores(scores, targets, names, resamples=50)
    assert by_label["positives"].tolist() == targets.sum(axis=0).tolist()
    assert by_label["roc_auc"].isna().tolist() == [False, True, True, False]
    assert by_label["average_precision_low"].isna().tolist() == [False, True, False, False]
    # A label that every track has: average precision and its chance are 1.
    certain = by_label.loc["always", ["average_precision", "average_precision_chance"]]
    np.testing.assert_allclose(certain.astype(float), 1)


def test_seeds_are_averaged_in_the_value_and_in_every_draw():
    random = np.random.default_rng(5)
    targets = random.random((40, 3)) < 0.4
    seeds = [random.random((80, 3)) for _ in range(3)]
    task = {"targets": targets, "track_index": np.repeat(np.arange(40), 2), "resamples": 100}
    together, *apart, same = (
        evaluation.evaluate(scores, k=1, **task) for scores in (seeds, *seeds, [seeds[0]] * 2)
    )
    values = [table["value"] for table in apart]
    np.testing.assert_allclose(together["value"], np.mean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(together["seed_sd"], np.std(values, axis=0, ddof=1))
    assert together["seeds"].eq(3).all()
    assert apart[0]["seed_sd"].isna().all()
    pd.testing.assert_frame_equal(same.iloc[:, :-2], apart[0].iloc[:, :-2])  # only tracks count
    # The interval holds both kinds of luck; of a difference that of both methods.
    songs = [metrics.track_scores(each, task["track_index"]) for each in seeds]
    draws = [metrics.ranking_measures(each, targets)[0](drawn(40, 100)) for each in songs]
    draws, of_seeds = metrics.macro(np.mean(draws, axis=0)), np.array([v.iloc[2] for v in values])
    low, high, _ = resampling.interval(of_seeds.mean(), draws, np.arange(40), of_seeds)
    row = together.loc["song_roc_auc"]
    np.testing.assert_allclose([row["low"], row["high"]], [low, high])
    paired = evaluation.compare(seeds, seeds[::-1], k=1, **task).loc["song_roc_auc"]
    _, high, p = resampling.interval(0, 0 * draws, np.arange(40), of_seeds, of_seeds)
    np.testing.assert_allclose([paired["difference"], paired["high"], paired["p"]], [0, high, p])
    by_label = scoring.per_label_scores(seeds, label_names="abc", **task)
    assert by_label["roc_auc"].mean() == pytest.approx(row["value"])


# --- Intervals ---


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


def test_intervals_cover_other_artists_and_other_seeds():
    """Two equally good methods in studies of new artists and new trainings each.

    Here the normal quantile covers .92, tracks without seeds .88, drawing single tracks .84.
    """
    rng = np.random.default_rng(1)
    covered = []
    for study in range(400):
        groups = np.repeat(np.arange(12), rng.integers(1, 9, 12))
        ahead = rng.standard_normal(12)[groups] + rng.standard_normal(len(groups))  # by track
        a, b = rng.normal(0, 0.3, (2, (3, 5)[study % 2]))  # of each seed
        value, weights = ahead.mean() + a.mean() - b.mean(), drawn(len(groups), 100, study, groups)
        draws = ahead @ weights / weights.sum(axis=0) + a.mean() - b.mean()
        low, high, p = resampling.interval(value, draws, groups, a, b)
        covered.append(low <= 0 <= high)
        assert covered[-1] == (p >= 0.05)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_group_is_drawn_whole(simulated):
    """Tracks that are copies of one another tell no more than one of them."""
    scores, targets, track_index = simulated
    songs, copies = metrics.track_scores(scores, track_index), np.repeat(np.arange(60), 4)
    one = {"k": 2, "resamples": 50, "chance_draws": 1}
    once = evaluation.evaluate(songs, targets, **one)
    copied = evaluation.evaluate(songs[copies], targets[copies], groups=copies, **one)
    np.testing.assert_allclose(copied[["value", "low", "high"]], once[["value", "low", "high"]])


def test_compare_pairs_the_same_tracks(simulated):
    scores, targets, index = simulated
    worse = scores - 0.7 * targets[index]
    task = {"targets": targets, "k": 2, "track_index": index, "resamples": 200}
    table, itself = (evaluation.compare(scores, other, **task) for other in (worse, scores + 1))
    assert list(table.index) == METRICS
    np.testing.assert_allclose(table["difference"], table["value_a"] - table["value_b"])
    assert (table["low"] > 0).all()
    assert (table["p"] < 0.01).all()
    np.testing.assert_allclose(itself[["difference", "low", "high"]], 0, atol=1e-12)
    assert itself["p"].eq(1).all()


def test_holm_by_hand():
    np.testing.assert_allclose(scoring.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(scoring.holm([0.6, 0.9]), [1, 1])


# --- Chance and references ---


def test_chance_is_that_of_random_scores():
    """The short cuts (random subsets, ranks, vote by symmetry) against scoring random scores."""
    rng = np.random.default_rng(5)
    targets = rng.random((40, 3)) < [0.1, 0.3, 0.7]
    targets[:3] |= np.eye(3, dtype=bool)
    index = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    task = {"targets": targets, "k": 2, "track_index": index}
    table = evaluation.evaluate(np.zeros((len(index), 3)), **task, resamples=2, chance_draws=600)
    rows = []
    for _ in range(80):  # F1: random segments and their vote; the others: a random score a song
        of_segments = scoring.metric_values(rng.random((len(index), 3)), **task)
        of_songs = scoring.metric_values(rng.random((40, 3)), targets, 2)
        rows.append({**of_songs, **of_segments[["segment_macro_f1", "song_macro_f1"]]})
    brute = pd.DataFrame(rows)[METRICS]
    standard_error = brute.std() * np.sqrt(1 / 80 + 1 / 600)  # of the difference
    assert ((table["chance"] - brute.mean()).abs() < 4 * standard_error).all()
    np.testing.assert_allclose(table["chance_low"], brute.quantile(0.025), atol=0.04)
    np.testing.assert_allclose(table["chance_high"], brute.quantile(0.975), atol=0.04)


def test_expected_average_precision_is_exact():
    """All 20 orders of 3 positives among 6 tracks, by hand."""
    targets = np.array([1, 1, 1, 0, 0, 0], dtype=bool)[:, None]
    orders = np.array([np.isin(range(6), chosen) for chosen in combinations(range(6), 3)]).T
    scores = np.tile(np.arange(6.0)[:, None], len(orders.T))
    mean = metrics.ranking_measures(scores, orders)[1](np.ones((6, 1))).mean()
    table = scoring.per_label_scores(scores[:, :1], targets, ["x"], resamples=2)
    assert table.loc["x", "average_precision_chance"] == pytest.approx(mean)
    assert table.loc["x", "prevalence"] == 0.5


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::UserWarning")  # of missing audio
@pytest.mark.parametrize(
    ("name", "load", "k", "shape", "random", "deviation", "every"),
    [
        ("emotify", data.load_emotify, 3, (400, 9), 0.323, 0.013, 0.489),
        ("mtg", data.load_mtg_jamendo, 2, (4231, 56), 0.0295, 0.0019, 0.061),
    ],
)
def test_chance_is_that_of_the_reference(request, name, load, k, shape, random, deviation, every):
    dataset = load(request.getfixturevalue(f"{name}_root"), audio="skip")
    targets = dataset.targets()[~dataset.tracks["split"].isin(["train", "validation"])]
    assert targets.shape == shape
    found = chance.random_top_k(targets, k, 200, np.random.default_rng(0))
    assert found.mean() == pytest.approx(random, abs=0.25 * deviation)
    assert found.std() == pytest.approx(deviation, rel=0.22)
    table = evaluation.reference_rows(targets, k, resamples=2, chance_draws=1)
    assert table.loc["every label", "value"] == pytest.approx(every, abs=0.0005)


def test_reference_rows_by_hand():
    targets = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]])
    # Every label: F1 = 1, 2/4, 2/4; label 3 has no positives. Top 1 = label 0: 1, 0, 0.
    # Two most frequent: label 0, and of labels 1 and 2 with one track each the earlier.
    table = evaluation.reference_rows(targets, 2, resamples=20, label_names=list("abcd"))
    assert table["value"].to_dict() == pytest.approx({"every label": 2 / 3, "most frequent": 0.5})
    assert table["labels_left_out"].eq("d").all()
    assert table["k"].tolist() == [4, 2]
    one = evaluation.reference_rows(targets, 1, resamples=20, chance_draws=1)
    assert one.loc["most frequent", "value"] == pytest.approx(1 / 3)


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


@pytest.mark.filterwarnings("error")
def test_the_ceiling_names_a_label_that_cannot_be_learned():
    rng = np.random.default_rng(1)
    targets = rng.random((30, 3)) < 0.5
    targets[:, 1] = np.arange(30) == 4  # one positive: none to train on when it is left out
    targets[:, 2] = np.arange(30) % 10 == 0  # fewer than folds, which is no matter
    features, names = rng.standard_normal((30, 4)), {"label_names": ["a", "rare", "b"]}
    with pytest.warns(UserWarning, match="1 of 3 labels .* rare"):
        scores, again, other = (
            evaluation.supervised_reference(features, targets, seed=seed, **names)
            for seed in (1, 1, 2)
        )
    np.testing.assert_array_equal(scores, again)
    assert (scores != other)[:, [0, 2]].any()
    assert np.isnan(scores).all(axis=0).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="rare"):
        evaluation.evaluate(scores, targets, 1, **names)
    settings = {"unscored": "leave_out", "resamples": 20, **names}
    table = evaluation.evaluate(scores, targets, 1, **settings)
    assert table["labels_left_out"].eq("rare").all()
    others = scoring.metric_values(scores[:, [0, 2]], targets[:, [0, 2]], 1)
    pd.testing.assert_series_equal(table["value"], others)
    by_label = scoring.per_label_scores(scores, targets, **settings)
    assert by_label["roc_auc"].isna().tolist() == [False, True, False]
    against = evaluation.compare(scores, np.zeros((30, 3)), targets, 1, **settings)
    assert against["labels"].eq(2).all()


# --- Bad input ---

SCORES = np.arange(12.0).reshape(4, 3)
TARGETS = np.eye(4, 3, dtype=bool)
WITH_NAN = np.where(SCORES == 7, np.nan, SCORES)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("k is 0", {"k": 0}),
        ("k is 4", {"k": 4}),
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


def test_bad_input_of_the_other_doors_is_named():
    with pytest.raises(ValueError, match="5 folds"):
        evaluation.supervised_reference(SCORES, TARGETS, folds=5)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        evaluation.supervised_reference(SCORES[:3], TARGETS)
    with pytest.raises(ValueError, match="1 of 12"):
        evaluation.vote(WITH_NAN, np.zeros(4, int), 1)
