"""Image cells in the one training loop: networks, batch-norm rules, epochs, and a short evaluation on digits."""

import copy
import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from trained import train_alone

from sintro import SintroError
from sintro.basics.files import read_json
from sintro.basics.randomness import generator, normal
from sintro.cells import components
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.data import images
from sintro.evaluation import cell as evaluation
from sintro.evaluation import redraws, snapshots
from sintro.evaluation.batch_norm import refresh_batch_norm, set_mode
from sintro.evaluation.image_arrays import picture_arrays
from sintro.evaluation.image_ood import detect_images
from sintro.evaluation.images import ImageEvaluation
from sintro.metrics import METRICS, NOT_MEASURED, NotFinite
from sintro.metrics.definitions_images import DINOV2
from sintro.metrics.features import FeatureExtractor, classifier_features, reference_indices, to_uint8
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kernel import kernel_distance
from sintro.metrics.manifold import precision_recall, standard_manifolds
from sintro.metrics.noise import NOISE
from sintro.metrics.similarity import psnr, ssim
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.objectives.networks import ResidualBlock, UpsamplingBlock, residual_pair
from sintro.priors import StandardNormal
from sintro.training.batches import ImageBatches
from sintro.training.players import Players

DIGITS = "results/tiny/digits/soft-introvae/mog4-learned-lc/clip-resp10/seed0"
LONGER = {"iterations": 150, "warmup": 140, "conversion": 130, "snapshots": (0, 130), "learning_rate": 1e-3}


def small(path=DIGITS, **changes):
    given = {"iterations": 8, "warmup": 4, "conversion": 3, "samples": 3, "batch_size": 50, "channels": (4, 8)}
    given |= {"evaluation_images": 120, "snapshots": (0, 6), "milestones": ()}
    return published(Cell.from_path(path)).model_copy(update=given | changes)


@pytest.mark.parametrize(
    ("name", "encoder_count", "decoder_count"), [("mnist", 928_512, 697_025), ("cifar10", 3_382_848, 2_382_531)]
)
def test_parameter_counts_are_the_papers(name, encoder_count, decoder_count):
    settings = published(Cell.from_path(f"results/table2/{name}/soft-introvae/normal/none/seed0"))
    pair = residual_pair(settings.event, settings.channels, settings.latent_size, generator(0, "test"))
    assert [sum(p.numel() for p in network.parameters()) for network in pair] == [encoder_count, decoder_count]
    images = torch.rand(2, *settings.event)
    code = pair[0](images)
    assert code.shape == (2, 2 * settings.latent_size)
    assert pair[1](code[:, : settings.latent_size]).shape == images.shape


def test_initialisation_is_keyed_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other = (residual_pair((1, 16, 16), (4, 8), 3, generator(0, "a"))[0] for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_real_fake_and_reconstructed_batches_are_separate_forward_passes():
    """Batch norm counts its passes; a concatenation of batches would count fewer and mix their statistics."""
    players = Players([small()])
    for iteration in range(4):
        players.step(iteration)

    def passes(network):
        return next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)).num_batches_tracked.item()

    before = passes(players.model.encoder), passes(players.model.decoder)
    players.step(4)
    after = passes(players.model.encoder), passes(players.model.decoder)
    # encoder step: real, reconstructed, fake; decoder step: reconstructed, fake
    assert after[0] - before[0] == 5
    # encoder step: fake, reconstruction, and the two again; decoder step: reconstruction, fake
    assert after[1] - before[1] == 6


def test_statistics_belong_to_one_batch():
    players = Players([small()])
    dark, bright = torch.zeros(6, 1, 16, 16), torch.rand(6, 1, 16, 16)
    players.model.encoder.train()
    apart = [p.mean for p in players.model.encode_each((dark, bright))]
    together = players.model.encode(torch.cat((dark, bright))).mean.split(6)
    torch.testing.assert_close(apart[1], players.model.encode(bright).mean)
    assert not torch.allclose(apart[1], together[1], atol=1e-3)


def test_the_pseudo_inputs_pass_moves_the_running_statistics_too():
    players = Players([small()])
    norm = next(m for m in players.model.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    players.step(0)
    assert norm.num_batches_tracked.item() == 2  # the real batch and the pseudo-inputs


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (5, 3)])
def test_an_upsampling_block_is_a_residual_block_behind_an_upsampling(inputs, outputs):
    """Values and gradients in float64, against PyTorch's own layers one after another."""
    torch.manual_seed(0)
    block = UpsamplingBlock(inputs, outputs).double()
    plain = torch.nn.Sequential(torch.nn.Upsample(scale_factor=2), ResidualBlock(inputs, outputs).double())
    plain[1].load_state_dict(block.state_dict())
    given = torch.randn(6, inputs, 3, 5, dtype=torch.float64)
    target = torch.randn(6, outputs, 6, 10, dtype=torch.float64)
    found = []
    for network in (block, plain):
        leaf = given.clone().requires_grad_()
        made = network(leaf)
        gradients = torch.autograd.grad((made * target).sum(), [leaf, *network.parameters()])
        found.append([made, *gradients, *network.buffers()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_checkpoint_in_another_layout_goes_on_as_one_in_ours():
    """Earlier versions stored plainly laid out tensors; the fused Adam steps element by element of memory."""
    players = Players([small()])
    for iteration in range(3):
        players.step(iteration)
    state = players.state()
    plain = copy.deepcopy(state)
    for moments in (each for player in plain["adam"].values() for each in player.values()):
        moments |= {name: moments[name].contiguous() for name in ("exp_avg", "exp_avg_sq")}
    ends = []
    for stored in (state, plain):
        again = Players([small()])
        again.load([stored], 3)
        again.step(3)
        ends.append(_vectors(again)["encoder"])
    assert torch.equal(*ends)


def test_gradients_reach_every_parameter_of_both_networks():
    players = Players([small()])
    moved = {}
    for iteration in range(6):
        before = {n: p.detach().clone() for n, p in players.model.encoder.named_parameters()}
        before |= {n: p.detach().clone() for n, p in players.model.decoder.named_parameters()}
        players.step(iteration)
        after = dict(players.model.encoder.named_parameters()) | dict(players.model.decoder.named_parameters())
        moved |= {n: True for n, p in after.items() if not torch.equal(before[n], p)}
    assert set(moved) == set(after)


@pytest.mark.slow
def test_adam_carried_over_holds_the_steps_down_and_restarted_it_does_not():
    """How far each player moves in the 50 iterations after the warm-up, whose losses carry the factor s = 1 / 256.

    Adam's second moments of the warm-up are of gradients up to 1 / s times as large, and decay by a twentieth in 50
    iterations; a restarted Adam moves every parameter by about the learning rate per iteration.
    """
    moved = {}
    for adam in (None, "restarted"):
        changes = {"warmup": 100, "iterations": 150, "conversion": None, "adam_at_introspection": adam}
        players = Players([small("results/tiny/digits/soft-introvae/normal/none/seed0", **changes)])
        for iteration in range(100):
            players.step(iteration)
        before = _vectors(players)
        for iteration in range(100, 150):
            players.step(iteration)
        after = _vectors(players)
        moved[adam] = {name: float((after[name] - before[name]).norm() / before[name].norm()) for name in before}
    for name, distance in moved["restarted"].items():
        assert distance > 4 * moved[None][name], name


def _vectors(players):
    networks = {name: parameters for name, parameters in players.parameters().items() if name != "prior"}
    return {
        name: torch.cat([each.detach().flatten() for each in parameters.values()])
        for name, parameters in networks.items()
    }


def test_an_epoch_shows_every_image_once_and_keeps_the_last_partial_batch():
    settings = small(batch_size=64)
    data = ImageBatches(settings, torch.device("cpu"))
    assert data.steps == 24
    first = [data.at(iteration) for iteration in range(24)]
    assert [len(batch) for batch in first] == [64] * 23 + [28]
    assert float(torch.cat(first).sum()) == pytest.approx(float(data.images.batch(slice(None)).sum()))
    assert not torch.equal(data.at(24), first[0])
    assert torch.equal(data.at(0), first[0])  # a function of the iteration, wherever a run goes on


def test_a_cell_may_train_on_a_part_of_the_images():
    """Epochs, batches and pseudo-inputs are of the chosen images alone, which are the same for every seed."""
    settings = small(training_images=120)
    data = ImageBatches(settings, torch.device("cpu"))
    assert data.steps == 3
    chosen = images.load("digits", "train").choose(120)
    for epoch in (0, 1):
        seen = torch.cat([data.at(3 * epoch + step) for step in range(3)])
        assert torch.equal(_sorted(seen), _sorted(chosen.batch(slice(None))))
    other = ImageBatches(small(training_images=120, seed=7), torch.device("cpu"))
    assert torch.equal(other.images.images, data.images.images)
    assert not torch.equal(other.at(0), data.at(0)), "in an order of its own"
    starts = data.pseudo_inputs(4)
    assert all((chosen.batch(slice(None)) == one).flatten(1).all(1).any() for one in starts)
    assert data.facts == ImageBatches(small(), torch.device("cpu")).facts


def _sorted(batch):
    return torch.tensor(sorted(batch.flatten(1).tolist()))


def test_pseudo_inputs_start_as_training_images_and_are_clamped():
    players = Players([small()])
    pixels = players.model.prior.pseudo_inputs
    assert pixels.shape == (4, 1, 16, 16)
    known = players.data.images.batch(slice(None)).flatten(1)
    assert all((known == one.flatten()).all(1).any() for one in pixels.detach())
    inside = players.model.encode(pixels.clamp(0, 1)).mean
    pixels.data[0, 0, 0, 0] = 7.0
    pixels.data[1, 0, 0, 0] = -7.0
    assert players.model.mixture().means.shape == inside.shape
    players.model.mixture().means.sum().backward()
    assert pixels.grad[0, 0, 0, 0] == 0


def test_refreshing_batch_norm_moves_running_statistics_and_nothing_else():
    players = Players([small()])
    weights = [p.detach().clone() for p in players.model.encoder.parameters()]
    norm = next(m for m in players.model.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = norm.running_mean.clone()
    refresh_batch_norm(players.model, players.data.images, players.shared)
    assert not torch.equal(norm.running_mean, before)
    assert all(torch.equal(p, q) for p, q in zip(players.model.encoder.parameters(), weights, strict=True))


@pytest.mark.parametrize("is_mixed", [True, False])
def test_refreshing_batch_norm_depends_on_the_order_of_mixed_files_alone(is_mixed, monkeypatch):
    """Digits, then inverted digits, as two sub-folders lie one after the other: the statistics are of both kinds."""
    monkeypatch.setattr(type(components.dataset("digits")), "is_mixed", is_mixed)
    stored = Players([small()]).data.images
    halves = torch.cat((stored.images[:750], 255 - stored.images[:750]))
    found = []
    for order in (torch.arange(1500), torch.randperm(1500, generator=torch.Generator().manual_seed(0))):
        model = Players([small()]).model
        refresh_batch_norm(model, dataclasses.replace(stored, images=halves[order]), small())
        found.append(next(m for m in model.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)).running_mean)
    assert bool((found[0] - found[1]).norm() > 0.15 * found[1].norm()) == is_mixed


@torch.no_grad()
def test_detection_uses_the_outliers_that_are_there_and_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path / "nothing"))
    settings = small(evaluation_images=60)
    measured = ImageEvaluation(settings, lambda name: None, "cpu", Path("results"))
    model = Players([settings]).model
    refresh_batch_norm(model, measured.train, settings)
    metrics, arrays = detect_images(model, settings, measured.test, "cpu")
    names = [f"ood_{kind}_{score}_auroc" for kind in ("inverted", "noise") for score in ("elbo", "iw")]
    assert all(0 <= metrics[name] <= 1 for name in names)
    assert arrays["ood_inside_elbo"].shape == arrays["ood_noise_kl"].shape == (60,)
    measured.test = dataclasses.replace(measured.test, name="svhn")
    metrics, arrays = detect_images(model, settings, measured.test, "cpu")
    assert list(metrics) == ["ood_missing"]
    assert "cifar10" in metrics["ood_missing"]
    assert arrays == {}


@torch.no_grad()
def test_a_part_of_the_images_is_the_training_split_of_the_evaluation_too(tmp_path, monkeypatch):
    """Reference, reconstructions and probes are of the chosen images; the feature network knows the whole split."""
    monkeypatch.chdir(tmp_path)
    whole = ImageEvaluation(small(), lambda name: None, "cpu", Path("results"))
    part = ImageEvaluation(small(training_images=200), lambda name: None, "cpu", Path("results"))
    assert part.extractor.digest == whole.extractor.digest
    chosen = images.load("digits", "train").choose(200)
    assert torch.equal(part.train.images, chosen.images)
    assert len(part.test) == len(whole.test) == 297
    references = [one._reference("eval") for one in (whole, part)]
    assert references[0].path != references[1].path, "kept apart"
    indices = reference_indices(chosen, 120)
    features = part.extractor.features(chosen.images[indices], "eval", 50)
    torch.testing.assert_close(references[1].features, features)
    fewer = ImageEvaluation(small(training_images=100), lambda name: None, "cpu", Path("results"))
    assert len(fewer._reference("eval").features) == 100, "no more than there are"
    model = Players([part.settings]).model
    assert len(part._reconstructed(model, "train")) == 120
    assert len(fewer._reconstructed(model, "eval")) == 100


@pytest.fixture(scope="module")
def results_with_classifier(tmp_path_factory) -> Path:
    """A results folder with the trained classifier of digits."""
    folder = tmp_path_factory.mktemp("classifier")
    classifier_features(images.load("digits", "train"), folder)
    return folder


@pytest.fixture
def measured(tmp_path, monkeypatch, results_with_classifier) -> ImageEvaluation:
    """The evaluation of a small digits cell, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(results_with_classifier, "results")
    return ImageEvaluation(small(), lambda name: None, "cpu", Path("results"))


@torch.no_grad()
def test_the_modes_of_a_snapshots_prior_do_not_move_its_running_statistics(measured, monkeypatch):
    """A VampPrior's modes are the encoder's posteriors, and a loaded model is in train mode."""
    model = Players([measured.settings]).model
    assert model.encoder.training
    before = copy.deepcopy(model.encoder.state_dict())
    measured.load = lambda name: model

    def stop(model):
        raise InterruptedError

    monkeypatch.setattr(measured, "_selection_distance", stop)  # what comes after the modes of the first snapshot
    with pytest.raises(InterruptedError):
        measured.measure({0: "snapshot-0.pt", 8: "model.pt"})
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[name])


@torch.no_grad()
def test_the_modes_of_features_and_generator_are_two_switches(measured):
    """Four combinations for generated images: the feature network's mode stands first in the name."""
    model = Players([measured.settings]).model
    refresh_batch_norm(model, measured.train, measured.settings)
    found = measured._distances(model, "train", "_published")[0] | measured._distances(model, "eval", "")[0]
    names = {("train", "train"): "cfid_published", ("eval", "eval"): "cfid"}
    for features_mode in ("train", "eval"):
        for generator_mode in ("train", "eval"):
            name = names.get((features_mode, generator_mode), f"cfid_{features_mode}_{generator_mode}")
            pictures = measured._generated(model, generator_mode)
            features = measured.extractor.features(pictures, features_mode, measured.settings.batch_size)
            expected = FeatureStatistics.of(features).distance(measured._reference(features_mode).statistics)
            assert found[name] == pytest.approx(expected, rel=1e-9), name
    assert len({found[n] for n in ("cfid", "cfid_published", "cfid_train_eval", "cfid_eval_train")}) == 4
    assert set(found) - {"not_measured"} <= set(METRICS)


@torch.no_grad()
def test_the_other_distances_are_of_the_same_images_in_eval_mode(measured):
    """Generated images against the training images and the test split; the floor is of the reference alone."""
    model, size = Players([measured.settings]).model, measured.settings.batch_size
    refresh_batch_norm(model, measured.train, measured.settings)
    found, arrays = measured._distances(model, "eval", "")
    generated = measured.extractor.features(measured._generated(model, "eval"), "eval", size)
    test = measured.test.images[reference_indices(measured.test, 120)]
    test = measured.extractor.features(test, "eval", size)
    real = measured._reference("eval").features
    assert found["cfid_test"] == pytest.approx(FeatureStatistics.of(generated).distance(FeatureStatistics.of(test)))
    assert (found["ckid"], found["ckid_sd"]) == pytest.approx(kernel_distance(real, generated, 0))
    assert found["ckid_test"] == pytest.approx(kernel_distance(test, generated, 0)[0])
    expected, nearest = standard_manifolds(real, generated)
    assert (found["density"], found["coverage"]) == pytest.approx((expected["density"], expected["coverage"]))
    assert (found["precision"], found["recall"]) == pytest.approx(precision_recall(real, generated, 3))
    again = measured.extractor.features(measured._reconstructed(model, "eval", measured.test), "eval", size)
    expected_rec = FeatureStatistics.of(again).distance(FeatureStatistics.of(test))
    assert found["cfid_rec_test"] == pytest.approx(expected_rec)
    assert found["authenticity"] == nearest.authenticity
    place = nearest.ratio.argsort(stable=True)[0]
    training = measured.train.images[reference_indices(measured.train, 120)]
    assert np.array_equal(arrays["nearest_training"][0], training[nearest.index[place]].numpy())
    assert np.array_equal(arrays["nearest_samples"][0], measured._generated(model, "eval")[place].numpy())
    published = measured._distances(model, "train", "_published")[0]
    assert not set(published) & {"ckid", "cfid_test", "density", "coverage"}
    said = {"cfid_infinity": "fewer than 10,000 images", "cfid_infinity_se": "fewer than 10,000 images"}
    assert found[NOT_MEASURED] == said


@torch.no_grad()
def test_dinov2_is_measured_where_it_is_at_hand_and_explained_where_not(measured):
    """Stage: pictures to metrics; a network of averages stands for DINOv2, which tests/test_dinov2.py is about."""
    drawn = measured._generated(Players([measured.settings]).model, "eval")
    assert measured._dinov2(drawn) == {}, "digits are no photographs"
    measured.networks.why_no_dinov2 = "sintro fetch dinov2"
    assert measured._dinov2(drawn) == {NOT_MEASURED: dict.fromkeys(DINOV2, "sintro fetch dinov2")}
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 8, stride=8), torch.nn.Flatten())
    measured.networks.dinov2 = FeatureExtractor("dinov2", "fd_dinov2", network, 24, "made")
    found = measured._dinov2(drawn)
    assert set(found) == set(DINOV2)
    real = network(measured.train.batch(reference_indices(measured.train, 120)))
    made = network(images.to_float(drawn))
    assert found["fd_dinov2"] == pytest.approx(
        FeatureStatistics.of(made).distance(FeatureStatistics.of(real)), rel=1e-4
    )
    assert found["recall_dinov2"] == precision_recall(real, made, 3)[1]


@torch.no_grad()
def test_ways_between_test_images_begin_and_end_at_their_reconstructions(measured):
    model = Players([measured.settings]).model
    refresh_batch_norm(model, measured.train, measured.settings)
    measured._generated(model, "eval")  # leaves the model in eval mode
    test = measured.test.batch(slice(8))
    codes = model.encode(test).mean
    arrays = picture_arrays(model, measured.test, codes, 0, "cpu")
    ways, elbos = arrays["interpolations"], arrays["interpolation_elbos"]
    assert (ways.shape, ways.dtype, elbos.shape) == ((2, 4, 8, 1, 16, 16), np.uint8, (2, 4, 8))
    shown = model.decoder(codes).clamp(0, 1).mul(255).round().numpy()
    for way in (0, 1):
        assert np.abs(ways[way, :, 0] - shown[0::2]).max() <= 1
        assert np.abs(ways[way, :, -1] - shown[1::2]).max() <= 1
    assert not np.array_equal(ways[0], ways[1])
    standard = dataclasses.replace(model, prior=StandardNormal(codes.shape[1]))  # its KL is not sampled
    elbos = picture_arrays(standard, measured.test, codes, 0, "cpu")["interpolation_elbos"]
    straight = model.decoder((codes[0] + 3 / 7 * (codes[1] - codes[0]))[None])
    posterior = model.encode(straight)
    energy = model.squared_error(straight, model.decoder(posterior.mean)) + kl(*posterior, standard.prior, 0, None)
    assert elbos[1, 0, 3] == pytest.approx(-energy.item(), rel=1e-4)
    for count in (3, 5, 7):  # a last odd code has no partner
        odd, even = (
            picture_arrays(standard, measured.test, codes[:codes_of], 0, "cpu") for codes_of in (count, count - 1)
        )
        np.testing.assert_array_equal(odd["interpolations"], even["interpolations"])


@torch.no_grad()
def test_the_classes_of_samples_and_of_modes_are_the_classifiers(measured):
    model = Players([measured.settings]).model
    refresh_batch_norm(model, measured.train, measured.settings)
    found, arrays = measured._distances(model, "eval", "")
    classify, pictures = measured.networks.classes.network.classify, measured._generated(model, "eval")
    told = classify(images.to_float(pictures)).argmax(1)
    data = classify(measured.train.batch(reference_indices(measured.train, 120))).argmax(1)
    shares = torch.stack([torch.bincount(each, minlength=10) / 120 for each in (told, data)])
    np.testing.assert_allclose(arrays["class_shares"], shares, rtol=1e-6)
    assert found["class_tv"] == pytest.approx(0.5 * (shares[0] - shares[1]).abs().sum().item())
    components, prior = measured._drawn(model)[1], model.mixture()
    order = prior.weights.argsort(descending=True, stable=True)
    expected = torch.stack([torch.bincount(told[components == mode], minlength=10) for mode in order])
    assert np.array_equal(arrays["mode_classes"], expected)
    assert found["mode_purity"] == pytest.approx(expected.amax(1).sum().item() / 120)
    right = classify(measured.test.batch(reference_indices(measured.test, 120))).argmax(1)
    labels = measured.test.labels[reference_indices(measured.test, 120)]
    assert found["class_accuracy"] == pytest.approx((right == labels).double().mean().item())
    assert found["class_accuracy"] > 0.9
    measured.networks.classes = None
    metrics, arrays = measured._classes(model, pictures)
    unknown = [name for name in found if "class" in name or "mode" in name]
    assert metrics == {NOT_MEASURED: dict.fromkeys(unknown, "no labels")}
    assert not arrays


@torch.no_grad()
def test_measurement_noise_of_images_is_the_spread_over_draws_of_their_latents(measured, monkeypatch):
    """Of the metrics' own images and three more, of the selected model, in both forms; for seed 0 alone."""
    states = {name: Players([small(seed=seed)]).model for seed, name in enumerate(("early", "model.pt"))}
    measured.load = lambda name: copy.deepcopy(states[name])
    monkeypatch.setattr(measured, "_selection_distance", lambda model, draw=0: 1.0)
    found = measured.measure({6: "early", 8: "model.pt"})[0]
    model, size = states["early"], measured.settings.batch_size
    refresh_batch_norm(model, measured.train, measured.settings)
    classify = measured.networks.classes.network.classify
    data = classify(measured.train.batch(reference_indices(measured.train, 120))).argmax(1)
    distances, shares = {"cfid": [], "cfid_published": []}, []
    for draw in range(4):
        for mode, name in (("eval", "cfid"), ("train", "cfid_published")):
            set_mode(model, mode)
            z, _ = model.mixture().sample(120, generator(0, "evaluation-images", draw))
            pictures = to_uint8(torch.cat([model.decoder(part) for part in z.split(size)]))
            features = FeatureStatistics.of(measured.extractor.features(pictures, mode, size))
            distances[name].append(features.distance(measured._reference(mode).statistics))
            if mode == "eval":
                told = classify(images.to_float(pictures)).argmax(1)
                parts = [torch.bincount(each, minlength=10) / 120 for each in (told, data)]
                shares.append(0.5 * (parts[0] - parts[1]).abs().sum().item())
    expected = {name: np.std(values, ddof=1) for name, values in (distances | {"class_tv": shares}).items()}
    spread = found[NOISE]
    assert {name: spread[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert found["cfid"] == pytest.approx(distances["cfid"][0], rel=1e-9)
    others = {"ckid", "ckid_test", "cfid_test", "precision", "recall", "density", "coverage", "authenticity"}
    others |= {"precision_published", "recall_published", "mode_purity"}
    assert set(spread) == others | set(expected)
    assert all(spread[name] > 0 for name in expected)
    assert NOISE not in measured.measure({8: "model.pt"}, is_look=True)[0]
    monkeypatch.setattr(measured, "settings", small(seed=1))
    assert NOISE not in measured.measure({8: "model.pt"})[0]


@torch.no_grad()
def test_the_optimism_of_selection_is_the_selected_checkpoints_distance_on_fresh_latents_minus_its_own(measured):
    """Recomputed from the files that were measured; the other snapshots may be gone, but one alone is no choice."""
    states = {f"{seed}.pt": Players([small(seed=seed)]).model for seed in range(3)}
    measured.settings = small(seed=1)  # of which nobody measures the noise
    measured.load = lambda name: copy.deepcopy(states[name])
    found = measured.measure({0: "0.pt", 6: "1.pt", 8: "2.pt"})[0]
    size, distances = measured.settings.batch_size, {}
    for file, after in (("0.pt", 0), ("1.pt", 6)):
        for draw in (0, 1):
            set_mode(states[file], "train")
            z, _ = states[file].mixture().sample(120, generator(1, "evaluation-images", draw))
            pictures = to_uint8(torch.cat([states[file].decoder(part) for part in z.split(size)]))
            features = FeatureStatistics.of(measured.extractor.features(pictures, "train", size))
            distances[after, draw] = features.distance(measured._reference("train").statistics)
    best = min((0, 6), key=lambda after: distances[after, 0])
    assert found["selected_iteration"] == best
    assert found["cfid_published"] == pytest.approx(distances[best, 0], rel=1e-9)
    assert found["cfid_optimism"] == pytest.approx(distances[best, 1] - distances[best, 0], rel=1e-6)
    assert abs(found["cfid_optimism"]) > 1e-3
    again = measured.measure({best: {0: "0.pt", 6: "1.pt"}[best], 8: "2.pt"})[0]
    assert again["cfid_optimism"] == found["cfid_optimism"]
    measured.settings = small(seed=1, snapshots=(6, 8))  # the last of which is the end of training
    alone = measured.measure({6: "1.pt", 8: "2.pt"})[0]
    assert "cfid_optimism" not in alone
    assert alone[NOT_MEASURED]["cfid_optimism"] == "nothing to select"
    assert math.isnan(redraws.selection_gain("cfid", 3.0, math.inf, True)["cfid_optimism"])


def test_fresh_samples_that_are_not_finite_leave_the_noise_undefined_and_the_model_as_it_is():
    def measure(draw):
        if draw == 2:
            raise NotFinite("generated images hold values that are not finite")
        return {"cfid": 2.0 + draw, "cfid_floor": 1.0, "class_accuracy": 0.9, NOT_MEASURED: {}}

    found = redraws.spread({"cfid": 2.0, "cfid_floor": 1.0, "class_accuracy": 0.9}, measure)
    assert list(found) == ["cfid"]
    assert math.isnan(found["cfid"])


@torch.no_grad()
def test_published_reconstructions_are_of_sampled_codes_in_an_order_of_their_own(measured):
    count, batch = measured.settings.evaluation_images, measured.settings.batch_size
    indices = measured._own_order(count)
    assert len(indices.unique()) == count
    assert torch.equal(indices, measured._own_order(count))
    reference = reference_indices(measured.train, count)
    assert (indices != reference).float().mean() > 0.9
    # An encoder that keeps one pixel and a decoder that paints it: every reconstruction names its image.
    pixels = measured.train.batch(slice(None)).flatten(1)[:, 100]
    spread = torch.full((1, 1), -4.0)  # standard deviation 0.135

    def encode(images):
        mean = images.flatten(1)[:, 100:101]
        return torch.cat([mean, spread.expand_as(mean)], -1)

    model = Model(Function(encode), Function(lambda z: z[..., None, None].expand(-1, 1, 16, 16)), StandardNormal(1))
    sampled, exact = (measured._reconstructed(model, mode)[:, 0, 0, 0] for mode in ("train", "eval"))
    assert torch.equal(exact, to_uint8(pixels[reference]))
    noise = generator(measured.settings.seed, "evaluation-reconstructions")
    expected = [pixels[part] + math.exp(-2) * normal((len(part), 1), noise)[:, 0] for part in indices.split(batch)]
    assert torch.equal(sampled, to_uint8(torch.cat(expected)))


class Function(torch.nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


@torch.no_grad()
def test_the_published_entropy_and_elbo_of_a_cell(measured):
    model = Players([measured.settings]).model
    state, _ = measured._latent_state(model)
    assert state["elbo_published"] == pytest.approx(-(state["reconstruction"] / 2 + state["kl_posterior"]))
    assert state["elbo"] == pytest.approx(-(state["reconstruction"] + state["kl_posterior"]))
    test = measured.test.batch(slice(None))
    again = torch.cat([model.decoder(model.encode(part).mean) for part in test.split(measured.settings.batch_size)])
    assert state["psnr"] == pytest.approx(psnr(test, again).mean().item(), rel=1e-5)
    assert state["ssim"] == pytest.approx(ssim(test, again).mean().item(), rel=1e-5)
    assert 0 <= state["responsibility_entropy_published"] <= state["responsibility_entropy"] + 0.05


@pytest.mark.slow
def test_a_digits_cell_from_training_to_metrics(tmp_path, monkeypatch):
    """End to end in the real formats: training, resume to the same bits, best and last, both protocols."""
    monkeypatch.chdir(tmp_path)
    cell, settings = Cell.from_path(DIGITS), small(**LONGER)
    assert train_alone(cell, settings) == 0
    folder = Path(cell.path)
    assert set(snapshots.snapshots_of(folder, settings)) == {0, 130, 150}
    (folder / "snapshot-77.pt").write_bytes(b"of an earlier training of other length")
    assert read_json(folder / "provenance.json")["data_sha256"]
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    names = ("cfid", "cfid_rec", "precision", "recall")
    combinations = [f"cfid_{modes}{last}" for modes in ("train_eval", "eval_train") for last in ("", "_last")]
    for name in [n + s for n in ("ckid_sd", "cfid_test") for s in ("", "_last")]:
        assert metrics[name] > 0, name
    assert all(0 <= metrics[name] <= 1 for name in ("density", "density_last", "coverage", "coverage_last"))
    assert {"ckid", "ckid_test", "ckid_last", "ckid_test_last", "ckid_floor"} <= set(metrics)
    assert 0 < metrics["cfid_floor"] < metrics["cfid"]
    assert 0 < metrics["cfid_floor_published"] < metrics["cfid_published"]
    assert abs(metrics["ckid_floor"]) < metrics["ckid"]
    of_samples = {"class_tv_floor_last", "mode_purity_floor_last"}  # floors of as many samples as the model's own
    assert {name for name in metrics if "floor" in name and "_last" in name} == of_samples
    for name in [n + s for n in names for s in ("", "_published", "_last", "_last_published")] + combinations:
        assert metrics[name] >= 0, name
    assert metrics["elbo_published"] > metrics["elbo"]
    assert 0 < metrics["responsibility_entropy_published"] <= 1
    distances = metrics["cfid_over_iterations"]
    assert set(distances) == {"0", "130", "150"}
    assert metrics["cfid_published"] == min(distances["0"], distances["130"])  # the end is no candidate
    assert metrics["cfid_last_published"] == distances["150"]
    assert {"pairs", "modes"} <= _pictures(folder)
    assert metrics["linear_probe_last"] > 0.5  # chance is 0.1
    assert "fewer than 2048" in metrics["warning"] or "rank-deficient" in metrics["warning"]
    assert metrics["mse"] == pytest.approx(metrics["reconstruction"] / 256)
    again = evaluation.evaluate(cell, device="cpu", threads=1)
    assert len(list(folder.glob("snapshot-*.pt"))) == 2, "the selected one, and the one that is none of ours"
    drop = {"evaluated", "evaluation_seconds"}  # the removed snapshots' distances are taken over
    assert {k: v for k, v in again.items() if k not in drop} == {k: v for k, v in metrics.items() if k not in drop}


def _pictures(folder):
    """What arrays.npz has the numbers for; each of the right shape."""
    with np.load(folder / "arrays.npz") as arrays:
        assert arrays["data"].shape == arrays["reconstructions"].shape
        assert arrays["mode_samples"].shape == (4, 8, 1, 16, 16)
        assert arrays["responsibility_iterations"].tolist() == [0, 130, 150]
        np.testing.assert_allclose(arrays["mean_responsibilities"].sum(1), 1, atol=1e-6)
        assert arrays["mean_responsibilities"].shape == (3, 4)
        assert arrays["mode_weights"].sum() == pytest.approx(1)
    return {"pairs", "modes"}


def test_bfloat16_is_near_float32_and_keeps_parameters_and_statistics_in_float32():
    """Mixed precision rounds inside the networks to 8 bits of mantissa, and nothing outside of them."""
    terms = {}
    for precision in ("float32", "bfloat16"):
        players = Players([small(precision=precision)])
        for iteration in range(5):
            terms[precision] = players.step(iteration)
        tensors = [*players.model.encoder.state_dict().values(), *players.model.decoder.state_dict().values()]
        assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}
        assert players.model.encode(torch.rand(4, 1, 16, 16)).mean.dtype == torch.float32
    for name in ("reconstruction", "kl_real", "loss_encoder"):
        full, mixed = (terms[precision][name].item() for precision in ("float32", "bfloat16"))
        assert mixed == pytest.approx(full, rel=0.1), name
        assert mixed != full, name


def test_bfloat16_gradients_point_where_float32_ones_do():
    gradients = []
    for precision in ("float32", "bfloat16"):
        players = Players([small(precision=precision)])
        players.descend = lambda loss, *_: loss.sum().backward()  # keep the gradients
        players.step(0)
        gradients.append(torch.cat([p.grad.flatten() for p in players.model.decoder.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_evaluation_is_in_float32_whatever_training_was_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell, settings = Cell.from_path(DIGITS), small(precision="bfloat16", snapshots=())
    assert train_alone(cell, settings) == 0
    assert read_json(Path(cell.path) / "cell.json")["settings"]["precision"] == "bfloat16"
    assert read_json(Path(cell.path) / "provenance.json")["precision"] == "bfloat16"
    model = snapshots.load_model(Path(cell.path), settings, "cpu")
    assert (model.encoder.precision, model.decoder.precision) == ("float32", "float32")
    with pytest.raises(SintroError, match="trained with other hyper-parameters"):
        snapshots.load_model(Path(cell.path), settings.model_copy(update={"precision": "float32"}), "cpu")


def test_snapshots_stay_until_fid_could_be_measured(tmp_path):
    settings = small(snapshots=(0, 6))
    for name in ("snapshot-0.pt", "snapshot-6.pt", "model.pt"):
        (tmp_path / name).write_bytes(b"")
    photographs = settings.model_copy(update={"dataset": "mnist"})
    snapshots.remove_snapshots(tmp_path, photographs, {"cfid": 1.0, "selected_iteration": 6})
    assert len(snapshots.snapshots_of(tmp_path, settings)) == 3
    snapshots.remove_snapshots(tmp_path, photographs, {"fid": 1.0, "selected_iteration": 6})
    assert snapshots.snapshots_of(tmp_path, settings) == {6: "snapshot-6.pt", 8: "model.pt"}


@pytest.mark.slow
def test_the_distance_to_the_data_falls_while_a_vae_learns_the_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell = Cell.from_path("results/tiny/digits/vae/normal/none/seed0")
    changes = {"iterations": 450, "warmup": 450, "conversion": None, "snapshots": (30,), "learning_rate": 1e-3}
    settings = small(cell.path, **changes, channels=(8, 16), evaluation_images=500)
    assert train_alone(cell, settings) == 0

    def load(name):
        return snapshots.load_model(Path(cell.path), settings, "cpu", name)

    measured = ImageEvaluation(settings, load, "cpu", Path("results"))
    distances = []
    with torch.no_grad():
        for name in ("snapshot-30.pt", "model.pt"):
            model = load(name)
            refresh_batch_norm(model, measured.train, settings)
            distances.append(measured._distances(model, "eval", "")[0]["cfid_rec"])
    assert distances[1] < 0.6 * distances[0]
