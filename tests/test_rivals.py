"""CLAP as a rival, on a small one with random weights."""

import numpy as np
import pytest
import torch
import transformers
from moods import MOODS, mood_dataset
from test_hugging_face import clap, hubert

from mer_utils import sound
from mer_utils.data import Features, Labelled
from mer_utils.evaluation import rivals

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "music", "that", "sounds", *MOODS["one"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clap")
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    numbers = {word: number for number, word in enumerate(WORDS)}
    for part in (*clap(), transformers.BertTokenizer(vocab=numbers, **special)):
        part.save_pretrained(folder)
    return folder


def heard(encoder: sound.Encoder, waveforms: np.ndarray) -> Labelled:
    """Four tracks of the moods, one segment each, as the encoder hears them."""
    dataset = mood_dataset("one", 4).dataset
    tracks = dataset.tracks.index.to_numpy(dtype=str)
    features = Features(encoder(waveforms), tracks, np.zeros(4), encoder.settings())
    return Labelled(dataset, features)


def test_clap_scores_are_the_models_own_cosines(folder):
    encoder = sound.load_encoder(f"hf:{folder}")
    samples = int(encoder.segment_seconds * encoder.sample_rate)
    waveforms = np.random.default_rng(0).normal(0, 0.1, (4, samples)).astype(np.float32)
    part = heard(encoder, waveforms)
    model = transformers.ClapModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    texts = tokenizer(
        [f"music that sounds {label}" for label in part.dataset.labels], return_tensors="pt"
    )
    with torch.no_grad():
        sounds = extractor(list(waveforms), sampling_rate=encoder.sample_rate, return_tensors="pt")
        output = model(texts["input_ids"], **sounds, attention_mask=texts["attention_mask"])
    cosines = (output.logits_per_audio / model.logit_scale_a.detach().exp()).numpy()
    np.testing.assert_allclose(rivals.clap_scores(part, encoder, "prompt"), cosines, atol=1e-5)
    assert np.ptp(cosines) > 1e-3


def test_a_model_without_words_is_no_rival(tmp_path):
    for each in hubert():
        each.save_pretrained(tmp_path)
    encoder = sound.load_encoder(f"hf:{tmp_path}")
    part = mood_dataset("one", 4)
    with pytest.raises(ValueError, match="text half"):
        rivals.clap_scores(part, encoder)
