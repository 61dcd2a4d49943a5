"""Losses: cases small enough to check by hand, and the values of the paper's method."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor, zeros

from mer_utils.projector import (
    LOSSES,
    TrainingSettings,
    alignment_loss,
    centre_loss,
    cluster_cosines,
    follow_loss,
    triplet_loss,
)


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
def test_errors(call, named):
    with pytest.raises(ValueError, match=named):
        call(torch.ones(3, 2))
