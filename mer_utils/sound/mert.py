"""MERT: hidden states of the music transformer, by transformers' own HubertModel.

Source: Li et al. 2024, "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised
Training" (ICLR 2024, arXiv 2306.00107); the weights are under CC-BY-NC-4.0. The published way to
load them runs Python code from the checkpoint. MERT v1 is a HuBERT in structure, so here only its
configuration and its tensors are read, strictly.

Conventions: 24 kHz mono, 75 frames a second. Hidden states are numbered as MERT's own code does: 0
is what enters the first transformer layer, n what leaves the n-th. The last one of the norm-before
variant (v1-330M) is taken after the final layer norm; recent versions of transformers give it
before. Means over time are taken in float32. Nothing is ever padded: the group norm over time would
let the padding change every frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError
from pydantic import Field, create_model
from safetensors.torch import load_file
from torch.nn.utils.parametrize import remove_parametrizations

from mer_utils.sound.encoders import ENCODERS, Network, pick_layers
from mer_utils.storage import check, file_hash, read_json, reading

if TYPE_CHECKING:  # transformers takes seconds to import these, and musicnn needs none of them
    from transformers import HubertConfig, HubertModel

SAMPLE_RATE = 24_000
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is read

PUBLISHED = {
    "mert-v1-95m": ("m-a-p/MERT-v1-95M", "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5", 12, "380 MB"),
    "mert-v1-330m": (
        "m-a-p/MERT-v1-330M",
        "0e06c986db0527c0fd1b47181c40f006805e3de0",
        24,
        "1.3 GB",
    ),
}
"""Repository and commit on the Hugging Face Hub, number of transformer layers, size to download."""

# fmt: off
ARCHITECTURE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "layer_norm_eps", "do_stable_layer_norm",
    "feat_extract_norm", "feat_extract_activation", "feat_proj_layer_norm",
    "conv_dim", "conv_kernel", "conv_stride", "conv_bias",
    "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
)
# fmt: on
"""Keys of the configuration that decide the network; MERT and HuBERT share their defaults."""

OFF = ("feature_extractor_cqt", "deepnorm", "conv_pos_batch_norm")  # variants, mostly not named
EXPECTED = {"model_type": "mert_model", "sampling_rate": SAMPLE_RATE, "sample_rate": SAMPLE_RATE}
EXPECTED |= dict.fromkeys(OFF, False)
"""What a checkpoint must say: of anything else HubertModel has another network, or none."""

Count = Annotated[int, Field(ge=1, le=100_000)]
SETTINGS = create_model(
    "the settings",
    num_hidden_layers=(Annotated[int, Field(ge=1, le=1000)], 12),
    num_attention_heads=(Count, 12),
    conv_kernel=(list[Count], []),
    conv_stride=(list[Count], []),
)
"""What the checkpoint's JSON files may claim; transformers checks the rest."""

PREFIX = "mert_model."  # of the network's tensors in some checkpoints; a head then has none
UNUSED = ("masked_spec_embed", "final_proj", "label_embs_concat")  # tensors only training needs


@dataclass(frozen=True, eq=False)
class Mert(Network):
    """A MERT that is ready to run.

    model: without the transformer layers beyond the last that is asked for.
    normalize: whether a waveform is brought to mean 0 and variance 1 first, which only very quiet
        music feels: the group norm after the first convolution does the same.
    """

    model: HubertModel
    layers: tuple[int, ...]
    normalize: bool
    precision: str
    weights_sha256: str

    sample_rate = SAMPLE_RATE
    segment_seconds = 10.0  # the paper's
    dim = property(attrgetter("model.config.hidden_size"))
    device = property(attrgetter("model.device"))

    @property
    def minimum_samples(self) -> int:
        """The shortest waveform that gives one frame."""
        samples = 1
        steps = zip(self.model.config.conv_kernel, self.model.config.conv_stride, strict=True)
        for kernel, stride in reversed(list(steps)):
            samples = (samples - 1) * stride + kernel
        return samples

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        config = self.model.config
        return {
            "weights_sha256": self.weights_sha256,
            "architecture": {key: getattr(config, key) for key in ARCHITECTURE},
            "attention": config._attn_implementation,
            "do_normalize": self.normalize,
            "precision": self.precision,
        }

    def pooled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to each state's mean over time: (batch, layers, dim) float32."""
        if self.device.type == "cpu" and len(waveforms) > 1:
            # no slower, and bit for bit what its members give alone, in the memory of one
            return torch.cat([self.pooled(waveform[None]) for waveform in waveforms])
        return torch.stack(self._run(waveforms, lambda state: state.mean(1)), dim=1)

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the states over time: (layers, frames, dim) float32."""
        return torch.stack(self._run(waveform[None], lambda state: state[0]))

    def _run(
        self, waveforms: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]
    ) -> list[torch.Tensor]:
        """The states of `layers`, each made float32 and reduced before the next is computed."""
        kept = {}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            for number, state in enumerate(self._states(waveforms)):
                if number in self.layers:
                    kept[number] = reduce(state.float())
        return [kept[number] for number in self.layers]

    def _states(self, waveforms: torch.Tensor) -> Iterator[torch.Tensor]:
        """Every hidden state in turn, (batch, frames, dim)."""
        if self.normalize:
            variance, mean = torch.var_mean(waveforms, dim=1, keepdim=True, correction=0)
            waveforms = (waveforms - mean) / torch.sqrt(variance + 1e-7)  # (batch, samples)
        encoder, config = self.model.encoder, self.model.config
        state = self.model.feature_extractor(waveforms)  # (batch, channels, frames)
        state = self.model.feature_projection(state.transpose(1, 2))  # (batch, frames, dim)
        state = state + encoder.pos_conv_embed(state)
        norm_before = config.do_stable_layer_norm
        state = state if norm_before else encoder.layer_norm(state)
        yield state
        for number, layer in enumerate(encoder.layers, start=1):
            state = layer(state)
            final = norm_before and number == config.num_hidden_layers
            yield encoder.layer_norm(state) if final else state


@ENCODERS.register("mert-v1-95m")
@ENCODERS.register("mert-v1-330m")
def load(
    name: str,
    checkpoint: str | Path | None,
    layers: tuple | None,
    device: torch.device,
    precision: str = "float32",
) -> Mert:
    """Load a MERT; arguments as in `sound.load_encoder`, `layers` from 0 to that of its last layer.

    Raises FileNotFoundError without weights, ValueError for a checkpoint that is no such MERT and
    for layers that it does not have.
    """
    folder = find_checkpoint(name, checkpoint)
    config, normalize = read_config(name, folder)
    layers = pick_layers(name, layers, range(config.num_hidden_layers + 1))
    weights = next(folder / file for file in WEIGHTS if (folder / file).is_file())
    # the Hub's cache names a large file by its SHA-256, and links to it
    digest, file = file_hash(weights), weights.resolve()
    if len(file.name) == len(digest) and file.name != digest:
        raise ValueError(f"{weights}: not what the Hub announced; delete {file}, download it again")
    model = build_model(config, weights)
    del model.encoder.layers[max(layers) :]
    return Mert(model.to(device), layers, normalize, precision, digest)


def find_checkpoint(
    name: str, checkpoint: str | Path | None = None, accept_licence: bool = False
) -> Path:
    """The folder of a checkpoint; None for the published one, out of the Hub's cache here.

    accept_licence: True downloads what the cache lacks: you agree to the licence of the weights,
        CC-BY-NC-4.0. Nothing else ever downloads them.
    Raises FileNotFoundError that shows licence, size and page, and what to do.
    """
    repository, revision, _, size = PUBLISHED[name]
    wanted = [CONFIG, PREPROCESSOR, *WEIGHTS]
    mend = (
        f"The weights are at https://huggingface.co/{repository} ({size}, commit {revision}), under"
        " CC-BY-NC-4.0: not for commercial use. Either accept that licence, and they are downloaded"
        " once: accept_licence = True in notebook 03, -p accept_licence=true for `run`, "
        "--accept-licence for `extract`. Or give a folder as checkpoint=, with "
        f"{CONFIG}, {PREPROCESSOR} and {' or '.join(WEIGHTS)}"
    )
    if checkpoint is None:
        accepted = accept_licence is True  # no text, such as "no", is a yes
        try:
            checkpoint = snapshot_download(
                repository, revision=revision, allow_patterns=wanted, local_files_only=not accepted
            )
        except (OSError, HTTPError, ValueError) as error:  # ValueError: an answer that is no JSON
            reason = f"the download failed ({error})" if accepted else "no weights on this machine"
            raise FileNotFoundError(f"{name}: {reason}. {mend}") from error
    folder = Path(checkpoint)
    found = {path.name for path in folder.glob("*")}
    if not {CONFIG, PREPROCESSOR} <= found or not found & set(WEIGHTS):
        raise FileNotFoundError(f"{name}: {folder} holds {sorted(found)}. {mend}")
    return folder


def read_config(name: str, folder: Path) -> tuple[HubertConfig, bool]:
    """HuBERT's configuration from that of a MERT v1, and whether waveforms are normalised."""
    found = {"do_normalize": True, "sample_rate": SAMPLE_RATE, **dict.fromkeys(OFF, False)}
    for file in (PREPROCESSOR, CONFIG):
        found |= read_json(folder / file, SETTINGS)
    found |= {key: bool(found[key]) for key in OFF}  # null is no
    for key, value in EXPECTED.items():
        if found.get(key) != value:
            other = f"{key} is {found.get(key)!r}, expected {value!r}"
            raise ValueError(f"{folder}: {other}; take a MERT such as MERT-v1-95M")
    if type(found["do_normalize"]) is not bool:
        raise ValueError(f"{folder}: do_normalize is {found['do_normalize']!r}, neither yes nor no")
    for other, (_, _, count, _) in PUBLISHED.items():
        if other != name and found.get("num_hidden_layers") == count:
            raise ValueError(f"{folder}: has the {count} layers of {other!r}; load it as that")
    with reading(folder / CONFIG, "HuBERT's"):
        hubert = transformers.HubertConfig(
            **{key: found[key] for key in ARCHITECTURE if key in found},
            mask_time_prob=0.0,  # no masking, hence no tensor for it
            mask_feature_prob=0.0,
            attn_implementation="sdpa",
        )
    return hubert, found["do_normalize"]


def build_model(config: HubertConfig, weights: Path) -> HubertModel:
    """HubertModel with the tensors of a file in float32; ValueError for any but just those."""
    with reading(weights, "tensors only"):
        if weights.suffix == ".safetensors":
            tensors = load_file(weights)
        else:
            tensors = torch.load(weights, map_location="cpu", weights_only=True)
        prefixed = [name for name in tensors if name.startswith(PREFIX)]
        if prefixed:
            tensors = {name.removeprefix(PREFIX): tensors[name] for name in prefixed}
        tensors = {k: v for k, v in tensors.items() if not k.startswith(UNUSED)}
        shapes = {k: v.shape for k, v in tensors.items()}
    check(weights, tensors, shapes)
    with reading(weights, f"the tensors of its {CONFIG}"):
        with torch.device("meta"):  # shapes only: the random start would be thrown away
            model = transformers.HubertModel(config)
        model.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    model.requires_grad_(False).eval()
    # The product of weight norm (over dim 2, the kernel's steps) never changes any more.
    remove_parametrizations(model.encoder.pos_conv_embed.conv, "weight")
    return model
