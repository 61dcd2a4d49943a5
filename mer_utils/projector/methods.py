"""Methods: from training datasets to a zero-shot model.

A `Method` says everything about one way of doing it: the label space, what a track is drawn to,
the projector and its training. `fit` makes the model.

Source: Liu, Roy, Herremans, arXiv 2410.11522 (baselines and alignment).
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from mer_utils.data.checks import refuse
from mer_utils.data.types import Labelled, official_part, usable_tracks, with_rare_labels
from mer_utils.labels.clustering import LabelClusters, cluster_labels
from mer_utils.labels.language_model import BEST_MODEL, DEFAULT_MODEL
from mer_utils.labels.space import LabelSpace
from mer_utils.projector.losses import LOSSES, ClusterVariant
from mer_utils.projector.model import Model, statistics
from mer_utils.projector.networks import PROJECTORS, build_projector
from mer_utils.projector.ridge import fit_anchors, fit_ridge_to
from mer_utils.projector.training import (
    TrainingData,
    TrainingSettings,
    Weighting,
    seeded,
    segment_weights,
    train,
)
from mer_utils.sound import musicnn

AIMS = ("labels", "clusters")
CLOSED_FORMS = ("ridge", "anchors")
LARGEST = 1e15  # of a feature: its square has to fit into single precision
LEAST_SPREAD = 1e-6  # of standardised features, in which it is about 1


@dataclass(frozen=True)
class Method:
    """One way from training datasets to a zero-shot model.

    name: unique, for tables.
    projector: a name in `projector.PROJECTORS`, to which projector_settings go; or "anchors", a
        ridge in which every training word is an anchor (`ridge.fit_anchors`).
    space: how a label becomes a vector.
    aim: "labels": a track is drawn to the mean vector of its labels; "clusters": to the mean
        centre of its labels' clusters.
    clustering: method and settings for `labels.cluster_labels`, over the training labels.
    training: how a network is trained; the closed forms have none.
    penalty: of the ridge, on the features' side.
    label_penalty: of the ridge, on the labels' side, so that twenty labels of calm do not outvote
        one of anger. None is without; anchors need one.
    tag_weight: how much a tag of the encoder (`heard_tags`) counts among the anchors, where a word
        of the training data counts 1; 0 is without tags, as are features that have none.
    without_tags: tags, in small letters, that are no anchors.
    strict: words that stand in the target's vocabulary are no words of the training side, and no
        tags: what `evaluation.study.strictly` sees to, as `fit` knows no target.
    rare_labels: learn also from words on too few tracks to be scored (`learned_from`).
    weighting: "tracks": in training every track counts the same, however long, as it does in
        scoring; "segments": every segment counts the same, as in the paper.
    calibrated: bring every label of the target to mean 0 and deviation 1 over the *training*
        tracks, so that labels compete on equal terms for the top k.
    """

    name: str
    projector: str = "paper"
    space: LabelSpace = field(default_factory=LabelSpace)
    aim: str = "labels"
    clustering: dict = field(default_factory=lambda: {"method": "mean_shift"})
    training: TrainingSettings = field(default_factory=TrainingSettings)
    projector_settings: dict = field(default_factory=dict)
    penalty: float = 1.0
    label_penalty: float | None = None
    tag_weight: float = 0.0
    without_tags: tuple[str, ...] = ()
    strict: bool = True
    rare_labels: bool = False
    calibrated: bool = False
    weighting: Weighting = "tracks"

    def __post_init__(self) -> None:
        """Check the settings."""
        for field_, known in {"aim": AIMS, "weighting": get_args(Weighting)}.items():
            if (given := getattr(self, field_)) not in known:
                raise ValueError(f"{self.name}: no {field_} {given!r}; there are {known}")
        if self.projector == "anchors" and self.label_penalty is None:
            raise ValueError(f"{self.name}: anchors need a label penalty, above 0")
        least = self.label_penalty if self.label_penalty is not None else 1.0
        if self.penalty < 0 or least <= 0 or self.tag_weight < 0:
            raise ValueError(
                f"{self.name}: penalties {self.penalty} and {self.label_penalty}, tag weight "
                f"{self.tag_weight}; the label penalty is above 0 or None, the others 0 or more"
            )

    @property
    def needs_clusters(self) -> bool:
        """Whether labels have to be clustered before training."""
        aligned = not self.deterministic and self.training.aligns_clusters
        return self.aim != "labels" or aligned

    @property
    def deterministic(self) -> bool:
        """Whether the seed changes nothing."""
        return self.projector in CLOSED_FORMS


PAPER_QUANTILES = {
    frozenset({"mtg-jamendo", "cal500"}): 0.03,
    frozenset({"mtg-jamendo", "emotify"}): 0.025,
    frozenset({"cal500", "emotify"}): 0.04,
}
"""Quantile of mean shift's bandwidth in the paper's table, by the datasets that are trained on."""
OTHER_QUANTILE = 0.03  # for datasets that the paper does not train on: that of its largest pair


def paper_methods(
    training: Sequence[str],
    weights: Sequence[float] = (0.5, 1.0, 2.5),
    variants: Sequence[str] = ("contrast",),
    settings: TrainingSettings | None = None,
    space: LabelSpace | None = None,
    clustering: Mapping[str, object] | None = None,
    **changes: object,
) -> list[Method]:
    """The rows of the paper's result tables for one direction, as its authors ran them.

    Every label is expanded to a description; those of all training datasets are clustered by mean
    shift. Baseline 1 and alignment draw a track to the vectors of its own labels, baseline 2 to the
    centres of their clusters; the alignment loss alone sees clusters.

    training: names of the datasets that are trained on: they decide the quantile.
    weights: λ of the alignment; variants: its forms, the paper's or ours (`TrainingSettings`); the
        names of the paper's begin with "alignment", those of ours do not.
    settings: of the training; the paper's if None.
    space: "definition", our expansion, if None; `LabelSpace(file=…)` takes the authors' vectors.
    clustering: another one than the paper's; changes: other fields of Method, the same for all.
    Returns the methods in the table's order; `evaluation.paper.departures` says what is not as in
    the paper.
    """
    settings = settings or TrainingSettings()
    quantile = PAPER_QUANTILES.get(frozenset(training), OTHER_QUANTILE)
    recipe = {
        "space": space or LabelSpace("definition"),
        "clustering": dict(clustering or {"method": "mean_shift", "quantile": quantile}),
        "weighting": "segments",
        "strict": False,
        **changes,
    }
    methods = [
        Method("baseline 1 (labels)", training=settings, **recipe),
        Method("baseline 2 (clusters)", aim="clusters", training=settings, **recipe),
    ]
    for variant, weight in product(variants, weights):
        aligned = replace(settings, alignment_weight=weight, alignment_variant=variant)
        kind = f"alignment {variant}" if variant in get_args(ClusterVariant) else variant
        methods.append(Method(f"{kind} λ={weight:g}", training=aligned, **recipe))
    return methods


def default_ridge(
    style: str = "definition",
    model: str = DEFAULT_MODEL,
    file: str | None = None,
    directions: str | None = "text+antonyms",
    penalty: float = 3.0,
    **changes: object,
) -> Method:
    """A ridge onto label vectors with nothing chosen, for a dataset that nobody has seen.

    file: of published label vectors, in place of texts (`LabelSpace.file`).
    directions: of the centred label space, as in `LabelSpace`.
    changes: other fields of Method.
    """
    space = LabelSpace(style, model, True, directions, file=file)
    settings = {"penalty": penalty, "label_penalty": 5.0, "calibrated": True, **changes}
    return Method("ridge", "ridge", space, **settings)


def word_anchors(
    style: str = "description", model: str = BEST_MODEL, file: str | None = None, **changes: object
) -> Method:
    """Our method: every training word and every tag of the encoder is an anchor (`fit_anchors`).

    A word's place is its text, antonym directions and the ratings of its music. One setting for all
    targets; docs/ideas.md has what was tried. Arguments as in `default_ridge`.
    """
    settings = {"directions": "text+antonyms+ratings", "tag_weight": 0.1, "rare_labels": True}
    settings |= changes
    ridge = default_ridge(style, model, file, **settings)
    return replace(ridge, name="word anchors", projector="anchors")


def affective_networks(
    space: LabelSpace, training: TrainingSettings, **changes: object
) -> list[Method]:
    """The paper's network in another label space, by its triplet loss and by a contrastive one."""
    contrastive = replace(training, loss="contrastive", temperature=0.3)
    fields = {"space": space, "calibrated": True, **changes}
    return [
        Method("triplet, affective labels", training=training, **fields),
        Method("contrastive, affective labels", training=contrastive, **fields),
    ]


APPROACHES = ("baseline 1", "baseline 2", "alignment")  # the paper's
APPROACHES += ("triplet", "contrastive", "ridge", "anchors")
LOSSES.reserved.update(set(APPROACHES) - set(LOSSES))
PROJECTORS.reserved.add("anchors")


def check_approach(name: str) -> None:
    """Raise ValueError for what is neither of APPROACHES nor in `projector.LOSSES`."""
    if name in APPROACHES:
        return
    if name not in LOSSES:
        own = ", ".join([x for x in LOSSES if x not in APPROACHES]) or "one of your own"
        known = f"{', '.join(APPROACHES)}, or a loss ({own}, file.py:name)"
        raise ValueError(f"no approach {name!r}; there are {known}")
    LOSSES[name]  # a file that lacks the name is an error


def by_name(
    approach: str,
    space: LabelSpace,
    training: TrainingSettings,
    datasets: Sequence[str],
    clustering: Mapping[str, object] | None = None,
    width: int = 128,
    weight: float = 1.0,
    variant: str = "contrast",
    penalty: float = 3.0,
    network: str = "paper",
) -> Method:
    """A method by the name of its approach, for experiments that vary one thing at a time.

    approach: of APPROACHES, or another name in `projector.LOSSES`: the network by that loss,
        without clusters.
    datasets, clustering: as `training` and `clustering` of `paper_methods`.
    training, network (in `projector.PROJECTORS`), width, weight (λ), variant: of the networks;
        penalty: of the ridge and the anchors.
    All are strict; scores of all but the paper's methods are calibrated. Raises ValueError for an
    unknown name.
    """
    fields = {"space": space, "projector": network, "projector_settings": {"width": width}}
    check_approach(approach)
    if approach not in APPROACHES:
        own = replace(training, loss=approach)
        return Method(approach, training=own, calibrated=True, **fields)
    grouped = {"clustering": clustering, "strict": True}
    closed = {"space": replace(space, centre=True), "penalty": penalty}
    methods = [
        *paper_methods(datasets, [weight], [variant], training, **grouped, **fields),
        *affective_networks(training=training, **fields),
        *(replace(method, **closed) for method in (default_ridge(), word_anchors())),
    ]
    return dict(zip(APPROACHES, methods, strict=True))[approach]


def shuffled_targets(targets: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Give the tracks in `rows` (bool) one another's labels at random: the other kind of chance."""
    targets, rows = targets.copy(), np.flatnonzero(rows)
    targets[rows] = targets[np.random.default_rng(seed).permutation(rows)]
    return targets


def cluster_training_labels(method: Method, training: Sequence[Labelled]) -> LabelClusters:
    """Cluster the labels of all training datasets together, by their text vectors."""
    labels = [label for part in training for label in part.dataset.labels]
    owners = [part.name for part in training for _ in part.dataset.labels]
    return cluster_labels(method.space.text_embeddings(labels, owners), **method.clustering)


def cluster_names(method: Method, training: Sequence[Labelled]) -> list[list[str]]:
    """The training labels of each cluster, "dataset: label"."""
    names = pd.Series([f"{p.name}: {label}" for p in training for label in p.dataset.labels])
    return names.groupby(cluster_training_labels(method, training).assignment).agg(list).tolist()


def with_chosen_clustering(method: Method, training: Sequence[Labelled]) -> Method:
    """The same method with the setting that a rule chooses, made once and recorded."""
    if not method.needs_clusters or set(method.clustering) != {"method"}:
        return method
    clusters = cluster_training_labels(method, training)
    return replace(method, clustering={"method": clusters.method, **clusters.settings})


def prepare(
    method: Method, training: Sequence[Labelled], seed: int = 0, shuffle_labels: bool = False
) -> tuple[list[TrainingData], Tensor, Tensor]:
    """Training datasets as tensors, and the mean and deviation (layers, dim) of their segments.

    Raises ValueError if the datasets' features do not fit together.
    """
    shapes = {part.name: part.features.values.shape[1:] for part in training}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"training needs datasets with features of one shape, not {shapes}")
    vectors = [torch.from_numpy(method.space.vectors(p.dataset.labels)) for p in training]
    sizes, aims = [len(each) for each in vectors], vectors  # (labels, d) each
    assignment = torch.arange(sum(sizes))  # each label alone
    if method.needs_clusters:
        clusters = cluster_training_labels(method, training)
        assignment = torch.from_numpy(clusters.assignment)
    if method.aim == "clusters":
        centres = cluster_centres(method.space, clusters, torch.cat(vectors))
        aims = centres[assignment].split(sizes)
    prepared = []
    of_labels = zip(training, vectors, aims, assignment.split(sizes), strict=True)
    for part, label_vectors, target_vectors, own_clusters in of_labels:
        use, validation = usable_tracks(part.dataset, 0.1, seed)
        targets = part.dataset.targets()
        if shuffle_labels:
            targets = shuffled_targets(targets, use | validation, seed)
        track = part.features.track_index(part.dataset)  # (segments,)
        keep = (use | validation)[track]
        track = torch.from_numpy(track[keep])
        prepared.append(
            TrainingData(
                name=part.name,
                values=torch.from_numpy(real_values(part, keep)),
                track=track.long(),
                targets=torch.from_numpy(targets),
                label_vectors=label_vectors,
                target_vectors=target_vectors,
                clusters=own_clusters,
                validation=torch.tensor(validation),
                weight=segment_weights(track, method.weighting),
            )
        )
    data, mean, std = standardised(prepared)
    if not any(x.values.amax() > LEAST_SPREAD or x.values.amin() < -LEAST_SPREAD for x in data):
        names = ", ".join(part.name for part in training)
        raise ValueError(f"{names}: the features are all but constant; extract them again")
    return data, mean, std


def real_values(part: Labelled, keep: np.ndarray) -> np.ndarray:
    """Some of a dataset's features, (segments, layers, dim) float32; keep: bool, (segments,).

    Raises ValueError that names dataset and track if one is not finite or beyond LARGEST.
    """
    values = np.asarray(part.features.values[keep], dtype=np.float32)
    most = np.maximum(values.max((1, 2)), -values.min((1, 2)))  # (segments,)
    wrong = part.features.track[keep][~(most <= LARGEST)]  # NaN too
    strange = f"tracks have features that are no numbers up to {LARGEST:g}"
    refuse(part.name, strange, np.unique(wrong).tolist())
    return values


def cluster_centres(space: LabelSpace, clusters: LabelClusters, vectors: Tensor) -> Tensor:
    """Where a label space has the clusters' centres, (clusters, d): as the clustering if labels are
    their texts, else the means of their vectors (labels, d).
    """
    if space.is_text:
        return torch.from_numpy(clusters.centres)
    member = functional.one_hot(torch.from_numpy(clusters.assignment)).float()
    return (member.T @ vectors) / member.sum(0)[:, None]


def standardised(data: Sequence[TrainingData]) -> tuple[list[TrainingData], Tensor, Tensor]:
    """The data on one scale, and its mean and deviation (layers, dim); datasets count the same."""
    each = [statistics(part.values, part.weight) for part in data]
    mean = torch.stack([m for m, _ in each]).mean(0)
    second_moment = torch.stack([s**2 + m**2 for m, s in each]).mean(0)
    std = (second_moment - mean**2).clamp(min=1e-12).sqrt()
    return [replace(part, values=(part.values - mean) / std) for part in data], mean, std


def fit(
    method: Method,
    training: Sequence[Labelled],
    seed: int = 0,
    shuffle_labels: bool = False,
    progress: bool = True,
) -> tuple[Model, pd.DataFrame]:
    """Make a zero-shot model from training datasets.

    shuffle_labels: train on labels that were dealt to the tracks at random, and on tags whose names
        were: what the same method reaches without knowing anything about the music.
    Returns the model and the training's history (empty for the closed forms).
    """
    training = learned_from(method, training)
    data, mean, std = prepare(method, training, seed, shuffle_labels)
    encoder, settings = training[0].features.encoder, method.projector_settings
    closed = (data, method.penalty, method.label_penalty, encoder.get("blocks"))
    history = pd.DataFrame()
    if method.projector == "ridge":
        projector = fit_ridge_to(*closed, **settings)
    elif method.projector == "anchors":
        tags = tag_anchors(method, encoder, seed if shuffle_labels else None)
        projector = fit_anchors(*closed, tags, method.tag_weight)
    else:
        sizes = *mean.shape, data[0].label_vectors.shape[1]
        with seeded(seed):
            projector = build_projector(method.projector, *sizes, **settings)
        history = train(projector, data, method.training, seed, progress)
    about = {
        "method": method_settings(method),
        "sources": {part.name: part.dataset.source for part in training},
        "labels": {part.name: list(part.dataset.labels) for part in training},
        "tracks": {p.name: int((~official_part(p.dataset, "test")).sum()) for p in training},
        "fingerprints": {part.name: part.fingerprint for part in training},
        "seed": seed,
        "shuffled_labels": shuffle_labels,
        "best_epoch": history.attrs.get("best_epoch"),
        "versions": {p: importlib.metadata.version(p) for p in ("mer-utils", "torch", "numpy")},
    }
    return Model(projector, method.space, mean, std, encoder, about), history


def learned_from(method: Method, training: Sequence[Labelled]) -> list[Labelled]:
    """What a method learns from: the datasets, if it takes rare labels with these among theirs."""
    return [with_rare_labels(part) if method.rare_labels else part for part in training]


def heard_tags(encoder: Mapping[str, object]) -> list[str]:
    """The words that the first columns of an encoder's features stand for; none of most encoders.

    musicnn's 50 tags, or what the settings of a user's network (`sound.Network`) say under "tags".
    """
    musicnns = musicnn.TAGS if list(encoder.get("columns", ()))[:1] == ["tags"] else ()
    return [tag.lower() for tag in encoder.get("tags", musicnns)]


def tag_anchors(
    method: Method, encoder: Mapping[str, object], shuffled: int | None = None
) -> tuple[list[int], Tensor] | None:
    """The encoder's tags that are anchors: their columns in the features, their vectors (tags, d).

    shuffled: seed that deals their names anew, else they alone would know something about the
        music; None for their own names. Returns None if the method has no tags, or the encoder.
    """
    names = heard_tags(encoder)
    columns = [i for i, name in enumerate(names) if name not in method.without_tags]
    if not method.tag_weight or len(columns) < 2:  # one alone has no direction, once centred
        return None
    vectors = torch.from_numpy(method.space.vectors([names[i] for i in columns]))
    if shuffled is not None:
        vectors = vectors[np.random.default_rng(shuffled).permutation(len(vectors))]
    return columns, vectors


def target_scores(
    model: Model, method: Method, target: Labelled, training: Sequence[Labelled]
) -> np.ndarray:
    """Scores of a target's segments for its labels, (segments, labels); calibrated if wanted."""
    labels = target.dataset.labels
    scores = model.scores(target.features, labels)
    if not method.calibrated:
        return scores
    reference, weights = [], []
    for part in training:
        track = part.features.track_index(part.dataset)  # (segments,)
        keep = ~official_part(part.dataset, "test")[track]
        reference.append(model.scores(part.features, labels)[keep])
        weights.append(segment_weights(torch.from_numpy(track[keep]), method.weighting).numpy())
    return calibrate(scores, reference, weights)


def calibrate(
    scores: np.ndarray, reference: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> np.ndarray:
    """Bring every label to mean 0 and deviation 1 over the reference, each part weighing the same.

    scores: (segments, labels); reference, weights: such an array for each training dataset, and how
        much its segments (segments,) count, with the sum 1.
    """
    parts = list(zip(reference, weights, strict=True))
    mean = np.mean([weight @ part for part, weight in parts], axis=0)  # (labels,)
    square = np.mean([weight @ np.square(part - mean) for part, weight in parts], axis=0)
    return (scores - mean) / np.sqrt(np.maximum(square, 1e-12))


def method_settings(method: Method) -> dict:
    """Everything that decides what a method does, JSON-able."""
    return {**asdict(replace(method, space=LabelSpace())), "space": method.space.describe()}
