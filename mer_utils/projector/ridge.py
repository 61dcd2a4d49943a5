"""Zero-shot maps in closed form: a ridge onto label vectors, and words as anchors.

Sources: Romera-Paredes & Torr 2015, "An embarrassingly simple approach to zero-shot learning";
Norouzi et al. 2014 (ConSE: from a tagger's tags to any label), for the tags among the anchors.

Conventions: features are (segments, layers, dim), label vectors (labels, d).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mer_utils.projector.networks import RidgeProjector, build_projector
from mer_utils.projector.training import TrainingData

ROWS = 8192  # looked at together: all features in double precision may not fit into memory


def fit_ridge(
    values: Tensor,
    targets: Tensor,
    penalty: float,
    weights: Tensor | None = None,
    blocks: Sequence[int] | None = None,
    keep_length: bool = True,
) -> RidgeProjector:
    """The linear map W with the least Σ w‖(x − x̄)W − t‖² + penalty·v·‖W‖², in closed form.

    values: (n, layers, dim) features; put them on one scale first, as the penalty treats all alike.
    targets: (n, d) where each should land: its centred targets times the centred label vectors.
    penalty: 0 or more, in units of v, the features' mean variance.
    weights: (n,) how much each item counts, scaled to a sum of 1; all alike if None.
    blocks: widths of the parts of which the features consist, in order; every part then counts the
        same, however wide it is (its features are divided by the root of its width).
    keep_length: of the projector.
    Returns the projector; the features' weighted mean x̄ is kept as its offset.
    """
    if not penalty >= 0:
        raise ValueError(f"the ridge's penalty is {penalty}; expected 0 or more")
    if not len(values) == len(targets) > 0:
        raise ValueError(f"fit_ridge got {len(values)} items of features, {len(targets)} targets")
    x = values.flatten(1)  # (n, layers * dim)
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    w = (w / w.sum())[:, None]  # (n, 1)
    parts = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    offset = torch.stack([(w[part] * x[part].double()).sum(0) for part in parts]).sum(0)
    widths = torch.tensor(list(blocks or [1] * x.shape[1]))
    scale = widths.double().rsqrt().repeat_interleave(widths)  # of each feature; 1 without blocks
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    aim = torch.zeros(x.shape[1], targets.shape[1], dtype=torch.float64)
    for part in parts:
        rows = (x[part].double() - offset) * scale
        gram += rows.T @ (w[part] * rows)
        aim += rows.T @ (w[part] * targets[part].double())
    gram.diagonal().add_(penalty * gram.diagonal().mean())
    if not (gram.isfinite().all() and aim.isfinite().all()):
        raise ValueError("fit_ridge got features, targets or a penalty that are no finite numbers")
    factor, failed = torch.linalg.cholesky_ex(gram)
    if penalty > 0 and gram.diagonal().min() > 0 and not failed:
        solution = torch.cholesky_solve(aim, factor)
    else:  # without a penalty, or with a tiny one, there may be more features than items
        solution = torch.linalg.lstsq(gram, aim, driver="gelsd").solution
    sizes = *values.shape[1:], targets.shape[1]
    projector = build_projector("ridge", *sizes, keep_length=keep_length)
    projector.weight.copy_((scale[:, None] * solution).float())
    projector.offset.copy_(offset.float())
    return projector


def fit_ridge_to(
    data: Sequence[TrainingData],
    penalty: float,
    label_penalty: float | None = None,
    blocks: Sequence[int] | None = None,
    keep_length: bool = True,
) -> RidgeProjector:
    """Closed-form map to (targets − their mean) · (label vectors − their mean, unit length).

    Every dataset counts the same; validation tracks are used as well, as nothing stops early.
    Training segments are projected to a root mean square length of 1: one scale for all spaces.

    label_penalty: as in `label_smoother`; the other arguments as in `fit_ridge`.
    """
    values, aims, unit_vectors = [], [], []
    for part in data:
        vectors = part.target_vectors - part.target_vectors.mean(0)
        unit_vectors.append(functional.normalize(vectors, dim=1))  # (labels, d)
        targets = part.targets.float()
        centred = targets - part.weight @ targets[part.track]  # (tracks, labels)
        values.append(part.values - torch.tensordot(part.weight, part.values, 1))
        aims.append((centred @ unit_vectors[-1])[part.track])  # (segments, d)
    x, weight = torch.cat(values), torch.cat([part.weight for part in data])
    aim = torch.cat(aims) @ label_smoother(torch.cat(unit_vectors), label_penalty)
    projector = fit_ridge(x, aim, penalty, weight, blocks, keep_length)
    squares = projector(x).square().sum(1)  # (segments,)
    length = ((weight * squares).sum() / weight.sum()).sqrt()
    if length > 0:
        projector.weight /= length
    return projector


def label_smoother(vectors: Tensor, penalty: float | None) -> Tensor:
    """(EᵀE + β·I)⁻¹ over all training labels E (labels, d) of unit length: (d, d).

    Romera-Paredes & Torr 2015, the second penalty, above 0; the identity if it is None.
    """
    identity = torch.eye(vectors.shape[1], dtype=torch.float64)
    if penalty is None:
        return identity.float()
    gram = vectors.T.double() @ vectors.double()  # (d, d)
    return torch.linalg.inv(gram + penalty * identity).float()


def fit_anchors(
    data: Sequence[TrainingData],
    penalty: float,
    label_penalty: float,
    blocks: Sequence[int] | None = None,
    tags: tuple[Sequence[int], Tensor] | None = None,
    tag_weight: float = 0.1,
) -> RidgeProjector:
    """Closed-form map in which every training word is an anchor: a place in text, a way in sound.

    First a ridge of every dataset finds for each of its words the direction D in the features
    along which tracks with the word differ from the others. Then a second ridge, in text, makes the
    direction of any word out of those of the anchors: with their centred unit vectors E and the
    word's e it is D·(E·Eᵀ + β·N)⁻¹·E·e. N says how little an anchor is trusted: 1 for a word of the
    training data, 1 / tag_weight for a tag. (Gaussian process regression from text to sound.)

    penalty: of the first ridge, as in `fit_ridge`; label_penalty: β of the second, above 0.
    tags: columns of the features that a tagger's tags are, and the tags' vectors (tags, d): anchors
        whose direction is known without any label. None is without.
    Training segments are projected to a root mean square length of 1.
    """
    x = torch.cat([part.values.flatten(1) for part in data]).double()  # (segments, features)
    weight = torch.cat([part.weight for part in data]).double() / len(data)
    directions, vectors, trust = [], [], []
    for part in data:
        targets = part.targets.float()
        centred = (targets - part.weight @ targets[part.track])[part.track]  # (segments, labels)
        found = fit_ridge(part.values, centred, penalty, part.weight, blocks).weight.double()
        spread = (weight @ (x @ found).square()).sqrt()  # (labels,) of their scores
        # Its root lies between trusting all words alike and trusting those that are heard best.
        directions.append(found / spread.clamp(min=1e-12).sqrt())  # (features, labels)
        vectors.append(part.target_vectors)
        # What no track has sounds like nothing that is known: it is no anchor.
        trust.append(targets[part.track].any(0).float())
    if tags is not None:
        columns, tag_vectors = tags
        directions.append(functional.one_hot(torch.tensor(columns), x.shape[1]).T.double())
        vectors.append(tag_vectors)
        trust.append(torch.full((len(columns),), tag_weight))
    unit = [functional.normalize(each - each.mean(0), dim=1) for each in vectors]
    e, trusted = torch.cat(unit).double(), torch.cat(trust)  # (anchors, d), (anchors,)
    kept = trusted > 0
    mixture = anchor_mixture(e[kept], trusted[kept], label_penalty)  # (anchors, d)
    made = torch.cat(directions, dim=1)[:, kept] @ mixture  # (features, d)
    length = (weight @ (x @ made).square().sum(1)).sqrt()
    projector = build_projector("ridge", *data[0].values.shape[1:], e.shape[1])
    projector.weight.copy_((made / length.clamp(min=1e-12)).float())
    return projector


def anchor_mixture(vectors: Tensor, trust: Tensor, label_penalty: float) -> Tensor:
    """(E·Eᵀ + β·N)⁻¹·E: times the vector of a word it says how much of each anchor the word is.

    vectors: E, (anchors, d) of unit length; trust: (anchors,) 1 / N, above 0. Returns (anchors, d).
    """
    e = vectors.double()
    return torch.linalg.solve(e @ e.T + label_penalty * torch.diag(1 / trust.double()), e)
