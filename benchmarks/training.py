"""What training and evaluating a cell costs: ``python -m benchmarks training``.

Floors count FLOP, at the rate of a large float32 matrix product (T, see benchmarks/__main__.py). A batch of B through a
network of P weights is a pass: 2 P B forward, 2 P B back to its inputs, 2 P B back to its weights.

    VAE iteration                       both networks in all three directions, and one mixture density
    introspective iteration, encoder    7 passes forward; back: 3 of the encoder to weights and inputs, 3 of the decoder
                             decoder    4 passes forward; back: 2 of the decoder to weights and inputs, 2 of the encoder
                             mixture    5 densities: the real batch, twice the fakes and the reconstructions
    mixture density                     N K (2 (2 L + 2) + 2 (2 L + 1) + 20), 20 for an exponential
    gnELBO over G x G points            G^2 passes forward through both networks, a density of G^2 S points

Convolutions are counted by torch.utils.flop_counter instead, which counts what is run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.cells.settings import Settings
from sintro.data import images
from sintro.evaluation.plane import measure_density
from sintro.priors.mixture import mixture_log_prob
from sintro.training.players import Players

POINTS, MODES, SAMPLES = 512, 64, 100  # a batch of Table 1, its prior, and the draws of its KL
EXPONENTIAL = 20  # FLOP: a polynomial of degree 12 in float64, scaling and the clamp


class Row(NamedTuple):
    """A benchmark: ``prepare(device)`` gives what is timed; ``flop`` counts the arithmetic of one unit of ``count``."""

    what: str
    prepare: Callable[[str], Callable[[], Any]]
    flop: Callable[[], float] | None = None
    count: int = 1  # units of work in one call: the time shown is that of one
    unit: str = "call"
    needs: str = "cpu"  # or cuda: not measured elsewhere
    repeats: int = 5


def settings_of(path: str, **changes: Any) -> Settings:
    """Find the published settings of a cell. ``path``: the cell's path from its data set to its regularizers."""
    return published(Cell.from_path(f"results/table/{path}/seed0")).model_copy(update=changes)


def enter_introspection(players: Players) -> None:
    """Do to the players what their warm-up does to the prior, without the training in between."""
    for iteration in (players.shared.conversion, players.shared.warmup):
        if iteration is not None:
            players.enter(iteration)


def iterations(
    path: str, phase: str, cells: int = 1, count: int = 10, graph: bool = False, **changes: Any
) -> Callable[[str], Callable[[], None]]:
    """Time ``count`` iterations of a cell, or of a fleet of ``cells``, in the warm-up or in the introspective phase.

    ``graph``: as CUDA graphs. ``changes``: of the published settings.
    """

    def prepare(device: str) -> Callable[[], None]:
        one = settings_of(path, **changes)
        players = Players([one.model_copy(update={"seed": seed}) for seed in range(cells)], device, graph)
        players.step(0)
        at = 1
        if phase == "introspective":
            enter_introspection(players)
            at = one.warmup

        def work() -> None:
            nonlocal at
            for _ in range(count):
                players.step(at)
                at += 1

        return work

    return prepare


def weights(path: str) -> tuple[int, int]:
    """Count the parameters of the encoder and of the decoder."""
    model = Players([settings_of(path)]).model
    return tuple(sum(p.numel() for p in network.parameters()) for network in (model.encoder, model.decoder))


def density_flop(points: int, modes: int = MODES, size: int = 2) -> float:
    """Count the FLOP of one pass of the mixture density over ``points`` points."""
    return points * modes * (2 * (2 * size + 2) + 2 * (2 * size + 1) + EXPONENTIAL)


def iteration_flop(path: str, phase: str) -> Callable[[], float]:
    """Count the FLOP of one cell's iteration, by the formulas of this module's docstring."""

    def flop() -> float:
        encoder, decoder = (2 * POINTS * size for size in weights(path))
        mixture = 0.0 if "/normal/" in path else density_flop(POINTS * SAMPLES)
        if phase == "warm-up":
            return 3 * (encoder + decoder) + mixture
        encoders = 3 + 2 + 3 * 2 + 2  # forward in either step, back to weights and inputs, back through it
        decoders = 4 + 2 + 3 + 2 * 2
        return encoders * encoder + decoders * decoder + 5 * mixture

    return flop


def counted_flop(path: str) -> Callable[[], float]:
    """Have torch count the FLOP of the convolutions and matrix products in one iteration of an image cell."""

    def flop() -> float:
        work = iterations(path, "introspective", count=1)("cpu")
        with _Counter() as counter:
            work()
        return counter.flop

    return flop


class _Counter(TorchDispatchMode):
    """Adds up the FLOP of all operations that torch has a formula for.

    Torch's own counter also follows modules, with hooks that refuse gradients taken in the middle of a loss.
    """

    flop = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=result)
        return result


def of_noise(
    prepare: Callable[[str], Callable[[], None]], event: tuple[int, ...], count: int = 60_000
) -> Callable[[str], Callable[[], None]]:
    """Time the same work on ``count`` random images in the data set's place, so that nothing need be downloaded."""

    def load(name: str, split: str, device: str = "cpu", **_: Any) -> images.ImageSet:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (count, *event), generator=generator, dtype=torch.uint8)
        labels = torch.zeros(len(pixels), dtype=torch.long)
        return images.ImageSet(pixels, labels, name, split, "made up", "embedded").to(device)

    def prepare_on_noise(device: str) -> Callable[[], None]:
        with mock.patch.object(images, "load", load):
            return prepare(device)

    return prepare_on_noise


def density(device: str) -> Callable[[], Any]:
    """Time the hot spot alone: forward and backward to the points, at N = 51,200 and K = 64."""
    generator = torch.Generator(device).manual_seed(0)
    z, means, log_vars = (
        torch.randn(count, 2, generator=generator, device=device) for count in (POINTS * SAMPLES, MODES, MODES)
    )
    log_weights = torch.log_softmax(torch.zeros(MODES, device=device), -1)
    z.requires_grad_()
    return lambda: mixture_log_prob(z, means, log_vars - 3, log_weights)[0].sum().backward()


def grid(path: str) -> Callable[[str], Callable[[], Any]]:
    """Time all that a 2D cell's evaluation measures; the 1024 x 1024 grid takes nearly all of the time."""

    def prepare(device: str) -> Callable[[], Any]:
        one = settings_of(path)
        players = Players([one], device)
        enter_introspection(players)

        def work() -> None:
            with torch.no_grad():
                measure_density(players.model, one, device)

        return work

    return prepare


def grid_flop(path: str) -> Callable[[], float]:
    def flop() -> float:
        points = 1024**2
        return points * 2 * sum(weights(path)) + (0 if "/normal/" in path else density_flop(points * SAMPLES))

    return flop


KINDS = {
    "normal": "rings/soft-introvae/normal/none",
    "mog64-fixed": "rings/soft-introvae/mog64-fixed/none",
    "mog64-learned": "rings/soft-introvae/mog64-learned/clip",
    "mog64-learned-resp": "rings/soft-introvae/mog64-learned-lc/clip-resp10",
    "vae": "rings/vae/normal/none",
    "vae-vamp64": "rings/vae/vamp64/none",
}
IMAGES = {"mnist": "mnist/soft-introvae/mog100-learned/clip", "cifar10": "cifar10/soft-introvae/mog100-learned/clip"}
FACES = "celeba-128/soft-introvae/normal/none"
SMALLER = {"event": (3, 64, 64), "scale": 1 / (3 * 64 * 64), "channels": (64, 128, 256, 512), "batch_size": 2}
FLEETS = (8, 32, 128)


def rows() -> dict[str, Row]:
    """Name all rows of this file."""
    found = {"density": Row("mixture density, N = 51,200, K = 64", density, lambda: density_flop(POINTS * SAMPLES))}
    for name, path in KINDS.items():
        phase = "warm-up" if name.startswith("vae") else "introspective"
        what = f"{phase if phase != 'warm-up' else 'VAE'} iteration of {path}"
        timed = iterations(path, phase)
        found[f"iteration-{name}"] = Row(what, timed, iteration_flop(path, phase), 10, "iteration")
    for name in ("normal", "mog64-learned"):
        path = KINDS[name]
        what = f"warm-up iteration of {path}"
        timed = iterations(path, "warm-up")
        found[f"warm-up-{name}"] = Row(what, timed, iteration_flop(path, "warm-up"), 10, "iteration")
        found[f"grid-{name}"] = Row(f"evaluation of {path}", grid(path), grid_flop(path), repeats=3)
    path = KINDS["mog64-learned"]
    for cells, graph in itertools.product(FLEETS, (False, True)):
        what = f"cell-iterations of {cells} cells side by side{', as a CUDA graph' if graph else ''}, {path}"
        timed = iterations(path, "introspective", cells, 10, graph)
        flop = iteration_flop(path, "introspective")
        name = f"fleet-{cells}{'-graph' if graph else ''}"
        found[name] = Row(what, timed, flop, 10 * cells, "cell-iteration", "cuda")
    found["fleet-2-cpu"] = Row(
        f"cell-iterations of 2 cells side by side, {path}",
        iterations(path, "introspective", 2, 4),
        iteration_flop(path, "introspective"),
        8,
        "cell-iteration",
    )
    for name, path in IMAGES.items():
        timed = of_noise(iterations(path, "introspective", count=10), settings_of(path).event)
        found[f"image-{name}"] = Row(f"introspective iteration of {path}", timed, None, 10, "iteration", "cuda")
    found["image-64"] = Row(
        f"introspective iteration of two images of 64 x 64 with the first four widths of {FACES}",
        of_noise(iterations(FACES, "introspective", count=1, **SMALLER), SMALLER["event"], 200),
        None,
        1,
        "iteration",
    )
    digits = "digits/soft-introvae/mog10-learned/clip"
    found["image-digits"] = Row(
        f"introspective iteration of {digits}",
        iterations(digits, "introspective", count=2),
        counted_flop(digits),
        2,
        "iteration",
    )
    return found
