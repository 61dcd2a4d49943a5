"""All figures of the project in one place: one function, one figure.

Every function returns a matplotlib Figure in the house style of mer_utils.plotting, which `save`
writes as PNG or SVG. Tables come as the other modules give them; one that lacks a column is a
ValueError that names it. The functions are in figures_data (datasets, audio, features),
figures_labels (labels, clusters) and figures_results (training, results).
"""

from mer_utils.figures_data import (
    emotion_curve,
    label_frequencies,
    labels_per_track,
    layer_probe,
    pooling_comparison,
    vocabulary_overlap,
    waveform_and_spectrogram,
)
from mer_utils.figures_labels import (
    affect_map,
    clustering_sweep,
    label_graph,
    label_map,
    label_spaces,
    similarity_heatmap,
)
from mer_utils.figures_results import (
    ablation_path,
    cluster_cosine_bars,
    learning_curve,
    per_label,
    projection_map,
    results,
    sweep_curves,
    training_curves,
)
from mer_utils.plotting import save, style

__all__ = [
    "ablation_path",
    "affect_map",
    "cluster_cosine_bars",
    "clustering_sweep",
    "emotion_curve",
    "label_frequencies",
    "label_graph",
    "label_map",
    "label_spaces",
    "labels_per_track",
    "layer_probe",
    "learning_curve",
    "per_label",
    "pooling_comparison",
    "projection_map",
    "results",
    "save",
    "similarity_heatmap",
    "style",
    "sweep_curves",
    "training_curves",
    "vocabulary_overlap",
    "waveform_and_spectrogram",
]
