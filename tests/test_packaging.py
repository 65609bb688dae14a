"""The pins, the ranges and the recipes that install them say the same."""

import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def pins(repository: Path) -> dict[str, str]:
    """requirements.txt: name -> exact version."""
    lines = (repository / "requirements.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert "+" not in specifier.version, f"{requirement}: pip picks the build, for CPU or CUDA"
        found[requirement.name] = specifier.version
    assert len(found) == len(requirements)
    return found


def test_every_dependency_is_pinned_within_its_range(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    pinned = pins(repository)
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert requirement.specifier, f"{requirement}: no range"
        assert pinned[requirement.name] in requirement.specifier


def test_the_pythons_and_torches_that_are_promised(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    pythons = SpecifierSet(project["requires-python"])
    assert [version for version in ("3.10", "3.11", "3.12", "3.13", "3.14") if version in pythons] == [
        "3.11",
        "3.12",
        "3.13",
    ]
    (torch,) = (line for line in map(Requirement, project["dependencies"]) if line.name == "torch")
    assert "2.11" in torch.specifier
    assert "2.10" not in torch.specifier


def test_conda_users_get_the_same_pins(repository: Path) -> None:
    recipe = yaml.safe_load((repository / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in recipe if isinstance(entry, dict))
    assert pip == ["-r requirements.txt", "-e ."]
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    (python,) = (entry for entry in recipe if str(entry).startswith("python"))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(project["requires-python"])
