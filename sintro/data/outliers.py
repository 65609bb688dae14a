"""Out-of-distribution data: points off a density's support, images of another data set, and altered images.

docs/science.md, section 7. Each kind of outlier has a name that appears in the metrics' names. In the plane it is
``uniform``. For images it is ``pair``, the data set's partner: Daniel & Tamar 2021 set CIFAR-10 against SVHN and
FashionMNIST against MNIST; here it goes both ways. A data set without a partner, such as ``digits``, has ``inverted``
and ``noise``.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from sintro import SintroError
from sintro.cells.components import Density
from sintro.data import images
from sintro.data.images import ImageSet

MOST_ROUNDS = 1_000  # of draws, after which so little of a square lies off a support that nobody needs to score it
MOST_BYTES = 1 << 28  # 1,365 images of 256 x 256 pixels; the test splits of the papers' data sets have 80 MB or less


def uniform_off_support(target: Density, count: int, generator: Generator) -> Tensor:
    """Draw points [count, 2], uniform on [-half_width, half_width]^2 off the density's support (by rejection).

    ``generator`` is a CPU generator. SintroError for a negative count, and for a support that fills the square.
    """
    if count < 0:
        raise SintroError(f"points off the support: {count}, but must be 0 or more")
    kept, found = [torch.empty(0, 2)], 0
    while found < count:  # half of the square or more lies off the support of each of the suite's densities
        if len(kept) > MOST_ROUNDS:
            raise SintroError(f"{target.name} leaves too little of its square free for points off its support")
        points = target.half_width * (2 * torch.rand(max(2 * (count - found), 64), 2, generator=generator) - 1)
        kept.append(points[~target.on_support(points)])
        found += len(kept[-1])
    return torch.cat(kept)[:count]


def inverted(pixels: Tensor) -> Tensor:
    """Return the negatives of uint8 images [N, C, H, W]: the same shapes, dark and bright exchanged."""
    return 255 - pixels


def shuffled(pixels: Tensor, generator: Generator) -> Tensor:
    """Shuffle the pixels of each of the uint8 images [N, C, H, W], each image in an order of its own.

    Each image keeps its histogram in every channel, and loses all structure.
    """
    flat = pixels.flatten(-2)  # [N, C, H W]
    order = torch.rand(len(flat), 1, flat.shape[-1], generator=generator).argsort(-1).to(flat.device)
    return flat.gather(-1, order.expand_as(flat)).view_as(pixels)


def most_scored(test: ImageSet) -> int:
    """Return the most images of a split that detection scores: all, but of large images as many as `MOST_BYTES` hold.

    It scores no more than the evaluation generates.
    """
    return min(len(test), max(1, MOST_BYTES // math.prod(test.event)))


def image_outliers(
    test: ImageSet, generator: Generator, root: str | Path | None = None
) -> tuple[dict[str, Tensor], str | None]:
    """Return the outliers for a data set's test split, and the reason where there are none.

    Args:
        generator: a CPU generator.

    Returns:
        uint8 [M, C, H, W] by the kind's name, on the split's device, a partner's images in a random order; and None, or
        a line that says why the partner's images are left out (missing, broken or unverified files, another shape).
    """
    partner = images.image_dataset(test.name).partner
    if partner is None:
        pixels = test.images[: most_scored(test)]
        return {"inverted": inverted(pixels), "noise": shuffled(pixels, generator)}, None
    try:
        found = images.load(partner, "test", root, test.device)
    except SintroError as error:  # the evaluation goes on without a data set that the cell was not trained on
        return {}, f"no out-of-distribution images, {error}"
    if found.facts.verified is False:  # a score against unknown images means nothing
        return {}, f"no out-of-distribution images, {partner} is unverified: {found.facts.reason}"
    if found.event != test.event:
        shapes = [" x ".join(map(str, one.event)) for one in (found, test)]
        return {}, f"no out-of-distribution images, those of {partner} are {shapes[0]}, and of {test.name} {shapes[1]}"
    order = torch.randperm(len(found), generator=generator).to(found.images.device)
    return {"pair": found.images[order]}, None
