"""Results as pages to read: executed notebooks, a sweep's summary, a run's site.

Every page goes through nbconvert, those without code as a notebook of text and tables. Nothing is
loaded from the net: formulas are MathML, sounds and figures are in the page or beside it.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_markdown_cell, new_notebook

from mer_utils import storage
from mer_utils.batch.runs import Run

MARK = ".mer-utils-site"  # a folder with this file is a site that was written here
TITLE = "Zero-shot music emotion recognition"

# nbconvert's page without its libraries of the net, and for narrow screens too
TEMPLATE = """
{% extends "index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}
<style>
body.jp-Notebook { max-width: 62rem; margin: 0 auto; }
.jp-RenderedHTMLCommon table { display: block; overflow-x: auto; }
img { max-width: 100%; height: auto; }
audio { max-width: 100%; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
@media (max-width: 40rem) {
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  body.jp-Notebook { padding: 0 .3rem; }
}
</style>
{% endblock %}
"""


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
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": to_html})
    page, _ = exporter.from_notebook_node(nbformat.from_dict(shown), {"metadata": {"name": title}})
    return page


def page(title: str, *parts: str | pd.DataFrame) -> str:
    """A page of Markdown and tables, under a title."""
    text = "\n\n".join(_table(p) if isinstance(p, pd.DataFrame) else p for p in parts)
    return notebook_page(new_notebook(cells=[new_markdown_cell(f"# {title}\n\n{text}")]), title)


def _table(table: pd.DataFrame) -> str:
    indexed = not isinstance(table.index, pd.RangeIndex)
    return table.round(4).to_html(index=indexed, border=0, na_rep="", justify="left")


def sweep_page(
    cells: Sequence,
    over_seeds: pd.DataFrame,
    compared: pd.DataFrame,
    pictures: Mapping[str, str],
    name: str,
) -> str:
    """The summary of a sweep (`batch.sweeps.summarise`), with links to every cell's notebook.

    pictures: captions and addresses, from the sweep's folder.
    """
    done = [cell for cell in cells if cell.status == "done"]
    minutes = sum(cell.seconds for cell in done) / 60
    best_first = over_seeds.sort_values(["target", "value"], ascending=[True, False])
    tables = {
        metric: part.drop(columns="metric").reset_index(drop=True)
        for metric, part in best_first.groupby("metric")
    }
    parts = [
        f"{len(done)} of {len(cells)} cells done, {minutes:.1f} min of work. Tables: [every cell]"
        "(results.csv), [means over seeds](seeds.csv), [comparisons](comparisons.csv).",
        "## Song ROC-AUC, mean over seeds\n\n"
        "The interval is Student's over seeds: what another seed might give. It says nothing about "
        "other tracks; for that see low and high of every cell.",
        *(f"![{caption}]({address})" for caption, address in pictures.items()),
        tables["song_roc_auc"],
        "## Song macro-F1 of the top k, mean over seeds",
        tables["song_macro_f1"],
    ]
    if len(compared):
        parts += [
            "## Is the best really better?\n\n"
            "Every configuration against the best of its target: paired bootstrap over tracks of "
            "the song ROC-AUC, the seeds' deviation added. p_holm is corrected for the number of "
            "rows (Holm 1979). The best was chosen on the same tracks, so its lead is a little too "
            "large.",
            compared,
        ]
    lines = []
    for cell in cells:
        place = cell.folder.relative_to(cell.folder.parents[1])
        pages = [f"[notebook]({place}/notebooks/{p.name})" for p in cell.folder.glob("*/*.html")]
        took = [f"{cell.seconds:.0f} s"] if cell.status == "done" else []
        lines.append("- " + ", ".join([f"`{place.name}`", cell.status, *took, *pages]))
    return page(f"Sweep {name}", *parts, "## Cells", "\n".join(lines))


def build_site(run: Run, folder: Path) -> list[Path]:
    """Write a run as a static site: an index, the notebooks, the figures, the tables.

    folder: new, empty, or a site written before, whose pages are replaced; nothing is removed.
    Returns the pages.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else.
    """
    executed = run.made("notebooks/*.ipynb", "00_datasets")
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give a folder")
    if folder.exists() and not (folder / MARK).exists() and next(folder.iterdir(), None):
        raise ValueError(f"{folder} holds something else than a site; give another folder")
    storage.write_text(folder / MARK, "")
    pages = {"index.html": _index(run, executed), "tables.html": _tables(run)}
    for place, path in enumerate(executed):
        around = [("index", "../index.html")]
        around += [(f"← {_opening(p)[0]}", f"{p.stem}.html") for p in executed[:place][-1:]]
        around += [(f"{_opening(p)[0]} →", f"{p.stem}.html") for p in executed[place + 1 :][:1]]
        notebook = nbformat.read(path, as_version=4)
        navigation = " · ".join(f"[{text}]({address})" for text, address in around)
        pages[f"notebooks/{path.stem}.html"] = notebook_page(notebook, path.stem, navigation)
    for name, text in pages.items():
        storage.write_text(folder / name, text)
    for made in (*run.path("figures").glob("*.png"), *run.path("tables").glob("*.csv")):
        with storage.replacing(folder / made.relative_to(run.folder)) as temporary:
            shutil.copyfile(made, temporary)
    return [folder / name for name in pages]


def _opening(executed: Path) -> tuple[str, str]:
    """A notebook's title and question, from the cell with the title.

    Of a notebook that failed, papermill's note stands before that cell.
    """
    sources = [cell.source for cell in nbformat.read(executed, as_version=4).cells]
    opening = next((s for s in sources if s.startswith("# ")), f"# {executed.stem}").split("\n\n")
    question = next((part for part in opening if part.startswith("**Question.**")), "")
    return opening[0].removeprefix("# "), question.removeprefix("**Question.**").strip()


def _index(run: Run, executed: Sequence[Path]) -> str:
    record = storage.read_json(run.path("run.json"))
    lines = []
    for path in executed:
        title, question = _opening(path)
        took = record.get("seconds", {}).get(path.stem)
        took = "" if took is None else f" ({took:.0f} s)"
        question = " ".join(question.split())
        lines.append(f"- [{title}](notebooks/{path.stem}.html){took}. {question}")
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
