"""The four densities in the plane: ``8gaussians spirals checkerboard rings`` (docs/science.md, section 6).

Each can be sampled without end and knows its own support, so that a sample which bridges two modes, arms, squares or
rings can be counted. The definitions are those of the experiments of Daniel & Tamar 2021 and Athanasiadis et al. 2025.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from sintro import SintroError


@dataclass(frozen=True, eq=False)
class Density:
    """A density in the plane.

    ``sample(n, generator, device="cpu")`` returns ``(points [n, 2] float32, labels [n] int64)``. Everything random
    comes from ``generator``, a CPU generator, whatever the device: the same key gives the same points on every machine.

    ``locate(points [..., 2])`` returns int64 ``[...]``: the label of the part (mode, arm, square or ring) on which the
    point lies, or -1 off the support. Real data lie on the support with probability 0.999 or more; the space between
    the parts is off it, and so is a point that is not finite.

    Histograms, grids and plots span ``[-half_width, half_width]`` in both coordinates. ``labels`` counts the parts,
    ``part`` names one; ``centres`` [labels, 2] are given where the parts are points.
    """

    name: str
    half_width: float
    labels: int
    part: str
    sample: Callable[..., tuple[Tensor, Tensor]]
    locate: Callable[[Tensor], Tensor]
    centres: Tensor | None = None

    def on_support(self, points: Tensor) -> Tensor:
        """Booleans [...]: does each point [..., 2] lie where real data do?"""
        return self.locate(points) >= 0


def _nearest(points: Tensor, skeleton: Tensor, reach: float) -> Tensor:
    """Index [...] of the point of ``skeleton`` [M, 2] nearest to each point [..., 2]; -1 beyond ``reach``."""
    skeleton = skeleton.to(points)
    parts = []
    for rows in points.reshape(-1, 2).split(8192):
        # The expanded quadratic (the default for many rows) loses the digits that decide about a mode of width 0.014.
        distance, index = torch.cdist(rows, skeleton, compute_mode="donot_use_mm_for_euclid_dist").min(-1)
        parts.append(index.where(distance <= reach, -1))
    return torch.cat(parts).reshape(points.shape[:-1])


# --- 8gaussians: eight narrow modes on a circle, brought to unit variance

EIGHT_SHRINK = 1.414
EIGHT_NOISE = 0.02 / EIGHT_SHRINK
EIGHT_REACH = 4 * EIGHT_NOISE  # misses exp(-8), 3 in 10,000, of the real data
_eighths = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
EIGHT_CENTRES = (torch.stack((_eighths.cos(), _eighths.sin()), -1) * (2 / EIGHT_SHRINK)).float()  # [8, 2]


def sample_8gaussians(n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Eight equal modes at multiples of 45 degrees on the circle of radius 2, noise 0.02, all divided by 1.414."""
    labels = torch.randint(8, (n,), generator=generator)
    points = EIGHT_CENTRES[labels] + EIGHT_NOISE * torch.randn(n, 2, generator=generator)
    return points.to(device), labels.to(device)


def locate_8gaussians(points: Tensor) -> Tensor:
    """The mode whose centre is within four standard deviations, or -1."""
    return _nearest(points, EIGHT_CENTRES, EIGHT_REACH)


# --- spirals: two arms of one and a half turns each

SPIRAL_NOISE = 0.1
SPIRAL_JITTER = 0.5
SPIRAL_SHRINK = 3.0
# Across the arm a point deviates by the normal noise and by the uniform jitter, whose variance is width^2 / 12.
SPIRAL_REACH = 3.5 * math.hypot(SPIRAL_NOISE, SPIRAL_JITTER / SPIRAL_SHRINK / math.sqrt(12))


def _spiral(t: Tensor, jitter: Tensor | float) -> Tensor:
    """The first arm's points [..., 2] at angles t [...]; jitter [..., 2] in [0, 1], its mean 1/2 for the centreline."""
    return (torch.stack((-t * t.cos(), t * t.sin()), -1) + SPIRAL_JITTER * jitter) / SPIRAL_SHRINK


# 256 points an arm, about 0.06 apart: the distance to the arm is then known to 0.001, far below its width.
_arm = _spiral(3 * math.pi * torch.linspace(0, 1, 256, dtype=torch.float64).sqrt(), 0.5)
SPIRAL_CENTRELINES = torch.cat((_arm, -_arm)).float()  # [512, 2]


def sample_spirals(n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """t = 3 pi sqrt(U); (-t cos t + U'/2, t sin t + U''/2) / 3; the second arm is the first one negated; noise 0.1.

    As published, the first half of a batch (the larger one if n is odd) is one arm and the second half its mirror image
    point by point, before the noise.
    """
    first = (n + 1) // 2
    u = torch.rand(first, 3, generator=generator)
    arm = _spiral(3 * math.pi * u[:, 0].sqrt(), u[:, 1:])  # [first, 2]
    points = torch.cat((arm, -arm[: n - first])) + SPIRAL_NOISE * torch.randn(n, 2, generator=generator)
    labels = (torch.arange(n) >= first).long()
    return points.to(device), labels.to(device)


def locate_spirals(points: Tensor) -> Tensor:
    """The nearer arm, if its centreline is within 3.5 standard deviations (0.389, noise and jitter together), or -1."""
    index = _nearest(points, SPIRAL_CENTRELINES, SPIRAL_REACH)
    return index.div(len(_arm), rounding_mode="floor")  # floor: -1 stays -1


# --- checkerboard: eight squares of side 2

CHECKER_SIDE = 2.0


def sample_checkerboard(n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """x1 = 4U - 2; x2 = U' - 2 Bernoulli(1/2) + (floor(x1) mod 2); both doubled.

    Labels count the squares column by column from the left, in each column the upper square first.
    """
    u = torch.rand(n, 2, generator=generator)
    lower = torch.randint(2, (n,), generator=generator)
    first = 4 * u[:, 0] - 2
    column = first.floor()
    second = u[:, 1] - 2 * lower + column.remainder(2)
    points = CHECKER_SIDE * torch.stack((first, second), -1)
    labels = 2 * (column.long() + 2) + lower
    return points.to(device), labels.to(device)


def locate_checkerboard(points: Tensor) -> Tensor:
    """The square, its edges included, or -1. Inside a square the density is 1/32, elsewhere 0."""
    first, second = (points / CHECKER_SIDE).unbind(-1)
    column = first.floor().clamp(-2, 1)  # the right edge belongs to the last column
    above = second - column.remainder(2)  # a column's squares span [0, 1] and [-2, -1] of this
    upper = (above >= 0) & (above <= 1)
    lower = (above >= -2) & (above <= -1)
    label = 2 * (column.nan_to_num() + 2).long() + lower.long()
    return label.where((first.abs() <= 2) & (upper | lower), -1)


# --- rings: four concentric circles

RING_RADII = torch.tensor([3.0, 2.25, 1.5, 0.75])
RING_NOISE = 0.08
RING_REACH = 3.5 * RING_NOISE
# A ring's angles are those of the published training batch: 512 points, a quarter of them on each ring. They are 0.15
# apart on the widest ring, so that the noise of 0.08 leaves less than 1 % of ripple along it.
RING_ANGLES = 128
_turn = torch.arange(RING_ANGLES, dtype=torch.float64) * (2 * math.pi / RING_ANGLES)
_RING_CIRCLE = torch.stack((_turn.cos(), _turn.sin()), -1).float()  # [128, 2]


def sample_rings(n: int, generator: Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Radii 3, 2.25, 1.5 and 0.75 in equal shares, 128 evenly spaced angles drawn with replacement, noise 0.08.

    Labels count the rings from the outermost.
    """
    index = torch.randint(4 * RING_ANGLES, (n,), generator=generator)
    labels = index // RING_ANGLES
    circles = RING_RADII[labels, None] * _RING_CIRCLE[index % RING_ANGLES]  # [n, 2]
    points = circles + RING_NOISE * torch.randn(n, 2, generator=generator)
    return points.to(device), labels.to(device)


def locate_rings(points: Tensor) -> Tensor:
    """The ring whose radius is within 3.5 standard deviations (0.28), or -1; neighbouring rings are 0.75 apart."""
    radius = points.norm(dim=-1, keepdim=True)  # [..., 1]
    distance, index = (radius - RING_RADII.to(points)).abs().min(-1)
    return index.where(distance <= RING_REACH, -1)


DENSITIES: dict[str, Density] = {
    density.name: density
    for density in (
        Density("8gaussians", 2.0, 8, "mode", sample_8gaussians, locate_8gaussians, EIGHT_CENTRES),
        Density("spirals", 4.0, 2, "arm", sample_spirals, locate_spirals),
        Density("checkerboard", 4.0, 8, "square", sample_checkerboard, locate_checkerboard),
        Density("rings", 4.0, 4, "ring", sample_rings, locate_rings),
    )
}


def density(name: str) -> Density:
    """The density of this name; SintroError with the legal names if there is none."""
    try:
        return DENSITIES[name]
    except KeyError:
        raise SintroError(f"unknown density {name!r}: one of {', '.join(DENSITIES)}") from None
