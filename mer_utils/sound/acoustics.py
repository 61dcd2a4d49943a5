"""What can be measured in a sound: the musical cues that carry emotion, one number a track each.

The cues are those of the literature (Gabrielsson & Lindström 2010; Eerola, Friberg & Bresin 2013),
each by a textbook method that fits on a page: good enough to see a tendency over many tracks, not
to trust one number of one track.

Conventions: waveforms are mono float, finite, full scale 1, shape (samples,), at least a second
long; sample rates in Hz. A quantity that silence does not have is NaN. Frames are counted from the
first sample, without padding.
"""

import numpy as np
import pandas as pd
from scipy import signal
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from mer_utils.data.types import Dataset
from mer_utils.sound import audio
from mer_utils.sound.audio import loudness

SAMPLE_RATE = 24_000  # at which datasets are measured, so that their numbers can be compared

CUES: dict[str, str] = {
    "loudness": "dB, root mean square relative to full scale",
    "tempo": "beats a minute; half and double are often mistaken",
    "activity": "how much the sound changes from moment to moment, at equal loudness",
    "brightness": "Hz, the centre of gravity of the spectrum",
    "register": "MIDI number around which the strongest pitches lie",
    "mode": "correlation with the best major key minus that with the best minor key",
    "roughness": "beating of neighbouring partials, 0 is smooth",
}

# How well each of the twelve tones fits a key on the first, in listeners' ratings (Krumhansl &
# Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def measure(waveform: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Measure all CUES of a waveform; all but loudness are NaN if it is silent."""
    level = loudness(waveform)
    if np.abs(waveform).max() < audio.SILENCE:
        return dict.fromkeys(CUES, np.nan) | {"loudness": level}
    envelope, frame_rate = onset_strength(waveform, sample_rate)
    return {
        "loudness": level,
        "tempo": tempo(envelope, frame_rate),
        "activity": float(envelope.mean()),
        "brightness": brightness(waveform, sample_rate),
        "register": register(waveform, sample_rate),
        "mode": mode(chroma(waveform, sample_rate)),
        "roughness": roughness(waveform, sample_rate),
    }


def measure_dataset(
    dataset: Dataset, tracks: int | None = None, seconds: float = 30.0
) -> pd.DataFrame:
    """Measure the tracks of a dataset that have audio: a table indexed by track, columns CUES.

    tracks: at most so many, spread evenly over the table; None for all.
    seconds: of each track, from its start.
    Raises AudioError, naming the file, for one that is not readable.
    """
    paths = dataset.tracks["audio"].dropna()
    if tracks is not None and tracks < len(paths):
        paths = paths.iloc[np.linspace(0, len(paths) - 1, tracks).round().astype(int)]

    def one(path: str) -> dict[str, float]:
        return measure(audio.read(path, SAMPLE_RATE)[: round(seconds * SAMPLE_RATE)], SAMPLE_RATE)

    rows = audio.for_each(one, paths, f"measure {dataset.name}")
    return pd.DataFrame(rows, index=paths.index, columns=list(CUES))


def brightness(waveform: np.ndarray, sample_rate: int) -> float:
    """Spectral centroid, Hz: the mean frequency, each weighted by its power."""
    frequency, _, spectra = signal.stft(  # Welch's method; SciPy's own takes five times as long
        waveform, sample_rate, nperseg=2048, detrend="constant", boundary=None, padded=False
    )
    power = np.square(np.abs(spectra)).mean(axis=1)  # (bins,)
    power[1:-1] *= 2  # negative frequencies
    return float(frequency @ power / power.sum())


def onset_strength(waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, float]:
    """How strongly something new sounds at each moment (spectral flux), at equal loudness.

    What rises in the log-compressed level from one frame to the next, averaged over 40 bands.
    Returns the envelope (frames,) and how many frames a second has, about 100.
    """
    level = waveform / np.sqrt(np.mean(np.square(waveform)))
    hop = round(0.01 * sample_rate)
    frequency, magnitude = _spectra(level, sample_rate, 0.043, hop)
    edges = np.geomspace(60, 0.45 * sample_rate, 41)
    first_bin = np.unique(np.searchsorted(frequency, edges))  # (bands + 1,)
    widths = np.diff(first_bin)
    power = np.add.reduceat(magnitude**2, first_bin[:-1], axis=0)[: len(widths)]
    compressed = np.log10(1 + 1e4 * power / widths[:, None])  # (bands, frames)
    rise = np.maximum(np.diff(compressed, axis=1), 0)  # (bands, frames - 1)
    return rise.mean(axis=0), sample_rate / hop


def tempo(envelope: np.ndarray, frame_rate: float) -> float:
    """Beats a minute, 40 to 220, from an onset envelope (frames,); NaN if nothing repeats.

    The beat period is the lag at which the envelope best repeats itself, also twice, three and four
    times as late; lags near half a second (120 beats a minute) are preferred, as by listeners, with
    a width of 0.9 octaves (Ellis 2007, "Beat tracking by dynamic programming").
    """
    above = envelope - uniform_filter1d(envelope, round(frame_rate))  # only what stands out
    above = gaussian_filter1d(np.maximum(above, 0), 0.02 * frame_rate)  # a beat is no exact frame
    above -= above.mean()
    frames = len(above)
    likeness = signal.correlate(above, above, mode="full", method="fft")[frames - 1 :]  # (lags,)
    if likeness[0] <= 1e-12:
        return float("nan")
    likeness /= np.maximum(frames - np.arange(frames), frames / 2)  # fewer products at late lags
    candidates = np.geomspace(40, 220, 500)  # beats a minute
    lag = 60 * frame_rate / candidates
    lags = np.arange(frames)
    repeats = sum(np.interp(n * lag, lags, likeness, right=0) / n for n in (1, 2, 3, 4))
    preference = np.exp(-0.5 * (np.log2(candidates / 120) / 0.9) ** 2)
    return float(candidates[np.argmax(repeats * preference)])


def chroma(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """How strong each of the twelve tones C, C♯ … B sounds, over all octaves: (12,), sum 1."""
    frequency, peaks = _peaks(waveform, sample_rate, 0.34, 2000, overlap=0.5)
    tone = np.round(69 + 12 * np.log2(frequency / 440)).astype(int) % 12
    strength = np.bincount(tone, weights=np.sqrt(peaks).sum(axis=1), minlength=12)
    return strength / strength.sum()


def mode(tones: np.ndarray) -> float:
    """How major (above 0) or minor (below 0) tones as from `chroma` (12,) sound: -2 to 2.

    The correlation with the best of the twelve major keys minus that with the best minor key.
    """
    major, minor = (
        max(np.corrcoef(np.roll(profile, tonic), tones)[0, 1] for tonic in range(12))
        for profile in (_MAJOR, _MINOR)
    )
    return float(major - minor)


def register(waveform: np.ndarray, sample_rate: int) -> float:
    """Where the strongest pitches lie, as a MIDI number (60 is middle C) from 52 to 88.

    Each pitch is as strong as its first five partials together, higher ones counting less
    (harmonic summation, Hermes 1988); the mean of the pitches is weighted by what stands out.
    """
    frequency, magnitude = _spectra(waveform, sample_rate, 0.17, round(0.085 * sample_rate))
    pitches = np.arange(52, 88.5, 0.5)
    fundamental = 440 * 2 ** ((pitches - 69) / 12)
    strength = np.zeros((len(pitches), magnitude.shape[1]))  # (pitches, frames)
    widened = np.sqrt(np.maximum.reduce([magnitude[:-2], magnitude[1:-1], magnitude[2:]]))
    for partial in range(1, 6):
        place = np.round(fundamental * partial / frequency[1]).astype(int) - 1
        strength += 0.8 ** (partial - 1) * widened[np.minimum(place, len(widened) - 1)]
    standing_out = np.maximum(strength - np.median(strength, axis=0), 0) ** 2
    return float(standing_out.sum(axis=1) @ pitches / standing_out.sum())


def roughness(waveform: np.ndarray, sample_rate: int) -> float:
    """How much neighbouring partials beat against one another; 0 for a single sine.

    In frames of .17 s, over all pairs of the 20 strongest peaks: the dissonance curve of Plomp &
    Levelt (1965) in the form of Sethares (1993), weighted by the weaker of the two amplitudes,
    relative to the sum of amplitudes.
    """
    frequency, peaks = _peaks(waveform, sample_rate, 0.17, 4000, overlap=0)
    total = rough = 0.0
    for frame in peaks.T:  # (bins,)
        strongest = np.argsort(-frame, kind="stable")[:20]
        amplitude, tone = frame[strongest], frequency[strongest]
        low = np.minimum.outer(tone, tone)  # (peaks, peaks)
        apart = np.abs(np.subtract.outer(tone, tone)) * 0.24 / (0.0207 * low + 18.96)
        curve = np.exp(-3.5 * apart) - np.exp(-5.75 * apart)
        rough += float((np.minimum.outer(amplitude, amplitude) * curve).sum()) / 2
        total += float(amplitude.sum())
    return rough / total


def _spectra(
    waveform: np.ndarray, sample_rate: int, window_seconds: float, hop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (bins,) and the magnitudes (bins, frames) of a short-time Fourier transform."""
    window = round(window_seconds * sample_rate)
    frequency, _, spectra = signal.stft(
        waveform, sample_rate, nperseg=window, noverlap=window - hop, boundary=None, padded=False
    )
    return frequency, np.abs(spectra)


def _peaks(
    waveform: np.ndarray, sample_rate: int, window_seconds: float, high: float, overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (bins,) from 60 Hz to `high`, and magnitudes (bins, frames), 0 off the peaks."""
    hop = round(window_seconds * (1 - overlap) * sample_rate)
    frequency, magnitude = _spectra(waveform, sample_rate, window_seconds, hop)
    inner = magnitude[1:-1]
    is_peak = (inner > magnitude[:-2]) & (inner >= magnitude[2:])
    inside = (frequency[1:-1] >= 60) & (frequency[1:-1] <= high)
    return frequency[1:-1][inside], np.where(is_peak, inner, 0)[inside]  # (bins, frames)
