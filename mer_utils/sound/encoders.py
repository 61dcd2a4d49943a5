"""Audio encoders: from waveforms to features averaged over the time of a segment.

`mert-v1-95m` and `mert-v1-330m` (`sound.mert`), `musicnn` (`sound.musicnn`), `musicnn+cues`, which
adds measured musical cues (`sound.cues`), and `hf:<model id or folder>`, any audio model of
transformers (`sound.hugging_face`), are registered by their modules; here is what all of them have
in common.

Conventions: waveforms are mono float32 in −1..1 at the encoder's sample rate, all of a batch of
the same length; nothing is padded, but by `hf:` models that do so themselves. Features are (batch,
layers, dim) float32. On a CPU the result for a waveform does not depend on what else is in the
batch.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property, lru_cache
from inspect import signature
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
import transformers
from joblib import wrap_non_picklable_objects

from mer_utils.registry import Registry, add_entries, own_entries
from mer_utils.storage import file_hash

ENCODERS = Registry("encoder")
"""What makes a `Network`: a class of it, or a function, with any of the arguments name, checkpoint,
layers, device (torch's) and precision; what an entry does not take cannot be asked of it."""

HUB, ANY_MODEL = "hf:", "hf:<model id or folder>"
PRECISIONS = ("float32", "bfloat16")
MOST_ROUNDING = 0.1  # of a layer's length; it is one hundredth in MERT, of random weights too


class Network:
    """What an encoder is made of: these attributes, and `frames`.

    sample_rate: Hz; segment_seconds: how long a segment is meant to be.
    layers: what the layers of the features are: numbers of states, or a name; dim: their width.
    """

    sample_rate: int
    segment_seconds: float
    layers: tuple
    dim: int
    device = torch.device("cpu")

    @property
    def minimum_samples(self) -> int:
        """The shortest waveform that can be encoded: a tenth of a second."""
        return self.sample_rate // 10

    def settings(self) -> dict:
        """What decides the numbers beside the code and the attributes above (JSON-able).

        Where the first columns of a layer are a tagger's, "tags" are their words: word anchors
        (`projector.word_anchors`) then use them.
        """
        return {}

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the layers over time: (layers, frames, dim) float32."""
        raise NotImplementedError

    def pooled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to each layer's mean over time: (batch, layers, dim) float32."""
        # one at a time: a batch then gives bit for bit what its members give alone
        return torch.stack([self.frames(waveform).mean(1) for waveform in waveforms])


@dataclass(frozen=True, eq=False)
class Encoder:
    """A trained network that turns waveforms into features.

    name: as given to `load_encoder`.
    segment_seconds: how long a segment is meant to be.
    network: the loaded network, whose sample rate, layers, dim and minimum_samples it has.
    spec: the arguments of `load_encoder` that make this encoder again, also in another process
        (JSON-able).
    """

    name: str
    segment_seconds: float
    network: Network = field(repr=False)
    spec: dict

    sample_rate = property(attrgetter("network.sample_rate"))
    layers = property(attrgetter("network.layers"))
    dim = property(attrgetter("network.dim"))
    minimum_samples = property(attrgetter("network.minimum_samples"))

    def settings(self) -> dict:
        """Everything that decides the numbers (JSON-able): weights, layers, versions, precision."""
        return {
            "name": self.name,
            "layers": list(self.layers),
            "dim": self.dim,
            "sample_rate": self.sample_rate,
            "segment_seconds": self.segment_seconds,
            "pooling": "mean over time",
            "precision": self.spec.get("precision"),
            **self._checkpoint,
            **self.network.settings(),
            "device": self.network.device.type,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        }

    @cached_property  # settings are asked for shard by shard, and checkpoints are large
    def _checkpoint(self) -> dict:
        """The files of the checkpoint by hash, of a network that does not tell its weights."""
        checkpoint = self.spec.get("checkpoint")
        if checkpoint is None or "weights_sha256" in self.network.settings():
            return {}
        place = Path(checkpoint)
        files = sorted(x for x in place.rglob("*") if x.is_file()) if place.is_dir() else [place]
        return {"checkpoint_sha256": [file_hash(file) for file in files]}

    def __reduce__(self) -> tuple:
        """A pickled encoder is its recipe, so that workers load it themselves."""
        own = wrap_non_picklable_objects(own_entries(), keep_wrapper=False)
        return load_cached, (self.spec, own)

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Encode waveforms (batch, samples) of one length, float, mono in −1..1 at `sample_rate`.

        Returns (batch, layers, dim) float32: the mean over time of each layer.
        Raises ValueError for another shape or type, and for what is not finite or too short.
        """
        return self._run(self.network.pooled, waveforms, dimensions=2)

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Encode one waveform (samples,) without averaging: (layers, frames, dim) float32.

        75 frames a second with MERT, one for each window of 3 s with musicnn.
        """
        return self._run(self.network.frames, waveform, dimensions=1)

    def _run(self, compute: Callable, waveforms: np.ndarray, dimensions: int) -> np.ndarray:
        """Check the waveforms, run the network on its device and bring the features back."""
        array = np.asarray(waveforms)
        wanted = {1: "(samples,)", 2: "(batch, samples)"}[dimensions]
        is_float = np.issubdtype(array.dtype, np.floating)
        right_shape = array.ndim == dimensions and 0 not in array.shape[:-1]
        if not (is_float and right_shape and array.shape[-1] >= self.minimum_samples):
            raise ValueError(
                f"{self.name}: waveforms are {array.dtype} {array.shape}, expected {wanted} "
                f"floating point in −1..1, of at least {self.minimum_samples} samples"
            )
        if bad := np.count_nonzero(~np.isfinite(array)):
            raise ValueError(f"{self.name}: {bad} samples are not finite; was the file cut short?")
        # A copy where the array cannot be written to (memory-mapped, shared between processes).
        given = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
        with torch.inference_mode(), _exact_convolutions(self.network.device):
            features = compute(given.to(self.network.device)).cpu().numpy()
        if not np.isfinite(features).all():
            raise FloatingPointError(
                f"{self.name}: features that are not finite; is its checkpoint sound?"
            )
        return features


def load_encoder(
    name: str,
    checkpoint: str | Path | None = None,
    layers: Sequence | None = None,
    device: str | None = None,
    *,
    precision: str = "float32",
    segment_seconds: float | None = None,
) -> Encoder:
    """Load an encoder by name.

    name: in `ENCODERS`, or "hf:" and the folder or Hub repository of any audio model that
        transformers supports (`sound.hugging_face`).
    checkpoint: a folder with the weights; None for the published ones.
    layers: MERT: numbers of hidden states, such as (3, 6, 9, 12); None for all, 0..12 or 0..24.
        musicnn and musicnn+cues have one layer, whose columns `sound.cues.PARTS` names.
        hf: numbers of hidden states, or ("output",).
    device: "cpu", "cuda", "cuda:1"; None for the GPU if there is one, else the CPU.
    precision: "float32", or for MERT and hf: "bfloat16" (faster, within a percent).
    segment_seconds: length of a segment; None for the encoder's own: MERT 10, musicnn 9, hf: its
        window, or 10 where it has none.
    Raises ValueError for what an encoder does not know, for a GPU that is not there and for
    bfloat16 where it is computed wrongly, FileNotFoundError without weights.
    """
    make = ENCODERS[ANY_MODEL if name.startswith(HUB) else name]
    if precision not in PRECISIONS:
        raise ValueError(f"{name}: precision {precision!r}; there is {' and '.join(PRECISIONS)}")
    if isinstance(layers, str | int):
        raise ValueError(f"{name}: layers={layers!r}; write a sequence, such as ({layers!r},)")
    if layers is not None:  # plain numbers or names
        layers = tuple(np.asarray(layers).tolist())
    if name.startswith(HUB):
        checkpoint = checkpoint or name.removeprefix(HUB)
    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if on.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{name}: device {device!r}, but PyTorch finds no GPU here")
    given = {"name": name, "checkpoint": checkpoint, "layers": layers, "device": on}
    given["precision"] = precision
    taken = signature(make).parameters
    for what, usual in (("checkpoint", None), ("precision", PRECISIONS[0])):
        if what not in taken and given[what] != usual:
            raise ValueError(f"{name}: takes no {what} ({given[what]!r}); leave it out")
    network = make(**{key: value for key, value in given.items() if key in taken})
    if layers not in (None, network.layers):
        raise ValueError(f"{name}: layers={layers!r}, but its layers are {network.layers}")
    seconds = float(network.segment_seconds if segment_seconds is None else segment_seconds)
    if not seconds * network.sample_rate >= network.minimum_samples:
        least = network.minimum_samples / network.sample_rate
        raise ValueError(f"{name}: {segment_seconds=}, but it needs at least {least:.3f} s")
    if checkpoint is not None:
        path = Path(checkpoint)  # made absolute, since a worker may start in another folder
        checkpoint = str(path.resolve() if path.exists() else checkpoint)
    spec = given | {"checkpoint": checkpoint, "layers": list(network.layers), "device": str(on)}
    spec["segment_seconds"] = seconds
    encoder = Encoder(name, seconds, network, spec)
    if getattr(network, "precision", None) == "bfloat16" and is_dataclass(network):
        _check_rounding(encoder)
    return encoder


def _check_rounding(encoder: Encoder) -> None:
    """Raise ValueError if bfloat16 is further from float32 than rounding can be.

    PyTorch 2.11 gave states of half a second, of a small MERT, that were 32 % off on a processor
    where it takes Intel's AMX, it seems (perhaps pytorch/pytorch#169688).
    """
    network = encoder.network
    seconds = min(1.0, encoder.segment_seconds)
    samples = max(round(seconds * network.sample_rate), network.minimum_samples)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)
    exact = replace(encoder, network=replace(network, precision="float32"))(noise)
    length = np.linalg.norm(exact, axis=-1)  # (1, layers)
    error = np.linalg.norm(encoder(noise) - exact, axis=-1) / np.maximum(length, 1e-9)
    if error.max() > MOST_ROUNDING:
        raise ValueError(
            f"{encoder.name}: bfloat16 is {error.max():.0%} off float32 on this machine, expected "
            "some percent at most; take precision='float32', or start Python with "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"
        )


def load_cached(spec: dict, entries: Mapping[str, Mapping] | None = None) -> Encoder:
    """The encoder of a spec (`Encoder.spec`), loaded once a process: for workers.

    entries: what the user registered in the process that sends it (`registry.own_entries`).
    """
    add_entries(entries or {})
    return _load_cached(json.dumps(spec, sort_keys=True))


@lru_cache(maxsize=2)
def _load_cached(spec: str) -> Encoder:
    return load_encoder(**json.loads(spec))


def pick_layers(name: str, asked: Sequence | None, there: Iterable) -> tuple:
    """The layers that are asked for, of those there are; all of them if None."""
    there = tuple(there)
    layers = there if asked is None else tuple(asked)
    if not layers or not set(layers) <= set(there) or len(set(layers)) < len(layers):
        raise ValueError(f"{name}: layers={layers!r}; expected some of {list(there)}, each once")
    return layers


_CONVOLUTION_FLAGS = threading.Lock()


@contextmanager
def _exact_convolutions(device: torch.device) -> Iterator[None]:
    """On a GPU, run convolutions in full float32 and in the same way every time.

    PyTorch's default would round their inputs to 10 bits (TF32). The flags are the process's own,
    so threads take turns.
    """
    if device.type != "cuda":
        yield
        return
    exact = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
    with _CONVOLUTION_FLAGS, torch.backends.cudnn.flags(**exact):
        yield
