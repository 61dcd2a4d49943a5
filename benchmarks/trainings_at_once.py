"""A hundred trainings of the paper's network, one after another and all at once, on a GPU or CPU.

    python benchmarks/trainings_at_once.py                    a GPU if there is one
    python benchmarks/trainings_at_once.py --device cpu

One after another is `projector.train`, as a study does it. At once the weights of all networks are
stacked (torch.func) and each step is one for all of them; that the losses of every network are the
same without dropout is checked first. Synthetic datasets as in benchmarks/training.py, alignment
contrast 2.5. A study does not train at once: this says what that would pay.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional
from training import COLUMNS, DIMENSIONS, STEPS_AN_EPOCH, synthetic

from mer_utils import projector, storage
from mer_utils.evaluation.tables import markdown
from mer_utils.projector import losses, networks, training
from mer_utils.projector.training import TrainingData, TrainingSettings

SETTINGS = {"alignment_weight": 2.5, "alignment_variant": "contrast"}


def draw_batches(data: list[TrainingData], count: int, size: int, generator) -> list[Tensor]:
    """Segments of each dataset for every network: (count, batch) int."""
    drawn = []
    for part in data:
        rows = part.training_segments()
        keys = torch.rand(count, len(rows), generator=generator, device=rows.device)
        drawn.append(rows[keys.argsort(1)[:, :size]])
    return drawn


def mean_cosines(projected: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """`losses.cluster_cosines` for many networks: (count, items, d), (count, items) int."""
    unit = functional.normalize(projected, dim=2)
    member = functional.one_hot(clusters).to(unit.dtype)  # (count, items, clusters)
    size = (member @ member.sum(1)[..., None])[..., 0]  # (count, items)
    in_own = (unit * (member @ (member.mT @ unit))).sum(2)
    others, strangers = size - 1, unit.shape[1] - size
    own = (in_own - unit.square().sum(2)) * (others > 0) / others.clamp(min=1)
    other = ((unit * unit.sum(1, keepdim=True)).sum(2) - in_own) * (strangers > 0)
    return own, other / strangers.clamp(min=1)


def losses_at_once(
    network: nn.Module,
    weights: dict[str, Tensor],
    data: list[TrainingData],
    batches: list[Tensor],
    settings: TrainingSettings,
    generator: torch.Generator,
) -> Tensor:
    """`training.step_losses` of every network, summed: (count,)."""
    values = torch.cat([p.values[b] for p, b in zip(data, batches, strict=True)], dim=1)
    call = vmap(lambda w, x: functional_call(network, w, (x,)), randomness="different")
    items = call(weights, values)  # (count, items, d)
    total, clusters = torch.zeros(len(items), device=items.device), []
    parts = items.split([batch.shape[1] for batch in batches], dim=1)
    for part, batch, projected in zip(data, batches, parts, strict=True):
        targets = part.targets[part.track[batch]].flatten(0, 1)  # (count * batch, labels)
        drawn = losses.draw_negatives(targets, settings.negatives, generator)
        unit, near, far = (
            functional.normalize(x, dim=1)
            for x in (
                projected.flatten(0, 1),
                losses.mean_vectors(targets, part.target_vectors),
                losses.mean_vectors(drawn, part.target_vectors),
            )
        )
        terms = functional.relu((unit * (far - near)).sum(1) + settings.margin)
        total = total + terms.view(batch.shape).mean(1)
        label = training.draw_label(targets, generator)
        clusters.append(part.clusters[label].view(batch.shape))
    own, other = mean_cosines(items, torch.cat(clusters, dim=1))
    return total + settings.alignment_weight * functional.relu(other - own + 1).mean(1)


def train_at_once(
    nets: list[nn.Module], data: list[TrainingData], settings: TrainingSettings
) -> None:
    """All networks, a step at a time for all of them; their weights are not written back."""
    device = data[0].values.device
    weights, _ = stack_module_state([network.to(device).train() for network in nets])
    weights = {name: values.detach().requires_grad_() for name, values in weights.items()}
    generator = torch.Generator(device).manual_seed(0)
    optimizer = torch.optim.AdamW(list(weights.values()), lr=settings.learning_rate, fused=True)
    for _ in range(settings.epochs * STEPS_AN_EPOCH):
        batches = draw_batches(data, len(nets), settings.batch_size, generator)
        optimizer.zero_grad()
        losses_at_once(nets[0], weights, data, batches, settings, generator).sum().backward()
        optimizer.step()


@torch.no_grad()
def apart(nets: list[nn.Module], data: list[TrainingData], settings: TrainingSettings) -> float:
    """The largest difference of a loss from `training.step_losses`, where nothing is drawn: no
    dropout, one label a track, and all others as negatives.
    """
    device = data[0].values.device
    sure = TrainingSettings(**SETTINGS, negatives=data[0].targets.shape[1])
    data = [
        replace(part, targets=part.targets & (part.targets.int().cumsum(1) == 1)) for part in data
    ]
    generator = torch.Generator(device).manual_seed(0)
    batches = draw_batches(data, len(nets), settings.batch_size, generator)
    weights, _ = stack_module_state([net.to(device).eval() for net in nets])
    ours = losses_at_once(nets[0], weights, data, batches, sure, generator)
    one = [
        sum(training.step_losses(net, data, [b[i] for b in batches], sure, generator))
        for i, net in enumerate(nets)
    ]
    torch.testing.assert_close(ours, torch.stack(one), rtol=0, atol=1e-4)
    return float((ours - torch.stack(one)).abs().max())


def dropped_out(like: Tensor) -> Tensor:
    """`networks.dropped_out` in a form that vmap knows: it has no whole random numbers."""
    return (torch.rand_like(like) > networks.DROPOUT) / (1 - networks.DROPOUT)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call, with all that it left on the GPU."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=100)
    parser.add_argument("--measured", type=int, default=4, help="of those one after another")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 768])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    if options.device == "cpu":
        torch.cuda.is_available = lambda: False  # `projector.train` takes a GPU where there is one
    data = [synthetic(seed).to(options.device) for seed in (0, 1)]
    settings = TrainingSettings(-(-options.steps // STEPS_AN_EPOCH), **SETTINGS)
    short, rows = TrainingSettings(2, **SETTINGS), []
    for width in options.widths:
        make = partial(projector.build_projector, "paper", 1, COLUMNS, DIMENSIONS, width=width)
        nets = [make() for _ in range(options.trainings)]
        difference = apart(nets[:4], data, settings)
        one = [partial(projector.train, net, data, progress=False) for net in nets]
        one[0](settings=short)  # warm
        alone = seconds(lambda o=one: [each(settings=settings) for each in o[: options.measured]])
        with patch.object(networks, "dropped_out", dropped_out):
            train_at_once(nets, data, short)
            at_once = seconds(lambda n=nets: train_at_once(n, data, settings))
        rows.append(
            {
                "width": width,
                "trainings": options.trainings,
                "one after another, s": f"{alone * options.trainings / options.measured:.1f}",
                "at once, s": f"{at_once:.1f}",
                "ratio": f"{alone * options.trainings / options.measured / at_once:.1f}",
                "apart": f"{difference:.0e}",
            }
        )
        print(rows[-1], flush=True)
    name = torch.cuda.get_device_name() if options.device != "cpu" else "CPU"
    text = f"{name}, {options.steps} steps\n\n{markdown(pd.DataFrame(rows).set_index('width'))}"
    print(text)
    if options.markdown:
        storage.write_text(options.markdown, text + "\n")


if __name__ == "__main__":
    main()
