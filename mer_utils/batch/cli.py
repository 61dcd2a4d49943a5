"""The command line: `python -m mer_utils run --help`.

What runs notebooks or draws is imported by the command that needs it: papermill, nbconvert and dask
take seconds, and a prediction is to feel instant.
"""

import argparse
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd

from mer_utils import storage
from mer_utils.batch import pipeline, profiles, runs
from mer_utils.batch.given import read_yaml
from mer_utils.batch.profiles import CACHE, PROFILES, PROJECT
from mer_utils.data.types import Features
from mer_utils.predict import zero_shot
from mer_utils.predict.songs import encoder_of, find_songs, song_features
from mer_utils.progress import only_python_on_stderr, progress_bar, say
from mer_utils.sound.audio import AudioError
from mer_utils.sound.encoders import Encoder


def parameter(text: str) -> tuple[str, object]:
    """Read name=value, the value as YAML: 3 is a number, true a truth value, [1, 2] a list."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, read_yaml(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:200]!r}: {error}") from error


def folder(text: str) -> str:
    """Read the name of a folder to write to: an empty one would be the project itself."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names no folder")
    return text


def count(text: str, most: int = 2**15) -> int:
    """Read a whole number from 1 to `most`."""
    value = int(text)
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to {most}")
    return value


def definition(text: str) -> tuple[str, str]:
    """Read label=sentence, both taken as they stand."""
    label, equals, sentence = (part.strip() for part in text.partition("="))
    if not (label and equals and sentence):
        raise argparse.ArgumentTypeError(f"{text!r} is not label=sentence")
    return label, sentence


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="python -m mer_utils",
        description="Zero-shot music emotion recognition by aligning labels across datasets.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    profile, workers, finished = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    profile.add_argument("--profile", default="demo", choices=PROFILES, help="default: demo")
    finished.add_argument("--run", default="runs/demo", help="run folder; default: runs/demo")
    one = workers.add_mutually_exclusive_group()
    at_a_time = "processes at a time; default: sweep 1, extract as many as there are cores"
    one.add_argument("--jobs", type=count, help=at_a_time)
    one.add_argument("--scheduler", metavar="ADDRESS", help="a dask scheduler, tcp://host:port")

    run = commands.add_parser(
        "run",
        parents=[profile],
        help="run the notebooks of a profile, end to end",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{p.name:8} {p.description}" for p in PROFILES.values()),
    )
    run.add_argument("--out", default="", help="run folder; default: runs/<profile>")
    repeated = {"action": "append", "default": []}
    given = "set a notebook parameter; may be given several times"
    run.add_argument(
        "-p", "--parameter", metavar="NAME=VALUE", help=given, type=parameter, **repeated
    )
    run.set_defaults(call=_run)

    brought = "bring a run's figures and tables into figures/ and the texts; real: its model too"
    figures = commands.add_parser("figures", parents=[finished], help=brought)
    figures.set_defaults(call=_figures)

    site = commands.add_parser("site", parents=[finished], help="write a run as a book to read")
    site.add_argument("--out", default="site", type=folder, help="its folder; default: site")
    site.set_defaults(call=_site)

    heard = "turn the audio of a profile's datasets into features, at any scale"
    extract = commands.add_parser("extract", parents=[profile, workers], help=heard)
    extract.add_argument("--encoder", default="", help="another encoder than the profile's")
    extract.add_argument("--csv", default="", help="a dataset of your own that joins")
    extract.add_argument("--checkpoint", default="", help="folder with the encoder's weights")
    agreed = "agree to CC-BY-NC-4.0, MERT's licence: its weights may be downloaded"
    extract.add_argument("--accept-licence", action="store_true", help=agreed)
    extract.set_defaults(call=_extract)

    grid = "run a grid of experiments (docs/sweeps.md)"
    sweep = commands.add_parser("sweep", parents=[workers], help=grid)
    sweep.add_argument("grid", metavar="GRID", help="YAML file, such as docs/sweep.yml")
    sweep.add_argument("--out", required=True, type=folder, help="folder of the sweep")
    sweep.add_argument("--dry-run", action="store_true", help="print the plan, and its cost so far")
    longest = "seconds that one notebook cell may take"
    sweep.add_argument("--timeout", type=partial(count, most=10**7), help=longest)
    sweep.add_argument("--threads", type=count, help="of each cell; default: cores / jobs")
    sweep.set_defaults(call=_sweep)

    predict = commands.add_parser("predict", help="rank any words for songs, with a trained model")
    add = predict.add_argument
    add("songs", nargs="+", metavar="SONG", help="audio files, or folders of them")
    add("--labels", help="words, separated by commas; default: the nine of Emotify")
    meant = "what you mean by a label, such as 'eerie=Music that is uncanny and cold.'"
    add("--define", metavar="LABEL=SENTENCE", help=meant, type=definition, **repeated)
    add("--model", help="folder of a model or of its run; default: the one in this package")
    add("--checkpoint", default="", help="folder with the audio encoder's weights")
    add("--csv", default="", help="write the table to this file")
    add("--over-time", action="store_true", help="also ranks along the song, as a curve")
    add("--hop", type=float, default=3.0, help="seconds between points of the curve; default: 3")
    among = "rank among the training tracks, or the given songs (8 or more) among one another"
    add("--among", default="training", choices=("training", "given"), help=among)
    predict.set_defaults(call=_predict)

    app = commands.add_parser("app", help="a page for songs, on this machine only")
    app.add_argument("--model", help="folder of a model or of its run; default: the packaged one")
    app.add_argument("--checkpoint", default="", help="folder with the audio encoder's weights")
    app.add_argument("--port", type=partial(count, most=65_535), default=5006, help="default: 5006")
    app.add_argument("--no-browser", action="store_true", help="only print the address")
    app.set_defaults(call=_app)
    return parser


def _run(options: argparse.Namespace) -> None:
    given = dict(options.parameter)
    if len(given) < len(options.parameter):
        raise ValueError(f"-p: one of {', '.join(given)} is given twice")
    for name in {"profile", "out"} & {*given}:
        raise ValueError(f"-p {name}=…: write --{name} ({name.upper()}= with make)")
    pipeline.run(options.profile, options.out, **given)


def _figures(options: argparse.Namespace) -> None:
    from mer_utils.batch import report

    run = runs.reopen(options.run)
    with storage.locked(CACHE, ".figures.lock"):
        # tables first: a run without them changes nothing
        say(f"{len(report.copy_tables(run))} tables to figures/{run.profile.name}/")
        say(f"{len(report.copy_figures(run))} figures beside them")
        if run.profile.name == report.MODEL_OF:
            say(f"its model, {report.copy_model(run) / 1e3:,.0f} kB, into the package")
        for file in report.TEXTS:
            done = report.update_text(run.profile.name, file)
            say(f"tables in {file.name}: {', '.join(done) or 'none'}")


def _site(options: argparse.Namespace) -> None:
    from mer_utils.batch import book

    say(f"open {book.build_book(runs.reopen(options.run), PROJECT / options.out)}")


@contextmanager
def _executor(scheduler: str | None, jobs: int) -> Iterator[Executor | None]:
    """What --scheduler or --jobs ask for; None for one job."""
    if scheduler:
        from distributed import Client, KilledWorker

        with Client(scheduler) as client:
            try:
                yield client.get_executor(pure=False)  # a cell may be tried twice
            except KilledWorker as error:
                mend = "give each more memory or fewer threads; what is done is kept"
                raise ValueError(f"dask workers were lost ({error}); {mend}") from error
    elif jobs == 1:
        yield None
    else:
        spawn = multiprocessing.get_context("spawn")
        how = {"mp_context": spawn, "initializer": _end_with_parent}
        with ProcessPoolExecutor(jobs, **how) as executor:
            yield executor


def _end_with_parent() -> None:
    """Of a worker: end when the process that began it is killed, which could not tell it to."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _extract(options: argparse.Namespace) -> None:
    profile = profiles.choose(options.profile, options.encoder, options.csv)
    profiles.check_inputs(profile, options.checkpoint, options.accept_licence)
    with _executor(options.scheduler, jobs=1) as executor:
        data = profiles.load_labelled(profile, options.checkpoint, executor, options.jobs)
    for name, part in data.items():
        segments, layers, dim = part.features.values.shape
        say(f"{name}: {segments:,} segments of {len(part.dataset):,} tracks, {layers} × {dim}")


def _sweep(options: argparse.Namespace) -> None:
    from mer_utils.batch import sweeps

    out = PROJECT / options.out
    cells = sweeps.plan(options.grid, out)
    if options.dry_run:
        say(sweeps.plan_text(cells))
        return
    try:
        with _executor(options.scheduler, 1 if options.jobs is None else options.jobs) as executor:
            sweeps.run_cells(options.grid, out, executor, options.threads, options.timeout)
    except KeyboardInterrupt:
        done = f"{sum(cell.status == 'done' for cell in cells)} of {len(cells)} cells are done"
        raise ValueError(f"stopped: {done}; the same line goes on from there") from None
    say(f"{len(cells)} cells; read {out / 'summary.html'}")


def _predict(options: argparse.Namespace) -> None:
    labels, definitions = _words(options)
    if options.csv and Path(options.csv).suffix not in (".csv", ".parquet"):
        raise ValueError(f"--csv {options.csv}: the name has to end in .csv (or .parquet)")
    replaced = Path(options.csv).read_bytes() if os.path.isfile(options.csv) else b""
    if replaced and b"sureness" not in replaced:  # a column of every table of ours
        raise ValueError(f"--csv {options.csv}: holds something else; give another name")
    paths = find_songs(options.songs)
    if options.csv:  # an error now, and not after all songs were heard
        try:
            Path(options.csv).parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=Path(options.csv).parent).close()
        except OSError as error:  # which names a temporary file
            raise OSError(error.errno, error.strerror, options.csv) from error
    if options.among == "given":
        zero_shot.check_enough(len(paths))
    model, reference = zero_shot.load_released(options.model)
    for warning in zero_shot.label_warnings(model, labels, definitions).values():
        say(f"warning: {warning}", sys.stderr)
    songs, failed = _listen(paths, encoder_of(model, options.checkpoint), options)
    lost = f"{len(failed)} of {len(paths)} songs failed:\n" + "\n".join(failed)
    among, whose = reference, ", ".join(model.about["labels"])
    if options.among == "given":
        if failed:
            raise ValueError(f"{lost}\nleave them out to rank the others among one another")
        among, whose = zero_shot.songs_as_reference(model, songs), "the given songs"
    say(f"ranks among {len(among.tracks):,} tracks of {whose}; 100 is above all of them")
    tables = []
    for song in songs:
        found = zero_shot.predict_song(model, reference, song, labels, definitions, among)
        for warning in found.warnings:
            say(f"warning: {found.song}: {warning}", sys.stderr)
        say(f"\n{found.as_text(options.over_time)}")
        tables.append(found.as_table(options.over_time))
    if options.csv and tables:
        storage.write_table(options.csv, pd.concat(tables, ignore_index=True))
    if failed:
        raise ValueError(lost)


def _app(options: argparse.Namespace) -> None:
    from mer_utils.app.page import serve

    serve(options.port, options.model, not options.no_browser, options.checkpoint)


def _words(options: argparse.Namespace) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels that are asked for, and the sentences given for some of them."""
    asked = zero_shot.FIRST_WORDS if options.labels is None else options.labels.split(",")
    labels, definitions = zero_shot.check_words(asked), dict(options.define)
    for label in definitions:
        if label not in labels:
            raise ValueError(f"--define: {label!r} is not among the labels ({', '.join(labels)})")
    return labels, definitions


def _listen(
    paths: Sequence[Path], encoder: Encoder, options: argparse.Namespace
) -> tuple[list[Features], list[str]]:
    """Features of the songs that can be read, and what is wrong with the others."""
    hop_seconds = options.hop if options.over_time else None
    songs, failed = [], []
    with only_python_on_stderr():
        for path in progress_bar(paths, desc="listening", unit="song", show=len(paths) > 1):
            try:
                songs.append(song_features(path, encoder, hop_seconds, CACHE / "songs"))
            except (AudioError, OSError) as error:
                failed.append(storage.told(error))
    return songs, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options.call(options)
    except (ValueError, OSError, ModuleNotFoundError, runs.NotebookError) as error:
        say(f"error: {storage.told(error)}", sys.stderr)
    except (MemoryError, BrokenExecutor) as error:
        say(f"error: memory is short ({error}); fewer --jobs, or less data", sys.stderr)
    except KeyboardInterrupt:
        say("stopped; what is kept will not be made again", sys.stderr)
        return 130  # as shells have it
    else:
        return 0
    return 1


def _show_warning(message: Warning | str, *_: object) -> None:
    say(f"warning: {message}", sys.stderr)
