"""CPU time of one iteration and one evaluation per kind of cell, on one thread: what ``sintro/pace.py`` ships.

Run as ``OMP_NUM_THREADS=1 python -m benchmarks.iteration_costs [ITERATIONS]``. CPU time, so that other work on the
machine does not count.
"""

import sys
import time

import torch

from sintro.cells import Cell
from sintro.evaluation import measure_density
from sintro.players import Players
from sintro.presets import published

KINDS = (
    "vae/normal/none",
    "vae/vamp64/none",
    "vae/vamp64-lc/none",
    "soft-introvae/normal/none",
    "soft-introvae/mog64-fixed/none",
    "soft-introvae/mog64-learned/clip",
    "soft-introvae/mog64-learned-lc/clip-resp10",
)


def cost(kind: str, count: int, batch_size: int, samples: int) -> tuple[float, float, float]:
    """Milliseconds of an iteration in the warm-up and after it, and seconds of the evaluation."""
    settings = published(Cell.from_path(f"results/table1/rings/{kind}/seed0"))
    settings = settings.model_copy(update={"batch_size": batch_size, "samples": samples})
    players = Players([settings])
    first = _milliseconds(players, range(count))
    for iteration in (settings.conversion, settings.warmup):
        if iteration is not None:
            players.enter(iteration)
    rest = _milliseconds(players, range(settings.warmup, settings.warmup + count)) if kind[0] == "s" else first
    began = time.process_time()
    with torch.no_grad():
        measure_density(players.model, settings, "cpu")
    return first, rest, time.process_time() - began


def _milliseconds(players: Players, iterations: range) -> float:
    players.step(iterations[0])  # the first one of its kind prepares things
    began = time.process_time()
    for iteration in iterations[1:]:
        players.step(iteration)
    return 1e3 * (time.process_time() - began) / (len(iterations) - 1)


def main() -> None:
    """Print one line per kind of cell and size."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    torch.set_num_threads(1)
    for batch_size, samples in ((512, 100), (256, 10)):
        for kind in KINDS:
            first, rest, evaluation = cost(kind, count, batch_size, samples)
            print(
                f"batch {batch_size} samples {samples} {kind}: warm-up {first:.1f} ms, after it {rest:.1f} ms, "
                f"evaluation {evaluation:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
