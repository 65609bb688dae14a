"""Training batches: fresh draws from a density, or epochs over an image set held on the device."""

from collections.abc import Sequence

import torch

from sintro.basics.randomness import generator
from sintro.cells.settings import Settings
from sintro.data import images
from sintro.data.densities import density
from sintro.data.facts import Facts

PSEUDO_INPUTS = "pseudo-inputs"  # the random stream from which a VampPrior's start is drawn


class DensityBatches:
    """Fresh draws from a 2D density for every iteration, ``[B, 2]``, or ``[F, B, 2]`` for a fleet."""

    facts = Facts()  # nothing is read

    def __init__(self, settings: Sequence[Settings], device: torch.device):
        self.settings, self.device = settings, device

    def _draw(self, count: int, stream: str, iteration: int) -> torch.Tensor:
        drawn = [density(one.dataset).sample(count, generator(one.seed, stream, iteration))[0] for one in self.settings]
        batch = torch.stack(drawn) if len(drawn) > 1 else drawn[0]
        # A GPU fetches a batch from pinned memory in its own time, and the processor need not wait.
        return batch.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else batch

    def at(self, iteration: int) -> torch.Tensor:
        """Return the real batch of an iteration."""
        return self._draw(self.settings[0].batch_size, "data", iteration)

    def pseudo_inputs(self, components: int) -> torch.Tensor:
        """Draw the K data where a VampPrior starts, ``[K, 2]``, or ``[F, K, 2]`` for a fleet."""
        return self._draw(components, PSEUDO_INPUTS, 0)


class ImageBatches:
    """Epochs over the cell's training images, ``[B, C, H, W]`` in [0, 1]; the order is a function of (seed, epoch)."""

    def __init__(self, settings: Settings, device: torch.device):
        self.settings = settings
        self.images = images.load(settings.dataset, "train", device=device).choose(settings.training_images)
        self.facts = self.images.facts
        self.steps = self.images.steps(settings.batch_size)
        self.epoch, self.order = -1, torch.empty(0)

    def at(self, iteration: int) -> torch.Tensor:
        """Return the real batch of an iteration; the last batch of an epoch may be smaller."""
        epoch, step = divmod(iteration, self.steps)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self.images.order(self.settings.seed, epoch)
        size = self.settings.batch_size
        return self.images.batch(self.order[step * size : (step + 1) * size])

    def pseudo_inputs(self, components: int) -> torch.Tensor:
        """Draw the K training images where a VampPrior starts, ``[K, C, H, W]``."""
        return self.images.draw(components, self.settings.seed, PSEUDO_INPUTS)


def batches_of(settings: Sequence[Settings], device: torch.device) -> DensityBatches | ImageBatches:
    """Return the batches of one cell, or of a fleet of 2D cells."""
    if settings[0].network == "mlp":
        return DensityBatches(settings, device)
    return ImageBatches(settings[0], device)
