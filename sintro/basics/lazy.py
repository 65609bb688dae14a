"""Re-export names lazily: a package whose modules use torch is imported without torch."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def reexport(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that re-exports names; a module is imported when its name is first used.

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
