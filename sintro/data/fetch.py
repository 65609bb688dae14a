"""Getting data sets and Inception weights: the one place in the suite that touches the network.

Every file is downloaded beside its place, checked against its published hash, and renamed into place; the sha256 of
what was got goes to the lock file. What is already there and right is kept, so an interrupted fetch continues, and a
file that is wrong is replaced only by one that is right.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from pathlib import Path

from sintro import SintroError
from sintro.data import sources
from sintro.data.files import explained, hash_file, locked, whole

TIMEOUT = 60.0  # seconds without an answer, after which an address counts as unreachable
Say = Callable[[str], None]


def fetch(names: Iterable[str] = (), root: str | Path | None = None, say: Say = print) -> None:
    """Get the named data sets (none named: all of them) and ``inception``, Inception's weights, into the data root.

    Safe when two run at once: the second waits, and finds everything there.

    Raises:
        SintroError: an unknown name; no address of a file gives the right content; a folder that is not writable.
    """
    names = tuple(names) or (*sources.NAMES, sources.INCEPTION)
    for name in names:
        if name not in (*sources.NAMES, sources.INCEPTION):
            raise SintroError(f"cannot fetch {name!r}; there are {', '.join((*sources.NAMES, sources.INCEPTION))}")
    folder = sources.data_root(root)
    for name in names:
        if name == "digits":
            say("digits: embedded in scikit-learn, nothing to fetch")
            continue
        with explained(f"{name}: cannot store into {folder}"), locked(folder / name):
            (_fetch_inception if name == sources.INCEPTION else _fetch_dataset)(name, folder, say)


def _fetch_dataset(name: str, root: Path, say: Say) -> None:
    source = sources.source(name)
    lock = sources.read_lock(name, root)
    wanted = [file for file in source.files if not _right(root / file.path, file.md5)]
    if not wanted:
        say(f"{name}: all {len(source.files)} files are there and right")
    elif source.archive is not None:
        _unpack(source, wanted, root, say)
    else:
        for file in wanted:
            _download(file, root / file.path, say)
    found = {file.path: _entry(root / file.path) for file in source.files}
    if found != lock:
        sources.write_lock(name, root, found)
        say(f"{name}: sha256 of {len(found)} files written to {sources.lock_path(name, root)}")


def _right(path: Path, md5: str | None) -> bool:
    return path.is_file() and hash_file(path, "md5") == md5


def _entry(path: Path) -> dict:
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def _download(file: sources.SourceFile, target: Path, say: Say, place: Path | None = None) -> None:
    """Download one file from the first address that has it, checked and stored whole; `place` is where it belongs."""
    from sintro.data.vision import torchvision

    failures = []
    target.parent.mkdir(parents=True, exist_ok=True)
    for url in file.urls:
        say(f"fetching {url}")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder, _timeout():
            try:
                torchvision.datasets.utils.download_url(url, folder, target.name, file.md5)
            except (RuntimeError, OSError, HTTPException) as error:  # torchvision: wrong md5; urllib: no answer
                failures.append(f"{url}: {error}")
                continue
            with whole(target) as temporary:
                shutil.move(Path(folder) / target.name, temporary)
        return
    raise SintroError(
        f"{target.name} could not be fetched ({'; '.join(failures)}); without a network, copy it to "
        f"{(place or target).resolve()}"
    )


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Compute nodes often drop packets silently: without a limit an attempt to connect hangs for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unpack(source: sources.Source, wanted: list[sources.SourceFile], root: Path, say: Say) -> None:
    """Take the wanted files out of the archive, which is downloaded if it is not there, and removed if it was."""
    archive = root / source.archive.path
    downloaded = not _right(archive, source.archive.md5)
    if downloaded:
        _download(source.archive, archive, say)
    with tarfile.open(archive) as tar:
        for file in wanted:  # by name, never extractall: an archive cannot choose where it writes
            try:
                content = tar.extractfile(file.path)
            except KeyError:
                raise SintroError(f"{archive} does not contain {file.path}") from None
            with whole(root / file.path) as temporary:
                with open(temporary, "wb") as target:
                    shutil.copyfileobj(content, target)
                if not _right(temporary, file.md5):
                    raise SintroError(f"{file.path} in {archive} is corrupted: its md5 is not {file.md5}")
            say(f"{source.name}: unpacked {file.path}")
    if downloaded:
        archive.unlink()


def _fetch_inception(name: str, root: Path, say: Say) -> None:
    from sintro.data.vision import fid_inception

    state = sources.inception_state(root)
    if state.state == "verified":
        say(f"{name}: {state.path} is there and right")
        _lock_inception(name, state, root)
        return
    target = root / sources.INCEPTION / sources.INCEPTION_FILE
    with tempfile.TemporaryDirectory(dir=_made(target.parent), prefix=".fetch-") as folder:
        temporary = Path(folder) / target.name
        _download(sources.SourceFile(str(target), None, (fid_inception.FID_WEIGHTS_URL,)), temporary, say, target)
        found = hash_file(temporary)
        if not found.startswith(sources.INCEPTION_SHA256):
            raise SintroError(
                f"{fid_inception.FID_WEIGHTS_URL} gave a file whose sha256 begins with {found[:8]}, "
                f"not with {sources.INCEPTION_SHA256}: a broken download, or another file"
            )
        temporary.replace(target)
    say(f"{name}: stored {target}")
    stored = sources.inception_state(root)
    if stored.path != target:
        named = os.environ["SINTRO_INCEPTION"]
        raise SintroError(f"{name}: but SINTRO_INCEPTION names {named}, which is {stored.state}: unset it")
    _lock_inception(name, stored, root)


def _lock_inception(name: str, state: sources.FileState, root: Path) -> None:
    """What tells Snakemake that the weights are there, wherever they were found."""
    found = {str(state.path): {"sha256": state.sha256, "bytes": state.bytes}}
    if sources.read_lock(name, root) != found:
        sources.write_lock(name, root, found)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
