"""DINOv2 on the real architecture (ViT-S/14) with random weights under their published names; getting the weights."""

import hashlib
import importlib
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.components import ImageDataset
from sintro.data import fetch, sources
from sintro.evaluation import extractors
from sintro.metrics.definitions_images import DINOV2, FLOORS
from sintro.metrics.distances import dinov2_metrics
from sintro.metrics.features import FeatureExtractor, Reference, dinov2_features
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kernel import kernel_distance

SMALL, WIDTH, DEPTH, HEADS = "vit_small_patch14_dinov2", 384, 12, 6
GRID = 37  # patches of a side in training


@pytest.fixture(scope="module")
def dinov2():
    """The module; skips where timm is not installed."""
    pytest.importorskip("sintro.data.vision")
    pytest.importorskip("timm", reason="timm is not installed: pip install 'sintro[dinov2]'")
    return importlib.import_module("sintro.metrics.dinov2")


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Random weights of ViT-S/14 under the names and in the shapes of the published file."""
    draws = generator(0, "dinov2")

    def normal(*shape, spread=0.05):
        return spread * torch.randn(*shape, generator=draws)

    weights = {
        "cls_token": normal(1, 1, WIDTH), "pos_embed": normal(1, 1 + GRID**2, WIDTH, spread=0.3),
        "mask_token": normal(1, WIDTH), "patch_embed.proj.weight": normal(WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": normal(WIDTH), "norm.weight": 1 + normal(WIDTH), "norm.bias": normal(WIDTH),
    }  # fmt: skip
    layers = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    layers |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
    for block in range(DEPTH):
        for name, shape in layers.items():
            weights[f"blocks.{block}.{name}.weight"] = normal(*shape)
            weights[f"blocks.{block}.{name}.bias"] = normal(shape[0])
        for part in (1, 2):
            weights[f"blocks.{block}.norm{part}.weight"] = 1 + normal(WIDTH)
            weights[f"blocks.{block}.norm{part}.bias"] = normal(WIDTH)
            weights[f"blocks.{block}.ls{part}.gamma"] = 0.5 + normal(WIDTH)
    return weights


def class_token(weights, pixels, positions):
    """The network of Oquab et al. 2023, spelt out: pixels [B, 3, S, S], positions [1, 1 + P, D] -> [B, D]."""
    w = {name: value.double() for name, value in weights.items()}
    patches = F.conv2d(pixels.double(), w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    tokens = torch.cat([w["cls_token"].expand(len(pixels), -1, -1), patches.flatten(2).transpose(1, 2)], 1)
    tokens = tokens + positions.double()

    def normed(x, name):
        return F.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    for block in (f"blocks.{number}" for number in range(DEPTH)):
        qkv = linear(normed(tokens, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)  # [3, B, H, T, D / H]
        attention = (q @ k.transpose(-2, -1) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        mixed = (attention @ v).transpose(1, 2).flatten(2)
        tokens = tokens + w[f"{block}.ls1.gamma"] * linear(mixed, f"{block}.attn.proj")
        hidden = F.gelu(linear(normed(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        tokens = tokens + w[f"{block}.ls2.gamma"] * linear(hidden, f"{block}.mlp.fc2")
    return normed(tokens, "norm")[:, 0]


def pictures(count, channels=3, side=32):
    draws = generator(1, "pictures")
    return torch.randint(0, 256, (count, channels, side, side), generator=draws, dtype=torch.uint8)


@torch.no_grad()
def test_the_class_token_is_that_of_the_network_spelt_out(dinov2, published, tmp_path):
    """From the stored file: PIL's bicubic resizing and ImageNet's scale as torchvision has them, then the network."""
    from sintro.data.vision import torchvision

    torch.save(published, tmp_path / "small.pth")
    network = dinov2.load(tmp_path / "small.pth", SMALL)
    batch = pictures(2)
    found = FeatureExtractor("dinov2", "fd_dinov2", network, WIDTH, "random").features(batch, "eval", 2)
    transforms = importlib.import_module("torchvision.transforms")
    prepare = transforms.Compose([
        transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip
    pixels = torch.stack([prepare(torchvision.transforms.functional.to_pil_image(image)) for image in batch])
    expected = class_token(published, pixels, dinov2.scaled_positions(published["pos_embed"], 16))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 0.01


def test_positions_are_scaled_as_the_published_code_says(dinov2):
    """A ramp stays one: patch i of 16 stands at (i + 1/2) 37 / 16.1 - 1/2 of the 37; the class token stays."""
    ramp = torch.arange(GRID, dtype=torch.float64)
    grid = torch.stack([ramp[:, None].expand(GRID, GRID), ramp.expand(GRID, GRID), torch.ones(GRID, GRID)], -1)
    positions = torch.cat([torch.full((1, 1, 3), 7.0), grid.reshape(1, -1, 3)], 1)
    found = dinov2.scaled_positions(positions, 16)
    assert found.shape == (1, 257, 3)
    assert found[0, 0].tolist() == [7, 7, 7]
    scaled = found[0, 1:].unflatten(0, (16, 16))
    expected = ((torch.arange(16) + 0.5) * GRID / 16.1 - 0.5).double()
    inner = slice(1, 15)  # the filter reaches over the edge beyond
    torch.testing.assert_close(scaled[inner, 3, 0], expected[inner], rtol=0, atol=0.06)
    torch.testing.assert_close(scaled[5, inner, 1], expected[inner], rtol=0, atol=0.06)
    torch.testing.assert_close(scaled[..., 2], torch.ones(16, 16).double())


@torch.no_grad()
def test_grey_images_have_three_equal_channels_and_every_level_survives(dinov2, published):
    network = dinov2.Dinov2(SMALL, size=28)
    network.load_published(published)
    grey = pictures(2, channels=1)
    torch.testing.assert_close(network(grey / 255), network(grey.expand(-1, 3, -1, -1) / 255))
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(dinov2._resized(levels[0], 16)[0], levels[0, 0] / 255)
    darker = (levels.int() - 1).clamp(0).to(torch.uint8)
    assert not torch.equal(network(levels / 255), network(darker / 255))


def test_other_weights_are_one_line(dinov2, published, tmp_path):
    for name, content in (("cut.pth", b"cut"), ("other.pth", None)):
        path = tmp_path / name
        if content is None:
            torch.save({"pos_embed": published["pos_embed"]}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(SintroError, match=rf"{name} does not hold the weights of DINOv2's {SMALL}") as caught:
            dinov2.load(path, SMALL)
        assert "\n" not in str(caught.value)
    with pytest.raises(SintroError, match="cannot be read: No such file"):
        dinov2.load(tmp_path / "none.pth", SMALL)


def test_every_metric_has_its_value(tmp_path):
    """Of features alone: the same functions as for FID, KID and the manifolds, under other names."""
    import numpy as np

    draws = generator(2, "features")
    real, made = torch.randn(60, 5, generator=draws), 1.5 * torch.randn(50, 5, generator=draws)
    np.savez(tmp_path / "made.npz", features=real.numpy())
    found = dinov2_metrics(Reference(tmp_path / "made.npz", FeatureStatistics.of(real)), made, 3)
    assert sorted(found) == sorted(DINOV2)
    assert found["fd_dinov2"] == pytest.approx(FeatureStatistics.of(made).distance(FeatureStatistics.of(real)))
    assert (found["kd_dinov2"], found["kd_dinov2_sd"]) == kernel_distance(real, made, 3)
    assert FLOORS["fd_dinov2"] == "fd_dinov2_floor"
    assert 0 < found["density_dinov2"] < 1


# --- the weights


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Bytes that stand for the weights, and a data root without them -> (root, content)."""
    content = b"stands for DINOv2's weights"
    monkeypatch.setattr(sources, "DINOV2_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(sources, "DINOV2_BYTES", len(content))
    monkeypatch.setattr(sources, "DINOV2_URLS", ("http://127.0.0.1:9/weights.pth",))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SINTRO_DATA_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.delenv("SINTRO_DINOV2", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data", content


def test_weights_are_fetched_only_where_they_are_named(stored, tmp_path):
    root, content = stored
    assert sources.why_no_dinov2(root) == "sintro fetch dinov2"
    with pytest.raises(SintroError, match=r"dinov2_vitl14_pretrain.pth could not be fetched .*refused"):
        fetch.fetch(["dinov2"], root, lambda line: None)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / sources.DINOV2_FILE).write_bytes(content[:-1])  # of another size
    with pytest.raises(SintroError, match="could not be fetched"):
        fetch.fetch(["dinov2"], root, lambda line: None)
    (tmp_path / "mirror" / sources.DINOV2_FILE).write_bytes(content)
    said = []
    fetch.fetch(["dinov2"], root, said.append)
    assert said[0].startswith("dinov2: linked ")
    assert (root / "dinov2" / sources.DINOV2_FILE).read_bytes() == content
    fetch.fetch(["dinov2"], root, said.append)
    assert said[-1].endswith("is there and right")
    assert sources.why_no_dinov2(root) in ("", "pip install 'sintro[dinov2]'")


def test_wrong_weights_are_refused(stored, monkeypatch):
    root, content = stored
    place = root / "dinov2" / sources.DINOV2_FILE
    place.parent.mkdir(parents=True)
    for wrong, reason in ((content[:-1], "it has 26 bytes, not 27"), (content[:-1] + b"!", "its sha256 begins with")):
        place.write_bytes(wrong)
        with pytest.raises(SintroError, match=f"DINOv2 weights are corrupted .*{reason}") as caught:
            dinov2_features(root)
        assert "sintro fetch dinov2 --data" in str(caught.value)
    place.unlink()
    monkeypatch.setenv("SINTRO_DINOV2", str(root / "elsewhere.pth"))
    with pytest.raises(SintroError, match=r"DINOv2 weights are missing \(looked for: .*elsewhere"):
        dinov2_features(root)


def test_the_size_and_hash_are_whole():
    assert len(sources.DINOV2_SHA256) == 64
    assert sources.DINOV2_BYTES > 10**9
    assert sources.DINOV2_URLS[0].endswith(sources.DINOV2_FILE)


def test_why_a_cell_has_no_dinov2(stored, monkeypatch):
    assert extractors.why_no_dinov2(100, "cpu") == "sintro fetch dinov2"
    monkeypatch.setattr(sources, "why_no_dinov2", lambda: "")
    assert extractors.why_no_dinov2(50_000, "cpu") == "more than 1,000 images need a GPU"
    assert extractors.why_no_dinov2(100, "cpu") == extractors.why_no_dinov2(50_000, "cuda:0") == ""


@pytest.mark.parametrize(("name", "channels"), [("svhn", 3), ("fmnist", 1), ("digits", 1)])
def test_photographs_have_dinov2_and_grey_images_have_not(name, channels, stored, monkeypatch):
    class Split:
        has_labels, event = False, (channels, 32, 32)

    Split.name = name
    made = FeatureExtractor("made", "cfid", torch.nn.Identity(), 3, "made")
    monkeypatch.setattr(extractors, "classifier_features", lambda *_: made)
    monkeypatch.setattr(extractors, "dinov2_features", lambda device: made)
    monkeypatch.setattr(sources, "missing_inception", lambda name: "none")
    why = {"svhn": "sintro fetch dinov2", "fmnist": "grey images", "digits": ""}[name]
    found = extractors.pick(Split, None, "cpu", 100, lambda done, total: None)
    assert (found.main, found.classes, found.dinov2, found.why_no_dinov2) == (made, None, None, why)
    monkeypatch.setattr(sources, "why_no_dinov2", lambda: "")
    found = extractors.pick(Split, None, "cpu", 100, lambda done, total: None)
    assert found.dinov2 == (made if name == "svhn" else None)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_photographs_are_grey_or_in_colour(channels, monkeypatch):
    """Inception and DINOv2 take no images with two or four channels."""
    own = type("Own", (ImageDataset,), {"event": (channels, 32, 32)})
    monkeypatch.setattr(sources.components, "dataset", lambda name: own())
    assert sources.are_photographs("own") is (channels in (1, 3))
    if channels in (2, 4):
        monkeypatch.setattr(extractors, "classifier_features", lambda *_: made)
        made = FeatureExtractor("made", "cfid", torch.nn.Identity(), 3, "made")
        split = SimpleNamespace(name="own", has_labels=False, event=own.event)
        found = extractors.pick(split, None, "cpu", 100, lambda done, total: None)
        assert (found.main, found.dinov2, found.why_no_dinov2) == (made, None, "")
        assert sources.missing_inception("own") is None
