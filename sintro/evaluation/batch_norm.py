"""The modes of a model's batch norm in an evaluation (docs/science.md, section 7)."""

from collections.abc import Iterator

import torch

from sintro.basics.randomness import generator
from sintro.cells import components
from sintro.cells.settings import Settings
from sintro.data.images import ImageSet
from sintro.metrics.features import reference_indices, set_batch_norm
from sintro.objectives.model import Model


@torch.no_grad()
def refresh_batch_norm(model: Model, train: ImageSet, settings: Settings) -> None:
    """Pass once over the training set in train mode, so that the running statistics fit the final weights.

    The statistics are a running mean over the last batches. So the images pass in a random order, unless the files of
    the data set are mixed already.
    """
    for network in (model.encoder, model.decoder):
        set_batch_norm(network, "eval")  # running statistics are kept again
        network.train()
    noise = generator(settings.seed, "evaluation-refresh", 0, train.device)
    is_mixed = components.dataset(settings.dataset).is_mixed
    order = torch.arange(len(train)) if is_mixed else reference_indices(train, len(train))
    for part in order.split(settings.batch_size):
        model.decoder(model.encode(train.batch(part)).sample(noise))


def set_mode(model: Model, mode: str) -> None:
    """Put both networks of a model into a mode of batch norm, "train" or "eval"."""
    for network in (model.encoder, model.decoder):
        set_batch_norm(network, mode)


def batches(split: ImageSet, size: int) -> Iterator[torch.Tensor]:
    """Yield the images of a split in their order, float32 [B, C, H, W] in [0, 1]; the last batch may be smaller."""
    for start in range(0, len(split), size):
        yield split.batch(slice(start, start + size))
