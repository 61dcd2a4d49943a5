"""Figures: every one draws, says what it must, and stays readable."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from nbclient import NotebookClient

from mer_utils import figures
from mer_utils.data import ANTONYMS, VOCABULARIES, Antonym, Dataset, names
from mer_utils.figures import of_data, of_labels, style
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


def all_labels(assignment_size: int) -> tuple[LabelEmbeddings, LabelClusters]:
    """The real 89 labels with random vectors, in clusters of a given size (the last is smaller)."""
    labels = [label for vocabulary in VOCABULARIES for label in names(vocabulary)]
    owners = tuple(vocabulary for vocabulary in VOCABULARIES for _ in names(vocabulary))
    number = np.arange(len(labels)) // assignment_size
    random = np.random.default_rng(0)
    vectors = random.normal(size=(number.max() + 1, 16))[number]
    vectors += 0.5 * random.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = embeddings(labels, owners, vectors)
    return found, clusters(found, number)


def sweep() -> pd.DataFrame:
    table = pd.DataFrame({"value": [0.8, 0.2, 0.4, 0.6], "clusters": [1, 9, 7, 5]})
    table = table.assign(largest=[10, 1, 2, 4], silhouette=[np.nan, 0.1, 0.3, 0.2])
    table = table.assign(stability=[np.nan, 1.0, 0.9, 0.5], stability_low=[np.nan, 1.0, 0.8, 0.1])
    return table.assign(method="mean_shift", setting="bandwidth", labels=10)


def history(shift: float = 0.0, alignment: float = 0.0, best: int | None = None) -> pd.DataFrame:
    epoch = np.arange(6)
    table = pd.DataFrame({"epoch": epoch, "triplet": 1 - 0.1 * epoch, "alignment": alignment})
    table["validation"] = shift + np.array([0.5, 0.6, 0.7, 0.66, 0.65, 0.64])
    if best is not None:
        table.attrs["best_epoch"] = best
    return table


def results_table() -> pd.DataFrame:
    rows = []
    for target, tracks, labels in (("cal500", 502, 18), ("emotions", 593, 6)):
        for metric, chance in (("song_roc_auc", 0.5), ("song_macro_f1", 0.25)):
            for method, value in (("baseline", 0.56), ("ridge", 0.72), ("ridge †", 0.7)):
                row = {"target": target, "method": method, "transductive": "†" in method}
                row |= {"metric": metric, "value": value, "low": value - 0.03, "high": value + 0.03}
                row |= {"chance": chance, "chance_low": chance - 0.02, "chance_high": chance + 0.02}
                row |= {"tracks": tracks, "labels": labels, "k": 4 if "f1" in metric else None}
                row |= {"shuffled": 0.51, "shuffled_low": 0.45, "shuffled_high": 0.55}
                rows.append(row)
    ceiling = {"target": "cal500", "method": "supervised reference", "metric": "song_roc_auc"}
    rows.append({**ceiling, "value": 0.585, "transductive": False, "reference": True})
    return pd.DataFrame(rows)


def per_label_table() -> pd.DataFrame:
    rows = []
    for target, method in (("cal500", "ridge"), ("cal500", "alignment"), ("emotify", "ridge")):
        for i, label in enumerate(names(target)):
            value = np.nan if (target, i) == ("cal500", 2) else 0.5 + 0.02 * ((i * 7) % 11)
            row = {"target": target, "method": method, "label": label, "tracks": 100 + i % 1}
            row |= {"positives": 10 + i, "roc_auc": value, "roc_auc_low": value - 0.05}
            rows.append({**row, "roc_auc_high": value + 0.05})
    table = pd.DataFrame(rows)
    for ending in ("", "_low", "_high"):
        table[f"average_precision{ending}"] = table[f"roc_auc{ending}"] - 0.3
    return table.assign(average_precision_chance=0.1)


def cosine_table() -> pd.DataFrame:
    methods = {"method": ["baseline", "alignment", "baseline", "alignment"]}
    return pd.DataFrame({**methods, "within": [0.4, 0.6, 0.5, 0.6], "between": [0.3, -0.1] * 2})


def dataset(name: str, labels: tuple[str, ...], owned: list[tuple[str, ...]]) -> Dataset:
    index = pd.Index([f"track-{i}" for i in range(len(owned))], name="track")
    columns = {"audio": None, "labels": owned, "split": None, "group": [*map(str, index)]}
    return Dataset(name, labels, pd.DataFrame(columns, index=index))


def some_datasets() -> list[Dataset]:
    real = [("calm",), ("calm", "happy"), ("calm", "happy", "sad"), ("calm",)]
    return [
        dataset("mtg-jamendo", ("calm", "happy", "sad", "film"), real),
        dataset("demo-mtg", ("calm", "happy", "sad"), [("sad",), ("sad", "happy")]),
        dataset("emotify", ("power", "tension"), [("power",), ()]),
    ]


def probe_table() -> pd.DataFrame:
    values = [0.6, 0.7, 0.65]
    table = pd.DataFrame({"layer": [0, 1, 2] * 2, "value": values + [v - 0.05 for v in values]})
    table = table.assign(low=table["value"] - 0.02, high=table["value"] + 0.02, chance=0.5)
    return table.assign(dataset=["cal500"] * 3 + ["emotify"] * 3, tracks=[502] * 3 + [400] * 3)


def pooling_table() -> pd.DataFrame:
    table = pd.DataFrame({"pooling": ["first frame", "mean"] * 2, "value": [0.6, 0.7, 0.55, 0.68]})
    table = table.assign(low=table["value"] - 0.02, high=table["value"] + 0.02, chance=0.5)
    return table.assign(dataset=["cal500"] * 2 + ["emotify"] * 2, tracks=[502] * 2 + [400] * 2)


def tone(hertz: float = 1000.0, sample_rate: int = 16000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(sample_rate) / sample_rate)


def projections() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"before": random.normal(size=(40, 5)), "after": random.normal(size=(40, 5)) + 1}


def label_space_table() -> pd.DataFrame:
    rows = [
        ("cal500", kind, style, 0.1 * i, 0.6 if scored else np.nan, 153)
        for i, (kind, scored) in enumerate([("text", True), ("axes", True), ("learned", False)])
        for style in ("name", "definition")
    ]
    columns = ["target", "kind", "style", "affect_correlation", "roc_auc", "pairs"]
    return pd.DataFrame(rows, columns=columns)


def learning_curve_table() -> pd.DataFrame:
    sizes = pd.DataFrame({"training_tracks": [40.0, 80.0, 160.0], "value": [0.6, 0.66, 0.7]})
    one = sizes.assign(low=sizes["value"] - 0.02, high=sizes["value"] + 0.02, draws=[5, 5, 1])
    return pd.concat([one.assign(target=t, tracks=120) for t in ("emotify", "demo-mtg")])


def path_table() -> pd.DataFrame:
    steps = pd.DataFrame({"step": ["alignment, bare names", "expanded texts", "ridge committee"]})
    steps = steps.assign(value=[0.55, 0.6, 0.7], p_holm=[np.nan, 0.2, 0.001])
    steps = steps.assign(low=steps["value"] - 0.03, high=steps["value"] + 0.03, labels=9)
    return pd.concat([steps.assign(target=t, tracks=120) for t in ("emotify", "demo-mtg")])


def sweep_table() -> pd.DataFrame:
    rows = [("alignment", 0.5, 0.6), ("alignment", 1.0, 0.62), ("ridge", np.nan, 0.7)]
    table = pd.DataFrame(rows, columns=["approach", "weight", "value"])
    table = table.assign(target="cal500", metric="song_roc_auc", seeds=3, chance=0.5, tracks=502)
    return table.assign(low=table["value"] - 0.02, high=table["value"] + 0.02)


def ranks() -> pd.DataFrame:
    columns = {"start": [0.0, 3.0, 6.0], "eerie": [90.0, 80.0, 95.0], "hopeful": [10.0, 45.0, 5.0]}
    return pd.DataFrame(columns)


CATEGORIES = ["calm"] * 25 + [f"category {i}" for i in range(15)]
POLES = {ANTONYMS[0]: np.array([[1.0, 0.2], [-1.0, 0.1]]), ("up", "down"): np.eye(2) * -0.8}


@dataclass(frozen=True)
class Case:
    """A figure on small data, and texts that must be in it."""

    draw: Callable[[], Figure]
    texts: tuple[str, ...]


CASES = {
    "label_map": Case(
        lambda: figures.label_map(embeddings()),
        ("7 labels of 3 datasets", "gloomy", "CAL500 (3 labels)", "MTG-Jamendo (1 label)"),
    ),
    "label_map by mds and cluster": Case(
        lambda: figures.label_map(embeddings(), clusters(embeddings()), method="mds"),
        ("7 labels in 4 clusters", "colour: 2 clusters", "grey: alone (2 labels)"),
    ),
    "label_map without datasets": Case(
        lambda: figures.label_map(embeddings(LABELS[:6], None, embeddings().vectors[:6])),
        ("6 labels", "energetic"),
    ),
    "similarity_heatmap": Case(
        lambda: figures.similarity_heatmap(embeddings(), ANTONYMS),
        ("antonyms: 4 pairs, mean cosine -0.04 (all pairs -0.01)", "cosine of label vectors"),
    ),
    "similarity_heatmap, centred": Case(
        lambda: figures.similarity_heatmap(embeddings(mean=np.zeros(2, np.float32))),
        ("cosine of label vectors (centred)",),
    ),
    "label_graph": Case(
        lambda: figures.label_graph(embeddings(), clusters(embeddings()), threshold=-0.2),
        ("7 labels in 4 clusters (bold: the medoid of its cluster)", "alone in their cluster (2)"),
    ),
    "affect_map": Case(
        lambda: figures.affect_map(
            embeddings().vectors, LABELS, OWNERS, ("happy – sad", "arousal"), POLES
        ),
        ("sad ↔ happy (1 = as far out as an antonym's pole)", "antonyms (2 pairs)", "down"),
    ),
    "label_spaces": Case(
        lambda: figures.label_spaces(label_space_table()),
        ("CAL500", "153 pairs of labels", "axes", "definition", "affect correlation (Spearman)"),
    ),
    "emotion_curve": Case(
        lambda: figures.emotion_curve(ranks(), 9.0, "a song"),
        ("a song", "each point hears 9 s", "eerie", "hopeful", "time (s)"),
    ),
    "clustering_sweep": Case(
        lambda: figures.clustering_sweep(sweep(), {"bandwidth": 0.4}),
        ("mean shift of 10 labels; chosen: bandwidth = 0.4 (7 clusters)", "chosen"),
    ),
    "training_curves": Case(
        lambda: figures.training_curves(
            {"baseline 1": history(), "alignment": [history(0.1, 2.0), history(0.05, 2.2)]}
        ),
        ("alignment loss (times λ)", "thin: each of 2 seeds, thick: mean", "chance"),
    ),
    "training_curves of one": Case(
        lambda: figures.training_curves({"baseline 1": history()}), ("baseline 1", "triplet loss")
    ),
    "sweep_curves": Case(
        lambda: figures.sweep_curves(sweep_table(), "weight"),
        ("CAL500", "mean over 3 seeds", "λ", "ridge", "alignment", "chance"),
    ),
    "ablation_path": Case(
        lambda: figures.ablation_path(path_table()),
        ("Emotify", "120 tracks, 9 labels", "expanded texts", "does not"),
    ),
    "learning_curve": Case(
        lambda: figures.learning_curve(learning_curve_table()),
        ("Emotify (120 tracks)", "training tracks", "macro ROC-AUC\nof songs", "chance"),
    ),
    "cluster_cosine_bars": Case(
        lambda: figures.cluster_cosine_bars(cosine_table()), ("0.15", "0.70", "difference")
    ),
    "projection_map": Case(
        lambda: figures.projection_map(projections(), CATEGORIES),
        ("before", "after", "calm (25 segments)", "10 others (10 segments)"),
    ),
    "projection_map with labels": Case(
        lambda: figures.projection_map(
            projections(), ["cal500"] * 20 + ["emotify"] * 20, np.eye(5)[:4], LABELS[:4]
        ),
        ("CAL500 (20 segments)", "label vector", "gloomy"),
    ),
    "results": Case(
        lambda: figures.results(results_table()),
        ("CAL500", "502 tracks, 18 labels", "0.720", "supervised reference (0.585)"),
    ),
    "results, F1": Case(
        lambda: figures.results(
            results_table(),
            "song_macro_f1",
            {"cal500": {"paper: alignment": 0.229}, "emotions": {}},
            order="value",
        ),
        ("593 tracks, 6 labels, k = 4", "paper: alignment (0.229)", "macro-F1\nof songs"),
    ),
    "per_label": Case(
        lambda: figures.per_label(per_label_table()),
        ("100 tracks", "tenderness (12)", "cannot be scored", "ridge, 95 % interval"),
    ),
    "per_label of one": Case(
        lambda: figures.per_label(
            per_label_table().query("target == 'emotify'").set_index("label").drop(columns="target")
            [["tracks", "positives", "average_precision", "average_precision_low",
              "average_precision_high", "average_precision_chance"]],
            "average_precision",
        ),
        ("each label", "power (15)", "chance"),
    ),
    "label_frequencies": Case(
        lambda: figures.label_frequencies(some_datasets()),
        ("MTG-Jamendo (4 tracks)", "demo-mtg (2 tracks)", "film", "share of the tracks (%)"),
    ),
    "label_frequencies of one": Case(
        lambda: figures.label_frequencies({"emotify": some_datasets()[2]}), ("Emotify", "2 labels")
    ),
    "labels_per_track": Case(
        lambda: figures.labels_per_track(some_datasets()),
        ("mean 1.75 and 1.50", "mean 0.50", "labels of a track"),
    ),
    "vocabulary_overlap": Case(
        lambda: figures.vocabulary_overlap({"cal500": LABELS[:3], "emotify": ("sad", "happy")}),
        ("3 labels", "2\nsad, happy"),
    ),
    "waveform_and_spectrogram": Case(
        lambda: figures.waveform_and_spectrogram(tone(), 16000, "a tone"),
        ("a tone", "1.0 s at 16,000 Hz", "frequency (Hz)"),
    ),
    "layer_probe": Case(
        lambda: figures.layer_probe(probe_table()), ("CAL500 (502 tracks)", "best layer")
    ),
    "pooling_comparison": Case(
        lambda: figures.pooling_comparison(pooling_table()),
        ("first frame, 95 % interval", "Emotify\n400 tracks"),
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


@pytest.fixture(scope="module", params=CASES)
def drawn(request) -> tuple[Figure, Case]:
    case = CASES[request.param]
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = case.draw()
        figure.draw_without_rendering()
    assert dict(mpl.rcParams) == before
    return figure, case


def test_every_function_has_a_case():
    drawn_by = {name.split(",")[0].split(" ")[0] for name in CASES}
    functions = {name for name, value in vars(figures).items() if inspect.isfunction(value)}
    assert drawn_by == functions - {"save", "set_style"}


def test_draws_and_leaves_nothing_open(drawn):
    assert isinstance(drawn[0], Figure)
    assert plt.get_fignums() == []


def test_says_what_it_must(drawn):
    figure, case = drawn
    texts = {text.get_text().replace("−", "-") for text in visible_texts(figure)}
    assert [text for text in case.texts if text not in texts] == []


def test_no_text_is_small_and_none_overlap(drawn):
    figure, _ = drawn
    assert [t.get_text() for t in visible_texts(figure) if t.get_fontsize() < 8] == []
    assert overlapping(figure) == []


def test_saved_picture_shows_something(drawn, tmp_path):
    figure, _ = drawn
    figures.save(figure, tmp_path / "figure.png")
    pixels = plt.imread(tmp_path / "figure.png")[..., :3]
    page = 200 * figure.get_size_inches()
    assert 0.8 * page[0] < pixels.shape[1] < 1.06 * page[0]  # nothing sticks out far
    assert 0.8 * page[1] < pixels.shape[0] < 1.06 * page[1]
    assert pixels.std() > 0.03
    assert len(np.unique(pixels.mean(axis=-1))) > 20


# --- Saving and style -----------------------------------------------------------------------------


def test_save_writes_what_the_ending_says(tmp_path):
    figure = figures.training_curves({"one": history()})
    figures.save(figure, tmp_path / "new" / "a.png")
    figures.save(figure, tmp_path / "b.svg")
    figures.save(figure, tmp_path / "c")
    assert "validation macro ROC-AUC" in (tmp_path / "c.svg").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.svg", "c.png", "c.svg", "new"]
    width = plt.imread(tmp_path / "c.png").shape[1]
    assert width == pytest.approx(200 * style.WIDTH, rel=0.03)


def test_save_refuses_other_endings(tmp_path):
    figure = figures.training_curves({"one": history()})
    with pytest.raises(ValueError, match=r"\.png or \.svg, not '\.jpg'"):
        figures.save(figure, tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_same_data_same_files(tmp_path):
    for turn in ("one", "two"):
        figures.save(figures.label_map(embeddings(), seed=3), tmp_path / turn)
    for ending in (".png", ".svg"):
        first, second = (tmp_path / f"{turn}{ending}" for turn in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()


def test_save_leaves_other_figures_open(tmp_path):
    mine = plt.figure()
    figures.save(figures.training_curves({"one": history()}), tmp_path / "a.png")
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
table = pd.DataFrame({"method": ["a", "b"], "within": [0.4, 0.5], "between": [0.1, 0.2]})
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
    looks = style.dataset_looks(
        ["mtg-jamendo", "cal500", "emotify", "emotions", "demo-mtg", "mine", "yours"]
    )
    assert "".join(look.marker for look in looks.values()) == "os^DovP"
    assert looks["demo-mtg"].title == "demo-mtg"
    assert looks["mtg-jamendo"].title == "MTG-Jamendo"
    assert style.dataset_looks(["demo-emotify"])["demo-emotify"].marker == "^"


def test_many_series_differ():
    looks = style.series_looks([f"method {i}" for i in range(28)])
    assert len(set(looks.values())) == 28


# --- Errors ---------------------------------------------------------------------------------------

TABLE_FIGURES = {
    "results": (figures.results, results_table, ["target", "chance_low", "labels"]),
    "per_label": (figures.per_label, per_label_table, ["positives", "roc_auc_high"]),
    "cluster_cosine_bars": (figures.cluster_cosine_bars, cosine_table, ["within", "method"]),
    "clustering_sweep": (lambda t: figures.clustering_sweep(t, 0.4), sweep, ["stability", "value"]),
    "training_curves": (lambda t: figures.training_curves({"m": t}), history, ["triplet"]),
    "layer_probe": (figures.layer_probe, probe_table, ["layer", "low"]),
    "pooling_comparison": (figures.pooling_comparison, pooling_table, ["pooling", "dataset"]),
}


@pytest.mark.parametrize("name", TABLE_FIGURES)
def test_missing_columns_are_named(name):
    draw, make, columns = TABLE_FIGURES[name]
    for column in columns:
        with pytest.raises(ValueError, match=rf"^{name}.*lacks the columns \['{column}'\]"):
            draw(make().drop(columns=column))
    with pytest.raises(ValueError, match=f"{name}.*no rows"):
        draw(make().iloc[:0])
    with pytest.raises(ValueError, match="pandas table, not"):
        draw([1, 2])


def other_labels() -> LabelClusters:
    return replace(clusters(embeddings()), labels=("a", "b", "c", "d", "e", "f", "g"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.label_map(embeddings(), other_labels()), "cluster these embeddings"),
        (lambda: figures.label_graph(embeddings(), other_labels()), "cluster these embeddings"),
        (lambda: figures.label_map(embeddings(), method="umap"), '"tsne" or "mds", not \'umap\''),
        (
            lambda: figures.similarity_heatmap(embeddings(LABELS[:2], OWNERS[:2], np.eye(2))),
            "needs 3 labels or more, not 2",
        ),
        (lambda: figures.affect_map(np.ones((7, 1)), LABELS, OWNERS), r"not \(7, 1\)"),
        (
            lambda: figures.affect_map(np.ones((7, 2)), LABELS, OWNERS[:3]),
            "7 labels but 3 datasets",
        ),
        (lambda: figures.clustering_sweep(sweep(), {"quantile": 0.1}), "over bandwidth"),
        (
            lambda: figures.clustering_sweep(sweep().assign(method=["a", "a", "b", "b"]), 0.4),
            "one method and one setting",
        ),
        (lambda: figures.training_curves({}), "no history"),
        (lambda: figures.training_curves({"ridge": pd.DataFrame()}), "ridge: .*closed-form"),
        (lambda: figures.training_curves({"ridge": []}), "ridge: .*closed-form"),
        (lambda: figures.results(results_table(), "accuracy"), "has song_roc_auc, song_macro_f1"),
        (lambda: figures.results(results_table(), order="best"), '"value" or None'),
        (lambda: figures.results(results_table(), order=["ridge"]), r"\['baseline', 'ridge †'\]"),
        (
            lambda: figures.results(pd.concat([results_table()] * 2, ignore_index=True)),
            "several rows for one target and method",
        ),
        (
            lambda: figures.results(results_table().assign(reference=True)),
            "there is no method",
        ),
        (
            lambda: figures.per_label(
                pd.concat([per_label_table().assign(method=str(i)) for i in range(4)]).query(
                    "target == 'emotify'"
                )
            ),
            "4 methods for one target",
        ),
        (lambda: figures.per_label(pd.concat([per_label_table()] * 2)), "several rows"),
        (lambda: figures.projection_map({}, []), "no projections"),
        (lambda: figures.projection_map(projections(), ["a"] * 39), "39 categories, but 'before'"),
        (
            lambda: figures.projection_map(projections(), CATEGORIES, np.eye(5), ["a"]),
            "of the same labels",
        ),
        (
            lambda: figures.projection_map(projections(), CATEGORIES, np.eye(3), LABELS[:3]),
            "'label_vectors': 3",
        ),
        (
            lambda: figures.projection_map(projections(), CATEGORIES, np.eye(5)[:2], LABELS[:2]),
            "3 label vectors or more",
        ),
        (lambda: figures.label_frequencies([]), "no dataset"),
        (lambda: figures.labels_per_track([dataset("cal500", ("a",), [])]), "cal500: .*no"),
        (lambda: figures.vocabulary_overlap({"cal500": ("a",)}), "two vocabularies"),
        (lambda: figures.waveform_and_spectrogram(np.zeros((2, 9999)), 8000), r"\(2, 9999\)"),
        (lambda: figures.waveform_and_spectrogram(np.zeros(99), 8000), r"\(99,\) at 8000 Hz"),
    ],
)
def test_bad_input_gets_an_error_that_names_it(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- What the figures show ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 89])
def test_all_89_labels_are_readable(size):
    """Every label alone, many clusters, and all in one: the ways a clustering can come out."""
    found, grouped = all_labels(size)
    for figure in (figures.label_map(found, grouped), figures.label_graph(found, grouped)):
        assert sorted(t.get_text() for t in figure.axes[0].texts + figure.axes[-1].texts)
        assert overlapping(figure) == []
    shown = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert sorted(set(found.labels) - set(shown)) == []


def test_labels_with_the_same_vector_stand_side_by_side():
    figure = figures.label_map(embeddings(), method="mds")
    points = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(len(points)) * 9
    assert apart.min() > 0.015 * np.ptp(points, axis=0).max()


def test_heatmap_puts_similar_labels_together_and_outlines_antonyms():
    # the diagonal is not shown, so "happy" of two datasets stands once a dataset
    figure = figures.similarity_heatmap(embeddings(), [("energetic", "calm"), ("no", "label")])
    axes = figure.axes[0]
    order = [text.get_text() for text in axes.get_yticklabels()]
    assert sorted(order) == sorted(LABELS)
    together = [order.index(label) for label in ("sad", "gloomy")]
    assert abs(together[0] - together[1]) == 1
    places = {tuple(np.array(p.get_xy()) + 0.5) for p in axes.patches if isinstance(p, Rectangle)}
    calm, energetic = order.index("calm"), order.index("energetic")
    assert places == {(calm, energetic), (energetic, calm)}
    picture = np.asarray(axes.images[0].get_array())
    assert picture[calm, energetic] == pytest.approx(np.cos(np.deg2rad(100)), abs=1e-6)


def test_antonyms_count_in_every_dataset_that_has_them():
    pair = Antonym("happy", "sad", "valence")
    assert len(of_labels._cells(LABELS, [pair])) == 4  # two "happy", both ways round


def test_graph_joins_labels_of_one_cluster_only():
    found = embeddings()
    distances = of_labels._cosine_distances(found.vectors)
    edges = of_labels._cluster_edges(distances, np.array([0, 0, 1, 1, 2, 3, 0]))
    assert edges == [(0, 1), (0, 6), (1, 6), (2, 3)]


def test_graph_joins_all_labels_of_a_large_cluster():
    found, _ = all_labels(89)
    distances = of_labels._cosine_distances(found.vectors)
    edges = np.array(of_labels._cluster_edges(distances, np.zeros(89, dtype=int)))
    group = np.arange(89)
    for one, other in list(edges) * 89:
        group[group == group[other]] = group[one]
    assert len(set(group)) == 1
    assert len(edges) < 3 * 89  # and stays legible


def test_graph_names_medoids_in_bold_and_singletons_in_grey():
    figure = figures.label_graph(embeddings(), clusters(embeddings()))
    bold = [t.get_text() for t in figure.axes[0].texts if t.get_fontweight() == "bold"]
    assert sorted(bold) == ["happy", "sad"]
    alone = [t.get_text() for t in figure.axes[1].texts]
    assert alone == ["alone in their cluster (2)", "calm", "energetic"]
    greys = {to_hex(c.get_facecolor()[0]) for c in figure.axes[1].collections}
    assert greys == {style.GREY.lower()}


boxes = st.lists(
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.3, 1.2), st.floats(0.1, 0.8)),
    min_size=2,
    max_size=12,
)


@given(boxes)
@settings(max_examples=15, deadline=None)
def test_islands_do_not_overlap_and_stay_on_the_page(given_boxes):
    table = np.array(given_boxes)
    halves = table[:, 2:]
    middles = of_labels._moved_apart(table[:, :2], halves, border=3.6)
    assert len(of_labels._overlapping(middles, halves - 1e-3)) == 0
    assert (np.abs(middles[:, 0]) + halves[:, 0] <= 3.6 + 1e-9).all()


def test_clusters_near_one_another_have_different_colours():
    assignment = np.repeat(np.arange(8), 2)
    positions = np.stack([assignment, np.zeros(16)], axis=1)
    colours = of_labels._cluster_colours(assignment, positions)
    assert all(colours[n] != colours[n + 1] for n in range(7))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=20))
@settings(max_examples=25, deadline=None)
def test_spread_points_do_not_hide_one_another(points):
    moved = style.spread(np.array(points), share=0.01)
    assert np.isfinite(moved).all()
    apart = np.linalg.norm(moved[:, None] - moved[None], axis=-1) + np.eye(len(moved)) * 9
    least = 0.01 * (np.ptp(np.array(points), axis=0).max() or 1)
    assert apart.min() > 0.3 * least


def test_sweep_marks_the_choice_and_the_cliff():
    top = figures.clustering_sweep(sweep(), 0.4).axes[0]
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


def test_mean_over_seeds_covers_the_epochs_that_all_have():
    runs = [history(0.0), history(0.1).iloc[:4]]
    axes = figures.training_curves({"one": runs}).axes[-1]
    (mean,) = [line for line in axes.get_lines() if line.get_linewidth() == 1.8]
    assert mean.get_ydata() == pytest.approx([0.55, 0.65, 0.75, 0.71])


def dots(axes) -> list:
    """The dots of a results panel: lines with one point and a round marker."""
    return [line for line in axes.get_lines() if line.get_marker() == "o"]


def test_results_are_where_the_table_says():
    figure = figures.results(results_table(), order=["ridge", "ridge †", "baseline"])
    axes = figure.axes[0]
    assert [float(dot.get_xdata()[0]) for dot in dots(axes)] == [0.72, 0.70, 0.56]
    hollow = [dot.get_markerfacecolor() == "white" for dot in dots(axes)]
    assert hollow == [False, True, False]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ridge", "ridge †", "baseline"]
    vertical = {round(float(line.get_xdata()[0]), 3) for line in axes.get_lines()[:1]}
    assert vertical == {0.5}  # chance
    assert any(np.allclose(line.get_xdata(), 0.585) for line in axes.get_lines())  # the ceiling
    assert not any(np.allclose(line.get_xdata(), 0.585) for line in figure.axes[1].get_lines())
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.48, 0.04))


def test_results_by_value_and_with_references_for_all_targets():
    figure = figures.results(results_table(), references={"paper": 0.65}, order="value")
    names_shown = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names_shown == ["ridge", "ridge †", "baseline"]
    for axes in figure.axes:
        assert any(np.allclose(line.get_xdata(), 0.65) for line in axes.get_lines())


def test_results_without_shuffled_chance():
    columns = ["shuffled", "shuffled_low", "shuffled_high", "reference"]
    figure = figures.results(results_table().dropna(subset="low").drop(columns=columns))
    shown = [text.get_text() for text in visible_texts(figure)]
    assert not any("shuffled" in text for text in shown)


def test_per_label_is_sorted_by_the_first_method():
    table = per_label_table()
    axes = figures.per_label(table).axes[0]
    shown = [text.get_text().rsplit(" (", 1)[0] for text in axes.get_yticklabels()]
    first = table[(table["target"] == "cal500") & (table["method"] == "ridge")]
    first = first.sort_values("roc_auc", ascending=False, kind="stable")
    assert shown == first["label"].tolist()
    assert shown[-1] == names("cal500")[2]  # no score


def test_cosine_bars_are_means_over_seeds():
    axes = figures.cluster_cosine_bars(cosine_table()).axes[0]
    assert [bar.get_width() for bar in axes.patches[:2]] == pytest.approx([0.6, 0.45])


def test_label_frequencies_are_shares_of_the_tracks():
    assert of_data._shares(some_datasets()[0]) == pytest.approx(
        {"calm": 100, "happy": 50, "sad": 25, "film": 0}
    )
    axes = figures.label_frequencies(some_datasets()).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["calm", "happy", "sad", "film"]
    real, demo = axes.get_lines()
    assert real.get_xdata() == pytest.approx([100, 50, 25, 0])
    assert demo.get_xdata() == pytest.approx([0, 50, 100])
    assert demo.get_markerfacecolor() == "white"


def test_labels_per_track_add_up_to_all_tracks():
    figure = figures.labels_per_track(some_datasets())
    for axes in figure.axes:
        for line in axes.get_lines():
            assert sum(line.get_ydata()) == pytest.approx(100)


def test_spectrogram_finds_a_tone():
    times, frequencies, level = of_data._spectrogram(tone(1000), 16000)
    middle = level[:, len(times) // 2]
    assert frequencies[middle.argmax()] == pytest.approx(1000, abs=8)
    assert middle.max() == pytest.approx(0, abs=0.5)
    assert middle[frequencies > 2000].max() < -60


def test_overlap_counts_labels_of_the_same_name():
    figure = figures.vocabulary_overlap({name: names(name) for name in VOCABULARIES})
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert {"56 labels", "18 labels", "9 labels", "6 labels"} <= shown
    assert "2\nhappy, sad" in shown  # MTG-Jamendo and CAL500
    assert "1\nangry / aggressive" in shown  # CAL500 and Mulan's emotions
