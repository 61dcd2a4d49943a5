"""The MIREX-like mood dataset's adjectives."""

from pathlib import Path

import pandas as pd

from mer_utils.data import reading
from mer_utils.data.checks import need, refuse_lines
from mer_utils.data.reading import LOADERS, AudioRule
from mer_utils.data.types import Dataset, track_table
from mer_utils.data.vocabulary import names


@LOADERS.register("mirex-mood")
def load_mirex_mood(root: str | Path, audio: AudioRule = "require") -> Dataset:
    """Read the MIREX-like mood dataset: one of 28 adjectives a clip.

    Source: Panda, Malheiro, Rocha, Oliveira, Paiva, "Multi-modal music emotion recognition: a new
    dataset, methodology and comparative analysis", CMMR 2013. 903 clips of 30 s from AllMusic, in
    the five clusters of moods of the MIREX task.
    Licence: none is stated with the files; for research, and the audio may not be redistributed.
    Download: ask at http://mir.dei.uc.pt

    Folder:
        root/categories.txt      line i is the adjective of clip i
        root/clusters.txt        line i is the cluster of clip i, "Cluster 1" to "Cluster 5"
        root/dataset info.csv    UTF-16, semicolons: Artist and Filename of each clip, and more
        root/Audio/001.mp3 ...

    Returns "mirex-mood": tracks "mirex-001" ...; split None; group = artist, or the clip itself
    where none is named; one more column cluster (1 to 5).
    """
    root = Path(root).absolute()
    files = [root / name for name in ("categories.txt", "clusters.txt", "dataset info.csv")]
    words, clusters, info = (_lines(path) for path in files)
    sizes = [len(words), len(clusters), len(info) - 1]
    if len(set(sizes)) > 1:
        found = ", ".join(f"{path.name} {size}" for path, size in zip(files, sizes, strict=True))
        raise ValueError(f"{root}: a line a clip is expected in each file, but there are {found}")
    labels = reading.clean_labels(files[0], "mirex-mood", words.map(lambda word: [word]))
    strange = ~clusters.str.fullmatch("Cluster [1-5]")
    refuse_lines(files[1], "lines other than Cluster 1 to Cluster 5", clusters, strange)
    track_ids = [f"mirex-{number:03d}" for number in words.index]
    clips = [f"{number:03d}.mp3" for number in words.index]
    artists = _artists(files[2], info)
    need(files[2], "clips", clips, artists)
    tracks = track_table(
        track_ids,
        [tuple(own) for own in labels],
        group=[artists[clip] or track for clip, track in zip(clips, track_ids, strict=True)],
        audio=reading.find_audio("mirex-mood", root / "Audio", [(x,) for x in clips], audio),
        cluster=clusters.str[-1].astype(int),
    )
    source = reading.source_of("load_mirex_mood", root, files)
    return Dataset("mirex-mood", names("mirex-mood"), tracks, source, top_k=1)


def _lines(path: Path) -> pd.Series:
    """The lines of a file by their numbers from 1; an empty one would shift all that follow."""
    text = reading.read_text(path).rstrip()
    lines = pd.Series([line.strip() for line in text.splitlines()], dtype=object)
    lines.index += 1
    refuse_lines(path, "lines are empty", lines, lines == "")
    return lines


def _artists(path: Path, lines: pd.Series) -> dict[str, str]:
    """The artist of each file, from a header and rows of fields between semicolons."""
    rows = lines.str.split(";")
    header = [field.strip() for field in rows.iloc[0]]
    need(path, "columns", ("Artist", "Filename"), header)
    refuse_lines(path, "rows have too few fields", lines, rows.str.len() < len(header))
    # Counted from the end: the title, the first field, may have semicolons of its own.
    artist, file = (header.index(name) - len(header) for name in ("Artist", "Filename"))
    return {row[file].strip(): row[artist].strip() for row in rows.iloc[1:]}
