r"""The table of a mixture from differences, in one sweep per point: compiled by numba, for float32 on a processor.

With t_kn = a_k (z_n - m_k) in each dimension and a_k = sqrt(log2(e) / (2 exp(s_k))),

    e_kn = exp(l_kn - highest peak) = 2^(c_k - sum_d t_knd^2),       c_k = log2(e) (peak of mode k - highest peak),
    d log p / d z_n = -sum_k q_k e_kn t_kn / sum_k e_kn,             q_k = sqrt(2 log(2) / exp(s_k)),
    d / d m_k       = q_k M_k[t],                                    M_k[f] = sum_n g_n e_kn f_kn / sum_k e_kn,
    d / d s_k       = log(2) M_k[t^2] - M_k[1] / 2,
    d / d log w_k   = M_k[1].

Nothing cancels: the difference of two float32 numbers loses no digit, and e_kn inherits a relative error of 1e-5 where
it matters. Only the numbers of one block of points are held, in the first and second cache, and the processor's widest
vectors work on them. Sums over points are added up in float64, block by block.

Terms under 2^-110 count as zero. A point that has hardly more than such terms is remote: its exponents are large and
have lost digits. They are computed again in float64, with the point's own largest exponent as its shift.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from llvmlite import binding, ir
from numba import config, njit, types
from numba.extending import intrinsic

from sintro.priors.table import Cotangents, Sums, Table

BLOCK = 1024  # points at a time: 4 KiB a row
LOWEST = np.float32(-110)  # exponents of two below it count as zero
REMOTE = np.float32(2.0**-80)  # a point with a smaller sum is remote
# 2^f on [-1/2, 1/2] from the highest power down, to 2e-7: the polynomial of Cephes' exp2f.
P6, P5, P4, P3, P2, P1, P0 = (
    np.float32(p) for p in (
        1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1,
        6.931472028550421e-1, 1.0,
    )
)  # fmt: skip
HALF, ZERO, ONE, BIAS, MANTISSA = np.float32(0.5), np.float32(0), np.float32(1), np.int32(127), np.int32(23)


def _take_the_widest_vectors() -> None:
    """Let LLVM use AVX-512's vectors of 512 bits: on Intel's processors it prefers 256, half of what a product gets.

    The user's NUMBA_CPU_FEATURES and NUMBA_ENABLE_AVX win.
    """
    if config.CPU_FEATURES is not None or not config.ENABLE_AVX:
        return
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this processor
        return
    if features.get("avx512f"):
        config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_take_the_widest_vectors()


def _compiled(function: Callable) -> Callable:
    """Compile at the first call; the result is kept beside this file or in the user's cache, where either is writable.

    Sums may be added in another order, and products contracted with them; infinities and NaN keep their meaning.
    """
    how = {"fastmath": {"contract", "nsz", "reassoc"}, "nogil": True}
    try:
        return njit(cache=True, **how)(function)
    except RuntimeError:  # numba finds no folder that it may write
        return njit(**how)(function)


@intrinsic
def _float_of_bits(_, bits):
    """Take the bits of an int32 for those of a float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(inline="always")
def _power(x):
    """2^x in float32: 0 below LOWEST, NaN for NaN."""
    inside = LOWEST if x < LOWEST else x
    whole = np.floor(inside + HALF)
    f = inside - whole
    p = ((((((P6 * f + P5) * f + P4) * f + P3) * f + P2) * f + P1) * f) + P0
    e = p * _float_of_bits((np.int32(whole) + BIAS) << MANTISSA)
    return ZERO if x < LOWEST else e


@_compiled
def _sweep(x, y, offsets, k, weight, modes, e, sums, to_x, to_y):
    """Write e = 2^(exponent of mode k - offset) at C points; add weight e to sums, and weight e dl/dz to to_x and to_y.

    Empty to_x and to_y ask for no slopes.
    """
    means, scales, heights, pulls = modes
    mx, my, height = means[0, k], means[1, k], np.float32(heights[k])
    ax, ay = np.float32(scales[0, k]), np.float32(scales[1, k])
    qx, qy = np.float32(weight * pulls[0, k]), np.float32(weight * pulls[1, k])
    weight = np.float32(weight)
    if len(to_x):  # asked within the loop, it would keep the loop from vectors
        for i in range(len(e)):
            tx, ty = (x[i] - mx) * ax, (y[i] - my) * ay
            e[i] = _power(height - offsets[i] - tx * tx - ty * ty)
            sums[i] += weight * e[i]
            to_x[i] -= qx * (e[i] * tx)
            to_y[i] -= qy * (e[i] * ty)
    else:
        for i in range(len(e)):
            tx, ty = (x[i] - mx) * ax, (y[i] - my) * ay
            e[i] = _power(height - offsets[i] - tx * tx - ty * ty)
            sums[i] += weight * e[i]


@_compiled
def _add_over_points(x, y, k, modes, e, weights, into):
    """Add sum_n w_n e_n of 1, t and t^2 to into [5]."""
    means, scales, _, _ = modes
    mx, my, ax, ay = means[0, k], means[1, k], np.float32(scales[0, k]), np.float32(scales[1, k])
    ones, first_x, first_y, second_x, second_y = ZERO, ZERO, ZERO, ZERO, ZERO
    for i in range(len(e)):
        tx, ty, r = (x[i] - mx) * ax, (y[i] - my) * ay, weights[i] * e[i]
        ones += r
        first_x += r * tx
        first_y += r * ty
        second_x += r * tx * tx
        second_y += r * ty * ty
    into[0] += ones
    into[1] += first_x
    into[2] += first_y
    into[3] += second_x
    into[4] += second_y


@_compiled
def _far(x, y, modes, tx, ty, r):
    """Write t [K], [K] and the responsibilities r [K] of one point in float64; return its shift and its sum of e_k."""
    means, scales, heights, _ = modes
    for k in range(len(r)):
        tx[k], ty[k] = (np.float64(x) - means[0, k]) * scales[0, k], (np.float64(y) - means[1, k]) * scales[1, k]
        r[k] = heights[k] - tx[k] * tx[k] - ty[k] * ty[k]
    shift, total = r.max(), 0.0
    for k in range(len(r)):
        r[k] = _power(np.float32(r[k] - shift))
        total += r[k]
    for k in range(len(r)):
        r[k] /= total
    return shift, total


@_compiled
def _add_far(r, tx, ty, found):
    """Add one point's r, r t and r t^2 to found [K, 5]."""
    for k in range(len(r)):
        found[k, 0] += r[k]
        found[k, 1] += r[k] * tx[k]
        found[k, 2] += r[k] * ty[k]
        found[k, 3] += r[k] * tx[k] * tx[k]
        found[k, 4] += r[k] * ty[k] * ty[k]


@_compiled
def _forward(x, y, modes, gradients, total, shifts, slope, found):
    """Fill total and shifts [N], slope [2, N] unless empty, and on request found [K, 5]: sums of r, r t, r t^2."""
    count = len(modes[2])
    table = np.empty((count if gradients else 1, BLOCK), np.float32)
    none, inverse = np.zeros(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    tx, ty, r = np.empty(count), np.empty(count), np.empty(count)
    for start in range(0, len(x), BLOCK):
        block = slice(start, min(start + BLOCK, len(x)))
        xs, ys, sums = x[block], y[block], total[block]
        to_x, to_y = slope[0, block], slope[1, block]
        n = len(xs)
        for k in range(count):
            e = table[k if gradients else 0, :n]
            _sweep(xs, ys, none[:n], k, 1.0, modes, e, sums, to_x, to_y)
        for i in range(n):
            inverse[i] = ONE / sums[i] if sums[i] >= REMOTE else ZERO
        for i in range(len(to_x)):
            to_x[i] *= inverse[i]
            to_y[i] *= inverse[i]
        if gradients:
            for k in range(count):
                _add_over_points(xs, ys, k, modes, table[k, :n], inverse[:n], found[k])
        for i in range(n):
            if not sums[i] >= REMOTE:
                shifts[start + i], sums[i] = _far(xs[i], ys[i], modes, tx, ty, r)
                if len(to_x):
                    to_x[i], to_y[i] = -(modes[3][0] * r * tx).sum(), -(modes[3][1] * r * ty).sum()
                if gradients:
                    _add_far(r, tx, ty, found)


@_compiled
def _backward(x, y, modes, offsets, remote, g, c, to_modes, shares, pulled, found):
    """Add c_n to shares [N], sum_k c_k r_kn dl_kn / dz_n to pulled [2, N] unless empty, and to found [K, 5], all zeros.

    Entry (k, n) of the table has the cotangent r_kn (g_n + c_k - c_n), with r_kn = 2^(exponent - offset_n) and
    c_n = sum_k c_k r_kn.
    """
    count = len(c)
    table = np.empty((count, BLOCK), np.float32)
    offset, weights, near = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    tx, ty, r = np.empty(count), np.empty(count), np.empty(count)
    for start in range(0, len(x), BLOCK):
        block = slice(start, min(start + BLOCK, len(x)))
        xs, ys, own, to_x, to_y = x[block], y[block], shares[block], pulled[0, block], pulled[1, block]
        n = len(xs)
        for i in range(n):
            near[i] = ZERO if remote[start + i] else ONE
            offset[i] = ZERO if remote[start + i] else np.float32(offsets[start + i])
        for k in range(count):
            _sweep(xs, ys, offset[:n], k, c[k], modes, table[k, :n], own, to_x, to_y)
        if to_modes:
            for k in range(count):
                weight = np.float32(c[k])
                for i in range(n):
                    weights[i] = near[i] * (g[start + i] + weight - own[i])
                _add_over_points(xs, ys, k, modes, table[k, :n], weights[:n], found[k])
        for i in range(n):
            if remote[start + i]:
                _far(xs[i], ys[i], modes, tx, ty, r)
                own[i] = (c * r).sum()
                if len(to_x):
                    to_x[i], to_y[i] = -(c * modes[3][0] * r * tx).sum(), -(c * modes[3][1] * r * ty).sum()
                if to_modes:
                    r *= g[start + i] - own[i] + c
                    _add_far(r, tx, ty, found)


class Fused(Table):
    """The table of float32 points and modes on a processor."""

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor):
        super().__init__(means, log_vars, log_weights)
        narrowness = torch.exp(-0.5 * log_vars.detach().double()).mT.contiguous()  # [F, L, K]
        self.pulls = narrowness * math.sqrt(2 * math.log(2))
        scales, heights = narrowness / math.sqrt(2 * math.log(2)), (self.peaks - self.peak).detach() / math.log(2)
        modes = means.detach().mT.contiguous(), scales, heights, self.pulls
        self.cells = list(zip(*(each.numpy() for each in modes), strict=True))

    def sums(self, z: torch.Tensor, slopes: bool, gradients: bool) -> Sums:
        """Compute what :meth:`Table.sums` promises."""
        points = z.detach().mT.contiguous()  # [F, L, N]
        cells, _, count = points.shape
        total, shifts = points.new_zeros(cells, count), torch.zeros(cells, count, dtype=torch.float64)
        slope = torch.zeros_like(points if slopes else points[..., :0])
        found = self._no_sums()
        filled = points, total, shifts, slope, found
        for modes, (x, y), *results in zip(self.cells, *(each.numpy() for each in filled), strict=True):
            _forward(x, y, modes, gradients, *results)
        log_prob = total.log().double() + (shifts * math.log(2) + self.peak)
        found = self._gradients(found / count) if gradients else None
        return Sums(log_prob.to(z.dtype), slope.mT if slopes else None, found, (points, total, shifts))

    def pull_back(
        self, kept: tuple[torch.Tensor, ...], slope: torch.Tensor | None, cotangents: Cotangents, to_modes: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Compute what :meth:`Table.pull_back` promises."""
        points, total, shifts = kept
        g, c = cotangents
        to_points = None if slope is None else slope * g.unsqueeze(-1)
        through_shares = slope is not None and c is not None
        c = torch.zeros_like(self.peaks) if c is None else c.double() / points.shape[-1]
        shares, found = torch.zeros_like(total), self._no_sums()
        pulled = torch.zeros_like(points if through_shares else points[..., :0])
        given = points, shifts + total.double().log2(), shifts != 0, g.float().contiguous(), c, shares, pulled, found
        for modes, (x, y), *rest in zip(self.cells, *(each.numpy() for each in given), strict=True):
            _backward(x, y, modes, *rest[:4], to_modes, *rest[4:])
        if through_shares:
            to_points = to_points - slope * shares.unsqueeze(-1) + pulled.mT
        return to_points, self._gradients(found) if to_modes else None

    def _no_sums(self) -> torch.Tensor:
        """Return zeros for the sums of r, r t and r t^2 over points, float64 [F, K, 2L + 1]."""
        return torch.zeros(*self.shape[:2], 5, dtype=torch.float64)

    def _gradients(self, found: torch.Tensor) -> torch.Tensor:
        """Compute the gradients to the modes from the sums of r, r t and r t^2; both are [F, K, 2L + 1]."""
        ones, firsts, squares = found.split((1, 2, 2), -1)
        return torch.cat((self.pulls.mT * firsts, math.log(2) * squares - 0.5 * ones, ones), -1)
