"""The soft-exponential game on a discrete data space: objectives, exact best responses, and each player's gain.

Notation. p = p_data(x) > 0 is the data, d = p_d(x) the decoder's distribution (docs/science.md, section 11). Whatever
the encoder q(z|x) does, the ELBO is W(x) = log d(x) - s(x), with the gap s(x) = KL(q(z|x) || p_d(z|x)) >= 0; so
W <= log d. The encoder's move is the gap (any value >= 0, one per point), the decoder's move is d. They maximise

    encoder    L_E(s; d) = sum_x p W - (1/alpha) sum_x d exp(alpha W)
    decoder    L_D(d; s) = sum_x p W + gamma sum_x d W

**The encoder's best response.** L_E is a sum over points of concave functions of W, whose slope p - d exp(alpha W) is 0
at W = (1/alpha) log(p / d), cut at the constraint:

    W* = min(log d, (1/alpha) log(p / d)),    s* = max(0, ((alpha + 1) log d - log p) / alpha)

so W* = log d exactly where d^(alpha+1) <= p, the condition of the theory.

**The equilibrium.** With s = 0 everywhere, L_D = -H(p) - [KL(p || d) + gamma H(d)]. A gap only lowers L_D, so no d does
better against any encoder than d* = argmin KL(p || d) + gamma H(d) does at s = 0. If d* meets the condition at every
point, (s = 0, d*) is therefore a Nash equilibrium. If not, it is none: the encoder gains by opening a gap.

**The decoder's best response** to a gap s. A stationary point on the simplex has, with a multiplier kappa,

    p / d + gamma (log d - s) = gamma kappa   or, with v = p / (gamma d),   v - log v = c := kappa + s - log(p / gamma)

with two solutions for c > 1, v = -W(-exp(-c)) by the two branches of Lambert's function: v >= 1 (d <= p / gamma, where
L_D is concave in d(x)) and v < 1 (convex). At a maximum at most one point may be on the convex side, since two could
trade mass at a gain. Hence the candidates: all points on the concave side (one such solution at most, as the sum of d
falls with kappa), or one point j on the convex side with d(j) = t, where F(t) = t + the sum of the others at kappa(t)
rises through 1 (the second-order condition is F' > 0). The best candidate is the global maximum, since L_D is
continuous and falls to -inf where any d(x) -> 0. For gamma <= min p every d <= 1 is on the concave side: L_D is concave
and its maximum unique.

While the decoder moves, the encoder keeps its gap s, not the *values* W: it owns its posterior, and with it the gap,
not the ELBO. With W kept, L_D would be linear in d, and W <= log d with a closed gap would leave no other d at all.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import lambertw

SCAN = 129  # grid values of t, between which the search finds candidates with one point on the convex side
EXACT = 4 * np.finfo(float).eps  # relative tolerance of the roots
ROUNDING = 1e-9  # log units by which rounding may miss the condition


@dataclass(frozen=True)
class Game:
    """Data [n], positive and summing to one; alpha > 0, gamma >= 0. ``total`` < 1: the decoder shares out that much."""

    data: np.ndarray
    alpha: float
    gamma: float
    total: float = 1.0


def divergence(data: np.ndarray, model: np.ndarray) -> float:
    """KL(data || model) in nats."""
    return float(np.sum(data * np.log(data / model)))


def entropy(model: np.ndarray) -> float:
    """H(model) in nats."""
    return float(-np.sum(model * np.log(model)))


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Half the sum of absolute differences, in [0, 1]."""
    return float(0.5 * np.abs(first - second).sum())


def criterion(game: Game, model: np.ndarray) -> float:
    """Return KL(p_data || p_d) + gamma H(p_d) in nats, which the equilibrium minimises by the theory."""
    return divergence(game.data, model) + game.gamma * entropy(model)


def encoder_value(game: Game, gap: np.ndarray, model: np.ndarray) -> float:
    """L_E, which the encoder maximises."""
    elbo = np.log(model) - gap
    return float(np.sum(game.data * elbo) - np.sum(model * np.exp(game.alpha * elbo)) / game.alpha)


def decoder_value(game: Game, model: np.ndarray, gap: np.ndarray) -> float:
    """L_D, which the decoder maximises."""
    return float(np.sum((game.data + game.gamma * model) * (np.log(model) - gap)))


def condition_margin(game: Game, model: np.ndarray) -> np.ndarray:
    """Return log p_data - (alpha + 1) log p_d per point [n]; W = log p_d is the encoder's best where this is >= 0."""
    return np.log(game.data) - (game.alpha + 1) * np.log(model)


def condition_holds(game: Game, model: np.ndarray) -> bool:
    """Whether the theory's condition is met at every point."""
    return bool(condition_margin(game, model).min() >= -ROUNDING)


def encoder_response(game: Game, model: np.ndarray) -> np.ndarray:
    """Return the gap [n] that maximises L_E against the decoder's distribution."""
    return np.maximum(0.0, -condition_margin(game, model) / game.alpha)


def decoder_response(game: Game, gap: np.ndarray) -> np.ndarray:
    """Return the distribution [n] that maximises L_D against the gap: the exact global maximum."""
    return max(decoder_candidates(game, gap), key=lambda model: decoder_value(game, model, gap))


def decoder_candidates(game: Game, gap: np.ndarray) -> list[np.ndarray]:
    """Return local maxima [n] of L_D over the simplex; the global maximum is one of them.

    Without a gap they are all local maxima. With a gap, a maximum with point j on the convex side is left out where
    another point has no less data and no larger gap, and one of the two strictly so: to exchange both would gain.
    """
    if game.gamma == 0 or len(game.data) == 1:
        return [game.total * game.data / game.data.sum()]
    offset = gap - np.log(game.data / game.gamma)
    lowest = 1 - offset.min()  # kappa below which some point has no solution
    found = []
    if _concave(game, offset, lowest).sum() >= game.total:
        found.append(_concave(game, offset, _kappa(game, offset, lowest)))
    for j in np.lexsort((gap, -game.data)):
        better = (game.data >= game.data[j]) & (gap <= gap[j]) & ((game.data > game.data[j]) | (gap < gap[j]))
        if not better.any() or not gap.any():
            found += _one_convex(game, offset, lowest, j)
    return found


def _concave(game: Game, offset: np.ndarray, kappa: float | np.ndarray) -> np.ndarray:
    """Return d on the concave side for each multiplier: kappa [...] -> [..., n]."""
    c = np.maximum(1.0, np.asarray(kappa)[..., None] + offset)
    return game.data / (game.gamma * larger_root(c))


def larger_root(c: np.ndarray) -> np.ndarray:
    """Return the root v >= 1 of v - log v = c >= 1, -W_{-1}(-exp(-c)), by Newton, since exp(-c) underflows."""
    beyond = c - 1
    v = 1 + np.sqrt(2 * beyond) + beyond  # never below the root, so that Newton falls onto it (Chatzigeorgiou 2013)
    for _ in range(5):
        v = v - (v - np.log(v) - c) * v / np.maximum(v - 1, np.finfo(float).tiny)
    return np.maximum(v, 1.0)


def _kappa(game: Game, offset: np.ndarray, lowest: float) -> float:
    """Return the multiplier at which d, all points on the concave side, sums to the total."""
    # From here on v >= c >= total / gamma, so each d is at most p * total.
    highest = max(lowest, 1 / (game.gamma * game.total) - offset.min())
    excess = lambda kappa: float(_concave(game, offset, kappa).sum()) - game.total  # noqa: E731
    return lowest if excess(lowest) <= 0 else brentq(excess, lowest, highest + 1, rtol=EXACT, xtol=1e-300)


def _one_convex(game: Game, offset: np.ndarray, lowest: float, j: int) -> list[np.ndarray]:
    """Return the local maxima at which point j alone is on the convex side."""
    others = np.arange(len(offset)) != j

    def share(t: np.ndarray) -> np.ndarray:  # [...] -> [..., n]
        v = game.data[j] / (game.gamma * np.asarray(t))
        shared = _concave(game, offset, v - np.log(v) - offset[j])
        return np.where(others, shared, np.asarray(t)[..., None])

    # Below this t the multiplier is too small for one of the others.
    c = lowest + offset[j]
    v_most = -lambertw(-np.exp(-c)).real if c > 1 + ROUNDING else 1.0
    least = game.data[j] / (game.gamma * v_most) if v_most > 0 else np.inf
    if least >= game.total:
        return []
    grid = np.geomspace(least, game.total, SCAN)
    above = share(grid).sum(-1) > game.total
    excess = lambda t: float(share(t).sum()) - game.total  # noqa: E731
    rises = np.flatnonzero(~above[:-1] & above[1:])
    return [share(brentq(excess, grid[i], grid[i + 1], rtol=EXACT, xtol=1e-300)) for i in rises]


def gains(game: Game, gap: np.ndarray, model: np.ndarray) -> tuple[float, float]:
    """Return the gains that encoder and decoder could each make alone; both are 0 only at a Nash equilibrium."""
    best_gap, best_model = encoder_response(game, model), decoder_response(game, gap)
    return (
        encoder_value(game, best_gap, model) - encoder_value(game, gap, model),
        decoder_value(game, best_model, gap) - decoder_value(game, model, gap),
    )
