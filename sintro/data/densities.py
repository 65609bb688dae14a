"""The four densities in the plane: ``8gaussians spirals checkerboard rings`` (docs/science.md, section 6).

Each can be sampled without end and knows its support, so that metrics can count the samples between two modes, arms,
squares or rings. The definitions are those of the experiments of Daniel & Tamar 2021 and Athanasiadis et al. 2025.
Functions import torch where they compute, since the Snakefile reads the names without torch.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from sintro.cells.components import SOFT, VAE, Density, Row, datasets, register, unknown

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

README = "Daniel & Tamar 2021, README; docs/science.md, section 4"
CONFIGURATION = "Athanasiadis et al. 2025, released configuration; docs/science.md, section 4"


def density(name: str) -> Density:
    """Return the density of this name. Raises SintroError with the legal names where there is none."""
    known = datasets("2d")
    if name not in known:
        raise unknown(f"unknown density {name!r}: one of {', '.join(known)}", name)
    found = known[name]
    if found.source is not None:
        found.try_out()
    return found


def nearest(points: Tensor, skeleton: Tensor, reach: float) -> Tensor:
    """Return the index [...] of the point of ``skeleton`` [M, 2] nearest to each of [..., 2]; -1 beyond ``reach``."""
    import torch

    skeleton = skeleton.to(points)
    parts = []
    for rows in points.reshape(-1, 2).split(8192):
        # cdist's default for many rows, the expanded quadratic, loses digits that matter for a mode of width 0.014.
        distance, index = torch.cdist(rows, skeleton, compute_mode="donot_use_mm_for_euclid_dist").min(-1)
        parts.append(index.where(distance <= reach, -1))
    return torch.cat(parts).reshape(points.shape[:-1])


EIGHT_SHRINK = 1.414
EIGHT_NOISE = 0.02 / EIGHT_SHRINK
EIGHT_REACH = 4 * EIGHT_NOISE  # misses exp(-8), 3 in 10,000, of the real data


@register
class EightGaussians(Density):
    """Eight narrow modes on a circle, brought to unit variance."""

    name, title = "8gaussians", "8 Gaussians"
    half_width = 2.0
    labels, part = 8, "mode"
    in_papers = True
    rows = (
        Row(SOFT, {"beta_rec": 0.2, "beta_kl": 0.3, "beta_neg": 0.9}, README),
        Row(VAE, {"beta_rec": 0.8, "beta_kl": 0.05}, CONFIGURATION),
    )

    @property
    def centres(self) -> Tensor:
        """The modes' centres [8, 2]."""
        return _eight_centres()

    def sample(self, n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Eight equal modes at multiples of 45 degrees on the circle of radius 2, noise 0.02, all divided by 1.414."""
        import torch

        labels = torch.randint(8, (n,), generator=generator)
        points = self.centres[labels] + EIGHT_NOISE * torch.randn(n, 2, generator=generator)
        return points.to(device), labels.to(device)

    def locate(self, points: Tensor) -> Tensor:
        """Return the mode whose centre is within four standard deviations, or -1."""
        return nearest(points, self.centres, EIGHT_REACH)


@cache
def _eight_centres() -> Tensor:
    import torch

    eighths = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return (torch.stack((eighths.cos(), eighths.sin()), -1) * (2 / EIGHT_SHRINK)).float()


SPIRAL_NOISE = 0.1
SPIRAL_JITTER = 0.5
SPIRAL_SHRINK = 3.0
# Across the arm a point deviates by the normal noise and by the uniform jitter, whose variance is width^2 / 12.
SPIRAL_REACH = 3.5 * math.hypot(SPIRAL_NOISE, SPIRAL_JITTER / SPIRAL_SHRINK / math.sqrt(12))
# 256 points an arm, about 0.06 apart: the distance to the arm is then known to 0.001, far below its width.
SPIRAL_POINTS = 256


@register
class Spirals(Density):
    """Two arms of one and a half turns each."""

    name, title = "spirals", "Spirals"
    half_width = 4.0
    labels, part = 2, "arm"
    mirrored = in_papers = True
    rows = (
        Row(SOFT, {"beta_rec": 0.2, "beta_kl": 0.5, "beta_neg": 1.0}, README),
        Row(VAE, {"beta_rec": 1.0, "beta_kl": 0.05}, CONFIGURATION),
    )

    def sample(self, n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """t = 3 pi sqrt(U); (-t cos t + U'/2, t sin t + U''/2) / 3; the second arm is the first one negated; noise 0.1.

        As published, the first half of a batch (the larger one if n is odd) is one arm and the second half its mirror
        image point by point, before the noise.
        """
        import torch

        first = (n + 1) // 2
        u = torch.rand(first, 3, generator=generator)
        arm = _spiral(3 * math.pi * u[:, 0].sqrt(), u[:, 1:])  # [first, 2]
        points = torch.cat((arm, -arm[: n - first])) + SPIRAL_NOISE * torch.randn(n, 2, generator=generator)
        labels = (torch.arange(n) >= first).long()
        return points.to(device), labels.to(device)

    def locate(self, points: Tensor) -> Tensor:
        """Return the nearer arm if its centreline is within 3.5 standard deviations (0.389: noise and jitter) or -1."""
        index = nearest(points, _spiral_centrelines(), SPIRAL_REACH)
        return index.div(SPIRAL_POINTS, rounding_mode="floor")  # floor: -1 stays -1


def _spiral(t: Tensor, jitter: Tensor | float) -> Tensor:
    """Return the first arm's points [..., 2] at angles t [...]; jitter [..., 2] in [0, 1], 1/2 for the centreline."""
    import torch

    return (torch.stack((-t * t.cos(), t * t.sin()), -1) + SPIRAL_JITTER * jitter) / SPIRAL_SHRINK


@cache
def _spiral_centrelines() -> Tensor:
    """Return both arms' centrelines [512, 2]."""
    import torch

    arm = _spiral(3 * math.pi * torch.linspace(0, 1, SPIRAL_POINTS, dtype=torch.float64).sqrt(), 0.5)
    return torch.cat((arm, -arm)).float()


CHECKER_SIDE = 2.0


@register
class Checkerboard(Density):
    """Eight squares of side 2."""

    name, title = "checkerboard", "Checkerboard"
    half_width = 4.0
    labels, part = 8, "square"
    in_papers = True
    rows = (
        Row(SOFT, {"beta_rec": 0.2, "beta_kl": 0.1, "beta_neg": 0.2}, README),
        Row(VAE, {"beta_rec": 0.8, "beta_kl": 0.1}, CONFIGURATION),
    )

    def sample(self, n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """x1 = 4U - 2; x2 = U' - 2 Bernoulli(1/2) + (floor(x1) mod 2); both doubled.

        Labels count the squares column by column from the left, in each column the upper square first.
        """
        import torch

        u = torch.rand(n, 2, generator=generator)
        lower = torch.randint(2, (n,), generator=generator)
        first = 4 * u[:, 0] - 2
        column = first.floor()
        second = u[:, 1] - 2 * lower + column.remainder(2)
        points = CHECKER_SIDE * torch.stack((first, second), -1)
        labels = 2 * (column.long() + 2) + lower
        return points.to(device), labels.to(device)

    def locate(self, points: Tensor) -> Tensor:
        """Return the square, its edges included, or -1. Inside a square the density is 1/32, elsewhere 0."""
        first, second = (points / CHECKER_SIDE).unbind(-1)
        column = first.floor().clamp(-2, 1)  # the right edge belongs to the last column
        above = second - column.remainder(2)  # in a column's squares it is in [0, 1] or [-2, -1]
        upper = (above >= 0) & (above <= 1)
        lower = (above >= -2) & (above <= -1)
        label = 2 * (column.nan_to_num() + 2).long() + lower.long()
        return label.where((first.abs() <= 2) & (upper | lower), -1)


RING_RADII = (3.0, 2.25, 1.5, 0.75)
RING_NOISE = 0.08
RING_REACH = 3.5 * RING_NOISE
# A ring has as many angles as the published training batch has points on it: 512 / 4. On the widest ring they are 0.15
# apart, so that the noise of 0.08 leaves less than 1 % of ripple along it.
RING_ANGLES = 128


@register
class Rings(Density):
    """Four concentric circles."""

    name, title = "rings", "Rings"
    half_width = 4.0
    labels, part = 4, "ring"
    in_papers = True
    rows = (
        Row(SOFT, {"beta_rec": 0.2, "beta_kl": 0.2, "beta_neg": 1.0}, README),
        Row(VAE, {"beta_rec": 0.8, "beta_kl": 0.05}, CONFIGURATION),
    )

    def sample(self, n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Radii 3, 2.25, 1.5 and 0.75 in equal shares, 128 evenly spaced angles drawn with replacement, noise 0.08.

        Labels count the rings from the outermost.
        """
        import torch

        index = torch.randint(4 * RING_ANGLES, (n,), generator=generator)
        labels = index // RING_ANGLES
        circles = torch.tensor(RING_RADII)[labels, None] * _ring_circle()[index % RING_ANGLES]  # [n, 2]
        points = circles + RING_NOISE * torch.randn(n, 2, generator=generator)
        return points.to(device), labels.to(device)

    def locate(self, points: Tensor) -> Tensor:
        """Return the ring whose radius is within 3.5 standard deviations (0.28), or -1; neighbours are 0.75 apart."""
        import torch

        radius = points.norm(dim=-1, keepdim=True)  # [..., 1]
        distance, index = (radius - torch.tensor(RING_RADII).to(points)).abs().min(-1)
        return index.where(distance <= RING_REACH, -1)


@cache
def _ring_circle() -> Tensor:
    """Return the points [128, 2] at a ring's angles on the circle of radius 1."""
    import torch

    turn = torch.arange(RING_ANGLES, dtype=torch.float64) * (2 * math.pi / RING_ANGLES)
    return torch.stack((turn.cos(), turn.sin()), -1).float()
