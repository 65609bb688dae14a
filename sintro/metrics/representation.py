"""Probes: the accuracy with which a simple classifier reads the labels off the latent codes.

The published probes take codes z *sampled* once per image, and classifiers that may stop before they converge. The
standard probe takes the posterior mean mu, and a converged multinomial logistic regression. A probe's result says
whether it converged. docs/science.md, sections 7 and 8 (A10).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from sintro import SintroError
from sintro.metrics import NotFinite

SVM_COST = 0.025
SVM_ITERATIONS = {"few": 2_000, "many": 10_000}
NEIGHBOURS = {"few": 5, "many": 100}
LOGISTIC_ITERATIONS = 10_000
HIDDEN, MLP_PASSES = 128, 300


@dataclass(frozen=True)
class Probe:
    """The result of a probe: accuracy on the test split in [0, 1], higher is better, and how its training went."""

    accuracy: float
    converged: bool


def published_probes(train, train_labels, test, test_labels) -> dict[str, Probe]:
    """Train the published probes ``svc_few``, ``svc_many``, ``knn_few`` and ``knn_many`` on sampled codes.

    ``svc``: support vector machines with linear kernel, cost 0.025, one against one, with at most 2,000 (few) or 10,000
    (many) iterations of libsvm's solver per pair of classes. These limits do bind. ``knn``: k nearest neighbours with
    k = 5 (few) or 100 (many).

    Args:
        train, test: [N, L] and [M, L] codes; both are standardised by the training codes' mean and standard deviation.
        train_labels, test_labels: [N] and [M] integers.

    Raises:
        SintroError: shapes that do not fit, codes that are not finite, one class only, fewer codes than neighbours.
    """
    data = _standardised(train, train_labels, test, test_labels)
    probes = {}
    for size, limit in SVM_ITERATIONS.items():
        probes[f"svc_{size}"] = _fitted(SVC(kernel="linear", C=SVM_COST, max_iter=limit, cache_size=1000), data)
    for size, neighbours in NEIGHBOURS.items():
        if neighbours > len(data[0]):
            raise SintroError(f"k-NN probe: {neighbours} neighbours of {len(data[0])} training codes")
        probes[f"knn_{size}"] = _fitted(KNeighborsClassifier(neighbours), data)
    return probes


def linear_probe(train, train_labels, test, test_labels) -> Probe:
    """Train the standard probe to convergence: multinomial logistic regression on the posterior means.

    Codes are standardised by the training codes; the weights have scikit-learn's default penalty (L2, C = 1).
    Arguments and errors as in :func:`published_probes`.
    """
    data = _standardised(train, train_labels, test, test_labels)
    return _fitted(LogisticRegression(C=1.0, tol=1e-6, max_iter=LOGISTIC_ITERATIONS), data)


def mlp_probe(train, train_labels, test, test_labels) -> Probe:
    """Train a network with one hidden layer of 128 units (Adam, at most 300 passes, seed 0) on codes.

    It finds what is in a code and no linear probe sees. Arguments and errors as in :func:`published_probes`.
    """
    data = _standardised(train, train_labels, test, test_labels)
    return _fitted(MLPClassifier((HIDDEN,), learning_rate_init=1e-2, max_iter=MLP_PASSES, random_state=0), data)


def _fitted(classifier, data: tuple[np.ndarray, ...]) -> Probe:
    train, train_labels, test, test_labels = data
    converged = True
    with threadpool_limits(torch.get_num_threads()):  # several cells may be evaluated side by side on one machine
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            classifier.fit(train, train_labels)
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                converged = False
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        accuracy = float(classifier.score(test, test_labels))
    return Probe(accuracy, converged)


def _standardised(train, train_labels, test, test_labels) -> tuple[np.ndarray, ...]:
    train, test = (_array(codes).astype(np.float64) for codes in (train, test))
    train_labels, test_labels = _array(train_labels), _array(test_labels)
    for name, codes, labels in (("training", train, train_labels), ("test", test, test_labels)):
        if codes.ndim != 2 or labels.shape != codes.shape[:1] or not len(codes):
            raise SintroError(f"probes: {name} codes {codes.shape} and labels {labels.shape}; expected [N, L] and [N]")
        if not np.isfinite(codes).all():
            raise NotFinite(f"probes: the {name} codes hold values that are not finite")
    if train.shape[1] != test.shape[1]:
        raise SintroError(f"probes: {train.shape[1]} latent dimensions in training, {test.shape[1]} in test")
    if len(np.unique(train_labels)) < 2:
        raise SintroError("probes: the training labels hold one class only")
    mean, spread = train.mean(0), train.std(0)
    spread[spread == 0] = 1.0  # a constant dimension becomes 0
    return (train - mean) / spread, train_labels, (test - mean) / spread, test_labels


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
