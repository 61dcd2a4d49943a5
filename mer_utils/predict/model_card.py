"""A model to take home: one folder with weights, config, reference set and model card.

    config.json, projector.safetensors   the model (mer_utils.models)
    reference.safetensors, .parquet      the tracks that songs are ranked among (mer_utils.predict)
    README.md                            the model card, with the Hugging Face Hub's front matter

It is trained on *all* datasets of a profile. Its scores cannot be measured on them any more; the
card gives those of the same procedure with each dataset left out in turn.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils import storage
from mer_utils.data.types import Labelled
from mer_utils.evaluation.tables import markdown, readable
from mer_utils.predict.zero_shot import (
    FAR,
    REFERENCE_FILES,
    Reference,
    neighbour_distance,
    track_means,
)
from mer_utils.projector.methods import Method, fit
from mer_utils.projector.model import Model

MOST_TRACKS = 5000  # in the reference set; drawn at random from more

LICENCES = {
    "demo-mtg": "composed by this project; MIT",
    "demo-cal500": "composed by this project; MIT",
    "demo-emotify": "composed by this project; MIT",
    "mtg-jamendo": "annotations CC BY-NC-SA 4.0, each track its own Creative Commons licence",
    "cal500": "for research; see its page",
    "emotify": "none stated with the files; for research",
    "emotions": "for research; see Mulan's page",
    "mert-v1-95m": "CC-BY-NC-4.0",
    "mert-v1-330m": "CC-BY-NC-4.0",
    "all-MiniLM-L6-v2": "Apache-2.0",
    "musicnn": "ISC",
    "musicnn+cues": "ISC",
}


def release(
    method: Method,
    data: Mapping[str, Labelled],
    folder: str | Path,
    results: pd.DataFrame | None = None,
    scored_as: str = "ridge",
    seed: int = 0,
) -> Path:
    """Train a method on all datasets and write the model's folder.

    results: a table of `evaluation.tables.results_table`, for the card; scored_as: the method's
        name in it.
    Returns the folder.
    """
    folder, training = Path(folder), list(data.values())
    model, _ = fit(method, training, seed)
    reference_set(model, training, seed).save(folder)
    model.save(folder, beside=REFERENCE_FILES)  # the config comes last and ties all together
    storage.write_text(folder / "README.md", card(model, results, scored_as))
    return folder


def reference_set(model: Model, training: list[Labelled], seed: int = 0) -> Reference:
    """The training tracks as the model hears them: their projections and mean inputs."""
    tracks, projections, inputs = [], [], []
    for part in training:
        features = part.features
        rows = features.track_index(part.dataset)  # (segments,)
        names, index = np.unique(rows, return_inverse=True)
        means = track_means(model, features, index)
        projections.append(means[0])  # (tracks, d)
        inputs.append(means[1])  # (tracks, layers · dim)
        table = part.dataset.tracks.iloc[names]
        tracks.append(
            pd.DataFrame(
                {
                    "track": table.index.astype(str),
                    "dataset": part.name,
                    "labels": ["; ".join(labels) for labels in table["labels"]],
                }
            )
        )
    table = pd.concat(tracks, ignore_index=True)
    kept = np.arange(len(table))
    if len(kept) > MOST_TRACKS:
        kept = np.sort(np.random.default_rng(seed).choice(kept, MOST_TRACKS, replace=False))
    heard = np.concatenate(inputs)[kept]
    far = float(np.quantile(neighbour_distance(heard, heard, itself=True), FAR))
    return Reference(
        table.iloc[kept].reset_index(drop=True), np.concatenate(projections)[kept], heard, far
    )


def card(model: Model, results: pd.DataFrame | None, scored_as: str) -> str:
    """The model card as Markdown: data and licences, use, scores with chance, limits."""
    about, encoder = model.about, model.encoder
    space = model.space.describe()
    rows = [
        f"| {name} | {about['tracks'][name]:,} | {len(labels)} | "
        f"{LICENCES.get(name, 'yours to know')} |"
        for name, labels in about["labels"].items()
    ]
    restricted = any("NC" in LICENCES.get(x, "") for x in [*about["labels"], encoder["name"]])
    built_in = all(name.startswith("demo-") for name in about["labels"])
    licence = "cc-by-nc-4.0" if restricted else "mit" if built_in else "other"
    lines = [
        "---",
        f"license: {licence}",
        "library_name: mer_utils",
        "pipeline_tag: audio-classification",
        "tags: [music, emotion, zero-shot]",
        "---",
        "",
        "# Zero-shot music emotion recognition",
        "",
        f"A projector ({model.projector.config['kind']}) from features of {encoder['name']} into "
        f"the label space of {space['model']} (text style {space['style']}, directions "
        f"{space['directions'] or 'none'}). It ranks any words for any song.",
        "",
        "```",
        'python -m mer_utils predict SONG --labels "hopeful, eerie" --model THIS_FOLDER',
        "```",
        "",
        "## Training data",
        "",
        "| dataset | tracks | labels | licence |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Audio encoder: {encoder['name']} ({LICENCES.get(encoder['name'], 'see its page')}). "
        f"Language model: {space['model']} ({LICENCES.get(space['model'], 'see its page')}).",
        "",
        "## Intended use",
        "",
        "Research and teaching: exploring collections, studying labels. Not for decisions about "
        "people; an emotion named here is one that listeners *attribute* to music.",
        "",
        "## Scores",
        "",
        *_scores(results, scored_as, set(about["labels"])),
        "",
        "## Limits",
        "",
        *(
            ["- **All training music is synthetic**, composed by rule, and so are its labels."]
            if built_in
            else []
        ),
        "- Ranks are relative to the training tracks, not probabilities.",
        "- Words far from all training labels, music unlike the training music, and music in which "
        "the model's features contradict one another are warned of. No warning is no proof.",
        "- Intervals resample tracks, not datasets: another dataset may lie outside them.",
        "",
        "## How it was made",
        "",
        f"- versions: {', '.join(f'{k} {v}' for k, v in about['versions'].items())}",
        f"- seed: {about['seed']}",
        *(f"- {name}: data {hash_}" for name, hash_ in about["fingerprints"].items()),
        "",
    ]
    return "\n".join(lines)


def _scores(results: pd.DataFrame | None, scored_as: str, datasets: set[str]) -> list[str]:
    """The results as Markdown tables, or why there are none."""
    none = ["None were measured in the run that made this model."]
    if results is None:
        return none
    reference = results["reference"].eq(True) if "reference" in results else False
    of_method = results["method"] == scored_as
    kept = results[(of_method | reference) & results["target"].isin(datasets)]
    if not of_method.any() or kept.empty:
        return none
    text = [
        "This model is trained on all its datasets, so nothing is left to score it on. These are "
        "scores of the same procedure with one dataset left out and predicted unseen, with 95 % "
        "intervals over tracks and seeds.",
    ]
    for metric, title in (("song_roc_auc", "ROC-AUC"), ("song_macro_f1", "macro-F1 of the top k")):
        part = kept[kept["metric"] == metric].dropna(subset="low")
        if not part.empty:
            text += ["", f"Song {title}:", "", markdown(readable(part, metric))]
    return text
