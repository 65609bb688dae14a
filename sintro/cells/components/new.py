"""``sintro new KIND NAME``: an extension file with comments that works as it is. Imports no torch."""

import re
from keyword import iskeyword
from pathlib import Path

from sintro import SintroError
from sintro.cells.components.component import wrong_name
from sintro.cells.components.extension_files import extensions_folder
from sintro.cells.components.registry import current, read_name

TEMPLATES = Path(__file__).with_name("templates")
EXAMPLES = {  # a cell with a component of each kind, by its dataset, objective, prior and regularizers
    "density": "{}/soft-introvae/mog64-learned/clip",
    "images": "{}/vae/normal/none",
    "prior": "8gaussians/soft-introvae/{}/none",
    "objective": "8gaussians/{}/normal/none",
}


def write(kind: str, name: str) -> Path:
    """Write ``extensions/NAME.py`` from the template of a kind of ``EXAMPLES``; return its path.

    Raises SintroError for a name that is not legal or not free, and for a file that is there.
    """
    if reason := wrong_name(kind, name):
        raise SintroError(reason)
    path = extensions_folder() / f"{name}.py"
    if path.exists():
        raise SintroError(f"{path} is there already: change it, or choose another name")
    every = [one for known in current().known.values() for one in known.values()]
    is_read = kind in ("density", "images") and read_name(name) is not None  # the name of a prepared folder
    if is_read or any(one.name == name or one.spells(name) for one in every):
        raise SintroError(f"{kind} name {name!r}: there is a component of this name; choose another one")
    words = re.split(r"[-_]", name)
    class_name = "".join(word.capitalize() for word in words)
    is_legal = class_name.isidentifier() and not iskeyword(class_name)
    class_name = class_name if is_legal else f"Set{class_name}"
    text = (TEMPLATES / f"{kind}.py.txt").read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text.replace("CLASS", class_name).replace("NAME", name))
    return path
