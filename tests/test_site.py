"""Pages that need nothing from the net: formulas, links, the site of a run."""

import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mer_utils.batch import cli, runs, site


def broken_links(folder: Path) -> list[str]:
    """Links and pictures of a site that lead nowhere, and what a page would load from the net."""
    broken = []
    for page in folder.rglob("*.html"):
        for name, address in re.findall(r'(href|src)="([^"#]+)', page.read_text("utf-8")):
            outside = address.startswith(("http:", "https:"))
            fine = name == "href" if outside else (page.parent / unquote(address)).is_file()
            broken += [] if fine or address.startswith("data:") else [address]
    return broken


@pytest.fixture
def run(tmp_path) -> runs.Run:
    opened = runs.open_run("smoke", tmp_path / "run")
    opened.path("notebooks").mkdir()
    for name, title in (("00_a", "0 · Nought"), ("01_b", "1 · First")):
        text = f"# {title}\n\n**Question.** Does it\nwork?\n\n**In:** $e_l = \\mathrm{{LM}}(l)$"
        output = new_output("display_data", data={"text/html": "<b>done</b>"})
        cells = [new_markdown_cell(text), new_code_cell("1 + 1", outputs=[output])]
        widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
        notebook = new_notebook(cells=cells, metadata={"widgets": widgets})
        nbformat.write(notebook, opened.path("notebooks", f"{name}.ipynb"))
    runs.save_table(opened, "results", pd.DataFrame({"method": ["a < b"], "value": [0.51234]}))
    opened.path("figures").mkdir()
    opened.path("figures", "map.png").write_bytes(b"png")
    return opened


def test_formulas_are_mathml_and_code_is_left_alone():
    found = site.to_html(
        "cost $a^2$ and `$b$`\n\n```\n$c$\n```\n\n$$\\sum_i x_i$$\n\n\\$4, 3 $ only"
    )
    assert found.count("<math") == 2
    for kept in ("<msup>", 'display="block"', "<code>$b$</code>", "$c$", "3 $ only"):
        assert kept in found


def test_site_has_everything_and_needs_nothing_else(run, tmp_path):
    out = tmp_path / "site"
    written = site.build_site(run, out)
    names = {path.relative_to(out).as_posix() for path in written}
    assert names == {"index.html", "tables.html", "notebooks/00_a.html", "notebooks/01_b.html"}
    for page, shown in (
        ("index.html", ("Does it work?", "figures/map.png")),
        ("tables.html", ("a &lt; b", "0.5123<")),
        ("notebooks/00_a.html", ("1 · First</a> →", "<math", "<b>done</b>")),
    ):
        text = (out / page).read_text("utf-8")
        assert all(part in text for part in shown)
        assert "cdnjs" not in text
    assert broken_links(out) == []
    (out / "tables" / "results.csv").unlink()
    assert broken_links(out) == ["tables/results.csv"]


def test_site_is_written_again_and_what_is_no_site_is_kept(run, tmp_path, capsys):
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("my own page")
    with pytest.raises(ValueError, match=re.escape(str(out))):
        site.build_site(run, out)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    (out / "index.html").rename(out / site.MARK)
    (out / "CNAME").write_text("my.example")
    site.build_site(run, out)
    assert "Does it work?" in (out / "index.html").read_text("utf-8")
    assert (out / "CNAME").is_file()
    with pytest.raises(FileNotFoundError, match="run notebook 00_datasets first"):
        site.build_site(runs.open_run("smoke", tmp_path / "empty"), tmp_path / "other")
    assert cli.main(["site", "--run", str(tmp_path / "nothing")]) == 1
    assert "is not a run" in capsys.readouterr().err
