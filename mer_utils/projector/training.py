"""Training a projector: triplet (or contrastive) and alignment loss over several datasets at once.

Source: arXiv 2410.11522. As in the paper: AdamW, a batch of every training dataset in each step,
the largest dataset sets the length of an epoch and the others cycle, the learning rate falls when
the validation score stalls. Unlike the authors' code: every track counts the same, however long
(`Method.weighting` has theirs), negatives are drawn without replacement and with a seed, the
validation score is the mean over the training datasets (never the unseen one), and the weights of
the best epoch are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mer_utils import metrics
from mer_utils.progress import progress_bar
from mer_utils.projector.losses import (
    LOSSES,
    ClusterVariant,
    Variant,
    alignment_loss,
    centre_loss,
    follow_loss,
    mean_vectors,
)
from mer_utils.projector.networks import Projector

Weighting = Literal["tracks", "segments"]
LEAST = {"epochs": 1, "patience": 0, "batch_size": 1, "negatives": 1, "margin": 0}
LEAST |= {"learning_rate": 1e-12, "weight_decay": 0, "temperature": 1e-6, "alignment_weight": 0}


@dataclass(frozen=True)
class TrainingSettings:
    """How a projector is trained; the defaults are the paper's where it states them.

    epochs: at most so many; patience: stop after so many epochs without a better validation score.
    batch_size: segments of each training dataset in a step.
    negatives: random labels that a track does not have, averaged to its negative.
    margin: of the triplet loss.
    loss: of `projector.LOSSES`: "triplet", or "contrastive": over the whole vocabulary instead of
        drawn negatives, with a temperature; or one of your own.
    alignment_weight, alignment_variant: λ and form of the alignment loss; weight 0 is without. The
        paper's forms "contrast", "push" and "pull" look at clusters of labels; "follow" and
        "centre" do not.
    """

    epochs: int = 75
    patience: int = 25
    batch_size: int = 256
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    negatives: int = 5
    margin: float = 1.0
    loss: str = "triplet"
    temperature: float = 0.1
    alignment_weight: float = 0.0
    alignment_variant: Variant = "contrast"

    def __post_init__(self) -> None:
        """Refuse what would train something else than was meant."""
        LOSSES[self.loss]  # an unknown one is an error
        if self.alignment_variant not in get_args(Variant):
            known = get_args(Variant)
            raise ValueError(f"alignment_variant {self.alignment_variant!r} is none of {known}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value!r}; it must be {least} or more")

    @classmethod
    def within(cls, epochs: int) -> "TrainingSettings":
        """The paper's schedule in so many epochs: in fewer than its 75, the learning rate rises and
        the patience falls by as much. (How long it waits to lower the rate stays.)

        benchmarks/training.py holds the scores of 30 epochs against those of 75.
        """
        paper = cls()
        share = min(1.0, epochs / paper.epochs)
        patience = max(1, round(paper.patience * share))
        return cls(epochs, patience, learning_rate=paper.learning_rate / share)

    @property
    def aligns_clusters(self) -> bool:
        """Whether there is an alignment loss that looks at clusters of labels, as the paper's."""
        return self.alignment_weight > 0 and self.alignment_variant in get_args(ClusterVariant)


@dataclass(frozen=True)
class TrainingData:
    """One dataset as tensors.

    values: (segments, layers, dim) features, standardised.
    track: (segments,) int, the row of each segment's track in `targets`.
    targets: (tracks, labels) bool.
    label_vectors: (labels, d) the labels' vectors, which validation scores against.
    target_vectors: (labels, d) what training aims at: the same, or each label's cluster centre.
    clusters: (labels,) int, numbered over all training datasets together.
    validation: (tracks,) bool, tracks kept for validation.
    weight: (segments,) how much each counts, with the sum 1; see `segment_weights`.
    """

    name: str
    values: Tensor
    track: Tensor
    targets: Tensor
    label_vectors: Tensor
    target_vectors: Tensor
    clusters: Tensor
    validation: Tensor
    weight: Tensor

    def to(self, device: str) -> "TrainingData":
        """The same data on another device."""
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    def training_segments(self) -> Tensor:
        """Segments that training can use: (n,) int.

        Not those of validation tracks, and not those of tracks without any label or with every
        label, which have no positive or no negative.
        """
        count = self.targets.sum(1)
        usable = (count > 0) & (count < self.targets.shape[1]) & ~self.validation
        segments = usable[self.track].nonzero().flatten()
        if len(segments) == 0:
            raise ValueError(
                f"{self.name}: no segment to train on: of {len(self.targets)} tracks, "
                f"{self.validation.sum()} validate and {(count == 0).sum()} have no label"
            )
        return segments


def segment_weights(track: Tensor, weighting: Weighting) -> Tensor:
    """How much each segment of a dataset counts: (segments,) float32 with the sum 1.

    track: (segments,) int, which track each is of.
    weighting: "tracks": every track counts the same, however long; "segments": every segment.
    """
    if weighting == "segments":
        return torch.full((len(track),), 1 / len(track))
    _, index, count = torch.unique(track, return_inverse=True, return_counts=True)
    return 1 / (count[index] * len(count))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global random numbers (weights, dropout) for a block, and put them back."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def draw_label(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one of each item's labels: (items, labels) bool to (items,) int."""
    keys = torch.rand(targets.shape, generator=generator, device=targets.device)
    return keys.masked_fill(~targets, -1.0).argmax(1)


def cycle(
    segments: Tensor, batch_size: int, generator: torch.Generator, weight: Tensor
) -> Iterator[Tensor]:
    """Batches of segments for ever, all of one size.

    Where all weigh the same, in a new random order each time round, the rest of a round before the
    next. Else each is drawn as often as it weighs, with replacement.

    segments: (n,) int; weight: (n,) how much each counts.
    """
    batch_size = min(batch_size, len(segments))
    while (weight != weight[0]).any():
        yield segments[torch.multinomial(weight, batch_size, True, generator=generator)]
    rest = segments[:0]
    while True:
        if len(rest) < batch_size:
            order = torch.randperm(len(segments), generator=generator, device=segments.device)
            rest = torch.cat([rest, segments[order]])
        yield rest[:batch_size]
        rest = rest[batch_size:]


def step_losses(
    projector: Projector,
    data: Sequence[TrainingData],
    batches: Sequence[Tensor],
    settings: TrainingSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The two losses of one step: what draws items to their labels, summed over datasets, and the
    alignment. batches: for each dataset, (batch,) int segments.
    """
    total = torch.zeros((), device=batches[0].device)
    loss, clusters = LOSSES[settings.loss], []
    items = projector(torch.cat([p.values[b] for p, b in zip(data, batches, strict=True)]))
    projections = items.split([len(batch) for batch in batches])  # (batch, d) each
    for part, batch, projected in zip(data, batches, projections, strict=True):
        targets = part.targets[part.track[batch]]  # (batch, labels)
        total = total + loss(projected, targets, part.target_vectors, settings, generator)
        # drawn by every variant: with one seed, all of them see the same batches
        clusters.append(part.clusters[draw_label(targets, generator)])
    weight, variant = settings.alignment_weight, settings.alignment_variant
    if weight == 0:
        return total, torch.zeros_like(total)
    if settings.aligns_clusters:
        return total, alignment_loss(items, torch.cat(clusters), weight, variant)
    owners = torch.cat([torch.full_like(batch, i) for i, batch in enumerate(batches)])
    if variant == "centre":
        return total, centre_loss(items, owners, weight)
    aims = [centred_aims(part, batch) for part, batch in zip(data, batches, strict=True)]
    return total, follow_loss(items, torch.cat(aims), owners, weight)


def centred_aims(part: TrainingData, segments: Tensor) -> Tensor:
    """What each segment aims at, from the middle of its dataset's vocabulary: (segments, d)."""
    vectors = part.target_vectors - part.target_vectors.mean(0)  # (labels, d)
    return mean_vectors(part.targets[part.track[segments]], vectors)


@torch.inference_mode()
def project(projector: Projector, values: Tensor, batch_size: int = 4096) -> Tensor:
    """Project all segments, in evaluation mode: (segments, layers, dim) to (segments, d)."""
    projector.eval()
    return torch.cat([projector(part) for part in values.split(batch_size)])


def validation_score(projector: Projector, part: TrainingData) -> float:
    """Macro ROC-AUC over the validation tracks of one training dataset; .5 is chance.

    NaN if no label has both a positive and a negative among them.
    """
    rows = part.validation[part.track].nonzero().flatten()
    if len(rows) == 0:
        return float("nan")
    scores = projector.compare(project(projector, part.values[rows]), part.label_vectors)
    scores = metrics.check_scores(scores.cpu().numpy())  # a diverged network is no best epoch
    tracks, index = torch.unique(part.track[rows], return_inverse=True)
    per_track = metrics.track_scores(scores, index.cpu().numpy(), len(tracks))
    return float(metrics.macro(metrics.roc_auc(per_track, part.targets[tracks].cpu().numpy())))


def train(
    projector: Projector,
    data: Sequence[TrainingData],
    settings: TrainingSettings,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a projector in place, on a GPU if there is one; it ends with its best epoch's weights.

    data: the training datasets; the unseen dataset is not among them.
    progress: show a bar.
    Returns a table, one row an epoch: loss, triplet, alignment, learning rate, validation (mean
    macro ROC-AUC over the datasets' validation tracks) and one validation column a dataset. Its
    `attrs["best_epoch"]` is the epoch whose weights were kept: the last if nothing validates.
    Raises ValueError if there is nothing to train on.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    projector.to(device)
    data = [part.to(device) for part in data]
    generator = torch.Generator(device).manual_seed(seed)
    segments = [part.training_segments() for part in data]
    steps = max(-(-len(rows) // settings.batch_size) for rows in segments)
    cycles = [
        cycle(rows, settings.batch_size, generator, part.weight[rows])
        for part, rows in zip(data, segments, strict=True)
    ]
    decay = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.AdamW(projector.parameters(), **decay, fused=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.2, patience=10, cooldown=5
    )
    history, best, best_epoch, best_weights = [], -np.inf, settings.epochs - 1, None
    with seeded(seed), progress_bar(total=settings.epochs, show=progress, leave=False) as bar:
        for epoch in range(settings.epochs):
            projector.train()
            sums = torch.zeros(2, device=device)
            for _ in range(steps):
                batches = [next(batch) for batch in cycles]
                losses = torch.stack(step_losses(projector, data, batches, settings, generator))
                optimizer.zero_grad()
                losses.sum().backward()
                optimizer.step()
                sums += losses.detach()
            triplet, alignment = (sums / steps).tolist()
            validation = {f"validation {p.name}": validation_score(projector, p) for p in data}
            score = metrics.macro(np.array(list(validation.values())))
            row = {"epoch": epoch, "loss": triplet + alignment, "triplet": triplet}
            row |= {"alignment": alignment, "learning_rate": optimizer.param_groups[0]["lr"]}
            history.append(row | {"validation": score} | validation)
            bar.update()
            bar.set_postfix(loss=f"{row['loss']:.3f}", validation=f"{score:.3f}")
            if score > best:
                best, best_epoch = score, epoch
                best_weights = {k: v.clone() for k, v in projector.state_dict().items()}
            if np.isfinite(score):
                scheduler.step(score)
                if epoch - best_epoch >= settings.patience:
                    break
    if best_weights is not None:
        projector.load_state_dict(best_weights)
    projector.eval().cpu()
    table = pd.DataFrame(history)
    table.attrs["best_epoch"] = best_epoch
    return table
