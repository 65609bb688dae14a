"""Out-of-distribution detection: measures against scikit-learn and by hand, bounds against a known likelihood."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch.distributions import MultivariateNormal

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.cell import Cell
from sintro.cells.components import datasets
from sintro.cells.presets import published
from sintro.data import images, outliers
from sintro.evaluation import ood, plane
from sintro.evaluation.plane import measure_density
from sintro.metrics import METRICS, NOT_MEASURED
from sintro.objectives.model import Model
from sintro.priors import MixturePrior, StandardNormal
from sintro.training.players import Players


def measured(inside, outside, seed=0) -> ood.Detection:
    return ood.detection({"elbo": np.array(inside)}, {"elbo": np.array(outside)}, seed)["elbo"]


# --- measures


@pytest.mark.parametrize("grid", [None, 0.5, 3.0])
def test_measures_agree_with_scikit_learn(grid):
    """Made scores, continuous and with many ties."""
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 70), rng.normal(0, 2, 110)
    if grid:
        inside, outside = (np.round(part / grid) for part in (inside, outside))
    labels, values = np.r_[np.ones(70), np.zeros(110)], np.r_[inside, outside]
    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    found = measured(inside, outside)
    assert found.auroc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert found.aupr == pytest.approx(average_precision_score(labels, values), abs=1e-12)
    assert found.fpr95 == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)


def test_measures_of_a_resample_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    inside, outside = np.round(rng.normal(1, 1, 40), 1), np.round(rng.normal(0, 1, 30), 1)
    weights = [rng.multinomial(len(part), np.full(len(part), 1 / len(part)), 3) for part in (inside, outside)]
    found = ood._Ranked(inside, outside).measures(*weights)
    for b in range(3):
        drawn = [np.repeat(part, w[b]) for part, w in zip((inside, outside), weights, strict=True)]
        labels, values = np.r_[np.ones(40), np.zeros(30)], np.concatenate(drawn)
        fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
        expected = roc_auc_score(labels, values), average_precision_score(labels, values), fpr[tpr >= 0.95].min()
        assert found[:, b] == pytest.approx(expected, abs=1e-12)


def test_auroc_is_the_share_of_pairs_in_order_by_hand():
    # of 3 x 2 pairs: 3 > 2.5, 3 > 1, 2 > 1 in order, 1 = 1 half, 2 < 2.5 and 1 < 2.5 not
    found = measured([3.0, 2.0, 1.0], [2.5, 1.0])
    assert found.auroc == pytest.approx(3.5 / 6)
    assert found.fpr95 == 1.0  # the third of three is accepted at a threshold of 1
    assert found.aupr == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 5)
    assert measured([2.0, 3.0], [0.0, 1.0])[:3] == (1.0, 1.0, 0.0)
    assert measured([1.0] * 4, [1.0] * 4)[:3] == (0.5, 0.5, 1.0)


def test_swapping_in_and_out_gives_the_complement():
    rng = np.random.default_rng(2)
    inside, outside = np.round(rng.normal(1, 1, 60), 1), np.round(rng.normal(0, 1, 50), 1)
    assert measured(inside, outside).auroc + measured(outside, inside).auroc == pytest.approx(1, abs=1e-12)


def test_measures_see_ranks_only_and_infinite_scores_have_one():
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(1, 1, 60), rng.normal(0, 1, 50)
    assert measured(np.exp(inside), np.exp(outside))[:3] == measured(inside, outside)[:3]
    low, lowest = (measured(inside, np.where(outside < -1, floor, outside)) for floor in (-1e9, -math.inf))
    assert low[:3] == lowest[:3]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_undefined_scores_have_no_measures(bad, where):
    """Of the own data or of the outliers: one NaN is enough, and no datum is infinitely likely."""
    pair = [[2.0, 1.0], [0.0, -1.0]]
    pair[where][0] = bad
    undefined = measured(*pair)
    assert all(math.isnan(value) for value in undefined[:3])
    assert all(math.isnan(bound) for interval in undefined.intervals.values() for bound in interval)


def test_the_bootstrap_interval_covers():
    """The true AUROC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2); 95% intervals miss it in about 5% of the worlds."""
    truth = 0.5 * math.erfc(-0.5)
    rng = np.random.default_rng(4)
    intervals = [measured(rng.normal(1, 1, 80), rng.normal(0, 1, 80), i).intervals["auroc"] for i in range(60)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert covered >= 51  # fewer than that has a chance of 1 in 1,000 at 95%
    assert all(high - low < 0.25 for low, high in intervals)


def test_a_point_lies_in_its_interval_and_the_same_seed_gives_the_same():
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
    found = measured(inside, outside)
    assert found == measured(inside, outside)
    for name in ("auroc", "aupr"):
        low, high = found.intervals[name]
        assert low < getattr(found, name) < high


@pytest.mark.parametrize(("inside", "outside", "words"), [([], [1.0], "at least one"), ([1.0], [], "at least one")])
def test_empty_sets_are_refused(inside, outside, words):
    with pytest.raises(SintroError, match=words):
        measured(inside, outside)


def test_different_scores_are_refused():
    with pytest.raises(SintroError, match="elbo"):
        ood.detection({"elbo": np.ones(2)}, {"kl": np.ones(2)}, 0)


# --- scores


def linear_model(prior=None, width=1.6) -> tuple[Model, MultivariateNormal]:
    """x = W z + b + noise of variance 1/2 in float64, z ~ N(0, I); an encoder that is near the posterior, not equal.

    -> the model, and the exact distribution of x.
    """
    weight = torch.tensor([[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]], dtype=torch.float64)
    shift = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)
    precision = torch.eye(2, dtype=torch.float64) + 2 * weight.T @ weight
    gain = torch.linalg.solve(precision, 2 * weight.T)  # the posterior mean is gain (x - b)
    variance = width * torch.linalg.inv(precision).diagonal()

    def encode(x):
        mean = (x - shift) @ gain.T
        return torch.cat([mean, variance.log().expand_as(mean)], -1)

    model = Model(encode, lambda z: z @ weight.T + shift, prior or StandardNormal(2))
    return model, MultivariateNormal(shift, weight @ weight.T + 0.5 * torch.eye(3, dtype=torch.float64))


def test_the_bound_rises_with_k_from_the_elbo_to_the_likelihood():
    model, exact = linear_model()
    x = exact.mean + 1.5 * torch.randn(6, 3, generator=generator(0, "x"), dtype=torch.float64)
    copies = x.repeat_interleave(2000, 0)  # so many estimates of each
    likelihood = exact.log_prob(x) + 1.5 * math.log(math.pi)  # without the constant, as the scores
    means, errors = [], []
    for k in (1, 4, 16, 64):
        found = ood.scores(model, copies, model.prior, 1, generator(k, "noise"), k)["iw"].view(6, 2000)
        means.append(found.mean(1))
        errors.append(found.std(1) / math.sqrt(2000))
    means, errors = torch.stack(means), torch.stack(errors)  # [k, x]
    assert (means.diff(dim=0) > -4 * (errors[1:] + errors[:-1])).all()
    assert (means[1] > means[0] + 4 * errors[0]).all()  # strictly, where the gap is wide
    assert (means < likelihood + 4 * errors).all()
    torch.testing.assert_close(means[-1], likelihood, rtol=0, atol=0.01)
    elbo = ood.scores(model, copies, model.prior, 1, generator(9, "noise"), 4)["elbo"].view(6, 2000)
    assert ((means[0] - elbo.mean(1)).abs() < 5 * (errors[0] + elbo.std(1) / math.sqrt(2000))).all()


def test_one_mode_that_is_the_standard_normal_scores_as_it():
    zero = torch.zeros(1, 2, dtype=torch.float64)
    single = MixturePrior(zero, zero, torch.zeros(1, dtype=torch.float64))
    model, exact = linear_model()
    x = exact.mean + torch.randn(5, 3, generator=generator(0, "x"), dtype=torch.float64)
    ones, others = (ood.scores(model, x, prior, 3, generator(0, "n"), 8) for prior in (model.prior, single))
    for name in ood.SCORES:
        torch.testing.assert_close(ones[name], others[name])


def test_scores_are_high_for_the_models_own_data_and_the_parts_add_up():
    model, exact = linear_model()
    inside = exact.sample((300,))
    parts = [ood.scores(model, x, model.prior, 1, generator(0, "n")) for x in (inside, inside * 4 + 3)]
    for name in ood.SCORES:
        assert parts[0][name].mean() > parts[1][name].mean()
        assert parts[0][name].shape == (300,)
    torch.testing.assert_close(parts[0]["elbo"], parts[0]["kl"] + parts[0]["reconstruction"])
    torch.testing.assert_close(parts[0]["elbo_half"], parts[0]["kl"] + parts[0]["reconstruction"] / 2)


def test_the_half_weighted_score_and_its_constant_are_a_bound_of_the_likelihood_at_variance_one():
    """x = W z + b + noise of variance 1: E q log N(x; g(z), I) - KL <= log p(x), with log N's own constant."""
    model, exact = linear_model()
    weight = model.decoder(torch.eye(2, dtype=torch.float64)) - exact.mean  # [2, 3], W transposed
    likelihood = MultivariateNormal(exact.mean, weight.T @ weight + torch.eye(3, dtype=torch.float64))
    x = exact.mean + torch.randn(5, 3, generator=generator(0, "x"), dtype=torch.float64)
    found = ood.scores(model, x.repeat_interleave(2000, 0), model.prior, 1, generator(1, "n"))["elbo_half"].view(5, -1)
    bound = found.mean(1) - 1.5 * math.log(2 * math.pi)
    gap = likelihood.log_prob(x) - bound
    assert (gap > 0).all()
    assert (gap < 1.0).all()  # near: the encoder is nearly the posterior


def test_no_samples_are_refused():
    model, exact = linear_model()
    with pytest.raises(SintroError, match="k = 0"):
        ood.scores(model, exact.sample((2,)), model.prior, 1, generator(0, "n"), 0)


def test_every_measure_is_defined():
    rng = np.random.default_rng(0)
    inside, outside = ({name: rng.normal(size=size) for name in ood.SCORES} for size in (30, 20))
    metrics, arrays = ood.compare(inside, {"uniform": outside, "noise": inside}, 0, 25)
    numbers = {name for name, value in metrics.items() if isinstance(value, float)}
    assert len(numbers) == 2 * 5 * 3
    assert numbers <= set(METRICS)
    assert metrics["ood_noise_elbo_auroc"] == 0.5
    assert set(metrics["ood_intervals"]) == {name.removeprefix("ood_") for name in numbers}
    assert {name: len(values) for name, values in arrays.items()}["ood_inside_elbo"] == 25
    assert ood.compare({}, {}, 0, 25) == ({}, {})


# --- outliers


@pytest.mark.parametrize("target", datasets("2d").values(), ids=lambda target: target.name)
def test_uniform_points_fill_the_range_off_the_support(target):
    points = outliers.uniform_off_support(target, 4000, generator(0, "u"))
    assert points.shape == (4000, 2)
    assert not target.on_support(points).any()
    assert points.abs().max() <= target.half_width
    # as many in each quadrant: the supports are symmetric, or nearly so
    quadrants = torch.bincount((points > 0).long() @ torch.tensor([2, 1]), minlength=4)
    assert (quadrants > 800).all()
    assert len(outliers.uniform_off_support(target, 0, generator(0, "u"))) == 0


class Full:
    """A density whose support fills its square, or all of it but a strip."""

    name, half_width = "full", 2.0

    def __init__(self, free: float):
        self.free = free

    def on_support(self, points):
        return points[:, 0] > 4 * self.free - 2

    def sample(self, count, draws):
        return 4 * torch.rand(count, 2, generator=draws) - 2, None


def test_a_density_that_fills_its_square_has_no_points_off_its_support():
    points = outliers.uniform_off_support(Full(0.02), 100, generator(0, "u"))
    assert points.shape == (100, 2)
    with pytest.raises(SintroError, match=r"^full leaves too little of its square free"):
        outliers.uniform_off_support(Full(0), 100, generator(0, "u"))
    settings = published(Cell.from_path("results/s/rings/vae/normal/none/seed0")).model_copy(
        update={"evaluation_points": 30}
    )
    metrics, arrays = plane._detection(None, None, Full(0), settings, "cpu")
    names = [name for name in METRICS if name.startswith("ood_uniform_")]
    assert metrics == {
        NOT_MEASURED: dict.fromkeys(names, "full leaves too little of its square free for points off its support")
    }
    assert arrays == {}


def test_made_up_digits_keep_shape_and_histogram():
    test = images.load("digits", "test")
    made, missing = outliers.image_outliers(test, generator(0, "o"))
    assert missing is None
    assert set(made) == {"inverted", "noise"}
    assert torch.equal(made["inverted"].int() + test.images.int(), torch.full(test.images.shape, 255).int())
    ordered = [pixels.flatten(1).sort(-1).values for pixels in (made["noise"], test.images)]
    assert torch.equal(*ordered)
    assert not torch.equal(made["noise"], test.images)


@pytest.mark.parametrize(
    ("name", "partner"), [(name, one.partner) for name, one in datasets("images").items() if one.partner]
)
def test_a_missing_partner_is_said_in_one_line(tmp_path, name, partner):
    black = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    test = images.ImageSet(black, torch.zeros(2), name, "test", "", "verified")
    made, missing = outliers.image_outliers(test, generator(0, "o"), tmp_path)
    assert made == {}
    assert partner in missing
    assert "\n" not in missing


def test_a_partner_that_is_there_is_used(tmp_path, monkeypatch):
    import made_images

    made_images.make("svhn", monkeypatch).store(tmp_path)
    black = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    test = images.ImageSet(black, torch.zeros(2), "cifar10", "test", "", "verified")
    made, missing = outliers.image_outliers(test, generator(0, "o"), tmp_path)
    assert missing is None
    assert made["pair"].shape == (made_images.TEST, 3, 32, 32)
    expected = images.load("svhn", "test", tmp_path).images
    assert made["pair"].sum() == expected.sum()

    test = images.ImageSet(black[:, :, :16], torch.zeros(2), "cifar10", "test", "", "verified")
    made, missing = outliers.image_outliers(test, generator(0, "o"), tmp_path)
    assert made == {}
    assert missing == "no out-of-distribution images, those of svhn are 3 x 32 x 32, and of cifar10 3 x 16 x 32"


@torch.no_grad()
def test_a_2d_cell_is_evaluated_with_detection():
    cell = Cell.from_path("results/t/rings/soft-introvae/mog4-learned/clip/seed0")
    changes = {"evaluation_grid": 32, "evaluation_points": 200, "samples": 3}
    settings = published(cell).model_copy(update=changes)
    model = Players([settings]).model
    metrics, arrays = measure_density(model, settings, "cpu")
    assert {name for name in METRICS if name.startswith("ood_uniform")} <= set(metrics)
    assert 0 <= metrics["ood_uniform_elbo_auroc"] <= 1
    low, high = metrics["ood_intervals"]["uniform_elbo_auroc"]
    assert 0 <= low <= metrics["ood_uniform_elbo_auroc"] <= high <= 1
    assert arrays["ood_uniform_iw"].shape == arrays["ood_inside_iw"].shape == (200,)
    assert measure_density(model, settings, "cpu")[0] == metrics
