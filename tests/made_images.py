"""Small image data sets in the formats of the real ones, which the suite is made to expect, and a web server."""

import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading

import numpy as np
import scipy.io

from sintro.data import image_sets, published
from sintro.data.vision import torchvision

TRAIN, TEST = 40, 20  # images per split; CIFAR has five training files of TRAIN / 5


def made(count, channels, size, seed):
    """Random (images uint8 [N, C, H, W], labels [N]) in which every class appears."""
    generator = np.random.RandomState(seed)
    return generator.randint(0, 256, (count, channels, size, size), dtype=np.uint8), np.arange(count) % 10


def idx(array):
    """An IDX file of bytes: two zeros, type 8, the number of dimensions, the sizes, the data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def python2_pickle(images, labels):
    """A CIFAR batch as Python 2 wrote it (protocol 2, byte strings, numpy.core), opcode by opcode."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01" + b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", 3072) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<I", images.size) + images.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}("
        + text(b"batch_label")
        + text(b"one of 5")
        + text(b"labels")
        + numbers
        + text(b"data")
        + array
        + b"u."
    )


def tar(folder, contents):
    """A compressed tar archive of {name: bytes} inside `folder`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def mat(images, labels):
    """SVHN's layout: X [32, 32, 3, N], y [N, 1] from 1 to 10."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
    return buffer.getvalue()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Made:
    """`files`: {path under the root: bytes}; `server`: {path there: bytes}; `splits`: {split: (images, labels)}."""

    def __init__(self, files, server, splits):
        self.files, self.server, self.splits = files, server, splits

    def store(self, root):
        for path, content in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        return root


def made_idx(monkeypatch, address, kind):
    splits = {"train": made(TRAIN, 1, 28, 0), "test": made(TEST, 1, 28, 1)}
    server = {}
    for prefix, (images, labels) in zip(("train", "t10k"), splits.values(), strict=True):
        server[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images[:, 0]), mtime=0)
        server[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels), mtime=0)
    monkeypatch.setattr(kind, "mirrors", (f"{address}/gone/", f"{address}/"))
    plain = {name.removesuffix(".gz"): gzip.decompress(content) for name, content in server.items()}
    monkeypatch.setitem(published.IDX_SHA256, kind.name, {name: sha256(content) for name, content in plain.items()})
    for name in plain:
        count = TRAIN if name.startswith("train") else TEST
        monkeypatch.setitem(published.IDX_SHAPES, name, (count, 28, 28) if "images" in name else (count,))
    return Made({f"{kind.folder}/raw/{name}": content for name, content in server.items()}, server, splits)


def made_cifar(monkeypatch, address):
    splits = {"train": made(TRAIN, 3, 32, 2), "test": made(TEST, 3, 32, 3)}
    images, labels = splits["train"]
    part = TRAIN // 5
    batches = {
        f"data_batch_{i + 1}": python2_pickle(
            images[part * i : part * (i + 1)].reshape(part, -1), labels[part * i : part * (i + 1)]
        )
        for i in range(5)
    }
    batches["test_batch"] = python2_pickle(splits["test"][0].reshape(TEST, -1), splits["test"][1])
    archive = tar(image_sets.Cifar10.folder, batches | {"readme.html": b"not needed"})
    name = image_sets.Cifar10.archive[0]
    monkeypatch.setattr(image_sets.Cifar10, "md5", {name: md5(content) for name, content in batches.items()})
    monkeypatch.setattr(image_sets.Cifar10, "archive", (name, md5(archive)))
    monkeypatch.setattr(image_sets.Cifar10, "address", f"{address}/{name}")
    files = {f"{image_sets.Cifar10.folder}/{name}": content for name, content in batches.items()}
    return Made(files, {name: archive}, splits)


def made_svhn(monkeypatch, address):
    splits = {"train": made(TRAIN, 3, 32, 4), "test": made(TEST, 3, 32, 5)}
    files = {f"{split}_32x32.mat": mat(*content) for split, content in splits.items()}
    lists = {
        split: [f"{address}/{split}_32x32.mat", f"{split}_32x32.mat", md5(files[f"{split}_32x32.mat"])]
        for split in splits
    }
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", lists)
    monkeypatch.setattr(image_sets.Svhn, "address", f"{address}/")
    monkeypatch.setattr(image_sets.Svhn, "md5", {name: md5 for _, name, md5 in lists.values()})
    return Made(files, dict(files), splits)


def make(name, monkeypatch, address="http://127.0.0.1:9"):
    """The small stand-in for data set `name`, which the tables of published files then describe."""
    if name == "cifar10":
        return made_cifar(monkeypatch, address)
    if name == "svhn":
        return made_svhn(monkeypatch, address)
    kind = {"mnist": image_sets.Mnist, "fmnist": image_sets.FashionMnist}[name]
    return made_idx(monkeypatch, address, kind)


class Server:
    """Serves `contents`, {path: bytes}; `truncate` cuts every body to half of what its header promises."""

    def __init__(self):
        self.contents, self.requests, self.truncate = {}, [], False
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                content = server.contents.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if server.truncate else content)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def asked_for(self, path):
        return path in (request.lstrip("/") for request in self.requests)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def left_over(root):
    """What no reader should see after the end: parts and temporary folders."""
    return [path for path in root.rglob("*") if path.name.endswith(".part") or path.name.startswith(".fetch-")]
