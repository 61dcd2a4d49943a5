"""What all encoders have in common: loading by name, checks of the input, shipping to workers."""

import json
import pickle

import numpy as np
import pytest
import torch
from sounds import noise

from mer_utils import sound
from mer_utils.sound import random_mert


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("mert"))


@pytest.fixture(scope="module", params=["mert-v1-95m", "musicnn"])
def encoder(request, checkpoint):
    folder = checkpoint if request.param.startswith("mert") else None
    return sound.load_encoder(request.param, folder, device="cpu")


def test_waveforms_in_features_out(encoder):
    waveforms = noise(round(1.5 * encoder.sample_rate))
    features = encoder(waveforms)
    assert features.shape == (2, len(encoder.layers), encoder.dim)
    assert features.dtype == np.float32
    frames = encoder.frames(waveforms[0])
    np.testing.assert_allclose(frames.mean(1), features[0], rtol=1e-5, atol=1e-5)
    alone = np.concatenate([encoder(waveform[None]) for waveform in waveforms])
    np.testing.assert_array_equal(alone, features, "of a batch bit for bit as alone")
    waveforms.flags.writeable = False
    np.testing.assert_array_equal(encoder(waveforms.astype(np.float64)), features)
    shortest = waveforms[:, : encoder.minimum_samples]
    assert np.isfinite(encoder(shortest)).all()
    assert np.isfinite(encoder(0 * waveforms)).all()
    with pytest.raises(ValueError, match=f"at least {encoder.minimum_samples} "):
        encoder(shortest[:, 1:])


def test_other_waveforms_are_refused(encoder):
    infinite = np.full((1, 48_000), np.inf, np.float32)
    for waveforms, named in (
        (np.zeros(48_000, np.float32), r"\(batch, samples\)"),
        (np.zeros((1, 48_000), np.int16), "int16"),
        (infinite, "48000 samples"),
    ):
        with pytest.raises(ValueError, match=named):
            encoder(waveforms)


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("clap", {}, "clap.*musicnn"),
        ("musicnn", {"layers": "tags"}, "sequence"),
        ("musicnn", {"layers": ("tags",)}, "tags"),
        ("musicnn", {"precision": "bfloat16"}, "bfloat16"),
        ("mert-v1-95m", {"layers": (1, 1)}, "once"),
        ("mert-v1-95m", {"segment_seconds": 0.01}, "segment_seconds"),
        ("mert-v1-95m", {"segment_seconds": float("nan")}, "segment_seconds"),
    ],
)
def test_what_cannot_be_loaded_is_named(checkpoint, name, arguments, named):
    folder = checkpoint if name.startswith("mert") else None
    with pytest.raises(ValueError, match=named):
        sound.load_encoder(name, folder, **arguments)


def test_features_that_are_not_finite_are_an_error(checkpoint):
    broken = sound.load_encoder("mert-v1-95m", checkpoint, device="cpu")
    broken.network.model.encoder.layers[0].layer_norm.weight[0] = torch.inf
    with pytest.raises(FloatingPointError, match="features that are not finite"):
        broken(noise(12_000))


def test_other_weights_layers_or_precision_give_other_settings(checkpoint, tmp_path):
    def settings(folder=checkpoint, **arguments):
        return sound.load_encoder("mert-v1-95m", folder, device="cpu", **arguments).settings()

    ours = settings()
    assert settings() == json.loads(json.dumps(ours)) == ours
    assert {"name", "weights_sha256", "torch", "transformers", "device"} <= ours.keys()
    assert settings(layers=np.array([1, 2]))["layers"] == [1, 2]
    for number, change in enumerate(({"seed": 1}, {"do_normalize": True})):
        folder = random_mert.write_mert_checkpoint(tmp_path / str(number), **change)
        assert settings(folder) != ours
    assert settings(precision="bfloat16") != ours


def test_an_encoder_of_ones_own_is_known_by_the_files_of_its_checkpoint(tmp_path, monkeypatch):
    class Level(sound.Network):
        sample_rate, segment_seconds, layers, dim = 16_000, 3.0, ("level",), 1

        def __init__(self, checkpoint) -> None:
            """The weights of this one are a text."""

        def frames(self, waveform):
            return waveform[None, :, None]

    monkeypatch.setitem(sound.ENCODERS, "level", Level)
    settings = []
    for weights in ("one", "two"):
        (tmp_path / "weights.txt").write_text(weights)
        encoder = sound.load_encoder("level", tmp_path)
        settings.append(encoder.settings())
    assert settings[0] != settings[1]
    waves = noise(1_600)
    np.testing.assert_allclose(encoder(waves)[:, 0, 0], waves.mean(axis=1), atol=1e-6)


def test_an_encoder_is_shipped_as_its_recipe(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    encoder = sound.load_encoder("mert-v1-95m", checkpoint.name, (2, 4), "cpu")
    shipped = pickle.dumps(encoder)
    assert len(shipped) < 1000  # not its weights
    monkeypatch.chdir("/")
    again = pickle.loads(shipped)
    assert again is pickle.loads(shipped)  # loaded once a process
    assert again.settings() == encoder.settings()
    np.testing.assert_array_equal(again(noise(12_000)), encoder(noise(12_000)))
