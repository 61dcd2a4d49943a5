"""The label space: what a label is for a projector that has to predict it.

A label is its text vector, or its coordinates on a few directions between antonyms inside the same
language model (a semantic differential: Osgood, Suci & Tannenbaum 1957, *The Measurement of
Meaning*). Text vectors have unit length, coordinates do not: it says how strongly a label leans.
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

DIRECTIONS = ("antonym-pca", "text+antonyms")


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


@dataclass(frozen=True)
class LabelSpace:
    """How a label becomes the vector that a projector has to predict.

    centre: subtract the mean over the labels that are asked for: give `vectors` one whole
        vocabulary at a time. Text vectors are then brought back to unit length, coordinates not.
    directions: None for the unit text vector, or else what the label's coordinates lie on:
        - "antonym-pca": the first `components` principal directions of the unit differences
          e(positive) − e(negative) of antonyms (singular vectors, not centred: a difference has a
          meaningful zero), each turned so that the pair which leans most on it leans to its
          positive pole.
        - "text+antonyms": the text vector and the coordinates of "antonym-pca" side by side, each
          of unit length, so that words near in meaning *or* in affect are near.
        Zero is the middle of all poles; the unit of each coordinate is the root mean square of the
        poles' own.
    components: number of coordinates; without meaning if `directions` is None.
    file: an npz file of published label vectors (`read_vectors`): labels that it has take their
        text vectors from there.
    known: unit vectors of texts, and means: the mean text vectors of whole vocabularies, so that a
        released model answers without its language model (`remembering`).
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

    def __post_init__(self) -> None:
        """Refuse settings that do not go together."""
        for given, known in ((self.style, STYLES), (self.directions, (None, *DIRECTIONS))):
            if given not in known:
                raise ValueError(f"no style or directions {given!r}; there are {known}")
        most = len(self.antonyms)
        if self.directions and not 1 <= (self.components or 0) <= most:
            raise ValueError(f"{most} antonyms give 1 to {most} components, not {self.components}")

    @property
    def is_text(self) -> bool:
        """Whether labels are their text vectors as they are."""
        return self.directions is None and not self.centre

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
        mean = self._mean(text, reference) if self.centre else None  # (d,)
        if self.centre and self.directions in (None, "text+antonyms"):
            text = unit_rows(embeddings.vectors - mean, embeddings.labels)
        if self.directions is None:
            return text
        poles, directions = antonym_directions(self)  # (poles, d), (components, d)
        origin = poles.mean(axis=0)  # (d,)
        units = np.sqrt((((poles - origin) @ directions.T) ** 2).mean(axis=0))  # (components,)
        middle = mean if self.centre else origin
        coordinates = ((embeddings.vectors - middle) @ directions.T / units).astype(np.float32)
        if self.directions != "text+antonyms":
            return coordinates
        both = [text, unit_rows(coordinates, embeddings.labels)]
        return np.concatenate(both, axis=1) / np.sqrt(np.float32(2))

    def _mean(self, text: np.ndarray, reference: Sequence[str] | None) -> np.ndarray:
        """What `centre` subtracts: the mean vector of a reference, or of the labels' own `text`."""
        if reference is None:
            return text.mean(axis=0)
        if tuple(reference) in self.means:
            return self.means[tuple(reference)]
        return self.text_embeddings(reference).vectors.mean(axis=0)

    def remembering(self, labels: Sequence[str], reference: Sequence[str]) -> LabelSpace:
        """The same space with what it takes to place these labels, centred on the reference, and
        no others, without the language model; itself if a label is put in several texts.
        """
        embeddings = self.text_embeddings(labels)
        if any(len(texts) > 1 for texts in embeddings.texts):
            return self
        known = {t: v for (t, *_), v in zip(embeddings.texts, embeddings.vectors, strict=True)}
        if self.directions is not None:
            poles = zip(_pole_texts(self), antonym_directions(self)[0], strict=True)
            known |= {text: vector for (text,), vector in poles}
        mean = self.text_embeddings(reference).vectors.mean(axis=0)
        return replace(self, known=known, means={tuple(reference): mean})

    def describe(self) -> dict:
        """The settings as JSON-able values, for a checkpoint; `from_description` reads them."""
        settings = dict(vars(self))
        del settings["known"], settings["means"]  # arrays; they decide nothing
        settings["antonyms"] = [list(astuple(pair)) for pair in self.antonyms]
        if self.directions is None:
            settings["components"] = settings["antonyms"] = None
        settings["definitions"] = self.definitions and dict(self.definitions)
        settings["file_sha256"] = self.file and storage.file_hash(self.file)
        return settings

    @classmethod
    def from_description(cls, description: Mapping) -> LabelSpace:
        """The label space that `describe` described; its file must still be the same."""
        settings = dict(description)
        expected = settings.pop("file_sha256")
        if expected is not None and storage.file_hash(settings["file"]) != expected:
            other = "not the label vectors that the label space was made with"
            raise ValueError(f"{settings['file']}: {other}; put back that of SHA-256 {expected}")
        if settings["directions"] is None:
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
