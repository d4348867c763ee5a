"""CodeXGLUE's Python rows (Lu et al. 2021, from CodeSearchNet) as docstring-to-code: the docstring is the wish, the function the answer.

Nothing of the answer is in the prompt, as in published studies of soft prompts. Functions without their classes and modules can rarely
be called, so what counts is whether the definition executes (`loads`), doctests where the docstring has some, and text metrics, each
beside the references' own share.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from codetune.data.docstrings import without_docstring
from codetune.data.files import Row, read_rows
from codetune.records import AssertTest, Problem

FILE = "codexglue-python/test.jsonl"
PREFIX = "CodeXGLUE/"

# The examples run in the checker, against the program's function; what that prints itself is not seen there.
_DOCTESTS = """\
import doctest

examples = doctest.DocTestParser().get_doctest({text!r}, {{{name!r}: {name}}}, {name!r}, None, None)
assert doctest.DocTestRunner(verbose=False).run(examples, out=str).failed == 0
"""


def load(path: Path) -> tuple[Problem, ...]:
    """The problems in file order; `task_id` is the 0-based row number. Rows need `code` and `docstring`."""
    return tuple(problem(row, f"{PREFIX}{number}") for number, row in enumerate(read_rows(path)))


def problem(row: Row, task_id: str) -> Problem:
    """The wish is the docstring's first paragraph, and its examples where it has some: they say how the function is called."""
    docstring, code = inspect.cleandoc(row.text("docstring")), row.text("code")
    if not docstring:
        raise row.error("'docstring' is empty; there is nothing to ask for")
    found = re.search(r"\bdef\s+(\w+)", code)
    if not found:
        raise row.error("'code' defines no function")
    examples = _examples(docstring)
    return Problem(
        task_id=task_id,
        instruction=re.split(r"\n\s*\n", docstring)[0],
        input=examples,
        reference=without_docstring(code),
        entry_point=found[1],
        tests=(AssertTest(_DOCTESTS.format(text=examples, name=found[1])),) if examples else (),
        source="codexglue-python",
    )


def _examples(docstring: str) -> str:
    """The docstring's doctest examples, as they would be typed; "" where it has none."""
    import doctest  # with a debugger and a test runner behind it

    try:
        examples = doctest.DocTestParser().get_examples(docstring)
    except ValueError:  # something like a prompt, not indented as one
        return ""
    return "\n".join(">>> " + example.source.rstrip("\n").replace("\n", "\n... ") + "\n" + example.want for example in examples).strip()
