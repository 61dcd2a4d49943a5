"""A trained zero-shot model: a projector with everything that is needed to score new music.

A model is one folder: `projector.safetensors` (weights and the features' statistics) and
`config.json` (projector, label space, language model, encoder, how it was trained, versions).
`predict.release` adds a reference set, a model card and the vectors of a few words, for which the
language model need not be loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, PositiveInt
from torch import Tensor

from mer_utils import storage
from mer_utils.data.checks import PlainText
from mer_utils.data.types import EncoderSettings, Features
from mer_utils.labels.language_model import weights_hash
from mer_utils.labels.ratings import SCALES
from mer_utils.labels.space import Description, LabelSpace
from mer_utils.projector.networks import PROJECTORS, Projector, build_projector
from mer_utils.projector.ridge import ROWS
from mer_utils.projector.training import project
from mer_utils.registry import PACKAGE, Registry

FORMAT = 4
WEIGHTS = "projector.safetensors"
MEND = "copy the model's folder again, or train it again"

# what has to be the same in the encoder of the training features and of new ones
FITS = ("name", "layers", "columns", "tags", "weights_sha256", "segment_seconds", "pooling")


class ProjectorConfig(BaseModel):
    """What every projector's config has; `build_projector` checks the settings of its kind."""

    kind: str
    layers: PositiveInt
    dim: PositiveInt
    dimensions: PositiveInt
    keep_length: bool = True


class Made(BaseModel):
    """What is read of a method's settings."""

    name: PlainText


class About(BaseModel):
    """What is read of `Model.about`."""

    method: Made
    labels: dict[PlainText, list[PlainText]] = Field(min_length=1)
    tracks: dict[str, int]
    sources: dict[str, dict]
    fingerprints: dict[str, str]
    versions: dict[str, str]


class Config(BaseModel):
    """What a model's config.json has to hold."""

    format: Literal[4]
    projector: ProjectorConfig
    label_space: Description
    label_model_sha256: str
    encoder: EncoderSettings
    weights_sha256: str
    beside_sha256: dict[str, str]
    known_texts: list[str]
    about: About


@dataclass(frozen=True)
class Model:
    """A projector, the label space that it projects into and the features that it takes.

    mean, std: (layers, dim) of the training features, which inputs are standardised by.
    encoder: name, layers and settings of the encoder, as in `Features.encoder`.
    about: how it was made: method, training datasets, seed, scores, versions (JSON-able).
    """

    projector: Projector
    space: LabelSpace
    mean: Tensor
    std: Tensor
    encoder: dict
    about: dict

    def project(self, features: Features) -> Tensor:
        """Audio in the label space: (segments, d).

        Raises ValueError if the features come from another encoder or have another shape.
        """
        ours = self.encoder | {"shape": tuple(self.mean.shape)}
        theirs = features.encoder | {"shape": features.values.shape[1:]}
        for key in (*FITS, "shape"):
            if theirs.get(key) != ours.get(key):
                raise ValueError(
                    f"the model was trained on features whose encoder's {key} is {ours.get(key)!r},"
                    f" not {theirs.get(key)!r} as these; extract them with the model's encoder"
                )
        values = torch.from_numpy(np.array(features.values, dtype=np.float32))  # may be mapped
        return project(self.projector, (values - self.mean) / self.std)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The labels of all training datasets, each once."""
        return tuple(dict.fromkeys(x for names in self.about["labels"].values() for x in names))

    def scores(self, features: Features, labels: Sequence[str]) -> np.ndarray:
        """Score of every segment for every label: (segments, labels).

        A cosine for networks; for a ridge how far along the label's direction the segment lies,
        where 1 is the root mean square length of a training segment.

        labels: one whole vocabulary; any words will do.
        """
        vectors = torch.from_numpy(self.space.vectors(labels))
        return self.projector.compare(self.project(features), vectors).numpy()

    def save(self, folder: str | Path, beside: Sequence[str] = (), half: bool = False) -> None:
        """Write the model's two files into a folder, the config last.

        beside: names of other files there that belong to the model; the config has their hashes.
        half: write the weights (the projector's, and those that rate new words) in half precision;
            they are read as single.
        """
        folder, weights = Path(folder), self.projector.state_dict()
        tensors = {f"projector.{k}": v.half() if half else v for k, v in weights.items()}
        tensors |= {"features.mean": self.mean, "features.std": self.std}
        known = self.space.known
        if known:
            tensors["labels.known"] = torch.from_numpy(np.stack(list(known.values())))
            tensors["labels.mean"] = torch.from_numpy(self.space.means[self.vocabulary])
        if known and self.space.rater:
            mean, weights = map(torch.from_numpy, self.space.rater)
            tensors |= {"rater.mean": mean, "rater.weights": weights.half() if half else weights}
        storage.write_tensors(folder / WEIGHTS, tensors)
        config = {
            "format": FORMAT,
            "projector": self.projector.config,
            "label_space": self.space.describe(),
            "label_model_sha256": weights_hash(self.space.model),
            "encoder": self.encoder,
            "weights_sha256": storage.file_hash(folder / WEIGHTS),
            "beside_sha256": {name: storage.file_hash(folder / name) for name in beside},
            "known_texts": list(known),
            "about": self.about,
        }
        storage.write_json(folder / "config.json", config)


def statistics(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of features over segments; a constant one has deviation 1.

    values: (segments, layers, dim); weight: (segments,) how much each counts, with the sum 1.
    Returns (layers, dim) each.
    """
    parts = list(zip(values.split(ROWS), weight.double().split(ROWS), strict=True))
    mean = sum(torch.tensordot(w, x.double(), 1) for x, w in parts)  # (layers, dim)
    std = sum(torch.tensordot(w, (x.double() - mean).square(), 1) for x, w in parts).sqrt()
    std = torch.where(std > 1e-6 * (mean.abs() + 1e-6), std, torch.ones_like(std))
    return mean.float(), std.float()


def load_model(folder: str | Path, own_code: bool = True) -> Model:
    """Read a model that `Model.save` wrote.

    own_code: whether what it names as `file.py:name` may be run; False for a model that somebody
        else made, unless this process has run that file already.
    Raises FileNotFoundError or ValueError, saying what does not fit and how to mend it.
    """
    folder = Path(folder)
    config = _valid_config(folder, own_code)
    sizes, texts = config["projector"], config["known_texts"]
    with storage.reading(folder / "config.json", "a model"):
        space = LabelSpace.from_description(config["label_space"])
        ours = PROJECTORS[sizes["kind"]].__module__.startswith(PACKAGE)
        with torch.device("meta" if ours else "cpu"):  # shapes only: any size may be claimed
            wanted = build_projector(**sizes).state_dict()
    shapes = {f"projector.{k}": v.shape for k, v in wanted.items() if v.is_floating_point()}
    shapes |= dict.fromkeys(("features.mean", "features.std"), (sizes["layers"], sizes["dim"]))
    if texts:
        width = space.text_width(sizes["dimensions"])
        shapes |= {"labels.known": (len(texts), width), "labels.mean": (width,)}
        if space.rated:
            shapes |= {"rater.mean": (width,), "rater.weights": (width, len(SCALES))}
    tensors = storage.read_tensors(folder / WEIGHTS, shapes)
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    mean, std = tensors["features.mean"], tensors["features.std"]
    if not (std > 0).all():
        raise ValueError(f"{folder / WEIGHTS}: features.std is not above 0 throughout; {MEND}")
    projector = build_projector(**sizes)
    weights = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith("projector.")}
    with storage.reading(folder / WEIGHTS, "the projector's weights"):
        projector.load_state_dict(weights)
    model = Model(projector.eval(), space, mean, std, config["encoder"], config["about"])
    if texts:
        known = dict(zip(texts, tensors["labels.known"].numpy(), strict=True))
        means = {model.vocabulary: tensors["labels.mean"].numpy()}
        ends = {tensors["labels.known"].shape[1], len(tensors["labels.mean"])}
        rater = None
        if space.rated:
            rater = tensors["rater.mean"].numpy(), tensors["rater.weights"].numpy()
            ends |= {len(part) for part in rater}
        if len(ends) > 1:
            found = f"text vectors of {sorted(ends)} numbers, not one"
            raise ValueError(f"{folder / WEIGHTS}: {found}; {MEND}")
        model = replace(model, space=replace(space, known=known, means=means, rater=rater))
    return model


def _valid_config(folder: Path, own_code: bool) -> dict:
    """A model's config.json, if this code reads it and its files and language model are here."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no model here (config.json is missing); train one")
    config = storage.read_json(path, Config, MEND)
    language_model = config["label_space"]["model"]
    loaded = {name for registry in Registry.all.values() for name in registry}
    for name in (config["projector"]["kind"], language_model, config["encoder"]["name"]):
        if ".py:" in name and name not in loaded and not own_code:
            raise ValueError(
                f"{path}: names the code {name!r}; a model of somebody else's runs none. If you "
                "trust it, run that file in Python and load the model there"
            )
    for name, expected in {WEIGHTS: config["weights_sha256"], **config["beside_sha256"]}.items():
        if not (folder / name).is_file() or storage.file_hash(folder / name) != expected:
            raise ValueError(f"{folder}: {name} is not what config.json describes; copy all again")
    expected, found = config["label_model_sha256"], weights_hash(language_model)
    if found != expected:
        raise ValueError(
            f"{folder}: trained with the language model {language_model!r} of SHA-256 "
            f"{expected[:12]}…, but here it has {found[:12]}…: get those weights, or train again"
        )
    return config
