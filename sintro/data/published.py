"""The published files of each image data set: their addresses, and the check of their content.

The content counts, not its container. For MNIST and FashionMNIST it is the decompressed IDX stream: the plain file and
any gzip of it are "verified". For CIFAR-10 it is each batch inside the archive, and for SVHN each MATLAB file, by the
md5 sums that torchvision publishes.

An IDX file of the published shape with other content is "unverified": it can be used, and every result of it says so.
A pickle or a MATLAB file with other content is "corrupted": it has no checksum of its own, so a damaged file cannot be
told from a different one. The same holds for the files of Cars3D, smallNORB and 3D Shapes, whose published hashes are
those of the compressed files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sintro.basics.files import hash_file
from sintro.data import idx

# sha256 of the decompressed streams. FashionMNIST's come from the archives whose md5 sums are published. MNIST's are
# the values that more than ten independent public repositories state.
IDX_SHA256 = {
    "fmnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
}
IDX_SHAPES = {  # the same for both
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


@dataclass(frozen=True)
class SourceFile:
    """One file: its place under the data root, its addresses in order of preference, and the check of its content.

    An IDX file, which has a ``shape``, is checked by shape and ``sha256`` of its decompressed stream. Every other file
    is checked as it is: by its ``size``, where that is published, and by ``sha256`` or ``md5``.
    """

    path: str
    md5: str | None = None
    urls: tuple[str, ...] = ()
    plain: str | None = None  # the place of the same file decompressed, as torchvision leaves it
    sha256: str | None = None
    shape: tuple[int, ...] | None = None
    size: int | None = None  # bytes

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class Source:
    """A data set's files. Where they come inside an archive, only the archive has an address."""

    name: str
    files: tuple[SourceFile, ...]
    archive: SourceFile | None = None


@dataclass(frozen=True)
class FileState:
    """The state of one file on this machine: verified, unverified, missing, wrong, corrupted or unreadable.

    A "wrong" file is whole, but belongs to another data set or split, or has another shape. `sha256` is of the
    content: of an IDX file's decompressed stream, of every other file's bytes.
    """

    path: Path
    state: str
    reason: str = ""
    sha256: str | None = None
    bytes: int | None = None

    @property
    def usable(self) -> bool:
        return self.state in ("verified", "unverified")


def idx_files(name: str, folder: str, mirrors: Sequence[str]) -> tuple[SourceFile, ...]:
    """Describe MNIST's or FashionMNIST's files in a folder of the data root; ``mirrors`` begin their addresses."""
    return tuple(
        SourceFile(
            f"{folder}/raw/{plain}.gz",
            urls=tuple(f"{mirror}{plain}.gz" for mirror in mirrors),
            plain=f"{folder}/raw/{plain}",
            sha256=sha256,
            shape=IDX_SHAPES[plain],
        )
        for plain, sha256 in IDX_SHA256[name].items()
    )


def inspect(file: SourceFile, path: Path) -> FileState:
    """Check a copy of ``file`` at any ``path``, whose name tells only whether it is compressed."""
    try:
        size = path.stat().st_size
        if file.shape is not None:
            return _inspect_idx(file, path, size)
        return _inspect_whole(file, path, size)
    except FileNotFoundError:
        return FileState(path, "missing")
    except OSError as error:
        return FileState(path, "unreadable", error.strerror or str(error))


def _inspect_whole(file: SourceFile, path: Path, size: int) -> FileState:
    """Check a file by its size and its published hash."""
    if file.size is not None and size != file.size:
        cut = "truncated, " if size < file.size else ""
        return FileState(path, "corrupted", f"{cut}it has {size:,} bytes, published are {file.size:,}", bytes=size)
    sha256 = hash_file(path)
    if file.sha256 is not None:
        kind, actual, expected = "sha256", sha256, file.sha256
    else:
        kind, actual, expected = "md5", hash_file(path, "md5"), file.md5
    if actual != expected:
        return FileState(path, "corrupted", f"its {kind} is {actual}, published is {expected}", sha256, size)
    return FileState(path, "verified", sha256=sha256, bytes=size)


def _inspect_idx(file: SourceFile, path: Path, size: int) -> FileState:
    try:
        content = idx.read_content(path)
        if content.sha256 == file.sha256:
            return FileState(path, "verified", sha256=content.sha256, bytes=size)
        known = {sha256: f"{name}'s {plain}" for name, files in IDX_SHA256.items() for plain, sha256 in files.items()}
        if content.sha256 in known:
            reason = f"its content is {known[content.sha256]}"
            return FileState(path, "wrong", reason, content.sha256, size)
        shape = idx.shape_of(content.head, content.length, len(file.shape))
    except idx.Broken as error:
        return FileState(path, "corrupted", str(error), bytes=size)
    if shape != file.shape:
        state, reason = "wrong", f"its shape is {_sizes(shape)}, published is {_sizes(file.shape)}"
    else:
        state, reason = "unverified", f"its content is not the published one: sha256 {content.sha256[:12]}..."
    return FileState(path, state, reason, content.sha256, size)


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
