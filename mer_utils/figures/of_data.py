"""Figures of datasets, of audio and of encoder features. One function, one figure.

Every function returns a matplotlib Figure in the house style (`figures.style`). Where a dataset
of the built-in corpus stands beside the real one whose vocabulary it has, they share a panel: the
real one is filled, the built-in one hollow.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from mer_utils.data.types import Dataset
from mer_utils.figures import style

# --- Datasets -------------------------------------------------------------------------------------


@style.set_style()
def label_frequencies(datasets: Mapping[str, Dataset]) -> Figure:
    """How often each label is given, most frequent first; one panel a vocabulary.

    datasets: by name, with one track or more each.
    """
    groups = _by_vocabulary(datasets)
    shares = {}  # by vocabulary a table of per cents (labels, datasets)
    for name, group in groups.items():
        columns = {d.name: pd.Series(100 * d.targets().mean(axis=0), d.labels) for d in group}
        shares[name] = pd.DataFrame(columns).sort_values(group[0].name, ascending=False)
    figure, panels = style.row_panels(
        {name: list(t.index) for name, t in shares.items()}, step=0.165
    )
    for name, group in groups.items():
        panel, table = panels[name], shares[name]
        rows = np.arange(len(table))
        line = {"color": _marker(group[0])["color"], "linewidth": 1.2, "alpha": 0.5}
        panel.hlines(rows, 0, table[group[0].name], **line)
        for dataset in group:
            panel.plot(table[dataset.name], rows, clip_on=False, zorder=4, **_marker(dataset))
        panel.set_xlim(left=0)
        panel.set_xlabel("share of the tracks (%)")
        style.titled(panel, style.dataset_title(group[0].name), f"{len(table)} labels")
    style.legend_below(figure, _dataset_keys(groups))
    return figure


def _by_vocabulary(datasets: Mapping[str, Dataset]) -> dict[str, list[Dataset]]:
    """Datasets by the dataset whose vocabulary they have; the real one comes first."""
    if not datasets:
        raise ValueError("no dataset was given; a figure of datasets needs one or more")
    groups: dict[str, list[Dataset]] = {}
    for dataset in sorted(datasets.values(), key=lambda d: style.original(d.name) != d.name):
        if not len(dataset):
            raise ValueError(f"{dataset.name}: a dataset without tracks cannot be drawn")
        groups.setdefault(style.original(dataset.name), []).append(dataset)
    return groups


def _marker(dataset: Dataset) -> dict:
    """How a dataset's points are drawn: hollow for the built-in corpus."""
    look = style.dataset_looks([dataset.name])[dataset.name]
    fill = look.colour if style.original(dataset.name) == dataset.name else "white"
    dot = {"markersize": 5, "markeredgewidth": 1.1, "markerfacecolor": fill}
    return {"marker": look.marker, "color": look.colour, "linestyle": "none", **dot}


def _dataset_keys(groups: Mapping[str, Sequence[Dataset]]) -> list:
    """Legend entries for datasets, with their number of tracks."""
    return [
        style.key(
            f"{style.dataset_title(dataset.name)} ({len(dataset):,} tracks)", **_marker(dataset)
        )
        for group in groups.values()
        for dataset in group
    ]


@style.set_style()
def labels_per_track(datasets: Mapping[str, Dataset]) -> Figure:
    """How many labels the tracks have; one panel a vocabulary.

    datasets: by name, with one track or more each.
    """
    groups = _by_vocabulary(datasets)
    figure, axes = style.new_figure(height=2.1, columns=len(groups))
    for panel, group in zip(axes[0], groups.values(), strict=True):
        means = []
        for dataset in group:
            labels = dataset.targets().sum(axis=1)  # (tracks,)
            shares = 100 * np.bincount(labels) / len(labels)  # (0 … most labels,)
            line = {"linestyle": "-", "linewidth": 1.2, "clip_on": False}
            panel.plot(np.arange(len(shares)), shares, **{**_marker(dataset), **line})
            means.append(f"{labels.mean():.2f}")
        style.titled(panel, style.dataset_title(group[0].name), f"mean {' and '.join(means)}")
        panel.set_xlabel("labels of a track")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_ylim(bottom=0)
        panel.set_xlim(left=-0.3)
    axes[0, 0].set_ylabel("share of the tracks (%)")
    style.legend_below(figure, _dataset_keys(groups))
    return figure


@style.set_style()
def vocabulary_overlap(vocabularies: Mapping[str, Sequence[str]]) -> Figure:
    """Which labels two vocabularies have in common, letter by letter.

    vocabularies: by dataset its labels, two datasets or more.
    Returns a table of pairs: how many labels they share and which; on the diagonal the size of each
    vocabulary. The darker a cell, the larger the share of the smaller vocabulary.
    """
    names = list(vocabularies)
    if len(names) < 2:
        raise ValueError(f"vocabulary_overlap: two vocabularies or more are needed, not {names}")
    shares = np.full((len(names), len(names)), np.nan)
    texts = np.full(shares.shape, "", dtype=object)
    for row, one in enumerate(names):
        texts[row, row] = f"{len(vocabularies[one])} labels"
        for column, other in enumerate(names[:row]):
            common = [label for label in vocabularies[one] if label in set(vocabularies[other])]
            smaller = min(len(vocabularies[one]), len(vocabularies[other]))
            shares[row, column] = 100 * len(common) / smaller
            lines = style.wrapped(", ".join(common), 20).split("\n")  # as many as there is room for
            cell = "\n".join([str(len(common)), *lines[:2]]).strip()
            texts[row, column] = cell + " …" * (len(lines) > 2)
    figure, axes = style.new_figure(height=0.6 + 0.8 * len(names), width=1.6 + 1.35 * len(names))
    titles = [style.dataset_title(name) for name in names]
    seaborn.heatmap(
        pd.DataFrame(shares, titles, titles).fillna(0),
        mask=np.triu(np.ones(shares.shape, dtype=bool)),
        vmin=0,
        vmax=100,
        cmap=seaborn.light_palette(style.COLOURS[0], as_cmap=True),
        alpha=0.55,
        cbar_kws={"shrink": 0.8, "aspect": 20, "label": "share of the smaller vocabulary (%)"},
        ax=axes[0, 0],
    )
    for (row, column), text in np.ndenumerate(texts):
        axes[0, 0].text(column + 0.5, row + 0.5, text, ha="center", va="center")
    axes[0, 0].tick_params(length=0)
    axes[0, 0].tick_params(axis="y", rotation=0)
    axes[0, 0].set_title("labels in common")
    return figure


# --- Audio and features ---------------------------------------------------------------------------


@style.set_style()
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
    figure, axes = style.new_figure(height=4.0, rows=2, sharex=True, height_ratios=[1, 1.8])
    top, bottom = axes[:, 0]
    seconds = len(waveform) / sample_rate
    moments = np.array_split(waveform, min(1500, len(waveform)))
    middles = (np.arange(len(moments)) + 0.5) * seconds / len(moments)
    low, high = [part.min() for part in moments], [part.max() for part in moments]
    top.fill_between(middles, low, high, color=style.COLOURS[0], linewidth=0.3, rasterized=True)
    top.set_ylabel("amplitude\n(full scale 1)")
    style.titled(top, title or "waveform and spectrogram", f"{seconds:.1f} s at {sample_rate:,} Hz")
    times, frequencies, level = _spectrogram(waveform, sample_rate)
    mesh = bottom.pcolormesh(
        times, frequencies, level, cmap=style.SEQUENTIAL, vmin=-80, vmax=0, rasterized=True
    )
    bottom.set_yscale("log")
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda hertz, _: f"{hertz:,.0f}"))
    bottom.minorticks_off()
    bottom.set(xlabel="time (s)", ylabel="frequency (Hz)", xlim=(0, seconds))
    figure.colorbar(mesh, ax=bottom, aspect=15, pad=0.01, label="level (dB below peak)")
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


@style.set_style()
def emotion_curve(over_time: pd.DataFrame, segment_seconds: float, title: str = "") -> Figure:
    """How a song's ranks move along its time, a line a label.

    over_time: start (s) and a column of ranks, 0 to 100, for each label, as in
        `predict.zero_shot.Prediction`; at most seven labels.
    segment_seconds: how much music a rank hears from its start on; it stands at the middle.
    """
    style.require_columns(
        over_time, ["start"], "emotion_curve", "it comes from predict.predict_song"
    )
    labels = [column for column in over_time if column != "start"]
    if not 0 < len(labels) <= len(style.COLOURS):
        raise ValueError(f"emotion_curve: {len(labels)} labels; choose 1 to {len(style.COLOURS)}")
    figure, axes = style.new_figure(height=3.0)
    axes = axes[0, 0]
    middle = over_time["start"] + segment_seconds / 2
    middle_of_set = {**style.CHANCE, "label": "middle of the set"}
    handles = [axes.axhline(50, **middle_of_set)]
    looks = style.series_looks(labels)
    for label in over_time[labels].mean().sort_values().index:  # the highest is named first
        i = labels.index(label)
        look = {**looks[label], "marker": style.MARKERS[i], "markersize": 3.5, "label": label}
        handles += axes.plot(middle, over_time[label], **look)
    axes.set(xlabel="time (s)", ylabel="rank in the\nreference set (%)", ylim=(-3, 103))
    style.titled(
        axes, title or "emotions along the song", f"each point hears {segment_seconds:g} s"
    )
    style.legend_below(figure, handles[::-1])
    return figure


@style.set_style()
def layer_probe(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """What a linear probe reads out of each layer of an encoder, with 95 % intervals.

    table: layer (0 is the input of the first), dataset, value, low, high, chance, tracks.
    metric: what value is, for the axis.
    Returns one line a dataset; a ring marks its best layer.
    """
    needed = ["layer", "dataset", "value", "low", "high", "chance", "tracks"]
    style.require_columns(table, needed, "layer_probe")
    figure, axes = style.new_figure(height=2.7, width=5.2)
    axes = axes[0, 0]
    keys = style.dataset_bands(axes, table, "layer")
    for name, look in style.dataset_looks(table["dataset"]).items():
        part = table[table["dataset"] == name].reset_index()
        best = part.loc[part["value"].idxmax()]
        axes.plot(best["layer"], best["value"], **_RING, color=look.colour)
        axes.axhline(best["chance"], **style.CHANCE)
    axes.set_xticks(sorted(set(table["layer"])))
    axes.set(xlabel="encoder layer", ylabel=metric)
    keys.append(Patch(color=style.LIGHT_GREY, label=style.INTERVAL))
    keys.append(style.key("best layer", **_RING, color=style.DARK_GREY))
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure


_RING = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}


@style.set_style()
def pooling_comparison(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """Ways of pooling an encoder's frames over time, on each dataset, with 95 % intervals.

    table: pooling (such as "first frame" and "mean"; six at most), dataset, value, low, high,
        chance, tracks.
    metric: what value is, for the axis.
    """
    needed = ["pooling", "dataset", "value", "low", "high", "chance", "tracks"]
    style.require_columns(table, needed, "pooling_comparison")
    names, ways = (list(dict.fromkeys(table[column])) for column in ("dataset", "pooling"))
    tracks = table.groupby("dataset")["tracks"].first()
    titles = [f"{style.dataset_title(name)}\n{tracks[name]:,} tracks" for name in names]
    figure, axes = style.new_figure(height=0.7 + (0.15 + 0.17 * len(ways)) * len(names), width=5.2)
    axes, keys = axes[0, 0], []
    for i, way in enumerate(ways):
        part = table[table["pooling"] == way]
        rows = part["dataset"].map(names.index) + (i - (len(ways) - 1) / 2) * 0.7 / len(ways)
        style.intervals(axes, part, rows, style.COLOURS[i], style.MARKERS[i])
        look = {"color": style.COLOURS[i], "marker": style.MARKERS[i], "linestyle": "-"}
        keys.append(style.key(f"{way}, {style.INTERVAL}", **look))
    rows = table["dataset"].map(names.index)
    axes.vlines(table["chance"], rows - 0.45, rows + 0.45, **style.CHANCE)
    style.named_rows(axes, titles)
    axes.set_xlabel(metric)
    style.legend_below(figure, [*keys, style.key("chance", **style.CHANCE)])
    return figure
