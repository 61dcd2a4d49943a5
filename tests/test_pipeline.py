"""The pipeline: parameters, profiles, failures; and the command line's parameters."""

import argparse
import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mer_utils import batch, storage
from mer_utils.batch import cli, notebooks, pipeline, profiles, runs
from mer_utils.batch.profiles import Profile

PARAMETERS = 'profile = "tiny"\nout = ""\nepochs = 5\nrate = 0.1\nfast = False\nnames = ["a"]'
NOTE = """
from pathlib import Path
Path(out, "{name}.txt").write_text(repr((profile, epochs, rate, fast, names)))
"""


def write_notebook(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    """A notebook of a title, a parameters cell and some code cells."""
    cells = [new_markdown_cell(f"# {path.stem}"), new_code_cell(parameters)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [new_code_cell(source) for source in sources]
    path.parent.mkdir(exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """A project of two notebooks and the profile `tiny`; returns the notebooks' folder."""
    folder = tmp_path / "notebooks"
    write_notebook(folder / "00_first.ipynb", NOTE.format(name="first"))
    write_notebook(
        folder / "01_second.ipynb",
        'assert Path(out, "first.txt").exists()',
        parameters=PARAMETERS + "\nfrom pathlib import Path",
    )
    profile = Profile("tiny", "for tests", (), ("00", "01"), parameters={"epochs": 2})
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    monkeypatch.setitem(profiles.PROFILES, "tiny", profile)
    return folder


# --- parameters


def test_unknown_parameter_lists_the_declared_ones(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"has a parameter 'epoch'; they declare") as error:
        batch.run("tiny", tmp_path / "run", epoch=3)
    for name in ("epochs", "rate", "fast", "names"):
        assert name in str(error.value)
    assert not (tmp_path / "run").exists(), "nothing has run"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("epochs", "3", "str"),
        ("epochs", 3.5, "float"),
        ("epochs", True, "bool"),
        ("fast", 1, "int"),
        ("rate", "0.1", "str"),
        ("rate", True, "bool"),
        ("names", "a", "str"),
        ("profile", 3, "int"),
    ],
)
def test_wrong_type_names_value_and_default(tiny, name, value, found):
    paths = sorted(tiny.glob("*.ipynb"))
    with pytest.raises(ValueError, match=rf"parameter '{name}' is .* \({found}\).*default is"):
        notebooks.check_parameters(paths, {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 3), ("fast", True), ("rate", 0.5), ("rate", 1), ("names", []), ("epochs", None)],
)
def test_right_types_pass(tiny, name, value):
    notebooks.check_parameters(sorted(tiny.glob("*.ipynb")), {name: value})


def test_declared_parameters_are_those_of_the_cell(tiny):
    found = notebooks.declared_parameters(tiny / "00_first.ipynb")
    assert found == {
        "profile": "tiny", "out": "", "epochs": 5, "rate": 0.1, "fast": False, "names": ["a"],
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 2])
def test_a_notebook_has_one_parameters_cell(tiny, count):
    path = tiny / "00_first.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata["tags"] = ["parameters"] if count else []
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match=rf"00_first\.ipynb: {count} cells tagged 'parameters'"):
        notebooks.declared_parameters(path)


# --- profiles, notebooks


def test_unknown_profile_lists_the_others(tmp_path):
    with pytest.raises(ValueError, match=r"no profile 'nonsense'; there are .*demo, smoke"):
        batch.run("nonsense", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_notebook_lists_the_others(tiny):
    with pytest.raises(ValueError, match="no notebook numbered '07'; there are 00_first, 01_sec"):
        notebooks.notebook_path("07")
    write_notebook(tiny / "00_again.ipynb")
    with pytest.raises(ValueError, match=r"numbered '00'; there are 00_again, 00_first"):
        notebooks.notebook_path("00")


def test_a_folder_of_another_profile_is_refused(tiny, tmp_path):
    runs.open_run("demo", tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run of profile 'demo', not 'tiny'"):
        batch.run("tiny", tmp_path / "run")


# --- running


def test_run_hands_on_parameters_and_keeps_a_record(tiny, tmp_path, capsys):
    before = {path: storage.file_hash(path) for path in tiny.iterdir()}
    folder = batch.run("tiny", tmp_path / "run", rate=1, names=["b", "c"])
    assert folder == tmp_path / "run"
    # epochs from the profile, rate and names from the call, fast from the notebook
    written = (folder / "first.txt").read_text()
    assert written == repr(("tiny", 2, 1.0, False, ["b", "c"]))
    record = storage.read_json(folder / "run.json")
    assert record["profile"] == "tiny"
    assert record["parameters"] == {
        "epochs": 2, "rate": 1, "names": ["b", "c"], "profile": "tiny", "out": str(folder),
    }  # fmt: skip
    assert list(record["seconds"]) == ["00_first", "01_second"]
    for stem in ("00_first", "01_second"):
        assert stem in (folder / "notebooks" / f"{stem}.html").read_text("utf-8")
        assert (folder / "notebooks" / f"{stem}.ipynb").is_file()
    assert {path: storage.file_hash(path) for path in tiny.iterdir()} == before
    told = capsys.readouterr().out
    assert "[1/2] 00_first" in told
    assert "[2/2] 01_second" in told


def test_failing_notebook_is_named_with_its_cell_and_keeps_what_was_done(tiny, tmp_path):
    write_notebook(tiny / "01_second.ipynb", "x = 1", "bad = x / 0", "never = True")
    with pytest.raises(runs.NotebookError) as error:
        batch.run("tiny", tmp_path / "run")
    message = str(error.value)
    assert "01_second.ipynb failed in cell" in message
    assert "In [4]" in message  # parameters, those injected, x = 1, then this one
    assert "    bad = x / 0" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "never" not in message
    assert str(tmp_path / "run" / "notebooks" / "01_second.ipynb") in message
    assert (tmp_path / "run" / "first.txt").is_file()
    half = nbformat.read(tmp_path / "run" / "notebooks" / "01_second.ipynb", as_version=4)
    ran = [cell.source for cell in half.cells if cell.get("execution_count")]
    assert ran[-1] == "bad = x / 0"
    assert "ZeroDivisionError" in (tmp_path / "run/notebooks/01_second.html").read_text("utf-8")
    record = storage.read_json(tmp_path / "run" / "run.json")
    assert record["parameters"]["epochs"] == 2


def test_a_notebook_gets_only_parameters_that_it_declares(tiny, tmp_path):
    path = write_notebook(
        tiny / "02_plain.ipynb",
        "assert a == 2",
        "assert 'epochs' not in globals()",
        parameters="a = 1",
    )
    notebooks.run_notebook(path, tmp_path / "done" / "02.ipynb", {"a": 2, "epochs": 3})
    assert (tmp_path / "done" / "02.html").is_file()


# --- the command line


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("rate=1e-3", "rate", "1e-3"),  # YAML 1.1: a number needs its point
        ("rate=1.0e-3", "rate", 0.001),
        ("fast=true", "fast", True),
        ("weights=[0.5, 1]", "weights", [0.5, 1]),
        ("style=prompt", "style", "prompt"),
        ("out=runs/a=b", "out", "runs/a=b"),
        ("text='3'", "text", "3"),
        ("nothing=", "nothing", None),
    ],
)
def test_parameter_values_are_yaml(given, name, value):
    found = cli.parameter(given)
    assert found == (name, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize("given", ["epochs", "=3", "two words=3", "my-name=3", "weights=[1, 2"])
def test_unreadable_parameters_are_named(given):
    with pytest.raises(argparse.ArgumentTypeError, match=r"not name=value|not YAML") as error:
        cli.parameter(given)
    assert repr(given) in str(error.value)


def test_command_line_hands_parameters_to_the_pipeline(monkeypatch):
    seen = []
    monkeypatch.setattr(
        pipeline, "run", lambda *given, **parameters: seen.append((given, parameters))
    )
    arguments = ["run", "--profile", "smoke", "--out", "here", "-p", "epochs=3", "-p", "style=name"]
    assert cli.main(arguments) == 0
    assert seen == [(("smoke", "here"), {"epochs": 3, "style": "name"})]


def test_command_line_reports_errors_without_a_traceback(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["run", "--profile", "smoke", "--out", str(out), "-p", "nonsense=1"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: no notebook of this profile has a parameter 'nonsense'")
    assert "epochs" in told
    assert not out.exists()


def test_command_line_refuses_an_unknown_profile(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "--profile", "nonsense"])
    assert stop.value.code == 2
    assert "smoke" in capsys.readouterr().err


def test_missing_weights_stop_the_paper_profile_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    empty = tmp_path / "MERT-v1-95M"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="mert-v1-95m"):
        batch.run("paper", tmp_path / "run", checkpoint=str(empty))
    assert not (tmp_path / "run").exists()


# --- profiles' features


def test_another_encoder_for_a_profile():
    demo = profiles.get("demo")
    assert profiles.with_encoder(demo) is demo
    assert profiles.with_encoder(demo, "musicnn+cues") is demo
    assert profiles.with_encoder(demo, "musicnn").encoder == "musicnn"
    assert profiles.with_encoder(profiles.get("paper"), "mert-v1-330m").layers is None
    with pytest.raises(ValueError, match="'mulan' has ready-made features and no audio"):
        profiles.with_encoder(profiles.get("mulan"), "musicnn")


@pytest.mark.slow
def test_extract_says_what_it_made(capsys):
    assert cli.main(["extract", "--profile", "smoke"]) == 0
    told = capsys.readouterr().out
    for name in profiles.get("smoke").datasets:
        assert f"{name}: " in told
    assert "of 12 tracks, 1 × 257" in told


def test_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("MER_ONE", "before")
    monkeypatch.delenv("MER_TWO", raising=False)
    with notebooks.environment(MER_ONE="a", MER_TWO="b"):
        assert (os.environ["MER_ONE"], os.environ["MER_TWO"]) == ("a", "b")
    assert os.environ["MER_ONE"] == "before"
    assert "MER_TWO" not in os.environ


def test_missing_data_stops_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("MER_DATA", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match=r"MER_DATA is .*typo, which is no folder"):
        batch.run("emotify", tmp_path / "run")
    monkeypatch.setenv("MER_DATA", str(tmp_path))
    for name in ("emotify", "mulan"):
        with pytest.raises(FileNotFoundError, match=f"no folder {name}/ in any of"):
            batch.run(name, tmp_path / "run")
    assert not (tmp_path / "run").exists()
