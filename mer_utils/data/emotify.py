"""Emotify's GEMS-9 labels."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import refuse_lines
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import Dataset, label_tuples, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

_GENRES = ("classical", "rock", "electronic", "pop")  # track ids 1-100, 101-200, ...
_TRACKS = {number: _GENRES[(number - 1) // 100] for number in range(1, 401)}
_OFFICIALS = [label.official for label in VOCABULARIES["emotify"]]


@LOADERS.register("emotify")
def load_emotify(
    root: str | Path,
    rule: Literal["top3"] | float = "top3",
    audio: AudioRule = "require",
) -> Dataset:
    """Read Emotify: what listeners felt, on the Geneva Emotional Music Scale.

    Source: Aljanaki, Wiering, Veltkamp, "Studying emotion induced by music through a crowdsourcing
    game", Information Processing & Management 52(1), 2016. 400 excerpts of up to one minute, 100
    in each of four genres; each listener could choose up to three of nine emotions.
    Licence: none is stated with the files.
    Download: http://www2.projects.science.uu.nl/memotion/emotifydata/

    Folder:
        root/data.csv                                 one row a listener; "track id" 1-400
        root/emotifymusic/<genre>/<1..100>.mp3        a hundred ids a genre, in this order:
                                                      classical, rock, electronic, pop

    rule: "top3": the three emotions with most votes, of equal ones those in earlier columns (the
        rule of arXiv 2410.11522); or a share above 0 to 1: the emotions that at least this share
        of the track's listeners chose (perhaps none).
    Returns "emotify": tracks "emotify-001" ... "emotify-400", split None, each track its own
    group, more columns genre,
    listeners (how many) and share (the share of them for each of the nine labels, in order).
    """
    if rule != "top3" and (isinstance(rule, str) or not 0 < rule <= 1):
        raise ValueError(f'emotify: rule is "top3" or a share above 0 to 1, not {rule!r}')
    root = Path(root).absolute()
    path = root / "data.csv"
    by_track = _read_votes(path).groupby("track id", sort=True)
    counts = by_track[_OFFICIALS].sum().to_numpy()  # (tracks, 9)
    listeners = by_track.size().to_numpy()  # (tracks,)
    shares = counts / listeners[:, None]  # (tracks, 9)
    genres = by_track["genre"].first()
    places = np.argsort(np.argsort(-counts, axis=1, kind="stable"), axis=1)  # 0: most votes
    targets = (places < 3) & (counts > 0) if rule == "top3" else shares >= rule
    labels = names("emotify")
    track_ids = [f"emotify-{number:03d}" for number in genres.index]
    files = [(f"{genre}/{(number - 1) % 100 + 1}.mp3",) for number, genre in genres.items()]
    tracks = track_table(
        track_ids,
        label_tuples(targets, labels),
        group=track_ids,
        audio=reading.find_audio("emotify", root / "emotifymusic", files, audio),
        genre=genres,
        listeners=listeners,
        share=[tuple(row) for row in shares.tolist()],
    )
    source = reading.source_of("load_emotify", root, [path], rule=rule)
    return Dataset("emotify", labels, tracks, source, top_k=3)


def _read_votes(path: Path) -> pd.DataFrame:
    """data.csv: one row a listener; track id and votes as integers."""
    table = reading.read_csv(path, ["track id", "genre", *_OFFICIALS])
    tracks, votes = pd.to_numeric(table["track id"], errors="coerce"), table[_OFFICIALS]
    refuse_lines(path, "track ids other than 1 to 400", table["track id"], ~tracks.isin(_TRACKS))
    genres = tracks.map(_TRACKS)
    refuse_lines(path, "genres of other tracks", table["genre"], table["genre"] != genres)
    strange = ~votes.isin(["0", "1"]).all(axis=1)
    refuse_lines(path, "rows with votes other than 0 and 1", votes.sum(axis=1), strange)
    return votes.astype(int).assign(**{"track id": tracks.astype(int), "genre": genres})
