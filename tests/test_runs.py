"""Runs: profiles and their data, parameters, notebooks that fail, the command line."""

import threading
import time
from pathlib import Path
from unittest.mock import Mock

import nbformat
import numpy as np
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mer_utils import batch, storage
from mer_utils.batch import cli, notebooks, pipeline, profiles, runs
from mer_utils.batch.profiles import Profile

PARAMETERS = 'profile = "tiny"\nout = ""\nepochs = 5\nrate = 0.1\nfast = False\nnames = ["a # b"]'
NOTE = """
from pathlib import Path
Path(out, "first.txt").write_text(repr((profile, epochs, rate, fast, names)))
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
    write_notebook(folder / "00_first.ipynb", NOTE)
    write_notebook(folder / "01_second.ipynb", "assert a == 2", parameters="a = 1")
    profile = Profile("tiny", "for tests", (), ("00", "01"), parameters={"epochs": 2})
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    monkeypatch.setitem(profiles.PROFILES, "tiny", profile)
    return folder


# --- parameters


def test_parameters_are_turned_into_plain_values(tiny):
    given = {"epochs": np.int64(3), "rate": 1, "names": ("b", "c"), "fast": None}
    found = notebooks.check_parameters(sorted(tiny.glob("*.ipynb")), given)
    assert found == {"epochs": 3, "rate": 1.0, "names": ["b", "c"], "fast": None}
    assert [type(found[name]) for name in ("epochs", "rate")] == [int, float]


@pytest.mark.parametrize(("name", "value"), [("epochs", "3"), ("fast", 1)])
def test_wrong_types_are_refused(tiny, name, value):
    with pytest.raises(ValueError, match=rf"'{name}' .*\({type(value).__name__}\)"):
        notebooks.check_parameters(sorted(tiny.glob("*.ipynb")), {name: value})


def test_unknown_names_list_the_known_ones_and_nothing_runs(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"'epoch'.*epochs, fast, names"):
        batch.run("tiny", tmp_path / "run", epoch=3)
    with pytest.raises(ValueError, match=r"'nonsense'.*demo, smoke"):
        batch.run("nonsense", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"'07'.*00_first, 01_second"):
        notebooks.notebook_path("07")


# --- running


def test_no_run_is_made_among_files_of_something_else(tmp_path):
    runs.check_folder("smoke", tmp_path / "new")
    (tmp_path / ".hidden").touch()
    runs.check_folder("smoke", tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"mine\.txt"):
        runs.check_folder("smoke", tmp_path)


def test_run_hands_on_parameters_and_keeps_a_record(tiny, tmp_path, capsys):
    before = {path: storage.file_hash(path) for path in tiny.iterdir()}
    folder = batch.run("tiny", tmp_path / "run", rate=1, a=2, names=["b", "c"])
    assert folder == tmp_path / "run"
    # epochs from the profile, rate and names from the call, fast from the notebook
    assert (folder / "first.txt").read_text() == repr(("tiny", 2, 1.0, False, ["b", "c"]))
    record = storage.read_json(folder / "run.json")
    own = {"epochs": 2, "rate": 1, "a": 2, "names": ["b", "c"]}
    assert record["parameters"] == own | {"profile": "tiny", "out": str(folder)}
    assert list(record["seconds"]) == ["00_first", "01_second"]
    assert set(record["versions"]) == set(runs.VERSIONS_OF)
    assert "00_first" in (folder / "notebooks" / "00_first.html").read_text("utf-8")
    assert {path: storage.file_hash(path) for path in tiny.iterdir()} == before
    assert "01_second" in capsys.readouterr().out
    assert runs.reopen(folder).profile.name == "tiny"
    with pytest.raises(ValueError, match="'tiny', not 'smoke'"):
        runs.open_run("smoke", folder)
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        runs.reopen(tmp_path)


def test_failing_notebook_is_named_with_its_cell_and_keeps_what_was_done(tiny, tmp_path):
    write_notebook(tiny / "01_second.ipynb", "x = 1", "bad = x / 0", "never = True")
    with pytest.raises(runs.NotebookError) as error:
        batch.run("tiny", tmp_path / "run")
    executed = tmp_path / "run" / "notebooks" / "01_second.ipynb"
    for part in ("bad = x / 0", "ZeroDivisionError", str(executed)):
        assert part in str(error.value)
    assert "never" not in str(error.value)
    assert (tmp_path / "run" / "first.txt").is_file()
    assert "ZeroDivisionError" in executed.with_suffix(".html").read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "told"),
    [("import os; os._exit(1)", "kernel died"), ("import time; time.sleep(60)", "after 1 seconds")],
)
def test_dead_kernels_and_slow_cells_are_named(tiny, tmp_path, source, told):
    path = write_notebook(tiny / "02_bad.ipynb", source)
    with pytest.raises(runs.NotebookError, match=told):
        notebooks.run_notebook(path, tmp_path / "executed.ipynb", {}, timeout=1)
    assert (tmp_path / "executed.html").is_file()


def test_any_other_failure_names_the_notebook_and_the_cell(tiny, tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(notebooks.papermill, "execute_notebook", full)
    with pytest.raises(
        runs.NotebookError, match=r"01_second\.ipynb failed in its first cell.*space"
    ):
        notebooks.run_notebook(tiny / "01_second.ipynb", tmp_path / "executed.ipynb", {})


def kernels() -> list[psutil.Process]:
    """The kernels that this process began."""
    return [c for c in psutil.Process().children() if "ipykernel_launcher" in c.cmdline()]


def test_interrupted_it_stops_the_kernels(tiny, tmp_path, monkeypatch):
    write_notebook(tiny / "00_first.ipynb", "import time; time.sleep(600)")

    def interrupted(running, return_when):
        while not kernels():
            time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.run("tiny", tmp_path / "run")
    assert not kernels()


def test_after_an_error_no_other_begins_and_ctrl_c_still_stops_what_runs(monkeypatch):
    begun, stopped = [], threading.Event()

    def run_one(path):
        begun.append(path.stem)
        if path.stem == "00":
            raise runs.NotebookError("bad")
        stopped.wait(60)

    calls = iter([pipeline.wait, Mock(side_effect=KeyboardInterrupt)])
    monkeypatch.setattr(pipeline, "wait", lambda *given, **how: next(calls)(*given, **how))
    with pytest.raises(KeyboardInterrupt):
        pipeline._in_order([Path(f"0{n}") for n in range(4)], run_one, stop=stopped.set)
    assert begun == ["00", "01"]


def test_two_that_fail_are_both_told():
    together = threading.Barrier(2)

    def run_one(path):
        together.wait(10)
        raise runs.NotebookError(f"{path.stem} is bad")

    with pytest.raises(runs.NotebookError, match=r"(?s)0\d is bad.*0\d is bad"):
        pipeline._in_order([Path("00"), Path("01"), Path("02")], run_one, stop=pytest.fail)


# --- the command line


def test_command_line_hands_parameters_to_the_pipeline(monkeypatch):
    """Their values are YAML 1.1, in which a number needs its point."""
    monkeypatch.setattr(pipeline, "run", Mock())
    given = ["epochs=3", "rate=1e-3", "weights=[0.5, 1]", "text=a=b"]
    options = [option for one in given for option in ("-p", one)]
    assert cli.main(["run", "--profile", "smoke", "--out", "here", *options]) == 0
    values = {"epochs": 3, "rate": "1e-3", "weights": [0.5, 1], "text": "a=b"}
    pipeline.run.assert_called_once_with("smoke", "here", **values)


BOMB = "words=[&a [x, x, x], &b [*a, *a, *a], &c [*b, *b, *b]]"
HOSTILE = ["epochs", "weights=[1, 2", BOMB, "weights=&a [*a]", "words=" + "[" * 50_000]
HOSTILE += ["a=" + "{a: " * 2000, "song=!!binary aGk=", "epochs=" + "9" * 5000]


@pytest.mark.parametrize("given", HOSTILE, ids=range(len(HOSTILE)))
def test_unreadable_parameters_are_named(given, capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--profile", "smoke", "-p", given])
    assert repr(given[:200]) in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", [[float("nan")], float("inf"), 10**400, {1: "x"}, "a\0b", "\udcff", b"x", [{1, 2}]]
)
def test_values_that_json_does_not_know_are_refused(tiny, value):
    with pytest.raises(ValueError, match="'any'"):
        notebooks.check_parameters(
            [write_notebook(tiny / "02_any.ipynb", parameters="any = None")], {"any": value}
        )


def test_dates_are_text():
    assert cli.parameter("song=2020-01-01") == ("song", "2020-01-01")


@pytest.mark.parametrize("arguments", [["-p", "seed=1", "-p", "seed=2"], ["-p", "out=x"]])
def test_names_that_collide_are_refused(arguments, capsys):
    assert cli.main(["run", "--profile", "smoke", *arguments]) == 1
    assert arguments[-1].partition("=")[0] in capsys.readouterr().err


def test_nothing_that_is_said_steers_a_terminal(tmp_path, capsys):
    cli.main(["predict", f"{tmp_path}/a\x1b[31m\u202e\udcff.wav"])
    assert r"a\x1b[31m\u202e\udcff.wav" in capsys.readouterr().err


def test_command_line_reports_errors_without_a_traceback(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["run", "--profile", "smoke", "--out", str(out), "-p", "nonsense=1"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "'nonsense'" in told
    assert not out.exists()


# --- profiles


def test_missing_weights_and_data_stop_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    empty = tmp_path / "MERT-v1-95M"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="mert-v1-95m"):
        batch.run("paper", tmp_path / "run", checkpoint=str(empty))
    monkeypatch.setattr(profiles, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("MER_DATA", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match="typo"):
        batch.run("real", tmp_path / "run")
    monkeypatch.setenv("MER_DATA", str(tmp_path))
    for name, folder in (("real", "audio_emotion_4q"), ("mulan", "mulan")):
        with pytest.raises(FileNotFoundError, match=f"{folder}/"):
            batch.run(name, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_notebook_waits_for_those_it_goes_on_from(monkeypatch):
    monkeypatch.setattr(pipeline, "GOES_ON_FROM", {"02": {"00"}, "03": {"01", "02"}})
    running, order, together = set(), [], []

    def run_one(path):
        number = path.stem
        needed = pipeline.GOES_ON_FROM.get(number, set())
        assert needed <= {*order}
        running.add(number)
        together.append(len(running))
        time.sleep(0.05 if number == "01" else 0.01)
        running.remove(number)
        order.append(number)

    pipeline._in_order([Path(f"0{n}") for n in range(5)], run_one, stop=pytest.fail)
    assert sorted(order) == ["00", "01", "02", "03", "04"]
    assert max(together) == pipeline.AT_A_TIME


def test_ctrl_c_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "run", Mock(side_effect=KeyboardInterrupt))
    assert cli.main(["run", "--profile", "smoke"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_target_that_is_no_dataset_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match="'my_musik'"):
        batch.run("smoke", tmp_path / "run", target="my_musik")
    assert not (tmp_path / "run").exists()
