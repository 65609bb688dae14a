"""Describe the suite's own objectives, registered through the same door as a user's. Imports no torch."""

from typing import TYPE_CHECKING

from sintro.cells.components import Objective, Prior, register

if TYPE_CHECKING:
    from sintro import objectives


@register
class Vae(Objective):
    """The evidence lower bound with weights."""

    name, example = "vae", "vae-rec0.8-kl0.05"
    introspective, stackable = False, True

    def make(self) -> "objectives.Objective":
        from sintro.objectives import Vae

        return Vae()


@register
class SoftIntroVae(Objective):
    """Soft-IntroVAE, Daniel & Tamar 2021."""

    name, example = "soft-introvae", "soft-introvae-rec0.2-kl0.3-neg0.9"
    stackable = True

    def make(self) -> "objectives.Objective":
        from sintro.objectives import SoftIntroVae

        return SoftIntroVae()


@register
class Bootstrap(Objective):
    """Soft-IntroVAE with a target decoder, as released by Daniel & Tamar."""

    name, like = "soft-introvae-bootstrap", "soft-introvae"
    needs_epochs = True  # the target decoder lags by an epoch

    def make(self) -> "objectives.Objective":
        from sintro.objectives import SoftIntroVaeBootstrap

        return SoftIntroVaeBootstrap()


@register
class Swap(Objective):
    """Soft-IntroVAE whose third fakes are translations: images of one datum's class code and another's content code."""

    name, like = "soft-introvae-swap", "soft-introvae"
    example = "soft-introvae-swap-rec1-kl1-neg768"
    needs_factors = True

    def make(self) -> "objectives.Objective":
        from sintro.objectives import SoftIntroVaeSwap

        return SoftIntroVaeSwap()


class _OfTwoCodes(Objective):
    """A published way to part class from content, for comparison. Its codes have the prior N(0, I), or none."""

    introspective, needs_factors = False, True

    def why_not(self, prior: Prior) -> str:
        return "" if prior.is_standard else f"{self.name} is defined for N(0, I) alone; legal is normal"


@register
class GroupVae(_OfTwoCodes):
    """The VAE whose class code is one for two images of a class, Bouchacourt et al. 2018."""

    name, example = "group-vae", "group-vae-rec1-kl1"
    sees_labels = in_pairs = True

    def make(self) -> "objectives.Objective":
        from sintro.objectives import GroupVae

        return GroupVae()


@register
class Lord(_OfTwoCodes):
    """LORD, Gabbay & Hoshen 2020: a class code of each class, a content code of each image, then the encoders."""

    name, example, embeds = "lord", "lord-rec1-kl1", "class"
    sees_labels, has_density = True, False

    def make(self) -> "objectives.Objective":
        from sintro.objectives import Lord

        return Lord()


@register
class LordUnlabelled(Lord):
    """LORD without labels: a class code of each image."""

    name, example, embeds = "lord-unlabelled", "lord-unlabelled-rec1-kl1", "image"
    sees_labels = False


@register
class IntroVae(Objective):
    """IntroVAE, Huang et al. 2018."""

    name, example = "introvae", "introvae-rec0.2-kl0.3-neg1-margin10"
    takes_margin = stackable = neg_is_relative = True

    def why_not(self, prior: Prior) -> str:
        if not prior.is_standard:
            return "IntroVAE is defined for N(0, I) alone; legal is normal, and soft-introvae has the other priors"
        return ""

    def make(self) -> "objectives.Objective":
        from sintro.objectives import IntroVae

        return IntroVae()
