"""The papers' claims as they are written down: contrasts between cells, read from ``workflow/claims.yaml``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveFloat

from sintro import SintroError
from sintro.cells import studies, yamlfiles
from sintro.cells.components import datasets, suggestion
from sintro.metrics import METRICS
from sintro.runs.history import HISTORY

AXES = ("objective", "prior", "regularizers")
# What a contrast may compare beside the metrics.
DIVERGED = "diverged"
UNSTABLE = "unstable"  # diverged, or collapsed (sintro.metrics.collapse)
FINAL = "final:"  # the last value of the history's column that follows


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Entry):
    """Which cells: a pattern per axis, in which each * stands for any text."""

    objective: str = "*"
    prior: str = "*"
    regularizers: str = "*"

    def captures(self, row: Sequence[str]) -> tuple[str, ...] | None:
        """Read what the stars stand for in a row (objective, prior, regularizers); None when it does not match."""
        found: list[str] = []
        for axis, token in zip(AXES, row, strict=True):
            fixed = getattr(self, axis).split("*")
            pattern = "(.*)".join(map(re.escape, fixed))
            match = re.fullmatch(pattern, token)
            if match is None:
                return None
            found += match.groups()
        return tuple(found)


class Contrast(_Entry):
    """A metric of cells A against cells B or against a constant, and what the claim expects of A."""

    name: str
    metric: str
    expect: Literal["lower", "higher"]
    a: Side
    b: Side | None = None
    constant: FiniteFloat | None = None  # in the metric's stored unit, in place of b
    datasets: tuple[str, ...] | None = Field(None, min_length=1)
    margin: NonNegativeFloat = 0.0
    allowance: PositiveFloat | None = None  # A may be this much worse: the contrast is that it is not worse by more
    pool: Literal["mean", "spread"] | None = None

    def in_standard_form(self) -> "Contrast":
        """Take the same contrast by the metric's standard form, or itself where there is one form only."""
        standard = self.metric.removesuffix("_published")
        if standard not in METRICS:
            return self
        return self.model_copy(update={"metric": standard})


class Claim(_Entry):
    """What a paper says, and the contrasts that would show it. ``every``: it holds only where all of them do."""

    title: str
    source: str
    contrasts: tuple[Contrast, ...] = Field(min_length=1)
    every: bool = False

    def in_standard_form(self) -> "Claim":
        """Take the same claim by the standard forms of its metrics."""
        contrasts = tuple(contrast.in_standard_form() for contrast in self.contrasts)
        return self.model_copy(update={"contrasts": contrasts})


class ExactClaim(_Entry):
    """A claim on the game's equilibrium, judged on what ``sintro theory`` found instead of on cells."""

    title: str
    source: str


class ClaimFile(_Entry):
    """``workflow/claims.yaml``."""

    claims: dict[str, Claim]
    exact: dict[str, ExactClaim] = {}


def claims_file() -> Path:
    """Find the claims: beside the studies' folder."""
    return studies.folder().parent / "claims.yaml"


def load(path: Path | None = None) -> dict[str, Claim]:
    """Read the claims by name; none when there is no file.

    Raises SintroError for a bad entry: file, claim, contrast, value and what is legal, in one line.
    """
    path = path or claims_file()
    found = _read(path).claims
    for name, claim in found.items():
        for contrast in claim.contrasts:
            _check(contrast, f"{path}: claims.{name}: contrast {contrast.name!r}")
    return found


def load_exact() -> dict[str, ExactClaim]:
    """Read the claims that need no cells, by name; none when there is no file. Raises SintroError as ``load`` does."""
    return _read(claims_file()).exact


def _read(path: Path) -> ClaimFile:
    """Read the file; one without claims where there is none."""
    return yamlfiles.read(path, ClaimFile) if path.exists() else ClaimFile(claims={})


def _check(contrast: Contrast, where: str) -> None:
    """Refuse an unknown metric or data set, none or two things to compare with, and stars that cannot be matched."""
    _check_metric(contrast.metric, where)
    legal = datasets()
    for dataset in contrast.datasets or ():
        if dataset not in legal:
            raise SintroError(f"{where}: dataset {dataset!r} is not one of {', '.join(legal)}")
    if (contrast.b is None) == (contrast.constant is None):
        given = "both are" if contrast.b else "none is"
        raise SintroError(f"{where}: legal is either b (cells) or constant (a number), and {given} given")
    if contrast.allowance is not None and (contrast.margin or contrast.metric in (DIVERGED, UNSTABLE)):
        raise SintroError(f"{where}: allowance: legal without a margin, and not for {DIVERGED} and {UNSTABLE}")
    if contrast.b is not None:
        _check_stars(contrast, contrast.b, where)
    elif contrast.metric == DIVERGED:
        raise SintroError(
            f"{where}: {DIVERGED} is compared with cells b, not with a constant (McNemar's test needs pairs)"
        )


def _check_metric(metric: str, where: str) -> None:
    """Refuse a metric that is not defined, or that is neither better low nor high."""
    legal = [*METRICS, DIVERGED, UNSTABLE, *(FINAL + column for column in HISTORY)]
    if metric not in legal:
        raise SintroError(
            f"{where}: metric {metric!r} is not defined{suggestion(metric, legal)}; "
            f"legal are the names in sintro.metrics.METRICS, {DIVERGED}, {UNSTABLE}, and {FINAL}<column of history.csv>"
        )
    if metric in METRICS and METRICS[metric].direction == "half":
        raise SintroError(
            f"{where}: metric {metric} is best at 0.5, so neither lower nor higher is better; "
            "legal are the other names in sintro.metrics.METRICS"
        )


def _check_stars(contrast: Contrast, b: Side, where: str) -> None:
    """Refuse sides whose stars cannot stand for the same text, unless the cells are pooled."""
    if contrast.pool is not None:
        return
    for axis in AXES:
        in_a = getattr(contrast.a, axis).count("*")
        in_b = getattr(b, axis).count("*")
        if in_a != in_b:
            raise SintroError(
                f"{where}: {axis} has {in_a} * in a and {in_b} in b; "
                "legal are equally many, since a * stands for the same text in both"
            )
