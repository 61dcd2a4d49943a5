"""Registries: one decorator, names that list themselves, files that are named from outside."""

import sys
from unittest.mock import patch

import pytest

from mer_utils import data, labels, projector, sound
from mer_utils.registry import Registry

FILE = """
from mer_utils.registry import Registry

@Registry.all["shape"].register("square")
def square():
    return "#"
"""


def circle():
    return "o"


@pytest.fixture
def shapes(monkeypatch):
    monkeypatch.setattr(Registry, "all", dict(Registry.all))
    registry = Registry("shape")
    registry.register("round")(circle)
    with patch.dict(sys.modules):
        yield registry


def test_a_name_is_taken_once_but_a_cell_may_run_again(shapes):
    def again():
        return "O"

    again.__qualname__ = circle.__qualname__  # the same cell
    assert shapes.register("round")(again)() == shapes["round"]() == "O"
    with pytest.raises(ValueError, match="already"):
        shapes.register("round")(len)
    shapes.reserved.add("every")
    with pytest.raises(ValueError, match="'every'"):
        shapes.register("every")(len)
    with pytest.raises(ValueError, match="no shape 'square'; there are round"):
        shapes["square"]


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
    rooms = [data.LOADERS, labels.TEXT_MODELS, sound.ENCODERS]
    rooms += [projector.PROJECTORS, projector.LOSSES]
    whats = ["dataset", "text model", "encoder", "projector", "loss"]
    assert Registry.all == dict(zip(whats, rooms, strict=True))
