"""musicnn and measured cues side by side: what a network hears, and what can be measured.

The encoder `musicnn+cues`: after the 1,756 columns of musicnn's layer "all" stand the seven cues
of `sound.acoustics`. musicnn was trained to tell genres and instruments apart; of tempo and of
major and minor it keeps little.

Conventions: as musicnn's; the cues are measured on the whole segment at musicnn's sample rate. A
cue that a segment does not have (silence has no tempo) takes its value in NEUTRAL, near its mean
over music, so that a silent segment does not pass for an extreme one.
"""

from dataclasses import replace

import numpy as np
import torch

from mer_utils.data.types import Features, select
from mer_utils.sound import acoustics, musicnn
from mer_utils.sound.encoders import ENCODERS
from mer_utils.sound.musicnn import Musicnn

NEUTRAL = {"tempo": 110.0, "activity": 0.0, "brightness": 800.0, "register": 62.0}
NEUTRAL |= {"mode": 0.0, "roughness": 0.0}
QUIETEST = -60.0  # loudness, dB; what is softer counts as this

LAYER = "all+cues"
PARTS = {**musicnn.PARTS, "cues": slice(1756, 1756 + len(acoustics.CUES))}  # columns of the layer
INPUT = ("tags", "penultimate", "cues")  # the parts that a projector takes (`projector_input`)


@ENCODERS.register("musicnn+cues")
class MusicnnWithCues(Musicnn):
    """musicnn with the cues, which are measured on the CPU."""

    layers = (LAYER,)
    dim = PARTS["cues"].stop

    def settings(self) -> dict:
        """What decides the numbers (JSON-able)."""
        return {**super().settings(), "cues": {**NEUTRAL, "loudness": QUIETEST}}

    def heard(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(batch, samples) to (batch, windows, dim); a segment's cues are in all its windows."""
        heard = super().heard(waveforms)  # (batch, windows, 1756)
        measured = np.stack([cue_values(waveform) for waveform in waveforms.cpu().numpy()])
        measured = torch.from_numpy(measured).to(heard)[:, None]  # (batch, 1, cues)
        return torch.cat([heard, measured.expand(-1, heard.shape[1], -1)], dim=2)


def cue_values(waveform: np.ndarray) -> np.ndarray:
    """The cues of one segment in the order of `acoustics.CUES`: (samples,) to (7,) float32."""
    with np.errstate(divide="ignore", invalid="ignore"):  # near silence some cues are 0 / 0
        measured = acoustics.measure(waveform, musicnn.SAMPLE_RATE)
    measured["loudness"] = max(measured["loudness"], QUIETEST)
    values = [v if np.isfinite(v) else NEUTRAL[name] for name, v in measured.items()]
    return np.array(values, dtype=np.float32)


def projector_input(extracted: Features) -> Features:
    """The part of the stored features that a projector takes.

    Of musicnn its 200-dimensional penultimate layer; of musicnn+cues the tags' logarithms, that
    layer and the cues, 257 columns; of other encoders, everything. The encoder's "blocks" are the
    widths of these three, which a ridge weighs alike: seven cues count as much as 200 outputs.
    """
    name = extracted.encoder.get("name")
    if name == "musicnn":
        return select(extracted, columns=musicnn.PARTS["penultimate"])
    if name == "musicnn+cues":
        whole = np.asarray(extracted.values, dtype=np.float32)  # (segments, 1, 1763)
        parts = [whole[..., PARTS[part]] for part in INPUT]
        parts[0] = musicnn.log_tags(parts[0])
        blocks = [part.shape[-1] for part in parts]
        encoder = extracted.encoder | {"columns": list(INPUT), "blocks": blocks}
        return replace(extracted, values=np.concatenate(parts, axis=-1), encoder=encoder)
    return extracted
