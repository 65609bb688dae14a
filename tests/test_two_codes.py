"""Two codes, of class and of content: networks, the prior over both, the losses, presets and training."""

import pytest
import torch
from torch import distributions

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells import fleets
from sintro.cells.cell import Cell
from sintro.cells.components import Betas
from sintro.cells.presets import published, resolve
from sintro.objectives import decoder_loss, encoder_loss, kl
from sintro.objectives.build import stored_model
from sintro.objectives.divergence import real_kl
from sintro.objectives.model import Model, Posterior
from sintro.objectives.two_codes import adain, two_code_pair
from sintro.priors import MixturePrior, StandardNormal, TwoCodePrior
from sintro.training.players import Players

CELL = "results/s/solids/{}/{}/none/seed0"


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def small(objective="soft-introvae", prior="normal", **changes):
    given = {"iterations": 6, "warmup": 3, "batch_size": 4, "samples": 3, "milestones": (3,)}
    if prior != "normal":
        given["conversion"] = 2
    return published(Cell.from_path(CELL.format(objective, prior))).model_copy(update=given | changes)


def model_of(class_size=8, content_size=8, prior=None, seed=0):
    pair = two_code_pair((3, 32, 32), class_size, content_size, generator(seed, "test"))
    return Model(*pair, prior or StandardNormal(class_size + content_size), 3, class_size=class_size)


# --- networks


@pytest.mark.parametrize(
    ("event", "sizes", "of_class", "of_content", "modulation", "decoder"),
    [
        ((3, 32, 32), (8, 8), 65_804, 65_804, 2_160, 169_900),
        ((3, 64, 64), (256, 128), 4_009_088, 3_943_296, 526_336, 526_336 + 7_569_155),
        ((1, 64, 64), (256, 128), 4_002_816, 3_937_024, 526_336, 526_336 + 7_562_881),
    ],
)
def test_parameter_counts(event, sizes, of_class, of_content, modulation, decoder):
    encoders, generating = two_code_pair(event, *sizes, generator(0, "test"))
    assert count(encoders.of_class) == of_class
    assert count(encoders.of_content) == of_content
    assert count(generating.modulations) == modulation
    assert count(generating) == decoder
    codes = encoders(torch.rand(2, *event))
    assert codes.shape == (2, 2 * sum(sizes))
    assert generating(codes[:, : sum(sizes)]).shape == (2, *event)


def test_the_encoders_output_means_before_log_variances_and_class_before_content():
    model, images = model_of(5, 3), torch.rand(4, 3, 32, 32)
    posterior = model.encode(images)
    of_class, of_content = model.encoder.of_class(images), model.encoder.of_content(images)
    for found, first, second in (
        (posterior.mean, of_class[:, :5], of_content[:, :3]),
        (posterior.log_var, of_class[:, 5:], of_content[:, 3:]),
    ):
        c, t = model.codes(found)
        torch.testing.assert_close(c, first)
        torch.testing.assert_close(t, second)


def test_adain_gives_every_channel_the_mean_and_deviation_that_it_is_told():
    features = 3 * torch.randn(5, 7, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    shift = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scale = torch.randn(5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = adain(features, shift, scale)
    torch.testing.assert_close(found.mean((-2, -1)), shift)
    torch.testing.assert_close(found.std((-2, -1), correction=0), scale.abs(), rtol=1e-5, atol=0)


def test_the_class_code_alone_modulates():
    decoder = model_of().decoder
    with torch.no_grad():
        for layer in decoder.modulations:
            layer.weight.zero_()
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    same_content = torch.cat([z[:, :8], z[:1, 8:].expand(2, 8)], 1)
    first, second = decoder(same_content)
    torch.testing.assert_close(first, second)
    assert (decoder(z)[0] - decoder(z)[1]).abs().max() > 0.01


@pytest.mark.parametrize("swap", [False, True])
def test_gradients_reach_both_encoders_and_both_halves_of_the_decoder(swap):
    model, betas = model_of(), Betas(1.0, 1.0, 768.0)
    real, noise = torch.rand(4, 3, 32, 32), generator(0, "noise")
    encoder_loss(model, real, betas, noise, swap=swap).loss.backward()
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.encoder.parameters())
    model.encoder.zero_grad()
    decoder_loss(model, real, betas, noise, swap=swap).loss.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.decoder.parameters())


# --- the prior and the KL


def posterior_of(n=6, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Posterior(*(torch.randn(n, 5, generator=draws, dtype=torch.float64) for _ in range(2)))


def by_torch(posterior, part):
    mean, log_var = (values[:, part] for values in posterior)
    standard = distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return distributions.kl_divergence(distributions.Normal(mean, torch.exp(log_var / 2)), standard).sum(-1)


def test_the_kl_splits_additively():
    posterior = posterior_of()
    whole = kl(*posterior, StandardNormal(5), 1, None)
    torch.testing.assert_close(whole, by_torch(posterior, slice(2)) + by_torch(posterior, slice(2, 5)))
    torch.testing.assert_close(kl(*posterior, TwoCodePrior(StandardNormal(2), 3), 1, None), whole)


def test_weights_multiply_each_codes_kl():
    posterior = posterior_of()
    expected = 0.25 * by_torch(posterior, slice(2)) + 3 * by_torch(posterior, slice(2, 5))
    prior = TwoCodePrior(StandardNormal(2), 3, (0.25, 3.0))
    torch.testing.assert_close(kl(*posterior, prior, 1, None), expected)
    found = real_kl(posterior, prior, 1, None, False, False)
    torch.testing.assert_close(found.per_datum, expected)
    assert found.for_prior is None


def mixture():
    draws = torch.Generator().manual_seed(3)
    means, log_vars = (torch.randn(4, 2, generator=draws, dtype=torch.float64) for _ in range(2))
    return MixturePrior.free(means, log_vars, torch.randn(4, generator=draws, dtype=torch.float64), True)


def test_a_mixture_over_the_class_code_times_a_normal_over_the_content():
    of_class, z = mixture(), torch.randn(9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prior = TwoCodePrior(of_class, 3)
    modes = distributions.Independent(distributions.Normal(of_class.means, torch.exp(of_class.log_vars / 2)), 1)
    independent = distributions.MixtureSameFamily(distributions.Categorical(logits=of_class.logits), modes)
    expected = independent.log_prob(z[:, :2]) + distributions.Normal(0.0, 1.0).log_prob(z[:, 2:]).sum(-1)
    torch.testing.assert_close(prior.log_prob(z), expected)
    padded = MixturePrior(prior.means, prior.log_vars, of_class.logits)  # the same density, written with 5 dimensions
    torch.testing.assert_close(padded.log_prob(z), expected)
    torch.testing.assert_close(prior.responsibilities(z), padded.responsibilities(z))
    draws, component = prior.sample(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws[:, 2:].std(0), torch.ones(3), rtol=0.03, atol=0, check_dtype=False)
    torch.testing.assert_close(component.bincount() / 20_000, prior.weights, rtol=0, atol=0.02, check_dtype=False)


def test_the_sampled_kl_to_a_mixture_over_the_class_code_is_that_to_the_whole_density():
    of_class, posterior = mixture(), posterior_of(3)
    prior = TwoCodePrior(of_class, 3)
    padded = MixturePrior(prior.means, prior.log_vars, of_class.logits)
    found = kl(*posterior, prior, 40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        found, kl(*posterior, padded, 40_000, torch.Generator().manual_seed(1)), rtol=0.02, atol=0
    )


def test_modes_learn_through_the_class_code_alone():
    prior, posterior = TwoCodePrior(mixture(), 3, (0.5, 1.0)), posterior_of(4)
    found = real_kl(posterior, prior, 50, torch.Generator().manual_seed(0), True, False)
    torch.testing.assert_close(found.mean_responsibilities.sum(), torch.tensor(1.0, dtype=torch.float64))
    found.for_prior.backward()
    half = [parameter.grad.clone() for parameter in prior.parameters()]
    plain, (c, _) = mixture(), prior.split(posterior.mean)
    alone = Posterior(c, prior.split(posterior.log_var)[0])
    real_kl(alone, plain, 50, torch.Generator().manual_seed(0), True, False).for_prior.backward()
    for found_gradient, expected in zip(half, plain.parameters(), strict=True):
        torch.testing.assert_close(found_gradient, 0.5 * expected.grad)


# --- swapped codes


def test_swapped_latents_keep_the_class_and_permute_the_content():
    z = torch.arange(32.0).reshape(4, 8)
    found = model_of(5, 3).swapped(z, generator(0, "a"))
    assert (found[:, :5] == z[:, :5]).all()
    assert sorted(found[:, 7].tolist()) == z[:, 7].tolist()
    orders = {tuple(model_of(5, 3).swapped(z, generator(i, "a"))[:, 7].tolist()) for i in range(9)}
    assert len(orders) > 3


def test_translations_are_a_third_negative_in_the_encoders_loss():
    model, betas, real = model_of(), Betas(1.0, 1.0, 768.0), torch.rand(4, 3, 32, 32)
    without, with_swap = (encoder_loss(model, real, betas, generator(0, "noise"), swap=swap) for swap in (False, True))
    terms = with_swap.terms
    assert {"reconstruction_swapped", "kl_swapped", "exp_elbo_swapped"} <= terms.keys()
    assert "kl_swapped" not in without.terms
    scale, alpha = 1 / 3072, 2.0
    negatives = sum(terms[f"exp_elbo_{name}"] for name in ("fake", "reconstructed", "swapped"))
    expected = scale * (terms["reconstruction"] + terms["kl_real"]) + negatives / (2 * alpha)
    torch.testing.assert_close(terms["loss_encoder"], expected)


# --- cells


def test_presets_of_solids():
    soft, vae = (published(Cell.from_path(CELL.format(name, "normal"))) for name in ("soft-introvae", "vae"))
    assert (soft.network, soft.latent_size, soft.class_latent_size) == ("two-encoders", 16, 8)
    assert (soft.iterations, soft.warmup, soft.milestones, soft.batch_size) == (2_500, 1_000, (1_000,), 32)
    assert (soft.learning_rate, soft.learning_rate_factor) == (1e-3, 0.5)
    assert (soft.beta_rec, soft.beta_kl, soft.beta_neg) == (1, 1, 768)
    assert soft.adam_at_introspection == "restarted"
    assert soft.kl_of_normal is None
    assert (vae.warmup, vae.adam_at_introspection, vae.beta_neg) == (2_500, None, None)
    swap = published(Cell.from_path(CELL.format("soft-introvae-swap", "normal")))
    assert swap.model_copy(update={"objective": "soft-introvae"}) == soft
    carried = resolve(
        Cell.from_path(CELL.format("soft-introvae", "normal")), values={"adam_at_introspection": "carried"}
    )
    assert carried.adam_at_introspection is None


def test_weights_of_the_kls_are_settings_of_a_study_and_leave_other_cells_alone():
    one = Cell.from_path(CELL.format("vae", "normal"))
    weighted = resolve(one, values={"kl_weight_class": 0.5, "kl_weight_content": 1.0})
    assert (weighted.kl_weight_class, weighted.kl_weight_content) == (0.5, None)
    assert weighted.digest != published(one).digest
    assert resolve(one, values={"kl_weight_class": 1.0}).digest == published(one).digest
    digits = Cell.from_path("results/s/digits/vae/normal/none/seed0")
    assert resolve(digits, values={"kl_weight_class": 0.5}).digest == published(digits).digest


def test_swapping_needs_images_with_factors():
    with pytest.raises(SintroError, match=r"needs images with a class and a content; legal are .*solids"):
        Cell.from_path("results/s/digits/soft-introvae-swap/normal/none/seed0")


def test_cells_with_two_codes_train_one_by_one():
    settings = [small(), small().model_copy(update={"seed": 1})]
    with pytest.raises(SintroError, match="only 2D cells train in fleets"):
        fleets.check_equal_shape(settings)


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize(
    ("objective", "prior", "changes"),
    [
        ("vae", "vamp4", {"warmup": 6, "conversion": None}),
        ("soft-introvae", "normal", {"kl_weight_class": 0.5}),
        ("soft-introvae", "mog4-learned", {"clip": True}),
        ("soft-introvae-swap", "mog4-learned-encoder", {}),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(objective, prior, changes):
    settings = small(objective, prior, **changes)
    whole = Players([settings])
    for iteration in range(6):
        if iteration in (1, 4):  # before and after the conversion and the warm-up's end
            state = whole.state()
            resumed = Players([settings])
            resumed.load([state], iteration)
            resumed.step(iteration)
        terms = whole.step(iteration)
        assert torch.isfinite(terms["loss_encoder"])
        if iteration in (1, 4):
            assert equal(resumed.state(), whole.state())
    stored = stored_model(settings, whole.state(), "cpu")
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(stored.encode(images).mean, whole.model.encode(images).mean)
    z = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stored.mixture().log_prob(z), whole.model.mixture().log_prob(z))


def test_weights_of_the_losses_are_in_no_metric():
    settings = small("soft-introvae", "mog4-fixed", kl_weight_class=0.5, kl_weight_content=3.0)
    trained = Players([settings])
    stored = stored_model(settings, trained.state(), "cpu")
    z = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    priors = (trained.model.mixture(), stored.mixture())
    noise = [torch.Generator().manual_seed(1) for _ in priors]
    of_loss, measured = (kl(*z, prior, 8, each) for prior, each in zip(priors, noise, strict=True))
    parts = priors[1].parts
    assert [weight for weight, _ in parts] == [1.0, 1.0]
    again = torch.Generator().manual_seed(1)
    codes = [(priors[1].split(z[0])[i], priors[1].split(z[1])[i]) for i in (0, 1)]
    own = [kl(*code, part, 8, again) for code, (_, part) in zip(codes, parts, strict=True)]
    torch.testing.assert_close(measured, own[0] + own[1])
    torch.testing.assert_close(of_loss, 0.5 * own[0] + 3.0 * own[1])
