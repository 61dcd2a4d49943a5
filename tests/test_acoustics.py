"""Acoustic measures: sounds whose answer is known by hand, invariances, errors."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sounds import dataset_of

from mer_utils.sound import acoustics, audio

RATE = acoustics.SAMPLE_RATE
SECONDS = np.arange(6 * RATE) / RATE  # (samples,)


def tone(*pitches: float, partials: int = 1) -> np.ndarray:
    """A chord of MIDI pitches, each with so many partials that fall off as 1 / n."""
    return sum(
        0.1 / n * np.sin(2 * np.pi * n * 440 * 2 ** ((pitch - 69) / 12) * SECONDS + pitch)
        for pitch in pitches
        for n in range(1, partials + 1)
    )


def clicks(beats_a_minute: float) -> np.ndarray:
    """Short beeps, the first at the first sample."""
    return 0.5 * np.sin(2 * np.pi * 1000 * SECONDS) * (SECONDS % (60 / beats_a_minute) < 0.01)


def music() -> np.ndarray:
    """Two chords in turn with a beat."""
    chords = np.where(SECONDS % 2 < 1, tone(60, 64, 67, partials=4), tone(57, 60, 64, partials=4))
    return chords + clicks(100)


def test_loudness_and_brightness_of_sines_by_hand():
    sine = 0.5 * np.sin(2 * np.pi * 400 * SECONDS)
    assert audio.loudness(sine) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert acoustics.brightness(sine, RATE) == pytest.approx(400, rel=0.01)
    high = 0.5 * np.sin(2 * np.pi * 2000 * SECONDS)
    assert acoustics.brightness(sine + high, RATE) == pytest.approx(1200, rel=0.01)


def test_tempo_of_an_envelope_by_hand():
    envelope = np.zeros(1000)
    envelope[::50] = 1.0  # at 100 frames a second two a second
    assert acoustics.tempo(envelope, 100.0) == pytest.approx(120, rel=0.01)
    assert acoustics.tempo(envelope, 75.0) == pytest.approx(90, rel=0.01)
    assert np.isnan(acoustics.tempo(np.ones(1000), 100.0))  # nothing repeats
    metronome = acoustics.onset_strength(clicks(160), RATE)
    assert acoustics.tempo(*metronome) == pytest.approx(160, rel=0.02)


@pytest.mark.parametrize(("tonic", "third", "sign"), [(55, 4, 1), (60, 3, -1)])
def test_mode_of_cadences(tonic, third, sign):
    """Tonic, subdominant, dominant and tonic again."""
    steps = (0, third, 7, 5, 5 + third, 12, 7, 11, 14, 0, third, 7)
    notes = acoustics.chroma(tone(*(tonic + step for step in steps)), RATE)
    assert sign * acoustics.mode(notes) > 0.1


@given(shift=st.integers(0, 11), seed=st.integers(0, 1000))
def test_mode_does_not_hear_the_key(shift, seed):
    tones = np.random.default_rng(seed).random(12)
    assert acoustics.mode(np.roll(tones, shift)) == pytest.approx(acoustics.mode(tones))


def test_register_follows_the_pitch():
    found = [acoustics.register(tone(pitch, partials=4), RATE) for pitch in (57, 64, 71, 78)]
    assert (np.diff(found) > 4).all()
    assert np.abs(np.array(found) - [57, 64, 71, 78]).max() < 5


def test_roughness_of_known_intervals():
    octave, fifth, triad, cluster = (60, 72), (60, 67), (60, 64, 67), (60, 61, 62, 63)
    chords = (octave, fifth, triad, (60, 61), cluster)  # smooth to rough
    rough = [acoustics.roughness(tone(*chord, partials=3), RATE) for chord in chords]
    assert (np.diff(rough) > 0).all()
    assert acoustics.roughness(tone(69), RATE) < 1e-3
    frames = np.arange(4080)[:, None] / 4080 * [75, 85]  # periods of two sines, in one of .17 s
    twice = np.tile(np.sin(2 * np.pi * frames).sum(axis=1), 6)
    apart = (500 - 441.18) * 0.24 / (0.0207 * 441.18 + 18.96)
    by_hand = (np.exp(-3.5 * apart) - np.exp(-5.75 * apart)) / 2
    assert acoustics.roughness(twice, RATE) == pytest.approx(by_hand, rel=0.01)


def test_only_loudness_hears_the_volume():
    known, quiet = acoustics.measure(music(), RATE), acoustics.measure(0.01 * music(), RATE)
    assert quiet["loudness"] == pytest.approx(known["loudness"] - 40, abs=1e-4)
    for cue in set(acoustics.CUES) - {"loudness"}:
        assert quiet[cue] == pytest.approx(known[cue], rel=1e-6, abs=1e-9), cue


def test_measure_dataset(tmp_path):
    """Four tracks, one without audio; the later, the louder."""
    paths = [tmp_path / "a.wav", tmp_path / "b.wav", None, tmp_path / "d.wav"]
    for volume, path in enumerate(filter(None, paths), start=1):
        soundfile.write(path, 0.1 * volume * music(), RATE)
    written = dataset_of(paths, list("abcd"))
    table = acoustics.measure_dataset(written)
    assert table.index.tolist() == ["a", "b", "d"]
    assert list(table.columns) == list(acoustics.CUES)
    assert table["loudness"].is_monotonic_increasing
    assert acoustics.measure_dataset(written, tracks=2).index.tolist() == ["a", "d"]
    first_second = acoustics.measure_dataset(written, seconds=1.0)["loudness"]
    own = audio.loudness(audio.read(paths[0], RATE)[:RATE])
    assert first_second.iloc[0] == pytest.approx(own)
