"""Normalised entropy, inactive modes and drift against hand-made values and torch's distributions."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch.distributions import Independent, Normal, kl_divergence

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.metrics import NotFinite
from sintro.metrics.latent import (
    MeanResponsibilities,
    drift,
    gaussian_kl,
    inactive_modes,
    published_responsibility_entropy,
    responsibility_entropy,
)
from sintro.priors import MixturePrior, StandardNormal

GOLDEN = Path(__file__).parent / "golden"


def test_entropy_of_equal_responsibilities_is_one_and_of_one_mode_zero():
    assert responsibility_entropy(torch.full((10,), 0.1)).item() == pytest.approx(1, abs=1e-6)
    assert responsibility_entropy(torch.eye(10)[3]).item() == pytest.approx(0, abs=1e-6)


def test_entropy_is_in_nats_when_log_k_is_not_above_one():
    assert responsibility_entropy(torch.tensor([0.5, 0.5])).item() == pytest.approx(math.log(2), rel=1e-6)
    three = torch.tensor([0.5, 0.25, 0.25])
    nats = 0.5 * math.log(2) + 0.5 * math.log(4)
    assert responsibility_entropy(three).item() == pytest.approx(nats / math.log(3), rel=1e-6)


def test_inactive_modes_by_hand():
    averaged = torch.tensor([[0.95, 0.03, 0.02, 0.0], [0.25, 0.25, 0.25, 0.25], [0.8, 0.07, 0.0625, 0.0675]])
    assert inactive_modes(averaged).tolist() == [3, 0, 0]  # 1 / K^2 = 0.0625, itself not below
    assert inactive_modes(torch.tensor([1 - 1e-7])).item() == 0


def test_mean_responsibilities_do_not_depend_on_the_batches():
    responsibilities = torch.rand(30, 7, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    averaged = MeanResponsibilities()
    for batch in responsibilities.split(8):
        averaged.update(batch)
    assert averaged.count == 210
    torch.testing.assert_close(averaged.mean, responsibilities.double().mean((0, 1)))


def test_drift_agrees_with_torch():
    generator = torch.Generator().manual_seed(1)
    mean1, log_var1, mean2, log_var2 = torch.randn(4, 50, 3, generator=generator, dtype=torch.float64)
    expected = kl_divergence(
        Independent(Normal(mean1, (log_var1 / 2).exp()), 1), Independent(Normal(mean2, (log_var2 / 2).exp()), 1)
    )
    torch.testing.assert_close(gaussian_kl(mean1, log_var1, mean2, log_var2), expected)
    torch.testing.assert_close(drift(mean1, log_var1, mean2, log_var2), expected.mean())


def test_drift_has_a_direction_and_vanishes_at_a_fixed_point():
    zero, wide = torch.zeros(1, 1), torch.full((1, 1), math.log(4.0))
    assert drift(zero, zero, zero, zero).item() == 0
    # from the reconstruction's posterior to the image's: 1/2 (1/4 - 1 + log 4) and not 1/2 (4 - 1 - log 4)
    assert drift(zero, zero, zero, wide).item() == pytest.approx(0.5 * (0.25 - 1 + math.log(4)))


def test_what_are_no_mean_responsibilities_is_refused():
    with pytest.raises(SintroError, match="sum to 1"):
        responsibility_entropy(torch.tensor([0.5, 0.6]))
    with pytest.raises(SintroError, match="non-negative"):
        inactive_modes(torch.tensor([1.5, -0.5]))
    with pytest.raises(SintroError, match="no samples"):
        _ = MeanResponsibilities().mean
    with pytest.raises(NotFinite, match="not finite"):
        responsibility_entropy(torch.full((3,), math.nan))
    with pytest.raises(SintroError, match="sum to 1"):
        responsibility_entropy(torch.zeros(0))


# --- the published form, batch by batch


@pytest.fixture(scope="module")
def golden():
    expected = json.loads((GOLDEN / "image_metrics.json").read_text())
    arrays = {name: torch.from_numpy(values) for name, values in np.load(GOLDEN / expected["file"]).items()}
    return expected, arrays


@pytest.mark.parametrize("batch_size", [32, 128])
def test_published_entropy_is_that_of_the_released_code(golden, batch_size):
    """Stage: sampled codes to one number. Tolerance: 4 standard errors of the difference of two estimates."""
    expected, arrays = golden
    prior = MixturePrior(arrays["means"], arrays["log_vars"], arrays["weights"].log())
    mean, error = expected["entropy_by_batch_size"][str(batch_size)]
    log_var = torch.full_like(arrays["codes"], expected["posterior_log_var"])
    found = [
        published_responsibility_entropy(arrays["codes"], log_var, prior, batch_size, 100, generator(draw, "test"))
        for draw in range(10)
    ]
    ours = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - mean) < 4 * math.hypot(ours, error)
    assert ours < 5e-5  # so that the two batch sizes, 0.05 apart, are far from each other


def circle(modes: int) -> MixturePrior:
    """Well separated modes in the plane, equally heavy."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    means = 100.0 * torch.stack((angles.cos(), angles.sin()), -1)
    return MixturePrior(means, torch.zeros(modes, 2), torch.zeros(modes))


def test_published_entropy_depends_on_the_batch_size_and_the_standard_form_does_not():
    """A uniform use of 100 modes: a batch of B codes leaves most of them out."""
    prior = circle(100)
    order = torch.randint(100, (20_000,), generator=generator(0, "order"))
    codes = prior.means[order]
    narrow = torch.full_like(codes, -4.0)

    def entropy(batch_size):
        return published_responsibility_entropy(codes, narrow, prior, batch_size, 2, generator(1, "noise"))

    for batch_size in (32, 128):  # each code is in one mode alone, so the counts of a mode are binomial
        counts = np.arange(1, batch_size + 1)
        terms = counts / batch_size * np.log(counts / batch_size)
        expected = -100 * (binom.pmf(counts, batch_size, 0.01) * terms).sum() / math.log(100)
        assert entropy(batch_size) == pytest.approx(expected, abs=0.003)
    assert entropy(len(codes)) > 0.998
    assert responsibility_entropy(prior.responsibilities(codes).double().mean(0)) > 0.998


def test_batches_count_by_their_size():
    """By hand: a batch of three codes in three modes (log 3 / log 4) and a last one of one code (0)."""
    prior = circle(4)
    codes = prior.means[torch.tensor([0, 1, 2, 3])]
    found = published_responsibility_entropy(codes, torch.full((4, 2), -9.0), prior, 3, 5, generator(0, "n"))
    assert found == pytest.approx((3 * math.log(3) / math.log(4) + 0) / 4, abs=1e-5)


def test_bad_input_of_the_published_entropy_is_one_line():
    prior, codes, noise = circle(3), torch.zeros(4, 2), generator(0, "n")
    for arguments, words in [
        ((codes, torch.zeros(3, 2), prior, 2, 5), "means"),
        ((codes[:0], codes[:0], prior, 2, 5), "means"),
        ((codes, codes, prior, 0, 5), "batch size 0"),
        ((codes, codes, prior, 2, 0), "0 samples"),
        ((codes, codes, StandardNormal(2), 2, 5), "no modes"),
        ((codes * math.nan, codes, prior, 2, 5), "not finite"),
    ]:
        with pytest.raises(SintroError, match=words):
            published_responsibility_entropy(*arguments, noise)
