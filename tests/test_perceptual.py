"""Reconstruction errors by VGG-16's features: against torchvision's network, in every objective, through the verbs."""

from pathlib import Path

import pytest
import torch

from sintro import SintroError
from sintro.__main__ import main
from sintro.basics.files import read_json
from sintro.basics.randomness import generator
from sintro.cells import components, origins, studies
from sintro.cells.cell import Cell
from sintro.cells.presets import resolve
from sintro.data import fetch, sources
from sintro.evaluation import snapshots
from sintro.objectives.perceptual import COMPARED, PerceptualError, load
from sintro.training.players import Players

STUDY = """
title: Reconstructions by features
comparable: false
seeds: [0]
image_overrides: {iterations: 3, reconstruction: vgg16, evaluation_images: 20, training_images: 64, batch_size: 8}
cells: [{datasets: [solids], objectives: [soft-introvae], priors: [normal]}]
"""


@pytest.fixture(scope="module")
def network():
    """torchvision's VGG-16 with random weights, in float64; its classifier, half a gigabyte, is left out."""
    from sintro.data.vision import torchvision

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        layers = torchvision.models.vgg16(weights=None).features
    layers = layers.to_empty(device="cpu").double()
    draws = generator(0, "vgg16")
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.normal_(0, (2 / (9 * layer.in_channels)) ** 0.5, generator=draws)
            layer.bias.data.normal_(0, 0.1, generator=draws)
    return layers.requires_grad_(False)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory) -> Path:
    """The random weights under the names of torchvision's file, and one of the classifier's, which is not read."""
    path = tmp_path_factory.mktemp("weights") / sources.VGG16_FILE
    weights = {f"features.{name}": values.float() for name, values in network.state_dict().items()}
    torch.save(weights | {"classifier.0.bias": torch.zeros(2)}, path)
    return path


@pytest.fixture
def root(root_without, file) -> Path:
    return root_without("VGG16", file)


def pictures(count, channels=3, side=32, stream="pictures"):
    return torch.rand(count, channels, side, side, generator=generator(1, stream))


def spelt_out(network, first, second, raw):
    """The formula of docs/science.md, section 2, in float64 through torchvision's network."""
    from sintro.data.vision import torchvision

    transform = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES.transforms()
    if not raw:
        transform = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    normalise = torchvision.transforms.Normalize(transform.mean, transform.std)
    distances = [(first - second).abs().mean((1, 2, 3)).double()]
    inputs = []
    for images in (first, second):
        images = images.double()
        if not raw:
            images = normalise(images.repeat(1, 3 // images.shape[1], 1, 1))
        inputs.append(images)
    for place, layer in enumerate(network):
        inputs = [layer(images.clone()) for images in inputs]  # a ReLU of torchvision's writes into its input
        if place in (3, 8, 13, 22, 30):
            distances.append((inputs[0] - inputs[1]).abs().mean((1, 2, 3)))
    return first[0].numel() * sum(distances)


# --- the error


@pytest.mark.parametrize(("raw", "channels", "side"), [(False, 3, 32), (False, 1, 33), (False, 3, 64), (True, 3, 32)])
def test_the_error_is_that_of_torchvisions_network(network, file, raw, channels, side):
    first, second = pictures(3, channels, side), pictures(3, channels, side, "others")
    found = load(file, raw)(first, second)
    assert found.shape == (3,)
    torch.testing.assert_close(found.double(), spelt_out(network, first, second, raw), rtol=1e-4, atol=0)


def test_the_places_are_where_lords_code_ends_up(network):
    """LORD's code takes 2, 7, 12, 21 and 30 of torchvision's network, whose ReLUs overwrite what is before them."""
    images = pictures(2).double()
    own, hidden, kept = PerceptualError(True).double(), images, []
    own.layers.load_state_dict(network.state_dict())
    for place, layer in enumerate(network):
        hidden = layer(hidden)
        if place in (2, 7, 12, 21, 30):
            kept.append(hidden)
    assert [int(values.lt(0).sum()) for values in kept] == [0] * 5, "every ReLU wrote into its input"
    assert all(map(torch.equal, own.features(images), kept))
    assert [type(network[place]).__name__ for place in COMPARED] == ["ReLU"] * 4 + ["MaxPool2d"]


def test_equal_images_have_no_error_and_noise_raises_it(file):
    error, clean = load(file, False), pictures(4)
    assert error(clean, clean).tolist() == [0] * 4
    noise = torch.randn(clean.shape, generator=generator(3, "noise"))
    found = [error(clean, clean + spread * noise).mean().item() for spread in (0.02, 0.1, 0.3)]
    assert found == sorted(found)
    assert found[0] > 0
    assert PerceptualError(False).features(torch.zeros(1, 3, 32, 32))[-1].shape == (1, 512, 1, 1), "no pixel to spare"


def test_gradients_reach_images_and_no_weights(file):
    error = load(file, False)
    images, others = pictures(2, 1).requires_grad_(), pictures(2, 1, stream="others")
    error(images, others).sum().backward()
    assert images.grad.abs().min() > 0
    assert all(not weight.requires_grad and weight.grad is None for weight in error.parameters())


def test_loading_draws_from_no_generator(file):
    before = torch.random.get_rng_state()
    load(file, True)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_other_weights_are_one_line(network, tmp_path):
    wrong = {f"features.{name}": values[:1] for name, values in network.state_dict().items()}
    for name, content in (("cut.pth", b"cut"), ("other.pth", {"conv1.weight": torch.ones(1)}), ("shape.pth", wrong)):
        path = tmp_path / name
        torch.save(content, path) if isinstance(content, dict) else path.write_bytes(content)
        with pytest.raises(SintroError, match=rf"{name} does not hold the weights of torchvision's VGG-16: ") as caught:
            load(path, False)
        assert "\n" not in str(caught.value)
    with pytest.raises(SintroError, match="cannot be read: No such file"):
        load(tmp_path / "none.pth", False)


# --- training


@pytest.mark.parametrize("objective", list(components.objectives()))
def test_every_objective_learns_by_it_alone(root, file, monkeypatch, objective):
    """No loss calls the squared error, and both losses are those of the features' error."""
    monkeypatch.setenv("SINTRO_VGG16", str(file))
    made = Cell.from_path(f"results/tiny/solids/{objective}/normal/none/seed0")
    values = {"reconstruction": "vgg16", "batch_size": 8, "training_images": 64}
    settings = resolve(made, iterations=3, values=values)
    players = Players([settings])
    players.model.squared_error = None
    assert isinstance(players.model.perceptual_error, PerceptualError)
    for iteration in range(3):
        terms = players.step(iteration)
        assert all(values.isfinite().all() for values in terms.values())
    plain = Players([resolve(made, iterations=3, values=values | {"reconstruction": None})])
    assert plain.model.perceptual_error is None
    own, squared = Players([settings]).step(0), plain.step(0)
    assert own["loss_decoder"] != squared["loss_decoder"]


def test_a_study_trains_with_it(root, file, monkeypatch, capsys):
    """Weights that lack are said before anything is written; metrics stay squared errors."""
    Path("workflow/studies").mkdir(parents=True)
    Path("workflow/studies/vgg.yaml").write_text(STUDY)
    (cell,) = studies.load("vgg").cells()
    assert main(["train", cell.path]) == 2
    said = capsys.readouterr().err
    assert "VGG-16 weights for reconstruction errors are missing" in said
    assert "sintro fetch vgg16 --data" in said
    assert not Path("results").exists()

    monkeypatch.setenv("SINTRO_VGG16", str(file))
    assert main(["train", cell.path, "--device", "cpu"]) == 0
    stored = read_json(Path(cell.path, "cell.json"))
    assert stored["settings"]["reconstruction"] == "vgg16"
    assert stored["sources"]["reconstruction"].startswith("study vgg: image_overrides; not the published squared")
    monkeypatch.delenv("SINTRO_VGG16")
    model = snapshots.load_model(Path(cell.path), studies.settings(cell), "cpu")
    assert model.perceptual_error is None, "an evaluation needs no VGG-16"


# --- settings


def test_a_cell_without_it_says_squared_error():
    cell = Cell.from_path("results/tiny/solids/vae/normal/none/seed0")
    plain, own = resolve(cell), resolve(cell, values={"reconstruction": "vgg16"})
    assert (origins.in_words(plain)["reconstruction"], origins.in_words(own)["reconstruction"]) == (
        "squared error", "vgg16",
    )  # fmt: skip
    assert origins.sources(own)["reconstruction"].startswith("not the published squared error")
    assert plain.digest != own.digest
    plane = Cell.from_path("results/tiny/rings/vae/normal/none/seed0")
    assert resolve(plane, values={"reconstruction": "vgg16"}).digest == resolve(plane).digest


@pytest.mark.parametrize(
    ("dataset", "name", "said"),
    [
        ("mnist", "vgg16", "reconstruction vgg16: images of 28 x 28 pixels; legal are at least 32 pixels a side"),
        ("smallnorb", "vgg16-raw", "reconstruction vgg16-raw: it takes images in colour only; legal is 'vgg16', which"),
    ],
)
def test_images_that_it_cannot_compare_are_refused(dataset, name, said):
    with pytest.raises(SintroError, match=said):
        resolve(Cell.from_path(f"results/tiny/{dataset}/vae/normal/none/seed0"), values={"reconstruction": name})


def test_grey_images_are_repeated():
    cell = Cell.from_path("results/tiny/smallnorb/vae/normal/none/seed0")
    assert resolve(cell, values={"reconstruction": "vgg16"}).reconstruction == "vgg16"


# --- the weights


def test_the_name_the_hash_and_the_address_are_torchvisions():
    from sintro.data.vision import torchvision

    assert sources.VGG16_URLS[0] == torchvision.models.VGG16_Weights.IMAGENET1K_V1.url
    assert f"vgg16-{sources.VGG16_SHA256}.pth" == sources.VGG16_FILE


def test_weights_are_fetched_and_foreign_ones_refused(root, file, capsys, tmp_path):
    with pytest.raises(SintroError, match=r"vgg16-397923af.pth could not be fetched .*refused"):
        fetch.fetch(["vgg16"], say=lambda line: None)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / sources.VGG16_FILE).write_bytes(file.read_bytes())
    said = []
    fetch.fetch(["vgg16"], say=said.append)
    assert said[0].startswith("vgg16: linked ")
    place = root / "vgg16" / sources.VGG16_FILE
    assert sources.require_weights("vgg16", root).path == place
    place.unlink()
    place.write_bytes(b"foreign")
    with pytest.raises(SintroError, match=r"VGG-16 weights for reconstruction errors are corrupted \(.*sha256 begins"):
        sources.require_weights("vgg16", root)
