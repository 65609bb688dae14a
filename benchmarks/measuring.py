"""One row in a process of its own: times, T, the floor's share and peak memory (see benchmarks/__main__.py)."""

from __future__ import annotations

import resource
import statistics
import time
from functools import partial
from typing import Any

import torch

from benchmarks import image_metrics, training

SIDE = 2048
GROUPS = {"training": training.rows, "image-metrics": image_metrics.rows}


def all_rows(images: int = image_metrics.IMAGES) -> dict[str, training.Row]:
    """Name all rows. ``images``: how many images the rows of image metrics are for."""
    groups = GROUPS | {"image-metrics": partial(image_metrics.rows, images)}
    return {name: row for rows in groups.values() for name, row in rows().items()}


def seconds(work: Any, device: str, clock: Any) -> float:
    """Time one call, a GPU's work included."""
    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def product(device: str, clock: Any) -> float:
    """Measure T, the median time of a large matrix product."""
    generator = torch.Generator(device).manual_seed(0)
    one, other = (torch.randn(SIDE, SIDE, generator=generator, device=device) for _ in range(2))
    return statistics.median(seconds(lambda: one @ other, device, clock) for _ in range(7))


def measure(
    name: str, device: str, threads: int, repeats: int | None, cpu_time: bool, images: int, result: Any
) -> None:
    """Measure one row, in a process of its own, and put its figures into the queue ``result``."""
    torch.set_num_threads(threads)
    row = all_rows(images)[name]
    clock = time.process_time if cpu_time else time.perf_counter
    work = row.prepare(device)
    before = product(device, clock)
    if row.repeats > 1:
        work()  # warm-up
    times = [seconds(work, device, clock) / row.count for _ in range(repeats or row.repeats)]
    median, unit = statistics.median(times), (before + product(device, clock)) / 2
    figures = {
        "what": row.what,
        "unit": row.unit,
        "seconds": median,
        "least": min(times),
        "most": max(times),
        "T": median / unit,
        "T_seconds": unit,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if device == "cuda":
        figures["device_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    if row.flop is not None:
        figures["floor_T"] = row.flop() / (2 * SIDE**3)
    result.put(figures)
