"""Any audio model that transformers itself supports, as an encoder: `hf:<model id or folder>`.

Wav2Vec2, HuBERT, WavLM, Data2Vec, AST, CLAP's audio half and their like. The sample rate, what is
done to a waveform and how long it may be are the model's own feature extractor's. Where all hidden
states have one width they are the layers, numbered from 0 (before the first block); of a model
whose states widen from stage to stage, such as CLAP's, its one output is the layer "output".

Conventions: as in `sound.encoders`. The mean of a state runs over all that is not its width:
frames, or patches of time and frequency. Some models pad what is shorter than their window, as they
did in training; give them segments of its length (`segment_seconds` is that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, HTTPError

from mer_utils.progress import quiet_transformers
from mer_utils.sound.encoders import ANY_MODEL, ENCODERS, Network, pick_layers
from mer_utils.storage import file_hash

FILES = ("*.json", "*.safetensors", "*.bin", "*.txt")
WEIGHTS = ("*.safetensors", "*.bin")
SETTINGS = ("config.json", "preprocessor_config.json")
UNUSED = ("masked_spec_embed",)  # stands in for masked frames, which only training has
SEGMENT_SECONDS = 10.0  # of a model that takes any length
OUTPUT = "output"


@dataclass(frozen=True, eq=False)
class HuggingFace(Network):
    """An audio model that is ready to run.

    window: samples that the extractor brings every waveform to, None if it takes any length.
    made_of: what the checkpoint is (JSON-able), for `settings`.
    """

    model: transformers.PreTrainedModel
    extractor: transformers.SequenceFeatureExtractor
    layers: tuple
    dim: int
    segment_seconds: float
    window: int | None
    precision: str
    made_of: dict

    sample_rate = property(attrgetter("extractor.sampling_rate"))
    device = property(attrgetter("model.device"))

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        return {**self.made_of, "precision": self.precision}

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the layers over frames or patches: (layers, frames, dim) float32."""
        if self.window is not None and len(waveform) > self.window:
            seen = f"{self.window} of {len(waveform)} samples"
            raise ValueError(f"cut off: sees {seen}; use {self.segment_seconds:.2f} s at most")
        states = states_of(self.model, self.extractor, waveform, self.precision)
        return torch.stack([states[layer].float() for layer in self.layers])


@ENCODERS.register(ANY_MODEL)
def load(
    name: str,
    checkpoint: str | Path,
    layers: Sequence | None,
    device: torch.device,
    precision: str = "float32",
) -> HuggingFace:
    """Load an audio model of transformers; arguments as in `sound.load_encoder`.

    Raises FileNotFoundError without the model's files, ValueError for a model that is no audio
    model of transformers, lacks weights or has no such layer.
    """
    folder = find_model(str(checkpoint))
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        with quiet_transformers():
            model, found = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        window = _window(extractor)
        silence = torch.zeros(window or extractor.sampling_rate)
        model = model.eval().to(device)
        with torch.inference_mode():
            states = states_of(model, extractor, silence)
    except Exception as error:  # transformers has a dozen kinds, without a common one
        raise ValueError(f"{name}: not an audio model of transformers: {error}") from error
    missing = sorted(k for k in found["missing_keys"] if k.rpartition(".")[2] not in UNUSED)
    if missing:
        raise ValueError(f"{name}: {folder} lacks {len(missing)} weights, first {missing[0]}")
    chosen = pick_layers(name, layers, states)
    dim = states[chosen[0]].shape[-1]
    seconds = window / extractor.sampling_rate if window else SEGMENT_SECONDS
    files = sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))
    hashes = [file_hash(path) for path in files]
    made_of = {
        "weights_sha256": hashes[0] if len(hashes) == 1 else "+".join(h[:16] for h in hashes),
        "architecture": type(model).__name__,
        "settings_sha256": [file_hash(folder / name) for name in SETTINGS],
    }
    return HuggingFace(model, extractor, chosen, dim, seconds, window, precision, made_of)


def find_model(where: str) -> Path:
    """The folder given, or that of a Hub repository, downloaded if need be."""
    if Path(where).is_dir():
        return Path(where)
    try:
        return Path(snapshot_download(where, allow_patterns=FILES))
    except (OSError, HTTPError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{where}: no such folder, and no repository that can be had from here; download it "
            f"(`hf download {where} --local-dir <folder>`) and give the folder as hf:<folder>"
        ) from error


def states_of(
    model: transformers.PreTrainedModel,
    extractor: object,
    waveform: torch.Tensor,
    precision: str = "float32",
) -> dict:
    """The layers of a waveform (samples,) at the extractor's rate: {layer: (frames, dim)}.

    precision: of the model; what the extractor measures is exact.
    """
    given = extractor(
        waveform.cpu().numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"
    )
    given = {k: v.to(model.device) for k, v in given.items() if k != "attention_mask"}
    with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if hasattr(model, "get_audio_features"):  # of two halves, such as CLAP: beside its texts
            return {OUTPUT: model.get_audio_features(**given).pooler_output}
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        states = encoder(**given, output_hidden_states=True).hidden_states
    if {s.ndim for s in states} == {3} and len({s.shape[-1] for s in states}) == 1:
        return {number: state[0] for number, state in enumerate(states)}
    return {OUTPUT: states[-1].flatten(2)[0].T if states[-1].ndim == 4 else states[-1][0]}


def _window(extractor: object) -> int | None:
    """Samples that a feature extractor brings every waveform to, None if it takes any length."""
    for samples in ("nb_max_samples", "n_samples"):  # of CLAP, of Whisper
        if getattr(extractor, samples, None):
            return int(getattr(extractor, samples))
    frames = getattr(extractor, "max_length", None)  # AST: frames of 10 ms, windows of 25 ms
    return int((frames - 1) * 0.010 * extractor.sampling_rate) if frames else None
