"""Precision, recall, density and coverage of generated images by k-nearest-neighbour manifolds.

The manifold of a set is the union of balls, one around each of its points, that reach to the point's k-th neighbour
within the set. Precision is the share of generated points inside the real manifold, recall the share of real points
inside the generated one (Kynkäänniemi et al. 2019). Density counts the real balls around a generated point, divided by
k, coverage is the share of real balls that hold a generated point (Naeem et al. 2020). A generated point is authentic
where the real point nearest to it has a real neighbour that is nearer still (Alaa et al. 2022). docs/science.md,
sections 7 and 8 (A8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sintro import SintroError
from sintro.metrics import NotFinite

BLOCK = 2048  # points a side of a block of distances: 32 MiB of float64, and 64 MiB for the features
TIE = 1e-12  # relative slack for equal distances that were rounded differently
LARGEST = 1e150  # the squares of larger features overflow float64, so their distances mean nothing
PUBLISHED_NEIGHBOURS = {"precision": 4, "recall": 5}  # the point itself included: 3 and 4 others
STANDARD_NEIGHBOURS = 3  # k of precision and of recall, Kynkäänniemi et al. 2019
COVERAGE_NEIGHBOURS = 5  # k of density and coverage, Naeem et al. 2020


def precision_recall(real: Tensor, generated: Tensor, k: int, count_self: bool = False) -> tuple[float, float]:
    """Compute precision and recall of `generated` against `real`.

    Distances are Euclidean, computed in float64 from features centred on the real mean, block by block: the matrix of
    distances is never held (50,000 x 50,000 needs well under 2 GiB), and differences between near neighbours survive
    the expansion |a|^2 + |b|^2 - 2ab, which loses them in float32. A distance at rounding level is 0, so copies are
    inside balls of radius 0; ties count as inside.

    Args:
        real: [N, F] features of real images, on the device that does the work.
        generated: [M, F] features of generated images.
        k: which neighbour gives the radius.
        count_self: True is the published counting, in which a point is its own first neighbour (so k = 4 with it equals
            k = 3 without); False is the counting of Kynkäänniemi et al.

    Raises:
        SintroError: shapes that do not fit, values that are not finite or too large, or too few points for k.
    """
    found = _Inside(real, generated, [k], k, count_self)
    return found.precision(0), found.recall()


def published_precision_recall(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Compute precision and recall as the released code of Athanasiadis et al. 2025 does.

    The radii of precision reach to the 4th neighbour, the radii of recall to the 5th, and each point is its own first
    neighbour: 3 and 4 *other* points. Arguments and errors as in :func:`precision_recall`.
    """
    found = _Inside(real, generated, [PUBLISHED_NEIGHBOURS["precision"]], PUBLISHED_NEIGHBOURS["recall"], True)
    return found.precision(0), found.recall()


class Nearest(NamedTuple):
    """The real point nearest to each generated point.

    ``index`` [M]; ``ratio`` [M]: its distance, as a multiple of that real point's distance to its own nearest real
    neighbour. Among copies of a real point the latter is 0, and the ratio 0 or infinite.
    """

    index: Tensor
    ratio: Tensor

    @property
    def authenticity(self) -> float:
        """The share of generated points that are farther from the nearest real point than its own neighbour is."""
        return (self.ratio > 1 + TIE).double().mean().item()


def standard_manifolds(real: Tensor, generated: Tensor) -> tuple[dict[str, float], Nearest]:
    """Compute standard ``precision``, ``recall``, ``density``, ``coverage``, and the nearest real points, in one pass.

    For equal distributions density is 1 on average, and coverage 1 - 2^-k with equally many points of both. Samples
    that crowd where data are dense have a density above 1 and a low coverage. Errors as in :func:`precision_recall`.
    """
    ks = [STANDARD_NEIGHBOURS, COVERAGE_NEIGHBOURS]
    found = _Inside(real, generated, ks, STANDARD_NEIGHBOURS, False, nearest=True)
    metrics = {
        "precision": found.precision(0), "recall": found.recall(),
        "density": found.density(1), "coverage": found.coverage(1),
    }  # fmt: skip
    return metrics, found.nearest()


def nearest_real(real: Tensor, others: Tensor) -> Nearest:
    """Find the point of real[N, F] nearest to each of others[M, F]. Errors as in :func:`precision_recall`."""
    return _Inside(real, others, [], None, False, nearest=True).nearest()


class _Inside:
    """Which points are inside which balls, counted in one pass over the distances of real[N, F] to generated[M, F].

    Args:
        real_ks: the neighbours that give the radii of the real balls; the methods' ``i`` is an index into them.
        generated_k: the neighbour that gives the radius of a generated ball; None where recall is not needed.
        count_self: whether a point is its own first neighbour.
        nearest: whether :meth:`nearest` will be asked for, where a point is not its own neighbour.
    """

    def __init__(
        self,
        real: Tensor,
        generated: Tensor,
        real_ks: Sequence[int],
        generated_k: int | None,
        count_self: bool,
        nearest: bool = False,
    ):
        ks = [*real_ks, *([1] if nearest else [])]
        _check(real, generated, [*ks, *([] if generated_k is None else [generated_k])], count_self)
        self.ks, centre, generated = real_ks, _mean(real), generated.to(real.device)
        radii = _radii(real, centre, ks, count_self)  # [N, K] or [N, K + 1], squared
        real_radii, self.own_nearest = radii[:, : len(real_ks)] * (1 + TIE), radii[:, -1]
        if generated_k is not None:
            generated_radii = _radii(generated, centre, [generated_k], count_self)[:, 0] * (1 + TIE)  # [M], squared
        self.balls_around = torch.zeros(len(generated), len(real_ks), dtype=torch.int64, device=real.device)  # [M, K]
        self.points_in = torch.zeros(len(real), len(real_ks), dtype=torch.int64, device=real.device)  # [N, K]
        self.recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)  # [N]
        self.least = real_radii.new_full(
            (len(generated),), torch.inf
        )  # [M], squared distance to the nearest real point
        self.index = torch.zeros(len(generated), dtype=torch.int64, device=real.device)  # [M], that point
        for rows, block in _blocks(real, centre):
            for columns, other in _blocks(generated, centre):
                distances = _squared_distances(block, other)  # [rows, columns]
                for i in range(len(real_ks)):
                    inside = distances <= real_radii[rows, i, None]
                    self.balls_around[columns, i] += inside.sum(0)
                    self.points_in[rows, i] += inside.sum(1)
                if generated_k is not None:
                    self.recalled[rows] |= (distances <= generated_radii[columns]).any(1)
                if nearest:
                    self._see(distances, rows, columns)

    def _see(self, distances: Tensor, rows: slice, columns: slice) -> None:
        """Keep the nearest real points of a block."""
        least, index = distances.min(0)
        is_nearer = least < self.least[columns]
        self.least[columns] = torch.where(is_nearer, least, self.least[columns])
        self.index[columns] = torch.where(is_nearer, index + rows.start, self.index[columns])

    def precision(self, i: int) -> float:
        """Return the share of the generated points inside a real ball."""
        return (self.balls_around[:, i] > 0).double().mean().item()

    def recall(self) -> float:
        """Return the share of the real points inside a generated ball."""
        return self.recalled.double().mean().item()

    def density(self, i: int) -> float:
        """Return the mean number of real balls around a generated point, divided by k."""
        return (self.balls_around[:, i].double().mean() / self.ks[i]).item()

    def coverage(self, i: int) -> float:
        """Return the share of the real balls with a generated point inside."""
        return (self.points_in[:, i] > 0).double().mean().item()

    def nearest(self) -> Nearest:
        """Return the nearest real point of each generated one."""
        ratio = (self.least / self.own_nearest[self.index]).sqrt()
        return Nearest(self.index, torch.where(self.least > 0, ratio, 0.0))


def _check(real: Tensor, generated: Tensor, ks: Sequence[int], count_self: bool) -> None:
    """Raise SintroError for features that do not fit each other or one of the ks, or that are not finite."""
    if real.dim() != 2 or generated.dim() != 2 or real.shape[1] != generated.shape[1]:
        raise SintroError(
            f"precision and recall: real {tuple(real.shape)} and generated {tuple(generated.shape)} features; "
            "expected [N, F] and [M, F]"
        )
    fewest = max(ks) + (not count_self)
    if min(ks) < 1 or min(len(real), len(generated)) < fewest:
        raise SintroError(
            f"precision and recall: k = {max(ks)} needs k >= 1 and at least {fewest} points on each side; "
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
    """Compute [A, B] from centred float64 a[A, F], b[B, F]; a distance at rounding level becomes 0."""
    size = a.square().sum(1)[:, None] + b.square().sum(1)  # [A, B]
    squared = torch.addmm(size, a, b.T, alpha=-2)
    return squared.masked_fill_(squared < 16 * torch.finfo(a.dtype).eps * size, 0.0)


def _radii(features: Tensor, centre: Tensor, ks: Sequence[int], count_self: bool) -> Tensor:
    """Return the squared distance [N, K] to each k-th neighbour; a copy of a point is a neighbour of it."""
    others = [k - 1 if count_self else k for k in ks]  # a point is its own nearest, at distance 0
    nearest = torch.full((len(features), max(others)), torch.inf, dtype=torch.float64, device=features.device)
    itself = nearest.new_zeros(len(features), 1)
    if not max(others):
        return itself.expand(-1, len(ks))
    for rows, block in _blocks(features, centre):
        for columns, other in _blocks(features, centre, first=rows.start):  # distances are symmetric: half are enough
            distances = _squared_distances(block, other)
            if rows == columns:
                distances.fill_diagonal_(torch.inf)
            else:
                nearest[columns] = _nearer(nearest[columns], distances.T)
            nearest[rows] = _nearer(nearest[rows], distances)
    return torch.cat([itself, nearest], 1)[:, others]


def _nearer(nearest: Tensor, distances: Tensor) -> Tensor:
    """Return the smallest [B, k] of nearest[B, k] and distances[B, C], in rising order."""
    candidates = distances.topk(min(nearest.shape[1], distances.shape[1]), largest=False).values
    return torch.cat([nearest, candidates], dim=1).topk(nearest.shape[1], largest=False).values
