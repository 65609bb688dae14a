"""Results whose extension is gone: read with stand-ins, which the settings in their cell.json describe."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sintro import SintroError
from sintro.cells.cell import PARTS, Cell
from sintro.cells.components.stand_ins import stand_in
from sintro.report.numbers.results import Result, read_cell
from sintro.report.numbers.tables import GONE
from sintro.runs import stored


def read_gone(left_out: Mapping[str, str], results: Path) -> list[Result]:
    """Read the cells among those left out whose extension is gone and whose folder says what they are.

    ``left_out``: by path, why the study leaves a cell out. A cell whose extension is broken is none of them, since it
    can be mended; nor is one whose cell.json cannot be read.
    """
    found = []
    for path, why in left_out.items():
        folder = Path(results, *Path(path).parts[1:])
        try:
            settings = stored.read_settings(folder)
            names = dict(zip(PARTS, path.split("/")[1:], strict=True))
            stand_in(names["dataset"], names["objective"], names["prior"], settings)
            cell = Cell.from_path(path)
        except SintroError:
            continue
        result = read_cell(cell, results, settings.digest)
        note = f"{GONE.capitalize()}: {why}. What needs it is left out."
        found.append(replace(result, gone=why, notes=(note, *result.notes)))
    return found
