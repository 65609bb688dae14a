"""Distances between images by their features, beside the Fréchet distance to the training images, and their floors.

The floor is the score of one half of the reference's training images against the other half: no model with as few
images does better, save by chance. The Fréchet distance of a finite sample is biased upwards. A half has half as many
images, so the floor is about twice the score of a perfect model against the whole reference.
"""

import json
import math
from pathlib import Path

from torch import Tensor

from sintro.basics.files import whole
from sintro.metrics.definitions_images import KERNELS
from sintro.metrics.features import Reference
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kept import kept
from sintro.metrics.kernel import kernel_distance

VERSION = 1  # of what is stored
NAMES = ("distance", "kernel")


def standard_distances(name: str, real: Reference, test: Reference, generated: Tensor, seed: int) -> dict[str, float]:
    """Compute kernel distances to the training images, and both distances to the test split, of eval-mode features.

    Args:
        name: of the Fréchet distance in these features, ``fid`` or ``cfid``; the metrics' names follow from it.
        real, test: the references of the two splits.
        generated: [M, F] features of generated images.
        seed: of the choice of the kernel distance's subsets.
    """
    kernel = KERNELS[name]
    mean, spread = kernel_distance(real.features, generated, seed)
    return {
        kernel: mean,
        f"{kernel}_sd": spread,
        f"{name}_test": FeatureStatistics.of(generated).distance(test.statistics),
        f"{kernel}_test": kernel_distance(test.features, generated, seed)[0],
    }


def floors(name: str, standard: Reference, published: Reference) -> dict[str, float]:
    """Return the floors of the distance ``name`` and its kernel distance, from references in eval and train mode."""
    found = halves(standard)
    return {
        f"{name}_floor": found["distance"],
        f"{KERNELS[name]}_floor": found["kernel"],
        f"{name}_floor_published": halves(published)["distance"],
    }


def halves(reference: Reference) -> dict[str, float]:
    """Return the Fréchet and the kernel distance between the two halves of a reference, which is in random order.

    Computed once and kept beside the reference, whose name holds a digest of its content.
    """
    path = reference.path.with_suffix(".halves.json")

    def make() -> dict[str, float]:
        features = reference.features
        half = len(features) // 2
        first, second = features[:half], features[half:]
        distance = FeatureStatistics.of(first).distance(FeatureStatistics.of(second))
        found = {"distance": distance, "kernel": kernel_distance(first, second)[0]}
        with whole(path) as temporary:
            temporary.write_text(json.dumps(found | {"version": VERSION}))
        return found

    return kept(path, "the floor of a reference", lambda: _stored(path), make)


def _stored(path: Path) -> dict[str, float] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        values = {name: float(stored[name]) for name in NAMES}
        whole_file = stored["version"] == VERSION and all(map(math.isfinite, values.values()))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        return None
    return values if whole_file else None
