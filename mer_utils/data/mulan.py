"""Mulan's CAL500 and emotions: labels with features, no audio."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import need, no_duplicates
from mer_utils.data.types import Dataset, Features, track_table
from mer_utils.data.vocabulary import names

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
    """
    path = Path(path)
    table = _read_arff(path)
    columns = {reading.letters(column) for column in table}
    name = max(_TOP_K, key=lambda x: sum(letters in columns for letters in reading.spelled(x)))
    labels = reading.labels_of_columns(path, name, table)
    table = table.rename(columns=_meaning)
    need(path, "timbre columns", MULAN_COLUMNS, table)
    no_duplicates(path, "timbre columns", [column for column in table if column in MULAN_COLUMNS])
    values = table[list(MULAN_COLUMNS)].to_numpy(dtype=np.float32)  # (tracks, 64)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: features have to be finite numbers")
    track_ids = [f"{name}-{row:03d}" for row in range(1, len(table) + 1)]
    tracks = track_table(track_ids, labels, group=track_ids)
    source = reading.source_of("load_mulan", path.parent, [path])
    encoder = {"name": "mulan-marsyas-64", "layers": [0], "columns": list(MULAN_COLUMNS)}
    encoder["files"] = source["files"]
    starts = np.zeros(len(table))
    features = Features(values[:, None], np.array(track_ids), starts, encoder)  # one layer
    return Dataset(name, names(name), tracks, source, _TOP_K[name]), features


def _read_arff(path: Path) -> pd.DataFrame:
    """An ARFF file all of whose values are numbers."""
    header, *body = re.split(r"^@data.*$", reading.read_text(path), maxsplit=1, flags=re.I | re.M)
    columns = re.findall(r"^@attribute\s+(\S+)", header, flags=re.I | re.M)
    values = reading.numbers(path, "".join(body))
    if values.shape[1] != len(columns) or not values.size:
        raise ValueError(f"{path}: {len(columns)} attributes, but @data is {values.shape} numbers")
    return pd.DataFrame(values, columns=columns)


def _meaning(column: str) -> str:
    """A timbre column as in MULAN_COLUMNS, any other as it is."""
    match = _COLUMN.fullmatch(column.lower())
    return "-".join(match.groups()).replace("_", "") if match else column
