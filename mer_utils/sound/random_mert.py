"""MERT checkpoints with random weights, in the files and names of the published ones.

For tests, for looking at the architecture (notebook 03) and for timing at full size: no weights
can be downloaded on a closed network, and random ones cost the same time. Their features mean
nothing.

The names and shapes are written down here from the published checkpoints' format, not taken from
the class that reads them, so that a test of the one is a test of the other.
"""

from math import prod, sqrt
from pathlib import Path

import torch

from mer_utils.storage import replacing, write_json, write_tensors

_SIZE_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "conv_dim",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
)
SIZES = {
    "small": (32, 4, 4, 64, [24] * 7, 16, 4),
    "95m": (768, 12, 12, 3072, [512] * 7, 128, 16),
    "330m": (1024, 24, 16, 4096, [512] * 7, 128, 16),
}
WEIGHT_NORMS = {
    "weight_g": ("weight_g", "weight_v"),
    "parametrizations": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
}
"""The two ways in which the published checkpoints name the size and the direction of a weight."""


def write_mert_checkpoint(
    folder: str | Path,
    size: str = "small",
    weight_norm: str = "weight_g",
    file_format: str = "bin",
    do_normalize: bool = False,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a MERT checkpoint with random weights; gives its folder back.

    size: a key of `SIZES`.
    weight_norm: a key of `WEIGHT_NORMS`.
    file_format: "bin" (pytorch_model.bin) or "safetensors" (model.safetensors).
    do_normalize: what preprocessor_config.json says; changes: other keys of config.json.
    """
    folder = Path(folder)
    config = mert_config(size, **changes)
    tensors = random_tensors(mert_tensor_shapes(config, weight_norm), seed)
    write_json(folder / "config.json", config)
    preprocessor = {"do_normalize": do_normalize, "sampling_rate": config["sample_rate"]}
    write_json(folder / "preprocessor_config.json", preprocessor)
    if file_format == "safetensors":
        write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    else:
        with replacing(folder / "pytorch_model.bin") as temporary:
            torch.save(tensors, temporary)
    return folder


def mert_config(size: str = "small", **changes: object) -> dict:
    """What decides in the config.json of MERT v1: sizes by `SIZES`, the rest as MERT-v1-95M."""
    return {
        "attention_relax": -1.0,
        "conv_bias": False,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "deepnorm": False,
        "do_stable_layer_norm": size == "330m",
        "feat_extract_activation": "gelu",
        "feat_extract_norm": "group",
        "feat_proj_layer_norm": True,
        "feature_extractor_cqt": False,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-05,
        "layerdrop": 0.05,
        "mask_time_prob": 0.05,
        "model_type": "mert_model",
        "sample_rate": 24000,
        **dict(zip(_SIZE_KEYS, SIZES[size], strict=True)),
        **changes,
    }


def mert_tensor_shapes(config: dict, weight_norm: str = "weight_g") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a checkpoint of MERT v1 with this configuration."""
    width, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"masked_spec_embed": (width,)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.weight": (channels,), f"{name}.bias": (channels,)})

    channels = 1
    for i, (out, kernel) in enumerate(zip(config["conv_dim"], config["conv_kernel"], strict=True)):
        shapes[f"feature_extractor.conv_layers.{i}.conv.weight"] = (out, channels, kernel)
        channels = out
    norm("feature_extractor.conv_layers.0.layer_norm", config["conv_dim"][0])
    norm("feature_projection.layer_norm", channels)
    linear("feature_projection.projection", channels, width)

    position, steps = "encoder.pos_conv_embed.conv.", config["num_conv_pos_embeddings"]
    size, direction = WEIGHT_NORMS[weight_norm]
    shapes[position + "bias"] = (width,)
    shapes[position + size] = (1, 1, steps)
    shapes[position + direction] = (width, width // config["num_conv_pos_embedding_groups"], steps)
    norm("encoder.layer_norm", width)
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{i}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            linear(f"{layer}.attention.{part}", width, width)
        norm(f"{layer}.layer_norm", width)
        linear(f"{layer}.feed_forward.intermediate_dense", width, wide)
        linear(f"{layer}.feed_forward.output_dense", wide, width)
        norm(f"{layer}.final_layer_norm", width)
    return shapes


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random values that keep every layer's output of moderate size."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith(("weight_g", "original0")):
            tensors[name] = values.abs() + 0.5
        elif len(shape) > 1:
            tensors[name] = values * sqrt(2 / prod(shape[1:]))  # He et al. 2015
        elif name.endswith("layer_norm.weight"):
            tensors[name] = 1 + 0.1 * values
        else:
            tensors[name] = 0.1 * values
    return tensors
