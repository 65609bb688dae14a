"""The papers' claims as tests: contrasts between cells, read from ``workflow/claims.yaml``, and their verdicts.

A contrast compares cells A with cells B on every data set (a stratum), paired over common seeds by a t-test, or cells A
with a constant, such as what chance scores: then the test is the one-sample t-test over the seeds of A. Its strata
are combined by Stouffer's sum of normal scores, its two directions tested at 5% together, and the contrasts of a claim
corrected by Holm. So a claim about nothing gets a verdict other than inconclusive in at most 5% of the cases.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat
from scipy import stats

from sintro import SintroError, studies, yamlfiles
from sintro.cells import DATASETS, DENSITIES, suggestion
from sintro.history import HISTORY
from sintro.metrics import METRICS
from sintro.metrics.collapse import collapsed
from sintro.report.numbers.results import FINISHED, Result, read_history
from sintro.report.numbers.statistics import LEVEL, Comparison, compare_differences, holm, stouffer

VERDICTS = ("supported", "contradicted", "inconclusive", "not run")
AXES = ("objective", "prior", "regularizers")
DIVERGED = "diverged"
ENDED = (*FINISHED, "unreadable")  # a pair that one of these cells has no number for is lost; others are still to come
UNSTABLE = "unstable"  # diverged, or collapsed (sintro.metrics.collapse)
FINAL = "final:"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Entry):
    """Which cells: a pattern per axis, in which each * stands for any text."""

    objective: str = "*"
    prior: str = "*"
    regularizers: str = "*"

    def captures(self, row: Sequence[str]) -> tuple[str, ...] | None:
        """What the stars stand for in a row (objective, prior, regularizers); None when it does not match."""
        found: list[str] = []
        for axis, token in zip(AXES, row, strict=True):
            pattern = "(.*)".join(map(re.escape, getattr(self, axis).split("*")))
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
    pool: Literal["mean", "spread"] | None = None

    def in_standard_form(self) -> "Contrast":
        """The same contrast by the metric's standard form, or itself where there is one form only."""
        standard = self.metric.removesuffix("_published")
        return self.model_copy(update={"metric": standard}) if standard in METRICS else self


class Claim(_Entry):
    """What a paper says, and the contrasts that would show it."""

    title: str
    source: str
    contrasts: tuple[Contrast, ...] = Field(min_length=1)

    def in_standard_form(self) -> "Claim":
        """The same claim by the standard forms of its metrics."""
        return self.model_copy(update={"contrasts": tuple(c.in_standard_form() for c in self.contrasts)})


class ExactClaim(_Entry):
    """A claim on the game's equilibrium, judged on what ``sintro theory`` found instead of on cells."""

    title: str
    source: str


class ClaimFile(_Entry):
    """``workflow/claims.yaml``."""

    claims: dict[str, Claim]
    exact: dict[str, ExactClaim] = {}


def claims_file() -> Path:
    """Where the claims are: beside the studies' folder."""
    return studies.folder().parent / "claims.yaml"


def load(path: Path | None = None) -> dict[str, Claim]:
    """The claims by name; none when there is no file.

    Raises SintroError for a bad entry: file, claim, contrast, value and what is legal, in one line.
    """
    path = path or claims_file()
    if not path.exists():
        return {}
    found = yamlfiles.read(path, ClaimFile).claims
    for name, claim in found.items():
        for contrast in claim.contrasts:
            _check(contrast, f"{path}: claims.{name}: contrast {contrast.name!r}")
    return found


def load_exact(path: Path | None = None) -> dict[str, ExactClaim]:
    """The claims by name that need no cells; none when there is no file. Raises SintroError as :func:`load` does."""
    path = path or claims_file()
    return yamlfiles.read(path, ClaimFile).exact if path.exists() else {}


def _check(contrast: Contrast, where: str) -> None:
    """Refuse an unknown metric or data set, no or two things to compare with, and stars that cannot be matched."""
    legal = [*METRICS, DIVERGED, UNSTABLE, *(FINAL + column for column in HISTORY)]
    if contrast.metric not in legal:
        raise SintroError(
            f"{where}: metric {contrast.metric!r} is not defined{suggestion(contrast.metric, legal)}; "
            f"legal are the names in sintro.metrics.METRICS, {DIVERGED}, {UNSTABLE}, and {FINAL}<column of history.csv>"
        )
    if contrast.metric in METRICS and METRICS[contrast.metric].direction == "half":
        raise SintroError(
            f"{where}: metric {contrast.metric} is best at 0.5, so neither lower nor higher is better; "
            "legal are the other names in sintro.metrics.METRICS"
        )
    for dataset in contrast.datasets or ():
        if dataset not in DATASETS:
            raise SintroError(f"{where}: dataset {dataset!r} is not one of {', '.join(DATASETS)}")
    if (contrast.b is None) == (contrast.constant is None):
        given = "both are" if contrast.b else "none is"
        raise SintroError(f"{where}: legal is either b (cells) or constant (a number), and {given} given")
    if contrast.metric == DIVERGED and contrast.b is None:
        raise SintroError(
            f"{where}: {DIVERGED} is compared with cells b, not with a constant (McNemar's test needs pairs)"
        )
    for axis in AXES if contrast.b else ():
        stars = [getattr(side, axis).count("*") for side in (contrast.a, contrast.b)]
        if stars[0] != stars[1] and contrast.pool is None:
            raise SintroError(
                f"{where}: {axis} has {stars[0]} * in a and {stars[1]} in b; "
                "legal are equally many, since a * stands for the same text in both"
            )


@dataclass(frozen=True)
class Stratum:
    """One data set and one reading of the stars: the pairs over seeds, positive differences as the claim says."""

    label: str
    pairs: tuple[tuple[float, float], ...]  # (A, B)
    lost: int  # seeds that one side or both lack: diverged, missing, unreadable, not finite
    as_claimed: Comparison
    beyond_margin: Comparison

    @property
    def relative(self) -> tuple[float, float | None, float | None]:
        """Difference as the claim says, and its interval, in percent of B's mean."""
        base = abs(float(np.mean([b for _, b in self.pairs]))) / 100 if self.pairs else 0.0
        c = self.as_claimed
        if not base or not math.isfinite(base):
            return math.nan, None, None
        return c.difference / base, None if c.low is None else c.low / base, None if c.high is None else c.high / base


@dataclass
class Outcome:
    """What a contrast came to. ``state``: as claimed, against, undecided, too few seeds, not run."""

    contrast: Contrast
    strata: list[Stratum]
    p_for: float | None = None
    p_against: float | None = None
    adjusted: float | None = None
    state: str = "not run"

    @property
    def pairs(self) -> int:
        """How many pairs it rests on."""
        return sum(len(s.pairs) for s in self.strata)

    @property
    def lost(self) -> int:
        """How many pairs were lost to divergence or missing cells."""
        return sum(s.lost for s in self.strata)


@dataclass
class Verdict:
    """A claim's verdict on one study."""

    claim: Claim
    verdict: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many contrasts are in each state."""
        states = [outcome.state for outcome in self.outcomes]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most pairs of any data set and reading of the stars: (0, 0) where nothing ran."""
        found = [len(stratum.pairs) for outcome in self.outcomes for stratum in outcome.strata if stratum.pairs]
        return (min(found), max(found)) if found else (0, 0)


def value_of(result: Result, metric: str) -> float | None:
    """The number that a contrast compares; None when the cell has none."""
    if metric == DIVERGED:
        return {"done": 0.0, "diverged": 1.0}.get(result.state)
    if metric == UNSTABLE:
        covered = result.value("modes_covered")
        if result.state == "done" and covered is not None:
            return float(collapsed(result.cell.dataset, covered))
        return 1.0 if result.state == "diverged" else None
    if metric.startswith(FINAL):
        if result.state not in FINISHED:
            return None
        column = metric.removeprefix(FINAL)
        try:
            values = read_history(result.folder / "history.csv", {column}).get(column, np.zeros(0))
        except (OSError, SintroError):
            return None
        finite = values[np.isfinite(values)]
        return float(finite[-1]) if len(finite) else None
    return result.value(metric) if result.state == "done" else None


def _strata(contrast: Contrast, results: Iterable[Result]) -> list[Stratum]:
    """The pairs of every data set and reading of the stars that has cells on both sides."""
    sides: list[dict[tuple, dict[int, list[Result]]]] = [{}, {}]
    defined = METRICS[contrast.metric].datasets if contrast.metric in METRICS else ("2d", "images")
    defined = ("2d",) if contrast.metric == UNSTABLE else defined
    for result in results:
        kind = "2d" if result.cell.dataset in DENSITIES else "images"
        if kind not in defined or (contrast.datasets and result.cell.dataset not in contrast.datasets):
            continue
        for found, side in zip(sides, (contrast.a, contrast.b), strict=True):
            captures = side.captures(result.row) if side else None
            if captures is not None:
                captures = () if contrast.pool else captures
                found.setdefault((result.cell.dataset, captures), {}).setdefault(result.cell.seed, []).append(result)
    if contrast.constant is not None:
        sides[1] = sides[0]
    strata = [_stratum(contrast, key, sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]]
    return [stratum for stratum in strata if stratum is not None]


def _pooled(contrast: Contrast, cells: Sequence[Result]) -> float | None:
    """One number of the cells of a side and seed: the only cell's own, or over all of them their mean or spread.

    Diverged cells have no metric to pool; None where one is missing or unreadable, since a part is not the grid. The
    spread is the interquartile range.
    """
    values = [value_of(result, contrast.metric) for result in cells]
    if contrast.pool is None:
        return values[0]
    if any(result.state not in FINISHED for result in cells):
        return None
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return None
    low, high = np.quantile(finite, [0.25, 0.75])
    return float(np.mean(finite) if contrast.pool == "mean" else high - low)


def _stratum(
    contrast: Contrast, key: tuple, a: Mapping[int, list[Result]], b: Mapping[int, list[Result]]
) -> Stratum | None:
    sign = 1.0 if contrast.expect == "higher" else -1.0
    pairs, lost = [], 0
    for seed in sorted(set(a) & set(b)):
        values = [_pooled(contrast, side[seed]) for side in (a, b)]
        if contrast.constant is not None and values[0] is not None:
            values[1] = contrast.constant
        if all(v is not None and math.isfinite(v) for v in values):
            pairs.append((values[0], values[1]))
        elif any(result.state in ENDED for side in (a, b) for result in side[seed]):
            lost += 1
    if not pairs and not lost:
        return None
    differences = [sign * (x - y) for x, y in pairs]
    needed = contrast.margin * abs(float(np.mean([y for _, y in pairs]))) if pairs else 0.0
    label = " ".join([key[0], *(text for text in key[1] if text)])
    as_claimed = compare_differences(differences)
    beyond = compare_differences([d - needed for d in differences]) if needed else as_claimed
    return Stratum(label, tuple(pairs), lost, as_claimed, beyond)


def _test(contrast: Contrast, strata: Sequence[Stratum]) -> tuple[float | None, float | None]:
    """One-sided p-values of the whole contrast: that it is as claimed, and that it is against."""
    if contrast.metric == DIVERGED and contrast.pool is None:
        # Exact McNemar test: of the pairs in which one side diverged and the other did not, how many favour A?
        differing = [b - a if contrast.expect == "lower" else a - b for s in strata for a, b in s.pairs if a != b]
        favour = sum(d > 0 for d in differing)
        if len(differing) == 0:
            return None, None
        tests = [stats.binomtest(favour, len(differing), alternative=side).pvalue for side in ("greater", "less")]
        return float(tests[0]), float(tests[1])
    tested = [s for s in strata if s.as_claimed.p is not None and s.beyond_margin.p is not None]
    if not tested:
        return None, None
    above = stouffer([s.beyond_margin.p_above for s in tested])
    return above, stouffer([s.as_claimed.p_below for s in tested])


def examine(contrast: Contrast, results: Iterable[Result]) -> Outcome:
    """Evaluate one contrast; its adjusted p-value and state are the claim's to give."""
    outcome = Outcome(contrast, _strata(contrast, results))
    if outcome.pairs:
        outcome.p_for, outcome.p_against = _test(contrast, outcome.strata)
        outcome.state = "too few seeds" if outcome.p_for is None else "undecided"
        if outcome.p_for is None and contrast.metric == DIVERGED:
            outcome.state = "undecided"  # both sides did alike in every pair
    return outcome


def judge(claim: Claim, results: Sequence[Result]) -> Verdict:
    """A claim's verdict on the results of one study.

    supported: at least half of the contrasts that ran came out as claimed, none against; contradicted: the reverse.
    """
    outcomes = [examine(contrast, results) for contrast in claim.contrasts]
    two_sided = [None if o.p_for is None else min(1.0, 2 * min(o.p_for, o.p_against)) for o in outcomes]
    for outcome, adjusted in zip(outcomes, holm(two_sided), strict=True):
        outcome.adjusted = adjusted
        if adjusted is not None and adjusted < LEVEL:
            outcome.state = "as claimed" if outcome.p_for < outcome.p_against else "against"
    ran = [o for o in outcomes if o.pairs]
    favour, against = (sum(o.state == state for o in ran) for state in ("as claimed", "against"))
    verdict = "not run" if not ran else "inconclusive"
    if favour and not against and 2 * favour >= len(ran):
        verdict = "supported"
    elif against and not favour and 2 * against >= len(ran):
        verdict = "contradicted"
    return Verdict(claim, verdict, outcomes)
