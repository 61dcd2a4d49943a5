"""CAL500's emotion words."""

from pathlib import Path

import pandas as pd

from mer_utils.data import reading
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import Dataset, track_table
from mer_utils.data.vocabulary import names


@LOADERS.register("cal500")
def load_cal500(root: str | Path, audio: AudioRule = "require") -> Dataset:
    """Read CAL500 with its 18 emotion words.

    Source: Turnbull, Barrington, Torres, Lanckriet, "Semantic Annotation and Retrieval of Music
    and Sound Effects", IEEE TASLP 16(2), 2008. 502 songs of as many artists, each described by at
    least three listeners with 174 words, of which 18 are emotions (their NOT- twins are no labels).
    A word is a label of a song if at least 80 % of its listeners, and at least two, chose it.
    Licence: none is stated with the files; the songs are commercial recordings.
    Download: http://calab1.ucsd.edu/~datasets/cal500/

    Folder:
        root/CAL500_noAudioFeatures/songNames.txt         one song a line, "artist-title"
        root/CAL500_noAudioFeatures/vocab.txt             one word a line
        root/CAL500_noAudioFeatures/hardAnnotations.txt   songs x words, comma-separated, 0 or 1
        root/CAL500_32kps/<song>.mp3                      known copies lack a few of the songs:
                                                          audio="skip" goes on without them

    Returns "cal500": track ids are the song names; split None; group = artist (the song's name up
    to the first hyphen).
    """
    root = Path(root).absolute()
    folder = root / "CAL500_noAudioFeatures"
    files = [folder / f"{name}.txt" for name in ("songNames", "vocab", "hardAnnotations")]
    songs, words = reading.read_list(files[0]), reading.read_list(files[1])
    votes = reading.numbers(files[2], reading.read_text(files[2]))  # (songs, words)
    if votes.shape != (len(songs), len(words)):
        wanted = f"songNames.txt and vocab.txt have {len(songs), len(words)}"
        raise ValueError(f"{files[2]}: {votes.shape} songs and words, but {wanted}")
    table = pd.DataFrame(votes, columns=words)
    candidates = [(f"{song}.mp3",) for song in songs]
    tracks = track_table(
        songs,
        reading.labels_of_columns(f"{files[2]} and vocab.txt", "cal500", table),
        group=[song.split("-", 1)[0] for song in songs],
        audio=reading.find_audio("cal500", root / "CAL500_32kps", candidates, audio),
    )
    source = reading.source_of("load_cal500", root, files, annotations="hard")
    return Dataset("cal500", names("cal500"), tracks, source, top_k=4)
