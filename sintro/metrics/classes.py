"""The classes of generated images, as the data set's classifier tells them (docs/science.md, section 7).

A model may leave out a class, or make one too often, which distances of features hardly show. A mode of the prior is
pure where its samples are of one class. The classifier is not perfect, so the data's shares are its answers too.
"""

import math

import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import generator


def shares(classes: Tensor, count: int) -> Tensor:
    """Return the share of each of ``count`` classes among classes[N] -> [count], float64."""
    if not len(classes):
        raise SintroError("class shares: there are no images")
    return torch.bincount(classes, minlength=count).double() / len(classes)


def total_variation(first: Tensor, second: Tensor) -> float:
    """Compute the total variation distance 1/2 sum |p - q| of two distributions [C]: 0 if equal, 1 if disjoint."""
    return 0.5 * (first.double() - second.double()).abs().sum().item()


def total_variation_floor(data: Tensor, drawn: int, known: int) -> float:
    """Return the mean total variation distance of two samples of one distribution, of `drawn` and of `known` images.

    A difference of two shares is nearly normal with variance p (1 - p) (1 / drawn + 1 / known), so that its mean
    magnitude is the root of 2 / pi times that; ``data`` [C] stands for p.
    """
    variance = data.double() * (1 - data.double()) * (1 / drawn + 1 / known)
    return 0.5 * (2 / math.pi * variance).sqrt().sum().item()


def table(components: Tensor, classes: Tensor, modes: int, count: int) -> Tensor:
    """Count the samples of each mode that are of each class: components[N], classes[N] -> [modes, count]."""
    pairs = torch.bincount(components * count + classes, minlength=modes * count)
    return pairs.view(modes, count)


def purity(counts: Tensor) -> float:
    """Return the share of samples that are of the most frequent class of their mode, for counts [K, C]."""
    return counts.amax(1).sum().item() / counts.sum().item()


def purity_floor(components: Tensor, classes: Tensor, modes: int, count: int) -> float:
    """Return the purity of modes that have nothing to do with classes: of the same samples, the classes shuffled."""
    order = torch.randperm(len(classes), generator=generator(0, "purity-floor"))
    return purity(table(components, classes[order], modes, count))
