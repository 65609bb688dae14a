"""YAML files that people write: read strictly, with one line for whatever is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sintro import SintroError
from sintro.cells.components import suggestion

Model = TypeVar("Model", bound=BaseModel)


def read(path: Path, model: type[Model]) -> Model:
    """Read a file into a model. Raises SintroError: file, key, value and the legal values in one line."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise SintroError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of bytes, dates and nesting that are none
        raise SintroError(f"{path}: not readable as YAML: {_problem(error)}") from None
    if not isinstance(content, dict):
        raise SintroError(f"{path}: legal is a mapping with the keys {', '.join(keys(model))}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SintroError(f"{path}: {explain(error, model)}") from None


def _problem(error: Exception) -> str:
    """Say what is wrong and in which line, without the excerpt that YAML's own message draws below."""
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {error.problem}" if mark else " ".join(str(error).split())


def keys(model: type[BaseModel]) -> list[str]:
    """List the keys that a mapping in the file may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say a model's first error in one line: key, value, legal values. Misspelt keys come before missing ones."""
    errors = error.errors(include_url=False)
    errors = [found for found in errors if not _is_echo(found, errors)]
    first, *others = sorted(errors, key=lambda found: found["type"] != "extra_forbidden")
    location = first["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        legal = keys(_model_at(model, location[:-1]))
        return f"{key}: unknown key; legal are {', '.join(legal)}{suggestion(str(location[-1]), legal)}{more}"
    if first["type"] == "missing":
        return f"{key}: this key is missing{more}"
    if first["type"] in ("tuple_type", "list_type"):
        return f"{key}: legal is a list, such as [{first['input']}], not {first['input']!r}{more}"
    if first["type"] == "model_type":
        legal = keys(_model_at(model, location))
        return f"{key}: legal is a mapping with the keys {', '.join(legal)}, not {first['input']!r}{more}"
    message = first["msg"][0].lower() + first["msg"][1:]
    hint = ""
    if first["type"] == "literal_error":
        hint = suggestion(str(first["input"]), first["ctx"]["expected"].replace("'", "").split(" or "))
    return f"{key}: {message}, not {first['input']!r}{hint}{more}"


def _is_echo(error: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether an error only repeats one further down: a list that is too short without its wrong item."""
    place = error["loc"]
    deeper = [other["loc"] for other in errors if len(other["loc"]) > len(place)]
    return error["type"] == "too_short" and any(location[: len(place)] == place for location in deeper)


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Find the model that describes the mapping at a place of the file."""
    for part in location:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        model = next(_models_in(field.annotation), model) if field else model
    return model


def _models_in(annotation: Any) -> Any:
    """List the models that a type is made of: Block in tuple[Block, ...] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key given twice, where YAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if str(name) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} is given twice", key.start_mark)
            seen.add(str(name))
        return super().construct_mapping(node, deep)
