"""The published hyper-parameters: one table, with a source in every row. Later rows win.

Lengths are in the unit of the papers: iterations in the plane, epochs for images.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from sintro import SintroError
from sintro.cells import components
from sintro.cells.components import INTRO, OURS, SOFT, VAE, Dataset, Objective, Row, suggestion
from sintro.cells.settings import Settings


class KindRow(NamedTuple):
    """A row of hyper-parameters, and the test for the data sets for which it holds."""

    holds_for: Callable[[Dataset], bool]
    row: Row


def _rows_for(holds_for: Callable[[Dataset], bool]) -> Callable[..., KindRow]:
    """Return the maker of rows that hold for one kind of data set."""
    return lambda *fields: KindRow(holds_for, Row(*fields))


every = _rows_for(lambda dataset: True)
plane = _rows_for(lambda dataset: dataset.kind == "2d")
images = _rows_for(lambda dataset: dataset.kind == "images")
grey_images = _rows_for(lambda dataset: dataset.kind == "images" and dataset.event[0] == 1)
colour_images = _rows_for(lambda dataset: dataset.kind == "images" and dataset.event[0] != 1)
factors = _rows_for(lambda dataset: dataset.has_factors and dataset.event[1:] in ((32, 32), (64, 64)))
small_factors = _rows_for(lambda dataset: dataset.has_factors and dataset.event[1:] == (32, 32))
full_factors = _rows_for(lambda dataset: dataset.has_factors and dataset.event[1:] == (64, 64))
si_images = _rows_for(lambda dataset: dataset.kind == "images" and (dataset.in_papers or dataset.in_si_program))

ANY = None  # objective
BOOTSTRAP = ("soft-introvae-bootstrap",)
SECTION_1 = "docs/science.md, section 1"
SECTION_2 = "docs/science.md, section 2"
SECTION_4 = "docs/science.md, section 4"
DT = "Daniel & Tamar 2021"
ADF = "Athanasiadis et al. 2025"
BORROWED = f"{OURS}; the published values of 8gaussians"
CHOICE = "a choice of this suite"
CHOSEN = f"{CHOICE}, not published: no paper gives IntroVAE's settings for this data set"
TWO_CODES = (
    f"{CHOICE} after the description of {DT}, project page: two encoders, of class and of content; no "
    "code of its image translation was released"
)
LORD = "Gabbay & Hoshen 2020 (LORD), released PyTorch code: networks and code sizes"
LORD_RUN = "Gabbay & Hoshen 2020 (LORD), released PyTorch code: 200 epochs of codes, then 200 of encoders"
EMBEDDED = ("lord", "lord-unlabelled")
HUANG = "Huang et al. 2018, released run at 256 x 256"

# In `unit` are: length, warmup, milestones, snapshots, and conversion_lead (from the conversion to the warm-up's end).
TABLE: tuple[KindRow, ...] = (
    every(ANY, {"alpha": 2.0, "gamma": 1.0, "gamma_r": 1e-8}, f"{DT}, released code; {SECTION_1}"),
    every(BOOTSTRAP, {"gamma_r": 1.0}, f"{DT}, README of the released bootstrap variant"),
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
    plane(ANY, {"network": "mlp", "channels": ()}, f"{DT} and {ADF}, 2D; docs/science.md, section 5"),
    plane(
        ANY,
        {"evaluation_points": 5_000, "evaluation_bins": 100, "evaluation_grid": 1_024, "evaluation_images": 0},
        f"{ADF}, 2D metrics; docs/science.md, section 7",
    ),
    # conventions in which the two programs differ
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
    # images with factors: two encoders, of class and of content
    factors(ANY, {"network": "two-encoders", "channels": (), "kl_of_normal": None, "snapshots": ()}, TWO_CODES),
    factors(ANY, {"learning_rate": 1e-3, "learning_rate_factor": 0.5}, TWO_CODES),
    factors(SOFT, {"adam_at_introspection": "restarted"}, f"{TWO_CODES}; without a restart the decoder stands still"),
    small_factors(ANY, {"latent_size": 16, "class_latent_size": 8, "batch_size": 32}, TWO_CODES),
    small_factors(ANY, {"unit": "iterations", "length": 2_500, "milestones": (1_000,)}, TWO_CODES),
    small_factors(SOFT + INTRO, {"warmup": 1_000, "conversion_lead": 250}, TWO_CODES),
    small_factors(SOFT, {"beta_neg": 768.0}, f"{TWO_CODES}; 2 s beta_neg KL of a VAE is about 5"),
    full_factors(ANY, {"latent_size": 384, "class_latent_size": 256, "batch_size": 128}, LORD),
    full_factors(ANY, {"length": 200, "milestones": (80,)}, f"{TWO_CODES}; 200 epochs as LORD"),
    full_factors(SOFT + INTRO, {"warmup": 80, "conversion_lead": 20}, TWO_CODES),
    full_factors(SOFT, {"beta_neg": 1536.0}, f"{TWO_CODES}; for a VAE with a KL of 20 nats, which is to be measured"),
    full_factors(EMBEDDED, {"length": 400, "warmup": 200, "learning_rate": 3e-4}, LORD_RUN),
    small_factors(EMBEDDED, {"length": 4_000, "warmup": 2_667}, f"{TWO_CODES}; two thirds for the codes"),
    factors(EMBEDDED, {"milestones": (), "adam_beta1": 0.5, "adam_at_introspection": "restarted"}, LORD_RUN),
    # images as Soft-IntroVAE's own program trains them
    si_images(
        ANY,
        {"length": 250, "snapshots": (0, *range(100, 250, 20), 249)},
        f"{DT}, released code, images (snapshots at the start of these epochs, the last before the last); {SECTION_4}",
        ("si",),
    ),
    si_images(SOFT + INTRO, {"warmup": 0}, f"{DT}, released code, images: no warm-up; {SECTION_4}", ("si",)),
    si_images(SOFT, {"beta_neg": 256.0}, f"{DT}, released code, images; {SECTION_4}", ("si",)),
)

# The setting of a schedule, and the length in the table that it follows.
SCHEDULE_ROWS = {
    "iterations": "length",
    "warmup": "warmup",
    "conversion": "conversion_lead",
    "milestones": "milestones",
    "snapshots": "snapshots",
    "epochs": "length",
}

# What rows may name: what the table's do, and whether images are mirrored. All else is the cell's or the study's.
NAMES_IN_ROWS = {"mirror", *(name for one in TABLE for name in one.row.values)}


@lru_cache(maxsize=256)
def rows(dataset: Dataset, objective: Objective, protocol: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Collect the values that hold for a data set, an objective and a protocol; return them and the source of each.

    The rows are the table's, then the data set's own, then the objective's own; later rows win. Raises SintroError
    where a row names no hyper-parameter.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for row in (*(one.row for one in TABLE if one.holds_for(dataset)), *dataset.rows, *objective.rows):
        if is_like(objective, row.objectives) and protocol in row.protocols:
            values |= row.values
            origin |= dict.fromkeys(row.values, row.source)
    for owner in (dataset, objective):
        _refuse_unknown_names(owner)
    values["event"], origin["event"] = dataset.event, origin["network"]
    if values["evaluation_images"] > dataset.size:
        values["evaluation_images"] = dataset.size
        origin["evaluation_images"] = f"{OURS}, as many as it has training images"
    return values, origin


def is_like(objective: Objective, names: tuple[str, ...] | None) -> bool:
    """Return whether an objective, or one whose hyper-parameters hold for it, has one of the names (None: any)."""
    if names is None or objective.name in names:
        return True
    return objective.model is not None and is_like(components.objective(objective.model), names)


def _refuse_unknown_names(owner: Dataset | Objective) -> None:
    """Refuse a component whose own rows name something that rows do not set."""
    for name in sorted({name for row in owner.rows for name in row.values} - NAMES_IN_ROWS):
        if name in Settings.model_fields:
            raise wrong_row(owner, f"{name!r} is not set by rows; legal are {', '.join(sorted(NAMES_IN_ROWS))}")
        raise wrong_row(owner, f"{name!r} is no hyper-parameter{suggestion(name, NAMES_IN_ROWS)}")


def wrong_row(owner: Dataset | Objective, reason: str) -> SintroError:
    """Return the error about a component's own rows."""
    return SintroError(f"{owner.source or 'the suite'}: {owner.what} {owner.name!r}: rows: {reason}")
