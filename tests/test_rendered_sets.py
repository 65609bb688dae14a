"""The published sets of images with factors, from their files to a cell's data: fetch, doctor, splits, truths."""

import made_rendered
import numpy as np
import pytest
from made_images import Server, left_over

from sintro import SintroError
from sintro.cells.components import dataset
from sintro.data import doctor, factors, fetch, images, rendered_sets, sources

FETCHED = ["cars3d", "smallnorb", "shapes3d"]


@pytest.fixture
def server(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as server:
        yield server


def made(name, monkeypatch, folder, server):
    if name == "shapes3d":
        pytest.importorskip("h5py")
    content = made_rendered.make(name, monkeypatch, folder, server.address)
    server.contents.update(content.server)
    return content


def quiet(_):
    pass


@pytest.mark.parametrize("name", FETCHED)
def test_a_set_is_fetched_verified_and_parted_by_class(name, monkeypatch, tmp_path, server):
    content, one, root = made(name, monkeypatch, tmp_path, server), dataset(name), tmp_path / "data"
    fetch.fetch([name], root, quiet)
    stored = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert stored == content.files | {f".{name}.lock": b""}
    every = factors.load(name, root)
    assert every.train.state == "verified"
    assert every.train.facts.verified is True
    assert every.images.shape == (one.classes * one.contents, *one.event)
    assert len(every.train) == one.size
    assert set(every.classes[~every.is_seen].tolist()) == set(one.unseen)
    assert (every.where >= 0).all()  # every class has been seen in every content
    for values in one.traits.values():
        assert len(values) >= one.classes


@pytest.mark.parametrize("name", FETCHED)
def test_a_copy_in_the_mirror_needs_no_network(name, monkeypatch, tmp_path, server):
    content = made(name, monkeypatch, tmp_path, server)
    mirror = tmp_path / "mirror"
    for file, data in content.server.items():
        (mirror / dataset(name).folders[-1]).mkdir(parents=True, exist_ok=True)
        (mirror / dataset(name).folders[-1] / file).write_bytes(data)
    monkeypatch.setenv("SINTRO_DATA_MIRROR", str(mirror))
    fetch.fetch([name], tmp_path / "data", quiet)
    assert server.requests == []
    assert all(state.state == "verified" for state in sources.states(name, tmp_path / "data"))


@pytest.mark.parametrize("name", FETCHED)
def test_truncated_and_foreign_files_are_refused_in_a_line(name, monkeypatch, tmp_path, server):
    content, root = made(name, monkeypatch, tmp_path, server), tmp_path / "data"
    content.store(root)
    path = root / next(iter(content.files))
    whole = path.read_bytes()
    foreign = whole[:-1] + bytes([whole[-1] ^ 1])
    known = sources.source(name).files[0].size is not None
    for wrong, why in ((whole[:-10], "truncated, it has" if known else "its md5 is"), (foreign, "published is")):
        path.write_bytes(wrong)
        with pytest.raises(
            SintroError, match=rf"{name}: .*{path.name} is corrupted .*{why}.*sintro fetch {name}"
        ) as caught:
            images.load(name, "train", root)
        assert "\n" not in str(caught.value)
        row = next(row for row in doctor.rows(root) if row.path == str(path.resolve()))
        assert (row.what, row.state, row.command) == (name, "corrupted", f"sintro fetch {name} --data {root}")
    server.contents[path.name] = foreign
    with pytest.raises(SintroError, match=rf"{path.name} could not be fetched .*corrupted"):
        fetch.fetch([name], root, quiet)
    server.contents[path.name] = whole
    fetch.fetch([name], root, quiet)
    assert path.read_bytes() == whole
    assert left_over(root) == []


def test_files_of_another_number_of_images_are_refused(monkeypatch, tmp_path, server):
    content = made("cars3d", monkeypatch, tmp_path, server)
    content.store(tmp_path)
    monkeypatch.setattr(dataset("cars3d"), "classes", 4)
    with pytest.raises(SintroError, match=r"holds 288 images of 3 classes and 96 contents, expected 384 of 4 and 96"):
        images.load("cars3d", "train", tmp_path)


def test_the_published_splits_are_seeded_choices():
    cars = dataset("cars3d")
    assert cars.unseen == tuple(sorted(np.random.RandomState(0).permutation(183)[:20].tolist()))
    assert cars.size == 163 * 96
    norb = dataset("smallnorb")
    assert (norb.size, norb.classes * norb.contents) == (48_600, 97_200)
    assert len({toy for number, toy in enumerate(norb.traits["toy"]) if number in norb.unseen}) == 25
    shapes = dataset("shapes3d")
    assert sorted(shapes.traits["shape"][number] for number in shapes.unseen) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sources.source("smallnorb").files[0].size == 131_896_188
    assert [len(file.sha256) for file in sources.source("smallnorb").files] == [64] * 6
    assert rendered_sets.CARS3D_MD5 == "4e866a7919c1beedf53964e6f7a23686"


def test_doctor_says_what_reads_3d_shapes(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (row,) = (row for row in doctor.rows(tmp_path) if row.what == "shapes3d")
    assert (row.state, row.reason) == ("missing", "the package h5py is missing")
    monkeypatch.setattr(sources, "states", lambda name, root: [sources.FileState(tmp_path, "verified")])
    (row,) = (row for row in doctor.rows(tmp_path) if row.what == "shapes3d")
    assert (row.state, row.command) == ("verified", "pip install sintro[shapes3d]")


def test_frames_of_ones_own_are_unverified_and_have_no_contents(monkeypatch, tmp_path):
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path))
    (row,) = (row for row in doctor.rows() if row.what == "kth")
    assert (row.state, row.command) == ("missing", "")
    with pytest.raises(SintroError, match=r"kth/handwaving cannot be read: No such file"):
        images.load("kth", "train")
    place = tmp_path / "kth" / "handwaving"
    made_rendered.frames(place, [f"person{number:02}" for number in range(1, 25)], 2)
    with pytest.raises(SintroError, match=r"holds frames of 24 persons, KTH has 25"):
        images.load("kth", "train")
    made_rendered.frames(place, ["person25"], 5)
    every = factors.load("kth")
    assert every.contents is None
    assert every.train.facts.verified is False
    assert len(every.train) == dataset("kth").size == 40
    assert set(every.classes[~every.is_seen].tolist()) == {20, 21, 22, 23, 24}
    (row,) = (row for row in doctor.rows() if row.what == "kth")
    assert (row.state, row.path) == ("unverified", str(place))
