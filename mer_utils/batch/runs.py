"""A run: one folder that holds what a pass through the notebooks made.

    run.json          profile, parameters, versions, machine, times
    notebooks/        executed notebooks, with outputs, as .ipynb and .html
    labels/, study/   label vectors, clusters; models and scores
    tables/, figures/ results

Notebooks hand results to one another only through these files and the cache (`storage.CACHE`), in
both of which a thing is named by what made it.
"""

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import create_model

from mer_utils import storage
from mer_utils.batch import profiles
from mer_utils.batch.profiles import Profile

RECORD = create_model("run.json", profile=str)  # what is read of it
RECORD_LOCK = ".run.json.lock"
VERSIONS_OF = ("mer-utils", "torch", "transformers", "sentence-transformers", "scikit-learn")
VERSIONS_OF += ("hdbscan", "numpy", "pandas", "papermill")


class NotebookError(RuntimeError):
    """A notebook failed; the message names the notebook and the cell."""


@dataclass(frozen=True)
class Run:
    """A run folder and the profile that it belongs to."""

    folder: Path
    profile: Profile

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def made(self, pattern: str, notebook: str) -> list[Path]:
        """The files that an earlier notebook makes, sorted; FileNotFoundError says which to run.

        pattern: path inside the run folder, of one file or with a *; notebook: what makes it.
        """
        found = sorted(self.folder.glob(pattern))
        if not found:
            first = f"run notebook {notebook} first, with profile {self.profile.name!r}"
            raise FileNotFoundError(f"{pattern} is not in {self.folder} yet: {first}")
        return found


def run_folder(profile: str, out: str | Path = "") -> Path:
    """Where a run of a profile lies: `out`, relative to the project, or runs/<profile>."""
    return profiles.PROJECT / (Path(out) if str(out) else Path("runs") / profile)


def check_folder(profile: str, out: str | Path = "") -> None:
    """Raise ValueError for a folder with files of the user's, among which no run is to be made."""
    folder = run_folder(profile, out)
    there = [path.name for path in folder.glob("*") if not path.name.startswith(".")]
    if there and "run.json" not in there:
        raise ValueError(f"{folder} holds something other than a run ({there[0]!r}); give another")


def open_run(profile: str = "demo", out: str | Path = "", encoder: str = "", csv: str = "") -> Run:
    """Open a run folder, making it if it is not there; ValueError if it is of another profile.

    out: the folder, relative to the project from wherever one asks; runs/<profile> if empty.
    encoder, csv: what differs from the profile (`profiles.choose`).
    """
    chosen = profiles.choose(profile, encoder, csv)
    folder = run_folder(profile, out)
    record = folder / "run.json"
    if not record.is_file():
        with storage.locked(folder, RECORD_LOCK):
            if not record.is_file():  # nor written meanwhile, with facts
                storage.write_json(record, {"profile": profile, **provenance()})
    there = storage.read_json(record, RECORD, "give another folder")["profile"]
    if there != profile:
        raise ValueError(f"{folder} holds a run of {there!r}, not {profile!r}; give another")
    return Run(folder, chosen)


def reopen(folder: str | Path) -> Run:
    """Open an existing run folder, of whatever profile; FileNotFoundError if it is none."""
    record = profiles.PROJECT / folder / "run.json"
    if not record.is_file():
        raise FileNotFoundError(
            f"{record.parent} is not a run: no run.json; `make notebooks` first"
        )
    return open_run(storage.read_json(record, RECORD)["profile"], record.parent)


def save_table(run: Run, name: str, table: pd.DataFrame) -> None:
    """Write a result as tables/<name>.csv, to read, and .parquet, to compute with."""
    storage.write_table(run.path("tables", f"{name}.parquet"), table)
    storage.write_table(run.path("tables", f"{name}.csv"), table)


def provenance() -> dict:
    """Versions and machine, for the record of a run."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS_OF},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def note(run: Run, **facts: object) -> None:
    """Add facts to the run's record (run.json), replacing those of the same name."""
    record = run.path("run.json")
    with storage.locked(run.folder, RECORD_LOCK):
        storage.write_json(record, storage.read_json(record) | facts)
