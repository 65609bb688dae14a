"""Mean gradients of both players and the prior against the released code's (tests/golden/README.md).

Every gradient here is one that `sintro train` would have stepped along: :class:`sintro.training.players.Players` runs
whole iterations with the golden batch, and the optimisers are replaced by ones that stand still and add up what they
get.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sintro.cells.cell import Cell
from sintro.cells.presets import resolve
from sintro.priors import MixturePrior
from sintro.training.players import Players

GOLDEN = Path(__file__).parent / "golden"
LAYERS = ("input", "hidden_1", "hidden_2", "hidden_3", "output")
DRAWS = 1000
ALLOWED = 3.0  # combined standard errors


class Still:
    """An optimiser that does not move: it counts the steps, and sums gradients and their squares."""

    def __init__(self, parameters):
        self.parameters, self.steps = parameters, 0
        self.param_groups = [{"lr": 0.0}]
        self.total = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in parameters.items()}
        self.square = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in parameters.items()}

    def step(self):
        self.steps += 1
        for name, parameter in self.parameters.items():
            gradient = parameter.grad.double()
            self.total[name] += gradient
            self.square[name] += gradient.square()

    def zero_grad(self, set_to_none):
        for parameter in self.parameters.values():
            parameter.grad = None

    def means(self):
        return {name: total / self.steps for name, total in self.total.items()}

    def errors(self):
        """The standard error of each mean."""
        variances = {
            name: (square / self.steps - self.means()[name].square()).clamp(min=0)
            for name, square in self.square.items()
        }
        return {name: (variance / (self.steps - 1)).sqrt() for name, variance in variances.items()}


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def made_players(cell, real, **changes):
    settings = resolve(Cell.from_path(f"results/golden/{cell}/seed0"))
    players = Players([settings.model_copy(update={"batch_size": len(real)} | changes)])
    players.data = SimpleNamespace(at=lambda iteration: real, steps=1)
    return players


def set_mixture(players, means, log_vars, logits):
    """Give the players a free mixture as their prior."""
    players.model.prior = MixturePrior.free(means, log_vars, logits, players.shared.contributions)


def collect(players, first, draws=DRAWS):
    """Mean gradients and their errors by player, over the noise of iterations that begin with ``first``."""
    players.enter(first)  # the end of a warm-up happens once; no iteration after it does anything but its steps
    everybody = players.parameters()
    players.optimisers = {player: Still(everybody[player]) for player in players.optimisers}
    for iteration in range(first + 1, first + 1 + draws):
        players.step(iteration)
    assert all(optimiser.steps == draws for optimiser in players.optimisers.values())
    untouched = set(everybody) - set(players.optimisers)
    assert all(p.grad is None for player in untouched for p in everybody[player].values())
    return players.optimisers


def check(label, means, errors, theirs, their_errors):
    """Whole player and each of its tensors: the difference's norm against the combined standard errors' norm."""
    squares, allowances = [], []
    for name, mean in means.items():
        difference = mean - theirs[name].double().reshape(mean.shape)
        allowance = errors[name].square() + their_errors[name].double().reshape(mean.shape).square()
        squares.append(difference.square().sum())
        allowances.append(allowance.sum())
        ratio = float((squares[-1] / allowances[-1]).sqrt()) if squares[-1] > 0 else 0.0
        assert ratio <= ALLOWED, f"{label} {name}: off by {ratio:.2f} combined standard errors"
    allowed = torch.stack(allowances).sum().sqrt()
    ratio = float(torch.stack(squares).sum().sqrt() / allowed)
    assert ratio <= ALLOWED, f"{label}: off by {ratio:.2f} combined standard errors"
    # the test has teeth: the gradient itself is far larger than what is allowed
    assert torch.stack([theirs[name].double().norm() for name in means]).norm() > 5 * allowed, label
    print(f"{label}: {ratio:.2f} combined standard errors")


# --- the plane


def plane(golden, cell, **changes):
    rec_kl_neg = {"beta_rec": 0.2, "beta_kl": 0.3, "beta_neg": 0.9}
    players = made_players(cell, golden["real"], samples=20, **rec_kl_neg, **changes)
    for role in ("encoder", "decoder"):
        network = getattr(players.model, role)
        for layer, weight, bias in zip(LAYERS, network.weights, network.biases, strict=True):
            weight.data = golden[f"w.{role}.main.{layer}.weight"].clone()
            bias.data = golden[f"w.{role}.main.{layer}.bias"].clone()
    return players


def check_plane(golden, found):
    prefixes = {"encoder": "encoder", "decoder": "decoder.main"}
    keys = {
        player: [f"{prefix}.{layer}.{kind}" for kind in ("weight", "bias") for layer in LAYERS]
        for player, prefix in prefixes.items()
    }
    keys["prior"] = ["prior.mu", "prior.logvar", "prior.w"]
    for player, optimiser in found.items():
        named = dict(zip(optimiser.parameters, keys[player], strict=True))
        theirs, their_errors = ({name: golden[f"{kind}.{key}"] for name, key in named.items()} for kind in ("g", "se"))
        check(player, optimiser.means(), optimiser.errors(), theirs, their_errors)


@pytest.mark.slow
def test_standard_normal_in_the_plane():
    golden = load("grads_sg")
    players = plane(golden, "8gaussians/soft-introvae/normal/none")
    found = collect(players, players.shared.warmup)
    assert set(found) == {"encoder", "decoder"}
    check_plane(golden, found)


@pytest.mark.slow
def test_the_closed_form_is_another_gradient():
    """What the sampled KL is for: inside the exponential the noise of 20 draws counts."""
    golden = load("grads_sg")
    players = plane(golden, "8gaussians/soft-introvae/normal/none", kl_of_normal=None)
    found = collect(players, players.shared.warmup, draws=800)
    with pytest.raises(AssertionError, match=r"encoder .*: off by"):
        check_plane(golden, found)


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["mog4-learned-lc", "mog4-fixed-lc"])
def test_mixtures_in_the_plane(prior):
    golden = load("grads_mog4_ip")
    learned = prior == "mog4-learned-lc"
    players = plane(golden, f"8gaussians/soft-introvae/{prior}/{'clip-' if learned else ''}resp1")
    means, log_vars = golden["w.encoder.prior.mu"], golden["w.encoder.prior.logvar"]
    set_mixture(players, means, log_vars, golden["w.encoder.prior.w"].flatten())
    if not learned:  # the same density as the learned one's, which clips its variances
        clipped = players.model.prior.clip(log_vars.amin(-2), log_vars.amax(-2)).log_vars
        set_mixture(players, means, clipped, golden["w.encoder.prior.w"].flatten())
    players.restart_optimisers()
    found = collect(players, players.shared.warmup)
    assert ("prior" in found) == learned
    check_plane(golden, found)


# --- images


def images(golden, cell, **changes):
    rec, kl, neg = (float(beta) for beta in golden["betas"])
    shapes = {"channels": (8, 16), "latent_size": 6, "samples": int(golden["samples"])}
    betas = {"beta_rec": rec, "beta_kl": kl, "beta_neg": neg}
    players = made_players(cell, golden["real"], **shapes, **betas, **changes)
    for role in ("encoder", "decoder"):
        for index, parameter in enumerate(getattr(players.model, role).parameters()):
            parameter.data = golden[f"w.{role}.{index}"].clone()
    return players


def check_images(golden, found):
    for player, optimiser in found.items():
        # the released order of a prior: mu, logvar, w; of a VampPrior w, then the pseudo-inputs
        names = list(optimiser.parameters)
        names = names[::-1] if "pseudo_inputs" in names else names
        sizes = [optimiser.parameters[name].numel() for name in names]
        theirs, their_errors = (
            dict(zip(names, golden[f"{kind}.{player}"].split(sizes), strict=True)) for kind in ("g", "se")
        )
        means = optimiser.means()
        check(player, {name: means[name] for name in names}, optimiser.errors(), theirs, their_errors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "prior", "regularizers"),
    [("image_pd_r10", "mog4-learned-lc", "clip-resp10"), ("image_pe_r0", "mog4-learned-lc-encoder", "clip")],
)
def test_learned_mixtures_on_images(file, prior, regularizers):
    golden = load(file)
    players = images(golden, f"digits/soft-introvae/{prior}/{regularizers}")
    assert players.shared.responsibility_weight == float(golden["r"])
    set_mixture(players, *(golden[f"w.prior.{name}"] for name in ("mu", "logvar")), golden["w.prior.w"].flatten())
    players.restart_optimisers()
    players.enter(players.shared.warmup)
    players.model.prior.clip(golden["clip.min"], golden["clip.max"])  # a prior that has moved since it got its bounds
    found = collect(players, players.shared.warmup + 1)
    assert set(found) == {"encoder", "decoder", "prior"}
    check_images(golden, found)


@pytest.mark.slow
def test_pseudo_inputs_of_images():
    golden = load("image_vamp0_r0")
    players = images(golden, "digits/soft-introvae/mog4-learned-lc/none", warmup=9_001, conversion=9_000)
    pseudo_inputs = golden["w.prior.means.linear.weight"].T.reshape(4, 1, 16, 16)
    players.model.prior.pseudo_inputs.data = pseudo_inputs.contiguous()
    players.model.prior.logits.data = golden["w.prior.w"].flatten()
    found = collect(players, 0)
    assert set(found) == {"encoder", "decoder", "prior"}
    check_images(golden, found)
    blocked = (pseudo_inputs <= 0) | (pseudo_inputs >= 1)
    assert blocked.float().mean() > 0.4
    assert torch.equal(found["prior"].total["pseudo_inputs"][blocked], torch.zeros(int(blocked.sum())).double())
    assert torch.equal(golden["g.prior"][4:].reshape(blocked.shape) == 0, blocked)
