"""The hyper-parameters of a cell: what the published table, its path and its study make of it. Imports no torch."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from sintro import SintroError
from sintro.cells import components
from sintro.cells.cell import Cell
from sintro.cells.components.dataset import FEWEST_IMAGES as FEWEST_OF_PROBES
from sintro.cells.settings import Protocol, Settings
from sintro.cells.table import rows, wrong_row

VGG_SIDE = 32  # pixels, which VGG-16 halves five times
FEWEST_IMAGES = 10  # to train on where no probe is trained on codes
MOST_ITERATIONS = 10**9  # at a millisecond each, 12 days; ten thousand times the published length
KL_WEIGHTS = ("kl_weight_class", "kl_weight_content")
SHARES = ("warmup", "conversion_lead", "milestones")  # what a study may set as shares of the whole length


def published(cell: Cell, protocol: Protocol = "pl") -> Settings:
    """Return the cell's settings as published, at full length; betas in the path win over the table's."""
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
    """Return the cell's settings: the published ones, with a shorter schedule and single values replaced.

    Args:
        length: the fraction of the published schedule; warm-up, conversion, milestones and snapshots shrink with it.
        iterations: the number of all iterations, in place of ``length``.
        values: fields of Settings, not of the schedule, that win over the table. A value for a field that means
            nothing for the cell (None, 0 or empty there) is left out.
        shares: for any of `SHARES` its share of the whole length, in (0, 1); for milestones a tuple of shares.
        protocol: whose program is followed where the two papers' programs differ.

    Raises: SintroError when a value does not fit the cell.
    """
    values = dict(values or {})
    adam = values.pop("adam_at_introspection", None)
    of_codes = {name: values.pop(name, None) for name in KL_WEIGHTS}
    of_images = {name: values.pop(name, None) for name in ("training_images", "mirror", "reconstruction")}
    if cell.data.kind != "images":
        of_images = dict.fromkeys(of_images)
    training_images = of_images["training_images"]
    table, _ = rows(cell.data, components.objective(cell.objective_name), protocol)
    fields = {name: value for name, value in table.items() if name in Settings.model_fields}
    in_table = fields.pop("adam_at_introspection", None)
    adam = adam or in_table
    if fields.get("class_latent_size"):
        fields |= {name: None if weight == 1 else weight for name, weight in of_codes.items()}
    fields |= _from_cell(cell, table)
    fields |= {name: value for name, value in values.items() if fields.get(name)}
    if cell.betas is not None:
        fields |= {"beta_rec": cell.betas.rec, "beta_kl": cell.betas.kl, "beta_neg": cell.betas.neg}
    if cell.margin is not None:
        fields["margin"] = cell.margin
    fields["training_images"] = training_images
    if training_images and "evaluation_images" not in values:  # no more than there are real images to compare with
        fields["evaluation_images"] = min(fields["evaluation_images"], training_images)
    fields["reconstruction"] = of_images["reconstruction"]
    if of_images["mirror"] is not None:
        fields["mirror"] = of_images["mirror"] or None
    batches = math.ceil((training_images or cell.data.size) / fields["batch_size"])
    per_unit = 1 if table["unit"] == "iterations" else batches
    fields |= _schedule(cell, table | _in_units(shares or {}, table["length"]), per_unit, length, iterations)
    if adam == "restarted" and 0 < fields["warmup"] < fields["iterations"]:
        fields["adam_at_introspection"] = adam
    settings = _checked(cell, fields)
    if reason := _why_not(cell, settings, shares or {}):
        raise SintroError(f"{cell.path}: {reason}")
    return settings


def _checked(cell: Cell, fields: Mapping[str, Any]) -> Settings:
    """Make settings of these fields; SintroError for a wrong value from an extension's rows."""
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, said = first["loc"][0], first["msg"][:1].lower() + first["msg"][1:]
        for owner in (cell.data, components.objective(cell.objective_name)):
            if owner.source and any(name in row.values for row in owner.rows):
                raise wrong_row(owner, f"{name}: {said}") from None
        raise


def _in_units(shares: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Turn shares of the whole length into lengths in the table's unit."""
    return {
        name: tuple(each * length for each in share) if isinstance(share, tuple) else share * length
        for name, share in shares.items()
    }


def _why_not(cell: Cell, settings: Settings, shares: Mapping[str, Any]) -> str:
    """Say which setting does not fit the cell, and what is legal; "" where all fit."""
    modes, images, most = settings.components or 0, settings.training_images, cell.data.size
    if "milestones" in shares and components.objective(settings.objective).embeds:
        return "milestones: its learning rate follows a cosine; legal is a study without them"
    if cell.data.kind == "2d":
        return ""
    fewest, why = _fewest_images(cell, modes)
    if images and not fewest <= images <= most:
        return f"training_images {images}: legal are {fewest} to {most}{why if images < fewest else ''}"
    if reason := _why_not_measured(settings.evaluation_images, images or most):
        return reason
    if reason := _why_no_vgg(settings):
        return f"reconstruction {settings.reconstruction}: {reason}"
    if settings.class_latent_size:
        odd = components.objective(settings.objective).in_pairs and settings.batch_size % 2
        return f"batch_size {settings.batch_size}: a batch is of pairs; legal are even numbers" if odd else ""
    if components.objective(settings.objective).needs_factors:
        return f"objective {cell.objective!r} is for two codes; networks with two codes take images of 32 or 64 pixels"
    height, width = settings.event[1:]
    levels = min(_halvings(height), _halvings(width))
    if len(settings.channels) > levels:
        legal = f"1 to {levels} numbers" if levels else "images with an even number of pixels a side"
        numbers = ", ".join(map(str, settings.channels))
        return f"channels {numbers}: each halves the images of {height} x {width} pixels; legal are {legal}"
    return why_alone(settings, [images or most, settings.evaluation_images], modes)


def why_alone(settings: Settings, counts: Iterable[int], modes: int = 0) -> str:
    """Say why batch norm would fail on a batch of one image; "" where it does not.

    ``counts``: how many images pass in batches; ``modes``: how many pseudo-inputs pass at once.
    """
    size, (height, width) = settings.batch_size, settings.event[1:]
    alone = modes == 1 or size == 1 or any(count % size == 1 for count in counts)
    if not (alone and settings.channels and height == width == 2 ** len(settings.channels)):
        return ""
    numbers = ", ".join(map(str, settings.channels))
    return (
        f"channels {numbers}: they halve images of {height} x {width} pixels to one pixel, of which batch norm needs "
        "two images or more, and a batch here has one; legal is a number fewer, another batch_size or number of images"
    )


def _halvings(side: int) -> int:
    """Count how many times a side can be halved: the twos among its factors."""
    return (side & -side).bit_length() - 1


def _fewest_images(cell: Cell, modes: int) -> tuple[int, str]:
    """Return the fewest images to train on, and why there must be as many."""
    needs = [(FEWEST_IMAGES, ""), (modes, f", since prior {cell.prior!r} starts from as many different images")]
    if cell.data.classes > 1 and not cell.data.has_factors:  # probes of classes are trained
        needs.append((FEWEST_OF_PROBES, ", since the k-NN probe has as many neighbours"))
    return max(needs, key=lambda need: need[0])


def _why_not_measured(generated: int, training_images: int) -> str:
    """Say why so many generated images cannot be compared with the training images; "" where they can."""
    if training_images < FEWEST_IMAGES:
        return f"{training_images} training images; legal are {FEWEST_IMAGES} and more"
    if not FEWEST_IMAGES <= generated <= training_images:
        return f"evaluation_images {generated}: legal are {FEWEST_IMAGES} to {training_images}, as many as to train on"
    return ""


def _why_no_vgg(settings: Settings) -> str:
    """Say why VGG-16 cannot compare images of these settings, and what is legal; "" where it can or need not."""
    channels, height, width = settings.event
    if settings.reconstruction is None:
        return ""
    if min(height, width) < VGG_SIDE:
        return f"images of {height} x {width} pixels; legal are at least {VGG_SIDE} pixels a side"
    if channels not in (1, 3):
        return f"images of {channels} channels; legal are 1 and 3"
    if settings.reconstruction == "vgg16-raw" and channels != 3:
        return "it takes images in colour only; legal is 'vgg16', which repeats a grey image three times"
    return ""


def _from_cell(cell: Cell, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the path gives, and those that follow from it."""
    _, objective, kind = cell.components
    prior, regularizers = cell.prior_spec, cell.regularizer_spec
    single = kind.is_one_gaussian(prior.components)
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
        "revision": _revision(cell),
        "extension_sha256": extension_sha256(cell),
        "logits_at_conversion": "weights" if converted_contributions else None,
        "clip": regularizers.clip,
        "responsibility_weight": regularizers.responsibility,
        "seed": cell.seed,
    }


def _revision(cell: Cell) -> int | None:
    """Return the last of `REVISIONS` that changed the cell's numbers; None for the first."""
    prior = cell.prior_spec
    if cell.objective_name == "soft-introvae-bootstrap":
        return 3
    pseudo_images = cell.data.kind == "images" and prior.components is not None
    return 2 if pseudo_images or prior.cooperation == "encoder" else None


def extension_sha256(cell: Cell) -> str | None:
    """Return the sha256 of the one extension file that defines parts of the cell, or of the sha256s of several."""
    found = sorted({one.sha256 for one in cell.components if one.sha256 is not None})
    return hashlib.sha256("".join(found).encode()).hexdigest() if len(found) > 1 else next(iter(found), None)


def _schedule(
    cell: Cell, table: Mapping[str, Any], per_unit: int, length: float, iterations: int | None
) -> dict[str, Any]:
    """Return every length in iterations, in proportion to the whole, and never so short that a phase vanishes.

    ``per_unit``: iterations in one of the table's units.
    """
    _, objective, prior = cell.components
    warmed_up, converted = table.get("warmup") != 0, prior.converted
    if converted and not warmed_up:
        raise SintroError(
            f"{cell.path}: prior {cell.prior!r} is made in a warm-up, and S-IntroVAE's protocol for images (si) has "
            "none; legal is normal, or protocol pl"
        )
    # One VampPrior iteration, one as a mixture, one introspective: the shortest run in which every phase happens.
    shortest = 1 + (objective.has_two_phases and warmed_up) + converted
    if iterations is not None and not shortest <= iterations <= MOST_ITERATIONS:
        raise SintroError(
            f"{cell.path}: iterations {iterations}: its phases need at least {shortest}, and {MOST_ITERATIONS:,} are "
            "the most"
        )
    total = iterations if iterations is not None else max(round(table["length"] * per_unit * length), shortest)
    share = total / table["length"]  # iterations of this run per published unit

    warmup = total if warmed_up else 0
    if warmed_up and objective.has_two_phases:
        warmup = min(max(round(table["warmup"] * share), 1 + converted), total - 1)
    conversion = None
    if converted:
        _refuse_long_lead(cell, table)
        conversion = warmup - min(max(round(table["conversion_lead"] * share), 1), warmup - 1)
    return {
        "epochs": total / per_unit if table["unit"] == "epochs" else None,
        "iterations": total,
        "warmup": warmup,
        "conversion": conversion,
        "milestones": tuple(max(round(milestone * share), 1) for milestone in table["milestones"]),
        "snapshots": tuple(round(snapshot * share) for snapshot in table["snapshots"]),
    }


def _refuse_long_lead(cell: Cell, table: Mapping[str, Any]) -> None:
    """Refuse a conversion before the warm-up begins."""
    if table["conversion_lead"] >= table["warmup"]:
        lead, first = (f"{table[name] / table['length']:.3g}" for name in ("conversion_lead", "warmup"))
        raise SintroError(
            f"{cell.path}: conversion_lead {lead} of the length, but the warm-up before whose end the VampPrior "
            f"becomes a mixture is {first} of it; legal is less than that"
        )
