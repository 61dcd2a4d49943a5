"""Runs: profiles and their data, parameters, notebooks that fail, the command line."""

import ast
import os
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill import engines

from mer_utils import batch, storage
from mer_utils.batch import cli, kernels, notebooks, pipeline, profiles, runs
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
    write_notebook(folder / "01_second.ipynb", "assert a == 2", parameters="a = 1\nany = None")
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


NOT_JSON = ([float("nan")], float("inf"), 10**400, {1: "x"}, "a\0b", "\udcff", b"x", [{1, 2}])


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", "3"), ("fast", 1), *(("any", value) for value in NOT_JSON)]
)
def test_values_of_another_type_and_those_that_json_does_not_know_are_refused(tiny, name, value):
    with pytest.raises(ValueError, match=f"'{name}'"):
        notebooks.check_parameters(sorted(tiny.glob("*.ipynb")), {name: value})


@pytest.mark.parametrize(
    ("profile", "given", "named"),
    [
        ("tiny", {"epoch": 3}, "'epoch'; did you mean 'epochs'.*epochs, fast, names"),
        ("nonsense", {}, "'nonsense'.*demo, smoke"),
        ("smoke", {"target": "my_musik"}, "'my_musik'"),
    ],
)
def test_names_that_there_are_not_are_refused_before_anything_runs(
    tiny, tmp_path, monkeypatch, profile, given, named
):
    if profile == "smoke":
        monkeypatch.undo()  # its notebooks are the project's
    with pytest.raises(ValueError, match=named):
        batch.run(profile, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_notebook_that_there_is_not_is_an_error_with_those_there_are(tiny):
    with pytest.raises(ValueError, match=r"'07'.*00_first, 01_second"):
        notebooks.notebook_path("07")


def test_missing_weights_and_data_stop_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "MERT-v1-95M").mkdir()
    with pytest.raises(FileNotFoundError, match="mert-v1-95m"):
        batch.run("paper", tmp_path / "run", checkpoint=str(tmp_path / "MERT-v1-95M"))
    monkeypatch.setattr(profiles, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("MER_DATA", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match="typo"):
        batch.run("real", tmp_path / "run")
    monkeypatch.setenv("MER_DATA", str(tmp_path))
    for name, folder in (("real", "audio_emotion_4q"), ("mulan", "mulan")):
        with pytest.raises(FileNotFoundError, match=f"{folder}/"):
            batch.run(name, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- running


def test_no_run_is_made_among_files_of_something_else(tiny, tmp_path):
    with pytest.raises(ValueError, match="notebooks"):
        batch.run("tiny", tmp_path)


def test_run_hands_on_parameters_and_keeps_a_record(tiny, tmp_path, capsys):
    before = {path: storage.file_hash(path) for path in tiny.iterdir()}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".hidden").touch()  # is in nobody's way
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
    (folder / "first.txt").unlink()
    with pytest.raises(runs.NotebookError, match="01_second"):
        batch.run("tiny", folder, a=3)
    assert (folder / "first.txt").is_file()  # what was done until then is kept


def test_a_page_that_cannot_be_written_is_told_and_all_else_is_there(tiny, tmp_path, monkeypatch):
    full = Mock(side_effect=[OSError(28, "No space left on device"), None])
    monkeypatch.setattr(notebooks, "write_page", full)
    with pytest.raises(runs.NotebookError, match=r"0\w+: no HTML page: .*No space"):
        batch.run("tiny", tmp_path / "run", a=2)
    assert len(storage.read_json(tmp_path / "run" / "run.json")["seconds"]) == 2


def test_a_notebook_is_saved_seldom_and_at_its_end(tiny, tmp_path, monkeypatch):
    saved = Mock(wraps=engines.write_ipynb)
    monkeypatch.setattr(engines, "write_ipynb", saved)
    monkeypatch.setattr(notebooks, "SAVE_SECONDS", 1e9)
    path = write_notebook(
        tiny / "02_many.ipynb", *("1 + 1" for _ in range(9)), "import os", "2 / 0"
    )
    with pytest.raises(runs.NotebookError, match="ZeroDivisionError"):
        notebooks.run_notebook(path, tmp_path / "executed.ipynb", {})
    assert saved.call_count <= 3  # begun, its first cell, its end
    told = [c for c in nbformat.read(tmp_path / "executed.ipynb", 4).cells if c.get("outputs")]
    assert len(told) == 10


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("bad = 1 / 0", r"cell 2 .*bad = 1 / 0\nZeroDivisionError"),
        ("import os; os._exit(1)", "cell 2: .*kernel died"),
        ("import time; time.sleep(60)", "cell 2: .*after 1 seconds"),
    ],
)
def test_a_notebook_that_fails_is_named_with_its_cell_and_kept(
    tiny, tmp_path, caplog, source, told
):
    path, executed = write_notebook(tiny / "02_bad.ipynb", source), tmp_path / "executed.ipynb"
    with pytest.raises(runs.NotebookError, match=rf"(?s)02_bad\.ipynb .*{told}.*{executed}"):
        notebooks.run_notebook(path, executed, {}, timeout=1)
    assert "02_bad" in executed.with_suffix(".html").read_text("utf-8")
    assert "Kernel died" not in caplog.text, "once is enough"


def test_any_other_failure_names_the_notebook_and_the_cell(tiny, tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(notebooks.papermill, "execute_notebook", full)
    with pytest.raises(runs.NotebookError, match=r"01_second\.ipynb .* first cell.*space"):
        notebooks.run_notebook(tiny / "01_second.ipynb", tmp_path / "executed.ipynb", {})


def test_interrupted_it_stops_the_kernels(tiny, tmp_path, monkeypatch):
    write_notebook(tiny / "00_first.ipynb", "import time; time.sleep(600)")

    def interrupted(running, return_when):
        while not kernels.running_kernels():
            time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        batch.run("tiny", tmp_path / "run")
    assert not kernels.running_kernels()


def test_notebooks_of_the_longest_way_begin_first(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "FIRST", ("01",))
    in_order = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(pipeline, "_in_order", in_order)
    with pytest.raises(KeyboardInterrupt):
        batch.run("tiny", tmp_path / "run")
    assert [path.stem for path in in_order.call_args.args[0]] == ["01_second", "00_first"]


def test_a_notebook_waits_for_those_it_goes_on_from(monkeypatch):
    monkeypatch.setattr(pipeline, "GOES_ON_FROM", {"02": {"00"}, "03": {"01", "02"}})
    running, done, together = set(), [], []

    def run_one(path):
        assert pipeline.GOES_ON_FROM.get(path.stem, set()) <= {*done}
        running.add(path)
        together.append(len(running))
        time.sleep(0.05 if path.stem == "01" else 0.01)
        running.remove(path)
        done.append(path.stem)

    pipeline._in_order([Path(f"0{n}") for n in range(5)], run_one, stop=pytest.fail)
    assert sorted(done) == ["00", "01", "02", "03", "04"]
    assert max(together) == pipeline.AT_A_TIME


def test_after_an_error_no_other_begins_and_ctrl_c_still_stops_what_runs(monkeypatch):
    begun, stopped = [], threading.Event()
    again = iter([KeyboardInterrupt])  # a second one, while the first is being answered

    def run_one(path):
        begun.append(path.stem)
        if path.stem == "00":
            raise runs.NotebookError("bad")
        assert stopped.wait(10)

    def stop():
        for error in again:
            raise error
        stopped.set()

    calls = iter([pipeline.wait, Mock(side_effect=KeyboardInterrupt)])
    monkeypatch.setattr(pipeline, "wait", lambda *given, **how: next(calls)(*given, **how))
    with pytest.raises(KeyboardInterrupt):
        pipeline._in_order([Path(f"0{n}") for n in range(4)], run_one, stop)
    assert stopped.is_set()
    assert begun == ["00", "01"]


def test_one_that_fails_is_told_and_of_two_both():
    together = threading.Barrier(2)

    def run_one(path):
        together.wait(10)
        raise runs.NotebookError(f"{path.stem} is bad")

    with pytest.raises(runs.NotebookError, match=r"(?s)0\d is bad.*0\d is bad"):
        pipeline._in_order([Path("00"), Path("01"), Path("02")], run_one, stop=pytest.fail)
    one = Mock(side_effect=runs.NotebookError("bad"))
    with pytest.raises(runs.NotebookError, match=r"^bad$"):
        pipeline._in_order([Path("00")], one, stop=pytest.fail)


# --- kernels

forked = pytest.mark.skipif(not kernels.FORKED, reason="kernels are forked on Linux, without a GPU")


@forked
def test_forked_kernels_have_one_parent_and_nothing_else_in_common(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("OWN", "there")
    source = """
import os, sys, mer_utils
import numpy as np
from pathlib import Path
found = os.getppid(), os.getpid(), os.environ["OWN"], hasattr(mer_utils, "mark"), sys.path[3:4]
found += (np.random.rand(),)
mer_utils.mark = True
with Path(out).open("a") as file:
    file.write(f"{found}\\n")
"""
    picture = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    path = write_notebook(tiny / "02_fork.ipynb", source, picture)
    for n in range(3):
        if n == 2:
            monkeypatch.setenv("OWN", "another")
        notebooks.run_notebook(path, tmp_path / "executed.ipynb", {"out": str(tmp_path / "told")})
        outputs = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[-1].outputs
        assert ["image/png" in output.data for output in outputs] == [True]
    told = [ast.literal_eval(line) for line in (tmp_path / "told").read_text().splitlines()]
    parents, own, environments, marked, folders, drawn = zip(*told, strict=True)
    assert parents[0] == parents[1] != parents[2]
    assert len({*parents, *own, os.getpid()}) == 6
    assert environments == ("there", "there", "another")
    assert not any(marked)
    assert folders == ([""],) * 3  # after Python's own, as in any kernel
    assert len({*drawn}) == 3


@forked
def test_what_is_prepared_forks_the_kernels_and_ends_if_they_are_refused(tiny, tmp_path):
    quiet = partial(kernels.quiet_kernels, 1, 1)
    with kernels.prepared(quiet()):
        ((_, prepared),) = kernels.FORKERS.values()
    parent = f"import os\nassert os.getppid() == {prepared.pid}"
    path = write_notebook(tiny / "02_parent.ipynb", parent)
    with quiet():
        notebooks.run_notebook(path, tmp_path / "executed.ipynb", {})
    with pytest.raises(ValueError, match="nonsense"):
        batch.run("tiny", tmp_path / "run", nonsense=1)
    assert not kernels.FORKERS
    assert prepared.poll() is not None


@forked
def test_a_notebook_fails_with_what_kernels_are_forked_from_and_the_next_does_not(tiny, tmp_path):
    path, executed = tiny / "00_first.ipynb", tmp_path / "executed.ipynb"
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(60)"
    write_notebook(tiny / "02_kill.ipynb", kill)
    with pytest.raises(runs.NotebookError, match="kernel died"):
        notebooks.run_notebook(tiny / "02_kill.ipynb", executed, {})
    assert not kernels.running_kernels()
    notebooks.run_notebook(path, executed, {"out": str(tmp_path)})
    assert (tmp_path / "first.txt").is_file()


@forked
def test_a_kernel_that_cannot_be_forked_begins_as_usual(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "FORKERS", {})
    monkeypatch.setattr(kernels, "Popen", lambda *command, **how: subprocess.Popen("false"))
    notebooks.run_notebook(tiny / "00_first.ipynb", tmp_path / "a.ipynb", {"out": str(tmp_path)})
    assert (tmp_path / "first.txt").is_file()


@forked
def test_after_ctrl_c_while_a_kernel_is_asked_for_the_next_is_its_own(tiny, tmp_path, monkeypatch):
    given = tiny / "00_first.ipynb", tmp_path / "executed.ipynb", {"out": str(tmp_path)}
    with monkeypatch.context() as patched:
        patched.setattr(kernels, "int", Mock(side_effect=KeyboardInterrupt), raising=False)
        with pytest.raises(KeyboardInterrupt):
            notebooks.run_notebook(*given)
    notebooks.run_notebook(*given)
    assert (tmp_path / "first.txt").is_file()


# --- the command line

SMOKE = ["run", "--profile", "smoke"]


def test_command_line_hands_parameters_to_the_pipeline(monkeypatch):
    """Their values are YAML 1.1, in which a number needs its point; a date is text."""
    monkeypatch.setattr(pipeline, "run", Mock())
    given = ["epochs=3", "rate=1e-3", "weights=[0.5, 1]", "text=a=b", "song=2020-01-01"]
    assert cli.main([*SMOKE, "--out", "here", *(x for one in given for x in ("-p", one))]) == 0
    values = {"epochs": 3, "rate": "1e-3", "weights": [0.5, 1], "text": "a=b", "song": "2020-01-01"}
    pipeline.run.assert_called_once_with("smoke", "here", **values)


BOMB = "words=[&a [x, x, x], &b [*a, *a, *a], &c [*b, *b, *b]]"
HOSTILE = ["epochs", "weights=[1, 2", BOMB, "weights=&a [*a]", "words=" + "[" * 50_000]
HOSTILE += ["a=" + "{a: " * 2000, "song=!!binary aGk=", "epochs=" + "9" * 5000]


@pytest.mark.parametrize("given", HOSTILE, ids=range(len(HOSTILE)))
def test_unreadable_parameters_are_named(given, capsys):
    with pytest.raises(SystemExit):
        cli.main([*SMOKE, "-p", given])
    assert repr(given[:200]) in capsys.readouterr().err


@pytest.mark.parametrize("given", [["seed=1", "seed=2"], ["out=x"], ["nonsense=1"]])
def test_parameters_that_collide_or_are_unknown_are_an_error_without_a_traceback(given, capsys):
    assert cli.main([*SMOKE, *(x for one in given for x in ("-p", one))]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert given[0].partition("=")[0] in told
    assert "Traceback" not in told


def test_nothing_that_is_said_steers_a_terminal(tmp_path, capsys):
    cli.main(["predict", f"{tmp_path}/a\x1b[31m\u202e\udcff.wav"])
    assert r"a\x1b[31m\u202e\udcff.wav" in capsys.readouterr().err


def test_ctrl_c_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "run", Mock(side_effect=KeyboardInterrupt))
    assert cli.main(SMOKE) == 130
    assert capsys.readouterr().err.count("\n") == 1
