"""How like its reconstruction an image is: PSNR, SSIM and LPIPS over a test split (docs/science.md, section 7)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sintro.cells import components
from sintro.data import sources
from sintro.metrics import NOT_MEASURED
from sintro.metrics.lpips import Lpips, lpips_network
from sintro.metrics.similarity import psnr, ssim


class Perceptual(NamedTuple):
    """LPIPS for the images of a data set. ``measure`` is None where ``why_not`` says why."""

    measure: Lpips | None
    why_not: str


def perceptual(dataset: str, device: torch.device | str) -> Perceptual:
    """Load LPIPS, or say in a few words why the images of a data set are not measured by it.

    Raises SintroError where weights were supplied but are wrong.
    """
    why_not = components.dataset(dataset).why_no_lpips or sources.why_no_lpips()
    return Perceptual(None if why_not else lpips_network(device=device), why_not)


class Likeness:
    """Averages PSNR, SSIM and LPIPS over pairs of images."""

    def __init__(self, perceptual: Perceptual):
        self.why_no_lpips = perceptual.why_not
        self.measures = {"psnr": psnr, "ssim": ssim}
        if perceptual.measure is not None:
            self.measures["lpips_rec"] = perceptual.measure
        self.sums = dict.fromkeys(self.measures, 0.0)
        self.count = 0

    def update(self, images: Tensor, others: Tensor) -> None:
        """Take in pairs of images, [B, C, H, W] each, in [0, 1]."""
        for name, measure in self.measures.items():
            self.sums[name] += measure(images, others).double().sum().item()
        self.count += len(images)

    def means(self) -> dict[str, Any]:
        """Return the mean of each measure, and the reason where LPIPS is not measured."""
        found: dict[str, Any] = {name: total / self.count for name, total in self.sums.items()}
        return found | ({NOT_MEASURED: {"lpips_rec": self.why_no_lpips}} if self.why_no_lpips else {})
