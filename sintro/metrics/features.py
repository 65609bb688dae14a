"""Features of images for FID, cfid, precision and recall (docs/science.md, sections 7 and 8, A1).

There are three extractors: the Inception network of FID, a small classifier of the data set, and DINOv2, which has no
batch norm and one mode. The others have two modes. In
"eval" (standard) batch norm uses the network's own statistics. In "train" it uses the statistics of each batch of
images, as in the published evaluation, which left the network in train mode. An image's features then depend on its
batch, so the batch size is that of training; the network's own statistics do not change.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sintro import SintroError
from sintro.basics.files import DAMAGED_ZIP, whole
from sintro.basics.randomness import generator
from sintro.data import sources
from sintro.data.images import Gathered, ImageSet, to_float
from sintro.metrics import NotFinite, classifier
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kept import kept

MODES = ("train", "eval")
FOLDER = "features"  # under the results
VERSION = 1  # of what a cached reference holds
UNREADABLE = (OSError, KeyError, *DAMAGED_ZIP)  # raised for a file that is not there, or not whole


def to_uint8(images: Tensor) -> Tensor:
    """Turn generated images [N, C, H, W] into uint8 as a file would hold them: clipped to [0, 1], floor(255 x).

    Raises NotFinite, a SintroError, for a value that is not finite.
    """
    if not images.isfinite().all():
        raise NotFinite("generated images hold values that are not finite: the model has diverged")
    return (images.detach().to(torch.float32).clamp(0, 1) * 255).floor().to(torch.uint8)


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that gives [B, dimension] features of images [B, C, H, W] in [0, 1].

    `distance` names the Fréchet distance in these features: "fid" for Inception, "cfid" for a classifier. `digest`
    identifies the weights.
    """

    name: str
    distance: str
    network: nn.Module = field(repr=False)
    dimension: int
    digest: str
    report: Callable[[int, int], None] | None = field(default=None, repr=False, compare=False)  # (images done, of all)

    @torch.no_grad()
    def features(self, images: Tensor | Gathered, mode: str, batch_size: int) -> Tensor:
        """Compute features [N, dimension], float32 on the CPU, of images in order; the last batch may be smaller.

        Args:
            images: [N, C, H, W] on any device, uint8, or floats, which :func:`to_uint8` quantises.
            mode: "train" or "eval", of batch norm.
            batch_size: part of the definition in train mode; in eval mode it changes the memory only.
        """
        shape = images.images.shape if isinstance(images, Gathered) else images.shape
        if len(shape) != 4 or not len(images) or batch_size < 1:
            raise SintroError(f"features: images {tuple(shape)}, batch size {batch_size}; expected [N, C, H, W]")
        set_batch_norm(self.network, mode)
        device = next(self.network.parameters()).device
        collected = torch.empty(len(images), self.dimension)
        with torch.backends.cudnn.flags(
            enabled=True, allow_tf32=False
        ):  # the ten bits of mantissa of TF32 would change a FID
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size].to(device)
                batch = batch if batch.dtype == torch.uint8 else to_uint8(batch)
                collected[start : start + batch_size] = self.network(to_float(batch))
                if self.report is not None:
                    self.report(min(start + batch_size, len(images)), len(images))
        return collected


def set_batch_norm(network: nn.Module, mode: str) -> None:
    """Put a network in eval mode; in mode "train" batch norm uses the batch's statistics and keeps its own."""
    if mode not in MODES:
        raise SintroError(f"unknown batch-norm mode {mode!r}; there are {', '.join(MODES)}")
    network.eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(mode == "train")
            module.track_running_stats = mode == "eval"


def inception_features(root: str | Path | None = None, device: torch.device | str = "cpu") -> FeatureExtractor:
    """Load FID's Inception network. Raises SintroError where its weights are missing or not the right ones.

    Args:
        root: the data root, one of the places where the weights may lie (see :mod:`sintro.data.sources`).
    """
    state = sources.require_weights(sources.INCEPTION, sources.data_root(root))
    from sintro.metrics import inception  # after the check: importing torchvision takes seconds

    network = inception.load(state.path).to(device)
    return FeatureExtractor("inception", "fid", network, inception.DIMENSION, state.sha256)


def dinov2_features(root: str | Path | None = None, device: torch.device | str = "cpu") -> FeatureExtractor:
    """Load DINOv2 (:mod:`sintro.metrics.dinov2`). Raises SintroError where timm or the right weights are missing.

    Args:
        root: the data root, one of the places where the weights may lie.
    """
    state = sources.require_weights(sources.DINOV2, sources.data_root(root))
    from sintro.metrics import dinov2  # imports torchvision

    network = dinov2.load(state.path).to(device)
    return FeatureExtractor("dinov2", "fd_dinov2", network, dinov2.DIMENSION, state.sha256)


def classifier_features(
    training_images: ImageSet, results: str | Path = "results", device: torch.device | str = "cpu"
) -> FeatureExtractor:
    """Return the small classifier of a data set, trained when it is first needed and then read from `results`."""
    if training_images.split != "train":
        raise SintroError(f"the classifier is trained on the training split, got {training_images.split!r}")
    network, digest = classifier.cached(training_images, Path(results) / FOLDER)
    network = network.to(device, memory_format=torch.channels_last)  # half the time of the plain layout on a processor
    return FeatureExtractor("classifier", "cfid", network, classifier.DIMENSION, digest)


def class_features(
    training_images: ImageSet, results: str | Path = "results", device: torch.device | str = "cpu"
) -> FeatureExtractor:
    """Return the classifier of a labelled data set as it tells classes (:func:`sintro.metrics.classifier.calibrated`).

    The logits of the classes are ``network.head`` of the features.
    """
    images = training_images.to("cpu")
    network = classifier.calibrated(classifier.cached(images, Path(results) / FOLDER)[0], images)
    return FeatureExtractor("classes", "", network.to(device), classifier.DIMENSION, classifier.weights_hash(network))


@dataclass(frozen=True)
class Reference:
    """The real side of a comparison: statistics of real features, and on demand the features themselves."""

    path: Path
    statistics: FeatureStatistics

    @property
    def features(self) -> Tensor:  # [count, F] float32
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                return torch.from_numpy(stored["features"])
        except UNREADABLE as error:
            raise SintroError(f"{self.path} cannot be read ({error}); delete it, and it is computed anew") from error


def reference_indices(images: ImageSet, count: int) -> Tensor:
    """Return the indices [count] of the images that stand for the data: a fixed random choice in a fixed random order.

    Reconstructions are of these images too.
    """
    if not 2 <= count <= len(images):
        raise SintroError(
            f"reference of {count} images: {images.name} {images.split} has {len(images)}, at least 2 are needed"
        )
    order = torch.randperm(len(images), generator=generator(0, "reference"))
    return order[:count].to(images.images.device)


def reference(
    images: ImageSet,
    extractor: FeatureExtractor,
    mode: str,
    batch_size: int,
    count: int,
    results: str | Path = "results",
) -> Reference:
    """Return the reference of a split, computed once per (data, split, extractor, mode, batch size, count) and kept.

    It is kept under `results`/features, keyed by the content of the data and of the extractor's weights, so that a
    stale one is never read.
    """
    count = min(count, len(images))
    indices = reference_indices(images, count)
    key = {"version": VERSION, "data": images.sha256, "extractor": extractor.digest, "mode": mode, "count": count}
    key["batch_size"] = batch_size if mode == "train" else None  # in eval mode it changes nothing
    if images.chosen is not None:
        key["training_images"] = images.chosen
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    batching = f"train{batch_size}" if mode == "train" else mode
    path = Path(results) / FOLDER / f"{images.name}-{images.split}-{extractor.name}-{batching}-{count}-{digest}.npz"

    def make() -> FeatureStatistics:
        features = extractor.features(Gathered(images.images, indices), mode, batch_size)
        statistics = FeatureStatistics.of(features)
        _store(path, features, statistics, key)
        return statistics

    return Reference(path, kept(path, "reference statistics", lambda: _stored(path, extractor.dimension), make))


def _store(path: Path, features: Tensor, statistics: FeatureStatistics, key: dict) -> None:
    with whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            features=features.numpy(),
            mean=statistics.mean.numpy(),
            covariance=statistics.covariance.numpy(),
            count=statistics.count,
            key=json.dumps(key, sort_keys=True),
        )


def _stored(path: Path, dimension: int) -> FeatureStatistics | None:
    try:
        status = path.stat()
        if not _is_whole(path, status.st_mtime_ns, status.st_size):
            return None
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            statistics = FeatureStatistics.restored(stored["count"], stored["mean"], stored["covariance"])
    except UNREADABLE:
        return None
    return statistics if statistics.dimension == dimension else None


@lru_cache(maxsize=256)
def _is_whole(path: Path, _mtime: int, _size: int) -> bool:
    """Tell whether every checksum of a zip is right: once per process, since a reference can have 400 MB."""
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None
