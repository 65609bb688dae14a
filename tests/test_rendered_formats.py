"""The formats of images with factors, each against arrays that were written in it; and resizing by area."""

import sys

import made_rendered as made
import numpy as np
import pytest
import torch

from sintro import SintroError
from sintro.data import rendered_formats as formats
from sintro.data.area import resize_area


def area_mean(image, new):
    """Repeat each pixel, then take means of whole blocks: the mean by area, in whole numbers."""
    old = len(image)
    fine = image.repeat(new, 0).repeat(new, 1).astype(np.int64)
    return fine.reshape(new, old, new, old).sum((1, 3)) / old**2


@pytest.mark.parametrize(("old", "new"), [(96, 64), (128, 64), (100, 64), (64, 64), (7, 3)])
def test_resizing_takes_the_mean_over_each_new_pixels_area(old, new):
    image = np.random.RandomState(old).randint(0, 256, (old, old), dtype=np.uint8)
    assert np.array_equal(resize_area(image, new, new), np.floor(area_mean(image, new) + 0.5))


def test_resizing_by_half_is_average_pooling_and_keeps_leading_axes():
    images = np.random.RandomState(0).randint(0, 256, (2, 3, 12, 8), dtype=np.uint8)
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(images).double(), 2).numpy()
    assert np.array_equal(resize_area(images, 6, 4), np.floor(pooled + 0.5))
    assert np.array_equal(resize_area(np.full((1, 256, 256), 255, np.uint8), 64, 65), np.full((1, 64, 65), 255))
    with pytest.raises(SintroError, match=r"images of 32 x 64 pixels cannot be made 64 x 64: legal are 64 to 256 rows"):
        resize_area(np.zeros((32, 64), np.uint8), 64, 64)


@pytest.fixture
def cars():
    return {"car_001_mesh": made.car(1), "car_011_mesh": made.car(2)}


def test_cars3d_is_read_in_the_order_of_its_list(cars, tmp_path):
    path = tmp_path / "nips2015-analogy-data.tar.gz"
    path.write_bytes(made.cars3d(cars, ["car_011_mesh", "car_001_mesh"]))
    images, classes, contents = formats.read_cars3d(path)
    assert images.shape == (192, 3, 64, 64)
    assert classes.tolist() == [0] * 96 + [1] * 96
    assert contents.tolist() == list(range(96)) * 2
    for car, azimuth, elevation in ((0, 0, 0), (0, 23, 1), (1, 5, 3)):
        expected = list(cars.values())[1 - car][::2, ::2, :, azimuth, elevation].transpose(2, 0, 1)
        assert np.array_equal(images[car * 96 + elevation * 24 + azimuth], expected)


def test_a_broken_cars3d_is_refused_in_a_line(cars, tmp_path):
    path = tmp_path / "cars.tar.gz"
    whole = made.cars3d(cars)
    for content, why in (
        (whole[: len(whole) // 2], "truncated or corrupted"),
        (made.cars3d(cars, [*cars, "car_002_mesh"]), r"lacks 1 of 3 cars, first cars/car_002_mesh.mat"),
        (made.cars3d({}), r"does not contain cars/list.txt"),
        (made.cars3d({"car": made.car(0)[:64]}), r"cars/car.mat holds uint8 \(64, 128, 3, 24, 4\), expected bytes"),
        (made.tar("data", {"cars/list.txt": b"a\n", "cars/a.mat": b"no MATLAB"}), r"cars/a.mat is no MATLAB file"),
        (b"<html>", "truncated or corrupted"),
    ):
        path.write_bytes(content)
        with pytest.raises(SintroError, match=why) as caught:
            formats.read_cars3d(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(SintroError, match=r"nowhere cannot be read: No such file"):
        formats.read_cars3d(tmp_path / "nowhere")


def norb_paths(folder, files):
    paths = []
    for name, content in files.items():
        paths.append(folder / f"{name}.mat.gz")
        paths[-1].write_bytes(content)
    return paths


def test_smallnorb_has_a_class_for_all_but_the_azimuth(tmp_path):
    split = made.norb([4, 6], seed=0)
    images, classes, contents = formats.read_smallnorb(*norb_paths(tmp_path, made.norb_files(split)))
    count = 2 * 2 * made.NORB_ELEVATIONS * made.NORB_LIGHTINGS * 2
    assert images.shape == (count * 18, 1, 64, 64)
    assert np.array_equal(classes, np.repeat(np.arange(count), 18))
    assert np.array_equal(contents, np.tile(np.arange(18), count))
    # In the order of category, instance, elevation, lighting and camera, class 29 is the last but two of category 3.
    (row,) = np.flatnonzero((split["cat"] == 3) & (split["info"] == [6, 1, 10, 0]).all(1))
    expected = area_mean(split["dat"][row, 1], 64)
    assert np.array_equal(images[29 * 18 + 5, 0], np.floor(expected + 0.5))


def test_a_broken_smallnorb_is_refused_in_a_line(tmp_path):
    split = made.norb([4], seed=0)
    right = made.norb_files(split)
    twice = split["info"].copy()
    twice[0] = twice[1]
    for wrong, why in (
        ({"dat": right["dat"][:-9]}, r"dat.mat.gz is truncated or corrupted: Compressed file ended"),
        ({"dat": made.norb_files({"dat": split["dat"][:-1]})["dat"]}, "do not belong together"),
        ({"cat": right["info"]}, r"cat.mat.gz is .*it holds int32 of 2 dimensions, expected int32 of 1"),
        ({"cat": right["dat"]}, r"cat.mat.gz is .*it holds uint8 of 4 dimensions, expected int32 of 1"),
        ({"info": made.gzip.compress(made.matrix(split["info"])[:-4])}, r"promises 2,304 bytes, 2,300 follow"),
        ({"info": made.gzip.compress(b"MATLAB 5.0 MAT-file")}, r"info.mat.gz is .*no matrix of bytes or of integers"),
        ({"info": b"<html>"}, r"info.mat.gz is .*no gzip file but a web page"),
        ({"info": made.norb_files({"info": twice})["info"]}, "not one image of each of 16 classes with each of 18"),
    ):
        with pytest.raises(SintroError, match=why) as caught:
            formats.read_smallnorb(*norb_paths(tmp_path, right | wrong))
        assert "\n" not in str(caught.value)


THINNED = {"floor_hue": 10, "wall_hue": 5, "object_hue": 10, "scale": 4, "orientation": 8}


def test_shapes3d_has_the_shape_as_class_and_everything_else_as_content(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "3dshapes.h5"
    sizes = (10, 10, 10, 8, 4, 15)
    factors = [(0, 0, 0, 0, 0, 0), (0, 5, 0, 4, 2, 8), (0, 5, 0, 4, 3, 8), (0, 0, 0, 0, 1, 1)]
    rows = [int(np.ravel_multi_index(each, sizes)) for each in factors]
    pixels = made.shapes3d(path, rows).transpose(0, 3, 1, 2)
    images, classes, contents = formats.read_shapes3d(path, every=THINNED)
    assert images.shape == (4 * 8, 3, 64, 64)  # 2 walls, 2 scales, 2 orientations
    assert np.array_equal(classes, np.repeat(np.arange(4), 8))
    assert np.array_equal(contents, np.tile(np.arange(8), 4))
    for place, image in ((0, pixels[0]), (2 * 8 + 7, pixels[1]), (3 * 8 + 7, pixels[2])):
        assert np.array_equal(images[place], image)
    assert images.any((1, 2, 3)).sum() == 3  # the fourth that was written has an orientation that is not kept
    images, classes, contents = formats.read_shapes3d(path, ("wall_hue", "shape"), THINNED)
    assert np.array_equal(classes, np.repeat(np.arange(8), 4))
    assert np.array_equal(images[(4 + 2) * 4 + 3], pixels[1])  # the second wall and shape 2; the last content


def test_a_broken_shapes3d_is_refused_in_a_line(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "3dshapes.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = np.zeros((4, 64, 64, 3), np.uint8), np.zeros((4, 6))
    whole = path.read_bytes()
    with pytest.raises(SintroError, match=r"its images are uint8 \(4, 64, 64, 3\), expected bytes \(480000, 64"):
        formats.read_shapes3d(path)
    for content in (whole[: len(whole) // 2], b"<html>", b""):
        path.write_bytes(content)
        with pytest.raises(SintroError, match=r"3dshapes.h5 is truncated or corrupted: no HDF5 file") as caught:
            formats.read_shapes3d(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(SintroError, match=r"nowhere cannot be read: No such file"):
        formats.read_shapes3d(tmp_path / "nowhere")


def test_shapes3d_without_h5py_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SintroError, match=r"h5py is missing: pip install sintro\[shapes3d\]$"):
        formats.read_shapes3d(tmp_path / "3dshapes.h5")


def test_frames_are_grey_and_their_classes_are_the_persons_in_order(tmp_path):
    pixels = made.frames(tmp_path, ["person02", "person10"], 3)
    (tmp_path / "notes").mkdir()  # no person
    images, classes, contents = formats.read_frames(tmp_path)
    assert np.array_equal(images, pixels.reshape(6, 1, 64, 64))
    assert classes.tolist() == [0, 0, 0, 1, 1, 1]
    assert not contents.any()


def test_broken_frames_are_refused_in_a_line(tmp_path):
    with pytest.raises(SintroError, match=r"nowhere cannot be read: No such file"):
        formats.read_frames(tmp_path / "nowhere")
    with pytest.raises(SintroError, match=r"holds no frames; legal is .*/<person>/d4/\*.png"):
        formats.read_frames(tmp_path)
    made.frames(tmp_path / "small", ["anna"], 1, size=32)
    with pytest.raises(SintroError, match=r"000.png: images of 32 x 32 pixels cannot be made 64 x 64"):
        formats.read_frames(tmp_path / "small")
    made.frames(tmp_path / "kth", ["anna", "bert"], 1)
    frame = tmp_path / "kth" / "bert" / "d4" / "000.png"
    frame.write_bytes(frame.read_bytes()[:99])
    with pytest.raises(SintroError, match=r"bert/d4/000.png is truncated or corrupted: no whole image") as caught:
        formats.read_frames(tmp_path / "kth")
    assert "\n" not in str(caught.value)
    frame.unlink()
    with pytest.raises(SintroError, match=r"bert/d4 holds no frames"):
        formats.read_frames(tmp_path / "kth")
