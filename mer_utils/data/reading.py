"""What the loaders share: reading text and tables, refusing what is wrong, finding audio."""

import csv
import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mer_utils.storage import file_hash

AudioRule = Literal["require", "skip"]
AS_PUBLISHED = "use the file as its authors publish it"


def letters(spelling: str) -> str:
    """A label's letters in lower case, without the prefix "Emotion-" that Mulan once forgets."""
    return re.sub(r"[^a-z]", "", spelling.removeprefix("Emotion-").lower())


def existing(path: str | Path, what: str) -> Path:
    """`path`, if it is a file; else one clear error."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what} here")
    return path


def refuse(
    where: str | Path, what: str, cases: Sequence[str], of: int | None = None, mend: str = ""
) -> None:
    """Raise one error if there are cases: where, of what kind, how many of how many, the first."""
    if cases:
        count = f"{len(cases)}" if of is None else f"{len(cases)} of {of}"
        mend = f"; {mend}" if mend else ""
        raise ValueError(f"{where}: {what}: {count}, first: {', '.join(cases[:3])}{mend}")


def no_duplicates(where: str | Path, what: str, values: Iterable[str]) -> None:
    """Raise one error if a value occurs twice."""
    values = pd.Series(list(values))
    twice = values[values.duplicated()].unique()
    refuse(where, f"{what} that occur more than once", [repr(value) for value in twice])


def as_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_text(path: Path) -> str:
    """A text file: UTF-8, or Latin-1 where it is not UTF-8 (older dataset files)."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV, every field as text without surrounding spaces, indexed by the number of the line."""
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    rows: dict[int, list[str]] = {}
    try:
        for row in reader:
            if row:  # a blank line is an empty row
                rows[reader.line_num] = [value.strip() for value in row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is not readable ({error})") from error
    if len(rows) < 2:
        raise ValueError(
            f"{path}: a header and at least one row are needed, found {len(rows)} lines"
        )
    first, *lines = rows
    header = rows[first]
    no_duplicates(path, "columns", header)
    uneven = [
        f"line {line}: {len(rows[line])} fields" for line in lines if len(rows[line]) != len(header)
    ]
    refuse(path, f"rows with another number of fields than {len(header)}", uneven, len(lines))
    return pd.DataFrame([rows[line] for line in lines], index=lines, columns=header, dtype=object)


def file_hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path below the root."""
    return {path.relative_to(root).as_posix(): file_hash(path) for path in paths}


def source_of(loader: str, files: Mapping[str, str], licence: str, **options: object) -> dict:
    """What Dataset.source records."""
    return {"loader": loader, "options": options, "files": dict(files), "licence": licence}


def find_audio(
    dataset: str, folder: Path, candidates: Sequence[Sequence[str]], audio: AudioRule
) -> list[str | None]:
    """The first file that exists of each track's candidates, below a folder.

    Raises FileNotFoundError for missing ones, or warns and gives None, as `audio` says.
    """
    if audio not in ("require", "skip"):
        raise ValueError(f'{dataset}: audio is "require" or "skip", not {audio!r}')
    # Folders are listed once: far quicker than asking for thousands of files on a network disk.
    listed: dict[Path, set[str]] = {}

    def exists(path: Path) -> bool:
        if path.parent not in listed:
            inside = path.parent.iterdir() if path.parent.is_dir() else ()
            listed[path.parent] = {file.name for file in inside}
        return path.name in listed[path.parent]

    found = [
        next((str(folder / name) for name in names_of_track if exists(folder / name)), None)
        for names_of_track in candidates
    ]
    missing = [" or ".join(c) for c, path in zip(candidates, found, strict=True) if path is None]
    if missing:
        count = f"{dataset}: {len(missing)} of {len(found)} audio files are missing under {folder}"
        first = f"first: {', '.join(missing[:3])}"
        if audio == "require":
            raise FileNotFoundError(
                f"{count}, {first}; pass audio='skip' to go on with their labels only"
            )
        warnings.warn(f"{count}, {first}; these tracks have labels only", stacklevel=3)
    return found
