"""The notebooks: how they are written, and that the profile `smoke` runs them end to end."""

import ast
import io
import os
import re
import tokenize
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from mer_utils import batch
from mer_utils.batch import notebooks, profiles, report, runs

PATHS = sorted(notebooks.NOTEBOOKS.glob("*.ipynb"))
LINES = 20  # of a code cell, at most, beside imports and empty lines
# what notebooks write only under a condition, which profile smoke need not meet
SOMETIMES = {"bad_audio", "layer_probe_elsewhere"}

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def calls(cell: nbformat.NotebookNode, name: str) -> list[ast.Call]:
    """Calls of `module.function` in a cell."""
    found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return [node for node in found if ast.unparse(node.func) == name]


def literals(call: str, argument: int) -> list[str]:
    """The literal texts that notebooks pass to a function."""
    cells = [cell for path in PATHS for cell in code_cells(path)]
    given = [node.args[argument] for cell in cells for node in calls(cell, call)]
    return [node.value for node in given if isinstance(node, ast.Constant)]


# --- how they are written


@each
def test_one_parameters_cell_every_line_with_a_comment_and_used(path):
    cells = nbformat.read(path, as_version=4).cells
    tagged = [n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [1], "it comes right after the opening"
    source, declared = cells[1].source, notebooks.declared_parameters(path)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    assert {line.end_lineno for line in ast.parse(source).body} <= commented
    assert len(declared) == len(ast.parse(source).body), "it holds plain values only"
    assert list(declared)[:2] == ["profile", "out"]
    nodes = ast.walk(ast.parse(notebooks.notebook_code(path)))
    used = {x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
    assert set(declared) <= used


def test_parameters_of_one_name_have_one_default():
    declared = [x for path in PATHS for x in notebooks.declared_parameters(path).items()]
    defaults = {(name, repr(value)) for name, value in declared}
    assert len(defaults) == len(dict(declared)), sorted(defaults)


def test_profiles_set_only_parameters_that_their_notebooks_declare():
    for profile in profiles.PROFILES.values():
        paths = [notebooks.notebook_path(number) for number in profile.notebooks]
        notebooks.check_parameters(paths, profile.parameters)


@each
def test_cells_are_short_and_use_public_names_only(path):
    for cell in code_cells(path):
        nodes = list(ast.walk(ast.parse(cell.source)))
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        imported = {line for x in imports for line in range(x.lineno, x.end_lineno + 1)}
        lines = enumerate(cell.source.splitlines(), start=1)
        assert sum(bool(line.strip()) for i, line in lines if i not in imported) <= LINES
        asked = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
        assert not [name for name in asked if re.match(r"_[^_]", name)]


@each
def test_exercises_have_solutions_that_run_folded(path):
    """Each a question in Markdown and the cell after it, which every run of the notebook runs."""
    cells = nbformat.read(path, as_version=4).cells
    solutions = [i for i, cell in enumerate(cells) if "solution" in cell.metadata.get("tags", [])]
    assert solutions
    assert not [cell for cell in cells if "<details>" in cell.source]
    asked = [re.findall(r"(?m)^\*\*([A-Z])\.\*\*", cells[i - 1].source) for i in solutions]
    assert asked == [["A"], ["B"], ["C"], ["D"]][: len(solutions)]
    for cell in (cells[i] for i in solutions):
        assert cell.cell_type == "code"
        assert ast.parse(cell.source).body
        assert "hide-cell" in cell.metadata["tags"]  # in the site; the others in JupyterLab
        assert cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}


def test_no_two_cells_write_the_same_file():
    pictures = [name for name in literals("run.path", -1) if name.endswith(".png")]
    for names in (pictures, literals("runs.save_table", 1)):
        assert len(names) == len(set(names)), sorted(names)


# --- profile smoke, end to end


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> runs.Run:
    """The run folder of profile `smoke`: that of $MER_SMOKE_RUN, which .ci/run has made, or new."""
    made = os.environ.get("MER_SMOKE_RUN")
    folder = Path(made) if made else batch.run("smoke", tmp_path_factory.mktemp("smoke") / "run")
    return runs.open_run("smoke", folder.resolve())


@pytest.mark.slow
def test_every_notebook_ran_to_its_end(smoke):
    for path in (notebooks.notebook_path(number) for number in smoke.profile.notebooks):
        executed, name = smoke.path("notebooks", path.name), path.name
        cells = code_cells(executed)
        assert all(cell.execution_count for cell in cells if cell.source.strip()), name
        title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
        assert title.lstrip("# ") in executed.with_suffix(".html").read_text("utf-8")
        assert executed.stat().st_size < 10e6, name
        for cell in cells:  # one that saves a figure shows it, once
            data = [output.get("data", {}) for output in cell.outputs]
            pictures = [kinds["image/png"] for kinds in data if "image/png" in kinds]
            assert len(pictures) >= len(calls(cell, "figures.save")), (name, cell.source)
            assert len(set(pictures)) == len(pictures), (name, cell.source)
            pages = [kinds.get("text/html", "") for kinds in data]
            sliders = [page for page in pages if 'type="range"' in page]
            assert all(len(slider) < 4e5 for slider in sliders), (name, cell.source)
    assert not list(smoke.folder.rglob("*.tmp"))


@pytest.mark.slow
def test_every_figure_is_a_picture_of_something(smoke):
    names = {path.name for path in smoke.path("figures").glob("*.png")}
    assert {name for name in literals("run.path", -1) if name.endswith(".png")} <= names
    for name in sorted(names):
        picture = imread(smoke.path("figures", name))[..., :3]  # (height, width, 3)
        assert min(picture.shape[:2]) > 200, name
        shades = (255 * picture[::4, ::4]).astype(int).sum(axis=2)  # (height / 4, width / 4)
        ink = (shades < 700).mean()
        assert 0.005 < ink < 0.95, f"{name}: {ink:.1%} of it is drawn on"
        assert len(np.unique(shades)) > 20, name


@pytest.mark.slow
def test_every_table_is_there_to_read_and_to_compute_with(smoke):
    expected = {*literals("runs.save_table", 1)} - SOMETIMES
    assert {"results", "per_label", "paired", "oracle"} <= expected
    for name in sorted(expected):
        table = pd.read_parquet(smoke.path("tables", f"{name}.parquet"))
        assert len(table), name
        assert len(pd.read_csv(smoke.path("tables", f"{name}.csv"))) == len(table), name


@pytest.mark.slow
def test_results_are_the_committed_ones(smoke):
    """Methods and samples exactly; numbers but for what another processor's rounding can move.

    Of a network that sees 12 tracks for 3 epochs it can turn which epoch is kept: in a few rows.
    """
    known = pd.read_csv(report.FIGURES / "smoke" / "results.csv")
    found = pd.read_csv(smoke.path("tables", "results.csv"))
    oracle = found[(found["metric"] == "song_roc_auc") & (found["method"] == "oracle")]
    assert set(oracle["target"]) == set(smoke.profile.datasets)
    assert (oracle["value"] > 0.75).all(), "the oracle knows the hidden point"
    exact = ["target", "method", "metric", "tracks", "labels", "seeds", "k"]
    pd.testing.assert_frame_equal(found[exact], known[exact])
    close = ["value", "low", "high", "chance", "shuffled"]
    closed_form = known["method"].str.match("ridge|word anchors")
    for rows, tolerance in ((closed_form, 0.002), (~closed_form, 0.2)):
        np.testing.assert_allclose(found[close][rows], known[close][rows], rtol=0, atol=tolerance)
    network = known["shuffled"].notna() & ~closed_form
    apart = (found[close] - known[close]).abs().max(axis=1) > 0.02
    assert not apart[~network].any(), known[exact][apart & ~network]
    assert apart[network].mean() < 0.1, known[exact][apart & network]
