"""What a track sounds like: its audio, the encoders that hear it, the features that are kept.

`load_encoder` gives MERT, musicnn, musicnn with cues, or any audio model of transformers (`hf:`),
each a frozen model with layers; `extract`
runs a dataset through one into a store that `load_features` reads; `projector_input` is the part of
the layers that a projector is given.

Conventions: waveforms are mono float32 in −1..1. A track is cut into segments of the encoder's
length; values are (segments, layers, dim).
"""

from mer_utils.sound.audio import AudioError
from mer_utils.sound.encoders import Encoder, load_encoder, projector_input
from mer_utils.sound.features import extract, load_features
