"""MTG-Jamendo's mood and theme tags."""

from pathlib import Path

import pandas as pd

from mer_utils.data.reading import (
    AS_PUBLISHED,
    AudioRule,
    as_number,
    existing,
    file_hashes,
    find_audio,
    no_duplicates,
    read_text,
    refuse,
    source_of,
)
from mer_utils.data.types import SPLITS, Dataset, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

_MTG_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def load_mtg_jamendo(
    root: str | Path,
    split_number: int = 0,
    audio: AudioRule = "require",
    audio_root: str | Path | None = None,
) -> Dataset:
    """Read MTG-Jamendo's mood/theme subset with one of its five official splits.

    Source: Bogdanov, Won, Tovstogan, Porter, Serra, "The MTG-Jamendo Dataset for Automatic Music
    Tagging", Machine Learning for Music Discovery Workshop, ICML 2019. Tags are those that the
    uploaders gave; the splits keep 56 of the 59 tags, no artist is in two parts of a split.
    Licence: metadata CC BY-NC-SA 4.0; audio Creative Commons, track by track (audio_licenses.txt).
    Download: https://github.com/MTG/mtg-jamendo-dataset (clone it for the metadata; its script
    scripts/download/download.py fetches "autotagging_moodtheme", "audio" or "audio-low").

    Folder:
        root/data/splits/split-<0..4>/autotagging_moodtheme-{train,validation,test}.tsv
        root/audio/48/948.mp3 or root/audio/48/948.low.mp3 (the first is taken if both are there)

    root: the clone of the repository, or a folder laid out like it.
    split_number: which official split, 0 to 4.
    audio: "require" or "skip"; see `mer_utils.data`.
    audio_root: the folder that holds 00 ... 99, if it is not root/audio.
    Returns "mtg-jamendo": split as published, group = artist, more columns album and duration
    (seconds). Split 0 has 9,949 / 3,802 / 4,231 tracks.
    Raises ValueError or FileNotFoundError, naming the file.
    """
    if split_number not in range(5):
        raise ValueError(f"mtg-jamendo: there are splits 0 to 4, not {split_number!r}")
    root = Path(root).absolute()
    folder = root / "data" / "splits" / f"split-{split_number}"
    files = {part: folder / f"autotagging_moodtheme-{part}.tsv" for part in SPLITS}
    for path in files.values():
        existing(path, "a split file of MTG-Jamendo")
    table = pd.concat(
        [_read_mtg_split(path).assign(split=part) for part, path in files.items()],
        ignore_index=True,
    )
    no_duplicates(folder, "track ids", table["track"])

    stems = [path.removesuffix(".mp3") for path in table["path"]]
    tracks = track_table(
        table["track"],
        find_audio(
            "mtg-jamendo",
            root / "audio" if audio_root is None else Path(audio_root).absolute(),
            [(f"{stem}.mp3", f"{stem}.low.mp3") for stem in stems],
            audio,
        ),
        table["labels"],
        table["split"],
        table["artist"],
        album=table["album"],
        duration=table["duration"],
    )
    source = source_of(
        "load_mtg_jamendo",
        file_hashes(root, files.values()),
        "metadata CC BY-NC-SA 4.0, audio CC by track",
        split_number=split_number,
    )
    return Dataset("mtg-jamendo", names("mtg-jamendo"), tracks, source, top_k=2)


def _read_mtg_split(path: Path) -> pd.DataFrame:
    """One split file: columns track, artist, album, path, duration, labels."""
    lines = read_text(path).rstrip().splitlines()
    if not lines or lines[0].split("\t") != _MTG_HEADER:
        raise ValueError(
            f"{path}: the first line has to be {' '.join(_MTG_HEADER)} (tab-separated), not "
            f"{lines[0][:80] if lines else ''!r}"
        )
    clean = {label.official: label.name for label in VOCABULARIES["mtg-jamendo"]}
    order = {name: i for i, name in enumerate(clean.values())}
    rows, problems = [], []
    for number, line in enumerate(lines[1:], start=2):
        track, *rest = line.split("\t")
        artist, album, file, duration, *tags = rest + [""] * (5 - len(rest))
        tags = {tag for tag in tags if tag}
        unknown = sorted(tags - clean.keys())
        if not tags:
            problems.append(f"line {number}: fewer than {len(_MTG_HEADER)} fields")
        elif unknown:
            problems.append(f"line {number}: unknown tag {unknown[0]!r}")
        elif as_number(duration) is None:
            problems.append(f"line {number}: duration {duration!r}")
        else:
            labels = tuple(sorted((clean[tag] for tag in tags), key=order.__getitem__))
            rows.append((track, artist, album, file, float(duration), labels))
    refuse(path, "unreadable lines", problems, len(lines) - 1, AS_PUBLISHED)
    return pd.DataFrame(rows, columns=["track", "artist", "album", "path", "duration", "labels"])
