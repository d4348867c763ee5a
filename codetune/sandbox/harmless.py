"""Whether a test's code leaves nothing behind in the process that runs it, so that the process can judge the next program, too.

A careful guess from the text: what sets attributes, looks under double underscores, or goes near modules that have a state, is not
harmless. Being wrong the other way costs a fork.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable
from typing import Any

from codetune.sandbox.names import nodes

# fmt: off
_STATELESS = frozenset((
    "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "enum", "fractions", "functools", "heapq", "itertools", "math",
    "numbers", "operator", "re", "statistics", "string", "textwrap", "typing",
))
_ACTIVE = frozenset((
    "breakpoint", "compile", "delattr", "eval", "exec", "exit", "globals", "help", "input", "locals", "open", "quit", "setattr", "vars",
))
# fmt: on


@functools.lru_cache(maxsize=64)
def is_harmless(code: str) -> bool:
    """Whether no statement of the code can change what outlives its own names."""
    return all(_RULES[type(node)](node) for node in nodes(code) if type(node) in _RULES)


def _is_stateless(module: str) -> bool:
    return module.partition(".")[0] in _STATELESS


def _import(node: ast.Import) -> bool:
    return all(_is_stateless(alias.name) for alias in node.names)


def _import_from(node: ast.ImportFrom) -> bool:
    return not node.level and _is_stateless(node.module or "")


def _name(node: ast.Name) -> bool:
    name = node.id
    return name not in _ACTIVE and not name.startswith("__") and (name in _STATELESS or name not in sys.stdlib_module_names)


def _attribute(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load) and not node.attr.startswith("__") and node.attr != "register"


def _subscript(node: ast.Subscript) -> bool:
    """An item of an attribute may be a module's; what a name holds is the test's own, or was got by a name that is not harmless."""
    return isinstance(node.ctx, ast.Load) or not any(isinstance(part, ast.Attribute) for part in ast.walk(node.value))


_RULES: dict[type, Callable[[Any], bool]] = {
    ast.Import: _import, ast.ImportFrom: _import_from, ast.Name: _name, ast.Attribute: _attribute, ast.Subscript: _subscript,
}  # fmt: skip
