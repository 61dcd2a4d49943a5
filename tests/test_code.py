"""Staleness: a kept result is known by the code that made it, and by no other code."""

import importlib
import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
from nbclient import NotebookClient

from mer_utils import code, predict, sound
from mer_utils.batch import profiles
from mer_utils.data import load_folder

TIMES = itertools.count(1_000_000_000)
PACKAGE, TESTS = Path(code.__file__).parent, Path(__file__).parent

OWN = '''
"""A user's file."""
STRENGTH = 2.0

class Loss:
    """A class."""
    def __call__(self, x):
        return helper(x) * STRENGTH

def helper(x: float) -> float:
    """Half of it."""
    if x < 0:
        raise ValueError(f"{x} is below 0")  # why
    return x / 2

def other(x):
    return x
'''


# --- The user's own code


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Load a user's module that has a text now and was written before the process began."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)

    def load(text: str, name: str = "users_own"):
        (tmp_path / f"{name}.py").write_text(text)
        os.utime(tmp_path / f"{name}.py", (next(TIMES),) * 2)
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield load
    for name in ("users_own", "helpers_of_mine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("# why", "# why not\n", False),
        ('    """Half of it."""\n', "", False),
        ("x: float) -> float", "x)", False),
        ("is below 0", "is too small", False),
        ("x / 2", "x / (2)", False),
        ("x / 2", "x / 3", True),
        ("x < 0", "x <= 0", True),
        ("STRENGTH = 2.0", "STRENGTH = 3.0", True),
        ("    return x\n", "    return -x\n", False),  # Loss does not come there
    ],
)
def test_what_counts(loaded, old, new, changes):
    assert OWN.count(old) == 1
    before = code.own_hash(loaded(OWN).Loss)
    after = code.own_hash(loaded(OWN.replace(old, new)).Loss)
    assert (after != before) == changes


MADE_OF = """
import functools
import helpers_of_mine
import numpy as np
from torch import exp
TABLE = np.zeros(5000)

@functools.cache
def remembered(x):
    return x

def make(weight):
    def loss(x):
        return weight * helpers_of_mine.scale(exp(remembered(x))) + TABLE[0]
    return loss
"""


def test_what_a_loss_is_made_of_counts(loaded):
    """Closures, modules and arrays of the user's; what a cache wraps is found again."""
    loaded("def scale(x):\n    return x\n", "helpers_of_mine")
    own = loaded(MADE_OF)
    before = code.own_hash(own.make(2))
    assert code.own_hash(own.make(2)) == before != code.own_hash(own.make(3))
    own.TABLE[2500] = 1
    assert code.own_hash(own.make(2)) != before
    own.TABLE[2500] = 0
    assert code.own_hash(own.make(2)) == before
    loaded("def scale(x):\n    return -x\n", "helpers_of_mine")
    assert code.own_hash(own.make(2)) != before


def test_what_cannot_be_known_is_refused(loaded):
    space = {"__name__": "__main__"}
    exec("def f(x):\n    return x", space)
    with pytest.raises(ValueError, match="source"):
        code.own_hash(space["f"])
    own = loaded(OWN)
    os.utime(own.__file__)
    with pytest.raises(RuntimeError, match="edited"):
        code.own_hash(own.Loss)


# --- The package's code


def test_modules_count_with_what_they_import_and_the_data_files_they_name(tmp_path, monkeypatch):
    package = tmp_path / "mer_utils"
    package.mkdir()
    texts = {
        "first.py": "from mer_utils import second\nimport numpy\n",
        "second.py": "from mer_utils.third import f\nTABLE = 'table.csv'\n",
        "third.py": "def f():\n    return 1\n",
        "table.csv": "a\n1\n",
        "apart.py": "x = 1\n",
        "storage.py": "x = 1\n",
    }
    monkeypatch.setattr(code, "PACKAGE", package)

    def found(**changes: str) -> str:
        for name, text in (texts | changes).items():
            (package / name).write_text(text)
            os.utime(package / name, (1e9, 1e9))
        code._file_hash.cache_clear()
        code._leads_to.cache_clear()
        return code.modules_hash("first")

    before = found()
    assert found(**{"third.py": "def f():\n    return 2\n"}) != before
    assert found(**{"table.csv": "a\n2\n"}) != before
    assert found(**{"apart.py": "x = 2\n", "storage.py": "x = 2\n"}) == before
    assert found(**{"third.py": '"""Why."""\ndef f():\n    return 1  # one\n'}) == before
    os.utime(package / "third.py")
    with pytest.raises(RuntimeError, match=r"third\.py was edited"):
        code.modules_hash("first")


def test_results_pass_through_what_decides_them(monkeypatch):
    def reached(module: str) -> set[str]:
        """The files behind a hash, as far as it depends on them."""
        monkeypatch.setattr(code, "files_hash", lambda files: files)
        return {path.relative_to(PACKAGE).as_posix() for path in code.modules_hash(module)}

    study = reached("evaluation.study")
    assert study >= {"projector/networks.py", "projector/ridge.py", "labels/embeddings.py"}
    assert study >= {"data/definitions.csv", "metrics.py", "labels/clustering.py"}
    assert not {x for x in study if x.startswith(("figures", "batch", "corpus", "predict"))}
    assert reached("corpus.synthesizer") >= {"corpus/composer.py", "corpus/styles.yml"}


def replaced(*arguments, **named):
    """What is put in the place of a function."""


@pytest.mark.parametrize(
    "place", ["projector.losses.triplet_loss", "projector.networks.MLPProjector.forward"]
)
def test_what_was_put_in_the_place_of_the_packages_is_refused(monkeypatch, place):
    code.modules_hash("evaluation.study")
    monkeypatch.setattr(f"mer_utils.{place}", replaced)
    with pytest.raises(RuntimeError, match=place):
        code.modules_hash("evaluation.study")


def test_what_pip_put_into_a_folder_of_its_own_is_a_library(loaded, tmp_path, monkeypatch):
    notes = tmp_path / "helpers-1.0.dist-info"
    notes.mkdir()
    (notes / "RECORD").write_text("helpers_of_mine.py,sha256=,\nhelpers-1.0.dist-info/RECORD,,\n")
    code._is_own_module.cache_clear()
    code._put_by_pip.cache_clear()
    installed = loaded("def triplet_loss(): ...", "helpers_of_mine").triplet_loss
    monkeypatch.setattr("mer_utils.projector.losses.triplet_loss", installed)
    code.modules_hash("evaluation.study")
    beside = loaded("def triplet_loss(): ...").triplet_loss  # pip did not put it there
    monkeypatch.setattr("mer_utils.projector.losses.triplet_loss", beside)
    with pytest.raises(RuntimeError, match=r"users_own\.triplet_loss was put"):
        code.modules_hash("evaluation.study")


def test_a_worker_with_other_code_refuses(monkeypatch):
    run = code.checked(str, "evaluation.study")
    assert run(1) == "1"
    monkeypatch.setattr(code, "modules_hash", lambda *modules: "another")
    with pytest.raises(RuntimeError, match="edited"):
        run(1)


# --- Where it counts


class Tone:
    """An encoder of the test's own."""

    name, sample_rate, layers, dim, minimum_samples, segment_seconds = "tone", 4000, (1,), 1, 10, 1

    def settings(self):
        return {"name": self.name, "layers": self.layers, "dim": self.dim}

    def __call__(self, waveforms):
        return waveforms.std(1)[:, None, None]


class Louder(Tone):
    """The same settings, other numbers."""

    def __call__(self, waveforms):
        return 2 * super().__call__(waveforms)


def test_features_of_other_code_are_never_taken_for_these(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "_STARTED", float("inf"))  # this file counts as older
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).uniform(-0.5, 0.5, 9000), 4000)
    (tmp_path / "songs.csv").write_text("path,labels\nsong.wav,calm\n")
    songs = load_folder(tmp_path / "songs.csv")
    sound.extract(songs, Tone(), tmp_path / "named")
    with pytest.raises(ValueError, match="code"):
        sound.extract(songs, Louder(), tmp_path / "named")
    profile = replace(profiles.get("smoke"), encoder="tone")
    stores = {profiles.feature_store(profile, songs, kind()) for kind in (Tone, Louder, Tone)}
    assert len(stores) == 2
    one, again, louder = (
        predict.song_features(str(song), kind(), None, tmp_path / "kept").values
        for kind in (Tone, Tone, Louder)
    )
    assert len(list((tmp_path / "kept").iterdir())) == 2
    np.testing.assert_array_equal(one, again)
    np.testing.assert_allclose(louder, 2 * one)


FILE = """
from mer_utils import projector

@projector.LOSSES.register("linear")
def linear(projected, targets, vectors, settings, generator):
    return -(projected * (targets.float() @ vectors)).sum(1).mean()
"""

ENCODER = """
import numpy as np
import torch
from mer_utils import evaluation, projector, sound
from mer_utils.sound.features import code_hash

STRENGTH = torch.ones(2)

@sound.ENCODERS.register("level")
class Level(sound.Network):
    sample_rate, segment_seconds, layers, dim = 16_000, 1.0, ("level",), 1

    def frames(self, waveform):
        return STRENGTH[0] * waveform.square().mean().sqrt()[None, None, None]

encoder = sound.load_encoder("level")
assert encoder(np.ones((1, 16_000), np.float32)) == STRENGTH[0].item()
print(code_hash(encoder))
"""

STUDY = """
from pathlib import Path
from moods import MOODS, mood_dataset

@projector.LOSSES.register("negated")
def negated(projected, targets, vectors, settings, generator):
    Path("called").touch()
    return -projector.LOSSES["triplet"](projected, targets, vectors, settings, generator)

def scores(*losses):
    data = {name: mood_dataset(name, 24) for name in MOODS}
    settings = [projector.TrainingSettings(1, batch_size=64, loss=loss) for loss in losses]
    methods = [projector.Method(x.loss, projector="mlp", training=x) for x in settings]
    evaluation.run_study(data, methods, "study", 1, targets=["three"], jobs=2, progress=False)
    return {path: path.stat().st_mtime_ns for path in Path("study").rglob("scores.npy")}

losses = "negated", "losses_of_mine.py:linear"
written = scores(*losses)
print(len(written), Path("called").is_file(), scores(*losses) == written)
"""


@pytest.mark.slow
def test_code_in_cells_counts_as_it_stands_there_and_reaches_workers(tmp_path, monkeypatch):
    (tmp_path / "losses_of_mine.py").write_text(FILE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE.parent), str(TESTS)]))
    changed = ENCODER.replace("torch.ones(2)", "torch.ones(2) * 2")
    texts = (ENCODER, ENCODER, changed, ENCODER.replace(".sqrt()", ".sqrt().abs()"), ENCODER, STUDY)
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    notebook = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    *hashes, study = [cell.outputs[-1].text for cell in cells]
    assert hashes[0] == hashes[1] == hashes[4]
    assert len(set(hashes)) == 3
    assert study == "2 True True\n"
