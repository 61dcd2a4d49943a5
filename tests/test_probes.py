"""Probes of layers: R² by hand, groups kept whole, intervals, poolings of frames."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mer_utils import evaluation, metrics, sound
from mer_utils.data import Dataset, Features
from mer_utils.evaluation import probes
from mer_utils.sound import listening, musicnn, random_mert

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


def dataset_of(points, groups=GROUPS, name="made", labels=None) -> Dataset:
    index = pd.Index([f"t{i}" for i in range(len(points))], name="track")
    tracks = points.set_index(index).assign(audio=None, split=None, group=list(groups))
    tracks["labels"] = [()] * len(points) if labels is None else labels
    return Dataset(name, ("happy", "calm", "unused"), tracks)


def probe(layers, points, groups=GROUPS):
    """Of one dataset, all of its points."""
    dataset = dataset_of(points, groups)
    return probes.probe({"made": layers}, {"made": dataset}, list(points), resamples=200)


def by(table, **values):
    """The one row with these values."""
    rows = table[np.all([table[column] == value for column, value in values.items()], axis=0)]
    assert len(rows) == 1
    return rows.iloc[0]


# --- Numbers --------------------------------------------------------------------------------------


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
    knows = by(table, layer=1, target="valence")
    assert knows["value"] > max(0.98, knows["chance_high"] + 0.5)
    others = table.drop(knows.name)
    assert (others["value"] < 0.1).all()
    assert (others["low"] < others["chance_high"]).all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert (table["chance_low"] <= table["chance"]).all()
    assert (table["chance"] < 0.05).all()
    assert (table["groups"] == TRACKS // GROUP_SIZE).all()


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
    table = probe({1: np.hstack([layers[1], silent])}, points)
    assert by(table, target="valence")["value"] > 0.9


def test_held_out_asks_whether_it_holds_elsewhere():
    """A feature that means the opposite in the other dataset, or the same."""
    random = np.random.default_rng(0)
    value = pd.DataFrame({"valence": random.uniform(-1, 1, 60)})
    halves = {"a": value[:30], "b": value[30:]}
    datasets = {name: dataset_of(half, GROUPS[:30], name) for name, half in halves.items()}
    for sign in (1, -1):
        read = {"a": {0: halves["a"].to_numpy()}, "b": {0: sign * halves["b"].to_numpy()}}
        found = probes.probe(read, datasets, ["valence"], held_out=True, resamples=50)
        assert found["value"].item() > 0.95 if sign == 1 else found["value"].item() < 0


def test_errors_name_what_does_not_fit(layers, points):
    with pytest.raises(ValueError, match="layer 3"):
        probe({3: np.zeros((TRACKS + 1, 2))}, points)
    with pytest.raises(ValueError, match="arousal"):
        probe(layers, points.assign(arousal=0.5))


# --- Labels, several datasets, poolings -----------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(points):
    """Happy where valence is high, calm where arousal is low; nobody has the third label."""
    labels = [
        ("happy",) * (row.valence > 0.2) + ("calm",) * (row.arousal < -0.2)
        for row in points.itertuples()
    ]
    return dataset_of(points, labels=labels)


def test_label_probe(layers, labelled):
    table = probes.label_probe(layers, labelled, resamples=100)
    assert table["layer"].tolist() == [1, "noise"]
    assert table["labels"].tolist() == [2, 2]
    assert table["labels_left_out"].eq("unused").all()
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["chance"].between(0.45, 0.55).all()
    with pytest.warns(UserWarning, match="unused"):
        scores = evaluation.supervised_reference(
            layers[1], labelled.targets(), GROUPS, label_names=labelled.labels
        )
    by_hand = metrics.roc_auc(scores[:, :2], labelled.targets()[:, :2]).mean()
    assert table["value"][0] == pytest.approx(by_hand)
    assert by_hand > table["value"][1] + 0.15  # the noise


@pytest.fixture(scope="module")
def two(layers, labelled):
    """Two datasets that use the same names of groups, and their layers."""
    datasets, found = {}, {}
    for name, rows in {"a": slice(0, 30), "b": slice(30, None)}.items():
        tracks = labelled.tracks[rows].assign(group=GROUPS[:30])
        datasets[name] = replace(labelled, name=name, tracks=tracks)
        found[name] = {layer: values[rows] for layer, values in layers.items()}
    return datasets, found


def test_several_datasets_are_read_together(two, layers, points):
    """The same names of groups in another dataset are other groups: 20 and not 10."""
    datasets, found = two
    together = probes.probe(found, datasets, ["valence", "arousal"], resamples=200)
    pd.testing.assert_frame_equal(together, probe(layers, points))


def test_layers_are_compared_with_a_reference(two):
    datasets, found = two
    lost = {name: dict.fromkeys(own, own["noise"]) for name, own in found.items()}
    task = {"points": ["valence"], "resamples": 50}
    mean, less = (
        by(probes.probe(form, datasets, reference=found, **task), layer=1) for form in (found, lost)
    )
    assert (mean[["difference", "difference_low", "difference_high"]] == 0).all()
    assert less["difference_high"] < -0.5
    assert less["difference"] == pytest.approx(less["value"] - mean["value"])


# --- What there is to listen to -------------------------------------------------------------------


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Two noises: 3.5 s (three segments of 1 s) and 1.2 s."""
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    waveforms = [random.normal(0, 0.1, int(24_000 * s)).astype(np.float32) for s in (3.5, 1.2)]
    paths = [str(folder / f"{i}.wav") for i in range(2)]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 24_000, subtype="FLOAT")
    dataset = dataset_of(pd.DataFrame(index=range(2)), "ab")
    return replace(dataset, tracks=dataset.tracks.assign(audio=paths)), waveforms


def test_pool_frames(music, tmp_path):
    checkpoint = random_mert.write_mert_checkpoint(tmp_path)
    mert = sound.load_encoder("mert-v1-95m", checkpoint, device="cpu", segment_seconds=1.0)
    dataset, waveforms = music
    pooled = listening.pool_frames(mert, dataset)
    assert list(pooled) == ["mean", "first frame", "middle frame"]
    assert list(pooled["mean"]) == list(mert.layers)
    middles = [waveforms[0][24_000:48_000], waveforms[1][:24_000]]
    for row, segment in enumerate(middles):
        frames = mert.frames(segment)  # (layers, frames, dim)
        assert frames.shape == (5, 74, 32)
        for i, layer in enumerate(mert.layers):
            mean, first, middle = (pooled[way][layer][row] for way in pooled)
            np.testing.assert_allclose(mean, mert(segment[None])[0, i], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(first, frames[i, 0])
            np.testing.assert_array_equal(middle, frames[i, 37])


def test_split_layers_of_musicnn():
    values = np.random.default_rng(0).uniform(0.01, 1, (4, 1, 1756)).astype(np.float32)
    parts = listening.split_layers(values, ("all",))
    widths = {name: part.shape[1] for name, part in parts.items()}
    assert list(widths.items()) == [("pooled", 1506), ("penultimate", 200), ("tags", 50)]
    np.testing.assert_allclose(parts["tags"], np.log(values[:, 0, :50]), rtol=1e-6)
    np.testing.assert_array_equal(parts["pooled"], values[:, 0, musicnn.PARTS["pooled"]])


def test_layers_of_some_tracks(labelled):
    assert listening.some_tracks(labelled, TRACKS) is labelled
    few = listening.some_tracks(labelled, 10)
    rows = labelled.tracks.index.get_indexer(few.tracks.index)
    assert len(rows) == 10
    assert (np.diff(rows) > 0).all()
    assert few.source != labelled.source  # their features get a store of their own
    segments = np.random.default_rng(0).normal(size=(2 * TRACKS, 2, 4)).astype(np.float32)
    track = np.repeat(labelled.tracks.index.to_numpy(dtype=str), 2)
    start = np.tile([0.0, 10.0], TRACKS)
    stored = Features(segments, track, start, {"name": "test", "layers": [3, 6]})
    layers = listening.track_layers(stored, few)
    assert list(layers) == [3, 6]
    means = segments.reshape(TRACKS, 2, 2, 4).mean(1)[rows]  # (tracks, layers, dim)
    np.testing.assert_allclose(layers[6], means[:, 1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="t0"):
        listening.track_layers(stored.only(track != "t0"), labelled)
