"""Units of real work, and what disturbs them: a kill, a second process, a disk.

A unit is undisturbed once; disturbed and then run again it must leave the same bytes.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mer_utils import storage
from mer_utils.batch import cli, notebooks, profiles, runs, sweeps
from mer_utils.batch.runs import NotebookError
from mer_utils.corpus import demo
from mer_utils.data import load_folder
from mer_utils.labels.language_model import _remembered, embed_texts
from mer_utils.predict import release
from mer_utils.projector import default_ridge
from mer_utils.sound import extract, load_encoder
from tests.campaign import material
from tests.campaign.engine import Fell, Random, Skipped, ended, forked, kind

UNITS: dict[str, tuple[Callable[[Path], None], float]] = {}
TIMES = re.compile(rb'"(seconds|took)": [0-9.e-]+|[0-9]+ s\b|[0-9a-f]{8}-[0-9a-f-]{27}')
SMOKE = os.environ.get("MER_SMOKE_RUN", "")
TINY = profiles.Profile("tiny", "", (), ("07",), encoder="mert-v1-95m")
EXPERIMENT = """
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
"""


def unit(share: float = 1) -> Callable:
    """Register a unit; share: how often it is drawn."""

    def register(function: Callable[[Path], None]) -> Callable:
        UNITS[function.__name__.strip("_")] = (function, share)
        return function

    return register


# --- Units: each works in a project folder of its own


def clips() -> Path:
    """A CSV of six short clips."""
    csv = material.ROOT / "clips.csv"
    if not csv.is_file():
        for number in range(6):
            material.soundfile.write(
                material.ROOT / f"{number}.wav", material.sound(1 + number / 3), material.RATE
            )
        rows = [f"{x}.wav,{'happy' if x % 2 else 'sad'},,artist {x}" for x in range(6)]
        csv.write_text("\n".join(["path,labels,split,group", *rows]))
    return csv


def _encoder():
    return load_encoder("mert-v1-95m", material.checkpoints()["bin"], layers=(1, 2))


@unit(8)
def extraction(folder: Path) -> None:
    """Features of six clips."""
    extract(load_folder(clips()), _encoder(), folder / "store", tracks_per_shard=1, jobs=1)


@unit(1)
def composing(folder: Path) -> None:
    """Six pieces of the built-in corpus."""
    demo.build("demo-mtg", size=6, seed=0, folder=folder)


@unit(6)
def vectors(folder: Path) -> None:
    """Vectors of labels, kept in the cache."""
    _remembered.cache_clear()
    embed_texts([(f"music that is {x}",) for x in ("odd", "even", "prime")], "all-MiniLM-L6-v2", "")


@unit(4)
def released(folder: Path) -> None:
    """A model, trained and released."""
    release(default_ridge(model="all-MiniLM-L6-v2"), material.moods(), folder / "model")


@unit(8)
def noting(folder: Path) -> None:
    """Facts in a run's record."""
    opened = runs.open_run("smoke", folder / "run")
    for number in range(10):
        runs.note(opened, **{f"fact {number}": number})


@unit(4)
def command(folder: Path) -> None:
    """`extract` from the command line."""
    given = ["--csv", str(clips()), "--checkpoint", str(material.checkpoints()["bin"])]
    _called("extract", "--profile", "tiny", "--jobs", "1", *given)


@unit(3)
def predicting(folder: Path) -> None:
    """`predict` from the command line, with a table."""
    _called("predict", str(clips().with_name("5.wav")), "--csv", str(folder / "ranks.csv"))


@unit(1)
def sweeping(folder: Path) -> None:
    """A cell of a sweep, in a real kernel, of a small notebook."""
    declared = 'profile = "smoke"\ntarget = "demo-mtg"\nout = ""\nweight = 1.0\nseed = 0'
    cells = [new_markdown_cell("# 7"), new_code_cell(declared), new_code_cell(EXPERIMENT)]
    cells[1].metadata["tags"] = ["parameters"]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    (folder / "notebooks").mkdir(exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    storage.write_text(folder / "notebooks" / "07_small.ipynb", nbformat.writes(notebook))
    notebooks.NOTEBOOKS = folder / "notebooks"
    sweeps.prepare_features = lambda *_: None
    sweeps.run_cells({"profile": "smoke", "grid": {"weight": [2.0]}}, folder / "sweep", threads=1)


def tiny_run(folder: Path) -> runs.Run:
    """A run of one notebook, one table and one figure in a project of one page."""
    opened = runs.open_run("smoke", folder / "runs" / "tiny")
    cells = [new_markdown_cell("# 0\n\n$x^2$", id="a"), new_code_cell("1", id="b")]
    texts = {"README.md": "# A\n", "docs/results.md": "# R\n", "docs/glossary.md": "# G\n"}
    texts |= {"pyproject.toml": "[project]\nname = 'tiny'\n"}
    texts |= {"runs/tiny/notebooks/00_a.ipynb": nbformat.writes(new_notebook(cells=cells))}
    for name, text in texts.items():
        storage.write_text(folder / name, text)
    runs.save_table(opened, "results", pd.DataFrame({"method": ["ridge"], "value": [0.5]}))
    return opened


@unit(1)
def site(folder: Path) -> None:
    """A book of a tiny run."""
    tiny_run(folder)
    _called("site", "--run", str(folder / "runs" / "tiny"), "--out", str(folder / "site"))


@unit(1)
def figures(folder: Path) -> None:
    """`figures` of the smoke run: its tables and pictures into figures/ and the texts."""
    from mer_utils.batch import report

    if not SMOKE:
        raise Skipped("MER_SMOKE_RUN names no smoke run (make notebooks PROFILE=smoke)")
    run = runs.reopen(SMOKE)
    report.copy_tables(run, folder / "figures")
    report.copy_figures(run, folder / "figures")


def _called(*arguments: str) -> None:
    """The command line; its error is an OSError here."""
    if cli.main(arguments):
        raise OSError("exit status 1")


def _in_project(name: str, folder: Path) -> None:
    """A unit in a project folder."""
    with material.project(folder):
        UNITS[name][0](folder)


# --- Undisturbed


def made(folder: Path) -> dict[str, str]:
    """Hashes of a folder's files, without times; no locks, temporary files, executed notebooks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and not path.match("cells/*/notebooks/*"):
            text = path.read_bytes().replace(str(folder).encode(), b"...")
            found[str(name)] = hashlib.sha256(TIMES.sub(b"", text)).hexdigest()
    return found


@cache
def undisturbed(name: str) -> tuple[dict[str, str], float, int]:
    """What a unit makes, the seconds it takes, how many files it moves."""
    folder = material.ROOT / f"unit-{name}"
    folder.mkdir()
    moves = folder.with_suffix(".moves")

    def count() -> None:
        with _moving(lambda number, before: moves.write_text(str(number))):
            _in_project(name, folder)

    start = time.perf_counter()
    said = folder.with_suffix(".said")
    if ended(forked(count, said)):
        raise RuntimeError(f"the unit {name} fails undisturbed:\n{said.read_text()}")
    seconds = time.perf_counter() - start
    return made(folder), seconds, int(moves.read_text()) if moves.is_file() else 0


@contextlib.contextmanager
def _moving(call: Callable[[int, bool], None]):
    """Call a function just before and just after each move of a file, with its number from 1."""
    replace, number = os.replace, 0

    def moved(*given, **how):
        nonlocal number
        number += 1
        call(number, True)
        replace(*given, **how)
        call(number, False)

    os.replace = moved
    try:
        yield
    finally:
        os.replace = replace


def prepare() -> None:
    """Everything that units need: models loaded, each unit done once undisturbed."""
    material.model(), clips(), _encoder()
    profiles.PROFILES["tiny"] = TINY
    if not SMOKE:
        UNITS.pop("figures", None)
    for name in UNITS:
        undisturbed(name)


def _drawn(random: Random, *without: str) -> str:
    names = [name for name in UNITS if name not in without]
    shares = np.array([UNITS[name][1] for name in names])
    return str(random.choice(names, p=shares / shares.sum()))


def whole(folder: Path) -> None:
    """Fell if a file with a final name is half."""
    readers = {".json": storage.read_json, ".npy": np.load, ".csv": pd.read_csv}
    readers |= {".safetensors": storage.read_tensors, ".parquet": pd.read_parquet}
    readers |= {".ipynb": partial(nbformat.read, as_version=4)}
    for path in sorted(folder.rglob("[!.]*")):
        if path.is_file() and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except pd.errors.EmptyDataError:  # a table of nothing, such as no comparisons
                continue
            except Exception as error:
                raise Fell(f"half a file: {path.relative_to(folder)} ({error})") from error


def same(name: str, folder: Path) -> None:
    """Fell if a folder has not what the undisturbed unit made."""
    expected, found = undisturbed(name)[0], made(folder)
    differ = [x for x in expected | found if expected.get(x) != found.get(x)]
    if differ:
        raise Fell(f"{name}: others than undisturbed: {differ[:5]}")


def again(name: str, folder: Path) -> None:
    """Run the unit to its end, and compare."""
    if ended(forked(lambda: _in_project(name, folder), folder.with_suffix(".said"))):
        raise Fell(f"{name}: does not go on after it was disturbed")
    same(name, folder)


# --- Kinds


@kind(prepare, share=4)
def kills(random: Random, folder: Path) -> None:
    """SIGKILL at a random moment, or just before or after a file is moved; then again."""
    name = _drawn(random)
    _, seconds, moves = undisturbed(name)
    at, after = int(random.integers(1, moves + 1)) if moves else 0, bool(random.integers(2))

    def die(number: int, before: bool) -> None:
        if number == at and before != after:
            os.kill(os.getpid(), signal.SIGKILL)

    def until_move() -> None:
        with _moving(die):
            _in_project(name, folder)

    by_move = moves and random.random() < 0.5
    work = until_move if by_move else lambda: _in_project(name, folder)
    process = forked(work, folder.with_suffix(".said"))
    if not by_move:
        time.sleep(random.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
    ended(process)
    whole(folder)
    again(name, folder)


@kind(prepare)
def races(random: Random, folder: Path) -> None:
    """Two processes do the same work in the same folder at the same time."""
    name = _drawn(random, "noting", "sweeping")
    said = folder.with_suffix(".said")
    both = [forked(lambda: _in_project(name, folder), said) for _ in range(2)]
    if sum(ended(process) != 0 for process in both):
        raise Fell(f"{name}: one of two at once failed")
    same(name, folder)


@kind(lambda: None, seconds=1200)
def kernels(random: Random, folder: Path) -> None:
    """SIGKILL while a real notebook of a smoke run is at work; no kernel stays; then again."""
    if not SMOKE:
        raise Skipped("MER_SMOKE_RUN names no smoke run (make notebooks PROFILE=smoke)")
    run = Path(shutil.copytree(SMOKE, folder / "run"))
    record = storage.read_json(run / "run.json")
    path = notebooks.notebook_path(f"{random.integers(len(record['seconds'])):02d}")
    os.environ["CAMPAIGN_TRY"] = str(folder)  # the kernels have it too

    def work() -> None:
        with notebooks.quiet_kernels(1, processes=1):
            given = record["parameters"] | {"out": str(run)}
            notebooks.run_notebook(path, run / "notebooks" / path.name, given, show=False)

    process = forked(work, folder.with_suffix(".said"))
    time.sleep(random.uniform(0, record["seconds"][path.stem]))
    os.kill(process, signal.SIGKILL)
    ended(process)
    end = time.monotonic() + 20  # a kernel looks for its parent once a second
    while alive := [x.pid for x in psutil.process_iter() if _of_try(x, folder)]:
        if time.monotonic() > end:
            raise Fell(f"{path.stem}: kernels stay: {alive}")
        time.sleep(0.2)
    if ended(forked(work, folder.with_suffix(".said"))):
        raise Fell(f"{path.stem}: does not go on after a kill")
    for table in sorted(Path(SMOKE).glob("tables/*.parquet")):
        both = [pd.read_parquet(x / "tables" / table.name) for x in (Path(SMOKE), run)]
        both = [x.drop(columns=[c for c in x if "second" in str(c)]) for x in both]
        pd.testing.assert_frame_equal(*both, rtol=1e-2, atol=1e-3)  # by other numbers of threads


def _of_try(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("CAMPAIGN_TRY") == str(folder)
    return False


@kind(lambda: None)
def notes(random: Random, folder: Path) -> None:
    """Two processes write facts into one run's record; none is lost."""
    opened = runs.open_run("smoke", folder / "run")

    def note(owner: int) -> None:
        for number in range(10):
            runs.note(opened, **{f"{owner}-{number}": number})
            time.sleep(random.uniform(0, 0.002))

    both = [forked(partial(note, x), folder.with_suffix(".said")) for x in range(2)]
    if sum(ended(process) != 0 for process in both):
        raise Fell("a note failed")
    facts = sum("-" in key for key in storage.read_json(folder / "run" / "run.json"))
    if facts != 20:
        raise Fell(f"{20 - facts} of 20 facts are lost")


def _limited(random: Random, folder: Path) -> None:
    """No file may become larger than so many bytes."""
    size = int(10 ** random.uniform(0, 6))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _read_only(random: Random, folder: Path) -> None:
    """The folder may not be written to; root gives up what lets it nevertheless."""
    folder.chmod(0o555)
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())


def _full(random: Random, folder: Path) -> None:
    """The folder is a disk of its own, of a few pages; it is gone with this process."""
    if ctypes.CDLL(None).unshare(0x20000):  # CLONE_NEWNS
        raise Skipped("no disk of its own: this is not root")
    subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    _mount(f"size={int(random.integers(1, 30)) * 4}k", folder)


def _mount(options: str, folder: Path) -> None:
    given = ["mount", "-t", "tmpfs", "-o", options, "campaign", str(folder)]
    if subprocess.run(given, capture_output=True, check=False).returncode:
        raise Skipped("no tmpfs may be mounted here")


@kind(prepare)
def disk(random: Random, folder: Path) -> None:
    """Files that may not grow, a full disk, a folder that may not be written to; then again."""
    name, how = _drawn(random, "sweeping"), (_limited, _read_only, _full)[random.integers(3)]
    if how is _full:
        how(random, folder)
    read_end, write_end = os.pipe()

    def work() -> None:
        os.dup2(write_end, 1)  # a pipe, as a file could not grow either
        os.dup2(write_end, 2)
        if how is not _full:
            how(random, folder)
        try:
            _in_project(name, folder)
        except (ValueError, OSError, NotebookError) as error:  # as the command line does
            os.write(2, f"error: {error}\n".encode(errors="replace"))

    process = forked(work, folder.with_suffix(".said"))
    os.close(write_end)
    with open(read_end, encoding="utf-8", errors="replace") as pipe:
        text = pipe.read()
    print(text)
    status = ended(process)
    folder.chmod(0o755)
    if status or "Traceback" in text:
        last = [line for line in text.splitlines() if line[:1].strip()][-1:]
        raise Fell(f"{name}, {how.__name__.strip('_')}: {last}")
    whole(folder)
    if how is _full:
        _mount("remount,size=64m", folder)
    again(name, folder)
