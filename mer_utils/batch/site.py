"""Results as pages to read: executed notebooks, a sweep's summary, a site.

Nothing is loaded from the net: formulas are MathML, sounds and figures are in the page or beside
it.
"""

import html
import re
import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.preprocessors import Preprocessor, TagRemovePreprocessor

from mer_utils import storage
from mer_utils.batch.runs import Run

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 62rem;
  padding: 0 1rem 4rem; }
nav.site { font: 15px/1.5 system-ui, sans-serif; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem;
  padding: .7rem 0; border-bottom: 1px solid #ccc; margin-bottom: 1rem; }
a { color: #0062a3; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
td:last-child { white-space: nowrap; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; }
tbody tr:hover { background: #f3f6f9; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: .9rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
.gallery figure { margin: 0; } .gallery img { width: 100%; border: 1px solid #ddd; }
"""

# nbconvert's own page is made for wide screens
NOTEBOOK_STYLE = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body .jp-Notebook { max-width: 62rem; margin: 0 auto; }
.jp-RenderedHTMLCommon table { display: block; overflow-x: auto; }
.jp-RenderedImage img { max-width: 100%; height: auto; }
audio { max-width: 100%; }
@media (max-width: 40rem) {
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  body .jp-Notebook { padding: 0 .3rem; }
}
</style>
"""


class MathToMathML(Preprocessor):
    """Formulas in text cells, between dollar signs, as MathML, which browsers draw unaided."""

    def preprocess_cell(self, cell: nbformat.NotebookNode, resources: dict, index: int) -> tuple:
        """Turn the formulas of one cell."""
        if cell.cell_type == "markdown":
            cell = nbformat.from_dict({**cell, "source": with_mathml(cell.source)})
        return cell, resources


def with_mathml(markdown: str) -> str:
    """Markdown with its `$…$` and `$$…$$` as MathML; what stands as code is left alone."""
    code = r"```.*?```|`[^`\n]*`"
    formula = r"\$\$(?P<block>.+?)\$\$|(?<!\\)\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?)\$"

    def turned(found: re.Match) -> str:
        if found["block"]:
            return convert(found["block"].strip(), display="block")
        return convert(found["inline"].strip()) if found["inline"] else found[0]

    return re.sub(f"{code}|{formula}", turned, markdown, flags=re.DOTALL)


def notebook_page(executed: Path, navigation: str = "") -> str:
    """An executed notebook as one HTML page that needs nothing else; cells tagged "hide" left out.

    navigation: HTML to put above it.
    """
    exporter = HTMLExporter()
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags={"hide"}), enabled=True)
    exporter.register_preprocessor(MathToMathML, enabled=True)
    page, _ = exporter.from_filename(str(executed))
    # libraries of the net: for mathematics, diagrams and widgets, none of which is left to draw
    page = re.sub(r'<script[^>]*src="https?://[^"]*"[^>]*>\s*</script>', "", page)
    page = re.sub(
        r"<script[^>]*>(?:(?!</script>).)*?https?://cdn(?:(?!</script>).)*?</script>",
        "",
        page,
        flags=re.DOTALL,
    )
    page = page.replace("</head>", f"{NOTEBOOK_STYLE}</head>", 1)
    if navigation:
        bar = f"<style>{_navigation_style()}</style>{navigation}"
        page = re.sub(r"(<body[^>]*>)", lambda found: found[1] + bar, page, count=1)
    return page


def _navigation_style() -> str:
    """The rules of STYLE that concern the navigation."""
    bar = re.search(r"nav\.site \{[^}]*\}", STYLE)[0]
    return bar + " nav.site { padding: .7rem 1rem; } nav.site a { color: #0062a3; }"


def page(title: str, body: str, navigation: str = "") -> str:
    """An HTML page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>{navigation}\n<h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def links(entries: Mapping[str, str]) -> str:
    """A navigation bar: text to address."""
    items = (f'<a href="{address}">{html.escape(text)}</a>' for text, address in entries.items())
    return f'<nav class="site">{"".join(items)}</nav>'


def table_html(table: pd.DataFrame, digits: int = 3) -> str:
    """A table, scrollable where it is wider than the screen."""
    rounded = table.round(digits)
    text = rounded.to_html(index=not isinstance(table.index, pd.RangeIndex), border=0, na_rep="")
    return f'<div class="wide">{text}</div>'


def picture(address: str, caption: str) -> str:
    """A figure with its caption."""
    text = html.escape(caption)
    return (
        f'<figure><a href="{address}"><img src="{address}" alt="{text}" loading="lazy"></a>'
        f"<figcaption>{text}</figcaption></figure>"
    )


# --- A sweep --------------------------------------------------------------------------------------


def sweep_page(
    cells: Sequence,
    over_seeds: pd.DataFrame,
    compared: pd.DataFrame,
    pictures: Mapping[str, Path],
    out: Path,
) -> str:
    """The summary of a sweep (`batch.sweeps.summarise`), with links to every cell's notebook.

    pictures: captions and files below `out`.
    """
    done = [cell for cell in cells if cell.status == "done"]
    minutes = sum(cell.seconds for cell in done) / 60
    body = [
        f"<p>{len(done)} of {len(cells)} cells done, {minutes:.1f} min of work. Tables: "
        '<a href="results.csv">every cell</a>, <a href="seeds.csv">means over seeds</a>, '
        '<a href="comparisons.csv">comparisons</a>.</p>',
        "<h2>Song ROC-AUC, mean over seeds</h2>",
        '<p class="note">The interval is Student\'s over seeds: what another seed might give. It '
        "says nothing about other tracks; for that see low and high of every cell.</p>",
    ]
    body += [picture(str(path.relative_to(out)), text) for text, path in pictures.items()]
    for metric in ("song_roc_auc", "song_macro_f1"):
        part = over_seeds[over_seeds["metric"] == metric].drop(columns="metric")
        if metric != "song_roc_auc":
            body.append("<h2>Song macro-F1 of the top k, mean over seeds</h2>")
        best_first = part.sort_values(["target", "value"], ascending=[True, False])
        body.append(table_html(best_first.reset_index(drop=True)))
    if len(compared):
        body += [
            "<h2>Is the best really better?</h2>",
            '<p class="note">Every configuration against the best of its target: paired bootstrap '
            "over tracks of the song ROC-AUC, the seeds' deviation added. p_holm is corrected for "
            "the number of rows (Holm 1979). The best was chosen on the same tracks, so its lead "
            "is a little too large.</p>",
            table_html(compared, digits=4),
        ]
    rows = []
    for cell in cells:
        found = sorted((cell.folder / "notebooks").glob("*.html"))
        name = html.escape(cell.folder.name)
        if found:
            name = f'<a href="{found[0].relative_to(out.resolve())}">{name}</a>'
        took = f"{cell.seconds:.0f} s" if cell.status == "done" else ""
        rows.append(f"<tr><td>{name}</td><td>{cell.status}</td><td>{took}</td></tr>")
    heads = "<tr><th>cell</th><th>status</th><th>took</th></tr>"
    body += ["<h2>Cells</h2>", f'<div class="wide"><table>{heads}{"".join(rows)}</table></div>']
    return page(f"Sweep {out.name}", "\n".join(body))


# --- The site -------------------------------------------------------------------------------------

SITE = ".mer-utils-site"  # lists the files of a site that was written here, which may be replaced


def build_site(run: Run, folder: Path) -> list[Path]:
    """Write a run as a static site: an index, the notebooks, the figures, the tables.

    folder: is replaced if it is a site that this function wrote and holds nothing else.
    Returns the pages.
    Raises FileNotFoundError for a run without executed notebooks, ValueError for a folder that
    holds something else, and for a link that leads nowhere.
    """
    executed = sorted(run.made("notebooks", "00_datasets").glob("*.ipynb"))
    if not executed:
        raise FileNotFoundError(f"{run.path('notebooks')} is empty: run the notebooks first")
    refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # fresh and unique, beside the site so that it can be moved there
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new = Path(temporary) / "new"
        pages = [*_notebook_pages(executed, new), *_table_pages(run, new)]
        if run.path("figures").is_dir():
            shutil.copytree(run.path("figures"), new / "figures")
        storage.write_text(new / "index.html", _index(run, executed, new))
        broken = broken_links(new)
        if broken:
            raise ValueError(f"{len(broken)} links lead nowhere, first: {broken[0]}")
        storage.write_json(new / SITE, [str(path) for path in files_below(new)])
        refuse_foreign(folder)  # again: a site takes seconds to write
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)
    return [folder / "index.html", *(folder / path.relative_to(new) for path in pages)]


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and below, relative to it, sorted."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())


def refuse_foreign(folder: Path) -> None:
    """Raise ValueError if a folder holds anything but a site that `build_site` wrote."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder for the site")
    known = storage.read_json(folder / SITE) if (folder / SITE).is_file() else []
    foreign = sorted({str(path) for path in files_below(folder)} - {SITE, *known})
    if foreign:
        raise ValueError(
            f"{folder} holds {len(foreign)} files that `make site` did not write, first: "
            f"{foreign[0]}; give another folder, or move them elsewhere"
        )


def _notebook_pages(executed: Sequence[Path], site: Path) -> list[Path]:
    pages = []
    for place, path in enumerate(executed):
        around = {"index": "../index.html"}
        if place > 0:
            around["← " + title_of(executed[place - 1])] = f"{executed[place - 1].stem}.html"
        if place + 1 < len(executed):
            around[title_of(executed[place + 1]) + " →"] = f"{executed[place + 1].stem}.html"
        pages.append(site / "notebooks" / f"{path.stem}.html")
        storage.write_text(pages[-1], notebook_page(path, links(around)))
    return pages


def _table_pages(run: Run, site: Path) -> list[Path]:
    pages = []
    for path in sorted(run.path("tables").glob("*.csv")):
        table = pd.read_csv(path)
        target = site / "tables" / f"{path.stem}.html"
        note = f'<p>{len(table):,} rows; <a href="{path.name}">as CSV</a></p>'
        text = page(path.stem, note + table_html(table), links({"index": "../index.html"}))
        storage.write_text(target, text)
        shutil.copyfile(path, target.with_suffix(".csv"))
        pages.append(target)
    return pages


def title_of(executed: Path) -> str:
    """A notebook's title: its first heading."""
    return _opening(executed).splitlines()[0].lstrip("# ")


def _opening(executed: Path) -> str:
    """The cell with the title; of a notebook that failed, papermill's note stands before it."""
    sources = [cell.source for cell in nbformat.read(executed, as_version=4).cells]
    return next((source for source in sources if source.startswith("# ")), executed.stem)


def question_of(executed: Path) -> str:
    """A notebook's question, from its opening."""
    opening = _opening(executed)
    found = re.search(r"\*\*Question\.\*\*\s*(.+?)\n\n", opening, flags=re.DOTALL)
    return " ".join(found[1].replace("*", "").split()) if found else ""


def _index(run: Run, executed: Sequence[Path], site: Path) -> str:
    record = storage.read_json(run.path("run.json"))
    seconds = record.get("seconds", {})
    rows = [
        f'<tr><td><a href="notebooks/{path.stem}.html">{html.escape(title_of(path))}</a></td>'
        f"<td>{html.escape(question_of(path))}</td><td>{_took(seconds.get(path.stem))}</td></tr>"
        for path in executed
    ]
    heads = "<tr><th>notebook</th><th>question</th><th>took</th></tr>"
    figures = sorted((site / "figures").glob("*.png"))
    tables = sorted((site / "tables").glob("*.html"))
    given = {k: v for k, v in record.get("parameters", {}).items() if k not in ("out", "profile")}
    facts = {"profile": f"{run.profile.name}: {run.profile.description}"}
    facts |= {"parameters": ", ".join(f"{k} = {v}" for k, v in given.items()) or "all as they are"}
    facts |= {"versions": ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items())}
    body = [
        "<p>Zero-shot music emotion recognition by aligning labels across datasets: the executed "
        "notebooks, figures and tables of one run.</p>",
        f'<div class="wide"><table>{heads}{"".join(rows)}</table></div>',
        '<h2>Figures</h2><div class="gallery">',
        *(picture(f"figures/{path.name}", path.stem.replace("_", " ")) for path in figures),
        "</div>",
        "<h2>Tables</h2><ul>",
        *(f'<li><a href="tables/{path.name}">{path.stem}</a></li>' for path in tables),
        "</ul><h2>How it was made</h2>",
        table_html(pd.Series(facts, name="").to_frame()),
    ]
    return page("Zero-shot music emotion recognition", "\n".join(body))


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


class _Addresses(HTMLParser):
    """Collects what a page links to and loads, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        loaded = given.get("src") or (given.get("href") if tag == "link" else None)
        if loaded:
            self.loads.append(loaded)
        if given.get("href"):
            self.addresses.append(given["href"])


def broken_links(folder: Path) -> list[str]:
    """Links inside a site that lead nowhere, and whatever a page would load from the net."""
    found = {path.resolve(): _Addresses() for path in sorted(folder.rglob("*.html"))}
    for path, parser in found.items():
        parser.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, parser in found.items():
        name = path.relative_to(folder.resolve())
        for address in [*parser.addresses, *parser.loads]:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https"):
                if address in parser.loads:
                    broken.append(f"{name} loads {address}")
                continue
            if parts.scheme:  # data:, mailto:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            # a browser looks for the fragment as it stands, then for what it stands for
            wanted = {parts.fragment, unquote(parts.fragment)}
            there = {"", *found[target].places} if target in found else wanted
            if not target.is_file() or not wanted & there:
                broken.append(f"{name}: {address}")
    return broken
