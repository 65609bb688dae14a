"""Studies: named grids of cells, one short YAML file each, and the settings that a study gives a cell.

Adding a study is adding a file under `workflow/studies`. Nothing here imports torch.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import PrivateAttr

from sintro import SintroError
from sintro.cells import components, origins, presets, search_results, table, yamlfiles
from sintro.cells.cell import PARTS, RESULTS, Cell, check_study_name, parse_seed
from sintro.cells.components import suggestion
from sintro.cells.settings import Settings
from sintro.cells.study_checks import check
from sintro.cells.study_files import PRESETS, StudyFile, folder, names, product

RESTRICTIONS = {"datasets": "dataset", "priors": "prior", "seeds": "seed"}  # of a grid from another study, by key


class Study(StudyFile):
    """A study's file, checked, and the cells that it stands for."""

    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)

    def cells(self) -> tuple[Cell, ...]:
        """List the study's cells in the file's order; a union's cells keep the paths of their own studies."""
        if self.cells_from is not None:
            return self._copied()
        if self.include is None:
            return self._grid
        return _refuse_duplicates(self, [cell for name in self.include for cell in load(name).cells()])

    @property
    def left_out(self) -> dict[str, str]:
        """Say by path why the study leaves a cell out: an extension is broken, or was deleted."""
        if self.cells_from is not None:
            of_source = load(self.cells_from).left_out
            axes = {path: _axes(path) for path in of_source}
            return {_path(self.name, axes[path]): why for path, why in of_source.items() if self._keeps(axes[path])}
        parts = [load(name).left_out for name in self.include or ()]
        return {path: why for part in (self._left_out, *parts) for path, why in part.items()}

    def in_words(self, left_out: Mapping[str, str]) -> str:
        """Say in one line which cells are left out, and why; nothing where none is."""
        if not left_out:
            return ""
        path, why = next(iter(left_out.items()))
        there = " (their results stay where they are)" if any(map(os.path.isdir, left_out)) else ""
        return f"{len(left_out)} cells of study {self.name} are left out, as {path}{there}: {why}"

    def _copied(self) -> tuple[Cell, ...]:
        """List the cells of another study's grid as this study's own."""
        source = load(self.cells_from)
        whole = [dict(cell) for cell in source.cells()] + [_axes(path) for path in source.left_out]
        for key, axis in RESTRICTIONS.items():
            legal = list(dict.fromkeys(axes[axis] for axes in whole))
            for one in getattr(self, key) or ():
                if one not in legal:
                    listed = ", ".join(map(str, legal))
                    near = suggestion(one, map(str, legal))
                    raise SintroError(f"{self.file}: {key}: study {self.cells_from} has {listed}, not {one!r}{near}")
        if not any(map(self._keeps, whole)):
            restricted = " and ".join(key for key in RESTRICTIONS if getattr(self, key))
            raise SintroError(f"{self.file}: no cell of study {self.cells_from} has one of these {restricted} together")
        kept = [cell for cell in source.cells() if self._keeps(dict(cell))]
        return tuple(cell.model_copy(update={"study": self.name}) for cell in kept)

    def _keeps(self, axes: dict[str, Any]) -> bool:
        """Tell whether a cell of another study's grid is in this study's too."""
        kept = {axis: getattr(self, key) for key, axis in RESTRICTIONS.items()}
        return all(values is None or axes[axis] in values for axis, values in kept.items())

    @cached_property
    def _grid(self) -> tuple[Cell, ...]:
        cells = []
        for index, block in enumerate(self.cells_of or ()):
            try:
                known, left_out = product(self, block)
            except SintroError as error:
                raise SintroError(f"{self.file}: cells[{index}]: {error}") from None
            cells += known
            self._left_out.update(left_out)
        return _refuse_duplicates(self, cells)


def _axes(path: str) -> dict[str, Any]:
    """Name the parts of a cell's path, also where no component is known."""
    *names, seed = path.split("/")[1:]
    return dict(zip(PARTS[:-1], names, strict=True)) | {"seed": parse_seed(seed)}


def _path(study: str, axes: dict[str, Any]) -> str:
    """Spell the path of the cell with these parts in another study."""
    return "/".join((RESULTS, study, *(axes[part] for part in PARTS[1:-1]), f"seed{axes['seed']}"))


def load(name: str) -> Study:
    """Read and check a study. Raises SintroError: file, key, value and the legal values in one line."""
    check_study_name(name)
    path = folder() / f"{name}.yaml"
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise SintroError(f"{path} is a link that leads nowhere") from None
        known = names()
        listed = ", ".join(known) or "none"
        raise SintroError(f"study {name!r} is not one of {listed} (in {folder()}){suggestion(name, known)}") from None
    except OSError as error:
        raise SintroError(f"{path} cannot be read: {error.strerror or error}") from None
    return _load(path, status.st_mtime_ns, status.st_size)


def settings(cell: Cell, iterations: int | None = None, precision: str | None = None) -> Settings:
    """Resolve the cell's settings: the table's, at the study's length, with its overrides and search results.

    ``iterations`` sets another length, to try something out; everything else follows in proportion. ``precision`` is
    that of an image cell's training. Neither makes a run that is comparable with the study's others.
    """
    return _resolve(cell, iterations, precision).settings


def published(cell: Cell) -> Settings:
    """Resolve the cell's published settings in the protocol that its study follows."""
    return presets.published(cell, load(cell.study).protocol)


def sources(cell: Cell, iterations: int | None = None, precision: str | None = None) -> dict[str, str]:
    """Say where each of the cell's settings comes from: the table's row, the path, the study, or a search."""
    resolved = _resolve(cell, iterations, precision)
    told = origins.sources(resolved.settings, load(cell.study).protocol)
    for name, change in resolved.changed.items():
        if told[name] != "does not apply":
            told[name] = f"{change}; {told[name]}"
    if cell.betas is not None:
        told |= {
            name: "the cell's path"
            for name in ("beta_rec", "beta_kl", "beta_neg", "margin")
            if told[name] != "does not apply"
        }
    return told


class _Resolved(NamedTuple):
    settings: Settings
    changed: dict[str, str]  # field -> what set it


def _resolve(cell: Cell, iterations: int | None, precision: str | None = None) -> _Resolved:
    study = load(cell.study)
    if study.include:
        raise SintroError(
            f"{cell.path}: study {study.name!r} is the union of {', '.join(study.include)}: "
            f"its cells lie in their folders, as {study.cells()[0].path}"
        )
    key, values, shares = study.overrides_of(cell)
    changed = dict.fromkeys(values, f"study {study.name}: {key}")
    if precision is not None:
        if cell.data.kind != "images":
            raise SintroError(f"{cell.path}: precision {precision}: it is for image cells only")
        values["precision"], changed["precision"] = precision, "asked for"
    total = values.pop("iterations", None)
    asked = f"study {study.name}: " + (f"iterations {total}" if total else f"length {_as_fraction(study.length)}")
    if iterations is not None:
        total, asked = iterations, f"asked for: {iterations} iterations"
    if total is not None or study.length != 1:
        changed |= dict.fromkeys(table.SCHEDULE_ROWS, asked)
    for name, row in table.SCHEDULE_ROWS.items():
        if row in shares and not (name == "warmup" and not components.objective(cell.objective_name).has_two_phases):
            changed[name] = f"study {study.name}: {key}, {row} {_as_fraction(shares[row])} of the length"
    if study.hyperparameters != PRESETS and cell.betas is None:
        found, why = search_results.best(study.hyperparameters, cell)
        values |= found
        changed |= dict.fromkeys(found, why)
    try:
        resolved = presets.resolve(
            cell, length=study.length, iterations=total, values=values, shares=shares, protocol=study.protocol
        )
    except SintroError:
        raise
    except Exception as error:  # what an extension says of itself may be anything
        if said := components.fault(error) or _wrong_rows(cell, error):
            raise SintroError(f"{cell.path}: {said}") from None
        raise
    return _Resolved(resolved, changed)


def _wrong_rows(cell: Cell, error: Exception) -> str:
    """Say which extension gives a cell settings that are none; empty where none of its parts is an extension's."""
    owners = [f"{one.source}: {one.what} {one.name!r}" for one in cell.components if one.source]
    return f"{', '.join(owners)}: its rows make no valid settings: {components.in_a_line(error)}" if owners else ""


def _as_fraction(share: float | tuple[float, ...]) -> str:
    """Spell a share, or several: `1/15`, `7/10, 9/10`."""
    if isinstance(share, tuple):
        return ", ".join(map(_as_fraction, share))
    return str(Fraction(share).limit_denominator(10_000))


@lru_cache(maxsize=64)
def _load(path: Path, _mtime: int, _size: int) -> Study:
    """Read a study file; the cache forgets a file that was changed."""
    study = yamlfiles.read(path, Study)
    study._name, study._file = path.stem, str(path)
    check(study, study.cells)
    told = study.in_words(study.left_out)
    for warning in (told, *components.news_of_broken(said=told)):
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
    return study


def _refuse_duplicates(study: Study, cells: list[Cell]) -> tuple[Cell, ...]:
    """Return the cells. Raises SintroError where one is there twice."""
    if not cells:  # all of them left out
        return ()
    path, times = Counter(cell.path for cell in cells).most_common(1)[0]
    if times > 1:
        raise SintroError(f"{study.file}: {path} is there {times} times; every cell of a study is there once")
    return tuple(cells)
