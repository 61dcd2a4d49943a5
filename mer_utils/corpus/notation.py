"""The built-in music on the page: notes, parts, scores, and what can be counted in them.

Conventions: times and durations in seconds, pitches are MIDI numbers, levels dB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mer_utils.corpus.styles import SCALES

Random = np.random.Generator
TAIL = 1.8  # seconds that the last chord rings on


class Note(NamedTuple):
    """One note: start and duration (beats while composing, seconds in a Score), pitch, velocity."""

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
    """A finished piece: parts in seconds, and what was decided on the way."""

    parts: tuple[Part, ...]
    seconds: float
    tempo: float
    metre: int
    tonic: int
    scale: str
    cues: Mapping[str, float]


def facts(score: Score) -> dict[str, object]:
    """What can be read off a score (JSON-able), for tables and tests.

    Returns seconds, tempo (beats a minute), metre (beats a bar), key ("A minor" …), mode ("major"
    if the third of the scale is major, else "minor"), notes_a_second (all pitched parts), pitch
    (mean MIDI number of the pitched parts but the bass, weighted by duration), dissonance (see
    `dissonance`), detachment (1 - median of sounding over available time in the melody), and each
    cue as "cue_…".
    """
    pitched = [part for part in score.parts if part.role != "drums"]
    upper = [part.notes for part in pitched if part.role in ("melody", "chords", "pad")]
    _, durations, pitches, _ = np.array(sum(upper, ())).T
    names = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
    return {
        "seconds": round(score.seconds, 3),
        "tempo": round(score.tempo, 2),
        "metre": score.metre,
        "key": f"{names[score.tonic]} {score.scale}",
        "mode": "major" if SCALES[score.scale][2][2] == 4 else "minor",
        "notes_a_second": round(sum(len(part.notes) for part in pitched) / score.seconds, 3),
        "pitch": round(float(pitches @ durations / durations.sum()), 2),
        "dissonance": round(dissonance(score), 4),
        "detachment": round(_detachment(score), 3),
        **{f"cue_{name}": round(value, 4) for name, value in score.cues.items()},
    }


def dissonance(score: Score, step: float = 0.25) -> float:
    """Share of dissonant intervals among simultaneous notes, 0 to 1.

    Counts pairs of different pitches that sound together, every `step` seconds, in all pitched
    parts; minor seconds, major sevenths and tritones (modulo octave) are dissonant.
    """
    notes = [note for part in score.parts if part.role != "drums" for note in part.notes]
    start, duration, pitch, _ = np.array(notes).T  # (notes,) each
    rough = total = 0
    for time in np.arange(0, score.seconds, step):
        sounding = np.unique(pitch[(start <= time) & (time < start + duration)])
        intervals = np.abs(sounding[:, None] - sounding[None, :])  # (notes, notes)
        intervals = intervals[np.triu_indices(len(sounding), 1)] % 12  # (pairs,)
        rough += int(np.isin(intervals, (1, 6, 11)).sum())
        total += len(intervals)
    return rough / max(total, 1)


def _detachment(score: Score) -> float:
    melody = next(part.notes for part in score.parts if part.role == "melody")
    if len(melody) < 2:
        return 0.0
    starts, durations, *_ = np.array(melody).T  # (notes,) each
    return float(1 - np.median(np.clip(durations[:-1] / np.maximum(np.diff(starts), 0.02), 0, 1)))
