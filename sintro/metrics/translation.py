"""How well an image is translated: its class from one image, its content from another (docs/science.md, section 7).

Distances are in pixel values of [0, 1]. Real images lie at themselves, so a perfect translation scores 1, whatever the
data set; no network is asked, but for LPIPS.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sintro import SintroError
from sintro.data.images import to_float

CHUNK = 4096  # real images that are compared at a time
SHORTLIST = 8  # of the nearest images by rounded distances, among which exact ones decide
QUERIES = 256  # translations that are compared at a time


class Labels(NamedTuple):
    """What is known of images: class [N], content [N] or None, and a coarser trait of the class [N] or None."""

    classes: Tensor
    contents: Tensor | None
    traits: Tensor | None

    def at(self, places: Tensor) -> "Labels":
        """Return the labels of some images."""
        return Labels(*(None if values is None else values[places] for values in self))


def nearest(translations: Tensor, real: Tensor) -> Tensor:
    """Find the nearest of all real images to each translation, by squared error.

    Args:
        translations: float [M, C, H, W].
        real: uint8 [N, C, H, W]; it is read in chunks, so it may be mapped into memory.

    Returns:
        int64 [M], numbers of real images. A shortlist by float32 products is decided in float64, so that images that
        differ by single grey values are told apart.
    """
    if not len(real):
        raise SintroError("retrieval: there are no real images")
    queries = translations.flatten(1)
    distances, places = [], []
    for start in range(0, len(real), CHUNK):
        part = _pixels(real[start : start + CHUNK], queries)
        squared = part.square().sum(1) - 2 * queries @ part.T  # [M, N'], but for the squared norm of the query
        few = squared.topk(min(SHORTLIST, len(part)), largest=False)
        distances.append(few.values)
        places.append(few.indices + start)
    joined, candidates = torch.cat(distances, 1), torch.cat(places, 1)
    best = joined.topk(min(SHORTLIST, joined.shape[1]), largest=False).indices
    candidates = candidates.gather(1, best)  # [M, S]
    found = [_decided(*pair, real) for pair in zip(queries.split(QUERIES), candidates.split(QUERIES), strict=True)]
    return torch.cat(found)


def _pixels(images: Tensor, queries: Tensor) -> Tensor:
    return to_float(images).flatten(1).to(queries.device)


def _decided(queries: Tensor, candidates: Tensor, real: Tensor) -> Tensor:
    """Choose of each query's candidates [M, S] the nearest one, in float64 -> [M]."""
    pixels = _pixels(real[candidates.flatten().to(real.device)], queries)
    near = pixels.unflatten(0, candidates.shape).double()  # [M, S, D]
    exact = (near - queries.double().unsqueeze(1)).square().sum(-1)
    return candidates.gather(1, exact.argmin(1, keepdim=True)).squeeze(1)


def retrieval(found: Labels, of_class: Labels, of_content: Labels) -> dict[str, float]:
    """Return the shares of translations whose nearest real image is what it should be, or what it should not be.

    Args:
        found: labels of the nearest real images. of_class, of_content: of the images that gave class and content.

    Returns:
        ``retrieval_class``, ``retrieval_content``, ``retrieval_trait``: higher is better. The two failures:
        ``kept_class``, the class of the image that gave the content; ``kept_content``, the content of the image that
        gave the class. What needs labels that nobody has is left out.
    """

    def share(first: Tensor, second: Tensor) -> float:
        return (first == second).double().mean().item()

    scores = {"retrieval_class": share(found.classes, of_class.classes)}
    if found.contents is not None:
        scores["retrieval_content"] = share(found.contents, of_content.contents)
    if found.traits is not None:
        scores["retrieval_trait"] = share(found.traits, of_class.traits)
    scores["kept_class"] = share(found.classes, of_content.classes)
    if found.contents is not None:
        scores["kept_content"] = share(found.contents, of_class.contents)
    return scores


def transfer_error(translations: Tensor, truth: Tensor) -> float:
    """Return the mean squared error per pixel and colour of translations [M, C, H, W] against the truth."""
    return (translations.double() - truth.double()).square().mean().item()


def transfer_lpips(translations: Tensor, truth: Tensor, measure: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Return the mean LPIPS of translations [M, C, H, W] against the truth; ``measure`` gives that of pairs, [B]."""
    pairs = zip(translations.split(QUERIES), truth.split(QUERIES), strict=True)
    return torch.cat([measure(*pair) for pair in pairs]).double().mean().item()


def relative_error(error: float, ceiling: float, copy: float) -> float:
    """Return (error - ceiling) / (copy - ceiling): 0 as good as a reconstruction, 1 as bad as a copy.

    NaN where a copy is no worse than the model's own reconstruction of the truth: then the scale has no ends.
    """
    return (error - ceiling) / (copy - ceiling) if copy > ceiling else float("nan")
