"""The house style of all figures, and the small parts that they share.

Figures are for print at their natural size: 7.2 inches (two columns) wide, no text below 8 points.
Colours are those of Okabe & Ito (*Color Universal Design*, 2008), which colour-blind readers can
tell apart, and never the only carrier: each dataset has a marker of its own. Grey means
"reference": chance, singletons, what is not the subject.
"""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mer_utils import storage

WIDTH = 7.2  # inches: two columns of a journal
NARROW = 5.2  # inches: still readable on a phone
SMALL = 8  # points
INTERVAL = "95 % interval"

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY, LIGHT_GREY, DARK_GREY = "#8C8C8C", "#D9D9D9", "#4D4D4D"
LINES = ("-", "--", ":", "-.")
MARKERS = "osD^vPX"  # of ways or methods; those of datasets are their own
SEQUENTIAL, DIVERGING = "cividis", "PuOr"  # both safe for colour-blind readers
CHANCE = {"color": DARK_GREY, "linestyle": "--", "linewidth": 1, "label": "chance"}

# a style sheet of matplotlib's, on top of seaborn's "ticks"
_SHEET = mpl.rc_params_from_file(Path(__file__).with_name("house.mplstyle"), False, False)


@contextmanager
def set_style() -> Iterator[None]:
    """The house style, for a block or, as `@set_style()`, for a function."""
    changed = {**seaborn.axes_style("ticks"), **_SHEET}
    # Not mpl.rc_context: it puts back everything, also what a notebook's backend sets for itself
    # when the first figure loads it inside the block; figures would then no longer show.
    before = {name: mpl.rcParams[name] for name in changed}
    mpl.rcParams.update(changed)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG (200 dpi) or what else the ending of `path` says, without a date."""
    kind = Path(path).suffix[1:]
    undated = {"metadata": {"Date": None}} if kind == "svg" else {}
    with storage.replacing(path) as temporary, set_style():
        figure.savefig(temporary, format=kind, **undated)
    figure.set_layout_engine("none")  # it is laid out now; a notebook shows it as it is


# --- Looks and texts ------------------------------------------------------------------------------

_KNOWN = {  # title, marker, colour; of what a probe reads as in `dot_looks`
    "mtg-jamendo": ("MTG-Jamendo", "o", COLOURS[0]),
    "cal500": ("CAL500", "s", COLOURS[1]),
    "emotify": ("Emotify", "^", COLOURS[2]),
    "emotions": ("emotions", "D", COLOURS[3]),
    "audio-emotion-4q": ("4Q audio emotion", "v", COLOURS[4]),
    "mirex-mood": ("MIREX-like mood", "P", COLOURS[5]),
    "valence": ("valence", "o", COLOURS[0]),
    "arousal": ("arousal", "s", COLOURS[1]),
    "tension": ("tension", "D", COLOURS[2]),
}
_DEMO = {"demo-mtg": "mtg-jamendo", "demo-cal500": "cal500", "demo-emotify": "emotify"}


def original(name: str) -> str:
    """The dataset whose vocabulary a dataset of the built-in corpus has; else the name itself."""
    return _DEMO.get(name, name)


def dataset_looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Marker and color of each dataset; a demo dataset has those of its original."""
    others = cycle(zip("X*<>dh", COLOURS[6:] + COLOURS[:5], strict=True))
    looks = {}
    for name in dict.fromkeys(names):
        *_, marker, colour = _KNOWN.get(original(name)) or next(others)
        looks[name] = {"marker": marker, "color": colour}
    return looks


def dataset_title(name: str, number: int | None = None, noun: str = "") -> str:
    """A dataset's name as in the literature, with its size if given: "CAL500 (18 labels)"."""
    title = _KNOWN.get(name, (name,))[0]
    return title if number is None else f"{title} ({count(number, noun)})"


def series_looks(names: Sequence[str], colours: Sequence[str] = COLOURS) -> dict[str, dict]:
    """A color and a linestyle for each of some series, all different as long as they last."""
    looks = [{"color": colour, "linestyle": line} for line, colour in product(LINES, colours)]
    return dict(zip(dict.fromkeys(names), cycle(looks), strict=False))


def dot_looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """A color and a marker for each of some ways or methods, all different up to 42."""
    looks = zip(cycle(COLOURS), cycle(MARKERS[:6]), strict=False)
    return {name: {"color": c, "marker": m} for name, (c, m) in zip(names, looks, strict=False)}


def ink(colour: str) -> str:
    """A colour darkened so that text in it has enough contrast on white."""
    return to_hex(np.array(to_rgb(colour)) * 0.62)


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 label", "2,000 labels"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def wrapped(text: str) -> str:
    """A text in lines of about 40 letters."""
    return textwrap.fill(text, 40, break_long_words=False)


def titled(axes: Axes, title: str, subtitle: str) -> None:
    """A bold title with a plain line below it."""
    axes.set_title(title, pad=18)
    axes.annotate(subtitle, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points")


# --- Names of points ------------------------------------------------------------------------------


def spread(positions: np.ndarray) -> np.ndarray:
    """Points (n, 2) of which none hides another: those too near are pushed apart a little."""
    least = 0.018 * (np.ptp(positions, axis=0).max() or 1.0)
    turn = np.arange(len(positions))  # points in the very same place part in fixed directions
    positions = positions + np.stack([np.cos(turn), np.sin(turn)], axis=1) * 1e-6 * least
    for _ in range(50):
        apart = positions[:, None] - positions[None]  # (n, n, 2)
        distance = np.linalg.norm(apart, axis=-1, keepdims=True)
        push = np.clip(least - distance, 0, None) / 2 / np.maximum(distance, 1e-9 * least)
        positions = positions + (apart * push).sum(axis=1)
    return positions


def place_names(
    axes: Axes, positions: np.ndarray, names: Sequence[str], colours: Sequence[str]
) -> None:
    """Write names beside their points so that no two overlap; the layout is then final.

    Each takes the cheapest of some places round its point, in turn (local search: Christensen,
    Marks & Shieber 1995, ACM Transactions on Graphics 14(3)); a thin line leads to one far away.

    positions: (names, 2) in data units, inside the final limits of the axes.
    """
    axes.figure.draw_without_rendering()
    axes.figure.set_layout_engine("none")
    look = {"ha": "center", "va": "center", "zorder": 5}
    texts = [axes.text(0, 0, n, color=ink(c), **look) for n, c in zip(names, colours, strict=True)]
    halves = np.array([text.get_window_extent().size for text in texts]) / 2  # (names, 2) pixels
    points = axes.transData.transform(positions)  # (names, 2) pixels
    point, line = axes.figure.dpi / 72, 2 * halves[:, 1].mean()  # pixels

    angles = np.deg2rad([0, 30, -30, 150, -150, 180, 90, -90, 60, -60, 120, -120])  # best first
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (12, 2)
    rings = np.array([0, 0.4, 0.9, 1.5, 2.2, 3.0, 4.0, 5.0, 6.5, 8.5])  # lines away
    near = np.clip(2 * directions, -1, 1) * halves[:, None]  # (names, 12, 2) the text's own extent
    away = (5.5 * point + rings[:, None, None] * line) * directions  # (rings, 12, 2)
    places = points[:, None] + (near[:, None] + away).reshape(len(points), -1, 2)
    rims = halves + np.array([1.5 * point, 0])  # with the distance that two texts keep
    reach = rims[:, None, None] + 3.5 * point
    covered = (np.abs(places[:, :, None] - points) < reach).all(-1).sum(-1)  # (names, places)
    inside = (places - halves[:, None] >= axes.bbox.min) & (
        places + halves[:, None] <= axes.bbox.max
    )
    preferred = (rings[:, None] + 0.02 * np.arange(12)).ravel()  # (places,)
    costs = preferred + 12 * covered + 1000 * ~inside.all(-1)  # (names, places)
    chosen, rows = costs.argmin(axis=1), np.arange(len(points))
    for row in np.tile(rows, 15):
        apart = np.abs(places[row][:, None] - places[rows, chosen])  # (places, names, 2)
        crowded = (apart < rims[row] + rims).all(-1) & (rows != row)
        chosen[row] = (costs[row] + 20 * crowded.sum(axis=1)).argmin()

    to_data = axes.transData.inverted().transform
    for text, middle, spot, half in zip(texts, places[rows, chosen], points, halves, strict=True):
        text.set_position(to_data(middle))
        edge = np.clip(spot, middle - half, middle + half)  # of the text, nearest to its point
        if np.linalg.norm(edge - spot) > 1.4 * line:
            ends = to_data([spot, edge])
            axes.plot(*ends.T, color=GREY, linewidth=0.5, zorder=2, scalex=False, scaley=False)


# --- Panels ---------------------------------------------------------------------------------------


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **settings: object
) -> tuple[Figure, np.ndarray]:
    """A figure (inches) and its axes (rows, columns).

    A notebook shows it at the end of its cell. With a backend that only writes files (Agg) pyplot
    does not keep it open: a script may draw any number.
    """
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **settings
    )
    if plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        plt.close(figure)
        FigureCanvasAgg(figure)  # closing took its canvas, on which texts are measured
    return figure, axes


def row_panels(
    rows: Mapping[str, Sequence[str]], step: float, columns: int = 2
) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each name, with a row of about `step` inches for each of its texts.

    columns: at most; two are as equally high as can be, one keeps the order and is NARROW.
    """
    placed: list[list[str]] = [[] for _ in rows][:columns]
    heights = [0.0 for _ in placed]
    for name in sorted(rows, key=lambda name: -len(rows[name])) if len(placed) > 1 else rows:
        shorter = int(np.argmin(heights))
        placed[shorter].append(name)
        heights[shorter] += len(rows[name]) + 1.1 / step  # with a title and an axis
    width = WIDTH if len(placed) > 1 else NARROW
    figure, axes = new_figure(step * max(heights), columns=len(placed), width=width)
    panels = {}
    for frame, column, height in zip(axes[0], placed, heights, strict=True):
        frame.remove()
        ratios = [*(len(rows[name]) for name in column), max(heights) - height + 0.01]
        grid = frame.get_subplotspec().subgridspec(len(ratios), 1, height_ratios=ratios)
        panels |= {name: figure.add_subplot(cell) for name, cell in zip(column, grid, strict=False)}
    for name, panel in panels.items():
        named_rows(panel, rows[name])
    return figure, panels


def named_rows(axes: Axes, names: Sequence[str]) -> None:
    """A row for each name, from top to bottom, with a thin line that leads from the name to it."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=LIGHT_GREY, linewidth=0.5)
    axes.set_axisbelow(True)


# --- What panels show -----------------------------------------------------------------------------


def intervals(
    axes: Axes,
    scores: pd.DataFrame,
    rows: Sequence[float],
    look: Mapping[str, str],
    label: str,
    hollow: Sequence[bool] | bool = False,
    hollow_label: str = "",
) -> None:
    """Dots with their horizontal intervals, one a row, and their legend entries.

    scores: value, low and high. look: color and marker. hollow: which dots are not filled.
    """
    colour = look["color"]
    axes.hlines(rows, scores["low"], scores["high"], color=colour, linewidth=1.6, zorder=3)
    face = np.where(np.broadcast_to(hollow, len(scores)), "white", colour)
    dots = {"facecolors": face, "edgecolors": colour, "linewidths": 1.2, "marker": look["marker"]}
    axes.scatter(scores["value"], rows, s=25, zorder=4, **dots)
    axes.plot([], [], markersize=5, label=f"{label}, {INTERVAL}", **look)
    if np.any(hollow):
        axes.plot([], [], markersize=5, markerfacecolor="white", label=hollow_label, **look)


def band(axes: Axes, part: pd.DataFrame, along: str, **look: object) -> None:
    """A line of values along a column, with its interval shaded."""
    part = part.sort_values(along)
    axes.plot(part[along], part["value"], **look)
    shade = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
    axes.fill_between(part[along], part["low"], part["high"], **shade)


def dataset_bands(axes: Axes, table: pd.DataFrame, along: str, by: str = "dataset") -> None:
    """A line with its interval for each dataset, named in the legend with its tracks."""
    looks = dataset_looks(table[by])
    for name, part in table.groupby(by, sort=False):
        label = dataset_title(name, int(part["tracks"].iloc[0]), "track")
        band(axes, part, along, markersize=4.5, label=label, **looks[name])


def beside(axes: Axes, row: float, text: str) -> None:
    """A text to the right of a row."""
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(text, (1, row), (4, 0), va="center", **where)


def key(label: str, **settings: object) -> Line2D:
    """A legend entry of its own: a marker or a line."""
    return Line2D([], [], **{"linestyle": "none", "label": label, "markersize": 5, **settings})


def dataset_keys(datasets: Sequence[str], noun: str = "label", **look: str) -> list[Line2D]:
    """Legend entries for the datasets that have a name, with how often each is in `datasets`."""
    looks, numbers = dataset_looks(datasets), Counter(datasets)
    return [
        key(dataset_title(name, numbers[name], noun), **{**looks[name], **look})
        for name in filter(None, looks)
    ]


def legend_below(figure: Figure, keys: Sequence[Artist] = ()) -> Figure:
    """The figure with a legend under it, of what has a label in its panels and of `keys`.

    Chance comes last. It has as many columns as find room; the figure grows by it.
    """
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    found |= {key.get_label(): key for key in keys}
    if not found:
        return figure
    labels = sorted(found, key=lambda label: label == "chance")
    widths = [0.058 * len(label) + 0.5 for label in labels]  # inches, about
    columns = len(labels)
    while columns > 1 and sum(map(max, np.array_split(widths, columns))) > figure.get_figwidth():
        columns -= 1
    figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(labels) // columns) + 0.15)
    handles = [found[label] for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    return figure
