"""The metrics of a cell in the plane, and the arrays that its pictures are drawn from (docs/science.md, section 7)."""

from typing import Any

import numpy as np
import torch

from sintro import SintroError
from sintro.basics.progress import Steps
from sintro.basics.randomness import generator, normal
from sintro.cells.components import Density
from sintro.cells.settings import Settings
from sintro.data.densities import density
from sintro.data.outliers import uniform_off_support
from sintro.evaluation.ood import compare, score_batches
from sintro.metrics import NOT_MEASURED, OOD_MEASURES, OOD_SCORES, noise, ood_metric
from sintro.metrics.density import (
    Energy,
    energies,
    energy_grid,
    energy_noise,
    grid_normalized,
    histogram_divergences,
    mode_coverage,
    normalized_nll,
    off_support,
)
from sintro.metrics.latent import inactive_modes, responsibility_entropy
from sintro.metrics.plane import two_sample_metrics
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.priors import Prior
from sintro.priors.mixture import sampled_log_prob

GNELBO_POINTS = 100 * 128  # real points of the published gnELBO: 100 batches of 128
LOWEST_LOG_VAR = -80.0  # the published gnELBO clamps the posterior's log-variance here
MAP_POINTS = 256  # side of the density map that is kept for the pictures
PICTURE_POINTS = 4096  # that are kept for the pictures
OOD_POINTS = 1000  # on the density, and as many off its support

# The steps of an evaluation, as its progress names them.
DIVERGENCES, PAIRS = "divergences of histograms", "distances between points"
REDRAWS = "measurement noise"  # for one seed of each row
GRID, CODES = "energy on the grid", "codes and out-of-distribution detection"
STEPS = (DIVERGENCES, PAIRS, GRID, CODES)


def measure_density(
    model: Model, settings: Settings, device: str, steps: Steps | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure a model of a density; return all metrics, and the arrays that the pictures are drawn from.

    ``steps`` shows which step is being done. Every metric's points come from a random stream of their own.
    """
    steps = steps or Steps()
    has_noise = settings.seed == noise.SEED
    steps.plan([*STEPS, *([REDRAWS] if has_noise else [])])
    steps.begin(DIVERGENCES)
    target, prior, count = density(settings.dataset), model.mixture(), settings.evaluation_points
    points = _Points(model, prior, target, settings, device)
    found, samples = points.divergences()
    steps.begin(PAIRS)
    found |= points.pairs()
    metrics: dict[str, Any] = {"points": count} | found
    energy = _energy(model, prior, settings, device)
    steps.begin(GRID)
    side = settings.evaluation_grid
    on_grid = energy_grid(_counted(energy, side**2, steps), target.half_width, side, device=device)
    on_points = energies(energy, points.real("gnelbo", GNELBO_POINTS)[0])
    metrics["gnelbo_published"] = grid_normalized(on_points, on_grid)
    metrics["gnelbo"] = normalized_nll(on_points, on_grid, target.half_width)
    steps.begin(CODES)
    state, latent = _latent_state(model, prior, *points.real("latent", count), settings, device)
    detected, scored = _detection(model, prior, target, settings, device)
    if has_noise:
        steps.begin(REDRAWS)
        redrawn = [points.divergences(draw)[0] | points.pairs(draw) for draw in range(1, noise.REDRAWS + 1)]
        errors = energy_noise(on_points, on_grid, target.mirrored)
        metrics[noise.NOISE] = noise.over_draws([found, *redrawn]) | dict(
            zip(("gnelbo_published", "gnelbo"), errors, strict=True)
        )
    return metrics | state | detected, _arrays(samples, on_grid, latent, prior) | scored


class _Points:
    """Fresh real and generated points, and what is measured of them; draw 0 is that of the metrics."""

    def __init__(self, model: Model, prior: Prior, target: Density, settings: Settings, device: str):
        self.model, self.prior, self.target, self.settings, self.device = model, prior, target, settings, device

    def real(self, stream: str, count: int, draw: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample the density -> points [count, 2], and the part [count] that each is of."""
        return self.target.sample(count, generator(self.settings.seed, f"evaluation-{stream}", draw), self.device)

    def generated(self, stream: str, count: int, draw: int = 0) -> torch.Tensor:
        """Sample the model -> points [count, 2]."""
        draws = generator(self.settings.seed, f"evaluation-{stream}-fake", draw, self.device)
        return self.model.decoder(self.prior.sample(count, draws)[0])

    def divergences(self, draw: int = 0) -> tuple[dict[str, Any], torch.Tensor]:
        """Measure histograms, and where samples lie -> metrics, and the samples."""
        count, found = self.settings.evaluation_points, {}
        measured = {"kl": ("kl_published", "kl", "entropy_published", "out_of_range"), "jsd": ("jsd_published", "jsd")}
        for stream, names in measured.items():
            scores = histogram_divergences(
                self.real(stream, count, draw)[0],
                self.generated(stream, count, draw),
                self.target.half_width / 2,
                self.settings.evaluation_bins,
            )
            found |= {name: scores[name] for name in names}
        samples = self.generated("coverage", count, draw)
        covered = mode_coverage(samples, self.target)
        return found | {"modes_covered": covered, "off_support": off_support(samples, self.target)}, samples

    def pairs(self, draw: int = 0) -> dict[str, float]:
        """Measure a pair of real and generated samples."""
        count = self.settings.evaluation_points
        return two_sample_metrics(self.real("pairs", count, draw)[0], self.generated("pairs", count, draw))


def _counted(energy: Energy, total: int, steps: Steps) -> Energy:
    """Return the energy, which tells ``steps`` at how many of the ``total`` points it was computed."""
    done = 0

    def counted(points: torch.Tensor) -> torch.Tensor:
        nonlocal done
        found = energy(points)
        done += len(points)
        steps.part(done, total)
        return found

    return counted


def _detection(
    model: Model, prior: Prior, target: Density, settings: Settings, device: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Tell fresh points of the density from uniform points off its support; return metrics and scores.

    Where there are no such points, the metrics are not measured.
    """
    count, draws = min(OOD_POINTS, settings.evaluation_points), generator(settings.seed, "evaluation-ood")
    inside = target.sample(count, draws)[0]
    try:
        outside = uniform_off_support(target, count, draws)
    except SintroError as error:
        names = [ood_metric("uniform", score, measure) for score in OOD_SCORES for measure in OOD_MEASURES]
        return {NOT_MEASURED: dict.fromkeys(names, str(error))}, {}
    noise = generator(settings.seed, "evaluation-ood-noise", 0, device)
    own, others = (
        score_batches(model, [points.to(device)], prior, settings.samples, noise) for points in (inside, outside)
    )
    return compare(own, {"uniform": others}, settings.seed)


def _energy(model: Model, prior: Prior, settings: Settings, device: str) -> Energy:
    """Return the negative ELBO e(x) = KL(x) + rec(x, g(mu(x))), [M, 2] -> [M], in nats and squared data units.

    The KL to N(0, I) is in closed form, unless the settings ask for the protocol of Athanasiadis et al. 2025
    (``kl_of_normal``). That, and the KL to every other prior, is sampled with the same S noise vectors at every point.
    """
    shape = settings.samples, settings.latent_size  # [S, L]
    noise = normal(shape, generator(settings.seed, "evaluation-energy", 0, device))

    def divergence(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        if not prior.is_standard:
            return _sampled_kl(mean, log_var, prior, noise)
        if settings.kl_of_normal == "sampled":
            return _kl_to_normal(mean, log_var, noise)
        return kl(mean, log_var, prior, 0, None)

    def energy(points: torch.Tensor) -> torch.Tensor:
        mean, log_var = model.encode(points)
        log_var = log_var.clamp(min=LOWEST_LOG_VAR)
        return model.squared_error(points, model.decoder(mean)) + divergence(mean, log_var)

    return energy


def _sampled_kl(mean: torch.Tensor, log_var: torch.Tensor, prior: Prior, noise: torch.Tensor) -> torch.Tensor:
    """Average log q(z) - log p(z) over z = mean + exp(log_var / 2) eps, with eps the rows of noise [S, L] -> [M]."""
    z = mean + torch.exp(0.5 * log_var) * noise.unsqueeze(1)  # [S, M, L]
    log_posterior = sampled_log_prob(log_var, noise.square().mean(0))
    return log_posterior - prior.log_prob(z.flatten(0, 1)).unflatten(0, z.shape[:2]).mean(0)


def _kl_to_normal(mean: torch.Tensor, log_var: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Compute the average of :func:`_sampled_kl` for p = N(0, I) -> [M].

    It is quadratic in eps, so that only the first two moments of the noise enter:
    1/2 sum_l [(m^2 + 2 m sd mean(eps) + sd^2 mean(eps^2)) - s - mean(eps^2)], with s = log_var and sd = exp(s / 2).
    """
    first, second = noise.mean(0), noise.square().mean(0)  # [L]
    squares = mean.square() + 2 * mean * torch.exp(0.5 * log_var) * first + log_var.exp() * second
    return 0.5 * (squares - log_var - second).sum(-1)


def _latent_state(
    model: Model, prior: Prior, points: torch.Tensor, labels: torch.Tensor, settings: Settings, device: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Measure the ELBO's parts and the use of the prior's modes on real points; return them and the latent cloud."""
    noise = generator(settings.seed, "evaluation-latent-noise", 0, device)
    posterior = model.encode(points)
    z = posterior.sample(noise)
    reconstruction = float(model.squared_error(points, model.decoder(z)).mean())
    divergence = float(kl(*posterior, prior, settings.samples, noise).mean())
    state = {"reconstruction": reconstruction, "kl_posterior": divergence, "elbo": -(reconstruction + divergence)}
    if prior.has_modes:
        mean_responsibilities = prior.log_prob_and_mean_responsibilities(z)[1].double()
        state["responsibility_entropy"] = float(responsibility_entropy(mean_responsibilities))
        state["inactive_modes"] = int(inactive_modes(mean_responsibilities))
    return state, {"data": points, "labels": labels, "latent": z}


def _arrays(
    samples: torch.Tensor, on_grid: torch.Tensor, latent: dict[str, torch.Tensor], prior: Prior
) -> dict[str, np.ndarray]:
    """Thin out what the pictures need."""
    side = min(MAP_POINTS, len(on_grid))
    rows = np.linspace(0, len(on_grid) - 1, side).round().astype(int)
    arrays = {name: tensor[:PICTURE_POINTS] for name, tensor in (latent | {"samples": samples}).items()}
    gaussians = {f"prior_{name}": tensor for name, tensor in prior.components_to_draw().items()}
    arrays |= gaussians or {"codes": arrays["latent"], "code_labels": arrays["labels"]}
    found = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    return found | {"energy": on_grid.numpy()[np.ix_(rows, rows)].astype(np.float32)}
