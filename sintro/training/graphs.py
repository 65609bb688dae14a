"""Iterations as CUDA graphs: hundreds of small kernels for the price of one launch.

The first iterations of every kind run plainly, on a stream of their own; the last of them notes its draws. The next
iteration is captured; it and all later ones are replays. A replay's batch and draws are made outside the graph, from
the iteration's own generators, and copied to the memory that the graph reads. So the noise has the same bits as without
graphs, and a resumed run draws the same noise as an uninterrupted one.

tests/test_fleets.py compares graphs with plain iterations where there is a GPU; on an H100 they agreed. docs/speed.md
says how much faster they are.
"""

from collections.abc import Callable
from typing import Any

import torch

from sintro.basics.randomness import Generators, Tape

EAGER = 3  # iterations before a capture: cuBLAS, cuDNN, the allocator and the optimisers prepare themselves

Step = Callable[[torch.Tensor, Any, bool], dict[str, torch.Tensor]]


class _Captured:
    """One kind of iteration: a step, with or without responsibilities, for batches of one shape."""

    def __init__(self, device: torch.device):
        self.seen, self.tape = 0, Tape()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.real = torch.empty(0, device=device)
        self.terms: dict[str, torch.Tensor] = {}

    def capture(self, step: Step, mean_responsibilities: bool, stream: torch.cuda.Stream, pool: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            self.terms = step(self.real, self.tape, mean_responsibilities)
        self.graph = graph


class Graphs:
    """The graphs of one fleet's iterations. :meth:`clear` them when its parameters or optimisers are replaced."""

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)
        # All graphs share one pool: they never run at the same time, and leave nothing in it but their terms.
        self.pool = torch.cuda.graph_pool_handle()
        self.kinds: dict[tuple, _Captured] = {}

    def clear(self) -> None:
        """Forget every graph."""
        self.kinds = {}

    def run(
        self, name: str, step: Step, real: torch.Tensor, noise: Generators, mean_responsibilities: bool
    ) -> dict[str, torch.Tensor]:
        """Do ``step``, called ``name``, and return its terms, which the next iteration overwrites."""
        key = (name, mean_responsibilities, tuple(real.shape))
        kind = self.kinds.setdefault(key, _Captured(self.device))
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            kind.seen += 1
            if kind.seen <= EAGER:
                terms = step(real, kind.tape.note(noise), mean_responsibilities)
            else:
                terms = self._replay(kind, step, real, noise, mean_responsibilities)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return dict(terms)

    def _replay(self, kind: _Captured, step: Step, real: torch.Tensor, noise: Generators, mean_responsibilities: bool):
        if kind.graph is None:
            kind.real = real.clone()
            kind.tape.fill(noise)
            kind.capture(step, mean_responsibilities, self.stream, self.pool)
        else:
            kind.real.copy_(real)
            kind.tape.fill(noise)
        kind.graph.replay()
        return kind.terms
