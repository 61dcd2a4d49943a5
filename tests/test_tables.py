"""Tables of outcomes whose scores are made by hand: seeds, groups, many comparisons."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from moods import mood_dataset

from mer_utils import evaluation
from mer_utils.data import Labelled
from mer_utils.evaluation import scoring, tables
from mer_utils.projector import Method, TrainingSettings


@pytest.fixture(scope="module")
def part() -> Labelled:
    return mood_dataset("three")  # 60 tracks of 20 artists


def outcome(
    part: Labelled, name: str, seeds: int, gain: float = 1.0, **settings
) -> evaluation.Outcome:
    """Scores that follow the labels by `gain`, differently with every seed."""
    targets = part.dataset.targets()[part.features.track_index(part.dataset)]
    rng = np.random.default_rng(len(name))
    noise = [rng.standard_normal(targets.shape) for _ in range(seeds)]
    scores = [(gain + rng.normal(0, 0.2)) * targets + each for each in noise]
    method = Method(name, **{"projector": "mlp", **settings})
    return evaluation.Outcome(part.name, method, scores, [], [], [])


def test_results_show_the_seeds_and_draw_artists_whole(part):
    network = outcome(part, "network", 3)
    table = tables.results_table([network], {part.name: part}, resamples=100)
    targets, index = part.dataset.targets(), part.features.track_index(part.dataset)
    k = evaluation.k_of(part.dataset)
    apart = [scoring.metric_values(s, targets, k, index) for s in network.scores]
    np.testing.assert_allclose(table["value"], np.mean(apart, axis=0))
    np.testing.assert_allclose(table["seed_sd"], np.std(apart, axis=0, ddof=1))
    mean = scoring.metric_values(np.mean(network.scores, axis=0), targets, k, index)
    np.testing.assert_allclose(table["of_mean_scores"], mean)
    artists = part.dataset.tracks["group"]
    expected = evaluation.evaluate(network.scores, targets, k, index, 100, groups=artists)
    np.testing.assert_allclose(table["low"], expected["low"])


def test_all_pairs_are_compared_and_corrected_together(part):
    steps = [outcome(part, name, 3, gain) for name, gain in (("a", 0.2), ("bb", 0.4), ("ccc", 1.5))]
    table = tables.compare_all(steps[1:], steps[:-1], {part.name: part}, resamples=100)
    aucs = table[table["metric"] == "song_roc_auc"]
    assert aucs["method"].tolist() == ["bb", "ccc"]
    assert aucs["against"].tolist() == ["a", "bb"]
    assert (aucs["difference"] > 0).all()
    np.testing.assert_allclose(aucs["p_holm"], scoring.holm(aucs["p"]))
    task = {"k": evaluation.k_of(part.dataset), "groups": part.dataset.tracks["group"]}
    task |= {"targets": part.dataset.targets(), "resamples": 100}
    task["track_index"] = part.features.track_index(part.dataset)
    alone = evaluation.compare(steps[2].scores, steps[1].scores, **task)
    np.testing.assert_array_equal(table["p"].iloc[-4:], alone["p"])
    with pytest.raises(ValueError, match="one"):
        tables.compare_all([steps[1]], [replace(steps[0], target="one")], {part.name: part})


def test_alignment_is_compared_with_all_others(part):
    aligned = outcome(
        part, "alignment", 2, aim="clusters", training=TrainingSettings(alignment_weight=1.0)
    )
    others = [outcome(part, "network", 2), outcome(part, "ridge", 1, projector="ridge")]
    table = tables.compare_with_alignment([aligned, *others], {part.name: part}, resamples=50)
    assert table["method"].unique().tolist() == ["network", "ridge"]
    assert table["against"].eq("alignment").all()
    ours = TrainingSettings(alignment_weight=1.0, alignment_variant="follow")  # not the paper's
    worse = replace(outcome(part, "worse", 2, gain=0.1), method=aligned.method)
    rivals = [worse, outcome(part, "follow", 2, gain=9.0, training=ours), aligned]
    assert tables.best_alignment(rivals, {part.name: part}) == {part.name: aligned}
    assert (table["p_holm"] >= table["p"]).all()


def test_cosines_by_hand(monkeypatch):
    """Four segments; label clusters {happy, joyful}, {calm, relaxed}, and two datasets."""
    data = {name: mood_dataset(name, tracks=2) for name in ("one", "two", "three")}
    at = {"one": [[1.0, 0.0], [0.0, 2.0]], "two": [[-3.0, 0.0], [-1.0, 0.0]]}
    rows = {name: torch.tensor(points).repeat_interleave(2, dim=0) for name, points in at.items()}
    monkeypatch.setattr(tables, "project_part", lambda _, part: rows[part.name])
    outcomes = [evaluation.Outcome("three", Method("m"), [], [], [], [])]
    (row,) = tables.cosine_table(outcomes, data, "datasets").to_dict("records")
    assert row["within"] == pytest.approx(((1 + 0 + 0) / 3 + 1) / 2)  # two segments a track
    assert row["between"] == pytest.approx((-1 + 0) / 2)
    assert row["difference"] == pytest.approx(row["within"] - row["between"])
    del data["two"]
    assert tables.cosine_table(outcomes, data, "datasets")["between"].isna().all()


def test_datasets_told_apart_by_hand(monkeypatch):
    """Features of one dataset are shifted; one projection keeps that, the other hides it."""
    data = {name: mood_dataset(name) for name in ("one", "two", "three")}
    data["two"] = mood_dataset("two", shift=9.0)
    values = {name: torch.from_numpy(part.features.values[:, 0]) for name, part in data.items()}
    generator = torch.Generator().manual_seed(0)
    ways = {
        "kept": lambda value: value - 4.5,
        "hidden": torch.ones_like,
        "artists": lambda _: torch.randn((20, 30), generator=generator).repeat_interleave(6, dim=0),
    }
    outcomes = [evaluation.Outcome("three", Method(way), [], [], [], []) for way in ways]
    monkeypatch.setattr(
        tables, "project_part", lambda outcome, part: ways[outcome.method.name](values[part.name])
    )
    table = tables.dataset_accuracy(outcomes, data)
    assert table["method"].tolist() == ["features", "kept", "hidden", "artists"]
    assert table["balanced_accuracy"].iloc[:3].tolist() == [1.0, 1.0, 0.5]
    assert table["balanced_accuracy"].iloc[3] < 0.75  # no artist is on both sides of a fold
    assert table["chance"].eq(0.5).all()
    assert table["tracks"].eq(120).all()
    del data["two"]  # one dataset trains alone
    assert tables.dataset_accuracy(outcomes, data)["balanced_accuracy"].isna().all()


# --- LaTeX, for a paper ---


RESULTS = pd.DataFrame(
    [
        ("a_b", "λ=1 & 50 %", 0.6, 0.01, np.nan),
        ("a_b", "ridge", 0.7, np.nan, np.nan),
        ("a_b", "ridge, the target's words stay", 0.9, np.nan, np.nan),
        ("c", "λ=1 & 50 %", 0.65, np.nan, np.nan),
        ("c", "ridge", 0.55, np.nan, np.nan),
        ("a_b", "supervised reference", 0.8, np.nan, True),
        ("c", "ridge", 0.99, np.nan, np.nan),
    ],
    columns=["target", "method", "value", "seed_sd", "reference"],
).assign(
    metric=6 * ["song_roc_auc"] + ["song_macro_f1"],
    low=lambda table: table["value"] - 0.1,
    high=lambda table: table["value"] + 0.1,
    **{"chance": 0.5, "chance_low": 0.45, "chance_high": 0.55, "tracks": 40, "labels": 9},
)
PAIRED = pd.DataFrame(
    [("a_b", 0.2, 0.0004), ("c", -0.1, 0.03), ("c", 0.3, 0.9)],
    columns=["target", "difference", "p_holm"],
).assign(method="ridge", against=["λ=1 & 50 %", "λ=1 & 50 %", "other"], metric="song_roc_auc")


def test_a_latex_table_by_hand():
    table = evaluation.latex_table(RESULTS, PAIRED, against="λ=1 & 50 %")
    lines = table.splitlines()
    start, end = lines.index(r"\toprule"), lines.index(r"\bottomrule")
    assert lines[start + 1 : end] == [
        r"method & a\_b & c \\",
        r"\midrule",
        r"$\lambda$=1 \& 50 \% & 0.600 [0.500, 0.700] $\pm$0.010 "
        r"& \textbf{0.650} [0.550, 0.750] \\",
        r"ridge & \textbf{0.700} [0.600, 0.800]$^{***}$ & 0.550 [0.450, 0.650]$_{*}$ \\",
        r"ridge, the target's words stay & 0.900 [0.800, 1.000] &  \\",
        r"\midrule",
        r"supervised reference & 0.800 [0.700, 0.900] &  \\",
        r"\midrule",
        r"chance: random scores & 0.500 [0.450, 0.550] & 0.500 [0.450, 0.550] \\",
    ]
    (caption,) = [line for line in lines if line.startswith(r"\caption")]
    for said in ("song ROC-AUC", r"a\_b 40, 9; c 40, 9", r"$\lambda$=1 \& 50 \%", "Holm for 3"):
        assert said in caption
    begun, ended = (re.findall(rf"\\{x}{{(.*?)}}", table) for x in ("begin", "end"))
    assert begun == ended[::-1] == ["table*", "tabular"]
    bare = re.sub(r"\\[{}$]", "", table)
    assert (bare.count("{"), bare.count("$") % 2) == (bare.count("}"), 0)
    assert table.isascii()


def test_a_latex_table_without_comparisons_has_no_stars():
    table = evaluation.latex_table(RESULTS[RESULTS["target"] == "c"], label="tab:mine")
    assert "*" not in table.replace("table*", "")
    assert r"\label{tab:mine}" in table
    with pytest.raises(ValueError, match="'anchors'"):
        evaluation.latex_table(RESULTS, PAIRED, against="anchors")
    with pytest.raises(ValueError, match="'nonsense'"):
        evaluation.latex_table(RESULTS, metric="nonsense")
    with pytest.raises(ValueError, match="λ=1 & 50 %"):  # against which of several?
        evaluation.latex_table(RESULTS, PAIRED)
