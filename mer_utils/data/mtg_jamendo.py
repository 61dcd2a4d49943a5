"""MTG-Jamendo's mood and theme tags."""

from math import isfinite
from pathlib import Path

import pandas as pd

from mer_utils.data import reading
from mer_utils.data.reading import AudioRule
from mer_utils.data.types import SPLITS, Dataset, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

_HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
_LICENCE = "metadata CC BY-NC-SA 4.0, audio CC by track"
_NAMES = {label.official: label.name for label in VOCABULARIES["mtg-jamendo"]}


def load_mtg_jamendo(
    root: str | Path, split_number: int = 0, audio: AudioRule = "require"
) -> Dataset:
    """Read MTG-Jamendo's mood/theme subset with one of its five official splits.

    Source: Bogdanov, Won, Tovstogan, Porter, Serra, "The MTG-Jamendo Dataset for Automatic Music
    Tagging", Machine Learning for Music Discovery Workshop, ICML 2019. Tags are those that the
    uploaders gave; the splits keep 56 of the 59 tags, no artist is in two parts of a split.
    Licence: metadata CC BY-NC-SA 4.0; audio Creative Commons, track by track (audio_licenses.txt).
    Download: https://github.com/MTG/mtg-jamendo-dataset (clone it for the metadata; its script
    scripts/download/download.py fetches "autotagging_moodtheme", "audio" or "audio-low").

    Folder (a clone of the repository, or laid out like it):
        root/data/splits/split-<0..4>/autotagging_moodtheme-{train,validation,test}.tsv
        root/audio/48/948.mp3 or root/audio/48/948.low.mp3 (the first is taken if both are there)

    split_number: which official split, 0 to 4.
    audio: "require" or "skip"; see `mer_utils.data`.
    Returns "mtg-jamendo": split as published, group = artist, more columns album and duration
    (seconds). Split 0 has 9,949 / 3,802 / 4,231 tracks.
    Raises ValueError or FileNotFoundError, naming the file.
    """
    if split_number not in range(5):
        raise ValueError(f"mtg-jamendo: there are splits 0 to 4, not {split_number!r}")
    root = Path(root).absolute()
    folder = root / "data" / "splits" / f"split-{split_number}"
    files = {part: folder / f"autotagging_moodtheme-{part}.tsv" for part in SPLITS}
    table = pd.concat([_read_split(path).assign(split=part) for part, path in files.items()])
    reading.no_duplicates(folder, "track ids", table["track"])
    candidates = [(path, path.removesuffix(".mp3") + ".low.mp3") for path in table["path"]]
    tracks = track_table(
        table["track"],
        table["labels"],
        group=table["artist"],
        audio=reading.find_audio("mtg-jamendo", root / "audio", candidates, audio),
        split=table["split"],
        album=table["album"],
        duration=table["duration"],
    )
    options = {"split_number": split_number}
    source = reading.source_of("load_mtg_jamendo", root, files.values(), _LICENCE, **options)
    return Dataset("mtg-jamendo", names("mtg-jamendo"), tracks, source, top_k=2)


def _read_split(path: Path) -> pd.DataFrame:
    """One split file: columns track, artist, album, path, duration, labels."""
    header, *lines = reading.read_text(path).splitlines() or [""]
    if header != _HEADER:
        raise ValueError(f"{path}: the first line has to be {_HEADER!r}, not {header[:80]!r}")
    numbered = [(number, line) for number, line in enumerate(lines, start=2) if line.strip()]
    columns = ["track", "artist", "album", "path", "duration", "labels"]
    return pd.DataFrame(reading.parsed(path, numbered, _read_track), columns=columns)


def _read_track(line: str) -> tuple[str, str, str, str, float, tuple[str, ...]]:
    """A line, in the order of the header; labels in the order of the vocabulary."""
    *fields, duration, tags = line.split("\t", maxsplit=5)
    tags = set(tags.split())
    if len(fields) != 4 or not tags:
        raise ValueError("fewer than 6 fields")
    seconds = float(duration)
    if not isfinite(seconds):
        raise ValueError(f"duration {duration!r}")
    if not _NAMES.keys() >= tags:
        raise ValueError(f"unknown tags {sorted(tags - _NAMES.keys())}")
    return *fields, seconds, tuple(name for tag, name in _NAMES.items() if tag in tags)
