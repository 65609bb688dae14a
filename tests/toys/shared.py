"""A mixture of two Gaussians that share their variances."""

from sintro.cells.components import Prior, register


@register
class Shared(Prior):
    name = "shared2"
    has_modes = True

    def make(self, settings, pseudo_inputs):
        import torch
        from torch import nn

        from sintro.priors import MixturePrior, TrainablePrior

        class SharedVariances(TrainablePrior):
            def __init__(self, latent_size):
                super().__init__(latent_size)
                self.means = nn.Parameter(torch.randn(2, latent_size))
                self.log_var = nn.Parameter(torch.zeros(latent_size))
                self.logits = nn.Parameter(torch.zeros(2))

            def as_density(self, encode):
                return MixturePrior(self.means, self.log_var.expand_as(self.means), self.logits)

        return SharedVariances(settings.latent_size)
