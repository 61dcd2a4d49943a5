"""The vocabularies against the datasets' files, the definitions and the antonyms."""

import re
from collections import Counter

import pytest

from mer_utils.data import ANTONYMS, DEFINITIONS, VOCABULARIES, names
from mer_utils.data.vocabulary import AXES, SENTENCES

SIZES = {"mtg-jamendo": 56, "cal500": 18, "emotify": 9, "emotions": 6}
ALL_NAMES = {name for key in VOCABULARIES for name in names(key)}
POLES = [word for pair in ANTONYMS for word in (pair.positive, pair.negative)]


def officials(vocabulary: str) -> list[str]:
    return [label.official for label in VOCABULARIES[vocabulary]]


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
        assert 7 <= len(sentence.split()) <= 12, label
        assert " and " in sentence or " to " in sentence, label
        words = [word[:5] for word in re.findall("[a-z]+", label)]
        said = any(word in sentence.lower() for word in words)
        assert said or label in ("corporate", "soundscape"), label


def test_antonyms_are_six_pairs_an_axis_and_no_word_twice():
    assert AXES == ("valence", "arousal", "tension", "power")
    assert Counter(pair.axis for pair in ANTONYMS) == dict.fromkeys(AXES, 6)
    assert len(set(POLES)) == len(POLES) == 48


@pytest.mark.real_data
def test_official_spellings_of_emotify_and_mulan(emotify_root, mulan_root):
    header = (emotify_root / "data.csv").read_text(encoding="utf-8").splitlines()[0]
    columns = [column.strip() for column in header.split(",")]
    assert columns[2:11] == officials("emotify")
    text = (mulan_root / "emotions.arff").read_text(encoding="utf-8")
    attributes = re.findall(r"^@attribute\s+(\S+)\s+\{0,1\}", text, flags=re.M)
    assert attributes == officials("emotions")


@pytest.mark.real_data
def test_mtg_tags(mtg_root):
    found = set()
    for part in ("train", "validation", "test"):
        (path,) = mtg_root.glob(f"**/split-0/autotagging_moodtheme-{part}.tsv")
        found |= set(re.findall(r"mood/theme---\w+", path.read_text(encoding="utf-8")))
    assert found == set(officials("mtg-jamendo"))
