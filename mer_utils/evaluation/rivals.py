"""A rival that was trained by others and knows words itself: CLAP, with its own text half.

Source: Wu et al. 2023, "Large-scale contrastive language-audio pretraining with feature fusion and
keyword-to-caption augmentation" (arXiv 2211.06687). Its scores stand in the tables beside our
references: no dataset of ours trains it, but its hundreds of thousands of captioned sounds may hold
music of the target.
"""

import numpy as np
import torch
import transformers
from torch.nn import functional

from mer_utils.data.types import Labelled
from mer_utils.evaluation.study import song_scores
from mer_utils.labels.embeddings import label_texts
from mer_utils.sound.encoders import Encoder
from mer_utils.sound.hugging_face import find_model


def clap_scores(part: Labelled, encoder: Encoder, style: str = "ensemble") -> np.ndarray:
    """Cosine of every track's audio and every label's texts, both by CLAP: (tracks, labels).

    part: the dataset with the features of the encoder; encoder: `load_encoder("hf:<CLAP>")`.
    style: the texts of a label (`labels.label_texts`), whose mean vector counts.
    Raises ValueError for a model without a text half.
    """
    model = getattr(encoder.network, "model", None)
    if not hasattr(model, "get_text_features"):
        raise ValueError(
            f"{encoder.name}: has no text half, so it scores no labels; give a CLAP checkpoint"
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        find_model(encoder.spec["checkpoint"]), local_files_only=True
    )
    vectors = []
    for label in part.dataset.labels:
        tokens = tokenizer(list(label_texts(label, style)), padding=True, return_tensors="pt")
        with torch.inference_mode():
            texts = model.get_text_features(
                tokens["input_ids"].to(model.device), tokens["attention_mask"].to(model.device)
            ).pooler_output.cpu()  # (texts, d)
        vectors.append(functional.normalize(texts, dim=1).mean(0))  # (d,)
    words = functional.normalize(torch.stack(vectors), dim=1)  # (labels, d)
    heard = torch.from_numpy(np.array(part.features.values[:, 0], dtype=np.float32))
    return song_scores((functional.normalize(heard, dim=1) @ words.T).numpy(), part)
