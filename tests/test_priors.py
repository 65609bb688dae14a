"""The priors: laws of densities, golden numbers, and the papers' variance clipping."""

import json
import math
from pathlib import Path

import pytest
import torch
from scipy import stats

from sintro.basics.randomness import generator
from sintro.objectives.model import Posterior
from sintro.priors import MixturePrior, StandardNormal, VampPrior, clip_log_vars

GOLDEN = json.loads((Path(__file__).parent / "golden" / "golden.json").read_text())


def made_prior(k=5, dtype=torch.float64, seed=3):
    source = torch.Generator().manual_seed(seed)
    means = torch.randn(k, 2, generator=source, dtype=dtype)
    log_vars = torch.randn(k, 2, generator=source, dtype=dtype) * 0.5 - 1
    return MixturePrior(means, log_vars, torch.randn(k, generator=source, dtype=dtype))


@pytest.mark.parametrize("prior", [StandardNormal(2), made_prior(), made_prior(1)])
def test_a_density_integrates_to_one(prior):
    axis = torch.linspace(-9, 9, 601, dtype=torch.float64)
    density = prior.log_prob(torch.cartesian_prod(axis, axis)).exp().reshape(601, 601)
    mass = torch.trapezoid(torch.trapezoid(density, axis), axis)
    assert float(mass) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_samples_follow_the_density(axis):
    prior = made_prior()
    z, index = prior.sample(20_000, generator(0, "test"))
    scales = torch.exp(0.5 * prior.log_vars)

    def marginal(x):
        parts = stats.norm.cdf(x[:, None], prior.means[:, axis].numpy(), scales[:, axis].numpy())
        return parts @ prior.weights.numpy()

    assert stats.kstest(z[:, axis].numpy(), marginal).pvalue > 1e-3
    shares = torch.bincount(index, minlength=5) / len(index)
    torch.testing.assert_close(shares.double(), prior.weights, atol=0.015, rtol=0)
    shifted = MixturePrior(prior.means + 0.1, prior.log_vars, prior.logits).sample(20_000, generator(0, "test"))[0]
    assert stats.kstest(shifted[:, axis].numpy(), marginal).pvalue < 1e-3  # the test has teeth


def test_samples_carry_gradients_to_means_and_variances_but_not_to_the_weights():
    prior = made_prior()
    tensors = [t.requires_grad_() for t in prior.parameters()]
    z, index = prior.sample(1000, generator(0, "test"))
    z.sum().backward()
    torch.testing.assert_close(tensors[0].grad[:, 0], torch.bincount(index, minlength=5).double())
    assert tensors[1].grad.abs().sum() > 0
    assert tensors[2].grad is None


def test_responsibilities_sum_to_one_and_agree_with_the_golden_ones():
    golden, mixture = GOLDEN["responsibilities"], GOLDEN["mixture_kl"]
    means, log_vars = torch.tensor(mixture["prior_mean"]), torch.tensor(mixture["prior_logvar"])
    prior = MixturePrior(means, log_vars, torch.tensor(mixture["prior_weights"]).log())
    z = torch.tensor(mixture["z"])
    found = prior.responsibilities(z)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(z)))
    torch.testing.assert_close(found.mean(0), torch.tensor(golden["mean"]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prior.log_prob_and_mean_responsibilities(z)[1], found.mean(0))


def test_clipping_agrees_with_the_golden_numbers():
    golden = GOLDEN["variance_clip"]
    clipped = clip_log_vars(*(torch.tensor(golden[name]) for name in ("logvar", "low", "high")))
    torch.testing.assert_close(clipped, torch.tensor(golden["clipped"]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [0.0, 1e-12, 1e-8, 1e-4, 0.01, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clipping_is_monotone_bounded_and_has_a_finite_gradient(width, dtype):
    low = torch.tensor(-1.0, dtype=dtype)
    high = low + width
    s = torch.linspace(-30, 30, 4001, dtype=dtype).requires_grad_()
    clipped = clip_log_vars(s, low, high)
    gradient = torch.autograd.grad(clipped.sum(), s)[0]
    assert torch.isfinite(clipped).all()
    assert torch.isfinite(gradient).all()
    assert (gradient >= -1e-6).all()
    rounding = 30 * 4 * torch.finfo(dtype).eps  # a few units in the last place of s
    assert (clipped.diff() >= -rounding).all()
    assert (clipped >= low - rounding).all()
    assert (clipped <= high + rounding).all()


def test_clipping_is_the_identity_well_inside():
    s = torch.linspace(-2, 2, 101, dtype=torch.float64)
    clipped = clip_log_vars(s, torch.tensor(-10.0), torch.tensor(10.0))
    # b = 1/2: the softplus tails at distance 8 are log(1 + exp(-4)) / b on either side
    assert (clipped - s).abs().max() < 2 * math.log1p(math.exp(-4)) + 1e-6
    exact = s - torch.nn.functional.softplus(0.5 * (s - 10)) * 2 + torch.nn.functional.softplus(0.5 * (-10 - s)) * 2
    torch.testing.assert_close(clipped, exact, atol=1e-7, rtol=0)


def test_clip_changes_what_the_density_sees():
    prior = made_prior()
    low, high = torch.tensor([-1.0, -1.0]), torch.tensor([0.0, 0.0])
    z = torch.randn(10, 2, dtype=torch.float64)
    before = prior.log_prob(z)
    prior.clip(low, high)
    assert (prior.log_vars >= -1).all()
    assert (prior.log_vars <= 0).all()
    assert not torch.allclose(prior.log_prob(z), before)
    plain = MixturePrior(prior.means, clip_log_vars(prior.raw_log_vars, low, high), prior.logits)
    torch.testing.assert_close(prior.log_prob(z), plain.log_prob(z))
    torch.testing.assert_close(prior.detach().log_prob(z), plain.log_prob(z))


def test_vamp_prior_is_the_mixture_of_posteriors_at_its_pseudo_inputs():
    inputs = torch.tensor([[-2.0, 0.5], [0.3, 3.0]], requires_grad=True)
    vamp = VampPrior(inputs, torch.zeros(2), limits=(0.0, 1.0))

    def encode(x):
        return Posterior(2 * x, x - 1)

    mixture = vamp.as_density(encode)
    clamped = torch.tensor([[0.0, 0.5], [0.3, 1.0]])
    torch.testing.assert_close(mixture.means, 2 * clamped)
    torch.testing.assert_close(mixture.log_vars, clamped - 1)
    mixture.means.sum().backward()
    torch.testing.assert_close(inputs.grad, torch.tensor([[0.0, 2.0], [2.0, 0.0]]))


def test_a_pixel_at_a_limit_gets_no_gradient():
    """The released hard tanh; a clamp would let it through there, and half of an image's pixels are 0."""
    inputs = torch.tensor([[0.0, 1.0], [1e-7, 1 - 1e-7]], requires_grad=True)
    VampPrior(inputs, torch.zeros(2), (0.0, 1.0)).as_density(lambda x: Posterior(x, x)).means.sum().backward()
    assert torch.equal(inputs.grad, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))


def test_a_fleet_samples_and_scores_like_its_cells():
    priors = [made_prior(seed=seed) for seed in (1, 2)]
    fleet = MixturePrior(*(torch.stack(t) for t in zip(*(p.parameters() for p in priors), strict=True)))
    z, index = fleet.sample(50, [generator(seed, "test") for seed in (1, 2)])
    for cell, prior in enumerate(priors):
        own, own_index = prior.sample(50, generator(cell + 1, "test"))
        torch.testing.assert_close(z[cell], own)
        assert torch.equal(index[cell], own_index)
        torch.testing.assert_close(fleet.log_prob(z)[cell], prior.log_prob(own))
        torch.testing.assert_close(fleet.responsibilities(z)[cell], prior.responsibilities(own))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"means \(3, 2\) .* logits \(4,\)"):
        MixturePrior(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(4))
