"""Label embeddings: emotion labels as vectors of a sentence-embedding model.

Follows Liu, Roy, Herremans (arXiv 2410.11522, "label embedding"); beyond the paper, texts come in
six styles, and centring on a vocabulary is a step of its own.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils import storage
from mer_utils.data.checks import LONGEST, no_duplicates, plain_texts, refuse
from mer_utils.data.vocabulary import SENTENCES, SOUNDS
from mer_utils.labels.language_model import DEFAULT_MODEL, embed_texts, unit_rows

STYLES = ("name", "prompt", "definition", "description", "ensemble", "contrast")
TEMPLATES = {
    "name": ("{}",),
    "prompt": ("music that sounds {}",),
    "ensemble": (
        "music that sounds {}",
        "music that feels {}",
        "a piece of music that is {}",
        "{} music",
        "a song with a {} mood",
        "the mood of this music is {}",
    ),
    "contrast": ("music that sounds {}", "music that does not sound {}"),
}
WRITTEN = {
    "definition": SENTENCES,
    "description": {word: f"{text} {SOUNDS[word]}" for word, text in SENTENCES.items()},
}
"""The text of each word that we wrote one for, by style."""


@dataclass(frozen=True, eq=False)
class LabelEmbeddings:
    """Labels as unit vectors.

    labels: the label names; none twice, or none twice in a dataset if `datasets` is given.
    texts: for each label the texts that were embedded (one, or one a template).
    vectors: (labels, d) float32, rows of unit length.
    model: the sentence-embedding model's name or folder.
    style: how the texts were made, one of STYLES ("file" for vectors read from one).
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
        """Refuse what clustering and training cannot rely on."""
        owners = self.datasets or ("",) * len(self)
        if not self.labels or self.vectors.shape[:-1] != (len(self),) or len(owners) != len(self):
            found = f"{len(self)} labels, {len(owners)} datasets, vectors {self.vectors.shape}"
            raise ValueError(f"{found}; a label, at least one, has one of each")
        named = zip(self.labels, owners, strict=True)
        labels = [f"{label} of {owner}" if owner else label for label, owner in named]
        no_duplicates("label embeddings", "labels", labels)
        lengths = zip(labels, np.linalg.norm(self.vectors, axis=1), strict=True)
        wrong = [f"{label}: {x:.4g}" for label, x in lengths if not abs(x - 1) < 1e-3]  # NaN too
        refuse("label embeddings", "vectors are not of length 1", wrong, len(self))

    def __len__(self) -> int:
        return len(self.labels)


def embed_labels(
    labels: Sequence[str],
    style: str = "name",
    model: str = DEFAULT_MODEL,
    datasets: Sequence[str] | None = None,
    definitions: Mapping[str, str] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
) -> LabelEmbeddings:
    """Embed labels with a sentence-embedding model.

    labels: label names, at least one; none twice, or none twice in a dataset.
    style: "name" (the cleaned name), "prompt" ("music that sounds …"), "definition" (a written
        sentence; a warning names labels that have none, which are put as "Music that is …"),
        "description" (the definition and after it how such music sounds; the same warning),
        "ensemble" (mean over its TEMPLATES), "contrast" (the prompt minus its negation).
    model: a sentence-transformers model, by name if it is on this machine, or by folder.
    definitions: whole texts for the styles "definition" and "description"; they go before the
        built-in ones.
    known: unit vectors of texts that need not be embedded.
    Raises ValueError for a label or style that is none, FileNotFoundError for a missing model.
    """
    if isinstance(labels, str) or len(labels) == 0:
        raise ValueError(f"labels are a list of names, at least one, not {labels!r}")
    datasets = None if datasets is None else tuple(datasets)
    texts = tuple(label_texts(label, style, definitions) for label in labels)
    written = {**SENTENCES, **(definitions or {})}
    undefined = [label for label in labels if label not in written]
    if style in WRITTEN and undefined:
        warnings.warn(
            f"labels without a definition are put as 'Music that is …': {', '.join(undefined)}",
            stacklevel=2,
        )
    vectors = embed_texts(texts, model, style, known)
    return LabelEmbeddings(tuple(labels), texts, vectors, model, style, datasets)


def clean_name(label: str) -> str:
    """A label as words: "angry / aggressive" gives "angry, aggressive", underscores are spaces."""
    words = re.sub(r"\s*/\s*", ", ", label.replace("_", " "))
    return re.sub(r"\s+", " ", words).strip(" ,")


def label_texts(
    label: str, style: str = "name", definitions: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The texts that stand for a label, one a template or the written one; see `embed_labels`."""
    if style not in STYLES:
        raise ValueError(f"no text style {style!r}; there are {', '.join(STYLES)}")
    name = clean_name(label) if isinstance(label, str) else ""
    if not name:
        raise ValueError(f"label {label!r} is no text with words in it")
    if definitions and label in definitions:
        one_line = " ".join(definitions[label].split())
        plain_texts(f"label {label!r}", "definitions", [one_line], 10 * LONGEST)
    if style not in WRITTEN:
        return tuple(template.format(name) for template in TEMPLATES[style])
    known = {**WRITTEN[style], **(definitions or {})}
    return (known.get(label, "").strip() or f"Music that is {name}.",)


def centre(
    embeddings: LabelEmbeddings, reference: LabelEmbeddings | None = None
) -> LabelEmbeddings:
    """Subtract the mean vector of a vocabulary and bring the rows back to unit length.

    reference: the vocabulary whose mean is subtracted; the labels themselves if None.
    """
    reference = embeddings if reference is None else reference
    made_by = {(part.model, part.style, part.mean is None) for part in (embeddings, reference)}
    if made_by != {(embeddings.model, embeddings.style, True)}:
        raise ValueError(f"labels are centred once, on those of one model and style, not {made_by}")
    mean = reference.vectors.mean(axis=0)  # (d,)
    vectors = unit_rows(embeddings.vectors - mean, embeddings.labels)  # (labels, d)
    return replace(embeddings, vectors=vectors, mean=mean)


def similarity(embeddings: LabelEmbeddings) -> np.ndarray:
    """Cosine of every label with every label, (labels, labels)."""
    return np.clip(embeddings.vectors @ embeddings.vectors.T, -1, 1)


def nearest(embeddings: LabelEmbeddings, text: str, n: int = 5) -> pd.DataFrame:
    """The n labels nearest to a text: label, dataset (if known), similarity (cosine), best first.

    text: any words; they are embedded in the labels' style (as they stand, if the labels are
        definitions or descriptions) and centred like the labels.
    """
    if not text.strip():
        raise ValueError(f"nearest to {text!r}: that is no text")
    style = embeddings.style
    texts = (text.strip(),) if style in WRITTEN else label_texts(text, style)
    vector = embed_texts((texts,), embeddings.model, style)  # (1, d)
    if embeddings.mean is not None:
        vector = unit_rows(vector - embeddings.mean, (text,))
    cosines = embeddings.vectors @ vector[0]  # (labels,)
    order = np.argsort(-cosines, kind="stable")[:n]
    table = {"label": [embeddings.labels[i] for i in order]}
    if embeddings.datasets is not None:
        table["dataset"] = [embeddings.datasets[i] for i in order]
    return pd.DataFrame({**table, "similarity": cosines[order]})


def join(parts: Sequence[LabelEmbeddings]) -> LabelEmbeddings:
    """The labels of several datasets as one, in the order given; each part names its datasets."""
    models = {part.model + ("" if part.mean is None else ", centred") for part in parts}
    if models != {parts[0].model}:
        raise ValueError(f"only labels by one model, not centred, can be joined, not {models}")
    return replace(
        parts[0],
        labels=sum((part.labels for part in parts), ()),
        texts=sum((part.texts for part in parts), ()),
        vectors=np.concatenate([part.vectors for part in parts]),
        datasets=sum((part.datasets for part in parts), ()),
    )


def read_vectors(path: str | Path) -> dict[str, LabelEmbeddings]:
    """Label vectors that somebody else made, such as those published with arXiv 2410.11522.

    path: an .npz file with two arrays a dataset, `<dataset>_labels` (labels,) of text and
        `<dataset>_vectors` (labels, d) of unit length. The authors' names jamendo and CAL500 become
        mtg-jamendo and cal500.
    Raises FileNotFoundError for a missing file, ValueError for arrays that lack or do not fit.
    """
    with storage.reading(path, "npz"), np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    embeddings = {}
    for name in dict.fromkeys(re.sub("_(labels|vectors)$", "", key) for key in arrays):
        dataset = {"jamendo": "mtg-jamendo", "CAL500": "cal500"}.get(name, name)
        try:
            words = tuple(arrays[f"{name}_labels"].tolist())
            texts = tuple((word,) for word in words)
            vectors = arrays[f"{name}_vectors"].astype(np.float32)  # (labels, d)
            made = (words, texts, vectors, Path(path).name, "file", (dataset,) * len(words))
            embeddings[dataset] = LabelEmbeddings(*made)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path}, {name}: {error}") from error
    return embeddings
