"""How other people's code uses the doors: `make lint` checks its types (mypy); nobody runs it."""

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils import batch, data, evaluation, labels, predict, projector, sound


def datasets(root: Path) -> list[data.Dataset]:
    """Notebook 00."""
    loaded = [data.load_mtg_jamendo(root, split_number=0), data.load_cal500(root, audio="skip")]
    loaded += [data.load_emotify(root), data.load_folder(root / "mine.csv")]
    loaded += [data.load_audio_emotion_4q(root, least=1), data.load_mirex_mood(root)]
    return [*loaded, data.load_mulan(root / "CAL500.arff")[0]]


def words(names: list[str]) -> labels.LabelClusters:
    """Notebooks 01 and 02."""
    embeddings: labels.LabelEmbeddings = labels.embed_labels(names, style="name")
    return labels.cluster_labels(embeddings, method="hdbscan", min_cluster_size=2)


def heard(dataset: data.Dataset, store: Path, executor: Executor | None) -> data.Features:
    """Notebook 03."""
    encoder: sound.Encoder = sound.load_encoder("musicnn", None, layers=None, device="cpu")
    sound.extract(dataset, encoder, store, executor)
    return sound.projector_input(sound.load_features(store, layers=["all"]))


def trained(training: list[data.Labelled]) -> tuple[projector.Model, pd.DataFrame]:
    """Notebook 04."""
    settings = projector.TrainingSettings(loss="triplet", alignment_weight=2.5)
    return projector.fit(projector.Method("mine", training=settings), training, seed=0)


def scored(parts: Mapping[str, data.Labelled], folder: Path) -> pd.DataFrame:
    """Notebook 05."""
    (first, *_) = evaluation.run_study(parts, [projector.default_ridge()], folder, seeds=1)
    return evaluation.evaluate(first.scores, parts[first.target].dataset.targets(), k=3)


def elected(similarities: np.ndarray, track_index: np.ndarray) -> np.ndarray:
    """Notebook 05."""
    return evaluation.vote(similarities, track_index, k=3)


def told(song: Path) -> pd.DataFrame:
    """Notebook 06."""
    model, reference = predict.load_released()
    features = predict.song_features(song, predict.encoder_of(model))
    return predict.predict_song(model, reference, features, ["hopeful", "eerie"]).table


def many(executor: Executor) -> pd.DataFrame:
    """Notebook 07."""
    folder: Path = batch.run("smoke", "runs/mine", epochs=3)
    return batch.sweep(folder / "grid.yml", "runs/sweep", executor)


def printed(results: pd.DataFrame, paired: pd.DataFrame) -> str:
    """Notebook 08."""
    return evaluation.latex_table(results, paired, metric="song_macro_f1", against="ridge")
