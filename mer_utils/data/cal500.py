"""CAL500's emotion words."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mer_utils.data.reading import (
    AS_PUBLISHED,
    AudioRule,
    as_number,
    existing,
    file_hashes,
    find_audio,
    letters,
    no_duplicates,
    read_text,
    refuse,
    source_of,
)
from mer_utils.data.types import Dataset, label_tuples, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

_SURVEY_LINE = re.compile(r'\s*(?P<word>Emotion-[^\s=]+)\s*=\s*"?(?P<rating>[^"]*)"?\s*')


def load_cal500(
    root: str | Path,
    annotations: Literal["hard", "soft", "listeners"] = "hard",
    threshold: float | None = None,
    audio: AudioRule = "require",
    audio_root: str | Path | None = None,
) -> Dataset:
    """Read CAL500 with its 18 emotion words.

    Source: Turnbull, Barrington, Torres, Lanckriet, "Semantic Annotation and Retrieval of Music
    and Sound Effects", IEEE TASLP 16(2), 2008. 502 songs of as many artists, each described by at
    least three listeners with 174 words, of which 18 are emotions (their NOT- twins are no labels).
    Licence: none is stated with the files; the songs are commercial recordings.
    Download: http://calab1.ucsd.edu/~datasets/cal500/

    Folder:
        root/CAL500_noAudioFeatures/songNames.txt         one song a line, "artist-title"
        root/CAL500_noAudioFeatures/vocab.txt             one word a line
        root/CAL500_noAudioFeatures/hardAnnotations.txt   songs x words, comma-separated, 0 or 1
        root/CAL500_noAudioFeatures/softAnnotations.txt   songs x words, share of the listeners
        root/annotations/<song>_<listener>.txt            lines such as Emotion-Sad = "3"
            (or root/CAL500_noAudioFeatures/annotations/)
        root/CAL500_32kps/<song>.mp3                      known copies lack a few of the songs:
                                                          audio="skip" goes on without them

    annotations: which rule makes a word a label of a song.
        "hard": the dataset's own: at least 80 % of the listeners, and at least two, chose it.
        "soft": the share of the listeners who chose it is at least `threshold`.
        "listeners": from the single surveys, the rule of the code of arXiv 2410.11522: take each
            word's mean rating over the listeners who rated it. If any mean is above `threshold`,
            the five words with the highest means are the labels (also those below it); else the
            one with the highest. Equal means: the earlier word of the vocabulary; that code
            leaves the order of equal means to the order of its files, and it misses "laid-back /
            mellow", whose hyphen its pattern does not match. Here all 18 words count.
    threshold: for "soft" a share, above 0 to 1 (default 0.5); for "listeners" a mean rating
        (default 4, on the survey's scale). No meaning for "hard".
    audio: "require" or "skip"; see `mer_utils.data`.
    audio_root: the folder of the mp3s, if it is not root/CAL500_32kps.
    Returns "cal500": track ids are the song names; split None; group = artist (the song's name up
    to the first hyphen).
    Raises ValueError or FileNotFoundError, naming the file.
    """
    threshold = _cal500_threshold(annotations, threshold)
    root = Path(root).absolute()
    folder = root / "CAL500_noAudioFeatures"
    songs_file = existing(folder / "songNames.txt", "CAL500's list of songs")
    songs = [line.strip() for line in read_text(songs_file).splitlines() if line.strip()]
    no_duplicates(songs_file, "songs", songs)

    if annotations == "listeners":
        targets, read = _cal500_listeners(root, songs, threshold)
    else:
        shares, read = _cal500_matrix(folder, annotations, len(songs))
        targets = shares >= threshold
    labels = names("cal500")
    tracks = track_table(
        songs,
        find_audio(
            "cal500",
            root / "CAL500_32kps" if audio_root is None else Path(audio_root).absolute(),
            [(f"{song}.mp3",) for song in songs],
            audio,
        ),
        label_tuples(targets, labels),
        None,
        [song.split("-", 1)[0] for song in songs],
    )
    source = source_of(
        "load_cal500",
        file_hashes(root, [songs_file, *read]),
        "none stated",
        annotations=annotations,
        threshold=threshold,
    )
    return Dataset("cal500", labels, tracks, source, top_k=4)


def _cal500_threshold(annotations: str, threshold: float | None) -> float:
    """The threshold that is meant, checked."""
    if annotations not in ("hard", "soft", "listeners"):
        raise ValueError(
            f'cal500: annotations are "hard", "soft" or "listeners", not {annotations!r}'
        )
    if annotations == "hard" and threshold is not None:
        raise ValueError(
            'cal500: hard annotations are 0 or 1 and have no threshold; use annotations="soft"'
        )
    if threshold is None:
        return {"hard": 1.0, "soft": 0.5, "listeners": 4.0}[annotations]
    if annotations == "soft" and not 0 < threshold <= 1:
        raise ValueError(f"cal500: a share of listeners is above 0 and at most 1, not {threshold}")
    return float(threshold)


def _cal500_matrix(folder: Path, annotations: str, songs: int) -> tuple[np.ndarray, list[Path]]:
    """Hard or soft annotations of the 18 emotion words, (songs, 18), and the files read."""
    vocabulary_file = existing(folder / "vocab.txt", "CAL500's list of words")
    words = [line.strip() for line in read_text(vocabulary_file).splitlines() if line.strip()]
    no_duplicates(vocabulary_file, "words", words)
    column = {letters(word): i for i, word in enumerate(words) if word.startswith("Emotion-")}
    officials = [label.official for label in VOCABULARIES["cal500"]]
    missing = [repr(official) for official in officials if letters(official) not in column]
    refuse(vocabulary_file, "emotion words missing", missing, 18, AS_PUBLISHED)

    path = existing(folder / f"{annotations}Annotations.txt", f"CAL500's {annotations} annotations")
    lines = read_text(path).rstrip().splitlines()
    if len(lines) != songs:
        raise ValueError(
            f"{path}: {len(lines)} lines, but songNames.txt has {songs} songs; both files have to "
            "be of the same download"
        )
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        values = [as_number(value) for value in line.split(",")]
        if len(values) != len(words):
            problems.append(f"line {number}: {len(values)} values for {len(words)} words")
        elif any(v is None or not 0 <= v <= 1 for v in values) or (
            annotations == "hard" and not {0, 1}.issuperset(values)
        ):
            problems.append(f"line {number}: a value that is not {_CAL500_VALUES[annotations]}")
        else:
            rows.append([values[column[letters(official)]] for official in officials])
    refuse(path, "unreadable lines", problems, len(lines), AS_PUBLISHED)
    return np.array(rows), [vocabulary_file, path]


_CAL500_VALUES = {"hard": "0 or 1", "soft": "between 0 and 1"}


def _cal500_listeners(
    root: Path, songs: Sequence[str], threshold: float
) -> tuple[np.ndarray, list[Path]]:
    """The rule "listeners" of load_cal500: boolean (songs, 18), and the files read."""
    folders = [root / "annotations", root / "CAL500_noAudioFeatures" / "annotations"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"{folders[0]}: no such folder; expected CAL500's surveys here")
    surveys: dict[str, list[Path]] = {song: [] for song in songs}
    for path in sorted(folder.glob("*.txt")):
        song, _, listener = path.stem.rpartition("_")
        if song in surveys and listener.isdecimal():
            surveys[song].append(path)
    silent = [repr(song) for song, paths in surveys.items() if not paths]
    refuse(folder, "songs without a survey <song>_<listener>.txt", silent, len(songs))
    targets = [
        _five_or_one([_read_survey(path) for path in paths], threshold)
        for paths in surveys.values()
    ]
    return np.array(targets), [path for paths in surveys.values() for path in paths]


def _read_survey(path: Path) -> np.ndarray:
    """One listener's ratings of the 18 words, (18,), NaN where none was given."""
    words = [letters(label.official) for label in VOCABULARIES["cal500"]]
    ratings, problems = np.full(len(words), np.nan), []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.lstrip().startswith("Emotion-"):
            continue
        match = _SURVEY_LINE.fullmatch(line)
        rating = as_number(match["rating"]) if match else None
        if match and not match["rating"].strip():
            continue  # asked, not answered
        if rating is None or letters(match["word"]) not in words:
            problems.append(f"line {number}: {line.strip()[:60]!r}")
        else:
            ratings[words.index(letters(match["word"]))] = rating
    refuse(path, 'lines not of the form Emotion-<one of the 18 words> = "3"', problems)
    if np.isnan(ratings).all():
        raise ValueError(f"{path}: the survey rates none of the 18 emotion words")
    return ratings


def _five_or_one(ratings: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Five words with the highest mean rating if one is above the threshold, else one: (18,)."""
    table = np.array(ratings)  # (listeners, 18)
    rated = ~np.isnan(table)
    # Words that nobody rated come last and are no labels.
    mean = np.where(rated.any(0), np.nansum(table, 0) / np.maximum(rated.sum(0), 1), -np.inf)
    best_first = np.argsort(-mean, kind="stable")
    best = best_first[: 5 if mean.max() > threshold else 1]
    chosen = np.zeros(len(mean), dtype=bool)
    chosen[best[np.isfinite(mean[best])]] = True
    return chosen
