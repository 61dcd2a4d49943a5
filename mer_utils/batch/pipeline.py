"""The notebooks as a batch job: all of a profile in order, or a grid of experiments.

Papermill and nbconvert take seconds to import: they are imported when something runs.
"""

import time
from concurrent.futures import Executor
from pathlib import Path

import pandas as pd

from mer_utils.batch import profiles, runs
from mer_utils.sound.hugging_face import find_model


def run(profile: str = "demo", out: str | Path = "", **parameters: object) -> Path:
    """Run a profile's notebooks in order; returns the run folder.

    out: the run folder, runs/<profile> if empty.
    parameters: notebook parameters, over the profile's own; plain JSON values.
    Raises, before anything runs, ValueError for an unknown parameter and FileNotFoundError for
    missing data or weights; NotebookError if a notebook fails, keeping what was done until then.
    """
    from mer_utils.batch import notebooks

    chosen = profiles.get(profile)
    paths = [notebooks.notebook_path(number) for number in chosen.notebooks]
    parameters = notebooks.check_parameters(paths, parameters)
    own = {key: str(parameters.get(key) or "") for key in ("encoder", "csv")}
    checkpoint = str(parameters.get("checkpoint") or "")
    profiles.check_inputs(profiles.choose(profile, **own), checkpoint)
    if clap := parameters.get("clap"):
        find_model(str(clap))  # now, and not after all trainings
    opened = runs.open_run(profile, out, **own)
    given = {**chosen.parameters, **parameters, "profile": profile, "out": str(opened.folder)}
    runs.note(opened, parameters=given, **runs.provenance())
    seconds = {}
    for position, path in enumerate(paths, 1):
        start = time.perf_counter()
        print(f"[{position}/{len(paths)}] {path.stem}", flush=True)
        notebooks.run_notebook(path, opened.path("notebooks", path.name), given)
        seconds[path.stem] = round(time.perf_counter() - start, 1)
        print(f"      done in {seconds[path.stem]:.0f} s", flush=True)
    runs.note(opened, seconds=seconds)
    print(f"Executed notebooks, tables and figures: {opened.folder}")
    return opened.folder


def sweep(
    grid: str | Path | dict, out: str | Path, executor: Executor | None = None, **settings: object
) -> pd.DataFrame:
    """Run a grid of experiments; see `batch.sweeps.run_cells`."""
    from mer_utils.batch import sweeps

    return sweeps.run_cells(grid, out, executor, **settings)
