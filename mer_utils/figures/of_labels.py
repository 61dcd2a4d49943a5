"""Figures of labels: where they lie, how similar they are, which clusters they form.

Every function returns a matplotlib Figure in the house style (`figures.style`). Shape is the
dataset; colour the dataset or the cluster. Distances are 1 − cosine.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import ScaledTranslation
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from mer_utils.figures import style

if TYPE_CHECKING:
    from mer_utils.labels.clustering import LabelClusters
    from mer_utils.labels.embeddings import LabelEmbeddings


def _cosine_distances(vectors: np.ndarray) -> np.ndarray:
    """1 − cosine of 3 unit vectors or more (n, d), exactly symmetric, zeros on the diagonal."""
    if len(vectors) < 3:
        raise ValueError(f"a figure of labels needs 3 labels or more, not {len(vectors)}")
    distances = np.clip(1 - np.asarray(vectors, dtype=np.float64) @ vectors.T, 0, 2)
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


def _datasets(embeddings: "LabelEmbeddings") -> tuple[str, ...]:
    """Each label's dataset; without a name if it is not known."""
    return embeddings.datasets or ("",) * len(embeddings.labels)


# --- Maps -----------------------------------------------------------------------------------------


@style.set_style()
def label_map(embeddings: "LabelEmbeddings", seed: int = 0) -> Figure:
    """A map of labels by t-SNE (van der Maaten & Hinton 2008): near on paper is near in the space.

    embeddings: 3 labels or more.
    """
    distances = _cosine_distances(embeddings.vectors)  # (labels, labels)
    model = TSNE(
        metric="precomputed",
        init="random",
        method="exact",
        perplexity=min(12, (len(distances) - 1) / 3),
        random_state=seed,
    )
    # a map may be turned at will: its longer extent lies across
    positions = PCA(2).fit_transform(model.fit_transform(distances))
    figure, axes = style.new_figure(height=2.4 + 0.038 * len(embeddings))
    axes[0, 0].set_aspect("equal", adjustable="datalim")
    axes[0, 0].set(xticks=[], yticks=[], xlabel="t-SNE dimension 1 (no unit)")
    axes[0, 0].set_ylabel("t-SNE dimension 2 (no unit)")
    _draw_map(axes[0, 0], positions, embeddings.labels, _datasets(embeddings))
    return figure


@style.set_style()
def affect_map(vectors: np.ndarray, labels: Sequence[str], datasets: Sequence[str]) -> Figure:
    """Labels by their first two affective coordinates.

    vectors: (labels, components) from LabelSpace(directions=…).vectors, 2 components or more.
    labels, datasets: one name each a label.
    """
    vectors = np.asarray(vectors)
    if (
        vectors.ndim != 2
        or vectors.shape[1] < 2
        or not (len(vectors) == len(labels) == len(datasets))
    ):
        raise ValueError(
            f"affect_map: {len(labels)} labels need as many datasets, not {len(datasets)}, and "
            f"vectors ({len(labels)}, 2 or more components), not {vectors.shape}"
        )
    figure, axes = style.new_figure(height=2.8 + 0.045 * len(labels))
    for line in (axes[0, 0].axhline, axes[0, 0].axvline):
        line(0, color=style.LIGHT_GREY, linewidth=0.9, zorder=0)
    unit = "(1 = as far out as an antonym's pole)"
    axes[0, 0].set(xlabel=f"direction 1 {unit}", ylabel=f"direction 2 {unit}")
    _draw_map(axes[0, 0], vectors[:, :2], labels, datasets)
    return figure


def _draw_map(
    axes: Axes, positions: np.ndarray, labels: Sequence[str], datasets: Sequence[str]
) -> None:
    """A marker and a name for each label at its position (labels, 2), and a legend."""
    positions = style.spread(positions)  # labels with the same text stand side by side
    looks = style.dataset_looks(datasets)
    for name, look in looks.items():
        points = positions[[dataset == name for dataset in datasets]].T
        axes.scatter(*points, marker=look.marker, color=look.colour, s=34, zorder=3)
    known = set(datasets) - {""}
    of_datasets = f" of {style.count(len(known), 'dataset')}" if known else ""
    axes.set_title(style.count(len(labels), "label") + of_datasets)
    axes.margins(0.08)
    style.legend_below(axes.figure, style.dataset_keys(datasets))
    style.place_names(axes, positions, labels, [looks[name].colour for name in datasets])


# --- Similarity -----------------------------------------------------------------------------------


@style.set_style()
def similarity_heatmap(
    embeddings: "LabelEmbeddings", antonyms: Sequence[tuple[str, str]] = ()
) -> Figure:
    """Cosine of every label with every label, in the order of hierarchical clustering.

    embeddings: 3 labels or more. Centred ones get a diverging scale round 0.
    antonyms: pairs of label names whose cells are outlined; a pair with a word that is no label
        here is passed over, and the legend says how many are marked and how similar they are on
        average.
    Returns a square figure that grows with the number of labels, so that names stay readable.
    """
    number = len(embeddings)
    distances = _cosine_distances(embeddings.vectors)  # (labels, labels)
    order = hierarchy.leaves_list(
        hierarchy.linkage(squareform(distances), "average", optimal_ordering=True)
    )
    cosines = 1 - distances[np.ix_(order, order)]
    names = [embeddings.labels[i] for i in order]
    datasets = [_datasets(embeddings)[i] for i in order]
    centred = embeddings.mean is not None
    diagonal = np.eye(number, dtype=bool)

    cell = max(0.14, 4.6 / number)  # inches; a line of 8-point text needs .14
    side = number * cell + 0.4 + 0.075 * max(map(len, names))
    figure, axes = style.new_figure(height=side + 0.3, width=side + 0.9)
    axes = axes[0, 0]
    what = "cosine of label vectors" + (" (centred)" if centred else "")
    ends = np.quantile(cosines[~diagonal], [0.02, 0.98])  # the same text twice is beyond
    low, high = np.array([-1, 1]) * np.abs(ends).max() if centred else ends
    bar = {"shrink": 0.5, "aspect": 30, "pad": 0.01, "extend": "both", "label": what}
    seaborn.heatmap(
        cosines,
        mask=diagonal,  # always 1: it would only use up the scale
        cmap=style.DIVERGING if centred else style.SEQUENTIAL,
        vmin=low,
        vmax=high,
        square=True,
        xticklabels=names,
        yticklabels=names,
        cbar_kws=bar,
        ax=axes,
    )
    axes.tick_params(axis="x", length=0, rotation=90)
    axes.tick_params(axis="y", length=0, pad=12)
    looks = style.dataset_looks(datasets)
    colours = [looks[name].colour for name in datasets]
    _mark_datasets(axes, np.arange(number) + 0.5, datasets, colours)
    axes.set_title(f"{number} labels, ordered by average-linkage clustering")
    keys = style.dataset_keys(datasets)
    if antonyms:
        pairs = {frozenset(pair) for pair in antonyms}
        marked = np.array([[frozenset((i, j)) in pairs for j in names] for i in names])
        outline = {"fill": False, "edgecolor": style.COLOURS[1], "linewidth": 1.4}
        rim = [patheffects.withStroke(linewidth=3.2, foreground="white")]
        for row, column in np.argwhere(marked):
            axes.add_patch(Rectangle((column, row), 1, 1, path_effects=rim, **outline))
        text = f"antonyms: {style.count(marked.sum() // 2, 'pair')}"
        if marked.any():
            usual = cosines[~diagonal].mean()
            text += f", mean cosine {cosines[marked].mean():.2f} (all pairs {usual:.2f})"
        keys.append(Patch(label=text, **outline))
    style.legend_below(figure, keys)
    return figure


def _mark_datasets(
    axes: Axes, rows: np.ndarray, datasets: Sequence[str], colours: Sequence[str]
) -> None:
    """Each label's dataset as a marker between the label's name and its row."""
    left = ScaledTranslation(-8 / 72, 0, axes.figure.dpi_scale_trans)
    looks = style.dataset_looks(datasets)
    for row, name, colour in zip(rows, datasets, colours, strict=True):
        look = {"marker": looks[name].marker, "color": colour, "s": 18}
        axes.scatter(0, row, transform=axes.get_yaxis_transform() + left, clip_on=False, **look)


@style.set_style()
def label_graph(embeddings: "LabelEmbeddings", clusters: "LabelClusters") -> Figure:
    """Which labels form a cluster, as a tree of labels (the paper's Fig. 2 shows a graph).

    embeddings, clusters: of the same labels, 3 or more.
    Returns a row a label; shape is the dataset. Labels of one cluster are joined in its colour, at
    their mean distance (average linkage); its medoid is bold, labels alone in their cluster are
    grey. Grey lines join clusters: one that is left of a coloured one shows labels that are nearer
    to another cluster than to each other.
    """
    if tuple(clusters.labels) != tuple(embeddings.labels):
        raise ValueError(
            f"the clusters are of {len(clusters.labels)} labels, the embeddings of "
            f"{len(embeddings.labels)}, not the same ones in the same order; cluster these "
            "embeddings"
        )
    assignment = np.asarray(clusters.assignment)
    number, sizes = len(assignment), np.bincount(assignment)
    far = 3.0  # more than any distance: all labels of a cluster are joined before clusters are
    apart = far * (assignment[:, None] != assignment)
    distances = _cosine_distances(embeddings.vectors) + apart
    tree = hierarchy.linkage(squareform(distances), "average", optimal_ordering=True)
    between = tree[:, 2] >= far  # (joins,)
    tree[between, 2] -= far
    order = hierarchy.leaves_list(tree)
    several = [cluster for cluster in dict.fromkeys(assignment[order]) if sizes[cluster] > 1]
    colours = dict(zip(several, cycle(style.COLOURS[:6]), strict=False))
    leaf = [*range(number)]  # of each node of the tree, one label below it
    for left in tree[:, 0].astype(int):
        leaf.append(leaf[left])

    figure, axes = style.new_figure(height=0.8 + 0.155 * number)
    axes = axes[0, 0]
    hierarchy.dendrogram(
        tree,
        orientation="right",
        no_labels=True,
        link_color_func=lambda node: (
            style.LIGHT_GREY if between[node - number] else colours[assignment[leaf[node]]]
        ),
        ax=axes,
    )
    places = 10 * np.arange(number) + 5  # where a dendrogram has its leaves
    axes.set_yticks(places, [embeddings.labels[i] for i in order])
    axes.tick_params(axis="y", length=0, pad=12)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    own = [colours.get(assignment[i], style.GREY) for i in order]
    for text, i, colour in zip(axes.get_yticklabels(), order, own, strict=True):
        medoid = text.get_text() == clusters.names[assignment[i]] and colour != style.GREY
        text.set(color=style.ink(colour), weight="bold" if medoid else "normal")
    datasets = [_datasets(embeddings)[i] for i in order]
    _mark_datasets(axes, places, datasets, own)
    axes.set_xlim(-0.01)
    axes.set_xlabel("mean distance at which labels join (1 − cosine)")
    axes.set_title(f"{number} labels in {style.count(len(sizes), 'cluster')}")
    keys = [
        style.key(
            f"a cluster ({len(several)}); bold: its medoid", color=style.COLOURS[0], linestyle="-"
        ),
        style.key("between clusters", color=style.LIGHT_GREY, linestyle="-"),
        Patch(color=style.GREY, label=f"alone in its cluster ({(sizes == 1).sum()})"),
    ]
    style.legend_below(figure, [*style.dataset_keys(datasets, style.DARK_GREY), *keys])
    return figure


@style.set_style()
def label_spaces(table: pd.DataFrame) -> Figure:
    """How affective each label space is, against what a ridge in it predicts; a panel a target.

    table: from `evaluation.comparisons.label_space_table`: target, kind, style, affect_correlation,
        roc_auc, pairs. Rows without a roc_auc become marks on the lower edge.
    """
    needed = ["target", "kind", "style", "affect_correlation", "roc_auc", "pairs"]
    style.require_columns(
        table, needed, "label_spaces", "it comes from comparisons.label_space_table"
    )
    kinds, styles, targets = (list(dict.fromkeys(table[c])) for c in ("kind", "style", "target"))
    colours = dict(zip(kinds, style.COLOURS, strict=False))
    markers = dict(zip(styles, style.MARKERS, strict=False))
    unscored = table["roc_auc"].isna()
    figure, axes = style.new_figure(height=3.2, columns=len(targets))
    for panel, target in zip(axes[0], targets, strict=True):
        part = table[table["target"] == target]
        looks = {"x": "affect_correlation", "hue": "kind", "palette": colours, "legend": False}
        looks["ax"] = panel
        seaborn.scatterplot(
            part, y="roc_auc", style="style", markers=markers, s=40, alpha=0.85, **looks
        )
        seaborn.rugplot(part[part["roc_auc"].isna()], height=0.05, linewidth=1.6, **looks)
        panel.axhline(0.5, **style.CHANCE)
        pairs = style.count(int(part["pairs"].iloc[0]), "pair")
        style.titled(panel, style.dataset_title(target), f"{pairs} of labels")
        panel.set(xlabel="affect correlation (Spearman)", ylabel=None)
    axes[0, 0].set_ylabel("zero-shot ROC-AUC of a ridge, songs")
    keys = [
        style.key(
            kind, marker="|" if kind in set(table.loc[unscored, "kind"]) else "o", color=colour
        )
        for kind, colour in colours.items()
    ]
    keys += [style.key(name, marker=marker, color=style.GREY) for name, marker in markers.items()]
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure


# --- Choosing clusters ----------------------------------------------------------------------------

_SETTING_NAMES = {
    "bandwidth": "bandwidth (distance of unit vectors)",
    "quantile": "quantile (share of the labels that are neighbours)",
    "preference": "preference (negative squared distance)",
    "min_cluster_size": "smallest cluster (labels)",
    "n_clusters": "number of clusters asked for",
    "distance_threshold": "distance threshold (1 − cosine)",
}


@style.set_style()
def clustering_sweep(sweep: pd.DataFrame, chosen: Mapping[str, float]) -> Figure:
    """What each value of a clustering setting gives, and the one that was chosen.

    sweep: from `labels.sweep_settings`, one method and setting: value, labels, clusters,
        largest, silhouette, stability, stability_low.
    chosen: from `labels.choose_setting`.
    Returns three panels over the setting: number of clusters with the size of the largest, mean
    silhouette, stability. Where one cluster holds more than half of the labels (behind the cliff)
    the ground is grey.
    """
    needed = ["method", "setting", "value", "labels", "clusters", "largest"]
    needed += ["silhouette", "stability", "stability_low"]
    style.require_columns(sweep, needed, "clustering_sweep", "it comes from labels.sweep_settings")
    if sweep.groupby(["method", "setting"]).ngroups != 1:
        raise ValueError("clustering_sweep: the sweep must be of one method and one setting")
    sweep = sweep.sort_values("value")
    first = sweep.iloc[0]
    setting, labels = first["setting"], int(first["labels"])
    if setting not in chosen:
        raise ValueError(f"clustering_sweep: the sweep is over {setting}, but chosen is {chosen}")
    value = chosen[setting]
    figure, axes = style.new_figure(height=4.8, rows=3, sharex=True, height_ratios=[1.3, 1, 1])
    top, middle, bottom = axes[:, 0]
    dots = {"color": style.COLOURS[0], "marker": "o", "markersize": 3.5}
    others = {"color": style.COLOURS[1], "linestyle": "--", "marker": "s", "markersize": 3.5}
    top.plot(sweep["value"], sweep["clusters"], label="clusters", **dots)
    top.plot(sweep["value"], sweep["largest"], label="labels in the largest cluster", **others)
    top.set(ylabel="number", ylim=(0, labels * 1.06))
    middle.plot(sweep["value"], sweep["silhouette"], **dots)
    middle.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":")
    middle.set_ylabel("silhouette\n(cosine, −1 to 1)")
    bottom.plot(sweep["value"], sweep["stability"], **dots)
    worst = {"color": style.COLOURS[0], "alpha": 0.18, "linewidth": 0}
    bottom.fill_between(sweep["value"], sweep["stability_low"], sweep["stability"], **worst)
    bottom.set(ylim=(min(0, sweep["stability_low"].min()), 1.05))
    bottom.set(ylabel="stability\n(adjusted Rand)", xlabel=_SETTING_NAMES.get(setting, setting))
    for panel in axes[:, 0]:
        _grey_where(panel, sweep["value"].to_numpy(), (sweep["largest"] > labels / 2).to_numpy())
        panel.axvline(value, color="black", linewidth=1.1, zorder=2)
    at = sweep.iloc[(sweep["value"] - value).abs().argmin()]
    top.set_title(
        f"{first['method'].replace('_', ' ')} of {style.count(labels, 'label')}; chosen: "
        f"{setting} = {value:.4g} ({style.count(int(at['clusters']), 'cluster')})"
    )
    figure.align_ylabels()
    keys = [*top.get_lines()[:2], style.key("chosen", color="black", linestyle="-", linewidth=1.1)]
    keys.append(Patch(color=style.LIGHT_GREY, label="one cluster has over half of the labels"))
    keys.append(Patch(label="from the mean to the worst resample", **worst))
    style.legend_below(figure, keys)
    return figure


def _grey_where(axes: Axes, x: np.ndarray, marked: np.ndarray) -> None:
    """A grey ground at the marked values of an ascending x, up to halfway to the others."""
    left, right = axes.get_xlim()
    borders = np.r_[left, (x[1:] + x[:-1]) / 2, right]
    for i in np.flatnonzero(marked):
        axes.axvspan(
            borders[i], borders[i + 1], color=style.LIGHT_GREY, alpha=0.7, linewidth=0, zorder=0
        )
    axes.set_xlim(left, right)
