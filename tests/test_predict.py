"""Own music and words: models to take home, ranks, warnings, the command line."""

import argparse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from mer_utils import predict, storage
from mer_utils.batch import cli, profiles
from mer_utils.data import Features
from mer_utils.predict import Reference, model_card, zero_shot
from mer_utils.projector import Model, methods
from mer_utils.projector.networks import RidgeProjector

LABELS = ("sad", "joyful", "ready to fight")


@pytest.fixture(scope="module")
def data() -> dict:
    return profiles.load_labelled(profiles.get("smoke"))


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A model trained on the small built-in corpus."""
    method = methods.ridge_grid(["definition"], ["text+antonyms"], [10.0])[0]
    return predict.release(method, data, tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def loaded(folder) -> tuple[Model, Reference]:
    return predict.load_released(folder)


@pytest.fixture(scope="module")
def encoder(loaded):
    return predict.encoder_of(loaded[0])


@pytest.fixture(scope="module")
def song(data) -> str:
    return data["demo-mtg"].dataset.tracks["audio"].iloc[0]


@pytest.fixture(scope="module")
def features(song, encoder) -> Features:
    return predict.song_features(song, encoder)


# --- The model's folder


def test_a_release_is_five_files_that_are_read_back(folder, loaded):
    names = {"config.json", "projector.safetensors", "README.md"}
    names |= {"reference.safetensors", "reference.parquet"}
    assert {path.name for path in folder.iterdir()} == names
    model, reference = loaded
    assert len(reference.tracks) == len(reference.projections) == len(reference.inputs) == 36
    assert model.vocabulary[:2] == ("action", "advertising") or len(model.vocabulary) > 40
    assert model.about["tracks"] == {"demo-mtg": 12, "demo-cal500": 12, "demo-emotify": 12}
    assert set(model.about["fingerprints"]) == set(model.about["tracks"])
    assert predict.released_folder(folder.parent) == folder
    with pytest.raises(FileNotFoundError, match="no model with a reference set"):
        predict.load_released(folder / "elsewhere")


@pytest.mark.parametrize("name", zero_shot.REFERENCE_FILES)
def test_a_reference_set_of_another_model_is_refused(folder, tmp_path, name):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with open(tmp_path / name, "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=f"{name} is not the file that config.json describes"):
        predict.load_released(tmp_path)


def test_a_config_that_lacks_something_is_named(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = storage.read_json(tmp_path / "config.json")
    del config["encoder"]
    storage.write_json(tmp_path / "config.json", config)
    with pytest.raises(ValueError, match=r"config.json lacks encoder; copy it again"):
        predict.load_released(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "kept.safetensors"
    storage.write_tensors(path, {"values": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"kept.safetensors: not readable as safetensors"):
        storage.read_tensors(path)


def test_the_curve_reaches_the_end_of_the_song(encoder, tmp_path):
    path = tmp_path / "song.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8 * 16_000)
    soundfile.write(path, np.concatenate([np.zeros(12 * 16_000), noise]), 16_000)
    found = predict.song_features(path, encoder, hop_seconds=9)
    np.testing.assert_allclose(found.start, [0, 9, 11])  # the last ends with the song
    assert predict.song_features(path, encoder).start.tolist() == [0, 9]  # as in training
    soundfile.write(path, np.zeros(18 * 16_000), 16_000)
    assert predict.song_features(path, encoder, hop_seconds=9).start.tolist() == [0, 9]


def test_definitions_are_taken_as_they_stand():
    sentence = "Music that is cold: uncanny # and slow."
    assert cli.definition(f"ready to dance = {sentence}") == ("ready to dance", sentence)
    for wrong in ("eerie", "=Music", "eerie="):
        with pytest.raises(argparse.ArgumentTypeError, match="is not label=sentence"):
            cli.definition(wrong)


def test_other_language_model_weights_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = storage.read_json(tmp_path / "config.json")
    storage.write_json(tmp_path / "config.json", config | {"label_model_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"of SHA-256 000000000000…, but the one on this machine"):
        predict.load_released(tmp_path)


def test_card_gives_data_licences_and_scores_of_the_left_out(folder, loaded):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: mit\n")
    assert "| demo-emotify | 12 | 9 | composed by this project; MIT |" in text
    assert "None were measured" in text
    assert "synthetic" in text
    row = {"target": "demo-emotify", "metric": "song_roc_auc", "value": 0.71, "low": 0.6}
    row |= {"high": 0.8, "chance": 0.5, "chance_low": 0.45, "chance_high": 0.55, "tracks": 12}
    row |= {"labels": 9, "k": None, "transductive": False, "shuffled": 0.5}
    row |= {"shuffled_low": 0.4, "shuffled_high": 0.6, "reference": False, "method": "one"}
    results = pd.DataFrame([row, {**row, "method": "other", "value": 0.99}])
    text = model_card.card(loaded[0], results, "one")
    assert "0.710" in text
    assert "0.990" not in text
    restricted = replace(loaded[0], encoder=loaded[0].encoder | {"name": "mert-v1-95m"})
    assert "license: cc-by-nc-4.0" in model_card.card(restricted, None, "one")
    real = loaded[0].about | {"labels": {"emotify": ["power"]}, "tracks": {"emotify": 120}}
    text = model_card.card(replace(loaded[0], about=real), None, "one")
    assert "license: other" in text
    assert "synthetic" not in text


def test_reference_is_what_the_model_hears_of_its_tracks(data, loaded):
    model, reference = loaded
    part = data["demo-cal500"]
    rows = part.features.track == part.dataset.tracks.index[3]
    expected = model.project(part.features).numpy()[rows].mean(0)
    np.testing.assert_allclose(reference.projections[12 + 3], expected, atol=2e-3)  # half precision


# --- Ranks


def test_percentile_by_hand():
    reference = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    found = predict.percentile(np.array([[1.5, 1.0], [9.0, 0.0]]), reference)
    np.testing.assert_array_equal(found, [[50, 50], [100, 0]])


def test_a_training_track_is_found_again(loaded, features, data):
    model, reference = loaded
    found = predict.predict_song(model, reference, features, LABELS)
    nearest = predict.nearest_tracks(reference, found.projection, 3)
    assert nearest["track"][0] == data["demo-mtg"].dataset.tracks.index[0]
    assert nearest["cosine"][0] > 0.999
    assert found.warnings == ()
    assert found.table["rank"].is_monotonic_decreasing
    assert found.table["rank"].between(0, 100).all()


def test_a_label_has_its_rank_whatever_else_is_asked(loaded, features):
    together = predict.predict_song(*loaded, features, LABELS).table.set_index("label")
    alone = predict.predict_song(*loaded, features, ["sad", " sad "]).table.set_index("label")
    assert len(alone) == 1
    assert alone["score"]["sad"] == pytest.approx(together["score"]["sad"], abs=1e-6)
    with pytest.raises(ValueError, match="no labels"):
        predict.predict_song(*loaded, features, [" "])


def test_definitions_decide(loaded, features):
    texts = ["Music that is sad and slow.", "Music that is loud and cheerful."]
    found = [
        predict.predict_song(*loaded, features, ["x"], {"x": text}).table["score"][0]
        for text in texts
    ]
    assert abs(found[0] - found[1]) > 0.05
    known = predict.predict_song(*loaded, features, ["sad"]).table["score"][0]
    other = predict.predict_song(*loaded, features, ["sad"], {"sad": texts[1]}).table["score"][0]
    assert known != other


def test_along_the_song(loaded, encoder, song):
    seconds = soundfile.info(song).duration
    features = predict.song_features(song, encoder, hop_seconds=2.0)
    found = predict.predict_song(*loaded, features, LABELS)
    starts = found.over_time["start"].to_numpy()
    last = seconds - encoder.segment_seconds
    expected = np.unique([*np.arange(0, last + 1e-6, 2), last])
    np.testing.assert_allclose(starts, expected, atol=1e-4)
    assert set(found.over_time) == {"start", *LABELS}
    with pytest.raises(ValueError, match="hop_seconds is 0"):
        predict.song_features(song, encoder, hop_seconds=0)


def test_other_words_for_the_same_song_take_no_listening(song, encoder, tmp_path, monkeypatch):
    before = predict.song_features(song, encoder, cache=tmp_path)
    monkeypatch.setattr(soundfile, "SoundFile", lambda *_: pytest.fail("decoded again"))
    again = predict.song_features(song, encoder, cache=tmp_path)
    np.testing.assert_array_equal(before.values, again.values)
    np.testing.assert_array_equal(before.start, again.start)


def test_songs_among_one_another(loaded, data):
    part = data["demo-emotify"]
    songs = [
        replace(
            part.features,
            values=part.features.values[rows],
            track=part.features.track[rows],
            start=part.features.start[rows],
        )
        for rows in (part.features.track == name for name in part.dataset.tracks.index)
    ]
    among = predict.songs_as_reference(loaded[0], songs)
    tables = [predict.predict_song(*loaded, s, LABELS, among=among).table for s in songs]
    ranks = pd.concat(tables).groupby("label")["rank"]
    np.testing.assert_allclose(ranks.mean(), 50, atol=1e-6)
    np.testing.assert_allclose(ranks.max(), 100 * 11.5 / 12, atol=1e-6)
    with pytest.raises(ValueError, match="2 songs cannot be ranked among one another; give 8"):
        predict.songs_as_reference(loaded[0], songs[:2])


def test_features_of_another_encoder_are_refused(loaded, features):
    other = replace(features, encoder=features.encoder | {"weights_sha256": "x"})
    with pytest.raises(ValueError, match="encoder's weights_sha256 is"):
        predict.predict_song(*loaded, other, LABELS)


# --- Warnings and explanations


def test_strange_songs_are_warned_of(loaded, encoder, tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, 12 * 16_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    features = predict.song_features(tmp_path / "noise.wav", encoder)
    found = predict.predict_song(*loaded, features, LABELS)
    assert "sounds unlike the model's training music" in found.warnings[0]


def two_eared(noise: float) -> tuple[Model, Reference]:
    """A model of two blocks that hear the same three labels, and tracks where they nearly agree."""
    projector = RidgeProjector(1, 6, 3)
    projector.weight.copy_(torch.eye(3).repeat(2, 1))
    space = SimpleNamespace(vectors=lambda labels: np.eye(3, dtype=np.float32)[: len(labels)])
    encoder = {"name": "made-up", "layers": [0], "blocks": [3, 3]}
    about = {"labels": {"made-up": ["a", "b", "c"]}}
    model = Model(projector, space, torch.zeros(1, 6), torch.ones(1, 6), encoder, about)
    random = np.random.default_rng(0)
    once = random.normal(size=(50, 3))
    twice = np.concatenate([np.concatenate([once, -once])] * 2, axis=1)
    inputs = (twice + noise * random.normal(size=twice.shape)).astype(np.float32)
    return model, Reference(pd.DataFrame(), inputs[:, :3], inputs, far=9.0)


def test_agreement_of_blocks_by_hand():
    model, reference = two_eared(noise=0)
    deviation = reference.inputs.std(0)[:3]
    first = deviation * [1, 0, -1]
    rows = [[*first, *first], [*first, *-first], [*first, *(deviation * [1, -2, 1])]]
    found = zero_shot.part_agreement(model, reference, np.array(rows, dtype=np.float32))
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-5)


def test_songs_that_are_heard_contradictorily_are_warned_of():
    model, reference = two_eared(noise=0.5)
    found = []
    for other in (1, -1):
        values = np.array([[1.0, 0, -1, other, 0, -other]] * 2, dtype=np.float32)[:, None]
        features = Features(values, np.array(["x", "x"]), np.array([0.0, 3.0]), model.encoder)
        found.append(zero_shot.song_warnings(model, reference, features))
    assert found[0] == []
    assert len(found[1]) == 1
    assert "contradicts itself" in found[1][0]
    whole = replace(model, encoder={**model.encoder, "blocks": [6]})
    assert zero_shot.song_warnings(whole, reference, features) == []


def test_strange_words_are_warned_of(loaded):
    warnings = predict.label_warnings(loaded[0], ["sad", "gluten-free"])
    assert list(warnings) == ["gluten-free"]
    assert "far from all training labels" in warnings["gluten-free"]


def test_neighbour_distance_by_hand():
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=np.float32)
    itself = zero_shot.neighbour_distance(rows, rows, itself=True)
    np.testing.assert_allclose(itself * np.sqrt(2), [3, 2, 3], atol=1e-6)
    other = zero_shot.neighbour_distance(np.zeros((1, 2), np.float32), rows)
    np.testing.assert_allclose(other * np.sqrt(2), [2], atol=1e-6)


def test_why_and_tags(loaded, features):
    found = predict.predict_song(*loaded, features, LABELS)
    why = predict.why(*loaded, found, count=4)
    assert set(why["training label"]) <= set(loaded[0].vocabulary)
    assert len(why) == 4
    tags = predict.tags(features)
    assert len(tags) == 5
    assert tags.between(0, 1).all()
    bare = replace(features, encoder=features.encoder | {"columns": ["penultimate"]})
    assert predict.tags(bare).empty


# --- Files and the command line


def test_find_songs(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.MP3", "a.flac", "deep/c.ogg", "notes.txt"):
        (tmp_path / name).touch()
    found = predict.find_songs([tmp_path, tmp_path / "a.flac"])
    assert sorted(path.name for path in found) == ["a.flac", "b.MP3", "c.ogg"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        predict.find_songs([tmp_path / "x.mp3"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no audio file here"):
        predict.find_songs([tmp_path / "empty"])


def test_command_line(folder, song, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    table = tmp_path / "out" / "ranks.csv"
    options = ["predict", song, str(broken), "--labels", "sad, gluten-free", "--model", str(folder)]
    assert cli.main([*options, "--csv", str(table), "--over-time", "--hop", "5"]) == 1
    shown = capsys.readouterr()
    assert "ranks among 36 tracks of demo-mtg, demo-cal500, demo-emotify" in shown.out
    assert any(block in shown.out for block in "▁▂▃▄▅▆▇█")
    assert "'gluten-free' is far from all training labels" in shown.err
    assert "1 of 2 songs failed" in shown.err
    assert "broken.wav" in shown.err
    written = pd.read_csv(table)
    assert set(written["song"]) == {song}
    assert set(written["label"]) == {"sad", "gluten-free"}
    assert cli.main(["predict", song, "--model", str(folder), "--among", "given"]) == 1
    assert "1 songs cannot be ranked" in capsys.readouterr().err
    copies = [tmp_path / f"{i}.flac" for i in range(8)]
    for copy in copies:
        copy.symlink_to(song)
    many = [*map(str, copies), str(broken), "--model", str(folder), "--among", "given"]
    assert cli.main(["predict", *many]) == 1
    assert "broken.wav" in capsys.readouterr().err
    assert cli.main(["predict", song, "--model", str(folder), "--csv", "ranks.txt"]) == 1
    assert "has to end in .csv" in capsys.readouterr().err
    wrong = ["predict", song, "--model", str(folder), "--labels", "eerie", "--define", "erie=Foo."]
    assert cli.main(wrong) == 1
    assert "--define: 'erie' is not among the labels (eerie)" in capsys.readouterr().err
    assert cli.main(["predict", song, "--model", str(folder), "--labels", " , "]) == 1
    assert "no labels; give at least one" in capsys.readouterr().err
    assert cli.main(["predict", song, "--model", str(tmp_path)]) == 1
    assert "no model with a reference set" in capsys.readouterr().err
