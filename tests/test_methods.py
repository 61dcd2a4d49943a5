"""Methods, models and the study on small made-up datasets whose features tell the mood."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from moods import MOODS, mood_dataset

from mer_utils import data, evaluation, metrics, projector
from mer_utils.data import DEFINITIONS, Labelled
from mer_utils.evaluation import comparisons, study, tables
from mer_utils.labels import DEFAULT_MODEL, LabelSpace
from mer_utils.projector import Method, TrainingSettings, load_model, methods
from mer_utils.projector.training import centred_aims
from mer_utils.sound import musicnn

QUICK = TrainingSettings(epochs=15, batch_size=64, learning_rate=3e-3)
GROUPS = {"method": "agglomerative", "n_clusters": 4}
NETWORK = Method("mlp", "mlp", training=QUICK)
WILD = Method("wild", "mlp", training=TrainingSettings(epochs=2, learning_rate=1e30))
RIDGE = Method("ridge", "ridge", LabelSpace(centre=True))


@pytest.fixture(scope="module")
def parts() -> dict[str, Labelled]:
    return {name: mood_dataset(name) for name in MOODS}


def fit(method: Method, *training: Labelled, **settings):
    return projector.fit(method, training, progress=False, **settings)[0]


def with_values(part: Labelled, values: np.ndarray, **encoder) -> Labelled:
    features = replace(part.features, values=values, encoder=part.features.encoder | encoder)
    return replace(part, features=features)


def strange(part: Labelled, value: float) -> Labelled:
    """The dataset with one segment, of its track one-1, whose features are all the value."""
    values = np.array(part.features.values)
    values[3] = value
    return with_values(part, values)


def relabelled(part: Labelled, vocabulary: tuple[str, ...], labels: list, **columns) -> Labelled:
    """The dataset with other labels; labels: of each track."""
    tracks = part.dataset.tracks.assign(labels=labels, **columns)
    return replace(part, dataset=replace(part.dataset, labels=vocabulary, tracks=tracks))


@pytest.mark.parametrize(
    "method",
    [
        NETWORK,
        Method("alignment", "mlp", aim="clusters", clustering=GROUPS,
               training=replace(QUICK, alignment_weight=1.0)),
        RIDGE,
        Method("affect ridge", "ridge", LabelSpace(centre=True, directions="antonym-pca")),
    ],
    ids=lambda m: m.name,
)  # fmt: skip
def test_unseen_words_are_predicted(parts, method):
    one, two, target = parts.values()
    found = []
    for shuffle in (False, True):
        scores = study.model_scores(fit(method, one, two, shuffle_labels=shuffle), target)
        found.append(np.nanmean(metrics.roc_auc(scores, target.dataset.targets())))
    assert found[0] > 0.6  # 60 tracks: random scores reach .58 in 2.5 % of draws
    assert found[1] < found[0]


def by_hand(part: Labelled, space: LabelSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardised features and centred targets of each segment; the labels' unit vectors."""
    values = part.features.values[:, 0].astype(np.float64)
    targets = part.dataset.targets()[part.features.track_index(part.dataset)].astype(float)
    vectors = space.vectors(part.dataset.labels).astype(float)
    vectors -= vectors.mean(0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (values - values.mean(0)) / values.std(0), targets - targets.mean(0), vectors


def assert_projects(method: Method, part: Labelled, expected: np.ndarray) -> None:
    """Expected but for the scale: a root mean square length of 1."""
    found = fit(method, part).project(part.features).numpy()
    expected = expected / np.sqrt(np.square(expected).sum(1).mean())
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_ridge_by_hand():
    part, method = mood_dataset("one", tracks=12), replace(RIDGE, penalty=0.5)
    x, targets, vectors = by_hand(part, method.space)
    aims = x.T @ targets @ vectors / len(x)
    assert_projects(method, part, x @ np.linalg.solve(x.T @ x / len(x) + 0.5 * np.eye(8), aims))


def test_word_anchors_by_hand():
    part = mood_dataset("one", tracks=12)
    part = with_values(part, part.features.values, columns=["tags", "noise"], blocks=[2, 6])
    method = projector.word_anchors("prompt", DEFAULT_MODEL, penalty=0.5, tag_weight=0.0)
    x, targets, e = by_hand(part, method.space)
    scale = np.repeat([2, 6], [2, 6]) ** -0.5
    gram = (x * scale).T @ (x * scale) / len(x)
    gram += 0.5 * np.trace(gram) / 8 * np.eye(8)
    directions = np.linalg.solve(gram, (x * scale).T @ targets / len(x))
    directions *= scale[:, None]  # (features, labels)
    directions /= np.sqrt((x @ directions).std(0))
    made = directions @ np.linalg.inv(e @ e.T + 5 * np.eye(4)) @ e  # (features, d)
    assert_projects(method, part, x @ made)


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
    return Labelled(part.dataset, part.features.only(rows))


def test_a_long_track_counts_once_or_by_its_segments(parts):
    def scores(weighting: str, times: int) -> np.ndarray:
        method = replace(RIDGE, weighting=weighting, calibrated=True)
        training = [longer(parts["one"], times), parts["two"]]
        return methods.target_scores(fit(method, *training), method, parts["three"], training)

    once = scores("tracks", 1)
    np.testing.assert_allclose(scores("tracks", 10), once, atol=1e-5)
    np.testing.assert_allclose(scores("segments", 1), once, atol=1e-5)
    assert np.abs(scores("segments", 10) - once).max() > 0.01


@pytest.mark.parametrize(
    ("weighting", "weights", "middle"),
    [("tracks", [1 / 24] * 8 + [1 / 6] * 4, 3.0), ("segments", [1 / 12] * 12, 1.5)],
)
def test_weights_by_hand_are_what_features_are_standardised_by(weighting, weights, middle):
    part = mood_dataset("one", tracks=3)
    values = np.array([0, 0, 3, 3, 6, 6], np.float32)[:, None, None].repeat(8, axis=2)
    tracks = part.dataset.tracks.assign(group=[*"abc"])
    part = Labelled(replace(part.dataset, tracks=tracks), with_values(part, values).features)
    (made,), mean, _ = methods.prepare(Method("m", weighting=weighting), [longer(part, 4)])
    torch.testing.assert_close(made.weight, torch.tensor(weights))
    torch.testing.assert_close(mean, torch.full((1, 8), middle))
    torch.testing.assert_close(made.weight @ made.values[:, 0], torch.zeros(8))
    torch.testing.assert_close(made.weight @ made.values[:, 0].square(), torch.ones(8))


def test_labels_are_clustered_by_ones_own_definitions(parts):
    texts = dict.fromkeys(("happy", "sad"), "Music of the sea.")
    texts |= dict.fromkeys(("calm", "angry"), "A tax form.")
    space = LabelSpace("definition", definitions=texts)
    method = Method("own", space=space, aim="clusters", clustering=GROUPS | {"n_clusters": 2})
    names = {tuple(sorted(cluster)) for cluster in methods.cluster_names(method, [parts["one"]])}
    assert names == {("one: happy", "one: sad"), ("one: angry", "one: calm")}
    own = methods.prepare(method, [parts["one"]])[0][0]
    torch.testing.assert_close(own.target_vectors, own.label_vectors)  # the centres themselves


@pytest.mark.parametrize(("variant", "shift"), [("follow", 0.0), ("centre", 1.0)])
def test_alignment_across_datasets_needs_no_clusters(parts, variant, shift, monkeypatch):
    monkeypatch.setattr(methods, "cluster_labels", None)  # a call would be an error
    settings = replace(QUICK, alignment_weight=2.5, alignment_variant=variant)
    (aligned,) = projector.paper_methods(
        ["one", "two"], [2.5], [variant], settings, LabelSpace(), projector="mlp"
    )[2:]
    assert (aligned.name, aligned.needs_clusters) == (f"{variant} λ=2.5", False)
    training = [parts["one"], mood_dataset("two", shift=shift)]
    found = [projector.fit(aligned, training, 1, progress=False) for _ in range(2)]
    terms = found[0][1]["alignment"]
    assert terms.iloc[-1] < 0.75 * terms.iloc[0]
    assert found[0][1].equals(found[1][1])
    projections = [model.project(parts["three"].features) for model, _ in found]
    assert torch.equal(*projections)


def test_what_follows_is_counted_from_the_middle_of_a_vocabulary(parts):
    data = methods.prepare(NETWORK, [parts["one"]])[0][0]
    vectors = data.label_vectors
    segment = int((data.track == 0).nonzero()[0])  # a happy track
    (aim,) = centred_aims(data, torch.tensor([segment]))
    torch.testing.assert_close(aim, vectors[0] - vectors.mean(0))


def test_a_tag_is_an_anchor_that_needs_no_label(parts):
    """Noise but for musicnn's tag "sad": scores of sad words follow it, by the texts alone."""
    values = np.random.default_rng(0).normal(size=(120, 1, 60)).astype(np.float32)
    tagged = with_values(parts["one"], values, columns=["tags"])
    method = projector.word_anchors("prompt", DEFAULT_MODEL, tag_weight=1e6)
    asked = ["sorrowful", "cheerful", "furious"]
    scores = fit(method, tagged).scores(tagged.features, asked)
    heard = [np.corrcoef(scores[:, 0], values[:, 0, i])[0, 1] for i in range(60)]
    assert musicnn.TAGS[int(np.argmax(heard))] == "sad"
    shuffled = fit(method, tagged, shuffle_labels=True).scores(tagged.features, asked)
    assert np.corrcoef(shuffled[:, 0], scores[:, 0])[0, 1] < 0.9
    without = fit(replace(method, tag_weight=0.0), tagged)
    untagged = fit(method, with_values(tagged, values, columns=["penultimate"]))
    np.testing.assert_array_equal(without.projector.weight, untagged.projector.weight)


def test_a_strict_method_does_not_learn_the_words_of_the_target(parts):
    one, words = parts["one"], ("calm / sad", "joyful")
    target = relabelled(one, words, [words[:1]] * 30 + [words[1:]] * 30)
    left = study.unseen_words([one, parts["two"]], target)
    assert [part.dataset.labels for part in left] == [
        ("happy", "angry"), ("relaxed", "furious", "sorrowful"),
    ]  # fmt: skip
    assert [len(part.dataset) for part in left] == [60, 60]
    assert study.training_side({"target": target, "one": one}, "target", strict=False) == [one]
    with pytest.raises(ValueError, match="one"):
        study.unseen_words([one], one)


def test_tags_and_words_of_one_stem_are_no_anchors_of_a_strict_method(parts):
    """musicnn's tag "sad" is the target's "sadness", a user's own tagger's "joyous" its "joy"."""
    target = relabelled(parts["three"], ("sadness", "joy"), [("joy",)] * 60)
    kept = {}
    for encoder in ({"columns": ["tags"]}, {"tags": ["Joyous", "eerie", "proud"]}):
        values = np.random.default_rng(0).normal(size=(120, 1, 60)).astype(np.float32)
        tagged = with_values(parts["one"], values, **encoder)
        anchors = projector.word_anchors("prompt", DEFAULT_MODEL)
        strict, (side,) = study.strictly(anchors, [tagged], target)
        kept[strict.without_tags] = side.dataset.labels
        loose, _ = study.strictly(replace(anchors, strict=False), [tagged], target)
        assert loose.without_tags == ()
        columns = fit(strict, side).projector.weight[: len(methods.heard_tags(encoder) or [1])]
        assert (columns != fit(loose, side).projector.weight[: len(columns)]).any()
    renamed = with_values(tagged, values, tags=["joyless", "eerie", "proud"])
    assert renamed.fingerprint != tagged.fingerprint  # so that no score of the others is taken
    assert kept == {("sad",): ("happy", "calm", "angry"), ("joyous",): ("happy", "calm", "angry")}


def test_words_of_one_stem_are_one_word():
    """All families among the words of the shipped vocabularies and tags, looked at one by one."""
    labels = [*DEFINITIONS, *(tag.lower() for tag in musicnn.TAGS)]
    words = pd.Series(sorted({word for label in labels for word in re.split("[ ,/]+", label)}))
    families = words.groupby(words.map(study.stem_of)).agg(" ".join)
    expected = """action activation, amazed amazement, calm calming calmness, drama dramatic,
        dream dreamy, electronic electronica, fun funny, joyful joyous, love loving,
        melancholic melancholy, nostalgia nostalgic, outraged outrageous, pleasant pleased,
        power powerful, relaxed relaxing, sad sadness, sexual sexy, space spacey, summer summery,
        tender tenderness, tense tension, vocalist vocalists"""
    assert sorted(families[families.str.contains(" ")]) == re.split(r",\s+", expected)
    assert study.stems_of("Joyful activation") & study.stems_of("joyous")
    assert not study.stems_of("tender", "dreamy") & study.stems_of("tense", "dreary")
    assert study.stems_of("ready to dance", "good-natured") == {"read", "danc", "good-natur"}


def test_rare_words_are_learned_from_and_never_predicted(parts):
    """Two of four moods stand in the column of rare ones: learned from as if they were labels."""
    whole, target = parts["one"], parts["three"]
    common, rare = whole.dataset.labels[:2], whole.dataset.labels[2:]
    own = whole.dataset.tracks["labels"]
    split = ([tuple({*of} & {*some}) for of in own] for some in (common, rare))
    part = relabelled(whole, common, next(split), rare_labels=next(split))
    anchors = projector.word_anchors("prompt", DEFAULT_MODEL)
    every, some = (study.trained_roc_auc(anchors, [x], target) for x in (whole, part))
    without = study.trained_roc_auc(replace(anchors, rare_labels=False), [part], target)
    assert some == pytest.approx(every, abs=1e-6)
    assert abs(without - every) > 1e-4
    _, (side,) = study.strictly(
        anchors, [part], relabelled(target, ("sadness",), [("sadness",)] * 60)
    )
    assert side.dataset.labels == ("happy", "calm", "angry")  # "sad" was a rare word
    assert fit(anchors, part).about["labels"] == {"one": [*whole.dataset.labels]}
    assert part.dataset.labels == common


def test_every_score_of_a_strict_method_is_without_the_targets_words(parts, tmp_path):
    target, one = parts["three"], parts["one"]
    old, new = one.dataset.labels[0], target.dataset.labels[-1]  # the same word, another mood
    named = [tuple(new if x == old else x for x in own) for own in one.dataset.tracks["labels"]]
    shared = relabelled(one, (new, *one.dataset.labels[1:]), named)
    data = {"one": shared, "two": parts["two"], "three": target}
    loose = replace(RIDGE, strict=False)
    without = study.trained_roc_auc(loose, study.training_side(data, "three"), target)
    with_them = study.trained_roc_auc(loose, [shared, parts["two"]], target)
    assert without > with_them + 0.01  # the shared word misleads
    for method, expected in ((RIDGE, without), (loose, with_them)):
        (outcome,) = evaluation.run_study(data, [method], tmp_path, targets=["three"], jobs=1)
        of_study = study.song_roc_auc(study.song_scores(outcome.scores[0], target), target)
        assert of_study == pytest.approx(expected)
        assert study.trained_roc_auc(method, [shared, parts["two"]], target) == of_study
        curve = comparisons.learning_curve_outcomes(data, {"three": method}, [1.0])
        choices = comparisons.datasets_table(data, {"three": method}, resamples=2)
        ears = comparisons.ears_table(data, {"three": method}, (2,), resamples=2)
        of_whole = curve["value"].iloc[-1], choices["value"].iloc[-1], ears["value"].iloc[0]
        assert of_whole == pytest.approx((expected,) * 3)
    per_label = tables.per_label_table([outcome], data, resamples=2)
    assert per_label["seen"].tolist() == [False, False, False, True]


def test_shuffling_deals_the_same_label_sets():
    targets, rows = np.eye(6, dtype=bool), np.arange(6) < 4
    drawn = [methods.shuffled_targets(targets, rows, seed) for seed in range(5)]
    for shuffled in drawn:
        assert (shuffled[4:] == targets[4:]).all()
        assert sorted(map(tuple, shuffled[:4])) == sorted(map(tuple, targets[:4]))
    assert (np.array(drawn) != targets).any()


def test_a_model_is_read_back_and_takes_its_own_features_only(parts, tmp_path):
    model, part = fit(NETWORK, parts["one"]), parts["three"]
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert again.space == NETWORK.space
    scores = [x.scores(part.features, part.dataset.labels) for x in (model, again)]
    np.testing.assert_array_equal(*scores)
    other = with_values(part, part.features.values, name="mert-v1-95m")
    wider = with_values(part, np.zeros((120, 2, 8), np.float32))
    for strange, named in ((other, "mert-v1-95m"), (wider, r"\(2, 8\)")):
        with pytest.raises(ValueError, match=named):
            again.project(strange.features)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        load_model(tmp_path / "elsewhere")


@pytest.mark.parametrize("approach", projector.APPROACHES)
def test_an_approach_by_name(approach):
    space = LabelSpace("prompt", directions="antonym-pca", centre=True)
    method = projector.by_name(
        approach, space, QUICK, ["one", "two"], {"method": "hdbscan"}, 32, 2.5, "push", 7.0
    )
    assert method.calibrated != (approach in ("baseline 1", "baseline 2", "alignment"))
    assert method.needs_clusters == (approach in ("baseline 2", "alignment"))
    assert method.space == space
    assert (method.penalty == 7) == method.deterministic == (approach in ("ridge", "anchors"))
    if not method.deterministic:
        assert method.projector_settings == {"width": 32}
        assert method.training.epochs == 15
        assert method.training.alignment_weight == (2.5 if approach == "alignment" else 0)
        assert method.training.loss == ("contrastive" if approach == "contrastive" else "triplet")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda d: projector.by_name("magic", LabelSpace(), QUICK, ["one"]), "magic"),
        (lambda d: Method("m", aim="centres"), "centres"),
        (lambda d: Method("m", weighting="seconds"), "seconds"),
        (lambda d: Method("m", penalty=-1), "-1"),
        (lambda d: Method("m", projector="anchors"), "label penalty"),
        (lambda d: fit(RIDGE, d["one"], with_values(d["two"], np.zeros((120, 1, 9)))), r"1, 9"),
        (lambda d: fit(RIDGE, strange(d["one"], np.nan), d["two"]), "one: .*one-1"),
        (lambda d: fit(RIDGE, strange(d["one"], np.inf), d["two"]), "one: .*one-1"),
        (lambda d: fit(RIDGE, strange(d["one"], -1e30), d["two"]), "one: .*one-1"),
        (lambda d: fit(RIDGE, with_values(d["one"], np.zeros((120, 1, 8)))), "one: .*constant"),
        (lambda d: fit(RIDGE, with_values(d["one"], np.full((120, 1, 8), 1e-30))), "constant"),
        (lambda d: fit(WILD, d["one"]), "scores are NaN or infinite"),  # no model
        (lambda d: evaluation.run_study({"one": d["one"]}, [], "x"), "one"),
        (lambda d: evaluation.run_study(d, [], "x", targets=["four"]), "'four'"),
        (lambda d: evaluation.run_study(d, [RIDGE, RIDGE], "x"), "'ridge'"),
    ],
)
def test_errors(parts, call, named):
    with pytest.raises(ValueError, match=named):
        call(parts)


# --- Which tracks train


def test_a_track_without_segments_or_a_score_that_is_no_number_is_no_score(parts):
    part = parts["one"]
    heard = part.features.track != part.dataset.tracks.index[3]
    lacking = Labelled(part.dataset, part.features.only(heard))
    scores = np.zeros((len(heard), len(part.dataset.labels)))
    with pytest.raises(ValueError, match="1 of 60"):
        study.song_scores(scores[heard], lacking)
    scores[5, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 480"):
        study.song_scores(scores, part)


def with_splits(splits: list, groups: list | None = None):
    dataset = mood_dataset("one", tracks=len(splits)).dataset  # groups of three
    tracks = dataset.tracks.assign(split=pd.Series(splits, dataset.tracks.index, dtype=object))
    return replace(dataset, tracks=tracks if groups is None else tracks.assign(group=groups))


def test_validation_tracks_are_whole_groups():
    dataset = mood_dataset("one").dataset
    train, validation = data.usable_tracks(dataset, 0.2, seed=3)
    assert (train ^ validation).all()
    groups = dataset.tracks["group"]
    assert not set(groups[train]) & set(groups[validation])


def test_an_official_split_is_kept_and_its_test_part_never_used():
    # tracks without a split go with their group, else they train
    splits = ["train", None, "validation", None, "test", None, "test", None]
    train, validation = data.usable_tracks(with_splits(splits, [*"aabbccde"]), 0.2, seed=0)
    assert train.nonzero()[0].tolist() == [0, 1, 7]
    assert validation.nonzero()[0].tolist() == [2, 3]
    without = with_splits(["train"] * 45 + ["test"] * 15)
    train, validation = data.usable_tracks(without, 0.2, seed=1)
    assert (train.sum(), validation.sum(), (train | validation)[:45].sum()) == (36, 9, 45)
    used = methods.prepare(Method("m"), [Labelled(without, mood_dataset("one").features)])[0][0]
    assert used.track.max() == 44
    for nothing, groups in ((["validation"] * 5 + ["test"] * 3, None), ([None] * 8, ["x"] * 8)):
        with pytest.raises(ValueError, match="one: "):
            data.usable_tracks(with_splits(nothing, groups), 0.2, seed=0)


# --- The study


def test_the_votes_k_is_the_loaders_and_never_more_than_the_labels(parts):
    part = parts["one"]
    assert evaluation.k_of(part.dataset) == 1  # the mean number of labels a track
    said = replace(part, dataset=replace(part.dataset, top_k=3))
    assert evaluation.k_of(said.dataset) == 3
    fewer = data.restricted(said, ["sad", "calm"], np.ones(len(part.dataset), dtype=bool))
    assert evaluation.k_of(fewer.dataset) == 2


def test_a_study_says_once_what_each_of_its_trainings_would_say(parts, tmp_path):
    schedule = replace(NETWORK.training, epochs=1, alignment_weight=1.0)
    alone = {"method": "mean_shift", "bandwidth": 1e-3}
    aligned = replace(NETWORK, training=schedule, clustering=alone)
    with pytest.warns(UserWarning, match="clusters") as found:
        evaluation.run_study(parts, [aligned], tmp_path, seeds=2, targets=["three"], jobs=1)
    assert len(found) == 1


def test_study_keeps_everything_and_goes_on_where_it_was(parts, tmp_path):
    settings = {"seeds": 2, "shuffles": 1, "targets": ["three"]}
    compared = [NETWORK, replace(RIDGE, name="ridge λ")]
    outcomes = evaluation.run_study(parts, compared, tmp_path, **settings, jobs=1)
    runs = [(o.method.name, len(o.scores), len(o.shuffled)) for o in outcomes]
    assert runs == [("mlp", 2, 1), ("ridge λ", 1, 1)]
    assert outcomes[0].scores[0].shape == (120, 4)
    assert not np.allclose(*outcomes[0].scores)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.npy")}
    assert len(made) == 5
    removed, _ = made.popitem()
    before = np.load(removed)
    removed.unlink()
    another, _ = made.popitem()
    another.with_name("history.parquet").unlink()
    again = evaluation.run_study(parts, compared, tmp_path, **settings, jobs=2)
    np.testing.assert_allclose(np.load(removed), before, atol=1e-5)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    table = tables.results_table(again, parts, resamples=50)
    roc_auc = table[table["metric"] == "song_roc_auc"].set_index("method")
    assert (roc_auc["value"] > 0.75).all()
    assert roc_auc["seeds"].tolist() == [2, 1]
    assert roc_auc["shuffled"].notna().all()
    assert roc_auc["reached"].tolist() == [0, 0], "the one shuffling does not score as high"
    itself = replace(again[1], shuffled=[*again[1].shuffled, *again[1].scores])
    assert set(tables.results_table([itself], parts, resamples=50)["reached"]) == {1}


def test_a_change_in_the_data_is_another_study(parts):
    part = parts["one"]
    tracks = part.dataset.tracks.assign(labels=[("sad",), *part.dataset.tracks["labels"][1:]])
    changed = Labelled(replace(part.dataset, tracks=tracks), part.features)
    blocks = with_values(part, part.features.values, blocks=[1, 7])  # a ridge weighs them
    assert Labelled(part.dataset, part.features).fingerprint == part.fingerprint
    assert len({x.fingerprint for x in (part, changed, blocks)}) == 3


def test_a_dataset_too_small_for_a_ceiling_has_none(parts, monkeypatch):
    part = parts["one"]
    scores = np.full(part.dataset.targets().shape, np.nan)
    scores[:, 0] = 0.5  # only one label could be learned
    monkeypatch.setattr(tables, "supervised_scores", lambda _: scores)
    part = replace(part, dataset=replace(part.dataset, top_k=2))
    with pytest.warns(UserWarning, match="one: no supervised reference"):
        table = tables.reference_table({"one": part}, resamples=20)
    assert set(table["method"]) == {"every label", "most frequent"}
