"""The image data sets, each held as one uint8 tensor on the training device (docs/science.md, section 6).

A batch is an index into that tensor, without worker processes: 60,000 MNIST digits are 47 MB, the 73,257 images of SVHN
225 MB. A prepared folder is mapped into memory, 12 GB for FFHQ at 256, and goes to a GPU only where it fits.
Each data set says itself how its files are read (:mod:`sintro.data.image_sets`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.components import SPLITS, ImageDataset, UnknownComponent, dataset, datasets, unknown
from sintro.data import sources
from sintro.data.facts import Facts

ORDER = "order"  # the random stream of an epoch's order
MIRROR = "mirror"  # the random stream of the images that are mirrored in an epoch
LARGEST_SHARE = 0.4  # of a GPU's memory that images may take
CHOICE = "training-images"  # the random stream of the choice of some images, the same for every cell


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set: images uint8 [N, C, H, W] and labels int64 [N] on one device.

    `sha256` is of the content of the whole split (shape, pixels, labels), whatever files the images came from.
    `facts` are those of the whole data set. `state` is "verified", "unverified" (the content is not the published one)
    or "embedded". `chosen` is the number of images where only some of the split were chosen, else None. Batches go to
    `device`; where the images are `mapped` into memory from a file, they themselves may be elsewhere. `contents` int64
    [N] are those of images with factors, where they are known.
    """

    images: Tensor
    labels: Tensor
    name: str
    split: str
    sha256: str
    state: str
    facts: Facts = field(default_factory=Facts)
    chosen: int | None = None
    device: torch.device | str = "cpu"
    mapped: bool = False
    contents: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def event(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return tuple(self.images.shape[1:])

    @property
    def has_labels(self) -> bool:
        """Whether the labels tell images apart."""
        return bool((self.labels != self.labels[0]).any())

    def to(self, device: torch.device | str) -> ImageSet:
        contents = None if self.contents is None else self.contents.to(device)
        images, labels = self.images.to(device), self.labels.to(device)
        return replace(self, images=images, labels=labels, contents=contents, device=device)

    def choose(self, count: int | None) -> ImageSet:
        """Choose `count` of the split's images at random, always the same ones, in their order; None: all of them.

        Classes are balanced only as chance has it. A smaller choice is part of a larger one. Raises SintroError unless
        the split has as many images.
        """
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise SintroError(
                f"training_images {count}: {self.name} has {len(self)} {self.split} images; legal are 1 to {len(self)}"
            )
        chosen = torch.randperm(len(self), generator=generator(0, CHOICE))[:count].sort().values
        chosen = chosen.to(self.images.device)
        images, labels = self.images[chosen], self.labels[chosen]
        contents = None if self.contents is None else self.contents[chosen]
        return replace(self, images=images, labels=labels, contents=contents, chosen=count, mapped=False)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches in an epoch; the last may be smaller."""
        return math.ceil(len(self) / batch_size)

    def order(self, seed: int, epoch: int) -> Tensor:
        """Return the images' permutation [N] in an epoch: a function of (seed, epoch), the same on every device."""
        return torch.randperm(len(self), generator=generator(seed, ORDER, epoch)).to(self.images.device)

    def mirrored(self, seed: int, epoch: int) -> Tensor:
        """Say which images are mirrored in an epoch, booleans [N] on the CPU, from (seed, epoch) alone."""
        return torch.randint(2, (len(self),), generator=generator(seed, MIRROR, epoch)).bool()

    def batches(self, seed: int, epoch: int, batch_size: int) -> Iterator[Tensor]:
        """Yield the index batches [B] of an epoch; the last may be smaller."""
        yield from self.order(seed, epoch).split(batch_size)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Return images [B, C, H, W] as float32 in [0, 1]."""
        return self.on_device(self.images[indices.to(self.images.device) if isinstance(indices, Tensor) else indices])

    def on_device(self, pixels: Tensor) -> Tensor:
        """Bring uint8 images [B, C, H, W] to the batches' device, as float32 in [0, 1]."""
        return to_float(pixels.to(self.device, non_blocking=True))

    def draw(self, count: int, seed: int, stream: str) -> Tensor:
        """Draw `count` different images as float32 [count, C, H, W], a function of (seed, stream), as pseudo-inputs."""
        if not 1 <= count <= len(self):
            raise SintroError(
                f"{count} components for the {len(self)} training images of {self.name}: pseudo-inputs start as "
                f"different images, so 1 to {len(self)} are possible"
            )
        return self.batch(torch.randperm(len(self), generator=generator(seed, stream))[:count].to(self.images.device))


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 [..., C, H, W] into float32 in [0, 1], as torchvision's ToTensor does."""
    return images.to(torch.float32) / 255


def load(name: str, split: str, root: str | Path | None = None, device: torch.device | str = "cpu") -> ImageSet:
    """Load one split ("train" or "test") of the data set `name`.

    Args:
        root: the data root; None means $SINTRO_DATA, else ``data`` (see :func:`sintro.data.sources.data_root`).

    Raises:
        SintroError: an unknown name or split; files that are missing, corrupted or unreadable. No network is used.
    """
    one = image_dataset(name)
    if split not in SPLITS:
        raise SintroError(f"unknown split {split!r} of {name}; there are {', '.join(SPLITS)}")
    found = one.load(sources.data_root(root))
    hashes = found.hashes or {each: content_hash(*found.arrays[each]) for each in SPLITS}
    images, labels = found.arrays[split]
    pixels = _tensor(images, torch.device(device))
    contents = None if found.contents is None else torch.from_numpy(found.contents[split].astype(np.int64)).to(device)
    return ImageSet(
        pixels,
        torch.from_numpy(labels.astype(np.int64)).to(device),
        name,
        split,
        hashes[split],
        found.state,
        Facts(hashes["train"], hashes["test"], found.verified, found.reason),
        device=device,
        mapped=isinstance(images, np.memmap) and pixels.device.type == "cpu",
        contents=contents,
    )


def _tensor(images: np.ndarray, device: torch.device) -> Tensor:
    """Copy images to a device; those that are mapped into memory stay in their file, unless a GPU has room."""
    if not isinstance(images, np.memmap):
        return torch.from_numpy(images.copy()).to(device)
    pixels = torch.from_numpy(images)
    fits = device.type == "cuda" and images.nbytes <= LARGEST_SHARE * torch.cuda.mem_get_info(device)[1]
    return pixels.to(device) if fits else pixels


@dataclass(frozen=True, eq=False)
class Gathered:
    """Some of many images, read where a slice of them is asked for: they need not all be in memory at once."""

    images: Tensor  # [N, C, H, W]
    indices: Tensor  # [M]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> Tensor:
        return self.images[self.indices[part]]


def image_dataset(name: str) -> ImageDataset:
    """Return the image data set of this name. Raises SintroError with the legal names where there is none."""
    try:
        found = dataset(name)
    except UnknownComponent:
        found = None
    if not isinstance(found, ImageDataset):
        raise unknown(f"unknown image data set {name!r}; there are {', '.join(datasets('images'))}", name)
    return found


def content_hash(images: np.ndarray, labels: np.ndarray) -> str:
    """Return the sha256 of shape, pixels and labels."""
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()
