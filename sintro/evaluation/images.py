"""The metrics of an image cell, in the published and in the standard form, from the same images.

docs/science.md, section 7. The published protocol takes the checkpoint with the lowest published FID of six; here it
and the end of training are both measured, and the metrics of the latter carry ``_last`` in their names. The pictures
are of the end of training, for which nothing was selected.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sintro import SintroError
from sintro.basics.progress import Steps
from sintro.basics.randomness import generator
from sintro.cells.components import dataset
from sintro.cells.settings import Settings
from sintro.data import images, sources
from sintro.data.images import ImageSet, to_float
from sintro.data.outliers import image_outliers
from sintro.evaluation.image_arrays import picture_arrays
from sintro.evaluation.ood import compare, score_batches
from sintro.metrics import NotFinite
from sintro.metrics.distances import floors, standard_distances
from sintro.metrics.features import (
    FeatureExtractor,
    Reference,
    classifier_features,
    inception_features,
    reference,
    reference_indices,
    set_batch_norm,
    to_uint8,
)
from sintro.metrics.fid import FeatureStatistics, sample_warning
from sintro.metrics.latent import (
    MeanResponsibilities,
    drift,
    inactive_modes,
    published_responsibility_entropy,
    responsibility_entropy,
)
from sintro.metrics.manifold import published_precision_recall, standard_manifolds
from sintro.metrics.representation import linear_probe, published_probes
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.priors import Prior
from sintro.runs.stored import MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS

SCORED = 4096  # scores kept for the picture of out-of-distribution detection
Load = Callable[[str], Model]

# The steps of an evaluation, as its progress names them: one for each snapshot, then these for each that is measured.
SELECTION = "published distance of a snapshot"
PUBLISHED, REFRESH, STANDARD = "published distances", "statistics of batch norm", "standard distances"
LATENT, DETECTION, PROBES = "codes of test images", "out-of-distribution detection", "probes on codes"
STEPS = (PUBLISHED, REFRESH, STANDARD, LATENT, DETECTION, PROBES, "pictures")
FLOOR = "floor of the distances"  # the last step


class ImageEvaluation:
    """Measures the snapshots of one cell.

    Args:
        settings: the cell's; ``evaluation_images`` are generated, ``batch_size`` at a time in the published protocol.
        load: the model of a file in the cell's folder, by name.
        results: where reference features are kept for all cells.
        steps: is told what is being measured.
    """

    def __init__(self, settings: Settings, load: Load, device: str, results: Path, steps: Steps | None = None):
        self.steps = steps or Steps()
        self.steps.begin("data and feature network")
        self.settings, self.load, self.device, self.results = settings, load, device, results
        train = images.load(settings.dataset, "train", device=device)
        self.train = train.choose(settings.training_images)
        self.test = images.load(settings.dataset, "test", device=device)
        # The classifier learns from the whole split: one network for all cells of a data set.
        self.extractor = replace(pick_extractor(train, results, device), report=self.steps.part)

    def measure(self, snapshots: dict[int, str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All metrics, and the arrays of the pictures.

        ``snapshots``: file names by the number of iterations they were saved after; the largest is the end of training,
        the others are those among which the published protocol selects.
        """
        name, last = self.extractor.distance, max(snapshots)
        distances, responsibilities = {}, {}
        self.steps.plan([SELECTION] * len(snapshots) + [*STEPS] * min(len(snapshots), 2) + [FLOOR])
        for after, file in sorted(snapshots.items()):
            self.steps.begin(SELECTION)
            model = self.load(file)
            distances[after] = self._selection_distance(model, after == last)
            if model.mixture().has_modes:
                responsibilities[after] = self._mean_responsibilities(model)
        best = min(set(distances) - {last} or {last}, key=distances.__getitem__)
        final, arrays = self._measure_one(self.load(snapshots[last]))
        metrics = dict(final if best == last else self._measure_one(self.load(snapshots[best]))[0])
        metrics |= {_last_name(key): value for key, value in final.items() if isinstance(value, float | int)}
        self.steps.begin(FLOOR)
        metrics |= floors(name, self._reference("eval"), self._reference("train"))
        if responsibilities:
            arrays[RESPONSIBILITY_ITERATIONS] = np.array(list(responsibilities))
            arrays[MEAN_RESPONSIBILITIES] = np.stack(list(responsibilities.values()))
        metrics |= {"selected_iteration": best, "images": self.settings.evaluation_images}
        metrics[f"{name}_over_iterations"] = {str(after): value for after, value in distances.items()}
        warning = sample_warning(self.settings.evaluation_images, self.extractor.dimension)
        return metrics | ({"warning": warning} if warning else {}), arrays

    # --- generated and reconstructed images

    def _generated(self, model: Model, mode: str) -> torch.Tensor:
        """uint8 [M, C, H, W] from the prior, with batch norm in the given mode; the same latents in both modes."""
        _set_mode(model, mode)
        noise = generator(self.settings.seed, "evaluation-images", 0, self.device)
        z = model.mixture().sample(self.settings.evaluation_images, noise)[0]
        return torch.cat([to_uint8(model.decoder(part)).cpu() for part in z.split(self.settings.batch_size)])

    def _reconstructed(self, model: Model, mode: str) -> torch.Tensor:
        """uint8 reconstructions of training images.

        Published (mode "train"): g(z) of sampled z ~ q(z|x), of images in a random order of their own. Standard (mode
        "eval"): g(mu(x)) of the images that the reference is made of.
        """
        _set_mode(model, mode)
        count = min(self.settings.evaluation_images, len(self.train))
        published = mode == "train"
        noise = generator(self.settings.seed, "evaluation-reconstructions", 0, self.device)
        indices = self._own_order(count) if published else reference_indices(self.train, count)
        pictures = []
        for part in indices.split(self.settings.batch_size):
            posterior = model.encode(self.train.batch(part))
            z = posterior.sample(noise) if published else posterior.mean
            pictures.append(to_uint8(model.decoder(z)).cpu())
        return torch.cat(pictures)

    def _own_order(self, count: int) -> torch.Tensor:
        """Indices [count] of training images in this cell's own random order: other batches than the reference's."""
        order = torch.randperm(len(self.train), generator=generator(self.settings.seed, "evaluation-order"))
        return order[:count].to(self.device)

    def _reference(self, mode: str, split: ImageSet | None = None) -> Reference:
        """Of the training images, or of another split."""
        images, size = split or self.train, self.settings.batch_size
        return reference(images, self.extractor, mode, size, self.settings.evaluation_images, self.results)

    def _features(self, pictures: torch.Tensor, mode: str) -> torch.Tensor:
        return self.extractor.features(pictures, mode, self.settings.batch_size)

    def _selection_distance(self, model: Model, last: bool) -> float:
        """The published distance; infinite for a snapshot whose images are not finite: it is never selected."""
        try:
            return self._published_distance(model)
        except NotFinite:
            if last:
                raise
            return math.inf

    def _published_distance(self, model: Model) -> float:
        """The Fréchet distance by which the published code picks its checkpoint: everything in train mode."""
        return self._distance(self._features(self._generated(model, "train"), "train"), "train")

    def _mean_responsibilities(self, model: Model) -> np.ndarray:
        """a_k [K], the mean responsibility of each mode over the test images, in eval mode."""
        _set_mode(model, "eval")
        prior, noise = model.mixture(), generator(self.settings.seed, "evaluation-shares", 0, self.device)
        averaged = MeanResponsibilities()
        for batch in _batches(self.test, self.settings.batch_size):
            averaged.update(prior.responsibilities(model.encode(batch).sample(noise)))
        return averaged.mean.cpu().numpy()

    # --- one snapshot

    def _measure_one(self, model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        self.steps.begin(PUBLISHED)
        metrics = self._distances(model, "train", "_published")
        self.steps.begin(REFRESH)
        refresh_batch_norm(model, self.train, self.settings)
        self.steps.begin(STANDARD)
        metrics |= self._distances(model, "eval", "")
        _set_mode(model, "eval")
        self.steps.begin(LATENT)
        state, codes = self._latent_state(model)
        self.steps.begin(DETECTION)
        detected, scored = self._detection(model)
        self.steps.begin(PROBES)
        probes = self._probes(model, codes)
        self.steps.begin(STEPS[-1])
        arrays = picture_arrays(model, self.test, codes["mean"], self.settings.seed, self.device)
        return metrics | state | probes | detected, arrays | scored

    def _distances(self, model: Model, mode: str, suffix: str) -> dict[str, Any]:
        """Fréchet distances of samples and reconstructions, precision and recall, in one protocol.

        ``mode`` is the batch-norm mode of the feature network and of the generator; the samples are also measured with
        the feature network in the other mode: ``fid_train_eval`` names the feature network's mode first.
        """
        name, other = self.extractor.distance, "eval" if mode == "train" else "train"
        real, pictures = self._reference(mode), self._generated(model, mode)
        generated = self._features(pictures, mode)
        found = {
            f"{name}{suffix}": FeatureStatistics.of(generated).distance(real.statistics),
            f"{name}_{other}_{mode}": self._distance(self._features(pictures, other), other),
            f"{name}_rec{suffix}": self._distance(self._features(self._reconstructed(model, mode), mode), mode),
        }
        if suffix == "_published":
            precision, recall = published_precision_recall(real.features, generated)
            return found | {"precision_published": precision, "recall_published": recall}
        found |= standard_manifolds(real.features, generated)
        return found | standard_distances(name, real, self._reference("eval", self.test), generated, self.settings.seed)

    def _distance(self, features: torch.Tensor, mode: str) -> float:
        return FeatureStatistics.of(features).distance(self._reference(mode).statistics)

    def _latent_state(self, model: Model) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The ELBO's parts, the use of the modes and the drift on the test split, in eval mode; and the test codes."""
        prior, noise = model.mixture(), generator(self.settings.seed, "evaluation-latent", 0, self.device)
        sums, averaged, codes = torch.zeros(3, dtype=torch.float64), MeanResponsibilities(), []
        for batch in _batches(self.test, self.settings.batch_size):
            posterior = model.encode(batch)
            z = posterior.sample(noise)
            again = model.encode(model.decoder(posterior.mean))
            sums[0] += model.squared_error(batch, model.decoder(z)).double().sum().cpu()
            sums[1] += kl(*posterior, prior, self.settings.samples, noise).double().sum().cpu()
            sums[2] += drift(*again, *posterior).cpu() * len(batch)
            if prior.has_modes:
                averaged.update(prior.responsibilities(z))
            codes.append((*posterior, z))
        reconstruction, divergence, moved = (sums / len(self.test)).tolist()
        state = {"reconstruction": reconstruction, "kl_posterior": divergence, "elbo": -(reconstruction + divergence)}
        state["elbo_published"] = -(reconstruction / 2 + divergence)
        state |= {"mse": reconstruction * self.settings.scale, "drift": moved}
        mean, log_var, sampled = (torch.cat(kind) for kind in zip(*codes, strict=True))
        if prior.has_modes:
            state["responsibility_entropy"] = float(responsibility_entropy(averaged.mean))
            state["responsibility_entropy_published"] = self._published_entropy(mean, log_var, prior)
            state["inactive_modes"] = int(inactive_modes(averaged.mean))
        return state, {"mean": mean, "sampled": sampled}

    def _published_entropy(self, mean: torch.Tensor, log_var: torch.Tensor, prior: Prior) -> float:
        """Normalised entropy per batch of the training batch size, over the test split in its order."""
        noise = generator(self.settings.seed, "evaluation-entropy", 0, self.device)
        return published_responsibility_entropy(
            mean, log_var, prior, self.settings.batch_size, self.settings.samples, noise
        )

    def _detection(self, model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Out-of-distribution detection, in eval mode: test images against each kind of outlier that is there."""
        seed, size = self.settings.seed, self.settings.batch_size
        outliers, missing = image_outliers(self.test, generator(seed, "evaluation-ood"))
        most = min(len(self.test), self.settings.evaluation_images)
        noise = generator(seed, "evaluation-ood-noise", 0, self.device)

        def scored(pixels: torch.Tensor) -> dict[str, np.ndarray]:
            batches = map(to_float, pixels[:most].split(size))
            return score_batches(model, batches, model.mixture(), self.settings.samples, noise)

        own = scored(self.test.images) if outliers else {}
        metrics, arrays = compare(own, {kind: scored(pixels) for kind, pixels in outliers.items()}, seed, SCORED)
        return metrics | ({"ood_missing": missing} if missing else {}), arrays

    def _probes(self, model: Model, test: dict[str, torch.Tensor]) -> dict[str, Any]:
        """The published probes on sampled codes, the standard one on posterior means; names what did not converge."""
        noise = generator(self.settings.seed, "evaluation-probes", 0, self.device)
        posteriors = [model.encode(batch) for batch in _batches(self.train, self.settings.batch_size)]
        sampled = torch.cat([posterior.sample(noise) for posterior in posteriors])
        mean = torch.cat([posterior.mean for posterior in posteriors])
        probes = published_probes(sampled, self.train.labels, test["sampled"], self.test.labels)
        probes["linear_probe"] = linear_probe(mean, self.train.labels, test["mean"], self.test.labels)
        limited = sorted(name for name, probe in probes.items() if not probe.converged)
        accuracies = {name: probe.accuracy for name, probe in probes.items()}
        return accuracies | ({"probes_stopped_at_their_limit": limited} if limited else {})


def pick_extractor(train: ImageSet, results: Path, device: str) -> FeatureExtractor:
    """Inception where its weights are (never for what is no photograph), else the data's classifier."""
    if not dataset(train.name).photographs or sources.missing_inception(train.name):
        return classifier_features(train, results, device)
    return inception_features(device=device)


@torch.no_grad()
def refresh_batch_norm(model: Model, train: ImageSet, settings: Settings) -> None:
    """One pass over the training set in train mode: running statistics that fit the final weights."""
    for network in (model.encoder, model.decoder):
        set_batch_norm(network, "eval")  # running statistics are kept again
        network.train()
    noise = generator(settings.seed, "evaluation-refresh", 0, train.images.device)
    for batch in _batches(train, settings.batch_size):
        model.decoder(model.encode(batch).sample(noise))


def _set_mode(model: Model, mode: str) -> None:
    for network in (model.encoder, model.decoder):
        set_batch_norm(network, mode)


def _batches(split: ImageSet, size: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(split), size):
        yield split.batch(slice(start, start + size))


def _last_name(name: str) -> str:
    """``fid_published`` to ``fid_last_published``, ``mse`` to ``mse_last``."""
    stem = name.removesuffix("_published")
    return f"{stem}_last" + name[len(stem) :]


def snapshots_of(folder: Path, settings: Settings) -> dict[int, str]:
    """The model files of a finished cell by the number of iterations done; the end of training is ``model.pt``.

    Snapshots at other iterations than the settings name are of an earlier training of other length, and left alone.
    """
    if not (folder / "model.pt").exists():
        raise SintroError(f"{folder / 'model.pt'} is missing; train again: sintro train {folder} --restart")
    names = {after: f"snapshot-{after}.pt" for after in settings.snapshots if after < settings.iterations}
    return {after: name for after, name in names.items() if (folder / name).exists()} | {
        settings.iterations: "model.pt"
    }
