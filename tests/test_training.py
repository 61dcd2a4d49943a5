"""Losses and training: by hand, the paper's values, and that a small problem is learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor, zeros

from mer_utils.projector import (
    LOSSES,
    TrainingData,
    TrainingSettings,
    alignment_loss,
    build_projector,
    centre_loss,
    cluster_cosines,
    follow_loss,
    train,
    triplet_loss,
)
from mer_utils.projector.losses import draw_negatives, mean_vectors
from mer_utils.projector.training import cycle, draw_label, seeded, segment_weights

SMALL = TrainingSettings(epochs=20, batch_size=32, learning_rate=3e-3)


def test_triplet_by_hand():
    anchor = tensor([[1.0, 0.0], [0.0, 2.0]])
    positive = tensor([[3.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
    negative = tensor([[0.0, 1.0], [0.0, 5.0]])  # cosines 0 and 1
    # relu(0 - 1 + 1) = 0 and relu(1 - 0 + 1) = 2, mean 1
    assert triplet_loss(anchor, positive, negative).item() == pytest.approx(1.0)
    assert triplet_loss(anchor, positive, negative, margin=0.5).item() == pytest.approx(0.75)


def test_contrastive_by_hand():
    vectors = tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])  # cosines 1, 0, -1
    settings, targets = TrainingSettings(temperature=0.5), tensor([[True, True, False]])
    exponentials = tensor([1.0, 0.0, -1.0]).div(0.5).exp()
    probabilities = exponentials / exponentials.sum()
    expected = -(probabilities[0].log() + probabilities[1].log()) / 2
    found = LOSSES["contrastive"](tensor([[2.0, 0.0]]), targets, vectors, settings, None)
    torch.testing.assert_close(found, expected)


def test_alignment_by_hand():
    # two items at 0°, one at 90° in cluster 0; one item at 0° alone in cluster 1
    items = tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    clusters = tensor([0, 0, 0, 1])
    own, other = cluster_cosines(items, clusters)
    assert own.tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0])  # the last has no other: 0
    assert other.tolist() == pytest.approx([1.0, 1.0, 0.0, 2 / 3])
    terms = {"contrast": (1.5, 1.5, 1, 5 / 3), "push": (2, 2, 1, 5 / 3), "pull": (0.5, 0.5, 1, 1)}
    for variant, each in terms.items():
        loss = alignment_loss(items, clusters, 2.0, variant).item()
        assert loss == pytest.approx(2 * sum(each) / 4)


@pytest.mark.parametrize(
    ("variant", "value"), [("contrast", 2.498594), ("push", 2.502831), ("pull", 2.495762)]
)
def test_alignment_parity_with_the_papers_method(variant, value):
    torch.manual_seed(0)
    items, clusters = torch.randn(64, 384), torch.arange(64) % 7
    loss = alignment_loss(items, clusters, 2.5, variant).item()
    assert loss == pytest.approx(value, abs=2e-6)


@given(items=st.integers(1, 12), count=st.integers(1, 4), seed=st.integers(0, 1000))
def test_alignment_is_bounded_and_finite(items, count, seed):
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(items, 5, generator=generator, requires_grad=True)
    groups = torch.randint(count, (items,), generator=generator)
    for variant, most in (("contrast", 3), ("push", 2), ("pull", 2)):
        loss = alignment_loss(projected, groups, 2.0, variant)
        assert 0 <= loss.item() <= 2 * most + 1e-5
        loss.backward()
    aims = torch.ones(items, 5)
    aims[0] = 0.0  # a track with every label
    (follow_loss(projected, aims, groups, 1.0) + centre_loss(projected, groups, 1.0)).backward()
    assert torch.isfinite(projected.grad).all()


def test_follow_by_hand():
    items = tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    aims = tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 1.0]])
    # pairs of two datasets: cosines 1 and 0 of items, 0 and √½ of aims
    assert follow_loss(items, aims, tensor([0, 0, 1]), 2.0).item() == pytest.approx(1.5)
    assert follow_loss(aims, aims, tensor([0, 0, 1]), 2.0).item() == pytest.approx(0)
    assert follow_loss(items, aims, zeros(3), 2.0).item() == 0  # no such pair


def test_centre_by_hand():
    items = tensor([[4.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 5.0]])
    # centres (½, ½), (1, 0) and (0, 1): squared distances ½, ½ and 2
    assert centre_loss(items, tensor([7, 7, 1, 2]), 2.0).item() == pytest.approx(2 * 3 / 3)
    assert centre_loss(items, tensor([0, 0, 1, 1]), 2.0).item() == pytest.approx(0)
    assert centre_loss(items, zeros(4), 2.0).item() == 0  # one dataset


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: triplet_loss(x, x[:1], x), "shape"),  # would broadcast
        (lambda x: alignment_loss(x, zeros(4), 1.0), "clusters"),
        (lambda x: alignment_loss(x, zeros(3), 1.0, "follow"), "follow"),  # has no clusters
        (lambda x: follow_loss(x, x[:1], zeros(3), 1.0), "aims"),
        (lambda x: follow_loss(x, x, zeros(1), 1.0), "owners"),
        (lambda x: centre_loss(x, zeros(3), -1.0), "-1"),
    ],
)
def test_losses_refuse_what_would_be_broadcast(call, named):
    with pytest.raises(ValueError, match=named):
        call(torch.ones(3, 2))


# --- Training


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


def trained(*data: TrainingData, settings: TrainingSettings = SMALL, kind="mlp", seed=0):
    """The history and all weights of a small network."""
    with seeded(seed):
        projector = build_projector(kind, 1, 8, 4, width=32)
    history = train(projector, data, settings, seed, progress=False)
    return history, torch.cat([p.flatten() for p in projector.parameters()])


def test_settings_that_mean_nothing_are_refused():
    wrong = {
        "loss": "infonce",
        "alignment_variant": "draw",
        "alignment_weight": np.nan,
        "epochs": 0,
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"{name}.*{value!r}"):
            TrainingSettings(**{name: value})


def test_mean_vectors_by_hand():
    vectors = tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    membership = tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    assert mean_vectors(membership, vectors).tolist() == [[0.5, 0.5], [2.0, 2.0], [0.0, 0.0]]


@given(labels=st.integers(2, 9), count=st.integers(1, 9), seed=st.integers(0, 500))
def test_negatives_are_other_labels_without_replacement(labels, count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(20, labels, generator=generator) < 0.4
    drawn = draw_negatives(targets, count, generator)
    assert not (drawn & targets).any()
    assert (drawn.sum(1) == (~targets).sum(1).clamp(max=count)).all()


def test_labels_are_drawn_equally_often():
    targets = tensor([[False, False, True, False, True]]).repeat(6000, 1)
    others = draw_negatives(targets, 2, torch.Generator().manual_seed(0)).float().mean(0)
    np.testing.assert_allclose(others, [2 / 3, 2 / 3, 0, 2 / 3, 0], atol=0.03)
    own = draw_label(targets, torch.Generator().manual_seed(0)).bincount(minlength=5) / 6000
    np.testing.assert_allclose(own, [0, 0, 0.5, 0, 0.5], atol=0.03)


@pytest.mark.parametrize("batch_size", [4, 99])
def test_cycle_has_every_segment_once_a_round(batch_size):
    batches = cycle(torch.arange(10), batch_size, torch.Generator().manual_seed(0), torch.ones(10))
    drawn = [next(batches) for _ in range(30)]
    assert {len(batch) for batch in drawn} == {min(batch_size, 10)}
    rounds = torch.cat(drawn)[:100].reshape(10, 10)
    assert (rounds.sort(dim=1).values == torch.arange(10)).all()
    assert len(torch.unique(rounds, dim=0)) > 1


def test_a_long_track_is_drawn_as_often_as_a_short_one():
    track = tensor([0] * 10 + [1] + [2] * 4)
    weight = segment_weights(track, "tracks")
    torch.testing.assert_close(weight, tensor([1 / 30] * 10 + [1 / 3] + [1 / 12] * 4))
    torch.testing.assert_close(segment_weights(track, "segments"), torch.full((15,), 1 / 15))
    for usable, share in ((track >= 0, [1 / 3] * 3), (track < 2, [1 / 2, 1 / 2, 0])):
        rows = usable.nonzero().flatten()
        batches = cycle(rows, 8, torch.Generator().manual_seed(0), weight[rows])
        drawn = track[torch.cat([next(batches) for _ in range(500)])]
        np.testing.assert_allclose(drawn.bincount(minlength=3) / 4000, share, atol=0.03)


def test_training_draws_by_weight():
    """Of two datasets that differ in a track that weighs nothing, the same is learned."""
    data, short = made_up(), TrainingSettings(epochs=2)
    data = replace(data, weight=torch.where(data.track == 1, 0.0, data.weight))
    other = replace(data, values=data.values + 9.0 * (data.track == 1)[:, None, None])
    assert torch.equal(*(trained(part, settings=short)[1] for part in (data, other)))


@pytest.mark.parametrize("kind", ["paper", "mlp"])
def test_training_learns_and_keeps_the_best_epoch(kind):
    history, weights = trained(made_up(), kind=kind)
    best = history.attrs["best_epoch"]
    assert history["validation"][best] == history["validation"].max() > 0.9
    assert history["triplet"].iloc[-1] < 0.6 * history["triplet"].iloc[0]
    until_then = replace(SMALL, epochs=best + 1)
    assert torch.equal(trained(made_up(), settings=until_then, kind=kind)[1], weights)


def test_same_seed_same_weights_and_nothing_leaks_into_the_global_seed():
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first, again, other = (trained(made_up(), seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_alignment_separates_clusters_of_two_datasets():
    both = made_up(0), made_up(1, tracks=21, name="smaller")
    history, _ = trained(*both, settings=replace(SMALL, alignment_weight=2.5))
    assert history["alignment"].iloc[-1] < 0.75 * history["alignment"].iloc[0]
    assert {"validation made-up", "validation smaller"} <= set(history.columns)


def test_validation_tracks_are_not_trained_on():
    data = made_up()
    segments = data.training_segments()
    assert not data.validation[data.track[segments]].any()
    assert len(segments) == 2 * int((~data.validation).sum())
    with pytest.raises(ValueError, match="made-up"):  # nothing is left
        trained(replace(data, validation=torch.ones(60, dtype=torch.bool)))
