"""What the loaders share: reading text and tables, labels out of them, finding audio."""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mer_utils.data.checks import need, no_duplicates, refuse, refuse_lines
from mer_utils.data.types import label_tuples
from mer_utils.data.vocabulary import VOCABULARIES, names
from mer_utils.registry import Registry
from mer_utils.storage import file_hash

MOST_COLUMNS = 2000
MOST_BYTES = 100 * 2**20  # bytes of a text file: a million songs
AudioRule = Literal["require", "skip"]
LOADERS = Registry("dataset")
"""Loaders by the name of their dataset, called with its folder and `audio`."""


def read_text(path: Path) -> str:
    """A text file: UTF-16 if it says so itself, else UTF-8, or Latin-1 where it is not that."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; is the name right?")
    if not path.is_file():
        raise ValueError(f"{path} is a folder, a pipe or a device, expected a file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{path}: more than {MOST_BYTES:,} bytes of text, expected fewer; divide it"
        )
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in data and not utf_16:
        raise ValueError(f"{path} has bytes that are no text; save it as UTF-8")
    try:
        return data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_list(path: Path) -> list[str]:
    """The lines of a file that are not empty."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def numbers(path: Path, text: str) -> np.ndarray:
    """The comma-separated numbers in the text of a file: (lines, numbers)."""
    try:
        return np.loadtxt(io.StringIO(text), delimiter=",", comments="%", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; use the file as its authors publish it") from error


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV that has at least these columns, as `table_of` gives it."""
    reader = csv.reader(
        io.StringIO(read_text(path), newline=None), strict=True, skipinitialspace=True
    )
    try:
        return table_of(path, [(reader.line_num, row) for row in reader if row], columns)
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is not readable ({error})") from error


def table_of(
    path: Path, rows: Sequence[tuple[int, list[str]]], columns: Sequence[str]
) -> pd.DataFrame:
    """A table of text from numbered rows, the first of them a header with at least these columns.

    Returns it indexed by the numbers of the lines, fields without surrounding spaces.
    """
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} lines; a header and a row at least are needed")
    lines, (header, *fields) = zip(*((n, [x.strip() for x in row]) for n, row in rows), strict=True)
    need(path, "columns", columns, header)
    if len(header) > MOST_COLUMNS:
        raise ValueError(f"{path}: {len(header):,} columns, expected {MOST_COLUMNS:,} at most")
    no_duplicates(path, "columns", header)
    sizes = pd.Series([len(row) for row in fields], index=lines[1:])
    what = f"rows with another number of fields than {len(header)} (one with a comma needs quotes)"
    refuse_lines(path, what, sizes, sizes != len(header))
    return pd.DataFrame(fields, index=lines[1:], columns=header, dtype=object)


def clean_labels(path: Path, vocabulary: str, given: pd.Series) -> list[set[str]]:
    """The clean names of each row's labels, given as the dataset spells them, by line."""
    known = {label.official: label.name for label in VOCABULARIES[vocabulary]}
    words = [(line, word) for line, own in given.items() for word in own]
    strange = [f"line {line}: {word}" for line, word in words if word not in known]
    refuse(path, f"labels outside the vocabulary of {len(known)}", strange)
    return [{known[word] for word in own} for own in given]


def letters(spelling: str) -> str:
    """A label's letters in lower case, without the prefix "Emotion-" that Mulan once forgets."""
    return re.sub(r"[^a-z]", "", spelling.removeprefix("Emotion-").lower())


def spelled(vocabulary: str) -> list[str]:
    """The letters of a vocabulary's labels as the dataset's files spell them."""
    return [letters(label.official) for label in VOCABULARIES[vocabulary]]


def labels_of_columns(where: object, vocabulary: str, table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Each row's labels, from columns of 0 and 1 that are found by the letters of their names."""
    wanted, there = spelled(vocabulary), [letters(column) for column in table]
    need(where, f"labels of {vocabulary}", wanted, there)
    no_duplicates(where, "labels", [x for x in there if x in wanted])
    values = table.set_axis(there, axis=1)[wanted].to_numpy()  # (tracks, labels)
    strange = values[~np.isin(values, (0, 1))].tolist()
    refuse(where, "numbers other than 0 and 1", strange, values.size)
    return label_tuples(values == 1, names(vocabulary))


def source_of(
    loader: str, root: Path, files: Iterable[Path], licence: str = "none stated", **options: object
) -> dict:
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
    for files in candidates:
        paths = [folder / file for file in files]
        found.append(next((str(path) for path in paths if path.name in inside(path.parent)), None))
    missing = [" or ".join(c) for c, path in zip(candidates, found, strict=True) if path is None]
    if missing:
        problem = (
            f"{dataset}: {len(missing)} of {len(found)} audio files are missing under {folder}, "
            f"first: {', '.join(missing[:3])}"
        )
        if audio == "require":
            mend = "correct the paths or leave these tracks out"
            raise FileNotFoundError(f"{problem}; {mend} (audio='skip' in Python keeps the labels)")
        warnings.warn(f"{problem}; these tracks have labels only", stacklevel=3)
    return found
