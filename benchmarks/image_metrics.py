"""Time and peak memory of the image metrics at full size, on random features: ``python -m benchmarks image-metrics``.

Each row runs in a process of its own, so that the peak is its own; the peak includes Python, torch and the inputs
(50,000 x 2,048 float32 features are 391 MiB, and precision and recall hold two such sets).

docs/speed.md has what was measured. ``--images N`` makes the rows smaller, for a look.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import torch

from benchmarks.training import Row

IMAGES, FEATURES = 50_000, 2_048


def features(count: int, dimension: int, seed: int) -> torch.Tensor:
    """Random features [count, dimension] with the decaying spectrum of real ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator).mul_(torch.logspace(0, -2, dimension))


def statistics(count: int, dimension: int):
    """Mean and covariance of the features."""
    from sintro.metrics.fid import FeatureStatistics

    inputs = features(count, dimension, 0)
    return lambda: FeatureStatistics.of(inputs).covariance


def covariances(dimension: int):
    first, second = (features(2 * dimension, dimension, seed).double() for seed in (0, 1))
    return first.mean(0), first.T.cov(), second.mean(0), second.T.cov()


def distance(count: int, dimension: int):
    """Fréchet distance."""
    from sintro.metrics.fid import frechet_distance

    inputs = covariances(dimension)
    return lambda: frechet_distance(*inputs)


def pytorch_fid(count: int, dimension: int):
    """The same distance by pytorch-fid's function."""
    importlib.import_module("sintro.data.vision")  # pytorch-fid imports torchvision
    theirs = importlib.import_module("pytorch_fid.fid_score").calculate_frechet_distance
    inputs = [value.numpy() for value in covariances(dimension)]
    return lambda: theirs(*inputs)


def manifolds(count: int, dimension: int):
    """Precision, recall, density, coverage and authenticity."""
    from sintro.metrics.manifold import standard_manifolds

    real, generated = features(count, dimension, 0), features(count, dimension, 1)
    return lambda: standard_manifolds(real, generated)


def kernel(count: int, dimension: int):
    """Kernel distance, 100 pairs of subsets of 1,000."""
    from sintro.metrics.kernel import kernel_distance

    real, generated = features(count, dimension, 0), features(count, dimension, 1)
    return lambda: kernel_distance(real, generated)


def infinite_distance(count: int, dimension: int):
    """The Fréchet distance at 15 sizes, extrapolated."""
    from sintro.metrics.extrapolation import infinite_distance
    from sintro.metrics.fid import FeatureStatistics

    generated, real = features(count, dimension, 1), FeatureStatistics.of(features(2 * dimension, dimension, 0))
    return lambda: infinite_distance(generated, real)


def authenticity_floor(count: int, dimension: int):
    """Authenticity of 10,000 test images, kept for all cells of a data set."""
    from sintro.metrics.manifold import nearest_real

    real, test = features(count, dimension, 0), features(count // 5, dimension, 1)
    return lambda: nearest_real(real, test).authenticity


def likeness(count: int, dimension: int):
    """PSNR and SSIM of 10,000 images of 3 x 32 x 32."""
    from sintro.metrics.similarity import psnr, ssim

    first, second = torch.rand(2, count // 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def work() -> None:
        for pair in zip(first.split(128), second.split(128), strict=True):
            psnr(*pair)
            ssim(*pair)

    return work


def pairs_in_the_plane(count: int, dimension: int):
    """The two-sample metrics of 5,000 points against 5,000 in the plane."""
    from sintro.metrics.plane import two_sample_metrics

    points = torch.randn(2, 5_000, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
    return lambda: two_sample_metrics(*points)


def codes(count: int, latent_size: int = 128):
    """Make codes in overlapping clusters, so that no probe is trivial -> train, its labels, test, its labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=generator)
    centres = torch.randn(10, latent_size, generator=generator) * 0.3
    values = centres[labels] + torch.randn(count, latent_size, generator=generator)
    held_out = count // 6
    return values[held_out:], labels[held_out:], values[:held_out], labels[:held_out]


def published_probes(count: int, dimension: int):
    """Two linear SVMs and two k-NN on 41,667 codes of 128 dimensions."""
    from sintro.metrics import representation

    inputs = codes(count)
    return lambda: representation.published_probes(*inputs)


def linear_probe(count: int, dimension: int):
    """Logistic regression on the same codes."""
    from sintro.metrics import representation

    inputs = codes(count)
    return lambda: representation.linear_probe(*inputs)


def inception(count: int, dimension: int):
    """The network's time per 100 images of 32 x 32; the weights are random, which costs the same."""
    network = importlib.import_module("sintro.metrics.inception").Inception()
    from sintro.metrics.features import FeatureExtractor

    extractor = FeatureExtractor("inception", "fid", network, 2048, "random")
    images = torch.zeros(100, 3, 32, 32, dtype=torch.uint8)
    return lambda: extractor.features(images, "train", 50)


def evaluation(seed: int, digits: str = "results/quick/digits/vae/vamp10-lc/none"):
    """Evaluate four untrained models of a cell on digits; the classifier and references are there already."""
    from sintro.cells import studies
    from sintro.cells.cell import Cell
    from sintro.evaluation.images import ImageEvaluation
    from sintro.training.players import Players

    settings = studies.settings(Cell.from_path(f"{digits}/seed{seed}"))
    model = Players([settings]).model
    model.prior = model.mixture()
    snapshots = dict.fromkeys(range(4), "untrained")
    folder = tempfile.TemporaryDirectory()

    def work() -> None:
        with torch.no_grad():
            ImageEvaluation(settings, lambda _: model, "cpu", Path(folder.name)).measure(snapshots)

    return work


def evaluation_noise(count: int, dimension: int):
    """Evaluation of a digits cell of study quick, four models, with the measurement noise."""
    return evaluation(seed=0)


def evaluation_digits(count: int, dimension: int):
    """The same without it."""
    return evaluation(seed=1)


def rows(images: int = IMAGES) -> dict[str, Row]:
    """Name all rows of this file. ``images``: how many features stand for those of images."""
    functions = (statistics, distance, pytorch_fid, inception, linear_probe, published_probes, kernel)
    functions += (infinite_distance, likeness, pairs_in_the_plane, manifolds, authenticity_floor)
    functions += (evaluation_digits, evaluation_noise)
    return {
        function.__name__.replace("_", "-"): Row(
            (function.__doc__ or function.__name__.replace("_", " ")).splitlines()[0].rstrip("."),
            lambda device, function=function: function(images, FEATURES),
            repeats=3 if function in (evaluation_digits, evaluation_noise) else 1,
        )
        for function in functions
    }
