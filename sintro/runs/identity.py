"""The code that a run is made with: its commit where that is certain, and always a hash of the sources.

A commit counts only where the repository around the package tracks the package's files; an archive unpacked inside
another repository has none. Where there is no commit, the reason is recorded. Imports no torch.
"""

import hashlib
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATES = "report/pages/templates"
SECONDS = 20  # that git may take, on a slow network file system

# Git refuses a repository that belongs to somebody else (a clone that a group shares), because its configuration may
# name a program as file system monitor. These calls trust every repository, since this process runs its code anyway,
# and switch the monitor off.
TRUSTED = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")


class _NoAnswerError(Exception):
    """Git gave no answer; the message says why."""


@lru_cache(maxsize=4)
def identify(package: Path = PACKAGE) -> dict[str, Any]:
    """Identify the code in the folder ``package``, for ``provenance.json``.

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
    """Return the SHA-256 of the list that ``sha256sum`` prints of the package's files, sorted by the names' bytes.

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
    """Raise where no repository is around the package, or where it does not track the package's files."""
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
    """Run git in a folder and return its output. Raises :class:`_NoAnswerError` with git's own words where it fails."""
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
    """Return this process's environment without the variables that lead git to another repository (GIT_DIR in a hook).

    Git's messages are in English, and it takes no lock, so that a read-only clone and many jobs at once are fine.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}
    for name in ("GIT_CONFIG", "GIT_CONFIG_PARAMETERS"):
        kept.pop(name, None)
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
