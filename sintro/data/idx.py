"""The IDX format of MNIST and FashionMNIST: its header, and the hash of its decompressed content.

The hash of a ``.gz`` file itself depends on the gzip header (time stamp, file name) and on the compression, so that two
archives of the same images differ. The hash of the decompressed stream does not.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

UINT8 = 8  # the type code of unsigned bytes
GZIP_MAGIC = b"\x1f\x8b"
LONGEST_HEADER = 4 + 4 * 3  # of the images: magic number, count, height, width
BLOCK = 1 << 20


class Broken(Exception):
    """A file is not what its name says; the message says why."""


class Content(NamedTuple):
    """The decompressed stream of a file: its sha256, its first bytes, and how many bytes it has."""

    sha256: str
    head: bytes
    length: int


def read_content(path: Path) -> Content:
    """Hash a file's stream, decompressed where its name ends in ``.gz``.

    Raises:
        Broken: a ``.gz`` that is no gzip, is cut off, or fails its checksum.
        OSError: the file cannot be read.
    """
    digest, head, length = hashlib.sha256(), b"", 0
    packed = path.suffix == ".gz"
    if packed:
        check_gzip(path)
    try:
        with (gzip.open if packed else open)(path, "rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                head = head or block[:LONGEST_HEADER]
                length += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Broken(f"its gzip stream is broken: {error}") from error
    return Content(digest.hexdigest(), head, length)


def check_gzip(path: Path) -> None:
    """Raise Broken for a file that does not begin as gzip does, and say what it looks like instead."""
    with open(path, "rb") as file:
        head = file.read(LONGEST_HEADER)
    if head.startswith(GZIP_MAGIC):
        return
    if not head:
        raise Broken("it is no gzip file: it is empty")
    if head.startswith(bytes((0, 0, UINT8))):
        raise Broken("it is no gzip file but the plain one: take .gz off its name")
    looks = "a web page" if head.lstrip().startswith(b"<") else f"something that begins with {head[:8]!r}"
    raise Broken(f"it is no gzip file but {looks}")


def shape_of(head: bytes, length: int, dimensions: int) -> tuple[int, ...]:
    """Return the shape in an IDX header. Raises Broken where it is none, or promises another number of bytes."""
    header = 4 + 4 * dimensions
    if len(head) < header or head[:4] != bytes((0, 0, UINT8, dimensions)):
        raise Broken(f"no IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", head[4:header])
    if length != header + math.prod(shape):
        raise Broken(f"its header promises {math.prod(shape):,} bytes, {length - header:,} follow")
    return shape
