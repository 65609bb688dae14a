"""The files of a cell as an archive keeps them: histories of 100 rows, density maps of 64 x 64, a few pictures.

Values that the pages show stay as they are: a history keeps each column's last number, a map and a picture their 256
levels of grey. Imports no torch.
"""

import csv
import io
import math
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from sintro.runs.history import INTEGERS

ROWS = 100  # of a history
DIGITS = 6  # of its numbers, save in the rows that claims read
MAP_SIDE = 64
NO_DENSITY = 7.0  # nats below the peak: exp(-7) is less than half a level of grey
POINTS = (512, 256, 0)  # samples of a 2D cell, and as many real points, as there is room for
PICTURES = (12, 6, 3, 0)  # samples of an image cell, and as many real images
LEVELS = 255
GRID = "translation_grid"  # of an image cell with two codes; left out last
GRID_SIDE = 5  # of its rows and columns, the given images' included
SAME_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


def history(text: str) -> str:
    """Thin a history to 100 rows, evenly, with every column's last finite number exactly.

    Raises ValueError where it is no table of numbers.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("a row is cut short")
    head, *body = rows
    exact = _last_rows(head, body)
    even = _evenly(len(body), max(0, ROWS - len(exact)))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(head)
    for place in sorted(exact | even):
        row = body[place]
        writer.writerow(row if place in exact else [_shorter(name, text) for name, text in zip(head, row, strict=True)])
    return written.getvalue()


def _last_rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> set[int]:
    """The last row, and the last one of each column that holds a finite number."""
    found = {len(body) - 1} if body else set()
    for column in range(len(head)):
        finite = (place for place in reversed(range(len(body))) if _is_finite(body[place][column]))
        found |= {place for place in [next(finite, None)] if place is not None}
    return found


def _is_finite(text: str) -> bool:
    return bool(text) and math.isfinite(float(text))


def _evenly(count: int, most: int) -> set[int]:
    """At most so many of ``count`` places, the first and the last among them."""
    if count <= most:
        return set(range(count))
    if most < 2:
        return set()
    return {round(step * (count - 1) / (most - 1)) for step in range(most)}


def _shorter(column: str, text: str) -> str:
    """A number with six digits; a whole one as it is."""
    return text if not text or column in INTEGERS else repr(float(f"{float(text):.{DIGITS}g}"))


# --- arrays


def energy(on_grid: np.ndarray) -> np.ndarray | None:
    """Energies [G, G] as those of a map of at most 64 x 64, in 256 levels of the density relative to its peak.

    A point of the map is the mean of the density over its part of the grid. None where no energy is finite.
    """
    wide = np.asarray(on_grid, np.float64)
    if wide.ndim != 2 or not np.isfinite(wide).any():
        return None
    lowest = wide[np.isfinite(wide)].min()
    density = np.where(np.isfinite(wide), np.exp(lowest - np.where(np.isfinite(wide), wide, lowest)), 0.0)
    small = _means(_means(density, 0), 1)
    levels = (small / small.max() * LEVELS).round()
    nats = np.where(levels > 0, -np.log(np.maximum(levels, 1) / LEVELS), NO_DENSITY)
    return nats.astype(np.float16)


def _means(values: np.ndarray, axis: int) -> np.ndarray:
    """Means over at most 64 even parts of an axis."""
    count = values.shape[axis]
    if count <= MAP_SIDE:
        return values
    starts = np.arange(MAP_SIDE) * count // MAP_SIDE
    widths = np.diff([*starts, count])
    return np.add.reduceat(values, starts, axis) / np.expand_dims(widths, 1 - axis)


def spread_out(values: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` rows at even distances: a batch of spirals has one arm in its first half."""
    rows = len(values)
    return values[np.arange(count) * rows // count] if rows > count else values


def images(pictures: np.ndarray, count: int | None) -> np.ndarray:
    """The first images [N, C, H, W] of values in [0, 1], in 256 levels; all of them for a count of None."""
    finite = np.nan_to_num(np.asarray(pictures[:count], np.float32))
    return ((np.clip(finite, 0, 1) * LEVELS).round() / LEVELS).astype(np.float16)


def arrays(stored: Mapping[str, np.ndarray], room: int) -> dict[str, np.ndarray]:
    """Choose what an archive keeps of a cell's arrays; ``room`` counts the steps that its size forced upon it.

    Samples and real data, of a 2D cell the energy on the grid, and of translations the first rows and columns.
    ``room`` is from 0 (all) to the last step, where no samples are left.
    """
    kept = {}
    is_plane = "energy" in stored
    if is_plane and (thin := energy(stored["energy"])) is not None:
        kept["energy"] = thin
    steps = POINTS if is_plane else PICTURES
    count = steps[min(room, len(steps) - 1)]
    for name in ("data", "samples"):
        if name in stored and count:
            values = stored[name]
            kept[name] = images(values, count) if values.ndim == 4 else spread_out(values, count).astype(np.float16)
    if GRID in stored and count:
        corner = stored[GRID][:GRID_SIDE, :GRID_SIDE]
        kept[GRID] = images(corner.reshape(-1, *corner.shape[2:]), None).reshape(corner.shape)
    return kept


def npz(named: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as an uncompressed ``.npz`` of the same bytes everywhere; the archive around it compresses them."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(named):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(named[name]), version=(1, 0), allow_pickle=False)
            made.writestr(zipfile.ZipInfo(f"{name}.npy", SAME_TIME), member.getvalue())
    return whole.getvalue()
