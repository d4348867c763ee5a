"""From answers to programs."""

from __future__ import annotations

import pytest

from codetune.prompts.extract import defines, extract_code, program_of
from codetune.records import Problem, Sample

CHAT = """Sure! First install it:

```bash
pip install nothing
```

Here is a helper and the function:

```python
def helper(x):
    return x
```

~~~py
def double(x):
    return 2 * helper(x)
~~~

Use it like this:

```python
print(double(2))
```
"""


def test_a_completion_follows_the_prompt_and_a_solution_stands_alone() -> None:
    problem = Problem("p", prompt="def f():\n")
    assert program_of(problem, Sample("p", completion="    return 1\n")) == "def f():\n    return 1\n"
    assert program_of(problem, Sample("p", solution="f = int\n")) == "f = int\n"
    assert program_of(problem, Sample("p", solution="")) == ""


def test_the_block_that_defines_the_entry_point_is_preferred() -> None:
    assert extract_code(CHAT, "double") == "def double(x):\n    return 2 * helper(x)\n"
    assert extract_code(CHAT, "absent") == "def helper(x):\n    return x\n"
    assert extract_code(CHAT) == "def helper(x):\n    return x\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f():\n    return 1\n", "def f():\n    return 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\ny = ", "x = 1\ny = "),
        ("1. So:\n   ```python\n   x = 1\n   if x:\n       y = 2\n   ```\n", "x = 1\nif x:\n    y = 2\n"),
        ("````python\nx = '''\n```\n'''\n````\n", "x = '''\n```\n'''\n"),
        ("```python title=a.py\nx = 1\n```\n", "x = 1\n"),
        ("```json\n{}\n```\n", "```json\n{}\n```\n"),
        ("", ""),
    ],
    ids=["no fence", "no language", "cut off", "indented", "longer fence", "info string", "another language", "empty"],
)
def test_fences(answer: str, code: str) -> None:
    assert extract_code(answer) == code


@pytest.mark.parametrize(
    ("code", "defined"),
    [
        ("def f(): pass", True),
        ("async def f(): pass", True),
        ("class f: pass", True),
        ("f = lambda: 1", True),
        ("f: int = 1", True),
        ("def g():\n    def f(): pass", False),
        ("def ff(): pass", False),
        ("def f(:\n  broken", True),
        ("x = (\nprint(f", False),
    ],
)
def test_defines(code: str, defined: bool) -> None:
    assert defines(code, "f") is defined
