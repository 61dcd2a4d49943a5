"""The command line: `python -m mer_utils run --help`."""

import argparse
import sys
from collections.abc import Sequence

import yaml

from mer_utils import pipeline, report, runs
from mer_utils.profiles import PROFILES


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
    return parser


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
    except (ValueError, FileNotFoundError, pipeline.NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
