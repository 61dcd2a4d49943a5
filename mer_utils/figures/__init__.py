"""All figures of the project in one place: one function, one figure.

Every function returns a matplotlib Figure in the house style (`set_style`), which `save` writes.
Tables come as the other modules give them.
"""

from mer_utils.figures.of_data import (
    emotion_curve,
    label_frequencies,
    layer_probe,
    pooling_comparison,
    self_similarity,
    waveform_and_spectrogram,
)
from mer_utils.figures.of_labels import (
    affect_map,
    clustering_sweep,
    label_graph,
    label_map,
    similarity_heatmap,
)
from mer_utils.figures.of_results import (
    ablation_path,
    cluster_cosine_bars,
    learning_curve,
    per_label,
    projection_map,
    results,
    sweep_curves,
    training_curves,
    variants,
)
from mer_utils.figures.of_toys import curves, slider, unit_circle
from mer_utils.figures.style import save, set_style
