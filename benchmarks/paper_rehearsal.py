"""The profile `paper`, rehearsed: every step on real files as far as they are at hand.

    python benchmarks/paper_rehearsal.py --tracks 10        about a quarter of an hour on two cores

Real: MTG-Jamendo's metadata and official split, Emotify's audio and annotations, CAL500's
annotations (from Mulan's file). Stand-ins: the audio of MTG-Jamendo and CAL500 is ten seconds of
Emotify's clips under their names, and MERT-95M has its full size but random weights. So scores mean
nothing; that every notebook runs, what it writes and how long it takes, does. Sizes and times of
the whole are extrapolated from what was measured.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import soundfile

from mer_utils import batch, data, storage
from mer_utils.batch import profiles
from mer_utils.data import VOCABULARIES
from mer_utils.sound import audio, random_mert

RATE = 24_000
HOURS = {"mtg-jamendo": 1095.0, "cal500": 33.0, "emotify": 6.7}  # of the whole datasets
QUICK = {
    "seeds": 1, "epochs": 3, "resamples": 50, "shuffles": 1, "weights": [2.5], "styles": ["name"],
    "measured": 4, "probe_tracks": 12, "frame_tracks": 12,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=10, help="of each dataset")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stand-in")
    parser.add_argument("--out", default="", help="run folder; a temporary one if not given")
    options = parser.parse_args()
    real = {name: profiles.data_folder(name) for name in ("mtg_jamendo", "emotify", "mulan")}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        assemble(root, real, options.tracks, options.seconds)
        checkpoint = random_mert.write_mert_checkpoint(root / "MERT-v1-95M", size="95m")
        os.environ["MER_DATA"] = str(root)
        profile = profiles.get("paper")
        store = profiles.CACHE / "features"
        before = set(store.glob("*mert*"))
        try:
            rehearse(profile, checkpoint, Path(options.out) if options.out else root / "run")
        finally:  # features of random weights are of no use to anybody
            for made in set(store.glob("*mert*")) - before:
                shutil.rmtree(made)


def rehearse(profile: profiles.Profile, checkpoint: Path, out: Path) -> None:
    """Extract, run all notebooks, and say what it took."""
    start = time.perf_counter()
    parts = profiles.load_labelled(profile, str(checkpoint))
    extraction = time.perf_counter() - start
    batch.run(profile.name, out, checkpoint=str(checkpoint), **QUICK)
    report(parts, extraction, storage.read_json(out / "run.json")["seconds"])


def assemble(root: Path, real: dict[str, Path], tracks: int, seconds: float) -> None:
    """A folder of the three datasets in their official layouts, with so many tracks of each."""
    emotify = data.load_emotify(real["emotify"], audio="skip").tracks.dropna(subset="audio")
    spread = emotify.iloc[:: max(1, len(emotify) // tracks)].head(tracks)
    clips = [Path(path) for path in spread["audio"]]
    (root / "emotify").mkdir()
    (root / "emotify" / "data.csv").symlink_to(real["emotify"] / "data.csv")
    for clip in clips:
        place = root / "emotify" / clip.relative_to(real["emotify"])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(clip)

    (root / "mtg_jamendo").mkdir()
    (root / "mtg_jamendo" / "data").symlink_to(real["mtg_jamendo"] / "data")
    whole = data.load_mtg_jamendo(real["mtg_jamendo"], audio="skip").tracks
    common = whole["labels"].explode().value_counts().index[:4]  # so that few tracks share labels
    whole = whole[[bool(set(labels) & set(common)) for labels in whole["labels"]]]
    whole = whole.groupby("group").head(2)
    parts = {"train": tracks - 2 * (tracks // 4), "validation": tracks // 4, "test": tracks // 4}
    chosen = [whole[whole["split"] == part].head(count) for part, count in parts.items()]
    names = [track.removeprefix("track_").lstrip("0") for track in pd.concat(chosen).index]
    places = [Path("audio", f"{int(name) % 100:02d}", f"{name}.mp3") for name in names]
    stand_in(clips, [root / "mtg_jamendo" / place for place in places], seconds)

    songs, _ = data.load_mulan(real["mulan"] / "CAL500.arff")
    folder = root / "cal500" / "CAL500_noAudioFeatures"
    officials = [label.official for label in VOCABULARIES["cal500"]]
    rows = songs.targets()[:: len(songs) // tracks][:tracks].astype(int)
    titles = [f"artist_{i}-song" for i in range(len(rows))]  # Mulan's file names no songs
    storage.write_text(folder / "songNames.txt", "\n".join(titles) + "\n")
    storage.write_text(folder / "vocab.txt", "\n".join(officials) + "\n")
    lines = [",".join(map(str, row)) for row in rows]
    storage.write_text(folder / "hardAnnotations.txt", "\n".join(lines) + "\n")
    mp3s = [root / "cal500" / "CAL500_32kps" / f"{title}.mp3" for title in titles]
    stand_in(clips[::-1], mp3s, seconds)


def stand_in(clips: list[Path], places: list[Path], seconds: float) -> None:
    """Write the beginning of a clip, as mp3, to each place."""
    for clip, place in zip(clips, places, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        waveform = audio.read(clip, RATE)[: round((seconds + 0.1) * RATE)]
        soundfile.write(place, waveform, RATE, format="MP3")


def report(parts: dict, extraction: float, seconds: dict[str, float]) -> None:
    """What was measured, and what the whole would take."""
    heard = {n: len(part.features.track) * 10 / 3600 for n, part in parts.items()}  # h in segments
    rate = extraction / 3600 / sum(heard.values())  # hours of work for an hour of audio
    print(f"\n{sys.platform}, {os.cpu_count()} cores; MERT-95M, random weights")
    print(f"extraction: {extraction:.0f} s for {3600 * sum(heard.values()):.0f} s of audio")
    for name, part in parts.items():
        segments, layers, dim = part.features.values.shape
        size = HOURS[name] * 360 * layers * dim * 2 / 1e9
        print(
            f"{name:12} {len(part.dataset)} tracks, {segments} segments, {layers} × {dim}; whole: "
            f"{HOURS[name]:,.1f} h of audio, {size:.2f} GB, {HOURS[name] * rate:,.1f} h"
        )
    for name, took in seconds.items():
        print(f"{name:26} {took:6.0f} s")


if __name__ == "__main__":
    main()
