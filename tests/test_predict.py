"""Own music and words: models to take home, ranks, warnings, the command line."""

import argparse
import html
import json
import os
import random
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import hostile
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import soundfile
import torch
from huggingface_hub import ModelCard

from mer_utils import predict, storage
from mer_utils.batch import cli, profiles, report
from mer_utils.batch.pages import to_html
from mer_utils.data import Dataset, Features
from mer_utils.data.types import track_table
from mer_utils.data.vocabulary import names
from mer_utils.labels import DEFAULT_MODEL, LabelSpace, language_model
from mer_utils.labels.language_model import weights_hash
from mer_utils.predict import Reference, model_card, zero_shot
from mer_utils.projector import Method, Model, TrainingSettings, default_ridge, fit, word_anchors
from mer_utils.projector.networks import RidgeProjector
from mer_utils.sound import AudioError, audio

LABELS = ("sad", "joyful", "ready to fight")
WEIGHTS = "projector.safetensors"


@pytest.fixture(scope="module")
def data() -> dict:
    return profiles.load_labelled(profiles.get("smoke"))


@pytest.fixture(scope="module")
def tracks(data) -> dict[str, pd.DataFrame]:
    """Of each dataset all tracks but those of the official test part."""
    tables = {name: part.dataset.tracks for name, part in data.items()}
    return {name: table[table["split"] != "test"] for name, table in tables.items()}


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A model trained on the small built-in corpus."""
    return predict.release(default_ridge(), data, tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def loaded(folder) -> tuple[Model, Reference]:
    return predict.load_released(folder)


@pytest.fixture(scope="module")
def encoder(loaded):
    return predict.encoder_of(loaded[0])


@pytest.fixture(scope="module")
def song(tracks) -> str:
    return tracks["demo-mtg"]["audio"].iloc[0]


@pytest.fixture(scope="module")
def features(song, encoder) -> Features:
    return predict.song_features(song, encoder)


# --- The model's folder


def test_a_release_is_five_files_that_are_read_back(folder, loaded, data, tracks):
    files = {"config.json", WEIGHTS, "README.md", *zero_shot.REFERENCE_FILES}
    assert {path.name for path in folder.iterdir()} == files
    model, reference = loaded
    counts = {name: len(table) for name, table in tracks.items()}
    assert 24 < sum(counts.values()) < 36, "the built-in corpus has official test parts"
    assert model.about["tracks"] == counts
    assert reference.tracks["dataset"].value_counts().to_dict() == counts
    assert len(reference.tracks) == len(reference.projections) == len(reference.inputs)
    heard, track = data["demo-cal500"].features, tracks["demo-cal500"].index[3]
    expected = model.project(heard).numpy()[heard.track == track].mean(0)
    found = reference.projections[reference.tracks["track"] == track][0]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # half precision
    assert predict.load_released(folder.parent)[0].about == model.about, "the run's folder"
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        predict.load_released(folder / "elsewhere")


def test_a_linear_map_is_kept_in_half_precision_and_its_projections_made_again(
    folder, loaded, data
):
    weight = storage.read_tensors(folder / WEIGHTS)["projector.weight"]
    kept = storage.read_tensors(folder / "reference.safetensors")
    assert (weight.dtype, kept["inputs"].dtype) == (torch.float16, torch.float16)
    assert "projections" not in kept
    whole, _ = fit(default_ridge(), [*data.values()])
    pairs = (whole, predict.reference_set(whole, [*data.values()])), loaded
    scores = [zero_shot.label_scores(m, LABELS, x.projections) for m, x in pairs]
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_a_network_keeps_the_projections_of_its_tracks(data, tmp_path):
    settings = TrainingSettings(epochs=1)
    method = Method("net", "mlp", training=settings, projector_settings={"width": 8})
    folder = predict.release(method, data, tmp_path / "model")
    kept = storage.read_tensors(folder / "reference.safetensors")["projections"]
    found = predict.load_released(folder)[1].projections
    np.testing.assert_array_equal(found, kept.float().numpy())
    weights = storage.read_tensors(folder / WEIGHTS).values()
    assert {x.dtype for x in weights} == {torch.float32}


def test_a_model_to_give_away_does_not_name_its_tracks(data, loaded, tmp_path):
    method = word_anchors("definition", DEFAULT_MODEL)
    folder = predict.release(method, data, tmp_path, anonymous=True, most_tracks=15)
    model, reference = predict.load_released(folder)
    counts = reference.tracks["dataset"].value_counts()
    assert counts.sum() == pytest.approx(15, abs=1)
    assert counts.max() - counts.min() <= 1, "the same share of datasets of one size"
    assert reference.tracks["track"][:3].tolist() == ["1", "2", "3"]
    assert set(reference.tracks["labels"]) == {""}
    assert model.about["sources"].keys() == data.keys()
    written = "".join(path.read_text() for path in folder.glob("*.[jm][sd]*"))
    assert "word anchors" in (folder / "README.md").read_text()
    named = [track for part in data.values() for track in part.dataset.tracks.index]
    assert not [track for track in named if track in written]
    song = reference.projections[0]
    assert predict.nearest_tracks(reference, song)["cosine"].is_monotonic_decreasing


def test_a_model_keeps_what_rates_new_words(data, tmp_path):
    folder = predict.release(word_anchors("definition", DEFAULT_MODEL), data, tmp_path / "model")
    model, _ = predict.load_released(folder)
    forgetful = replace(model.space, known={}, means={}, rater=None)
    new = [space.vectors(["odd"], model.vocabulary) for space in (model.space, forgetful)]
    np.testing.assert_allclose(*new, atol=1e-3)
    for name, change in (("mean", lambda x: None), ("weights", lambda x: x[1:])):
        copy = shutil.copytree(folder, tmp_path / name)
        put_tensor(copy, f"rater.{name}", change)
        with pytest.raises(ValueError, match=r"projector\.safetensors: .*expected"):
            predict.load_released(copy)


def change_config(folder, **changes):
    config = storage.read_json(folder / "config.json") | changes
    kept = {key: value for key, value in config.items() if value is not None}
    storage.write_json(folder / "config.json", kept)


def put(folder, name, content: bytes):
    """Give a model's file another content, and its config hashes that fit."""
    (folder / name).write_bytes(content)
    hashes = {x: storage.file_hash(folder / x) for x in (WEIGHTS, *zero_shot.REFERENCE_FILES)}
    change_config(folder, weights_sha256=hashes.pop(WEIGHTS), beside_sha256=hashes)


def put_tensor(folder, name, change):
    """Give a model another tensor in place of one; None takes it away."""
    file = WEIGHTS if "." in name else "reference.safetensors"
    tensors = storage.read_tensors(folder / file)
    tensors[name] = change(tensors.get(name))
    kept = {k: v.contiguous() for k, v in tensors.items() if v is not None}
    put(folder, file, safetensors.torch.save(kept))


def put_table(folder, change):
    """Give a model another table of its reference set."""
    table = change(pd.read_parquet(folder / "reference.parquet"))
    put(folder, "reference.parquet", table.to_parquet())


@pytest.fixture
def copy(folder, tmp_path):
    """The small model, to be damaged."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / "reference.parquet").write_bytes(b"x"), "reference.parquet"),
        (lambda f: put(f, "reference.parquet", b"PAR1 no table"), "reference.parquet"),
        (lambda f: put_table(f, lambda x: x.drop(columns="dataset")), "reference.parquet"),
        (lambda f: put_table(f, lambda x: x[:1]), "reference.parquet"),
        (lambda f: (f / WEIGHTS).unlink(), WEIGHTS),
        (lambda f: change_config(f, encoder=None), "encoder"),
        (lambda f: change_config(f, format=1), "format"),
        (lambda f: change_config(f, label_model_sha256="0" * 64), "SHA-256 000000000000…"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(copy, damage, named):
    damage(copy)
    with pytest.raises(ValueError, match=named):
        predict.load_released(copy)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("projector.weight", lambda x: x * torch.nan),
        ("projector.weight", lambda x: x[1:]),
        ("projector.weight", lambda x: x.to(torch.int64)),
        ("projector.offset", lambda x: None),
        ("projector.more", lambda x: torch.zeros(3)),
        ("features.mean", lambda x: x[0]),
        ("features.mean", lambda x: x.double() + 1e300),
        ("features.std", lambda x: x * 0),
        ("features.std", lambda x: -x),
        ("labels.known", lambda x: x[:, 1:]),
        ("labels.mean", lambda x: None),
        ("inputs", lambda x: x[1:]),
        ("inputs", lambda x: x[:, 1:]),
        ("far", lambda x: x * torch.nan),
        ("far", lambda x: -x),
    ],
)
def test_tensors_that_are_no_model_are_refused(copy, name, change):
    put_tensor(copy, name, change)
    file = "projector" if "." in name else "reference"
    with pytest.raises(ValueError, match=rf"(?s){file}\.safetensors.*{name.split('.')[-1]}"):
        predict.load_released(copy)


def test_numbers_of_double_precision_are_read_and_what_overflows_gives_no_ranks(copy, features):
    put_tensor(copy, "features.mean", lambda x: x.double())
    put_tensor(copy, "features.std", lambda x: x.double())
    found = predict.predict_song(*predict.load_released(copy), features, zero_shot.FIRST_WORDS)
    assert found.table["rank"].between(0, 100).all()
    for times in (1e-38, 1e30):  # scores of infinity, and of 1e7
        put_tensor(copy, "features.std", lambda x, times=times: x.float() * times)
        with pytest.raises(ValueError, match="scores"):
            predict.predict_song(*predict.load_released(copy), features, zero_shot.FIRST_WORDS)


def test_a_changed_value_in_the_config_is_an_error_or_predicts(copy, features):
    cases = list(hostile.edits(storage.read_json(copy / "config.json")))
    for what, value in random.Random(0).sample(cases, 12):  # make campaign has thousands
        (copy / "config.json").write_text(json.dumps(value))
        try:
            model, reference = predict.load_released(copy)
            predict.encoder_of(model)
            predict.predict_song(model, reference, features, zero_shot.FIRST_WORDS)
        except (ValueError, OSError):
            continue
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")


@pytest.mark.parametrize("value", ["evil.py:x", "./evil.py:x"])
@pytest.mark.parametrize("place", ["projector.kind", "label_space.model", "encoder.name"])
def test_a_model_of_somebody_elses_runs_no_code(copy, monkeypatch, place, value):
    (copy / "evil.py").write_text("open('it ran', 'w')")
    monkeypatch.chdir(copy)
    part, key = place.split(".")
    change_config(copy, **{part: storage.read_json("config.json")[part] | {key: value}})
    with pytest.raises(ValueError, match=r"evil\.py"):
        predict.load_released(copy)
    assert not (copy / "it ran").exists()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "[x](javascript:y)", "*`_$"])
def test_a_card_shows_names_as_they_are(loaded, name):
    about = loaded[0].about | {"labels": {name: ["sad"]}, "tracks": {name: 7}}
    text = model_card.card(replace(loaded[0], about=about))
    assert "<script" not in text
    row = next(line for line in text.splitlines() if "| 7 |" in line)
    shown = to_html(f"{'| a ' * 4}|\n{'| --- ' * 4}|\n{row}\n")
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", shown)]
    assert cells[:3] == [name, "7", "1"]


def test_card_gives_data_licences_and_scores_of_the_left_out(folder, loaded):
    model, written = loaded[0], ModelCard.load(folder / "README.md")
    assert written.data.license == "mit"
    assert f"| demo-emotify | {model.about['tracks']['demo-emotify']} | 9 |" in written.text
    assert "synthetic" in written.text
    row = dict.fromkeys(("low", "high", "chance", "chance_low", "chance_high"), 0.5)
    row |= {"target": "demo-emotify", "metric": "song_roc_auc", "tracks": 12, "labels": 9}
    scores = [("ridge", 0.71), ("other", 0.99)]
    results = pd.DataFrame(scores, columns=["method", "value"]).assign(**row, reference=False)
    text = model_card.card(model, results)
    assert ("0.710" in text, "0.990" in text) == (True, False)
    restricted = replace(model, encoder=model.encoder | {"name": "mert-v1-95m"})
    assert ModelCard(model_card.card(restricted)).data.license == "cc-by-nc-4.0"
    real = model.about | {"labels": {"emotify": ["power"]}, "tracks": {"emotify": 120}}
    card = ModelCard(model_card.card(replace(model, about=real)))
    assert card.data.license == "other"
    assert "synthetic" not in card.text


# --- Words and songs


@pytest.mark.parametrize(
    "word", ["a\x1b[31mred", "a\nb", "x" * 10_000, "nul\0", "\ud800", "\u202eleft"], ids=ascii
)
def test_a_label_is_a_text_that_can_be_shown(word):
    with pytest.raises(ValueError, match="labels"):
        zero_shot.check_words(["sad", word])
    with pytest.raises(ValueError, match="labels"):
        Dataset("d", (word,), track_table(["t"], [(word,)], ["g"]))


def test_the_curve_reaches_the_end_of_the_song(encoder, tmp_path):
    path = tmp_path / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8 * 16_000)
    soundfile.write(path, np.concatenate([np.zeros(12 * 16_000), noise]), 16_000)
    starts = predict.song_features(path, encoder, hop_seconds=9).start
    np.testing.assert_allclose(starts, [0, 9, 11])  # the last ends with the song
    assert predict.song_features(path, encoder).start.tolist() == [0, 9]  # as in training
    soundfile.write(path, np.zeros(18 * 16_000), 16_000)
    assert predict.song_features(path, encoder, hop_seconds=9).start.tolist() == [0, 9]
    for wrong in (0, -3, 1e-9, 1e9, np.nan, np.inf):
        with pytest.raises(ValueError, match="hop_seconds"):
            predict.song_features(path, encoder, hop_seconds=wrong)


def test_a_song_is_listened_to_once_unless_its_kept_features_cannot_be_used(
    features, song, encoder, tmp_path, monkeypatch
):
    (tmp_path / "full").touch()  # no folder: neither read nor written
    with pytest.warns(UserWarning, match="full"):
        found = [predict.song_features(song, encoder, cache=tmp_path / "full")]
    predict.song_features(song, encoder, cache=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"damaged")
    found.append(predict.song_features(song, encoder, cache=tmp_path / "kept"))
    denser = predict.song_features(song, encoder, 3, cache=tmp_path / "kept")
    assert len(denser.start) > len(features.start)
    monkeypatch.setattr(soundfile, "SoundFile", lambda *_: pytest.fail("decoded again"))
    found.append(predict.song_features(song, encoder, cache=tmp_path / "kept"))
    for again in found:
        np.testing.assert_array_equal(again.values, features.values)
        np.testing.assert_array_equal(again.start, features.start)


def test_a_song_of_too_many_windows_is_refused_before_it_is_heard(song, encoder, monkeypatch):
    monkeypatch.setattr(audio, "MOST_WINDOWS", 20)
    monkeypatch.setattr(audio, "stream", lambda *_: pytest.fail("decoded"))
    with pytest.raises(AudioError, match="20"):
        predict.song_features(song, encoder, hop_seconds=0.5)


# --- Ranks


def test_percentile_by_hand():
    reference = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    found = predict.percentile(np.array([[1.5, 1.0], [9.0, 0.0]]), reference)
    np.testing.assert_array_equal(found, [[50, 50], [100, 0]])


def test_a_training_track_is_found_again(loaded, features, tracks):
    model, reference = loaded
    found = predict.predict_song(model, reference, features, LABELS)
    nearest = predict.nearest_tracks(reference, found.projection, 3)
    assert nearest["track"][0] == tracks["demo-mtg"].index[0]
    assert nearest["cosine"][0] > 0.999
    assert found.warnings == ()
    assert found.table["rank"].is_monotonic_decreasing
    assert found.table["rank"].between(0, 100).all()
    assert found.over_time.index.tolist() == features.start.tolist()
    why = predict.why(model, reference, found, count=4)
    assert set(why["training label"]) <= set(model.vocabulary)
    assert why["rank"].is_monotonic_decreasing
    sure = zero_shot.sureness(model, reference, LABELS, found.projection[None])
    among = replace(reference, projections=reference.projections[:9])
    again = predict.predict_song(model, reference, features, LABELS, among=among)
    assert again.sureness == found.sureness == pytest.approx(sure[0]), "whatever it is ranked among"
    assert predict.tags(features).between(0, 1).all()
    bare = replace(features, encoder=features.encoder | {"columns": ["penultimate"]})
    assert predict.tags(bare).empty
    other = replace(features, encoder=features.encoder | {"weights_sha256": "x"})
    with pytest.raises(ValueError, match="weights_sha256"):
        predict.predict_song(model, reference, other, LABELS)


def test_a_label_has_its_score_whatever_else_is_asked_and_its_own_definition(loaded, features):
    def score(labels, definitions=None):
        table = predict.predict_song(*loaded, features, labels, definitions).table
        return table.set_index("label")["score"]["sad"]

    assert score(["sad", " sad "]) == pytest.approx(score(LABELS), abs=1e-6)
    assert abs(score(["sad"]) - score(["sad"], {"sad": "Music that is loud."})) > 0.05
    with pytest.raises(ValueError, match="no labels"):
        score([" "])


def test_songs_among_one_another(loaded, data):
    part = data["demo-emotify"]
    songs = [part.features.only(part.features.track == x) for x in part.dataset.tracks.index]
    among = predict.songs_as_reference(loaded[0], songs)
    tables = [predict.predict_song(*loaded, s, LABELS, among=among).table for s in songs]
    ranks = pd.concat(tables).groupby("label")["rank"]
    np.testing.assert_allclose(ranks.mean(), 50, atol=1e-6)
    np.testing.assert_allclose(ranks.max(), 100 * 11.5 / 12, atol=1e-6)
    with pytest.raises(ValueError, match="2 songs"):
        predict.songs_as_reference(loaded[0], songs[:2])


def test_sureness_by_hand():
    projector = RidgeProjector(1, 3, 3)
    space = SimpleNamespace(vectors=lambda labels, _: np.eye(3, dtype=np.float32)[: len(labels)])
    about = {"labels": {"made-up": ["a", "b", "c"]}}
    model = Model(projector, space, torch.zeros(1, 3), torch.ones(1, 3), {}, about)
    rows = [[1, 1, 1], [2, 2, 2], [3, 4, 3], [4, 3, 4], [9, 0, 9]]
    tracks = np.array(rows, dtype=np.float32)  # of ranks 10 30 10, 30 50 30, 50 90 50, 70, 90 10 90
    reference = Reference(pd.DataFrame(), tracks, tracks, far=9.0)
    own = predict.percentile(tracks, tracks).std(1)
    np.testing.assert_allclose(own, [9.43, 9.43, 18.86, 0, 37.71], atol=0.01)
    found = zero_shot.sureness(model, reference, ("x", "y", "z"), tracks)
    np.testing.assert_allclose(found, [40, 40, 70, 10, 90], atol=1e-4)
    alone = zero_shot.sureness(model, reference, ("x",), tracks)
    np.testing.assert_array_equal(alone, found)  # one word has no order: the training labels


# --- Warnings


def test_strange_songs_and_words_are_warned_of(loaded, features):
    model, reference = loaded
    noise = np.random.default_rng(0).normal(size=features.values.shape).astype(np.float32)
    strange = replace(features, values=9 * noise)
    assert "unlike" in zero_shot.song_warnings(model, reference, strange, sure=99)[0]
    inputs = zero_shot.track_means(model, features)[1]
    limit = zero_shot.neighbour_distance(inputs, reference.inputs)[0] - 1e-4
    found = zero_shot.song_warnings(model, replace(reference, far=limit), features, sure=99)[0]
    above, limit = re.findall(r"\d\.\d+", found)[:2]
    assert above >= limit, "a distance that is just above its limit is shown to be so"
    of = [zero_shot.song_warnings(model, reference, features, sure) for sure in (19, 20)]
    assert [len(found) for found in of] == [1, 0], "the model is unsure of it"
    assert list(predict.label_warnings(model, ["sad", "gluten-free"])) == ["gluten-free"]


def test_words_far_from_the_training_labels_by_hand(monkeypatch):
    degrees = {"a": 0, "b": 10, "c": 30, "d": 60, "x": 100, "y": 110}

    def embedded(labels, **settings):
        angles = np.radians([degrees[label] for label in labels])
        return SimpleNamespace(vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1))

    monkeypatch.setattr(zero_shot, "embed_labels", embedded)
    # to the nearest of another dataset 30, 20, 20, 50: the limit is 47; of the same one it is 29
    for labels, far in (
        ({"1": ["a", "b"], "2": ["c", "d"]}, ["y"]),
        ({"1": [*"abcd"]}, ["x", "y"]),
    ):
        model = Model(None, LabelSpace(), None, None, {}, {"labels": labels})
        assert list(predict.label_warnings(model, ["a", "x", "y"])) == far


def test_neighbour_distance_by_hand():
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=np.float32)
    itself = zero_shot.neighbour_distance(rows, rows, itself=True)
    np.testing.assert_allclose(itself * np.sqrt(2), [3, 2, 3], atol=1e-6)
    other = zero_shot.neighbour_distance(rows[:1], rows)
    np.testing.assert_allclose(other * np.sqrt(2), [2], atol=1e-6)


# --- The command line


@pytest.fixture
def ask(folder, tmp_path, monkeypatch, capsys):
    """The command line on the small model: its exit status, output and errors."""
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")

    def asked(*line, model=("--model", folder)):
        status = cli.main(["predict", *map(str, (*model, *line))])
        return (status, *capsys.readouterr())

    return asked


def test_definitions_are_taken_as_they_stand():
    sentence = "Music that is cold: uncanny # and slow."
    assert cli.definition(f"ready to dance = {sentence}") == ("ready to dance", sentence)
    for wrong in ("eerie", "=Music", "eerie="):
        with pytest.raises(argparse.ArgumentTypeError, match="label=sentence"):
            cli.definition(wrong)


def test_labels_may_be_called_as_columns_are(loaded, features):
    words = ("start", "label", "rank", "score", "song", "warnings", "sureness", "track", "dataset")
    found = predict.predict_song(*loaded, features, words)
    assert all(word in found.as_text(over_time=True) for word in words)
    table = found.as_table(over_time=True)
    assert len(table) == len(words) * len(features.start)
    for word, ranks in table.groupby("label")["rank"]:
        assert ranks.tolist() == found.over_time[word].round(2).tolist()
    assert found.as_table()["score"].tolist() == found.table["score"].round(4).tolist()


def test_command_line(ask, loaded, song, tmp_path):
    table = tmp_path / "out" / "ranks.csv"
    words = ["--labels", "sad, gluten-free", "--csv", table, "--over-time", "--hop", "5"]
    status, shown, warned = ask(song, *words)
    assert status == 0
    assert f"{len(loaded[1].tracks)} tracks" in shown
    assert any(block in shown for block in "▁▂▃▄▅▆▇█")
    assert "'gluten-free'" in warned
    written = pd.read_csv(table)
    assert set(written) == {"start", "label", "rank", "song", "sureness", "warnings"}
    assert set(written["song"]) == {song}
    assert set(written["label"]) == {"sad", "gluten-free"}


def test_the_model_of_the_package_answers_if_none_is_named(
    ask, folder, song, tmp_path, monkeypatch
):
    monkeypatch.setattr(zero_shot, "RELEASED", folder)
    status, shown, _ = ask(song, model=())
    assert status == 0
    assert all(word in shown for word in names("emotify"))
    monkeypatch.setattr(zero_shot, "RELEASED", tmp_path / "released")
    status, _, error = ask(song, model=())
    assert status == 1
    assert str(tmp_path / "released") in error


def test_a_folder_with_all_that_can_be_wrong(ask, song, tmp_path):
    """The one good song is heard; the others are told of; pipes and links to folders are none."""
    music = tmp_path / "music"
    (music / "deep" / "deeper").mkdir(parents=True)
    (music / "deep" / "deeper" / "a\x1b[31m\ngood.FLAC").symlink_to(song)
    (music / "deep" / "loop").symlink_to(music)
    (music / "album.mp3").mkdir()
    (music / "notes.txt").touch()
    os.mkfifo(music / "pipe.wav")
    (music / "itself.wav").symlink_to("itself.wav")
    (music / "gone.mp3").symlink_to("nowhere.mp3")
    (music / "line\nend\x1b.wav").write_bytes(b"RIFF")
    (music / os.fsdecode(b"latin\xe9.wav")).write_bytes(b"RIFF")
    status, shown, told = ask(music)
    assert status == 1
    assert r"/a\x1b[31m\ngood.FLAC: " in shown
    assert "4 of 5 songs" in told
    assert all(x in told for x in ("itself.wav", "gone.mp3", "line\\nend\\x1b", "\\udce9"))
    for number in range(7):
        (music / f"{number}.flac").symlink_to(song)
    status, shown, told = ask(music, "--among", "given")
    assert (status, shown) == (1, ""), "songs are ranked among one another if all are heard"
    assert "gone.mp3" in told
    assert len(predict.find_songs([music, music])) == 12, "each once"
    assert len(predict.find_songs([music], most=1)) == 1
    with pytest.raises(TimeoutError, match="music"):
        predict.find_songs([music], seconds=0)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["SONG", "--among", "given"], "1 songs"),
        (["SONG", "--csv", "ranks.txt"], ".csv"),
        (["SONG", "--csv", "mine.csv"], "mine.csv"),  # a table of something else
        (["SONG", "--csv", "mine.csv/ranks.csv"], "mine.csv"),  # before it listens
        (["SONG", "--labels", "eerie", "--define", "erie=Foo."], "'erie'"),
        (["SONG", "--model", "nowhere"], "nowhere"),
        (["gone.mp3"], "gone.mp3"),
        (["empty"], "empty"),
    ],
)
def test_command_line_refuses(ask, song, tmp_path, monkeypatch, line, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.csv").write_text("path,labels\na.mp3,happy\n")
    status, _, error = ask(*(song if x == "SONG" else x for x in line))
    assert status == 1
    assert named in error
    assert (tmp_path / "mine.csv").read_text().startswith("path,labels")


# --- The model that comes with the package


@pytest.fixture
def released():
    if not (predict.RELEASED / "config.json").is_file():
        pytest.skip("no model in mer_utils/predict/released/: make figures PROFILE=real writes it")
    return predict.RELEASED


def test_the_released_model_is_small_anonymous_and_of_the_installed_words(released):
    files = list(released.iterdir())
    assert {path.name for path in files} == set(report.MODEL)
    assert sum(path.stat().st_size for path in files) < 1e6
    tracks = pd.read_parquet(released / "reference.parquet")
    assert tracks["track"].str.fullmatch(r"\d{1,4}").all()
    assert not tracks["labels"].any()
    assert tuple(tracks["dataset"].unique()) == profiles.get("real").datasets
    config = storage.read_json(released / "config.json")
    assert config["label_model_sha256"] == weights_hash(config["label_space"]["model"])
    for source in config["about"]["sources"].values():
        assert source.keys() <= {"loader", "licence"}


def test_the_released_model_needs_its_language_model_for_new_words_only(
    released, features, monkeypatch
):
    def ranked(words):
        return predict.predict_song(model, reference, features, words).table.set_index("label")

    model, reference = predict.load_released()
    assert ranked(LABELS)["rank"].between(0, 100).all()
    monkeypatch.setattr(language_model, "_remembered", Mock(side_effect=RuntimeError))
    assert not predict.label_warnings(model, zero_shot.FIRST_WORDS)
    assert {*ranked(zero_shot.FIRST_WORDS).index} == {*zero_shot.FIRST_WORDS}
    with pytest.raises(RuntimeError):
        ranked(["like a rainy Sunday"])
