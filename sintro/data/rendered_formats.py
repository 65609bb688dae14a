"""Read the formats of the sets whose images have factors: Cars3D, smallNORB, 3D Shapes, folders of frames.

Each reader returns :class:`Rendered`: images of 64 x 64 pixels, made smaller by area, each with its class (what stays
when an object moves) and its content (how it moves). Whatever is wrong with a file, it raises a SintroError in a line
that names the file.
"""

from __future__ import annotations

import io
import math
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sintro import SintroError
from sintro.cells.components import dataset
from sintro.data.area import resize_area
from sintro.data.formats import content_of, told
from sintro.data.idx import Broken

SIZE = 64
CONDITION = "d4"  # the folder of the frames that LORD takes of each person of KTH
CAR = (128, 128, 3, 24, 4)  # height, width, channels, azimuths, elevations
NORB_KINDS = {0x1E3D4C55: np.uint8, 0x1E3D4C54: np.dtype("<i4")}  # the magic numbers of bytes and of integers
NORB_AZIMUTHS = 18
SHAPES = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}


class Rendered(NamedTuple):
    """Images uint8 [N, C, 64, 64] with class and content, int64 [N], counted from 0; sorted by class, then content."""

    images: np.ndarray
    classes: np.ndarray
    contents: np.ndarray


def read_cars3d(path: Path) -> Rendered:
    """Read Cars3D out of its archive: the cars of ``cars/list.txt`` in that order, 24 azimuths x 4 elevations of each.

    Content e * 24 + a is azimuth a (15 degrees) at elevation e. Source: Reed et al. 2015, nips2015-analogy-data.tar.gz.
    """
    listed: list[str] | None = None
    cars: dict[str, np.ndarray] = {}
    with told(path), tarfile.open(path, "r:gz") as archive:
        for member in archive:  # in the order of the file, once: going back would decompress it anew
            name = re.fullmatch(r"(?:.*/)?cars/([^/]+)\.(txt|mat)", member.name)
            if name is None or not member.isfile():
                continue
            content = archive.extractfile(member).read()
            if name[2] == "mat":
                cars[name[1]] = _car(content, member.name)
            elif name[1] == "list":
                listed = content.decode("utf-8", "replace").split()
        if not listed:
            raise Broken("it does not contain cars/list.txt")
        lacking = [name for name in listed if name not in cars]
        if lacking:
            raise Broken(f"it lacks {len(lacking)} of {len(listed)} cars, first cars/{lacking[0]}.mat")
    views = CAR[3] * CAR[4]
    images = np.concatenate([cars[name] for name in listed])
    return Rendered(images, np.repeat(np.arange(len(listed)), views), np.tile(np.arange(views), len(listed)))


def _car(content: bytes, name: str) -> np.ndarray:
    """Read the 96 images of a car, sorted by content [96, 3, 64, 64]."""
    from scipy.io import loadmat

    try:
        pixels = loadmat(io.BytesIO(content), variable_names=("im",))["im"]
    except Exception as error:  # scipy raises what its parser stumbles over
        raise Broken(f"{name} is no MATLAB file with im ({type(error).__name__}: {error})") from error
    if pixels.dtype != np.uint8 or pixels.shape != CAR:
        raise Broken(f"{name} holds {pixels.dtype} {pixels.shape}, expected bytes {CAR}")
    ordered = pixels.transpose(4, 3, 2, 0, 1)  # elevation, azimuth, channel, row, column
    return resize_area(np.ascontiguousarray(ordered.reshape(-1, *ordered.shape[2:])), SIZE, SIZE)


def read_smallnorb(images: Path, categories: Path, info: Path) -> Rendered:
    """Read one split of smallNORB from its three files: images of both cameras, categories, the rest of the factors.

    The class of an image is its category, instance, elevation, lighting and camera, its content one of 18 azimuths, as
    in LORD's experiments (Gabbay & Hoshen 2020). Source: LeCun, Huang & Bottou 2004, norb-v1.0-small.
    """
    pixels, kinds, rest = _norb(images, np.uint8, 4), _norb(categories, np.int32, 1), _norb(info, np.int32, 2)
    with told(images):
        if pixels.shape[1] != 2 or rest.shape[1] != 4 or not len(pixels) == len(kinds) == len(rest):
            raise Broken(
                f"images {pixels.shape}, categories {kinds.shape} and info {rest.shape} do not belong together"
            )
        instance, elevation, azimuth, lighting = rest.T
        camera = np.arange(2)
        factors = np.stack([kinds, instance, elevation, lighting])  # [4, N]
        keys = np.concatenate([np.repeat(factors, 2, 1), np.tile(camera, len(kinds))[None]])  # [5, 2 N]
        classes = np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)
        contents = np.repeat(azimuth // 2, 2)
        small = resize_area(pixels.reshape(-1, 1, *pixels.shape[2:]), SIZE, SIZE)
        return _sorted(small, classes, contents, NORB_AZIMUTHS)


def _norb(path: Path, kind: type, dimensions: int) -> np.ndarray:
    """Read a matrix: magic number, number of dimensions, at least three sizes, data, all little endian."""
    with told(path):
        content = content_of(path)
        if len(content) < 20 or int.from_bytes(content[:4], "little") not in NORB_KINDS:
            raise Broken("no matrix of bytes or of integers in smallNORB's format")
        dtype = np.dtype(NORB_KINDS[int.from_bytes(content[:4], "little")])
        given = int.from_bytes(content[4:8], "little")
        if dtype != kind or given != dimensions:
            raise Broken(f"it holds {dtype} of {given} dimensions, expected {np.dtype(kind)} of {dimensions}")
        header = 8 + 4 * max(3, dimensions)
        shape = tuple(np.frombuffer(content, "<i4", max(3, dimensions), 8)[:dimensions].tolist())
        promised = math.prod(shape) * dtype.itemsize
        if min(shape) < 1 or len(content) != header + promised:
            raise Broken(f"its header promises {promised:,} bytes, {len(content) - header:,} follow")
        return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _sorted(images: np.ndarray, classes: np.ndarray, contents: np.ndarray, views: int) -> Rendered:
    """Sort images by class and content. Raises Broken unless there is one image of each class with each content."""
    count = int(classes.max()) + 1
    places = classes.astype(np.int64) * views + contents
    if contents.min() < 0 or contents.max() >= views or not np.array_equal(np.sort(places), np.arange(count * views)):
        raise Broken(f"there is not one image of each of {count} classes with each of {views} contents")
    order = np.argsort(places)
    sorted_places = places[order]
    return Rendered(images[order], sorted_places // views, sorted_places % views)


def read_shapes3d(
    path: Path, class_factors: tuple[str, ...] = ("shape",), every: dict[str, int] | None = None
) -> Rendered:
    """Read 3D Shapes; what is not in the class is in the content, and the last factor of either varies fastest.

    Args:
        class_factors: the factors of `SHAPES` that make up the class, in that order.
        every: {factor: n} keeps only every n-th value of a factor; all 480,000 images have 5.9 GB.

    Source: Burgess & Kim 2018, 3dshapes.h5.
    """
    try:
        import h5py
    except ImportError:
        install = dataset("shapes3d").package[1]
        raise SintroError(f"3D Shapes is an HDF5 file, and h5py is missing: {install}") from None

    values = {name: np.arange(0, size, (every or {}).get(name, 1)) for name, size in SHAPES.items()}
    with told(path), path.open("rb"):
        try:
            with h5py.File(path, "r", locking=False) as file:
                _check_grid(file["images"], file["labels"][:])
                rows = _rows(values)
                images = _taken(file["images"], rows)
        except (OSError, KeyError, RuntimeError) as error:
            raise Broken(f"no HDF5 file with images and labels ({' '.join(str(error).split())})") from error
        lengths = {name: len(kept) for name, kept in values.items()}
        places = dict(zip(SHAPES, np.unravel_index(np.arange(len(rows)), tuple(lengths.values())), strict=True))
        content_factors = [name for name in SHAPES if name not in class_factors]
        classes, contents = (
            np.ravel_multi_index([places[name] for name in names], [lengths[name] for name in names])
            for names in (class_factors, content_factors)
        )
        return _sorted(images, classes, contents, math.prod(lengths[name] for name in content_factors))


def _check_grid(images, labels: np.ndarray) -> None:
    """Raise Broken unless there is one image [64, 64, 3] for each combination of the factors, in their order."""
    sizes = tuple(SHAPES.values())
    expected = (math.prod(sizes), SIZE, SIZE, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise Broken(f"its images are {images.dtype} {images.shape}, expected bytes {expected}")
    found = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in labels.reshape(-1, len(sizes)).T]
    if not np.array_equal(found, np.unravel_index(np.arange(expected[0]), sizes)):
        raise Broken(f"its labels are not the grid {' x '.join(map(str, sizes))} of {', '.join(SHAPES)}")


def _rows(values: dict[str, np.ndarray]) -> np.ndarray:
    """Return the rows of 3D Shapes whose factors have these values, in their order."""
    return np.ravel_multi_index(np.meshgrid(*values.values(), indexing="ij"), tuple(SHAPES.values())).reshape(-1)


def _taken(images, rows: np.ndarray) -> np.ndarray:
    """Take rows, in increasing order, out of images in HDF5 -> [N, 3, 64, 64]; reads a few hundred at once."""
    block = SHAPES["scale"] * SHAPES["shape"] * SHAPES["orientation"]
    taken = np.empty((len(rows), 3, SIZE, SIZE), np.uint8)
    for start in np.unique(rows // block) * block:
        inside = slice(*np.searchsorted(rows, (start, start + block)))
        taken[inside] = images[start : start + block][rows[inside] - start].transpose(0, 3, 1, 2)
    return taken


def listed_frames(folder: Path) -> list[list[Path]]:
    """List the frames ``<person>/d4/*.png`` of each person. SintroError where there are none."""
    try:
        persons = sorted(path for path in folder.iterdir() if (path / CONDITION).is_dir())
    except OSError as error:
        raise SintroError(f"{folder} cannot be read: {error.strerror or error}") from error
    frames = []
    for person in persons:
        frames.append(sorted(path for path in (person / CONDITION).iterdir() if path.suffix.lower() == ".png"))
        if not frames[-1]:
            raise SintroError(f"{person / CONDITION} holds no frames *.png")
    if not frames:
        raise SintroError(f"{folder} holds no frames; legal is {folder}/<person>/{CONDITION}/*.png")
    return frames


def read_frames(folder: Path) -> Rendered:
    """Read a folder of frames ``<person>/d4/*.png`` as grey images: the class is the person.

    Persons and frames are in the order of their names. What a person does in a frame has no label: contents are all 0.
    The layout is that of LORD's KTH (Gabbay & Hoshen 2020); the frames themselves were never published.
    """
    frames = listed_frames(folder)
    classes = np.repeat(np.arange(len(frames)), [len(paths) for paths in frames])
    images = np.stack([_frame(path) for paths in frames for path in paths])
    return Rendered(images, classes, np.zeros_like(classes))


def _frame(path: Path) -> np.ndarray:
    """Read one frame [1, 64, 64]."""
    from PIL import Image

    with told(path):
        try:
            with Image.open(path) as opened:
                grey = np.asarray(opened.convert("L"))
        except MemoryError:
            raise
        except Exception as error:  # Pillow raises many kinds for a file that is cut, damaged or hostile
            raise Broken(f"no whole image ({' '.join(str(error).replace(str(path), '').split())})") from error
    try:
        return resize_area(grey[None], SIZE, SIZE)
    except SintroError as error:
        raise SintroError(f"{path}: {error}") from None
