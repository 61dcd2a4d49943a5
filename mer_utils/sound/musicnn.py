"""musicnn: a small convolutional tagger for music, ported to PyTorch, with its trained weights.

Source: Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio
tagging" (arXiv 1909.06654). The weights are `MSD_musicnn` (ISC licence), trained on the 50 most
frequent tags of the Million Song Dataset. They are read from the files of the PyPI wheel `musicnn`
0.1.0; its code, which needs a TensorFlow of 2019, is never imported.

The way through the network, for one window of 3 s (187 frames of 96 mel bands):

    batch norm ─► 2 timbral filters (7 frames × 38 or 67 bands; the largest over the bands)   408
               └► 3 temporal filters (128, 64, 32 frames × 1 band; the largest over the bands) 153
    561 channels ─► 3 convolutions over 7 frames, 64 channels each, the 2nd and 3rd residual   192
    753 channels ─► largest and mean over time ("pooled", 1506) ─► batch norm ─► dense, ReLU,
    batch norm ("penultimate", 200) ─► dense, sigmoid ("tags", 50)

Conventions: 16 kHz mono. A segment is cut into windows that follow one another without overlap;
frames after the last whole window are left out, as in the original. A segment shorter than one
window is one shorter window. Nothing is padded, but the spectrogram mirrors 16 ms at either end of
a segment, as the original does at either end of a file. Features are the mean over the windows.
"""

from importlib import metadata
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from mer_utils.sound.encoders import ENCODERS, Network
from mer_utils.storage import file_hash

# fmt: off
TAGS = (  # in the order of the network's outputs
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s",
    "alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock",
    "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill", "instrumental",
    "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy",
    "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop",
    "sad", "House", "happy",
)
# fmt: on
# Which columns of the one layer "all" are what.
PARTS = {"tags": slice(0, 50), "penultimate": slice(50, 250), "pooled": slice(250, 1756)}
SAMPLE_RATE = 16_000
FFT_SIZE, HOP, MEL_BANDS = 512, 256, 96
WINDOW_FRAMES = 187
AT_ONCE = 96  # windows that a GPU hears at once
DATA = ".data-00000-of-00001"  # the file of the weights, as in the wheel that no-deps.txt names
DATA_SHA256 = "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6"


@ENCODERS.register("musicnn")
class Musicnn(nn.Module, Network):
    """The network with its trained weights; checkpoint as in `find_weights`."""

    sample_rate = SAMPLE_RATE
    segment_seconds = 9.0
    minimum_samples = SAMPLE_RATE  # below 1 s most of what the temporal filters see is zeros
    layers = ("all",)
    dim = PARTS["pooled"].stop
    device = property(attrgetter("mel.device"))

    def __init__(
        self, checkpoint: str | Path | None = None, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        kernels = ((204, (7, 38)), (204, (7, 67)), (51, (128, 1)), (51, (64, 1)), (51, (32, 1)))
        widths = (204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)
        with torch.random.fork_rng(devices=()):  # random starts must not use up the caller's draws
            self.front = nn.ModuleList(nn.Conv2d(1, width, kernel) for width, kernel in kernels)
            self.middle = nn.ModuleList(nn.Conv1d(n, 64, 7, padding=3) for n in (561, 64, 64))
            self.dense = nn.ModuleList([nn.Linear(1506, 200), nn.Linear(200, 50)])
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, eps=1e-3) for width in widths)
        self.norms.insert(0, nn.BatchNorm2d(1, eps=1e-3))
        self.register_buffer("mel", mel_bands())
        self.requires_grad_(False).eval()
        self._fill(torch.from_numpy(np.fromfile(find_weights(checkpoint), dtype="<f4")))
        self._turn()
        self.to(device)

    def _fill(self, numbers: torch.Tensor) -> None:
        """Set the weights from the data file of a TensorFlow checkpoint.

        It holds the variables in the order of their names (batch_normalization, …_1, …_10, …_2);
        after each that was trained stand the two moments that the optimiser kept of it.
        """
        at = 0
        norms = [self.norms[number] for number in sorted(range(11), key=str)]
        for layer in (*norms, *self.front, *self.middle, *self.dense):
            if layer is self.front[0]:
                at += 2  # beta1_power and beta2_power, the optimiser's
            for part in ("bias", "weight", "running_mean", "running_var"):
                values = getattr(layer, part, None)
                if values is None:
                    continue
                # TensorFlow's axes: (height, width, in, out), and (length, in, out) and (in, out)
                axes = (2, 3, 1, 0) if values.ndim == 4 else (2, 1, 0)[-values.ndim :]
                ours = values.permute(axes)
                ours.copy_(numbers[at : at + values.numel()].reshape(ours.shape))
                at += values.numel() * (1 if part.startswith("running") else 3)

    def _turn(self) -> None:
        """Turn the signs of the front's filters whose norm falls, so that `_front` finds their
        smallest result as the largest.
        """
        for filters, norm in zip(self.front, self.norms[1:6], strict=True):
            filters.weight *= norm.weight.sign()[:, None, None, None]
            filters.bias *= norm.weight.sign()

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        return {
            "weights_sha256": DATA_SHA256,
            "precision": "float32",
            "mel": {"fft": FFT_SIZE, "hop": HOP, "bands": MEL_BANDS},
            "window_frames": WINDOW_FRAMES,
        }

    def frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to the features of each window: (1, windows, dim)."""
        return self.heard(waveform[None])

    def pooled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to the mean over the windows: (batch, 1, dim)."""
        if self.device.type == "cpu":
            return super().pooled(waveforms)
        return self.heard(waveforms).mean(1, keepdim=True)

    def heard(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to the features of each window: (batch, windows, dim)."""
        cut = torch.stack([cut_windows(log_mel(w, self.mel)) for w in waveforms])
        windows = cut.flatten(0, 1)  # (batch * windows, frames, bands)
        if self.device.type != "cpu":  # cuDNN takes 7 times as long for 3 windows as for 96
            windows = functional.pad(windows, (0, 0, 0, 0, 0, -len(windows) % AT_ONCE))
        heard = torch.cat([self(part) for part in windows.split(AT_ONCE)])
        return heard[: len(cut) * cut.shape[1]].unflatten(0, cut.shape[:2])

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(windows, frames, 96) logarithmic mel spectrograms to (windows, 1756), by `PARTS`."""
        x = self.norms[0](windows[:, None])  # (windows, 1, frames, bands)
        x = torch.cat([self._front(n, x) for n in range(5)], dim=1)  # (windows, 561, frames)
        first = self._middle(0, x)  # (windows, 64, frames)
        second = first + self._middle(1, first)
        third = second + self._middle(2, second)
        x = torch.cat([x, first, second, third], dim=1)  # (windows, 753, frames)
        # Largest and mean stand side by side, channel by channel: largest 0, mean 0, largest 1, …
        pooled = torch.stack([x.amax(2), x.mean(2)], dim=2).flatten(1)  # (windows, 1506)
        penultimate = self.norms[10](self.dense[0](self.norms[9](pooled)).relu())  # (windows, 200)
        tags = self.dense[1](penultimate).sigmoid()  # (windows, 50)
        return torch.cat([tags, penultimate, pooled], dim=1)

    def _front(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """(windows, 1, frames, bands): filters, ReLU and norm, the largest over the bands."""
        convolution, norm = self.front[number], self.norms[1 + number]
        length = convolution.kernel_size[0]
        # "same" in TensorFlow: of the length − 1 zeros of an even kernel, the odd one comes last.
        x = convolution(functional.pad(x, (0, 0, (length - 1) // 2, length // 2)))
        # A batch norm is one straight line a channel, so the largest of its results is the result
        # of the largest, or of the smallest where the line falls (`_turn`). Taking that first
        # leaves 1/30 to 1/96 of the numbers to normalise.
        largest = x.amax(3) * norm.weight.sign()[:, None]  # (windows, channels, frames)
        return norm(largest.relu())

    def _middle(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """(windows, channels, frames): filters over all channels, ReLU and norm."""
        return self.norms[6 + number](self.middle[number](x).relu())


def find_weights(checkpoint: str | Path | None = None) -> Path:
    """The file of the weights in a folder MSD_musicnn (None: that of the wheel), hash-checked."""
    mend = "pip install --no-deps --require-hashes -r no-deps.txt (the PyPI wheel musicnn 0.1.0)"
    mend += "" if checkpoint is None else ", and leave checkpoint= out"
    try:  # found without importing the wheel's code
        wheel = checkpoint or metadata.distribution("musicnn").locate_file("musicnn/MSD_musicnn")
        path = Path(str(wheel), DATA)
        found = file_hash(path)
    except (metadata.PackageNotFoundError, OSError) as error:
        raise FileNotFoundError(f"musicnn: its weights are not there ({error}): {mend}") from error
    if found != DATA_SHA256:
        raise ValueError(f"musicnn: {path} has another SHA-256, {found}; install it again: {mend}")
    return path


def log_tags(tags: np.ndarray) -> np.ndarray:
    """Natural logarithm, float32, of tag probabilities (..., 50), of at least 1e-6."""
    return np.log(np.maximum(np.asarray(tags, dtype=np.float32), np.float32(1e-6)))


def mel_bands() -> torch.Tensor:
    """Triangular mel filters (Slaney's scale and norm, 0–8000 Hz): (mel bands, FFT bins)."""
    shape = {"num_frequency_bins": FFT_SIZE // 2 + 1, "num_mel_filters": MEL_BANDS}
    span = {"min_frequency": 0.0, "max_frequency": SAMPLE_RATE / 2, "sampling_rate": SAMPLE_RATE}
    filters = mel_filter_bank(**shape, **span, norm="slaney", mel_scale="slaney")
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
