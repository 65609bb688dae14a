"""When a 2D run counts as collapsed. Imports no torch: pages and claims decide it from the stored ``modes_covered``."""

from sintro.cells.components import dataset as find

COLLAPSED_SHARE = 0.5


def collapsed(dataset: str, modes_covered: float) -> bool:
    """Whether samples that cover so many of the density's parts cover no more than half of them.

    A part is covered as ``metrics.density.mode_coverage`` says. The threshold of one half is this suite's: the papers
    speak of mode collapse without one. A count that is not a number is no sign of health: collapsed.
    """
    return not modes_covered > COLLAPSED_SHARE * find(dataset).labels
