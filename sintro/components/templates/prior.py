"""A prior: a normalising flow, to be changed into your own. docs/extending.md says more.

sintro show results/quick/8gaussians/soft-introvae/NAME/none/seed0     what would be trained, and why so
sintro train results/quick/8gaussians/soft-introvae/NAME/none/seed0    then evaluate; or add NAME to a study
"""

from sintro.components import Prior, register


@register
class CLASS(Prior):
    name = "NAME"  # in paths and studies; NAME-encoder learns with the encoder, NAME with the decoder
    learned = True  # False: it learns in the warm-up alone, and has one name
    has_modes = False  # True for a mixture: then its responsibilities can be regularised, as in resp10

    def make(self, settings, pseudo_inputs):
        """The density that a training begins with; torch's own generator is seeded for its first weights."""
        import torch  # here, since names are read without torch
        from torch import nn

        from sintro.priors import StandardNormal, TrainablePrior
        from sintro.randomness import normal

        class Flow(TrainablePrior):
            """z = (u, v exp(a(u)) + b(u)) for (u, v) ~ N(0, I): one affine coupling layer."""

            def __init__(self, latent_size):
                super().__init__(latent_size)
                self.kept = latent_size // 2  # the size of u
                moved = latent_size - self.kept
                self.network = nn.Sequential(nn.Linear(self.kept, 32), nn.Tanh(), nn.Linear(32, 2 * moved))
                self.base = StandardNormal(latent_size)

            def log_prob(self, z):
                """log p(z) in nats by the change of variables, [N, L] to [N]."""
                first, second = z[..., : self.kept], z[..., self.kept :]
                shift, log_scale = self.network(first).chunk(2, -1)
                noise = torch.cat((first, (second - shift) * torch.exp(-log_scale)), -1)
                return self.base.log_prob(noise) - log_scale.sum(-1)

            def draw(self, n, generator):
                """n draws [n, L]; everything random comes from the generator."""
                noise = normal((n, self.latent_size), generator)
                first, second = noise[..., : self.kept], noise[..., self.kept :]
                shift, log_scale = self.network(first).chunk(2, -1)
                return torch.cat((first, second * torch.exp(log_scale) + shift), -1)

        return Flow(settings.latent_size)
