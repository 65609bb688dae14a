"""Published sets of images with factors: ``cars3d smallnorb shapes3d``, and the user's ``kth``. Imports no torch.

docs/translation.md says where their files come from. How they are read is in :mod:`sintro.data.rendered_formats`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sintro import SintroError
from sintro.cells.components import FactorDataset, Factors, register, register_reader
from sintro.data.published import Source, SourceFile

if TYPE_CHECKING:
    from sintro.data.rendered_formats import Rendered

CARS3D_ADDRESS = "http://www.scottreed.info/files/"
CARS3D_MD5 = "4e866a7919c1beedf53964e6f7a23686"  # stated by nmichlo/disent
NORB_ADDRESS = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
NORB_FILES = {  # bytes and sha256, stated by tensorflow/datasets
    "smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz": (
        131_896_188,
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat.gz": (
        348,
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-info.mat.gz": (
        71_052,
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat.gz": (
        130_799_817,
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-cat.mat.gz": (
        347,
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-info.mat.gz": (
        10_428,
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
    ),
}
SHAPES3D_ADDRESS = "https://storage.googleapis.com/3d-shapes/"
SHAPES3D_SIZE, SHAPES3D_SHA256 = 267_573_662, "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785"

SHAPES3D_EVERY = {"floor_hue": 2, "wall_hue": 2, "scale": 2}  # of these factors every second value is used


class FetchedFactors(FactorDataset):
    """A published set of images with factors.

    ``folders``: usual names of its folder, letters and digits only. A subclass has ``published()``, which returns its
    files with the hashes that they must have, and ``read_files(paths)``, which reads the images and their factors;
    ``paths`` are in the order of the source's files.
    """

    fetched = True
    origin = "fetched"
    folders: tuple[str, ...]

    def factors(self, root: Path) -> Factors:
        """Read everything from the data root. Raises SintroError for files that are missing or not right."""
        from sintro.data import sources

        found = sources.require(self.name, root)
        paths = tuple(file.path for file in found.values())
        return Factors(*_read(self, paths, tuple(file.sha256 for file in found.values())), "verified", True)


@lru_cache(maxsize=1)
def _read(one: FetchedFactors, paths: tuple[Path, ...], _sha256: tuple[str, ...]) -> Rendered:
    """Read a data set's files once for both of its splits; ``_sha256`` tells whether they are still the same."""
    rendered = one.read_files(paths)
    found = len(rendered.images), int(rendered.classes.max()) + 1, int(rendered.contents.max()) + 1
    if found != (one.classes * one.contents, one.classes, one.contents):
        raise SintroError(
            f"{one.name}: {paths[0]} holds {found[0]:,} images of {found[1]:,} classes and {found[2]:,} contents, "
            f"expected {one.classes * one.contents:,} of {one.classes:,} and {one.contents:,}"
        )
    for array in rendered:
        array.setflags(write=False)  # it is shared
    return rendered


@register
class Cars3D(FetchedFactors):
    """183 models of cars, each from 24 azimuths at 4 elevations, on white."""

    name, title = "cars3d", "Cars3D"
    realistic = True
    event = (3, 64, 64)
    classes, contents = 183, 96
    unseen = (  # the first 20 of NumPy's RandomState(0).permutation(183), sorted
        5, 7, 18, 33, 61, 74, 80, 94, 98, 106, 112, 118, 130, 138, 150, 155, 164, 169, 173, 178,
    )  # fmt: skip
    folders = ("cars3d", "cars")

    def published(self) -> Source:
        file = "nips2015-analogy-data.tar.gz"
        return Source(self.name, (SourceFile(f"cars3d/{file}", md5=CARS3D_MD5, urls=(CARS3D_ADDRESS + file,)),))

    def read_files(self, paths: tuple[Path, ...]) -> Rendered:
        from sintro.data.rendered_formats import read_cars3d

        return read_cars3d(paths[0])


@register
class SmallNorb(FetchedFactors):
    """Grey photographs of 50 toys; the class is the toy, elevation, lighting and camera, the content the azimuth.

    The toys of the published test split are the unseen classes.
    """

    name, title = "smallnorb", "smallNORB"
    event = (1, 64, 64)
    classes, contents = 5_400, 18
    unseen = range(2_700, 5_400)
    traits = {  # noqa: RUF012
        "category": tuple(number % 2_700 // 540 for number in range(5_400)),
        "toy": tuple(number // 108 for number in range(5_400)),
    }
    folders = ("smallnorb", "norbv10small", "norb")

    def published(self) -> Source:
        files = (
            SourceFile(f"smallnorb/{file}", urls=(NORB_ADDRESS + file,), sha256=sha256, size=size)
            for file, (size, sha256) in NORB_FILES.items()
        )
        return Source(self.name, tuple(files))

    def read_files(self, paths: tuple[Path, ...]) -> Rendered:
        import numpy as np

        from sintro.data.rendered_formats import Rendered, read_smallnorb

        train, test = read_smallnorb(*paths[:3]), read_smallnorb(*paths[3:])
        test = test._replace(classes=test.classes + int(train.classes.max()) + 1)
        return Rendered(*map(np.concatenate, zip(train, test, strict=True)))


@register
class Shapes3D(FetchedFactors):
    """Rendered solids in a room: the class is the object's shape and colour, the content everything else.

    Of the colours of floor and wall and of the sizes every second is used: 60,000 images of 480,000.
    """

    name, title = "shapes3d", "3D Shapes"
    event = (3, 64, 64)
    classes, contents = 40, 5 * 5 * 4 * 15
    unseen = (3, 9, 12, 17, 20, 26, 30, 35)  # two of each shape
    traits = {  # noqa: RUF012
        "colour": tuple(number // 4 for number in range(40)),
        "shape": tuple(number % 4 for number in range(40)),
    }
    folders = ("shapes3d", "3dshapes")
    package = ("h5py", "pip install sintro[shapes3d]")

    def published(self) -> Source:
        urls = (f"{SHAPES3D_ADDRESS}3dshapes.h5",)
        file = SourceFile("shapes3d/3dshapes.h5", urls=urls, sha256=SHAPES3D_SHA256, size=SHAPES3D_SIZE)
        return Source(self.name, (file,))

    def read_files(self, paths: tuple[Path, ...]) -> Rendered:
        from sintro.data.rendered_formats import read_shapes3d

        return read_shapes3d(paths[0], ("object_hue", "shape"), SHAPES3D_EVERY)


class Kth(FactorDataset):
    """Frames of 25 persons who wave their hands, KTH; what the hands do has no label.

    It is found by its name and not listed, since its size is that of a folder which few machines have.
    """

    name, title = "kth", "KTH hand waving"
    event = (1, 64, 64)
    classes, contents = 25, None
    unseen = range(20, 25)
    origin = "frames of your own belong there, <person>/d4/*.png"

    @property
    def size(self) -> int:
        """The number of frames of the persons that cells are trained on. SintroError where there are none."""
        from sintro.data.rendered_formats import listed_frames
        from sintro.data.sources import data_root

        frames = listed_frames(self.place(data_root()))
        return sum(map(len, frames[: self.unseen.start]))

    def place(self, root: Path) -> Path:
        """Return where the frames lie under a data root."""
        return root / self.name / "handwaving"

    def factors(self, root: Path) -> Factors:
        """Read all frames. Raises SintroError where they are missing or broken, or not of 25 persons."""
        from sintro.data.rendered_formats import read_frames

        images, classes, _ = read_frames(self.place(root))
        persons = int(classes.max()) + 1
        if persons != self.classes:
            raise SintroError(f"{self.place(root)} holds frames of {persons} persons, KTH has {self.classes}")
        return Factors(images, classes, None, "unverified", False, "no hash of KTH's frames is published")


KTH = Kth()


@register_reader
def read_name(name: str) -> Kth | None:
    """Return KTH for its name; None for all others."""
    return KTH if name == KTH.name else None
