r"""The table of a mixture from the expanded square: one matrix product, in any number of dimensions and on a GPU.

    l_kn = log w_k - 1/2 sum_d (log 2 pi + s_kd + (z_nd - m_kd)^2 p_kd) = W_k . [z_n^2, z_n, 1],    p_k = exp(-s_k),

so the K x N table is one product with 2 L + 1 inner columns, and so are all sums, in the other direction: with
r_kn = exp(l_kn) / p(z_n),

    d log p / d z_n = sum_k r_kn p_k m_k - z_n sum_k r_kn p_k,
    d / d m_k       = p_k (M_k[z] - m_k M_k[1]),                   M_k[f] = sum_n g_n r_kn f(z_n),
    d / d s_k       = 1/2 (p_k (M_k[z^2] - 2 m_k M_k[z] + m_k^2 M_k[1]) - M_k[1]),
    d / d log w_k   = M_k[1].

The expanded square cancels badly when means are large against the variances (m^2 p = 1e10 for m = 100, s = -14), so the
products run in float64, where 1e10 costs six of sixteen digits. Once shifted, l_kn - shift_n is at most zero, and where
it matters above -87: a float32 holds that to 4e-6, so float32 input has its exponentials in float32, at half the cost.
The table is worked through in chunks that stay in the processor's second-level cache. The shift per point is one more
column of the product: the highest peak of any mode, which cannot overflow, and for points so remote that all their
terms underflow, those points' own maximum.
"""

import math
from collections.abc import Iterator

import torch

from sintro.priors.table import Cotangents, Sums, Table

CHUNK_ENTRIES = {"cpu": 1 << 17, "cuda": 1 << 25}  # of the table at a time: 1 MiB, 256 MiB
# Per precision: the smallest exponent, exp(-690) = 1e-300 and exp(-87) = 1.6e-38, and the sum under which it shows.
LOWEST = {torch.float64: -690.0, torch.float32: -87.0}
UNDERFLOW = {torch.float64: 1e-290, torch.float32: 1e-30}


def _may_look(tensor: torch.Tensor) -> bool:
    """Whether looking at a tensor's values is cheap: on a GPU the processor would wait for the device."""
    return tensor.device.type == "cpu"


class Expanded(Table):
    """The table by matrix products. Exponentials are taken in the precision of ``means``, all else in float64."""

    def __init__(self, means: torch.Tensor, log_vars: torch.Tensor, log_weights: torch.Tensor):
        super().__init__(means, log_vars, log_weights)
        self.precision = torch.float64 if means.dtype == torch.float64 else torch.float32
        self.buffers: list[torch.Tensor] = []
        self.means, self.precisions = means.double(), torch.exp(-log_vars.double())  # [F, K, L]
        products = self.means * self.precisions
        constants = (self.peaks - 0.5 * (self.means * products).sum(-1)).unsqueeze(-1)
        ones = torch.ones_like(constants)
        self.rows = torch.cat((-0.5 * self.precisions, products, constants, ones), -1)  # [F, K, 2L + 2]
        self.ones = ones.mT  # [F, 1, K]
        self.moments = torch.cat((self.ones, products.mT, self.precisions.mT), 1)  # [F, 1 + 2L, K]

    def sums(self, z: torch.Tensor, slopes: bool, gradients: bool) -> Sums:
        """Compute what :meth:`Table.sums` promises."""
        features = self._features(z)
        rows = self.moments if slopes else self.ones
        sums = torch.empty((*rows.shape[:2], features.shape[-1]), dtype=features.dtype, device=features.device)
        per_mode = torch.zeros_like(self.rows[..., :-1]) if gradients else None
        if _may_look(features):
            for part in self._parts(features):
                self._add(features[..., part], rows, part, sums, per_mode)
            remote = (~self._shows(sums[:, 0])).any(0).nonzero().squeeze(-1)
        else:  # shift every point
            remote = None
        if remote is None or len(remote):
            self._mend(features, rows, remote, sums, per_mode)
        total = sums[:, 0]
        log_prob = (total.log() - features[:, -1]).to(z.dtype)
        slope = (_slope(sums, features) / total.unsqueeze(1)).mT.to(z.dtype) if slopes else None
        found = None if per_mode is None else self._gradients(per_mode / features.shape[-1])
        return Sums(log_prob, slope, found, (features, total))

    def pull_back(
        self, kept: tuple[torch.Tensor, ...], slope: torch.Tensor | None, cotangents: Cotangents, to_modes: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Compute what :meth:`Table.pull_back` promises."""
        features, total = kept
        per_mode = torch.zeros_like(self.rows[..., :-1])
        if cotangents.mean_responsibilities is not None:
            to_points = self._with_responsibilities(features, total, cotangents, per_mode if to_modes else None)
            return (
                None if slope is None else to_points.mT.to(slope.dtype),
                self._gradients(per_mode) if to_modes else None,
            )
        weighted = features[:, :-1] * (cotangents.log_prob / total).unsqueeze(1)
        for part in self._parts(features):
            per_mode += torch.bmm(self._table(features[..., part]), weighted[..., part].mT)
        to_points = None if slope is None else slope * cotangents.log_prob.unsqueeze(-1)
        return to_points, self._gradients(per_mode)

    def _features(self, z: torch.Tensor) -> torch.Tensor:
        """Rows z^2, z, 1 and minus the shift (here the highest peak): [F, 2L + 2, N]."""
        columns = z.mT.double()
        ones = torch.ones_like(columns[:, :1])
        return torch.cat((columns.square(), columns, ones, ones * -self.peak.unsqueeze(-1)), 1)

    def _parts(self, features: torch.Tensor) -> Iterator[slice]:
        """Yield the chunks of the points, as slices of the features' last axis."""
        size = max(1, CHUNK_ENTRIES.get(features.device.type, 1 << 20) // self.ones.numel())
        for start in range(0, features.shape[-1], size):
            yield slice(start, start + size)

    def _table(self, features: torch.Tensor) -> torch.Tensor:
        """exp(l_kn - shift_n), float64 [F, K, C], in a buffer that the next call overwrites.

        Buffers, because fresh memory for every chunk costs as much as the product. The clamp keeps exponentials out of
        the subnormal range, where processors are a hundred times slower; what it adds is under 2e-38 (1e-299). No
        exponent is truly above 0. The upper clamp stops rounding: of modes so narrow that m^2 p takes all digits, it
        would make densities far above every peak.
        """
        shape = *self.shape[:2], features.shape[-1]
        size = math.prod(shape)
        if not self.buffers or self.buffers[0].numel() < size:
            precisions = dict.fromkeys((torch.float64, self.precision))  # one buffer where they are the same
            self.buffers = [torch.empty(size, dtype=dtype, device=features.device) for dtype in precisions]
        table, *narrow = (buffer[:size].view(shape) for buffer in self.buffers)
        torch.bmm(self.rows, features, out=table)
        exponents = narrow[0].copy_(table) if narrow else table
        exponents.clamp_(LOWEST[self.precision], 0).exp_()
        return table.copy_(exponents) if narrow else table

    def _shows(self, total: torch.Tensor) -> torch.Tensor:
        """Whether a point has a term that did not underflow at its shift; False where its sum is NaN."""
        return total >= UNDERFLOW[self.precision]

    def _add(self, chunk, moments, where, sums, per_mode, counted=1) -> None:
        """Add one chunk to both results. A point whose terms all underflow adds nothing yet: :meth:`_mend` adds it."""
        table = self._table(chunk)
        sums[..., where] = torch.bmm(moments, table)
        if per_mode is not None:
            total = sums[:, 0, where]
            weight = torch.where(self._shows(total), counted / total, 0)
            per_mode += torch.bmm(table, (chunk[:, :-1] * weight.unsqueeze(1)).mT)

    def _mend(self, features, moments, remote, sums, per_mode) -> None:
        """Repeat the sums of the ``remote`` points (None: of all), with each point's own maximum as its shift."""
        mended = features if remote is None else features[..., remote]
        counted = torch.ones_like(mended[:, 0])
        if remote is not None:  # the point may be remote to one cell of a fleet and counted already in another
            counted[self._shows(sums[:, 0, remote])] = 0
        for part in self._parts(mended):
            chunk = mended[..., part]
            chunk[:, -1] -= torch.bmm(self.rows, chunk).amax(1)
            self._add(chunk, moments, part if remote is None else remote[part], sums, per_mode, counted[:, part])
        if remote is not None:
            features[:, -1, remote] = mended[:, -1]

    def _with_responsibilities(self, features, total, cotangents: Cotangents, per_mode) -> torch.Tensor:
        """Return the gradient to the points, [F, L, N], and add that of the modes to ``per_mode``, if it is given.

        Where the mean responsibilities have the cotangent c, entry (k, n) of the table has the cotangent
        e_kn (a_n + c_k b_n), with b_n = 1 / (N total_n) and a_n = g_n / total_n - b_n sum_k e_kn c_k / total_n.
        """
        c = cotangents.mean_responsibilities.double()
        both = torch.cat((self.moments, self.moments * c.unsqueeze(1)), 1)
        to_points = torch.empty_like(features[:, : self.shape[-1]])
        for part in self._parts(features):
            chunk, table = features[..., part], self._table(features[..., part])
            plain, scaled = torch.bmm(both, table).chunk(2, 1)
            b = 1 / (total.shape[-1] * total[:, part])
            a = (cotangents.log_prob[:, part] - scaled[:, 0] * b) / total[:, part]
            to_points[..., part] = _slope(plain, chunk) * a.unsqueeze(1) + _slope(scaled, chunk) * b.unsqueeze(1)
            if per_mode is not None:
                per_mode += torch.bmm(table, (chunk[:, :-1] * a.unsqueeze(1)).mT)
                per_mode += torch.bmm(table, (chunk[:, :-1] * b.unsqueeze(1)).mT) * c.unsqueeze(-1)
        return to_points

    def _gradients(self, sums: torch.Tensor) -> torch.Tensor:
        """Compute the gradients to the modes from M_k[z^2], M_k[z], M_k[1]; both are [F, K, 2L + 1]."""
        size = self.shape[-1]
        squares, firsts, ones = sums.split((size, size, 1), -1)
        to_means = self.precisions * (firsts - self.means * ones)
        spread = self.precisions * (squares - 2 * self.means * firsts + self.means.square() * ones)
        return torch.cat((to_means, 0.5 * (spread - ones), ones), -1)


def _slope(sums: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """sum_k e_kn p_k (m_k - z_n), [F, L, N], from the sums over modes and the points' features."""
    size = (sums.shape[1] - 1) // 2
    return sums[:, 1 : size + 1] - features[:, size : 2 * size] * sums[:, size + 1 :]
