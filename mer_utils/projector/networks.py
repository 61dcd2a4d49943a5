"""Projectors: from the audio encoder's layers to the label space.

Four kinds with one interface, `projector(values)` with values (batch, layers, dim) giving
(batch, d):

- "paper": the network of arXiv 2410.11522: layers concatenated, linear to the width, transformer
  encoder blocks over a sequence of one token, layer norm, linear to d. With one token, attention
  has nothing to choose from: its query and key weights never get a gradient (REFERENCE of the
  method's own code; a test shows it). It is kept so that the paper can be compared.
- "mlp": layers concatenated, linear, ReLU, dropout, linear.
- "layer_attention": the layers are the tokens; a learned token asks which of them matter.
- "ridge": a linear map in closed form (`fit_ridge`), after Romera-Paredes & Torr 2015, "An
  embarrassingly simple approach to zero-shot learning".

A network is trained on cosines, so only the direction of its projections means something. The
length of a ridge's projection says how sure it is of anything, and its scores keep it: `compare`.

A projector knows its `config`, from which `build_projector` makes the same again.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

KINDS = ("paper", "mlp", "layer_attention", "ridge")


class Projector(nn.Module):
    """What all kinds share: the sizes, their check, and the config that rebuilds them."""

    def __init__(self, kind: str, layers: int, dim: int, dimensions: int, **settings) -> None:
        super().__init__()
        self.config = {
            "kind": kind,
            "layers": layers,
            "dim": dim,
            "dimensions": dimensions,
            **settings,
        }

    def forward(self, values: Tensor) -> Tensor:
        """Project features: (batch, layers, dim) to (batch, dimensions).

        Raises ValueError if the features have another width than the projector was made for.
        """
        expected = (self.config["layers"], self.config["dim"])
        if values.ndim != 3 or tuple(values.shape[1:]) != expected:
            raise ValueError(
                f"this projector takes features of {expected[0]} layers × {expected[1]} dimensions "
                f"(batch, layers, dim), but got {tuple(values.shape)}; extract the features with "
                "the encoder and layers that the projector was trained on"
            )
        return self._project(values)

    def compare(self, projected: Tensor, vectors: Tensor) -> Tensor:
        """Scores of projections (n, d) for labels (labels, d): (n, labels) cosines."""
        return cosines(projected, vectors)

    def _project(self, values: Tensor) -> Tensor:
        raise NotImplementedError


class PaperProjector(Projector):
    """The network of the paper; see the module's docstring."""

    def __init__(
        self,
        layers: int,
        dim: int,
        dimensions: int,
        width: int = 768,
        blocks: int = 2,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            "paper",
            layers,
            dim,
            dimensions,
            width=width,
            blocks=blocks,
            heads=heads,
            dropout=dropout,
        )
        self.enter = nn.Linear(layers * dim, width)
        self.encoder = _transformer(width, blocks, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dimensions)

    def _project(self, values: Tensor) -> Tensor:
        x = self.enter(values.flatten(1))  # (batch, width)
        x = self.encoder(x.unsqueeze(1)).squeeze(1)  # (batch, 1, width) -> (batch, width)
        return self.leave(self.norm(x))


class MLPProjector(Projector):
    """One hidden layer; see the module's docstring."""

    def __init__(
        self, layers: int, dim: int, dimensions: int, width: int = 512, dropout: float = 0.1
    ) -> None:
        super().__init__("mlp", layers, dim, dimensions, width=width, dropout=dropout)
        self.network = nn.Sequential(
            nn.Linear(layers * dim, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, dimensions),
        )

    def _project(self, values: Tensor) -> Tensor:
        return self.network(values.flatten(1))  # (batch, layers * dim) -> (batch, dimensions)


class LayerAttentionProjector(Projector):
    """Attention over the encoder's layers; see the module's docstring."""

    def __init__(
        self,
        layers: int,
        dim: int,
        dimensions: int,
        width: int = 256,
        blocks: int = 2,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            "layer_attention",
            layers,
            dim,
            dimensions,
            width=width,
            blocks=blocks,
            heads=heads,
            dropout=dropout,
        )
        self.enter = nn.Linear(dim, width)
        self.layer_embedding = nn.Parameter(0.02 * torch.randn(layers, width))
        self.question = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.encoder = _transformer(width, blocks, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dimensions)

    def _project(self, values: Tensor) -> Tensor:
        tokens = self.enter(values) + self.layer_embedding  # (batch, layers, width)
        question = self.question.expand(len(values), -1, -1)  # (batch, 1, width)
        x = self.encoder(torch.cat([question, tokens], dim=1))  # (batch, 1 + layers, width)
        return self.leave(self.norm(x[:, 0]))


class RidgeProjector(Projector):
    """A linear map whose weights `fit_ridge` solves for; see the module's docstring.

    keep_length: score by the length of the projection along a label's direction; without it by
        the cosine, as for networks.
    """

    def __init__(self, layers: int, dim: int, dimensions: int, keep_length: bool = True) -> None:
        super().__init__("ridge", layers, dim, dimensions, keep_length=keep_length)
        self.register_buffer("weight", torch.zeros(layers * dim, dimensions))
        self.register_buffer("offset", torch.zeros(layers * dim))

    def _project(self, values: Tensor) -> Tensor:
        return (values.flatten(1) - self.offset) @ self.weight

    def compare(self, projected: Tensor, vectors: Tensor) -> Tensor:
        """Scores of projections (n, d) for labels (labels, d): (n, labels)."""
        if not self.config["keep_length"]:
            return cosines(projected, vectors)
        return projected @ functional.normalize(vectors, dim=1).T


def cosines(projected: Tensor, vectors: Tensor) -> Tensor:
    """Cosine of every projection with every label: (n, d) and (labels, d) to (n, labels)."""
    return functional.normalize(projected, dim=1) @ functional.normalize(vectors, dim=1).T


def _transformer(width: int, blocks: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    if width % heads:
        raise ValueError(f"the width {width} is not a multiple of the {heads} attention heads")
    block = nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=4 * width,
        dropout=dropout,
        activation="relu",
        batch_first=True,
    )
    return nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)


def build_projector(
    kind: str, layers: int, dim: int, dimensions: int, **settings: float
) -> Projector:
    """Make a projector with fresh weights.

    kind: one of KINDS.
    layers, dim: the shape of one segment's features.
    dimensions: of the label space.
    settings: width, blocks, heads, dropout, as far as the kind has them.
    Raises ValueError for an unknown kind or setting.
    """
    kinds = {
        "paper": PaperProjector,
        "mlp": MLPProjector,
        "layer_attention": LayerAttentionProjector,
        "ridge": RidgeProjector,
    }
    if kind not in kinds:
        raise ValueError(f"no projector {kind!r}; there are {', '.join(KINDS)}")
    try:
        return kinds[kind](layers, dim, dimensions, **settings)
    except TypeError as error:
        raise ValueError(f"projector {kind!r}: {str(error).split('.')[-1]}") from error
