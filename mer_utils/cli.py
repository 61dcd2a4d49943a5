"""The command line: `python -m mer_utils run --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from mer_utils import pipeline, predict, report, runs, storage
from mer_utils.audio import AudioError
from mer_utils.encoders import Encoder
from mer_utils.features import Features
from mer_utils.profiles import CACHE, PROFILES, PROJECT
from mer_utils.progress import progress_bar
from mer_utils.vocabulary import names


def parameter(text: str) -> tuple[str, object]:
    """Read name=value, the value as YAML: 3 is a number, true a truth value, [1, 2] a list."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML ({error})") from error


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="python -m mer_utils",
        description="Zero-shot music emotion recognition by aligning labels across datasets.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run the notebooks of a profile, end to end",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="profiles:\n"
        + "\n".join(f"  {p.name:8} {p.description}" for p in PROFILES.values()),
    )
    run.add_argument("--profile", default="demo", choices=PROFILES, help="default: demo")
    run.add_argument("--out", default="", help="run folder; default: runs/<profile>")
    run.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        type=parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a notebook parameter; may be given several times",
    )
    run.set_defaults(call=_run)
    figures = commands.add_parser(
        "figures", help="bring a run's figures into figures/ and its tables into the README"
    )
    figures.add_argument("--run", default="runs/demo", help="run folder; default: runs/demo")
    figures.set_defaults(call=_figures)
    _add_predict(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction) -> None:
    song = commands.add_parser("predict", help="rank any words for songs, with a trained model")
    song.add_argument("songs", nargs="+", metavar="SONG", help="audio files, or folders of them")
    song.add_argument(
        "--labels", default="", help="words, separated by commas; default: the nine of Emotify"
    )
    song.add_argument(
        "--define",
        type=parameter,
        action="append",
        default=[],
        metavar="LABEL=SENTENCE",
        help="say what you mean by a label, such as 'eerie=Music that is uncanny and cold.'",
    )
    song.add_argument(
        "--model",
        default=str(PROJECT / "runs" / "demo"),
        help="folder of a model, or of a run that made one; default: runs/demo",
    )
    song.add_argument("--checkpoint", default="", help="folder with the audio encoder's weights")
    song.add_argument("--csv", default="", help="write the table to this file")
    song.add_argument(
        "--over-time",
        type=float,
        nargs="?",
        const=3.0,
        metavar="SECONDS",
        help="also ranks along the song, one every so many seconds; default: 3",
    )
    song.add_argument(
        "--among",
        default="training",
        choices=("training", "given"),
        help="rank among the model's training tracks, or the given songs among one another",
    )
    song.set_defaults(call=_predict)


def _predict(options: argparse.Namespace) -> None:
    labels = options.labels.split(",") if options.labels else names("emotify")
    definitions = {label: str(sentence) for label, sentence in options.define}
    paths = predict.find_songs(options.songs)
    model, reference = predict.load(options.model)
    for warning in predict.label_warnings(model, labels, definitions).values():
        print(f"warning: {warning}", file=sys.stderr)
    songs, failed = _listen(paths, predict.encoder_of(model, options.checkpoint), options.over_time)
    among = predict.songs_as_reference(model, songs) if options.among == "given" else reference
    whose = "the given songs" if options.among == "given" else ", ".join(model.about["labels"])
    print(f"ranks among {len(among.tracks):,} tracks of {whose}; 100 is above all of them")
    tables = []
    for song in songs:
        found = predict.predict_song(model, reference, song, labels, definitions, among)
        print(f"\n{found.song}")
        for warning in found.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(found.table.to_string(index=False, float_format="{:.2f}".format))
        table = found.table
        if options.over_time:
            print(curves(found.over_time))
            table = found.over_time.melt("start", var_name="label", value_name="rank")
        tables.append(table.assign(song=found.song))
    if options.csv and tables:
        storage.write_table(options.csv, pd.concat(tables, ignore_index=True))
    if failed:
        raise ValueError(f"{len(failed)} of {len(paths)} songs failed:\n" + "\n".join(failed))


def _listen(
    paths: Sequence[Path], encoder: Encoder, hop_seconds: float | None
) -> tuple[list[Features], list[str]]:
    """Features of the songs that can be read, and what is wrong with the others."""
    songs, failed = [], []
    for path in progress_bar(paths, desc="listening", unit="song", show=len(paths) > 1):
        try:
            songs.append(predict.song_features(path, encoder, hop_seconds, CACHE / "songs"))
        except AudioError as error:
            failed.append(str(error))
    return songs, failed


def curves(over_time: pd.DataFrame) -> str:
    """Ranks over time as one line of blocks a label, from left to right, low to high."""
    blocks = "▁▂▃▄▅▆▇█"
    labels = [column for column in over_time if column != "start"]
    width = max(map(len, labels))
    lines = [
        f"{label:{width}} " + "".join(blocks[min(7, int(v * 8 / 100))] for v in over_time[label])
        for label in labels
    ]
    return "\n".join(lines)


def _run(options: argparse.Namespace) -> None:
    pipeline.run(options.profile, options.out, **dict(options.parameters))


def _figures(options: argparse.Namespace) -> None:
    run = runs.reopen(options.run)
    print(f"{len(report.copy_figures(run))} figures to figures/{run.profile.name}/")
    print(f"tables in the README: {', '.join(report.update_readme(run)) or 'none'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.call(options)
    except (ValueError, FileNotFoundError, AudioError, pipeline.NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
