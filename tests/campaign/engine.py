"""The engine: a forked child a try, with limits; what it used, and whether it held.

Imports take seconds, so one parent makes them once. It has a single thread, without which a fork
would not be safe.
"""

import ctypes
import faulthandler
import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

Random = np.random.Generator
MOST_MIB = 1536
CPU_SECONDS = 20
LONGEST = 180  # seconds of a try, the machine may be busy
GIB = 2**30


class Skipped(Exception):  # noqa: N818
    """This machine does not allow such a try."""


class Kind(NamedTuple):
    """One kind of try; what makes its material, in the parent; the most seconds of a try."""

    name: str
    function: Callable[[Random, Path], None]
    prepare: Callable[[], object]
    seconds: float


KINDS: dict[str, Kind] = {}


def kind(prepare: Callable[[], object] = lambda: None, seconds: float = LONGEST) -> Callable:
    """Register a function of a random generator and a fresh folder as a kind of try."""

    def register(function: Callable[[Random, Path], None]) -> Callable:
        KINDS[function.__name__] = Kind(function.__name__, function, prepare, seconds)
        return function

    return register


def forked(function: Callable[[], object], said: Path) -> BaseProcess:
    """Call a function in a child whose output, a traceback at its end, goes to a file."""

    def work() -> None:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        function()

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Wait for a child; returns its exit status, -9 if it was killed."""
    process.join()
    return process.exitcode


def _most_mib() -> float:
    """The most memory that this process or a child of it has had."""
    own, inside = (resource.getrusage(x) for x in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own.ru_maxrss, inside.ru_maxrss) / 1024


def _try(tried: Kind, seed: int, folder: Path) -> None:
    """One try, whose outcome is left in a file beside its folder."""
    os.setpgid(0, 0)  # what it starts is killed with it
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the campaign
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, resource.RLIM_INFINITY))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 6 * GIB, now + 6 * GIB))
    faulthandler.dump_traceback_later(tried.seconds - 5, file=2)
    folder.mkdir()
    os.chdir(folder)
    before, fell, skipped = _most_mib(), "", ""
    try:
        tried.function(np.random.default_rng([zlib.crc32(tried.name.encode()), seed]), folder)
    except Skipped as reason:
        skipped = str(reason)
    except BaseException as error:
        traceback.print_exc()
        at = traceback.extract_tb(error.__traceback__)[-1]
        words = ascii(" ".join(str(error).split())[:200])
        fell = f"{type(error).__name__}: {words} ({Path(at.filename).name}:{at.lineno})"
    mib = _most_mib() - before
    if mib > MOST_MIB:
        fell = fell or f"{mib:.0f} MiB"
    outcome = {"fell": fell, "skipped": skipped, "CPU s": sum(os.times()[:4]), "MiB": mib}
    folder.with_suffix(".outcome").write_text(json.dumps(outcome))


def run(
    kinds: Sequence[Kind], place: Path, jobs: int, seconds: float, tries: int | None, first: int
) -> pd.DataFrame:
    """Run tries, so many `jobs` at a time: a row each; a line is printed of each that fell.

    They are of the kind that has had least time, at least one of each, until the seconds are over
    or, in place of them, so many tries of each kind were made. place: a folder of their folders.
    """
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:  # it knows of forks
        raise RuntimeError(f"{threads}: a forked child would wait for these threads for ever")
    end = time.monotonic() + seconds
    seeds = {kind: iter(range(first, first + (tries or 10**9))) for kind in kinds}
    spent = dict.fromkeys(kinds, 0.0)
    running: dict[BaseProcess, tuple[Kind, int, float]] = {}
    outcomes = []
    while seeds or running:
        while seeds and len(running) < jobs:
            tried = min(seeds, key=spent.get)
            seed = next(seeds[tried], None)
            if seed is None or (not tries and spent[tried] and time.monotonic() > end):
                del seeds[tried]
                continue
            folder = place / f"{tried.name}-{seed}"
            process = forked(partial(_try, tried, seed, folder), folder.with_suffix(".said"))
            running[process] = tried, seed, time.monotonic()
            spent[tried] += 0.001  # so that the next one begun is of another kind
        time.sleep(0.003)
        for process, (tried, seed, start) in list(running.items()):
            if time.monotonic() > start + tried.seconds:
                os.killpg(process.pid, signal.SIGKILL)
            if process.exitcode is not None:
                del running[process]
                spent[tried] += time.monotonic() - start
                outcomes.append(_outcome(tried, seed, place, process.exitcode))
    return pd.DataFrame(outcomes).fillna({"skipped": ""})


def _outcome(tried: Kind, seed: int, place: Path, status: int) -> dict[str, object]:
    """How a try ended; fell and skipped are reasons, empty where it held."""
    folder = place / f"{tried.name}-{seed}"
    file = folder.with_suffix(".outcome")
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    left = json.loads(file.read_text()) if file.is_file() else {"fell": f"ended by {how}"}
    if left["fell"]:
        print(f"python -m tests.campaign {tried.name} --seed {seed}  # {left['fell']}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return {"kind": tried.name, "seed": seed, **left}


def table(tries: pd.DataFrame) -> str:
    """Counts of each kind."""
    fell, skipped = tries["fell"] != "", tries["skipped"] != ""
    tries = tries.assign(tries=1, held=~fell & ~skipped, fell=fell, skipped=skipped)
    kinds = pd.concat([tries, tries.assign(kind="all")]).groupby("kind", sort=False)
    counts = kinds[["tries", "held", "fell", "skipped"]].sum()
    return counts.join(kinds[["CPU s", "MiB"]].max().round(1).add_prefix("most ")).to_string()
