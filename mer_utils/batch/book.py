"""A run as a book to read in a browser: README, executed notebooks, results, docs, with a search.

Sphinx with MyST-NB and the book theme builds it (what Jupyter Book 1 is made of); this module is
also the extension that they load. A page needs nothing from the net, also when it is opened as a
file, and names no folder of the machine that made it.
"""

import inspect
import io
import os
import re
import shutil
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pandas as pd
from sphinx.addnodes import download_reference, nodes
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from mer_utils import figures, storage
from mer_utils.batch.pages import mathml, table_html
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import Run

MARK = ".mer-utils-site"  # in a folder that was written here
ROWS = 50  # of a table that are shown
WIDGET = "application/vnd.jupyter.widget-view+json"
LOOKS = {"use_download_button": False, "home_page_in_toc": True}
LOOKS |= {"navbar_persistent": [], "footer_content_items": []}  # a second search, an empty footer
RUN_IT = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}
CONF = {
    "project": "Zero-shot music emotion recognition",
    "html_title": "Zero-shot music emotion recognition",
    "html_copy_source": False,
    "html_show_search_summary": False,  # is fetched, which a page opened as a file may not
    "html_static_path": ["static"],
    "html_css_files": ["book.css"],
    "html_theme": "sphinx_book_theme",
    "html_use_index": False,
    "html_context": {"default_mode": "auto"},  # light or dark, as the reader's system is
    "html_math_renderer": "mathml",
    "extensions": ["myst_nb", __name__],
    "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
    "myst_heading_anchors": 4,
    "nb_code_prompt_hide": "Hide code",
    "nb_code_prompt_show": "Show code",
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "nb_merge_streams": True,
    "nb_render_markdown_format": "gfm",
    "suppress_warnings": ["myst.header", "myst.xref_missing", "toc", "misc.highlighting_failure"],
}
SCRIPT = "addEventListener('click', e => e.target.matches('figure img') && open(e.target.src))"
ALL_CODE = """<button class="btn btn-sm btn-outline-secondary" onclick="document.querySelectorAll(
'.tag_hide-input > details').forEach(d => d.open = !d.open)">show or hide all code</button>"""
MANY_THINGS = ("save", "set_style", "curves", "unit_circle", "variants", "pooling_comparison")
"""Functions whose first line says too little of what they draw here; the heading above says it."""

STOPPED = ":::{error}\nThis notebook stopped at an error. The cells after it did not run.\n:::"
INDEX = "\n\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {}\n{}\n```"


def setup(app: Sphinx) -> None:
    """Called by Sphinx: formulas become MathML, figures get captions and grow at a click."""

    def visitor(display: str):
        def visit(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
            translator.body.append(mathml(node.astext(), display))
            raise nodes.SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", visitor("inline"), visitor("block"))
    app.add_js_file(None, body=SCRIPT)
    app.connect("doctree-read", _mend, priority=400)  # before Sphinx collects the files


def _mend(app: Sphinx, page: nodes.document) -> None:
    """A link or picture whose file is not in the book becomes text; an alt text a caption."""
    found = page.findall(lambda node: isinstance(node, nodes.image | download_reference))
    for number, node in enumerate([*found]):
        target = node.get("uri") or node["reftarget"]
        path = Path(app.env.relfn2path(target, app.env.docname)[1]).resolve()
        inside = path.is_file() and path.is_relative_to(app.srcdir.parent)
        if not inside and ":" not in target:
            node.replace_self(node.children or [nodes.Text(node.get("alt", ""))])
        elif node.get("alt") and app.env.docname.startswith("notebooks/"):
            caption = nodes.caption("", node["alt"])
            node.replace_self(nodes.figure("", node.deepcopy(), caption, ids=[f"figure-{number}"]))


def build_book(run: Run, folder: Path) -> Path:
    """Write a run as a book; returns its first page.

    folder: new, empty, or written here before; what is in it and not of this book stays.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else or leads elsewhere by a link, and for what Sphinx cannot build. What else
    Sphinx has to say is one warning.
    """
    run.made("notebooks/*.ipynb", "00_datasets")
    there = {path.name for path in folder.glob("*")}
    if there - {storage.LOCK} and MARK not in there:
        raise ValueError(f"{folder} holds something other than a book; give another folder")
    beside = {"dir": folder.parent, "prefix": f".{folder.name}.", "suffix": ".tmp"}
    said = io.StringIO()
    with storage.locked(folder), tempfile.TemporaryDirectory(**beside) as made:
        source, built, rest = (Path(made).resolve() / name for name in ("source", "html", "rest"))
        _stage(run, source)
        conf = CONF | {"html_theme_options": LOOKS | _launch()}
        try:
            with patch_docutils(), docutils_namespace():
                Sphinx(source, None, built, rest, "html", conf, status=None, warning=said).build()
        except SphinxError as error:
            raise ValueError(f"Sphinx cannot build the book: {error}") from error
        storage.write_text(folder / MARK, "")
        files = [path.relative_to(built) for path in built.rglob("*") if path.is_file()]
        for name in files:
            place = (folder / name).parent
            if not place.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{place} leads out of {folder}; remove that link")
            place.mkdir(parents=True, exist_ok=True)
            os.replace(built / name, folder / name)
    if said.getvalue():
        complaint = said.getvalue().replace(f"{source}/", "").strip()
        warnings.warn(f"the book is written, but Sphinx says:\n{complaint}", stacklevel=2)
    return folder / "index.html"


def _launch() -> dict:
    """Buttons that open a notebook in Binder and Colab, if the repository has a public address."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    branch = {"repository_branch": "HEAD", "launch_buttons": RUN_IT}
    return {"repository_url": address, **branch} if address else {}


def _stage(run: Run, source: Path) -> None:
    """Write what Sphinx is to read, without this machine's folders; links are not followed."""
    places = _places(run)
    for folder in (PROJECT / "docs", PROJECT / "figures", run.path("figures")):
        if folder.is_dir():
            to = source / ("run/figures" if folder.parent == run.folder else folder.name)
            shutil.copytree(folder, to, symlinks=True)
    captions, tables = {}, ["# Tables of this run"]
    own = [path for path in sorted(run.folder.glob("*/*")) if not path.is_symlink()]
    for path in (path for path in own if path.match("notebooks/*.ipynb")):
        notebook = nbformat.from_dict(_without(places, nbformat.read(path, as_version=4)))
        captions |= _dress(notebook, path.stem)
        storage.write_text(source / "notebooks" / path.name, nbformat.writes(notebook))
    for path in (path for path in own if path.match("tables/*.csv")):
        table, text = pd.read_csv(path), path.read_text("utf-8")
        storage.write_text(source / "run" / "tables" / path.name, _without(places, text))
        tables += [f"## {path.stem}", f"[{len(table)} rows as CSV](tables/{path.name})"]
        tables += [f"<div class='cell_output'>\n{table_html(table.head(ROWS))}\n</div>"]
    docs = {path.stem: f"docs/{path.stem}" for path in sorted(PROJECT.glob("docs/*.md"))}
    results = [docs.pop("results", ""), "run/figures", "run/tables"]
    others = [docs.pop("glossary", ""), *docs.values(), "run/about"]
    contents = {"Notebooks": ["notebooks/*"], "Results": results, "To look up": others}
    listed = "".join(INDEX.format(name, "\n".join(pages)) for name, pages in contents.items())
    record = run.path("run.json").read_text("utf-8")
    for name, text in {
        "index.md": (PROJECT / "README.md").read_text("utf-8") + listed,
        "run/figures.md": _figures(run, captions),
        "run/tables.md": "\n\n".join(tables),
        "run/about.md": f"# How this run was made\n\n```json\n{record}\n```",
        "static/book.css": Path(__file__).with_suffix(".css").read_text("utf-8"),
    }.items():
        storage.write_text(source / name, _without(places, text))


def _places(run: Run) -> re.Pattern:
    """Folders of this machine, and homes of any; sounds and pictures as text are skipped over."""
    found = [run.folder, PROJECT, PROJECT.parent, os.environ.get("MER_DATA", PROJECT)]
    found = map(Path, [*found, Path.home(), sys.prefix, tempfile.gettempdir()])
    both = {one for path in found for one in (path, path.resolve())}
    # /data alone tells nothing, and stands in relative paths, such as docs/data.md
    both = {str(one) for one in both if len(one.parts) > 2 or one == Path.home()} - {"/"}
    names = [*map(re.escape, sorted(both, key=len, reverse=True)), r"/(?:home|Users)/[^/\s'\"]+"]
    return re.compile(f"[A-Za-z0-9+/=]{{200,}}|({'|'.join(names)})(?![\\w-])")


def _without(places: re.Pattern, value: object) -> object:
    """The same text, list or mapping, with … for the folders of this machine."""
    if isinstance(value, str):
        return places.sub(lambda found: "…" if found[1] else found[0], value)
    if isinstance(value, Mapping):
        return {key: _without(places, one) for key, one in value.items()}
    return [_without(places, one) for one in value] if isinstance(value, list) else value


def _dress(notebook: nbformat.NotebookNode, name: str) -> dict[str, str]:
    """Prepare a notebook as a page: code folded, captions, a note if it stopped at an error.

    A code cell without output is joined to the next one. Returns captions by figure file.
    """
    cells, captions, heading, stopped = [], {}, name, False
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        stopped |= cell.metadata.get("papermill", {}).get("status", "completed") != "completed"
        if cell.cell_type != "code":
            heading = (re.findall(r"^#+ (.+)", cell.source, re.M) or [heading])[-1]
            cells += [] if "papermill-error-cell-tag" in tags else [cell]
            continue
        for shown in (output.get("data", {}) for output in cell.outputs):
            if "text/markdown" in shown:  # HTML in it is text
                shown["text/markdown"] = re.sub(r"<(?=[a-zA-Z/!])", "&lt;", shown["text/markdown"])
            if shown.pop(WIDGET, None):  # needs a kernel
                shown["text/plain"] = "(an interactive control: run the notebook to use it)"
        if "hide-cell" not in tags:
            before = cells[-1] if cells else None
            if before and "hide-input" in before.metadata.tags and not before.outputs:
                cell.source = f"{cells.pop().source}\n\n{cell.source}"
            tags.append("hide-input")
        drawn = [getattr(figures, x, None) for x in re.findall(r"figures\.(\w+)\(", cell.source)]
        drawn = [x for x in drawn if x is not None and x.__name__ not in MANY_THINGS]
        caption = inspect.getdoc(drawn[0]).splitlines()[0] if drawn else heading
        cell.metadata["mystnb"] = {"image": {"alt": caption}}
        if "solution" in tags:
            cell.metadata["mystnb"]["code_prompt_show"] = "Show the solution"
        for file in re.findall(r"\"figures\", \"([^\"]+)\"", cell.source):
            captions[file] = f"{caption} ([notebook](../notebooks/{name}.ipynb))"
        cells.append(cell)
    title, _, rest = cells[0].source.partition("\n")
    cells[0].source = "\n\n".join([title, ALL_CODE, STOPPED * stopped, rest])
    language = notebook.metadata.get("language_info", {"name": "python"})
    notebook.cells, notebook.metadata = cells, {"language_info": language}
    return captions


def _figures(run: Run, captions: Mapping[str, str]) -> str:
    """The page of all figures, in the order of the notebooks."""
    there = {path.name for path in run.folder.glob("figures/*.png")}
    shown = {name: text for name, text in captions.items() if name in there}
    shown |= {name: name for name in sorted(there - shown.keys())}
    parts = [f"```{{figure}} figures/{name}\n\n{text}\n```" for name, text in shown.items()]
    return "\n\n".join(["# Figures of this run", "Click a figure to enlarge it.", *parts])
