"""The built-in corpus: three small labelled datasets that the project composes and renders itself.

`demo-mtg`, `demo-cal500` and `demo-emotify` have the vocabularies of MTG-Jamendo (its affective
tags), CAL500 and Emotify and their numbers of labels a track, and differ in sound, so that going
from one to another costs something. Every table that uses them has to say that they are synthetic.

How a track comes about: a hidden point (valence, arousal, tension) is drawn; `composer` turns it
into a piece by the musical cues of the literature, `synthesizer` into sound; its labels are drawn
from those that LABEL_POSITIONS puts near the point. About five pieces form a group: one made-up
artist with a few instruments, one production and a leaning towards one mood; splits are by group.

LABEL_POSITIONS was set by hand by this project's authors. It is the ground truth of this corpus
and of nothing else: outside this module no code may use it, or the zero-shot task would be solved
by looking up the answer.

Conventions: valence, arousal and tension lie in [-1, 1]. Tension tends to be high where valence
is low and arousal high, as in listeners' ratings, only less so.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import qmc

from mer_utils import code, storage
from mer_utils.corpus import composer, synthesizer
from mer_utils.corpus.composer import Artist, Point
from mer_utils.corpus.notation import Random
from mer_utils.corpus.styles import DATASETS, STYLES, Style
from mer_utils.corpus.synthesizer import Production
from mer_utils.data.types import Dataset, label_tuples, track_table
from mer_utils.data.vocabulary import names
from mer_utils.progress import in_processes

SPREAD = 0.45  # how far from the point labels are drawn: the standard deviation of a Gaussian
GROUP_SIZE = 5
SMALLEST = 6
DIMENSIONS = ("valence", "arousal", "tension")
MODULE = "corpus.synthesizer"  # with it begins the code of a kept sound (mer_utils.code)

LABEL_POSITIONS = pd.read_csv(Path(__file__).with_name("positions.csv"), index_col="label")
"""A row a label, its valence, arousal and tension; one row for a label of two vocabularies."""


@dataclass(frozen=True)
class DemoDataset:
    """What one dataset of the corpus is made of.

    labels: those of a vocabulary that have a position.
    label_shares: share of the tracks with 1, 2, 3 … labels.
    top_k: how many labels the paper's vote gives a song of the real dataset.
    """

    name: str
    labels: tuple[str, ...]
    label_shares: tuple[float, ...]
    style: Style
    top_k: int


def _dataset(
    name: str, vocabulary: str, label_shares: Sequence[float], style: str, top_k: int
) -> DemoDataset:
    labels = tuple(label for label in names(vocabulary) if label in LABEL_POSITIONS.index)
    return DemoDataset(name, labels, tuple(label_shares), STYLES[style], top_k)


DEMO_DATASETS = {name: _dataset(name, **settings) for name, settings in DATASETS.items()}


@dataclass(frozen=True)
class Piece:
    """One track before it is composed: everything that decides how it sounds, and its labels."""

    track: str
    point: Point
    artist: Artist
    production: Production
    seed: tuple[int, ...]
    labels: tuple[str, ...]
    group: str
    split: str


def build(name: str, size: int, seed: int, folder: str | Path) -> Dataset:
    """Compose and render one dataset of the corpus, or take what is already there.

    name: of DEMO_DATASETS; size: number of tracks, at least 6.
    seed: decides everything; the same seed gives the same files on the same machine.
    folder: gets a folder named by the settings: corpus.json, and audio/<track>.flac (24 kHz mono)
        with its facts as JSON beside it. A run that was stopped goes on where it was.
    Returns the Dataset; beside the usual columns its table has valence, arousal and tension, and
    what `corpus.notation.facts` reads off each score.
    Raises ModuleNotFoundError if the synthesizer or the sound font is missing.
    """
    pieces, spec = plan(name, size, seed), DEMO_DATASETS[name]
    settings = _settings(spec, pieces, size, seed)
    home = Path(folder) / f"{name}-{storage.settings_hash(settings)}"
    audio = [home / "audio" / f"{piece.track}.flac" for piece in pieces]
    about = home / "corpus.json"  # written last
    source = {"kind": "composed and rendered by mer_utils.corpus, synthetic", **settings}
    source["licence"] = "none needed, made here"
    if not all(path.exists() for path in (*audio, about)):  # whole, it may lie on a read-only disk
        with storage.locked(home):  # two notebooks may ask for it at the same time
            missing = [x for x in zip(pieces, audio, strict=True) if not x[1].exists()]
            played = _played(spec, [piece for piece, _ in missing])
            for (_, path), (sound, facts) in zip(missing, played, strict=True):
                storage.write_json(path.with_suffix(".json"), facts)
                with storage.replacing(path) as temporary:
                    temporary.write_bytes(sound)
            storage.write_json(about, source)
    facts = [storage.read_json(path.with_suffix(".json")) for path in audio]
    tracks = track_table(
        [piece.track for piece in pieces],
        labels=[piece.labels for piece in pieces],
        group=[piece.group for piece in pieces],
        audio=list(map(str, audio)),
        split=[piece.split for piece in pieces],
        **pd.DataFrame([piece.point for piece in pieces]),
        **pd.DataFrame(facts),
    )
    return Dataset(name, spec.labels, tracks, source, spec.top_k)


def plan(name: str, size: int, seed: int) -> list[Piece]:
    """Everything that is decided before the first note: points, artists, labels, splits."""
    if name not in DEMO_DATASETS or size < SMALLEST:
        known = ", ".join(DEMO_DATASETS)
        raise ValueError(f"no {size} tracks of {name}: there are {known}, of {SMALLEST} or more")
    spec, number = DEMO_DATASETS[name], zlib.crc32(name.encode())
    random = np.random.default_rng((seed, number))
    group = np.arange(size) // min(GROUP_SIZE, size // SMALLEST)  # (tracks,)
    points, shares = _draw_points(group, random)
    counts = 1 + np.searchsorted(np.cumsum(spec.label_shares)[:-1], shares, side="right")
    drawn = draw_labels(label_weights(spec.labels, points), counts, random)  # (tracks, labels)
    labels = label_tuples(drawn, spec.labels)
    groups = int(group[-1]) + 1
    part = max(1, round(groups / 5))  # a fifth test, a fifth validation, the rest train
    splits = ["test"] * part + ["validation"] * part + ["train"] * (groups - 2 * part)
    splits = [splits[i] for i in random.permutation(groups)]
    artists = [composer.draw_artist(spec.style, random) for _ in splits]
    productions = [synthesizer.draw_production(spec.style, random) for _ in splits]
    return [
        Piece(
            track=f"{name}-{i:04d}",
            point=Point(*map(float, points[i])),
            artist=artists[group[i]],
            production=productions[group[i]],
            seed=(seed, number, i),
            labels=labels[i],
            group=f"{name}-artist-{group[i]:03d}",
            split=splits[group[i]],
        )
        for i in range(size)
    ]


def label_weights(labels: Sequence[str], points: np.ndarray) -> np.ndarray:
    """Logarithm of how much each label is preferred at each point (points, 3): (points, labels).

    A Gaussian of the distance between point and label; each row's exponentials sum to 1.
    """
    positions = LABEL_POSITIONS.loc[list(labels)].to_numpy()  # (labels, 3)
    distance = np.linalg.norm(points[:, None, :] - positions[None, :, :], axis=-1)
    logits = -0.5 * (distance / SPREAD) ** 2  # (points, labels)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def draw_labels(log_weights: np.ndarray, counts: np.ndarray, random: Random) -> np.ndarray:
    """Draw labels without replacement, one after the other by weight: boolean (tracks, labels).

    log_weights: (tracks, labels); counts: (tracks,) how many labels each track gets.
    Done by adding Gumbel noise and taking the largest (Kool et al. 2019, arXiv 1903.06059).
    """
    noisy = log_weights + random.gumbel(size=log_weights.shape)  # (tracks, labels)
    rank = np.argsort(np.argsort(-noisy, axis=1), axis=1)  # (tracks, labels)
    return rank < counts[:, None]


def oracle_scores(dataset: Dataset) -> np.ndarray:
    """The best possible scores of a dataset from `build`: (tracks, labels).

    How probable it is, given the hidden point, that the label is among those drawn, over all
    numbers of labels a track may have. Not perfect against `dataset.targets()`: the draw is random.
    """
    spec = DEMO_DATASETS[dataset.name]
    points = dataset.tracks[list(DIMENSIONS)].to_numpy(dtype=np.float64)  # (tracks, 3)
    weights = np.exp(label_weights(spec.labels, points))  # (tracks, labels)
    return np.stack([inclusion_probabilities(row, spec.label_shares) for row in weights])


def inclusion_probabilities(weights: np.ndarray, count_shares: Sequence[float]) -> np.ndarray:
    """Probability that each label is drawn, one after the other by weight, without replacement.

    weights: (labels,) positive.
    count_shares: share of draws that take 1, 2, 3 … labels; sums to 1.
    Returns (labels,), exact but for the quadrature (about 1e-6).
    The draw is a race: label l arrives at a time that is exponential with rate w_l, and the first
    k to arrive are taken. So P(l) = ∫ w_l exp(-w_l t) P(fewer than k others have arrived by t) dt.
    """
    weights = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    log_time = np.linspace(np.log(1e-7), np.log(60 / weights.min()), 200)  # (times,)
    time = np.exp(log_time)
    arrived = -np.expm1(-np.outer(time, weights))  # (times, labels)
    labels, most = len(weights), len(count_shares)
    others = np.zeros((len(time), labels, most))  # chance of exactly 0, 1, 2 … others
    others[:, :, 0] = 1
    for other in range(labels):
        chance = np.repeat(arrived[:, other, None], labels, axis=1)  # (times, labels)
        chance[:, other] = 0  # a label is not among its own others
        grown = others * (1 - chance[:, :, None])
        grown[:, :, 1:] += others[:, :, :-1] * chance[:, :, None]
        others = grown
    wanted = 1 - np.cumsum([0, *count_shares[:-1]])  # (most,) share of draws of more than 0, 1 …
    still_room = others @ wanted  # (times, labels)
    density = weights * np.exp(-np.outer(time, weights)) * time[:, None]  # per unit of log time
    return np.trapezoid(density * still_room, log_time, axis=0)  # (labels,)


def _draw_points(group: np.ndarray, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Points (tracks, 3), spread evenly, each group with a leaning; numbers in [0, 1) (tracks,)."""
    even = qmc.Halton(d=4, rng=random).random(len(group))  # (tracks, 4)
    # neighbours in a Halton sequence lie far apart; shuffled, an artist's tracks share its leaning
    even = even[random.permutation(len(group))]
    leaning = qmc.Halton(d=3, rng=random).random(int(group[-1]) + 1)[group]  # (tracks, 3)
    own = 2 * even[:, :3] - 1 + 0.4 * (2 * leaning - 1)  # (tracks, 3)
    own[:, 2] = -0.4 * own[:, 0] + 0.3 * own[:, 1] + 0.8 * own[:, 2]  # tension
    return np.clip(own, -1, 1), even[:, 3]


def _settings(spec: DemoDataset, pieces: Sequence[Piece], size: int, seed: int) -> dict:
    """What decides the sound, JSON-able: a change of any of it makes a new folder."""
    font = synthesizer.find_sound_font()
    heard = [[asdict(p.point), asdict(p.artist), asdict(p.production), p.seed] for p in pieces]
    return {
        "name": spec.name,
        "size": size,
        "seed": seed,
        "style": spec.style.name,
        "pieces": storage.settings_hash({"pieces": heard}),
        "code": code.modules_hash(MODULE),
        "sound_font": {"file": font.name, "sha256": storage.file_hash(font), "licence": "GPL-2.0"},
        "tinysoundfont": version("tinysoundfont"),
    }


def _played(spec: DemoDataset, pieces: Sequence[Piece]) -> Iterable[tuple[bytes, dict]]:
    """Sound and facts of each piece in turn, played in parallel."""
    play = code.checked(synthesizer.play, MODULE)

    def one(p: Piece) -> tuple[bytes, dict]:
        return play(p.point, spec.style, p.artist, p.production, p.seed)

    return in_processes(one, pieces, show=bool(pieces), least=16, desc=spec.name, unit="piece")
