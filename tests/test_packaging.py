"""Set-up files agree with one another and with what the code imports."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())
RUN = SETTINGS["project"]["dependencies"]
DEV = SETTINGS["project"]["optional-dependencies"]["dev"]
# installed under another name than they are imported by
IMPORT_NAMES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}
# tools that are run and plug-ins that are not imported by name
COMMANDS = {"jupyterlab", "nbstripout", "pyarrow", "pytest_xdist", "ruff", "dask"}
COMMANDS |= {"import_linter", "mypy", "pre_commit", "myst_nb", "sphinx_book_theme"}


def normal(name: str) -> str:
    """The name of a requirement, however it is spelt and of whatever version."""
    return re.sub(r"[-_.]+", "-", name.partition(">")[0]).lower()


def constraints() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().split()
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def imported(folder: str) -> set[str]:
    """What a folder's modules and notebooks import, but for Python's own and ours."""
    sources = [path.read_text() for path in (PROJECT / folder).rglob("*.py")]
    notebooks = [json.loads(path.read_text()) for path in (PROJECT / folder).glob("*.ipynb")]
    cells = [cell for notebook in notebooks for cell in notebook["cells"]]
    sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    ours = {"mer_utils", "tests", *(path.stem for path in PROJECT.glob("tests/*.py"))}
    return names - set(sys.stdlib_module_names) - ours


def test_pins_are_not_below_the_minimum_that_a_promise_hangs_on():
    least = dict(line.split(">=") for line in RUN if ">=" in line)
    assert {"torch", "sentence-transformers", "safetensors"} <= {*least}
    for name, lowest in least.items():
        pinned = constraints()[normal(name)]
        assert [*map(int, pinned.split("."))] >= [*map(int, lowest.split("."))], name


def test_environment_has_the_same_pins():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert environment["name"] == "mer"
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = dict(line.split("==") for line in pip)
    assert len(pinned) == len(pip)
    assert pinned == {name: constraints()[name] for name in map(normal, RUN + DEV)}


def test_what_is_imported_is_declared_and_the_other_way_round():
    run, dev = (
        {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in map(normal, declared)}
        for declared in (RUN, DEV)
    )
    package, notebooks, tests = map(imported, ("mer_utils", "notebooks", "tests"))
    assert package - run == {"tinysoundfont", "IPython"}  # of no-deps.txt; of ipykernel
    assert notebooks - run == {"IPython"}
    assert tests - run - dev == set()
    assert (run | dev) - (package | notebooks | tests) == COMMANDS


def test_packages_without_dependencies_are_pinned_and_hashed():
    lines = (PROJECT / "no-deps.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert len(lines) == 9
    for line in lines:
        assert re.match(r"^[a-z0-9-]+==\S+( --hash=sha256:[0-9a-f]{64})+$", line), line


def test_every_file_of_the_package_is_installed_with_it():
    given = SETTINGS["tool"]["setuptools"]["package-data"]
    installed = {path for kind in given.pop("*") for path in PROJECT.glob(f"mer_utils/**/{kind}")}
    for package, kinds in given.items():
        home = PROJECT / package.replace(".", "/")
        installed |= {path for kind in kinds for path in home.glob(kind)}
    files = {path for path in (PROJECT / "mer_utils").rglob("*") if path.is_file()}
    assert {path for path in files if path.suffix not in (".py", ".pyc")} <= installed


def test_no_code_of_others_is_run():
    """What ruff's rules of group S do not see."""
    unsafe = r"(trust_remote_code|allow_pickle)\s*=\s*True|weights_only\s*=\s*False"
    paths = [*PROJECT.glob("mer_utils/**/*.py"), *PROJECT.glob("notebooks/*.ipynb")]
    assert [path.name for path in paths if re.search(unsafe, path.read_text())] == []
