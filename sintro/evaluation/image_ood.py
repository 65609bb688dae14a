"""Tell test images from outliers by the scores of :mod:`sintro.evaluation.ood`."""

from typing import Any

import numpy as np
import torch

from sintro.basics.randomness import generator
from sintro.cells.settings import Settings
from sintro.data.images import ImageSet
from sintro.data.outliers import image_outliers, most_scored
from sintro.evaluation.ood import compare, score_batches
from sintro.objectives.model import Model


def detect_images(
    model: Model, settings: Settings, test: ImageSet, device: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tell test images from each kind of outlier that is at hand; return metrics and scores."""
    seed, size = settings.seed, settings.batch_size
    outliers, missing = image_outliers(test, generator(seed, "evaluation-ood"))
    most = min(most_scored(test), settings.evaluation_images)
    noise = generator(seed, "evaluation-ood-noise", 0, device)

    def scored(pixels: torch.Tensor) -> dict[str, np.ndarray]:
        parts = map(test.on_device, pixels[:most].split(size))
        return score_batches(model, parts, model.mixture(), settings.samples, noise)

    own = scored(test.images) if outliers else {}
    metrics, arrays = compare(own, {kind: scored(pixels) for kind, pixels in outliers.items()}, seed)
    return metrics | ({"ood_missing": missing} if missing else {}), arrays
