"""Translate images with swapped codes and measure how well (docs/science.md, section 7)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sintro.basics.progress import Steps
from sintro.basics.randomness import generator
from sintro.cells import components
from sintro.cells.settings import Settings
from sintro.data import factors
from sintro.data.factors import FactorImages
from sintro.data.images import to_float
from sintro.evaluation.extractors import main_network
from sintro.evaluation.likeness import Perceptual
from sintro.metrics import NOT_MEASURED, NotFinite
from sintro.metrics.features import reference, to_uint8
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.representation import linear_probe, mlp_probe
from sintro.metrics.translation import Labels, nearest, relative_error, retrieval, transfer_error, transfer_lpips
from sintro.objectives import kl
from sintro.objectives.model import Model, Posterior
from sintro.priors import StandardNormal

PAIRS = 2_000
BATCH = 256
SIDE = 6  # of the grid of translations
MOST_READ = 10_000  # images whose codes the leakage probes read
STEPS = ("codes of all images", "translations of unseen classes", "translations of seen classes", "leakage of codes")
REFERENCES = "translation_references"  # the key of metrics.json for rows without a model
COPIES = ("copy of the content image", "copy of the class image")
ORDER = "translation-leakage"  # the random stream of the split that the probes are trained on


class Codes(NamedTuple):
    """The posteriors of all images of a data set, each [N, L], and the codes' sizes."""

    posterior: Posterior
    class_size: int

    def of_class(self) -> Tensor:
        return self.posterior.mean[:, : self.class_size]

    def of_content(self) -> Tensor:
        return self.posterior.mean[:, self.class_size :]

    def swapped(self, first: Tensor, second: Tensor) -> Tensor:
        """Return latents [M, L] with the class codes of the images ``first`` and the content codes of ``second``."""
        return torch.cat([self.of_class()[first], self.of_content()[second]], 1)


@torch.no_grad()
def measure_translation(
    model: Model, settings: Settings, device: str, results: Path, steps: Steps, perceptual: Perceptual
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure the translations of a model with two codes; return the metrics, and the arrays of the grid.

    ``perceptual``: LPIPS for images of the data set.
    """
    steps.plan(STEPS)
    steps.begin(STEPS[0])
    every = factors.load(settings.dataset, device=device)
    codes = _codes(model, every, device)
    looks = perceptual
    if every.contents is None and not looks.why_not:
        looks = Perceptual(None, "no content labels")
    metrics: dict[str, Any] = {REFERENCES: {}}
    if looks.why_not:
        metrics[NOT_MEASURED] = dict.fromkeys(("transfer_lpips", "transfer_lpips_seen"), looks.why_not)
    for step, seen, suffix in ((STEPS[1], False, ""), (STEPS[2], True, "_seen")):
        steps.begin(step)
        found, translations = _transfers(model, codes, every, seen, looks)
        metrics[REFERENCES] |= {f"{row}{suffix}": scores for row, scores in found.pop(REFERENCES).items()}
        metrics |= {f"{name}{suffix}": value for name, value in found.items()}
    metrics |= _distance(translations, every, settings, device, results, steps)
    steps.begin(STEPS[3])
    metrics |= _leakage(codes, every)
    if components.objective(settings.objective).has_density:
        metrics |= _divergences(model, codes, every, settings, device)
    return metrics, _grid(model, codes, every)


def _codes(model: Model, every: FactorImages, device: str) -> Codes:
    """Encode every image, in the data set's order."""
    places = torch.arange(len(every.images)).split(BATCH)
    parts = [model.encode(every.batch(part)) for part in places]
    return Codes(Posterior(*(torch.cat(kind).to(device) for kind in zip(*parts, strict=True))), model.class_size)


def _decoded(model: Model, latents: Tensor) -> Tensor:
    """Decode latents [M, L] -> [M, C, H, W]. Raises NotFinite for a model that has diverged."""
    decoded = torch.cat([model.decoder(part) for part in latents.split(BATCH)])
    if not torch.isfinite(decoded).all():
        raise NotFinite("translated images are not finite")
    return decoded


def _labels(every: FactorImages) -> Labels:
    traits = next(iter(components.dataset(every.train.name).traits.values()), None)
    of_images = None if traits is None else torch.tensor(traits, device=every.classes.device)[every.classes]
    return Labels(every.classes, every.contents, of_images)


def _transfers(
    model: Model, codes: Codes, every: FactorImages, seen: bool, looks: Perceptual
) -> tuple[dict[str, Any], Tensor]:
    """Translate the pairs of seen or of unseen classes -> metrics with the rows of references, and the images."""
    first, second = (places.to(every.classes.device) for places in every.pairs(PAIRS, seen))
    labels = _labels(every)
    of_class, of_content = labels.at(first), labels.at(second)
    translations = _decoded(model, codes.swapped(first, second))
    mean = to_float(every.train.images).mean(0, keepdim=True).to(translations.device)
    rows = {
        "": translations,
        COPIES[0]: every.batch(second),
        COPIES[1]: every.batch(first),
        "mean image": mean.expand_as(translations),
    }
    scores: dict[str, dict[str, float]] = {}
    for row, pictures in rows.items():
        found = nearest(pictures, every.images).to(every.classes.device)
        scores[row] = retrieval(labels.at(found), of_class, of_content)
    if every.contents is not None:
        places = every.truth(of_class.classes, of_content.contents)
        truth = every.batch(places)
        for row, pictures in rows.items():
            scores[row]["transfer_mse"] = transfer_error(pictures, truth)
            if looks.measure is not None:
                scores[row]["transfer_lpips"] = transfer_lpips(pictures, truth, looks.measure)
        scores[""] |= _against_ceiling(model, codes, places, truth, scores)
    metrics: dict[str, Any] = scores.pop("")
    return metrics | {REFERENCES: scores}, translations


def _against_ceiling(
    model: Model, codes: Codes, places: Tensor, truth: Tensor, scores: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Compare the error with that of the model's own reconstruction of the truth, and with the better copy's."""
    ceiling = transfer_error(_decoded(model, codes.swapped(places, places)), truth)
    copy = min(scores[row]["transfer_mse"] for row in COPIES)
    relative = relative_error(scores[""]["transfer_mse"], ceiling, copy)
    return {"transfer_ceiling": ceiling, "transfer_relative": relative}


def _distance(
    translations: Tensor, every: FactorImages, settings: Settings, device: str, results: Path, steps: Steps
) -> dict[str, float]:
    """Measure the Fréchet distance of translations of seen classes to the training images."""
    extractor = replace(main_network(every.train, results, device), report=steps.part)
    train = every.train.choose(settings.training_images)
    size, count = settings.batch_size, settings.evaluation_images
    real = reference(train, extractor, "eval", size, count, results)
    features = extractor.features(to_uint8(translations), "eval", size)
    return {f"{extractor.distance}_transfer": FeatureStatistics.of(features).distance(real.statistics)}


def _leakage(codes: Codes, every: FactorImages) -> dict[str, Any]:
    """Read the class and the content off both codes.

    Train probes on four fifths of at most 10,000 training images and score them on the rest.
    """
    own = every.is_seen.nonzero().squeeze(1)
    order = torch.randperm(len(own), generator=generator(0, ORDER))[:MOST_READ]
    order = own[order.to(own.device)]
    cut = len(order) * 4 // 5
    train, test = order[:cut], order[cut:]
    known = {"class": (every.classes, codes.of_class(), codes.of_content())}
    if every.contents is not None:
        known["content"] = (every.contents, codes.of_content(), codes.of_class())
    metrics: dict[str, Any] = {}
    limited = []
    for factor, (labels, right, wrong) in known.items():
        for kind, code in (("control", right), ("leakage", wrong)):
            for suffix, probe in (("", mlp_probe), ("_linear", linear_probe)):
                name = f"{kind}_{factor}{suffix}"
                result = probe(code[train], labels[train], code[test], labels[test])
                metrics[name] = result.accuracy
                limited += [] if result.converged else [name]
    return metrics | ({"leakage_stopped_at_their_limit": limited} if limited else {})


def _divergences(model: Model, codes: Codes, every: FactorImages, settings: Settings, device: str) -> dict[str, float]:
    """Average the KL of each code over the images of unseen classes."""
    held_out = ~every.is_seen
    prior, size = model.mixture(), codes.class_size
    mean, log_var = (values[held_out] for values in codes.posterior)
    of_class = Posterior(mean[:, :size], log_var[:, :size])
    of_content = Posterior(mean[:, size:], log_var[:, size:])
    standard = StandardNormal(mean.shape[1] - size)
    over_class = prior.parts[0][1] if prior.parts else StandardNormal(size)
    noise = generator(settings.seed, "evaluation-codes", 0, device)
    return {
        "kl_class": kl(*of_class, over_class, settings.samples, noise).double().mean().item(),
        "kl_content": kl(*of_content, standard, settings.samples, noise).double().mean().item(),
    }


def _grid(model: Model, codes: Codes, every: FactorImages) -> dict[str, np.ndarray]:
    """Translate 6 images into the classes of 6 others, all of unseen classes and always the same.

    ``translation_grid`` [7, 7, C, H, W], or less where there are fewer images: the first row holds the images that give
    the content, the first column those that give the class, the corner is white. ``translation_truth`` has the true
    images in the same places.
    """
    first, second = (_different(every, places) for places in every.pairs(PAIRS, seen=False))
    rows, columns = first.repeat_interleave(len(second)), second.repeat(len(first))
    made = _decoded(model, codes.swapped(rows.to(codes.posterior.mean.device), columns.to(codes.posterior.mean.device)))
    arrays = {"translation_grid": _framed(made, every.batch(first), every.batch(second))}
    if every.contents is not None:
        places = every.where[every.classes[rows], every.contents[columns]]
        if (places >= 0).all():
            arrays["translation_truth"] = _framed(every.batch(places), every.batch(first), every.batch(second))
    return arrays


def _different(every: FactorImages, places: Tensor) -> Tensor:
    """Choose the first 6 images, of different classes and contents as long as there are enough."""
    chosen: list[int] = []
    for strict in (True, False):
        for place in places.tolist():
            if len(chosen) == SIDE:
                break
            is_new = place not in chosen
            for labels in (every.classes, every.contents) if strict else ():
                is_new = is_new and (labels is None or int(labels[place]) not in {int(labels[one]) for one in chosen})
            if is_new:
                chosen.append(place)
    return torch.tensor(chosen[:SIDE])


def _framed(made: Tensor, of_class: Tensor, of_content: Tensor) -> np.ndarray:
    """Frame images [R * K, C, H, W] by the K content images above and the R class images on the left.

    Returns [R + 1, K + 1, C, H, W].
    """
    corner = torch.ones_like(of_content[:1])
    head = torch.cat([corner, of_content])
    body = torch.cat([of_class.unsqueeze(1), made.unflatten(0, (len(of_class), len(of_content)))], 1)
    return torch.cat([head.unsqueeze(0), body]).clamp(0, 1).cpu().numpy().astype(np.float16)
