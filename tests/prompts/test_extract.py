"""From answers to programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data import humaneval, mbpp
from codetune.prompts.extract import (
    defines,
    extract_code,
    extract_completion,
    extract_program,
    parse,
    parseable_prefix,
    preamble,
    program_of,
)
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
    suffixed = Problem("p", prompt="def f(x):\n\t", suffix="\n\treturn x")
    assert program_of(suffixed, Sample("p", completion="x += 1")) == "def f(x):\n\tx += 1\n\treturn x"


def test_the_block_that_defines_the_entry_point_is_preferred() -> None:
    assert extract_code(CHAT, "double") == "def double(x):\n    return 2 * helper(x)\n"
    longest = "def double(x):\n    return 2 * helper(x)\n"
    assert extract_code(CHAT, "absent") == extract_code(CHAT) == longest
    assert extract_code(CHAT, "helper") == "def helper(x):\n    return x\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f():\n    return 1\n", "def f():\n    return 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\ny = ", "x = 1\n"),
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


def test_an_entry_point_may_be_an_expression() -> None:
    assert defines("class Solution: pass", "Solution().f")
    assert not defines("class Other: pass", "Solution().f")
    assert not defines("x = 1", "")


# Where published harnesses lose right answers: each text is a right answer for `f`, and what is found must compute f(3) == 6.
RIGHT = {
    "a decorator (EvalPlus 0.3.1 keeps no decorated function)": (
        "```python\nfrom functools import lru_cache\n\n@lru_cache\ndef f(n):\n    return n and n + f(n - 1)\n```"
    ),
    "a table filled at module level (EvalPlus keeps definitions and assignments only)": (
        "```python\nSUMS = {}\nfor n in range(9):\n    SUMS[n] = n * (n + 1) // 2\n\ndef f(n):\n    return SUMS[n]\n```"
    ),
    "a fallback import (dropped with its try)": (
        "```python\ntry:\n    from math import comb as c\nexcept ImportError:\n    c = None\n\ndef f(n):\n    return c(n + 1, 2)\n```"
    ),
    "a function without return (dropped)": (
        "```python\ndef fill(out, n):\n    out.append(n * (n + 1) // 2)\n\ndef f(n):\n    out = []; fill(out, n)\n    return out[0]\n```"
    ),
    "a second definition (the first is kept there; Python takes the last)": (
        "```python\ndef f(n):\n    return 0\n\ndef f(n):\n    return sum(range(n + 1))\n```"
    ),
    "a second function (stop sequences cut before it)": "def f(n):\n    return g(n) // 2\n\ndef g(n):\n    return n * n + n\n",
    "a fence in a docstring (patterns end the block there)": (
        '```python\ndef f(n):\n    """Sums.\n\n    ```\n    f(1)\n    ```\n    """\n    return n * (n + 1) // 2\n```\nDone.'
    ),
    "words before and after, no fence": "Sure! Here it is:\n\ndef f(n):\n    return n * (n + 1) // 2\n\nIt adds the numbers up.",
    "a draft in another fence": (
        "First:\n```python\ndef f(n): return 0\n```\nBetter:\n```python\ndef f(n):\n    total = n * (n + 1)\n    return total // 2\n```"
    ),
    "cut off in the last function": "```python\ndef f(n):\n    return n * (n + 1) // 2\n\ndef main():\n    print(f(",
    "thoughts before the answer": (
        "<think>Perhaps\n```python\ndef f(n):\n    return 1 + 2 + 3 + 4 + 5 + 6\n```\nno.</think>\n```\nf = lambda n: n * (n + 1) // 2\n```"
    ),
    "Windows line ends": "```python\r\ndef f(n):\r\n    return n * (n + 1) // 2\r\n```\r\n",
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT)
def test_right_answers_that_published_harnesses_lose(answer: str) -> None:
    names: dict[str, Any] = {}
    exec(extract_code(answer, "f"), names)
    assert names["f"](3) == 6


def test_a_completion_loses_only_the_end_that_is_no_program() -> None:
    problem = Problem("p", prompt="def f(x):\n", entry_point="f")
    assert extract_completion("    return x\n\n\ndef g():\n    pass\n", problem) == "    return x\n\n\ndef g():\n    pass\n"
    assert extract_completion("    return x\n\nThis returns x.\n```\n", problem) == "    return x\n\n"
    assert extract_completion("    y = x\n    return y + (", problem) == "    y = x\n"
    assert extract_completion("    return (", problem) == "    return ("  # nothing can be saved: a syntax error is what it is
    tabbed = Problem("o", prompt="def f(x):\n\t", suffix="\n\treturn x")
    assert extract_completion("x += 1\nprint(f(1))", tabbed) == "x += 1\n"


def test_a_whole_answer_gets_the_imports_and_helpers_of_the_prompt() -> None:
    helpers = "from typing import List\n\n\ndef half(x):\n    return x / 2\n\n\n"
    problem = Problem("p", prompt=helpers + '@staticmethod\ndef f(xs: List[int]):\n    """Halve."""\n', entry_point="f")
    assert preamble(problem) == helpers
    answer = "def f(xs: List[int]):\n    return [half(x) for x in xs]\n"
    assert extract_program(f"```python\n{answer}```", problem) == helpers + answer
    future = "from __future__ import annotations\n"
    assert extract_program(future + answer, problem) == future + helpers + answer
    assert preamble(Problem("p", prompt="import os\ndef f(x):\n", entry_point="f")) == "import os\n"
    assert preamble(Problem("p", prompt="class Node: pass\n", entry_point="Solution().f")) == "class Node: pass\n"
    assert preamble(Problem("p", instruction="Write f.", entry_point="f")) == ""


def test_what_is_not_to_be_cut_is_only_taken_out_of_its_fence() -> None:
    assert extract_code("print x\nprint y", cut=False) == "print x\nprint y"
    assert extract_code("```python\nprint x\n```", cut=False) == "print x\n"


def test_references_come_through_unchanged(data_folder: Path) -> None:
    for problem in humaneval.load(data_folder / humaneval.FILE):
        assert extract_completion(problem.reference, problem) == problem.reference
        chat = f"Here you are:\n\n```python\n{problem.reference_program}\n```\nIt works."
        assert extract_code(chat, problem.entry_point) == problem.reference_program + "\n"
        compile(extract_program(chat, problem), problem.task_id, "exec")
    for problem in mbpp.load(data_folder / mbpp.FILE):
        assert extract_code(problem.reference, problem.entry_point) == problem.reference


LINES = ["```python", "```", "~~~", "def f(x):", "    return x", "x = (", ")", "'''", "Words, words.", "</think>", "@d", "\r", "\0", "\x0c"]


@settings(max_examples=500, deadline=None)
@given(text=st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=12)), max_size=30).map("\n".join))
def test_any_answer_gives_a_program_or_itself(text: str) -> None:
    problem = Problem("p", prompt="import os\ndef f(x):\n", entry_point="f")
    code = extract_code(text, "f")
    assert "".join(code.split()) in "".join(text.split())  # fences in lists lose their indentation, by blanks or tabs
    prefix = parseable_prefix(text)
    assert text.startswith(prefix)
    assert parse(prefix) is not None
    assert extract_program(text, problem).endswith(code[-20:])
    assert text.startswith(extract_completion(text, problem))
