"""What is damaged or disturbed: small files of every sort, made once in the parent."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
import torch
from moods import MOODS, mood_dataset
from tqdm import tqdm

from mer_utils.data.types import Labelled
from mer_utils.labels.language_model import BEST_MODEL, DEFAULT_MODEL, load_language_model
from mer_utils.predict import release
from mer_utils.projector import default_ridge
from mer_utils.sound.random_mert import write_mert_checkpoint
from tests.campaign.engine import ended, forked

RATE = 8000
ROOT = Path()  # set by `begin`


def begin(folder: Path) -> None:
    """Take a new folder for all material; one thread, as every try is a fork."""
    global ROOT
    ROOT = folder
    folder.mkdir()
    folder.chmod(0o755)
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # its monitor is a thread


@contextmanager
def project(folder: Path, cache: Path | None = None) -> Iterator[None]:
    """Let the package take a folder for the project, with the cache in it or elsewhere."""
    places = {"PROJECT": folder, "CACHE": cache or folder / "cache"}
    ours = [module for name, module in sys.modules.items() if name.startswith("mer_utils.")]
    with ExitStack() as patches:
        for module, name in product(ours, places):
            if hasattr(module, name):
                patches.enter_context(patch.object(module, name, places[name]))
        yield


def sound(seconds: float = 3) -> np.ndarray:
    """A tone that swells, with some noise: (frames, 2)."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * time / seconds
    return tone[:, None] + 0.01 * np.random.default_rng(0).normal(size=(len(time), 2))


@cache
def songs() -> dict[str, Path]:
    """A song of three seconds in every format that libsndfile writes, by format."""
    made = {"OPUS": ROOT / "song.opus"}
    soundfile.write(made["OPUS"], sound(), RATE, format="OGG", subtype="OPUS")
    for name in soundfile.available_formats():
        path = ROOT / f"song.{name.lower()}"
        try:
            soundfile.write(path, sound(), RATE, format=name)
            made[name] = path
        except (soundfile.SoundFileError, TypeError):  # no stereo, or no default subtype
            path.unlink(missing_ok=True)
    return made


@cache
def clips() -> Path:
    """A CSV of six short clips."""
    rows = ["path,labels,split,group"]
    for number in range(6):
        soundfile.write(ROOT / f"{number}.wav", sound(1 + number / 3), RATE)
        rows.append(f"{number}.wav,{'happy' if number % 2 else 'sad'},,artist {number}")
    (ROOT / "clips.csv").write_text("\n".join(rows))
    return ROOT / "clips.csv"


@cache
def moods() -> dict[str, Labelled]:
    """Three small datasets of made-up features."""
    return {name: mood_dataset(name, tracks=12) for name in MOODS}


@cache
def model() -> Path:
    """A released model of the made-up features; both language models stay loaded here."""
    folder = ROOT / "model"
    for name in (DEFAULT_MODEL, BEST_MODEL):
        load_language_model(name)
    with project(ROOT):
        method = default_ridge(model="all-MiniLM-L6-v2")
        aside(lambda: release(method, moods(), folder))  # pyarrow would leave threads here
    return folder


def aside(make: Callable[[], object]) -> None:
    """Make something in a child, which takes with it what threads it began."""
    said = ROOT / "aside.said"
    if ended(forked(make, said)):
        raise RuntimeError(f"material cannot be made:\n{said.read_text()}")


@cache
def checkpoints() -> dict[str, Path]:
    """A small MERT with random weights in each of the two file formats."""
    forms = ("bin", "safetensors")
    return {x: write_mert_checkpoint(ROOT / f"mert-{x}", file_format=x) for x in forms}
