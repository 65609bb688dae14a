"""The model files of a finished cell: the end of its training and the snapshots before, and what is known of both."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sintro import SintroError
from sintro.basics.files import hash_file, load_tensors
from sintro.cells.settings import Settings
from sintro.data.sources import are_photographs
from sintro.objectives.build import stored_model
from sintro.objectives.model import Model
from sintro.runs import stored
from sintro.runs.stored import MEAN_RESPONSIBILITIES, MODEL, RESPONSIBILITY_ITERATIONS, read_arrays


def snapshots_of(folder: Path, settings: Settings) -> dict[int, str]:
    """Return the names of a cell's model files by the number of iterations before each; ``model.pt`` is the last.

    A snapshot at an iteration that the settings do not name is of an earlier training of other length, and left alone.

    Raises SintroError where ``model.pt`` is missing.
    """
    if not (folder / MODEL).exists():
        raise SintroError(f"{folder / MODEL} is missing; {_remedy(folder)}")
    names = {after: f"snapshot-{after}.pt" for after in settings.snapshots if after < settings.iterations}
    there = {after: name for after, name in names.items() if (folder / name).exists()}
    return there | {settings.iterations: MODEL}


def load_model(folder: Path, settings: Settings, device: str, name: str = MODEL) -> Model:
    """Build the model of a file in a cell's folder. It computes in float32, whatever it was trained in.

    Raises SintroError where the file cannot be read, or was made with other settings.
    """
    computing = settings.model_copy(update={"precision": settings.precision and "float32"})
    return stored_model(computing, load_state(folder, settings, name), device)


def load_state(folder: Path, settings: Settings, name: str = MODEL) -> dict[str, Any]:
    """Read a model file of a cell's folder. Raises SintroError as :func:`load_model` does."""
    file = folder / name
    state = load_tensors(file, _remedy(folder))
    if not isinstance(state, dict) or state.get("digest") != settings.digest:
        raise SintroError(f"{file} was trained with other hyper-parameters than cell.json says; {_remedy(folder)}")
    return state


def check_hash(folder: Path, expected: str | None) -> None:
    """Refuse a ``model.pt`` with another sha256 than provenance.json records (None: it records none)."""
    path = folder / MODEL
    if expected is not None and path.exists() and hash_file(path) != expected:
        raise SintroError(
            f"{path} is not the model of the training in provenance.json (another sha256); {_remedy(folder)}"
        )


def remove_snapshots(folder: Path, settings: Settings, metrics: Mapping[str, Any]) -> None:
    """Remove the snapshots that were kept for the evaluation, but for the selected one: a second evaluation finds it.

    All of them stay where FID could not be measured for lack of Inception's weights.
    """
    if "fid" not in metrics and are_photographs(settings.dataset):
        return
    for after, name in snapshots_of(folder, settings).items():
        if after not in (metrics["selected_iteration"], settings.iterations):
            (folder / name).unlink()


def with_earlier(
    folder: Path, settings: Settings, metrics: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Add what an earlier evaluation of the same training measured of snapshots that are removed since."""
    earlier = _earlier_metrics(folder, settings)
    if earlier.get("data_sha256", metrics.get("data_sha256")) != metrics.get("data_sha256"):
        return metrics, arrays
    for name, values in metrics.items():
        if name.endswith("_over_iterations") and isinstance(earlier.get(name), dict):
            known = {after: value for after, value in earlier[name].items() if after.isdecimal()} | values
            metrics[name] = {after: known[after] for after in sorted(known, key=int)}
    if earlier and MEAN_RESPONSIBILITIES in arrays:
        known = _stored_responsibilities(folder / "arrays.npz") | _by_iteration(arrays)
        arrays[RESPONSIBILITY_ITERATIONS] = np.array(sorted(known))
        arrays[MEAN_RESPONSIBILITIES] = np.stack([known[after] for after in sorted(known)])
    return metrics, arrays


def _earlier_metrics(folder: Path, settings: Settings) -> dict[str, Any]:
    """Return the stored metrics of a cell; none of another training, or where the file is damaged."""
    try:
        before = stored.read(folder, stored.Metrics)
    except stored.Unreadable as error:
        print(f"warning: {error}; it is written anew", file=sys.stderr)
        return {}
    return before.content() if before is not None and before.digest == settings.digest else {}


def _stored_responsibilities(path: Path) -> dict[int, np.ndarray]:
    """Return the stored mean responsibilities [K] by iteration; none where the file is damaged."""
    try:
        return _by_iteration(read_arrays(path, (MEAN_RESPONSIBILITIES, RESPONSIBILITY_ITERATIONS)))
    except (SintroError, ValueError, KeyError):
        return {}


def _by_iteration(arrays: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    return dict(zip(arrays[RESPONSIBILITY_ITERATIONS].tolist(), arrays[MEAN_RESPONSIBILITIES], strict=True))


def _remedy(folder: Path) -> str:
    return f"train again: sintro train {folder} --restart"
