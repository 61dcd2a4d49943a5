"""The command line: `python -m mer_utils run --help`."""

import argparse
import sys
from collections.abc import Sequence

import yaml

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
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    from mer_utils import pipeline  # here, so that --help does not wait for torch

    try:
        pipeline.run(options.profile, options.out, **dict(options.parameters))
    except (ValueError, FileNotFoundError, pipeline.NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
