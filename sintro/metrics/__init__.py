"""What is measured: the one table of metric definitions, from which column heads, tooltips and documents are made.

Importing it imports no torch. The computations are in this package's modules; ``METRICS[name]`` says what they mean.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sintro import SintroError

Direction = Literal["lower", "higher", "none"]
Form = Literal["published", "standard", "both", "mixed"]

SOFT = "Daniel & Tamar 2021"
PRIOR = "Athanasiadis et al. 2025"
SECTION = "docs/science.md, section 7"
PUBLISHED = f"{PRIOR}, released code; {SECTION}"


class NotFinite(SintroError):
    """What a model made is not finite, so there is nothing to measure: the model has diverged."""


@dataclass(frozen=True)
class Metric:
    """A number in a cell's ``metrics.json``.

    ``direction``: which way is better ("none": a state, not a quality). ``form``: "published" is what the released code
    of the papers computes, "standard" what the literature means by the name, "both" where the two agree, "mixed" one
    published choice with another standard one, to tell the effects of the two apart.
    ``display_scale``: the stored value is multiplied by it before it is shown; ``unit`` is the unit shown.
    ``datasets``: for which data it is defined, of "2d" and "images". ``version``: of the definition; it grows when the
    value that is computed changes, and a value of an older version is shown as "evaluate again".
    """

    name: str
    label: str
    definition: str
    unit: str
    direction: Direction
    form: Form
    source: str
    display_scale: float = 1.0
    datasets: tuple[str, ...] = ("2d",)
    version: int = 1


_HISTOGRAM = (
    "5,000 fresh real and 5,000 generated points (as published), 100 x 100 bins over [-2 scale, 2 scale]^2, "
    "densities d_r and d_g. A perfect model does not score 0: see the floor."
)
_DROPPED = "Points out of range are dropped; undefined (NaN) when every generated one is."
_COUNTED = "Points out of range are one more bin; those that are not finite have nothing in common with the data."

_DENSITY = (
    Metric(
        "gnelbo_published",
        "gnELBO",
        "Grid-normalised negative ELBO: mean over 12,800 real points of e / (sum of e over a 1024 x 1024 grid and the "
        "real points), where e(x) = KL(x) + rec(x, g(mu(x))). Proportional to 1 / the number of grid points. The KL is "
        "sampled, with the same 100 noise vectors at every point; that to N(0, I) only in the protocol of "
        f"{PRIOR}, else in closed form.",
        "1e-7",
        "lower",
        "published",
        f"{SOFT}; {PRIOR}, released code; {SECTION}",
        display_scale=1e7,
        version=2,
    ),
    Metric(
        "gnelbo",
        "normalised NLL",
        "Mean over the same real points of -log p(x), where p = exp(-e) normalised over the grid's range: the proper "
        "score in place of gnELBO's ratio, from the same energies. This suite's own, not the papers'.",
        "nats",
        "lower",
        "standard",
        SECTION,
        version=2,
    ),
    Metric(
        "kl_published",
        "KL (published)",
        "1/100 sum of d_r (log d_r - log(d_g + 1e-14)) over the bins with d_r > 0: the KL of the histograms in nats "
        f"times 6.25 for 8gaussians, times 1.5625 for the other densities. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "lower",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "jsd_published",
        "JSD (published)",
        "1/2 1/100 sum of [m (log m - log(d_r + 1e-14)) + m (log m - log(d_g + 1e-14))], m = (d_r + d_g)/2: the "
        f"reverse of the textbook direction, not bounded by log 2. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "lower",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "entropy_published",
        "entropy proxy (published)",
        "1/100 sum of u (log u - log(d_g + 1e-14)), u the uniform density over the range: the smaller, the wider the "
        f"samples are spread. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "none",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "kl",
        "KL",
        "KL(real || generated) of the histograms, with the published density floor of 1e-14 under an empty generated "
        f"bin. {_HISTOGRAM} {_COUNTED}",
        "nats",
        "lower",
        "standard",
        SECTION,
        version=2,
    ),
    Metric(
        "jsd",
        "JSD",
        f"Jensen-Shannon divergence of the histograms, between 0 and log 2 = 0.693. {_HISTOGRAM} {_COUNTED}",
        "nats",
        "lower",
        "standard",
        f"Lin 1991; {SECTION}",
        version=2,
    ),
    Metric(
        "out_of_range",
        "out of range",
        "Share of the generated points of KL (published) that are outside [-2 scale, 2 scale]^2 or not finite: what "
        "the published histogram drops and its numbers do not see.",
        "%",
        "lower",
        "standard",
        SECTION,
        display_scale=100.0,
    ),
    Metric(
        "modes_covered",
        "parts covered",
        "How many of the density's modes, arms, squares or rings receive at least a tenth of the samples on the "
        "support that a perfect model would give them.",
        "parts",
        "higher",
        "standard",
        SECTION,
    ),
    Metric(
        "off_support",
        "off support",
        "Share of the samples where (practically) no real data are: the bridges between modes, arms, squares or rings. "
        "Real data score below 0.1 %.",
        "%",
        "lower",
        "standard",
        SECTION,
        display_scale=100.0,
    ),
)

_EVERY = ("2d", "images")

_MODEL = (
    Metric(
        "elbo",
        "ELBO",
        "Mean over held-out data of -(reconstruction + KL), both with weight 1: a bound on the log-likelihood plus "
        "(D/2) log(pi) under a decoder of variance 1/2. The KL to N(0, I) is exact.",
        "nats",
        "higher",
        "standard",
        SECTION,
        datasets=_EVERY,
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
        datasets=_EVERY,
    ),
    Metric(
        "kl_posterior",
        "KL (posterior)",
        "Mean over held-out data of KL(q(z|x) || p(z)). Small: z tells little about x, or the prior fits well.",
        "nats",
        "none",
        "both",
        SECTION,
        datasets=_EVERY,
    ),
    Metric(
        "responsibility_entropy",
        "responsibility entropy",
        "-R: the entropy of the mean responsibilities a_k of the prior's modes over held-out data, divided by log K "
        "when log K > 1 (so not for K = 2). 1: all modes are used alike. Undefined for the standard normal prior.",
        "",
        "higher",
        "standard",
        f"{PRIOR}; {SECTION}",
        datasets=_EVERY,
    ),
    Metric(
        "responsibility_entropy_published",
        "responsibility entropy (published)",
        "The same entropy of every test batch of the training batch size, from 100 latents of each image, averaged "
        "over the batches. It depends on the batch size: a uniform use of 100 modes scores about 0.73 in batches of 32 "
        "and 0.91 in batches of 128. Undefined for the standard normal prior.",
        "",
        "higher",
        "published",
        PUBLISHED,
        datasets=("images",),
    ),
    Metric(
        "inactive_modes",
        "inactive modes",
        "How many of the K modes have a mean responsibility a_k < 1/K^2. Undefined for the standard normal prior.",
        "modes",
        "lower",
        "both",
        f"{PRIOR}; docs/science.md, section 9",
        datasets=_EVERY,
    ),
)


# The batch-norm modes of a Frechet distance: what stands behind its name -> what is added to its label, what it means.
_MODES = {
    "_published": (
        " (published)",
        "feature network and generator in train mode: batch-norm statistics of each evaluation batch",
    ),
    "": ("", "feature network and generator in eval mode, the generator's batch-norm statistics refreshed before"),
    "_train_eval": (" (train, eval)", "feature network in train mode as published, generator in eval mode (audit A2)"),
    "_eval_train": (" (eval, train)", "feature network in eval mode, generator in train mode as published (audit A1)"),
}
_RECONSTRUCTED = {
    "_published": "reconstructions g(z), z sampled from q(z|x), of images in an order of their own",
    "": "reconstructions g(mu(x)) of the reference's images",
}


def _distances() -> tuple[Metric, ...]:
    """FID and its stand-in: of samples in all four combinations of modes, of reconstructions in both protocols."""
    found = []
    for name in ("fid", "cfid"):
        found += [_distance(name, mode) for mode in _MODES]
        found += [_distance(name, mode, reconstructed) for mode, reconstructed in _RECONSTRUCTED.items()]
    return tuple(found)


def _distance(name: str, mode: str, reconstructed: str = "") -> Metric:
    """One Frechet distance, of generated images or of what ``reconstructed`` says."""
    label, network, source = {
        "fid": ("FID", "pytorch-fid's Inception", f"Heusel et al. 2017; {SECTION}"),
        "cfid": ("cFID", "a small classifier trained on the data set (not comparable with any FID)", SECTION),
    }[name]
    how, meaning = _MODES[mode]
    published = mode == "_published"
    form: Form = "published" if published else "mixed" if mode else "standard"
    return Metric(
        name + ("_rec" if reconstructed else "") + mode,
        label + (" (rec)" if reconstructed else "") + how,
        f"Frechet distance between the features of {reconstructed or 'generated images'} and of training images; "
        f"features of {network}; {meaning}.",
        "",
        "lower",
        form,
        PUBLISHED if published and name == "fid" else source,
        datasets=("images",),
        version=2 if reconstructed and published else 1,
    )


def _manifolds() -> tuple[Metric, ...]:
    """Precision and recall in both counting conventions."""
    kinds = {
        "precision": ("share of generated images inside the k-NN manifold of the training images", 4),
        "recall": ("share of training images inside the k-NN manifold of the generated images", 5),
    }
    return tuple(
        metric
        for name, (definition, k) in kinds.items()
        for metric in (
            Metric(
                f"{name}_published",
                f"{name} (published)",
                f"The {definition}; k = {k} where a point counts as its own neighbour, so {k - 1} others; features in "
                "train mode.",
                "share",
                "higher",
                "published",
                PUBLISHED,
                datasets=("images",),
                version=2,
            ),
            Metric(
                name,
                name,
                f"The {definition}; k = 3, a point is not its own neighbour; features in eval mode.",
                "share",
                "higher",
                "standard",
                f"Kynkaanniemi et al. 2019; {SECTION}",
                datasets=("images",),
            ),
        )
    )


def _probe(name: str, label: str, definition: str, form: Form) -> Metric:
    source = PUBLISHED if form == "published" else SECTION
    return Metric(name, label, definition, "%", "higher", form, source, display_scale=100.0, datasets=("images",))


_SAMPLED = "on z sampled once per image from q(z|x), standardised"

_REPRESENTATION = (
    _probe(
        "svc_few",
        "SVM (few)",
        f"Test accuracy of a linear SVC, C = 0.025, at most 2,000 steps, {_SAMPLED}.",
        "published",
    ),
    _probe(
        "svc_many",
        "SVM (many)",
        f"Test accuracy of a linear SVC, C = 0.025, at most 10,000 steps, {_SAMPLED}.",
        "published",
    ),
    _probe("knn_few", "k-NN (few)", f"Test accuracy of 5 nearest neighbours {_SAMPLED}.", "published"),
    _probe("knn_many", "k-NN (many)", f"Test accuracy of 100 nearest neighbours {_SAMPLED}.", "published"),
    _probe(
        "linear_probe",
        "linear probe",
        "Test accuracy of multinomial logistic regression, run to convergence, on the posterior mean mu(x).",
        "standard",
    ),
    Metric(
        "mse",
        "MSE",
        "Mean over test images and their coordinates of the squared error between the image and its reconstruction.",
        "squared units",
        "lower",
        "both",
        SECTION,
        datasets=("images",),
    ),
    Metric(
        "drift",
        "drift",
        "Mean over test images of KL(q(z|g(mu(x))) || q(z|x)): how far a reconstruction is encoded from its image.",
        "nats",
        "lower",
        "both",
        PUBLISHED,
        datasets=("images",),
    ),
)


def ood_metric(kind: str, score: str, measure: str) -> str:
    """The name of a metric of out-of-distribution detection, such as ``ood_uniform_elbo_auroc``."""
    return f"ood_{kind}_{score}_{measure}"


# Kind of outlier -> what is added to a label, what it is, for which data.
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
    """Out-of-distribution detection: every kind of outlier, score and measure (:mod:`sintro.metrics.ood`)."""
    return tuple(
        Metric(
            ood_metric(kind, score, measure),
            f"{head} ({label}{suffix})",
            f"{meaning}. Fresh data of the model's own kind against as many {outliers}, ranked by {ranked}.",
            unit,
            direction,
            "both",
            f"{source}; {SECTION}",
            display_scale=factor,
            datasets=(data,),
        )
        for kind, (suffix, outliers, data) in OOD_KINDS.items()
        for score, (label, ranked, source) in OOD_SCORES.items()
        for measure, (head, meaning, unit, direction, factor) in OOD_MEASURES.items()
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (*_DENSITY, *_MODEL, *_distances(), *_manifolds(), *_REPRESENTATION, *_detection())
}


VERSIONS = "metric_versions"  # the key of metrics.json that says by which definitions its numbers were computed


def versions(names: Iterable[str]) -> dict[str, int]:
    """The version of the definition of every named metric that has one of its own, for ``metrics.json``."""
    return {name: METRICS[name].version for name in sorted(names) if name in METRICS}


def outdated(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics in a ``metrics.json`` that an older definition computed; before versions were kept, all were 1."""
    stored = metrics.get(VERSIONS)
    known = stored if isinstance(stored, Mapping) else {}
    return tuple(name for name in metrics if name in METRICS and known.get(name, 1) != METRICS[name].version)
