"""An answer cut into prose and code: fenced, bare, cut off, and the same however it comes in pieces; what would steer a terminal."""

from __future__ import annotations

import io
import random
import re

import pytest
from rich.console import Console

from codetune.cli.terminal.blocks import Block, Closed, Event, Line, Opened, Prose, Splitter, blocks_of, starts_code
from codetune.cli.terminal.colour import Colourist, coloured
from codetune.cli.terminal.flow import ColourFlow
from codetune.cli.terminal.visible import visible
from tests.cli.terminal_process import screen

FENCED = "Sure:\n\n```python\ndef f():\n    return 1\n```\n\nThat is *it*.\n"
BARE = "def f(x):\n    # twice\n    return (x,\nx)\n\n\n@cache\ndef g():\n    pass\n\nIt gives a pair.\n"


def events(text: str) -> list[Event]:
    splitter = Splitter()
    return [*splitter.feed(text), *splitter.end()]


def test_a_fenced_block_stands_between_prose() -> None:
    assert events(FENCED) == [
        Prose("Sure:"), Opened(1, "python"), Line("def f():"), Line("    return 1"), Closed(), Prose("That is *it*."),
    ]  # fmt: skip


def test_code_without_a_fence_is_code_until_a_sentence_comes() -> None:
    found = events(BARE)
    assert found[0] == Opened(1, "")
    assert found[-2:] == [Closed(), Prose("It gives a pair.")]
    assert blocks_of(BARE) == [Block("", BARE.removesuffix("\nIt gives a pair.\n"))]


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        ("", []),
        ("Only words.\nMore words.", []),
        ("x = 1", ["x = 1\n"]),
        ("# adds\nx = 1\n", ["# adds\nx = 1\n"]),  # a comment, and no heading
        ("# Heading\n\nWords.", []),
        ('"""Doc."""\nimport os\n', ['"""Doc."""\nimport os\n']),
        ("Here it is:\ndef f(): pass\n", ["def f(): pass\n"]),
        ("```\na\n", ["a\n"]),  # cut off
        ("~~~python\n```\n~~~\n", ["```\n"]),
        ("1. One\n   ```py\n   x\n     y\n   ```\n", ["x\n  y\n"]),
        ("```python\nx = '''\n```\n'''\n```\n", ["x = '''\n```\n'''\n"]),  # a fence within a string
        ("```sh\nls\n```\nand\n```python\nx\n```\n", ["ls\n", "x\n"]),
        ("def f():\r\n    pass\r\n", ["def f():\n    pass\n"]),
        ("if x:\n    y()\nelse:\n    z()\nDone.", ["if x:\n    y()\nelse:\n    z()\n"]),
        ("x = [\n1,\n2,\n]\nA list.", ["x = [\n1,\n2,\n]\n"]),
    ],
)
def test_the_code_of_an_answer(answer: str, codes: list[str]) -> None:
    assert [block.code for block in blocks_of(answer)] == codes


STATEMENTS = ("import os", "x = [", "print(x)", "def f(a,", "for x in y:", "try:", "@cache", "a, b = 1, 2", "while True:")
SENTENCES = (
    "Sure, here it is:", "Answer: x", "text", "Example (short)", "- item", "1. item", "> quote", "**bold**", "A - B", "| a | b |", " x = 1",
)  # fmt: skip


@pytest.mark.parametrize("line", STATEMENTS)
def test_lines_that_begin_a_statement(line: str) -> None:
    assert starts_code(line)


@pytest.mark.parametrize("line", SENTENCES)
def test_lines_that_do_not(line: str) -> None:
    assert not starts_code(line)


@pytest.mark.parametrize("answer", [FENCED, BARE])
def test_pieces_of_any_size_come_to_the_same(answer: str) -> None:
    draw = random.Random(0)
    for _ in range(50):
        splitter, found, at = Splitter(), list[Event](), 0
        while at < len(answer):
            size = draw.randint(1, 9)
            found += splitter.feed(answer[at : at + size])
            at += size
        assert [*found, *splitter.end()] == events(answer)


def test_a_line_is_coloured_as_it_is_within_the_whole() -> None:
    code = 'def f(x):\n    """Adds.\n\n    import os\n    """\n    return x + 1  # one\n\n\nclass A:\n    b = f"{x}"\n'
    colourist = Colourist("python")
    lines = [colourist.line(line) for line in code.splitlines()]
    whole = coloured(code).split("\n")
    assert [line.plain for line in lines] == code.splitlines()
    for number in (0, 5, 8, 9):  # within the docstring an open string is a string of another kind
        assert {(each.start, each.end, each.style) for each in lines[number].spans} == {
            (each.start, each.end, each.style) for each in whole[number].spans
        }


def test_what_steers_a_terminal_is_shown() -> None:
    assert visible("a\x1b[31mb\x07\x00\x7f\x9b\u202e\r\n\tc\ud800") == "a␛[31mb␇␀␡\\x9b\\u202e\n\tc\\ud800"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x200F, 0x2066):
        shown = visible(chr(code))
        assert shown == chr(code) if chr(code) in "\t\n" else shown.isprintable()


ATTACKS = (
    "# A \x1b]0;title\x07", "[x](http://a\x1b[2Jb)", "```py\x1b[5m\nprint('\x1b[2J')\n```", "def f(): '\x1b[5m'", "&#27;[2J &#x9b;2J",
    "&#8238;x", "- a\x9b2J\n- \x1b]52;c;eA==\x07", "```\x1b[2J\n1\n```", "| \x1b[5m |\n|---|\n| \x07 |", "\u202eabc",
)  # fmt: skip


@pytest.mark.parametrize("answer", ATTACKS)
def test_no_escape_of_an_answer_reaches_the_terminal(answer: str) -> None:
    written = io.StringIO()
    console = Console(force_terminal=True, color_system="standard", width=60, file=written)
    with ColourFlow(console) as flow:
        for character in answer:
            flow.add(character)
    rest = re.sub(r"\x1b\[[\d;?]*[mAKhl]", "", written.getvalue())  # of Rich: colours, the cursor up, a line erased, the cursor hidden
    assert "\x1b[5m" not in written.getvalue()
    assert rest.replace("\n", "").replace("\r", "").isprintable(), repr(rest)


def test_a_long_answer_stands_once_in_the_scrollback_however_long_its_paragraphs_are() -> None:
    words = [f"w{number}" for number in range(150)]  # one paragraph, two screens long
    code = [f"x{number} = {number}" for number in range(20)]
    text = " ".join(words) + "\n\n```python\n" + "\n".join(code) + "\n```\nEnd."
    written = io.StringIO()
    console = Console(force_terminal=True, color_system="standard", width=40, height=10, file=written)
    with ColourFlow(console) as flow:
        for piece in re.findall(r"\S+|\s+", text):
            flow.add(piece)
            flow.redraw()
    lines = screen(written.getvalue().replace("\n", "\r\n"), 40)
    assert " ".join(lines).split()[:150] == words
    assert [line for line in lines if line.startswith("x")] == code
    assert " ".join(lines).split()[150:153] == ["──", "1", "python"]
    assert lines[-2:] == ["End.", ""]
    drawn = re.findall(r"(?:\x1b\[1A\x1b\[2K)+", written.getvalue())
    assert max(len(each) // 8 for each in drawn) <= 9  # never beyond the screen
