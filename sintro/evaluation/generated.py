"""The metrics of generated images: distances, copies of training images, and classes. docs/science.md, section 7."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sintro.data.images import Gathered, ImageSet
from sintro.metrics import NOT_MEASURED, classes
from sintro.metrics.classifier import CLASSES
from sintro.metrics.distances import standard_distances
from sintro.metrics.features import FeatureExtractor, Reference, reference_indices
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.manifold import Nearest, published_precision_recall, standard_manifolds
from sintro.priors import Prior

PAIRS = 16  # of the sheet of nearest training images

Measured = tuple[dict[str, Any], dict[str, np.ndarray]]  # metrics, and the arrays of their pictures


NO_LABELS = {
    NOT_MEASURED: dict.fromkeys(
        ("class_accuracy", "class_tv", "class_tv_floor", "mode_purity", "mode_purity_floor"), "no labels"
    )
}
NO_MODES = {NOT_MEASURED: dict.fromkeys(("mode_purity", "mode_purity_floor"), "no modes")}


def together(*found: Mapping[str, Any]) -> dict[str, Any]:
    """Unite metrics, and the reasons why others are not measured."""
    metrics = {name: value for each in found for name, value in each.items()}
    reasons = {name: why for each in found for name, why in each.get(NOT_MEASURED, {}).items()}
    return metrics | ({NOT_MEASURED: reasons} if reasons else {})


def published_scores(name: str, real: Reference, generated: torch.Tensor) -> dict[str, float]:
    """Compute the Fréchet distance ``name``, precision and recall of train-mode features [M, F] as published."""
    precision, recall = published_precision_recall(real.features, generated)
    distance = FeatureStatistics.of(generated).distance(real.statistics)
    return {f"{name}_published": distance, "precision_published": precision, "recall_published": recall}


def standard_scores(
    name: str,
    real: Reference,
    test: Reference,
    generated: torch.Tensor,
    seed: int,
    pictures: torch.Tensor,
    train: ImageSet,
) -> Measured:
    """Compute all distances and manifolds of eval-mode features, and find copies of training images.

    Args:
        name: of the Fréchet distance in these features, ``fid`` or ``cfid``.
        real, test: the references of the two splits.
        generated: [M, F] features of the pictures.
        seed: of the choice of subsets.
        pictures: as in :func:`copies`.
        train: the training split, whose images ``real`` is of.
    """
    features = real.features
    manifolds, nearest = standard_manifolds(features, generated)
    distance = {name: FeatureStatistics.of(generated).distance(real.statistics)}
    others = standard_distances(name, real, test, generated, seed)
    training = Gathered(train.images, reference_indices(train, len(features)))
    copied, sheet = copies(nearest, pictures, training)
    return together(distance, manifolds, others, copied), sheet


def copies(nearest: Nearest, pictures: torch.Tensor, training: Gathered) -> Measured:
    """Measure authenticity, and keep the 16 samples that are most like a copy, each with its training image.

    Args:
        nearest: of the pictures, among the training images.
        pictures: generated images, uint8 [M, C, H, W].
        training: the training images, uint8, among which ``nearest.index`` counts.
    """
    order = nearest.ratio.argsort(stable=True)[:PAIRS].to(nearest.index.device)
    found = {
        "nearest_samples": pictures[order.to(pictures.device)],
        "nearest_training": training[nearest.index[order].cpu()],
        "nearest_ratios": nearest.ratio[order],
    }
    return {"authenticity": nearest.authenticity}, {name: values.cpu().numpy() for name, values in found.items()}


def told(network: FeatureExtractor, features: torch.Tensor) -> torch.Tensor:
    """Tell the class [N] of images from features [N, F] of :func:`sintro.metrics.features.class_features`."""
    head = network.network.head
    return head(features.to(head.weight.device)).argmax(1).cpu()


def classes_and_modes(
    told: torch.Tensor, known: torch.Tensor, prior: Prior, components: torch.Tensor, count: int = CLASSES
) -> Measured:
    """Compare the classes of generated images with those of the data, and measure how pure the prior's modes are.

    Args:
        told, known: the class of each generated image [M] and of each training image [N].
        components: the mode [M] that each generated image is of.
        count: how many classes there are.
    """
    ours, data = classes.shares(told, count), classes.shares(known, count)
    metrics = {
        "class_tv": classes.total_variation(ours, data),
        "class_tv_floor": classes.total_variation_floor(data, len(told), len(known)),
    }
    arrays = {"class_shares": torch.stack([ours, data]).numpy()}
    if not prior.has_modes:
        return metrics | NO_MODES, arrays
    components, modes = components.cpu(), prior.components
    counts = classes.table(components, told, modes, count)
    metrics["mode_purity"] = classes.purity(counts)
    metrics["mode_purity_floor"] = classes.purity_floor(components, told, modes, count)
    order = prior.weights.argsort(descending=True, stable=True).cpu()
    return metrics, arrays | {"mode_classes": counts[order].numpy()}
