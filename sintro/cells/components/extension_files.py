"""Extension files: where they are, how one is run, and what is said of one that fails. Imports no torch."""

import os
import re
import sys
import traceback
import types
from functools import lru_cache
from pathlib import Path

from sintro import SintroError

FOLDER = "extensions"
VARIABLE = "SINTRO_EXTENSIONS"


def extensions_folder() -> Path:
    """Find the folder of the user's components: $SINTRO_EXTENSIONS, else ``extensions`` where the suite runs."""
    return _as_path(os.environ.get(VARIABLE) or FOLDER)


_as_path = lru_cache(Path)  # every question to the registry asks for the folder


def run(path: Path, content: bytes) -> None:
    """Run an extension's content as a module.

    The content that is hashed is what runs: an import would read the file again, or run bytecode of an earlier second.
    """
    module = types.ModuleType(f"sintro_extension_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the annotations of a class
    exec(compile(content, str(path), "exec"), module.__dict__)


def names_in(path: Path) -> list[str]:
    """List the names that a broken file would register, as far as its text says them, and the file's own name."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return [path.stem, *re.findall(r"""^ +name\b[^=\n]*= *\(?["']([^"'\n]+)["']""", text, flags=re.MULTILINE)]


def may_be(name: str, token: str) -> bool:
    """Tell whether a part of a path may be this name, alone or with betas, a number or a partner in learning."""
    return re.fullmatch(rf"{re.escape(name)}(-rec.*|-lc|-encoder|[0-9].*)?", token) is not None


def line_of(error: BaseException, path: Path) -> str:
    """Find the line of an extension at which an error came up, as `:12`; empty where it is not known."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def in_a_line(error: BaseException) -> str:
    """Say an error in one line."""
    if isinstance(error, SintroError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}"
    return " ".join(f"{type(error).__name__}: {error}".split())
