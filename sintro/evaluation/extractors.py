"""Which networks give the features of a cell's images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sintro.data import sources
from sintro.data.images import ImageSet
from sintro.metrics.features import (
    FeatureExtractor,
    class_features,
    classifier_features,
    dinov2_features,
    inception_features,
)

MOST_ON_CPU = 1000  # images for DINOv2, which takes some 0.16 TFLOP for each


@dataclass
class Extractors:
    """``main``: of FID or cfid. ``classes``: tells classes; None without labels. ``dinov2``: None where
    ``why_no_dinov2`` says why, or where the data are no photographs.
    """

    main: FeatureExtractor
    classes: FeatureExtractor | None
    dinov2: FeatureExtractor | None
    why_no_dinov2: str


def pick(train: ImageSet, results: Path, device: str, count: int, report: Callable[[int, int], None]) -> Extractors:
    """Pick the networks for ``count`` generated images and the training split ``train``, all of it: the classifier
    learns from the whole split, so that all cells of a data set have one. ``report`` is told their progress.
    """
    photographs = sources.are_photographs(train.name)
    main = main_network(train, results, device)
    classes = class_features(train, results, device) if train.has_labels else None
    is_grey = train.event[0] == 1
    why = ("grey images" if is_grey else why_no_dinov2(count, device)) if photographs else ""
    dinov2 = dinov2_features(device=device) if photographs and not why else None
    main, classes, dinov2 = (each and replace(each, report=report) for each in (main, classes, dinov2))
    return Extractors(main, classes, dinov2, why)


def main_network(train: ImageSet, results: Path, device: str) -> FeatureExtractor:
    """Load the network of FID for photographs; elsewhere, or without its weights, the data set's classifier of cFID."""
    if sources.are_photographs(train.name) and not sources.missing_inception(train.name):
        return inception_features(device=device)
    return classifier_features(train, results, device)


def why_no_dinov2(count: int, device: str) -> str:
    """Say in a few words why ``count`` photographs are not measured in DINOv2's features; "" where they are."""
    why = sources.why_no_dinov2()
    if not why and torch.device(device).type == "cpu" and count > MOST_ON_CPU:
        return f"more than {MOST_ON_CPU:,} images need a GPU"
    return why
