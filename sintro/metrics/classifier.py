"""A small classifier of a data set: its features stand in for Inception's where Inception has no weights or no sense.

It is trained on the data set's own training split, by one rule for every data set (``RULE``). Where images have no
labels, it learns by which of four quarter turns an image was turned (Gidaris et al. 2018). Where a side has 128 pixels
or more, it looks at averages over squares of pixels. The Fréchet distance in its features is called ``cfid``: it
compares cells of one data set with each other, and is no FID.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sintro.basics.files import load_tensors, whole
from sintro.basics.optimisers import Adam
from sintro.basics.randomness import generator
from sintro.data.images import ImageSet
from sintro.metrics.kept import kept

DIMENSION = 64
CLASSES = 10  # outputs, however few classes there are; more where there are more
CHANNELS = (16, 32, DIMENSION)
BATCH = 128
STEPS = 300  # on digits 99 % of the test images are then right, after about 10 seconds on one core
LEARNING_RATE = 2e-3  # Adam
SEED = 0
LARGEST = 64  # pixels of a side
TURNS = 4
CALIBRATION = 50  # batches
RULE = f"convolutions {CHANNELS}, Adam {LEARNING_RATE}, {STEPS} steps of {BATCH}, seed {SEED}, version 1"


class Classifier(nn.Module):
    """Images [B, C, H, W] in [0, 1] to 64 pooled features; `classify` gives the logits of the classes."""

    def __init__(self, channels: int, classes: int = CLASSES):
        super().__init__()
        layers, before = [], channels
        for after in CHANNELS:
            convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2), nn.MaxPool2d(2)]
            before = after
        self.features = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(DIMENSION, classes)

    def forward(self, images: Tensor) -> Tensor:  # [B, 64]
        return self.features(_shrunk(images))

    def classify(self, images: Tensor) -> Tensor:  # [B, classes]
        return self.head(self(images))


def _shrunk(images: Tensor) -> Tensor:
    """Average images [B, C, H, W] over squares where a side has twice `LARGEST` pixels or more, to fewer than that."""
    side = _side(images.shape)
    return F.avg_pool2d(images, side) if side > 1 else images


def _side(shape: Sequence[int]) -> int:
    return max(shape[-2:]) // LARGEST


@torch.enable_grad()  # also inside a caller's no_grad
def train(images: ImageSet) -> Classifier:
    """Train the classifier of a training split, on the CPU and from its own random streams: nothing else changes it."""
    images = images.to("cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(SEED, "classifier").initial_seed())
        network = Classifier(images.event[0], _classes(images))
    optimiser = Adam(network.parameters(), lr=LEARNING_RATE)
    step, epoch = 0, 0
    while step < STEPS:
        for indices in images.batches(SEED, epoch, BATCH):
            batch, labels = _task(images, indices)
            loss = F.cross_entropy(network.classify(batch), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
            if step == STEPS:
                break
        epoch += 1
    return network.requires_grad_(False).eval()


def _task(images: ImageSet, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images that the classifier sees, [B, C, H, W], and what it should say of each, [B]."""
    batch, labels = images.batch(indices), images.labels[indices]
    if images.has_labels:
        return batch, labels
    turns = torch.arange(len(batch)) % TURNS  # the images come in a random order
    turned = [image.rot90(int(turn), (-2, -1)) for image, turn in zip(batch, turns, strict=True)]
    return torch.stack(turned), turns


def cached(images: ImageSet, folder: Path) -> tuple[Classifier, str]:
    """Return the classifier of a training split and the sha256 of its weights.

    Trains it once per content of the split and rule, and keeps it in `folder`. Raises SintroError where it cannot be
    stored.
    """
    rule = RULE + ("" if images.has_labels else ", turned") + (", shrunk" if _side(images.event) > 1 else "")
    key = hashlib.sha256(f"{images.sha256} {rule}".encode()).hexdigest()[:16]
    path = folder / f"classifier-{images.name}-{key}.pt"

    def make() -> Classifier:
        network = train(images)
        with whole(path) as temporary:
            torch.save(network.state_dict(), temporary)
        return network

    network = kept(path, "the classifier", lambda: _read(path, images.event[0], _classes(images)), make)
    return network, weights_hash(network)


def _classes(images: ImageSet) -> int:
    return max(CLASSES, int(images.labels.max()) + 1)


@torch.no_grad()
def calibrated(network: Classifier, images: ImageSet) -> Classifier:
    """Return a copy that tells classes: its batch norm has the mean statistics of 50 batches of the training split.

    The running statistics of the training are of a network that still changed: on Fashion-MNIST 54 % of the test images
    are told right with them, 82 % with these. The features of cfid keep them, so that its values stay what they were.
    """
    told = copy.deepcopy(network)
    for module in told.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
    told.train()
    for indices in itertools.islice(images.batches(SEED, 0, BATCH), CALIBRATION):
        told(images.batch(indices))
    return told.eval()


def _read(path: Path, channels: int, classes: int) -> Classifier | None:
    network = Classifier(channels, classes)
    try:
        network.load_state_dict(load_tensors(path, "it is trained anew"))
    except Exception:  # not there, not whole, or another network's: torch raises many kinds for the last
        return None
    return network.requires_grad_(False).eval()


def weights_hash(network: nn.Module) -> str:
    """Return the sha256 of the names, shapes and values of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy())
    return digest.hexdigest()
