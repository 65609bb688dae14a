r"""The K x N table of a mixture of Gaussians: l_kn = log w_k + log N(z_n; m_k, diag exp(s_k)), of K modes at N points.

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


def _may_look(tensor: torch.Tensor) -> bool:
    """Whether looking at a tensor's values is cheap: on a GPU the processor would wait for the device."""
    return tensor.device.type == "cpu"


class Modes:
    """F mixtures of K modes, prepared for the table of l_kn and its gradients.

    Args:
        means, log_vars: ``[F, K, L]``.
        log_weights: ``[F, K]``, normalised.

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
        """Yield the chunks of the points, as slices of the features' last axis."""
        size = max(1, CHUNK_ELEMENTS.get(features.device.type, 1 << 20) // self.ones.numel())
        for start in range(0, features.shape[-1], size):
            yield slice(start, start + size)

    def table(self, features: torch.Tensor) -> torch.Tensor:
        """exp(l_kn - shift_n), float64 [F, K, C], in a buffer that the next call overwrites.

        Buffers, because fresh memory for every chunk costs as much as the product. The clamp keeps exponentials out of
        the subnormal range, where processors are a hundred times slower; what it adds is under 2e-38 (1e-299). No
        exponent is truly above 0. The upper clamp stops rounding: of modes so narrow that m^2 p takes all digits, it
        would make densities far above every peak.
        """
        cells, components, points = *self.rows.shape[:2], features.shape[-1]
        size = cells * components * points
        if not self.buffers or self.buffers[0].numel() < size:
            precisions = dict.fromkeys((torch.float64, self.precision))  # one buffer where they are the same
            self.buffers = [torch.empty(size, dtype=dtype, device=features.device) for dtype in precisions]
        table, *narrow = (buffer[:size].view(cells, components, points) for buffer in self.buffers)
        torch.bmm(self.rows, features, out=table)
        exponents = narrow[0].copy_(table) if narrow else table
        exponents.clamp_(LOWEST[self.precision], 0).exp_()
        return table.copy_(exponents) if narrow else table

    def sums(self, features: torch.Tensor, moments: torch.Tensor, mean_responsibilities: bool):
        """Sum over the modes and, on request, over the points; where terms underflow, mend the shift in ``features``.

        Args:
            features: ``[F, 2L + 2, N]``, from :meth:`features`.
            moments: ``[F, R, K]``, the first row ones.

        Returns:
            ``moments`` times the table, ``[F, R, N]``; and M_k[z^2], M_k[z], M_k[1] at g = 1 / N, ``[F, K, 2L + 1]``,
            whose last column holds the mean responsibilities (None unless they are asked for).
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
        """Whether a point has a term that did not underflow at its shift; False where its sum is NaN."""
        return total >= UNDERFLOW[self.precision]

    def _add(self, chunk, moments, where, sums, per_mode, counted=1) -> None:
        """Add one chunk to both results. A point whose terms all underflow adds nothing yet: :meth:`_mend` adds it."""
        table = self.table(chunk)
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
        for part in self.parts(mended):
            chunk = mended[..., part]
            chunk[:, -1] -= torch.bmm(self.rows, chunk).amax(1)
            self._add(chunk, moments, part if remote is None else remote[part], sums, per_mode, counted[:, part])
        if remote is not None:
            features[:, -1, remote] = mended[:, -1]
