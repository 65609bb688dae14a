"""Which cells may train side by side, and the fleets of a study. Imports no torch.

A study that says ``fleet: N`` has fleets of N cells of equal shape; with ``fleet: auto`` all cells of a shape are one
fleet, and the process that trains them takes as many at a time as the device holds.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sintro import SintroError
from sintro.cells import components, studies
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings

OWN_TO_A_CELL = ("seed", "dataset", "beta_rec", "beta_kl", "beta_neg", "margin", "responsibility_weight")
Member = TypeVar("Member")
LARGEST = 128  # cells side by side: more fill no GPU better, and their checkpoints would take longer to write


def shape(settings: Settings) -> dict[str, Any]:
    """Return the settings that all cells of a fleet must share."""
    return settings.model_dump(exclude=set(OWN_TO_A_CELL)) | {"beta_neg": settings.beta_neg is not None}


def by_shape(members: Iterable[Member], settings_of: Callable[[Member], Settings]) -> list[list[Member]]:
    """Group the members by the shape of their settings, in the order in which each shape comes first."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(json.dumps(shape(settings_of(member)), sort_keys=True), []).append(member)
    return list(groups.values())


def split(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    """Part the members, in their order, into runs of ``size``; the last one may be shorter."""
    return [members[start : start + size] for start in range(0, len(members), size)]


def check_equal_shape(settings: Sequence[Settings]) -> None:
    """Refuse cells that cannot train side by side; the error names what they differ in."""
    if len(settings) > 1 and not may_stack(settings[0]):
        part = "prior" if not components.prior(settings[0].prior).stackable else "objective"
        raise SintroError(f"cells with {part} {getattr(settings[0], part)!r} train one by one; a fleet was asked for")
    if len(settings) > 1 and settings[0].network != "mlp":
        raise SintroError("only 2D cells train in fleets; a fleet of image cells was asked for")
    first = shape(settings[0])
    for other in settings[1:]:
        differing = [name for name, value in shape(other).items() if first[name] != value]
        if differing:
            raise SintroError(f"the cells of a fleet must agree in {', '.join(differing)}")


def may_stack(settings: Settings) -> bool:
    """Tell whether the prior and the objective of a cell broadcast over a leading axis."""
    return components.prior(settings.prior).stackable and components.objective(settings.objective).stackable


def of_study(study: studies.Study) -> dict[str, tuple[Cell, ...]]:
    """List a study's fleets by name; a study that says ``fleet: 1`` has none.

    A fleet's name is a digest of its cells and their hyper-parameters: other cells are another fleet, so what Snakemake
    knows of a fleet that ran is true for as long as it has that name.
    """
    if study.fleet == 1 or study.include:
        return {}
    fleets = {}
    for members in by_shape(_stackable(study), lambda member: member[1]):
        for part in split(members, len(members) if study.fleet == "auto" else study.fleet):
            if len(part) > 1:
                fleets[_name(part)] = tuple(cell for cell, _ in part)
    return fleets


def _stackable(study: studies.Study) -> list[tuple[Cell, Settings]]:
    """List the 2D cells that may train side by side, with their settings.

    A cell whose extension gives it wrong settings is none of them: it trains alone, and says there what is wrong.
    """
    found = []
    for cell in study.cells():
        if cell.data.kind != "2d" or not all(one.stackable for one in cell.components[1:]):
            continue
        try:
            found.append((cell, studies.settings(cell)))
        except SintroError:
            if not any(one.source for one in cell.components):
                raise
    return found


def find(fleets: Mapping[str, tuple[Cell, ...]], study: str, name: str) -> tuple[Cell, ...]:
    """Find a study's fleet by its name. Raises SintroError where there is none."""
    if name not in fleets:
        listed = ", ".join(fleets) or "none"
        raise SintroError(f"study {study!r} has no fleet {name!r}; its fleets: {listed}")
    return fleets[name]


def _name(members: Sequence[tuple[Cell, Settings]]) -> str:
    """Name a fleet for a reader, with a digest of all its cells: `soft-introvae-mog64-learned-3f2a90c1b77e`."""
    first = members[0][0]
    names = "\n".join(f"{cell.path} {one.digest}" for cell, one in members)
    return f"{first.objective_name}-{first.prior}-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
