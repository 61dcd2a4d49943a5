"""MERT: hidden states of the music transformer, by transformers' own HubertModel.

Source: Li et al. 2024, "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised
Training" (ICLR 2024, arXiv 2306.00107). The published way to load it runs Python code from the
checkpoint. MERT v1 is a HuBERT in structure, so here the checkpoint gives only its configuration
and its tensors, and no code of it is run. A tensor that is missing, left over or of another shape
is an error; so is a variant that HuBERT does not cover (constant-Q input, deepnorm).

The hidden states are numbered as MERT's own code numbers them: state 0 is what enters the first
transformer layer, state n what leaves the n-th. The last one of the norm-before variant
(v1-330M) is taken after the final layer norm; recent versions of transformers give it before.

Conventions: 24 kHz mono, 75 frames a second (240,000 samples give 749 frames). The mean over time
is taken in float32, whatever the precision of the network. Nothing is ever padded: the group norm
over time would let the padding change every frame.

The weights of MERT-v1-95M and -330M are under CC-BY-NC-4.0.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn.utils.parametrize import remove_parametrizations

from mer_utils.storage import file_hash, read_json

if TYPE_CHECKING:  # transformers takes seconds to import these, and musicnn needs none of them
    from transformers import HubertConfig, HubertModel

SEGMENT_SECONDS = 10.0  # the paper's
LICENCE = "CC-BY-NC-4.0: free to use, not for commercial purposes"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Published:
    """A published checkpoint: repository and commit on the Hugging Face Hub, and its size."""

    repository: str
    revision: str
    transformer_layers: int
    dim: int


PUBLISHED = {
    "mert-v1-95m": Published(
        "m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", 12, 768
    ),
    "mert-v1-330m": Published(
        "m-a-p/MERT-v1-330M", "0e06c986db0527c0fd1b47181c40f006805e3de0", 24, 1024
    ),
}

ARCHITECTURE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "do_stable_layer_norm",
    "feat_extract_norm",
    "feat_extract_activation",
    "feat_proj_layer_norm",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
)
"""Keys of the configuration that decide the network; MERT and HuBERT share their defaults."""

NOT_COVERED = ("feature_extractor_cqt", "deepnorm", "conv_pos_batch_norm")
"""Keys of the configuration that must be false: HubertModel has another network, or none."""

UNUSED = (
    "masked_spec_embed",
    "final_proj",
    "label_embs_concat",
    "lm_head",
    "projector",
    "classifier",
)
"""First parts of the names of tensors that only training needs; they are left out knowingly."""

POSITIONAL = "encoder.pos_conv_embed.conv."
WEIGHT_NORM_NAMES = {
    POSITIONAL + "weight_g": POSITIONAL + "parametrizations.weight.original0",
    POSITIONAL + "weight_v": POSITIONAL + "parametrizations.weight.original1",
}
"""The two ways in which weight norm was stored, older and newer."""


@dataclass(frozen=True)
class Checkpoint:
    """The three files of a checkpoint that are needed."""

    config: Path
    preprocessor: Path
    weights: Path


@dataclass(frozen=True, eq=False)
class Mert:
    """A MERT that is ready to run and stops after the last of its layers.

    model: transformers' HubertModel without the layers beyond the last that is asked for.
    layers: numbers of the hidden states to give, in this order.
    normalize: whether a waveform is brought to mean 0 and variance 1 first. It hardly matters: the
        group norm after the first convolution does the same, but for very quiet music.
    final_norm: whether the last layer's state passes through the final layer norm.
    precision: "float32", or "bfloat16" for the network (by autocast).
    made_of: what the checkpoint is (JSON-able), for `settings`.
    """

    model: HubertModel
    layers: tuple[int, ...]
    sample_rate: int
    normalize: bool
    final_norm: bool
    precision: str
    made_of: dict

    segment_seconds = SEGMENT_SECONDS

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        return self.model.config.hidden_size

    @property
    def minimum_samples(self) -> int:
        """The shortest waveform that gives one frame."""
        samples = 1
        steps = zip(self.model.config.conv_kernel, self.model.config.conv_stride, strict=True)
        for kernel, stride in reversed(list(steps)):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        return {
            **self.made_of,
            "do_normalize": self.normalize,
            "precision": self.precision,
            "device": self.device.type,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        }

    def pooled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to each state's mean over time: (batch, layers, dim) float32."""
        if self.device.type == "cpu" and len(waveforms) > 1:
            # On a CPU a batch gains nothing; one at a time, it gives bit for bit what its members
            # give alone, in the memory of one.
            return torch.cat([self.pooled(waveform[None]) for waveform in waveforms])
        means = {}
        with self._autocast():
            for layer, state in self._states(waveforms):
                if layer in self.layers:
                    means[layer] = state.float().mean(1)  # (batch, frames, dim) -> (batch, dim)
        return torch.stack([means[layer] for layer in self.layers], dim=1)  # (batch, layers, dim)

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the states over time: (layers, frames, dim) float32."""
        with self._autocast():
            states = {
                layer: state[0].float()  # (1, frames, dim) -> (frames, dim)
                for layer, state in self._states(waveform[None])
                if layer in self.layers
            }
        return torch.stack([states[layer] for layer in self.layers])

    def _states(self, waveforms: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Give every hidden state in turn: its number and (batch, frames, dim)."""
        if self.normalize:
            variance, mean = torch.var_mean(waveforms, dim=1, keepdim=True, correction=0)
            waveforms = (waveforms - mean) / torch.sqrt(variance + 1e-7)  # (batch, samples)
        encoder = self.model.encoder
        state = self.model.feature_extractor(waveforms)  # (batch, channels, frames)
        state = self.model.feature_projection(state.transpose(1, 2))  # (batch, frames, dim)
        state = state + encoder.pos_conv_embed(state)
        norm_before = self.model.config.do_stable_layer_norm
        state = state if norm_before else encoder.layer_norm(state)
        yield 0, state
        for number, layer in enumerate(encoder.layers, start=1):
            state = layer(state)
            last = number == len(encoder.layers)
            yield number, encoder.layer_norm(state) if last and self.final_norm else state

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )


def load(
    name: str,
    checkpoint: str | Path | None,
    layers: tuple | None,
    device: torch.device,
    precision: str = "float32",
    revision: str | None = None,
) -> Mert:
    """Load a MERT.

    name: a key of `PUBLISHED`.
    checkpoint, revision: as in `find_checkpoint`.
    layers: hidden states to give, 0 to the number of transformer layers; None for all.
    precision: "float32" or "bfloat16".
    Raises FileNotFoundError without weights, ValueError for a checkpoint that is no such MERT and
    for layers that it does not have.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{name}: precision {precision!r}; there is {' and '.join(PRECISIONS)}")
    files = find_checkpoint(name, checkpoint, revision)
    config, preprocessor = _read_config(files, name), _read_preprocessor(files)
    layers = _check_layers(name, layers, config.num_hidden_layers)
    model = build_model(config, read_network_tensors(files.weights), str(files.weights))
    del model.encoder.layers[max(layers) :]
    made_of = {
        "weights_sha256": file_hash(files.weights),
        "architecture": {key: getattr(config, key) for key in ARCHITECTURE},
        "attention": model.config._attn_implementation,
    }
    return Mert(
        model=model.to(device),
        layers=layers,
        sample_rate=preprocessor["sampling_rate"],
        normalize=preprocessor["do_normalize"],
        final_norm=config.do_stable_layer_norm and max(layers) == config.num_hidden_layers,
        precision=precision,
        made_of=made_of,
    )


def _check_layers(name: str, layers: tuple | None, count: int) -> tuple[int, ...]:
    """The layers to give: whole numbers in 0..count, each once."""
    if layers is None:
        return tuple(range(count + 1))
    wrong = [x for x in layers if type(x) is not int or not 0 <= x <= count]
    if wrong or not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"{name}: layers={layers!r}; expected different whole numbers from 0 (what enters the "
            f"first of its {count} transformer layers) to {count}, such as (3, 6, 9, 12)"
        )
    return layers


# ---- files ---------------------------------------------------------------------------------------


def find_checkpoint(
    name: str, checkpoint: str | Path | None = None, revision: str | None = None
) -> Checkpoint:
    """Find a checkpoint's files, downloading only those if they are nowhere on this machine.

    name: a key of `PUBLISHED`.
    checkpoint: a local folder, or a repository "owner/name" on the Hugging Face Hub; None for the
        published one. What was downloaded before is found again without a network, and with
        HF_HUB_OFFLINE=1 the network is not tried.
    revision: full hash of a commit of the repository; None for the one in `PUBLISHED`.
    Raises FileNotFoundError that says where the weights are, ValueError for a revision that could
    change.
    """
    published = PUBLISHED[name]
    if checkpoint is not None and Path(checkpoint).is_dir():
        if revision is not None:
            raise ValueError(
                f"{name}: {checkpoint} is a local folder, so revision= says nothing; leave it out"
            )
        return _in_folder(name, Path(checkpoint))
    if checkpoint is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(checkpoint)):
        raise FileNotFoundError(f"{name}: no folder {checkpoint}. {_where(name)}")
    repository = published.repository if checkpoint is None else str(checkpoint)
    if revision is None and repository == published.repository:
        revision = published.revision
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(
            f"{name}: checkpoint {checkpoint!r} is no folder here. If it is a repository on the "
            f"Hugging Face Hub, pass revision= the full hash of a commit (40 digits, got "
            f"{revision!r}): a branch can change under the same name"
        )
    return _in_cache(repository, revision) or _on_hub(name, repository, revision)


def _where(name: str) -> str:
    """Where the weights are, under which licence, and how to point at them."""
    published = PUBLISHED[name]
    return (
        f"The weights of {name} are in {published.repository} on the Hugging Face Hub (commit "
        f"{published.revision}, licence {LICENCE}). With a network they are downloaded at first "
        f"use; else copy {CONFIG}, {PREPROCESSOR} and {' or '.join(WEIGHTS)} into a folder and "
        "pass checkpoint= that folder"
    )


def _in_folder(name: str, folder: Path) -> Checkpoint:
    """The files of a local checkpoint."""
    found = sorted(path.name for path in folder.iterdir() if path.is_file())
    weights = next((file for file in WEIGHTS if file in found), None)
    missing = [file for file in (CONFIG, PREPROCESSOR) if file not in found]
    if weights is None or missing:
        missing += [] if weights else [" or ".join(WEIGHTS)]
        raise FileNotFoundError(
            f"{name}: {folder} lacks {', '.join(missing)}; it holds {found}. {_where(name)}"
        )
    return Checkpoint(folder / CONFIG, folder / PREPROCESSOR, folder / weights)


def _in_cache(repository: str, revision: str) -> Checkpoint | None:
    """The files of a repository if all of them were downloaded before."""

    def cached(file: str) -> Path | None:
        path = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        return Path(path) if isinstance(path, str) else None

    weights = next(filter(None, map(cached, WEIGHTS)), None)
    config, preprocessor = cached(CONFIG), cached(PREPROCESSOR)
    if not (weights and config and preprocessor):
        return None
    return Checkpoint(config, preprocessor, weights)


def _on_hub(name: str, repository: str, revision: str) -> Checkpoint:
    """Download the files of a repository that are needed, and only those."""
    try:
        # Asked first and once: without a network a download would try for half a minute.
        weights = next(
            file
            for file in WEIGHTS
            if huggingface_hub.file_exists(repository, file, revision=revision)
        )
        paths = [
            Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
            for file in (CONFIG, PREPROCESSOR, weights)
        ]
    except StopIteration:
        raise FileNotFoundError(
            f"{name}: {repository} has neither {' nor '.join(WEIGHTS)} at {revision}. "
            f"{_where(name)}"
        ) from None
    except Exception as error:  # the Hub client's errors have no class in common
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"{name}: no weights here, and {repository} cannot be reached ({reason}). "
            f"{_where(name)}"
        ) from error
    return Checkpoint(*paths)


# ---- configuration -------------------------------------------------------------------------------


def _read_config(files: Checkpoint, name: str) -> HubertConfig:
    """HuBERT's configuration from MERT's; refuses what HuBERT does not cover."""
    path = files.config
    config = _read_object(path)
    if config.get("model_type") != "mert_model":
        raise ValueError(
            f"{path}: model_type is {config.get('model_type')!r}, expected 'mert_model'; this is "
            "no MERT checkpoint"
        )
    for key in NOT_COVERED:
        if config.get(key):
            raise ValueError(
                f"{path}: {key} is {config[key]!r}, a variant of MERT that HubertModel does not "
                "cover; take a checkpoint where it is false, such as MERT-v1-95M"
            )
    size = (config.get("num_hidden_layers"), config.get("hidden_size"))
    for other, published in PUBLISHED.items():
        if other != name and size == (published.transformer_layers, published.dim):
            raise ValueError(
                f"{path}: {size[0]} layers of width {size[1]} are those of {other}, but {name} was "
                f"asked for; load it as {other!r}"
            )
    try:
        return transformers.HubertConfig(
            **{key: config[key] for key in ARCHITECTURE if key in config},
            mask_time_prob=0.0,  # no masking, hence no tensor for it
            mask_feature_prob=0.0,
            attn_implementation="sdpa",
        )
    except Exception as error:  # strict validation has its own classes
        raise ValueError(f"{path}: HubertModel cannot be configured from it: {error}") from error


def _read_preprocessor(files: Checkpoint) -> dict:
    """Sample rate and whether to normalise, checked."""
    path = files.preprocessor
    preprocessor, config = _read_object(path), _read_object(files.config)
    for key, kind in (("sampling_rate", int), ("do_normalize", bool)):
        if type(preprocessor.get(key)) is not kind:
            raise ValueError(
                f"{path}: {key} is {preprocessor.get(key)!r}, expected a {kind.__name__}"
            )
    rate = config.get("sample_rate", preprocessor["sampling_rate"])
    if rate != preprocessor["sampling_rate"]:
        raise ValueError(
            f"{path}: sampling_rate is {preprocessor['sampling_rate']}, but {files.config} says "
            f"sample_rate {rate}"
        )
    return preprocessor


def _read_object(path: Path) -> dict:
    """Read a JSON file that holds one object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a {type(value).__name__}, expected keys with values")
    return value


# ---- tensors -------------------------------------------------------------------------------------


def read_network_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the network by HubertModel's names, float32; those of training left out.

    path: model.safetensors, or pytorch_model.bin (read as plain tensors; anything else in it is an
    error).
    """
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read as tensors only ({' '.join(str(error).split())[:200]}); it "
            "may be cut short, a Git LFS pointer, or hold more than tensors: download it again"
        ) from error
    strange = [name for name, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise ValueError(
            f"{path}: {strange[:3]} are no tensors; expected names with one tensor each"
        )
    prefix = "mert_model."
    if any(name.startswith(prefix) for name in tensors):
        # With a prefix, what has none is a head by construction.
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return {
        WEIGHT_NORM_NAMES.get(name, name): tensor.float()
        for name, tensor in tensors.items()
        if not name.startswith(UNUSED)
    }


def build_model(
    config: HubertConfig, tensors: dict[str, torch.Tensor], where: str = "tensors"
) -> HubertModel:
    """HubertModel with these tensors, all of them and no others.

    config: the network; tensors: by HubertModel's names, float32; where: for messages.
    Raises ValueError that names the tensors which are missing, left over or of another shape.
    """
    with torch.device("meta"):  # shapes only: the random start would be thrown away
        model = transformers.HubertModel(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    problems = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)}, expected {shape}"
            for name, shape in sorted(expected.items())
            if name in tensors and tuple(tensors[name].shape) != shape
        ],
    }
    found = [
        f"{len(names)} {what}, first: {names[:3]}" for what, names in problems.items() if names
    ]
    if found:
        raise ValueError(
            f"{where}: its tensors are not those of the network in its {CONFIG} "
            f"({len(expected)} tensors, {sum(map(prod, expected.values())):,} numbers): "
            + "; ".join(found)
        )
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False).eval()
    # The product of weight norm (over dim 2, the kernel's steps) never changes any more.
    remove_parametrizations(model.encoder.pos_conv_embed.conv, "weight")
    return model
