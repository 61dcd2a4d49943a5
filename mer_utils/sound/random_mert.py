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

SIZES = {
    "small": {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": [24] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    "95m": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "conv_dim": [512] * 7,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
    },
    "330m": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "conv_dim": [512] * 7,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
    },
}


def write_mert_checkpoint(
    folder: str | Path,
    size: str = "small",
    norm_before: bool | None = None,
    weight_norm: str = "weight_g",
    prefix: bool = False,
    file_format: str = "bin",
    do_normalize: bool = False,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a MERT checkpoint with random weights; gives its folder back.

    size: a key of `SIZES`; norm_before: as v1-330M (None: as the published one of this size).
    weight_norm: "weight_g" (with "weight_v") or "parametrizations", the two names in use.
    prefix: put "mert_model." before the network's names, and add a head without it.
    file_format: "bin" (pytorch_model.bin) or "safetensors" (model.safetensors).
    do_normalize: what preprocessor_config.json says.
    changes: other keys of config.json.
    """
    folder = Path(folder)
    norm_before = size == "330m" if norm_before is None else norm_before
    config = mert_config(size, do_stable_layer_norm=norm_before, **changes)
    shapes = mert_tensor_shapes(config, weight_norm)
    tensors = random_tensors(shapes, seed)
    if prefix:
        tensors = {f"mert_model.{name}": tensor for name, tensor in tensors.items()}
        tensors["final_proj.weight"] = torch.zeros(8, config["hidden_size"])
    write_json(folder / "config.json", config)
    write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": do_normalize,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0,
            "return_attention_mask": True,
            "sampling_rate": config["sample_rate"],
        },
    )
    if file_format == "safetensors":
        write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    elif file_format == "bin":
        with replacing(folder / "pytorch_model.bin") as temporary:
            torch.save(tensors, temporary)
    else:
        raise ValueError(f"file_format {file_format!r}; there is 'bin' and 'safetensors'")
    return folder


def mert_config(size: str = "small", **changes: object) -> dict:
    """A config.json of MERT v1: the keys and values of MERT-v1-95M, sizes by `SIZES`, changes."""
    if size not in SIZES:
        raise ValueError(f"size {size!r}; there is {', '.join(SIZES)}")
    return {
        "architectures": ["MERTModel"],
        "attention_relax": -1.0,
        "conv_bias": False,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "deepnorm": False,
        "do_stable_layer_norm": False,
        "feat_extract_activation": "gelu",
        "feat_extract_norm": "group",
        "feat_proj_layer_norm": True,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "hidden_act": "gelu",
        "hidden_dropout": 0.1,
        "layer_norm_eps": 1e-05,
        "layerdrop": 0.05,
        "mask_time_prob": 0.05,
        "model_type": "mert_model",
        "num_feat_extract_layers": 7,
        "sample_rate": 24000,
        "torch_dtype": "float32",
        "transformers_version": "4.24.0",
        **SIZES[size],
        **changes,
    }


def mert_tensor_shapes(config: dict, weight_norm: str = "weight_g") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a checkpoint of MERT v1 with this configuration."""
    if weight_norm not in ("weight_g", "parametrizations"):
        raise ValueError(f"weight_norm {weight_norm!r}; there is 'weight_g' and 'parametrizations'")
    width, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"masked_spec_embed": (width,)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, channels: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    channels = 1
    for i, (out, kernel) in enumerate(zip(config["conv_dim"], config["conv_kernel"], strict=True)):
        shapes[f"feature_extractor.conv_layers.{i}.conv.weight"] = (out, channels, kernel)
        channels = out
    norm("feature_extractor.conv_layers.0.layer_norm", config["conv_dim"][0])
    norm("feature_projection.layer_norm", channels)
    linear("feature_projection.projection", channels, width)

    position, steps = "encoder.pos_conv_embed.conv.", config["num_conv_pos_embeddings"]
    old = weight_norm == "weight_g"
    size, direction = ("weight_g", "weight_v") if old else _PARAMETRIZATIONS
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


_PARAMETRIZATIONS = ("parametrizations.weight.original0", "parametrizations.weight.original1")


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
