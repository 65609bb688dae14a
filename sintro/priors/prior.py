"""What the suite asks of a prior (:class:`Prior`), and the class that a prior of your own extends
(:class:`TrainablePrior`).

Everything broadcasts over leading axes, written ``...``: none for one cell, one of size F for a fleet.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from sintro.basics.randomness import Generators


class NoiseMoments(NamedTuple):
    """The mean of eps and of eps^2 over S standard normal draws, each ``[..., B, L]``.

    Log q - log p of two Gaussians is quadratic in eps, so its mean over the draws depends on these alone: no graph of
    S latents is needed.
    """

    first: torch.Tensor
    second: torch.Tensor


class Prior:
    """What losses, training and evaluation ask of a prior; the defaults suit a density without modes.

    A subclass has ``log_prob(z)`` and ``sample(n, generator)``, with the shapes that :class:`StandardNormal` gives.
    """

    latent_size: int
    is_standard = False  # N(0, I)
    has_modes = False  # a mixture, with ``means``, ``log_vars``, ``weights`` and ``responsibilities``
    has_closed_kl = False  # the KL of a Gaussian to it has a closed form, :meth:`closed_kl`
    log_vars: torch.Tensor | None = None  # of its modes, [..., K, L]
    bounds: tuple[torch.Tensor, torch.Tensor] | None = None  # of adaptive variance clipping, once it began
    parts: tuple[
        tuple[float, "Prior"], ...
    ] = ()  # of a latent made of codes: the weight of each one's KL, and its prior

    @property
    def stored_kind(self) -> str:
        """The name under which its parameters are stored."""
        return type(self).__name__

    def named_parameters(self) -> dict[str, torch.Tensor]:
        """Return every tensor that may be learned, by the name under which it is stored."""
        return {}

    def named_buffers(self) -> dict[str, torch.Tensor]:
        """Return every tensor that training changes otherwise, such as a running mean, by its name."""
        return {}

    def parameters(self) -> list[torch.Tensor]:
        """Return the tensors of :meth:`named_parameters`."""
        return list(self.named_parameters().values())

    @property
    def learns(self) -> bool:
        """Whether any parameter receives gradients."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def as_density(self, encode: Callable) -> "Prior":
        """Return the prior as a density, with ``log_prob`` and ``sample``; a VampPrior needs the encoder for it."""
        return self

    def detach(self) -> "Prior":
        """Return the same density with parameters that receive no gradients."""
        return _Constant(self) if self.parameters() else self

    def converted(self, encode: Callable, logits: str | None) -> "Prior":
        """Return the prior that follows at conversion; ``logits`` is ``Settings.logits_at_conversion``."""
        return self

    def to(self, device: torch.device | str) -> "Prior":
        """Return the prior with its parameters on a device; a prior made of given tensors stays as it is."""
        return self

    def freeze(self) -> None:
        """Stop learning."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def split(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Part ``[..., L]`` into what belongs to each of ``parts``."""
        return (values,)

    def clip(self, low: torch.Tensor, high: torch.Tensor) -> Self:
        """Set adaptive variance clipping between ``low`` and ``high``, log-variances per dimension, ``[..., L]``."""
        self.bounds = (low, high)
        return self

    def clip_to_modes(self) -> None:
        """Begin adaptive variance clipping, between the smallest and the largest variance that any mode has now."""

    def closed_kl(self, mean: torch.Tensor, log_var: torch.Tensor, moments: NoiseMoments | None) -> torch.Tensor:
        """Compute KL(N(mean, diag exp(log_var)) || p) in nats, ``[..., B]``, where ``has_closed_kl``.

        With ``moments`` it is the value that samples with noise of these moments would give.
        """
        raise NotImplementedError

    def components_to_draw(self) -> dict[str, torch.Tensor]:
        """Return ``means``, ``log_vars`` [K, L] and ``weights`` [K] of a prior made of Gaussians; {} of any other."""
        return {}

    def log_prob_and_mean_responsibilities(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return log p(z) ``[..., N]``, and the modes' mean responsibilities over the points ``[..., K]`` or None."""
        return self.log_prob(z), None

    def shared_log_prob(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Compute log p(z) for an encoder, which moves z, and for a prior that learns with another player.

        Returns log p(z) ``[..., N]`` and the mean responsibilities ``[..., K]`` or None, with gradients to z alone; and
        the mean of log p(z) over the points ``[...]``, with gradients to the prior alone.
        """
        log_prob, found = self.detach().log_prob_and_mean_responsibilities(z)
        return log_prob, found, self.log_prob(z.detach()).mean(-1)


class TrainablePrior(nn.Module, Prior):
    """A density of your own, written as a torch module: parameters are registered, trained and stored by their names.

    Its buffers are stored too.

    A subclass defines ``log_prob(z)``, ``[N, L]`` to ``[N]`` in nats, and ``draw(n, generator)``, ``[n, L]`` with
    gradients to the parameters (``sintro.basics.randomness.normal`` draws the noise). A mixture of Gaussians defines
    ``as_density(encode)`` instead, which returns a :class:`MixturePrior` made of its parameters; it then has
    responsibilities, their metrics and pictures too. ``encode`` is None where the suite only tries a prior out.

    Raises AttributeError where a parameter or module has the name of something that every prior has.
    """

    def __init__(self, latent_size: int):
        super().__init__()
        self.latent_size = latent_size

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (torch.Tensor, nn.Module, list)) and hasattr(type(self), name):
            raise AttributeError(f"{name!r} is something that every prior has; give the parameter another name")
        super().__setattr__(name, value)

    def named_parameters(self, *arguments, **options) -> dict[str, torch.Tensor]:
        return dict(nn.Module.named_parameters(self, *arguments, **options))

    def named_buffers(self, *arguments, **options) -> dict[str, torch.Tensor]:
        return dict(nn.Module.named_buffers(self, *arguments, **options))

    def parameters(self, recurse: bool = True) -> list[torch.Tensor]:
        return list(self.named_parameters(recurse=recurse).values())

    def sample(self, n: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``n`` latents ``[n, L]``; return them and the component of each, always 0, ``[n]``."""
        z = self.draw(n, generator)
        return z, torch.zeros(n, dtype=torch.long, device=z.device)


class _Constant(Prior):
    """A prior's density, whose parameters receive no gradients."""

    def __init__(self, prior: Prior):
        self.prior, self.latent_size, self.has_closed_kl = prior, prior.latent_size, prior.has_closed_kl

    def closed_kl(self, mean: torch.Tensor, log_var: torch.Tensor, moments: NoiseMoments | None) -> torch.Tensor:
        with frozen(self.prior):
            return self.prior.closed_kl(mean, log_var, moments)

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        with frozen(self.prior):
            return self.prior.log_prob(z)

    def sample(self, n: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        with frozen(self.prior):
            return self.prior.sample(n, generator)


@contextmanager
def frozen(*modules: nn.Module | Prior) -> Iterator[None]:
    """Treat the parameters of these modules as constants inside the block: no gradient is computed for them."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
