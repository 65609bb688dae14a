"""The columns of ``history.csv``, each defined once, with unit and sign. Imports no torch."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """The meaning of a column of the history."""

    definition: str
    unit: str
    sign: str  # which way is better, or what zero means


HISTORY: dict[str, Column] = {
    "iteration": Column("number of iterations finished when the row was written", "iterations", "grows"),
    "phase": Column("0 in the VAE warm-up (and in every VAE), 1 in the introspective phase", "", "0 then 1"),
    "learning_rate": Column(
        "Adam's learning rate of every player in this iteration; LORD: of the decoder", "", "falls at the milestones"
    ),
    "loss_encoder": Column("L_E, or the VAE's loss during the warm-up; batch mean", "scaled nats", "minimised"),
    "loss_decoder": Column("L_D without constant terms, or the VAE's loss", "scaled nats", "minimised"),
    "reconstruction": Column("rec(x, g(z)): squared error summed over a datum's coordinates", "data units^2", "lower"),
    "kl_real": Column("KL(q(z|x) || p) of the real batch", "nats", "the encoder lowers it"),
    "kl_fake": Column("KL(q(z|g(z_p)) || p) of samples", "nats", "encoder raises, decoder lowers it"),
    "kl_reconstructed": Column("KL(q(z|g(z)) || p) of reconstructions", "nats", "encoder raises, decoder lowers it"),
    "reconstruction_fake": Column("squared error of reconstructing samples", "data units^2", "encoder raises it"),
    "reconstruction_reconstructed": Column("squared error of reconstructing reconstructions", "data units^2", ""),
    "exp_elbo_fake": Column("mean exp(-alpha s (beta_rec rec + beta_neg KL)) of samples", "", "in (0, 1] if KL >= 0"),
    "exp_elbo_reconstructed": Column("the same of reconstructions", "", "in (0, 1] if KL >= 0"),
    "hinge_fake": Column(
        "IntroVAE: relu(m - mean KL) of samples", "nats", "the encoder lowers it, 0 beyond the margin"
    ),
    "hinge_reconstructed": Column("IntroVAE: relu(m - mean KL) of reconstructions", "nats", "the same"),
    "entropy_nats": Column("-sum_k a_k log a_k, a_k the mean responsibility of mode k", "nats", "<= log K"),
    "active_modes": Column("modes of the prior with a_k >= 1 / K^2", "modes", "<= K"),
    "prior_log_var_min": Column("smallest log-variance of any mode and dimension, after clipping", "log units^2", ""),
    "prior_log_var_max": Column("largest log-variance of any mode and dimension, after clipping", "log units^2", ""),
}
COLUMNS = tuple(HISTORY)
OLD_COLUMNS = {"responsibility_entropy": "entropy_nats"}  # older files' names -> today's; the unit is the same
INTEGERS = ("iteration", "phase", "active_modes")


def todays(columns: Iterable[str]) -> list[str]:
    """Translate the columns of a history, of whatever version, into the names they have today."""
    return [OLD_COLUMNS.get(name, name) for name in columns]


def to_csv(rows: Iterable[Sequence[float]]) -> str:
    """Write ``history.csv`` as text. NaN, the mark of a term that this phase or prior lacks, becomes an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(_field(name, value) for name, value in zip(COLUMNS, row, strict=True))
    return text.getvalue()


def _field(name: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if name in INTEGERS else repr(float(value))
