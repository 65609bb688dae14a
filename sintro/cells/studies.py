"""Studies: named grids of cells, one short YAML file each, and the settings that a study gives a cell.

Adding a study is adding a file under `workflow/studies`. Nothing here imports torch.
"""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
)

import sintro
from sintro import SintroError
from sintro.cells import components, origins, presets, search_results, table, yamlfiles
from sintro.cells.cell import PARTS, RESULTS, Cell, check_study_name, objective_token
from sintro.cells.components import Betas, UnknownComponent, suggestion

PRESETS = "presets"
RESTRICTIONS = {"datasets": "dataset", "priors": "prior", "seeds": "seed"}  # of a grid from another study, by key


def _fraction(value: Any) -> Any:
    """Read `1/15`, which YAML takes for text."""
    try:
        return float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


Share = Annotated[float, BeforeValidator(_fraction), Field(gt=0, lt=1)]  # of a run's whole length


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BetaGrid(_Part):
    """Every combination of betas, and of IntroVAE's margins.

    The fakes' KL is weighted in multiples of the real one's: Soft-IntroVAE's beta_neg is the multiple times beta_kl,
    rounded to 3 decimals; IntroVAE's w_neg is the multiple itself, since w_kl multiplies it in the loss.
    """

    rec: tuple[PositiveFloat, ...] = Field(min_length=1)
    kl: tuple[PositiveFloat, ...] = Field(min_length=1)
    neg_times_kl: tuple[PositiveFloat, ...] | None = Field(None, min_length=1)
    margin: tuple[PositiveFloat, ...] | None = Field(None, min_length=1)

    def tokens(self, objective: str) -> list[str]:
        """The objective's part of the path for every combination."""
        axes = (self.rec, self.kl, self.neg_times_kl or (None,), self.margin or (None,))
        unit = components.objective(objective).neg_is_relative
        return [
            objective_token(objective, Betas(rec, kl, neg and (neg if unit else round(kl * neg, 3))), margin)
            for rec, kl, neg, margin in itertools.product(*axes)
        ]


class Block(_Part):
    """A product of axes."""

    datasets: tuple[str, ...] = Field(min_length=1)
    objectives: tuple[str, ...] = Field(min_length=1)
    priors: tuple[str, ...] = Field(min_length=1)
    regularizers: tuple[str, ...] = Field(("none",), min_length=1)
    seeds: tuple[NonNegativeInt, ...] | None = Field(None, min_length=1)
    betas: BetaGrid | None = None


class Overrides(_Part):
    """Settings that a study may set for all of its cells."""

    batch_size: PositiveInt | None = None
    samples: PositiveInt | None = None
    learning_rate: PositiveFloat | None = None
    iterations: PositiveInt | None = None
    milestones: tuple[Share, ...] | None = Field(None, min_length=1)  # where the learning rate falls
    warmup: Share | None = None  # of introspective cells
    conversion_lead: Share | None = None  # from where a VampPrior becomes a mixture to the end of the warm-up
    channels: tuple[PositiveInt, ...] | None = Field(None, min_length=1)  # of the image networks
    training_images: PositiveInt | None = None  # as many of the training split, the same for every cell
    evaluation_points: int | None = Field(None, gt=5)  # more than the neighbours of density and coverage
    evaluation_grid: PositiveInt | None = None
    evaluation_images: PositiveInt | None = None
    logits_at_conversion: Literal["weights", "log-weights"] | None = None
    adam_at_introspection: Literal["carried", "restarted"] | None = None  # carried is published
    precision: Literal["bfloat16"] | None = None  # of image networks in training; changes results

    def given(self) -> dict[str, Any]:
        """The values that the file gives."""
        return self.model_dump(exclude_none=True)


class Study(_Part):
    """A study file, checked, and the cells it stands for."""

    title: str
    description: str = ""
    comparable: bool = True  # with the papers' numbers; false is said on every page
    protocol: presets.Protocol = "pl"  # whose program is followed where the papers' two differ
    length: Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)] = 1.0  # of the published schedule
    seeds: tuple[NonNegativeInt, ...] | None = Field(None, min_length=1)
    overrides: Overrides = Overrides()
    image_overrides: Overrides = Overrides()  # of the image cells, in place of `overrides`
    hyperparameters: str = PRESETS  # or the study that searched for them
    fleet: PositiveInt | Literal["auto"] = 1  # how many cells train side by side; auto: as many as a GPU holds
    cells_of: tuple[Block, ...] | None = Field(None, alias="cells", min_length=1)
    cells_from: str | None = None  # the study whose grid this one has, in folders of its own
    datasets: tuple[str, ...] | None = Field(None, min_length=1)  # the only ones of that grid; so are priors and seeds
    priors: tuple[str, ...] | None = Field(None, min_length=1)
    include: tuple[str, ...] | None = Field(None, min_length=1)
    _name: str = PrivateAttr("")
    _file: str = PrivateAttr("")
    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name: its file's, without the ending."""
        return self._name

    @property
    def file(self) -> str:
        """The study's file, as it was found."""
        return self._file

    def cells(self) -> tuple[Cell, ...]:
        """The study's cells, in the file's order; a union's cells keep the paths of the studies they come from."""
        if self.cells_from is not None:
            return self._copied()
        if self.include is None:
            return self._grid
        return _refuse_duplicates(self, [cell for name in self.include for cell in load(name).cells()])

    @property
    def left_out(self) -> dict[str, str]:
        """Why not, by path, of the cells that nothing is known of: their extension is broken, or was deleted."""
        if self.cells_from is not None:
            source = load(self.cells_from)
            return {path.replace(source.name, self.name, 1): why for path, why in source.left_out.items()}
        parts = [load(name).left_out for name in self.include or ()]
        return {path: why for part in (self._left_out, *parts) for path, why in part.items()}

    @property
    def left_out_in_words(self) -> str:
        """One line about the cells that are left out; empty where none is."""
        if not self.left_out:
            return ""
        path, why = next(iter(self.left_out.items()))
        there = " (their results stay where they are)" if any(map(os.path.isdir, self.left_out)) else ""
        return f"{len(self.left_out)} cells of study {self.name} are left out, as {path}{there}: {why}"

    def _copied(self) -> tuple[Cell, ...]:
        """The cells of another study's grid, as this study's."""
        whole = grid = load(self.cells_from).cells()
        for key, axis in RESTRICTIONS.items():
            kept = getattr(self, key)
            legal = list(dict.fromkeys(getattr(cell, axis) for cell in whole))
            for one in kept or ():
                if one not in legal:
                    listed = ", ".join(map(str, legal))
                    near = suggestion(one, map(str, legal))
                    raise SintroError(f"{self.file}: {key}: study {self.cells_from} has {listed}, not {one!r}{near}")
            grid = [cell for cell in grid if kept is None or getattr(cell, axis) in kept]
        if not grid:
            restricted = " and ".join(key for key in RESTRICTIONS if getattr(self, key))
            raise SintroError(f"{self.file}: no cell of study {self.cells_from} has one of these {restricted} together")
        return tuple(cell.model_copy(update={"study": self.name}) for cell in grid)

    @cached_property
    def _grid(self) -> tuple[Cell, ...]:
        cells = []
        for index, block in enumerate(self.cells_of or ()):
            try:
                cells += _product(self, block)
            except SintroError as error:
                raise SintroError(f"{self.file}: cells[{index}]: {error}") from None
        return _refuse_duplicates(self, cells)


def names() -> list[str]:
    """The names of all studies."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def folder() -> Path:
    """Where the study files are: SINTRO_STUDIES, else here, else the checkout that sintro was installed from."""
    if given := os.environ.get("SINTRO_STUDIES"):
        return Path(given)
    here = Path("workflow", "studies")
    return here if here.is_dir() else Path(sintro.__file__).parents[1] / here


def load(name: str) -> Study:
    """Read and check a study. Raises SintroError: file, key, value and the legal values in one line."""
    check_study_name(name)
    path = folder() / f"{name}.yaml"
    try:
        status = path.stat()
    except FileNotFoundError:
        known = names()
        listed = ", ".join(known) or "none"
        raise SintroError(f"study {name!r} is not one of {listed} (in {folder()}){suggestion(name, known)}") from None
    return _load(path, status.st_mtime_ns, status.st_size)


def settings(cell: Cell, iterations: int | None = None, precision: str | None = None) -> presets.Settings:
    """The cell's settings: the table's, at the study's length, with its overrides and search results.

    ``iterations`` sets another length, to try something out; everything else follows in proportion. ``precision`` is
    that of an image cell's training. Neither makes a run that is comparable with the study's others.
    """
    return _resolve(cell, iterations, precision).settings


def published(cell: Cell) -> presets.Settings:
    """The cell's published settings in the protocol that its study follows."""
    return presets.published(cell, load(cell.study).protocol)


def sources(cell: Cell, iterations: int | None = None, precision: str | None = None) -> dict[str, str]:
    """Where each of the cell's settings comes from: the table's row, the path, the study, or a search."""
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
    settings: presets.Settings
    changed: dict[str, str]  # field -> what set it


def _resolve(cell: Cell, iterations: int | None, precision: str | None = None) -> _Resolved:
    study = load(cell.study)
    if study.include:
        raise SintroError(
            f"{cell.path}: study {study.name!r} is the union of {', '.join(study.include)}: "
            f"its cells lie in their folders, as {study.cells()[0].path}"
        )
    key, values = _overrides(study, cell)
    shares = _pop_shares(values)
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
        if row in shares and not (name == "warmup" and not components.objective(cell.objective_name).introspective):
            changed[name] = f"study {study.name}: {key}, {row} {_as_fraction(shares[row])} of the length"
    if study.hyperparameters != PRESETS and cell.betas is None:
        found, why = search_results.best(study.hyperparameters, cell)
        values |= found
        changed |= dict.fromkeys(found, why)
    resolved = presets.resolve(
        cell, length=study.length, iterations=total, values=values, shares=shares, protocol=study.protocol
    )
    return _Resolved(resolved, changed)


def _pop_shares(values: dict[str, Any]) -> dict[str, Any]:
    """Take out of a study's overrides those that are shares of the length."""
    return {name: values.pop(name) for name in presets.SHARES if name in values}


def _as_fraction(share: float | tuple[float, ...]) -> str:
    """`1/15`, or `7/10, 9/10`."""
    if isinstance(share, tuple):
        return ", ".join(map(_as_fraction, share))
    return str(Fraction(share).limit_denominator(10_000))


@lru_cache(maxsize=64)
def _load(path: Path, _mtime: int, _size: int) -> Study:
    """Read a study file; the cache forgets a file that was changed."""
    study = yamlfiles.read(path, Study)
    study._name, study._file = path.stem, str(path)
    _check(study)
    if study.left_out:
        print(f"warning: {study.left_out_in_words}", file=sys.stderr)
    return study


def _check(study: Study) -> None:
    """What one key of a study file says about another."""
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
        return
    if study.hyperparameters != PRESETS and study.hyperparameters not in names():
        legal = [PRESETS, *names()]
        raise SintroError(
            f"{study.file}: hyperparameters: {study.hyperparameters!r} is not one of {', '.join(legal)}"
            f"{suggestion(study.hyperparameters, legal)}"
        )
    _check_source(study)
    grid = study.cells()  # a bad cell is found now, not when the cells are asked for
    images = [cell.dataset for cell in grid if cell.data.kind == "images"] if study.fleet != 1 else []
    if images:
        raise SintroError(
            f"{study.file}: fleet: {study.fleet}, but {images[0]} is a set of images: only 2D cells train side by "
            "side; legal is 1"
        )
    given = study.overrides.given() | study.image_overrides.given()
    harmless = {"logits_at_conversion"} | {name for name, value in given.items() if value == "carried"}
    changed = [name for name in given if name not in harmless]
    changed += ["length"] if study.length != 1 else []
    if study.comparable and changed:
        raise SintroError(
            f"{study.file}: comparable: true, but {', '.join(changed)} differs from the published runs; legal is false"
        )
    _check_overrides(study, grid)


def _check_source(study: Study) -> None:
    """Refuse a grid from an unknown study, from a union or from itself, and what restricts no such grid."""
    if study.cells_from is None:
        for key in ("datasets", "priors"):
            if getattr(study, key) is not None:
                raise SintroError(f"{study.file}: {key}: legal beside cells_from only; a grid's own are in its cells")
        return
    known, seen, source = names(), [study.name], study
    while source.cells_from is not None:
        name = source.cells_from
        if name in seen:
            raise SintroError(f"{study.file}: cells_from: {' -> '.join((*seen, name))} goes round in a circle")
        if name not in known:
            raise SintroError(
                f"{source.file}: cells_from: study {name!r} is not one of {', '.join(known)}{suggestion(name, known)}"
            )
        path = folder() / f"{name}.yaml"
        source = yamlfiles.read(path, Study)
        source._file = str(path)
        seen.append(name)
    if source.include is not None:
        raise SintroError(
            f"{study.file}: cells_from: study {seen[-1]} is the union of {', '.join(source.include)}; legal is a study "
            "with cells of its own"
        )


def _check_overrides(study: Study, grid: Sequence[Cell]) -> None:
    """Refuse overrides that fit no run, alone, together, or with a cell of the grid."""
    for key in ("overrides", "image_overrides"):
        milestones = getattr(study, key).milestones or ()
        if any(after <= before for before, after in pairwise(milestones)):
            listed = ", ".join(f"{each:g}" for each in milestones)
            raise SintroError(f"{study.file}: {key}.milestones: legal are shares that increase, not {listed}")
    kinds: dict[tuple, Cell] = {}
    for cell in grid:
        if not any(one.source for one in cell.components):  # a fault of an extension is its own cells' alone
            kinds.setdefault((cell.dataset, cell.objective_name, cell.prior), cell)
    for cell in kinds.values():
        key, values = _overrides(study, cell)
        shares, total = _pop_shares(values), values.pop("iterations", None)
        try:
            presets.resolve(
                cell, length=study.length, iterations=total, values=values, shares=shares, protocol=study.protocol
            )
        except SintroError as error:
            where = f"{key}: " if getattr(study, key).given() else ""
            raise SintroError(f"{study.file}: {where}{error}") from None


def _overrides(study: Study, cell: Cell) -> tuple[str, dict[str, Any]]:
    """The key whose overrides hold for a cell, and their values."""
    key = "image_overrides" if cell.data.kind == "images" and study.image_overrides.given() else "overrides"
    return key, getattr(study, key).given()


def _check_includes(study: Study, seen: tuple[str, ...]) -> None:
    """Refuse a union of unknown studies, of itself, and one that hides that a part of it is not comparable."""
    known = names()
    for name in study.include or ():
        if name in seen:
            raise SintroError(f"{study.file}: include: {' -> '.join((*seen, name))} goes round in a circle")
        if name not in known:
            raise SintroError(
                f"{study.file}: include: study {name!r} is not one of {', '.join(known)}{suggestion(name, known)}"
            )
        part = yamlfiles.read(folder() / f"{name}.yaml", Study)
        if study.comparable and not part.comparable:
            raise SintroError(f"{study.file}: comparable: true, but study {name} is not; legal is false")
        part._file = study.file
        _check_includes(part, (*seen, name))


def _product(study: Study, block: Block) -> list[Cell]:
    """The cells of one block."""
    seeds = block.seeds or study.seeds
    if seeds is None:
        raise SintroError("seeds: missing, here and for the study; legal is a list such as [0, 1, 2]")
    objectives = block.objectives
    if block.betas is not None:
        objectives = tuple(token for objective in objectives for token in block.betas.tokens(objective))
    axes = itertools.product(block.datasets, objectives, block.priors, block.regularizers, seeds)
    cells = []
    for *names, seed in axes:
        try:
            cells.append(Cell(study=study.name, **dict(zip(PARTS[1:-1], names, strict=True)), seed=seed))
        except UnknownComponent as error:
            if not error.broken and not _has_results(study, error):
                raise
            study._left_out[f"{RESULTS}/{study.name}/{'/'.join(names)}/seed{seed}"] = (
                str(error) if error.broken else f"no extension defines {error.what} {error.name!r} any more"
            )
    return cells


def _has_results(study: Study, unknown: UnknownComponent) -> bool:
    """Whether the study's results know the name: then its extension was deleted, and it is no misspelling."""
    depth = PARTS.index(unknown.what) - 1
    return any(Path(RESULTS, study.name).glob("*/" * depth + unknown.name))


def _refuse_duplicates(study: Study, cells: list[Cell]) -> tuple[Cell, ...]:
    if not cells:  # all of them left out
        return ()
    path, times = Counter(cell.path for cell in cells).most_common(1)[0]
    if times > 1:
        raise SintroError(f"{study.file}: {path} is there {times} times; every cell of a study is there once")
    return tuple(cells)
