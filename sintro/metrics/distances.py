"""Distances between images by their features, beside the Fréchet distance to the training images, and their floors.

The floor is the score of one half of the reference's training images against the other half: no model with as few
images does better, save by chance. The Fréchet distance of a finite sample is biased upwards. A half has half as many
images, so the floor is about twice the score of a perfect model against the whole reference.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from sintro.basics.files import whole
from sintro.metrics import NOT_MEASURED
from sintro.metrics.definitions_images import KERNELS
from sintro.metrics.extrapolation import FEWEST, infinite_distance
from sintro.metrics.features import Reference
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kept import kept
from sintro.metrics.kernel import kernel_distance
from sintro.metrics.manifold import nearest_real, standard_manifolds

VERSION = 1  # of what is stored


def standard_distances(name: str, real: Reference, test: Reference, generated: Tensor, seed: int) -> dict[str, Any]:
    """Compute kernel distances and the extrapolated Fréchet distance to the training images, and both distances to the
    test split, of eval-mode features. What is not measured is named with the reason.

    Args:
        name: of the Fréchet distance in these features, ``fid`` or ``cfid``; the metrics' names follow from it.
        real, test: the references of the two splits.
        generated: [M, F] features of generated images.
        seed: of the choice of subsets.
    """
    kernel = KERNELS[name]
    mean, spread = kernel_distance(real.features, generated, seed)
    infinite = (f"{name}_infinity", f"{name}_infinity_se")
    if len(generated) < FEWEST:
        found = {NOT_MEASURED: dict.fromkeys(infinite, f"fewer than {FEWEST:,} images")}
    else:
        found = dict(zip(infinite, infinite_distance(generated, real.statistics, seed), strict=True))
    return found | {
        kernel: mean,
        f"{kernel}_sd": spread,
        f"{name}_test": FeatureStatistics.of(generated).distance(test.statistics),
        f"{kernel}_test": kernel_distance(test.features, generated, seed)[0],
    }


def dinov2_metrics(real: Reference, generated: Tensor, seed: int) -> dict[str, float]:
    """Compute both distances to the training images with their floors, and the manifolds, in DINOv2's features.

    Args:
        real: the reference of the training images.
        generated: [M, F] features of generated images.
        seed: of the choice of subsets.
    """
    mean, spread = kernel_distance(real.features, generated, seed)
    floor = halves(real)
    manifolds, _ = standard_manifolds(real.features, generated)
    return {
        "fd_dinov2": FeatureStatistics.of(generated).distance(real.statistics),
        "fd_dinov2_floor": floor["distance"],
        "kd_dinov2": mean,
        "kd_dinov2_sd": spread,
        "kd_dinov2_floor": floor["kernel"],
    } | {f"{name}_dinov2": value for name, value in manifolds.items()}


def floors(name: str, standard: Reference, published: Reference, test: Reference) -> dict[str, float]:
    """Return the floors of the distance ``name``, its kernel distance and authenticity.

    Args:
        standard, published: the references of the training images in eval and in train mode.
        test: that of the test split in eval mode.
    """
    found = halves(standard)
    return {
        "authenticity_floor": authenticity_floor(standard, test),
        f"{name}_floor": found["distance"],
        f"{KERNELS[name]}_floor": found["kernel"],
        f"{name}_floor_published": halves(published)["distance"],
    }


def halves(reference: Reference) -> dict[str, float]:
    """Return the Fréchet and the kernel distance between the two halves of a reference, which is in random order.

    Computed once and kept beside the reference, whose name holds a digest of its content.
    """

    def make() -> dict[str, float]:
        features = reference.features
        half = len(features) // 2
        first, second = features[:half], features[half:]
        distance = FeatureStatistics.of(first).distance(FeatureStatistics.of(second))
        return {"distance": distance, "kernel": kernel_distance(first, second)[0]}

    return _kept(reference.path.with_suffix(".halves.json"), ("distance", "kernel"), make)


def authenticity_floor(real: Reference, test: Reference) -> float:
    """Return the authenticity of test images: the share that are farther from their nearest training image than that
    image is from its own nearest neighbour. Computed once and kept beside the reference of the training images.
    """
    path = real.path.with_suffix(f".authenticity-{test.path.stem.rpartition('-')[2]}.json")

    def make() -> dict[str, float]:
        return {"authenticity": nearest_real(real.features, test.features).authenticity}

    return _kept(path, ("authenticity",), make)["authenticity"]


def _kept(path: Path, names: tuple[str, ...], make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return numbers that are computed once and kept in a file."""

    def made() -> dict[str, float]:
        found = make()
        with whole(path) as temporary:
            temporary.write_text(json.dumps(found | {"version": VERSION}))
        return found

    return kept(path, "the floor of a reference", lambda: _stored(path, names), made)


def _stored(path: Path, names: tuple[str, ...]) -> dict[str, float] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        values = {name: float(stored[name]) for name in names}
        whole_file = stored["version"] == VERSION and all(map(math.isfinite, values.values()))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        return None
    return values if whole_file else None
