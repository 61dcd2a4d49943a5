"""What code does, as a hash, so that a kept result is known by the code that made it.

A result names the functions that it begins with; from there every function, class and constant
counts that they come to by name, in this package and in the user's own code (a notebook's too), not
in installed libraries. The live objects count: what is put in the place of a function at run time
changes the hash.

Comments, docstrings, annotations and the words of errors change nothing. A function counts by its
syntax tree, which is the same for every version of Python; or by its bytecode where its source is
not at hand, or was edited since and is not what runs.

Conventions: a place is "folder.module.name", or "folder.module.class.name".
"""

import ast
import dis
import hashlib
import inspect
import linecache
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import cache, cached_property, lru_cache, partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from pkgutil import resolve_name
from types import CodeType, FunctionType, ModuleType

import joblib

PACKAGE = "mer_utils"
PLUMBING = ("code", "progress", "storage")  # modules that decide no value

_PLAIN = (str, bytes, int, float, complex, type(None))
_CONTAINERS = (Mapping, list, tuple, set, frozenset)
_DESCRIPTORS = (property, cached_property, classmethod, staticmethod)
_INSIDE = ("fget", "func", "args", "keywords", "__func__", "__wrapped__")
_INSIDE += ("__defaults__", "__kwdefaults__", "__self__")  # what properties and functions hold
_ASKS = ("LOAD_ATTR", "LOAD_METHOD")  # instructions that ask something of what was loaded
_NO_MATTER = {"annotation", "returns", "type_comment", "kind"}  # fields of a syntax tree


def hash_of(things: Iterable[object], leave_out: Collection[str] = ()) -> str:
    """A short hash of what things do; arguments as in `reached`."""
    found = reached(things, leave_out)
    return _digest(sorted((place, _told(value)) for place, value in found.items()))


def files_hash(paths: Iterable[Path]) -> str:
    """A short hash of what Python files do, as they lie on disk."""
    trees = [(path.name, _tree(ast.parse(path.read_text(encoding="utf-8")))) for path in paths]
    return _digest(sorted((name, _digest(tree)) for name, tree in trees))


def described(settings: object) -> object:
    """Settings whose functions and classes are put as their names and hashes, JSON-able."""
    if isinstance(settings, Mapping):
        return {key: described(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [described(value) for value in settings]
    if callable(settings):
        return {"name": _home(settings), "code": hash_of([settings])}
    return settings


def reached(things: Iterable[object], leave_out: Collection[str] = ()) -> dict[str, object]:
    """Everything that things come to by name, and they themselves, by place.

    things: places inside the package, such as "projector.methods.fit", or functions and classes.
    leave_out: places inside the package, or modules, whose code does not count here.
    Raises AttributeError for a place where nothing is.
    """
    skipped = {f"{PACKAGE}.{name}" for name in (*leave_out, *PLUMBING)}
    waiting = [(f"{PACKAGE}.{x}",) * 2 if isinstance(x, str) else (_home(x), x) for x in things]
    waiting = [(place, resolve_name(x) if isinstance(x, str) else x) for place, x in waiting]
    found: dict[str, object] = {}
    while waiting:
        place, value = waiting.pop()
        owners = {place, place.rpartition(".")[0], _home(value), getattr(value, "__module__", "")}
        if place not in found and not owners & skipped:
            found[place] = value
            waiting += _leads_to(place, value)
    return found


def _leads_to(place: str, value: object) -> Iterator[tuple[str, object]]:
    """What a thing names or holds, with the place of each."""
    if isinstance(value, _CONTAINERS):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        parts = [(f"{place}[{key!r}]", item) for key, item in items]
        yield from (p for p in parts if callable(p[1]) or isinstance(p[1], _CONTAINERS))
    elif isinstance(value, type):
        if _is_own(value.__module__):
            yield from ((_home(base), base) for base in value.__bases__)
            for name, member in vars(value).items():
                written = not _is_generated(member)
                if written and (callable(member) or not name.startswith("__")):
                    yield f"{_home(value)}.{name}", member
    elif not isinstance(value, _PLAIN) and not _is_of_library(value):
        if _is_own(type(value).__module__):
            yield _home(type(value)), type(value)
        yield from ((f"{place}.{x}", getattr(value, x)) for x in _INSIDE if getattr(value, x, None))
    if isinstance(value, FunctionType) and _is_own(value.__globals__["__name__"]):
        yield from _named(value)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                yield f"{place}.{name}", cell.cell_contents
    home = _home(value)
    if isinstance(value, FunctionType | type) and home.startswith(PACKAGE) and home != place:
        with suppress(AttributeError, ValueError):  # of a function inside another
            yield home, resolve_name(home)  # not always the same: it may have been replaced


def _named(function: FunctionType) -> Iterator[tuple[str, object]]:
    """What stands now under the global names of a function, its own attributes, its imports."""
    space = function.__globals__
    for name, *attributes in _names(function.__code__):
        if name not in space:
            continue
        place, value = f"{space['__name__']}.{name}", space[name]
        while isinstance(value, ModuleType) and _is_own(value.__name__) and attributes:
            attribute = attributes.pop(0)
            place, value = f"{value.__name__}.{attribute}", vars(value).get(attribute)
        if not isinstance(value, ModuleType):
            yield place, value
    for module, name in _imports(function.__code__):
        if _is_own(module):
            yield f"{module}.{name}", getattr(import_module(module), name)
    for name, value in vars(function).items():
        if name != "__wrapped__":  # what it wraps is followed by itself
            yield f"{_home(function)}.{name}", value


@cache
def _names(code: CodeType) -> frozenset[tuple[str, ...]]:
    """The global names in a function, each with the chain of attributes that is asked of it."""
    steps = list(dis.get_instructions(code))
    names = set()
    for place, step in enumerate(steps):
        if step.opname == "LOAD_GLOBAL":
            chain = takewhile(lambda x: x.opname in _ASKS, steps[place + 1 :])
            names.add((step.argval, *(x.argval for x in chain)))
    return frozenset(names.union(*map(_names, _inner(code))))


@cache
def _imports(code: CodeType) -> frozenset[tuple[str, str]]:
    """What a function imports by itself: `from module import name`."""
    found, module = set(), ""
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        elif step.opname == "IMPORT_FROM":
            found.add((module, step.argval))
    return frozenset(found.union(*map(_imports, _inner(code))))


def _inner(code: CodeType) -> list[CodeType]:
    """The functions written inside a function."""
    return [x for x in code.co_consts if isinstance(x, CodeType)]


def _home(value: object) -> str:
    """The place where a function or class was made; of another object, that of its class."""
    made = value if hasattr(value, "__qualname__") else type(value)
    return f"{made.__module__}.{made.__qualname__}"


@cache
def _is_own(module: str) -> bool:
    """Whether a module is of this package or the user's own, not of an installed library."""
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    own = file and not {"site-packages", "dist-packages"} & set(Path(file).parts)
    return top in (PACKAGE, "__main__") or bool(own and top not in sys.stdlib_module_names)


def _is_of_library(value: object) -> bool:
    return hasattr(value, "__qualname__") and not _is_own(str(value.__module__))


def _is_generated(member: object) -> bool:
    """Whether a dataclass made this method: from text that lies in no file."""
    code = getattr(inspect.unwrap(member), "__code__", None)
    return code is not None and code.co_filename == "<string>"


# --- Telling what one thing does ------------------------------------------------------------------


def _told(value: object) -> object:
    """What a thing is, without what it leads to: text, or nested tuples of it."""
    if isinstance(value, FunctionType) and _is_own(value.__globals__["__name__"]):
        return _function(value.__code__)
    if isinstance(value, Mapping):
        return tuple((_told(key), _told(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return tuple(sorted(repr(_told(item)) for item in value))
    if isinstance(value, list | tuple):
        return tuple(map(_told, value))
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, type | FunctionType) or hasattr(value, "__qualname__"):
        return _home(value)
    try:
        return str(joblib.hash(value))
    except Exception:  # what cannot be pickled: locks, open files
        return _home(value)


@cache
def _function(code: CodeType) -> str:
    """The hash of a function: of its source if that is what runs, else of its bytecode."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    return _written(text).get(code) or _bytecode(code)


@lru_cache(maxsize=128)
def _written(text: str) -> dict[CodeType, str]:
    """The functions in a source text, as they are compiled, each with the hash of its tree."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    trees = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(x.lineno for x in (node, *node.decorator_list))
            trees[node.name, first] = node
    found, waiting = {}, [compile(tree, "", "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        waiting += _inner(code)
        if (code.co_name, code.co_firstlineno) in trees:
            found[code] = _digest(_tree(trees[code.co_name, code.co_firstlineno]))
    return found


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


@cache
def _bytecode(code: CodeType) -> str:
    """The hash of a function's instructions, without its docstring."""
    steps = [
        (x.opname, _bytecode(x.argval) if isinstance(x.argval, CodeType) else _told(x.argval))
        for x in dis.get_instructions(code)
    ]
    return _digest(steps)


def _digest(told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


# --- To other processes ---------------------------------------------------------------------------


def portable(function: Callable, things: Iterable[object]) -> Callable:
    """A function that runs in a worker process with what stands in the package here and now.

    What was put in the place of a function or constant at run time goes along by value (joblib's
    processes take that, from a notebook too), stands there for a call and is taken out again.

    things: what the function passes through, as in `reached`.
    The call raises RuntimeError if the worker's code is another nevertheless.
    """
    found = reached(things)
    sent = {
        place: value
        for place, value in found.items()
        if _home(value) != place and _owner(place) and not isinstance(value, _DESCRIPTORS)
    }
    return partial(_call, function, tuple(things), sent, _bytecodes(found))


def _call(
    function: Callable, things: tuple, sent: Mapping, code: Mapping[str, str], *arguments: object
) -> object:
    """What `portable` runs in the worker."""
    with ExitStack() as stack:
        for place, value in sent.items():
            here = resolve_name(place)
            if here is not value and (callable(value) or _told(here) != _told(value)):
                stack.callback(setattr, _owner(place), place.rpartition(".")[2], here)
                setattr(_owner(place), place.rpartition(".")[2], value)
        here = _bytecodes(reached(things))
        other = sorted(p for p in {**code, **here} if code.get(p) != here.get(p))
        if other:
            raise RuntimeError(
                f"{other[0]} is other code in this worker than where the work was started: edited "
                "since, or replaced by what cannot be handed over; restart the kernel, or use one "
                "process"
            )
        return function(*arguments)


def _owner(place: str) -> ModuleType | type | None:
    """The module or class of this package whose attribute a place is, if it is one."""
    above, _, name = place.rpartition(".")
    with suppress(AttributeError, ValueError, ImportError):
        if above.startswith(PACKAGE) and name.isidentifier():
            owner = resolve_name(above)
            return owner if isinstance(owner, ModuleType | type) else None
    return None


def _bytecodes(found: Mapping[str, object]) -> dict[str, str]:
    functions = {p: f for p, f in found.items() if isinstance(f, FunctionType)}
    return {p: _bytecode(f.__code__) for p, f in functions.items() if p.startswith(PACKAGE)}
