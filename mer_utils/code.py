"""What code does, as a hash, so that a kept result is known by the code that made it.

A result names the modules of this package that it begins with (`modules_hash`); they count with all
that they import of the package, and the data files that they name. What the user registered or
wrote counts with what it names of the user's own (`own_hash`). Installed libraries are known by
their versions. Comments, docstrings, annotations and the words of errors change nothing.

Code is read as it lies on disk. So a file that was edited since the process started, and a function
of the package in whose place another was put, are errors: what runs would be kept under the name of
what does not.
"""

import ast
import hashlib
import inspect
import linecache
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

import joblib

PACKAGE = Path(__file__).resolve().parent
PLUMBING = ("__init__", "code", "progress", "registry", "storage")  # decide no value
DATA_FILES = (".csv", ".yml")

_STARTED = time.time()
_PARSING = threading.Lock()
_NO_MATTER = {"annotation", "returns", "type_comment", "kind"}  # fields of a syntax tree


def modules_hash(*modules: str, leave_out: Collection[str] = ()) -> str:
    """A short hash of modules of this package and all of the package that they import.

    modules: such as "sound.mert". leave_out: modules or folders that do not count, such as "data".
    """
    found: set[Path] = set()
    waiting = [_file(module) for module in modules]
    while waiting:
        path = waiting.pop()
        inside = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path in found or {inside, inside.partition(".")[0]} & {*leave_out, *PLUMBING}:
            continue
        found.add(path)
        _refuse_edited(path)
        if path.suffix == ".py":
            _refuse_replaced(f"{PACKAGE.name}.{inside}")
            waiting += _leads_to(path)
    return files_hash(found)


def files_hash(files: Iterable[Path]) -> str:
    """A short hash of what files do on disk: Python as its syntax tree, others by their bytes."""
    return _digest(sorted((f.name, _file_hash(f, f.stat().st_mtime_ns)) for f in files))


def own_hash(thing: Callable) -> str:
    """A short hash of a function or class of the user's, and of what it names of the user's own.

    What it names of this package counts as `modules_hash` tells; of other libraries by its name.
    """
    found: dict[str, str] = {}
    waiting = [("", inspect.unwrap(thing))] if _is_own(thing) else []
    while waiting:
        place, value = waiting.pop()
        code = inspect.isfunction(value) or inspect.isclass(value)
        place = f"{value.__module__}.{value.__qualname__}" if code else place
        if place in found:
            continue
        if inspect.ismodule(value):
            found[place] = _module_told(value)
        elif not code:
            found[place] = _value_told(place, value)
            waiting += [("", type(value))] if _is_own(type(value)) else []
        elif value.__module__.partition(".")[0] == PACKAGE.name:
            found[place] = _module_told(sys.modules[value.__module__])
        elif _is_own(value):
            with _PARSING:  # Python 3.11's parser counts its depth across threads
                tree = _written(value)
            found[place] = _digest(_tree(tree))
            around = inspect.getclosurevars(value).nonlocals if inspect.isfunction(value) else {}
            space = {**vars(sys.modules[value.__module__]), **around}
            named = sorted({x.id for x in ast.walk(tree) if isinstance(x, ast.Name)} & {*space})
            waiting += [(f"{value.__module__}.{x}", inspect.unwrap(space[x])) for x in named]
    return _digest(sorted(found.items()))


def _module_told(module: ModuleType) -> str:
    """What a module does: of this package by its hash, of the user's by its file, else its name."""
    if module.__name__.partition(".")[0] == PACKAGE.name:
        return modules_hash(module.__name__.partition(".")[2] or "__init__")
    if _is_own(module) and module.__file__:
        _refuse_edited(Path(module.__file__))
        return files_hash([Path(module.__file__)])
    return module.__name__


def _value_told(name: str, value: object) -> str:
    """What a constant of the user's is: its content, or the name of a library's function."""
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__name__}"
    if type(value).__module__.partition(".")[0] == PACKAGE.name:  # such as a registry
        return type(value).__name__
    if hasattr(value, "state_dict"):  # a network
        value = {k: v.numpy(force=True) for k, v in value.state_dict().items()}
    elif hasattr(value, "numpy"):  # a tensor
        value = value.numpy(force=True)
    try:
        return str(joblib.hash(value))
    except Exception as error:  # locks, open files, what cannot be pickled
        raise ValueError(
            f"{name}: results could not be known by its content ({error}); make it inside the "
            "function that uses it"
        ) from error


def _written(thing: Callable) -> ast.AST:
    """The syntax tree of a function or class, in a file or in a notebook's cell."""
    if inspect.isclass(thing) and thing.__module__ == "__main__":  # inspect does not find cells
        for member in filter(inspect.isfunction, vars(thing).values()):
            first = member.__code__.co_firstlineno
            lines = linecache.getlines(member.__code__.co_filename)
            for node in ast.walk(ast.parse("".join(lines))):
                own = isinstance(node, ast.ClassDef) and node.name == thing.__name__
                if own and node.lineno <= first <= node.end_lineno:
                    return node
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, SyntaxError, TypeError):  # made by exec, or a lambda inside a line
        raise ValueError(
            f"{thing.__module__}.{thing.__qualname__}: its source cannot be read, so results could "
            "not be known by it; write it in a file or a notebook's cell, as def or class"
        ) from None
    _refuse_edited(Path(inspect.getsourcefile(thing) or ""))
    return tree


def checked(function: Callable, *modules: str) -> Callable:
    """The function for a worker process, where it raises RuntimeError if the modules differ."""
    expected = modules_hash(*modules)

    def call(*arguments: object) -> object:
        if modules_hash(*modules) != expected:
            raise RuntimeError("the package was edited since the work began; restart the kernel")
        return function(*arguments)

    return call


def _is_own(thing: Callable | ModuleType) -> bool:
    """Whether something is the user's: not of this package, Python or an installed library."""
    name = thing.__name__ if inspect.ismodule(thing) else str(thing.__module__)
    return _is_own_module(name, getattr(sys.modules.get(name), "__file__", None) or "")


@cache  # asked of everything that stands in a module, for every result
def _is_own_module(name: str, file: str) -> bool:
    top, path = name.partition(".")[0], Path(file)
    if name == "__main__" or not file or top == PACKAGE.name or top in sys.stdlib_module_names:
        return name == "__main__"
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    depth = name.count(".") + (path.stem == "__init__")
    return not any(top in _put_by_pip(place) for place in [*path.parents][depth:][:1])


@cache
def _put_by_pip(folder: Path) -> set[str]:
    """The modules that `pip install --target` put into a folder, as clusters do, by its notes."""
    records = [file.read_text(encoding="utf-8") for file in folder.glob("*.dist-info/RECORD")]
    return {re.split(r"[/.,]", line)[0] for record in records for line in record.splitlines()}


def _refuse_replaced(module: str) -> None:
    """Raise RuntimeError if something of the user's stands in a module of this package."""
    inside = vars(sys.modules.get(module, object)).items()
    classes = [(k, vars(v)) for k, v in inside if inspect.isclass(v) and v.__module__ == module]
    members = [(f"{k}.{name}", value) for k, own in classes for name, value in own.items()]
    for name, value in [*inside, *members]:
        if (inspect.isfunction(value) or inspect.isclass(value)) and _is_own(value):
            raise RuntimeError(
                f"{value.__module__}.{value.__qualname__} was put in the place of {module}.{name}, "
                "so results would be known by code that did not make them; register it under a "
                "name of its own instead (mer_utils.registry)"
            )


def _file(module: str) -> Path:
    """The file of a module of this package; of a folder its door."""
    place = PACKAGE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def _leads_to(path: Path) -> tuple[Path, ...]:
    """What a module of this package imports of it, and the data files beside it that it names."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(PACKAGE.name):
            above = node.module.partition(".")[2]
            for alias in node.names:  # a module of the folder, or a name in the module
                inside = _file(f"{above}.{alias.name}".strip("."))
                found.add(inside if inside.is_file() else _file(above))
        elif isinstance(node, ast.Constant) and str(node.value).endswith(DATA_FILES):
            beside = path.with_name(Path(str(node.value)).name)
            found.update([beside] if beside.is_file() else [])
    return tuple(sorted(found))


def _refuse_edited(file: Path) -> None:
    """Raise RuntimeError if a file (not a notebook's cell) changed since the start."""
    if file.is_file() and file.stat().st_mtime > _STARTED:
        raise RuntimeError(
            f"{file} was edited since this process started; restart the kernel, so that results "
            "are known by the code that made them"
        )


@cache
def _file_hash(file: Path, changed: int) -> str:
    if file.suffix != ".py":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return _digest(_tree(ast.parse(file.read_text(encoding="utf-8"))))


def _tree(node: object) -> object:
    """A syntax tree as nested tuples, without what changes nothing."""
    if isinstance(node, list):
        inert = [isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant) for x in node]
        return tuple(_tree(x) for x, skip in zip(node, inert, strict=True) if not skip)
    if isinstance(node, ast.AST):
        fields = [] if isinstance(node, ast.Raise) else ast.iter_fields(node)
        told = [(k, _tree(v)) for k, v in fields if k not in _NO_MATTER and v not in (None, [])]
        return type(node).__name__, *told
    return repr(node)


def _digest(told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
