"""Registries: what a name stands for, ours and the user's own.

Each room has one at its door: `data.LOADERS`, `labels.TEXT_MODELS`, `sound.ENCODERS`,
`projector.PROJECTORS`, `projector.LOSSES`. Registering is one decorator:

    @projector.LOSSES.register("hinge")
    def hinge(...): ...

From then on "hinge" is a name as good as any other: a method, a model's config, a notebook's
parameter can say it, and its source is part of the key of every kept result (`mer_utils.code`). In
a file it can also be named from outside, `losses.py:hinge`, by a kernel or a machine that has not
seen the file yet; a relative path is looked for in the working folder, then in the project.
Worker processes are given what was registered in a notebook.
"""

import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from os.path import isfile  # of a text that can be no path it says no
from pathlib import Path
from types import ModuleType
from typing import ClassVar, TypeVar

PACKAGE = __name__.partition(".")[0]
PROJECT = Path(__file__).resolve().parents[1]
FROM_FILE = "own_file_"  # how the modules begin that `file.py:name` loads
Entry = TypeVar("Entry", bound=Callable)


class Registry(dict[str, Callable]):
    """Functions or classes by name; an unknown name is a ValueError that lists the known ones."""

    all: ClassVar[dict[str, "Registry"]] = {}

    def __init__(self, what: str) -> None:
        """Make a registry; what: one of its entries, in words."""
        super().__init__()
        self.what = what
        self.reserved: set[str] = set()  # names that mean something else where entries are named
        self.all[what] = self

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorate a function or class: the name stands for it from now on.

        Running a notebook's cell again replaces its entry; a name that is another's is refused.
        """

        def add(entry: Entry) -> Entry:
            if name in self.reserved:
                raise ValueError(f"{name!r} cannot name a {self.what}: it means another thing")
            taken = self.get(name)
            if taken is not None and _place(taken) != _place(entry):
                raise ValueError(
                    f"the {self.what} {name!r} is already {'.'.join(_place(taken))}; take another "
                    "name"
                )
            self[name] = entry
            return entry

        return add

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or ".py:" in str(name)

    def __missing__(self, name: str) -> Callable:
        path, _, inside = str(name).rpartition(":")
        if path.endswith(".py"):
            module = _load(path)
            found = self.get(inside)
            if found is not None and found.__module__ == module.__name__:
                self[name] = found
                return found
        raise ValueError(
            f"no {self.what} {name!r}; there are {', '.join(self) or 'none yet'}; or one of your "
            "own, as file.py:name"
        )


def own_entries() -> dict[str, dict[str, Callable]]:
    """What is not this package's, by registry and name: for a worker process.

    Of what `file.py:name` loaded, the files, under "".
    """
    elsewhere = (f"{PACKAGE}.", FROM_FILE)
    own = {
        what: {k: v for k, v in registry.items() if not v.__module__.startswith(elsewhere)}
        for what, registry in Registry.all.items()
    }
    files = [m.__file__ for name, m in list(sys.modules.items()) if name.startswith(FROM_FILE)]
    return own | {"": dict.fromkeys(files)}


def add_entries(entries: Mapping[str, Mapping[str, Callable]]) -> None:
    """Register what another process sent."""
    for path in entries.get("", ()):
        _load(path)
    for what, own in entries.items():
        if what in Registry.all:
            Registry.all[what].update(own)


def places(path: str) -> list[Path]:
    """Where a path of the user's may be: in the working folder, then in the project."""
    return [base / path for base in (Path.cwd(), PROJECT)]


def _place(entry: Callable) -> tuple[str, str]:
    return entry.__module__, entry.__qualname__


def _load(path: str) -> ModuleType:
    """Run a file as a module, once a process."""
    file = next(filter(isfile, places(path)), None)
    if file is None:
        raise FileNotFoundError(f"no file {' nor '.join(map(str, dict.fromkeys(places(path))))}")
    file = file.resolve()
    name = f"{FROM_FILE}{file.stem}_{sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half a module
        raise
    return module
