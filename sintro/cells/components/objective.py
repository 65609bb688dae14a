"""Objectives as components: the name, the betas in a path, and what an objective needs. Imports no torch."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import SWITCH, Component
from sintro.cells.components.spelling import decimal

if TYPE_CHECKING:
    import torch

    from sintro.cells.components.prior import Prior

TOKEN = r"-rec(?P<rec>[^a-z]*)-kl(?P<kl>[^a-z]*)(?:-neg(?P<neg>[^a-z]*))?(?:-margin(?P<margin>[^a-z]*))?"


class Betas(NamedTuple):
    """The weights of reconstruction, of the KL of real data and, in introspective runs, of the KL of fakes.

    They are numbers, and in the losses of a fleet tensors [F], one number per cell.
    """

    rec: "float | torch.Tensor"
    kl: "float | torch.Tensor"
    neg: "float | torch.Tensor | None" = None


class Objective(Component):
    """An objective.

    ``make()`` returns the :class:`sintro.objectives.Objective` that does its iterations: all of them, or, where it is
    ``introspective``, those after the warm-up, which is a VAE's.

    ``introspective``: whether it has fakes, and so a beta_neg. ``takes_margin``: whether it has a hinge.
    ``needs_epochs``: whether it needs a finite data set. ``needs_factors``: whether it needs images with factors, whose
    networks have two codes. ``sees_labels``: whether it learns from the classes of images; tables set such cells apart.
    ``has_density``: whether its model has a prior, from which samples are drawn. ``in_pairs``: whether two images of
    one class follow each other in a batch. ``embeds``: "class" or "image", where a class code of each class or of each
    image, and a content code of each image, are learned themselves before the encoders are.
    ``example`` spells it with explicit betas, for errors.
    The published hyper-parameters of the objective ``like`` hold for it too. The default of an extension's objective
    is soft-introvae, or vae where it is not introspective. Its own ``rows`` win over all others.
    """

    what = "objective"
    needs = ("make",)
    checks = dict.fromkeys(
        (
            "introspective",
            "takes_margin",
            "needs_epochs",
            "needs_factors",
            "sees_labels",
            "has_density",
            "in_pairs",
            "stackable",
        ),
        SWITCH,
    )
    introspective: bool = True
    takes_margin: bool = False
    needs_epochs: bool = False
    needs_factors: bool = False
    sees_labels: bool = False
    has_density: bool = True
    in_pairs: bool = False
    embeds: str | None = None
    neg_is_relative: bool = False  # in the loss, beta_kl multiplies beta_neg too
    stackable: bool = False  # cells may train side by side, since its losses broadcast over a leading axis
    example: str | None = None
    like: str | None = None

    @property
    def model(self) -> str | None:
        """Return the name of the objective whose published hyper-parameters hold too."""
        if self.like is None and self.source is not None:
            return "soft-introvae" if self.introspective else "vae"
        return self.like

    @property
    def has_two_phases(self) -> bool:
        """Whether a phase of other iterations, `warmup` of them, comes before its last phase."""
        return self.introspective or self.embeds is not None

    def spells(self, name: str) -> bool:
        """Return whether a name would be read as this objective with betas."""
        return name.startswith(f"{self.name}-rec")

    def why_not(self, prior: "Prior") -> str:
        """Say why it cannot go with a prior, and what is legal; "" where it can."""
        return ""

    if TYPE_CHECKING:  # not defined at run time, so that an objective without it is refused

        def make(self) -> Any: ...

    def parse(self, token: str, legal: str) -> tuple[str, Betas | None, float | None]:
        """Read the name, the betas and the margin of `introvae-rec0.2-kl0.3-neg1-margin10`; None for each that lacks.

        Raises SintroError for a wrong token; ``legal`` ends its message.
        """
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
