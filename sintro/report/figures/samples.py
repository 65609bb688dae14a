"""The rows of samples that a study of images opens with: one strip of images per row of its table."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sintro.report.figures.maps import load_arrays, shown_by_row
from sintro.report.figures.style import data_uri, eight_bits, in_range, small_png
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.tables import in_order
from sintro.report.numbers.words import dataset_name, row_label

IN_A_STRIP = 12
MOST_ROWS = 16
GAP = 2  # pixels between two images
LEAST_PIXELS = 32  # an image's longer side, to which smaller ones are enlarged


def samples_view(results: Sequence[Result], link: Callable[[Result], str]) -> list[dict[str, Any]]:
    """Lay out, per data set, a strip of samples of each row's first finished seed and one of the data.

    Nothing where no cell keeps its samples, and of a data set with very many rows (a search).
    """
    images = [result for result in results if result.kind == "images"]
    shown = grouped(shown_by_row(images).values(), lambda result: result.cell.dataset)
    blocks = []
    for dataset in in_order(shown):
        members = shown[dataset]
        if len(members) > MOST_ROWS:
            continue
        strips = [_strip_view(result, link) for result in members]
        if any(strip["uri"] for strip in strips):
            blocks.append({"label": dataset_name(dataset), "data": _data_view(members), "strips": strips})
    return blocks


def _strip_view(result: Result, link: Callable[[Result], str]) -> dict[str, Any]:
    """Lay out one row: its samples, or the reason why there are none."""
    view = {"label": row_label(result.row), "href": link(result), "uri": None, "reason": result.state}
    images = _images(result, "samples")
    if images is not None:
        alt = f"Samples of {row_label(result.row)} on {dataset_name(result.cell.dataset)}, seed {result.cell.seed}"
        view |= {"uri": data_uri(strip_png(images)), "alt": alt, "reason": ""}
    elif result.state == "done":
        view["reason"] = "no samples stored"
    return view


def _data_view(members: Sequence[Result]) -> str | None:
    """Embed images of the data that a finished cell keeps; None where no cell does."""
    for result in members:
        images = _images(result, "data")
        if images is not None:
            return data_uri(strip_png(images))
    return None


def _images(result: Result, name: str) -> np.ndarray | None:
    """Read an array of images [N, C, H, W] of a finished cell; None where it has none."""
    if result.state != "done":
        return None
    images = load_arrays(result.folder, [name]).get(name)
    return images if images is not None and are_images(images) else None


def are_images(values: np.ndarray) -> bool:
    """Tell whether an array is one of grey or coloured images [N, C, H, W], and not empty."""
    return values.ndim == 4 and values.size > 0 and values.shape[1] in (1, 3)


def strip_png(images: np.ndarray) -> bytes:
    """Draw images [N, C, H, W] of values in [0, 1] side by side, as a PNG; NaN is black."""
    pixels = eight_bits(in_range(images[:IN_A_STRIP]))
    times = max(1, round(LEAST_PIXELS / max(pixels.shape[2:])))  # the longer side, so that no strip grows beyond bounds
    large = pixels.repeat(times, axis=2).repeat(times, axis=3)
    gaps = np.full((*large.shape[:3], GAP), 255, np.uint8)
    spaced = np.concatenate([large, gaps], axis=3)  # [N, C, H, W + GAP]
    strip = np.concatenate(spaced, axis=2)  # [C, H, N * (W + GAP)]
    is_colour = len(strip) == 3
    return small_png(Image.fromarray(strip.transpose(1, 2, 0) if is_colour else strip[0]))
