"""Tables of results: every score with its interval, its chance levels and what it was measured on.

Built from `evaluation.Outcome`s. Conventions: one row a target, method and metric; intervals are
95 %, from resampling a dataset's groups of tracks (artists where they are known) and from the
deviation over seeds; a method with several seeds has the mean over seeds. Datasets are never
resampled: no interval and no p-value here says what another dataset would give.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.nn import functional

from mer_utils import metrics
from mer_utils.data.types import Labelled, pool_tracks, with_rare_labels
from mer_utils.evaluation import scoring
from mer_utils.evaluation.chance import INVERSE_STRENGTH, stratified_folds, supervised_reference
from mer_utils.evaluation.paper import REPORTED
from mer_utils.evaluation.resampling import group_numbers
from mer_utils.evaluation.study import (
    Outcome,
    k_of,
    others,
    song_roc_auc,
    song_scores,
    stems_of,
    training_side,
)
from mer_utils.progress import in_processes
from mer_utils.projector.losses import cluster_cosines
from mer_utils.projector.methods import cluster_training_labels
from mer_utils.projector.model import load_model
from mer_utils.projector.training import draw_label

METRICS = {
    "segment_macro_f1": "segment macro-F1 at k",
    "song_macro_f1": "song macro-F1 at k",
    "song_roc_auc": "song ROC-AUC",
    "song_average_precision": "song average precision",
}
WORKERS = {"least": 24, "desc": "scoring", "leave": False}  # of `in_processes`
MOST_SEGMENTS = 2000  # whose cosines are looked at, drawn at random from more


def task_of(part: Labelled) -> dict:
    """What predictions for a dataset are scored against: arguments of `evaluate` and others."""
    dataset = part.dataset
    groups = dataset.tracks["group"]
    return {"targets": dataset.targets(), "label_names": dataset.labels, "groups": groups}


def _below(tables: Iterable[tuple[Outcome, pd.DataFrame]]) -> pd.DataFrame:
    """Tables below one another, each with its outcome's target and method first."""
    named = []
    for outcome, table in tables:
        table = table.reset_index()
        table.insert(0, "target", outcome.target)
        table.insert(1, "method", outcome.method.name)
        named.append(table)
    return pd.concat(named, ignore_index=True)


def results_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Score every outcome of `evaluation.run_study`.

    Returns one row a target, method and metric: target, method, metric, the columns of
    `evaluation.evaluate`, of_mean_scores (the metric of the seeds' mean score: what they reach as a
    committee), and shuffled, shuffled_low, shuffled_high, shuffles: mean and 2.5/97.5 % of the same
    method trained on shuffled labels (NaN where none were), as a trained model's labels are
    correlated. reached: how many of these score at least as high as value, which is the count of a
    permutation test, p = (1 + reached) / (1 + shuffles), for one comparison that was fixed before.
    """
    tasks = _song_tasks(outcomes, data, resamples)
    tables = in_processes(_scored, list(zip(outcomes, tasks, strict=True)), **WORKERS)
    return _below(zip(outcomes, tables, strict=True))


def _song_tasks(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int
) -> list[dict]:
    """For each outcome the arguments of `evaluate` but the scores, without the features."""
    tasks = {}
    for target in {outcome.target for outcome in outcomes}:
        part = data[target]
        index = part.features.track_index(part.dataset)
        tasks[target] = task_of(part) | {"k": k_of(part.dataset), "track_index": index}
    return [tasks[outcome.target] | {"resamples": resamples} for outcome in outcomes]


def _scored(asked: tuple[Outcome, dict]) -> pd.DataFrame:
    """The rows of one outcome, indexed by metric."""
    outcome, task = asked
    plain = (task["targets"], task["k"], task["track_index"])
    table = scoring.evaluate(outcome.scores, **task)
    table["of_mean_scores"] = scoring.metric_values(np.mean(outcome.scores, axis=0), *plain)
    chance = [scoring.metric_values(scores, *plain) for scores in outcome.shuffled]
    chance = pd.DataFrame(chance, columns=table.index, dtype=float)  # empty without shuffles
    table["shuffled"] = chance.mean()
    table["shuffled_low"], table["shuffled_high"] = chance.quantile(0.025), chance.quantile(0.975)
    table["reached"] = (chance >= table["value"]).sum().where(table["value"].notna())
    return table.assign(shuffles=len(chance))


def reference_table(
    data: Mapping[str, Labelled],
    resamples: int = 1000,
    others: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> pd.DataFrame:
    """What to compare with, in the columns of `results_table`: none of these is a method.

    The supervised reference learns from the target's own labels (5-fold, groups kept whole, linear,
    the same features). It is no ceiling: a zero-shot model that has heard more music can pass it.
    A dataset that is too small for it has none, and a warning says so. "every label" and "most
    frequent" (k labels) predict without hearing anything.
    others: more rows, by name and dataset their scores (tracks, labels): "oracle", the best
        possible where the truth is known; "CLAP" (`rivals.clap_scores`).
    """
    tables = []
    for name, part in data.items():
        task = task_of(part) | {"k": k_of(part.dataset), "resamples": resamples}
        scores = {"supervised reference": supervised_scores(part)}
        scored = int(np.isfinite(scores["supervised reference"]).all(axis=0).sum())
        if scored < task["k"]:
            said = f"{name}: no supervised reference, which scores {scored} labels; k = {task['k']}"
            warnings.warn(said, stacklevel=2)
            scores = {}
        scores |= {row: of[name] for row, of in (others or {}).items() if name in of}
        for method, of_tracks in scores.items():
            table = scoring.evaluate(of_tracks, **task, unscored="leave_out").reset_index()
            tables.append(table.assign(target=name, method=method))
        deaf = scoring.reference_rows(**task, chance_draws=1).reset_index(names="method")
        deaf = deaf.drop(columns=["chance", "chance_low", "chance_high", "seeds", "seed_sd"])
        deaf.loc[deaf["method"] == "every label", "k"] = pd.NA
        tables.append(deaf.assign(target=name, metric="song_macro_f1"))
    return pd.concat(tables, ignore_index=True).assign(reference=True)


def supervised_scores(part: Labelled) -> np.ndarray:
    """Out-of-fold scores of a supervised linear model on track means: (tracks, labels)."""
    pooled = pool_tracks(part.features, part.dataset)  # (tracks, layers, dim)
    return supervised_reference(pooled.reshape(len(pooled), -1), **task_of(part))


def with_interval(value: float, low: float, high: float, sign: str = "") -> str:
    """A number with its interval, "0.612 [0.587, 0.640]"; sign "+" writes that of each number."""
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def readable(table: pd.DataFrame, metric: str = "song_roc_auc") -> pd.DataFrame:
    """One metric as text, rows methods and columns targets: "value [low, high] ±seeds' deviation".

    The last rows are the two chance levels and what they were measured on. That of shuffled labels
    is the mean of all methods, and how far they range.
    """
    rows = table[table["metric"] == metric]
    cells = defaultdict(dict)  # of each row the texts by target
    for row in rows.itertuples():
        text = with_interval(row.value, row.low, row.high)
        cells[row.method][row.target] = text + _plus_minus(row)
    for target, part in rows.groupby("target", sort=False):
        first = part.iloc[0]
        chance = first[["chance", "chance_low", "chance_high"]]
        cells["chance: random scores"][target] = with_interval(*chance)
        if "shuffled" in part and part["shuffled"].notna().any():
            ends = part["shuffled"].mean(), part["shuffled_low"].min(), part["shuffled_high"].max()
            whose = "all methods" if part["shuffled"].count() > 1 else "this method"
            cells[f"chance: shuffled labels, {whose}"][target] = with_interval(*ends)
        cells["tracks, labels"][target] = f"{first['tracks']}, {first['labels']}"
    return pd.DataFrame(cells).T.rename_axis(METRICS[metric]).fillna("")


def _plus_minus(row: object) -> str:
    """ " ±" and the deviation over seeds of a row of results; "" for one seed."""
    deviation = getattr(row, "seed_sd", np.nan)
    return "" if pd.isna(deviation) else f" ±{deviation:.3f}"


def beyond_chance(table: pd.DataFrame, metric: str = "song_roc_auc") -> pd.DataFrame:
    """How many methods are beyond both chance levels, one row a target.

    The bar is the same for all methods of a target: the highest 97.5 % of random scores and of any
    method trained on shuffled labels (networks a few times only). Methods without shuffled labels
    are not counted. Returns bar, beyond, methods.
    """
    made = table[table["shuffled"].notna()]
    rows = {}
    for target, part in made[made["metric"] == metric].groupby("target", sort=False):
        bar = part[["chance_high", "shuffled_high"]].max(axis=None)
        rows[target] = {"bar": bar, "beyond": (part["low"] > bar).sum(), "methods": len(part)}
    return pd.DataFrame.from_dict(rows, "index").astype({"beyond": int, "methods": int})


def paper_layout(table: pd.DataFrame) -> pd.DataFrame:
    """Macro-F1 of segments and songs by metric and method, a column a target, with chance.

    Text as in `readable`, without intervals; what the paper reports follows as "paper: …".
    """
    columns = {}
    for target, part in table[table["metric"].isin(REPORTED)].groupby("target", sort=False):
        cells = {
            (row.metric, row.method): f"{row.value:.3f}{_plus_minus(row)}"
            for row in part.itertuples()
        }
        chance = part.dropna(subset="chance").groupby("metric")["chance"].first()
        cells |= {(metric, "chance"): f"{value:.3f}" for metric, value in chance.items()}
        cells |= {
            (metric, f"paper: {method}"): f"{value:.3f}"
            for metric, reported in REPORTED.items()
            for method, value in reported.get(target, {}).items()
        }
        columns[target] = pd.Series(cells)
    layout = pd.DataFrame(columns).fillna("").rename_axis(["metric", "method"])
    return layout.sort_index(level="metric", sort_remaining=False)


def best_alignment(outcomes: Sequence[Outcome], data: Mapping[str, Labelled]) -> dict[str, Outcome]:
    """For every target the paper's alignment method whose *score on the target* is highest.

    So the paper reports it ("best λ"), and no comparison with it is in the other's favour.
    """

    def value(outcome: Outcome) -> float:
        part = data[outcome.target]
        return np.mean([song_roc_auc(song_scores(each, part), part) for each in outcome.scores])

    of_target = defaultdict(list)
    for outcome in outcomes:
        if outcome.method.training.aligns_clusters and not outcome.method.deterministic:
            of_target[outcome.target].append(outcome)
    return {target: max(rivals, key=value) for target, rivals in of_target.items()}


def compare_with_alignment(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Every method against the paper's best alignment method of its target, as by `compare_all`."""
    best = best_alignment(outcomes, data)
    rivals = [o for o in outcomes if o.target in best and o is not best[o.target]]
    return compare_all(rivals, [best[outcome.target] for outcome in rivals], data, resamples)


def compare_all(
    outcomes: Sequence[Outcome],
    references: Sequence[Outcome],
    data: Mapping[str, Labelled],
    resamples: int = 1000,
) -> pd.DataFrame:
    """Each outcome against the reference at its place, on the same resampled groups of tracks.

    Returns a row a pair and metric: target, method, against, metric, the columns of
    `evaluation.compare` (difference is outcome minus reference) and p_holm: p corrected over all
    pairs of the metric. Raises ValueError if a pair has two targets.
    """
    for outcome, reference in zip(outcomes, references, strict=True):
        if outcome.target != reference.target:
            raise ValueError(f"targets {outcome.target} and {reference.target} cannot be compared")
    tasks = _song_tasks(outcomes, data, resamples)
    asked = list(zip(outcomes, references, tasks, strict=True))
    table = _below(zip(outcomes, in_processes(_compared, asked, **WORKERS), strict=True))
    return table.assign(p_holm=table.groupby("metric")["p"].transform(scoring.holm))


def _compared(asked: tuple[Outcome, Outcome, dict]) -> pd.DataFrame:
    """The rows of one pair, indexed by reference and metric."""
    outcome, reference, task = asked
    table = scoring.compare(outcome.scores, reference.scores, **task)
    return pd.concat({reference.method.name: table}, names=["against"])


def per_label_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """ROC-AUC and average precision of every label.

    Returns the columns of `scoring.per_label_scores`, and seen: whether a word of the label stands
    in another dataset's vocabulary, rare words too (strict methods do not learn from it).
    """

    def scored(outcome: Outcome) -> pd.DataFrame:
        part = data[outcome.target]
        task = task_of(part) | {"track_index": part.features.track_index(part.dataset)}
        table = scoring.per_label_scores(outcome.scores, **task, resamples=resamples)
        known = map(with_rare_labels, others(data, outcome.target))
        elsewhere = stems_of(*(label for other in known for label in other.dataset.labels))
        return table.assign(seen=[bool(stems_of(x) & elsewhere) for x in part.dataset.labels])

    return _below((outcome, scored(outcome)) for outcome in outcomes)


def cosine_table(
    outcomes: Sequence[Outcome],
    data: Mapping[str, Labelled],
    groups: str = "clusters",
    seed: int = 0,
) -> pd.DataFrame:
    """How near projected training music lies to its own group and to the others.

    groups: "clusters" of labels (as in the alignment loss, a segment is in the cluster of one of
        its labels, drawn at random) or "datasets".
    Returns one row a method: target, method, within and between (mean cosines; between is NaN where
    there is one group), difference.
    """
    rows = []
    for outcome in outcomes:
        training = training_side(data, outcome.target, outcome.method.strict)
        generator = torch.Generator().manual_seed(seed)
        sizes = [len(part.dataset.labels) for part in training]
        group_of = np.repeat(range(len(training)), sizes)  # (labels of all datasets,)
        if groups == "clusters":
            with warnings.catch_warnings(action="ignore"):  # of the clusters: training has said it
                group_of = cluster_training_labels(outcome.method, training).assignment
        projections, drawn = [], []
        for part, own in zip(training, torch.from_numpy(group_of).split(sizes), strict=True):
            track = part.features.track_index(part.dataset)
            targets = torch.from_numpy(part.dataset.targets()[track])  # (segments, labels)
            labelled = targets.any(1)
            drawn.append(own[draw_label(targets[labelled], generator)])
            projections.append(project_part(outcome, part)[labelled])
        projected, group = torch.cat(projections), torch.cat(drawn)
        keep = torch.randperm(len(projected), generator=generator)[:MOST_SEGMENTS]
        within, between = (x.mean().item() for x in cluster_cosines(projected[keep], group[keep]))
        row = {"target": outcome.target, "method": outcome.method.name, "within": within}
        rows.append(row | {"between": between if len(group.unique()) > 1 else np.nan})
    table = pd.DataFrame(rows)
    return table.assign(difference=table["within"] - table["between"])


def dataset_accuracy(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], seed: int = 0
) -> pd.DataFrame:
    """How well a linear model tells which training dataset a track is from.

    Tracks are the means of their segments: in the first row of a target, "features", as the
    encoder gives them, then as an outcome's first seed projects them, at unit length.
    Returns one row a target and method: target, method, balanced_accuracy (out of 5 folds that
    never split a group; NaN where one dataset trains alone), chance (1 / datasets), tracks.
    """
    rows = []
    for target in dict.fromkeys(outcome.target for outcome in outcomes):
        of_target = [outcome for outcome in outcomes if outcome.target == target]
        training = training_side(data, target, of_target[0].method.strict)
        rows.append({"target": target, "method": "features", **_told_apart(training, seed)})
        for outcome in of_target:
            projected = []
            for part in training_side(data, target, outcome.method.strict):
                unit = functional.normalize(project_part(outcome, part), dim=1)  # (segments, d)
                features = replace(part.features, values=unit[:, None].numpy())
                projected.append(replace(part, features=features))
            name = outcome.method.name
            rows.append({"target": target, "method": name, **_told_apart(projected, seed)})
    return pd.DataFrame(rows)


def _told_apart(training: Sequence[Labelled], seed: int) -> dict:
    """The numbers of a row of `dataset_accuracy`."""
    pooled = [pool_tracks(part.features, part.dataset) for part in training]
    values = np.concatenate([each.reshape(len(each), -1) for each in pooled])  # (tracks, dim)
    owner = np.repeat(range(len(pooled)), [len(each) for each in pooled])  # (tracks,)
    row = {"balanced_accuracy": np.nan, "chance": 1 / len(pooled), "tracks": len(owner)}
    if len(pooled) == 1:
        return row
    groups = [(part.name, group) for part in training for group in part.dataset.tracks["group"]]
    folds = stratified_folds(owner, group_numbers(groups, len(owner)), 5, seed)
    linear = LogisticRegression(C=INVERSE_STRENGTH, class_weight="balanced", max_iter=1000)
    model = make_pipeline(StandardScaler(), linear)
    with threadpool_limits(limits=1):  # small problems: threads would wait for one another
        told = cross_val_predict(model, values, owner, cv=folds)
    return row | {"balanced_accuracy": balanced_accuracy_score(owner, told)}


def project_part(outcome: Outcome, part: Labelled) -> torch.Tensor:
    """A dataset in the label space of an outcome's first seed: (segments, d)."""
    model = load_model(outcome.folders[0] / "model")
    return model.project(part.features)


def agreement_table(outcome: Outcome, part: Labelled, k: int) -> pd.DataFrame:
    """Track by track: what was predicted, what listeners said, and how well the two agree.

    Returns a table indexed by track, best first: agreement (how often a label that it has is above
    one that it has not), predicted (the top k), labels; without tracks of no label or all.
    """
    scores = song_scores(np.mean(outcome.scores, axis=0), part)  # (tracks, labels)
    targets = part.dataset.targets()
    names = np.array(part.dataset.labels)
    table = pd.DataFrame(
        {
            "agreement": metrics.roc_auc(scores.T, targets.T),
            "predicted": [", ".join(names[np.argsort(-row)[:k]]) for row in scores],
            "labels": [", ".join(names[row]) for row in targets],
        },
        index=part.dataset.tracks.index,
    )
    return table.dropna().sort_values("agreement", ascending=False)


def group_table(outcomes: Sequence[Outcome], part: Labelled, column: str) -> pd.DataFrame:
    """Song ROC-AUC within each group of tracks; .5 for a method that only tells groups apart.

    column: of the dataset's table of tracks, such as genre.
    Returns group, method, tracks, labels (that could be scored), roc_auc (mean over seeds).
    """
    groups, targets = part.dataset.tracks[column].to_numpy(), part.dataset.targets()
    rows = []
    for outcome in outcomes:
        songs = [song_scores(scores, part) for scores in outcome.scores]
        for group in dict.fromkeys(groups):
            inside = groups == group
            values = np.array([metrics.roc_auc(s[inside], targets[inside]) for s in songs])
            labels, value = int(np.isfinite(values[0]).sum()), float(np.nanmean(values))
            rows.append((group, outcome.method.name, int(inside.sum()), labels, value))
    return pd.DataFrame(rows, columns=[column, "method", "tracks", "labels", "roc_auc"])


def markdown(table: pd.DataFrame) -> str:
    """A table of text as a Markdown table; the index makes the first columns."""
    names = [str(name) for name in table.index.names]
    head = [n if n != "None" else "" for n in names] + [str(column) for column in table.columns]
    rows = table.reset_index().astype(str).to_numpy().tolist()
    lines = [[*map(plain, head)], ["---"] * len(head), *([*map(plain, row)] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str) -> str:
    """A name or label to stand in Markdown: no HTML, link, formula, code or cell begins in it."""
    marked = re.sub(r"[\\`*|$]|&(?=#?\w+;)|(?<=\])[(\[:]", r"\\\g<0>", re.sub(r"\s+", " ", text))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", marked)
