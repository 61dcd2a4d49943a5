"""Many experiments: a grid of parameters, one papermill run of notebook 07 for each cell of it.

A grid is a YAML file (or the same as a dict):

    profile: demo
    fixed: {epochs: 75}             # the same for all cells
    grid:                           # one mapping, or a list of them whose cells are joined
      - {approach: [alignment], weight: [0.5, 1.0, 2.5], target: [demo-mtg], seed: [0, 1, 2]}
      - {approach: [ridge], target: [demo-mtg]}

Every cell has a folder of its own under `cells/`, named by what made it. A cell that is done is not
done again, a failed one is tried again, and the others go on. Beside them: `results.parquet`,
`results.csv`, `seeds.csv`, `comparisons.csv`, figures and `summary.html`.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from sklearn.model_selection import ParameterGrid

from mer_utils import code, figures, storage
from mer_utils.batch import notebooks, profiles, site
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import NotebookError
from mer_utils.evaluation import scoring
from mer_utils.evaluation.study import slug
from mer_utils.projector.methods import APPROACHES

EXPERIMENT = "07"  # the notebook that a cell of the grid runs
KEYS = {"profile", "fixed", "grid"}
METRIC = "song_roc_auc"  # of figures and comparisons
PACKAGE = Path(code.__file__).parent
# change no cell's results
DRAWING = ("figures/*", "batch/cli", "batch/report", "batch/site", "batch/sweeps")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Cell:
    """One experiment of a sweep.

    parameters: all that are given to the notebook; varied: those of the grid.
    folder: where everything of it lies.
    """

    parameters: dict
    varied: dict
    folder: Path

    @property
    def status(self) -> str:
        """ "done", "failed" or "to do"."""
        if (self.folder / "cell.json").is_file():
            return "done"
        return "failed" if (self.folder / "failed.json").is_file() else "to do"

    @property
    def seconds(self) -> float:
        """How long it took, if it is done."""
        return storage.read_json(self.folder / "cell.json")["seconds"]


def read_grid(grid: str | Path | Mapping) -> dict:
    """A grid as a dict with the keys profile, fixed and grid.

    Raises FileNotFoundError or ValueError that says what is wrong with it.
    """
    name = "the grid"
    if not isinstance(grid, Mapping):
        name = str(grid)
        if not Path(grid).is_file():
            raise FileNotFoundError(f"{grid}: no such grid; docs/sweeps.md shows how to write one")
        try:
            grid = yaml.safe_load(Path(grid).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{name} is not YAML: {error}") from error
    if not isinstance(grid, Mapping) or not grid.get("grid"):
        raise ValueError(f"{name} has no 'grid'; docs/sweeps.md shows how to write one")
    described = {"profile": "demo", **grid, "fixed": grid.get("fixed") or {}}
    unknown = sorted(set(described) - KEYS)
    if unknown:
        raise ValueError(f"{name} has a key {unknown[0]!r}; there are {', '.join(sorted(KEYS))}")
    if not isinstance(described["profile"], str):
        raise ValueError(f"{name}: profile is {grid['profile']!r}; it is one name, such as demo")
    if not isinstance(described["fixed"], Mapping):
        raise ValueError(f"{name}: fixed is {grid['fixed']!r}; give parameters and their values")
    try:
        ParameterGrid(described["grid"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}; docs/sweeps.md shows how to write one") from error
    return described


def plan(grid: str | Path | Mapping, out: str | Path) -> list[Cell]:
    """The cells of a grid, each once, in its order; nothing is written.

    Raises ValueError for a parameter that notebook 07 does not have, or of another type, and for a
    target or an approach that there is not.
    """
    described = read_grid(grid)
    profile = profiles.get(described["profile"])
    notebook = notebooks.notebook_path(EXPERIMENT)
    declared = notebooks.declared_parameters(notebook)
    source = hashlib.sha256(notebooks.notebook_code(notebook).encode()).hexdigest()
    made_by = {"notebook": source, "package": package_hash()}
    with suppress(FileNotFoundError):  # `run` says what is missing; a plan needs no data
        files = [f for d in profiles.data_folders(profile) for f in d.rglob("*") if f.is_file()]
        sizes = {str(file): file.stat().st_size for file in files}
        made_by["data"] = storage.settings_hash(sizes)
    common = {k: v for k, v in profile.parameters.items() if k in declared} | described["fixed"]
    choices = {"target": profile.datasets, "approach": APPROACHES}
    cells: dict[str, Cell] = {}
    for combination in ParameterGrid(described["grid"]):
        for own in {"profile", "out"} & {*described["fixed"], *combination}:
            raise ValueError(f"{own!r} is no parameter of a grid's cells; the sweep sets it")
        varied = notebooks.check_parameters([notebook], combination)
        given = notebooks.check_parameters([notebook], {**declared, **common, **varied})
        for key, known in choices.items():
            if given.get(key, known[0]) not in known:
                raise ValueError(f"no {key} {given[key]!r}; there are {', '.join(known)}")
        given = {key: value for key, value in given.items() if key != "out"}
        given["profile"] = profile.name
        name = slug("-".join(str(varied[key]) for key in sorted(varied)))[:60]
        key = f"{name}-{storage.settings_hash({'parameters': given, **made_by})}"
        cells.setdefault(key, Cell(given, varied, Path(out).resolve() / "cells" / key))
    return list(cells.values())


def package_hash() -> str:
    """Hash of the package's code and data files, as on disk: each cell has a kernel of its own."""
    drawing = {path for name in DRAWING for path in PACKAGE.glob(f"{name}.py")}
    program = code.files_hash(set(PACKAGE.rglob("*.py")) - drawing)
    data = [path for kind in ("*.csv", "*.yml") for path in sorted(PACKAGE.rglob(kind))]
    return storage.settings_hash({"code": program, "data": [*map(storage.file_hash, data)]})


def plan_text(cells: Sequence[Cell]) -> str:
    """The plan and the cost so far, to print."""
    status = [cell.status for cell in cells]
    lines = [f"{cell.status:6} {cell.folder.name}" for cell in cells]
    lines.append(", ".join(f"{status.count(x)} {x}" for x in ("done", "failed", "to do")))
    seconds = np.array([cell.seconds for cell in cells if cell.status == "done"])
    if len(seconds):
        rest = seconds.mean() * (len(cells) - len(seconds))
        lines.append(
            f"{seconds.sum() / 60:.1f} min of work so far, {seconds.mean():.0f} s a cell; the rest "
            f"would take {rest / 60:.1f} min, one cell at a time"
        )
    return "\n".join(lines)


def run_cells(
    grid: str | Path | Mapping,
    out: str | Path,
    executor: Executor | None = None,
    threads: int | None = None,
    timeout: float | None = None,
) -> pd.DataFrame:
    """Run all cells of a grid that are not done yet, and write what they say together.

    grid: a YAML file or the same as a dict; see above.
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
    todo = [cell for cell in cells if cell.status != "done"]
    prepare_features(todo)
    cores = os.cpu_count() or 1
    workers = getattr(executor, "_max_workers", None) or cores if executor else 1
    threads = threads or max(1, cores // workers)
    finished = _in_turn(todo, executor, threads, timeout)
    try:
        for number, (cell, error) in enumerate(finished, len(cells) - len(todo) + 1):
            how = "FAILED" if error else f"done in {cell.seconds:.0f} s"
            print(f"[{number}/{len(cells)}] {cell.folder.name} {how}", flush=True)
    finally:  # also on Ctrl-C: what is done can be read
        results = collect(cells)
        if not results.empty:
            summarise(cells, results, out)
    lost = [cell for cell in cells if cell.status == "failed"]
    if lost:
        reasons = [storage.read_json(cell.folder / "failed.json")["error"] for cell in lost]
        listed = [f"{c.folder.name}: {reason}" for c, reason in zip(lost, reasons, strict=True)]
        raise NotebookError(
            f"{len(lost)} of {len(cells)} cells failed; the others are in {out / 'results.csv'}\n\n"
            + "\n\n".join(listed)
        )
    return results


def prepare_features(cells: Sequence[Cell]) -> None:
    """Extract what is missing once, before many cells would do it at the same time."""
    asked = ("profile", "encoder", "checkpoint")
    wanted = {tuple(cell.parameters.get(name, "") for name in asked) for cell in cells}
    for profile, encoder, checkpoint in sorted(wanted):
        chosen = profiles.choose(profile, encoder)
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
            lost = future.exception()  # of the worker itself: a cell's own errors are returned
            if lost is None:
                yield futures[future], future.result()
            else:
                reason = f"its worker failed ({type(lost).__name__}: {lost}); if memory is short, "
                reason += "run again with fewer jobs at a time"
                yield futures[future], _failed(futures[future], reason)
    finally:  # on Ctrl-C: begin no other
        for future in futures:
            future.cancel()


def do_cell(cell: Cell, threads: int = 1, timeout: float | None = None) -> str:
    """Run one cell; its record is written last. Returns what went wrong, "" if nothing did."""
    notebook = notebooks.notebook_path(EXPERIMENT)
    start = time.perf_counter()
    # on Ctrl-C nbclient leaves a task behind, of which asyncio would print a page
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    (cell.folder / "failed.json").unlink(missing_ok=True)
    try:
        with notebooks.environment(**dict.fromkeys(THREADS, str(threads))):
            executed = cell.folder / "notebooks" / notebook.name
            given = {**cell.parameters, "out": str(cell.folder)}
            notebooks.run_notebook(notebook, executed, given, timeout, show=False)
    except Exception as error:  # whatever it is, the other cells go on
        return _failed(cell, str(error))
    seconds = round(time.perf_counter() - start, 1)
    record = {"parameters": cell.parameters, "varied": cell.varied, "seconds": seconds}
    storage.write_json(cell.folder / "cell.json", record)
    return ""


def _failed(cell: Cell, error: str) -> str:
    """Record why a cell failed; returns it."""
    storage.write_json(cell.folder / "failed.json", {"parameters": cell.parameters, "error": error})
    return error


# --- What the cells say together ------------------------------------------------------------------


def collect(cells: Sequence[Cell]) -> pd.DataFrame:
    """The results of all done cells: their varied parameters, then the columns of notebook 07."""
    tables = []
    for cell in cells:
        if cell.status == "done":
            table = pd.read_parquet(cell.folder / "tables" / "experiment.parquet")
            varied = {k: v if np.isscalar(v) else str(v) for k, v in cell.varied.items()}
            table = table.drop(columns=varied, errors="ignore")
            table = pd.concat([pd.DataFrame([varied] * len(table)), table], axis=1)
            tables.append(table.assign(target=cell.parameters["target"], cell=cell.folder.name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def configuration(results: pd.DataFrame, cells: Sequence[Cell]) -> list[str]:
    """The parameters that make one configuration: all that vary but the target and the seed."""
    varied = dict.fromkeys(key for cell in cells for key in cell.varied)
    return [key for key in varied if key not in ("target", "seed") and key in results]


def interval_over_seeds(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of a few independent values; NaN for fewer than two."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


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
    cells: Sequence[Cell], by: Sequence[str], metric: str = METRIC, resamples: int = 2000
) -> pd.DataFrame:
    """Every configuration against the best of its target, on the same resampled tracks.

    The scores of all seeds of a configuration are compared together. p is corrected over all rows
    of the table (`scoring.holm`). The best is chosen by the same scores, so that a difference
    from it is a little too large: read "not different" as it stands, "different" with care near
    .05.
    """
    scored: dict[str, dict[tuple, list[dict]]] = {}  # by target, then configuration
    for cell in cells:
        if cell.status == "done":
            own = tuple(str(cell.varied.get(name, "")) for name in by)
            of_target = scored.setdefault(cell.parameters["target"], {})
            tensors = storage.read_tensors(cell.folder / "scores.safetensors")
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            of_target.setdefault(own, []).append(arrays)
    rows = []
    for target, of_target in scored.items():
        best = max(of_target, key=lambda own: _mean_metric(of_target[own], metric))
        for own, found in of_target.items():
            if own == best:
                continue
            table = scoring.compare(
                [one["scores"] for one in found],
                [one["scores"] for one in of_target[best]],
                found[0]["targets"],
                int(found[0]["k"]),
                found[0]["track_index"],
                found[0]["track_index"],
                resamples,
                groups=found[0]["groups"],
            ).loc[metric]
            row = {"target": target, **dict(zip(by, own, strict=True))}
            row["best"] = ", ".join(value for value in best if value)
            rows.append({**row, **table[["difference", "low", "high", "p"]]})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=scoring.holm(table["p"])) if len(table) else table


def _mean_metric(found: Sequence[dict], metric: str) -> float:
    values = [
        scoring.metric_values(one["scores"], one["targets"], int(one["k"]), one["track_index"])
        for one in found
    ]
    return float(np.mean([value[metric] for value in values]))


def curve_axes(results: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """Parameters that are numbers with two values or more: there are curves along them."""
    numeric = [key for key in by if pd.api.types.is_numeric_dtype(results[key])]
    return [key for key in numeric if len(set(results[key].dropna())) > 1]


def summarise(cells: Sequence[Cell], results: pd.DataFrame, out: Path) -> Path:
    """Write the sweep's tables, figures and `summary.html`; returns the page."""
    by = configuration(results, cells)
    over_seeds, compared = seed_table(results, by), comparisons(cells, by)
    for name, table in (("results", results), ("seeds", over_seeds), ("comparisons", compared)):
        storage.write_table(out / f"{name}.csv", table)
        storage.write_table(out / f"{name}.parquet", table)
    pictures = {}
    for axis in curve_axes(results, by):
        figure = figures.sweep_curves(over_seeds[over_seeds["metric"] == METRIC], axis)
        name = f"figures/curves_{axis}.png"
        figures.save(figure, out / name)
        pictures[f"{METRIC} along {axis}, mean and 95 % interval over seeds"] = name
    page = site.sweep_page(cells, over_seeds, compared, pictures, out.name)
    storage.write_text(out / "summary.html", page)
    return out / "summary.html"
