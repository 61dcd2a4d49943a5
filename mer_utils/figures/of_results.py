"""Figures of training and results: curves, projected audio, scores with intervals and chance.

Every function returns a matplotlib Figure in the house style (`figures.style`). A figure of
scores says how many tracks and labels they were measured on, and what chance is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from mer_utils.figures import style

# how the axis of a metric is called
METRIC_NAMES = {
    "segment_macro_f1": "macro-F1\nof segments",
    "song_macro_f1": "macro-F1\nof songs",
    "song_roc_auc": "macro ROC-AUC\nof songs",
    "song_average_precision": "macro average precision\nof songs",
}
DOT = {
    "marker": "o",
    "color": style.COLOURS[0],
    "linestyle": "-",
}  # a value with its interval, in legends


# --- Training -------------------------------------------------------------------------------------


@style.set_style()
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Losses and validation score over the epochs of one or more trainings.

    histories: by method, the table of `projector.train` (epoch, triplet, alignment, validation).
    Returns panels for the triplet loss, the alignment loss (if there is one) and the validation
    score. A dot marks the best epoch, whose weights were kept.
    """
    if not histories:
        raise ValueError("training_curves: no history was given")
    for name, table in histories.items():
        columns = ["epoch", "triplet", "alignment", "validation"]
        source = "closed-form methods have no history: leave them out"
        style.require_columns(table, columns, f"training_curves, {name}", source)
    panels = {
        "triplet": "triplet loss",
        "alignment": "alignment loss (times λ)",
        "validation": "validation macro ROC-AUC",
    }
    if not any(table["alignment"].any() for table in histories.values()):
        del panels["alignment"]
    figure, axes = style.new_figure(height=2.2, columns=len(panels))
    looks = style.series_looks(list(histories))
    for panel, (column, title) in zip(axes[0], panels.items(), strict=True):
        for name, table in histories.items():
            if column != "alignment" or table[column].any():
                panel.plot(table["epoch"], table[column], **looks[name])
            if column == "validation" and table[column].notna().any():
                best = table.attrs.get("best_epoch", table.loc[table[column].idxmax(), "epoch"])
                height = table.loc[table["epoch"] == best, column].iloc[0]
                panel.plot(best, height, "o", color=looks[name]["color"], markersize=4.5, zorder=4)
        panel.set(xlabel="epoch", ylabel=title)
        panel.xaxis.get_major_locator().set_params(integer=True)
    axes[0, -1].axhline(0.5, **style.CHANCE)
    keys = [style.key(name, **look) for name, look in looks.items()]
    keys.append(style.key("best epoch (weights kept)", marker="o", color=style.DARK_GREY))
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure


@style.set_style()
def cluster_cosine_bars(table: pd.DataFrame) -> Figure:
    """How near projected audio lies to its own label cluster and to the others, by method.

    table: target (one), method, within, between (mean cosines, −1 to 1), as
        `evaluation.tables.cosine_table` gives them; several rows a method are averaged.
    Returns horizontal bars, with the difference of the two in figures.
    """
    needed = ["target", "method", "within", "between"]
    style.require_columns(table, needed, "cluster_cosine_bars")
    target = table["target"].iloc[0]
    if (table["target"] != target).any():
        raise ValueError(f"cluster_cosine_bars: rows of one target, not of {set(table['target'])}")
    means = table.groupby("method", sort=False)[["within", "between"]].mean()
    rows = np.arange(len(means))
    figure, axes = style.new_figure(height=0.9 + 0.34 * len(means))
    axes = axes[0, 0]
    axes.barh(rows - 0.19, means["within"], height=0.36, color=style.COLOURS[0])
    axes.barh(rows + 0.19, means["between"], height=0.36, color=style.COLOURS[4])
    axes.axvline(0, color=style.DARK_GREY, linewidth=0.8)
    for row, difference in enumerate(means["within"] - means["between"]):
        style.beside(axes, row, f"{difference:.2f}")
    axes.set_title(f"target {style.dataset_title(target)}")
    axes.set_title("difference", loc="right", size=style.SMALL, weight="normal")
    axes.set_xlabel("mean cosine of projected audio")
    style.named_rows(axes, [style.wrapped(method) for method in means.index])
    axes.grid(visible=False)
    keys = [Patch(color=style.COLOURS[0], label="within a label cluster")]
    style.legend_below(figure, [*keys, Patch(color=style.COLOURS[4], label="between clusters")])
    return figure


@style.set_style()
def projection_map(projections: Mapping[str, np.ndarray], categories: Sequence[str]) -> Figure:
    """Projected audio in two dimensions, one panel a model, such as before and after alignment.

    projections: by panel title, (n, d) each, the same segments in the same order; brought to unit
        length, as cosines are all that counts.
    categories: (n,) the dataset of each segment.
    Returns panels with the principal components of all of them together, so that they can be
    compared point by point.
    """
    categories = np.asarray(categories).astype(str)
    shapes = {name: np.shape(values) for name, values in projections.items()}
    if len(set(shapes.values())) != 1 or {shape[0] for shape in shapes.values()} != {
        len(categories)
    }:
        raise ValueError(
            f"projection_map: {len(categories)} categories need projections of one shape with as "
            f"many rows, not {shapes}"
        )
    unit = [normalize(np.asarray(values, dtype=np.float64)) for values in projections.values()]
    pca = PCA(2).fit(np.concatenate(unit))
    share = pca.explained_variance_ratio_ * 100
    sizes = pd.Series(categories).value_counts()
    looks = style.dataset_looks(list(sizes.index))
    order = np.random.default_rng(0).permutation(len(categories))  # none hides behind the last
    colours = [looks[category].colour for category in categories[order]]
    size = float(np.clip(4000 / len(categories), 4, 22))
    figure, axes = style.new_figure(
        height=0.5 + 6.2 / max(2, len(unit)), columns=len(unit), sharex=True, sharey=True
    )
    for panel, name, values in zip(axes[0], projections, unit, strict=True):
        points = pca.transform(values)[order].T
        panel.scatter(*points, c=colours, s=size, alpha=0.75, linewidths=0, rasterized=True)
        panel.set(title=style.wrapped(name), xlabel=f"component 1 ({share[0]:.0f} % of variance)")
        panel.set_box_aspect(1)
        panel.locator_params(nbins=5)
    axes[0, 0].set_ylabel(f"component 2 ({share[1]:.0f} %)")
    keys = [
        style.key(f"{look.title} ({sizes[name]:,} segments)", marker="o", color=look.colour)
        for name, look in looks.items()
    ]
    style.legend_below(figure, keys)
    return figure


# --- Results --------------------------------------------------------------------------------------


@style.set_style()
def results(table: pd.DataFrame, metric: str = "song_roc_auc") -> Figure:
    """One metric of every method on every target, with 95 % intervals and both kinds of chance.

    table: from `evaluation.tables.results_table`: target, method, transductive, metric, value, low,
        high, chance, chance_low, chance_high, tracks, labels; shuffled, shuffled_low, shuffled_high
        (the same method trained on shuffled labels) where they are known; rows of
        `evaluation.tables.reference_table` (reference is true) become vertical lines.
    metric: a value of the column metric.
    Returns a panel a target. Hollow: the method has looked at the target's unlabelled audio.
    """
    needed = ["target", "method", "transductive", "metric", "value", "low", "high", "chance"]
    needed += ["chance_low", "chance_high", "tracks", "labels"]
    style.require_columns(table, needed, "results", "it comes from tables.results_table")
    rows = table[table["metric"] == metric]
    if rows.empty:
        found = ", ".join(dict.fromkeys(table["metric"]))
        raise ValueError(f"results: the table has no metric {metric!r}; it has {found}")
    if rows.duplicated(["target", "method"]).any():
        raise ValueError("results: several rows for one target and method; average seeds first")
    is_reference = rows.get("reference", pd.Series(False, rows.index)).eq(True).fillna(False)
    references, rows = rows[is_reference], rows[~is_reference]
    if rows.empty:
        raise ValueError("results: all rows of the table are references; there is no method")
    shuffled = "shuffled" in rows and rows["shuffled"].notna().any()
    methods, targets = (list(dict.fromkeys(rows[column])) for column in ("method", "target"))
    lines = style.series_looks(list(references["method"]), style.COLOURS[1:5], ("-", ":", "-."))
    figure, axes = _method_panels(methods, targets, sharex=metric == "song_roc_auc")
    band = {"color": style.LIGHT_GREY, "alpha": 0.6}
    for panel, target in zip(axes, targets, strict=True):
        part = rows[rows["target"] == target]
        places = part["method"].map(methods.index)
        first = part.iloc[0]
        panel.axvspan(first["chance_low"], first["chance_high"], linewidth=0, **band)
        panel.axvline(first["chance"], **style.CHANCE)
        if shuffled:
            below = places + 0.25
            ends = (part["shuffled_low"], part["shuffled_high"])
            panel.hlines(below, *ends, color=style.GREY, linewidth=2.4)
            panel.plot(part["shuffled"], below, "|", color="black", markersize=5)
        looked = part["transductive"].astype(bool)
        style.intervals(panel, part, places, style.COLOURS[0], hollow=looked)
        for place, value in zip(places, part["value"], strict=True):
            style.beside(panel, place, f"{value:.3f}")
        for row in references[references["target"] == target].itertuples():
            panel.axvline(row.value, linewidth=1.2, zorder=1, **lines[row.method])
        k = "" if pd.isna(first.get("k")) else f", k = {int(first['k'])}"
        _say_size(panel, target, first, k)
        panel.set_xlabel(METRIC_NAMES.get(metric, metric))
    keys = [style.key(f"value, {style.INTERVAL}", **DOT)]
    if rows["transductive"].any():
        text = "has looked at the target's unlabelled audio"
        keys.append(style.key(text, markerfacecolor="white", **DOT))
    keys.append(style.key("chance: random scores", **style.CHANCE))
    keys.append(Patch(label="its 95 % band", **band))
    if shuffled:
        text = "chance: trained on shuffled labels (mean, range)"
        line = {"color": style.GREY, "linestyle": "-", "linewidth": 2.4}
        keys.append(style.key(text, marker="|", markeredgecolor="black", **line))
    for name, look in lines.items():
        values = references.loc[references["method"] == name, "value"]
        shown = " / ".join(f"{value:.3f}" for value in values)
        keys.append(style.key(f"{name} ({shown})", linewidth=1.2, **look))
    style.legend_below(figure, keys)
    return figure


def _method_panels(
    methods: Sequence[str], targets: Sequence[str], sharex: bool = True
) -> tuple[Figure, np.ndarray]:
    """A panel for each target with a row for each method."""
    names = [style.wrapped(method) for method in methods]
    height = 0.24 + 0.1 * max(name.count("\n") for name in names)  # of a row, in inches
    figure, axes = style.new_figure(
        height=1.1 + height * len(methods), columns=len(targets), sharey=True, sharex=sharex
    )
    for panel in axes[0]:
        style.named_rows(panel, names)
    return figure, axes[0]


def _say_size(axes: Axes, target: str, row: pd.Series, more: str = "") -> None:
    """The target as a title, with the tracks and labels that a score was measured on."""
    style.titled(
        axes,
        style.dataset_title(target),
        f"{row['tracks']:,.0f} tracks, {row['labels']:.0f} labels{more}",
    )


@style.set_style()
def ablation_path(table: pd.DataFrame) -> Figure:
    """A score along a path of changes, a panel a target; filled where a step is beyond luck.

    table: from `evaluation.comparisons.path_table`: target, step, value, low, high, p_holm, tracks,
        labels.
    """
    columns = ["target", "step", "value", "low", "high", "p_holm", "tracks", "labels"]
    style.require_columns(table, columns, "ablation_path")
    targets, steps = (list(dict.fromkeys(table[column])) for column in ("target", "step"))
    figure, axes = _method_panels(steps, targets)
    for panel, target in zip(axes, targets, strict=True):
        part = table[table["target"] == target].set_index("step").reindex(steps)
        rows = np.arange(len(steps))
        panel.plot(part["value"], rows, color=style.GREY, linewidth=1, zorder=1)
        hollow = ~(part["p_holm"] < 0.05)  # the first step has no p
        style.intervals(panel, part, rows, style.COLOURS[0], hollow=hollow)
        _say_size(panel, target, part.iloc[0])
        panel.set_xlabel(METRIC_NAMES["song_roc_auc"])
    keys = [
        style.key(f"differs from the step above (p < .05, Holm), {style.INTERVAL}", **DOT),
        style.key("does not", markerfacecolor="white", **DOT),
    ]
    style.legend_below(figure, keys)
    return figure


@style.set_style()
def per_label(table: pd.DataFrame) -> Figure:
    """ROC-AUC of each label, with 95 % intervals, best first; one panel a target.

    table: from `evaluation.tables.per_label_table`: target, method (three a target at most, labels
        sorted by the first), label, tracks, positives, roc_auc, roc_auc_low, roc_auc_high.
    """
    needed = ["target", "method", "label", "tracks", "positives"]
    needed += ["roc_auc", "roc_auc_low", "roc_auc_high"]
    style.require_columns(table, needed, "per_label", "it comes from tables.per_label_table")
    if table.duplicated(["target", "method", "label"]).any():
        raise ValueError("per_label: several rows for one target, method and label")
    most = table.groupby("target")["method"].nunique().max()
    if most > 3:
        raise ValueError(f"per_label: {most} methods for one target are too many to see; pass 3")
    methods = list(dict.fromkeys(table["method"]))
    looks = {name: (style.COLOURS[i % 6], style.MARKERS[i % 6]) for i, name in enumerate(methods)}
    parts = dict(list(table.groupby("target", sort=False)))
    firsts = {
        target: part[part["method"] == part["method"].iloc[0]]
        .sort_values("roc_auc", ascending=False, kind="stable")  # labels without a score come last
        .set_index("label")
        for target, part in parts.items()
    }
    texts = {
        target: [f"{row.Index} ({row.positives:,.0f})" for row in first.itertuples()]
        for target, first in firsts.items()
    }
    figure, panels = style.row_panels(texts, step=0.16 + 0.07 * (most - 1))
    leading = panels[next(iter(parts))]
    for target, part in parts.items():
        panel, first = panels[target], firsts[target]
        if panel is not leading:
            panel.sharex(leading)
        shown = list(dict.fromkeys(part["method"]))
        for place, method in enumerate(shown):
            colour, marker = looks[method]
            scores = part[(part["method"] == method) & part["roc_auc"].notna()]
            rows = first.index.get_indexer(scores["label"]) + 0.3 * (place - (len(shown) - 1) / 2)
            style.intervals(panel, scores, rows, colour, marker, column="roc_auc")
        panel.axvline(0.5, **style.CHANCE)
        for row in np.flatnonzero(first["roc_auc"].isna()):
            where = {"transform": panel.get_yaxis_transform(), "ha": "center", "va": "center"}
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            panel.text(0.5, row, "cannot be scored", fontstyle="italic", bbox=ground, **where)
        tracks = style.count(int(part["tracks"].iloc[0]), "track")
        style.titled(panel, style.dataset_title(target), tracks)
        panel.set_xlabel("ROC-AUC")
    leading.set_ylabel("label (number of tracks that have it)")
    keys = [
        style.key(f"{method}, {style.INTERVAL}", color=colour, marker=marker, linestyle="-")
        for method, (colour, marker) in looks.items()
    ]
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure


@style.set_style()
def sweep_curves(table: pd.DataFrame, axis: str, metric: str = "song ROC-AUC") -> Figure:
    """A metric along a numeric parameter, mean and 95 % interval over seeds; a panel a target.

    table: from `batch.sweeps.seed_table`, of one metric: target, axis, other parameters of the
        configuration, value, low, high, seeds, chance. Configurations that do not have the
        parameter, or one value of it, are horizontal lines.
    axis: name of the column along which to draw.
    """
    needed = ["target", axis, "value", "low", "high", "seeds", "chance"]
    style.require_columns(table, needed, "sweep_curves")
    others = [column for column in table if column not in {*needed, "metric", "tracks"}]
    named = table.assign(series=[_configuration(row) for row in table[others].to_dict("records")])
    looks = style.series_looks(list(dict.fromkeys(named["series"])))
    targets = list(dict.fromkeys(named["target"]))
    figure, axes = style.new_figure(height=3.2, columns=len(targets), sharey=True)
    for panel, target in zip(axes[0], targets, strict=True):
        for series, part in named[named["target"] == target].groupby("series", sort=False):
            look = looks[series]
            part = part.sort_values(axis)
            if part[axis].nunique() < 2:
                panel.axhline(part["value"].iloc[0], **look)
                continue
            style.band(panel, part, axis, marker="o", **look)
        panel.axhline(0.5 if "AUC" in metric else part["chance"].iloc[0], **style.CHANCE)
        seeds = sorted(set(named.loc[named["target"] == target, "seeds"]))
        shown = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        style.titled(panel, style.dataset_title(target), f"mean over {shown} seeds")
        panel.set_xlabel("λ" if axis == "weight" else axis.replace("_", " "))
    axes[0, 0].set_ylabel(metric)
    keys = [style.key(series, **look) for series, look in looks.items()]
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure


@style.set_style()
def learning_curve(table: pd.DataFrame) -> Figure:
    """A score against the number of training tracks, with its range over draws of these tracks.

    table: from `evaluation.comparisons.learning_curve_outcomes`: target, training_tracks, value,
        low, high, draws.
    """
    columns = ["target", "training_tracks", "value", "low", "high", "draws", "tracks"]
    style.require_columns(table, columns, "learning_curve")
    figure, axes = style.new_figure(height=3.2)
    panel = axes[0, 0]
    keys = style.dataset_bands(
        panel, table.rename(columns={"target": "dataset"}), "training_tracks"
    )
    panel.axhline(0.5, **style.CHANCE)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sorted(set(table["training_tracks"].round())))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    panel.minorticks_off()
    panel.set(xlabel="training tracks", ylabel=METRIC_NAMES["song_roc_auc"])
    draws = f"shaded: range over {table['draws'].max()} draws of the training tracks"
    keys += [Patch(facecolor=style.LIGHT_GREY, label=draws), style.key("chance", **style.CHANCE)]
    style.legend_below(figure, keys)
    return figure


def _configuration(settings: Mapping[str, object]) -> str:
    """The settings of a configuration in a few words; those that it does not have left out."""
    words = [
        str(value) if isinstance(value, str) else f"{name} {value}"
        for name, value in settings.items()
        if not pd.isna(value)
    ]
    return ", ".join(word for word in words if word) or "all"
