"""The suite's sets of images: ``digits mnist fmnist cifar10 svhn`` (docs/science.md, section 6). Imports no torch.

How their files are verified is in :mod:`sintro.data.sources`, how they are read in :mod:`sintro.data.formats`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sintro.cells.components import OURS, SOFT, SPLITS, ImageDataset, Row, Splits, register
from sintro.data.published import Source, SourceFile, idx_files

if TYPE_CHECKING:
    import numpy as np

    Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, C, H, W], labels int64 [N]

DIGITS_TRAIN = 1500  # the other 297 are the test split
DIGITS_SHA256 = {  # by `sintro.data.images.content_hash`: the division into splits is part of the benchmark
    "train": "020c3e5d599d9c9cd696b43f67f769bfef30dd583b190095b3b57d358fea6a26",
    "test": "46fe593c8f7e74cc2360c6c9e001092d722c94f9a5c6eb4c1bf683d92a85c721",
}


@register
class Digits(ImageDataset):
    """The 1,797 handwritten digits that come with scikit-learn."""

    name, title = "digits", "Digits"
    event, size = (1, 16, 16), DIGITS_TRAIN
    photographs, is_mixed = False, True
    origin = "embedded in scikit-learn"
    rows = (
        Row(
            None,
            {"batch_size": 128, "latent_size": 16, "network": "residual", "channels": (32, 64)},
            f"{OURS}, the published network made smaller",
        ),
        Row(
            None,
            {"beta_rec": 10.0, "beta_kl": 1.0},
            f"{OURS}: their pixels vary by 5 in squared error, MNIST's by 52; with beta_rec = 1 the posterior "
            "collapses",
        ),
        Row(SOFT, {"beta_neg": 256.0}, f"{OURS}, the published value of images"),
    )

    def load(self, root: Path) -> Splits:
        """Read both splits and compare them with those of the benchmark."""
        from sintro.data.images import content_hash

        arrays = {split: self.read(split, root) for split in SPLITS}
        if {split: content_hash(*arrays[split]) for split in SPLITS} != DIGITS_SHA256:
            return Splits(arrays, "unverified", False, "this scikit-learn's digits are not those of the benchmark")
        return Splits(arrays, "embedded", True)

    def read(self, split: str, root: Path) -> Arrays:
        """8x8 grey values 0..16, spread over 0..255 and padded with 4 pixels of 0 on each side to 16x16.

        The splits are cut from a fixed permutation. scikit-learn keeps the digits in the order of their writers, so a
        cut without one would test on other hands than it trained on. NumPy keeps RandomState's stream for ever, unlike
        its successor's.
        """
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.RandomState(0).permutation(len(digits.target))
        kept = order[:DIGITS_TRAIN] if split == "train" else order[DIGITS_TRAIN:]
        pixels = np.rint(digits.images[kept] * (255 / 16)).astype(np.uint8)
        return np.pad(pixels, ((0, 0), (4, 4), (4, 4)))[:, None], digits.target[kept]


class Fetched(ImageDataset):
    """A published set of images, in torchvision's files.

    ``folders``: usual names of its folder, letters and digits only. A subclass has ``published()``, which returns its
    files with the hashes and shapes that their content must have, and ``read_files(split, paths)``, which reads one
    split; ``paths`` are in the order of the source's files.
    """

    in_papers = True
    fetched = is_mixed = True
    origin = "fetched"
    folders: tuple[str, ...]

    def load(self, root: Path) -> Splits:
        """Read both splits from the data root. Raises SintroError for files that are missing or not right."""
        import numpy as np

        from sintro.data import sources

        files = sources.require(self.name, root)
        arrays = {}
        for split in SPLITS:
            images, labels = self.read_files(split, [file.path for file in files.values()])
            arrays[split] = np.ascontiguousarray(images), np.ascontiguousarray(labels, dtype=np.int64)
        reasons = [f"{file.path}: {file.reason}" for file in files.values() if file.state == "unverified"]
        return Splits(arrays, "unverified" if reasons else "verified", not reasons, "; ".join(reasons))

    def read(self, split: str, root: Path) -> Arrays:
        """Read one split from the data root."""
        return self.load(root).arrays[split]


class _Idx(Fetched):
    """MNIST's four files."""

    event, size = (1, 28, 28), 60_000
    folder: str  # under the data root, as torchvision lays it out
    mirrors: tuple[str, ...]  # beginnings of addresses, in order of preference

    def published(self) -> Source:
        return Source(self.name, idx_files(self.name, self.folder, self.mirrors))

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        from sintro.data import formats

        return formats.read_idx_pair(*(paths[:2] if split == "train" else paths[2:]))


@register
class Mnist(_Idx):
    """MNIST."""

    name, title, folder = "mnist", "MNIST", "MNIST"
    mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
    folders, partner = ("mnist",), "fmnist"
    rows = (
        Row(
            SOFT,
            {"beta_neg": 128.0},
            "Athanasiadis et al. 2025, released MNIST configuration (its text says 256: audit A11); "
            "docs/science.md, section 4",
            ("pl",),
        ),
    )


@register
class FashionMnist(_Idx):
    """FashionMNIST."""

    name, title, folder = "fmnist", "Fashion-MNIST", "FashionMNIST"
    mirrors = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
    folders, partner = ("fashionmnist", "fmnist"), "mnist"


@register
class Cifar10(Fetched):
    """CIFAR-10."""

    name, title = "cifar10", "CIFAR-10"
    event, size = (3, 32, 32), 50_000
    folders, partner = ("cifar10", "cifar10batchespy", "cifar10python"), "svhn"
    folder = "cifar-10-batches-py"
    archive = ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")  # and its md5 sum
    address = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    md5: ClassVar[dict[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }

    def published(self) -> Source:
        files = tuple(SourceFile(f"{self.folder}/{file}", md5) for file, md5 in self.md5.items())
        return Source(self.name, files, SourceFile(*self.archive, (self.address,)))

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        import numpy as np

        from sintro.data import formats

        parts = [formats.read_cifar(path) for path in (paths[:-1] if split == "train" else paths[-1:])]
        images, labels = zip(*parts, strict=True)
        return np.concatenate(images), np.concatenate(labels)


@register
class Svhn(Fetched):
    """SVHN's cropped digits."""

    name, title = "svhn", "SVHN"
    event, size = (3, 32, 32), 73_257
    folders, partner = ("svhn",), "cifar10"
    address = "http://ufldl.stanford.edu/housenumbers/"
    md5: ClassVar[dict[str, str]] = {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    }

    def published(self) -> Source:
        files = tuple(SourceFile(file, md5, (self.address + file,)) for file, md5 in self.md5.items())
        return Source(self.name, files)

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        from sintro.data import formats

        return formats.read_svhn(paths[0] if split == "train" else paths[1])
