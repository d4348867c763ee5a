"""From what a model wrote to a program: `program_of` joins prompt and completion, `extract_*` find the code in an answer.

Code is judged by `ast`, never by patterns of words: of fenced blocks the longest that parses, everything at its module level kept
(decorators, constants, every function; the last definition wins, as in Python), and only a trailing part that does not parse cut off.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

from codetune.records import Problem, Sample

# A fence is three or more backticks or tildes; the opening one may name a language, the closing one is bare and as long at least.
_FENCE = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)(?P<rest>[^\n]*)$\n?", re.MULTILINE)
_SHORT = 10_000  # characters: a tree takes some fifty times its text
_PYTHON = {"", "python", "python3", "py", "py3", "python-3"}
_CODE_START = re.compile(r"^(?:async def|def|class|import|from|@)(?=[ \w])", re.MULTILINE)


def program_of(problem: Problem, sample: Sample) -> str:
    """The whole program that a sample stands for: its `solution` as it is, or its `completion` between the problem's prompt and suffix."""
    if sample.solution is not None:
        return sample.solution
    return problem.prompt + (sample.completion or "") + problem.suffix


def extract_completion(text: str, problem: Problem) -> str:
    """The text that continues the problem's prompt, without the lines at its end that make no program of the two."""
    return parseable_prefix(text, problem.prompt, problem.suffix) or text


def extract_program(text: str, problem: Problem, cut: bool = True) -> str:
    """The whole program of an answer, after the prompt's imports and helpers: an answer takes them as given."""
    code = extract_code(text, problem.entry_point, cut)
    future = [node.end_lineno or 0 for node in _statements(code) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    lines = code.splitlines(keepends=True)  # imports from __future__ stand first, or nothing compiles
    at = max(future, default=0)
    return "".join([*lines[:at], preamble(problem), *lines[at:]])


def extract_code(text: str, entry_point: str = "", cut: bool = True) -> str:
    """The code of an answer: of its fenced Python blocks the longest, those that define `entry_point` first.

    With `cut` what follows the last line that parses is left out, and words before the code of an answer without a fence. An answer
    in which nothing parses is returned as it is. What a reasoning model thought is no part of its answer.
    """
    text = text.rpartition("</think>")[2]
    blocks = list(_blocks(text))
    if not cut:
        chosen = [block for block in blocks if defines(block, entry_point)] or blocks
        return max(chosen, key=len, default=text)
    blocks = blocks or [text, *(text[start.start() :] for start in _CODE_START.finditer(text))]
    chosen = [block for block in blocks if defines(block, entry_point)] or blocks
    best = ""
    for block in chosen:
        best = max(best, parseable_prefix(block), key=lambda code: (defines(code, entry_point), len(code)))
    return best or max(chosen, key=len)


def code_blocks(text: str) -> list[str]:
    """The fenced Python blocks of an answer that parse, in order; what a reasoning model thought is no part of its answer."""
    return [block for block in _blocks(text.rpartition("</think>")[2]) if block.strip() and parse(block) is not None]


def parseable_prefix(text: str, before: str = "", after: str = "") -> str:
    """The longest run of whole lines from the start of `text` that is Python between `before` and `after`; "" where none is."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    while lines:
        code = "".join(lines)
        faulty = _faulty_line(before + code + after)
        if faulty is None:
            return code
        # No longer run can do: the parser did not get beyond this line.
        at = faulty - 1 - before.count("\n")
        lines = lines[: at if 0 <= at < len(lines) else -1]
    return ""


def preamble(problem: Problem) -> str:
    """The imports and helpers of the problem's prompt: its text up to the function that is asked for."""
    code = parseable_prefix(problem.prompt)
    for statement in _statements(code):
        if _leading_name(problem.entry_point) in _names_bound(statement):
            first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
            return "".join(code.splitlines(keepends=True)[: first - 1])
    return code


def defines(code: str, entry_point: str) -> bool:
    """Whether the code defines the name that `entry_point` starts with at its top level; a cut-off program counts by its lines."""
    name = _leading_name(entry_point)
    if not name:
        return False
    tree = parse(code)
    if tree is None:
        return re.search(rf"^(async\s+def|def|class)\s+{name}\b|^{name}\s*=", code, re.MULTILINE) is not None
    return any(name in _names_bound(statement) for statement in tree.body)


def parse(code: str) -> ast.Module | None:
    """The syntax tree of other people's code, None where it has none; their invalid escapes are no warnings of ours.

    The last trees of short code are kept, since several look at the same code one after the other: nobody may change one.
    """
    return _kept(code) if len(code) <= _SHORT else _parsed(code)


def _parsed(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


_kept = lru_cache(maxsize=256)(_parsed)


def _faulty_line(code: str) -> int | None:
    """Number of the line at which the code stops being Python, from 1; 0 where that is not known, None where it is Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except SyntaxError as error:
            return error.lineno or 0
        except (ValueError, RecursionError, MemoryError):
            return 0
    return None


def _blocks(text: str) -> Iterator[str]:
    """The fenced Python blocks. A fence within a string of the code is not its end: the first end at which the block parses is."""
    fences = list(_FENCE.finditer(text))
    at = 0
    while at < len(fences):
        opening = fences[at]
        ends = [number for number in range(at + 1, len(fences)) if _closes(fences[number], opening)]
        codes = [_at_margin(text[opening.end() : fences[end].start()]) for end in ends] or [_at_margin(text[opening.end() :])]
        python = opening["language"].lower() in _PYTHON
        whole = next((n for n, code in enumerate(codes) if python and parse(code) is not None), 0)
        if python:
            yield codes[whole]
        at = ends[whole] + 1 if ends else len(fences)


def _at_margin(code: str) -> str:
    """Code of a fence in a list, moved to the margin. Other code is left as it is: `dedent` would change blank lines in its strings."""
    return textwrap.dedent(code) if code.lstrip("\n").startswith((" ", "\t")) else code


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return fence["mark"].startswith(opening["mark"]) and not fence["language"] and not fence["rest"].strip("`~ \t\r")


def _statements(code: str) -> list[ast.stmt]:
    tree = parse(code)
    return tree.body if tree else []


def _leading_name(entry_point: str) -> str:
    """`Solution` of `Solution().twoSum`."""
    found = re.match(r"\w+", entry_point)
    return found[0] if found else ""


def _names_bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()
