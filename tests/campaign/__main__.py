"""The command line of the campaign; see the package's docstring."""

import argparse
import itertools
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a fork needs a single thread
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.campaign import engine, inputs, material, work  # noqa: F401 (kinds register themselves)
from tests.campaign.engine import KINDS, Kind


def until(chosen: list[Kind], end: float, first: int) -> engine.Plan:
    """A plan: a try of the kind that has had least of its share of time; each once at least."""
    seeds = itertools.count(first)

    def plan(spent: dict[str, float]) -> tuple[Kind, int] | None:
        following = min(chosen, key=lambda kind: spent[kind.name] / kind.share)
        goes_on = time.monotonic() < end or not spent[following.name]
        return (following, next(seeds)) if goes_on else None

    return plan


def main() -> int:
    """Run a campaign, or one try; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--minutes", type=float, default=10, help="once all is prepared")
    parser.add_argument("--tries", type=int, help="so many of each kind, in place of minutes")
    parser.add_argument("--seed", type=int, help="of one try")
    parser.add_argument("--first", type=int, default=0, help="seed of the first try; default: 0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tries at a time")
    options = parser.parse_args()
    if unknown := {*options.kinds} - {*KINDS}:
        parser.error(f"no kinds {unknown}; there are {', '.join(KINDS)}")
    chosen = [KINDS[name] for name in options.kinds or KINDS]
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        material.begin(place / "material")
        for one in chosen:
            one.prepare()
        if options.seed is not None or options.tries:
            seeds = [options.seed] if options.seed is not None else range(options.tries)
            tries = iter([*itertools.product(chosen, seeds)])
            outcomes = engine.run(lambda _: next(tries, None), place, options.jobs)
        else:
            plan = until(chosen, time.monotonic() + 60 * options.minutes, options.first)
            outcomes = engine.run(plan, place, options.jobs)
        if options.seed is not None:
            for said in sorted(place.glob("*.said")):
                print(said.read_text(errors="backslashreplace"))
    fell = [outcome for outcome in outcomes if outcome.fell]
    classes = Counter(re.sub(r"[\d.]+|'\S*'", "", f"{x.kind} {x.fell}") for x in fell)
    print("\n".join(["", *(f"{n:5} x {name}" for name, n in classes.most_common()), ""]))
    print(engine.table(outcomes))
    for name, reason in sorted({(x.kind, x.skipped) for x in outcomes if x.skipped}):
        print(f"skipped {name}: {reason}")
    return 1 if fell else 0


sys.exit(main())
