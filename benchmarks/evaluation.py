"""How long scoring takes at the size of MTG-Jamendo's test split: 4,231 tracks × 22 segments × 56.

Run `python -m benchmarks.evaluation` in the project's folder.
Scores and targets are random; only their sizes and the share of positives (3 %) are those of the
dataset. `--tracks`, `--segments` and `--labels` take other sizes.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

from mer_utils import evaluation, metrics
from mer_utils.evaluation import chance, resampling


def timed(what: str, work: Callable[[], object], repeats: int = 3) -> None:
    """Print the best of some runs."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(f"{what:<58} {min(seconds):8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=4231)
    parser.add_argument("--segments", type=int, default=22, help="segments a track")
    parser.add_argument("--labels", type=int, default=56)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--k", type=int, default=2)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    targets = rng.random((options.tracks, options.labels)) < 0.032
    targets[0] = True
    track_index = np.repeat(np.arange(options.tracks), options.segments)
    scores = rng.standard_normal((len(track_index), options.labels), dtype=np.float32)
    songs = metrics.track_scores(scores, track_index)
    k, resamples = options.k, options.resamples
    groups = resampling.group_numbers(None, options.tracks)
    measures = metrics.ranking_measures(songs, targets)
    print(f"{options.tracks} tracks × {options.segments} segments × {options.labels} labels")
    timed("vote", lambda: evaluation.vote(scores, track_index, k))
    timed("mean over segments", lambda: metrics.track_scores(scores, track_index))
    for measure in measures:
        timed(
            f"{measure.__name__}, {resamples} draws",
            lambda own=measure: resampling.resampled({"own": own}, groups, resamples, 0),
        )
    timed("random top-k, 200 draws", lambda: chance.random_top_k(targets, k, 200, rng))
    timed(
        f"evaluate, songs, {resamples} draws",
        lambda: evaluation.evaluate(songs, targets, k, resamples=resamples),
        repeats=1,
    )
    timed(
        f"evaluate, segments, {resamples} draws",
        lambda: evaluation.evaluate(scores, targets, k, track_index, resamples=resamples),
        repeats=1,
    )
    timed(
        f"compare, segments, {resamples} draws",
        lambda: evaluation.compare(
            scores, -scores, targets, k, track_index, track_index, resamples=resamples
        ),
        repeats=1,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{'peak memory of the process':<58} {peak:8.2f} GiB")


if __name__ == "__main__":
    main()
