"""Figures: every one draws, says what it must, and stays readable."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from nbclient import NotebookClient

from mer_utils import figures
from mer_utils.data import VOCABULARIES, Dataset, names
from mer_utils.figures import of_data, style
from mer_utils.labels import LabelClusters, LabelEmbeddings

mpl.use("Agg")

# --- Small data -----------------------------------------------------------------------------------

LABELS = ("happy", "cheerful", "sad", "gloomy", "calm", "energetic", "happy")
OWNERS = ("cal500", "cal500", "cal500", "emotify", "emotify", "emotify", "mtg-jamendo")
ANGLES = np.deg2rad([0, 10, 90, 100, 200, 300, 0])


def embeddings(labels=LABELS, owners=OWNERS, vectors=None, mean=None) -> LabelEmbeddings:
    if vectors is None:
        vectors = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
    vectors = np.asarray(vectors, dtype=np.float32)
    texts = tuple((label,) for label in labels)
    return LabelEmbeddings(tuple(labels), texts, vectors, "by hand", "name", owners, mean)


def clusters(of: LabelEmbeddings, assignment=(0, 0, 1, 1, 2, 3, 0)) -> LabelClusters:
    assignment = np.asarray(assignment)
    rows = [np.flatnonzero(assignment == number) for number in range(assignment.max() + 1)]
    centres = np.stack([of.vectors[row].mean(axis=0) for row in rows])
    medoids = tuple(of.labels[row[0]] for row in rows)
    return LabelClusters(of.labels, assignment, centres, medoids, "by hand")


def sweep() -> pd.DataFrame:
    made = table(
        "value clusters largest silhouette stability stability_low",
        (0.8, 1, 10, np.nan, np.nan, np.nan),
        (0.2, 9, 1, 0.1, 1.0, 1.0),
        (0.4, 7, 2, 0.3, 0.9, 0.8),
        (0.6, 5, 4, 0.2, 0.5, 0.1),
    )
    return made.assign(method="mean_shift", setting="bandwidth", labels=10)


def history(shift: float = 0.0, alignment: float = 0.0, best: int | None = None) -> pd.DataFrame:
    made = pd.DataFrame({"epoch": range(6), "triplet": 1.0, "alignment": alignment})
    made["validation"] = shift + np.array([0.5, 0.6, 0.7, 0.66, 0.65, 0.64])
    if best is not None:
        made.attrs["best_epoch"] = best
    return made


def results_table() -> pd.DataFrame:
    rows = [
        (target, metric, method, value, "†" in method)
        for target in ("cal500", "emotions")
        for metric in ("song_roc_auc", "song_macro_f1")
        for method, value in (("baseline", 0.56), ("ridge", 0.72), ("ridge †", 0.7))
    ]
    made = table("target metric method value transductive", *rows)
    made = made.assign(chance_low=0.48, chance_high=0.52, k=4, reference=False)
    made = made.assign(shuffled=0.51, shuffled_low=0.45, shuffled_high=0.55)
    ceiling = ("cal500", "song_roc_auc", "supervised reference", 0.585, False, True)
    columns = "target metric method value transductive reference"
    return pd.concat([made, table(columns, ceiling)], ignore_index=True)


def per_label_table() -> pd.DataFrame:
    rows = [
        (target, method, label, 10 + i, np.nan if label == "bizarre / weird" else 0.5 + i / 50)
        for target, method in (("cal500", "ridge"), ("cal500", "alignment"), ("emotify", "ridge"))
        for i, label in enumerate(names(target))
    ]
    made = table("target method label positives value", *rows)
    return made.rename(columns={"value": "roc_auc", "low": "roc_auc_low", "high": "roc_auc_high"})


def table(columns: str, *rows: tuple) -> pd.DataFrame:
    """A table of rows; with value it gets an interval of ± .02, a chance and numbers of cases."""
    made = pd.DataFrame(rows, columns=columns.split())
    if "value" in made:
        made = made.assign(low=made["value"] - 0.02, high=made["value"] + 0.02, chance=0.5)
        made = made.assign(tracks=120, labels=9, seeds=3, draws=5)
    return made


def cosine_table() -> pd.DataFrame:
    baseline, alignment = ("baseline", 0.4, 0.3), ("alignment", 0.6, -0.1)
    rows = (baseline, alignment, ("baseline", 0.5, 0.3), alignment)
    return table("method within between", *rows).assign(target="cal500")


def probe_table() -> pd.DataFrame:
    rows = [(d, i, 0.6 + 0.1 * i) for d in ("cal500", "emotify") for i in range(3)]
    return table("dataset layer value", *rows)


def pooling_table() -> pd.DataFrame:
    rows = [(d, p, 0.6) for d in ("cal500", "emotify") for p in ("first frame", "mean")]
    return table("dataset pooling value", *rows)


def path_table() -> pd.DataFrame:
    steps = [("bare names", 0.55, np.nan), ("expanded", 0.6, 0.2), ("committee", 0.7, 0.001)]
    rows = [(t, *step) for t in ("emotify", "demo-mtg") for step in steps]
    return table("target step value p_holm", *rows)


def curve_table() -> pd.DataFrame:
    rows = [(t, n, 0.5 + n / 1000) for t in ("emotify", "demo-mtg") for n in (40.0, 80.0, 160.0)]
    return table("target training_tracks value", *rows)


def sweep_table() -> pd.DataFrame:
    rows = [("alignment", 0.5, 0.6), ("alignment", 1.0, 0.62), ("ridge", np.nan, 0.7)]
    return (
        table("approach weight value", *rows)
        .assign(target="cal500")
        .drop(columns=["labels", "draws"])
    )


def spaces_table() -> pd.DataFrame:
    kinds = [("text", 0.6), ("axes", 0.7), ("learned", np.nan)]
    rows = [("cal500", k, s, a, a, 153) for k, a in kinds for s in ("name", "definition")]
    made = table("target kind style affect_correlation roc_auc pairs", *rows)
    return made.fillna({"affect_correlation": 0.1})


def ranks() -> pd.DataFrame:
    return table("start eerie hopeful", (0.0, 90.0, 10.0), (3.0, 80.0, 45.0), (6.0, 95.0, 5.0))


def dataset(name: str, labels: tuple[str, ...], owned: list[tuple[str, ...]]) -> Dataset:
    index = pd.Index([f"track-{i}" for i in range(len(owned))], name="track")
    columns = {"audio": None, "labels": owned, "split": None, "group": [*map(str, index)]}
    return Dataset(name, labels, pd.DataFrame(columns, index=index))


def some_datasets() -> dict[str, Dataset]:
    real = [("calm",), ("calm", "happy"), ("calm", "happy", "sad"), ("calm",)]
    made = [
        dataset("mtg-jamendo", ("calm", "happy", "sad", "film"), real),
        dataset("demo-mtg", ("calm", "happy", "sad"), [("sad",), ("sad", "happy")]),
        dataset("emotify", ("power", "tension"), [("power",), ()]),
    ]
    return {one.name: one for one in made}


def tone(hertz: float = 1000.0, sample_rate: int = 16000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(sample_rate) / sample_rate)


def projections() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"before": random.normal(size=(40, 5)), "after": random.normal(size=(40, 5)) + 1}


OWNED = ["cal500"] * 25 + ["mine"] * 15
PAIRS = [("happy", "sad"), ("energetic", "calm"), ("no", "label")]

# A figure on small data, and texts that must be in it: names, units, how many were measured.
CASES: dict[str, tuple[Callable[[], Figure], tuple[str, ...]]] = {
    "label_map": (
        lambda: figures.label_map(embeddings()),
        ("7 labels of 3 datasets", "gloomy", "CAL500 (3 labels)", "MTG-Jamendo (1 label)"),
    ),
    "label_map without datasets": (
        lambda: figures.label_map(embeddings(LABELS[:6], None, embeddings().vectors[:6])),
        ("6 labels", "energetic"),
    ),
    "similarity_heatmap": (
        lambda: figures.similarity_heatmap(embeddings(), PAIRS),
        ("antonyms: 3 pairs, mean cosine -0.06 (all pairs -0.01)", "cosine of label vectors"),
    ),
    "similarity_heatmap, centred": (
        lambda: figures.similarity_heatmap(embeddings(mean=np.zeros(2, np.float32))),
        ("cosine of label vectors (centred)",),
    ),
    "label_graph": (
        lambda: figures.label_graph(embeddings(), clusters(embeddings())),
        ("7 labels in 4 clusters", "alone in its cluster (2)", "Emotify (3 labels)"),
    ),
    "affect_map": (
        lambda: figures.affect_map(embeddings().vectors, LABELS, OWNERS),
        ("direction 1 (1 = as far out as an antonym's pole)", "gloomy", "CAL500 (3 labels)"),
    ),
    "label_spaces": (
        lambda: figures.label_spaces(spaces_table()),
        ("CAL500", "153 pairs of labels", "axes", "definition", "affect correlation (Spearman)"),
    ),
    "emotion_curve": (
        lambda: figures.emotion_curve(ranks(), 9.0, "a song"),
        ("a song", "each point hears 9 s", "eerie", "hopeful", "time (s)"),
    ),
    "clustering_sweep": (
        lambda: figures.clustering_sweep(sweep(), {"bandwidth": 0.4}),
        ("mean shift of 10 labels; chosen: bandwidth = 0.4 (7 clusters)", "chosen"),
    ),
    "training_curves": (
        lambda: figures.training_curves({"baseline 1": history(), "alignment": history(0.1, 2.0)}),
        ("alignment loss (times λ)", "best epoch (weights kept)", "chance"),
    ),
    "sweep_curves": (
        lambda: figures.sweep_curves(sweep_table(), "weight"),
        ("CAL500", "mean over 3 seeds", "λ", "ridge", "alignment", "chance"),
    ),
    "ablation_path": (
        lambda: figures.ablation_path(path_table()),
        ("Emotify", "120 tracks, 9 labels", "expanded", "does not"),
    ),
    "learning_curve": (
        lambda: figures.learning_curve(curve_table()),
        ("Emotify (120 tracks)", "training tracks", "macro ROC-AUC\nof songs", "chance"),
    ),
    "cluster_cosine_bars": (
        lambda: figures.cluster_cosine_bars(cosine_table()), ("0.15", "0.70", "target CAL500")
    ),
    "projection_map": (
        lambda: figures.projection_map(projections(), OWNED),
        ("before", "after", "CAL500 (25 segments)", "mine (15 segments)"),
    ),
    "results": (
        lambda: figures.results(results_table()),
        ("CAL500", "120 tracks, 9 labels, k = 4", "0.720", "supervised reference (0.585)"),
    ),
    "results, F1": (
        lambda: figures.results(results_table(), "song_macro_f1"),
        ("120 tracks, 9 labels, k = 4", "macro-F1\nof songs"),
    ),
    "per_label": (
        lambda: figures.per_label(per_label_table()),
        ("120 tracks", "tenderness (12)", "cannot be scored", "ridge, 95 % interval"),
    ),
    "label_frequencies": (
        lambda: figures.label_frequencies(some_datasets()),
        ("MTG-Jamendo (4 tracks)", "demo-mtg (2 tracks)", "film", "share of the tracks (%)"),
    ),
    "labels_per_track": (
        lambda: figures.labels_per_track(some_datasets()),
        ("mean 1.75 and 1.50", "mean 0.50", "labels of a track"),
    ),
    "vocabulary_overlap": (
        lambda: figures.vocabulary_overlap({name: names(name) for name in VOCABULARIES}),
        ("56 labels", "2\nhappy, sad", "1\nangry / aggressive"),
    ),
    "waveform_and_spectrogram": (
        lambda: figures.waveform_and_spectrogram(tone(), 16000, "a tone"),
        ("a tone", "1.0 s at 16,000 Hz", "frequency (Hz)"),
    ),
    "layer_probe": (
        lambda: figures.layer_probe(probe_table()), ("CAL500 (120 tracks)", "best layer")
    ),
    "pooling_comparison": (
        lambda: figures.pooling_comparison(pooling_table()),
        ("first frame, 95 % interval", "Emotify\n120 tracks"),
    ),
}  # fmt: skip


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


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that overlap by more than a hair."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in visible_texts(figure)]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
    ]


# --- Every figure ---------------------------------------------------------------------------------


def test_every_function_has_a_case():
    functions = {name for name, value in vars(figures).items() if inspect.isfunction(value)}
    assert {name.split(",")[0].split(" ")[0] for name in CASES} == functions - {"save", "set_style"}


@pytest.mark.parametrize("name", CASES)
def test_a_figure_says_what_it_must_and_is_readable(name, tmp_path):
    draw, expected = CASES[name]
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw()
        texts = visible_texts(figure)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []
    assert set(expected) - {text.get_text().replace("−", "-") for text in texts} == set()
    assert [text.get_text() for text in texts if text.get_fontsize() < 8] == []
    assert overlapping(figure) == []

    figures.save(figure, tmp_path / "figure.png")
    pixels = plt.imread(tmp_path / "figure.png")[..., :3]
    page = 200 * figure.get_size_inches()[::-1]
    assert (pixels.shape[:2] > 0.8 * page).all()
    assert (pixels.shape[:2] < 1.06 * page).all()  # nothing sticks out far
    assert pixels.std() > 0.03


# --- Saving and style -----------------------------------------------------------------------------


def test_same_data_same_files(tmp_path):
    for ending in (".png", ".svg"):
        for turn in ("one", "two"):
            figures.save(figures.label_map(embeddings()), tmp_path / "new" / (turn + ending))
        first, second = (tmp_path / "new" / (turn + ending) for turn in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
    assert "energetic" in first.read_text()  # text stays text in SVG


def test_save_refuses_other_endings_and_leaves_other_figures_open(tmp_path):
    mine = plt.figure()
    with pytest.raises(ValueError, match=r"\.jpg"):
        figures.save(figures.training_curves({"one": history()}), tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
    assert plt.gcf() is mine
    plt.close(mine)


def test_style_holds_for_a_block_only_and_leaves_other_settings_alone(monkeypatch):
    monkeypatch.setitem(mpl.rcParams, "interactive", False)
    before = mpl.rcParams["font.size"]
    with figures.set_style():
        assert mpl.rcParams["axes.titlelocation"] == "left"
        mpl.rcParams["interactive"] = True  # as a notebook's backend does when it is first used
    assert mpl.rcParams["font.size"] == before
    assert mpl.rcParams["interactive"]


NOTEBOOK = """
import pandas as pd
from mer_utils import figures
table = pd.DataFrame({"target": "x", "method": ["a"], "within": [0.4], "between": [0.1]})
"""
CELL = """
figure = figures.cluster_cosine_bars(table)
figures.save(figure, "figure.png")
"""


@pytest.mark.slow
def test_a_notebook_shows_each_figure_once(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    cells = [nbformat.v4.new_code_cell(source) for source in (NOTEBOOK, CELL, CELL)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells[1:]:
        assert ["image/png" in output.get("data", {}) for output in cell.outputs] == [True]


def test_datasets_keep_their_markers():
    known = ["mtg-jamendo", "cal500", "emotify", "emotions"]
    looks = style.dataset_looks([*known, "demo-mtg", "mine", "yours"])
    assert "".join(look.marker for look in looks.values()) == "os^DovP"
    assert looks["demo-mtg"].title == "demo-mtg"
    assert looks["mtg-jamendo"].title == "MTG-Jamendo"


def test_many_series_differ():
    looks = style.series_looks([f"method {i}" for i in range(28)])
    assert len({tuple(look.values()) for look in looks.values()}) == 28


# --- Errors ---------------------------------------------------------------------------------------

TABLE_FIGURES = [
    (figures.results, results_table, ["target", "chance_low", "labels"]),
    (figures.per_label, per_label_table, ["positives", "roc_auc_high"]),
    (figures.cluster_cosine_bars, cosine_table, ["within", "method"]),
    (lambda t: figures.clustering_sweep(t, {"bandwidth": 0.4}), sweep, ["stability", "value"]),
    (lambda t: figures.training_curves({"m": t}), history, ["triplet"]),
    (figures.layer_probe, probe_table, ["layer", "low"]),
    (figures.pooling_comparison, pooling_table, ["pooling", "dataset"]),
]


@pytest.mark.parametrize(("draw", "make", "columns"), TABLE_FIGURES)
def test_missing_columns_are_named(draw, make, columns):
    for column in columns:
        with pytest.raises(ValueError, match=rf"\['{column}'\]"):
            draw(make().drop(columns=column))
    with pytest.raises(ValueError, match="no rows"):
        draw(make().iloc[:0])
    with pytest.raises(ValueError, match="list"):
        draw([1, 2])


BAD = [
    (
        lambda: figures.label_graph(
            embeddings(), replace(clusters(embeddings()), labels=tuple("abcdefg"))
        ),
        "same ones",
    ),
    (lambda: figures.similarity_heatmap(embeddings(LABELS[:2], OWNERS[:2], np.eye(2))), "not 2"),
    (lambda: figures.affect_map(np.ones((7, 1)), LABELS, OWNERS), r"not \(7, 1\)"),
    (lambda: figures.affect_map(np.ones((7, 2)), LABELS, OWNERS[:3]), "7 labels .* not 3"),
    (lambda: figures.clustering_sweep(sweep(), {"quantile": 0.1}), "bandwidth"),
    (lambda: figures.clustering_sweep(sweep().assign(method=[*"aabb"]), {}), "one method"),
    (lambda: figures.training_curves({}), "no history"),
    (lambda: figures.training_curves({"ridge": pd.DataFrame()}), "ridge: .*closed-form"),
    (lambda: figures.results(results_table(), "accuracy"), "song_roc_auc, song_macro_f1"),
    (lambda: figures.results(pd.concat([results_table()] * 2)), "several rows"),
    (lambda: figures.results(results_table().assign(reference=True)), "references"),
    (
        lambda: figures.per_label(
            pd.concat([per_label_table()[:18].assign(method=str(i)) for i in range(4)])
        ),
        "4 methods",
    ),
    (lambda: figures.per_label(pd.concat([per_label_table()] * 2)), "several rows"),
    (lambda: figures.cluster_cosine_bars(cosine_table().assign(target=[*"aabb"])), "one target"),
    (lambda: figures.projection_map({}, []), "0 categories"),
    (lambda: figures.projection_map(projections(), OWNED[:39]), r"39 categories.*\(40, 5\)"),
    (lambda: figures.emotion_curve(ranks()[["start"]], 9.0), "0 labels"),
    (lambda: figures.label_frequencies({}), "no dataset"),
    (lambda: figures.labels_per_track({"cal500": dataset("cal500", ("a",), [])}), "cal500"),
    (lambda: figures.vocabulary_overlap({"cal500": ("a",)}), "cal500"),
    (lambda: figures.waveform_and_spectrogram(np.zeros((2, 9999)), 8000), r"\(2, 9999\)"),
    (lambda: figures.waveform_and_spectrogram(np.zeros(99), 8000), r"\(99,\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_gets_an_error_that_names_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- What the figures show ------------------------------------------------------------------------


def test_all_89_labels_are_readable():
    labels = [label for vocabulary in VOCABULARIES for label in names(vocabulary)]
    owners = tuple(vocabulary for vocabulary in VOCABULARIES for _ in names(vocabulary))
    cluster = np.arange(len(labels)) // 4
    random = np.random.default_rng(0)
    vectors = random.normal(size=(23, 16))[cluster] + 0.5 * random.normal(size=(89, 16))
    found = embeddings(labels, owners, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    for figure in (figures.label_map(found), figures.label_graph(found, clusters(found, cluster))):
        assert overlapping(figure) == []
        assert set(labels) <= {text.get_text() for text in visible_texts(figure)}


def test_heatmap_puts_similar_labels_together_and_outlines_antonyms():
    axes = figures.similarity_heatmap(embeddings(), PAIRS[1:]).axes[0]
    order = [text.get_text() for text in axes.get_yticklabels()]
    assert sorted(order) == sorted(LABELS)  # "happy" once a dataset
    assert abs(order.index("sad") - order.index("gloomy")) == 1
    calm, energetic = order.index("calm"), order.index("energetic")
    outlined = {p.get_xy() for p in axes.patches if isinstance(p, Rectangle)}
    assert outlined == {(calm, energetic), (energetic, calm)}
    cosines = axes.collections[0].get_array().reshape(7, 7)
    assert cosines[calm, energetic] == pytest.approx(np.cos(np.deg2rad(100)), abs=1e-6)


def joins(axes, colour: str) -> list[float]:
    """Where the joins of a dendrogram that have a colour are, in order."""
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    drawn = [p.vertices for c in lines if to_hex(c.get_color()[0]) == colour.lower()
             for p in c.get_paths()]  # fmt: skip
    return sorted(float(path[:, 0].max()) for path in drawn)


def test_tree_joins_labels_of_a_cluster_at_their_mean_distance():
    axes = figures.label_graph(embeddings(), clusters(embeddings())).axes[0]
    names_shown = axes.get_yticklabels()
    assert sorted(text.get_text() for text in names_shown) == sorted(LABELS)
    bold = {text.get_text() for text in names_shown if text.get_fontweight() == "bold"}
    assert bold == {"happy", "sad"}  # medoids; those alone are plain
    ten_degrees = 1 - np.cos(np.deg2rad(10))
    both = joins(axes, style.COLOURS[0]) + joins(axes, style.COLOURS[1])
    assert sorted(both) == pytest.approx([0, ten_degrees, ten_degrees], abs=1e-6)
    assert len(joins(axes, style.LIGHT_GREY)) == 3  # four clusters


def test_tree_keeps_clusters_that_are_not_of_near_labels():
    found = embeddings()
    axes = figures.label_graph(found, clusters(found, (0, 1, 0, 1, 0, 1, 0))).axes[0]
    order = [text.get_color() for text in axes.get_yticklabels()]
    assert sum(one != other for one, other in zip(order[1:], order[:-1], strict=True)) == 1


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=20))
@settings(max_examples=25, deadline=None)
def test_spread_points_do_not_hide_one_another(points):
    moved = style.spread(np.array(points), share=0.01)
    assert np.isfinite(moved).all()
    apart = np.linalg.norm(moved[:, None] - moved[None], axis=-1) + np.eye(len(moved)) * 9
    least = 0.01 * (np.ptp(np.array(points), axis=0).max() or 1)
    assert apart.min() > 0.3 * least


def test_sweep_marks_the_choice_and_the_cliff():
    top = figures.clustering_sweep(sweep(), {"bandwidth": 0.4}).axes[0]
    assert any(np.allclose(line.get_xdata(), 0.4) for line in top.get_lines())
    (grey,) = [patch for patch in top.patches if isinstance(patch, Rectangle)]
    # one cluster has over half of the labels at 0.8 only: from halfway to 0.6 to the right edge
    assert grey.get_x() == pytest.approx(0.7)
    assert grey.get_x() + grey.get_width() == pytest.approx(top.get_xlim()[1])


@pytest.mark.parametrize(("best", "height"), [(None, 0.7), (4, 0.65)])
def test_best_epoch_is_the_one_whose_weights_were_kept(best, height):
    axes = figures.training_curves({"one": history(best=best)}).axes[-1]
    (dot,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert dot.get_xdata() == [2 if best is None else best]
    assert dot.get_ydata() == pytest.approx([height])


def test_results_are_where_the_table_says():
    figure = figures.results(results_table())
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["baseline", "ridge", "ridge †"]
    dots = axes.collections[-1]
    assert dots.get_offsets().tolist() == [[0.56, 0], [0.72, 1], [0.7, 2]]
    hollow = [to_hex(face) == "#ffffff" for face in dots.get_facecolors()]
    assert hollow == [False, False, True]  # it has looked at the target
    of_targets = [[line.get_xdata()[0] for line in a.get_lines()] for a in figure.axes]
    assert 0.5 in of_targets[0]  # chance
    assert 0.585 in of_targets[0]  # the ceiling of the first target
    assert 0.585 not in of_targets[1]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.48, 0.04))


def test_results_without_shuffled_chance():
    columns = ["shuffled", "shuffled_low", "shuffled_high", "reference"]
    figure = figures.results(results_table()[:-1].drop(columns=columns))
    assert not any("shuffled" in text.get_text() for text in visible_texts(figure))


def test_per_label_is_sorted_by_the_first_method():
    table = per_label_table()
    axes = figures.per_label(table).axes[0]
    shown = [text.get_text().rsplit(" (", 1)[0] for text in axes.get_yticklabels()]
    first = table[(table["target"] == "cal500") & (table["method"] == "ridge")]
    first = first.sort_values("roc_auc", ascending=False, kind="stable")
    assert shown == first["label"].tolist()
    assert shown[-1] == "bizarre / weird"  # no score


def test_cosine_bars_are_means_over_seeds():
    axes = figures.cluster_cosine_bars(cosine_table()).axes[0]
    assert [bar.get_width() for bar in axes.patches[:2]] == pytest.approx([0.45, 0.6])


def test_label_frequencies_are_shares_of_the_tracks():
    axes = figures.label_frequencies(some_datasets()).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["calm", "happy", "sad", "film"]
    real, demo = axes.get_lines()
    assert real.get_xdata().tolist() == [100, 50, 25, 0]
    assert demo.get_xdata()[:3].tolist() == [0, 50, 100]
    assert demo.get_markerfacecolor() == "white"


def test_labels_per_track_add_up_to_all_tracks():
    for axes in figures.labels_per_track(some_datasets()).axes:
        assert [sum(line.get_ydata()) for line in axes.get_lines()] == pytest.approx(
            [100] * len(axes.get_lines())
        )


def test_spectrogram_finds_a_tone():
    times, frequencies, level = of_data._spectrogram(tone(1000), 16000)
    middle = level[:, len(times) // 2]
    assert frequencies[middle.argmax()] == pytest.approx(1000, abs=8)
    assert middle.max() == pytest.approx(0, abs=0.5)
    assert middle[frequencies > 2000].max() < -60
