"""Responsibility entropy, inactive modes and drift against hand-made values and torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from sintro import SintroError
from sintro.metrics.latent import Shares, drift, gaussian_kl, inactive_modes, responsibility_entropy


def test_entropy_of_equal_shares_is_one_and_of_one_mode_zero():
    assert responsibility_entropy(torch.full((10,), 0.1)).item() == pytest.approx(1, abs=1e-6)
    assert responsibility_entropy(torch.eye(10)[3]).item() == pytest.approx(0, abs=1e-6)


def test_entropy_is_in_nats_when_log_k_is_not_above_one():
    assert responsibility_entropy(torch.tensor([0.5, 0.5])).item() == pytest.approx(math.log(2), rel=1e-6)
    three = torch.tensor([0.5, 0.25, 0.25])
    nats = 0.5 * math.log(2) + 0.5 * math.log(4)
    assert responsibility_entropy(three).item() == pytest.approx(nats / math.log(3), rel=1e-6)


def test_inactive_modes_by_hand():
    shares = torch.tensor([[0.95, 0.03, 0.02, 0.0], [0.25, 0.25, 0.25, 0.25], [0.8, 0.07, 0.0625, 0.0675]])
    assert inactive_modes(shares).tolist() == [3, 0, 0]  # 1 / K^2 = 0.0625, itself not below
    assert inactive_modes(torch.tensor([1 - 1e-7])).item() == 0


def test_shares_do_not_depend_on_the_batches():
    responsibilities = torch.rand(30, 7, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    shares = Shares()
    for batch in responsibilities.split(8):
        shares.update(batch)
    assert shares.count == 210
    torch.testing.assert_close(shares.mean, responsibilities.double().mean((0, 1)))


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


def test_what_are_no_shares_is_refused():
    with pytest.raises(SintroError, match="sum to 1"):
        responsibility_entropy(torch.tensor([0.5, 0.6]))
    with pytest.raises(SintroError, match="non-negative"):
        inactive_modes(torch.tensor([1.5, -0.5]))
    with pytest.raises(SintroError, match="no samples"):
        _ = Shares().mean
