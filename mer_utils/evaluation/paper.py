"""The paper's experiment beside ours: what it reports, which part it scores, where we depart.

Source: Liu, Roy, Herremans, arXiv 2410.11522, and the code of its authors. Its methods are
`projector.paper_methods`, its losses `projector.losses`; docs/paper.md maps every
equation and setting.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mer_utils.data.types import Labelled
from mer_utils.evaluation.study import Outcome
from mer_utils.projector.methods import (
    PAPER_QUANTILES,
    Method,
    cluster_training_labels,
    paper_methods,
)

_TOLD = yaml.safe_load(Path(__file__).with_name("paper.yml").read_text(encoding="utf-8"))
REPORTED: dict[str, dict[str, dict[str, float]]] = _TOLD["reported"]
"""Macro-F1 by metric, target and method; alignment with the λ that is best on the target."""
ALWAYS: dict[str, list[str]] = _TOLD["always"]
"""Departures that hold for every run, by name: what the authors' code does, and what ours does."""

TEST_SHARE = 0.1  # of the segments, where a dataset has no official test part

PUBLISHED_CLUSTERS = {0.03: "42 of 73 labels", 0.025: "62 of 65 labels", 0.04: "22 of 26 labels"}


def departures(method: Method, training: Sequence[Labelled]) -> pd.DataFrame:
    """What is not as in the paper when one of its rows is made, by name.

    method: one of `projector.paper_methods`, perhaps changed.
    Returns a table indexed by departure with the columns paper and here: those of ALWAYS, those of
    the data, and every field of the method and of its training that is not the recipe's.
    """
    names = [part.name for part in training]
    encoder = training[0].features.encoder
    found = dict(ALWAYS)
    if method.space.file is None:
        found["label texts"] = (
            "each label expanded by a language model; the texts are not published",
            f"style {method.space.style!r} of {method.space.model}",
        )
    heard = f"{encoder.get('name')}, layers {', '.join(map(str, encoder.get('layers', ())))}"
    if heard != "mert-v1-95m, layers 3, 6, 9, 12":
        found["encoder"] = ("mert-v1-95m, layers 3, 6, 9, 12", heard)
    quantile = PAPER_QUANTILES.get(frozenset(names))
    if quantile is None:
        found["datasets"] = (
            "two of MTG-Jamendo, CAL500, Emotify",
            f"{', '.join(names)}; no quantile is published for them",
        )
    if "cal500" in names:
        found["all 18 labels of CAL500"] = ("17: laid-back / mellow is lost", "18")
    if method.needs_clusters:
        with warnings.catch_warnings(action="ignore"):  # the row says it
            clusters = cluster_training_labels(method, training)
        alone = int((np.bincount(clusters.assignment) == 1).sum())
        found["clusters"] = (
            PUBLISHED_CLUSTERS.get(quantile, "not made"),
            f"{len(clusters)} of {len(clusters.labels)} labels; {alone} labels are alone",
        )
    found |= _changed(method, names)
    table = pd.DataFrame.from_dict(found, orient="index", columns=["paper", "here"])
    return table.rename_axis("departure")


def _changed(method: Method, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Fields of a method and its training that are not those of the paper's recipe."""
    recipe = paper_methods(names)[0]
    own = {"name", "aim", "training", "space", "projector_settings"}  # a row's own, or told above
    changed = {k: (v, getattr(method, k)) for k, v in vars(recipe).items() if k not in own}
    text = replace(method.space, centre=False, directions=None)  # what it may be, told above
    changed["label space"] = (text, method.space)
    changed["width"] = (768, method.projector_settings.get("width", 768))
    for field, value in vars(recipe.training).items():
        if field not in ("alignment_weight", "alignment_variant"):  # a row's own
            changed[f"training: {field}"] = (value, getattr(method.training, field))
    if 75 <= method.training.epochs <= 100:
        del changed["training: epochs"]
    return {k: (str(then), str(now)) for k, (then, now) in changed.items() if then != now}


def scored_segments(part: Labelled) -> np.ndarray:
    """Which segments the paper scores: those of the official test part, else the last tenth.

    The last tenth is taken over segments in the dataset's order, as in the authors' code: it may
    begin within a track, and of Emotify it is one genre.
    Returns a boolean mask (segments,).
    """
    test = (part.dataset.tracks["split"] == "test").to_numpy()  # (tracks,)
    index = part.features.track_index(part.dataset)  # (segments,)
    if test.any():
        return test[index]
    order = np.argsort(np.argsort(index, kind="stable"), kind="stable")  # place of each segment
    return order >= len(index) - max(1, round(TEST_SHARE * len(index)))


def on_test_part(
    outcomes: Sequence[Outcome], data: Mapping[str, Labelled]
) -> tuple[list[Outcome], dict[str, Labelled]]:
    """The same outcomes on the part of each target that the paper scores (`scored_segments`).

    Returns outcomes and datasets for `evaluation.tables.results_table`. A label without positives
    there is left out of the means, and named, as always; a part of one track is no part.
    """
    parts, cut = dict(data), []
    for outcome in outcomes:
        part = data[outcome.target]
        mask = scored_segments(part)
        features = part.features.only(mask)
        tracks = part.dataset.tracks[part.dataset.tracks.index.isin(features.track)]
        if len(tracks) == 1:
            continue
        scores, shuffled = ([x[mask] for x in all_] for all_ in (outcome.scores, outcome.shuffled))
        cut.append(replace(outcome, scores=scores, shuffled=shuffled))
        if len(set(tracks["group"])) == 1:  # a small part of a small dataset: tracks are drawn
            tracks = tracks.assign(group=tracks.index)
        parts[outcome.target] = Labelled(replace(part.dataset, tracks=tracks), features)
    return cut, parts
