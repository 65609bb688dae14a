"""The players of the game and their optimisers, through the prior's life (docs/science.md, sections 2 to 4)."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from sintro import introvae
from sintro.batches import batches_of
from sintro.cells import BOOTSTRAP, Betas
from sintro.fleets import check_equal_shape
from sintro.graphs import Graphs
from sintro.model import Model
from sintro.networks import mlp_pair, residual_pair
from sintro.objectives import decoder_loss, encoder_loss, vae_loss
from sintro.presets import Settings
from sintro.priors import MixturePrior, StandardNormal, VampPrior
from sintro.randomness import Generators, generator


class Players:
    """One cell, or a fleet of F of equal shape, in training: networks, prior, optimisers.

    The cells of a fleet may differ in seed, density, betas and responsibility weight. With one cell no tensor has a
    fleet axis; with F cells all parameters and losses have a leading one, and each cell draws from its own generators
    what it would draw alone. ``graph``: iterations become CUDA graphs (:mod:`sintro.graphs`).
    """

    def __init__(self, settings: Sequence[Settings], device: str | torch.device = "cpu", graph: bool = False):
        self.settings, self.device = list(settings), torch.device(device)
        self.shared = self.settings[0]
        check_equal_shape(self.settings)
        self.graphs = Graphs(self.device) if graph else None
        self.data = batches_of(self.settings, self.device)
        self.model = self._first_model()
        self.betas = Betas(*(self._per_cell(name) for name in ("beta_rec", "beta_kl", "beta_neg")))
        self.margin = self._per_cell("margin")
        regularised = any(one.responsibility_weight for one in self.settings)
        self.responsibility_weight = self._per_cell("responsibility_weight") if regularised else 0.0
        self.restart_optimisers()

    @property
    def fleet(self) -> bool:
        return len(self.settings) > 1

    @property
    def sampled(self) -> bool:
        """Whether the KL to a single Gaussian is sampled."""
        return self.shared.kl_of_normal == "sampled"

    def generators(self, stream: str, iteration: int = 0) -> Generators:
        """The generator of a stream at an iteration, or one per cell of a fleet."""
        made = [generator(one.seed, stream, iteration, self.device) for one in self.settings]
        return made if self.fleet else made[0]

    def _per_cell(self, name: str) -> float | torch.Tensor | None:
        values = [getattr(one, name) for one in self.settings]
        if not self.fleet or values[0] is None:
            return values[0]
        return torch.tensor(values, device=self.device)

    def _first_model(self) -> Model:
        one = self.shared
        if one.network == "mlp":
            pair = mlp_pair(one.latent_size, one.event[0], self.generators("initialisation"))
            layout = torch.contiguous_format
        else:
            first = generator(one.seed, "initialisation")  # on the processor: the same start on every device
            pair = residual_pair(one.event, one.channels, one.latent_size, first)
            layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        encoder, decoder = (network.to(self.device, memory_format=layout) for network in pair)
        encoder.precision = decoder.precision = one.precision
        stackable = one.network == "mlp"  # batch norm: the statistics of a batch are its own
        target = deepcopy(decoder).requires_grad_(False) if one.objective == BOOTSTRAP else None
        return Model(encoder, decoder, self._first_prior(), len(one.event), stackable, target)

    def _first_prior(self):
        if self.shared.prior == "normal":
            return StandardNormal(self.shared.latent_size)
        pseudo_inputs = self.data.pseudo_inputs(self.shared.components)
        logits = torch.zeros(pseudo_inputs.shape[: -len(self.shared.event)], device=self.device)
        limits = None if self.shared.network == "mlp" else (0.0, 1.0)
        return VampPrior(nn.Parameter(pseudo_inputs), nn.Parameter(logits, self.shared.contributions), limits)

    # --- parameters and optimisers

    def parameters(self) -> dict[str, dict[str, nn.Parameter]]:
        """Every player's parameters by name; the prior's include those that do not learn."""
        prior = self.model.prior
        if isinstance(prior, VampPrior):
            own = {"pseudo_inputs": prior.pseudo_inputs, "logits": prior.logits}
        elif isinstance(prior, MixturePrior):
            own = {"means": prior.means, "log_vars": prior.raw_log_vars, "logits": prior.logits}
        else:
            own = {}
        return {
            "encoder": dict(self.model.encoder.named_parameters()),
            "decoder": dict(self.model.decoder.named_parameters()),
            "prior": own,
        }

    def _buffers(self):
        """The running statistics of the players' batch norms, by player and name, and all of a target decoder."""
        for player, network in (("encoder", self.model.encoder), ("decoder", self.model.decoder)):
            yield player, dict(network.named_buffers())
        if self.model.target_decoder is not None:
            yield "target_decoder", self.model.target_decoder.state_dict()

    def restart_optimisers(self) -> None:
        """Adam from nothing for every player that learns; schedules depend on the iteration alone."""
        one = self.shared
        self.optimisers = {}
        rate = one.learning_rate
        if self.graphs:  # a graph holds what it captured: new optimisers are a new one, a new rate is a new content
            self.graphs.clear()
            rate = torch.tensor(rate, device=self.device)
        for player, parameters in self.parameters().items():
            learning = [p for p in parameters.values() if p.requires_grad]
            if learning:
                self.optimisers[player] = torch.optim.Adam(
                    learning,
                    lr=rate,
                    betas=(one.adam_beta1, one.adam_beta2),
                    fused=True,
                    capturable=self.graphs is not None,
                )

    def learning_rate(self, iteration: int) -> float:
        """The learning rate of an iteration: one factor per milestone passed, wherever optimisers restarted."""
        passed = sum(iteration >= milestone for milestone in self.shared.milestones)
        return self.shared.learning_rate * self.shared.learning_rate_factor**passed

    # --- the prior's life

    def enter(self, iteration: int) -> None:
        """What happens before an iteration: a new target decoder, conversion of the VampPrior, the warm-up's end.

        The losses after the warm-up carry the factor s. Adam's second moments of before it are 1 / s^2 too large for
        them, and hold the steps down until they have decayed: so it may begin anew here (docs/science.md, section 4).
        """
        if self.model.target_decoder is not None and iteration % self.data.steps == 0:
            self.model.target_decoder.load_state_dict(self.model.decoder.state_dict())
        if iteration == self.shared.conversion:
            self._convert()
        if iteration == self.shared.warmup and isinstance(self.model.prior, MixturePrior):
            self._end_warmup(self.model.prior)
        if iteration == self.shared.warmup and self.shared.adam_at_introspection == "restarted":
            self.restart_optimisers()

    @torch.no_grad()
    def _convert(self) -> None:
        """VampPrior to free mixture at the encoder's present posteriors; every optimiser restarts."""
        mixture = self.model.mixture()
        logits = torch.zeros_like(mixture.logits)
        if self.shared.logits_at_conversion == "weights":  # published quirk (audit A6): the softmax flattens them
            logits = mixture.weights
        elif self.shared.logits_at_conversion == "log-weights":
            logits = torch.log_softmax(mixture.logits, -1)
        self.set_mixture(mixture.means, mixture.log_vars, logits)
        self.restart_optimisers()

    def set_mixture(self, means: torch.Tensor, log_vars: torch.Tensor, logits: torch.Tensor) -> None:
        """A free mixture of Gaussians as the prior, with parameters of its own."""
        parameters = [nn.Parameter(t.detach().clone().contiguous()) for t in (means, log_vars, logits)]
        parameters[2].requires_grad_(self.shared.contributions)
        self.model.prior = MixturePrior(*parameters)

    def _end_warmup(self, prior: MixturePrior) -> None:
        if self.graphs:
            self.graphs.clear()
        if not self.shared.learned:
            for parameter in prior.parameters():
                parameter.requires_grad_(False)
            self.optimisers.pop("prior", None)
        elif self.shared.clip:
            log_vars = prior.raw_log_vars.detach()
            prior.clip(log_vars.amin(-2), log_vars.amax(-2))

    # --- one iteration

    def step(self, iteration: int, mean_responsibilities: bool = False) -> dict[str, torch.Tensor]:
        """One iteration of whatever phase it falls in; the terms of the history, ``[]`` or ``[F]`` each.

        ``mean_responsibilities`` asks for those of the prior's modes too, ``[..., K]``.
        """
        self.enter(iteration)
        self._set_learning_rate(self.learning_rate(iteration))
        real = self.data.at(iteration)
        noise = self.generators("noise", iteration)
        step = self._vae_step
        if iteration >= self.shared.warmup:
            step = self._introvae_step if self.shared.objective == "introvae" else self._introspective_step
        if self.graphs:
            return self.graphs.run(step, real, noise, mean_responsibilities)
        return step(real, noise, mean_responsibilities)

    def _set_learning_rate(self, rate: float) -> None:
        for optimiser in self.optimisers.values():
            group = optimiser.param_groups[0]
            group["lr"] = group["lr"].fill_(rate) if self.graphs else rate

    def _vae_step(self, real, noise, mean_responsibilities: bool) -> dict[str, torch.Tensor]:
        step = vae_loss(self.model, real, self.betas, noise, samples=self.shared.samples, sampled=self.sampled)
        self._descend(step.loss, *self.optimisers)
        return step.terms

    def _introvae_step(self, real, noise, mean_responsibilities: bool) -> dict[str, torch.Tensor]:
        """The encoder's step leaves w_rec rec's gradient with the decoder, whose own term is added to it."""
        first = introvae.encoder_loss(self.model, real, self.betas, self.margin, noise)
        first.loss.sum().backward(retain_graph=True)
        self._advance("encoder")
        loss, terms = introvae.decoder_loss(self.model, first, self.betas)
        # Only towards the decoder: through z the graph goes on into the encoder as it was before its step.
        loss.sum().backward(inputs=list(self.model.decoder.parameters()))
        self._advance("decoder")
        return first.terms | terms

    def _introspective_step(self, real, noise, mean_responsibilities: bool) -> dict[str, torch.Tensor]:
        one = self.shared
        common = {"samples": one.samples, "sampled": self.sampled, "scale": one.scale, "cooperation": one.cooperation}
        first = encoder_loss(
            self.model,
            real,
            self.betas,
            noise,
            alpha=one.alpha,
            responsibility_weight=self.responsibility_weight,
            mean_responsibilities=mean_responsibilities,
            **common,
        )
        third = ["prior"] if "prior" in self.optimisers else []
        self._descend(first.loss, "encoder", *(third if one.cooperation == "encoder" else []))
        second = decoder_loss(
            self.model,
            real,
            self.betas,
            noise,
            posterior=first.posterior,
            z=first.z,
            prior_kl=first.prior_kl,
            z_fake=first.z_fake if one.fakes == "reused" else None,
            gamma=one.gamma,
            gamma_r=one.gamma_r,
            **common,
        )
        self._descend(second.loss, "decoder", *(third if one.cooperation == "decoder" else []))
        return first.terms | second.terms

    def _descend(self, loss: torch.Tensor, *players: str) -> None:
        loss.sum().backward()
        self._advance(*players)

    def _advance(self, *players: str) -> None:
        """One step along the gradients that are there, which are then gone."""
        for player in players:
            self.optimisers[player].step()
            self.optimisers[player].zero_grad(set_to_none=True)

    # --- state, per cell

    def state(self, cell: int = 0) -> dict[str, Any]:
        """Everything that training changes, of one cell: what a checkpoint holds."""

        def own(tensor: torch.Tensor) -> torch.Tensor:
            return (tensor[cell] if self.fleet else tensor).detach().cpu().clone()

        prior = self.model.prior
        state: dict[str, Any] = {"prior_kind": type(prior).__name__, "parameters": {}, "adam": {}}
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
        state["buffers"] = {player: {name: own(b) for name, b in found.items()} for player, found in self._buffers()}
        bounds = getattr(prior, "bounds", None)
        state["bounds"] = [] if bounds is None else [own(bound) for bound in bounds]
        return state

    def load(self, states: Sequence[dict[str, Any]], iteration: int) -> None:
        """Takes up the states of all cells as they were when ``iteration`` iterations were finished."""

        def together(pick) -> torch.Tensor:
            tensors = [pick(state) for state in states]
            return (torch.stack(tensors) if self.fleet else tensors[0]).to(self.device)

        if states[0]["prior_kind"] == "MixturePrior":
            own = states[0]["parameters"]["prior"]
            self.set_mixture(*(together(lambda s, n=n: s["parameters"]["prior"][n]) for n in own))
        learning = iteration <= self.shared.warmup or self.shared.learned
        for parameter in self.model.prior.parameters():
            parameter.requires_grad_(parameter.requires_grad and learning)
        if states[0]["bounds"]:
            self.model.prior.clip(*(together(lambda s, i=i: s["bounds"][i]) for i in (0, 1)))
        self.restart_optimisers()
        for player, buffers in self._buffers():
            for name, buffer in buffers.items():
                buffer.copy_(together(lambda s, p=player, n=name: s["buffers"][p][n]))
        for player, parameters in self.parameters().items():
            for name, parameter in parameters.items():
                with torch.no_grad():
                    parameter.copy_(together(lambda s, p=player, n=name: s["parameters"][p][n]))
                if name in states[0]["adam"][player]:
                    self.optimisers[player].state[parameter] = {
                        "step": states[0]["adam"][player][name]["step"].clone().to(self.device),
                        **{
                            moment: together(lambda s, p=player, n=name, m=moment: s["adam"][p][n][m])
                            for moment in ("exp_avg", "exp_avg_sq")
                        },
                    }
