"""The experiment behind ``sintro theory``: the game over a sweep of gamma, the third player, and the findings.

The data are drawn from a Dirichlet distribution, positive at every point. Where p_data is 0, the encoder's best
response is W = -inf and the decoder gives the point no mass: such points drop out of the game.
"""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sintro import SintroError
from sintro.basics.files import write_json
from sintro.cells.cell import RESULTS
from sintro.cells.components import spell
from sintro.runs.folder import environment, now
from sintro.theory import game as g
from sintro.theory import play, prior

RANGES = {"points": (2, 50), "alpha": (0.1, 100), "gamma": (0.001, 10), "seed": (0, 2**32 - 1)}
PUBLISHED_GAMMA = 1.0
CONCENTRATION = 2.0  # of the Dirichlet distribution: uneven data, but no point with next to no mass
SWEEP = tuple(float(f"{gamma:.4g}") for gamma in np.geomspace(0.001, 10, 25))  # 0.001, 0.01, 0.1, 1 and 10 among them
STARTS = 5
ROUNDS = {"responses": 150, "gradient": 20_000}
KEPT = 80  # rounds of a gradient play that the result keeps, evenly spaced in log(1 + round)
SAME, NO_GAIN = 1e-6, 1e-9  # two distributions are the same below this total variation, two values below these nats
RESULT = "result.json"


def check(points: int, alpha: float, gamma: float, seed: int) -> None:
    """Raise SintroError, with all legal ranges, for a value outside of its range."""
    for name, value in {"points": points, "alpha": alpha, "gamma": gamma, "seed": seed}.items():
        low, high = RANGES[name]
        if not low <= value <= high:  # NaN too
            legal = ", ".join(f"{key} {a:g} to {b}" for key, (a, b) in RANGES.items())
            raise SintroError(f"{name} {value} is outside of its range; legal are {legal}")


def folder_of(points: int, alpha: float, gamma: float, seed: int) -> Path:
    """Return the folder of the result of these settings, relative to the working directory."""
    return Path(RESULTS, "theory", f"points{points}-alpha{spell(alpha)}-gamma{spell(gamma)}-seed{seed}")


def run(points: int, alpha: float, gamma: float, seed: int) -> dict[str, Any]:
    """Play the game on ``points`` data points. Returns the content of result.json, plain lists and numbers.

    The plays at ``gamma`` are kept round by round; it also joins the sweep. Raises SintroError for a value outside of
    its legal range.
    """
    check(points, alpha, gamma, seed)
    rng = np.random.default_rng(seed)
    data = rng.dirichlet(np.full(points, CONCENTRATION))
    data = (data + 1e-6) / (1 + 1e-6 * points)
    starts = 2 * rng.standard_normal((STARTS, points))
    sweep = [_at(g.Game(data, alpha, gamma), starts[:2]) for gamma in sorted({*SWEEP, gamma})]
    chosen = g.Game(data, alpha, gamma)
    result = {
        "settings": {"points": points, "alpha": alpha, "gamma": gamma, "seed": seed, "concentration": CONCENTRATION},
        "data": data.tolist(),
        "sweep": sweep,
        "plays": _plays(chosen, starts),
        "prior": _priors(chosen, starts[0]),
    }
    findings = judge(result)
    return result | {"findings": findings, "verdict": verdict(findings)}


def write(points: int, alpha: float, gamma: float, seed: int) -> Path:
    """Run the experiment and write its result with provenance. Returns the folder. Raises as :func:`run` does."""
    started = time.monotonic()
    folder = folder_of(points, alpha, gamma, seed)
    result = run(points, alpha, gamma, seed)
    command = f"sintro theory --points {points} --alpha {spell(alpha)} --gamma {spell(gamma)} --seed {seed}"
    spent = {"finished": now(), "wall_seconds": time.monotonic() - started}
    provenance = environment("cpu", threads=1) | spent
    write_json(folder / RESULT, result | {"command": command, "provenance": provenance})
    return folder


def _rest(game: g.Game, ended: play.Play, reference: np.ndarray) -> dict[str, Any]:
    """Describe the end of a play: at rest or not, its distance to a distribution, the decoder's possible gain."""
    gap = g.encoder_response(game, ended.end)
    return {
        "at_rest": ended.at_rest,
        "rounds": len(ended.path) - 1,
        "distance": g.total_variation(ended.end, reference),
        "gain": max(0.0, g.gains(game, gap, ended.end)[1]),
        "end": ended.end.tolist(),
    }


def _at(game: g.Game, starts: np.ndarray) -> dict[str, Any]:
    """Compute one gamma of the sweep: the minimiser, the condition, the ends of both plays, and the third player."""
    closed = np.zeros_like(game.data)
    minimiser = g.decoder_response(game, closed)
    responses = [play.by_best_responses(game, start, ROUNDS["responses"]) for start in starts]
    ends = [_rest(game, ended, minimiser) for ended in responses]
    met = g.condition_holds(game, minimiser)
    found = {
        "gamma": game.gamma,
        "condition": met,
        "margin": float(g.condition_margin(game, minimiser).min()),
        "local_minima": len(g.decoder_candidates(game, closed)),
        "unique_by_concavity": bool(game.gamma <= game.data.min()),
        "minimiser": minimiser.tolist(),
        "criterion": g.criterion(game, minimiser),
        "to_data": g.total_variation(minimiser, game.data),
        "responses": max(ends, key=lambda end: (not end["at_rest"], end["distance"])),
        "gradient": _rest(game, play.by_gradient(game, starts[0], ROUNDS["gradient"], 1.0), minimiser),
    }
    if met:
        found["prior"] = _cooperations(
            game, starts[0], math.ceil(len(game.data) / 2), minimiser, ("decoder", "encoder")
        )
    return found


def _cooperations(
    game: g.Game, start: np.ndarray, latents: int, reference: np.ndarray, kinds: Sequence[str] = prior.COOPERATION
) -> dict[str, Any]:
    """Play the game of three from a uniform p(z) for each kind of prior, and describe its end."""
    blocks = prior.blocks_of(len(game.data), latents)
    model = play.softmax(start)
    for block in blocks:
        model[block] /= latents * model[block].sum()
    ends = {kind: prior.play(game, blocks, kind, model, ROUNDS["responses"]) for kind in kinds}
    keep = ("at_rest", "rounds", "distance", "end")
    return {"latents": latents} | {
        kind: {key: value for key, value in _rest(game, ended, reference).items() if key in keep}
        for kind, ended in ends.items()
    }


def _plays(game: g.Game, starts: np.ndarray) -> dict[str, Any]:
    """Play at the chosen gamma: the criterion above its minimum in every round of every start, and one path of p_d."""
    minimiser = g.decoder_response(game, np.zeros_like(game.data))
    least = g.criterion(game, minimiser)
    above = []
    for start in starts:
        path = play.by_best_responses(game, start, ROUNDS["responses"]).path
        above.append([g.criterion(game, model) - least for model in path])
    climbed = play.by_gradient(game, starts[0], ROUNDS["gradient"], 1.0).path
    kept = np.unique(np.rint(np.geomspace(1, len(climbed), KEPT)).astype(int)) - 1
    return {
        "gamma": game.gamma, "minimiser": minimiser.tolist(), "above": above,
        "path_rounds": kept.tolist(), "path": climbed[kept].tolist(),
    }  # fmt: skip


def _priors(game: g.Game, start: np.ndarray) -> dict[str, Any]:
    """Play the game of three at the chosen gamma, for Z from 1 (the decoder can do everything) to n (nothing)."""
    points = len(game.data)
    minimiser = g.decoder_response(game, np.zeros_like(game.data))
    rows = []
    for latents in sorted({1, 2, math.ceil(points / 2), points}):
        blocks = prior.blocks_of(points, latents)
        slopes = {kind: prior.slope(game, blocks, minimiser, kind) for kind in ("decoder", "encoder", "encoder-full")}
        rows.append(_cooperations(game, start, latents, minimiser) | {"slopes": slopes})
    return {"gamma": game.gamma, "condition": g.condition_holds(game, minimiser), "rows": rows}


def judge(result: dict[str, Any]) -> list[dict[str, str]]:
    """Judge each statement by the result: its name, the statement, the finding, and a state as contrasts have."""
    inside = [at for at in result["sweep"] if at["condition"]]
    outside = [at for at in result["sweep"] if not at["condition"]]
    findings = [
        ("minimiser", "where the theory's condition holds, best responses come to rest at the minimiser of "
         "KL(p_data || p_d) + gamma H(p_d)", *_minimised(inside, len(result["sweep"]))),
        ("limit", "as gamma falls to 0 the fixed point tends to p_data", *_limit(inside, np.array(result["data"]))),
        *_third_player(inside, result["prior"]),
    ]  # fmt: skip
    states = {True: "as claimed", False: "against", None: "not run"}
    found = [
        {"name": name, "statement": said, "found": text if inside else "the condition never holds",
         "state": states[held if inside else None]}
        for name, said, text, held in findings
    ]  # fmt: skip
    return [*found, {"name": "beyond", "statement": BEYOND, "found": _beyond(outside), "state": "no claim"}]


def _minimised(inside: list[dict[str, Any]], total: int) -> tuple[str, bool]:
    """Say whether every fixed point is the minimiser and an equilibrium: in words, and as a bool."""
    if not inside:
        return "", False
    rests = all(at["responses"]["at_rest"] for at in inside)
    apart, gain = (max(at["responses"][key] for at in inside) for key in ("distance", "gain"))
    climbed = sum(at["gradient"]["distance"] < SAME for at in inside)
    text = (
        f"{len(inside)} of {total} values of gamma, up to {inside[-1]['gamma']:g}: "
        f"{'all' if rests else 'not all'} at rest, total variation to the minimiser at most {apart:.1e}, "
        f"gain left to the decoder at most {gain:.1e} nats; gradient play ends there for {climbed}"
    )
    return text, rests and apart < SAME and gain < NO_GAIN


def _limit(inside: list[dict[str, Any]], data: np.ndarray) -> tuple[str, bool]:
    """Say whether d* tends to p_data as its first order d* = p + gamma p (log p + H(p)) + O(gamma^2) does."""
    if not inside:
        return "", False
    first, slope = inside[0], g.total_variation(data, data * (1 + np.log(data) + g.entropy(data)))
    falls = all(a["to_data"] < b["to_data"] for a, b in pairwise(inside))
    ratio = first["to_data"] / first["gamma"]
    text = (
        f"at gamma {first['gamma']:g} the total variation to p_data is {first['to_data']:.3g} = {ratio:.4g} gamma, "
        f"by first order {slope:.4g} gamma; it {'falls' if falls else 'does not fall'} with gamma throughout"
    )
    return text, falls and abs(ratio / slope - 1) < 0.1


def _third_player(inside: list[dict[str, Any]], chosen: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """Judge the two statements on the learned prior; None of what no game that was played can tell."""
    rows = [at["prior"] for at in inside] + (chosen["rows"] if chosen["condition"] else [])
    joint = max((row["decoder"]["distance"] for row in rows), default=math.nan)
    apart = [row["encoder"]["distance"] for row in rows if row["latents"] > 1]
    found = "no game was played in which p(z) matters (Z > 1)"
    if apart:
        found = f"total variation {min(apart):.2g} to {max(apart):.2g} where p(z) matters (Z > 1)"
    return [
        ("prior with decoder", "with a learned prior that cooperates with the decoder the same p_d is reached",
         f"{len(rows)} games of three: total variation to the two players' p_d at most {joint:.1e}", joint < SAME),
        ("prior with encoder", "with a prior that cooperates with the encoder it is not, in general",
         found, max(apart) > SAME if apart else None),
    ]  # fmt: skip


BEYOND = "where the condition does not hold the theory says nothing of the fixed point"


def _beyond(outside: list[dict[str, Any]]) -> str:
    """Describe the plays where the condition fails, in words and numbers."""
    if not outside:
        return "it holds over the whole sweep"
    elsewhere = [at for at in outside if at["responses"]["at_rest"]]
    text = f"from gamma {outside[0]['gamma']:g} on: {len(elsewhere)} of {len(outside)} at an equilibrium"
    if elsewhere:
        apart = [at["responses"]["distance"] for at in elsewhere]
        text += f", {min(apart):.2g} to {max(apart):.2g} (total variation) from the minimiser"
    if len(elsewhere) < len(outside):
        text += "; at the others best responses chase each other and none was found"
    return text


def verdict(findings: list[dict[str, Any]]) -> str:
    """Return the verdict on claim C6, from the first two findings; inconclusive where the condition never holds."""
    states = [finding["state"] for finding in findings[:2]]
    if "against" in states:
        return "contradicted"
    return "supported" if states == ["as claimed"] * 2 else "inconclusive"
