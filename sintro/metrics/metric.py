"""The form of a metric's definition, for the table in :mod:`sintro.metrics`."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "half", "none"]
Form = Literal["published", "standard", "both", "mixed"]

SOFT = "Daniel & Tamar 2021"
PRIOR = "Athanasiadis et al. 2025"
SECTION = "docs/science.md, section 7"
PUBLISHED = f"{PRIOR}, released code; {SECTION}"
EVERY = ("2d", "images")
MODES, LABELS = "a prior with modes", "labels"  # what some metrics need
PERCEPTUAL = "photographs in colour, or rendered images like them"  # what LPIPS needs


@dataclass(frozen=True)
class Metric:
    """A number in a cell's ``metrics.json``.

    ``direction``: which way is better ("half": the closer to 1/2; "none": a state, not a quality).
    ``form``: "published" for the computation of the papers' released code, "standard" for the literature's meaning of
    the name, "both" where the two agree, "mixed" for one published convention beside a standard one, which tells the
    effects of the two apart. ``source``: the paper or document that defines it.
    ``display_scale``: the factor between the stored value and the shown one, whose unit is ``unit``.
    ``datasets``: the data that it is defined for, of "2d" and "images". ``needs``: what not every cell with such data
    has, without which the metric is not measured. ``version``: of the definition; it grows when the computed value
    changes. Pages show "evaluate again" for a value of an older version, and for one that an evaluation of today would
    have measured.
    """

    name: str
    label: str
    definition: str
    unit: str
    direction: Direction
    form: Form = "standard"
    source: str = SECTION
    display_scale: float = 1.0
    datasets: tuple[str, ...] = ("2d",)
    needs: str = ""
    version: int = 1

    def ranked(self, value: float) -> float:
        """Return the key that ranks values: the value, or its distance from 1/2 where that is best; NaN stays NaN."""
        return abs(value - 0.5) if self.direction == "half" else value

    @property
    def lower_is_better(self) -> bool | None:
        """Whether the better of two values has the lower key; None where neither direction is better."""
        return {"lower": True, "half": True, "higher": False}.get(self.direction)
