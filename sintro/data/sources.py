"""Find the files of the image data sets and of networks' weights on this machine, and check their content.

Files lie under one data root in torchvision's own layout, so an existing torchvision download is used as it is.
:mod:`sintro.data.published` says what their content must be. Reading needs no writing: only :func:`write_lock` makes
a file.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shlex
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import whole
from sintro.cells import components
from sintro.data import places
from sintro.data.published import FileState, Source, SourceFile, inspect
from sintro.data.weights import Weights

INCEPTION = "inception"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # its first digits, which its publisher put into its name
DINOV2 = "dinov2"  # ViT-L/14 of Oquab et al. 2023; size and sha256 as a copy on Hugging Face has them
DINOV2_FILE = "dinov2_vitl14_pretrain.pth"
DINOV2_SHA256 = "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"
DINOV2_BYTES = 1_217_586_395
DINOV2_URLS = (f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/{DINOV2_FILE}",)
LPIPS = "lpips"  # torchvision's AlexNet; the linear heads on it come with the package lpips
LPIPS_FILE = "alexnet-owt-7be5be79.pth"
LPIPS_SHA256 = "7be5be79"  # its first digits, which its publisher put into its name
LPIPS_URLS = (f"https://download.pytorch.org/models/{LPIPS_FILE}",)
VGG16 = "vgg16"  # torchvision's, for reconstruction errors in training
VGG16_FILE = "vgg16-397923af.pth"
VGG16_SHA256 = "397923af"  # its first digits, which its publisher put into its name
VGG16_URLS = (f"https://download.pytorch.org/models/{VGG16_FILE}",)
WEIGHTS = (INCEPTION, DINOV2, LPIPS, VGG16)
PACKAGES = {DINOV2: "timm", LPIPS: "lpips"}  # what the weights are used with, installed by the extra of their name


def fetch_command(name: str, root: Path) -> str:
    """Return the command that gets a data set, quoted for a shell."""
    return shlex.join(["sintro", "fetch", name, "--data", str(root)])


def data_root(option: str | Path | None = None) -> Path:
    """Return the folder of the data sets: the option if given, else $SINTRO_DATA, else ``data``."""
    return Path(os.path.expanduser(option or os.environ.get("SINTRO_DATA") or "data"))


def lock_path(name: str, root: Path) -> Path:
    """Return the path of the lock file that earlier versions wrote: the sha256 sums of the files they fetched."""
    return root / f"{name}.lock.json"


def read_lock(name: str, root: Path) -> dict[str, dict]:
    """Read {path under the root: {"sha256": ..., "bytes": ...}}; empty where there is no lock file.

    Raises SintroError where the lock file is damaged or cannot be read.
    """
    path = lock_path(name, root)
    if not os.path.exists(path):
        return {}
    try:
        entries = json.loads(path.read_text())["files"]
        return {file: {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])} for file, entry in entries.items()}
    except OSError as error:
        raise SintroError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SintroError(f"{path} is damaged; delete it and run: {fetch_command(name, root)}") from error


def write_lock(name: str, root: Path, files: dict[str, dict]) -> None:
    with whole(lock_path(name, root)) as temporary:
        temporary.write_text(json.dumps({"dataset": name, "files": files}, indent=1, sort_keys=True) + "\n")


def fetched() -> tuple[str, ...]:
    """Return the names of the data sets that are fetched."""
    return tuple(name for name, one in components.datasets("images").items() if one.fetched)


def source(name: str) -> Source:
    """Return the files of a data set that is fetched. Raises SintroError for an unknown name."""
    if name not in fetched():
        raise SintroError(f"unknown image data set {name!r}; there are {', '.join(components.datasets('images'))}")
    return components.dataset(name).published()


def states(name: str, root: Path) -> list[FileState]:
    """Check every file of a data set by reading it whole."""
    files = source(name).files
    lock = read_lock(name, root) if any(file.sha256 is None for file in files) else {}
    return [file_state(file, root, lock) for file in files]


def all_there(name: str, root: Path) -> bool:
    """Whether every file of a data set, or its plain copy, is under the root; what the files hold is not looked at."""
    ways = ((file.path, file.plain) for file in source(name).files)
    return all(any(path and os.path.exists(root / path) for path in way) for way in ways)


def file_state(file: SourceFile, root: Path, lock: dict[str, dict]) -> FileState:
    """Check one file; a plain copy stands in for a compressed file that is missing or in a worse state.

    Where only an md5 sum is published, the lock file's sha256 must match as well.
    """
    first = inspect(file, root / file.path)
    if first.state != "verified" and file.plain and os.path.exists(root / file.plain):
        other = inspect(file, root / file.plain)
        if other.state == "verified" or first.state == "missing" or (other.usable and not first.usable):
            return other
    locked = lock.get(file.path)
    if file.sha256 is None and first.usable and locked and locked["sha256"] != first.sha256:
        reason = f"its sha256 is {first.sha256[:12]}..., the lock file says {locked['sha256'][:12]}..."
        return FileState(first.path, "corrupted", reason, first.sha256, first.bytes)
    return first


def require(name: str, root: Path) -> dict[str, FileState]:
    """Return the usable files of a data set, {published path under the root: state}.

    Raises:
        SintroError: for missing, wrong, corrupted or unreadable files: a line with their names, the place, and the
            command that gets them.
    """
    check_folder(name, root)
    found = states(name, root)
    remedy = f"run: {fetch_command(name, root)}"
    for state in found:
        if state.reason == os.strerror(errno.EACCES):
            raise SintroError(f"{name}: {state.path} is unreadable ({state.reason}); ask its owner to let you read it")
        if state.state in ("wrong", "corrupted", "unreadable"):
            raise SintroError(f"{name}: {state.path} is {state.state} ({state.reason}); {remedy}")
    one = source(name)
    missing = [file for file, state in zip(one.files, found, strict=True) if not state.usable]
    if missing:
        names = ", ".join(file.name for file in missing)
        near = places.hint(one, missing, root)
        how = f"{near}, {remedy}" if near else f"where there is a network, {remedy}"
        folder = (root / missing[0].path).parent.resolve()
        raise SintroError(
            f"{name}: {len(missing)} of {len(found)} files are missing, looked for in {folder}: {names}; {how} "
            "(another folder: --data or SINTRO_DATA)"
        )
    return dict(zip((file.path for file in one.files), found, strict=True))


def check_folder(name: str, root: Path) -> None:
    """Raise SintroError where the data root is a file."""
    if os.path.isfile(root):
        raise SintroError(f"{name}: the data root {root} is a file, but must be a folder (--data or SINTRO_DATA)")


def weights(name: str) -> Weights:
    """Return what is published of the weights that ``sintro fetch`` calls by this name."""
    if name == DINOV2:
        return Weights(DINOV2, "DINOv2 weights", DINOV2_FILE, DINOV2_SHA256, "SINTRO_DINOV2", DINOV2_BYTES, DINOV2_URLS)
    if name == LPIPS:
        title = "AlexNet weights for LPIPS"
        return Weights(LPIPS, title, LPIPS_FILE, LPIPS_SHA256, "SINTRO_LPIPS", urls=LPIPS_URLS)
    if name == VGG16:
        title = "VGG-16 weights for reconstruction errors"
        return Weights(VGG16, title, VGG16_FILE, VGG16_SHA256, "SINTRO_VGG16", urls=VGG16_URLS)
    return Weights(INCEPTION, "Inception weights for FID", INCEPTION_FILE, INCEPTION_SHA256, "SINTRO_INCEPTION")


def require_weights(name: str, root: Path) -> FileState:
    """Return the verified weights of this name. Raises SintroError where they are missing or not right."""
    return weights(name).require(root, fetch_command(name, root))


def why_no_dinov2(root: str | Path | None = None) -> str:
    """Say in a few words why DINOv2's metrics are not measured of photographs; "" where its weights are there.

    Raises SintroError where weights were supplied but are wrong, or are not where SINTRO_DINOV2 says.
    """
    return _what_lacks(DINOV2, data_root(root))


def why_no_lpips() -> str:
    """Say in a few words why LPIPS is not measured of photographs; "" where its weights and its package are there.

    Raises SintroError where weights were supplied but are wrong, or are not where SINTRO_LPIPS says.
    """
    return _what_lacks(LPIPS, data_root())


def _what_lacks(name: str, root: Path) -> str:
    """Return the command that gets missing weights or their package; "" where both are there.

    Raises SintroError where weights were supplied but are wrong: to skip their metrics silently would mislead.
    """
    wanted = weights(name)
    state = wanted.state(root)
    if wanted.named is None and state.state == "missing":
        return f"sintro fetch {name}"
    if state.state != "verified":
        require_weights(name, root)
    return install_command(name) if missing_package(name) else ""


def missing_package(name: str) -> str:
    """Return the name of the package without which these weights are of no use; "" where none is missing."""
    package = PACKAGES.get(name, "")
    return package if package and importlib.util.find_spec(package) is None else ""


def install_command(name: str) -> str:
    """Return the command that installs the package for weights."""
    return f"pip install 'sintro[{name}]'"


def are_photographs(dataset: str) -> bool:
    """Tell whether a data set has photographs that networks for photographs take: grey ones, or ones in colour."""
    one = components.dataset(dataset)
    return one.photographs and one.event[0] in (1, 3)


def missing_inception(dataset: str, root: str | Path | None = None) -> str | None:
    """Say in a line which metrics a data set's cells lack without Inception's weights; None where they lack none.

    Raises SintroError where weights were supplied but are wrong, or are not where SINTRO_INCEPTION says.
    """
    folder = data_root(root)
    if not are_photographs(dataset):
        return None
    check_folder(dataset, folder)
    if not _what_lacks(INCEPTION, folder):
        return None
    return (
        f"no Inception weights: {dataset} cells are measured by the data set's own classifier (cfid), without FID, "
        f"until they are there: {fetch_command(INCEPTION, folder)}, then sintro evaluate again"
    )
