"""The built-in music's material: scales, progressions, rhythmic figures, and styles of them."""

from collections.abc import Mapping
from dataclasses import dataclass

SCALES: dict[str, tuple[float, float, tuple[int, ...]]] = {
    # scale: (place on the mode cue, how common it is, its steps in semitones)
    "lydian": (0.9, 0.3, (0, 2, 4, 6, 7, 9, 11)),
    "major": (0.6, 1.0, (0, 2, 4, 5, 7, 9, 11)),
    "mixolydian": (0.25, 0.4, (0, 2, 4, 5, 7, 9, 10)),
    "dorian": (-0.25, 0.3, (0, 2, 3, 5, 7, 9, 10)),
    "minor": (-0.6, 1.0, (0, 2, 3, 5, 7, 8, 10)),
    "harmonic minor": (-0.75, 0.3, (0, 2, 3, 5, 7, 8, 11)),
    "phrygian": (-1.0, 0.2, (0, 1, 3, 5, 7, 8, 10)),
}

# Degrees of the scale, counted from 0, one a chord.
MAJOR_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (5, 3, 0, 4),
    (0, 2, 3, 4), (0, 1, 4, 0), (3, 4, 2, 5), (0, 4, 3, 4), (0, 5, 1, 4),
)  # fmt: skip
MINOR_PROGRESSIONS = (
    (0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 5, 3, 4), (0, 3, 6, 2),
    (0, 6, 5, 4), (0, 2, 6, 3), (5, 6, 0, 0), (0, 3, 5, 4), (0, 1, 4, 0),
)  # fmt: skip

# Figures for chords, from sparse to busy: c = the whole chord, 0-3 = one voice, counted from below.
CHORD_FIGURES = (
    "c...............",
    "0.......1...2...",
    "c.......c.......",
    "0...1...2...3...",
    "0...c...0...c...",
    "0..1..2.3..2..1.",
    "0.2.1.2.0.2.1.2.",
    "c...c.cc..c.c.c.",
    "..c...c...c...c.",
    "0.1.2.3.2.1.2.1.",
    "c.c.c.c.c.c.c.c.",
    "c.cc.cc.c.cc.c.c",
    "0123210123213212",
)
# Figures for the bass, from sparse to busy: 0 = root, 5 = fifth of the chord, 8 = octave.
BASS_FIGURES = (
    "0...............",
    "0.......0.......",
    "0.......5.......",
    "0.....0.5.......",
    "0...0...5...0...",
    "0..0..5.0..0..5.",
    "0.0.0.0.0.0.5.0.",
    "0.8.0.8.0.8.0.8.",
    "0.000.080.000.08",
)
# Drum figures, from quiet to driving: one string a General MIDI key; X = accent, o = soft.
BAND_FIGURES: tuple[Mapping[int, str], ...] = (
    {},
    {42: "o...o...o...o...", 37: "........x......."},
    {36: "x.........x.....", 38: "....o.......o...", 42: "x.o.x.o.x.o.x.o."},
    {36: "X.....x.x.......", 38: "....X.......X...", 42: "x.x.x.x.x.x.x.x."},
    {
        36: "X..x..x.X..x....",
        38: "....X.......X..o",
        42: "x.x.x.x.x.x.x.x.",
        46: "..............x.",
    },
    {
        36: "X.x.X..xX.x.X..x",
        38: "....X..o....X.oo",
        49: "X...............",
        51: "x.x.x.x.x.x.x.x.",
    },
)
CLUB_FIGURES: tuple[Mapping[int, str], ...] = (
    {},
    {36: "x...............", 42: "....o.......o..."},
    {36: "x.........x.....", 39: "........x.......", 42: "o.o.o.o.o.o.o.o."},
    {36: "X...x...X...x...", 39: "....x.......x...", 42: "..x...x...x...x."},
    {
        36: "X...X...X...X...",
        39: "....X.......X...",
        42: "o.xoo.xoo.xoo.xo",
        46: "..x...x...x...x.",
    },
    {
        36: "X...X...X...X.x.",
        38: "....X..o....X.oo",
        42: "xoxoxoxoxoxoxoxo",
        46: "..X...X...X...X.",
    },
)
ORCHESTRA_FIGURES: tuple[Mapping[int, str], ...] = (
    {},
    {},
    {},
    {36: "x..............."},
    {36: "X.......x.......", 38: "............o.oo"},
    {36: "X...x...X...x...", 38: "x..oo.x.x..oo.oo", 49: "X..............."},
)


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
    """

    name: str
    tempo: tuple[float, float]
    metres: Mapping[int, float]
    palette: Mapping[str, tuple[int, ...]]
    drums: tuple[Mapping[int, str], ...]
    fill: tuple[int, ...]
    extensions: float
    timing: float
    swing: float


STYLES: dict[str, Style] = {
    "chamber": Style(
        name="chamber",
        tempo=(52, 148),
        metres={4: 0.65, 3: 0.35},
        palette={
            "melody struck": (46, 45, 8, 0, 12, 6),
            "melody held": (42, 73, 60, 41, 40, 71, 68),
            "chords struck": (46, 45, 24, 1, 12, 2, 6),
            "chords held": (60, 49, 48, 52, 19),
            "bass struck": (32, 0),
            "bass held": (42, 43, 70),
            "pad": (60, 49, 48, 52),
            "unrest": (44,),
            "kit": (48,),
        },
        drums=ORCHESTRA_FIGURES,
        fill=(38,),
        extensions=0.15,
        timing=0.012,
        swing=0.0,
    ),
    "band": Style(
        name="band",
        tempo=(68, 168),
        metres={4: 1.0},
        palette={
            "melody struck": (4, 26, 25, 114, 105, 27),
            "melody held": (16, 22, 65, 66, 56, 29),
            "chords struck": (4, 25, 24, 7, 27),
            "chords held": (17, 16, 21, 30, 29),
            "bass struck": (36, 32, 34, 33),
            "bass held": (35,),
            "pad": (17, 18, 16, 48),
            "unrest": (30,),
            "kit": (40, 32, 0, 8, 16),
        },
        drums=BAND_FIGURES,
        fill=(38, 45, 47, 50),
        extensions=0.25,
        timing=0.007,
        swing=0.04,
    ),
    "electronic": Style(
        name="electronic",
        tempo=(60, 164),
        metres={4: 1.0},
        palette={
            "melody struck": (108, 100, 98, 112, 96),
            "melody held": (79, 54, 85, 82, 80, 81, 84),
            "chords struck": (108, 100, 98, 7, 96),
            "chords held": (88, 63, 90, 86, 81, 62),
            "bass struck": (38, 37, 39),
            "bass held": (63, 87, 81),
            "pad": (89, 94, 95, 91, 51, 50),
            "unrest": (101, 97),
            "kit": (25, 24),
        },
        drums=CLUB_FIGURES,
        fill=(38, 39, 45, 50),
        extensions=0.5,
        timing=0.0,
        swing=0.0,
    ),
}
