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
import sys
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
from mer_utils.evaluation import scoring
from mer_utils.evaluation.study import slug
from mer_utils.progress import progress_bar
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
        """How long it took; NaN if it is not done."""
        return self._record().get("seconds", np.nan)

    def _record(self) -> dict:
        path = self.folder / "cell.json"
        return storage.read_json(path) if path.is_file() else {}


def read_grid(grid: str | Path | Mapping) -> dict:
    """A grid as a dict with the keys profile, fixed and grid (a list of mappings to lists).

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
    unknown = sorted(set(grid) - KEYS)
    if unknown:
        raise ValueError(f"{name} has a key {unknown[0]!r}; there are {', '.join(sorted(KEYS))}")
    parts = grid["grid"] if isinstance(grid["grid"], list | tuple) else [grid["grid"]]
    shapes = {"grid": parts, "fixed": [grid.get("fixed") or {}]}
    for key, mappings in shapes.items():
        wrong = [part for part in mappings if not isinstance(part, Mapping)]
        if wrong:
            raise ValueError(
                f"{name}: {key} has {wrong[0]!r} where parameters and their values are needed, "
                "such as {seed: [0, 1]} in the grid or {epochs: 75} in fixed"
            )
    if not isinstance(grid.get("profile", "demo"), str):
        raise ValueError(f"{name}: profile is {grid['profile']!r}; it is one name, such as demo")
    for part in parts:
        for key, values in part.items():
            if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
                raise ValueError(
                    f"{name}: {key} is {values!r}; a list is needed, such as [{values}]"
                )
            if len(values) == 0:
                raise ValueError(f"{name}: {key} has no values")
    fixed = dict(grid.get("fixed") or {})
    return {"profile": grid.get("profile", "demo"), "fixed": fixed, "grid": parts}


def plan(grid: str | Path | Mapping, out: str | Path) -> list[Cell]:
    """The cells of a grid, each once, in its order; nothing is written.

    Raises ValueError for a parameter that notebook 07 does not have, or of another type.
    """
    described = read_grid(grid)
    profile = profiles.get(described["profile"])
    notebook = notebooks.notebook_path(EXPERIMENT)
    declared = notebooks.declared_parameters(notebook)
    source = hashlib.sha256(notebooks.notebook_code(notebook).encode()).hexdigest()
    made_by = {"notebook": source, "package": package_hash()}
    with suppress(FileNotFoundError):  # `run` says what is missing; a plan needs no data
        made_by["data"] = storage.settings_hash(profiles.data_listing(profile))
    common = {k: v for k, v in profile.parameters.items() if k in declared} | described["fixed"]
    cells: dict[str, Cell] = {}
    for varied in ParameterGrid([dict(part) for part in described["grid"]]):
        varied = notebooks.check_parameters([notebook], varied)
        given = notebooks.check_parameters([notebook], {**declared, **common, **varied})
        for own in ("profile", "out"):
            if own in described["fixed"] or own in varied:
                raise ValueError(f"{own!r} is no parameter of a grid's cells; the sweep sets it")
        _check_experiment(given, profile)
        given = {key: value for key, value in given.items() if key != "out"}
        given["profile"] = profile.name
        name = slug("-".join(str(varied[key]) for key in sorted(varied)))[:60]
        key = f"{name}-{storage.settings_hash({'parameters': given, **made_by})}"
        cells.setdefault(key, Cell(given, varied, Path(out).resolve() / "cells" / key))
    return list(cells.values())


def package_hash() -> str:
    """Hash of the package's code that a cell may run, as on disk: each has a kernel of its own."""
    drawing = {path for name in DRAWING for path in PACKAGE.glob(f"{name}.py")}
    return code.files_hash(set(PACKAGE.rglob("*.py")) - drawing)


def _check_experiment(given: Mapping, profile: profiles.Profile) -> None:
    """Refuse a target or approach that there is not before anything runs."""
    if given.get("target", profile.datasets[0]) not in profile.datasets:
        raise ValueError(
            f"no target {given['target']!r} in profile {profile.name!r}; there are "
            f"{', '.join(profile.datasets)}"
        )
    if given.get("approach", APPROACHES[0]) not in APPROACHES:
        raise ValueError(f"no approach {given['approach']!r}; there are {', '.join(APPROACHES)}")


def plan_text(cells: Sequence[Cell]) -> str:
    """The plan and the cost so far, to print."""
    counts = dict.fromkeys(("done", "failed", "to do"), 0)
    for cell in cells:
        counts[cell.status] += 1
    lines = [f"{cell.status:6} {cell.folder.name}" for cell in cells]
    lines.append(", ".join(f"{number} {name}" for name, number in counts.items()))
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
    Raises notebooks.NotebookError at the end if cells failed, listing them.
    """
    out = PROJECT / out
    cells = plan(grid, out)
    todo = [cell for cell in cells if cell.status != "done"]
    prepare_features(todo)
    threads = threads or max(1, (os.cpu_count() or 1) // _workers(executor))
    bar = progress_bar(
        total=len(cells), initial=len(cells) - len(todo), desc="sweep", show=sys.stderr.isatty()
    )
    failed = 0
    try:
        with bar:
            for number, (cell, error) in enumerate(_done(todo, executor, threads, timeout), 1):
                failed += bool(error)
                bar.set_postfix(failed=failed, refresh=False)
                bar.update()
                if bar.disable:
                    how = "FAILED" if error else f"done in {cell.seconds:.0f} s"
                    place = len(cells) - len(todo) + number
                    print(f"[{place}/{len(cells)}] {cell.folder.name} {how}", flush=True)
    finally:  # also on Ctrl-C: what is done can be read
        results = collect(cells)
        if not results.empty:
            summarise(cells, results, out)
    lost = [cell for cell in cells if cell.status == "failed"]
    if lost:
        reasons = [storage.read_json(cell.folder / "failed.json")["error"] for cell in lost]
        raise notebooks.NotebookError(
            f"{len(lost)} of {len(cells)} cells failed; the others are in {out / 'results.csv'}\n\n"
            + "\n\n".join(
                f"{cell.folder.name}: {reason}" for cell, reason in zip(lost, reasons, strict=True)
            )
        )
    return results


def _workers(executor: Executor | None) -> int:
    """How many cells run at a time; as many as there are cores if the executor does not say."""
    if executor is None:
        return 1
    return getattr(executor, "_max_workers", None) or os.cpu_count() or 1


def prepare_features(cells: Sequence[Cell]) -> None:
    """Extract what is missing once, before many cells would do it at the same time."""
    wanted = {
        (
            c.parameters["profile"],
            c.parameters.get("encoder", ""),
            c.parameters.get("checkpoint", ""),
        )
        for c in cells
    }
    for profile, encoder, checkpoint in sorted(wanted):
        chosen = profiles.with_encoder(profiles.get(profile), encoder)
        profiles.check_encoder(chosen, checkpoint)
        profiles.check_data(chosen)
        profiles.load_labelled(chosen, checkpoint)


def _done(
    cells: Sequence[Cell], executor: Executor | None, threads: int, timeout: float | None
) -> Iterator[tuple[Cell, str]]:
    """Each cell as it is done, with its error, if any."""
    if executor is None:
        for cell in cells:
            yield cell, do_cell(cell, threads, timeout)
        return
    futures = {executor.submit(do_cell, cell, threads, timeout): cell for cell in cells}
    try:
        for future in as_completed(futures):
            cell = futures[future]
            try:
                error = future.result()
            except Exception as lost:  # the worker itself, of a pool or of dask
                error = _failed(
                    cell,
                    f"its worker was lost ({type(lost).__name__}: {lost}), most often for want of "
                    "memory; run again, with fewer jobs at a time",
                )
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
    budget = {name: str(threads) for name in THREADS}
    failure = cell.folder / "failed.json"
    failure.unlink(missing_ok=True)
    try:
        with notebooks.environment(**budget):
            executed = cell.folder / "notebooks" / notebook.name
            given = {**cell.parameters, "out": str(cell.folder)}
            notebooks.run_notebook(notebook, executed, given, timeout, show=False)
    except Exception as error:  # whatever it is, the other cells go on
        known = isinstance(error, notebooks.NotebookError)
        return _failed(cell, str(error) if known else f"{type(error).__name__}: {error}")
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
            table = table.drop(columns=[name for name in varied if name in table])
            for name, value in reversed(varied.items()):
                table.insert(0, name, value)
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
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.status == "done":
            own = (str(cell.varied.get(name, "")) for name in by)
            key = (cell.parameters["target"], *own)
            groups.setdefault(key, []).append(cell)
    scored = {key: [_scores(cell) for cell in members] for key, members in groups.items()}
    rows = []
    for target in dict.fromkeys(key[0] for key in scored):
        of_target = {key: found for key, found in scored.items() if key[0] == target}
        means = {key: _mean_metric(found, metric) for key, found in of_target.items()}
        best = max(means, key=lambda key: means[key])
        for key, found in of_target.items():
            if key == best:
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
            names = dict(zip(by, key[1:], strict=True))
            against = ", ".join(value for value in best[1:] if value)
            row = {"target": target, **names, "best": against}
            rows.append({**row, **table[["difference", "low", "high", "p"]]})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=scoring.holm(table["p"])) if len(table) else table


def _scores(cell: Cell) -> dict[str, np.ndarray]:
    tensors = storage.read_tensors(cell.folder / "scores.safetensors")
    return {name: tensor.numpy() for name, tensor in tensors.items()}


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
        path = out / "figures" / f"curves_{axis}.png"
        figures.save(figure, path)
        pictures[f"{METRIC} along {axis}, mean and 95 % interval over seeds"] = path
    page = site.sweep_page(cells, over_seeds, compared, pictures, out)
    storage.write_text(out / "summary.html", page)
    return out / "summary.html"
