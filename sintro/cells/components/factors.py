"""Images with factors: every image has a class and a content, such as a car and its pose. Imports no torch.

What a class looks like in a given content is known where there is an image of that pair: the truth that a translation
is compared with.
"""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sintro import SintroError
from sintro.cells.components.component import COUNT, SWITCH, TEXT, Check, is_count
from sintro.cells.components.dataset import SPLITS, ImageDataset, Splits, check_images, check_numbers, is_shape

if TYPE_CHECKING:
    import numpy as np


class Factors(NamedTuple):
    """All images of a data set, and the factors of each, as NumPy arrays.

    ``images``: uint8 [N, C, H, W], possibly mapped into memory. ``classes``: int64 [N], from 0 to K - 1. ``contents``:
    int64 [N], from 0 to P - 1; None where nobody says the content of an image. A pair of class and content has at most
    one image. Images of one class lie together, and in the order of the contents.

    ``state``, ``verified`` and ``reason`` are those of :class:`sintro.cells.components.Splits`.
    """

    images: "np.ndarray"
    classes: "np.ndarray"
    contents: "np.ndarray | None"
    state: str
    verified: bool | None
    reason: str = ""


class FactorDataset(ImageDataset):
    """A set of images with factors.

    A subclass has ``factors(root)``, which returns its :class:`Factors`; ``root`` is the data root. It raises
    SintroError, a line, for a file that is missing, truncated or foreign. The order must be the same on every call.

    ``event`` is (C, H, W); ``classes`` is K, ``contents`` is P or None. ``unseen`` are the numbers of the classes that
    no cell is trained on: they are the test split, all others the training split. Both splits have the class as label.
    Where the unseen classes come last, the splits of mapped images stay in their file.
    ``traits``: names of coarser properties of a class, such as "colour", and the value of each class, K numbers.
    ``size`` is K' P with K' seen classes; a subclass without the full grid says it itself.
    """

    has_factors = True
    photographs = False
    needs = ("title", "event", "classes", "unseen", "factors")
    checks: ClassVar = {
        "title": TEXT,
        "event": Check(is_shape, "(channels, height, width)"),
        "classes": COUNT,
        "realistic": SWITCH,
        "contents": Check(lambda value: value is None or is_count(value), "a whole number above 0, or None"),
        "unseen": Check(lambda value: len(set(value)) > 1, "numbers of two classes or more, such as range(32, 40)"),
    }
    contents: int | None
    unseen: range | tuple[int, ...]
    traits: "dict[str, tuple[int, ...]]" = {}  # noqa: RUF012

    @property
    def size(self) -> int:
        """The number of training images."""
        if self.contents is None:
            raise SintroError(f"dataset {self.name!r}: without contents it must say its size")
        return (self.classes - len(self.unseen)) * self.contents

    def place(self, root: Path) -> Path | None:
        """Return where files of the user's own lie, if the images are made of such; None of all others."""
        return None

    if TYPE_CHECKING:  # not defined at run time, so that a data set without it is refused

        def factors(self, root: Path) -> Factors: ...

    def load(self, root: Path) -> Splits:
        """Read all images, and part them into seen and unseen classes.

        Raises SintroError where they have not the shape or the numbers of classes and contents that are declared.
        """
        found = self.factors(root)
        where = f"{self.source or self.name}: factors of {self.name}"
        check_images(found.images, self.event, where)
        check_numbers(found.classes, "classes", len(found.images), self.classes, where)
        if found.contents is not None and self.contents is not None:
            check_numbers(found.contents, "contents", len(found.images), self.contents, where)
        parts = {split: self._part(found, split) for split in SPLITS}
        arrays = {split: (found.images[part], found.classes[part]) for split, part in parts.items()}
        contents = None
        if found.contents is not None:
            contents = {split: found.contents[part] for split, part in parts.items()}
        return Splits(arrays, found.state, found.verified, found.reason, contents=contents)

    def read(self, split: str, root: Path) -> "tuple[np.ndarray, np.ndarray]":
        """Read the images of one split, and their classes."""
        return self.load(root).arrays[split]

    def _part(self, found: Factors, split: str) -> "slice | np.ndarray":
        """Find where the images of a split are: a slice where they lie together."""
        import numpy as np

        is_unseen = np.isin(found.classes, list(self.unseen))
        places = np.flatnonzero(is_unseen if split == "test" else ~is_unseen)
        if not len(places):
            raise SintroError(f"dataset {self.name!r}: it has no images of the {split} split")
        together = places[-1] - places[0] + 1 == len(places)
        return slice(places[0], places[-1] + 1) if together else places
