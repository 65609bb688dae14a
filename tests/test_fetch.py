"""Fetching, against a web server on this machine: right, whole, once, and never half."""

import os
import tarfile
import threading
import time
from pathlib import Path

import pytest
from made_images import Server, left_over, make

from sintro import SintroError
from sintro.__main__ import _use_data
from sintro.basics import files
from sintro.basics.files import hash_file, locked, whole
from sintro.data import doctor, fetch, images, sources
from sintro.runs import doctor as machine

FETCHED = ["mnist", "fmnist", "cifar10", "svhn"]


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "SINTRO_INCEPTION"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        yield server


def made(name, monkeypatch, server):
    content = make(name, monkeypatch, server.address)
    server.contents.update(content.server)
    return content


def quiet(_):
    pass


@pytest.mark.parametrize("name", FETCHED)
def test_fetched_data_are_verified_and_loadable(name, monkeypatch, tmp_path, server):
    content = made(name, monkeypatch, server)
    fetch.fetch([name], tmp_path, quiet)
    for split in ("train", "test"):
        read = images.load(name, split, tmp_path)
        assert read.state == "verified"
        assert (read.images.numpy() == content.splits[split][0]).all()
    stored = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert stored == content.files | {f".{name}.lock": b""}  # no archive, no part of a file, nothing about them


def test_what_is_there_and_right_is_not_fetched_again(monkeypatch, tmp_path, server):
    content = made("mnist", monkeypatch, server)
    content.store(tmp_path)
    said = []
    fetch.fetch(["mnist"], tmp_path, said.append)
    assert server.requests == []
    assert said == ["mnist: all 4 files are there and right"]
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(content.files)


def test_a_wrong_lock_is_put_right_when_the_files_are(monkeypatch, tmp_path, server):
    content = made("svhn", monkeypatch, server)
    content.store(tmp_path)
    sources.write_lock("svhn", tmp_path, {"train_32x32.mat": {"sha256": "0" * 64, "bytes": 1}})
    fetch.fetch(["svhn"], tmp_path, quiet)
    assert images.load("svhn", "train", tmp_path).state == "verified"
    assert server.requests == []


def test_the_second_address_is_tried_when_the_first_has_nothing(monkeypatch, tmp_path, server):
    made("mnist", monkeypatch, server)
    fetch.fetch(["mnist"], tmp_path, quiet)
    assert server.asked_for("gone/train-images-idx3-ubyte.gz")  # the first mirror of the made tables
    assert server.asked_for("train-images-idx3-ubyte.gz")


def test_a_corrupted_file_is_replaced_only_by_a_right_one(monkeypatch, tmp_path, server):
    content = made("svhn", monkeypatch, server)
    content.store(tmp_path)
    damaged = tmp_path / "train_32x32.mat"
    damaged.write_bytes(b"damaged")
    server.contents["train_32x32.mat"] = b"an error page"
    with pytest.raises(SintroError, match=r"train_32x32.mat could not be fetched .*corrupted"):
        fetch.fetch(["svhn"], tmp_path, quiet)
    assert damaged.read_bytes() == b"damaged"
    server.contents.update(content.server)
    fetch.fetch(["svhn"], tmp_path, quiet)
    assert damaged.read_bytes() == content.files["train_32x32.mat"]
    assert left_over(tmp_path) == []


def test_a_truncated_download_is_not_stored_and_the_next_try_goes_on(monkeypatch, tmp_path, server):
    content = made("mnist", monkeypatch, server)
    first, *others = content.files
    (tmp_path / first).parent.mkdir(parents=True)
    (tmp_path / first).write_bytes(content.files[first])
    server.truncate = True
    with pytest.raises(SintroError, match=r"train-labels-idx1-ubyte.gz could not be fetched"):
        fetch.fetch(["mnist"], tmp_path, quiet)
    assert [path for path in others if (tmp_path / path).exists()] == []
    assert left_over(tmp_path) == []
    server.truncate = False
    fetch.fetch(["mnist"], tmp_path, quiet)
    assert not server.asked_for("train-images-idx3-ubyte.gz")
    assert len(images.load("mnist", "train", tmp_path)) == 40


def test_an_archive_that_is_there_needs_no_network_and_stays(monkeypatch, tmp_path, server):
    content = made("cifar10", monkeypatch, server)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content.server["cifar-10-python.tar.gz"])
    fetch.fetch(["cifar10"], tmp_path, quiet)
    assert server.requests == []
    assert len(images.load("cifar10", "test", tmp_path)) == 20
    assert (tmp_path / "cifar-10-python.tar.gz").exists()


def test_an_archive_whose_members_are_links_is_left_aside(monkeypatch, tmp_path, server):
    content = made("cifar10", monkeypatch, server)
    name, said = next(iter(content.files)), []
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, Path(name).name  # to itself
        archive.addfile(member)
    fetch.fetch(["cifar10"], tmp_path, said.append)
    assert said[0] == f"cifar10: {name} in {tmp_path / 'cifar-10-python.tar.gz'} is no regular file"
    assert len(images.load("cifar10", "test", tmp_path)) == 20


def test_two_at_once_fetch_once(monkeypatch, tmp_path, server):
    content = made("svhn", monkeypatch, server)
    said = [[], []]
    threads = [threading.Thread(target=fetch.fetch, args=(["svhn"], tmp_path, said[i].append)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.requests) == sorted(
        f"/{path}" for path in content.server for _ in "HG"
    )  # redirect check, body
    assert sum("svhn: all 2 files are there and right" in lines for lines in said) == 1


def test_without_network_it_is_one_line(monkeypatch, tmp_path):
    make("svhn", monkeypatch)  # the made address has no server
    with pytest.raises(SintroError, match=r"train_32x32.mat could not be fetched .*refused") as caught:
        fetch.fetch(["svhn"], tmp_path, quiet)
    assert "\n" not in str(caught.value)
    assert f"copy it to {tmp_path / 'train_32x32.mat'}" in str(caught.value)


def test_a_mirror_that_is_no_folder_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    for name, warned in (("file", True), ("missing", True), ("", False)):
        monkeypatch.setenv("SINTRO_DATA_MIRROR", str(tmp_path / name))
        said = []
        fetch.fetch(["digits"], tmp_path / "data", said.append)
        assert (f"SINTRO_DATA_MIRROR names {tmp_path / name}, which is no folder" in said[0]) == warned


def test_what_a_killed_fetch_left_goes_with_the_next_one(monkeypatch, tmp_path, server):
    content = made("mnist", monkeypatch, server)
    place = tmp_path / next(iter(content.files))
    left = place.parent / f".fetch-{place.name}-abc"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    fetch.fetch(["mnist"], tmp_path, quiet)
    assert place.exists()
    assert not left.exists()


def test_doctor_says_that_a_folder_cannot_be_read(tmp_path):
    rows = doctor.rows(tmp_path / ("long" * 100))  # a name that no file system takes
    assert {row.state for row in rows if row.path.startswith(str(tmp_path))} == {"unreadable"}


def test_a_data_root_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("a file")
    for name in ("mnist", "svhn", "inception"):
        with pytest.raises(SintroError, match=rf"{name}: the data root .*data is a file, but must be a folder"):
            fetch.fetch([name], tmp_path / "data", quiet)
    with pytest.raises(SintroError, match=r"mnist: the data root .*data is a file, but must be a folder"):
        images.load("mnist", "train", tmp_path / "data")
    with pytest.raises(SintroError, match=r"mnist: the data root .*data is a file, but must be a folder"):
        sources.missing_inception("mnist", tmp_path / "data")


@pytest.mark.parametrize("name", ["kmnist", "stl10", "Inception"])
def test_names_we_do_not_have(name, tmp_path):
    with pytest.raises(SintroError, match=f"cannot fetch '{name}'; there are digits, mnist, .*inception"):
        fetch.fetch(["digits", name], tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_without_names_gets_what_the_papers_tables_need_and_names_the_rest(monkeypatch, tmp_path):
    """Half a gigabyte of sets for translation, and networks for optional metrics, must be asked for."""
    got, said = [], []
    monkeypatch.setattr(fetch, "_fetch_dataset", lambda name, root, say: got.append(name))
    monkeypatch.setattr(fetch, "_fetch_weights", lambda name, root, say: got.append(name))
    fetch.fetch(root=tmp_path, say=said.append)
    assert got == [*FETCHED, "inception"]
    assert said == ["fetched only where they are named: cars3d, smallnorb, shapes3d, dinov2, lpips, vgg16"]
    fetch.fetch(["cars3d", "lpips"], tmp_path, said.append)
    assert got[5:] == ["cars3d", "lpips"]
    assert len(said) == 1


def test_digits_need_nothing(tmp_path):
    said = []
    fetch.fetch(["digits"], tmp_path, said.append)
    assert said == ["digits: embedded in scikit-learn, nothing to fetch"]


WEIGHTS = b"stands for Inception's weights"


@pytest.fixture
def weights(monkeypatch, tmp_path, server):
    """The server has a file that passes for the weights, and torch's hub is an empty folder."""
    from sintro.data.vision import fid_inception

    server.contents["weights.pth"] = WEIGHTS
    monkeypatch.setattr(fid_inception, "FID_WEIGHTS_URL", f"{server.address}/weights.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = tmp_path / "right"
    path.write_bytes(WEIGHTS)
    monkeypatch.setattr(sources, "INCEPTION_SHA256", hash_file(path)[:8])
    path.unlink()
    return tmp_path / "data" / "inception" / sources.INCEPTION_FILE


def test_inception_weights_are_fetched_checked_and_stored(weights, tmp_path, server):
    fetch.fetch(["inception"], tmp_path / "data", quiet)
    assert weights.read_bytes() == WEIGHTS
    assert sources.require_weights("inception", tmp_path / "data").path == weights
    fetch.fetch(["inception"], tmp_path / "data", quiet)
    assert len(server.requests) == 2  # one redirect check, one body
    assert left_over(tmp_path) == []


def test_unreachable_weights_name_where_to_copy_them(weights, tmp_path, server):
    server.contents.clear()
    with pytest.raises(SintroError, match=r"could not be fetched .*without a network, copy it to ") as caught:
        fetch.fetch(["inception"], tmp_path / "data", quiet)
    assert str(caught.value).endswith(str(weights))
    assert left_over(tmp_path) == []


def test_a_run_without_weights_is_told_what_it_lacks_and_one_with_wrong_weights_is_refused(weights, monkeypatch):
    root = weights.parents[1]
    told = sources.missing_inception("mnist", root)
    assert "without FID" in told
    assert f"sintro fetch inception --data {root}" in told
    assert sources.missing_inception("digits", root) is None
    weights.parent.mkdir(parents=True)
    weights.write_bytes(WEIGHTS[:5])
    assert sources.missing_inception("digits", root) is None
    with pytest.raises(SintroError, match="weights for FID are corrupted"):
        sources.missing_inception("mnist", root)
    weights.write_bytes(WEIGHTS)
    assert sources.missing_inception("mnist", root) is None
    monkeypatch.setenv("SINTRO_INCEPTION", str(root / "elsewhere"))
    with pytest.raises(SintroError, match="weights for FID are missing"):
        sources.missing_inception("mnist", root)


def test_doctors_table_shows_path_hash_size_and_the_command(weights, monkeypatch, tmp_path, server):
    root = tmp_path / "data"
    for name in FETCHED:
        made(name, monkeypatch, server)
    fetch.fetch(["svhn"], root, quiet)
    (root / "test_32x32.mat").write_bytes(b"damaged")
    monkeypatch.setenv("SINTRO_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    checks = machine._data()
    fine, damaged = (check for check in checks if check.what == "svhn")
    train = root / "train_32x32.mat"
    assert fine.state == "ok"
    for part in ("verified", str(train), hash_file(train), f"{train.stat().st_size:,} bytes"):
        assert part in fine.found
    assert damaged.state == "bad"
    assert f"sintro fetch svhn --data {root}" in damaged.found
    (mnist,) = (check for check in checks if check.what == "mnist")
    assert mnist.found.startswith(f"missing: {root}")
    assert "and 3 more" in mnist.found


def test_other_weights_are_refused(weights, tmp_path, server):
    server.contents["weights.pth"] = b"something else"
    with pytest.raises(SintroError, match=r"could not be fetched .*weights.pth: corrupted, its sha256 begins with "):
        fetch.fetch(["inception"], tmp_path / "data", quiet)
    assert not weights.exists()


def test_weights_that_stand_elsewhere_are_used_where_they_are(weights, monkeypatch, tmp_path):
    named = tmp_path / "named.pth"
    named.write_bytes(WEIGHTS)
    monkeypatch.setenv("SINTRO_INCEPTION", str(named))
    fetch.fetch(["inception"], tmp_path / "data", quiet)
    assert not (tmp_path / "data").exists()
    named.write_bytes(b"other")  # what was asked for is not replaced, and counts as not fetched
    with pytest.raises(SintroError, match=r"SINTRO_INCEPTION names .*named.pth, which is corrupted"):
        fetch.fetch(["inception"], tmp_path / "data", quiet)


def test_inception_weights_are_looked_for_in_three_places(weights, monkeypatch, tmp_path):
    root = tmp_path / "data"
    with pytest.raises(SintroError, match=r"Inception weights for FID are missing .*sintro fetch inception") as caught:
        sources.require_weights("inception", root)
    hub = tmp_path / "torch" / "hub" / "checkpoints" / sources.INCEPTION_FILE
    assert str(weights) in str(caught.value)
    assert str(hub) in str(caught.value)
    for place in (hub, weights):  # each goes before the one before it
        place.parent.mkdir(parents=True)
        place.write_bytes(WEIGHTS)
        assert sources.require_weights("inception", root).path == place
    named = tmp_path / "named.pth"
    monkeypatch.setenv("SINTRO_INCEPTION", str(named))
    with pytest.raises(SintroError, match=r"missing \(looked for: .*named.pth\)"):  # what was asked for is not replaced
        sources.require_weights("inception", root)
    named.write_bytes(WEIGHTS[:-1])
    with pytest.raises(
        SintroError, match=r"Inception weights for FID are corrupted .*named.pth: its sha256 begins with"
    ):
        sources.require_weights("inception", root)


def test_the_real_hash_is_the_one_in_the_real_name():
    assert f"-{sources.INCEPTION_SHA256}.pth" in sources.INCEPTION_FILE
    from sintro.data.vision import fid_inception

    assert fid_inception.FID_WEIGHTS_URL.endswith(f"/{sources.INCEPTION_FILE}")


def test_doctor_has_a_row_for_every_file(weights, monkeypatch, tmp_path, server):
    root = tmp_path / "data"
    for name in FETCHED:
        made(name, monkeypatch, server)
    fetch.fetch(["svhn"], root, quiet)
    (root / "test_32x32.mat").write_bytes(b"damaged")
    rows = doctor.rows(root, tmp_path / "results")
    counts = {"digits": 1, "solids": 1, "mnist": 4, "fmnist": 4, "cifar10": 6, "svhn": 2, "Inception weights": 1}
    counts |= {"cars3d": 1, "smallnorb": 6, "shapes3d": 1, "kth": 1, "DINOv2 weights": 1}
    counts |= {"AlexNet weights for LPIPS": 1, "VGG-16 weights for reconstruction errors": 1}
    counts |= {"reference statistics": 1, "celeba-128": 1, "celebahq-256": 1, "ffhq-256": 1}
    assert {row.what: sum(other.what == row.what for other in rows) for row in rows} == counts
    by_file = {os.path.basename(row.path): row for row in rows}
    fine, damaged = by_file["train_32x32.mat"], by_file["test_32x32.mat"]
    assert (fine.state, fine.present, fine.command) == ("verified", True, "")
    assert fine.sha256 == hash_file(root / "train_32x32.mat")
    assert fine.bytes == (root / "train_32x32.mat").stat().st_size
    assert (damaged.state, damaged.command) == ("corrupted", f"sintro fetch svhn --data {root}")
    assert by_file["data_batch_3"].state == "missing"
    assert not by_file["data_batch_3"].present
    assert by_file[sources.INCEPTION_FILE].command.startswith("sintro fetch inception")
    assert by_file[sources.LPIPS_FILE].command.startswith("sintro fetch lpips")
    sources.lock_path("svhn", root).write_text("{")
    assert [row.state for row in doctor.rows(root) if row.what == "svhn"] == ["corrupted"]


def _interrupted(path):
    path.write_text("half")
    raise KeyboardInterrupt


def test_whole_files_or_none(tmp_path):
    path = tmp_path / "folder" / "file"
    with whole(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), whole(path) as temporary:
        _interrupted(temporary)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most = [], []

    def work(number):
        with locked(tmp_path / "thing"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.005)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_file_system_without_locks_is_no_obstacle(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(files.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with locked(tmp_path / "thing"):
        pass


def test_the_home_of_nobody_is_a_folder_that_is_missing(monkeypatch):
    monkeypatch.setenv("SINTRO_INCEPTION", "~nobody-of-this-name/inception.pth")
    assert sources.data_root("~nobody-of-this-name/data") == Path("~nobody-of-this-name/data")
    with pytest.raises(SintroError, match=r"Inception weights for FID are missing \(looked for: ~nobody-of-this-name/"):
        sources.require_weights(sources.INCEPTION, sources.data_root())
    monkeypatch.delenv("SINTRO_DATA", raising=False)
    assert _use_data("~nobody-of-this-name/data") == os.environ.pop("SINTRO_DATA")
