"""The vocabularies against the datasets' files, the definitions and the antonyms."""

import re
from collections import Counter

import pytest

from mer_utils import data
from mer_utils.data import ANTONYMS, AXES, DEFINITIONS, POLE_DEFINITIONS, VOCABULARIES, names

SIZES = {"mtg-jamendo": 56, "cal500": 18, "emotify": 9, "emotions": 6}
ALL_NAMES = {name for key in VOCABULARIES for name in names(key)}
POLES = [word for pair in ANTONYMS for word in (pair.positive, pair.negative)]


def test_sizes():
    assert {key: len(labels) for key, labels in VOCABULARIES.items()} == SIZES
    assert sum(SIZES.values()) == 89


@pytest.mark.parametrize("key", SIZES)
def test_names_are_clean_and_unique(key):
    found = names(key)
    assert len(set(found)) == len(found)
    for name in found:
        assert re.fullmatch(r"[a-z-]+( [a-z-]+)*( / [a-z-]+)*", name), name


def test_unknown_vocabulary_is_named():
    with pytest.raises(ValueError, match="no vocabulary 'gems'; there are mtg-jamendo"):
        names("gems")


def test_every_label_has_a_definition_and_nothing_else_has():
    assert set(DEFINITIONS) == ALL_NAMES


@pytest.mark.parametrize("sentences", [DEFINITIONS, POLE_DEFINITIONS], ids=["labels", "poles"])
def test_definitions_are_one_sentence_of_one_form(sentences):
    for label, sentence in sentences.items():
        assert re.fullmatch(r"Music [^:.]+: [^:.]+\.", sentence), label
        assert 7 <= len(sentence.split()) <= 12, label
        assert " and " in sentence or " to " in sentence, label
    assert len(set(sentences.values())) == len(sentences)


@pytest.mark.parametrize("label", sorted(ALL_NAMES))
def test_a_definition_names_its_label_by_a_word_of_it(label):
    words = [word[:5] for word in re.findall("[a-z]+", label)]
    sentence = DEFINITIONS[label].lower()
    assert any(word in sentence for word in words) or label in ("corporate", "soundscape")


def test_antonyms_are_six_pairs_an_axis_and_no_word_twice():
    assert Counter(pair.axis for pair in ANTONYMS) == dict.fromkeys(AXES, 6)
    assert len(set(POLES)) == len(POLES) == 48


def test_every_pole_has_one_definition():
    assert not set(DEFINITIONS) & set(POLE_DEFINITIONS)
    assert set(POLES) - set(DEFINITIONS) == set(POLE_DEFINITIONS)


@pytest.mark.real_data
def test_emotify_columns(emotify_root):
    header = (emotify_root / "data.csv").read_text(encoding="utf-8").splitlines()[0]
    columns = [column.strip() for column in header.split(",")]
    official = [label.official for label in VOCABULARIES["emotify"]]
    assert columns[2 : 2 + len(official)] == official


@pytest.mark.real_data
def test_mulan_attributes(mulan_root):
    text = (mulan_root / "emotions.arff").read_text(encoding="utf-8")
    attributes = re.findall(r"^@attribute\s+(\S+)\s+\{0,1\}", text, flags=re.M)
    assert attributes == [label.official for label in VOCABULARIES["emotions"]]


@pytest.mark.real_data
def test_mtg_tags(mtg_root):
    found = set()
    for part in ("train", "validation", "test"):
        (path,) = mtg_root.glob(f"**/split-0/autotagging_moodtheme-{part}.tsv")
        found |= set(re.findall(r"mood/theme---\w+", path.read_text(encoding="utf-8")))
    assert found == {label.official for label in data.VOCABULARIES["mtg-jamendo"]}
