"""Progress bars, long work on all cores, and words for a terminal.

Bars are silent in batch runs, where they would fill the executed notebook.
"""

import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from tqdm import tqdm

Item, Result = TypeVar("Item"), TypeVar("Result")
JOINERS = "\u200c\u200d"  # that spell words of Persian, and families of emoji


def printable(text: object, keep: str = "") -> str:
    """A text, such as a path, with what steers a terminal or is no Unicode as Python escapes it.

    keep: signs to leave as they are.
    """
    steers = {x for x in str(text) if unicodedata.category(x) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    steers -= {*JOINERS, *keep}
    return str(text).translate({ord(x): ascii(x)[1:-1] for x in steers})


def say(text: object, file: TextIO | None = None) -> None:
    """Print a text of any number of lines, `printable`."""
    print(printable(text, keep="\n\t"), file=file or sys.stdout, flush=True)


def progress_bar(*arguments: object, show: bool = True, **settings: object) -> tqdm:
    """A tqdm bar; silent if not `show`, or where the environment sets TQDM_DISABLE.

    (tqdm itself lets an explicit disable=False overrule TQDM_DISABLE.)
    """
    silent = not show or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*arguments, disable=silent, **settings)


def in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int | None = None,
    show: bool = True,
    least: int = 2,
    **bar: object,
) -> Iterator[Result]:
    """What a function gives for each item, in turn, with a progress bar.

    jobs: processes at a time, one thread each so that they do not fight for cores, and kept for
        the next call. 1 works here. None: as many as there are cores, but 1 for fewer items than
        `least`: a process takes seconds to begin.
    """
    jobs = min(jobs or (cpu_count() if len(items) >= least else 1), max(1, len(items)))
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        work = Parallel(return_as="generator")
    done = map(function, items) if jobs == 1 else work(map(delayed(function), items))
    yield from progress_bar(done, total=len(items), show=show, **bar)


@contextmanager
def warned_once() -> Iterator[None]:
    """Show each warning of the block, or of a call of the function that this decorates, once.

    (Python's own memory of what it showed is lost whenever a library leaves `catch_warnings`,
    which, like this, is not for several threads at a time.)
    """
    show, shown = warnings.showwarning, set()

    def show_new(message: Warning | str, *where: object, **how: object) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            show(message, *where, **how)

    with warnings.catch_warnings():
        warnings.showwarning = show_new
        yield


@contextmanager
def only_python_on_stderr() -> Iterator[None]:
    """What libraries in C write to stderr is lost in the block; what Python writes there is shown.

    (libmpg123 tells of each frame that it mends, also in sound mp3s, and calls it an error.)
    """
    shown = sys.stderr
    try:
        how = {"buffering": 1, "encoding": shown.encoding, "errors": "backslashreplace"}
        kept = os.fdopen(os.dup(2), "w", **how)
    except (OSError, AttributeError):  # there is no stderr
        yield
        return
    with kept, open(os.devnull, "w") as nothing:
        sys.stderr = kept if shown is sys.__stderr__ else shown
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr = shown
            os.dup2(kept.fileno(), 2)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars of transformers, which draws one for every few megabytes that it reads."""
    from transformers.utils import logging  # takes seconds, and much works without it

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
