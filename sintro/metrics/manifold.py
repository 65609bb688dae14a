"""Precision and recall of generated images by k-nearest-neighbour manifolds (Kynkäänniemi et al. 2019).

The manifold of a set is the union of balls, one around each of its points, that reach to the point's k-th neighbour
within the set. Precision is the share of generated points inside the real manifold, recall the share of real points
inside the generated one. docs/science.md, sections 7 and 8 (A8).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sintro import SintroError
from sintro.metrics import NotFinite

BLOCK = 2048  # points per side of a block of distances: 32 MiB of float64, and 64 MiB for the features of a block
TIE = 1e-12  # relative slack for equal distances that were rounded differently
LARGEST = 1e150  # features beyond have squares that float64 does not hold, and distances that mean nothing
PUBLISHED_NEIGHBOURS = {"precision": 4, "recall": 5}  # the point itself is one of them: 3 and 4 others


def precision_recall(real: Tensor, generated: Tensor, k: int, count_self: bool = False) -> tuple[float, float]:
    """Precision and recall of `generated` against `real`.

    Distances are Euclidean, computed in float64 from features centred on the real mean, block by block: the matrix of
    distances is never held (50,000 x 50,000 needs well under 2 GiB), and differences between near neighbours survive
    the expansion |a|^2 + |b|^2 - 2ab, which loses them in float32. A distance at rounding level is 0, so copies are
    inside balls of radius 0; ties count as inside.

    Args:
        real: [N, F] features of real images, on any device (the device is where the work is done).
        generated: [M, F] features of generated images.
        k: which neighbour gives the radius.
        count_self: True is the published counting, in which a point is its own first neighbour (so k = 4 with it equals
            k = 3 without); False is the counting of Kynkäänniemi et al.

    Raises:
        SintroError: shapes that do not fit, values that are not finite or too large, or too few points for k.
    """
    _check(real, generated, k, count_self)
    centre = _mean(real)
    generated = generated.to(real.device)
    real_radii = _radii(real, centre, k, count_self)  # [N], squared
    generated_radii = _radii(generated, centre, k, count_self)  # [M], squared
    inside_real = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    inside_generated = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for rows, block in _blocks(real, centre):
        for columns, other in _blocks(generated, centre):
            distances = _squared_distances(block, other)  # [rows, columns]
            inside_real[columns] |= (distances <= real_radii[rows, None] * (1 + TIE)).any(0)
            inside_generated[rows] |= (distances <= generated_radii[columns] * (1 + TIE)).any(1)
    return inside_real.double().mean().item(), inside_generated.double().mean().item()


def published_precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Precision and recall as the released code of Athanasiadis et al. 2025 calls them.

    The radii of precision reach to the 4th neighbour, the radii of recall to the 5th, and each point is its own first
    neighbour: 3 and 4 *other* points. Arguments and errors as in :func:`precision_recall`.
    """
    found = {k: precision_recall(real, generated, k, count_self=True) for k in PUBLISHED_NEIGHBOURS.values()}
    return found[PUBLISHED_NEIGHBOURS["precision"]][0], found[PUBLISHED_NEIGHBOURS["recall"]][1]


def neighbour_distances(features: Tensor, k: int, count_self: bool = False) -> Tensor:
    """Distance [N] of each of features[N, F] to its k-th neighbour within the set: the radii of its manifold."""
    _check(features, features, k, count_self)
    return _radii(features, _mean(features), k, count_self).sqrt()


def _check(real: Tensor, generated: Tensor, k: int, count_self: bool) -> None:
    if real.dim() != 2 or generated.dim() != 2 or real.shape[1] != generated.shape[1]:
        raise SintroError(
            f"precision and recall: real {tuple(real.shape)} and generated {tuple(generated.shape)} features; "
            "expected [N, F] and [M, F]"
        )
    fewest = k if count_self else k + 1
    if k < 1 or min(len(real), len(generated)) < fewest:
        raise SintroError(
            f"precision and recall: k = {k} needs k >= 1 and at least {fewest} points on each side; "
            f"got {len(real)} real and {len(generated)} generated"
        )
    for name, features in (("real", real), ("generated", generated)):
        if not all(rows.isfinite().all() for rows in features.split(BLOCK)):
            raise NotFinite(f"precision and recall: the {name} features hold values that are not finite")
        if features.numel() and max(float(rows.abs().max()) for rows in features.split(BLOCK)) > LARGEST:
            raise NotFinite(f"precision and recall: the {name} features hold values above {LARGEST:g}")


def _mean(features: Tensor) -> Tensor:
    return sum(rows.to(torch.float64).sum(0) for rows in features.split(BLOCK)) / len(features)


def _blocks(features: Tensor, centre: Tensor, first: int = 0) -> Iterator[tuple[slice, Tensor]]:
    for start in range(first, len(features), BLOCK):
        rows = slice(start, min(start + BLOCK, len(features)))
        yield rows, features[rows].to(torch.float64) - centre


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[A, B] from centred float64 a[A, F], b[B, F]; what rounding cannot tell from 0 is 0."""
    size = a.square().sum(1)[:, None] + b.square().sum(1)  # [A, B]
    squared = torch.addmm(size, a, b.T, alpha=-2)
    return squared.masked_fill_(squared < 16 * torch.finfo(a.dtype).eps * size, 0.0)


def _radii(features: Tensor, centre: Tensor, k: int, count_self: bool) -> Tensor:
    """Squared distance [N] to the k-th neighbour. A point is known by its index: copies of it are neighbours."""
    others = k - 1 if count_self else k  # a point is its own nearest, at distance 0
    nearest = torch.full((len(features), others), torch.inf, dtype=torch.float64, device=features.device)
    if not others:
        return nearest.new_zeros(len(features))
    for rows, block in _blocks(features, centre):
        for columns, other in _blocks(features, centre, first=rows.start):  # distances are symmetric: half are enough
            distances = _squared_distances(block, other)
            if rows == columns:
                distances.fill_diagonal_(torch.inf)
            else:
                nearest[columns] = _nearer(nearest[columns], distances.T)
            nearest[rows] = _nearer(nearest[rows], distances)
    return nearest.amax(1)


def _nearer(nearest: Tensor, distances: Tensor) -> Tensor:
    """The smallest [B, k] of nearest[B, k] and distances[B, C]."""
    candidates = distances.topk(min(nearest.shape[1], distances.shape[1]), largest=False).values
    return torch.cat([nearest, candidates], dim=1).topk(nearest.shape[1], largest=False).values
