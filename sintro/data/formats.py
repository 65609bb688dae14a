"""Read the formats in which the image data sets are published: IDX, CIFAR's pickled batches, MATLAB files.

Each reader returns images uint8 [N, C, H, W] and labels int64 [N] as NumPy arrays. Whatever is wrong with a file, it
raises a SintroError that names the file.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sintro import SintroError
from sintro.data.idx import Broken, check_gzip, shape_of

CLASSES = 10


def read_idx_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read two of MNIST's files, images and labels; plain, or compressed where the name ends in ``.gz``."""
    pixels, classes = _read(images, _idx, 3), _read(labels, _idx, 1)
    return _matched(pixels[:, None], classes, images)


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one pickled batch of CIFAR-10."""
    return _matched(*_read(path, _cifar), path)


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read SVHN's cropped digits: X [32, 32, 3, N], y [N, 1] with class 10 for the digit 0."""
    return _matched(*_read(path, _svhn), path)


def _read(path: Path, parse, *arguments):
    with told(path):
        return parse(content_of(path), *arguments)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with the file that the block reads into a SintroError that names it."""
    try:
        yield
    except (Broken, EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise SintroError(f"{path} is truncated or corrupted: {error}") from error
    except OSError as error:
        raise SintroError(f"{path} cannot be read: {error.strerror or error}") from error


def content_of(path: Path) -> bytes:
    """Read a file whole, decompressed where its name ends in ``.gz``."""
    if path.suffix != ".gz":
        return path.read_bytes()
    check_gzip(path)
    return gzip.decompress(path.read_bytes())


def _idx(content: bytes, dimensions: int) -> np.ndarray:
    header = 4 + 4 * dimensions
    shape = shape_of(content[:header], len(content), dimensions)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Builds plain containers and NumPy arrays; refuses a pickle that asks for anything else, without running it."""

    ALLOWED = {  # noqa: RUF012
        ("numpy", "ndarray"): np.ndarray,
        # drops the file's `align`, which is the integer 0: NumPy 2.4 deprecates that, and bytes need none
        ("numpy", "dtype"): lambda code, *_: np.dtype(code),
        **{
            (f"numpy.{core}.multiarray", "_reconstruct"): np._core.multiarray._reconstruct for core in ("core", "_core")
        },
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise Broken(f"its pickle asks for {module}.{name}, which no CIFAR batch needs")
        return self.ALLOWED[module, name]


def _cifar(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        pixels, labels = np.asarray(batch["data"]), np.asarray(batch["labels"], np.int64)
    except Broken:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise Broken(f"no CIFAR batch ({type(error).__name__}: {error})") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32:
        raise Broken(f"its images are {pixels.dtype} {pixels.shape}, expected bytes [N, 3072]")
    return pixels.reshape(-1, 3, 32, 32), labels


def _svhn(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        fields = loadmat(io.BytesIO(content), variable_names=("X", "y"))
        pixels, labels = fields["X"], fields["y"]
    except Exception as error:  # scipy raises what its parser stumbles over
        raise Broken(f"no MATLAB file with X and y ({type(error).__name__}: {error})") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise Broken(f"its images are {pixels.dtype} {pixels.shape}, expected bytes [32, 32, 3, N]")
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels.reshape(-1).astype(np.int64) % CLASSES


def _matched(images: np.ndarray, labels: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    labels = labels.astype(np.int64)
    if len(images) != len(labels) or not len(images):
        raise SintroError(f"{path} holds {len(images)} images for {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise SintroError(f"{path}: labels run from {labels.min()} to {labels.max()}, expected 0 to {CLASSES - 1}")
    return images, labels
