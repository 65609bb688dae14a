"""Distances in the features of images beside the Fréchet distance to the training images, and the distances' floor.

The floor is what one half of the training images that are the reference scores against the other: no model does better,
save by chance, with as few images. The Fréchet distance of a finite sample is biased upwards, and a half has half the
images: so its floor here is about twice what a perfect model scores against the whole reference.
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
    """Kernel distances to the training images, and both kinds of distance to the test split, of features in eval mode.

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
    """The floors of the distances ``name`` and its kernel distance, from the references in eval and in train mode."""
    found = halves(standard)
    return {
        f"{name}_floor": found["distance"],
        f"{KERNELS[name]}_floor": found["kernel"],
        f"{name}_floor_published": halves(published)["distance"],
    }


def halves(reference: Reference) -> dict[str, float]:
    """The Fréchet distance and the kernel distance between the two halves of a reference, which is in random order.

    Computed once for a reference and then read: stored beside it, under its name, which is a digest of its content.
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
