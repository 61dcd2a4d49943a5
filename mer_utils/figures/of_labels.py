"""Figures of labels: where they lie, how similar they are, which clusters they form.

Every function returns a matplotlib Figure in the house style (`figures.style`). Shape is the
dataset; colour the dataset or the cluster. Distances are 1 − cosine.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from scipy.cluster import hierarchy
from scipy.spatial import ConvexHull
from scipy.spatial.distance import squareform
from sklearn.decomposition import PCA
from sklearn.manifold import MDS, TSNE, ClassicalMDS

from mer_utils.data.vocabulary import Antonym
from mer_utils.figures.style import (
    COLOURS,
    DARK_GREY,
    DIVERGING,
    GREY,
    LETTER,
    LIGHT_GREY,
    SEQUENTIAL,
    WIDTH,
    count,
    dataset_keys,
    dataset_looks,
    dataset_title,
    hide_ticks,
    key,
    legend_below,
    new_figure,
    place_names,
    require_columns,
    set_style,
    spread,
    titled,
)

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


def _title(datasets: Sequence[str]) -> str:
    """How many labels of how many datasets."""
    known = set(datasets) - {""}
    return count(len(datasets), "label") + (f" of {count(len(known), 'dataset')}" if known else "")


def _check_same_labels(embeddings: "LabelEmbeddings", clusters: "LabelClusters") -> np.ndarray:
    """The labels' clusters (labels,), if both are about the same labels."""
    if tuple(clusters.labels) != tuple(embeddings.labels):
        raise ValueError(
            f"the clusters are of {len(clusters.labels)} labels, the embeddings of "
            f"{len(embeddings.labels)}, not the same ones in the same order; cluster these "
            "embeddings"
        )
    return np.asarray(clusters.assignment)


def _cluster_colours(assignment: np.ndarray, positions: np.ndarray) -> dict[int, str]:
    """A colour for each cluster of two or more labels; far apart where a colour comes again.

    assignment: (labels,); positions: (labels, 2). A cluster of one label is grey.
    """
    numbers, sizes = np.unique(assignment, return_counts=True)
    middles = {n: positions[assignment == n].mean(axis=0) for n in numbers}
    colours: dict[int, str] = {}
    for number in numbers[np.argsort(-sizes, kind="stable")]:
        if (assignment == number).sum() == 1:
            colours[number] = GREY
            continue
        room = [
            min(
                (
                    np.linalg.norm(middles[number] - middles[other])
                    for other, taken in colours.items()
                    if taken == colour
                ),
                default=np.inf,
            )
            for colour in COLOURS[:6]
        ]
        colours[number] = COLOURS[int(np.argmax(room))]
    return colours


# --- Labels ---------------------------------------------------------------------------------------


@set_style()
def label_map(
    embeddings: "LabelEmbeddings",
    clusters: "LabelClusters | None" = None,
    method: str = "tsne",
    seed: int = 0,
) -> Figure:
    """A map of labels: near on paper is near in the label space.

    embeddings: 3 labels or more.
    clusters: if given, colour is the cluster (grey: alone in its cluster), else the dataset.
    method: "tsne" (keeps neighbours; van der Maaten & Hinton 2008) or "mds" (metric
        multidimensional scaling: keeps distances as well as two dimensions can), both of the
        cosine distance.
    Returns a map with a marker for each dataset and every label's name.
    """
    distances = _cosine_distances(embeddings.vectors)  # (labels, labels)
    positions, caption = _flatten(distances, method, seed)  # (labels, 2)
    positions = spread(positions)  # labels with the same text stand side by side
    datasets = _datasets(embeddings)
    looks = dataset_looks(datasets)
    if clusters is None:
        colours = [looks[name].colour for name in datasets]
        title = _title(datasets)
    else:
        assignment = _check_same_labels(embeddings, clusters)
        of_cluster = _cluster_colours(assignment, positions)
        colours = [of_cluster[number] for number in assignment]
        title = f"{len(embeddings)} labels in {count(len(of_cluster), 'cluster')}"
    figure, axes = new_figure(height=2.4 + 0.038 * len(embeddings))
    axes = axes[0, 0]
    _scatter_labels(axes, positions, datasets, colours)
    if clusters is not None:
        _draw_edges(axes, positions, _cluster_edges(distances, assignment), colours)
    axes.margins(0.08)
    axes.set_aspect("equal", adjustable="datalim")
    hide_ticks(axes)
    axes.set(xlabel=f"{caption} 1 (no unit)", ylabel=f"{caption} 2 (no unit)", title=title)
    keys = dataset_keys(datasets, DARK_GREY if clusters is not None else None)
    if clusters is not None:
        keys += _cluster_keys(assignment)
    legend_below(figure, keys)
    place_names(axes, positions, embeddings.labels, [_ink(c) for c in colours])
    return figure


def _flatten(distances: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, str]:
    """Positions (n, 2) for distances (n, n), and what the axes are called.

    A map may be turned at will: its longer extent lies across.
    """
    if method == "tsne":
        name = "t-SNE dimension"
        model = TSNE(
            metric="precomputed",
            init="random",
            method="exact",
            perplexity=min(12, (len(distances) - 1) / 3),
            random_state=seed,
        )
    elif method == "mds":
        name = "MDS dimension"
        model = MDS(metric="precomputed", init="classical_mds", n_init=1, random_state=seed)
    else:
        raise ValueError(f'a map is made by "tsne" or "mds", not {method!r}')
    return PCA(2).fit_transform(model.fit_transform(distances)), name


def _scatter_labels(
    axes: Axes, positions: np.ndarray, datasets: Sequence[str], colours: Sequence[str]
) -> None:
    """A marker for each label: shape = dataset."""
    for name, look in dataset_looks(datasets).items():
        rows = [i for i, dataset in enumerate(datasets) if dataset == name]
        axes.scatter(
            *positions[rows].T,
            marker=look.marker,
            c=[colours[i] for i in rows],
            s=34,
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
        )


def _cluster_keys(assignment: np.ndarray) -> list:
    """Legend entries that say what colour and grey mean."""
    sizes = np.unique(assignment, return_counts=True)[1]
    keys = []
    if (sizes > 1).any():
        keys.append(Patch(color=COLOURS[0], label=f"colour: {(sizes > 1).sum()} clusters"))
    if (sizes == 1).any():
        keys.append(Patch(color=GREY, label=f"grey: alone ({(sizes == 1).sum()} labels)"))
    return keys


def _ink(colour: str) -> str:
    """A colour darkened so that text in it has enough contrast on white."""
    return to_hex(np.array(to_rgb(colour)) * 0.62)


def _cluster_edges(distances: np.ndarray, assignment: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of labels of one cluster: each cluster's shortest tree, and near pairs.

    Of a small cluster all pairs, of a larger one those where each is among the other's three
    nearest: enough to see that they belong together.
    """
    graph = nx.Graph()
    for number in np.unique(assignment):
        rows = np.flatnonzero(assignment == number)
        within = nx.Graph()
        near = distances[np.ix_(rows, rows)].argsort(axis=1)[:, :4]  # itself and three more
        for i, one in enumerate(rows):
            for j, other in enumerate(rows[:i]):
                within.add_edge(one, other, weight=distances[one, other])
                if j in near[i] and i in near[j]:
                    graph.add_edge(one, other)
        graph.add_edges_from(nx.minimum_spanning_edges(within, data=False))
    return sorted((int(min(edge)), int(max(edge))) for edge in graph.edges)


def _draw_edges(
    axes: Axes, positions: np.ndarray, edges: Sequence[tuple[int, int]], colours: Sequence[str]
) -> None:
    """Thin lines between labels, in the colour of the first."""
    lines = LineCollection(
        [positions[list(edge)] for edge in edges],
        colors=[colours[edge[0]] for edge in edges],
        linewidths=0.9,
        alpha=0.45,
        zorder=1,
    )
    axes.add_collection(lines, autolim=False)


@set_style()
def similarity_heatmap(
    embeddings: "LabelEmbeddings",
    antonyms: Sequence[Antonym | tuple[str, str]] = (),
) -> Figure:
    """Cosine of every label with every label, in the order of hierarchical clustering.

    embeddings: 3 labels or more. Centred ones get a diverging scale round 0.
    antonyms: pairs of label names (or Antonym) whose cells are outlined; a pair with a word that
        is no label here is passed over, and the legend says how many are marked and how similar
        they are on average.
    Returns a square figure that grows with the number of labels, so that names stay readable.
    """
    number = len(embeddings)
    distances = _cosine_distances(embeddings.vectors)  # (labels, labels)
    tree = hierarchy.linkage(squareform(distances), "average", optimal_ordering=True)
    order = hierarchy.leaves_list(tree)
    datasets = [_datasets(embeddings)[i] for i in order]
    names = [embeddings.labels[i] for i in order]
    cosines = 1 - distances[np.ix_(order, order)]
    pairs = _cells(names, antonyms)
    off_diagonal = cosines[~np.eye(number, dtype=bool)]
    np.fill_diagonal(cosines, np.nan)  # always 1: it would only use up the scale

    cell = max(0.14, 4.6 / number)  # inches; a line of 8-point text needs .14
    margin = 0.4 + 0.075 * max(map(len, names))
    side = number * cell + margin
    figure, axes = new_figure(height=side + 0.3, width=side + 0.9)
    axes = axes[0, 0]
    centred = embeddings.mean is not None
    different = off_diagonal[off_diagonal < 0.999]  # the same text twice would stretch the scale
    different = different if len(different) else off_diagonal
    low, high = min(0.0, different.min()), different.max()
    if centred:
        high = np.abs(different).max()
        low = -high
    image = axes.imshow(cosines, cmap=DIVERGING if centred else SEQUENTIAL, vmin=low, vmax=high)
    axes.set_facecolor(GREY if centred else "white")  # seen on the diagonal
    beyond = "max" if len(different) < len(off_diagonal) else "neither"
    bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, pad=0.01, extend=beyond)
    bar.set_label("cosine of label vectors" + (" (centred)" if centred else ""))
    bar.outline.set_visible(False)
    for row, column in pairs:
        for width, colour in ((3.2, "white"), (1.4, COLOURS[1])):
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width
                )
            )
    axes.set_xticks(range(number), names, rotation=90)
    axes.set_yticks(range(number), names)
    axes.tick_params(length=0, pad=12)
    axes.spines[:].set_visible(False)
    looks = dataset_looks(datasets)
    outside = -0.5 - 0.09 / cell
    for place, name in enumerate(datasets):
        settings = {"s": 18, "marker": looks[name].marker, "color": looks[name].colour}
        axes.scatter(outside, place, clip_on=False, **settings)
        axes.scatter(place, number - 1 - outside, clip_on=False, **settings)
    axes.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -0.5))
    axes.set_title(f"{number} labels, ordered by average-linkage clustering")
    keys = dataset_keys(datasets)
    if antonyms:
        text = f"antonyms: {count(len(pairs) // 2, 'pair')}"
        if pairs:
            mean = np.mean([cosines[pair] for pair in pairs])
            text += f", mean cosine {mean:.2f} (all pairs {off_diagonal.mean():.2f})"
        keys.append(Patch(fill=False, edgecolor=COLOURS[1], linewidth=1.4, label=text))
    legend_below(figure, keys)
    return figure


def _cells(
    names: Sequence[str], antonyms: Sequence[Antonym | tuple[str, str]]
) -> list[tuple[int, int]]:
    """(row, column) of each pair of antonyms among these labels, both ways round."""
    cells = set()
    for pair in antonyms:
        one, other = (pair.positive, pair.negative) if isinstance(pair, Antonym) else pair
        for i, name in enumerate(names):
            for j, second in enumerate(names):
                if (name, second) == (one, other):
                    cells |= {(i, j), (j, i)}
    return sorted(cells)


@set_style()
def label_graph(
    embeddings: "LabelEmbeddings", clusters: "LabelClusters", threshold: float | None = None
) -> Figure:
    """Labels and their clusters as a graph: colour = cluster, shape = dataset (the paper's Fig. 2).

    embeddings, clusters: of the same labels.
    threshold: also join labels of different clusters whose cosine is at least this (dotted); None:
        only labels of one cluster are joined.
    Returns a graph of the clusters with two labels or more, apart from one another, near ones
    nearer (Kamada & Kawai 1989); a cluster's medoid is bold. Labels alone in their cluster are
    listed below in grey.
    """
    assignment = _check_same_labels(embeddings, clusters)
    datasets = np.array(_datasets(embeddings))
    distances = _cosine_distances(embeddings.vectors)
    _, number, sizes = np.unique(assignment, return_inverse=True, return_counts=True)
    alone = sizes[number] == 1  # (labels,)
    together, single = np.flatnonzero(~alone), np.flatnonzero(alone)
    names = [embeddings.labels[i] for i in together]
    positions = _islands(distances[np.ix_(together, together)], assignment[together], names)
    graph_height = np.ptp(positions[:, 1]) + 0.6 if len(together) else 0.01
    longest = max((len(embeddings.labels[i]) for i in single), default=1)
    columns = int((WIDTH - 0.3) / (0.35 + LETTER * longest))
    list_height = 0.35 + 0.19 * -(-len(single) // columns) if len(single) else 0.01
    figure, axes = new_figure(
        height=0.4 + graph_height + list_height,
        rows=2,
        height_ratios=[graph_height, list_height],
    )
    for panel in axes[:, 0]:
        panel.set_axis_off()
    counts = f"{len(embeddings)} labels in {count(len(sizes), 'cluster')}"
    figure.suptitle(f"{counts} (bold: the medoid of its cluster)", x=0.01, ha="left")
    legend_below(figure, dataset_keys(datasets.tolist(), DARK_GREY))
    if len(single):
        names = [embeddings.labels[i] for i in single]
        _list_singletons(axes[1, 0], names, datasets[single], columns)
    if len(together):
        _draw_clusters(axes[0, 0], embeddings, clusters, distances, together, positions, threshold)
    return figure


def _list_singletons(
    axes: Axes, names: Sequence[str], datasets: Sequence[str], columns: int
) -> None:
    """Labels that are alone in their cluster, in alphabetical order down the columns."""
    looks = dataset_looks(datasets)
    rows = -(-len(names) // columns)
    axes.set(xlim=(0, columns), ylim=(rows - 0.4, -1.1))
    axes.text(0, -0.8, f"alone in their cluster ({len(names)})", va="center", color=DARK_GREY)
    for place, i in enumerate(sorted(range(len(names)), key=lambda i: (names[i], datasets[i]))):
        x, y = place // rows, place % rows
        axes.scatter(x + 0.03, y, marker=looks[datasets[i]].marker, color=GREY, s=26)
        axes.text(x + 0.09, y, names[i], va="center", color=DARK_GREY)


def _draw_clusters(
    axes: Axes,
    embeddings: "LabelEmbeddings",
    clusters: "LabelClusters",
    distances: np.ndarray,
    rows: np.ndarray,
    positions: np.ndarray,
    threshold: float | None,
) -> None:
    """The labels in `rows` as a graph, each cluster on a tinted island."""
    assignment = np.asarray(clusters.assignment)[rows]
    distances = distances[np.ix_(rows, rows)]
    of_cluster = _cluster_colours(assignment, positions)
    colours = [of_cluster[number] for number in assignment]
    names = [embeddings.labels[i] for i in rows]
    medoids = []
    for number, colour in of_cluster.items():
        members = np.flatnonzero(assignment == number)
        _shade(axes, positions[members], colour)
        medoids += [i for i in members if names[i] == clusters.names[number]][:1]
    if threshold is not None:
        near = np.triu(1 - distances >= threshold, 1)
        near &= assignment[:, None] != assignment[None]
        ends = positions[np.argwhere(near)]  # (pairs, 2 labels, 2)
        lines = LineCollection(ends, colors=GREY, linewidths=0.8, linestyles=":", zorder=1)
        axes.add_collection(lines, autolim=False)
    _draw_edges(axes, positions, _cluster_edges(distances, assignment), colours)
    _scatter_labels(axes, positions, [_datasets(embeddings)[i] for i in rows], colours)
    axes.set_aspect("equal", adjustable="datalim")
    rim = np.array([0.6, 0.3])  # inches, for names
    axes.update_datalim([positions.min(axis=0) - rim, positions.max(axis=0) + rim])
    axes.margins(0)
    weights = ["bold" if i in medoids else "normal" for i in range(len(rows))]
    place_names(axes, positions, names, [_ink(c) for c in colours], weights=weights)


def _islands(distances: np.ndarray, assignment: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Positions (labels, 2), in inches, where each cluster is an island of its own.

    Within an island the layout of Kamada & Kawai (1989); islands start where classical scaling of
    their mean distances puts them and are then moved apart.
    """
    numbers = np.unique(assignment)
    positions = np.zeros((len(assignment), 2))
    halves = np.zeros((len(numbers), 2))  # half width and height of each island, with names
    for i, number in enumerate(numbers):
        rows = np.flatnonzero(assignment == number)
        positions[rows] = _island(distances[np.ix_(rows, rows)])
        halves[i] = np.abs(positions[rows]).max(axis=0) + np.array([0.45, 0.18])
        if len(rows) == 2:  # one above the other, both names to the right
            halves[i, 0] = 0.2 + LETTER / 1.7 * max(len(names[row]) for row in rows)
            positions[rows, 0] = 0.2 - halves[i, 0]
    members = (assignment[None] == numbers[:, None]).astype(float)  # (islands, labels)
    members /= members.sum(axis=1, keepdims=True)
    between = members @ distances @ members.T  # (islands, islands) mean distances
    np.fill_diagonal(between, 0)
    middles = np.zeros((len(numbers), 2))
    if len(numbers) > 2:
        middles = PCA(2).fit_transform(ClassicalMDS(metric="precomputed").fit_transform(between))
        # ranks instead of distances: the islands fill a page of the width and of their own area
        page = np.array([WIDTH, 4.0 * halves.prod(axis=1).sum() / WIDTH])
        middles = (middles.argsort(axis=0).argsort(axis=0) / (len(numbers) - 1) - 0.5) * page
    middles = _moved_apart(middles, halves, WIDTH / 2)
    return positions + middles[np.searchsorted(numbers, assignment)]


def _island(distances: np.ndarray) -> np.ndarray:
    """Positions (n, 2) in inches of the labels of one cluster, round 0; names need some width."""
    size = len(distances)
    if size == 2:
        return np.array([[0.0, 0.15], [0.0, -0.15]])
    wanted = 0.4 + distances
    graph = nx.complete_graph(size)
    layout = nx.kamada_kawai_layout(
        graph, dist={i: dict(enumerate(row)) for i, row in enumerate(wanted.tolist())}
    )
    positions = PCA(2).fit_transform(np.array([layout[i] for i in range(size)]))
    positions /= np.abs(positions).max(axis=0).clip(min=1e-9)
    return positions * np.sqrt(size) * (0.31, 0.19)


def _moved_apart(middles: np.ndarray, halves: np.ndarray, border: float) -> np.ndarray:
    """Middles of boxes (n, 2) moved until no two boxes overlap, between −border and border across.

    halves: (n, 2) half the width and height of each box.
    """
    middles = middles.copy()
    reach = np.clip(border - halves[:, 0], 0, None)
    for step in range(2000):
        if step < 800:  # together down the page, as long as there is time to come apart again
            middles[:, 1] *= 0.993
        overlaps = _overlapping(middles, halves)
        if not len(overlaps) and step >= 800:
            break
        for i, j in overlaps:
            apart = middles[j] - middles[i]
            shared = halves[i] + halves[j] - np.abs(apart)  # (2,) overlap across and down
            if (shared > 0).all():  # not yet cured by an earlier pair
                axis = int(shared[1] <= 0.5 * shared[0])  # the shorter way, rather across
                way = 1 if apart[axis] >= 0 else -1
                middles[i, axis] -= way * shared[axis] / 2
                middles[j, axis] += way * shared[axis] / 2
        middles[:, 0] = np.clip(middles[:, 0], -reach, reach)
    return _stacked(middles, halves)


def _stacked(middles: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Boxes that still overlap are moved down the page, which has room without end."""
    placed: list[int] = []
    for i in np.argsort(-middles[:, 1], kind="stable"):
        for j in sorted(placed, key=lambda j: -middles[j, 1]):
            shared = halves[i] + halves[j] - np.abs(middles[j] - middles[i])
            if (shared > 0).all():
                middles[i, 1] = middles[j, 1] - halves[j, 1] - halves[i, 1]
        placed.append(int(i))
    return middles


def _overlapping(middles: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Pairs of boxes (pairs, 2) that overlap."""
    apart = np.abs(middles[:, None] - middles[None])  # (n, n, 2)
    overlap = (halves[:, None] + halves[None] - apart > 1e-6).all(axis=-1)
    return np.argwhere(np.triu(overlap, 1))


def _shade(axes: Axes, points: np.ndarray, colour: str) -> None:
    """A tinted island behind the points of a cluster: their hull with a wide round rim."""
    corners = points
    if len(points) > 2:
        corners = points[ConvexHull(points).vertices]
    tint = np.array(to_rgb(colour)) * 0.16 + 0.84
    axes.add_patch(
        Polygon(
            corners,
            closed=len(points) > 2,
            facecolor=tint,
            edgecolor=tint,
            linewidth=16,
            joinstyle="round",
            capstyle="round",
            zorder=0,
        )
    )


@set_style()
def affect_map(
    vectors: np.ndarray,
    labels: Sequence[str],
    datasets: Sequence[str],
    names: Sequence[str] = ("direction 1", "direction 2"),
    poles: Mapping[Antonym | tuple[str, str], np.ndarray] | None = None,
) -> Figure:
    """Labels by their first two affective coordinates.

    vectors: (labels, components) from LabelSpace(directions=…).vectors, 2 components or more.
    labels, datasets: one name each a label.
    names: of the two directions, such as `antonym_directions(space).names`.
    poles: by pair of antonyms, the coordinates (2, components) of its positive and negative word;
        drawn in grey, joined by a line.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] < 2 or len(vectors) != len(labels):
        raise ValueError(
            f"affect_map: {len(labels)} labels need vectors of the shape ({len(labels)}, 2 or more "
            f"components), not {vectors.shape}"
        )
    if len(datasets) != len(labels):
        raise ValueError(f"affect_map: {len(labels)} labels but {len(datasets)} datasets")
    positions = spread(vectors[:, :2])
    looks = dataset_looks(datasets)
    colours = [looks[name].colour for name in datasets]
    words, ends = [], np.empty((0, 2))
    for pair, values in (poles or {}).items():
        words += [pair.positive, pair.negative] if isinstance(pair, Antonym) else list(pair)
        ends = np.r_[ends, np.asarray(values)[:, :2]]
    figure, axes = new_figure(height=2.8 + 0.045 * (len(labels) + len(words)))
    axes = axes[0, 0]
    for line in (axes.axhline, axes.axvline):
        line(0, color=LIGHT_GREY, linewidth=0.9, zorder=0)
    for start in range(0, len(ends), 2):
        axes.plot(*ends[start : start + 2].T, color=LIGHT_GREY, linewidth=0.8, zorder=1)
    axes.scatter(*ends.T, marker="x", color=GREY, s=18, linewidths=1)
    _scatter_labels(axes, positions, datasets, colours)
    axes.margins(0.08)
    unit = "1 = as far out as an antonym's pole"
    axes.set(
        xlabel=f"{_from_low_to_high(names[0])} ({unit})",
        ylabel=f"{_from_low_to_high(names[1])} ({unit})",
        title=_title(datasets),
    )
    keys = dataset_keys(datasets)
    if words:
        keys.append(key(f"antonyms ({count(len(words) // 2, 'pair')})", marker="x", color=GREY))
    legend_below(figure, keys)
    place_names(
        axes,
        np.r_[positions, ends],
        [*labels, *words],
        [*map(_ink, colours), *["#6B6B6B"] * len(words)],
    )
    return figure


@set_style()
def label_spaces(table: pd.DataFrame) -> Figure:
    """How affective each label space is, against what a ridge in it predicts; a panel a target.

    table: from `evaluation.comparisons.label_space_table`: target, kind, style, affect_correlation,
        roc_auc, pairs. Rows without a roc_auc become marks on the lower edge.
    """
    needed = ["target", "kind", "style", "affect_correlation", "roc_auc", "pairs"]
    require_columns(table, needed, "label_spaces", "it comes from comparisons.label_space_table")
    colours = dict(zip(dict.fromkeys(table["kind"]), COLOURS, strict=False))
    markers = dict(zip(dict.fromkeys(table["style"]), "osD^vP", strict=False))
    targets = list(dict.fromkeys(table["target"]))
    figure, axes = new_figure(height=3.2, columns=len(targets))
    for panel, target in zip(axes[0], targets, strict=True):
        part = table[table["target"] == target]
        panel.axhline(0.5, color=DARK_GREY, linestyle="--", linewidth=1)
        scored = part.dropna(subset="roc_auc")
        for row in scored.itertuples():
            panel.plot(
                row.affect_correlation,
                row.roc_auc,
                markers[row.style],
                color=colours[row.kind],
                markersize=6,
                alpha=0.85,
            )
        for row in part[part["roc_auc"].isna()].itertuples():
            panel.axvline(row.affect_correlation, ymax=0.05, color=colours[row.kind], linewidth=1.6)
        titled(
            panel, dataset_title(target), f"{count(int(part['pairs'].iloc[0]), 'pair')} of labels"
        )
        panel.set_xlabel("affect correlation (Spearman)")
    axes[0, 0].set_ylabel("zero-shot ROC-AUC of a ridge, songs")
    unscored = set(table.loc[table["roc_auc"].isna(), "kind"])
    keys = [
        key(kind, marker="|" if kind in unscored else "o", color=colour)
        for kind, colour in colours.items()
    ]
    keys += [key(name, marker=marker, color=GREY) for name, marker in markers.items()]
    legend_below(figure, [*keys, key("chance", linestyle="--", color=DARK_GREY)])
    return figure


def _from_low_to_high(name: str) -> str:
    """A direction's name in the order of its axis: "happy – sad" gives "sad ↔ happy"."""
    positive, dash, negative = name.partition(" – ")
    return f"{negative} ↔ {positive}" if dash else name


# --- Choosing clusters ----------------------------------------------------------------------------

_SETTING_NAMES = {
    "bandwidth": "bandwidth (distance of unit vectors)",
    "quantile": "quantile (share of the labels that are neighbours)",
    "preference": "preference (negative squared distance)",
    "min_cluster_size": "smallest cluster (labels)",
    "n_clusters": "number of clusters asked for",
    "distance_threshold": "distance threshold (1 − cosine)",
}


@set_style()
def clustering_sweep(sweep: pd.DataFrame, chosen: Mapping[str, float] | float) -> Figure:
    """What each value of a clustering setting gives, and the one that was chosen.

    sweep: from `labels.sweep_settings`, one method and setting: value, labels, clusters,
        largest, silhouette, stability, stability_low.
    chosen: from `labels.choose_setting`, or the value alone.
    Returns three panels over the setting: number of clusters with the size of the largest, mean
    silhouette, stability. Where one cluster holds more than half of the labels (behind the cliff)
    the ground is grey.
    """
    needed = ["method", "setting", "value", "labels", "clusters", "largest"]
    needed += ["silhouette", "stability", "stability_low"]
    require_columns(sweep, needed, "clustering_sweep", "it comes from clustering.sweep_settings")
    if sweep.groupby(["method", "setting"]).ngroups != 1:
        raise ValueError("clustering_sweep: the sweep must be of one method and one setting")
    sweep = sweep.sort_values("value")
    first = sweep.iloc[0]
    setting, labels = first["setting"], int(first["labels"])
    if isinstance(chosen, Mapping) and setting not in chosen:
        raise ValueError(f"clustering_sweep: the sweep is over {setting}, but chosen is {chosen}")
    value = chosen[setting] if isinstance(chosen, Mapping) else chosen
    figure, axes = new_figure(height=4.8, rows=3, sharex=True, height_ratios=[1.3, 1, 1])
    top, middle, bottom = axes[:, 0]
    dots = {"marker": "o", "markersize": 3.5}
    top.plot(sweep["value"], sweep["clusters"], color=COLOURS[0], label="clusters", **dots)
    top.plot(
        sweep["value"],
        sweep["largest"],
        color=COLOURS[1],
        linestyle="--",
        label="labels in the largest cluster",
        **{**dots, "marker": "s"},
    )
    top.set(ylabel="number", ylim=(0, labels * 1.06))
    middle.plot(sweep["value"], sweep["silhouette"], color=COLOURS[0], **dots)
    middle.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    middle.set_ylabel("silhouette\n(cosine, −1 to 1)")
    bottom.plot(sweep["value"], sweep["stability"], color=COLOURS[0], **dots)
    bottom.fill_between(
        sweep["value"],
        sweep["stability_low"],
        sweep["stability"],
        color=COLOURS[0],
        alpha=0.18,
        linewidth=0,
    )
    bottom.set(ylim=(min(0, sweep["stability_low"].min()), 1.05))
    bottom.set(ylabel="stability\n(adjusted Rand)", xlabel=_SETTING_NAMES.get(setting, setting))
    for panel in axes[:, 0]:
        _grey_where(panel, sweep["value"].to_numpy(), (sweep["largest"] > labels / 2).to_numpy())
        panel.axvline(value, color="black", linewidth=1.1, zorder=2)
    at = sweep.iloc[(sweep["value"] - value).abs().argmin()]
    top.set_title(
        f"{first['method'].replace('_', ' ')} of {count(labels, 'label')}; chosen: {setting} = "
        f"{value:.4g} ({count(int(at['clusters']), 'cluster')})"
    )
    figure.align_ylabels()
    keys = [*top.get_lines()[:2], key("chosen", color="black", linestyle="-", linewidth=1.1)]
    keys.append(Patch(color=LIGHT_GREY, label="one cluster has over half of the labels"))
    keys.append(Patch(color=COLOURS[0], alpha=0.18, label="from the mean to the worst resample"))
    legend_below(figure, keys)
    return figure


def _grey_where(axes: Axes, x: np.ndarray, marked: np.ndarray) -> None:
    """A grey ground at the marked values of an ascending x, up to halfway to the others."""
    left, right = axes.get_xlim()
    borders = np.r_[left, (x[1:] + x[:-1]) / 2, right]
    for i in np.flatnonzero(marked):
        axes.axvspan(borders[i], borders[i + 1], color=LIGHT_GREY, alpha=0.7, linewidth=0, zorder=0)
    axes.set_xlim(left, right)
