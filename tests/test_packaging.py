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
# tools that are run and plug-ins that are not imported by name; dask is an executor of the user's,
# jinja2 fills the template of huggingface_hub's ModelCard
COMMANDS = {"jupyterlab", "ipykernel", "nbstripout", "pyarrow", "pytest-xdist", "ruff"}
COMMANDS |= {"import-linter", "pre-commit"}
COMMANDS |= {"dask", "distributed", "jinja2"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().split()
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return {
        "run": [normal(name) for name in project["dependencies"]],
        "dev": [normal(name) for name in project["optional-dependencies"]["dev"]],
    }


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
    return names - set(sys.stdlib_module_names) - {"mer_utils", "conftest", "moods"}


def test_environment_has_the_same_pins():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert environment["name"] == "mer"
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = dict(line.split("==") for line in pip)
    everything = declared()["run"] + declared()["dev"]
    assert sorted(pinned) == sorted(everything)
    assert pinned == {name: constraints()[name] for name in everything}


def test_everything_imported_is_declared():
    allowed = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared()["run"]}
    allowed |= {"tinysoundfont"}  # no-deps.txt
    assert imported("mer_utils") - allowed == set()
    assert imported("notebooks") - allowed == {"IPython"}  # of ipykernel
    allowed |= {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared()["dev"]}
    assert imported("tests") - allowed == set()


def test_everything_declared_is_used():
    used = imported("mer_utils") | imported("notebooks") | imported("tests")
    unused = {
        name
        for name in declared()["run"] + declared()["dev"]
        if name not in COMMANDS and IMPORT_NAMES.get(name, name.replace("-", "_")) not in used
    }
    assert unused == set()


def test_packages_without_dependencies_are_pinned_and_hashed():
    lines = (PROJECT / "no-deps.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert len(lines) == 4
    for line in lines:
        assert re.match(r"^[a-z0-9-]+==\S+( --hash=sha256:[0-9a-f]{64})+$", line), line


def test_no_unsafe_loading():
    forbidden = [
        r"trust_remote_code\s*=\s*True",
        r"allow_pickle\s*=\s*True",
        r"weights_only\s*=\s*False",
        r"pickle\.loads?\(",
        r"yaml\.load\(",
    ]
    for path in [*PROJECT.glob("mer_utils/**/*.py"), *PROJECT.glob("notebooks/*.ipynb")]:
        text = path.read_text()
        for pattern in forbidden:
            assert not re.search(pattern, text, re.MULTILINE), (path.name, pattern)
