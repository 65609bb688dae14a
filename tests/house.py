"""Count the rooms, the floors and the circles of ``sintro/`` from its imports, and how dense its lines are.

    python tests/house.py

A room is a module or a package directly in ``sintro/``, without ``__init__`` and ``__main__``. A floor is a step of the
longest chain of imports between rooms. Imports for types alone and imports inside functions count like all others; what
depends on them is said apart.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1] / "sintro"
LONG_FILE, LONG_FUNCTION = 300, 50  # lines
KINDS = ("module", "function", "types")  # where an import stands
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)
SPACE = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
NO_CODE = (*SPACE, tokenize.COMMENT, tokenize.ENDMARKER)

Graph = Mapping[str, set[str]]  # the rooms that a room imports


class Import(NamedTuple):
    """One room imports another: in which file, in which line, and at the module's level, in a function or for types."""

    room: str
    other: str
    kind: str
    file: Path
    line: int


def rooms(package: Path = PACKAGE) -> list[str]:
    """The names of the rooms, sorted."""
    modules = [path.stem for path in package.glob("*.py") if path.stem not in ("__init__", "__main__")]
    packages = [path.parent.name for path in package.glob("*/__init__.py")]
    return sorted({*modules, *packages})


def imports(package: Path = PACKAGE) -> list[Import]:
    """Every import of one room by another, in the order of files and lines."""
    known, found = set(rooms(package)), []
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        room = inside.parts[0].removesuffix(".py")
        if room not in known:
            continue
        folder = (package.name, *inside.parent.parts)
        for node, kind in _import_nodes(ast.parse(file.read_text(encoding="utf-8")), "module"):
            others = {other for other in _imported(node, folder, package.name) if other in known}
            found += [Import(room, other, kind, file, node.lineno) for other in sorted(others - {room})]
    return found


def _import_nodes(node: ast.AST, kind: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, kind
            continue
        inner = kind
        if isinstance(child, FUNCTIONS):
            inner = "function"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = "types"
        yield from _import_nodes(child, inner)


def _imported(node: ast.Import | ast.ImportFrom, folder: tuple[str, ...], package: str) -> set[str]:
    """The names directly below the package that an import statement of a file in a folder of it asks for."""
    if isinstance(node, ast.Import):
        paths = [alias.name.split(".") for alias in node.names]
    else:
        base = list(folder[: len(folder) - node.level + 1]) if node.level else []
        base += node.module.split(".") if node.module else []
        paths = [[*base, alias.name] for alias in node.names]
    return {path[1] for path in paths if len(path) > 1 and path[0] == package}


def graph(found: Iterable[Import], names: Iterable[str]) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    below: dict[str, set[str]] = {name: set() for name in names}
    for each in found:
        below[each.room].add(each.other)
    return below


def circles(below: Graph) -> list[list[str]]:
    """The groups of rooms that import each other, directly or through others."""
    reached = {room: _reached(below, room) for room in below}
    groups = {frozenset(other for other in reached[room] if room in reached[other]) for room in below}
    return sorted(sorted(group) for group in groups if group)


def _reached(below: Graph, room: str) -> set[str]:
    """The rooms that imports lead to from a room; itself only where they lead back."""
    seen: set[str] = set()
    waiting = [room]
    while waiting:
        new = below[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def floors(below: Graph) -> list[list[str]]:
    """The rooms by floor, the lowest first; a room stands on the one above all that it imports.

    Rooms of a circle stand on no floor, nor does a room that imports one of them.
    """
    floor: list[list[str]] = []
    placed: set[str] = set()
    while True:
        next_one = sorted(room for room in below if room not in placed and below[room] <= placed)
        if not next_one:
            return floor
        floor.append(next_one)
        placed |= set(next_one)


# --- lines


def code_lines(source: str) -> int:
    """The lines of a module without blank ones, comments and docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstring_lines(ast.parse(source)))


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS))
            and ast.get_docstring(node, clean=False) is not None
        ):
            lines |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def nodes_per_line(files: Iterable[Path]) -> float:
    """Syntax nodes per line of code, over all files."""
    nodes = lines = 0
    for file in files:
        source = file.read_text(encoding="utf-8")
        nodes += sum(1 for _ in ast.walk(ast.parse(source)))
        lines += code_lines(source)
    return nodes / max(1, lines)


def long_functions(file: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file that are longer than they should be, with their lines."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONG_FUNCTION:
                yield node.name, length


def report(package: Path = PACKAGE) -> list[str]:
    """What is counted, line by line."""
    names, found = rooms(package), imports(package)
    below = graph(found, names)
    stories = floors(below)
    lines = [f"{len(names)} rooms on {len(stories)} floors, {len(circles(below))} circles"]
    for number, story in reversed(list(enumerate(stories, 1))):
        lines.append(f"  {number}  {'  '.join(story)}")
    lines += [f"  circle: {', '.join(group)}" for group in circles(below)]
    lines += _by_kind(found, names)
    return lines + _of_lines(package)


def _by_kind(found: list[Import], names: list[str]) -> list[str]:
    """The imports between two rooms that stand in functions, or are for types, alone."""
    at_module_level = {(each.room, each.other) for each in found if each.kind == "module"}
    lines = []
    for kind in KINDS[1:]:
        pairs = {(each.room, each.other) for each in found if each.kind == kind} - at_module_level
        said = ", ".join(f"{room} -> {other}" for room, other in sorted(pairs)) or "none"
        lines.append(f"only in {kind if kind == 'types' else 'functions'}: {said}")
    stories = floors(graph([each for each in found if each.kind == "module"], names))
    return [*lines, f"without these: {len(stories)} floors"]


def _of_lines(package: Path) -> list[str]:
    files = sorted(package.rglob("*.py"))
    inside = [file for file in files if "report" in file.relative_to(package).parts[:1]]
    outside = [file for file in files if file not in inside]
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    lines = [f"syntax nodes a line: {nodes_per_line(inside):.1f} in report/, {nodes_per_line(outside):.1f} elsewhere"]
    for file in files:
        if lengths[file] > LONG_FILE:
            lines.append(f"long file: {file.relative_to(package)}: {lengths[file]} lines")
        lines += [f"long function: {file.relative_to(package)}: {name}: {n} lines" for name, n in long_functions(file)]
    return [*lines, f"{sum(lengths.values())} lines in {len(files)} files"]


if __name__ == "__main__":
    print("\n".join(report()))
    sys.exit(bool(circles(graph(imports(), rooms()))))
