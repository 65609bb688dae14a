"""The metrics of an image cell, in the published and in the standard form, from the same images.

docs/science.md, section 7. The published protocol takes the checkpoint with the lowest published FID of six; here that
checkpoint and the end of training are both measured, and the metrics of the end carry ``_last`` in their names. The
pictures show the end of training, for which nothing was selected.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sintro.basics.progress import Steps
from sintro.basics.randomness import generator
from sintro.cells.components import dataset, objective
from sintro.cells.settings import Settings
from sintro.data import images
from sintro.data.images import ImageSet
from sintro.evaluation import extractors, likeness
from sintro.evaluation import generated as samples
from sintro.evaluation.batch_norm import batches, refresh_batch_norm, set_mode
from sintro.evaluation.collected import collected
from sintro.evaluation.image_arrays import picture_arrays
from sintro.evaluation.image_ood import detect_images
from sintro.evaluation.probes import probe_codes
from sintro.evaluation.redraws import is_choice, selection_gain, spread
from sintro.metrics import NOT_MEASURED, NotFinite, noise
from sintro.metrics.definitions_images import DINOV2
from sintro.metrics.distances import dinov2_metrics, floors
from sintro.metrics.features import FOLDER, FeatureExtractor, Reference, reference, reference_indices, to_uint8
from sintro.metrics.fid import FeatureStatistics, sample_warning
from sintro.metrics.latent import (
    MeanResponsibilities,
    drift,
    inactive_modes,
    published_responsibility_entropy,
    responsibility_entropy,
)
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.runs.stored import MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS

Load = Callable[[str], Model]

# The steps of an evaluation, as its progress names them: one for each snapshot, then these for each that is measured.
SELECTION = "published distance of a snapshot"
PUBLISHED, REFRESH, STANDARD = "published distances", "statistics of batch norm", "standard distances"
LATENT, DETECTION, PROBES = "codes of test images", "out-of-distribution detection", "probes on codes"
STEPS = (PUBLISHED, REFRESH, STANDARD, LATENT, DETECTION, PROBES, "pictures")
REDRAWS = "measurement noise"  # for one seed of each row
FLOOR = "floor of the distances"  # the last step


class ImageEvaluation:
    """Measures the snapshots of one cell.

    Args:
        settings: the cell's; ``evaluation_images`` images are generated, ``batch_size`` at a time.
        load: returns the model of a file in the cell's folder, given the file's name.
        results: the folder in which reference features are kept for all cells.
        steps: shows which step is being done.
    """

    def __init__(self, settings: Settings, load: Load, device: str, results: Path, steps: Steps | None = None):
        self.steps = steps or Steps()
        self.steps.begin("data and feature network")
        self.settings, self.load, self.device, self.results = settings, load, device, results
        train = images.load(settings.dataset, "train", device=device)
        self.train = train.choose(settings.training_images)
        self.test = images.load(settings.dataset, "test", device=device)
        count = settings.evaluation_images
        self.perceptual = likeness.perceptual(settings.dataset, device)
        self.networks = extractors.pick(train, results, device, count, self.steps.part)
        self.extractor = self.networks.main

    def measure(self, snapshots: dict[int, str], is_look: bool = False) -> samples.Measured:
        """Measure the selected snapshot and the end of training; return all metrics, and the arrays of the pictures.

        Args:
            snapshots: file names by the number of iterations before each. The largest number is the end of training;
                the published protocol selects among the others.
            is_look: whether nothing counts the metrics, so that their measurement noise is not worth its time.
        """
        name, last = self.extractor.distance, max(snapshots)
        distances, responsibilities = {}, {}
        has_noise = self.settings.seed == noise.SEED and objective(self.settings.objective).has_density and not is_look
        measured = [*STEPS] * min(len(snapshots), 2)
        self.steps.plan([*[SELECTION] * (len(snapshots) - 1), *measured, *[REDRAWS] * has_noise, FLOOR])
        for after, file in sorted(snapshots.items()):
            model = self.load(file)
            set_mode(model, "eval")  # a VampPrior's modes pass through the encoder, and would move its statistics
            if model.mixture().has_modes:
                responsibilities[after] = self._mean_responsibilities(model)
            if after != last:
                self.steps.begin(SELECTION)
                distances[after] = self._selection_distance(model)
        chosen = self.load(snapshots[last])
        final, arrays = self._measure_one(chosen)
        best = min(distances or {last: math.nan}, key=distances.get)
        distances[last] = final[f"{name}_published"]
        metrics = dict(final)
        if best != last:
            chosen = self.load(snapshots[best])
            metrics = self._measure_one(chosen)[0]
        is_selected = best != last and is_choice(self.settings)
        fresh = self._selection_distance(chosen, draw=1) if is_selected else math.nan
        metrics = samples.together(metrics, selection_gain(name, distances[best], fresh, is_selected))
        if has_noise:
            self.steps.begin(REDRAWS)
            metrics[noise.NOISE] = spread(metrics, lambda draw: self._redrawn(chosen, draw))
        metrics |= {_last_name(key): value for key, value in final.items() if isinstance(value, float | int)}
        self.steps.begin(FLOOR)
        test = self._reference("eval", self.test)
        metrics |= floors(name, self._reference("eval"), self._reference("train"), test)
        if responsibilities:
            arrays[RESPONSIBILITY_ITERATIONS] = np.array(list(responsibilities))
            arrays[MEAN_RESPONSIBILITIES] = np.stack(list(responsibilities.values()))
        metrics |= {"selected_iteration": best, "images": self.settings.evaluation_images}
        metrics[f"{name}_over_iterations"] = {str(after): value for after, value in distances.items()}
        warning = sample_warning(self.settings.evaluation_images, self.extractor.dimension)
        return metrics | ({"warning": warning} if warning else {}), arrays

    def _drawn(self, model: Model, draw: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the latents [M, L] of the images that are measured, and the mode [M] of each.

        ``draw``: 0 is that of the metrics, the others are of the measurement noise.
        """
        draws = generator(self.settings.seed, "evaluation-images", draw, self.device)
        return model.mixture().sample(self.settings.evaluation_images, draws)

    def _generated(self, model: Model, mode: str, draw: int = 0) -> torch.Tensor:
        """Decode samples of the prior -> uint8 [M, C, H, W]; in both modes of batch norm from the same draw.

        The latents are the same too, but for a VampPrior, whose modes pass through the encoder.
        """
        set_mode(model, mode)
        z = self._drawn(model, draw)[0]
        return self._collected((model.decoder(part) for part in z.split(self.settings.batch_size)), len(z))

    def _reconstructed(self, model: Model, mode: str, split: ImageSet | None = None) -> torch.Tensor:
        """Reconstruct training images, or those of another split -> uint8 [M, C, H, W].

        Published (mode "train"): g(z) with z ~ q(z|x), for images in another random order than the reference's.
        Standard (mode "eval"): g(mu(x)) for the images of the reference.
        """
        set_mode(model, mode)
        split = split or self.train
        count = min(self.settings.evaluation_images, len(split))
        published = mode == "train"
        noise = generator(self.settings.seed, "evaluation-reconstructions", 0, self.device)
        indices = self._own_order(count) if published else reference_indices(split, count)

        def again(part: torch.Tensor) -> torch.Tensor:
            posterior = model.encode(split.batch(part))
            return model.decoder(posterior.sample(noise) if published else posterior.mean)

        return self._collected(map(again, indices.split(self.settings.batch_size)), count)

    def _collected(self, parts: Iterable[torch.Tensor], count: int) -> torch.Tensor:
        return collected(map(to_uint8, parts), count, self.train.event, self.results / FOLDER)

    def _own_order(self, count: int) -> torch.Tensor:
        """Draw indices [count] of training images in this cell's own random order: not the reference's batches."""
        order = torch.randperm(len(self.train), generator=generator(self.settings.seed, "evaluation-order"))
        return order[:count].to(self.device)

    def _reference(
        self, mode: str, split: ImageSet | None = None, extractor: FeatureExtractor | None = None
    ) -> Reference:
        """Return the reference features of the training images, or of another split, or in another extractor."""
        size, count = self.settings.batch_size, self.settings.evaluation_images
        return reference(split or self.train, extractor or self.extractor, mode, size, count, self.results)

    def _features(self, pictures: torch.Tensor, mode: str) -> torch.Tensor:
        return self.extractor.features(pictures, mode, self.settings.batch_size)

    def _selection_distance(self, model: Model, draw: int = 0) -> float:
        """Measure the Fréchet distance by which the published code picks its checkpoint: everything in train mode.

        A snapshot whose images are not finite gets an infinite one, so that it is never selected.
        """
        try:
            return self._distance(self._features(self._generated(model, "train", draw), "train"), "train")
        except NotFinite:
            return math.inf

    def _mean_responsibilities(self, model: Model) -> np.ndarray:
        """Average the modes' responsibilities over the test images, of a model in eval mode -> a_k [K]."""
        prior, noise = model.mixture(), generator(self.settings.seed, "evaluation-shares", 0, self.device)
        averaged = MeanResponsibilities()
        for batch in batches(self.test, self.settings.batch_size):
            averaged.update(prior.responsibilities(model.encode(batch).sample(noise)))
        return averaged.mean.cpu().numpy()

    def _measure_one(self, model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        self.steps.begin(PUBLISHED)
        metrics = self._distances(model, "train", "_published")[0]
        self.steps.begin(REFRESH)
        refresh_batch_norm(model, self.train, self.settings)
        self.steps.begin(STANDARD)
        distances, sheets = self._distances(model, "eval", "")
        set_mode(model, "eval")
        self.steps.begin(LATENT)
        state, codes = self._latent_state(model)
        self.steps.begin(DETECTION)
        detected, scored = detect_images(model, self.settings, self.test, self.device)
        self.steps.begin(PROBES)
        probes = probe_codes(model, self.settings, self.train, self.test, codes)
        self.steps.begin(STEPS[-1])
        arrays = picture_arrays(model, self.test, codes["mean"], self.settings.seed, self.device)
        return samples.together(metrics, distances, state, probes, detected), arrays | sheets | scored

    def _distances(self, model: Model, mode: str, suffix: str) -> samples.Measured:
        """Measure the Fréchet distances of samples and reconstructions, precision and recall, in one protocol.

        ``mode`` is the batch-norm mode of the feature network and of the generator. The samples are measured with the
        feature network in the other mode too: ``fid_train_eval`` names the feature network's mode first.
        """
        name, other = self.extractor.distance, "eval" if mode == "train" else "train"
        pictures = self._generated(model, mode)
        scores, sheets = self._scores(model, pictures, mode)
        found = {
            f"{name}_{other}_{mode}": self._distance(self._features(pictures, other), other),
            f"{name}_rec{suffix}": self._distance(self._features(self._reconstructed(model, mode), mode), mode),
        }
        if suffix == "_published":
            return found | scores, sheets
        again = self._features(self._reconstructed(model, mode, self.test), mode)
        found[f"{name}_rec_test"] = self._distance(again, mode, self.test)
        return samples.together(found, scores, self._dinov2(pictures)), sheets

    def _scores(self, model: Model, pictures: torch.Tensor, mode: str, draw: int = 0) -> samples.Measured:
        """Measure generated images in the published form (mode "train") or in the standard one (mode "eval").

        ``draw``: that of the pictures' latents.
        """
        name, real, generated = self.extractor.distance, self._reference(mode), self._features(pictures, mode)
        if mode == "train":
            return samples.published_scores(name, real, generated), {}
        test, seed = self._reference("eval", self.test), self.settings.seed
        scores, sheet = samples.standard_scores(name, real, test, generated, seed, pictures, self.train)
        classes, bars = self._classes(model, pictures, draw)
        return samples.together(scores, classes), sheet | bars

    def _redrawn(self, model: Model, draw: int) -> dict[str, Any]:
        """Measure another draw of samples in both forms, without DINOv2's features."""
        scores = [self._scores(model, self._generated(model, mode, draw), mode, draw)[0] for mode in ("train", "eval")]
        return samples.together(*scores)

    def _dinov2(self, pictures: torch.Tensor) -> dict[str, Any]:
        """Measure generated images in DINOv2's features, or say why not."""
        network, why = self.networks.dinov2, self.networks.why_no_dinov2
        if network is None:
            return {NOT_MEASURED: dict.fromkeys(DINOV2, why)} if why else {}
        generated = network.features(pictures, "eval", self.settings.batch_size)
        return dinov2_metrics(self._reference("eval", extractor=network), generated, self.settings.seed)

    def _classes(self, model: Model, pictures: torch.Tensor, draw: int = 0) -> samples.Measured:
        """Measure of which classes the samples and those of every mode are; nothing where images have no labels."""
        network = self.networks.classes
        if network is None:
            return samples.NO_LABELS, {}
        told = samples.told(network, network.features(pictures, "eval", self.settings.batch_size))
        known, test = (
            samples.told(network, self._reference("eval", split, network).features) for split in (self.train, self.test)
        )
        count = network.network.head.out_features
        metrics, arrays = samples.classes_and_modes(told, known, model.mixture(), self._drawn(model, draw)[1], count)
        if dataset(self.train.name).has_factors:
            return samples.together(metrics, {NOT_MEASURED: {"class_accuracy": "unseen classes"}}), arrays
        labels = self.test.labels[reference_indices(self.test, len(test))].cpu()
        return metrics | {"class_accuracy": (test == labels).double().mean().item()}, arrays

    def _distance(self, features: torch.Tensor, mode: str, split: ImageSet | None = None) -> float:
        return FeatureStatistics.of(features).distance(self._reference(mode, split).statistics)

    def _latent_state(self, model: Model) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Measure the ELBO's parts, the use of the modes and the drift on the test split; return them and the codes."""
        prior, noise = model.mixture(), generator(self.settings.seed, "evaluation-latent", 0, self.device)
        sums, averaged, codes = torch.zeros(3, dtype=torch.float64), MeanResponsibilities(), []
        alike = likeness.Likeness(self.perceptual)
        for batch in batches(self.test, self.settings.batch_size):
            posterior = model.encode(batch)
            z = posterior.sample(noise)
            image = model.decoder(posterior.mean)
            again = model.encode(image)
            sums[0] += model.squared_error(batch, model.decoder(z)).double().sum().cpu()
            sums[1] += kl(*posterior, prior, self.settings.samples, noise).double().sum().cpu()
            sums[2] += drift(*again, *posterior).cpu() * len(batch)
            alike.update(batch, image)
            if prior.has_modes:
                averaged.update(prior.responsibilities(z))
            codes.append((*posterior, z))
        reconstruction, divergence, moved = (sums / len(self.test)).tolist()
        state = {"reconstruction": reconstruction, "kl_posterior": divergence, "elbo": -(reconstruction + divergence)}
        state["elbo_published"] = -(reconstruction / 2 + divergence)
        state |= {"mse": reconstruction * self.settings.scale, "drift": moved} | alike.means()
        mean, log_var, sampled = (torch.cat(kind) for kind in zip(*codes, strict=True))
        if prior.has_modes:
            state["responsibility_entropy"] = float(responsibility_entropy(averaged.mean))
            noise = generator(self.settings.seed, "evaluation-entropy", 0, self.device)
            state["responsibility_entropy_published"] = published_responsibility_entropy(
                mean, log_var, prior, self.settings.batch_size, self.settings.samples, noise
            )
            state["inactive_modes"] = int(inactive_modes(averaged.mean))
        return state, {"mean": mean, "sampled": sampled}


def _last_name(name: str) -> str:
    """Turn ``fid_published`` into ``fid_last_published``, ``mse`` into ``mse_last``."""
    stem = name.removesuffix("_published")
    return f"{stem}_last" + name[len(stem) :]
