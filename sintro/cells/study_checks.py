"""Checks of a study's keys against each other: one line refuses a study that contradicts itself."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from sintro import SintroError
from sintro.cells import presets, yamlfiles
from sintro.cells.cell import Cell
from sintro.cells.components import suggestion
from sintro.cells.study_files import PRESETS, StudyFile, folder, names


def check(study: StudyFile, cells: Callable[[], Sequence[Cell]]) -> None:
    """Raise SintroError where a study's keys contradict each other, or a cell is bad; ``cells`` gives its grid."""
    if sum(grid is not None for grid in (study.cells_of, study.cells_from, study.include)) != 1:
        raise SintroError(f"{study.file}: a study has one of the keys cells, cells_from and include")
    if study.include is not None:
        surplus = study.model_fields_set - {"title", "description", "include", "comparable"}
        if surplus:
            raise SintroError(
                f"{study.file}: {', '.join(sorted(surplus))}: a union takes these from the studies it includes; "
                "legal keys beside include are title, description, comparable"
            )
        _check_includes(study, (study.name,))
        _check_runs(study, cells())
        return
    if study.hyperparameters != PRESETS and study.hyperparameters not in names():
        legal = [PRESETS, *names()]
        raise SintroError(
            f"{study.file}: hyperparameters: {study.hyperparameters!r} is not one of {', '.join(legal)}"
            f"{suggestion(study.hyperparameters, legal)}"
        )
    if study.hyperparameters == study.name:
        raise SintroError(
            f"{study.file}: hyperparameters: {study.name}: legal are {PRESETS} and the name of another study"
        )
    _check_source(study)
    grid = cells()  # a bad cell is found now, not when the cells are asked for
    images = [cell.dataset for cell in grid if cell.data.kind == "images"] if study.fleet != 1 else []
    if images:
        raise SintroError(
            f"{study.file}: fleet: {study.fleet}, but {images[0]} is a set of images: only 2D cells train side by "
            "side; legal is 1"
        )
    given = [*study.overrides.given().items(), *study.image_overrides.given().items()]
    changed = dict.fromkeys(name for name, value in given if name != "logits_at_conversion" and value != "carried")
    changed |= {"length": None} if study.length != 1 else {}
    if study.comparable and changed:
        raise SintroError(
            f"{study.file}: comparable: true, but {', '.join(changed)} differs from the published runs; legal is false"
        )
    _check_overrides(study, grid)


def _check_source(study: StudyFile) -> None:
    """Refuse a grid from an unknown study, from a union or from itself, and what restricts no such grid."""
    if study.cells_from is None:
        for key in ("datasets", "priors"):
            if getattr(study, key) is not None:
                raise SintroError(f"{study.file}: {key}: legal beside cells_from only; a grid's own are in its cells")
        return
    seen, source = [study.name], study
    while source.cells_from is not None:
        name = source.cells_from
        _check_known(name, seen, f"{study.file}: cells_from", f"{source.file}: cells_from")
        path = folder() / f"{name}.yaml"
        source = yamlfiles.read(path, StudyFile)
        source._file = str(path)
        seen.append(name)
    if source.include is not None:
        raise SintroError(
            f"{study.file}: cells_from: study {seen[-1]} is the union of {', '.join(source.include)}; legal is a study "
            "with cells of its own"
        )


def _check_overrides(study: StudyFile, grid: Sequence[Cell]) -> None:
    """Refuse overrides that fit no run, alone, together, or with a cell of the grid."""
    for key in ("overrides", "image_overrides"):
        milestones = getattr(study, key).milestones or ()
        if any(after <= before for before, after in pairwise(milestones)):
            listed = ", ".join(f"{each:g}" for each in milestones)
            raise SintroError(f"{study.file}: {key}.milestones: legal are shares that increase, not {listed}")
    kinds: dict[tuple, Cell] = {}
    for cell in grid:
        is_own = any(one.source for one in cell.components)  # a fault of an extension is its own cells' alone
        if not is_own and _is_counted(cell):
            kinds.setdefault((cell.dataset, cell.objective_name, cell.prior), cell)
    for cell in kinds.values():
        key, values, shares = study.overrides_of(cell)
        total = values.pop("iterations", None)
        try:
            presets.resolve(
                cell, length=study.length, iterations=total, values=values, shares=shares, protocol=study.protocol
            )
        except SintroError as error:
            where = f"{key}: " if getattr(study, key).given() else ""
            raise SintroError(f"{study.file}: {where}{error}") from None


def _is_counted(cell: Cell) -> bool:
    """Tell whether it is known how many data there are: not of a folder of images that is still to be prepared."""
    try:
        return bool(cell.data.size)
    except SintroError:
        return False


def _check_runs(study: StudyFile, cells: Sequence[Cell]) -> None:
    """Refuse a union of parts that have the same row and seed: a table has one place for both."""
    known: dict[tuple, Cell] = {}
    for cell in cells:
        run = (cell.axes, cell.seed)
        other = known.setdefault(run, cell)
        if other != cell:
            raise SintroError(
                f"{study.file}: include: {other.path} and {cell.path} have one place in a table; legal are studies "
                "that have no row and seed in common"
            )


def _check_includes(study: StudyFile, seen: tuple[str, ...]) -> None:
    """Refuse a union of unknown studies, of itself, and one that hides that a part of it is not comparable."""
    for name in study.include or ():
        _check_known(name, seen, f"{study.file}: include", f"{study.file}: include")
        part = yamlfiles.read(folder() / f"{name}.yaml", StudyFile)
        if study.comparable and not part.comparable:
            raise SintroError(f"{study.file}: comparable: true, but study {name} is not; legal is false")
        part._file = study.file
        _check_includes(part, (*seen, name))


def _check_known(name: str, seen: Sequence[str], where: str, there: str) -> None:
    """Refuse a study that leads back to itself, and one that is not there."""
    if name in seen:
        raise SintroError(f"{where}: {' -> '.join((*seen, name))} goes round in a circle")
    known = names()
    if name not in known:
        raise SintroError(f"{there}: study {name!r} is not one of {', '.join(known)}{suggestion(name, known)}")
