"""Figures of training and results: curves, projected audio, scores with intervals and chance.

A figure of scores says how many tracks and labels they were measured on, and what chance is.
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

# --- Training -------------------------------------------------------------------------------------


@style.set_style()
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Losses and validation score over the epochs of one or more trainings.

    histories: by method, the table of `projector.train`; closed-form methods have none.
    A dot marks the best epoch, whose weights were kept.
    """
    aligned = [name for name, table in histories.items() if table["alignment"].any()]
    panels = {"triplet": "triplet loss"}
    if aligned:
        panels["alignment"] = "alignment loss (times λ)"
    panels["validation"] = "validation macro ROC-AUC"
    figure, axes = style.new_figure(height=2.2, columns=len(panels))
    looks = style.series_looks(list(histories))
    for panel, (column, title) in zip(axes[0], panels.items(), strict=True):
        for name in aligned if column == "alignment" else histories:
            panel.plot("epoch", column, data=histories[name], label=name, **looks[name])
        panel.set(xlabel="epoch", ylabel=title)
        panel.xaxis.get_major_locator().set_params(integer=True)
    for name, table in histories.items():
        scores = table.set_index("epoch")["validation"]
        if scores.notna().any():
            best = table.attrs.get("best_epoch", scores.idxmax())
            dot = {"color": looks[name]["color"], "markersize": 4.5, "zorder": 4}
            axes[0, -1].plot(best, scores[best], "o", **dot)
    axes[0, -1].axhline(0.5, **style.CHANCE)
    best = style.key("best epoch (weights kept)", marker="o", color=style.DARK_GREY)
    return style.legend_below(figure, [best])


@style.set_style()
def cluster_cosine_bars(table: pd.DataFrame) -> Figure:
    """How near projected audio lies to its own label cluster and to the others, by method.

    table: from `evaluation.tables.cosine_table`, of one target; several rows a method: their mean.
    """
    if len(set(table["target"])) > 1:
        raise ValueError(f"cluster_cosine_bars: one target, not {set(table['target'])}")
    means = table.groupby("method", sort=False)[["within", "between"]].mean()
    figure, [[axes]] = style.new_figure(height=0.9 + 0.34 * len(means))
    rows = np.arange(len(means))
    within, between = style.COLOURS[0], style.COLOURS[4]
    axes.barh(rows - 0.19, means["within"], 0.36, color=within, label="within a label cluster")
    axes.barh(rows + 0.19, means["between"], 0.36, color=between, label="between clusters")
    axes.axvline(0, color=style.DARK_GREY, linewidth=0.8)
    for row, difference in enumerate(means["within"] - means["between"]):
        style.beside(axes, row, f"{difference:.2f}")
    axes.set_title(f"target {style.dataset_title(table['target'].iloc[0])}")
    axes.set_title("difference", loc="right", size=style.SMALL, weight="normal")
    axes.set_xlabel("mean cosine of projected audio")
    style.named_rows(axes, [style.wrapped(method) for method in means.index])
    axes.grid(visible=False)
    return style.legend_below(figure)


@style.set_style()
def projection_map(projections: Mapping[str, np.ndarray], categories: Sequence[str]) -> Figure:
    """Projected audio in two dimensions, one panel a model, such as before and after alignment.

    projections: by panel title, (n, d) each, the same segments in the same order.
    categories: (n,) the dataset of each segment.
    The axes are the principal components of all projections together, at unit length.
    """
    categories = [str(category) for category in categories]
    unit = [normalize(np.asarray(values, dtype=np.float64)) for values in projections.values()]
    if {len(values) for values in unit} != {len(categories)}:
        raise ValueError(f"projection_map: {len(categories)} categories need as many projections")
    pca = PCA(2).fit(np.concatenate(unit))
    share = pca.explained_variance_ratio_ * 100
    looks = style.dataset_looks(categories)
    order = np.random.default_rng(0).permutation(len(categories))  # none hides behind the last
    colours = [looks[categories[i]]["color"] for i in order]
    dots = {"c": colours, "s": np.clip(4000 / len(categories), 4, 22), "alpha": 0.75}
    figure, axes = style.new_figure(
        height=0.5 + 6.2 / max(2, len(unit)), columns=len(unit), sharex=True, sharey=True
    )
    for panel, name, values in zip(axes[0], projections, unit, strict=True):
        panel.scatter(*pca.transform(values)[order].T, linewidths=0, rasterized=True, **dots)
        panel.set(title=style.wrapped(name), xlabel=f"component 1 ({share[0]:.0f} % of variance)")
        panel.set_box_aspect(1)
        panel.locator_params(nbins=5)
    axes[0, 0].set_ylabel(f"component 2 ({share[1]:.0f} %)")
    return style.legend_below(figure, style.dataset_keys(categories, "segment", marker="o"))


# --- Results --------------------------------------------------------------------------------------


@style.set_style()
def results(table: pd.DataFrame, metric: str = "song_roc_auc") -> Figure:
    """One metric of every method on every target, with 95 % intervals and both kinds of chance.

    table: from `evaluation.tables.results_table`, with shuffled, shuffled_low and shuffled_high
        (the same method trained on shuffled labels) where they are known; rows of
        `evaluation.tables.reference_table` (reference is true) become vertical lines.
    """
    table = table[table["metric"] == metric]
    reference = table.get("reference", pd.Series(False, table.index)).eq(True).fillna(False)
    references, rows = table[reference], table[~reference]
    shuffled = "shuffled" in rows and rows["shuffled"].notna().any()
    lines = style.series_looks(list(references["method"]), style.COLOURS[1:5])
    figure, panels = _score_panels(rows, "method", metric)
    band = {"color": style.LIGHT_GREY, "alpha": 0.6, "linewidth": 0, "label": "its 95 % band"}
    spread = {"color": style.GREY, "linewidth": 2.4, "linestyle": "-"}
    for panel, target, part in panels:
        first = part.iloc[0]
        panel.axvline(first["chance"], **{**style.CHANCE, "label": "chance: random scores"})
        panel.axvspan(first["chance_low"], first["chance_high"], zorder=0.9, **band)
        if shuffled:
            below = part["row"] + 0.25
            panel.hlines(below, part["shuffled_low"], part["shuffled_high"], **spread)
            panel.plot(part["shuffled"], below, "|", color="black", markersize=5)
        for row, value in zip(part["row"], part["value"], strict=True):
            style.beside(panel, row, f"{value:.3f}")
        for line in references[references["target"] == target].itertuples():
            panel.axvline(line.value, linewidth=1.2, zorder=1, **lines[line.method])
    keys = []
    if shuffled:
        text = "chance: trained on shuffled labels (mean, range)"
        keys.append(style.key(text, marker="|", markeredgecolor="black", **spread))
    for name, values in references.groupby("method", sort=False)["value"]:
        text = f"{name} ({' / '.join(f'{value:.3f}' for value in values)})"
        keys.append(style.key(text, linewidth=1.2, **lines[name]))
    return style.legend_below(figure, keys)


@style.set_style()
def ablation_path(table: pd.DataFrame) -> Figure:
    """A score along a path of changes, a panel a target; filled where a step is beyond luck.

    table: from `evaluation.comparisons.path_table`.
    """
    hollow = ~(table["p_holm"] < 0.05)  # the first step has no p
    legend = "differs from the step above (p < .05, Holm)", "does not"
    figure, panels = _score_panels(table, "step", hollow=hollow, legend=legend)
    for panel, _, part in panels:
        part = part.sort_values("row")
        panel.plot(part["value"], part["row"], color=style.GREY, linewidth=1, zorder=1)
    return style.legend_below(figure)


@style.set_style()
def variants(table: pd.DataFrame, by: str, colour: str = "") -> Figure:
    """Song ROC-AUC of one method in several variants, with 95 % intervals; a panel a target.

    table: from `evaluation.comparisons`, such as `text_table`.
    by: the column with a row for each value; colour: one with a colour for each, if there is one.
    """
    figure, panels = _score_panels(table, by, colour=colour)
    for panel, _, _ in panels:
        panel.axvline(0.5, **style.CHANCE)
    return style.legend_below(figure)


def _score_panels(
    table: pd.DataFrame,
    by: str,
    metric: str = "song_roc_auc",
    colour: str = "",
    hollow: pd.Series | bool = False,
    legend: tuple[str, str] = ("value", ""),
    columns: int = 1,
    step: float = 0.0,
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """Scores with intervals: a panel for each target, with its values of `by`.

    colour: the column with a colour for each value, if there is one.
    hollow: which dots are not filled; legend: what filled and what hollow dots are.
    columns: of panels; step: inches from row to row, 0 is what the texts need.
    Returns the table's parts with a column row.
    """
    series = table[colour] if colour else pd.Series(legend[0], table.index)
    table = table.assign(series=series, hollow=hollow)
    parts = dict(list(table.groupby("target", sort=False)))
    names = {target: list(part[by].unique()) for target, part in parts.items()}
    texts = {target: [style.wrapped(name) for name in own] for target, own in names.items()}
    lines = 1 + max(text.count("\n") for own in texts.values() for text in own)
    looks = style.dot_looks(series.unique())
    step = step or max(0.06 + 0.13 * lines, 0.07 + 0.13 * len(looks))
    figure, panels = style.row_panels(texts, step, columns)
    first = panels[next(iter(parts))]
    found = []
    for target, part in parts.items():
        panel, part = panels[target], part.assign(row=part[by].map(names[target].index))
        if metric == "song_roc_auc" and panel is not first:
            panel.sharex(first)
        there = part["series"].unique()
        for place, name in enumerate(there):
            own = part[(part["series"] == name) & part["value"].notna()]
            rows = own["row"] + 0.6 / len(there) * (place - (len(there) - 1) / 2)
            style.intervals(panel, own, rows, looks[name], name, own["hollow"], legend[1])
        sizes = f"{part['tracks'].iloc[0]:,.0f} tracks"
        for column, text in {"labels": ", {:.0f} labels", "k": ", k = {:.0f}"}.items():
            number = part.iloc[0].get(column)
            sizes += "" if pd.isna(number) else text.format(number)
        style.titled(panel, style.dataset_title(target), sizes)
        found.append((panel, target, part))
    panel.set_xlabel(METRIC_NAMES.get(metric, metric).replace("\n", " "))
    return figure, found


@style.set_style()
def per_label(table: pd.DataFrame) -> Figure:
    """ROC-AUC of each label, with 95 % intervals, best first; one panel a target.

    table: from `evaluation.tables.per_label_table`, three methods a target at most; labels are
        sorted by the first. A star marks a word that another dataset has too.
    """
    names = {"roc_auc": "value", "roc_auc_low": "low", "roc_auc_high": "high"}
    table = table.rename(columns=names)
    star, given = np.where(table["seen"], "* ", ""), table["positives"].map(" ({:,.0f})".format)
    first = table["method"] == table.groupby("target")["method"].transform("first")
    best = table["value"].where(first).groupby([table["target"], table["label"]]).transform("first")
    table = table.assign(text=star + table["label"] + given, best=best)
    # of a target the labels by their best; those without a score come last
    by_target = table.groupby("target", sort=False)
    parts = [own.sort_values("best", ascending=False, kind="stable") for _, own in by_target]
    step = 0.16 + 0.07 * (by_target["method"].nunique().max() - 1)  # inches
    figure, panels = _score_panels(pd.concat(parts), "text", colour="method", columns=2, step=step)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for panel, _, part in panels:
        panel.axvline(0.5, **style.CHANCE)
        where = {"transform": panel.get_yaxis_transform(), "ha": "center", "va": "center"}
        for row in part["row"][part["best"].isna()].unique():
            panel.text(0.5, row, "cannot be scored", fontstyle="italic", bbox=ground, **where)
        panel.set_xlabel("ROC-AUC")
    panels[0][0].set_ylabel(
        "label (number of tracks that have it); * a word of another dataset too"
    )
    return style.legend_below(figure)


@style.set_style()
def sweep_curves(table: pd.DataFrame, axis: str) -> Figure:
    """ROC-AUC along a numeric parameter, mean and 95 % interval over seeds; a panel a target.

    table: from `batch.sweeps.seed_table`, rows of song_roc_auc. Configurations that do not have the
        parameter, or one value of it, are horizontal lines.
    axis: the parameter, a column.
    """
    shown = ("target", axis, "value", "low", "high", "seeds", "chance", "metric", "tracks")
    others = [column for column in table if column not in shown]
    series = [_configuration(row) for row in table[others].to_dict("records")]
    looks = style.series_looks(series)
    parts = table.assign(series=series).groupby("target", sort=False)
    figure, axes = style.new_figure(height=3.2, columns=len(parts), sharey=True)
    for panel, (target, part) in zip(axes[0], parts, strict=True):
        for name, points in part.groupby("series", sort=False):
            if points[axis].nunique() < 2:
                level = points.sort_values(axis)["value"].iloc[0]
                panel.axhline(level, label=name, **looks[name])
            else:
                style.band(panel, points, axis, marker="o", label=name, **looks[name])
        panel.axhline(0.5, **style.CHANCE)
        seeds = " to ".join(map(str, sorted({part["seeds"].min(), part["seeds"].max()})))
        style.titled(panel, style.dataset_title(target), f"mean over {seeds} seeds")
        panel.set_xlabel("λ" if axis == "weight" else axis.replace("_", " "))
    axes[0, 0].set_ylabel("song ROC-AUC")
    return style.legend_below(figure)


def _configuration(settings: Mapping[str, object]) -> str:
    """The settings of a configuration in a few words; those that it does not have left out."""
    words = [
        str(value) if isinstance(value, str) else f"{name} {value}"
        for name, value in settings.items()
        if not pd.isna(value)
    ]
    return ", ".join(filter(None, words)) or "all"


@style.set_style()
def learning_curve(table: pd.DataFrame) -> Figure:
    """A score against the number of training tracks, with its range over draws of these tracks.

    table: from `evaluation.comparisons.learning_curve_outcomes`.
    """
    figure, [[panel]] = style.new_figure(height=3.2)
    style.dataset_bands(panel, table, "training_tracks", by="target")
    panel.axhline(0.5, **style.CHANCE)
    panel.set_xscale("log", base=2)
    ends = np.log2(table["training_tracks"].agg(["min", "max"]))
    panel.set_xticks((2 ** np.linspace(*ends, 5)).round())
    panel.xaxis.set_major_formatter("{x:.0f}")
    panel.minorticks_off()
    panel.set(xlabel="training tracks", ylabel=METRIC_NAMES["song_roc_auc"])
    draws = f"shaded: range over {table['draws'].max()} draws of the training tracks"
    return style.legend_below(figure, [Patch(facecolor=style.LIGHT_GREY, label=draws)])
