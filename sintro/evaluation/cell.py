"""Evaluate cells: from a trained model to ``metrics.json`` and ``arrays.npz`` (docs/science.md, section 7)."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from sintro import SintroError
from sintro.basics.files import remove_unfinished, save_arrays, write_json
from sintro.basics.progress import Steps
from sintro.cells import components
from sintro.cells.cell import RESULTS, Cell
from sintro.cells.presets import extension_sha256, why_alone
from sintro.cells.settings import Settings
from sintro.data import images
from sintro.evaluation import snapshots
from sintro.evaluation.generated import Measured, together
from sintro.evaluation.images import ImageEvaluation
from sintro.evaluation.no_density import without_density
from sintro.evaluation.plane import measure_density
from sintro.evaluation.translation import measure_translation
from sintro.metrics import VERSIONS, NotFinite, versions
from sintro.objectives.build import not_finite
from sintro.runs import failures, stored
from sintro.runs.devices import pick_device, set_threads
from sintro.runs.folder import now

OUTCOME = ("status", "diverged_at", "reason", "digest")  # what metrics.json says of a cell that diverged
LOOK = "look.json"
FEWEST_IMAGES = 10  # of a look: more than the neighbours of precision and recall


def evaluate(cell: Cell, device: str = "auto", threads: int | None = None, label: str = "") -> dict[str, Any]:
    """Measure a trained cell; write and return its metrics. Those of a diverged cell say so and hold no numbers.

    A model whose weights, images, codes or responsibilities are not finite counts as diverged at the end of its
    training. Progress is shown on stderr under the name ``label`` (default: the cell's path).

    Raises: SintroError where training is not finished, or the files do not belong together.
    """
    began = time.monotonic()
    opened = _open(cell, device, threads)
    folder, settings, known = opened.folder, opened.settings, opened.provenance
    remove_unfinished(folder)
    if settings is None:
        metrics, arrays = {key: known.get(key) for key in OUTCOME} | opened.data, None
    else:
        with Steps(label or cell.path) as steps:
            metrics, arrays = _outcome(opened, settings, steps)
    metrics |= {key: known[key] for key in ("finished", "model_sha256") if known.get(key) is not None}
    metrics[VERSIONS] = versions(metrics)
    if "warning" in metrics:
        print(f"warning: {metrics['warning']}", file=sys.stderr)
    if "ood_missing" in metrics:
        print(f"note: {metrics['ood_missing']}", file=sys.stderr)
    if arrays is None:  # arrays of an earlier evaluation are not this model's
        (folder / "arrays.npz").unlink(missing_ok=True)
    else:
        save_arrays(folder / "arrays.npz", arrays)
    took = {"evaluated": now(), "evaluation_seconds": round(time.monotonic() - began, 1)}
    write_json(folder / "metrics.json", metrics | took)
    if settings is not None and metrics["status"] == "done" and settings.network != "mlp":
        snapshots.remove_snapshots(folder, settings, metrics)
    return metrics


def look(cell: Cell, count: int, device: str = "auto", threads: int | None = None, label: str = "") -> dict[str, Any]:
    """Measure the end of an image cell's training with ``count`` images; write and return ``look.json``.

    Nothing counts a quick look; metrics.json, the arrays and the snapshots stay as they are.

    Raises: SintroError for 2D cells, diverged ones, more images than the cell's own evaluation generates, and where
        :func:`evaluate` does.
    """
    if cell.data.kind != "images":
        raise SintroError(f"{cell.path}: --images is for image cells; a 2D cell is evaluated in seconds without it")
    opened = _open(cell, device, threads)
    folder, settings = opened.folder, opened.settings
    if settings is None:
        raise SintroError(f"{cell.path} diverged, so there are no images to look at")
    most = settings.evaluation_images
    if not FEWEST_IMAGES <= count <= most:
        raise SintroError(f"--images {count}: legal are {FEWEST_IMAGES} to {most} for {cell.path}")
    if reason := why_alone(settings, [count]):
        raise SintroError(f"--images {count}: {reason}")
    few = settings.model_copy(update={"evaluation_images": count})
    end = {settings.iterations: snapshots.snapshots_of(folder, settings)[settings.iterations]}
    try:
        with torch.no_grad(), Steps(label or cell.path) as steps:
            load = partial(snapshots.load_model, folder, settings, opened.device)
            measurement = ImageEvaluation(few, load, opened.device, Path(RESULTS), steps)
            metrics = _defined(measurement.measure(end, is_look=True), settings)[0]
    except NotFinite as error:
        raise SintroError(f"{cell.path}: {error}") from None
    metrics |= opened.data | {"counts": False, "digest": settings.digest, VERSIONS: versions(metrics)}
    write_json(folder / LOOK, metrics | {"evaluated": now()})
    return metrics


def evaluate_each(
    cells: Sequence[Cell], draw: Callable[[Path], Any], device: str = "auto", threads: int | None = None
) -> Iterator[tuple[Cell, str, str]]:
    """Evaluate cells one after another; draw the figures of each with ``draw``, a function of its folder.

    Yields (cell, status, "") or, where an evaluation failed, (cell, "", reason); failure.json holds the reason too.
    Raises an error of the suite's own code, which neither the cell nor an extension nor the machine has caused.
    """
    for cell, label in numbered(cells):
        folder = Path(cell.path)
        try:
            with failures.recording("evaluate", {folder: None}):
                failures.clear(folder, "evaluate")
                status = evaluate(cell, device, threads, label)["status"]
                draw(folder)
        except Exception as error:
            if not _leaves_other_cells_alone(error):
                raise
            yield cell, "", failures.in_words(error)
        else:
            yield cell, status, ""


def _leaves_other_cells_alone(error: Exception) -> bool:
    """Tell whether an error is of one cell, of its extension or of what the machine has left, not of the suite."""
    is_known = isinstance(error, SintroError | OSError | MemoryError)
    return is_known or bool(components.fault(error) or failures.OF_A_DEVICE.search(str(error)))


def numbered(cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    """Yield each cell and its name for the display: its path and, where there are several, its number."""
    for place, cell in enumerate(cells, 1):
        yield cell, cell.path if len(cells) == 1 else f"[{place}/{len(cells)}] {cell.path}"


class _Opened(NamedTuple):
    """A trained cell whose files were checked. No settings: it diverged."""

    folder: Path
    device: str
    provenance: dict[str, Any]
    settings: Settings | None
    data: dict[str, Any]  # what metrics.json says of the data


def _open(cell: Cell, device: str, threads: int | None) -> _Opened:
    """Check that a cell is trained, and that model and data are those of provenance.json. Raises SintroError."""
    device = pick_device(device)
    set_threads(threads)
    folder = Path(cell.path)
    provenance = stored.read(folder, stored.Provenance)
    if provenance is None:
        raise SintroError(f"{folder} is not trained to its end: no provenance.json; run: sintro train {folder}")
    known = provenance.content()
    if provenance.status == "diverged":
        data = {key: value for key, value in known.items() if key.startswith("data_") and value is not None}
        return _Opened(folder, device, known, None, data)
    snapshots.check_hash(folder, provenance.model_sha256)
    settings = stored.read_settings(folder)
    _check_extension(cell, settings)
    return _Opened(folder, device, known, settings, _checked_data(folder, settings, known))


def _check_extension(cell: Cell, settings: Settings) -> None:
    """Raise SintroError where an extension that defines parts of the cell is not what the cell was trained with."""
    if extension_sha256(cell) == settings.extension_sha256:
        return
    files = sorted({str(one.source) for one in cell.components if one.source}) or ["an extension"]
    raise SintroError(
        f"{cell.path} was trained with another content of {' and '.join(files)}; restore that, or train the cell anew: "
        f"sintro train {cell.path} --restart"
    )


def _checked_data(folder: Path, settings: Settings, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return what metrics.json says of an image cell's data; {} in the plane.

    Refuses data that the cell was not trained on; a line on stderr names data that could not be verified.
    """
    if settings.network == "mlp":
        return {}
    facts = images.load(settings.dataset, "train").facts
    facts.refuse_other(provenance, str(folder), settings.dataset, f"train it anew: sintro train {folder} --restart")
    if warning := facts.warning(settings.dataset):
        print(warning, file=sys.stderr)
    return facts.recorded()


def _outcome(opened: _Opened, settings: Settings, steps: Steps) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """Return the content of metrics.json for a finished training, and the arrays; None for a model that diverged."""
    reason = not_finite(snapshots.load_state(opened.folder, settings))
    if reason is None:
        try:
            metrics, arrays = _measure(opened, settings, steps)
            done = {"status": "done", "digest": settings.digest, "iterations": settings.iterations}
            return metrics | done, arrays
        except NotFinite as error:
            reason = str(error)
    outcome = ("diverged", settings.iterations, reason, settings.digest)
    return dict(zip(OUTCOME, outcome, strict=True)) | opened.data, None


@torch.no_grad()
def _measure(opened: _Opened, settings: Settings, steps: Steps) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    folder, device = opened.folder, opened.device
    load = partial(snapshots.load_model, folder, settings, device)
    if settings.network == "mlp":
        return measure_density(load(), settings, device, steps)
    measurement = ImageEvaluation(settings, load, device, Path(RESULTS), steps)
    metrics, arrays = _defined(measurement.measure(snapshots.snapshots_of(folder, settings)), settings)
    if settings.class_latent_size is not None:
        more = measure_translation(load(), settings, device, Path(RESULTS), steps, measurement.perceptual)
        metrics, arrays = together(metrics, more[0]), arrays | more[1]
    return snapshots.with_earlier(folder, settings, metrics | opened.data, arrays)


def _defined(measured: Measured, settings: Settings) -> Measured:
    """Leave out of an image cell's metrics and arrays what is undefined for its objective."""
    return measured if components.objective(settings.objective).has_density else without_density(*measured)
