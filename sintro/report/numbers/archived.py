"""Archived runs: cells of which only what `sintro archive` packed is here, read and judged as every other cell.

They stand in the same tables, pages and claims, and say of themselves that they were archived. Nothing but the report
sees them: for `status`, `plan`, `choose` and the Snakefile they are not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from sintro.report.numbers.results import Result, read_cell
from sintro.runs import archived
from sintro.runs.archived import Entry
from sintro.runs.results import FINISHED

CACHE = ".archive"  # in the reports folder: archives, unpacked
NOTHING = "none"  # in the cache: results of which there are none
BEGINNING = "archived run, "  # of every note
MOST_KINDS = 6  # of code, machine and day that are told in a line


class Place(NamedTuple):
    """Where an archived cell lies: its archive, the unpacked results, and what the manifest says of it."""

    archive: Path
    results: Path
    entry: Entry

    @property
    def note(self) -> str:
        """`archived run, commit 0123abc45678, AMD EPYC, 2026-11-25 (archive/table1.zip)`."""
        return f"{BEGINNING}{self.entry.origin} ({self.archive})"


@dataclass(frozen=True)
class Archives:
    """The cells of all archives by their paths. Without any, every result stays as it was read."""

    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def studies(self) -> set[str]:
        """The studies that archived cells are of."""
        return {Path(path).parts[1] for path in self.places}

    def fill(self, results: Sequence[Result], digests: Mapping[str, str]) -> list[Result]:
        """Put the archived run, judged anew, in the place of each result that is missing.

        One whose settings are no longer those that the study asks for stays missing, and the reason says so.
        """
        return [self._filled(result, digests.get(result.cell.path)) for result in results]

    def _filled(self, result: Result, digest: str | None) -> Result:
        place = self.places.get(result.cell.path)
        if place is None or result.state != "missing":
            return result
        found = read_cell(result.cell, place.results, digest)
        if found.state in FINISHED:
            return replace(found, archived=place.note)
        return replace(result, reason=f"{result.reason}; {place.archive} has it, but {found.state}: {found.reason}")


def open_all(folder: Path, reports: Path) -> Archives:
    """Unpack every archive in a folder below the reports, each once.

    Raises SintroError for an archive that is damaged or not what it says.
    """
    places = {}
    for path in archived.archives(folder):
        root, manifest = archived.unpacked(path, Path(reports) / CACHE)
        places |= {cell: Place(path, root / "results", entry) for cell, entry in manifest.cells.items()}
    return Archives(places)


def in_words(results: Sequence[Result]) -> str:
    """Tell how many of these results are archived runs, and of which code, machine and day; empty where none is."""
    notes = [result.archived for result in results if result.archived]
    if not notes:
        return ""
    kinds = list(dict.fromkeys(note.removeprefix(BEGINNING) for note in notes))
    more = f" and {len(kinds) - MOST_KINDS} more" if len(kinds) > MOST_KINDS else ""
    return f"{len(notes)} of {len(results)} are archived runs: {'; '.join(kinds[:MOST_KINDS])}{more}"
