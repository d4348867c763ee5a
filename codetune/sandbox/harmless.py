"""Whether a test's code leaves nothing behind in the process that runs it, so that the process can judge the next program, too.

A careful guess from the text: what sets attributes, looks under double underscores, or goes near modules that have a state, is not
harmless. Being wrong the other way costs a fork.
"""

from __future__ import annotations

import ast
import functools
import sys

from codetune.sandbox.names import parse

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
    return all(map(_is_harmless, ast.walk(parse(code))))


def _is_harmless(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return all(_is_stateless(alias.name) for alias in names)
        case ast.ImportFrom(module=module, level=level):
            return level == 0 and _is_stateless(module or "")
        case ast.Name(id=name):
            return name not in _ACTIVE and not name.startswith("__") and (name in _STATELESS or name not in sys.stdlib_module_names)
        case ast.Attribute(attr=name, ctx=context):
            return isinstance(context, ast.Load) and not name.startswith("__") and name != "register"
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            return not any(isinstance(part, ast.Attribute) for part in ast.walk(node.value))
    return True


def _is_stateless(module: str) -> bool:
    return module.partition(".")[0] in _STATELESS
