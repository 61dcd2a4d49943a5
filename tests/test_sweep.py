"""Sweeps: grids, cells that fail or are stopped, statistics over seeds, the summary."""

import multiprocessing
import shutil
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from scipy import stats

from mer_utils import storage
from mer_utils.batch import cli, notebooks, profiles, site, sweeps

PARAMETERS = 'profile = "smoke"\nout = ""\ntarget = "demo-mtg"\nweight = 1.0\nseed = 0\nkind = "x"'
EXPERIMENT = """
import os
from pathlib import Path
import numpy as np, pandas as pd, torch
from mer_utils import evaluation, storage
if kind == "broken":
    raise ZeroDivisionError("on purpose")
if kind == "killed":
    os._exit(1)
if kind == "slow":
    import time; time.sleep(60)
random = np.random.default_rng(seed)
targets = np.arange(40)[:, None] % np.array([2, 3]) == 0
scores = weight * targets + random.normal(size=targets.shape)
table = evaluation.evaluate(scores, targets, 1, resamples=20).reset_index()
table = table.assign(target=target, threads=os.environ["OMP_NUM_THREADS"])
storage.write_table(Path(out, "tables", "experiment.parquet"), table)
tensors = {"scores": scores, "targets": targets, "track_index": np.arange(40), "k": np.array(1)}
tensors["groups"] = np.arange(40) // 2
tensors = {name: torch.from_numpy(value) for name, value in tensors.items()}
storage.write_tensors(Path(out, "scores.safetensors"), tensors)
"""
GRID = {"profile": "smoke", "grid": {"weight": [0.0, 3.0], "seed": [0, 1], "target": ["demo-mtg"]}}


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A notebook 07 that takes a second, and no features to extract."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = new_notebook(cells=[new_markdown_cell("# 7 · Quick"), new_code_cell(PARAMETERS)])
    notebook.cells[1].metadata["tags"] = ["parameters"]
    notebook.cells.append(new_code_cell(EXPERIMENT))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, folder / "07_quick.ipynb")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    monkeypatch.setattr(profiles, "load_labelled", lambda *_: {})
    return folder


# --- Grids


def test_a_grid_is_every_combination_once(quick, tmp_path):
    cells = sweeps.plan({**GRID, "fixed": {"kind": "y"}}, tmp_path)
    assert [(c.varied["weight"], c.varied["seed"]) for c in cells] == [
        (0.0, 0), (3.0, 0), (0.0, 1), (3.0, 1),
    ]  # fmt: skip
    assert len({cell.folder for cell in cells}) == 4
    assert all(cell.parameters["kind"] == "y" for cell in cells)
    assert all(cell.parameters["profile"] == "smoke" for cell in cells)
    twice = sweeps.plan(
        {"profile": "smoke", "grid": [{"seed": [0, 1]}, {"seed": [1, 2]}]}, tmp_path
    )
    assert [cell.varied["seed"] for cell in twice] == [0, 1, 2]
    assert {cell.status for cell in twice} == {"to do"}
    assert not (tmp_path / "cells").exists()


def test_numpy_numbers_and_tuples_are_plain_values(quick, tmp_path):
    grid = {"profile": "smoke", "grid": {"weight": np.array([0.5]), "seed": (np.int64(3),)}}
    (cell,) = sweeps.plan(grid, tmp_path)
    assert cell.varied == {"weight": 0.5, "seed": 3}
    assert [type(cell.varied[name]) for name in ("weight", "seed")] == [float, int]
    plain = notebooks.plain({"a": (1, np.float32(0.5)), "b": [tmp_path]})
    assert plain == {"a": [1, 0.5], "b": [str(tmp_path)]}
    with pytest.raises(ValueError, match=r"'x' is \{1\} \(set\); give a number, text"):
        notebooks.plain({1}, "x")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "has no 'grid'"),
        ({"grid": {"seed": 3}}, r"seed is 3; a list is needed, such as \[3\]"),
        ({"grid": {"seed": "012"}}, "seed is '012'; a list is needed"),
        ({"grid": {"seed": []}}, "seed has no values"),
        ({"grid": {"seed": [0]}, "axes": {}}, "has a key 'axes'; there are fixed, grid, profile"),
        ({"grid": {"sead": [0]}}, "has a parameter 'sead'; they declare"),
        ({"grid": {"weight": ["1e-3"]}}, "YAML needs the point of 1.0e-3"),
        ({"grid": {"out": ["x"]}}, "'out' is no parameter of a grid's cells"),
        ({"profile": "nonsense", "grid": {"seed": [0]}}, "no profile 'nonsense'"),
        ({"profile": ["smoke"], "grid": {"seed": [0]}}, "profile is .* it is one name"),
        ({"grid": ["approach", "target"]}, "grid has 'approach' where parameters"),
        ({"grid": 5}, "grid has 5 where parameters"),
        ({"fixed": ["a"], "grid": {"seed": [0]}}, "fixed has .* where parameters"),
        ({"grid": {"target": ["demo-nonsense"]}}, "no target 'demo-nonsense' in profile 'smoke'"),
    ],
)
def test_grids_that_are_wrong(quick, tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        sweeps.plan({"profile": "smoke", **grid}, tmp_path)


def test_an_unknown_approach_is_refused_before_anything_runs(tmp_path):
    grid = {"profile": "smoke", "grid": {"approach": ["ridge", "rigde"]}}
    with pytest.raises(ValueError, match="no approach 'rigde'; there are baseline 1"):
        sweeps.plan(grid, tmp_path)


def test_a_whole_number_is_the_same_experiment_as_its_decimal(quick, tmp_path):
    grid = {"profile": "smoke", "grid": {"weight": [1, 1.0]}}
    assert [cell.varied["weight"] for cell in sweeps.plan(grid, tmp_path)] == [1.0]


def test_a_lost_worker_fails_its_cells_and_says_so(quick, tmp_path, monkeypatch):
    class Breaks(ThreadPoolExecutor):
        def submit(self, function, cell, *rest):
            if cell.varied["seed"] == 0:
                return super().submit(self.die)
            return super().submit(function, cell, *rest)

        def die(self):
            raise BrokenExecutor("killed")

    monkeypatch.setattr(sweeps, "prepare_features", lambda cells: None)
    monkeypatch.setattr(notebooks, "run_notebook", lambda *args, **named: 1 / 0)
    grid = {"profile": "smoke", "grid": {"seed": [0, 1]}}
    with Breaks(1) as executor, pytest.raises(notebooks.NotebookError, match="2 of 2 cells") as e:
        sweeps.run_cells(grid, tmp_path, executor)
    assert "its worker was lost (BrokenExecutor: killed), most often for want of" in str(e.value)
    assert "ZeroDivisionError" in str(e.value)
    assert {cell.status for cell in sweeps.plan(grid, tmp_path)} == {"failed"}


def test_grids_in_files(quick, tmp_path):
    path = tmp_path / "grid.yml"
    path.write_text("profile: smoke\ngrid: {seed: [0, 1], weight: [1.0e-3]}\n")
    assert [cell.varied["weight"] for cell in sweeps.plan(path, tmp_path)] == [0.001, 0.001]
    path.write_text("grid: [")
    with pytest.raises(ValueError, match="is not YAML"):
        sweeps.plan(path, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such grid"):
        sweeps.plan(tmp_path / "none.yml", tmp_path)


def test_the_example_grid_is_one(tmp_path):
    cells = sweeps.plan(profiles.PROJECT / "docs" / "sweep.yml", tmp_path)
    assert len(cells) == 45


# --- Running


@pytest.mark.slow
def test_a_sweep_is_run_resumed_and_summarised(quick, tmp_path):
    out = tmp_path / "out"
    results = sweeps.run_cells(GRID, out)
    assert len(results) == 4 * 3  # cells × metrics of songs
    assert {"weight", "seed", "target", "value", "low", "high", "chance"} <= set(results)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert len(stamps) == 4
    wider = {**GRID, "grid": {**GRID["grid"], "seed": [0, 1, 2]}}
    wide = sweeps.run_cells(wider, out)
    assert len(wide) == 6 * 3
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "done cells are skipped"
    text = sweeps.plan_text(sweeps.plan(wider, out))
    assert "6 done, 0 failed, 0 to do" in text
    assert "the rest would take 0.0 min" in text
    over_seeds = pd.read_parquet(out / "seeds.parquet").query("metric == 'song_roc_auc'")
    assert over_seeds["seeds"].tolist() == [3, 3]
    best = over_seeds.set_index("weight")["value"]
    assert best[3.0] > 0.9
    assert abs(best[0.0] - 0.5) < 0.2
    compared = pd.read_parquet(out / "comparisons.parquet")
    assert compared["difference"].tolist() == pytest.approx([best[0.0] - best[3.0]])
    assert compared["p_holm"].iloc[0] < 0.01
    summary = (out / "summary.html").read_text()
    assert "6 of 6 cells done" in summary
    assert (out / "figures" / "curves_weight.png").stat().st_size > 10_000
    assert site.broken_links(out) == []


@pytest.mark.slow
def test_failed_cells_are_listed_and_the_others_go_on(quick, tmp_path):
    out = tmp_path / "out"
    grid = {"profile": "smoke", "grid": {"kind": ["broken", "killed", "slow", "x"]}}
    with pytest.raises(notebooks.NotebookError) as error:
        sweeps.run_cells(grid, out, timeout=15)
    message = str(error.value)
    assert "3 of 4 cells failed" in message
    assert "ZeroDivisionError: on purpose" in message
    assert "the kernel died, most often for want of memory" in message
    assert "took longer than 15 s in cell" in message
    assert len(list(out.rglob("cells/*/notebooks/*.ipynb"))) == 4, "failed notebooks are kept"
    assert len(pd.read_csv(out / "results.csv")) == 3
    status = {cell.varied["kind"]: cell.status for cell in sweeps.plan(grid, out)}
    assert status == {"broken": "failed", "killed": "failed", "slow": "failed", "x": "done"}


@pytest.mark.slow
def test_processes_share_the_cores(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps.os, "cpu_count", lambda: 6)
    one = sweeps.run_cells({"profile": "smoke", "grid": {"seed": [0]}}, tmp_path / "one")
    assert set(one["threads"]) == {"6"}
    with ThreadPoolExecutor(2) as executor:
        assert sweeps._workers(executor) == 2
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as executor:
        assert sweeps._workers(executor) == 3


@pytest.mark.slow
def test_command_line_on_two_processes(tmp_path, capsys):
    """The real notebook 07, on the smoke profile, in two processes."""
    grid, out = tmp_path / "grid.yml", tmp_path / "out"
    grid.write_text(
        "profile: smoke\nfixed: {shuffles: 0, approach: ridge}\n"
        "grid: {target: [demo-cal500, demo-emotify], penalty: [3, 10.0]}\n"
    )
    options = ["sweep", str(grid), "--out", str(out), "--jobs", "2"]
    assert cli.main([*options, "--dry-run"]) == 0
    assert "0 done, 0 failed, 4 to do" in capsys.readouterr().out
    assert not out.exists()
    assert cli.main(options) == 0
    told = capsys.readouterr().out
    assert "[4/4]" in told
    assert "summary.html" in told
    results = pd.read_parquet(out / "results.parquet")
    songs = results[results["metric"] == "song_roc_auc"]
    assert sorted(songs["target"]) == ["demo-cal500"] * 2 + ["demo-emotify"] * 2
    assert songs["value"].between(0.2, 1).all()
    assert cli.main([*options[:4], "--jobs", "0"]) == 1
    assert "--jobs is 0" in capsys.readouterr().err


# --- Statistics


def test_interval_over_seeds_by_hand():
    low, high = sweeps.interval_over_seeds([1.0, 2.0, 3.0])
    half = 4.302653 * 1 / np.sqrt(3)
    np.testing.assert_allclose([low, high], [2 - half, 2 + half], rtol=1e-5)
    assert np.isnan(sweeps.interval_over_seeds([1.0])).all()


def test_interval_over_seeds_holds_as_often_as_it_says():
    random = np.random.default_rng(0)
    draws = random.normal(size=(2000, 3))
    inside = [low < 0 < high for low, high in map(sweeps.interval_over_seeds, draws)]
    assert stats.binomtest(sum(inside), 2000, 0.95).pvalue > 0.001


def test_seeds_are_averaged_within_a_configuration():
    rows = [
        {"target": "demo-mtg", "approach": approach, "weight": weight, "seed": seed, "metric": "m"}
        | {"value": value + seed, "chance": 0.5, "tracks": 40}
        for approach, weight, value in (("ridge", np.nan, 5.0), ("alignment", 1.0, 7.0))
        for seed in (0, 1, 2)
    ]
    table = sweeps.seed_table(pd.DataFrame(rows), ["approach", "weight"])
    assert table["value"].tolist() == [6, 8]
    assert table["seeds"].tolist() == [3, 3]
    assert sweeps.curve_axes(pd.DataFrame(rows), ["approach", "weight"]) == []


def test_cells_of_other_data_are_others(quick, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "mulan"
    folder.mkdir(parents=True)
    (folder / "CAL500.arff").write_text("a")
    monkeypatch.setenv("MER_DATA", str(folder.parent))
    grid = {"profile": "mulan", "grid": {"seed": [0], "target": ["emotions"]}}
    before = sweeps.plan(grid, tmp_path)[0].folder
    assert sweeps.plan(grid, tmp_path)[0].folder == before
    (folder / "CAL500.arff").write_text("ab")
    assert sweeps.plan(grid, tmp_path)[0].folder != before


def test_cells_of_a_changed_notebook_are_others(quick, tmp_path):
    before = sweeps.plan(GRID, tmp_path)[0].folder
    path = quick / "07_quick.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# other words"
    nbformat.write(notebook, path)
    assert sweeps.plan(GRID, tmp_path)[0].folder == before
    notebook.cells[2].source += "\nprint()"
    nbformat.write(notebook, path)
    assert sweeps.plan(GRID, tmp_path)[0].folder != before


def test_cells_of_a_changed_package_are_others(quick, tmp_path, monkeypatch):
    package = tmp_path / "package"
    shutil.copytree(sweeps.PACKAGE, package)
    before = sweeps.plan(GRID, tmp_path)[0].folder
    monkeypatch.setattr(sweeps, "PACKAGE", package)

    def after(module, old, new):
        path = package / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        folder = sweeps.plan(GRID, tmp_path)[0].folder
        path.write_text(text)
        return folder

    assert after("projector/losses", '"""Losses:', '"""The losses:') == before
    assert after("figures/of_results", "import", "import sys, this\nimport") == before
    assert after("projector/losses", "far - near", "near - far") != before
    assert sweeps.plan(GRID, tmp_path)[0].folder == before


def test_status_is_read_from_the_folder(quick, tmp_path):
    cell = sweeps.plan(GRID, tmp_path)[0]
    storage.write_json(cell.folder / "failed.json", {"error": "x"})
    assert cell.status == "failed"
    storage.write_json(cell.folder / "cell.json", {"seconds": 2.0})
    assert (cell.status, cell.seconds) == ("done", 2.0)
