"""Images from a folder, prepared once by ``sintro prepare`` (docs/science.md, section 6). Imports no torch.

A prepared set is a folder ``folders/NAME-R`` under the data root: ``train.npy`` and ``test.npy``, uint8 [N, 3, R, R],
``images.csv``, a line for every image of the original folder, and ``manifest.json``, which is written last. In paths it
is ``folder-NAME-R``; the data sets of `RELEASED` have names of their own.
"""

from __future__ import annotations

import os
import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from sintro import SintroError
from sintro.basics.files import read_json
from sintro.cells import yamlfiles
from sintro.cells.components import OURS, SOFT, SPLITS, ImageDataset, Row, Splits, register, register_reader
from sintro.cells.components.component import LEGAL_NAME
from sintro.cells.components.dataset import FEWEST_TEST_IMAGES
from sintro.cells.presets import FEWEST_IMAGES

if TYPE_CHECKING:
    import numpy as np

FOLDER, PREFIX, MANIFEST, LISTED = "folders", "folder-", "manifest.json", "images.csv"
RELEASED_CODE = "Daniel & Tamar 2021, released code"
# Each number is a layer that halves the image; the smallest feature map has 4 x 4 pixels.
CHANNELS = {
    32: (64, 128, 256),
    64: (64, 128, 256, 512),
    128: (64, 128, 256, 512, 512),
    256: (64, 128, 256, 512, 512, 512),
}
SIZES = tuple(CHANNELS)
FEWEST = {"train": FEWEST_IMAGES, "test": FEWEST_TEST_IMAGES}
SHAPE = f"{PREFIX}NAME-R, with NAME of lower-case letters, digits, - and _, and R one of {', '.join(map(str, SIZES))}"


class FolderImages(ImageDataset):
    """A prepared folder of images of ``size_in_pixels`` x ``size_in_pixels`` pixels, without labels.

    ``counts``: numbers of training and test images that the set must have; None: any. ``crop``: how `sintro prepare`
    makes its images square, None where the user says.
    """

    classes = 1
    photographs = True
    origin = "prepared from a folder of your own: sintro prepare --help"
    in_si_program = True
    counts: tuple[int, int] | None = None
    crop: str | None = None

    def __init__(self, name: str, stem: str, pixels: int, title: str):
        self.name, self.stem, self.title = name, stem, title
        self.event = (3, pixels, pixels)
        self.weight = max(1, pixels // 32)
        self.rows = _rows(pixels, self.counts is not None)

    @property
    def size(self) -> int:
        """The number of training images. Raises SintroError where it depends on a folder that is not prepared."""
        folder = self.folder()
        if self.counts is not None and not os.path.exists(folder / MANIFEST):
            return self.counts[0]
        return self.manifest(folder)["images"]["train"]

    def folder(self, root: Path | None = None) -> Path:
        """Return the set's place under a data root (None: the one that is set)."""
        from sintro.data.sources import data_root

        return data_root(root) / FOLDER / f"{self.stem}-{self.event[-1]}"

    def command(self) -> str:
        """Return the command that prepares the set."""
        if self.counts is not None:
            return f"sintro prepare {self.name} PATH"
        return f"sintro prepare {self.stem} PATH --size {self.event[-1]}"

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Read a prepared set's manifest. Raises SintroError where there is none, or a damaged one."""
        path = folder / MANIFEST
        try:
            status = path.stat()
        except OSError:
            raise SintroError(
                f"{self.name} is not prepared: there is no {path.absolute()}; run: {self.command()} (another place: "
                "--data or SINTRO_DATA)"
            ) from None
        found = _manifest(path, status.st_mtime_ns, status.st_size)
        if set(found["images"]) != set(SPLITS) or found["pixels"] != self.event[-1]:
            raise SintroError(f"{path} is of other images; delete {shlex.quote(str(folder))} and run: {self.command()}")
        return found

    def load(self, root: Path) -> Splits:
        """Map both splits into memory, and take their hashes from the manifest where the files are as it says."""
        folder = self.folder(root)
        manifest = self.manifest(folder)
        arrays = {split: self.read(split, root) for split in SPLITS}
        for split, (pixels, _) in arrays.items():
            if len(pixels) < FEWEST[split]:
                raise SintroError(
                    f"{folder}: the {split} split has {len(pixels)} images; legal are {FEWEST[split]} and more"
                )
        hashes = {split: self._hash(folder, manifest, split, arrays[split]) for split in SPLITS}
        reason = self.why_unpublished(manifest)
        return Splits(arrays, "prepared", False if reason else None, reason, hashes)

    def why_unpublished(self, manifest: dict[str, Any]) -> str:
        """Say why a prepared set is not what its name promises; "" where it is."""
        found = tuple(manifest["images"][split] for split in SPLITS)
        if self.counts is None or found == self.counts:
            return ""
        numbers = " and ".join(f"{count:,}" for count in found)
        return f"prepared from {numbers} images, published are {self.counts[0]:,} and {self.counts[1]:,}"

    def read(self, split: str, root: Path) -> tuple[np.ndarray, np.ndarray]:
        """Map one split into memory. Raises SintroError where the file is not what the manifest says."""
        import numpy as np

        folder = self.folder(root)
        path, expected = folder / f"{split}.npy", (self.manifest(folder)["images"][split], *self.event)
        try:
            images = np.lib.format.open_memmap(path, mode="c")  # c: torch warns of memory that is read-only
        except Exception as error:  # NumPy raises many kinds for a damaged header
            raise SintroError(f"{path} cannot be read ({error}); delete {folder} and run: {self.command()}") from error
        if images.dtype != np.uint8 or images.shape != expected:
            found = f"{images.dtype} {images.shape}"
            raise SintroError(f"{path} holds {found}, expected uint8 {expected}; delete {folder}, and prepare it anew")
        return images, np.zeros(len(images), np.int64)

    def _hash(self, folder: Path, manifest: dict[str, Any], split: str, arrays: tuple) -> str:
        """Return a split's content hash. A file that was touched since is read whole, and must still have it."""
        from sintro.data.images import content_hash

        path, known = folder / f"{split}.npy", manifest["files"][f"{split}.npy"]
        status = path.stat()
        is_touched = (status.st_size, status.st_mtime_ns) != (known["bytes"], known["modified"])
        if is_touched and content_hash(*arrays) != known["content_sha256"]:
            raise SintroError(f"{path} was changed since it was prepared; delete {folder}, run: {self.command()}")
        return known["content_sha256"]

    def not_published(self, prior: str) -> str:
        """Say that no paper has a prior on these images; "" for N(0, I) on those of a released configuration."""
        if self.counts is None:
            return "not published: no paper has these images"
        return "" if prior == "normal" else "not published: no paper has this prior on these images"


class _Array(BaseModel):
    """What a manifest says of a split's array."""

    content_sha256: str
    bytes: PositiveInt
    modified: int  # nanoseconds


class _List(BaseModel):
    """What a manifest says of the list of the images."""

    sha256: str
    bytes: NonNegativeInt


class _Files(BaseModel):
    """The files beside a manifest."""

    train: _Array = Field(alias="train.npy")
    test: _Array = Field(alias="test.npy")
    listed: _List = Field(alias=LISTED)


class _Manifest(BaseModel):
    """The keys of a manifest that are read; the others are a record."""

    images: dict[str, PositiveInt]
    files: _Files
    pixels: int
    sha256: str


@lru_cache(maxsize=64)
def _manifest(path: Path, _mtime: int, _size: int) -> dict[str, Any]:
    found = read_json(path)
    try:
        _Manifest.model_validate(found, strict=True)
    except ValidationError as error:
        why = yamlfiles.explain(error, _Manifest).removeprefix(": ")
        raise SintroError(
            f"{path} is no manifest of prepared images ({why}); delete {path.parent} and prepare it anew"
        ) from None
    return found


def _rows(pixels: int, is_released: bool) -> tuple[Row, ...]:
    """Return the hyper-parameters of images of this size: the released ones, where a configuration has the size."""
    networks = f"{RELEASED_CODE}, configuration celeb{pixels}" if pixels >= 128 else f"{OURS}; as celeb128, smaller"
    defaults = "the released program's default"
    latent, batch = (256, 8) if pixels == 256 else (128, 32)
    sized = "README, CelebA-HQ at 256" if pixels == 256 else defaults
    rows = [
        Row(None, {"network": "residual", "channels": CHANNELS[pixels]}, networks),
        Row(None, {"latent_size": latent, "batch_size": batch}, f"{RELEASED_CODE}, {sized}"),
    ]
    if pixels >= 128:
        readme = f"{RELEASED_CODE}, README, CelebA-HQ at 256 (its program says 0.5, 1, 1024: audit A13)"
        source = readme if pixels == 256 else f"none is published for this size; {readme}"
        rows.append(Row(SOFT, {"beta_rec": 1.0, "beta_kl": 0.5, "beta_neg": 1024.0}, source))
    if is_released:
        rows.append(Row(None, {"mirror": True}, f"{RELEASED_CODE}, images of faces: mirrored with probability 1/2"))
    return tuple(rows)


class Released(FolderImages):
    """A set of faces for which a configuration was released, or which one of the two papers shows."""

    def __init__(self, stem: str, pixels: int, title: str, crop: str, counts: tuple[int, int], licence: str):
        self.crop, self.counts, self.licence = crop, counts, licence
        super().__init__(f"{stem}-{pixels}", stem, pixels, title)


HQ_LICENCE = "CelebA-HQ: for non-commercial research only, as CelebA; you supply the images"
RELEASED = {
    one.name: one
    for one in (
        Released("celeba", 128, "CelebA 128", "celeba", (162_770, 19_962), "CelebA: for non-commercial research only"),
        Released("celebahq", 256, "CelebA-HQ 256", "none", (29_000, 1_000), HQ_LICENCE),
        Released("ffhq", 256, "FFHQ 256", "none", (60_000, 10_000), "FFHQ: CC BY-NC-SA 4.0; you supply the images"),
    )
}
for _one in RELEASED.values():
    register(_one)


@register_reader
def read_name(name: str) -> FolderImages | None:
    """Read ``folder-NAME-R``; None for a name of another form. Raises SintroError for a wrong NAME or R."""
    if not name.startswith(PREFIX):
        return None
    match = re.fullmatch(rf"{PREFIX}({LEGAL_NAME})-([0-9]+)", name)
    if match is None or match[2] not in map(str, SIZES):
        raise SintroError(f"dataset {name!r}: legal is {SHAPE}")
    return folder_images(match[1], int(match[2]))


@lru_cache(maxsize=256)
def folder_images(stem: str, pixels: int) -> FolderImages:
    """Return the data set of a prepared folder. SintroError for a name or a size that is not legal."""
    if f"{stem}-{pixels}" in RELEASED:
        raise SintroError(f"dataset {PREFIX}{stem}-{pixels}: its one name is {stem}-{pixels}")
    if not re.fullmatch(LEGAL_NAME, stem) or pixels not in SIZES:
        raise SintroError(f"images {stem!r} of {pixels} pixels: legal is {SHAPE}")
    return FolderImages(f"{PREFIX}{stem}-{pixels}", stem, pixels, f"{stem}, {pixels} x {pixels}")


def prepared(root: Path) -> list[FolderImages]:
    """List the prepared sets of the user's own under a data root."""
    try:
        names = sorted(os.listdir(root / FOLDER))
    except OSError:
        return []
    pairs = [re.fullmatch(rf"({LEGAL_NAME})-([0-9]+)", name) for name in names if name not in RELEASED]
    sized = [(match[1], int(match[2])) for match in pairs if match and match[2] in map(str, SIZES)]
    return [folder_images(*pair) for pair in sized]
