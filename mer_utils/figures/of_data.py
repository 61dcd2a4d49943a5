"""Figures of datasets, of audio and of encoder features."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.signal import ShortTimeFFT

from mer_utils.data.types import Dataset
from mer_utils.figures import style


@style.set_style()
def label_frequencies(datasets: Mapping[str, Dataset]) -> Figure:
    """How often each label is given, most frequent first; one panel a vocabulary.

    A dataset of the built-in corpus, drawn hollow, shares the panel of the real one whose
    vocabulary it has.
    """
    groups: dict[str, list[Dataset]] = {}  # by vocabulary; the real dataset comes first
    for dataset in sorted(datasets.values(), key=lambda d: style.original(d.name) != d.name):
        groups.setdefault(style.original(dataset.name), []).append(dataset)
    shares = {}  # by vocabulary a table of per cents (labels, datasets)
    for name, group in groups.items():
        columns = {d.name: pd.Series(100 * d.targets().mean(axis=0), d.labels) for d in group}
        shares[name] = pd.DataFrame(columns).sort_values(group[0].name, ascending=False)
    figure, panels = style.row_panels(
        {name: list(table.index) for name, table in shares.items()}, step=0.165
    )
    for name, group in groups.items():
        panel, table = panels[name], shares[name]
        rows = np.arange(len(table))
        look = style.dataset_looks([name])[name]
        panel.hlines(rows, 0, table.iloc[:, 0], color=look["color"], linewidth=1.2, alpha=0.5)
        for dataset in group:
            dots = {**look, "linestyle": "none", "markersize": 5, "markeredgewidth": 1.1}
            if dataset.name != name:
                dots["markerfacecolor"] = "white"
            label = style.dataset_title(dataset.name, len(dataset), "track")
            panel.plot(table[dataset.name], rows, label=label, clip_on=False, zorder=4, **dots)
        panel.set_xlim(left=0)
        panel.set_xlabel("share of the tracks (%)")
        style.titled(panel, style.dataset_title(group[0].name), f"{len(table)} labels")
    return style.legend_below(figure)


@style.set_style()
def waveform_and_spectrogram(waveform: np.ndarray, sample_rate: int, title: str) -> Figure:
    """A piece of music as it is sampled and as it is heard: amplitude and spectrum over time.

    waveform: (samples,) mono, full scale −1 to 1; at least a tenth of a second. sample_rate: in Hz.
    """
    figure, axes = style.new_figure(height=4.0, rows=2, sharex=True, height_ratios=[1, 1.8])
    top, bottom = axes[:, 0]
    seconds = len(waveform) / sample_rate
    top.plot(np.arange(len(waveform)) / sample_rate, waveform, linewidth=0.5, rasterized=True)
    top.set_ylabel("amplitude\n(full scale 1)")
    style.titled(top, title, f"{seconds:.1f} s at {sample_rate:,} Hz")
    window = 2 ** round(np.log2(sample_rate * 0.08))  # about 80 ms
    hop = max(window // 4, len(waveform) // 1200)  # no more columns than a page can show
    transform = ShortTimeFFT.from_window("hann", sample_rate, window, window - hop)
    heard = transform.f > 40  # Hz
    power = transform.spectrogram(np.asarray(waveform, np.float64))[heard]  # (frequencies, times)
    level = 10 * np.log10(np.maximum(power, 1e-20))
    grid = transform.t(len(waveform)), transform.f[heard], level - level.max()
    look = {"cmap": style.SEQUENTIAL, "vmin": -80, "vmax": 0, "rasterized": True}
    mesh = bottom.pcolormesh(*grid, **look)
    bottom.set(yscale="log", xlim=(0, seconds))
    bottom.set(xlabel="time (s)", ylabel="frequency (Hz)")
    bottom.yaxis.set_major_formatter("{x:,.0f}")
    bottom.minorticks_off()
    figure.colorbar(mesh, ax=bottom, aspect=15, pad=0.01, label="level (dB below peak)")
    return figure


@style.set_style()
def self_similarity(states: Mapping[str, np.ndarray], seconds: float) -> Figure:
    """Which moments of a segment an encoder's hidden states find alike; a square a state.

    states: (frames, dim) by name; seconds: how long the frames last together. Frames are averaged
        to moments of a tenth of a second and what all have in common, their mean, is taken out.
    """
    alike = {}  # by name (moments, moments), cosines
    for name, frames in states.items():
        parts = np.array_split(frames, min(len(frames), round(10 * seconds)))
        moments = np.stack([part.mean(0) for part in parts])  # (moments, dim)
        moments = moments - moments.mean(0)
        moments /= np.linalg.norm(moments, axis=1, keepdims=True) + 1e-12
        alike[name] = moments @ moments.T
    height = 0.75 + 5.1 / len(alike)  # of squares, so that the colour bar is as high as they are
    figure, [axes] = style.new_figure(height, columns=len(alike), sharey=True)
    others = np.abs([square[np.tril_indices(len(square), -1)] for square in alike.values()])
    limit = np.quantile(others, 0.99)  # the diagonal is 1 by itself
    look = {"cmap": style.DIVERGING, "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    for panel, (name, square) in zip(axes, alike.items(), strict=True):
        image = panel.imshow(square, extent=(0, seconds, seconds, 0), **look)
        panel.set(title=name, xlabel="time (s)")
    axes[0].set_ylabel("time (s)")
    figure.colorbar(image, ax=list(axes), aspect=15, pad=0.01, label="cosine of two moments")
    return figure


@style.set_style()
def emotion_curve(over_time: pd.DataFrame, segment_seconds: float, title: str) -> Figure:
    """How a song's ranks move along its time, a line a label.

    over_time: ranks, 0 to 100, of each label, indexed by start, s (`predict.zero_shot.Prediction`).
    segment_seconds: how much music a rank hears from its start on; it stands at the middle.
    """
    figure, [[panel]] = style.new_figure(height=3.0)
    looks = style.series_looks(list(over_time))
    for label in over_time.mean().sort_values(ascending=False).index:
        marker = style.MARKERS[over_time.columns.get_loc(label) % len(style.MARKERS)]
        look = {**looks[label], "marker": marker, "markersize": 3.5, "label": label}
        panel.plot(over_time.index + segment_seconds / 2, over_time[label], **look)
    panel.axhline(50, **{**style.CHANCE, "label": "middle of the set", "zorder": 1})
    panel.set(xlabel="time (s)", ylabel="rank in the\nreference set (%)", ylim=(-3, 103))
    style.titled(panel, title, f"each point hears {segment_seconds:g} s")
    return style.legend_below(figure)


@style.set_style()
def layer_probe(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """What a linear probe reads out of each layer of an encoder, with 95 % intervals.

    table: layer (0 is the input of the first), dataset, value, low, high, chance, tracks.
    metric: what value is, for the axis. A ring marks a dataset's best layer.
    """
    figure, [[panel]] = style.new_figure(height=2.7, width=style.NARROW)
    ring = {"marker": "o", "markersize": 11, "markerfacecolor": "none"}
    style.dataset_bands(panel, table, "layer")
    looks = style.dataset_looks(table["dataset"])
    for name, part in table.groupby("dataset", sort=False):
        best = part.nlargest(1, "value")
        panel.plot(best["layer"], best["value"], color=looks[name]["color"], **ring)
        panel.axhline(part["chance"].iloc[0], **style.CHANCE)
    panel.set_xticks(sorted(set(table["layer"])))
    panel.set(xlabel="encoder layer", ylabel=metric)
    shade = Patch(color=style.LIGHT_GREY, label=style.INTERVAL)
    return style.legend_below(
        figure, [shade, style.key("best layer", color=style.DARK_GREY, **ring)]
    )


@style.set_style()
def pooling_comparison(table: pd.DataFrame, metric: str = "macro ROC-AUC") -> Figure:
    """Ways of pooling an encoder's frames over time, on each dataset, with 95 % intervals.

    table: pooling (such as "first frame" and "mean"), dataset, value, low, high, chance, tracks.
    metric: what value is, for the axis.
    """
    tracks = table.groupby("dataset", sort=False)["tracks"].first()
    looks = style.dot_looks(table["pooling"].unique())
    height = 0.7 + (0.15 + 0.17 * len(looks)) * len(tracks)
    figure, [[panel]] = style.new_figure(height, width=style.NARROW)
    rows = tracks.index.get_indexer(table["dataset"])
    for i, (way, look) in enumerate(looks.items()):
        here = table["pooling"] == way
        places = rows[here] + (i - (len(looks) - 1) / 2) * 0.7 / len(looks)
        style.intervals(panel, table[here], places, look, way)
    panel.vlines(table["chance"], rows - 0.45, rows + 0.45, **style.CHANCE)
    titles = [f"{style.dataset_title(name)}\n{number:,} tracks" for name, number in tracks.items()]
    style.named_rows(panel, titles)
    panel.set_xlabel(metric)
    return style.legend_below(figure)
