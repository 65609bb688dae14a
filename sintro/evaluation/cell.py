"""A finished cell to ``metrics.json`` and ``arrays.npz`` (docs/science.md, section 7)."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sintro import SintroError
from sintro.basics.files import hash_file, load_tensors, remove_unfinished, save_arrays, write_json
from sintro.basics.progress import Steps
from sintro.basics.randomness import generator, normal
from sintro.cells.cell import Cell
from sintro.cells.components import Density, dataset
from sintro.cells.settings import Settings
from sintro.data import images
from sintro.data.densities import density
from sintro.data.outliers import uniform_off_support
from sintro.evaluation.images import ImageEvaluation, snapshots_of
from sintro.evaluation.ood import compare, score_batches
from sintro.metrics import VERSIONS, NotFinite, versions
from sintro.metrics.density import (
    Energy,
    energies,
    energy_grid,
    grid_normalized,
    histogram_divergences,
    mode_coverage,
    normalized_nll,
    off_support,
)
from sintro.metrics.latent import inactive_modes, responsibility_entropy
from sintro.metrics.plane import two_sample_metrics
from sintro.objectives import kl
from sintro.objectives.build import not_finite, stored_model
from sintro.objectives.model import Model
from sintro.priors import Prior
from sintro.priors.mixture import sampled_log_prob
from sintro.runs import failures, stored
from sintro.runs.devices import pick_device, set_threads
from sintro.runs.folder import now
from sintro.runs.stored import MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS, read_arrays

OUTCOME = ("status", "diverged_at", "reason", "digest")  # what metrics.json says of a cell that diverged
RESULTS = Path("results")  # under which reference features are kept for all cells
GNELBO_POINTS = 100 * 128  # real points of the published gnELBO: 100 batches of 128
LOWEST_LOG_VAR = -80.0  # the published gnELBO clamps the posterior's log-variance here
MAP_POINTS = 256  # side of the density map that is kept for the pictures
PICTURE_POINTS = 4096
LOOK = "look.json"
FEWEST_IMAGES = 10  # of a look: more than the neighbours of precision and recall
DENSITY_STEPS = (
    "divergences of histograms",
    "distances between points",
    "energy on the grid",
    "codes and out-of-distribution detection",
)
OOD_POINTS = 1000  # on the density, and as many off its support


def evaluate(cell: Cell, device: str = "auto", threads: int | None = None, label: str = "") -> dict[str, Any]:
    """Measures a trained cell; writes and returns its metrics. A diverged cell's say so and hold no numbers.

    Its progress is shown on stderr under the name ``label`` (default: the cell's path).

    A model whose weights, images, codes or responsibilities are not finite is diverged too, at the end of its training.

    Errors: SintroError where there is no finished training, or the files do not belong together.
    """
    opened = _open(cell, device, threads)
    folder, settings, known = opened.folder, opened.settings, opened.provenance.content()
    remove_unfinished(folder)
    arrays = None
    if settings is None:
        metrics = {key: known.get(key) for key in OUTCOME} | opened.data
    else:
        with Steps(label or cell.path) as steps:
            metrics, arrays = _outcome(folder, settings, opened.device, opened.data, steps)
    origin = {key: known[key] for key in ("finished", "model_sha256") if known.get(key) is not None}
    metrics |= origin | {VERSIONS: versions(metrics)}
    if "warning" in metrics:
        print(f"warning: {metrics['warning']}", file=sys.stderr)
    _write_arrays(folder / "arrays.npz", arrays)
    write_json(folder / "metrics.json", metrics | {"evaluated": now()})
    if settings is not None and metrics["status"] == "done" and settings.network == "residual":
        _remove_snapshots(folder, settings, metrics)
    return metrics


def look(cell: Cell, count: int, device: str = "auto", threads: int | None = None, label: str = "") -> dict[str, Any]:
    """Measures the end of an image cell's training with ``count`` images; writes and returns ``look.json``.

    For a quick look: nothing counts it, and metrics.json, the arrays and the snapshots stay as they are.

    Errors: SintroError for 2D cells, diverged ones, more images than the cell's own evaluation generates, and as
    :func:`evaluate`.
    """
    if cell.data.kind != "images":
        raise SintroError(f"{cell.path}: --images is for image cells; a 2D cell is evaluated in seconds without it")
    opened = _open(cell, device, threads)
    folder, settings = opened.folder, opened.settings
    if settings is None:
        raise SintroError(f"{cell.path} diverged, so there are no images to look at")
    if not FEWEST_IMAGES <= count <= settings.evaluation_images:
        raise SintroError(
            f"--images {count}: legal are {FEWEST_IMAGES} to {settings.evaluation_images} for {cell.path}"
        )
    few = settings.model_copy(update={"evaluation_images": count})
    end = {settings.iterations: snapshots_of(folder, settings)[settings.iterations]}
    try:
        with torch.no_grad(), Steps(label or cell.path) as steps:
            load = partial(load_model, folder, settings, opened.device)
            metrics = ImageEvaluation(few, load, opened.device, RESULTS, steps).measure(end)[0]
    except NotFinite as error:
        raise SintroError(f"{cell.path}: {error}") from None
    metrics |= opened.data | {
        "counts": False,
        "digest": settings.digest,
        VERSIONS: versions(metrics),
        "evaluated": now(),
    }
    write_json(folder / LOOK, metrics)
    return metrics


def evaluate_each(
    cells: Sequence[Cell], draw: Callable[[Path], Any], device: str = "auto", threads: int | None = None
) -> Iterator[tuple[Cell, str, str]]:
    """Evaluate cells one after another, and draw the figures of each with ``draw``, given its folder.

    Yields each cell with its status and "", or with "" and why it could not be evaluated, which its failure.json says.
    """
    for cell, label in numbered(cells):
        folder = Path(cell.path)
        try:
            with failures.recording("evaluate", {folder: None}):
                failures.clear(folder, "evaluate")
                status = evaluate(cell, device, threads, label)["status"]
                draw(folder)
        except (SintroError, OSError, MemoryError) as error:
            yield cell, "", failures.in_words(error)
        else:
            yield cell, status, ""


def numbered(cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    """Yield cells that come one after another, each with its name, and its place where there are several."""
    for place, cell in enumerate(cells, 1):
        yield cell, cell.path if len(cells) == 1 else f"[{place}/{len(cells)}] {cell.path}"


class _Opened(NamedTuple):
    """A trained cell that was checked. ``data``: what its metrics say of the data. No settings: it diverged."""

    folder: Path
    device: str
    provenance: stored.Provenance
    settings: Settings | None
    data: dict[str, Any]


def _open(cell: Cell, device: str, threads: int | None) -> _Opened:
    """Check that a cell is trained, with its model and its data the ones that provenance.json tells of.

    Raises SintroError.
    """
    device = pick_device(device)
    set_threads(threads)
    folder = Path(cell.path)
    provenance = stored.read(folder, stored.Provenance)
    if provenance is None:
        raise SintroError(f"{folder} is not trained to its end: no provenance.json; run: sintro train {folder}")
    known = provenance.content()
    if provenance.status == "diverged":
        return _Opened(folder, device, provenance, None, _data_of_training(known))
    _check_model(folder, provenance.model_sha256)
    settings = stored.read_settings(folder)
    return _Opened(folder, device, provenance, settings, _known_data(folder, settings, known))


def _check_model(folder: Path, expected: str | None) -> None:
    """Refuses a model.pt that is not the one whose training provenance.json tells of, where that has its hash."""
    path = folder / "model.pt"
    if expected is not None and path.exists() and hash_file(path) != expected:
        raise SintroError(
            f"{path} is not the model of the training in provenance.json (another sha256); "
            f"train again: sintro train {folder} --restart"
        )


def _outcome(
    folder: Path, settings: Settings, device: str, data: dict[str, Any], steps: Steps
) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """What metrics.json says of a training that came to its end, and the arrays; None of a model that diverged."""
    reason = not_finite(_stored_model(folder, settings, "model.pt"))
    if reason is None:
        try:
            metrics, arrays = _measure(folder, settings, device, data, steps)
            done = {"status": "done", "digest": settings.digest, "iterations": settings.iterations}
            return metrics | done, arrays
        except NotFinite as error:
            reason = str(error)
    outcome = ("diverged", settings.iterations, reason, settings.digest)
    return dict(zip(OUTCOME, outcome, strict=True)) | data, None


def _write_arrays(path: Path, arrays: dict[str, np.ndarray] | None) -> None:
    """The arrays of the pictures; those of an earlier evaluation go where there are none."""
    if arrays is None:
        path.unlink(missing_ok=True)
        return
    save_arrays(path, arrays)


def _known_data(folder: Path, settings: Settings, provenance: dict[str, Any]) -> dict[str, Any]:
    """What the metrics say of the data; refuses others than the cell was trained on, and names unverified ones."""
    if settings.network == "mlp":
        return {}
    facts = images.load(settings.dataset, "train").facts
    facts.refuse_other(provenance, str(folder), settings.dataset, f"train it anew: sintro train {folder} --restart")
    if warning := facts.warning(settings.dataset):
        print(warning, file=sys.stderr)
    return facts.recorded()


def _data_of_training(provenance: dict[str, Any]) -> dict[str, Any]:
    """The facts about data that a diverged cell's metrics take over, since nothing is measured: its ``data_`` keys."""
    return {key: value for key, value in provenance.items() if key.startswith("data_") and value is not None}


@torch.no_grad()
def _measure(
    folder: Path, settings: Settings, device: str, data: dict[str, Any], steps: Steps
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    load = partial(load_model, folder, settings, device)
    if settings.network == "mlp":
        return measure_density(load(), settings, device, steps)
    measurement = ImageEvaluation(settings, load, device, RESULTS, steps)
    metrics, arrays = measurement.measure(snapshots_of(folder, settings))
    return _with_earlier(folder, settings, metrics | data, arrays)


def _with_earlier(folder: Path, settings: Settings, metrics: dict[str, Any], arrays: dict[str, np.ndarray]):
    """What an earlier evaluation of the same training measured of snapshots that it then removed."""
    try:
        before = stored.read(folder, stored.Metrics)
    except stored.Unreadable as error:
        print(f"warning: {error}; it is written anew", file=sys.stderr)
        before = None
    if before is None or before.digest != settings.digest:
        return metrics, arrays
    earlier = before.content()
    if earlier.get("data_sha256", metrics.get("data_sha256")) != metrics.get("data_sha256"):
        return metrics, arrays
    over = [name for name in metrics if name.endswith("_over_iterations") and isinstance(earlier.get(name), dict)]
    for name in over:
        known = {after: value for after, value in earlier[name].items() if after.isdecimal()} | metrics[name]
        metrics[name] = {after: known[after] for after in sorted(known, key=int)}
    if MEAN_RESPONSIBILITIES in arrays:
        known = _stored_responsibilities(folder / "arrays.npz")
        known |= _by_iteration(arrays)
        arrays[RESPONSIBILITY_ITERATIONS] = np.array(sorted(known))
        arrays[MEAN_RESPONSIBILITIES] = np.stack([known[after] for after in sorted(known)])
    return metrics, arrays


def _stored_responsibilities(path: Path) -> dict[int, np.ndarray]:
    """Mean responsibilities [K] by iteration that an earlier evaluation stored; none where the file is not whole."""
    try:
        return _by_iteration(read_arrays(path, (MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS)))
    except (SintroError, ValueError, KeyError):
        return {}


def _by_iteration(arrays: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    return dict(zip(arrays[RESPONSIBILITY_ITERATIONS].tolist(), arrays[MEAN_RESPONSIBILITIES], strict=True))


def _remove_snapshots(folder: Path, settings: Settings, metrics: dict[str, Any]) -> None:
    """What was kept for this evaluation, now that it is written; a second one still finds the best and the last.

    Where FID could not be measured, all stay for the day its weights are there.
    """
    if "fid" not in metrics and dataset(settings.dataset).photographs:
        return
    for after, name in snapshots_of(folder, settings).items():
        if after not in (metrics["selected_iteration"], settings.iterations):
            (folder / name).unlink()


def load_model(folder: Path, settings: Settings, device: str, name: str = "model.pt") -> Model:
    """The trained model of a cell's folder, or a snapshot of it; refuses one that was trained with other settings.

    It computes in float32, whatever it was trained in.
    """
    state = _stored_model(folder, settings, name)
    computing = settings.model_copy(update={"precision": settings.precision and "float32"})
    return stored_model(computing, state, device)


def _stored_model(folder: Path, settings: Settings, name: str) -> dict[str, Any]:
    """What a model file of a cell's folder holds; refuses one that was trained with other settings."""
    file = folder / name
    remedy = f"train again: sintro train {folder} --restart"
    state = load_tensors(file, remedy)
    if not isinstance(state, dict) or state.get("digest") != settings.digest:
        raise SintroError(f"{file} was trained with other hyper-parameters than cell.json says; {remedy}")
    return state


def measure_density(
    model: Model, settings: Settings, device: str, steps: Steps | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """All metrics of a 2D cell, and the arrays its pictures are drawn from. ``steps`` is told what is measured."""
    steps = steps or Steps()
    steps.plan(DENSITY_STEPS)
    steps.begin(DENSITY_STEPS[0])
    target, prior, count = density(settings.dataset), model.mixture(), settings.evaluation_points

    def real(stream: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        return target.sample(n, generator(settings.seed, f"evaluation-{stream}"), device)

    def generated(stream: str, n: int) -> torch.Tensor:
        return model.decoder(prior.sample(n, generator(settings.seed, f"evaluation-{stream}-fake", 0, device))[0])

    metrics: dict[str, Any] = {"points": count}
    measured = {
        "kl": ("kl_published", "kl", "entropy_published", "out_of_range"),
        "jsd": ("jsd_published", "jsd"),
    }
    for stream, names in measured.items():
        scores = histogram_divergences(
            real(stream, count)[0], generated(stream, count), target.half_width / 2, settings.evaluation_bins
        )
        metrics |= {name: scores[name] for name in names}
    samples = generated("coverage", count)
    metrics |= {"modes_covered": mode_coverage(samples, target), "off_support": off_support(samples, target)}
    steps.begin(DENSITY_STEPS[1])
    metrics |= two_sample_metrics(real("pairs", count)[0], generated("pairs", count))
    energy = _energy(model, prior, settings, device)
    steps.begin(DENSITY_STEPS[2])
    on_grid = energy_grid(
        _counted(energy, settings.evaluation_grid**2, steps), target.half_width, settings.evaluation_grid, device=device
    )
    on_points = energies(energy, real("gnelbo", GNELBO_POINTS)[0])
    metrics["gnelbo_published"] = grid_normalized(on_points, on_grid)
    metrics["gnelbo"] = normalized_nll(on_points, on_grid, target.half_width)
    steps.begin(DENSITY_STEPS[3])
    state, latent = _latent_state(model, prior, *real("latent", count), settings, device)
    detected, scored = _detection(model, prior, target, settings, device)
    return metrics | state | detected, _arrays(target, samples, on_grid, latent, prior) | scored


def _counted(energy: Energy, total: int, steps: Steps) -> Energy:
    """The energy, which tells at how many of all points it was computed."""
    done = 0

    def counted(points: torch.Tensor) -> torch.Tensor:
        nonlocal done
        found = energy(points)
        done += len(points)
        steps.part(done, total)
        return found

    return counted


def _detection(model, prior, target: Density, settings: Settings, device: str):
    """Out-of-distribution detection: fresh points of the density against uniform ones off its support."""
    count, draws = min(OOD_POINTS, settings.evaluation_points), generator(settings.seed, "evaluation-ood")
    inside = target.sample(count, draws)[0]
    noise = generator(settings.seed, "evaluation-ood-noise", 0, device)
    own, others = (
        score_batches(model, [points.to(device)], prior, settings.samples, noise)
        for points in (inside, uniform_off_support(target, count, draws))
    )
    return compare(own, {"uniform": others}, settings.seed, PICTURE_POINTS)


def _energy(model: Model, prior, settings: Settings, device: str):
    """e(x) = KL(x) + rec(x, g(mu(x))) in nats and squared data units, [M, 2] -> [M]: the negative ELBO.

    A KL by sampling has the same S noise vectors at every point: that to a mixture, and that to N(0, I) in the
    protocol of Athanasiadis et al. 2025 (``kl_of_normal``); else N(0, I) has its closed form.
    """
    noise = normal(
        (settings.samples, settings.latent_size), generator(settings.seed, "evaluation-energy", 0, device)
    )  # [S, L]
    sampled = getattr(settings, "kl_of_normal", None) == "sampled"

    def divergence(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
        if not prior.is_standard:
            return _sampled_kl(mean, log_var, prior, noise)
        return _kl_to_normal(mean, log_var, noise) if sampled else kl(mean, log_var, prior, 0, None)

    def energy(points: torch.Tensor) -> torch.Tensor:
        mean, log_var = model.encode(points)
        log_var = log_var.clamp(min=LOWEST_LOG_VAR)
        return model.squared_error(points, model.decoder(mean)) + divergence(mean, log_var)

    return energy


def _sampled_kl(mean: torch.Tensor, log_var: torch.Tensor, prior: Prior, noise: torch.Tensor) -> torch.Tensor:
    """The mean of log q(z) - log p(z) over z = mean + exp(log_var / 2) eps, eps the rows of noise [S, L]; [M]."""
    z = mean + torch.exp(0.5 * log_var) * noise.unsqueeze(1)  # [S, M, L]
    log_posterior = sampled_log_prob(log_var, noise.square().mean(0))
    return log_posterior - prior.log_prob(z.flatten(0, 1)).unflatten(0, z.shape[:2]).mean(0)


def _kl_to_normal(mean: torch.Tensor, log_var: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The same mean for p = N(0, I): quadratic in eps, so that the noise enters by its first two moments alone; [M].

    1/2 sum_l [(m^2 + 2 m sd mean(eps) + sd^2 mean(eps^2)) - s - mean(eps^2)], with s = log_var and sd = exp(s / 2).
    """
    first, second = noise.mean(0), noise.square().mean(0)  # [L]
    squares = mean.square() + 2 * mean * torch.exp(0.5 * log_var) * first + log_var.exp() * second
    return 0.5 * (squares - log_var - second).sum(-1)


def _latent_state(model, prior, points, labels, settings, device):
    """The ELBO's parts and the use of the prior's modes on real points; and the latent cloud for the picture."""
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


def _arrays(target: Density, samples, on_grid, latent, prior) -> dict[str, np.ndarray]:
    side = min(MAP_POINTS, len(on_grid))
    rows = np.linspace(0, len(on_grid) - 1, side).round().astype(int)
    arrays = {name: tensor[:PICTURE_POINTS] for name, tensor in (latent | {"samples": samples}).items()}
    gaussians = {f"prior_{name}": tensor for name, tensor in prior.components_to_draw().items()}
    arrays |= gaussians or {"codes": arrays["latent"], "code_labels": arrays["labels"]}
    found = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    return found | {"energy": on_grid.numpy()[np.ix_(rows, rows)].astype(np.float32)}
