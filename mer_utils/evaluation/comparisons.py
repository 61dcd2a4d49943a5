"""What was tried: label spaces side by side, the best method with one thing taken away, with fewer
tracks to learn from, and the path from the paper's method to it.

These tables score on the target, because they report; nothing is chosen by them (that is
`evaluation.study.select_method`, on the training side).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from mer_utils.data.types import Labelled, restricted
from mer_utils.evaluation.affect import affect_correlation, annotations, co_occurrence_map
from mer_utils.evaluation.study import Outcome, others, trained_roc_auc
from mer_utils.evaluation.tables import compare_all, results_table, with_interval
from mer_utils.labels.embeddings import STYLES
from mer_utils.labels.language_model import DEFAULT_MODEL
from mer_utils.labels.space import LabelSpace
from mer_utils.projector.methods import COMPONENTS, Method, default_ridge, paper_methods
from mer_utils.projector.training import TrainingSettings

KINDS = ("text", "text, centred", "axes", "antonym-pca", "text+antonyms")
"""Kinds of label spaces, each in every text style: label vectors, centred, or `directions`."""


def label_space_table(
    data: Mapping[str, Labelled],
    targets: Sequence[str],
    styles: Sequence[str] = STYLES,
    model: str = DEFAULT_MODEL,
) -> pd.DataFrame:
    """How affective each label space is, and what a ridge in it predicts.

    Returns one row a target, kind and style: affect_correlation (with the target's annotations),
    roc_auc (macro, songs; a ridge trained on all other datasets), pairs of labels. The kind
    "co-occurrence" is `learned_vectors`; it has no roc_auc.
    """
    rows = []
    for target in targets:
        part, training = data[target], others(data, target)
        labels, given = part.dataset.labels, annotations(part)
        for style in styles:
            found = {}
            for kind in KINDS:
                directions = None if kind in ("text", "text, centred") else kind
                space = LabelSpace(style, model, kind != "text", directions, COMPONENTS)
                ridge = Method("ridge", projector="ridge", space=space, penalty=10.0)
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
    """A target's labels by a map of text vectors, learned from the training data's annotations."""
    space = LabelSpace(style, model, centre=True)
    vectors = [space.vectors(other.dataset.labels) for other in training]
    mapping = co_occurrence_map(vectors, [annotations(p) for p in training], COMPONENTS)
    return space.vectors(part.dataset.labels) @ mapping  # (labels, d) @ (d, components)


def ablations(method: Method) -> dict[str, Method]:
    """The same ridge with one thing changed at a time, by what was changed.

    Raises ValueError for another kind of method.
    """
    if method.projector != "ridge":
        raise ValueError(f"{method.name}: ablations are of a ridge, not of {method.projector!r}")
    space = method.space
    directed = replace(space, directions="text+antonyms", components=COMPONENTS)
    changes = {
        "as it is": {},
        "cosine instead of length": {"projector_settings": {"keep_length": False}},
        "no label penalty": {"label_penalty": None},
        "labels not centred": {"space": replace(space, centre=False)},
        "text vectors only": {"space": replace(space, directions=None)},
        "antonym directions only": {"space": replace(directed, directions="antonym-pca")},
        "text and antonym directions": {"space": directed},
        "bare label names": {"space": replace(space, style="name")},
        "cluster centres": {"aim": "clusters"},
        "own statistics †": {"own_statistics": True},
    }
    return {name: replace(method, **change) for name, change in changes.items()}


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
    parts, widths = (np.array(encoder.get(key, [])) for key in ("columns", "blocks"))
    if not len(widths) or not set(names) <= set(parts.tolist()):
        raise ValueError(f"{part.name}: no parts {list(names)} among the features' parts {parts}")
    inside = np.isin(parts, names)  # (parts,)
    kept = {"columns": parts[inside].tolist(), "blocks": widths[inside].tolist()}
    values = part.features.values[:, :, np.repeat(inside, widths)]
    return replace(part, features=replace(part.features, values=values, encoder=encoder | kept))


def learning_curve_outcomes(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    shares: Sequence[float] = (1 / 8, 1 / 4, 1 / 2, 1.0),
    draws: int = 5,
) -> pd.DataFrame:
    """Song ROC-AUC of a closed form trained on random parts of the training tracks.

    chosen: for each target its method, such as a ridge.
    shares: of each training dataset's groups of tracks; draws: parts of each size, 1 of the whole.
    Returns a row a target and share: training_tracks (mean), value (mean over draws), low, high
    (range over draws), draws, tracks (of the target).
    """
    rows = []
    for target, method in chosen.items():
        for share in shares:
            parts = [
                [some_groups(other, share, (0, draw)) for other in others(data, target)]
                for draw in range(draws if share < 1 else 1)
            ]
            values = [trained_roc_auc(method, part, data[target]) for part in parts]
            row = {"target": target, "share": share}
            row["training_tracks"] = np.mean([sum(len(one.dataset) for one in p) for p in parts])
            row |= {"value": np.mean(values), "low": min(values), "high": max(values)}
            rows.append(row | {"draws": len(parts), "tracks": len(data[target].dataset)})
    return pd.DataFrame(rows)


def some_groups(part: Labelled, share: float, seed: int | Sequence[int] = 0) -> Labelled:
    """A dataset with a share of its groups of tracks, drawn at random; at least two of them.

    Tracks of an official test part, which never train, are left out.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the groups is above 0 and at most 1, not {share}")
    trains = (part.dataset.tracks["split"] != "test").to_numpy()  # (tracks,)
    group = part.dataset.tracks["group"].to_numpy()
    groups = np.unique(group[trains])
    count = min(len(groups), max(2, round(share * len(groups))))
    drawn = np.random.default_rng(seed).permutation(len(groups))[:count]
    return restricted(part, part.dataset.labels, trains & np.isin(group, groups[drawn]))


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
    """From the paper's alignment to a ridge, one change a step, for `path_table`.

    training, settings, changes: as in `paper_methods`.
    style: the expanded text of all steps but the first.
    weight, variant: λ and form of the alignment loss of the first two steps.
    file: of published label vectors, in place of the expanded texts.
    Returns methods whose names say what has changed from the one before. Scores are calibrated as
    well from the fourth on, which changes no ROC-AUC; a ridge trains on validation tracks too.
    """
    bare, expanded = (
        paper_methods(training, [weight], [variant], settings, space=space, **changes)
        for space in (LabelSpace("name", model), LabelSpace(style, model, file=file))
    )
    baseline = replace(expanded[0], name="without the alignment loss")
    centred = replace(baseline.space, centre=True)
    directed = replace(centred, directions="text+antonyms", components=COMPONENTS)
    contrastive = replace(baseline.training, loss="contrastive", temperature=0.3)
    path = [
        replace(bare[-1], name=f"{bare[-1].name}, bare names"),
        replace(expanded[-1], name="expanded texts"),
        baseline,
    ]
    for name, change in {
        "every track counts the same": {"weighting": "tracks", "calibrated": True},
        "labels centred": {"space": centred},
        "antonym directions beside the text": {"space": directed},
        "contrastive loss": {"training": contrastive},
    }.items():
        path.append(replace(path[-1], name=name, **change))
    ridge = default_ridge(style, model, file)
    plain = replace(ridge, label_penalty=None)
    return [
        *path,
        replace(plain, name="closed form: a ridge", projector_settings={"keep_length": False}),
        replace(plain, name="length of the projection kept"),
        replace(ridge, name="penalty on the labels' side"),
    ]


def path_table(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled], resamples: int = 1000
) -> pd.DataFrame:
    """Song ROC-AUC of every step of `ablation_path_outcomes`, each against the step before it.

    outcomes: of all steps and targets, those of a target in the order of the path.
    Returns target, step, value, low, high, seeds, seed_sd, tracks, labels; difference,
    difference_low, difference_high, p, p_holm (from the step before); text (all of it, to read).
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
