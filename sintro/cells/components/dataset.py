"""What a data set says of itself: a density in the plane, sampled without end, or a set of images. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import Component, Row

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PLANE, IMAGES = "2d", "images"
SPLITS = ("train", "test")
FEWEST_IMAGES = 100  # to train on: the published k-NN probe has as many neighbours


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
    size: int  # data that pseudo-inputs start from, so a prior can have no more components
    in_papers: bool = False
    fetched: bool = False  # whether it is a set of images that `sintro fetch` gets
    rows: tuple[Row, ...] = ()

    def problem(self) -> str:
        """Why the data set cannot be registered, in a line; empty where it can."""
        return super().problem() or next((self._misplaced(row) for row in self.rows if self._misplaced(row)), "")

    def _misplaced(self, row: Any) -> str:
        return "" if isinstance(row, Row) else f"{self.what} {self.name!r}: rows holds {row!r}, which is no Row"


class Density(Dataset):
    """A density in the plane.

    ``sample(n, generator, device="cpu")`` returns ``(points [n, 2] float32, labels [n] int64)``. Everything random
    comes from ``generator``, a CPU generator, whatever the device: the same key gives the same points on every machine.

    ``locate(points [..., 2])`` returns int64 ``[...]``: the label of the part (mode, arm, square or ring) on which the
    point lies, or -1 off the support. Real data lie on the support with probability 0.999 or more; the space between
    the parts is off it, and so is a point that is not finite.

    Histograms, grids and plots span ``[-half_width, half_width]`` in both coordinates. ``labels`` counts the parts,
    ``part`` names one.
    """

    kind, holds = PLANE, "points in the first batch"
    needs = ("title", "half_width", "labels", "part", "sample", "locate")
    event = (2,)
    size = 512  # the published batch
    half_width: float
    labels: int
    part: str

    def on_support(self, points: "Tensor") -> "Tensor":
        """Booleans [...]: does each point [..., 2] lie where real data do?"""
        return self.locate(points) >= 0


class Splits(NamedTuple):
    """Both splits of a set of images as it was read, and what is known of them.

    ``arrays``: by split (images uint8 [N, C, H, W], labels int64 [N]). ``verified``: whether the content is the
    published one, None where none is published; ``reason`` says why it is not.
    """

    arrays: "dict[str, tuple[np.ndarray, np.ndarray]]"
    state: str
    verified: bool | None
    reason: str = ""


class ImageDataset(Dataset):
    """A set of images.

    ``read(split, root)`` returns ``(images uint8 [N, C, H, W], labels int64 [N])`` as NumPy arrays, for the split
    "train" or "test"; ``root`` is the data root. The order must be the same on every call. ``event`` is (C, H, W),
    ``size`` the number of training images, ``classes`` that of the labels' values 0, 1, ...

    ``partner`` is the data set that detection sets against this one; without one, made-up images are. ``photographs``
    says whether Inception's features mean anything for it. ``origin`` says where it comes from, where nothing is
    fetched (``fetched`` False).
    """

    kind, holds = IMAGES, "training images"
    needs = ("title", "event", "size", "read")
    classes: int = 10
    partner: str | None = None
    photographs: bool = True
    origin: str = "read by its extension"

    def load(self, root: Path) -> Splits:
        """Read both splits, whichever is wanted: a broken test split must stop a training before it begins."""
        return Splits({split: self._checked(split, root) for split in SPLITS}, "own", None)

    def _checked(self, split: str, root: Path) -> "tuple[np.ndarray, np.ndarray]":
        """One split as ``read`` gives it; SintroError where it is not of the shape that the data set declares."""
        import numpy as np

        images, labels = (np.asarray(array) for array in self.read(split, root))
        where = f"{self.source or self.name}: read({split!r}) of {self.name}"
        if images.dtype != np.uint8 or images.shape[1:] != tuple(self.event):
            shape = " x ".join(map(str, self.event))
            raise SintroError(f"{where} gives {images.dtype} {images.shape}, expected uint8 [N, {shape}]")
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise SintroError(f"{where} gives labels {labels.dtype} {labels.shape}, expected integers [{len(images)}]")
        if split == "train" and len(images) < FEWEST_IMAGES:
            raise SintroError(f"{where} gives {len(images)} images; legal are {FEWEST_IMAGES} and more: the k-NN probe")
        if split == "train" and len(images) != self.size:
            raise SintroError(f"{where} gives {len(images)} images, but its size is {self.size}")
        if not len(images) or labels.min() < 0 or labels.max() >= self.classes:
            raise SintroError(f"{where}: expected images with labels from 0 to {self.classes - 1}")
        return images, labels
