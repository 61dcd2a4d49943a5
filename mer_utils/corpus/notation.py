"""The built-in music on the page: notes, parts, scores, and what can be counted in them.

Conventions: pitches are MIDI numbers (60 is middle C); a score's frame is counted in beats, the
notes of its parts in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mer_utils.corpus.styles import SCALES, Style

Random = np.random.Generator
TAIL = 1.8  # seconds that the last chord rings on


class Note(NamedTuple):
    """One note: start and duration (beats while composing, seconds in a Part), pitch, velocity."""

    start: float
    duration: float
    pitch: int
    velocity: float


class Chord(NamedTuple):
    """A chord: its span in beats and its pitch classes, root first."""

    start: float
    duration: float
    pitch_classes: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """One instrument's notes.

    role: "melody", "chords", "pad", "bass", "unrest" or "drums".
    program: General MIDI number of the instrument or drum kit, from 0.
    level: loudness in the mix relative to the melody, dB.
    detune: a second, detuned copy plays along, this many cents higher (0: none).
    """

    role: str
    program: int
    level: float
    detune: float
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Score:
    """A piece: the frame that all parts share, and, once they are composed, the parts.

    tempo: beats a minute; metre: beats a bar; tonic: pitch class; scale: of styles.SCALES.
    """

    cues: Mapping[str, float]
    style: Style
    tempo: float
    metre: int
    bars: int
    tonic: int
    scale: str
    chords: tuple[Chord, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def beats(self) -> int:
        """Length without the tail."""
        return self.bars * self.metre

    @property
    def seconds(self) -> float:
        """Length with the tail of the last chord: 20 to 30."""
        return self.beats * 60 / self.tempo + TAIL


def facts(score: Score) -> dict[str, object]:
    """What can be read off a score (JSON-able), for tables and tests.

    Among them: mode ("major" if the third of the scale is), notes_a_second of all pitched parts,
    pitch (mean weighted by duration, without the bass), detachment (1 - median of sounding over
    available time in the melody), and each cue as "cue_…".
    """
    notes = {part.role: part.notes for part in score.parts if part.role != "drums"}
    upper = [own for role, own in notes.items() if role in ("melody", "chords", "pad")]
    _, durations, pitches, _ = np.array(sum(upper, ())).T
    names = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
    return {
        "seconds": round(score.seconds, 3),
        "tempo": round(score.tempo, 2),
        "metre": score.metre,
        "key": f"{names[score.tonic]} {score.scale}",
        "mode": "major" if SCALES[score.scale][2][2] == 4 else "minor",
        "notes_a_second": round(sum(map(len, notes.values())) / score.seconds, 3),
        "pitch": round(float(pitches @ durations / durations.sum()), 2),
        "dissonance": round(dissonance(score), 4),
        "detachment": round(_detachment(notes["melody"]), 3),
        **{f"cue_{name}": round(value, 4) for name, value in score.cues.items()},
    }


def dissonance(score: Score) -> float:
    """Share of dissonant intervals among simultaneous notes, 0 to 1.

    Counts pairs of different pitches that sound together, four times a second, in all pitched
    parts; minor seconds, major sevenths and tritones (modulo octave) are dissonant.
    """
    notes = [note for part in score.parts if part.role != "drums" for note in part.notes]
    start, duration, pitch, _ = np.array(notes).T  # (notes,) each
    time = np.arange(0, score.seconds, 0.25)[:, None]
    sounding = (start <= time) & (time < start + duration)  # (times, notes)
    roll = sounding @ np.eye(128, dtype=bool)[pitch.astype(int)]  # (times, pitches)
    interval = np.arange(1, 128)
    pairs = np.array([np.sum(roll[:, k:] & roll[:, :-k]) for k in interval])
    return float(pairs[np.isin(interval % 12, (1, 6, 11))].sum() / max(pairs.sum(), 1))


def _detachment(melody: tuple[Note, ...]) -> float:
    if len(melody) < 2:
        return 0.0
    starts, durations, *_ = np.array(melody).T  # (notes,) each
    return float(1 - np.median(np.clip(durations[:-1] / np.maximum(np.diff(starts), 0.02), 0, 1)))
