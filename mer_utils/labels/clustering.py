"""Clusters of labels: which emotion words, over all datasets, count as one.

Mean shift over the label embeddings is the method of Liu, Roy, Herremans (arXiv 2410.11522,
"clustering"; Comaniciu & Meer 2002). Beside it stand HDBSCAN (Campello, Moulavi & Sander 2013),
affinity propagation (Frey & Dueck 2007) and agglomerative clustering.

Every method has one main setting that decides how many clusters come out, and for mean shift that
number falls off a cliff: a bandwidth a few per cent larger, and all labels are one. So a setting is
never a silent default: `sweep_settings` shows what each value gives, `choose_setting` picks one by
a written rule, and `cluster_labels` does the same when it gets no setting.

Conventions: clusters are numbered in the order in which the labels first meet them; every label
has a cluster, and one that a method calls noise is one of its own. Distances are those of unit
vectors (Euclidean, which orders pairs as the cosine does). Labels with equal vectors (the same word
in two datasets) always share a cluster.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Real
from pathlib import Path

import hdbscan
import numpy as np
import pandas as pd
import sklearn
import torch
from hdbscan.prediction import all_points_membership_vectors
from sklearn.cluster import (
    AffinityPropagation,
    AgglomerativeClustering,
    MeanShift,
    estimate_bandwidth,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from mer_utils import code, storage
from mer_utils.labels.embeddings import LabelEmbeddings, read_pair
from mer_utils.progress import progress_bar

FILE_NAME = "label_clusters"
RESAMPLES = 6  # how often a sweep leaves labels out
DROP = 0.15  # the share of labels it leaves out each time

DECIDING: dict[str, tuple[str, ...]] = {
    "mean_shift": ("bandwidth", "quantile"),
    "hdbscan": ("min_cluster_size",),
    "affinity_propagation": ("preference",),
    "agglomerative": ("n_clusters", "distance_threshold"),
}
"""The settings that decide the number of clusters: one of them is given, or else the first is
chosen by the rule."""

FURTHER: dict[str, tuple[str, ...]] = {
    "mean_shift": (),
    "hdbscan": ("min_samples", "cluster_selection_method"),
    "affinity_propagation": ("damping",),
    "agglomerative": ("linkage",),
}
"""The other settings; each has a default."""


class NotConvergedError(ValueError):
    """A method came to no result with these settings."""


@dataclass(frozen=True, eq=False)
class LabelClusters:
    """Labels in clusters.

    labels: the label names, in the order of the embeddings.
    assignment: (labels,) int, the cluster of each label, 0 to clusters − 1.
    centres: (clusters, d) float32, the mean of each cluster's vectors at unit length.
    names: each cluster's medoid, the label nearest to its centre.
    method, settings: what made them; the settings include those chosen by the rule.
    datasets: for each label the dataset it came from, or None.
    membership: (labels, clusters) from 0 to 1 where the method has one (HDBSCAN), else None. A row
        sums to at most 1: the rest is the method's doubt that the label belongs anywhere.
    """

    labels: tuple[str, ...]
    assignment: np.ndarray
    centres: np.ndarray
    names: tuple[str, ...]
    method: str
    settings: dict = field(default_factory=dict)
    datasets: tuple[str, ...] | None = None
    membership: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check what training and figures rely on."""
        clusters = len(self.centres)
        if self.assignment.shape != (len(self.labels),):
            raise ValueError(
                f"{len(self.labels)} labels, but an assignment of shape {self.assignment.shape}"
            )
        if sorted(set(self.assignment.tolist())) != list(range(clusters)):
            raise ValueError(
                f"the assignment must use the clusters 0 to {clusters - 1}, each at least once; "
                f"it uses {sorted(set(self.assignment.tolist()))}"
            )
        if len(self.names) != clusters or self.centres.ndim != 2:
            raise ValueError(
                f"{len(self.names)} cluster names, but centres of shape {self.centres.shape}"
            )
        if self.membership is not None and self.membership.shape != (len(self.labels), clusters):
            raise ValueError(
                f"membership has the shape {self.membership.shape}, not (labels, clusters) = "
                f"({len(self.labels)}, {clusters})"
            )

    def __len__(self) -> int:
        """Number of clusters."""
        return len(self.centres)

    def table(self) -> pd.DataFrame:
        """One row a cluster, the largest first: name, size, and its labels."""
        members = [
            [
                label if self.datasets is None else f"{label} ({self.datasets[i]})"
                for i, label in enumerate(self.labels)
                if self.assignment[i] == cluster
            ]
            for cluster in range(len(self))
        ]
        rows = pd.DataFrame(
            {
                "cluster": range(len(self)),
                "name": self.names,
                "size": [len(labels) for labels in members],
                "labels": [", ".join(labels) for labels in members],
            }
        )
        return rows.sort_values("size", ascending=False, kind="stable", ignore_index=True)


def cluster_labels(
    embeddings: LabelEmbeddings, method: str = "mean_shift", **settings: object
) -> LabelClusters:
    """Cluster labels by their vectors.

    embeddings: the labels, usually of all training datasets together.
    method and its settings:
    - "mean_shift": `bandwidth` (distance of unit vectors, above 0 to 2) or `quantile` (0 to 1;
      bandwidth = mean distance to the nearest quantile · labels neighbours, counting the label
      itself, as scikit-learn's estimate_bandwidth).
    - "hdbscan": `min_cluster_size` (2 or more), `min_samples` (default 1: little is called noise),
      `cluster_selection_method` ("eom" or "leaf"). Labels called noise become clusters of their
      own; soft membership is kept.
    - "affinity_propagation": `preference` (below 0, a negative squared distance, −4 to 0; lower
      gives fewer clusters), `damping` (0.5 to below 1, default 0.95). An approximation:
      among tied exemplars, the order of the labels can decide.
    - "agglomerative": `n_clusters` or `distance_threshold` (cosine distance, 0 to 2), `linkage`
      ("average", the default, "complete" or "single").
    Without a setting that decides the number of clusters, `choose_setting` on `sweep_settings`
    does; the choice is remembered for the process.
    Returns the clusters. Warns if one cluster holds more than half of the labels, or if no two
    labels share one.
    Raises ValueError for an unknown method or setting, one out of range, and if affinity
    propagation does not converge.
    """
    settings = _checked(method, settings)
    if not any(name in settings for name in DECIDING[method]):
        settings = {**settings, **_chosen_setting(embeddings, method, settings)}
    with _one_thread():
        found, soft = _FITS[method](embeddings.vectors, **settings)
    assignment, order = _numbered(found)
    clusters = _described(embeddings, method, settings, assignment)
    _warn_if_degenerate(clusters)
    if soft is None:
        return clusters
    return LabelClusters(**{**vars(clusters), "membership": soft[:, order].astype(np.float32)})


def sweep_settings(
    embeddings: LabelEmbeddings,
    method: str = "mean_shift",
    values: Sequence[float] | None = None,
    setting: str | None = None,
    resamples: int = RESAMPLES,
    drop: float = DROP,
    seed: int = 0,
    progress: bool = True,
    **fixed: object,
) -> pd.DataFrame:
    """What each value of a method's setting gives.

    embeddings: the labels.
    method: as in `cluster_labels`.
    values: what to try; a grid made from the distances between the labels if None (only for the
        method's first setting in DECIDING).
    setting: which setting to vary; the method's first in DECIDING if None.
    resamples: how many times labels are left out, 2 or more.
    drop: the share of labels that is left out each time, above 0 and below 1.
    seed: decides which labels are left out; the same ones for every value.
    progress: show a progress bar.
    fixed: other settings of the method, the same for every value.
    Returns a table, one row a value: method, setting, value; labels; clusters; singletons (clusters
    of one label); largest (labels in the largest cluster); silhouette (cosine, −1 to 1); stability,
    the mean adjusted Rand index between the clusters of all labels and those found without the
    labels left out (1: leaving labels out changes nothing; 0: no better than chance), and
    stability_low, the lowest of the resamples. Silhouette and stability are NaN where all labels
    are in one cluster or each is alone.
    Raises ValueError as `cluster_labels` does, and for fewer than four labels.
    """
    return _sweep(
        embeddings.vectors, method, values, setting, resamples, drop, seed, progress, fixed
    )


def choose_setting(sweep: pd.DataFrame) -> dict[str, float | int]:
    """Pick a setting from a sweep, by a rule that does not look at any score of a model.

    Of the values that give two clusters or more, of which none holds more than half of the labels,
    and where not every label is alone, the one with the highest silhouette (at least 0) times
    stability; the one with fewer clusters if two are equal. The first factor asks that clusters are
    tight and apart, the second that they do not hang on single labels, and the ban on a cluster
    with more than half of the labels keeps away from the edge where all of them fall together (one
    odd label against all others has a high silhouette and is very stable).
    If no value passes, the ban is dropped, with a warning.

    sweep: from `sweep_settings`, one method and one setting.
    Returns the setting, to be passed on: cluster_labels(embeddings, method, **choose_setting(…)).
    Raises ValueError if every value gives one cluster or leaves each label alone.
    """
    if sweep.groupby(["method", "setting"]).ngroups != 1:
        raise ValueError("the sweep must be of one method and one setting; choose from each apart")
    split = sweep[sweep["silhouette"].notna()]
    method, setting = sweep["method"].iloc[0], sweep["setting"].iloc[0]
    if split.empty:
        raise ValueError(
            f"{method}: every {setting} from {sweep['value'].min():g} to {sweep['value'].max():g} "
            f"puts all labels in one cluster or leaves each alone; sweep other values"
        )
    usable = split[split["largest"] <= split["labels"] / 2]
    if usable.empty:
        warnings.warn(
            f"{method}: no {setting} gives clusters of which none holds more than half of the "
            f"labels; choosing among the others",
            stacklevel=2,
        )
        usable = split
    score = usable["silhouette"].clip(lower=0) * usable["stability"]
    best = usable[score >= score.max() - 1e-9].sort_values("clusters", kind="stable")
    return {setting: best["value"].iloc[0].item()}


def save_clusters(clusters: LabelClusters, folder: str | Path, name: str = FILE_NAME) -> None:
    """Write clusters as `name`.safetensors and `name`.json into a folder."""
    folder = Path(folder)
    tensors = {
        "assignment": torch.from_numpy(np.ascontiguousarray(clusters.assignment)),
        "centres": torch.from_numpy(np.ascontiguousarray(clusters.centres)),
    }
    if clusters.membership is not None:
        tensors["membership"] = torch.from_numpy(np.ascontiguousarray(clusters.membership))
    storage.write_tensors(folder / f"{name}.safetensors", tensors)
    description = {
        "method": clusters.method,
        "settings": clusters.settings,
        "names": list(clusters.names),
        "labels": list(clusters.labels),
        "datasets": None if clusters.datasets is None else list(clusters.datasets),
        "tensors_sha256": storage.file_hash(folder / f"{name}.safetensors"),
    }
    storage.write_json(folder / f"{name}.json", description)


def load_clusters(folder: str | Path, name: str = FILE_NAME) -> LabelClusters:
    """Read clusters that `save` wrote.

    Raises FileNotFoundError if a file is missing, ValueError if the two files do not belong
    together or their content is not what LabelClusters promises.
    """
    description, tensors = read_pair(folder, name)
    datasets = description["datasets"]
    return LabelClusters(
        labels=tuple(description["labels"]),
        assignment=tensors["assignment"].numpy(),
        centres=tensors["centres"].numpy(),
        names=tuple(description["names"]),
        method=description["method"],
        settings=description["settings"],
        datasets=None if datasets is None else tuple(datasets),
        membership=tensors["membership"].numpy() if "membership" in tensors else None,
    )


# --- The methods: vectors (labels, d) -> cluster of each label, soft membership or None -----------

Fit = tuple[np.ndarray, np.ndarray | None]


def _mean_shift(
    vectors: np.ndarray, bandwidth: float | None = None, quantile: float | None = None
) -> Fit:
    """Flat-kernel mean shift."""
    points = _in_own_span(vectors)  # (labels, at most labels)
    if bandwidth is None:
        bandwidth = estimate_bandwidth(points, quantile=quantile)
    # A quantile below two labels sees only the label itself, at distance zero: then only equal
    # vectors belong together.
    return MeanShift(bandwidth=max(bandwidth, 1e-3)).fit(points).labels_, None


def _hdbscan(
    vectors: np.ndarray,
    min_cluster_size: int,
    min_samples: int = 1,
    cluster_selection_method: str = "eom",
) -> Fit:
    """HDBSCAN over distinct vectors (zero distances make its densities infinite)."""
    points, row = _distinct(vectors)  # (distinct, d), (labels,)
    if len(points) <= min_cluster_size:
        return row, np.eye(len(points))[row]
    model = hdbscan.HDBSCAN(
        min_cluster_size=min_cluster_size,
        min_samples=min_samples,
        cluster_selection_method=cluster_selection_method,
        prediction_data=True,
        core_dist_n_jobs=1,
    ).fit(points)
    found = model.labels_.copy()  # (distinct,), −1 is noise
    noise = np.flatnonzero(found < 0)
    grouped = found.max() + 1
    found[noise] = grouped + np.arange(len(noise))
    soft = np.zeros((len(points), grouped + len(noise)))  # (distinct, clusters)
    if grouped:
        soft[:, :grouped] = all_points_membership_vectors(model).reshape(len(points), grouped)
    soft[noise, found[noise]] = 1 - soft[noise].sum(axis=1)
    return found[row], soft[row].clip(0, 1)


def _affinity_propagation(vectors: np.ndarray, preference: float, damping: float = 0.95) -> Fit:
    """Affinity propagation over distinct vectors (equal ones make it oscillate)."""
    points, row = _distinct(vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        # Damped messages move slowly: 15 quiet iterations, the library's default, come too early.
        model = AffinityPropagation(
            preference=preference,
            damping=damping,
            max_iter=3000,
            convergence_iter=100,
            random_state=0,
        )
        try:
            return model.fit(points).labels_[row], None
        except ConvergenceWarning:
            raise NotConvergedError(
                f"affinity propagation does not converge with preference={preference:g}, "
                f"damping={damping:g}; raise the damping or change the preference"
            ) from None


def _agglomerative(
    vectors: np.ndarray,
    n_clusters: int | None = None,
    distance_threshold: float | None = None,
    linkage: str = "average",
) -> Fit:
    """Agglomerative clustering by cosine distance, over distinct vectors."""
    points, row = _distinct(vectors)
    if n_clusters is not None and n_clusters > len(points):
        raise ValueError(
            f"{len(points)} different label vectors cannot make n_clusters={n_clusters} clusters"
        )
    if len(points) == 1:
        return row, None
    model = AgglomerativeClustering(
        n_clusters=n_clusters,
        distance_threshold=distance_threshold,
        linkage=linkage,
        metric="cosine",
    )
    return model.fit(points).labels_[row], None


_FITS: dict[str, Callable[..., Fit]] = {
    "mean_shift": _mean_shift,
    "hdbscan": _hdbscan,
    "affinity_propagation": _affinity_propagation,
    "agglomerative": _agglomerative,
}


def _in_own_span(vectors: np.ndarray) -> np.ndarray:
    """The points turned into the space they span, (labels, ≤ labels) float64.

    All distances stay the same; mean shift is several times faster and rounds less.
    """
    points = vectors.astype(np.float64)
    left, lengths, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return left * lengths


def _distinct(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different vectors (distinct, d) float64 in order of appearance, and each label's row."""
    _, first, row = np.unique(vectors, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return vectors[first[order]].astype(np.float64), rank[row.reshape(-1)]


# --- Grids: values to try for each method's first setting -----------------------------------------


def _bandwidth_grid(vectors: np.ndarray) -> list[float]:
    """From the distance of the closest pair to that of the middle pair.

    At the lower end hardly any labels come together; at the upper end half of all labels lie within
    the bandwidth of one another, and mean shift has drawn all, or nearly all, into one.
    """
    distances = _distances(vectors)
    pairs = distances[np.triu_indices(len(distances), k=1)]  # (pairs,)
    return np.unique(np.linspace(pairs.min(), np.median(pairs), 14).round(4)).tolist()


def _size_grid(vectors: np.ndarray) -> list[int]:
    """Smallest clusters from 2 labels to 8, at most a quarter of the labels."""
    return list(range(2, max(2, min(8, len(vectors) // 4)) + 1))


def _preference_grid(vectors: np.ndarray) -> list[float]:
    """Multiples of the median similarity (negative squared distance), which is the usual choice."""
    distances = _distances(vectors)
    median = np.median(distances[np.triu_indices(len(distances), k=1)] ** 2)
    return (-median * np.geomspace(3, 0.5, 11)).round(4).tolist()


def _number_grid(vectors: np.ndarray) -> list[int]:
    """Numbers of clusters from 2 to half of the labels, denser at the lower end."""
    most = max(2, len(np.unique(vectors, axis=0)) // 2)
    return sorted(set(np.geomspace(2, most, 14).round().astype(int).tolist()))


_GRIDS: dict[str, Callable[[np.ndarray], Sequence[float]]] = {
    "mean_shift": _bandwidth_grid,
    "hdbscan": _size_grid,
    "affinity_propagation": _preference_grid,
    "agglomerative": _number_grid,
}


def _distances(vectors: np.ndarray) -> np.ndarray:
    """Euclidean distances between distinct vectors, (distinct, distinct)."""
    points, _ = _distinct(vectors)
    if len(points) < 2:
        raise ValueError("all labels have the same vector; there is nothing to cluster")
    return np.sqrt(np.clip(2 - 2 * points @ points.T, 0, None))


# --- Measuring and describing ---------------------------------------------------------------------


def _sweep(
    vectors: np.ndarray,
    method: str,
    values: Sequence[float] | None,
    setting: str | None,
    resamples: int,
    drop: float,
    seed: int,
    progress: bool,
    fixed: Mapping[str, object],
) -> pd.DataFrame:
    """The work of `sweep_settings`, on vectors (labels, d)."""
    fixed = _checked(method, fixed)
    name = DECIDING[method][0] if setting is None else setting
    n = len(vectors)
    if n < 4:
        raise ValueError(
            f"{n} labels are too few to choose a setting of {method} by a sweep; give one of "
            f"{', '.join(DECIDING[method])}"
        )
    if resamples < 2 or not 0 < drop < 1 or n - round(drop * n) < 3:
        raise ValueError(
            f"resamples must be 2 or more and drop must leave at least 3 of {n} labels, not "
            f"resamples={resamples}, drop={drop}"
        )
    if values is None:
        if name != DECIDING[method][0]:
            raise ValueError(f"give the values of {name!r} to try; there is no grid for it")
        values = _GRIDS[method](vectors)
    tried = [_checked(method, {**fixed, name: value}) for value in values]
    generator = np.random.default_rng(seed)
    kept = [np.sort(generator.permutation(n)[round(drop * n) :]) for _ in range(resamples)]
    rows = []
    with _one_thread():
        for settings in progress_bar(tried, desc=f"{method}: {name}", leave=False, show=progress):
            row = _measured(vectors, method, settings, kept)
            rows.append({"method": method, "setting": name, "value": settings[name], **row})
    return pd.DataFrame(rows)


def _measured(
    vectors: np.ndarray, method: str, settings: Mapping, kept: Sequence[np.ndarray]
) -> dict[str, float]:
    """One row of a sweep: the clusters of all labels, and how they change without some."""
    fit = _FITS[method]
    row = {"labels": len(vectors), "clusters": 0, "singletons": 0, "largest": 0}
    row |= {"silhouette": np.nan, "stability": np.nan, "stability_low": np.nan}
    try:
        found = fit(vectors, **settings)[0]
    except NotConvergedError as error:
        warnings.warn(str(error), stacklevel=4)
        return row
    sizes = np.unique(found, return_counts=True)[1]
    row |= {"clusters": len(sizes), "singletons": int((sizes == 1).sum())}
    row["largest"] = int(sizes.max())
    if not 1 < len(sizes) < len(vectors):
        return row
    agreement = []
    for rows in kept:
        try:
            part = fit(vectors[rows], **_fitting(settings, vectors[rows]))[0]
            agreement.append(adjusted_rand_score(found[rows], part))
        except NotConvergedError:
            agreement.append(0.0)
    row["silhouette"] = float(silhouette_score(vectors, found, metric="cosine"))
    row["stability"], row["stability_low"] = float(np.mean(agreement)), float(min(agreement))
    return row


def _fitting(settings: Mapping, vectors: np.ndarray) -> dict:
    """Settings for a part of the labels: not more clusters than it has different vectors."""
    settings = dict(settings)
    if "n_clusters" in settings:
        settings["n_clusters"] = min(settings["n_clusters"], len(np.unique(vectors, axis=0)))
    return settings


def _chosen_setting(embeddings: LabelEmbeddings, method: str, fixed: Mapping) -> dict:
    """The setting that the rule chooses for these labels, from memory if it was asked before."""
    vectors = np.ascontiguousarray(embeddings.vectors, dtype=np.float32)
    further = json.dumps(dict(fixed), sort_keys=True)
    rule = code.hash_of(["labels.clustering._sweep", "labels.clustering.choose_setting"])
    return dict(_remembered_choice(vectors.tobytes(), vectors.shape, method, further, rule))


@lru_cache(maxsize=64)
def _remembered_choice(
    content: bytes, shape: tuple[int, int], method: str, further: str, rule: str
) -> tuple[tuple[str, float], ...]:
    vectors = np.frombuffer(content, dtype=np.float32).reshape(shape)  # (labels, d)
    sweep = _sweep(vectors, method, None, None, RESAMPLES, DROP, 0, True, json.loads(further))
    return tuple(choose_setting(sweep).items())


def _numbered(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clusters renumbered in order of appearance, (labels,), and the old number of each new one."""
    old, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse].astype(np.int64), old[order]


def _described(
    embeddings: LabelEmbeddings, method: str, settings: Mapping, assignment: np.ndarray
) -> LabelClusters:
    """Centres and names of an assignment."""
    vectors = embeddings.vectors
    member = np.eye(assignment.max() + 1, dtype=np.float32)[assignment]  # (labels, clusters)
    sums = member.T @ vectors  # (clusters, d)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)  # (clusters, 1)
    # Opposite vectors in one cluster cancel out; then its first label stands for it.
    first = vectors[[int(np.argmax(assignment == c)) for c in range(member.shape[1])]]
    centres = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), first)  # (clusters, d)
    cosines = np.where(member > 0, vectors @ centres.T, -np.inf)  # (labels, clusters)
    names = tuple(embeddings.labels[i] for i in cosines.argmax(axis=0))
    return LabelClusters(
        labels=embeddings.labels,
        assignment=assignment,
        centres=centres.astype(np.float32),
        names=names,
        method=method,
        settings=dict(settings),
        datasets=embeddings.datasets,
    )


def _warn_if_degenerate(clusters: LabelClusters) -> None:
    """Say when a clustering does not group labels, or groups nearly all of them."""
    n, k = len(clusters.labels), len(clusters)
    largest = int(np.bincount(clusters.assignment).max())
    made = f"{clusters.method} with {clusters.settings}"
    advice = "sweep_settings shows what other values give"
    if n > 1 and k == 1:
        warnings.warn(f"{made} puts all {n} labels in one cluster; {advice}", stacklevel=3)
    elif n > 1 and k == n:
        warnings.warn(f"{made} leaves each of {n} labels alone; {advice}", stacklevel=3)
    elif n > 3 and largest > n / 2:
        warnings.warn(f"{made} puts {largest} of {n} labels in one cluster; {advice}", stacklevel=3)


# --- Checks ---------------------------------------------------------------------------------------

_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "bandwidth": (lambda x: 0 < x <= 2, "above 0 and at most 2"),
    "quantile": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "min_cluster_size": (lambda x: x >= 2 and x == int(x), "a whole number, 2 or more"),
    "min_samples": (lambda x: x >= 1 and x == int(x), "a whole number, 1 or more"),
    "preference": (lambda x: x <= 0, "at most 0"),
    "damping": (lambda x: 0.5 <= x < 1, "0.5 or more and below 1"),
    "n_clusters": (lambda x: x >= 1 and x == int(x), "a whole number, 1 or more"),
    "distance_threshold": (lambda x: 0 <= x <= 2, "from 0 to 2"),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "cluster_selection_method": ("eom", "leaf"),
    "linkage": ("average", "complete", "single"),
}


def _checked(method: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that are given (None is not), as plain JSON-able values.

    Unknown, clashing and impossible ones are errors.
    """
    if method not in DECIDING:
        raise ValueError(f"no clustering method {method!r}; there are {', '.join(DECIDING)}")
    known = DECIDING[method] + FURTHER[method]
    checked = {}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{method} has no setting {name!r}; it has {', '.join(known)}")
        if value is not None:
            checked[name] = _checked_value(method, name, value)
    deciding = [name for name in checked if name in DECIDING[method]]
    if len(deciding) > 1:
        raise ValueError(f"{method}: give one of {' and '.join(deciding)}, not both")
    return checked


def _checked_value(method: str, name: str, value: object) -> str | int | float:
    """One setting's value, if it is a possible one."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            choices = ", ".join(_CHOICES[name])
            raise ValueError(f"{method}: {name} is one of {choices}, not {value!r}")
        return str(value)
    fits, wanted = _RANGES[name]
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not fits(value):
        raise ValueError(f"{method}: {name} must be {wanted}, not {value!r}")
    return int(value) if wanted.startswith("a whole number") else float(value)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Label matrices are small: threads cost more than they save, many times more when shared."""
    with (
        threadpool_limits(1),
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        yield
