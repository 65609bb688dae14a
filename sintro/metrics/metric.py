"""The form of a metric's definition: what :mod:`sintro.metrics` puts into its one table."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "half", "none"]
Form = Literal["published", "standard", "both", "mixed"]

SOFT = "Daniel & Tamar 2021"
PRIOR = "Athanasiadis et al. 2025"
SECTION = "docs/science.md, section 7"
PUBLISHED = f"{PRIOR}, released code; {SECTION}"
EVERY = ("2d", "images")


@dataclass(frozen=True)
class Metric:
    """A number in a cell's ``metrics.json``.

    ``direction``: which way is better ("half": the closer to 1/2; "none": a state, not a quality).
    ``form``: "published" is what the released code of the papers computes, "standard" what the literature means by the
    name, "both" where the two agree, "mixed" one published convention with another standard one, to tell the effects of
    the two apart.
    ``display_scale``: the stored value is multiplied by it before it is shown; ``unit`` is the unit shown.
    ``datasets``: for which data it is defined, of "2d" and "images". ``version``: of the definition; it grows when the
    value that is computed changes, and a value of an older version is shown as "evaluate again".
    """

    name: str
    label: str
    definition: str
    unit: str
    direction: Direction
    form: Form
    source: str
    display_scale: float = 1.0
    datasets: tuple[str, ...] = ("2d",)
    version: int = 1

    def ranked(self, value: float) -> float:
        """What values are ranked by: the value, or its distance from 1/2 where that is best; NaN stays NaN."""
        return abs(value - 0.5) if self.direction == "half" else value

    @property
    def lower_is_better(self) -> bool | None:
        """Whether the better of two values is ranked lower; None for a quantity that is neither better low nor high."""
        return {"lower": True, "half": True, "higher": False}.get(self.direction)
