"""The report: what is said (`numbers`), what is drawn (`figures`) and what is written (`pages`), from result folders.

Nothing here trains or evaluates.
"""

from sintro.basics.lazy import reexport

__getattr__ = reexport(
    __name__,
    {
        "sintro.report.pages.site": ("build",),
        "sintro.report.figures.cell": ("draw_cell",),
        "sintro.report.figures.theory": ("draw_theory",),
    },
)
