"""MTG-Jamendo's mood and theme tags."""

from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import refuse_lines
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import SPLITS, Dataset, track_table
from mer_utils.data.vocabulary import names

_COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
_LICENCE = "metadata CC BY-NC-SA 4.0, audio CC by track"


@LOADERS.register("mtg-jamendo")
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

    Returns "mtg-jamendo": split as published, group = artist, more columns album and duration
    (seconds). Split 0 has 9,949 / 3,802 / 4,231 tracks.
    """
    if split_number not in range(5):
        raise ValueError(f"mtg-jamendo: there are splits 0 to 4, not {split_number!r}")
    root = Path(root).absolute()
    folder = root / "data" / "splits" / f"split-{split_number}"
    files = {part: folder / f"autotagging_moodtheme-{part}.tsv" for part in SPLITS}
    table = pd.concat([_read_split(path).assign(split=part) for part, path in files.items()])
    candidates = [(path, path.removesuffix(".mp3") + ".low.mp3") for path in table["PATH"]]
    tracks = track_table(
        table["TRACK_ID"],
        table["labels"],
        group=table["ARTIST_ID"],
        audio=reading.find_audio("mtg-jamendo", root / "audio", candidates, audio),
        split=table["split"],
        album=table["ALBUM_ID"],
        duration=table["DURATION"],
    )
    options = {"split_number": split_number}
    source = reading.source_of("load_mtg_jamendo", root, files.values(), _LICENCE, **options)
    return Dataset("mtg-jamendo", names("mtg-jamendo"), tracks, source, top_k=2)


def _read_split(path: Path) -> pd.DataFrame:
    """One split file: its columns, durations as numbers, and labels."""
    lines = enumerate(reading.read_text(path).splitlines(), start=1)
    rows = [(number, line.split("\t", maxsplit=5)) for number, line in lines if line.strip()]
    table = reading.table_of(path, rows, _COLUMNS)
    seconds = pd.to_numeric(table["DURATION"], errors="coerce")
    refuse_lines(path, "durations that are no numbers", table["DURATION"], ~np.isfinite(seconds))
    refuse_lines(path, "tracks without a tag", table["TRACK_ID"], table["TAGS"] == "")
    tags = reading.clean_labels(path, "mtg-jamendo", table["TAGS"].str.split())
    labels = [tuple(name for name in names("mtg-jamendo") if name in own) for own in tags]
    return table.assign(DURATION=seconds, labels=labels)
