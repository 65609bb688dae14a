"""Mean gradients of both players and the prior against the released code's (tests/golden/README.md)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sintro.model import Model
from sintro.networks import mlp_pair
from sintro.objectives import Betas, decoder_loss, encoder_loss
from sintro.priors import MixturePrior
from sintro.randomness import generator

GOLDEN = Path(__file__).parent / "golden"
LAYERS = ("input", "hidden_1", "hidden_2", "hidden_3", "output")
DRAWS, SAMPLES, BETAS = 500, 20, Betas(0.2, 0.3, 0.9)


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files}


def model_of(golden, prior):
    encoder, decoder = mlp_pair(2, 2, generator(0, "test"))
    for role, network in (("encoder", encoder), ("decoder", decoder)):
        for layer, weight, bias in zip(LAYERS, network.weights, network.biases, strict=True):
            weight.data = golden[f"w.{role}.main.{layer}.weight"].clone()
            bias.data = golden[f"w.{role}.main.{layer}.bias"].clone()
    return Model(encoder, decoder, prior)


def named_parameters(golden, model):
    """(key in the golden file, parameter) of everything whose mean gradient is stored."""
    for layer, weight, bias in zip(LAYERS, model.encoder.weights, model.encoder.biases, strict=True):
        yield f"encoder.{layer}.weight", weight
        yield f"encoder.{layer}.bias", bias
    for layer, weight, bias in zip(LAYERS, model.decoder.weights, model.decoder.biases, strict=True):
        yield f"decoder.main.{layer}.weight", weight
        yield f"decoder.main.{layer}.bias", bias
    if "g.prior.mu" in golden:
        yield from zip(("prior.mu", "prior.logvar", "prior.w"), model.prior.parameters(), strict=True)


def mean_gradients(golden, model, weight):
    named = dict(named_parameters(golden, model))
    total = {key: torch.zeros_like(p, dtype=torch.float64) for key, p in named.items()}
    square = {key: torch.zeros_like(p, dtype=torch.float64) for key, p in named.items()}
    for draw in range(DRAWS):
        noise = generator(1, "golden", draw)
        for parameter in named.values():
            parameter.grad = None
        step = encoder_loss(model, golden["real"], BETAS, noise, samples=SAMPLES, responsibility_weight=weight)
        step.loss.backward()
        assert all(p.grad is None for p in (*model.decoder.parameters(), *model.prior.parameters()))
        kept = {key: p.grad.clone() for key, p in named.items() if key.startswith("encoder")}
        for parameter in named.values():
            parameter.grad = None
        shared = {"posterior": step.posterior, "z": step.z, "prior_kl": step.prior_kl}
        decoder_loss(model, golden["real"], BETAS, noise, samples=SAMPLES, **shared).loss.backward()
        assert all(p.grad is None for p in model.encoder.parameters())
        kept |= {key: p.grad for key, p in named.items() if not key.startswith("encoder")}
        for key, gradient in kept.items():
            total[key] += gradient
            square[key] += gradient.double().square()
    means = {key: value / DRAWS for key, value in total.items()}
    errors = {key: ((square[key] / DRAWS - means[key].square()).clamp(min=0) / (DRAWS - 1)).sqrt() for key in means}
    return means, errors


def check(golden, model, weight):
    means, errors = mean_gradients(golden, model, weight)
    for key, mean in means.items():
        theirs, theirs_error = golden[f"g.{key}"].double(), golden[f"se.{key}"].double()
        difference = (mean - theirs.reshape(mean.shape)).norm()
        allowed = (errors[key].square() + theirs_error.reshape(mean.shape).square()).sum().sqrt()
        assert difference <= 5 * allowed, f"{key}: off by {difference / allowed:.1f} combined standard errors"
        # the test has teeth: the gradient itself is far larger than what is allowed
        assert theirs.norm() > 10 * allowed, key


@pytest.mark.slow
def test_standard_normal_mean_gradients_are_those_of_the_released_code():
    golden = load("grads_sg")
    zeros = torch.zeros(2, 2)  # N(0, I) twice: the released code samples its KL for every prior, and so do mixtures
    check(golden, model_of(golden, MixturePrior(zeros, zeros, torch.zeros(2))), 0.0)


@pytest.mark.slow
def test_learned_mixture_mean_gradients_are_those_of_the_released_code():
    golden = load("grads_mog4_ip")
    means, log_vars = golden["w.encoder.prior.mu"], golden["w.encoder.prior.logvar"]
    logits = golden["w.encoder.prior.w"].flatten()
    prior = MixturePrior(*(t.clone().requires_grad_() for t in (means, log_vars, logits)))
    prior.clip(log_vars.amin(-2), log_vars.amax(-2))
    check(golden, model_of(golden, prior), 1.0)
    assert math.isclose(float(prior.weights.detach().sum()), 1.0, rel_tol=1e-6)
