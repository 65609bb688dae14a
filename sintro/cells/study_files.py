"""A study's file: its keys, and the cells that each of its blocks stands for. Imports no torch."""

import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

import sintro
from sintro import SintroError
from sintro.cells import components, presets
from sintro.cells.cell import PARTS, RESULTS, Cell, objective_token
from sintro.cells.components import Betas, UnknownComponent
from sintro.cells.settings import Protocol

PRESETS = "presets"


def _fraction(value: Any) -> Any:
    """Read `1/15`, which YAML takes for text."""
    try:
        return float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


Share = Annotated[float, BeforeValidator(_fraction), Field(gt=0, lt=1)]  # of a run's whole length


Count = Annotated[int, Field(gt=0, lt=2**31)]


def _whole_or_auto(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Say in one error what is legal, where each kind of value has one of its own."""
    try:
        return read(value)
    except ValidationError:
        raise PydanticCustomError("fleet", "legal are a whole number above 0 and auto") from None


Fleet = Annotated[PositiveInt | Literal["auto"], WrapValidator(_whole_or_auto)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BetaGrid(_Part):
    """Every combination of betas, and of IntroVAE's margins.

    The fakes' KL is weighted in multiples of the real one's: Soft-IntroVAE's beta_neg is the multiple times beta_kl,
    rounded to 3 decimals; IntroVAE's w_neg is the multiple itself, since w_kl multiplies it in the loss.
    """

    rec: tuple[PositiveFloat, ...] = Field(min_length=1)
    kl: tuple[PositiveFloat, ...] = Field(min_length=1)
    neg_times_kl: tuple[PositiveFloat, ...] | None = Field(None, min_length=1)
    margin: tuple[PositiveFloat, ...] | None = Field(None, min_length=1)

    def tokens(self, objective: str, neg_is_relative: bool = False) -> list[str]:
        """Spell the objective's part of the path for every combination."""
        axes = (self.rec, self.kl, self.neg_times_kl or (None,), self.margin or (None,))
        return [
            objective_token(objective, Betas(rec, kl, neg and (neg if neg_is_relative else round(kl * neg, 3))), margin)
            for rec, kl, neg, margin in itertools.product(*axes)
        ]


class Block(_Part):
    """A product of axes."""

    datasets: tuple[str, ...] = Field(min_length=1)
    objectives: tuple[str, ...] = Field(min_length=1)
    priors: tuple[str, ...] = Field(min_length=1)
    regularizers: tuple[str, ...] = Field(("none",), min_length=1)
    seeds: tuple[NonNegativeInt, ...] | None = Field(None, min_length=1)
    betas: BetaGrid | None = None


class Overrides(_Part):
    """Settings that a study may set for all of its cells."""

    batch_size: Count | None = None
    samples: Count | None = None
    learning_rate: PositiveFloat | None = None
    iterations: Count | None = None
    milestones: tuple[Share, ...] | None = Field(None, min_length=1)  # where the learning rate falls
    warmup: Share | None = None  # of introspective cells
    conversion_lead: Share | None = None  # from where a VampPrior becomes a mixture to the end of the warm-up
    channels: tuple[Count, ...] | None = Field(None, min_length=1)  # of the image networks
    training_images: Count | None = None  # as many of the training split, the same for every cell
    mirror: bool | None = None  # whether training images are mirrored with probability 1/2
    evaluation_points: Count | None = Field(None, gt=5)  # more than the neighbours of density and coverage
    evaluation_grid: Count | None = Field(None, gt=1)  # on a side; cells of the plane need two
    evaluation_images: Count | None = None  # no more than there are to train on
    logits_at_conversion: Literal["weights", "log-weights"] | None = None
    adam_at_introspection: Literal["carried", "restarted"] | None = None  # carried is published
    kl_weight_class: PositiveFloat | None = None  # of the KL of the class code, where a latent has two codes
    kl_weight_content: PositiveFloat | None = None
    reconstruction: Literal["vgg16", "vgg16-raw"] | None = None  # compare by features of VGG-16 in the losses
    precision: Literal["bfloat16"] | None = None  # of image networks in training; changes results

    def given(self) -> dict[str, Any]:
        """Return the values that the file gives."""
        return self.model_dump(exclude_none=True)


class StudyFile(_Part):
    """The keys of a study's file, and their values."""

    title: str
    description: str = ""
    comparable: bool = True  # with the papers' numbers; false is said on every page
    protocol: Protocol = "pl"  # whose program is followed where the papers' two differ
    length: Annotated[float, BeforeValidator(_fraction), Field(gt=0, le=1)] = 1.0  # of the published schedule
    seeds: tuple[NonNegativeInt, ...] | None = Field(None, min_length=1)
    overrides: Overrides = Overrides()
    image_overrides: Overrides = Overrides()  # of the image cells, in place of `overrides`
    hyperparameters: str = PRESETS  # or the study that searched for them
    fleet: Fleet = 1  # how many cells train side by side; auto: as many as a GPU holds
    cells_of: tuple[Block, ...] | None = Field(None, alias="cells", min_length=1)
    cells_from: str | None = None  # the study whose grid this one has, in folders of its own
    datasets: tuple[str, ...] | None = Field(None, min_length=1)  # the only ones of that grid; so are priors and seeds
    priors: tuple[str, ...] | None = Field(None, min_length=1)
    include: tuple[str, ...] | None = Field(None, min_length=1)
    _name: str = PrivateAttr("")
    _file: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """The study's name: its file's, without the ending."""
        return self._name

    @property
    def file(self) -> str:
        """The study's file, as it was found."""
        return self._file

    def overrides_of(self, cell: Cell) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Find the key whose overrides hold for a cell, its values, and apart from these its shares of the length."""
        key = "image_overrides" if cell.data.kind == "images" and self.image_overrides.given() else "overrides"
        values = getattr(self, key).given()
        shares = {name: values.pop(name) for name in presets.SHARES if name in values}
        return key, values, shares


def names() -> list[str]:
    """List the names of all studies; hidden files, which some systems write beside others, are none."""
    return sorted(path.stem for path in folder().glob("*.yaml") if not path.name.startswith("."))


def folder() -> Path:
    """Find the study files: in SINTRO_STUDIES, else here, else in the checkout that sintro was installed from.

    Raises SintroError where SINTRO_STUDIES names no folder.
    """
    if given := os.environ.get("SINTRO_STUDIES"):
        if not os.path.isdir(given):
            raise SintroError(f"SINTRO_STUDIES names {given}, which is no folder; legal is a folder of study files")
        return Path(given)
    here = Path("workflow", "studies")
    return here if here.is_dir() else Path(sintro.__file__).parents[1] / here


def product(study: StudyFile, block: Block) -> tuple[list[Cell], dict[str, str]]:
    """List the cells of one block; and by path, with the reason, the cells left out for a missing component.

    Raises SintroError for a name that nothing is known of, neither by an extension nor by results.
    """
    seeds = block.seeds or study.seeds
    if seeds is None:
        raise SintroError("seeds: missing, here and for the study; legal is a list such as [0, 1, 2]")
    objectives = [token for objective in block.objectives for token in _spelt(block, objective)]
    cells, left_out = [], {}
    for *names, seed in itertools.product(block.datasets, objectives, block.priors, block.regularizers, seeds):
        try:
            cells.append(_cell(study.name, names, seed))
        except Exception as error:  # what an extension computes may raise anything
            reason = _why_left_out(error)
            if reason is None:
                raise
            left_out["/".join((RESULTS, study.name, *names, f"seed{seed}"))] = reason
    return cells, left_out


def _spelt(block: Block, objective: str) -> list[str]:
    """Spell the objective as it stands in paths: once for every combination of the block's betas, if it has some."""
    if block.betas is None:
        return [objective]
    try:
        known = components.objective(objective)
    except UnknownComponent as error:
        spelt = _tokens_in_results(objective)
        if not spelt and not error.broken:
            raise
        return spelt or block.betas.tokens(objective)
    return _tokens_in_results(objective) if known.is_gone else block.betas.tokens(objective, known.neg_is_relative)


def _tokens_in_results(objective: str) -> list[str]:
    """List how results spell an objective with betas; nothing else says it where the extension is gone."""
    return sorted(name for name in _in_results("objective") if name.startswith(f"{objective}-rec"))


def _cell(study: str, names: list[str], seed: int) -> Cell:
    """Make the cell. Raises UnknownComponent also where only a stand-in knows a part of it."""
    cell = Cell(study=study, **dict(zip(PARTS[1:-1], names, strict=True)), seed=seed)
    for one in cell.components:
        if one.is_gone:
            raise UnknownComponent(f"no extension defines {one.name}", one.what, getattr(cell, one.what), broken=False)
    return cell


def _why_left_out(error: Exception) -> str | None:
    """Say why a study goes on without the cell that raised the error; None where the study is wrong itself."""
    if not isinstance(error, UnknownComponent):
        return None if isinstance(error, SintroError) else components.fault(error)
    if error.broken:
        return str(error)
    if error.name not in _in_results(error.what):  # a misspelling
        return None
    return f"no extension defines {error.what} {error.name!r} any more"


def _in_results(part: str) -> set[str]:
    """Collect the names that a part of a path has in the results of all studies."""
    return {path.name for path in Path(RESULTS).glob("*/" * PARTS.index(part) + "*")}
