"""A run as a book to read in a browser: README, executed notebooks, results, docs, with a search.

Sphinx with MyST-NB and the book theme builds it (what Jupyter Book 1 is made of); this module is
also the extension that they load. A page needs nothing from the net, also when it is opened as a
file, and names no folder of the machine that made it.
"""

import csv
import inspect
import io
import os
import re
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
from nbformat.v4 import new_markdown_cell
from sphinx.addnodes import download_reference, nodes, pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from mer_utils import figures, storage
from mer_utils.batch.pages import html_as_text, mathml, table_html
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import Run

MARK = ".mer-utils-site"  # in a folder that was written here
ROWS, COLUMNS, LONGEST = 50, 1000, 2_000_000  # of a table that are shown; characters of them
MOST_BYTES = 50_000_000  # bytes of a file
NAME = re.compile(r"[\w .,()+=@&'-]{1,100}")  # of a file: nothing that Markdown, HTML or a URL read
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
"""Functions whose first line says too little of what they draw here: a comment that the cell begins
with says it, or the heading above."""

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
    app.connect("builder-inited", lambda app: app.env.settings.update(file_insertion_enabled=False))


def _mend(app: Sphinx, page: nodes.document) -> None:
    """A link or picture whose file is not in the book becomes text; an alt text a caption."""
    kinds = nodes.image | download_reference | pending_xref
    for number, node in enumerate([*page.findall(lambda node: isinstance(node, kinds))]):
        target = node.get("uri") or node["reftarget"]
        path = Path(app.env.relfn2path(target, app.env.docname)[1]).resolve()
        inside = path.is_file() and path.is_relative_to(app.srcdir.parent)
        if isinstance(node, pending_xref):  # has a domain if the page is in the book
            inside = node["refdomain"] or "." not in target
        if not inside and ":" not in target:
            node.replace_self(node.children or [nodes.Text(node.get("alt", ""))])
        elif node.get("alt") and app.env.docname.startswith("notebooks/"):
            caption = nodes.caption("", node["alt"])
            node.replace_self(nodes.figure("", node.deepcopy(), caption, ids=[f"figure-{number}"]))


def build_book(run: Run, folder: Path) -> Path:
    """Write a run as a book; returns its first page.

    folder: new, empty, or written here before; what is in it and not of this book stays.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else or leads elsewhere by a link, and for what Sphinx cannot build. What is
    left out of the run's files (`_files`, `_read`) is a warning each, what else Sphinx says is one.
    """
    run.made("notebooks/*.ipynb", "00_datasets")
    others = [path.name for path in folder.glob("*") if not storage.is_ours(path)]
    if others and MARK not in others:
        raise ValueError(f"{folder} holds something other than a book; give another folder")
    said = io.StringIO()
    with storage.locked(folder), tempfile.TemporaryDirectory(prefix="mer-site-") as made:
        source, built, rest = (Path(made).resolve() / name for name in ("source", "html", "rest"))
        _stage(run, source)
        conf = CONF | {"html_theme_options": LOOKS | _launch()}
        with patch_docutils(), docutils_namespace():
            app = Sphinx(source, None, built, rest, "html", conf, status=None, warning=said)
            try:
                app.build()
            except Exception as error:  # whatever its libraries stumble over in a page
                at = app.env.current_document.docname or "the book"
                raise ValueError(f"Sphinx cannot build {at} of {run.folder}: {error!r}") from error
        storage.write_text(folder / MARK, "")
        for path in (path for path in built.rglob("*") if path.is_file()):
            to = folder / path.relative_to(built)
            if not to.parent.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{to.parent} leads out of {folder}; remove that link")
            storage.copy_file(path, to)
    if said.getvalue():
        complaint = re.sub(r"\x1b\[[\d;]*m", "", said.getvalue()).replace(f"{source}/", "").strip()
        warnings.warn(f"the book is written, but Sphinx says:\n{complaint}", stacklevel=2)
    return folder / "index.html"


def _launch() -> dict:
    """Buttons that open a notebook in Binder and Colab, if the repository has a public address."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    branch = {"repository_branch": "HEAD", "launch_buttons": RUN_IT}
    return {"repository_url": address, **branch} if address else {}


def _files(folder: Path, kind: str = "") -> Iterator[Path]:
    """The files below a folder that the book takes, of one kind of ending if asked.

    Each is one of its own, and no link, pipe or device, of a name that needs no care in Markdown,
    and not too large; others are a warning each.
    """
    for path in sorted(folder.rglob(f"*{kind}")):
        if path.is_dir() and not path.is_symlink():
            continue
        why = ""
        if folder.is_symlink() or path.is_symlink() or not path.is_file():
            why = "is no file but a link, pipe or device"
        elif not NAME.fullmatch(path.name):
            why = "has a name with a character that pages cannot have"
        elif path.stat().st_size > MOST_BYTES:
            why = f"has more than {MOST_BYTES // 1_000_000} MB"
        if why:
            warnings.warn(f"{str(path)!r} {why}; it is left out of the book", stacklevel=4)
        else:
            yield path


def _read(path: Path, read: Callable[[Path], tuple]) -> tuple | None:
    """What `read` makes of a file; None, and a warning, if it cannot."""
    try:
        return read(path)
    except Exception as error:  # of nbformat, jsonschema and pandas, without a common kind
        why = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        warnings.warn(f"{path} is left out of the book, as unreadable ({why})", stacklevel=4)
        return None


def _stage(run: Run, source: Path) -> None:
    """Write what Sphinx is to read, without this machine's folders."""
    places = _places(run)
    for folder in (PROJECT / "docs", PROJECT / "figures"):
        for path in _files(folder):
            storage.copy_file(path, source / path.relative_to(PROJECT))
    pictures = [*_files(run.path("figures"), ".png")]
    for path in pictures:
        storage.copy_file(path, source / "run" / "figures" / path.name)
    captions, tables = {}, ["# Tables of this run"]
    for path in _files(run.path("notebooks"), ".ipynb"):
        if made := _read(path, partial(_notebook, places)):
            storage.write_text(source / "notebooks" / path.name, made[0])
            captions |= made[1]
    for path in _files(run.path("tables"), ".csv"):
        if made := _read(path, partial(_table, places)):
            storage.write_text(source / "run" / "tables" / path.name, made[0])
            tables += [f"## {path.stem}", f"[all of it as CSV](tables/{path.name})", made[1]]
    docs = {path.stem: f"docs/{path.stem}" for path in sorted(PROJECT.glob("docs/*.md"))}
    results = [docs.pop("results", ""), "run/figures", "run/tables"]
    root = {path.name: path.read_text("utf-8") for path in sorted(PROJECT.glob("*.md"))}
    readme = root.pop("README.md")
    others = [docs.pop("glossary", ""), *docs.values(), *root, "run/about"]
    contents = {"Notebooks": ["notebooks/*"], "Results": results, "To look up": others}
    listed = "".join(INDEX.format(name, "\n".join(pages)) for name, pages in contents.items())
    record = run.path("run.json").read_text("utf-8").replace("`", "\\u0060")  # as JSON may have it
    for name, text in {
        **root,
        "index.md": readme + listed,
        "run/figures.md": _figures([path.name for path in pictures], captions),
        "run/tables.md": "\n\n".join(tables),
        "run/about.md": f"# How this run was made\n\n```json\n{record}\n```",
        "static/book.css": Path(__file__).with_suffix(".css").read_text("utf-8"),
    }.items():
        storage.write_text(source / name, _without(places, text))


def _notebook(places: re.Pattern, path: Path) -> tuple[str, dict[str, str]]:
    """An executed notebook as a page, and captions by figure file."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    notebook = nbformat.from_dict(_without(places, notebook))
    captions = _dress(notebook, path.stem)
    return nbformat.writes(notebook), captions


def _table(places: re.Pattern, path: Path) -> tuple[str, str]:
    """A table as CSV, and its beginning to show."""
    text = path.read_text("utf-8")
    if (columns := len(next(csv.reader(io.StringIO(text)), ()))) > COLUMNS:
        raise ValueError(f"{columns} columns, where {COLUMNS} can be shown")
    shown = table_html(pd.read_csv(io.StringIO(text), nrows=ROWS))
    if len(shown) > LONGEST:
        raise ValueError(f"{ROWS} rows of {len(shown):,} characters")
    return _without(places, text), f"<div class='cell_output'>\n{shown}\n</div>"


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
            if "text/markdown" in shown:
                shown["text/markdown"] = html_as_text(shown["text/markdown"])
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
        if cell.source.startswith("# ") and "solution" not in tags:
            caption = cell.source.partition("\n")[0].removeprefix("# ")
        cell.metadata["mystnb"] = {"image": {"alt": caption}}
        if "solution" in tags:
            cell.metadata["mystnb"]["code_prompt_show"] = "Show the solution"
        for file in re.findall(r"\"figures\", f?\"([^\"]+)\"", cell.source):
            captions[re.sub(r"\{[^}]*\}", "*", file)] = (
                f"{caption} ([notebook](../notebooks/{name}.ipynb))"
            )
        cells.append(cell)
    if not cells or cells[0].cell_type != "markdown":
        cells.insert(0, new_markdown_cell(f"# {name}"))
    title, _, rest = cells[0].source.partition("\n")
    cells[0].source = "\n\n".join([title, ALL_CODE, STOPPED * stopped, rest])
    language = notebook.metadata.get("language_info", {"name": "python"})
    notebook.cells, notebook.metadata = cells, {"language_info": language}
    return captions


def _figures(there: Sequence[str], captions: Mapping[str, str]) -> str:
    """The page of all figures, in the order of the notebooks.

    captions: by names of files, with * for what a loop put there, which the name then tells apart.
    """
    shown = {}
    for pattern, text in captions.items():
        for name in (name for name in there if fnmatch(name, pattern)):
            which = f"{Path(name).stem.replace('_', ' ').capitalize()}. "
            shown[name] = which * (name != pattern) + text
    shown |= {name: name for name in there if name not in shown}
    parts = [f"```{{figure}} figures/{name}\n\n{text}\n```" for name, text in shown.items()]
    return "\n\n".join(["# Figures of this run", "Click a figure to enlarge it.", *parts])
