"""Training: sampling by hand, and that a small problem is learned, reproducibly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mer_utils.projector import TrainingData, TrainingSettings, build_projector, train
from mer_utils.projector.training import (
    cycle,
    draw_label,
    draw_negatives,
    mean_vectors,
    seeded,
    segment_weights,
)


def made_up(seed: int = 0, tracks: int = 60, name: str = "made-up") -> TrainingData:
    """Features that tell the label: three labels, each with its own direction, and noise."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(tracks) % 3
    track = torch.arange(tracks).repeat_interleave(2)
    prototypes = torch.randn(3, 8, generator=torch.Generator().manual_seed(99))
    values = prototypes[label[track]] + 0.5 * torch.randn(2 * tracks, 8, generator=generator)
    vectors = torch.eye(4)[:3]
    return TrainingData(
        name=name,
        values=values[:, None, :],  # (segments, 1 layer, 8)
        track=track,
        targets=torch.nn.functional.one_hot(label, 3).bool(),
        label_vectors=vectors,
        target_vectors=vectors,
        clusters=torch.arange(3),
        validation=torch.arange(tracks) % 5 == 0,
        weight=segment_weights(track, "tracks"),
    )


def small() -> TrainingSettings:
    return TrainingSettings(epochs=30, batch_size=32, learning_rate=3e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "infonce"),
        ("alignment_variant", "pull apart"),
        ("alignment_weight", -0.5),
        ("alignment_weight", float("nan")),
        ("weight_decay", -0.01),
        ("margin", -1.0),
        ("epochs", 0),
        ("patience", -1),
        ("batch_size", 0),
        ("negatives", 0),
        ("temperature", 0.0),
        ("learning_rate", 0.0),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        TrainingSettings(**{name: value})


def test_mean_vectors_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    membership = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    expected = [[0.5, 0.5], [2.0, 2.0], [0.0, 0.0]]
    assert mean_vectors(membership, vectors).tolist() == expected


@given(
    labels=st.integers(2, 9),
    count=st.integers(1, 9),
    seed=st.integers(0, 500),
)
def test_negatives_are_other_labels_without_replacement(labels, count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(20, labels, generator=generator) < 0.4
    drawn = draw_negatives(targets, count, generator)
    assert not (drawn & targets).any()
    others = (~targets).sum(1)
    assert (drawn.sum(1) == others.clamp(max=count)).all()


def test_every_other_label_is_drawn_as_often():
    targets = torch.zeros(6000, 5, dtype=torch.bool)
    targets[:, 2] = True
    share = draw_negatives(targets, 2, torch.Generator().manual_seed(0)).float().mean(0)
    assert share[2] == 0
    np.testing.assert_allclose(share[[0, 1, 3, 4]], 0.5, atol=0.03)


def test_draw_label_is_one_of_the_items_own():
    targets = torch.tensor([[True, False, True], [False, True, False]]).repeat(1000, 1)
    drawn = draw_label(targets, torch.Generator().manual_seed(0))
    assert (drawn[1::2] == 1).all()
    assert set(drawn[::2].tolist()) == {0, 2}
    assert (drawn[::2] == 0).float().mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("batch_size", [5, 4, 7, 99])
def test_cycle_has_every_segment_once_a_round(batch_size):
    batches = cycle(torch.arange(10), batch_size, torch.Generator().manual_seed(0))
    drawn = [next(batches) for _ in range(30)]
    assert {len(batch) for batch in drawn} == {min(batch_size, 10)}
    rounds = torch.cat(drawn)[:100].reshape(10, 10)
    assert (rounds.sort(dim=1).values == torch.arange(10)).all()
    assert len(torch.unique(rounds, dim=0)) > 1


def test_a_long_track_is_drawn_as_often_as_a_short_one():
    track = torch.tensor([0] * 10 + [1] + [2] * 4)
    weight = segment_weights(track, "tracks")
    torch.testing.assert_close(weight, torch.tensor([1 / 30] * 10 + [1 / 3] + [1 / 12] * 4))
    for usable, share in ((track >= 0, [1 / 3] * 3), (track < 2, [1 / 2, 1 / 2, 0])):
        rows = usable.nonzero().flatten()
        batches = cycle(rows, 8, torch.Generator().manual_seed(0), weight[rows])
        drawn = track[torch.cat([next(batches) for _ in range(500)])]
        assert len(drawn) == 4000
        np.testing.assert_allclose(drawn.bincount(minlength=3) / 4000, share, atol=0.03)
    equal = segment_weights(track, "segments")
    torch.testing.assert_close(equal, torch.full((15,), 1 / 15))
    batches = cycle(torch.arange(15), 15, torch.Generator().manual_seed(0), equal)
    assert sorted(next(batches).tolist()) == list(range(15))


def test_training_draws_by_weight():
    """Of two datasets that differ in a track that weighs nothing, the same is learned."""
    data, found = made_up(), []
    weight = torch.where(data.track == 1, 0.0, data.weight)
    for shift in (0.0, 9.0):
        values = data.values + shift * (data.track == 1)[:, None, None]
        part = TrainingData(**{**vars(data), "values": values, "weight": weight})
        with seeded(0):
            projector = build_projector("mlp", 1, 8, 4, width=16)
        train(projector, [part], TrainingSettings(epochs=2), progress=False)
        found.append(torch.cat([p.flatten() for p in projector.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize("kind", ["paper", "mlp", "layer_attention"])
def test_training_learns_and_keeps_the_best_epoch(kind):
    with seeded(0):
        projector = build_projector(kind, 1, 8, 4, width=32)
    history = train(projector, [made_up()], small(), progress=False)
    best = history.attrs["best_epoch"]
    assert history["validation"][best] == history["validation"].max() > 0.9
    assert history["triplet"].iloc[-1] < 0.6 * history["triplet"].iloc[0]


def test_same_seed_same_weights_and_nothing_leaks_into_the_global_seed():
    weights = []
    for seed in (1, 1, 2):
        with seeded(seed):
            projector = build_projector("mlp", 1, 8, 4, width=16)
        torch.manual_seed(123)
        train(projector, [made_up()], small(), seed=seed, progress=False)
        after = torch.rand(1).item()
        torch.manual_seed(123)
        assert after == torch.rand(1).item()
        weights.append(torch.cat([p.flatten() for p in projector.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_validation_tracks_are_not_trained_on():
    data = made_up()
    segments = data.training_segments()
    assert not data.validation[data.track[segments]].any()
    assert len(segments) == 2 * int((~data.validation).sum())


def test_alignment_separates_clusters_of_two_datasets():
    settings = TrainingSettings(epochs=30, batch_size=32, learning_rate=3e-3, alignment_weight=2.5)
    with seeded(0):
        projector = build_projector("mlp", 1, 8, 4, width=32)
    both = [made_up(0), made_up(1, tracks=21, name="smaller")]
    history = train(projector, both, settings, progress=False)
    assert history["alignment"].iloc[-1] < 0.75 * history["alignment"].iloc[0]
    assert {"validation made-up", "validation smaller"} <= set(history.columns)


def test_nothing_to_train_on_is_an_error():
    data = made_up()
    everything = TrainingData(**{**vars(data), "validation": torch.ones(60, dtype=torch.bool)})
    projector = build_projector("mlp", 1, 8, 4)
    with pytest.raises(ValueError, match="made-up: no segment to train on: of 60 tracks"):
        train(projector, [everything], small(), progress=False)
    with pytest.raises(ValueError, match="no training dataset"):
        train(projector, [], small(), progress=False)
