"""Staleness: a kept result is known by the code that made it, and by no other code."""

import ast
import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from moods import MOODS, mood_dataset

from mer_utils import code, evaluation, labels, predict, sound, storage
from mer_utils.batch import profiles
from mer_utils.corpus import demo
from mer_utils.data import Dataset
from mer_utils.evaluation import study
from mer_utils.labels import language_model
from mer_utils.projector import Method, TrainingSettings, methods
from mer_utils.sound import cues, features, mert, musicnn

PACKAGE = Path(code.__file__).parent

OWN = '''
"""A user's file."""
STRENGTH = 2.0
TABLE = {"a": len}

class Loss:
    """A class."""
    def __call__(self, x):
        return helper(x) * STRENGTH

def helper(x: float) -> float:
    """Half of it."""
    if x < 0:
        raise ValueError(f"{x} is below 0")  # why
    return x / 2

def chosen(x):
    return TABLE["a"]([x])
'''


# --- What the hash depends on


def own_hash(folder: Path, text: str, name: str = "Loss") -> str:
    """The hash of one thing of a user's module that has this text now."""
    sys.dont_write_bytecode = True  # two texts of one size in one second would pass for one
    (folder / "users_own.py").write_text(text)
    importlib.invalidate_caches()
    sys.modules.pop("users_own", None)
    return code.hash_of([getattr(importlib.import_module("users_own"), name)])


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("# why", "# why not\n", False),
        ('"""Half of it."""', '"""The half.\n\n    Of it.\n    """', False),
        ('    """Half of it."""\n', "", False),
        ("x: float) -> float", "x)", False),
        ("is below 0", "is too small", False),
        ("x / 2", "x / (2)", False),
        ("x / 2", "x / 3", True),
        ("x < 0", "x <= 0", True),
        ("STRENGTH = 2.0", "STRENGTH = 3.0", True),
        ("x: float) -> float", "x: float = 1) -> float", True),
        ("return TABLE", "return 1 + TABLE", False),  # Loss does not come there
    ],
)
def test_what_counts(tmp_path, monkeypatch, old, new, changes):
    monkeypatch.syspath_prepend(tmp_path)
    assert OWN.count(old) == 1
    before = own_hash(tmp_path, OWN)
    assert (own_hash(tmp_path, OWN.replace(old, new)) != before) == changes


def test_a_function_in_a_table_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = own_hash(tmp_path, OWN, "chosen")
    assert own_hash(tmp_path, OWN.replace('{"a": len}', '{"a": sum}'), "chosen") != before
    mine = OWN.replace('{"a": len}', '{"a": lambda x: x}')
    assert own_hash(tmp_path, mine, "chosen") != before
    assert own_hash(tmp_path, mine.replace("x: x", "x: x[0]"), "chosen") != own_hash(
        tmp_path, mine, "chosen"
    )


def test_what_runs_counts_and_not_what_was_written_since(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = own_hash(tmp_path, OWN.replace("x / 2", "x / 5"))
    here = sys.modules["users_own"]
    (tmp_path / "users_own.py").write_text(OWN.replace("x / 2", "x / 7"))
    code._function.cache_clear()
    unloaded = code.hash_of([here.Loss])
    loaded = own_hash(tmp_path, OWN.replace("x / 2", "x / 7"))
    assert unloaded != loaded, "old code under the key of the new"
    code._function.cache_clear()
    assert own_hash(tmp_path, OWN.replace("x / 2", "x / 5")) == before


WAYS = """
import users_package.inside

class Held:
    def __init__(self, weight):
        self.weight = weight
    def loss(self, x):
        return self.weight * x

def chained(x):
    return users_package.inside.core(x)

def imported_late(x):
    from users_package.inside import core
    return core(x)

def remembering(x):
    return remembering.sign * x
"""


@pytest.mark.parametrize("name", ["chained", "imported_late", "remembering", "bound"])
def test_ways_to_other_code_are_followed(tmp_path, monkeypatch, name):
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inside.py").write_text("def core(x):\n    return x\n")
    (tmp_path / "users_ways.py").write_text(WAYS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    ways = importlib.import_module("users_ways")
    inside = importlib.import_module("users_package.inside")

    def found(weight: float) -> str:
        ways.remembering.sign = weight
        return code.hash_of([ways.Held(weight).loss if name == "bound" else getattr(ways, name)])

    before = found(1.0)
    assert found(1.0) == before
    if name in ("remembering", "bound"):
        assert found(-1.0) != before
    else:
        monkeypatch.setattr(inside, "core", lambda x: -x)
        assert found(1.0) != before
    for module in ("users_ways", "users_package", "users_package.inside"):
        sys.modules.pop(module)


def test_code_without_source_counts():
    made = [{"__name__": "__main__"} for _ in range(3)]
    for space, text in zip(made, ("x + 1", "x + 1", "x + 2"), strict=True):
        exec(f"def f(x):\n    return {text}", space)
    first, same, other = (code.hash_of([space["f"]]) for space in made)
    assert first == same != other


def test_settings_with_functions_are_told_by_name_and_hash():
    def mine(x):
        return x

    told = code.described({"a": [1, mine], "b": "text"})
    assert told["b"] == "text"
    assert told["a"][0] == 1
    assert told["a"][1].keys() == {"name", "code"}
    assert storage.settings_hash(told) == storage.settings_hash(code.described(told))


# --- Which results pass through which code

METHODS = {
    "network": Method("network", projector="mlp"),
    "aligned": Method("aligned", projector="mlp", aim="clusters"),
    "ridge": Method("ridge", projector="ridge"),
    "tags": Method("tags", projector="tags"),
}
NETWORKS = {"network", "aligned"}
ALL = set(METHODS)


@pytest.fixture(scope="module")
def unchanged() -> dict[str, str]:
    """The hashes before anything is put in the place of something."""
    hashes = {name: study.code_hash(method) for name, method in METHODS.items()}
    return hashes | {name: features.code_hash(one) for name, one in ENCODERS.items()}


def other(*arguments, **named):
    """What is put in the place of a function."""
    return None


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        ("projector.training.triplet_loss", NETWORKS),
        ("projector.losses.triplet_loss", NETWORKS),
        ("projector.training.train", NETWORKS),
        ("projector.networks.MLPProjector.forward", NETWORKS),
        ("projector.methods.cluster_labels", {"aligned"}),
        ("projector.methods.SOFTNESS", {"aligned"}),
        ("projector.ridge.fit_ridge", {"ridge"}),
        ("projector.networks.RidgeProjector.forward", {"ridge", "tags"}),
        ("projector.ridge.bridge_tags", {"tags"}),
        ("projector.methods.prepare", ALL),
        ("evaluation.study.target_scores", ALL),
        ("evaluation.study.Task.run", ALL),
        ("labels.embeddings.label_texts", ALL),
        ("projector.model.Model.scores", ALL),
        ("metrics.roc_auc", NETWORKS),
        ("evaluation.scoring.compare", set()),
        ("figures.sweep_curves", set()),
        ("evaluation.study.committee", set()),
        ("sound.audio.read", set()),
    ],
)
def test_a_change_makes_new_only_what_passes_through_it(unchanged, monkeypatch, place, changed):
    monkeypatch.setattr(f"mer_utils.{place}", other)
    assert {m for m in METHODS if study.code_hash(METHODS[m]) != unchanged[m]} == changed


def encoder(network: type, name: str) -> sound.Encoder:
    return sound.Encoder(name, 1.0, object.__new__(network), {})


ENCODERS = {
    "musicnn": encoder(musicnn.Musicnn, "musicnn"),
    "cues": encoder(cues.MusicnnWithCues, "musicnn+cues"),
    "mert": encoder(mert.Mert, "mert-v1-95m"),
}


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        ("sound.musicnn.log_mel", {"musicnn", "cues"}),
        ("sound.musicnn.Musicnn._fill", {"musicnn", "cues"}),
        ("sound.acoustics.tempo", {"cues"}),
        ("sound.cues.QUIETEST", {"cues"}),
        ("sound.mert.Mert.pooled", {"mert"}),
        ("sound.mert.build_model", {"mert"}),
        ("sound.audio.segments", set(ENCODERS)),
        ("sound.features._to_half", set(ENCODERS)),
        ("sound.encoders.Encoder.__call__", set(ENCODERS)),
        ("sound.features._pack", set()),
        ("sound.features._rows_of", set()),
        ("sound.mert.find_checkpoint", set()),
        ("sound.musicnn.find_weights", set()),
        ("sound.musicnn.log_tags", set()),
        ("projector.training.train", set()),
    ],
)
def test_features_pass_through_what_decides_values(unchanged, monkeypatch, place, changed):
    monkeypatch.setattr(f"mer_utils.{place}", other)
    assert {e for e in ENCODERS if features.code_hash(ENCODERS[e]) != unchanged[e]} == changed


def is_module(place: str) -> bool:
    return (PACKAGE / f"{place.replace('.', '/')}.py").is_file()


def module_of(place: str) -> str:
    """The module, without the package's name, that a place lies in."""
    parts = place.split(".")[1:]
    return next(x for x in (parts[0], ".".join(parts[:2])) if is_module(x))


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mer_utils":
            base = node.module.split(".")[1:]
            named = {".".join([*base, alias.name]) for alias in node.names}
            found |= {x for x in (".".join(base), *named) if is_module(x)}
    return found


@pytest.mark.parametrize(
    ("things", "apart"),
    [
        (study.PASSES, {}),
        (demo.PASSES, {"corpus.styles": "its constants count by value where they are used"}),
        (language_model.PASSES, {}),
        (
            (*features.PASSES, sound.Encoder, cues.MusicnnWithCues, cues.load),
            {
                "data.types": "tracks are data here",
                "sound.mert": "another encoder",
                "sound.hugging_face": "another encoder",
            },
        ),
        (
            (*features.PASSES, sound.Encoder, mert.Mert, mert.load),
            {
                "data.types": "tracks are data here",
                "sound.cues": "another encoder",
                "sound.musicnn": "another encoder",
                "sound.hugging_face": "another encoder",
            },
        ),
    ],
    ids=["study", "corpus", "labels", "cues", "mert"],
)
def test_nothing_that_a_result_passes_through_is_forgotten(things, apart):
    """Every module that a module on the way imports is on the way, or named with a reason."""
    there = {module_of(x) for x in code.reached(things) if x.startswith("mer_utils")}
    imported = {name for module in there for name in imports(module)}
    assert imported - there - set(code.PLUMBING) == set(apart)


# --- Stores and caches


class Tone:
    """An encoder of the test's own."""

    name, sample_rate, layers, dim, minimum_samples, segment_seconds = "tone", 4000, (1,), 1, 10, 1

    def settings(self):
        keys = ("name", "sample_rate", "layers", "dim", "segment_seconds")
        return {key: getattr(self, key) for key in keys}

    def __call__(self, waveforms):
        return level(waveforms)[:, None, None]


def level(waveforms):
    return waveforms.std(1)


def louder(waveforms):
    return 2 * waveforms.std(1)


@pytest.fixture
def songs(tmp_path) -> Dataset:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 9000)
    soundfile.write(tmp_path / "song.wav", noise, 4000)
    columns = {"audio": [str(tmp_path / "song.wav")], "labels": [()], "split": None, "group": "g"}
    return Dataset("songs", ("calm",), pd.DataFrame(columns, index=pd.Index(["s"], name="track")))


def test_features_of_other_code_are_never_taken_for_these(songs, tmp_path, monkeypatch):
    profile = replace(profiles.get("smoke"), encoder="tone")
    store, named = profiles.feature_store(profile, songs, Tone()), tmp_path / "named"
    before = sound.extract(songs, Tone(), named)
    stamp = (named / "values.npy").stat().st_mtime_ns
    sound.extract(songs, Tone(), named)
    monkeypatch.setattr(sys.modules[__name__], "level", louder)
    assert profiles.feature_store(profile, songs, Tone()) != store
    with pytest.raises(ValueError, match="code"):
        sound.extract(songs, Tone(), named)
    after = sound.extract(songs, Tone(), tmp_path / "new")
    np.testing.assert_allclose(after.values, 2 * before.values, rtol=1e-2)
    monkeypatch.undo()
    assert profiles.feature_store(profile, songs, Tone()) == store
    sound.extract(songs, Tone(), named)
    assert (named / "values.npy").stat().st_mtime_ns == stamp


def test_a_songs_kept_features_are_those_of_this_encoder(songs, tmp_path, monkeypatch):
    arguments = (songs.tracks["audio"].iloc[0], Tone(), None, tmp_path / "kept")
    before = predict.song_features(*arguments).values
    predict.song_features(*arguments)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    monkeypatch.setattr(sys.modules[__name__], "level", louder)
    np.testing.assert_allclose(predict.song_features(*arguments).values, 2 * before)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_label_vectors_are_those_of_this_code(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "CACHE", tmp_path)
    before = labels.embed_labels(["calm", "wild"]).vectors
    encode = language_model._encode_anew
    monkeypatch.setattr(
        language_model, "_encode_anew", lambda *a: (np.roll(encode(*a)[0], 1, 1), False)
    )
    np.testing.assert_allclose(
        labels.embed_labels(["calm", "wild"]).vectors, np.roll(before, 1, 1), atol=1e-6
    )
    monkeypatch.undo()
    np.testing.assert_array_equal(labels.embed_labels(["calm", "wild"]).vectors, before)


@pytest.mark.parametrize(
    "place", ["corpus.composer.CUE_NOISE", "corpus.composer.compose", "corpus.synthesizer._shelf"]
)
def test_a_changed_composer_or_studio_is_another_corpus(monkeypatch, place):
    spec, pieces = demo.DEMO_DATASETS["demo-mtg"], demo.plan("demo-mtg", 6, 0)
    before = demo._settings(spec, pieces, 6, 0)
    monkeypatch.setattr(f"mer_utils.{place}", other)
    assert demo._settings(spec, pieces, 6, 0) != before


# --- A study


def small_study(folder: Path, loss: object = "triplet", jobs: int = 1) -> tuple[np.ndarray, dict]:
    """Scores of two small networks and a ridge, and when each result was written."""
    data = {name: mood_dataset(name, 24) for name in MOODS}
    settings = TrainingSettings(epochs=2, batch_size=64, learning_rate=3e-3, loss=loss)
    compared = [
        Method("network", projector="mlp", training=settings),
        Method("ridge", projector="ridge", training=settings),
    ]
    named = {"seeds": 2, "targets": ["three"], "jobs": jobs, "progress": False}
    network, ridge = evaluation.run_study(data, compared, folder, **named)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("scores.npy")}
    return np.stack([*network.scores, *ridge.scores]), written


def test_a_replaced_loss_gives_new_networks_and_the_same_ridges(tmp_path, monkeypatch):
    before, written = small_study(tmp_path)
    monkeypatch.setattr(
        "mer_utils.projector.training.triplet_loss", lambda a, p, n, m: (n * a - p).mean()
    )
    after, more = small_study(tmp_path)
    assert not np.allclose(before[0], after[0])
    np.testing.assert_array_equal(before[2], after[2])
    assert len(more) == len(written) + 2
    monkeypatch.undo()
    again, same = small_study(tmp_path)
    np.testing.assert_array_equal(again, before)
    assert same == more


def test_a_loss_of_ones_own_is_called_and_recorded(tmp_path):
    def mine(anchor, positive, negative, margin):
        return (anchor * (negative - positive)).sum(1).mean()

    before, _ = small_study(tmp_path)
    after, written = small_study(tmp_path, mine)
    assert not np.allclose(before[0], after[0])
    assert small_study(tmp_path, mine)[1] == written
    records = [storage.read_json(p.with_name("made_by.json")) for p in written]
    losses = [record["method"]["training"]["loss"] for record in records]
    assert sum(isinstance(loss, dict) and "mine" in loss["name"] for loss in losses) == 3


SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from mer_utils.projector import losses, networks, training
sys.path.insert(0, sys.argv[2])
from test_code import small_study

STRENGTH = -1.0
folder, marker = Path(sys.argv[1]) / "study", Path(sys.argv[1]) / "called"

def negated(anchor, positive, negative, margin=1.0):
    marker.touch()
    return STRENGTH * losses.triplet_loss(anchor, positive, negative, margin)

def halved(self, values):
    return self.network(values.flatten(1)) / 2 + 1

if __name__ == "__main__":
    before, written = small_study(folder, jobs=2)
    assert len(written) == 3 and not marker.exists()
    assert small_study(folder, jobs=2)[1] == written, "a rerun recomputes nothing"

    original, training.triplet_loss = training.triplet_loss, negated
    after, more = small_study(folder, jobs=2)
    assert marker.exists(), "the user's function was not called"
    assert not np.allclose(before[0], after[0]) and np.array_equal(before[2], after[2])
    assert len(more) == 5 and small_study(folder, jobs=2)[1] == more
    STRENGTH = -2.0
    assert len(small_study(folder, jobs=2)[1]) == 7, "a constant of the user's counts"

    training.triplet_loss = original
    same, _ = small_study(folder, jobs=2)
    assert np.array_equal(same, before)
    marker.unlink()
    original, networks.MLPProjector.forward = networks.MLPProjector.forward, halved
    changed, _ = small_study(folder, jobs=2)
    assert not np.allclose(changed[0], before[0]) and not marker.exists(), "left in a worker"
    networks.MLPProjector.forward = original
    handed, written = small_study(folder, negated, jobs=2)
    assert marker.exists() and not np.allclose(handed[0], before[0])
    assert small_study(folder, negated, jobs=2)[1] == written
"""


@pytest.mark.slow
def test_workers_call_what_stands_in_the_notebook(tmp_path):
    """Two processes; functions of `__main__` put in the place of the package's."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", tmp_path, Path(__file__).parent]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PACKAGE.parent,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_worker_with_other_code_refuses(monkeypatch):
    """What pickles as a name arrives as the worker's own."""
    run = code.portable(str, study.PASSES)
    run()
    monkeypatch.setattr("mer_utils.projector.losses.triplet_loss", other)
    with pytest.raises(RuntimeError, match=r"losses\.triplet_loss"):
        run()


def test_what_was_handed_over_is_taken_out_again(monkeypatch):
    monkeypatch.setattr(methods, "SOFTNESS", 0.5)
    run = code.portable(lambda: methods.SOFTNESS, study.PASSES)
    monkeypatch.undo()
    assert run() == 0.5
    assert methods.SOFTNESS != 0.5
