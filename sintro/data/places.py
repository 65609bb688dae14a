"""Copies of the published files that may lie on this machine already: what is looked at before a network is asked.

In this order: the folder that ``$SINTRO_DATA_MIRROR`` names, the data root itself (folders with nearly the right name,
files without a folder), torchvision's usual ``./data`` and ``~/data``, and Debian's ``/usr/share/datasets``. Nothing
here looks into a file; whoever uses a copy verifies its content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sintro.cells.components import datasets
from sintro.data.published import Source, SourceFile

MIRROR = "SINTRO_DATA_MIRROR"
DEBIAN = Path("/usr/share/datasets")


def bases(root: Path) -> list[Path]:
    """The folders under which data sets are looked for, each once."""
    mirror = os.environ.get(MIRROR)
    named = [Path(os.path.expanduser(mirror))] if mirror else []  # unlike Path's, it takes an account without a home
    return list(dict.fromkeys([*named, root, Path("data"), Path(os.path.expanduser("~/data")), DEBIAN]))


def candidates(name: str, file: SourceFile, root: Path) -> Iterator[Path]:
    """The files on this machine that are called as ``file`` of the data set ``name``, or nearly so, unverified."""
    wanted = _plain_name(file.name)
    seen = set()
    for base in bases(root):
        for folder in _folders(name, base):
            for path in _listed(folder):
                if _plain_name(path.name) == wanted and path not in seen and os.path.isfile(path):
                    seen.add(path)
                    yield path


def hint(source: Source, missing: Sequence[SourceFile], root: Path) -> str:
    """One line about a copy of a missing file that a fetch would take over; "" where none is seen."""
    for file in missing:
        for path in candidates(source.name, file, root):
            return f"{path} is there, and fetching takes it over without a network if it is right"
    if source.archive:
        for path in candidates(source.name, source.archive, root):
            return f"{path} is there, and fetching unpacks it without a network if it is right"
    return ""


def _folders(name: str, base: Path) -> Iterator[Path]:
    """The folders of a data set under a base, those within them that torchvision makes, and the base itself."""
    called = datasets()[name].folders if name in datasets() else (name,)  # Inception's weights are no data set
    for folder in _listed(base):
        if _letters(folder.name) in called and os.path.isdir(folder):
            yield folder
            yield folder / "raw"
            for inner in _listed(folder):
                if _letters(inner.name) in called and os.path.isdir(inner):
                    yield inner
                    yield inner / "raw"
    yield base
    yield base / "raw"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # missing, no folder, or not ours to read
        return []


def _plain_name(name: str) -> str:
    return _letters(name.removesuffix(".gz"))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
