"""Probes: what a layer of an encoder knows, told by how well a linear model reads it off.

A probe is a small supervised model on frozen features (Alain & Bengio 2017, "Understanding
intermediate layers using linear classifier probes", arXiv 1610.01644): ridge regression onto
numbers, such as the built-in corpus' hidden valence and arousal, logistic regression onto labels.
It learns from what it is scored on, by cross-validation: it explains features and is never a
zero-shot result.

Conventions:
- Groups (artists) are never split between training and test. R² intervals are the 2.5 and 97.5 % of
  draws of whole groups with replacement, because the errors of one artist's tracks are alike.
- R² is 1 − Σ (y − prediction)² / Σ (y − mean of the training tracks)², sums over all tracks, each
  predicted by a model that did not see it: 0 is exactly what knowing nothing gets.
- Chance is the same probe on points that were dealt out to the tracks anew.
"""

import warnings
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from mer_utils.data.types import Dataset
from mer_utils.evaluation.chance import supervised_reference
from mer_utils.evaluation.resampling import draw_weights, group_numbers, percentiles
from mer_utils.evaluation.scoring import evaluate
from mer_utils.progress import progress_bar

PENALTIES = tuple(np.logspace(-1, 6, 15).tolist())
"""Ridge penalties to choose from, for standardised features; each target gets its own."""

CLIP = 5.0
"""Standardised features end here, in standard deviations of the training part."""

FOLDS = 5
SHUFFLES = 100  # for the chance band

Layers = Mapping[Hashable, np.ndarray]


def probe(
    layers: Mapping[str, Layers],
    datasets: Mapping[str, Dataset],
    points: Sequence[str] = (),
    held_out: bool = False,
    reference: Mapping[str, Layers] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """What a linear model reads off each layer, for tracks that it has not seen.

    Standardised features (beyond ±`CLIP` deviations clipped) and ridge regression. The penalty is
    chosen inside the training part, by the error on training tracks left out one at a time
    (leaving out groups instead changes R² by no more than .011 on the built-in corpus).

    layers: {dataset: {layer: (tracks, dim)}}, rows as in the dataset's tracks.
    points: columns of the tables of tracks, numbers to read from all datasets together; none: each
        dataset's labels by `label_probe`.
    held_out: predict each dataset's points from the others: does what is read hold elsewhere?
    reference: the same layers in another form; each layer is compared with its own there.
    seed: decides folds, draws and shuffles; the same for every layer, so layers can be compared.
    Returns a row a layer and target: layer, target, metric ("r2"), value, low, high, chance (mean
    of the shuffles), chance_low, chance_high (their 2.5 and 97.5 %), tracks, groups, dim; with a
    reference also difference (R² minus that of the reference) with difference_low and
    difference_high, its 95 % interval (paired); or the table of `label_probe`.
    Raises ValueError for layers of other tracks, or points that lack values or do not vary.
    """
    if not points:
        probed = [label_probe(layers[name], d, resamples, seed) for name, d in datasets.items()]
        return pd.concat(probed, ignore_index=True)
    values = pd.concat([d.tracks[list(points)] for d in datasets.values()])
    values = values.to_numpy(dtype=np.float64)  # (tracks, targets)
    if np.isnan(values).any() or (np.ptp(values, axis=0) == 0).any():
        raise ValueError(f"a column of {list(points)} lacks values or does not vary")
    owner = np.repeat(range(len(datasets)), [len(d) for d in datasets.values()])
    group = [(name, g) for name, d in datasets.items() for g in d.tracks["group"]]
    group = group_numbers(group, len(values))
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(values, groups=group)
    parts = list(LeaveOneGroupOut().split(values, groups=owner) if held_out else folds)
    weights = np.hstack(list(draw_weights(group, resamples, seed))).T  # (resamples, tracks)
    tracks, targets = values.shape
    in_order = np.tile(np.arange(tracks)[:, None], SHUFFLES)  # (tracks, shuffles)
    order = np.random.default_rng((seed, 1)).permuted(in_order, axis=0)
    # All are columns of one problem: they share the decomposition of the features, not the penalty.
    columns = np.hstack([values, values[order].reshape(tracks, -1)])  # of points and shuffles

    def read(form: Mapping[str, Layers], layer: Hashable) -> tuple[np.ndarray, ...]:
        """R² (targets,), in draws (draws, targets), of shuffles (shuffles, targets), and dim."""
        features = np.concatenate([form[name][layer] for name in datasets]).astype(np.float64)
        if len(features) != tracks:
            raise ValueError(f"layer {layer!r}: {len(features)} rows for {tracks} tracks")
        predicted, baseline = _out_of_fold(features, columns, parts)
        own = [a[:, :targets] for a in (predicted, baseline, columns)]
        dealt = [a[:, targets:] for a in (predicted, baseline, columns)]
        chance = r_squared(*dealt).reshape(SHUFFLES, targets)
        return r_squared(*own), r_squared(*own, weights), chance, features.shape[1]

    rows = []
    for layer in progress_bar(next(iter(layers.values())), desc="probe", unit="layer", leave=False):
        found, draws, chance, dim = read(layers, layer)
        row = {"layer": layer, "target": list(points), "metric": "r2", "value": found}
        row["low"], row["high"] = percentiles(draws)
        row["chance"] = [column.mean() for column in chance.T]
        row["chance_low"], row["chance_high"] = percentiles(chance)
        row |= {"tracks": tracks, "groups": int(group.max()) + 1, "dim": dim}
        if reference:
            there, draws_there, *_ = read(reference, layer)
            row["difference"] = found - there
            row["difference_low"], row["difference_high"] = percentiles(draws - draws_there)
        rows.append(pd.DataFrame(row))
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


def _out_of_fold(
    features: np.ndarray, columns: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the columns, and their training means, for the test rows of each fold."""
    # A unit that hardly ever fires in the training part has next to no deviation there; where it
    # does fire it would outshout all others by hundreds of deviations.
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    model = make_pipeline(StandardScaler(), clip, RidgeCV(PENALTIES, alpha_per_target=True))
    with threadpool_limits(limits=1):  # small problems: threads would wait for one another
        predicted, baseline = (
            cross_val_predict(each, features, columns, cv=parts)
            for each in (model, DummyRegressor())
        )
    return predicted, baseline


def label_probe(
    layers: Layers, dataset: Dataset, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How well a linear model finds a dataset's labels from each layer, for tracks it has not seen.

    `evaluation.supervised_reference`, scored by macro ROC-AUC. With few tracks, features that know
    nothing land below .5 (.46 with 36 tracks, .50 with 120): a fold with many positives leaves few.

    layers: {layer: (tracks, dim)}, row i for `dataset.tracks.index[i]`.
    Returns a row a layer: layer, target (the dataset's name), metric ("roc_auc"), groups, dim, and
    the columns of `evaluation.evaluate` but k and seeds.
    """
    groups = dataset.tracks["group"]
    task = {"targets": dataset.targets(), "groups": groups, "label_names": dataset.labels}
    rows = []
    for layer, features in layers.items():
        features = np.asarray(features, dtype=np.float64)
        with warnings.catch_warnings():
            # Labels too rare to be learned: the table names them.
            warnings.filterwarnings("ignore", ".* get no scores", UserWarning)
            scores = supervised_reference(features, **task, seed=seed)
        draws = {"resamples": resamples, "seed": seed, "unscored": "leave_out"}
        table = evaluate(scores, **task, k=1, **draws)  # k is of the macro-F1, not used here
        found = table.loc["song_roc_auc"].drop(["k", "seeds", "seed_sd"]).to_dict()
        names = {"layer": layer, "target": dataset.name, "metric": "roc_auc"}
        rows.append(names | found | {"groups": groups.nunique(), "dim": features.shape[1]})
    return pd.DataFrame(rows)
