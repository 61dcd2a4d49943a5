"""Refusing what is wrong with data: one error that counts the cases and shows the first."""

from collections.abc import Collection, Iterable, Sequence

import pandas as pd


def refuse(where: object, what: str, cases: Sequence[object], of: int | None = None) -> None:
    """Raise one error if there are cases: where, of what kind, how many of how many, the first."""
    if len(cases):
        count = f"{len(cases)}" if of is None else f"{len(cases)} of {of}"
        raise ValueError(f"{where}: {count} {what}, first: {list(cases[:3])}")


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
