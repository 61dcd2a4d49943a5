"""What the loaders share: reading text and tables, refusing what is wrong, finding audio."""

import csv
import io
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mer_utils.storage import file_hash

AudioRule = Literal["require", "skip"]


def refuse(where: object, what: str, cases: Sequence[object], of: int | None = None) -> None:
    """Raise one error if there are cases: where, of what kind, how many of how many, the first."""
    if len(cases):
        count = f"{len(cases)}" if of is None else f"{len(cases)} of {of}"
        raise ValueError(f"{where}: {count} {what}, first: {list(cases[:3])}")


def need(where: object, what: str, wanted: Sequence[str], there: Collection[str]) -> None:
    """Raise one error if not all that is wanted is there."""
    refuse(where, f"{what} missing", [x for x in wanted if x not in there], len(wanted))


def no_duplicates(where: object, what: str, values: Iterable[str]) -> None:
    """Raise one error if a value occurs twice."""
    values = pd.Series(list(values), dtype=object)
    refuse(where, f"{what} occur more than once", values[values.duplicated()].unique())


def letters(spelling: str) -> str:
    """A label's letters in lower case, without the prefix "Emotion-" that Mulan once forgets."""
    return re.sub(r"[^a-z]", "", spelling.removeprefix("Emotion-").lower())


def read_text(path: Path) -> str:
    """A text file: UTF-8, or Latin-1 where it is not UTF-8 (older dataset files)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the loader's help says what belongs where")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_list(path: Path, what: str) -> list[str]:
    """A file with one of `what` a line, none of them twice."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    no_duplicates(path, what, lines)
    return lines


def numbers(path: Path, text: str) -> np.ndarray:
    """The comma-separated numbers in the text of a file: (lines, numbers)."""
    try:
        return np.loadtxt(io.StringIO(text), delimiter=",", comments="%", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; use the file as its authors publish it") from error


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV, every field as text without surrounding spaces, indexed by the number of the line."""
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        numbered = [(reader.line_num, [x.strip() for x in row]) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is not readable ({error})") from error
    if len(numbered) < 2:
        raise ValueError(f"{path}: {len(numbered)} lines; a header and a row at least are needed")
    (_, header), *numbered = numbered
    no_duplicates(path, "columns", header)
    uneven = [f"line {n}: {len(row)}" for n, row in numbered if len(row) != len(header)]
    refuse(path, f"rows with another number of fields than {len(header)}", uneven, len(numbered))
    lines, rows = zip(*numbered, strict=True)
    return pd.DataFrame(rows, index=lines, columns=header, dtype=object)


def parsed(path: Path, rows: Sequence[tuple[int, Any]], parse: Callable[[Any], tuple]) -> list:
    """Parse the numbered lines of a file; all that raise ValueError are one error."""
    found, problems = [], []
    for number, row in rows:
        try:
            found.append(parse(row))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    refuse(path, "lines not as the dataset's authors publish them", problems, len(rows))
    return found


def source_of(loader: str, root: Path, files: Iterable[Path], licence: str, **options) -> dict:
    """What Dataset.source records; the files by their paths below the root."""
    hashes = {path.relative_to(root).as_posix(): file_hash(path) for path in files}
    return {"loader": loader, "options": options, "files": hashes, "licence": licence}


def find_audio(
    dataset: str, folder: Path, candidates: Sequence[Sequence[str]], audio: AudioRule
) -> list[str | None]:
    """The first file that exists of each track's candidates, below a folder.

    Raises FileNotFoundError for missing ones, or warns and gives None, as `audio` says.
    """
    if audio not in ("require", "skip"):
        raise ValueError(f'{dataset}: audio is "require" or "skip", not {audio!r}')

    @cache  # a folder is listed once: far quicker than thousands of questions to a network disk
    def inside(parent: Path) -> set[str]:
        return {file.name for file in parent.iterdir()} if parent.is_dir() else set()

    found = []
    for names in candidates:
        paths = [folder / name for name in names]
        found.append(next((str(path) for path in paths if path.name in inside(path.parent)), None))
    missing = [" or ".join(c) for c, path in zip(candidates, found, strict=True) if path is None]
    if missing:
        problem = (
            f"{dataset}: {len(missing)} of {len(found)} audio files are missing under {folder}, "
            f"first: {', '.join(missing[:3])}"
        )
        if audio == "require":
            raise FileNotFoundError(f"{problem}; pass audio='skip' to go on with the labels only")
        warnings.warn(f"{problem}; these tracks have labels only", stacklevel=3)
    return found
