"""Where training and evaluation run: the device, torch's threads, and how many cells fit side by side."""

import os
import re

import torch

from sintro import PassingError, SintroError
from sintro.cells import fleets
from sintro.cells.fleets import LARGEST
from sintro.cells.settings import Settings

HIDDEN = 4 * 256  # activations per row of a pass through a 2D network (docs/science.md, section 5)
ROWS = 16  # passes per datum whose activations are alive at once: 7 forward, their gradients, a margin
MOST_THREADS = 1024  # where OpenMP cannot start a thread, it ends the process without an error of Python's
RESERVE = 0.3  # the share of free memory that is left to other work and to torch's allocator
FIXED = 3 << 30  # bytes: the CUDA context, the mixture's table (sintro/priors/expanded.py) and graphs' own pools


def pick_device(device: str) -> str:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means here. SintroError where there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() and not _given_no_gpu() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]{0,5}))?", device):
        raise SintroError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise PassingError(f"device {device!r} asked for, but torch {torch.__version__} sees no GPU; use cpu or auto")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise PassingError(f"device {device!r} asked for, but there are only {torch.cuda.device_count()} GPUs")
    return device


def _given_no_gpu() -> bool:
    """Whether this is a Slurm job without a GPU of its own; the GPUs that it sees belong to other jobs on its node."""
    given = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES")
    return "SLURM_JOB_ID" in os.environ and not any(os.environ.get(name) for name in given)


def set_threads(threads: int | None) -> int:
    """Bound torch's threads; None keeps torch's choice. Returns their number. SintroError beyond the legal range."""
    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise SintroError(f"--threads {threads}: legal are 1 to {MOST_THREADS}")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def bytes_per_cell(settings: Settings) -> int:
    """Bound the device memory of one more 2D cell in a fleet, in bytes.

    Measured on a CPU: 27 MiB under a bound of 38 with N(0, I), 39 under 69 with a learned mixture of 64.

    16 P                   P parameters, each with its gradient and Adam's two moments, in float32
    4 * 16 B * 1024        activations and their gradients: 16 passes of B data, 4 layers of 256
    4 * S B (8 (5 L + 6) + 4 * 4 L)
                           with a mixture, four KLs of S samples of each of B data alive at once: features, sums and
                           slopes in float64 (sintro/priors/expanded.py), noise, latents and their gradients in float32
    """
    size, latent, event = settings.batch_size, settings.latent_size, settings.event[0]
    width = HIDDEN // 4
    hidden = 3 * (width + 1) * width
    encoder = (event + 1) * width + hidden + (width + 1) * 2 * latent
    decoder = (latent + 1) * width + hidden + (width + 1) * event
    prior = (settings.components or 0) * (2 * latent + 1)
    drawn = settings.samples * size if settings.components else 0
    parameters = 16 * (encoder + decoder + prior)
    return parameters + 4 * ROWS * size * HIDDEN + 4 * drawn * (8 * (5 * latent + 6) + 16 * latent)


def fleet_size(settings: Settings, device: str, free: int | None = None, graph: bool = False) -> int:
    """Return how many cells of these settings train side by side on a device, 1 to ``LARGEST``.

    On a GPU it is (0.7 ``free`` - 3 GiB) / :func:`bytes_per_cell`, and half of that with graphs, whose pool comes on
    top of that of plain iterations. ``free`` are the bytes that ``torch.cuda.mem_get_info`` names by default.

    On a processor it is 1: a cell costs the same in a fleet as alone, and separate processes use separate cores. (On
    one core at published settings: 84 ms of CPU per iteration alone and 79 to 90 in fleets of 4 and 8 with N(0, I);
    205 and 188 with a learned mixture.) Image cells train alone, since batch norm has no fleet axis.
    """
    if settings.network != "mlp" or not fleets.may_stack(settings) or not device.startswith("cuda"):
        return 1
    if free is None:
        free = torch.cuda.mem_get_info(device)[0]
    fit = int(free * (1 - RESERVE) - FIXED) // (bytes_per_cell(settings) * (2 if graph else 1))
    return max(1, min(fit, LARGEST))
