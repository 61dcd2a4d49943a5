"""What all encoders have in common: loading by name, checks of the input, shipping to workers."""

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

from mer_utils import sound
from mer_utils.sound import encoders, random_mert


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("mert"))


@pytest.fixture(scope="module", params=["mert-v1-95m", "musicnn"])
def encoder(request, checkpoint):
    folder = checkpoint if request.param.startswith("mert") else None
    return sound.load_encoder(request.param, folder, device="cpu")


def noise(encoder, batch=2, seconds=1.5):
    shape = (batch, int(seconds * encoder.sample_rate))
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def test_names():
    names = {"mert-v1-95m", "mert-v1-330m", "musicnn", "musicnn+cues"}
    assert names < set(sound.ENCODERS)
    with pytest.raises(ValueError, match=r"clap.*musicnn"):
        sound.load_encoder("clap")


def test_shapes_and_types(encoder):
    features = encoder(noise(encoder))
    assert features.shape == (2, len(encoder.layers), encoder.dim)
    assert features.dtype == np.float32
    frames = encoder.frames(noise(encoder)[0])
    assert (frames.shape[0], frames.shape[2]) == features.shape[1:]
    np.testing.assert_allclose(frames.mean(1), features[0], rtol=1e-5, atol=1e-5)


def test_float64_and_read_only_waveforms(encoder):
    waveforms = noise(encoder)
    waveforms.flags.writeable = False
    expected = encoder(waveforms)
    np.testing.assert_array_equal(encoder(waveforms.astype(np.float64)), expected)


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        (np.zeros(16_000, np.float32), r"\(batch, samples\)"),
        (np.zeros((1, 1, 16_000), np.float32), r"\(batch, samples\)"),
        (np.zeros((0, 16_000), np.float32), r"\(batch, samples\)"),
        (np.zeros((1, 48_000), np.int16), "int16"),
        (np.full((1, 48_000), np.nan, np.float32), "48000 samples are not finite"),
        (np.full((1, 48_000), np.inf, np.float32), "48000 samples are not finite"),
    ],
)
def test_other_waveforms_are_refused(encoder, waveforms, message):
    with pytest.raises(ValueError, match=message):
        encoder(waveforms)
    with pytest.raises(ValueError, match=r"\(samples,\)"):
        encoder.frames(np.zeros((2, 48_000), np.float32))


def test_too_short_waveforms_are_refused(encoder):
    short = encoder.minimum_samples - 1
    with pytest.raises(ValueError, match=f"at least {encoder.minimum_samples} "):
        encoder(noise(encoder)[:, :short])
    assert np.isfinite(encoder(noise(encoder)[:, : short + 1])).all()


def test_silence_is_encoded(encoder):
    assert np.isfinite(encoder(np.zeros((1, encoder.sample_rate), np.float32))).all()


def test_features_that_are_not_finite_are_an_error(tmp_path):
    folder = random_mert.write_mert_checkpoint(tmp_path, file_format="bin")
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tensors["encoder.layers.0.layer_norm.weight"][0] = torch.inf
    torch.save(tensors, folder / "pytorch_model.bin")
    broken = sound.load_encoder("mert-v1-95m", folder, device="cpu")
    with pytest.raises(FloatingPointError, match="features that are not finite"):
        broken(noise(broken))


def test_layers_are_a_sequence(checkpoint):
    for name, folder, wrong in [("mert-v1-95m", checkpoint, 3), ("musicnn", None, "tags")]:
        with pytest.raises(ValueError, match="sequence"):
            sound.load_encoder(name, folder, wrong)
    encoder = sound.load_encoder("mert-v1-95m", checkpoint, np.array([1, 2]), "cpu")
    assert encoder.layers == (1, 2)
    json.dumps(encoder.settings())


def test_devices():
    with pytest.raises(RuntimeError, match="abacus"):
        sound.load_encoder("musicnn", device="abacus")
    if not torch.cuda.is_available():
        assert sound.load_encoder("musicnn").spec["device"] == "cpu"


def test_segment_seconds(checkpoint):
    encoder = sound.load_encoder("mert-v1-95m", checkpoint, segment_seconds=5)
    assert encoder.segment_seconds == encoder.settings()["segment_seconds"] == 5.0
    for wrong in (0, 0.01, float("nan")):
        with pytest.raises(ValueError, match=r"segment_seconds=.*at least 0\.017 s"):
            sound.load_encoder("mert-v1-95m", checkpoint, segment_seconds=wrong)


def test_settings_say_what_decides_the_numbers(encoder, checkpoint, tmp_path):
    settings = json.loads(json.dumps(encoder.settings()))
    assert settings == encoder.settings()
    assert settings["name"] == encoder.name
    assert settings["layers"] == list(encoder.layers)
    assert len(settings["weights_sha256"]) == 64
    assert {"precision", "torch", "transformers", "segment_seconds", "device"} <= settings.keys()


def test_other_weights_layers_or_precision_give_other_settings(checkpoint, tmp_path):
    def settings(folder=checkpoint, **arguments):
        return sound.load_encoder("mert-v1-95m", folder, device="cpu", **arguments).settings()

    ours = settings()
    assert settings() == ours
    other = random_mert.write_mert_checkpoint(tmp_path / "seed", seed=1)
    assert settings(other) != ours
    normalised = random_mert.write_mert_checkpoint(tmp_path / "norm", do_normalize=True)
    assert settings(normalised)["do_normalize"] != ours["do_normalize"]
    assert settings(layers=(1,)) != ours
    assert settings(precision="bfloat16") != ours


def encode_elsewhere(encoder, waveforms):
    torch.set_num_threads(1)
    assert encoders.load_cached(dict(encoder.spec)) is encoder
    return encoder.settings(), encoder(waveforms)


def test_an_encoder_is_loaded_again_in_another_process(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    relative = checkpoint.relative_to(checkpoint.parent)
    encoder = sound.load_encoder("mert-v1-95m", relative, (2, 4), "cpu", precision="bfloat16")
    assert json.loads(json.dumps(encoder.spec)) == encoder.spec
    assert len(pickle.dumps(encoder)) < 1000  # its recipe, not its weights
    monkeypatch.chdir("/")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        settings, features = pool.submit(encode_elsewhere, encoder, noise(encoder)).result()
    assert settings == encoder.settings()
    np.testing.assert_allclose(features, encoder(noise(encoder)), rtol=1e-2, atol=1e-3)


def test_a_folder_of_the_same_name_is_no_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "musicnn").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sound.load_encoder("musicnn", device="cpu").spec["checkpoint"] is None
