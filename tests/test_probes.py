"""Probes of layers: R² by hand, groups kept whole, intervals, poolings of frames."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from moods import MOODS, mood_dataset
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mer_utils import evaluation, metrics
from mer_utils.data import pool_tracks
from mer_utils.evaluation import probes
from mer_utils.sound import listening, musicnn

FEELS = ["pleasant", "lively"]


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch):
    monkeypatch.setattr(probes, "SHUFFLES", 20)


@pytest.fixture(scope="module")
def made():
    """Layers and datasets of one and two: layer 1 knows what is pleasant, not what is lively."""
    layers, datasets = {}, {}
    for name in ("one", "two"):
        part = mood_dataset(name)
        songs = pool_tracks(part.features, part.dataset)[:, 0]  # (tracks, 8)
        layers[name] = {1: songs[:, [2, 0, 3]], "noise": songs[:, 3:]}
        tracks = part.dataset.tracks.copy()
        tracks[FEELS] = [MOODS[name][labels[0]] for labels in tracks["labels"]]
        labels = (*part.dataset.labels, "unused")
        datasets[name] = replace(part.dataset, tracks=tracks, labels=labels)
    return layers, datasets


def test_r_squared_by_hand():
    points = np.array([[0.0], [1.0], [2.0], [5.0]])
    baseline = np.full((4, 1), 2.0)  # squared errors 4, 1, 0, 9: 14
    predicted = np.array([[1.0], [1.0], [2.0], [3.0]])  # squared errors 1, 0, 0, 4: 5
    assert probes.r_squared(predicted, baseline, points) == pytest.approx(1 - 5 / 14)
    weights = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 0, 0, 4]])
    found = probes.r_squared(predicted, baseline, points, weights)
    assert found[:, 0] == pytest.approx([1 - 5 / 14, 1 - 2 / 8, 1 - 4 / 9])


def test_the_probe_finds_what_is_there_and_only_that(made):
    table = probes.probe(*made, FEELS, resamples=200)
    assert table["layer"].tolist() == [1, 1, "noise", "noise"]
    assert table["target"].tolist() == FEELS * 2
    knows, others = table.iloc[0], table.iloc[1:]
    assert knows["value"] > max(0.75, knows["chance_high"] + 0.5)
    assert (others["value"] < 0.1).all()
    assert (others["low"] < others["chance_high"]).all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["chance"].between(table["chance_low"], 0.05).all()
    assert (table["groups"] == 40).all()  # the same names in another dataset are other artists


def test_the_value_is_that_of_models_that_did_not_see_the_artist(made, monkeypatch):
    """The same by scikit-learn's own cross-validation, with the penalty fixed."""
    monkeypatch.setattr(probes, "PENALTIES", [30.0])
    ((layers, *_), (dataset, *_)) = (list(each.values()) for each in made)
    truth, artists = dataset.tracks[FEELS].to_numpy(), dataset.tracks["group"].factorize()[0]
    folds = GroupKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), Ridge(30.0))
    predicted = cross_val_predict(model, layers[1], truth, groups=artists, cv=folds)
    errors = nothing = 0.0
    for train, test in folds.split(truth, groups=artists):
        errors += ((truth[test] - predicted[test]) ** 2).sum(0)
        nothing += ((truth[test] - truth[train].mean(0)) ** 2).sum(0)
    table = probes.probe({"one": {1: layers[1]}}, {"one": dataset}, FEELS, resamples=2)
    np.testing.assert_allclose(table["value"], 1 - errors / nothing, rtol=1e-6)


def test_a_unit_that_was_silent_in_training_does_not_outshout_the_others(made):
    """One that fires in one track only, next to a layer that knows what is pleasant."""
    layers, datasets = made
    silent = np.full((60, 1), 0.5) + 1e-6 * np.random.default_rng(0).normal(size=(60, 1))
    silent[17] = 3.0  # millions of deviations away, where the training part has not seen it
    heard = {"one": {1: np.hstack([layers["one"][1], silent])}}
    table = probes.probe(heard, {"one": datasets["one"]}, FEELS[:1], resamples=2)
    assert table["value"].item() > 0.7


@pytest.mark.parametrize("sign", [1, -1])
def test_held_out_asks_whether_it_holds_elsewhere(made, sign):
    """A feature that means the opposite in the other dataset, or the same."""
    layers = {"one": {1: made[0]["one"][1]}, "two": {1: sign * made[0]["two"][1]}}
    table = probes.probe(layers, made[1], FEELS[:1], held_out=True, resamples=2)
    assert (table["value"].item() > 0.75) if sign == 1 else (table["value"].item() < -1)


def test_errors_name_what_does_not_fit(made):
    layers, datasets = made
    with pytest.raises(ValueError, match="layer 3"):
        probes.probe({name: {3: np.zeros((61, 2))} for name in datasets}, datasets, FEELS)
    same = replace(datasets["one"], tracks=datasets["one"].tracks.assign(lively=0.5))
    with pytest.raises(ValueError, match="lively"):
        probes.probe(layers, {"one": same}, FEELS)


def test_layers_are_compared_with_a_reference(made):
    layers, datasets = made
    lost = {name: {1: own["noise"]} for name, own in layers.items()}
    mean, less = (
        probes.probe(form, datasets, FEELS[:1], reference=layers, resamples=50).iloc[0]
        for form in (layers, lost)
    )
    assert (mean[["difference", "difference_low", "difference_high"]] == 0).all()
    assert less["difference_high"] < -0.5
    assert less["difference"] == pytest.approx(less["value"] - mean["value"])


def test_without_points_labels_are_read(made):
    layers, datasets = made
    table = probes.probe(layers, {"one": datasets["one"]}, resamples=50)
    assert table[["layer", "target"]].to_numpy().tolist() == [[1, "one"], ["noise", "one"]]
    assert table["labels"].eq(4).all()
    assert table["labels_left_out"].eq("unused").all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["chance"].between(0.45, 0.55).all()
    targets, artists = datasets["one"].targets()[:, :4], datasets["one"].tracks["group"]
    scores = evaluation.supervised_reference(layers["one"][1], targets, artists)
    assert table["value"][0] == pytest.approx(metrics.roc_auc(scores, targets).mean())
    assert table["value"][0] > table["value"][1] + 0.15  # the noise


# --- What there is to listen to -------------------------------------------------------------------


def test_pool_frames(tmp_path):
    """Of two noises, 3.5 s (three segments of 1 s) and 1.2 s, the middle segment."""
    random = np.random.default_rng(0)
    waveforms = [random.normal(0, 0.1, int(1000 * s)).astype(np.float32) for s in (3.5, 1.2)]
    paths = [str(tmp_path / f"{i}.wav") for i in range(2)]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 1000, subtype="FLOAT")
    encoder = SimpleNamespace(name="cut", sample_rate=1000, segment_seconds=1.0, layers=(1, 2))
    encoder.frames = lambda x: np.stack([x, 2 * x]).reshape(2, 100, 10)  # (layers, frames, dim)
    dataset = mood_dataset("one", tracks=2).dataset
    dataset = replace(dataset, tracks=dataset.tracks.assign(audio=paths))
    pooled = listening.pool_frames(encoder, dataset)
    middles = np.stack([waveforms[0][1000:2000], waveforms[1][:1000]]).reshape(2, 100, 10)
    expected = middles.mean(1), middles[:, 0], middles[:, 50]
    for way, frame in zip(("mean", "first frame", "middle frame"), expected, strict=True):
        assert list(pooled[way]) == [1, 2]
        np.testing.assert_allclose(pooled[way][2], 2 * frame, rtol=1e-5, atol=1e-7)


def test_split_layers_of_musicnn():
    values = np.random.default_rng(0).uniform(0.01, 1, (4, 1, 1756)).astype(np.float32)
    parts = listening.split_layers(values, ("all",))
    widths = {name: part.shape[1] for name, part in parts.items()}
    assert list(widths.items()) == [("pooled", 1506), ("penultimate", 200), ("tags", 50)]
    np.testing.assert_allclose(parts["tags"], np.log(values[:, 0, :50]), rtol=1e-6)
    np.testing.assert_array_equal(parts["pooled"], values[:, 0, musicnn.PARTS["pooled"]])


def test_layers_of_some_tracks():
    part = mood_dataset("one")
    stored = replace(part.features, encoder={"name": "test", "layers": [3]})
    assert listening.some_tracks(part.dataset, 60) is part.dataset
    few = listening.some_tracks(part.dataset, 10)
    rows = part.dataset.tracks.index.get_indexer(few.tracks.index)
    assert len(rows) == 10
    assert (np.diff(rows) > 0).all()
    assert few.source != part.dataset.source  # their features get a store of their own
    means = part.features.values.reshape(60, 2, 8).mean(1)[rows]  # (tracks, dim)
    np.testing.assert_allclose(listening.track_layers(stored, few)[3], means, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="one-0"):
        listening.track_layers(stored.only(stored.track != "one-0"), part.dataset)
