"""What remains of an image cell's evaluation where its model has no prior and no posteriors' widths, such as LORD's."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# What depends on images, posterior means and the decoder alone; `_last` may follow.
DEFINED = {"fid_rec", "fid_rec_test", "cfid_rec", "cfid_rec_test", "psnr", "ssim", "images", "selected_iteration"}
PICTURES = {"data", "reconstructions", "codes", "code_labels"}
LAST, FLOOR = "_last", "_floor"


def without_density(
    metrics: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Make NaN of every number that a sample, a KL or a drawn code went into, and leave out such arrays and details.

    What was drawn from N(0, I) for such a model would be scored as if somebody had trained it to be drawn from.
    """
    found = {}
    for name, value in metrics.items():
        is_defined = name.removesuffix(LAST) in DEFINED or FLOOR in name
        if is_defined or isinstance(value, str):
            found[name] = value
        elif isinstance(value, int | float):
            found[name] = math.nan
    return found, {name: values for name, values in arrays.items() if name in PICTURES}
