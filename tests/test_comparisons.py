"""Texts and language models, ablations, the path to our method, tables; made-up data."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from moods import MOODS, mood_dataset

from mer_utils import evaluation, projector
from mer_utils.data import Labelled
from mer_utils.evaluation import comparisons, study, tables
from mer_utils.labels import DEFAULT_MODEL
from mer_utils.projector import Method, methods


@pytest.fixture(scope="module")
def data() -> dict[str, Labelled]:
    return {name: mood_dataset(name) for name in MOODS}


@pytest.fixture(scope="module")
def anchors() -> Method:
    return projector.word_anchors("prompt", DEFAULT_MODEL)


def with_parts(part: Labelled) -> Labelled:
    """The first two columns are called "mood", the six others "noise"."""
    encoder = {"name": "made-up", "columns": ["mood", "noise"], "blocks": [2, 6]}
    return replace(part, features=replace(part.features, encoder=encoder))


def test_texts_and_models_are_scored_as_the_method_is(data, anchors):
    texts = [DEFAULT_MODEL], ["name", "prompt"]
    table = comparisons.text_table(data, ["three"], *texts, resamples=20)
    assert table["style"].tolist() == ["name", "prompt"]
    anchors = replace(anchors, space=replace(anchors.space, directions="text+antonyms"))
    value = study.trained_roc_auc(anchors, [data["one"], data["two"]], data["three"])
    assert table["value"][1] == pytest.approx(value)
    assert table["low"][1] < value < table["high"][1]
    assert table.loc[0, ["tracks", "labels"]].tolist() == [60, 4]


def test_each_ablation_changes_one_thing(anchors):
    changed = comparisons.ablations(anchors)
    assert changed.pop("as it is") == anchors
    settings = methods.method_settings(anchors)
    for name, method in changed.items():
        differs = [k for k, v in methods.method_settings(method).items() if v != settings[k]]
        assert len(differs) == (name != "the paper's language model"), (name, differs)
    with pytest.raises(ValueError, match="'mlp'"):
        comparisons.ablations(Method("m", projector="mlp"))


def test_ablation_table_with_parts_of_the_features(data, anchors):
    parts = {name: with_parts(part) for name, part in data.items()}
    keep = {"mood only": ("mood",), "noise only": ("noise",)}
    table = comparisons.ablation_table(parts, {"three": anchors}, keep)
    assert table.columns.tolist() == ["three"]
    assert table["three"]["noise only"] < 0.65 < 0.8 < table["three"]["as it is"]
    assert table["three"]["mood only"] > 0.9
    kept = comparisons.keep_parts(parts["one"], ("noise",)).features
    np.testing.assert_array_equal(kept.values, data["one"].features.values[:, :, 2:])
    assert (kept.encoder["columns"], kept.encoder["blocks"]) == (["noise"], [6])
    for without, name in ((parts["one"], "cues"), (data["one"], "mood")):
        with pytest.raises(ValueError, match=name):
            comparisons.keep_parts(without, (name,))


def outcome(part: Labelled, scores: np.ndarray) -> evaluation.Outcome:
    rows = scores[part.features.track_index(part.dataset)]
    return evaluation.Outcome(part.name, Method("made up"), [rows], [], [], [])


def test_agreement_by_hand(data):
    part = data["three"]
    scores = part.dataset.targets().astype(float)
    scores[1] = 1 - scores[1]  # one track is predicted upside down
    table = tables.agreement_table(outcome(part, scores), part, k=1)
    assert table.index[-1] == part.dataset.tracks.index[1]
    assert table["agreement"].tolist() == [1] * 59 + [0]
    assert (table["predicted"] == table["labels"]).tolist() == [True] * 59 + [False]


def test_groups_by_hand(data):
    """Scores that only tell the groups apart are at chance within each."""
    loud = np.arange(60) % 2
    part = data["three"]
    tracks = part.dataset.tracks.assign(genre=np.where(loud, "loud", "soft"))
    part = replace(part, dataset=replace(part.dataset, tracks=tracks))
    scores = np.stack([loud] * 4, axis=1).astype(float)
    table = tables.group_table([outcome(part, scores)], part, "genre")
    # two of the four moods are in each genre
    columns = ["genre", "tracks", "labels", "roc_auc"]
    assert table[columns].to_numpy().tolist() == [["soft", 30, 2, 0.5], ["loud", 30, 2, 0.5]]


def test_learning_curve_draws_whole_groups_and_ends_at_the_whole_training_side(data, anchors):
    few = comparisons.some_groups(data["three"], 0.5, 1)
    assert few.dataset.tracks["group"].value_counts().tolist() == [3] * 10  # of 20
    tracks = data["three"].dataset.tracks.assign(split=["test"] * 13 + ["train"] * 47)
    official = replace(data["three"], dataset=replace(data["three"].dataset, tracks=tracks))
    assert len(comparisons.some_groups(official, 1.0).dataset) == 47
    assert set(few.features.track) == set(few.dataset.tracks.index)
    assert comparisons.some_groups(data["three"], 1e-9).dataset.tracks["group"].nunique() == 2
    table = comparisons.learning_curve_outcomes(data, {"three": anchors}, [0.25, 1.0], draws=2)
    assert table["draws"].tolist() == [2, 1]
    assert table["value"].between(table["low"], table["high"]).all()
    assert table["training_tracks"].tolist() == [30, 120]
    whole = study.trained_roc_auc(anchors, [data["one"], data["two"]], data["three"])
    assert table["value"].iloc[1] == pytest.approx(whole)
    with pytest.raises(ValueError, match="share"):
        comparisons.learning_curve_outcomes(data, {"three": anchors}, [0.0, 1.0])


def test_every_choice_of_training_datasets_is_scored(data, anchors):
    real = {name: data[name] for name in ("one", "three")}
    more = {"made up": [data["one"], data["two"]]}
    table = comparisons.datasets_table(real, {"three": anchors}, more, resamples=20)
    table = table.set_index("trained_on")
    assert table.index.tolist() == ["one", "made up", "one, made up"]
    assert table["choices"].tolist() == [1, 1, 2]
    assert table["training_tracks"].tolist() == [60, 120, 180]
    both = study.trained_roc_auc(anchors, [data["one"], data["two"]], data["three"])
    assert table["value"]["made up"] == pytest.approx(both)


def test_ears_hear_the_moods_in_two_directions(data, anchors):
    """The made-up features tell pleasant and lively, so two directions hold all there is."""
    table = comparisons.ears_table(data, {"three": anchors}, (1, 2), resamples=20)
    row = table.set_index("heard")["value"]
    assert row["1 directions"] < 0.9 < row["2 directions"]
    assert row["2 directions"] == pytest.approx(row["all features"], abs=0.05)


# --- from the paper's method to ours


def test_each_step_of_the_path_changes_one_thing():
    steps = comparisons.ablation_path_outcomes(["one", "two"], weight=2.5)
    told = ("name", "calibrated")
    changed = [
        {field for field in vars(a) if field not in told and vars(a)[field] != vars(b)[field]}
        for a, b in pairwise(steps)
    ]
    assert changed[:5] == [{"space"}, {"training"}, {"weighting"}, {"space"}, {"space"}]
    assert "projector" in changed[5]
    assert changed[6:8] == [{"space"}, {"space"}]  # the language model, the text
    assert changed[8:] == [{"projector"}, {"tag_weight"}, {"rare_labels"}, {"space"}]
    row = projector.paper_methods(["one", "two"], [2.5])[2]  # it begins with the paper's
    assert replace(steps[1], name=row.name) == row
