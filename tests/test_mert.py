"""MERT: parity with transformers' own HuBERT, and what must be refused."""

import json
import pickle
import random
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hostile import edits
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from mer_utils import sound
from mer_utils.sound import mert, random_mert
from mer_utils.storage import read_json, read_tensors, write_json, write_tensors

RATE = 24_000
POSITION = "encoder.pos_conv_embed.conv."
WEIGHT_NORMS = {  # the two ways in which the published files name a weight's size and direction
    "weight_g": ("weight_g", "weight_v"),
    "parametrizations": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
}


def load(folder, layers=None, **settings):
    return sound.load_encoder("mert-v1-95m", folder, layers, "cpu", **settings)


def noise(batch=2, seconds=0.5):
    shape = (batch, int(seconds * RATE))
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def norm_after(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def encoder(norm_after):
    return load(norm_after)


def read_weights(folder):
    if (folder / "model.safetensors").exists():
        return read_tensors(folder / "model.safetensors")
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


# ---- the numbers ---------------------------------------------------------------------------------


def reference_states(folder: Path, waveform: np.ndarray) -> np.ndarray:
    """All hidden states (layers, frames, dim) of one waveform, read and run by transformers."""
    model = HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(torch.from_numpy(waveform)[None], output_hidden_states=True)
    return torch.cat([*output.hidden_states[:-1], output.last_hidden_state]).numpy()


@pytest.mark.parametrize(
    ("before", "weight_norm", "file_format"),
    [(False, "weight_g", "bin"), (True, "parametrizations", "safetensors")],
)
def test_every_state_is_that_of_transformers(tmp_path, before, weight_norm, file_format):
    folder = random_mert.write_mert_checkpoint(tmp_path, seed=7, do_stable_layer_norm=before)
    tensors = read_weights(folder)
    tensors[f"{POSITION}weight_g"] *= torch.rand(1, 1, 16) + 0.5  # else the length of weight_v
    for ours, theirs in zip(WEIGHT_NORMS["weight_g"], WEIGHT_NORMS[weight_norm], strict=True):
        tensors[POSITION + theirs] = tensors.pop(POSITION + ours)
    if file_format == "safetensors":
        write_tensors(folder / "model.safetensors", tensors)
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    encoder, waveforms = load(folder), noise()
    assert encoder.layers == (0, 1, 2, 3, 4)
    expected = np.stack([reference_states(folder, waveform) for waveform in waveforms])

    frames = np.stack([encoder.frames(waveform) for waveform in waveforms])
    assert frames.dtype == np.float32
    assert frames.shape == expected.shape == (2, 5, 37, 32)  # 75 frames a second
    np.testing.assert_allclose(frames, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(encoder(waveforms), expected.mean(2), rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("before", [False, True])
def test_layers_come_in_the_order_asked_for_and_nothing_runs_beyond_the_last(tmp_path, before):
    folder = random_mert.write_mert_checkpoint(tmp_path, do_stable_layer_norm=before)
    some = load(folder, (3, 1))
    assert some.layers == (3, 1)
    assert len(some.network.model.encoder.layers) == 3
    np.testing.assert_array_equal(some(noise()), load(folder)(noise())[:, [3, 1]])


def test_bfloat16_is_close_and_comes_back_as_float32(norm_after, encoder):
    exact, rounded = encoder(noise()), load(norm_after, precision="bfloat16")(noise())
    assert rounded.dtype == np.float32
    error = np.linalg.norm(rounded - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    # Random weights cancel more than trained ones do; on MERT-v1-95M it is half a percent.
    assert 0 < error.max() < 0.1


def test_normalisation_is_that_of_the_processor(tmp_path, encoder):
    folder = random_mert.write_mert_checkpoint(tmp_path, do_normalize=True)
    waveforms = noise() * 1e-3 + 1e-4  # so quiet that the group norm does not make it up
    processor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    prepared = processor(list(waveforms), sampling_rate=RATE, return_tensors="np").input_values
    found = load(folder)(waveforms)
    np.testing.assert_allclose(found, encoder(prepared), atol=1e-4)
    assert np.abs(found - encoder(waveforms)).max() > 0.01


# ---- checkpoints that must be refused ------------------------------------------------------------


def copy(folder, to, config=None, preprocessor=None, tensors=None):
    """A checkpoint like `folder` with changes; a value of None takes a tensor away."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    for file, changes in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        write_json(to / file, {**read_json(to / file), **(changes or {})})
    if tensors:
        values = torch.load(to / "pytorch_model.bin", weights_only=True) | tensors
        kept = {k: v for k, v in values.items() if v is not None}
        write_tensors(to / "model.safetensors", kept)  # is read first
    return to


LAST = "encoder.layers.3.attention.q_proj.bias"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": {"feature_extractor_cqt": True}}, "feature_extractor_cqt"),
        ({"config": {"conv_pos_batch_norm": True}}, "conv_pos_batch_norm"),
        ({"config": {"model_type": None}}, "model_type"),
        ({"config": random_mert.mert_config("330m")}, "mert-v1-330m"),
        ({"preprocessor": {"sampling_rate": 16_000}}, "sampling_rate"),
        ({"preprocessor": {"do_normalize": "no"}}, "do_normalize"),
        ({"tensors": {LAST: None}}, LAST),
        ({"tensors": {"layer_norm.bias": torch.zeros(32)}}, r"layer_norm\.bias"),
        ({"tensors": {LAST: torch.zeros(31)}}, rf"(?s){LAST}.*31"),
    ],
)
def test_other_models_are_refused(tmp_path, norm_after, changes, named):
    with pytest.raises(ValueError, match=named):
        load(copy(norm_after, tmp_path, **changes))


def test_what_changes_nothing_is_let_pass(tmp_path, norm_after, encoder):
    """A prefix, a head, tensors that only training needs, a setting without effect."""
    folder = copy(norm_after, tmp_path, {"attention_relax": 32.0})
    weights = folder / "pytorch_model.bin"
    tensors = torch.load(weights, weights_only=True)
    del tensors["masked_spec_embed"]
    tensors["final_proj.weight"] = torch.zeros(3, 32)
    prefixed = {f"mert_model.{name}": tensor for name, tensor in tensors.items()}
    torch.save(prefixed | {"classifier.weight": torch.zeros(2, 32)}, weights)
    np.testing.assert_array_equal(load(folder)(noise()), encoder(noise()))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the checkpoint was run",))


NO_WEIGHTS = {  # in place of one tensor
    "a list": [1.0, 2.0],
    "sparse": torch.ones(32).to_sparse(),
    "meta": torch.ones(32, device="meta"),
    "quantised": torch.quantize_per_tensor(torch.ones(32), 0.1, 0, torch.qint8),
    "NaN": torch.full((32,), torch.nan),
    "integers": torch.ones(32, dtype=torch.int64),
    "no dimension": torch.tensor(1.0),
}


@pytest.mark.parametrize("value", NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_tensors_that_are_no_weights_are_refused(tmp_path, norm_after, value):
    weights = copy(norm_after, tmp_path) / "pytorch_model.bin"
    torch.save(torch.load(weights, weights_only=True) | {LAST: value}, weights)
    with pytest.raises(ValueError, match=rf"(?s){weights.name}.*{LAST}|tensors only"):
        load(tmp_path)
    torch.save([value], weights)
    with pytest.raises(ValueError, match=weights.name):
        load(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_changed_setting_is_an_error_or_runs(tmp_path, norm_after, file):
    folder = copy(norm_after, tmp_path)
    cases = list(edits(read_json(folder / file)))
    for what, value in random.Random(0).sample(cases, min(len(cases), 60)):
        (folder / file).write_text(json.dumps(value))
        try:
            load(folder)(noise(1))
        except (ValueError, OSError):
            continue
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")


@pytest.mark.parametrize("content", ["bomb", "cut short", "safetensors"])
def test_weights_that_are_not_only_tensors_are_refused(tmp_path, norm_after, content):
    weights = copy(norm_after, tmp_path) / "pytorch_model.bin"
    if content == "bomb":
        weights.write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    elif content == "cut short":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(b"no tensors")  # is read first
    with pytest.raises(ValueError, match=rf"{weights.name}.*tensors only"):
        load(tmp_path)


# ---- where the weights are -----------------------------------------------------------------------

WHERE = "m-a-p/MERT-v1-95M"


def test_what_was_downloaded_before_is_found_without_a_network(
    tmp_path, monkeypatch, norm_after, encoder
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (copy(norm_after, tmp_path / "some") / "pytorch_model.bin").unlink()
    for folder in (None, tmp_path / "nowhere", tmp_path / "some"):
        with pytest.raises(FileNotFoundError, match=WHERE):
            load(folder)
    repository, revision, *_ = mert.PUBLISHED["mert-v1-95m"]
    name = f"models--{repository.replace('/', '--')}"
    shutil.copytree(norm_after, tmp_path / "hub" / name / "snapshots" / revision)
    np.testing.assert_array_equal(load(None)(noise()), encoder(noise()))
