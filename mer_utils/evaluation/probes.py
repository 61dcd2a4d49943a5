"""Probes: what a layer of an encoder knows, told by how well a linear model reads it off.

A probe is a small supervised model on frozen features (Alain & Bengio 2017, "Understanding
intermediate layers using linear classifier probes", arXiv 1610.01644). `probe_layers` reads
numbers, such as the built-in corpus' hidden valence and arousal, by ridge regression; `label_probe`
reads a dataset's labels by logistic regression. A probe learns from the labels that it is scored
on, by cross-validation: it explains features and is never a zero-shot result.

Conventions:
- Features are {layer: (tracks, dim)}, a row a track; all layers have the same tracks.
- Groups (artists) are never split between training and test. R² intervals are the 2.5 and 97.5 % of
  draws of whole groups with replacement, because the errors of one artist's tracks are alike.
- R² is 1 − Σ (y − prediction)² / Σ (y − mean of the training tracks)², sums over all tracks, each
  predicted by a model that did not see it. So 0 is exactly what knowing nothing gets, negative is
  worse than nothing, 1 is perfect.
- Chance is the same probe on points that were dealt out to the tracks anew.
"""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from mer_utils.data.types import Dataset, Features, pool_tracks
from mer_utils.evaluation.chance import supervised_reference
from mer_utils.evaluation.resampling import draw_weights, group_numbers, percentiles
from mer_utils.evaluation.scoring import evaluate
from mer_utils.progress import progress_bar
from mer_utils.sound import audio, cues, musicnn
from mer_utils.sound.encoders import Encoder

PENALTIES = tuple(np.logspace(-1, 6, 15).tolist())
"""Ridge penalties to choose from, for standardised features; each target gets its own."""

CLIP = 5.0
"""Standardised features end here, in standard deviations of the training part."""

POOLINGS = ("mean", "first frame", "middle frame")
"""What `pool_frames` makes of a segment's frames; the paper's code keeps the first."""

Layers = Mapping[Hashable, np.ndarray]


# --- Numbers --------------------------------------------------------------------------------------


def probe_layers(
    layers: Layers,
    points: pd.DataFrame,
    groups: Sequence[Hashable] | None = None,
    **settings: object,
) -> pd.DataFrame:
    """How much of some numbers a linear model reads off each layer, for tracks it has not seen.

    layers: {layer: (tracks, dim)}, finite. Other arguments as for `compare_poolings`.
    Returns a row a layer and target: layer, target, metric ("r2"), value, low, high, chance (mean
    of the shuffles), chance_low, chance_high (their 2.5 and 97.5 %), tracks, groups, dim.
    """
    table = compare_poolings({"": layers}, points, groups, **settings)
    return table.drop(columns=["pooling", "difference", "difference_low", "difference_high"])


def compare_poolings(
    poolings: Mapping[str, Layers],
    points: pd.DataFrame,
    groups: Sequence[Hashable] | None = None,
    *,
    held_out: Sequence[Hashable] | None = None,
    folds: int = 5,
    penalties: Sequence[float] = PENALTIES,
    resamples: int = 1000,
    shuffles: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """What a probe loses by summing up segments in another way; the first pooling is the reference.

    Standardised features (beyond ±`CLIP` deviations clipped) and ridge regression. The penalty is
    chosen inside the training part, by the error on training tracks left out one at a time
    (leaving out groups instead changes R² by no more than .011 on the built-in corpus).

    poolings: {pooling: {layer: (tracks, dim)}}, the same layers in each.
    points: (tracks, targets) the numbers to read, such as columns valence and arousal.
    groups: (tracks,) what folds must not split, such as the artist; None: each track for itself.
    held_out: (tracks,) such as the dataset of each track: then every value is one fold, predicted
        from all others. It asks whether what is read holds elsewhere. None: `folds` folds of
        groups.
    folds: 2 to the number of groups.
    resamples: draws of groups for the interval; shuffles: for the chance band.
    seed: decides folds, draws and shuffles; the same for every layer, so layers can be compared.
    Returns the columns of `probe_layers` and: pooling; difference (R² minus that of the reference)
    with difference_low and difference_high, its 95 % interval from the same draws for both
    (paired).
    Raises ValueError that names the layer or column that does not fit.
    """
    values = points.to_numpy(dtype=np.float64)  # (tracks, targets)
    tracks, targets = values.shape
    constant = [c for c in points if points[c].isna().any() or points[c].nunique() < 2]
    if constant or not values.size:
        raise ValueError(
            f"points of {tracks} tracks: the columns {constant or list(points)} do not vary, "
            "or lack values; there is nothing to read"
        )
    group = group_numbers(groups, tracks)
    parts = _folds(group, held_out, folds, seed)
    weights = np.hstack(list(draw_weights(group, resamples, seed))).T  # (resamples, tracks)
    in_order = np.tile(np.arange(tracks)[:, None], shuffles)  # (tracks, shuffles)
    order = np.random.default_rng((seed, 1)).permuted(in_order, axis=0)
    # All are columns of one problem: they share the decomposition of the features, not the penalty.
    columns = np.hstack([values, values[order].reshape(tracks, -1)])  # of points and shuffles
    first = next(iter(poolings.values()))
    for pooling, layers in poolings.items():
        if list(layers) != list(first):
            raise ValueError(f"{pooling}: the layers {list(layers)}, others have {list(first)}")
    rows = []
    for layer in progress_bar(first, desc="probe", unit="layer", leave=False):
        reference = None
        for pooling, layers in poolings.items():
            features = _checked_layer(layer, layers[layer], tracks)
            predicted, baseline = _out_of_fold(features, columns, parts, penalties)
            own = [a[:, :targets] for a in (predicted, baseline, columns)]
            dealt = [a[:, targets:] for a in (predicted, baseline, columns)]
            found, draws = r_squared(*own), r_squared(*own, weights)  # (targets,), (draws, targets)
            chance = r_squared(*dealt).reshape(shuffles, targets)
            reference = reference or (found, draws)
            read = {
                "value": found,
                **dict(zip(("low", "high"), percentiles(draws), strict=True)),
                "chance": [column.mean() for column in chance.T],
                **dict(zip(("chance_low", "chance_high"), percentiles(chance), strict=True)),
            }
            size = {"tracks": tracks, "groups": int(group.max()) + 1, "dim": features.shape[1]}
            low, high = percentiles(draws - reference[1])
            change = {"difference": found - reference[0]}
            change |= {"difference_low": low, "difference_high": high}
            names = {"pooling": pooling, "layer": layer, "target": points.columns, "metric": "r2"}
            rows.append(pd.DataFrame(names | read | size | change))
    return pd.concat(rows, ignore_index=True)


def r_squared(
    predicted: np.ndarray,
    baseline: np.ndarray,
    points: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """R² of predictions: the share of the baseline's squared error that they do away with.

    predicted, baseline, points: (tracks, targets); baseline is what knowing nothing predicts.
    weights: (draws, tracks) how often each track counts; None: once.
    Returns (targets,), or (draws, targets) with weights.
    """
    error, nothing = (points - predicted) ** 2, (points - baseline) ** 2  # (tracks, targets)
    if weights is None:
        return 1 - error.sum(0) / nothing.sum(0)
    return 1 - (weights @ error) / (weights @ nothing)  # (draws, tracks) @ (tracks, targets)


def _folds(
    group: np.ndarray, held_out: Sequence[Hashable] | None, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training rows and test rows of each fold."""
    if held_out is None:
        return list(GroupKFold(folds, shuffle=True, random_state=seed).split(group, groups=group))
    part = group_numbers(held_out, len(group))
    astride = [g for g in np.unique(group) if len(np.unique(part[group == g])) > 1]
    if astride:
        raise ValueError(
            f"held_out: {len(astride)} groups have more than one of its values; expected each "
            "group inside one"
        )
    return list(LeaveOneGroupOut().split(group, groups=part))


def _out_of_fold(
    features: np.ndarray,
    columns: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    penalties: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the columns, and their training means, for the test rows of each fold."""
    # A unit that hardly ever fires in the training part has next to no deviation there; where it
    # does fire it would outshout all others by hundreds of deviations.
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    model = make_pipeline(StandardScaler(), clip, RidgeCV(penalties, alpha_per_target=True))
    predicted, baseline = np.empty_like(columns), np.empty_like(columns)
    with threadpool_limits(limits=1):  # small problems: threads would wait for one another
        for train, test in parts:
            predicted[test] = model.fit(features[train], columns[train]).predict(features[test])
            baseline[test] = columns[train].mean(0)
    return predicted, baseline


def _checked_layer(layer: Hashable, features: np.ndarray, tracks: int) -> np.ndarray:
    """One layer's features as float64 (tracks, dim)."""
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) != tracks or not np.isfinite(features).all():
        raise ValueError(
            f"layer {layer!r}: features have the shape {features.shape}, expected ({tracks} "
            "tracks, dim) of finite numbers"
        )
    return features


# --- Labels ---------------------------------------------------------------------------------------


def label_probe(
    layers: Layers,
    dataset: Dataset,
    *,
    folds: int = 5,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well a linear model finds a dataset's labels from each layer, for tracks it has not seen.

    `evaluation.supervised_reference` (standardised features, logistic regression, folds of whole
    groups), scored by macro ROC-AUC.
    With few tracks, features that know nothing land below .5 (.46 with 36 tracks, .50 with 120): a
    fold that holds many positives leaves fewer to the model that scores it.

    layers: {layer: (tracks, dim)}, row i for `dataset.tracks.index[i]`.
    Returns a row a layer: layer, target (the dataset's name), metric ("roc_auc"), value, low, high
    (draws of groups), chance, chance_low, chance_high (random scores), tracks, groups, dim, labels
    (in the mean), labels_left_out (names of those that could not be learned or scored).
    Raises ValueError for features that do not fit the dataset.
    """
    groups = dataset.tracks["group"]
    task = {"targets": dataset.targets(), "groups": groups, "label_names": dataset.labels}
    rows = []
    for layer, features in layers.items():
        features = _checked_layer(layer, features, len(dataset))
        with warnings.catch_warnings():
            # Labels too rare to be learned: the table names them.
            warnings.filterwarnings("ignore", ".* get no scores", UserWarning)
            scores = supervised_reference(features, **task, folds=folds, seed=seed)
        draws = {"resamples": resamples, "seed": seed}
        # k is that of the macro-F1, which is not used here
        table = evaluate(scores, **task, k=1, unscored="leave_out", **draws)
        found = table.loc["song_roc_auc"].drop(["k", "seeds", "seed_sd"]).to_dict()
        names = {"layer": layer, "target": dataset.name, "metric": "roc_auc"}
        rows.append(names | found | {"groups": groups.nunique(), "dim": features.shape[1]})
    return pd.DataFrame(rows)


# --- Several datasets -----------------------------------------------------------------------------


def probe_datasets(
    layers: Mapping[str, Layers],
    datasets: Mapping[str, Dataset],
    points: Sequence[str] = (),
    held_out: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Probe the layers of several datasets for numbers, if their tracks have them, or for labels.

    layers: {dataset: {layer: (tracks, dim)}}, rows as in the dataset's tracks.
    points: columns of the tables of tracks, read from all datasets together by `probe_layers`;
        none: each dataset's labels by `label_probe`.
    held_out: only with points: predict each dataset from the others.
    Returns the table of `probe_layers` or of `label_probe`.
    Raises ValueError if a dataset lacks a column.
    """
    settings = {"resamples": resamples, "seed": seed}
    if not points:
        probed = [label_probe(layers[name], d, **settings) for name, d in datasets.items()]
        return pd.concat(probed, ignore_index=True)
    tracks = _joined_tracks(datasets, points)
    settings["held_out"] = tracks["dataset"] if held_out else None
    own = tracks[list(points)]
    return probe_layers(_joined_layers(layers, datasets), own, tracks["group"], **settings)


def probe_poolings(
    poolings: Mapping[str, Mapping[str, Layers]],
    datasets: Mapping[str, Dataset],
    points: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Probe what several datasets' segments are after different poolings.

    poolings: {pooling: {dataset: {layer: (tracks, dim)}}}; the first is the reference.
    points, resamples, seed: as for `probe_datasets`.
    Returns the table of `compare_poolings`, or, for labels, of `label_probe` with a column pooling
    and no differences.
    """
    settings = {"resamples": resamples, "seed": seed}
    if not points:
        probed = [
            probe_datasets(layers, datasets, **settings).assign(pooling=pooling)
            for pooling, layers in poolings.items()
        ]
        return pd.concat(probed, ignore_index=True)
    tracks = _joined_tracks(datasets, points)
    joined = {pooling: _joined_layers(layers, datasets) for pooling, layers in poolings.items()}
    return compare_poolings(joined, tracks[list(points)], tracks["group"], **settings)


def _joined_tracks(datasets: Mapping[str, Dataset], points: Sequence[str]) -> pd.DataFrame:
    """The tables of tracks below one another, with a column dataset; groups kept apart."""
    for name, dataset in datasets.items():
        missing = [column for column in points if column not in dataset.tracks]
        if missing:
            raise ValueError(
                f"{name}: its tracks have no columns {missing}; leave points out to probe for "
                "labels instead"
            )
    parts = [
        dataset.tracks.assign(dataset=name, group=[(name, g) for g in dataset.tracks["group"]])
        for name, dataset in datasets.items()
    ]
    return pd.concat(parts)


def _joined_layers(layers: Mapping[str, Layers], datasets: Mapping[str, Dataset]) -> Layers:
    """{layer: (all tracks, dim)}, datasets in their order."""
    first = layers[next(iter(datasets))]
    return {layer: np.concatenate([layers[name][layer] for name in datasets]) for layer in first}


# --- Features to probe ----------------------------------------------------------------------------


def some_tracks(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """At most `count` of a dataset's tracks, drawn at random, in their order.

    `source` of the result names the draw, so that its features get a store of their own.
    """
    if count >= len(dataset):
        return dataset
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:count])
    source = {**dataset.source, "drawn": {"tracks": count, "of": len(dataset), "seed": seed}}
    return replace(dataset, tracks=dataset.tracks.iloc[rows], source=source)


def track_layers(
    features: Features, dataset: Dataset, tracks: Sequence[str] | None = None
) -> dict[Hashable, np.ndarray]:
    """The mean of each track's segments, by layer: {layer: (tracks, dim) float32}.

    features: of all of the dataset; tracks: the ids wanted, in this order; None for all.
    Errors as in `data.pool_tracks`; ValueError for a track that the dataset does not have.
    """
    values = pool_tracks(features, dataset)  # (tracks, layers, dim)
    if tracks is not None:
        rows = dataset.tracks.index.get_indexer(list(tracks))
        if (rows < 0).any():
            strange = [track for track, row in zip(tracks, rows, strict=True) if row < 0]
            raise ValueError(
                f"{dataset.name}: has no tracks {strange[:3]} ({len(strange)} of them)"
            )
        values = values[rows]  # (chosen tracks, layers, dim)
    return split_layers(values, features.encoder["layers"])


def split_layers(values: np.ndarray, layers: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """An encoder's output as {layer: (rows, dim)}.

    values: (rows, layers, dim); layers: their numbers or names, from `Encoder.layers`.
    musicnn's "all" becomes its three parts in the order of the network, the tags on a logarithmic
    scale (`sound.musicnn.log_tags`); "all+cues" has the measured cues as a fourth
    (`sound.cues.PARTS`).
    Raises ValueError if the numbers of layers differ.
    """
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 3 or values.shape[1] != len(layers):
        raise ValueError(
            f"values have the shape {values.shape}, expected (rows, {len(layers)} layers, dim) for "
            f"the layers {list(layers)}"
        )
    if list(layers) not in (["all"], [cues.LAYER]):
        return {layer: values[:, i] for i, layer in enumerate(layers)}
    there = ("pooled", "penultimate", "tags", "cues")  # in the order of the network
    there = there[: 3 if list(layers) == ["all"] else 4]
    parts = {part: values[:, 0, cues.PARTS[part]] for part in there}
    return parts | {"tags": musicnn.log_tags(parts["tags"])}


def mean_spectra(dataset: Dataset) -> np.ndarray:
    """What can be had without any network: the mean over time of each track's mel spectrogram.

    Returns (tracks, 96) float32, `sound.musicnn.log_mel` of the whole track. Errors as in
    `pool_frames`.
    """
    bands = musicnn.mel_bands()  # (mel bands, FFT bins)
    means = []
    for path in progress_bar(_paths(dataset), desc=f"spectra {dataset.name}", unit="track"):
        waveform = torch.from_numpy(audio.read(path, musicnn.SAMPLE_RATE))
        means.append(musicnn.log_mel(waveform, bands).mean(0).numpy())  # (frames, 96) -> (96,)
    return np.stack(means)


def pool_frames(encoder: Encoder, dataset: Dataset) -> dict[str, np.ndarray]:
    """Encode one segment of every track frame by frame, and sum its frames up in several ways.

    The segment is the middle one of a track, so that no fade-in is to blame for what a first frame
    lacks. musicnn's frames are windows of 3 s.

    Returns {pooling: (tracks, layers, dim) float32} for `POOLINGS`, rows as in the dataset.
    Raises AudioError for a track that cannot be read, ValueError for one without an audio file.
    """
    pooled: dict[str, list[np.ndarray]] = {pooling: [] for pooling in POOLINGS}
    for path in progress_bar(_paths(dataset), desc=f"frames {dataset.name}", unit="track"):
        waveform = audio.read(path, encoder.sample_rate)
        segments = audio.segments(waveform, encoder.sample_rate, encoder.segment_seconds)
        frames = encoder.frames(segments[len(segments) // 2])  # (layers, frames, dim)
        kept = (frames.mean(1), frames[:, 0], frames[:, frames.shape[1] // 2])
        for pooling, values in zip(POOLINGS, kept, strict=True):
            pooled[pooling].append(values)
    return {pooling: np.stack(rows) for pooling, rows in pooled.items()}  # (tracks, layers, dim)


def _paths(dataset: Dataset) -> list[str]:
    """The audio files of all tracks; ValueError if some have none."""
    without = dataset.tracks.index[dataset.tracks["audio"].isna()]
    if len(without):
        raise ValueError(
            f"{dataset.name}: {len(without)} of {len(dataset)} tracks have no audio file, first: "
            f"{without[0]}; put the files in place or leave these tracks out"
        )
    return dataset.tracks["audio"].tolist()
