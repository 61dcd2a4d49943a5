"""musicnn: a small convolutional tagger for music, ported to PyTorch, with its trained weights.

Source: Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio
tagging" (arXiv 1909.06654). The weights are `MSD_musicnn` (ISC licence, free to use), trained on
the 50 most frequent tags of the Million Song Dataset. They are read from the files of the PyPI
wheel `musicnn` 0.1.0; its code, which needs a TensorFlow of 2019, is never imported.

The way through the network, for one window of 3 s (187 frames of 96 mel bands):

    batch norm ─► 2 timbral filters (7 frames × 38 or 67 bands; the largest over the bands)   408
               └► 3 temporal filters (128, 64, 32 frames × 1 band; the largest over the bands) 153
    561 channels ─► 3 convolutions over 7 frames, 64 channels each, the 2nd and 3rd residual   192
    753 channels ─► largest and mean over time ("pooled", 1506) ─► batch norm ─► dense, ReLU,
    batch norm ("penultimate", 200) ─► dense, sigmoid ("tags", 50)

Conventions: 16 kHz mono. A segment is cut into windows that follow one another without overlap;
frames after the last whole window are left out, as in the original. The default segment of 9 s is
three windows, and 2 of its 563 frames are left out. A segment shorter than one window is one
shorter window: the network averages over time, so nothing is padded. (The spectrogram mirrors 16 ms
at either end of a segment, as the original does at either end of a file.) Features are the mean
over the windows.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from mer_utils.storage import file_hash

# fmt: off
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)
# fmt: on
"""The 50 tags, in the order of the network's outputs."""

PARTS = {"tags": slice(0, 50), "penultimate": slice(50, 250), "pooled": slice(250, 1756)}
"""Which columns of the layer "all" are what."""

LAYERS = ("all", *PARTS)
"""The layers to choose from; they differ in width, so an encoder gives one of them."""

SAMPLE_RATE = 16_000
FFT_SIZE, HOP, MEL_BANDS = 512, 256, 96
WINDOW_FRAMES = 187
SEGMENT_SECONDS = 9.0
MINIMUM_SAMPLES = SAMPLE_RATE  # below 1 s most of what the temporal filters see is zeros

INDEX, DATA = ".index", ".data-00000-of-00001"
SHA256 = {
    INDEX: "87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
    DATA: "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
}
"""Of the two files of the weights, as they are in the wheel whose hash no-deps.txt holds."""


@dataclass(frozen=True, eq=False)
class Musicnn:
    """The network, ready to run.

    weights: named as in the checkpoint, in PyTorch's layout, on one device.
    mel: (mel bands, FFT bins) from power spectrum to mel bands.
    layer: one of `LAYERS`.
    """

    weights: dict[str, torch.Tensor]
    mel: torch.Tensor
    layer: str

    sample_rate = SAMPLE_RATE
    segment_seconds = SEGMENT_SECONDS
    minimum_samples = MINIMUM_SAMPLES

    @property
    def layers(self) -> tuple[str]:
        """The one layer that this network gives."""
        return (self.layer,)

    @property
    def dim(self) -> int:
        """Width of that layer."""
        columns = range(PARTS["pooled"].stop)
        return len(columns[PARTS.get(self.layer, slice(None))])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mel.device

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        return {
            "weights_sha256": SHA256[DATA],
            "precision": "float32",
            "mel": {"fft": FFT_SIZE, "hop": HOP, "bands": MEL_BANDS},
            "window_frames": WINDOW_FRAMES,
            "device": self.device.type,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        }

    def pooled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to the mean over each segment's windows: (batch, 1, dim)."""
        # One segment at a time: a batch then gives bit for bit what its members give alone.
        return torch.stack([self.frames(waveform).mean(1) for waveform in waveforms])

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the features of each window: (1, windows, dim)."""
        windows = cut_windows(log_mel(waveform, self.mel))  # (windows, frames, bands)
        features = torch.cat(list(network(self.weights, windows).values()), dim=1)
        return features[None, :, PARTS.get(self.layer, slice(None))]  # (1, windows, dim)


def load(
    checkpoint: str | Path | None,
    layers: tuple | None,
    device: torch.device,
    precision: str = "float32",
) -> Musicnn:
    """Load musicnn.

    checkpoint: folder with the checkpoint's two files; None for those of the installed wheel.
    layers: one of `LAYERS` in a tuple; None for ("all",).
    precision: "float32"; there is no other, because nothing would be gained.
    Raises FileNotFoundError without the files, ValueError for files with another hash, for other
    layers and for another precision.
    """
    layers = ("all",) if layers is None else layers
    if len(layers) != 1 or layers[0] not in LAYERS:
        raise ValueError(
            f"musicnn: layers={layers!r}, but it gives exactly one of {LAYERS}, because they "
            "differ in width; take ('all',) and pick columns afterwards with musicnn.PARTS"
        )
    if precision != "float32":
        raise ValueError(f"musicnn: runs in float32 only, not in {precision!r}; leave it out")
    weights = {name: value.to(device) for name, value in read_weights(checkpoint).items()}
    return Musicnn(weights, mel_bands().to(device), layers[0])


def log_tags(tags: np.ndarray, floor: float = 1e-6) -> np.ndarray:
    """Natural logarithm of tag probabilities, the scale on which they are close to linear.

    tags: (..., 50) probabilities in 0..1, such as the columns `PARTS["tags"]`; smaller ones than
    `floor` count as `floor`. Returns float32 of the same shape.
    """
    return np.log(np.maximum(np.asarray(tags, dtype=np.float32), np.float32(floor)))


# ---- from waveform to windows --------------------------------------------------------------------


def mel_bands() -> torch.Tensor:
    """Triangular mel filters (Slaney's scale and norm, 0–8000 Hz): (mel bands, FFT bins)."""
    filters = mel_filter_bank(
        num_frequency_bins=FFT_SIZE // 2 + 1,
        num_mel_filters=MEL_BANDS,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.astype(np.float32)).contiguous()


def log_mel(waveform: torch.Tensor, mel: torch.Tensor) -> torch.Tensor:
    """Logarithmic mel spectrogram log10(10000·x + 1) of the power x: (samples,) to (frames, bands).

    The power passes through float16 on its way, as it did when the network was trained.
    """
    window = torch.hann_window(FFT_SIZE, device=waveform.device)
    spectrum = torch.stft(
        waveform, FFT_SIZE, HOP, window=window, pad_mode="reflect", return_complex=True
    )  # (bins, frames)
    power = spectrum.real.square() + spectrum.imag.square()
    bands = (mel @ power).T.half().float()  # (frames, bands)
    return torch.log10(10_000 * bands + 1)


def cut_windows(spectrogram: torch.Tensor) -> torch.Tensor:
    """(frames, bands) to (windows, 187, bands), or (1, frames, bands) of less than 187 frames."""
    count = len(spectrogram) // WINDOW_FRAMES
    if count == 0:
        return spectrogram[None]  # (1, frames, bands)
    return spectrogram[: count * WINDOW_FRAMES].reshape(count, WINDOW_FRAMES, -1)


# ---- the network ---------------------------------------------------------------------------------


def network(weights: dict[str, torch.Tensor], windows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The network's outputs for each window.

    windows: (windows, frames, 96) logarithmic mel spectrograms.
    Returns "tags" (windows, 50), "penultimate" (windows, 200) and "pooled" (windows, 1506).
    """
    x = _norm(weights, "batch_normalization", windows[:, None])  # (windows, 1, frames, bands)
    front = [_timbral(weights, f"conv2d{n}", f"batch_normalization_{b}", x) for n, b in _TIMBRAL]
    front += [_temporal(weights, f"conv2d{n}", f"batch_normalization_{b}", x) for n, b in _TEMPORAL]
    x = torch.cat(front, dim=1)  # (windows, 561, frames)
    first = _middle(weights, "conv2d_5", "batch_normalization_6", x)  # (windows, 64, frames)
    second = first + _middle(weights, "conv2d_6", "batch_normalization_7", first)
    third = second + _middle(weights, "conv2d_7", "batch_normalization_8", second)
    x = torch.cat([x, first, second, third], dim=1)  # (windows, 753, frames)
    # Largest and mean stand side by side, channel by channel: largest 0, mean 0, largest 1, …
    pooled = torch.stack([x.amax(2), x.mean(2)], dim=2).flatten(1)  # (windows, 1506)
    x = _norm(weights, "batch_normalization_9", pooled)
    x = functional.relu(
        functional.linear(x, weights["dense/kernel"], weights["dense/bias"])
    )  # (windows, 200)
    penultimate = _norm(weights, "batch_normalization_10", x)
    logits = functional.linear(penultimate, weights["dense_1/kernel"], weights["dense_1/bias"])
    return {"tags": logits.sigmoid(), "penultimate": penultimate, "pooled": pooled}


# TensorFlow numbered the layers in the order in which they were made: the ends of the names of
# each front-end block's convolution and batch norm.
_TIMBRAL = (("", 1), ("_1", 2))
_TEMPORAL = (("_2", 3), ("_3", 4), ("_4", 5))


def _norm(weights: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """Batch norm over axis 1 with the stored mean and variance (epsilon 1e-3, TensorFlow's)."""
    statistics = (weights[f"{name}/moving_mean"], weights[f"{name}/moving_variance"])
    scale, shift = weights[f"{name}/gamma"], weights[f"{name}/beta"]
    return functional.batch_norm(x, *statistics, scale, shift, training=False, eps=1e-3)


def _largest(weights: dict[str, torch.Tensor], norm: str, x: torch.Tensor) -> torch.Tensor:
    """ReLU, batch norm, then the largest over bands: (windows, channels, frames, bands) without
    the bands.

    A batch norm is one straight line a channel, so the largest of its results is the result of the
    largest, or of the smallest where the line falls. Taking that first leaves 1/30 to 1/96 of the
    numbers to normalise.
    """
    extreme = x.amax(3)  # (windows, channels, frames)
    falls = (weights[f"{norm}/gamma"] < 0).nonzero().flatten()
    if len(falls):
        extreme[:, falls] = x[:, falls].amin(3)
    return _norm(weights, norm, functional.relu(extreme))


def _timbral(
    weights: dict[str, torch.Tensor], conv: str, norm: str, x: torch.Tensor
) -> torch.Tensor:
    """Filters of 7 frames × many bands, the largest over them; x (windows, 1, frames, bands)."""
    x = functional.conv2d(x, weights[f"{conv}/kernel"], weights[f"{conv}/bias"], padding=(3, 0))
    return _largest(weights, norm, x)  # (windows, 204, frames)


def _temporal(
    weights: dict[str, torch.Tensor], conv: str, norm: str, x: torch.Tensor
) -> torch.Tensor:
    """Filters of many frames × 1 band, the largest over bands; x (windows, 1, frames, bands)."""
    kernel = weights[f"{conv}/kernel"]
    length = kernel.shape[2]
    # "same" in TensorFlow: of the length − 1 zeros of an even kernel, the odd one comes last.
    x = functional.pad(
        x, (0, 0, (length - 1) // 2, length // 2)
    )  # (windows, 1, frames + length − 1, bands)
    x = functional.conv2d(x, kernel, weights[f"{conv}/bias"])
    return _largest(weights, norm, x)  # (windows, 51, frames)


def _middle(
    weights: dict[str, torch.Tensor], conv: str, norm: str, x: torch.Tensor
) -> torch.Tensor:
    """Filters of 7 frames × all channels; x (windows, channels, frames)."""
    x = functional.conv1d(x, weights[f"{conv}/kernel"], weights[f"{conv}/bias"], padding=3)
    return _norm(weights, norm, functional.relu(x))  # (windows, 64, frames)


# ---- weights -------------------------------------------------------------------------------------


def read_weights(checkpoint: str | Path | None = None) -> dict[str, torch.Tensor]:
    """The 64 tensors of the network (792,079 numbers), hash-checked, in PyTorch's layout."""
    index, data = _checkpoint_files(checkpoint)
    weights = {}
    for name, array in read_bundle(index, data).items():
        if "Adam" in name or name in ("beta1_power", "beta2_power"):
            continue  # the optimiser's state
        tensor = torch.from_numpy(array)
        if name.endswith("/kernel") and array.ndim == 4:
            tensor = tensor.permute(
                3, 2, 0, 1
            )  # (height, width, in, out) -> (out, in, height, width)
            if name in ("conv2d_5/kernel", "conv2d_6/kernel", "conv2d_7/kernel"):
                # The middle convolutions span all channels: (out, 1, 7, in) -> (out, in, 7)
                tensor = tensor[:, 0].transpose(1, 2)
        elif name.endswith("/kernel"):
            tensor = tensor.T  # (in, out) -> (out, in)
        weights[name] = tensor.contiguous()
    return weights


def _checkpoint_files(checkpoint: str | Path | None) -> tuple[Path, Path]:
    """The index and the data file, both there and both with the right hash."""
    folder = _wheel_folder() if checkpoint is None else Path(checkpoint)
    for name in (INDEX, DATA):
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"musicnn: no {name} in {folder}; the folder MSD_musicnn of the PyPI wheel musicnn "
                "0.1.0 has it: pip install --no-deps --require-hashes -r no-deps.txt"
            )
        found = file_hash(path)
        if found != SHA256[name]:
            raise ValueError(
                f"musicnn: {path} has the SHA-256 {found}, expected {SHA256[name]} (MSD_musicnn of "
                "the PyPI wheel musicnn 0.1.0); install it again from no-deps.txt"
            )
    return folder / INDEX, folder / DATA


def _wheel_folder() -> Path:
    """The folder of the weights in the installed wheel, found without importing it."""
    try:
        return Path(str(metadata.distribution("musicnn").locate_file("musicnn/MSD_musicnn")))
    except metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            "musicnn: the wheel that carries its weights is not installed: pip install --no-deps "
            "--require-hashes -r no-deps.txt (or checkpoint= a folder with its MSD_musicnn files)"
        ) from error


def read_bundle(index: Path, data: Path) -> dict[str, np.ndarray]:
    """Read a TensorFlow checkpoint of one shard: name to float32 array.

    The index is an uncompressed sorted table (LevelDB's format) whose values are
    `BundleEntryProto` messages; the data file holds the arrays one after another.
    Raises ValueError if the files are of another kind.
    """
    arrays = {}
    with open(data, "rb") as file:
        for key, value in _table_entries(index.read_bytes(), index):
            if not key:
                continue  # the header: version and number of shards
            entry = dict(_fields(value))  # 1 type, 2 shape, 3 shard, 4 offset, 5 size
            if entry.get(1) != 1 or entry.get(3, 0) != 0:
                raise ValueError(f"{index}: {key.decode()} is not float32 in the first shard")
            # A shape repeats field 2, one dimension each, whose field 1 is the size.
            shape = [
                dict(_fields(dimension)).get(1, 0) for _, dimension in _fields(entry.get(2, b""))
            ]
            file.seek(entry.get(4, 0))
            array = np.frombuffer(file.read(entry.get(5, 0)), dtype="<f4")
            arrays[key.decode()] = array.reshape(shape).astype(np.float32)
    return arrays


def _table_entries(table: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The key-value pairs of a sorted table: its footer leads to an index of blocks of pairs."""
    if table[-8:] != bytes.fromhex("57fb808b247547db"):
        raise ValueError(
            f"{path}: not the index of a TensorFlow checkpoint (its last bytes differ)"
        )
    footer, at = table[-48:], 0
    handle = []  # offset and size of the block of block properties, then of the block of blocks
    for _ in range(4):
        number, at = _varint(footer, at)
        handle.append(number)
    for _, value in _block_entries(table, handle[2], handle[3], path):
        offset, at = _varint(value, 0)
        size, _ = _varint(value, at)
        yield from _block_entries(table, offset, size, path)


def _block_entries(
    table: bytes, offset: int, size: int, path: Path
) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of one block; each key is given by what it shares with the one before."""
    if table[offset + size] != 0:
        raise ValueError(f"{path}: a compressed table, which this reader does not know")
    block = table[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = size - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:  # 2: bytes with their length in front; 5: four bytes
            length, at = _varint(message, at) if kind == 2 else (4, at)
            value, at = message[at : at + length], at + length
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first; and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
