"""Methods, models and the study on small made-up datasets whose features tell the mood."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from moods import MOODS, mood_dataset

from mer_utils import data, evaluation, metrics, projector
from mer_utils.data import Labelled
from mer_utils.evaluation import study, tables
from mer_utils.labels import LabelSpace
from mer_utils.projector import Method, TrainingSettings, load_model, methods, ridge
from mer_utils.sound import musicnn


@pytest.fixture(scope="module")
def parts() -> dict[str, Labelled]:
    return {name: mood_dataset(name) for name in MOODS}


def quick(**changes) -> TrainingSettings:
    return TrainingSettings(epochs=15, batch_size=64, learning_rate=3e-3, **changes)


def auc(model, part: Labelled) -> float:
    scores = model.scores(part.features, part.dataset.labels)
    per_track = metrics.track_scores(
        scores, part.features.track_index(part.dataset), len(part.dataset)
    )
    return float(np.nanmean(metrics.roc_auc(per_track, part.dataset.targets())))


@pytest.mark.parametrize(
    "method",
    [
        Method("baseline 1", projector="mlp", training=quick()),
        Method(
            "alignment",
            projector="mlp",
            aim="clusters",
            clustering={"method": "agglomerative", "n_clusters": 4},
            training=quick(alignment_weight=1.0),
        ),
        Method("ridge", projector="ridge", space=LabelSpace(centre=True)),
        Method("affect ridge", projector="ridge", space=LabelSpace(centre=True, directions="axes")),
    ],
    ids=lambda m: m.name,
)
def test_unseen_words_are_predicted(parts, method):
    model, _ = projector.fit(method, [parts["one"], parts["two"]], progress=False)
    assert auc(model, parts["three"]) > 0.6  # 60 tracks: random scores reach .58 in 2.5 % of draws
    shuffled, _ = projector.fit(
        method, [parts["one"], parts["two"]], shuffle_labels=True, progress=False
    )
    assert auc(shuffled, parts["three"]) < auc(model, parts["three"])


def test_ridge_aims_by_hand():
    part = mood_dataset("one", tracks=12)
    method = Method("ridge", projector="ridge", space=LabelSpace(centre=True), penalty=0.5)
    model, history = projector.fit(method, [part], progress=False)
    values = part.features.values[:, 0].astype(np.float64)
    x = (values - values.mean(0)) / values.std(0)
    targets = part.dataset.targets().astype(float)
    vectors = method.space.vectors(part.dataset.labels).astype(float)
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    aims = (targets - targets.mean(0)) @ vectors
    aims = aims[part.features.track_index(part.dataset)]
    expected = x @ np.linalg.solve(x.T @ x / len(x) + 0.5 * np.eye(8), x.T @ aims / len(x))
    expected /= np.sqrt((expected**2).sum(1).mean())  # root mean square length 1
    np.testing.assert_allclose(model.project(part.features).numpy(), expected, atol=1e-4)
    assert history.empty


def test_label_penalty_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # two labels that mean the same
    smoother = ridge.label_smoother(vectors, 3.0)
    # EᵀE = diag(2, 1), so (EᵀE + 3)⁻¹ = diag(1/5, 1/4): the twins count less than twice
    torch.testing.assert_close(smoother, torch.diag(torch.tensor([1 / 5, 1 / 4])))
    torch.testing.assert_close(ridge.label_smoother(vectors, None), torch.eye(2))
    with pytest.raises(ValueError, match="label penalty is 0"):
        ridge.label_smoother(vectors, 0)


def test_calibration_by_hand():
    reference = [np.array([[0.0], [2.0]]), np.array([[3.0], [3.0], [3.0], [3.0]])]
    scores = np.array([[2.0], [3.5]])
    # means 1 and 3 -> 2; mean squares about 2: 2 and 1 -> 1.5; every dataset weighs the same
    found = methods.calibrate(scores, reference, [np.full(2, 1 / 2), np.full(4, 1 / 4)])
    np.testing.assert_allclose(found[:, 0], [0, 1.5 / np.sqrt(1.5)])
    # means .5 and 3 -> 1.75; mean squares about it: (3 · 1.75² + .25²) / 4 and 1.25² -> 1.9375
    found = methods.calibrate(scores, reference, [np.array([0.75, 0.25]), np.full(4, 1 / 4)])
    np.testing.assert_allclose(found[:, 0], [0.25 / np.sqrt(1.9375), 1.75 / np.sqrt(1.9375)])


def longer(part: Labelled, times: int) -> Labelled:
    """The same dataset with so many copies of the first track's two segments."""
    rows = np.concatenate([np.tile([0, 1], times), np.arange(2, len(part.features.track))])
    features = replace(
        part.features,
        values=part.features.values[rows],
        track=part.features.track[rows],
        start=part.features.start[rows],
    )
    return Labelled(part.dataset, features)


@pytest.mark.parametrize("own_statistics", [False, True])
def test_a_long_track_counts_once_or_by_its_segments(parts, own_statistics):
    space = LabelSpace(centre=True)
    target, scores = parts["three"], {}
    for weighting in ("tracks", "segments"):
        method = Method(
            "ridge",
            projector="ridge",
            space=space,
            calibrated=not own_statistics,
            own_statistics=own_statistics,
            weighting=weighting,
        )
        for times in (1, 10):
            training = [longer(parts["one"], times), parts["two"]]
            model, _ = projector.fit(method, training, progress=False)
            scores[weighting, times] = methods.target_scores(model, method, target, training)
    np.testing.assert_allclose(scores["tracks", 10], scores["tracks", 1], atol=1e-5)
    np.testing.assert_allclose(scores["segments", 1], scores["tracks", 1], atol=1e-5)
    assert np.abs(scores["segments", 10] - scores["segments", 1]).max() > 0.01


def test_weights_by_hand_are_what_features_are_standardised_by():
    part = mood_dataset("one", tracks=3)
    values = np.array([0, 0, 3, 3, 6, 6], np.float32)[:, None, None].repeat(8, axis=2)
    part = longer(replace(part, features=replace(part.features, values=values)), 4)
    dataset = replace(part.dataset, tracks=part.dataset.tracks.assign(group=["a", "b", "c"]))
    part = replace(part, dataset=dataset)
    for weighting, weights, middle in (
        ("tracks", [1 / 24] * 8 + [1 / 6] * 4, 3.0),
        ("segments", [1 / 12] * 12, 1.5),
    ):
        (made,), mean, _ = methods.prepare(Method("m", weighting=weighting), [part])
        torch.testing.assert_close(made.weight, torch.tensor(weights))
        assert mean.flatten().tolist() == pytest.approx([middle] * 8)
        torch.testing.assert_close(made.weight @ made.values[:, 0], torch.zeros(8))
        torch.testing.assert_close(made.weight @ made.values[:, 0].square(), torch.ones(8))


def test_calibration_changes_no_ranking_within_a_label(parts):
    method = Method("ridge", projector="ridge", space=LabelSpace(centre=True))
    training = [parts["one"], parts["two"]]
    model, _ = projector.fit(method, training, progress=False)
    plain = methods.target_scores(model, method, parts["three"], training)
    calibrated = replace(method, calibrated=True)
    other = methods.target_scores(model, calibrated, parts["three"], training)
    np.testing.assert_array_equal(plain.argsort(0), other.argsort(0))
    assert np.abs(other.mean()) < 0.5
    assert not np.allclose(plain, other)


def test_soft_clusters_lie_between_labels_and_centres(parts):
    training = [parts["one"], parts["two"]]
    clustering = {"method": "agglomerative", "n_clusters": 4}
    aims = {}
    for aim in methods.AIMS:
        method = Method(aim, aim=aim, clustering=clustering)
        aims[aim] = torch.cat([p.target_vectors for p in methods.prepare(method, training)[0]])
    hard, soft = aims["clusters"], aims["soft clusters"]
    assert len(torch.unique(hard, dim=0)) == 4  # as many as there are clusters
    assert len(torch.unique(soft, dim=0)) == 8  # one a label
    nearest = torch.cdist(soft, torch.unique(hard, dim=0)).argmin(1)
    own = torch.cdist(hard, torch.unique(hard, dim=0)).argmin(1)
    assert torch.equal(nearest, own)


def test_tag_bridge_by_hand(parts):
    with pytest.raises(ValueError, match="needs features that begin with musicnn's tags"):
        projector.fit(methods.tag_bridge(), [parts["one"]], progress=False)
    random = np.random.default_rng(0)
    values = random.normal(size=(120, 1, 60)).astype(np.float32)
    part = parts["one"]
    tagged = replace(
        part, features=replace(part.features, values=values, encoder={"columns": ["tags", "cues"]})
    )
    model, _ = projector.fit(methods.tag_bridge(), [tagged], progress=False)
    z = (values[:, 0] - values[:, 0].mean(0)) / values[:, 0].std(0)
    expected = z[:, :50] @ model.space.vectors(musicnn.TAGS)
    np.testing.assert_allclose(model.project(tagged.features).numpy(), expected, atol=1e-4)


def test_own_statistics_undo_a_shift(parts):
    method = Method("ridge", projector="ridge", space=LabelSpace(centre=True))
    model, _ = projector.fit(method, [parts["one"]], progress=False)
    shifted = mood_dataset("three", shift=5.0)
    one = model.scores(shifted.features, shifted.dataset.labels, own_statistics=True)
    two = model.scores(parts["three"].features, parts["three"].dataset.labels, own_statistics=True)
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_validation_tracks_are_whole_groups_or_the_official_split():
    dataset = mood_dataset("one").dataset
    train, validation = data.usable_tracks(dataset, 0.2, seed=3)
    assert (train ^ validation).all()
    groups = dataset.tracks["group"]
    assert not set(groups[train]) & set(groups[validation])
    alone = replace(dataset, tracks=dataset.tracks.assign(group="x"))
    with pytest.raises(ValueError, match="one group"):
        data.usable_tracks(alone, 0.2, seed=3)


def with_splits(dataset, splits: list, groups: list | None = None):
    tracks = dataset.tracks.assign(split=pd.Series(splits, dataset.tracks.index, dtype=object))
    return replace(dataset, tracks=tracks if groups is None else tracks.assign(group=groups))


def test_an_official_split_is_kept_and_its_test_part_never_used():
    dataset = mood_dataset("one").dataset  # groups of three
    official = with_splits(dataset, ["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    train, validation = data.usable_tracks(official, 0.2, seed=3)
    assert train.nonzero()[0].tolist() == list(range(40))
    assert validation.nonzero()[0].tolist() == list(range(40, 50))
    without = with_splits(dataset, ["train"] * 45 + ["test"] * 15)
    for seed in range(5):
        train, validation = data.usable_tracks(without, 0.2, seed)
        assert (train | validation).nonzero()[0].tolist() == list(range(45))
        assert (train.sum(), validation.sum()) == (36, 9)
    test = methods.prepare(Method("m"), [Labelled(without, mood_dataset("one").features)])[0][0]
    assert test.track.max() == 44


def test_tracks_without_a_split_go_with_their_group_and_else_train():
    dataset = mood_dataset("one", tracks=8).dataset
    splits = ["train", None, "validation", None, "test", None, "test", None]
    known = with_splits(dataset, splits, ["a", "a", "b", "b", "c", "c", "d", "e"])
    train, validation = data.usable_tracks(known, 0.2, seed=0)
    assert train.nonzero()[0].tolist() == [0, 1, 7]
    assert validation.nonzero()[0].tolist() == [2, 3]


@pytest.mark.parametrize("splits", [["test"] * 8, ["validation"] * 5 + ["test"] * 3])
def test_nothing_left_to_train_on_is_an_error(splits):
    dataset = with_splits(mood_dataset("one", tracks=8).dataset, splits)
    with pytest.raises(ValueError, match="one: no track to train on"):
        data.usable_tracks(dataset, 0.2, seed=0)


def test_labels_are_clustered_by_ones_own_definitions(parts):
    pairs = {"happy": "x", "sad": "x", "calm": "y", "angry": "y"}
    texts = {"x": "Music of the sea.", "y": "A tax form."}
    space = LabelSpace("definition", definitions={k: texts[v] for k, v in pairs.items()})
    clustering = {"method": "agglomerative", "n_clusters": 2}
    method = Method("own", space=space, aim="clusters", clustering=clustering)
    names = {tuple(sorted(cluster)) for cluster in methods.cluster_names(method, [parts["one"]])}
    assert names == {("one: happy", "one: sad"), ("one: angry", "one: calm")}
    own = methods.prepare(method, [parts["one"]])[0][0]
    torch.testing.assert_close(own.target_vectors, own.label_vectors)  # the centres themselves


def test_shuffling_deals_the_same_label_sets():
    targets = np.eye(6, dtype=bool)
    rows = np.array([True, True, True, True, False, False])
    shuffled = methods.shuffled_targets(targets, rows, seed=1)
    assert (shuffled[4:] == targets[4:]).all()
    assert sorted(map(tuple, shuffled[:4])) == sorted(map(tuple, targets[:4]))
    drawn = [methods.shuffled_targets(targets, rows, seed) for seed in range(5)]
    assert any((other[:4] != targets[:4]).any() for other in drawn)


def test_features_that_do_not_fit_are_refused(parts):
    wide = replace(parts["two"].features, values=np.zeros((120, 1, 9), np.float32))
    with pytest.raises(ValueError, match=r"different shapes.*\(1, 8\).*\(1, 9\)"):
        projector.fit(Method("m"), [parts["one"], replace(parts["two"], features=wide)])


def test_model_is_read_back_and_refuses_what_does_not_fit(parts, tmp_path):
    method = Method("mlp", projector="mlp", training=quick())
    model, _ = projector.fit(method, [parts["one"]], progress=False)
    model.save(tmp_path)
    again = load_model(tmp_path)
    part = parts["three"]
    before = model.scores(part.features, part.dataset.labels)
    np.testing.assert_allclose(again.scores(part.features, part.dataset.labels), before, atol=1e-6)
    assert again.space == method.space
    other = replace(part.features, encoder={"name": "mert-v1-95m", "layers": [0]})
    with pytest.raises(ValueError, match="name is 'made-up', but these have 'mert-v1-95m'"):
        again.scores(other, part.dataset.labels)
    with pytest.raises(ValueError, match="trained for the label space"):
        load_model(tmp_path, space=LabelSpace(style="prompt"))
    with pytest.raises(FileNotFoundError, match="no model here"):
        load_model(tmp_path / "elsewhere")
    weights = tmp_path / "projector.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ValueError, match="not the file that config"):
        load_model(tmp_path)


def test_label_folds_share_neither_labels_nor_groups(parts):
    folds = study.label_folds(parts["one"], folds=2, seed=0)
    assert len(folds) == 4
    for inside, outside in folds:
        assert not set(inside.dataset.labels) & set(outside.dataset.labels)
        groups = [set(part.dataset.tracks["group"]) for part in (inside, outside)]
        assert not groups[0] & groups[1]
        for part in (inside, outside):
            assert set(part.features.track) == set(part.dataset.tracks.index)


def test_the_votes_k_is_the_loaders_and_never_more_than_the_labels(parts):
    part = parts["one"]
    assert evaluation.k_of(part.dataset) == 1  # the mean number of labels a track
    named = replace(part, dataset=replace(part.dataset, name="emotify"))
    assert evaluation.k_of(named.dataset) == 1
    said = replace(part, dataset=replace(part.dataset, top_k=3))
    assert evaluation.k_of(said.dataset) == 3
    everything = np.ones(len(part.dataset), dtype=bool)
    assert evaluation.k_of(data.restricted(said, ["sad", "calm"], everything).dataset) == 2


def test_selection_finds_the_method_that_works_without_the_target(parts):
    good = Method("good", projector="ridge", space=LabelSpace(centre=True), penalty=1.0)
    # a single direction cannot hold two-dimensional moods
    space = LabelSpace(centre=True, directions="antonym-pca", components=1)
    poor = Method("poor", projector="ridge", space=space, penalty=1.0)
    best, table = study.select_method([poor, good], [parts["one"], parts["two"]], progress=False)
    assert best is good
    assert table["method"].tolist() == ["good", "poor"]


def test_study_keeps_everything_and_goes_on_where_it_was(parts, tmp_path):
    compared = [
        Method("mlp", projector="mlp", training=quick()),
        Method("ridge λ", projector="ridge", space=LabelSpace(centre=True)),
    ]
    arguments = (parts, compared, tmp_path)
    outcomes = evaluation.run_study(*arguments, seeds=2, shuffles=1, targets=["three"], jobs=1)
    assert [(o.method.name, len(o.scores), len(o.shuffled)) for o in outcomes] == [
        ("mlp", 2, 1),
        ("ridge λ", 1, 1),
    ]
    assert outcomes[0].scores[0].shape == (120, 4)
    assert not np.allclose(outcomes[0].scores[0], outcomes[0].scores[1])
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.npy")}
    assert len(made) == 5
    removed = next(iter(made))
    before = np.load(removed)
    removed.unlink()
    again = evaluation.run_study(*arguments, seeds=2, shuffles=1, targets=["three"], jobs=2)
    np.testing.assert_allclose(np.load(removed), before, atol=1e-5)
    for path, stamp in made.items():
        assert path == removed or path.stat().st_mtime_ns == stamp
    table = tables.results_table(again, parts, resamples=50)
    roc_auc = table[table["metric"] == "song_roc_auc"].set_index("method")
    assert (roc_auc["value"] > 0.75).all()
    assert (roc_auc["low"] < roc_auc["value"]).all()
    assert roc_auc["seeds"].tolist() == [2, 1]
    assert roc_auc["tracks"].tolist() == [60, 60]
    assert roc_auc["shuffled"].notna().all()


def test_a_change_in_the_data_is_another_study(parts):
    part = parts["one"]
    table = part.dataset.tracks.copy()
    table["labels"] = [("sad",), *table["labels"][1:]]
    changed = Labelled(replace(part.dataset, tracks=table), part.features)
    assert changed.fingerprint != part.fingerprint
    blocks = replace(part.features, encoder={"blocks": [1, 7]})  # a ridge weighs them
    assert Labelled(part.dataset, blocks).fingerprint != part.fingerprint
    assert Labelled(part.dataset, part.features).fingerprint == part.fingerprint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: evaluation.run_study({"one": d["one"]}, [], "x"), "two datasets or more"),
        (lambda d: evaluation.run_study(d, [], "x", targets=["four"]), "no dataset 'four'"),
        (
            lambda d: evaluation.run_study(
                d,
                {
                    "one": [Method("a"), Method("b")],
                    "two": [Method("b", penalty=2), Method("a"), Method("b")],
                },
                "x",
                targets=["one", "two"],
            ),
            "two: .*'b'",
        ),
        (lambda d: Method("m", aim="centres"), "aims at one of"),
        (lambda d: Method("m", weighting="seconds"), "seconds"),
    ],
)
def test_errors(parts, call, message):
    with pytest.raises(ValueError, match=message):
        call(parts)


@pytest.mark.parametrize("approach", projector.APPROACHES)
def test_an_approach_by_name(approach):
    space = LabelSpace("prompt", directions="axes", centre=True)
    clustering = {"method": "hdbscan"}
    names = ["one", "two"]
    method = projector.by_name(approach, space, quick(), names, clustering, 32, 2.5, "push", 7.0)
    paper = approach in ("baseline 1", "baseline 2", "alignment")
    assert method.calibrated != paper
    if approach == "tag bridge":
        assert not method.trained
        return
    assert method.space == space
    assert method.needs_clusters == (approach in ("baseline 2", "alignment"))
    if approach == "ridge":
        assert method.penalty == 7
    else:
        assert method.projector_settings == {"width": 32}
        assert method.training.epochs == 15
        assert method.training.alignment_weight == (2.5 if approach == "alignment" else 0)
        assert method.training.loss == ("contrastive" if approach == "contrastive" else "triplet")


def test_unknown_approach_lists_the_others():
    with pytest.raises(ValueError, match=r"no approach 'magic'; there are baseline 1, .*ridge"):
        projector.by_name("magic", LabelSpace(), quick(), ["one"])


def test_shuffled_training_only_of_what_trains(parts, tmp_path):
    tags = {
        name: replace(
            part,
            features=replace(
                part.features,
                values=np.random.default_rng(0).normal(size=(120, 1, 60)).astype(np.float32),
                encoder={"columns": ["tags", "rest"], "blocks": [50, 10]},
            ),
        )
        for name, part in parts.items()
    }
    found = evaluation.run_study(tags, [methods.tag_bridge()], tmp_path, 2, 3, ["three"], jobs=1)
    assert [(len(o.scores), len(o.shuffled)) for o in found] == [(1, 0)]
    table = tables.results_table(found, tags, resamples=20)
    assert "shuffled" not in table or table["shuffled"].isna().all()


def test_seed_decides_a_network(parts):
    method = Method("mlp", projector="mlp", training=quick())
    models = [projector.fit(method, [parts["one"]], seed, progress=False)[0] for seed in (0, 0, 1)]
    projected = [model.project(parts["three"].features) for model in models]
    assert torch.equal(projected[0], projected[1])
    assert not torch.allclose(projected[0], projected[2])


def test_a_dataset_too_small_for_a_ceiling_has_none(parts, monkeypatch):
    part = parts["one"]
    scores = np.full(part.dataset.targets().shape, np.nan)
    scores[:, 0] = 0.5  # only one label could be learned
    monkeypatch.setattr(tables, "supervised_scores", lambda _: scores)
    part = replace(part, dataset=replace(part.dataset, top_k=2))
    with pytest.warns(UserWarning, match="one: no supervised reference, as it scores 1 labels"):
        table = tables.reference_table({"one": part}, resamples=20)
    assert set(table["method"]) == {"every label", "most frequent"}
