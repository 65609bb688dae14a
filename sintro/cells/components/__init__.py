"""Data sets, priors and objectives: one object describes each, and one door lets them in.

An extension file imports what it needs from here: ``from sintro.cells.components import Density, register``.
"""

from sintro.cells.components.component import PROTOCOLS, Component, Row, UnknownComponent
from sintro.cells.components.dataset import SPLITS, Dataset, Density, ImageDataset, Splits
from sintro.cells.components.extension_files import in_a_line
from sintro.cells.components.factors import FactorDataset, Factors
from sintro.cells.components.objective import Betas, Objective
from sintro.cells.components.prior import Prior, PriorSpec
from sintro.cells.components.registry import (
    broken,
    dataset,
    datasets,
    fault,
    news_of_broken,
    objective,
    objectives,
    parse_objective,
    parse_prior,
    prior,
    priors,
    register,
    register_reader,
    unknown,
)
from sintro.cells.components.spelling import spell, suggestion

# The objectives whose published hyper-parameters differ: the first argument of a Row.
VAE, SOFT, INTRO = ("vae",), ("soft-introvae",), ("introvae",)
OURS = "ours (no paper has this data set)"  # how the source of a Row begins that has no paper behind it
