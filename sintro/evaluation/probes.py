"""Train classifiers on the codes of images, published ones and a linear one (docs/science.md, section 7)."""

from collections.abc import Mapping
from typing import Any

import torch

from sintro.basics.randomness import generator
from sintro.cells.components import dataset
from sintro.cells.settings import Settings
from sintro.data.images import ImageSet
from sintro.evaluation.batch_norm import batches
from sintro.metrics.representation import linear_probe, published_probes
from sintro.objectives.model import Model


def probe_codes(
    model: Model, settings: Settings, train: ImageSet, test: ImageSet, codes: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Train the probes on codes; return their accuracies, and the names of those that stopped at their limit.

    Nothing where images have no labels, or the test split other classes than the training split.

    Args:
        codes: of the test images: posterior means, ``mean``, and samples of the posteriors, ``sampled``, each [N, L].
    """
    if not train.has_labels or dataset(train.name).has_factors:
        return {}
    noise = generator(settings.seed, "evaluation-probes", 0, train.device)
    posteriors = [model.encode(batch) for batch in batches(train, settings.batch_size)]
    sampled = torch.cat([posterior.sample(noise) for posterior in posteriors])
    mean = torch.cat([posterior.mean for posterior in posteriors])
    probes = published_probes(sampled, train.labels, codes["sampled"], test.labels)
    probes["linear_probe"] = linear_probe(mean, train.labels, codes["mean"], test.labels)
    limited = sorted(name for name, probe in probes.items() if not probe.converged)
    accuracies = {name: probe.accuracy for name, probe in probes.items()}
    return accuracies | ({"probes_stopped_at_their_limit": limited} if limited else {})
