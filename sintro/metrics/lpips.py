"""LPIPS: how unlike two images look, by the distance of their features in AlexNet (Zhang et al. 2018, version 0.1).

The program and its linear heads are the package lpips, an optional dependency: ``pip install 'sintro[lpips]'``.
AlexNet's weights are read from a verified file and never fetched here. docs/science.md, section 7.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from sintro import SintroError
from sintro.data import sources
from sintro.data.weights import reading

LAYERS = "features."  # what the names of AlexNet's convolutions begin with in the published file


class Lpips:
    """Measures pairs of images; ``network`` is the package's, with all its weights."""

    def __init__(self, network: nn.Module):
        self.network = network.requires_grad_(False).eval()

    @torch.no_grad()
    def __call__(self, images: Tensor, others: Tensor) -> Tensor:
        """Compute the LPIPS of pairs of images -> [B], 0 for equal ones; lower is better.

        Args:
            images, others: [B, 3, H, W] in [0, 1], H and W at least 31; a value outside is clipped, as a file would.
        """
        if images.dim() != 4 or images.shape != others.shape or images.shape[1] != 3:
            shapes = f"{tuple(images.shape)} and {tuple(others.shape)}"
            raise SintroError(f"LPIPS: images {shapes}; expected the same [B, 3, H, W]")
        first, second = (2 * pixels.float().clamp(0, 1) - 1 for pixels in (images, others))
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as other features, without rounding to TF32
            return self.network(first, second).flatten()


def lpips_network(device: torch.device | str = "cpu") -> Lpips:
    """Load LPIPS. Raises SintroError where its package or the right weights are missing."""
    state = sources.require_weights(sources.LPIPS, sources.data_root())
    return Lpips(load(state.path).to(device))


def load(path: Path) -> nn.Module:
    """Build the network with AlexNet's weights in ``path``. SintroError where they are not AlexNet's."""
    network = _built()
    layers = network.net.state_dict()  # "slice2.3.weight" is "features.3.weight" in the published file
    with reading(path, "AlexNet", "torchvision's AlexNet"):
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network.net.load_state_dict({name: stored[LAYERS + name.partition(".")[2]] for name in layers})
    return network


def _built() -> nn.Module:
    """Build the package's network with its linear heads and a random AlexNet, so that it downloads nothing."""
    from sintro.data.vision import optional  # only here: importing torchvision takes seconds

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # the random weights are no draws of a cell
        warnings.simplefilter("ignore")  # it calls torchvision in a way that is out of date
        return optional("lpips", "LPIPS", "lpips").LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
