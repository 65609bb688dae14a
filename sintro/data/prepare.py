"""``sintro prepare``: turn a folder of images into arrays of one size, once; other verbs only read these.

The images are those below the folder, sorted by their names relative to it, character by character, so that the order
depends on neither the file system nor the language. Each is turned as its EXIF says, made RGB, cropped, and resized by
Pillow's antialiased bicubic filter. What is used otherwise than as it is, or left out, gets a line on stderr and stands
in ``images.csv``. A killed preparation goes on where it was; files appear as a whole folder, or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from sintro import SintroError
from sintro.basics.files import UNFINISHED, explained, hash_file, locked, read_json, write_json
from sintro.basics.progress import Progress, size_in_words
from sintro.cells.components import SPLITS
from sintro.data.folders import FEWEST, LISTED, MANIFEST, FolderImages
from sintro.data.prepare_image import LEFT_OUT, read_image
from sintro.data.prepare_names import Item, Request, check_counts, divided, names_in, say

HEADER = 128  # bytes before the pixels of a .npy file
CHOICES = "choices.json"  # in a folder that is not finished
AT_A_TIME = 256  # images between two notes of what is done
COLUMNS = ("name", "split", "sha256", "mode", "width", "height", "note")


def prepare(images: FolderImages, request: Request) -> Path:
    """Prepare a data set under the data root; return its folder. A set that is there is compared with the request.

    Raises: SintroError for a folder without images, a split with too few, other counts than published, a disk that is
        too small, and where a set of other images or choices is there.
    """
    items = divided(names_in(request.source), request)
    check_counts(images, items, request)
    folder, choices = images.folder(), _choices(images, request, items)
    with explained(f"cannot write {folder}"), locked(folder):
        if (folder / MANIFEST).exists():
            _compare(images, folder, choices, request, items)
            return folder
        if folder.exists():
            raise SintroError(f"{folder} has no {MANIFEST}, so it is not prepared; move it away first")
        partial = folder.with_name(f"{UNFINISHED}{folder.name}")
        done = _begun(partial, choices, images)
        _read_all(images, request, items, partial, done)
        _finish(images, partial, choices, request)
        partial.replace(folder)
        (folder / CHOICES).unlink()
    return folder


def _choices(images: FolderImages, request: Request, items: Sequence[Item]) -> dict:
    """Return what decides over the arrays, besides the images' content."""
    listed = "".join(f"{item.name}\0{item.split}\n" for item in items)
    test = sum(item.split == "test" for item in items)
    rule = f"by {request.listed.name}" if request.listed else f"the last {test} of the sorted names are test"
    return {
        "dataset": images.name,
        "pixels": images.event[-1],
        "crop": request.crop,
        "resize": "Pillow, bicubic, antialiased",
        "split": rule,
        "listed": len(items),
        "names_sha256": hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest(),
        "pillow": PIL.__version__,
    }


# --- reading


def _begun(partial: Path, choices: dict, images: FolderImages) -> list[dict[str, str]]:
    """Take up a preparation with the same choices, or begin one; return the lines of the images that are done."""
    plan = partial / CHOICES
    if plan.exists() and read_json(plan) == choices:
        done = _whole_lines(partial / LISTED)
        if done:
            say(f"going on after {len(done):,} of {choices['listed']:,} images")
        return done
    shutil.rmtree(partial, ignore_errors=True)
    there = next(parent for parent in partial.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(there).free, choices["listed"] * int(np.prod(images.event))
    if free < needed:
        raise SintroError(f"{partial.parent} has {size_in_words(free)} free, and {size_in_words(needed)} are needed")
    partial.mkdir(parents=True)
    write_json(plan, choices)
    return []


def _whole_lines(path: Path) -> list[dict[str, str]]:
    """Read the lines of a list that were written to their end."""
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), COLUMNS))


def _read_all(
    images: FolderImages, request: Request, items: Sequence[Item], partial: Path, done: Sequence[dict[str, str]]
) -> None:
    """Append every image that is not done yet to its split's array, and its line to the list, in their order."""
    size, kept, pixels = int(np.prod(images.event)), _kept(done), images.event[-1]
    listed = len(_lines(done))
    with Progress(f"prepare {images.name}", len(items), len(done)) as progress, ThreadPoolExecutor(_threads()) as pool:
        for start in range(len(done), len(items), AT_A_TIME):
            part = items[start : start + AT_A_TIME]
            found = list(pool.map(lambda item: read_image(request.source / item.name, request.crop, pixels), part))
            rows = [item._asdict() | each.found for item, each in zip(part, found, strict=True)]
            for split in SPLITS:
                used = [each.pixels for item, each in zip(part, found, strict=True) if item.split == split]
                used = [one.transpose(2, 0, 1).tobytes() for one in used if one is not None]
                _append(partial / f"{split}.npy", HEADER + kept[split] * size, b"".join(used))
                kept[split] += len(used)
            for row in rows:
                if row["note"]:
                    say(f"{row['name']}: {row['note']}")
            _append(partial / LISTED, listed, _lines(rows))
            listed += len(_lines(rows))
            progress.update(start + len(part))


def _threads() -> int:
    """Return how many threads read images: those that OMP_NUM_THREADS allows, else the processor's."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() and int(allowed) else min(os.cpu_count() or 1, 16)


def _kept(rows: Sequence[dict[str, str]]) -> Counter[str]:
    """Count the images of each split that are used."""
    return Counter(row["split"] for row in rows if not row["note"].startswith(LEFT_OUT))


def _lines(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Write the lines of images.csv."""
    buffer = io.StringIO(newline="")
    csv.DictWriter(buffer, COLUMNS, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def _append(path: Path, place: int, content: bytes) -> None:
    """Write at a place of a file and cut off what follows; wait for the disk."""
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.seek(place)
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


# --- the end


def _finish(images: FolderImages, partial: Path, choices: dict, request: Request) -> None:
    """Write the arrays' headers and the manifest. SintroError where a split has too few images left."""
    from sintro.data.images import content_hash

    rows, files = _whole_lines(partial / LISTED), {}
    kept = _kept(rows)
    for split in SPLITS:
        if kept[split] < FEWEST[split]:
            raise SintroError(
                f"{images.name}: {kept[split]} images of the {split} split can be used; legal are {FEWEST[split]} and "
                f"more; {partial / LISTED} says why not the others"
            )
        path, shape = partial / f"{split}.npy", (kept[split], *images.event)
        with open(path, "r+b") as file:
            file.write(_header(shape))
            os.fsync(file.fileno())
        pixels = np.load(path, mmap_mode="r")
        sha256, status = content_hash(pixels, np.zeros(len(pixels), np.int64)), path.stat()
        files[path.name] = {"content_sha256": sha256, "bytes": status.st_size, "modified": status.st_mtime_ns}
    left_out = {row["name"]: row["note"].removeprefix(LEFT_OUT) for row in rows if row["note"].startswith(LEFT_OUT)}
    files[LISTED] = {"sha256": hash_file(partial / LISTED), "bytes": (partial / LISTED).stat().st_size}
    whole = hashlib.sha256("".join(files[f"{split}.npy"]["content_sha256"] for split in SPLITS).encode()).hexdigest()
    content = choices | {"images": {split: kept[split] for split in SPLITS}, "left_out": left_out, "files": files}
    if request.force_count:
        content["forced_count"] = True
    write_json(partial / MANIFEST, content | {"sha256": whole, "licence": getattr(images, "licence", "")})
    if left_out:
        say(f"{len(left_out)} of {len(rows)} images are left out; {images.folder() / LISTED} names them")


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the first 128 bytes of a .npy file of bytes of this shape."""
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + described.ljust(HEADER - 11).encode() + b"\n"


def _compare(images: FolderImages, folder: Path, choices: dict, request: Request, items: Sequence[Item]) -> None:
    """Compare a prepared set with the request and with the images that are there now; change nothing."""
    known = images.manifest(folder)
    remedy = f"delete {shlex.quote(str(folder))} to prepare it anew"
    for key, value in choices.items():
        if known.get(key) != value and key != "pillow":
            what = "other names or splits" if key == "names_sha256" else f"{key} {known.get(key)!r}, not {value!r}"
            raise SintroError(f"{folder} is prepared already, with {what}; {remedy}")
    if hash_file(folder / LISTED) != known["files"][LISTED]["sha256"]:
        raise SintroError(f"{folder / LISTED} was changed; {remedy}")
    rows, paths = _whole_lines(folder / LISTED), [request.source / item.name for item in items]
    with Progress(f"compare {images.name}", len(items)) as progress, ThreadPoolExecutor(_threads()) as pool:
        for done, (row, now) in enumerate(zip(rows, pool.map(_hash_of, paths), strict=True), 1):
            if row["sha256"] != now:
                raise SintroError(
                    f"{request.source / row['name']} is another image than {folder} was made of; {remedy}"
                )
            progress.update(done)
    images.load(folder.parents[1])
    say(f"{folder} is prepared already, of these images: nothing was changed")


def _hash_of(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError:  # it was unreadable before too, or its hash differs from that of the list
        return ""
