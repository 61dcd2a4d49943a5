"""How time and memory grow with tracks, labels and seeds, and where that stops being linear.

    python benchmarks/growth.py --markdown FILE --figure FILE.png          (Linux)
    python benchmarks/growth.py --largest 10000                            without larger sizes

Random features of 257 columns, two segments a track, three labels each. Parts: word anchors' fit
(no seeds), ten steps of the paper's network, `evaluate` with 100 resamples; text vectors are
random. Each point has a process and a thread of its own; memory is its peak above what it held with
the data. Slopes are those of logarithms from one size to the next: 1 is linear; none below 1 MB.
"""

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from mer_utils import evaluation, figures, projector, storage
from mer_utils.data import Dataset, Features, Labelled
from mer_utils.data.types import label_tuples, track_table
from mer_utils.evaluation.tables import markdown
from mer_utils.figures import style
from mer_utils.labels import LabelSpace
from mer_utils.projector import methods, training

DIMENSIONS, COLUMNS, STEPS, RESAMPLES = 384, 257, 10, 100
USUAL = {"tracks": 1000, "labels": 30, "seeds": 1}
SIZES = {"tracks": (100, 1000, 10_000, 100_000), "labels": (10, 30, 100, 300, 1000)}
SIZES |= {"seeds": (1, 3, 10)}
SMALL = 100, 10  # tracks and labels of a first call, which warms
UNITS = ("seconds", "CPU s", "MB")
Work = Callable[[], object]


@dataclass(frozen=True)
class RandomSpace(LabelSpace):
    """A random vector for each label: embedding texts would take longer than all else."""

    def vectors(self, labels: Sequence[str], reference: Sequence[str] | None = None) -> np.ndarray:
        """The labels' vectors: (labels, d)."""
        return np.random.default_rng(0).normal(size=(len(labels), DIMENSIONS)).astype(np.float32)


def random_part(tracks: int, labels: int) -> Labelled:
    """A dataset of noise."""
    rng = np.random.default_rng(0)
    names, ids = [f"word {i}" for i in range(labels)], [f"track {i}" for i in range(tracks)]
    targets = np.zeros((tracks, labels), dtype=bool)
    np.put_along_axis(targets, rng.integers(0, labels, (tracks, 3)), True, axis=1)
    table = track_table(ids, label_tuples(targets, names), ids)
    values = rng.standard_normal((2 * tracks, 1, COLUMNS), dtype=np.float32)
    start = np.tile([0.0, 3.0], tracks)
    features = Features(values, np.repeat(ids, 2), start, {"name": "random", "layers": [0]})
    return Labelled(Dataset("random", tuple(names), table), features)


def anchors(part: Labelled, seeds: int) -> Work:
    """Word anchors' fit, from a dataset to a model."""
    method = replace(projector.word_anchors(), space=RandomSpace())
    return partial(projector.fit, method, [part], progress=False)


def network(part: Labelled, seeds: int) -> Work:
    """Ten steps of the paper's network by each seed, on features that are tensors already."""
    method = projector.Method("network", space=RandomSpace(), weighting="segments")
    data, _, _ = methods.prepare(method, [part])
    return lambda: [ten_steps(data, seed) for seed in range(seeds)]


def ten_steps(data: Sequence[training.TrainingData], seed: int) -> None:
    """A network's first steps, as `projector.train` takes them."""
    settings, generator = training.TrainingSettings(), torch.Generator().manual_seed(seed)
    rows = data[0].training_segments()
    batches = training.cycle(rows, settings.batch_size, generator, data[0].weight[rows])
    net = projector.build_projector("paper", 1, COLUMNS, DIMENSIONS, width=128)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, fused=True)
    for batch in islice(batches, STEPS):
        optimizer.zero_grad()
        sum(training.step_losses(net, data, [batch], settings, generator)).backward()
        optimizer.step()


def scoring(part: Labelled, seeds: int) -> Work:
    """`evaluate` for the scores of so many seeds."""
    rng, shape = np.random.default_rng(1), (len(part.features), len(part.dataset.labels))
    scores = [rng.standard_normal(shape, dtype=np.float32) for _ in range(seeds)]
    index, targets = part.features.track_index(part.dataset), part.dataset.targets()
    return partial(evaluation.evaluate, scores, targets, 3, index, RESAMPLES)


PARTS = {"word anchors": anchors, "network, ten steps": network, "evaluate": scoring}


def measure(part: str, tracks: int, labels: int, seeds: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MB of a part of the work; call it in a process of its own."""
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        PARTS[part](random_part(*SMALL), 1)()  # warm: imports, buffers
        work = PARTS[part](random_part(tracks, labels), seeds)
        # ru_maxrss would hold the parent's memory and that of making the data
        Path("/proc/self/clear_refs").write_text("5")
        before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
        work()
        seconds = time.perf_counter() - start, time.process_time() - cpu
    return *seconds, peak_memory() - before


def peak_memory() -> float:
    """MB of resident memory at most since the last reset."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024


def points(largest: int) -> pd.DataFrame:
    """All measurements, in the order of sizes."""
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for part, (along, sizes) in product(PARTS, SIZES.items()):
            for size in sizes:
                if size > largest or (part, along) == ("word anchors", "seeds"):
                    continue
                given = USUAL | {"tracks": min(USUAL["tracks"], largest), along: size}
                row = (part, along, size, *pool.apply(measure, (part, *given.values())))
                print("{} {} {}: {:.2f} s, {:.2f} CPU s, {:.0f} MB".format(*row), flush=True)
                rows.append(row)
    return pd.DataFrame(rows, columns=["part", "along", "size", *UNITS])


def with_slopes(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text, with the slopes of CPU seconds and memory."""
    lines = table.groupby(["part", "along"], sort=False)
    known = table.assign(MB=table["MB"].where(table["MB"] >= 1))[["size", *UNITS[1:]]]
    logs = np.log(known).groupby(lines.ngroup()).diff()
    text = table.assign(size=table["size"].map("{:,}".format))
    for unit, form in zip(UNITS, ("{:.2f}", "{:.2f}", "{:.0f}"), strict=True):
        text[unit] = table[unit].map(form.format)
    for unit in UNITS[1:]:
        text[f"slope, {unit}"] = (logs[unit] / logs["size"]).map("{:.2f}".format).replace("nan", "")
    return text.set_index(["part", "along"])


@figures.set_style()
def growth_figure(table: pd.DataFrame) -> Figure:
    """CPU seconds, and MB from 1 on, against the number of tracks, a line a part."""
    figure, axes = style.new_figure(2.6, columns=2)
    looks = style.dot_looks(list(PARTS))
    table = table.assign(MB=table["MB"].where(table["MB"] >= 1))
    for panel, unit in zip(axes[0], UNITS[1:], strict=True):
        for name, part in table[table["along"] == "tracks"].groupby("part", sort=False):
            panel.plot(part["size"], part[unit], label=name, markersize=4.5, **looks[name])
        panel.set(xscale="log", yscale="log", xlabel="tracks", ylabel=unit)
    return style.legend_below(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=100_000, help="size that is measured")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG of the growth with tracks")
    options = parser.parse_args()
    table = points(options.largest)
    text = markdown(with_slopes(table))
    print(f"\n{text}")
    if options.markdown:
        storage.write_text(options.markdown, text + "\n")
    if options.figure:
        figures.save(growth_figure(table), options.figure)


if __name__ == "__main__":
    main()
