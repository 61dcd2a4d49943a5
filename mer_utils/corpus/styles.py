"""The built-in music's material, from styles.yml: scales, figures, styles; what a dataset uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Style:
    """A way of making music.

    tempo: beats a minute at the tempo cues -1 and 1.
    metres: beats a bar and how often each is used.
    palette: programs a role may use, ordered from dark to bright: "melody struck", "melody held",
        the same for "chords" and "bass", and "pad", "unrest" (what plays when it is tense) and
        "kit" (drum kits). Struck instruments fade after the stroke, held ones do not; both
        orders were measured on the sound font.
    drums: drum figures from quiet to driving; fill: the drum keys of fills.
    extensions: how often a plain chord gets a seventh or ninth, in [0, 1].
    timing: standard deviation of a note's start, seconds.
    swing: how late the second eighth of a beat comes, in beats.
    studio: the fields of a `synthesizer.Production`; [least, most] is drawn once for each artist.
    """

    name: str
    tempo: tuple[float, float]
    metres: Mapping[int, float]
    palette: Mapping[str, list[int]]
    drums: list[Mapping[int, str]]
    fill: list[int]
    extensions: float
    timing: float
    swing: float
    studio: Mapping[str, float | list[float] | None]


_MATERIAL = yaml.safe_load(Path(__file__).with_name("styles.yml").read_text(encoding="utf-8"))
SCALES: dict[str, tuple[float, float, list[int]]] = _MATERIAL["scales"]
PROGRESSIONS: dict[str, list[list[int]]] = _MATERIAL["progressions"]
FIGURES: dict[str, list[str]] = _MATERIAL["figures"]
DATASETS: dict[str, dict] = _MATERIAL["datasets"]
STYLES = {name: Style(name, **style) for name, style in _MATERIAL["styles"].items()}
