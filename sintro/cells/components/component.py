"""What data sets, priors and objectives have in common: a name, the file they come from, and what they must say."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from sintro import SintroError

# Whose program is followed where the two papers' differ: Athanasiadis et al. (prior learning) or Daniel & Tamar.
PROTOCOLS = ("pl", "si")
LEGAL_NAME = r"[a-z0-9][a-z0-9_-]*"


class Row(NamedTuple):
    """Hyper-parameters, for which objectives they hold (None: for every one), and where they were read.

    ``values`` are fields of ``sintro.cells.settings.Settings``, and the schedule: ``unit`` ("iterations" or "epochs"),
    and in that unit ``length``, ``warmup``, ``conversion_lead``, ``milestones`` and ``snapshots``.
    """

    objectives: tuple[str, ...] | None
    values: Mapping[str, Any]
    source: str
    protocols: tuple[str, ...] = PROTOCOLS


class UnknownComponent(SintroError):
    """A name that no component has: ``what`` it is the name of, and whether a ``broken`` extension would define it."""

    def __init__(self, said: str, what: str, name: str, broken: bool):
        super().__init__(said)
        self.what, self.name, self.broken = what, name, broken


class Component:
    """A data set, a prior or an objective: one object that says everything the suite needs to know about it.

    ``source`` is the extension file that defines it and ``sha256`` that of the file's content; both are None for a
    component of the suite's own. The registry sets them.
    """

    what: ClassVar[str]  # "dataset", "prior" or "objective": the word of error messages
    needs: ClassVar[tuple[str, ...]]  # attributes and methods that a component must have
    name: str  # as it stands in a path
    source: Path | None = None
    sha256: str | None = None

    def spells(self, name: str) -> bool:
        """Whether a name would be read as this component with something more."""
        return False

    def problem(self) -> str:
        """Why the component cannot be registered, in a line; empty where it can."""
        kind = type(self).__name__
        for attribute in ("name", *self.needs):
            if inspect.getattr_static(self, attribute, None) is None:  # without running a property
                return f"{self.what} {kind} lacks {attribute!r}; it needs {', '.join(('name', *self.needs))}"
        if not isinstance(self.name, str) or not re.fullmatch(LEGAL_NAME, self.name) or self.name == "results":
            return (
                f"{self.what} name {self.name!r}: legal are lower-case letters, digits, - and _, beginning with a "
                "letter or a digit, and not 'results'"
            )
        return ""
