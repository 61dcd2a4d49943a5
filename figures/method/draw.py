"""Drawings of the method, its way from words and music to a prediction and its two losses.

    python figures/method/draw.py

writes all of them beside this file, the same bytes every time.

They explain and show no results; positions, cosines and losses are computed as in
`mer_utils/projector/losses.py`. A drawing is a white sheet 400 points wide, so its text is readable
on a phone. Blue and circles are one dataset, orange and squares another, green is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, FancyArrowPatch, FancyBboxPatch

from mer_utils.figures import style

Point = Sequence[float]
WIDTH, BOX, SMALL = 400, 178, 8.5  # points: of a sheet, of a box, the smallest letters
BLUE, ORANGE, GREEN = style.COLOURS[:3]
INK, PAPER = style.DARK_GREY, "#F4F6F8"
MARKS = {"●": BLUE, "■": ORANGE, "◇": GREEN, "★": GREEN}  # a text that begins so has the colour
HERE = ("", "01", "02", "03", "04", "05")  # notebooks that can stand out
# the steps of the method: x, lower edge, length of the arrow below, notebook, title, lines
STEPS = (
    (14, 412, 15, "00", "labels of several datasets", "● calm, sad, …", "■ relaxing, angry, …"),
    (14, 353, 15, "01", "a text for each label", "“Music that is calm and …”"),
    (14, 294, 23, "01", "language model (frozen)", "MiniLM or MPNet: text → vector"),
    (14, 227, 28, "01", "label vectors", "one for each label, of length 1"),
    (208, 412, 15, "00", "their music", "", ""),
    (208, 353, 15, "03", "audio encoder (frozen)", "MERT; musicnn stands in"),
    (208, 294, 15, "03", "features", "of each segment: layers × numbers"),
    (208, 218, 19, "04", "projector (learns)", "triplet loss: music near its words",
     "alignment loss: clusters together"),
    (14, 14, 0, "05", "words of a new dataset", "◇ tender, eerie, …"),
    (208, 14, 0, "05", "its songs, never trained on", "★"),
)  # fmt: skip
# items of the drawing of the alignment loss: place on a sphere seen from above, dataset, cluster
PLACES = [(-44, -50), (-58, -40), (44, -32), (58, -44), (-56, 34), (-42, 46), (46, 46), (60, 32)]
DATASETS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
CLUSTERS = np.array([0, 0, 1, 1, 0, 0, 2, 2])  # the calm music of both, the angry music of each


@dataclass(frozen=True)
class _Sheet:
    """A white panel; what is of other stages ("01", or several: "01 02") than `here` is pale."""

    axes: Axes
    here: str = ""

    def look(self, stage: str, **look: object) -> dict[str, object]:
        """Of a shape of a stage: how opaque it is, and whether its line stands out."""
        lit = self.here == stage != ""
        line = {"edgecolor": ORANGE, "linewidth": 1.8} if lit else {"edgecolor": INK}
        opacity = 1.0 if not stage or self.here in stage else 0.3
        return {"linewidth": 0.8, "alpha": opacity, "zorder": 1, **line, **look}

    def text(self, x: float, y: float, words: str, stage: str = "", **look: object) -> None:
        colour = style.ink(MARKS[words[0]]) if words[:1] in MARKS else INK
        settings = {"size": 9, "color": colour, "va": "center", **look}
        self.axes.text(x, y, words, alpha=self.look(stage)["alpha"], **settings)

    def arrow(self, start: Point, end: Point, stage: str = "", **look: object) -> None:
        settings = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
        settings |= {"color": INK, "linewidth": 1.3, "zorder": 3, **look}
        settings["alpha"] = self.look(stage)["alpha"]
        self.axes.add_patch(FancyArrowPatch(start, end, **settings))

    def panel(self, x: float, y: float, width: float, height: float, **look: object) -> None:
        corners = "round,pad=0,rounding_size=9"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, corners, **look))

    def badge(self, x: float, y: float, stage: str) -> None:
        """The number of the notebook that shows a stage."""
        colour = ORANGE if self.here == stage else INK
        disc = self.look(stage, facecolor=colour, edgecolor="white", zorder=5)
        self.axes.add_patch(Circle((x, y), 8.5, **disc))
        look = {"ha": "center", "color": "white", "weight": "bold", "zorder": 6}
        self.text(x, y - 0.5, stage[1:], **look)

    def step(self, x: float, y: float, below: float, stage: str, title: str, *lines: str) -> None:
        """A box with its notebook, a title and lines, and an arrow down; y is its lower edge."""
        height, middle = 26 + 17 * len(lines), x + BOX / 2
        self.panel(x, y, BOX, height, **self.look(stage, facecolor=PAPER))
        self.badge(x + 2, y + height - 2, stage)
        self.text(middle, y + height - 14, title, stage, ha="center", weight="bold")
        for row, words in enumerate(lines, start=1):
            self.text(middle, y + height - 14 - 16 * row, words, stage, ha="center", size=SMALL)
        if below:
            self.arrow((middle, y), (middle, y - below), stage)


def _sheet(height: float, here: str = "") -> tuple[Figure, _Sheet]:
    """A figure with an empty sheet, `height` points high."""
    figure, [[axes]] = style.new_figure(height / 72, width=WIDTH / 72)
    figure.set_layout_engine("none")
    figure.patch.set_alpha(0)  # on a dark page only the panel is white
    axes.set(position=(0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    sheet = _Sheet(axes, here)
    look = {"facecolor": "white", "edgecolor": style.LIGHT_GREY, "zorder": 0}
    sheet.panel(1, 1, WIDTH - 2, height - 2, **look)
    return figure, sheet


@style.set_style()
def method_drawing(here: str = "") -> Figure:
    """The whole method; each step has the number of the notebook that shows it.

    here: the notebook that stands out, "01" to "05"; all others are pale. "": none.
    """
    figure, sheet = _sheet(498, here)
    text, small = sheet.text, {"ha": "center", "size": SMALL}
    told = {"color": style.ink(ORANGE), "weight": "bold"} if here else {}
    words = f"you are here: notebook {here[1:]}" if here else "numbers: the notebook of each step"
    text(388, 485, words, ha="right", **told)
    for step in STEPS:
        sheet.step(*step)
    times = np.linspace(0, 1, 90)
    swing = 15 * np.sin(np.pi * times) * np.sin(90 * times) * np.cos(37 * times)
    opacity = sheet.look("00")["alpha"]
    sheet.axes.plot(232 + 130 * times, 434 + swing, color=BLUE, linewidth=1, alpha=opacity)
    sheet.panel(14, 74, 372, 124, **sheet.look("", facecolor=PAPER))
    text(200, 84, "one space for words and music: near means alike (cosine)", **small)
    ring = sheet.look("02", facecolor="#E3EEF6", linestyle="--")
    sheet.axes.add_patch(Ellipse((92, 161), 142, 54, **ring))
    sheet.badge(25, 176, "02")
    text(92, 177, "a cluster", "02", **small)
    for x, y, word in (
        (46, 161, "● calm"), (84, 146, "■ relaxing"), (205, 112, "● sad"), (314, 118, "■ angry")
    ):  # fmt: skip
        text(x, y, word, "01 02")
        text(x - 12, y - 1, "♪", "04", color=style.ink(MARKS[word[0]]), size=12)
    for x, y, word in ((186, 166, "◇ tender"), (258, 140, "◇ eerie"), (166, 136, "★")):
        text(x, y, word, "05")
    sheet.arrow((173, 142), (188, 160), "05", color=GREEN, linestyle=":")
    text(378, 184, "★ its nearest word: the prediction", "05", ha="right", size=SMALL)
    for x, words in ((54, "same language model"), (248, "same encoder and projector")):
        sheet.arrow((x, 57), (x, 74), "05", color=GREEN)
        text(x + 8, 65, words, "05", size=SMALL)
    return figure


@style.set_style()
def triplet_drawing() -> Figure:
    """The triplet loss on a circle: what moves, where to, and where the loss is 0."""
    figure, sheet = _sheet(322)
    axes, text = sheet.axes, sheet.text
    near, far, start, end = 40, -75, 0, 24  # degrees of p, n, f and of f a few steps later
    to_near, to_far = np.cos(np.radians([start - near, start - far]))
    loss = max(0, to_far - to_near + 1)
    # f · (p − n) is greatest towards p − n; the loss is 0 where it is at least the margin, 1
    difference = np.exp(1j * np.radians(near)) - np.exp(1j * np.radians(far))
    best, half = np.angle(difference, deg=True), np.degrees(np.arccos(1 / abs(difference)))
    centre, radius = np.array([118, 200]), 96

    def at(degrees: float, further: float = 0) -> np.ndarray:
        direction = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        return centre + (radius + further) * direction

    axes.add_patch(Circle(centre, radius, **sheet.look("", facecolor=PAPER)))
    zero = {"theta1": best - half, "theta2": best + half, "color": GREEN, "alpha": 0.35}
    axes.add_patch(Arc(centre, 2 * radius, 2 * radius, linewidth=8, zorder=2, **zero))
    text(*at(117, 9), "loss 0", color=style.ink(GREEN), ha="right", weight="bold")
    for first, last, size, colour in ((start, near, 84, BLUE), (far, start, 56, ORANGE)):
        axes.add_patch(Arc(centre, size, size, theta1=first, theta2=last, color=colour))
    text(*at(20, -42), f"{near - start}°", color=style.ink(BLUE), ha="center")
    text(*at(-40, -54), f"{start - far}°", color=style.ink(ORANGE), ha="center")
    bend = {"connectionstyle": "arc3,rad=0.2", "linewidth": 2.2, "mutation_scale": 14}
    sheet.arrow(at(start + 1, 8), at(end, 8), color="black", **bend)
    for degrees, further, colour, name, below in (
        (near, 18, BLUE, "p: positive", "mean vector of its labels; fixed"),
        (far, 9, ORANGE, "n: negative", "mean of labels it lacks; fixed"),
        (start, 13, "black", "f: anchor", "the projected music; moves"),
    ):
        sheet.arrow(centre, at(degrees), color=colour, linewidth=2, mutation_scale=12)
        text(*at(degrees, further), name, color=style.ink(colour), weight="bold", size=10)
        text(*at(degrees, further) - [0, 13], below, size=SMALL)
    text(16, 66, "loss = relu( cos(f, n) − cos(f, p) + margin )", size=10)
    text(16, 48, f"here: relu({to_far:.2f} − {to_near:.2f} + 1) = {loss:.2f}", size=10)
    look = {"height": 11, "left": 250, "align": "edge", "edgecolor": INK, "linewidth": 0.8}
    axes.barh(42, 130, **look, facecolor="white", hatch="////")  # the margin, 1
    axes.barh(42, 130 * (1 - loss), **look, facecolor=BLUE)
    text(250, 61, "margin 1", size=SMALL)
    text(254, 47, f"ahead by {1 - loss:.2f}", size=SMALL, color="white", zorder=5)
    text(380, 61, f"loss {loss:.2f}", size=SMALL, ha="right")
    text(16, 28, "f moves towards p and away from n until cos(f, p) is ahead by 1.", size=SMALL)
    text(16, 15, "Where p and n are less than 60° apart, no place reaches loss 0.", size=SMALL)
    return figure


def aligned(steps: int = 14) -> np.ndarray:
    """Where the items are, (8, 3) of length 1, after some steps down the alignment loss alone."""
    own = (CLUSTERS[:, None] == CLUSTERS) & ~np.eye(len(CLUSTERS), dtype=bool)
    other = CLUSTERS[:, None] != CLUSTERS
    difference = other / other.sum(1, keepdims=True) - own / own.sum(1, keepdims=True)
    points = np.c_[np.array(PLACES) / 100, np.ones(len(PLACES))]
    for step in range(steps + 1):
        if step:
            active = (difference * (points @ points.T)).sum(1) + 1 > 0  # s⁻ − s⁺ + 1, the relu
            slope = difference * active[:, None]
            points = points - 0.02 * (slope + slope.T) @ points
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points


@style.set_style()
def alignment_drawing() -> Figure:
    """The alignment loss on a sphere: one cluster that joins two datasets, and two that do not."""
    figure, sheet = _sheet(376)
    text, radius = sheet.text, 88
    text(19, 356, "● music of dataset 1,  ■ music of dataset 2", color=INK)
    text(200, 291, "(a sphere, from above)", ha="center", size=SMALL)
    for y, colour, words in (
        (340, BLUE, "cluster {calm, relaxing}: words of both datasets"),
        (326, ORANGE, "cluster {angry}: a word of dataset 1 only"),
        (312, GREEN, "cluster {aggressive}: a word of dataset 2 only"),
    ):
        sheet.axes.barh(y, 10, 10, left=19, color=colour)
        text(34, y, words, color=style.ink(colour))
    moves = {"before": (102, aligned(0)), "after": (298, aligned())}
    for title, (middle, points) in moves.items():
        centre = np.array([middle, 192])
        sheet.axes.add_patch(Circle(centre, radius, **sheet.look("", facecolor=PAPER)))
        text(middle, 291, title, ha="center", weight="bold", size=10)
        for start, end, owner, own in zip(aligned(0), points, DATASETS, CLUSTERS, strict=True):
            ends = centre[:, None] + radius * np.stack([start[:2], end[:2]], axis=1)
            colour = (BLUE, ORANGE, GREEN)[own]
            sheet.axes.plot(*ends, color=colour, linewidth=1, alpha=0.5)
            sheet.axes.plot(*ends[:, 1], "os"[owner], color=colour, markersize=7.5)
    pull = {"color": BLUE, "linewidth": 2}
    push = {"arrowstyle": "<|-|>", "linewidth": 1.4, "linestyle": (0, (2, 1.5))}
    sheet.arrow((64, 213), (64, 196), **pull)
    sheet.arrow((64, 168), (64, 185), **pull)
    sheet.arrow((140, 170), (140, 214), **push)
    sheet.arrow((80, 192), (124, 192), **push)
    text(58, 190, "pull", color=style.ink(BLUE), ha="right", weight="bold")
    text(146, 192, "push", weight="bold")
    text(102, 201, "push", ha="center", weight="bold")
    across = [p[DATASETS == 0] @ p[DATASETS == 1].T for _, p in moves.values()]
    for y, rows, words in ((92, slice(2), "calm"), (78, slice(2, 4), "angry")):
        first, last = (table[rows, rows].mean() for table in across)
        text(68, y, f"{words} music, cosine across datasets: {first:.2f} → {last:.2f}", size=10)
    text(16, 54, "loss = λ · mean of relu( s⁻ − s⁺ + 1 )", size=10)
    text(16, 38, "s⁺, s⁻: an item's mean cosine to its own cluster, to all others", size=SMALL)
    text(16, 25, "Only a cluster with words of both datasets pulls them together;", size=SMALL)
    text(16, 13, "every other pair of items across datasets is pushed apart.", size=SMALL)
    return figure


def draw_method(folder: Path) -> None:
    """Write all drawings as SVG."""
    drawings = {f"method_{here}" if here else "method": method_drawing(here) for here in HERE}
    drawings |= {"triplet_loss": triplet_drawing(), "alignment_loss": alignment_drawing()}
    for name, figure in drawings.items():
        style.save(figure, folder / f"{name}.svg")


if __name__ == "__main__":
    draw_method(Path(__file__).parent)
