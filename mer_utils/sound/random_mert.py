"""MERT checkpoints with random weights, in the files and names of the published ones.

For tests, for looking at the architecture (notebook 03) and for timing at full size: no weights
can be downloaded on a closed network, and random ones cost the same time. Their features mean
nothing.
"""

from pathlib import Path

import torch
import transformers

from mer_utils.sound.mert import ARCHITECTURE, CONFIG, PREPROCESSOR, SAMPLE_RATE, WEIGHTS
from mer_utils.storage import replacing, write_json, write_tensors

_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_KEYS += ("conv_dim", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
SIZES = {
    "small": (32, 4, 4, 64, [24] * 7, 16, 4),
    "95m": (768, 12, 12, 3072, [512] * 7, 128, 16),
    "330m": (1024, 24, 16, 4096, [512] * 7, 128, 16),
}


def write_mert_checkpoint(
    folder: str | Path,
    size: str = "small",
    file_format: str = "bin",
    do_normalize: bool = False,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a MERT checkpoint with random weights; gives its folder back.

    size: a key of `SIZES`.
    file_format: "bin" (pytorch_model.bin) or "safetensors" (model.safetensors).
    do_normalize: what preprocessor_config.json says; changes: other keys of config.json.
    """
    folder, config = Path(folder), mert_config(size, **changes)
    write_json(folder / CONFIG, config)
    preprocessor = {"do_normalize": do_normalize, "sampling_rate": SAMPLE_RATE}
    write_json(folder / PREPROCESSOR, preprocessor)
    sizes = {key: config[key] for key in ARCHITECTURE}
    sizes["initializer_range"] = config["hidden_size"] ** -0.5  # outputs of moderate size
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        model = transformers.HubertModel(transformers.HubertConfig(**sizes))
        for values in model.parameters():
            if values.ndim == 1:  # biases and norms, which start as 0 and 1
                values += 0.1 * torch.randn_like(values)
    tensors = model.state_dict()
    for published, ours in (("weight_g", "original0"), ("weight_v", "original1")):
        position = "encoder.pos_conv_embed.conv."
        tensors[position + published] = tensors.pop(f"{position}parametrizations.weight.{ours}")
    if file_format == "safetensors":
        write_tensors(folder / WEIGHTS[0], tensors, {"format": "pt"})
    else:
        with replacing(folder / WEIGHTS[1]) as temporary:
            torch.save(dict(tensors), temporary)
    return folder


def mert_config(size: str = "small", **changes: object) -> dict:
    """What decides in the config.json of MERT v1: sizes by `SIZES`, the rest as MERT-v1-95M."""
    sizes = dict(zip(_KEYS, SIZES[size], strict=True))
    hubert = transformers.HubertConfig(**sizes, do_stable_layer_norm=size == "330m")
    config = {key: getattr(hubert, key) for key in ARCHITECTURE}
    config |= {"model_type": "mert_model", "sample_rate": SAMPLE_RATE, "attention_relax": -1.0}
    return config | {"deepnorm": False, "feature_extractor_cqt": False, **changes}
