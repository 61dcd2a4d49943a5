"""The 4Q audio emotion dataset with AllMusic's mood words."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path

from mer_utils.data import reading
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import Dataset, track_table
from mer_utils.data.vocabulary import names

_COLUMNS = ("Song", "Artist", "Quadrant", "MoodsStr", "GenresStr")


@LOADERS.register("audio-emotion-4q")
def load_audio_emotion_4q(
    root: str | Path, least: int = 20, audio: AudioRule = "require"
) -> Dataset:
    """Read the 4Q audio emotion dataset with the moods that AllMusic's editors gave.

    Source: Panda, Malheiro, Paiva, "Novel audio features for music emotion recognition", IEEE
    Transactions on Affective Computing, 2018. 900 clips of 30 s, 225 in each quadrant of valence
    and arousal. Licence: none is stated with the files; for research, and the audio may not be
    redistributed. Download: ask at http://mir.dei.uc.pt

    Its quadrants were made from Warriner's norms of the same moods. So no method that uses ratings
    of words may be scored on them, and they are no labels here.

    Folder:
        root/panda_dataset_taffc_metadata.csv       Song, Artist, Quadrant, MoodsStr, GenresStr
        root/panda_dataset_taffc_annotations.csv    Song, Quadrant, which the first has, too
        root/<Q1..Q4>/<Song>.mp3

    least: a mood is a label if at least this many clips of the metadata have it, whichever audio
        is there: 121 of the 209 with the default.
    Returns "audio-emotion-4q": track ids are the Song ids; split None; group = artist, or the clip
    itself where none is named; more columns quadrant ("Q1" to "Q4"), genres (a tuple) and
    rare_labels (a tuple: moods that are no labels).
    """
    root = Path(root).absolute()
    files = [root / f"panda_dataset_taffc_{name}.csv" for name in ("metadata", "annotations")]
    table = reading.read_csv(files[0], _COLUMNS)
    moods = reading.clean_labels(files[0], "audio-emotion-4q", table["MoodsStr"].map(_parts))
    clips = Counter(chain(*moods))
    labels = tuple(name for name in names("audio-emotion-4q") if clips[name] >= least)
    if not labels:
        raise ValueError(f"audio-emotion-4q: no mood has {least!r} clips; choose a lower `least`")
    songs, quadrants = table["Song"], table["Quadrant"]
    candidates = [(f"{place}/{song}.mp3",) for place, song in zip(quadrants, songs, strict=True)]
    tracks = track_table(
        songs,
        [tuple(label for label in labels if label in own) for own in moods],
        group=table["Artist"].where(table["Artist"] != "", songs),
        audio=reading.find_audio("audio-emotion-4q", root, candidates, audio),
        quadrant=quadrants,
        genres=[tuple(_parts(genres)) for genres in table["GenresStr"]],
        rare_labels=[tuple(sorted(own - {*labels})) for own in moods],
    )
    source = reading.source_of("load_audio_emotion_4q", root, files, least=least)
    return Dataset("audio-emotion-4q", labels, tracks, source, top_k=min(5, len(labels)))


def _parts(text: str) -> list[str]:
    """What stands between the commas or semicolons of a text."""
    return [part.strip() for part in re.split("[,;]", text)]
