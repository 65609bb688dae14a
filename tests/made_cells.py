"""Result folders with made-up numbers in the formats that training and evaluation write; no training, no torch.

For the report's tests and for benchmarks of its speed: the numbers are plausible, nothing more.
"""

import csv
import io
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sintro import SintroError
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.cells.components import datasets
from sintro.cells.origins import sources
from sintro.cells.presets import published
from sintro.metrics import VERSIONS, noise, versions
from sintro.runs.history import COLUMNS

DENSITIES = tuple(datasets("2d"))

FLOOR_KL = {"8gaussians": 0.61, "spirals": 6.79, "checkerboard": 17.2, "rings": 7.74}

Values = Callable[[Cell, dict[str, float]], dict[str, float]]


def rng_of(cell: Cell) -> np.random.Generator:
    """A generator of the cell's own, the same on every machine."""
    return np.random.default_rng(zlib.crc32(cell.path.encode()))


def goodness(cell: Cell) -> float:
    """How many times the floor the cell scores: introspection and a learned prior help, in these made-up worlds."""
    spec = cell.prior_spec
    factor = 1.9 if cell.objective_name == "vae" else 1.45
    factor -= 0.25 * (spec.kind == "mixture") + 0.1 * spec.learned + 0.05 * (spec.kind == "vamp")
    return factor - 0.02 * spec.contributions


def density_metrics(cell: Cell) -> dict[str, float]:
    """Plausible 2D metrics: a multiple of the floor with noise over seeds."""
    rng = rng_of(cell)
    kl = FLOOR_KL[cell.dataset] * goodness(cell) * math.exp(0.04 * rng.standard_normal())
    jsd = 0.46 * kl * math.exp(0.02 * rng.standard_normal())
    gnelbo = 4e-8 * goodness(cell) * math.exp(0.1 * rng.standard_normal())
    factor = 6.25 if cell.dataset == "8gaussians" else 1.5625
    return {
        "kl_published": kl, "jsd_published": jsd, "entropy_published": kl / 3, "kl": kl / factor,
        "jsd": min(0.69, jsd / factor / 10), "gnelbo_published": gnelbo, "gnelbo": gnelbo * 1.3,
        "elbo": -3.0 + 0.1 * rng.standard_normal(), "reconstruction": 0.2 * goodness(cell), "kl_posterior": 2.4,
        "responsibility_entropy": 0.7, "inactive_modes": float(rng.integers(0, 9)), "modes_covered": 8.0,
        "off_support": 0.03 * goodness(cell), "out_of_range": 0.002 * goodness(cell),
        "sliced_w2": 0.1 * goodness(cell) * math.exp(0.1 * rng.standard_normal()),
        "energy_distance": 0.001 * goodness(cell) + 0.0004 * rng.standard_normal(), "density": 0.9 / goodness(cell),
        "coverage": 0.9 / goodness(cell), "one_nna": 0.5 + 0.1 * goodness(cell) + 0.01 * rng.standard_normal(),
    }  # fmt: skip


def image_metrics(cell: Cell) -> dict[str, float]:
    """Plausible image metrics, under the names of the definitions table."""
    from sintro.metrics import METRICS

    rng = rng_of(cell)
    weight = cell.regularizer_spec.responsibility
    fid = 30 * goodness(cell) - 2 * math.log10(1 + weight) + 0.4 * rng.standard_normal()
    made = {}
    for name in [n for n, metric in METRICS.items() if "images" in metric.datasets]:
        if "_floor" in name:
            made[name] = 0.002 if "kid" in name else 3.5
        elif name.endswith("_optimism"):
            made[name] = 0.3 + 0.2 * rng.standard_normal()
        elif "kid" in name:
            made[name] = 0.01 * goodness(cell) + 0.001 * rng.standard_normal()
        elif "fid" in name:
            made[name] = fid * (1.0 if "published" in name else 2.2) * (0.8 if "rec" in name else 1.0)
        elif name in ("responsibility_entropy", "responsibility_entropy_published"):
            made[name] = min(0.99, 0.5 + 0.15 * math.log10(1 + weight) + 0.01 * rng.standard_normal())
        elif any(part in name for part in ("precision", "recall", "svc", "knn", "probe")):
            made[name] = min(0.99, 0.9 - 0.2 * goodness(cell) + 0.01 * rng.standard_normal())
        else:
            made[name] = float(abs(rng.standard_normal()))
    return made | {"fid_last_published": made["fid_published"] * 1.1, "selected_iteration": 60_000}


def settings_of(cell: Cell):
    """The settings the study asks for, or the published ones when no study file names the cell."""
    try:
        return studies.settings(cell)
    except SintroError:
        return published(cell)


def history_text(cell: Cell, rows: int = 60, iterations: int = 30_000) -> str:
    """A history that looks like one: falling losses, noise, empty columns in the warm-up and for a VAE."""
    rng = rng_of(cell)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for step in np.linspace(0, iterations, rows).astype(int):
        fall = math.exp(-step / (0.2 * iterations))
        introspective = cell.objective_name != "vae" and step >= iterations / 15
        noise = 1 + 0.05 * rng.standard_normal(10)
        hinges = [0.2, 0.1] if introspective and cell.objective_name == "introvae" else [""] * 2
        fake = [3 * noise[4], 2.5 * noise[5], 0.5, 0.4, 0.3, 0.35] if introspective else [""] * 6
        mixture = cell.prior_spec.kind == "mixture"
        modes = [0.7, 60, -2.0 - fall, 0.5 + fall] if mixture else [""] * 4
        numbers = [1 + 4 * fall * noise[0], 1.2 + 4 * fall * noise[1], 0.3 + fall * noise[2], 2.5 * noise[3]]
        values = [int(step), int(introspective), 2e-4, *numbers, *fake, *hinges, *modes]
        assert len(values) == len(COLUMNS)
        writer.writerow([repr(float(v)) if isinstance(v, float) else v for v in values])
    return buffer.getvalue()


def made_arrays(cell: Cell, points: int = 1500, grid: int = 96) -> dict[str, np.ndarray]:
    """Rings of points, a matching energy, a latent cloud and the prior's modes: what the pictures are drawn from."""
    rng = rng_of(cell)
    half = 2.0 if cell.dataset == "8gaussians" else 4.0
    angle, labels = rng.uniform(0, 2 * np.pi, points), rng.integers(0, 4, points)
    radius = half * (0.2 + 0.18 * labels)
    data = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    data += 0.02 * half * rng.standard_normal((points, 2))
    axis = np.linspace(-half, half, grid)
    distance = np.hypot(axis[:, None], axis[None, :])[..., None] - half * (0.2 + 0.18 * np.arange(4))
    energy = (np.abs(distance).min(-1) / (0.05 * half * goodness(cell))) ** 2
    components = cell.prior_spec.components or 1
    means = rng.standard_normal((components, 2)) if components > 1 else np.zeros((1, 2))
    equal = np.full(components, 1 / components)
    weights = rng.dirichlet(np.ones(components)) if cell.prior_spec.contributions else equal
    log_vars = np.full((components, 2), -2.0 if components > 1 else 0.0)
    noise = 0.05 * half * goodness(cell) * rng.standard_normal((points, 2))
    arrays = {
        "data": data, "samples": data[::-1] + noise, "energy": energy, "latent": rng.standard_normal((points, 2)),
        "prior_means": means, "prior_log_vars": log_vars, "prior_weights": weights,
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in arrays.items()} | {"labels": labels}


def write_json(path: Path, value: dict) -> None:
    """As files.write_json does: non-finite numbers become strings."""
    spelled = {k: repr(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in value.items()}
    path.write_text(json.dumps(spelled, sort_keys=True, indent=1))


def write_cell(
    root: Path,
    cell: Cell,
    *,
    diverged_at: int | None = None,
    values: Values | None = None,
    arrays: bool = True,
    figures_from: Path | None = None,
    settings=None,
    **provenance,
) -> Path:
    """Write one cell's folder under ``root`` (the results folder) and return it.

    ``diverged_at``: the cell diverged there. ``values(cell, metrics)`` may change the metrics. ``figures_from``: a
    folder whose PNGs are linked instead of drawn.
    """
    folder = Path(root, *Path(cell.path).parts[1:])
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings or settings_of(cell)
    record = {
        "cell": cell.model_dump() | {"path": cell.path}, "settings": settings.model_dump(mode="json"),
        "digest": settings.digest, "sources": sources(settings), "command": f"sintro train {cell.path}",
        "version": "0.1.0",
    }  # fmt: skip
    write_json(folder / "cell.json", record)
    (folder / "history.csv").write_text(history_text(cell))
    status = "done" if diverged_at is None else "diverged"
    reason = None if diverged_at is None else "loss_encoder is nan"
    kept = {
        "status": status, "reason": reason, "diverged_at": diverged_at, "commit": "0123abc" + "0" * 33, "dirty": False,
        "version": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "numpy": "2.4.0", "hostname": "node1",
        "cpu": "a made-up CPU", "device": "cpu", "threads": 1, "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:10:00+00:00", "wall_seconds": 600.0 + rng_of(cell).integers(100),
        "peak_memory_bytes": 500_000_000, "data_sha256": "0" * 64, "digest": settings.digest, "resumed": 0,
    }  # fmt: skip
    write_json(folder / "provenance.json", kept | provenance)
    if diverged_at is not None:
        outcome = {"status": "diverged", "diverged_at": diverged_at, "reason": reason, "digest": settings.digest}
        write_json(folder / "metrics.json", outcome)
        return folder
    (folder / "model.pt").write_bytes(b"a made-up model")
    metrics = density_metrics(cell) if cell.dataset in DENSITIES else image_metrics(cell)
    metrics = values(cell, metrics) if values else metrics
    metrics[VERSIONS] = versions(metrics)
    if cell.dataset in DENSITIES and cell.seed == noise.SEED:
        metrics[noise.NOISE] = {name: 0.02 * abs(value) for name, value in metrics.items() if name in versions(metrics)}
    write_json(
        folder / "metrics.json",
        metrics | {"status": "done", "digest": settings.digest, "points": 5000, "iterations": 30_000},
    )
    if arrays and cell.dataset in DENSITIES:
        np.savez_compressed(folder / "arrays.npz", **made_arrays(cell))
    for picture in figures_from.glob("*.png") if figures_from else ():
        shutil.copyfile(picture, folder / picture.name)
    return folder


def write_cells(root: Path, cells: Iterable[Cell], **options) -> list[Path]:
    """Write the folder of every cell."""
    return [write_cell(root, cell, **options) for cell in cells]


def grid(study: str = "table1", datasets=DENSITIES, seeds=range(5)) -> list[Cell]:
    """Table 1's eight rows on the given data sets and seeds."""
    rows = [("vae", prior, "none") for prior in ("normal", "vamp64", "vamp64-lc")]
    rows += [("soft-introvae", prior, "none") for prior in ("normal", "mog64-fixed", "mog64-fixed-lc")]
    rows += [("soft-introvae", prior, "clip") for prior in ("mog64-learned", "mog64-learned-lc")]
    return [
        Cell(study=study, dataset=d, objective=o, prior=p, regularizers=r, seed=s)
        for d in datasets
        for o, p, r in rows
        for s in seeds
    ]
