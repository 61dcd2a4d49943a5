"""Set-up files agree with one another and with what the code imports."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
# installed under another name than they are imported by
IMPORT_NAMES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}
# tools that are run and plug-ins that are not imported by name
COMMANDS = {"jupyterlab", "ipykernel", "nbstripout", "pyarrow", "pytest_xdist", "ruff", "dask"}
COMMANDS |= {"import_linter", "mypy", "pre_commit"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().split()
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return {
        "run": [normal(name.partition(">")[0]) for name in project["dependencies"]],
        "dev": [normal(name) for name in project["optional-dependencies"]["dev"]],
    }


def test_pins_are_not_below_the_minimum_that_a_promise_hangs_on():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    least = dict(line.split(">=") for line in project["dependencies"] if ">=" in line)
    assert {"torch", "sentence-transformers", "safetensors"} <= {*least}
    for name, version in least.items():
        pinned, lowest = (
            [int(part) for part in x.split(".")] for x in (constraints()[normal(name)], version)
        )
        assert pinned >= lowest, name


def sources(folder: str) -> list[str]:
    """The code of a folder's modules and notebooks."""
    modules = [path.read_text() for path in (PROJECT / folder).rglob("*.py")]
    notebooks = [json.loads(path.read_text()) for path in (PROJECT / folder).glob("*.ipynb")]
    cells = [cell for notebook in notebooks for cell in notebook["cells"]]
    return modules + ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imported(folder: str) -> set[str]:
    names = set()
    for source in sources(folder):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    ours = {"mer_utils", "tests", *(path.stem for path in PROJECT.glob("tests/*.py"))}
    return names - set(sys.stdlib_module_names) - ours


def test_environment_has_the_same_pins():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert environment["name"] == "mer"
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = dict(line.split("==") for line in pip)
    everything = declared()["run"] + declared()["dev"]
    assert sorted(pinned) == sorted(everything)
    assert pinned == {name: constraints()[name] for name in everything}


def test_what_is_imported_is_declared_and_the_other_way_round():
    run, dev = (
        {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared()[kind]}
        for kind in ("run", "dev")
    )
    package, notebooks, tests = map(imported, ("mer_utils", "notebooks", "tests"))
    assert package - run == {"tinysoundfont", "IPython"}  # of no-deps.txt; of ipykernel
    assert notebooks - run == {"IPython"}  # of ipykernel
    assert tests - run - dev == set()
    by_sphinx = {"myst_nb", "sphinx_book_theme"}  # loaded by name
    assert (run | dev) - (package | notebooks | tests) == COMMANDS | by_sphinx


def test_packages_without_dependencies_are_pinned_and_hashed():
    lines = (PROJECT / "no-deps.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert len(lines) == 9
    for line in lines:
        assert re.match(r"^[a-z0-9-]+==\S+( --hash=sha256:[0-9a-f]{64})+$", line), line


def test_every_file_of_the_package_is_installed_with_it():
    package_data = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    given = package_data["package-data"]
    left_out = []
    for path in sorted((PROJECT / "mer_utils").rglob("*")):
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        found = []
        for package, patterns in given.items():
            home = path.parent if package == "*" else PROJECT / package.replace(".", "/")
            found += [path in home.glob(pattern) for pattern in patterns]
        if not any(found):
            left_out.append(path.name)
    assert left_out == []


def test_no_code_of_others_is_run():
    """What ruff's rules of group S do not see."""
    unsafe = r"(trust_remote_code|allow_pickle)\s*=\s*True|weights_only\s*=\s*False"
    paths = [*PROJECT.glob("mer_utils/**/*.py"), *PROJECT.glob("notebooks/*.ipynb")]
    assert [path.name for path in paths if re.search(unsafe, path.read_text())] == []
