"""Probes of layers: R² by hand, groups kept whole, intervals, poolings of frames."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_utils import evaluation, metrics, sound
from mer_utils.data import Dataset, Features
from mer_utils.evaluation import probes
from mer_utils.sound import musicnn, random_mert

TRACKS, GROUP_SIZE = 60, 3
GROUPS = [f"artist {i // GROUP_SIZE}" for i in range(TRACKS)]
FAST = {"resamples": 200, "shuffles": 20}


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


def by(table, **values):
    """The one row with these values."""
    rows = table
    for column, value in values.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


# --- R² -------------------------------------------------------------------------------------------


def test_r_squared_by_hand():
    points = np.array([[0.0], [1.0], [2.0], [5.0]])
    baseline = np.full((4, 1), 2.0)  # squared errors 4, 1, 0, 9: 14
    predicted = np.array([[1.0], [1.0], [2.0], [3.0]])  # squared errors 1, 0, 0, 4: 5
    assert probes.r_squared(predicted, baseline, points) == pytest.approx(1 - 5 / 14)
    weights = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 0, 0, 4]])
    found = probes.r_squared(predicted, baseline, points, weights)
    assert found[:, 0] == pytest.approx([1 - 5 / 14, 1 - 2 / 8, 1 - 4 / 9])


@given(seed=st.integers(0, 2**16), draws=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_weight_is_a_number_of_copies(seed, draws):
    random = np.random.default_rng(seed)
    predicted, baseline, points = random.normal(size=(3, 7, 2))
    weights = random.integers(0, 3, (draws, 7)) + np.eye(7, dtype=int)[0]
    found = probes.r_squared(predicted, baseline, points, weights)
    for row, times in zip(found, weights, strict=True):
        copies = [np.repeat(a, times, axis=0) for a in (predicted, baseline, points)]
        np.testing.assert_allclose(row, probes.r_squared(*copies))


# --- Layer probe ----------------------------------------------------------------------------------


def test_the_probe_finds_what_is_there_and_only_that(layers, points):
    table = probes.probe_layers(layers, points, GROUPS, **FAST)
    assert list(zip(table["layer"], table["target"], strict=True)) == [
        (1, "valence"), (1, "arousal"), ("noise", "valence"), ("noise", "arousal"),
    ]  # fmt: skip
    knows = by(table, layer=1, target="valence")
    assert knows["value"] > 0.98
    assert knows["value"] > knows["chance_high"] + 0.5
    for row in table.drop(knows.name).itertuples():
        assert row.value < 0.1
        assert row.low < row.chance_high
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["chance_low"] <= table["chance"]).all()
    assert (table["chance"] < 0.05).all()
    assert set(table["metric"]) == {"r2"}
    assert set(table["tracks"]) == {TRACKS}
    assert set(table["groups"]) == {TRACKS // GROUP_SIZE}
    assert set(table["dim"]) == {5}


def test_the_value_is_that_of_models_that_did_not_see_the_track(layers, points):
    """The same by scikit-learn's own cross-validation, with the penalty fixed."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = GroupKFold(4, shuffle=True, random_state=3)
    model = make_pipeline(StandardScaler(), Ridge(30.0))
    truth = points.to_numpy()
    groups = np.arange(TRACKS) // GROUP_SIZE
    predicted = cross_val_predict(model, layers[1], truth, groups=groups, cv=folds)
    errors = nothing = 0.0
    for train, test in folds.split(truth, groups=groups):
        errors += ((truth[test] - predicted[test]) ** 2).sum(0)
        nothing += ((truth[test] - truth[train].mean(0)) ** 2).sum(0)
    table = probes.probe_layers(
        {1: layers[1]}, points, groups, folds=4, penalties=[30.0], seed=3, **FAST
    )
    np.testing.assert_allclose(table["value"], 1 - errors / nothing, rtol=1e-6)


def test_the_same_seed_gives_the_same_table_and_a_layer_does_not_touch_another(layers, points):
    whole = probes.probe_layers(layers, points, GROUPS, **FAST)
    pd.testing.assert_frame_equal(whole, probes.probe_layers(layers, points, GROUPS, **FAST))
    alone = probes.probe_layers({"noise": layers["noise"]}, points, GROUPS, **FAST)
    rows = whole[whole["layer"] == "noise"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, alone, check_dtype=False)


def test_knowing_the_artist_is_not_knowing_the_mood():
    """Features that name the artist and a mood that is the artist's: only a leak can profit."""
    artist = np.repeat(np.arange(20), 4)
    features = np.eye(20)[artist]  # (tracks, artists)
    mood = np.random.default_rng(0).normal(size=20)[artist]
    mood = pd.DataFrame({"mood": mood + 0.1 * np.random.default_rng(1).normal(size=80)})
    leaking = probes.probe_layers({0: features}, mood, None, **FAST)
    honest = probes.probe_layers({0: features}, mood, artist, **FAST)
    assert leaking["value"].item() > 0.8
    assert honest["value"].item() < 0.1


def test_a_unit_that_was_silent_in_training_does_not_outshout_the_others(layers, points):
    """One that fires in one track only, next to a layer that knows valence."""
    silent = np.full((TRACKS, 1), 0.5) + 1e-6 * np.random.default_rng(0).normal(size=(TRACKS, 1))
    silent[17] = 3.0  # millions of deviations away, where the training part has not seen it
    table = probes.probe_layers({1: np.hstack([layers[1], silent])}, points, GROUPS, **FAST)
    assert by(table, target="valence")["value"] > 0.9


def test_held_out_asks_whether_it_holds_elsewhere():
    """A feature that means the opposite in the other dataset."""
    random = np.random.default_rng(0)
    value = random.uniform(-1, 1, 60)
    dataset = np.repeat(["a", "b"], 30)
    sign = np.where(dataset == "a", 1, -1)
    both = np.stack([value * sign, sign], axis=1)  # (tracks, 2)
    product = np.column_stack([both, both[:, 0] * both[:, 1]])  # its third column is the value
    points = pd.DataFrame({"valence": value})
    inside = probes.probe_layers({0: both[dataset == "a"]}, points[dataset == "a"], **FAST)
    assert inside["value"].item() > 0.95
    across = probes.probe_layers({0: both}, points, held_out=dataset, **FAST)
    assert across["value"].item() < 0
    fine = probes.probe_layers({0: product[:, 2:]}, points, held_out=dataset, **FAST)
    assert fine["value"].item() > 0.95


def test_copies_of_a_track_in_its_group_make_nothing_surer(points):
    """Five copies of a track are no new evidence: the interval draws the whole group."""
    random = np.random.default_rng(2)
    features = points.to_numpy() + random.normal(0, 0.5, (TRACKS, 2))
    settings = {"folds": 5, "penalties": [10.0], "resamples": 400, "shuffles": 2}
    single = probes.probe_layers({0: features}, points, range(TRACKS), **settings)
    copied = probes.probe_layers(
        {0: features.repeat(5, 0)},
        points.loc[points.index.repeat(5)],
        np.arange(TRACKS).repeat(5),
        **settings | {"penalties": [50.0]},
    )
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(copied[column], single[column], atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": {3: np.zeros((59, 2))}}, r"layer 3: .*\(59, 2\).*60 tracks"),
        ({"layers": {3: np.full((TRACKS, 2), np.nan)}}, "layer 3: .* finite"),
        ({"groups": GROUPS[1:]}, "59 groups .* 60 tracks"),
        ({"folds": 21}, "21.* 20"),
        ({"held_out": ["a", "b"] * 30}, "held_out: 20 groups"),
    ],
)
def test_errors_name_what_does_not_fit(layers, points, change, message):
    arguments = {"layers": layers, "points": points, "groups": GROUPS, **FAST} | change
    with pytest.raises(ValueError, match=message):
        probes.probe_layers(**arguments)


def test_points_that_do_not_vary(layers, points):
    with pytest.raises(ValueError, match=r"columns \['arousal'\] do not vary"):
        probes.probe_layers(layers, points.assign(arousal=0.5), GROUPS, **FAST)
    with pytest.raises(ValueError, match="nothing to read"):
        probes.probe_layers(layers, points[[]], GROUPS, **FAST)


# --- Poolings -------------------------------------------------------------------------------------


def test_compare_poolings(layers, points):
    noisy = {k: v + np.random.default_rng(5).normal(0, 4, v.shape) for k, v in layers.items()}
    poolings = {"mean": layers, "first frame": noisy, "again": layers}
    table = probes.compare_poolings(poolings, points, GROUPS, **FAST)
    assert len(table) == 3 * 2 * 2
    for reference in ("mean", "again"):  # a difference to itself is nothing, in every draw
        rows = table[table["pooling"] == reference]
        assert (rows[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    lost = by(table, pooling="first frame", layer=1, target="valence")
    assert lost["difference_high"] < -0.2
    mean = by(table, pooling="mean", layer=1, target="valence")
    assert lost["difference"] == pytest.approx(lost["value"] - mean["value"])
    probe = probes.probe_layers(layers, points, GROUPS, **FAST)
    of_mean = table[table["pooling"] == "mean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_mean[probe.columns], probe)


@pytest.fixture(scope="module")
def mert(tmp_path_factory):
    folder = random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("mert"))
    return sound.load_encoder("mert-v1-95m", folder, device="cpu", segment_seconds=1.0)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Two noises: 3.5 s (three segments of 1 s) and 1.2 s."""
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    waveforms = [random.normal(0, 0.1, int(24_000 * s)).astype(np.float32) for s in (3.5, 1.2)]
    for i, waveform in enumerate(waveforms):
        soundfile.write(folder / f"{i}.wav", waveform, 24_000, subtype="FLOAT")
    tracks = pd.DataFrame(
        {
            "audio": [str(folder / f"{i}.wav") for i in range(2)],
            "labels": [("calm",), ("tense",)],
            "split": None,
            "group": ["a", "b"],
        },
        index=pd.Index(["one", "two"], name="track"),
    )
    return Dataset("noises", ("calm", "tense"), tracks, {}), waveforms


def test_pool_frames(mert, music):
    dataset, waveforms = music
    pooled = probes.pool_frames(mert, dataset)
    assert list(pooled) == list(probes.POOLINGS)
    middles = [waveforms[0][24_000:48_000], waveforms[1][:24_000]]
    for row, segment in enumerate(middles):
        frames = mert.frames(segment)  # (layers, frames, dim)
        assert frames.shape == (5, 74, 32)
        np.testing.assert_allclose(
            pooled["mean"][row], mert(segment[None])[0], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(pooled["first frame"][row], frames[:, 0])
        np.testing.assert_array_equal(pooled["middle frame"][row], frames[:, 37])


def test_mean_spectra(music):
    dataset, waveforms = music
    spectra = probes.mean_spectra(dataset)
    assert spectra.shape == (2, 96)
    for row, waveform in enumerate(waveforms):
        own = torch.from_numpy(soxr.resample(waveform, 24_000, 16_000, quality="HQ"))
        frames = musicnn.log_mel(own, musicnn.mel_bands())  # (frames, 96)
        np.testing.assert_allclose(spectra[row], frames.numpy().mean(0), rtol=1e-4)


def test_split_layers():
    values = np.random.default_rng(0).uniform(0, 1, (4, 3, 5))
    split = probes.split_layers(values, (0, 6, 12))
    assert list(split) == [0, 6, 12]
    np.testing.assert_array_equal(split[6], values[:, 1].astype(np.float32))
    with pytest.raises(ValueError, match=r"\(4, 3, 5\), expected \(rows, 2 layers, dim\)"):
        probes.split_layers(values, (0, 6))


def test_split_layers_of_musicnn():
    values = np.random.default_rng(0).uniform(0.01, 1, (4, 1, 1756)).astype(np.float32)
    parts = probes.split_layers(values, ("all",))
    widths = {name: part.shape[1] for name, part in parts.items()}
    assert list(widths.items()) == [("pooled", 1506), ("penultimate", 200), ("tags", 50)]
    np.testing.assert_allclose(parts["tags"], np.log(values[:, 0, :50]), rtol=1e-6)
    np.testing.assert_array_equal(parts["pooled"], values[:, 0, musicnn.PARTS["pooled"]])


# --- Labels ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(points):
    """Happy where valence is high, calm where arousal is low; nobody has the third label."""
    happy, calm = points["valence"] > 0.2, points["arousal"] < -0.2
    labels = [
        tuple(n for n, has in (("happy", h), ("calm", c)) if has)
        for h, c in zip(happy, calm, strict=True)
    ]
    tracks = pd.DataFrame({"audio": None, "labels": labels, "split": None, "group": GROUPS})
    tracks.index = pd.Index([f"t{i}" for i in range(TRACKS)], name="track")
    return Dataset("made", ("happy", "calm", "unused"), tracks, {})


def test_label_probe(layers, labelled):
    table = probes.label_probe(layers, labelled, resamples=100)
    assert table["layer"].tolist() == [1, "noise"]
    assert set(table["target"]) == {"made"}
    assert set(table["metric"]) == {"roc_auc"}
    assert set(table["labels_left_out"]) == {"unused"}
    assert (table["labels"] == 2).all()
    knows, noise = table["value"]
    assert knows > noise + 0.15
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert table["chance"].between(0.45, 0.55).all()
    # By hand: the mean of the two labels' ROC-AUC of the out-of-fold scores.
    with pytest.warns(UserWarning, match="unused"):
        scores = evaluation.supervised_reference(
            layers[1], labelled.targets(), GROUPS, label_names=labelled.labels
        )
    by_hand = metrics.roc_auc(scores[:, :2], labelled.targets()[:, :2]).mean()
    assert knows == pytest.approx(by_hand)


# --- Several datasets ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(layers, points, labelled):
    """Two datasets that use the same names of groups, and their layers."""
    tracks = labelled.tracks.assign(**points.set_index(labelled.tracks.index))
    halves = {"a": tracks.iloc[:30], "b": tracks.iloc[30:].assign(group=GROUPS[:30])}
    datasets = {name: replace(labelled, name=name, tracks=t) for name, t in halves.items()}
    parts = {"a": slice(0, 30), "b": slice(30, None)}
    found = {name: {k: v[rows] for k, v in layers.items()} for name, rows in parts.items()}
    return datasets, found


def test_probe_datasets_for_numbers(two, layers, points):
    datasets, found = two
    together = probes.probe_datasets(found, datasets, ["valence", "arousal"], resamples=50)
    # The same names of groups in another dataset are other groups: 20 and not 10.
    expected = probes.probe_layers(layers, points, GROUPS, resamples=50)
    pd.testing.assert_frame_equal(together, expected)
    elsewhere = probes.probe_datasets(found, datasets, ["valence"], held_out=True, resamples=50)
    expected = probes.probe_layers(
        layers, points[["valence"]], GROUPS, held_out=["a"] * 30 + ["b"] * 30, resamples=50
    )
    pd.testing.assert_frame_equal(elsewhere, expected)


@pytest.mark.filterwarnings("error")
def test_probe_datasets_for_labels(two):
    datasets, found = two
    table = probes.probe_datasets(found, datasets, resamples=50)
    assert table["target"].tolist() == ["a", "a", "b", "b"]
    alone = probes.label_probe(found["b"], datasets["b"], resamples=50)
    pd.testing.assert_frame_equal(table.iloc[2:].reset_index(drop=True), alone)


@pytest.mark.filterwarnings("error")
def test_probe_poolings(two, layers, points):
    datasets, found = two
    worse = {name: {1: part["noise"], "noise": part["noise"]} for name, part in found.items()}
    poolings = {"mean": found, "first frame": worse}
    table = probes.probe_poolings(poolings, datasets, ["valence"], resamples=50)
    lost = by(table, pooling="first frame", layer=1)
    assert lost["difference_high"] < -0.5
    by_labels = probes.probe_poolings(poolings, datasets, resamples=50)
    assert by_labels["pooling"].tolist() == ["mean"] * 4 + ["first frame"] * 4
    mean, first = (by(by_labels, pooling=p, layer=1, target="a")["value"] for p in poolings)
    assert mean > first + 0.15


# --- What random weights know ---------------------------------------------------------------------


# --- Tracks of stored features --------------------------------------------------------------------


def test_some_tracks(labelled):
    assert probes.some_tracks(labelled, TRACKS) is labelled
    few = probes.some_tracks(labelled, 10)
    rows = labelled.tracks.index.get_indexer(few.tracks.index)
    assert len(set(rows)) == 10
    assert (np.diff(rows) > 0).all()
    assert few.source["drawn"] == {"tracks": 10, "of": TRACKS, "seed": 0}
    other = probes.some_tracks(labelled, 10, seed=1)
    assert list(other.tracks.index) != list(few.tracks.index)


def test_track_layers(labelled):
    random = np.random.default_rng(0)
    segments = random.normal(size=(2 * TRACKS, 2, 4)).astype(np.float32)
    track = np.repeat(labelled.tracks.index.to_numpy(dtype=str), 2)
    start = np.tile([0.0, 10.0], TRACKS)
    stored = Features(segments, track, start, {"name": "test", "layers": [3, 6]})
    layers = probes.track_layers(stored, labelled, ["t7", "t2"])
    assert list(layers) == [3, 6]
    np.testing.assert_allclose(layers[6][0], segments[14:16, 1].mean(0), rtol=1e-6)
    np.testing.assert_allclose(layers[3][1], segments[4:6, 0].mean(0), rtol=1e-6)
    assert probes.track_layers(stored, labelled)[3].shape == (TRACKS, 4)
    with pytest.raises(ValueError, match=r"made: has no tracks \['x'\] \(1 of them\)"):
        probes.track_layers(stored, labelled, ["t1", "x"])
