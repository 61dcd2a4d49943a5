"""Progress bars: silent in batch runs, where they would fill the executed notebook."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


def progress_bar(*arguments: object, show: bool = True, **settings: object) -> tqdm:
    """A tqdm bar; silent if not `show`, or where the environment sets TQDM_DISABLE.

    (tqdm itself lets an explicit disable=False overrule TQDM_DISABLE.)
    """
    silent = not show or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*arguments, disable=silent, **settings)


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
