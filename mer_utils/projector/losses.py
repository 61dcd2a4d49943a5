"""Losses: the paper's triplet loss and alignment regularisation, and a contrastive one.

Source: Liu, Roy, Herremans, arXiv 2410.11522 (section 3), with the three variants of the
alignment term that the authors' code offers; Khosla et al. 2020, "Supervised contrastive
learning" (several positives), for the contrastive loss, here over a vocabulary of labels. Two more
alignment terms are ours; they need no clusters, and join datasets whose words hardly meet.

Conventions: a batch of b items; vectors are compared by cosine, so their lengths do not matter.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from mer_utils.registry import Registry

if TYPE_CHECKING:
    from mer_utils.projector.training import TrainingSettings

ClusterVariant = Literal["contrast", "push", "pull"]  # the paper's: of `alignment_loss`
Variant = Literal[ClusterVariant, "follow", "centre"]
LOSSES = Registry("loss")
"""What draws items to their labels; entries have the arguments of `triplet`."""


@LOSSES.register("triplet")
def triplet(
    projected: Tensor,
    targets: Tensor,
    vectors: Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> Tensor:
    """The paper's: the mean of an item's labels is near, that of a few drawn others is far.

    projected: (b, d) projected audio of one dataset.
    targets: (b, labels) bool; every item has a label, and none has all.
    vectors: (labels, d) what each label of the dataset aims at.
    settings: margin, negatives, temperature and all else; generator: of what is drawn.
    Returns a scalar.
    """
    drawn = draw_negatives(targets, settings.negatives, generator)
    positive, negative = mean_vectors(targets, vectors), mean_vectors(drawn, vectors)  # (b, d)
    return triplet_loss(projected, positive, negative, settings.margin)


@LOSSES.register("contrastive")
def contrastive(
    projected: Tensor,
    targets: Tensor,
    vectors: Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> Tensor:
    """Each item has to pick its labels out of the whole vocabulary; arguments as for `triplet`.

    The softmax over all labels of cosine / temperature is the probability of each label; the loss
    is its negative logarithm, averaged over an item's labels, then over items.
    """
    logits = cosines(projected, vectors) / settings.temperature  # (b, labels)
    log_probabilities = functional.log_softmax(logits, dim=1)
    chosen = targets.to(projected.dtype)
    return -((log_probabilities * chosen).sum(1) / chosen.sum(1).clamp(min=1)).mean()


def mean_vectors(membership: Tensor, vectors: Tensor) -> Tensor:
    """The mean vector of each item's labels, zero for none: (items, labels) bool and (labels, d) to
    (items, d).
    """
    membership = membership.to(vectors.dtype)
    return membership @ vectors / membership.sum(1, keepdim=True).clamp(min=1)


def draw_negatives(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw labels that each item does not have, without replacement: (items, labels) bool.

    targets: (items, labels) bool. count: how many; an item with fewer others gets all of them.
    """
    keys = torch.rand(targets.shape, generator=generator, device=targets.device)
    keys = keys.masked_fill(targets, -1.0)  # own labels come last
    first = keys.topk(min(count, targets.shape[1]), dim=1).indices  # (items, count)
    return torch.zeros_like(targets).scatter(1, first, True) & ~targets


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Mean of relu(cos(anchor, negative) - cos(anchor, positive) + margin).

    anchor: (b, d) projected audio.
    positive: (b, d) what it should be near: the mean of its labels' vectors.
    negative: (b, d) what it should be far from: the mean of other labels' vectors.
    margin: how much nearer, in cosine; the paper has 1.
    Returns a scalar, 0 to margin + 2.
    """
    if anchor.ndim != 2 or not anchor.shape == positive.shape == negative.shape:  # no broadcasting
        shapes = [tuple(x.shape) for x in (anchor, positive, negative)]
        raise ValueError(f"triplet_loss compares three matrices of one shape (b, d), not {shapes}")
    unit, near, far = (functional.normalize(x, dim=1) for x in (anchor, positive, negative))
    further = (unit * (far - near)).sum(1)  # (b,) the cosine of the far less that of the near
    return functional.relu(further + margin).mean()


def alignment_loss(
    projected: Tensor, clusters: Tensor, weight: float, variant: ClusterVariant = "contrast"
) -> Tensor:
    """Draw items of one label cluster together and push those of different clusters apart.

    projected: (b, d) projected audio of all datasets in the batch.
    clusters: (b,) int, the label cluster of each item.
    weight: λ, 0 or more; the paper tries 0.5, 1 and 2.5.
    variant: with s⁺ and s⁻ an item's mean cosine to the others of its own and of other clusters,
        "contrast" λ·mean relu(s⁻ − s⁺ + 1), "push" λ·mean relu(s⁻ + 1), "pull" λ·mean (1 − s⁺).
        The mean over no items counts as 0.
    Returns a scalar.
    """
    _check_items(projected, weight, clusters=clusters)
    own, other = cluster_cosines(projected, clusters)
    relu = functional.relu
    terms = {"contrast": relu(other - own + 1), "push": relu(other + 1), "pull": 1 - own}
    if variant not in terms:
        raise ValueError(f"no alignment variant {variant!r}; there are {', '.join(terms)}")
    return weight * terms[variant].mean()


def follow_loss(projected: Tensor, aims: Tensor, owners: Tensor, weight: float) -> Tensor:
    """Let items of two datasets be as alike as the meanings of their labels: soft, not by cluster.

    projected, weight: as in `alignment_loss`; owners: (b,) int, the dataset of each item.
    aims: (b, d) the mean vector of each item's labels, minus the mean of its dataset's vocabulary:
        what all labels of a dataset have in common says nothing of a track.
    Returns λ·mean (cos(projected) − cos(aims))² over pairs of two datasets; over no pairs it is 0.
    """
    _check_items(projected, weight, aims=aims[..., 0], owners=owners)
    total, pairs = projected.new_zeros(()), 0
    for one, other in combinations([owners == owner for owner in owners.unique()], 2):
        missed = cosines(projected[one], projected[other]) - cosines(aims[one], aims[other])
        total, pairs = total + missed.square().sum(), pairs + missed.numel()
    return weight * total / max(1, pairs)


def centre_loss(projected: Tensor, owners: Tensor, weight: float) -> Tensor:
    """Lay the datasets' centres on one another, whatever their labels; arguments as `follow_loss`.

    Returns λ·mean |m − n|² over pairs of datasets, m and n being the means of their projections
    at unit length; over no pairs it is 0.
    """
    _check_items(projected, weight, owners=owners)
    membership = owners.unique()[:, None] == owners  # (datasets, b)
    means = mean_vectors(membership, functional.normalize(projected, dim=1))  # (datasets, d)
    distances = (means[:, None] - means[None, :]).square().sum(2)  # (datasets, datasets)
    return weight * distances.sum() / max(1, len(means) * (len(means) - 1))


def _check_items(projected: Tensor, weight: float, **of_items: Tensor) -> None:
    """Refuse what torch would broadcast: all but the projections (b, d) are (b,)."""
    shapes = {name: tuple(values.shape) for name, values in of_items.items()}
    if projected.ndim != 2 or set(shapes.values()) != {(len(projected),)} or not weight >= 0:
        given = f"{tuple(projected.shape)}, {shapes} and {weight}"
        raise ValueError(f"items (b, d), one row each and a weight of 0 or more, not {given}")


def cluster_cosines(projected: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """Each item's mean cosine to the other items of its own cluster, and of all other clusters.

    Arguments as in `alignment_loss`. Returns s⁺ and s⁻, (b,) each; 0 where there is no such item.
    """
    unit = functional.normalize(projected, dim=1)
    # A sum of cosines is the cosine with the sum, so no pair need be looked at.
    each, number, size = clusters.unique(return_inverse=True, return_counts=True)
    sums = (each[:, None] == clusters).to(unit.dtype) @ unit  # (clusters, d)
    in_own = (unit * sums[number]).sum(1)  # (b,), with itself
    others, strangers = size[number] - 1, len(unit) - size[number]  # (b,) how many
    own = torch.where(others > 0, in_own - unit.square().sum(1), 0) / others.clamp(min=1)
    other = torch.where(strangers > 0, unit @ unit.sum(0) - in_own, 0) / strangers.clamp(min=1)
    return own, other


def cosines(projected: Tensor, vectors: Tensor) -> Tensor:
    """Cosine of every projection with every label: (n, d) and (labels, d) to (n, labels)."""
    return functional.normalize(projected, dim=1) @ functional.normalize(vectors, dim=1).T
