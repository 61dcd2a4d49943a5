"""Figures of datasets, of audio and of encoder features. One function, one figure.

Every function returns a matplotlib Figure in the house style (`figures.style`). Where a dataset
of the built-in corpus stands beside the real one whose vocabulary it has, they share a panel: the
real one is filled, the built-in one hollow.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from mer_utils.data.types import Dataset
from mer_utils.figures.style import (
    COLOURS,
    DARK_GREY,
    GREY,
    INTERVAL,
    LIGHT_GREY,
    LINES,
    SEQUENTIAL,
    dataset_looks,
    dataset_title,
    interval,
    key,
    legend_below,
    new_figure,
    original,
    require_columns,
    row_lines,
    row_panels,
    set_style,
    titled,
    wrapped,
)

# --- Datasets -------------------------------------------------------------------------------------


@set_style()
def label_frequencies(datasets: Iterable[Dataset] | Mapping[str, Dataset]) -> Figure:
    """How often each label is given, most frequent first; one panel a vocabulary.

    datasets: with one track or more each.
    """
    groups = _by_vocabulary(datasets)
    shares = {dataset.name: _shares(dataset) for group in groups.values() for dataset in group}
    labels = {name: _most_frequent_first(group, shares) for name, group in groups.items()}
    figure, panels = row_panels(labels, step=0.165, same_scale=False)
    for name, group in groups.items():
        for dataset in group:
            own = [
                (shares[dataset.name][x], row)
                for row, x in enumerate(labels[name])
                if x in shares[dataset.name]
            ]
            values, rows = np.array(own).T
            look = _marker(dataset)
            if dataset is group[0]:
                panels[name].hlines(rows, 0, values, color=look["color"], linewidth=1.2, alpha=0.5)
            panels[name].plot(values, rows, clip_on=False, zorder=4, **look)
        panels[name].set_xlim(left=0)
        panels[name].set_xlabel("share of the tracks (%)")
        titled(panels[name], dataset_title(group[0].name), f"{len(labels[name])} labels")
    legend_below(figure, _dataset_keys(groups))
    return figure


def _by_vocabulary(
    datasets: Iterable[Dataset] | Mapping[str, Dataset],
) -> dict[str, list[Dataset]]:
    """Datasets by the dataset whose vocabulary they have; the real one comes first."""
    datasets = list(datasets.values() if isinstance(datasets, Mapping) else datasets)
    if not datasets:
        raise ValueError("no dataset was given; a figure of datasets needs one or more")
    groups: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        if not len(dataset):
            raise ValueError(f"{dataset.name}: a dataset without tracks cannot be drawn")
        groups.setdefault(original(dataset.name), []).append(dataset)
    return {
        name: sorted(group, key=lambda dataset: dataset.name != name)
        for name, group in groups.items()
    }


def _shares(dataset: Dataset) -> dict[str, float]:
    """Per cent of a dataset's tracks that have each label."""
    return dict(zip(dataset.labels, 100 * dataset.targets().mean(axis=0), strict=True))


def _most_frequent_first(
    group: Sequence[Dataset], shares: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """All labels of a group, by their share in its first dataset; those it lacks come last."""
    labels = dict.fromkeys(label for dataset in group for label in dataset.labels)
    return sorted(labels, key=lambda label: -shares[group[0].name].get(label, -1.0))


def _is_real(dataset: Dataset) -> bool:
    """Whether a dataset is not one of the built-in corpus."""
    return original(dataset.name) == dataset.name


def _marker(dataset: Dataset) -> dict:
    """How a dataset's points are drawn: hollow for the built-in corpus."""
    look = dataset_looks([dataset.name])[dataset.name]
    fill = look.colour if _is_real(dataset) else "white"
    return {
        "marker": look.marker,
        "color": look.colour,
        "markerfacecolor": fill,
        "markersize": 5,
        "markeredgewidth": 1.1,
        "linestyle": "none",
    }


def _dataset_keys(groups: Mapping[str, Sequence[Dataset]]) -> list:
    """Legend entries for datasets, with their number of tracks."""
    return [
        key(f"{dataset_title(dataset.name)} ({len(dataset):,} tracks)", **_marker(dataset))
        for group in groups.values()
        for dataset in group
    ]


@set_style()
def labels_per_track(datasets: Iterable[Dataset] | Mapping[str, Dataset]) -> Figure:
    """How many labels the tracks have; one panel a vocabulary.

    datasets: with one track or more each.
    """
    groups = _by_vocabulary(datasets)
    figure, axes = new_figure(height=2.1, columns=len(groups))
    for panel, group in zip(axes[0], groups.values(), strict=True):
        means = []
        for dataset in group:
            counts = np.bincount(dataset.targets().sum(axis=1))  # (0 … most labels,)
            shares = 100 * counts / counts.sum()
            look = _marker(dataset)
            line = {"linestyle": "-", "linewidth": 1.2, "clip_on": False}
            panel.plot(np.arange(len(shares)), shares, **{**look, **line})
            means.append(f"{counts @ np.arange(len(counts)) / counts.sum():.2f}")
        titled(panel, dataset_title(group[0].name), f"mean {' and '.join(means)}")
        panel.set_xlabel("labels of a track")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=-0.3)
    axes[0, 0].set_ylabel("share of the tracks (%)")
    legend_below(figure, _dataset_keys(groups))
    return figure


@set_style()
def vocabulary_overlap(vocabularies: Mapping[str, Sequence[str]]) -> Figure:
    """Which labels two vocabularies have in common, letter by letter.

    vocabularies: by dataset its labels, two datasets or more.
    Returns a table of pairs: how many labels they share and which; on the diagonal the size of each
    vocabulary. The darker a cell, the larger the share of the smaller vocabulary.
    """
    names = list(vocabularies)
    if len(names) < 2:
        raise ValueError(f"vocabulary_overlap: two vocabularies or more are needed, not {names}")
    size = 1.35  # inches a cell
    figure, axes = new_figure(height=0.6 + 0.8 * len(names), width=1.6 + size * len(names))
    axes = axes[0, 0]
    shares = np.full((len(names), len(names)), np.nan)
    for row, one in enumerate(names):
        for column, other in enumerate(names[:row]):
            common = [label for label in vocabularies[one] if label in set(vocabularies[other])]
            smaller = min(len(vocabularies[one]), len(vocabularies[other]))
            shares[row, column] = 100 * len(common) / smaller
            _write_cell(axes, row, column, common)
        axes.text(row, row, f"{len(vocabularies[one])} labels", ha="center", va="center")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, alpha=0.55, aspect="auto")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=20)
    bar.set_label("share of the smaller vocabulary (%)")
    bar.outline.set_visible(False)
    axes.set_xticks(range(len(names)), [dataset_title(name) for name in names])
    axes.set_yticks(range(len(names)), [dataset_title(name) for name in names])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("labels in common")
    return figure


def _write_cell(axes: Axes, row: int, column: int, common: Sequence[str]) -> None:
    """How many labels are in common, and as many names as there is room for."""
    lines = wrapped(", ".join(common), 20).split("\n")
    text = "\n".join([str(len(common)), *lines[:2]]).strip() + " …" * (len(lines) > 2)
    axes.text(column, row, text, ha="center", va="center")


# --- Audio and features ---------------------------------------------------------------------------


@set_style()
def waveform_and_spectrogram(waveform: np.ndarray, sample_rate: int, title: str = "") -> Figure:
    """A piece of music as it is sampled and as it is heard: amplitude and spectrum over time.

    waveform: (samples,) mono, full scale −1 to 1; at least a tenth of a second.
    sample_rate: in hertz.
    Returns the waveform's range in each moment above its spectrogram: level in dB below the
    loudest point, on a logarithmic frequency axis.
    """
    waveform = np.asarray(waveform, dtype=np.float64)
    if waveform.ndim != 1 or len(waveform) < sample_rate / 10:
        raise ValueError(
            "waveform_and_spectrogram: expected a mono waveform (samples,) of a tenth of a second "
            f"or more, not the shape {waveform.shape} at {sample_rate} Hz"
        )
    figure, axes = new_figure(height=4.0, rows=2, sharex=True, height_ratios=[1, 1.8])
    top, bottom = axes[:, 0]
    seconds = len(waveform) / sample_rate
    moments = np.array_split(waveform, min(1500, len(waveform)))
    middles = (np.arange(len(moments)) + 0.5) * seconds / len(moments)
    low, high = [part.min() for part in moments], [part.max() for part in moments]
    top.fill_between(middles, low, high, color=COLOURS[0], linewidth=0.3, rasterized=True)
    top.set_ylabel("amplitude\n(full scale 1)")
    titled(top, title or "waveform and spectrogram", f"{seconds:.1f} s at {sample_rate:,} Hz")
    times, frequencies, level = _spectrogram(waveform, sample_rate)
    mesh = bottom.pcolormesh(
        times, frequencies, level, cmap=SEQUENTIAL, vmin=-80, vmax=0, rasterized=True
    )
    bottom.set_yscale("log")
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda hertz, _: f"{hertz:,.0f}"))
    bottom.minorticks_off()
    bottom.set(xlabel="time (s)", ylabel="frequency (Hz)", xlim=(0, seconds))
    bar = figure.colorbar(mesh, ax=bottom, aspect=15, pad=0.01)
    bar.set_label("level (dB below peak)")
    bar.outline.set_visible(False)
    return figure


def _spectrogram(
    waveform: np.ndarray, sample_rate: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (t,) in s, frequencies (f,) in Hz above 40, level (f, t) in dB below the loudest."""
    window = 2 ** round(np.log2(sample_rate * 0.08))  # about 80 ms
    hop = max(window // 4, len(waveform) // 1200)  # no more columns than a page can show
    transform = ShortTimeFFT(hann(window, sym=False), hop, sample_rate)
    power = transform.spectrogram(waveform)  # (f, t)
    keep = transform.f > 40
    level = 10 * np.log10(np.maximum(power[keep], 1e-20))
    return transform.t(len(waveform)), transform.f[keep], level - level.max()


@set_style()
def emotion_curve(over_time: pd.DataFrame, segment_seconds: float, title: str = "") -> Figure:
    """How a song's ranks move along its time, a line a label.

    over_time: start (s) and a column of ranks, 0 to 100, for each label, as in
        `predict.Prediction`; at most seven labels.
    segment_seconds: how much music a rank hears from its start on; it stands at the middle.
    """
    require_columns(over_time, ["start"], "emotion_curve", "it comes from predict.predict_song")
    labels = [column for column in over_time if column != "start"]
    if not 0 < len(labels) <= len(COLOURS):
        raise ValueError(
            f"emotion_curve: {len(labels)} labels; it can draw 1 to {len(COLOURS)}, choose some"
        )
    figure, axes = new_figure(height=3.0)
    axes = axes[0, 0]
    middle = over_time["start"] + segment_seconds / 2
    axes.axhline(50, color=GREY, linestyle="--", linewidth=0.9)
    for i, label in enumerate(labels):
        line = {"color": COLOURS[i], "linestyle": LINES[i % len(LINES)], "marker": "osD^vPX"[i]}
        axes.plot(middle, over_time[label], markersize=3.5, **line)
    axes.set(xlabel="time (s)", ylabel="rank in the\nreference set (%)", ylim=(-3, 103))
    titled(axes, title or "emotions along the song", f"each point hears {segment_seconds:g} s")
    order = over_time[labels].mean().sort_values(ascending=False).index
    keys = [
        key(label, color=COLOURS[i], linestyle=LINES[i % len(LINES)], marker="osD^vPX"[i])
        for label in order
        for i in [labels.index(label)]
    ]
    legend_below(figure, [*keys, key("middle of the set", color=GREY, linestyle="--", linewidth=1)])
    return figure


@set_style()
def layer_probe(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """What a linear probe reads out of each layer of an encoder, with 95 % intervals.

    table: layer (0 is the input of the first), value, low, high; dataset, if there are several;
        chance and tracks, if they are known.
    metric: what value is, for the axis.
    Returns one line a dataset; a ring marks its best layer.
    """
    require_columns(table, ["layer", "value", "low", "high"], "layer_probe")
    table = table if "dataset" in table else table.assign(dataset="probe")
    looks = dataset_looks(list(table["dataset"]))
    figure, axes = new_figure(height=2.7, width=5.2)
    axes = axes[0, 0]
    for name, part in table.groupby("dataset", sort=False):
        part = part.sort_values("layer")
        tracks = f" ({part['tracks'].iloc[0]:,} tracks)" if "tracks" in part else ""
        line = {"color": looks[name].colour, "marker": looks[name].marker, "markersize": 4.5}
        axes.plot(part["layer"], part["value"], label=looks[name].title + tracks, **line)
        axes.fill_between(
            part["layer"], part["low"], part["high"], color=line["color"], alpha=0.15, linewidth=0
        )
        best = part.loc[part["value"].idxmax()]
        ring = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": line["color"]}
        axes.plot(best["layer"], best["value"], "o", **ring)
        if "chance" in part:
            axes.axhline(part["chance"].iloc[0], color=GREY, linestyle="--", linewidth=0.9)
    axes.set_xticks(sorted(set(table["layer"])))
    axes.set(xlabel="encoder layer", ylabel=metric)
    keys = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    keys.append(Patch(color=LIGHT_GREY, label=INTERVAL))
    keys.append(
        key("best layer", marker="o", markerfacecolor="none", markersize=9, color=DARK_GREY)
    )
    if "chance" in table:
        keys.append(key("chance", color=GREY, linestyle="--", linewidth=0.9))
    legend_below(figure, keys)
    return figure


@set_style()
def pooling_comparison(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """Ways of pooling an encoder's frames over time, on each dataset, with 95 % intervals.

    table: pooling (such as "first frame" and "mean"), dataset, value, low, high; chance and tracks,
        if they are known.
    metric: what value is, for the axis.
    """
    require_columns(table, ["pooling", "dataset", "value", "low", "high"], "pooling_comparison")
    names = list(dict.fromkeys(table["dataset"]))
    ways = list(dict.fromkeys(table["pooling"]))
    figure, axes = new_figure(height=0.7 + (0.15 + 0.17 * len(ways)) * len(names), width=5.2)
    axes = axes[0, 0]
    shifts = (np.arange(len(ways)) - (len(ways) - 1) / 2) * 0.7 / len(ways)
    titles = []
    for row, name in enumerate(names):
        part = table[table["dataset"] == name]
        tracks = f"\n{part['tracks'].iloc[0]:,} tracks" if "tracks" in part else ""
        titles.append(dataset_title(name) + tracks)
        for score in part.itertuples():
            way = ways.index(score.pooling)
            ends, place = (score.low, score.value, score.high), row + shifts[way]
            interval(axes, *ends, place, COLOURS[way], marker="osD^vP"[way])
        if "chance" in part:
            ends = [row - 0.45, row + 0.45]
            axes.plot([part["chance"].iloc[0]] * 2, ends, color=GREY, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), titles)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(metric)
    row_lines(axes)
    keys = [
        key(f"{way}, {INTERVAL}", color=COLOURS[i], marker="osD^vP"[i], linestyle="-", markersize=5)
        for i, way in enumerate(ways)
    ]
    if "chance" in table:
        keys.append(key("chance", color=GREY, linestyle="--", linewidth=1))
    legend_below(figure, keys)
    return figure
