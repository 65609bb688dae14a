"""The pictures of a study: density maps as small PNGs, and plots as SVG that takes the page's text colour.

A density map is one indexed PNG per cell rather than one big picture, so that each can be a link to its cell.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from sintro import SintroError
from sintro.report.figures import to_png
from sintro.report.results import read_arrays
from sintro.report.style import DENSITY_MAP, LINES, STYLE

MAP_PIXELS = 144
INK = "#010203"  # a colour nobody chooses: replaced by the page's own text colour
PALETTE = bytes((np.array(colormaps[DENSITY_MAP](np.arange(256)))[:, :3] * 255).round().astype(np.uint8).tobytes())
VECTOR = {
    **STYLE,
    "svg.fonttype": "none",
    "svg.hashsalt": "sintro",
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,  # a white box under text in the page's colour could not be read on a dark page
}


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """The bytes as a ``data:`` address, which a page carries in itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def map_png(intensity: np.ndarray, pixels: int = MAP_PIXELS) -> bytes:
    """A map [G, G] of values in [0, 1], axes (x1, x2) both rising, as an indexed PNG of ``pixels`` x ``pixels``."""
    grey = (np.clip(intensity, 0, 1) * 255).round().astype(np.uint8).T[::-1]
    image = Image.fromarray(grey).resize((pixels, pixels), Image.Resampling.BOX).convert("P")
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_map(points: np.ndarray, half_width: float, bins: int = 128) -> np.ndarray:
    """Real points [N, 2] as a smoothed histogram [bins, bins] in [0, 1], oriented as the maps of models are."""
    edges = np.linspace(-half_width, half_width, bins + 1)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(edges, edges))
    smooth = gaussian_filter(counts, 1.0)
    # A few crowded bins would leave the rest black: white is the level that the fullest 2% of the occupied bins pass.
    occupied = smooth[smooth > 0]
    return np.clip(smooth / np.quantile(occupied, 0.98), 0, 1) if occupied.size else smooth


def draw_grid(panels: Mapping[tuple[str, str], np.ndarray], rows: Sequence[str], columns: Sequence[str]) -> bytes:
    """The study's figure as one PNG: a map [G, G] per (row, column), blank with a dash where there is none."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.25 * len(columns) + 0.4, 1.25 * len(rows) + 0.35))
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                axes = grid[i, j]
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if (row, column) in panels:
                    axes.imshow(panels[row, column].T, origin="lower", cmap=DENSITY_MAP, vmin=0, vmax=1)
                else:
                    axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
                if i == 0:
                    axes.set_title(column.replace(" · ", "\n"), fontsize=8)
                if j == 0:
                    axes.set_ylabel(row, fontsize=8)
        return to_png(figure)


def to_svg(figure: Figure, described: str) -> str:
    """The figure as an inline SVG element with a text alternative; its ink is the page's text colour."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Ids name clip paths and markers by a hash of what they are, so equal ids are equal things; the others are noise.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    described = described.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{described}" ', 1)


def compact(svg: str) -> str:
    """The same picture in fewer bytes, for one of thousands of marks: a group's common style is said once."""

    def hoist(group: re.Match) -> str:
        styles = set(re.findall(r' style="([^"]*)"/>', group[2]))
        if len(styles) != 1:
            return group[0]
        return f'<g{group[1]} style="{styles.pop()}">' + re.sub(r' style="[^"]*"/>', "/>", group[2]) + "</g>"

    svg = re.sub(r"font-family: [^;\"]*", "font-family: 'DejaVu Sans', sans-serif", svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    svg = re.sub(r"<g((?: [^>]*)?)>\s*((?:<use [^>]*/>\s*)+)</g>", hoist, svg)
    return re.sub(r'( [xy]="-?\d+\.\d)\d+"', r'\1"', svg)


def draw_band(histories: Mapping[int, Mapping[str, np.ndarray]], names: Mapping[str, str], described: str) -> str:
    """Histories over seeds: the mean, and a band from the smallest to the largest, for every column in ``names``.

    Seeds may have been logged at different iterations: they are brought to those of the first by interpolation, and
    a seed that stopped early counts only as far as it went.
    """
    # Hundreds of these are drawn: fixed margins take half the time that a computed layout takes.
    with rc_context(VECTOR | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(3.1 * len(names), 2.4))
        figure.subplots_adjust(left=0.16 / len(names), right=0.985, bottom=0.2, top=0.9, wspace=0.25)
        for axes, (column, title) in zip(figure.subplots(1, len(names), squeeze=False)[0], names.items(), strict=True):
            longest = max((h["iteration"] for h in histories.values()), key=len, default=np.zeros(0))
            where = longest[:: max(1, len(longest) // 150)]
            lines = []
            for history in histories.values():
                values = history.get(column, np.zeros(0))
                kept = np.isfinite(values)
                if kept.any():
                    lines.append(np.interp(where, history["iteration"][kept], values[kept], left=np.nan, right=np.nan))
            axes.set(title=title, xlabel="iteration")
            axes.locator_params(nbins=3)  # every tick costs time
            if not lines:
                axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
                continue
            stack = np.stack(lines)  # [seeds, T]
            where, stack = where[np.isfinite(stack).any(0)], stack[:, np.isfinite(stack).any(0)]
            colour = LINES[1][0]
            axes.fill_between(where, np.nanmin(stack, 0), np.nanmax(stack, 0), color=colour, alpha=0.3, linewidth=0)
            axes.plot(where, np.nanmean(stack, 0), color=colour)
        return to_svg(figure, described)


def draw_ranks(ranks: Mapping[str, Mapping[str, float]], described: str) -> str:
    """Rank of every row (1 is best) across data sets: one line per row, named at its right end, best on top.

    ``ranks`` maps row -> {data set: rank}; a row without a rank on some data set has a gap there.
    """
    datasets = list(dict.fromkeys(name for row in ranks.values() for name in row))
    with rc_context(VECTOR):
        figure = Figure(figsize=(2.6 + 1.2 * len(datasets), 0.9 + 0.27 * len(ranks)))
        axes = figure.add_subplot()
        markers = "os^Dv<>PX*"
        ordered = sorted(ranks, key=lambda row: np.mean(list(ranks[row].values())) if ranks[row] else np.inf)
        for i, row in enumerate(ordered):
            values = [ranks[row].get(name, np.nan) for name in datasets]
            colour, dash = LINES[i % len(LINES)]
            if colour == LINES[0][0]:
                colour = INK  # nearly black would vanish on a dark page
            axes.plot(values, color=colour, linestyle=dash, marker=markers[i % len(markers)], markersize=5)
            if np.isfinite(values[-1]):
                axes.annotate(
                    row, (len(datasets) - 1, values[-1]), xytext=(9, -3), textcoords="offset points", fontsize=8.5
                )
        axes.set_xticks(range(len(datasets)), datasets)
        axes.set(ylabel="rank (1 is best)", xlim=(-0.15, len(datasets) - 0.85 + 0.15))
        axes.set_yticks(range(1, len(ranks) + 1))
        axes.invert_yaxis()
        return to_svg(figure, described)


def draw_against(series: Mapping[str, Sequence[tuple[float, float, float]]], x_name: str, y_name: str, described: str):
    """Lines of (x, mean, half-width) per series, such as a metric against the weight r -> str, an SVG element."""
    with rc_context(VECTOR):
        figure = Figure(figsize=(6.4, 2.8))
        axes = figure.add_subplot()
        positions = sorted({x for points in series.values() for x, _, _ in points})
        for i, (name, points) in enumerate(series.items()):
            colour, dash = LINES[i % len(LINES)]
            colour = INK if i % len(LINES) == 0 else colour
            x = np.array([positions.index(p[0]) for p in points]) + 0.04 * (i - len(series) / 2)
            axes.errorbar(
                x, [p[1] for p in points], [p[2] for p in points], color=colour, linestyle=dash,
                marker="os^Dv<>P"[i % 8], markersize=4, capsize=2, label=name,
            )  # fmt: skip
        axes.set_xticks(range(len(positions)), [f"{x:g}" for x in positions])
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_svg(figure, described)


def draw_contrasts(lines: Sequence[tuple[str, float, float | None, float | None]], better: str, described: str) -> str:
    """A forest plot: per line a name, an effect, and its interval (None where there are too few seeds)."""
    with rc_context(VECTOR):
        figure = Figure(figsize=(8.4, 0.7 + 0.22 * len(lines)))
        axes = figure.add_subplot()
        for i, (_, effect, low, high) in enumerate(lines):
            if low is not None and high is not None and np.isfinite([low, high]).all():
                axes.plot([low, high], [i, i], color=LINES[1][0], linewidth=1.5)
            axes.plot([effect], [i], marker="o", color=INK, markersize=4)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(lines)), [name for name, *_ in lines], fontsize=8)
        axes.set(xlabel=better, ylim=(len(lines) - 0.5, -0.5))
        return to_svg(figure, described)


def load_arrays(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of a cell that are there; nothing when the file cannot be read: a picture less, never a page."""
    try:
        return read_arrays(Path(folder) / "arrays.npz", names)
    except SintroError:
        return {}
