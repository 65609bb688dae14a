"""Hold the images that a model makes for an evaluation: in memory, or if they are many, in a file without a name."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from sintro.basics.files import explained

MOST_IN_MEMORY = 1 << 30  # bytes; 50,000 images of 256 x 256 pixels are 10 GB


def collected(parts: Iterable[torch.Tensor], count: int, event: tuple[int, ...], folder: Path) -> torch.Tensor:
    """Collect batches of uint8 images [B, C, H, W] -> [count, C, H, W] on the CPU.

    Above `MOST_IN_MEMORY` bytes the images lie in an unnamed file of ``folder``, which ends with the tensor. Raises
    SintroError where the disk has no room for it.
    """
    shape = (count, *event)
    size = torch.Size(shape).numel()
    if size <= MOST_IN_MEMORY:
        whole = torch.empty(shape, dtype=torch.uint8)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            explained(f"{folder}: no room for {size:,} bytes of generated images"),
            tempfile.NamedTemporaryFile(dir=folder) as file,
        ):
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk ends the process where the tensor is filled
            whole = torch.from_file(file.name, shared=True, size=size, dtype=torch.uint8).view(shape)
    start = 0
    for part in parts:
        whole[start : start + len(part)] = part.cpu()
        start += len(part)
    return whole
