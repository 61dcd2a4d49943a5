"""A table of results for a paper, in LaTeX; the paper has to load the package booktabs."""

import pandas as pd

from mer_utils.evaluation.tables import METRICS, readable

STARS = {"***": 0.001, "**": 0.01, "*": 0.05}  # for a corrected p below
ESCAPED = {sign: f"\\{sign}" for sign in "&%$#_{}"}
ESCAPED |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
ESCAPED |= {"<": "$<$", ">": "$>$", "±": r"$\pm$", "−": "$-$", "λ": r"$\lambda$"}
LAYOUT = {"environment": "table*", "position_float": "centering", "hrules": True}


def latex_table(
    results: pd.DataFrame,
    paired: pd.DataFrame | None = None,
    metric: str = "song_roc_auc",
    against: str | None = None,
    label: str = "tab:results",
) -> str:
    """One metric for a paper: rows methods, then references and chance levels; columns targets.

    results: of `tables.results_table`, perhaps with the rows of `tables.reference_table`. The best
        method of each target is bold; references, and rows that keep the target's words, never are.
    paired: of `tables.compare_all` or `compare_with_alignment`. A method that differs beyond luck
        from the one it was compared with gets stars: raised if it is better, lowered if worse.
    against: the name of that one, where `paired` compares with several.
    label: what the paper refers to the table by.
    Returns the environment table* as text; ValueError for another metric, and if nothing was
    compared with `against`.
    """
    if metric not in {*METRICS} & {*results["metric"]}:
        there = ", ".join(results["metric"].unique())
        raise ValueError(f"no metric {metric!r} in these results; there are {there}")
    rows = results[results["metric"] == metric]
    methods = rows["reference"].isna() if "reference" in rows else rows["value"].notna()
    competes = methods & ~rows["method"].str.endswith("words stay")
    best = rows[competes].groupby("target")["value"].max().round(3)
    marks, note = ({}, "") if paired is None else _stars(paired, metric, against)
    text = readable(results, metric).map(escaped)
    for row, may_win in zip(rows.itertuples(), competes, strict=True):
        value, interval = text.loc[row.method, row.target].split(" ", 1)
        if may_win and round(row.value, 3) == best[row.target]:
            value = rf"\textbf{{{value}}}"
        mark = marks.get((row.method, row.target), "")
        text.loc[row.method, row.target] = f"{value} {interval}{mark}"
    sizes = "; ".join(f"{target} {size}" for target, size in text.iloc[-1].items())
    caption = (
        f"{METRICS[metric]} [95 % interval over tracks and seeds] ±deviation over seeds. "
        f"Tracks, labels: {sizes}. Bold: the highest zero-shot row without the target's "
        f"words in training, picked on the target.{note}"
    )
    ruled = {*rows["method"][~methods][:1], "chance: random scores"}
    names = [("\\midrule\n" if name in ruled else "") + escaped(name) for name in text.index]
    text = text.set_axis(names).rename(columns=escaped).iloc[:-1]  # the last: tracks, labels
    text = text.rename_axis("method").reset_index()
    form = {"column_format": "l" * text.shape[1], "caption": escaped(caption), "label": label}
    table = text.style.hide(axis="index").to_latex(**form, **LAYOUT)
    return table.replace(
        "\\centering", "\\centering\n\\footnotesize\\setlength{\\tabcolsep}{3pt}", 1
    )


def escaped(text: str) -> str:
    """A text as LaTeX has to be given it, to print it as it stands here."""
    return text.translate(str.maketrans(ESCAPED))


def _stars(paired: pd.DataFrame, metric: str, against: str | None) -> tuple[dict, str]:
    """The stars by method and target, and what the caption says of them."""
    rows = paired[paired["metric"] == metric]
    chosen = rows if against is None else rows[rows["against"] == against]
    if chosen.empty or chosen.duplicated(["method", "target"]).any():
        there = ", ".join(map(repr, rows["against"].unique()))
        raise ValueError(
            f"against is {against!r}; by {metric} methods are compared with {there}; name one"
        )
    marks = {}
    for row in chosen.itertuples():
        stars = next((stars for stars, level in STARS.items() if row.p_holm < level), "")
        place = "^" if row.difference > 0 else "_"
        marks[row.method, row.target] = f"${place}{{{stars}}}$" if stars else ""
    pairs = chosen.groupby("against", sort=False)["target"].unique()
    named = "; ".join(f"{name} ({', '.join(targets)})" for name, targets in pairs.items())
    levels = ", ".join(f"{stars} p < {level}" for stars, level in reversed(STARS.items()))
    levels += f", by Holm for {len(rows)} comparisons"
    return marks, f" Against {named}: {levels}; raised: better, lowered: worse."
