"""What was tried: the best method with one thing taken away, with fewer tracks to learn from, and
the path from the paper's method to it.

These tables score on the target, because they report; nothing is chosen by them.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, combinations, pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mer_utils.data.types import Labelled, pool_tracks, restricted
from mer_utils.evaluation.chance import supervised_reference
from mer_utils.evaluation.scoring import evaluate
from mer_utils.evaluation.study import (
    Outcome,
    model_scores,
    others,
    strictly,
    trained_roc_auc,
    trained_scores,
)
from mer_utils.evaluation.tables import (
    compare_all,
    results_table,
    supervised_scores,
    task_of,
    with_interval,
)
from mer_utils.labels.embeddings import STYLES
from mer_utils.labels.language_model import BEST_MODEL, DEFAULT_MODEL
from mer_utils.labels.space import LabelSpace
from mer_utils.progress import warned_once
from mer_utils.projector.methods import Method, default_ridge, fit, paper_methods, word_anchors


def _measured(songs: np.ndarray, part: Labelled, resamples: int) -> dict:
    """ROC-AUC of songs' scores (tracks, labels): value, low, high (95 %), tracks, labels."""
    settings = {"k": 1, "resamples": resamples, "chance_draws": 1, "unscored": "leave_out"}
    row = evaluate(songs, **task_of(part), **settings).loc["song_roc_auc"]
    return row[["value", "low", "high", "tracks", "labels"]].to_dict()


def text_table(
    data: Mapping[str, Labelled],
    targets: Sequence[str],
    models: Sequence[str],
    styles: Sequence[str] = STYLES,
    resamples: int = 1000,
    **changes: object,
) -> pd.DataFrame:
    """Song ROC-AUC of word anchors, without ratings of words, by the labels' texts and the language
    model behind them.

    models: names or folders (`labels.load_language_model`); changes: other fields of Method.
    Returns one row a target, model and style: value, low, high, tracks, labels.
    """
    rows = []
    for target, model, style in product(targets, models, styles):
        method = word_anchors(style, model, directions="text+antonyms", **changes)
        songs = trained_scores(method, others(data, target), data[target])
        row = {"target": target, "model": Path(model).name, "style": style}
        rows.append(row | _measured(songs, data[target], resamples))
    return pd.DataFrame(rows)


def ablations(method: Method) -> dict[str, Method]:
    """The same word anchors with one thing changed at a time, by what was changed.

    Raises ValueError for another kind of method.
    """
    if method.projector != "anchors":
        raise ValueError(f"{method.name}: ablations are of anchors, not of {method.projector!r}")
    space = method.space
    changes = {
        "as it is": {},
        "a ridge onto label vectors": {"projector": "ridge"},
        "without musicnn's tags": {"tag_weight": 0.0},
        "without ratings of words": {"space": replace(space, directions="text+antonyms")},
        "ratings of words only": {"space": replace(space, directions="ratings")},
        "without antonym directions": {"space": replace(space, directions="text+ratings")},
        "labels not centred": {"space": replace(space, centre=False)},
        "meaning only": {"space": replace(space, style="definition")},
        "bare label names": {"space": replace(space, style="name")},
        "the paper's language model": {"space": replace(space, model=DEFAULT_MODEL)},
        "without rare words": {"rare_labels": False},
        "the target's words stay": {"strict": False},
    }
    return {name: replace(method, **change) for name, change in changes.items()}


def ablation_table(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    keep: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Song ROC-AUC of every ablation, a column a target.

    chosen: for each target its word anchors.
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
    return pd.DataFrame(columns).rename_axis("word anchors")


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


def datasets_table(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    more: Mapping[str, Sequence[Labelled]] | None = None,
    resamples: int = 1000,
) -> pd.DataFrame:
    """Song ROC-AUC from every choice of training datasets: are more always better?

    chosen: for each target its method, a closed form.
    more: further choices to train on, by name, each of one dataset or several.
    Returns a row a target and choice: trained_on (names), choices (how many), training_tracks,
    words (labels to learn from), value, low, high, tracks, labels.
    """
    rows = []
    for target, method in chosen.items():
        given = {part.name: [part] for part in others(data, target)} | dict(more or {})
        kept = {}
        for name, parts in given.items():
            with suppress(ValueError):  # it has no words but the target's
                kept[name] = strictly(method, parts, data[target])[1]
        for names in chain.from_iterable(combinations(kept, n + 1) for n in range(len(kept))):
            parts = [part for name in names for part in kept[name]]
            row = {"target": target, "trained_on": ", ".join(names), "choices": len(names)}
            row |= {"training_tracks": sum(len(part.dataset) for part in parts)}
            row |= {"words": sum(len(part.dataset.labels) for part in parts)}
            songs = trained_scores(method, parts, data[target])
            rows.append(row | _measured(songs, data[target], resamples))
    return pd.DataFrame(rows)


@warned_once()
def ears_table(
    data: Mapping[str, Labelled],
    chosen: Mapping[str, Method],
    directions: Sequence[int] = (3, 5, 10, 20),
    resamples: int = 1000,
) -> pd.DataFrame:
    """Where a target's labels are lost: by the ears or by the words?

    The target is heard through the map that the other datasets made, and only along the main
    directions in which that spreads *their* music. A classifier that may learn from its own
    labels (`supervised_reference`) then shows what there is to be heard along them; what zero-shot
    stays below that is lost by the words, what that stays below all features by the ears.

    chosen: for each target its method, a closed form.
    Returns a row a target and way of hearing: target, heard ("zero-shot", "3 directions", …, "all
    features"), value, low, high, tracks, labels.
    """
    rows = []
    for target, method in chosen.items():
        part = data[target]
        method, training = strictly(method, others(data, target), part)
        model, _ = fit(method, training, progress=False)
        heard = torch.cat([model.project(other.features) for other in training])  # (segments, d)
        main = torch.linalg.svd(heard, full_matrices=False)[2]  # (directions, d)
        projected = (model.project(part.features) @ main.T)[:, None].numpy()
        features = replace(part.features, values=projected)
        songs = pool_tracks(features, part.dataset)[:, 0]  # (tracks, directions)
        scores = {"zero-shot": model_scores(model, part)}
        for count in directions:
            few = supervised_reference(songs[:, :count], **task_of(part))
            scores[f"{count} directions"] = few
        scores["all features"] = supervised_scores(part)
        for name, each in scores.items():
            row = {"target": target, "heard": name}
            rows.append(row | _measured(each, part, resamples))
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
    model: str = DEFAULT_MODEL,
    file: str | None = None,
    best_model: str = BEST_MODEL,
    **changes: object,
) -> list[Method]:
    """From the paper's alignment to word anchors, one change a step, for `path_table`.

    training, changes: as in `paper_methods`, settings among them.
    style, model: the expanded text of the second step on, and the language model behind it.
    weight: λ of the alignment loss of the first two steps.
    file: of published label vectors, in place of the expanded texts of the networks.
    best_model: the language model of the last steps.
    Returns methods whose names say what has changed from the one before. Scores are calibrated as
    well from the fourth on, which changes no ROC-AUC; closed forms train on validation tracks too.
    """
    bare = paper_methods(training, [weight], space=LabelSpace("name", model), **changes)
    expanded = LabelSpace(style, model, file=file)
    centred = replace(expanded, centre=True)
    steps = {  # each changes the step before
        "expanded texts": {"space": expanded},
        "without the alignment loss": {"training": bare[0].training},
        "every track counts the same": {"weighting": "tracks", "calibrated": True},
        "labels centred": {"space": centred},
        "antonym directions beside the text": {
            "space": replace(centred, directions="text+antonyms")
        },
    }
    path = [replace(bare[-1], name=f"{bare[-1].name}, bare names")]
    for name, change in steps.items():
        path.append(replace(path[-1], name=name, **change))
    strict = {"strict": bare[-1].strict}
    anchors = word_anchors("description", best_model, directions="text+antonyms", **strict)
    closed = {
        "closed form: a ridge": default_ridge(style, model, file, **strict),
        "a larger language model": default_ridge(style, best_model, **strict),
        "how it sounds in the text": default_ridge("description", best_model, **strict),
        "words as anchors": replace(anchors, tag_weight=0.0, rare_labels=False),
        "tags as anchors": replace(anchors, rare_labels=False),
        "rare words as anchors": anchors,
        "ratings of words beside the text": word_anchors("description", best_model, **strict),
    }
    return path + [replace(method, name=name) for name, method in closed.items()]


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
