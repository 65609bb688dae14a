"""What all pictures share: matplotlib's settings, lines and colour maps."""

import base64
import io
import re
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.3,
    "legend.framealpha": 0.7,
    "legend.edgecolor": "none",
    "legend.fontsize": 8.5,
    "path.simplify_threshold": 1.0,
}
# From dark to light, so that they keep their order in grey; each goes with its own dash.
LINES = (("#00224e", "-"), ("#c1440e", "--"), ("#2a7f62", "-."), ("#8f8f8f", ":"), ("#b58900", (0, (5, 1))))
DENSITY_MAP = "magma"
LABEL_MAP = "viridis"
INK = "#010203"  # a colour nobody chooses: replaced by the page's own text colour
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


def data_uri(png: bytes) -> str:
    """Spell a PNG as a ``data:`` address, which a page carries in itself."""
    text = base64.b64encode(png).decode("ascii")
    return f"data:image/png;base64,{text}"


def to_svg(figure: Figure, described: str) -> str:
    """Draw the figure as an inline SVG element with a text alternative; its ink is the page's text colour."""
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
    """Write a picture of thousands of marks in fewer bytes: the common style of a group is said once."""

    def hoist(group: re.Match) -> str:
        styles = set(re.findall(r' style="([^"]*)"/>', group[2]))
        if len(styles) != 1:
            return group[0]
        bare = re.sub(r' style="[^"]*"/>', "/>", group[2])
        return f'<g{group[1]} style="{styles.pop()}">{bare}</g>'

    svg = re.sub(r"font-family: [^;\"]*", "font-family: 'DejaVu Sans', sans-serif", svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    svg = re.sub(r"<g((?: [^>]*)?)>\s*((?:<use [^>]*/>\s*)+)</g>", hoist, svg)
    return re.sub(r'( [xy]="-?\d+\.\d)\d+"', r'\1"', svg)


def in_range(images: np.ndarray) -> np.ndarray:
    """Bring images into [0, 1]; NaN becomes black."""
    finite = np.nan_to_num(np.asarray(images, dtype=np.float32))
    return np.clip(finite, 0, 1)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Turn values in [0, 1] into bytes."""
    return (values * 255).round().astype(np.uint8)


def small_png(image: Image.Image) -> bytes:
    """Write a picture as a PNG of as few bytes as PNG takes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def label_colours(labels: np.ndarray) -> np.ndarray:
    """Choose a colour per label, evenly spaced along a map whose lightness only rises: [N] -> [N, 4]."""
    names, index = np.unique(labels, return_inverse=True)
    places = np.linspace(0.0, 0.9, len(names))
    return colormaps[LABEL_MAP](places)[index]


def ink_or_line(index: int) -> tuple[str, Any]:
    """Choose colour and dash of the i-th line of a plot on a page; the darkest colour gives way to the page's ink."""
    colour, dash = LINES[index % len(LINES)]
    return (INK if colour == LINES[0][0] else colour), dash


def relative_density(energy: np.ndarray) -> np.ndarray:
    """Compute exp(-(e - min e)) in [0, 1], the density relative to its peak, of energies e; what is not finite is 0."""
    energy = np.asarray(energy, dtype=np.float64)
    is_finite = np.isfinite(energy)
    density = np.zeros_like(energy)
    if is_finite.any():
        finite = energy[is_finite]
        density[is_finite] = np.exp(finite.min() - finite)
    return density


def to_png(figure: Figure) -> bytes:
    """Draw the figure as PNG, the same bytes for the same picture (no date, no version)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    buffer = io.BytesIO()
    # 256 colours are all these pictures have, save for blended edges: a third of the size.
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, format="PNG")
    return buffer.getvalue()


def square(size: float = 4.0) -> tuple[Figure, Axes]:
    """Make a square figure and its axes."""
    # A bare Figure belongs to nobody: unlike pyplot's, it is gone when the function returns.
    figure = Figure(figsize=(size, size))
    return figure, figure.add_subplot()


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Show an image [C, H, W] in [0, 1], without ticks or frame."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
