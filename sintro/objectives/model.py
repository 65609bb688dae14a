"""Encoder, decoder and prior together: what the objectives act on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from sintro.basics.randomness import Generators, normal, uniform
from sintro.priors import Prior, frozen

__all__ = ["Model", "Posterior", "frozen"]


class Posterior(NamedTuple):
    """q(z|x) = N(mean, diag exp(log_var)); both ``[..., B, L]``."""

    mean: torch.Tensor
    log_var: torch.Tensor

    def sample(self, generator: Generators) -> torch.Tensor:
        """One reparameterised latent per datum, ``[..., B, L]``."""
        return self.at(normal(self.mean.shape[-2:], generator, self.mean.dtype))

    def at(self, noise: torch.Tensor) -> torch.Tensor:
        """The latents that standard normal noise ``[..., B, L]`` makes, one per datum."""
        return self.mean + torch.exp(0.5 * self.log_var) * noise

    def detach(self) -> "Posterior":
        return Posterior(self.mean.detach(), self.log_var.detach())


@dataclass
class Model:
    """An encoder, a decoder and a prior.

    Args:
        encoder: maps data ``[..., B, *event]`` to ``[..., B, 2 L]``, means first, then log-variances.
        decoder: maps latents ``[..., B, L]`` to data; linear output.
        prior: p(z); a ``VampPrior`` in VAE training only.
        event_dims: how many trailing axes make one datum (2D points: 1; images: 3).
        stackable: whether batches may share one forward pass. True for the MLP; False with batch norm, whose
            statistics belong to one batch (docs/science.md, section 5).
        target_decoder: the decoder as it was when the epoch began, a constant. In the bootstrap variant it
            reconstructs the fakes in the decoder's place; every other objective has none.
        class_size: L_c, where a latent is a class code and a content code, z = [c, t]; else None.
        perceptual_error: what compares reconstructions in the losses, ``[..., B]`` of two batches; None: the squared
            error, which every metric takes.
    """

    encoder: nn.Module
    decoder: nn.Module
    prior: Prior
    event_dims: int = 1
    stackable: bool = True
    target_decoder: nn.Module | None = None
    class_size: int | None = None
    perceptual_error: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    def batch_size(self, data: torch.Tensor) -> int:
        """B of a batch ``[..., B, *event]``."""
        return data.shape[-self.event_dims - 1]

    def data_size(self, data: torch.Tensor) -> int:
        """D, the number of coordinates of one datum."""
        return math.prod(data.shape[-self.event_dims :])

    def encode(self, data: torch.Tensor) -> Posterior:
        """Return q(z|x) of each datum of a batch ``[..., B, *event]``."""
        mean, log_var = self.encoder(data).chunk(2, -1)
        return Posterior(mean, log_var)

    def infer(self, data: torch.Tensor, generator: Generators) -> tuple[Posterior, torch.Tensor]:
        """Return q(z|x) of each datum and one reparameterised latent of each, ``[..., B, L]``."""
        posterior = self.encode(data)
        return posterior, posterior.sample(generator)

    def encode_each(self, batches: Sequence[torch.Tensor]) -> list[Posterior]:
        """Return q(z|x) of each of several batches, in one forward pass where ``stackable``, else in one each."""
        if not self.stackable:
            return [self.encode(batch) for batch in batches]
        mean, log_var = self.encode(torch.cat(list(batches), -self.event_dims - 1))
        sizes = [self.batch_size(batch) for batch in batches]
        pairs = zip(mean.split(sizes, -2), log_var.split(sizes, -2), strict=True)
        return [Posterior(*pair) for pair in pairs]

    def decode_each(self, latents: Sequence[torch.Tensor], decoder: nn.Module | None = None) -> list[torch.Tensor]:
        """Return g(z) of several batches of latents, in one forward pass where ``stackable``, else in one each."""
        decoder = decoder or self.decoder
        if not self.stackable:
            return [decoder(z) for z in latents]
        decoded = decoder(torch.cat(list(latents), -2))
        return list(decoded.split([z.shape[-2] for z in latents], -self.event_dims - 1))

    def codes(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Part latents ``[..., L]`` into class codes and content codes."""
        return z[..., : self.class_size], z[..., self.class_size :]

    def swapped(self, z: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Give every class code of a batch ``[B, L]`` the content code of another datum: a random permutation."""
        c, t = self.codes(z)
        order = uniform(z.shape[-2:-1], generator).argsort(-1)
        return torch.cat([c, t[order]], -1)

    def mixture(self) -> Prior:
        """Return the prior as a density; a VampPrior's modes are those of the encoder as it is now."""
        return self.prior.as_density(self.encode)

    def reconstruction_error(self, data: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
        """rec(x, y) of the losses, ``[..., B]``: the squared error, unless the settings ask for a perceptual one."""
        return (self.perceptual_error or self.squared_error)(data, reconstruction)

    def squared_error(self, data: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
        """Sum over the coordinates of one datum of (x - y)^2, ``[..., B]``."""
        return (data - reconstruction).square().flatten(-self.event_dims).sum(-1)
