r"""The table of a mixture from differences: in few dimensions and on a processor, twice as fast as the expanded square.

With t_kn = a_k (z_n - m_k) in each dimension and a_k = sqrt(log2(e) / (2 exp(s_k))),

    e_kn = exp(l_kn - highest peak) = 2^(c_k - sum_d t_knd^2),       c_k = log2(e) (peak of mode k - highest peak),
    d log p / d z_n = -sum_k q_k e_kn t_kn / sum_k e_kn,             q_k = sqrt(2 log(2) / exp(s_k)),
    d / d m_k       = q_k M_k[t],                                    M_k[f] = sum_n g_n e_kn f_kn / sum_k e_kn,
    d / d s_k       = log(2) M_k[t^2] - M_k[1] / 2,
    d / d log w_k   = M_k[1].

Nothing cancels: the difference of two float32 numbers loses no digit, and e_kn inherits a relative error of 1e-5 where
it matters. So the table is in the precision of the points. Powers of two cost half as much as powers of e.

Terms under 2^-110 (float32) count as zero. A point that has hardly more than such terms is remote: its exponents are
large and have lost digits. It is computed again in float64, with its own largest exponent as its shift.
"""

import math

import torch
from torch.nn import functional

from sintro.priors.table import Cotangents, Sums, Table

FEW = 3  # dimensions, up to which differences are faster
CHUNK_ENTRIES = 1 << 18  # of the table at a time: 1 MiB in float32, and as much again for each dimension, twice
# Per precision: the largest exponent of two that counts as zero, and the sum under which a point is remote.
ZERO = {torch.float64: -1000.0, torch.float32: -110.0}
REMOTE = {torch.float64: 2.0**-900, torch.float32: 2.0**-80}


class Differences(Table):
    """The table by differences, in the precision of ``means``; sums over points are kept in float64."""

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor):
        super().__init__(means, log_vars, log_weights)
        self.chunk_entries = CHUNK_ENTRIES
        self.modes = means, log_vars, log_weights
        narrowness = torch.exp(-0.5 * log_vars.double()).mT  # [F, L, K]
        self.means = means.mT.unsqueeze(-1)  # [F, L, K, 1]
        self.scales = (narrowness / math.sqrt(2 * math.log(2))).to(self.precision).unsqueeze(-1)
        self.pulls = (narrowness * math.sqrt(2 * math.log(2))).to(self.precision)  # q, [F, L, K]
        self.heights = ((self.peaks - self.peak) / math.log(2)).to(self.precision).unsqueeze(-1)  # [F, K, 1]
        self.ones = torch.ones_like(self.heights).mT  # [F, 1, K]

    def sums(self, z: torch.Tensor, slopes: bool, gradients: bool) -> Sums:
        """Compute what :meth:`Table.sums` promises."""
        points = z.mT.to(self.precision).contiguous()
        log_prob, total, slope, found = self._forward(points, slopes, gradients)
        remote = (~(total >= REMOTE[self.precision])).any(0).nonzero().squeeze(-1)
        if len(remote):
            *far, added = self._exact()._forward(points[..., remote].double(), slopes, gradients, own_shift=True)
            for near, exact in zip((log_prob, total, slope), far, strict=True):
                if near is not None:
                    near[..., remote] = exact.to(near.dtype)
            found = found + added if gradients else None
        slope = slope.mT.to(z.dtype) if slopes else None
        found = found / points.shape[-1] if gradients else None
        return Sums(log_prob.to(z.dtype), slope, found, (points, total, remote))

    def pull_back(
        self, kept: tuple[torch.Tensor, ...], slope: torch.Tensor | None, cotangents: Cotangents, to_modes: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Compute what :meth:`Table.pull_back` promises.

        With c = the cotangents of the mean responsibilities over N, entry (k, n) of the table has the cotangent
        r_kn (g_n + c_k - c_n), where r_kn are the responsibilities and c_n = sum_k c_k r_kn.
        """
        points, total, remote = kept
        g, c = cotangents
        if c is None and not to_modes:
            return None if slope is None else slope * g.unsqueeze(-1), None
        g, inverse = g.to(self.precision), 1 / total
        c = None if c is None else c.to(self.precision) / points.shape[-1]
        far = [each[..., remote].double() for each in (points, inverse, g)]
        inverse[:, remote] = 0  # they add nothing to the first pass
        means, pulled, found = self._backward(points, inverse, g, c, to_modes)
        if len(remote):
            own_c = None if c is None else c.double()
            *exact, added = self._exact()._backward(*far, own_c, to_modes, own_shift=True)
            found = found + added if to_modes else None
            if c is not None:
                means[:, remote], pulled[..., remote] = (each.to(self.precision) for each in exact)
        if slope is None:
            return None, found
        if c is None:
            return slope * g.unsqueeze(-1), found
        return (slope * (g - means).unsqueeze(-1) + pulled.mT).to(slope.dtype), found

    def _exact(self) -> "Differences":
        """Return the same modes in float64."""
        return Differences(*(each.double() for each in self.modes))

    def _forward(self, points: torch.Tensor, slopes: bool, gradients: bool, own_shift: bool = False):
        """Compute log p in float64, sum_k e_kn, the slopes ``[F, L, N]`` and the gradients of the sum of log p.

        Args:
            points: ``[F, L, N]``.
            own_shift: whether a point's largest exponent becomes 0. Otherwise remote points add nothing to gradients.
        """
        total, shifts = torch.empty_like(points[:, :1]), self.peak.unsqueeze(1)
        if own_shift:
            shifts = shifts.expand_as(total).clone()
        slope = torch.empty_like(points) if slopes else None
        found = self._no_gradients() if gradients else None
        pulls = -self.pulls.flatten(0, 1).unsqueeze(1)
        for where, t, e, shift in self._chunks(points, own_shift):
            sums = torch.bmm(self.ones, e, out=total[..., where])
            if own_shift:
                shifts[..., where] += math.log(2) * shift
            if slopes or gradients:
                te = self._times(t, e, keep=gradients)
            if slopes:
                torch.bmm(pulls, te.flatten(0, 1), out=slope.flatten(0, 1).unsqueeze(1)[..., where])
            if gradients:
                counts = own_shift | (sums >= REMOTE[self.precision]).all(0)
                found += self._over_points(t, e, te, torch.where(counts, 1 / sums, 0)).squeeze(1)
        if slopes:
            slope /= total
        return (total.log().double() + shifts).squeeze(1), total.squeeze(1), slope, found

    def _backward(self, points, inverse, g, c, to_modes: bool, own_shift: bool = False):
        """Compute c_n, sum_k c_k r_kn dl_kn/dz_n and the gradients to the modes, each None where it is not asked for.

        Args:
            points: ``[F, L, N]``.
            inverse: 1 / sum_k e_kn, ``[F, N]``; where it is 0, a point counts as absent.
            g: ``[F, N]``.
            c: ``[F, K]`` or None.
        """
        means = pulled = None
        found = self._no_gradients() if to_modes else None
        if c is not None:
            means, pulled = torch.empty_like(g), torch.empty_like(points)
            pulls = (-self.pulls * c.unsqueeze(1)).flatten(0, 1).unsqueeze(1)
        for where, t, e, _ in self._chunks(points, own_shift):
            te = self._times(t, e, keep=to_modes)
            one = inverse[:, where]
            weights = [g[:, where] * one]
            if c is not None:
                means[:, where] = own = torch.bmm(c.unsqueeze(1), e).squeeze(1) * one
                torch.bmm(pulls, te.flatten(0, 1), out=pulled.flatten(0, 1).unsqueeze(1)[..., where])
                weights = [(g[:, where] - own) * one, one]
            if to_modes:
                plain, *scaled = self._over_points(t, e, te, torch.stack(weights, 1)).unbind(1)
                found += plain
                for each in scaled:
                    found += each * c.unsqueeze(-1)
        if c is not None:
            pulled *= inverse.unsqueeze(1)
        return means, pulled, found

    def _chunks(self, points: torch.Tensor, own_shift: bool):
        """Yield each chunk's slice, t ``[F, L, K, C]``, e ``[F, K, C]`` and its shifts ``[F, 1, C]`` or None."""
        cells, modes, size = self.shape
        for where in self.parts(points):
            chunk = points[..., where]
            t = self.buffer(0, (cells, size, modes, chunk.shape[-1]), self.precision, points.device)
            e = self.buffer(1, (cells, modes, chunk.shape[-1]), self.precision, points.device)
            torch.sub(chunk.unsqueeze(2), self.means, out=t).mul_(self.scales)
            first, *others = t.unbind(1)
            torch.addcmul(self.heights, first, first, value=-1, out=e)
            for other in others:
                e.addcmul_(other, other, value=-1)
            shift = e.amax(1, keepdim=True) if own_shift else None
            if own_shift:
                e -= shift
            functional.threshold_(e, ZERO[self.precision], -math.inf).exp2_()
            yield where, t, e, shift

    def _times(self, t: torch.Tensor, e: torch.Tensor, keep: bool) -> torch.Tensor:
        """Return t e ``[F, L, K, C]``, in t's own place unless t is to be kept."""
        target = self.buffer(2, t.shape, t.dtype, t.device) if keep else t
        return torch.mul(t, e.unsqueeze(1), out=target)

    def _no_gradients(self) -> torch.Tensor:
        """Return zeros for the gradients to the modes, float64 ``[F, K, 2L + 1]``."""
        cells, modes, size = self.shape
        return torch.zeros(cells, modes, 2 * size + 1, dtype=torch.float64)

    def _over_points(self, t: torch.Tensor, e: torch.Tensor, te: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Sum over points the gradients to the modes, with R weights g / sum_k e_kn, ``[F, R, C]``; te is lost.

        Returns float64 ``[F, R, K, 2L + 1]``.
        """
        ones = _weighted(weights, e.unsqueeze(1))  # [F, R, 1, K]
        firsts = _weighted(weights, te)  # [F, R, L, K]
        squares = _weighted(weights, te.mul_(t))
        to_means = self.pulls.unsqueeze(1) * firsts
        return torch.cat((to_means, math.log(2) * squares - 0.5 * ones, ones), 2).mT


def _weighted(weights: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum over points: weights ``[F, R, C]`` and a table ``[F, D, K, C]`` to float64 ``[F, R, D, K]``.

    With the points as rows of the second factor: the other way round torch 2.13 takes ten times as long.
    """
    return torch.bmm(weights, table.flatten(1, 2).mT).double().unflatten(-1, table.shape[1:3])
