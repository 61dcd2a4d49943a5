"""Registries: one decorator, names that list themselves, files that are named from outside."""

import sys

import pytest

from mer_utils import data, labels, projector, sound
from mer_utils.registry import Registry


@pytest.fixture
def shapes(monkeypatch):
    monkeypatch.setattr(Registry, "all", dict(Registry.all))
    registry = Registry("shape")

    @registry.register("round")
    def circle():
        return "o"

    yield registry
    for name in [name for name in sys.modules if name.startswith("own_file_")]:
        del sys.modules[name]


def test_a_name_stands_for_what_was_registered(shapes):
    assert shapes["round"]() == "o"
    with pytest.raises(ValueError, match="no shape 'square'; there are round"):
        shapes["square"]


def test_a_name_is_taken_once_but_a_cell_may_run_again(shapes):
    def circle():
        return "O"

    circle.__qualname__ = shapes["round"].__qualname__  # the same cell
    shapes.register("round")(circle)
    assert shapes["round"]() == "O"
    with pytest.raises(ValueError, match="already"):
        shapes.register("round")(len)


FILE = """
from mer_utils.registry import Registry

@Registry.all["shape"].register("square")
def square():
    return "#"
"""


def test_a_file_names_its_entries(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes_of_mine.py").write_text(FILE)
    assert shapes["shapes_of_mine.py:square"]() == "#"
    assert shapes[f"{tmp_path / 'shapes_of_mine.py'}:square"] is shapes["square"]
    with pytest.raises(ValueError, match="no shape"):
        shapes["shapes_of_mine.py:oval"]
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        shapes["none.py:square"]


def test_every_room_has_its_registry():
    doors = {
        "dataset": data.LOADERS,
        "text model": labels.TEXT_MODELS,
        "encoder": sound.ENCODERS,
        "projector": projector.PROJECTORS,
        "loss": projector.LOSSES,
    }
    assert Registry.all == doors
