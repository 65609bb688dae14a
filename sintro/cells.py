"""Cells: one training run and its evaluation each, and the bijection between a cell and its folder's path.

    results/<study>/<dataset>/<objective>/<prior>/<regularizers>/seed<k>

Every part has exactly one spelling, so that two different paths are never the same run. Nothing here imports torch:
the Snakefile reads thousands of paths before it starts.
"""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from sintro import SintroError

if TYPE_CHECKING:
    import torch

DENSITIES = ("8gaussians", "spirals", "checkerboard", "rings")
IMAGES = ("digits", "mnist", "fmnist", "cifar10", "svhn")
DATASETS = DENSITIES + IMAGES
BOOTSTRAP = "soft-introvae-bootstrap"
OBJECTIVES = ("vae", BOOTSTRAP, "soft-introvae", "introvae")  # one that begins another comes after it

# Pseudo-inputs start as training data, so a prior can have no more components than there are data to draw from:
# the training split, and in 2D (endless data) the first batch.
DATA_SIZES = dict.fromkeys(DENSITIES, 512) | {
    "digits": 1500,
    "mnist": 60000,
    "fmnist": 60000,
    "cifar10": 50000,
    "svhn": 73257,
}

RESULTS = "results"
PARTS = ("study", "dataset", "objective", "prior", "regularizers", "seed")
SHAPE = f"{RESULTS}/<study>/<dataset>/<objective>/<prior>/<regularizers>/seed<k>"
SEED_LIMIT = 2**32

LEGAL_OBJECTIVES = (
    "vae, soft-introvae, soft-introvae-bootstrap, introvae, or with explicit betas vae-rec0.8-kl0.05, "
    "soft-introvae-rec0.2-kl0.3-neg0.9, introvae-rec0.2-kl0.3-neg1-margin10"
)
LEGAL_PRIORS = (
    "normal, vampK, vampK-lc, mogK-fixed, mogK-fixed-lc, mogK-learned, mogK-learned-lc "
    "(K a number; a learned one may end in -encoder)"
)
LEGAL_REGULARIZERS = "none, clip, respR, clip-respR (R a number, as in resp10)"


class Betas(NamedTuple):
    """The weights of reconstruction, of the KL of real data and, for introspective runs, of the fakes' KL.

    Numbers; in the losses of a fleet tensors [F], one number per cell.
    """

    rec: "float | torch.Tensor"
    kl: "float | torch.Tensor"
    neg: "float | torch.Tensor | None" = None


class PriorSpec(NamedTuple):
    """What a prior's name says; ``learned`` means: still learning after the warm-up."""

    kind: Literal["normal", "vamp", "mixture"]
    components: int | None = None
    learned: bool = False
    contributions: bool = False
    cooperation: Literal["decoder", "encoder"] | None = None


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
        if self.dataset not in DATASETS:
            raise SintroError(
                f"dataset {self.dataset!r} is not one of {', '.join(DATASETS)}{suggestion(self.dataset, DATASETS)}"
            )
        objective = self.objective_name
        prior = parse_prior(self.prior)
        _check_combination(self, objective, prior, parse_regularizers(self.regularizers))
        if not 0 <= self.seed < SEED_LIMIT:
            raise SintroError(f"seed {self.seed} is not a whole number from 0 to {SEED_LIMIT - 1}")
        return self

    @classmethod
    def from_path(cls, path: str | Path) -> "Cell":
        """Read a cell's folder path; everything up to the last ``results`` in it is taken as the results root."""
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
        """What is compared: dataset, objective, prior, regularizers (all but the study and the seed)."""
        return self.dataset, self.objective, self.prior, self.regularizers

    @property
    def objective_name(self) -> str:
        """The objective without betas: one of OBJECTIVES."""
        return parse_objective(self.objective)[0]

    @property
    def betas(self) -> Betas | None:
        """The betas that the path gives, or None where the study or the preset decides."""
        return parse_objective(self.objective)[1]

    @property
    def margin(self) -> float | None:
        """IntroVAE's margin m in nats, where the path gives it."""
        return parse_objective(self.objective)[2]

    @property
    def prior_spec(self) -> PriorSpec:
        """The prior's name, read."""
        return parse_prior(self.prior)

    @property
    def regularizer_spec(self) -> RegularizerSpec:
        """The regularizers' name, read."""
        return parse_regularizers(self.regularizers)


def suggestion(word: str, legal: Iterable[str]) -> str:
    """`; did you mean 'rings'?` for a word near a legal one, else nothing."""
    near = difflib.get_close_matches(str(word), list(legal), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def spell(value: float) -> str:
    """The one spelling of a positive decimal in a path: 0.05, 1, 256; never 1.0, .5 or 1e-3."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def objective_token(name: str, betas: Betas | None = None, margin: float | None = None) -> str:
    """The objective's part of a path, `soft-introvae-rec0.2-kl0.3-neg0.9`, `introvae-rec0.2-kl0.3-neg1-margin10`."""
    if betas is None:
        return name
    negative = "" if betas.neg is None else f"-neg{spell(betas.neg)}"
    hinge = "" if margin is None else f"-margin{spell(margin)}"
    return f"{name}-rec{spell(betas.rec)}-kl{spell(betas.kl)}{negative}{hinge}"


def check_study_name(name: str) -> None:
    """Refuse a study name that could not stand in a path."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name == RESULTS:
        raise SintroError(
            f"study {name!r}: legal are lower-case letters, digits, - and _, beginning with a letter, "
            f"and not {RESULTS!r}"
        )


def _decimal(text: str, what: str) -> float:
    """A positive decimal in its one spelling."""
    # The sign is read here so that a negative weight is called by its name, not "malformed".
    if not re.fullmatch(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
        raise SintroError(f"{what} {text!r} is not a positive decimal such as 0.05, 1 or 256")
    value = float(text)
    if not 0 < value < float("inf"):
        raise SintroError(f"{what} {text} is not positive" if value <= 0 else f"{what} {text} is too large")
    if text != spell(value):
        raise SintroError(f"{what} {text} must be written {spell(value)}: every number has one spelling in a path")
    return value


def _whole(text: str, what: str) -> int:
    """A whole number in its one spelling."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise SintroError(f"{what} {text!r} is not a whole number")
    if text != str(int(text)):
        raise SintroError(f"{what} {text} must be written {int(text)}: every number has one spelling in a path")
    return int(text)


def parse_seed(token: str) -> int:
    """`seed3` -> 3."""
    if not token.startswith("seed"):
        raise SintroError(f"seed {token!r} is not of the form seed<k>, such as seed0")
    return _whole(token.removeprefix("seed"), "seed")


@lru_cache(maxsize=65536)
def parse_objective(token: str) -> tuple[str, Betas | None, float | None]:
    """`introvae-rec0.2-kl0.3-neg1-margin10` -> its name, betas and margin; None where the token gives none."""
    name = next((name for name in OBJECTIVES if token == name or token.startswith(f"{name}-")), None)
    if name is None:
        raise SintroError(f"objective {token!r} is not one of {LEGAL_OBJECTIVES}{suggestion(token, OBJECTIVES)}")
    if token == name:
        return name, None, None
    match = re.fullmatch(
        r"-rec(?P<rec>[^a-z]*)-kl(?P<kl>[^a-z]*)(?:-neg(?P<neg>[^a-z]*))?(?:-margin(?P<margin>[^a-z]*))?",
        token.removeprefix(name),
    )
    if match is None:
        raise SintroError(f"objective {token!r} is not one of {LEGAL_OBJECTIVES}")
    if (match["neg"] is None) != (name == "vae"):
        takes = "beta_rec and beta_kl only" if name == "vae" else "beta_rec, beta_kl and beta_neg"
        raise SintroError(f"objective {token!r}: {name} takes {takes}; legal are {LEGAL_OBJECTIVES}")
    if (match["margin"] is not None) != (name == "introvae"):
        takes = "takes a margin too" if name == "introvae" else "takes no margin"
        raise SintroError(f"objective {token!r}: {name} {takes}; legal are {LEGAL_OBJECTIVES}")
    rec, kl = _decimal(match["rec"], "beta_rec"), _decimal(match["kl"], "beta_kl")
    neg = None if match["neg"] is None else _decimal(match["neg"], "beta_neg")
    margin = None if match["margin"] is None else _decimal(match["margin"], "margin")
    return name, Betas(rec, kl, neg), margin


@lru_cache(maxsize=4096)
def parse_prior(token: str) -> PriorSpec:
    """`mog64-learned-lc` -> kind, components, learned, contributions, cooperation."""
    if token == "normal":
        return PriorSpec("normal")
    vamp = re.fullmatch(r"vamp(?P<components>-?[0-9]+)(?P<lc>-lc)?", token)
    mixture = re.fullmatch(
        r"mog(?P<components>-?[0-9]+)-(?P<life>fixed|learned)(?P<lc>-lc)?(?P<encoder>-encoder)?", token
    )
    match = vamp or mixture
    if match is None:
        raise SintroError(f"prior {token!r} is not one of {LEGAL_PRIORS}{_prior_suggestion(token)}")
    components = _whole(match["components"], f"prior {token!r}: the number of components")
    if components < 1:
        raise SintroError(f"prior {token!r}: the number of components must be at least 1")
    if vamp:
        return PriorSpec("vamp", components, contributions=bool(match["lc"]))
    learned = match["life"] == "learned"
    if match["encoder"] and not learned:
        raise SintroError(f"prior {token!r}: -encoder says with whom a prior learns, and a fixed one does not learn")
    cooperation = ("encoder" if match["encoder"] else "decoder") if learned else None
    return PriorSpec("mixture", components, learned, bool(match["lc"]), cooperation)


def _prior_suggestion(token: str) -> str:
    """Suggest with the components that the word itself names."""
    number = next(iter(re.findall(r"[0-9]+", token)), "64")
    patterns = ("normal", "vampK", "vampK-lc", "mogK-fixed", "mogK-fixed-lc", "mogK-learned", "mogK-learned-lc")
    return suggestion(token, [pattern.replace("K", number) for pattern in patterns])


@lru_cache(maxsize=4096)
def parse_regularizers(token: str) -> RegularizerSpec:
    """`clip-resp10` -> variance clipping, responsibility weight 10."""
    if token == "none":
        return RegularizerSpec()
    match = re.fullmatch(r"(?P<clip>clip)?(?P<dash>-)?(?P<resp>resp(?P<weight>[^a-z]*))?", token)
    if match is None or not token or bool(match["dash"]) != bool(match["clip"] and match["resp"]):
        legal = ("none", "clip", "resp10", "clip-resp10")
        raise SintroError(f"regularizers {token!r} is not one of {LEGAL_REGULARIZERS}{suggestion(token, legal)}")
    weight = _decimal(match["weight"], f"regularizers {token!r}: the weight") if match["resp"] else 0.0
    return RegularizerSpec(bool(match["clip"]), weight)


def _check_combination(cell: Cell, objective: str, prior: PriorSpec, regularizers: RegularizerSpec) -> None:
    """Refuse parts that are each legal but mean nothing together, with the reason."""
    if objective == "vae" and prior.kind == "mixture":
        raise SintroError(
            f"prior {cell.prior!r} with objective {cell.objective!r}: a mixture is what a VampPrior turns "
            "into for the introspective part, which a vae has not; legal are normal, vampK, vampK-lc"
        )
    if objective == "introvae" and prior.kind != "normal":
        raise SintroError(
            f"prior {cell.prior!r} with objective {cell.objective!r}: IntroVAE is defined for N(0, I) alone; "
            "legal is normal, and soft-introvae has the other priors"
        )
    if objective == BOOTSTRAP and cell.dataset in DENSITIES:
        raise SintroError(
            f"objective {cell.objective!r} with dataset {cell.dataset!r}: the target decoder lags by an epoch, and a "
            f"density has no epochs; legal are {', '.join(IMAGES)}"
        )
    if objective != "vae" and prior.kind == "vamp":
        raise SintroError(
            f"prior {cell.prior!r} with objective {cell.objective!r}: introspective runs turn their "
            "VampPrior into a mixture; legal are normal, mogK-fixed, mogK-learned, each also with -lc"
        )
    if regularizers.clip and not prior.learned:
        raise SintroError(
            f"regularizers {cell.regularizers!r} with prior {cell.prior!r}: clipping bounds the variances "
            "of a learned mixture and needs one (mogK-learned)"
        )
    if regularizers.responsibility and (objective == "vae" or prior.kind == "normal"):
        raise SintroError(
            f"regularizers {cell.regularizers!r} with {cell.objective}, {cell.prior}: responsibilities are "
            "regularised in introspective runs with a mixture prior only"
        )
    if prior.components is not None and prior.components > DATA_SIZES[cell.dataset]:
        what = "points in the first batch" if cell.dataset in DENSITIES else "training images"
        raise SintroError(
            f"prior {cell.prior!r}: {prior.components} components, but {cell.dataset} has only "
            f"{DATA_SIZES[cell.dataset]} {what} to start them from"
        )
