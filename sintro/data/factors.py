"""Images with factors as tensors: both splits together, and the truth for every class and content.

:mod:`sintro.cells.components.factors` says what such a data set is.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.data import images
from sintro.data.images import ImageSet, image_dataset

PAIRS = "translation-pairs"  # the random stream of the pairs that are translated


@dataclass(frozen=True, eq=False)
class FactorImages:
    """All images of a data set with factors: the training split's, of seen classes, before the unseen classes'.

    ``images`` uint8 [N, C, H, W], ``classes`` int64 [N], ``is_seen`` [N]. ``contents`` int64 [N]; None where nobody
    says the content of an image. ``where`` int64 [K, P]: the number of the image of each class and content, -1 where
    there is none.
    """

    train: ImageSet
    images: Tensor
    classes: Tensor
    contents: Tensor | None
    is_seen: Tensor
    where: Tensor | None

    def truth(self, classes: Tensor, contents: Tensor) -> Tensor:
        """Return the numbers [M] of the images of these classes and contents, [M] each.

        Raises SintroError where an image is missing, or contents are not known.
        """
        if self.where is None:
            raise SintroError(f"{self.train.name} has no content labels, so no truth for a translation")
        found = self.where[classes, contents]
        if (found < 0).any():
            raise SintroError(f"{self.train.name} has no image of some of these classes and contents")
        return found

    def batch(self, places: Tensor) -> Tensor:
        """Return images [M, C, H, W] as float32 in [0, 1] on the device of the batches."""
        return self.train.on_device(self.images[places.to(self.images.device)])

    def pairs(self, count: int, seen: bool) -> tuple[Tensor, Tensor]:
        """Draw images that give the class, [count], and images that give the content, [count].

        The two images of a pair differ in class and in content; both are of seen classes or both of unseen ones, and
        every truth exists. Always the same pairs. Raises SintroError where there are none.
        """
        own = (self.is_seen == seen).nonzero().squeeze(1).cpu()
        draws = generator(int(seen), PAIRS)
        found: list[Tensor] = []
        for _ in range(100):
            first, second = own[torch.randint(len(own), (2, 2 * count), generator=draws)]
            kept = self._differ(first, second)
            found.append(torch.stack([first[kept], second[kept]]))
            if sum(part.shape[1] for part in found) >= count:
                first, second = torch.cat(found, 1)[:, :count]
                return first, second
        kind = "seen" if seen else "unseen"
        raise SintroError(f"{self.train.name}: its {kind} classes have no pairs that differ in class and content")

    def _differ(self, first: Tensor, second: Tensor) -> Tensor:
        """Tell which pairs differ in class and content and have a truth, booleans [M]."""
        classes = self.classes.cpu()
        differ = classes[first] != classes[second]
        if self.contents is None:
            return differ
        contents = self.contents.cpu()
        exists = self.where.cpu()[classes[first], contents[second]] >= 0
        return differ & (contents[first] != contents[second]) & exists


def load(name: str, root: str | Path | None = None, device: torch.device | str = "cpu") -> FactorImages:
    """Load both splits of the data set ``name``. Raises SintroError as :func:`sintro.data.images.load` does."""
    one = image_dataset(name)
    if not one.has_factors:
        raise SintroError(f"{name} has no factors: no class and content for every image")
    train, test = (images.load(name, split, root, device) for split in ("train", "test"))
    pixels = torch.cat([train.images, test.images])
    classes = torch.cat([train.labels, test.labels])
    is_seen = torch.arange(len(pixels), device=classes.device) < len(train)
    if train.contents is None or test.contents is None:
        return FactorImages(train, pixels, classes, None, is_seen, None)
    contents = torch.cat([train.contents, test.contents])
    where = torch.full((one.classes, one.contents), -1, device=classes.device)
    where[classes, contents] = torch.arange(len(pixels), device=classes.device)
    return FactorImages(train, pixels, classes, contents, is_seen, where)
