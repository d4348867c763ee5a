"""Documents to Arrow columns and back: nothing is lost that a file can hold."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data.prepared.columns import SCHEMA, to_documents, to_table, unwritable
from codetune.records import AssertTest, CallTest, Document, Message, StdioTest

TEXT = st.text(max_size=20).filter(lambda text: text.isascii() or text.encode("utf-8", "replace").decode() == text)
DOCUMENTS = st.builds(
    Document, id=TEXT, text=TEXT, instruction=TEXT, input=TEXT, prompt=TEXT, licence=TEXT, group=TEXT, rank=st.floats(allow_nan=False),
    messages=st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), TEXT), max_size=3).map(tuple),
    facts=st.dictionaries(TEXT, st.integers(-9, 9) | TEXT | st.booleans(), max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(DOCUMENTS, max_size=5))
def test_round_trip(documents: list[Document]) -> None:
    table = to_table(documents)
    assert table.schema == SCHEMA
    assert list(to_documents(table)) == documents


def test_tests_come_back_and_tuples_survive_as_an_assert() -> None:
    tests = (AssertTest("assert f(1) == 2"), StdioTest("1\n", "2\n"), CallTest((1, [2]), {"a": 3}), CallTest(((1, 2),), {3}))
    (back,) = to_documents(to_table([Document("a", text="def f(x): ...", entry_point="f", tests=tests)]))
    assert back.tests == (*tests[:3], AssertTest("assert f((1, 2)) == {3}"))


def test_other_columns_are_passed_over_and_missing_ones_are_empty() -> None:
    table = pa.table({"id": ["a"], "text": ["x = 1"], "repeats": [2]})
    assert list(to_documents(table)) == [Document("a", text="x = 1")]


def test_half_of_a_surrogate_pair_cannot_be_stored() -> None:
    assert not unwritable(Document("a", text="😀", instruction="é"))
    assert unwritable(Document("a", text="\ud800"))
    assert unwritable(Document("a", text="x", origin="\udfff"))
    assert unwritable(Document("a", messages=(Message("user", "\ud83d"),)))
