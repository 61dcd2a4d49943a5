"""Profiles with a user's own: another encoder, a dataset, a loss, a projector, a text model."""

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from mer_utils import code, projector, storage
from mer_utils.batch import cli, notebooks, profiles
from mer_utils.registry import Registry
from mer_utils.sound import mert, random_mert

OWN = """
import torch
from mer_utils import data, labels, projector, sound

@sound.ENCODERS.register("level")
class Level(sound.Network):
    sample_rate, segment_seconds, layers, dim = 16_000, 2.0, ("level",), 8

    def frames(self, waveform):  # (samples,) -> (layers, frames, dim)
        frames = waveform[: len(waveform) // 800 * 800].reshape(1, -1, 8, 100)
        return frames.square().mean(3).sqrt()

@labels.TEXT_MODELS.register("letters")
def letters(texts):
    return [[1 + text.count(letter) for letter in "aeioulrstn"] for text in texts]

@projector.LOSSES.register("linear")
def linear(projected, targets, vectors, settings, generator):
    return -(projected * (targets.float() @ vectors)).sum(1).mean()

@projector.PROJECTORS.register("straight")
class Straight(projector.Projector):
    def __init__(self, layers, dim, dimensions, width=0):
        super().__init__()
        self.leave = torch.nn.Linear(layers * dim, dimensions)

    def forward(self, values):
        return self.leave(values.flatten(1))

@data.LOADERS.register("twice-mine")
def load_twice(root, audio="require"):
    return data.load_folder(root / "songs.csv", name="twice-mine")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file of a user's with one entry of each kind; gone from the registries afterwards."""
    monkeypatch.setattr(code, "_STARTED", float("inf"))
    (tmp_path / "own.py").write_text(OWN)
    kept = [(registry, dict(registry)) for registry in Registry.all.values()]
    yield f"{tmp_path / 'own.py'}"
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


@pytest.fixture
def csv(tmp_path) -> Path:
    """Ten songs of noise, five loud and wild, five soft and calm, by five artists."""
    folder = tmp_path / "twice_mine"
    folder.mkdir()
    rows = []
    for number in range(10):
        level = 0.02 if number % 2 else 0.5
        noise = level * np.random.default_rng(number).uniform(-1, 1, 72_000)
        soundfile.write(folder / f"{number}.wav", noise, 24_000)
        label = "calm" if number % 2 else "wild"
        rows.append({"path": f"{number}.wav", "labels": label, "group": f"artist {number // 2}"})
    pd.DataFrame(rows).to_csv(folder / "songs.csv", index=False)
    return folder / "songs.csv"


def test_a_dataset_of_ones_own_joins_the_others(csv, own, monkeypatch, tmp_path):
    monkeypatch.setenv("MER_DATA", str(csv.parents[1]))
    chosen = profiles.choose("demo", csv=str(csv))
    loaded = profiles.load_dataset(chosen.datasets[-1])
    assert (loaded.name, loaded.labels, len(loaded)) == ("songs", ("calm", "wild"), 10)
    by_loader = profiles.choose("smoke", csv=f"{own}:twice-mine")
    assert profiles.data_folders(by_loader.datasets) == [csv.parent]
    assert profiles.load_dataset(by_loader.datasets[-1]).name == "twice-mine"
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        profiles.check_inputs(profiles.choose("smoke", csv="none.csv"))
    (tmp_path / "excel.csv").write_text("path;labels\na.wav;calm\n")
    with pytest.raises(ValueError, match=r"excel\.csv: .*';'"):
        profiles.check_inputs(profiles.choose("smoke", csv=str(tmp_path / "excel.csv")))
    few = csv.with_name("few.csv")
    few.write_text("".join(csv.read_text().splitlines(keepends=True)[:10]))  # nine songs
    with pytest.raises(ValueError, match=r"few\.csv: 9 "):
        profiles.check_inputs(profiles.choose("smoke", csv=str(few)))
    table = csv.rename(csv.with_suffix(".tsv"))
    with pytest.raises(ValueError, match=r"songs\.tsv.*\.csv"):
        profiles.choose("smoke", csv=str(table))


@pytest.mark.slow
def test_a_sweep_in_other_processes_runs_on_what_is_the_users_own(csv, own, tmp_path, capsys):
    """Every kind of entry, named by parameters, in a worker and a kernel that never saw them."""
    named = {"encoder": "level", "approach": "linear", "network": "straight"}
    fixed = {key: f"{own}:{name}" for key, name in named.items()} | {"csv": str(csv)}
    fixed |= {"language_model": f"{own}:letters", "style": "name"}
    fixed |= {"epochs": 2, "shuffles": 0, "resamples": 20}
    grid, out = tmp_path / "grid.yml", tmp_path / "out"
    described = {"profile": "smoke", "fixed": fixed, "grid": {"target": ["songs"]}}
    storage.write_text(grid, yaml.safe_dump(described))
    assert cli.main(["sweep", str(grid), "--out", str(out), "--jobs", "2"]) == 0
    assert "summary.html" in capsys.readouterr().out
    results = pd.read_csv(out / "results.csv")
    assert set(results["target"]) == {"songs"}
    assert results["value"].between(0, 1).all()
    assert set(results["approach"]) == {fixed["approach"]}
    (record,) = out.glob("cells/*/study/songs/*/made_by.json")
    assert storage.read_json(record)["method"]["projector"] == fixed["network"]
    model = projector.load_model(record.parent / "model")
    assert model.space.vectors(["calm"]).shape == (1, 10)


@pytest.mark.parametrize("name", ["mulan", "demo"])
def test_synthetic_music_is_for_profiles_that_can_hear_it_and_have_none(name):
    with pytest.raises(ValueError, match=name):
        profiles.load_synthetic(profiles.get(name))


@pytest.mark.parametrize("said", [True, False])
def test_yes_to_a_licence_is_passed_on_before_any_work(said, monkeypatch, tmp_path, capsys):
    def refuse(name, checkpoint, accept_licence):
        raise FileNotFoundError(f"{name}, accepted: {accept_licence}")

    monkeypatch.setattr(mert, "find_checkpoint", refuse)
    extract = ["extract", "--profile", "mert", *(["--accept-licence"] if said else [])]
    run = ["run", "--profile", "paper", "--out", str(tmp_path / "run")]
    for command in (extract, [*run, "-p", f"accept_licence={str(said).lower()}"]):
        assert cli.main(command) == 1
        assert f"mert-v1-95m, accepted: {said}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    profiles.check_inputs(profiles.get("demo"), accept_licence=said)  # which needs no weights


def test_notebook_03_shows_the_mert_of_a_checkpoint(tmp_path, capsys):
    """Its cells about MERT, in this process: they compare by hand and by library."""
    checkpoint = random_mert.write_mert_checkpoint(tmp_path / "mert", num_hidden_layers=12)
    given = {"profile": "smoke", "out": str(tmp_path / "run"), "checkpoint": str(checkpoint)}
    notebook = nbformat.read(notebooks.notebook_path("03"), as_version=4)
    defaults, *cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    names: dict = {}
    exec(defaults, names)
    names |= given | {"encoder": "mert-v1-95m"}
    for cell in cells[: cells.index(next(c for c in cells if "sound.extract" in c))]:
        exec(cell, names)
    assert "RANDOM" not in capsys.readouterr().out
    assert names["frames"].shape == (13, 749, 32)
    assert (tmp_path / "run" / "figures" / "hidden_states.png").is_file()
