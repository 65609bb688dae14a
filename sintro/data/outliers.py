"""Out-of-distribution data to set against a model's own: points off a density's support, and other or spoilt images.

docs/science.md, section 7. Each kind of outlier has a name that the metrics carry: ``uniform`` in the plane; for images
``pair``, the data set's partner (Daniel & Tamar 2021 set CIFAR-10 against SVHN and FashionMNIST against MNIST; here
both ways round), and for a data set that has none, as ``digits``, two made-up sets: ``inverted`` and ``noise``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor

from sintro import SintroError
from sintro.cells.components import Density
from sintro.data import images
from sintro.data.images import ImageSet


def uniform_off_support(target: Density, count: int, generator: Generator) -> Tensor:
    """Points [count, 2], uniform on [-half_width, half_width]^2 without the density's support (by rejection).

    ``generator`` is a CPU generator. SintroError for a negative count.
    """
    if count < 0:
        raise SintroError(f"points off the support: {count}, but must be 0 or more")
    kept, found = [], 0
    while found < count:  # half of the square or more lies off the support of each density
        points = target.half_width * (2 * torch.rand(max(2 * (count - found), 64), 2, generator=generator) - 1)
        kept.append(points[~target.on_support(points)])
        found += len(kept[-1])
    return torch.cat(kept)[:count] if kept else torch.empty(0, 2)


def inverted(pixels: Tensor) -> Tensor:
    """Negatives of uint8 images [N, C, H, W]: the same shapes, dark and bright exchanged."""
    return 255 - pixels


def shuffled(pixels: Tensor, generator: Generator) -> Tensor:
    """uint8 images [N, C, H, W] with the places of each image's pixels in a random order of its own.

    Noise whose histogram is, image by image and channel by channel, that of the data: nothing but structure is lost.
    """
    flat = pixels.flatten(-2)  # [N, C, H W]
    order = torch.rand(len(flat), 1, flat.shape[-1], generator=generator).argsort(-1).to(flat.device)
    return flat.gather(-1, order.expand_as(flat)).view_as(pixels)


def image_outliers(
    test: ImageSet, generator: Generator, root: str | Path | None = None
) -> tuple[dict[str, Tensor], str | None]:
    """The outliers for a data set's test split, and what is missing.

    Returns: uint8 [M, C, H, W] by the kind's name, on the split's device, a partner's images in a random order; and one
    line that says why a kind is not there (its files are missing, broken or unverified), or None. ``generator`` is
    a CPU generator.
    """
    partner = images.image_dataset(test.name).partner
    if partner is None:
        return {"inverted": inverted(test.images), "noise": shuffled(test.images, generator)}, None
    try:
        found = images.load(partner, "test", root, test.images.device)
    except SintroError as error:  # a data set that the cell was not trained on is no condition of its evaluation
        return {}, f"no out-of-distribution images, {error}"
    if found.facts.verified is False:  # scores against who knows what are no scores
        return {}, f"no out-of-distribution images, {partner} is unverified: {found.facts.reason}"
    order = torch.randperm(len(found), generator=generator).to(found.images.device)
    return {"pair": found.images[order]}, None
