"""Probes of layers: R² by hand, groups kept whole, intervals, poolings of frames."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mer_utils import evaluation, metrics
from mer_utils.data import Dataset, Features
from mer_utils.evaluation import probes
from mer_utils.sound import listening, musicnn

TRACKS, GROUP_SIZE = 60, 3
GROUPS = [f"artist {i // GROUP_SIZE}" for i in range(TRACKS)]


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch):
    monkeypatch.setattr(probes, "SHUFFLES", 20)


@pytest.fixture(scope="module")
def points():
    values = np.random.default_rng(0).uniform(-1, 1, (TRACKS, 2))
    return pd.DataFrame(values, columns=["valence", "arousal"])


@pytest.fixture(scope="module")
def layers(points):
    """A layer that knows valence but not arousal, and one that knows nothing."""
    random = np.random.default_rng(1)
    knows = random.normal(size=(TRACKS, 5))
    knows[:, 2] = 3 * points["valence"] + 0.1 * random.normal(size=TRACKS) + 7
    return {1: knows, "noise": random.normal(size=(TRACKS, 5))}


def dataset_of(points, groups=GROUPS) -> Dataset:
    """Happy where the first point is high, calm where it is low; nobody has the third label."""
    index = pd.Index([f"t{i}" for i in range(len(points))], name="track")
    tracks = points.set_index(index).assign(audio=None, split=None, group=list(groups))
    tracks["labels"] = [("happy",) * (x > 0.2) + ("calm",) * (x < -0.2) for x in points.iloc[:, 0]]
    return Dataset("made", ("happy", "calm", "unused"), tracks)


def halves(points, layers) -> tuple[dict, dict]:
    """Two datasets that use the same names of groups, and their layers."""
    rows = {"a": slice(0, 30), "b": slice(30, None)}
    datasets = {name: dataset_of(points[part], GROUPS[:30]) for name, part in rows.items()}
    return datasets, {
        name: {layer: values[part] for layer, values in layers.items()}
        for name, part in rows.items()
    }


def probe(layers, points, groups=GROUPS):
    """Of one dataset, all of its points."""
    dataset = dataset_of(points, groups)
    return probes.probe({"made": layers}, {"made": dataset}, list(points), resamples=200)


def test_r_squared_by_hand():
    points = np.array([[0.0], [1.0], [2.0], [5.0]])
    baseline = np.full((4, 1), 2.0)  # squared errors 4, 1, 0, 9: 14
    predicted = np.array([[1.0], [1.0], [2.0], [3.0]])  # squared errors 1, 0, 0, 4: 5
    assert probes.r_squared(predicted, baseline, points) == pytest.approx(1 - 5 / 14)
    weights = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 0, 0, 4]])
    found = probes.r_squared(predicted, baseline, points, weights)
    assert found[:, 0] == pytest.approx([1 - 5 / 14, 1 - 2 / 8, 1 - 4 / 9])


def test_the_probe_finds_what_is_there_and_only_that(layers, points):
    table = probe(layers, points)
    assert table["layer"].tolist() == [1, 1, "noise", "noise"]
    assert table["target"].tolist() == ["valence", "arousal"] * 2
    knows, others = table.iloc[0], table.iloc[1:]
    assert knows["value"] > max(0.98, knows["chance_high"] + 0.5)
    assert (others["value"] < 0.1).all()
    assert (others["low"] < others["chance_high"]).all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["chance"].between(table["chance_low"], 0.05).all()
    assert (table["groups"] == TRACKS // GROUP_SIZE).all()
    # The same names of groups in another dataset are other groups: 20 and not 10.
    datasets, read = halves(points, layers)
    together = probes.probe(read, datasets, ["valence", "arousal"], resamples=200)
    pd.testing.assert_frame_equal(together, table)


def test_the_value_is_that_of_models_that_did_not_see_the_track(layers, points, monkeypatch):
    """The same by scikit-learn's own cross-validation, with the penalty fixed."""
    monkeypatch.setattr(probes, "PENALTIES", [30.0])
    folds = GroupKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), Ridge(30.0))
    truth, groups = points.to_numpy(), np.arange(TRACKS) // GROUP_SIZE
    predicted = cross_val_predict(model, layers[1], truth, groups=groups, cv=folds)
    errors = nothing = 0.0
    for train, test in folds.split(truth, groups=groups):
        errors += ((truth[test] - predicted[test]) ** 2).sum(0)
        nothing += ((truth[test] - truth[train].mean(0)) ** 2).sum(0)
    table = probe({1: layers[1]}, points)
    np.testing.assert_allclose(table["value"], 1 - errors / nothing, rtol=1e-6)


def test_knowing_the_artist_is_not_knowing_the_mood():
    """Features that name the artist and a mood that is the artist's: only a leak can profit."""
    artist = np.repeat(np.arange(20), 4)
    features = np.eye(20)[artist]  # (tracks, artists)
    mood = np.random.default_rng(0).normal(size=20)[artist]
    mood = pd.DataFrame({"mood": mood + 0.1 * np.random.default_rng(1).normal(size=80)})
    assert probe({0: features}, mood, range(80))["value"].item() > 0.8
    assert probe({0: features}, mood, artist)["value"].item() < 0.1


def test_a_unit_that_was_silent_in_training_does_not_outshout_the_others(layers, points):
    """One that fires in one track only, next to a layer that knows valence."""
    silent = np.full((TRACKS, 1), 0.5) + 1e-6 * np.random.default_rng(0).normal(size=(TRACKS, 1))
    silent[17] = 3.0  # millions of deviations away, where the training part has not seen it
    assert probe({1: np.hstack([layers[1], silent])}, points[["valence"]])["value"].item() > 0.9


@pytest.mark.parametrize("sign", [1, -1])
def test_held_out_asks_whether_it_holds_elsewhere(points, sign):
    """A feature that means the opposite in the other dataset, or the same."""
    datasets, read = halves(points, {0: points[["valence"]].to_numpy()})
    read["b"][0] = sign * read["b"][0]
    found = probes.probe(read, datasets, ["valence"], held_out=True, resamples=50)["value"].item()
    assert found > 0.95 if sign == 1 else found < 0


def test_errors_name_what_does_not_fit(layers, points):
    with pytest.raises(ValueError, match="layer 3"):
        probe({3: np.zeros((TRACKS + 1, 2))}, points)
    with pytest.raises(ValueError, match="arousal"):
        probe(layers, points.assign(arousal=0.5))


def test_layers_are_compared_with_a_reference(layers, points):
    datasets, found = halves(points, layers)
    lost = {name: {1: own["noise"]} for name, own in found.items()}
    mean, less = (
        probes.probe(form, datasets, ["valence"], reference=found, resamples=50).iloc[0]
        for form in (found, lost)
    )
    assert (mean[["difference", "difference_low", "difference_high"]] == 0).all()
    assert less["difference_high"] < -0.5
    assert less["difference"] == pytest.approx(less["value"] - mean["value"])


def test_label_probe(layers, points):
    labelled = dataset_of(points)
    table = probes.label_probe(layers, labelled, resamples=100)
    assert table["layer"].tolist() == [1, "noise"]
    assert table["labels"].tolist() == [2, 2]
    assert table["labels_left_out"].eq("unused").all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["chance"].between(0.45, 0.55).all()
    targets = labelled.targets()[:, :2]
    scores = evaluation.supervised_reference(layers[1], targets, GROUPS)
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
    encoder = SimpleNamespace(
        name="cut", sample_rate=1000, segment_seconds=1.0, layers=("as it is", "doubled")
    )
    encoder.frames = lambda x: np.stack([x, 2 * x]).reshape(2, 100, 10)  # (layers, frames, dim)
    dataset = dataset_of(pd.DataFrame({"x": [0, 0]}), "ab")
    dataset = replace(dataset, tracks=dataset.tracks.assign(audio=paths))
    pooled = listening.pool_frames(encoder, dataset)
    middles = np.stack([waveforms[0][1000:2000], waveforms[1][:1000]]).reshape(2, 100, 10)
    expected = {
        "mean": middles.mean(1),
        "first frame": middles[:, 0],
        "middle frame": middles[:, 50],
    }
    assert list(pooled) == list(expected)
    for way, frame in expected.items():
        assert list(pooled[way]) == ["as it is", "doubled"]
        np.testing.assert_allclose(pooled[way]["doubled"], 2 * frame, rtol=1e-5, atol=1e-7)


def test_split_layers_of_musicnn():
    values = np.random.default_rng(0).uniform(0.01, 1, (4, 1, 1756)).astype(np.float32)
    parts = listening.split_layers(values, ("all",))
    widths = {name: part.shape[1] for name, part in parts.items()}
    assert list(widths.items()) == [("pooled", 1506), ("penultimate", 200), ("tags", 50)]
    np.testing.assert_allclose(parts["tags"], np.log(values[:, 0, :50]), rtol=1e-6)
    np.testing.assert_array_equal(parts["pooled"], values[:, 0, musicnn.PARTS["pooled"]])


def test_layers_of_some_tracks(points):
    dataset = dataset_of(points)
    assert listening.some_tracks(dataset, TRACKS) is dataset
    few = listening.some_tracks(dataset, 10)
    rows = dataset.tracks.index.get_indexer(few.tracks.index)
    assert len(rows) == 10
    assert (np.diff(rows) > 0).all()
    assert few.source != dataset.source  # their features get a store of their own
    segments = np.random.default_rng(0).normal(size=(2 * TRACKS, 2, 4)).astype(np.float32)
    track = np.repeat(dataset.tracks.index.to_numpy(dtype=str), 2)
    start, encoder = np.tile([0.0, 10.0], TRACKS), {"name": "test", "layers": [3, 6]}
    stored = Features(segments, track, start, encoder)
    layers = listening.track_layers(stored, few)
    assert list(layers) == [3, 6]
    means = segments.reshape(TRACKS, 2, 2, 4).mean(1)[rows]  # (tracks, layers, dim)
    np.testing.assert_allclose(layers[6], means[:, 1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="t0"):
        listening.track_layers(stored.only(track != "t0"), dataset)
