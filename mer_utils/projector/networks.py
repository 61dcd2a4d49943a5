"""Projectors: from the audio encoder's layers to the label space.

Three kinds with one interface, `projector(values)` with values (batch, layers, dim) giving
(batch, d):

- "paper": the network of arXiv 2410.11522: layers concatenated, linear to the width, transformer
  encoder blocks over a sequence of one token, layer norm, linear to d. With one token, attention
  has nothing to choose from, so its queries, keys and softmax are left out: the same function
  (a test compares it with PyTorch's blocks) for less work.
- "mlp": layers concatenated, linear, ReLU, dropout, linear.
- "ridge": a linear map in closed form (`fit_ridge`), after Romera-Paredes & Torr 2015, "An
  embarrassingly simple approach to zero-shot learning".

A network is trained on cosines, so only the direction of its projections means something. The
length of a ridge's projection says how sure it is of anything, and its scores keep it: `compare`.
"""

from copy import deepcopy
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn import functional

from mer_utils.projector.losses import cosines
from mer_utils.registry import Registry

PROJECTORS = Registry("projector")
"""Classes of `Projector`, made with (layers, dim, dimensions, and settings of their own).

In training a batch holds items of all datasets.
"""

BLOCKS, HEADS, DROPOUT = 2, 8, 0.1  # of the paper's network


class Projector(nn.Module):
    """What all kinds share: the call, and scores by cosine.

    config: kind, sizes and settings, from which `build_projector` makes the same again.
    """

    config: dict

    def compare(self, projected: Tensor, vectors: Tensor) -> Tensor:
        """Scores of projections (n, d) for labels (labels, d): (n, labels)."""
        return cosines(projected, vectors)


@PROJECTORS.register("paper")
class PaperProjector(Projector):
    """The network of the paper; see the module's docstring."""

    def __init__(self, layers: int, dim: int, dimensions: int, width: int = 768) -> None:
        super().__init__()
        self.enter = nn.Linear(layers * dim, width)
        block = OneTokenBlock(width)  # of the same first weights, as in nn.TransformerEncoder
        self.encoder = nn.Sequential(*(deepcopy(block) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dimensions)

    def forward(self, values: Tensor) -> Tensor:
        """Project features: (batch, layers, dim) to (batch, dimensions)."""
        x = self.encoder(self.enter(values.flatten(1)))  # (batch, width)
        return self.leave(self.norm(x))


class OneTokenBlock(nn.Module):
    """What nn.TransformerEncoderLayer is to a sequence of one token: (batch, width) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"the width {width} is not a multiple of the {HEADS} attention heads")
        whole = nn.TransformerEncoderLayer(width, HEADS, 4 * width)  # for its first weights
        self.values = nn.Linear(width, width)
        with torch.no_grad():
            self.values.weight.copy_(whole.self_attn.in_proj_weight[2 * width :])
            self.values.bias.copy_(whole.self_attn.in_proj_bias[2 * width :])
        self.out = nn.Linear(width, width)
        self.out.load_state_dict(whole.self_attn.out_proj.state_dict())
        self.norm1, self.norm2 = whole.norm1, whole.norm2
        self.linear1, self.linear2 = whole.linear1, whole.linear2

    def forward(self, x: Tensor) -> Tensor:
        """Attend (a head is dropped as a whole), then feed forward."""
        heads = self.values(x).unflatten(1, (HEADS, -1))  # (batch, heads, width / heads)
        if self.training:
            heads = heads * dropped_out(heads[..., :1])
        x = self.norm1(x + self._drop(self.out(heads.flatten(1))))
        wide = self._drop(self.linear1(x).relu())  # (batch, 4 width)
        return self.norm2(x + self._drop(self.linear2(wide)))

    def _drop(self, x: Tensor) -> Tensor:
        return x * dropped_out(x) if self.training else x


def dropped_out(like: Tensor) -> Tensor:
    """Random factors that drop a tenth of the values and scale the others so that the mean stays.

    What nn.Dropout multiplies by, in a fraction of its time on a CPU, where it takes a fifth of a
    training: 16 random bits a value do, drawn four values at a time.
    """
    drawn = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device)
    bits = drawn.random_(-(2**63), None).view(torch.int16)[: like.numel()].view(like.shape)
    lost = round(DROPOUT * 2**16)  # of the 65,536 values that 16 bits have, the lowest
    kept = bits.clamp_(lost - 2**15 - 1, lost - 2**15).sub_(lost - 2**15 - 1)  # 0 or 1
    return kept.to(like.dtype).mul_(1 / (1 - lost / 2**16))


@PROJECTORS.register("mlp")
class MLPProjector(Projector):
    """One hidden layer; see the module's docstring."""

    def __init__(self, layers: int, dim: int, dimensions: int, width: int = 512) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(layers * dim, width),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(width, dimensions),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Project features: (batch, layers, dim) to (batch, dimensions)."""
        return self.network(values.flatten(1))


@PROJECTORS.register("ridge")
class RidgeProjector(Projector):
    """A linear map whose weights `fit_ridge` solves for.

    keep_length: score by the projection's length along a label's direction, not by the cosine.
    """

    def __init__(self, layers: int, dim: int, dimensions: int, keep_length: bool = True) -> None:
        super().__init__()
        self.keep_length = keep_length
        self.register_buffer("weight", torch.zeros(layers * dim, dimensions))
        self.register_buffer("offset", torch.zeros(layers * dim))

    def forward(self, values: Tensor) -> Tensor:
        """Project features: (batch, layers, dim) to (batch, dimensions)."""
        return (values.flatten(1) - self.offset) @ self.weight

    def compare(self, projected: Tensor, vectors: Tensor) -> Tensor:
        """Scores of projections (n, d) for labels (labels, d): (n, labels)."""
        if not self.keep_length:
            return cosines(projected, vectors)
        return projected @ functional.normalize(vectors, dim=1).T


def build_projector(
    kind: str, layers: int, dim: int, dimensions: int, **settings: object
) -> Projector:
    """Make a projector with fresh weights.

    kind: one of `PROJECTORS`; settings: its own, as width or keep_length.
    layers, dim: the shape of one segment's features; dimensions: of the label space.
    Raises ValueError for an unknown kind or setting.
    """
    make = PROJECTORS[kind]
    try:
        given = signature(make).bind(layers, dim, dimensions, **settings)
    except TypeError as error:
        raise ValueError(f"projector {kind!r}: {error}") from error
    given.apply_defaults()
    projector = make(**given.arguments)
    projector.config = {"kind": kind, **given.arguments}
    return projector
