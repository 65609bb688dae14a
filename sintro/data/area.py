"""Resize images by area, exactly: every new pixel is the mean of the old ones that it covers, in whole numbers."""

from __future__ import annotations

import math

import numpy as np

from sintro import SintroError

LARGEST = 256  # the side of an image up to which sums in float32 are whole numbers without error: 255 x 256^2 < 2^24
CHUNK = 1024  # images that are resized together


def resize_area(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 images [..., H, W] to [..., height, width] by the mean over each new pixel's area, halves up.

    The pixels that lie partly within a new pixel count with that part. All sums are of whole numbers, so that every
    machine computes the same bytes.

    Raises:
        SintroError: an image that would be made larger, or whose sides exceed `LARGEST`.
    """
    old_height, old_width = images.shape[-2:]
    if not height <= old_height <= LARGEST or not width <= old_width <= LARGEST:
        raise SintroError(
            f"images of {old_height} x {old_width} pixels cannot be made {height} x {width}: legal are {height} to "
            f"{LARGEST} rows and {width} to {LARGEST} columns"
        )
    if (old_height, old_width) == (height, width):
        return images
    rows, columns = _weights(old_height, height), _weights(old_width, width)
    whole = int(rows[0].sum() * columns[0].sum())
    flat = images.reshape(-1, old_height, old_width)
    resized = np.empty((len(flat), height, width), np.uint8)
    for start in range(0, len(flat), CHUNK):
        sums = rows @ (flat[start : start + CHUNK].astype(np.float32) @ columns.T)
        resized[start : start + CHUNK] = (2 * sums.astype(np.int64) + whole) // (2 * whole)
    return resized.reshape(*images.shape[:-2], height, width)


def _weights(old: int, new: int) -> np.ndarray:
    """Return how much of each old pixel lies within each new one [new, old], in the largest unit that divides both."""
    unit = math.gcd(old, new)
    old_side, new_side = new // unit, old // unit  # the lengths of an old and of a new pixel, in that unit
    starts = np.arange(old)[None, :] * old_side
    new_starts = np.arange(new)[:, None] * new_side
    overlap = np.minimum(starts + old_side, new_starts + new_side) - np.maximum(starts, new_starts)
    return np.clip(overlap, 0, None).astype(np.float32)
