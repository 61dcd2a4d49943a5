"""Single pages that need nothing else: an executed notebook, a sweep's summary.

They go through nbconvert, without its libraries from the net; formulas are MathML.
"""

from html import escape

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_markdown_cell, new_notebook

FROM_THE_NET = ("html_head_js", "jupyter_widgets", "html_head_js_mathjax", "html_head_js_mermaidjs")
TEMPLATE = '{% extends "index.html.j2" %}' + "".join(
    f"{{% block {name} %}}{{% endblock %}}" for name in FROM_THE_NET
)


def mathml(formula: str, display: str = "inline") -> str:
    """A TeX formula as MathML, which browsers draw unaided; one that is none, as it stands."""
    try:
        return convert(formula.strip(), display=display)
    except Exception:  # the converter has a dozen kinds, without a common one
        return f"<code>{escape(formula)}</code>"


class _MathML(IPythonRenderer):
    """Markdown's renderer, with formulas as MathML."""

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body)


def to_html(markdown: str) -> str:
    """Markdown, with its formulas between dollar signs, as HTML."""
    return MarkdownWithMath(renderer=_MathML(escape=False)).render(markdown)


def notebook_page(notebook: nbformat.NotebookNode, title: str) -> str:
    """A notebook with its outputs as one HTML page."""
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": to_html})
    return exporter.from_notebook_node(notebook, {"metadata": {"name": title}})[0]


def table_html(table: pd.DataFrame) -> str:
    """A table as HTML; whatever stands in it is text."""
    index = not isinstance(table.index, pd.RangeIndex)
    return table.round(4).to_html(index=index, border=0, na_rep="", justify="left")


def page(title: str, *parts: str | pd.DataFrame) -> str:
    """A page of Markdown and tables, under a title."""
    shown = [part if isinstance(part, str) else table_html(part) for part in parts]
    text = "\n\n".join([f"# {title}", *shown])
    return notebook_page(new_notebook(cells=[new_markdown_cell(text)]), title)
