"""Probes find what is there, only what is there, and say when they stopped early."""

import numpy as np
import pytest
import torch

from sintro import SintroError
from sintro.metrics import representation
from sintro.metrics.representation import linear_probe, published_probes


def blobs(separation, seed=0, count=600, classes=4, dimensions=6):
    """Gaussian clusters on axes of very different scales: unstandardised, the first axis hides the others."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    codes = generator.standard_normal((count, dimensions)) + separation * np.eye(classes, dimensions)[labels]
    codes = codes * 10.0 ** -np.arange(dimensions) + 100
    return codes[: count // 2], labels[: count // 2], codes[count // 2 :], labels[count // 2 :]


def test_all_probes_separate_clear_clusters():
    data = blobs(separation=8)
    probes = published_probes(*data) | {"linear": linear_probe(*data)}
    assert set(probes) == {"svc_few", "svc_many", "knn_few", "knn_many", "linear"}
    for name, probe in probes.items():
        assert probe.accuracy > 0.97, name
        assert probe.converged, name


def test_without_information_accuracy_is_chance():
    data = blobs(separation=0, count=4000)
    for name, probe in (published_probes(*data) | {"linear": linear_probe(*data)}).items():
        assert probe.accuracy == pytest.approx(0.25, abs=0.05), name


def test_tensors_and_arrays_give_the_same():
    data = blobs(separation=2)
    assert linear_probe(*data) == linear_probe(*(torch.from_numpy(values) for values in data))


def test_scale_and_offset_of_the_codes_do_not_matter():
    train, train_labels, test, test_labels = blobs(separation=2)
    plain = published_probes(train, train_labels, test, test_labels)
    moved = published_probes(1000 * train - 3, train_labels, 1000 * test - 3, test_labels)
    for name in plain:
        assert moved[name].accuracy == pytest.approx(plain[name].accuracy, abs=0.01), name


def test_stopping_early_is_recorded_not_swallowed_and_not_shouted(monkeypatch):
    data = blobs(separation=1)
    monkeypatch.setattr(representation, "SVM_ITERATIONS", {"few": 3, "many": 10_000})
    monkeypatch.setattr(representation, "LOGISTIC_ITERATIONS", 1)
    probes = published_probes(*data)
    assert not probes["svc_few"].converged
    assert probes["svc_many"].converged
    assert not linear_probe(*data).converged


def test_a_constant_dimension_is_harmless():
    train, train_labels, test, test_labels = blobs(separation=8)
    train[:, 5] = test[:, 5] = 3.0
    assert linear_probe(train, train_labels, test, test_labels).accuracy > 0.97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, c, d: (a, b[:-1], c, d), "expected \\[N, L\\] and \\[N\\]"),
        (lambda a, b, c, d: (a, b, c[:, :-1], d), "6 latent dimensions in training, 5 in test"),
        (lambda a, b, c, d: (np.full_like(a, np.inf), b, c, d), "training codes hold values that are not finite"),
        (lambda a, b, c, d: (a, np.zeros_like(b), c, d), "one class only"),
        (lambda a, b, c, d: (a[:50], b[:50], c, d), "100 neighbours of 50 training codes"),
    ],
)
def test_bad_input_is_one_line(change, message):
    with pytest.raises(SintroError, match=message):
        published_probes(*change(*blobs(separation=8)))
