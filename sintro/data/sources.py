"""Where each image data set and the Inception weights lie, what their content must be, and whether it is.

Files lie under one data root in torchvision's own layout, so an existing torchvision download is used as it is. Their
hashes are the md5 sums that torchvision publishes, and the sha256 sums that ``sintro fetch`` wrote to a lock file when
it got them. No hash is invented: a file without a published one is "unverified".
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path

from sintro import SintroError
from sintro.data.files import hash_file, whole

FETCHED = ("mnist", "fmnist", "cifar10", "svhn")
NAMES = ("digits", *FETCHED)
INCEPTION = "inception"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # its first digits, which its publisher put into its name


@dataclass(frozen=True)
class SourceFile:
    """One file: its place under the data root, its published md5 sum, and its addresses in order of preference."""

    path: str
    md5: str | None
    urls: tuple[str, ...] = ()
    plain: str | None = None  # the same file decompressed, as torchvision leaves it; its md5 is published nowhere


@dataclass(frozen=True)
class Source:
    """A data set's files. Where they come inside an archive, only the archive has an address."""

    name: str
    files: tuple[SourceFile, ...]
    archive: SourceFile | None = None


@dataclass(frozen=True)
class FileState:
    """What was found of one file; `state` is verified, unverified, missing, corrupted or unreadable."""

    path: Path
    state: str
    reason: str = ""
    sha256: str | None = None
    bytes: int | None = None

    @property
    def usable(self) -> bool:
        return self.state in ("verified", "unverified")


def data_root(option: str | Path | None = None) -> Path:
    """The folder of the data sets: the option given, else $SINTRO_DATA, else ``data``."""
    return Path(option or os.environ.get("SINTRO_DATA") or "data").expanduser()


def source(name: str) -> Source:
    """The files of a data set that is fetched. Raises SintroError for a name we do not have."""
    from sintro.data.vision import torchvision

    if name in ("mnist", "fmnist"):
        kind = {"mnist": torchvision.datasets.MNIST, "fmnist": torchvision.datasets.FashionMNIST}[name]
        return Source(name, tuple(_idx_file(kind, file, md5) for file, md5 in kind.resources))
    if name == "cifar10":
        kind = torchvision.datasets.CIFAR10
        files = tuple(SourceFile(f"{kind.base_folder}/{file}", md5) for file, md5 in kind.train_list + kind.test_list)
        return Source(name, files, SourceFile(kind.filename, kind.tgz_md5, (kind.url,)))
    if name == "svhn":
        parts = (torchvision.datasets.SVHN.split_list[split] for split in ("train", "test"))
        return Source(name, tuple(SourceFile(file, md5, (url,)) for url, file, md5 in parts))
    raise unknown(name)


def unknown(name: str) -> SintroError:
    return SintroError(f"unknown image data set {name!r}; there are {', '.join(NAMES)}")


def _idx_file(kind, file: str, md5: str) -> SourceFile:
    folder = f"{kind.__name__}/raw"
    urls = tuple(mirror + file for mirror in kind.mirrors)
    return SourceFile(f"{folder}/{file}", md5, urls, plain=f"{folder}/{file.removesuffix('.gz')}")


def lock_path(name: str, root: Path) -> Path:
    """The lock file of a data set: the sha256 sums of what was fetched, beside the data."""
    return root / f"{name}.lock.json"


def read_lock(name: str, root: Path) -> dict[str, dict]:
    """{path under the root: {"sha256": ..., "bytes": ...}}; empty where nothing was fetched."""
    path = lock_path(name, root)
    try:
        entries = json.loads(path.read_text())["files"]
        return {file: {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])} for file, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SintroError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SintroError(f"{path} is damaged; delete it and run: sintro fetch {name} --data {root}") from error


def write_lock(name: str, root: Path, files: dict[str, dict]) -> None:
    with whole(lock_path(name, root)) as temporary:
        temporary.write_text(json.dumps({"dataset": name, "files": files}, indent=1, sort_keys=True) + "\n")


def states(name: str, root: Path) -> list[FileState]:
    """The state of every file of a data set, by reading it whole."""
    lock = read_lock(name, root)
    return [file_state(file, root, lock) for file in source(name).files]


def file_state(file: SourceFile, root: Path, lock: dict[str, dict]) -> FileState:
    """State of one file against the lock and the published md5; a plain copy stands in for a missing compressed one."""
    place, md5 = file.path, file.md5
    if file.plain and not os.path.exists(root / place) and os.path.exists(root / file.plain):
        place, md5 = file.plain, None
    path = root / place
    try:
        size = path.stat().st_size
        sha256 = hash_file(path)
        found = functools.partial(FileState, path, sha256=sha256, bytes=size)
        if place in lock and lock[place]["sha256"] != sha256:
            return found(
                "corrupted", f"its sha256 is {sha256[:12]}..., the lock file says {lock[place]['sha256'][:12]}..."
            )
        if md5 is None:
            return found("unverified", "no published hash of this file is known")
        if place not in lock and (actual := hash_file(path, "md5")) != md5:
            return found("corrupted", f"its md5 is {actual}, published is {md5}")
        return found("verified")
    except FileNotFoundError:
        return FileState(path, "missing")
    except OSError as error:
        return FileState(path, "unreadable", error.strerror or str(error))


def require(name: str, root: Path) -> dict[str, FileState]:
    """The usable files of a data set, {published path under the root: state}.

    Raises:
        SintroError: missing, corrupted or unreadable files, in one line: which, where looked for, how to get them.
    """
    found = states(name, root)
    remedy = f"run: sintro fetch {name} --data {root}"
    for state in found:
        if state.state in ("corrupted", "unreadable"):
            raise SintroError(f"{name}: {state.path} is {state.state} ({state.reason}); {remedy}")
    missing = [state.path for state in found if not state.usable]
    if missing:
        names = ", ".join(path.name for path in missing)
        raise SintroError(
            f"{name}: {len(missing)} of {len(found)} files are missing, looked for in {missing[0].parent.resolve()}: "
            f"{names}; where there is a network, {remedy} (another folder: --data or SINTRO_DATA)"
        )
    return dict(zip((file.path for file in source(name).files), found, strict=True))


def inception_places(root: Path) -> list[Path]:
    """Where the Inception weights are looked for, in this order."""
    import torch

    places = [root / INCEPTION / INCEPTION_FILE, Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE]
    named = os.environ.get("SINTRO_INCEPTION")
    return [Path(named).expanduser(), *places] if named else places


def inception_state(root: Path) -> FileState:
    """State of the first Inception weights found; $SINTRO_INCEPTION, where set, is the only place."""
    places = inception_places(root)
    if os.environ.get("SINTRO_INCEPTION"):
        places = places[:1]
    path = next((place for place in places if os.path.exists(place)), places[0])
    try:
        sha256 = hash_file(path)
        size = path.stat().st_size
    except FileNotFoundError:
        return FileState(path, "missing", "looked for: " + ", ".join(map(str, places)))
    except OSError as error:
        return FileState(path, "unreadable", error.strerror or str(error))
    if not sha256.startswith(INCEPTION_SHA256):
        reason = f"its sha256 begins with {sha256[:8]}, not with {INCEPTION_SHA256}; it has {size:,} bytes"
        return FileState(path, "corrupted", reason, sha256, size)
    return FileState(path, "verified", sha256=sha256, bytes=size)


def require_inception(root: Path) -> FileState:
    """The verified Inception weights, or SintroError in one line."""
    state = inception_state(root)
    if state.state != "verified":
        what = state.reason if state.state == "missing" else f"{state.path}: {state.reason}"
        raise SintroError(
            f"Inception weights for FID are {state.state} ({what}); where there is a network, run: "
            f"sintro fetch {INCEPTION} --data {root}, or copy {INCEPTION_FILE} there or name it in SINTRO_INCEPTION"
        )
    return state


def missing_inception(dataset: str, root: str | Path | None = None) -> str | None:
    """What the evaluation of a data set's cells lacks for want of Inception's weights, in one line; None if nothing.

    Raises:
        SintroError: weights that are there and are not the right ones, or not where SINTRO_INCEPTION says they are:
            nobody puts weights somewhere to be measured without them.
    """
    folder = data_root(root)
    if dataset == "digits":
        return None
    state = inception_state(folder)
    if state.state == "missing" and not os.environ.get("SINTRO_INCEPTION"):
        return (
            f"no Inception weights: {dataset} cells are measured by the data set's own classifier (cfid), without FID, "
            f"until they are there: sintro fetch {INCEPTION} --data {folder}, then sintro evaluate again"
        )
    require_inception(folder)
    return None
