"""A small composer: from a point (valence, arousal, tension) to the notes of a piece.

The point moves ten musical cues by the weights in CUE_WEIGHTS; key, melody, chord progression,
form, metre and, within the style's palette, the instruments are drawn at random. The cues and the
signs of their weights follow Gabrielsson & Lindström, "The role of structure in the musical
expression of emotions" (Handbook of Music and Emotion, 2010), and Eerola, Friberg & Bresin,
"Emotional expression in music: contribution, linearity, and additivity of primary musical cues"
(Frontiers in Psychology 4:487, 2013), who find that cues act linearly and additively. The sizes
of the weights are ours.

Conventions: valence, arousal and tension lie in [-1, 1], a cue in [-1.2, 1.2]. Pitches are MIDI
numbers; while composing, time is counted in beats. Figures are written as strings on a grid of
sixteenths, four to a beat; a string longer than a bar is cut to the bar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mer_utils.corpus.notation import Chord, Note, Part, Random, Score
from mer_utils.corpus.styles import FIGURES, PROGRESSIONS, SCALES, Style

# Weights of (valence, arousal, tension); the synthesizer does loudness and most of brightness.
CUE_WEIGHTS = {
    "tempo": (0.15, 0.80, 0.05),  # slow to fast
    "mode": (1.00, 0.00, -0.25),  # minor to major
    "loudness": (0.00, 0.75, 0.20),  # soft to loud
    "register": (0.80, 0.15, -0.15),  # low to high
    "detachment": (0.25, 0.70, 0.05),  # legato to staccato
    "density": (0.05, 0.80, 0.10),  # few notes to many, no drums to driving drums
    "brightness": (0.10, 0.65, 0.20),  # dull to bright
    "attack": (0.85, 0.10, -0.15),  # held instruments to struck and plucked ones
    "dissonance": (-0.30, 0.00, 0.90),  # plain triads to clashing chords, detuned copies
    "irregularity": (-0.10, 0.15, 0.80),  # square to syncopated; leaps, pedal notes, crescendo
}
CUE_NOISE = 0.28  # standard deviation of what is no emotion in a cue
CUE_LIMIT = 1.2


@dataclass(frozen=True)
class Point:
    """Where a piece stands: valence, arousal and tension, each in [-1, 1]."""

    valence: float
    arousal: float
    tension: float


@dataclass(frozen=True)
class Artist:
    """What the pieces of one group share.

    palette: as in Style, at most two programs a key (three drum kits).
    expression: how strongly the cues are used, about 0.8 to 1.2. tempo_habit: added to that cue.
    """

    palette: Mapping[str, tuple[int, ...]]
    expression: float
    tempo_habit: float


def draw_artist(style: Style, random: Random) -> Artist:
    """Draw an artist of a style."""
    palette = {}
    for role, programs in style.palette.items():
        count = min(3 if role == "kit" else 2, len(programs))
        chosen = random.choice(len(programs), size=count, replace=False)
        palette[role] = tuple(programs[i] for i in sorted(chosen))
    return Artist(palette, float(random.uniform(0.8, 1.2)), float(random.normal(0, 0.1)))


def compose(point: Point, style: Style, artist: Artist, random: Random) -> Score:
    """Compose a piece of 20 to 30 seconds; the artist was drawn from the same style."""
    frame = _frame(_draw_cues(point, artist, random), style, random)
    cues = frame.cues
    tense = cues["dissonance"] + cues["irregularity"]
    drafts = {  # level against the melody in dB, notes
        "melody": (0.0, _melody(frame, random)),
        "chords": (-5.0, _chords(frame, random)),
        "bass": (-4.0, _bass(frame, random)),
        "pad": (-8.0, _pad(frame) if random.random() < 0.6 - 0.35 * cues["attack"] else []),
        "unrest": (-18.0 + 4.5 * tense, _unrest(frame, random) if tense >= 0.4 else []),
        "drums": (-6.0 + 3.0 * cues["loudness"], _drums(frame, random)),
    }
    parts = []
    for role, (level, notes) in drafts.items():
        if notes:
            program = _instrument(role, frame, artist, random)
            # a second copy out of tune: beats make tense music rough
            out_of_tune = max(0.0, 12 * cues["dissonance"] - 2)
            detune = out_of_tune if role in ("melody", "pad") else 0.0
            parts.append(Part(role, program, level, detune, _perform(role, notes, frame, random)))
    return replace(frame, parts=tuple(parts))


def _draw_cues(point: Point, artist: Artist, random: Random) -> dict[str, float]:
    """The ten cues of a piece: weighted sums of the point plus noise."""
    place = np.array([point.valence, point.arousal, point.tension])
    cues = {}
    for cue, weights in CUE_WEIGHTS.items():
        value = artist.expression * float(place @ weights) + random.normal(0, CUE_NOISE)
        if cue == "tempo":
            value += artist.tempo_habit
        cues[cue] = float(np.clip(value, -CUE_LIMIT, CUE_LIMIT))
    return cues


def _frame(cues: Mapping[str, float], style: Style, random: Random) -> Score:
    """What all parts of a piece share."""
    slow, fast = style.tempo
    tempo = slow * (fast / slow) ** ((cues["tempo"] + 1) / 2)
    metre = int(random.choice(list(style.metres), p=list(style.metres.values())))
    bar_seconds = metre * 60 / tempo
    bars = _bar_count(bar_seconds, random)
    tonic = int(random.integers(12))
    frame = Score(cues, style, tempo, metre, bars, tonic, _draw_scale(cues["mode"], random))
    halves = 2 if metre == 4 and bar_seconds > 2.6 else 1  # chords a bar
    length, last = metre / halves, bars * halves - 1
    chords = tuple(
        Chord(i * length, length, _chord(degree, i in (0, last), frame, random))
        for i, degree in enumerate(_progression(bars * halves, frame, random))
    )
    return replace(frame, chords=chords)


def _bar_count(bar_seconds: float, random: Random) -> int:
    """Bars for 19 to 28 seconds: a multiple of four if one fits, else even, else any."""
    possible = np.arange(np.ceil(19 / bar_seconds), np.floor(28 / bar_seconds) + 1)
    fitting = (possible[possible % size == 0] for size in (4, 2, 1))
    return int(random.choice(next(bars for bars in fitting if len(bars))))


def _draw_scale(mode: float, random: Random) -> str:
    place, common = np.array([scale[:2] for scale in SCALES.values()]).T  # (scales,) each
    weight = common * np.exp(-0.5 * ((place - mode) / 0.3) ** 2)
    return str(random.choice(list(SCALES), p=weight / weight.sum()))


def _progression(count: int, frame: Score, random: Random) -> list[int]:
    """Degrees of so many chords: phrases of four, A A B A, at the end mostly the tonic."""
    progressions = PROGRESSIONS["major" if SCALES[frame.scale][2][2] == 4 else "minor"]
    first, second = random.choice(len(progressions), size=2, replace=False)
    order = (first, first, second, first)
    degrees = [progressions[order[i // 4 % 4]][i % 4] for i in range(count)]
    if random.random() > 0.5 + 0.5 * frame.cues["irregularity"]:
        degrees[-1] = 0
    return degrees


def _chord(degree: int, at_rest: bool, frame: Score, random: Random) -> tuple[int, ...]:
    """Pitch classes on a degree: a triad, sometimes with a seventh, or dissonant by its cue."""
    steps = SCALES[frame.scale][2]
    root, third, fifth, seventh = (
        (frame.tonic + steps[(degree + above) % 7]) % 12 for above in (0, 2, 4, 6)
    )
    if degree == 4 and steps[2] == 3:  # the fifth degree of a minor scale is made a major chord
        third = (root + 4) % 12
    clash = float(np.clip(0.35 + 0.65 * frame.cues["dissonance"], 0.0, 0.95))
    if random.random() < clash * (0.6 if at_rest else 1.0):
        clashes = (
            (root, (root + 3) % 12, (root + 6) % 12, (root + 9) % 12),  # diminished
            (root, third, fifth, (root + 1) % 12),  # flat ninth
            (root, third, (root + 6) % 12, fifth),  # tritone over the root
            (root, third, fifth, (fifth + 1) % 12),  # cluster
        )
        return clashes[random.choice(4)]
    if random.random() < frame.style.extensions:
        return root, third, fifth, seventh
    return root, third, fifth


def _melody(frame: Score, random: Random) -> list[Note]:
    """Phrases of four bars made from two motifs (a a b c); a phrase ends on a long chord tone."""
    motifs = [_motif(frame, random) for _ in range(2)]
    order = ((0, 0, 1), (0, 1, 0), (0, 1, 1))[random.integers(3)]
    centre = int(70 + 10 * frame.cues["register"])
    span, steps = range(centre - 8, centre + 10), SCALES[frame.scale][2]  # an octave and a half
    ladder = [pitch for pitch in span if (pitch - frame.tonic) % 12 in steps]
    place, top = len(ladder) // 2, len(ladder) - 1
    silent_bars = int(random.integers(3)) if frame.bars >= 8 else 0
    notes: list[Note] = []
    for bar in range(silent_bars, frame.bars):
        contrast = (bar // 4) % 4 == 2  # the B of A A B A turns the motifs round
        ends = bar % 4 == 3 or bar == frame.bars - 1
        rhythm, moves = motifs[(0 if ends else order[bar % 4]) ^ contrast]
        if ends:
            early = max(1, sum(onset < frame.metre / 2 for onset in rhythm))
            rhythm, moves = rhythm[:early], moves[:early]
        arch = 1 if bar % 4 < 2 else -1
        for i, (onset, move) in enumerate(zip(rhythm, moves, strict=True)):
            place = top - abs(top - abs(place + move + (arch if i == 0 else 0)))  # within 0 … top
            beat = bar * frame.metre + onset
            last = i == len(rhythm) - 1
            pitch = ladder[place]
            if onset % 1 == 0 or last:
                pitch = _on_chord(pitch, frame, beat, random)
            until = frame.metre if last else rhythm[i + 1]
            if ends and last and bar < frame.bars - 1:  # a breath
                until = max(until - 0.5, onset + 0.5)
            notes.append(Note(beat, until - onset, pitch, 1.0))
    return notes


def _on_chord(pitch: int, frame: Score, beat: float, random: Random) -> int:
    """The nearest note of the chord, or, if it is dissonant music, sometimes just beside it."""
    classes = next(c.pitch_classes for c in reversed(frame.chords) if c.start <= beat + 1e-6)
    nearby = [near for near in range(pitch - 6, pitch + 7) if near % 12 in classes]
    nearest = min(nearby, key=lambda near: abs(near - pitch))
    if random.random() < 0.4 * max(frame.cues["dissonance"], 0):
        nearest += int(random.choice([-1, 1]))
    return nearest


def _motif(frame: Score, random: Random) -> tuple[list[float], list[int]]:
    """A bar's rhythm (onsets in beats) and its moves (scale steps from note to note)."""
    density, irregularity = frame.cues["density"], max(frame.cues["irregularity"], 0)
    slots = frame.metre * 4
    wanted = int(np.clip(round(3.2 * 2.1**density + random.normal(0, 0.6)), 1, 10))
    weight = np.full(slots, 0.12 + 0.25 * irregularity + 0.1 * max(density, 0))
    weight[::2] += 0.5
    weight[::4] += 1.0
    weight[0] += 1.5
    chosen = random.choice(slots, size=wanted, replace=False, p=weight / weight.sum())
    leaps = random.random(wanted) < 0.12 + 0.15 * irregularity
    near = random.choice([-2, -1, -1, 0, 1, 1, 2], size=wanted)
    far = random.choice([-4, -3, 3, 4], size=wanted)
    return [slot / 4 for slot in sorted(chosen.tolist())], np.where(leaps, far, near).tolist()


def _voicings(frame: Score, centre: float) -> list[tuple[int, ...]]:
    """Close voicings, one a chord: the inversion that moves least and stays near the centre."""
    voicings: list[tuple[int, ...]] = []
    for chord in frame.chords:
        classes = set(chord.pitch_classes)
        lowest = [p for p in range(int(centre) - 12, int(centre) + 3) if p % 12 in classes]
        candidates = [tuple(sorted(low + (c - low) % 12 for c in classes)) for low in lowest]
        before = voicings[-1] if voicings else None
        voicings.append(min(candidates, key=lambda c: _voicing_cost(c, before, centre)))
    return voicings


def _voicing_cost(voicing: tuple[int, ...], before: tuple[int, ...] | None, centre: float) -> float:
    cost = 0.5 * abs(sum(voicing) / len(voicing) - centre)
    if before is not None:
        cost += sum(min(abs(pitch - other) for other in before) for pitch in voicing)
        cost += abs(voicing[-1] - before[-1])
    return cost


def _chords(frame: Score, random: Random) -> list[Note]:
    """The accompaniment: one figure for the whole piece, its busyness by the density cue."""
    figure = _pick(FIGURES["chords"], frame.cues["density"], random)
    notes = []
    voicings = _voicings(frame, 60 + 8 * frame.cues["register"])
    for chord, voicing in zip(frame.chords, voicings, strict=True):
        for beat, duration, sign in _events(figure, "c", chord, frame):
            if sign == "c":
                notes.extend(Note(beat, duration, pitch, 0.85) for pitch in voicing)
                continue
            if frame.cues["detachment"] < 0:  # broken chords ring on
                duration = chord.start + chord.duration - beat
            notes.append(Note(beat, duration, voicing[int(sign) % len(voicing)], 0.85))
    return notes


def _pad(frame: Score) -> list[Note]:
    """Held chords."""
    voicings = zip(frame.chords, _voicings(frame, 62 + 8 * frame.cues["register"]), strict=True)
    return [Note(c.start, c.duration, pitch, 0.8) for c, voicing in voicings for pitch in voicing]


def _bass(frame: Score, random: Random) -> list[Note]:
    """Roots, fifths and octaves; a tense piece may stay on one pedal note."""
    figure = _pick(FIGURES["bass"], frame.cues["density"], random)
    pedal = random.random() < 0.5 * frame.cues["irregularity"]
    lowest = 34 + round(5 * frame.cues["register"])
    notes = []
    for chord in frame.chords:
        root = frame.tonic if pedal else chord.pitch_classes[0]
        pitch = lowest + (root - lowest) % 12
        interval = {"0": 0, "5": (chord.pitch_classes[2] - root) % 12, "8": 12}
        for beat, duration, sign in _events(figure, "0", chord, frame):
            notes.append(Note(beat, duration, pitch + interval[sign], 0.95))
    return notes


def _unrest(frame: Score, random: Random) -> list[Note]:
    """A low tonic held together with a second, tritone or ninth above it."""
    interval = int(random.choice([1, 6, 13]))
    pitch = 45 + (frame.tonic - 45) % 12
    span = frame.metre * 2
    return [
        Note(float(beat), min(span, frame.beats - beat), pitch + shift, 0.9)
        for beat in range(0, frame.beats, span)
        for shift in (0, interval)
    ]


def _drums(frame: Score, random: Random) -> list[Note]:
    """A figure of the style by how driving it is, a fill at the end of phrases, a last stroke."""
    figures = frame.style.drums
    drive = 0.5 * (frame.cues["density"] + frame.cues["loudness"]) + random.normal(0, 0.15)
    force = int(np.clip(round((drive + 1) / 2 * (len(figures) - 1)), 0, len(figures) - 1))
    strength = {"X": 1.0, "x": 0.8, "o": 0.5}
    notes = []
    for bar in range(frame.bars - 1):
        fill = (bar % 4 == 3 or bar == frame.bars - 2) and force >= 3
        last_beat = (frame.metre - 1) * 4
        for key, signs in figures[force].items():
            for slot, sign in enumerate(signs[: last_beat if fill else last_beat + 4]):
                if sign != ".":
                    notes.append(Note(bar * frame.metre + slot / 4, 0.25, key, strength[sign]))
        for i, key in enumerate(random.choice(frame.style.fill, size=4) if fill else ()):
            beat = bar * frame.metre + (last_beat + i) / 4
            notes.append(Note(beat, 0.25, int(key), 0.85))
    if force >= 3:  # kick drum and crash cymbal
        notes.extend(Note(frame.beats - frame.metre, 1.0, key, 1.0) for key in (36, 49))
    return sorted(notes)


def _pick(ordered: Sequence, cue: float, random: Random, deviation: float = 1.2) -> Any:
    """One of those that are ordered by a cue, near the place that the cue says."""
    place = (cue + 1) / 2 * (len(ordered) - 1) + random.normal(0, deviation)
    return ordered[int(np.clip(round(place), 0, len(ordered) - 1))]


def _events(figure: str, held: str, chord: Chord, frame: Score) -> list[tuple[float, float, str]]:
    """What a bar-long figure does in a chord's span: (start, duration to the next, sign).

    held: the only sign in the last bar.
    """
    if chord.start >= frame.beats - frame.metre:
        return [(chord.start, chord.duration, held)]
    offset = round((chord.start % frame.metre) * 4)
    signs = figure[: frame.metre * 4][offset : offset + round(chord.duration * 4)]
    slots = [slot for slot, sign in enumerate(signs) if sign != "."]
    if not slots:
        return [(chord.start, chord.duration, figure[0])]
    spans = pairwise([*slots, chord.duration * 4])
    return [(chord.start + slot / 4, (end - slot) / 4, signs[slot]) for slot, end in spans]


def _instrument(role: str, frame: Score, artist: Artist, random: Random) -> int:
    """A program from the artist's palette by the attack and brightness cues, a kit by loudness."""
    key = "kit" if role == "drums" else role
    if role in ("melody", "chords", "bass"):
        struck = random.random() < 1 / (1 + np.exp(-4 * frame.cues["attack"]))
        key = f"{role} {'struck' if struck else 'held'}"
    cue = frame.cues["loudness" if role == "drums" else "brightness"]
    return _pick(artist.palette[key], cue, random, deviation=0.3)


def _perform(role: str, notes: Sequence[Note], frame: Score, random: Random) -> tuple[Note, ...]:
    """Beats to seconds, with articulation, accents, phrasing and human timing."""
    beat_seconds = 60 / frame.tempo
    swing = frame.style.swing
    # Share of the time to the next note that a note sounds: 1 is legato.
    gate = float(np.clip(0.72 - 0.38 * frame.cues["detachment"], 0.3, 1.0))
    if role in ("drums", "pad", "unrest"):
        gate = 1.0
    played = []
    for note in notes:
        late = {0.25: swing / 2, 0.5: swing, 0.75: swing / 2}.get(note.start % 1, 0.0)
        start = (note.start + late) * beat_seconds + random.normal(0, frame.style.timing)
        start = min(max(start, 0.0), frame.seconds - 0.1)
        duration = max(note.duration * beat_seconds * gate, 0.06)
        if role != "drums" and note.start + note.duration > frame.beats - 0.01:
            duration = frame.seconds  # the last notes ring through the tail
        phrase = 0.1 * np.sin(np.pi * (note.start / frame.metre % 4) / 4)  # swells over four bars
        accent = 0.08 if note.start % frame.metre == 0 else 0.0
        # A crescendo through the piece when it is tense.
        growth = 0.25 * frame.cues["irregularity"] * (note.start / frame.beats - 0.5)
        force = note.velocity + phrase + accent + growth + random.normal(0, 0.04)
        velocity = int(np.clip(round(92 * force), 20, 127))
        played.append(Note(start, min(duration, frame.seconds - start), note.pitch, velocity))
    return tuple(sorted(played))
