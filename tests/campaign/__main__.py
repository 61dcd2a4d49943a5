"""The command line of the campaign; see the package's docstring."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: a fork needs a single thread
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.campaign import engine, inputs, material, work  # noqa: F401 (kinds register themselves)
from tests.campaign.engine import KINDS


def main() -> int:
    """Run a campaign, or one try; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--minutes", type=float, default=10, help="once all is prepared")
    parser.add_argument("--tries", type=int, help="so many of each kind, in place of minutes")
    parser.add_argument("--seed", type=int, help="of one try, of which all is printed")
    parser.add_argument("--first", type=int, default=0, help="seed of the first try; default: 0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tries at a time")
    options = parser.parse_args()
    if unknown := {*options.kinds} - {*KINDS}:
        parser.error(f"no kinds {unknown}; there are {', '.join(KINDS)}")
    chosen = [KINDS[name] for name in options.kinds or KINDS]
    one = options.seed is not None
    first, tries = (options.seed, 1) if one else (options.first, options.tries)
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        material.begin(place / "material")
        for kind in chosen:
            kind.prepare()
        found = engine.run(chosen, place, options.jobs, 60 * options.minutes, tries, first)
        for said in sorted(place.glob("*.said")) if one else ():
            print(said.read_text(errors="backslashreplace"))
    print(engine.table(found))
    skipped = found[found["skipped"] != ""]
    for name, reason in sorted({*zip(skipped["kind"], skipped["skipped"], strict=True)}):
        print(f"skipped {name}: {reason}")
    return 1 if found["fell"].any() else 0


sys.exit(main())
