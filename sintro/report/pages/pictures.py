"""The pictures of a cell's page: those of its folder, or of an archived run those that can be drawn again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sintro.cells import components
from sintro.report.figures import archived
from sintro.report.figures.captions import CAPTIONS, OF_IMAGES
from sintro.report.figures.cell import CELL_FIGURES
from sintro.report.figures.style import data_uri
from sintro.report.numbers.results import Result
from sintro.report.pages.writer import View, Writer, cell_page

PNG = b"\x89PNG"  # how such a file begins


def figure_views(writer: Writer, result: Result) -> list[View]:
    """Show the pictures of the cell's folder; in place of one that should be there and is not, say so."""
    page = cell_page(result)
    is_plane = result.kind == "2d"
    expected = CELL_FIGURES if is_plane else _expected_of_images(result)
    captions = CAPTIONS if is_plane else OF_IMAGES
    if result.archived:
        return _archived_figures(result, captions, expected)
    views = []
    for name, described in captions.items():
        path = result.folder / name
        begins = beginning(path)
        if begins == PNG:
            views.append({"name": name, "alt": described, "uri": writer.picture(path, page), "missing": ""})
        elif begins is not None or (name in expected and result.state == "done"):
            views.append({"name": name, "alt": described, "missing": f"{name} is missing or not a picture"})
    return views


def _expected_of_images(result: Result) -> tuple[str, ...]:
    """Name the pictures that a finished cell of images has; without a density there is nothing to sample from."""
    has_density = components.objective(result.cell.objective_name).has_density
    return ("data.png", *(["samples.png"] if has_density else []), "history.png")


def beginning(path: Path) -> bytes | None:
    """Read the first bytes of a file, as many as tell a picture from others; None where no file is."""
    try:
        with open(path, "rb") as file:
            return file.read(len(PNG))
    except OSError:
        return None


def _archived_figures(result: Result, captions: Mapping[str, str], expected: Sequence[str]) -> list[View]:
    """Embed the pictures that an archive has the numbers for; the others are named as not packed."""
    drawn = archived.pictures(result)
    captions = {**captions, **archived.CAPTIONS[result.kind]}
    views: list[View] = []
    for name, described in captions.items():
        if name in drawn:
            views.append({"name": name, "alt": described, "uri": data_uri(drawn[name]), "missing": ""})
        elif name in expected and result.state == "done":
            views.append({"name": name, "alt": described, "missing": f"{name} is not packed in the archive"})
    return views
