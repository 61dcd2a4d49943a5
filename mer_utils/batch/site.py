"""Results as pages to read: executed notebooks, a sweep's summary, a run's site.

Every page goes through nbconvert, those without code as a notebook of text and tables. Nothing is
loaded from the net: formulas are MathML, sounds and figures are in the page or beside it.
"""

from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_markdown_cell, new_notebook

from mer_utils import storage
from mer_utils.batch.runs import Run

MARK = ".mer-utils-site"  # in a folder that was written here
TITLE = "Zero-shot music emotion recognition"
TEMPLATE = Path(__file__).with_name("page.html.j2")


class _MathML(IPythonRenderer):
    """Markdown's renderer, with formulas as MathML, which browsers draw unaided."""

    def block_math(self, body: str) -> str:
        return convert(body.strip(), display="block")

    def inline_math(self, body: str) -> str:
        return convert(body.strip())


def to_html(markdown: str) -> str:
    """Markdown, with its formulas between dollar signs, as HTML."""
    return MarkdownWithMath(renderer=_MathML(escape=False)).render(markdown)


def notebook_page(notebook: nbformat.NotebookNode, title: str, navigation: str = "") -> str:
    """A notebook with its outputs as one HTML page that needs nothing else.

    navigation: Markdown to put above it.
    """
    top = [new_markdown_cell(navigation)] if navigation else []
    shown = {**notebook, "cells": [*top, *notebook.cells]}
    exporter = HTMLExporter(raw_template=TEMPLATE.read_text(), filters={"markdown2html": to_html})
    page, _ = exporter.from_notebook_node(nbformat.from_dict(shown), {"metadata": {"name": title}})
    return page


def page(title: str, *parts: str | pd.DataFrame) -> str:
    """A page of Markdown and tables, under a title."""
    texts = [f"# {title}"]
    for part in parts:
        if isinstance(part, pd.DataFrame):
            index = not isinstance(part.index, pd.RangeIndex)
            part = part.round(4).to_html(index=index, border=0, na_rep="", justify="left")
        texts.append(part)
    return notebook_page(new_notebook(cells=[new_markdown_cell("\n\n".join(texts))]), title)


def build_site(run: Run, folder: Path) -> list[Path]:
    """Write a run as a static site: an index, the notebooks, the figures, the tables.

    folder: new, empty, or a site written before; what is in it and not of this run stays.
    Returns the pages.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else.
    """
    executed = run.made("notebooks/*.ipynb", "00_datasets")
    mark = folder / MARK
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else than a site; give another folder")
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in executed}
    openings = {name: _opening(notebook, name) for name, notebook in notebooks.items()}
    pages = {"index.html": _index(run, openings), "tables.html": _tables(run)}
    links = [f"[{title}]({name}.html)" for name, (title, _) in openings.items()]
    for place, (name, notebook) in enumerate(notebooks.items()):
        around = ["[index](../index.html)", *(f"← {x}" for x in links[:place][-1:])]
        around += [f"{x} →" for x in links[place + 1 :][:1]]
        pages[f"notebooks/{name}.html"] = notebook_page(notebook, name, " · ".join(around))
    storage.write_text(mark, "")
    for name, text in pages.items():
        storage.write_text(folder / name, text)
    for path in [*run.folder.glob("figures/*.png"), *run.folder.glob("tables/*.csv")]:
        storage.copy_file(path, folder / path.relative_to(run.folder))
    return [folder / name for name in pages]


def _opening(notebook: nbformat.NotebookNode, name: str) -> tuple[str, str]:
    """A notebook's title and question, from the cell with the title.

    Of a notebook that failed, papermill's note stands before that cell.
    """
    sources = [cell.source for cell in notebook.cells]
    opening = next((s for s in sources if s.startswith("# ")), f"# {name}").split("\n\n")
    question = next((part for part in opening if part.startswith("**Question.**")), "")
    question = " ".join(question.removeprefix("**Question.**").split())
    return opening[0].removeprefix("# "), question


def _index(run: Run, openings: dict[str, tuple[str, str]]) -> str:
    record = storage.read_json(run.path("run.json"))
    lines = []
    for name, (title, question) in openings.items():
        took = record.get("seconds", {}).get(name)
        took = "" if took is None else f" ({took:.0f} s)"
        lines.append(f"- [{title}](notebooks/{name}.html){took}. {question}")
    pictures = [
        f'<a href="figures/{name}"><img src="figures/{name}" alt="{name}" loading="lazy"></a>'
        for name in sorted(path.name for path in run.path("figures").glob("*.png"))
    ]
    facts = {"profile": f"{run.profile.name}: {run.profile.description}"}
    facts |= record.get("parameters", {}) | record.get("versions", {})
    return page(
        TITLE,
        "The executed notebooks, figures and [tables](tables.html) of one run.",
        "\n".join(lines),
        "## Figures",
        f'<div class="gallery">{"".join(pictures)}</div>',
        "## How it was made",
        pd.Series(facts).map(str).to_frame(""),
    )


def _tables(run: Run) -> str:
    parts: list[str | pd.DataFrame] = ["[index](index.html)"]
    for path in sorted(run.path("tables").glob("*.csv")):
        parts += [f"## {path.stem}\n\n[as CSV](tables/{path.name})", pd.read_csv(path)]
    return page("Tables", *parts)
