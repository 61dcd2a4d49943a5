"""The vocabularies against the datasets' files, the definitions and the antonyms."""

import re
from collections import Counter

import pytest

from mer_utils.data import ANTONYMS, DEFINITIONS, VOCABULARIES, names
from mer_utils.data.vocabulary import AXES, SENTENCES

SIZES = {"mtg-jamendo": 56, "cal500": 18, "emotify": 9, "emotions": 6}
ALL_NAMES = {name for key in VOCABULARIES for name in names(key)}
POLES = [word for pair in ANTONYMS for word in (pair.positive, pair.negative)]


def test_names_are_clean_and_unique():
    assert {key: len(set(names(key))) for key in VOCABULARIES} == SIZES
    for name in ALL_NAMES:
        assert re.fullmatch(r"[a-z-]+( [a-z-]+)*( / [a-z-]+)*", name), name
    with pytest.raises(ValueError, match=r"gems.*mtg-jamendo"):
        names("gems")


def test_every_label_and_every_pole_has_one_definition():
    assert set(DEFINITIONS) == ALL_NAMES
    assert set(SENTENCES) == set(POLES) | ALL_NAMES
    assert len(set(SENTENCES.values())) == len(SENTENCES)
    for label, sentence in SENTENCES.items():
        assert re.fullmatch(r"Music [^:.]+: [^:.]+\.", sentence), label
    assert Counter(pair.axis for pair in ANTONYMS) == dict.fromkeys(AXES, 6)
    assert len(set(POLES)) == len(POLES) == 48
