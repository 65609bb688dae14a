"""Stand-ins for components whose extension is gone, made of the settings that a cell stores. Imports no torch.

With them the report shows the results that are still there. Studies leave such cells out all the same
(``sintro.cells.study_files``), so nothing is asked of a stand-in that only its extension knew.
"""

import sys
from typing import TYPE_CHECKING, Any

from sintro import SintroError
from sintro.cells.components import registry
from sintro.cells.components.component import Component, UnknownComponent
from sintro.cells.components.dataset import IMAGES, PLANE, Dataset
from sintro.cells.components.objective import Objective
from sintro.cells.components.prior import Prior, PriorSpec

if TYPE_CHECKING:
    from sintro.cells.settings import Settings


class GoneDataset(Dataset):
    """A data set of which the shape of one datum is known; its kind follows from that, and its title is its name."""

    is_gone = True
    size = sys.maxsize  # no prior is too large for data whose number is not known
    classes, photographs = 0, False

    def __init__(self, name: str, event: tuple[int, ...]):
        self.name = self.title = name
        self.event = event
        self.kind = PLANE if len(event) == 1 else IMAGES  # type: ignore[misc]
        self.holds = "data"  # type: ignore[misc]


class GonePrior(Prior):
    """A prior of which single spellings are known. It refuses no regularizer: the cell with it was legal."""

    is_gone = has_modes = clips = True

    def __init__(self, name: str):
        self.name = name
        self.specs: dict[str, PriorSpec] = {}

    @property
    def spellings(self) -> tuple[str, ...]:
        """List the spellings that results have."""
        return tuple(self.specs)

    def parse(self, token: str) -> PriorSpec | None:
        """Return what a spelling means, or None for one that no results have."""
        return self.specs.get(token)

    def make(self, settings: "Settings", pseudo_inputs: Any) -> Any:
        """Raise SintroError: only its extension knows how."""
        raise _lost(self)


class GoneObjective(Objective):
    """An objective of which the betas that it takes are known."""

    is_gone = True

    def __init__(self, name: str, introspective: bool, takes_margin: bool):
        self.name, self.introspective, self.takes_margin = name, introspective, takes_margin

    def make(self) -> Any:
        """Raise SintroError: only its extension knows how."""
        raise _lost(self)


def stand_in(dataset: str, objective: str, prior: str, settings: "Settings") -> None:
    """Register what a cell's stored settings say of those of its parts that nothing is known of.

    ``dataset``, ``objective`` and ``prior`` are the parts of its path. Raises UnknownComponent where a part is of an
    extension that is there and broken: it is to be mended.
    """
    known = registry.current()
    if _is_missing(lambda: registry.dataset(dataset)):
        known.add(GoneDataset(dataset, settings.event))
    if _is_missing(lambda: registry.parse_objective(objective)):
        known.add(GoneObjective(settings.objective, settings.beta_neg is not None, settings.margin is not None))
    if _is_missing(lambda: registry.parse_prior(prior)):
        gone = known.known[Prior].get(settings.prior) or GonePrior(settings.prior)
        if isinstance(gone, GonePrior):
            gone.specs[prior] = PriorSpec(
                settings.prior, settings.components, settings.learned, settings.contributions, settings.cooperation
            )
            known.add(gone)


def _is_missing(ask: Any) -> bool:
    try:
        ask()
    except UnknownComponent as error:
        if error.broken:
            raise
        return True
    return False


def _lost(component: Component) -> SintroError:
    return SintroError(f"{component.what} {component.name!r}: its extension is gone")
