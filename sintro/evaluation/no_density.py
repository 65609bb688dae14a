"""What remains of an image cell's evaluation where its model has no prior and no posteriors' widths, such as LORD's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sintro.metrics import NOT_MEASURED

# What depends on images, posterior means and the decoder alone; `_last` may follow.
DEFINED = {"fid_rec", "fid_rec_test", "cfid_rec", "cfid_rec_test", "psnr", "ssim", "lpips_rec"}
DEFINED |= {"images", "selected_iteration"}
PICTURES = {"data", "reconstructions", "codes", "code_labels"}
LAST, FLOOR = "_last", "_floor"
WHY = "no prior"
KLS = ("kl_class", "kl_content")  # that nobody computed


def without_density(
    metrics: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Leave out what a sample, a KL or a drawn code went into: numbers, with the reason in their place, and arrays.

    Samples from N(0, I) would be scored as if the model had been trained to generate from it.
    """
    found: dict[str, Any] = {}
    reasons = metrics.get(NOT_MEASURED, {}) | dict.fromkeys(KLS, WHY)
    for name, value in metrics.items():
        is_defined = name.removesuffix(LAST) in DEFINED or FLOOR in name
        if is_defined or isinstance(value, str):
            found[name] = value
        elif isinstance(value, int | float):
            reasons[name] = WHY
    return found | {NOT_MEASURED: reasons}, {name: values for name, values in arrays.items() if name in PICTURES}
