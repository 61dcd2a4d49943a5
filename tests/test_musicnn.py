"""musicnn: parity with the original network, and where its weights come from."""

import ast
from importlib import metadata

import numpy as np
import pytest
import torch

from mer_utils import sound
from mer_utils.data import Features
from mer_utils.sound import acoustics, cues, musicnn

RATE = 16_000

# What the original code gave in TensorFlow 2.15 (numpy 1.26, librosa 0.10 with pad_mode="reflect")
# for `tones()`: mean over its three windows.
# fmt: off
ORIGINAL_TAGS_START = [0.041833, 0.052974, 0.068502, 0.164634, 0.262208, 0.060609, 0.011926]
ORIGINAL_TAGS_END = [0.011642, 0.000652, 0.002976, 0.032550, 0.014638, 0.009361, 0.002318]
ORIGINAL_PENULTIMATE_START = [-0.177176, -0.127029, -0.284826, -0.275121, 0.120706, 0.435921]
ORIGINAL_POOLED_END = [51.174236, 0.296839, 54.992672, 0.908879, 48.007336, 0.628087]
ORIGINAL_MEL = {  # frame: bands 0, 10, 30, 60, 95
    0: [4.378530, 4.086646, 2.516070, 2.006703, 0.618496],
    1: [0.019241, 4.564437, 3.418406, 0.000000, 0.000000],
    100: [0.000000, 3.108964, 2.209053, 0.000000, 0.000000],
    281: [0.000259, 2.799949, 1.739887, 0.000000, 0.000000],
    562: [0.609174, 1.117342, 0.982799, 0.000000, 0.000000],
}
# fmt: on


def tones():
    """9 s: a chord a second, each of three notes of six harmonics that die away."""
    time = np.arange(9 * RATE) / RATE
    chords = [[220, 277.18, 329.63], [246.94, 311.13, 369.99], [196, 246.94, 293.66]]
    notes = np.tile(chords, (3, 1)).repeat(RATE, axis=0).T  # (notes, samples)
    harmonics = range(1, 7)
    partials = sum(np.sin(2 * np.pi * notes * n * time).sum(axis=0) / n for n in harmonics)
    return (0.1 * partials * np.exp(-3 * (time % 1))).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    return sound.load_encoder("musicnn", device="cpu")


def test_parity_with_the_original(encoder):
    features = encoder(tones()[None])
    assert features.shape == (1, 1, 1756)
    assert features.dtype == np.float32
    parts = {name: features[0, 0, columns] for name, columns in musicnn.PARTS.items()}
    np.testing.assert_allclose(parts["tags"][:7], ORIGINAL_TAGS_START, atol=2e-6)
    np.testing.assert_allclose(parts["tags"][-7:], ORIGINAL_TAGS_END, atol=2e-6)
    np.testing.assert_allclose(parts["penultimate"][:6], ORIGINAL_PENULTIMATE_START, atol=2e-5)
    np.testing.assert_allclose(parts["penultimate"].std(), 0.663764, atol=1e-5)
    np.testing.assert_allclose(parts["pooled"][-6:], ORIGINAL_POOLED_END, atol=1e-3)
    np.testing.assert_allclose(parts["pooled"].std(), 7.452353, atol=1e-4)
    windows = encoder.frames(tones())  # of three seconds
    assert windows.shape == (1, 3, 1756)


def test_parity_of_the_spectrogram_with_the_original(encoder):
    spectrogram = musicnn.log_mel(torch.from_numpy(tones()), encoder.network.mel)
    assert spectrogram.shape == (563, 96)
    for frame, bands in ORIGINAL_MEL.items():
        # float16 has 11 bits: a rounding that falls the other way moves the logarithm by .0004
        np.testing.assert_allclose(spectrogram[frame, [0, 10, 30, 60, 95]], bands, atol=5e-4)
    # The power passes through float16, but its product with 10,000 must not.
    loud = np.sign(np.sin(2 * np.pi * 200 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    loudest = musicnn.log_mel(torch.from_numpy(loud), encoder.network.mel).max()
    assert np.log10(65504) < loudest < np.inf


def test_tags_are_those_of_the_wheel():
    source = metadata.distribution("musicnn").read_text("../musicnn/configuration.py")
    lists = {x.targets[0].id: x.value for x in ast.parse(source).body if isinstance(x, ast.Assign)}
    assert tuple(ast.literal_eval(lists["MSD_LABELS"])) == musicnn.TAGS


# ---- with the cues -------------------------------------------------------------------------------


def test_columns_are_musicnn_and_the_cues_together_as_alone(encoder):
    """A GPU hears the segments of a batch together, a CPU one by one."""
    waves = np.stack([tones(), tones()[::-1] / 2])[:, : 7 * RATE]
    with_cues = sound.load_encoder("musicnn+cues", device="cpu")
    values = with_cues(waves)
    assert values.shape == (2, 1, 1763)
    np.testing.assert_array_equal(values[..., :1756], encoder(waves))
    for row, wave in zip(values[:, 0], waves, strict=True):
        measured = acoustics.measure(wave, RATE)
        np.testing.assert_allclose(row[cues.PARTS["cues"]], list(measured.values()), rtol=1e-5)
    together = with_cues.network.heard(torch.from_numpy(waves)).mean(1, keepdim=True).numpy()
    np.testing.assert_allclose(together, values, rtol=1e-4, atol=1e-3)
    if torch.cuda.is_available():
        on_gpu = sound.load_encoder("musicnn+cues", device="cuda")(waves)
        np.testing.assert_allclose(on_gpu, values, rtol=1e-3, atol=5e-3)


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


# ---- weights -------------------------------------------------------------------------------------


def test_without_the_weights_or_with_others(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*no-deps\.txt"):
        sound.load_encoder("musicnn", tmp_path)
    data = bytearray(musicnn.find_weights().read_bytes())
    data[1000] ^= 1
    (tmp_path / musicnn.DATA).write_bytes(data)
    with pytest.raises(ValueError, match="SHA-256"):
        sound.load_encoder("musicnn", tmp_path)

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(FileNotFoundError, match=r"musicnn.*no-deps\.txt"):
        sound.load_encoder("musicnn")
