"""A small studio: from a Score to sound, with a General MIDI sound font and simple effects.

The notes are played by tinysoundfont (MIT) from TimGM6mb.sf2, the sound font that the package
pretty-midi (MIT; not imported) carries. The font (Tim Brechbill 2004, David Bolton 2010; GNU GPL,
version 2) is read where pip put it and is no part of this project.

Every part is rendered alone and brought to its level in the mix by its own loudness, so that the
uneven loudness of the font's instruments does not matter. The synthesizer does not model that an
instrument played louder sounds brighter; a shelf filter does, by the brightness cue. Loudness is
a cue of emotion, so it is not normalised away: a piece gets the loudness that its cue asks for.

Conventions: samples are mono float32 in [-1, 1] at SAMPLE_RATE; levels are dB, loudness is the
root mean square of the whole piece in dB relative to full scale.
"""

import io
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy import signal

from mer_utils.corpus import composer, notation
from mer_utils.corpus.composer import Artist, Point
from mer_utils.corpus.notation import Part, Random, Score
from mer_utils.corpus.styles import Style

SAMPLE_RATE = 24_000
PEAK, KNEE = 0.97, 0.6  # what is louder than the knee is bent so that nothing passes the peak
MELODY_LEVEL = 0.1  # root mean square of the melody before mastering
SOUND_FONT = "TimGM6mb.sf2"


@dataclass(frozen=True)
class Production:
    """One artist's sound.

    loudness: dB of a piece whose loudness cue is 0; loudness_span: dB from cue 0 to cue 1.
    tone: dB of the shelf above 1.5 kHz at brightness cue 0; tone_span: dB from cue 0 to cue 1.
    reverb_seconds: time to decay by 60 dB; reverb: its level against the dry sound, dB.
    echo: level of a dotted-eighth echo of melody and chords, dB, or None.
    drive: how hard the mix is pushed into a soft saturation (0: not at all).
    ducking: how far a kick drum pushes pad and bass down, in [0, 1].
    """

    loudness: float
    loudness_span: float
    tone: float
    tone_span: float
    reverb_seconds: float
    reverb: float
    echo: float | None
    drive: float
    ducking: float


def draw_production(style: Style, random: Random) -> Production:
    """Draw one artist's sound within the ranges of a style's studio."""
    drawn = {
        key: float(random.uniform(*value)) if isinstance(value, list) else value
        for key, value in style.studio.items()
    }
    return Production(**drawn)


def find_sound_font() -> Path:
    """Where pip put the sound font; ModuleNotFoundError if it or the synthesizer is missing."""
    try:
        metadata.version("tinysoundfont")
        files = metadata.files("pretty-midi") or []
        return next(Path(file.locate()) for file in files if file.name == SOUND_FONT)
    except (ModuleNotFoundError, StopIteration) as error:
        raise ModuleNotFoundError(
            f"the built-in music needs tinysoundfont, and pretty-midi with its {SOUND_FONT}; "
            "install both with: pip install --no-deps --require-hashes -r no-deps.txt"
        ) from error


def play(
    point: Point, style: Style, artist: Artist, production: Production, seed: tuple[int, ...]
) -> tuple[bytes, dict[str, object]]:
    """Compose and render one piece; what a worker process does.

    Returns the bytes of a FLAC file (24 kHz, mono, 16 bit) and the score's facts.
    """
    random = np.random.default_rng(seed)
    score = composer.compose(point, style, artist, random)
    file = io.BytesIO()
    samples = _render(score, production, random)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue(), notation.facts(score)


def _render(score: Score, production: Production, random: Random) -> np.ndarray:
    """A score as sound: (samples,) float32, peak below 1; the room is drawn at random."""
    length = round(score.seconds * SAMPLE_RATE)
    synth, font = _load_synth()
    sound = {part.role: _balanced(part, synth, font, length) for part in score.parts}
    if production.ducking and "drums" in sound:
        duck = _ducking(score, production.ducking, length)  # (samples,)
        sound |= {x: sound[x] * duck for x in ("pad", "bass", "unrest") if x in sound}
    dry = sum(sound.values(), np.zeros(length, dtype=np.float32))  # (samples,)
    if production.echo is not None:
        dry += _echo(sound["melody"] + sound["chords"], score.tempo, production.echo)
    wet = _reverberate(dry, production, random)
    toned = _shelf(wet, production.tone + production.tone_span * score.cues["brightness"])
    target = production.loudness + production.loudness_span * score.cues["loudness"]
    return _master(toned, target, production.drive)


def _load_synth() -> tuple[Any, int]:
    """A fresh synthesizer with the sound font, and the font's number in it."""
    import tinysoundfont  # here: without it everything but this works

    synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE)
    return synth, synth.sfload(str(find_sound_font()))


def _balanced(part: Part, synth: Any, font: int, length: int) -> np.ndarray:
    """One part at its level in the mix, measured over its sounding stretches: (samples,)."""
    samples = _play_part(part, synth, font, length)
    blocks = samples[: length // 2400 * 2400].reshape(-1, 2400)  # (blocks, 0.1 s)
    power = np.einsum("bs,bs->b", blocks, blocks) / 2400  # (blocks,)
    sounding = power[power > 1e-3 * power.max()]
    if not len(sounding):
        raise RuntimeError(f"the {part.role} (program {part.program}) gave no sound")
    gain = MELODY_LEVEL * 10 ** (part.level / 20) / np.sqrt(sounding.mean())
    return samples * np.float32(gain)


def _play_part(part: Part, synth: Any, font: int, length: int) -> np.ndarray:
    """The notes of one part through the sound font: (samples,)."""
    drums = part.role == "drums"
    channels = (0, 1) if part.detune > 0 else (0,)
    for channel in channels:
        synth.program_select(channel, font, 128 if drums else 0, part.program, drums)
        synth.set_tuning(channel, channel * part.detune / 100)
    events = [(round(n.start * SAMPLE_RATE), True, n) for n in part.notes]
    ends = [min(round((n.start + n.duration) * SAMPLE_RATE), length) for n in part.notes]
    events += [(end, False, n) for end, n in zip(ends, part.notes, strict=True)]
    stereo = np.zeros((length, 2), dtype=np.float32)  # (samples, 2)
    buffer = memoryview(stereo).cast("B")
    now = 0
    for time, starts, note in sorted(events):  # ends come before starts at the same time
        if time > now:
            synth.generate_simple(time - now, buffer[now * 8 : time * 8])
            now = time
        for channel in channels:
            if starts:
                synth.noteon(channel, note.pitch, int(note.velocity))
            else:
                synth.noteoff(channel, note.pitch)
    if now < length:
        synth.generate_simple(length - now, buffer[now * 8 :])
    synth.sounds_off()
    synth.generate_simple(SAMPLE_RATE // 10)  # let every voice end before the next part
    return 0.5 * (stereo[:, 0] + stereo[:, 1])  # (samples,)


def _ducking(score: Score, depth: float, length: int) -> np.ndarray:
    """Gain that dips at every kick drum and recovers in a quarter of a second: (samples,)."""
    shape = 1 - depth * np.linspace(1, 0, SAMPLE_RATE // 4, dtype=np.float32) ** 2
    gain = np.ones(length, dtype=np.float32)
    drums = next(part.notes for part in score.parts if part.role == "drums")
    for start in (int(note.start * SAMPLE_RATE) for note in drums if note.pitch == 36):
        stretch = gain[start : start + len(shape)]
        np.minimum(stretch, shape[: len(stretch)], out=stretch)
    return gain


def _echo(source: np.ndarray, tempo: float, level: float) -> np.ndarray:
    """Three echoes, a dotted eighth apart: (samples,)."""
    echoes = np.zeros_like(source)
    for repeat in (1, 2, 3):
        shift = repeat * int(0.75 * 60 / tempo * SAMPLE_RATE)
        echoes[shift:] += source[:-shift] * 10 ** (repeat * level / 20)
    return echoes


def _reverberate(dry: np.ndarray, production: Production, random: Random) -> np.ndarray:
    """Add the room, a convolution with dull, exponentially decaying noise: (samples,)."""
    count = int(production.reverb_seconds * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(count) / count)
    room = random.standard_normal(count) * decay
    room = signal.lfilter([0.4], [1, -0.6], room)
    room[: int(0.012 * SAMPLE_RATE)] = 0  # the way to the first wall
    room *= 10 ** (production.reverb / 20) / np.sqrt(np.sum(room**2))
    tail = signal.oaconvolve(dry, room.astype(np.float32))[: len(dry)]
    return dry + tail.astype(np.float32)


def _shelf(samples: np.ndarray, gain: float) -> np.ndarray:
    """First-order high shelf: what lies above 1500 Hz is raised by a gain (dB)."""
    warped = np.tan(np.pi * 1500.0 / SAMPLE_RATE)
    root = 10 ** (gain / 40)
    zeros = np.array([warped + root, warped - root])
    poles = np.array([warped + 1 / root, warped - 1 / root])
    return signal.lfilter(zeros / poles[0], poles / poles[0], samples)


def _master(samples: np.ndarray, target: float, drive: float) -> np.ndarray:
    """Cut rumble, saturate, fade the end, bring to the target loudness, bend peaks."""
    high_pass = signal.butter(1, 30, "highpass", fs=SAMPLE_RATE, output="sos")
    samples = signal.sosfilt(high_pass, samples)
    if drive > 0:
        samples = samples * (drive / (4 * np.sqrt(np.mean(samples**2)) + 1e-9))
        samples = np.tanh(samples)
    fade = int(1.5 * SAMPLE_RATE)
    samples[-fade:] *= np.cos(np.linspace(0, np.pi / 2, fade)) ** 2
    loudness = float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
    samples = samples * 10 ** ((target - loudness) / 20)
    size, room = np.abs(samples), PEAK - KNEE
    bent = KNEE + room * np.tanh((size - KNEE) / room)
    return np.where(size > KNEE, np.sign(samples) * bent, samples).astype(np.float32)
