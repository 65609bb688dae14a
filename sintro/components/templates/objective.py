"""An objective: Soft-IntroVAE with one more term for the decoder, to be changed into your own.

sintro show results/quick/8gaussians/NAME/normal/none/seed0     what would be trained, and why so
sintro train results/quick/8gaussians/NAME/normal/none/seed0    then evaluate; or add NAME to a study
docs/extending.md says more.
"""

from sintro.components import Objective, register


@register
class CLASS(Objective):
    name = "NAME"  # in paths and studies; NAME-rec0.2-kl0.3-neg0.9 has other betas
    like = "soft-introvae"  # whose published hyper-parameters hold; rows = (Row(...),) here win over them
    introspective = True  # a VAE's warm-up comes first, and there is a beta_neg; False: all iterations are its own

    def make(self):
        """What does the iterations of a training."""
        from sintro.model import frozen  # here, since names are read without torch
        from sintro.objectives import SoftIntroVae

        class Cycle(SoftIntroVae):
            """The codes of reconstructions are drawn towards the latents that they were decoded from."""

            weight = 0.1

            def decoder_loss(self, game, real, noise, first):
                """L_D + s w |mu(g(z)) - z|^2, with z the real batch's latents [B, L] of the encoder's step."""
                step = super().decoder_loss(game, real, noise, first)
                with frozen(game.model.encoder):  # it is the decoder's turn
                    again = game.model.encode(game.model.decoder(first.z)).mean
                distance = (again - first.z).square().sum(-1).mean(-1)
                step.loss = step.loss + game.shared.scale * self.weight * distance
                step.terms["loss_decoder"] = step.loss.detach()  # as the history tells it
                return step

        return Cycle()
