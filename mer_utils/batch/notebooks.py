"""One notebook as a batch job: what it declares, its parameters, a run by papermill.

Committed notebooks never change; executed copies are written as .ipynb and .html.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from mer_utils import storage
from mer_utils.batch import site
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import NotebookError

NOTEBOOKS = PROJECT / "notebooks"


def notebook_path(number: str) -> Path:
    """The notebook whose file name starts with a number, such as "04"."""
    found = sorted(NOTEBOOKS.glob(f"{number}_*.ipynb"))
    if len(found) != 1:
        there = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
        raise ValueError(f"no notebook numbered {number!r}; there are {there}")
    return found[0]


def notebook_code(path: Path) -> str:
    """The code of a notebook, without its text: what decides its results."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


def declared_parameters(path: Path) -> dict[str, object]:
    """Names and default values that a notebook's parameters cell declares."""
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path.name}: {len(cells)} cells tagged 'parameters'; it must have one")
    values: dict[str, object] = {}
    exec(compile(cells[0].source, path.name, "exec"), {}, values)
    return values


def plain(value: object, name: str = "value") -> object:
    """A parameter's value as JSON knows it: numpy numbers, arrays, tuples and paths are turned.

    Papermill writes values into the notebook as source text, and others as their repr.
    Raises ValueError for anything else, naming it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, name) for key, item in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(
        f"parameter {name!r} is {value!r} ({type(value).__name__}); give a number, text, truth "
        "value, or a list or mapping of them"
    )


def check_parameters(paths: Sequence[Path], parameters: Mapping[str, object]) -> dict[str, object]:
    """Parameters as plain values (`plain`).

    Raises ValueError for one that no notebook declares, or of another type than its default.
    """
    parameters = {name: plain(value, name) for name, value in parameters.items()}
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
        if isinstance(default, float) and type(value) is int:
            parameters[name] = float(value)  # so that 1 and 1.0 are one experiment
            continue
        fits = isinstance(value, type(default)) and isinstance(value, bool) == isinstance(
            default, bool
        )
        if not fits:
            hint = "; YAML needs the point of 1.0e-3" if isinstance(value, str) else ""
            raise ValueError(
                f"parameter {name!r} is {value!r} ({type(value).__name__}); the notebooks' default "
                f"is {default!r} ({type(default).__name__}){hint}"
            )
    return parameters


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for a while; kernels that are started meanwhile inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_notebook(
    path: Path,
    executed: Path,
    parameters: Mapping[str, object],
    timeout: float | None = None,
    show: bool = True,
) -> None:
    """Run one notebook with those of the parameters that it declares; write .ipynb and .html.

    timeout: of one cell, seconds; None waits for ever.
    show: a progress bar over the cells, on a terminal.
    Raises NotebookError, naming the cell, if a cell fails or takes too long, or the kernel dies.
    """
    declared = declared_parameters(path)
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        # bars that redraw themselves would fill the executed notebook
        with environment(TQDM_DISABLE="1"):
            papermill.execute_notebook(
                path,
                executed,
                parameters={k: v for k, v in parameters.items() if k in declared},
                kernel_name="python3",
                cwd=path.parent,
                extra_arguments=["--log-level=ERROR"],
                execution_timeout=timeout,
                progress_bar={
                    "desc": path.stem,
                    "leave": False,
                    "disable": not (show and sys.stderr.isatty()),
                },
            )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{path.name} failed in cell {error.cell_index} (In [{error.exec_count}]):\n"
            f"{_indented(error.source)}\n{error.ename}: {error.evalue}\n"
            f"The notebook as far as it came: {executed}"
        ) from None
    except DeadKernelError:
        raise NotebookError(
            f"{path.name}: the kernel died, most often for want of memory (give it fewer jobs at a "
            f"time, or less data), in cell {_last_begun(executed)}\n"
            f"The notebook as far as it came: {executed}"
        ) from None
    except CellTimeoutError:
        raise NotebookError(
            f"{path.name}: took longer than {timeout:g} s in cell {_last_begun(executed)}\n"
            f"The notebook as far as it came: {executed}"
        ) from None
    finally:
        if executed.is_file():
            write_html(executed)


def _last_begun(executed: Path) -> str:
    """Number and first lines of the cell that was running when a notebook was left."""
    cells = nbformat.read(executed, as_version=4).cells
    begun = [
        number
        for number, cell in enumerate(cells)
        if cell.metadata.get("papermill", {}).get("start_time")
    ]
    return f"{begun[-1]}:\n{_indented(cells[begun[-1]].source)}" if begun else "?"


def _indented(source: str, lines: int = 12) -> str:
    shown = source.splitlines()[:lines]
    return "\n".join(f"    {line}" for line in shown)


def write_html(executed: Path) -> Path:
    """Write an executed notebook as HTML beside it."""
    storage.write_text(executed.with_suffix(".html"), site.notebook_page(executed))
    return executed.with_suffix(".html")
