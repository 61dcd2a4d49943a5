"""Tables as text, and from a run into README, docs/results.md and figures/."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from moods import mood_dataset

from mer_utils.batch import notebooks, pages, profiles, report, runs
from mer_utils.evaluation import tables
from mer_utils.predict import load_released, release
from mer_utils.projector import default_ridge


def results() -> pd.DataFrame:
    """Two methods and a ceiling on one target, as notebook 05 writes them."""
    shared = {"target": "emotify", "tracks": 400, "labels": 9}
    shared |= {"chance": 0.5, "chance_low": 0.48, "chance_high": 0.52}
    trained = {"shuffled": 0.51, "shuffled_low": 0.45, "shuffled_high": 0.59}
    ridge = {"method": "ridge", "value": 0.7, "seed_sd": 0.0123, **trained}
    net = {"method": "network", "value": 0.62, **trained}
    rows = [{**shared, **made, "metric": x} for made in (ridge, net) for x in tables.METRICS]
    ceiling = {"method": "supervised reference", "metric": "song_roc_auc", "value": 0.8}
    table = pd.DataFrame([*rows, shared | ceiling])
    return table.assign(low=table["value"] - 0.1, high=table["value"] + 0.1)


@pytest.fixture
def run(tmp_path) -> runs.Run:
    """What notebook 05 hands to the README."""
    compared = results().assign(difference=0.2, p=0.001, p_holm=0.018)
    two = {"target": "emotify", "value": [0.6, 0.7], "low": 0.5, "high": 0.8}
    trained = {"trained_on": [*"ab"], "words": 9, "training_tracks": 5}
    step = {"step": ["alignment", "texts", "committee"], "value": [0.55, 0.56, 0.7]}
    step |= {"difference": [np.nan, 0.01, 0.14], "p_holm": [np.nan, 0.4, 0.002]}
    apart = {"method": ["features"], "chance": 0.5, "balanced_accuracy": 0.84}
    made = {
        "results": results(),
        "paired": compared,
        "alignments": compared,
        "ablation": {"ridge": ["as it is", "bare names"], "emotify": [0.7, 0.6543]},
        "learning_curve": two | {"training_tracks": [10.0, 20.0]},
        "path": {"target": "emotify", "text": [*"abc"], **step},
        "texts": two | {"model": [*"ab"], "style": "name"},
        "training_sets": two | trained,
        "ears": two | {"heard": ["zero-shot", "all"]},
        "datasets_apart": {"target": "emotify", **apart},
    }
    opened = runs.open_run("demo", tmp_path / "run")
    for name, table in made.items():
        runs.save_table(opened, name, pd.DataFrame(table))
    return opened


@pytest.mark.parametrize("paper", [True, False])
def test_sentences_say_what_the_tables_say(run, tmp_path, paper):
    rows = results().assign(shuffles=20 if paper else 3, reached=0)
    if paper:
        of_paper = rows[rows["method"] == "ridge"].replace({"ridge": "alignment push λ=1"})
        rows = pd.concat([rows, of_paper.assign(value=0.62, low=0.55)], ignore_index=True)
    runs.save_table(run, "results", rows)
    report.copy_tables(run, tmp_path)
    said = report.TABLES["path_says"](tmp_path / "demo")
    assert all(part in said for part in ("0.550", "0.700", "*committee* (+0.140)"))
    assert "*texts*" not in said
    said = report.TABLES["says"](tmp_path / "demo")
    assert "*ridge*, 0.700 [0.600, 0.800]" in said
    assert ("*alignment push λ=1*, 0.620" in said) == paper
    assert ("that reach it: 0 of 20" in said) == paper
    # .600 is above .590, .550 and .520 are not
    assert tables.beyond_chance(rows).loc["emotify"].tolist() == [0.59, 1, 2 + paper]
    assert f"1 of {2 + paper} methods" in said


def test_readable_shows_interval_chance_and_sample_size():
    column = tables.readable(results())["emotify"]
    assert column["ridge"] == "0.700 [0.600, 0.800] ±0.012"
    assert column["network"] == "0.620 [0.520, 0.720]"  # one seed
    assert column["supervised reference"].startswith("0.800")
    assert column["chance: random scores"] == "0.500 [0.480, 0.520]"
    assert "[0.450, 0.590]" in column["chance: shuffled labels, all methods"]
    assert column["tracks, labels"] == "400, 9"


def test_paper_layout_has_chance_and_the_papers_numbers():
    layout = tables.paper_layout(results())["emotify"]
    own = layout["segment_macro_f1"][["ridge", "network", "chance", "paper: alignment"]]
    assert own.tolist() == ["0.700 ±0.012", "0.620", "0.500", "0.402"]
    assert layout["song_macro_f1", "paper: baseline 1"] == "0.315"


def test_readme_tables_of_the_runs_profile_are_rewritten(run, tmp_path):
    names = ["song_roc_auc", "short", "paired", "path_says", "ablation"]
    names += ["texts", "training_sets", "ears", "datasets_apart", "alignments"]
    marked = [f"<!-- begin demo:{x} -->\nold\n<!-- end demo:{x} -->\n" for x in names]
    other = "<!-- begin mulan:song_roc_auc -->\nkept\n<!-- end mulan:song_roc_auc -->\n"
    readme, figures = tmp_path / "README.md", tmp_path / "figures"
    readme.write_text("# Title\n" + "between\n".join(marked) + other)
    report.copy_tables(run, figures)
    assert report.update_text("demo", readme, figures) == names
    text = readme.read_text()
    assert "old" not in text
    assert text.count("| ridge | 0.700 [0.600, 0.800] ±0.012 |") == 1  # not in the short table
    assert text.count("| supervised reference | 0.800 [0.700, 0.900] |") == 2
    rows = ["| bare names | 0.654 |", "| b, name | 0.700 [", "| b | 0.700 [", "| all | 0.700 ["]
    rows += ["+0.200 [+0.600, +0.800], p = 0.018", "9 words of 5 tracks", "0.84 (chance 0.50)"]
    assert [row for row in rows if row not in text] == []
    assert text.endswith(other)
    report.update_text("demo", readme, figures)
    assert readme.read_text() == text  # the same run gives the same README


def test_names_from_data_are_text_in_the_texts(run, tmp_path):
    evil = "<script>1</script><!-- end demo:says -->|`x`\n\n![a](http://b) $x$"
    names = {"says": "best of", "song_roc_auc": "tracks, labels", "path_says": "Steps"}
    rows = results().assign(target=evil).replace({"ridge": f"alignment {evil}"})
    runs.save_table(run, "results", rows)
    runs.save_table(run, "path", pd.read_csv(run.path("tables", "path.csv")).assign(target=evil))
    report.copy_tables(run, tmp_path)
    file = tmp_path / "README.md"
    file.write_text("".join(f"<!-- begin demo:{x} -->\n<!-- end demo:{x} -->\n" for x in names))
    for _ in range(2):
        assert report.update_text("demo", file, tmp_path) == [*names]
        page = pages.to_html(file.read_text())
        assert all(shown in page for shown in names.values())
        assert not re.findall(r"<(?:script|img|code|a )", page)
        assert page.count("</th>") == 2


def test_broken_markers_are_named(run, tmp_path):
    readme, begin = tmp_path / "README.md", "<!-- begin demo:{0} -->"
    for text, named in ((begin, "song_roc_auc"), (begin + "<!-- end demo:{0} -->", "accuracy")):
        readme.write_text(text.format(named))
        with pytest.raises(ValueError, match=named):
            report.update_text("demo", readme, tmp_path)
        assert readme.read_text() == text.format(named)


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
    for copy, notebook in ((report.copy_tables, "05_"), (report.copy_figures, "01_")):
        with pytest.raises(FileNotFoundError, match=notebook):
            copy(opened, tmp_path / "figures")


@pytest.fixture
def with_model(tmp_path) -> runs.Run:
    """A run of two made-up datasets with the model of notebook 06."""
    opened = runs.open_run("real", tmp_path / "run")
    data = {name: mood_dataset(name) for name in ("one", "two")}
    release(default_ridge("name"), data, opened.path("model"), anonymous=True)
    return replace(opened, profile=replace(opened.profile, datasets=tuple(data)))


def test_a_runs_model_is_copied_into_the_package(with_model, tmp_path):
    size = report.copy_model(with_model, tmp_path / "released")
    copied = {path.name: path.stat().st_size for path in (tmp_path / "released").iterdir()}
    assert (copied.keys(), sum(copied.values())) == (set(report.MODEL), size)
    model, _ = load_released(tmp_path / "released")
    assert list(model.about["labels"]) == ["one", "two"]


def test_a_model_that_is_not_to_be_given_away_is_refused(with_model, tmp_path):
    with pytest.raises(ValueError, match="emotify"):
        report.copy_model(replace(with_model, profile=profiles.get("real")), tmp_path / "released")
    named = {name: mood_dataset(name) for name in ("one", "two")}
    release(default_ridge("name"), named, with_model.path("model"))
    with pytest.raises(ValueError, match="anonymous"):
        report.copy_model(with_model, tmp_path / "released")
    with_model.path("model", "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="06_"):
        report.copy_model(with_model, tmp_path / "released")
    assert not (tmp_path / "released").exists()


# --- what is committed


# profiles whose figures or tables are in the repository
COMMITTED = sorted({path.name for path in report.FIGURES.iterdir()} & profiles.PROFILES.keys())


def test_tables_in_the_texts_are_those_of_the_committed_runs(tmp_path):
    written = set()
    for file in report.TEXTS:
        copy, text = tmp_path / file.name, file.read_text(encoding="utf-8")
        copy.write_text(text, encoding="utf-8")
        written |= {name for name in COMMITTED if report.update_text(name, copy)}
        assert copy.read_text(encoding="utf-8") == text
    assert {"demo", "real", "mulan"} <= written


@pytest.mark.parametrize("profile", [name for name in COMMITTED if name != "smoke"])
def test_committed_figures_are_those_of_the_notebooks_and_not_blank(profile):
    found = {path.name for path in (report.FIGURES / profile).glob("*.png")}
    paths = [notebooks.notebook_path(number) for number in profiles.get(profile).notebooks]
    code = "\n".join(map(notebooks.notebook_code, paths))
    made = re.findall(r'run\.path\("figures", f?"([^"]+\.png)"\)', code)
    pattern = "|".join(re.sub(r"\{[^}]*\}", ".+", name) for name in made)  # of f-strings
    assert [name for name in found if not re.fullmatch(pattern, name)] == []
    assert {"results_roc_auc.png", "per_label.png"} <= found
    for name in found:
        picture = (report.FIGURES / profile / name).read_bytes()
        assert int.from_bytes(picture[16:20]) > 800, name  # width, at 200 dpi
        assert len(picture) > 30_000, f"{name}: an empty drawing has 20 kB"
