"""Many experiments: a grid of parameters, one papermill run of notebook 07 for each cell of it.

A grid is a YAML file (or the same as a dict):

    profile: demo
    fixed: {epochs: 75}             # the same for all cells
    grid:                           # one mapping, or a list of them whose cells are joined
      - {approach: [alignment], weight: [0.5, 1.0, 2.5], target: [demo-mtg], seed: [0, 1, 2]}
      - {approach: [ridge], target: [demo-mtg]}

Every cell has a folder of its own under `cells/`, named by what made it. A cell that is done is not
done again, a failed one is tried again, and the others go on. Beside them: `results.csv`,
`seeds.csv`, `comparisons.csv`, figures and `summary.html`.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, create_model
from sklearn.model_selection import ParameterGrid

from mer_utils import code, figures, storage
from mer_utils.batch import kernels, notebooks, pages, profiles
from mer_utils.batch.given import read_yaml
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import NotebookError
from mer_utils.data.reading import read_text
from mer_utils.evaluation import scoring
from mer_utils.evaluation.resampling import interval_over_seeds
from mer_utils.progress import say
from mer_utils.projector.methods import check_approach
from mer_utils.projector.networks import PROJECTORS
from mer_utils.storage import slug

EXPERIMENT = "07"  # the notebook that a cell of the grid runs
KEYS = {"profile": str, "fixed": Mapping, "grid": Mapping | list | tuple}
MOST_CELLS = 100_000
DONE = create_model("cell.json", seconds=NonNegativeFloat)  # what is read of it
METRIC = "song_roc_auc"  # of figures, comparisons and the page
PACKAGE = Path(code.__file__).parent
# change no cell's results
DRAWING = ("figures/*", "batch/cli", "batch/report", "batch/book", "batch/pages", "batch/sweeps")


@dataclass(frozen=True)
class Cell:
    """One experiment of a sweep: all its parameters, those of the grid, and where it lies."""

    parameters: dict
    varied: dict
    folder: Path

    @property
    def status(self) -> str:
        """ "done" or "to do"."""
        return "done" if (self.folder / "cell.json").is_file() else "to do"

    @property
    def seconds(self) -> float:
        """How long it took, if it is done."""
        return storage.read_json(self.folder / "cell.json", DONE)["seconds"]


def read_grid(grid: str | Path | Mapping) -> dict:
    """A grid as a dict with the keys profile, fixed and grid; ValueError if it is none."""
    name, help_ = "the grid", "docs/sweeps.md shows how to write one"
    if not isinstance(grid, Mapping):
        name = str(grid)
        try:
            grid = read_yaml(read_text(Path(grid)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}; {help_}") from error
    if not isinstance(grid, Mapping) or not grid.get("grid"):
        raise ValueError(f"{name} has no 'grid'; {help_}")
    described = {"profile": "demo", **grid, "fixed": grid.get("fixed") or {}}
    for key, value in described.items():
        if key not in KEYS or not isinstance(value, KEYS[key]):
            raise ValueError(f"{name} has {key}: {value!r}; {help_}")
    try:
        cells = ParameterGrid(described["grid"]).__len__()  # len() ends at 2^63
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}; {help_}") from error
    if cells > MOST_CELLS:
        raise ValueError(f"{name} has {cells:,} cells, expected {MOST_CELLS:,} at most; divide it")
    return described


def plan(grid: str | Path | Mapping, out: str | Path) -> list[Cell]:
    """The cells of a grid, each once, in its order; nothing is written.

    Raises ValueError for a parameter that notebook 07 does not have, or of another type, for a
    target or an approach that there is not, and for `out` being a file.
    """
    described = read_grid(grid)
    if Path(out).is_file():
        raise ValueError(f"{out} is a file, expected the folder of a sweep; give another name")
    profile = profiles.get(described["profile"])
    notebook = notebooks.notebook_path(EXPERIMENT)
    declared = notebooks.declared_parameters(notebook)
    made_by = _made_by(notebook)
    common = {k: v for k, v in profile.parameters.items() if k in declared} | described["fixed"]
    common = notebooks.check_parameters([notebook], {**declared, **common})
    cells: dict[str, Cell] = {}
    inputs, named_path = cache(_inputs), cache(notebooks.named_path)
    for combination in ParameterGrid(described["grid"]):
        for own in {"profile", "out"} & {*described["fixed"], *combination}:
            raise ValueError(f"{own!r} is no parameter of a grid's cells; the sweep sets it")
        varied = notebooks.check_parameters([notebook], combination, declared)
        given = {**common, **varied}
        chosen = profiles.choose(profile.name, given.get("encoder", ""), given.get("csv", ""))
        if "target" in given:
            profiles.check_target(chosen, given["target"])
        check_approach(given.get("approach", "ridge"))
        PROJECTORS[given.get("network", "paper")]
        del given["out"]
        given["profile"] = profile.name
        name = slug("-".join(str(varied[key]) for key in sorted(varied)))[:60]
        named = {named_path(x) for x in given.values() if isinstance(x, str) and x} - {None}
        state = inputs(chosen.datasets, tuple(sorted(named)))
        key = f"{name}-{storage.settings_hash({'parameters': given, 'inputs': state, **made_by})}"
        cells.setdefault(key, Cell(given, varied, Path(out).absolute() / "cells" / key))
    return list(cells.values())


def _made_by(notebook: Path) -> dict[str, str]:
    """What decides every cell, by hash: the notebook's code and the package as on disk."""
    source = hashlib.sha256(notebooks.notebook_code(notebook).encode()).hexdigest()
    files = {path for kind in ("*.py", "*.csv", "*.yml") for path in PACKAGE.rglob(kind)}
    files -= {path for name in DRAWING for path in PACKAGE.glob(f"{name}.py")}
    return {"notebook": source, "package": code.files_hash(files)}


def _inputs(datasets: tuple[str, ...], named: tuple[Path, ...]) -> dict:
    """The state of everything outside the project's code that a cell reads."""
    state: dict[str, object] = {}
    for path in named:
        files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
        state[str(path)] = [storage.file_hash(file) for file in files]
    with suppress(FileNotFoundError):  # `run` says what is missing; a plan needs no data
        folders = profiles.data_folders(datasets)
        sizes = {str(f): f.stat().st_size for d in folders for f in d.rglob("*") if f.is_file()}
        own = [profiles.load_dataset(name) for name in datasets if profiles.is_own(name)]
        state |= {"data": storage.settings_hash(sizes), "own": [*map(profiles.audio_state, own)]}
    return state


def plan_text(cells: Sequence[Cell]) -> str:
    """The plan and the cost so far, to print."""
    lines = [f"{cell.status:5} {cell.folder.name}" for cell in cells]
    seconds = [cell.seconds for cell in cells if cell.status == "done"]
    lines.append(f"{len(seconds)} done, {len(cells) - len(seconds)} to do")
    if seconds:
        a_cell = np.mean(seconds)
        rest = a_cell * (len(cells) - len(seconds)) / 60
        lines.append(f"{a_cell:.0f} s a cell so far; the rest would take {rest:.1f} min in turn")
    return "\n".join(lines)


def run_cells(
    grid: str | Path | Mapping,
    out: str | Path,
    executor: Executor | None = None,
    threads: int | None = None,
    timeout: float | None = None,
) -> pd.DataFrame:
    """Run all cells of a grid that are not done yet, and write what they say together.

    grid: a YAML file or the same as a dict.
    out: folder of the sweep. A relative path is taken from the project.
    executor: runs the cells: a `ProcessPoolExecutor` (spawned, not forked) or dask's
        `Client.get_executor()`, whose workers see the same files; here, one by one, if None.
    threads: of each cell; all cores divided by the executor's workers if None, 1 if unknown.
    timeout: of one notebook cell, seconds.
    Returns the results of all done cells: a row a cell and metric.
    Raises NotebookError at the end if cells failed, listing them.
    """
    out = PROJECT / out
    cells = plan(grid, out)
    with storage.locked(out):
        todo = [cell for cell in cells if cell.status != "done"]
        prepare_features(todo)
        cores = os.cpu_count() or 1
        workers = getattr(executor, "_max_workers", None) or cores if executor else 1
        threads = threads or max(1, cores // workers)
        finished = _in_turn(todo, executor, threads, timeout)
        failed = []
        try:
            for number, (cell, error) in enumerate(finished, len(cells) - len(todo) + 1):
                how = "FAILED" if error else f"done in {cell.seconds:.0f} s"
                say(f"[{number}/{len(cells)}] {cell.folder.name} {how}")
                if error:
                    failed.append(f"{cell.folder.name}: {error}")
        finally:  # also on Ctrl-C: what is done can be read
            results = collect(cells)
            if not results.empty:
                summarise(cells, results, out)
    if failed:
        listed = "\n\n".join(failed)
        raise NotebookError(
            f"{len(failed)} of {len(cells)} cells failed; the others are in {out / 'results.csv'}"
            f"\n\n{listed}"
        )
    return results


def prepare_features(cells: Sequence[Cell]) -> None:
    """Extract what is missing once, before many cells would do it at the same time."""
    asked = ("profile", "encoder", "csv", "checkpoint")
    wanted = {tuple(cell.parameters.get(name, "") for name in asked) for cell in cells}
    for profile, encoder, csv, checkpoint in sorted(wanted):
        chosen = profiles.choose(profile, encoder, csv)
        profiles.check_inputs(chosen, checkpoint)
        profiles.load_labelled(chosen, checkpoint)


def _in_turn(
    cells: Sequence[Cell], executor: Executor | None, threads: int, timeout: float | None
) -> Iterator[tuple[Cell, str]]:
    """Each cell as it is done, with its error, if any."""
    if executor is None:
        yield from ((cell, do_cell(cell, threads, timeout)) for cell in cells)
        return
    futures = {executor.submit(do_cell, cell, threads, timeout): cell for cell in cells}
    try:
        for future in as_completed(futures):
            cell = futures[future]
            try:
                error = future.result()
            except Exception as lost:  # the worker itself: a cell's own errors are returned
                error = f"its worker failed ({type(lost).__name__}: {lost}); if memory is short, "
                error += "run again with fewer jobs at a time"
            yield cell, error
    finally:  # on Ctrl-C: begin no other
        for future in futures:
            future.cancel()


def do_cell(cell: Cell, threads: int = 1, timeout: float | None = None) -> str:
    """Run one cell; its record is written last. Returns what went wrong, "" if nothing did."""
    notebook = notebooks.notebook_path(EXPERIMENT)
    start = time.perf_counter()
    # on Ctrl-C nbclient leaves a task behind, of which asyncio would print a page
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        with kernels.quiet_kernels(threads, processes=threads):
            executed = cell.folder / "notebooks" / notebook.name
            given = {**cell.parameters, "out": str(cell.folder)}
            notebooks.run_notebook(notebook, executed, given, timeout, show=False)
    except Exception as error:  # whatever it is, the other cells go on
        return storage.told(error)
    seconds = round(time.perf_counter() - start, 1)
    record = {"parameters": cell.parameters, "varied": cell.varied, "seconds": seconds}
    storage.write_json(cell.folder / "cell.json", record)
    return ""


# --- What the cells say together ------------------------------------------------------------------


def collect(cells: Sequence[Cell]) -> pd.DataFrame:
    """The results of all done cells: their varied parameters, then the columns of notebook 07."""
    tables = []
    for cell in cells:
        if cell.status == "done":
            path = cell.folder / "tables" / "experiment.parquet"
            table = storage.read_table(path, texts=("metric",))
            varied = {k: v if np.isscalar(v) else str(v) for k, v in cell.varied.items()}
            table = table.drop(columns=varied, errors="ignore")
            table = pd.concat([pd.DataFrame([varied] * len(table)), table], axis=1)
            tables.append(table.assign(target=cell.parameters["target"], cell=cell.folder.name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def seed_table(results: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean of every metric over seeds, with its interval; a row a target, configuration, metric."""
    rows = []
    for key, part in results.groupby(["target", *by, "metric"], sort=False, dropna=False):
        low, high = interval_over_seeds(part["value"])
        row = dict(zip(["target", *by, "metric"], key, strict=True))
        row |= {"value": part["value"].mean(), "low": low, "high": high, "seeds": len(part)}
        rows.append({**row, "chance": part["chance"].mean(), "tracks": part["tracks"].iloc[0]})
    return pd.DataFrame(rows)


def comparisons(
    results: pd.DataFrame, by: Sequence[str], out: Path, resamples: int = 2000
) -> pd.DataFrame:
    """Every configuration against the best of its target, on the same resampled tracks.

    The scores of all seeds of a configuration are compared together. p is corrected over all rows
    of the table (`scoring.holm`). The best is chosen by the same scores, so that a difference
    from it is a little too large: read "not different" as it stands, "different" with care near
    .05. Rows are in the order of the targets, the better first; none if nothing varies.
    """

    def kept(part: pd.DataFrame) -> list[dict[str, np.ndarray]]:
        files = [out / "cells" / cell / "scores.safetensors" for cell in part["cell"]]
        return [{k: v.numpy() for k, v in storage.read_tensors(file).items()} for file in files]

    rows = []
    of_metric = results[results["metric"] == METRIC]
    for target, part in of_metric.groupby("target", sort=False) if by else ():
        groups = list(part.groupby(list(by), sort=False, dropna=False))
        groups.sort(key=lambda group: group[1]["value"].mean(), reverse=True)
        (best, of_best), *others = groups
        name = ", ".join(str(value) for value in best if pd.notna(value) and value != "")
        best_scores = [one["scores"] for one in kept(of_best)]
        for own, of_own in others:
            scores = kept(of_own)
            first, index = scores[0], scores[0]["track_index"]
            ours = [one["scores"] for one in scores]
            task = (first["targets"], int(first["k"]), index)
            settings = {"resamples": resamples, "groups": first["groups"]}
            table = scoring.compare(ours, best_scores, *task, **settings).loc[METRIC]
            row = {"target": target, **dict(zip(by, own, strict=True)), "best": name}
            rows.append({**row, **table[["difference", "low", "high", "p"]]})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=scoring.holm(table["p"])) if rows else table


def summarise(cells: Sequence[Cell], results: pd.DataFrame, out: Path) -> None:
    """Write the sweep's tables, figures and `summary.html`, which has links to every notebook."""
    varied = dict.fromkeys(key for cell in cells for key in cell.varied)
    by = [key for key in varied if key not in ("target", "seed") and key in results]
    over_seeds, compared = seed_table(results, by), comparisons(results, by, out)
    for name, table in (("results", results), ("seeds", over_seeds), ("comparisons", compared)):
        storage.write_table(out / f"{name}.csv", table)
    shown = over_seeds[over_seeds["metric"] == METRIC].drop(columns="metric")
    numbers = [key for key in by if pd.api.types.is_numeric_dtype(results[key])]
    axes = [key for key in numbers if len(set(results[key].dropna())) > 1]
    pictures = {axis: f"figures/curves_{axis}.png" for axis in axes}
    for axis, picture in pictures.items():
        figures.save(figures.sweep_curves(shown, axis), out / picture)
    lines = []
    for cell in cells:
        place = f"cells/{cell.folder.name}/notebooks"
        shown_at = [f"[notebook]({place}/{p.name})" for p in cell.folder.glob("notebooks/*.html")]
        lines.append("- " + ", ".join([f"`{cell.folder.name}`", cell.status, *shown_at]))
    done = sum(cell.status == "done" for cell in cells)
    page = pages.page(
        f"Sweep {out.name}",
        f"{done} of {len(cells)} cells done. Tables: [every cell](results.csv), [means over seeds]"
        "(seeds.csv), [comparisons](comparisons.csv); docs/sweeps.md says how to read them.",
        "## Song ROC-AUC: mean over seeds, with its interval over seeds (not over tracks)",
        *(f"![Song ROC-AUC along {axis}]({picture})" for axis, picture in pictures.items()),
        shown.sort_values(["target", "value"], ascending=[True, False], ignore_index=True),
        "## Every configuration against the best of its target",
        compared,
        "## Cells",
        "\n".join(lines),
    )
    storage.write_text(out / "summary.html", page)
