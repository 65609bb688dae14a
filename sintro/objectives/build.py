"""Build a model from settings, or from a stored state: networks and prior, without optimisers, batches or data."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch

from sintro import SintroError
from sintro.basics.randomness import Generators, generator
from sintro.cells import components
from sintro.cells.presets import KL_WEIGHTS
from sintro.cells.settings import Settings
from sintro.objectives import Objective
from sintro.objectives.model import Model
from sintro.objectives.networks import ImageNetwork, mlp_pair, residual_pair
from sintro.objectives.two_codes import two_code_pair
from sintro.priors import MixturePrior, Prior, both_codes

State = Mapping[str, Any]  # what model.pt and a checkpoint hold of one cell


def generators(settings: Sequence[Settings], stream: str, iteration: int, device: torch.device | str) -> Generators:
    """Return the generator of a stream at an iteration; for a fleet a list, one generator a cell."""
    made = [generator(one.seed, stream, iteration, device) for one in settings]
    return made if len(made) > 1 else made[0]


def model_of(settings: Sequence[Settings], objective: Objective, prior: Prior, device: torch.device | str) -> Model:
    """Build the model that one cell, or a fleet of cells of equal shape, begins its training with."""
    one, device = settings[0], torch.device(device)
    stackable = one.network != "residual"  # its batch norm needs each batch by itself
    layout = torch.contiguous_format
    if one.network == "mlp":
        pair = mlp_pair(one.latent_size, one.event[0], generators(settings, "initialisation", 0, device))
    else:
        pair = _image_pair(one)
        layout = torch.channels_last
    encoder, decoder = (network.to(device, memory_format=layout) for network in pair)
    encoder.precision = decoder.precision = one.precision
    target = deepcopy(decoder).requires_grad_(False) if objective.target_decoder else None
    return Model(encoder, decoder, prior, len(one.event), stackable, target, one.class_latent_size)


def _image_pair(one: Settings) -> tuple[ImageNetwork, ImageNetwork]:
    """Make an image encoder and decoder, on the processor: the same start on every device."""
    first = generator(one.seed, "initialisation")
    if one.class_latent_size is None:
        return residual_pair(one.event, one.channels, one.latent_size, first)
    return two_code_pair(one.event, one.class_latent_size, one.latent_size - one.class_latent_size, first)


def objective_of(settings: Settings) -> Objective:
    """Make the objective of the iterations after the warm-up. SintroError where an extension makes something else."""
    component = components.objective(settings.objective)
    made = component.make()
    if not isinstance(made, Objective):
        raise SintroError(
            f"{component.source}: objective {component.name!r}: make returned a {type(made).__name__}, which is no "
            "sintro.objectives.Objective"
        )
    return made


def first_prior(settings: Settings, pseudo_inputs: torch.Tensor | None, device: torch.device | str) -> Prior:
    """Make the prior that a training begins with.

    ``pseudo_inputs`` are the data that a VampPrior starts from, ``[..., K, *event]``; None for every other prior.
    Raises SintroError where an extension makes something that is no prior.
    """
    component = components.prior(settings.prior)
    whole, settings = settings, _of_class(settings)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their first weights from the global generator
        torch.manual_seed(generator(settings.seed, "prior").initial_seed())
        prior = component.make(settings, pseudo_inputs)
    if component.source is not None and (problem := _problem(prior, settings.latent_size, component)):
        raise SintroError(f"{component.source}: prior {component.name!r}: {problem}")
    return _over_both_codes(prior, whole).to(device)


def _of_class(settings: Settings) -> Settings:
    """Return the settings as the chosen prior sees them: with two codes, `latent_size` is the class code's."""
    size = settings.class_latent_size
    return settings if size is None else settings.model_copy(update={"latent_size": size})


def _over_both_codes(prior: Prior, settings: Settings) -> Prior:
    """Add N(0, I) over the content code to the prior over the class code; where there is one code, return the prior."""
    size = settings.class_latent_size
    if size is None:
        return prior
    return both_codes(prior, size, settings.latent_size - size, (settings.kl_weight_class, settings.kl_weight_content))


@torch.no_grad()
def _problem(prior: Any, latent_size: int, component: components.Prior) -> str:
    """Say in a line why a user's object cannot serve as a prior; "" where it can."""
    if not isinstance(prior, Prior):
        return f"make returned a {type(prior).__name__}, which is no sintro.priors.Prior"
    if component.clips and not component.converted and type(prior).clip_to_modes is Prior.clip_to_modes:
        return "it says clips, and has no clip_to_modes of its own"
    density = deepcopy(prior).as_density(None)  # a copy: running means and a first call's doings stay as they are
    if component.has_modes and not density.has_modes:
        return "it says has_modes, and as_density returns no mixture (sintro.priors.MixturePrior)"
    z = density.sample(3, torch.Generator().manual_seed(0))[0]
    if z.shape != (3, latent_size):
        return f"three draws have the shape {tuple(z.shape)}, and must have {(3, latent_size)}"
    log_prob = density.log_prob(z)
    if log_prob.shape != (3,):
        return f"log_prob of three points has the shape {tuple(log_prob.shape)}, and must have (3,)"
    for what, values in (("draws are", z), ("log_prob of draws is", log_prob)):
        if values.dtype != torch.float32:
            return f"{what} of {values.dtype}, and must be of torch.float32"
    return ""


def stored_model(settings: Settings, state: State, device: torch.device | str) -> Model:
    """Build the model whose state a training with these settings stored, for evaluation: nothing in it learns.

    Its KLs have the weight 1, whatever a study's losses gave them.
    """
    settings = settings.model_copy(update=dict.fromkeys(KL_WEIGHTS))
    model = model_of([settings], objective_of(settings), stored_prior([settings], [state], device), device)
    fill(model, [state])
    return model


def stored_prior(settings: Sequence[Settings], states: Sequence[State], device: torch.device | str) -> Prior:
    """Build the prior of stored states, with parameters of its own, in the form that it had when it was stored."""
    one, kind = settings[0], states[0]["prior_kind"]
    own = {
        name: together([state["parameters"]["prior"][name] for state in states]).to(device)
        for name in states[0]["parameters"]["prior"]
    }
    if kind == MixturePrior.__name__:
        prior = _over_both_codes(MixturePrior.free(**own, contributions=one.contributions), one)
    else:
        prior = first_prior(one, own.get("pseudo_inputs"), device)
    copy_into(prior.named_parameters(), own)
    if states[0]["bounds"]:
        prior.clip(*(together([state["bounds"][i] for state in states]).to(device) for i in (0, 1)))
    return prior


def fill(model: Model, states: Sequence[State]) -> None:
    """Copy the networks' stored parameters and buffers into a model of the same shape."""
    for player, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        stored = {
            name: together([state["parameters"][player][name] for state in states])
            for name, _ in network.named_parameters()
        }
        copy_into(dict(network.named_parameters()), stored)
    for player, buffers in buffers_of(model).items():
        if player not in states[0]["buffers"]:
            raise SintroError(f"the stored state lacks the buffers of the {player}; train the cell anew (--restart)")
        copy_into(buffers, {name: together([state["buffers"][player][name] for state in states]) for name in buffers})


def buffers_of(model: Model) -> dict[str, dict[str, torch.Tensor]]:
    """Return what training changes beside parameters: tensors by player and name.

    These are the running statistics of the batch norms, the buffers of a prior of one's own and a whole target decoder.
    """
    networks = {"encoder": model.encoder, "decoder": model.decoder}
    found = {player: dict(network.named_buffers()) for player, network in networks.items()}
    if own := model.prior.named_buffers():
        found["prior"] = own
    if model.target_decoder is not None:
        found["target_decoder"] = model.target_decoder.state_dict()
    return found


@torch.no_grad()
def copy_into(tensors: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    """Copy values into tensors, by name, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])


def together(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one cell's tensor as it is; stack the tensors of a fleet along a leading axis F."""
    return torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0]


def not_finite(state: State) -> str | None:
    """Name the first tensor of a trained model that is not finite; None where all are finite.

    ``state``: ``parameters`` and ``buffers`` by player and name, ``bounds`` of the prior, as in model.pt.
    """
    tensors = {f"bound {i} of the prior": bound for i, bound in enumerate(state["bounds"])}
    for kind in ("parameters", "buffers"):
        for player, found in state[kind].items():
            tensors |= {f"{player} {name}": tensor for name, tensor in found.items()}
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if not broken:
        return None
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    return f"weights are not finite at the end of training: {broken[0]}{more}"
