"""Pairs that are made of a function alone: an edit to ask for, the function before, the function after.

A small model learns to look back at its prompt from text that repeats itself ("induction heads", Olsson et al. 2022), and
only then can an instruction's names and numbers arrive in the code. Docstrings seldom repeat their function; an edit does.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import random
import re

from codetune.records import Problem

_FIXED = set(dir(builtins)) | set(keyword.kwlist) | {"self", "cls"}
_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?![\w.])")


def edit_problem(source: str, names: list[str], rng: random.Random) -> Problem | None:
    """Rename a variable, change a number, or complete the function, drawn at random; None where none of it applies.

    `names` are the names to rename to. The result parses and differs from the input.
    """
    kinds = [_rename, _renumber, _complete]
    rng.shuffle(kinds)
    for kind in kinds:
        if (problem := kind(source, names, rng)) and _parses(problem.reference) and problem.reference != problem.input:
            return problem
    return None


def mentions(source: str, rng: random.Random) -> str:
    """One sentence that names up to three things that the function's body uses: calls, numbers, short strings. Empty if none."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            found.add(f"`{node.func.id if isinstance(node.func, ast.Name) else node.func.attr}`")
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | str) and len(str(node.value)) <= 12:
            found.add(repr(node.value))
    if not found:
        return ""
    chosen = rng.sample(sorted(found), min(len(found), rng.randint(1, 3)))
    return f"{rng.choice(('Use', 'It uses', 'With'))} {', '.join(chosen)}."


def _rename(source: str, names: list[str], rng: random.Random) -> Problem | None:
    nodes = list(ast.walk(ast.parse(source)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    used |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    new_names = [name for name in names if not re.search(rf"\b{name}\b", source)]
    if not used - _FIXED or not new_names:
        return None
    old, new = rng.choice(sorted(used - _FIXED)), rng.choice(new_names)
    wish = rng.choice((f"Rename `{old}` to `{new}`.", f"Call `{old}` `{new}` instead."))
    return _asked(wish, source, re.sub(rf"\b{old}\b", new, source))


def _renumber(source: str, names: list[str], rng: random.Random) -> Problem | None:
    numbers = sorted(set(_NUMBER.findall(source)))
    if not numbers:
        return None
    old, new = rng.choice(numbers), str(rng.randint(0, 99))
    wish = rng.choice((f"Change {old} to {new}.", f"Use {new} in the place of {old}."))
    return _asked(wish, source, re.sub(rf"(?<![\w.]){old}(?![\w.])", new, source))


def _complete(source: str, names: list[str], rng: random.Random) -> Problem | None:
    lines = source.splitlines(keepends=True)
    if len(lines) < 4:
        return None
    kept = "".join(lines[: rng.randint(2, len(lines) - 1)])
    return _asked("Complete this function.", kept, source)


def _asked(wish: str, before: str, after: str) -> Problem:
    return Problem(task_id="edit", instruction=wish, input=before, reference=after)


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
