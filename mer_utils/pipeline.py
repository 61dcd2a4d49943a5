"""The notebooks as a batch job: papermill runs them in order, with one profile's parameters.

Committed notebooks never change; executed copies, as .ipynb and .html, land in the run folder.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor
from papermill.exceptions import PapermillExecutionError

from mer_utils import profiles, runs, storage
from mer_utils.profiles import PROJECT

NOTEBOOKS = PROJECT / "notebooks"


class NotebookError(RuntimeError):
    """A notebook failed; the message names the notebook and the cell."""


def notebook_path(number: str) -> Path:
    """The notebook whose file name starts with a number, such as "04"."""
    found = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if len(found) != 1:
        there = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
        raise ValueError(f"no notebook numbered {number!r}; there are {there}")
    return found[0]


def declared_parameters(path: Path) -> dict[str, object]:
    """Names and default values that a notebook's parameters cell declares."""
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path.name}: {len(cells)} cells tagged 'parameters'; it must have one")
    values: dict[str, object] = {}
    exec(compile(cells[0].source, path.name, "exec"), {}, values)
    return values


def check_parameters(paths: Sequence[Path], parameters: dict[str, object]) -> None:
    """Raise ValueError for a parameter that no notebook declares, or of another type."""
    declared: dict[str, object] = {}
    for path in paths:
        declared |= declared_parameters(path)
    for name, value in parameters.items():
        if name not in declared:
            raise ValueError(
                f"no notebook of this profile has a parameter {name!r}; they declare "
                f"{', '.join(sorted(declared))}"
            )
        default = declared[name]
        if default is None or value is None:
            continue
        fits = isinstance(value, type(default)) and isinstance(value, bool) == isinstance(
            default, bool
        )
        if not fits and not (isinstance(default, float) and type(value) is int):
            raise ValueError(
                f"parameter {name!r} is {value!r} ({type(value).__name__}); the notebooks' default "
                f"is {default!r} ({type(default).__name__})"
            )


def run(profile: str = "demo", out: str | Path = "", **parameters: object) -> Path:
    """Run a profile's notebooks in order.

    profile: name of a profile; out: the run folder, runs/<profile> if empty.
    parameters: notebook parameters, over the profile's own; plain JSON values.
    Returns the run folder.
    Raises ValueError before anything runs if a parameter is unknown, FileNotFoundError if the
    profile's encoder needs weights that are not there; NotebookError if a notebook
    fails, naming it and its cell; what it had done until then is kept.
    """
    chosen = profiles.get(profile)
    paths = [notebook_path(number) for number in chosen.notebooks]
    check_parameters(paths, parameters)
    profiles.check_encoder(chosen, str(parameters.get("checkpoint") or ""))
    opened = runs.open_run(profile, out)
    given = {**chosen.parameters, **parameters, "profile": profile, "out": str(opened.folder)}
    runs.note(opened, parameters=given, **runs.provenance())
    seconds = {}
    for position, path in enumerate(paths, 1):
        start = time.perf_counter()
        print(f"[{position}/{len(paths)}] {path.stem}", flush=True)
        run_notebook(path, opened.path("notebooks", path.name), given)
        seconds[path.stem] = round(time.perf_counter() - start, 1)
        print(f"      done in {seconds[path.stem]:.0f} s", flush=True)
    runs.note(opened, seconds=seconds)
    print(f"Executed notebooks, tables and figures: {opened.folder}")
    return opened.folder


def run_notebook(path: Path, executed: Path, parameters: dict[str, object]) -> None:
    """Run one notebook with those of the parameters that it declares; write .ipynb and .html."""
    declared = declared_parameters(path)
    executed.parent.mkdir(parents=True, exist_ok=True)
    # the kernel inherits it: bars that redraw themselves would fill the executed notebook
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        papermill.execute_notebook(
            path,
            executed,
            parameters={k: v for k, v in parameters.items() if k in declared},
            kernel_name="python3",
            cwd=path.parent,
            extra_arguments=["--log-level=ERROR"],
            progress_bar={"desc": path.stem, "leave": False, "disable": not sys.stderr.isatty()},
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{path.name} failed in cell {error.cell_index} (In [{error.exec_count}]):\n"
            f"{_indented(error.source)}\n{error.ename}: {error.evalue}\n"
            f"The notebook as far as it came: {executed}"
        ) from None
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
        if executed.is_file():
            write_html(executed)


def _indented(source: str, lines: int = 12) -> str:
    shown = source.splitlines()[:lines]
    return "\n".join(f"    {line}" for line in shown)


def write_html(executed: Path) -> Path:
    """Write an executed notebook as HTML beside it."""
    exporter = HTMLExporter()
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags={"hide"}), enabled=True)
    body, _ = exporter.from_filename(str(executed))
    storage.write_text(executed.with_suffix(".html"), body)
    return executed.with_suffix(".html")
