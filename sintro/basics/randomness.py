"""Random numbers as a function of (seed, stream, iteration): docs/design.md, invariant 3.

A run never carries the state of a generator from one iteration to the next. Whatever it draws at iteration ``i`` comes
from a generator made for that iteration, so a run that was killed and resumed draws what an uninterrupted one draws,
and a cell draws the same whether it trains alone or in a fleet.

A *generator* below is a ``torch.Generator`` (one cell) or a sequence of F of them (a fleet, whose draws get a leading
axis F).
"""

import hashlib
from collections.abc import Sequence

import torch

Generators = torch.Generator | Sequence[torch.Generator]


def generator(seed: int, stream: str, iteration: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """The generator of one (seed, stream, iteration); distinct keys give unrelated streams."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{iteration}".encode(), digest_size=8).digest()
    made = torch.Generator(device)
    made.manual_seed(int.from_bytes(digest, "little") >> 1)  # 63 bits: manual_seed takes a signed 64-bit integer
    return made


class Tape:
    """Draws noted once and made again outside of where they are used, as a CUDA graph needs it.

    While it has no generators it hands out what :meth:`fill` drew, request by request in the order in which they were
    noted; otherwise it draws from its generators and notes the request.
    """

    def __init__(self):
        self.requests: list[tuple] = []
        self.drawn: list[torch.Tensor] = []  # static: filled in place
        self.source: Generators | None = None
        self.position = 0

    def note(self, generators: Generators) -> "Tape":
        """From here on it draws from these generators, and notes what it drew."""
        self.requests, self.source = [], generators
        return self

    def fill(self, generators: Generators) -> "Tape":
        """Makes all noted draws anew, each cell's from its own generator in their order: the bits are the same."""
        fresh = [_draw(sampler, shape, generators, dtype) for sampler, shape, dtype in self.requests]
        if self.drawn:
            for old, new in zip(self.drawn, fresh, strict=True):
                old.copy_(new)
        else:
            self.drawn = fresh
        self.source, self.position = None, 0
        return self

    def draw(self, sampler, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """The next draw."""
        if self.source is not None:
            self.requests.append((sampler, tuple(shape), dtype))
            return _draw(sampler, shape, self.source, dtype)
        if self.requests[self.position] != (sampler, tuple(shape), dtype):
            raise RuntimeError(f"draw {self.position} is not the one that was noted: {shape}")
        self.position += 1
        return self.drawn[self.position - 1]


def _draw(sampler, shape: Sequence[int], generators: Generators | Tape, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(generators, Tape):
        return generators.draw(sampler, shape, dtype)
    if isinstance(generators, torch.Generator):
        return sampler(tuple(shape), generator=generators, device=generators.device, dtype=dtype)
    drawn = [sampler(tuple(shape), generator=one, device=one.device, dtype=dtype) for one in generators]
    return torch.stack(drawn)


def normal(shape: Sequence[int], generators: Generators, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Standard normal draws, ``shape`` for one generator, ``[F, *shape]`` for a fleet's F generators."""
    return _draw(torch.randn, shape, generators, dtype)


def uniform(shape: Sequence[int], generators: Generators, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform draws on [0, 1), ``shape`` for one generator, ``[F, *shape]`` for a fleet's F generators."""
    return _draw(torch.rand, shape, generators, dtype)
