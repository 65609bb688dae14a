"""What a cell still needs before its numbers count, judged by what its files say. Imports no torch.

Times of files decide nothing here: copying, unpacking or checking out results changes the times and no result.
"""

import json
from pathlib import Path
from typing import Any, Literal

from sintro import studies
from sintro.cells import Cell
from sintro.runs import HANDED_OVER, PROVENANCE

Need = Literal["train", "evaluate", "nothing"]
METRICS = "metrics.json"
MODEL = "model.pt"


def needed(cell: Cell) -> Need:
    """Return the first step that is missing until the cell's metrics are those of the study's settings now.

    A finished cell needs no model.pt: only a step that measures it anew does.
    """
    folder = Path(cell.path)
    provenance = _read(folder / PROVENANCE)
    if provenance.get("digest") != studies.settings(cell).digest:
        return "train"
    if _belong_together(provenance, _read(folder / METRICS)):
        return "nothing"
    if provenance.get("status") == "diverged" or (folder / MODEL).exists():
        return "evaluate"
    return "train"


def is_trained(cell: Cell) -> bool:
    """Whether nothing is left to a fleet: the cell is trained, or was by a fleet that left its last step to it."""
    if needed(cell) != "train":
        return True
    return _read(Path(cell.path, HANDED_OVER)).get("digest") == studies.settings(cell).digest


def _belong_together(provenance: dict[str, Any], metrics: dict[str, Any]) -> bool:
    """Whether the metrics were measured of the training that the provenance tells of."""
    if metrics.get("digest") != provenance["digest"]:
        return False
    return metrics.get("finished", provenance.get("finished")) == provenance.get("finished")


def _read(path: Path) -> dict[str, Any]:
    """What a file says; nothing where it is missing, unreadable or no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
