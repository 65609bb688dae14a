"""Priors as components: how a prior is spelt in a path, and what the spelling means. Imports no torch."""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import SWITCH, Component

if TYPE_CHECKING:
    import torch

    from sintro.cells.components.objective import Objective
    from sintro.cells.settings import Settings


class PriorSpec(NamedTuple):
    """What a prior's spelling means; ``kind`` is the component's name, ``learned``: it learns after the warm-up too."""

    kind: str
    components: int | None = None
    learned: bool = False
    contributions: bool = False
    cooperation: Literal["decoder", "encoder"] | None = None


class Prior(Component):
    """A prior.

    ``make(settings, pseudo_inputs)`` returns the :class:`sintro.priors.Prior` with which a training begins; torch's
    global generator is seeded for it. ``pseudo_inputs`` is None unless the prior is ``from_data``.

    ``learned``: it goes on learning after the warm-up, with the decoder, or spelt ``NAME-encoder`` with the encoder;
    else it learns in the warm-up only. ``has_modes``: it is a mixture, whose responsibilities can be regularised.
    ``clips``: its variances can be clipped. ``stackable``: cells with it may train side by side.

    A prior whose spelling says more than its name overrides ``parse`` and ``spellings``, the legal spellings with K for
    a number; ``note`` explains them in an error.
    """

    what = "prior"
    needs = ("make",)
    checks = dict.fromkeys(("learned", "has_modes", "clips", "stackable"), SWITCH)
    note: str = ""
    learned: bool = True
    has_modes: bool = False
    clips: bool = False
    stackable: bool = False
    is_standard: bool = False  # N(0, I)
    from_data: bool = False  # it starts from training data, its pseudo-inputs
    converted: bool = False  # it begins as a VampPrior and becomes a mixture during the warm-up

    @property
    def spellings(self) -> tuple[str, ...]:
        """Return the legal spellings."""
        return (self.name, f"{self.name}-encoder") if self.learned else (self.name,)

    def parse(self, token: str) -> PriorSpec | None:
        """Return what a token means, or None where it is no spelling of this prior.

        Raises SintroError for a wrong spelling of this prior.
        """
        if token not in self.spellings:
            return None
        partner = "decoder" if token == self.name else "encoder"
        return PriorSpec(self.name, learned=self.learned, cooperation=partner if self.learned else None)

    def spells(self, name: str) -> bool:
        """Return whether a name would be read as a spelling of this prior, right or wrong."""
        try:
            return self.parse(name) is not None
        except SintroError:
            return True

    def is_one_gaussian(self, components: int | None) -> bool:
        """Return whether it is one Gaussian, given its ``PriorSpec.components``: then the KL has a closed form."""
        return False

    def why_not(self, objective: "Objective") -> str:
        """Say why it cannot go with an objective, and what is legal; "" where it can."""
        return ""

    if TYPE_CHECKING:  # not defined at run time, so that a prior without it is refused

        def make(self, settings: Settings, pseudo_inputs: torch.Tensor | None) -> Any: ...
