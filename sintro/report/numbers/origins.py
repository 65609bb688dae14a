"""What two results folders were made with, and which cells only one of them has: all that may explain a difference."""

from collections import Counter
from typing import NamedTuple

from sintro.report.numbers.results import Result
from sintro.report.numbers.trees import Tree, one_line
from sintro.report.numbers.words import ABSENT, plural, show_setting

# What provenance.json says of code, packages and machine, in the order shown.
VERSIONS = (
    "commit", "dirty", "sources_sha256", "version", "python", "torch", "numpy", "numba", "cuda", "device", "gpu", "cpu",
    "platform", "hostname", "threads", "data_sha256",
)  # fmt: skip
MOST_VALUES = 4  # of one kind told for a side


class Differing(NamedTuple):
    """A setting or a version that differs: what it is, its values on either side, and in how many pairs of cells."""

    name: str
    a: str
    b: str
    cells: int


class Unmatched(NamedTuple):
    """A cell that has a result on one side only: which side, and what is known of it on the other."""

    path: str
    side: str
    other: str


def partners(a: Tree, b: Tree) -> list[tuple[Result, Result]]:
    """Pair the finished cells of the groups that both sides have: equal seeds, or the first cells where none are."""
    of_b = b.groups()
    pairs = []
    for group, found in a.groups().items():
        others = of_b.get(group, {})
        same = [(result, others[seed]) for seed, result in found.items() if seed in others]
        firsts = zip(found.values(), others.values(), strict=False)
        pairs += same or list(firsts)[:1]
    return pairs


def settings_that_differ(a: Tree, b: Tree) -> list[Differing]:
    """List the settings that differ between partners, each pair of values once; the digest where they do not tell."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for one, other in partners(a, b):
        digests = (one.provenance.get("digest"), other.provenance.get("digest"))
        if digests[0] == digests[1]:
            continue
        changed = _changed(one.record.get("settings"), other.record.get("settings"))
        if not changed and one.cell.seed == other.cell.seed:
            changed = [("digest", one_line(digests[0]), one_line(digests[1]))]
        counts.update(changed)
    return [Differing(*what, cells) for what, cells in counts.items()]


def _changed(a: object, b: object) -> list[tuple[str, str, str]]:
    """List the names whose values differ, with both values as texts; partners may have different seeds."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return []
    changed = []
    for name in dict.fromkeys((*a, *b)):
        of_a, of_b = a.get(name), b.get(name)
        if name != "seed" and of_a != of_b:
            changed.append((one_line(name), _setting(of_a), _setting(of_b)))
    return changed


def _setting(value: object) -> str:
    return one_line(show_setting(value))


def versions_that_differ(a: Tree, b: Tree) -> list[Differing]:
    """List what the cells were made with, wherever two partners differ."""
    listed = []
    common = partners(a, b)
    for name in VERSIONS:
        pairs = [(one.provenance.get(name), other.provenance.get(name)) for one, other in common]
        differing = [pair for pair in pairs if pair[0] != pair[1]]
        if differing:
            of_a, of_b = zip(*differing, strict=True)
            listed.append(Differing(name, _values(of_a), _values(of_b), len(differing)))
    return listed


def _values(values: tuple[object, ...]) -> str:
    """Spell the different values, the most frequent first."""
    counts = Counter(ABSENT if value is None else one_line(value) for value in values)
    shown = [text for text, _ in counts.most_common(MOST_VALUES)]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, f"and {plural(rest, 'other')}"] if rest else shown)


def unmatched(a: Tree, b: Tree) -> list[Unmatched]:
    """List the cells that only one side has a result of, those of A first."""
    listed = []
    for side, one, other in (("A", a, b), ("B", b, a)):
        has = other.finished
        missing = sorted(path for path in one.finished if path not in has)
        listed += [Unmatched(path, side, _known(other, path)) for path in missing]
    return listed


def _known(tree: Tree, path: str) -> str:
    """Say what is known of a cell without a result."""
    result = tree.cells.get(path)
    if result is None:
        return "no such cell"
    return f"{result.state}: {one_line(result.reason, 200)}" if result.reason else result.state


def unread(a: Tree, b: Tree) -> list[Unmatched]:
    """List what is no cell's folder, and the cells without a result on either side that somebody has begun."""
    listed = []
    for side, tree, other in (("A", a, b), ("B", b, a)):
        listed += [Unmatched(place, side, one_line(why, 300)) for place, why in sorted(tree.refused.items())]
        has = other.finished
        idle = sorted(path for path in tree.cells if path not in tree.finished and path not in has)
        listed += [Unmatched(path, side, _known(tree, path)) for path in idle]
    return listed
