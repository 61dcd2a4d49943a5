"""How long a prediction takes: a cold start, a first song and another, other words, a curve.

    python benchmarks/prediction.py [MODEL]        the released model if none is given

The song lasts three minutes: a piece of the built-in corpus, repeated. Where there is audio of
Emotify, also: for how many of its clips it warns, and whether its ranks are worse there.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from mer_utils import metrics, predict
from mer_utils.batch import profiles
from mer_utils.data import Labelled
from mer_utils.predict import zero_shot
from mer_utils.projector import Model
from mer_utils.sound import audio

SECONDS, RATE = 180, 44_100
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
    try:
        part = profiles.load_labelled(replace(profiles.get("real"), datasets=("emotify",)))[
            "emotify"
        ]
    except FileNotFoundError as error:
        print(f"no real songs: {error}")
    else:
        warned_songs(model, reference, part)


def warned_songs(model: Model, reference: predict.Reference, part: Labelled) -> None:
    """For each warning, how many real songs it names and how good the ranks are there."""
    index = part.features.track_index(part.dataset)
    _, inputs = zero_shot.track_means(model, part.features, index)
    agreement = zero_shot.part_agreement(model, reference, reference.inputs)
    usual = np.quantile(agreement, zero_shot.DISAGREE)
    warnings = {
        "sound unlike the training music": zero_shot.neighbour_distance(inputs, reference.inputs)
        > reference.far,
        "are heard contradictorily": zero_shot.part_agreement(model, reference, inputs) < usual,
    }
    scores = model.scores(part.features, part.dataset.labels)
    songs = metrics.track_scores(scores, index, len(part.dataset))
    targets = part.dataset.targets()
    for name, warned in warnings.items():
        print(f"{warned.sum()} of {len(warned)} clips of Emotify {name}; song ROC-AUC ", end="")
        found = [
            np.nanmean(metrics.roc_auc(songs[rows], targets[rows])) for rows in (warned, ~warned)
        ]
        print(f"{found[0]:.3f} among those, {found[1]:.3f} among the others")


if __name__ == "__main__":
    main()
