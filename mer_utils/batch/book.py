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
from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from mer_utils import figures, storage
from mer_utils.batch.pages import mathml, table_html
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import Run

MARK = ".mer-utils-site"  # in a folder that was written here
ROWS = 50  # of a table that are shown
TITLE = "Zero-shot music emotion recognition"
WIDGET = "application/vnd.jupyter.widget-view+json"
CONF = {
    "project": TITLE,
    "html_title": TITLE,
    "html_show_copyright": False,
    "html_copy_source": False,
    "html_show_search_summary": False,  # is fetched, which a page opened as a file may not
    "html_static_path": ["static"],
    "html_css_files": ["book.css"],
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {
        "use_download_button": False,
        "home_page_in_toc": True,
        "navbar_persistent": [],  # a second search field
    },
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
STYLE = """
.bd-article table { display: block; overflow-x: auto; max-width: 100%; width: fit-content; }
.bd-article tr { text-align: left !important; }
.bd-article audio, .bd-article input { max-width: 100%; }
figure img { cursor: zoom-in; }
figure .caption, figcaption { color: var(--pst-color-text-base) !important; font-size: .9rem; }
math[display=block] { overflow-x: auto; overflow-y: hidden; }
@media (max-width: 40rem) { h1 { font-size: 1.8rem !important; } }
"""
SCRIPT = "addEventListener('click', e => e.target.matches('figure img') && open(e.target.src))"
ALL_CODE = (
    "<button class='btn btn-sm btn-outline-secondary' onclick=\"document.querySelectorAll("
    "'.cell:not(.tag_solution) > details').forEach(d => d.open = !d.open)\">all code</button>"
)
INDEX = """
```{{toctree}}
:hidden:
:glob:
:caption: {0}
{1}
```
"""


def setup(app: Sphinx) -> None:
    """What Sphinx calls: formulas become MathML, figures get captions."""

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
    for node in [*page.findall(lambda x: isinstance(x, nodes.image | download_reference))]:
        target = node.get("uri") or node["reftarget"]
        path = Path(app.env.relfn2path(target, app.env.docname)[1])
        if ":" not in target and not (
            path.is_file() and path.resolve().is_relative_to(app.srcdir.parent)
        ):
            node.replace_self(node.children or [nodes.Text(node.get("alt", ""))])
        elif node.get("alt") and app.env.docname.startswith("notebooks/"):
            caption = nodes.caption("", node["alt"])
            number = len([*page.findall(nodes.figure)])
            node.replace_self(nodes.figure("", node.deepcopy(), caption, ids=[f"figure-{number}"]))


def build_book(run: Run, folder: Path) -> list[Path]:
    """Write a run as a book; returns its pages, the first one first.

    folder: new, empty, or written here before; what is in it and not of this book stays.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else, or leads elsewhere by a link, and for what Sphinx cannot build; what
    else Sphinx has to say is one warning.
    """
    run.made("notebooks/*.ipynb", "00_datasets")
    mark = folder / MARK
    if (
        folder.exists()
        and not mark.exists()
        and {x.name for x in folder.iterdir()} - {storage.LOCK}
    ):
        raise ValueError(f"{folder} holds something else than a site; give another folder")
    said = io.StringIO()
    with (
        storage.locked(folder),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as made,
    ):
        source, built, rest = (Path(made).resolve() / name for name in ("source", "html", "rest"))
        _stage(run, source)
        try:
            with patch_docutils(), docutils_namespace():
                Sphinx(source, None, built, rest, "html", CONF, status=None, warning=said).build()
        except SphinxError as error:
            raise ValueError(f"Sphinx cannot build the book: {error}") from error
        storage.write_text(mark, "")
        files = [path.relative_to(built) for path in built.rglob("*") if path.is_file()]
        for name in files:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.parent.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{place.parent} leads out of {folder}; remove that link")
            os.replace(built / name, place)
    if said.getvalue():
        complaint = said.getvalue().replace(str(source), "").strip()
        warnings.warn(f"the book is written, but Sphinx says:\n{complaint}", stacklevel=2)
    pages = sorted(name for name in files if name.suffix == ".html")
    return [folder / name for name in sorted(pages, key=lambda name: name.name != "index.html")]


# --- Sources


def _stage(run: Run, source: Path) -> None:
    """Copy and write everything that Sphinx is to read, without this machine's folders."""
    paths = _places(run)
    shutil.copytree(PROJECT / "docs", source / "docs")
    shutil.copytree(PROJECT / "figures", source / "figures")
    for pattern in ("figures/**/*.png", "figures/**/*.svg", "tables/*.csv"):
        for path in run.folder.glob(pattern):
            if path.resolve().is_relative_to(run.folder.resolve()):
                storage.copy_file(path, source / "run" / path.relative_to(run.folder))
    captions = {}
    for path in sorted(run.folder.glob("notebooks/*.ipynb")):
        notebook = nbformat.from_dict(_without(paths, nbformat.read(path, as_version=4)))
        captions |= _dress(notebook, path.stem)
        storage.write_text(source / "notebooks" / path.name, nbformat.writes(notebook))
    pages = {
        "index": (PROJECT / "README.md").read_text("utf-8"),
        "run/figures": _figures(source, captions),
        "run/tables": _tables(run),
        "run/about": _about(run),
    }
    for caption, names in {
        "Notebooks": ["notebooks/*"],
        "Results": ["docs/results", "run/figures", "run/tables"],
        "To look up": ["docs/glossary", "docs/*", "run/about"],
    }.items():
        pages["index"] += INDEX.format(caption, "\n".join(names))
    for name, text in pages.items():
        storage.write_text(source / f"{name}.md", _without(paths, text))
    storage.write_text(source / "static" / "book.css", STYLE)


def _without(paths: re.Pattern, value: object) -> object:
    """The same text, list or mapping, with … for the folders of this machine."""
    if isinstance(value, str):
        return paths.sub(lambda found: "…" if found[1] else found[0], value)
    if isinstance(value, Mapping):
        return {key: _without(paths, one) for key, one in value.items()}
    return [_without(paths, one) for one in value] if isinstance(value, list) else value


def _places(run: Run) -> re.Pattern:
    """Folders of this machine, and homes of any; sounds and pictures as text are skipped over."""
    found = [run.folder, PROJECT, PROJECT.parent, Path.home(), sys.prefix, tempfile.gettempdir()]
    found += [Path(os.environ["MER_DATA"])] if os.environ.get("MER_DATA") else []
    both = {str(path) for place in map(Path, found) for path in (place, place.resolve())} - {"/"}
    names = [*map(re.escape, sorted(both, key=len, reverse=True)), r"/(?:home|Users)/[^/\s'\"]+"]
    return re.compile(f"[A-Za-z0-9+/=]{{200,}}|({'|'.join(names)})(?![\\w-])")


def _dress(notebook: nbformat.NotebookNode, name: str) -> dict[str, str]:
    """Make a page of a notebook: code folded, pictures with a caption, badges at the head.

    Code cells that show nothing join the next. Returns captions by the patterns of figures' names.
    """
    cells, captions, heading, stopped = [], {}, name, False
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        stopped |= cell.metadata.get("papermill", {}).get("status", "completed") != "completed"
        if cell.cell_type != "code":
            heading = (re.findall(r"^#+ (.+)", cell.source, re.M) or [heading])[-1]
            cells += [] if "papermill-error-cell-tag" in tags else [cell]
            continue
        cell.outputs = [_shown(output) for output in cell.outputs]
        if cells and _joins(cells[-1]) and not {*tags} - {"injected-parameters"}:
            cell.source = f"{cells.pop().source}\n\n{cell.source}"
        drawn = [getattr(figures, x, None) for x in re.findall(r"figures\.(\w+)\(", cell.source)]
        drawn = [x for x in drawn if x not in (None, figures.save, figures.set_style)]
        caption = inspect.getdoc(drawn[0]).splitlines()[0] if drawn else heading
        cell.metadata["mystnb"] = {"image": {"alt": caption}}
        if "solution" in tags:
            cell.metadata["mystnb"]["code_prompt_show"] = "Show the solution"
        cell.metadata["tags"] = tags if "hide-cell" in tags else [*tags, "hide-input"]
        for file in re.findall(r"\"figures\", f?\"([^\"]+)", cell.source):
            captions[re.sub(r"\\{.*?}", ".+", re.escape(file))] = (
                f"{caption} ([notebook](../notebooks/{name}.ipynb))"
            )
        cells.append(cell)
    language = notebook.metadata.get("language_info", {"name": "python"})
    notebook.cells, notebook.metadata = cells, {"language_info": language}
    title, _, rest = cells[0].source.partition("\n")
    note = ":::{error}\nThis notebook stopped at an error; what comes after it was not run.\n:::\n"
    cells[0].source = "\n\n".join([title, _badges(name), note * stopped, rest])
    return captions


def _joins(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell is code that shows nothing, and no solution."""
    return cell.cell_type == "code" and not cell.outputs and "hide-cell" not in cell.metadata.tags


def _shown(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output as a page can show it: no widget, which needs a kernel; in Markdown no HTML."""
    data = output.get("data", {})
    if data.pop(WIDGET, None) and "text/html" not in data:
        data.clear()
        data["text/markdown"] = "*Here the notebook has something to move or press.*"
    if "text/markdown" in data:
        data["text/markdown"] = re.sub(r"<(?=[a-zA-Z/!])", "&lt;", data["text/markdown"])
    return output


def _badges(name: str) -> str:
    """Where to run a notebook, if the repository has a public address; a button for all code."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "").removeprefix("https://github.com/")
    if not address:
        return ALL_CODE
    binder = f"https://mybinder.org/v2/gh/{address}/HEAD?labpath=notebooks/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{address}/blob/HEAD/notebooks/{name}.ipynb"
    needs = "[what they need](../docs/online.md)"
    return f"[Binder]({binder}) · [Colab]({colab}) ({needs}) {ALL_CODE}"


def _figures(source: Path, captions: Mapping[str, str]) -> str:
    """The page of all figures, in the order of the notebooks."""
    names = [path.name for path in (source / "run" / "figures").glob("*.png")]
    patterns = ["", *captions]
    own = {x: max((p for p in patterns if re.fullmatch(p, x)), key=len, default="") for x in names}
    names.sort(key=lambda name: (patterns.index(own[name]), name))
    shown = {name: captions.get(own[name], name) for name in names}
    parts = [f"```{{figure}} figures/{name}\n\n{text}\n```" for name, text in shown.items()]
    return "\n\n".join(["# Figures of this run", "Press one to see it large.", *parts])


def _tables(run: Run) -> str:
    """The page of the run's tables, of long ones the first rows."""
    parts = ["# Tables of this run"]
    for path in sorted(run.path("tables").glob("*.csv")):
        table = pd.read_csv(path)
        count = f"{len(table)} rows" + f", the first {ROWS} here" * (len(table) > ROWS)
        parts.append(f"## {path.stem}\n\n{count}: [all as CSV](tables/{path.name})")
        parts.append(f"<div class='cell_output'>\n{table_html(table.head(ROWS))}\n</div>")
    return "\n\n".join(parts)


def _about(run: Run) -> str:
    """The page that says how the run was made."""
    record = storage.read_json(run.path("run.json"))
    seconds = {f"seconds of {name}": took for name, took in record.get("seconds", {}).items()}
    facts = {"profile": f"{run.profile.name}: {run.profile.description}"}
    for more in ("parameters", "versions"):
        facts |= record.get(more, {})
    facts |= {key: record[key] for key in ("python", "system") if key in record} | seconds
    table = table_html(pd.Series(facts).map(str).to_frame(""))
    return f"# How this run was made\n\n<div class='cell_output'>\n{table}\n</div>"
