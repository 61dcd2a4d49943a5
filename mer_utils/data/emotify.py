"""Emotify's GEMS-9 labels."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mer_utils.data.reading import (
    AS_PUBLISHED,
    AudioRule,
    existing,
    file_hashes,
    find_audio,
    read_csv,
    refuse,
    source_of,
)
from mer_utils.data.types import Dataset, label_tuples, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

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
    audio: "require" or "skip"; see `mer_utils.data`.
    audio_root: the folder that holds the genres, if it is not root/emotifymusic.
    Returns "emotify": tracks "emotify-001" ... "emotify-400", split None, more columns genre,
    listeners (how many) and share (the share of them for each of the nine labels, in order).
    Raises ValueError or FileNotFoundError, naming the file.
    """
    share_wanted = _emotify_rule(rule)
    if group not in ("track", "genre"):
        raise ValueError(f'emotify: group is "track" or "genre", not {group!r}')
    root = Path(root).absolute()
    path = existing(root / "data.csv", "Emotify's annotations")
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
    tracks = track_table(
        track_ids,
        find_audio(
            "emotify",
            root / "emotifymusic" if audio_root is None else Path(audio_root).absolute(),
            [
                (f"{genre}/{(number - 1) % 100 + 1}.mp3",)
                for genre, number in zip(genres, ids, strict=True)
            ],
            audio,
        ),
        label_tuples(targets, labels),
        None,
        track_ids if group == "track" else genres,
        genre=genres,
        listeners=listeners,
        share=[tuple(row) for row in shares.tolist()],
    )
    source = source_of(
        "load_emotify", file_hashes(root, [path]), "none stated", rule=rule, group=group
    )
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
    table = read_csv(path)
    officials = [label.official for label in VOCABULARIES["emotify"]]
    wanted = ["track id", "genre", *officials]
    missing = [repr(column) for column in wanted if column not in table.columns]
    refuse(path, "columns missing", missing, len(wanted), AS_PUBLISHED)
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
    refuse(path, "unreadable rows", problems, len(table), AS_PUBLISHED)
    return pd.DataFrame(rows, columns=wanted)
