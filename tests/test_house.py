"""The law of the house: imports between its rooms point downwards only, and it has few rooms on few floors."""

import house
import pytest

ROOMS = 11  # besides __main__, which stands above them all
FLOORS = 6


def test_imports_point_downwards_only() -> None:
    assert house.circles(house.graph(house.imports(), house.rooms())) == []


def test_there_are_few_rooms_on_few_floors() -> None:
    names = house.rooms()
    assert len(names) <= ROOMS, names
    floors = house.floors(house.graph(house.imports(), names))
    assert len(floors) <= FLOORS, floors
    assert sorted(room for floor in floors for room in floor) == names


@pytest.fixture
def package(tmp_path):
    """A house of four rooms: top -> middle -> low, top -> box -> low."""
    made = tmp_path / "made"
    (made / "box").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "__main__.py": "from made import top\n",
        "low.py": "import os\n",
        "middle.py": "from made import low\n",
        "top.py": "import made.middle\n\n\ndef late():\n    from made.box import inner\n",
        "box/__init__.py": "",
        "box/inner.py": "from ..low import x\nfrom . import other\n",
        "box/other.py": '"""Docstring."""\n# comment\n\nx = """a\nb"""\n',
    }
    for name, text in files.items():
        (made / name).write_text(text)
    return made


def test_rooms_floors_and_kinds_of_imports_are_counted(package) -> None:
    assert house.rooms(package) == ["box", "low", "middle", "top"]
    found = house.imports(package)
    assert [(each.room, each.other, each.kind) for each in found] == [
        ("box", "low", "module"),
        ("middle", "low", "module"),
        ("top", "middle", "module"),
        ("top", "box", "function"),
    ]
    assert house.floors(house.graph(found, house.rooms(package))) == [["low"], ["box", "middle"], ["top"]]
    assert house.report(package)[0] == "4 rooms on 3 floors, 0 circles"
    assert "only in functions: top -> box" in house.report(package)


def test_a_circle_is_found_also_where_an_import_is_for_types_alone(package) -> None:
    (package / "low.py").write_text("from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from made import top\n")
    found = house.imports(package)
    below = house.graph(found, house.rooms(package))
    assert ("low", "top", "types") in [(each.room, each.other, each.kind) for each in found]
    assert house.circles(below) == [["box", "low", "middle", "top"]]
    assert house.floors(below) == []


def test_lines_of_code_are_no_comments_and_no_docstrings(package) -> None:
    assert house.code_lines((package / "box" / "other.py").read_text()) == 2
    assert house.nodes_per_line([package / "low.py"]) == 3  # the module, the import and its name
