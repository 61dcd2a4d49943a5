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
import soundfile
import torch
from huggingface_hub import ModelCard

from mer_utils import predict, storage
from mer_utils.batch import cli, profiles, report
from mer_utils.batch.pages import to_html
from mer_utils.data import Features, Labelled
from mer_utils.data import types as data_types
from mer_utils.data.types import official_part
from mer_utils.data.vocabulary import SENTENCES, SOUNDS, names
from mer_utils.labels import language_model
from mer_utils.labels.language_model import weights_hash
from mer_utils.predict import Reference, model_card, zero_shot
from mer_utils.projector import Method, Model, TrainingSettings, default_ridge, fit
from mer_utils.projector.networks import RidgeProjector
from mer_utils.sound import AudioError, audio

LABELS = ("sad", "joyful", "ready to fight")


@pytest.fixture(scope="module")
def data() -> dict:
    return profiles.load_labelled(profiles.get("smoke"))


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
def song(data) -> str:
    return training_tracks(data["demo-mtg"])["audio"].iloc[0]


def training_tracks(part: Labelled) -> pd.DataFrame:
    """All tracks but those of the official test part."""
    return part.dataset.tracks[~official_part(part.dataset, "test")]


@pytest.fixture(scope="module")
def features(song, encoder) -> Features:
    return predict.song_features(song, encoder)


# --- The model's folder


def test_a_release_is_five_files_that_are_read_back(folder, loaded, data):
    names = {"config.json", "projector.safetensors", "README.md"}
    assert {path.name for path in folder.iterdir()} == names | set(zero_shot.REFERENCE_FILES)
    model, reference = loaded
    counts = {name: len(training_tracks(part)) for name, part in data.items()}
    assert 24 < sum(counts.values()) < 36, "the built-in corpus has official test parts"
    assert model.about["tracks"] == counts
    assert reference.tracks["dataset"].value_counts().to_dict() == counts
    assert len(reference.tracks) == len(reference.projections) == len(reference.inputs)
    part = data["demo-cal500"]
    track = training_tracks(part).index[3]
    expected = model.project(part.features).numpy()[part.features.track == track].mean(0)
    found = reference.projections[reference.tracks["track"] == track][0]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # half precision
    in_run, _ = predict.load_released(folder.parent)
    assert in_run.about == model.about
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        predict.load_released(folder / "elsewhere")


def test_a_linear_map_is_kept_in_half_precision_and_its_projections_made_again(folder, data):
    parts = list(data.values())
    whole, _ = fit(default_ridge(), parts)
    before = predict.reference_set(whole, parts)
    weight = storage.read_tensors(folder / "projector.safetensors")["projector.weight"]
    kept = storage.read_tensors(folder / "reference.safetensors")
    assert (weight.dtype, kept["inputs"].dtype) == (torch.float16, torch.float16)
    assert "projections" not in kept
    model, after = predict.load_released(folder)
    assert model.projector.weight.dtype == torch.float32
    pairs = ((whole, before), (model, after))
    scores = [zero_shot.label_scores(m, LABELS, x.projections) for m, x in pairs]
    np.testing.assert_allclose(*scores, atol=2e-3)


def test_a_network_keeps_the_projections_of_its_tracks(data, tmp_path):
    settings = TrainingSettings(epochs=1)
    method = Method("net", "mlp", training=settings, projector_settings={"width": 8})
    folder = predict.release(method, data, tmp_path / "model")
    _, found = predict.load_released(folder)
    kept = storage.read_tensors(folder / "reference.safetensors")["projections"]
    np.testing.assert_array_equal(found.projections, kept.float().numpy())
    weights = storage.read_tensors(folder / "projector.safetensors")
    assert {x.dtype for x in weights.values()} == {torch.float32}


def test_a_model_to_give_away_does_not_name_its_tracks(data, loaded, tmp_path):
    folder = predict.release(default_ridge(), data, tmp_path, anonymous=True, most_tracks=15)
    model, reference = predict.load_released(folder)
    counts = reference.tracks["dataset"].value_counts()
    assert counts.sum() == pytest.approx(15, abs=1)
    assert counts.max() - counts.min() <= 1, "the same share of datasets of one size"
    assert reference.tracks["track"][:3].tolist() == ["1", "2", "3"]
    assert set(reference.tracks["labels"]) == {""}
    assert model.about["sources"].keys() == data.keys()
    written = "".join(path.read_text() for path in folder.glob("*.[jm][sd]*"))
    some = [track for part in data.values() for track in part.dataset.tracks.index]
    assert not [track for track in some if track in written]
    song = loaded[1].projections[0]
    assert predict.nearest_tracks(reference, song)["cosine"].is_monotonic_decreasing


def changed_config(folder, **changes):
    config = storage.read_json(folder / "config.json") | changes
    kept = {key: value for key, value in config.items() if value is not None}
    storage.write_json(folder / "config.json", kept)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: (f / "reference.parquet").write_bytes(b"x"), "reference.parquet"),
        (lambda f: (f / "projector.safetensors").unlink(), "projector.safetensors"),
        (lambda f: changed_config(f, encoder=None), "encoder"),
        (lambda f: changed_config(f, format=1), "format"),
        (lambda f: changed_config(f, label_model_sha256="0" * 64), "SHA-256 000000000000…"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(folder, tmp_path, change, named):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    change(tmp_path)
    with pytest.raises(ValueError, match=named):
        predict.load_released(tmp_path)


def tampered(folder, to, file, **changes):
    """A copy of a model with other tensors in a file and hashes that fit; None takes one away."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    tensors = storage.read_tensors(to / file) | changes
    storage.write_tensors(to / file, {k: v for k, v in tensors.items() if v is not None})
    sign(to)


def sign(folder):
    hashes = {name: storage.file_hash(folder / name) for name in zero_shot.REFERENCE_FILES}
    weights = storage.file_hash(folder / "projector.safetensors")
    changed_config(folder, weights_sha256=weights, beside_sha256=hashes)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("projector.weight", lambda x: x * torch.nan),
        ("projector.weight", lambda x: x / 0),
        ("projector.weight", lambda x: x[1:]),
        ("projector.weight", lambda x: x.to(torch.int64)),
        ("projector.offset", lambda x: None),
        ("projector.more", lambda x: torch.zeros(3)),
        ("features.mean", lambda x: x[0]),
        ("features.std", lambda x: x * 0),
        ("features.std", lambda x: -x),
        ("labels.known", lambda x: x[:, 1:]),
        ("labels.mean", lambda x: None),
        ("inputs", lambda x: x * torch.nan),
        ("inputs", lambda x: x[1:]),
        ("inputs", lambda x: x[:, 1:]),
        ("far", lambda x: torch.tensor(torch.nan)),
    ],
)
def test_tensors_that_are_no_model_are_refused(folder, tmp_path, name, change):
    file = "projector.safetensors" if "." in name else "reference.safetensors"
    there = storage.read_tensors(folder / file).get(name)
    tampered(folder, tmp_path, file, **{name: change(there)})
    with pytest.raises(ValueError, match=rf"(?s){file}.*{name.split('.')[-1]}"):
        predict.load_released(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "a column less", "no parquet"])
def test_a_reference_set_without_its_tracks_is_refused(folder, tmp_path, damage):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "reference.parquet"
    table = pd.read_parquet(path)
    less = {"empty": table[:0], "a column less": table.drop(columns="dataset")}.get(damage)
    path.write_bytes(b"PAR1 no table") if less is None else storage.write_table(path, less)
    sign(tmp_path)
    with pytest.raises(ValueError, match=r"reference\.parquet"):
        predict.load_released(tmp_path)


def test_a_changed_value_in_the_config_is_an_error_or_predicts(folder, tmp_path, features):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    cases = list(hostile.edits(storage.read_json(path)))
    for what, value in random.Random(0).sample(cases, 25):
        path.write_text(json.dumps(value))
        try:
            model, reference = predict.load_released(tmp_path)
            predict.encoder_of(model)
            predict.predict_song(model, reference, features, zero_shot.FIRST_WORDS)
        except (ValueError, OSError):
            continue
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")


@pytest.mark.parametrize("value", ["evil.py:x", "./evil.py:x"])
@pytest.mark.parametrize("place", ["projector.kind", "label_space.model", "encoder.name"])
def test_a_model_of_somebody_elses_runs_no_code(folder, tmp_path, monkeypatch, place, value):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "evil.py").write_text("open('it ran', 'w')")
    monkeypatch.chdir(tmp_path)
    config = storage.read_json("config.json")
    part, key = place.split(".")
    config[part][key] = value
    storage.write_json("config.json", config)
    with pytest.raises(ValueError, match=r"evil\.py"):
        predict.load_released(tmp_path)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "[x](javascript:y)", "*`_$"])
def test_a_card_shows_names_as_they_are(loaded, name):
    about = loaded[0].about | {"labels": {name: ["sad"]}, "tracks": {name: 7}}
    text = model_card.card(replace(loaded[0], about=about), None, "one")
    assert "<script" not in text
    row = next(line for line in text.splitlines() if "| 7 |" in line)
    shown = to_html(f"{'| a ' * 4}|\n{'| --- ' * 4}|\n{row}\n")
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", shown)]
    assert cells[:3] == [name, "7", "1"]


WORDS = ["a\x1b[31mred", "a\nb", "x" * 10_000, "nul\0", "\ud800", "\u202eright to left"]


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_a_label_is_a_text_that_can_be_shown(word):
    tracks = data_types.track_table(["t"], [(word,)], ["g"])
    for make in (
        lambda: zero_shot.check_words(["sad", word]),
        lambda: data_types.Dataset("d", (word,), tracks),
        lambda: data_types.Dataset(word, (), tracks[:0]),
    ):
        with pytest.raises(ValueError, match=r"labels|names"):
            make()


def test_a_songs_name_is_printed_without_what_a_terminal_obeys(loaded, features):
    named = replace(features, track=np.full(len(features), "a\x1b[31m\n\udcff.mp3", dtype=object))
    text = predict.predict_song(*loaded, named, zero_shot.FIRST_WORDS).as_text()
    assert text.startswith(r"a\x1b[31m\n\udcff.mp3: ")


def test_card_gives_data_licences_and_scores_of_the_left_out(folder, loaded):
    model, written = loaded[0], ModelCard.load(folder / "README.md")
    assert written.data.license == "mit"
    assert f"| demo-emotify | {model.about['tracks']['demo-emotify']} | 9 |" in written.text
    assert "synthetic" in written.text
    row = dict.fromkeys(("low", "high", "chance", "chance_low", "chance_high"), 0.5)
    row |= {"target": "demo-emotify", "metric": "song_roc_auc", "tracks": 12, "labels": 9}
    row |= {"reference": False}
    scores = {"one": 0.71, "other": 0.99}
    results = pd.DataFrame([{**row, "method": name, "value": scores[name]} for name in scores])
    text = model_card.card(model, results, "one")
    assert ("0.710" in text, "0.990" in text) == (True, False)
    restricted = replace(model, encoder=model.encoder | {"name": "mert-v1-95m"})
    assert ModelCard(model_card.card(restricted, None, "one")).data.license == "cc-by-nc-4.0"
    real = model.about | {"labels": {"emotify": ["power"]}, "tracks": {"emotify": 120}}
    card = ModelCard(model_card.card(replace(model, about=real), None, "one"))
    assert card.data.license == "other"
    assert "synthetic" not in card.text


def test_numbers_of_double_precision_are_read_and_what_overflows_gives_no_ranks(
    folder, features, tmp_path
):
    file, words = "projector.safetensors", zero_shot.FIRST_WORDS
    tensors = storage.read_tensors(folder / file)
    mean, std = tensors["features.mean"].double(), tensors["features.std"].double()
    tampered(folder, tmp_path / "double", file, **{"features.mean": mean, "features.std": std})
    found = predict.predict_song(*predict.load_released(tmp_path / "double"), features, words)
    assert found.table["rank"].between(0, 100).all()
    tampered(folder, tmp_path / "huge", file, **{"features.mean": mean + 1e300})
    with pytest.raises(ValueError, match=r"features\.mean"):
        predict.load_released(tmp_path / "huge")
    tampered(folder, tmp_path / "tiny", file, **{"features.std": std.float() * 1e-38})
    with pytest.raises(ValueError, match="finite"):
        predict.predict_song(*predict.load_released(tmp_path / "tiny"), features, words)


def test_a_table_of_something_else_is_not_replaced(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("path,labels\na.mp3,happy\n")
    assert cli.main(["predict", "a.wav", "--csv", str(path)]) == 1
    assert "mine.csv" in capsys.readouterr().err
    assert path.read_text().startswith("path,labels")


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "kept.safetensors"
    storage.write_tensors(path, {"values": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"kept\.safetensors"):
        storage.read_tensors(path)


# --- Songs


def test_find_songs(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("b.MP3", "a.flac", "deep/c.ogg", "notes.txt"):
        (tmp_path / name).touch()
    found = predict.find_songs([tmp_path, tmp_path / "a.flac"])
    assert sorted(path.name for path in found) == ["a.flac", "b.MP3", "c.ogg"]
    for wrong in ("x.mp3", "empty"):
        with pytest.raises(FileNotFoundError, match=wrong):
            predict.find_songs([tmp_path / wrong])


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


def test_other_words_for_the_same_song_take_no_listening(song, encoder, tmp_path, monkeypatch):
    before = predict.song_features(song, encoder, cache=tmp_path)
    monkeypatch.setattr(soundfile, "SoundFile", lambda *_: pytest.fail("decoded again"))
    again = predict.song_features(song, encoder, cache=tmp_path)
    np.testing.assert_array_equal(before.values, again.values)
    np.testing.assert_array_equal(before.start, again.start)


def test_a_cache_that_cannot_be_used_stops_nothing(features, song, encoder, tmp_path):
    (tmp_path / "full").touch()  # no folder: neither read nor written
    with pytest.warns(UserWarning, match="full"):
        found = predict.song_features(song, encoder, cache=tmp_path / "full")
    np.testing.assert_array_equal(found.values, features.values)
    predict.song_features(song, encoder, cache=tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(b"damaged")
    found = predict.song_features(song, encoder, cache=tmp_path / "kept")
    np.testing.assert_array_equal(found.values, features.values)
    assert storage.read_tensors(kept)


def test_a_song_of_too_many_windows_is_refused_before_it_is_heard(song, encoder, monkeypatch):
    monkeypatch.setattr(audio, "MOST_WINDOWS", 20)
    monkeypatch.setattr(audio, "stream", lambda *_: pytest.fail("decoded"))
    with pytest.raises(AudioError, match="20"):
        predict.song_features(song, encoder, hop_seconds=0.5)


def test_a_folder_with_all_that_can_be_wrong(folder, song, tmp_path, monkeypatch, capsys):
    """The one good song is heard; the others are told of; pipes and links to folders are none."""
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    music = tmp_path / "music"
    (music / "deep" / "deeper").mkdir(parents=True)
    (music / "deep" / "deeper" / "good.flac").symlink_to(song)
    (music / "deep" / "loop").symlink_to(music)
    (music / "album.mp3").mkdir()
    os.mkfifo(music / "pipe.wav")
    (music / "itself.wav").symlink_to("itself.wav")
    (music / "gone.mp3").symlink_to("nowhere.mp3")
    (music / "line\nend\x1b.wav").write_bytes(b"RIFF")
    (music / os.fsdecode(b"latin\xe9.wav")).write_bytes(b"RIFF")
    assert cli.main(["predict", str(music), "--model", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "good.flac" in shown.out
    assert "4 of 5 songs" in shown.err
    assert all(x in shown.err for x in ("itself.wav", "gone.mp3", "line\\nend\\x1b", "\\udce9"))
    assert predict.find_songs([music], most=1)
    with pytest.raises(TimeoutError, match="music"):
        predict.find_songs([music], seconds=0)


# --- Ranks


def test_percentile_by_hand():
    reference = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    found = predict.percentile(np.array([[1.5, 1.0], [9.0, 0.0]]), reference)
    np.testing.assert_array_equal(found, [[50, 50], [100, 0]])


def test_a_training_track_is_found_again(loaded, features, data):
    model, reference = loaded
    found = predict.predict_song(model, reference, features, LABELS)
    nearest = predict.nearest_tracks(reference, found.projection, 3)
    assert nearest["track"][0] == training_tracks(data["demo-mtg"]).index[0]
    assert nearest["cosine"][0] > 0.999
    assert found.warnings == ()
    assert found.table["rank"].is_monotonic_decreasing
    assert found.table["rank"].between(0, 100).all()
    assert found.over_time.index.tolist() == features.start.tolist()
    why = predict.why(model, reference, found, count=4)
    assert set(why["training label"]) <= set(model.vocabulary)
    assert why["rank"].is_monotonic_decreasing
    assert predict.tags(features).between(0, 1).all()
    bare = replace(features, encoder=features.encoder | {"columns": ["penultimate"]})
    assert predict.tags(bare).empty
    other = replace(features, encoder=features.encoder | {"weights_sha256": "x"})
    with pytest.raises(ValueError, match="weights_sha256"):
        predict.predict_song(model, reference, other, LABELS)


def test_a_label_has_its_rank_whatever_else_is_asked_and_its_own_definition(loaded, features):
    def score(labels, definitions=None):
        table = predict.predict_song(*loaded, features, labels, definitions).table
        return table.set_index("label")["score"]["sad"]

    alone = score(["sad", " sad "])
    assert alone == pytest.approx(score(LABELS), abs=1e-6)
    assert abs(alone - score(["sad"], {"sad": "Music that is loud and cheerful."})) > 0.05
    with pytest.raises(ValueError, match="no labels"):
        score([" "])


def test_words_for_a_model_whose_labels_are_put_as_descriptions(loaded):
    model = replace(loaded[0], space=replace(loaded[0].space, style="description"))
    asked = zero_shot.with_definitions(model, ["wry", "rock", "doomy"], {"wry": "Dry and slow."})
    assert asked.space.definitions == {
        "wry": "Dry and slow.",
        "rock": f"{SENTENCES['rock']} {SOUNDS['rock']}",
        "doomy": "Music that is doomy.",
    }


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


# --- Warnings


def test_strange_songs_and_words_are_warned_of(loaded, features):
    model, reference = loaded
    noise = np.random.default_rng(0).normal(size=features.values.shape).astype(np.float32)
    strange = replace(features, values=9 * noise)
    assert "unlike" in zero_shot.song_warnings(model, reference, strange, sure=99)[0]
    inputs = zero_shot.track_means(model, features, np.zeros(len(features.track), int))[1]
    limit = zero_shot.neighbour_distance(inputs, reference.inputs)[0] - 1e-4
    found = zero_shot.song_warnings(model, replace(reference, far=limit), features, sure=99)[0]
    above, limit = re.findall(r"\d\.\d+", found)[:2]
    assert above >= limit, "a distance that is just above its limit is shown to be so"
    assert list(predict.label_warnings(model, ["sad", "gluten-free"])) == ["gluten-free"]


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


def test_songs_of_which_the_model_is_unsure_are_warned_of(loaded, features):
    model, reference = loaded
    of = [zero_shot.song_warnings(model, reference, features, sure) for sure in (0, 100)]
    assert [len(found) for found in of] == [1, 0]
    found = predict.predict_song(model, reference, features, LABELS)
    expected = zero_shot.sureness(model, reference, LABELS, found.projection[None])
    assert found.sureness == pytest.approx(expected[0])
    among = replace(reference, projections=reference.projections[:9])
    again = predict.predict_song(model, reference, features, LABELS, among=among)
    assert again.sureness == found.sureness, "whatever the song is ranked among"


def test_neighbour_distance_by_hand():
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=np.float32)
    itself = zero_shot.neighbour_distance(rows, rows, itself=True)
    np.testing.assert_allclose(itself * np.sqrt(2), [3, 2, 3], atol=1e-6)
    other = zero_shot.neighbour_distance(rows[:1], rows)
    np.testing.assert_allclose(other * np.sqrt(2), [2], atol=1e-6)


# --- The command line


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
        assert ranks.tolist() == found.over_time[word].tolist()


def test_command_line(folder, loaded, song, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    broken, table = tmp_path / "broken.wav", tmp_path / "out" / "ranks.csv"
    broken.write_bytes(b"RIFF")
    words = ["--labels", "sad, gluten-free", "--csv", str(table), "--over-time", "--hop", "5"]
    assert cli.main(["predict", song, str(broken), "--model", str(folder), *words]) == 1
    shown = capsys.readouterr()
    assert f"{len(loaded[1].tracks)} tracks" in shown.out
    assert any(block in shown.out for block in "▁▂▃▄▅▆▇█")
    assert all(x in shown.err for x in ("'gluten-free'", "broken.wav"))
    written = pd.read_csv(table)
    assert set(written) == {"start", "label", "rank", "song", "sureness", "warnings"}
    assert set(written["song"]) == {song}
    assert set(written["label"]) == {"sad", "gluten-free"}


def test_the_model_of_the_package_answers_if_none_is_named(
    folder, song, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(zero_shot, "RELEASED", folder)
    assert cli.main(["predict", song]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in names("emotify"))
    monkeypatch.setattr(zero_shot, "RELEASED", tmp_path / "released")
    assert cli.main(["predict", song]) == 1
    assert str(tmp_path / "released") in capsys.readouterr().err


def test_command_line_ranks_songs_among_one_another_only_if_all_are_heard(
    folder, song, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    for i in range(8):
        (tmp_path / f"{i}.flac").symlink_to(song)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    assert cli.main(["predict", str(tmp_path), "--model", str(folder), "--among", "given"]) == 1
    assert "broken.wav" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--among", "given"], "1 songs"),
        (["--csv", "ranks.txt"], ".csv"),
        (["--labels", "eerie", "--define", "erie=Foo."], "'erie'"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_command_line_refuses(folder, song, capsys, options, named):
    assert cli.main(["predict", song, "--model", str(folder), *options]) == 1
    assert named in capsys.readouterr().err


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
    allowed = {"loader", "licence"}
    assert all(source.keys() <= allowed for source in config["about"]["sources"].values())


@pytest.mark.slow  # it loads the language model
def test_the_released_model_answers(released, features):
    found = predict.predict_song(*predict.load_released(), features, LABELS)
    assert found.table["rank"].between(0, 100).all()
    assert sorted(found.table["label"]) == sorted(LABELS)


def test_the_released_model_ranks_its_first_words_without_the_language_model(
    released, features, monkeypatch
):
    monkeypatch.setattr(language_model, "_remembered", Mock(side_effect=RuntimeError))
    model, reference = predict.load_released()
    words = zero_shot.FIRST_WORDS
    assert not predict.label_warnings(model, words)
    found = predict.predict_song(model, reference, features, words)
    assert sorted(found.table["label"]) == sorted(words)
    with pytest.raises(RuntimeError):
        predict.predict_song(model, reference, features, ["like a rainy Sunday"])
