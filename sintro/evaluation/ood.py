r"""Out-of-distribution detection: does a model give data of its own kind better scores than other data?

docs/science.md, section 7. Five scores per datum, in nats, high for data like those the model was trained on:

    elbo            -(E_q[rec(x, g(z))] + KL(q(z|x) || p))
    elbo_half       -(E_q[rec(x, g(z))] / 2 + KL(q(z|x) || p))
    kl              -KL(q(z|x) || p)
    reconstruction  -E_q[rec(x, g(z))]
    iw              log 1/k sum_i exp(-rec(x, g(z_i))) p(z_i) / q(z_i|x),   z_i ~ q(z|x)

**The decoder's noise.** A bound on log p(x) needs a density of x given z. It is the one that makes the suite's ELBO
(weights of 1, the energy of gnELBO) a bound at all: with p(x|z) = N(x; g(z), sigma^2 I) and sigma^2 = 1/2,

    log p(x|z) = -rec(x, g(z)) - (D/2) log(pi),

so ``elbo + c <= E[iw] + c <= log p(x)`` with c = -(D/2) log(pi). The constant is the same for every datum and changes
no ranking; it is left out, as it is in ``elbo`` everywhere in the suite. Training weights the two terms by beta_rec and
beta_kl, which is the ELBO for sigma^2 = beta_kl / (2 beta_rec): for images (1 and 1) the same model; in the plane the
betas differ between data sets and objectives, and a bound with their ratio would be another quantity in each row of a
table. The importance-weighted bound is that of Burda et al. 2016; in expectation it rises with k, from the ELBO at
k = 1 to log p(x).

With sigma^2 = 1, p(x|z) = N(x; g(z), I), the bound is ``elbo_half`` - (D/2) log(2 pi): the form of Athanasiadis et al.
2025's image ELBO, and probably of the log-likelihoods in the figure of Daniel & Tamar 2021 (about -2850 for CIFAR-10,
where (D/2) log(2 pi) = 2823; inferred, there is no released code). Again the constant is left out.

Measures take the model's own data as the positive class (Hendrycks & Gimpel 2017; Liang et al. 2018).
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from sintro import SintroError
from sintro.basics.randomness import normal
from sintro.metrics import OOD_MEASURES, OOD_SCORES, ood_metric
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.priors import Prior
from sintro.priors.mixture import sampled_log_prob

SCORES, MEASURES = tuple(OOD_SCORES), tuple(OOD_MEASURES)
IMPORTANCE_SAMPLES = 16
RESAMPLES = 500
KEPT = 4096  # scores of a set that are kept for the pictures
RATE = 0.95  # of the model's own data that fpr95's threshold accepts
_PART = 20  # resamples at a time: small enough for the cache, and three times as fast as all at once


@torch.no_grad()
def scores(
    model: Model, data: Tensor, prior: Prior, kl_samples: int, generator: Generator, k: int = IMPORTANCE_SAMPLES
) -> dict[str, Tensor]:
    """Score each datum of a batch -> [B] float64 by the scores' names (``SCORES``), which the module defines.

    Args:
        data: [B, *event], on the generator's device.
        prior: the model's prior as a density.
        kl_samples: posterior samples of the KL to a mixture; the KL to N(0, I) and to one component is exact.
        k: posterior samples of the importance-weighted bound, and of the expected reconstruction error.

    Raises: SintroError unless k >= 1.
    """
    if k < 1:
        raise SintroError(f"importance-weighted bound: k = {k} samples, but must be 1 or more")
    posterior = model.encode(data)
    mean, log_var = posterior
    errors, log_weights = [], []
    for _ in range(k):  # one after the other: k copies of an image batch would not fit everywhere
        noise = normal(mean.shape, generator, mean.dtype)
        z = posterior.at(noise)
        log_posterior = sampled_log_prob(log_var, noise.square(), torch.float64)
        errors.append(model.squared_error(data, model.decoder(z)).double())
        log_weights.append(prior.log_prob(z).double() - log_posterior - errors[-1])
    error, divergence = torch.stack(errors).mean(0), kl(*posterior, prior, kl_samples, generator).double()
    bound = torch.logsumexp(torch.stack(log_weights), 0) - math.log(k)
    return {
        "elbo": -(error + divergence),
        "elbo_half": -(error / 2 + divergence),
        "kl": -divergence,
        "reconstruction": -error,
        "iw": bound,
    }


class Detection(NamedTuple):
    """How well scores tell two sets apart, each with its 95% bootstrap interval (low, high) over the data."""

    auroc: float
    aupr: float
    fpr95: float
    intervals: dict[str, tuple[float, float]]


def detection(inside: Mapping[str, np.ndarray], outside: Mapping[str, np.ndarray], seed: int) -> dict[str, Detection]:
    """Measure AUROC, AUPR and FPR at 95% TPR of each score; ``inside`` [N] are positives, ``outside`` [M] negatives.

    The intervals are percentiles over ``RESAMPLES`` resamplings of both sets, the same for every score. They say how
    far another draw of test data would move the measures of this model; other training runs move them further.

    Raises SintroError where a set is empty or a score is missing in one of the sets. A NaN or +inf among the scores
    makes its measures NaN: no datum is infinitely likely. -inf, a datum too unlikely for a float, ranks last.
    """
    if set(inside) != set(outside):
        raise SintroError(f"scores inside ({', '.join(inside)}) and outside ({', '.join(outside)}) are not the same")
    sizes = {len(values[name]) for values in (inside, outside) for name in values}
    if not sizes or 0 in sizes:
        raise SintroError("out-of-distribution detection needs at least one score inside and one outside")
    found = {name: [] for name in inside}
    ranked = {name: _Ranked(inside[name], outside[name]) for name in inside}
    n, m = (len(next(iter(values.values()))) for values in (inside, outside))
    rng = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, _PART):
        parts = min(_PART, RESAMPLES - start)
        counts = [rng.multinomial(size, np.full(size, 1 / size), parts) for size in (n, m)]
        for name, one in ranked.items():
            found[name].append(one.measures(*counts))
    result = {}
    for name, one in ranked.items():
        point = one.measures(np.ones((1, n)), np.ones((1, m)))[:, 0]  # [3]
        low, high = np.quantile(np.concatenate(found[name], axis=1), [0.025, 0.975], axis=1)  # [3] each
        intervals = {m: (float(a), float(b)) for m, a, b in zip(MEASURES, low, high, strict=True)}
        result[name] = Detection(*map(float, point), intervals)
    return result


class _Ranked:
    """The scores of both sets in falling order, equal scores together; every threshold measure is made from them.

    A datum's weight is the number of times that a resample holds it. Let P and N be the weights of inside and outside
    at or above each distinct score: the ROC curve is P / P_end against N / N_end, precision is P / (P + N).
    """

    def __init__(self, inside: np.ndarray, outside: np.ndarray):
        values = np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in (inside, outside)])
        self.undefined = bool((np.isnan(values) | (values == np.inf)).any())
        if self.undefined:
            return
        distinct, ranks = np.unique(-values, return_inverse=True)  # rank 0 for the highest
        # `orders` sorts the data of each set by falling score; `ends` counts the data down to each distinct score.
        levels = np.arange(len(distinct))
        self.orders, self.ends = [], []
        for part in (ranks[: len(inside)], ranks[len(inside) :]):
            self.orders.append(np.argsort(part, kind="stable"))
            self.ends.append(np.searchsorted(part[self.orders[-1]], levels, side="right"))

    def measures(self, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Compute AUROC, AUPR and FPR at 95% TPR [3, B] for weights [B, N] and [B, M] of the two sets' data."""
        if self.undefined:
            return np.full((len(MEASURES), len(inside)), np.nan)
        totals = []
        for weights, order, ends in zip((inside, outside), self.orders, self.ends, strict=True):
            sums = np.zeros((len(weights), weights.shape[1] + 1))
            np.cumsum(weights[:, order], axis=1, out=sums[:, 1:])
            totals.append(sums[:, ends])  # [B, distinct scores]
        true, false = totals
        tpr, fpr = true / true[:, -1:], false / false[:, -1:]
        steps = np.diff(tpr, axis=1, prepend=0.0)
        auroc = 1 - (steps * (fpr - np.diff(fpr, axis=1, prepend=0.0) / 2)).sum(1)  # the trapezoidal rule
        held = true + false
        precision = np.divide(true, held, out=np.zeros_like(held), where=held > 0)
        accepted = np.argmax(tpr >= RATE - 1e-12, axis=1)
        return np.stack([auroc, (steps * precision).sum(1), fpr[np.arange(len(fpr)), accepted]])


def score_batches(
    model: Model, batches: Iterable[Tensor], prior: Prior, kl_samples: int, generator: Generator
) -> dict[str, np.ndarray]:
    """Score each datum of all batches -> [N] float64 by the scores' names."""
    found = [scores(model, batch, prior, kl_samples, generator) for batch in batches]
    return {name: torch.cat([part[name] for part in found]).cpu().numpy() for name in SCORES}


def compare(
    inside: Mapping[str, np.ndarray], outside: Mapping[str, Mapping[str, np.ndarray]], seed: int, most: int = KEPT
) -> tuple[dict[str, float | dict], dict[str, np.ndarray]]:
    """Compare a model's scores on its own data with those on each kind of outlier; return metrics and arrays.

    The larger of two sets is cut to the size of the smaller one, so that chance is an AUPR of 0.5. Metrics are
    ``ood_<kind>_<score>_<measure>``, with their intervals in ``ood_intervals``; arrays are ``ood_<kind>_<score>``
    float32, the model's own data being kind ``inside``, with at most ``most`` values each.
    """
    metrics: dict[str, float | dict] = {}
    intervals: dict[str, list[float]] = {}
    arrays = {f"ood_inside_{name}": values for name, values in inside.items()} if outside else {}
    for kind, values in outside.items():
        count = min(len(next(iter(part.values()))) for part in (inside, values))
        pair = [{name: scored[:count] for name, scored in part.items()} for part in (inside, values)]
        arrays |= {f"ood_{kind}_{name}": scored for name, scored in pair[1].items()}
        for name, found in detection(*pair, seed).items():
            for measure in MEASURES:
                metrics[ood_metric(kind, name, measure)] = getattr(found, measure)
                intervals[f"{kind}_{name}_{measure}"] = list(found.intervals[measure])
    kept = {name: values[:most].astype(np.float32) for name, values in arrays.items()}
    return metrics | ({"ood_intervals": intervals} if intervals else {}), kept
