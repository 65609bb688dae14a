"""A results folder of whoever made it: every cell in it, judged by what it was made with, not by what is asked here."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sintro import SintroError
from sintro.cells.cell import PARTS, RESULTS, Cell
from sintro.report.numbers.results import Group, Result, read_cell
from sintro.runs import archived
from sintro.runs.results import FINISHED
from sintro.runs.stored import Unreadable, in_a_line, read_provenance

Seeds = dict[int, Result]  # seed -> the finished cell


@dataclass(eq=False)
class Tree:
    """A results folder: its cells by their paths, and what in it cannot be read as a cell, with the reason."""

    given: str
    cells: dict[str, Result] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> dict[str, Result]:
        """The cells that have a result: done or diverged."""
        return {path: result for path, result in self.cells.items() if result.state in FINISHED}

    def groups(self) -> dict[Group, Seeds]:
        """Group the finished cells over seeds, in the order of their paths -> the results by seed, in its order."""
        found: dict[Group, Seeds] = {}
        in_order = sorted(self.finished.values(), key=lambda result: (result.group, result.cell.seed))
        for result in in_order:
            found.setdefault(result.group, {})[result.cell.seed] = result
        return found


def open_tree(given: str | Path) -> Path:
    """Find the results folder: the one given, or `results` in it.

    Raises SintroError where there is none.
    """
    folder = Path(given)
    if not str(given).strip() or not folder.is_dir():
        legal = f"legal is a folder {RESULTS}, one that holds it, or an archive"
        raise SintroError(f"{str(given)!r} does not exist; {legal}")
    inner = folder / RESULTS
    return inner if inner.is_dir() else folder


def read_tree(given: str | Path) -> Tree:
    """Read every cell of a results folder or of an archive. What cannot be read is listed and does not stop the others.

    Raises SintroError where there is no folder, where a file is no whole archive, and where there is no cell in it.
    """
    if not os.path.isfile(given):
        return _read_folder(open_tree(given), str(given))
    with tempfile.TemporaryDirectory(prefix="sintro-compare-") as cache:
        folder, _ = archived.unpacked(Path(given), Path(cache))
        return _read_folder(open_tree(folder), str(given))


def _read_folder(root: Path, given: str) -> Tree:
    tree = Tree(given)
    for parts in _seed_folders(root, (), tree.refused):
        place = "/".join(parts)
        try:
            cell = Cell.from_path(f"{RESULTS}/{place}")
        except SintroError as error:
            tree.refused[place] = str(error)
            continue
        tree.cells[cell.path] = read_cell(cell, root, _own_digest(root / place))
    if not tree.cells:
        why = "; ".join(list(tree.refused.values())[:1])
        raise SintroError(f"{given!r} holds no cell {RESULTS}/<{'>/<'.join(PARTS)}>{why and f': {why}'}")
    return tree


def _seed_folders(root: Path, parts: tuple[str, ...], refused: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Walk to the folders as deep as cells' are that begin with `seed`, in the order of their names."""
    folder = root.joinpath(*parts)
    try:
        names = sorted(name for name in os.listdir(folder) if os.path.isdir(folder / name))
    except OSError as error:
        refused["/".join(parts) or "."] = f"{folder} cannot be read: {error.strerror or error}"
        return
    is_last = len(parts) == len(PARTS) - 1
    for name in names:
        if not is_last:
            yield from _seed_folders(root, (*parts, name), refused)
        elif name.startswith("seed"):
            yield (*parts, name)


def _own_digest(folder: Path) -> str | None:
    """Read the digest of the settings that the cell was trained with; None where it is not known."""
    try:
        provenance = read_provenance(folder)
    except Unreadable:  # which judging the cell says as well
        return None
    return provenance.digest if provenance else None


def one_line(value: object, longest: int = 60) -> str:
    """Spell what a file of an unknown maker holds: one line, cut where it is long."""
    text = in_a_line(str(value))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
