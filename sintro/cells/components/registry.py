"""The one door for components: the suite's own and the user's ``extensions/*.py`` are registered by the same function.

A file of the folder ``extensions`` (where the suite runs; ``$SINTRO_EXTENSIONS`` names another one) is a Python module
that registers what it defines:

    from sintro.cells.components import Density, register

    @register
    class Moons(Density):
        name = "moons"
        ...

A process runs each file once, when it asks for the first component. A broken file harms only the cells that name its
components: its error is kept, and said where a name is not found. Imports no torch.
"""

import hashlib
import importlib
import os
import re
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from sintro import SintroError
from sintro.cells.components.component import Component, UnknownComponent
from sintro.cells.components.dataset import Dataset
from sintro.cells.components.extension_files import (
    VARIABLE,
    extensions_folder,
    in_a_line,
    line_of,
    may_be,
    names_in,
    run,
)
from sintro.cells.components.objective import Betas, Objective
from sintro.cells.components.prior import Prior, PriorSpec
from sintro.cells.components.spelling import suggestion

# The modules that register the suite's own, by name, as an extension is found by its file: nothing here needs them.
BUILT_IN = (
    "sintro.data.densities",
    "sintro.data.image_sets",
    "sintro.data.factor_sets",
    "sintro.data.rendered_sets",
    "sintro.data.folders",
    "sintro.priors.builtin",
    "sintro.objectives.builtin",
)
KINDS = (Dataset, Prior, Objective)

AnyComponent = TypeVar("AnyComponent", bound=Component)
Given = TypeVar("Given", bound=Component | type[Component])
Reader = TypeVar("Reader", bound=Callable[[str], Dataset | None])


class Registry:
    """All known components: the suite's own, and those of one folder of extensions.

    ``known``: by kind and name. ``broken``: the error of each file that could not be read. ``claimed``: which broken
    file a name belongs to, by the file's own name and by the names that stand in it. ``told``: the files whose error
    was printed.
    """

    def __init__(self) -> None:
        self.known: dict[type, dict[str, Component]] = {kind: {} for kind in KINDS}
        self.broken: dict[Path, str] = {}
        self.claimed: dict[str, Path] = {}
        self.told: set[Path] = set()

    def read(self, folder: Path) -> None:
        """Take in the suite's own components, then those of the folder's files in the order of their names."""
        for module in BUILT_IN:
            importlib.import_module(module)
            for component in _own[module]:
                self.add(component)
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            if os.environ.get(VARIABLE):
                self.broken[folder] = f"{VARIABLE} {folder} cannot be read: {error.strerror}"
            return
        for name in names:
            if name.endswith(".py") and not name.startswith((".", "_")):
                self._read_file(folder / name)

    def _read_file(self, path: Path) -> None:
        """Run one extension file. All of its components are registered, or none of them where it fails."""
        load = _Load(self, [])
        _loading.append(load)
        try:
            content = path.read_bytes()
            run(path, content)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's file may raise anything, SystemExit included
            self.broken[path] = f"{path}{line_of(error, path)}: {in_a_line(error)}"
            self.claimed |= dict.fromkeys(names_in(path), path)
            return
        finally:
            _loading.pop()
        for component in load.found:
            component.source, component.sha256 = path, hashlib.sha256(content).hexdigest()
            self.add(component)

    def add(self, component: Component) -> None:
        """Take a component in, without any check."""
        self.known[kind_of(component)][component.name] = component

    def refuse_clash(self, component: Component, before: list[Component]) -> None:
        """Raise SintroError where a component of this kind and name is there, or ``before`` it in the same file."""
        kind = kind_of(component)
        there = self.known[kind].get(component.name)
        if there is not None:
            whose = f"{there.source} defines it too" if there.source else "the suite itself has one of this name"
            raise SintroError(f"{component.what} {component.name!r}: {whose}")
        if kind is Dataset and read_name(component.name) is not None:
            raise SintroError(f"dataset {component.name!r}: such a name is that of a prepared folder")
        if kind is Objective and component.like not in (None, *self.known[kind]):
            legal = ", ".join(self.known[kind])
            raise SintroError(f"objective {component.name!r}: like {component.like!r} is not one of {legal}")
        if kind is Objective and component.introspective and component.like is not None:
            legal = [name for name, one in self.known[kind].items() if one.introspective]
            if component.like not in legal:
                raise SintroError(
                    f"objective {component.name!r}: like {component.like!r} has no hyper-parameters of introspective "
                    f"iterations; legal are {', '.join(legal)}"
                )
        if spelt := [one.name for one in self.known[kind].values() if one.spells(component.name)]:
            raise SintroError(f"{component.what} {component.name!r} is a spelling of {component.what} {spelt[0]!r}")
        if any(kind_of(one) is kind and one.name == component.name for one in before):
            raise SintroError(f"{component.what} {component.name!r} is registered twice")

    def find(self, kind: type[AnyComponent], name: str) -> AnyComponent:
        """Find the component of this kind and name. Raises SintroError with the legal names, and what is broken."""
        found = self.known[kind].get(name)
        if found is None and kind is Dataset:
            found = read_name(name)
        if found is None:
            names = list(self.known[kind])
            said = f"{kind.what} {name!r} is not one of {', '.join(names)}{suggestion(name, names)}"
            raise self.unknown(said, kind.what, name)
        return found

    def unknown(self, said: str, what: str, name: str) -> UnknownComponent:
        """Make the error about an unknown name: that of the broken file which would define it, if there is one."""
        path = next((path for owner, path in self.claimed.items() if may_be(owner, name)), None)
        if path is not None:
            said = f"{what} {name!r} is of an extension that cannot be read: {self.broken[path]}"
            return UnknownComponent(said, what, name, broken=True)
        said = "; ".join([said, *(f"not read: {error}" for error in self.broken.values())])
        return UnknownComponent(said, what, name, broken=False)


class _Load(NamedTuple):
    """The file that runs now: for which registry, and which components it has registered so far."""

    registry: Registry
    found: list[Component]


_loading: list[_Load] = []
_own: dict[str, list[Component]] = {}  # the suite's own components, by the module that registers them
_registries: dict[tuple[str, str], Registry] = {}
_readers: list[Callable[[str], Dataset | None]] = []


def register(component: Given) -> Given:
    """Register a component, or a class of which one is made without arguments; returns what it was given.

    Raises SintroError for a name that is not legal or not free, and for a missing attribute or method.
    """
    one = component() if isinstance(component, type) else component
    if not isinstance(one, KINDS):
        raise SintroError(f"register takes a data set, a prior or an objective, not {component!r}")
    before = list(_loading[-1].found) if _loading else []
    if _loading:
        _loading[-1].found.append(one)
    if problem := one.problem():
        raise SintroError(problem)
    if _loading:
        _loading[-1].registry.refuse_clash(one, before)
    else:
        _own.setdefault(type(one).__module__, []).append(one)
    return component


def register_reader(read: Reader) -> Reader:
    """Let in every data set whose name a function reads: it returns the data set, or None for a name of another form.

    These data sets are not listed, since there is no end to them.
    """
    _readers.append(read)
    return read


def read_name(name: str) -> Dataset | None:
    """Return the data set that a name describes by itself, such as a prepared folder's; None where it does not."""
    return next((found for read in _readers if (found := read(name)) is not None), None)


def current() -> Registry:
    """Return the registry that holds where the suite runs; a process reads a folder's files once."""
    folder = extensions_folder()
    key = os.getcwd(), str(folder)
    if key not in _registries:
        _registries[key] = Registry()  # an extension that asks for a component while it is read finds what there is
        _registries[key].read(folder)
    return _registries[key]


def kind_of(component: Component) -> type[Component]:
    """Tell which of KINDS a component is."""
    return next(kind for kind in KINDS if isinstance(component, kind))


# --- asking


def datasets(kind: str | None = None) -> dict[str, Dataset]:
    """List the data sets by name, all or only one kind ("2d", "images")."""
    known = current().known[Dataset]
    return {name: one for name, one in known.items() if kind in (None, one.kind)}


def dataset(name: str) -> Dataset:
    """Find the data set of this name. Raises SintroError with the legal names if there is none."""
    return current().find(Dataset, name)


def priors() -> dict[str, Prior]:
    """List the priors by name."""
    return current().known[Prior]


def prior(name: str) -> Prior:
    """Find the prior of this name (a ``PriorSpec.kind``). Raises SintroError with the legal names if there is none."""
    return current().find(Prior, name)


def objectives() -> dict[str, Objective]:
    """List the objectives by name."""
    return current().known[Objective]


def objective(name: str) -> Objective:
    """Find the objective of this name, without betas. Raises SintroError with the legal names if there is none."""
    return current().find(Objective, name)


def unknown(said: str, name: str) -> UnknownComponent:
    """Make the error ``said`` about an unknown data set, or that of the extension which would define it."""
    return current().unknown(said, "dataset", name)


def fault(error: BaseException) -> str | None:
    """Say in a line where an extension failed while it was used, and how; None of an error that came up elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {str(one.source): one.source for known in current().known.values() for one in known.values() if one.source}
    guilty = next((frame for frame in reversed(frames) if frame.filename in files), None)
    return guilty and f"{guilty.filename}:{guilty.lineno}: {in_a_line(error)}"


def broken() -> dict[Path, str]:
    """List the extension files that could not be read, each with the reason in a line."""
    return current().broken


def news_of_broken(said: str = "") -> list[str]:
    """Say once in a process why each extension file could not be read, unless ``said`` has said it already."""
    registry = current()
    new = [path for path in registry.broken if path not in registry.told]
    registry.told.update(new)
    return [registry.broken[path] for path in new if registry.broken[path] not in said]


# --- reading the parts of a path


def parse_prior(token: str) -> PriorSpec:
    """Read `mog64-learned-lc`: kind, components, learned, contributions, cooperation.

    Raises SintroError with the legal spellings.
    """
    return _parse_prior(current(), token)


@lru_cache(maxsize=4096)
def _parse_prior(registry: Registry, token: str) -> PriorSpec:
    known = registry.known[Prior].values()
    for one in known:
        if (spec := one.parse(token)) is not None:
            return spec
    spellings = [spelling for one in known for spelling in one.spellings]
    notes = "; ".join(["K a number", *(one.note for one in known if one.note)])
    number = next(iter(re.findall(r"[0-9]+", token)), "64")  # suggest with the components that the word itself names
    near = suggestion(token, [spelling.replace("K", number) for spelling in spellings])
    raise registry.unknown(f"prior {token!r} is not one of {', '.join(spellings)} ({notes}){near}", "prior", token)


def parse_objective(token: str) -> tuple[str, Betas | None, float | None]:
    """Read `introvae-rec0.2-kl0.3-neg1-margin10`: name, betas and margin, None where the token gives none.

    Raises SintroError with the legal spellings.
    """
    return _parse_objective(current(), token)


@lru_cache(maxsize=65536)
def _parse_objective(registry: Registry, token: str) -> tuple[str, Betas | None, float | None]:
    known = registry.known[Objective]
    examples = ", ".join(one.example for one in known.values() if one.example)
    legal = f"{', '.join(known)}, or with explicit betas {examples}"
    begun = [name for name in known if token == name or token.startswith(f"{name}-")]
    if not begun:
        said = f"objective {token!r} is not one of {legal}{suggestion(token, known)}"
        raise registry.unknown(said, "objective", token)
    try:
        return known[max(begun, key=len)].parse(token, legal)
    except SintroError as error:  # `vae-annealed` may be one of an extension that is broken or gone
        raise registry.unknown(str(error), "objective", token) from None
