"""What the pictures of an image cell are drawn from: pairs of images and reconstructions, samples, modes, codes."""

import numpy as np
import torch

from sintro.basics.randomness import generator, normal
from sintro.data.images import ImageSet
from sintro.objectives.model import Model
from sintro.priors import Prior

PICTURES = 64
LATENTS = 2000  # codes kept for the picture of the latent space
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
    return {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}


def _mode_samples(model: Model, prior: Prior, modes: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """Decoded samples [M, S, C, H, W] of some modes [M]."""
    draws = normal((OF_EACH, len(modes), prior.latent_size), noise)  # [S, M, L]
    z = (prior.means[modes] + torch.exp(0.5 * prior.log_vars[modes]) * draws).transpose(0, 1)  # [M, S, L]
    return model.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
