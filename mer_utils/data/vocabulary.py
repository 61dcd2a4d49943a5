"""The emotion vocabularies of the datasets: labels, how datasets spell them, what they mean.

Sources of the labels: MTG-Jamendo mood/theme (Bogdanov et al. 2019, the 56 tags of the official
splits), CAL500 (Turnbull et al. 2008, the 18 emotion words), Emotify (Aljanaki et al. 2016, the
nine factors of the Geneva Emotional Music Scale, Zentner et al. 2008), Mulan's "emotions"
(Trohidis et al. 2008, the six clusters of the Tellegen-Watson-Clark model), 4Q audio emotion (Panda
et al. 2018, all 209 AllMusic moods in its metadata), MIREX-like mood (Panda et al. 2013, its 28).

Conventions: a label's `name` is lower case, spelled correctly, words of one label joined by " / ";
its `official` spelling is the one in the dataset's files, errors included. The order is that of
the dataset's files, or of the alphabet for 4Q, whose files have none. Labels stand in labels.csv,
what they mean and how such music sounds in definitions.csv.
"""

import csv
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path


@dataclass(frozen=True)
class Label:
    """One emotion label of one dataset: clean name and the spelling in the dataset's files."""

    name: str
    official: str


def _rows(file: str) -> list[list[str]]:
    """A CSV beside this module, without its header."""
    with Path(__file__).with_name(file).open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines))[1:]


VOCABULARIES: dict[str, tuple[Label, ...]] = {
    vocabulary: tuple(Label(name, official) for _, name, official in rows)
    for vocabulary, rows in groupby(_rows("labels.csv"), key=itemgetter(0))
}


def names(vocabulary: str) -> tuple[str, ...]:
    """Clean label names of one vocabulary, a key of VOCABULARIES, in order."""
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"no vocabulary {vocabulary!r}; there are {', '.join(VOCABULARIES)}")
    return tuple(label.name for label in VOCABULARIES[vocabulary])


# How music with a label, a word of ANTONYMS or one of musicnn's tags feels to a listener ("film",
# "christmas": what such music conveys), one sentence each; and how it sounds, in words of tempo,
# loudness, mode, instruments and genres. Both were written without looking at any score.
_TEXTS = _rows("definitions.csv")
SENTENCES: dict[str, str] = {word: sentence for word, sentence, _ in _TEXTS}
SOUNDS: dict[str, str] = {word: sound for word, _, sound in _TEXTS}
_LABELS = {name for vocabulary in VOCABULARIES for name in names(vocabulary)}
DEFINITIONS = {word: sentence for word, sentence in SENTENCES.items() if word in _LABELS}


@dataclass(frozen=True)
class Antonym:
    """A pair of opposite words for one axis of affect."""

    positive: str
    negative: str
    axis: str


# Osgood, Suci & Tannenbaum (1957) found evaluation, activity and potency as the three factors of
# word meaning; they stand here as valence, arousal and power. Tension is split from arousal as in
# studies of music (Schimmack & Grob 2000, Eerola & Vuoskoski 2011). Six everyday pairs an axis, no
# word twice, fixed before any score was computed.
_PAIRS = {
    "valence": "happy-sad cheerful-gloomy pleasant-unpleasant positive-negative hopeful-hopeless "
    "bright-dark",
    "arousal": "energetic-calm active-passive fast-slow lively-sleepy loud-quiet exciting-boring",
    "tension": "tense-relaxed anxious-serene agitated-peaceful harsh-gentle "
    "threatening-reassuring uneasy-comfortable",
    "power": "powerful-weak strong-fragile heavy-light hard-soft bold-timid dominant-submissive",
}

ANTONYMS: tuple[Antonym, ...] = tuple(
    Antonym(*pair.split("-"), axis) for axis, pairs in _PAIRS.items() for pair in pairs.split()
)
