"""The built-in corpus: three small labelled datasets that the project composes and renders itself.

For teaching and for tests, so that every notebook runs with no data of the user's; every table
that uses it has to say that the music is synthetic. `demo-mtg`, `demo-cal500` and `demo-emotify`
have the vocabularies of MTG-Jamendo (its affective tags), CAL500 and Emotify and their numbers of
labels a track. They differ in sound, so that going from one to another costs something.

How a track comes about: a hidden point (valence, arousal, tension) is drawn; `composer` turns it
into a piece by the musical cues of the literature, `synthesizer` into sound; its labels are drawn
from those that LABEL_POSITIONS puts near the point. About five pieces form a group: one made-up
artist with a few instruments, one production and a leaning towards one mood; splits are by group.

The table LABEL_POSITIONS was set by hand by this project's authors. It is the ground truth of
this corpus and of nothing else: outside this module and its oracle no code may use it, or the
zero-shot task would be solved by looking up the answer.

Conventions: valence, arousal and tension lie in [-1, 1]. Tension tends to be high where valence
is low and arousal high, as in listeners' ratings, only less so.
"""

import csv
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from scipy.stats import qmc

from mer_utils import code, storage
from mer_utils.corpus import composer, styles, synthesizer
from mer_utils.corpus.composer import Artist, Point
from mer_utils.corpus.notation import Random
from mer_utils.corpus.styles import Style
from mer_utils.corpus.synthesizer import Production, Studio
from mer_utils.data import vocabulary
from mer_utils.data.types import Dataset, label_tuples
from mer_utils.progress import progress_bar

SPREAD = 0.45  # how far from the point labels are drawn: the standard deviation of a Gaussian
GROUP_SIZE = 5
SMALLEST = 6
DIMENSIONS = ("valence", "arousal", "tension")
MODULE = "corpus.synthesizer"  # with it begins the code of a kept sound (mer_utils.code)

with Path(__file__).with_name("positions.csv").open(encoding="utf-8", newline="") as _file:
    LABEL_POSITIONS = {
        label: tuple(map(float, place)) for label, *place in list(csv.reader(_file))[1:]
    }
"""Label: (valence, arousal, tension); a label in two vocabularies has one position."""
# The 29 of MTG-Jamendo's 56 mood/theme tags that name an emotion or a mood. Left out: uses
# (advertising, background, film, game …), occasions and places (christmas, party, summer,
# space …), plain musical properties (ballad, fast, melodic, retro, slow, soundscape).
MTG_AFFECTIVE = tuple(x for x in vocabulary.names("mtg-jamendo") if x in LABEL_POSITIONS)


@dataclass(frozen=True)
class DemoDataset:
    """What one dataset of the corpus is made of.

    label_shares: share of the tracks with 1, 2, 3 … labels.
    style: how its music is composed; studio: how it is produced.
    top_k: how many labels the paper's vote gives a song of the real dataset.
    """

    name: str
    labels: tuple[str, ...]
    label_shares: tuple[float, ...]
    style: Style
    studio: Studio
    top_k: int


_DATASETS = (
    # Label counts: the official split-0 test part of MTG-Jamendo mood/theme, mean 1.79.
    DemoDataset(
        "demo-mtg", MTG_AFFECTIVE, (0.531, 0.272, 0.116, 0.051, 0.022, 0.007, 0.001),
        styles.STYLES["electronic"], synthesizer.STUDIOS["club"], top_k=2,
    ),
    # Label counts: the shape of CAL500's 18 emotion words in Mulan's copy, tracks with at least
    # one, tilted to a mean of 4.9.
    DemoDataset(
        "demo-cal500", vocabulary.names("cal500"),
        (0.108, 0.113, 0.132, 0.159, 0.108, 0.085, 0.108, 0.065, 0.063, 0.021, 0.020, 0.018),
        styles.STYLES["band"], synthesizer.STUDIOS["room"], top_k=4,
    ),
    # Label counts: three, as the paper takes from Emotify's votes.
    DemoDataset(
        "demo-emotify", vocabulary.names("emotify"), (0.0, 0.0, 1.0),
        styles.STYLES["chamber"], synthesizer.STUDIOS["hall"], top_k=3,
    ),
)  # fmt: skip
DEMO_DATASETS = {dataset.name: dataset for dataset in _DATASETS}


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


def build(
    name: str, size: int, seed: int, folder: str | Path, workers: int | None = None
) -> Dataset:
    """Compose and render one dataset of the corpus, or take what is already there.

    name: "demo-mtg", "demo-cal500" or "demo-emotify".
    size: number of tracks, at least 6.
    seed: decides everything; the same seed gives the same files on the same machine.
    folder: where the corpus lives; the dataset goes into a folder of its own in it, named by its
        settings: audio/<track>.flac (24 kHz mono) with what was composed beside it as JSON,
        tracks.csv and corpus.json. A run that was stopped goes on where it was.
    workers: processes to render with; None for one a core.
    Returns the Dataset; beside the usual columns its table has valence, arousal and tension, and
    what `corpus.notation.facts` reads off each score.
    Raises ValueError for an unknown name or an impossible size, seed or number of workers,
    ModuleNotFoundError if the synthesizer or the sound font is missing.
    """
    pieces = plan(name, size, seed)
    workers = cpu_count() if workers is None else workers
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers is {workers!r}; it has to be a whole number of at least 1")
    spec = DEMO_DATASETS[name]
    settings = _settings(spec, pieces, size, seed)
    home = Path(folder) / f"{name}-{storage.settings_hash(settings)}"
    audio = home / "audio"
    if _missing(pieces, audio):
        with storage.locked(home):  # two notebooks may ask for it at the same time
            _render(spec, _missing(pieces, audio), audio, workers)
    tracks = [piece.track for piece in pieces]
    table = pd.DataFrame(
        [
            {
                "audio": str(audio / f"{piece.track}.flac"),
                "labels": piece.labels,
                "split": piece.split,
                "group": piece.group,
                **asdict(piece.point),
                **storage.read_json(audio / f"{piece.track}.json"),
            }
            for piece in pieces
        ],
        index=pd.Index(tracks, name="track"),
    )
    source = {"kind": "composed and rendered by mer_utils.corpus, synthetic", **settings}
    labels = table["labels"].str.join(" | ")
    written = table.assign(audio=[f"audio/{track}.flac" for track in tracks], labels=labels)
    storage.write_table(home / "tracks.csv", written)
    storage.write_json(home / "corpus.json", source)
    return Dataset(name, spec.labels, table, source, spec.top_k)


def plan(name: str, size: int, seed: int) -> tuple[Piece, ...]:
    """Everything that is decided before the first note: points, artists, labels, splits.

    Arguments and errors as in `build`.
    """
    if name not in DEMO_DATASETS:
        raise ValueError(f"no built-in dataset {name!r}; there are {', '.join(DEMO_DATASETS)}")
    if not isinstance(size, int) or size < SMALLEST:
        raise ValueError(
            f"{name}: size is {size!r}; it has to be a whole number of at least {SMALLEST} tracks"
        )
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"{name}: seed is {seed!r}; it has to be a whole number, 0 or more")
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
    productions = [synthesizer.draw_production(spec.studio, random) for _ in splits]
    return tuple(
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
    )


def label_weights(labels: Sequence[str], points: np.ndarray) -> np.ndarray:
    """Logarithm of how much each label is preferred at each point: (points, labels).

    A Gaussian of the distance between point and label; each row's exponentials sum to 1.
    points: (points, 3), valence, arousal, tension in [-1, 1].
    """
    positions = np.array([LABEL_POSITIONS[label] for label in labels])  # (labels, 3)
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
    """The best possible scores: how probable each label is, given the hidden point.

    dataset: one of this corpus, from `build`.
    Returns (tracks, labels): the probability that the label is among those drawn, over all
    numbers of labels a track may have. Not perfect against `dataset.targets()`: the draw is random.
    Raises ValueError for any other dataset.
    """
    if dataset.name not in DEMO_DATASETS or not set(DIMENSIONS) <= set(dataset.tracks.columns):
        raise ValueError(
            f"{dataset.name}: an oracle is only known for {', '.join(DEMO_DATASETS)}, whose tracks "
            f"have the columns {', '.join(DIMENSIONS)}"
        )
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
    valence, arousal = own[:, 0], own[:, 1]
    tension = -0.4 * valence + 0.3 * arousal + 0.8 * own[:, 2]
    points = np.clip(np.stack([valence, arousal, tension], axis=1), -1, 1)  # (tracks, 3)
    return points, even[:, 3]


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


def _missing(pieces: Sequence[Piece], audio: Path) -> list[Piece]:
    """The pieces that lack one of their two files; the sound is written last."""
    there = {path.name for path in audio.glob("*")}
    return [p for p in pieces if not {f"{p.track}.json", f"{p.track}.flac"} <= there]


def _render(spec: DemoDataset, pieces: Sequence[Piece], audio: Path, workers: int) -> None:
    """Play the pieces in parallel and write each one's two files as it comes."""
    play = delayed(code.checked(synthesizer.play, MODULE))
    tasks = (play(p.point, spec.style, p.artist, p.production, p.seed) for p in pieces)
    played = Parallel(n_jobs=min(workers, len(pieces)) or 1, return_as="generator")(tasks)
    played = progress_bar(played, total=len(pieces), desc=spec.name, unit="piece")
    for piece, (sound, facts) in zip(pieces, played, strict=True):
        storage.write_json(audio / f"{piece.track}.json", facts)
        with storage.replacing(audio / f"{piece.track}.flac") as temporary:
            temporary.write_bytes(sound)
