"""From a run to the repository: figures/ and the tables of README and docs/results.md.

`figures/<profile>/` holds a run's figures and, as CSV, the tables behind the text. There they stand
between markers, `<!-- begin demo:song_roc_auc -->` and `<!-- end demo:song_roc_auc -->`, rendered
from the CSV files, so anybody can check them without a run. The model in the package is that of a
run, too.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from mer_utils import storage
from mer_utils.batch.profiles import PROJECT
from mer_utils.batch.runs import Run
from mer_utils.evaluation import tables
from mer_utils.evaluation.tables import markdown, plain
from mer_utils.predict import zero_shot

FIGURES = PROJECT / "figures"
TEXTS = (PROJECT / "README.md", PROJECT / "docs" / "results.md")
PAPERS = ("baseline 1 (labels)", "alignment contrast λ=1")
IN_SHORT = (*PAPERS, *(f"{row}, larger model" for row in PAPERS), "word anchors")
IN_SHORT += ("supervised reference", "chance: random scores")
IN_SHORT += ("chance: shuffled labels, all methods", "tracks, labels")
ENOUGH = 19  # shufflings to be worth a word
SOMETIMES = ("results_test_part",)  # of the profile paper
MODEL_OF = "real"  # the profile whose model comes with the package
MODEL = ("README.md", "projector.safetensors", *zero_shot.REFERENCE_FILES, "config.json")

Render = Callable[[Path], pd.DataFrame | str]  # from the folder of the CSV files


def _results(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])


def _wide(
    folder: Path, file: str, rows: str, name: str, text: Callable[[pd.Series], str]
) -> pd.DataFrame:
    """A row a value of a column (or of two, "model, style"), a column a target, texts in cells."""
    table = pd.read_csv(folder / f"{file}.csv")
    if "metric" in table:
        table = table.query("metric == 'song_roc_auc'")
    table[rows] = table[rows.split(", ")].agg(", ".join, axis=1)
    table["text"] = table.apply(text, axis=1)
    wide = table.pivot_table("text", rows, "target", aggfunc="first", sort=False)
    return wide.fillna("").rename_axis(name).rename_axis(None, axis=1)


def _with_interval(row: pd.Series) -> str:
    return tables.with_interval(row["value"], row["low"], row["high"])


def _difference(row: pd.Series) -> str:
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    return f"{tables.with_interval(row['difference'], row['low'], row['high'], '+')}, {p}"


def _with_words(row: pd.Series) -> str:
    return f"{_with_interval(row)}, {row['words']} words of {row['training_tracks']} tracks"


def _accuracy(row: pd.Series) -> str:
    return f"{row['balanced_accuracy']:.2f} (chance {row['chance']:.2f})"


def _path_says(folder: Path) -> str:
    lines = []
    for target, part in pd.read_csv(folder / "path.csv").groupby("target", sort=False):
        beyond = part[part["p_holm"] < 0.05]
        steps = ", ".join(
            f"*{plain(row.step)}* ({row.difference:+.3f})" for row in beyond.itertuples()
        )
        first, last = part["value"].iloc[[0, -1]]
        lines.append(
            f"- {plain(target)}: from {first:.3f} to {last:.3f}. Steps that are beyond luck: "
            f"{steps or 'none'}."
        )
    return "\n".join(lines)


def _named(row: pd.Series) -> str:
    return f"*{plain(row['method'])}*, {_with_interval(row)}"


def _says(folder: Path) -> str:
    """What a run found, a line a target, in sentences that its own table makes true."""
    table = _results(folder)
    made = table.query("metric == 'song_roc_auc' and shuffled.notna()")
    made = made[~made["method"].str.endswith("words stay")]  # is not strict
    lines = []
    for row in tables.beyond_chance(table).itertuples():
        part = made[made["target"] == row.Index]
        part = part.sort_values("value", ascending=False, kind="stable")
        of_paper = part[part["method"].str.startswith(("baseline", "alignment"))]
        best = part.iloc[0]
        said = f"- {plain(row.Index)}: best zero-shot row is {_named(best)}"
        if best.get("shuffles", 0) >= ENOUGH:
            reached, of = int(best["reached"]), int(best["shuffles"])
            said += f" (trainings on shuffled labels that reach it: {reached} of {of})"
        if len(of_paper):
            said += f"; best of the paper's {len(of_paper)} rows is {_named(of_paper.iloc[0])}"
        said += " (both picked on the target)" if len(of_paper) else " (picked on the target)"
        beyond = f"{row.beyond} of {row.methods} methods are beyond both chance levels"
        lines.append(f"{said}. {beyond} ({row.bar:.3f}).")
    return "\n".join(lines)


def _ablation(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "ablation.csv", index_col=0).map("{:.3f}".format)


def _readable(folder: Path, metric: str) -> pd.DataFrame:
    return tables.readable(_results(folder), metric)


def _short(folder: Path) -> pd.DataFrame:
    """A few rows for who has a minute: the paper's method, ours, and what they are held against."""
    return _readable(folder, "song_roc_auc").query("index in @IN_SHORT")


MINUS = "ROC-AUC minus that of {}, p corrected by Holm"
STEP = "song ROC-AUC (change from the step before [95 %], p corrected by Holm)"
APART = "which dataset is a track of? balanced accuracy"
WIDE = (  # name, rows, what stands above them, a cell's text
    ("paired", "method", MINUS.format("the best alignment"), _difference),
    ("path", "step", STEP, lambda row: row["text"]),
    ("texts", "model, style", "language model, text of a label", _with_interval),
    ("training_sets", "trained_on", "trained on", _with_words),
    ("ears", "heard", "heard", _with_interval),
    ("datasets_apart", "method", APART, _accuracy),
    ("alignments", "method", MINUS.format("baseline 1, larger model"), _difference),
)
COPIED = ("results", "ablation", "learning_curve", *(name for name, *_ in WIDE))
TABLES: dict[str, Render] = {
    **{metric: partial(_readable, metric=metric) for metric in tables.METRICS},
    **{x: partial(_wide, file=x, rows=rows, name=name, text=f) for x, rows, name, f in WIDE},
    "short": _short,
    "path_says": _path_says,
    "says": _says,
    "ablation": _ablation,
}


def update_text(profile: str, file: Path, figures: Path = FIGURES) -> list[str]:
    """Rewrite the tables of a profile in a Markdown file; returns their names.

    Raises ValueError for a marker without its end, or for a table that there is not.
    """
    text = file.read_text(encoding="utf-8")
    done = []
    for name in re.findall(rf"<!-- begin {profile}:(\w+) -->", text):
        if name not in TABLES:
            raise ValueError(f"{file.name}: no table {name!r}; there are {', '.join(TABLES)}")
        before, after = around(text, f"{profile}:{name}", file)
        made = TABLES[name](figures / profile)
        made = made if isinstance(made, str) else markdown(made)
        text = f"{before}\n{made}\n{after}"
        done.append(name)
    storage.write_text(file, text)
    return done


def around(text: str, mark: str, file: Path) -> tuple[str, str]:
    """What stands up to `<!-- begin mark -->` and from `<!-- end mark -->` on, with the two.

    file: that the text is of, for the ValueError unless each is there once and in this order.
    """
    begin, end = (f"<!-- {word} {mark} -->" for word in ("begin", "end"))
    if text.count(end) != 1 or text.count(begin) != 1 or text.index(end) < text.index(begin):
        raise ValueError(f"{file}: {begin} is wanted once, and one {end} after it")
    return text[: text.index(begin)] + begin, text[text.index(end) :]


def copy_tables(run: Run, folder: Path = FIGURES) -> list[Path]:
    """Copy the tables that the texts are made from to figures/<profile>/.

    Raises FileNotFoundError that says which notebook to run.
    """
    made = [run.made(f"tables/{name}.csv", "05_zero_shot_evaluation")[0] for name in COPIED]
    others = [run.path("tables", f"{name}.csv") for name in SOMETIMES]
    return _copy([*made, *(path for path in others if path.is_file())], folder / run.profile.name)


def copy_figures(run: Run, folder: Path = FIGURES) -> list[Path]:
    """Copy the run's figures to figures/<profile>/.

    A warning names figures that the run did not draw.
    Raises FileNotFoundError if the run has drawn nothing.
    """
    copied = _copy(run.made("figures/*.png", "01_label_embedding"), folder / run.profile.name)
    others = sorted({*copied[0].parent.glob("*.png")} - {*copied})
    if others:
        names = ", ".join(path.name for path in others)
        warnings.warn(f"figures that are not of this run, out of date?: {names}", stacklevel=2)
    return copied


def copy_model(run: Run, folder: Path = zero_shot.RELEASED) -> int:
    """Copy a run's model into the package, the config last; returns its size in bytes.

    Raises FileNotFoundError that says which notebook to run, ValueError for a model that is not to
    be given away: it names its tracks, or was trained on other data than the profile's.
    """
    made = [run.made(f"model/{name}", "06_your_own_music")[0] for name in MODEL]
    model, reference = zero_shot.load_released(run.folder)
    if reference.tracks["labels"].any():
        raise ValueError(f"{made[0].parent} names its tracks; release it with anonymous=True")
    if tuple(model.about["labels"]) != run.profile.datasets:
        found = ", ".join(model.about["labels"])
        raise ValueError(f"{made[0].parent} was trained on {found}, not {run.profile.datasets}")
    _copy(made, folder)
    return sum(path.stat().st_size for path in made)


def _copy(files: Sequence[Path], folder: Path) -> list[Path]:
    for file in files:
        storage.copy_file(file, folder / file.name)
    return [folder / file.name for file in files]
