r"""The log density of a mixture of Gaussians: the hot spot of the benchmark, exact and fast.

For points z_n and modes k with precisions p_k = exp(-s_k),

    l_kn = log w_k - 1/2 sum_d (log 2 pi + s_kd + (z_nd - m_kd)^2 p_kd) = W_k . [z_n^2, z_n, 1],
    log p(z_n) = log sum_k exp(l_kn),

so the K x N table is one matrix product with 2 L + 1 inner columns, and so are all gradients, in the other direction:
with r_kn = exp(l_kn) / p(z_n),

    d log p / d z_n = sum_k r_kn p_k m_k - z_n sum_k r_kn p_k,
    d / d m_k       = p_k (M_k[z] - m_k M_k[1]),                   M_k[f] = sum_n g_n r_kn f(z_n),
    d / d s_k       = 1/2 (p_k (M_k[z^2] - 2 m_k M_k[z] + m_k^2 M_k[1]) - M_k[1]),
    d / d log w_k   = M_k[1].

The expanded square cancels badly when means are large against the variances (m^2 p = 1e10 for m = 100, s = -14), so the
products run in float64, where 1e10 costs six of sixteen digits. Once shifted, l_kn - shift_n is at most zero, and where
it matters above -87: a float32 holds that to 4e-6, so float32 input has its exponentials in float32, at half the cost.
The table is worked through in chunks that stay in the processor's second-level cache and is never stored. The shift
per point is one more column of the product: the highest peak of any mode, which cannot overflow, and for points so
remote that all their terms underflow, those points' own maximum.
"""

import math
from collections.abc import Iterator

import torch

LOG_2PI = math.log(2 * math.pi)
CHUNK_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 25}  # entries of the K x N table at a time: 1 MiB, 256 MiB
# Per precision: the smallest exponent, exp(-690) = 1e-300 and exp(-87) = 1.6e-38, and the sum under which it shows.
LOWEST = {torch.float64: -690.0, torch.float32: -87.0}
UNDERFLOW = {torch.float64: 1e-290, torch.float32: 1e-30}


def sampled_log_prob(
    log_var: torch.Tensor, squared_noise: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """log N(z; mean, diag exp(log_var)) at z = mean + exp(log_var / 2) eps, from eps^2 or its mean over draws.

    ``[..., L]`` to ``[...]``, summed in ``dtype``. From the noise itself: (z - mean) / sd would lose it where the
    density is narrow.
    """
    return -0.5 * (log_var + LOG_2PI + squared_noise).sum(-1, dtype=dtype)


def _may_look(tensor: torch.Tensor) -> bool:
    """Whether a decision on what a tensor holds is cheap: on a GPU the processor would wait for the device."""
    return tensor.device.type == "cpu"


class _Modes:
    """Everything about F mixtures of K modes that the table and its gradients need, in float64.

    Exponentials are taken in the precision of ``means``, everything else in float64.
    """

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor):
        self.precision = torch.float64 if means.dtype == torch.float64 else torch.float32
        self.means, self.precisions = means.double(), torch.exp(-log_vars.double())  # [F, K, L]
        peaks = log_weights.double() - 0.5 * (log_vars.double() + LOG_2PI).sum(-1)
        self.peak = peaks.amax(-1, keepdim=True)  # [F, 1]
        products = self.means * self.precisions
        constants = (peaks - 0.5 * (self.means * products).sum(-1)).unsqueeze(-1)
        ones = torch.ones_like(constants)
        self.rows = torch.cat((-0.5 * self.precisions, products, constants, ones), -1)  # [F, K, 2L + 2]
        self.ones = ones.mT  # [F, 1, K]
        self.buffers: list[torch.Tensor] = []
        self.moments = torch.cat((self.ones, products.mT, self.precisions.mT), 1)  # [F, 1 + 2L, K]

    def features(self, z: torch.Tensor) -> torch.Tensor:
        """Rows z^2, z, 1 and minus the shift (here the highest peak): [F, 2L + 2, N]."""
        columns = z.mT.double()
        ones = torch.ones_like(columns[:, :1])
        return torch.cat((columns.square(), columns, ones, ones * -self.peak.unsqueeze(-1)), 1)

    def parts(self, features: torch.Tensor) -> Iterator[slice]:
        size = max(1, CHUNK_ELEMENTS.get(features.device.type, 1 << 20) // self.ones.numel())
        for start in range(0, features.shape[-1], size):
            yield slice(start, start + size)

    def table(self, features: torch.Tensor) -> torch.Tensor:
        """exp(l_kn - shift_n), float64 [F, K, C], in a buffer that the next call overwrites.

        Buffers, because fresh memory for every chunk costs as much as the product. The clamp keeps exponentials out of
        the subnormal range, where processors are a hundred times slower; what it adds is under 2e-38 (1e-299).
        """
        cells, components, points = *self.rows.shape[:2], features.shape[-1]
        size = cells * components * points
        if not self.buffers or self.buffers[0].numel() < size:
            precisions = dict.fromkeys((torch.float64, self.precision))  # one buffer where they are the same
            self.buffers = [torch.empty(size, dtype=dtype, device=features.device) for dtype in precisions]
        table, *narrow = (buffer[:size].view(cells, components, points) for buffer in self.buffers)
        torch.bmm(self.rows, features, out=table)
        exponents = narrow[0].copy_(table) if narrow else table
        exponents.clamp_(min=LOWEST[self.precision]).exp_()
        return table.copy_(exponents) if narrow else table

    def sums(self, features: torch.Tensor, moments: torch.Tensor, mean_responsibilities: bool):
        """``moments`` [F, R, K] (first row ones) times the table, [F, R, N], and M_k[z^2], M_k[z], M_k[1] at g = 1 / N,
        [F, K, 2L + 1], the last of which are the mean responsibilities. The second result is None unless they are asked
        for.

        Mends the shift where terms underflow.
        """
        sums = torch.empty((*moments.shape[:2], features.shape[-1]), dtype=features.dtype, device=features.device)
        per_mode = torch.zeros_like(self.rows[..., :-1]) if mean_responsibilities else None
        if _may_look(features):
            for part in self.parts(features):
                self._add(features[..., part], moments, part, sums, per_mode)
            remote = (~self._shows(sums[:, 0])).any(0).nonzero().squeeze(-1)
        else:  # shift every point
            remote = None
        if remote is None or len(remote):
            self._mend(features, moments, remote, sums, per_mode)
        return sums, None if per_mode is None else per_mode / features.shape[-1]

    def _shows(self, total: torch.Tensor) -> torch.Tensor:
        """Where a point's terms did not all underflow at its shift; not where a sum is NaN."""
        return total >= UNDERFLOW[self.precision]

    def _add(self, chunk, moments, where, sums, per_mode, counted=1) -> None:
        """One chunk's part of both results; points that underflow do not count as yet."""
        table = self.table(chunk)
        sums[..., where] = torch.bmm(moments, table)
        if per_mode is not None:
            total = sums[:, 0, where]
            weight = torch.where(self._shows(total), counted / total, 0)
            per_mode += torch.bmm(table, (chunk[:, :-1] * weight.unsqueeze(1)).mT)

    def _mend(self, features, moments, remote, sums, per_mode) -> None:
        """Again for the ``remote`` points (None: for all), with each point's own maximum as its shift."""
        mended = features if remote is None else features[..., remote]
        counted = torch.ones_like(mended[:, 0])
        if remote is not None:  # the point may be remote to one cell of a fleet and counted already in another
            counted[self._shows(sums[:, 0, remote])] = 0
        for part in self.parts(mended):
            chunk = mended[..., part]
            chunk[:, -1] -= torch.bmm(self.rows, chunk).amax(1)
            self._add(chunk, moments, part if remote is None else remote[part], sums, per_mode, counted[:, part])
        if remote is not None:
            features[:, -1, remote] = mended[:, -1]


class _MixtureLogProb(torch.autograd.Function):
    """z [F, N, L], means and log_vars [F, K, L], log_weights [F, K] -> log p [F, N]; where asked for, also the
    mean responsibilities [F, K] and, without a gradient, what the mean of log p tells the prior, [F, K, 2L + 1]."""

    @staticmethod
    def forward(ctx, z, means, log_vars, log_weights, mean_responsibilities):
        modes = _Modes(means, log_vars, log_weights)
        features = modes.features(z)
        rows = modes.moments if ctx.needs_input_grad[0] else modes.ones
        sums, per_mode = modes.sums(features, rows, mean_responsibilities)
        total = sums[:, 0]
        log_prob = (total.log() - features[:, -1]).to(z.dtype)
        slope = (_slope(sums, features) / total.unsqueeze(1)).mT.to(z.dtype) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(means, log_vars, log_weights, slope, features, total)
        ctx.set_materialize_grads(False)
        if per_mode is None:
            return log_prob, None, None
        ctx.mark_non_differentiable(per_mode)
        return log_prob, per_mode[..., -1].to(z.dtype), per_mode

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_log_prob, grad_responsibilities, _):
        means, log_vars, log_weights, slope, features, total = ctx.saved_tensors
        wants_z, wants_prior = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:4])
        if grad_log_prob is None:
            grad_log_prob = torch.zeros_like(total)
        if grad_responsibilities is None:
            grad_z = slope * grad_log_prob.unsqueeze(-1) if wants_z else None
            if not wants_prior:
                return grad_z, None, None, None, None
        modes = _Modes(means, log_vars, log_weights)
        if grad_responsibilities is None:
            weighted = features[:, :-1] * (grad_log_prob / total).unsqueeze(1)
            sums = torch.zeros_like(modes.rows[..., :-1])
            for part in modes.parts(features):
                sums += torch.bmm(modes.table(features[..., part]), weighted[..., part].mT)
        else:
            cotangents = grad_log_prob, grad_responsibilities.double()
            grad_z, sums = _backward_with_responsibilities(modes, features, total, *cotangents, wants_prior)
            grad_z = grad_z.to(slope.dtype) if wants_z else None
        grads = _prior_gradients(means, log_vars, sums) if wants_prior else [None] * 3
        return grad_z, *grads, None


class _MeanLogProb(torch.autograd.Function):
    """The mean over points of log p, [F], as a function of the mixture alone, from the moments taken with log p."""

    @staticmethod
    def forward(ctx, means, log_vars, log_weights, moments, mean):
        ctx.save_for_backward(means, log_vars, moments)
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        means, log_vars, moments = ctx.saved_tensors
        return *_prior_gradients(means, log_vars, moments * grad.view(-1, 1, 1)), None, None


def _backward_with_responsibilities(modes, features, total, grad_log_prob, c, wants_prior):
    """Cotangents when the mean responsibilities carry one too, c [F, K]: entry (k, n) of the table then has
    the cotangent e_kn (a_n + c_k b_n), b_n = 1 / (N total_n), a_n = g_n / total_n - b_n sum_k e_kn c_k / total_n."""
    both = torch.cat((modes.moments, modes.moments * c.unsqueeze(1)), 1)
    grad_z = torch.empty_like(features[:, : modes.means.shape[-1]])
    sums = torch.zeros_like(modes.rows[..., :-1])
    for part in modes.parts(features):
        chunk, table = features[..., part], modes.table(features[..., part])
        plain, scaled = torch.bmm(both, table).chunk(2, 1)
        b = 1 / (total.shape[-1] * total[:, part])
        a = (grad_log_prob[:, part] - scaled[:, 0] * b) / total[:, part]
        grad_z[..., part] = _slope(plain, chunk) * a.unsqueeze(1) + _slope(scaled, chunk) * b.unsqueeze(1)
        if wants_prior:
            sums += torch.bmm(table, (chunk[:, :-1] * a.unsqueeze(1)).mT)
            sums += torch.bmm(table, (chunk[:, :-1] * b.unsqueeze(1)).mT) * c.unsqueeze(-1)
    return grad_z.mT, sums


def _slope(sums: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """sum_k e_kn p_k (m_k - z_n), [F, L, N], from the sums over modes and the points' features."""
    size = (sums.shape[1] - 1) // 2
    return sums[:, 1 : size + 1] - features[:, size : 2 * size] * sums[:, size + 1 :]


def _prior_gradients(means: torch.Tensor, log_vars: torch.Tensor, sums: torch.Tensor) -> list[torch.Tensor]:
    """The cotangents of means, log-variances and log weights from M_k[z^2], M_k[z], M_k[1]: [F, K, 2L + 1]."""
    size, dtype = means.shape[-1], means.dtype
    squares, firsts, ones = sums[..., :size], sums[..., size : 2 * size], sums[..., -1:]
    means, precisions = means.double(), torch.exp(-log_vars.double())
    grad_means = precisions * (firsts - means * ones)
    spread = precisions * (squares - 2 * means * firsts + means.square() * ones)
    return [grad.to(dtype) for grad in (grad_means, 0.5 * (spread - ones), sums[..., -1])]


def _flat(z, means, log_vars, log_weights) -> tuple[torch.Size, list[torch.Tensor]]:
    """The leading axes, and everything with these made one axis F."""
    lead = torch.broadcast_shapes(z.shape[:-2], means.shape[:-2])
    flat = [t.expand(*lead, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (z, means, log_vars)]
    return lead, [*flat, log_weights.expand(*lead, log_weights.shape[-1]).reshape(-1, log_weights.shape[-1])]


def mixture_log_prob(
    z: torch.Tensor,
    means: torch.Tensor,
    log_vars: torch.Tensor,
    log_weights: torch.Tensor,
    mean_responsibilities: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """log p(z) of a diagonal Gaussian mixture, with gradients to every argument.

    Args:
        z: points ``[..., N, L]``, float32 or float64.
        means, log_vars: ``[..., K, L]``.
        log_weights: normalised log weights ``[..., K]``.
        mean_responsibilities: also return the mean responsibility of each mode over the N points.

    Returns:
        log p(z) in nats ``[..., N]`` and mean responsibilities ``[..., K]`` (None unless asked for), in z's precision.
        Relative error of log p under 1e-4 and of gradients under 1e-3 for float32 input with means up to 100 and
        log-variances down to -14 (tests/test_mixture.py).
    """
    lead, flat = _flat(z, means, log_vars, log_weights)
    log_prob, found, _ = _MixtureLogProb.apply(*flat, mean_responsibilities)
    log_prob = log_prob.reshape(*lead, z.shape[-2])
    return log_prob, None if found is None else found.reshape(*lead, means.shape[-2])


def shared_log_prob(
    z: torch.Tensor, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p(z) for two players in one pass: one who moves the points, and one who moves the mixture.

    Args: as of :func:`mixture_log_prob`.

    Returns:
        log p(z) ``[..., N]`` and the mean responsibilities ``[..., K]``, both with gradients to z alone; and the mean
        of log p(z) over the points ``[...]``, with gradients to means, log_vars and log_weights alone.
    """
    lead, flat = _flat(z, means, log_vars, log_weights)
    log_prob, responsibilities, moments = _MixtureLogProb.apply(flat[0], *(t.detach() for t in flat[1:]), True)
    mean = _MeanLogProb.apply(*flat[1:], moments, log_prob.detach().mean(-1))
    return log_prob.reshape(*lead, z.shape[-2]), responsibilities.reshape(*lead, means.shape[-2]), mean.reshape(lead)


def responsibility_regularizer(responsibilities: torch.Tensor) -> torch.Tensor:
    """R of docs/science.md, section 2: ``[..., N, K]`` to ``[...]``; between -1 (all modes equally used) and 0.

    sum_k a_k log(a_k + 1e-8) with a_k the mean responsibility of mode k, divided by log K only where log K > 1: so not
    for K = 2 (a published convention, audit A7).
    """
    return regularizer_of_mean(responsibilities.mean(-2))


def regularizer_of_mean(mean_responsibilities: torch.Tensor) -> torch.Tensor:
    """R from the mean responsibilities a, ``[..., K]`` to ``[...]``."""
    negative_entropy = (mean_responsibilities * torch.log(mean_responsibilities + 1e-8)).sum(-1)
    return negative_entropy / max(1.0, math.log(mean_responsibilities.shape[-1]))
