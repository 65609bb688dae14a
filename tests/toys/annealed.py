"""A VAE whose KL counts little at first: beta_kl grows linearly over the first half of the training."""

from sintro.cells.components import Objective, register


@register
class AnnealedVae(Objective):
    name, like = "annealed-vae", "vae"
    introspective = False

    def make(self):
        from sintro.objectives import Vae, vae_loss

        class Annealed(Vae):
            graphable = False  # the loss depends on the iteration

            def loss(self, game, real, noise):
                share = min(1.0, 2 * (game.iteration + 1) / game.shared.iterations)
                betas = game.betas._replace(kl=share * game.betas.kl)
                return vae_loss(game.model, real, betas, noise, samples=game.shared.samples, sampled=game.sampled)

        return Annealed()
