"""A run as a book: built from a tiny run of a tiny project, and looked at in a real browser."""

import base64
import os
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import sync_playwright

from mer_utils import storage
from mer_utils.batch import book, cli, pages, runs

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVIL = "<script>window.hacked = true</script>"
SLIDER = "<p id='moved'></p><script>document.getElementById('moved').textContent = 'moves'</script>"
INCLUDE = "```{include} ../../../secret.txt\n```"
FORMULA = "$\\text{<script>window.hacked = true</script>}$ $" + "\\text{" * 20_000 + "$"
OPENING = f"""# 0 · Nought

**Question.** How wide is the bandwidth?

$e_l = \\mathrm{{LM}}(l)$

$$\\sum_i x_i$$

$\\frac{{$ is none. [pull](../docs/glossary.md#alignment-loss)

[out](../../../secret.txt) ![cat](../../../secret.txt)

[gone](../gone.md#x)

{INCLUDE}

{FORMULA}"""
PROJECT = {
    "README.md": "# The method\n\n[first](notebooks/00_a.ipynb) [no](no.md)\n",
    "docs/results.md": "# Results\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "docs/glossary.md": "# Glossary\n\n## Alignment loss\n\nA pull.\n",
    "pyproject.toml": "[project]\nname = 'tiny'\n",
    "secret.txt": "do not tell",
}
LINKS = ("figures/stolen.png", "tables/stolen.csv", "notebooks/02_stolen.ipynb")
PIPES = ("figures/pipe.png", "tables/pipe.csv", "notebooks/03_pipe.ipynb")
LEFT_OUT = {
    f"tables/{EVIL.replace('/', '')}.csv": "a\n1\n",
    "tables/a\n\n```.csv": "a\n1\n",
    "tables/04_ragged.csv": "a,b\n1,2\n1,2,3\n",
    "tables/05_empty.csv": "",
    "notebooks/06_damaged.ipynb": "{",
    "notebooks/07_list.ipynb": "[]",
    "notebooks/08_none.ipynb": '{"nbformat": 4, "nbformat_minor": 5, "cells": [0]}',
    "notebooks/09_nested.ipynb": "[" * 100_000,
    "notebooks/10_huge.ipynb": " " * (book.MOST_BYTES + 1),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated"),  # of Sphinx's extensions
    pytest.mark.filterwarnings("ignore:.*left out"),
]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def shows(kind: str, data: str) -> nbformat.NotebookNode:
    return new_output("display_data", data={kind: data})


def write(run: runs.Run, name: str, *cells: nbformat.NotebookNode) -> None:
    path = run.path("notebooks", f"{name}.ipynb")
    about = {"widgets": {}, "papermill": {"output_path": str(path)}}
    storage.write_text(path, nbformat.writes(new_notebook(cells=cells, metadata=about)))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project of a README and two docs, in place of this one."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        storage.write_text(folder / name, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "PROJECT", folder)
        yield folder


@pytest.fixture(scope="module")
def run(project) -> runs.Run:
    """Its run, of one good notebook and one that failed, among files that mean harm."""
    opened = runs.open_run("smoke", project / "runs" / "tiny")
    given = {"csv": f"{EVIL}```", "```": f"\n```\n\n{EVIL}", "out": str(opened.folder)}
    runs.note(opened, parameters=given)
    picture = shows("image/png", base64.b64encode(PNG).decode())
    log = new_output("stream", text=f"\x1b[31m{project}/x.py: {Path.home()}/y {'word ' * 60}")
    write(
        opened,
        "00_a",
        new_markdown_cell(OPENING),
        new_code_cell("profile = 'demo'", metadata={"tags": ["parameters"]}),
        new_code_cell(f"out = '{opened.folder}'", metadata={"tags": ["injected-parameters"]}),
        new_code_cell("figures.label_map(x)  # first thing to see", outputs=[picture, log]),
        new_code_cell("# Words as points\nfigures.variants(x)", outputs=[picture]),
        new_code_cell("slider()", outputs=[shows("text/html", SLIDER)]),
        new_code_cell("card()", outputs=[shows("text/markdown", f"{EVIL}\n\n| a |\n|---|\n| 1 |")]),
        new_markdown_cell("**A.** Why?"),
        new_code_cell("answer = 42", metadata={"tags": ["solution", "hide-cell"]}),
    )
    error = new_markdown_cell("An Exception", metadata={"tags": ["papermill-error-cell-tag"]})
    failed = new_code_cell("1 / 0", metadata={"papermill": {"status": "failed"}})
    write(opened, "01_b", error, new_markdown_cell("# 1 · First"), failed)
    wide = dict.fromkeys([f"column {i}" for i in range(30)], 0.51234)
    wide["method"] = [f"{EVIL}\n\n\n{INCLUDE}\n\n</div>\n\n{EVIL}"]
    runs.save_table(opened, "results", pd.DataFrame(wide))
    opened.path("figures").mkdir()
    opened.path("figures", "map.png").write_bytes(PNG)
    for name in LINKS:
        opened.path(name).symlink_to(project / "secret.txt")
    for name in PIPES:
        os.mkfifo(opened.path(name))
    for name, text in LEFT_OUT.items():
        opened.path(name).write_text(text)
    return opened


@pytest.fixture(scope="module")
def site(run, project) -> Path:
    with pytest.warns(UserWarning, match="left out") as warned:
        made = book.build_book(run, project / "site").parent
    said = [str(warning.message) for warning in warned]
    for stem in (Path(name).stem for name in (*LINKS, *PIPES, *LEFT_OUT)):
        assert any(repr(stem)[1:-1] in line for line in said), stem
        assert not [path for path in made.rglob("*") if stem in path.name]
    assert [line for line in said if "Sphinx says" in line and "pipe" in line] == []
    return made


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM:
        pytest.skip("no Chromium")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def browser(chromium):
    with chromium.new_page(viewport={"width": 390, "height": 800}) as page:
        yield page


def test_formulas_are_mathml_and_code_is_left_alone():
    code = "cost $a^2$ and `$b$`\n\n```\n$c$\n```\n\n$$\\sum_i x_i$$\n\n\\$4, 3 $ only"
    found = pages.to_html(code)
    assert found.count("<math") == 2
    for kept in ("<msup>", 'display="block"', "<code>$b$</code>", "$c$", "3 $ only"):
        assert kept in found
    assert pages.mathml("\\left(<") == "<code>\\left(&lt;</code>"
    for bad in (r"\href{javascript:x}{y}", "x" * 10**6, "{" * 999, r"\def\a#1{#1#1}"):
        assert pages.mathml(bad) == f"<code>{bad}</code>"
    assert "<script" not in pages.mathml(r"\text{<script>x</script>} \verb|<script>|")


def test_a_page_of_its_own_shows_data_as_text(browser, tmp_path):
    table = pd.DataFrame({EVIL: [f"{EVIL}\n\n{EVIL}"]}, index=[EVIL])
    card = new_code_cell("card()", outputs=[shows("text/markdown", f"{EVIL} \\\\{EVIL}")])
    for html in (
        pages.page("Sweep", table),
        pages.notebook_page(new_notebook(cells=[card]), EVIL),
    ):
        storage.write_text(tmp_path / "page.html", html)
        browser.goto((tmp_path / "page.html").as_uri())
        assert browser.evaluate("window.hacked") is None
        assert EVIL in browser.content().replace("&lt;", "<").replace("&gt;", ">")


def test_the_book_needs_nothing_else_and_fits_a_phone(site, browser):
    home, complaints = site.as_uri(), []
    browser.on("console", lambda x: x.type == "error" and complaints.append(x.text))
    browser.on("pageerror", lambda error: complaints.append(str(error)))
    browser.on("request", lambda x: x.url.startswith((home, "data:")) or complaints.append(x.url))
    for page in {*site.rglob("*.html")} - {*site.glob("_static/*")}:
        browser.goto(page.as_uri())
        assert browser.evaluate("document.documentElement.scrollWidth") == 390, page
        assert browser.evaluate("window.hacked") is None, page
    browser.goto(f"{home}/search.html?q=bandwidth")
    browser.wait_for_selector("#search-results li")
    assert "0 · Nought" in browser.inner_text("#search-results")
    assert complaints == []


def test_a_notebook_opens_with_prose_and_folds_its_code(site, browser):
    browser.goto((site / "notebooks" / "00_a.html").as_uri())
    assert browser.locator("math").count() == 3
    assert browser.locator("text=\\frac{").is_visible()
    assert browser.locator("text=gone").is_visible()
    assert browser.locator("a:has-text('gone')").count() == 0
    assert browser.inner_text("#moved") == "moves"
    assert browser.locator("table td").first.inner_text() == "1"  # of an output in Markdown
    captions = browser.locator("figure figcaption").all_inner_texts()
    told = ["Labels on a map", "Words as points"]  # by the function, by the cell's first comment
    assert [text[:15] for text in captions] == told
    code, answer = browser.locator("text=first thing to see"), browser.locator("text=answer = 42")
    assert (code.is_visible(), answer.is_visible()) == (False, False)
    assert browser.locator("summary").count() == 5  # parameters, imports and first code are one
    browser.click("text=show or hide all code")
    assert (code.is_visible(), answer.is_visible()) == (True, False)
    browser.click("text=Show the solution")
    assert answer.is_visible()
    browser.click("text=pull")
    assert browser.url.endswith("docs/glossary.html#alignment-loss")


def test_the_book_names_no_folder_of_this_machine_and_follows_no_link_out_of_it(site, project):
    named = (str(project), str(Path.home()), str(runs.profiles.PROJECT), "do not tell")
    for path in (path for path in site.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("utf-8", "ignore")
        assert [name for name in named if name in text] == [], path
    assert not list(site.rglob("*secret*"))
    notebooks = [(site / "notebooks" / f"{x}.html").read_text("utf-8") for x in ("00_a", "01_b")]
    assert "…/x.py" in notebooks[0]
    assert ["stopped at an error" in page for page in notebooks] == [False, True]


def test_what_others_put_into_a_folder_stays(run, tmp_path):
    out, beside = tmp_path / "pages", tmp_path / "pages.tmp"
    beside.mkdir()
    out.mkdir()
    (out / "index.html").write_text("my own page")
    with pytest.raises(ValueError, match=re.escape(str(out))):
        book.build_book(run, out)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    (out / "index.html").rename(out / book.MARK)
    (out / "CNAME").write_text("my.example")
    (out / "docs").symlink_to(beside)
    with pytest.raises(ValueError, match="docs"):
        book.build_book(run, out)
    assert not list(beside.iterdir())
    (out / "docs").unlink()
    assert "The method" in book.build_book(run, out).read_text("utf-8")
    assert (out / "CNAME").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages", "pages.tmp"]


def test_a_book_needs_a_run_with_notebooks(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="run notebook 00_datasets first"):
        book.build_book(runs.open_run("smoke", tmp_path / "empty"), tmp_path / "other")
    assert cli.main(["site", "--run", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_once_the_repository_has_an_address_notebooks_open_elsewhere(run, project, tmp_path):
    """In a folder where another book was killed, too."""
    urls = "[project]\nname = 'tiny'\n[project.urls]\nRepository = 'https://github.com/me/mine'\n"
    (project / "pyproject.toml").write_text(urls)
    storage.write_text(tmp_path / "site" / f"..mer-utils-site.{'0' * 32}.tmp", "")
    book.build_book(run, tmp_path / "site")
    page = (tmp_path / "site" / "notebooks" / "00_a.html").read_text("utf-8")
    for host in ("mybinder.org", "colab.research.google.com"):
        assert re.search(rf"https://{host}/[^\"]*me/mine/[^\"]*00_a\.ipynb", page)
