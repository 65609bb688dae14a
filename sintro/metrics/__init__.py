"""The one table of metric definitions, which column heads, tooltips and documents are made from. Imports no torch.

The modules of this package compute the metrics; ``METRICS[name]`` defines each.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sintro import SintroError
from sintro.metrics.definitions_2d import DENSITY, PLANE
from sintro.metrics.definitions_checks import CHECKS
from sintro.metrics.definitions_images import FEATURES, IMAGES, PHOTOGRAPHS
from sintro.metrics.definitions_translation import CODES, CONTENTS, PERCEPTUAL_CONTENTS
from sintro.metrics.definitions_translation import DEFINITIONS as TRANSLATION
from sintro.metrics.metric import EVERY, LABELS, MODES, PERCEPTUAL, PRIOR, PUBLISHED, SECTION, SOFT, Direction, Metric


class NotFinite(SintroError):
    """The output of a model is not finite, so that no metric is defined: the model has diverged."""


_MODEL = (
    Metric(
        "elbo",
        "ELBO",
        "Mean over held-out data of -(reconstruction + KL), both with weight 1: a bound on the log-likelihood plus "
        "(D/2) log(pi) under a decoder of variance 1/2. The KL to N(0, I) is exact.",
        "nats",
        "higher",
        datasets=EVERY,
    ),
    Metric(
        "elbo_published",
        "ELBO (published)",
        "Mean over test images of -(reconstruction / 2 + KL): a bound on the log-likelihood plus (D/2) log(2 pi) under "
        "a decoder of variance 1. The KL to N(0, I) is exact; its published estimate has the same expectation.",
        "nats",
        "higher",
        "published",
        PUBLISHED,
        datasets=("images",),
    ),
    Metric(
        "reconstruction",
        "reconstruction",
        "Mean over held-out data of the squared error between datum and reconstruction, summed over the coordinates.",
        "squared units",
        "lower",
        "both",
        SECTION,
        datasets=EVERY,
    ),
    Metric(
        "kl_posterior",
        "KL (posterior)",
        "Mean over held-out data of KL(q(z|x) || p(z)). Small: z tells little about x, or the prior fits well.",
        "nats",
        "none",
        "both",
        SECTION,
        datasets=EVERY,
    ),
    Metric(
        "responsibility_entropy",
        "normalised entropy of responsibilities",
        "-R: the entropy of the mean responsibilities a_k of the prior's modes over held-out data, divided by log K "
        "when log K > 1 (so not for K = 2). 1: all modes are used alike. Undefined for the standard normal prior.",
        "",
        "higher",
        "standard",
        f"{PRIOR}; {SECTION}",
        datasets=EVERY,
        needs=MODES,
    ),
    Metric(
        "responsibility_entropy_published",
        "normalised entropy of responsibilities (published)",
        "The same entropy of every test batch of the training batch size, from as many latents of each image as the "
        "cell's `samples` (100 as published), averaged over the batches. It depends on the batch size: a uniform use "
        "of 100 modes scores about 0.73 in batches of 32 and 0.91 in batches of 128. Undefined for the standard normal "
        "prior.",
        "",
        "higher",
        "published",
        PUBLISHED,
        datasets=("images",),
        needs=MODES,
    ),
    Metric(
        "inactive_modes",
        "inactive modes",
        "How many of the K modes have a mean responsibility a_k < 1/K^2. Undefined for the standard normal prior.",
        "modes",
        "lower",
        "both",
        f"{PRIOR}; docs/science.md, section 9",
        datasets=EVERY,
        needs=MODES,
    ),
)


def ood_metric(kind: str, score: str, measure: str) -> str:
    """Return the name of a metric of out-of-distribution detection, such as ``ood_uniform_elbo_auroc``."""
    return f"ood_{kind}_{score}_{measure}"


# Kind of outlier -> addition to a label, description, kind of data.
OOD_KINDS = {
    "uniform": (", off support", "points uniform on the range off the density's support", "2d"),
    "pair": (", other data set", "test images of the partner (CIFAR-10 and SVHN, FashionMNIST and MNIST)", "images"),
    "inverted": (", inverted", "the test images inverted", "images"),
    "noise": (", noise", "the test images with each one's pixels shuffled", "images"),
}
OOD_SCORES = {
    "elbo": ("ELBO", "the ELBO, -(reconstruction + KL)", SOFT),
    "elbo_half": ("half-weighted ELBO", "-(reconstruction / 2 + KL), a bound under a decoder of variance 1", SOFT),
    "kl": ("KL", "-KL(q(z|x) || p(z))", SOFT),
    "reconstruction": ("reconstruction", "minus the expected squared error of the reconstruction", "ours"),
    "iw": ("IW bound", "the importance-weighted bound of 16 samples, decoder variance 1/2", "Burda et al. 2016"),
}
OOD_MEASURES: dict[str, tuple[str, str, str, Direction, float]] = {
    "auroc": ("AUROC", "Area under the ROC curve; chance is 0.5", "", "higher", 1.0),
    "aupr": ("AUPR", "Average precision with the model's own data as positives; chance is 0.5", "", "higher", 1.0),
    "fpr95": ("FPR95", "Outliers accepted where 95% of the own data are; chance is 95%", "%", "lower", 100.0),
}


def _detection() -> tuple[Metric, ...]:
    """Define out-of-distribution detection: each kind of outlier, score and measure (:mod:`sintro.evaluation.ood`)."""
    return tuple(
        Metric(
            ood_metric(kind, score, measure),
            f"{head} ({label}{suffix})",
            f"{meaning}. Fresh data of the model's own kind against as many {outliers}, ranked by {ranked}.",
            unit,
            direction,
            "both" if source == SOFT else "standard",
            f"{source}; {SECTION}",
            display_scale=factor,
            datasets=(data,),
            needs="" if data == "2d" else "outliers for the data set",
        )
        for kind, (suffix, outliers, data) in OOD_KINDS.items()
        for score, (label, ranked, source) in OOD_SCORES.items()
        for measure, (head, meaning, unit, direction, factor) in OOD_MEASURES.items()
    )


METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*DENSITY, *PLANE, *_MODEL, *IMAGES, *CHECKS, *TRANSLATION, *_detection())
}


def definition(name: str) -> Metric | None:
    """Return the definition of a stored number; a number of the last checkpoint shares that of the chosen one."""
    return METRICS.get(name) or METRICS.get(name.replace("_last", ""))


VERSIONS = "metric_versions"  # the key of metrics.json that says by which definitions its numbers were computed


NOT_MEASURED = "not_measured"  # the key of metrics.json that says why an evaluation has no number: name -> reason


def versions(names: Iterable[str]) -> dict[str, int]:
    """Return the version of the definition of every named metric in the table, for ``metrics.json``."""
    return {name: METRICS[name].version for name in sorted(names) if name in METRICS}


# What a metric needs -> the metric that every evaluation has measured where the need is met.
_EVIDENCE = {
    FEATURES["fid"]: "fid",
    FEATURES["cfid"]: "cfid",
    PHOTOGRAPHS: "fid",
    MODES: "responsibility_entropy",
    LABELS: "linear_probe",
    CODES: "retrieval_class",
    CONTENTS: "transfer_mse",
}
# The same of LPIPS, for data sets of which it means something.
_PERCEPTUAL_EVIDENCE = {PERCEPTUAL: "images", PERCEPTUAL_CONTENTS: "transfer_mse"}


def absent(metrics: Mapping[str, Any], kind: str, has_lpips: bool = False) -> tuple[str, ...]:
    """Return the metrics that an evaluation of today measures of such a cell and a ``metrics.json`` lacks.

    Left out are metrics that the file lists as not measured, and those whose need is not known to be met.

    Args:
        kind: of the cell's data, "2d" or "images".
        has_lpips: whether LPIPS means something for the cell's data.
    """
    said = metrics.get(NOT_MEASURED)
    known = {*metrics, *(said if isinstance(said, Mapping) else ())}
    evidence = _EVIDENCE | (_PERCEPTUAL_EVIDENCE if has_lpips else {})
    meant = {name: metric for name, metric in METRICS.items() if kind in metric.datasets and name not in known}
    return tuple(name for name, metric in meant.items() if not metric.needs or evidence.get(metric.needs) in metrics)


def outdated(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics in a ``metrics.json`` that an older definition computed.

    A file without versions has version 1 of every metric. A number of the last checkpoint has the version of its
    metric.
    """
    stored = metrics.get(VERSIONS)
    known = stored if isinstance(stored, Mapping) else {}
    meant = {name: found for name in metrics if (found := definition(name))}
    return tuple(name for name, metric in meant.items() if known.get(metric.name, 1) != metric.version)
