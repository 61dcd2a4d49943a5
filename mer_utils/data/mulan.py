"""Mulan's CAL500 and emotions: labels with features, no audio."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io.arff import loadarff

from mer_utils.data.reading import AS_PUBLISHED, existing, letters, read_text, refuse, source_of
from mer_utils.data.types import Dataset, Features, label_tuples, track_table
from mer_utils.data.vocabulary import VOCABULARIES, names
from mer_utils.storage import file_hash

_MULAN_COLUMN = re.compile(
    r"(?P<track>Mean|Std)_Acc\d+_(?P<window>Mean|Std)_Mem\d+_"
    r"(?P<feature>Centroid|Rolloff|Flux|MFCC_?\d+)(?:_Power_.*)?"
)
_MULAN_FEATURES = ("centroid", "rolloff", "flux", *(f"mfcc{i}" for i in range(13)))
MULAN_COLUMNS = tuple(
    f"{track}-{window}-{feature}"
    for track in ("mean", "std")
    for window in ("mean", "std")
    for feature in _MULAN_FEATURES
)


def load_mulan(path: str | Path) -> tuple[Dataset, Features]:
    """Read Mulan's CAL500.arff or emotions.arff: real songs with labels and features, no audio.

    Source: the multi-label data sets of the Mulan library (Tsoumakas et al., "Mulan: A Java
    Library for Multi-Label Learning", JMLR 2011). CAL500: 502 songs, 18 emotion words (Turnbull
    et al., "Semantic Annotation and Retrieval of Music and Sound Effects", IEEE TASLP 2008).
    emotions: 593 songs, 6 labels (Trohidis et al., "Multi-Label Classification of Music into
    Emotions", ISMIR 2008). Download: https://mulan.sourceforge.net/datasets-mlc.html
    Licence: the files state none.

    The features are the 64 Marsyas timbre columns that both files have, in one order for both
    (MULAN_COLUMNS: "statistic over the track - statistic over a memory of 40 frames - feature";
    features: spectral centroid, rolloff, flux and 13 MFCC). CAL500's zero crossings and the beat
    histogram of emotions are left out: the other file lacks them.

    path: the ARFF file. Which of the two it is, is seen by its label columns.
    Returns the dataset ("cal500" or "emotions"; tracks "cal500-001" ... in the order of the file,
    audio None, split None, every track its own group) and its features (tracks, 1 layer, 64).
    Raises ValueError, naming the file, if it is not readable as ARFF, has the label columns of
    neither vocabulary, lacks one of the 64 columns, or a value is missing.
    """
    path = existing(path, "Mulan's ARFF file")
    table = _read_arff(path)
    name, label_columns = _mulan_labels(path, list(table.columns))
    feature_columns = _mulan_features(path, list(table.columns))

    present = table[label_columns].astype(str).apply(lambda column: column.str.strip())
    strange = sorted(set(present.to_numpy().ravel()) - {"0", "1", "0.0", "1.0"})
    if strange:
        raise ValueError(f"{path}: label columns hold 0 or 1, not {strange[:3]}")
    targets = present.isin(["1", "1.0"]).to_numpy()  # (tracks, labels)
    values = table[feature_columns].to_numpy(dtype=np.float32)  # (tracks, 64)
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}: {bad.sum()} feature values are missing or not finite, first: row {row + 1}, "
            f"column {feature_columns[column]}"
        )

    labels = names(name)
    width = max(3, len(str(len(table))))
    track_ids = [f"{name}-{row:0{width}d}" for row in range(1, len(table) + 1)]
    tracks = track_table(track_ids, None, label_tuples(targets, labels), None, track_ids)
    file = {path.name: file_hash(path)}
    source = source_of("load_mulan", file, "none stated")
    # the paper has no k for emotions: its tracks have 1.9 labels on average
    top_k = {"cal500": 4, "emotions": 2}[name]
    dataset = Dataset(name, labels, tracks, source, top_k)
    features = Features(
        values[:, None, :],  # (tracks, 64) -> (tracks, 1, 64)
        np.array(track_ids),
        np.zeros(len(track_ids)),
        {
            "name": "mulan-marsyas-64",
            "layers": [0],
            "columns": list(MULAN_COLUMNS),
            "files": file,
        },
    )
    return dataset, features


def _read_arff(path: Path) -> pd.DataFrame:
    """An ARFF file as a table, nominal values as text."""
    text = read_text(path)
    header, *data = re.split(r"^@data.*$", text, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    rows = [row for row in "".join(data).splitlines() if row.strip() and row[0] != "%"]
    if not rows:
        raise ValueError(f"{path}: not an ARFF file with rows after @data; download it again")
    # scipy passes over surplus values without a word, so they are counted here.
    attributes = len(re.findall(r"^@attribute", header, flags=re.IGNORECASE | re.MULTILINE))
    uneven = [
        f"row {number}: {row.count(',') + 1} values"
        for number, row in enumerate(rows, start=1)
        if row.count(",") + 1 != attributes
    ]
    refuse(path, f"rows without {attributes} values", uneven, len(rows), "download it again")
    try:
        records, _ = loadarff(io.StringIO(text))
    except Exception as error:  # scipy raises a dozen kinds, some of them bare (StopIteration)
        raise ValueError(
            f"{path}: not readable as ARFF ({type(error).__name__}: {error}); download it again"
        ) from error
    table = pd.DataFrame(records)
    nominal = table.select_dtypes(object).columns
    return table.assign(**{column: table[column].str.decode("utf-8") for column in nominal})


def _mulan_labels(path: Path, columns: list[str]) -> tuple[str, list[str]]:
    """Which vocabulary an ARFF file has, and its column for each label, in vocabulary order."""
    spelled: dict[str, list[str]] = {}
    for column in columns:
        spelled.setdefault(letters(column), []).append(column)
    found = {}
    for name in ("cal500", "emotions"):
        officials = [label.official for label in VOCABULARIES[name]]
        found[name] = {o: spelled[letters(o)] for o in officials if letters(o) in spelled}
    name = max(found, key=lambda n: len(found[n]) / len(VOCABULARIES[n]))
    if not found[name]:
        raise ValueError(
            f"{path}: none of the {len(columns)} columns is an emotion label of CAL500 (such as "
            "Emotion-Happy) or of emotions (such as happy-pleased); use Mulan's CAL500.arff or "
            "emotions.arff"
        )
    wanted = [label.official for label in VOCABULARIES[name]]
    missing = [repr(official) for official in wanted if official not in found[name]]
    refuse(path, f"label columns of {name} missing", missing, len(wanted), AS_PUBLISHED)
    repeated = [columns for columns in found[name].values() if len(columns) > 1]
    if repeated:
        raise ValueError(f"{path}: several columns spell one label: {repeated[0]}")
    return name, [found[name][official][0] for official in wanted]


def _mulan_features(path: Path, columns: list[str]) -> list[str]:
    """The file's columns for MULAN_COLUMNS, in that order."""
    found = {}
    for column in columns:
        match = _MULAN_COLUMN.fullmatch(column)
        if match:
            feature = match["feature"].lower().replace("_", "")
            found[f"{match['track']}-{match['window']}-{feature}".lower()] = column
    missing = [repr(column) for column in MULAN_COLUMNS if column not in found]
    refuse(path, "Marsyas feature columns missing", missing, len(MULAN_COLUMNS), AS_PUBLISHED)
    return [found[column] for column in MULAN_COLUMNS]
