"""The published hyper-parameters: one table, a source per row, and what they make of a cell.

A row says for which data sets and objectives it holds; later rows win. Lengths are in the papers' own unit
(2D: iterations, images: epochs) and become iterations here. Nothing here imports torch.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from sintro import SintroError
from sintro.cells import components
from sintro.cells.cell import BOOTSTRAP, Cell
from sintro.cells.components import (
    INTRO,
    PROTOCOLS,
    SOFT,
    VAE,
    Component,
    Dataset,
    Objective,
    PriorSpec,
    Row,
    suggestion,
)

Protocol = Literal[PROTOCOLS]


class Settings(BaseModel):
    """Every resolved hyper-parameter of a cell. Counts of steps are iterations, also for images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    objective: str
    beta_rec: PositiveFloat
    beta_kl: PositiveFloat
    beta_neg: PositiveFloat | None  # None: a vae has no fakes
    margin: PositiveFloat | None = None  # of IntroVAE's hinge, in nats; no other objective has one
    alpha: PositiveFloat
    gamma: NonNegativeFloat
    gamma_r: NonNegativeFloat
    scale: PositiveFloat  # 1 / D
    prior: str
    components: PositiveInt | None
    learned: bool  # the prior goes on learning after the warm-up
    contributions: bool  # its weights are parameters
    cooperation: Literal["decoder", "encoder"] | None  # with whom a learned prior steps
    # Conventions of the released programs, in which they differ. None is one of them too: sources() says which.
    kl_of_normal: Literal["sampled"] | None = None  # how the KL to a single Gaussian is taken; None: closed form
    fakes: Literal["reused"] | None = None  # the decoder's step has the encoder's fakes; None: draws its own
    adam_at_introspection: Literal["restarted"] | None = None  # when the warm-up ends; None: Adam's state is carried
    logits_at_conversion: Literal["weights", "log-weights"] | None
    clip: bool
    responsibility_weight: NonNegativeFloat
    network: Literal["mlp", "residual"]
    channels: tuple[PositiveInt, ...]
    event: tuple[PositiveInt, ...]  # the shape of one datum: (2,) or (C, H, W)
    training_images: PositiveInt | None = None  # a fixed random choice of so many; None: the whole training split
    latent_size: PositiveInt
    batch_size: PositiveInt
    samples: PositiveInt  # of the posterior, for the KL to a mixture
    epochs: PositiveFloat | None  # None in 2D, where every batch is new
    iterations: PositiveInt
    warmup: NonNegativeInt  # a vae is a warm-up from end to end
    conversion: PositiveInt | None  # the iteration before which the VampPrior becomes a mixture
    milestones: tuple[PositiveInt, ...]
    snapshots: tuple[NonNegativeInt, ...]  # iterations done when the published code measures FID
    learning_rate: PositiveFloat
    learning_rate_factor: PositiveFloat  # the learning rate's, at every milestone
    adam_beta1: NonNegativeFloat
    adam_beta2: NonNegativeFloat
    precision: Literal["float32", "bfloat16"] | None = None  # of the image networks in training; None in 2D
    revision: PositiveInt | None = None  # of how these settings are carried out (REVISIONS); None: the first
    extension_sha256: str | None = None  # of the user's files that define parts of the cell; None: all are the suite's
    seed: NonNegativeInt
    evaluation_points: NonNegativeInt  # 0 for images
    evaluation_bins: NonNegativeInt  # per axis, 0 for images
    evaluation_grid: NonNegativeInt  # per axis, 0 for images
    evaluation_images: NonNegativeInt  # 0 for 2D

    @property
    def digest(self) -> str:
        """16 hex digits that change when a hyper-parameter does. Fields that are None say nothing, and do not count."""
        canonical = json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class KindRow(NamedTuple):
    """A row of hyper-parameters and the kind of data set that it holds for."""

    holds_for: Callable[[Dataset], bool]
    row: Row


def _rows_for(holds_for: Callable[[Dataset], bool]) -> Callable[..., KindRow]:
    """Make rows that hold for one kind of data set."""
    return lambda *fields: KindRow(holds_for, Row(*fields))


every = _rows_for(lambda dataset: True)
plane = _rows_for(lambda dataset: dataset.kind == "2d")
images = _rows_for(lambda dataset: dataset.kind == "images")
grey_images = _rows_for(lambda dataset: dataset.kind == "images" and dataset.event[0] == 1)
colour_images = _rows_for(lambda dataset: dataset.kind == "images" and dataset.event[0] != 1)
paper_images = _rows_for(lambda dataset: dataset.kind == "images" and dataset.in_papers)

ANY = None  # objective
SECTION_1 = "docs/science.md, section 1"
SECTION_2 = "docs/science.md, section 2"
SECTION_4 = "docs/science.md, section 4"
DT = "Daniel & Tamar 2021"
ADF = "Athanasiadis et al. 2025"
OURS = "ours (no paper has this data set)"
BORROWED = f"{OURS}; the published values of 8gaussians"
CHOSEN = "a choice of this suite, not published: no paper gives IntroVAE's settings for this data set"
HUANG = "Huang et al. 2018, released run at 256 x 256"

# length, warmup, conversion_lead (before the warm-up ends), milestones, snapshots: in `unit`.
TABLE: tuple[KindRow, ...] = (
    every(ANY, {"alpha": 2.0, "gamma": 1.0, "gamma_r": 1e-8}, f"{DT}, released code; {SECTION_1}"),
    every((BOOTSTRAP,), {"gamma_r": 1.0}, f"{DT}, README of the released bootstrap variant"),
    every(ANY, {"samples": 100}, f"{ADF}, S = 100 posterior samples; {SECTION_1}"),
    every(
        ANY,
        {"learning_rate": 2e-4, "learning_rate_factor": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.999},
        f"{ADF}, released code, Adam for each player; {SECTION_4}",
    ),
    # the plane
    plane(
        ANY,
        {"unit": "iterations", "length": 30_000, "milestones": (10_000, 15_000), "snapshots": ()},
        f"{ADF}, 2D; {SECTION_4}",
    ),
    plane(SOFT, {"beta_rec": 0.2, "beta_kl": 0.3, "beta_neg": 0.9}, BORROWED),
    plane(VAE, {"beta_rec": 0.8, "beta_kl": 0.05}, BORROWED),
    plane(INTRO, {"warmup": 2_000}, f"{CHOSEN}; Soft-IntroVAE's schedule, for comparison"),
    plane(INTRO, {"beta_rec": 1.0, "beta_kl": 0.3, "beta_neg": 1.0, "margin": 5.0}, CHOSEN),
    plane(SOFT, {"warmup": 2_000, "conversion_lead": 100}, f"{ADF}, 2D; {SECTION_4}"),
    plane(ANY, {"batch_size": 512, "latent_size": 2}, f"{ADF}, 2D; {SECTION_4}"),
    plane(
        ANY,
        {"network": "mlp", "channels": ()},
        f"{DT} and {ADF}, 2D; docs/science.md, section 5",
    ),
    plane(
        ANY,
        {"evaluation_points": 5_000, "evaluation_bins": 100, "evaluation_grid": 1_024, "evaluation_images": 0},
        f"{ADF}, 2D metrics; docs/science.md, section 7",
    ),
    # how the two programs differ, beside the schedules of images
    every(VAE + SOFT, {"kl_of_normal": "sampled"}, f"{ADF}, released code; {SECTION_1}", ("pl",)),
    every(SOFT, {"fakes": "reused"}, f"{DT}, released code; {SECTION_2}", ("si",)),
    # images
    images(
        ANY,
        {"unit": "epochs", "length": 220, "milestones": (350,), "snapshots": (0, 80, 120, 160, 200, 219)},
        f"{ADF}, images (the milestone lies beyond the end; snapshots at the start of these epochs); {SECTION_4} and 7",
    ),
    images(SOFT, {"warmup": 20, "conversion_lead": 5}, f"{ADF}, images; {SECTION_4}"),
    images(
        ANY,
        {"evaluation_points": 0, "evaluation_bins": 0, "evaluation_grid": 0, "evaluation_images": 50_000},
        f"{ADF}, image metrics; docs/science.md, section 7",
    ),
    images(ANY, {"precision": "float32"}, f"{ADF}, released code"),
    images(ANY, {"beta_rec": 1.0, "beta_kl": 1.0}, f"{ADF}, images; {SECTION_4}"),
    images(INTRO, {"warmup": 20}, f"{CHOSEN}; Soft-IntroVAE's schedule, for comparison"),
    images(INTRO, {"beta_neg": 0.5}, f"{HUANG}: weight_neg 0.5; other images and networks than here"),
    images(INTRO, {"margin": 100.0}, f"{CHOSEN}; the released program's default margin (its run at 256 has 120)"),
    images(SOFT, {"beta_neg": 256.0}, f"{ADF}, images; {SECTION_4}"),
    grey_images(
        ANY,
        {"batch_size": 128, "latent_size": 32, "network": "residual", "channels": (64, 128)},
        f"{ADF}, images, IntroVAE's residual network; {SECTION_4} and 5",
    ),
    colour_images(
        ANY,
        {"batch_size": 32, "latent_size": 128, "network": "residual", "channels": (64, 128, 256)},
        f"{ADF}, images, IntroVAE's residual network; {SECTION_4} and 5",
    ),
    # images as Soft-IntroVAE's own program trains them
    paper_images(
        ANY,
        {"length": 250, "snapshots": (0, *range(100, 250, 20), 249)},
        f"{DT}, released code, images (snapshots at the start of these epochs, the last before the last); {SECTION_4}",
        ("si",),
    ),
    paper_images(SOFT + INTRO, {"warmup": 0}, f"{DT}, released code, images: no warm-up; {SECTION_4}", ("si",)),
    paper_images(SOFT, {"beta_neg": 256.0}, f"{DT}, released code, images; {SECTION_4}", ("si",)),
)

FEWEST_IMAGES = 10  # to train on: one of each class, if chance is kind
MOST_ITERATIONS = 10**9  # at a millisecond each, 12 days; ten thousand times the published length

# Which of the table's lengths each count of iterations follows.
SCHEDULE_ROWS = {
    "iterations": "length",
    "warmup": "warmup",
    "conversion": "conversion_lead",
    "milestones": "milestones",
    "snapshots": "snapshots",
    "epochs": "length",
}


# Which of these a study may set as shares of the whole length.
SHARES = ("warmup", "conversion_lead", "milestones")

# What a revision of `Settings` is: it grows when a fault is mended, so that the same settings give other numbers, and
# results made before count as made with other settings.
REVISIONS = {
    1: "the first",
    2: "pseudo-inputs of images pass a hard tanh, which has no gradient at 0 and 1 (1: a clamp, which has one); in "
    "prior-encoder cooperation the prior also receives the gradients of R and of the soft exponential's target x_f",
}

# What None means where it is a convention of a released program, and its source.
NONE_MEANS = {
    "kl_of_normal": ("closed form", f"{DT} and Huang et al. 2018, released code; {SECTION_1}"),
    "fakes": ("drawn anew", f"{ADF}, released code; {SECTION_2}"),
    "adam_at_introspection": ("carried", f"{ADF}, released code (audit A22); {SECTION_4}"),
    "training_images": ("all", "the whole training split; docs/science.md, section 6"),
    "revision": ("1", REVISIONS[1]),
}


def published(cell: Cell, protocol: Protocol = "pl") -> Settings:
    """The cell's settings as published, at full length; betas in the path win over the table's."""
    return resolve(cell, protocol=protocol)


def resolve(
    cell: Cell,
    *,
    length: float = 1.0,
    iterations: int | None = None,
    values: Mapping[str, Any] | None = None,
    shares: Mapping[str, Any] | None = None,
    protocol: Protocol = "pl",
) -> Settings:
    """The cell's settings with the schedule shortened in proportion and single values replaced.

    ``length`` is the fraction of the published schedule; ``iterations``, where given, sets the whole length instead,
    and warm-up, conversion, milestones and snapshots follow in proportion. ``values`` are fields of Settings that win
    over the table (not those of the schedule); one that means nothing for the cell (None, 0 or empty there) is left
    out. ``shares`` set any of `SHARES` to a share of the whole length, each in (0, 1), milestones to a tuple of them.
    ``protocol`` says whose program is followed where the papers' two differ. Raises SintroError when a value does not
    fit the cell.
    """
    values = dict(values or {})
    adam = values.pop("adam_at_introspection", None)
    training_images = values.pop("training_images", None)
    training_images = training_images if cell.data.kind == "images" else None
    table, _ = _rows(cell.data, components.objective(cell.objective_name), protocol)
    fields = {name: value for name, value in table.items() if name in Settings.model_fields}
    fields |= _from_cell(cell, cell.prior_spec, table)
    fields |= {name: value for name, value in values.items() if fields.get(name)}
    if cell.betas is not None:
        fields |= {"beta_rec": cell.betas.rec, "beta_kl": cell.betas.kl, "beta_neg": cell.betas.neg}
    if cell.margin is not None:
        fields["margin"] = cell.margin
    fields["training_images"] = training_images
    count = training_images or cell.data.size
    epoch = 1 if table["unit"] == "iterations" else math.ceil(count / fields["batch_size"])
    fields |= _schedule(cell, table | _in_units(shares or {}, table["length"]), epoch, length, iterations)
    if adam == "restarted" and 0 < fields["warmup"] < fields["iterations"]:
        fields["adam_at_introspection"] = adam
    settings = _checked(cell, fields)
    if reason := _why_not(cell, settings):
        raise SintroError(f"{cell.path}: {reason}")
    return settings


def _checked(cell: Cell, fields: Mapping[str, Any]) -> Settings:
    """The settings of these fields; SintroError for a wrong value that an extension's rows give."""
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, said = first["loc"][0], first["msg"][:1].lower() + first["msg"][1:]
        for owner in (cell.data, components.objective(cell.objective_name)):
            if owner.source and any(name in row.values for row in owner.rows):
                raise SintroError(f"{owner.source}: {owner.what} {owner.name!r}: rows: {name}: {said}") from None
        raise


def _in_units(shares: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Shares of the whole length in the table's unit."""
    return {
        name: tuple(each * length for each in share) if isinstance(share, tuple) else share * length
        for name, share in shares.items()
    }


def _why_not(cell: Cell, settings: Settings) -> str:
    """What of the settings does not fit the cell, and what is legal; empty where all does."""
    modes, images, most = settings.components or 0, settings.training_images, cell.data.size
    if cell.data.kind == "2d":
        if modes > settings.batch_size:
            return f"prior {cell.prior!r} starts from the first batch, and batch_size is {settings.batch_size}"
        return ""
    if images and not max(modes, FEWEST_IMAGES) <= images <= most:
        why = f", since prior {cell.prior!r} starts from different ones" if images < modes else ""
        return f"training_images {images}: legal are {max(modes, FEWEST_IMAGES)} to {most}{why}"
    if settings.event[-1] % 2 ** len(settings.channels):
        size, levels = settings.event[-1], 0
        while size % 2 == 0:
            size, levels = size // 2, levels + 1
        numbers = ", ".join(map(str, settings.channels))
        return (
            f"channels {numbers}: each halves the images of {settings.event[-2]} x {settings.event[-1]} pixels; legal "
            f"are 1 to {levels} numbers"
        )
    return ""


def sources(settings: Settings, protocol: Protocol = "pl") -> dict[str, str]:
    """Where the table, the path or the papers give each field; a value that differs is told apart by what they give.

    `studies.sources` adds what a study or a search changed.
    """
    dataset, objective = components.dataset(settings.dataset), components.objective(settings.objective)
    table, origin = _rows(dataset, objective, protocol)
    told = {}
    for name, value in settings.model_dump().items():
        row = SCHEDULE_ROWS.get(name, name)
        if name in NONE_MEANS and _applies(name, settings):
            told[name] = _source_of_convention(name, value, origin)
        elif value is None or value == () or (value == 0 and name.startswith("evaluation_")):
            told[name] = "does not apply"
        elif row not in origin:
            told[name] = _derived_source(name, value)
        elif name in SCHEDULE_ROWS:
            before = " before the warm-up ends" if name == "conversion" else ""
            told[name] = f"published: {_plain(table[row])} {table['unit']}{before}; {origin[row]}"
        elif table[name] != value:
            told[name] = f"not the published {_plain(table[name])} ({origin[name]})"
        else:
            told[name] = origin[name]
    return told


def in_words(settings: Settings) -> dict[str, Any]:
    """Every field's value; where None is a convention, the word for what it means."""
    shown = settings.model_dump(mode="json")
    for name, (word, _) in NONE_MEANS.items():
        if shown[name] is None and _applies(name, settings):
            shown[name] = word
    return shown


def _applies(name: str, settings: Settings) -> bool:
    """Whether one of `NONE_MEANS` is a question at all for a cell of these settings."""
    if name == "kl_of_normal":
        return components.prior(settings.prior).is_one_gaussian(settings.components)
    if name == "fakes":
        return not set(SOFT).isdisjoint(_names(components.objective(settings.objective)))
    if name == "adam_at_introspection":
        return 0 < settings.warmup < settings.iterations
    if name == "training_images":
        return settings.network == "residual"
    return True


def _source_of_convention(name: str, value: Any, origin: Mapping[str, str]) -> str:
    """The source of one of `NONE_MEANS`."""
    word, source = NONE_MEANS[name]
    if value is None:
        return source
    if name == "revision":
        return REVISIONS[value]
    return origin.get(name, f"not the published {word} ({source})")


def _derived_source(name: str, value: Any) -> str:
    """The source of a field that no row of the table gives."""
    if name == "scale":
        return f"1 / D; {SECTION_1}"
    if name == "extension_sha256":
        return "the content of the extension files that define parts of the cell"
    if name == "warmup":
        return "a vae is a warm-up from end to end"
    if name == "logits_at_conversion":
        audit = f"{ADF}, released code (audit A6); docs/science.md, section 3"
        return audit if value == "weights" else f"not the published weights ({audit})"
    return "the cell's path"


def _plain(value: Any) -> str:
    """A table's value as a reader would write it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=256)
def _rows(dataset: Dataset, objective: Objective, protocol: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that hold for a data set, an objective and a protocol, and the source of each; later rows win.

    First the table's, then the data set's own, then the objective's own.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for row in (*(one.row for one in TABLE if one.holds_for(dataset)), *dataset.rows, *objective.rows):
        named = row.objectives is None or not set(row.objectives).isdisjoint(_names(objective))
        if named and protocol in row.protocols:
            values |= row.values
            origin |= dict.fromkeys(row.values, row.source)
    _refuse_unknown(values, (dataset, objective))
    values["event"], origin["event"] = dataset.event, origin["network"]
    if values["evaluation_images"] > dataset.size:
        values["evaluation_images"] = dataset.size
        origin["evaluation_images"] = f"{OURS}, as many as it has training images"
    return values, origin


def _names(objective: Objective) -> tuple[str, ...]:
    """The names under which rows hold for an objective: its own, and of those that it is like."""
    return (objective.name, *(_names(components.objective(objective.model)) if objective.model else ()))


def _refuse_unknown(values: Mapping[str, Any], owners: tuple[Component, ...]) -> None:
    """Raise SintroError where a component's own rows name what is no hyper-parameter."""
    legal = {*Settings.model_fields, *SCHEDULE_ROWS.values(), "unit"}
    for owner in owners:
        for name in {name for row in owner.rows for name in row.values} - legal:
            where = owner.source or "the suite"
            raise SintroError(
                f"{where}: {owner.what} {owner.name!r}: rows: {name!r} is no hyper-parameter{suggestion(name, legal)}"
            )


def _from_cell(cell: Cell, prior: PriorSpec, table: Mapping[str, Any]) -> dict[str, Any]:
    """What the path itself says, and what follows from it."""
    _, objective, kind = cell.components
    single = kind.is_one_gaussian(prior.components)
    regularizers = cell.regularizer_spec
    converted_contributions = kind.converted and prior.contributions
    return {
        "dataset": cell.dataset,
        "objective": cell.objective_name,
        "beta_neg": table.get("beta_neg") if objective.introspective else None,
        "scale": 1 / math.prod(table["event"]),
        "prior": prior.kind,
        "components": prior.components,
        "learned": prior.learned,
        "contributions": prior.contributions,
        "cooperation": prior.cooperation,
        "kl_of_normal": table.get("kl_of_normal") if single else None,
        "fakes": table.get("fakes") if kind.is_standard else None,  # the program that re-uses them has N(0, I)
        "revision": _revision(cell, prior),
        "extension_sha256": _extension_sha256(cell),
        "logits_at_conversion": "weights" if converted_contributions else None,
        "clip": regularizers.clip,
        "responsibility_weight": regularizers.responsibility,
        "seed": cell.seed,
    }


def _revision(cell: Cell, prior: PriorSpec) -> int | None:
    """The last of `REVISIONS` that changed a cell's numbers; None for the first."""
    pseudo_images = cell.data.kind == "images" and prior.components is not None
    return 2 if pseudo_images or prior.cooperation == "encoder" else None


def _extension_sha256(cell: Cell) -> str | None:
    """What the cell's settings say of the user's files: the sha256 of the only one, or of their sha256s together."""
    found = sorted({one.sha256 for one in cell.components if one.sha256 is not None})
    return hashlib.sha256("".join(found).encode()).hexdigest() if len(found) > 1 else next(iter(found), None)


def _schedule(
    cell: Cell, table: Mapping[str, Any], per_unit: int, length: float, iterations: int | None
) -> dict[str, Any]:
    """Every length in iterations, in proportion to the whole, and never so short that a phase vanishes.

    ``per_unit``: iterations in one of the table's units.
    """
    _, objective, prior = cell.components
    introspective = objective.introspective
    warmed_up = table.get("warmup") != 0
    converted = prior.converted
    if converted and not warmed_up:
        raise SintroError(
            f"{cell.path}: prior {cell.prior!r} is made in a warm-up, and S-IntroVAE's protocol for images (si) has "
            "none; legal is normal, or protocol pl"
        )
    # One VampPrior iteration, one as a mixture, one introspective: the shortest run in which every phase happens.
    shortest = 1 + (introspective and warmed_up) + converted
    if iterations is not None and not shortest <= iterations <= MOST_ITERATIONS:
        raise SintroError(
            f"{cell.path}: iterations {iterations}: its phases need at least {shortest}, and {MOST_ITERATIONS:,} are "
            "the most"
        )
    total = iterations if iterations is not None else max(round(table["length"] * per_unit * length), shortest)
    share = total / table["length"]  # iterations of this run per published unit

    warmup = total
    conversion = None
    if not warmed_up:
        warmup = 0
    elif introspective:
        warmup = min(max(round(table["warmup"] * share), 1 + converted), total - 1)
    if converted:
        if table["conversion_lead"] >= table["warmup"]:
            lead, first = (f"{table[name] / table['length']:.3g}" for name in ("conversion_lead", "warmup"))
            raise SintroError(
                f"{cell.path}: conversion_lead {lead} of the length, but the warm-up before whose end the VampPrior "
                f"becomes a mixture is {first} of it; legal is less than that"
            )
        conversion = warmup - min(max(round(table["conversion_lead"] * share), 1), warmup - 1)
    return {
        "epochs": total / per_unit if table["unit"] == "epochs" else None,
        "iterations": total,
        "warmup": warmup,
        "conversion": conversion,
        "milestones": tuple(max(round(milestone * share), 1) for milestone in table["milestones"]),
        "snapshots": tuple(round(snapshot * share) for snapshot in table["snapshots"]),
    }
