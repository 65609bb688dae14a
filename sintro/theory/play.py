"""Play the game: encoder and decoder answer each other, by exact best responses or by gradient steps on the logits.

The decoder's distribution is d = softmax(theta). In every round the encoder opens its best gap s against d; then

    best responses   theta <- (theta + log d') / 2,  d' the decoder's exact best response to s
    gradient         theta <- theta + step dL_D/dtheta = theta + step d (g - sum d g),  g = p / d + gamma (log d - s)

With the encoder at its best, the gradient is that of one function of d, the *potential*

    Phi(d) = sum_x [ p log d + gamma int_0^d W*(u) du ],   W*(u) = min(log u, (1/alpha) log(p / u))

Where the condition holds, Phi is minus the theory's criterion, up to a constant; beyond, it is flatter. Gradient play
in small steps climbs Phi and comes to rest for any gamma. Its point of rest need not be an equilibrium, since the
decoder may gain by a larger move. Best responses rest at equilibria only; where there is none, they go on for ever.
"""

from dataclasses import dataclass

import numpy as np

from sintro.theory.game import Game, decoder_response, encoder_response

TOLERANCE = 1e-10  # a play is at rest once no probability moves more than this within a round
TAKEN = 0.5  # share of a best response, in logits, that a round takes


@dataclass(frozen=True)
class Play:
    """The decoder's distribution after every round [rounds + 1, n], and whether it came to rest."""

    path: np.ndarray
    at_rest: bool

    @property
    def end(self) -> np.ndarray:
        """The last distribution [n]."""
        return self.path[-1]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits [n] into a distribution [n]."""
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def by_best_responses(game: Game, start: np.ndarray, rounds: int) -> Play:
    """Play exact best responses from logits ``start`` [n], half of each a round."""

    def move(logits: np.ndarray, model: np.ndarray) -> np.ndarray:
        response = decoder_response(game, encoder_response(game, model))
        return (1 - TAKEN) * (logits - logits.max()) + TAKEN * np.log(response / response.max())

    return _play(start, rounds, move)


def by_gradient(game: Game, start: np.ndarray, rounds: int, step: float = 0.5) -> Play:
    """Let the decoder climb its gradient from logits ``start`` [n], the encoder at its best response in every round."""

    def move(logits: np.ndarray, model: np.ndarray) -> np.ndarray:
        slope = game.data + game.gamma * model * (np.log(model) - encoder_response(game, model))
        return logits + step * (slope - model * slope.sum())

    return _play(start, rounds, move)


def _play(start: np.ndarray, rounds: int, move) -> Play:
    logits = np.asarray(start, dtype=float)
    path = [softmax(logits)]
    for _ in range(rounds):
        logits = move(logits, path[-1])
        path.append(softmax(logits))
        if np.abs(path[-1] - path[-2]).max() < TOLERANCE:
            return Play(np.array(path), True)
    return Play(np.array(path), False)
