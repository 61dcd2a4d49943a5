"""The engine: a forked child a try, with limits; what it used, and whether it held.

Imports take seconds, so one parent makes them once. It has a single thread, without which a fork
would not be safe.
"""

import ctypes
import faulthandler
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Random = np.random.Generator
MOST_MIB = 1536
CPU_SECONDS = 20
LONGEST = 180  # seconds of a try, the machine may be busy
GIB = 2**30


class Fell(AssertionError):  # noqa: N818
    """What should not have happened did."""


class Skipped(Exception):  # noqa: N818
    """This machine does not allow such a try."""


@dataclass(frozen=True)
class Kind:
    """One kind of try: a function of a random generator and a fresh folder."""

    name: str
    function: Callable[[Random, Path], None]
    prepare: Callable[[], object]
    seconds: float
    share: float


@dataclass(frozen=True)
class Outcome:
    """How a try ended: fell and skipped are reasons, empty where it held."""

    kind: str
    seed: int
    fell: str
    skipped: str
    cpu: float
    mib: float


KINDS: dict[str, Kind] = {}
Plan = Callable[[dict[str, float]], tuple[Kind, int] | None]


def kind(prepare: Callable[[], object], seconds: float = LONGEST, share: float = 1) -> Callable:
    """Register a kind.

    prepare: makes its material, in the parent; seconds: most of a try; share: of the time.
    """

    def register(function: Callable[[Random, Path], None]) -> Callable:
        KINDS[function.__name__] = Kind(function.__name__, function, prepare, seconds, share)
        return function

    return register


def forked(function: Callable[[], None], said: Path, *, group: bool = False) -> int:
    """Call a function in a child whose output goes to a file; returns its process id.

    The child ends with 0, or with 1 and a traceback in the file. group: with a group of its own.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        if group:
            os.setpgid(0, 0)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def ended(process: int) -> int:
    """Wait for a child; returns its exit status, -9 if it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _child(tried: Kind, seed: int, folder: Path, verdict: Path) -> None:
    """One try, its verdict left in a file: "held", or "fell: …", "skipped: …"."""
    if tried.seconds <= LONGEST:  # else it is no input, but whole work
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 6 * GIB, now + 6 * GIB))
    faulthandler.dump_traceback_later(max(5, tried.seconds - 5), file=2)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the campaign
    folder.mkdir()
    os.chdir(folder)
    random = np.random.default_rng([zlib.crc32(tried.name.encode()), seed])
    try:
        tried.function(random, folder)
        found = "held"
    except Skipped as reason:
        found = f"skipped: {reason}"
    except BaseException as error:
        traceback.print_exc()
        ours = [x for x in traceback.extract_tb(error.__traceback__) if "mer_utils" in x.filename]
        place = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
        name = "" if isinstance(error, Fell) else f"{type(error).__name__}: "
        found = f"fell: {name}{' '.join(str(error).split())[:200]!r}{place}"
    verdict.write_text(found, errors="backslashreplace")


def run(plan: Plan, place: Path, jobs: int) -> list[Outcome]:
    """Run tries, `jobs` at a time, until the plan gives no more.

    plan: called with the seconds that each kind has had, it gives a kind and a seed, or None.
    place: a folder of their folders; each is removed afterwards, if the try did not fall.
    """
    running: dict[int, tuple[Kind, int, Path, float]] = {}
    outcomes: list[Outcome] = []
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if len([name for name in threads if name != "jemalloc_bg_thd"]) > 1:  # it knows of forks
        raise RuntimeError(f"{threads}: a forked child would wait for these threads for ever")
    nothing = os.wait4(forked(lambda: None, Path(os.devnull)), 0)[2].ru_maxrss
    spent = dict.fromkeys(KINDS, 0.0)
    following = plan(spent)
    while following or running:
        while following and len(running) < jobs:
            tried, seed = following
            folder = place / f"{tried.name}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            verdict, said = folder.with_suffix(".verdict"), folder.with_suffix(".said")
            verdict.unlink(missing_ok=True)
            said.unlink(missing_ok=True)
            given = (tried, seed, folder, verdict)
            process = forked(lambda given=given: _child(*given), said, group=True)
            running[process] = (tried, seed, folder, time.monotonic())
            spent[tried.name] += 0.001  # so that the next one begun is of another kind
            following = plan(spent)
        process, status, used = os.wait4(-1, os.WNOHANG)
        if not process:
            for other, (tried, _, _, start) in running.items():
                if time.monotonic() - start > tried.seconds:
                    os.killpg(other, signal.SIGKILL)
            time.sleep(0.003)
        elif process in running:
            tried, seed, folder, start = running.pop(process)
            spent[tried.name] += time.monotonic() - start
            cpu, mib = used.ru_utime + used.ru_stime, (used.ru_maxrss - nothing) / 1024
            found = _verdict(folder, os.waitstatus_to_exitcode(status), time.monotonic() - start)
            if found == "held" and mib > MOST_MIB:
                found = f"fell: {mib:.0f} MiB"
            kept = found.startswith("fell")
            fell, skipped = (found.partition(f"{x}: ")[2] for x in ("fell", "skipped"))
            outcomes.append(Outcome(tried.name, seed, fell, skipped, cpu, mib))
            if kept:
                print(again(outcomes[-1]), flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                for file in place.glob(f"{folder.name}.[sv]*"):
                    file.unlink()
    return outcomes


def _verdict(folder: Path, status: int, seconds: float) -> str:
    """What a try left in its file, or why it could not."""
    file = folder.with_suffix(".verdict")
    if file.is_file():
        return file.read_text()
    if status < 0:
        return f"fell: ended by {signal.Signals(-status).name} after {seconds:.0f} s"
    return f"fell: no verdict, exit status {status}"


def again(outcome: Outcome) -> str:
    """A fall as the line that runs it again."""
    line = f"python -m tests.campaign {outcome.kind} --seed {outcome.seed}"
    return f"{line}  # {outcome.fell}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Counts of each kind."""
    head = ("kind", "tries", "held", "fell", "skipped", "most CPU s", "most MiB")
    lines = ["{:14}{:>8}{:>8}{:>8}{:>9}{:>12}{:>10}".format(*head)]
    for name in [*dict.fromkeys(x.kind for x in outcomes), "all"]:
        of_kind = [x for x in outcomes if name in (x.kind, "all")]
        fell, skipped = (sum(bool(getattr(x, y)) for x in of_kind) for y in ("fell", "skipped"))
        counts = (len(of_kind), len(of_kind) - fell - skipped, fell, skipped)
        most = (max(x.cpu for x in of_kind), max(x.mib for x in of_kind))
        lines.append(
            "{:14}{:>8}{:>8}{:>8}{:>9}".format(name, *counts) + "{:>12.1f}{:>10.0f}".format(*most)
        )
    return "\n".join(lines)
