"""Read a recipe from YAML, with overrides; every fault is one line, with the nearest valid name, and all are reported at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from codetune.config.methods import METHOD_NAMES
from codetune.config.sections import Config
from codetune.errors import UserError, nearest

Recipe = TypeVar("Recipe", bound=Config)


def load_recipe(path: Path, kind: type[Recipe], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `a.b=value` overrides. Raises UserError that lists every fault."""
    return validate(load_tree(path, overrides), kind, str(path))


def load_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a recipe file, with overrides, not checked yet."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe at {path}: give the path of a YAML file (shipped ones: {', '.join(shipped_recipes())})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a {type(tree).__name__}; a recipe is a mapping of keys such as `name:` and `data:`")
    for override in overrides:
        _apply(tree, override)
    return tree


def validate(tree: dict[str, Any], kind: type[Recipe], where: str) -> Recipe:
    """A recipe from plain data. Raises UserError naming every fault, not only the first."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(item, kind) for item in error.errors()]
        raise UserError(f"{where}: " + "; ".join(faults)) from None


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with codetune, by file name: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {path.name: path for path in sorted(folder.rglob("*.yaml"))}
    return {}


def is_recipe(path: Path) -> bool:
    """Whether a path stands for a recipe, by its suffix."""
    return path.suffix in (".yaml", ".yml")


def recipe_path(given: Path) -> Path:
    """The file as given, or else the shipped recipe of that name."""
    return given if given.exists() else shipped_recipes().get(given.name, given)


def content_hash(data: Any) -> str:
    """A short stable hash of plain data (12 hex digits), for keys of runs and caches."""
    text = json.dumps(data, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: give it as key=value, for example --set train.batch_tokens=8192")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override!r} is not valid YAML: {' '.join(str(error).split())}") from None
    *parents, last = key.split(".")
    _set(tree, parents, last, value, override)


def _set(node: Any, parents: Sequence[str], last: str, value: Any, override: str) -> None:
    """Set a key below a section. Of a list a number means one entry, and any other key means every entry: `data.root=DIR`."""
    if isinstance(node, list) and not (parents or [last])[0].isdigit():
        for entry in node:
            _set(entry, parents, last, value, override)
        return
    if not parents:
        if not isinstance(node, dict):
            raise UserError(f"--set {override!r}: there is no section to set {last!r} in")
        node[last] = value
        return
    parent, *below = parents
    if isinstance(node, list) and int(parent) < len(node):
        _set(node[int(parent)], below, last, value, override)
    elif isinstance(node, dict):
        _set(node.setdefault(parent, {}), below, last, value, override)
    else:
        raise UserError(f"--set {override!r}: {parent!r} is not a section of the recipe")


def _fault(item: Any, kind: type[BaseModel]) -> str:
    """One of pydantic's faults in a recipe's words, with the nearest valid name where a name is wrong."""
    where, given = _key(item["loc"]), item["input"]
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {where!r} ({nearest(str(item['loc'][-1]), _fields_at(kind, item['loc'][:-1]))})"
        case "missing":
            return f"missing key {where!r}"
        case "union_tag_invalid" | "union_tag_not_found":
            tag = str(item["ctx"].get("tag", ""))
            return f"{where}: no method {tag!r} ({nearest(tag, METHOD_NAMES)})"
        case "literal_error" if "'" in item["ctx"]["expected"]:
            valid = re.findall(r"'([^']+)'", item["ctx"]["expected"])
            return f"{where}: no {given!r} ({nearest(str(given), valid)})"
        case "model_type" | "model_attributes_type":
            return f"{where}: must be a section of keys, given {given!r}"
        case "value_error":  # of our own: it says what is wrong with the section as a whole
            return f"{where}: {item['ctx']['error']}"
    return f"{where}: {str(item['msg']).replace('Input should be', 'must be')}, given {given!r}"


def _key(location: Sequence[Any]) -> str:
    """A location as it is written in `--set`: without the marks that pydantic puts in for unions."""
    parts = [str(part) for part in location if "[" not in str(part)]
    chosen = {at for at, part in enumerate(parts) if part in METHOD_NAMES and (parts[at - 1] == "method" or parts[at - 2] == "methods")}
    return ".".join(part for at, part in enumerate(parts) if at not in chosen)


def _fields_at(kind: type[BaseModel], location: Iterable[Any]) -> list[str]:
    """The valid keys of the section at a location of a pydantic error."""
    sections: list[type[BaseModel]] = [kind]
    for part in location:
        if isinstance(part, int):
            continue
        found = [model for section in sections for model in _models_of(section, part)]
        sections = found or [model for model in sections if getattr(model.model_fields.get("name"), "default", None) == part] or sections
    return sorted({name for section in sections for name in section.model_fields})


def _models_of(section: type[BaseModel], name: str) -> list[type[BaseModel]]:
    def walk(annotation: Any) -> Iterable[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for argument in getattr(annotation, "__args__", ()):
            yield from walk(argument)

    field = section.model_fields.get(name)
    return list(walk(field.annotation)) if field else []
