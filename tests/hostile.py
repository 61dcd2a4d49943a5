"""Hostile inputs, made one small change at a time."""

import copy
from collections.abc import Iterator
from math import inf, nan

DAMAGE = (None, True, -1, 0, 0.5, 10**9, 10**30, 1e308, nan, inf, "", "x", "../\x00\n")
DAMAGE += ([], [None], [[]], {}, {"x": None})
"""What a value of a JSON file is replaced by; NaN and infinity are what Python's json reads too."""


def edits(value: object) -> Iterator[tuple[str, object]]:
    """A JSON-able value with one thing in it changed: every value dropped or replaced by DAMAGE.

    Of a list only the first and the last item are changed. Yields what was done, such as
    "encoder.layers.0 = -1", and the whole changed value; the given one stays as it is.
    """
    places = list(value) if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        places = sorted({0, len(value) - 1})
    for key in places:
        without = copy.copy(value)
        del without[key]
        yield f"{key} dropped", without
        for new in DAMAGE:
            if type(new) is not type(value[key]) or new != value[key]:
                yield f"{key} = {new!r}", _with(value, key, new)
        for done, inside in edits(value[key]):
            yield f"{key}.{done}", _with(value, key, inside)


def _with(value: dict | list, key: object, new: object) -> dict | list:
    changed = copy.copy(value)
    changed[key] = new
    return changed
