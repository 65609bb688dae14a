"""The rule for a collapsed 2D run. Imports no torch: pages and claims apply it to the stored ``modes_covered``."""

from sintro.cells.components import dataset as find

COLLAPSED_SHARE = 0.5


def collapsed(dataset: str, modes_covered: float) -> bool:
    """Whether samples that cover ``modes_covered`` of the density's parts cover no more than half of them.

    ``metrics.density.mode_coverage`` defines a covered part. The threshold of one half is this suite's own: the papers
    speak of mode collapse without a threshold. NaN counts as collapsed.
    """
    return not modes_covered > COLLAPSED_SHARE * find(dataset).labels
