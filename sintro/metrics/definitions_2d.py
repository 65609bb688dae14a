"""Definitions of the metrics of points in the plane; computed by ``density`` and ``plane`` beside this file."""

from typing import Literal

from sintro.metrics.metric import EVERY, PRIOR, PUBLISHED, SECTION, SOFT, Metric

_HISTOGRAM = (
    "5,000 fresh real and 5,000 generated points (as published), 100 x 100 bins over the range that is plotted, "
    "densities d_r and d_g. A perfect model does not score 0: see the floor."
)
_DROPPED = "Points out of range are dropped; undefined (NaN) when every generated one is."
_COUNTED = "Points out of range are one more bin; those that are not finite have nothing in common with the data."

DENSITY = (
    Metric(
        "gnelbo_published",
        "gnELBO",
        "Grid-normalised negative ELBO: mean over 12,800 real points of e / (sum of e over a grid and the real "
        "points), where e(x) = KL(x) + rec(x, g(mu(x))). The published grid is 1024 x 1024; a cell's settings may have "
        "a smaller one, and the metric is proportional to 1 / the number of its points. The KL is sampled, with the "
        "same noise vectors at every point, as many as the cell's `samples` (100 as published); that to N(0, I) only "
        f"in the protocol of {PRIOR}, else in closed form.",
        "1e-7",
        "lower",
        "published",
        f"{SOFT}; {PRIOR}, released code; {SECTION}",
        display_scale=1e7,
        version=2,
    ),
    Metric(
        "gnelbo",
        "normalised NLL",
        "Mean over the same real points of -log p(x), where p = exp(-e) normalised over the grid's range: the proper "
        "score in place of gnELBO's ratio, from the same energies. This suite's own, not the papers'.",
        "nats",
        "lower",
        version=2,
    ),
    Metric(
        "kl_published",
        "KL (published)",
        "1/100 sum of d_r (log d_r - log(d_g + 1e-14)) over the bins with d_r > 0: the KL of the histograms in nats "
        f"times 6.25 for 8gaussians, times 1.5625 for the other densities. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "lower",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "jsd_published",
        "JSD (published)",
        "1/2 1/100 sum of [m (log m - log(d_r + 1e-14)) + m (log m - log(d_g + 1e-14))], m = (d_r + d_g)/2: the "
        f"reverse of the textbook direction, not bounded by log 2. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "lower",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "entropy_published",
        "entropy proxy (published)",
        "1/100 sum of u (log u - log(d_g + 1e-14)), u the uniform density over the range: the smaller, the wider the "
        f"samples are spread. {_HISTOGRAM} {_DROPPED}",
        "scaled nats",
        "none",
        "published",
        PUBLISHED,
        version=2,
    ),
    Metric(
        "kl",
        "KL",
        "KL(real || generated) of the histograms, with the published density floor of 1e-14 under an empty generated "
        f"bin. {_HISTOGRAM} {_COUNTED}",
        "nats",
        "lower",
        version=2,
    ),
    Metric(
        "jsd",
        "JSD",
        f"Jensen-Shannon divergence of the histograms, between 0 and log 2 = 0.693. {_HISTOGRAM} {_COUNTED}",
        "nats",
        "lower",
        "standard",
        f"Lin 1991; {SECTION}",
        version=2,
    ),
    Metric(
        "out_of_range",
        "out of range",
        "Share of the generated points of KL (published) that are outside the range that is plotted or not finite: "
        "what the published histogram drops and its numbers do not see.",
        "%",
        "lower",
        display_scale=100.0,
    ),
    Metric(
        "modes_covered",
        "parts covered",
        "How many of the density's modes, arms, squares or rings receive at least a tenth of the samples on the "
        "support that a perfect model would give them.",
        "parts",
        "higher",
    ),
    Metric(
        "off_support",
        "off support",
        "Share of the samples where (practically) no real data are: the bridges between modes, arms, squares or rings. "
        "Real data score below 0.1 %.",
        "%",
        "lower",
        display_scale=100.0,
    ),
)

_PAIR = "5,000 fresh real and 5,000 generated points; undefined (NaN) when one of them is not finite."

PLANE = (
    Metric(
        "sliced_w2",
        "sliced W2",
        "Sliced 2-Wasserstein distance: root of the mean over 500 directions of the squared W2 of the projections. "
        f"Sees parts that are missing, misplaced or too heavy. {_PAIR}",
        "data units",
        "lower",
        "standard",
        f"Bonneel et al. 2015; {SECTION}",
    ),
    Metric(
        "energy_distance",
        "energy distance",
        "2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased: 0 on average for a perfect model, and sometimes negative; on "
        "spirals about 4e-4 less, since their real points come in mirrored pairs. Sees wrong weights of the parts, and "
        f"much noise. {_PAIR}",
        "data units",
        "lower",
        "standard",
        f"Szekely & Rizzo 2013; {SECTION}",
    ),
    Metric(
        "density",
        "density",
        "In how many of the balls around the real data, which reach to the 5th real neighbour, a generated datum lies "
        "on average, as a multiple of the 5 that a perfect model has: near 0 for samples where no data are, above 1 "
        "for samples crowded where data are dense, so read it with coverage. Of points of the plane (5,000 of both), "
        "or of images by their features in eval mode.",
        "",
        "higher",
        "standard",
        f"Naeem et al. 2020; {SECTION}",
        datasets=EVERY,
    ),
    Metric(
        "coverage",
        "coverage",
        "Share of the balls of density that hold a generated datum at all: low where data have no samples. A perfect "
        "model scores 1 - 2^-5 = 0.969 with as many generated as real data.",
        "share",
        "higher",
        "standard",
        f"Naeem et al. 2020; {SECTION}",
        datasets=EVERY,
    ),
    Metric(
        "one_nna",
        "1-NN accuracy",
        "Leave-one-out accuracy of telling real from generated points by the nearest neighbour. 1/2: they cannot be "
        f"told apart; near 1 they can; below 1/2 samples are copies of data or too close to them. {_PAIR}",
        "share",
        "half",
        "standard",
        f"Lopez-Paz & Oquab 2017; {SECTION}",
    ),
)

# What a model can do wrong in the plane -> the metrics of PLANE that it clearly moves, and which way.
ERRORS: dict[str, dict[str, Literal["raises", "lowers"]]] = {
    "noise around the data": {"density": "lowers", "coverage": "lowers", "one_nna": "raises"},
    "too narrow a shape": {"coverage": "lowers", "one_nna": "raises"},
    "a part that is missing": {"sliced_w2": "raises", "energy_distance": "raises", "coverage": "lowers"},
    "a part that is twice as heavy": {"sliced_w2": "raises", "energy_distance": "raises"},
    "copying the data": {"one_nna": "lowers"},
}
