"""Inputs that are damaged: audio."""

import numpy as np
from pathlib import Path
from tests.campaign import material
from tests.campaign.engine import Fell, Random, kind
from mer_utils.sound import audio as audio_files
from mer_utils.sound.audio import AudioError

PROMISE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")  # how long they are


def mutated(random: Random, content: bytes) -> bytes:
    """Bytes with a few small changes: flips, cuts, repeats, a number in the head."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        place = int(random.integers(0, max(1, len(data) if random.random() < 0.5 else 128)))
        place = min(place, max(0, len(data) - 1))
        length = int(random.integers(1, 9))
        match int(random.integers(6)):
            case 0:
                data[place : place + 1] = random.bytes(1)
            case 1:
                data[place : place + length] = random.bytes(length)
            case 2:
                extremes = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff")
                data[place : place + 4] = extremes[int(random.integers(4))]
            case 3:
                del data[place:]
            case 4:
                del data[place : place + length]
            case 5:
                data[place:place] = data[place : place + length] * int(random.integers(1, 50))
    return bytes(data)


@kind(material.songs)
def audio(random: Random, folder: Path) -> None:
    """Damaged songs of every format: a waveform or an AudioError."""
    name = str(random.choice([*material.songs()]))
    original = material.songs()[name]
    path, content = folder / original.name, original.read_bytes()
    cut = random.random() < 0.2
    if cut:
        content = content[: int(len(content) * random.uniform(0.02, 0.9))]
    else:
        content = mutated(random, content)
    path.write_bytes(content)
    try:
        waveform = audio_files.read(path, 16_000)
    except AudioError as error:
        if str(path) not in str(error):
            raise Fell(f"the error does not name the file: {error}") from error
        return
    if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise Fell(f"{name}: no waveform")
    if cut and name in PROMISE and len(waveform) < 2.9 * 16_000:
        raise Fell(f"{name} cut short reads as {len(waveform) / 16_000:.1f} of 3 s")
