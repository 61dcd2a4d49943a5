"""The label space: what a label is for a projector that has to predict it.

A label is its text vector, or its coordinates on a few directions between antonyms inside the same
language model (a semantic differential: Osgood, Suci & Tannenbaum 1957, *The Measurement of
Meaning*), or how its music was rated (`labels.ratings`), or several of these side by side. Text
vectors have unit length, coordinates do not: it says how strongly a label leans.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np
from pydantic import BaseModel

from mer_utils import storage
from mer_utils.data.vocabulary import ANTONYMS, Antonym
from mer_utils.labels.embeddings import (
    STYLES,
    LabelEmbeddings,
    clean_name,
    embed_labels,
    label_texts,
    read_vectors,
)
from mer_utils.labels.language_model import DEFAULT_MODEL, embed_texts, unit_rows
from mer_utils.labels.ratings import FILE as RATINGS
from mer_utils.labels.ratings import SCALES, fit_rater, rated_words

PARTS = {"text": 1, "antonyms": 1, "ratings": 2}  # how much each counts beside the others
DIRECTIONS = ("antonym-pca", "ratings", "text+antonyms", "text+ratings", "text+antonyms+ratings")


class Description(BaseModel, extra="forbid"):
    """What `LabelSpace.describe` gives."""

    style: str
    model: str
    centre: bool
    directions: str | None
    components: int | None
    antonyms: list[tuple[str, str, str]] | None
    definitions: dict[str, str] | None
    file: str | None
    file_sha256: str | None
    ratings_sha256: str | None = None


@dataclass(frozen=True)
class LabelSpace:
    """How a label becomes the vector that a projector has to predict.

    centre: subtract the mean over the labels that are asked for: give `vectors` one whole
        vocabulary at a time. Text vectors and ratings are then brought back to unit length,
        coordinates not.
    directions: None for the unit text vector, or else what the label's coordinates lie on:
        - "antonym-pca": the first `components` principal directions of the unit differences
          e(positive) − e(negative) of antonyms (singular vectors, not centred: a difference has a
          meaningful zero), each turned so that the pair which leans most on it leans to its
          positive pole.
        - "text+antonyms": the text vector and the coordinates of "antonym-pca" side by side, each
          of unit length, so that words near in meaning *or* in affect are near.
        - "ratings", "text+ratings", "text+antonyms+ratings": the ratings of the word, at unit
          length, which count as much as all that stands beside them. A word without ratings is
          rated from its text (`ratings.fit_rater`).
        Zero is the middle of all poles; the unit of each coordinate is the root mean square of the
        poles' own.
    components: number of coordinates on antonym directions; without meaning if there are none.
    file: an npz file of published label vectors (`read_vectors`): labels that it has take their
        text vectors from there.
    known: unit vectors of texts, means: the mean text vectors of whole vocabularies, rater: what
        `ratings.fit_rater` gave, so that a released model answers without its language model, or
        without hundreds of texts (`remembering`).
    """

    style: str = "name"
    model: str = DEFAULT_MODEL
    centre: bool = False
    directions: str | None = None
    components: int = 3  # as many as people rate: valence, arousal, dominance
    antonyms: tuple[Antonym, ...] = ANTONYMS
    definitions: Mapping[str, str] | None = field(default=None, hash=False)
    file: str | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    means: Mapping[tuple[str, ...], np.ndarray] = field(
        default_factory=dict, compare=False, repr=False
    )
    rater: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse settings that do not go together."""
        for given, known in ((self.style, STYLES), (self.directions, (None, *DIRECTIONS))):
            if given not in known:
                raise ValueError(f"no style or directions {given!r}; there are {known}")
        most = len(self.antonyms)
        if self.has_antonyms and not 1 <= (self.components or 0) <= most:
            raise ValueError(f"{most} antonyms give 1 to {most} components, not {self.components}")

    @property
    def is_text(self) -> bool:
        """Whether labels are their text vectors as they are."""
        return self.directions is None and not self.centre

    @property
    def has_antonyms(self) -> bool:
        """Whether directions between antonyms count."""
        return "antonym" in (self.directions or "")

    @property
    def rated(self) -> bool:
        """Whether ratings of words count."""
        return "ratings" in (self.directions or "")

    def text_embeddings(
        self, labels: Sequence[str], datasets: Sequence[str] | None = None
    ) -> LabelEmbeddings:
        """The labels' text vectors, neither centred nor turned to directions.

        Warns of labels that the `file` lacks.
        """
        written = (self.style, self.model, datasets, self.definitions, self.known)
        embeddings = embed_labels(labels, *written)
        if self.file is None:
            return embeddings
        published = {
            clean_name(label): vector
            for part in read_vectors(self.file).values()
            for label, vector in zip(part.labels, part.vectors, strict=True)
        }
        width, ours = len(next(iter(published.values()))), embeddings.vectors.shape[1]
        if width != ours:
            raise ValueError(f"{self.file}: {width} numbers a vector, {ours} by {self.model}")
        missing = [label for label in embeddings.labels if clean_name(label) not in published]
        if missing:
            warnings.warn(
                f"{self.file}: no vector for {len(missing)} of {len(embeddings)} labels "
                f"({', '.join(missing)}); they are embedded from their texts",
                stacklevel=2,
            )
        labelled = zip(embeddings.labels, embeddings.vectors, strict=True)
        vectors = np.stack([published.get(clean_name(label), own) for label, own in labelled])
        return replace(embeddings, vectors=vectors, style=f"{self.style}, published")

    def vectors(self, labels: Sequence[str], reference: Sequence[str] | None = None) -> np.ndarray:
        """The labels' vectors, (labels, d or components) float32.

        labels: label names; with `centre`, one whole vocabulary.
        reference: another vocabulary whose mean `centre` subtracts, for a few words of one's own.
        """
        embeddings = self.text_embeddings(labels)
        text = embeddings.vectors  # (labels, d)
        if self.is_text:
            return text
        mean = self._mean(text, reference) if self.centre else None  # (d,)
        names = (self.directions or "text").split("+")
        if names == ["antonym-pca"]:
            return self._coordinates(text, mean)
        parts = []
        for name in names:
            if name == "text":
                part = text - mean if self.centre else text
            elif name == "antonyms":
                part = self._coordinates(text, mean)
            else:
                part = self.ratings(labels)  # (labels, scales)
                middle = part if reference is None else self.ratings(reference)
                part = part - middle.mean(axis=0) if self.centre else part
            parts.append(unit_rows(part, embeddings.labels) * np.float32(PARTS[name]) ** 0.5)
        whole = sum(PARTS[name] for name in names)
        return np.concatenate(parts, axis=1) / np.float32(whole) ** 0.5

    def _coordinates(self, text: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
        """Text vectors (labels, d) on the antonym directions: (labels, components).

        mean: (d,) what is their middle instead of that of all poles.
        """
        poles, directions = antonym_directions(self)  # (poles, d), (components, d)
        origin = poles.mean(axis=0)  # (d,)
        units = np.sqrt((((poles - origin) @ directions.T) ** 2).mean(axis=0))  # (components,)
        middle = origin if mean is None else mean
        return ((text - middle) @ directions.T / units).astype(np.float32)

    def ratings(self, labels: Sequence[str]) -> np.ndarray:
        """How labels were rated, (labels, scales) float32; those that were not, and those with a
        text of the user's own, are rated from their text vectors.
        """
        rated = rated_words()
        spelled = [x if x in rated.index else clean_name(x).lower() for x in labels]
        found = rated.reindex(spelled).to_numpy(copy=True)
        new = np.isnan(found[:, 0])
        if self.definitions:
            own = (label_texts(x, self.style, self.definitions) for x in labels)
            new |= [a != label_texts(x, self.style) for a, x in zip(own, labels, strict=True)]
        if new.any():
            unknown = [label for label, is_new in zip(labels, new, strict=True) if is_new]
            mean, weights = self.rater or self._rater()
            found[new] = (self.text_embeddings(unknown).vectors - mean) @ weights
        return found.astype(np.float32)

    def _rater(self) -> tuple[np.ndarray, np.ndarray]:
        """What rates new words, put into words as these labels are."""
        return fit_rater(embed_labels(list(rated_words().index), self.style, self.model).vectors)

    def _mean(self, text: np.ndarray, reference: Sequence[str] | None) -> np.ndarray:
        """What `centre` subtracts: the mean vector of a reference, or of the labels' own `text`."""
        if reference is None:
            return text.mean(axis=0)
        if tuple(reference) in self.means:
            return self.means[tuple(reference)]
        return self.text_embeddings(reference).vectors.mean(axis=0)

    def remembering(self, labels: Sequence[str], reference: Sequence[str]) -> LabelSpace:
        """The same space with what it takes to place these labels, centred on the reference,
        without the language model; itself if a label is put in several texts.
        """
        rated = {*rated_words().index}
        new = [x for x in reference if x not in rated and x not in labels] if self.rated else []
        embeddings = self.text_embeddings([*labels, *new])
        if any(len(texts) > 1 for texts in embeddings.texts):
            return self
        known = {t: v for (t, *_), v in zip(embeddings.texts, embeddings.vectors, strict=True)}
        if self.has_antonyms:
            poles = zip(_pole_texts(self), antonym_directions(self)[0], strict=True)
            known |= {text: vector for (text,), vector in poles}
        means = {tuple(reference): self.text_embeddings(reference).vectors.mean(axis=0)}
        return replace(self, known=known, means=means, rater=self._rater() if self.rated else None)

    def text_width(self, dimensions: int) -> int | None:
        """How many of so many numbers of a label are its text vector; None if it has none."""
        names = (self.directions or "text").split("+")
        beside = {"antonyms": self.components, "ratings": len(SCALES)}
        return dimensions - sum(beside.get(n, 0) for n in names) if "text" in names else None

    def describe(self) -> dict:
        """The settings as JSON-able values, for a checkpoint; `from_description` reads them."""
        settings = dict(vars(self))
        del settings["known"], settings["means"], settings["rater"]  # arrays; they decide nothing
        settings["antonyms"] = [list(astuple(pair)) for pair in self.antonyms]
        if not self.has_antonyms:
            settings["components"] = settings["antonyms"] = None
        settings["definitions"] = self.definitions and dict(self.definitions)
        settings["file_sha256"] = self.file and storage.file_hash(self.file)
        settings["ratings_sha256"] = storage.file_hash(RATINGS) if self.rated else None
        return settings

    @classmethod
    def from_description(cls, description: Mapping) -> LabelSpace:
        """The label space that `describe` described; its file must still be the same."""
        settings = dict(description)
        if settings.pop("ratings_sha256", None) not in (None, storage.file_hash(RATINGS)):
            raise ValueError(
                "made with other ratings of words than this version has; train it again"
            )
        expected = settings.pop("file_sha256")
        if expected is not None and storage.file_hash(settings["file"]) != expected:
            other = "not the label vectors that the label space was made with"
            raise ValueError(f"{settings['file']}: {other}; put back that of SHA-256 {expected}")
        if "antonym" not in (settings["directions"] or ""):
            del settings["components"], settings["antonyms"]
        else:
            settings["antonyms"] = tuple(Antonym(*pair) for pair in settings["antonyms"] or ())
        return cls(**settings)


def antonym_directions(space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """The poles' text vectors, (2 · pairs, d), and unit directions, (components, d), between them.

    Opposite poles must differ in their text.
    """
    pairs = space.antonyms
    texts = _pole_texts(space)
    vectors = embed_texts(texts, space.model, space.style, space.known)  # (2 · pairs, d)
    names = [f"{pair.positive} – {pair.negative}" for pair in pairs]
    differences = unit_rows(vectors[::2] - vectors[1::2], names)  # (pairs, d)
    directions = np.linalg.svd(differences, full_matrices=False)[2][: space.components]
    leaning = differences @ directions.T  # (pairs, components)
    strongest = np.abs(leaning).argmax(axis=0)  # (components,)
    directions *= np.sign(leaning[strongest, np.arange(space.components)])[:, None]
    return vectors, directions


def _pole_texts(space: LabelSpace) -> tuple[tuple[str, ...], ...]:
    """The texts of the antonyms, the positive pole of each pair before the negative one."""
    poles = [word for pair in space.antonyms for word in (pair.positive, pair.negative)]
    return tuple(label_texts(word, space.style, space.definitions) for word in poles)
