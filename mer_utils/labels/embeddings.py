"""Label embeddings: emotion labels as vectors of a sentence-embedding model.

Follows Liu, Roy, Herremans (arXiv 2410.11522, "label embedding"): every label of every dataset
becomes the sentence embedding of a text. Beyond the paper: the texts come in five styles, and
centring on a vocabulary is a step of its own.

Conventions: vectors are float32 rows, (labels, d), of unit length.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mer_utils import storage
from mer_utils.data.vocabulary import DEFINITIONS, POLE_DEFINITIONS
from mer_utils.labels.language_model import DEFAULT_MODEL, embed_texts, unit_rows

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

FILE_NAME = "label_embeddings"


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
    return LabelEmbeddings(labels, texts, embed_texts(texts, model, style), model, style, datasets)


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
    vectors = unit_rows(embeddings.vectors - mean, embeddings.labels)  # (labels, d)
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
    vector = embed_texts((texts,), embeddings.model, style)  # (1, d)
    if embeddings.mean is not None:
        vector = unit_rows(vector - embeddings.mean, (text,))
    cosines = embeddings.vectors @ vector[0]  # (labels,)
    order = np.argsort(-cosines, kind="stable")[:n]
    table = {"label": [embeddings.labels[i] for i in order]}
    if embeddings.datasets is not None:
        table["dataset"] = [embeddings.datasets[i] for i in order]
    return pd.DataFrame({**table, "similarity": cosines[order]})


def subset(embeddings: LabelEmbeddings, rows: Sequence[int] | np.ndarray) -> LabelEmbeddings:
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


def save_embeddings(embeddings: LabelEmbeddings, folder: str | Path, name: str = FILE_NAME) -> None:
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


def load_embeddings(folder: str | Path, name: str = FILE_NAME) -> LabelEmbeddings:
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
