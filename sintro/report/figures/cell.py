"""The pictures of one cell and of a study, drawn with matplotlib from plain arrays; nothing here imports torch.

A cell's five pictures are drawn from what its folder keeps: ``arrays.npz``, ``history.csv`` and ``cell.json``. Colours
are ordered by lightness and every line has its own dash: the pictures can be read in grey and by colour-blind people.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from sintro import SintroError, results
from sintro.cells import DATASETS
from sintro.report.figures import image_cell
from sintro.report.figures.detection import ood_figure
from sintro.report.figures.style import DENSITY_MAP, HALF_WIDTH, LINES, STYLE, label_colours, relative_density, to_png
from sintro.report.numbers.results import read_arrays, read_history
from sintro.runs import write_atomic

CELL_FIGURES = ("data.png", "samples.png", "density.png", "latent.png", "history.png")
SETS = {
    "data": "data",
    "samples": "samples",
    "reconstructions": "reconstructions",
    "mode_images": "the prior's modes, by falling weight",
}
DEAD = "#d1495b"
MOST_POINTS = 4000


def mean_responsibilities(
    latent: np.ndarray, means: np.ndarray, log_vars: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """a_k, the mean responsibility of each mode over latent samples z [N, L] -> [K] (docs/science.md, section 2).

    Modes with a_k < 1 / K^2 are called dead.
    """
    z = latent[:, None, :]  # [N, 1, L]
    log_joint = -0.5 * (((z - means) ** 2) * np.exp(-log_vars) + log_vars).sum(-1)  # [N, K]
    log_joint = log_joint + np.log(np.maximum(weights, np.finfo(np.float64).tiny))
    log_joint -= log_joint.max(-1, keepdims=True)
    joint = np.exp(log_joint)
    return (joint / joint.sum(-1, keepdims=True)).mean(0)


def first_two_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre [L] and the two orthonormal axes [L, 2] a latent space is shown along.

    With two dimensions they are the dimensions themselves; with more, the first two principal components.
    """
    dimensions = points.shape[1]
    if dimensions == 2:
        return np.zeros(2), np.eye(2)
    centre = points.mean(0)
    _, _, axes = np.linalg.svd(points - centre, full_matrices=False)
    return centre, axes[:2].T


def _square(size: float = 4.0):
    # A bare Figure belongs to nobody: unlike pyplot's, it is gone when the function returns.
    figure = Figure(figsize=(size, size))
    return figure, figure.add_subplot()


def _frame_plane(axes, half_width: float) -> None:
    axes.set(xlim=(-half_width, half_width), ylim=(-half_width, half_width), xlabel="$x_1$", ylabel="$x_2$")
    axes.set_aspect("equal")
    axes.locator_params(nbins=5)


def draw_points(points: np.ndarray, colours, half_width: float, title: str) -> Figure:
    """A scatter plot of points [N, 2] in the data's plane; says how many lie outside of it."""
    figure, axes = _square()
    _frame_plane(axes, half_width)
    finite = np.isfinite(points).all(-1)
    outside = int((~finite).sum() + (np.abs(points[finite]) > half_width).any(-1).sum())
    shown = slice(0, MOST_POINTS)
    axes.scatter(points[shown, 0], points[shown, 1], s=2.5, c=colours, linewidths=0)
    axes.set_title(title + (f" ({outside:,} of {len(points):,} outside)" if outside else ""))
    return figure


def draw_density(energy: np.ndarray, half_width: float) -> Figure:
    """The map of exp(-(e - min e)) for energies [G, G] on the grid: axes (x1, x2), both rising."""
    figure, axes = _square()
    _frame_plane(axes, half_width)
    extent = (-half_width, half_width, -half_width, half_width)
    image = axes.imshow(relative_density(energy).T, origin="lower", extent=extent, cmap=DENSITY_MAP, vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.75, aspect=30, label="density relative to its peak")
    axes.set_title("exp(−energy)")
    return figure


def draw_latent(latent: np.ndarray, labels: np.ndarray, means: np.ndarray, log_vars: np.ndarray, weights) -> Figure:
    """Aggregate posterior by label, and the prior's modes over it: discs sized by weight, crosses where dead.

    Each mode's ellipse is one standard deviation. latent [N, L], labels [N], means and log_vars [K, L], weights [K].
    """
    figure, axes = _square()
    finite = np.isfinite(latent).all(-1)
    latent, labels = latent[finite][:MOST_POINTS], labels[finite][:MOST_POINTS]
    components = len(means)
    dead = np.zeros(components, dtype=bool)
    if components > 1 and len(latent):
        dead = mean_responsibilities(latent, means, log_vars, weights) < 1 / components**2
    centre, basis = first_two_axes(latent if latent.shape[1] != 2 and len(latent) > 2 else np.zeros((1, 2)))
    shown, modes = (latent - centre) @ basis, (means - centre) @ basis  # [N, 2], [K, 2]
    deviations = np.sqrt(np.exp(log_vars) @ basis**2)  # [K, 2], along the axes shown
    axes.scatter(shown[:, 0], shown[:, 1], s=2.5, c=label_colours(labels), linewidths=0, zorder=1)
    axes.add_collection(
        EllipseCollection(
            2 * deviations[:, 0], 2 * deviations[:, 1], np.zeros(components), units="xy", offsets=modes,
            offset_transform=axes.transData, facecolors="none", edgecolors="#555555", linewidths=0.6, alpha=0.4,
        )
    )  # fmt: skip
    alive = ~dead
    plural = "mode" if alive.sum() == 1 else "modes"
    size = 20 + 300 * weights / max(weights.max(), 1e-12) / np.sqrt(components)
    outline = {"edgecolors": "black", "linewidths": 1.0, "zorder": 3}
    axes.scatter(*modes[alive].T, s=size[alive], facecolors="white", label=f"{alive.sum()} {plural} in use", **outline)
    if dead.any():
        crosses = {"marker": "X", "c": DEAD, "linewidths": 0, "zorder": 4}
        axes.scatter(*modes[dead].T, s=size[dead], label=f"{dead.sum()} dead", **crosses)
    both = np.concatenate([np.quantile(shown, [0.002, 0.998], axis=0) if len(shown) else modes[:0], modes])
    reach = 1.15 * max(np.abs(both[np.isfinite(both).all(-1)]).max(initial=0.0), 1.0)
    named = "$z_{}$" if latent.shape[1] == 2 else "principal component {}"
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel=named.format(1), ylabel=named.format(2))
    axes.set_aspect("equal")
    axes.set_title("latent space")
    axes.legend(loc="upper right", borderpad=0.1, handletextpad=0.3)
    return figure


def draw_codes(codes: np.ndarray, labels: np.ndarray) -> Figure:
    """Posterior means [N, L] of labelled images [N] along their first two principal components."""
    finite = np.isfinite(codes).all(-1)
    codes, labels = codes[finite], labels[finite]
    figure, axes = _square()
    centre, basis = first_two_axes(codes) if len(codes) > 2 else (0.0, np.eye(codes.shape[1])[:, :2])
    shown = (codes - centre) @ basis  # [N, 2]
    names = np.unique(labels)
    for name, colour in zip(names, label_colours(names), strict=True):
        chosen = labels == name
        axes.scatter(*shown[chosen].T, s=5, color=colour, linewidths=0, label=str(name))
    axes.set(xlabel="principal component 1", ylabel="principal component 2", title="latent space by label")
    axes.set_aspect("equal", adjustable="datalim")
    if 1 < len(names) <= 12:
        axes.legend(markerscale=2.5, ncols=2, handletextpad=0.1, columnspacing=0.6)
    return figure


OF = {"": "real", "_fake": "fake", "_reconstructed": "recon."}
HISTORY_PANELS = (
    ("losses", {"loss_encoder": "encoder", "loss_decoder": "decoder"}),
    ("reconstruction", {f"reconstruction{of}": name for of, name in OF.items()}),
    ("KL", {f"kl{of or '_real'}": name for of, name in OF.items()}),
)


def draw_history(history: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Losses, reconstruction and KL against the iteration; the warm-up is shaded."""
    figure = Figure(figsize=(8.2, 2.7))
    iteration = history.get("iteration", np.zeros(0))
    introspective = history.get("phase", np.ones_like(iteration)) == 1
    for axes, (name, lines) in zip(figure.subplots(1, len(HISTORY_PANELS)), HISTORY_PANELS, strict=True):
        present = [(history[c], label) for c, label in lines.items() if c in history and np.isfinite(history[c]).any()]
        for (values, label), (colour, dash) in zip(present, LINES, strict=False):
            axes.plot(iteration, values, color=colour, linestyle=dash, label=label)
        found = np.concatenate([v[np.isfinite(v)] for v, _ in present]) if present else np.zeros(1)
        if found.min() > 0 and found.max() > 20 * found.min():
            axes.set_yscale("log")
        if len(iteration) and not introspective.all() and introspective.any():
            axes.axvspan(iteration[0], iteration[introspective][0], color="#888888", alpha=0.15, linewidth=0)
        axes.set(title=name, xlabel="iteration")
        axes.margins(x=0.01)
        thousands = len(iteration) and iteration[-1] >= 5000
        axes.xaxis.set_major_formatter(lambda v, _, k=thousands: f"{v / 1000:g}k" if k and v else f"{v:g}")
        axes.xaxis.get_major_locator().set_params(nbins=5)
        if present:
            axes.legend(loc="best", handlelength=2.2, labelspacing=0.2)
        else:
            axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def draw_images(images: np.ndarray, title: str, most: int = 64) -> Figure:
    """A sheet of images [N, C, H, W] in [0, 1], eight in a row."""
    images = np.clip(np.nan_to_num(np.asarray(images[:most], dtype=np.float32)), 0, 1)
    count, channels, height, width = images.shape
    rows = -(-count // 8)
    sheet = np.ones((rows * 8, height + 2, width + 2, channels), dtype=np.float32)
    sheet[:count, 1:-1, 1:-1] = images.transpose(0, 2, 3, 1)
    sheet = sheet.reshape(rows, 8, height + 2, width + 2, channels).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + 2), 8 * (width + 2), channels)
    figure, axes = _square()
    axes.imshow(sheet if channels == 3 else sheet[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    return figure


def _draw_sets(arrays: Mapping[str, np.ndarray], dataset: str) -> dict[str, Callable[[], Figure]]:
    """The pictures that come from arrays.npz, as functions that draw them: only those whose arrays are there."""
    drawn: dict[str, Callable[[], Figure]] = {}
    for name, title in SETS.items():
        if name not in arrays:
            continue
        values = arrays[name]
        if values.ndim == 4:
            drawn[f"{name}.png"] = lambda v=values, t=title: draw_images(v, t)
            continue
        coloured = name == "data" and "labels" in arrays
        colours = label_colours(arrays["labels"])[:MOST_POINTS] if coloured else LINES[0][0]
        drawn[f"{name}.png"] = lambda v=values, c=colours, n=name: draw_points(v, c, HALF_WIDTH[dataset], n)
    if "energy" in arrays:
        drawn["density.png"] = lambda: draw_density(arrays["energy"], HALF_WIDTH[dataset])
    if "latent" in arrays and "prior_means" in arrays:
        labels = arrays.get("labels", np.zeros(0))
        latent = arrays["latent"]
        labels = labels if len(labels) == len(latent) else np.zeros(len(latent))
        prior = [np.asarray(arrays[f"prior_{part}"], np.float64) for part in ("means", "log_vars", "weights")]
        drawn["latent.png"] = lambda: draw_latent(np.asarray(latent, np.float64), labels, *prior)
    elif "codes" in arrays:
        drawn["latent.png"] = lambda: draw_codes(np.asarray(arrays["codes"], np.float64), arrays["code_labels"])
    if any(name.startswith("ood_inside_") for name in arrays):
        drawn["ood.png"] = lambda: ood_figure(arrays)
    return drawn


def draw_cell(folder: Path) -> list[Path]:
    """Draw every picture a cell's folder has the numbers for, each written whole or not at all -> the paths written.

    A picture whose numbers are gone, as a diverged cell's are, is removed.

    Raises SintroError when ``cell.json``, ``metrics.json``, ``history.csv`` or ``arrays.npz`` cannot be read.
    """

    folder = Path(folder)
    record = results.read(folder, results.CellFile)
    if record is None or record.cell.get("dataset") not in DATASETS:
        raise SintroError(f"{folder / 'cell.json'} does not name the cell's data set")
    arrays = read_arrays(folder / "arrays.npz") if (folder / "arrays.npz").exists() else {}
    stored = results.read(folder, results.Metrics)
    metrics = stored.content() if stored else {}
    written = []
    with rc_context(STYLE):
        pictures = _draw_sets(arrays, record.cell["dataset"])
        pictures |= image_cell.drawn(arrays, record.content(), metrics)
        if (folder / "history.csv").exists():
            pictures["history.png"] = lambda: draw_history(read_history(folder / "history.csv"))
        for name, draw in pictures.items():
            write_atomic(folder / name, to_png(draw()))
            written.append(folder / name)
    for name in {*CELL_FIGURES, "ood.png", *(f"{name}.png" for name in SETS), *image_cell.NAMES} - set(pictures):
        (folder / name).unlink(missing_ok=True)  # of an earlier run that got further
    return written
