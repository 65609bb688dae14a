"""Re-exports that import nothing until they are asked for: a package whose modules use torch is imported without it."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def reexport(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that re-exports names of its modules, each imported at its first use.

    Args:
        package: the package's name, its ``__name__``.
        modules: names by the full name of the module that defines them.
    """
    where = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(where[name]), name)

    return find
