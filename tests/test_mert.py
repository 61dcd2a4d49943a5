"""MERT: parity with transformers' own HuBERT, and what must be refused."""

import json
import pickle
import random
import shutil

import numpy as np
import pytest
import torch
from hostile import edits
from sounds import noise
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from mer_utils import sound
from mer_utils.sound import mert, random_mert
from mer_utils.storage import read_json, write_json, write_tensors

RATE = 24_000
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "pytorch_model.bin"


def load(folder, layers=None, **settings):
    return sound.load_encoder("mert-v1-95m", folder, layers, "cpu", **settings)


WAVES = noise(RATE // 2)  # (2, samples)


@pytest.fixture(scope="module")
def norm_after(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def encoder(norm_after):
    return load(norm_after)


# ---- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [False, True])
def test_every_state_is_that_of_transformers(tmp_path, before):
    """Of norm-after and norm-before, in both formats of files and both of weight norm."""
    folder = random_mert.write_mert_checkpoint(tmp_path, seed=7, do_stable_layer_norm=before)
    tensors = torch.load(folder / WEIGHTS, weights_only=True)
    size, direction = (f"encoder.pos_conv_embed.conv.weight_{x}" for x in "gv")
    tensors[size] *= torch.rand(1, 1, 16) + 0.5  # else the length of the direction
    torch.save(tensors, folder / WEIGHTS)
    if before:
        parametrized = direction.replace("weight_v", "parametrizations.weight.original")
        tensors[f"{parametrized}0"] = tensors.pop(size)
        tensors[f"{parametrized}1"] = tensors.pop(direction)
        write_tensors(folder / "model.safetensors", tensors)  # is read first
    model = HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        found = [model(torch.from_numpy(wave)[None], output_hidden_states=True) for wave in WAVES]
    states = [torch.cat([*x.hidden_states[:-1], x.last_hidden_state]) for x in found]
    expected = torch.stack(states).numpy()  # (batch, layers, frames, dim)

    encoder = load(folder)
    assert encoder.layers == (0, 1, 2, 3, 4)
    frames = np.stack([encoder.frames(wave) for wave in WAVES])
    assert frames.dtype == np.float32
    assert frames.shape == expected.shape == (2, 5, 37, 32)  # 75 frames a second
    np.testing.assert_allclose(frames, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(encoder(WAVES), expected.mean(2), rtol=1e-5, atol=5e-6)

    some = load(folder, (3, 1))
    assert some.layers == (3, 1)
    assert len(some.network.model.encoder.layers) == 3, "nothing runs beyond the last"
    np.testing.assert_array_equal(some(WAVES), encoder(WAVES)[:, [3, 1]])


def test_bfloat16_is_close_and_comes_back_as_float32(norm_after, encoder):
    exact, rounded = encoder(WAVES), load(norm_after, precision="bfloat16")(WAVES)
    assert rounded.dtype == np.float32
    error = np.linalg.norm(rounded - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    # Random weights cancel more than trained ones do; on MERT-v1-95M it is half a percent.
    assert 0 < error.max() < 0.1


def test_bfloat16_that_is_computed_wrongly_is_refused(norm_after, monkeypatch):
    right = mert.Mert.pooled

    def pooled(network, waveforms):
        return right(network, waveforms) * (1.3 if network.precision == "bfloat16" else 1.0)

    monkeypatch.setattr(mert.Mert, "pooled", pooled)
    with pytest.raises(ValueError, match="30% off float32"):
        load(norm_after, precision="bfloat16")
    load(norm_after)


def test_normalisation_is_that_of_the_processor(tmp_path, encoder):
    folder = random_mert.write_mert_checkpoint(tmp_path, do_normalize=True)
    waveforms = WAVES * 1e-3 + 1e-4  # so quiet that the group norm does not make it up
    processor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    prepared = processor(list(waveforms), sampling_rate=RATE, return_tensors="np").input_values
    found = load(folder)(waveforms)
    np.testing.assert_allclose(found, encoder(prepared), atol=1e-4)
    assert np.abs(found - encoder(waveforms)).max() > 0.01


# ---- checkpoints that must be refused ------------------------------------------------------------

LAST = "encoder.layers.3.attention.q_proj.bias"
QUANTISED = torch.quantize_per_tensor(torch.ones(32), 0.1, 0, torch.qint8)


def copy(folder, to, file, changes):
    """A checkpoint with changes in one of its files; a value of None takes a tensor away."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    if file == WEIGHTS:
        values = torch.load(to / file, weights_only=True) | changes
        torch.save({k: v for k, v in values.items() if v is not None}, to / file)
    else:
        write_json(to / file, read_json(to / file) | changes)
    return to


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        (CONFIG, {"feature_extractor_cqt": True}, "feature_extractor_cqt"),
        (CONFIG, {"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        (CONFIG, {"model_type": None}, "model_type"),
        (CONFIG, random_mert.mert_config("330m"), "mert-v1-330m"),
        (PREPROCESSOR, {"sampling_rate": 16_000}, "sampling_rate"),
        (PREPROCESSOR, {"do_normalize": "no"}, "do_normalize"),
        (WEIGHTS, {LAST: None}, LAST),
        (WEIGHTS, {"layer_norm.bias": torch.zeros(32)}, r"layer_norm\.bias"),
        (WEIGHTS, {LAST: torch.zeros(31)}, rf"(?s){LAST}.*31"),
        (WEIGHTS, {LAST: [1.0, 2.0]}, "tensors only.*list"),
        (WEIGHTS, {LAST: torch.ones(32).to_sparse()}, LAST),
        (WEIGHTS, {LAST: torch.ones(32, device="meta")}, LAST),
        (WEIGHTS, {LAST: QUANTISED}, rf"{LAST}|tensors only"),
        (WEIGHTS, {LAST: torch.full((32,), torch.nan)}, LAST),
        (WEIGHTS, {LAST: torch.ones(32, dtype=torch.int64)}, LAST),
        (WEIGHTS, {LAST: torch.tensor(1.0)}, LAST),
    ],
)
def test_other_models_are_refused(tmp_path, norm_after, file, changes, named):
    with pytest.raises(ValueError, match=named):
        load(copy(norm_after, tmp_path, file, changes))


def test_what_changes_nothing_is_let_pass(tmp_path, norm_after, encoder):
    """A prefix, a head, tensors that only training needs, a setting without effect."""
    folder = copy(norm_after, tmp_path, CONFIG, {"attention_relax": 32.0, "deepnorm": None})
    tensors = torch.load(folder / WEIGHTS, weights_only=True)
    del tensors["masked_spec_embed"]
    tensors["final_proj.weight"] = torch.zeros(3, 32)
    prefixed = {f"mert_model.{name}": tensor for name, tensor in tensors.items()}
    torch.save(prefixed | {"classifier.weight": torch.zeros(2, 32)}, folder / WEIGHTS)
    np.testing.assert_array_equal(load(folder)(WAVES), encoder(WAVES))


@pytest.mark.parametrize("file", [CONFIG, PREPROCESSOR])
def test_a_changed_setting_is_an_error_or_runs(tmp_path, norm_after, file):
    folder = copy(norm_after, tmp_path, file, {})
    cases = list(edits(read_json(folder / file)))
    for what, value in random.Random(0).sample(cases, min(len(cases), 60)):
        (folder / file).write_text(json.dumps(value))
        try:
            load(folder)(WAVES[:1])
        except (ValueError, OSError):
            continue
        except Exception as error:
            pytest.fail(f"{what}: {error!r}")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the checkpoint was run",))


def test_weights_that_are_not_only_tensors_are_refused(tmp_path, norm_after):
    weights = copy(norm_after, tmp_path, CONFIG, {}) / WEIGHTS
    bomb, cut = pickle.dumps({"a": Bomb()}, protocol=2), weights.read_bytes()[:5000]
    torch.save([torch.zeros(32)], weights)
    listed, safe = weights.read_bytes(), tmp_path / "model.safetensors"  # which is read first
    for file, content in ((weights, bomb), (weights, cut), (weights, listed), (safe, b"nothing")):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{file.name}.*tensors only"):
            load(tmp_path)
