"""The report: what is said (`numbers`), what is drawn (`figures`) and what is written (`pages`), from result folders.

Nothing here trains or evaluates.
"""

from importlib import import_module
from typing import Any

__all__ = ["build", "draw_cell", "draw_theory"]

HOMES = {
    "build": ("sintro.report.pages.site", "build"),
    "draw_cell": ("sintro.report.figures.cell", "draw_cell"),
    "draw_theory": ("sintro.report.figures.theory", "draw"),
}


def __getattr__(name: str) -> Any:
    """Load what is re-exported when it is asked for: a cell's pictures need neither pandas nor the pages' templates."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = HOMES[name]
    return getattr(import_module(module), attribute)
