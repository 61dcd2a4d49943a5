"""Figures of labels: where they lie, how similar they are, which clusters they form.

Shape is the dataset; colour the dataset or the cluster. Distances are 1 − cosine.
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

READABLE = 32  # labels that a heatmap can show on a phone
if TYPE_CHECKING:
    from mer_utils.labels.clustering import LabelClusters
    from mer_utils.labels.embeddings import LabelEmbeddings


def _cosine_distances(embeddings: "LabelEmbeddings") -> np.ndarray:
    """1 − cosine (labels, labels), exactly symmetric, zeros on the diagonal."""
    cosines = np.asarray(embeddings.vectors, dtype=np.float64) @ embeddings.vectors.T
    distances = np.clip(1 - cosines, 0, 2)
    np.fill_diagonal(distances, 0)
    return (distances + distances.T) / 2


def _datasets(embeddings: "LabelEmbeddings") -> Sequence[str]:
    """Each label's dataset; without a name if it is not known."""
    return embeddings.datasets or ("",) * len(embeddings.labels)


# --- Maps -----------------------------------------------------------------------------------------


@style.set_style()
def label_map(embeddings: "LabelEmbeddings") -> Figure:
    """Labels on a map by t-SNE (van der Maaten & Hinton 2008): near is similar.

    embeddings: of 3 labels or more. t-SNE has no unit: both dimensions are stretched to the page.
    """
    distances = _cosine_distances(embeddings)
    settings = {"metric": "precomputed", "init": "random", "method": "exact", "random_state": 0}
    model = TSNE(perplexity=min(12, (len(distances) - 1) / 3), **settings)
    # a map may be turned at will: its longer extent lies across
    positions = PCA(2).fit_transform(model.fit_transform(distances))
    figure, [[axes]] = style.new_figure(height=2.4 + 0.045 * len(distances))
    xlabel, ylabel = (f"t-SNE dimension {number} (no unit)" for number in (1, 2))
    axes.set(xticks=[], yticks=[], xlabel=xlabel, ylabel=ylabel)
    _draw_map(axes, positions, embeddings.labels, _datasets(embeddings))
    return figure


@style.set_style()
def affect_map(vectors: np.ndarray, labels: Sequence[str], datasets: Sequence[str]) -> Figure:
    """Labels by their first two affective coordinates.

    vectors: (labels, components) from LabelSpace(directions=…).vectors, 2 components or more.
    labels, datasets: one name each a label.
    """
    figure, [[axes]] = style.new_figure(height=2.8 + 0.045 * len(labels))
    zero = {"color": style.LIGHT_GREY, "linewidth": 0.9, "zorder": 0}
    axes.axhline(0, **zero)
    axes.axvline(0, **zero)
    unit = "(1 = as far out as an antonym's pole)"
    axes.set(xlabel=f"direction 1 {unit}", ylabel=f"direction 2 {unit}")
    _draw_map(axes, np.asarray(vectors)[:, :2], labels, datasets)
    return figure


def _draw_map(
    axes: Axes, positions: np.ndarray, labels: Sequence[str], datasets: Sequence[str]
) -> None:
    """A marker and a name for each label at its position (labels, 2), and a legend."""
    positions = style.spread(positions)  # labels with the same text stand side by side
    looks = style.dataset_looks(datasets)
    for name, look in looks.items():
        points = positions[[dataset == name for dataset in datasets]].T
        axes.scatter(*points, s=34, zorder=3, **look)
    known = set(datasets) - {""}
    of_datasets = f" of {style.count(len(known), 'dataset')}" if known else ""
    axes.set_title(style.count(len(labels), "label") + of_datasets)
    axes.margins(0.08)
    style.legend_below(axes.figure, style.dataset_keys(datasets))
    style.place_names(axes, positions, labels, [looks[name]["color"] for name in datasets])


# --- Similarity -----------------------------------------------------------------------------------


@style.set_style()
def similarity_heatmap(
    embeddings: "LabelEmbeddings", antonyms: Sequence[tuple[str, str]] = ()
) -> Figure:
    """Cosine of labels with one another, in the order of hierarchical clustering.

    embeddings: 3 labels or more. Centred ones get a diverging scale round 0. Of more than
        `READABLE`, those are shown that have an antonym among the labels, then those that are
        nearest to another word of another dataset (of none: to any other word), each word once.
    antonyms: pairs of words whose cells, if both are labels, are outlined.
    """
    distances = _cosine_distances(embeddings)
    words, owners = np.array(embeddings.labels), np.array(_datasets(embeddings))
    usual = 1 - distances[~np.eye(len(words), dtype=bool)].mean()
    others, elsewhere = words[:, None] != words, owners[:, None] != owners
    others &= elsewhere if elsewhere.any() else True
    nearest = np.where(others, distances, np.inf).min(axis=1)
    opposed = [word for pair in antonyms if set(pair) <= set(words) for word in pair]
    nearest[np.isin(words, opposed)] = -1
    nearest[pd.Series(words).duplicated()] = np.inf
    shown = np.sort(nearest.argsort(kind="stable")[:READABLE])
    distances = distances[np.ix_(shown, shown)]
    tree = hierarchy.linkage(squareform(distances), "average", optimal_ordering=True)
    order, number = hierarchy.leaves_list(tree), len(shown)
    cosines = 1 - distances[np.ix_(order, order)]
    names, datasets = words[shown[order]].tolist(), owners[shown[order]].tolist()
    centred = embeddings.mean is not None
    diagonal = np.eye(number, dtype=bool)  # always 1: it would only use up the scale

    side = 0.14 * READABLE + 0.075 * max(map(len, names))  # .14: a line of text
    figure, [[axes]] = style.new_figure(height=side + 0.8, width=side + 0.2)
    what = "cosine of label vectors" + (" (centred)" if centred else "")
    ends = np.quantile(cosines[~diagonal], [0.02, 0.98])  # the same text twice is beyond
    low, high = np.array([-1, 1]) * np.abs(ends).max() if centred else ends
    bar = {"location": "bottom", "aspect": 40, "pad": 0.02, "extend": "both", "label": what}
    look = {"cmap": style.DIVERGING if centred else style.SEQUENTIAL, "vmin": low, "vmax": high}
    look |= {"mask": diagonal, "square": True, "xticklabels": names, "yticklabels": names}
    seaborn.heatmap(cosines, cbar_kws=bar, ax=axes, **look)
    axes.tick_params(axis="x", length=0, rotation=90)
    axes.tick_params(axis="y", length=0, pad=12)
    looks = style.dataset_looks(datasets)
    colours = [looks[name]["color"] for name in datasets]
    _mark_datasets(axes, np.arange(number) + 0.5, datasets, colours)
    which = f"{number} of {len(words)} labels" if number < len(words) else f"{number} labels"
    axes.set_title(f"{which}, ordered by average-linkage clustering")
    keys = style.dataset_keys(datasets)
    if antonyms:
        pairs = [set(pair) for pair in antonyms]
        marked = np.array([[{one, other} in pairs for one in names] for other in names])
        outline = {"fill": False, "edgecolor": style.COLOURS[1], "linewidth": 1.4}
        rim = [patheffects.withStroke(linewidth=3.2, foreground="white")]
        for row, column in np.argwhere(marked):
            axes.add_patch(Rectangle((column, row), 1, 1, path_effects=rim, **outline))
        text = f"antonyms: {style.count(marked.sum() // 2, 'pair')}"
        if marked.any():
            text += f", mean cosine {cosines[marked].mean():.2f} (all labels {usual:.2f})"
        keys.append(Patch(label=text, **outline))
    return style.legend_below(figure, keys)


def _mark_datasets(
    axes: Axes, rows: np.ndarray, datasets: Sequence[str], colours: Sequence[str]
) -> None:
    """Each label's dataset as a marker between the label's name and its row."""
    left = axes.get_yaxis_transform() + ScaledTranslation(-8 / 72, 0, axes.figure.dpi_scale_trans)
    looks = style.dataset_looks(datasets)
    for row, name, colour in zip(rows, datasets, colours, strict=True):
        look = {**looks[name], "color": colour}
        axes.scatter(0, row, s=18, transform=left, clip_on=False, **look)


@style.set_style()
def label_graph(embeddings: "LabelEmbeddings", clusters: "LabelClusters") -> Figure:
    """Which labels form a cluster, as a tree of labels (the paper's Fig. 2 shows a graph).

    embeddings, clusters: of the same labels, 3 or more.
    Labels of one cluster are joined in its colour, at their mean distance (average linkage), where
    its medoid is written. Grey lines join clusters: one that is left of a coloured one shows labels
    that are nearer to another cluster than to each other.
    """
    if tuple(clusters.labels) != tuple(embeddings.labels):
        raise ValueError("label_graph: the clusters are of other labels, or in another order")
    assignment = np.asarray(clusters.assignment)
    number, sizes = len(assignment), np.bincount(assignment)
    far = 3.0  # more than any distance: all labels of a cluster are joined before clusters are
    distances = _cosine_distances(embeddings) + far * (assignment[:, None] != assignment)
    tree = hierarchy.linkage(squareform(distances), "average", optimal_ordering=True)
    between = tree[:, 2] >= far  # (joins,)
    tree[between, 2] -= far
    order = hierarchy.leaves_list(tree)
    several = [cluster for cluster in pd.unique(assignment[order]) if sizes[cluster] > 1]
    colours = dict(zip(several, cycle(style.COLOURS[:6]), strict=False))
    nodes = list(assignment)  # of each node of the tree, the cluster of a label below it
    for left in tree[:, 0].astype(int):
        nodes.append(nodes[left])

    def line_colour(node: int) -> str:
        return style.LIGHT_GREY if between[node - number] else colours[nodes[node]]

    figure, [[axes]] = style.new_figure(height=0.8 + 0.155 * number, width=style.NARROW)
    look = {"orientation": "right", "no_labels": True, "link_color_func": line_colour}
    hierarchy.dendrogram(tree, ax=axes, **look)
    places = 10 * np.arange(number) + 5  # where a dendrogram has its leaves
    axes.set_yticks(places, [embeddings.labels[i] for i in order])
    axes.tick_params(axis="y", length=0, pad=12)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    own = [colours.get(cluster, style.GREY) for cluster in assignment[order]]
    for text, colour in zip(axes.get_yticklabels(), own, strict=True):
        text.set_color(style.ink(colour))
    for cluster, colour in colours.items():
        joined = tree[(np.array(nodes[number:]) == cluster) & ~between, 2].max()
        place = joined, places[assignment[order] == cluster].mean()
        look = {"color": style.ink(colour), "weight": "bold", "va": "center"}
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0, "alpha": 0.7}
        axes.annotate(clusters.names[cluster], place, (4, 0), textcoords="offset points", **look)
    datasets = [_datasets(embeddings)[i] for i in order]
    _mark_datasets(axes, places, datasets, own)
    axes.set_xlim(-0.01)
    axes.set_xlabel("mean distance at which labels join (1 − cosine)")
    axes.set_title(f"{number} labels in {style.count(len(sizes), 'cluster')}")
    cluster = f"a cluster ({len(several)}), named by its medoid"
    keys = [
        *style.dataset_keys(datasets, color=style.DARK_GREY),
        style.key(cluster, color=style.COLOURS[0], linestyle="-"),
        style.key("between clusters", color=style.LIGHT_GREY, linestyle="-"),
        Patch(color=style.GREY, label=f"alone in its cluster ({(sizes == 1).sum()})"),
    ]
    return style.legend_below(figure, keys)


# --- Choosing clusters ----------------------------------------------------------------------------

_SETTING_NAMES = {
    "bandwidth": "bandwidth (distance of unit vectors)",
    "preference": "preference (negative squared distance)",
    "min_cluster_size": "smallest cluster (labels)",
    "n_clusters": "number of clusters asked for",
}


@style.set_style()
def clustering_sweep(sweep: pd.DataFrame, chosen: Mapping[str, float]) -> Figure:
    """What each value of a clustering setting gives, and the one that was chosen.

    sweep: from `labels.sweep_settings`, one method and setting; chosen: from
        `labels.choose_setting`.
    Where one cluster holds more than half of the labels (the cliff) the ground is grey.
    """
    sweep = sweep.sort_values("value")
    values, first = sweep["value"], sweep.iloc[0]
    setting, labels = first["setting"], int(first["labels"])
    value = chosen[setting]
    figure, axes = style.new_figure(height=4.8, rows=3, sharex=True, height_ratios=[1.3, 1, 1])
    top, middle, bottom = axes[:, 0]
    dots = {"color": style.COLOURS[0], "marker": "o", "markersize": 3.5}
    others = {"color": style.COLOURS[1], "linestyle": "--", "marker": "s", "markersize": 3.5}
    top.plot(values, sweep["clusters"], label="clusters", **dots)
    top.plot(values, sweep["largest"], label="labels in the largest cluster", **others)
    top.set(ylabel="number", ylim=(0, labels * 1.06))
    middle.plot(values, sweep["silhouette"], **dots)
    middle.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":")
    middle.set_ylabel("silhouette\n(cosine, −1 to 1)")
    bottom.plot(values, sweep["stability"], **dots)
    bottom.set(ylim=(min(0, sweep["stability_low"].min()), 1.05))
    bottom.set(ylabel="stability\n(adjusted Rand)", xlabel=_SETTING_NAMES.get(setting, setting))
    left, right = top.get_xlim()
    over = (sweep["largest"] > labels / 2).to_numpy()
    edges = np.r_[left, values.rolling(2).mean()[1:], right]  # halfway between values
    grey = {"color": style.LIGHT_GREY, "alpha": 0.7, "linewidth": 0, "zorder": 0}
    grey["label"] = "one cluster has over half of the labels"
    for panel in axes[:, 0]:
        panel.axvline(value, color="black", linewidth=1.1, zorder=2, label="chosen")
        ground = {"step": "post", "transform": panel.get_xaxis_transform(), **grey}
        panel.fill_between(edges, np.r_[over, False], **ground)
    worst = {"color": style.COLOURS[0], "alpha": 0.18, "linewidth": 0}
    worst["label"] = "from the mean to the worst resample"
    bottom.fill_between(values, sweep["stability_low"], sweep["stability"], **worst)
    top.set_xlim(left, right)
    clusters = sweep["clusters"].iloc[(values - value).abs().argmin()]
    top.set_title(
        f"{first['method'].replace('_', ' ')} of {style.count(labels, 'label')}; chosen: "
        f"{setting} = {value:.4g} ({style.count(int(clusters), 'cluster')})"
    )
    figure.align_ylabels()
    return style.legend_below(figure)
