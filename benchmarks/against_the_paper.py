"""Our array code against the algorithm of the paper's authors: a plain loop over single items.

    python benchmarks/against_the_paper.py --markdown FILE

Batches of an epoch, cosines and song votes of the same synthetic data; both must find the same.
CPU milliseconds of one thread, medians of repeats that take turns. The loop is written anew after
what the code of Liu, Roy, Herremans (arXiv 2410.11522) does, as fast as a loop can be: NumPy's
arrays, sums and sorts for each item.
"""

import argparse
import random
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from training import cpu_seconds, synthetic

from mer_utils import metrics, storage
from mer_utils.evaluation.tables import markdown
from mer_utils.projector import losses, training

NEGATIVES = 5  # of an item
SIZES = {"segments": 2000, "tracks": 500, "labels": 59, "dims": 384}
SIZES |= {"batch": 256, "k": 3, "repeats": 5}


def their_batches(part: training.TrainingData, batches: list[Tensor]) -> list[list[Tensor]]:
    """Features, positives, negatives and clusters of every batch, item by item."""
    names = [f"label {number}" for number in range(part.targets.shape[1])]
    vector_of = dict(zip(names, part.target_vectors.numpy(), strict=True))
    cluster_of = dict(zip(names, part.clusters.tolist(), strict=True))
    labels_of = [[names[i] for i in row.nonzero()[0]] for row in part.targets.numpy()]
    rows, tracks, rng = part.values.numpy(), part.track.tolist(), random.Random(0)

    def mean(chosen: list[str]) -> Tensor:
        total = vector_of[chosen[0]]
        for name in chosen[1:]:
            total = total + vector_of[name]
        return torch.from_numpy(total / len(chosen))

    def item(segment: int) -> tuple[Tensor, ...]:
        own = labels_of[tracks[segment]]
        others = [name for name in names if name not in own]
        negative = mean([rng.choice(others) for _ in range(NEGATIVES)])
        cluster = torch.tensor(cluster_of[rng.choice(own)])
        return torch.from_numpy(rows[segment]), mean(own), negative, cluster

    items = [[item(segment) for segment in batch.tolist()] for batch in batches]
    return [[torch.stack(column) for column in zip(*each, strict=True)] for each in items]


def our_batches(part: training.TrainingData, batches: list[Tensor]) -> list[list[Tensor]]:
    """The same as `training.step_losses` has it; it draws negatives without replacement."""
    generator, found = torch.Generator().manual_seed(0), []
    for batch in batches:
        targets = part.targets[part.track[batch]]  # (batch, labels)
        drawn = losses.draw_negatives(targets, NEGATIVES, generator)
        means = [losses.mean_vectors(each, part.target_vectors) for each in (targets, drawn)]
        clusters = part.clusters[training.draw_label(targets, generator)]
        found.append([part.values[batch], *means, clusters])
    return found


def same_batches(theirs: list[list[Tensor]], ours: list[list[Tensor]]) -> None:
    """Features and positives are the same; negatives and clusters are drawn, by each its own."""
    for their, our in zip(theirs, ours, strict=True):
        torch.testing.assert_close(their[:2], our[:2], rtol=0, atol=1e-5)
        assert [x.shape for x in their] == [x.shape for x in our]


def their_cosines(projected: np.ndarray, vectors: np.ndarray) -> Tensor:
    """One pair at a time: (segments, d) and (labels, d) to (segments, labels)."""
    length = np.linalg.norm
    pairs = [[np.dot(x, v) / (length(x) * length(v)) for v in vectors] for x in projected]
    return torch.from_numpy(np.array(pairs))


def their_vote(scores: np.ndarray, track: np.ndarray, k: int) -> list[list[int]]:
    """Each song's k labels; of equal votes those that were met first."""
    votes: dict[int, Counter] = defaultdict(Counter)
    for song, row in zip(track.tolist(), scores, strict=True):
        votes[song].update(np.argsort(row)[::-1][:k].tolist())
    return [[label for label, _ in votes[song].most_common(k)] for song in sorted(votes)]


def same_votes(votes: np.ndarray, theirs: list[list[int]], ours: np.ndarray) -> None:
    """The same sets of labels, in all songs in which none has as many votes as the k-th."""
    k = len(theirs[0])
    ranked = -np.sort(-votes, axis=1)  # (songs, labels), most votes first
    clear = np.flatnonzero(ranked[:, k - 1] > ranked[:, k])
    print(f"votes compared in {len(clear)} of {len(votes)} songs, in which there is no tie")
    assert len(clear), "a tie in every song"
    assert all(set(theirs[song]) == {*ours[song].nonzero()[0]} for song in clear)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    k, songs = options.k, options.tracks
    part = synthetic(0, options.segments, songs, options.labels, options.dims)
    order = torch.randperm(options.segments, generator=torch.Generator().manual_seed(0))
    batches, track = list(order.split(options.batch)), part.track.numpy()
    # Segments near their song's centre: else the votes of few segments are ties.
    noise = torch.randn(songs + options.segments, options.dims)
    projected = noise[:songs][part.track] + 0.3 * noise[songs:]  # (segments, d)
    vectors = part.label_vectors
    scores = losses.cosines(projected, vectors).numpy()  # (segments, labels)
    both = {  # name, items: theirs, ours, the check that they are the same
        (f"batches of {options.batch}", f"{options.segments:,} segments"): (
            partial(their_batches, part, batches),
            partial(our_batches, part, batches),
            same_batches,
        ),
        ("similarity", f"{scores.size:,} pairs"): (
            partial(their_cosines, projected.numpy(), vectors.numpy()),
            partial(losses.cosines, projected, vectors),
            partial(torch.testing.assert_close, rtol=0, atol=1e-5),
        ),
        ("song vote", f"{songs:,} songs"): (
            partial(their_vote, scores, track, k),
            partial(metrics.vote, scores, track, k),
            partial(same_votes, metrics.count_votes(scores, track, k)),
        ),
    }
    rows = []
    for name, (theirs, ours, check) in both.items():
        check(theirs(), ours())  # which warms, too
        turns = [(cpu_seconds(theirs), cpu_seconds(ours)) for _ in range(options.repeats)]
        their, our = 1000 * np.median(turns, axis=0)
        rows.append((*name, their, our, their / our))
    columns = ["part", "items", "theirs ms", "ours ms", "ratio"]
    table = pd.DataFrame(rows, columns=columns).set_index("part")
    text = markdown(table.map(lambda x: x if isinstance(x, str) else f"{x:,.1f}"))
    print(text)
    if options.markdown:
        storage.write_text(options.markdown, text + "\n")


if __name__ == "__main__":
    main()
