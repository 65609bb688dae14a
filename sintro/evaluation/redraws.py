"""Measure the generated images of one model again, from fresh latents: the measurement noise of images, and how much
the selection of a checkpoint favoured it (docs/science.md, section 7).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sintro.cells.settings import Settings
from sintro.metrics import METRICS, NOT_MEASURED, NotFinite, noise
from sintro.metrics.definitions_images import FLOORS, optimism

Measure = Callable[[int], Mapping[str, Any]]  # the number of a draw -> the metrics of its samples


def is_choice(settings: Settings) -> bool:
    """Tell whether several snapshots are kept before the end of training, to select one of them.

    The settings say so: after the first evaluation all snapshots but the selected one are removed.
    """
    return sum(after < settings.iterations for after in settings.snapshots) > 1


def selection_gain(name: str, value: float, fresh: float, is_selected: bool) -> dict[str, Any]:
    """Return by how much the selection by a Fréchet distance favoured its choice, or that there was none.

    Args:
        name: of the distance, ``fid`` or ``cfid``.
        value: the distance by which the model was selected.
        fresh: the same distance for images from fresh latents; NaN comes out where one of the two is not finite.
        is_selected: whether the model was selected among several.
    """
    if not is_selected:
        return {NOT_MEASURED: {optimism(name): "nothing to select"}}
    gain = fresh - value
    return {optimism(name): gain if math.isfinite(gain) else math.nan}


def spread(found: Mapping[str, Any], measure: Measure) -> dict[str, float]:
    """Return the standard deviation of every metric of samples over its own draw and the fresh ones.

    Left out are numbers without a better direction and without a floor: spreads, the floors themselves, properties of
    the data alone.

    Args:
        found: the metrics of the model, among them those of draw 0 of its samples.
        measure: measures the samples of a fresh draw.
    """
    redrawn = [_scores(measure, draw) for draw in range(1, noise.REDRAWS + 1)]
    names = {name: None for draw in redrawn for name in draw if isinstance(found.get(name), float | int)}
    draws = [{name: draw.get(name, math.nan) for name in names} for draw in (found, *redrawn)]
    return noise.over_draws(draws)


def _scores(measure: Measure, draw: int) -> dict[str, float]:
    """Measure one draw; nothing of samples that are not finite, for the model itself is not judged by them."""
    try:
        found = measure(draw)
    except NotFinite:
        return {}
    known = {name: value for name, value in found.items() if name in METRICS}
    return {name: value for name, value in known.items() if METRICS[name].lower_is_better is not None or name in FLOORS}
