"""Units of real work, and what disturbs them: a kill, a second process, a disk.

A unit is undisturbed once; disturbed and then run again it must leave the same bytes.
"""

import contextlib
import ctypes
import hashlib
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

import nbformat
import numpy as np
import pandas as pd
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mer_utils import storage
from mer_utils.batch import cli, notebooks, profiles, report, runs, sweeps
from mer_utils.batch.kernels import quiet_kernels
from mer_utils.corpus import demo
from mer_utils.data import load_folder
from mer_utils.labels.language_model import _remembered, embed_texts
from mer_utils.predict import release
from mer_utils.projector import default_ridge
from mer_utils.sound import extract, load_encoder
from tests.campaign import material
from tests.campaign.engine import Random, Skipped, ended, forked, kind
from tests.campaign.material import clips

TIMES = re.compile(rb'"(seconds|took)": [0-9.e-]+|[0-9]+ s\b|[0-9a-f]{8}-[0-9a-f-]{27}')


def _read_array(path: Path) -> None:
    """Read an array, whose checksum is at its end but for a store's values."""
    storage.read_array(path, np.load(path).shape, memory_map=path.name == "values.npy")


def _read_csv(path: Path) -> None:
    with contextlib.suppress(pd.errors.EmptyDataError):  # a table of nothing
        pd.read_csv(path)


READERS = {
    ".json": storage.read_json,
    ".csv": _read_csv,
    ".safetensors": storage.read_tensors,
    ".npy": _read_array,
}
READERS |= {".parquet": pd.read_parquet, ".ipynb": partial(nbformat.read, as_version=4)}
SMOKE = os.environ.get("MER_SMOKE_RUN", "")
EXPERIMENT = (
    'profile = "smoke"\ntarget = "demo-mtg"\nout = ""\nweight = 1.0\nseed = 0',
    """
import numpy as np, torch
from pathlib import Path
from mer_utils import evaluation, storage
random, index = np.random.default_rng(seed), np.arange(40)
targets = index[:, None] % np.array([2, 3]) == 0
scores = weight * targets + random.normal(size=targets.shape)
table = evaluation.evaluate(scores, targets, 1, resamples=20).reset_index()
storage.write_table(Path(out) / "tables" / "experiment.parquet", table)
kept = {"scores": scores, "targets": targets, "track_index": index, "groups": index // 2}
kept = {name: torch.from_numpy(value) for name, value in kept.items()}
storage.write_tensors(Path(out) / "scores.safetensors", kept | {"k": torch.tensor(1)})
""",
)

# --- Units: each works in a project folder of its own


def extraction(folder: Path) -> None:
    """Features of six clips."""
    encoder = load_encoder("mert-v1-95m", material.checkpoints()["bin"], layers=(1, 2))
    extract(load_folder(clips()), encoder, folder / "store", tracks_per_shard=1, jobs=1)


def composing(folder: Path) -> None:
    """Six pieces of the built-in corpus."""
    demo.build("demo-mtg", size=6, seed=0, folder=folder)


def vectors(folder: Path) -> None:
    """Vectors of labels, kept in the cache."""
    _remembered.cache_clear()
    embed_texts([(f"music that is {x}",) for x in ("odd", "even", "prime")], "all-MiniLM-L6-v2", "")


def released(folder: Path) -> None:
    """A model, trained and released."""
    release(default_ridge(model="all-MiniLM-L6-v2"), material.moods(), folder / "model")


def noting(folder: Path) -> None:
    """Facts in a run's record."""
    opened = runs.open_run("smoke", folder / "run")
    for number in range(10):
        runs.note(opened, **{f"fact {number}": number})


def predicting(folder: Path) -> None:
    """`predict` from the command line, with a table."""
    _called("predict", str(clips().with_name("5.wav")), "--csv", str(folder / "ranks.csv"))


def command(folder: Path) -> None:
    """`extract` from the command line."""
    tiny = profiles.Profile("tiny", "", (), ("07",), encoder="mert-v1-95m")
    given = ["--csv", str(clips()), "--checkpoint", str(material.checkpoints()["bin"])]
    few = patch.object(profiles, "FEWEST_TRACKS", 6)  # as many as there are clips
    with few, patch.dict(profiles.PROFILES, tiny=tiny):
        _called("extract", "--profile", "tiny", "--jobs", "1", *given)


def figures(folder: Path) -> None:
    """Figures and tables of a smoke run into a project's figures/, and a text made of them."""
    if SMOKE:
        run = runs.reopen(SMOKE)
        report.copy_tables(run, folder / "figures")
        report.copy_figures(run, folder / "figures")
        text = "".join(f"<!-- {x} smoke:song_roc_auc -->\n" for x in ("begin", "end"))
        storage.write_text(folder / "README.md", text)
        report.update_text("smoke", folder / "README.md", folder / "figures")


def sweeping(folder: Path) -> None:
    """A cell of a sweep, in a real kernel, of a notebook that draws its scores."""
    cells = [new_code_cell(text, id=f"cell-{number}") for number, text in enumerate(EXPERIMENT)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.writes(new_notebook(cells=cells, metadata={"kernelspec": kernel}))
    storage.write_text(folder / "notebooks" / "07_small.ipynb", notebook)
    grid = {"profile": "smoke", "grid": {"weight": [2.0]}}
    with (
        patch.object(notebooks, "NOTEBOOKS", folder / "notebooks"),
        patch.object(sweeps, "prepare_features"),
    ):
        sweeps.run_cells(grid, folder / "sweep", threads=1)


def site(folder: Path) -> None:
    """A book of a run of one notebook and one table, in a project of few texts."""
    opened = runs.open_run("smoke", folder / "runs" / "tiny")
    cells = [new_markdown_cell("# 0\n\n$x^2$", id="a"), new_code_cell("1", id="b")]
    texts = {f"{name}.md": "# A\n" for name in ("README", "docs/results", "docs/glossary")}
    texts |= {"pyproject.toml": "[project]\nname = 'tiny'\n"}
    texts |= {"runs/tiny/notebooks/00_a.ipynb": nbformat.writes(new_notebook(cells=cells))}
    for name, text in texts.items():
        storage.write_text(folder / name, text)
    runs.save_table(opened, "results", pd.DataFrame({"method": ["ridge"], "value": [0.5]}))
    _called("site", "--run", str(opened.folder), "--out", str(folder / "site"))


def _called(*arguments: str) -> None:
    """The command line; its error is an OSError here."""
    if cli.main(arguments):
        raise OSError("exit status 1")


UNITS = {extraction: 10, noting: 8, vectors: 6, predicting: 5, released: 4}
UNITS |= {command: 4, composing: 1, site: 1, figures: 1, sweeping: 1}
"""How often each is drawn."""


def _in_project(unit: Callable[[Path], object], folder: Path) -> None:
    with material.project(folder):
        unit(folder)


# --- Undisturbed


def made(folder: Path) -> dict[str, str]:
    """Hashes of a folder's files, without times; no locks, no executed notebooks."""
    found = {}
    for path in sorted(folder.rglob("[!.]*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not path.match("cells/*/notebooks/*"):
            text = path.read_bytes().replace(str(folder).encode(), b"...")
            found[str(name)] = hashlib.sha256(TIMES.sub(b"", text)).hexdigest()
    return found


@cache
def undisturbed(unit: Callable) -> tuple[dict[str, str], float, int]:
    """What a unit makes, the seconds it takes, the moments before and after it moves a file."""
    folder = material.ROOT / f"unit-{unit.__name__}"
    folder.mkdir()
    moments = folder.with_suffix(".moments")
    moments.write_text("0")

    def work() -> None:
        with at_moves(lambda moment: moments.write_text(str(moment))):
            _in_project(unit, folder)

    start = time.perf_counter()
    material.aside(work)
    return made(folder), time.perf_counter() - start, int(moments.read_text())


def at_moves(call: Callable[[int], object]) -> contextlib.AbstractContextManager:
    """While it lasts, a function is called just before and after each move of a file; from 1."""
    replace, moments = os.replace, itertools.count(1)

    def moved(*given, **how) -> None:
        call(next(moments))
        replace(*given, **how)
        call(next(moments))

    return patch("os.replace", moved)


def prepare() -> None:
    """Everything that units need: models loaded, each unit done once undisturbed."""
    material.model(), clips(), material.checkpoints()
    for unit in UNITS:
        undisturbed(unit)


def _drawn(random: Random, *without: Callable) -> Callable:
    """A unit."""
    units = [unit for unit in UNITS if unit not in without]
    shares = np.array([UNITS[unit] for unit in units])
    return units[random.choice(len(units), p=shares / shares.sum())]


def _forked(function: Callable[..., object], folder: Path, *given: object) -> BaseProcess:
    """A child that says what it says beside a try's folder."""
    return forked(partial(function, *given), folder.with_suffix(".said"))


def whole(folder: Path) -> None:
    """Read every file that has its final name: of half a one that is an error."""
    for path in sorted(folder.rglob("[!.]*")):
        if path.suffix in READERS:
            READERS[path.suffix](path)


def same(unit: Callable, folder: Path) -> None:
    """Expect a folder to have what the undisturbed unit made."""
    expected, found = undisturbed(unit)[0], made(folder)
    differ = [x for x in expected | found if expected.get(x) != found.get(x)]
    assert not differ, f"{unit.__name__}: others than undisturbed: {differ[:5]}"


def again(unit: Callable, folder: Path) -> None:
    """Run the unit to its end, and compare."""
    status = ended(_forked(_in_project, folder, unit, folder))
    assert not status, f"{unit.__name__}: does not go on after it was disturbed"
    same(unit, folder)


# --- Kinds


@kind(prepare)
def kills(random: Random, folder: Path) -> None:
    """SIGKILL at a random moment, or just before or after a file is moved; then again."""
    unit = _drawn(random)
    _, seconds, moments = undisturbed(unit)
    last = int(random.integers(moments)) + 1 if moments and random.random() < 0.5 else None

    def work() -> None:
        with at_moves(lambda moment: moment == last and os.kill(os.getpid(), signal.SIGKILL)):
            _in_project(unit, folder)

    process = _forked(work, folder)
    if last is None:
        time.sleep(random.uniform(0, seconds))
        process.kill()
    ended(process)
    whole(folder)
    again(unit, folder)


@kind(prepare)
def races(random: Random, folder: Path) -> None:
    """Two processes do the same work in the same folder at the same time."""
    unit = _drawn(random, noting, sweeping)
    both = [_forked(_in_project, folder, unit, folder) for _ in range(2)]
    assert [ended(x) for x in both] == [0, 0], f"{unit.__name__}: one of two at once failed"
    same(unit, folder)


@kind()
def notes(random: Random, folder: Path) -> None:
    """Two processes write facts into one run's record; none is lost."""
    opened = runs.open_run("smoke", folder / "run")

    def note(owner: int) -> None:
        for number in range(10):
            runs.note(opened, **{f"{owner}-{number}": number})
            time.sleep(random.uniform(0, 0.002))

    both = [_forked(note, folder, x) for x in range(2)]
    assert [ended(process) for process in both] == [0, 0]
    facts = sum("-" in key for key in storage.read_json(folder / "run" / "run.json"))
    assert facts == 20, f"{20 - facts} of 20 facts are lost"


@kind(seconds=1200)
def kernels(random: Random, folder: Path) -> None:
    """SIGKILL while a real notebook of a smoke run is at work; no kernel stays; then again."""
    if not SMOKE:
        raise Skipped("MER_SMOKE_RUN names no smoke run (make notebooks PROFILE=smoke)")
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    run = Path(shutil.copytree(SMOKE, folder / "run"))
    record = storage.read_json(run / "run.json")
    path = notebooks.notebook_path(f"{random.integers(len(record['seconds'])):02d}")
    os.environ["CAMPAIGN_TRY"] = str(folder)  # the kernels have it too

    def work() -> None:
        with quiet_kernels(1, processes=1):
            given = record["parameters"] | {"out": str(run)}
            notebooks.run_notebook(path, run / "notebooks" / path.name, given, show=False)

    process = _forked(work, folder)
    time.sleep(random.uniform(0, record["seconds"][path.stem]))
    process.kill()
    ended(process)
    end = time.monotonic() + 20  # a kernel looks for its parent once a second
    while alive := [x.pid for x in psutil.process_iter() if _of_try(x, folder)]:
        assert time.monotonic() < end, f"{path.stem}: kernels stay: {alive}"
        time.sleep(0.2)
    assert not ended(_forked(work, folder)), f"{path.stem}: does not go on after a kill"
    for table in sorted(Path(SMOKE).glob("tables/*.parquet")):
        both = [pd.read_parquet(x / "tables" / table.name) for x in (Path(SMOKE), run)]
        both = [x.drop(columns=[c for c in x if "second" in str(c)]) for x in both]
        pd.testing.assert_frame_equal(*both, rtol=1e-2, atol=1e-3)  # by other numbers of threads


def _of_try(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("CAMPAIGN_TRY") == str(folder)
    return False


def _read_only(folder: Path) -> None:
    """The folder may not be written to; root gives up what lets it nevertheless."""
    folder.chmod(0o555)
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def _mount(options: str, folder: Path) -> None:
    """The folder is a disk of its own, which is gone with this process."""
    given = ["mount", "-t", "tmpfs", "-o", options, "campaign", str(folder)]
    if subprocess.run(given, capture_output=True, check=False).returncode:
        raise Skipped("no tmpfs may be mounted here")


@kind(prepare)
def disk(random: Random, folder: Path) -> None:
    """Files that may not grow, a folder that may not be written to, a full disk; then again."""
    unit, how = _drawn(random, sweeping), random.choice(["limited", "read only", "full"])
    if how == "full":
        if ctypes.CDLL(None).unshare(0x20000):  # CLONE_NEWNS
            raise Skipped("no disk of its own: this is not root")
        subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
        _mount(f"size={int(random.integers(1, 30)) * 4}k", folder)
    size = int(10 ** random.uniform(0, 6))  # bytes
    read_end, write_end = os.pipe()

    def work() -> None:
        for output in (1, 2):
            os.dup2(write_end, output)  # as the file that they go to could not grow either
        if how == "limited":
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        elif how == "read only":
            _read_only(folder)
        try:
            _in_project(unit, folder)
        except (ValueError, OSError) as error:  # as the command line does
            print(f"error: {error}", flush=True)

    process = _forked(work, folder)
    os.close(write_end)
    with open(read_end, errors="replace") as pipe:
        text = pipe.read()
    print(text)
    status = ended(process)
    folder.chmod(0o755)
    assert (status, "Traceback" in text) == (0, False), f"{unit.__name__}, {how}: {text[-200:]}"
    whole(folder)
    if how == "full":
        _mount("remount,size=64m", folder)
    again(unit, folder)
