"""The vocabularies against the datasets' files, the definitions and the antonyms."""

import re
from collections import Counter

import pytest

from mer_utils.data import ANTONYMS, DEFINITIONS, VOCABULARIES, names
from mer_utils.data.vocabulary import SENTENCES, SOUNDS
from mer_utils.sound.musicnn import TAGS

SIZES = {"mtg-jamendo": 56, "cal500": 18, "emotify": 9, "emotions": 6}
SIZES |= {"audio-emotion-4q": 209, "mirex-mood": 28}
ALL_NAMES = {name for key in VOCABULARIES for name in names(key)}
POLES = {word for pair in ANTONYMS for word in (pair.positive, pair.negative)}


def test_names_are_clean_and_unique():
    assert {key: len(set(names(key))) for key in VOCABULARIES} == SIZES
    for name in ALL_NAMES:
        assert re.fullmatch(r"[a-z-]+( [a-z-]+)*( / [a-z-]+)*", name), name
    with pytest.raises(ValueError, match=r"gems.*mtg-jamendo"):
        names("gems")


def test_every_label_pole_and_tag_has_a_definition_and_a_sound():
    assert set(DEFINITIONS) == ALL_NAMES
    assert set(SENTENCES) == set(SOUNDS) == POLES | ALL_NAMES | {tag.lower() for tag in TAGS}
    for vocabulary in VOCABULARIES:
        assert len({DEFINITIONS[name] for name in names(vocabulary)}) == SIZES[vocabulary]
    for word, sentence in SENTENCES.items():
        begin = "Music " if word in ALL_NAMES | POLES else ""
        assert re.fullmatch(begin + r"[^:.]+: [^:.]+\.", sentence), word
        assert re.fullmatch(r"[A-Z][^:.]+\.", SOUNDS[word]), word
    axes = ("valence", "arousal", "tension", "power")
    assert Counter(pair.axis for pair in ANTONYMS) == dict.fromkeys(axes, 6)
    assert len(POLES) == 2 * len(ANTONYMS), "no word twice"
