"""Describe the suite's own priors, registered through the same door as a user's. Imports no torch."""

import re
from typing import TYPE_CHECKING

from sintro import SintroError
from sintro.cells.components import Objective, Prior, PriorSpec, register
from sintro.cells.components.spelling import whole

if TYPE_CHECKING:
    import torch

    from sintro import priors
    from sintro.cells.settings import Settings


@register
class Normal(Prior):
    """N(0, I)."""

    name, learned = "normal", False
    stackable = is_standard = True

    def is_one_gaussian(self, components: int | None) -> bool:
        return True

    def make(self, settings: "Settings", pseudo_inputs: "torch.Tensor | None") -> "priors.Prior":
        from sintro.priors import StandardNormal

        return StandardNormal(settings.latent_size)


@register
class Vamp(Prior):
    """The VampPrior of a vae: K pseudo-inputs, seen through the encoder."""

    name, spellings = "vamp", ("vampK", "vampK-lc")
    has_modes = stackable = from_data = True

    def parse(self, token: str) -> PriorSpec | None:
        match = re.fullmatch(r"vamp(?P<components>-?[0-9]+)(?P<lc>-lc)?", token)
        return match and PriorSpec("vamp", _components(token, match), contributions=bool(match["lc"]))

    def is_one_gaussian(self, components: int | None) -> bool:
        return components == 1

    def why_not(self, objective: Objective) -> str:
        if objective.introspective:
            return (
                "introspective runs turn their VampPrior into a mixture; legal are normal, mogK-fixed, mogK-learned, "
                "each also with -lc"
            )
        return ""

    def make(self, settings: "Settings", pseudo_inputs: "torch.Tensor | None") -> "priors.Prior":
        from sintro.priors import VampPrior

        limits = None if settings.network == "mlp" else (0.0, 1.0)
        return VampPrior.starting_at(pseudo_inputs, len(settings.event), settings.contributions, limits)


@register
class Mixture(Vamp):
    """A mixture of K Gaussians that a VampPrior turned into."""

    name = "mixture"
    spellings = ("mogK-fixed", "mogK-fixed-lc", "mogK-learned", "mogK-learned-lc")
    note = "a learned one may end in -encoder"
    clips = converted = True

    def parse(self, token: str) -> PriorSpec | None:
        match = re.fullmatch(
            r"mog(?P<components>-?[0-9]+)-(?P<life>fixed|learned)(?P<lc>-lc)?(?P<encoder>-encoder)?", token
        )
        if match is None:
            return None
        components, learned = _components(token, match), match["life"] == "learned"
        if match["encoder"] and not learned:
            raise SintroError(
                f"prior {token!r}: -encoder says with whom a prior learns, and a fixed one does not learn"
            )
        cooperation = ("encoder" if match["encoder"] else "decoder") if learned else None
        return PriorSpec("mixture", components, learned, bool(match["lc"]), cooperation)

    def why_not(self, objective: Objective) -> str:
        if not objective.introspective:
            return (
                "a mixture is what a VampPrior turns into for the introspective part, which a vae has not; legal are "
                "normal, vampK, vampK-lc"
            )
        return ""


def _components(token: str, match: re.Match) -> int:
    components = whole(match["components"], f"prior {token!r}: the number of components")
    if components < 1:
        raise SintroError(f"prior {token!r}: the number of components must be at least 1")
    return components
