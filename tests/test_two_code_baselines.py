"""The baselines of image translation: the group VAE and LORD, against closed forms and plain re-computations."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from sintro import SintroError
from sintro.cells import Cell, components
from sintro.cells.components import Betas
from sintro.cells.presets import published, resolve
from sintro.data import factors
from sintro.evaluation.no_density import without_density
from sintro.objectives import group_vae, lord
from sintro.objectives.model import Posterior
from sintro.report.numbers.audit import both_forms
from sintro.report.numbers.overall import overall
from sintro.report.numbers.ranks import ranks_of
from sintro.report.numbers.results import Result
from sintro.report.numbers.tables import DISTANCES, make_table
from sintro.report.pages.tables import comparisons_view
from sintro.training.batches import paired
from sintro.training.embeddings import cosine_rate
from sintro.training.players import Players

OBJECTIVES = ["group-vae", "lord", "lord-unlabelled"]


def settings_of(objective, iterations=6, **values):
    cell = Cell.from_path(f"results/tiny/solids/{objective}/normal/none/seed0")
    return resolve(cell, iterations=iterations, values={"batch_size": 8} | values)


@pytest.fixture(scope="module")
def real():
    every = factors.load("solids")
    return every.batch(torch.tensor([0, 5, 48, 60, 96, 100, 240, 241]))  # pairs of four classes


# --- the group VAE


def test_the_product_of_posteriors_is_the_normalised_product_of_their_densities():
    generator = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    found = group_vae.product(Posterior(mean, log_var))
    points = torch.linspace(-30, 30, 60_001, dtype=torch.float64)  # every code's coordinate is a density of its own
    for group, coordinate in ((0, 0), (4, 3)):
        each = Normal(mean[group, :, coordinate], (log_var[group, :, coordinate] / 2).exp())
        density = each.log_prob(points[:, None]).sum(-1).exp()
        density /= density.sum()
        expected = (density * points).sum()
        assert found.mean[group, coordinate] == pytest.approx(float(expected), abs=1e-9)
        variance = (density * (points - expected).square()).sum()
        assert found.log_var[group, coordinate].exp() == pytest.approx(float(variance), rel=1e-9)


def test_a_product_with_itself_halves_the_variance_and_a_sharp_posterior_decides():
    mean, log_var = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.5], [0.5]])
    found = group_vae.product(Posterior(mean, log_var))
    assert (found.mean.item(), found.log_var.item()) == (pytest.approx(1), pytest.approx(0.5 - math.log(2)))
    sharp = group_vae.product(Posterior(torch.tensor([[3.0], [-7.0]]), torch.tensor([[-100.0], [2.0]])))
    assert (sharp.mean.item(), sharp.log_var.item()) == (pytest.approx(3), pytest.approx(-100))


def test_the_group_vaes_loss_is_its_groups_bound(real):
    model = Players([settings_of("group-vae", kl_weight_class=0.5)]).model
    betas, noise = Betas(0.7, 1.3), torch.Generator().manual_seed(1)
    step = group_vae.group_loss(model, real, betas, noise)
    posterior = model.encode(real)
    again = torch.Generator().manual_seed(1)
    (c_mean, t_mean), (c_log_var, t_log_var) = model.codes(posterior.mean), model.codes(posterior.log_var)
    own = Normal(t_mean, (t_log_var / 2).exp())
    bound, class_noise = 0.0, torch.randn(4, 8, generator=again)
    content_noise = torch.randn(8, 8, generator=again)
    for pair in range(4):
        rows = [2 * pair, 2 * pair + 1]
        precision = (-c_log_var[rows]).exp().sum(0)
        shared = Normal(((-c_log_var[rows]).exp() * c_mean[rows]).sum(0) / precision, precision.rsqrt())
        c = shared.mean + shared.stddev * class_noise[pair]
        bound += 1.3 * 0.5 * kl_divergence(shared, Normal(0.0, 1.0)).sum()
        for row in rows:
            t = t_mean[row] + own.stddev[row] * content_noise[row]
            error = (real[row] - model.decoder(torch.cat([c, t])[None])[0]).square().sum()
            bound += 0.7 * error + 1.3 * kl_divergence(Normal(own.mean[row], own.stddev[row]), Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(step.loss, bound / 8, rtol=1e-5, atol=0)
    assert torch.equal(step.z[0, :8], step.z[1, :8])
    assert not torch.equal(step.z[0, 8:], step.z[1, 8:])


def test_batches_of_the_group_vae_are_pairs_of_a_class_and_an_epoch_has_every_image():
    players = Players([settings_of("group-vae")])
    data = players.data
    indices = [data.indices(iteration) for iteration in range(data.steps)]
    assert torch.equal(torch.cat(indices).sort().values, torch.arange(len(data.images)))
    labels = data.images.labels[torch.cat(indices)].view(-1, 2)
    assert torch.equal(labels[:, 0], labels[:, 1])
    assert len(labels[:100, 0].unique()) > 20  # classes are mixed
    assert torch.equal(data.at(7) * 255, data.images.images[data.indices(7)].float())
    assert not torch.equal(data.indices(0), data.indices(data.steps))


def test_an_image_without_a_partner_comes_twice():
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 3, 3, 1, 1])
    found = paired(order, labels)
    assert len(found) == 8
    assert set(found.tolist()) == set(range(7))
    pairs = labels[found].view(-1, 2)
    assert torch.equal(pairs[:, 0], pairs[:, 1])
    with pytest.raises(SintroError, match="batch_size 7: a batch is of pairs; legal are even numbers"):
        settings_of("group-vae", batch_size=7)


# --- LORD


def test_the_loss_of_lords_codes_is_reconstruction_with_noise_and_the_penalty(real):
    model = Players([settings_of("lord")]).model
    c, t = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    found = lord.code_loss(model, real, (c, t), Betas(0.7, 1.3), torch.Generator().manual_seed(1))
    noise = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    images = model.decoder(torch.cat([c, t + noise], 1)).detach()
    errors = [float(((one - other) ** 2).sum()) for one, other in zip(real, images, strict=True)]
    penalties = [sum(float(each) ** 2 for each in code) for code in t]
    expected = sum(0.7 * error + 1.3 * penalty for error, penalty in zip(errors, penalties, strict=True)) / 8
    assert float(found["loss_decoder"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(found["reconstruction"].detach()) == pytest.approx(sum(errors) / 8, rel=1e-5)


def test_the_penalty_is_twice_the_kl_of_noisy_codes_up_to_nothing():
    t = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    divergence = kl_divergence(Normal(t, 1.0), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(2 * divergence, t.square().sum(-1))


def test_every_player_of_lord_has_its_own_learning_rate_with_graphs_too():
    rates = []
    for graphs in (None, SimpleNamespace(clear=lambda: None)):
        players = Players([settings_of("lord")])
        players.graphs = graphs
        players.restart_optimisers()
        players._set_learning_rates(0)
        rates.append({name: float(one.param_groups[0]["lr"]) for name, one in players.optimisers.items()})
    assert rates[1] == pytest.approx(rates[0])
    assert rates[0]["embeddings"] == pytest.approx(10 * rates[0]["decoder"])


def test_the_loss_of_lords_encoders_has_the_errors_of_both_codes(real):
    model = Players([settings_of("lord")]).model
    c, t = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    found = float(lord.encoders_loss(model, real, (c, t), Betas(0.7, 1.3))["loss_encoder"].detach())
    own = model.encoder(real)[:, :16].detach()
    error = float((real - model.decoder(own).detach()).square().sum()) / 8
    expected = 0.7 * error + 10 * float((own[:, :8] - c).square().mean() + (own[:, 8:] - t).square().mean())
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("objective", "rows"), [("lord", 32), ("lord-unlabelled", 1536)])
def test_codes_belong_to_classes_and_to_images(objective, rows):
    players = Players([settings_of(objective)])
    assert players.embeddings.of_class.shape == (rows, 8)
    assert players.embeddings.of_content.shape == (1536, 8)
    assert players.embeddings.of_class.abs().max() <= 0.05
    chosen = players.data.indices(3)
    c, t = players.embeddings(3)
    owners = players.data.images.labels[chosen] if objective == "lord" else chosen
    assert torch.equal(c, players.embeddings.of_class[owners])
    assert torch.equal(t, players.embeddings.of_content[chosen])


def flat(players):
    """All parameters of each player in a row."""
    return {
        player: torch.cat([torch.empty(0), *(one.flatten() for one in parameters.values())])
        for player, parameters in players.state()["parameters"].items()
    }


def test_first_the_codes_learn_and_then_the_encoders():
    settings = settings_of("lord")
    assert (settings.warmup, settings.adam_at_introspection) == (4, "restarted")
    players = Players([settings])
    before = flat(players)
    for iteration in range(4):
        players.step(iteration)
    between = flat(players)
    players.step(4)
    after = flat(players)
    moved = {name: not torch.equal(before[name], between[name]) for name in before}
    assert moved == {"encoder": False, "decoder": True, "prior": False, "embeddings": True}
    moved = {name: not torch.equal(between[name], after[name]) for name in before}
    assert moved == {"encoder": True, "decoder": True, "prior": False, "embeddings": False}


def test_rates_fall_along_half_a_cosine_in_each_phase():
    cell = Cell.from_path("results/s/cars3d/lord/normal/none/seed0")
    full = published(cell)
    assert (full.learning_rate, full.adam_beta1, full.iterations) == (3e-4, 0.5, 2 * full.warmup)
    assert cosine_rate(full, 0, "decoder") == pytest.approx(3e-4)
    assert cosine_rate(full, 0, "embeddings") == pytest.approx(3e-3)
    assert cosine_rate(full, full.warmup // 2, "decoder") == pytest.approx((3e-4 + 1e-5) / 2)
    assert cosine_rate(full, full.warmup - 1, "embeddings") == pytest.approx(1e-5, rel=1e-3)
    assert cosine_rate(full, full.warmup, "encoder") == pytest.approx(1e-4)
    # the scheduler of torch, over a phase of the same length
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=4, eta_min=1e-5)
    for iteration in range(4):
        assert cosine_rate(settings_of("lord"), iteration, "decoder") == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


# --- all of them


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize(("objective", "values"), [
    *((objective, {}) for objective in OBJECTIVES),
    ("lord", {"adam_at_introspection": "carried"}),
])  # fmt: skip
def test_a_resumed_run_ends_with_the_same_bits(objective, values):
    settings = settings_of(objective, **values)
    whole = Players([settings])
    for iteration in range(6):
        if iteration in (1, 4, 5):  # within a phase, at its end, and after it
            resumed = Players([settings])
            resumed.load([whole.state()], iteration)
            resumed.step(iteration)
        whole.step(iteration)
        if iteration in (1, 4, 5):
            assert equal(resumed.state(), whole.state())


def test_what_the_baselines_say_of_themselves():
    found = {name: components.objective(name) for name in OBJECTIVES}
    assert [one.sees_labels for one in found.values()] == [True, True, False]
    assert [one.has_density for one in found.values()] == [True, False, False]
    for name in OBJECTIVES:
        with pytest.raises(SintroError, match=rf"{name} is defined for N\(0, I\) alone; legal is normal"):
            Cell.from_path(f"results/s/solids/{name}/mog4-learned/none/seed0")
        with pytest.raises(SintroError, match="needs images with a class and a content"):
            Cell.from_path(f"results/s/digits/{name}/normal/none/seed0")


def test_rows_that_saw_labels_stand_last_and_are_never_the_best():
    def result(objective, seed, value):
        cell = Cell.from_path(f"results/s/solids/{objective}/normal/none/seed{seed}")
        return Result(cell, Path(cell.path), "done", metrics={"cfid": value, "cfid_published": value})

    values = {"lord": 1.0, "vae": 5.0, "group-vae": 2.0, "lord-unlabelled": 9.0}
    found = [result(name, seed, value + 0.1 * seed) for name, value in values.items() for seed in range(3)]
    made = make_table("t", "T", found, DISTANCES["cfid"][:1])
    assert [row[0] for row in made.rows] == ["vae", "lord-unlabelled", "lord", "group-vae"]
    assert [made.entries[row, "solids"].note for row in made.rows] == ["", "", "saw labels", "saw labels"]
    assert made.top["solids", "cfid_published", "published"] == ("vae", "normal", "none")
    assert made.best["solids", "cfid_published", "published"] == {("vae", "normal", "none")}
    (block,) = comparisons_view(made)
    assert (block["best"], [line["row"] for line in block["lines"]]) == ("vae · normal", ["lord-unlabelled · normal"])
    assert {row: list(places.values()) for row, places in ranks_of(made, "cfid_published").items()} == {
        "vae · normal": [1], "lord-unlabelled · normal": [2],
    }  # fmt: skip
    (flips,) = both_forms(made, "cfid_published", "cfid")["blocks"]
    assert [line["row"] for line in flips["lines"]] == ["vae · normal", "lord-unlabelled · normal"]
    floors = {"solids": dict.fromkeys(("cfid", "cfid_published"), (0.0, 0.1))}
    (aggregate,) = overall([make_table("t", "T", found, DISTANCES["cfid"][:1], floors)])
    assert [line.row[0] for line in aggregate.lines] == ["vae", "lord-unlabelled"]
    assert aggregate.lines[1].over_best.value == 0
    alone = make_table("t", "T", [each for each in found if each.cell.objective != "lord-unlabelled"], made.measures)
    assert not alone.best["solids", "cfid_published", "published"], "there is nothing to be better than"


@pytest.mark.parametrize("objective", ["group-vae", "lord"])
def test_a_short_run_translates_better_than_a_copy(objective):
    players = Players([settings_of(objective, iterations=100, batch_size=32)])
    for iteration in range(players.shared.iterations):
        players.step(iteration)
    every = factors.load("solids")
    of_class, of_content = every.pairs(300, seen=True)
    truth = every.batch(every.truth(every.classes[of_class], every.contents[of_content]))
    with torch.no_grad():
        c, _ = players.model.codes(players.model.encode(every.batch(of_class)).mean)
        _, t = players.model.codes(players.model.encode(every.batch(of_content)).mean)
        translated = players.model.decoder(torch.cat([c, t], 1))
    error = (translated - truth).square().mean()
    for copied in (of_class, of_content):
        assert error < (every.batch(copied) - truth).square().mean()


def test_a_model_without_a_prior_has_no_numbers_of_samples():
    metrics = {
        "cfid": 3.0,
        "cfid_rec": 2.0,
        "cfid_rec_last": 2.0,
        "cfid_floor_published": 1.0,
        "mse": 0.1,
        "psnr_last": 9.0,
    }
    details = {
        "not_measured": {"class_tv": "no labels"},
        "warning": "few images",
        "ood_intervals": {"pair_kl_auroc": [0.1, 0.2]},
        "images": 100,
    }
    arrays = {"data": torch.zeros(2).numpy(), "samples": torch.zeros(2).numpy()}
    found, kept = without_density(metrics | details, arrays)
    unmeasured = dict.fromkeys(("kl_class", "kl_content", "cfid", "mse"), "no prior")
    assert found["not_measured"] == {"class_tv": "no labels"} | unmeasured
    assert not {"cfid", "mse"} & found.keys()
    assert {name: found[name] for name in ("cfid_rec", "cfid_rec_last", "psnr_last", "warning", "images")} == {
        "cfid_rec": 2.0,
        "cfid_rec_last": 2.0,
        "psnr_last": 9.0,
        "warning": "few images",
        "images": 100,
    }
    assert "ood_intervals" not in found
    assert list(kept) == ["data"]
