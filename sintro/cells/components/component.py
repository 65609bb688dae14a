"""The base of data sets, priors and objectives: a name, the file that defines it, and the attributes it must have."""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from sintro import SintroError

# Whose program is followed where the two papers' programs differ: Athanasiadis et al. (pl) or Daniel & Tamar (si).
PROTOCOLS = ("pl", "si")
LEGAL_NAME = r"[a-z0-9][a-z0-9_-]*"


class Row(NamedTuple):
    """Hyper-parameters, the objectives for which they hold (None: all), and the source in which they were read.

    ``values`` are fields of ``sintro.cells.settings.Settings``, those that the table's rows set and ``mirror``; and the
    schedule: ``unit`` ("iterations" or "epochs"), and in that unit ``length``, ``warmup``, ``conversion_lead``,
    ``milestones`` and ``snapshots``.
    """

    objectives: tuple[str, ...] | None
    values: Mapping[str, Any]
    source: str
    protocols: tuple[str, ...] = PROTOCOLS


class Check(NamedTuple):
    """Which values of an attribute are legal, and the words for these."""

    is_legal: Callable[[Any], bool]
    legal: str


def is_count(value: Any) -> bool:
    """Tell whether a value is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


COUNT = Check(is_count, "a whole number above 0")
TEXT = Check(lambda value: isinstance(value, str), "a text")
SWITCH = Check(lambda value: isinstance(value, bool), "True or False")


class UnknownComponent(SintroError):
    """A name that no component has.

    ``what``: the kind of component that it should name; ``broken``: whether a broken extension would define it.
    """

    def __init__(self, said: str, what: str, name: str, broken: bool):
        super().__init__(said)
        self.what, self.name, self.broken = what, name, broken


class Component:
    """A data set, a prior or an objective: one object that tells the suite everything about it.

    ``source`` is the extension file that defines it, ``sha256`` the hash of the file's content; both are None for a
    component of the suite's own. The registry sets them. ``is_gone``: it stands in for one whose extension is gone, so
    that its results can be shown; nothing can be made with it (``sintro.cells.components.stand_ins``).
    """

    what: ClassVar[str]  # "dataset", "prior" or "objective": the word of error messages
    needs: ClassVar[tuple[str, ...]]  # attributes and methods that a component must have
    checks: ClassVar[Mapping[str, Check]] = {}  # of attributes that are plain values
    name: str  # as it stands in a path
    rows: tuple[Row, ...] = ()  # of a data set or an objective: hyper-parameters of its own
    source: Path | None = None
    sha256: str | None = None
    is_gone: bool = False

    def spells(self, name: str) -> bool:
        """Return whether a name would be read as this component with an addition, such as betas."""
        return False

    def problem(self) -> str:
        """Say in a line why the component cannot be registered; "" where it can."""
        kind = type(self).__name__
        for attribute in ("name", *self.needs):
            if inspect.getattr_static(self, attribute, None) is None:  # without running a property
                return f"{self.what} {kind} lacks {attribute!r}; it needs {', '.join(('name', *self.needs))}"
        if wrong := wrong_name(self.what, self.name):
            return wrong
        for attribute, check in self.checks.items():
            value = inspect.getattr_static(self, attribute)
            is_computed = hasattr(type(value), "__get__")  # a property may need what is not there yet
            if not is_computed and not check.is_legal(value):
                return f"{self.what} {self.name!r}: {attribute} is {value!r}; legal is {check.legal}"
        wrong = _what_is_wrong(self.rows)
        return wrong and f"{self.what} {self.name!r}: rows {wrong}"


def _what_is_wrong(rows: Any) -> str:
    """Say in what a component's rows are none; empty where they are."""
    if not isinstance(rows, tuple | list):
        return f"is {rows!r}; legal is a tuple of Row"
    for row in rows:
        if not isinstance(row, Row):
            return f"holds {row!r}, which is no Row"
        if not isinstance(row.values, Mapping) or isinstance(row.objectives, str):
            return (
                f"holds {row!r}; legal is Row(objectives, {{name: value}}, source), objectives as VAE or SOFT, or None"
            )
    return ""


def wrong_name(kind: str, name: Any) -> str:
    """Say why a component of a kind cannot have this name; "" where it can."""
    if isinstance(name, str) and re.fullmatch(LEGAL_NAME, name) and name != "results":
        return ""
    return (
        f"{kind} name {name!r}: legal are lower-case letters, digits, - and _, beginning with a letter or a digit, and "
        "not 'results'"
    )
