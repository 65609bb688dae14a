"""How like two images are, pixel by pixel: the measures of a reconstruction (docs/science.md, section 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sintro import SintroError

LEAST_ERROR = (0.5 / 255) ** 2  # MSE of half an 8-bit level, which a file does not hold
WINDOW, SPREAD = 11, 1.5  # pixels of SSIM's Gaussian window, and its standard deviation
K1, K2 = 0.01, 0.03


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio -10 log10 MSE of pairs of images -> [B], in decibels; higher is better.

    A mean squared error below that of half an 8-bit level counts as that much, so equal images score 54.15 dB: without
    a limit, a single pair of equal images would make any mean infinite.

    Args:
        images, others: [B, C, H, W] in [0, 1]; a value outside is clipped, as a file would.
    """
    first, second = _checked(images, others)
    error = (first - second).square().flatten(1).mean(1)
    return -10 * error.clamp(min=LEAST_ERROR).log10()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Compute the structural similarity of pairs of images -> [B], at most 1; higher is better (Wang et al. 2004).

        (2 m1 m2 + K1^2) (2 c12 + K2^2) / ((m1^2 + m2^2 + K1^2) (v1 + v2 + K2^2))

    with means m, variances v and the covariance c12 under a Gaussian window; averaged over every place where the window
    fits, and over the channels. In images with fewer than 11 pixels on a side, the window has the largest odd side
    that fits.

    Args:
        images, others: as of :func:`psnr`.
    """
    first, second = _checked(images, others)
    window = _window(min(images.shape[-2:])).to(first)
    mean1, mean2 = _blurred(first, window), _blurred(second, window)
    variances = _blurred(first.square() + second.square(), window) - mean1.square() - mean2.square()
    covariance = _blurred(first * second, window) - mean1 * mean2
    structure = (2 * covariance + K2**2) / (variances + K2**2)
    luminance = (2 * mean1 * mean2 + K1**2) / (mean1.square() + mean2.square() + K1**2)
    return (luminance * structure).flatten(1).mean(1)


def _checked(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, clipped to [0, 1]."""
    if images.dim() != 4 or images.shape != others.shape:
        raise SintroError(
            f"similarity: images {tuple(images.shape)} and {tuple(others.shape)}; expected the same [B, C, H, W]"
        )
    return images.double().clamp(0, 1), others.double().clamp(0, 1)


def _window(side: int) -> Tensor:
    """Make the window's weights along one axis, which sum to 1."""
    size = min(WINDOW, side - 1 + side % 2)
    places = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-places.square() / (2 * SPREAD**2))
    return weights / weights.sum()


def _blurred(images: Tensor, window: Tensor) -> Tensor:
    """Average over the window at every place where it fits, [B, C, H, W] -> [B, C, H', W']."""
    rows = images.flatten(0, 1).unsqueeze(1)  # [B C, 1, H, W]
    wide = F.conv2d(F.conv2d(rows, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return wide.view(*images.shape[:2], *wide.shape[-2:])
