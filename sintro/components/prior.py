"""What a prior says of itself: how its name is spelt in a path, and what that spelling means. Imports no torch."""

from typing import Literal, NamedTuple

from sintro.components.component import Component


class PriorSpec(NamedTuple):
    """What a prior's spelling says; ``kind`` is the component's name, ``learned``: it learns after the warm-up too."""

    kind: str
    components: int | None = None
    learned: bool = False
    contributions: bool = False
    cooperation: Literal["decoder", "encoder"] | None = None


class Prior(Component):
    """A prior.

    ``spellings`` are its legal spellings, with K for a number, and ``note`` what is to be said of them in an error.
    ``parse(token)`` returns what a spelling means, or None for a token that is none of this prior's; it raises
    SintroError for one that is, and is wrong.
    """

    what = "prior"
    needs = ("spellings", "parse")
    spellings: tuple[str, ...]
    note: str = ""
