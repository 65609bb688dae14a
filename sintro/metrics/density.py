"""Metrics of a model of a density in the plane (docs/science.md, section 7).

Histogram divergences between real and generated points, in the published and in the standard form; the grid-normalised
negative ELBO; the covered parts of the density; and the floor, a perfect model's score, which is not 0.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics import randomness
from sintro.cells.components import Density
from sintro.data.densities import density

# Added to a density before its logarithm, in the published forms and in `kl`.
EPSILON = 1e-14

Energy = Callable[[Tensor], Tensor]
Points = Tensor | np.ndarray


def as_array(points: Points, name: str) -> np.ndarray:
    """Return points [N, 2], tensor or array, as float64. Raises SintroError, with ``name``, for another shape."""
    if isinstance(points, Tensor):
        points = points.detach().cpu().numpy()
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise SintroError(f"{name}: the shape is {list(points.shape)}, but must be [N, 2] with N >= 1")
    return points


def histogram_density(points: Points, half_width: float, bins: int = 100) -> np.ndarray:
    """Return the histogram density [bins, bins] of points [N, 2] over [-half_width, half_width]^2; its integral is 1.

    As published (NumPy, ``density=True``) points outside the range are dropped and the others normalised: mass that
    leaves the range costs nothing here (``out_of_range`` is its share). With no point inside the density is 0.
    """
    points = as_array(points, "points")
    points = points[np.isfinite(points).all(1)]
    limits = (-half_width, half_width)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=bins, range=(limits, limits))
    area = (2 * half_width / bins) ** 2
    return counts / (max(counts.sum(), 1) * area)


def _relative_log(p: np.ndarray, q: np.ndarray, epsilon: float = EPSILON) -> float:
    """Sum p (log p - log(q + epsilon)) over the bins with p > 0."""
    seen = p > 0
    return float(np.sum(p[seen] * (np.log(p[seen]) - np.log(q[seen] + epsilon))))


def histogram_divergences(real: Points, generated: Points, scale: float, bins: int = 100) -> dict[str, float]:
    """Compute divergences between the histograms d_r of ``real`` [N, 2] and d_g of ``generated`` [M, 2] points.

    ``scale``: half the half-width of the range, as the released code has it (1 for 8gaussians, 2 for the others).

    ``kl_published``, ``jsd_published``, ``entropy_published``: what the released code of Athanasiadis et al. 2025
    computes, sums of *densities* over the bins divided by the number of bins a side:

        KL      = 1/bins sum d_r (log d_r - log(d_g + 1e-14))
        JSD     = 1/2 1/bins sum [m (log m - log(d_r + 1e-14)) + m (log m - log(d_g + 1e-14))],   m = (d_r + d_g) / 2
        entropy = 1/bins sum u (log u - log(d_g + 1e-14)),   u the uniform density

    This JSD has the mixture in front, the reverse of the textbook direction; log 2 is no upper bound of it.

    ``kl``: KL(real || generated) of the two histograms in nats, = sum p (log p - log(q + 1e-14 area)) with the bins'
    probabilities p, q. The floor under an empty generated bin is the published one, so that with every point in range
    ``kl`` is ``kl_published`` x bins x area (divided by 6.25 at scale 1 and by 1.5625 at scale 2, with 100 bins).
    Without a floor nearly every value would be infinite; with it, each real point in an empty bin costs about
    32 nats / N.
    ``jsd``: the textbook Jensen-Shannon divergence in nats, without a floor, in [0, log 2].

    The published forms drop points that are outside the range or not finite (``histogram_density``); where no generated
    point is left they are NaN, as in the released code. ``kl`` and ``jsd`` count that mass: points beyond the range are
    one more bin, and generated points that are not finite share no bin with the data. With no generated point inside,
    none of them shares a bin: ``jsd`` is log 2, and ``kl`` is that of two histograms without a common bin.
    ``out_of_range`` is the share of the generated points that the published forms drop.

    Raises: SintroError if no real point falls inside, or if one is not finite.
    """
    real, generated = as_array(real, "real"), as_array(generated, "generated")
    if not np.isfinite(real).all():
        raise SintroError("real: points that are not finite, so they are no data")
    half_width = 2 * scale
    d_r, d_g = (histogram_density(points, half_width, bins) for points in (real, generated))
    if not d_r.any():
        raise SintroError(f"real: no point inside [-{half_width:g}, {half_width:g}]^2, so there is no histogram")
    published = {name: value / bins for name, value in _published(d_r, d_g, half_width).items()}
    if not d_g.any():
        published = dict.fromkeys(published, math.nan)
    area = (2 * half_width / bins) ** 2
    p, q = _masses(real, d_r * area, half_width), _masses(generated, d_g * area, half_width)
    middle = (p + q) / 2
    shannon = (_relative_log(p, middle, 0.0) + _relative_log(q, middle, 0.0)) / 2
    standard = {"kl": _relative_log(p, q, EPSILON * area), "jsd": min(max(shannon, 0.0), math.log(2))}
    return published | standard | {"out_of_range": out_of_range(generated, half_width)}


def _published(d_r: np.ndarray, d_g: np.ndarray, half_width: float) -> dict[str, float]:
    """Compute the published sums over the bins, not yet divided by the number of bins a side."""
    middle = (d_r + d_g) / 2
    uniform = np.full_like(d_r, 1 / (2 * half_width) ** 2)
    return {
        "kl_published": _relative_log(d_r, d_g),
        "jsd_published": (_relative_log(middle, d_r) + _relative_log(middle, d_g)) / 2,
        "entropy_published": _relative_log(uniform, d_g),
    }


def _masses(points: np.ndarray, inside: np.ndarray, half_width: float) -> np.ndarray:
    """Return probabilities [bins^2 + 2]: of the bins, of the plane beyond the range, and of points not in the plane.

    ``inside`` [bins, bins] are the bins' probabilities among the points in range. Points that are not finite are not
    in the plane; where no point is in range, all count as such.
    """
    dropped = out_of_range(points, half_width)
    nowhere = float((~np.isfinite(points).all(1)).mean()) if dropped < 1 else 1.0
    return np.append(inside.ravel() * (1 - dropped), [max(dropped - nowhere, 0.0), nowhere])


def out_of_range(points: Points, half_width: float) -> float:
    """Return the share of points [N, 2] outside [-half_width, half_width]^2 or not finite; lower is better."""
    inside = (np.abs(as_array(points, "points")) <= half_width).all(1)  # a comparison with NaN is false
    return float((~inside).mean())


def energies(energy: Energy, points: Tensor, chunk: int = 4096) -> Tensor:
    """Compute energy(x [M, 2]) -> [M] at points [N, 2], ``chunk`` points at a time. Returns [N] float64 on the CPU."""
    if chunk < 1:
        raise SintroError(f"chunk: {chunk} points at a time, but must be 1 or more")
    found = []
    with torch.no_grad():
        for rows in points.split(chunk):
            values = energy(rows)
            if values.shape != rows.shape[:1]:
                raise SintroError(f"energy: shape {list(values.shape)}, but must be [{len(rows)}], one per point")
            found.append(values.to("cpu", torch.float64))
    return torch.cat(found)


def grid(half_width: float, grid_points: int = 1024, device: torch.device | str = "cpu") -> Tensor:
    """Return the grid [grid_points^2, 2] on [-half_width, half_width]^2, ends included; the second axis runs faster."""
    axis = torch.linspace(-half_width, half_width, grid_points, device=device)
    return torch.cartesian_prod(axis, axis)


def energy_grid(
    energy: Energy, half_width: float, grid_points: int = 1024, device: torch.device | str = "cpu"
) -> Tensor:
    """Compute the energy on the grid: float64 [grid_points, grid_points], entry [i, j] at (x1 = axis[i], x2 = axis[j]).

    One pass over the grid serves ``grid_normalized``, ``normalized_nll`` and the density map exp(-energy).
    """
    return energies(energy, grid(half_width, grid_points, device)).reshape(grid_points, grid_points)


def gnelbo(energy: Energy, points: Points, scale: float, grid_points: int = 1024) -> float:
    """Compute the grid-normalised negative ELBO of Daniel & Tamar 2021, as published; lower is better.

    ``energy(x [M, 2]) -> [M]`` is the negative ELBO e(x) = KL(x) + rec(x, g(mu(x))); ``points`` [N, 2] are real;
    ``scale`` is half the half-width of the range. See ``grid_normalized``.
    """
    if not isinstance(points, Tensor):
        points = torch.from_numpy(as_array(points, "points")).float()
    on_grid = energy_grid(energy, 2 * scale, grid_points, points.device)
    return grid_normalized(energies(energy, points), on_grid)


def grid_normalized(point_energies: Tensor, grid_energies: Tensor) -> float:
    """Return the mean over the real points' energies [N] of e / (sum of e over the grid [G, G] and the real points).

    A Monte-Carlo KL can make single energies slightly negative; they count as they are, as published. NaN where an
    energy is not finite, or where the energies do not add up to more than 0.
    """
    e = point_energies.double()
    total = float(e.sum() + grid_energies.double().sum())
    return float(e.mean()) / total if math.isfinite(total) and total > 0 else math.nan


def normalized_nll(point_energies: Tensor, grid_energies: Tensor, half_width: float) -> float:
    """Return the mean of -log p(x) over the real points, in nats; p(x) = exp(-e(x)) / Z, Z integrated over the range.

    It is the proper score in place of the ratio of ``gnelbo``, from the same energies [N] and [G, G]; this suite's own,
    not the papers'. A flat energy scores the logarithm of the range's area (2.77 at half-width 2, 4.16 at half-width
    4). No energy scores below the entropy of the data, as long as they lie inside the range. NaN where an energy is not
    finite.
    """
    e, on_grid = point_energies.double(), grid_energies.double()
    if not (e.isfinite().all() and on_grid.isfinite().all()):
        return math.nan
    side = len(on_grid)
    # Trapezoidal rule: the grid has both ends, so its outer rows and columns stand for half a cell.
    weights = torch.ones(side, dtype=torch.float64)
    weights[0] = weights[-1] = 0.5
    log_cells = (weights[:, None] * weights).log() + 2 * math.log(2 * half_width / (side - 1))  # [G, G]
    return float(e.mean() + torch.logsumexp((log_cells - on_grid).flatten(), 0))


def energy_noise(point_energies: Tensor, grid_energies: Tensor, mirrored: bool = False) -> tuple[float, float]:
    """Return the standard errors of ``grid_normalized`` and of ``normalized_nll`` over the choice of the real points.

    Both are functions of m, the mean of N energies: m / (N m + G), whose derivative is G / (N m + G)^2, and m + log Z.
    The energies are independent, or only the means of the pairs (n, n + N/2) where they are of ``mirrored`` points. NaN
    where an energy is not finite.
    """
    e, on_grid = point_energies.double(), float(grid_energies.double().sum())
    independent = e.view(2, -1).mean(0) if mirrored else e
    error = float(independent.std() / math.sqrt(len(independent)))
    total = float(e.sum()) + on_grid
    if not (math.isfinite(total) and total > 0):
        return math.nan, math.nan
    return error * on_grid / total**2, error


def mode_coverage(samples: Points, target: Density, share: float = 0.1) -> int:
    """Count the density's parts (modes, arms, squares, rings) that the samples [N, 2] cover.

    A part is covered when it receives at least ``share`` of the samples that a perfect model would give it, which
    spreads N samples evenly over the parts. Only samples on the support count.
    """
    labels = target.locate(_as_tensor(samples))
    counts = torch.bincount(labels[labels >= 0], minlength=target.labels)
    return int((counts >= share * len(labels) / target.labels).sum())


def off_support(samples: Points, target: Density) -> float:
    """Return the share of the samples [N, 2] off the density's support; a sample that is not finite is off it."""
    return float((~target.on_support(_as_tensor(samples))).double().mean())


def _as_tensor(samples: Points) -> Tensor:
    return torch.from_numpy(as_array(samples, "samples"))


@functools.cache
def floor(name: str, points: int = 5000, bins: int = 100, draws: int = 10) -> dict[str, tuple[float, float]]:
    """Score a perfect model: metric -> (mean, standard deviation) over ``draws`` pairs of fresh real samples.

    ``points`` real points stand against as many others in the generated points' place. The same on every call and
    machine.
    """

    def score(target: Density, real: Tensor, generated: Tensor) -> dict[str, float]:
        divergences = histogram_divergences(real, generated, target.half_width / 2, bins)
        covered, off = mode_coverage(generated, target), off_support(generated, target)
        return divergences | {"modes_covered": float(covered), "off_support": off}

    return of_a_perfect_model(name, points, draws, score)


def of_a_perfect_model(
    name: str, points: int, draws: int, score: Callable[[Density, Tensor, Tensor], dict[str, float]]
) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each score over ``draws`` pairs of fresh samples of a density.

    ``score`` takes the density and the two samples of a pair, [points, 2] each, the second in the generated points'
    place, and returns the numbers by name.
    """
    target = density(name)
    scores = []
    for draw in range(draws):
        generator = randomness.generator(draw, f"floor/{name}")
        real, generated = (target.sample(points, generator)[0] for _ in range(2))
        scores.append(score(target, real, generated))
    values = {metric: np.array([found[metric] for found in scores]) for metric in scores[0]}
    return {metric: (float(found.mean()), float(found.std(ddof=1))) for metric, found in values.items()}
