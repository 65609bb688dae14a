"""Features in both batch-norm modes, on the real Inception architecture and a small classifier; and their cache."""

import importlib
import itertools
import threading
import zipfile

import numpy as np
import pytest
import torch

from sintro import SintroError
from sintro.basics.files import hash_file
from sintro.data import sources
from sintro.data.images import load, to_float
from sintro.metrics import classifier, features
from sintro.metrics.features import (
    FeatureExtractor,
    classifier_features,
    inception_features,
    reference,
    reference_indices,
    set_batch_norm,
    to_uint8,
)


def images(count, channels=3, size=32, seed=0):
    return torch.randint(0, 256, (count, channels, size, size), generator=torch.Generator().manual_seed(seed)).byte()


def flip_a_bit(path, member=None):
    """Flip a bit in the middle of a member of a zip, of the largest one where none is named."""
    with zipfile.ZipFile(path) as archive:
        one = archive.getinfo(member) if member else max(archive.infolist(), key=lambda each: each.file_size)
    content = bytearray(path.read_bytes())
    name, extra = (int.from_bytes(content[one.header_offset + at :][:2], "little") for at in (26, 28))
    content[one.header_offset + 30 + name + extra + one.compress_size // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def inception():
    """The real architecture with random weights, whose batch norm has seen some images; 107 pixels save time."""
    module = importlib.import_module("sintro.metrics.inception")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = module.Inception(size=107)
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(to_float(images(6, seed=99)))
    for norm in norms:
        norm.momentum = 0.1
    return FeatureExtractor("inception", "fid", network, module.DIMENSION, "random")


def test_train_mode_differs_from_eval_mode_and_depends_on_the_batch_size(inception):
    """The published protocol on the network of FID: the same images, other features."""
    batch = images(6)
    evaluated, trained = inception.features(batch, "eval", 6), inception.features(batch, "train", 6)
    assert evaluated.shape == trained.shape == (6, 2048)
    spread = evaluated.std()
    assert (evaluated - trained).abs().mean() > 0.1 * spread
    assert (inception.features(batch, "train", 3) - trained).abs().mean() > 0.1 * spread
    torch.testing.assert_close(inception.features(batch, "eval", 4), evaluated, rtol=1e-3, atol=1e-4 * spread.item())


def test_train_mode_mixes_only_the_images_of_one_batch(inception):
    first, second = images(3), images(3, seed=1)
    together = inception.features(torch.cat([first, second]), "train", 3)
    torch.testing.assert_close(together[:3], inception.features(first, "train", 3))
    torch.testing.assert_close(together[3:], inception.features(second, "train", 3))


def test_train_mode_leaves_the_networks_statistics_as_they_are(inception):
    before = {name: value.clone() for name, value in inception.network.state_dict().items()}
    evaluated = inception.features(images(2), "eval", 2)
    inception.features(images(2, seed=3), "train", 2)
    for name, value in inception.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(inception.features(images(2), "eval", 2), evaluated)


def test_grey_images_are_repeated_to_three_channels(inception):
    grey = images(2, channels=1)
    assert torch.equal(
        inception.features(grey, "eval", 2), inception.features(grey.expand(-1, 3, -1, -1).contiguous(), "eval", 2)
    )


@pytest.fixture(scope="module")
def weights(inception, tmp_path_factory):
    """A file as published, with the unused last layer, but with the random weights."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    extra = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(inception.network.network.state_dict() | extra, path)
    return path


@pytest.fixture
def accepted(weights, monkeypatch):
    """The random weights pass for the right ones."""
    monkeypatch.setattr(sources, "INCEPTION_SHA256", hash_file(weights)[:8])
    monkeypatch.setenv("SINTRO_INCEPTION", str(weights))
    return weights


@pytest.mark.slow
def test_pytorch_fids_network_gives_the_same_features(accepted, monkeypatch):
    """At the real size, in both modes: the same architecture, resizing and range, reached by its own code."""
    theirs_module = importlib.import_module("pytorch_fid.inception")
    stored = torch.load(accepted, weights_only=True)
    monkeypatch.setattr(theirs_module, "load_state_dict_from_url", lambda *_, **__: stored)
    theirs = theirs_module.InceptionV3()
    ours = inception_features()
    assert ours.network.size == 299
    batch = images(2)
    for mode in ("eval", "train"):
        theirs.train(mode == "train")
        with torch.no_grad():
            expected = theirs(to_float(batch))[0][:, :, 0, 0]
        torch.testing.assert_close(ours.features(batch, mode, 2), expected, rtol=1e-4, atol=1e-5)


def test_weights_are_read_from_the_file(accepted, inception):
    extractor = inception_features()
    assert (extractor.name, extractor.distance, extractor.dimension) == ("inception", "fid", 2048)
    assert extractor.digest == hash_file(accepted)
    for name, value in extractor.network.state_dict().items():
        assert torch.equal(value, inception.network.state_dict()[name]), name


def test_missing_weights_are_one_line_before_any_work(monkeypatch, tmp_path):
    monkeypatch.delenv("SINTRO_INCEPTION", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(SintroError, match=r"Inception weights for FID are missing .*sintro fetch inception") as caught:
        inception_features(tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_refused_by_their_hash(accepted, monkeypatch, tmp_path):
    truncated = tmp_path / "truncated.pth"
    truncated.write_bytes(accepted.read_bytes()[:1000])
    monkeypatch.setenv("SINTRO_INCEPTION", str(truncated))
    with pytest.raises(SintroError, match=r"truncated\.pth: its sha256 begins with .*; it has 1,000 bytes"):
        inception_features()


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_a_file_with_the_right_hash_and_no_weights(content, monkeypatch, tmp_path):
    """Cannot happen with the published hash; it must not end in a traceback all the same."""
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(1)}, path) if content is None else path.write_bytes(content)
    monkeypatch.setattr(sources, "INCEPTION_SHA256", hash_file(path)[:8])
    monkeypatch.setenv("SINTRO_INCEPTION", str(path))
    with pytest.raises(SintroError, match=r"weights\.pth does not hold the weights of FID's Inception network"):
        inception_features()


def test_stored_images_survive_quantisation_and_others_are_cut():
    every = torch.arange(256).byte().view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(every)), every)
    assert to_uint8(torch.tensor([-0.5, 0.0, 0.5, 0.999, 1.0, 7.0])).tolist() == [0, 0, 127, 254, 255, 255]
    with pytest.raises(SintroError, match="not finite: the model has diverged"):
        to_uint8(torch.tensor([0.5, torch.nan]))


@pytest.fixture
def digits():
    return load("digits", "train")


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 12)


@pytest.fixture
def small(digits, short, tmp_path):
    return classifier_features(digits, tmp_path)


def test_floats_and_the_bytes_they_are_quantised_to_have_the_same_features(small):
    generated = torch.rand(10, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    assert torch.equal(small.features(generated, "eval", 4), small.features(to_uint8(generated), "eval", 4))


def test_the_classifier_in_both_modes(small, digits):
    batch = digits.images[:50]
    evaluated = small.features(batch, "eval", 7)
    torch.testing.assert_close(small.features(batch, "eval", 50), evaluated)
    trained = small.features(batch, "train", 50)
    assert (trained - evaluated).abs().mean() > 0.01 * evaluated.std()
    assert (small.features(batch, "train", 25) - trained).abs().mean() > 0.01 * evaluated.std()


@pytest.mark.slow
def test_the_classifier_has_learnt_the_digits(digits):
    network = classifier.train(digits)
    test = load("digits", "test")
    right = network.classify(test.batch(slice(None))).argmax(1) == test.labels
    assert right.double().mean() > 0.97


def test_the_classifier_is_trained_once_and_deterministically(digits, short, tmp_path, monkeypatch):
    first = classifier_features(digits, tmp_path / "a")
    again = classifier_features(digits, tmp_path / "b")
    assert first.digest == again.digest
    monkeypatch.setattr(classifier, "train", None)  # would fail if called
    assert classifier_features(digits, tmp_path / "a").digest == first.digest
    with pytest.raises(SintroError, match="trained on the training split, got 'test'"):
        classifier_features(load("digits", "test"), tmp_path)


def test_training_the_classifier_does_not_move_torchs_own_stream(digits, short):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    classifier.train(digits)
    assert torch.equal(torch.rand(1), expected)


def test_a_damaged_classifier_is_trained_anew(digits, short, tmp_path):
    first = classifier_features(digits, tmp_path)
    (path,) = (tmp_path / "features").glob("classifier-digits-*.pt")
    path.write_bytes(path.read_bytes()[:500])
    assert classifier_features(digits, tmp_path).digest == first.digest
    assert len(path.read_bytes()) > 500
    flip_a_bit(path)
    assert classifier_features(digits, tmp_path).digest == first.digest


def test_the_reference_is_computed_once_and_read_back_exactly(small, digits, tmp_path, monkeypatch):
    first = reference(digits, small, "train", 32, 400, tmp_path)
    assert first.statistics.count == 400
    assert first.features.shape == (400, 64)
    expected = small.features(digits.images[reference_indices(digits, 400)], "train", 32)
    assert torch.equal(first.features, expected)
    monkeypatch.setattr(FeatureExtractor, "features", None)  # would fail if called
    again = reference(digits, small, "train", 32, 400, tmp_path)
    assert again.path == first.path
    assert torch.equal(again.statistics.mean, first.statistics.mean)
    torch.testing.assert_close(again.statistics.covariance, first.statistics.covariance, rtol=1e-12, atol=0)


def test_every_part_of_the_key_counts(small, digits, tmp_path):
    test = load("digits", "test")
    other = FeatureExtractor(small.name, small.distance, small.network, small.dimension, "another digest")
    made = [
        reference(digits, small, "train", 32, 64, tmp_path),
        reference(digits, small, "train", 16, 64, tmp_path),
        reference(digits, small, "eval", 32, 64, tmp_path),
        reference(digits, small, "train", 32, 65, tmp_path),
        reference(test, small, "train", 32, 64, tmp_path),
        reference(digits, other, "train", 32, 64, tmp_path),
    ]
    assert len({item.path for item in made}) == len(made)
    assert made[0].path.name.startswith("digits-train-classifier-train32-64-")
    same = reference(
        digits, small, "eval", 16, 64, tmp_path
    )  # in eval mode the batch size is no part of the definition
    assert same.path == made[2].path


def test_a_damaged_reference_is_computed_anew(small, digits, tmp_path):
    first = reference(digits, small, "eval", 32, 64, tmp_path)
    content = first.path.read_bytes()
    for damaged in (b"", b"nothing", content[: len(content) // 2]):
        first.path.write_bytes(damaged)
        reference(digits, small, "eval", 32, 64, tmp_path)
        assert first.path.read_bytes() == content
    flip_a_bit(first.path, "features.npy")
    with pytest.raises(SintroError, match=rf"{first.path} cannot be read \(Bad CRC-32 .*\); delete it, and it is comp"):
        first.features  # noqa: B018
    reference(digits, small, "eval", 32, 64, tmp_path)
    assert first.path.read_bytes() == content


def test_the_checksums_of_a_reference_are_read_once_in_a_process(small, digits, tmp_path, monkeypatch):
    calls, original = [], zipfile.ZipFile.testzip
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda archive: calls.append(archive) or original(archive))
    for _ in range(3):
        reference(digits, small, "eval", 32, 64, tmp_path)
    assert len(calls) == 1


def test_two_at_once_compute_once(small, digits, tmp_path, monkeypatch):
    calls, original = [], FeatureExtractor.features

    def counted(self, *arguments):
        calls.append(threading.get_ident())
        return original(self, *arguments)

    monkeypatch.setattr(FeatureExtractor, "features", counted)
    threads = [threading.Thread(target=reference, args=(digits, small, "eval", 32, 64, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_results_folder_that_cannot_be_written(small, digits, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SintroError, match=r"reference statistics cannot be stored as .*: (Not a directory|File exists)"
    ):
        reference(digits, small, "eval", 32, 64, tmp_path / "file")


def test_the_reference_shows_different_images_in_a_fixed_order(digits):
    indices = reference_indices(digits, 500)
    assert len(indices.unique()) == 500
    assert torch.equal(indices, reference_indices(digits, 1500)[:500])
    with pytest.raises(SintroError, match="digits train has 1500, at least 2 are needed"):
        reference_indices(digits, 1501)


def test_a_distance_falls_as_images_come_closer_to_the_data(small, digits, tmp_path):
    """Direction: noise is far, digits with a little noise near, other digits nearer still."""
    real = reference(digits, small, "eval", 100, 1000, tmp_path).statistics
    held_out = to_float(load("digits", "test").images)
    noise = torch.rand(held_out.shape, generator=torch.Generator().manual_seed(0))
    distances = [
        features.FeatureStatistics.of(small.features(images, "eval", 100)).distance(real)
        for images in (noise, 0.7 * held_out + 0.3 * noise, held_out)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 10 * distances[2]


def test_unknown_modes_and_shapes_are_refused(small):
    with pytest.raises(SintroError, match="unknown batch-norm mode 'test'; there are train, eval"):
        set_batch_norm(small.network, "test")
    with pytest.raises(SintroError, match="expected \\[N, C, H, W\\]"):
        small.features(torch.zeros(16, 16).byte(), "eval", 1)
    with pytest.raises(SintroError, match="expected \\[N, C, H, W\\]"):
        small.features(torch.zeros(0, 1, 16, 16).byte(), "eval", 1)


def test_numpy_can_read_what_is_stored(small, digits, tmp_path):
    path = reference(digits, small, "eval", 32, 64, tmp_path).path
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_allclose(stored["mean"], stored["features"].mean(0), rtol=1e-5)
        assert '"mode": "eval"' in str(stored["key"])


@torch.no_grad()
def test_the_network_that_tells_classes_has_the_mean_statistics_of_batches(monkeypatch):
    """With those of one batch it tells of this batch what train mode tells; the network of cfid stays as it is."""
    split = load("digits", "train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = classifier.Classifier(1)
    before = classifier.weights_hash(network.eval())
    monkeypatch.setattr(classifier, "CALIBRATION", 1)
    told = classifier.calibrated(network, split)
    assert classifier.weights_hash(network) == before != classifier.weights_hash(told)
    batch = split.batch(next(split.batches(classifier.SEED, 0, classifier.BATCH)))
    found, stale = told.classify(batch), network.classify(batch)
    expected = network.train().classify(batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * expected.std().item())
    assert (stale - expected).abs().mean() > 0.1 * expected.std()
    monkeypatch.setattr(classifier, "CALIBRATION", 4)
    more = classifier.calibrated(network.eval(), split)
    parts = itertools.islice(split.batches(classifier.SEED, 0, classifier.BATCH), 4)
    means = [network.features[0](split.batch(indices)).mean((0, 2, 3)) for indices in parts]
    torch.testing.assert_close(more.features[1].running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
