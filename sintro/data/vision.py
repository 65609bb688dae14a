"""torchvision, importable even where its compiled operators cannot be loaded.

A torchvision built for CUDA cannot load its operators beside a CPU build of torch. Its import then fails, because it
describes two of them ("operator torchvision::nms does not exist"). This project uses no operator, so it is enough to
declare the two names before the import, where the operators do not exist. All code of this project that needs
torchvision, or pytorch-fid, which imports it, goes through this module:

    from sintro.data.vision import fid_inception, torchvision
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from sintro import SintroError

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[torch.library.Library] = []  # kept, since a library takes its schemas along when it is freed


def optional(package: str, what: str, extra: str) -> Any:
    """Import an optional package that uses torchvision. Raises SintroError where it is missing: what installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SintroError(f"{what} needs {package} ({error}); run: pip install 'sintro[{extra}]'") from None


def _load_operators() -> None:
    """Load torchvision's operators as its import does, but before it, to learn whether that succeeds."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    finder = importlib.machinery.FileFinder(
        str(Path(spec.origin).parent), (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    )
    operators = finder.find_spec("_C")
    if operators is not None:
        with contextlib.suppress(OSError):  # a library that it links to is missing: torch is of another build
            torch.ops.load_library(operators.origin)


def declare_missing_operators() -> list[str]:
    """Declare the schemas of the operators that do not exist, and return their names. A second call does nothing."""
    if "torchvision" not in sys.modules:
        _load_operators()
    missing = [schema for schema in SCHEMAS if not hasattr(torch.ops.torchvision, schema.partition("(")[0])]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in missing:
            library.define(schema)
        _declared.append(library)
    return [schema.partition("(")[0] for schema in missing]


declare_missing_operators()

import torchvision  # noqa: E402
from pytorch_fid import inception as fid_inception  # noqa: E402

__all__ = ["declare_missing_operators", "fid_inception", "torchvision"]
