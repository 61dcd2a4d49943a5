"""The notebooks as a batch job: all of a profile in order, or a grid of experiments.

Executed notebooks, tables and figures land in the run folder. What runs notebooks is imported when
it is needed: papermill and nbconvert take a second that whoever only asks for a profile has not to
wait.
"""

import time
from concurrent.futures import Executor
from pathlib import Path

import pandas as pd

from mer_utils.batch import profiles, runs


def run(profile: str = "demo", out: str | Path = "", **parameters: object) -> Path:
    """Run a profile's notebooks in order.

    profile: name of a profile; out: the run folder, runs/<profile> if empty.
    parameters: notebook parameters, over the profile's own; plain JSON values.
    Returns the run folder.
    Raises ValueError before anything runs if a parameter is unknown, FileNotFoundError if data or
    the encoder's weights that the profile needs are not there; NotebookError if a notebook
    fails, naming it and its cell; what it had done until then is kept.
    """
    from mer_utils.batch import notebooks

    chosen = profiles.get(profile)
    paths = [notebooks.notebook_path(number) for number in chosen.notebooks]
    parameters = notebooks.check_parameters(paths, parameters)
    own = {key: str(parameters.get(key) or "") for key in ("encoder", "csv")}
    checkpoint = str(parameters.get("checkpoint") or "")
    profiles.check_inputs(profiles.choose(profile, **own), checkpoint)
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
