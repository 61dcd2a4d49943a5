"""Emotion-labelled music: a table of tracks, a vocabulary, a loader a dataset; and its features.

Each loader reads the files of a dataset as its authors publish them and gives a `Dataset`; its
docstring has the source, licence, download and layout. What is wrong with a file is one ValueError
or FileNotFoundError that names the file, counts the cases and shows the first.

Conventions: labels are the clean names of `vocabulary`, a track's labels in the order of the
vocabulary. Audio paths are absolute. `audio="require"` (the default) makes missing audio an error,
`audio="skip"` keeps such tracks with the path None, and warns how many they are. `Dataset.source`
records the loader, its options and the SHA-256 of every file it read. Mulan's datasets have no
audio; they bring their features with them.

A dataset of your own is a CSV (`load_folder`), or a loader with one decorator
(`mer_utils.registry`), whose folder is looked for where those of the others are:

    @data.LOADERS.register("mine")
    def load_mine(root, audio="require"):
        tracks = data.track_table(ids, labels, group=artists, audio=paths)
        return data.Dataset("mine", vocabulary, tracks)
"""

from mer_utils.data.audio_emotion_4q import load_audio_emotion_4q
from mer_utils.data.cal500 import load_cal500
from mer_utils.data.emotify import load_emotify
from mer_utils.data.folder import load_folder
from mer_utils.data.mirex_mood import load_mirex_mood
from mer_utils.data.mtg_jamendo import load_mtg_jamendo
from mer_utils.data.mulan import load_mulan
from mer_utils.data.reading import LOADERS
from mer_utils.data.types import (
    Dataset,
    Features,
    Labelled,
    describe,
    pool_tracks,
    restricted,
    select,
    track_table,
    usable_tracks,
    with_rare_labels,
)
from mer_utils.data.vocabulary import ANTONYMS, DEFINITIONS, VOCABULARIES, names
