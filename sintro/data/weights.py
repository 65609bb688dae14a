"""Files of network weights that metrics need: where they may lie, whether their content is right, how to get them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import hash_file
from sintro.data.published import FileState

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]


@contextmanager
def reading(path: Path, title: str, network: str) -> Iterator[None]:
    """Turn what goes wrong while weights are read and given to a network into one line.

    Raises SintroError, which says that the ``title`` weights cannot be read, or that the file does not hold the weights
    of the ``network``.
    """
    try:
        yield
    except OSError as error:
        raise SintroError(f"{title} weights {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch.load and load_state_dict raise many kinds for a file that is no such weights
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SintroError(f"{path} does not hold the weights of {network}: {reason}") from error


@dataclass(frozen=True)
class Weights:
    """One published file of weights.

    ``name`` is that of ``sintro fetch``, ``title`` says for what they are. ``sha256``: all of its digits, or the first
    ones, where its publisher gives no more. ``variable``: of the environment, names another place. ``urls``: addresses.
    """

    name: str
    title: str
    file: str
    sha256: str
    variable: str
    bytes: int | None = None
    urls: tuple[str, ...] = ()

    def fetched_to(self, root: Path) -> Path:
        """The place to which it is fetched."""
        return root / self.name / self.file

    @property
    def named(self) -> Path | None:
        """The file that the environment names."""
        given = os.environ.get(self.variable)
        return Path(os.path.expanduser(given)) if given else None

    def places(self, root: Path) -> list[Path]:
        """Return the paths where the file may lie, in the order of the search."""
        import torch

        usual = [self.fetched_to(root), Path(torch.hub.get_dir()) / "checkpoints" / self.file]
        return [self.named, *usual] if self.named else usual

    def state(self, root: Path) -> FileState:
        """Return the state of the first right file, else of the first file there is.

        If the environment names a file, only that one counts.
        """
        looked = self.places(root)
        if self.named:
            looked = looked[:1]
        found = [self.inspect(path) for path in looked]
        there = [state for state in found if state.state != "missing"]
        right = [state for state in there if state.state == "verified"]
        if not there:
            return FileState(looked[0], "missing", "looked for: " + ", ".join(map(str, looked)))
        return (right or there)[0]

    def inspect(self, path: Path) -> FileState:
        """Check one file, by its size where that is known and by its sha256."""
        try:
            size = path.stat().st_size
            is_whole = self.bytes in (None, size)
            sha256 = hash_file(path) if is_whole else ""
        except FileNotFoundError:
            return FileState(path, "missing")
        except OSError as error:
            return FileState(path, "unreadable", error.strerror or str(error))
        if not is_whole:
            return FileState(path, "corrupted", f"it has {size:,} bytes, not {self.bytes:,}", None, size)
        if not sha256.startswith(self.sha256):
            reason = f"its sha256 begins with {sha256[:8]}, not with {self.sha256[:8]}; it has {size:,} bytes"
            return FileState(path, "corrupted", reason, sha256, size)
        return FileState(path, "verified", sha256=sha256, bytes=size)

    def remedy(self, state: FileState, fetch: str) -> str:
        """Say in a line how to get right weights, with the command ``fetch``. It never asks to copy a file to a place
        where one lies.
        """
        if self.named:
            return f"let {self.variable} name {self.file}, or unset it and run: {fetch}"
        if state.state == "unreadable":
            return f"ask its owner to let you read it, or name another copy in {self.variable}"
        if state.state == "corrupted":
            return f"delete it and run: {fetch} (without a network, name a right copy in {self.variable})"
        return f"{fetch} (without a network, copy the file to {state.path}, or name a copy in {self.variable})"

    def require(self, root: Path, fetch: str) -> FileState:
        """Return the verified file. Raises SintroError, which tells the command ``fetch``, where there is none."""
        state = self.state(root)
        if state.state != "verified":
            what = state.reason if state.state == "missing" else f"{state.path}: {state.reason}"
            raise SintroError(f"{self.title} are {state.state} ({what}); {self.remedy(state, fetch)}")
        return state
