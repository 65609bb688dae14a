"""Pictures in the plane of the 2D data: points and the density map."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sintro.report.figures.style import DENSITY_MAP, relative_density, square

MOST_POINTS = 4000


def _frame_plane(axes: Axes, half_width: float) -> None:
    """Show the square [-half_width, half_width]^2."""
    reach = (-half_width, half_width)
    axes.set(xlim=reach, ylim=reach, xlabel="$x_1$", ylabel="$x_2$")
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)


def draw_points(points: np.ndarray, colours, half_width: float, title: str) -> Figure:
    """Scatter points [N, 2] in the data's plane; the title says how many lie outside of it."""
    figure, axes = square()
    _frame_plane(axes, half_width)
    is_inside = np.isfinite(points).all(-1) & (np.abs(points) <= half_width).all(-1)
    outside = int((~is_inside).sum())
    if outside:
        title += f" ({outside:,} of {len(points):,} outside)"
    shown = points[:MOST_POINTS]
    axes.scatter(shown[:, 0], shown[:, 1], s=2.5, c=colours, linewidths=0)
    axes.set_title(title)
    return figure


def draw_density(energy: np.ndarray, half_width: float) -> Figure:
    """Map exp(-(e - min e)) of energies [G, G] on the grid: axes (x1, x2), both rising."""
    figure, axes = square()
    _frame_plane(axes, half_width)
    extent = (-half_width, half_width, -half_width, half_width)
    density = relative_density(energy).T
    image = axes.imshow(density, origin="lower", extent=extent, cmap=DENSITY_MAP, vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.75, aspect=30, label="density relative to its peak")
    axes.set_title("exp(−energy)")
    return figure
