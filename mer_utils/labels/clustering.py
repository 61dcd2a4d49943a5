"""Clusters of labels: which emotion words, over all datasets, count as one.

Mean shift over the label embeddings is the method of Liu, Roy, Herremans (arXiv 2410.11522,
"clustering"; Comaniciu & Meer 2002). Beside it stand HDBSCAN (Campello, Moulavi & Sander 2013),
affinity propagation (Frey & Dueck 2007) and agglomerative clustering.

One setting decides how many clusters come out, and for mean shift that number falls off a cliff: a
bandwidth a few per cent larger, and all labels are one. So a setting is never a silent default:
`sweep_settings` shows what each value gives, and `choose_setting` picks one by a written rule.

Conventions: clusters are numbered in the order in which the labels meet them; a label that a method
calls noise is a cluster of its own; labels with equal vectors share one. Distances are those of
unit vectors (Euclidean, which orders pairs as the cosine does).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import hdbscan
import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.cluster import (
    AffinityPropagation,
    AgglomerativeClustering,
    MeanShift,
    estimate_bandwidth,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from mer_utils.labels.embeddings import LabelEmbeddings
from mer_utils.progress import progress_bar

RESAMPLES = 6  # how often a sweep leaves labels out
DROP = 0.15  # the share of labels it leaves out each time


class NotConvergedError(ValueError):
    """A method came to no result with these settings."""


@dataclass(frozen=True, eq=False)
class LabelClusters:
    """Labels in clusters.

    assignment: (labels,) int, the cluster of each label.
    centres: (clusters, d) float32, the mean of each cluster's vectors at unit length.
    names: each cluster's medoid, the label nearest to its centre.
    settings: also those chosen by the rule.
    """

    labels: tuple[str, ...]
    assignment: np.ndarray
    centres: np.ndarray
    names: tuple[str, ...]
    method: str
    settings: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.centres)


def cluster_labels(
    embeddings: LabelEmbeddings, method: str = "mean_shift", **settings: object
) -> LabelClusters:
    """Cluster labels by their vectors.

    embeddings: the labels, usually of all training datasets together.
    method and its setting, as in scikit-learn and hdbscan:
    - "mean_shift": `bandwidth` (distance, up to 2) or `quantile` (bandwidth = mean distance to the
      nearest quantile · labels neighbours, the label itself among them).
    - "hdbscan": `min_cluster_size`.
    - "affinity_propagation": `preference` (a negative squared distance, −4 to 0; lower gives fewer
      clusters). Among tied exemplars, the order of the labels can decide.
    - "agglomerative": `n_clusters`.
    Without one, `choose_setting` on `sweep_settings` decides, once a process.
    Warns if one cluster holds more than half of the labels, or if none share one.
    Raises ValueError for an unknown method, an impossible value, and if affinity propagation does
    not converge; TypeError for an unknown setting.
    """
    settings = _checked(method, settings)
    settings = settings or _chosen_setting(embeddings, method)
    vectors = embeddings.vectors
    with threadpool_limits(1), sklearn.config_context(assume_finite=True):
        assignment = pd.factorize(_FITS[method](vectors, **settings))[0]
    n, sizes = len(assignment), np.bincount(assignment)
    if n > 1 and (len(sizes) in (1, n) or (n > 3 and sizes.max() > n / 2)):
        warnings.warn(
            f"{method} with {settings}: {len(sizes)} clusters of {n} labels, the largest of "
            f"{sizes.max()}; sweep_settings shows what other values give",
            stacklevel=2,
        )
    centres = _centres(vectors, assignment)  # (clusters, d)
    cosines = vectors @ centres.T  # (labels, clusters)
    cosines[assignment[:, None] != np.arange(len(centres))] = -np.inf
    medoids = tuple(embeddings.labels[i] for i in cosines.argmax(axis=0))
    return LabelClusters(embeddings.labels, assignment, centres, medoids, method, settings)


def sweep_settings(
    embeddings: LabelEmbeddings,
    method: str = "mean_shift",
    values: Sequence[float] | None = None,
) -> pd.DataFrame:
    """What each value of a method's first setting in DECIDING gives, for four labels or more.

    values: what to try; a grid if None.
    Returns a row a value: method, setting, value; labels, clusters, singletons (clusters of one
    label), largest (labels in the largest cluster); silhouette (cosine, −1 to 1); stability, the
    mean adjusted Rand index of the clusters with those found without a share DROP of the labels,
    RESAMPLES times (1: the same; 0: chance), and stability_low, the lowest. Silhouette and
    stability are NaN where all labels are in one cluster or each is alone.
    """
    _checked(method, {})
    setting = DECIDING[method][0]
    vectors, n = embeddings.vectors, len(embeddings)
    if n < 4:
        raise ValueError(f"{n} labels are too few to choose; give {' or '.join(DECIDING[method])}")
    values = _grid(method, vectors) if values is None else values
    random = np.random.default_rng(0)
    kept = [np.sort(random.permutation(n)[round(DROP * n) :]) for _ in range(RESAMPLES)]
    rows = []
    with threadpool_limits(1), sklearn.config_context(assume_finite=True):
        for value in progress_bar(values, f"{method}: {setting}", leave=False):
            row = {"method": method, "setting": setting, "value": value}
            rows.append(row | _measured(_FITS[method], vectors, {setting: value}, kept))
    return pd.DataFrame(rows)


def choose_setting(sweep: pd.DataFrame) -> dict[str, float | int]:
    """Pick a setting from a sweep, by a rule that does not look at any score of a model.

    Of the values that give two clusters or more, not each label alone, and no cluster with more
    than half of the labels (one odd label against all others is tight and stable), the one with the
    highest silhouette (at least 0) times stability; the one with fewer clusters if two are equal.
    If every value gives a cluster with more than half, that ban is dropped, with a warning.

    Returns the setting, for cluster_labels(embeddings, method, **choose_setting(sweep)).
    Raises ValueError if every value gives one cluster or leaves each label alone.
    """
    method, setting = sweep["method"].iloc[0], sweep["setting"].iloc[0]
    split = sweep[sweep["silhouette"].notna()]
    if split.empty:
        tried = f"{setting} of {sweep['value'].tolist()}"
        raise ValueError(f"{method}: every {tried} puts all labels in one cluster or each alone")
    usable = split[split["largest"] <= split["labels"] / 2]
    if usable.empty:
        warnings.warn(f"{method}: every {setting} puts most labels into one cluster", stacklevel=2)
        usable = split
    score = usable["silhouette"].clip(lower=0) * usable["stability"]
    best = usable[score >= score.max() - 1e-9].sort_values("clusters", kind="stable")
    return {setting: best["value"].iloc[0].item()}


# --- The methods: vectors (labels, d) -> the cluster of each label --------------------------------


def _mean_shift(
    vectors: np.ndarray, bandwidth: float | None = None, quantile: float | None = None
) -> np.ndarray:
    """Flat-kernel mean shift."""
    # In the space that the points span, distances are the same; it is faster and rounds less.
    points = vectors.astype(np.float64)
    left, lengths, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    points = left * lengths  # (labels, at most labels)
    if bandwidth is None:
        bandwidth = estimate_bandwidth(points, quantile=quantile)
    elif bandwidth <= 0:
        raise ValueError(f"mean_shift: bandwidth must be above 0, not {bandwidth!r}")
    # A quantile below two labels sees only the label itself: then only equal vectors join.
    return MeanShift(bandwidth=max(bandwidth, 1e-3)).fit(points).labels_


def _hdbscan(vectors: np.ndarray, min_cluster_size: int) -> np.ndarray:
    """HDBSCAN over distinct vectors (zero distances make its densities infinite)."""
    points, row = _distinct(vectors)
    if len(points) <= min_cluster_size:
        return row
    # min_samples=1: little is called noise
    model = hdbscan.HDBSCAN(min_cluster_size, min_samples=1, core_dist_n_jobs=1)
    found = model.fit(points).labels_.copy()  # (distinct,), −1 is noise
    noise = found < 0
    found[noise] = found.max() + 1 + np.arange(noise.sum())
    return found[row]


def _affinity_propagation(vectors: np.ndarray, preference: float) -> np.ndarray:
    """Affinity propagation over distinct vectors (equal ones make it oscillate)."""
    points, row = _distinct(vectors)
    # Damped messages move slowly: 15 quiet iterations, the library's default, come too early.
    model = AffinityPropagation(
        preference=preference, damping=0.95, max_iter=3000, convergence_iter=100, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return model.fit(points).labels_[row]
        except ConvergenceWarning:
            raise NotConvergedError(f"affinity_propagation: {preference=} has no result") from None


def _agglomerative(vectors: np.ndarray, n_clusters: int) -> np.ndarray:
    """Agglomerative clustering by cosine distance and average linkage, over distinct vectors."""
    points, row = _distinct(vectors)
    if len(points) == n_clusters == 1:
        return row
    model = AgglomerativeClustering(n_clusters, linkage="average", metric="cosine")
    return model.fit(points).labels_[row]


def _distinct(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different vectors (distinct, d) float64 in order of appearance, and each label's row."""
    _, first, row = np.unique(vectors, axis=0, return_index=True, return_inverse=True)
    return vectors[np.sort(first)].astype(np.float64), pd.factorize(row.reshape(-1))[0]


_FITS = {  # their arguments are the settings
    "mean_shift": _mean_shift,
    "hdbscan": _hdbscan,
    "affinity_propagation": _affinity_propagation,
    "agglomerative": _agglomerative,
}
DECIDING = {
    "mean_shift": ("bandwidth", "quantile"),
    "hdbscan": ("min_cluster_size",),
    "affinity_propagation": ("preference",),
    "agglomerative": ("n_clusters",),
}
"""The settings that decide the number of clusters: one is given, or the rule chooses the first."""


def _grid(method: str, vectors: np.ndarray) -> list[float]:
    """Values to try for a method's first setting in DECIDING."""
    points, _ = _distinct(vectors)
    if len(points) < 2:
        raise ValueError("all labels have the same vector; there is nothing to cluster")
    distances = np.sqrt(np.clip(2 - 2 * points @ points.T, 0, None))  # (distinct, distinct)
    distances = distances[np.triu_indices(len(points), k=1)]  # (pairs,)
    grids = {
        # from the closest pair to the middle pair: nearly all labels apart, to all in one cluster
        "mean_shift": np.linspace(distances.min(), np.median(distances), 14).round(4),
        "hdbscan": np.arange(2, max(2, min(8, len(vectors) // 4)) + 1),
        # multiples of the median similarity (negative squared distance), which is the usual choice
        "affinity_propagation": (-np.median(distances**2) * np.geomspace(3, 0.5, 11)).round(4),
        "agglomerative": np.geomspace(2, max(2, len(points) // 2), 14).round().astype(int),
    }
    return np.unique(grids[method]).tolist()


def _checked(method: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that are not None; two that decide are refused."""
    if method not in _FITS:
        raise ValueError(f"no clustering method {method!r}; there are {', '.join(_FITS)}")
    given = {name: value for name, value in settings.items() if value is not None}
    if len(given.keys() & set(DECIDING[method])) > 1:
        raise ValueError(f"{method}: give one of {' and '.join(DECIDING[method])}, not both")
    return given


def _measured(
    fit: Callable[..., np.ndarray], vectors: np.ndarray, settings: dict, kept: list[np.ndarray]
) -> dict:
    """One row of a sweep: the clusters of all labels, and how they change with those kept only."""
    row = {"labels": len(vectors), "clusters": 0, "singletons": 0, "largest": 0}
    row |= dict.fromkeys(("silhouette", "stability", "stability_low"), np.nan)
    try:
        found = fit(vectors, **settings)
    except NotConvergedError as error:
        warnings.warn(str(error), stacklevel=3)
        return row
    sizes = pd.Series(found).value_counts()
    row |= {"clusters": len(sizes), "singletons": int((sizes == 1).sum()), "largest": sizes.max()}
    if 1 < len(sizes) < len(vectors):
        agreement = [_agreement(fit, vectors[rows], settings, found[rows]) for rows in kept]
        row["silhouette"] = float(silhouette_score(vectors, found, metric="cosine"))
        row["stability"], row["stability_low"] = float(np.mean(agreement)), float(min(agreement))
    return row


def _agreement(
    fit: Callable[..., np.ndarray], vectors: np.ndarray, settings: dict, clusters: np.ndarray
) -> float:
    """Adjusted Rand index of given clusters with those that are found of these vectors alone."""
    if "n_clusters" in settings:
        most = len(np.unique(vectors, axis=0))
        settings = settings | {"n_clusters": min(settings["n_clusters"], most)}
    try:
        return adjusted_rand_score(clusters, fit(vectors, **settings))
    except NotConvergedError:
        return 0.0


_CHOSEN: dict[str, dict] = {}  # what the rule chose in this process, by all that it depends on


def _chosen_setting(embeddings: LabelEmbeddings, method: str) -> dict:
    key = joblib.hash((embeddings.vectors, method))
    if key not in _CHOSEN:
        _CHOSEN[key] = choose_setting(sweep_settings(embeddings, method))
    return dict(_CHOSEN[key])


def _centres(vectors: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """The mean of each cluster's vectors at unit length, (clusters, d) float32."""
    member = np.eye(assignment.max() + 1, dtype=np.float32)[assignment]  # (labels, clusters)
    sums = member.T @ vectors  # (clusters, d)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)  # (clusters, 1)
    # Opposite vectors in one cluster cancel out; then its first label stands for it.
    first = vectors[np.unique(assignment, return_index=True)[1]]  # (clusters, d)
    return np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), first)
