"""Cells, each one training run and its evaluation, and the bijection between cells and the paths of their folders.

    results/<study>/<dataset>/<objective>/<prior>/<regularizers>/seed<k>

Every part has exactly one spelling, so that two different paths are never the same run. Nothing here imports torch:
the Snakefile reads thousands of paths before it starts.
"""

import math
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from sintro import SintroError
from sintro.cells import components
from sintro.cells.components import Betas, Dataset, Objective, Prior, PriorSpec, spell, suggestion
from sintro.cells.components.spelling import decimal, whole

RESULTS = "results"
NO_STUDIES = (RESULTS, "theory", "features")  # folders of other results
PARTS = ("study", "dataset", "objective", "prior", "regularizers", "seed")
SHAPE = f"{RESULTS}/<study>/<dataset>/<objective>/<prior>/<regularizers>/seed<k>"
SEED_LIMIT = 2**32

LEGAL_REGULARIZERS = "none, clip, respR, clip-respR (R a number, as in resp10)"


class RegularizerSpec(NamedTuple):
    """Adaptive variance clipping or not, and the weight r of responsibility regularisation."""

    clip: bool = False
    responsibility: float = 0.0


class Cell(BaseModel):
    """One training run and its evaluation: six names, checked when it is made.

    Raises SintroError, which names the bad part and the legal values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    study: str
    dataset: str
    objective: str
    prior: str
    regularizers: str
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_study_name(self.study)
        dataset = components.dataset(self.dataset)
        _, objective, prior = self.components
        _check_combination(self, objective, prior, parse_regularizers(self.regularizers))
        _check_data(self, dataset, objective, self.prior_spec)
        if not 0 <= self.seed < SEED_LIMIT:
            raise SintroError(f"seed {self.seed} is not a whole number from 0 to {SEED_LIMIT - 1}")
        return self

    @classmethod
    def from_path(cls, path: str | Path) -> "Cell":
        """Read the path of a cell's folder; the last ``results`` in it is taken as the root of the results."""
        given = str(path)
        parts = PurePosixPath(given).parts
        if RESULTS not in parts:
            raise SintroError(f"{given!r} is not a cell's path: it has no folder {RESULTS!r} in it; legal is {SHAPE}")
        names = parts[len(parts) - parts[::-1].index(RESULTS) :]
        if len(names) != len(PARTS):
            missing = f", <{'>, <'.join(PARTS[len(names) :])}> missing" if len(names) < len(PARTS) else ""
            surplus = f", {'/'.join(names[len(PARTS) :])!r} is too much" if len(names) > len(PARTS) else ""
            raise SintroError(
                f"{given!r} is not a cell's path: {len(names)} parts after {RESULTS}/ instead of {len(PARTS)}"
                f"{missing}{surplus}; legal is {SHAPE}"
            )
        try:
            return cls(**dict(zip(PARTS[:-1], names[:-1], strict=True)), seed=parse_seed(names[-1]))
        except SintroError as error:
            raise SintroError(f"{given!r}: {error}") from None

    @property
    def path(self) -> str:
        """The cell's folder, relative to where the suite runs, without a trailing slash."""
        return "/".join((RESULTS, self.study, *self.axes, f"seed{self.seed}"))

    @property
    def axes(self) -> tuple[str, str, str, str]:
        """The axes of comparison: dataset, objective, prior, regularizers (not the study and the seed)."""
        return self.dataset, self.objective, self.prior, self.regularizers

    @property
    def objective_name(self) -> str:
        """The objective without betas."""
        return components.parse_objective(self.objective)[0]

    @property
    def betas(self) -> Betas | None:
        """The betas in the path; None where the study or the preset decides."""
        return components.parse_objective(self.objective)[1]

    @property
    def margin(self) -> float | None:
        """IntroVAE's margin m in nats; None where the path has none."""
        return components.parse_objective(self.objective)[2]

    @property
    def prior_spec(self) -> PriorSpec:
        """The prior's name, read."""
        return components.parse_prior(self.prior)

    @property
    def data(self) -> Dataset:
        """The data set."""
        return components.dataset(self.dataset)

    @property
    def components(self) -> tuple[Dataset, Objective, Prior]:
        """The data set, the objective and the prior."""
        return self.data, components.objective(self.objective_name), components.prior(self.prior_spec.kind)

    @property
    def regularizer_spec(self) -> RegularizerSpec:
        """The regularizers' name, read."""
        return parse_regularizers(self.regularizers)


def objective_token(name: str, betas: Betas | None = None, margin: float | None = None) -> str:
    """Spell an objective as paths do: `soft-introvae-rec0.2-kl0.3-neg0.9`, `introvae-rec0.2-kl0.3-neg1-margin10`."""
    if betas is None:
        return name
    negative = "" if betas.neg is None else f"-neg{spell(betas.neg)}"
    hinge = "" if margin is None else f"-margin{spell(margin)}"
    return f"{name}-rec{spell(betas.rec)}-kl{spell(betas.kl)}{negative}{hinge}"


def check_study_name(name: str) -> None:
    """Refuse a study name that could not stand in a path."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in NO_STUDIES:
        raise SintroError(
            f"study {name!r}: legal are lower-case letters, digits, - and _, beginning with a letter, "
            f"and not {', '.join(NO_STUDIES)}"
        )


def parse_seed(token: str) -> int:
    """Read `seed3` -> 3. Raises SintroError."""
    if not token.startswith("seed"):
        raise SintroError(f"seed {token!r} is not of the form seed<k>, such as seed0")
    return whole(token.removeprefix("seed"), "seed")


@lru_cache(maxsize=4096)
def parse_regularizers(token: str) -> RegularizerSpec:
    """Read `clip-resp10` -> variance clipping, responsibility weight 10. Raises SintroError."""
    if token == "none":
        return RegularizerSpec()
    match = re.fullmatch(r"(?P<clip>clip)?(?P<dash>-)?(?P<resp>resp(?P<weight>[^a-z]*))?", token)
    if match is None or not token or bool(match["dash"]) != bool(match["clip"] and match["resp"]):
        legal = ("none", "clip", "resp10", "clip-resp10")
        raise SintroError(f"regularizers {token!r} is not one of {LEGAL_REGULARIZERS}{suggestion(token, legal)}")
    weight = decimal(match["weight"], f"regularizers {token!r}: the weight") if match["resp"] else 0.0
    return RegularizerSpec(bool(match["clip"]), weight)


def _check_combination(cell: Cell, objective: Objective, prior: Prior, regularizers: RegularizerSpec) -> None:
    """Refuse parts that are legal alone but mean nothing together. The error gives the reason."""
    if reason := objective.why_not(prior) or prior.why_not(objective):
        raise SintroError(f"prior {cell.prior!r} with objective {cell.objective!r}: {reason}")
    if regularizers.clip and not (prior.clips and cell.prior_spec.learned):
        raise SintroError(
            f"regularizers {cell.regularizers!r} with prior {cell.prior!r}: clipping bounds the variances "
            "of a learned mixture and needs one (mogK-learned)"
        )
    if regularizers.clip and not objective.introspective:
        raise SintroError(
            f"regularizers {cell.regularizers!r} with {cell.objective}: clipping begins when the warm-up ends, and is "
            "for introspective runs only"
        )
    if regularizers.responsibility and not (objective.introspective and prior.has_modes):
        raise SintroError(
            f"regularizers {cell.regularizers!r} with {cell.objective}, {cell.prior}: responsibilities are "
            "regularised in introspective runs with a mixture prior only"
        )


def _check_data(cell: Cell, dataset: Dataset, objective: Objective, prior: PriorSpec) -> None:
    """Refuse an objective that this kind of data cannot serve, and a prior with more components than there are data."""
    if objective.needs_epochs and dataset.kind == "2d":
        raise SintroError(
            f"objective {cell.objective!r} with dataset {cell.dataset!r}: the target decoder lags by an epoch, and a "
            f"density has no epochs; legal are {', '.join(components.datasets('images'))}"
        )
    if objective.needs_factors and not dataset.has_factors:
        legal = ", ".join(name for name, one in components.datasets("images").items() if one.has_factors)
        raise SintroError(
            f"objective {cell.objective!r} with dataset {cell.dataset!r}: it needs images with a class and a content; "
            f"legal are {legal}"
        )
    try:
        size = dataset.size if prior.components else math.inf
    except SintroError:  # the images of an extension are not on this machine; the cell's name is legal all the same
        return
    if prior.components and prior.components > size:
        raise SintroError(
            f"prior {cell.prior!r}: {prior.components} components, but {cell.dataset} has only "
            f"{size} {dataset.holds} to start them from"
        )
