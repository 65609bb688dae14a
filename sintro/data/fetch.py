"""Get data sets and networks' weights: the one module of the suite that uses the network.

A copy on this machine comes first, wherever :mod:`sintro.data.places` finds one. Every file is stored beside its place,
checked, and then renamed into place. Files that are right are kept, so an interrupted fetch continues; a wrong file is
replaced by a right one only. Where all files are there, nothing is written: the data root may be read-only.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import lzma
import os
import shutil
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import explained, hash_file, locked, whole
from sintro.cells.components import dataset, datasets
from sintro.data import places, sources

TIMEOUT = 60.0  # seconds without an answer, after which an address counts as unreachable
Say = Callable[[str], None]
Verify = Callable[[Path], str]  # says why a file is not the right one; "" where it is


def fetch(names: Iterable[str] = (), root: str | Path | None = None, say: Say = print) -> None:
    """Get the named data sets and weights (:data:`sintro.data.sources.WEIGHTS`) into the data root.

    Without names: the image sets of the papers' tables, and Inception's weights. The others must be named, since they
    are large and few studies need them; a last line names them.

    Two processes may fetch at once: the second waits, and then finds every file in place.

    Raises:
        SintroError: an unknown name; no address of a file gives the right content; a folder that is not writable.
    """
    of_networks = sources.WEIGHTS
    legal = (*datasets("images"), *of_networks)
    asked = tuple(names)
    names = asked or usual()
    for name in names:
        if name not in legal:
            raise SintroError(f"cannot fetch {name!r}; there are {', '.join(legal)}")
    if warning := places.wrong_mirror():
        say(warning)
    folder = sources.data_root(root)
    for name in names:
        if name not in of_networks and not dataset(name).fetched:
            say(f"{name}: {dataset(name).origin}, nothing to fetch")
            continue
        sources.check_folder(name, folder)
        if name in of_networks:
            _fetch_weights(name, folder, say)
        else:
            _fetch_dataset(name, folder, say)
    if not asked:
        others = [name for name in (*sources.fetched(), *of_networks) if name not in names]
        say(f"fetched only where they are named: {', '.join(others)}")


def usual() -> tuple[str, ...]:
    """Return the names of what is fetched where nothing is named."""
    of_papers = [name for name in sources.fetched() if dataset(name).in_papers]
    return (*of_papers, sources.INCEPTION)


def _fetch_dataset(name: str, root: Path, say: Say) -> None:
    if _complete(name, root, say):
        return
    with explained(f"{name}: cannot store into {root}"), locked(root / name):
        if not _complete(name, root, say):  # another process may have fetched it meanwhile
            _get_missing(name, root, say)


def _complete(name: str, root: Path, say: Say) -> bool:
    """Whether every file of a data set can be used as it is; reports it, and only reads.

    Raises:
        SintroError: a file that is there and cannot be read.
    """
    found = sources.states(name, root)
    for state in found:
        if state.state == "unreadable":
            raise SintroError(f"{name}: {state.path} cannot be read: {state.reason}")
    if not all(state.usable for state in found):
        return False
    unverified = [state for state in found if state.state == "unverified"]
    if unverified:
        told = "; ".join(f"{state.path}: {state.reason}" for state in unverified)
        say(f"{name}: all {len(found)} files are there, unverified ({told}); delete them to fetch the published ones")
    else:
        say(f"{name}: all {len(found)} files are there and right")
    return True


def _get_missing(name: str, root: Path, say: Say) -> None:
    """Get every file that cannot be used as it is, and put an old lock file right."""
    source = sources.source(name)
    lock = sources.read_lock(name, root)
    wanted = [file for file in source.files if not sources.file_state(file, root, {}).usable]
    wanted = [file for file in wanted if not _take_over(name, file, root, say)]
    if wanted and source.archive is not None:
        _unpack(source, wanted, root, say)
    else:
        for file in wanted:
            _download(file.urls, root / file.path, lambda path, file=file: _why_not(file, path), say)
    found = {file.path: _entry(root / file.path) for file in source.files if (root / file.path).exists()}
    if lock and found != lock:
        sources.write_lock(name, root, found)
        say(f"{name}: sha256 of {len(found)} files written to {sources.lock_path(name, root)}")


def _entry(path: Path) -> dict:
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def _why_not(file: sources.SourceFile, path: Path) -> str:
    state = sources.inspect(file, path)
    return "" if state.state == "verified" else f"{state.state}, {state.reason}"


# --- a copy on this machine


def _take_over(name: str, file: sources.SourceFile, root: Path, say: Say) -> bool:
    """Take the first right copy of a file on this machine, by link or copy; False where there is none."""
    for path in places.candidates(name, file, root):
        if sources.inspect(file, path).state != "verified":
            continue
        place = file.plain if file.plain and path.suffix != ".gz" else file.path
        how = _link_or_copy(path, root / place, lambda copy: _why_not(file, copy))
        say(f"{name}: {how} {path} to {root / place}")
        return True
    return False


def _link_or_copy(source: Path, target: Path, why_not: Verify) -> str:
    """Make a hard link within one file system, else a copy, which is checked. Returns "linked" or "copied".

    A symbolic link would not do: its target may be missing on a compute node.
    """
    with _beside(target) as temporary:
        try:
            os.link(source.resolve(), temporary)
            temporary.replace(target)
            return "linked"
        except OSError:  # another file system, or one without links, or a file that is not ours to link
            temporary.unlink(missing_ok=True)
        shutil.copyfile(source, temporary)
        if reason := why_not(temporary):
            raise SintroError(f"the copy of {source} in {target.parent} is {reason}")
        _put(temporary, target)
    return "copied"


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a path of the same name in a temporary folder beside ``target``; the folder goes at the end.

    So do the folders of fetches that were killed: the caller holds the lock, so that nobody else fetches the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".fetch-{target.name}-"
    for left in target.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as folder:
        yield Path(folder, target.name)


def _put(temporary: Path, target: Path) -> None:
    with whole(target) as part:
        shutil.move(temporary, part)


# --- a network


def _download(urls: Iterable[str], target: Path, why_not: Verify, say: Say) -> None:
    """Download a file from the first address that gives the right content, and store it whole."""
    from sintro.data.vision import torchvision

    failures = []
    for url in urls:
        say(f"fetching {url}")
        with _beside(target) as temporary, _timeout():
            try:
                torchvision.datasets.utils.download_url(url, temporary.parent, temporary.name)
            except (RuntimeError, OSError, HTTPException) as error:  # urllib: no answer, or half of one
                failures.append(f"{url}: {error}")
                continue
            if reason := why_not(temporary):
                failures.append(f"{url}: {reason}")
                continue
            _put(temporary, target)
        return
    there = os.path.exists(target)
    advice = f"put the right one in the place of {target}" if there else f"copy it to {target.resolve()}"
    raise SintroError(f"{target.name} could not be fetched ({'; '.join(failures)}); without a network, {advice}")


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Limit the time of a connection: compute nodes often drop packets silently, and it would hang for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unpack(source: sources.Source, wanted: list[sources.SourceFile], root: Path, say: Say) -> None:
    """Take the wanted files out of an archive on this machine, else out of a downloaded one, which is then removed.

    An archive on this machine may be packed in another way than the published one, so its members are checked.
    """
    for archive in places.candidates(source.name, source.archive, root):
        try:
            _unpack_from(archive, source, wanted, root, say)
            return
        except SintroError as error:
            say(f"{source.name}: {error}")
    archive = root / source.archive.path
    beside = os.path.exists(archive)
    _download(source.archive.urls, archive, lambda path: _why_not(source.archive, path), say)
    try:
        _unpack_from(archive, source, wanted, root, say)
    finally:
        if not beside:
            archive.unlink()


def _unpack_from(archive: Path, source: sources.Source, wanted: list[sources.SourceFile], root: Path, say: Say) -> None:
    """Take the wanted files out of an archive. SintroError where it is broken or lacks the right files."""
    try:
        with contextlib.ExitStack() as stack:
            with explained(f"{archive} cannot be read"):
                tar = stack.enter_context(tarfile.open(archive))
            for file in wanted:  # by name, never extractall: an archive must not choose where files go
                _unpack_one(tar, archive, file, root / file.path)
                say(f"{source.name}: unpacked {file.path} from {archive}")
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise SintroError(f"{archive} is no whole tar archive: {error}") from error


def _unpack_one(tar: tarfile.TarFile, archive: Path, file: sources.SourceFile, target: Path) -> None:
    try:
        member = tar.getmember(file.path)
    except KeyError:
        raise SintroError(f"{archive} does not contain {file.path}") from None
    if not member.isreg():  # a link could lead to itself
        raise SintroError(f"{file.path} in {archive} is no regular file")
    with whole(target) as temporary:
        with open(temporary, "wb") as unpacked:
            shutil.copyfileobj(tar.extractfile(member), unpacked)
        if reason := _why_not(file, temporary):
            raise SintroError(f"{file.path} in {archive} is {reason}")


# --- networks' weights


def _fetch_weights(name: str, root: Path, say: Say) -> None:
    wanted = sources.weights(name)
    state = wanted.state(root)
    if state.state == "verified":
        say(f"{name}: {state.path} is there and right")
        return

    def why_not(path: Path) -> str:
        state = wanted.inspect(path)
        return "" if state.state == "verified" else f"{state.state}, {state.reason}"

    target = wanted.fetched_to(root)
    with explained(f"{name}: cannot store into {root}"), locked(root / name):
        for path in places.candidates(name, sources.SourceFile(wanted.file), root):
            if not why_not(path):
                say(f"{name}: {_link_or_copy(path, target, why_not)} {path} to {target}")
                break
        else:
            _download(wanted.urls or _inception_urls(), target, why_not, say)
            say(f"{name}: stored {target}")
    stored = wanted.state(root)
    if stored.path != target:
        raise SintroError(f"{name}: but {wanted.variable} names {wanted.named}, which is {stored.state}: unset it")


def _inception_urls() -> tuple[str, ...]:
    from sintro.data.vision import fid_inception

    return (fid_inception.FID_WEIGHTS_URL,)
