"""A slider that needs no kernel: all its pictures stand in the page, and one of them shows."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mer_utils.figures import style

# An attribute and not a script: it works wherever the HTML is put, and twice on a page.
_MOVED = (
    "const figure=this.closest('figure'),frames=figure.querySelectorAll('img');"
    "frames.forEach((frame,i)=>frame.style.display=i==this.value?'':'none');"
    "figure.querySelector('output').value=frames[this.value].title;"
    "this.setAttribute('aria-valuetext',frames[this.value].title)"
)


@style.set_style()
def slider(
    draw: Callable[[Any], Figure], label: str, values: Sequence[Any], start: int = 0
) -> HTML:
    """One picture a value, and a slider that shows one of them; without JavaScript, the first.

    draw: from a value to its figure, always of one size; label: what the values are.
    start: the place among the values of the one that shows first.
    With a kernel, `ipywidgets.interact(draw, …)` takes the same function.
    """
    texts = [html.escape(f"{v:g}" if isinstance(v, int | float) else str(v)) for v in values]
    name, frames = html.escape(label), []
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        figure, file = draw(value), io.BytesIO()
        # not cropped, so that nothing jumps from one frame to the next
        figure.savefig(file, format="png", dpi=110, bbox_inches=figure.bbox_inches)
        plt.close(figure)  # or the notebook shows them all below the slider
        look = f"width:100%;height:auto;{'' if place == start else 'display:none'}"
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        frames.append(f'<img src="{source}" alt="{name} {text}" title="{text}" style="{look}">')
    return HTML(
        f'<figure style="margin:0;max-width:{figure.get_figwidth() * 100:.0f}px"><label>{name} '
        f'<input type="range" min="0" max="{len(values) - 1}" value="{start}" autocomplete="off" '
        f'aria-valuetext="{texts[start]}" style="width:55%;vertical-align:middle" '
        f'oninput="{_MOVED}"></label> <output>{texts[start]}</output>{"".join(frames)}</figure>'
    )
