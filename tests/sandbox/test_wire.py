"""The wire format: what crosses comes back equal and of the same type; hostile bytes give WireError and nothing else."""

from __future__ import annotations

import collections
import datetime
import math
import socket
import threading
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codetune.sandbox import wire
from codetune.sandbox.remote import CandidateExit, CandidateGone, Link, update_in_place

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.complex_numbers(allow_nan=False),
    st.text(st.characters(exclude_categories=())), st.binary(), st.dates(), st.decimals(allow_nan=False), st.fractions(), st.timedeltas(),
)  # fmt: skip
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=3) | st.sets(HASHABLE, max_size=3),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down (1, 1.0 and True are equal but not the same)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    return bool(a == b)


@given(VALUES)
def test_values_come_back_the_same(value: Any) -> None:
    assert same(wire.loads(wire.dumps(value)), value)


def test_values_that_equality_cannot_see() -> None:
    assert math.isnan(wire.loads(wire.dumps(float("nan"))))
    assert math.copysign(1, wire.loads(wire.dumps(-0.0))) == -1
    assert wire.loads(wire.dumps([math.inf, "\ud800", 1 << 5000, int, ValueError])) == [math.inf, "\ud800", 1 << 5000, int, ValueError]
    assert list(wire.loads(wire.dumps({"b": 1, "a": 2}))) == ["b", "a"]


@pytest.mark.parametrize(
    "numbers",
    [
        list(range(20)), [0.5 * n for n in range(9)], [1, 2.0] * 9, [*range(8), *[0.25] * 8, *"abcdefghi", *range(30)], [True] * 9,
        [1 << 70] * 9, [2**63 - 1, -(2**63)] * 5, [2**63] * 8, (1.0,) * 8, {float(n) for n in range(50)}, dict.fromkeys(range(12), 1.5),
        [[1] * 8, [2.0] * 8], [-0.0] * 8,
    ],
    ids=str,
)  # fmt: skip
def test_runs_of_numbers_keep_their_types_and_their_order(numbers: Any) -> None:
    back = wire.loads(wire.dumps(numbers))
    assert repr(back) == repr(numbers)
    assert same(back, numbers)


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\0" * 16])
def test_a_run_of_the_wrong_length_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError, match="run"):
        wire.loads(b"l" + (1).to_bytes(4, "big") + b"I" + len(body).to_bytes(4, "big") + body)


class Lying(int):
    """Would say anything if it were asked."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("asked")

    __hash__ = int.__hash__
    __int__ = __index__ = __bool__ = __repr__ = __eq__  # type: ignore[assignment]


class LyingList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise AssertionError("asked")

    __len__ = __getitem__ = __iter__


class Point(NamedTuple):
    x: int
    y: int


class Colour(IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Lying(7), 7),
        (LyingList([1, 2]), [1, 2]),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, {1: [2]}), {1: [2]}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Point(1, 2), (1, 2)),
        (Colour.RED, 3),
    ],
    ids=["int", "list", "Counter", "defaultdict", "OrderedDict", "namedtuple", "IntEnum"],
)
def test_subclasses_cross_by_their_base_value_and_are_never_asked(value: Any, plain: Any) -> None:
    assert same(wire.loads(wire.dumps(value)), plain)


def test_standard_value_types_are_rebuilt() -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
    values = [moment, moment.date(), moment.time(), Decimal("1.10"), Fraction(1, 3), range(2, 9, 3), bytearray(b"x")]
    values.append(collections.deque([1], 3))
    assert same(wire.loads(wire.dumps(values)), values)


def test_what_does_not_fit_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, object(), (x for x in ()), len, datetime.datetime.now(datetime.UTC), "x" * (wire.MAX_BYTES + 1)):
        with pytest.raises(wire.WireError):
            wire.dumps(value)


@given(st.binary(max_size=60))
@example(b"l\xff\xff\xff\xff" + b"N" * 10)
@example(b"l\0\0\0\1" * 300)
@example(b"S\0\0\0\1l\0\0\0\0")
@example(b"V\0\0\0\4datet\0\0\0\0")
@example(b"Ro\0\0\0\0s\0\0\0\0")
@settings(max_examples=600)
def test_random_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        value = wire.loads(data)
    except wire.WireError:
        return
    wire.dumps(value)


@given(VALUES, st.data())
@settings(max_examples=300)
def test_damaged_messages_give_a_value_or_a_wire_error(value: Any, data: st.DataObject) -> None:
    message = bytearray(wire.dumps(value))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        wire.loads(bytes(message))
    except wire.WireError:
        return


RAISED = ["KeyError", "SystemExit", "UnicodeDecodeError", "print", "x"]
REPLIES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.sampled_from(["value", "raise", "exit", "syntax", "callback", "x"]), VALUES, VALUES).map(wire.dumps),
    st.tuples(st.just("raise"), st.sampled_from(RAISED), st.text(), st.text(), st.integers(-9, 1 << 60)).map(wire.dumps),
)


@given(st.lists(REPLIES, max_size=3), st.booleans())
@settings(max_examples=300, deadline=None)
def test_hostile_answers_end_in_a_value_an_exception_or_the_end_of_the_candidate(replies: list[bytes], framed: bool) -> None:
    """Whatever the candidate writes into the pipe, the checker neither crashes nor hangs."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for reply in replies:
            theirs.sendall(len(reply).to_bytes(4, "big") + reply if framed else reply)
        theirs.shutdown(socket.SHUT_WR)
        try:
            Link(ours).request(("names", ["f"]))
        except (Exception, CandidateExit, CandidateGone):
            return


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_messages_of_any_size_cross_a_socket(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=wire.send, args=(ours, b"x" * size))
        sender.start()
        assert wire.receive(theirs) == b"x" * size
        sender.join()


def test_arguments_are_updated_in_place_and_keep_their_identity() -> None:
    inner = [1, 2]
    outer: list[Any] = [inner, {"k": inner}, {1}]
    update_in_place(outer, [[2, 1, 0], {"k": [9], "new": 1}, {5}])
    assert outer == [[9], {"k": [9], "new": 1}, {5}]
    assert outer[0] is inner
