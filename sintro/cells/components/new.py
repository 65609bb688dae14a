"""``sintro new KIND NAME``: an extension file with comments that works as it is. Imports no torch."""

import re
from pathlib import Path

from sintro import SintroError
from sintro.cells.components.component import LEGAL_NAME
from sintro.cells.components.extension_files import extensions_folder
from sintro.cells.components.registry import current

TEMPLATES = Path(__file__).with_name("templates")


def write(kind: str, name: str) -> Path:
    """Write ``extensions/NAME.py`` from the template of a kind; returns its path.

    Kinds are "density", "images", "prior" and "objective".

    Raises SintroError for a name that is not legal or not free, and for a file that is there.
    """
    if not re.fullmatch(LEGAL_NAME, name) or name == "results":
        raise SintroError(
            f"{kind} name {name!r}: legal are lower-case letters, digits, - and _, beginning with a letter or a digit, "
            "and not 'results'"
        )
    path = extensions_folder() / f"{name}.py"
    if path.exists():
        raise SintroError(f"{path} is there already: change it, or choose another name")
    every = [one for known in current().known.values() for one in known.values()]
    if any(one.name == name or one.spells(name) for one in every):
        raise SintroError(f"{kind} name {name!r}: there is a component of this name; choose another one")
    words = re.split(r"[-_]", name)
    class_name = "".join(word.capitalize() for word in words)
    class_name = class_name if class_name.isidentifier() else f"Set{class_name}"
    text = (TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text.replace("CLASS", class_name).replace("NAME", name))
    return path
