"""The interface between training and objectives: what each may ask of the other."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from sintro.basics.randomness import Generators
from sintro.cells.components import Betas
from sintro.cells.settings import Settings
from sintro.objectives.model import Model


class Game(Protocol):
    """One cell in training, or a fleet of F: what :class:`sintro.training.players.Players` shows an objective.

    ``shared`` are the settings that all cells have in common; betas, margin and responsibility weight are numbers, or
    tensors [F]. ``iteration`` counts from 0. ``optimisers`` has those of the players that learn: "encoder",
    "decoder", "prior"; and "embeddings", where the objective ``embeds``: a module that returns the class codes and the
    content codes of the images of an iteration.
    """

    model: Model
    shared: Settings
    iteration: int
    betas: Betas
    margin: float | torch.Tensor | None
    responsibility_weight: float | torch.Tensor
    optimisers: Mapping[str, torch.optim.Optimizer]
    embeddings: Callable[[int], tuple[torch.Tensor, torch.Tensor]] | None

    @property
    def sampled(self) -> bool:
        """Whether the KL to a single Gaussian is sampled."""

    def descend(self, loss: torch.Tensor, *players: str) -> None:
        """Step these players' optimisers along the gradients of a loss [...]."""

    def advance(self, *players: str) -> None:
        """Step these players' optimisers, then clear their gradients."""


class Objective:
    """What one iteration does to the players.

    ``target_decoder``: whether the model keeps a copy of the decoder as it was when the epoch began. ``graphable``:
    whether iterations may be captured as CUDA graphs; then each must be the same sequence of operations, and no loss
    may depend on the iteration's number.
    """

    target_decoder = False
    graphable = True

    def step(
        self, game: Game, real: torch.Tensor, noise: Generators, mean_responsibilities: bool
    ) -> dict[str, torch.Tensor]:
        """Do one iteration on a real batch ``[..., B, *event]`` and return the terms of the history, ``[...]`` each.

        ``loss_encoder`` and ``loss_decoder`` must be among them; where ``mean_responsibilities`` is true, the mean
        responsibilities of the prior's modes too, ``[..., K]``.
        """
        raise NotImplementedError
