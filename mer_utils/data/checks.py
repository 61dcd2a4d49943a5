"""Refusing what is wrong with data: one error that counts the cases and shows the first."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated

import pandas as pd
from pydantic import AfterValidator

LONGEST = 200  # signs of a name or a label; of a text that is embedded ten times that
# control signs, line ends, lone surrogates, what turns the direction of all that follows
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def refuse(where: object, what: str, cases: Sequence[object], of: int | None = None) -> None:
    """Raise one error if there are cases: where, of what kind, how many of how many, the first."""
    if len(cases):
        count = f"{len(cases)}" if of is None else f"{len(cases)} of {of}"
        raise ValueError(f"{where}: {count} {what}, first: {list(cases[:3])}")


def plain_texts(where: object, what: str, texts: Iterable[object], longest: int = LONGEST) -> None:
    """Raise one error if not all are texts that can be shown as they stand, and not too long."""
    wrong = [x for x in texts if not isinstance(x, str) or len(x) > longest or _UNSEEN.search(x)]
    told = f"{what} that are no text of 1 line, up to {longest} signs, none of control"
    refuse(where, told, [f"{x!r:.80}" for x in wrong])


PlainText = Annotated[str, AfterValidator(lambda text: plain_texts("", "names", [text]) or text)]
"""A name or a label in a file that is read back."""


def refuse_lines(where: object, what: str, values: pd.Series, wrong: Sequence[bool]) -> None:
    """Raise one error if some of the values, indexed by the lines they stand on, are wrong."""
    cases = [f"line {line}: {value}" for line, value in values[wrong].items()]
    refuse(where, what, cases, len(values))


def need(where: object, what: str, wanted: Sequence[str], there: Collection[str]) -> None:
    """Raise one error if not all that is wanted is there."""
    refuse(where, f"{what} missing", [x for x in wanted if x not in there], len(wanted))


def no_duplicates(where: object, what: str, values: Iterable[str]) -> None:
    """Raise one error if a value occurs twice."""
    values = pd.Series(list(values), dtype=object)
    refuse(where, f"{what} occur more than once", values[values.duplicated()].unique())
