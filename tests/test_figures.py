"""Figures: every one draws, says what it must, and stays readable."""

import inspect
import runpy
import warnings
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from mer_utils import figures, projector
from mer_utils.data import Dataset, names
from mer_utils.figures import style
from mer_utils.labels import LabelClusters, LabelEmbeddings

mpl.use("Agg")
METHOD = Path(__file__).resolve().parents[1] / "figures" / "method"
draw = SimpleNamespace(**runpy.run_path(METHOD / "draw.py"))

# --- Small data -----------------------------------------------------------------------------------

LABELS = ("happy", "cheerful", "sad", "gloomy", "calm", "energetic", "happy")
OWNERS = ("cal500", "cal500", "cal500", "emotify", "emotify", "emotify", "mtg-jamendo")
ANGLES = np.deg2rad([0, 10, 90, 100, 200, 300, 0])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def embed(labels=LABELS, owners=OWNERS, vectors=CIRCLE, mean=None) -> LabelEmbeddings:
    texts = tuple((label,) for label in labels)
    vectors = np.asarray(vectors, dtype=np.float32)
    return LabelEmbeddings(tuple(labels), texts, vectors, "by hand", "name", owners, mean)


def cluster(of: LabelEmbeddings, assignment=(0, 0, 1, 1, 2, 3, 0)) -> LabelClusters:
    assignment, first = np.asarray(assignment), np.unique(assignment, return_index=True)[1]
    medoids = tuple(of.labels[row] for row in first)
    return LabelClusters(of.labels, assignment, of.vectors[first], medoids, "by hand")


def table(columns: str, *rows: tuple, **more: object) -> pd.DataFrame:
    """A table of rows; with value it gets an interval of ± .02, a chance and numbers of cases."""
    made = pd.DataFrame(rows, columns=columns.split()).assign(**more)
    if "value" not in made:
        return made
    ends = {"low": made["value"] - 0.02, "high": made["value"] + 0.02}
    return made.assign(**ends, chance=0.5, tracks=120, labels=9, seeds=3, draws=5)


def history(alignment: float = 0.0, best: int | None = None) -> pd.DataFrame:
    made = pd.DataFrame({"epoch": range(6), "triplet": 1.0, "alignment": alignment})
    made["validation"] = [0.5, 0.6, 0.7, 0.66, 0.65, 0.64]
    if best is not None:
        made.attrs["best_epoch"] = best
    return made


def dataset(name: str, labels: tuple[str, ...], owned: list[tuple[str, ...]]) -> Dataset:
    index = pd.Index([f"track-{i}" for i in range(len(owned))], name="track")
    columns = {"audio": None, "labels": owned, "split": None, "group": [*map(str, index)]}
    return Dataset(name, labels, pd.DataFrame(columns, index=index))


EMBEDDINGS = embed()
CLUSTERS = cluster(EMBEDDINGS)
PAIRS = [("happy", "sad"), ("energetic", "calm"), ("no", "label")]
SWEEP = table(
    "value clusters largest silhouette stability stability_low",
    (0.8, 1, 10, np.nan, np.nan, np.nan),
    (0.2, 9, 1, 0.1, 1.0, 1.0),
    (0.4, 7, 2, 0.3, 0.9, 0.8),
    (0.6, 5, 4, 0.2, 0.5, 0.1),
    method="mean_shift", setting="bandwidth",
).assign(labels=10)  # fmt: skip
METRICS = ("song_roc_auc", "song_macro_f1")
SCORES = [("baseline", 0.56), ("ridge", 0.72), ("anchors", 0.7)]
RESULTS = table(
    "target metric method value reference",
    *[(*of, *score, False) for *of, score in product(("cal500", "emotions"), METRICS, SCORES)],
    ("cal500", "song_roc_auc", "supervised reference", 0.585, True),
    chance_low=0.48, chance_high=0.52, k=4, shuffled=0.51, shuffled_low=0.45, shuffled_high=0.55,
)  # fmt: skip
PER_LABEL = table(
    "target method label positives value",
    *[
        (target, method, label, 10 + i, np.nan if label == "bizarre / weird" else 0.5 + i / 50)
        for target, method in (("cal500", "ridge"), ("cal500", "alignment"), ("emotify", "ridge"))
        for i, label in enumerate(names(target))
    ],
).rename(columns={"value": "roc_auc", "low": "roc_auc_low", "high": "roc_auc_high"})
PER_LABEL = PER_LABEL.assign(seen=PER_LABEL["label"] == "sadness").drop(columns="labels")
COSINES = table(
    "method within between",
    ("baseline", 0.4, 0.3), ("alignment", 0.6, -0.1), ("baseline", 0.5, 0.3),
    target="cal500",
)  # fmt: skip
TWO = ("emotify", "demo-mtg")
CURVE = table("target training_tracks", *product(TWO, (40, 80, 160)), value=[0.5, 0.6, 0.7] * 2)
WAYS = ("first frame", "mean")
PROBE = table("dataset layer", *product(("cal500", "emotify"), range(3)), value=[0.6, 0.7, 0.8] * 2)
POOLING = table("dataset pooling", *product(("cal500", "emotify"), WAYS), value=0.6)
STEPS = [("bare names", 0.55, np.nan), ("expanded", 0.6, 0.2), ("committee", 0.7, 0.001)]
PATH = table("target step value p_holm", *[(target, *step) for target in TWO for step in STEPS])
SEEDS = table(
    "approach weight value",
    ("alignment", 0.5, 0.6), ("alignment", 1.0, 0.62), ("ridge", np.nan, 0.7),
    target="cal500",
).drop(columns=["labels", "draws"])  # fmt: skip
STYLES = ("name", "definition")
TEXTS = table("target model style", *product(TWO, ("small", "large"), STYLES), value=0.6)
RANKS = table("start eerie hopeful", (0.0, 90.0, 10.0), (3.0, 80.0, 45.0), (6.0, 95.0, 5.0))
TONE = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
BEFORE, AFTER = np.random.default_rng(0).normal(size=(2, 40, 5))
PROJECTIONS = {"before": BEFORE, "after": AFTER}
OWNED = ["cal500"] * 25 + ["mine"] * 15
TAGGED = [("calm",), ("calm", "happy"), ("calm", "happy", "sad"), ("calm",)]
DATASETS = {
    "mtg-jamendo": dataset("mtg-jamendo", ("calm", "happy", "sad", "film"), TAGGED),
    "demo-mtg": dataset("demo-mtg", ("calm", "happy", "sad"), [("sad",), ("sad", "happy")]),
    "emotify": dataset("emotify", ("power", "tension"), [("power",), ()]),
}

# A figure with its arguments, and texts that must be in it: names, units, how many were measured.
CASES = [
    ("label_map", [EMBEDDINGS], "7 labels of 3 datasets|gloomy|MTG-Jamendo (1 label)"),
    ("label_map", [embed(LABELS[:6], None, CIRCLE[:6])], "6 labels|energetic"),
    ("similarity_heatmap", [EMBEDDINGS, PAIRS],
     "antonyms: 3 pairs, mean cosine -0.06 (all labels -0.01)|cosine of label vectors"),
    ("similarity_heatmap", [embed(mean=np.zeros(2))], "cosine of label vectors (centred)"),
    ("label_graph", [EMBEDDINGS, CLUSTERS],
     "7 labels in 4 clusters|alone in its cluster (2)|Emotify (3 labels)"),
    ("affect_map", [CIRCLE, LABELS, OWNERS],
     "direction 1 (1 = as far out as an antonym's pole)|gloomy|CAL500 (3 labels)"),
    ("variants", [TEXTS, "style", "model"],
     "Emotify|120 tracks, 9 labels|large, 95 % interval|definition|chance"),
    ("clustering_sweep", [SWEEP, {"bandwidth": 0.4}],
     "mean shift of 10 labels; chosen: bandwidth = 0.4 (7 clusters)|chosen"),
    ("training_curves", [{"baseline 1": history(), "alignment": history(2.0)}],
     "alignment loss (times λ)|best epoch (weights kept)|chance|baseline 1"),
    ("sweep_curves", [SEEDS, "weight"], "CAL500|mean over 3 seeds|λ|ridge|alignment|chance"),
    ("ablation_path", [PATH], "Emotify|120 tracks, 9 labels|expanded|does not"),
    ("learning_curve", [CURVE],
     "Emotify (120 tracks)|training tracks|macro ROC-AUC\nof songs|chance"),
    ("cluster_cosine_bars", [COSINES], "0.15|0.70|target CAL500|between clusters"),
    ("projection_map", [PROJECTIONS, OWNED], "before|CAL500 (25 segments)|mine (15 segments)"),
    ("results", [RESULTS],
     "CAL500|120 tracks, 9 labels, k = 4|0.720|supervised reference (0.585)|its 95 % band"),
    ("results", [RESULTS[:-1].drop(columns=["reference", "shuffled"]), "song_macro_f1"],
     "0.720|120 tracks, 9 labels, k = 4|macro-F1 of songs"),
    ("per_label", [PER_LABEL],
     "120 tracks|tenderness (12)|* sadness (18)|cannot be scored|ridge, 95 % interval|chance"),
    ("label_frequencies", [DATASETS],
     "MTG-Jamendo (4 tracks)|demo-mtg (2 tracks)|film|share of the tracks (%)"),
    ("method_drawing", ["04"], "you are here: notebook 4|projector (learns)|a cluster"),
    ("method_drawing", [], "numbers: the notebook of each step|label vectors"),
    ("triplet_drawing", [], "40°|75°|here: relu(0.26 - 0.77 + 1) = 0.49"),
    ("alignment_drawing", [], "calm music, cosine across datasets: 0.74 → 0.91|push|pull"),
    ("waveform_and_spectrogram", [TONE, 16000, "a tone"],
     "a tone|1.0 s at 16,000 Hz|frequency (Hz)|level (dB below peak)"),
    ("self_similarity", [{"state 0": np.eye(40, 8), "state 4": np.ones((40, 8)) * ANGLES[2]}, 10.0],
     "state 0|state 4|time (s)|cosine of two moments"),
    ("emotion_curve", [RANKS.set_index("start"), 9.0, "a song"],
     "a song|each point hears 9 s|eerie|time (s)"),
    ("unit_circle", [{"before": BEFORE[:, :2], "after": AFTER[:, :2]}, ["calm", "sad"] * 20, OWNED],
     "before|after|calm|sad|cal500 (outer ring)|mine (inner ring)"),
    ("curves", [{"loss": RANKS.set_index("start"), "gap": RANKS.set_index("start")}, {"p": 3.0}],
     "start|loss|gap|eerie|p"),
    ("layer_probe", [PROBE], "CAL500 (120 tracks)|best layer|95 % interval|chance"),
    ("pooling_comparison", [POOLING], "first frame, 95 % interval|Emotify\n120 tracks|chance"),
]  # fmt: skip


def visible_texts(figure: Figure) -> list[Text]:
    """All texts that are drawn: not those of ticks outside the axes' limits."""
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not axes.axison or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {tick.label1, tick.label2}
    texts = figure.findobj(Text)
    return [t for t in texts if t not in hidden and t.get_visible() and t.get_text().strip()]


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    """Pairs of texts that overlap by more than a hair."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
    ]


# --- Every figure ---------------------------------------------------------------------------------


def test_every_function_has_a_case():
    functions = {name for name, value in vars(figures).items() if inspect.isfunction(value)}
    others = {"save", "set_style", "slider"}
    assert {name for name, *_ in CASES if not hasattr(draw, name)} == functions - others


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_a_figure_says_what_it_must_and_is_readable(name, arguments, expected):
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = getattr(draw if hasattr(draw, name) else figures, name)(*arguments)
        texts = visible_texts(figure)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
    assert set(expected.split("|")) - {t.get_text().replace("−", "-") for t in texts} == set()
    assert [text.get_text() for text in texts if text.get_fontsize() < 8] == []
    assert overlapping(texts) == []
    drawn = figure.get_tightbbox()  # inches
    assert (drawn.size < 1.06 * figure.get_size_inches()).all()  # nothing sticks out far


# --- Saving and style -----------------------------------------------------------------------------


def test_same_data_same_files(tmp_path):
    paths = [tmp_path / "new" / f"{turn}.png" for turn in ("one", "two")]
    for path in paths:
        figures.save(figures.label_map(EMBEDDINGS), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_style_holds_for_a_block_only_and_leaves_other_settings_alone(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "interactive", False)
    before = mpl.rcParams["font.size"]
    with figures.set_style():
        assert mpl.rcParams["axes.titlelocation"] == "left"
        mpl.rcParams["interactive"] = True  # as a notebook's backend does when it is first used
    assert mpl.rcParams["font.size"] == before
    assert mpl.rcParams["interactive"]


# --- What the figures show ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("label_graph", [EMBEDDINGS, replace(CLUSTERS, labels=LABELS[::-1])], "order"),
        ("cluster_cosine_bars", [COSINES.assign(target=[*"aab"])], "one target"),
        ("projection_map", [PROJECTIONS, OWNED[:39]], "39"),
    ],
)
def test_what_would_be_a_wrong_picture_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(figures, name)(*arguments)


def test_drawings_of_the_method_are_those_that_are_committed(tmp_path):
    draw.draw_method(tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in METHOD.glob("*.svg")}
    assert max(map(len, drawn.values())) < 60_000


def test_drawings_of_the_losses_are_what_the_losses_do():
    f, p, n = (torch.tensor([[np.cos(a), np.sin(a)]]) for a in np.deg2rad([0, 40, -75]))
    assert f"{projector.triplet_loss(f, p, n).item():.2f}" == "0.49"
    clusters = torch.from_numpy(draw.CLUSTERS)
    begun, half, done = (torch.from_numpy(draw.aligned(steps)) for steps in (0, 5, 14))
    losses = [projector.alignment_loss(x, clusters, 1.0).item() for x in (begun, half, done)]
    assert losses == sorted(losses, reverse=True)


def row_names(axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def test_all_89_labels_are_readable():
    vocabularies = ("mtg-jamendo", "cal500", "emotify", "emotions")
    labels = [label for vocabulary in vocabularies for label in names(vocabulary)]
    owners = tuple(vocabulary for vocabulary in vocabularies for _ in names(vocabulary))
    assignment = np.arange(len(labels)) // 4
    random = np.random.default_rng(0)
    vectors = random.normal(size=(23, 16))[assignment] + 0.5 * random.normal(size=(89, 16))
    found = embed(labels, owners, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    of_clusters = figures.label_graph(found, cluster(found, assignment))
    for figure in (figures.affect_map(found.vectors, labels, owners), of_clusters):
        texts = visible_texts(figure)
        assert overlapping(texts) == []
        assert set(labels) <= {text.get_text() for text in texts}


def test_heatmap_puts_similar_labels_together_and_outlines_antonyms():
    axes = figures.similarity_heatmap(EMBEDDINGS, PAIRS[1:]).axes[0]
    order = row_names(axes)
    assert sorted(order) == sorted(LABELS)  # "happy" once a dataset
    assert abs(order.index("sad") - order.index("gloomy")) == 1
    calm, energetic = order.index("calm"), order.index("energetic")
    outlined = {p.get_xy() for p in axes.patches if isinstance(p, Rectangle)}
    assert outlined == {(calm, energetic), (energetic, calm)}
    cosines = axes.collections[0].get_array().reshape(7, 7)
    assert cosines[calm, energetic] == pytest.approx(np.cos(np.deg2rad(100)), abs=1e-6)


def test_heatmap_of_many_labels_keeps_antonyms_and_what_is_near_another_dataset():
    labels = ("near", "close", *(f"far {i}" for i in range(40)), "happy", "sad")
    owners = ("one", "two", *["two"] * 40, "one", "one")
    vectors = np.eye(len(labels))
    vectors[1] = 0.8 * vectors[0] + 0.6 * vectors[1]  # "close" lies near "near"
    shown = row_names(figures.similarity_heatmap(embed(labels, owners, vectors), PAIRS).axes[0])
    assert len(shown) == 32
    assert {"happy", "sad", "near", "close"} <= set(shown)


def joins(axes, colour: str) -> list[float]:
    """Where the joins of a dendrogram that have a colour are, in order."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    lines = [c for c in lines if to_hex(c.get_color()[0]) == colour.lower()]
    return sorted(path.vertices[:, 0].max() for line in lines for path in line.get_paths())


def test_tree_joins_labels_of_a_cluster_at_their_mean_distance():
    axes = figures.label_graph(EMBEDDINGS, CLUSTERS).axes[0]
    assert sorted(row_names(axes)) == sorted(LABELS)
    assert {text.get_text() for text in axes.texts} == {"happy", "sad"}  # medoids
    ten_degrees = 1 - np.cos(np.deg2rad(10))
    both = joins(axes, style.COLOURS[0]) + joins(axes, style.COLOURS[1])
    assert sorted(both) == pytest.approx([0, ten_degrees, ten_degrees], abs=1e-6)
    assert len(joins(axes, style.LIGHT_GREY)) == 3  # four clusters


def test_tree_keeps_clusters_that_are_not_of_near_labels():
    axes = figures.label_graph(EMBEDDINGS, cluster(EMBEDDINGS, (0, 1, 0, 1, 0, 1, 0))).axes[0]
    colours = np.array([text.get_color() for text in axes.get_yticklabels()])
    assert (colours[1:] != colours[:-1]).sum() == 1


@pytest.mark.parametrize(("best", "height"), [(None, 0.7), (4, 0.65)])
def test_best_epoch_is_the_one_whose_weights_were_kept(best, height):
    axes = figures.training_curves({"one": history(best=best)}).axes[-1]
    (dot,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert dot.get_xdata() == [2 if best is None else best]
    assert dot.get_ydata() == pytest.approx([height])


def test_results_are_where_the_table_says():
    axes, other = figures.results(RESULTS).axes[:2]
    assert row_names(axes) == ["baseline", "ridge", "anchors"]
    (dots,) = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert dots.get_offsets().tolist() == [[0.56, 0], [0.72, 1], [0.7, 2]]
    lines, others = ([list(line.get_xdata())[:1] for line in a.get_lines()] for a in (axes, other))
    assert [0.5] in lines  # chance
    assert [0.585] in lines  # the first target's ceiling
    assert [0.585] not in others
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.48, 0.04))


def test_ranks_shares_bars_and_levels_are_what_their_axes_say():
    curve = figures.emotion_curve(RANKS.set_index("start"), 9.0, "a song").axes[0].get_lines()[0]
    assert curve.get_xdata().tolist() == [4.5, 7.5, 10.5]  # s: the middle of what is heard
    shares = figures.label_frequencies(DATASETS).axes[0].get_lines()[0]
    assert shares.get_xdata().tolist() == [100, 50, 25, 0]  # %
    bars = figures.cluster_cosine_bars(COSINES).axes[0]
    assert row_names(bars) == ["baseline", "alignment"]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([0.45, 0.6, 0.3, -0.1])
    fading = np.where(np.arange(16000) < 8000, TONE, 0.1 * TONE)
    levels = figures.waveform_and_spectrogram(fading, 16000, "").axes[1].collections[0].get_array()
    loudest = levels.max(axis=0)  # dB, over time
    assert (loudest.max(), loudest[-10]) == (0, pytest.approx(-20, abs=0.1))


def test_per_label_is_sorted_by_the_first_method():
    shown = [name.rsplit(" (", 1)[0] for name in row_names(figures.per_label(PER_LABEL).axes[0])]
    first = PER_LABEL.query("target == 'cal500' and method == 'ridge'")
    first = first.sort_values("roc_auc", ascending=False, kind="stable")
    assert shown == first["label"].tolist()
    assert shown[-1] == "bizarre / weird"  # no score
