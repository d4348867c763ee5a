"""Damaged and hostile answers of a candidate: the checker always reports, and never a pass.

`make fuzz` tries 100,000 conversations, the usual run a thousand or so. The checker runs here, in this process, on a real socket.
"""

from __future__ import annotations

import random
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from codetune.sandbox import checker, wire
from codetune.sandbox.packed import join, pack
from codetune.sandbox.remote import Link
from tests import fuzz

COUNT = fuzz.count(1500) // 3
SECRET = secrets.token_hex(16)  # what the tests want, and no damage makes
JOB: dict[str, Any] = {
    "program": "def f(x):\n    return x\n", "reference": "", "prompt": "", "setup": "", "entry_point": "f", "stdin": "", "expected": SECRET,
    "arguments": (),
    "calls": (pack([(0,), (1,), (2,)]), join([pack(SECRET)] * 3), [0.5] * 3),
    "asserts": [f"assert f([1]) == {SECRET!r}", f"assert {SECRET!r} in str(f(2))", f"x = f(3)\nassert x.name[0] == {SECRET!r}"],
}  # fmt: skip


def function(value: Any) -> tuple[str, int, str]:
    return "o", 0, "function"


def conversation(kind: str) -> list[Any]:
    """What a harmless, wrong program answers."""
    if kind != "values":
        return [("value", None, None)]
    many = ["wrong", [1.5, None], {"a": (2,)}]
    quick, full = join([pack(answer) for answer in many]), [wire.dumps(("value", answer)) for answer in many]
    return [
        ("value", None, None), ("value", {"f": object}, None), ("value", quick, None), ("value", full, None),
        ("value", "wrong", (([1],), {})), ("raise", "KeyError", "KeyError", "'x'", 2), ("value", {"name": [0.0] * 9}, None),
        ("exit", "SystemExit", "SystemExit", "0", 0),
    ]  # fmt: skip


def packed(message: Any) -> bytes:
    try:
        return wire.dumps(message, function)
    except wire.WireError:  # damage that nests too deep
        return b""


def damaged(rng: random.Random, messages: list[Any]) -> bytes:
    """The messages as the candidate's side of the stream, with damage to their values, their bytes or their order."""
    kind = rng.randrange(4)
    if kind == 0:
        messages = [fuzz.mutate_json(rng, message) if rng.random() < 0.5 else message for message in messages]
    elif kind == 1:
        messages = [rng.choice(messages) for _ in messages]
    bodies = [packed(message) for message in messages]
    if kind == 2:
        bodies = [fuzz.mutate_bytes(rng, body) if rng.random() < 0.5 else body for body in bodies]
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    return fuzz.mutate_bytes(rng, stream) if kind == 3 else stream


@pytest.mark.parametrize(
    ("kind", "check"), [("values", checker.check_values), ("in_process", checker.check_in_process), ("script", checker.check_script)]
)
def test_no_answer_of_a_candidate_crashes_the_checker_or_passes(
    kind: str, check: Callable[[Link, dict[str, Any]], dict[str, Any]], tmp_path: Any
) -> None:
    rng = random.Random(kind)
    verdicts: Counter[str] = Counter()
    output = tmp_path / "stdout"
    output.write_bytes(b"wrong\n")
    with output.open("rb") as stdout:
        for _ in range(COUNT):
            stream = damaged(rng, conversation(kind))
            ours, theirs = socket.socketpair()
            with ours, theirs:
                theirs.setblocking(False)
                theirs.send(stream[: 1 << 17])  # as much as the socket holds; what is cut off is one more damage
                theirs.shutdown(socket.SHUT_WR)
                report = check(Link(ours), JOB | {"stdout": stdout.fileno(), "file_bytes": 1 << 16})
            assert report["verdict"] != "passed", stream
            wire.dumps(report)  # what the parent is told
            verdicts[report["verdict"]] += 1
    assert len(verdicts) > 1, "the damage reaches different ends"
    assert verdicts.total() == COUNT
