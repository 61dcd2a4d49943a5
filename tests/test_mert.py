"""MERT: parity with an independent computation, and what must be refused."""

import json
import math
import pickle
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2FeatureExtractor

from mer_utils import sound
from mer_utils.sound import mert, random_mert
from mer_utils.storage import read_json, read_tensors, write_json, write_tensors

RATE = 24_000


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks on a busy machine wait more for one another's threads than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(folder, layers=None, **settings):
    return sound.load_encoder("mert-v1-95m", folder, layers, "cpu", **settings)


def noise(batch=2, seconds=0.5, seed=0):
    shape = (batch, int(seconds * RATE))
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def norm_after(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("after"))


@pytest.fixture(scope="module")
def norm_before(tmp_path_factory):
    return random_mert.write_mert_checkpoint(tmp_path_factory.mktemp("before"), norm_before=True)


# ---- an independent computation, from the files, in float64 --------------------------------------


def layer_norm(x, weight, bias, epsilon=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + epsilon) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def strided_convolution(x, weight, stride):
    """x (in, time), weight (out, in, kernel), no bias: a sum over the kernel's steps."""
    kernel = weight.shape[2]
    steps = (x.shape[1] - kernel) // stride + 1
    return sum(
        weight[:, :, k] @ x[:, k : k + (steps - 1) * stride + 1 : stride] for k in range(kernel)
    )


def positional(x, tensors, config):
    """x (time, dim): a grouped convolution whose weight is size · direction / |direction|."""
    name = "encoder.pos_conv_embed.conv."
    if name + "weight_g" in tensors:
        size, direction = tensors[name + "weight_g"], tensors[name + "weight_v"]
    else:
        size = tensors[name + "parametrizations.weight.original0"]
        direction = tensors[name + "parametrizations.weight.original1"]
    weight = torch.stack(  # one length for each step of the kernel
        [
            size[0, 0, k] * direction[:, :, k] / direction[:, :, k].norm()
            for k in range(size.shape[2])
        ],
        dim=2,
    )
    groups, kernel = config["num_conv_pos_embedding_groups"], weight.shape[2]
    wide = x.shape[1] // groups
    padded = torch.zeros(len(x) + kernel, x.shape[1], dtype=x.dtype)
    padded[kernel // 2 : kernel // 2 + len(x)] = x
    out = torch.zeros_like(x)
    for g in range(groups):
        channels = slice(g * wide, (g + 1) * wide)
        for k in range(kernel):
            out[:, channels] += padded[k : k + len(x), channels] @ weight[channels, :, k].T
    return gelu(out + tensors[name + "bias"])


def attention(x, part, config):
    heads = config["num_attention_heads"]
    size = x.shape[1] // heads
    q, k, v = (
        (x @ part[f"{p}.weight"].T + part[f"{p}.bias"]).reshape(len(x), heads, size)
        for p in ("q_proj", "k_proj", "v_proj")
    )
    similarity = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(size)
    similarity = (similarity - similarity.amax(-1, keepdim=True)).exp()
    share = similarity / similarity.sum(-1, keepdim=True)
    mixed = torch.einsum("hqk,khd->qhd", share, v).reshape(len(x), -1)
    return mixed @ part["out_proj.weight"].T + part["out_proj.bias"]


def part_of(tensors, name):
    return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}


def reference_states(folder: Path, waveform: np.ndarray) -> np.ndarray:
    """All hidden states (layers, frames, dim) of one waveform, by hand."""
    config = json.loads((folder / "config.json").read_text())
    if (folder / "model.safetensors").exists():
        tensors = read_tensors(folder / "model.safetensors")
    else:
        tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tensors = {k.removeprefix("mert_model."): v.double() for k, v in tensors.items()}

    x = torch.from_numpy(waveform).double()[None]  # (1, samples)
    for i, stride in enumerate(config["conv_stride"]):
        x = strided_convolution(
            x, tensors[f"feature_extractor.conv_layers.{i}.conv.weight"], stride
        )
        if i == 0:  # group norm with one group a channel: over time
            norm = part_of(tensors, "feature_extractor.conv_layers.0.layer_norm.")
            x = layer_norm(x, norm["weight"][:, None], norm["bias"][:, None])
        x = gelu(x)
    norm = part_of(tensors, "feature_projection.layer_norm.")
    project = part_of(tensors, "feature_projection.projection.")
    x = layer_norm(x.T, norm["weight"], norm["bias"]) @ project["weight"].T + project["bias"]

    before = config["do_stable_layer_norm"]
    outer = part_of(tensors, "encoder.layer_norm.")
    x = x + positional(x, tensors, config)
    x = x if before else layer_norm(x, outer["weight"], outer["bias"])
    states = [x]
    for i in range(config["num_hidden_layers"]):
        part = part_of(tensors, f"encoder.layers.{i}.")
        attend = part_of(part, "attention.")
        first = (part["layer_norm.weight"], part["layer_norm.bias"])
        second = (part["final_layer_norm.weight"], part["final_layer_norm.bias"])

        def feed_forward(x, part=part):
            inner = part_of(part, "feed_forward.intermediate_dense.")
            outer = part_of(part, "feed_forward.output_dense.")
            return gelu(x @ inner["weight"].T + inner["bias"]) @ outer["weight"].T + outer["bias"]

        if before:
            x = x + attention(layer_norm(x, *first), attend, config)
            x = x + feed_forward(layer_norm(x, *second))
        else:
            x = layer_norm(x + attention(x, attend, config), *first)
            x = layer_norm(x + feed_forward(x), *second)
        states.append(x)
    if before:
        states[-1] = layer_norm(x, outer["weight"], outer["bias"])
    return torch.stack(states).numpy()


@pytest.mark.parametrize(
    ("before", "weight_norm", "prefix", "file_format"),
    [
        (False, "weight_g", False, "bin"),
        (False, "parametrizations", True, "safetensors"),
        (True, "parametrizations", False, "bin"),
        (True, "weight_g", True, "safetensors"),
    ],
)
def test_every_state_is_that_of_an_independent_computation(
    tmp_path, before, weight_norm, prefix, file_format
):
    folder = random_mert.write_mert_checkpoint(
        tmp_path, "small", before, weight_norm, prefix, file_format, seed=7
    )
    encoder, waveforms = load(folder), noise()
    assert encoder.layers == (0, 1, 2, 3, 4)
    expected = np.stack([reference_states(folder, waveform) for waveform in waveforms])

    frames = np.stack([encoder.frames(waveform) for waveform in waveforms])
    assert frames.dtype == np.float32
    assert frames.shape == expected.shape == (2, 5, 37, 32)  # 75 frames a second
    np.testing.assert_allclose(frames, expected, rtol=1e-5, atol=2e-5)
    pooled = encoder(waveforms)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, expected.mean(2), rtol=1e-5, atol=5e-6)


def test_final_norm_is_applied_to_the_last_state_of_the_norm_before_variant_only(norm_before):
    waveform = noise(1)[0]
    encoder, stopped = load(norm_before), load(norm_before, (3,))
    frames = encoder.frames(waveform)
    norm = encoder.network.model.encoder.layer_norm
    # A state that passed through a layer norm has, undone, mean 0 and variance 1 in every frame.
    undone = (frames - norm.bias.numpy()) / norm.weight.numpy()
    np.testing.assert_allclose(undone[4].std(-1), 1, atol=1e-3)
    assert np.abs(undone[3].std(-1) - 1).min() > 0.1
    np.testing.assert_array_equal(stopped.frames(waveform)[0], frames[3])


def test_transformers_own_states_agree_but_for_the_final_norm(norm_after, norm_before):
    waveform = noise(1)
    for folder in (norm_after, norm_before):
        network = load(folder).network
        with torch.inference_mode():
            theirs = network.model(torch.from_numpy(waveform), output_hidden_states=True)
        ours = network.frames(torch.from_numpy(waveform[0]))
        for layer in range(4):
            torch.testing.assert_close(ours[layer], theirs.hidden_states[layer][0])
        torch.testing.assert_close(ours[4], theirs.last_hidden_state[0])


def test_layers_come_in_the_order_asked_for_and_nothing_runs_beyond_the_last(norm_after):
    everything, some = load(norm_after), load(norm_after, [3, 1])
    assert some.layers == (3, 1)
    assert len(some.network.model.encoder.layers) == 3
    np.testing.assert_array_equal(some(noise()), everything(noise())[:, [3, 1]])
    bottom = load(norm_after, (0,))
    assert len(bottom.network.model.encoder.layers) == 0
    np.testing.assert_array_equal(bottom(noise()), everything(noise())[:, [0]])


@pytest.mark.parametrize("layers", [(5,), (-1,), (1, 1), (), (1.0,), (True,), ("3",)])
def test_layers_that_are_not_there(norm_after, layers):
    with pytest.raises(ValueError, match=r"layers=.*to 4"):
        load(norm_after, layers)


def test_bfloat16_is_close_and_comes_back_as_float32(norm_after, norm_before):
    for folder in (norm_after, norm_before):
        exact, rounded = load(folder)(noise()), load(folder, precision="bfloat16")(noise())
        assert rounded.dtype == np.float32
        error = np.linalg.norm(rounded - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
        # Random weights cancel more than trained ones do; on MERT-v1-95M it is half a percent.
        assert 0 < error.max() < 0.1
    with pytest.raises(ValueError, match="float32 and bfloat16"):
        load(norm_after, precision="float16")


def test_normalisation_is_that_of_the_processor(tmp_path, norm_after):
    folder = random_mert.write_mert_checkpoint(tmp_path, do_normalize=True)
    waveforms = noise() * 1e-3 + 1e-4  # so quiet that the group norm does not make it up
    processor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    prepared = processor(list(waveforms), sampling_rate=RATE, return_tensors="np").input_values
    np.testing.assert_allclose(load(folder)(waveforms), load(norm_after)(prepared), atol=1e-4)
    assert np.abs(load(folder)(waveforms) - load(norm_after)(waveforms)).max() > 0.01


def test_a_batch_gives_bit_for_bit_what_its_members_give_alone(norm_after):
    encoder, waveforms = load(norm_after), noise(3)
    alone = np.concatenate([encoder(waveform[None]) for waveform in waveforms])
    np.testing.assert_array_equal(encoder(waveforms), alone)


def test_padding_would_change_the_features(norm_after):
    """Why nothing is padded: group norm runs over time."""
    encoder, waveform = load(norm_after), noise(1, 1.0)[0]
    padded = encoder.frames(np.concatenate([waveform, np.zeros_like(waveform)]))[:, :74]
    exact = encoder.frames(waveform)
    assert np.linalg.norm(padded - exact) / np.linalg.norm(exact) > 0.2


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(400, 3000))
def test_number_of_frames(norm_after, samples):
    encoder = load_once(norm_after)
    expected = samples
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        expected = (expected - kernel) // stride + 1
    assert encoder.frames(np.full(samples, 0.1, np.float32)).shape == (5, expected, 32)


def load_once(folder, cache={}):  # noqa: B006
    return cache.setdefault(folder, load(folder))


def test_the_papers_segment_and_the_shortest_waveform(norm_after):
    encoder = load_once(norm_after)
    assert (encoder.segment_seconds, encoder.sample_rate) == (10.0, RATE)
    assert encoder.frames(np.zeros(240_000, np.float32)).shape[1] == 749
    assert encoder.minimum_samples == 400
    assert encoder.frames(noise(1)[0, :400]).shape[1] == 1
    with pytest.raises(ValueError, match=r"399 samples .* at least 400"):
        encoder(noise()[:, :399])


# ---- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "tensors", "numbers"), [("95m", 211, 94_371_712), ("330m", 403, 315_428_992)]
)
def test_published_sizes(size, tensors, numbers):
    before = size == "330m"
    shapes = random_mert.mert_tensor_shapes(
        random_mert.mert_config(size, do_stable_layer_norm=before)
    )
    assert len(shapes) == tensors
    assert sum(map(math.prod, shapes.values())) == numbers


# ---- checkpoints that must be refused ------------------------------------------------------------


def copy(folder, to, config=None, preprocessor=None, tensors=None):
    """A checkpoint like `folder` with changes; a value of None takes a key away."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    for file, changes in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        values = {**read_json(to / file), **(changes or {})}
        write_json(to / file, {k: v for k, v in values.items() if v is not None})
    if tensors:
        values = torch.load(to / "pytorch_model.bin", weights_only=True) | tensors
        (to / "pytorch_model.bin").unlink()
        kept = {k: v for k, v in values.items() if v is not None}
        write_tensors(to / "model.safetensors", kept)
    return to


@pytest.mark.parametrize("key", ["feature_extractor_cqt", "deepnorm", "conv_pos_batch_norm"])
def test_variants_that_are_not_covered_are_refused_by_key(tmp_path, norm_after, key):
    with pytest.raises(ValueError, match=rf"config\.json: {key} is True"):
        load(copy(norm_after, tmp_path, config={key: True}))


def test_attention_relax_has_no_effect(tmp_path, norm_after):
    relaxed = load(copy(norm_after, tmp_path, config={"attention_relax": 32.0}))
    np.testing.assert_array_equal(relaxed(noise()), load(norm_after)(noise()))


def test_other_models_are_refused(tmp_path, norm_after):
    with pytest.raises(ValueError, match="model_type is 'wav2vec2'"):
        load(copy(norm_after, tmp_path, config={"model_type": "wav2vec2"}))
    with pytest.raises(ValueError, match="load it as 'mert-v1-330m'"):
        load(copy(norm_after, tmp_path, random_mert.mert_config("330m")))
    with pytest.raises(ValueError, match=r"config\.json: HubertModel cannot be configured"):
        load(copy(norm_after, tmp_path, random_mert.mert_config(hidden_size="wide")))


def test_the_processor_must_say_what_it_does(tmp_path, norm_after):
    with pytest.raises(ValueError, match="do_normalize is None, expected a bool"):
        load(copy(norm_after, tmp_path, preprocessor={"do_normalize": None}))
    with pytest.raises(ValueError, match=r"sampling_rate is 16000, but .* sample_rate 24000"):
        load(
            copy(norm_after, tmp_path, preprocessor={"do_normalize": True, "sampling_rate": 16000})
        )


def test_tensors_must_be_those_of_the_network(tmp_path, norm_after):
    name = "encoder.layers.1.attention.q_proj.bias"
    with pytest.raises(ValueError, match=rf"1 missing, first: \['{name}'\]"):
        load(copy(norm_after, tmp_path / "a", tensors={name: None}))
    more = "encoder.layers.9.layer_norm.bias"
    with pytest.raises(ValueError, match=rf"1 unexpected, first: \['{more}'\]"):
        load(copy(norm_after, tmp_path / "b", tensors={more: torch.zeros(32)}))
    with pytest.raises(
        ValueError, match=rf"1 of another shape, first: \['{name} \(31,\), expected"
    ):
        load(copy(norm_after, tmp_path / "c", tensors={name: torch.zeros(31)}))


def test_what_only_training_needs_is_left_out(tmp_path, norm_after):
    extra = {"masked_spec_embed": None, "final_proj.weight": torch.zeros(3, 32)}
    trained = load(copy(norm_after, tmp_path, tensors=extra))
    np.testing.assert_array_equal(trained(noise()), load(norm_after)(noise()))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the checkpoint was run",))


@pytest.mark.parametrize("content", ["bomb", "cut short", "pointer", "no tensors"])
def test_weights_that_are_not_only_tensors_are_refused(tmp_path, norm_after, content):
    folder = copy(norm_after, tmp_path)
    weights = folder / "pytorch_model.bin"
    if content == "bomb":
        weights.write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    elif content == "cut short":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif content == "pointer":
        weights.write_text("version https://git-lfs.example/spec/v1\noid sha256:00\nsize 1\n")
    else:
        torch.save({"state": {"a": torch.zeros(1)}}, weights)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin.*tensors"):
        load(folder)


def test_safetensors_that_are_cut_short(tmp_path):
    folder = random_mert.write_mert_checkpoint(tmp_path, file_format="safetensors")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read as tensors only"):
        load(folder)


# ---- where the weights are -----------------------------------------------------------------------

WHERE = r"m-a-p/MERT-v1-95M on the Hugging Face Hub .*CC-BY-NC-4\.0.*checkpoint="


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the Hub's files, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_no_weights(hub_cache):
    with pytest.raises(FileNotFoundError, match=WHERE):
        sound.load_encoder("mert-v1-95m")
    with pytest.raises(FileNotFoundError, match=r"m-a-p/MERT-v1-330M .*CC-BY-NC-4\.0"):
        sound.load_encoder("mert-v1-330m")


def test_no_folder_and_a_folder_that_lacks_files(tmp_path, norm_after):
    with pytest.raises(FileNotFoundError, match=rf"no folder .*nowhere.*{WHERE}"):
        load(tmp_path / "nowhere")
    folder = copy(norm_after, tmp_path)
    (folder / "pytorch_model.bin").rename(folder / "weights.bin")
    with pytest.raises(FileNotFoundError, match=rf"lacks model.safetensors or .*{WHERE}"):
        load(folder)
    with pytest.raises(ValueError, match="is a local folder"):
        load(norm_after, revision="0" * 40)


@pytest.mark.parametrize("revision", [None, "main", "12af15f"])
def test_another_repository_needs_a_commit(revision):
    with pytest.raises(ValueError, match="full hash of a commit"):
        load("somebody/mert", revision=revision)


def put_in_cache(folder, cache, repository, revision):
    snapshot = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    shutil.copytree(folder, snapshot)
    return snapshot


def test_what_was_downloaded_before_is_found_without_a_network(hub_cache, norm_after):
    published = mert.PUBLISHED["mert-v1-95m"]
    put_in_cache(norm_after, hub_cache, published.repository, published.revision)
    encoder = sound.load_encoder("mert-v1-95m", device="cpu")
    np.testing.assert_array_equal(encoder(noise()), load(norm_after)(noise()))
    other = put_in_cache(norm_after, hub_cache, "somebody/mert", "1" * 40)
    (other / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="somebody/mert cannot be reached"):
        load("somebody/mert", revision="1" * 40)


def test_only_the_files_that_are_needed_are_downloaded_at_the_pinned_commit(
    hub_cache, norm_after, monkeypatch
):
    asked = []

    def download(repository, file, revision):
        asked.append((repository, file, revision))
        return str(norm_after / file)

    monkeypatch.setattr(
        huggingface_hub, "file_exists", lambda repository, file, revision: file.endswith(".bin")
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    sound.load_encoder("mert-v1-95m", device="cpu")
    published = mert.PUBLISHED["mert-v1-95m"]
    assert asked == [
        (published.repository, file, published.revision)
        for file in ("config.json", "preprocessor_config.json", "pytorch_model.bin")
    ]
    monkeypatch.setattr(huggingface_hub, "file_exists", lambda repository, file, revision: False)
    with pytest.raises(FileNotFoundError, match=r"has neither model\.safetensors nor"):
        sound.load_encoder("mert-v1-95m", device="cpu")
