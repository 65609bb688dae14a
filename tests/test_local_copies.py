"""Data that lie on this machine already: verified by content, taken over without a network, read without writing."""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from made_images import TEST, TRAIN, idx, make, tar

from sintro import SintroError
from sintro.data import doctor, fetch, images, places, published, sources
from sintro.data.vision import torchvision
from sintro.runs import doctor as machine

REAL = Path("/usr/share/datasets/fashion-mnist")
NOBODY = 65534
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"Debian's package dataset-fashion-mnist is not in {REAL}")


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, tmp_path_factory):
    """No copies but those that a test makes, and no network."""
    monkeypatch.setattr(places, "DEBIAN", tmp_path_factory.mktemp("debian"))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv(places.MIRROR, raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", _no_network)


def _no_network(url, *_):
    raise OSError(f"no network for {url}")


def fetched(name, root):
    said = []
    fetch.fetch([name], root, said.append)
    return said


def plain(content):
    """The files of a made IDX set, decompressed."""
    return {path.removesuffix(".gz"): gzip.decompress(data) for path, data in content.files.items()}


def store(files, root):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


# --- content, not container


@real
def test_debians_fashion_mnist_is_the_published_content(tmp_path):
    """The md5 sums of its .gz files are not the published ones: another gzip header."""
    (tmp_path / "FashionMNIST").mkdir()
    (tmp_path / "FashionMNIST" / "raw").symlink_to(REAL)
    for split, count in (("train", 60_000), ("test", 10_000)):
        read = images.load("fmnist", split, tmp_path)
        assert read.state == "verified"
        assert read.images.shape == (count, 1, 28, 28)
        assert read.labels.bincount().tolist() == [count // 10] * 10
    published_md5 = dict(torchvision.datasets.FashionMNIST.resources)
    differs = {
        name: hashlib.md5((REAL / name).read_bytes(), usedforsecurity=False).hexdigest() != md5
        for name, md5 in published_md5.items()
    }
    assert any(differs.values())


@real
def test_the_real_archive_needs_no_network_and_is_taken_over_plain_or_compressed(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "DEBIAN", REAL.parent)
    said = fetched("fmnist", tmp_path / "data")
    assert len(said) == 4
    for line in said:
        assert line.startswith(("fmnist: copied /usr/share", "fmnist: linked /usr/share"))
    assert fetched("fmnist", tmp_path / "data") == ["fmnist: all 4 files are there and right"]
    unpacked = tmp_path / "plain" / "FashionMNIST" / "raw"
    unpacked.mkdir(parents=True)
    for path in REAL.glob("*.gz"):
        (unpacked / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert fetched("fmnist", tmp_path / "plain") == ["fmnist: all 4 files are there and right"]
    before = images.load("fmnist", "train", tmp_path / "data").facts
    assert images.load("fmnist", "train", tmp_path / "plain").facts == before
    # FashionMNIST under MNIST's name: recognised, not merely another content
    shutil.copytree(unpacked.parent, tmp_path / "digits" / "MNIST")
    with pytest.raises(SintroError, match=r"is wrong \(its content is fmnist's train-images-idx3-ubyte\)"):
        images.load("mnist", "train", tmp_path / "digits")


@pytest.mark.parametrize("level", [1, 9])
def test_any_gzip_of_the_content_is_verified(level, monkeypatch, tmp_path):
    content = make("mnist", monkeypatch)
    other = {path: gzip.compress(gzip.decompress(data), level, mtime=level) for path, data in content.files.items()}
    assert set(other.values()).isdisjoint(content.files.values())
    store(other, tmp_path)
    assert images.load("mnist", "test", tmp_path).state == "verified"


def test_the_tables_have_the_shapes_of_the_published_sets():
    assert published.IDX_SHAPES == {
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }
    hashes = [sha256 for files in published.IDX_SHA256.values() for sha256 in files.values()]
    assert len(set(hashes)) == 8
    assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in hashes)


def test_a_right_plain_file_stands_in_for_a_broken_compressed_one(monkeypatch, tmp_path):
    content = make("mnist", monkeypatch)
    store(plain(content), tmp_path)
    store(dict.fromkeys(content.files, b"cut off"), tmp_path)
    assert images.load("mnist", "train", tmp_path).state == "verified"


# --- what is not as its name says, before anything trains


def other_set(train, test, size=28, seed=7):
    """Well-formed IDX files of other content than any published: {file name: bytes}."""
    drawn = np.random.RandomState(seed)
    found = {}
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = drawn.randint(0, 256, (count, size, size), dtype=np.uint8)
        found[f"{prefix}-images-idx3-ubyte"] = idx(pixels)
        found[f"{prefix}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_other_content_of_the_right_shape_is_unverified_whatever_it_is_packed_in(packed, monkeypatch, tmp_path):
    make("fmnist", monkeypatch)
    for name, content in other_set(TRAIN, TEST).items():
        name, content = (f"{name}.gz", gzip.compress(content)) if packed else (name, content)
        store({f"FashionMNIST/raw/{name}": content}, tmp_path)
    read = images.load("fmnist", "train", tmp_path)
    assert read.state == "unverified"
    assert read.facts.recorded()["data_verified"] is False
    assert "train-images-idx3-ubyte" in read.facts.recorded()["data_unverified"]
    (said,) = fetched("fmnist", tmp_path)
    assert "unverified" in said
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path))
    checks = [check for check in machine._data() if check.what == "fmnist"]
    assert {check.found.partition(":")[0]: check.state for check in checks} == {"verified": "ok", "unverified": "note"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 32}, r"is wrong \(its shape is 40 x 32 x 32, published is 40 x 28 x 28\)"),
        ({"train": 39}, r"is wrong \(its shape is 39 x 28 x 28, published is 40 x 28 x 28\)"),
        ({"test": 0}, r"t10k-images-idx3-ubyte is wrong \(its shape is 0 x 28 x 28, published is 20 x 28 x 28\)"),
        ({"train": TEST, "test": TRAIN}, r"is wrong \(its shape is 20 x 28 x 28"),
    ],
)
def test_another_shape_or_count_is_refused_for_both_splits(change, said, monkeypatch, tmp_path):
    make("fmnist", monkeypatch)
    files = other_set(**({"train": TRAIN, "test": TEST} | change))
    store({f"FashionMNIST/raw/{name}": content for name, content in files.items()}, tmp_path)
    for split in images.SPLITS:
        with pytest.raises(SintroError, match=said):
            images.load("fmnist", split, tmp_path)
    row = next(row for row in doctor.rows(tmp_path, tmp_path / "results") if row.state == "wrong")
    assert row.command == f"sintro fetch fmnist --data {tmp_path}"


def test_swapped_and_empty_test_files_are_refused_before_training(monkeypatch, tmp_path):
    content = plain(make("fmnist", monkeypatch))
    pixels, labels = "FashionMNIST/raw/t10k-images-idx3-ubyte", "FashionMNIST/raw/t10k-labels-idx1-ubyte"
    store(content | {pixels: content[labels], labels: content[pixels]}, tmp_path)
    with pytest.raises(SintroError, match=r"t10k-images-idx3-ubyte is wrong \(its content is \w+'s t10k-labels-idx1-u"):
        images.load("fmnist", "train", tmp_path)
    store(content | {pixels: b""}, tmp_path)
    with pytest.raises(SintroError, match=r"t10k-images-idx3-ubyte is corrupted \(no IDX file"):
        images.load("fmnist", "train", tmp_path)


def test_unverified_labels_of_the_test_split_are_read_before_training(monkeypatch, tmp_path):
    content = plain(make("fmnist", monkeypatch))
    content["FashionMNIST/raw/t10k-labels-idx1-ubyte"] = idx(np.full(TEST, 10))
    store(content, tmp_path)
    with pytest.raises(SintroError, match="labels run from 10 to 10, expected 0 to 9"):
        images.load("fmnist", "train", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is no gzip file: it is empty"),
        (b"<html>not found</html>", "it is no gzip file but a web page"),
        (b"PK\x03\x04", "it is no gzip file but something that begins with b'PK"),
        (idx(np.zeros((1, 28, 28))), "it is no gzip file but the plain one: take .gz off its name"),
    ],
)
def test_a_gz_that_is_no_gzip_says_so(content, said, monkeypatch, tmp_path):
    made = make("mnist", monkeypatch)
    made.store(tmp_path)
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(SintroError) as caught:
        images.load("mnist", "train", tmp_path)
    assert f"t10k-images-idx3-ubyte.gz is corrupted ({said}" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- copies elsewhere


LAYOUTS = {
    "torchvision": "FashionMNIST/raw/{}",
    "debian": "fashion-mnist/{}",
    "near": "Fashion-MNIST/{}",
    "ours": "fmnist/raw/{}",
    "flat": "{}",
}


ELSEWHERE = [(place, layout) for place in ("mirror", "here", "home", "debian", "root") for layout in LAYOUTS]
ELSEWHERE.remove(("root", "torchvision"))  # that is the data root's own layout


@pytest.mark.parametrize(("place", "layout"), ELSEWHERE)
@pytest.mark.parametrize("packed", [True, False])
def test_a_copy_on_this_machine_is_taken_before_a_network_is_asked(place, layout, packed, monkeypatch, tmp_path):
    content = make("fmnist", monkeypatch)
    mirror = tmp_path / "mirror"
    mirror.mkdir(exist_ok=True)
    monkeypatch.setenv(places.MIRROR, str(mirror))
    roots = {"mirror": mirror, "here": Path("data"), "home": Path("~/data").expanduser(), "debian": places.DEBIAN}
    base = roots.get(place, tmp_path / "root")
    files = content.files if packed else plain(content)
    store({LAYOUTS[layout].format(Path(path).name): data for path, data in files.items()}, base)
    said = fetched("fmnist", tmp_path / "root")
    assert len(said) == 4
    assert all(line.startswith(("fmnist: linked ", "fmnist: copied ")) for line in said)
    assert images.load("fmnist", "train", tmp_path / "root").state == "verified"


def test_a_file_that_cannot_be_linked_is_copied_and_its_mode_stays(monkeypatch, tmp_path):
    content = make("fmnist", monkeypatch)
    store(content.files, tmp_path / "mirror")
    monkeypatch.setenv(places.MIRROR, str(tmp_path / "mirror"))
    for path in (tmp_path / "mirror").rglob("*.gz"):
        path.chmod(0o444)

    def refuse(*_, **__):
        raise OSError("another file system")

    monkeypatch.setattr(fetch.os, "link", refuse)
    assert all(line.startswith("fmnist: copied ") for line in fetched("fmnist", tmp_path / "data"))
    assert images.load("fmnist", "train", tmp_path / "data").state == "verified"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "mirror").rglob("*.gz")} == {0o444}


def test_a_wrong_copy_elsewhere_is_passed_over(monkeypatch, tmp_path):
    content = make("fmnist", monkeypatch)
    store({f"fmnist/{name}": data for name, data in other_set(TRAIN, TEST).items()}, places.DEBIAN)
    with pytest.raises(SintroError, match=r"could not be fetched .*no network") as caught:
        fetched("fmnist", tmp_path)
    assert f"copy it to {tmp_path / next(iter(content.files))}" in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_the_advice_is_never_to_copy_a_file_to_where_it_lies(name, monkeypatch, tmp_path):
    content = make(name, monkeypatch)
    content.store(tmp_path)
    first = next(iter(content.files))
    (tmp_path / first).write_bytes(b"broken")
    with pytest.raises(SintroError, match="could not be fetched") as caught:
        fetched(name, tmp_path)
    assert "copy it to" not in str(caught.value)
    assert f"put the right one in the place of {tmp_path / first}" in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fmnist", "cifar10", "svhn"])
def test_near_names_get_a_hint_that_works(name, monkeypatch, tmp_path):
    content = make(name, monkeypatch)
    near = {"mnist": "mnist", "fmnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "svhn": "SVHN"}[name]
    store({f"{near}/{Path(path).name}": data for path, data in content.files.items()}, tmp_path)
    with pytest.raises(SintroError, match=rf"{tmp_path / near}/.* is there, and fetching takes it over") as caught:
        images.load(name, "train", tmp_path)
    assert "where there is a network" not in str(caught.value)
    fetched(name, tmp_path)
    assert images.load(name, "train", tmp_path).state == "verified"


# --- an archive that lies beside


def test_an_archive_that_lies_beside_is_named_and_its_members_count_however_it_is_packed(monkeypatch, tmp_path):
    content = make("cifar10", monkeypatch)
    members = {Path(path).name: data for path, data in content.files.items()}
    repacked = gzip.compress(gzip.decompress(tar("cifar-10-batches-py", members)), mtime=99)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(repacked)
    with pytest.raises(
        SintroError, match=r"cifar-10-python.tar.gz is there, and fetching unpacks it without a network"
    ):
        images.load("cifar10", "train", tmp_path)
    fetched("cifar10", tmp_path)
    assert images.load("cifar10", "test", tmp_path).state == "verified"
    assert (tmp_path / "cifar-10-python.tar.gz").read_bytes() == repacked


@pytest.mark.parametrize("content", [b"no archive", b"\x1f\x8b\x08 cut", tar("cifar-10-batches-py", {"a": b""})])
def test_a_broken_archive_that_lies_beside_is_named_and_stays(content, monkeypatch, tmp_path):
    make("cifar10", monkeypatch)
    beside = tmp_path / "cifar-10-python.tar.gz"
    beside.write_bytes(content)
    said = []
    with pytest.raises(SintroError, match="could not be fetched") as caught:
        fetch.fetch(["cifar10"], tmp_path, said.append)
    assert said[0].startswith(f"cifar10: {beside} ")
    assert str(caught.value).endswith(f"put the right one in the place of {beside}")
    assert beside.read_bytes() == content


def test_without_archive_and_network_the_archive_is_what_is_to_be_copied(monkeypatch, tmp_path):
    make("cifar10", monkeypatch)
    with pytest.raises(SintroError, match=r"^cifar-10-python.tar.gz could not be fetched") as caught:
        fetched("cifar10", tmp_path)
    assert str(caught.value).endswith(f"copy it to {tmp_path / 'cifar-10-python.tar.gz'}")


# --- reading needs no writing


@pytest.fixture
def readers(monkeypatch):
    """A folder that everybody can reach, and a context in which nothing but reading is allowed, also for root."""
    folder = Path(tempfile.mkdtemp(prefix="sintro-data-"))
    folder.chmod(0o755)

    @contextlib.contextmanager
    def reading():
        for path in [*folder.rglob("*"), folder]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)
            for path in [folder, *folder.rglob("*")]:
                path.chmod(path.stat().st_mode | 0o700)

    yield folder, reading
    shutil.rmtree(folder)


def test_the_reader_of_these_tests_really_cannot_write(readers):
    folder, reading = readers
    with reading(), pytest.raises(PermissionError):
        (folder / "file").write_text("")


@pytest.mark.parametrize("name", ["mnist", "fmnist", "cifar10", "svhn"])
def test_a_complete_read_only_root_is_enough(name, monkeypatch, readers):
    folder, reading = readers
    content = make(name, monkeypatch)
    content.store(folder)
    sources.source(name)  # the made tables are read from this test's imports, not by the reader
    with reading():
        assert fetched(name, folder) == [f"{name}: all {len(content.files)} files are there and right"]
        assert images.load(name, "train", folder).state == "verified"


def test_a_complete_read_only_root_of_plain_files_is_enough(monkeypatch, readers):
    folder, reading = readers
    store(plain(make("mnist", monkeypatch)), folder)
    with reading():
        assert fetched("mnist", folder) == ["mnist: all 4 files are there and right"]


def test_an_incomplete_read_only_root_says_what_cannot_be_stored(monkeypatch, readers):
    folder, reading = readers
    content = make("mnist", monkeypatch)
    content.store(folder)
    (folder / next(iter(content.files))).unlink()
    with reading(), pytest.raises(SintroError, match=rf"mnist: cannot store into {folder}: Permission denied"):
        fetched("mnist", folder)


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("name", ["mnist", "svhn"])
def test_a_permission_error_names_what_could_not_be_read(name, what, monkeypatch, readers):
    folder, reading = readers
    content = make(name, monkeypatch)
    content.store(folder / "data")
    hidden = folder / "data" / next(iter(content.files))
    (hidden if what == "file" else hidden.parent).chmod(0)
    with reading():
        with pytest.raises(
            SintroError, match=rf"{hidden} is unreadable \(Permission denied\); ask its owner"
        ) as caught:
            images.load(name, "train", folder / "data")
        assert "fetch" not in str(caught.value)
        with pytest.raises(SintroError, match=rf"{hidden} cannot be read: Permission denied"):
            fetched(name, folder / "data")


def test_read_only_weights_elsewhere_are_enough(monkeypatch, readers):
    folder, reading = readers
    weights = folder / sources.INCEPTION / sources.INCEPTION_FILE
    store({f"{sources.INCEPTION}/{sources.INCEPTION_FILE}": b"weights"}, folder)
    monkeypatch.setattr(sources, "INCEPTION_SHA256", hashlib.sha256(b"weights").hexdigest()[:8])
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    with reading():
        assert fetched("inception", folder) == [f"inception: {weights} is there and right"]


def test_weights_in_the_mirror_are_taken_over_and_wrong_ones_are_never_to_be_copied_again(monkeypatch, tmp_path):
    right = hashlib.sha256(b"weights").hexdigest()[:8]
    monkeypatch.setattr(sources, "INCEPTION_SHA256", right)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv(places.MIRROR, str(tmp_path / "mirror"))
    store({sources.INCEPTION_FILE: b"weights"}, tmp_path / "mirror")
    target = tmp_path / "data" / sources.INCEPTION / sources.INCEPTION_FILE
    store({f"{sources.INCEPTION}/{sources.INCEPTION_FILE}": b"broken"}, tmp_path / "data")
    with pytest.raises(SintroError, match=f"corrupted .*{target}.*delete it and run") as caught:
        sources.require_weights("inception", tmp_path / "data")
    assert "copy" not in str(caught.value).replace("a right copy", "")
    assert fetched("inception", tmp_path / "data")[0].startswith("inception: linked ")
    assert target.read_bytes() == b"weights"


def test_a_mat_file_saved_again_is_another_file(monkeypatch, tmp_path):
    """A MATLAB file has no checksum of its own, so only the published bytes are known to be whole."""
    made = make("svhn", monkeypatch)
    made.store(tmp_path)
    fields = scipy.io.loadmat(tmp_path / "train_32x32.mat", variable_names=("X", "y"))
    scipy.io.savemat(tmp_path / "train_32x32.mat", {"y": fields["y"], "X": fields["X"]})
    with pytest.raises(SintroError, match=r"train_32x32.mat is corrupted \(its md5 is"):
        images.load("svhn", "test", tmp_path)


def test_an_archive_that_cannot_be_read_is_named_and_the_next_one_is_taken(monkeypatch, tmp_path):
    content = make("cifar10", monkeypatch)
    members = {Path(path).name: data for path, data in content.files.items()}
    root, mirror = tmp_path / "data", tmp_path / "mirror"
    for folder in (root, mirror):
        folder.mkdir()
        (folder / "cifar-10-python.tar.gz").write_bytes(tar("cifar-10-batches-py", members))
    monkeypatch.setenv("SINTRO_DATA_MIRROR", str(mirror))
    hidden, opened = mirror / "cifar-10-python.tar.gz", tarfile.open

    def open_(path):
        if path == hidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path)

    monkeypatch.setattr(fetch.tarfile, "open", open_)
    said = fetched("cifar10", root)
    assert said[0] == f"cifar10: {hidden} cannot be read: Permission denied"
    assert images.load("cifar10", "train", root).state == "verified"
