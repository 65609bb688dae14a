"""The suite's sets of images: ``digits mnist fmnist cifar10 svhn`` (docs/science.md, section 6). Imports no torch.

How their files are verified is in :mod:`sintro.data.sources`, how they are read in :mod:`sintro.data.formats`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sintro.cells.components import SOFT, SPLITS, ImageDataset, Row, Splits, register

if TYPE_CHECKING:
    import numpy as np

    from sintro.data.published import Source

    Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, C, H, W], labels int64 [N]

OURS = "ours (no paper has this data set)"
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
    photographs = False
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

    ``folders``: usual names of its folder, letters and digits only.
    """

    in_papers = True
    fetched = True
    origin = "fetched"
    folders: tuple[str, ...]

    def published(self) -> Source:
        """Return its files, with the hashes and shapes that their content must have."""
        raise NotImplementedError

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        """Read one split; ``paths`` are in the order of the source's files."""
        raise NotImplementedError

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
    torchvision_name: str

    def published(self) -> Source:
        from sintro.data.published import Source, idx_file
        from sintro.data.vision import torchvision

        kind = getattr(torchvision.datasets, self.torchvision_name)
        files = (idx_file(self.name, kind, file) for file, _ in kind.resources)
        return Source(self.name, tuple(files))

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        from sintro.data import formats

        return formats.read_idx_pair(*(paths[:2] if split == "train" else paths[2:]))


@register
class Mnist(_Idx):
    """MNIST."""

    name, title, torchvision_name = "mnist", "MNIST", "MNIST"
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

    name, title, torchvision_name = "fmnist", "Fashion-MNIST", "FashionMNIST"
    folders, partner = ("fashionmnist", "fmnist"), "mnist"


@register
class Cifar10(Fetched):
    """CIFAR-10."""

    name, title = "cifar10", "CIFAR-10"
    event, size = (3, 32, 32), 50_000
    folders, partner = ("cifar10", "cifar10batchespy", "cifar10python"), "svhn"

    def published(self) -> Source:
        from sintro.data.published import Source, SourceFile
        from sintro.data.vision import torchvision

        kind = torchvision.datasets.CIFAR10
        listed = kind.train_list + kind.test_list
        files = tuple(SourceFile(f"{kind.base_folder}/{file}", md5) for file, md5 in listed)
        return Source(self.name, files, SourceFile(kind.filename, kind.tgz_md5, (kind.url,)))

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

    def published(self) -> Source:
        from sintro.data.published import Source, SourceFile
        from sintro.data.vision import torchvision

        parts = (torchvision.datasets.SVHN.split_list[split] for split in SPLITS)
        return Source(self.name, tuple(SourceFile(file, md5, (url,)) for url, file, md5 in parts))

    def read_files(self, split: str, paths: list[Path]) -> Arrays:
        from sintro.data import formats

        return formats.read_svhn(paths[0] if split == "train" else paths[1])
