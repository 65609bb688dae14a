"""Checks for the moment when Snakemake reads the Snakefile: mistakes that would else end in a traceback of every job.

Imports the standard library only, so that it can name the packages that an environment lacks.
"""

import importlib.metadata
import platform
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sintro import SintroError

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def check(arguments: Sequence[str], config: Mapping[str, Any], schema: str) -> None:
    """Raise SintroError for a wrong environment, an unknown study, a wrong setting or a wrong target.

    ``schema``: the path of the schema that the settings of `--config` follow.
    """
    check_packages()
    from sintro.cells.cell import check_study_name

    if "study" in config:  # Snakemake reads it as YAML, which makes a number of 2024
        check_study_name(str(config["study"]))
    check_config(config, schema)
    check_targets(arguments)


def check_config(config: Mapping[str, Any], path: str) -> None:
    """Raise SintroError for a setting of `--config` that there is not, or that has no legal value."""
    import yaml
    from jsonschema import Draft202012Validator  # comes with Snakemake

    schema = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    settings = schema["properties"]
    for name in config:
        if name not in settings:
            raise SintroError(f"--config {name}: no such setting; legal are {', '.join(settings)}")
    error = next(Draft202012Validator(schema).iter_errors(dict(config)), None)
    if error is not None:
        name = error.path[0]
        raise SintroError(f"--config {name}={config[name]}: legal is {_legal(settings[name])}")


def _legal(setting: Mapping[str, Any]) -> str:
    """Say which values of a setting are legal, from its schema."""
    if "enum" in setting:
        return ", ".join(dict.fromkeys(str(value).lower() for value in setting["enum"]))
    if "minimum" in setting:
        return f"a whole number from {setting['minimum']}"
    return f"one such as {', '.join(setting['examples'])}"


def check_packages() -> None:
    """Raise SintroError where a package that sintro or its workflow needs is missing here, or too old."""
    found = unmet(required())
    if found:
        raise SintroError(
            f"this snakemake runs in {sys.executable}, which cannot run sintro: {', '.join(found)}; "
            "use the snakemake of sintro's environment (make setup makes .venv/bin/snakemake)"
        )


def required() -> list[str]:
    """Return the requirements of the library and its workflow, such as `torch>=2.11`, and on Python itself."""
    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        listed = [*project["dependencies"], *project["optional-dependencies"]["workflow"]]
        return [f"python{project['requires-python']}", *listed]
    try:
        listed = importlib.metadata.requires("sintro") or []
    except importlib.metadata.PackageNotFoundError:  # a copy of the package alone: nothing says what it needs
        return []
    return [line.partition(";")[0] for line in listed if "extra" not in line or "workflow" in line]


def unmet(requirements: Sequence[str]) -> list[str]:
    """Return a phrase for each requirement that this Python does not meet: the version that is there, or none."""
    from packaging.requirements import Requirement  # comes with Snakemake

    said = []
    for requirement in map(Requirement, requirements):
        version = version_of(requirement.name)
        if version is None:
            said.append(f"there is no {requirement.name}")
        elif not requirement.specifier.contains(version, prereleases=True):
            said.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return said


def version_of(name: str) -> str | None:
    """Return the version of an installed package or of "python", None where it is not installed."""
    if name == "python":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_targets(arguments: Sequence[str]) -> None:
    """Raise SintroError where a target is a cell's folder, or a file of a cell or study that there is not."""
    from sintro.cells import studies
    from sintro.cells.cell import Cell

    for argument in arguments:
        if file := re.fullmatch(r"(results/.+)/(metrics|provenance)\.json", argument):
            Cell.from_path(file[1])
            continue
        if study := re.fullmatch(r"(?:reports/([^/]+)/index\.html|results/([^/]+)/chosen\.json)", argument):
            if study[1] != "theory":
                studies.load(study[1] or study[2])
            continue
        try:
            cell = Cell.from_path(argument)
        except SintroError:  # a file or an option, or a folder that Snakemake refuses as well
            continue
        raise SintroError(
            f"{argument} is a cell's folder; to train and evaluate the cell ask for {cell.path}/metrics.json"
        )
