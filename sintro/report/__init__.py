"""The report: what is said (`numbers`), what is drawn (`figures`) and what is written (`pages`), from result folders.

Nothing here trains or evaluates.
"""

from sintro.report.figures.cell import draw_cell
from sintro.report.figures.theory import draw as draw_theory
from sintro.report.pages.site import build

__all__ = ["build", "draw_cell", "draw_theory"]
