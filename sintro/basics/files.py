"""Write files whole or not at all: bytes, JSON, tensors and arrays; hash them; lock them between processes."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sintro import SintroError

if TYPE_CHECKING:
    import numpy as np

# What Python's zip reader, and NumPy's of arrays in a zip, raise for a file that is cut short, damaged or made to hurt.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)
UNFINISHED = ".unfinished-"  # begins the names of files that are being written
NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Damaged(SintroError):
    """The disk gives a file, and its content is cut short, damaged or not ours."""


# --- writing


@contextlib.contextmanager
def whole(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends well, and vanishes otherwise.

    No reader ever sees half a file, and an old file stays until the new one is complete. ``durable=False`` does not
    wait for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            _to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private; a shared folder is read by colleagues
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: str | Path, data: bytes | str, durable: bool = True) -> None:
    """Write a whole file or nothing; a failure leaves the old file as it was. Raises SintroError.

    The new content is read back and compared before it takes the old file's place. ``durable=False`` leaves out both
    the comparison and waiting for the disk, for files that matter only while a process runs.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        with whole(path, durable=False) as temporary:
            temporary.write_bytes(content)
            if durable:
                _to_disk(temporary)
                if temporary.read_bytes() != content:
                    raise OSError(errno.EIO, "the disk gives back other bytes than were written")
    except OSError as error:
        raise SintroError(
            f"cannot write {path}: {error.strerror or error}; a file that was there before is still whole"
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove the unfinished files of a process that was killed while it wrote into a folder."""
    for path in folder.glob(".*"):
        if path.name.startswith(UNFINISHED) and path.is_file():
            path.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- JSON


def write_json(path: str | Path, value: Any, durable: bool = True) -> None:
    """Write JSON with sorted keys; the strings "nan", "inf" and "-inf" stand for numbers that are not finite."""
    write_atomic(path, json.dumps(_finite(value), indent=1, sort_keys=True) + "\n", durable)


def read_json(path: str | Path) -> Any:
    """Read a file of :func:`write_json`. Raises SintroError where the file is missing or no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SintroError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SintroError(f"{path} is not whole JSON ({error}); delete it and run its step again") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- tensors and arrays


def save_tensors(path: str | Path, value: Any) -> None:
    """Write with ``torch.save``, whole or not at all."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomic(path, buffer.getvalue())


def load_tensors(path: str | Path, remedy: str) -> Any:
    """Read a file of :func:`save_tensors`, without unpickling code.

    Raises SintroError where there is no such file or the disk does not give it, Damaged for its content. ``remedy``
    says what to do about a file that is missing or damaged.
    """
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not read them
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        return loaded
    except FileNotFoundError as error:
        raise SintroError(f"{path} is missing; {remedy}") from error
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is cut, damaged or hostile
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a wrong address inside the file gives
            raise SintroError(f"cannot read {path}: {error.strerror or error}") from error
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Damaged(f"{path} cannot be read: truncated, damaged or not ours ({first[:80]}); {remedy}") from error


def save_arrays(path: str | Path, arrays: "Mapping[str, np.ndarray]") -> None:
    """Write with ``numpy.savez_compressed``, whole or not at all."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


# --- hashes and locks


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of `path`, then hold it. The system releases it when a process dies.

    On a file system without locks two processes may do the same work; files written through :func:`whole` stay right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS_HERE:
                raise
        yield


@contextlib.contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn an error of the operating system inside the block into a SintroError: `action`, then the reason."""
    try:
        yield
    except OSError as error:
        raise SintroError(f"{action}: {error.strerror or error}") from error
