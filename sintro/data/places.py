"""Find copies of the published files on this machine, before a fetch uses the network.

The places, in this order: the folder that ``$SINTRO_DATA_MIRROR`` names, the data root itself (folders with nearly the
right name, files without a folder), torchvision's usual ``./data`` and ``~/data``, Debian's ``/usr/share/datasets``.
Only names are compared here; the caller verifies the content of a copy.
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
    """Return the folders to search for data sets, each once.

    Here and wherever a path is given, os.path.expanduser leaves `~` of an account without a home as it is; that of Path
    would fail.
    """
    mirror = os.environ.get(MIRROR)
    named = [Path(os.path.expanduser(mirror))] if mirror else []
    return list(dict.fromkeys([*named, root, Path("data"), Path(os.path.expanduser("~/data")), DEBIAN]))


def wrong_mirror() -> str:
    """Say that ``$SINTRO_DATA_MIRROR`` names no folder; "" where it names one, or is not set."""
    mirror = os.environ.get(MIRROR)
    if not mirror or os.path.isdir(os.path.expanduser(mirror)):
        return ""
    return f"{MIRROR} names {mirror}, which is no folder, so no copy is taken from it"


def candidates(name: str, file: SourceFile, root: Path) -> Iterator[Path]:
    """Yield the files on this machine with the name of ``file`` of data set ``name``, or nearly so, unverified."""
    wanted = _plain_name(file.name)
    seen = set()
    for base in bases(root):
        for folder in _folders(name, base):
            for path in _listed(folder):
                if _plain_name(path.name) == wanted and path not in seen and os.path.isfile(path):
                    seen.add(path)
                    yield path


def hint(source: Source, missing: Sequence[SourceFile], root: Path) -> str:
    """Return a line about a copy of a missing file that a fetch would take; "" where there is none."""
    for file in missing:
        for path in candidates(source.name, file, root):
            return f"{path} is there, and fetching takes it over without a network if it is right"
    if source.archive:
        for path in candidates(source.name, source.archive, root):
            return f"{path} is there, and fetching unpacks it without a network if it is right"
    return ""


def _folders(name: str, base: Path) -> Iterator[Path]:
    """Yield the folders of a data set under a base, torchvision's folders within them, and the base itself."""
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
