"""Emotion-labelled music datasets: one table of tracks, one vocabulary, one loader a dataset.

Each loader reads the files of a dataset as its authors publish them and gives a `Dataset`. Its
docstring says where the dataset comes from, under what licence, whom to cite, where to download
it and what the folder must look like. What can be wrong with the files (one is missing, a line is
not readable, an id occurs twice, a label is unknown) is one error that names the file, counts the
cases and shows the first.

Conventions: labels are the clean names of `vocabulary`; a track's labels stand in the order of the
vocabulary. Audio paths are absolute. Audio may be missing: `audio="require"` (the default) makes
that an error, `audio="skip"` keeps the track with its labels and the path None, and says in one
warning how many there are. `Dataset.source` records the loader, its options and the SHA-256 of
every file it read. Mulan's datasets have no audio; they bring their features with them.
"""

import csv
import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.io.arff import loadarff

from mer_utils.storage import file_hash
from mer_utils.vocabulary import VOCABULARIES, names

if TYPE_CHECKING:
    from mer_utils.features import Features

SPLITS = ("train", "validation", "test")
AudioRule = Literal["require", "skip"]
_AS_PUBLISHED = "use the file as its authors publish it"


@dataclass(frozen=True)
class Dataset:
    """Tracks with emotion labels out of one ordered vocabulary.

    name: short name, such as "emotify".
    labels: the vocabulary, in the order of the columns of `targets()`.
    tracks: a table indexed by track id (text, unique; the index is named "track") with the columns
        audio (path as text, or None), labels (a tuple of vocabulary entries), split ("train",
        "validation", "test" or None) and group (artist, or whatever must not be split; text).
        More columns may follow.
    source: what it came from: files with their hashes, options (JSON-able).
    top_k: how many labels the paper's vote gives a song, 1 to all; None where nobody said.
    """

    name: str
    labels: tuple[str, ...]
    tracks: pd.DataFrame
    source: dict = field(default_factory=dict)
    top_k: int | None = None

    def __post_init__(self) -> None:
        """Check what every other module relies on."""
        repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if repeated:
            raise ValueError(f"{self.name}: labels occur twice in the vocabulary: {repeated}")
        missing = [c for c in ("audio", "labels", "split", "group") if c not in self.tracks.columns]
        if missing:
            raise ValueError(f"{self.name}: the table of tracks lacks the columns {missing}")
        if not self.tracks.index.is_unique:
            twice = self.tracks.index[self.tracks.index.duplicated()].unique().tolist()
            raise ValueError(f"{self.name}: {len(twice)} track ids occur twice, first: {twice[:3]}")
        if self.top_k is not None and self.top_k not in range(1, len(self.labels) + 1):
            raise ValueError(
                f"{self.name}: a song's vote cannot give {self.top_k!r} of {len(self.labels)} "
                "labels; top_k is 1 to all of them, or None"
            )
        known = set(self.labels)
        for track, labels in self.tracks["labels"].items():
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise ValueError(
                    f"{self.name}: track {track} has the label {unknown[0]!r}, which is not one of "
                    f"the {len(self.labels)} labels of the vocabulary"
                )

    def __len__(self) -> int:
        return len(self.tracks)

    def targets(self) -> np.ndarray:
        """Which track has which label: boolean (tracks, labels)."""
        column = {label: i for i, label in enumerate(self.labels)}
        matrix = np.zeros((len(self.tracks), len(self.labels)), dtype=bool)
        for row, labels in enumerate(self.tracks["labels"]):
            matrix[row, [column[label] for label in labels]] = True
        return matrix


# -------------------------------------------------------------------------------- MTG-Jamendo

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
    audio: "require" or "skip"; see the module.
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
        _existing(path, "a split file of MTG-Jamendo")
    table = pd.concat(
        [_read_mtg_split(path).assign(split=part) for part, path in files.items()],
        ignore_index=True,
    )
    _no_duplicates(folder, "track ids", table["track"])

    stems = [path.removesuffix(".mp3") for path in table["path"]]
    tracks = _track_table(
        table["track"],
        _find_audio(
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
    source = _source(
        "load_mtg_jamendo",
        _hashes(root, files.values()),
        "metadata CC BY-NC-SA 4.0, audio CC by track",
        split_number=split_number,
    )
    return Dataset("mtg-jamendo", names("mtg-jamendo"), tracks, source, top_k=2)


def _read_mtg_split(path: Path) -> pd.DataFrame:
    """One split file: columns track, artist, album, path, duration, labels."""
    lines = _read_text(path).rstrip().splitlines()
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
        elif _number(duration) is None:
            problems.append(f"line {number}: duration {duration!r}")
        else:
            labels = tuple(sorted((clean[tag] for tag in tags), key=order.__getitem__))
            rows.append((track, artist, album, file, float(duration), labels))
    _refuse(path, "unreadable lines", problems, len(lines) - 1, _AS_PUBLISHED)
    return pd.DataFrame(rows, columns=["track", "artist", "album", "path", "duration", "labels"])


# ------------------------------------------------------------------------------------- CAL500

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
    audio: "require" or "skip"; see the module.
    audio_root: the folder of the mp3s, if it is not root/CAL500_32kps.
    Returns "cal500": track ids are the song names; split None; group = artist (the song's name up
    to the first hyphen).
    Raises ValueError or FileNotFoundError, naming the file.
    """
    threshold = _cal500_threshold(annotations, threshold)
    root = Path(root).absolute()
    folder = root / "CAL500_noAudioFeatures"
    songs_file = _existing(folder / "songNames.txt", "CAL500's list of songs")
    songs = [line.strip() for line in _read_text(songs_file).splitlines() if line.strip()]
    _no_duplicates(songs_file, "songs", songs)

    if annotations == "listeners":
        targets, read = _cal500_listeners(root, songs, threshold)
    else:
        shares, read = _cal500_matrix(folder, annotations, len(songs))
        targets = shares >= threshold
    labels = names("cal500")
    tracks = _track_table(
        songs,
        _find_audio(
            "cal500",
            root / "CAL500_32kps" if audio_root is None else Path(audio_root).absolute(),
            [(f"{song}.mp3",) for song in songs],
            audio,
        ),
        _label_tuples(targets, labels),
        None,
        [song.split("-", 1)[0] for song in songs],
    )
    source = _source(
        "load_cal500",
        _hashes(root, [songs_file, *read]),
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
    vocabulary_file = _existing(folder / "vocab.txt", "CAL500's list of words")
    words = [line.strip() for line in _read_text(vocabulary_file).splitlines() if line.strip()]
    _no_duplicates(vocabulary_file, "words", words)
    column = {_letters(word): i for i, word in enumerate(words) if word.startswith("Emotion-")}
    officials = [label.official for label in VOCABULARIES["cal500"]]
    missing = [repr(official) for official in officials if _letters(official) not in column]
    _refuse(vocabulary_file, "emotion words missing", missing, 18, _AS_PUBLISHED)

    path = _existing(
        folder / f"{annotations}Annotations.txt", f"CAL500's {annotations} annotations"
    )
    lines = _read_text(path).rstrip().splitlines()
    if len(lines) != songs:
        raise ValueError(
            f"{path}: {len(lines)} lines, but songNames.txt has {songs} songs; both files have to "
            "be of the same download"
        )
    rows, problems = [], []
    for number, line in enumerate(lines, start=1):
        values = [_number(value) for value in line.split(",")]
        if len(values) != len(words):
            problems.append(f"line {number}: {len(values)} values for {len(words)} words")
        elif any(v is None or not 0 <= v <= 1 for v in values) or (
            annotations == "hard" and not {0, 1}.issuperset(values)
        ):
            problems.append(f"line {number}: a value that is not {_CAL500_VALUES[annotations]}")
        else:
            rows.append([values[column[_letters(official)]] for official in officials])
    _refuse(path, "unreadable lines", problems, len(lines), _AS_PUBLISHED)
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
    _refuse(folder, "songs without a survey <song>_<listener>.txt", silent, len(songs))
    targets = [
        _five_or_one([_read_survey(path) for path in paths], threshold)
        for paths in surveys.values()
    ]
    return np.array(targets), [path for paths in surveys.values() for path in paths]


def _read_survey(path: Path) -> np.ndarray:
    """One listener's ratings of the 18 words, (18,), NaN where none was given."""
    words = [_letters(label.official) for label in VOCABULARIES["cal500"]]
    ratings, problems = np.full(len(words), np.nan), []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.lstrip().startswith("Emotion-"):
            continue
        match = _SURVEY_LINE.fullmatch(line)
        rating = _number(match["rating"]) if match else None
        if match and not match["rating"].strip():
            continue  # asked, not answered
        if rating is None or _letters(match["word"]) not in words:
            problems.append(f"line {number}: {line.strip()[:60]!r}")
        else:
            ratings[words.index(_letters(match["word"]))] = rating
    _refuse(path, 'lines not of the form Emotion-<one of the 18 words> = "3"', problems)
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


# ------------------------------------------------------------------------------------ Emotify

# In the order of the track ids: 1-100 classical, 101-200 rock, ...
_EMOTIFY_GENRES = ("classical", "rock", "electronic", "pop")


def load_emotify(
    root: str | Path,
    rule: Literal["top3"] | float = "top3",
    group: Literal["track", "genre"] = "track",
    audio: AudioRule = "require",
    audio_root: str | Path | None = None,
) -> Dataset:
    """Read Emotify: what listeners felt, on the Geneva Emotional Music Scale.

    Source: Aljanaki, Wiering, Veltkamp, "Studying emotion induced by music through a crowdsourcing
    game", Information Processing & Management 52(1), 2016. 400 excerpts of up to one minute, 100
    in each of four genres; each listener could choose up to three of nine emotions.
    Licence: none is stated with the files.
    Download: http://www2.projects.science.uu.nl/memotion/emotifydata/

    Folder:
        root/data.csv                                 one row a listener; "track id" 1-400
        root/emotifymusic/<genre>/<1..100>.mp3        ids 1-100 classical, 101-200 rock,
                                                      201-300 electronic, 301-400 pop

    rule: "top3": the three emotions with most votes, of equal ones those in earlier columns (the
        rule of arXiv 2410.11522); or a share above 0 to 1: the emotions that at least this share
        of the track's listeners chose (perhaps none).
    group: "track": every track on its own; "genre": the four genres, for splits by genre.
    audio: "require" or "skip"; see the module.
    audio_root: the folder that holds the genres, if it is not root/emotifymusic.
    Returns "emotify": tracks "emotify-001" ... "emotify-400", split None, more columns genre,
    listeners (how many) and share (the share of them for each of the nine labels, in order).
    Raises ValueError or FileNotFoundError, naming the file.
    """
    share_wanted = _emotify_rule(rule)
    if group not in ("track", "genre"):
        raise ValueError(f'emotify: group is "track" or "genre", not {group!r}')
    root = Path(root).absolute()
    path = _existing(root / "data.csv", "Emotify's annotations")
    votes = _read_emotify(path)

    labels = names("emotify")
    officials = [label.official for label in VOCABULARIES["emotify"]]
    by_track = votes.groupby("track id", sort=True)
    counts = by_track[officials].sum().to_numpy()  # (tracks, 9)
    listeners = by_track.size().to_numpy()  # (tracks,)
    genres = by_track["genre"].first().tolist()
    ids = list(by_track.groups)
    shares = counts / listeners[:, None]  # (tracks, 9)
    targets = _most_votes(counts, 3) if share_wanted is None else shares >= share_wanted

    track_ids = [f"emotify-{number:03d}" for number in ids]
    tracks = _track_table(
        track_ids,
        _find_audio(
            "emotify",
            root / "emotifymusic" if audio_root is None else Path(audio_root).absolute(),
            [
                (f"{genre}/{(number - 1) % 100 + 1}.mp3",)
                for genre, number in zip(genres, ids, strict=True)
            ],
            audio,
        ),
        _label_tuples(targets, labels),
        None,
        track_ids if group == "track" else genres,
        genre=genres,
        listeners=listeners,
        share=[tuple(row) for row in shares.tolist()],
    )
    source = _source("load_emotify", _hashes(root, [path]), "none stated", rule=rule, group=group)
    return Dataset("emotify", labels, tracks, source, top_k=3)


def _emotify_rule(rule: str | float) -> float | None:
    """The wanted share of listeners, or None for the three with most votes."""
    if rule == "top3":
        return None
    if isinstance(rule, str) or not 0 < rule <= 1:
        raise ValueError(
            f'emotify: rule is "top3" or a share of listeners above 0 and at most 1, not {rule!r}'
        )
    return float(rule)


def _most_votes(counts: np.ndarray, k: int) -> np.ndarray:
    """The k columns with most votes of each row, ties to the left, never one without a vote.

    counts: (tracks, labels). Returns boolean (tracks, labels).
    """
    best = np.argsort(-counts, axis=1, kind="stable")[:, :k]  # (tracks, k)
    chosen = np.zeros(counts.shape, dtype=bool)
    np.put_along_axis(chosen, best, True, axis=1)
    return chosen & (counts > 0)


def _read_emotify(path: Path) -> pd.DataFrame:
    """data.csv, checked: one row a listener, votes as integers."""
    table = _read_csv(path)
    officials = [label.official for label in VOCABULARIES["emotify"]]
    wanted = ["track id", "genre", *officials]
    missing = [repr(column) for column in wanted if column not in table.columns]
    _refuse(path, "columns missing", missing, len(wanted), _AS_PUBLISHED)
    rows, problems = [], []
    for line, track, genre, *votes in table[wanted].itertuples(name=None):
        number = int(track) if track.isdecimal() else 0
        if not 1 <= number <= 400:
            problems.append(f"line {line}: track id {track!r} is not 1 to 400")
        elif genre != _EMOTIFY_GENRES[(number - 1) // 100]:
            problems.append(f"line {line}: track {number} with the genre {genre!r}")
        elif not {"0", "1"}.issuperset(votes):
            problems.append(f"line {line}: a vote that is not 0 or 1")
        else:
            rows.append((number, genre, *map(int, votes)))
    _refuse(path, "unreadable rows", problems, len(table), _AS_PUBLISHED)
    return pd.DataFrame(rows, columns=wanted)


# -------------------------------------------------------------------------------- your own CSV

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
    audio: "require" or "skip"; see the module.
    Raises ValueError or FileNotFoundError, naming the file, for a missing or unknown column, a path
    that occurs twice, a label outside a given vocabulary, another split.
    """
    path = _existing(csv, "a CSV of path, labels[, split, group]").absolute()
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
    _refuse(path, f"labels outside the given vocabulary of {len(vocabulary)}", strange)

    tracks = _track_table(
        rows["path"],
        _find_audio(name, path.parent, [(file,) for file in rows["path"]], audio),
        [tuple(label for label in vocabulary if label in row) for row in given],
        [split or None for split in rows["split"]],
        [group or file for group, file in zip(rows["group"], rows["path"], strict=True)],
    )
    files = {path.name: file_hash(path)}
    source = _source("load_folder", files, "your own files", separator=separator)
    return Dataset(name, vocabulary, tracks, source)


def _read_folder_table(path: Path) -> pd.DataFrame:
    """The CSV of load_folder, checked, with all four columns (empty where not given)."""
    rows = _read_csv(path)
    missing = [repr(column) for column in ("path", "labels") if column not in rows]
    _refuse(path, f"columns missing from {list(rows.columns)}", missing)
    unknown = [repr(column) for column in rows if column not in _FOLDER_COLUMNS]
    _refuse(path, f"columns other than {', '.join(_FOLDER_COLUMNS)}", unknown)
    rows = rows.reindex(columns=list(_FOLDER_COLUMNS), fill_value="")
    pathless = [f"line {line}" for line in rows.index[rows["path"] == ""]]
    _refuse(path, "rows without a path", pathless, len(rows))
    _no_duplicates(path, "paths", rows["path"])
    strange = rows["split"][~rows["split"].isin([*SPLITS, ""])]
    cases = [f"line {line}: {split!r}" for line, split in strange.items()]
    _refuse(path, f"splits other than {', '.join(SPLITS)} or empty", cases, len(rows))
    return rows


def _clean_label(label: str) -> str:
    """Lower case, single spaces."""
    return " ".join(label.lower().split())


def _split_labels(field: str, separator: str) -> list[str]:
    """The labels of one field; without a separator the field is one label."""
    parts = field.split(separator) if separator else [field]
    return [label for label in map(_clean_label, parts) if label]


# ------------------------------------------------------------------------------------- Mulan

_MULAN_COLUMN = re.compile(
    r"(?P<track>Mean|Std)_Acc\d+_(?P<window>Mean|Std)_Mem\d+_"
    r"(?P<feature>Centroid|Rolloff|Flux|MFCC_?\d+)(?:_Power_.*)?"
)
_MULAN_FEATURES = ("centroid", "rolloff", "flux", *(f"mfcc{i}" for i in range(13)))
MULAN_COLUMNS = tuple(
    f"{track}-{window}-{feature}"
    for track in ("mean", "std")
    for window in ("mean", "std")
    for feature in _MULAN_FEATURES
)


def load_mulan(path: str | Path) -> tuple[Dataset, "Features"]:
    """Read Mulan's CAL500.arff or emotions.arff: real songs with labels and features, no audio.

    Source: the multi-label data sets of the Mulan library (Tsoumakas et al., "Mulan: A Java
    Library for Multi-Label Learning", JMLR 2011). CAL500: 502 songs, 18 emotion words (Turnbull
    et al., "Semantic Annotation and Retrieval of Music and Sound Effects", IEEE TASLP 2008).
    emotions: 593 songs, 6 labels (Trohidis et al., "Multi-Label Classification of Music into
    Emotions", ISMIR 2008). Download: https://mulan.sourceforge.net/datasets-mlc.html
    Licence: the files state none.

    The features are the 64 Marsyas timbre columns that both files have, in one order for both
    (MULAN_COLUMNS: "statistic over the track - statistic over a memory of 40 frames - feature";
    features: spectral centroid, rolloff, flux and 13 MFCC). CAL500's zero crossings and the beat
    histogram of emotions are left out: the other file lacks them.

    path: the ARFF file. Which of the two it is, is seen by its label columns.
    Returns the dataset ("cal500" or "emotions"; tracks "cal500-001" ... in the order of the file,
    audio None, split None, every track its own group) and its features (tracks, 1 layer, 64).
    Raises ValueError, naming the file, if it is not readable as ARFF, has the label columns of
    neither vocabulary, lacks one of the 64 columns, or a value is missing.
    """
    # Imports follow the data (datasets -> ... -> features); only here a dataset brings features.
    from mer_utils.features import Features

    path = _existing(path, "Mulan's ARFF file")
    table = _read_arff(path)
    name, label_columns = _mulan_labels(path, list(table.columns))
    feature_columns = _mulan_features(path, list(table.columns))

    present = table[label_columns].astype(str).apply(lambda column: column.str.strip())
    strange = sorted(set(present.to_numpy().ravel()) - {"0", "1", "0.0", "1.0"})
    if strange:
        raise ValueError(f"{path}: label columns hold 0 or 1, not {strange[:3]}")
    targets = present.isin(["1", "1.0"]).to_numpy()  # (tracks, labels)
    values = table[feature_columns].to_numpy(dtype=np.float32)  # (tracks, 64)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}: {bad.sum()} feature values are missing or not finite, first: row {row + 1}, "
            f"column {feature_columns[column]}"
        )

    labels = names(name)
    width = max(3, len(str(len(table))))
    track_ids = [f"{name}-{row:0{width}d}" for row in range(1, len(table) + 1)]
    tracks = _track_table(track_ids, None, _label_tuples(targets, labels), None, track_ids)
    file = {path.name: file_hash(path)}
    source = _source("load_mulan", file, "none stated")
    # the paper has no k for emotions: its tracks have 1.9 labels on average
    top_k = {"cal500": 4, "emotions": 2}[name]
    dataset = Dataset(name, labels, tracks, source, top_k)
    features = Features(
        values[:, None, :],  # (tracks, 64) -> (tracks, 1, 64)
        np.array(track_ids),
        np.zeros(len(track_ids)),
        {
            "name": "mulan-marsyas-64",
            "layers": [0],
            "columns": list(MULAN_COLUMNS),
            "files": file,
        },
    )
    return dataset, features


def _read_arff(path: Path) -> pd.DataFrame:
    """An ARFF file as a table, nominal values as text."""
    text = _read_text(path)
    header, *data = re.split(r"^@data.*$", text, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    rows = [row for row in "".join(data).splitlines() if row.strip() and row[0] != "%"]
    if not rows:
        raise ValueError(f"{path}: not an ARFF file with rows after @data; download it again")
    # scipy passes over surplus values without a word, so they are counted here.
    attributes = len(re.findall(r"^@attribute", header, flags=re.IGNORECASE | re.MULTILINE))
    uneven = [
        f"row {number}: {row.count(',') + 1} values"
        for number, row in enumerate(rows, start=1)
        if row.count(",") + 1 != attributes
    ]
    _refuse(path, f"rows without {attributes} values", uneven, len(rows), "download it again")
    try:
        records, _ = loadarff(io.StringIO(text))
    except Exception as error:  # scipy raises a dozen kinds, some of them bare (StopIteration)
        raise ValueError(
            f"{path}: not readable as ARFF ({type(error).__name__}: {error}); download it again"
        ) from error
    table = pd.DataFrame(records)
    nominal = table.select_dtypes(object).columns
    return table.assign(**{column: table[column].str.decode("utf-8") for column in nominal})


def _mulan_labels(path: Path, columns: list[str]) -> tuple[str, list[str]]:
    """Which vocabulary an ARFF file has, and its column for each label, in vocabulary order."""
    spelled: dict[str, list[str]] = {}
    for column in columns:
        spelled.setdefault(_letters(column), []).append(column)
    found = {}
    for name in ("cal500", "emotions"):
        officials = [label.official for label in VOCABULARIES[name]]
        found[name] = {o: spelled[_letters(o)] for o in officials if _letters(o) in spelled}
    name = max(found, key=lambda n: len(found[n]) / len(VOCABULARIES[n]))
    if not found[name]:
        raise ValueError(
            f"{path}: none of the {len(columns)} columns is an emotion label of CAL500 (such as "
            "Emotion-Happy) or of emotions (such as happy-pleased); use Mulan's CAL500.arff or "
            "emotions.arff"
        )
    wanted = [label.official for label in VOCABULARIES[name]]
    missing = [repr(official) for official in wanted if official not in found[name]]
    _refuse(path, f"label columns of {name} missing", missing, len(wanted), _AS_PUBLISHED)
    repeated = [columns for columns in found[name].values() if len(columns) > 1]
    if repeated:
        raise ValueError(f"{path}: several columns spell one label: {repeated[0]}")
    return name, [found[name][official][0] for official in wanted]


def _letters(spelling: str) -> str:
    """A label's letters in lower case, without the prefix "Emotion-" that Mulan once forgets."""
    return re.sub(r"[^a-z]", "", spelling.removeprefix("Emotion-").lower())


def _mulan_features(path: Path, columns: list[str]) -> list[str]:
    """The file's columns for MULAN_COLUMNS, in that order."""
    found = {}
    for column in columns:
        match = _MULAN_COLUMN.fullmatch(column)
        if match:
            feature = match["feature"].lower().replace("_", "")
            found[f"{match['track']}-{match['window']}-{feature}".lower()] = column
    missing = [repr(column) for column in MULAN_COLUMNS if column not in found]
    _refuse(path, "Marsyas feature columns missing", missing, len(MULAN_COLUMNS), _AS_PUBLISHED)
    return [found[column] for column in MULAN_COLUMNS]


# ------------------------------------------------------------------------ splits and overview


def group_split(dataset: Dataset, fractions: Mapping[str, float], seed: int) -> Dataset:
    """Give every track a split, whole groups together, at random.

    The groups are shuffled and laid end to end; where a group's middle falls decides its part. So
    the fractions are fractions of the tracks, as nearly as the sizes of the groups allow.

    dataset: any; its own splits are replaced.
    fractions: the share of the tracks for each of "train", "validation", "test" (or some of
        them), above 0, together 1.
    seed: decides the order of the groups; the same seed gives the same split, in whatever order
        the tracks stand.
    Returns a new Dataset; `source["split"]` records fractions and seed.
    Raises ValueError for other parts, fractions that do not add up, or a part that gets no track.
    """
    parts = list(fractions)
    shares = np.array([fractions[part] for part in parts], dtype=float)
    if not parts or not set(parts) <= set(SPLITS):
        raise ValueError(f"{dataset.name}: parts are {', '.join(SPLITS)}, not {parts}")
    if not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"{dataset.name}: fractions are above 0 and add up to 1, not {dict(fractions)}"
        )
    sizes = dataset.tracks["group"].value_counts().sort_index()
    sizes = sizes.iloc[np.random.default_rng(seed).permutation(len(sizes))]
    middle = sizes.cumsum().to_numpy() - sizes.to_numpy() / 2  # (groups,)
    ends = shares.cumsum()[:-1] * len(dataset)  # (parts - 1,)
    part_of_group = pd.Series(np.searchsorted(ends, middle, side="right"), index=sizes.index)
    part = dataset.tracks["group"].map(part_of_group)
    counts = np.bincount(part.to_numpy(dtype=int), minlength=len(parts))
    if (counts == 0).any():
        empty = [parts[i] for i in np.flatnonzero(counts == 0)]
        raise ValueError(
            f"{dataset.name}: {', '.join(empty)} gets no track: {len(dataset)} tracks in "
            f"{len(sizes)} groups (the largest has {sizes.max() if len(sizes) else 0}) do not "
            f"divide into {dict(fractions)}; use fewer parts, other fractions or another seed"
        )
    split = pd.Series([parts[i] for i in part], index=dataset.tracks.index, dtype=object)
    source = {**dataset.source, "split": {"fractions": dict(fractions), "seed": seed}}
    return replace(dataset, tracks=dataset.tracks.assign(split=split), source=source)


def describe(datasets: Iterable[Dataset]) -> pd.DataFrame:
    """Size up datasets side by side.

    Returns one row a dataset, indexed by name: tracks, labels (in the vocabulary), labels used (by
    at least one track), labels a track (mean), without label (tracks), groups, with audio
    (tracks), hours (of all tracks, where the dataset has a column duration; else missing), licence.
    """
    rows, index = [], []
    for dataset in datasets:
        targets = dataset.targets()  # (tracks, labels)
        durations = dataset.tracks.get("duration")
        row = {
            "tracks": len(dataset),
            "labels": len(dataset.labels),
            "labels used": int(targets.any(axis=0).sum()),
            "labels a track": targets.sum(axis=1).mean() if len(dataset) else np.nan,
            "without label": int((~targets.any(axis=1)).sum()),
            "groups": dataset.tracks["group"].nunique(),
            "with audio": int(dataset.tracks["audio"].notna().sum()),
            "hours": np.nan if durations is None else durations.sum() / 3600,
            "licence": dataset.source.get("licence", "unknown"),
        }
        rows.append(row)
        index.append(dataset.name)
    return pd.DataFrame(rows, index=pd.Index(index, name="dataset"))


# ------------------------------------------------------------------------------ what all share


def _existing(path: str | Path, what: str) -> Path:
    """`path`, if it is a file; else one clear error."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {what} here")
    return path


def _refuse(
    where: str | Path, what: str, cases: Sequence[str], of: int | None = None, mend: str = ""
) -> None:
    """Raise one error if there are cases: where, of what kind, how many of how many, the first."""
    if cases:
        count = f"{len(cases)}" if of is None else f"{len(cases)} of {of}"
        mend = f"; {mend}" if mend else ""
        raise ValueError(f"{where}: {what}: {count}, first: {', '.join(cases[:3])}{mend}")


def _no_duplicates(where: str | Path, what: str, values: Iterable[str]) -> None:
    """Raise one error if a value occurs twice."""
    values = pd.Series(list(values))
    twice = values[values.duplicated()].unique()
    _refuse(where, f"{what} that occur more than once", [repr(value) for value in twice])


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _read_text(path: Path) -> str:
    """A text file: UTF-8, or Latin-1 where it is not UTF-8 (older dataset files)."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_csv(path: Path) -> pd.DataFrame:
    """A CSV, every field as text without surrounding spaces, indexed by the number of the line."""
    reader = csv.reader(io.StringIO(_read_text(path)), strict=True)
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
    _no_duplicates(path, "columns", header)
    uneven = [
        f"line {line}: {len(rows[line])} fields" for line in lines if len(rows[line]) != len(header)
    ]
    _refuse(path, f"rows with another number of fields than {len(header)}", uneven, len(lines))
    return pd.DataFrame([rows[line] for line in lines], index=lines, columns=header, dtype=object)


def _hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by its path below the root."""
    return {path.relative_to(root).as_posix(): file_hash(path) for path in paths}


def _source(loader: str, files: Mapping[str, str], licence: str, **options: object) -> dict:
    """What Dataset.source records."""
    return {"loader": loader, "options": options, "files": dict(files), "licence": licence}


def _find_audio(
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


def _label_tuples(targets: np.ndarray, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each row of a boolean matrix (tracks, labels)."""
    return [tuple(label for label, on in zip(labels, row, strict=True) if on) for row in targets]


def _track_table(
    track_ids: Sequence[str],
    audio: Sequence[str | None] | None,
    labels: Sequence[tuple[str, ...]],
    split: Sequence[str | None] | None,
    group: Sequence[str],
    **more: Sequence,
) -> pd.DataFrame:
    """The table of tracks that a Dataset holds; None stands for a column of None."""
    nothing = [None] * len(track_ids)
    columns = {
        "audio": nothing if audio is None else audio,
        "labels": labels,
        "split": nothing if split is None else split,
        "group": group,
    }
    index = pd.Index(track_ids, name="track", dtype=object)
    # Series of objects: pandas would else turn None into NaN.
    series = {key: pd.Series(list(v), index=index, dtype=object) for key, v in columns.items()}
    series |= {key: pd.Series(list(v), index=index) for key, v in more.items()}
    return pd.DataFrame(series, index=index)
