"""The experiment: train on some datasets, predict a dataset whose labels were never seen.

`select_method` picks among methods by leaving labels or datasets out *inside* the training side;
`run_study` runs targets × methods × seeds, keeps every model and score on disk and goes on where
it was stopped (`evaluation.tables` scores the outcomes).

What must not leak: a target's labels are used only to score; splits are by group. What looks at
the target's unlabelled audio is `transductive`, and every table says so.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed, parallel_config

from mer_utils import code, metrics, storage
from mer_utils.data.types import Dataset, Labelled, restricted
from mer_utils.labels.language_model import weights_hash
from mer_utils.progress import progress_bar
from mer_utils.projector.losses import LOSSES
from mer_utils.projector.methods import (
    Method,
    fit,
    method_settings,
    target_scores,
    with_chosen_clustering,
)
from mer_utils.projector.model import FORMAT, Model
from mer_utils.projector.networks import PROJECTORS
from mer_utils.registry import add_entries, own_entries
from mer_utils.storage import slug

MODULE = "evaluation.study"  # with it begins the code of a result (mer_utils.code)


def code_hash(method: Method) -> str:
    """Hash of the code that a method's results pass through, what the user registered too."""
    named = [] if method.deterministic else [LOSSES[method.training.loss]]
    named += [] if method.projector == "tags" else [PROJECTORS[method.projector]]
    own = [code.own_hash(entry) for entry in named]
    return storage.settings_hash({"package": code.modules_hash(MODULE), "own": own})


def k_of(dataset: Dataset) -> int:
    """How many labels the song vote predicts: as its loader says, else the mean number a track."""
    return dataset.top_k or max(1, round(float(dataset.targets().sum(1).mean())))


def label_folds(part: Labelled, folds: int, seed: int) -> list[tuple[Labelled, Labelled]]:
    """Pairs (train, test) of one dataset that share neither labels nor groups of tracks."""
    random = np.random.default_rng(seed)
    label_fold = random.permutation(len(part.dataset.labels)) % folds
    groups, group = np.unique(part.dataset.tracks["group"].to_numpy(), return_inverse=True)
    half = (random.permutation(len(groups)) % 2)[group]  # (tracks,)
    labels = np.array(part.dataset.labels)
    return [
        (
            restricted(part, labels[label_fold != fold].tolist(), half != side),
            restricted(part, labels[label_fold == fold].tolist(), half == side),
        )
        for fold in range(folds)
        for side in (0, 1)
    ]


def select_method(
    candidates: Sequence[Method], training: Sequence[Labelled], progress: bool = True
) -> tuple[Method, pd.DataFrame]:
    """The candidate that best predicts labels it has not seen, inside the training side.

    Several training datasets: each is left out in turn and predicted from the others. One: its
    labels and its groups of tracks are left out together, in three folds of labels (two where
    there are fewer than nine).
    Returns it and a table with every candidate's mean macro ROC-AUC over these, best first.
    """
    if len(training) > 1:
        pairs = [([p for p in training if p is not part], part) for part in training]
    else:
        folds = 3 if len(training[0].dataset.labels) >= 9 else 2
        pairs = [([a], b) for a, b in label_folds(training[0], folds, seed=0)]
    bar = progress_bar(candidates, desc="selecting", show=progress, leave=False)
    scores = [np.mean([trained_roc_auc(method, *pair) for pair in pairs]) for method in bar]
    table = pd.DataFrame({"method": [m.name for m in candidates], "inner ROC-AUC": scores})
    best = candidates[int(np.argmax(scores))]
    return best, table.sort_values("inner ROC-AUC", ascending=False, ignore_index=True)


# --- Scoring -------------------------------------------------------------------------------------


def song_scores(scores: np.ndarray, part: Labelled) -> np.ndarray:
    """Mean score of each track's segments: (segments, labels) to (tracks, labels)."""
    scores = metrics.check_scores(scores, list(part.dataset.labels))
    index = part.features.track_index(part.dataset)  # (segments,)
    index = metrics.check_track_index(index, len(scores), len(part.dataset))
    return metrics.track_scores(scores, index, len(part.dataset))


def song_roc_auc(songs: np.ndarray, part: Labelled) -> float:
    """Macro ROC-AUC of scores (tracks, labels)."""
    return float(np.nanmean(metrics.roc_auc(songs, part.dataset.targets())))


def model_scores(model: Model, target: Labelled, method: Method) -> np.ndarray:
    """Mean score of each track's segments for every label of the target: (tracks, labels)."""
    scores = model.scores(target.features, target.dataset.labels, method.own_statistics)
    return song_scores(scores, target)


def trained_roc_auc(method: Method, training: Sequence[Labelled], target: Labelled) -> float:
    """Macro ROC-AUC over a target's songs of a method trained on other datasets."""
    model, _ = fit(method, training, progress=False)
    return song_roc_auc(model_scores(model, target, method), target)


def others(data: Mapping[str, Labelled], target: str) -> list[Labelled]:
    """The datasets that a target is predicted from: all others."""
    return [part for name, part in data.items() if name != target]


# --- The study -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What one method did for one target: scores of every seed, and of shuffled-label training.

    scores: one (segments, labels) array a seed; shuffled: one a shuffled-label training.
    histories: a training table a seed, empty for a ridge; folders: where each seed's model lies.
    """

    target: str
    method: Method
    scores: list[np.ndarray]
    shuffled: list[np.ndarray]
    histories: list[pd.DataFrame]
    folders: list[Path]


def run_study(
    data: Mapping[str, Labelled],
    methods: Sequence[Method] | Mapping[str, Sequence[Method]],
    folder: str | Path,
    seeds: int = 1,
    shuffles: int = 0,
    targets: Sequence[str] | None = None,
    first_seed: int = 0,
    jobs: int | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """Predict every target from all other datasets, by every method, with every seed.

    data: the datasets by name.
    methods: the same for all targets, or by target; of different names.
    folder: keeps every model, history and score; what is there is not done again.
    seeds: how many, from first_seed on; a deterministic method runs once.
    shuffles: trainings with shuffled labels, for the other chance level (of a method that trains).
    targets: which datasets to predict; all if None.
    jobs: trainings at a time, in processes; as many as there are cores if None. 1 trains here.
    Returns one outcome a target and method.
    """
    if len(data) < 2:
        raise ValueError(f"a study needs two datasets or more, not only {list(data)}")
    studied = []  # the trainings of each target and method
    for target in targets or data:
        if target not in data:
            raise ValueError(f"no dataset {target!r} to predict; there are {list(data)}")
        training = others(data, target)
        compared = methods[target] if isinstance(methods, Mapping) else methods
        names = [method.name for method in compared]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"{target}: two methods have the name {twice[0]!r}; give each its own")
        for method in compared:
            count = 1 if method.deterministic else seeds
            method = with_chosen_clustering(method, training)
            drawn = [(seed, False) for seed in range(first_seed, first_seed + count)]
            if method.trained:
                drawn += [(seed, True) for seed in range(shuffles)]
            task = partial(Task, method, training, data[target], Path(folder))
            studied.append([task(*draw) for draw in drawn])
    tasks = {task.folder: task for of_method in studied for task in of_method}
    missing = [t for folder, t in tasks.items() if not (folder / "scores.npy").is_file()]
    _run_tasks(missing, jobs, progress)
    return [_outcome(of_method) for of_method in studied]


def committee(name: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The mean score of several methods as one outcome a target, with one array of scores a seed.

    Seed i of it has seed i of every member; a deterministic member is the same in all.

    outcomes: of methods with as many shuffled trainings each, and with scores on one scale (all
        calibrated, all ridges, or all cosines): they are averaged as they are.
    Raises ValueError if members differ in their seeds, `own_statistics` or `calibrated`.
    """
    together = []
    for target in dict.fromkeys(outcome.target for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.target == target]
        for field in ("own_statistics", "calibrated"):
            if len({getattr(member.method, field) for member in members}) > 1:
                raise ValueError(f"{name}: {field} is true for some members and false for others")
        several = [m for m in members if len(m.scores) > 1 or not m.method.deterministic]
        seeds = {member.method.name: len(member.scores) for member in several}
        if len(set(seeds.values())) > 1:
            raise ValueError(f"{name}: members have different numbers of seeds: {seeds}")
        scores = [
            np.mean([m.scores[seed % len(m.scores)] for m in members], axis=0)
            for seed in range(max(seeds.values(), default=1))
        ]
        draws = zip(*(member.shuffled for member in members), strict=True)
        shuffled = [np.mean(each, axis=0) for each in draws]
        folders = [folder for member in members for folder in member.folders]
        method = replace(members[0].method, name=name)
        together.append(Outcome(target, method, scores, shuffled, [], folders))
    return together


@dataclass(frozen=True)
class Task:
    """One training and the scores of its target."""

    method: Method
    training: Sequence[Labelled]
    target: Labelled
    study: Path
    seed: int
    shuffled: bool

    @cached_property
    def made_by(self) -> dict:
        """Everything that decides the result, JSON-able."""
        method = method_settings(self.method)
        del method["name"]  # one training for methods that differ in their names only
        if not self.method.needs_clusters:
            del method["clustering"]
        return {
            "method": method,
            "label_model_sha256": weights_hash(self.method.space.model),
            "training": [[part.name, part.fingerprint] for part in self.training],
            "target": [self.target.name, self.target.fingerprint],
            "seed": self.seed,
            "shuffled": self.shuffled,
            "format": FORMAT,
            "code": code_hash(self.method),
        }

    @cached_property
    def folder(self) -> Path:
        """Where it is kept, named by what made it."""
        name = f"{slug(self.method.projector)}-{storage.settings_hash(self.made_by)}"
        return self.study / self.target.name / name

    def run(self) -> None:
        """Train, score and write everything; the scores last, as they say that it is done."""
        model, history = fit(self.method, self.training, self.seed, self.shuffled, progress=False)
        model.save(self.folder / "model")
        storage.write_table(self.folder / "history.parquet", history)
        storage.write_json(self.folder / "made_by.json", self.made_by)
        scores = target_scores(model, self.method, self.target, self.training)
        metrics.check_scores(scores, list(self.target.dataset.labels))
        storage.write_array(self.folder / "scores.npy", scores)


def _outcome(tasks: Sequence[Task]) -> Outcome:
    """What all trainings of one method for one target have left on disk."""
    folders, shuffled = (
        [task.folder for task in tasks if task.shuffled == shuffled] for shuffled in (False, True)
    )
    scores = [[storage.read_array(f / "scores.npy") for f in each] for each in (folders, shuffled)]
    histories = [pd.read_parquet(folder / "history.parquet") for folder in folders]
    return Outcome(tasks[0].target.name, tasks[0].method, *scores, histories, folders)


def _run_tasks(tasks: Sequence[Task], jobs: int | None, progress: bool) -> None:
    """Run tasks, several at a time, one thread each so that they do not fight for cores."""
    jobs = min(jobs or cpu_count(), max(1, len(tasks)))
    show = progress and bool(tasks)
    with progress_bar(total=len(tasks), desc="training", show=show, leave=False) as bar:
        if jobs == 1:
            for task in tasks:
                task.run()
                bar.update()
            return
        with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
            run = delayed(code.checked(run_quietly, MODULE))
            work = (run(task, own_entries()) for task in tasks)
            for _ in Parallel(return_as="generator_unordered")(work):
                bar.update()


def run_quietly(task: Task, entries: Mapping[str, Mapping]) -> None:
    """Run a task in a worker: what there is to warn of, every worker would say again.

    entries: what the user registered (`registry.own_entries`).
    """
    add_entries(entries)
    with warnings.catch_warnings(action="ignore"):
        task.run()
