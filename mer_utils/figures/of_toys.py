"""Figures of cases small enough to see: items on the unit circle, curves over one number."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from sklearn.preprocessing import normalize

from mer_utils.figures import style


@style.set_style()
def unit_circle(
    panels: Mapping[str, np.ndarray], groups: Sequence[str], datasets: Sequence[str]
) -> Figure:
    """Directions of items: a cosine sees nothing else. A colour is a group, a ring a dataset.

    panels: by title, (n, 2) of any length; groups, datasets: (n,) of each item.
    """
    looks, rings = style.dot_looks(dict.fromkeys(groups)), list(dict.fromkeys(datasets))
    figure, axes = style.new_figure(0.3 + 6.6 / len(panels), columns=len(panels))
    for panel, (title, items) in zip(axes[0], panels.items(), strict=True):
        panel.set(title=title, aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
        panel.set_axis_off()
        for ring, dataset in enumerate(rings):
            radius = 1 - 0.2 * ring
            panel.add_patch(Circle((0, 0), radius, fill=False, color=style.LIGHT_GREY))
            for name, look in looks.items():
                own = (np.array(groups) == name) & (np.array(datasets) == dataset)
                dots = {"color": look["color"], "marker": style.MARKERS[ring], "alpha": 0.7}
                panel.scatter(*radius * normalize(items[own]).T, s=26, linewidths=0, **dots)
    keys = [style.key(name, marker="o", color=look["color"]) for name, look in looks.items()]
    where = ["outer ring", *["inner ring"] * (len(rings) - 1)]
    for ring, (dataset, place) in enumerate(zip(rings, where, strict=True)):
        look = {"marker": style.MARKERS[ring], "color": style.DARK_GREY}
        keys.append(style.key(f"{dataset} ({place})", **look))
    return style.legend_below(figure, keys)


@style.set_style()
def curves(panels: Mapping[str, pd.DataFrame], marks: Mapping[str, float] | None = None) -> Figure:
    """A panel for each table, named at its vertical axis: a line for each column over the index.

    marks: vertical lines, by name, such as where a label lies.
    """
    figure, axes = style.new_figure(
        2.6, columns=len(panels), width=style.WIDTH if len(panels) > 1 else 4.8
    )
    for panel, (title, table) in zip(axes[0], panels.items(), strict=True):
        for name, look in style.series_looks(list(table)).items():
            panel.plot(table[name], label=name, **look)
        panel.set(xlabel=table.index.name, ylabel=title)
        for place, (name, x) in enumerate((marks or {}).items()):
            panel.axvline(x, label=name, color=style.GREY, linestyle=style.LINES[1 + place])
    return style.legend_below(figure)
