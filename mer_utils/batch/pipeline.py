"""The notebooks as a batch job: all of a profile, or a grid of experiments.

Papermill and nbconvert take seconds to import: they are imported when something runs.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd
from joblib import cpu_count
from tqdm import tqdm

from mer_utils import storage
from mer_utils.batch import profiles, runs
from mer_utils.progress import say
from mer_utils.sound.hugging_face import find_model

AT_A_TIME = 2  # notebooks: much of each keeps one core busy
GOES_ON_FROM = {"02": {"01"}, "04": {"03"}, "06": {"05"}, "07": {"03"}}
"""Notebooks that a notebook waits for: it takes their files, or features that they need, too."""
FIRST = ("05", "06", "08")  # the longest chain, and what is done while its music is composed


def run(
    profile: str = "demo",
    out: str | Path = "",
    accept_licence: bool = False,
    **parameters: object,
) -> Path:
    """Run a profile's notebooks, two at a time where none waits for the other; returns the folder.

    out: the run folder, runs/<profile> if empty.
    accept_licence: of MERT's weights, where they have to be downloaded.
    parameters: notebook parameters, over the profile's own; plain JSON values.
    Raises, before anything runs, ValueError for an unknown parameter and FileNotFoundError for
    missing data or weights; NotebookError if a notebook fails, keeping what was done until then.
    """
    from mer_utils.batch import kernels

    chosen = profiles.get(profile)
    share = max(1, cpu_count() // AT_A_TIME)
    threads = int(os.environ.get("OMP_NUM_THREADS") or share)
    processes = chosen.processes or min(cpu_count(), max(2, share))
    quiet = partial(kernels.quiet_kernels, threads, processes)
    with kernels.prepared(quiet()):
        from mer_utils.batch import notebooks

        paths = [notebooks.notebook_path(number) for number in chosen.notebooks]
        parameters = notebooks.check_parameters(paths, parameters)
        opened = _opened(profile, out, accept_licence, parameters)
    given = {**chosen.parameters, **parameters, "profile": profile, "out": str(opened.folder)}
    seconds: dict[str, float] = {}
    unwritten: list[str] = []
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        kernels.stop_kernels()

    def write_page(executed: Path) -> None:
        try:
            notebooks.write_page(executed)
        except Exception as error:  # of a full disk, for one
            unwritten.append(f"{executed.stem}: no HTML page: {storage.told(error)}")
            tqdm.write(unwritten[-1])

    def run_one(path: Path) -> None:
        start = time.perf_counter()
        tqdm.write(f"{path.stem} …")
        try:
            executed = opened.path("notebooks", path.name)
            notebooks.run_notebook(path, executed, given, page=False)
        except runs.NotebookError:
            if not stopped.is_set():
                tqdm.write(f"{path.stem} failed")
            raise
        pages.submit(write_page, executed)
        seconds[path.stem] = round(time.perf_counter() - start, 1)
        tqdm.write(f"{path.stem} done in {seconds[path.stem]:.0f} s")

    with storage.locked(opened.folder), quiet(), ThreadPoolExecutor(1) as pages:
        for pattern in ("figures/method/*.svg", "docs/*.md"):  # the notebooks show and link them
            for file in profiles.PROJECT.glob(pattern):
                storage.copy_file(file, opened.folder / file.relative_to(profiles.PROJECT))
        runs.note(opened, parameters=given, **runs.provenance())
        order = [*FIRST, *chosen.notebooks]
        in_turn = sorted(paths, key=lambda path: order.index(path.stem[:2]))
        _in_order(in_turn, run_one, stop)
        runs.note(opened, seconds={path.stem: seconds[path.stem] for path in paths})
    if unwritten:
        raise runs.NotebookError("\n".join(unwritten))
    say(f"Executed notebooks, tables and figures: {opened.folder}")
    return opened.folder


def _opened(profile: str, out: str | Path, accept_licence: bool, parameters: Mapping) -> runs.Run:
    """The run, once all that its notebooks need was found to be there."""
    own = {key: str(parameters.get(key) or "") for key in ("encoder", "csv")}
    changed = profiles.choose(profile, **own)
    if target := parameters.get("target"):
        profiles.check_target(changed, target)
    profiles.check_inputs(changed, str(parameters.get("checkpoint") or ""), accept_licence)
    if clap := parameters.get("clap"):
        find_model(str(clap))  # now, and not after all trainings
    runs.check_folder(profile, out)
    return runs.open_run(profile, out, **own)


def _in_order(
    paths: Sequence[Path], run_one: Callable[[Path], None], stop: Callable[[], None]
) -> None:
    """Run notebooks, `AT_A_TIME`, each when those that it goes on from are done.

    After an error none begins any more. stop: ends those that run, after Ctrl-C.
    Raises NotebookError with what all say that failed.
    """
    waiting, running, failed = list(paths), {}, []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            while waiting or running:
                unfinished = {path.stem[:2] for path in [*waiting, *running.values()]}
                ready = [p for p in waiting if not GOES_ON_FROM.get(p.stem[:2], set()) & unfinished]
                for path in ready[: AT_A_TIME - len(running)]:
                    running[pool.submit(run_one, path)] = path
                    waiting.remove(path)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    if error := future.exception():
                        failed.append(error)
                        waiting.clear()
        except KeyboardInterrupt:
            while not all(future.done() for future in running):
                with suppress(KeyboardInterrupt):  # a second Ctrl-C
                    stop()  # again and again: a kernel may just be beginning
                    time.sleep(0.1)
            raise
    if len(failed) > 1:
        raise runs.NotebookError("\n\n".join(map(str, failed)))
    if failed:
        raise failed[0]


def sweep(
    grid: str | Path | dict, out: str | Path, executor: Executor | None = None, **settings: object
) -> pd.DataFrame:
    """Run a grid of experiments; see `batch.sweeps.run_cells`."""
    from mer_utils.batch import sweeps

    return sweeps.run_cells(grid, out, executor, **settings)
