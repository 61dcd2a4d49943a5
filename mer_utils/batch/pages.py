"""Single pages that need nothing else: an executed notebook, a sweep's summary.

They go through nbconvert, without its libraries from the net; formulas are MathML.
"""

import re
from html import escape

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_markdown_cell, new_notebook

FROM_THE_NET = ("html_head_js", "jupyter_widgets", "html_head_js_mathjax", "html_head_js_mermaidjs")
BLOCKS = dict.fromkeys(FROM_THE_NET, "")
BLOCKS["data_markdown"] = "{{ output.data['text/markdown'] | html_as_text | markdown2html }}"
TEMPLATE = '{% extends "index.html.j2" %}' + "".join(
    f"{{% block {name} %}}{text}{{% endblock %}}" for name, text in BLOCKS.items()
)
LONGEST = 1000  # characters of a formula: for longer ones the converter can take minutes
OF_HTML = re.compile(r"\\(?:href|class|style|def|new|Declare)")  # commands; macros grow without end


def mathml(formula: str, display: str = "inline") -> str:
    """A TeX formula as MathML, which browsers draw unaided; one that is none, as it stands.

    The converter lets HTML through where a formula has text, hence \\lt.
    """
    try:
        if len(formula) > LONGEST or OF_HTML.search(formula):
            raise ValueError("no plain formula")
        return convert(formula.strip().replace("<", r"\lt "), display=display)
    except Exception:  # the converter has a dozen kinds, without a common one
        return f"<code>{escape(formula)}</code>"


class _MathML(IPythonRenderer):
    """Markdown's renderer, with formulas as MathML."""

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body)


def html_as_text(markdown: str) -> str:
    """Markdown of an output, whose names come from data: HTML and pictures in it are text."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", markdown).replace("![", r"!\[")


def to_html(markdown: str) -> str:
    """Markdown, with its formulas between dollar signs, as HTML."""
    return MarkdownWithMath(renderer=_MathML(escape=False)).render(markdown)


def notebook_page(notebook: nbformat.NotebookNode, title: str) -> str:
    """A notebook with its outputs as one HTML page."""
    filters = {"markdown2html": to_html, "html_as_text": html_as_text}
    exporter = HTMLExporter(raw_template=TEMPLATE, filters=filters)
    return exporter.from_notebook_node(notebook, {"metadata": {"name": title}})[0]


def table_html(table: pd.DataFrame) -> str:
    """A table as HTML to stand in Markdown; whatever is in it is text.

    Without empty lines, as one ends HTML in Markdown.
    """
    index = not isinstance(table.index, pd.RangeIndex)
    html = table.round(4).to_html(index=index, border=0, na_rep="", justify="left")
    return re.sub(r"\s*[\r\n]\s*", "\n", html)


def page(title: str, *parts: str | pd.DataFrame) -> str:
    """A page of Markdown and tables, under a title."""
    shown = [part if isinstance(part, str) else table_html(part) for part in parts]
    text = "\n\n".join([f"# {title}", *shown])
    return notebook_page(new_notebook(cells=[new_markdown_cell(text, id="page")]), title)
