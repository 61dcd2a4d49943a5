"""The notebooks as a batch job: all of a profile, or a grid of experiments.

Papermill and nbconvert take seconds to import: they are imported when something runs.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from pathlib import Path

import pandas as pd
from joblib import cpu_count
from tqdm import tqdm

from mer_utils import storage
from mer_utils.batch import profiles, runs
from mer_utils.progress import say
from mer_utils.sound.hugging_face import find_model

AT_A_TIME = 2  # notebooks: much of each keeps one core busy
GOES_ON_FROM = {"02": {"01"}, "04": {"03"}, "05": {"03"}, "06": {"05"}, "07": {"03"}}
"""Which notebooks a notebook takes files of, or features that it would else make itself."""
LONG = ("00", "03", "05", "06")  # begin first: the others find room beside them


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
    from mer_utils.batch import kernels, notebooks

    chosen = profiles.get(profile)
    paths = [notebooks.notebook_path(number) for number in chosen.notebooks]
    parameters = notebooks.check_parameters(paths, parameters)
    own = {key: str(parameters.get(key) or "") for key in ("encoder", "csv")}
    checkpoint = str(parameters.get("checkpoint") or "")
    changed = profiles.choose(profile, **own)
    if target := parameters.get("target"):
        profiles.check_target(changed, target)
    profiles.check_inputs(changed, checkpoint, accept_licence)
    if clap := parameters.get("clap"):
        find_model(str(clap))  # now, and not after all trainings
    runs.check_folder(profile, out)
    opened = runs.open_run(profile, out, **own)
    given = {**chosen.parameters, **parameters, "profile": profile, "out": str(opened.folder)}
    seconds: dict[str, float] = {}

    def run_one(path: Path) -> None:
        start = time.perf_counter()
        tqdm.write(f"{path.stem} …")
        try:
            notebooks.run_notebook(path, opened.path("notebooks", path.name), given)
        except runs.NotebookError:
            tqdm.write(f"{path.stem} failed")
            raise
        seconds[path.stem] = round(time.perf_counter() - start, 1)
        tqdm.write(f"{path.stem} done in {seconds[path.stem]:.0f} s")

    share = max(1, cpu_count() // AT_A_TIME)
    threads = int(os.environ.get("OMP_NUM_THREADS") or share)
    processes = chosen.processes or min(cpu_count(), max(2, share))
    with storage.locked(opened.folder), kernels.quiet_kernels(threads, processes):
        for pattern in ("figures/method/*.svg", "docs/*.md"):  # the notebooks show and link them
            for file in profiles.PROJECT.glob(pattern):
                storage.copy_file(file, opened.folder / file.relative_to(profiles.PROJECT))
        runs.note(opened, parameters=given, **runs.provenance())
        long_first = sorted(paths, key=lambda path: path.stem[:2] not in LONG)
        _in_order(long_first, run_one, stop=kernels.stop_kernels)
        runs.note(opened, seconds={path.stem: seconds[path.stem] for path in paths})
    say(f"Executed notebooks, tables and figures: {opened.folder}")
    return opened.folder


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
