"""How a page comes to be: templates, addresses between pages, and the writer that leaves unchanged pages alone.

Every page carries its script and what the report draws in itself. Pages of cells, which are thousands, link to their
style and to the pictures of the cells' folders, and show them as long as reports/ and results/ stay beside each other.
A self-contained page carries these too, and so does every other page. A content security policy in each page forbids
any other request and any script but the page's own, whatever the strings of a results folder hold.
"""

import base64
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import sintro
from sintro.basics.files import write_atomic
from sintro.cells import components
from sintro.report.figures.captions import figure_paths
from sintro.report.figures.style import data_uri
from sintro.report.numbers import words
from sintro.report.numbers.results import FILES, Result

View = dict[str, Any]  # what a template is given of one thing: texts, numbers, addresses
TEMPLATES = Path(__file__).parent / "templates"
REPORT = Path(__file__).parents[1]
MANIFEST = ".built.json"
SCRIPTS = {"study.html": "tables.js"}  # of the pages with tables of results; the others have copy buttons at most
COPY_SCRIPT = "copy.js"
STYLE = "style.css"  # beside the index, for the pages that link to it


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Load the templates, with everything escaped that is not a template's own text."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["version"] = sintro.__version__
    made.filters |= {"plural": words.plural, "number": words.show_number, "with_code": _with_code}
    return made


def _with_code(text: str) -> Markup:
    """Escape the text, and mark up the names that stand between backticks in it."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))


@lru_cache(maxsize=2)
def script_of(name: str) -> View:
    """Read a script, and digest it as a page's content security policy names it."""
    script = (TEMPLATES / name).read_text(encoding="utf-8")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": script, "script_hash": hashed}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Digest the code and templates whose texts pages show, and the user's components.

    When one of them changes, every page is stale: the report's own, the metrics' and those of cells and their settings.
    """
    code = [path for room in ("cells", "metrics", "report") for path in (REPORT.parent / room).rglob("*.py")]
    digest = hashlib.sha256(sintro.__version__.encode())
    for path in sorted([*code, *TEMPLATES.iterdir()]):
        digest.update(path.read_bytes())
    for known in (components.datasets(), components.priors(), components.objectives()):
        for name, component in known.items():
            digest.update(f"{name} {component.sha256}\n".encode())
    return digest.hexdigest()[:16]


def cell_page(result: Result) -> str:
    """Address the cell's page, relative to the reports folder."""
    return "/".join((*result.group, f"seed{result.cell.seed}.html"))


def group_page(results: Sequence[Result]) -> str:
    """Address the page of a group of seeds; a group of one seed has its cell's page."""
    if len(results) == 1:
        return cell_page(results[0])
    return "/".join((*results[0].group, "index.html"))


def relative(target: str, page: str) -> str:
    """Address one page as seen from another, both relative to the reports folder."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


@dataclass
class Writer:
    """Writes a study's pages below ``reports``; a page whose sources have not changed is left alone."""

    reports: Path
    name: str
    self_contained: bool = False  # whether pages of cells carry their style and pictures in themselves
    known: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            stored = json.loads((self.reports / self.name / MANIFEST).read_text(encoding="utf-8"))
            self.known = {str(page): str(key) for page, key in stored.items()}
        except (OSError, ValueError, AttributeError):
            self.known = {}  # a manifest that cannot be read only costs time

    def page(self, page: str, key: str, render: Callable[[], str]) -> None:
        """Write the page, unless it is there, whole, and was made from the same (``key``)."""
        path = self.reports / page
        known = self.known.get(page, "").split()  # the key, and the size of what was written
        if known != [key, str(size_of(path))]:
            content = render().encode()
            # Thousands of pages would wait for the disk for minutes; one that a crash cuts short is found by its size.
            write_atomic(path, content, durable=False)
            self.written.append(path)
            known = [key, str(len(content))]
        self.made[page] = " ".join(known)

    def picture(self, path: Path, page: str) -> str:
        """Address a picture of a cell's folder for an ``img`` of the page: as a relative link, or as its bytes."""
        if self.self_contained:
            return data_uri(path.read_bytes())
        return quote(self.address(path, page))

    def address(self, path: Path, page: str) -> str:
        """Address a file, wherever it is, as seen from a page."""
        return os.path.relpath(path, (self.reports / page).parent).replace(os.sep, "/")

    def always(self, page: str, content: str | bytes) -> None:
        """Write a page, an export or a picture whatever was there."""
        path = self.reports / page
        write_atomic(path, content)
        self.written.append(path)

    def finish(self) -> None:
        """Remove pages of cells that the study no longer has, and keep the manifest."""
        for page in set(self.known) - set(self.made):
            is_ours = re.fullmatch(r"[\w./-]+\.html", page) and ".." not in page and not page.startswith("/")
            if is_ours:
                (self.reports / page).unlink(missing_ok=True)
        write_atomic(self.reports / self.name / MANIFEST, json.dumps(self.made, sort_keys=True))


def size_of(path: Path) -> int:
    """Measure the file in bytes, -1 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def stamp(paths: Iterable[Path]) -> str:
    """List sizes and times of the files, missing ones included: the text changes when one of them does."""
    parts = []
    for path in paths:
        try:
            status = path.stat()
            parts.append(f"{status.st_mtime_ns}:{status.st_size}")
        except OSError:
            parts.append("-")
    return ",".join(parts)


def page_key(*parts: Any) -> str:
    """Digest everything a page is made from."""
    content = repr((code_digest(), *parts))
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def result_stamp(result: Result) -> str:
    """Spell everything about a cell that its page is made from: state, remarks, and the times of its files."""
    files = [result.folder / name for name in FILES] + figure_paths(result.folder)
    return f"{result.state} {result.reason} {result.notes} {result.archived} {stamp(files)}"


def render(template: str, page: str, **context: Any) -> str:
    """Fill a template; ``link(target)`` in it makes an address relative to the page.

    ``is_linked``: whether the page links to its style, and may show pictures that it does not carry.
    """
    common = {"link": lambda target: relative(target, page), "page": page, "is_linked": False}
    common |= script_of(SCRIPTS.get(template, COPY_SCRIPT))
    return environment().get_template(template).render(common | context)
