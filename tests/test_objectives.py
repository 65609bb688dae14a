"""KL divergences, the regulariser and the losses: closed forms, golden numbers, who receives gradients."""

import copy
import json
import math
import weakref
from pathlib import Path

import pytest
import torch
from torch import distributions

from sintro.basics.randomness import generator
from sintro.cells.components import Betas
from sintro.objectives import (
    decoder_loss,
    divergence,
    encoder_loss,
    kl,
    responsibility_regularizer,
    soft_introvae,
    vae_loss,
)
from sintro.objectives.gradients import differentiate_now, leaf_of
from sintro.objectives.model import Model
from sintro.objectives.networks import MLP, mlp_pair
from sintro.priors import MixturePrior, StandardNormal, frozen

GOLDEN = json.loads((Path(__file__).parent / "golden" / "golden.json").read_text())
BETAS = Betas(0.2, 0.3, 0.9)


def learned_prior(k=4):
    source = torch.Generator().manual_seed(5)
    tensors = [torch.randn(*shape, generator=source) for shape in ((k, 2), (k, 2), (k,))]
    return MixturePrior(*(t.requires_grad_() for t in tensors))


def made_model(prior=None, width=32):
    source = generator(0, "test")
    encoder, decoder = MLP([2, width, width, 4], source), MLP([2, width, width, 2], source)
    return Model(encoder, decoder, prior or learned_prior())


def real_batch(n=64):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(9))


def test_parameter_counts_are_the_papers():
    encoder, decoder = mlp_pair(2, 2, generator(0, "test"))
    assert sum(p.numel() for p in encoder.parameters()) == 199_172
    assert sum(p.numel() for p in decoder.parameters()) == 198_658


def test_initialisation_is_pytorchs_default_for_linear_layers():
    network = MLP([100, 256], generator(0, "test"))
    reference = torch.nn.Linear(100, 256)
    for ours, theirs in ((network.weights[0], reference.weight), (network.biases[0], reference.bias)):
        assert ours.shape == theirs.shape
        assert float(ours.detach().abs().max()) == pytest.approx(0.1, rel=0.05)
        assert float(ours.detach().std()) == pytest.approx(float(theirs.detach().std()), rel=0.15)


def test_closed_form_kl_agrees_with_golden_and_torch_distributions():
    golden = GOLDEN["standard_normal_kl"]
    mean, log_var = torch.tensor(golden["posterior_mean"]), torch.tensor(golden["posterior_logvar"])
    found = kl(mean, log_var, StandardNormal(3), 0, None)
    torch.testing.assert_close(found, torch.tensor(golden["kl"]), rtol=1e-5, atol=1e-5)
    posterior = distributions.Normal(mean, torch.exp(0.5 * log_var))
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(found, expected)


def test_kl_to_a_single_component_is_closed_form():
    mean, log_var = torch.randn(6, 2), torch.randn(6, 2)
    prior = MixturePrior(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, -0.7]]), torch.zeros(1))
    posterior = distributions.Normal(mean, torch.exp(0.5 * log_var))
    target = distributions.Normal(prior.means, torch.exp(0.5 * prior.log_vars))
    expected = distributions.kl_divergence(posterior, target).sum(-1)
    torch.testing.assert_close(kl(mean, log_var, prior, 0, None), expected)


def test_mixture_kl_on_the_golden_samples():
    """log q - log p at the released code's own latents: the mixture KL without our noise in between."""
    golden = GOLDEN["mixture_kl"]
    mean, log_var = torch.tensor(golden["posterior_mean"]), torch.tensor(golden["posterior_logvar"])
    prior = MixturePrior(
        torch.tensor(golden["prior_mean"]),
        torch.tensor(golden["prior_logvar"]),
        torch.tensor(golden["prior_weights"]).log(),
    )
    z = torch.tensor(golden["z"]).unflatten(0, (golden["mc"], len(mean)))  # [S, B, L]
    log_posterior = distributions.Normal(mean, torch.exp(0.5 * log_var)).log_prob(z).sum(-1)
    found = (log_posterior - prior.log_prob(z.flatten(0, 1)).unflatten(0, z.shape[:2])).mean(0)
    torch.testing.assert_close(found, torch.tensor(golden["kl"]), rtol=1e-5, atol=1e-5)


def written_out(mean, log_var, prior, noise):
    """log q - log p at each of the noise's latents, averaged over the draws."""
    z = mean + torch.exp(0.5 * log_var) * noise  # [S, B, L]
    log_posterior = distributions.Normal(mean, torch.exp(0.5 * log_var)).log_prob(z).sum(-1)
    return (log_posterior - prior.log_prob(z.flatten(0, 1)).unflatten(0, z.shape[:2])).mean(0)


@pytest.mark.parametrize("single", ["normal", "component"])
def test_the_sampled_kl_to_a_single_gaussian_is_the_mean_over_its_draws(single):
    """Value and gradients: only the moments of the noise enter ours, all latents enter the written-out mean."""
    mean, log_var, *component = (torch.randn(*shape).double() for shape in ((5, 2), (5, 2), (1, 2), (1, 2)))
    tensors = [t.requires_grad_() for t in (mean, log_var)]
    prior = StandardNormal(2)
    if single == "component":
        tensors += [t.requires_grad_() for t in component]
        prior = MixturePrior(*component, torch.zeros(1, dtype=torch.float64))
    noise = torch.randn(7, 5, 2, generator=generator(0, "test"), dtype=torch.float64)
    found = kl(mean, log_var, prior, 7, generator(0, "test"), sampled=True)
    expected = written_out(mean, log_var, prior, noise)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(5).double()
    for ours, theirs in zip(*(torch.autograd.grad(v @ weights, tensors) for v in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_sampled_kl_to_the_standard_normal_is_unbiased_outside_the_exponential_and_above_inside():
    """The mean over many draws is the closed form; that of exp(-KL) is larger, since exp is convex (Jensen)."""
    mean, log_var, prior = torch.randn(1, 2), torch.randn(1, 2), StandardNormal(2)
    closed = kl(mean, log_var, prior, 0, None)
    copies = [t.expand(200_000, 2) for t in (mean, log_var)]
    sampled = kl(*copies, prior, 5, generator(0, "test"), sampled=True).double()
    error = sampled.std() / math.sqrt(len(sampled))
    assert abs(sampled.mean() - closed) < 4 * error
    inside, error = torch.exp(-sampled).mean(), torch.exp(-sampled).std() / math.sqrt(len(sampled))
    assert inside - torch.exp(-closed) > 10 * error
    fewer_draws, more_draws = (
        torch.exp(-kl(*copies, prior, samples, generator(1, "test"), sampled=True)).mean() for samples in (5, 50)
    )
    assert fewer_draws > more_draws > torch.exp(-closed)


@pytest.mark.parametrize("loss", [vae_loss, encoder_loss, decoder_loss])
def test_every_loss_samples_its_kls_where_it_is_told_to(loss):
    model, real = made_model(StandardNormal(2)), real_batch()

    def value(samples, sampled):
        return loss(model, real, BETAS, generator(0, "a"), samples=samples, sampled=sampled).loss.detach()

    assert value(2, False) == value(3, False), "the closed form draws nothing"
    assert len({float(value(2, True)), float(value(3, True)), float(value(2, False))}) == 3


def test_fakes_are_used_again_where_the_decoders_step_is_given_them():
    model, real, seen = made_model(StandardNormal(2)), real_batch(), []
    model.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    step = encoder_loss(model, real, BETAS, generator(0, "a"))
    assert torch.equal(seen[0], step.z_fake)
    common = {"posterior": step.posterior, "z": step.z}
    decoder_loss(model, real, BETAS, generator(0, "b"), **common, z_fake=step.z_fake)
    assert torch.equal(seen[-1], torch.cat((step.z, step.z_fake)))
    decoder_loss(model, real, BETAS, generator(0, "b"), **common)
    anew = seen[-1][64:]
    assert not torch.isclose(anew, step.z_fake).any()


def test_mixture_kl_estimates_what_it_should():
    """Against the golden estimator with many samples, and against the closed form where the mixture is N(0, I)."""
    mean, log_var = torch.randn(5, 2), torch.randn(5, 2) * 0.5
    twice = MixturePrior(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2))
    sampled = kl(mean, log_var, twice, 40_000, generator(0, "test"))
    torch.testing.assert_close(sampled, kl(mean, log_var, StandardNormal(2), 0, None), rtol=0.03, atol=0.03)


def test_regularizer_agrees_with_golden_and_with_its_extremes():
    golden, mixture = GOLDEN["responsibilities"], GOLDEN["mixture_kl"]
    prior = MixturePrior(
        torch.tensor(mixture["prior_mean"]),
        torch.tensor(mixture["prior_logvar"]),
        torch.tensor(mixture["prior_weights"]).log(),
    )
    found = responsibility_regularizer(prior.responsibilities(torch.tensor(mixture["z"])))
    assert float(found) == pytest.approx(golden["regulariser"], rel=1e-5)
    assert float(responsibility_regularizer(torch.full((9, 8), 1 / 8))) == pytest.approx(-1, abs=1e-5)
    one_mode = torch.eye(8)[:1].expand(9, 8)
    assert float(responsibility_regularizer(one_mode)) == pytest.approx(0, abs=1e-5)
    # not divided by log K where log K <= 1: K = 2 scores -log 2, not -1
    assert float(responsibility_regularizer(torch.full((3, 2), 0.5))) == pytest.approx(-math.log(2), abs=1e-5)


def test_encoder_step_by_hand():
    """The loss of one encoder step, written out again from its definition with the same draws."""
    model, real, noise = made_model(StandardNormal(2)), real_batch(), generator(4, "noise")
    loss = encoder_loss(model, real, BETAS, generator(4, "noise"), scale=0.5).loss
    fake = model.decoder(torch.randn(64, 2, generator=noise))

    def encode(x):
        mean, log_var = model.encoder(x).chunk(2, -1)
        return mean, log_var, mean + torch.exp(0.5 * log_var) * torch.randn(64, 2, generator=noise)

    def divergence(mean, log_var):
        return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)

    mean, log_var, z = encode(real)
    reconstructed = model.decoder(z)
    expected = 0.5 * (0.2 * ((real - reconstructed) ** 2).sum(-1).mean() + 0.3 * divergence(mean, log_var).mean())
    for batch in (reconstructed, fake):
        mean, log_var, z = encode(batch)
        exponent = 0.2 * ((batch - model.decoder(z)) ** 2).sum(-1) + 0.9 * divergence(mean, log_var)
        expected = expected + 0.25 * torch.exp(-2 * 0.5 * exponent).mean()
    torch.testing.assert_close(loss, expected)


def gradients(model):
    prior = [p.grad for p in model.prior.parameters()]
    return [p.grad for p in model.encoder.parameters()], [p.grad for p in model.decoder.parameters()], prior


def test_each_step_reaches_its_own_players_only():
    model, real = made_model(), real_batch()
    step = encoder_loss(model, real, BETAS, generator(0, "a"), samples=8, responsibility_weight=1.0)
    step.loss.backward()
    encoder, decoder, prior = gradients(model)
    assert all(g is not None and g.abs().sum() > 0 for g in encoder)
    assert all(g is None for g in decoder + prior)
    for parameter in model.encoder.parameters():
        parameter.grad = None
    decoder_loss(model, real, BETAS, generator(0, "b"), samples=8, posterior=step.posterior, z=step.z).loss.backward()
    encoder, decoder, prior = gradients(model)
    assert all(g is None for g in encoder)
    assert all(g is not None and g.abs().sum() > 0 for g in decoder + prior)


def cooperating_gradient(real, responsibility_weight):
    """The prior's gradient of an encoder step that it shares, written out again with the same draws.

    It learns from s beta_kl KL(x), from s r R, and through the fake as the target of its own reconstruction.
    """
    model, noise, scale = made_model(), generator(0, "a"), 0.5
    prior = model.prior
    fake = model.decoder(prior.sample(64, noise)[0])
    posterior = model.encode(real)
    z = posterior.sample(noise)
    eps = torch.randn(8, 64, 2, generator=noise)
    draws = (posterior.mean + torch.exp(0.5 * posterior.log_var) * eps).flatten(0, 1).detach()
    loss = scale * -0.3 * prior.log_prob(draws).mean()
    loss = loss + scale * responsibility_weight * responsibility_regularizer(prior.responsibilities(draws))
    # with the MLP both negatives are one batch: reconstructions first, each with the draws of its own
    batches = [model.decoder(z).detach(), fake]
    posteriors = [model.encode(batch.detach()) for batch in batches]
    latents = [each.sample(noise) for each in posteriors]
    kl(*posteriors[0], prior.detach(), 8, noise)
    divergence = kl(*posteriors[1], prior.detach(), 8, noise).detach()
    error = (fake - model.decoder(latents[1]).detach()).square().sum(-1)
    loss = loss + 0.5 * 0.5 * torch.exp(-2 * scale * (0.2 * error + 0.9 * divergence)).mean()
    return torch.autograd.grad(loss, prior.parameters())


def test_prior_encoder_cooperation_moves_the_prior_with_the_encoder():
    model, real = made_model(), real_batch()
    common = {"samples": 8, "cooperation": "encoder"}
    step = encoder_loss(model, real, BETAS, generator(0, "a"), responsibility_weight=1.0, **common)
    step.loss.backward()
    _, decoder, prior = gradients(model)
    assert all(g is None for g in decoder)
    assert all(g is not None and g.abs().sum() > 0 for g in prior)
    for mine, expected in zip(prior, cooperating_gradient(real, 1.0), strict=True):
        torch.testing.assert_close(mine, expected)
    without = made_model()
    encoder_loss(without, real, BETAS, generator(0, "a"), **common).loss.backward()
    for mine, expected in zip(gradients(without)[2], cooperating_gradient(real, 0.0), strict=True):
        torch.testing.assert_close(mine, expected)
    for parameter in model.prior.parameters():
        parameter.grad = None
    decoder_loss(model, real, BETAS, generator(0, "b"), **common).loss.backward()
    assert all(g is None for g in gradients(model)[2])


def test_the_weights_of_the_prior_learn_from_the_real_kl_alone():
    model, real = made_model(), real_batch()
    step = encoder_loss(model, real, BETAS, generator(0, "a"), samples=8)
    decoder_loss(
        model, real, BETAS, generator(0, "b"), samples=8, posterior=step.posterior, z=step.z, scale=0.5
    ).loss.backward()
    logits = model.prior.logits.grad.clone()
    again = made_model()
    noise = generator(0, "b")
    again.prior.sample(64, noise)  # what decoder_loss draws before its KLs
    for _ in range(2):
        torch.randn(8, 64, 2, generator=noise)
    divergence = kl(*step.posterior, again.prior, 8, noise).mean()
    (0.5 * 0.3 * divergence).backward()
    torch.testing.assert_close(logits, again.prior.logits.grad)


def test_the_encoders_pass_over_the_mixture_gives_the_prior_the_gradient_of_its_kl():
    model, real = made_model(), real_batch()
    noise = generator(0, "a")
    step = encoder_loss(model, real, BETAS, noise, samples=8)
    found = torch.autograd.grad(step.prior_kl, model.prior.parameters())
    noise = generator(0, "a")
    model.prior.sample(64, noise)  # what encoder_loss draws before its first KL
    step.posterior.sample(noise)
    divergence = kl(*step.posterior, model.prior, 8, noise).mean()
    torch.testing.assert_close(step.prior_kl, divergence)
    for mine, expected in zip(found, torch.autograd.grad(divergence, model.prior.parameters()), strict=True):
        torch.testing.assert_close(mine, expected)


def test_leaving_out_gamma_r_changes_no_gradient_that_float32_could_hold():
    """The published gamma_r of 1e-8, in float64: the left-out terms are far below float32's resolution."""
    found = []
    for gamma_r in (1e-8, 1e-3):
        model, real = made_model(StandardNormal(2)), real_batch()
        model.encoder.double(), model.decoder.double()
        step = decoder_loss(model, real.double(), BETAS, generator(0, "b"), samples=8, gamma_r=gamma_r)
        step.loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in model.decoder.parameters()]))
    terms = (found[1] - found[0]) / 1e-3  # the gradient of the terms at weight one
    assert terms.norm() > 0
    assert 1e-8 * terms.norm() / found[0].norm() < torch.finfo(torch.float32).eps


@pytest.mark.parametrize("alpha", [2.0, 3.0])
@pytest.mark.parametrize("cooperation", ["decoder", "encoder"])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_gradients_taken_one_batch_at_a_time_are_those_of_the_whole_graph(monkeypatch, alpha, cooperation, bootstrap):
    """Networks whose batches do not share a forward pass; ``whole``: one backward pass through everything.

    In the encoder's loss alpha = 3 rounds at another place. The weights of the decoder's loss are the ones announced.
    """

    def gradients(whole):
        model = made_model()
        model.stackable = False
        if bootstrap:
            model.target_decoder = copy.deepcopy(model.decoder).requires_grad_(False)
        with monkeypatch.context() as patch:
            if whole:
                for module in (divergence, soft_introvae):
                    patch.setattr(module, "differentiate_now", lambda value, *_: value)
                    patch.setattr(module, "leaf_of", lambda tensor: tensor)
            both, source = {"samples": 3, "cooperation": cooperation}, generator(0, "noise")
            first = encoder_loss(
                model, real_batch(), BETAS, source, alpha=alpha, responsibility_weight=10.0, scale=1 / 784, **both
            )
            first.loss.backward()
            found = [p.grad for p in (*model.encoder.parameters(), *model.prior.parameters())]
            for parameter in model.prior.parameters():
                parameter.grad = None
            second = decoder_loss(
                model, real_batch(), BETAS, source, prior_kl=first.prior_kl, gamma_r=0.1, scale=1 / 784, **both
            )
            second.loss.backward()
            found += [p.grad for p in (*model.decoder.parameters(), *model.prior.parameters())]
        return [first.loss, second.loss, *found]

    for one, other in zip(gradients(whole=False), gradients(whole=True), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one, other) or alpha == 3
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


def test_one_batch_at_a_time_keeps_two_thirds_of_what_the_whole_graph_does(monkeypatch):
    """The encoder's loss passes three batches through both networks: here two of them are in memory at a time."""

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            if len(tensor) == len(real_batch()):  # no weights
                alive.add(self)
            most.append(sum(kept.tensor.numel() for kept in alive))

    def most_numbers():
        model = made_model(StandardNormal(2))
        model.stackable = False
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            encoder_loss(model, real_batch(), BETAS, generator(0, "noise")).loss.backward()
        return max(most)

    alive, most = weakref.WeakSet(), []
    parted = most_numbers()
    monkeypatch.setattr(soft_introvae, "differentiate_now", lambda value, *_: value)
    most.clear()
    assert 0.6 < parted / most_numbers() < 0.72


def test_a_number_whose_gradient_is_taken_at_once_may_have_any_weight_in_the_loss():
    x = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    for weight in (1.0, 0.3, 0.0):
        end, x.grad = leaf_of(x), None
        (0.7 * differentiate_now(end.square().sum(), [(end, x)], weight) + x.sum()).backward()
        torch.testing.assert_close(x.grad, 1.4 * x.detach() + 1)


def test_warm_up_trains_everybody():
    model = made_model()
    vae_loss(model, real_batch(), BETAS, generator(0, "a"), samples=8).loss.backward()
    assert all(g is not None and g.abs().sum() > 0 for group in gradients(model) for g in group)


def test_vae_loss_is_the_weighted_negative_elbo():
    model, real, noise = made_model(StandardNormal(2)), real_batch(), generator(0, "a")
    loss = vae_loss(model, real, Betas(0.7, 0.1), generator(0, "a")).loss
    mean, log_var = model.encoder(real).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(64, 2, generator=noise)
    divergence = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
    expected = 0.7 * ((real - model.decoder(z)) ** 2).sum(-1).mean() + 0.1 * divergence.mean()
    torch.testing.assert_close(loss, expected)


def test_frozen_gives_back_what_it_took():
    model = made_model()
    model.encoder.weights[0].requires_grad_(False)
    with frozen(model.encoder):
        assert not any(p.requires_grad for p in model.encoder.parameters())
    assert not model.encoder.weights[0].requires_grad
    assert all(p.requires_grad for p in list(model.encoder.parameters())[1:])
