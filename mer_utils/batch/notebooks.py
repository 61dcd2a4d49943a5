"""One notebook as a batch job: what it declares, its parameters, a run by papermill.

Committed notebooks never change; executed copies are written as .ipynb and .html.
"""

import ast
import logging
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from os.path import isdir, isfile  # of a text that can be no path they say no
from pathlib import Path

import nbformat
import numpy as np
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.sign import NotebookNotary
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from mer_utils import storage
from mer_utils.batch import pages
from mer_utils.batch.given import check_plain
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import NotebookError
from mer_utils.registry import places

NOTEBOOKS = PROJECT / "notebooks"
SAVE_SECONDS = 5.0  # papermill would write all pictures anew before and after each cell


class SeldomSaved(NBClientEngine):
    """Papermill's engine, which writes the notebook as far as it came now and then, and its end."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **settings: object
    ) -> None:
        """Run the cells; errors as nbclient's."""
        write, written = nb_man.save, -np.inf

        def save(**_: object) -> None:
            nonlocal written
            if time.monotonic() - written > SAVE_SECONDS:
                write()
                written = time.monotonic()

        nb_man.save = save
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **settings)
        finally:
            nb_man.save = write  # which comes next, for the last time


papermill_engines.register(SeldomSaved.__name__, SeldomSaved)
# Our own error tells it; after Ctrl-C it would look like a crash.
logging.getLogger("papermill").addFilter(lambda told: "Kernel died" not in told.getMessage())


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
    """Names and default values that a notebook's cell tagged "parameters" declares."""
    cells = nbformat.read(path, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{path.name}: {len(tagged)} cells tagged 'parameters'; it must have one")
    # not papermill.inspect_notebook, which takes a # in a text for a comment
    lines = [line for line in ast.parse(tagged[0].source).body if isinstance(line, ast.Assign)]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}


def check_parameters(
    paths: Sequence[Path], parameters: Mapping[str, object], declared: Mapping | None = None
) -> dict[str, object]:
    """Parameters as JSON knows them, a whole number for a decimal one as a decimal, paths absolute.

    Papermill writes them into the notebook as source text: numpy's numbers and arrays become
    Python's. Raises ValueError for one that no notebook declares, of another type or not plain.
    declared: what the notebooks declare, if it was read already.
    """
    declared = declared or {
        name: value for path in paths for name, value in declared_parameters(path).items()
    }
    checked = {}
    for name, value in parameters.items():
        if name not in declared:
            near = get_close_matches(name, declared, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            known = ", ".join(sorted(declared))
            raise ValueError(f"no parameter {name!r}{hint} The notebooks declare {known}")
        default = declared[name]
        if isinstance(value, np.generic | np.ndarray | tuple):
            value = value.tolist() if hasattr(value, "tolist") else list(value)
        check_plain(name, value)
        if isinstance(default, float) and type(value) is int:
            value = float(value)  # so that 1 and 1.0 are one experiment
        if default is not None and value is not None and type(value) is not type(default):
            hint = "; YAML needs the point of 1.0e-3" if isinstance(value, str) else ""
            raise ValueError(
                f"parameter {name!r} is {value!r} ({type(value).__name__}), not like the default "
                f"{default!r}{hint}"
            )
        checked[name] = _absolute(value)
    return checked


def named_path(value: object) -> Path | None:
    """The file or folder that a parameter names, as it is or as `file.py:name`, `hf:folder`."""
    text = str(value).removeprefix("hf:")
    text = text.rpartition(":")[0] if ".py:" in text else text
    found = (p for p in places(text) if isfile(p) or ("/" in text and isdir(p)))
    return next(found, None)


def _absolute(value: object) -> object:
    """The same value, a path in it absolute: a notebook's kernel works in another folder."""
    path = named_path(value) if isinstance(value, str) and value else None
    if path is None:
        return value
    head = "hf:" if value.startswith("hf:") else ""
    tail = f":{value.rpartition(':')[2]}" if ".py:" in value else ""
    return f"{head}{path.resolve()}{tail}"


def run_notebook(
    path: Path,
    executed: Path,
    parameters: Mapping[str, object],
    timeout: float | None = None,
    show: bool = True,
    page: bool = True,
) -> None:
    """Run one notebook with those of the parameters that it declares; write .ipynb and .html.

    timeout: of one cell, seconds; None waits for ever.
    show: a progress bar over the cells, on a terminal. page: False leaves .html to `write_page`.
    Raises NotebookError, naming the cell, if a cell fails or takes too long, or the kernel dies.
    """
    declared = declared_parameters(path)
    executed.parent.mkdir(parents=True, exist_ok=True)
    executed.unlink(missing_ok=True)
    silent = not (show and sys.stderr.isatty())
    try:
        papermill.execute_notebook(
            path,
            executed,
            parameters={k: v for k, v in parameters.items() if k in declared},
            kernel_name="python3",
            engine_name=SeldomSaved.__name__,
            kernel_manager_class="mer_utils.batch.kernels.KernelManager",
            cwd=path.parent,
            extra_arguments=["--log-level=CRITICAL"],
            execution_timeout=timeout,
            progress_bar={"desc": path.stem, "leave": False, "disable": silent},
        )
    except Exception as error:  # also of a full disk, or a kernel that does not begin
        with suppress(Exception):
            write_page(executed)
        so_far = f"The notebook as far as it came: {executed}"
        raise NotebookError(f"{path.name} {_reason(error, executed)}\n{so_far}") from None
    if page:
        write_page(executed)


def _reason(error: Exception, executed: Path) -> str:
    """Where a notebook failed, and why."""
    if isinstance(error, PapermillExecutionError):
        source = textwrap.indent("\n".join(error.source.splitlines()[:12]), "    ")
        where = f"cell {error.cell_index} (In [{error.exec_count}])"
        return f"failed in {where}:\n{source}\n{error.ename}: {error.evalue}"
    cell, why = "its first cell", f"{type(error).__name__}: {storage.told(error)}"
    if isinstance(error, DeadKernelError):
        why = "the kernel died, most often for want of memory: fewer jobs at a time, or less data"
    elif isinstance(error, CellTimeoutError):
        why = str(error)
    with suppress(Exception):  # what papermill wrote of it, which calls such a cell completed
        cells = nbformat.read(executed, as_version=4).cells
        begun = [n for n, one in enumerate(cells) if one.metadata["papermill"]["start_time"]]
        cell = f"cell {begun[-1]}"
    return f"failed in {cell}: {why}"


def write_page(executed: Path) -> None:
    """Write an executed notebook as HTML beside it."""
    notebook = nbformat.read(executed, as_version=4)
    with suppress(OSError):  # of a home that cannot be written to
        NotebookNotary().sign(notebook)  # trusted: else JupyterLab disables the sliders
    page = pages.notebook_page(notebook, executed.stem)
    storage.write_text(executed.with_suffix(".html"), page)
