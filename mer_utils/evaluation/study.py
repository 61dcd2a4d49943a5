"""The experiment: train on some datasets, predict a dataset whose labels were never seen.

`run_study` runs targets × methods × seeds, keeps every model and score on disk and goes on where
it was stopped (`evaluation.tables` scores the outcomes).

What must not leak: a target's labels are used only to score; its words are no words of the training
side, unless the method says so (`Method.strict`); splits are by group; no method looks at the
target's audio before it predicts.
"""

import re
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import cpu_count

from mer_utils import code, metrics, storage
from mer_utils.data.types import Dataset, Labelled, restricted
from mer_utils.labels.embeddings import clean_name
from mer_utils.labels.language_model import weights_hash
from mer_utils.progress import in_processes, warned_once
from mer_utils.projector.losses import LOSSES
from mer_utils.projector.methods import (
    Method,
    fit,
    heard_tags,
    learned_from,
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
    named += [PROJECTORS[method.projector]] if method.projector in PROJECTORS else []
    own = [code.own_hash(entry) for entry in named]
    return storage.settings_hash({"package": code.modules_hash(MODULE), "own": own})


def k_of(dataset: Dataset) -> int:
    """How many labels the song vote predicts: as its loader says, else the mean number a track."""
    return dataset.top_k or max(1, round(float(dataset.targets().sum(1).mean())))


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


def model_scores(model: Model, target: Labelled) -> np.ndarray:
    """Mean score of each track's segments for every label of the target: (tracks, labels)."""
    scores = model.scores(target.features, target.dataset.labels)
    return song_scores(scores, target)


def trained_scores(method: Method, training: Sequence[Labelled], target: Labelled) -> np.ndarray:
    """Scores of a target's songs by a method trained on other datasets: (tracks, labels)."""
    method, training = strictly(method, training, target)
    model, _ = fit(method, training, progress=False)
    return model_scores(model, target)


def trained_roc_auc(method: Method, training: Sequence[Labelled], target: Labelled) -> float:
    """Macro ROC-AUC over a target's songs of a method trained on other datasets."""
    return song_roc_auc(trained_scores(method, training, target), target)


def others(data: Mapping[str, Labelled], target: str) -> list[Labelled]:
    """All datasets but the target."""
    return [part for name, part in data.items() if name != target]


def training_side(data: Mapping[str, Labelled], target: str, strict: bool = True) -> list[Labelled]:
    """What a target is predicted from: all other datasets, if strict without its words."""
    training = others(data, target)
    return unseen_words(training, data[target]) if strict else training


def strictly(
    method: Method, training: Sequence[Labelled], target: Labelled
) -> tuple[Method, list[Labelled]]:
    """A method and what it trains on; if it is strict, both without the words of the target."""
    training = learned_from(method, training)
    if method.strict:
        training = unseen_words(training, target)
    return without_seen_tags(method, training, target), training


def without_seen_tags(method: Method, training: Sequence[Labelled], target: Labelled) -> Method:
    """The same method; strict anchors without those of the encoder's tags that the target has."""
    if not method.strict or method.projector != "anchors":
        return method
    words = stems_of(*target.dataset.labels)
    tags = heard_tags(training[0].features.encoder)
    return replace(method, without_tags=tuple(tag for tag in tags if stems_of(tag) & words))


def unseen_words(training: Sequence[Labelled], target: Labelled) -> list[Labelled]:
    """Training datasets without the words of the target; one that keeps fewer than two is left out.

    A label goes if one of its words is one of the target's (`stems_of`): "calm / peaceful" if that
    has "calmness", "joyous" if it has "joyful activation". Tracks stay, also those that lose all
    their labels. Raises ValueError if nothing is left.
    """
    words = stems_of(*target.dataset.labels)
    kept = []
    for part in training:
        labels = [label for label in part.dataset.labels if not stems_of(label) & words]
        if len(labels) > 1:  # a single word has nothing to be told from
            kept.append(restricted(part, labels, np.ones(len(part.dataset), dtype=bool)))
    if not kept:
        names = ", ".join(part.name for part in training)
        raise ValueError(f"{target.name} has all words of {names}: nothing is left to train on")
    return kept


ENDING = re.compile(
    "(?:ness|ful|ous|ion|ement|ment|ing|ed|ly|oly|(?:et|ol)?ic|ical|al|iv|ant|ent|anc|enc|abl|at"
    "|iet|it|i[sz]|[sz]|[aeiouy])$"
)
SMALL_WORDS = {"to", "the", "of", "and", "not"}


def stems_of(*labels: str) -> set[str]:
    """The words of labels without common endings: nostalgic and nostalgia are both nostalg.

    What is cut too far only makes strict scores stricter: sensual and sensitive are one.
    """
    text = " ".join(clean_name(label).lower() for label in labels)
    return {stem_of(word) for word in re.split("[ ,]+", text) if word and word not in SMALL_WORDS}


def stem_of(word: str) -> str:
    """A word without its endings, of three letters or more."""
    while len(shorter := ENDING.sub("", word)) > 2 and shorter != word:
        word = re.sub(r"([bdgmnpt])\1$", r"\1", shorter)  # funny is funn, then fun
    return word


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


@warned_once()
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
    methods: the same for all targets, or by target; of different names. Strict ones do not see the
        target's words (`unseen_words`).
    folder: keeps every model, history and score; what is there is not done again.
    seeds: how many, from first_seed on; a deterministic method runs once.
    shuffles: trainings with shuffled labels, for the other chance level.
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
        compared = methods[target] if isinstance(methods, Mapping) else methods
        names = [method.name for method in compared]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"{target}: two methods have the name {twice[0]!r}; give each its own")
        # One side for all methods of a rule: each is cut and hashed once.
        rules = {(method.strict, method.rare_labels): method for method in compared}
        sides = {
            rule: strictly(method, others(data, target), data[target])[1]
            for rule, method in rules.items()
        }
        for method in compared:
            count = 1 if method.deterministic else seeds
            training = sides[method.strict, method.rare_labels]
            method = without_seen_tags(method, training, data[target])
            method = with_chosen_clustering(method, training)
            drawn = [(seed, False) for seed in range(first_seed, first_seed + count)]
            drawn += [(seed, True) for seed in range(shuffles)]
            task = partial(Task, method, training, data[target], Path(folder))
            studied.append([task(*draw) for draw in drawn])
    tasks = {task.folder: task for of_method in studied for task in of_method}
    _run_tasks([task for task in tasks.values() if not task.is_done()], jobs, progress)
    return [_outcome(of_method) for of_method in studied]


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
        del method["name"], method["strict"]  # the one is no matter, the other lies in training
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

    def is_done(self) -> bool:
        """Whether all is there that is read again."""
        return all((self.folder / name).is_file() for name in ("history.parquet", "scores.npy"))

    def run(self) -> None:
        """Train, score and write everything; the scores last, as they say that it is done."""
        with storage.locked(self.folder):  # two notebooks may ask for it at the same time
            if self.is_done():
                return
            draw = (self.seed, self.shuffled)
            model, history = fit(self.method, self.training, *draw, progress=False)
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
    shape = len(tasks[0].target.features), len(tasks[0].target.dataset.labels)
    read = partial(storage.read_array, shape=shape)
    scores = [[read(folder / "scores.npy") for folder in each] for each in (folders, shuffled)]
    histories = [storage.read_table(folder / "history.parquet") for folder in folders]
    return Outcome(tasks[0].target.name, tasks[0].method, *scores, histories, folders)


def _run_tasks(tasks: Sequence[Task], jobs: int | None, progress: bool) -> None:
    """Run tasks, several at a time."""
    checked, entries = code.checked(run_quietly, MODULE), own_entries()
    here = min(jobs or cpu_count(), len(tasks)) == 1
    run = Task.run if here else lambda task: checked(task, entries)
    show = progress and bool(tasks)
    deque(in_processes(run, tasks, jobs, show, desc="training", leave=False), maxlen=0)


def run_quietly(task: Task, entries: Mapping[str, Mapping]) -> None:
    """Run a task in a worker: what there is to warn of, every worker would say again.

    entries: what the user registered (`registry.own_entries`).
    """
    add_entries(entries)
    with warnings.catch_warnings(action="ignore"):
        task.run()
