"""The players of the game and their optimisers, through the prior's life (docs/science.md, sections 2 to 4)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from sintro import SintroError
from sintro.basics.optimisers import Adam
from sintro.basics.randomness import Generators
from sintro.cells import components
from sintro.cells.components import Betas
from sintro.cells.fleets import check_equal_shape
from sintro.cells.settings import Settings
from sintro.data import sources
from sintro.objectives import Vae
from sintro.objectives.build import (
    buffers_of,
    copy_into,
    fill,
    first_prior,
    generators,
    model_of,
    objective_of,
    stored_prior,
    together,
)
from sintro.objectives.perceptual import PerceptualError, load
from sintro.priors import Prior
from sintro.training.batches import batches_of
from sintro.training.embeddings import cosine_rate, embeddings_of
from sintro.training.graphs import Graphs

LOSSES = {"loss_encoder", "loss_decoder"}  # the terms that show divergence


class Players:
    """One cell, or a fleet of F of equal shape, in training: networks, prior, optimisers.

    The cells of a fleet may differ in seed, density, betas and responsibility weight. With one cell no tensor has a
    fleet axis. With F cells all parameters and losses have a leading one, and each cell draws the same numbers from its
    own generators as it would alone. ``graph``: iterations become CUDA graphs (:mod:`sintro.training.graphs`).
    """

    def __init__(self, settings: Sequence[Settings], device: str | torch.device = "cpu", graph: bool = False):
        self.settings, self.device = list(settings), torch.device(device)
        self.shared = self.settings[0]
        check_equal_shape(self.settings)
        self.graphs = Graphs(self.device) if graph else None
        self.data = batches_of(self.settings, self.device)
        self.objective = objective_of(self.shared)
        self.warmup = Vae() if components.objective(self.shared.objective).introspective else self.objective
        self.iteration = 0
        from_data = components.prior(self.shared.prior).from_data
        pseudo_inputs = self.data.pseudo_inputs(self.shared.components) if from_data else None
        prior = first_prior(self.shared, pseudo_inputs, self.device)
        if self.fleet:
            _refuse_shared_parameters(self.shared.prior, prior, len(self.settings))
        self.model = model_of(self.settings, self.objective, prior, self.device)
        self.model.perceptual_error = _perceptual_error(self.shared, self.device)
        self.betas = Betas(*(self._per_cell(name) for name in ("beta_rec", "beta_kl", "beta_neg")))
        self.margin = self._per_cell("margin")
        regularised = any(one.responsibility_weight for one in self.settings)
        self.responsibility_weight = self._per_cell("responsibility_weight") if regularised else 0.0
        self.embeddings = embeddings_of(self.shared, self.data)
        self.restart_optimisers()

    @property
    def fleet(self) -> bool:
        return len(self.settings) > 1

    @property
    def sampled(self) -> bool:
        """Whether the KL to a single Gaussian is sampled."""
        return self.shared.kl_of_normal == "sampled"

    def generators(self, stream: str, iteration: int = 0) -> Generators:
        """Return the generator of a stream at an iteration, or one per cell of a fleet."""
        return generators(self.settings, stream, iteration, self.device)

    def _per_cell(self, name: str) -> float | torch.Tensor | None:
        values = [getattr(one, name) for one in self.settings]
        if not self.fleet or values[0] is None:
            return values[0]
        return torch.tensor(values, device=self.device)

    # --- parameters and optimisers

    def parameters(self) -> dict[str, dict[str, nn.Parameter]]:
        """Return every player's parameters by name, the prior's fixed ones included."""
        found = {
            "encoder": dict(self.model.encoder.named_parameters()),
            "decoder": dict(self.model.decoder.named_parameters()),
            "prior": self.model.prior.named_parameters(),
        }
        if self.embeddings is not None:
            found["embeddings"] = dict(self.embeddings.named_parameters())
        return found

    def restart_optimisers(self) -> None:
        """Give every player that learns a new Adam; the learning rate's schedule depends on the iteration alone."""
        one = self.shared
        self.optimisers = {}
        if self.graphs:  # a graph knows the captured optimisers only
            self.graphs.clear()
        for player, parameters in self.parameters().items():
            learning = [p for p in parameters.values() if p.requires_grad]
            if learning:
                # A graph reads the rate from a tensor, each player's from its own: rates may differ.
                rate = torch.tensor(one.learning_rate, device=self.device) if self.graphs else one.learning_rate
                self.optimisers[player] = Adam(
                    learning,
                    lr=rate,
                    betas=(one.adam_beta1, one.adam_beta2),
                    fused=True,
                    capturable=self.graphs is not None,
                )

    def learning_rate(self, iteration: int, player: str = "decoder") -> float:
        """Return the learning rate of an iteration: one factor per milestone passed, whenever optimisers restarted."""
        if self.embeddings is not None:
            return cosine_rate(self.shared, iteration, player)
        passed = sum(iteration >= milestone for milestone in self.shared.milestones)
        return self.shared.learning_rate * self.shared.learning_rate_factor**passed

    # --- the prior's life

    def enter(self, iteration: int) -> None:
        """Do what is due before an iteration: renew the target decoder, convert the VampPrior, end the warm-up.

        The losses after the warm-up carry the factor s. The warm-up's second moments of Adam are 1 / s^2 too large for
        them and keep the steps small until they decay, so Adam may restart here (docs/science.md, section 4).
        """
        if self.model.target_decoder is not None and iteration % self.data.steps == 0:
            self.model.target_decoder.load_state_dict(self.model.decoder.state_dict())
        if iteration == self.shared.conversion:
            self.model.prior = self.model.prior.converted(self.model.encode, self.shared.logits_at_conversion)
            self.restart_optimisers()
        if iteration == self.shared.warmup:
            self._end_warmup()
            self._freeze_embeddings()
        if iteration == self.shared.warmup and self.shared.adam_at_introspection == "restarted":
            self.restart_optimisers()

    def _end_warmup(self) -> None:
        """Freeze the prior, or begin its variance clipping, as the settings say; nothing for one without parameters."""
        if not self.model.prior.parameters():
            return
        if self.graphs:
            self.graphs.clear()
        if not self.shared.learned:
            self.model.prior.freeze()
            self.optimisers.pop("prior", None)
        elif self.shared.clip:
            self.model.prior.clip_to_modes()

    def _freeze_embeddings(self) -> None:
        """Let the codes of LORD stay as they are, for the encoders to learn; nothing for other objectives."""
        if self.embeddings is not None:
            self.embeddings.requires_grad_(False)
            self.optimisers.pop("embeddings", None)

    # --- one iteration

    def step(self, iteration: int, mean_responsibilities: bool = False) -> dict[str, torch.Tensor]:
        """Do an iteration, of the warm-up or of the objective; return the terms of the history, ``[]`` or ``[F]`` each.

        With ``mean_responsibilities`` the terms hold the prior's mean responsibilities too, ``[..., K]``. Raises
        SintroError where an extension's objective returns no losses, or terms that are no tensors.
        """
        self.iteration = iteration
        self.enter(iteration)
        self._set_learning_rates(iteration)
        real = self.data.at(iteration)
        noise = self.generators("noise", iteration)
        introspective = iteration >= self.shared.warmup
        objective = self.objective if introspective else self.warmup
        if self.graphs and objective.graphable:
            step = partial(objective.step, self)
            terms = self.graphs.run(f"{introspective=}", step, real, noise, mean_responsibilities)
        else:
            terms = objective.step(self, real, noise, mean_responsibilities)
        if not isinstance(terms, dict) or not terms.keys() >= LOSSES:
            raise SintroError(
                f"objective {self.shared.objective!r}: an iteration must return the terms of the history, "
                f"{' and '.join(sorted(LOSSES))} among them"
            )
        shape = torch.Size([len(self.settings)] if self.fleet else [])
        for name, term in terms.items():
            is_one_number = isinstance(term, torch.Tensor) and term.shape == shape
            if not (is_one_number or name == "mean_responsibilities"):
                is_tensor = isinstance(term, torch.Tensor)
                given = f"tensor of the shape {tuple(term.shape)}" if is_tensor else type(term).__name__
                raise SintroError(
                    f"objective {self.shared.objective!r}: the term {name!r} is a {given}; legal is a tensor of one "
                    "number for each cell"
                )
        return terms

    def _set_learning_rates(self, iteration: int) -> None:
        for player, optimiser in self.optimisers.items():
            rate, group = self.learning_rate(iteration, player), optimiser.param_groups[0]
            group["lr"] = group["lr"].fill_(rate) if self.graphs else rate

    def descend(self, loss: torch.Tensor, *players: str) -> None:
        """Step these players' optimisers along the gradients of a loss [...]."""
        loss.sum().backward()
        self.advance(*players)

    def advance(self, *players: str) -> None:
        """Step these players' optimisers, then clear their gradients."""
        for player in players:
            self.optimisers[player].step()
            self.optimisers[player].zero_grad(set_to_none=True)

    # --- state, per cell

    def state(self, cell: int = 0) -> dict[str, Any]:
        """Return all that training changes of one cell: its parameters, buffers, bounds and Adam's moments."""

        def own(tensor: torch.Tensor) -> torch.Tensor:
            return (tensor[cell] if self.fleet else tensor).detach().cpu().clone()

        prior = self.model.prior
        state: dict[str, Any] = {"prior_kind": prior.stored_kind, "parameters": {}, "adam": {}}
        for player, parameters in self.parameters().items():
            state["parameters"][player] = {name: own(p) for name, p in parameters.items()}
            moments = self.optimisers[player].state if player in self.optimisers else {}
            state["adam"][player] = {
                name: {
                    "step": moments[p]["step"].cpu().clone(),
                    "exp_avg": own(moments[p]["exp_avg"]),
                    "exp_avg_sq": own(moments[p]["exp_avg_sq"]),
                }
                for name, p in parameters.items()
                if p in moments
            }
        buffers = buffers_of(self.model)
        state["buffers"] = {player: {name: own(b) for name, b in found.items()} for player, found in buffers.items()}
        state["bounds"] = [own(bound) for bound in prior.bounds or ()]
        return state

    def load(self, states: Sequence[dict[str, Any]], iteration: int) -> None:
        """Go on from the states of all cells after ``iteration`` finished iterations."""
        self.model.prior = stored_prior(self.settings, states, self.device)
        fill(self.model, states)
        if iteration > self.shared.warmup and not self.shared.learned:
            self.model.prior.freeze()
        if self.embeddings is not None:
            copy_into(self.parameters()["embeddings"], states[0]["parameters"]["embeddings"])
        if iteration > self.shared.warmup:
            self._freeze_embeddings()
        self.restart_optimisers()
        for player, parameters in self.parameters().items():
            for name in states[0]["adam"][player] if player in self.optimisers else ():
                stored, parameter = [state["adam"][player][name] for state in states], parameters[name]
                # The fused Adam takes the moments in the parameter's own layout for granted, and checks no strides.
                moments = {
                    moment: torch.empty_like(parameter).copy_(together([one[moment] for one in stored]))
                    for moment in ("exp_avg", "exp_avg_sq")
                }
                self.optimisers[player].state[parameter] = {"step": stored[0]["step"].clone().to(self.device)} | moments


def _refuse_shared_parameters(name: str, prior: Prior, cells: int) -> None:
    """Raise SintroError where the cells of a fleet would share a tensor of their prior."""
    component = components.prior(name)
    for parameter, values in (prior.named_parameters() | prior.named_buffers()).items():
        if not component.from_data or values.shape[:1] != (cells,):  # only pseudo-inputs bring the fleet's axis along
            raise SintroError(
                f"{component.source or 'the suite'}: prior {name!r}: {cells} cells side by side would share its "
                f"tensor {parameter!r}; legal is stackable = False"
            )


def _perceptual_error(settings: Settings, device: torch.device) -> PerceptualError | None:
    """Load what compares reconstructions in the losses; None for the squared error.

    Raises SintroError where VGG-16's weights are missing or not right.
    """
    if settings.reconstruction is None:
        return None
    weights = sources.require_weights(sources.VGG16, sources.data_root())
    return load(weights.path, settings.reconstruction == "vgg16-raw").to(device)
