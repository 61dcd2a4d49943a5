"""Ridge regression onto label vectors, in closed form.

Source: Romera-Paredes & Torr 2015, "An embarrassingly simple approach to zero-shot learning".

Conventions: features are (segments, layers, dim), label vectors (labels, d).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mer_utils.projector.networks import RidgeProjector

ROWS = 8192  # of features that a ridge looks at together


def fit_ridge(
    values: Tensor,
    targets: Tensor,
    penalty: float,
    weights: Tensor | None = None,
    blocks: Sequence[int] | None = None,
    keep_length: bool = True,
) -> RidgeProjector:
    """The linear map W with the least Σ w‖(x − x̄)W − t‖² + penalty·v·‖W‖², in closed form.

    values: (n, layers, dim) features; put them on one scale first (models.statistics), as the
        penalty treats all alike.
    targets: (n, d) where each should land: its centred targets times the centred label vectors.
    penalty: in units of v, the features' mean variance; more is smoother, 0 is least squares.
    weights: (n,) how much each item counts, scaled to a sum of 1; all alike if None.
    blocks: widths of the parts of which the features consist, in order; every part then counts the
        same, however wide it is (its features are divided by the root of its width). One if None.
    keep_length: of the projector.
    Returns the projector; the features' weighted mean x̄ is kept as its offset.
    """
    if len(values) != len(targets) or len(values) == 0:
        raise ValueError(
            f"fit_ridge got {len(values)} items of features and {len(targets)} targets; it needs "
            "one target an item, and at least one item"
        )
    if penalty < 0:
        raise ValueError(f"the ridge penalty is {penalty}; it must be 0 or more")
    x = values.flatten(1)  # (n, layers * dim)
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    w = (w / w.sum())[:, None]  # (n, 1)
    # in parts, as all features in double precision may not fit into memory
    parts = [slice(start, start + ROWS) for start in range(0, len(x), ROWS)]
    offset = torch.stack([(w[part] * x[part].double()).sum(0) for part in parts]).sum(0)
    scale = _block_scale(x.shape[1], blocks)  # (layers * dim,)
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    aim = torch.zeros(x.shape[1], targets.shape[1], dtype=torch.float64)
    for part in parts:
        rows = (x[part].double() - offset) * scale
        gram += rows.T @ (w[part] * rows)
        aim += rows.T @ (w[part] * targets[part].double())
    gram.diagonal().add_(penalty * gram.diagonal().mean())
    if penalty > 0 and gram.diagonal().min() > 0:
        solution = torch.cholesky_solve(aim, torch.linalg.cholesky(gram))
    else:  # without a penalty there may be more features than items
        solution = torch.linalg.lstsq(gram, aim, driver="gelsd").solution
    projector = RidgeProjector(
        values.shape[1], values.shape[2], targets.shape[1], keep_length=keep_length
    )
    projector.weight.copy_((scale[:, None] * solution).float())
    projector.offset.copy_(offset.float())
    return projector


def _block_scale(width: int, blocks: Sequence[int] | None) -> Tensor:
    """One over the root of each feature's block's width: (width,) float64."""
    if blocks is None:
        return torch.ones(width, dtype=torch.float64)
    if sum(blocks) != width:
        raise ValueError(
            f"blocks of {list(blocks)} features make {sum(blocks)}, but there are {width}"
        )
    widths = torch.tensor(list(blocks))
    return widths.double().rsqrt().repeat_interleave(widths)


def label_smoother(vectors: Tensor, penalty: float | None) -> Tensor:
    """(EᵀE + β·I)⁻¹ over all training labels E (labels, d) of unit length: (d, d).

    Romera-Paredes & Torr 2015, the second penalty; the identity if there is none.
    """
    identity = torch.eye(vectors.shape[1], dtype=torch.float64)
    if penalty is None:
        return identity.float()
    if penalty <= 0:
        raise ValueError(f"the label penalty is {penalty}; it must be above 0, or None")
    gram = vectors.T.double() @ vectors.double()  # (d, d)
    return torch.linalg.inv(gram + penalty * identity).float()
