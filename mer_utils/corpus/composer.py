"""A small composer: from a point (valence, arousal, tension) to the notes of a piece.

What the emotion decides and what it does not: the point moves ten musical cues by the weights in
CUE_WEIGHTS; key, melody, chord progression, form, metre and, within the style's palette, the
instruments are drawn at random. The cues and the signs of their weights follow Gabrielsson &
Lindström, "The role of structure in the musical expression of emotions" (Handbook of Music and
Emotion, 2010), and Eerola, Friberg & Bresin, "Emotional expression in music: contribution,
linearity, and additivity of primary musical cues" (Frontiers in Psychology 4:487, 2013), who find
that cues act linearly and additively; hence a weighted sum. The sizes of the weights are ours.

The cues, from low to high:
    tempo         slow to fast
    mode          minor to major
    loudness      soft to loud (done by whoever renders the score)
    register      low to high
    detachment    legato to staccato
    density       few notes to many, no drums to driving drums
    brightness    dull to bright (instruments here; filtering is done by whoever renders)
    attack        held instruments with a round envelope to struck and plucked ones with a sharp one
    dissonance    plain triads to clashing chords, chromatic melody, detuned copies
    irregularity  square to syncopated; leaps, pedal notes, crescendo, an ending off the tonic

Conventions: valence, arousal and tension lie in [-1, 1], a cue in [-1.2, 1.2]. While composing,
time is counted in beats; in a finished Score it is in seconds. Pitches are MIDI numbers (60 is
middle C), programs are General MIDI numbers from 0. Figures are written as strings on a grid of
sixteenths, four to a beat; a string longer than a bar is cut to the bar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mer_utils.corpus.notation import TAIL, Chord, Note, Part, Random, Score
from mer_utils.corpus.styles import FIGURES, PROGRESSIONS, SCALES, Style

CUE_WEIGHTS: dict[str, tuple[float, float, float]] = {
    # cue: weights of (valence, arousal, tension)
    "tempo": (0.15, 0.80, 0.05),
    "mode": (1.00, 0.00, -0.25),
    "loudness": (0.00, 0.75, 0.20),
    "register": (0.80, 0.15, -0.15),
    "detachment": (0.25, 0.70, 0.05),
    "density": (0.05, 0.80, 0.10),
    "brightness": (0.10, 0.65, 0.20),
    "attack": (0.85, 0.10, -0.15),
    "dissonance": (-0.30, 0.00, 0.90),
    "irregularity": (-0.10, 0.15, 0.80),
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
    """What the pieces of one group share: a few instruments a role, habits of expression.

    palette: as in Style, at most two programs a key (three drum kits).
    expression: how strongly the cues are used, about 0.8 to 1.2.
    tempo_habit: added to the tempo cue.
    """

    palette: Mapping[str, tuple[int, ...]]
    expression: float
    tempo_habit: float


@dataclass(frozen=True)
class _Plan:
    """The frame that all parts of a piece share, in beats."""

    cues: Mapping[str, float]
    style: Style
    tempo: float
    metre: int
    bars: int
    tonic: int
    scale: str
    chords: tuple[Chord, ...]

    @property
    def beats(self) -> int:
        return self.bars * self.metre

    @property
    def seconds(self) -> float:
        """Length with the tail of the last chord: 20 to 30."""
        return self.beats * 60 / self.tempo + TAIL

    def is_last_bar(self, beat: float) -> bool:
        return beat >= self.beats - self.metre


def draw_artist(style: Style, random: Random) -> Artist:
    """Draw what a group of pieces shares: a few programs a role, habits of expression."""
    palette = {}
    for role, programs in style.palette.items():
        count = min(3 if role == "kit" else 2, len(programs))
        chosen = random.choice(len(programs), size=count, replace=False)
        palette[role] = tuple(programs[i] for i in sorted(chosen))
    return Artist(palette, float(random.uniform(0.8, 1.2)), float(random.normal(0, 0.1)))


def draw_cues(point: Point, artist: Artist, random: Random) -> dict[str, float]:
    """The ten cues of a piece: weighted sums of the point plus noise, each in [-1.2, 1.2]."""
    place = np.array([point.valence, point.arousal, point.tension])
    cues = {}
    for cue, weights in CUE_WEIGHTS.items():
        value = artist.expression * float(place @ weights) + random.normal(0, CUE_NOISE)
        if cue == "tempo":
            value += artist.tempo_habit
        cues[cue] = float(np.clip(value, -CUE_LIMIT, CUE_LIMIT))
    return cues


def compose(point: Point, style: Style, artist: Artist, random: Random) -> Score:
    """Compose a piece of 20 to 30 seconds; the artist was drawn from the same style."""
    plan = _plan(draw_cues(point, artist, random), style, random)
    drafts = {
        "melody": _melody(plan, random),
        "chords": _chords(plan, random),
        "bass": _bass(plan, random),
        "pad": _pad(plan) if random.random() < 0.6 - 0.35 * plan.cues["attack"] else [],
        "unrest": _unrest(plan, random),
        "drums": _drums(plan, random),
    }
    cues = plan.cues
    levels = {  # dB against the melody
        "melody": 0.0,
        "chords": -5.0,
        "bass": -4.0,
        "pad": -8.0,
        "unrest": -18.0 + 4.5 * (cues["dissonance"] + cues["irregularity"]),
        "drums": -6.0 + 3.0 * cues["loudness"],
    }
    parts = tuple(
        Part(
            role=role,
            program=_instrument(role, plan, artist, random),
            level=levels[role],
            # a second copy out of tune: beats make tense music rough
            detune=max(0.0, 12 * cues["dissonance"] - 2) if role in ("melody", "pad") else 0.0,
            notes=_perform(role, notes, plan, random),
        )
        for role, notes in drafts.items()
        if notes
    )
    return Score(parts, plan.seconds, plan.tempo, plan.metre, plan.tonic, plan.scale, cues)


def _plan(cues: Mapping[str, float], style: Style, random: Random) -> _Plan:
    slow, fast = style.tempo
    tempo = slow * (fast / slow) ** ((cues["tempo"] + 1) / 2)
    metre = int(random.choice(list(style.metres), p=list(style.metres.values())))
    bars = _bar_count(metre * 60 / tempo, random)
    tonic = int(random.integers(12))
    scale = _draw_scale(cues["mode"], random)
    halves = 2 if metre == 4 and metre * 60 / tempo > 2.6 else 1  # chords a bar
    degrees = _progression(bars * halves, SCALES[scale][2], cues["irregularity"], random)
    chords = [
        _chord(degree, i in (0, len(degrees) - 1), tonic, scale, cues, style, random)
        for i, degree in enumerate(degrees)
    ]
    length = metre / halves
    spans = tuple(Chord(i * length, length, classes) for i, classes in enumerate(chords))
    return _Plan(cues, style, tempo, metre, bars, tonic, scale, spans)


def _bar_count(bar_seconds: float, random: Random) -> int:
    """Bars for 19 to 28 seconds: a multiple of four if one fits, else even, else any."""
    possible = np.arange(np.ceil(19 / bar_seconds), np.floor(28 / bar_seconds) + 1)
    fitting = (possible[possible % size == 0] for size in (4, 2, 1))
    return int(random.choice(next(bars for bars in fitting if len(bars))))


def _draw_scale(mode: float, random: Random) -> str:
    place, common = np.array([scale[:2] for scale in SCALES.values()]).T  # (scales,) each
    weight = common * np.exp(-0.5 * ((place - mode) / 0.3) ** 2)
    return str(random.choice(list(SCALES), p=weight / weight.sum()))


def _progression(count: int, steps: Sequence[int], irregular: float, random: Random) -> list[int]:
    """Degrees of so many chords: phrases of four, A A B A, at the end mostly the tonic."""
    progressions = PROGRESSIONS["major" if steps[2] == 4 else "minor"]
    first, second = random.choice(len(progressions), size=2, replace=False)
    order = (first, first, second, first)
    degrees = [progressions[order[i // 4 % 4]][i % 4] for i in range(count)]
    if random.random() > 0.5 + 0.5 * irregular:
        degrees[-1] = 0
    return degrees


def _chord(
    degree: int,
    at_rest: bool,
    tonic: int,
    scale: str,
    cues: Mapping[str, float],
    style: Style,
    random: Random,
) -> tuple[int, ...]:
    """Pitch classes on a degree: a triad, sometimes with a seventh, or dissonant by its cue."""
    steps = SCALES[scale][2]
    classes = [(tonic + steps[(degree + third) % 7]) % 12 for third in (0, 2, 4)]
    if degree == 4 and steps[2] == 3:  # the fifth degree of a minor scale is made a major chord
        classes[1] = (classes[0] + 4) % 12
    clash = float(np.clip(0.35 + 0.65 * cues["dissonance"], 0.0, 0.95))
    if random.random() < clash * (0.6 if at_rest else 1.0):
        return _clash(classes, random)
    if random.random() < style.extensions:
        return (*classes, (tonic + steps[(degree + 6) % 7]) % 12)
    return tuple(classes)


def _clash(classes: Sequence[int], random: Random) -> tuple[int, ...]:
    """Make a triad dissonant: diminished, flat ninth, tritone over the root, or a cluster."""
    root, third, fifth = classes
    kinds = (
        (root, (root + 3) % 12, (root + 6) % 12, (root + 9) % 12),
        (root, third, fifth, (root + 1) % 12),
        (root, third, (root + 6) % 12, fifth),
        (root, third, fifth, (fifth + 1) % 12),
    )
    return kinds[random.choice(4)]


def _melody(plan: _Plan, random: Random) -> list[Note]:
    """Phrases of four bars made from two motifs (a a b c); a phrase ends on a long chord tone."""
    motifs = [_motif(plan, random) for _ in range(2)]
    order = ((0, 0, 1), (0, 1, 0), (0, 1, 1))[random.integers(3)]
    ladder = _ladder(plan)
    place, top = len(ladder) // 2, len(ladder) - 1
    silent_bars = int(random.integers(3)) if plan.bars >= 8 else 0
    notes: list[Note] = []
    for bar in range(silent_bars, plan.bars):
        contrast = (bar // 4) % 4 == 2  # the B of A A B A turns the motifs round
        ends = bar % 4 == 3 or bar == plan.bars - 1
        rhythm, moves = motifs[(0 if ends else order[bar % 4]) ^ contrast]
        if ends:
            early = max(1, sum(onset < plan.metre / 2 for onset in rhythm))
            rhythm, moves = rhythm[:early], moves[:early]
        arch = 1 if bar % 4 < 2 else -1
        for i, (onset, move) in enumerate(zip(rhythm, moves, strict=True)):
            place = top - abs(top - abs(place + move + (arch if i == 0 else 0)))  # within 0 … top
            beat = bar * plan.metre + onset
            last = i == len(rhythm) - 1
            pitch = ladder[place]
            if onset % 1 == 0 or last:
                pitch = _on_chord(pitch, plan, beat, random)
            until = plan.metre if last else rhythm[i + 1]
            if ends and last and bar < plan.bars - 1:  # a breath
                until = max(until - 0.5, onset + 0.5)
            notes.append(Note(beat, until - onset, pitch, 1.0))
    return notes


def _ladder(plan: _Plan) -> list[int]:
    """The notes of the scale within the melody's range, an octave and a half."""
    centre = int(70 + 10 * plan.cues["register"])
    steps = SCALES[plan.scale][2]
    return [pitch for pitch in range(centre - 8, centre + 10) if (pitch - plan.tonic) % 12 in steps]


def _on_chord(pitch: int, plan: _Plan, beat: float, random: Random) -> int:
    """The nearest note of the chord, or, if it is dissonant music, sometimes just beside it."""
    chord = next(chord for chord in reversed(plan.chords) if chord.start <= beat + 1e-6)
    classes = chord.pitch_classes
    nearby = [pitch + shift for shift in range(-6, 7) if (pitch + shift) % 12 in classes]
    nearest = min(nearby, key=lambda candidate: abs(candidate - pitch))
    if random.random() < 0.4 * max(plan.cues["dissonance"], 0):
        nearest += int(random.choice([-1, 1]))
    return nearest


def _motif(plan: _Plan, random: Random) -> tuple[list[float], list[int]]:
    """A bar's rhythm (onsets in beats) and its moves (scale steps from note to note)."""
    density, irregularity = plan.cues["density"], max(plan.cues["irregularity"], 0)
    slots = plan.metre * 4
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


def _voicings(plan: _Plan, centre: float) -> list[tuple[int, ...]]:
    """Close voicings, one a chord: the inversion that moves least and stays near the centre."""
    voicings: list[tuple[int, ...]] = []
    for chord in plan.chords:
        classes = set(chord.pitch_classes)
        candidates = [
            tuple(sorted(lowest + (pitch_class - lowest) % 12 for pitch_class in classes))
            for lowest in range(int(centre) - 12, int(centre) + 3)
            if lowest % 12 in classes
        ]
        before = voicings[-1] if voicings else None
        voicings.append(min(candidates, key=lambda c: _voicing_cost(c, before, centre)))
    return voicings


def _voicing_cost(voicing: tuple[int, ...], before: tuple[int, ...] | None, centre: float) -> float:
    cost = 0.5 * abs(sum(voicing) / len(voicing) - centre)
    if before is not None:
        cost += sum(min(abs(pitch - other) for other in before) for pitch in voicing)
        cost += abs(voicing[-1] - before[-1])
    return cost


def _chords(plan: _Plan, random: Random) -> list[Note]:
    """The accompaniment: one figure for the whole piece, its busyness by the density cue."""
    figure = _pick(FIGURES["chords"], plan.cues["density"], random)
    notes = []
    voicings = _voicings(plan, 60 + 8 * plan.cues["register"])
    for chord, voicing in zip(plan.chords, voicings, strict=True):
        own = "c" if plan.is_last_bar(chord.start) else figure
        for beat, duration, sign in _events(own, chord, plan.metre):
            if sign == "c":
                notes.extend(Note(beat, duration, pitch, 0.85) for pitch in voicing)
                continue
            if plan.cues["detachment"] < 0:  # broken chords ring on
                duration = chord.start + chord.duration - beat
            notes.append(Note(beat, duration, voicing[int(sign) % len(voicing)], 0.85))
    return notes


def _pad(plan: _Plan) -> list[Note]:
    """Held chords."""
    voicings = zip(plan.chords, _voicings(plan, 62 + 8 * plan.cues["register"]), strict=True)
    return [Note(c.start, c.duration, pitch, 0.8) for c, voicing in voicings for pitch in voicing]


def _bass(plan: _Plan, random: Random) -> list[Note]:
    """Roots, fifths and octaves; a tense piece may stay on one pedal note."""
    figure = _pick(FIGURES["bass"], plan.cues["density"], random)
    pedal = random.random() < 0.5 * plan.cues["irregularity"]
    lowest = 34 + round(5 * plan.cues["register"])
    notes = []
    for chord in plan.chords:
        root = plan.tonic if pedal else chord.pitch_classes[0]
        pitch = lowest + (root - lowest) % 12
        interval = {"0": 0, "5": (chord.pitch_classes[2] - root) % 12, "8": 12}
        own = "0" if plan.is_last_bar(chord.start) else figure
        for beat, duration, sign in _events(own, chord, plan.metre):
            notes.append(Note(beat, duration, pitch + interval[sign], 0.95))
    return notes


def _unrest(plan: _Plan, random: Random) -> list[Note]:
    """A low tonic held together with a second, tritone or ninth above it, if it is tense."""
    if plan.cues["dissonance"] + plan.cues["irregularity"] < 0.4:
        return []
    interval = int(random.choice([1, 6, 13]))
    pitch = 45 + (plan.tonic - 45) % 12
    span = plan.metre * 2
    return [
        Note(float(beat), min(span, plan.beats - beat), pitch + shift, 0.9)
        for beat in range(0, plan.beats, span)
        for shift in (0, interval)
    ]


def _drums(plan: _Plan, random: Random) -> list[Note]:
    """A figure of the style by how driving it is, a fill at the end of phrases, a last stroke."""
    figures = plan.style.drums
    drive = 0.5 * (plan.cues["density"] + plan.cues["loudness"]) + random.normal(0, 0.15)
    force = int(np.clip(round((drive + 1) / 2 * (len(figures) - 1)), 0, len(figures) - 1))
    strength = {"X": 1.0, "x": 0.8, "o": 0.5}
    notes = []
    for bar in range(plan.bars - 1):
        fill = (bar % 4 == 3 or bar == plan.bars - 2) and force >= 3
        last_beat = (plan.metre - 1) * 4
        for key, signs in figures[force].items():
            for slot, sign in enumerate(signs[: last_beat if fill else last_beat + 4]):
                if sign != ".":
                    notes.append(Note(bar * plan.metre + slot / 4, 0.25, key, strength[sign]))
        for i, key in enumerate(random.choice(plan.style.fill, size=4) if fill else ()):
            beat = bar * plan.metre + (last_beat + i) / 4
            notes.append(Note(beat, 0.25, int(key), 0.85))
    if force >= 3:  # kick drum and crash cymbal
        notes.extend(Note(plan.beats - plan.metre, 1.0, key, 1.0) for key in (36, 49))
    return sorted(notes)


def _pick(figures: Sequence[str], cue: float, random: Random) -> str:
    """A figure from a list ordered from sparse to busy, near the place that the cue says."""
    return figures[_place(cue, len(figures), 1.2, random)]


def _place(cue: float, count: int, deviation: float, random: Random) -> int:
    """Which of so many, ordered by a cue, lies near it, with some chance."""
    place = (cue + 1) / 2 * (count - 1) + random.normal(0, deviation)
    return int(np.clip(round(place), 0, count - 1))


def _events(figure: str, chord: Chord, metre: int) -> list[tuple[float, float, str]]:
    """What a bar-long figure does in a chord's span: (start, duration to the next, sign)."""
    offset = round((chord.start % metre) * 4)
    signs = figure[: metre * 4][offset : offset + round(chord.duration * 4)]
    slots = [slot for slot, sign in enumerate(signs) if sign != "."]
    if not slots:
        return [(chord.start, chord.duration, figure[0])]
    ends = [*slots[1:], chord.duration * 4]
    return [
        (chord.start + slot / 4, (end - slot) / 4, signs[slot])
        for slot, end in zip(slots, ends, strict=True)
    ]


def _instrument(role: str, plan: _Plan, artist: Artist, random: Random) -> int:
    """A program from the artist's palette by the attack and brightness cues, a kit by loudness."""
    key = "kit" if role == "drums" else role
    if role in ("melody", "chords", "bass"):
        struck = random.random() < 1 / (1 + np.exp(-4 * plan.cues["attack"]))
        key = f"{role} {'struck' if struck else 'held'}"
    programs = artist.palette[key]
    cue = plan.cues["loudness" if role == "drums" else "brightness"]
    return programs[_place(cue, len(programs), 0.3, random)]


def _perform(role: str, notes: Sequence[Note], plan: _Plan, random: Random) -> tuple[Note, ...]:
    """Beats to seconds, with articulation, accents, phrasing and human timing."""
    beat_seconds = 60 / plan.tempo
    swing = plan.style.swing
    # Share of the time to the next note that a note sounds: 1 is legato.
    gate = float(np.clip(0.72 - 0.38 * plan.cues["detachment"], 0.3, 1.0))
    if role in ("drums", "pad", "unrest"):
        gate = 1.0
    played = []
    for note in notes:
        late = {0.25: swing / 2, 0.5: swing, 0.75: swing / 2}.get(note.start % 1, 0.0)
        start = (note.start + late) * beat_seconds + random.normal(0, plan.style.timing)
        start = min(max(start, 0.0), plan.seconds - 0.1)
        duration = max(note.duration * beat_seconds * gate, 0.06)
        if role != "drums" and note.start + note.duration > plan.beats - 0.01:
            duration = plan.seconds  # the last notes ring through the tail
        phrase = 0.1 * np.sin(np.pi * (note.start / plan.metre % 4) / 4)  # swells over four bars
        accent = 0.08 if note.start % plan.metre == 0 else 0.0
        # A crescendo through the piece when it is tense.
        growth = 0.25 * plan.cues["irregularity"] * (note.start / plan.beats - 0.5)
        force = note.velocity + phrase + accent + growth + random.normal(0, 0.04)
        velocity = int(np.clip(round(92 * force), 20, 127))
        played.append(Note(start, min(duration, plan.seconds - start), note.pitch, velocity))
    return tuple(sorted(played))
