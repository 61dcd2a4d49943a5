"""What a training of the paper's network costs, and whether fewer epochs cost scores.

    python benchmarks/training.py                   steps of ours and of a plain version
    python benchmarks/training.py --schedule        scores of fewer epochs on the built-in corpus,
                                                    whose features are extracted if not there yet

Steps: two synthetic datasets without validation. The plain version is PyTorch's transformer over a
sequence of one token, a forward pass a dataset, cosines of all pairs, AdamW as it comes; *apart* is
how far its losses are from ours without dropout. CPU seconds of one thread; hide a GPU, if any.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from mer_utils import labels, projector, storage
from mer_utils.batch import profiles
from mer_utils.evaluation import study
from mer_utils.evaluation.tables import markdown
from mer_utils.projector import losses, training
from mer_utils.projector.training import TrainingData, TrainingSettings

COLUMNS, DIMENSIONS, SEEDS = 257, 384, 3
STEPS_AN_EPOCH = 2  # of 340 segments in batches of 256
ALIGNMENTS = {"none": {}}
ALIGNMENTS |= {
    f"{name} 2.5": {"alignment_weight": 2.5, "alignment_variant": name}
    for name in ("contrast", "follow")
}
SCHEDULES = {"75 epochs at 1e-4": TrainingSettings()}
SCHEDULES |= {f"within({epochs})": TrainingSettings.within(epochs) for epochs in (30, 20)}


def synthetic(
    seed: int, segments: int = 340, tracks: int = 170, labels: int = 30, dimensions: int = 384
) -> TrainingData:
    """Random features (segments, 1, columns), vectors (labels, d), one to four labels a track."""
    rng, track = np.random.default_rng(seed), torch.arange(segments) * tracks // segments
    values = torch.from_numpy(rng.normal(size=(segments, 1, COLUMNS))).float()
    vectors = torch.from_numpy(rng.normal(size=(labels, dimensions))).float()
    count = rng.integers(1, 5, (tracks, 1))
    targets = torch.from_numpy(rng.random((tracks, labels)).argsort(1) < count)
    clusters = torch.from_numpy(rng.integers(0, 2 * labels // 3, labels))
    nobody, weight = torch.zeros(tracks) > 0, training.segment_weights(track, "segments")
    of_labels = targets, vectors, vectors, clusters
    return TrainingData(f"synthetic {seed}", values, track, *of_labels, nobody, weight)


def plain_network(width: int) -> nn.Module:
    """The paper's network by PyTorch's own blocks: (batch, 1, columns) to (batch, 1, d)."""
    block = nn.TransformerEncoderLayer(width, 8, 4 * width, 0.1, batch_first=True)
    parts = nn.Linear(COLUMNS, width), nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    return nn.Sequential(*parts, nn.LayerNorm(width), nn.Linear(width, DIMENSIONS))


def plain_losses(
    network: nn.Module,
    data: list[TrainingData],
    batches: list[Tensor],
    settings: TrainingSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """`training.step_losses`, with a forward pass a dataset and all pairs of items."""
    triplet, items, clusters = torch.zeros(()), [], []
    for part, batch in zip(data, batches, strict=True):
        items.append(network(part.values[batch])[:, 0])
        targets = part.targets[part.track[batch]]
        both = targets, losses.draw_negatives(targets, settings.negatives, generator)
        means = [losses.mean_vectors(chosen, part.target_vectors) for chosen in both]
        near, far = (functional.cosine_similarity(items[-1], mean) for mean in means)
        triplet = triplet + functional.relu(far - near + settings.margin).mean()
        clusters.append(part.clusters[training.draw_label(targets, generator)])
    if settings.alignment_weight == 0:
        return triplet, torch.zeros(())
    joined = torch.cat(items)
    pairs = losses.cosines(joined, joined)  # (items, items)
    if settings.alignment_variant == "contrast":
        same = torch.cat(clusters)[:, None] == torch.cat(clusters)
        masks = same & ~torch.eye(len(same), dtype=torch.bool), ~same
        own, other = ((pairs * mask).sum(1) / mask.sum(1).clamp(min=1) for mask in masks)
        return triplet, settings.alignment_weight * functional.relu(other - own + 1).mean()
    aims = torch.cat([training.centred_aims(p, b) for p, b in zip(data, batches, strict=True)])
    owner = torch.cat([torch.full_like(batch, i) for i, batch in enumerate(batches)])
    across = owner[:, None] != owner
    missed = (pairs - losses.cosines(aims, aims)).square() * across
    return triplet, settings.alignment_weight * missed.sum() / across.sum()


def plain_train(network: nn.Module, data: list[TrainingData], settings: TrainingSettings) -> None:
    """What `projector.train` does, plainly."""
    generator = torch.Generator().manual_seed(0)
    cycles = [
        training.cycle(part.training_segments(), settings.batch_size, generator, part.weight)
        for part in data
    ]
    decay = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.AdamW(network.train().parameters(), **decay, fused=False)
    for _ in range(settings.epochs * STEPS_AN_EPOCH):
        optimizer.zero_grad()
        batches = [next(batch) for batch in cycles]
        sum(plain_losses(network, data, batches, settings, generator)).backward()
        optimizer.step()


def of_plain(network: nn.Module, width: int) -> projector.Projector:
    """Our network with the weights of a plain one."""
    names = {"0.": "enter.", "1.layers.": "encoder.", "2.": "norm.", "3.": "leave."}
    weights = {}
    for name, values in network.state_dict().items():
        start = next(start for start in names if name.startswith(start))
        name = names[start] + name.removeprefix(start).replace("self_attn.out_proj", "out")
        if "in_proj" in name:
            name, values = name.replace("self_attn.in_proj_", "values."), values[2 * width :]
        weights[name] = values
    ours = projector.build_projector("paper", 1, COLUMNS, DIMENSIONS, width=width)
    ours.load_state_dict(weights)
    return ours


def apart(network: nn.Module, ours: nn.Module, data: list, settings: TrainingSettings) -> float:
    """The largest difference of the two losses without dropout; one above 1e-5 is an error."""
    batches = [part.training_segments()[: settings.batch_size] for part in data]
    found = []
    for losses_of, net in ((plain_losses, network), (training.step_losses, ours)):
        generator = torch.Generator().manual_seed(0)
        found.append(torch.stack(losses_of(net.eval(), data, batches, settings, generator)))
    plain, our = (each.detach() for each in found)
    torch.testing.assert_close(our, plain, rtol=0, atol=1e-5)
    return float((plain - our).abs().max())


def steps(options: argparse.Namespace) -> Iterator[dict]:
    """Milliseconds a step of ours and of the plain version, by width and alignment."""
    data, epochs = [synthetic(0), synthetic(1)], -(-options.steps // STEPS_AN_EPOCH)
    for width, (name, changes) in product(options.widths, ALIGNMENTS.items()):
        settings, network = TrainingSettings(epochs, **changes), plain_network(width)
        ours = of_plain(network, width)
        difference = apart(network, ours, data, settings)
        works = partial(projector.train, ours, progress=False), partial(plain_train, network)
        for work in works:
            work(data=data, settings=replace(settings, epochs=1))  # warm
        turns = [
            [cpu_seconds(partial(work, data=data, settings=settings)) for work in works]
            for _ in range(options.repeats)
        ]
        our, plain = np.median(turns, axis=0) / (epochs * STEPS_AN_EPOCH)
        yield {
            "width": width,
            "alignment": name,
            "steps a CPU s": f"{1 / our:.1f}",
            "CPU ms a step": f"{1000 * our:.1f}",
            "plain CPU ms": f"{1000 * plain:.1f}",
            "ratio": f"{plain / our:.2f}",
            "apart": f"{difference:.0e}",
        }


def schedule(options: argparse.Namespace) -> Iterator[dict]:
    """Scores and cost of each schedule: means over targets and seeds, by method."""
    data, rows = profiles.load_labelled(profiles.get(options.profile)), []
    recipe = {"space": labels.LabelSpace("definition"), "projector_settings": {"width": 128}}
    for name, settings in SCHEDULES.items():
        for target, part in data.items():
            side = study.training_side(data, target, strict=True)
            given = [each.name for each in side], settings, recipe | {"strict": True}
            for method in compared(*given):
                for seed in range(SEEDS):
                    start = time.process_time()
                    model, history = projector.fit(method, side, seed, progress=False)
                    cost = time.process_time() - start
                    score = study.song_roc_auc(study.model_scores(model, part), part)
                    values = score, history["validation"].max(), len(history), cost
                    rows.append((method.name, name, seed, *values))
            print(f"{name}: {target} done", flush=True)
    columns = ["method", "schedule", "seed", "song", "validation", "epochs", "cost"]
    table = pd.DataFrame(rows, columns=columns)
    for (method, name), part in table.groupby(["method", "schedule"], sort=False):
        yield {
            "method": method,
            "schedule": name,
            "song ROC-AUC": f"{part['song'].mean():.3f}",
            "deviation over seeds": f"{part.groupby('seed')['song'].mean().std():.3f}",
            "validation ROC-AUC": f"{part['validation'].mean():.3f}",
            "epochs": f"{part['epochs'].mean():.0f}",
            "CPU s": f"{part['cost'].mean():.1f}",
        }


def compared(names: list[str], settings: TrainingSettings, recipe: dict) -> list[projector.Method]:
    """Baseline 1, the paper's alignment with λ 2.5 and ours with λ 1."""
    paper = projector.paper_methods(names, [2.5], settings=settings, **recipe)
    follow = projector.paper_methods(names, [1.0], ["follow"], settings, **recipe)
    return [paper[0], paper[2], follow[2]]


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedule", action="store_true", help="scores of fewer epochs instead")
    parser.add_argument("--profile", default="demo", help="whose datasets --schedule takes")
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 768])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = pd.DataFrame(list((schedule if options.schedule else steps)(options)))
    text = markdown(found.set_index(list(found)[:2]))
    print(text)
    if options.markdown:
        storage.write_text(options.markdown, text + "\n")


if __name__ == "__main__":
    main()
