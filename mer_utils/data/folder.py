"""A user's own music: a CSV with paths and labels."""

import os
import re
import shlex
import unicodedata
from collections import Counter
from itertools import chain
from pathlib import Path

import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import no_duplicates, refuse, refuse_lines
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import SPLITS, Dataset, track_table
from mer_utils.progress import printable

_COLUMNS = ("path", "labels", "split", "group")
_MEANT = dict.fromkeys(("file", "filename", "file_name", "filepath", "audio"), "path")
_MEANT |= dict.fromkeys(("label", "tag", "tags", "mood", "moods", "emotion", "emotions"), "labels")
_MEANT |= dict.fromkeys(("artist", "album", "singer", "composer", "band"), "group")
_MEANT |= {column: column for column in _COLUMNS}  # in upper case


def load_folder(csv: str | Path, name: str | None = None, audio: AudioRule = "require") -> Dataset:
    """Read any dataset from a CSV; its vocabulary is all labels that occur, sorted.

    csv: the CSV file: UTF-8 or Latin-1, comma-separated, with a header line. Its columns:
        path: the audio file, absolute or relative to the CSV's folder; it is also the track's id.
        labels: none, one or more, separated by the first of ; | , that occurs anywhere in the
            column, so beside ; or | a label may contain a comma (quote a field with a comma).
            Upper and lower case are the same.
        split: train, validation, test or empty.
        group: what must not be split (artist, album); empty or no such column: every track alone.
    name: the dataset's name; by default the CSV's name without its ending.
    Raises ValueError for a file of another form, with its mend; missing audio as `audio` says.
    """
    path = Path(csv).absolute()
    name = _check_name(path, name)
    rows = _read_table(path)
    separator = next((s for s in ";|," if rows["labels"].str.contains(s, regex=False).any()), "")
    given = rows["labels"].str.split(separator or ";", regex=False)
    words = [{" ".join(label.lower().split()) for label in row} - {""} for row in given]
    labels = [tuple(sorted(own)) for own in words]
    vocabulary = tuple(sorted(set().union(*labels)))
    if not vocabulary:
        raise ValueError(f"{path}: no track has a label; fill the column")
    _refuse_joined(path, separator, vocabulary)
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


def _check_name(path: Path, name: str | None) -> str:
    """The dataset's name; ValueError for one that is another's, or that a folder cannot have."""
    given = path.stem if name is None else name
    plain, wrong = unicodedata.normalize("NFKC", given), None
    if name is None and (given in LOADERS or given in LOADERS.reserved):
        wrong = "which is another dataset's name"
    elif printable(plain) != plain or len(given.encode()) > 150 or re.search(r"^[-.]|[/\\]", plain):
        wrong = "expected 150 bytes of printable text at most, without / or \\, not from - or . on"
    elif re.fullmatch(r"\s*|con|prn|aux|nul|(com|lpt)\d", plain, re.I):
        wrong = "which some systems keep for themselves"
    if wrong:
        raise ValueError(f"{path}: the dataset is called {given!r}, {wrong}; rename the file")
    return given


def _read_table(path: Path) -> pd.DataFrame:
    """The CSV with all four columns, empty where not given."""
    first = reading.read_text(path).strip().partition("\n")[0]
    if first.lower().startswith("sep="):
        raise ValueError(f"{path}: the first line is Excel's {first!r}; delete that line")
    found = next((sign for sign in ";\t" if sign in first and "," not in first), None)
    if found is not None:
        raise ValueError(
            f"{path}: fields are separated by {found!r}, expected ','; to mend it: python -c "
            "\"import csv, sys; [x.reconfigure(encoding='latin-1') for x in "
            "(sys.stdin, sys.stdout)]; "
            "csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, "
            f'delimiter={found!r}))" < {shlex.quote(path.name)} > mended.csv'
        )
    rows = reading.read_csv(path, ())
    _refuse_a_column_a_label(path, rows)
    _check_columns(path, list(rows))
    rows = rows.reindex(columns=list(_COLUMNS), fill_value="")
    refuse_lines(path, "rows without a path", rows["path"], rows["path"] == "")
    rows["path"] = rows["path"].map(os.path.normpath)  # ./a.mp3 and a.mp3 are one track
    no_duplicates(path, "paths", rows["path"])
    strange = ~rows["split"].isin([*SPLITS, ""])
    refuse_lines(path, f"splits other than {', '.join(SPLITS)} or empty", rows["split"], strange)
    given = rows[(rows["split"] != "") & (rows["group"] != "")]
    parts = given.groupby("group")["split"].nunique()
    refuse(path, "groups with tracks in two splits", list(parts.index[parts > 1]))
    listed = rows["labels"].str.match(r"[\[({]")
    refuse_lines(path, "labels in brackets; write happy;calm", rows["labels"], listed)
    return rows


def _refuse_a_column_a_label(path: Path, rows: pd.DataFrame) -> None:
    """Refuse labels that are columns of 0 and 1, with the lines that join them."""
    marks = [c for c in rows if c not in _COLUMNS and rows[c].isin(["0", "1"]).all()]
    if len(marks) > 1 and "labels" not in rows:
        raise ValueError(
            f"{path}: a column of 0 and 1 for each of {', '.join(marks)}, expected one column "
            f"'labels'; to mend it in Python: names = {marks}; "
            f"table = pandas.read_csv({path.name!r}); table['labels'] = table[names].apply("
            "lambda row: ';'.join(row.index[row == 1]), axis=1); "
            f"table.drop(columns=names).to_csv({path.name!r}, index=False)"
        )


def _check_columns(path: Path, there: list[str]) -> None:
    """Refuse columns of other names, saying which to rename, to delete or to add."""
    unknown = [column for column in there if column not in _COLUMNS]
    mends, names = [], set(there)
    for column in unknown:
        meant = _MEANT.get(column.lower())
        rename = meant and meant not in names
        mends.append(f"rename {column!r} to {meant!r}" if rename else f"delete {column!r}")
        names.add(meant)
    mends += [f"add {column!r}" for column in _COLUMNS[:2] if column not in names]
    if not names & {*_COLUMNS}:
        mends = [f"put a line that names the columns above {','.join(there)!r}"]
    if mends:
        more = f" and {len(there) - 20} more" if len(there) > 20 else ""
        raise ValueError(
            f"{path}: found the columns {', '.join(map(repr, there[:20]))}{more}, expected 'path', "
            "'labels' and, if you have them, 'split', 'group' (the artist, say: tracks of one "
            f"group stay on one side of a split); to mend it, {', '.join(mends[:20])}"
        )


def _refuse_joined(path: Path, separator: str, vocabulary: tuple[str, ...]) -> None:
    """Refuse labels that another sign seems to join: a part of one is part of a second, too."""
    for sign in "|," if separator else "/+&":
        parts = [{part.strip() for part in label.split(sign)} - {""} for label in vocabulary]
        often = {part for part, count in Counter(chain(*parts)).items() if count > 1}
        joined = [label for label, own in zip(vocabulary, parts, strict=True) if own & often]
        mend = f"replace {sign!r} by ';', or within a single label by a word"
        refuse(path, f"labels seem joined by {sign!r}, expected ';' ({mend})", joined)
