"""The suite's own priors and objectives, registered through the same door as a user's."""

import re

from sintro import SintroError
from sintro.components.objective import Objective
from sintro.components.prior import Prior, PriorSpec
from sintro.components.registry import register
from sintro.components.spelling import whole


@register
class Normal(Prior):
    """N(0, I)."""

    name, spellings = "normal", ("normal",)

    def parse(self, token: str) -> PriorSpec | None:
        return PriorSpec("normal") if token == "normal" else None


@register
class Vamp(Prior):
    """The VampPrior of a vae: K pseudo-inputs, seen through the encoder."""

    name, spellings = "vamp", ("vampK", "vampK-lc")

    def parse(self, token: str) -> PriorSpec | None:
        match = re.fullmatch(r"vamp(?P<components>-?[0-9]+)(?P<lc>-lc)?", token)
        return match and PriorSpec("vamp", _components(token, match), contributions=bool(match["lc"]))


@register
class Mixture(Prior):
    """A mixture of K Gaussians that a VampPrior turned into."""

    name = "mixture"
    spellings = ("mogK-fixed", "mogK-fixed-lc", "mogK-learned", "mogK-learned-lc")
    note = "a learned one may end in -encoder"

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


def _components(token: str, match: re.Match) -> int:
    components = whole(match["components"], f"prior {token!r}: the number of components")
    if components < 1:
        raise SintroError(f"prior {token!r}: the number of components must be at least 1")
    return components


@register
class Vae(Objective):
    """The evidence lower bound with weights."""

    name, example = "vae", "vae-rec0.8-kl0.05"
    introspective = False


@register
class SoftIntroVae(Objective):
    """Soft-IntroVAE, Daniel & Tamar 2021."""

    name, example = "soft-introvae", "soft-introvae-rec0.2-kl0.3-neg0.9"


@register
class Bootstrap(Objective):
    """Soft-IntroVAE with a target decoder, as released by Daniel & Tamar."""

    name, like = "soft-introvae-bootstrap", "soft-introvae"
    needs_epochs = True  # the target decoder lags by an epoch


@register
class IntroVae(Objective):
    """IntroVAE, Huang et al. 2018."""

    name, example = "introvae", "introvae-rec0.2-kl0.3-neg1-margin10"
    takes_margin = True
