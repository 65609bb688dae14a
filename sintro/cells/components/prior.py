"""What a prior says of itself: how its name is spelt in a path, and what that spelling means. Imports no torch."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import Component

if TYPE_CHECKING:
    import torch

    from sintro.cells.components.objective import Objective
    from sintro.cells.settings import Settings


class PriorSpec(NamedTuple):
    """What a prior's spelling says; ``kind`` is the component's name, ``learned``: it learns after the warm-up too."""

    kind: str
    components: int | None = None
    learned: bool = False
    contributions: bool = False
    cooperation: Literal["decoder", "encoder"] | None = None


class Prior(Component):
    """A prior.

    ``make(settings, pseudo_inputs)`` returns the :class:`sintro.priors.Prior` with which a training begins; torch's
    global generator is seeded for it. ``pseudo_inputs`` is None unless the prior is ``from_data``.

    ``learned``: it goes on learning after the warm-up, with the decoder, or in a path ``NAME-encoder`` with the
    encoder; one that is not learns in the warm-up only. ``has_modes``: it is a mixture, whose responsibilities can be
    regularised; ``clips``: and whose variances can be clipped. ``stackable``: cells with it may train side by side.

    A prior with more than its name to say overrides ``spellings``, its legal spellings with K for a number, and
    ``parse``; ``note`` is what is to be said of them in an error.
    """

    what = "prior"
    needs = ("make",)
    note: str = ""
    learned: bool = True
    has_modes: bool = False
    clips: bool = False
    stackable: bool = False
    is_standard: bool = False  # N(0, I)
    from_data: bool = False  # it starts from training data, its pseudo-inputs
    converted: bool = False  # it begins as a VampPrior, and becomes what it is in the course of the warm-up

    @property
    def spellings(self) -> tuple[str, ...]:
        """The legal spellings."""
        return (self.name, f"{self.name}-encoder") if self.learned else (self.name,)

    def parse(self, token: str) -> PriorSpec | None:
        """Return what a spelling means, or None for a token that is none of this prior's.

        Raises SintroError for one that is, and is wrong.
        """
        if token not in self.spellings:
            return None
        partner = "decoder" if token == self.name else "encoder"
        return PriorSpec(self.name, learned=self.learned, cooperation=partner if self.learned else None)

    def spells(self, name: str) -> bool:
        """Whether a name would be read as this prior, right or wrong."""
        try:
            return self.parse(name) is not None
        except SintroError:
            return True

    def is_one_gaussian(self, components: int | None) -> bool:
        """Whether it is a single Gaussian, with this ``PriorSpec.components``, so that the KL has a closed form."""
        return False

    def why_not(self, objective: "Objective") -> str:
        """Say why it means nothing with an objective, and what is legal; "" where it does."""
        return ""

    if TYPE_CHECKING:  # every prior must say it for itself, so that one that does not is refused

        def make(self, settings: Settings, pseudo_inputs: torch.Tensor | None) -> Any: ...
