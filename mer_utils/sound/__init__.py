"""What a track sounds like: its audio, the encoders that hear it, the features that are kept.

`load_encoder` gives MERT, musicnn, musicnn with cues, or any audio model of transformers (`hf:`),
each a frozen model with layers; `extract` runs a dataset through one into a store that
`load_features` reads; `projector_input` is the part of the layers that a projector is given.

Conventions: waveforms are mono float32 in −1..1. A track is cut into segments of the encoder's
length; values are (segments, layers, dim).

An encoder of your own takes one decorator on a class, or on a function that makes one
(`mer_utils.registry`):

    @sound.ENCODERS.register("level")
    class Level(sound.Network):
        sample_rate, segment_seconds, layers, dim = 16_000, 3.0, ("level",), 1

        def frames(self, waveform):  # (samples,) -> (layers, frames, dim)
            return waveform.unfold(0, 160, 160).square().mean(1)[None, :, None].sqrt()

    sound.load_encoder("level")
"""

from mer_utils.sound import hugging_face, mert
from mer_utils.sound.audio import AudioError
from mer_utils.sound.cues import projector_input
from mer_utils.sound.encoders import ENCODERS, Encoder, Network, load_encoder
from mer_utils.sound.features import extract, load_features
