"""Describe the suite's own objectives, registered through the same door as a user's. Imports no torch."""

from typing import TYPE_CHECKING

from sintro.cells.components import Objective, Prior, register

if TYPE_CHECKING:
    from sintro import objectives


class _Own(Objective):
    """An objective of the suite's own; ``made`` names its class in ``sintro.objectives``."""

    made: str

    def make(self) -> "objectives.Objective":
        from sintro import objectives

        return getattr(objectives, self.made)()


@register
class Vae(_Own):
    """The evidence lower bound with weights."""

    made = "Vae"
    name, example = "vae", "vae-rec0.8-kl0.05"
    introspective, stackable = False, True


@register
class SoftIntroVae(_Own):
    """Soft-IntroVAE, Daniel & Tamar 2021."""

    made = "SoftIntroVae"
    name, example = "soft-introvae", "soft-introvae-rec0.2-kl0.3-neg0.9"
    stackable = True


@register
class Bootstrap(_Own):
    """Soft-IntroVAE with a target decoder, as released by Daniel & Tamar."""

    made = "SoftIntroVaeBootstrap"
    name, like = "soft-introvae-bootstrap", "soft-introvae"
    needs_epochs = True  # the target decoder lags by an epoch


@register
class Swap(_Own):
    """Soft-IntroVAE whose third fakes are translations: images of one datum's class code and another's content code."""

    made = "SoftIntroVaeSwap"
    name, like = "soft-introvae-swap", "soft-introvae"
    example = "soft-introvae-swap-rec1-kl1-neg768"
    needs_factors = True


class _OfTwoCodes(_Own):
    """A published way to part class from content, for comparison. Its codes have the prior N(0, I), or none."""

    introspective, needs_factors = False, True

    def why_not(self, prior: Prior) -> str:
        return "" if prior.is_standard else f"{self.name} is defined for N(0, I) alone; legal is normal"


@register
class GroupVae(_OfTwoCodes):
    """The VAE whose class code is one for two images of a class, Bouchacourt et al. 2018."""

    made = "GroupVae"
    name, example = "group-vae", "group-vae-rec1-kl1"
    sees_labels = in_pairs = True


@register
class Lord(_OfTwoCodes):
    """LORD, Gabbay & Hoshen 2020: a class code of each class, a content code of each image, then the encoders."""

    made = "Lord"
    name, example, embeds = "lord", "lord-rec1-kl1", "class"
    sees_labels, has_density = True, False


@register
class LordUnlabelled(Lord):
    """LORD without labels: a class code of each image."""

    name, example, embeds = "lord-unlabelled", "lord-unlabelled-rec1-kl1", "image"
    sees_labels = False


@register
class IntroVae(_Own):
    """IntroVAE, Huang et al. 2018."""

    made = "IntroVae"
    name, example = "introvae", "introvae-rec0.2-kl0.3-neg1-margin10"
    takes_margin = stackable = neg_is_relative = True

    def why_not(self, prior: Prior) -> str:
        if not prior.is_standard:
            return "IntroVAE is defined for N(0, I) alone; legal is normal, and soft-introvae has the other priors"
        return ""
