"""The label space: what a label is for a projector that has to predict it.

A label is its text vector, or its coordinates on a few directions between antonyms inside the same
language model (a semantic differential: Osgood, Suci & Tannenbaum 1957, *The Measurement of
Meaning*) instead of all of its dimensions.

Conventions: vectors are float32 rows, (labels, d). Coordinates on directions do not have unit
length: it says how strongly a label leans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mer_utils import storage
from mer_utils.data.vocabulary import ANTONYMS, AXES, Antonym
from mer_utils.labels.embeddings import (
    STYLES,
    LabelEmbeddings,
    centre,
    embed_labels,
    label_texts,
    with_published,
)
from mer_utils.labels.language_model import DEFAULT_MODEL, embed_texts, encode, unit_rows

DIRECTIONS = ("antonym-pca", "axes", "text+antonyms")


@dataclass(frozen=True)
class LabelSpace:
    """How a label becomes the vector that a projector has to predict.

    With `directions` None, a label is its unit text vector. Otherwise it is its coordinates on
    directions in the language model that run from one pole of antonyms to the other, all texts in
    the same style:
    - "antonym-pca": the first `components` principal directions of the unit differences
      e(positive) − e(negative) (singular vectors, not centred: a difference has a meaningful
      zero). The sign is such that the pair which leans most on a direction leans to its positive
      pole.
    - "axes": the mean unit difference of each axis, in the order of AXES (valence, arousal,
      tension, power); `components` takes the first so many.
    - "text+antonyms": the centred text vector and the coordinates of "antonym-pca" side by side,
      each of unit length, so that words that are near in meaning *or* in affect are near.
    Zero is the middle of all poles, and the unit of each coordinate is the root mean square of the
    poles' own coordinates: a label at ±1 lies as far out as an antonym's pole does on average.

    style, model: as in `embed_labels`.
    centre: subtract the mean over the labels that are asked for: give `vectors` one whole
        vocabulary at a time. Text vectors are then brought back to unit length, coordinates not.
    directions: None, "antonym-pca" or "axes".
    components: number of coordinates; without meaning if `directions` is None.
    antonyms: the pairs behind the directions.
    definitions: own sentences for style "definition", of labels and of antonyms.
    file: an npz file of published label vectors (`read_vectors`), such as the paper's: labels that
        it has take their text vectors from there, and only the others theirs from their texts.
    """

    style: str = "name"
    model: str = DEFAULT_MODEL
    centre: bool = False
    directions: str | None = None
    components: int = 4
    antonyms: tuple[Antonym, ...] = ANTONYMS
    definitions: Mapping[str, str] | None = field(default=None, hash=False)
    file: str | None = None

    def __post_init__(self) -> None:
        """Check the settings against one another."""
        if self.style not in STYLES:
            raise ValueError(f"no text style {self.style!r}; there are {', '.join(STYLES)}")
        if self.directions is None:
            return
        if self.directions not in DIRECTIONS:
            raise ValueError(
                f"no directions {self.directions!r}; there are None, {', '.join(DIRECTIONS)}"
            )
        most = len(_axes(self.antonyms)) if self.directions == "axes" else len(self.antonyms)
        if not 1 <= self.components <= most:
            raise ValueError(
                f"directions={self.directions!r} give 1 to {most} components with these "
                f"{len(self.antonyms)} antonyms, not {self.components}"
            )

    @property
    def dimensions(self) -> int:
        """Length of a label's vector."""
        if self.directions in ("antonym-pca", "axes"):
            return self.components
        text = encode(("music",), self.model).shape[1]
        return text if self.directions is None else text + self.components

    @property
    def is_text(self) -> bool:
        """Whether labels are their text vectors as they are."""
        return self.directions is None and not self.centre

    def text_embeddings(
        self, labels: Sequence[str], datasets: Sequence[str] | None = None
    ) -> LabelEmbeddings:
        """The labels' text vectors, neither centred nor turned to directions.

        labels, datasets: as in `embed_labels`. Errors as there, and as in `read_vectors`.
        """
        embeddings = embed_labels(labels, self.style, self.model, datasets, self.definitions)
        return embeddings if self.file is None else with_published(embeddings, self.file)

    def vectors(self, labels: Sequence[str], reference: Sequence[str] | None = None) -> np.ndarray:
        """The labels' vectors, (labels, dimensions) float32.

        labels: label names; with `centre`, one whole vocabulary.
        reference: another vocabulary whose mean `centre` subtracts, for a few words of one's own.
        Raises ValueError as `embed_labels` does, and if a label lies on the subtracted mean.
        """
        embeddings = others = self.text_embeddings(labels)
        if reference is not None and self.centre:
            others = self.text_embeddings(reference)
        text = embeddings.vectors  # (labels, d)
        if self.directions is None or self.directions == "text+antonyms":
            text = centre(embeddings, others).vectors if self.centre else text
        if self.directions is None:
            return text
        directions = antonym_directions(self)
        coordinates = directions.coordinates(embeddings.vectors)  # (labels, components)
        if self.centre:
            coordinates = coordinates - directions.coordinates(others.vectors).mean(axis=0)
        if self.directions != "text+antonyms":
            return coordinates
        both = [text, unit_rows(coordinates, embeddings.labels)]
        return np.concatenate(both, axis=1) / np.sqrt(np.float32(2))

    def embeddings(
        self, labels: Sequence[str], datasets: Sequence[str] | None = None
    ) -> LabelEmbeddings:
        """The labels in this space as unit vectors, for clustering, similarities and maps.

        labels, datasets: as in `embed_labels`; with `centre`, each dataset's labels are taken for
            its whole vocabulary and centred by themselves.
        Returns embeddings whose style names the space.
        Raises ValueError as `vectors` does.
        """
        embeddings = self.text_embeddings(labels, datasets)
        owners = np.array(embeddings.datasets or ("",) * len(embeddings))
        vectors = np.empty((len(embeddings), self.dimensions), dtype=np.float32)
        for owner in dict.fromkeys(owners.tolist()):
            rows = np.flatnonzero(owners == owner)
            vectors[rows] = self.vectors([embeddings.labels[i] for i in rows])
        style = self.style + (", centred" if self.centre else "")
        if self.directions is not None:
            style += f", {self.directions} {self.components}"
        return replace(embeddings, vectors=unit_rows(vectors, embeddings.labels), style=style)

    def describe(self) -> dict:
        """The settings as JSON-able values, for a checkpoint; `from_description` reads them."""
        pairs = [[pair.positive, pair.negative, pair.axis] for pair in self.antonyms]
        return {
            "style": self.style,
            "model": self.model,
            "centre": self.centre,
            "directions": self.directions,
            "components": None if self.directions is None else self.components,
            "antonyms": None if self.directions is None else pairs,
            "definitions": None if self.definitions is None else dict(self.definitions),
            "file": self.file,
            "file_sha256": None if self.file is None else storage.file_hash(self.file),
        }

    @classmethod
    def from_description(cls, description: Mapping) -> LabelSpace:
        """The label space that `describe` described."""
        known = set(cls().describe())
        if set(description) != known:
            strange = sorted(set(description) ^ known)
            raise ValueError(f"not the description of a label space: missing or unknown {strange}")
        settings = dict(description)
        expected = settings.pop("file_sha256")
        if expected is not None and storage.file_hash(settings["file"]) != expected:
            raise ValueError(
                f"{settings['file']}: not the label vectors that the label space was made with "
                f"(SHA-256 {expected[:12]}…); put that file back"
            )
        if settings["directions"] is None:
            del settings["components"], settings["antonyms"]
        else:
            settings["antonyms"] = tuple(Antonym(*pair) for pair in settings["antonyms"])
        return cls(**settings)


@dataclass(frozen=True, eq=False)
class AntonymDirections:
    """Directions between antonyms in a language model.

    names: one a direction: the axis, or the pair of antonyms that leans most on it.
    vectors: (components, d) unit length; orthogonal to one another for "antonym-pca" only.
    origin: (d,) the middle of all poles.
    units: (components,) root mean square of the poles' coordinates.
    loadings: a table with one row a pair: positive, negative, axis and, a column a direction, the
        cosine of the pair's difference with the direction.
    explained: (components,) share of the squared length of all unit differences along each
        direction.
    """

    names: tuple[str, ...]
    vectors: np.ndarray
    origin: np.ndarray
    units: np.ndarray
    loadings: pd.DataFrame
    explained: np.ndarray

    def coordinates(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates of text vectors (n, d) on the directions: (n, components) float32."""
        coordinates = (vectors - self.origin) @ self.vectors.T / self.units  # (n, components)
        return coordinates.astype(np.float32)


def antonym_directions(space: LabelSpace) -> AntonymDirections:
    """The directions of a label space, with what a figure or a reader needs to judge them.

    Raises ValueError if the space has no directions, or two poles have the same text vector.
    """
    if space.directions is None:
        raise ValueError("this label space has no directions; make it with directions='axes'")
    pairs = space.antonyms
    poles = _pole_vectors(space)  # (pairs, 2, d)
    names = [f"{pair.positive} – {pair.negative}" for pair in pairs]
    differences = unit_rows(poles[:, 0] - poles[:, 1], names)  # (pairs, d)
    if space.directions == "axes":
        direction_names = _axes(pairs)[: space.components]
        means = [
            differences[[pair.axis == axis for pair in pairs]].mean(axis=0)
            for axis in direction_names
        ]
        directions = unit_rows(np.stack(means), direction_names)  # (components, d)
    else:
        directions = _principal_directions(differences, space.components)  # (components, d)
        strongest = np.abs(differences @ directions.T).argmax(axis=0)  # (components,)
        direction_names = tuple(names[i] for i in strongest)
    cosines = differences @ directions.T  # (pairs, components)
    loadings = pd.DataFrame(
        {
            "positive": [pair.positive for pair in pairs],
            "negative": [pair.negative for pair in pairs],
            "axis": [pair.axis for pair in pairs],
            **{f"direction {k + 1}": cosines[:, k] for k in range(len(directions))},
        }
    )
    both = poles.reshape(-1, poles.shape[2])  # (2 · pairs, d)
    origin = both.mean(axis=0)  # (d,)
    units = np.sqrt((((both - origin) @ directions.T) ** 2).mean(axis=0))  # (components,)
    return AntonymDirections(
        names=tuple(direction_names),
        vectors=directions,
        origin=origin,
        units=units,
        loadings=loadings,
        explained=(cosines**2).sum(axis=0) / len(pairs),
    )


def _pole_vectors(space: LabelSpace) -> np.ndarray:
    """Text vectors of the antonyms' poles: (pairs, 2, d), positive pole first."""
    texts = tuple(
        label_texts(word, space.style, space.definitions)
        for pair in space.antonyms
        for word in (pair.positive, pair.negative)
    )
    vectors = embed_texts(texts, space.model, space.style)  # (2 · pairs, d)
    return vectors.reshape(-1, 2, vectors.shape[1])  # (pairs, 2, d)


def _principal_directions(differences: np.ndarray, components: int) -> np.ndarray:
    """First right singular vectors of (pairs, d), (components, d), with a fixed sign."""
    directions = np.linalg.svd(differences, full_matrices=False)[2][:components]
    loadings = differences @ directions.T  # (pairs, components)
    strongest = np.abs(loadings).argmax(axis=0)  # (components,)
    signs = np.sign(loadings[strongest, np.arange(components)])  # (components,)
    return directions * signs[:, None]


def _axes(antonyms: Sequence[Antonym]) -> tuple[str, ...]:
    """The axes that have antonyms, in the order of AXES; others after, as they come."""
    present = dict.fromkeys(pair.axis for pair in antonyms)
    return tuple(sorted(present, key=lambda axis: AXES.index(axis) if axis in AXES else len(AXES)))
