"""Emotion labels as vectors of a language model, and which of them mean the same.

`embed_labels` gives every label of every dataset the embedding of a text, `cluster_labels` groups
labels (Liu, Roy, Herremans, arXiv 2410.11522), and a `LabelSpace` is what a projector aims at.

Conventions: vectors are float32 rows, (labels, d); label embeddings have unit length. The language
model is read from this machine only, never from the network, and runs on the CPU.
"""

from mer_utils.labels.clustering import (
    DECIDING,
    LabelClusters,
    NotConvergedError,
    choose_setting,
    cluster_labels,
    load_clusters,
    save_clusters,
    sweep_settings,
)
from mer_utils.labels.embeddings import (
    STYLES,
    TEMPLATES,
    LabelEmbeddings,
    centre,
    clean_name,
    embed_labels,
    join,
    label_texts,
    load_embeddings,
    nearest,
    read_vectors,
    save_embeddings,
    similarity,
)
from mer_utils.labels.language_model import (
    DEFAULT_MODEL,
    TEXT_MODELS,
    language_model_folder,
    load_language_model,
)
from mer_utils.labels.space import LabelSpace, antonym_directions
