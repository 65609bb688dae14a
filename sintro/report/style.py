"""What all pictures share: matplotlib's settings, lines and colour maps."""

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
