"""The experiment: train on some datasets, predict a dataset whose labels were never seen.

`select` picks among methods by leaving labels or datasets out *inside* the training side;
`run_study` runs targets × methods × seeds, keeps every model and score on disk and goes on where
it was stopped; `results_table` scores them.

What must not leak: a target's labels are used only to score; splits are by group. What looks at
the target's unlabelled audio is `transductive`, and every table says so.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mer_utils import evaluation, storage
from mer_utils.datasets import Dataset
from mer_utils.methods import Labelled, Method, fit, method_settings
from mer_utils.models import Model

# how many labels the paper's vote gives a song of each dataset (its k); Mulan's emotions have no k
# there: their tracks have 1.9 labels on average
TOP_K = {
    "mtg-jamendo": 2,
    "cal500": 4,
    "emotify": 3,
    "emotions": 2,
    "demo-mtg": 2,
    "demo-cal500": 4,
    "demo-emotify": 3,
}


def k_of(dataset: Dataset) -> int:
    """How many labels the song vote predicts: the paper's k, else the mean number a track."""
    return TOP_K.get(dataset.name) or max(1, round(float(dataset.targets().sum(1).mean())))


# --- Choosing settings without the target ---------------------------------------------------------


def restricted(part: Labelled, labels: Sequence[str], tracks: np.ndarray) -> Labelled:
    """The part of a dataset that has these labels and tracks (bool mask) only."""
    table = part.dataset.tracks[tracks].copy()
    keep = set(labels)
    table["labels"] = [tuple(x for x in own if x in keep) for own in table["labels"]]
    dataset = replace(part.dataset, labels=tuple(labels), tracks=table)
    rows = np.isin(part.features.track, table.index.to_numpy())
    features = replace(
        part.features,
        values=part.features.values[rows],
        track=part.features.track[rows],
        start=part.features.start[rows],
    )
    return Labelled(dataset, features)


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


def inner_score(method: Method, training: Sequence[Labelled], seed: int = 0) -> float:
    """How well a method predicts labels that it has not seen, inside the training side.

    Several training datasets: each is left out in turn and predicted from the others. One: its
    labels and its groups of tracks are left out together, in three folds of labels (two where
    there are fewer than nine).
    Returns the mean macro ROC-AUC over what was left out.
    """
    if len(training) > 1:
        pairs = [(tuple(p for p in training if p is not part), part) for part in training]
    else:
        folds = 3 if len(training[0].dataset.labels) >= 9 else 2
        pairs = [((a,), b) for a, b in label_folds(training[0], folds, seed)]
    found = []
    for inside, outside in pairs:
        model, _ = fit(method, inside, seed, progress=False)
        aucs = evaluation.roc_auc(track_scores(model, outside, method), outside.dataset.targets())
        found.append(np.nanmean(aucs))
    return float(np.mean(found))


def select(
    candidates: Sequence[Method],
    training: Sequence[Labelled],
    seed: int = 0,
    progress: bool = True,
) -> tuple[Method, pd.DataFrame]:
    """The candidate that does best inside the training side; the target is not looked at.

    Returns it and a table with every candidate's inner score, best first.
    """
    bar = tqdm(candidates, desc="selecting", disable=not progress, leave=False)
    scores = [inner_score(method, training, seed) for method in bar]
    table = pd.DataFrame({"method": [m.name for m in candidates], "inner ROC-AUC": scores})
    best = candidates[int(np.argmax(scores))]
    return best, table.sort_values("inner ROC-AUC", ascending=False, ignore_index=True)


# --- Scoring and the study ------------------------------------------------------------------------


def track_scores(model: Model, target: Labelled, method: Method) -> np.ndarray:
    """Mean score of each track's segments for every label of the target: (tracks, labels)."""
    scores = model.scores(target.features, target.dataset.labels, method.own_statistics)
    index = target.features.track_index(target.dataset)
    return evaluation.track_scores(scores, index, len(target.dataset))


@dataclass(frozen=True)
class Outcome:
    """What one method did for one target: scores of every seed, and of shuffled-label training.

    scores: one (segments, labels) array a seed.
    shuffled: one a shuffled-label training; may be empty.
    histories: one training table a seed; empty tables for a ridge.
    folders: where each seed's model lies.
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
    progress: bool = True,
) -> list[Outcome]:
    """Predict every target from all other datasets, by every method, with every seed.

    data: the datasets by name.
    methods: the same for all targets, or by target (when settings were selected for each).
    folder: keeps every model, history and score; what is there is not done again.
    seeds: 0 … seeds − 1; a deterministic method runs once.
    shuffles: trainings with shuffled labels, for the other chance level.
    targets: which datasets to predict; all if None.
    Returns one outcome a target and method.
    """
    if len(data) < 2:
        raise ValueError(f"a study needs two datasets or more, not only {list(data)}")
    targets = list(targets or data)
    unknown = [name for name in targets if name not in data]
    if unknown:
        raise ValueError(f"no dataset {unknown[0]!r} to predict; there are {list(data)}")
    work = []
    for target in targets:
        for method in methods[target] if isinstance(methods, Mapping) else methods:
            count = 1 if method.deterministic else seeds
            work += [(target, method, seed, False) for seed in range(count)]
            work += [(target, method, seed, True) for seed in range(shuffles)]
    found: dict[tuple[str, str], Outcome] = {}
    with tqdm(work, disable=not progress, leave=False) as bar:
        for target, method, seed, shuffled in bar:
            bar.set_description(f"{method.name} → {target}")
            training = [part for name, part in data.items() if name != target]
            scores, history, where = run_one(
                method, training, data[target], Path(folder), seed, shuffled
            )
            outcome = found.setdefault(
                (target, method.name), Outcome(target, method, [], [], [], [])
            )
            if shuffled:
                outcome.shuffled.append(scores)
            else:
                outcome.scores.append(scores)
                outcome.histories.append(history)
                outcome.folders.append(where)
    return list(found.values())


def run_one(
    method: Method,
    training: Sequence[Labelled],
    target: Labelled,
    folder: Path,
    seed: int,
    shuffled: bool = False,
) -> tuple[np.ndarray, pd.DataFrame, Path]:
    """One training and its scores, from disk if it was done before with the same settings and data.

    Returns the scores (segments, labels), the history and the folder.
    """
    made_by = {
        "method": method_settings(method),
        "training": {part.name: fingerprint(part) for part in training},
        "target": {target.name: fingerprint(target)},
        "seed": seed,
        "shuffled": shuffled,
    }
    name = f"{slug(method.name)}-{storage.settings_hash(made_by)}"
    where = folder / target.name / name
    if not (where / "scores.npy").is_file():
        model, history = fit(method, training, seed, shuffled, progress=False)
        model.save(where / "model")
        storage.write_table(where / "history.parquet", history)
        storage.write_json(where / "made_by.json", made_by)
        scores = model.scores(target.features, target.dataset.labels, method.own_statistics)
        storage.write_array(where / "scores.npy", scores)  # last: its presence says it is done
    history = pd.read_parquet(where / "history.parquet")
    return storage.read_array(where / "scores.npy"), history, where


def fingerprint(part: Labelled) -> str:
    """A short hash of everything that a training reads from a dataset."""
    table = part.dataset.tracks
    return storage.settings_hash(
        {
            "labels": list(part.dataset.labels),
            "tracks": [str(track) for track in table.index],
            "track_labels": [list(labels) for labels in table["labels"]],
            "groups": [str(group) for group in table["group"]],
            "splits": [str(split) for split in table["split"]],
            "features": hashlib.sha256(np.ascontiguousarray(part.features.values)).hexdigest(),
            "segments": hashlib.sha256(
                "\n".join(map(str, part.features.track)).encode()
            ).hexdigest(),
        }
    )


def slug(name: str) -> str:
    """A name fit for a folder: lower case, letters, digits and dashes."""
    ascii_name = name.replace("λ", "lambda").lower()
    return re.sub(r"[^a-z0-9.]+", "-", ascii_name).strip("-")


def results_table(
    outcomes: Sequence[Outcome],
    data: Mapping[str, Labelled],
    resamples: int = 1000,
) -> pd.DataFrame:
    """One row a target, method and metric, with interval and both kinds of chance.

    Columns as `evaluation.evaluate` gives them (the interval resamples whole tracks; the value is
    the mean over seeds), and shuffled, shuffled_low, shuffled_high: the mean and range of the
    same method trained on shuffled labels; transductive: whether the method looked at the
    target's unlabelled audio.
    """
    tables = []
    for outcome in outcomes:
        target = data[outcome.target]
        index = target.features.track_index(target.dataset)
        targets, k = target.dataset.targets(), k_of(target.dataset)
        table = evaluation.evaluate(
            outcome.scores,
            targets,
            k,
            index,
            resamples=resamples,
            label_names=target.dataset.labels,
        )
        if outcome.shuffled:
            chance = [evaluation.measure(s, targets, k, index) for s in outcome.shuffled]
            chance = pd.DataFrame(chance)  # one row a shuffled training, one column a metric
            table["shuffled"] = chance.mean()
            table["shuffled_low"], table["shuffled_high"] = chance.min(), chance.max()
        table.insert(0, "target", outcome.target)
        table.insert(1, "method", outcome.method.name)
        table.insert(2, "transductive", outcome.method.own_statistics)
        tables.append(table.reset_index())
    return pd.concat(tables, ignore_index=True)
