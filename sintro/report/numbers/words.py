"""How the pages spell numbers, durations, sizes, settings and names."""

import math
from collections.abc import Sequence
from typing import Any

DATASET_NAMES = {
    "8gaussians": "8 Gaussians", "spirals": "Spirals", "checkerboard": "Checkerboard", "rings": "Rings",
    "digits": "Digits", "mnist": "MNIST", "fmnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "svhn": "SVHN",
}  # fmt: skip
ARROWS = {
    "lower": "lower is better", "higher": "higher is better", "half": "closer to 0.5 is better",
    "none": "neither low nor high is better",
}  # fmt: skip


def plural(count: int, noun: str) -> str:
    """`1 cell`, `5 cells`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def row_label(row: Sequence[str]) -> str:
    """A table row in one line: objective, prior, and the regularizers unless there are none."""
    return " · ".join(part for part in row if part != "none")


def show_number(value: Any, digits: int = 5) -> str:
    """A number for reading; NaN and infinities by their names."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def show_duration(seconds: Any) -> str:
    """`2 h 05 min`, `3 min 20 s`, `4.1 s`."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def show_bytes(count: Any) -> str:
    """`512 MiB`."""
    if not isinstance(count, int | float) or isinstance(count, bool) or not math.isfinite(count):
        return "–"
    return f"{count / 2**20:,.0f} MiB"


def show_setting(value: Any) -> str:
    """A hyper-parameter as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(show_setting, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else show_number(value, 6)
