"""From a run to the repository: figures/ and the tables of the README, by one command.

Tables stand in the README between markers that name the profile and the table:
`<!-- begin demo:song_roc_auc -->` … `<!-- end demo:song_roc_auc -->`. A run rewrites those of its
own profile and leaves the others.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mer_utils import storage, tables
from mer_utils.profiles import PROJECT
from mer_utils.runs import Run

Render = Callable[[Run], pd.DataFrame]


def _results(run: Run) -> pd.DataFrame:
    return pd.read_parquet(run.made("tables/results.parquet", "05_zero_shot_evaluation"))


def _paired(run: Run) -> pd.DataFrame:
    table = pd.read_parquet(run.made("tables/paired.parquet", "05_zero_shot_evaluation"))
    cells: dict[str, dict[str, str]] = {}
    for row in table[table["metric"] == "song_roc_auc"].itertuples():
        text = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}], p = {row.p:.3f}"
        cells.setdefault(row.method, {})[row.target] = text
    name = "ROC-AUC minus that of the best alignment method"
    return pd.DataFrame(cells).T.rename_axis(name).fillna("")


TABLES: dict[str, Render] = {
    **{
        metric: lambda run, metric=metric: tables.readable(_results(run), metric)
        for metric in tables.METRICS
    },
    "paper_layout": lambda run: tables.paper_layout(_results(run)).map(
        lambda v: "" if pd.isna(v) else f"{v:.3f}"
    ),
    "paired": _paired,
}


def markdown(table: pd.DataFrame) -> str:
    """A table of text as a Markdown table; the index makes the first columns."""
    flat = table.reset_index()
    names = [str(name) for name in table.index.names]
    flat.columns = [n if n != "None" else "" for n in names] + [str(c) for c in table.columns]
    lines = [list(flat.columns), ["---"] * flat.shape[1], *flat.astype(str).to_numpy().tolist()]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def update_readme(run: Run, readme: Path = PROJECT / "README.md") -> list[str]:
    """Rewrite the tables of the run's profile in the README; returns their names.

    Raises ValueError for a marker without its end, or for a table that there is not.
    """
    text = readme.read_text(encoding="utf-8")
    done = []
    for name in re.findall(rf"<!-- begin {run.profile.name}:(\w+) -->", text):
        if name not in TABLES:
            raise ValueError(f"{readme.name}: no table {name!r}; there are {', '.join(TABLES)}")
        begin, end = (f"<!-- {word} {run.profile.name}:{name} -->" for word in ("begin", "end"))
        if text.count(end) != 1 or text.count(begin) != 1 or text.index(end) < text.index(begin):
            raise ValueError(f"{readme.name}: {begin} needs one {end} after it")
        before, after = text[: text.index(begin)], text[text.index(end) :]
        text = f"{before}{begin}\n{markdown(TABLES[name](run))}\n{after}"
        done.append(name)
    storage.write_text(readme, text)
    return done


def copy_figures(run: Run, folder: Path = PROJECT / "figures") -> list[Path]:
    """Copy the run's figures to figures/<profile>/; figures that no longer exist are removed.

    Raises FileNotFoundError if the run has drawn nothing.
    """
    drawn = sorted(run.made("figures", "01_label_embedding").glob("*.png"))
    if not drawn:
        raise FileNotFoundError(f"{run.path('figures')} is empty: run the notebooks first")
    home = folder / run.profile.name
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("*.png"):
        old.unlink()
    for path in drawn:
        with storage.replacing(home / path.name) as temporary:
            shutil.copyfile(path, temporary)
    return [home / path.name for path in drawn]
