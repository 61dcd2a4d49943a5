"""Pages that need nothing from the net: formulas, links, the site."""

import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mer_utils.batch import cli, runs, site


def write_executed(path, title="1 · First"):
    text = f"# {title}\n\n**Question.** Does it\nwork?\n\n**In:** $e_l = \\mathrm{{LM}}(l)$"
    output = new_output("display_data", data={"text/html": "<b>done</b>"})
    hidden = new_code_cell("secret = 1")
    hidden.metadata["tags"] = ["hide"]
    cells = [new_markdown_cell(text), new_code_cell("1 + 1", outputs=[output]), hidden]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture
def run(tmp_path) -> runs.Run:
    opened = runs.open_run("smoke", tmp_path / "run")
    for name, title in (("00_a", "0 · Nought"), ("01_b", "1 · First")):
        write_executed(opened.path("notebooks", f"{name}.ipynb"), title)
    runs.save_table(opened, "results", pd.DataFrame({"method": ["a < b"], "value": [0.51234]}))
    opened.path("figures").mkdir()
    opened.path("figures", "map.png").write_bytes(b"png")
    return opened


def test_formulas_are_mathml_and_code_is_left_alone():
    found = site.with_mathml("cost $a^2$ and `$b$`\n\n```\n$c$\n```\n\n$$\\sum_i x_i$$")
    assert found.count("<math") == 2
    assert "<msup>" in found
    assert 'display="block"' in found
    assert "`$b$`" in found
    assert "$c$" in found


def test_dollars_that_are_no_formula():
    text = "it costs 3 $ or \\$4, not more"
    assert site.with_mathml(text) == text


def test_a_notebooks_page_loads_nothing(run):
    page = site.notebook_page(run.path("notebooks", "00_a.ipynb"))
    assert "<math" in page
    assert "secret" not in page
    assert "<b>done</b>" in page
    assert 'name="viewport"' in page
    assert not re.findall(r'(?:src|href)="https?://', page)
    assert "cdnjs" not in page
    assert "<script" not in page.split("<body")[1] or "http" not in page.split("<script")[-1]


def test_site_has_everything_and_its_links_lead_somewhere(run, tmp_path):
    out = tmp_path / "site"
    written = site.build_site(run, out)
    names = {path.relative_to(out).as_posix() for path in written}
    assert names == {
        "index.html", "notebooks/00_a.html", "notebooks/01_b.html", "tables/results.html",
    }  # fmt: skip
    index = (out / "index.html").read_text()
    assert "Does it work?" in index
    assert "figures/map.png" in index
    assert "a &lt; b" in (out / "tables" / "results.html").read_text()
    assert "0.512" in (out / "tables" / "results.html").read_text()
    first = (out / "notebooks" / "00_a.html").read_text()
    assert "1 · First →" in first
    assert '<a href="../index.html">index</a>' in first
    assert site.broken_links(out) == []
    site.build_site(run, out)  # again, over itself
    assert {path.name for path in tmp_path.iterdir()} == {"run", "site"}


def test_site_removes_nothing_that_it_did_not_make(run, tmp_path):
    beside = tmp_path / "pages.tmp"
    beside.mkdir()
    (beside / "mine.txt").write_text("keep")
    out = tmp_path / "pages"
    site.build_site(run, out)
    assert (beside / "mine.txt").read_text() == "keep"
    (out / "CNAME").write_text("my.example")
    with pytest.raises(ValueError, match="CNAME"):
        site.build_site(run, out)
    assert (out / "CNAME").read_text() == "my.example"
    assert (out / "index.html").is_file()


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.html").write_text('<h2 id="there">x</h2>')
    (tmp_path / "index.html").write_text(
        '<a href="other.html#there">1</a><a href="other.html#nowhere">2</a><a href="no.html">3</a>'
        '<img src="no.png"><a href="https://example.org">5</a><script src="https://cdn/x.js">'
        '</script><img src="data:image/png;base64,AA"><a href="#top">8</a>'
    )
    assert site.broken_links(tmp_path) == [
        "index.html: other.html#nowhere",
        "index.html: no.html",
        "index.html: #top",
        "index.html: no.png",
        "index.html loads https://cdn/x.js",
    ]


def test_site_refuses_what_is_no_run_and_what_is_no_site(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    (other / "index.html").write_text("my own page")
    with pytest.raises(ValueError, match=r"index\.html"):
        site.build_site(run, other)
    assert (other / "mine.txt").read_text() == "keep"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "other"}
    empty = runs.open_run("smoke", tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="run notebook 00_datasets first"):
        site.build_site(empty, tmp_path / "site")
    assert cli.main(["site", "--run", str(tmp_path / "nothing")]) == 1
    assert "is not a run" in capsys.readouterr().err
