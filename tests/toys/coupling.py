"""A normalising flow as the prior: one affine coupling layer over N(0, I)."""

from sintro.cells.components import Prior, register


@register
class Coupling(Prior):
    name = "coupling"

    def make(self, settings, pseudo_inputs):
        import torch
        from torch import nn

        from sintro.basics.randomness import normal
        from sintro.priors import StandardNormal, TrainablePrior

        class Flow(TrainablePrior):
            def __init__(self, latent_size):
                super().__init__(latent_size)
                self.kept = latent_size // 2
                moved = latent_size - self.kept
                self.network = nn.Sequential(nn.Linear(self.kept, 32), nn.Tanh(), nn.Linear(32, 2 * moved))
                self.base = StandardNormal(latent_size)

            def log_prob(self, z):
                first, second = z[..., : self.kept], z[..., self.kept :]
                shift, log_scale = self.network(first).chunk(2, -1)
                noise = torch.cat((first, (second - shift) * torch.exp(-log_scale)), -1)
                return self.base.log_prob(noise) - log_scale.sum(-1)

            def draw(self, n, generator):
                noise = normal((n, self.latent_size), generator)
                first, second = noise[..., : self.kept], noise[..., self.kept :]
                shift, log_scale = self.network(first).chunk(2, -1)
                return torch.cat((first, second * torch.exp(log_scale) + shift), -1)

        return Flow(settings.latent_size)
