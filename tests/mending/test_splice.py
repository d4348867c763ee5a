"""What an answer may change of a file: the definitions that it has, by name, and not a byte else."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.mending import splice
from codetune.mending.source import lines_of

FILE = '''#!/usr/bin/env python3
# Licence: see the file LICENSE.
"""Statistics."""

from __future__ import annotations

import sys

LIMIT = 3  # at most


# A comment of mean's own.
def mean(xs):
    return sum(xs) / len(xs)  # may fail


class Stack:
    """A stack."""

    size = 0

    def __init__(self):
        self.items = []  # bottom first

    # the faulty one
    def pop(self):
        return self.items.pop(0)

    @property
    def top(self):
        return self.items[-1]

    @top.setter
    def top(self, value):
        self.items[-1] = value


if __name__ == "__main__":
    print(mean([1, 2]))  # shows how
'''


def changed(answer: str, program: str = FILE, **more: object) -> str:
    mended = splice(program, textwrap.dedent(answer), **more)  # type: ignore[arg-type]
    assert mended is not None
    return mended


def test_a_function_alone_takes_the_place_of_its_like() -> None:
    mended = changed("def mean(xs):\n    return sum(xs) / len(xs) if xs else 0\n")
    assert mended == FILE.replace("return sum(xs) / len(xs)  # may fail", "return sum(xs) / len(xs) if xs else 0")


def test_a_class_without_its_other_methods_loses_none() -> None:
    mended = changed("class Stack:\n    def pop(self):\n        return self.items.pop()\n")
    assert mended == FILE.replace("self.items.pop(0)", "self.items.pop()")


def test_a_method_without_its_class_finds_its_place() -> None:
    mended = changed("def pop(self):\n    '''Takes\n  the last.'''\n    return self.items.pop()\n")
    pop = "    def pop(self):\n        '''Takes\n  the last.'''\n        return self.items.pop()\n"
    assert mended == FILE.replace("    def pop(self):\n        return self.items.pop(0)\n", pop)
    assert "Takes\n  the last." in str(ast.get_docstring(ast.parse(mended).body[5].body[3], clean=False))  # type: ignore[attr-defined]


def test_of_a_property_the_setter_is_another_function_than_the_getter() -> None:
    mended = changed("class Stack:\n    @top.setter\n    def top(self, value):\n        self.items[-1] = int(value)\n")
    assert mended == FILE.replace("self.items[-1] = value", "self.items[-1] = int(value)")


def test_new_members_helpers_constants_and_imports_come_along_where_they_are_used() -> None:
    mended = changed("""
        import math
        import os
        from statistics import fmean, median

        SCALE = 10
        UNUSED = 11

        def _round(x):
            return math.floor(x * SCALE) / SCALE

        def mean(xs):
            return _round(fmean(xs))

        class Stack:
            def peek(self):
                return self.items[-1]

        def test_mean():
            assert mean([1]) == 1

        print(mean([1, 2, 3]))
    """)
    assert "import sys\nimport math\nfrom statistics import fmean\n" in mended
    assert "SCALE = 10\n\n\ndef _round(x):" in mended
    assert mended.index("def _round") < mended.index("# A comment of mean's own.\ndef mean") < mended.index("return _round(fmean(xs))")
    assert "    def peek(self):\n        return self.items[-1]\n" in mended
    for absent in ("import os", "median", "UNUSED", "test_mean", "[1, 2, 3]"):
        assert absent not in mended
    assert [line for line in FILE.splitlines() if line not in mended.splitlines()] == ["    return sum(xs) / len(xs)  # may fail"]


@pytest.mark.parametrize(
    "answer",
    [
        "def average(xs):\n    return 1\n",  # of another name
        "def mean(xs):\n    ...\n",  # left out
        "class Stack:\n    def pop(self):\n        pass\n    # the rest as before\n",
        "print('passed')\n",
        "import os\nos._exit(0)\n",
        "mean",
        "def mean(xs:\n",
        "",
        "# nothing but words\n",
    ],
)
def test_an_answer_that_has_nothing_for_the_file_changes_nothing(answer: str) -> None:
    assert splice(FILE, answer) in (None, FILE)


def test_the_same_definition_is_the_same_text() -> None:
    assert changed("def mean(xs):\n  return sum(xs)/len(xs)\n") == FILE


def test_a_name_that_the_tests_want_is_added_above_what_runs_the_program() -> None:
    mended = changed("import re\ndef words(s):\n    return re.findall(r'\\w+', s)\n", wanted={"words"})
    assert "import sys\nimport re\n" in mended
    assert mended.index("def words") < mended.index("if __name__")
    assert [line for line in FILE.splitlines() if line not in mended.splitlines()] == []


def test_line_ends_tabs_and_a_missing_last_line_end_stay() -> None:
    dos = FILE.replace("\n", "\r\n")
    mended = changed("def mean(xs):\n    a = 1\n    return a\n", dos)
    assert mended == dos.replace("    return sum(xs) / len(xs)  # may fail", "    a = 1\r\n    return a")
    tabs = "class A:\n\tdef f(self):\n\t\treturn 1\n\n\tdef g(self):\n\t\treturn 2"
    mended = changed("class A:\n    def g(self):\n        if self:\n            return 3\n", tabs)
    assert mended == tabs.replace("\t\treturn 2", "\t    if self:\n\t        return 3")
    assert ast.parse(mended)


def test_form_feeds_are_no_line_ends() -> None:
    program = "x = '\x0c'\n\x0c\ndef f():\n    return 1\n\n\ndef g():\n    return 2\n"
    assert changed("def f():\n    return 3\n", program) == program.replace("return 1", "return 3")


def test_statements_that_share_a_line_are_left_alone() -> None:
    program = "a = 1; b = 2\n\n\ndef f():\n    return a + b\n"
    assert changed("a = 5\ndef f():\n    return a - b\n", program) == program.replace("+", "-")


def test_a_module_of_constants_loses_none() -> None:
    assert changed("LIMIT = 2\n", "LIMIT = 1  # most\nOTHER = 3\n") == "LIMIT = 2\nOTHER = 3\n"
    assert changed("total = 0\nfor n in range(4):\n    total += n\n", "total = 0\nfor n in range(3):\n    total += n\n").count("4") == 1
    for program in ("LIMIT = 1\nOTHER = (3\n", "if LIMIT:\n    def f():\n        return 1\n"):
        assert splice(program, "def g():\n    return 2\n") is None


def test_a_name_that_is_bound_anew_after_its_definition_stays_so() -> None:
    program = "def f():\n    return 1\n\n\nf = cache(f)\n"
    assert changed("def f():\n    return 2\n", program) == program.replace("1", "2")


def test_a_script_is_told_by_what_it_prints() -> None:
    assert changed("n = int(input())\nprint(n + 1)\n", "n = input()\nprint(n + 1)\n") == "n = int(input())\nprint(n + 1)\n"
    program = "# mine\ndef f(n):\n    return n\n\n\nprint(f(input()))\n"
    whole = "def f(n):\n    return n + 1\n\nprint(f(int(input())))\n"
    assert changed(whole, program, script=True) == whole
    assert changed(whole, program) == program.replace("return n", "return n + 1")
    assert changed("def f(n):\n    return 2\n", "def g():\n    return 1\n" + program, script=True).startswith(
        "def g():\n    return 1\n# mine\n"
    )


@pytest.mark.parametrize(
    "fault",
    [
        "    return sum(xs / len(xs)\n",
        "  return sum(xs)\n   / len(xs)\n",
        "return sum(xs) / len(xs)\n",
        "    retrun sum(xs)\n",
        "    x = 'abc\n",
    ],
)
def test_a_file_that_is_not_python_keeps_its_rest_too(fault: str) -> None:
    broken = FILE.replace("    return sum(xs) / len(xs)  # may fail\n", fault)
    mended = changed("import math\ndef mean(xs):\n    return math.fsum(xs) / len(xs)\n", broken)
    compile(mended, "mended", "exec", dont_inherit=True)
    expected = FILE.replace("return sum(xs) / len(xs)  # may fail", "return math.fsum(xs) / len(xs)")
    assert mended == expected.replace("import sys\n", "import sys\nimport math\n")


def test_what_runs_after_a_broken_function_stays() -> None:
    broken = "def f(n):\n    return n +\n\n\nx = f(1)\nprint(x)\n"
    assert changed("def f(n):\n    return n + 1\n", broken) == broken.replace("n +\n", "n + 1\n")


def test_what_stands_for_a_broken_class_must_have_its_methods() -> None:
    broken = FILE.replace("self.items.pop(0)", "self.items.pop(0")
    assert splice(broken, "class Stack:\n    def pop(self):\n        return self.items.pop()\n") is None


# A file of functions, methods, constants and comments, and an answer that has some of them in another form.

NAMES = ["alpha", "beta", "gamma", "delta"]
BODIES = [
    "return 1",
    "x = [\n1,\n    2]\n    return x",
    "'''Says\n  so.'''\n    return 2",
    "if a:\n        return 3\n    # so\n    return 4",
]
BETWEEN = [
    "",
    "# a comment\n",
    "VALUE = 1\n",
    "\n\n",
    "try:\n    import zlib\nexcept ImportError:\n    zlib = None\n",
    "x = 1; y = 2\n",
    "\x0c\n",
]
PARTS = st.tuples(st.sampled_from(NAMES), st.sampled_from(BODIES), st.sampled_from(BETWEEN), st.sampled_from(["", "@staticmethod\n"]))


def text_of(parts: list[tuple[str, str, str, str]], end: str) -> str:
    return "".join(f"{between}{decorator}def {name}(a):\n    {body}\n" for name, body, between, decorator in parts).replace("\n", end)


@settings(max_examples=150, deadline=None)
@given(
    program=st.lists(PARTS, min_size=1, max_size=6, unique_by=lambda part: part[0]),
    answer=st.lists(PARTS, min_size=1, max_size=3, unique_by=lambda part: part[0]),
    ends=st.tuples(st.sampled_from(["\n", "\r\n"]), st.sampled_from(["\n", "\r\n"])),
    whole=st.booleans(),
)
def test_whatever_the_answer_the_rest_of_the_file_is_there(
    program: list[tuple[str, str, str, str]], answer: list[tuple[str, str, str, str]], ends: tuple[str, str], whole: bool
) -> None:
    before, said = text_of(program, ends[0]), text_of(answer, ends[1])
    before = before if whole else before.rstrip("\r\n")
    after = splice(before, said)
    theirs = {name for name, *_ in answer}
    mine = {name for name, *_ in program}
    if after is None:
        assert not theirs & mine
        return
    said_as = {one.name: ast.dump(one) for one in ast.parse(said).body if isinstance(one, ast.FunctionDef)}
    had = {one.name: ast.dump(one) for one in ast.parse(before).body if isinstance(one, ast.FunctionDef)}
    has = {one.name: ast.dump(one) for one in ast.parse(after).body if isinstance(one, ast.FunctionDef)}
    assert has == had | {name: said_as[name] for name in theirs & mine}
    # All that stands outside of the functions that the answer has is there, in order, byte for byte.
    kept = text_of([part for part in program if part[0] not in theirs], ends[0])
    if not theirs & mine:
        assert after == before
    lines = iter(lines_of(after + ("" if whole else ends[0])))
    assert all(line in lines for line in lines_of(kept))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="def fg(a):\n \tclass=1'\"#@\r\x0c;\\", max_size=60), st.text(alphabet="def fg(a):\n \tclass=1'\"#@;", max_size=60))
def test_no_pair_of_texts_gives_a_traceback(program: str, answer: str) -> None:
    mended = splice("def f(a):\n    return 1\n" + program, "def f(a):\n    return 2\n" + answer)
    assert mended is None or "return 2" in mended
