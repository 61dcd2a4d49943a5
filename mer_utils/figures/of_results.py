"""Figures of training and results: curves, projected audio, scores with intervals and chance.

Every function returns a matplotlib Figure in the house style (`figures.style`). A figure of
scores says how many tracks and labels they were measured on, and what chance is.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.decomposition import PCA

from mer_utils.figures.style import (
    COLOURS,
    DARK_GREY,
    GREY,
    INTERVAL,
    LIGHT_GREY,
    by_dataset,
    count,
    dataset_looks,
    dataset_title,
    halo,
    interval,
    is_dataset,
    key,
    legend_below,
    new_figure,
    place_names,
    reference_looks,
    require_columns,
    row_lines,
    row_panels,
    series_looks,
    set_style,
    titled,
    wrapped,
)

# how the axis of a metric is called
METRIC_NAMES = {
    "segment_macro_f1": "macro-F1\nof segments",
    "song_macro_f1": "macro-F1\nof songs",
    "song_roc_auc": "macro ROC-AUC\nof songs",
    "song_average_precision": "macro average precision\nof songs",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
}


# --- Training -------------------------------------------------------------------------------------


@set_style()
def training_curves(histories: Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]) -> Figure:
    """Losses and validation score over the epochs of one or more trainings.

    histories: by method, the table of `projector.train` (epoch, triplet, alignment, validation) or
        one a seed.
    Returns panels for the triplet loss, the alignment loss (if there is one) and the validation
    score. Thin: single seeds; thick: their mean over the epochs that all have; a dot: the best
    epoch of each, whose weights were kept.
    """
    runs = {
        name: [one] if isinstance(one, pd.DataFrame) else list(one)
        for name, one in histories.items()
    }
    if not runs:
        raise ValueError("training_curves: no history was given")
    for name, tables in runs.items():
        for table in tables or [pd.DataFrame()]:
            columns = ["epoch", "triplet", "alignment", "validation"]
            source = "closed-form methods have no history: leave them out"
            require_columns(table, columns, f"training_curves, {name}", source)
    panels = {"triplet": "triplet loss"}
    if any((table["alignment"] != 0).any() for tables in runs.values() for table in tables):
        panels["alignment"] = "alignment loss (times λ)"
    panels["validation"] = "validation macro ROC-AUC"
    figure, axes = new_figure(height=2.2, columns=len(panels))
    looks = series_looks(list(runs))
    for panel, (column, title) in zip(axes[0], panels.items(), strict=True):
        for name, tables in runs.items():
            if column != "alignment" or any((table[column] != 0).any() for table in tables):
                _draw_runs(panel, tables, column, *looks[name])
        panel.set(xlabel="epoch", ylabel=title)
        panel.xaxis.get_major_locator().set_params(integer=True)
    axes[0, -1].axhline(0.5, color=GREY, linestyle="--", linewidth=0.9)
    legend_below(figure, _training_keys(runs, looks))
    return figure


def _draw_runs(
    axes: Axes, tables: Sequence[pd.DataFrame], column: str, colour: str, line: str
) -> None:
    """One method's seeds, their mean and, for the validation score, the best epochs."""
    several = len(tables) > 1
    for table in tables:
        thin = {"linewidth": 0.7, "alpha": 0.45} if several else {"linewidth": 1.4}
        axes.plot(table["epoch"], table[column], color=colour, linestyle=line, **thin)
        if column == "validation" and table[column].notna().any():
            best = table.attrs.get("best_epoch", table.loc[table[column].idxmax(), "epoch"])
            height = table.loc[table["epoch"] == best, column]
            axes.plot([best] * len(height), height, "o", color=colour, markersize=4.5, zorder=4)
    if several:
        shortest = min(map(len, tables))
        mean = np.mean([table[column].to_numpy()[:shortest] for table in tables], axis=0)
        axes.plot(tables[0]["epoch"][:shortest], mean, color=colour, linestyle=line, linewidth=1.8)


def _training_keys(runs: Mapping[str, Sequence], looks: Mapping[str, tuple[str, str]]) -> list:
    """Legend entries for the methods and for what is the same for all."""
    keys = [key(name, color=colour, linestyle=line) for name, (colour, line) in looks.items()]
    most = max(map(len, runs.values()))
    if most > 1:
        text = f"thin: each of {most} seeds, thick: mean"
        keys.append(key(text, color=DARK_GREY, linestyle="-", linewidth=0.7))
    keys.append(key("best epoch (weights kept)", marker="o", color=DARK_GREY, markersize=4.5))
    keys.append(key("chance", color=GREY, linestyle="--", linewidth=0.9))
    return keys


@set_style()
def cluster_cosine_bars(table: pd.DataFrame) -> Figure:
    """How near projected audio lies to its own label cluster and to the others, by method.

    table: method, within, between (mean cosines, −1 to 1), as
        `evaluation.tables.cluster_cosine_table` gives them; with a column target one panel each.
        Several rows a method, such as seeds, are averaged, and a small dot shows each.
    Returns horizontal bars, with the difference of the two in figures.
    """
    require_columns(table, ["method", "within", "between"], "cluster_cosine_bars")
    targets = list(dict.fromkeys(table["target"])) if "target" in table else [None]
    methods = list(dict.fromkeys(table["method"]))
    names = [wrapped(method, 34) for method in methods]
    figure, axes = new_figure(
        height=0.9 + 0.34 * len(methods), columns=len(targets), sharey=True, sharex=True
    )
    for panel, target in zip(axes[0], targets, strict=True):
        part = table if target is None else table[table["target"] == target]
        means = part.groupby("method")[["within", "between"]].mean()
        for column, shift, colour in (("within", -0.19, COLOURS[0]), ("between", 0.19, COLOURS[4])):
            rows = [methods.index(method) + shift for method in means.index]
            panel.barh(rows, means[column], height=0.36, color=colour)
            if part["method"].duplicated().any():
                rows = [methods.index(method) + shift for method in part["method"]]
                panel.plot(part[column], rows, "o", color="black", markersize=2.2)
        for method, mean in means.iterrows():
            panel.annotate(
                f"{mean['within'] - mean['between']:.2f}",
                (1, methods.index(method)),
                (4, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
            )
        panel.axvline(0, color=DARK_GREY, linewidth=0.8)
        panel.annotate(
            "difference",
            (1, 1),
            (4, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            color=DARK_GREY,
        )
        panel.set_xlabel("mean cosine of\nprojected audio")
        if target is not None:
            panel.set_title(f"target {dataset_title(target)}")
        panel.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(methods)), names)
    axes[0, 0].set_ylim(len(methods) - 0.5, -0.5)
    keys = [Patch(color=COLOURS[0], label="within a label cluster")]
    legend_below(figure, [*keys, Patch(color=COLOURS[4], label="between clusters")])
    return figure


@set_style()
def projection_map(
    projections: Mapping[str, np.ndarray],
    categories: Sequence[str],
    label_vectors: np.ndarray | None = None,
    label_names: Sequence[str] = (),
    shared: bool = True,
    item: str = "segment",
) -> Figure:
    """Projected audio in two dimensions, one panel a model, such as before and after alignment.

    projections: by panel title, (n, d) each, the same items in the same order; brought to unit
        length, as cosines are all that counts.
    categories: (n,) the cluster, label or dataset of each item; the six most frequent get a colour.
    label_vectors: (labels, d), 3 or more, drawn as stars with their label_names. The axes are then
        the principal components of the labels, and audio and labels are each centred and drawn
        equally wide (audio lies in a narrow cone of its own, which would hide everything else).
    shared: without label vectors, one principal component analysis for all panels together, so
        that they can be compared point by point; else one each.
    item: what a point is, for the legend.
    """
    categories = np.asarray(categories).astype(str)
    if not projections:
        raise ValueError("projection_map: no projections were given")
    for name, values in projections.items():
        if len(values) != len(categories):
            raise ValueError(
                f"projection_map: {len(categories)} categories, but {name!r} has {len(values)} "
                "points; give one category a point, the same for all panels"
            )
    if (0 if label_vectors is None else len(label_vectors)) != len(label_names):
        raise ValueError("projection_map: label_vectors and label_names must be of the same labels")
    widths = {name: np.shape(values)[1] for name, values in projections.items()}
    if label_vectors is not None:
        widths["label_vectors"] = np.shape(label_vectors)[1]
    if len(set(widths.values())) > 1 and (shared or label_vectors is not None):
        raise ValueError(
            f"projection_map: one map needs one label space, but the dimensions are {widths}; draw "
            "models of different label spaces apart, or with shared=False and no label vectors"
        )
    unit = [_unit_rows(values) for values in projections.values()]
    if label_vectors is None:
        points, captions = _own_components(unit, shared)
        stars = None
    else:
        points, stars, captions = _label_components(unit, _unit_rows(label_vectors))
    frequent = pd.Series(categories).value_counts().sort_index()
    frequent = frequent.sort_values(ascending=False, kind="stable")
    colours = dict(zip(frequent.index[:6], COLOURS, strict=False))
    if is_dataset(categories).all():
        colours = {name: look.colour for name, look in dataset_looks(frequent.index).items()}
    same = shared or stars is not None
    figure, axes = new_figure(
        height=0.5 + 6.2 / max(2, len(unit)), columns=len(unit), sharex=same, sharey=same
    )
    for panel, name, values, caption in zip(axes[0], projections, points, captions, strict=True):
        _scatter_categories(panel, values, categories, colours)
        if stars is not None:
            star = {"marker": "*", "s": 90, "color": "black", "edgecolors": "white"}
            panel.scatter(*stars.T, linewidths=0.6, zorder=4, **star)
        panel.set(title=wrapped(name, 34), xlabel=caption[0], ylabel=caption[1])
        panel.set_box_aspect(1)
        panel.margins(0.1)
        panel.locator_params(nbins=5)
    legend_below(figure, _category_keys(frequent, colours, item, stars is not None))
    if stars is not None:
        for panel in axes[0]:
            for text in place_names(panel, stars, label_names):
                text.set_path_effects(halo())
    return figure


def _own_components(panels: Sequence[np.ndarray], shared: bool) -> tuple[list, list]:
    """Positions (n, 2) of each panel's points on principal components, and the axes' captions."""
    together = np.concatenate(panels)
    fitted = [PCA(2).fit(together if shared else values) for values in panels]
    captions = []
    for pca in fitted:
        share = pca.explained_variance_ratio_ * 100
        captions.append(
            (f"component 1 ({share[0]:.0f} % of variance)", f"component 2 ({share[1]:.0f} %)")
        )
    return [pca.transform(values) for pca, values in zip(fitted, panels, strict=True)], captions


def _label_components(
    panels: Sequence[np.ndarray], labels: np.ndarray
) -> tuple[list, np.ndarray, list]:
    """Audio (n, 2) a panel and labels (labels, 2) on the labels' components, and captions."""
    if len(labels) < 3:
        raise ValueError(f"projection_map: 3 label vectors or more are needed, not {len(labels)}")
    pca = PCA(2).fit(labels)
    stars = pca.transform(labels)
    points = [(values - values.mean(axis=0)) @ pca.components_.T for values in panels]
    scale = stars.std() / np.concatenate(points).std()  # one for all panels: they stay comparable
    share = pca.explained_variance_ratio_ * 100
    caption = tuple(f"label component {i + 1} ({share[i]:.0f} %)" for i in range(2))
    return [values * scale for values in points], stars, [caption] * len(panels)


def _unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows of unit length; a zero row stays zero."""
    values = np.asarray(values, dtype=np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _scatter_categories(
    axes: Axes, points: np.ndarray, categories: np.ndarray, colours: Mapping[str, str]
) -> None:
    """Points coloured by category, in mixed order so that none hides behind the last one drawn."""
    order = np.random.default_rng(0).permutation(len(points))
    each = [colours.get(category, LIGHT_GREY) for category in categories[order]]
    size = float(np.clip(4000 / len(points), 4, 22))
    axes.scatter(*points[order].T, c=each, s=size, alpha=0.75, linewidths=0, rasterized=True)


def _category_keys(frequent: pd.Series, colours: Mapping[str, str], item: str, stars: bool) -> list:
    """Legend entries for categories, with how many points each has."""
    dot = {"marker": "o", "markersize": 5}
    keys = [
        key(f"{dataset_title(name)} ({count(frequent[name], item)})", color=colour, **dot)
        for name, colour in colours.items()
    ]
    rest = frequent.iloc[len(colours) :]
    if len(rest):
        text = f"{len(rest)} others ({count(rest.sum(), item)})"
        keys.append(key(text, color=LIGHT_GREY, **dot))
    if stars:
        keys.append(key("label vector", marker="*", color="black", markersize=9))
    return keys


# --- Results --------------------------------------------------------------------------------------


@set_style()
def results(
    table: pd.DataFrame,
    metric: str = "song_roc_auc",
    references: Mapping[str, float] | Mapping[str, Mapping[str, float]] | None = None,
    order: Sequence[str] | str | None = None,
) -> Figure:
    """One metric of every method on every target, with 95 % intervals and both kinds of chance.

    table: from `evaluation.tables.results_table`: target, method, transductive, metric, value, low,
        high, chance, chance_low, chance_high, tracks, labels; shuffled, shuffled_low, shuffled_high
        (the same method trained on shuffled labels) where they are known; rows of
        `evaluation.tables.reference_table` (reference is true) become vertical lines.
    metric: a value of the column metric.
    references: more vertical lines: by target a mapping name → value, as paper.REPORTED[metric], or
        one mapping for all targets.
    order: methods from top to bottom; "value": best first (mean over the targets); None: as in the
        table.
    Returns a panel a target. Hollow: the method has looked at the target's unlabelled audio.
    """
    needed = ["target", "method", "transductive", "metric", "value", "low", "high", "chance"]
    needed += ["chance_low", "chance_high", "tracks", "labels"]
    require_columns(table, needed, "results", "it comes from tables.results_table")
    rows = table[table["metric"] == metric]
    if rows.empty:
        found = ", ".join(dict.fromkeys(table["metric"]))
        raise ValueError(f"results: the table has no metric {metric!r}; it has {found}")
    rows, named = _without_references(rows)
    if rows.duplicated(["target", "method"]).any():
        raise ValueError("results: several rows for one target and method; average seeds first")
    methods = _method_order(rows, order)
    targets = list(dict.fromkeys(rows["target"]))
    for target in targets:
        named[target] = {**named.get(target, {}), **by_dataset(references, target)}
    lines = reference_looks([name for target in targets for name in named[target]])
    names = [wrapped(method, 34) for method in methods]
    figure, axes = new_figure(
        height=1.1 + _row_height(names) * len(methods),
        columns=len(targets),
        sharey=True,
        sharex=metric == "song_roc_auc",
    )
    for panel, target in zip(axes[0], targets, strict=True):
        part = rows[rows["target"] == target].set_index("method")
        _draw_results(panel, part, methods)
        for name, value in named[target].items():
            colour, line = lines[name]
            panel.axvline(value, color=colour, linestyle=line, linewidth=1.2, zorder=1)
        first = part.iloc[0]
        k = "" if pd.isna(first.get("k")) else f", k = {int(first['k'])}"
        subtitle = f"{int(first['tracks']):,} tracks, {int(first['labels'])} labels{k}"
        titled(panel, dataset_title(target), subtitle)
        panel.set_xlabel(METRIC_NAMES.get(metric, metric))
    axes[0, 0].set_yticks(range(len(methods)), names)
    axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)
    keys = _result_keys(rows)
    for name, (colour, line) in lines.items():
        values = " / ".join(f"{named[t][name]:.3f}" for t in targets if name in named[t])
        keys.append(key(f"{name} ({values})", color=colour, linestyle=line, linewidth=1.2))
    legend_below(figure, keys)
    return figure


def _row_height(names: Sequence[str]) -> float:
    """Height of a row in inches: all have room for the name with the most lines."""
    return 0.24 + 0.1 * max(name.count("\n") for name in names)


def _without_references(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """The methods' rows, and by target the name and value of each row that is a reference."""
    if "reference" not in rows:
        return rows, {}
    is_reference = rows["reference"].eq(True).fillna(False).astype(bool)
    named: dict[str, dict[str, float]] = {}
    for row in rows[is_reference].itertuples():
        named.setdefault(row.target, {})[row.method] = row.value
    if is_reference.all():
        raise ValueError("results: all rows of the table are references; there is no method")
    return rows[~is_reference], named


def _method_order(rows: pd.DataFrame, order: Sequence[str] | str | None) -> list[str]:
    """Methods from top to bottom."""
    methods = list(dict.fromkeys(rows["method"]))
    if order is None:
        return methods
    if isinstance(order, str):
        if order != "value":
            raise ValueError(f'results: order is a list of methods, "value" or None, not {order!r}')
        means = rows.groupby("method")["value"].mean()
        return sorted(methods, key=lambda method: -means[method])
    if set(order) != set(methods) or len(order) != len(methods):
        difference = sorted(set(order) ^ set(methods))
        raise ValueError(f"results: the order must name every method once; check {difference}")
    return list(order)


def _draw_results(axes: Axes, part: pd.DataFrame, methods: Sequence[str]) -> None:
    """One target: part is indexed by method."""
    chance = part.iloc[0]
    axes.axvspan(chance["chance_low"], chance["chance_high"], color=LIGHT_GREY, alpha=0.6, lw=0)
    axes.axvline(chance["chance"], color=DARK_GREY, linestyle="--", linewidth=1)
    for row, method in enumerate(methods):
        if method not in part.index:
            continue
        score = part.loc[method]
        if pd.notna(score.get("shuffled")):
            ends = [score["shuffled_low"], score["shuffled_high"]]
            axes.plot(ends, [row + 0.25] * 2, color=GREY, linewidth=2.4, solid_capstyle="butt")
            axes.plot(score["shuffled"], row + 0.25, "|", color="black", markersize=5)
        hollow = bool(score["transductive"])
        interval(axes, score["low"], score["value"], score["high"], row, COLOURS[0], hollow)
        axes.annotate(
            f"{score['value']:.3f}",
            (1, row),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
        )
    row_lines(axes)


def _result_keys(rows: pd.DataFrame) -> list:
    """Legend entries for what the rows have."""
    dot = {"marker": "o", "color": COLOURS[0], "markersize": 5, "linestyle": "-"}
    keys = [key(f"value, {INTERVAL}", **dot)]
    if rows["transductive"].any():
        text = "has looked at the target's unlabelled audio"
        keys.append(key(text, markerfacecolor="white", **dot))
    keys.append(key("chance: random scores", color=DARK_GREY, linestyle="--", linewidth=1))
    keys.append(Patch(color=LIGHT_GREY, alpha=0.6, label="its 95 % band"))
    if "shuffled" in rows and rows["shuffled"].notna().any():
        text = "chance: trained on shuffled labels (mean, range)"
        keys.append(key(text, color=GREY, linestyle="-", linewidth=2.4, marker="|", mec="black"))
    return keys


@set_style()
def ablation_path(table: pd.DataFrame) -> Figure:
    """A score along a path of changes, a panel a target; filled where a step is beyond luck.

    table: from `evaluation.comparisons.path_table`: target, step, value, low, high, p_holm, tracks,
        labels.
    """
    columns = ["target", "step", "value", "low", "high", "p_holm", "tracks", "labels"]
    require_columns(table, columns, "ablation_path")
    targets, steps = (list(dict.fromkeys(table[column])) for column in ("target", "step"))
    names = [wrapped(step, 34) for step in steps]
    figure, axes = new_figure(
        height=1.1 + _row_height(names) * len(steps),
        columns=len(targets),
        sharey=True,
        sharex=True,
    )
    for panel, target in zip(axes[0], targets, strict=True):
        part = table[table["target"] == target].set_index("step").reindex(steps)
        panel.plot(part["value"], range(len(steps)), color=GREY, linewidth=1, zorder=1)
        for row, score in enumerate(part.itertuples()):
            hollow = not score.p_holm < 0.05  # the first step has no p
            interval(panel, score.low, score.value, score.high, row, COLOURS[0], hollow)
        row_lines(panel)
        tracks, labels = int(part["tracks"].iloc[0]), int(part["labels"].iloc[0])
        titled(panel, dataset_title(target), f"{tracks:,} tracks, {labels} labels")
        panel.set_xlabel(METRIC_NAMES["song_roc_auc"])
    axes[0, 0].set_yticks(range(len(steps)), names)
    axes[0, 0].set_ylim(len(steps) - 0.4, -0.6)
    dot = {"marker": "o", "color": COLOURS[0], "markersize": 5, "linestyle": "-"}
    keys = [
        key(f"differs from the step above (p < .05, Holm), {INTERVAL}", **dot),
        key("does not", markerfacecolor="white", **dot),
    ]
    legend_below(figure, keys)
    return figure


@set_style()
def per_label(table: pd.DataFrame, metric: str = "roc_auc") -> Figure:
    """How well each label is found, with 95 % intervals, best first; one panel a target.

    table: from `evaluation.tables.per_label_table` or `scoring.per_label_scores`: label (a column
        or the index), tracks, positives, the metric and its _low and _high; target, if there are
        several; method,
        if there are several: three a target at most, labels sorted by the first.
    metric: "roc_auc" (chance is .5) or "average_precision" (chance differs from label to label:
        average_precision_chance).
    """
    if isinstance(table, pd.DataFrame) and "label" not in table and table.index.name == "label":
        table = table.reset_index()
    needed = ["label", "tracks", "positives", metric, f"{metric}_low", f"{metric}_high"]
    if metric == "average_precision":
        needed.append("average_precision_chance")
    require_columns(table, needed, "per_label", "it comes from evaluation.per_label")
    defaults = {"target": "", "method": ""}
    table = table.assign(**{k: v for k, v in defaults.items() if k not in table})
    if table.duplicated(["target", "method", "label"]).any():
        raise ValueError("per_label: several rows for one target, method and label")
    parts = dict(list(table.groupby("target", sort=False)))
    most = max(len(set(part["method"])) for part in parts.values())
    if most > 3:
        raise ValueError(f"per_label: {most} methods for one target are too many to see; pass 3")
    shapes = cycle(zip(COLOURS[:6], "osD^vP", strict=True))
    looks = dict(zip(dict.fromkeys(table["method"]), shapes, strict=False))
    sorted_rows = {target: _best_first(part, metric) for target, part in parts.items()}
    texts = {
        target: [f"{row.label} ({int(row.positives):,})" for row in rows.itertuples()]
        for target, rows in sorted_rows.items()
    }
    figure, panels = row_panels(texts, step=0.16 + 0.07 * (most - 1), same_scale=True)
    for target, part in parts.items():
        _draw_labels(panels[target], part, sorted_rows[target], metric, looks)
        tracks = f"{part['tracks'].iloc[0]:,} tracks"
        titled(panels[target], dataset_title(target) if target else "each label", tracks)
        panels[target].set_xlabel(METRIC_NAMES.get(metric, metric))
    next(iter(panels.values())).set_ylabel("label (number of tracks that have it)")
    keys = [
        key(f"{method or 'value'}, {INTERVAL}", color=c, marker=m, linestyle="-", markersize=5)
        for method, (c, m) in looks.items()
    ]
    chance = {"linestyle": "--"} if metric == "roc_auc" else {"marker": "|", "markersize": 8}
    keys.append(key("chance", color=DARK_GREY, **chance))
    legend_below(figure, keys)
    return figure


def _best_first(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of the first method, sorted by value; labels without one come last."""
    first = part[part["method"] == part["method"].iloc[0]]
    return first.sort_values(metric, ascending=False, kind="stable")


def _draw_labels(
    axes: Axes,
    part: pd.DataFrame,
    first: pd.DataFrame,
    metric: str,
    looks: Mapping[str, tuple[str, str]],
) -> None:
    """The labels of one target, in the order of `first`, the rows of its first method."""
    methods = list(dict.fromkeys(part["method"]))
    place = {label: row for row, label in enumerate(first["label"])}
    for method, shift in zip(methods, (np.arange(3) - (len(methods) - 1) / 2) * 0.3, strict=False):
        colour, marker = looks[method]
        for row in part[part["method"] == method].to_dict("records"):
            ends = (row[f"{metric}_low"], row[metric], row[f"{metric}_high"])
            if np.isfinite(row[metric]):
                interval(axes, *ends, place[row["label"]] + shift, colour, marker=marker)
    if metric == "roc_auc":
        axes.axvline(0.5, color=DARK_GREY, linestyle="--", linewidth=1)
    else:
        ticks = {"marker": "|", "color": DARK_GREY, "markersize": 8, "linestyle": "none"}
        axes.plot(first[f"{metric}_chance"], range(len(first)), zorder=2, **ticks)
    for row in np.flatnonzero(first[metric].isna()):
        where = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
        where |= {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
        axes.text(0.5, row, "cannot be scored", color=DARK_GREY, fontstyle="italic", **where)


@set_style()
def sweep_curves(table: pd.DataFrame, axis: str, metric: str = "song ROC-AUC") -> Figure:
    """A metric along a numeric parameter, mean and 95 % interval over seeds; a panel a target.

    table: from `batch.sweeps.seed_table`, of one metric: target, axis, other parameters of the
        configuration, value, low, high, seeds; chance, if it is known. Configurations that do not
        have the parameter, or one value of it, are horizontal lines.
    axis: name of the column along which to draw.
    """
    require_columns(table, ["target", axis, "value", "low", "high", "seeds"], "sweep_curves")
    known = {"target", "metric", "value", "low", "high", "seeds", "chance", "tracks", axis}
    others = [column for column in table if column not in known]
    named = table.assign(series=[_configuration(row) for row in table[others].to_dict("records")])
    looks = series_looks(list(dict.fromkeys(named["series"])))
    targets = list(dict.fromkeys(named["target"]))
    figure, axes = new_figure(height=3.2, columns=len(targets), sharey=True)
    for panel, target in zip(axes[0], targets, strict=True):
        for series, part in named[named["target"] == target].groupby("series", sort=False):
            colour, line = looks[series]
            part = part.sort_values(axis)
            if part[axis].nunique() < 2:
                panel.axhline(part["value"].iloc[0], color=colour, linestyle=line)
                continue
            panel.plot(part[axis], part["value"], color=colour, linestyle=line, marker="o")
            panel.fill_between(part[axis], part["low"], part["high"], color=colour, alpha=0.15)
        if "chance" in table:
            panel.axhline(0.5 if "AUC" in metric else part["chance"].iloc[0], **_CHANCE_LINE)
        seeds = sorted(set(named.loc[named["target"] == target, "seeds"]))
        shown = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        titled(panel, dataset_title(target), f"mean over {shown} seeds")
        panel.set_xlabel("λ" if axis == "weight" else axis.replace("_", " "))
    axes[0, 0].set_ylabel(metric)
    keys = [key(series, color=looks[series][0], linestyle=looks[series][1]) for series in looks]
    legend_below(figure, [*keys, key("chance", **_CHANCE_LINE)])
    return figure


@set_style()
def learning_curve(table: pd.DataFrame) -> Figure:
    """A score against the number of training tracks, with its range over draws of these tracks.

    table: from `evaluation.comparisons.learning_curve_outcomes`: target, training_tracks, value,
        low, high, draws.
    """
    columns = ["target", "training_tracks", "value", "low", "high", "draws", "tracks"]
    require_columns(table, columns, "learning_curve")
    targets = list(dict.fromkeys(table["target"]))
    looks = dataset_looks(targets)
    figure, axes = new_figure(height=3.2)
    panel, keys = axes[0, 0], []
    for target in targets:
        part = table[table["target"] == target].sort_values("training_tracks")
        look = looks[target]
        drawn = {"color": look.colour, "marker": look.marker}
        panel.plot(part["training_tracks"], part["value"], **drawn)
        panel.fill_between(
            part["training_tracks"], part["low"], part["high"], color=look.colour, alpha=0.15
        )
        keys.append(key(f"{look.title} ({count(part['tracks'].iloc[0], 'track')})", **drawn))
    panel.axhline(0.5, **_CHANCE_LINE)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sorted(set(table["training_tracks"].round())))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    panel.minorticks_off()
    panel.set(xlabel="training tracks", ylabel=METRIC_NAMES["song_roc_auc"])
    draws = f"shaded: range over {table['draws'].max()} draws of the training tracks"
    note = Patch(facecolor=LIGHT_GREY, label=draws)
    legend_below(figure, [*keys, note, key("chance", **_CHANCE_LINE)])
    return figure


_CHANCE_LINE = {"color": GREY, "linestyle": "--", "linewidth": 1}


def _configuration(settings: Mapping[str, object]) -> str:
    """The settings of a configuration in a few words; those that it does not have left out."""
    words = [
        str(value) if isinstance(value, str) else f"{name} {value}"
        for name, value in settings.items()
        if not pd.isna(value)
    ]
    return ", ".join(word for word in words if word) or "all"
