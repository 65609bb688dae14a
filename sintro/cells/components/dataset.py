"""Data sets as components: densities in the plane, sampled without end, and sets of images. Imports no torch."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import COUNT, SWITCH, TEXT, Check, Component, is_count

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

PLANE, IMAGES = "2d", "images"
SPLITS = ("train", "test")
TRIED = 8  # points with which a density of an extension is tried out
FEWEST_IMAGES = 100  # to train on: the published k-NN probe has as many neighbours
FEWEST_TEST_IMAGES = 4  # with fewer, nothing can be evaluated
LPIPS_SIDE = 31  # pixels of the smallest image that passes AlexNet's poolings


class Dataset(Component):
    """A data set. ``title`` is its name in tables and figures.

    ``rows`` are hyper-parameters for this data set, which win over those of its kind (``sintro.cells.table.TABLE``).
    ``in_papers`` says whether the published runs have it.
    """

    what = "dataset"
    kind: ClassVar[str]  # PLANE or IMAGES
    holds: ClassVar[str]  # what `size` counts
    title: str
    event: tuple[int, ...]  # the shape of one datum
    size: int  # number of data from which pseudo-inputs start, and so the most components that a prior can have
    in_papers: bool = False
    in_si_program: bool = False  # S-IntroVAE's own program trains images such as these
    fetched: bool = False  # whether `sintro fetch` downloads it
    has_factors: bool = False  # its images have a class and a content: sintro.cells.components.factors
    why_no_lpips: str = "no images"  # in a few words; "" where LPIPS means something for the data
    weight: int = 1  # how many times as long its jobs may take on a cluster (slurm/config.yaml)

    def not_published(self, prior: str) -> str:
        """Say why no published run has a prior with this data set, where that must be said; else ""."""
        return ""


def _is_width(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def is_shape(value: Any) -> bool:
    """Tell whether a value is the shape of an image, (C, H, W)."""
    return isinstance(value, tuple) and len(value) == 3 and all(map(is_count, value))


class Density(Dataset):
    """A density in the plane.

    ``sample(n, generator, device="cpu")`` returns ``(points [n, 2] float32, labels [n] int64)``. Everything random
    comes from ``generator``, a CPU generator, whatever the device: the same key gives the same points on every machine.

    ``locate(points [..., 2])`` returns int64 ``[...]``: the label of the part (mode, arm, square or ring) on which the
    point lies, or -1 off the support. Real data lie on the support with probability 0.999 or more; the space between
    the parts is off it, and so is a point that is not finite.

    Histograms, grids and plots span ``[-half_width, half_width]`` in both coordinates. ``labels`` is the number of
    parts, ``part`` the word for one of them. ``mirrored`` says whether points n and n + N/2 of a sample of N mirror
    each other, and so are not independent.
    """

    kind, holds = PLANE, "points"
    needs = ("title", "half_width", "labels", "part", "sample", "locate")
    checks: ClassVar = {
        "title": TEXT,
        "half_width": Check(_is_width, "a number above 0"),
        "labels": COUNT,
        "part": TEXT,
        "mirrored": SWITCH,
    }
    event = (2,)
    size = sys.maxsize  # as many points as a prior starts from are drawn
    half_width: float
    labels: int
    part: str
    mirrored: bool = False
    _is_tried = False

    def on_support(self, points: "Tensor") -> "Tensor":
        """Tell of each point [..., 2] whether it lies where real data do -> booleans [...]."""
        return self.locate(points) >= 0

    def try_out(self) -> None:
        """Raise SintroError where ``sample`` or ``locate`` gives anything else than it should, tried once."""
        import torch

        if self._is_tried:
            return
        given = self.sample(TRIED, torch.Generator().manual_seed(0))
        asked = f"{self.source or 'the suite'}: sample({TRIED}, generator) of dataset {self.name!r}"
        pair = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
        expected = (("points", (TRIED, 2), torch.float32), ("labels", (TRIED,), torch.int64))
        for tensor, (what, shape, dtype) in zip(pair, expected, strict=True):
            _check_tensor(tensor, f"{asked}: {what}", shape, dtype)
        where = f"{self.source or 'the suite'}: locate of {TRIED} points of dataset {self.name!r}"
        located = self.locate(pair[0])
        _check_tensor(located, where, (TRIED,), torch.int64)
        for what, numbers, least in (("labels of sample", pair[1], 0), ("labels of locate", located, -1)):
            if not least <= int(numbers.min()) <= int(numbers.max()) < self.labels:
                raise SintroError(
                    f"{self.source or 'the suite'}: dataset {self.name!r} has {self.labels} labels, and {what} are "
                    f"{int(numbers.min())} to {int(numbers.max())}; legal are {least} to {self.labels - 1}"
                )
        self._is_tried = True


def _check_tensor(given: Any, what: str, shape: tuple[int, ...], dtype: "torch.dtype") -> None:
    """Raise SintroError unless this is a tensor of that shape and dtype."""
    found = f"{getattr(given, 'dtype', type(given).__name__)} {tuple(getattr(given, 'shape', ()))}"
    if found != f"{dtype} {shape}":
        raise SintroError(f"{what}: expected {dtype} {shape}, not {found}")


class Splits(NamedTuple):
    """Both splits of a set of images as they were read, and whether they are the published data.

    ``arrays``: by split (images uint8 [N, C, H, W], labels int64 [N]). ``verified``: whether the content is the
    published one, None where no hash of it is published; ``reason`` says why it is not. ``hashes``: the content hash of
    each split, where it is known without reading the split. ``contents``: int64 [N] by split, where every image has a
    content beside its class (:mod:`sintro.cells.components.factors`).
    """

    arrays: "dict[str, tuple[np.ndarray, np.ndarray]]"
    state: str
    verified: bool | None
    reason: str = ""
    hashes: dict[str, str] | None = None
    contents: "dict[str, np.ndarray] | None" = None


class ImageDataset(Dataset):
    """A set of images.

    ``read(split, root)`` returns ``(images uint8 [N, C, H, W], labels int64 [N])`` as NumPy arrays, for the split
    "train" or "test"; ``root`` is the data root. The order must be the same on every call. ``event`` is (C, H, W),
    ``size`` the number of training images, ``classes`` the number of labels 0, 1, ...

    ``partner`` is the data set that serves as outliers in detection; without a partner, made-up images do.
    ``photographs`` says whether Inception's features mean anything for the images. ``realistic`` says whether LPIPS
    does where they are no photographs. ``is_mixed`` says whether the classes of the training images follow each other
    at random. ``origin`` says where they come from, unless `sintro fetch` downloads them.
    Images without labels have one class.
    """

    kind, holds = IMAGES, "training images"
    needs = ("title", "event", "size", "read")
    checks: ClassVar = {
        "title": TEXT,
        "event": Check(is_shape, "(channels, height, width)"),
        "size": COUNT,
        "classes": COUNT,
        "photographs": SWITCH,
        "realistic": SWITCH,
        "is_mixed": SWITCH,
    }
    classes: int = 10
    partner: str | None = None
    photographs: bool = True
    realistic: bool = False
    is_mixed: bool = False
    origin: str = "read by its extension"
    package: tuple[str, str] | None = None  # the module that reads its files, where it is optional; what installs it

    @property
    def why_no_lpips(self) -> str:
        """Say in a few words why LPIPS means nothing for the images; "" where it does."""
        channels, *sides = self.event
        if channels != 3:
            return "grey images" if channels == 1 else f"{channels} channels"
        if not (self.photographs or self.realistic):
            return "no photographs"
        return f"fewer than {LPIPS_SIDE} pixels a side" if min(sides) < LPIPS_SIDE else ""

    def load(self, root: Path) -> Splits:
        """Read both splits, even for one of them: a broken test split must stop a training before it begins."""
        return Splits({split: self._checked(split, root) for split in SPLITS}, "own", None)

    def _checked(self, split: str, root: Path) -> "tuple[np.ndarray, np.ndarray]":
        """Read one split. Raises SintroError where it has not the shape, the size or the labels that are declared."""
        import numpy as np

        images, labels = (np.asarray(array) for array in self.read(split, root))
        where = f"{self.source or self.name}: read({split!r}) of {self.name}"
        check_images(images, self.event, where)
        check_numbers(labels, "labels", len(images), self.classes, where)
        if split == "train" and len(images) < FEWEST_IMAGES:
            raise SintroError(f"{where} gives {len(images)} images; legal are {FEWEST_IMAGES} and more: the k-NN probe")
        if split == "train" and len(images) != self.size:
            raise SintroError(f"{where} gives {len(images)} images, but its size is {self.size}")
        if split == "test" and len(images) < FEWEST_TEST_IMAGES:
            raise SintroError(f"{where} gives {len(images)} images; legal are {FEWEST_TEST_IMAGES} and more")
        return images, labels


def check_images(images: "np.ndarray", event: tuple[int, ...], where: str) -> None:
    """Raise SintroError unless images are bytes [N, C, H, W] of the declared shape; ``where`` names the source."""
    if images.dtype != "uint8" or images.shape[1:] != tuple(event):
        shape = " x ".join(map(str, event))
        raise SintroError(f"{where} gives {images.dtype} {images.shape}, expected uint8 [N, {shape}]")


def check_numbers(numbers: "np.ndarray", what: str, count: int, limit: int, where: str) -> None:
    """Raise SintroError unless these are whole numbers [count], from 0 to below a limit, at least one."""
    if numbers.shape != (count,) or numbers.dtype.kind not in "iu":
        raise SintroError(f"{where} gives {what} {numbers.dtype} {numbers.shape}, expected integers [{count}]")
    if not count or numbers.min() < 0 or numbers.max() >= limit:
        raise SintroError(f"{where}: expected images with {what} from 0 to {limit - 1}")
