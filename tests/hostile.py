"""Hostile inputs, made one small change at a time."""

import copy
from collections.abc import Iterator

DAMAGE = (
    None,
    True,
    -1,
    0,
    0.5,
    10**9,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../\x00\n",
)
DAMAGE += ([], [None], [[]], {}, {"x": None})
"""What a value of a JSON file is replaced by; NaN and infinity are what Python's json reads too."""


def edits(value: object) -> Iterator[tuple[str, object]]:
    """A JSON-able value with one thing in it changed: every value dropped or replaced by DAMAGE.

    Of a list only the first and the last item are changed. Yields what was done, such as
    "encoder.layers.0 = -1", and the whole changed value; the given one stays as it is.
    """
    for path in _paths(value):
        *way, last = path
        for new in ("drop", *DAMAGE):
            changed = copy.deepcopy(value)
            inside = changed
            for key in way:
                inside = inside[key]
            if new == "drop":
                del inside[last]
            elif type(new) is type(inside[last]) and new == inside[last]:
                continue
            else:
                inside[last] = copy.deepcopy(new)
            yield f"{'.'.join(map(str, path))} = {new!r}", changed


def _paths(value: object) -> Iterator[tuple]:
    """The way to every value inside a value."""
    if isinstance(value, dict):
        inside = list(value.items())
    else:
        count = len(value) if isinstance(value, list) else 0
        inside = [(place, value[place]) for place in sorted({0, count - 1}) if count]
    for key, child in inside:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(child))
