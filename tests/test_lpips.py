"""LPIPS with random weights of AlexNet in the published file's format and the real heads; getting the weights."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from trained import train_alone

from sintro import SintroError
from sintro.__main__ import main
from sintro.basics.files import read_json
from sintro.basics.randomness import generator
from sintro.cells.cell import Cell
from sintro.cells.components import FactorDataset, Factors, ImageDataset, dataset
from sintro.cells.components.dataset import Dataset
from sintro.cells.components.registry import current
from sintro.cells.presets import published
from sintro.data import doctor, factors, fetch, images, sources
from sintro.evaluation import cell as evaluation
from sintro.evaluation import likeness, snapshots, translation
from sintro.evaluation.batch_norm import refresh_batch_norm, set_mode
from sintro.evaluation.no_density import without_density
from sintro.metrics import METRICS, NOT_MEASURED, absent, classifier
from sintro.metrics.similarity import psnr
from sintro.metrics.translation import transfer_lpips
from sintro.report.numbers import errors, results
from sintro.report.numbers.results import Result
from sintro.report.pages.cell import heading_of

CONVOLUTIONS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
STRIDES, PADDINGS, POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (False, True, True, False, False)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]


@pytest.fixture(scope="module")
def lpips():
    """The module; skips where the package is not installed."""
    pytest.importorskip("sintro.data.vision")
    pytest.importorskip("lpips", reason="lpips is not installed: pip install 'sintro[lpips]'")
    return importlib.import_module("sintro.metrics.lpips")


@pytest.fixture(scope="module")
def alexnet() -> dict[str, torch.Tensor]:
    """Random weights under the names of torchvision's file; those of the classifier, which are not read, are small."""
    draws, weights = generator(0, "alexnet"), {}
    for place, (outputs, inputs, side) in CONVOLUTIONS.items():
        spread = (2 / (inputs * side**2)) ** 0.5
        weights[f"features.{place}.weight"] = spread * torch.randn(outputs, inputs, side, side, generator=draws)
        weights[f"features.{place}.bias"] = 0.1 * torch.randn(outputs, generator=draws)
    return weights | {"classifier.1.weight": torch.zeros(2, 2), "classifier.1.bias": torch.zeros(2)}


@pytest.fixture(scope="module")
def file(alexnet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / sources.LPIPS_FILE
    torch.save(alexnet, path)
    return path


@pytest.fixture(scope="module")
def measure(lpips, file):
    return lpips.Lpips(lpips.load(file))


def pictures(count, side=32, stream="pictures"):
    return torch.rand(count, 3, side, side, generator=generator(1, stream))


def heads() -> list[torch.Tensor]:
    """The linear heads of version 0.1, from the package's file alone."""
    folder = Path(importlib.import_module("lpips").__file__).parent
    stored = torch.load(folder / "weights" / "v0.1" / "alex.pth", map_location="cpu", weights_only=True)
    return [stored[f"lin{layer}.model.1.weight"].double().flatten() for layer in range(5)]


def spelt_out(weights, first, second):
    """Section 3.2 of Zhang et al. 2018 in float64: images [B, 3, H, W] in [0, 1] -> [B]."""

    def unit_features(images):
        hidden = (images.double() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        for place, stride, padding, pool in zip(CONVOLUTIONS, STRIDES, PADDINGS, POOLED, strict=True):
            if pool:
                hidden = hidden.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))
            kernel, bias = (weights[f"features.{place}.{kind}"].double() for kind in ("weight", "bias"))
            hidden = F.conv2d(hidden, kernel, bias, stride, padding).clamp(min=0)
            yield (hidden / hidden.square().sum(1, keepdim=True).sqrt().clamp(min=1e-10)).numpy()

    layers = zip(unit_features(first), unit_features(second), heads(), strict=True)
    return sum(np.einsum("bchw,c->bhw", (a - b) ** 2, head.numpy()).mean((1, 2)) for a, b, head in layers)


# --- the measure


@pytest.mark.parametrize("side", [31, 32, 64])
def test_the_value_is_that_of_the_paper_spelt_out(measure, alexnet, side):
    first = pictures(3, side)
    second = (first + 0.2 * torch.randn(first.shape, generator=generator(2, "noise"))).clamp(0, 1)
    found = measure(first, second)
    assert found.shape == (3,)
    np.testing.assert_allclose(found.numpy(), spelt_out(alexnet, first, second), rtol=1e-4)
    assert (found > 0.001).all()


def test_equal_images_score_zero_both_ways_are_alike_and_noise_raises_it(measure):
    clean = pictures(8, 64)
    assert measure(clean, clean).tolist() == [0] * 8
    noise = torch.randn(clean.shape, generator=generator(3, "noise"))
    scores = [measure(clean, clean + spread * noise).mean().item() for spread in (0.02, 0.05, 0.1, 0.3)]
    assert scores == sorted(scores)
    assert 0 < scores[0] < scores[-1] / 2
    torch.testing.assert_close(measure(clean, clean + noise), measure(clean + noise, clean))
    assert torch.equal(measure(clean, clean + 9), measure(clean, torch.ones_like(clean))), "clipped"


def test_a_mean_over_translations_is_that_over_all_pairs(measure):
    first, second = pictures(300), pictures(300, stream="others")
    assert transfer_lpips(first, second, measure) == pytest.approx(measure(first, second).double().mean().item())


def test_other_shapes_are_refused(measure):
    for first, second in ((pictures(2), pictures(3)), (pictures(2)[:, :1], pictures(2)[:, :1]), (pictures(1)[0],) * 2):
        with pytest.raises(SintroError, match=r"LPIPS: images .*expected the same \[B, 3, H, W\]"):
            measure(first, second)


def test_loading_draws_from_no_generator_and_downloads_nothing(lpips, file, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    before = torch.random.get_rng_state()
    first, second = lpips.load(file), lpips.load(file)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert all(
        torch.equal(lin.model[1].weight.flatten().double(), head) for lin, head in zip(first.lins, heads(), strict=True)
    )


def test_other_weights_are_one_line(lpips, alexnet, tmp_path):
    wrong = {name: values[:1] for name, values in alexnet.items()}
    for name, content in (("cut.pth", b"cut"), ("other.pth", {"conv1.weight": torch.ones(1)}), ("shape.pth", wrong)):
        path = tmp_path / name
        torch.save(content, path) if isinstance(content, dict) else path.write_bytes(content)
        with pytest.raises(
            SintroError, match=rf"{name} does not hold the weights of torchvision's AlexNet: "
        ) as caught:
            lpips.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(SintroError, match="cannot be read: No such file"):
        lpips.load(tmp_path / "none.pth")


# --- the weights


@pytest.fixture
def root(root_without, file) -> Path:
    return root_without("LPIPS", file)


def test_the_name_the_hash_and_the_address_are_torchvisions():
    from sintro.data.vision import torchvision

    assert sources.LPIPS_URLS[0] == torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
    assert f"alexnet-owt-{sources.LPIPS_SHA256}.pth" == sources.LPIPS_FILE


def test_weights_are_fetched_found_in_torchs_cache_and_where_they_are_named(root, file, monkeypatch, tmp_path):
    assert sources.why_no_lpips() == "sintro fetch lpips"
    with pytest.raises(SintroError, match=r"alexnet-owt-7be5be79.pth could not be fetched .*refused"):
        fetch.fetch(["lpips"], say=lambda line: None)
    hub = tmp_path / "torch" / "hub" / "checkpoints" / sources.LPIPS_FILE
    hub.parent.mkdir(parents=True)
    hub.write_bytes(file.read_bytes())
    assert sources.require_weights("lpips", root).path == hub
    (tmp_path / "mirror").mkdir()
    hub.rename(tmp_path / "mirror" / sources.LPIPS_FILE)
    said = []
    fetch.fetch(["lpips"], say=said.append)
    assert said[0].startswith("lpips: linked ")
    assert sources.require_weights("lpips", root).path == root / "lpips" / sources.LPIPS_FILE
    assert sources.why_no_lpips() in ("", "pip install 'sintro[lpips]'")
    monkeypatch.setenv("SINTRO_LPIPS", str(tmp_path / "elsewhere.pth"))
    with pytest.raises(SintroError, match=r"AlexNet weights for LPIPS are missing \(looked for: .*elsewhere"):
        sources.require_weights("lpips", root)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"foreign"])
def test_wrong_weights_are_one_line_and_exit_code_2(root, file, damage, capsys, monkeypatch):
    place = root / "lpips" / sources.LPIPS_FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(damage(file.read_bytes()))
    said = r"AlexNet weights for LPIPS are corrupted \(.*its sha256 begins with .*sintro fetch lpips --data"
    for package in ("", "lpips"):  # also where the package is missing
        monkeypatch.setattr(sources, "missing_package", lambda name, package=package: package)
        with pytest.raises(SintroError, match=said):
            likeness.perceptual("cifar10", "cpu")
    assert main(["fetch", "lpips"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_missing_is_said(root, file, monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    place = root / "lpips" / sources.LPIPS_FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(file.read_bytes())
    assert likeness.perceptual("cifar10", "cpu") == (None, "pip install 'sintro[lpips]'")
    row = doctor._weights("lpips", root)
    assert (row.state, row.reason, row.command) == (
        "verified", "the package lpips is missing", "pip install 'sintro[lpips]'",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("digits", "grey images"), ("mnist", "grey images"), ("smallnorb", "grey images"), ("kth", "grey images"),
        ("solids", "no photographs"), ("shapes3d", "no photographs"), ("svhn", ""), ("cars3d", ""), ("celeba-128", ""),
        ("rings", "no images"),
    ],
)  # fmt: skip
def test_a_data_set_says_whether_it_has_lpips(name, why):
    assert dataset(name).why_no_lpips == why


def test_small_images_have_none():
    for event, why in (((3, 28, 28), "fewer than 31 pixels a side"), ((4, 32, 32), "4 channels"), ((3, 31, 31), "")):
        assert type("Own", (ImageDataset,), {"event": event})().why_no_lpips == why


# --- cells


class Cars(FactorDataset):
    """Six classes of 20 random images in colour, two of them unseen."""

    name, title, event = "made-cars", "Made", (3, 32, 32)
    classes, contents, unseen = 6, 20, (1, 2)
    realistic = True

    def factors(self, root):
        pixels = np.random.RandomState(0).randint(0, 256, (120, 3, 32, 32)).astype(np.uint8)
        return Factors(pixels, *np.divmod(np.arange(120), 20), "embedded", True)


@pytest.fixture
def cell(root, monkeypatch):
    """A cell of made cars, trained for two iterations, and its settings."""
    monkeypatch.setitem(current().known[Dataset], Cars.name, Cars())
    monkeypatch.setattr(translation, "PAIRS", 60)
    monkeypatch.setattr(classifier, "STEPS", 2)
    made = Cell.from_path("results/tiny/made-cars/vae/normal/none/seed0")
    changes = {"iterations": 2, "warmup": 2, "milestones": (), "evaluation_images": 40, "batch_size": 40}
    settings = published(made).model_copy(update=changes | {"snapshots": (0,)})
    assert train_alone(made, settings) == 0
    return made, settings


@torch.no_grad()
def test_a_cell_has_numbers_or_reasons(lpips, measure, cell, root, file, monkeypatch, capsys):
    """Both metrics in the evaluation of a whole cell, with weights and without."""
    cell, settings = cell
    names = ("lpips_rec", "lpips_rec_last", "transfer_lpips", "transfer_lpips_seen")
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert metrics[NOT_MEASURED]["class_accuracy"] == "unseen classes"
    for name in ("lpips_rec", "transfer_lpips", "transfer_lpips_seen"):
        assert metrics[NOT_MEASURED][name] == "sintro fetch lpips"
    assert not set(names) & set(metrics)
    result = results.read_cell(cell, digest=settings.digest)
    assert result.why_not("transfer_lpips") == "not measured: sintro fetch lpips"
    assert errors.check_metrics([result])[5] == "lpips_rec"
    (root.parent / "cut.pth").write_bytes(file.read_bytes()[:-1])
    monkeypatch.setenv("SINTRO_LPIPS", str(root.parent / "cut.pth"))
    assert main(["evaluate", cell.path]) == 2
    assert "AlexNet weights for LPIPS are corrupted" in capsys.readouterr().err

    monkeypatch.setenv("SINTRO_LPIPS", str(file))
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert not set(names) & set(metrics[NOT_MEASURED])
    assert read_json(Path(cell.path, "metrics.json"))["metric_versions"]["lpips_rec"] == 1
    assert all(metrics[name] > 0 for name in names)
    every = factors.load("made-cars")
    model = snapshots.load_model(Path(cell.path), settings, "cpu")
    first, second = every.pairs(60, seen=True)
    truth = every.batch(every.truth(every.classes[first], every.contents[second]))
    of_class, of_content = (model.encode(every.batch(places)).mean for places in (first, second))
    size = model.class_size
    translated = model.decoder(torch.cat([of_class[:, :size], of_content[:, size:]], 1))
    rows = metrics[translation.REFERENCES]
    copied = rows["copy of the content image_seen"]["transfer_lpips"]
    for found, made in ((metrics["transfer_lpips_seen"], translated), (copied, every.batch(second))):
        assert found == pytest.approx(measure(made, truth).mean().item(), rel=1e-4)
    refresh_batch_norm(model, images.load("made-cars", "train"), settings)
    set_mode(model, "eval")
    test = images.load("made-cars", "test").batch(slice(None))
    again = model.decoder(model.encode(test).mean)
    assert metrics["lpips_rec_last"] == pytest.approx(measure(test, again).mean().item(), rel=1e-4)


def test_a_mean_over_batches_is_that_over_all_images(measure):
    first, second = pictures(10), pictures(10, stream="others")
    alike = likeness.Likeness(likeness.Perceptual(measure, ""))
    for part in (slice(4), slice(4, 10)):
        alike.update(first[part], second[part])
    found = alike.means()
    assert found["lpips_rec"] == pytest.approx(measure(first, second).mean().item(), rel=1e-6)
    assert found["psnr"] == pytest.approx(psnr(first, second).mean().item())
    without = likeness.Likeness(likeness.Perceptual(None, "grey images"))
    without.update(first, second)
    means = without.means()
    assert means.keys() == {"psnr", "ssim", NOT_MEASURED}
    assert means[NOT_MEASURED] == {"lpips_rec": "grey images"}


def test_an_older_evaluation_is_asked_for_where_lpips_means_something():
    both = {"lpips_rec", "transfer_lpips", "transfer_lpips_seen"}
    old = {"images": 100, "transfer_mse": 0.1}
    assert both & set(absent(old, "images", has_lpips=True)) == both
    assert both & set(absent({"images": 100}, "images", has_lpips=True)) == {"lpips_rec"}
    assert not both & set(absent(old | {"fid": 1.0}, "images"))
    said = {NOT_MEASURED: dict.fromkeys(both, "sintro fetch lpips")}
    assert not both & set(absent(old | said, "images", has_lpips=True))


def test_definitions_headings_tables_and_models_without_a_prior(tmp_path):
    for name, heading in (("lpips_rec", "Bounds and reconstruction"), ("transfer_lpips_seen", "Translation")):
        metric = METRICS[name]
        assert (metric.direction, metric.unit, metric.version) == ("lower", "", 1)
        assert "LPIPS" in metric.label
        assert heading_of(name) == heading
    found, _ = without_density({"lpips_rec": 0.1, "lpips_rec_last": 0.2, "elbo": 1.0}, {})
    assert (found["lpips_rec"], found["lpips_rec_last"]) == (0.1, 0.2)
    grey = Result(Cell.from_path("results/tiny/digits/vae/normal/none/seed0"), tmp_path, "done")
    assert "lpips_rec" not in errors.check_metrics([grey])
