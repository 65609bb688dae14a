"""``sintro archive``: a study's finished cells in one small file, for others to read. Imports no torch.

What goes into it is decided by ``sintro.runs.results``, what of each file by ``sintro.runs.thinning``; it is read by
``sintro.runs.archived``. The same files and the same zlib give the same bytes.
"""

import contextlib
import hashlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.basics.progress import Progress, size_in_words
from sintro.cells import studies
from sintro.cells.cell import RESULTS, Cell
from sintro.runs import thinning
from sintro.runs.archived import FOLDER, MANIFEST, Entry, Manifest, read
from sintro.runs.folder import PROVENANCE
from sintro.runs.results import FINISHED, Judged, judge
from sintro.runs.stored import METRICS, read_arrays

NAMES = 2_000  # bytes for the names of a cell's files, in the zip and in the manifest
MOST_BYTES = {"2d": 20_000 - NAMES, "images": 80_000 - NAMES}  # of a cell's files, compressed
SETS = ("data", "samples")
CALLED = {"energy": "density map", "data": "real data", thinning.GRID: "translations"}
AS_THEY_ARE = ("cell.json", METRICS, PROVENANCE)
PRIVATE = ("hostname", "commit_reason")  # names a machine or a folder, and nothing that a result depends on
PLACE = re.compile(r"[,;:(] ?[^,;:(]*(?<!\S)~?/\w")  # where a reason begins to name an absolute path
DATA_FOLDER = re.compile(r" --data (?:'[^']*'(?:\"'\"'[^']*')*|\S+)")  # in a command, as a shell reads it
LEVEL = 9


class Packed(NamedTuple):
    """What was packed: the archive, its bytes, the cells from results/ and from the archive before, and the rest."""

    path: Path
    size: int
    new: int
    kept: int
    total: int  # cells of the study
    missing: Mapping[str, int]  # by the state of the study's cells that are not in it
    left_out: Mapping[str, int]  # what cells lack, by what it is
    foreign: int  # kept cells that the study no longer asks for, or asks for with other settings

    def in_words(self) -> str:
        """The line that `sintro archive` prints."""
        parts = [f"{self.path}: {self.new + self.kept} cells, {size_in_words(self.size)}"]
        if self.kept:
            parts.append(f"{self.kept} of them kept from before, since {RESULTS}/ has no finished run of them")
        if self.foreign:
            parts.append(f"{self.foreign} made with other settings than the study asks for now")
        absent = sum(self.missing.values())
        if absent:
            states = ", ".join(f"{count} {state}" for state, count in sorted(self.missing.items()))
            parts.append(f"{absent} of the study's {self.total} are not in it ({states})")
        parts += [f"{count} without {what}" for what, count in sorted(self.left_out.items())]
        return "; ".join(parts)


def own_cells(study: str) -> tuple[Cell, ...]:
    """The cells of a study that has some of its own. Raises SintroError for a union and an unknown name."""
    known = studies.load(study)
    if known.include:
        parts = " ".join(known.include)
        raise SintroError(f"study {study} is a union, whose cells lie in its parts: sintro archive {parts}")
    return known.cells()


def pack(study: str, results: Path = Path(RESULTS), folder: Path = FOLDER) -> Packed:
    """Pack a study's finished cells into ``FOLDER/STUDY.zip``, whole or not at all.

    An archive that is there already keeps the cells that ``results`` lacks.

    Raises SintroError: for a union, where nothing is finished, for a damaged archive of before (it stays as it is), and
    where a cell is too large even without pictures.
    """
    cells, path = own_cells(study), Path(folder) / f"{study}.zip"
    before = read(path) if path.exists() else None
    if before is not None and before.manifest.study != study:
        raise SintroError(f"{path} holds cells of study {before.manifest.study!r}: move it away first")
    entries = dict(before.manifest.cells) if before else {}
    files = dict(before.files) if before else {}
    new, missing = set(), Counter()
    with Progress(f"archive {study}", len(cells)) as progress:
        for done, cell in enumerate(cells, 1):
            place = Path(results, *Path(cell.path).parts[1:])
            found = judge(cell, place)
            if found.state in FINISHED and (place / PROVENANCE).is_file():
                for name in entries[cell.path].files if cell.path in entries else ():
                    del files[f"{cell.path}/{name}"]
                entries[cell.path], own = _packed(cell, place, found)
                files |= {f"{cell.path}/{name}": content for name, content in own.items()}
                new.add(cell.path)
            elif cell.path not in entries:
                missing[found.state if found.state not in FINISHED else "to evaluate"] += 1
            progress.update(done)
    if not entries:
        raise SintroError(f"study {study} has no finished cell in {results}: nothing to archive")
    content = _zip(Manifest(study=study, cells=entries), files)
    if not path.exists() or path.read_bytes() != content:
        write_atomic(path, content)
    left_out = Counter(what for entry in entries.values() for what in entry.left_out)
    kept = set(entries) - new
    foreign = _foreign(cells, {name: entries[name] for name in kept})
    return Packed(path, len(content), len(new), len(kept), len(cells), missing, left_out, foreign)


def _foreign(cells: tuple[Cell, ...], kept: Mapping[str, Entry]) -> int:
    """How many of these cells the study does not ask for, or asks for with other settings."""
    asked = {}
    for cell in cells:
        if cell.path in kept:
            try:
                asked[cell.path] = studies.settings(cell).digest
            except SintroError:  # of a search that is not here: nobody knows
                asked[cell.path] = kept[cell.path].digest
    return sum(asked.get(name) != entry.digest for name, entry in kept.items())


# --- a cell


def _packed(cell: Cell, place: Path, found: Judged) -> tuple[Entry, dict[str, bytes]]:
    """What the manifest says of a finished cell, and its files, as small as they have to be."""
    files = {name: _public(place / name) for name in AS_THEY_ARE if (place / name).is_file()}
    left_out = []
    history = place / "history.csv"
    try:
        files["history.csv"] = thinning.history(history.read_text(encoding="utf-8")).encode()
    except (OSError, ValueError):
        left_out.append("history")
    kind = cell.data.kind
    stored = _stored(place / "arrays.npz")
    arrays = _thinned(stored or {}, MOST_BYTES[kind] - sum(map(_compressed, files.values())), kind)
    if arrays:
        files["arrays.npz"] = thinning.npz(arrays)
    expected = ("energy", *SETS) if kind == "2d" else SETS
    if found.state == "done":
        left_out += [CALLED.get(name, name) for name in (expected if stored is None else stored) if name not in arrays]
    _check_size(cell, kind, files)
    provenance = found.provenance.content() if found.provenance else {}
    entry = Entry(
        state=found.state,
        digest=str(provenance.get("digest")),
        commit=code(provenance),
        machine=machine(provenance),
        finished=str(provenance.get("finished") or "date unknown")[:300],
        left_out=tuple(left_out),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    return entry, files


def _public(path: Path) -> bytes:
    """A cell's JSON file as it is, without the machine's name and the places on its disk."""
    content = path.read_bytes()
    value = None
    with contextlib.suppress(ValueError):
        value = json.loads(content)
    if not isinstance(value, dict):
        raise SintroError(f"{path} is truncated or holds no JSON object: its cell must be trained again")
    kept = {name: each for name, each in value.items() if name not in PRIVATE}
    if isinstance(command := kept.get("command"), str):
        kept["command"] = DATA_FOLDER.sub("", command)
    if isinstance(reason := kept.get("ood_missing"), str):
        kept["ood_missing"] = PLACE.split(reason, maxsplit=1)[0]
    return content if kept == value else (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()


def _stored(path: Path) -> dict[str, Any] | None:
    """The arrays of a cell that an archive may keep; None where there are none to read."""
    if not path.is_file():
        return None
    try:
        return read_arrays(path, ("energy", *SETS, thinning.GRID))
    except SintroError:
        return None  # the page of the folder itself has no picture of it either


def _thinned(stored: Mapping[str, Any], room: int, kind: str) -> dict[str, Any]:
    """What is kept of a cell's arrays: as many pictures as there is room for, in bytes."""
    found: dict[str, Any] = {}
    for step in range(len(thinning.POINTS if kind == "2d" else thinning.PICTURES)):
        found = thinning.arrays(stored, step)
        if _compressed(thinning.npz(found)) <= room:
            break
    return found


def _check_size(cell: Cell, kind: str, files: Mapping[str, bytes]) -> None:
    """Refuse a cell that is too large for an archive."""
    sizes = {name: _compressed(content) for name, content in files.items()}
    if sum(sizes.values()) > MOST_BYTES[kind]:
        said = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise SintroError(f"{cell.path} needs more than {MOST_BYTES[kind]:,} bytes in an archive ({said})")


def _compressed(content: bytes) -> int:
    """How many bytes a file takes in the zip, without its name."""
    made = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return len(made.compress(content)) + len(made.flush())


def code(provenance: Mapping[str, Any]) -> str:
    """The code a cell was made with: its commit, or the hash of its sources."""
    commit, sources = provenance.get("commit"), provenance.get("sources_sha256")
    changed = ", changed" if provenance.get("dirty") else ""
    if commit:
        return f"commit {str(commit)[:12]}{changed}"
    return f"sources {str(sources)[:12]}" if sources else "commit unknown"


def machine(provenance: Mapping[str, Any]) -> str:
    """The machine a cell was made on: its GPU where it used one, else its processor."""
    on_gpu = str(provenance.get("device") or "").startswith("cuda")
    named = provenance.get("gpu") if on_gpu else provenance.get("cpu")
    return str(named or provenance.get("platform") or "machine unknown")[:300]


# --- the file


def _zip(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """The bytes of an archive: sorted names, one time, one compression."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as opened:
        for name, content in [(MANIFEST, manifest.to_json()), *sorted(files.items())]:
            member = zipfile.ZipInfo(name, thinning.SAME_TIME)
            member.create_system = 3  # the same on every system
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(member, content, compresslevel=LEVEL)
    return made.getvalue()
