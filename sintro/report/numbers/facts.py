"""Facts about a study as a whole: how its cells differ from the published ones, its code, hardware and cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sintro.basics.progress import duration_in_words
from sintro.cells import components, studies
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.report.numbers.results import Result, count_states
from sintro.report.numbers.words import ABSENT, is_number, show_setting
from sintro.runs.results import OTHER

# Where these settings differ from the published ones, a page gives both values; of NAMED it says only that they differ.
CHANGEABLE = (
    "iterations",
    "batch_size",
    "samples",
    "learning_rate",
    "channels",
    "evaluation_points",
    "evaluation_grid",
    "evaluation_images",
)
NAMED = ("beta_rec", "beta_kl", "beta_neg", "logits_at_conversion")


def _conversion(settings: Settings) -> tuple[int, ...]:
    """Find the iteration at which a prior is converted; none where it never is."""
    return () if settings.conversion is None else (settings.warmup - settings.conversion,)


# The phases of a run in iterations, by what the pages call them; a VAE has the first alone.
PHASES: dict[str, Callable[[Settings], Sequence[int]]] = {
    "milestones of the learning rate at": lambda settings: settings.milestones,
    "warm-up": lambda settings: (settings.warmup,),
    "conversion of the prior": _conversion,
}


def shortened(settings: Settings, cell: Cell) -> list[str]:
    """Tell how a cell's settings differ from the published ones: `iterations 3,000 instead of 30,000`."""
    preset = studies.published(cell)
    changed = []
    for name in CHANGEABLE:
        have, paper = getattr(settings, name), getattr(preset, name)
        if have != paper:
            changed.append(_instead(name.replace("_", " "), have, paper))
    if settings.training_images is not None:
        changed.append(_instead("training images", settings.training_images, components.dataset(cell.dataset).size))
    changed += _rescheduled(settings, preset)
    if settings.adam_at_introspection != preset.adam_at_introspection:
        changed.append("Adam's state restarted where the published code carries it into introspection")
    others = [name for name in NAMED if getattr(settings, name) != getattr(preset, name)]
    return changed + [f"{name.replace('_', ' ')} changed" for name in others]


def _instead(name: str, have: Any, paper: Any) -> str:
    return f"{name} {show_setting(have)} instead of {show_setting(paper)}"


def _rescheduled(settings: Settings, preset: Settings) -> list[str]:
    """Tell which phases do not scale with the length of the run, as shares of that length."""
    told = []
    for name, phases in PHASES.items():
        have, paper = phases(settings), phases(preset)
        factor = settings.iterations / preset.iterations
        in_proportion = len(have) == len(paper) and all(
            abs(ours - theirs * factor) <= 1 for ours, theirs in zip(have, paper, strict=True)
        )
        if not in_proportion:
            ours, theirs = _shares(have, settings.iterations), _shares(paper, preset.iterations)
            told.append(f"{name} {ours} of the length instead of {theirs}")
    return told


def _shares(iterations: Sequence[int], length: int) -> str:
    """Spell iterations as shares of a run's length; those at or after its end never come."""
    shares = [f"{each / length:.3g}" for each in iterations if each < length]
    return " and ".join(shares) or "none"


def study_facts(results: Sequence[Result]) -> dict[str, Any]:
    """Collect counts, code, hardware, dates and cost over the cells of a study that were made with its settings."""
    made = [result.provenance for result in results if result.provenance and result.state != OTHER]
    finished = sorted(str(provenance["finished"]) for provenance in made if provenance.get("finished"))
    seconds = sum(map(_seconds, made))
    return {
        "counts": count_states(results),
        "total": len(results),
        "codes": sorted(codes_of(made)),
        "dirty": sum(bool(provenance.get("dirty")) for provenance in made),
        "hardware": sorted(set(map(_hardware, made)) - {""}),
        "first": _day(finished[0]) if finished else "",
        "last": _day(finished[-1]) if finished else "",
        "cost": duration_in_words(seconds) if seconds else ABSENT,
    }


def _seconds(provenance: Mapping[str, Any]) -> float:
    """Find the seconds a cell took; the cells of a fleet share its time."""
    wall, fleet = provenance.get("wall_seconds"), provenance.get("fleet")
    if not is_number(wall) or not math.isfinite(wall):
        return 0.0
    return wall / fleet if is_number(fleet) and fleet >= 1 else wall


def _hardware(provenance: Mapping[str, Any]) -> str:
    """Name the processor and the device of a run, as far as they were recorded."""
    named = [str(provenance[part]) for part in ("cpu", "device") if provenance.get(part)]
    return " · ".join(named)


def codes_of(made: Sequence[Mapping[str, Any]]) -> set[str]:
    """Name the code that runs were made with: the commit of each run, or the hash of its sources where it has none.

    Equal sources are one code: of a run on a machine without git, the commit is known from another run.
    """
    commits = {}
    for provenance in made:
        sources, commit = provenance.get("sources_sha256"), provenance.get("commit")
        if sources and commit and not provenance.get("dirty"):
            commits[str(sources)] = str(commit)
    codes = {code_of(provenance, commits) for provenance in made}
    return codes - {""}


def code_of(provenance: Mapping[str, Any], commits: Mapping[str, str] | None = None) -> str:
    """Name a run's code: ``0123abc45678`` or ``sources 3f2a90c1b77e``; empty where neither was recorded.

    ``commits``: the commits of sources, by their hash, that are known otherwise.
    """
    sources = str(provenance.get("sources_sha256") or "")
    commit = provenance.get("commit") or (commits or {}).get(sources)
    if commit:
        return str(commit)[:12]
    return f"sources {sources[:12]}" if sources else ""


def _day(stamp: str) -> str:
    """Shorten a time stamp to the minute; what is none is cut."""
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp[:20]
