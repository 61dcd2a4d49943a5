"""Your own music, your own words: a trained model, songs, and any labels.

A bare cosine says little: some labels score high for all music. What is shown is the rank within a
reference set: the share of its tracks that a song exceeds for a label, 0 to 100. The reference set
is the model's training tracks or, where songs are to be compared with one another, those songs.

A label that the model has no definition for is put as "Music that is …", as the built-in
definitions begin; one may give one's own. Labels are centred on the training vocabulary, so their
scores do not depend on what else is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch.nn import functional

from mer_utils import storage
from mer_utils.data.checks import plain_texts
from mer_utils.data.types import Features
from mer_utils.data.vocabulary import names
from mer_utils.labels.embeddings import WRITTEN, embed_labels, label_texts
from mer_utils.progress import printable
from mer_utils.projector.model import MEND, Model, load_model
from mer_utils.projector.training import project

RELEASED = Path(__file__).with_name("released")  # the model that comes with the package
NEIGHBOURS = 5  # tracks whose mean distance says how far a song is from the reference set
FAR = 0.99  # quantile of the reference set's own distances that counts as far
TIE = 1e-5  # scores that are nearer to one another are the same
MOST_SCORE = 1e6  # of a sound model scores are about 1
UNSURE = 20  # sureness below which a song's ranks are warned of
BLOCKS = "▁▂▃▄▅▆▇█"
REFERENCE_FILES = ("reference.parquet", "reference.safetensors")
FIRST_WORDS = names("emotify")  # that are ranked if none are asked for
FEWEST = 8  # songs that can be ranked among one another


@dataclass(frozen=True)
class Reference:
    """What a song is compared with: the tracks that the model was trained on.

    tracks: a table with the columns track, dataset, labels (joined by "; "); of a model without
        names (`release`) track is a number and labels is empty.
    projections, inputs: (tracks, d), (tracks, layers · dim), as `track_means` gives them.
    far: mean distance to the NEIGHBOURS that FAR of the tracks themselves stay below.
    """

    tracks: pd.DataFrame
    projections: np.ndarray
    inputs: np.ndarray
    far: float

    def save(self, folder: Path, linear: bool = False) -> None:
        """Write reference.parquet and reference.safetensors into a model's folder.

        linear: of the model's projector. Its projection of a mean is the mean of its projections,
            so these are left out and made again on loading.
        """
        tensors = {"inputs": torch.from_numpy(self.inputs).half(), "far": torch.tensor(self.far)}
        if not linear:
            tensors["projections"] = torch.from_numpy(self.projections).half()
        storage.write_tensors(folder / "reference.safetensors", tensors)
        storage.write_table(folder / "reference.parquet", self.tracks)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one song.

    table: label, rank (0 to 100, within the reference set), score; the highest rank first.
    over_time: a row a window, indexed by its "start", s; a column of ranks for each label.
    projection: (d,) where the song lies in the label space.
    sureness: 0 to 100 (`sureness`), how far to believe the order of its words.
    warnings: what makes this prediction doubtful (`song_warnings`).
    """

    song: str
    table: pd.DataFrame
    over_time: pd.DataFrame
    projection: np.ndarray
    sureness: float
    warnings: tuple[str, ...]

    def as_text(self, over_time: bool = False) -> str:
        """The song and its table; if asked, also the ranks along it, a block a window."""
        share = f"{self.sureness:.0f} % of its training music"
        sure = f": the model is surer of this order than for {share}" if len(self.table) > 1 else ""
        table = self.table.to_string(index=False, float_format="{:.2f}".format)
        lines = [f"{printable(self.song)}{sure}", table]
        if over_time:
            # a block is an eighth of 100
            heights = (self.over_time * 8 / 100).astype(int).clip(upper=7)
            width = max(map(len, heights))
            lines += [f"{x:{width}} " + "".join(BLOCKS[i] for i in heights[x]) for x in heights]
        return "\n".join(lines)

    def as_table(self, over_time: bool = False) -> pd.DataFrame:
        """The table, or ranks over time, a row a start and label; and song, sureness, warnings."""
        table = self.table
        if over_time:
            starts, labels = self.over_time.index, self.over_time.columns
            table = pd.DataFrame({"start": np.tile(starts, len(labels))})
            table["label"] = np.repeat(labels, len(starts))
            table["rank"] = self.over_time.to_numpy().T.ravel()
        said = {"sureness": self.sureness, "warnings": "; ".join(self.warnings)}
        return table.assign(song=self.song, **said).round({"rank": 2, "score": 4, "sureness": 1})


def model_folder(path: str | Path | None = None) -> Path:
    """Where a released model lies; FileNotFoundError if there is none.

    path: its folder, or the run folder that has it as `model/`. None is the model that comes with
        the package.
    """
    folders = [RELEASED] if path is None else [Path(path), Path(path) / "model"]
    folder = next((x for x in folders if (x / "reference.safetensors").is_file()), None)
    if folder is None:
        missing = f"{path}: no model here nor in model/"
        if path is None:
            missing = f"{RELEASED}: this copy of the package comes without its model"
        raise FileNotFoundError(f"{missing}; notebook 06 makes one (train=true): give its folder")
    return folder


def load_released(path: str | Path | None = None) -> tuple[Model, Reference]:
    """A released model and its reference set; path, errors: `model_folder`, `load_model`."""
    folder = model_folder(path)
    model = load_model(folder, own_code=False)  # first: it checks the reference's hashes too
    path = folder / "reference.parquet"
    table = storage.read_table(path, texts=("track", "dataset", "labels"))
    if len(table) < 2:  # one ranks all songs 0 or 100
        raise ValueError(f"{path}: {len(table)} tracks to rank songs among, not 2 or more; {MEND}")
    sizes = model.projector.config
    linear = sizes["kind"] == "ridge"  # `Reference.save` leaves its projections out
    shapes = {"inputs": (len(table), model.mean.numel()), "far": ()}
    shapes |= {} if linear else {"projections": (len(table), sizes["dimensions"])}
    path = folder / "reference.safetensors"
    tensors = storage.read_tensors(path, shapes)
    inputs, far = tensors["inputs"].float(), float(tensors["far"])
    if far < 0:
        raise ValueError(f"{path}: far is {far:g}, a distance is 0 or more; {MEND}")
    projections = tensors.get("projections")
    if linear:
        projections = project(model.projector, inputs.reshape(-1, *model.mean.shape))
    return model, Reference(table, projections.float().numpy(), inputs.numpy(), far)


def label_scores(model: Model, labels: Sequence[str], projections: np.ndarray) -> np.ndarray:
    """How well labels, centred on the training labels, fit projections (n, d): (n, labels)."""
    vectors = torch.from_numpy(model.space.vectors(labels, model.vocabulary))
    scores = model.projector.compare(torch.from_numpy(projections), vectors).numpy()
    if not (np.abs(scores) <= MOST_SCORE).all():  # NaN too; though each weight is a number
        found = f"the model gives scores of {np.abs(scores).max():.3g}, expected about 1"
        raise ValueError(f"{found}; {MEND}")
    return scores


def with_definitions(
    model: Model, labels: Sequence[str], definitions: dict[str, str] | None = None
) -> Model:
    """The same model, able to embed any words also if its labels are put as written texts."""
    style, own = model.space.style, model.space.definitions or {}
    if style not in WRITTEN:
        return model
    asked = {x: label_texts(x, style, {**own, **(definitions or {})})[0] for x in labels}
    return replace(model, space=replace(model.space, definitions={**own, **asked}))


def predict_song(
    model: Model,
    reference: Reference,
    features: Features,
    labels: Sequence[str],
    definitions: dict[str, str] | None = None,
    among: Reference | None = None,
) -> Prediction:
    """Rank any words for one song, by features of the model's own encoder (`song_features`).

    definitions: own texts for labels, for a model whose labels are put as definitions or
        descriptions.
    among: what to rank among, such as `songs_as_reference`; the reference set if None.
    """
    labels = check_words(labels)
    model = with_definitions(model, labels, definitions)
    among = among or reference
    projected = model.project(features)  # (segments, d)
    mean = projected.mean(0, keepdim=True).numpy()
    song = label_scores(model, labels, mean)[0]
    scores = label_scores(model, labels, projected.numpy())  # (segments, labels)
    of_reference = label_scores(model, labels, among.projections)
    table = pd.DataFrame({"label": labels, "rank": percentile(song, of_reference), "score": song})
    ranks = [percentile(one, of_reference) for one in scores]  # of many at once it takes gigabytes
    over_time = pd.DataFrame(np.stack(ranks), columns=list(labels))
    over_time.index = pd.Index(features.start, name="start")
    sure = float(sureness(model, reference, labels, mean)[0])
    return Prediction(
        str(features.track[0]),
        table.sort_values("rank", ascending=False, ignore_index=True, kind="stable"),
        over_time,
        mean[0],
        sure,
        tuple(song_warnings(model, reference, features, sure)),
    )


def check_words(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels without surrounding space, each once; ValueError for none and for no text to show."""
    words = tuple(dict.fromkeys(word.strip() for word in labels if word.strip()))
    plain_texts("the words to rank", "labels", words)
    if not words:
        raise ValueError("no labels; give at least one, such as 'hopeful'")
    if joined := next((word for word in words if ";" in word), None):
        raise ValueError(f"label {joined!r}: separate labels by commas")
    return words


def percentile(scores: np.ndarray, of_reference: np.ndarray) -> np.ndarray:
    """Share of the reference tracks below each score, 0 to 100; ties count half.

    scores: (..., labels); of_reference: (tracks, labels).
    """
    above = scores[..., None, :] - of_reference  # (..., tracks, labels)
    # what differs by rounding ties: a track that is in the reference set ties with itself
    return 100 * ((above > TIE).mean(-2) + (abs(above) <= TIE).mean(-2) / 2)


def sureness(
    model: Model, reference: Reference, labels: Sequence[str], projections: np.ndarray
) -> np.ndarray:
    """How sure a model is of songs: of how many reference tracks the ranks lie closer together.

    Three real datasets, each predicted from the other two (benchmarks/prediction.py), with all
    their labels (of a few words it knows less): a label that a song has is above one that it has
    not in .60 to .64 of the pairs where sureness is below 20, in .77 to .80 from 80 on. It was
    chosen there among some fifty signals. The built-in corpus, which chose nothing, agrees.

    labels: the words that are ranked; a single one has no order, and the training labels stand in.
    projections: (n, d). Returns per cent of the reference tracks, (n,).
    """
    words = labels if len(labels) > 1 else model.vocabulary
    usual = label_scores(model, words, reference.projections).round(5)  # (tracks, words)
    own = 100 * (rankdata(usual, axis=0) - 0.5) / len(usual)  # their ranks among themselves
    ranks = percentile(label_scores(model, words, projections), usual)
    return percentile(ranks.std(1)[:, None], own.std(1)[:, None])[:, 0]


def song_warnings(model: Model, reference: Reference, features: Features, sure: float) -> list[str]:
    """What makes a song's ranks doubtful: unlike the training music, or the model is unsure of it.

    No warning is no proof. Being unlike finds what is no music (noise, silence, a tone, clicks), of
    which a model can be sure. Of music it says little: of six datasets the songs that it names are
    worse beyond luck in one, and better in one (benchmarks/prediction.py).

    sure: the song's `sureness`.
    """
    _, inputs = track_means(model, features)
    found = []
    distance = neighbour_distance(inputs, reference.inputs)[0]
    if distance > reference.far:
        found.append(
            f"sounds unlike the model's training music (distance {distance:.4g}; {FAR:.0%} of that "
            f"music stays below {reference.far:.4g}): its ranks are extrapolated"
        )
    if sure < UNSURE:
        found.append(
            f"the model is unsure of it (its ranks lie closer together than in {100 - sure:.0f} % "
            "of the training music): their order may be little better than chance"
        )
    return found


def track_means(
    model: Model, features: Features, index: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean projection (tracks, d) and mean standardised input (tracks, layers · dim) of each track.

    index: (segments,) which track a segment is of, 0 to tracks − 1, each at least once; all are of
        one if None.
    """
    index = np.zeros(len(features.track), dtype=int) if index is None else index
    values = torch.from_numpy(np.array(features.values, dtype=np.float32))
    standard = ((values - model.mean) / model.std).flatten(1).numpy()
    member = np.zeros((index.max() + 1, len(index)), dtype=np.float32)
    member[index, np.arange(len(index))] = 1
    member /= member.sum(1, keepdims=True)  # (tracks, segments)
    return member @ model.project(features).numpy(), member @ standard


def songs_as_reference(model: Model, songs: Sequence[Features]) -> Reference:
    """Songs of one's own, FEWEST or more, as the set that each of them is ranked among."""
    check_enough(len(songs))
    means = zip(*(track_means(model, song) for song in songs), strict=True)
    projections, inputs = map(np.concatenate, means)
    tracks = [str(song.track[0]) for song in songs]
    table = pd.DataFrame({"track": tracks, "dataset": "given", "labels": ""})
    return Reference(table, projections, inputs, float("inf"))


def check_enough(songs: int) -> None:
    """Raise ValueError for fewer songs than can be ranked among one another."""
    if songs < FEWEST:
        raise ValueError(f"{songs} songs cannot be ranked among one another; give {FEWEST} or more")


def neighbour_distance(inputs: np.ndarray, others: np.ndarray, itself: bool = False) -> np.ndarray:
    """Mean distance to the nearest NEIGHBOURS of `others`, a root mean square over features.

    inputs: (n, width); others: (m, width); itself: the two are the same, so skip the own row.
    Returns (n,).
    """
    squares = (inputs**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * inputs @ others.T
    distances = np.sqrt(np.maximum(squares, 0) / inputs.shape[1])  # (n, m)
    if itself:
        np.fill_diagonal(distances, np.inf)
    count = min(NEIGHBOURS, len(others) - itself)
    return np.sort(distances, axis=1)[:, :count].mean(1)


def label_warnings(
    model: Model, labels: Sequence[str], definitions: dict[str, str] | None = None
) -> dict[str, str]:
    """Warnings of labels that are far from all training labels.

    Far: less similar to the nearest one than 95 % of the training labels are to theirs of *another*
    training dataset (of the same, if there is one only).
    """
    labels, definitions = check_words(labels), definitions or {}
    if {*labels} <= {*model.vocabulary} - {*definitions}:
        return {}
    space = with_definitions(model, [*labels, *model.vocabulary], definitions).space
    by_dataset = model.about["labels"]
    known = [label for names in by_dataset.values() for label in names]
    owner = np.repeat(list(by_dataset), [len(names) for names in by_dataset.values()])
    settings = {"style": space.style, "model": space.model, "definitions": space.definitions}
    settings["known"] = space.known  # by their texts, also where training vectors were published
    of_known = embed_labels(known, datasets=owner.tolist(), **settings).vectors
    same = owner[:, None] == owner if len(by_dataset) > 1 else np.eye(len(owner), dtype=bool)
    limit = np.quantile(np.where(same, -np.inf, of_known @ of_known.T).max(1), 0.05)
    similarity = embed_labels(labels, **settings).vectors @ of_known.T  # (labels, training labels)
    nearest, most = [known[i] for i in similarity.argmax(1)], similarity.max(1)
    return {
        label: f"{label!r} is far from all training labels; the nearest is {near!r} (similarity "
        f"{found:.4g}, usual {limit:.4g} or more)"
        for label, near, found in zip(labels, nearest, most, strict=True)
        if found < limit
    }


def nearest_tracks(reference: Reference, projection: np.ndarray, count: int = 5) -> pd.DataFrame:
    """The reference tracks that lie nearest to a song in the label space, by cosine."""
    unit = functional.normalize(torch.from_numpy(reference.projections), dim=1).numpy()
    cosines = unit @ (projection / np.linalg.norm(projection))
    order = np.argsort(-cosines)[:count]
    return reference.tracks.iloc[order].assign(cosine=cosines[order]).reset_index(drop=True)


def why(model: Model, reference: Reference, prediction: Prediction, count: int = 5) -> pd.DataFrame:
    """The training labels that a song ranks highest for."""
    song = label_scores(model, model.vocabulary, prediction.projection[None])
    of_reference = label_scores(model, model.vocabulary, reference.projections)
    ranks = percentile(song[0], of_reference)
    table = pd.DataFrame({"training label": model.vocabulary, "rank": ranks})
    return table.nlargest(count, "rank", keep="first").reset_index(drop=True)
