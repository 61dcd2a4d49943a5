"""Sweeps: grids, cells that fail or are stopped, statistics over seeds, the summary."""

import os
import re
import shutil
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mer_utils import evaluation, storage
from mer_utils.batch import cli, notebooks, profiles, runs, sweeps

PARAMETERS = 'profile = "smoke"\nout = ""\ntarget = "demo-mtg"\nweight = 1.0\nseed = 0\nkind = "x"'
GRID = {"profile": "smoke", "grid": {"weight": [0.0, 3.0], "seed": [0, 1], "target": ["demo-mtg"]}}


@pytest.fixture
def quick(tmp_path, monkeypatch) -> Path:
    """A small notebook 07, a small package and no features to extract; returns the notebook."""
    notebook = new_notebook(cells=[new_markdown_cell("# 7 · Quick"), new_code_cell(PARAMETERS)])
    notebook.cells[1].metadata["tags"] = ["parameters"]
    path = tmp_path / "notebooks" / "07_quick.ipynb"
    path.parent.mkdir()
    nbformat.write(notebook, path)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", path.parent)
    for name in ("projector/losses.py", "figures/of_results.py"):
        copy = tmp_path / "package" / name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(sweeps.PACKAGE / name, copy)
    monkeypatch.setattr(sweeps, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(profiles, "load_labelled", lambda *_: {})
    return path


def experiment(path: Path, executed: Path, parameters: dict, *_, **__) -> None:
    """What notebook 07 leaves, of scores that are the better the greater the weight."""
    if parameters["kind"] == "broken":
        raise ZeroDivisionError("on purpose")
    random, index = np.random.default_rng(parameters["seed"]), np.arange(40)
    targets = index[:, None] % np.array([2, 3]) == 0
    scores = parameters["weight"] * targets + random.normal(size=targets.shape)
    table = evaluation.evaluate(scores, targets, 1, resamples=20).reset_index()
    out = Path(parameters["out"])
    table["threads"] = os.environ["OMP_NUM_THREADS"]
    storage.write_table(out / "tables" / "experiment.parquet", table)
    kept = {"scores": scores, "targets": targets, "track_index": index, "groups": index // 2}
    kept["k"] = np.array(1)
    tensors = {name: torch.from_numpy(value) for name, value in kept.items()}
    storage.write_tensors(out / "scores.safetensors", tensors)
    storage.write_text(executed.with_suffix(".html"), "executed")


# --- Grids


def test_a_grid_is_every_combination_once(quick, tmp_path):
    cells = sweeps.plan({**GRID, "fixed": {"kind": "y"}}, tmp_path)
    varied = [(c.varied["weight"], c.varied["seed"]) for c in cells]
    assert varied == [(0.0, 0), (3.0, 0), (0.0, 1), (3.0, 1)]
    assert len({cell.folder for cell in cells}) == 4
    assert all(c.parameters["kind"] == "y" and c.parameters["profile"] == "smoke" for c in cells)
    parts = [{"seed": [0, 1]}, {"seed": (np.int64(1), 2)}, {"weight": np.array([1, 1.0])}]
    joined = sweeps.plan({"profile": "smoke", "grid": parts}, tmp_path)
    assert [cell.varied for cell in joined] == [*({"seed": n} for n in range(3)), {"weight": 1.0}]
    assert {cell.status for cell in joined} == {"to do"}
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        ({}, "grid"),
        ({"grid": {"seed": [0]}, "axes": {}}, "axes"),
        ({"grid": {"sead": [0]}}, "sead"),
        ({"grid": {"weight": ["1e-3"]}}, "1.0e-3"),
        ({"grid": {"out": ["x"]}}, "out"),
        ({"grid": {"target": ["demo-nonsense"]}}, "demo-nonsense"),
        ({"grid": {"seed": [0]}, "profile": "nonsense"}, "nonsense"),
        ({"grid": {"seed": range(10_000), "epochs": range(10_000)}}, "100,000,000 cells"),
    ],
)
def test_grids_that_are_wrong(quick, tmp_path, grid, named):
    with pytest.raises(ValueError, match=named):
        sweeps.plan({"profile": "smoke", **grid}, tmp_path)


def test_grids_in_files(tmp_path, capsys):
    assert len(sweeps.plan(profiles.PROJECT / "docs" / "sweep.yml", tmp_path)) == 45
    path, out = tmp_path / "grid.yml", tmp_path / "out"
    wrong = {"{approach: [rigde]}": "rigde", "[": "YAML", "&a {seed: *a}": "alias"}
    for text, named in wrong.items():
        path.write_text(f"profile: smoke\ngrid: {text}\n")
        with pytest.raises(ValueError, match=named):
            sweeps.plan(path, tmp_path)
    (tmp_path / "own.py").touch()
    path.write_text(f"profile: smoke\ngrid: {{approach: ['{tmp_path}/own.py:gone']}}\n")
    with pytest.raises(ValueError, match="gone"):  # before anything is run
        sweeps.plan(path, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.yml"):
        sweeps.plan(tmp_path / "none.yml", tmp_path)
    path.write_text("profile: smoke\ngrid: {seed: [0, 1]}\n")
    assert cli.main(["sweep", str(path), "--out", str(out), "--dry-run"]) == 0
    assert "0 done, 2 to do" in capsys.readouterr().out
    assert not out.exists()
    assert cli.main(["sweep", str(path), "--out", str(path), "--dry-run"]) == 1
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "--out", str(out), "--jobs", "0"])
    assert "--jobs" in capsys.readouterr().err


def test_a_cell_is_named_by_its_notebook_data_and_code(quick, tmp_path, monkeypatch):
    data, package = tmp_path / "data" / "mulan" / "CAL500.arff", sweeps.PACKAGE
    storage.write_text(data, "a")
    monkeypatch.setenv("MER_DATA", str(tmp_path / "data"))

    def name() -> Path:
        grid = {"profile": "mulan", "grid": {"seed": [0], "target": ["emotions"]}}
        return sweeps.plan(grid, tmp_path)[0].folder

    before = name()
    for path, old, new, changes in (
        (quick, "7 · Quick", "other words", False),
        (quick, "weight = 1.0", "weight = 1.0; import os", True),
        (data, "a", "ab", True),
        (package / "projector" / "losses.py", '"""', '"""Words. ', False),
        (package / "projector" / "losses.py", "far - near", "near - far", True),
        (package / "figures" / "of_results.py", "import", "import this\nimport", False),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        assert (name() != before) == changes, new
        path.write_text(text)
    assert name() == before


# --- Running


def test_a_lost_worker_fails_its_cells_and_says_so(quick, tmp_path, monkeypatch):
    class Breaks(ThreadPoolExecutor):
        def submit(self, function, cell, *rest):
            return super().submit(self.die if cell.varied["seed"] == 0 else function, cell, *rest)

        def die(self, *_):
            raise BrokenExecutor("killed")

    monkeypatch.setattr(notebooks, "run_notebook", Mock(side_effect=OSError("disk full")))
    grid = {"profile": "smoke", "grid": {"seed": [0, 1]}}
    told = r"2 of 2 cells(?=[\s\S]*BrokenExecutor: killed)(?=[\s\S]*disk full)"
    with Breaks(1) as executor, pytest.raises(runs.NotebookError, match=told):
        sweeps.run_cells(grid, tmp_path, executor)
    assert {cell.status for cell in sweeps.plan(grid, tmp_path)} == {"to do"}


def test_failed_cells_are_listed_and_the_rest_is_run_resumed_and_summarised(
    quick, tmp_path, monkeypatch
):
    monkeypatch.setattr(notebooks, "run_notebook", experiment)
    out, parts = tmp_path / "out", [{**GRID["grid"], "weight": [3.0]}, {"kind": ["broken"]}]
    with pytest.raises(runs.NotebookError, match=r"1 of 3 cells(.|\n)*on purpose"):
        sweeps.run_cells({"profile": "smoke", "grid": parts}, out)
    status = [cell.status for cell in sweeps.plan({"profile": "smoke", "grid": parts}, out)]
    assert status == ["done", "done", "to do"]
    results = pd.read_csv(out / "results.csv")
    assert len(results) == 2 * 3  # cells × metrics of songs
    assert {"weight", "seed", "target", "value", "low", "high", "chance"} <= set(results)
    assert set(results["threads"]) == {os.cpu_count()}

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert len(sweeps.run_cells(GRID, out)) == 4 * 3
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "done cells are skipped"
    assert "4 done, 0 to do" in sweeps.plan_text(sweeps.plan(GRID, out))
    over_seeds = pd.read_csv(out / "seeds.csv").query("metric == 'song_roc_auc'")
    assert over_seeds["seeds"].tolist() == [2, 2]
    best = over_seeds.set_index("weight")["value"]
    assert best[3.0] > 0.9
    assert abs(best[0.0] - 0.5) < 0.2
    compared = pd.read_csv(out / "comparisons.csv")
    assert compared[["weight", "best"]].to_numpy().tolist() == [[0.0, 3.0]]
    assert compared["difference"].tolist() == pytest.approx([best[0.0] - best[3.0]])
    assert compared["p_holm"].iloc[0] < 0.01
    assert (out / "figures" / "curves_weight.png").stat().st_size > 10_000
    summary = (out / "summary.html").read_text()
    assert "4 of 4 cells done" in summary
    linked = re.findall(r'(?:src|href)="((?:figures|cells)/[^"]+)"', summary)
    assert len(linked) == 1 + 4
    assert all((out / address).is_file() for address in linked)
