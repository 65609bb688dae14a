"""Folders of images: `sintro prepare`, their names, networks, loading, and the numbers that plan and Slurm take."""

import io
import itertools
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sintro import SintroError
from sintro.__main__ import main
from sintro.basics.files import read_json, write_json
from sintro.cells import components, presets
from sintro.cells.cell import Cell
from sintro.data import images, prepare
from sintro.data.doctor import rows
from sintro.data.folders import CHANNELS, RELEASED, folder_images
from sintro.data.prepare_names import Request, divided
from sintro.metrics import classifier
from sintro.metrics.features import classifier_features, reference
from sintro.objectives.networks import residual_pair
from sintro.runs.pace import operations
from sintro.training.batches import ImageBatches
from sintro.training.players import Players

MODES = ("RGB", "L", "P", "RGBA", "CMYK", "I;16")


def picture(index: int, mode: str, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.RandomState(index).randint(0, 256, (*size[::-1], 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    if mode in ("RGBA", "CMYK"):
        return (
            Image.fromarray(pixels, mode="RGBA").convert("RGB").convert(mode)
            if mode == "CMYK"
            else Image.fromarray(pixels)
        )
    return Image.fromarray(pixels[..., :3]).convert(mode)


def made(folder: Path, count: int, order: int = 1) -> Path:
    """Odd sizes and modes; one image is cut, one is too small."""
    for index in range(count)[::order]:
        mode = MODES[index % len(MODES)]
        ending = "jpg" if mode == "CMYK" else "png"
        path = folder / f"{index % 3}" / f"{index:03}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20, 40) if index == 7 else (33 + index, 71 - index)
        picture(index, mode, size).save(path)
        if index == 0:
            path.write_bytes(path.read_bytes()[:2000])
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def arrays(root: Path, name: str = "made-32") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "folders" / name).iterdir())}


def test_forty_odd_images_are_prepared_the_same_whatever_the_order_of_their_files(root, tmp_path, capsys):
    source = made(tmp_path / "pictures", 39)
    (source / "notes.txt").write_text("no image")
    (source / "broken.png").write_bytes(b"no image either")
    assert main(["prepare", "made", str(source), "--size", "32", "--test", "8"]) == 0
    said = capsys.readouterr()
    manifest = read_json(root / "folders/made-32/manifest.json")
    wrong_mode = [index for index in range(39) if index % 6 == 5]
    assert manifest["listed"] == 40
    assert len(manifest["left_out"]) == 3 + len(wrong_mode)
    assert "truncated" in manifest["left_out"]["0/000.png"]
    assert manifest["left_out"]["1/007.png"] == "too small, 20 x 40 pixels"
    assert manifest["left_out"]["broken.png"] == "unreadable (no image)"
    assert sum(manifest["images"].values()) == 40 - len(manifest["left_out"])
    assert f"{len(manifest['left_out'])} of 40 images are left out" in said.err
    for line in ("1 files are no images by their endings", "1/001.png: grey, made RGB", "2/002.png: palette, made RGB",
                 "1/004.jpg: CMYK, made RGB", "transparent parts white"):  # fmt: skip
        assert line in said.err
    first = arrays(root)
    names = [line.split(",")[0] for line in first["images.csv"].decode().splitlines()]
    assert names == sorted(names)

    assert main(["prepare", "made", str(source), "--size", "32", "--test", "8"]) == 0
    assert "nothing was changed" in capsys.readouterr().err
    assert arrays(root) == first

    shutil.rmtree(root)
    other = made(tmp_path / "other", 39, order=-1)
    (other / "broken.png").write_bytes(b"no image either")
    assert main(["prepare", "made", str(other), "--size", "32", "--test", "8"]) == 0
    again = arrays(root)
    assert {name: again[name] for name in ("train.npy", "test.npy", "images.csv")} == {
        name: first[name] for name in ("train.npy", "test.npy", "images.csv")
    }


def test_pixels_are_those_of_pillow_after_the_crop(root, tmp_path):
    source = made(tmp_path / "pictures", 20)
    folder = prepare.prepare(folder_images("made", 32), Request(source, "centre", test=8))
    stored = np.load(folder / "train.npy")
    lines = (folder / "images.csv").read_text().splitlines()
    kept = [line.split(",")[0] for line in lines if ",train," in line and "left out" not in line]
    place = kept.index("0/006.png")  # RGB, 39 x 65
    expected = picture(6, "RGB", (39, 65)).crop((0, 13, 39, 52)).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(stored[place].transpose(1, 2, 0), np.asarray(expected))
    assert stored.dtype == np.uint8
    assert stored.shape == (len(kept), 3, 32, 32)


def test_a_killed_preparation_goes_on_to_the_same_bytes(root, tmp_path, monkeypatch, capsys):
    source, request = made(tmp_path / "pictures", 20), ("centre", None, 8)
    whole = prepare.prepare(folder_images("whole", 32), Request(source, *request))
    monkeypatch.setattr(prepare, "AT_A_TIME", 3)
    read, calls = prepare.read_image, []

    def killed(*arguments):
        calls.append(arguments[0].name)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return read(*arguments)

    monkeypatch.setattr(prepare, "read_image", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(folder_images("cut", 32), Request(source, *request))
    assert not (root / "folders/cut-32").exists()
    calls.clear()
    monkeypatch.setattr(prepare, "read_image", lambda *arguments: calls.append(arguments[0].name) or read(*arguments))
    resumed = prepare.prepare(folder_images("cut", 32), Request(source, *request))
    assert "going on after 9 of 20 images" in capsys.readouterr().err
    assert len(calls) == 11
    for name in ("train.npy", "test.npy", "images.csv"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_other_images_choices_or_files_are_refused_in_one_line(root, tmp_path, capsys):
    source = made(tmp_path / "pictures", 20)
    asked = ["prepare", "made", str(source), "--size", "32", "--test", "8"]
    assert main(asked) == 0
    before = arrays(root)
    assert main([*asked, "--crop", "none"]) == 2
    assert "is prepared already, with crop 'centre', not 'none'" in capsys.readouterr().err
    picture(99, "RGB", (50, 50)).save(source / "1/013.png")
    assert main(asked) == 2
    assert "1/013.png is another image" in capsys.readouterr().err
    assert arrays(root) == before
    for wrong, said in (
        (["prepare", "made", str(source)], "--size is needed"),
        (["prepare", "made", str(source), "--size", "100"], "R one of 32, 64, 128, 256"),
        (["prepare", "celebahq", str(source), "--size", "256"], "its one name is celebahq-256"),
        (["prepare", "made", str(tmp_path / "gone"), "--size", "32"], "is not a folder"),
        (
            ["prepare", "made", str(source), "--size", "64", "--test", "11"],
            "the train split has 9 of 20 images; legal are 10 and more: --test M takes",
        ),
        (["prepare", "made", str(source), "--size", "64"], "the test split has 2 of 20 images; legal are 4 and more"),
        (
            ["prepare", "few", str(source), "--size", "32", "--count", "19", "--test", "5"],
            "3 images of the test split can be used; legal are 4 and more",
        ),
        (
            ["prepare", "made", str(source), "--size", "64", "--count", "21"],
            "pictures holds 20 images; legal are 1 to 20",
        ),
        (
            ["prepare", "celebahq-256", str(source), "--test", "4"],
            "has 29,000 training and 1,000 test images, not 16 and 4",
        ),
        (["prepare", "celebahq-256", str(source), "--crop", "centre"], "--crop centre: celebahq-256 has none"),
        (["prepare", "celeba-128", str(source)], "list_eval_partition.txt"),
    ):
        assert main(wrong) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert said in error[-1]


def test_celeba_is_cropped_around_the_face_and_divided_by_its_list(root, tmp_path, capsys):
    source = tmp_path / "img_align_celeba"
    source.mkdir()
    splits = (0, 2, 0, 1, 2, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0)
    for index in range(len(splits)):
        picture(index, "RGB", (178, 218)).save(source / f"{index:02}.png")
    partition = [f"{index:02}.png {split}" for index, split in enumerate(splits)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(partition))
    assert main(["prepare", "celeba-128", str(source), "--force-count"]) == 0
    stored = np.load(root / "folders/celeba-128/test.npy")
    expected = np.asarray(picture(4, "RGB", (178, 218)))[121 - 64 : 121 + 64, 89 - 64 : 89 + 64]
    np.testing.assert_array_equal(stored[1].transpose(1, 2, 0), expected)
    assert [len(np.load(root / f"folders/celeba-128/{split}.npy")) for split in ("train", "test")] == [10, 4]
    manifest = RELEASED["celeba-128"].manifest(root / "folders/celeba-128")
    assert (
        RELEASED["celeba-128"]
        .why_unpublished(manifest)
        .startswith("prepared from 10 and 4 images, published are 162,770")
    )


# --- names and settings


def cell(dataset: str, objective: str = "soft-introvae", prior: str = "normal", regularizers: str = "none") -> Cell:
    return Cell(study="s", dataset=dataset, objective=objective, prior=prior, regularizers=regularizers, seed=0)


def test_a_link_to_a_folder_is_refused_not_left_out(root, tmp_path, capsys):
    source = made(tmp_path / "pictures", 14)
    (source / "more").symlink_to(made(tmp_path / "others", 14))
    assert main(["prepare", "made", str(source), "--size", "32", "--test", "4"]) == 2
    assert f"{source / 'more'} is a link to a folder, and its images would be left out" in capsys.readouterr().err
    assert not root.exists()


def test_a_list_of_splits_that_is_no_text_or_repeats_a_name_is_refused_in_one_line(root, tmp_path, capsys):
    source = made(tmp_path / "pictures", 14)
    listed = tmp_path / "list.txt"
    asked = ["prepare", "made", str(source), "--size", "32", "--split", str(listed)]
    for content, said in (
        (b"0/000.png train\n\xe9.png test\n", "line 2 is no UTF-8; legal is a text file in UTF-8"),
        (b"1/a.png 0\n0/b.png 1\n0/b.png 2\n1/a.png 0\n", "1/a.png is listed 2 times; legal is a line per image"),
    ):
        listed.write_bytes(content)
        assert main(asked) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].endswith(f"{listed}: {said}")
    assert not root.exists()


def test_a_list_of_splits_holds_for_all_images_also_where_only_the_first_are_taken(tmp_path):
    names = [f"{index:02}.png" for index in range(20)]
    listed = tmp_path / "list.txt"
    request = Request(Path("pics"), "none", 16, None, listed)

    def write(lines: list[str]) -> None:
        listed.write_text(
            "\n".join(f"{name} {'test' if index % 3 == 0 else 'train'}" for index, name in enumerate(lines))
        )

    write(names)
    items = divided(names, request)
    assert [item.name for item in items] == names[:16]
    assert [item.split for item in items[:4]] == ["test", "train", "train", "test"]
    with pytest.raises(SintroError, match=r"--split .*/list.txt and --test 4: legal is one of the two"):
        divided(names, request._replace(test=4))
    with pytest.raises(SintroError, match=r"^pics: 1 image is not in .*/list.txt, first zz.png$"):
        divided([*names, "zz.png"], request)
    write([*names, "yy.png", "zz.png"])
    with pytest.raises(SintroError, match=r"/list.txt: 2 images are not in pics, first yy.png$"):
        divided(names, request)


def test_a_prepared_set_with_too_few_images_is_refused_before_it_trains(root, monkeypatch):
    monkeypatch.setattr(prepare, "FEWEST", {"train": 1, "test": 1})
    monkeypatch.setattr("sintro.data.prepare_names.FEWEST", {"train": 1, "test": 1})
    name = prepared(root, train=12, test=3)
    with pytest.raises(SintroError, match="many-32: the test split has 3 images; legal are 4 and more"):
        images.load(name, "train")


def test_a_name_and_a_data_set_are_a_pair_whether_or_not_it_is_prepared(root):
    one = cell("folder-my-pets-64")
    assert Cell.from_path(one.path) == one
    assert one.data.event == (3, 64, 64)
    assert one.data is components.dataset("folder-my-pets-64")
    assert "folder-my-pets-64" not in components.datasets()
    for wrong in ("folder-x", "folder-x-064", "folder-X-64", "folder-x-96", "folder-ffhq-256", "folder--64"):
        with pytest.raises(SintroError):
            cell(wrong)
    with pytest.raises(SintroError, match=r"is not prepared.*sintro prepare my-pets PATH --size 64"):
        presets.published(one)


@pytest.mark.parametrize(
    ("name", "batch", "latent", "images_"),
    [("celebahq-256", 8, 256, 29_000), ("ffhq-256", 8, 256, 60_000), ("celeba-128", 32, 128, 162_770)],
)
def test_released_settings(name, batch, latent, images_):
    settings = presets.resolve(cell(name), protocol="si")
    epoch = math.ceil(images_ / batch)
    assert (settings.batch_size, settings.latent_size, settings.channels) == (
        batch,
        latent,
        CHANNELS[settings.event[-1]],
    )
    assert (settings.beta_rec, settings.beta_kl, settings.beta_neg) == (1, 0.5, 1024)
    assert (settings.epochs, settings.iterations, settings.warmup) == (250, 250 * epoch, 0)
    assert settings.scale == 1 / (3 * settings.event[-1] ** 2)
    assert settings.mirror is True
    assert settings.fakes == "reused"
    assert settings.kl_of_normal is None
    learned = presets.resolve(cell(name, prior="mog10-learned", regularizers="clip"))
    assert (learned.epochs, learned.warmup, learned.conversion) == (220, 20 * epoch, 15 * epoch)
    program = presets.resolve(cell(name, "soft-introvae-rec0.5-kl1-neg1024"), protocol="si")
    assert (program.beta_rec, program.beta_kl, program.digest == settings.digest) == (0.5, 1, False)


def test_mixtures_are_marked_as_not_published():
    from sintro.cells.origins import sources

    told = {
        prior: sources(presets.published(cell("ffhq-256", prior=prior)))["prior"] for prior in ("normal", "mog10-fixed")
    }
    assert "not published" not in told["normal"]
    assert "not published: no paper has this prior on these images" in told["mog10-fixed"]


# --- networks

RELEASED_COUNTS = {
    (128, CHANNELS[128], 128): (16_364_096, 13_073_091),
    (256, CHANNELS[256], 256): (23_182_144, 18_842_307),
    (1024, (16, 32, 64, 128, 256, 512, 512, 512), 512): (27_445_328, 20_903_859),
}


@pytest.mark.parametrize(("shape", "counts"), RELEASED_COUNTS.items())
def test_networks_have_the_released_numbers_of_parameters(shape, counts):
    pixels, channels, latent = shape
    with torch.device("meta"):
        from sintro.objectives.networks import ResidualDecoder, ResidualEncoder, feature_shape

        pair = [kind((3, pixels, pixels), channels, latent) for kind in (ResidualEncoder, ResidualDecoder)]
    assert tuple(sum(one.numel() for one in network.parameters()) for network in pair) == counts
    assert feature_shape((3, pixels, pixels), channels) == (512, 4, 4)


def stated(network, inputs, latent_to_image: bool):
    """The architecture of docs/science.md, section 5, written out with functions, from the weights in their order."""
    from torch.nn import functional as F

    weights = list(network.state_dict().items())

    def take(ending):
        name, value = weights.pop(0)
        assert name.endswith(ending), (name, ending)
        return value

    def norm(x):
        weight, bias, mean, variance = (take(one) for one in ("weight", "bias", "running_mean", "running_var"))
        take("num_batches_tracked")
        if network.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        shaped = (1, -1, 1, 1)
        return (x - mean.view(shaped)) / (variance.view(shaped) + 1e-5).sqrt() * weight.view(shaped) + bias.view(shaped)

    def block(x, change):
        identity = F.conv2d(x, take("identity.weight")) if change else x
        x = F.leaky_relu(norm(F.conv2d(x, take("weight"), padding=1)), 0.2)
        return F.leaky_relu(norm(F.conv2d(x, take("weight"), padding=1)) + identity, 0.2)

    channels = (8, 16, 16)
    if latent_to_image:
        x = F.relu(F.linear(inputs, take("input.weight"), take("input.bias"))).view(len(inputs), 16, 8, 8)
        for before, after in ((16, 16), (16, 16), (16, 8)):
            x = F.interpolate(block(x, before != after), scale_factor=2)
        x = block(x, False)
        return F.conv2d(x, take("weight"), take("bias"), padding=2)
    x = F.avg_pool2d(F.leaky_relu(norm(F.conv2d(inputs, take("weight"), padding=2)), 0.2), 2)
    for before, after in itertools.pairwise(channels):
        x = F.avg_pool2d(block(x, before != after), 2)
    x = block(x, False)
    return F.linear(x.flatten(1), take("output.weight"), take("output.bias"))


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_networks_are_the_stated_ones_at_64_pixels(training):
    noise = torch.Generator().manual_seed(3)
    pair = residual_pair((3, 64, 64), (8, 16, 16), 8, noise)
    for network, size in zip(pair, ((4, 3, 64, 64), (4, 8)), strict=True):
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # values that would show if they were mixed up
                for tensor in (module.weight, module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=noise))
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=noise) + 0.5)
        network.double().train(training)
        inputs = torch.randn(size, generator=noise, dtype=torch.float64)
        expected = stated(network, inputs, len(size) == 2)
        torch.testing.assert_close(network.compute(inputs), expected, rtol=1e-9, atol=1e-9)


def test_operations_are_those_of_the_released_networks():
    """Counted on the released code: 6.6 and 6.2, 26.4 and 25.1, 43.3 and 34.8 GFLOP forward."""
    found = [operations((3, pixels, pixels), channels, latent) / 1e9 for pixels, channels, latent in RELEASED_COUNTS]
    assert found == pytest.approx([12.8, 51.5, 78.1], abs=0.06)


# --- loading


def prepared(root: Path, pixels: int = 32, train: int = 110, test: int = 12) -> str:
    source = root.parent / "many"
    source.mkdir()
    for index in range(train + test):
        picture(index, "RGB", (pixels, pixels)).save(source / f"{index:03}.png")
    prepare.prepare(folder_images("many", pixels), Request(source, "none", test=test))
    return f"folder-many-{pixels}"


def small(name: str, **changes):
    settings = presets.resolve(cell(name), iterations=6, values={"channels": (4, 8), "batch_size": 20, "mirror": True})
    return settings.model_copy(update=changes)


def test_a_mapped_set_gives_the_batches_of_one_in_memory_also_after_a_restart(root):
    name = prepared(root)
    batches = ImageBatches(small(name), torch.device("cpu"))
    assert batches.images.mapped
    held = images.ImageSet(**{**vars(batches.images), "images": batches.images.images.clone(), "mapped": False})
    again = ImageBatches(small(name), torch.device("cpu"))
    again.images, again.thread = held, None
    there = [batches.at(iteration) for iteration in range(14)]  # two epochs of 6 batches, and a part
    for iteration, batch in enumerate(there):
        assert torch.equal(batch, again.at(iteration))
    resumed = ImageBatches(small(name), torch.device("cpu"))
    assert torch.equal(resumed.at(9), there[9])
    assert torch.equal(resumed.at(2), there[2])  # a jump that nobody read ahead for
    plain = ImageBatches(small(name, mirror=None), torch.device("cpu"))
    flipped = 0
    for iteration, batch in enumerate(there):
        for one, other in zip(batch, plain.at(iteration), strict=True):
            is_same = torch.equal(one, other)
            assert is_same or torch.equal(one, other.flip(-1))
            flipped += not is_same
    assert 80 < flipped < 180  # of 240, each with probability 1/2
    bits = [held.mirrored(0, epoch) for epoch in (0, 1)] + [held.mirrored(1, 0)]
    assert not any(torch.equal(bits[0], other) for other in bits[1:])
    assert torch.equal(bits[0], held.mirrored(0, 0))


def test_the_reference_of_a_folder_is_that_of_its_pixels_in_memory(root, monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 5)
    mapped = images.load(prepared(root), "train")
    held = images.ImageSet(**{**vars(mapped), "images": mapped.images.clone(), "mapped": False})
    extractor = classifier_features(mapped, root)
    first, second = (reference(one, extractor, "eval", 16, 100, root / str(one.mapped)) for one in (mapped, held))
    assert first.path.name == second.path.name
    assert torch.equal(first.features, second.features)
    assert first.statistics.distance(second.statistics) == pytest.approx(0, abs=1e-9)


def test_a_killed_run_on_a_folder_resumes_to_the_same_bits(root):
    name = prepared(root)
    settings = small(name, samples=2)
    whole = Players([settings])
    for iteration in range(8):
        whole.step(iteration)
    part = Players([settings])
    for iteration in range(5):
        part.step(iteration)
    state = part.state()
    resumed = Players([settings])
    resumed.load([state], 5)
    for iteration in range(5, 8):
        resumed.step(iteration)
    for player, parameters in whole.state()["parameters"].items():
        for one, tensor in parameters.items():
            assert torch.equal(tensor, resumed.state()["parameters"][player][one])


def test_a_changed_file_is_noticed_and_a_copy_is_not_a_change(root):
    name = prepared(root)
    facts = images.load(name, "test").facts
    path = root / "folders/many-32/train.npy"
    os.utime(path)  # as a copy would have another time
    assert images.load(name, "test").facts == facts
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SintroError, match="was changed since it was prepared"):
        images.load(name, "test")


def test_a_damaged_manifest_or_array_is_refused_in_one_line(root):
    def state() -> str:
        return next(row.state for row in rows(root) if row.what == name)

    name = prepared(root)
    assert state() == "prepared"
    folder = root / "folders/many-32"
    manifest = read_json(folder / "manifest.json")
    array = manifest["files"]["train.npy"]
    for changed, said in (
        ({"images": None}, "images: input should be a valid dictionary, not None"),
        ({"images": {"train": "many", "test": 12}}, "images.train: input should be a valid integer, not 'many'"),
        ({"files": [1]}, "files: legal is a mapping with the keys train.npy, test.npy, images.csv, not \\[1\\]"),
        ({"files": {}}, "files.train.npy: this key is missing"),
        ({"files": manifest["files"] | {"train.npy": array | {"bytes": None}}}, "files.train.npy.bytes: input should"),
        ({"sha256": 1}, "sha256: input should be a valid string, not 1"),
    ):
        write_json(folder / "manifest.json", manifest | changed)
        with pytest.raises(SintroError, match=rf"manifest.json is no manifest of prepared images \({said}"):
            images.load(name, "train")
        assert state() == "corrupted"
    write_json(folder / "manifest.json", manifest)
    content = (folder / "train.npy").read_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((110, 3, 32, 32), np.uint8))
    for damaged in (b"", buffer.getvalue(), content[:1000], content.replace(b"(", b"{", 1)):
        (folder / "train.npy").write_bytes(damaged)
        with pytest.raises(
            SintroError, match=r"train.npy cannot be read \(.*\); delete .*/many-32 and run: sintro prep"
        ):
            images.load(name, "train")
        assert state() == "corrupted"


def test_an_introspective_step_at_64_pixels_moves_both_players(root):
    name = prepared(root, 64)
    settings = presets.resolve(cell(name), iterations=2, values={"batch_size": 2, "samples": 2}, protocol="si")
    players = Players([settings])
    before = players.state()["parameters"]
    terms = players.step(0)
    assert all(math.isfinite(value) for value in terms.values())
    after = players.state()["parameters"]
    for player in ("encoder", "decoder"):
        assert any(not torch.equal(before[player][one], after[player][one]) for one in before[player])


def test_a_classifier_of_unlabelled_images_learns_turns(root, monkeypatch):
    name = prepared(root)
    train = images.load(name, "train")
    assert not train.has_labels
    batch, labels = classifier._task(train, torch.arange(8))
    assert labels.tolist() == [0, 1, 2, 3] * 2
    plain = train.batch(torch.arange(8))
    for index in range(8):
        assert torch.equal(batch[index], plain[index].rot90(index % 4, (-2, -1)))
    large = torch.rand(2, 3, 256, 256)
    assert classifier._shrunk(large).shape == (2, 3, 64, 64)
    assert classifier._shrunk(plain) is plain


# --- on a cluster


def test_slurm_gives_large_images_more_memory_and_time():
    profile = yaml.safe_load((Path(__file__).parents[1] / "slurm/config.yaml").read_text())["set-resources"]

    def asked(step: str, dataset: str, attempt: int) -> list[int]:
        wildcards = SimpleNamespace(cell=f"s/{dataset}/soft-introvae/normal/none/seed0")
        return [
            eval(profile[step][what], {"wildcards": wildcards, "attempt": attempt}) for what in ("mem_mb", "runtime")
        ]

    assert asked("train", "cifar10", 1) == [4000, 240]
    assert asked("train", "rings", 9) == [16000, 1440]
    assert asked("train", "celeba-128", 1) == [8000, 960]
    assert asked("train", "ffhq-256", 1) == [8000, 1920]
    assert asked("train", "ffhq-256", 4) == [32000, 2880]
    assert asked("evaluate", "cifar10", 1) == [6000, 60]
    assert asked("evaluate", "celebahq-256", 2) == [24000, 960]
