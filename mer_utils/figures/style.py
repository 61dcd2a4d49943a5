"""The house style of all figures, and the small parts that they share.

Figures are meant for print at their natural size: 7.2 inches (183 mm, two columns) wide, no text
below 8 points, the font that comes with matplotlib, so that a figure looks the same everywhere.
Colours are those of Okabe & Ito (*Color Universal Design*, 2008), which colour-blind readers can
tell apart; colour is never the only carrier: each dataset has a marker of its own. Grey means
"reference": chance, singletons, what is not the subject.

In a notebook a figure shows itself at the end of its cell, as pyplot's figures do. With a backend
that only writes files (Agg) pyplot does not keep it open: a script may draw any number.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import BboxBase

from mer_utils import storage

WIDTH = 7.2  # inches: two columns of a journal
SMALL, NORMAL = 8, 9  # points
LETTER = 0.058  # inches: about the width of a letter of small text
PNG_DPI = 200
INTERVAL = "95 % interval"

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY, LIGHT_GREY, DARK_GREY = "#8C8C8C", "#D9D9D9", "#4D4D4D"
LINES = ("-", "--", ":", "-.")
SEQUENTIAL, DIVERGING = "cividis", "PuOr"  # both safe for colour-blind readers

_STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": ["DejaVu Sans"],
    "font.size": SMALL,
    "axes.titlesize": NORMAL,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": NORMAL,
    "axes.edgecolor": DARK_GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.6,
    "figure.titlesize": NORMAL,
    "figure.titleweight": "bold",
    "lines.linewidth": 1.4,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.04,
    "svg.fonttype": "none",
    "svg.hashsalt": "mer_utils",  # the same figure gives the same file
}


@dataclass(frozen=True)
class Look:
    """How a dataset is drawn: its marker, its colour and the name in legends."""

    marker: str
    colour: str
    title: str


_LOOKS = {
    "mtg-jamendo": Look("o", COLOURS[0], "MTG-Jamendo"),
    "cal500": Look("s", COLOURS[1], "CAL500"),
    "emotify": Look("^", COLOURS[2], "Emotify"),
    "emotions": Look("D", COLOURS[3], "emotions"),
}
_DEMO = {"demo-mtg": "mtg-jamendo", "demo-cal500": "cal500", "demo-emotify": "emotify"}
_OTHER_MARKERS, _OTHER_COLOURS = "vPX*<>", (COLOURS[4], COLOURS[5], COLOURS[6])


@contextmanager
def set_style() -> Iterator[None]:
    """The house style, for a block or, as `@style()`, for a function."""
    changed = {**seaborn.axes_style("ticks"), **_STYLE}
    # Not mpl.rc_context: it puts back everything, also what a notebook's backend sets for itself
    # when the first figure loads it inside the block; figures would then no longer show.
    before = {name: mpl.rcParams[name] for name in changed}
    mpl.rcParams.update(changed)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG (200 dpi) or SVG, by the ending of `path`; without an ending as both.

    The figure stays as it is, and a notebook still shows it.
    Raises ValueError for another ending.
    """
    path = Path(path)
    if path.suffix not in ("", ".png", ".svg"):
        raise ValueError(f"{path}: a figure is written as .png or .svg, not {path.suffix!r}")
    endings = [path.suffix] if path.suffix else [".png", ".svg"]
    for ending in endings:
        kind = ending[1:]
        metadata = {"Date": None} if kind == "svg" else None  # the same figure, the same file
        with storage.replacing(path.with_suffix(ending)) as temporary, set_style():
            figure.savefig(temporary, format=kind, dpi=PNG_DPI, metadata=metadata)


# --- Parts ----------------------------------------------------------------------------------------


def new_figure(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **settings: object
) -> tuple[Figure, np.ndarray]:
    """A figure (inches) and its axes (rows, columns)."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **settings
    )
    _release(figure)
    return figure, axes


def _release(figure: Figure) -> None:
    """Let pyplot forget a figure that it cannot show anyway."""
    if plt.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        plt.close(figure)
        FigureCanvasAgg(figure)  # closing took its canvas, on which texts are measured


def require_columns(
    table: pd.DataFrame, columns: Sequence[str], figure: str, source: str = ""
) -> None:
    """Raise ValueError, naming them, if a table lacks columns that a figure needs, or rows."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"{figure}: expected a pandas table, not {type(table).__name__}")
    missing = [column for column in columns if column not in table.columns]
    origin = f"; {source}" if source else ""
    if missing:
        raise ValueError(
            f"{figure}: the table lacks the columns {missing}; it has {list(table.columns)}{origin}"
        )
    if table.empty:
        raise ValueError(f"{figure}: the table has no rows{origin}")


def dataset_looks(names: Sequence[str]) -> dict[str, Look]:
    """Marker, colour and title of each dataset; a demo dataset has the marker of its original."""
    looks: dict[str, Look] = {}
    others = [name for name in dict.fromkeys(names) if _DEMO.get(name, name) not in _LOOKS]
    for name in dict.fromkeys(names):
        known = _LOOKS.get(_DEMO.get(name, name))
        if known is None:
            place = others.index(name)
            known = Look(
                _OTHER_MARKERS[place % len(_OTHER_MARKERS)],
                _OTHER_COLOURS[place % len(_OTHER_COLOURS)],
                name,
            )
        looks[name] = known if name in _LOOKS else Look(known.marker, known.colour, name)
    return looks


def is_dataset(names: Sequence[str]) -> np.ndarray:
    """Which names are those of the study's datasets: boolean (names,)."""
    return np.isin([_DEMO.get(name, name) for name in names], list(_LOOKS))


def original(name: str) -> str:
    """The dataset whose vocabulary a dataset of the built-in corpus has; else the name itself."""
    return _DEMO.get(name, name)


def dataset_title(name: str) -> str:
    """A dataset's name as in the literature."""
    return dataset_looks([name])[name].title


def series_looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a line style for each of some methods, all different up to 28."""
    looks = [(colour, line) for line in LINES for colour in COLOURS]
    return dict(zip(dict.fromkeys(names), cycle(looks), strict=False))


def reference_looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a line style for each reference line; none looks like chance or a method."""
    looks = [(colour, line) for line in ("-", ":", "-.") for colour in COLOURS[1:5]]
    return dict(zip(dict.fromkeys(names), cycle(looks), strict=False))


def key(label: str, **settings: object) -> Line2D:
    """A legend entry of its own: a marker or a line."""
    return Line2D([], [], **{"linestyle": "none", "label": label, **settings})


def dataset_keys(datasets: Sequence[str], colour: str | None = None) -> list[Line2D]:
    """Legend entries for datasets that have a name, with their number of labels."""
    looks = dataset_looks(datasets)
    return [
        key(
            f"{look.title} ({count(list(datasets).count(name), 'label')})",
            marker=look.marker,
            color=colour or look.colour,
            markersize=6,
        )
        for name, look in looks.items()
        if name
    ]


def legend_below(figure: Figure, handles: Sequence) -> None:
    """A legend under all panels, in as many columns as find room; the figure grows by it."""
    if not handles:
        return
    widths = [LETTER * len(handle.get_label()) + 0.5 for handle in handles]  # inches, about
    columns = next(
        n
        for n in range(len(handles), 0, -1)
        if n == 1 or sum(map(max, np.array_split(widths, n))) <= figure.get_figwidth()
    )
    old = figure.get_figheight()
    added = 0.17 * -(-len(handles) // columns) + 0.15
    figure.set_figheight(old + added)
    place = "outside lower center"
    if figure.get_layout_engine() is None:  # placed by inches: move everything up
        place = "lower center"
        for axes in figure.axes:
            x, y, width, height = axes.get_position().bounds
            y, height = (y * old + added) / (old + added), height * old / (old + added)
            axes.set_position((x, y, width, height))
    figure.legend(handles=list(handles), loc=place, ncols=columns)


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 label", "2,000 labels"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def wrapped(text: str, width: int) -> str:
    """A text in lines of about `width` letters."""
    return "\n".join(textwrap.wrap(text, width, break_long_words=False)) or text


def halo(width: float = 2.0) -> list:
    """A white rim that keeps a text readable over points and lines."""
    return [patheffects.withStroke(linewidth=width, foreground="white")]


def settle(figure: Figure) -> None:
    """Lay the figure out once and keep that, so that what is placed by hand stays in place."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def place_names(
    axes: Axes,
    positions: np.ndarray,
    names: Sequence[str],
    colours: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
) -> list[Text]:
    """Write names beside their points so that no two overlap; the layout is then final.

    Each name tries places around its point, near ones first, and takes the cheapest; names change
    places in turn until none gains by it (local search over candidate positions: Christensen, Marks
    & Shieber 1995, ACM Transactions on Graphics 14(3)). A name that ends up away from its point
    gets a thin line to it.

    positions: (names, 2) in data units, inside the final limits of the axes.
    colours: of each name, black if None; weights: "normal" or "bold" for each, normal if None.
    """
    settle(axes.figure)
    colours, weights = colours or ["black"] * len(names), weights or ["normal"] * len(names)
    texts = [
        axes.text(x, y, name, color=colour, weight=weight, ha="center", va="center", zorder=5)
        for (x, y), name, colour, weight in zip(positions, names, colours, weights, strict=True)
    ]
    points = axes.transData.transform(positions)  # (names, 2) pixels
    boxes = [text.get_window_extent() for text in texts]
    sizes = np.array([[box.width, box.height] for box in boxes])  # (names, 2)
    point = axes.figure.dpi / 72  # pixels
    halves = sizes / 2 + np.array([1.5, 0.0]) * point  # with the distance that two texts keep
    places, far, costs = _places(points, sizes, gap=5.5 * point)
    costs = costs + _static_costs(places, halves, points, 3.5 * point, axes.bbox)
    chosen = _choose(points, places, far, halves, costs)
    to_data = axes.transData.inverted().transform
    for row, (text, choice) in enumerate(zip(texts, chosen, strict=True)):
        text.set_position(to_data(places[row, choice]))
        if far[choice]:
            middle, reach = places[row, choice], sizes[row] / 2
            end = np.clip(points[row], middle - reach, middle + reach)  # the box's nearest edge
            ends = to_data(np.stack([points[row], end]))
            axes.plot(*ends.T, color=GREY, linewidth=0.5, zorder=2, scalex=False, scaley=False)
    return texts


def _places(
    points: np.ndarray, sizes: np.ndarray, gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where names may go: middles of their boxes (names, places, 2) in pixels.

    Also which places are far enough to need a line (places,), and what each costs (places,).
    """
    angles = np.deg2rad([0, 30, -30, 150, -150, 180, 90, -90, 60, -60, 120, -120])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (12, 2)
    line = sizes[:, 1].mean()
    rings = np.array([0, 0.4, 0.9, 1.5, 2.2, 3.0, 4.0, 5.0]) * line
    # a box touches a circle round its point: the more sideways, the more of its width counts
    reach = np.sign(directions) * np.minimum(np.abs(directions) * 2, 1)  # (12, 2)
    near = reach[None] * sizes[:, None] / 2 + directions[None] * gap  # (names, 12, 2)
    out = directions[None] * rings[:, None, None]  # (rings, 12, 2)
    offsets = near[:, None] + out[None]  # (names, rings, 12, 2)
    preference = np.arange(len(angles)) * 0.02 + (rings / line)[:, None]  # (rings, 12)
    far = np.repeat(rings > 0.8 * line, len(angles))
    return points[:, None] + offsets.reshape(len(points), -1, 2), far, preference.ravel()


def _static_costs(
    places: np.ndarray, halves: np.ndarray, points: np.ndarray, radius: float, frame: BboxBase
) -> np.ndarray:
    """Cost of covering points and of leaving the axes, for every place: (names, places)."""
    low, high = places - halves[:, None], places + halves[:, None]  # (names, places, 2)
    low_reach, high_reach = low[:, :, None] - radius, high[:, :, None] + radius
    covered = ((points > low_reach) & (points < high_reach)).all(-1)  # (names, places, points)
    outside = ((low < frame.min) | (high > frame.max)).any(-1)  # (names, places)
    return 12.0 * covered.sum(-1) + 1000.0 * outside


def _choose(
    points: np.ndarray, places: np.ndarray, far: np.ndarray, halves: np.ndarray, costs: np.ndarray
) -> np.ndarray:
    """The place of each name (names,), by local search."""
    chosen = costs.argmin(axis=1)
    rows = np.arange(len(places))
    along = np.linspace(0.2, 0.8, 4)[:, None, None]  # points of a line from point to name
    for _ in range(30):
        before = chosen.copy()
        for row in rows:
            taken = places[rows, chosen]  # (names, 2)
            apart = np.abs(places[row][:, None] - taken[None])  # (places, names, 2)
            shared = np.clip(halves[row] + halves - apart, 0, None).prod(-1)  # pixels squared
            shared[:, row] = 0
            lines = points[row] + along * (places[row] - points[row])  # (4, places, 2)
            struck = (np.abs(lines[:, :, None] - taken) < halves).all(-1).any(0)  # (places, names)
            struck[:, row] = False
            crowded = (shared > 0).sum(1) * 20 + shared.sum(1) / 50 + 10 * far * struck.sum(1)
            chosen[row] = (costs[row] + crowded).argmin()
        if (chosen == before).all():
            break
    return chosen


def spread(positions: np.ndarray, share: float = 0.018) -> np.ndarray:
    """Points (n, 2) of which none hides another: those too near are pushed apart a little.

    share: the least distance, as a share of the larger extent of all points.
    """
    positions = np.array(positions, dtype=np.float64)
    least = share * (np.ptp(positions, axis=0).max() or 1.0)
    turn = np.arange(len(positions))  # points in the very same place part in fixed directions
    nothing = np.stack([np.cos(turn), np.sin(turn)], axis=1) * 1e-6 * least
    for _ in range(50):
        apart = (positions + nothing)[:, None] - (positions + nothing)[None]  # (n, n, 2)
        distance = np.linalg.norm(apart, axis=-1) + np.eye(len(positions)) * 2 * least
        push = np.clip(least - distance, 0, None) / 2 / np.maximum(distance, 1e-9 * least)
        if not push.any():
            break
        positions = positions + (apart * push[:, :, None]).sum(axis=1)
    return positions


def titled(axes: Axes, title: str, subtitle: str) -> None:
    """A bold title with a plain line below it."""
    axes.set_title(title, pad=18)
    axes.annotate(subtitle, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points")


def hide_ticks(axes: Axes) -> None:
    """For maps whose axes have no unit."""
    axes.set(xticks=[], yticks=[])


def interval(
    axes: Axes,
    low: float,
    value: float,
    high: float,
    row: float,
    colour: str,
    hollow: bool = False,
    marker: str = "o",
) -> None:
    """A dot with its horizontal interval in a row."""
    axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
    axes.plot(
        value,
        row,
        marker=marker,
        markersize=5,
        color=colour,
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=1.2,
        zorder=4,
    )


def row_lines(axes: Axes) -> None:
    """Thin lines that lead from a name to its row."""
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=LIGHT_GREY, linewidth=0.5)
    axes.set_axisbelow(True)


def row_panels(
    rows: Mapping[str, Sequence[str]], step: float, same_scale: bool
) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each name, with a row of `step` inches for each of its texts, in two columns.

    The panels are placed by inches, as no automatic layout makes rows equally high everywhere.
    """
    columns: list[list[str]] = [[], []] if len(rows) > 1 else [[]]
    heights = [0.0] * len(columns)
    above, below = 0.5, 0.55  # inches for a title and for an axis
    for name in sorted(rows, key=lambda name: -len(rows[name])):
        shorter = heights.index(min(heights))
        columns[shorter].append(name)
        heights[shorter] += above + step * (len(rows[name]) + 0.2) + below
    width, height = (WIDTH if len(columns) > 1 else 5.2), max(heights)
    figure = plt.figure(figsize=(width, height), layout="none")
    _release(figure)
    panels: dict[str, Axes] = {}
    for place, column in enumerate(columns):
        margin = 0.3 + LETTER * max(len(text) for name in column for text in rows[name])
        left, right = place * width / len(columns) + margin, (place + 1) * width / len(columns)
        top = height
        for name in column:
            inner = step * (len(rows[name]) + 0.2)
            top -= above
            frame = (left / width, (top - inner) / height)
            frame += ((right - left - 0.1) / width, inner / height)
            first = next(iter(panels.values()), None) if same_scale else None
            panels[name] = figure.add_axes(frame, sharex=first)
            panels[name].set_yticks(range(len(rows[name])), rows[name])
            panels[name].set_ylim(len(rows[name]) - 0.4, -0.6)
            row_lines(panels[name])
            top -= inner + below
    return figure, panels


def by_dataset(values: Mapping[str, object] | None, name: str) -> dict:
    """What a mapping of mappings says for one dataset; a flat mapping holds for all."""
    if values is None:
        return {}
    nested = any(isinstance(value, Mapping) for value in values.values())
    return dict(values.get(name, {})) if nested else dict(values)
