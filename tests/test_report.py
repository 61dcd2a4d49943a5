"""Tables as text, and from a run into the README and figures/."""

import re

import numpy as np
import pandas as pd
import pytest

from mer_utils.batch import notebooks, profiles, report, runs
from mer_utils.evaluation import tables


def results() -> pd.DataFrame:
    """Two methods and a ceiling on one target, as notebook 05 writes them."""
    rows = []
    for method, value, transductive in (("ridge", 0.7, False), ("ridge, own", 0.72, True)):
        for metric in tables.METRICS:
            rows.append(
                {"target": "emotify", "method": method, "transductive": transductive}
                | {"metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1}
                | {"chance": 0.5, "chance_low": 0.48, "chance_high": 0.52}
                | {"shuffled": 0.51, "shuffled_low": 0.45, "shuffled_high": 0.59}
                | {"tracks": 400, "labels": 9, "seed_sd": np.nan if transductive else 0.0123}
            )
    ceiling = {"target": "emotify", "method": "supervised reference", "transductive": False}
    ceiling |= {"metric": "song_roc_auc", "value": 0.8, "low": 0.78, "high": 0.82}
    ceiling |= {"chance": 0.5, "chance_low": 0.48, "chance_high": 0.52, "tracks": 400, "labels": 9}
    return pd.DataFrame([*rows, ceiling])


@pytest.fixture
def run(tmp_path) -> runs.Run:
    """What notebook 05 hands to the README."""
    path = pd.DataFrame({"target": "emotify", "step": ["alignment", "texts", "committee"]})
    path = path.assign(value=[0.55, 0.56, 0.7], difference=[np.nan, 0.01, 0.14], text=list("abc"))
    curve = pd.DataFrame({"target": "emotify", "training_tracks": [10.0, 20.0]})
    made = {
        "results": results(),
        "paired": results().assign(difference=0.2, p=0.001, p_holm=0.018),
        "ablation": pd.DataFrame({"ridge": ["as it is", "bare names"], "emotify": [0.7, 0.6543]}),
        "learning_curve": curve.assign(value=[0.65, 0.7], low=0.6, high=0.7),
        "path": path.assign(p_holm=[np.nan, 0.4, 0.002]),
    }
    opened = runs.open_run("demo", tmp_path / "run")
    for name, table in made.items():
        runs.save_table(opened, name, table)
    return opened


def test_sentences_say_what_the_tables_say(run, tmp_path):
    rows = results()
    paper = rows[rows["method"] == "ridge"].assign(
        method="alignment push λ=1", value=0.62, low=0.55
    )
    runs.save_table(run, "results", pd.concat([rows, paper], ignore_index=True))
    report.copy_tables(run, tmp_path)
    said = report.TABLES["path_says"](tmp_path / "demo")
    for part in ("0.550", "0.700", "*committee* (+0.140)"):
        assert part in said
    assert "*texts*" not in said
    said = report.TABLES["says"](tmp_path / "demo")
    assert "*ridge*, 0.700 [0.600, 0.800]" in said  # not the one that has looked at the audio
    assert "*alignment push λ=1*, 0.620" in said
    assert "1 of 2" in said  # .600 is above .590, .550 is not
    counted = tables.beyond_chance(pd.concat([rows, paper], ignore_index=True)).loc["emotify"]
    assert counted.tolist() == [0.59, 1, 2]


def test_readable_shows_interval_chance_and_sample_size():
    table = tables.readable(results())
    assert table.loc["ridge", "emotify"] == "0.700 [0.600, 0.800] ±0.012"
    assert table.loc["ridge, own †", "emotify"] == "0.720 [0.620, 0.820]"  # one seed
    assert table.loc["supervised reference", "emotify"].startswith("0.800")
    assert table.loc["chance: random scores", "emotify"] == "0.500 [0.480, 0.520]"
    assert "[0.450, 0.590]" in table.loc["chance: shuffled labels, all methods", "emotify"]
    assert table.loc["tracks, labels", "emotify"] == "400, 9"


def test_paper_layout_has_chance_and_the_papers_numbers():
    layout = tables.paper_layout(results())["emotify"]
    assert layout["segment_macro_f1", "ridge"] == "0.700 ±0.012"
    assert layout["segment_macro_f1", "ridge, own"] == "0.720"
    assert layout["segment_macro_f1", "chance"] == "0.500"
    assert layout["segment_macro_f1", "paper: alignment"] == "0.402"
    assert layout["song_macro_f1", "paper: baseline 1"] == "0.315"


def test_markdown_is_a_table():
    text = tables.markdown(pd.DataFrame({"a|b": ["1"]}, index=pd.Index(["x"], name="method")))
    assert text.splitlines() == ["| method | a\\|b |", "| --- | --- |", "| x | 1 |"]


def test_readme_tables_of_the_runs_profile_are_rewritten(run, tmp_path):
    names = ["song_roc_auc", "paired", "path_says", "ablation", "learning_curve"]
    marked = [f"<!-- begin demo:{x} -->\nold\n<!-- end demo:{x} -->\n" for x in names]
    other = "<!-- begin mulan:song_roc_auc -->\nkept\n<!-- end mulan:song_roc_auc -->\n"
    readme, figures = tmp_path / "README.md", tmp_path / "figures"
    readme.write_text("# Title\n" + "between\n".join(marked) + other)
    report.copy_tables(run, figures)
    assert report.update_readme("demo", readme, figures) == names
    text = readme.read_text()
    assert "old" not in text
    assert "| ridge | 0.700 [0.600, 0.800] ±0.012 |" in text
    assert "+0.200 [+0.600, +0.800], p = 0.018" in text
    assert "| bare names | 0.654 |" in text
    assert "| 20 | 0.700 (0.600 to 0.700) |" in text
    assert text.endswith(other)
    report.update_readme("demo", readme, figures)
    assert readme.read_text() == text  # the same run gives the same README


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin demo:song_roc_auc -->", "needs one"),
        ("<!-- begin demo:accuracy --><!-- end demo:accuracy -->", "no table 'accuracy'"),
    ],
)
def test_broken_markers_are_named(run, tmp_path, text, message):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match=message):
        report.update_readme("demo", readme, tmp_path)
    assert readme.read_text() == text


def test_figures_are_copied_and_others_are_named_and_kept(run, tmp_path):
    run.path("figures").mkdir()
    run.path("figures", "new.png").write_bytes(b"new")
    home = tmp_path / "figures" / "demo"
    home.mkdir(parents=True)
    (home / "old.png").write_bytes(b"old")
    with pytest.warns(UserWarning, match=r"old\.png"):
        copied = report.copy_figures(run, tmp_path / "figures")
    assert copied == [home / "new.png"]
    assert {path.name for path in home.iterdir()} == {"new.png", "old.png"}


def test_a_run_without_results_says_which_notebook_to_run(tmp_path):
    opened = runs.open_run("demo", tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="run notebook 05_zero_shot_evaluation first"):
        report.copy_tables(opened, tmp_path / "figures")
    with pytest.raises(FileNotFoundError, match="run notebook 01_label_embedding first"):
        report.copy_figures(opened, tmp_path / "figures")


# --- what is committed


def committed() -> list[str]:
    """Profiles whose figures or tables are in the repository."""
    return sorted(path.name for path in report.FIGURES.iterdir() if path.is_dir())


def test_readme_tables_are_those_of_the_committed_runs(tmp_path):
    readme = tmp_path / "README.md"
    text = (profiles.PROJECT / "README.md").read_text(encoding="utf-8")
    readme.write_text(text, encoding="utf-8")
    done = {name: report.update_readme(name, readme) for name in committed()}
    assert {"demo", "emotify", "mulan"} <= {name for name, tables in done.items() if tables}
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("profile", committed())
def test_committed_figures_are_those_of_the_notebooks_and_not_blank(profile):
    found = {path.name for path in (report.FIGURES / profile).glob("*.png")}
    if profile == "smoke":
        assert not found, "of smoke only the tables"
        return
    sources = [
        notebooks.notebook_code(notebooks.notebook_path(number))
        for number in profiles.get(profile).notebooks
    ]
    made = re.findall(r'run\.path\("figures", f?"([^"]+\.png)"\)', "\n".join(sources))
    patterns = [re.sub(r"\{[^}]*\}", ".+", name) for name in made]  # of f-strings
    assert [name for name in found if not any(re.fullmatch(p, name) for p in patterns)] == []
    assert {"results_roc_auc.png", "per_label.png", "label_spaces.png"} <= found
    for name in found:
        picture = (report.FIGURES / profile / name).read_bytes()
        assert int.from_bytes(picture[16:20]) > 800, name  # width, at 200 dpi
        assert len(picture) > 30_000, f"{name}: an empty drawing has 20 kB"
