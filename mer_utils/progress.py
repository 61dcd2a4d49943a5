"""Progress bars: silent in batch runs, where they would fill the executed notebook."""

import os

from tqdm import tqdm


def progress_bar(*arguments: object, show: bool = True, **settings: object) -> tqdm:
    """A tqdm bar; silent if not `show`, or where the environment sets TQDM_DISABLE.

    (tqdm itself lets an explicit disable=False overrule TQDM_DISABLE.)
    """
    silent = not show or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*arguments, disable=silent, **settings)
