"""What an objective says of itself: its name, which betas it takes, and what it needs. Imports no torch."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import SWITCH, Component, Row
from sintro.cells.components.spelling import decimal

if TYPE_CHECKING:
    import torch

    from sintro.cells.components.prior import Prior

TOKEN = r"-rec(?P<rec>[^a-z]*)-kl(?P<kl>[^a-z]*)(?:-neg(?P<neg>[^a-z]*))?(?:-margin(?P<margin>[^a-z]*))?"


class Betas(NamedTuple):
    """The weights of reconstruction, of the KL of real data and, for introspective runs, of the fakes' KL.

    Numbers; in the losses of a fleet tensors [F], one number per cell.
    """

    rec: "float | torch.Tensor"
    kl: "float | torch.Tensor"
    neg: "float | torch.Tensor | None" = None


class Objective(Component):
    """An objective.

    ``make()`` returns the :class:`sintro.objectives.Objective` that does an iteration of it. Where it is not
    ``introspective``, all iterations are its own; else it takes over from a VAE when the warm-up ends.

    ``introspective``: whether it has fakes, and so a beta_neg; ``takes_margin``: whether it has a hinge;
    ``needs_epochs``: whether it means nothing on endless data. ``example`` spells it with explicit betas, for errors.
    The published hyper-parameters of the objective ``like`` hold for it too (for one of your own by default those of
    soft-introvae, or of vae where it is not introspective), and its ``rows`` win over all others.
    """

    what = "objective"
    needs = ("make",)
    checks = dict.fromkeys(("introspective", "takes_margin", "needs_epochs", "stackable"), SWITCH)
    introspective: bool = True
    takes_margin: bool = False
    needs_epochs: bool = False
    neg_is_relative: bool = False  # beta_kl multiplies beta_neg too, in the loss
    stackable: bool = False  # cells may train side by side: all that it computes broadcasts over a leading axis
    example: str | None = None
    like: str | None = None
    rows: tuple[Row, ...] = ()

    @property
    def model(self) -> str | None:
        """The objective whose published hyper-parameters hold too."""
        if self.like is None and self.source is not None:
            return "soft-introvae" if self.introspective else "vae"
        return self.like

    def spells(self, name: str) -> bool:
        """Whether a name would be read as this objective with betas."""
        return name.startswith(f"{self.name}-rec")

    def why_not(self, prior: "Prior") -> str:
        """Say why it means nothing with a prior, and what is legal; "" where it does."""
        return ""

    if TYPE_CHECKING:  # every objective must say it for itself, so that one that does not is refused

        def make(self) -> Any: ...

    def parse(self, token: str, legal: str) -> tuple[str, Betas | None, float | None]:
        """Read `introvae-rec0.2-kl0.3-neg1-margin10`: its name, betas and margin, None where the token gives none."""
        if token == self.name:
            return self.name, None, None
        match = re.fullmatch(TOKEN, token.removeprefix(self.name))
        if match is None:
            raise SintroError(f"objective {token!r} is not one of {legal}")
        if (match["neg"] is not None) != self.introspective:
            takes = "beta_rec, beta_kl and beta_neg" if self.introspective else "beta_rec and beta_kl only"
            raise SintroError(f"objective {token!r}: {self.name} takes {takes}; legal are {legal}")
        if (match["margin"] is not None) != self.takes_margin:
            takes = "takes a margin too" if self.takes_margin else "takes no margin"
            raise SintroError(f"objective {token!r}: {self.name} {takes}; legal are {legal}")
        rec, kl = decimal(match["rec"], "beta_rec"), decimal(match["kl"], "beta_kl")
        neg = None if match["neg"] is None else decimal(match["neg"], "beta_neg")
        margin = None if match["margin"] is None else decimal(match["margin"], "margin")
        return self.name, Betas(rec, kl, neg), margin
