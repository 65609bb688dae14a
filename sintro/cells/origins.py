"""Say in words where each setting of a cell comes from, and what its value means. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from sintro.cells import components
from sintro.cells.components import OURS, SOFT
from sintro.cells.presets import KL_WEIGHTS
from sintro.cells.settings import REVISIONS, Protocol, Settings
from sintro.cells.table import ADF, CHOICE, DT, SCHEDULE_ROWS, SECTION_1, SECTION_2, SECTION_4, TWO_CODES, is_like, rows

# The settings for which None is a convention of a released program: the convention's name and its source.
NONE_MEANS = {
    "kl_of_normal": ("closed form", f"{DT} and Huang et al. 2018, released code; {SECTION_1}"),
    "fakes": ("drawn anew", f"{ADF}, released code; {SECTION_2}"),
    "adam_at_introspection": ("carried", f"{ADF}, released code (audit A22); {SECTION_4}"),
    "training_images": ("all", "the whole training split; docs/science.md, section 6"),
    "mirror": ("never", f"{ADF} and {DT}, released code, small images: ToTensor only; docs/science.md, section 6"),
    "reconstruction": ("squared error", f"{ADF} and {DT}, released code; {SECTION_1}"),
    "kl_weight_class": ("1", f"{TWO_CODES}: the KL of both codes is one number"),
    "kl_weight_content": ("1", f"{TWO_CODES}: the KL of both codes is one number"),
    "revision": ("1", REVISIONS[1]),
}


def sources(settings: Settings, protocol: Protocol = "pl") -> dict[str, str]:
    """Return the source of each setting: a row of the table, the cell's path or a paper.

    Where the value is not the published one, the source says so and names the published value. `studies.sources` adds
    which study or search changed it.
    """
    dataset, objective = components.dataset(settings.dataset), components.objective(settings.objective)
    table, origin = rows(dataset, objective, protocol)
    told = {}
    for name, value in settings.model_dump().items():
        row = SCHEDULE_ROWS.get(name, name)
        if name in NONE_MEANS and applies(name, settings):
            told[name] = _source_of_convention(name, value, origin)
        elif value is None or value == () or (value == 0 and name.startswith("evaluation_")):
            told[name] = "does not apply"
        elif row not in origin:
            told[name] = _derived_source(name, value)
        elif name in SCHEDULE_ROWS:
            before = " before the warm-up ends" if name == "conversion" else ""
            whose = "ours" if _is_ours(origin[row]) else "published"
            told[name] = f"{whose}: {_plain(table[row])} {table['unit']}{before}; {origin[row]}"
        elif table[name] != value:
            whose = "our" if _is_ours(origin[name]) else "the published"
            told[name] = f"not {whose} {_plain(table[name])} ({origin[name]})"
        else:
            told[name] = origin[name]
    if reason := dataset.not_published(settings.prior):
        told["prior"] = f"{told['prior']}; {reason}"
    return told


def _is_ours(source: str) -> bool:
    """Tell whether a row of the table is this suite's own, with no paper behind it."""
    return source.startswith((OURS, CHOICE))


def in_words(settings: Settings) -> dict[str, Any]:
    """Return the value of each setting; in place of a None that is a convention, the convention's name."""
    shown = settings.model_dump(mode="json")
    for name, (word, _) in NONE_MEANS.items():
        if shown[name] is None and applies(name, settings):
            shown[name] = word
    return shown


def applies(name: str, settings: Settings) -> bool:
    """Return whether cells of these settings could have the other convention of a setting in `NONE_MEANS` too."""
    if name == "kl_of_normal":
        return components.prior(settings.prior).is_one_gaussian(settings.components)
    if name == "fakes":
        return is_like(components.objective(settings.objective), SOFT)
    if name == "adam_at_introspection":
        return components.objective(settings.objective).has_two_phases and 0 < settings.warmup < settings.iterations
    if name in ("training_images", "mirror", "reconstruction"):
        return settings.network != "mlp"
    if name in KL_WEIGHTS:
        return settings.class_latent_size is not None
    return True


def _source_of_convention(name: str, value: Any, origin: Mapping[str, str]) -> str:
    """Return the source of a setting in `NONE_MEANS`."""
    word, source = NONE_MEANS[name]
    if value is None:
        return source
    if name == "revision":
        return REVISIONS[value]
    return origin.get(name, f"not the published {word} ({source})")


def _derived_source(name: str, value: Any) -> str:
    """Return the source of a setting that no row of the table gives."""
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
    """Write a value of the table as a reader would."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
