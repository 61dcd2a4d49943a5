"""What was tried: label spaces side by side, and the best method with one thing taken away.

These tables score on the target, because they report; nothing is chosen by them (that is
`protocol.select`, on the training side).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mer_utils import evaluation
from mer_utils.labels import (
    DEFAULT_MODEL,
    STYLES,
    LabelSpace,
    affect_correlation,
    co_occurrence_map,
)
from mer_utils.methods import COMPONENTS, Labelled, Method, fit
from mer_utils.protocol import Outcome, track_scores

KINDS = ("text", "text, centred", "axes", "antonym-pca", "text+antonyms")
"""Kinds of label spaces, each in every text style."""


def annotations(part: Labelled) -> np.ndarray:
    """How listeners gave the labels, (tracks, labels): shares of them if known, else yes or no."""
    table = part.dataset.tracks
    if "share" in table:
        return np.stack(table["share"].to_numpy())
    return part.dataset.targets()


def label_space(kind: str, style: str, model: str = DEFAULT_MODEL) -> LabelSpace:
    """A label space of one of KINDS."""
    if kind not in KINDS:
        raise ValueError(f"no kind of label space {kind!r}; there are {', '.join(KINDS)}")
    directions = None if kind.startswith("text,") or kind == "text" else kind
    return LabelSpace(
        style, model, centre=kind != "text", directions=directions, components=COMPONENTS
    )


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
    Returns one row a target, kind and style: affect_correlation (`labels.affect_correlation` with
    the target's annotations), roc_auc (macro, songs; a ridge trained on all other datasets), pairs
    of labels. The kind "co-occurrence" is a linear map of the centred text vectors learned from the
    *training* datasets' annotations (`labels.co_occurrence_map`); it has no roc_auc, as it is no
    label space by itself.
    """
    rows = []
    for target in targets or data:
        part = data[target]
        training = [other for name, other in data.items() if name != target]
        labels, given = part.dataset.labels, annotations(part)
        for style in styles:
            for kind in KINDS:
                space = label_space(kind, style, model)
                method = Method("ridge", projector="ridge", space=space, penalty=penalty)
                fitted, _ = fit(method, training)
                scores = track_scores(fitted, part, method)
                vectors = space.vectors(labels)
                auc = float(np.nanmean(evaluation.roc_auc(scores, part.dataset.targets())))
                rows.append((target, kind, style, affect_correlation(vectors, given), auc))
            vectors = learned_vectors(part, training, style, model)
            rows.append(
                (target, "co-occurrence", style, affect_correlation(vectors, given), np.nan)
            )
    columns = ["target", "kind", "style", "affect_correlation", "roc_auc"]
    table = pd.DataFrame(rows, columns=columns)
    counts = {name: len(data[name].dataset.labels) for name in targets or data}
    return table.assign(pairs=[n * (n - 1) // 2 for n in table["target"].map(counts)])


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

    method: a ridge, such as `protocol.select` chooses.
    Raises ValueError for another kind of method.
    """
    if method.projector != "ridge":
        raise ValueError(f"{method.name}: ablations are of a ridge, not of {method.projector!r}")
    space = method.space
    plain = replace(space, directions=None)
    directed = replace(space, directions="text+antonyms", components=COMPONENTS)
    return {
        "as selected": method,
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

    chosen: for each target its selected ridge.
    keep: more rows, by name the parts of the features that are kept (`keep_parts`).
    """
    columns = {}
    for target, method in chosen.items():
        part = data[target]
        training = [other for name, other in data.items() if name != target]
        scores = {}
        for name, changed in ablations(method).items():
            scores[name] = _song_roc_auc(changed, training, part)
        for name, parts in (keep or {}).items():
            kept = [keep_parts(other, parts) for other in training]
            scores[name] = _song_roc_auc(method, kept, keep_parts(part, parts))
        columns[target] = pd.Series(scores)
    return pd.DataFrame(columns).rename_axis("ridge")


def _song_roc_auc(method: Method, training: Sequence[Labelled], part: Labelled) -> float:
    model, _ = fit(method, training)
    scores = track_scores(model, part, method)
    return float(np.nanmean(evaluation.roc_auc(scores, part.dataset.targets())))


def keep_parts(part: Labelled, names: Sequence[str]) -> Labelled:
    """The dataset with some of its features' parts, such as ("cues",) of the encoder musicnn+cues.

    Raises ValueError if the features have no such part.
    """
    encoder = part.features.encoder
    parts, widths = encoder.get("columns", []), encoder.get("blocks", [])
    missing = [name for name in names if name not in parts]
    if missing or not widths:
        raise ValueError(f"{part.name}: no part {missing[:1]} among the features' parts {parts}")
    ends = np.cumsum(widths)
    columns = [
        np.arange(end - width, end)
        for name, width, end in zip(parts, widths, ends, strict=True)
        if name in names
    ]
    kept = {
        "columns": [name for name in parts if name in names],
        "blocks": [w for name, w in zip(parts, widths, strict=True) if name in names],
    }
    features = replace(
        part.features,
        values=part.features.values[:, :, np.concatenate(columns)],
        encoder=encoder | kept,
    )
    return Labelled(part.dataset, features)


def agreement_table(outcome: Outcome, part: Labelled, k: int) -> pd.DataFrame:
    """Track by track: what was predicted, what listeners said, and how well the two agree.

    Returns a table indexed by track, best first: agreement (how often a label that the track has
    is above one that it has not, .5 is chance), predicted (the top k), labels. Tracks with no
    label or all of them are left out.
    """
    index = part.features.track_index(part.dataset)
    scores = evaluation.track_scores(
        np.mean(outcome.scores, axis=0), index, len(part.dataset)
    )  # (tracks, labels)
    targets = part.dataset.targets()
    names = np.array(part.dataset.labels)
    table = pd.DataFrame(
        {
            "agreement": evaluation.roc_auc(scores.T, targets.T),
            "predicted": [", ".join(names[np.argsort(-row)[:k]]) for row in scores],
            "labels": [", ".join(names[row]) for row in targets],
        },
        index=part.dataset.tracks.index,
    )
    return table.dropna().sort_values("agreement", ascending=False)


def group_table(outcomes: Sequence[Outcome], part: Labelled, column: str) -> pd.DataFrame:
    """Song ROC-AUC within each group of tracks, such as genres; one row a group and method.

    A method that only tells groups apart has .5 here. Labels that all or no tracks of a group have
    are left out.
    column: of the dataset's table of tracks.
    Returns group, method, tracks, labels (that could be scored), roc_auc.
    """
    groups = part.dataset.tracks[column].to_numpy()
    index = part.features.track_index(part.dataset)
    rows = []
    for outcome in outcomes:
        scores = evaluation.track_scores(np.mean(outcome.scores, axis=0), index, len(part.dataset))
        for group in dict.fromkeys(groups):
            inside = groups == group
            values = evaluation.roc_auc(scores[inside], part.dataset.targets()[inside])
            rows.append(
                {
                    column: group,
                    "method": outcome.method.name,
                    "tracks": int(inside.sum()),
                    "labels": int(np.isfinite(values).sum()),
                    "roc_auc": float(np.nanmean(values)),
                }
            )
    return pd.DataFrame(rows)
