"""Are the numbers the same as before? Compares the tables of two run folders.

    git worktree add ../before <commit>, run a profile there and here on the same machine, then
    python benchmarks/same_numbers.py ../before/runs/smoke runs/smoke

Says of every table whether it is identical, else its largest relative difference; exits with 1 if a
table differs or is missing. Numbers that random MERT networks give are rounded otherwise
by one thread than by several (pooling.csv).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def difference(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """What differs between two tables, in words; nothing if they are the same."""
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        return f"{before.shape} before, {after.shape} after, or other columns"
    numbers = before.select_dtypes("number").columns.intersection(
        after.select_dtypes("number").columns
    )
    texts = [column for column in before.columns if column not in numbers]
    changed = [column for column in texts if not before[column].equals(after[column])]
    if changed:
        return f"other entries in {', '.join(changed)}"
    one, two = before[numbers].to_numpy(float), after[numbers].to_numpy(float)  # (rows, columns)
    if (np.isnan(one) != np.isnan(two)).any():
        return "values are missing in other places"
    scale = np.fmax(np.abs(one), np.abs(two))
    apart = np.divide(np.abs(one - two), scale, out=np.zeros_like(one), where=scale > 0)
    largest = np.nanmax(apart, initial=0.0)
    return f"largest relative difference {largest:.1e}" if largest else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    folders = parser.parse_args()
    tables = {path.name for path in folders.before.glob("tables/*.csv")}
    if not tables:
        parser.error(f"{folders.before}: no tables/*.csv; give the folder of a finished run")
    other = 0
    for name in sorted(tables | {path.name for path in folders.after.glob("tables/*.csv")}):
        both = [folder / "tables" / name for folder in (folders.before, folders.after)]
        missing = [str(path) for path in both if not path.is_file()]
        said = f"missing: {missing[0]}" if missing else ""
        if not missing and both[0].read_bytes() != both[1].read_bytes():
            said = difference(*map(pd.read_csv, both)) or "written otherwise, the same values"
        other += bool(said)
        print(f"{name:32} {said or 'identical'}")
    raise SystemExit(other > 0)


if __name__ == "__main__":
    main()
