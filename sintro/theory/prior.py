"""A learned prior as third player, on a discrete latent space.

The model is d(x) = sum_z p(z) g(x|z) with Z latent points. The blocks B_z are a partition of the data space, and the
decoder is *local*: z generates the points of its own block only. So p(z) is the mass that the model puts on block z,
and d(x) = p(z) g(x|z) for the z of x's block. With Z = 1 the decoder can do everything itself, with Z = n nothing. With
the encoder's gap s as in ``game``, W(x) = log p(z) + log g(x|z) - s(x). The players' objectives:

    decoder              L_D over the conditionals g(.|z), p(z) as it is
    prior, with decoder  L_D over p(z), g as it is. With A_z = sum of p_data over B_z and k_z = sum_x g (log g - s):
                         sum_z A_z log p(z) + gamma sum_z p(z) (log p(z) + k_z): the decoder's problem with the data A
                         and the gap -k, and solved as such
    prior, with encoder  sum_x p_data W over p(z), the released code's form (the terms of generated data do not reach
                         the prior): its maximum is p(z) = A_z, the aggregated posterior, for any gamma

Prior and decoder with one objective reach together what neither can alone. No d does better against a closed gap than
d*, so (d*, closed gap) is an equilibrium of three players exactly when it is one of two. A prior that cooperates with
the encoder keeps the data's block masses, which d* has only by chance (or at Z = 1), so the play rests at another p_d.
"""

from collections.abc import Sequence

import numpy as np

from sintro.theory.game import Game, decoder_response, encoder_response
from sintro.theory.play import TAKEN, TOLERANCE, Play

COOPERATION = ("fixed", "decoder", "encoder")


def blocks_of(points: int, latents: int) -> list[np.ndarray]:
    """Cut the data space into ``latents`` blocks of neighbours, whose sizes differ by one at most."""
    return np.array_split(np.arange(points), latents)


def prior_response(
    game: Game, blocks: Sequence[np.ndarray], model: np.ndarray, gap: np.ndarray, cooperation: str
) -> np.ndarray:
    """Return the prior p(z) [Z] that is best for the player it cooperates with; ``fixed`` leaves it as it is."""
    masses = np.array([model[b].sum() for b in blocks])
    data = np.array([game.data[b].sum() for b in blocks])
    if cooperation == "fixed":
        return masses
    if cooperation == "encoder":
        return data
    inner = [np.sum(model[b] / m * (np.log(model[b] / m) - gap[b])) for b, m in zip(blocks, masses, strict=True)]
    return decoder_response(Game(data, game.alpha, game.gamma), -np.array(inner))


def play(game: Game, blocks: Sequence[np.ndarray], cooperation: str, start: np.ndarray, rounds: int) -> Play:
    """Encoder, decoder and prior answer each other by exact best responses from the distribution ``start`` [n]."""
    model = start / start.sum()
    path = [model]
    for _ in range(rounds):
        gap = encoder_response(game, model)
        target = np.empty_like(model)
        prior = prior_response(game, blocks, model, gap, cooperation)
        for block, mass in zip(blocks, prior, strict=True):
            held = model[block].sum()
            inside = decoder_response(Game(game.data[block], game.alpha, game.gamma, held), gap[block])
            target[block] = inside / held * mass
        model = np.exp((1 - TAKEN) * np.log(model) + TAKEN * np.log(target))
        if cooperation == "fixed":  # damping in logs moves the blocks' masses, which must stay
            for block in blocks:
                model[block] *= path[-1][block].sum() / model[block].sum()
        model = model / model.sum()
        path.append(model)
        if np.abs(path[-1] - path[-2]).max() < TOLERANCE:
            return Play(np.array(path), True)
    return Play(np.array(path), False)


def slope(game: Game, blocks: Sequence[np.ndarray], model: np.ndarray, cooperation: str) -> float:
    """Return how far p(z) is from its best at a closed gap: the largest |dL/dp(z) - its mean| over z.

    L depends on ``cooperation``. ``decoder``: L_D. ``encoder``: the data's term of L_E alone, as in the released code.
    ``encoder-full``: L_E with its exponential term, whose samples are held fixed.
    """
    masses = np.array([model[b].sum() for b in blocks])
    elbo = np.log(model)
    terms = {
        "decoder": game.data + game.gamma * model * (elbo + 1),
        "encoder": game.data,
        "encoder-full": game.data - model * np.exp(game.alpha * elbo),
    }[cooperation]
    slopes = np.array([terms[b].sum() for b in blocks]) / masses
    return float(np.abs(slopes - masses @ slopes).max())
