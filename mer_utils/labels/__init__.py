"""Emotion labels as vectors of a language model, and which of them mean the same.

`embed_labels` gives every label of every dataset the embedding of a text, `cluster_labels` groups
labels (Liu, Roy, Herremans, arXiv 2410.11522), and a `LabelSpace` is what a projector aims at.

Conventions: vectors are float32 rows, (labels, d); label embeddings have unit length. The language
model is read from this machine only, never from the network, and runs on the CPU.

A text model of your own takes one decorator on a function from texts to vectors
(`mer_utils.registry`):

    @labels.TEXT_MODELS.register("mine")
    def mine(texts):  # a tuple of texts -> (texts, d), of any length but zero
        return [[1 + text.count(letter) for letter in "aeiou"] for text in texts]

    labels.embed_labels(["calm", "wild"], model="mine")
"""

from mer_utils.labels.clustering import (
    DECIDING,
    LabelClusters,
    choose_setting,
    cluster_labels,
    sweep_settings,
)
from mer_utils.labels.embeddings import (
    STYLES,
    LabelEmbeddings,
    centre,
    clean_name,
    embed_labels,
    join,
    label_texts,
    nearest,
    read_vectors,
    similarity,
)
from mer_utils.labels.language_model import (
    BEST_MODEL,
    DEFAULT_MODEL,
    TEXT_MODELS,
    load_language_model,
)
from mer_utils.labels.space import LabelSpace
