"""A user's own music: a CSV with paths and labels."""

from pathlib import Path

import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import no_duplicates, refuse, refuse_lines
from mer_utils.data.reading import AudioRule
from mer_utils.data.types import SPLITS, Dataset, track_table

_COLUMNS = ("path", "labels", "split", "group")


def load_folder(csv: str | Path, name: str | None = None, audio: AudioRule = "require") -> Dataset:
    """Read any dataset from a CSV; its vocabulary is all labels that occur, sorted.

    csv: the CSV file: UTF-8, comma-separated, with a header line. Its columns:
        path: the audio file, absolute or relative to the CSV's folder; it is also the track's id.
        labels: none, one or more, separated by the first of ; | , that occurs anywhere in the
            column, so beside ; or | a label may contain a comma (quote a field with a comma).
            Upper and lower case are the same.
        split: train, validation, test or empty.
        group: what must not be split (artist, album); empty or no such column: every track alone.
    name: the dataset's name; by default the CSV's name without its ending.
    """
    path = Path(csv).absolute()
    name = path.stem if name is None else name
    rows = _read_table(path)
    separator = next((s for s in ";|," if rows["labels"].str.contains(s, regex=False).any()), "")
    given = rows["labels"].str.split(separator or ";", regex=False)
    words = [{" ".join(label.lower().split()) for label in row} - {""} for row in given]
    labels = [tuple(sorted(own)) for own in words]
    vocabulary = tuple(sorted(set().union(*labels)))
    if not vocabulary:
        raise ValueError(f"{path}: no track has a label; fill the column")
    tracks = track_table(
        rows["path"],
        labels,
        group=rows["group"].where(rows["group"] != "", rows["path"]),
        audio=reading.find_audio(name, path.parent, [(file,) for file in rows["path"]], audio),
        split=rows["split"].replace("", None),
    )
    options = {"separator": separator}
    source = reading.source_of("load_folder", path.parent, [path], "your own files", **options)
    return Dataset(name, vocabulary, tracks, source)


def _read_table(path: Path) -> pd.DataFrame:
    """The CSV with all four columns, empty where not given."""
    rows = reading.read_csv(path, _COLUMNS[:2])
    unknown = [column for column in rows if column not in _COLUMNS]
    refuse(path, f"columns other than {', '.join(_COLUMNS)}", unknown)
    rows = rows.reindex(columns=list(_COLUMNS), fill_value="")
    refuse_lines(path, "rows without a path", rows["path"], rows["path"] == "")
    no_duplicates(path, "paths", rows["path"])
    strange = ~rows["split"].isin([*SPLITS, ""])
    refuse_lines(path, f"splits other than {', '.join(SPLITS)} or empty", rows["split"], strange)
    return rows
