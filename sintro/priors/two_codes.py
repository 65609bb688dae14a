"""A prior over z = [c, t]: any prior over the class code c, and N(0, I) over the content code t."""

from collections.abc import Callable, Sequence

import torch

from sintro.basics.randomness import Generators
from sintro.priors.distributions import StandardNormal
from sintro.priors.prior import Prior


class TwoCodePrior(Prior):
    """p(z) = p(c) N(t; 0, I), with c the first entries of z.

    Args:
        of_class: p(c). What is learned, clipped or converted is this prior; its modes are those of ``[c, 0]``.
        content_size: L_t.
        weights: of KL(q(c|x) || p(c)) and of KL(q(t|x) || N(0, I)) in the losses.
    """

    def __init__(self, of_class: Prior, content_size: int, weights: tuple[float, float] = (1.0, 1.0)):
        self.of_class, self.of_content, self.weights_of_kl = of_class, StandardNormal(content_size), weights

    @property
    def latent_size(self) -> int:
        return self.of_class.latent_size + self.of_content.latent_size

    @property
    def parts(self) -> tuple[tuple[float, Prior], ...]:
        """The weight of each code's KL, and the code's prior."""
        return tuple(zip(self.weights_of_kl, (self.of_class, self.of_content), strict=True))

    @property
    def stored_kind(self) -> str:
        return self.of_class.stored_kind

    @property
    def has_modes(self) -> bool:
        return self.of_class.has_modes

    @property
    def components(self) -> int:
        """The number of modes."""
        return self.of_class.components

    @property
    def means(self) -> torch.Tensor:
        """Means of the modes, ``[K, L]``."""
        return self._padded(self.of_class.means)

    @property
    def log_vars(self) -> torch.Tensor | None:
        found = self.of_class.log_vars
        return None if found is None else self._padded(found)

    @property
    def weights(self) -> torch.Tensor:
        """Weights of the modes, ``[K]``."""
        return self.of_class.weights

    @property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        return self.of_class.bounds

    def clip(self, low: torch.Tensor, high: torch.Tensor) -> "TwoCodePrior":
        """Set the bounds of the class code's variances, ``[L_c]`` each."""
        self.of_class.clip(low, high)
        return self

    def clip_to_modes(self) -> None:
        self.of_class.clip_to_modes()

    def named_parameters(self) -> dict[str, torch.Tensor]:
        return self.of_class.named_parameters()

    def named_buffers(self) -> dict[str, torch.Tensor]:
        return self.of_class.named_buffers()

    def to(self, device: torch.device | str) -> "TwoCodePrior":
        return self._with(self.of_class.to(device))

    def detach(self) -> "TwoCodePrior":
        return self._with(self.of_class.detach())

    def as_density(self, encode: Callable) -> "TwoCodePrior":
        return self._with(self.of_class.as_density(self._class_encoder(encode)))

    def converted(self, encode: Callable, logits: str | None) -> "TwoCodePrior":
        return self._with(self.of_class.converted(self._class_encoder(encode), logits))

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """log p(z) in nats: ``[N, L]`` to ``[N]``."""
        c, t = self.split(z)
        return self.of_class.log_prob(c) + self.of_content.log_prob(t)

    def log_prob_and_mean_responsibilities(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        c, t = self.split(z)
        log_prob, found = self.of_class.log_prob_and_mean_responsibilities(c)
        return log_prob + self.of_content.log_prob(t), found

    def responsibilities(self, z: torch.Tensor) -> torch.Tensor:
        """p(k | z) of the class code's modes: ``[N, L]`` to ``[N, K]``."""
        return self.of_class.responsibilities(self.split(z)[0])

    def sample(self, n: int, generator: Generators) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw ``n`` latents ``[n, L]``; return them and the mode of each, ``[n]``."""
        c, component = self.of_class.sample(n, generator)
        return torch.cat([c, self.of_content.sample(n, generator)[0]], -1), component

    def components_to_draw(self) -> dict[str, torch.Tensor]:
        found = self.of_class.components_to_draw()
        return {name: tensor if name == "weights" else self._padded(tensor) for name, tensor in found.items()}

    def split(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Part ``[..., L]`` into what belongs to the class code and to the content code."""
        size = self.of_class.latent_size
        return values[..., :size], values[..., size:]

    def _with(self, of_class: Prior) -> "TwoCodePrior":
        return (
            self
            if of_class is self.of_class
            else TwoCodePrior(of_class, self.of_content.latent_size, self.weights_of_kl)
        )

    def _padded(self, values: torch.Tensor) -> torch.Tensor:
        """Add to values of the class code's modes, ``[K, L_c]``, those of N(0, I): means and log-variances of 0."""
        return torch.cat([values, values.new_zeros(*values.shape[:-1], self.of_content.latent_size)], -1)

    def _class_encoder(self, encode: Callable | None) -> Callable | None:
        """Make of an encoder, which gives a posterior of both codes, the one that gives the class code's."""
        if encode is None:
            return None

        def of_class(data: torch.Tensor):
            posterior = encode(data)
            size = posterior.mean.shape[-1] - self.of_content.latent_size
            return type(posterior)(*(values[..., :size] for values in posterior))

        return of_class


def both_codes(of_class: Prior, class_size: int, content_size: int, weights: Sequence[float | None]) -> Prior:
    """Make the prior over both codes; N(0, I) over both, without weights, is one N(0, I)."""
    if of_class.is_standard and not any(weights):
        return StandardNormal(class_size + content_size)
    first, second = (1.0 if weight is None else weight for weight in weights)
    return TwoCodePrior(of_class, content_size, (first, second))
