"""Tables of results: every score with its interval, its chance levels and what it was measured on.

Built from `evaluation.Outcome`s and `evaluation`. Conventions: one row a target, method and metric;
intervals are 95 %, from resampling a dataset's groups of tracks (artists where they are known) and
from the deviation over seeds; a method with several seeds has the mean over seeds. Datasets are
never resampled: no interval and no p-value here says what another dataset would give.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from mer_utils import metrics
from mer_utils.data.types import Dataset, Labelled, pool_tracks
from mer_utils.evaluation.paper import REPORTED
from mer_utils.evaluation.study import Outcome, k_of
from mer_utils.projector import losses
from mer_utils.projector.methods import cluster_training_labels
from mer_utils.projector.model import load_model
from mer_utils.projector.training import draw_label

METRICS = {
    "segment_macro_f1": "segment macro-F1 at k",
    "song_macro_f1": "song macro-F1 at k",
    "song_roc_auc": "song ROC-AUC",
    "song_average_precision": "song average precision",
}


def results_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Score every outcome.

    outcomes: from `evaluation.run_study`; data: the datasets by name.
    Returns one row a target, method and metric: target, method, transductive (whether the method
    looked at the target's unlabelled audio), metric, the columns of `evaluation.evaluate` (value is
    the mean over seeds), of_mean_scores (the metric of the seeds' mean score: what the seeds reach
    as a committee; the value for one seed), and shuffled, shuffled_low, shuffled_high, shuffles:
    mean and range of the same method trained on shuffled labels (NaN where none were).
    """
    tables = []
    for outcome in outcomes:
        part = data[outcome.target]
        index = part.features.track_index(part.dataset)
        targets, k = part.dataset.targets(), k_of(part.dataset)
        table = metrics.evaluate(
            outcome.scores,
            targets,
            k,
            index,
            resamples,
            label_names=part.dataset.labels,
            groups=part.dataset.tracks["group"],
        )
        table["of_mean_scores"] = table["value"]
        if len(outcome.scores) > 1:
            mean = np.mean(outcome.scores, axis=0)
            table["of_mean_scores"] = metrics.metric_values(mean, targets, k, index)
        table = _with_shuffled(table, outcome, targets, k, index)
        tables.append(_named(table, outcome))
    return pd.concat(tables, ignore_index=True)


def _with_shuffled(
    table: pd.DataFrame, outcome: Outcome, targets: np.ndarray, k: int, index: np.ndarray
) -> pd.DataFrame:
    """Add the chance level of the same method trained on shuffled labels."""
    columns = {"mean": "shuffled", "low": "shuffled_low", "high": "shuffled_high"}
    if not outcome.shuffled:
        return table.assign(**dict.fromkeys(columns.values(), np.nan), shuffles=0)
    chance = metrics.shuffled_chance(outcome.shuffled, targets, k, index)
    return table.join(chance[list(columns)].rename(columns=columns)).assign(
        shuffles=len(outcome.shuffled)
    )


def _named(table: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Put the columns target, method, transductive before the rest."""
    table = table.reset_index()
    table.insert(0, "target", outcome.target)
    table.insert(1, "method", outcome.method.name)
    table.insert(2, "transductive", outcome.method.own_statistics)
    return table


def reference_table(
    data: Mapping[str, Labelled],
    resamples: int = 1000,
    oracles: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """What to compare with, in the columns of `results_table`: none of these is a method.

    The supervised reference learns from the target's own labels (5-fold, groups kept whole, linear,
    the same features). It is no ceiling: a zero-shot model that has heard more music can pass it.
    "every label" and "most frequent k" predict without hearing anything.
    oracles: (tracks, labels) the best possible scores of datasets whose truth is known.
    A dataset that is too small for one has none, and a warning says so.
    """
    tables = []
    for name, part in data.items():
        targets, k = part.dataset.targets(), k_of(part.dataset)
        scores = {"supervised reference": supervised_scores(part)}
        if oracles and name in oracles:
            scores["oracle"] = oracles[name]
        for method, of_tracks in scores.items():
            scored = int(np.isfinite(of_tracks).all(axis=0).sum())
            if scored < k:
                warnings.warn(
                    f"{name}: no {method}, as it scores {scored} labels, fewer than k = {k}; the "
                    "dataset is too small",
                    stacklevel=2,
                )
                continue
            table = metrics.evaluate(
                of_tracks,
                targets,
                k,
                resamples=resamples,
                label_names=part.dataset.labels,
                unscored="leave_out",
                groups=part.dataset.tracks["group"],
            ).reset_index()
            tables.append(table.assign(target=name, method=method))
        rows = metrics.reference_rows(
            targets,
            k,
            resamples,
            label_names=part.dataset.labels,
            groups=part.dataset.tracks["group"],
        )
        rows = rows.drop("random_top_k").reset_index(names="method")
        rows["method"] = rows["method"].str.replace("_", " ")
        tables.append(rows.assign(target=name, metric="song_macro_f1"))
    return pd.concat(tables, ignore_index=True).assign(transductive=False, reference=True)


def supervised_scores(part: Labelled) -> np.ndarray:
    """Out-of-fold scores of a supervised linear model on track means: (tracks, labels)."""
    pooled = pool_tracks(part.features, part.dataset)  # (tracks, layers, dim)
    groups = part.dataset.tracks["group"].tolist()
    return metrics.supervised_reference(
        pooled.reshape(len(pooled), -1),
        part.dataset.targets(),
        groups,
        label_names=part.dataset.labels,
    )


def knows_nothing_table(datasets: Mapping[str, Dataset], draws: int = 200) -> pd.DataFrame:
    """Song macro-F1 of predictions that know nothing about the music, one row a dataset."""
    rows = {}
    for name, dataset in datasets.items():
        targets, k = dataset.targets(), k_of(dataset)
        random = metrics.random_top_k(targets, k, draws)
        rows[name] = {
            "tracks": len(dataset),
            "labels": len(dataset.labels),
            "labels a track": targets.sum(1).mean(),
            "k": k,
            "random top k": random.mean(),
            "random top k, 97.5 %": np.percentile(random, 97.5),
            "most frequent k": metrics.most_frequent(targets, k),
            "every label": metrics.every_label(targets),
        }
    return pd.DataFrame(rows).T.astype({"tracks": int, "labels": int, "k": int})


def readable(table: pd.DataFrame, metric: str = "song_roc_auc") -> pd.DataFrame:
    """One metric as text, rows methods and columns targets: "value [low, high]".

    "±0.012" after it: the deviation of the value from seed to seed, for a method with several. (The
    interval is that of the mean over seeds and of the tracks; one training lies anywhere in ±.)
    † marks methods that looked at the target's unlabelled audio. The last rows are the two chance
    levels and what they were measured on.
    """
    rows = table[table["metric"] == metric]
    cells: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        mark = " †" if row.transductive else ""
        text = f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]{_plus_minus(row)}"
        cells.setdefault(row.method + mark, {})[row.target] = text
    for target, part in rows.groupby("target", sort=False):
        first = part.iloc[0]
        cells.setdefault("chance: random scores", {})[target] = (
            f"{first['chance']:.3f} [{first['chance_low']:.3f}, {first['chance_high']:.3f}]"
        )
        if "shuffled" in part and part["shuffled"].notna().any():
            shuffled = part[part["shuffled"].notna()]
            cells.setdefault("chance: shuffled labels, all methods", {})[target] = (
                f"{shuffled['shuffled'].mean():.3f} "
                f"[{shuffled['shuffled_low'].min():.3f}, {shuffled['shuffled_high'].max():.3f}]"
            )
        cells.setdefault("tracks, labels", {})[target] = f"{first['tracks']}, {first['labels']}"
    return pd.DataFrame(cells).T.rename_axis(METRICS[metric]).fillna("")


def _plus_minus(row: object) -> str:
    """ " ±" and the deviation over seeds of a row of results; "" for one seed."""
    deviation = getattr(row, "seed_sd", np.nan)
    return "" if pd.isna(deviation) else f" ±{deviation:.3f}"


def paper_layout(table: pd.DataFrame) -> pd.DataFrame:
    """Macro-F1 of segments and songs in the paper's layout, with chance and the paper's numbers.

    Rows: metric and method; columns: targets; text: the value, and "±0.012", the deviation from
    seed to seed, for a method with several (the paper reports one training). Where a target is one
    of the paper's datasets, its reported numbers follow as "paper: …".
    """
    metrics = ["segment_macro_f1", "song_macro_f1"]
    rows = table[table["metric"].isin(metrics)]
    columns = {}
    for target in rows["target"].unique():
        part = rows[rows["target"] == target]
        cells = {
            (row.metric, row.method): f"{row.value:.3f}{_plus_minus(row)}"
            for row in part.itertuples()
        }
        chance = part.dropna(subset="chance").groupby("metric")["chance"].first()
        cells |= {(metric, "chance"): f"{value:.3f}" for metric, value in chance.items()}
        cells |= {
            (metric, f"paper: {method}"): f"{value:.3f}"
            for metric in metrics
            for method, value in REPORTED[metric].get(target, {}).items()
        }
        columns[target] = pd.Series(cells)
    layout = pd.DataFrame(columns).fillna("")
    layout.index = layout.index.set_names(["metric", "method"])
    return layout.sort_index(level="metric", sort_remaining=False)


def best_alignment(outcomes: Sequence[Outcome], data: Mapping[str, Labelled]) -> dict[str, Outcome]:
    """For every target the paper's alignment method whose *score on the target* is highest.

    That is how the paper reports it ("best λ"): chosen on the target. Others are compared with it
    so that the comparison is never in their favour.
    """
    best: dict[str, tuple[float, Outcome]] = {}
    for outcome in outcomes:
        if outcome.method.training.alignment_weight == 0 or outcome.method.deterministic:
            continue
        value = np.mean([_song_roc_auc(s, data[outcome.target]) for s in outcome.scores])
        if value > best.get(outcome.target, (-np.inf, outcome))[0]:
            best[outcome.target] = (value, outcome)
    return {target: outcome for target, (_, outcome) in best.items()}


def _song_roc_auc(scores: np.ndarray, part: Labelled) -> float:
    index = part.features.track_index(part.dataset)
    per_track = metrics.track_scores(scores, index, len(part.dataset))
    return float(np.nanmean(metrics.roc_auc(per_track, part.dataset.targets())))


def compare_with_alignment(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Every method against the paper's best alignment method of its target, as by `compare_all`."""
    best = best_alignment(outcomes, data)
    others = [o for o in outcomes if o.target in best and o is not best[o.target]]
    return compare_all(others, [best[outcome.target] for outcome in others], data, resamples)


def compare_all(
    outcomes: Sequence[Outcome],
    references: Sequence[Outcome],
    data: Mapping[str, Labelled],
    resamples: int = 1000,
) -> pd.DataFrame:
    """Each outcome against the reference at its place, on the same resampled groups of tracks.

    A path of changes is `compare_all(steps[1:], steps[:-1], data)`.
    Returns a row a pair and metric: target, method, transductive, against, metric, the columns of
    `evaluation.compare` (difference is outcome minus reference) and p_holm: p corrected over all
    pairs of the metric (Holm 1979).
    Raises ValueError if the two are not equally many or a pair has two targets.
    """
    tables = []
    for outcome, reference in zip(outcomes, references, strict=True):
        if outcome.target != reference.target:
            raise ValueError(
                f"{outcome.method.name!r} predicts {outcome.target} but {reference.method.name!r} "
                f"{reference.target}; only outcomes of one target can be compared"
            )
        part = data[outcome.target]
        index = part.features.track_index(part.dataset)
        table = metrics.compare(
            outcome.scores,
            reference.scores,
            part.dataset.targets(),
            k_of(part.dataset),
            index,
            index,
            resamples,
            label_names=part.dataset.labels,
            groups=part.dataset.tracks["group"],
        )
        table = _named(table, outcome)
        table.insert(3, "against", reference.method.name)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    return table.assign(p_holm=table.groupby("metric")["p"].transform(metrics.holm))


def per_label_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """ROC-AUC and average precision of every label; the columns of `metrics.per_label_scores`."""
    tables = []
    for outcome in outcomes:
        part = data[outcome.target]
        table = metrics.per_label_scores(
            outcome.scores,
            part.dataset.targets(),
            part.dataset.labels,
            part.features.track_index(part.dataset),
            resamples,
            groups=part.dataset.tracks["group"],
        )
        tables.append(_named(table, outcome))
    return pd.concat(tables, ignore_index=True)


def cluster_cosine_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], seed: int = 0, most: int = 2000
) -> pd.DataFrame:
    """How near projected training music lies to its own label cluster and to the others.

    As in the alignment loss, a segment is in the cluster of one of its labels, drawn at random.
    most: segments that are looked at, drawn at random if there are more.
    Returns one row a method: target, method, within and between (mean cosines), difference.
    """
    rows = []
    for outcome in outcomes:
        training = [part for name, part in data.items() if name != outcome.target]
        with warnings.catch_warnings(action="ignore"):  # of the clusters: training has said it
            clusters = cluster_training_labels(outcome.method, training)
        generator, first = torch.Generator().manual_seed(seed), 0
        projections, owners = [], []
        for part in training:
            targets = torch.from_numpy(part.dataset.targets())
            track = torch.from_numpy(part.features.track_index(part.dataset))
            labelled = targets[track].any(1)  # (segments,)
            drawn = draw_label(targets[track[labelled]], generator)  # (labelled segments,)
            owners.append(torch.from_numpy(np.asarray(clusters.assignment))[first + drawn])
            projections.append(project_part(outcome, part)[labelled])
            first += len(part.dataset.labels)
        projected, cluster = torch.cat(projections), torch.cat(owners)
        keep = torch.randperm(len(projected), generator=generator)[:most]
        within, between = losses.cluster_cosines(projected[keep], cluster[keep])
        rows.append(
            {
                "target": outcome.target,
                "method": outcome.method.name,
                "within": within.mean().item(),
                "between": between.mean().item(),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(difference=table["within"] - table["between"])


def project_part(outcome: Outcome, part: Labelled) -> torch.Tensor:
    """A dataset in the label space of an outcome's first seed: (segments, d)."""
    model = load_model(outcome.folders[0] / "model")
    return model.project(part.features, outcome.method.own_statistics)


def markdown(table: pd.DataFrame) -> str:
    """A table of text as a Markdown table; the index makes the first columns."""
    flat = table.reset_index()
    names = [str(name) for name in table.index.names]
    flat.columns = [n if n != "None" else "" for n in names] + [str(c) for c in table.columns]
    lines = [list(flat.columns), ["---"] * flat.shape[1], *flat.astype(str).to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
