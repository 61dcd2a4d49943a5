"""A model to take home: one folder with weights, config, reference set and model card.

    config.json, projector.safetensors   the model (mer_utils.projector.model)
    reference.safetensors, .parquet      the tracks that songs are ranked among
    README.md                            the model card, with the Hugging Face Hub's front matter

It is trained on *all* datasets of a profile. Its scores cannot be measured on them any more; the
card gives those of the same procedure with each dataset left out in turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from mer_utils import storage
from mer_utils.data.types import Labelled, official_part
from mer_utils.evaluation.tables import markdown, plain, readable
from mer_utils.predict import zero_shot
from mer_utils.predict.zero_shot import FIRST_WORDS, REFERENCE_FILES, Reference, track_means
from mer_utils.projector.methods import Method, fit
from mer_utils.projector.model import Model

MOST_TRACKS = 5000  # in the reference set
TEMPLATE = Path(__file__).with_name("model_card.md")
METRICS = {"song_roc_auc": "ROC-AUC", "song_macro_f1": "macro-F1 of the top k"}
BUILT_IN = ("demo-mtg", "demo-cal500", "demo-emotify")
LICENCES = {
    **dict.fromkeys(BUILT_IN, "composed by this project; MIT"),
    "mtg-jamendo": "annotations CC BY-NC-SA 4.0, each track its own Creative Commons licence",
    "cal500": "for research; see its page",
    "emotify": "none stated with the files; for research",
    "emotions": "for research; see Mulan's page",
    **dict.fromkeys(("audio-emotion-4q", "mirex-mood"), "none stated with the files; for research"),
    "mert-v1-95m": "CC-BY-NC-4.0",
    "mert-v1-330m": "CC-BY-NC-4.0",
    "all-MiniLM-L6-v2": "Apache-2.0",
    "all-mpnet-base-v2": "Apache-2.0",
    "musicnn": "ISC",
    "musicnn+cues": "ISC",
}


def release(
    method: Method,
    data: Mapping[str, Labelled],
    folder: str | Path,
    results: pd.DataFrame | None = None,
    seed: int = 0,
    anonymous: bool = False,
    most_tracks: int = MOST_TRACKS,
) -> Path:
    """Train a method on all datasets and write the model's folder; returns it.

    results: from `tables.results_table`, for the card, which has those of the method's name.
    anonymous: leave out which tracks it was trained on (`without_names`), to publish the model.
    most_tracks: in the reference set, as in `reference_set`.
    A linear projector's weights are written in half precision, which moves a rank by .4 of 100 at
    most (352 words for 1,045 real tracks or 500 of them).
    """
    folder, training = Path(folder), list(data.values())
    model, _ = fit(method, training, seed)
    reference = reference_set(model, training, seed, most_tracks)
    model = replace(model, space=model.space.remembering(FIRST_WORDS, model.vocabulary))
    if anonymous:
        model, reference = without_names(model, reference)
    linear = model.projector.config["kind"] == "ridge"
    reference.save(folder, linear)
    model.save(folder, REFERENCE_FILES, half=linear)  # the config comes last and ties all together
    storage.write_text(folder / "README.md", card(model, results))
    return folder


def reference_set(
    model: Model, training: list[Labelled], seed: int = 0, most_tracks: int = MOST_TRACKS
) -> Reference:
    """The training tracks as the model hears them: their projections and mean inputs.

    most_tracks: of more than these the same share of each dataset is drawn by the seed. Tracks of
        an official test part are none of them, as they never train.
    """
    tables, projections, inputs = [], [], []
    for part in training:
        rows = part.features.track_index(part.dataset)  # (segments,)
        trains = ~official_part(part.dataset, "test")[rows]
        heard, index = np.unique(rows[trains], return_inverse=True)
        means = track_means(model, part.features.only(trains), index)
        projections.append(means[0])  # (tracks, d)
        inputs.append(means[1])  # (tracks, layers · dim)
        tracks = part.dataset.tracks.iloc[heard]
        names = {"track": tracks.index.astype(str), "dataset": part.name}
        tables.append(pd.DataFrame(names | {"labels": tracks["labels"].map("; ".join).to_numpy()}))
    table = pd.concat(tables, ignore_index=True)
    if len(table) > most_tracks:
        parts = table.groupby("dataset", sort=False)
        table = parts.sample(frac=most_tracks / len(table), random_state=seed).sort_index()
    inputs = np.concatenate(inputs)[table.index]
    projections = np.concatenate(projections)[table.index]
    distances = zero_shot.neighbour_distance(inputs, inputs, itself=True)
    far = float(np.quantile(distances, zero_shot.FAR))
    return Reference(table.reset_index(drop=True), projections, inputs, far)


def without_names(model: Model, reference: Reference) -> tuple[Model, Reference]:
    """The same without what names the training tracks: their ids, their labels, the files.

    Of each track its dataset stays, and a number within it.
    """
    numbers = reference.tracks.groupby("dataset").cumcount() + 1
    tracks = reference.tracks.assign(track=numbers.astype(str), labels="")
    sources = {
        name: {key: source[key] for key in ("loader", "licence") if key in source}
        for name, source in model.about["sources"].items()
    }
    model = replace(model, about=model.about | {"sources": sources})
    return model, replace(reference, tracks=tracks)


def card(model: Model, results: pd.DataFrame | None = None) -> str:
    """The model card as Markdown: data and licences, use, scores with chance, limits."""
    encoder, datasets = model.encoder["name"], list(model.about["labels"])
    method = model.about["method"]["name"]
    built_in = set(datasets) <= set(BUILT_IN)
    licence = "mit" if built_in else "other"
    if any("NC" in LICENCES.get(name, "") for name in (*datasets, encoder)):
        licence = "cc-by-nc-4.0"
    front = ModelCardData(
        license=licence,
        library_name="mer_utils",
        pipeline_tag="audio-classification",
        tags=["music", "emotion", "zero-shot"],
    )
    made = ModelCard.from_template(
        front,
        template_path=str(TEMPLATE),
        **all_plain({"encoder": encoder, "space": model.space.describe(), "about": model.about}),
        licences=LICENCES,
        scores={} if results is None else _scores(results, method, datasets),
        built_in=built_in,
    )
    return f"{made}\n"


def all_plain(value: Any) -> Any:
    """The same JSON-able value, with all texts in it `plain`: a card names things through here."""
    if isinstance(value, Mapping):
        return {all_plain(key): all_plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [all_plain(own) for own in value]
    return plain(value) if isinstance(value, str) else value


def _scores(results: pd.DataFrame, method: str, datasets: list[str]) -> dict[str, str]:
    """A method's scores beside the references as Markdown tables, by title; none if unmeasured."""
    of_method = results["method"] == method
    if not of_method.any():
        return {}
    reference = results["reference"].eq(True) if "reference" in results else False
    kept = results[(of_method | reference) & results["target"].isin(datasets)].dropna(subset="low")
    return {
        title: markdown(readable(kept[kept["metric"] == metric], metric))
        for metric, title in METRICS.items()
        if metric in kept["metric"].to_numpy()
    }
