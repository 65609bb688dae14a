"""The codes that LORD learns in place of encoders' outputs, and its learning rates (Gabbay & Hoshen 2020)."""

import math

import torch
from torch import nn

from sintro.basics.randomness import generator
from sintro.cells import components
from sintro.cells.settings import Settings
from sintro.training.batches import DensityBatches, ImageBatches

WIDTH = 0.05  # codes start uniform on +-WIDTH; LORD, released PyTorch code
RATE = 10.0  # times the decoder's learning rate, that of the codes; ditto
LOWEST_RATE = 1e-5  # where the cosine ends; ditto
ENCODERS_SHARE = 1 / 3  # of the first phase's rate, that of the second; ditto (1e-4 after 3e-4)


class Embeddings(nn.Module):
    """A class code of each class, or of each image, and a content code of each training image.

    Called with an iteration, it returns the codes [B, L_c] and [B, L_t] of the images of its batch.
    """

    def __init__(self, settings: Settings, batches: ImageBatches):
        super().__init__()
        labels = batches.images.labels
        images = torch.arange(len(labels), device=labels.device)
        self.batches = batches
        per_class = components.objective(settings.objective).embeds == "class"
        self.owners = labels if per_class else images  # the row of each image in the table of class codes
        class_size = settings.class_latent_size
        noise = generator(settings.seed, "embeddings")
        sizes = (int(self.owners.max()) + 1, class_size), (len(images), settings.latent_size - class_size)
        of_class, of_content = (WIDTH * (2 * torch.rand(size, generator=noise) - 1) for size in sizes)
        self.of_class = nn.Parameter(of_class.to(labels.device))
        self.of_content = nn.Parameter(of_content.to(labels.device))

    def forward(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = self.batches.indices(iteration)
        return self.of_class[self.owners[chosen]], self.of_content[chosen]


def embeddings_of(settings: Settings, batches: DensityBatches | ImageBatches) -> Embeddings | None:
    """Return the first codes of a cell; None where its objective learns none."""
    if components.objective(settings.objective).embeds is None:
        return None
    return Embeddings(settings, batches)


def cosine_rate(settings: Settings, iteration: int, player: str) -> float:
    """Return LORD's learning rate: half a cosine to 1e-5 in each phase, from 10 times as much for the codes."""
    begin, end, top = 0, settings.warmup, settings.learning_rate
    if player == "embeddings":
        top *= RATE
    if iteration >= settings.warmup:
        begin, end, top = settings.warmup, settings.iterations, ENCODERS_SHARE * settings.learning_rate
    share = (iteration - begin) / (end - begin)
    return LOWEST_RATE + (top - LOWEST_RATE) * (1 + math.cos(math.pi * share)) / 2
