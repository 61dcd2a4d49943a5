"""Figures of cases small enough to see, and a slider that moves through figures."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from sklearn.preprocessing import normalize

from mer_utils.figures import style

# What a slider does when it moves: an attribute and no script, which works wherever HTML is put.
_MOVED = (
    "const all=this.closest('figure'),frames=all.querySelectorAll('img'),now=frames[this.value];"
    "frames.forEach(frame=>frame.style.display=frame==now?'':'none');"
    "all.querySelector('output').value=now.title;this.setAttribute('aria-valuetext',now.title)"
)


@style.set_style()
def unit_circle(
    panels: Mapping[str, np.ndarray], groups: Sequence[str], datasets: Sequence[str]
) -> Figure:
    """Directions of items, all that a cosine sees: a colour is a group, a ring a dataset.

    panels: by title, (n, 2) of any length; groups, datasets: (n,) of each item, two datasets.
    """
    looks = style.dot_looks(dict.fromkeys(groups))
    rings = dict(
        zip(dict.fromkeys(datasets), [(1, "o", "outer"), (0.8, "s", "inner")], strict=True)
    )
    keys = [style.key(name, **{**look, "marker": "o"}) for name, look in looks.items()]
    figure, axes = style.new_figure(0.3 + 6.6 / len(panels), columns=len(panels))
    for dataset, (radius, marker, side) in rings.items():
        keys.append(style.key(f"{dataset} ({side} ring)", marker=marker, color=style.DARK_GREY))
        own = np.array(datasets) == dataset
        colours = [looks[name]["color"] for name in np.array(groups)[own]]
        for panel, (title, items) in zip(axes[0], panels.items(), strict=True):
            panel.add_patch(Circle((0, 0), radius, fill=False, color=style.LIGHT_GREY))
            panel.scatter(*radius * normalize(items[own]).T, c=colours, marker=marker, alpha=0.7)
            panel.set(title=title, aspect="equal")
            panel.set_axis_off()
    return style.legend_below(figure, keys)


@style.set_style()
def curves(panels: Mapping[str, pd.DataFrame], marks: Mapping[str, float] | None = None) -> Figure:
    """Lines over one quantity, a panel for each of several others; marks are vertical lines."""
    width = style.WIDTH if len(panels) > 1 else 4.8
    figure, axes = style.new_figure(2.6, columns=len(panels), width=width)
    for panel, (title, table) in zip(axes[0], panels.items(), strict=True):
        marker = "o" if len(table) < 10 else ""  # so few that the line may mislead
        for name, look in style.series_looks(list(table)).items():
            panel.plot(table[name], label=name, **(look | {"marker": marker}))
        for line, (name, place) in zip(style.LINES[1:], (marks or {}).items(), strict=False):
            panel.axvline(place, label=name, color=style.GREY, linestyle=line)
        panel.set(xlabel=table.index.name, ylabel=title)
    return style.legend_below(figure)


@style.set_style()
def slider(
    draw: Callable[[Any], Figure], label: str, values: Sequence[Any], start: int = 0
) -> HTML:
    """One picture a value, and a slider that shows one of them at a time.

    draw: from a value to its figure, always of one size; label: what the values are.
    start: the place among the values of the picture that shows first, and without JavaScript.
    """
    name, texts, frames = html.escape(label), [html.escape(str(value)) for value in values], ""
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        figure, file = draw(value), io.BytesIO()
        figure.savefig(file, format="png", dpi=100, bbox_inches=figure.bbox_inches)  # not cropped
        plt.close(figure)  # or the notebook shows them all below the slider
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        look = f"width:100%;height:auto;{'' if place == start else 'display:none'}"
        frames += f'<img src="{source}" alt="{name} {text}" title="{text}" style="{look}">'
    return HTML(
        f'<figure style="margin:0;max-width:{figure.get_figwidth() * 100:.0f}px">'
        f'<label style="display:block">{name} '
        f'<input type="range" max="{len(values) - 1}" value="{start}" autocomplete="off" '
        f'aria-valuetext="{texts[start]}" style="width:55%;vertical-align:middle" '
        f'oninput="{_MOVED}"></label> <output>{texts[start]}</output>{frames}</figure>'
    )
