"""What was tried: label spaces side by side, the best method with one thing taken away, with fewer
tracks to learn from, and with one half of its task done by whoever knows the answer.

These tables score on the target, because they report; nothing is chosen by them (that is
`evaluation.study.select_method`, on the training side).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from mer_utils.corpus import demo
from mer_utils.data.types import Features, Labelled, restricted
from mer_utils.evaluation.affect import affect_correlation, annotations, co_occurrence_map
from mer_utils.evaluation.scoring import evaluate
from mer_utils.evaluation.study import (
    Outcome,
    model_scores,
    others,
    song_scores,
    trained_roc_auc,
)
from mer_utils.evaluation.tables import (
    compare_all,
    project_part,
    results_table,
    task_of,
    with_interval,
)
from mer_utils.labels.embeddings import STYLES
from mer_utils.labels.language_model import DEFAULT_MODEL
from mer_utils.labels.space import LabelSpace
from mer_utils.projector.methods import (
    COMPONENTS,
    Method,
    default_ridge,
    fit,
    paper_methods,
    prepare,
    with_label_vectors,
)
from mer_utils.projector.ridge import fit_ridge
from mer_utils.projector.training import TrainingSettings

KINDS = ("text", "text, centred", "axes", "antonym-pca", "text+antonyms")
"""Kinds of label spaces, each in every text style: label vectors, centred, or `directions`."""


def label_space_table(
    data: Mapping[str, Labelled],
    targets: Sequence[str] | None = None,
    styles: Sequence[str] = STYLES,
    model: str = DEFAULT_MODEL,
    penalty: float = 10.0,
) -> pd.DataFrame:
    """How affective each label space is, and what a ridge in it predicts.

    data: the datasets by name; targets: which to predict, all if None.
    penalty: of the ridge, the same for all.
    Returns one row a target, kind and style: affect_correlation (`affect.affect_correlation`
    with the target's annotations), roc_auc (macro, songs; a ridge trained on all other datasets),
    pairs of labels. The kind "co-occurrence" is a linear map of the centred text vectors learned
    from the *training* datasets' annotations (`affect.co_occurrence_map`); it has no roc_auc.
    """
    rows = []
    for target in targets or data:
        part, training = data[target], others(data, target)
        labels, given = part.dataset.labels, annotations(part)
        for style in styles:
            found = {}
            for kind in KINDS:
                directions = None if kind in ("text", "text, centred") else kind
                space = LabelSpace(style, model, kind != "text", directions, COMPONENTS)
                ridge = Method("ridge", projector="ridge", space=space, penalty=penalty)
                found[kind] = space.vectors(labels), trained_roc_auc(ridge, training, part)
            found["co-occurrence"] = learned_vectors(part, training, style, model), np.nan
            for kind, (vectors, auc) in found.items():
                row = {"target": target, "kind": kind, "style": style}
                row["affect_correlation"] = affect_correlation(vectors, given)
                rows.append(row | {"roc_auc": auc, "pairs": len(labels) * (len(labels) - 1) // 2})
    return pd.DataFrame(rows)


def learned_vectors(
    part: Labelled, training: Sequence[Labelled], style: str, model: str = DEFAULT_MODEL
) -> np.ndarray:
    """A target's labels by a map learned from the training datasets' co-occurrences."""
    space = LabelSpace(style, model, centre=True)
    mapping = co_occurrence_map(
        [space.vectors(other.dataset.labels) for other in training],
        [annotations(other) for other in training],
        COMPONENTS,
    )  # (d, components)
    return space.vectors(part.dataset.labels) @ mapping


def ablations(method: Method) -> dict[str, Method]:
    """The same ridge with one thing changed at a time, by what was changed.

    method: a ridge, such as `projector.default_ridge`.
    Raises ValueError for another kind of method.
    """
    if method.projector != "ridge":
        raise ValueError(f"{method.name}: ablations are of a ridge, not of {method.projector!r}")
    space = method.space
    plain = replace(space, directions=None)
    directed = replace(space, directions="text+antonyms", components=COMPONENTS)
    return {
        "as it is": method,
        "cosine instead of length": replace(method, projector_settings={"keep_length": False}),
        "no label penalty": replace(method, label_penalty=None),
        "labels not centred": replace(method, space=replace(space, centre=False)),
        "text vectors only": replace(method, space=plain),
        "antonym directions only": replace(
            method, space=replace(directed, directions="antonym-pca")
        ),
        "text and antonym directions": replace(method, space=directed),
        "bare label names": replace(method, space=replace(space, style="name")),
        "cluster centres": replace(method, aim="clusters"),
        "soft clusters": replace(method, aim="soft clusters"),
        "own statistics †": replace(method, own_statistics=True),
    }


def ablation_table(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    keep: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Song ROC-AUC of every ablation, a column a target.

    chosen: for each target its ridge.
    keep: more rows, by name the parts of the features that are kept (`keep_parts`).
    """
    columns = {}
    for target, method in chosen.items():
        part, training = data[target], others(data, target)
        changed = ablations(method).items()
        scores = {name: trained_roc_auc(each, training, part) for name, each in changed}
        for name, parts in (keep or {}).items():
            kept = [keep_parts(other, parts) for other in training]
            scores[name] = trained_roc_auc(method, kept, keep_parts(part, parts))
        columns[target] = pd.Series(scores)
    return pd.DataFrame(columns).rename_axis("ridge")


def keep_parts(part: Labelled, names: Sequence[str]) -> Labelled:
    """The dataset with some of its features' parts, such as ("cues",) of the encoder musicnn+cues.

    Raises ValueError if the features have no such part.
    """
    encoder = part.features.encoder
    parts, widths = encoder.get("columns", []), encoder.get("blocks", [])
    missing = [name for name in names if name not in parts]
    if missing or not widths:
        raise ValueError(f"{part.name}: no part {missing[:1]} among the features' parts {parts}")
    inside = np.isin(parts, names)  # (parts,)
    values = part.features.values[:, :, np.repeat(inside, widths)]
    encoder = dict(encoder)
    for key in ("columns", "blocks"):
        encoder[key] = [one for one, yes in zip(encoder[key], inside, strict=True) if yes]
    return Labelled(part.dataset, replace(part.features, values=values, encoder=encoder))


def learning_curve_outcomes(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    shares: Sequence[float] = (1 / 8, 1 / 4, 1 / 2, 1.0),
    draws: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Song ROC-AUC of a closed form trained on random parts of the training tracks.

    chosen: for each target its method, such as a ridge.
    shares: of each training dataset's groups of tracks (artists), above 0 up to 1.
    draws: parts of each size; the whole is taken once.
    Returns a row a target and share: training_tracks (mean), value (mean over draws), low, high
    (range over draws), draws, tracks (of the target).
    """
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares are above 0 and at most 1, not {list(shares)}")
    rows = []
    for target, method in chosen.items():
        training = others(data, target)
        for share in shares:
            parts = [
                [some_groups(other, share, (seed, draw)) for other in training]
                for draw in range(draws if share < 1 else 1)
            ]
            values = [trained_roc_auc(method, part, data[target]) for part in parts]
            row = {"target": target, "share": share}
            row["training_tracks"] = np.mean([sum(len(one.dataset) for one in p) for p in parts])
            row |= {"value": np.mean(values), "low": min(values), "high": max(values)}
            row |= {"draws": len(values), "tracks": len(data[target].dataset)}
            rows.append(row)
    return pd.DataFrame(rows)


def some_groups(part: Labelled, share: float, seed: int | Sequence[int] = 0) -> Labelled:
    """A dataset with a share of its groups of tracks, drawn at random; at least two of them.

    Tracks of an official test part, which never train, are left out.
    """
    trains = (part.dataset.tracks["split"] != "test").to_numpy()  # (tracks,)
    group = part.dataset.tracks["group"].to_numpy()
    groups = np.unique(group[trains])
    count = min(len(groups), max(2, round(share * len(groups))))
    drawn = np.random.default_rng(seed).permutation(len(groups))[:count]
    return restricted(part, part.dataset.labels, trains & np.isin(group, groups[drawn]))


def dataset_split_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], seed: int = 0, most: int = 1000
) -> pd.DataFrame:
    """Whether the projections of the training music lie by dataset.

    most: segments of each training dataset that are looked at, drawn at random if there are more.
    Returns target, method, same_dataset and other_dataset (mean cosine of two segments of one
    training dataset and of two; NaN where there is only one), apart (their difference).
    """
    rows = []
    for outcome in outcomes:
        generator, means, same = np.random.default_rng(seed), [], []
        for part in others(data, outcome.target):
            projected = functional.normalize(project_part(outcome, part), dim=1).numpy()
            drawn = projected[generator.permutation(len(projected))[:most]]  # (n, d)
            n, total = len(drawn), drawn.sum(0)
            means.append(total / n)
            same.append((total @ total - n) / max(n * (n - 1), 1))  # all pairs but with oneself
        pairs = [float(a @ b) for i, a in enumerate(means) for b in means[:i]]
        row = {"target": outcome.target, "method": outcome.method.name}
        row |= {"same_dataset": float(np.mean(same))}
        rows.append(row | {"other_dataset": float(np.mean(pairs)) if pairs else np.nan})
    table = pd.DataFrame(rows)
    return table.assign(apart=table["same_dataset"] - table["other_dataset"])


def ablation_path_outcomes(
    training: Sequence[str],
    style: str = "definition",
    weight: float = 1.0,
    variant: str = "contrast",
    settings: TrainingSettings | None = None,
    model: str = DEFAULT_MODEL,
    file: str | None = None,
    **changes: object,
) -> list[Method]:
    """From the paper's alignment to a ridge, one change a step; `evaluation.tables.compare_all`
    tests each.

    training, settings, changes: as in `paper_methods`.
    style: the expanded text of all steps but the first.
    weight, variant: λ and form of the alignment loss of the first two steps.
    file: of published label vectors, in place of the expanded texts.
    Returns methods whose names say what has changed from the one before. From "every track counts
    the same" on the scores are calibrated as well, which changes no ROC-AUC. A ridge has nothing to
    stop early, so it trains on the tracks that a network validates on, too.
    """
    bare, expanded = (
        paper_methods(training, [weight], [variant], settings, space=space, **changes)
        for space in (LabelSpace("name", model), LabelSpace(style, model, file=file))
    )
    alignment, aligned = bare[-1], expanded[-1]
    baseline = replace(expanded[0], name="without the alignment loss")
    tracks = replace(baseline, name="every track counts the same", weighting="tracks")
    centred = replace(tracks, name="labels centred", space=replace(tracks.space, centre=True))
    space = replace(centred.space, directions="text+antonyms", components=COMPONENTS)
    directed = replace(centred, name="antonym directions beside the text", space=space)
    settings = replace(directed.training, loss="contrastive", temperature=0.3)
    ridge = with_label_vectors(default_ridge(style, model), file)
    plain = replace(ridge, label_penalty=None)
    calibrated = [
        tracks,
        centred,
        directed,
        replace(directed, name="contrastive loss", training=settings),
        replace(plain, name="closed form: a ridge", projector_settings={"keep_length": False}),
        replace(plain, name="length of the projection kept"),
        replace(ridge, name="penalty on the labels' side"),
    ]
    return [
        replace(alignment, name=f"{alignment.name}, bare names"),
        replace(aligned, name="expanded texts"),
        baseline,
        *(replace(method, calibrated=True) for method in calibrated),
    ]


def path_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Song ROC-AUC of every step of `ablation_path_outcomes`, each against the step before it.

    outcomes: of all steps and targets, those of a target in the order of the path.
    Returns a row a target and step: target, step, value, low, high, seeds, seed_sd, tracks, labels,
    difference, difference_low, difference_high, p, p_holm (from the step before; NaN for the
    first), text (all of it, to read).
    """
    targets = list(dict.fromkeys(outcome.target for outcome in outcomes))
    order = sorted(outcomes, key=lambda outcome: targets.index(outcome.target))  # stable
    pairs = [(a, b) for b, a in pairwise(order) if a.target == b.target]
    scored = results_table(order, data, resamples)
    compared = compare_all(*zip(*pairs, strict=True), data, resamples).rename(
        columns={"low": "difference_low", "high": "difference_high"}
    )
    keys = ["target", "method", "metric"]
    changes = ["difference", "difference_low", "difference_high", "p", "p_holm"]
    columns = ["target", "step", "value", "low", "high", "seeds", "seed_sd", "tracks", "labels"]
    table = scored.merge(compared[[*keys, *changes]], "left", keys)
    table = table[table["metric"] == "song_roc_auc"].rename(columns={"method": "step"})
    table = table[[*columns, *changes]].reset_index(drop=True)
    return table.assign(text=[_step_text(row) for row in table.itertuples()])


def _step_text(row: object) -> str:
    """The value of a step and, but for the first, what it changed: "0.612 (+0.020 [0.001, …])"."""
    if pd.isna(row.difference):
        return f"{row.value:.3f}"
    change = with_interval(row.difference, row.difference_low, row.difference_high, "+")
    return f"{row.value:.3f} ({change}{', p < .05' if row.p_holm < 0.05 else ''})"


PERFECT_EARS = "perfect ears: the hidden point instead of the sound"
PERFECT_WORDS = "perfect words: the sound's hidden point, by the corpus's own rule to labels"


def limits_table(
    data: Mapping[str, Labelled], chosen: Mapping[str, Method], resamples: int = 1000
) -> pd.DataFrame:
    """Where the way to the oracle is lost: in the ears or in the words. Built-in corpus only.

    The hidden point (valence, arousal, tension) is known. PERFECT_EARS gives it to the ridge as its
    features, so what is still missing is the language model's. PERFECT_WORDS reads the point from
    the sound by a ridge trained on the other datasets, and goes from there to labels as the corpus
    does, so what is missing is the audio's.

    chosen: for each target its ridge.
    Returns a row a target and what: value, low, high, chance of the song ROC-AUC, tracks, labels,
    and closed, the share of the way from .5 to the oracle.
    """
    columns = ["value", "low", "high", "chance", "tracks", "labels"]
    rows = []
    for target, method in chosen.items():
        part, training = data[target], others(data, target)
        seeing = replace(method, penalty=0.01)  # of three true numbers nothing is to be smoothed
        pointed = [_with_points(other) for other in training]
        ears, _ = fit(seeing, pointed)
        scores = {
            "the ridge": model_scores(fit(method, training)[0], part, method),
            PERFECT_EARS: model_scores(ears, _with_points(part), seeing),
            PERFECT_WORDS: _scores_by_rule(method, training, part),
            "oracle": demo.oracle_scores(part.dataset),
        }
        for what, each in scores.items():
            table = evaluate(each, **task_of(part), resamples=resamples)
            rows.append({"target": target, "what": what, **table.loc["song_roc_auc", columns]})
    table = pd.DataFrame(rows)
    best = table[table["what"] == "oracle"].set_index("target")["value"]
    return table.assign(closed=(table["value"] - 0.5) / (table["target"].map(best) - 0.5))


def _points(part: Labelled) -> np.ndarray:
    """The hidden point of each track: (tracks, 3) float32."""
    return part.dataset.tracks[list(demo.DIMENSIONS)].to_numpy(dtype=np.float32, copy=True)


def _with_points(part: Labelled) -> Labelled:
    """The dataset with the hidden point as the features of one segment a track."""
    tracks = part.dataset.tracks.index.to_numpy(dtype=str)
    values = _points(part)[:, None]  # (tracks, 1, 3)
    encoder = {"name": "hidden point", "layers": ["point"]}
    return Labelled(part.dataset, Features(values, tracks, np.zeros(len(tracks)), encoder))


def _scores_by_rule(method: Method, training: Sequence[Labelled], part: Labelled) -> np.ndarray:
    """The oracle's scores for hidden points that a ridge reads from the sound: (tracks, labels)."""
    prepared, mean, std = prepare(method, training)
    points = [
        torch.from_numpy(_points(other))[one.track]
        for other, one in zip(training, prepared, strict=True)
    ]
    weight = torch.cat([p.weight for p in prepared])
    aim = torch.cat(points)  # (segments, 3)
    middle = (weight[:, None] * aim).sum(0) / weight.sum()  # (3,)
    values = torch.cat([p.values for p in prepared])
    blocks = part.features.encoder.get("blocks")
    projector = fit_ridge(values, aim - middle, method.penalty, weight, blocks)
    heard = torch.from_numpy(np.array(part.features.values, dtype=np.float32))
    read = (projector((heard - mean) / std) + middle).numpy()  # (segments, 3)
    named = dict(zip(demo.DIMENSIONS, song_scores(read, part).T, strict=True))
    tracks = part.dataset.tracks.assign(**named)
    return demo.oracle_scores(replace(part.dataset, tracks=tracks))
