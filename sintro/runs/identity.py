"""Which code a run is made with: a commit where one is known for certain, and always a hash of the sources.

A commit counts only if the package's own files are tracked by the repository that it is found in: an unpacked archive
inside another repository has none. Where there is no commit the reason is recorded. Imports no torch.
"""

import hashlib
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATES = "report/pages/templates"
SECONDS = 20  # after which git is given up, on a slow network file system

# Every repository is trusted, for these calls alone: this process runs the code that lies in it anyway. Git refuses
# one that belongs to somebody else (a clone that a group shares) because its configuration may name a program as file
# system monitor, which is therefore switched off.
TRUSTED = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")


class _NoAnswerError(Exception):
    """Git gave no answer; the message says why."""


@lru_cache(maxsize=4)
def identify(package: Path = PACKAGE) -> dict[str, Any]:
    """What is known of the code in the folder ``package``, for ``provenance.json``.

    ``commit``: the full hash of HEAD, or None; then ``commit_reason`` says why in a line.
    ``dirty``: whether tracked files differ from the commit, or untracked ones lie in the package; None without commit.
    ``sources_sha256``: see :func:`sources_sha256`.
    """
    found: dict[str, Any] = {"commit": None, "dirty": None}
    try:
        _check_tracked(package)
        found["commit"] = _git(package, "rev-parse", "--verify", "HEAD")
        found["dirty"] = _is_dirty(package)
    except _NoAnswerError as error:
        found["commit_reason"] = str(error)
    return found | {"sources_sha256": sources_sha256(package)}


def sources_sha256(package: Path = PACKAGE) -> str:
    """SHA-256 of what ``sha256sum`` prints for the package's files, in the order of their bytes.

    The files are all ``*.py`` and everything below ``report/pages/templates``, named relative to the package. By hand:
    ``cd sintro && find . -name '*.py' -o -path './report/pages/templates/*' -type f | cut -c3- | LC_ALL=C sort | xargs
    sha256sum | sha256sum``.
    """
    files = {*package.rglob("*.py"), *(package / TEMPLATES).rglob("*")}
    names = sorted(os.fsencode(path.relative_to(package).as_posix()) for path in files if path.is_file())
    listing = hashlib.sha256()
    for name in names:
        content = (package / os.fsdecode(name)).read_bytes()
        listing.update(hashlib.sha256(content).hexdigest().encode() + b"  " + name + b"\n")
    return listing.hexdigest()


def _check_tracked(package: Path) -> None:
    """Raise where the repository around the package does not hold the package's own files, or where there is none."""
    top = _git(package, "rev-parse", "--show-toplevel")
    if not top:
        raise _NoAnswerError(f"{package} lies in a repository without a working tree")
    if not _git(package, "ls-files", "--", "__init__.py"):
        raise _NoAnswerError(f"the files of {package} are not tracked by the repository {top}")


def _is_dirty(package: Path) -> bool:
    """Whether the project's tracked files differ from the commit, or untracked files lie in the package."""
    changed = _git(package.parent, "status", "--porcelain", "--untracked-files=no", "--", ".")
    untracked = _git(package, "status", "--porcelain", "--untracked-files=all", "--", ".")
    return bool(changed or untracked)


def _git(folder: Path, *arguments: str) -> str:
    """What git says in a folder. Raises :class:`_NoAnswerError` with its own words where it fails."""
    try:
        done = subprocess.run(
            ["git", *TRUSTED, "-C", str(folder), *arguments],
            capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env=_environment(),
        )  # fmt: skip
    except FileNotFoundError:
        raise _NoAnswerError("git is not installed here") from None
    except subprocess.TimeoutExpired:
        raise _NoAnswerError(f"git gave no answer within {SECONDS} seconds") from None
    except OSError as error:
        raise _NoAnswerError(f"git cannot be run: {error.strerror or error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _NoAnswerError(said[0] if said else f"git {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """This process's environment, without what points git to another repository (inside a hook, GIT_DIR).

    Git's messages are in English, and it takes no lock, so that a read-only clone and many jobs at once are fine.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}
    for name in ("GIT_CONFIG", "GIT_CONFIG_PARAMETERS"):
        kept.pop(name, None)
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
