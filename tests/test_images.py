"""Image sets: read from files in the real formats, in the right order and range, or refused in one line."""

import gzip
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from made_images import TEST, TRAIN, idx, make

from sintro import SintroError
from sintro.cells.components import dataset
from sintro.data import formats, images, sources
from sintro.data.images import load, to_float

FETCHED = ["mnist", "fmnist", "cifar10", "svhn"]


@pytest.mark.parametrize("name", FETCHED)
def test_every_format_is_read_as_it_was_written(name, monkeypatch, tmp_path):
    made = make(name, monkeypatch)
    made.store(tmp_path)
    for split, count in (("train", TRAIN), ("test", TEST)):
        read = load(name, split, tmp_path)
        pixels, labels = made.splits[split]
        assert len(read) == count
        np.testing.assert_array_equal(read.images, pixels)
        np.testing.assert_array_equal(read.labels, labels)
        assert read.images.dtype == torch.uint8
        assert read.labels.dtype == torch.int64
        assert (read.name, read.split, read.state) == (name, split, "verified")
        assert read.sha256 == images.content_hash(pixels, labels)


def test_names_sums_and_addresses_are_torchvisions():
    """Nothing but this test needs torchvision for them: to import it costs a training 8 s and 89 MiB."""
    from sintro.data.vision import torchvision

    theirs = torchvision.datasets
    for name, kind in (("mnist", theirs.MNIST), ("fmnist", theirs.FashionMNIST)):
        files = dataset(name).published().files
        assert {file.name for file in files} == {file for file, _ in kind.resources}
        assert all(file.path == f"{kind.__name__}/raw/{file.name}" for file in files)
        assert all(file.urls == tuple(mirror + file.name for mirror in kind.mirrors) for file in files)
    kind, cifar10 = theirs.CIFAR10, dataset("cifar10").published()
    listed = [(f"{kind.base_folder}/{file}", md5) for file, md5 in kind.train_list + kind.test_list]
    assert [(file.path, file.md5) for file in cifar10.files] == listed
    assert (cifar10.archive.path, cifar10.archive.md5) == (kind.filename, kind.tgz_md5)
    assert cifar10.archive.urls == (kind.url,)
    parts = [theirs.SVHN.split_list[split] for split in ("train", "test")]
    svhn = dataset("svhn").published().files
    assert [[*file.urls, file.path, file.md5] for file in svhn] == parts


def test_looking_for_images_does_not_import_torchvision(tmp_path):
    """In a process of its own, since tests import it."""
    program = (
        "import sys, pathlib\n"
        "from sintro.data import images, sources\n"
        "[sources.states(name, pathlib.Path()) for name in sources.fetched()]\n"
        "assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fmnist", "svhn"])
def test_torchvision_reads_the_same(name, monkeypatch, tmp_path):
    """Independent readers of the same files: torchvision's own."""
    from sintro.data.vision import torchvision

    make(name, monkeypatch).store(tmp_path)
    for split in ("train", "test"):
        if name in ("mnist", "fmnist"):
            for file in tmp_path.rglob("*.gz"):
                file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            kind = {"mnist": torchvision.datasets.MNIST, "fmnist": torchvision.datasets.FashionMNIST}[name]
            theirs = kind(tmp_path, train=split == "train")
            pixels, labels = theirs.data[:, None], theirs.targets
        else:
            theirs = torchvision.datasets.SVHN(tmp_path, split)
            pixels, labels = torch.from_numpy(theirs.data), torch.from_numpy(theirs.labels)
        ours = load(name, split, tmp_path)
        torch.testing.assert_close(ours.images, pixels)
        torch.testing.assert_close(ours.labels, labels)


@pytest.mark.filterwarnings("ignore")  # Python 2's pickles name parts of NumPy that are deprecated by now
def test_pythons_own_unpickler_reads_the_same_cifar_batch(monkeypatch, tmp_path):
    made = make("cifar10", monkeypatch)
    theirs = pickle.loads(made.files["cifar-10-batches-py/test_batch"], encoding="latin1")
    pixels, labels = made.splits["test"]
    np.testing.assert_array_equal(theirs["data"].reshape(-1, 3, 32, 32), pixels)
    assert theirs["labels"] == labels.tolist()


def test_digits_are_embedded_padded_and_split_for_good():
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1500, 297)
    assert train.event == (1, 16, 16)
    assert train.state == "embedded"
    both = torch.cat([train.images, test.images])
    assert both.max() == 255
    framed = both.clone()
    framed[:, :, 4:12, 4:12] = 0
    assert framed.max() == 0  # the frame of the 8x8 image is black
    assert torch.bincount(train.labels).min() > 130  # every class in both splits
    assert torch.bincount(test.labels).min() > 20
    assert train.sha256.startswith("020c3e5d599d9c9c")  # the split is part of the benchmark
    assert test.sha256.startswith("46fe593c8f7e74cc")


@pytest.mark.parametrize("name", FETCHED)
def test_a_choice_of_training_images_is_random_fixed_and_in_their_order(name, monkeypatch, tmp_path):
    make(name, monkeypatch).store(tmp_path)
    whole = load(name, "train", tmp_path)
    pixels = whole.images.flatten(1)
    few = whole.choose(15)
    places = [(pixels == image).all(1).nonzero().item() for image in few.images.flatten(1)]
    assert places == sorted(set(places)), "different ones, in the split's order"
    assert places != list(range(15)), "not merely the first"
    assert torch.equal(few.labels, whole.labels[places])
    assert (len(few), few.chosen, few.steps(10)) == (15, 15, 2)
    assert (few.sha256, few.facts) == (whole.sha256, whole.facts), "those of the whole split"
    assert torch.equal(few.images, load(name, "train", tmp_path).choose(15).images), "the same for every cell and seed"
    smaller = whole.choose(5).images.flatten(1)
    assert all((few.images.flatten(1) == image).all(1).any() for image in smaller)
    assert whole.choose(None) is whole
    assert torch.equal(whole.choose(TRAIN).images, whole.images)
    with pytest.raises(SintroError, match=f"training_images 41: {name} has 40 train images; legal are 1 to 40"):
        whole.choose(41)


def test_a_choice_of_training_images_has_every_class_as_often_as_chance_has_it():
    counts = torch.bincount(load("digits", "train").choose(500).labels)
    assert len(counts) == 10
    assert counts.min() > 30  # 50 each in the mean, standard deviation below 7
    assert counts.max() < 70


def test_pixels_are_in_zero_one_as_with_totensor():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    converted = to_float(every)
    assert converted.dtype == torch.float32
    assert (converted.min(), converted.max()) == (0, 1)
    torch.testing.assert_close(converted, every.float().div(255), rtol=0, atol=0)


def test_an_epoch_shows_every_image_once_and_keeps_the_last_batch():
    digits = load("digits", "train")
    batches = list(digits.batches(seed=0, epoch=3, batch_size=128))
    assert len(batches) == digits.steps(128) == 12
    assert len(batches[-1]) == 1500 - 11 * 128
    assert torch.cat(batches).sort().values.tolist() == list(range(1500))
    assert digits.batch(batches[0]).shape == (128, 1, 16, 16)


def test_the_order_is_a_function_of_seed_and_epoch():
    digits = load("digits", "train")
    assert torch.equal(digits.order(1, 2), digits.order(1, 2))
    others = [digits.order(1, 3), digits.order(2, 2), torch.arange(1500)]
    assert not any(torch.equal(digits.order(1, 2), other) for other in others)


def test_pseudo_inputs_are_different_images_and_never_more_than_there_are():
    test = load("digits", "test")
    drawn = test.draw(297, seed=0, stream="prior")
    assert len(drawn.flatten(1).unique(dim=0)) == len(test.batch(slice(None)).flatten(1).unique(dim=0))
    assert torch.equal(drawn[:10], test.draw(10, seed=0, stream="prior"))
    with pytest.raises(SintroError, match="298 components for the 297 training images of digits"):
        test.draw(298, seed=0, stream="prior")


def test_a_set_moves_between_devices_whole():
    moved = load("digits", "test").to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"


@pytest.mark.parametrize(("name", "message"), [("kmnist", "unknown image data set 'kmnist'"), ("MNIST", "'MNIST'")])
def test_names_that_only_torchvision_has(name, message):
    with pytest.raises(SintroError, match=message) as caught:
        load(name, "train")
    assert "digits, mnist, fmnist, cifar10, svhn" in str(caught.value)


def test_an_unknown_split():
    with pytest.raises(SintroError, match="unknown split 'validation' of mnist; there are train, test"):
        load("mnist", "validation")


@pytest.mark.parametrize("name", FETCHED)
def test_an_empty_folder(name, monkeypatch, tmp_path):
    make(name, monkeypatch)
    with pytest.raises(SintroError, match=f"files are missing, looked for in {tmp_path}") as caught:
        images.load(name, "train", tmp_path)
    assert f"sintro fetch {name} --data {tmp_path}" in str(caught.value)


@pytest.mark.parametrize("name", FETCHED)
def test_a_partial_folder_names_what_is_missing(name, monkeypatch, tmp_path):
    made = make(name, monkeypatch)
    made.store(tmp_path)
    *_, last = made.files
    (tmp_path / last).unlink()
    with pytest.raises(SintroError, match=f"1 of {len(made.files)} files are missing.*{last.split('/')[-1]}"):
        load(name, "train", tmp_path)


@pytest.mark.parametrize("name", FETCHED)
def test_a_corrupted_file_is_refused_before_it_is_parsed(name, monkeypatch, tmp_path):
    made = make(name, monkeypatch)
    made.store(tmp_path)
    first = tmp_path / next(iter(made.files))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    why = "its gzip stream is broken" if first.suffix == ".gz" else "its md5 is .*, published is "
    with pytest.raises(SintroError, match=f"{first} is corrupted \\({why}.*run: sintro fetch {name}"):
        load(name, "test", tmp_path)  # even for the split that does not need it


def test_a_locked_hash_that_no_longer_fits(monkeypatch, tmp_path):
    make("svhn", monkeypatch).store(tmp_path)
    sources.write_lock("svhn", tmp_path, {"train_32x32.mat": {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(
        SintroError, match=r"train_32x32.mat is corrupted \(its sha256 is .* the lock file says 000000000000"
    ):
        load("svhn", "train", tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"files": [1]}', '{"files": {"a": {"sha256": 1}}}'])
def test_a_damaged_lock_file(content, monkeypatch, tmp_path):
    make("svhn", monkeypatch).store(tmp_path)
    sources.lock_path("svhn", tmp_path).write_text(content)
    with pytest.raises(SintroError, match=r"svhn\.lock\.json is damaged; delete it"):
        load("svhn", "train", tmp_path)


def test_a_file_that_cannot_be_read(monkeypatch, tmp_path):
    make("svhn", monkeypatch).store(tmp_path)
    (tmp_path / "train_32x32.mat").unlink()
    (tmp_path / "train_32x32.mat").mkdir()
    with pytest.raises(SintroError, match=r"train_32x32\.mat is unreadable \(Is a directory\)"):
        load("svhn", "train", tmp_path)


def test_a_folder_that_cannot_be_read(monkeypatch, tmp_path):
    make("mnist", monkeypatch)
    (tmp_path / "MNIST").symlink_to(tmp_path / "MNIST")  # like a folder without permission, but for root too
    with pytest.raises(
        SintroError, match="unreadable \\(Too many levels of symbolic links\\); run: sintro fetch mnist"
    ):
        load("mnist", "train", tmp_path)


def test_the_published_tables_have_a_hash_and_an_address_for_every_file():
    for name in FETCHED:
        source = sources.source(name)
        for file in (source.archive,) if source.archive else source.files:
            assert file.urls, file
        for file in (*source.files, *filter(None, [source.archive])):
            assert len(bytes.fromhex(file.sha256 or file.md5)) == (32 if file.sha256 else 16), file
    with pytest.raises(SintroError, match="unknown image data set 'stl10'"):
        sources.source("stl10")


def test_decompressed_files_are_verified_by_the_same_hash(monkeypatch, tmp_path):
    made = make("mnist", monkeypatch)
    for path, content in made.files.items():
        plain = tmp_path / path.removesuffix(".gz")
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(gzip.decompress(content))
    read = load("mnist", "train", tmp_path)
    assert read.state == "verified"
    np.testing.assert_array_equal(read.images, made.splits["train"][0])


PIXELS, LABELS = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (
            idx(PIXELS)[:-1],
            idx(LABELS),
            "images is truncated or corrupted: its header promises 1,568 bytes, 1,567 follow",
        ),
        (idx(PIXELS)[:7], idx(LABELS), "no IDX file of bytes with 3 dimensions"),
        (b"", idx(LABELS), "no IDX file"),
        (idx(PIXELS), idx(PIXELS), "labels is truncated or corrupted: no IDX file of bytes with 1 dimensions"),
        (idx(PIXELS), idx(LABELS[:1]), "holds 2 images for 1 labels"),
        (idx(PIXELS), idx(LABELS + 10), "labels run from 10 to 10, expected 0 to 9"),
    ],
)
def test_broken_idx_files(pixels, labels, message, tmp_path):
    (tmp_path / "images").write_bytes(pixels)
    (tmp_path / "labels").write_bytes(labels)
    with pytest.raises(SintroError, match=message):
        formats.read_idx_pair(tmp_path / "images", tmp_path / "labels")


def test_truncated_gzip_and_what_is_no_gzip(tmp_path):
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx(LABELS)))
    for content in (gzip.compress(idx(PIXELS))[:-9], b"<html>not found</html>"):
        (tmp_path / "images.gz").write_bytes(content)
        with pytest.raises(SintroError, match=r"images\.gz is truncated or corrupted"):
            formats.read_idx_pair(tmp_path / "images.gz", tmp_path / "labels.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no CIFAR batch"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}), "no CIFAR batch \\(KeyError: 'labels'\\)"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [0, 1]}), "its images are float64"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}), "2 images for 1 labels"),
        (pickle.dumps(print), "its pickle asks for builtins.print, which no CIFAR batch needs"),
    ],
)
def test_broken_and_hostile_cifar_batches(content, message, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(SintroError, match=message):
        formats.read_cifar(tmp_path / "data_batch_1")


def test_batches_pickled_by_todays_python_are_read_too(tmp_path):
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": pixels, "labels": [3, 4]}, protocol=2))
    read, labels = formats.read_cifar(tmp_path / "batch")
    np.testing.assert_array_equal(read.reshape(2, 3072), pixels)
    assert labels.tolist() == [3, 4]


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"\0" * 1000])
def test_broken_mat_files(content, tmp_path):
    (tmp_path / "train.mat").write_bytes(content)
    with pytest.raises(SintroError, match=r"train\.mat is truncated or corrupted: no MATLAB file with X and y"):
        formats.read_svhn(tmp_path / "train.mat")


def test_a_truncated_mat_file(monkeypatch, tmp_path):
    content = make("svhn", monkeypatch).files["train_32x32.mat"]
    (tmp_path / "train.mat").write_bytes(content[: len(content) // 2])
    with pytest.raises(SintroError, match=r"train\.mat is truncated or corrupted"):
        formats.read_svhn(tmp_path / "train.mat")


def test_the_data_root(monkeypatch):
    monkeypatch.delenv("SINTRO_DATA", raising=False)
    assert str(sources.data_root()) == "data"
    monkeypatch.setenv("SINTRO_DATA", "/somewhere")
    assert str(sources.data_root()) == "/somewhere"
    assert str(sources.data_root("/option")) == "/option"
