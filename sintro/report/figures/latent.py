"""Pictures of the latent space: with the prior's modes, and by label."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from scipy.special import softmax

from sintro.report.figures.plane import MOST_POINTS
from sintro.report.figures.style import label_colours, square

DEAD = "#d1495b"


def mean_responsibilities(
    latent: np.ndarray, means: np.ndarray, log_vars: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute a_k, the mean responsibility of each mode, over latent samples z [N, L] -> [K] (docs/science.md, 2).

    Modes with a_k < 1 / K^2 are called dead.
    """
    z = latent[:, None, :]  # [N, 1, L]
    squares = (z - means) ** 2 * np.exp(-log_vars)  # [N, K, L]
    log_joint = -0.5 * (squares + log_vars).sum(-1)  # [N, K]
    log_joint += np.log(np.maximum(weights, np.finfo(np.float64).tiny))
    return softmax(log_joint, axis=-1).mean(0)


def first_two_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the centre [L] and the two orthonormal axes [L, 2] along which a latent space of points [N, L] is shown.

    With two dimensions they are the dimensions themselves; with more, the first two principal components.
    """
    dimensions = points.shape[1]
    if dimensions == 2 or len(points) <= 2:
        return np.zeros(dimensions), np.eye(dimensions)[:, :2]
    centre = points.mean(0)
    _, _, axes = np.linalg.svd(points - centre, full_matrices=False)
    return centre, axes[:2].T


def draw_latent(
    latent: np.ndarray, labels: np.ndarray, means: np.ndarray, log_vars: np.ndarray, weights: np.ndarray
) -> Figure:
    """Draw the aggregate posterior by label, and the prior's modes over it: discs sized by weight, crosses where dead.

    Each mode's ellipse is one standard deviation. latent [N, L], labels [N], means and log_vars [K, L], weights [K].
    """
    figure, axes = square()
    is_finite = np.isfinite(latent).all(-1)
    latent = latent[is_finite][:MOST_POINTS]
    labels = labels[is_finite][:MOST_POINTS]
    centre, basis = first_two_axes(latent)
    shown = (latent - centre) @ basis  # [N, 2]
    modes = (means - centre) @ basis  # [K, 2]
    deviations = np.sqrt(np.exp(log_vars) @ basis**2)  # [K, 2], along the axes shown
    axes.scatter(shown[:, 0], shown[:, 1], s=2.5, c=label_colours(labels), linewidths=0, zorder=1)
    _draw_ellipses(axes, modes, deviations)
    _draw_modes(axes, modes, weights, _dead(latent, means, log_vars, weights))
    reach = _reach(shown, modes)
    name = "$z_{}$" if latent.shape[1] == 2 else "principal component {}"
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel=name.format(1), ylabel=name.format(2))
    axes.set_aspect("equal")
    axes.set_title("latent space")
    axes.legend(loc="upper right", borderpad=0.1, handletextpad=0.3)
    return figure


def _dead(latent: np.ndarray, means: np.ndarray, log_vars: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tell which modes are dead -> [K]; none where there is one mode or no sample."""
    components = len(means)
    if components < 2 or not len(latent):
        return np.zeros(components, dtype=bool)
    return mean_responsibilities(latent, means, log_vars, weights) < 1 / components**2


def _draw_ellipses(axes: Axes, modes: np.ndarray, deviations: np.ndarray) -> None:
    """Draw one standard deviation [K, 2] around each mode [K, 2]."""
    widths, heights = 2 * deviations.T
    ellipses = EllipseCollection(
        widths,
        heights,
        np.zeros(len(modes)),
        units="xy",
        offsets=modes,
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors="#555555",
        linewidths=0.6,
        alpha=0.4,
    )
    axes.add_collection(ellipses)


def _draw_modes(axes: Axes, modes: np.ndarray, weights: np.ndarray, dead: np.ndarray) -> None:
    """Draw a disc per mode in use and a cross per dead one, sized by weight."""
    alive = ~dead
    relative = weights / max(weights.max(), 1e-12)
    size = 20 + 300 * relative / np.sqrt(len(modes))
    noun = "mode" if alive.sum() == 1 else "modes"
    outline = {"facecolors": "white", "edgecolors": "black", "linewidths": 1.0, "zorder": 3}
    axes.scatter(*modes[alive].T, s=size[alive], label=f"{alive.sum()} {noun} in use", **outline)
    if dead.any():
        cross = {"marker": "X", "c": DEAD, "linewidths": 0, "zorder": 4}
        axes.scatter(*modes[dead].T, s=size[dead], label=f"{dead.sum()} dead", **cross)


def _reach(shown: np.ndarray, modes: np.ndarray) -> float:
    """Choose the half-width of the picture: it holds every mode and all but the outermost samples."""
    bulk = np.quantile(shown, [0.002, 0.998], axis=0) if len(shown) else modes[:0]
    corners = np.concatenate([bulk, modes])
    finite = corners[np.isfinite(corners).all(-1)]
    return 1.15 * max(np.abs(finite).max(initial=0.0), 1.0)


def draw_codes(codes: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw posterior means [N, L] of labelled images [N] along their first two principal components."""
    is_finite = np.isfinite(codes).all(-1)
    codes, labels = codes[is_finite], labels[is_finite]
    figure, axes = square()
    centre, basis = first_two_axes(codes)
    shown = (codes - centre) @ basis  # [N, 2]
    names = np.unique(labels)
    for name, colour in zip(names, label_colours(names), strict=True):
        points = shown[labels == name]
        axes.scatter(*points.T, s=5, color=colour, linewidths=0, label=str(name))
    axes.set(xlabel="principal component 1", ylabel="principal component 2", title="latent space by label")
    axes.set_aspect("equal", adjustable="datalim")
    if 1 < len(names) <= 12:
        axes.legend(markerscale=2.5, ncols=2, handletextpad=0.1, columnspacing=0.6)
    return figure
