"""From what a model wrote to a program: `program_of` joins prompt and completion, `extract_code` finds the code in a chat answer."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

from codetune.records import Problem, Sample

# A fence opens with three or more backticks or tildes and a language; the last one may lack its end (cut at the token limit).
_FENCE = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = {"", "python", "python3", "py", "py3", "python-3"}


def program_of(problem: Problem, sample: Sample) -> str:
    """The whole program that a sample stands for: its `solution` as it is, or the problem's `prompt` with its `completion`."""
    if sample.solution is not None:
        return sample.solution
    return problem.prompt + (sample.completion or "")


def extract_code(text: str, entry_point: str = "") -> str:
    """The code of a chat answer: of its fenced Python blocks the first that defines `entry_point`, else the first.

    An answer without a fence is returned as it is. Indented fences (in a list) lose their indentation.
    """
    blocks = [textwrap.dedent(fence["code"]) for fence in _FENCE.finditer(text) if fence["language"].lower() in _PYTHON]
    if not blocks:
        return text
    return next((block for block in blocks if entry_point and defines(block, entry_point)), blocks[0])


def defines(code: str, name: str) -> bool:
    """Whether the code defines `name` at its top level, as far as can be told; a cut-off program counts by its lines."""
    tree = parse(code)
    if tree is None:
        return re.search(rf"^(async\s+def|def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*=", code, re.MULTILINE) is not None
    return any(name in _names_bound(statement) for statement in tree.body)


def parse(code: str) -> ast.Module | None:
    """The syntax tree of other people's code, None where it has none; their invalid escapes are no warnings of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _names_bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()
