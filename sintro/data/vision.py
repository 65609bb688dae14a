"""torchvision, importable also where its compiled operators are not.

A torchvision built for CUDA cannot load its operators beside a CPU build of torch, and then fails at import while it
describes two of them ("operator torchvision::nms does not exist"). Nothing here uses operators; only their names are
missing. So their schemas are declared before the import, and not declared where the operators exist. Everything in this
project that needs torchvision, or pytorch-fid, which imports it, goes through this module:

    from sintro.data.vision import fid_inception, torchvision
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[torch.library.Library] = []  # a library that is collected takes its schemas away


def _load_operators() -> None:
    """What torchvision itself does first when imported, done early to learn whether it will succeed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    finder = importlib.machinery.FileFinder(
        str(Path(spec.origin).parent), (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    )
    operators = finder.find_spec("_C")
    if operators is not None:
        with contextlib.suppress(OSError):  # a library it was linked with is not there: torch is of another build
            torch.ops.load_library(operators.origin)


def declare_missing_operators() -> list[str]:
    """Declare the schemas whose operators do not exist; returns their names. Does nothing when called again."""
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
