"""What the page says of songs, and what it refuses; no widget here."""

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from mer_utils import storage
from mer_utils.data.types import Features
from mer_utils.predict import zero_shot
from mer_utils.predict.songs import encoder_of, song_features
from mer_utils.predict.zero_shot import Prediction, Reference
from mer_utils.progress import printable
from mer_utils.projector.model import Model
from mer_utils.sound import audio
from mer_utils.sound.acoustics import CUES
from mer_utils.sound.audio import AudioError
from mer_utils.sound.encoders import Encoder

# training labels of the released model that it ranks without loading its language model
FIRST_WORDS = "happy, sad, energetic, relaxed, gentle, powerful, gloomy, threatening"
MOST_WORDS, LONGEST_WORD = 12, 40
MOST_SONGS, MOST_MEGABYTES, MOST_MINUTES = 12, 50, 20
KINDS = (".wav", ".flac", ".mp3", ".ogg")  # what libsndfile reads and browsers play
MOST_SEARCH = 10.0  # seconds that a folder is looked through
HOP_SECONDS = 3.0  # between points of the curve, as `predict --over-time` has it
# measured cues, and how songs differ in them
COMPARED = {"tempo": ("slower", "faster"), "mode": ("more minor", "more major")}
COMPARED |= {"loudness": ("quieter", "louder")}
HTML = jinja2.Environment(loader=jinja2.PackageLoader("mer_utils.app", "."), autoescape=True)


@dataclass(frozen=True)
class Listener:
    """A released model and what it takes to use it; all visits share it, and none changes it."""

    model: Model
    reference: Reference
    encoder: Encoder
    scores: dict[str, float]


@dataclass(eq=False)
class Song:
    """One song of a visit.

    path: the file; played: the one that the browser plays, the same if it was uploaded.
    cache: as in `song_features`. error: why it cannot be used; "" if it can.
    """

    name: str
    path: Path
    played: Path
    cache: Path | None = None
    seconds: float = 0.0
    features: Features | None = None
    prediction: Prediction | None = None
    error: str = ""

    @property
    def url(self) -> str:
        """Where the page's server has it: songs/visit/number/name."""
        return "/".join(("songs", *self.played.parts[-3:]))


def load_listener(folder: str | Path | None = None, checkpoint: str = "") -> Listener:
    """A released model, the package's if no folder is given; errors as in `load_released`.

    checkpoint: folder with the audio encoder's weights, if it needs one.
    """
    model, reference = zero_shot.load_released(folder)
    card = (zero_shot.model_folder(folder) / "README.md").read_text(encoding="utf-8")
    return Listener(model, reference, encoder_of(model, checkpoint), card_scores(card))


def card_scores(card: str) -> dict[str, float]:
    """ROC-AUC, 0 to 1, on each dataset left out of training, from a model card; {} if none."""
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in card.splitlines() if line[:1] == "|"]
    at = next((i for i, row in enumerate(rows) if row[0] == "song ROC-AUC"), None)
    if at is None:
        return {}
    scores = zip(rows[at][1:], rows[at + 2][1:], strict=True)  # after the line of dashes: its own
    return {name: float(score.split()[0]) for name, score in scores if score}


def asked(text: str) -> tuple[str, ...]:
    """Words between commas, each once; ValueError for none, too many, or one that is too long."""
    words = zero_shot.check_words(text.split(","))
    longest = max(map(len, words))
    if len(words) > MOST_WORDS or longest > LONGEST_WORD:
        found = f"{len(words)} words, the longest of {longest} letters"
        raise ValueError(f"{found}; ask for {MOST_WORDS} of {LONGEST_WORD} letters at most")
    return words


def place_song(folder: Path, name: str, source: Path | bytes | str) -> Song:
    """A song with a new folder of its own, for the page's server.

    source: a file, whose features are kept, or the bytes of an upload (Panel has text for a .txt).
    It is played under a harmless name that reminds of its own.
    """
    kind = Path(name).suffix.lower()
    stem = storage.slug(Path(name).stem)[:60].strip(".") or "song"
    played = folder / (stem + kind * (kind in KINDS))
    folder.mkdir()
    if isinstance(source, Path):
        return Song(name, source, played, storage.CACHE / "songs")
    played.write_bytes(source.encode() if isinstance(source, str) else source)
    return Song(name, played, played)


def hear(song: Song, encoder: Encoder) -> None:
    """Fill in a song's seconds and features; AudioError, in words for the page, if that fails."""
    if Path(song.name).suffix.lower() not in KINDS:
        raise AudioError(f"its name ends in none of {', '.join(KINDS)}; convert it to one of these")
    try:
        if (megabytes := audio.file_state(song.path).st_size / 1e6) > MOST_MEGABYTES:
            raise AudioError(f"{megabytes:.0f} MB; the most is {MOST_MEGABYTES}. Give it as mp3")
        with audio.opened(song.path) as file:
            announced = file.frames / file.samplerate
        if announced > 60 * MOST_MINUTES:
            raise AudioError(f"{announced / 60:.0f} minutes long; the most is {MOST_MINUTES}")
        if song.path != song.played:
            storage.copy_file(song.path, song.played)
        song.features = song_features(song.path, encoder, HOP_SECONDS, song.cache)
    except AudioError as error:
        raise AudioError(str(error).removeprefix(f"{printable(song.path)}: ")) from error
    song.seconds = float(song.features.start[-1]) + min(encoder.segment_seconds, announced)


def compared(rank: float, less: str, more: str, than: str = "than") -> str:
    """A rank, 0 to 100, in words: "more eerie than 8 of 10 songs"."""
    tenths = round(rank / 10)
    word, beaten = (more, tenths) if tenths >= 5 else (less, 10 - tenths)
    how_many = {5: "half of the", 10: "nearly all"}.get(beaten, f"{beaten} of 10")
    return f"{word} {than} {how_many} songs"


def cue_ranks(listener: Listener, features: Features) -> dict[str, float]:
    """Rank, 0 to 100, of each cue of COMPARED among the reference; {} if the model hears none."""
    if list(features.encoder.get("columns", ()))[-1:] != ["cues"]:
        return {}
    last = slice(-len(CUES), None)
    own = zero_shot.track_means(listener.model, features)[1][0, last]
    ranks = zero_shot.percentile(own, listener.reference.inputs[:, last]).tolist()
    return {cue: rank for cue, rank in zip(CUES, ranks, strict=True) if cue in COMPARED}


def song_html(listener: Listener, song: Song, number: int) -> str:
    """A song with player, curve, sentences and measured cues; or its error; or that it waits."""
    found, template = song.prediction, HTML.get_template("song.html.j2")
    if found is None:
        return template.render(song=song, number=number)
    middle = min(listener.encoder.segment_seconds, song.seconds) / 2
    times = [0, *(found.over_time.index + middle), song.seconds]  # flat before and after
    words = []
    for row in found.table.itertuples():
        ranks = found.over_time[row.label].iloc[[0, *range(len(found.over_time)), -1]]
        line = " ".join(f"{x:.1f},{100 - y:.1f}" for x, y in zip(times, ranks, strict=True))
        said = compared(row.rank, f"less {row.label}", f"more {row.label}")
        look = 1 + found.over_time.columns.get_loc(row.label)  # the style of its line in page.css
        words.append((said, line, look))
    ranks = cue_ranks(listener, song.features).items()
    cues = [compared(rank, *COMPARED[cue]) for cue, rank in ranks]
    sure = compared(found.sureness, "less sure of this order", "surer of this order", "than for")
    return template.render(song=song, number=number, words=words, cues=cues, sure=sure)


def near_html(song: Song, songs: list[Song]) -> str:
    """The two songs of the visit that lie nearest to one, to hear; "" for fewer than three."""
    if len(songs) < 3 or song.prediction is None:
        return ""
    others = [other for other in songs if other is not song]
    projections = [other.prediction.projection for other in others]
    cosines = cosine_similarity([song.prediction.projection], projections)[0]
    nearest = [others[row] for row in np.argsort(-cosines)[:2]]
    return HTML.get_template("near.html.j2").render(songs=nearest)


def pair_html(listener: Listener, left: Song, right: Song) -> str:
    """Two songs in a table: each word and cue with both ranks, the largest difference first."""
    tables = [song.prediction.table.set_index("label")["rank"] for song in (left, right)]
    rows = [(f"more {word}", tables[0][word], tables[1][word]) for word in tables[0].index]
    rows.sort(key=lambda row: -abs(row[1] - row[2]))
    cues = [cue_ranks(listener, song.features) for song in (left, right)]
    rows += [(COMPARED[cue][1], cues[0][cue], cues[1][cue]) for cue in cues[0]]
    return HTML.get_template("pair.html.j2").render(left=left, right=right, rows=rows)
