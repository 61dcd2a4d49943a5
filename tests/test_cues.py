"""musicnn with measured cues: what the columns are, and that silence is no extreme."""

import numpy as np
import pytest

from mer_utils import sound
from mer_utils.data import Features
from mer_utils.sound import acoustics, cues, musicnn


@pytest.fixture(scope="module")
def encoder() -> sound.Encoder:
    return sound.load_encoder("musicnn+cues", device="cpu")


def tone(seconds: float = 4.0, frequency: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * musicnn.SAMPLE_RATE)) / musicnn.SAMPLE_RATE
    beats = 1 + np.sign(np.sin(2 * np.pi * 2 * time))  # on and off twice a second
    return (0.2 * beats * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def test_columns_are_musicnn_and_the_cues(encoder):
    waveforms = np.stack([tone(), tone(frequency=220.0)])
    values = encoder(waveforms)
    assert values.shape == (2, 1, encoder.dim) == (2, 1, 1763)
    alone = sound.load_encoder("musicnn", device="cpu")(waveforms)
    np.testing.assert_array_equal(values[..., :1756], alone)
    for row, waveform in zip(values[:, 0], waveforms, strict=True):
        measured = acoustics.measure(waveform, musicnn.SAMPLE_RATE)
        np.testing.assert_allclose(row[cues.PARTS["cues"]], list(measured.values()), rtol=1e-5)


def test_silence_has_neutral_cues():
    measured = dict(zip(acoustics.CUES, cues.cue_values(np.zeros(32_000, np.float32)), strict=True))
    assert measured["loudness"] == cues.QUIETEST
    assert {name: measured[name] for name in cues.NEUTRAL} == pytest.approx(cues.NEUTRAL)
    assert set(cues.NEUTRAL) == set(acoustics.CUES) - {"loudness"}


def test_projector_input_takes_logarithms_of_tags_only():
    values = np.random.default_rng(0).uniform(0.1, 1, size=(3, 1, 1763))
    whole = Features(values, np.array(["t"] * 3), np.arange(3), {"name": "musicnn+cues"})
    found = sound.projector_input(whole)
    chosen = found.values
    assert found.encoder["blocks"] == [50, 200, 7]
    assert chosen.shape == (3, 1, 257)
    np.testing.assert_allclose(chosen[..., :50], np.log(values[..., :50]), atol=1e-5)
    np.testing.assert_allclose(chosen[..., 50:250], values[..., 50:250], rtol=1e-6)
    np.testing.assert_allclose(chosen[..., 250:], values[..., 1756:], rtol=1e-6)
