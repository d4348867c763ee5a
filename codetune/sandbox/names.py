"""Which names of a test are the candidate's to answer, and which must never be.

A test that says `math.isclose(f(x), 1.0)` wants the real `math`, whatever the program calls by that name; only the entry
point, and what the reference itself defines, come from the candidate. Helpers of the problem's prompt are trusted text and
run in the checker.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections.abc import Iterable
from typing import Any


@functools.lru_cache(maxsize=16)
def parse(code: str) -> ast.Module:
    """The tree, or an empty one where the text does not parse. Not to be changed: the next caller gets the same."""
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


@functools.lru_cache(maxsize=16)
def nodes(code: str) -> tuple[ast.AST, ...]:
    """All nodes of the tree."""
    return tuple(ast.walk(parse(code)))


def used(codes: Iterable[str]) -> set[str]:
    """All names that the codes mention."""
    return {node.id for code in codes for node in nodes(code) if isinstance(node, ast.Name)}


def defined(tree: ast.Module) -> set[str]:
    """Names that the module binds at its top level, imports apart."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def imported(tree: ast.Module, wanted: set[str], trusted: bool) -> dict[str, Any]:
    """The wanted names that the module's top-level imports of the standard library bind, imported here and now.

    From an untrusted program only imports under the own name are believed: `from operator import truth as isclose` is not.
    """
    names: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            chosen = [a for a in node.names if trusted or a.asname in (None, a.name)]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            chosen = [a for a in node.names if a.name == "*" or trusted or a.asname in (None, a.name)]
        else:
            continue
        modules = [a.name for a in chosen] if isinstance(node, ast.Import) else [node.module or ""]
        if chosen and all(m.partition(".")[0] in sys.stdlib_module_names for m in modules):
            _execute(type(node)(**{**dict(ast.iter_fields(node)), "names": chosen}), names)
    return {name: value for name, value in names.items() if name in wanted}


def _execute(node: ast.stmt, names: dict[str, Any]) -> None:
    module = ast.Module(body=[ast.copy_location(node, node)], type_ignores=[])
    try:
        exec(compile(ast.fix_missing_locations(module), "<import>", "exec", dont_inherit=True), names)
    except Exception:  # the program finds out itself
        return


def _from_prompt(prompt: str, entry_point: str) -> dict[str, Any]:
    """What the problem's prompt defines besides the entry point: helpers of the tests."""
    if not defined(parse(prompt)) - {entry_point}:
        return {}
    names: dict[str, Any] = {"__name__": "prompt"}
    try:
        exec(compile(prompt, "<prompt>", "exec", dont_inherit=True), names)
    except Exception:  # a prompt that is not code on its own
        return {}
    return {name: value for name, value in names.items() if name != entry_point and not name.startswith("__")}


def resolve(codes: list[str], program: str, reference: str, prompt: str, entry_point: str) -> tuple[dict[str, Any], list[str]]:
    """The names that `codes` (tests, set-up) start with, and those that the candidate has to give.

    Order: entry point, helpers of the prompt, the reference's definitions (the candidate's own), imports of the standard
    library, built-ins. What is then left is the candidate's only where no reference says that it is nobody's.
    """
    reference = reference if parse(reference).body else ""
    entry_names = used([entry_point]) if entry_point else set()
    wanted = used(codes) | entry_names
    here = {name: value for name, value in _from_prompt(prompt, entry_point).items() if name in wanted}
    theirs = (entry_names - here.keys()) | (wanted & defined(parse(reference))) - here.keys()
    wanted -= theirs | here.keys()
    here |= imported(parse(reference or program), wanted, trusted=bool(reference))
    if not reference:
        left = {name for name in wanted - here.keys() if not hasattr(builtins, name)}
        for name in left & sys.stdlib_module_names:
            _execute(ast.Import(names=[ast.alias(name=name)]), here)
        theirs |= left - sys.stdlib_module_names
    here.pop("__builtins__", None)
    return here, sorted(theirs)
