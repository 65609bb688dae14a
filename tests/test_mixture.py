"""The fast mixture density against independent ones: torch.distributions in float64, and whole-array autograd."""

import math
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import distributions

from sintro.priors import expanded, mixture
from sintro.priors.mixture import mixture_log_prob, shared_log_prob


@pytest.fixture(params=["fused", "expanded"], autouse=True)
def form(request, monkeypatch):
    """Run every test with either form of the table: the fused one is for float32 in the plane alone."""
    if request.param == "expanded":
        monkeypatch.setattr(mixture, "_fused", lambda: None)
    return request.param


def reference(z, means, log_vars, log_weights):
    """torch.distributions' mixture, which subtracts before it squares."""
    parts = distributions.Independent(distributions.Normal(means, torch.exp(0.5 * log_vars)), 1)
    return distributions.MixtureSameFamily(distributions.Categorical(logits=log_weights), parts).log_prob(z)


def made(n, k, size, seed=0, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, size, generator=generator, dtype=dtype) * 2 * spread
    means = torch.randn(k, size, generator=generator, dtype=dtype) * spread
    log_vars = torch.randn(k, size, generator=generator, dtype=dtype)
    log_weights = torch.log_softmax(torch.randn(k, generator=generator, dtype=dtype), -1)
    return z, means, log_vars, log_weights


def copies(tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize(("n", "k", "size"), [(300, 7, 2), (50, 1, 3), (40, 100, 32), (1, 2, 1)])
def test_value_and_every_gradient_agree_with_torch_distributions(n, k, size):
    ours, theirs = copies(made(n, k, size)), copies(made(n, k, size))
    weights = torch.randn(n, dtype=torch.float64)
    log_prob, _ = mixture_log_prob(*ours)
    expected = reference(*theirs)
    torch.testing.assert_close(log_prob, expected, rtol=1e-10, atol=1e-10)
    (log_prob @ weights).backward()
    (expected @ weights).backward()
    # the reference normalises its logits: compare the gradient along the simplex
    ours[3].grad -= torch.exp(ours[3].detach()) * ours[3].grad.sum()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (300, 7), (1024, 64), (2500, 3)])  # blocks of 1,024 points
@pytest.mark.parametrize("responsibilities", [False, True])
def test_float32_agrees_with_torch_distributions_in_float64(n, k, responsibilities):
    double = made(n, k, 2)
    ours, theirs = copies(t.float() for t in double), copies(t.float().double() for t in double)
    generator = torch.Generator().manual_seed(n)
    weights, cotangent = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (n, k))
    log_prob, found = mixture_log_prob(*ours, mean_responsibilities=responsibilities)
    parts = distributions.Independent(distributions.Normal(theirs[1], torch.exp(0.5 * theirs[2])), 1)
    log_joint = parts.log_prob(theirs[0].unsqueeze(-2)) + theirs[3]
    expected, shares = torch.logsumexp(log_joint, -1), torch.softmax(log_joint, -1).mean(0)
    torch.testing.assert_close(log_prob.double(), expected, rtol=2e-6, atol=2e-6)
    mine, other = log_prob @ weights.float(), expected @ weights
    if responsibilities:
        torch.testing.assert_close(found.double(), shares, rtol=2e-6, atol=2e-6)
        mine, other = mine + found @ cotangent.float() * n, other + shares @ cotangent * n
    mine.backward()
    other.backward()
    for one, exact in zip(ours, theirs, strict=True):
        assert (one.grad.double() - exact.grad).norm() <= 1e-5 * exact.grad.norm() + 1e-6


def test_the_fused_form_is_used_where_it_can_be(form):
    single, double = torch.zeros(1, 3, 2), torch.zeros(1, 3, 2, dtype=torch.float64)
    names = [mixture._form(*pair).__name__ for pair in ((single, single), (double, double), (double, single))]
    assert names == (["Fused", "Expanded", "Expanded"] if form == "fused" else ["Expanded"] * 3)
    assert mixture._form(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)).__name__ == "Expanded"


@pytest.mark.parametrize("form", ["fused"], indirect=True)
def test_without_numba_the_other_form_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "sintro.priors.fused", raising=False)
    monkeypatch.delattr("sintro.priors.fused", raising=False)
    mixture._fused.cache_clear()
    try:
        assert mixture._form(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)).__name__ == "Expanded"
    finally:
        mixture._fused.cache_clear()


COMPILED_FOR_AVX_512 = """
import sys

from llvmlite import binding

host = binding.get_host_cpu_features()
host.update({name: True for name in ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma")})
binding.get_host_cpu_features = lambda: host

from numba import float32, float64, int64, types

from sintro.priors import fused

row, modes = float32[::1], types.Tuple((float32[:, ::1], float64[:, ::1], float64[::1], float64[:, ::1]))
for function, arguments in (
    (fused._sweep, (row, row, row, int64, float64, modes, row, row, row, row)),
    (fused._add_over_points, (row, row, int64, modes, row, row, float64[::1])),
):
    function.compile(arguments)
    [assembly] = function.inspect_asm().values()
    products = [line for line in assembly.splitlines() if "vfm" in line or "vfnm" in line]
    print(sum("zmm" in line for line in products), sum("ymm" in line for line in products))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX-512 belongs to x86-64")
@pytest.mark.parametrize("form", ["fused"], indirect=True)
def test_avx_512_is_used_at_its_full_width(tmp_path):
    """Compiled, not run: the machine that tests need not have AVX-512."""
    environment = os.environ | {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CACHE_DIR": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", COMPILED_FOR_AVX_512], env=environment, capture_output=True, text=True, check=True
    )
    for line in made.stdout.splitlines():
        wide, narrow = map(int, line.split())
        assert wide > 0
        assert narrow == 0


def test_mean_responsibilities_are_the_mean_of_responsibilities_with_the_gradient_of_autograd():
    z, means, log_vars, log_weights = made(200, 6, 2)
    ours, theirs = copies((z, means, log_vars, log_weights)), copies((z, means, log_vars, log_weights))
    weights, cotangent = torch.randn(200, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    log_prob, responsibilities = mixture_log_prob(*ours, mean_responsibilities=True)
    parts = distributions.Independent(distributions.Normal(theirs[1], torch.exp(0.5 * theirs[2])), 1)
    log_joint = parts.log_prob(theirs[0].unsqueeze(-2)) + theirs[3]
    expected = torch.softmax(log_joint, -1).mean(0)
    torch.testing.assert_close(responsibilities, expected)
    assert responsibilities.sum().item() == pytest.approx(1)
    (log_prob @ weights + responsibilities @ cotangent).backward()
    (torch.logsumexp(log_joint, -1) @ weights + expected @ cotangent).backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-10)


def test_mean_responsibilities_alone_can_be_differentiated():
    tensors = copies(made(50, 4, 2))
    mixture_log_prob(*tensors, mean_responsibilities=True)[1][0].backward()
    assert all(t.grad.abs().sum() > 0 for t in tensors)


def test_gradients_pass_gradcheck():
    tensors = copies(made(12, 3, 2))

    def both(*inputs):
        return mixture_log_prob(*inputs, mean_responsibilities=True)

    assert torch.autograd.gradcheck(both, tensors)


@pytest.mark.parametrize("log_var", [-14.0, -8.0, 0.0])
@pytest.mark.parametrize("far", [1.0, 100.0])
def test_float32_is_exact_with_large_means_and_small_variances(far, log_var):
    """The bound that the module promises: relative error of log p under 1e-4, of gradients under 1e-3."""
    generator = torch.Generator().manual_seed(1)
    means = (2 * torch.rand(64, 2, generator=generator) - 1) * far
    log_vars = torch.full((64, 2), log_var) + torch.rand(64, 2, generator=generator)
    log_weights = torch.full((64,), -math.log(64))
    chosen = torch.randint(64, (2000,), generator=generator)
    deviation = torch.exp(0.5 * log_vars[chosen])
    z = means[chosen] + 2 * deviation * torch.randn(2000, 2, generator=generator)
    single = copies((z, means, log_vars, log_weights))
    double = copies([t.double() for t in (z, means, log_vars, log_weights)])
    value = mixture_log_prob(*single)[0]
    expected = reference(*double)
    assert ((value.double() - expected).abs() / expected.abs().clamp(min=0.1)).max() < 1e-4
    value.sum().backward()
    expected.sum().backward()
    for mine, other in zip(single[:3], double[:3], strict=True):
        assert (mine.grad.double() - other.grad).norm() / other.grad.norm() < 1e-3


@pytest.mark.parametrize(("log_var", "seed"), [(-42.0, 1), (-42.0, 5), (-60.0, 5)])
def test_of_modes_too_narrow_for_the_digits_no_density_is_above_every_peak(log_var, seed):
    """The expanded square keeps no digit here; an infinite or vast density would pass for a wonderful one."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(4, 2, generator=generator)
    log_vars = torch.tensor([[log_var] * 2, [0.0] * 2, [0.0] * 2, [0.0] * 2])
    log_weights = torch.full((4,), -math.log(4))
    z = means[0] + math.exp(log_var / 2) * torch.randn(500, 2, generator=generator)
    value, found = mixture_log_prob(z, means, log_vars, log_weights, mean_responsibilities=True)
    peak = float(log_weights[0]) - log_var - math.log(2 * math.pi)
    assert torch.isfinite(value).all()
    assert value.max() <= peak + math.log(4) + 1e-4
    assert torch.isfinite(found).all()


def test_remote_points_keep_their_value_and_gradient():
    """Where every term underflows relative to the highest peak, and where one mode is needle-sharp."""
    z = torch.tensor([[0.0, 0.0], [1e3, -1e3], [1e6, 0.0], [3.0, 3.0]], dtype=torch.float64)
    means = torch.tensor([[0.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    log_vars = torch.tensor([[-20.0, -20.0], [0.0, 0.0]], dtype=torch.float64)
    log_weights = torch.log(torch.tensor([0.5, 0.5], dtype=torch.float64))
    ours, theirs = copies((z, means, log_vars, log_weights)), copies((z, means, log_vars, log_weights))
    value, expected = mixture_log_prob(*ours)[0], reference(*theirs)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    value.sum().backward()
    expected.sum().backward()
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-6)


def test_chunks_do_not_show(monkeypatch):
    tensors = made(501, 5, 2)
    whole = copies(tensors)
    (mixture_log_prob(*whole, mean_responsibilities=True)[1] ** 2).sum().backward()
    value = mixture_log_prob(*tensors)[0]
    monkeypatch.setitem(expanded.CHUNK_ENTRIES, "cpu", 64)
    parts = copies(tensors)
    (mixture_log_prob(*parts, mean_responsibilities=True)[1] ** 2).sum().backward()
    torch.testing.assert_close(mixture_log_prob(*tensors)[0], value)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_fleet_is_its_cells_side_by_side():
    cells = [made(90, 4, 2, seed) for seed in (1, 2, 3)]
    together = copies([torch.stack(t) for t in zip(*cells, strict=True)])
    log_prob, responsibilities = mixture_log_prob(*together, mean_responsibilities=True)
    (log_prob.sum() + (responsibilities**2).sum()).backward()
    for index, cell in enumerate(cells):
        alone = copies(cell)
        own_log_prob, own_responsibilities = mixture_log_prob(*alone, mean_responsibilities=True)
        (own_log_prob.sum() + (own_responsibilities**2).sum()).backward()
        torch.testing.assert_close(log_prob[index], own_log_prob)
        torch.testing.assert_close(responsibilities[index], own_responsibilities)
        for fleet, single in zip(together, alone, strict=True):
            torch.testing.assert_close(fleet.grad[index], single.grad)


@pytest.mark.parametrize("form", ["fused"], indirect=True)  # the expanded square has lost all digits here
def test_the_fused_form_keeps_the_digits_of_narrow_modes():
    """The needle's peak is 40 nats above those of the other modes."""
    generator = torch.Generator().manual_seed(3)
    means = torch.randn(4, 2, generator=generator)
    log_vars = torch.tensor([[-40.0, -40.0], [0.0, 0.0], [-1.0, 1.0], [0.0, 0.0]])
    log_weights = torch.full((4,), -math.log(4))
    z = torch.cat(
        (means[0] + 1e-7 * torch.randn(300, 2, generator=generator), torch.randn(300, 2, generator=generator))
    )
    single = copies((z, means, log_vars, log_weights))
    double = copies([t.double() for t in (z, means, log_vars, log_weights)])
    weights = torch.randn(600, generator=generator)
    value, expected = mixture_log_prob(*single)[0], reference(*double)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-4)
    (value @ weights).backward()
    (expected @ weights.double()).backward()
    for mine, other in zip(single[:3], double[:3], strict=True):
        assert (mine.grad.double() - other.grad).norm() / other.grad.norm() < 1e-4


@pytest.mark.parametrize("distance", [8.0, 30.0, 1e3])
def test_remote_points_of_float32_have_the_gradients_of_float64(distance):
    """Points far from every mode, of one cell of a fleet or of both, through log p and mean responsibilities."""
    cells = [made(200, 5, 2, seed) for seed in (1, 2)]
    tensors = [torch.stack(t) for t in zip(*cells, strict=True)]
    tensors[0][:, :20] *= distance
    tensors[0][0, 20:40] *= distance
    cotangent, weights = torch.linspace(-1, 1, 5), torch.linspace(-2, 1, 200)
    found = []
    for dtype in (torch.float64, torch.float32):
        leaves = copies([t.to(dtype) for t in tensors])
        log_prob, responsibilities = mixture_log_prob(*leaves, mean_responsibilities=True)
        ((log_prob @ weights.to(dtype)).sum() + 50 * (responsibilities @ cotangent.to(dtype)).sum()).backward()
        found.append([log_prob.detach(), responsibilities.detach(), *(leaf.grad for leaf in leaves)])
    for exact, single in zip(*found, strict=True):
        assert (single.double() - exact).norm() / exact.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nan_and_infinite_points_are_passed_on_not_hidden(dtype):
    z, *rest = made(4, 3, 2, dtype=dtype)
    z[1, 0], z[2, 1] = math.nan, math.inf
    tensors = copies((z, *rest))
    value = mixture_log_prob(*tensors)[0]
    assert torch.isfinite(value[[0, 3]]).all()
    assert not torch.isfinite(value[[1, 2]]).any()
    value.sum().backward()
    assert torch.isfinite(tensors[0].grad[[0, 3]]).all()
    assert not torch.isfinite(tensors[1].grad).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("which", [1, 2])  # means, log-variances
def test_a_mode_that_is_not_a_number_is_passed_on(dtype, which):
    tensors = list(made(600, 3, 2, dtype=dtype))
    tensors[which][1, 0] = math.nan
    assert torch.isnan(mixture_log_prob(*tensors)[0]).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("far", [1.0, 1e3])  # 1e3: points where all terms underflow, for one cell or for all
def test_one_pass_for_two_players_gives_what_two_passes_give(dtype, far):
    cells = [made(200, 5, 2, seed, dtype=dtype) for seed in (1, 2)]
    tensors = [torch.stack(t) for t in zip(*cells, strict=True)]
    tensors[0][:, :20] *= far
    tensors[0][0, 20:40] *= far
    shared, apart = copies(tensors), copies(tensors)
    log_prob, responsibilities, mean = shared_log_prob(*shared)
    expected, expected_responsibilities = mixture_log_prob(*apart, mean_responsibilities=True)
    for mine, other in ((log_prob, expected), (responsibilities, expected_responsibilities), (mean, expected.mean(-1))):
        torch.testing.assert_close(mine, other)
    cotangent = torch.linspace(-1, 1, 5, dtype=dtype)
    for_z = (
        log_prob.square().sum() + (responsibilities @ cotangent).sum(),
        expected.square().sum() + (expected_responsibilities @ cotangent).sum(),
    )
    torch.testing.assert_close(
        *(
            torch.autograd.grad(value, own[0], retain_graph=True)[0]
            for value, own in zip(for_z, (shared, apart), strict=True)
        )
    )
    factors = torch.tensor([2.0, -3.0], dtype=dtype)
    mine = torch.autograd.grad(mean @ factors, shared[1:])
    other = torch.autograd.grad(expected.mean(-1) @ factors, apart[1:])
    for one, expected_one in zip(mine, other, strict=True):
        torch.testing.assert_close(one, expected_one, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-9)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(shared_log_prob(*shared)[0].sum(), shared[1])


def test_float32_mean_responsibilities_and_its_gradient_are_those_of_float64():
    double = made(3000, 64, 2)
    found = []
    for tensors in (double, [t.float() for t in double]):
        leaves = copies(tensors)
        responsibilities = mixture_log_prob(*leaves, mean_responsibilities=True)[1]
        (responsibilities * torch.log(responsibilities)).sum().backward()
        found.append([responsibilities.detach().double(), *(leaf.grad.double() for leaf in leaves)])
    for exact, single in zip(*found, strict=True):
        assert (single - exact).norm() / exact.norm() < 1e-4
