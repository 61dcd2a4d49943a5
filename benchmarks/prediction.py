"""How long a prediction takes: a cold start, a first song and another, other words, a curve.

    python benchmarks/prediction.py [MODEL]        the released model if none is given

The song lasts three minutes: a piece of the built-in corpus, repeated. Then: what is said of sounds
that are no music; and for each dataset of the profiles `real` (where there is its audio) and `demo`
of which songs a model trained on the others is sure, of which it warns, and whether it is right.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from scipy.stats import spearmanr

from mer_utils import metrics, predict, projector
from mer_utils.batch import profiles
from mer_utils.data import Labelled
from mer_utils.evaluation.resampling import draw_weights, group_numbers, interval
from mer_utils.evaluation.study import others, strictly
from mer_utils.evaluation.tables import with_interval
from mer_utils.predict import zero_shot
from mer_utils.projector import Model
from mer_utils.sound import audio
from mer_utils.sound.encoders import Encoder

SECONDS, RATE = 180, 44_100
RESAMPLES = 1000
WORDS = ["hopeful", "eerie", "ready to dance"]


def write_song(path: Path) -> None:
    pieces = profiles.load_dataset("demo-mtg", profiles.get("smoke").size).tracks["audio"]
    waveform = audio.read(pieces.iloc[0], RATE)
    repeated = np.tile(waveform, -(-SECONDS * RATE // len(waveform)))[: SECONDS * RATE]
    soundfile.write(path, repeated, RATE)


def timed(name: str, call):
    start = time.perf_counter()
    result = call()
    print(f"{name:48} {time.perf_counter() - start:6.2f} s", flush=True)
    return result


def main() -> None:
    model_folder = sys.argv[1] if len(sys.argv) > 1 else str(predict.RELEASED)
    with tempfile.TemporaryDirectory() as folder:
        songs = [Path(folder, f"{name}.wav") for name in ("one", "two")]
        for song in songs:
            write_song(song)
        command = [sys.executable, "-m", "mer_utils", "predict", str(songs[0])]
        command += ["--labels", ",".join(WORDS), "--model", model_folder]
        print(f"{os.cpu_count()} cores; a song of {SECONDS} s")
        quiet = {"check": True, "capture_output": True}
        timed("python -c 'import mer_utils.batch.cli'", lambda: subprocess.run(
            [sys.executable, "-c", "import mer_utils.batch.cli"], **quiet))  # fmt: skip
        timed("command line, cold", lambda: subprocess.run(command, **quiet))
        timed("command line, a song that it knows", lambda: subprocess.run(command, **quiet))
        model, reference = timed("load the model", lambda: predict.load_released(model_folder))
        encoder = timed("load the encoder", lambda: predict.encoder_of(model))
        for song in songs:
            features = timed("listen to a song", partial(predict.song_features, song, encoder))
            ranks = partial(predict.predict_song, model, reference, features)
            timed("rank its words", partial(ranks, WORDS))
        timed("other words for it", partial(ranks, ["gloomy", "proud"]))
        curve = partial(predict.song_features, songs[1], encoder, 3.0)
        timed("listen every 3 s, for a curve", curve)
        no_music(model, reference, encoder, Path(folder))
    for profile in ("real", "demo"):
        try:
            data = profiles.load_labelled(profiles.get(profile))
        except FileNotFoundError as error:
            print(f"no songs of profile {profile}: {error}")
            continue
        for name, part in data.items():
            warned_songs(part, others(data, name))


def warned_songs(part: Labelled, training: Sequence[Labelled]) -> None:
    """What a model that has heard none of a dataset's songs knows of where it is wrong.

    Right: how often a label that a song has ranks above one that it has not (a ROC-AUC over its
    labels). Song ROC-AUC: over songs, the mean over the labels that warned and other songs have.
    """
    method, training = strictly(projector.word_anchors(), training, part)
    model, _ = projector.fit(method, training)
    reference = predict.reference_set(model, training)
    labels, targets = part.dataset.labels, part.dataset.targets()
    index = part.features.track_index(part.dataset)
    projections, inputs = zero_shot.track_means(model, part.features, index)
    usual = zero_shot.label_scores(model, labels, reference.projections)
    ranks = predict.percentile(zero_shot.label_scores(model, labels, projections), usual)
    right = metrics.roc_auc(ranks.T, targets.T)  # (songs,)
    groups = group_numbers(part.dataset.tracks["group"], len(right))
    weights = np.concatenate(list(draw_weights(groups, RESAMPLES)), axis=1)  # (songs, draws)
    weights = np.column_stack([np.ones(len(right)), weights])  # first, all songs once
    sure = zero_shot.sureness(model, reference, labels, projections)
    distance = zero_shot.neighbour_distance(inputs, reference.inputs)
    by_fifths = [right[np.minimum(sure // 20, 4) == fifth] for fifth in range(5)]
    shown = ", ".join(f"{np.nanmean(x):.3f} ({len(x)})" for x in by_fifths)
    print(f"{part.name}: right {np.nanmean(right):.3f}; by fifths of sureness {shown} songs")
    signals = {
        "sureness": (sure, sure < zero_shot.UNSURE),
        "nearness": (-distance, distance > reference.far),
    }
    for name, (signal, warned) in signals.items():
        known = np.isfinite(right)
        draws = [np.repeat(np.flatnonzero(known), w[known].astype(int)) for w in weights.T]
        rho = np.array([spearmanr(signal[rows], right[rows]).statistic for rows in draws])
        found = [
            metrics.ranking_measures(ranks[rows], targets[rows])[0](weights[rows])
            for rows in (warned, ~warned)
        ]  # (draws, labels) each
        difference = found[1] - found[0]  # NaN for labels that not both have
        lost, shared = metrics.macro(difference), np.isfinite(difference[0])
        roc = [each[0][shared].mean() for each in found]
        print(
            f"  {name}: correlation with right {_interval(rho, groups)}; {warned.sum()} warned: "
            f"song ROC-AUC {roc[0]:.3f}, others {roc[1]:.3f}, lost {_interval(lost, groups)}"
        )


def _interval(draws: np.ndarray, groups: np.ndarray) -> str:
    """The first of the draws, which has all songs once, with its 95 % interval over groups."""
    low, high, _ = interval(draws[0], draws[1:], groups)
    return with_interval(draws[0], low, high, "+")


def no_music(model: Model, reference: predict.Reference, encoder: Encoder, folder: Path) -> None:
    """What is said of sounds that are no music."""
    time_axis, rng = np.arange(30 * RATE) / RATE, np.random.default_rng(0)
    sounds = {
        "white noise": 0.1 * rng.normal(size=len(time_axis)),
        "silence": np.zeros(len(time_axis)),
        "a tone": 0.3 * np.sin(2 * np.pi * 440 * time_axis),
        "clicks": 0.9 * (np.arange(len(time_axis)) % (RATE // 2) == 0),
    }
    for name, sound in sounds.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, sound, RATE)
        found = predict.predict_song(model, reference, predict.song_features(path, encoder), WORDS)
        print(f"{name}: sureness {found.sureness:.0f}; {'; '.join(found.warnings) or 'no warning'}")


if __name__ == "__main__":
    main()
