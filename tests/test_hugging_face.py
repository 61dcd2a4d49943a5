"""Audio models of transformers as encoders, on small ones with random weights."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from moods import MOODS, mood_dataset
from safetensors.torch import load_file, save_file
from sounds import noise

from mer_utils import sound
from mer_utils.data import Features, Labelled
from mer_utils.evaluation import rivals

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64}
STATES = (0, 1, 2)
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "music", "that", "sounds", *MOODS["one"]]


def hubert():
    sizes = {"conv_dim": (16, 16), "conv_kernel": (10, 4), "conv_stride": (5, 4)}
    sizes |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    model = transformers.HubertModel(transformers.HubertConfig(**SMALL, **sizes))
    return model, transformers.Wav2Vec2FeatureExtractor()


def ast(**settings):
    sizes = {"max_length": 64, "num_mel_bins": 32}
    model = transformers.ASTModel(transformers.ASTConfig(**SMALL, **sizes))
    return model, transformers.ASTFeatureExtractor(**sizes, **settings)


def clap():
    text = SMALL | {"num_hidden_layers": 1, "vocab_size": 50}
    audio = {"spec_size": 128, "num_mel_bins": 32, "patch_embeds_hidden_size": 16}
    audio |= {"hidden_size": 128, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    audio |= {"window_size": 2}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    window = {"feature_size": 32, "max_length_s": 2, "truncation": "rand_trunc"}
    return transformers.ClapModel(config), transformers.ClapFeatureExtractor(**window)


def whisper():
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "vocab_size": 60}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"num_mel_bins": 16, "max_source_positions": 50}
    tokens = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    model = transformers.WhisperModel(transformers.WhisperConfig(**sizes, **tokens))
    return model, transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    found = {}
    for make in (hubert, ast, clap, whisper):
        found[make.__name__] = tmp_path_factory.mktemp(make.__name__)
        for part in make():
            part.save_pretrained(found[make.__name__])
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    numbers = {word: number for number, word in enumerate(WORDS)}
    transformers.BertTokenizer(vocab=numbers, **special).save_pretrained(found["clap"])
    return found


def load(folder, **arguments) -> tuple[sound.Encoder, np.ndarray]:
    """An encoder, and two waveforms as long as its segments, of at most 2 s."""
    encoder = sound.load_encoder(f"hf:{folder}", **arguments)
    return encoder, noise(int(min(2, encoder.segment_seconds) * encoder.sample_rate))


@pytest.mark.parametrize(
    ("name", "layers", "dim", "rate", "seconds"),
    [
        ("hubert", STATES, 32, 16_000, 10),
        ("ast", STATES, 32, 16_000, 0.63),
        ("clap", ("output",), 24, 48_000, 2),
        ("whisper", STATES, 32, 16_000, 1),
    ],
)
def test_any_audio_model_is_an_encoder(folders, name, layers, dim, rate, seconds):
    encoder, waveforms = load(folders[name])
    assert (encoder.layers, encoder.dim, encoder.sample_rate) == (layers, dim, rate)
    assert encoder.segment_seconds == pytest.approx(seconds)
    features = encoder(waveforms)
    assert features.shape == (2, len(layers), dim)
    np.testing.assert_array_equal(encoder(waveforms[1:]), features[1:])
    over_time = encoder.frames(waveforms[0])
    np.testing.assert_allclose(over_time.mean(1), features[0], rtol=1e-5, atol=1e-6)
    assert sound.load_encoder(**encoder.spec).settings() == encoder.settings()


@pytest.mark.parametrize("name", ["hubert", "ast", "clap", "whisper"])
def test_bfloat16_is_close(folders, name):
    exact, waveforms = load(folders[name])
    rounded, _ = load(folders[name], precision="bfloat16")
    np.testing.assert_allclose(rounded(waveforms), exact(waveforms), rtol=0.1, atol=0.1)
    assert (rounded(waveforms) != exact(waveforms)).any()


def test_states_are_those_of_transformers(folders):
    encoder, waveforms = load(folders["hubert"], layers=(2, 0))
    model = transformers.HubertModel.from_pretrained(folders["hubert"])
    mean, variance = waveforms.mean(1, keepdims=True), waveforms.var(1, keepdims=True)
    given = torch.from_numpy((waveforms - mean) / np.sqrt(variance + 1e-7))
    with torch.inference_mode():
        states = model(given, output_hidden_states=True).hidden_states
    expected = torch.stack([states[2].mean(1), states[0].mean(1)], dim=1).numpy()
    np.testing.assert_allclose(encoder(waveforms), expected, rtol=1e-4, atol=1e-5)


def test_features_by_another_extractor_are_others(folders, tmp_path):
    before = load(folders["ast"])[0].settings()
    shutil.copytree(folders["ast"], tmp_path, dirs_exist_ok=True)
    ast(mean=-1.0)[1].save_pretrained(tmp_path)
    after = load(tmp_path)[0].settings()
    assert {key for key in after if after[key] != before[key]} == {"name", "settings_sha256"}


def test_what_a_model_would_cut_off_is_refused(folders):
    encoder, waveforms = load(folders["ast"])
    with pytest.raises(ValueError, match="cut"):
        encoder(np.tile(waveforms, 2))


def test_weights_that_would_be_random_are_refused(folders, tmp_path):
    shutil.copytree(folders["hubert"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    lost = "encoder.layers.1.attention.k_proj.weight"
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=lost):
        load(tmp_path)


def test_no_such_model_or_layer(folders, monkeypatch, tmp_path):
    for layers in ((3,), ("output",), ()):
        with pytest.raises(ValueError, match="layers"):
            load(folders["hubert"], layers=layers)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="hf:"):
        load("nobody/no-such-model")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="not an audio model"):
        load(tmp_path)


# --- CLAP as a rival


def test_clap_scores_are_the_models_own_cosines(folders):
    folder = folders["clap"]
    encoder, waveforms = load(folder)
    dataset = mood_dataset("one", 2).dataset
    tracks = dataset.tracks.index.to_numpy(dtype=str)
    features = Features(encoder(waveforms), tracks, np.zeros(2), encoder.settings())
    model = transformers.ClapModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    prompts = [f"music that sounds {label}" for label in dataset.labels]
    texts = tokenizer(prompts, return_tensors="pt")
    with torch.no_grad():
        sounds = extractor(list(waveforms), sampling_rate=encoder.sample_rate, return_tensors="pt")
        output = model(texts["input_ids"], **sounds, attention_mask=texts["attention_mask"])
    cosines = (output.logits_per_audio / model.logit_scale_a.detach().exp()).numpy()
    found = rivals.clap_scores(Labelled(dataset, features), encoder, "prompt")
    np.testing.assert_allclose(found, cosines, atol=1e-5)
    assert np.ptp(cosines) > 1e-3


def test_a_model_without_words_is_no_rival(folders):
    with pytest.raises(ValueError, match="text half"):
        rivals.clap_scores(mood_dataset("one", 4), load(folders["hubert"])[0])
