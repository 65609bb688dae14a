"""What is said of a study as a whole: how its cells differ from the published ones, its code, hardware and cost."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sintro import studies
from sintro.cells import DATA_SIZES, Cell
from sintro.presets import Settings
from sintro.report.numbers.results import OTHER, Result, count_states
from sintro.report.numbers.words import show_duration, show_setting

CHANGEABLE = ("iterations", "batch_size", "samples", "learning_rate", "channels", "evaluation_points",
              "evaluation_grid", "evaluation_images")  # fmt: skip


# The phases of a run in iterations, by what the pages call them; a VAE has the first alone.
PHASES = {
    "milestones of the learning rate at": lambda one: one.milestones,
    "warm-up": lambda one: (one.warmup,),
    "conversion of the prior": lambda one: () if one.conversion is None else (one.warmup - one.conversion,),
}


def shortened(settings: Settings, cell: Cell) -> list[str]:
    """How a cell's settings differ from the published ones, in words: `iterations 3,000 instead of 30,000`."""
    preset = studies.published(cell)
    both = [(name, getattr(settings, name), getattr(preset, name)) for name in CHANGEABLE]
    changed = [
        f"{name.replace('_', ' ')} {show_setting(have)} instead of {show_setting(paper)}"
        for name, have, paper in both
        if have != paper
    ]
    if settings.training_images is not None:
        whole = DATA_SIZES[cell.dataset]
        changed.append(f"training images {show_setting(settings.training_images)} instead of {show_setting(whole)}")
    changed += _rescheduled(settings, preset)
    if settings.adam_at_introspection != preset.adam_at_introspection:
        changed.append("Adam's state restarted where the published code carries it into introspection")
    others = [n for n in ("beta_rec", "beta_kl", "beta_neg", "logits_at_conversion") if
              getattr(settings, n) != getattr(preset, n)]  # fmt: skip
    return changed + [f"{name.replace('_', ' ')} changed" for name in others]


def _rescheduled(settings: Settings, preset: Settings) -> list[str]:
    """The phases that do not follow the length in proportion, as shares of it."""
    told = []
    for name, phases in PHASES.items():
        have, paper = (phases(one) for one in (settings, preset))
        scaled = [each * settings.iterations / preset.iterations for each in paper]
        if len(have) != len(paper) or any(abs(a - b) > 1 for a, b in zip(have, scaled, strict=True)):
            shares = [
                " and ".join(f"{each / one.iterations:.3g}" for each in found if each < one.iterations) or "none"
                for found, one in ((have, settings), (paper, preset))
            ]
            told.append(f"{name} {shares[0]} of the length instead of {shares[1]}")
    return told


def study_facts(results: Sequence[Result]) -> dict[str, Any]:
    """Counts, code, hardware, dates and cost over the cells of a study that were made with its settings."""
    made = [r.provenance for r in results if r.provenance and r.state != OTHER]
    codes = sorted(codes_of(made))
    dirty = sum(bool(p.get("dirty")) for p in made)
    hardware = sorted({" · ".join(str(p[k]) for k in ("cpu", "device") if p.get(k)) for p in made} - {""})
    finished = sorted(str(p["finished"]) for p in made if p.get("finished"))
    walls = [(p.get("wall_seconds"), p.get("fleet", 1)) for p in made]  # F cells of a fleet share its time
    seconds = sum(wall / beside for wall, beside in walls if isinstance(wall, int | float) and math.isfinite(wall))
    return {
        "counts": count_states(results),
        "total": len(results),
        "codes": codes,
        "dirty": dirty,
        "hardware": hardware,
        "first": _day(finished[0]) if finished else "",
        "last": _day(finished[-1]) if finished else "",
        "cost": show_duration(float(seconds)) if seconds else "–",
    }


def codes_of(made: Sequence[Mapping[str, Any]]) -> set[str]:
    """The code that runs were made with: their commits, and the hash of the sources of those that have none.

    Equal sources are one code: of a run on a machine without git, the commit is known from another run.
    """
    commits = {
        str(p["sources_sha256"]): str(p["commit"])
        for p in made
        if p.get("sources_sha256") and p.get("commit") and not p.get("dirty")
    }
    return {code for p in made if (code := code_of(p, commits))}


def code_of(provenance: Mapping[str, Any], commits: Mapping[str, str] | None = None) -> str:
    """``0123abc45678`` or ``sources 3f2a90c1b77e``; empty where neither was recorded.

    ``commits``: the commits of sources, by their hash, that are known otherwise.
    """
    sources = str(provenance.get("sources_sha256") or "")
    commit = provenance.get("commit") or (commits or {}).get(sources)
    if commit:
        return str(commit)[:12]
    return f"sources {sources[:12]}" if sources else ""


def _day(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp[:20]
