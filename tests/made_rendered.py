"""Small files in the real formats of Cars3D, smallNORB, 3D Shapes and folders of frames."""

import gzip
import io
import struct

import numpy as np
import scipy.io
from made_images import Made, md5, sha256, tar
from PIL import Image

from sintro.cells.components import dataset
from sintro.data import rendered_sets

AZIMUTHS, ELEVATIONS = 24, 4
NORB_ELEVATIONS, NORB_LIGHTINGS, NORB_AZIMUTHS = 2, 2, 18  # the real ones have 9 elevations and 6 lightings


def car(number):
    """A car's images [128, 128, 3, 24, 4] whose blocks of 16 x 16 pixels have one value each."""
    generator = np.random.RandomState(number)
    blocks = generator.randint(0, 256, (8, 8, 3, AZIMUTHS, ELEVATIONS), dtype=np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)


def car_file(pixels):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"im": pixels, "mask": np.zeros((2, 2), np.uint8)})
    return buffer.getvalue()


def cars3d(cars, listed=None):
    """Nips2015-analogy-data.tar.gz of {name: images}; the sprites of the real one are there too, and are not read."""
    listed = list(cars) if listed is None else listed
    contents = {"sprites/sprites_1.mat": b"not read", "cars/list.txt": "".join(f"{name}\n" for name in listed).encode()}
    return tar("data", contents | {f"cars/{name}.mat": car_file(pixels) for name, pixels in cars.items()})


def matrix(array):
    """A file in smallNORB's format, not compressed."""
    magic = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[str(array.dtype)]
    sizes = [*array.shape, *[1] * (3 - array.ndim)]
    return struct.pack(f"<II{len(sizes)}I", magic, array.ndim, *sizes) + array.tobytes()


def norb(instances, seed):
    """One split of smallNORB: its three matrices (images, categories, info) by name, in a shuffled order."""
    categories = (0, 3)
    sizes = (len(categories), len(instances), NORB_ELEVATIONS, NORB_AZIMUTHS, NORB_LIGHTINGS)
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), -1).reshape(-1, 5)
    grid = grid[np.random.RandomState(seed).permutation(len(grid))]
    pixels = np.random.RandomState(seed).randint(0, 256, (len(grid), 2, 96, 96), dtype=np.uint8)
    info = np.stack([np.take(instances, grid[:, 1]), grid[:, 2], 2 * grid[:, 3], grid[:, 4]], 1)
    return {"dat": pixels, "cat": np.take(categories, grid[:, 0]).astype("<i4"), "info": info.astype("<i4")}


def norb_files(split):
    """The compressed files of a split."""
    return {name: gzip.compress(matrix(array), 1, mtime=0) for name, array in split.items()}


def shapes3d(path, rows, seed=0):
    """3dshapes.h5 with all labels, in which only the images of some rows were written; returns these images."""
    import h5py

    sizes = (10, 10, 10, 8, 4, 15)
    spans = ((0, 1), (0, 1), (0, 1), (0.75, 1.25), (0, 3), (-30, 30))
    values = [np.linspace(*span, size) for span, size in zip(spans, sizes, strict=True)]
    labels = np.stack(np.meshgrid(*values, indexing="ij"), -1).reshape(-1, 6)
    pixels = np.random.RandomState(seed).randint(0, 256, (len(rows), 64, 64, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (len(labels), 64, 64, 3), "u1", chunks=(60, 64, 64, 3), compression=1)
        file.create_dataset("labels", data=labels, compression=1)
        for row, image in zip(rows, pixels, strict=True):
            images[row] = image
    return pixels


def frames(folder, persons, count, size=64):
    """A folder <person>/d4/*.png of random grey frames, and one of another condition; returns them [persons, count]."""
    pixels = np.random.RandomState(0).randint(0, 256, (len(persons), count, size, size), dtype=np.uint8)
    for person, images in zip(persons, pixels, strict=True):
        for condition in ("d1", "d4"):
            (folder / person / condition).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).convert("RGB").save(folder / person / "d4" / f"{number:03}.png")
    return pixels


def make(name, monkeypatch, folder, address="http://127.0.0.1:9"):
    """The small stand-in for data set `name`, which its component then describes; ``folder`` is to write into."""
    one = dataset(name)
    if name == "cars3d":
        contents = {"nips2015-analogy-data.tar.gz": cars3d({f"car_{number}": car(number) for number in range(3)})}
        monkeypatch.setattr(rendered_sets, "CARS3D_MD5", md5(*contents.values()))
        monkeypatch.setattr(rendered_sets, "CARS3D_ADDRESS", f"{address}/")
        small = {"classes": 3, "unseen": (1,)}
    elif name == "smallnorb":
        splits = [norb_files(norb([4, 6], 0)), norb_files(norb([0, 1], 1))]
        files = [content for split in splits for content in split.values()]
        contents = dict(zip(rendered_sets.NORB_FILES, files, strict=True))
        published = {file: (len(content), sha256(content)) for file, content in contents.items()}
        monkeypatch.setattr(rendered_sets, "NORB_FILES", published)
        monkeypatch.setattr(rendered_sets, "NORB_ADDRESS", f"{address}/")
        small = {"classes": 64, "unseen": range(32, 64)}
    else:
        shapes3d(folder / "3dshapes.h5", range(0, 480_000, 77_777))
        contents = {"3dshapes.h5": (folder / "3dshapes.h5").read_bytes()}
        monkeypatch.setattr(rendered_sets, "SHAPES3D_ADDRESS", f"{address}/")
        monkeypatch.setattr(rendered_sets, "SHAPES3D_SIZE", len(contents["3dshapes.h5"]))
        monkeypatch.setattr(rendered_sets, "SHAPES3D_SHA256", sha256(contents["3dshapes.h5"]))
        monkeypatch.setattr(rendered_sets, "SHAPES3D_EVERY", {"floor_hue": 10, "wall_hue": 10, "scale": 4})
        small = {"contents": 2 * 15}
    for attribute, value in small.items():
        monkeypatch.setattr(one, attribute, value)
    return Made({f"{name}/{file}": content for file, content in contents.items()}, contents, {})
