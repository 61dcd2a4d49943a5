"""Mulan's CAL500 and emotions: labels with features, no audio."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils.data import reading
from mer_utils.data.types import Dataset, Features, label_tuples, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names

_TOP_K = {"cal500": 4, "emotions": 2}  # the paper's, and the mean labels a track
_COLUMN = re.compile(
    r"(mean|std)_acc\d+_(mean|std)_mem\d+_(centroid|rolloff|flux|mfcc_?\d+)(?:_power_.*)?"
)
MULAN_COLUMNS = tuple(
    f"{track}-{window}-{feature}"
    for track in ("mean", "std")
    for window in ("mean", "std")
    for feature in ("centroid", "rolloff", "flux", *(f"mfcc{i}" for i in range(13)))
)


def load_mulan(path: str | Path) -> tuple[Dataset, Features]:
    """Read Mulan's CAL500.arff or emotions.arff: real songs with labels and features, no audio.

    Source: Mulan (Tsoumakas et al., JMLR 2011). CAL500: 502 songs, 18 emotion words (Turnbull et
    al., IEEE TASLP 2008). emotions: 593 songs, 6 labels (Trohidis et al., "Multi-Label
    Classification of Music into Emotions", ISMIR 2008).
    Licence: none is stated with the files.
    Download: https://mulan.sourceforge.net/datasets-mlc.html

    The features are the 64 Marsyas timbre columns that both files have, in one order for both
    (MULAN_COLUMNS: "statistic over the track - statistic over a memory of 40 frames - feature";
    features: spectral centroid, rolloff, flux and 13 MFCC).

    path: the ARFF file. Which of the two it is, is seen by its label columns.
    Returns the dataset ("cal500" or "emotions"; tracks "cal500-001" ... in the order of the file,
    audio None, split None, every track its own group) and its features (tracks, 1 layer, 64).
    Raises ValueError or FileNotFoundError, naming the file.
    """
    path = Path(path)
    table = _read_arff(path).rename(columns=_meaning)
    spelled = {n: [reading.letters(label.official) for label in VOCABULARIES[n]] for n in _TOP_K}
    name = max(spelled, key=lambda name: len({*spelled[name]} & {*table}))
    wanted = [*spelled[name], *MULAN_COLUMNS]
    reading.need(path, f"columns of Mulan's {name}", wanted, table)
    reading.no_duplicates(path, "columns", [column for column in table if column in wanted])
    present = table[spelled[name]]
    values = table[list(MULAN_COLUMNS)].to_numpy(dtype=np.float32)  # (tracks, 64)
    if not present.isin([0, 1]).all(axis=None) or not np.isfinite(values).all():
        raise ValueError(f"{path}: labels have to be 0 or 1, and features finite numbers")
    labels = names(name)
    track_ids = [f"{name}-{row:03d}" for row in range(1, len(table) + 1)]
    targets = present.to_numpy(dtype=bool)  # (tracks, labels)
    tracks = track_table(track_ids, label_tuples(targets, labels), group=track_ids)
    source = reading.source_of("load_mulan", path.parent, [path], "none stated")
    encoder = {"name": "mulan-marsyas-64", "layers": [0], "columns": list(MULAN_COLUMNS)}
    features = Features(
        values[:, None],  # (tracks, 1, 64)
        np.array(track_ids),
        np.zeros(len(track_ids)),
        encoder | {"files": source["files"]},
    )
    return Dataset(name, labels, tracks, source, _TOP_K[name]), features


def _read_arff(path: Path) -> pd.DataFrame:
    """An ARFF file all of whose values are numbers."""
    header, *body = re.split(r"^@data.*$", reading.read_text(path), maxsplit=1, flags=re.I | re.M)
    columns = re.findall(r"^@attribute\s+(\S+)", header, flags=re.I | re.M)
    values = reading.numbers(path, "".join(body))
    if values.shape[1] != len(columns) or not values.size:
        raise ValueError(
            f"{path}: {len(columns)} attributes and {values.shape} rows and numbers after @data; "
            "use the file as its authors publish it"
        )
    return pd.DataFrame(values, columns=columns)


def _meaning(column: str) -> str:
    """A timbre column as in MULAN_COLUMNS, any other by its letters."""
    match = _COLUMN.fullmatch(column.lower())
    return "-".join(match.groups()).replace("_", "") if match else reading.letters(column)
