"""Read an archive of finished cells: every byte of it is checked before anything is believed or written.

An archive is a zip of the files of cells' folders, and ``manifest.json``, which names each of them with its sha256. It
may come from anybody: whatever is not exactly of this form is refused in one line. Imports no torch.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from sintro import SintroError
from sintro.basics.files import DAMAGED_ZIP, explained, hash_file
from sintro.runs import thinning
from sintro.runs.stored import in_a_line

FOLDER = Path("archive")
MANIFEST = "manifest.json"
VERSION = 1
CELL = re.compile(r"results/(?P<study>[a-z][a-z0-9_-]*)(?:/[a-z0-9][a-z0-9._+-]*){4}/seed[0-9]+")
FILES = ("arrays.npz", "cell.json", "history.csv", "metrics.json", "provenance.json")
ARRAYS = ("data", "energy", "samples", thinning.GRID)
ARRAY = re.compile(rf"({'|'.join(ARRAYS)})\.npy")

# What an honest archive never reaches; the bytes are those that the zip says it unpacks to.
MOST_FILES = 100_000
MOST_OF_A_FILE = 2_000_000
MOST_OF_THE_MANIFEST = 50_000_000
MOST_IN_ALL = 500_000_000
TIME = 315_532_800  # of every unpacked file: 1980-01-01, so that the same archive gives the same pages

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, StringConstraints(max_length=300)]


class Entry(BaseModel):
    """What a manifest says of a cell. ``left_out``: what its files lack, for want of room or as it never had it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    state: Literal["done", "diverged"]
    digest: Line
    commit: Line
    machine: Line
    finished: Line
    left_out: tuple[Line, ...] = ()
    files: dict[Literal[*FILES], Sha256]

    @property
    def origin(self) -> str:
        """`commit 0123abc45678, AMD EPYC, 2026-11-25`: where the cell was run, as its manifest has it."""
        return in_a_line(f"{self.commit}, {self.machine}, {self.finished[:10]}")


class Manifest(BaseModel):
    """``manifest.json``: the study, and each of its cells by its path."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    version: Literal[1] = VERSION
    study: Line
    cells: dict[str, Entry]

    def to_json(self) -> bytes:
        """The bytes that stand in an archive: the same for the same cells."""
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n").encode()


class Archive(NamedTuple):
    """An archive that was read and checked. ``files``: each file's bytes by its name."""

    path: Path
    manifest: Manifest
    files: dict[str, bytes]


def read(path: Path) -> Archive:
    """Read an archive whole. Raises SintroError: which archive, what is wrong, and what to do."""
    path = Path(path)
    try:
        with explained(f"{path} cannot be read"):
            if not path.is_file():
                raise SintroError("it is no file")
            with zipfile.ZipFile(path) as opened:
                return _read(path, opened)
    except SintroError as error:
        raise SintroError(f"{path} is refused: {error}; move it away, or pack the study anew") from None
    except DAMAGED_ZIP as error:
        said = in_a_line(str(error))[:120]
        raise SintroError(f"{path} is refused: truncated, damaged or no zip ({said}); fetch it anew") from None


def _read(path: Path, opened: zipfile.ZipFile) -> Archive:
    """Check the names and sizes, then the manifest, then each file."""
    members = opened.infolist()
    _check_members(members)
    by_name = {member.filename: member for member in members}
    if MANIFEST not in by_name:
        raise SintroError(f"it has no {MANIFEST}")
    manifest = _manifest(opened.read(by_name.pop(MANIFEST)))
    expected = {f"{cell}/{name}" for cell, entry in manifest.cells.items() for name in entry.files}
    for name in sorted(expected ^ set(by_name)):
        where = "is not there" if name in expected else f"is not in {MANIFEST}"
        raise SintroError(f"{in_a_line(name)} {where}")
    files = {}
    for cell, entry in manifest.cells.items():
        for file, sha256 in entry.files.items():
            name = f"{cell}/{file}"
            content = opened.read(by_name[name])
            if hashlib.sha256(content).hexdigest() != sha256:
                raise SintroError(f"{name} has another sha256 than {MANIFEST} says")
            if file == "arrays.npz":
                _check_arrays(name, content)
            files[name] = content
    return Archive(path, manifest, files)


def _check_members(members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse names that no cell's file has, names that stand twice, links, and what would unpack to too much."""
    members = list(members)
    if len(members) > MOST_FILES:
        raise SintroError(f"it holds {len(members):,} files; legal are {MOST_FILES:,}")
    total, seen = 0, set()
    for member in members:
        name = in_a_line(member.orig_filename)[:200]
        if member.filename != member.orig_filename or not _is_legal(member.filename):
            raise SintroError(f"{name!r} is not the name of a cell's file")
        if member.filename in seen:
            raise SintroError(f"{name} stands in it twice")
        seen.add(member.filename)
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise SintroError(f"{name} is a link or no plain file")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SintroError(f"{name} is encrypted, or compressed in a way that archives here are not")
        most = MOST_OF_THE_MANIFEST if member.filename == MANIFEST else MOST_OF_A_FILE
        total += member.file_size
        if member.file_size > most or total > MOST_IN_ALL:
            raise SintroError(f"{name} would unpack to {member.file_size:,} bytes, the files up to it to {total:,}")


def _is_legal(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return name == MANIFEST or (file in FILES and CELL.fullmatch(folder) is not None)


def _manifest(content: bytes) -> Manifest:
    """Read the manifest. Raises SintroError; ValueError where it is no JSON."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise SintroError(f"{MANIFEST} is nested too deeply") from None
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is not int or version != VERSION:  # True is 1 too
        raise SintroError(f"{MANIFEST} is of version {in_a_line(str(version))[:40]}; this sintro reads {VERSION}")
    try:
        found = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SintroError(f"{MANIFEST}: {in_a_line(where)[:200]}: {in_a_line(first['msg'])[:100]}") from None
    for cell in found.cells:
        match = CELL.fullmatch(cell)
        if match is None or match["study"] != found.study:
            raise SintroError(f"{MANIFEST} names {in_a_line(cell)[:200]!r}, no cell of study {in_a_line(found.study)}")
    return found


def _check_arrays(name: str, content: bytes) -> None:
    """Refuse arrays that are compressed once more, not known here, not plain numbers, or shorter than they say."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        members = opened.infolist()
        named = [member.filename for member in members]
        if len(set(named)) != len(named) or not all(ARRAY.fullmatch(one) for one in named):
            raise SintroError(f"{name} holds other arrays than {', '.join(ARRAYS)}")
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            raise SintroError(f"{name} holds arrays that are compressed once more")
        for member in members:
            if member.file_size > len(content):
                raise SintroError(f"{name} says that it is longer than it is")
            file = io.BytesIO(opened.read(member))
            shape, dtype = _array_header(name, file)
            if dtype.kind not in "fiu" or any(side < 0 for side in shape):
                raise SintroError(f"{name} holds objects, not plain numbers")
            if math.prod(shape) * dtype.itemsize != len(file.read()):
                raise SintroError(f"{name} holds an array that is not as long as it says")


def _array_header(name: str, file: io.BytesIO) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type that an array's first bytes tell of. Raises SintroError."""
    try:
        with warnings.catch_warnings(action="error"):
            if np.lib.format.read_magic(file) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                return shape, dtype
    except Exception:  # numpy reads the header as Python, and lets through whatever its parser raises
        pass
    raise SintroError(f"{name} holds an array of another format")


# --- unpacked


def unpacked(path: Path, cache: Path) -> tuple[Path, Manifest]:
    """Unpack an archive below ``cache``, once: the folder that holds its ``results/``, and its manifest.

    The folder has the name of the archive's sha256 and appears whole or not at all. Raises SintroError.
    """
    with explained(f"{path} cannot be read"):
        folder = cache / hash_file(path)
    if (folder / MANIFEST).is_file():
        try:
            return folder, _manifest((folder / MANIFEST).read_bytes())
        except (OSError, ValueError, SintroError):
            raise SintroError(f"{folder}, unpacked from {path}, is damaged: delete it") from None
    archive = read(path)
    with explained(f"cannot unpack {path} below {cache}"), _temporary(cache) as made:
        for name, content in archive.files.items() | {(MANIFEST, archive.manifest.to_json())}:
            _write(made / name, content)
        with contextlib.suppress(FileExistsError, OSError):
            made.rename(folder)  # another process may have been faster: its folder holds the same
        if not (folder / MANIFEST).is_file():
            raise SintroError(f"cannot unpack {path}: {folder} is in the way")
    return folder, archive.manifest


@contextlib.contextmanager
def _temporary(cache: Path) -> Iterator[Path]:
    """A folder in the cache, which is gone after the block, save where it got another name."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=cache) as outer:
        made = Path(outer, "made")
        made.mkdir()
        yield made


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (TIME, TIME))


def archives(folder: Path = FOLDER) -> list[Path]:
    """The archives in a folder, by name; none where there is no such folder."""
    return sorted(Path(folder).glob("*.zip"))
