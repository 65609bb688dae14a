"""Training batches: fresh draws from a density, or epochs over an image set held on the device."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from sintro.basics.randomness import generator
from sintro.cells import components
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

    def pseudo_inputs(self, count: int) -> torch.Tensor:
        """Draw the K data where a VampPrior starts, ``[K, 2]``, or ``[F, K, 2]`` for a fleet."""
        return self._draw(count, PSEUDO_INPUTS, 0)


class ImageBatches:
    """Epochs over the cell's training images, ``[B, C, H, W]`` in [0, 1].

    The order of an epoch and which of its images are mirrored are functions of (seed, epoch).
    """

    def __init__(self, settings: Settings, device: torch.device):
        self.settings = settings
        self.images = images.load(settings.dataset, "train", device=device).choose(settings.training_images)
        self.facts = self.images.facts
        self.steps = self.images.steps(settings.batch_size)
        self.in_pairs = components.objective(settings.objective).in_pairs
        self.epoch, self.order, self.mirrored = -1, torch.empty(0), None
        # One thread reads the next batch of a file while the device is busy with the one before.
        self.ahead: dict[int, Future[torch.Tensor]] = {}
        self.thread = ThreadPoolExecutor(1) if self.images.mapped else None

    def at(self, iteration: int) -> torch.Tensor:
        """Return the real batch of an iteration; the last batch of an epoch may be smaller."""
        if self.thread is None:
            return self.images.on_device(self._pixels(iteration))
        now = self.ahead.pop(iteration, None) or self.thread.submit(self._pixels, iteration)
        pixels = now.result()
        self.ahead = {iteration + 1: self.thread.submit(self._pixels, iteration + 1)}
        return self.images.on_device(pixels)

    def _pixels(self, iteration: int) -> torch.Tensor:
        """Gather the images of an iteration, uint8 [B, C, H, W], some of them mirrored where the settings say so."""
        epoch, step = divmod(iteration, self.steps)
        seed, size = self.settings.seed, self.settings.batch_size
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self._order(epoch)
            self.mirrored = self.images.mirrored(seed, epoch) if self.settings.mirror else None
        indices = self.order[step * size : (step + 1) * size]
        pixels = self.images.images[indices]
        if self.mirrored is not None:
            chosen = self.mirrored[indices.cpu()].to(pixels.device)
            pixels = torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels)
        is_elsewhere = torch.device(self.images.device).type != pixels.device.type
        return pixels.pin_memory() if is_elsewhere else pixels

    def _order(self, epoch: int) -> torch.Tensor:
        """Return the order of an epoch's images, in pairs of one class where the objective asks for it."""
        order = self.images.order(self.settings.seed, epoch)
        return paired(order, self.images.labels) if self.in_pairs else order

    def indices(self, iteration: int) -> torch.Tensor:
        """Return which training images the batch of an iteration holds, ``[B]``."""
        epoch, step = divmod(iteration, self.steps)
        size = self.settings.batch_size
        order = self.order if epoch == self.epoch and self.thread is None else self._order(epoch)
        return order[step * size : (step + 1) * size]

    def pseudo_inputs(self, count: int) -> torch.Tensor:
        """Draw the K training images where a VampPrior starts, ``[K, C, H, W]``."""
        return self.images.draw(count, self.settings.seed, PSEUDO_INPUTS)


def paired(order: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Rearrange a random order ``[N]`` so that the images 2 i and 2 i + 1 of the result have one class.

    Pairs are random within a class, and their order is random. Where a class has an odd number of images, one of them
    comes twice, so that the result may be longer than the order. An epoch has as many batches as without pairs, so the
    last pairs may be left out of it.
    """
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    by_class = order[labels[order].argsort(stable=True)]
    runs = by_class.split(labels.bincount().tolist())
    even = [torch.cat([run, run[:1]]) if len(run) % 2 else run for run in runs]
    pairs = torch.cat(even).view(-1, 2)
    return pairs[place[pairs[:, 0]].argsort()].flatten()


def batches_of(settings: Sequence[Settings], device: torch.device) -> DensityBatches | ImageBatches:
    """Return the batches of one cell, or of a fleet of 2D cells."""
    if settings[0].network == "mlp":
        return DensityBatches(settings, device)
    return ImageBatches(settings[0], device)
