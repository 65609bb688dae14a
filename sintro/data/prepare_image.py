"""Read one image file for ``sintro prepare``: turn, make RGB, crop, resize."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

CELEBA_SIZE, CELEBA_WINDOW = (178, 218), (25, 57, 153, 185)  # Karras et al. 2018: 128 x 128 pixels around (89, 121)
# How an image of this mode becomes RGB; an image of any other mode is left out.
MODES = {"RGB": "", "L": "grey", "LA": "grey", "1": "grey", "P": "palette", "PA": "palette", "RGBA": "", "CMYK": "CMYK"}
LEFT_OUT = "left out: "  # begins the note of an image that is not used


class Read(NamedTuple):
    """What was found in an image file, by columns of images.csv; its pixels [R, R, 3], None where it is left out."""

    found: dict[str, str]
    pixels: np.ndarray | None


def read_image(path: Path, crop: str, pixels: int) -> Read:
    """Read an image file whole, crop it and resize it."""
    row = dict.fromkeys(("sha256", "mode", "width", "height", "note"), "")
    try:
        content = path.read_bytes()
        row["sha256"] = hashlib.sha256(content).hexdigest()
        with Image.open(io.BytesIO(content)) as opened:
            row |= {"mode": opened.mode, "width": str(opened.width), "height": str(opened.height)}
            image = ImageOps.exif_transpose(opened)
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds for a file that is cut, damaged or hostile
        why = " ".join(str(error).replace(str(path), "").split()) or type(error).__name__
        why = "no image" if "cannot identify image file" in why else why
        return Read(row | {"note": f"{LEFT_OUT}unreadable ({why})"}, None)
    if reason := _why_not(image, crop, pixels):
        return Read(row | {"note": LEFT_OUT + reason}, None)
    image, note = _as_rgb(image)
    image = _cropped(image, crop)
    if image.size != (pixels, pixels):
        image = image.resize((pixels, pixels), Image.Resampling.BICUBIC)
    return Read(row | {"note": note}, np.asarray(image))


def _why_not(image: Image.Image, crop: str, pixels: int) -> str:
    """Say why an image cannot be used; "" where it can."""
    size = f"{image.width} x {image.height}"
    if image.mode not in MODES:
        return f"mode {image.mode}, legal are {', '.join(MODES)}"
    if crop == "celeba" and image.size != CELEBA_SIZE:
        return f"{size} pixels, the aligned images of CelebA have {CELEBA_SIZE[0]} x {CELEBA_SIZE[1]}"
    window = CELEBA_WINDOW[2] - CELEBA_WINDOW[0] if crop == "celeba" else min(image.size)
    return f"too small, {size} pixels" if window < pixels else ""


def _as_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Turn an image of a legal mode into RGB; transparent parts become white. Return also what was done."""
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        notes = ", ".join(filter(None, (MODES[image.mode], "transparent parts white")))
        return Image.alpha_composite(white, whole).convert("RGB"), notes
    note = MODES[image.mode]
    return image.convert("RGB"), f"{note}, made RGB" if note else ""


def _cropped(image: Image.Image, crop: str) -> Image.Image:
    """Cut out the part that is used; with crop "none" all of it, which resizing then makes square."""
    if crop == "celeba":
        return image.crop(CELEBA_WINDOW)
    if crop == "centre":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))
    return image
