"""What ``sintro prepare`` is asked for: the images of a folder by name, and the split of each."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sintro import SintroError
from sintro.basics.files import explained
from sintro.cells.components import SPLITS
from sintro.data.folders import FEWEST, RELEASED, SIZES, FolderImages, folder_images

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PARTITION_FILE = "list_eval_partition.txt"  # beside CelebA's images
PARTITION = {"0": "train", "1": "", "2": "test", "train": "train", "test": "test"}  # of CelebA's list; 1 is validation


class Request(NamedTuple):
    """What is asked for: the folder, and the choices of which the manifest keeps a record."""

    source: Path
    crop: str
    count: int | None = None  # only the first of the sorted names
    test: int | None = None  # the last of the names are the test split; None: the last tenth
    listed: Path | None = None  # a file that names the split of each image
    force_count: bool = False


class Item(NamedTuple):
    """One image of the folder and its split."""

    name: str
    split: str


def asked_for(name: str, size: int | None, request: Request) -> tuple[FolderImages, Request]:
    """Return the data set that a name and a size mean, and the request with what a released set has fixed.

    ``request.crop`` is "" where nobody chose one. Raises SintroError for choices that contradict a released set.
    """
    if name not in RELEASED:
        if size is None:
            raise SintroError(f"--size is needed for {name}: one of {', '.join(map(str, SIZES))}")
        return folder_images(name, size), request._replace(crop=request.crop or "centre")
    images = RELEASED[name]
    for option, given, fixed in (("size", size, images.event[-1]), ("crop", request.crop, images.crop)):
        if given not in (None, "", fixed):
            raise SintroError(f"--{option} {given}: {name} has {fixed}")
    request = request._replace(crop=images.crop)
    if name.startswith("celeba-") and request.listed is None and request.test is None:
        beside = [folder / PARTITION_FILE for folder in (request.source, request.source.parent)]
        listed = next((path for path in beside if path.exists()), None)
        if listed is None:
            raise SintroError(
                f"{name} is divided by CelebA's {PARTITION_FILE}, which is not beside {request.source}: --split FILE"
            )
        return images, request._replace(listed=listed)
    if request.listed is None and request.test is None:
        request = request._replace(test=images.counts[1])
    return images, request


def names_in(source: Path) -> list[str]:
    """List the images below a folder by their sorted relative names; say how many files are none."""
    if not source.is_dir():
        raise SintroError(f"{source} is not a folder; legal is a folder with images")
    found, others = [], []
    for folder, inner, files in os.walk(source, onerror=_refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        if links := [name for name in inner if Path(folder, name).is_symlink()]:
            raise SintroError(
                f"{Path(folder, min(links))} is a link to a folder, and its images would be left out; prepare a folder "
                "that holds them, or delete the link"
            )
        for file in files:
            name = Path(folder, file).relative_to(source).as_posix()
            (found if Path(file).suffix.lower() in ENDINGS else others).append(name)
    if others:
        say(f"{len(others)} files are no images by their endings, such as {min(others)}")
    if not found:
        raise SintroError(f"{source} holds no images; their names end in {', '.join(ENDINGS)}")
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise SintroError(f"{error.filename} cannot be read: {error.strerror}")


def divided(names: Sequence[str], request: Request) -> list[Item]:
    """Say of each image in which split it is. Raises SintroError where a split would have too few images."""
    if request.listed is not None and request.test is not None:
        raise SintroError(f"--split {request.listed} and --test {request.test}: legal is one of the two")
    count = len(names) if request.count is None else request.count
    if count > len(names):
        raise SintroError(f"--count {count}: {request.source} holds {len(names)} images; legal are 1 to {len(names)}")
    if request.listed is not None:
        split_of = _splits_by_list(names, request)
        items = [Item(name, split_of[name]) for name in names[:count] if split_of[name]]
    else:
        train = count - (count // 10 if request.test is None else request.test)
        items = [Item(name, "train" if place < train else "test") for place, name in enumerate(names[:count])]
    for split in SPLITS:
        found = sum(item.split == split for item in items)
        if found < FEWEST[split]:
            raise SintroError(
                f"the {split} split has {found} of {count} images; legal are {FEWEST[split]} and more: --test M takes "
                "the last M of the sorted names, --split FILE lists them"
            )
    return items


def _splits_by_list(names: Sequence[str], request: Request) -> dict[str, str]:
    """Read the split of each image from a list: on each line a name and 0, 1, 2, train or test; "" is validation."""
    with explained(f"--split {request.listed} cannot be read"):
        content = request.listed.read_bytes()
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SintroError(f"--split {request.listed}: line {line} is no UTF-8; legal is a text file in UTF-8") from None
    pairs = [line.rsplit(maxsplit=1) for line in lines if line.strip()]
    wrong = next((pair for pair in pairs if len(pair) != 2 or pair[1] not in PARTITION), None)
    if wrong is not None:
        raise SintroError(f"{request.listed}: {' '.join(wrong)!r}: legal is a name and one of {', '.join(PARTITION)}")
    split_of = dict(pairs)
    if len(split_of) < len(pairs):
        times = Counter(name for name, _ in pairs)
        repeated = next(name for name in times if times[name] > 1)
        raise SintroError(f"{request.listed}: {repeated} is listed {times[repeated]} times; legal is a line per image")
    in_folder, in_list = (request.source, dict.fromkeys(names)), (request.listed, split_of)
    for (here, known), (there, others) in ((in_folder, in_list), (in_list, in_folder)):
        if absent := [name for name in known if name not in others]:
            images = "1 image is" if len(absent) == 1 else f"{len(absent)} images are"
            raise SintroError(f"{here}: {images} not in {there}, first {absent[0]}")
    return {name: PARTITION[split] for name, split in pairs}


def check_counts(images: FolderImages, items: Sequence[Item], request: Request) -> None:
    """Refuse other numbers of images than the published ones, unless the request forces them."""
    found = tuple(sum(item.split == split for item in items) for split in SPLITS)
    if images.counts is None or found == images.counts:
        return
    said = f"{images.name} has {images.counts[0]:,} training and {images.counts[1]:,} test images, not {found[0]:,} and"
    if not request.force_count:
        raise SintroError(f"{said} {found[1]:,}; --force-count takes these, and says so in all results")
    say(f"{said} {found[1]:,}: results of these are not comparable")


def say(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)
