"""The image data sets, each held as one uint8 tensor on the training device. docs/science.md, section 6.

No worker processes: 60,000 MNIST digits are 47 MB, the 73,257 images of SVHN 225 MB, and a batch is an index into them.
`digits`, scikit-learn's 1,797 handwritten digits, is embedded; the others are read from the data root, verified first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sintro import SintroError
from sintro.data import formats, sources
from sintro.data.facts import Facts
from sintro.randomness import generator

NAMES = sources.NAMES
SPLITS = ("train", "test")
DIGITS_TRAIN = 1500  # the other 297 are the test split
DIGITS_SHA256 = {  # by split, as :func:`content_hash` has it: the split is part of the benchmark
    "train": "020c3e5d599d9c9cd696b43f67f769bfef30dd583b190095b3b57d358fea6a26",
    "test": "46fe593c8f7e74cc2360c6c9e001092d722c94f9a5c6eb4c1bf683d92a85c721",
}
ORDER = "order"  # the random stream of the batches' order
CHOICE = "training-images"  # the random stream of the choice of some of them, the same for every cell


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set: images uint8 [N, C, H, W] and labels int64 [N] on one device.

    `sha256` is of the content (shape, pixels, labels), so it is the same whatever files the images came from.
    `facts` are those of the whole data set, and `state` says in a word what is known of its files: "verified",
    "unverified" (their content is not the published one) or "embedded". `chosen` is how many of the split's images
    these are, None for all of them; `sha256` stays that of the whole split.
    """

    images: Tensor
    labels: Tensor
    name: str
    split: str
    sha256: str
    state: str
    facts: Facts = field(default_factory=Facts)
    chosen: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def event(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return tuple(self.images.shape[1:])

    def to(self, device: torch.device | str) -> ImageSet:
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def choose(self, count: int | None) -> ImageSet:
        """`count` of the split's images in their order, a random choice that is the same always; None: all of them.

        Classes are balanced as chance has it, and a smaller choice is part of a larger one.
        """
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise SintroError(
                f"training_images {count}: {self.name} has {len(self)} {self.split} images; legal are 1 to {len(self)}"
            )
        chosen = torch.randperm(len(self), generator=generator(0, CHOICE))[:count].sort().values
        chosen = chosen.to(self.images.device)
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], chosen=count)

    def steps(self, batch_size: int) -> int:
        """Batches in one epoch; the last may be smaller."""
        return math.ceil(len(self) / batch_size)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The permutation [N] of the images in one epoch: a function of (seed, epoch), the same on every device."""
        return torch.randperm(len(self), generator=generator(seed, ORDER, epoch)).to(self.images.device)

    def batches(self, seed: int, epoch: int, batch_size: int) -> Iterator[Tensor]:
        """Index batches [B] of one epoch; the last, partial one is kept."""
        yield from self.order(seed, epoch).split(batch_size)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Images [B, C, H, W] as float32 in [0, 1]."""
        return to_float(self.images[indices])

    def draw(self, count: int, seed: int, stream: str) -> Tensor:
        """`count` different random images as float32 [count, C, H, W], a function of (seed, stream): pseudo-inputs."""
        if not 1 <= count <= len(self):
            raise SintroError(
                f"{count} components for the {len(self)} training images of {self.name}: pseudo-inputs start as "
                f"different images, so 1 to {len(self)} are possible"
            )
        return self.batch(torch.randperm(len(self), generator=generator(seed, stream))[:count].to(self.images.device))


def to_float(images: Tensor) -> Tensor:
    """uint8 [..., C, H, W] to float32 in [0, 1], as torchvision's ToTensor."""
    return images.to(torch.float32) / 255


def load(name: str, split: str, root: str | Path | None = None, device: torch.device | str = "cpu") -> ImageSet:
    """One split ("train" or "test") of the data set `name`.

    Args:
        root: the data root; None means $SINTRO_DATA, else ``data`` (see :func:`sintro.data.sources.data_root`).

    Raises:
        SintroError: an unknown name or split; files that are missing, corrupted or unreadable. No network is used.
    """
    if name not in NAMES:
        raise sources.unknown(name)
    if split not in SPLITS:
        raise SintroError(f"unknown split {split!r} of {name}; there are {', '.join(SPLITS)}")
    if name == "digits":
        found = {each: _digits(each) for each in SPLITS}
        state, reason = "embedded", ""
        if {each: content_hash(*found[each]) for each in SPLITS} != DIGITS_SHA256:
            state, reason = "unverified", "this scikit-learn's digits are not those of the benchmark"
    else:
        files = sources.require(name, sources.data_root(root))
        found = _read_both(name, files)
        unverified = [file for file in files.values() if file.state == "unverified"]
        state = "unverified" if unverified else "verified"
        reason = "; ".join(f"{file.path}: {file.reason}" for file in unverified)
    hashes = {each: content_hash(*found[each]) for each in SPLITS}
    images, labels = found[split]
    return ImageSet(
        torch.from_numpy(images.copy()).to(device),
        torch.from_numpy(labels.copy()).to(device),
        name,
        split,
        hashes[split],
        state,
        Facts(hashes["train"], hashes["test"], state != "unverified", reason),
    )


def check(name: str, root: str | Path | None = None) -> None:
    """Raise SintroError now if `name` could not be loaded: to be called before any work starts."""
    load(name, "train", root)


def _read_both(name: str, files: Mapping[str, sources.FileState]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both splits, whichever is wanted: a broken test split must stop a training before it begins, not after it."""
    paths = [file.path for file in files.values()]
    found = {}
    for split in SPLITS:
        images, labels = _read(name, split, paths)
        found[split] = np.ascontiguousarray(images), np.ascontiguousarray(labels, dtype=np.int64)
    return found


def content_hash(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of shape, pixels and labels."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()


def _read(name: str, split: str, paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """`paths` in the order of the source's files: training files first."""
    train = split == "train"
    if name in ("mnist", "fmnist"):
        return formats.read_idx_pair(*(paths[:2] if train else paths[2:]))
    if name == "svhn":
        return formats.read_svhn(paths[0] if train else paths[1])
    parts = [formats.read_cifar(path) for path in (paths[:-1] if train else paths[-1:])]
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """8x8 grey values 0..16, spread over 0..255 and padded with 4 pixels of 0 on each side to 16x16.

    The split is a fixed permutation: scikit-learn keeps the digits in the order of their writers, so that a cut without
    one would test on other hands than it trained on. RandomState's stream is frozen by NumPy, unlike its successor's.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    kept = order[:DIGITS_TRAIN] if split == "train" else order[DIGITS_TRAIN:]
    pixels = np.rint(digits.images[kept] * (255 / 16)).astype(np.uint8)
    return np.pad(pixels, ((0, 0), (4, 4), (4, 4)))[:, None], digits.target[kept]
