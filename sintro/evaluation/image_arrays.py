"""What the pictures of an image cell are drawn from: reconstructions, samples, interpolations, modes, codes."""

import numpy as np
import torch

from sintro.basics.randomness import generator, normal
from sintro.data.images import ImageSet
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.priors import Prior

PICTURES = 64
KL_SAMPLES = 100
LATENTS = 2000  # codes kept for the picture of the latent space
STRIPS, STEPS = 4, 8  # pairs of test images that are interpolated, and images of a strip
MODES, OF_EACH = 8, 8  # of how many modes samples are kept for the pictures, and how many of each


def picture_arrays(model: Model, test: ImageSet, codes: torch.Tensor, seed: int, device: str) -> dict[str, np.ndarray]:
    """The arrays of a model in eval mode; ``codes`` [N, L] are the posterior means of the test images."""
    data = test.batch(slice(PICTURES))
    prior = model.mixture()
    z, component = prior.sample(PICTURES, generator(seed, "evaluation-pictures", 0, device))
    arrays = {
        "data": data,
        "reconstructions": model.decoder(model.encode(data).mean),
        "samples": model.decoder(z),
        "sample_modes": component,
        "codes": codes[:LATENTS],
        "code_labels": test.labels[:LATENTS],
    }
    if prior.has_modes:
        order = prior.weights.argsort(descending=True, stable=True)
        arrays |= {"mode_images": model.decoder(prior.means[order]), "mode_weights": prior.weights[order]}
        noise = generator(seed, "evaluation-modes", 0, device)
        arrays["mode_samples"] = _mode_samples(model, prior, order[:MODES], noise)
    arrays |= _interpolations(model, codes[: 2 * STRIPS], generator(seed, "evaluation-interpolations", 0, device))
    return {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}


def _interpolations(model: Model, codes: torch.Tensor, noise: torch.Generator) -> dict[str, torch.Tensor]:
    """Decode the ways between pairs of codes [2 P, L]: along great circles and straight; a last odd code is left out.

    Returns uint8 images [2, P, T, C, H, W] and the ELBO of each decoded image [2, P, T] in nats, from its posterior
    mean, and a KL of 100 samples where it has no closed form. A dip tells that the way leaves the model's images.
    """
    pairs = len(codes) // 2
    start, end = codes[0 : 2 * pairs : 2], codes[1::2]
    share = torch.linspace(0, 1, STEPS, device=codes.device)[:, None, None]  # [T, 1, 1]
    ways = torch.stack([spherical(start, end, share), start + share * (end - start)]).transpose(1, 2)  # [2, P, T, L]
    images = model.decoder(ways.flatten(0, 2))
    posterior = model.encode(images)
    divergence = kl(*posterior, model.mixture(), KL_SAMPLES, noise)
    elbo = -(model.squared_error(images, model.decoder(posterior.mean)) + divergence)
    shown = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    return {
        "interpolations": shown.unflatten(0, ways.shape[:3]),
        "interpolation_elbos": elbo.unflatten(0, ways.shape[:3]),
    }


def spherical(start: torch.Tensor, end: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Interpolate along the great circle between vectors [..., L]; parallel ones are interpolated straight.

    The angle is that of the directions, and lengths go from one to the other with the same weights (Shoemake 1985).
    """
    lengths = start.norm(dim=-1, keepdim=True) * end.norm(dim=-1, keepdim=True)
    cosine = ((start * end).sum(-1, keepdim=True) / lengths).clamp(-1, 1)
    angle = cosine.acos()
    weights = [torch.sin(part * angle) / torch.sin(angle) for part in (1 - share, share)]
    is_straight = ~(torch.sin(angle) > 1e-4)  # lengths of 0 included, whose angle is NaN
    weights = [torch.where(is_straight, part, w) for part, w in zip((1 - share, share), weights, strict=True)]
    return weights[0] * start + weights[1] * end


def _mode_samples(model: Model, prior: Prior, modes: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Decoded samples [M, S, C, H, W] of some modes [M]."""
    draws = normal((OF_EACH, len(modes), prior.latent_size), noise)  # [S, M, L]
    z = (prior.means[modes] + torch.exp(0.5 * prior.log_vars[modes]) * draws).transpose(0, 1)  # [M, S, L]
    return model.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
