"""The rows of ``sintro doctor`` on data sets, networks' weights and cached reference statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from sintro import SintroError
from sintro.cells.components import SPLITS, ImageDataset, dataset, datasets
from sintro.data import solids, sources
from sintro.data.folders import MANIFEST, RELEASED, FolderImages, prepared
from sintro.data.rendered_sets import KTH


@dataclass(frozen=True)
class Row:
    """One file of the report."""

    what: str  # the data set or the purpose of the file
    path: str
    state: str  # verified, unverified, missing, wrong, corrupted, unreadable, embedded, prepared, cached, or extension
    sha256: str = ""
    bytes: int | None = None
    reason: str = ""  # of the state
    command: str = ""  # that gets the file; "" where none is needed

    @property
    def present(self) -> bool:
        return self.state not in ("missing", "unreadable")


def rows(root: str | Path | None = None, results: str | Path = "results") -> list[Row]:
    """List every file that the image benchmark can use. Reads and hashes them all (seconds); never raises."""
    folder = sources.data_root(root)
    listed = [one for one in datasets("images").values() if not one.fetched]
    table = [_not_fetched(one, folder) for one in (*listed, KTH) if not isinstance(one, FolderImages)]
    table += [_prepared(one, folder) for one in (*RELEASED.values(), *prepared(folder))]
    for name in sources.fetched():
        table += _dataset(name, folder)
    weights = [_weights(name, folder) for name in sources.WEIGHTS]
    return [*table, *weights, *_statistics(Path(results))]


def _not_fetched(one: ImageDataset, root: Path) -> Row:
    """Return the row of a data set that comes with a library, is drawn, is made of own files, or is an extension's."""
    if one.source is not None:
        return Row(one.name, str(one.source.resolve()), "extension")
    if one.has_factors:
        place = one.place(root)
        if place is not None:
            state, reason = _look_for(place)
            return Row(one.name, str(place.absolute()), state or "unverified", reason=reason or one.origin)
        return Row(one.name, str(Path(solids.__file__)), "embedded", reason=one.origin)
    import sklearn

    return Row(
        one.name, str(Path(sklearn.__file__).parent), "embedded", reason=f"in scikit-learn {sklearn.__version__}"
    )


def _prepared(one: FolderImages, root: Path) -> Row:
    """Return the row of a folder of images, of whose files only the manifest and the arrays' headers are read."""
    place = one.folder(root)
    try:
        manifest = one.manifest(place)
        for split in SPLITS:
            one.read(split, root)
    except SintroError as error:
        state, reason = _look_for(place / MANIFEST)
        if not state:
            state, reason = "corrupted", str(error)
        return Row(one.name, str(place.absolute()), state, reason=reason, command=one.command())
    size = sum(file["bytes"] for file in manifest["files"].values())
    reason = one.why_unpublished(manifest)
    return Row(
        one.name, str(place.absolute()), "unverified" if reason else "prepared", manifest["sha256"], size, reason
    )


def _look_for(path: Path) -> tuple[str, str]:
    """Say that a path is missing, or unreadable and why; two empty texts where it is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing", ""
    except OSError as error:
        return "unreadable", str(error.strerror)
    return "", ""


def _dataset(name: str, root: Path) -> list[Row]:
    command = sources.fetch_command(name, root)
    try:
        found = sources.states(name, root)
    except SintroError as error:  # the lock file itself is damaged
        return [Row(name, str(sources.lock_path(name, root)), "corrupted", reason=str(error), command=command)]
    listed = [_row(name, state, command) for state in found]
    package = dataset(name).package
    if package is None or find_spec(package[0]) is not None:
        return listed
    return [_lacking(row, *package) for row in listed]


def _row(what: str, state: sources.FileState, command: str) -> Row:
    path = str(state.path.resolve())
    needed = "" if state.usable else command
    return Row(what, path, state.state, state.sha256 or "", state.bytes, state.reason, needed)


def _weights(name: str, root: Path) -> Row:
    wanted = sources.weights(name)
    state = wanted.state(root)
    row = _row(wanted.title.removesuffix(" for FID"), state, wanted.remedy(state, sources.fetch_command(name, root)))
    if package := sources.missing_package(name):
        return _lacking(row, package, sources.install_command(name))
    return row


def _lacking(row: Row, package: str, install: str) -> Row:
    """Add that a package is missing, and the command that installs it, to the row of a file that is read with it."""
    reason = "; ".join(filter(None, (row.reason, f"the package {package} is missing")))
    return replace(row, reason=reason, command=row.command or install)


def _statistics(results: Path) -> list[Row]:
    folder = results / "features"
    files = sorted(folder.glob("*.npz")) + sorted(folder.glob("*.pt"))
    if not files:
        reason = "none yet: they are computed when they are first needed"
        return [Row("reference statistics", str(folder.resolve()), "missing", reason=reason)]
    return [Row("reference statistics", str(file.resolve()), "cached", "", file.stat().st_size) for file in files]
