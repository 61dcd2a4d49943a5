"""How large the package is and how it hangs together: python benchmarks/structure.py

Lines, and those of code (without docstrings, comments, empty lines), modules, rooms (a folder or
a module at the top), layers (the longest way down through the imports of rooms), arrows (imports
between rooms) and circles; then the modules above 500 lines. Imports inside functions count, those
for type checking alone too.
"""

import ast
import tokenize
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "mer_utils"
LONGEST = 500  # lines that a module may have


def imported(path: Path) -> set[str]:
    """The places of the package that a module imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            base = node.module.split(".")[1:]
            found |= {".".join([*base, name.name]) for name in node.names}
    return found


def code_lines(path: Path) -> int:
    """How many lines of a module do something."""
    empty = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    with path.open("rb") as file:
        tokens = [x for x in tokenize.tokenize(file.readline) if x.type not in empty][1:-1]
    found = {line for x in tokens for line in range(x.start[0], x.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
            found -= set(range(node.lineno, node.end_lineno + 1))
    return len(found)


def main() -> None:
    modules = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    lines = {name: len(path.read_text().splitlines()) for name, path in modules.items()}
    rooms = {name.partition(".")[0] for name in modules} - {"__init__"}
    below: dict[str, set[str]] = {room: set() for room in rooms}  # what each imports
    for name, path in modules.items():
        room = name.partition(".")[0]
        if room in rooms:
            to = {place.partition(".")[0] for place in imported(path)}
            below[room] |= (to & rooms) - {room}
    depth: dict[str, int] = {}
    circle = "none"
    try:
        for room in TopologicalSorter(below).static_order():
            depth[room] = 1 + max((depth[other] for other in below[room]), default=0)
    except CycleError as error:
        circle = " -> ".join(error.args[1])
    tests = sum(len(path.read_text().splitlines()) for path in (PROJECT / "tests").rglob("*.py"))
    code = sum(map(code_lines, modules.values()))
    print(f"lines     {sum(lines.values()):,}, {code:,} of code (tests {tests:,})")
    print(f"modules   {len(modules)} in {len(rooms)} rooms")
    print(f"layers    {max(depth.values(), default='unknown, there is a circle')}")
    print(f"arrows    {sum(map(len, below.values()))}")
    print(f"circles   {circle}")
    for name, count in sorted(lines.items(), key=lambda item: -item[1]):
        if count > LONGEST:
            print(f"above {LONGEST}: {name} {count}")


if __name__ == "__main__":
    main()
