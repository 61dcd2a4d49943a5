"""Clusters of hand-sized label sets, the sweep and its rule, the cliff of mean shift."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moods import by_hand
from sklearn.cluster import MeanShift, estimate_bandwidth
from sklearn.metrics import adjusted_rand_score

from mer_utils.data import names
from mer_utils.labels import (
    DECIDING,
    choose_setting,
    cluster_labels,
    clustering,
    embed_labels,
    sweep_settings,
)

# Three labels near the first axis, four near the second, one on the third alone.
ROWS = [[0.1, 1, 0], [1, 0, 0], [0, 1, 0.05], [1, 0.1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0.12]]
EIGHT = by_hand(*ROWS, [-0.08, 1, 0])
GROUPS = [0, 1, 0, 1, 2, 0, 1, 0]
FITTING = {  # settings that find the groups
    "mean_shift": {"bandwidth": 0.6},
    "hdbscan": {"min_cluster_size": 2},
    "affinity_propagation": {"preference": -0.5},
    "agglomerative": {"n_clusters": 3},
}

# --- Clusters


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", FITTING)
def test_groups_of_a_hand_sized_case(method, monkeypatch):
    found = cluster_labels(EIGHT, method, **FITTING[method])
    assert found.assignment.tolist() == GROUPS
    assert (found.labels, found.names) == (EIGHT.labels, ("f", "b", "e"))
    assert (found.method, found.settings) == (method, FITTING[method])
    twice = by_hand(*EIGHT.vectors, *EIGHT.vectors)
    found = cluster_labels(twice, method, **FITTING[method])
    assert found.assignment.tolist() == GROUPS * 2, "equal vectors share a cluster"
    monkeypatch.setattr(clustering, "RESAMPLES", 1)  # quicker
    found = cluster_labels(EIGHT, method)  # the rule finds the groups that are there
    assert list(found.settings) == [DECIDING[method][0]]
    assert found.assignment.tolist() == GROUPS


def test_centres_by_hand():
    found = cluster_labels(by_hand([1, 0], [0, 1], [-1, 0]), "agglomerative", n_clusters=2)
    np.testing.assert_allclose(found.centres, [[0.5**0.5, 0.5**0.5], [-1, 0]], atol=1e-6)
    assert found.centres.dtype == np.float32
    with pytest.warns(UserWarning, match="1 clusters of 2"):  # opposites have a centre too
        found = cluster_labels(by_hand([1, 0], [-1, 0]), "agglomerative", n_clusters=1)
    np.testing.assert_allclose(found.centres, [[1, 0]], atol=1e-6)


@pytest.mark.parametrize("method", ["mean_shift", "hdbscan", "agglomerative"])
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_clusters_do_not_depend_on_the_order_of_the_labels(method, seed):
    generator = np.random.default_rng(seed)
    centres = np.eye(4)[generator.integers(0, 4, size=10)]
    vectors = centres + generator.normal(scale=0.05, size=(10, 4))
    order = generator.permutation(10)
    first = cluster_labels(by_hand(*vectors), method, **FITTING[method]).assignment
    second = cluster_labels(by_hand(*vectors[order]), method, **FITTING[method]).assignment
    assert adjusted_rand_score(first[order], second) == 1
    met = list(dict.fromkeys(first.tolist()))
    assert met == list(range(len(met))), "clusters are numbered as the labels meet them"


@pytest.mark.filterwarnings("error")
def test_the_cliff_of_mean_shift():
    """82 labels, of which happy and sad stand in two datasets: from 80 and 59 clusters to one."""
    cal500 = [name for name in names("cal500") if name != "laid-back / mellow"]
    found = [*names("mtg-jamendo"), *cal500, *names("emotify")]
    owners = ["mtg-jamendo"] * 56 + ["cal500"] * 17 + ["emotify"] * 9
    all_labels = embed_labels(found, datasets=owners)
    assert len(cluster_labels(all_labels, quantile=0.02)) == 80
    found = cluster_labels(all_labels, quantile=0.03)
    assert len(found) == 59
    bandwidth = estimate_bandwidth(all_labels.vectors, quantile=0.03)  # the same by scikit-learn
    expected = MeanShift(bandwidth=bandwidth).fit(all_labels.vectors).labels_
    assert adjusted_rand_score(expected, found.assignment) == 1
    with pytest.warns(UserWarning, match="1 clusters of 82"):
        assert len(cluster_labels(all_labels, quantile=0.05)) == 1


# --- Warnings and errors


@pytest.mark.parametrize(
    ("bandwidth", "warning"),
    [(2, "1 clusters of 8"), (0.001, "8 clusters of 8"), (1.2, "2 clusters .* largest of 7")],
)
def test_degenerate_clusterings_warn(bandwidth, warning):
    one_group = by_hand(*([1, 0.01 * i, 0] for i in range(7)), [0, 0, 1])
    with pytest.warns(UserWarning, match=warning):
        cluster_labels(one_group, bandwidth=bandwidth)
    with pytest.warns(UserWarning, match="4 clusters of 4"):  # noise is no cluster
        cluster_labels(by_hand(*np.eye(4)), "hdbscan", min_cluster_size=3)


@pytest.mark.parametrize(
    ("embeddings", "given_settings", "named"),
    [
        (EIGHT, {"method": "kmeans"}, "'kmeans'"),
        (EIGHT, {"bandwidth": 1, "quantile": 0.1}, "bandwidth and quantile"),
        (EIGHT, {"bandwidth": 0}, "bandwidth .* 0"),
        (EIGHT, {"bandwidth": float("nan")}, "bandwidth.* nan"),
        (EIGHT, {"quantile": 1.5}, "quantile.* 1.5"),
        (EIGHT, {"method": "hdbscan", "min_cluster_size": 1}, "cluster size"),
        (EIGHT, {"method": "agglomerative", "n_clusters": 9}, "9 .* 8"),
        (by_hand(*np.eye(3)), {}, "3 labels .* quantile"),
        (by_hand(*[[1, 0]] * 5), {}, "same vector"),
    ],
)
def test_impossible_settings_are_named(embeddings, given_settings, named):
    with pytest.raises(ValueError, match=named):
        cluster_labels(embeddings, **given_settings)


def test_affinity_propagation_that_does_not_converge_says_so(monkeypatch):
    real = clustering.AffinityPropagation
    quick = lambda **changes: real(**changes | {"max_iter": 2})  # noqa: E731
    monkeypatch.setattr(clustering, "AffinityPropagation", quick)
    with pytest.raises(ValueError, match=r"preference=-0\.5"):
        cluster_labels(EIGHT, "affinity_propagation", preference=-0.5)
    with pytest.warns(UserWarning, match="preference"):
        sweep = sweep_settings(EIGHT, "affinity_propagation", [-0.5])
    assert sweep["clusters"].tolist() == [0]
    with pytest.raises(ValueError, match="preference"):
        choose_setting(sweep)


# --- The sweep and the rule


def test_sweep_of_a_hand_sized_case():
    sweep = sweep_settings(EIGHT, values=[0.001, 0.6, 2.0])
    assert set(sweep["method"] + " " + sweep["setting"]) == {"mean_shift bandwidth"}
    expected = {"value": [0.001, 0.6, 2.0], "labels": [8, 8, 8], "clusters": [8, 3, 1]}
    expected |= {"singletons": [8, 1, 0], "largest": [1, 4, 8]}
    assert sweep[list(expected)].to_dict("list") == expected
    for column in ("silhouette", "stability", "stability_low"):
        assert sweep[column].isna().tolist() == [True, False, True]
    assert sweep["stability"][1] == sweep["stability_low"][1] == 1
    assert choose_setting(sweep) == {"bandwidth": 0.6}


def test_silhouette_by_hand():
    """Right angles inside the pairs (near = 1), 1 and 2 between them (far = 3/2)."""
    embeddings = by_hand([1, 0], [0, 1], [-1, 0], [0, -1])
    (row,) = sweep_settings(embeddings, "agglomerative", [2]).to_dict("records")
    assert (row["clusters"], row["silhouette"]) == (2, pytest.approx((1.5 - 1) / 1.5, abs=1e-6))


def rows(*entries) -> pd.DataFrame:
    """A sweep table over ten labels: value, clusters, largest, silhouette, stability."""
    columns = ["value", "clusters", "largest", "silhouette", "stability"]
    table = pd.DataFrame(entries, columns=columns)
    return table.assign(method="mean_shift", setting="bandwidth", labels=10, singletons=0)


@pytest.mark.parametrize(
    "sweep",
    [
        # tight and stable clusters
        rows((0.1, 8, 2, 0.1, 1), (0.2, 5, 3, 0.4, 0.7), (0.3, 3, 4, 0.5, 0.5)),
        # not one big cluster, not each alone
        rows((0.1, 10, 1, None, None), (0.2, 5, 5, 0.2, 0.5), (0.3, 2, 6, 0.9, 1)),
        # fewer clusters if all else is equal
        rows((0.1, 5, 3, 0.4, 0.5), (0.2, 4, 3, 0.2, 1)),
        # a silhouette below 0 counts as 0
        rows((0.1, 5, 3, -0.4, 0.1), (0.2, 4, 3, -0.5, 1)),
    ],
)
def test_the_rule_by_hand(sweep):
    assert choose_setting(sweep) == {"bandwidth": 0.2}


def test_the_rule_without_a_good_setting():
    with pytest.warns(UserWarning, match="bandwidth"):
        assert choose_setting(rows((0.1, 2, 8, 0.1, 1))) == {"bandwidth": 0.1}
    with pytest.raises(ValueError, match=r"0\.1, 0\.2"):
        choose_setting(rows((0.1, 1, 10, None, None), (0.2, 1, 10, None, None)))


@pytest.mark.filterwarnings("error")
def test_the_rule_on_real_labels_keeps_off_the_cliff(monkeypatch):
    """On the six emotions and CAL500's eighteen, the setting gives neither one cluster nor none."""
    owners = ["cal500"] * 18 + ["emotions"] * 6
    embeddings = embed_labels([*names("cal500"), *names("emotions")], datasets=owners)
    monkeypatch.setattr(clustering, "RESAMPLES", 2)  # quicker
    found = cluster_labels(embeddings)
    assert 2 < len(found) < 24
    assert np.bincount(found.assignment).max() <= 12
    one, other = np.flatnonzero(np.array(found.labels) == "angry / aggressive")
    assert found.assignment[one] == found.assignment[other]
