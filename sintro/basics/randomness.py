"""Draw random numbers as a function of (seed, stream, iteration): docs/design.md, invariant 3.

A run never carries the state of a generator from one iteration to the next: at iteration ``i`` it draws from a
generator made for that iteration. So a run that was killed and resumed draws the numbers of an uninterrupted one, and a
cell draws the same numbers alone and in a fleet.

A *generator* below is a ``torch.Generator`` (one cell) or a sequence of F of them (a fleet, whose draws get a leading
axis F).
"""

import hashlib
from collections.abc import Sequence

import torch

Generators = torch.Generator | Sequence[torch.Generator]


def generator(seed: int, stream: str, iteration: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """Make the generator of a (seed, stream, iteration); distinct keys give unrelated numbers."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{iteration}".encode(), digest_size=8).digest()
    made = torch.Generator(device)
    made.manual_seed(int.from_bytes(digest, "little") >> 1)  # 63 bits: manual_seed takes a signed 64-bit integer
    return made


class Tape:
    """A generator that notes its draws, so that they can be made anew before they are used: a CUDA graph needs that.

    After :meth:`note` it draws from the given generators and notes every request. After :meth:`fill` it hands out the
    tensors that were filled, one per request, in the order of the notes.
    """

    def __init__(self):
        self.requests: list[tuple] = []
        self.drawn: list[torch.Tensor] = []  # the same tensors always, filled in place
        self.source: Generators | None = None
        self.position = 0

    def note(self, generators: Generators) -> "Tape":
        """Draw from these generators from now on, and note every request."""
        self.requests, self.source = [], generators
        return self

    def fill(self, generators: Generators) -> "Tape":
        """Make all noted draws anew, in their order, each cell's from its own generator: the bits are the same."""
        fresh = [_draw(sampler, shape, generators, dtype) for sampler, shape, dtype in self.requests]
        if self.drawn:
            for old, new in zip(self.drawn, fresh, strict=True):
                old.copy_(new)
        else:
            self.drawn = fresh
        self.source, self.position = None, 0
        return self

    def draw(self, sampler, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return the next draw."""
        if self.source is not None:
            self.requests.append((sampler, tuple(shape), dtype))
            return _draw(sampler, shape, self.source, dtype)
        if self.requests[self.position] != (sampler, tuple(shape), dtype):
            raise RuntimeError(f"draw {self.position} differs from the noted one: {shape}")
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
    """Draw standard normals: ``shape`` for one generator, ``[F, *shape]`` for a fleet's F generators."""
    return _draw(torch.randn, shape, generators, dtype)


def uniform(shape: Sequence[int], generators: Generators, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Draw uniformly on [0, 1): ``shape`` for one generator, ``[F, *shape]`` for a fleet's F generators."""
    return _draw(torch.rand, shape, generators, dtype)
