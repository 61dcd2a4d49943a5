"""A user's own music: a CSV with paths and labels."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mer_utils.data.reading import (
    AudioRule,
    existing,
    find_audio,
    no_duplicates,
    read_csv,
    refuse,
    source_of,
)
from mer_utils.data.types import SPLITS, Dataset, track_table
from mer_utils.storage import file_hash

_SEPARATORS = (";", "|", ",")
_FOLDER_COLUMNS = ("path", "labels", "split", "group")


def load_folder(
    csv: str | Path,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    audio: AudioRule = "require",
) -> Dataset:
    """Read any dataset from a CSV with the columns path, labels and perhaps split, group.

    csv: the CSV file: UTF-8, comma-separated, with a header line. Its columns:
        path: the audio file, absolute or relative to the CSV's folder; it is also the track's id.
        labels: none, one or more, separated by the first of ; | , that occurs anywhere in the
            column, so beside ; or | a label may contain a comma (quote a field with a comma).
            Upper and lower case are the same.
        split: train, validation, test or empty.
        group: what must not be split (artist, album); empty or no such column: every track alone.
    labels: the vocabulary, in order; by default all labels that occur, sorted.
    name: the dataset's name; by default the CSV's name without its ending.
    audio: "require" or "skip"; see `mer_utils.data`.
    Raises ValueError or FileNotFoundError, naming the file, for a missing or unknown column, a path
    that occurs twice, a label outside a given vocabulary, another split.
    """
    path = existing(csv, "a CSV of path, labels[, split, group]").absolute()
    name = path.stem if name is None else name
    rows = _read_folder_table(path)
    separator = next(
        (s for s in _SEPARATORS if rows["labels"].str.contains(s, regex=False).any()), ""
    )
    given = [_split_labels(field, separator) for field in rows["labels"]]
    found = {label for row in given for label in row}
    vocabulary = tuple(sorted(found)) if labels is None else tuple(map(_clean_label, labels))
    if not vocabulary:
        raise ValueError(f"{path}: no track has a label; fill the column or pass labels=[...]")
    strange = [repr(label) for label in sorted(found.difference(vocabulary))]
    refuse(path, f"labels outside the given vocabulary of {len(vocabulary)}", strange)

    tracks = track_table(
        rows["path"],
        find_audio(name, path.parent, [(file,) for file in rows["path"]], audio),
        [tuple(label for label in vocabulary if label in row) for row in given],
        [split or None for split in rows["split"]],
        [group or file for group, file in zip(rows["group"], rows["path"], strict=True)],
    )
    files = {path.name: file_hash(path)}
    source = source_of("load_folder", files, "your own files", separator=separator)
    return Dataset(name, vocabulary, tracks, source)


def _read_folder_table(path: Path) -> pd.DataFrame:
    """The CSV of load_folder, checked, with all four columns (empty where not given)."""
    rows = read_csv(path)
    missing = [repr(column) for column in ("path", "labels") if column not in rows]
    refuse(path, f"columns missing from {list(rows.columns)}", missing)
    unknown = [repr(column) for column in rows if column not in _FOLDER_COLUMNS]
    refuse(path, f"columns other than {', '.join(_FOLDER_COLUMNS)}", unknown)
    rows = rows.reindex(columns=list(_FOLDER_COLUMNS), fill_value="")
    pathless = [f"line {line}" for line in rows.index[rows["path"] == ""]]
    refuse(path, "rows without a path", pathless, len(rows))
    no_duplicates(path, "paths", rows["path"])
    strange = rows["split"][~rows["split"].isin([*SPLITS, ""])]
    cases = [f"line {line}: {split!r}" for line, split in strange.items()]
    refuse(path, f"splits other than {', '.join(SPLITS)} or empty", cases, len(rows))
    return rows


def _clean_label(label: str) -> str:
    """Lower case, single spaces."""
    return " ".join(label.lower().split())


def _split_labels(field: str, separator: str) -> list[str]:
    """The labels of one field; without a separator the field is one label."""
    parts = field.split(separator) if separator else [field]
    return [label for label in map(_clean_label, parts) if label]
