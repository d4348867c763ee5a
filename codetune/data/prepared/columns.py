"""Documents as Arrow columns and back: one form for the parts that are worked on and for the files that are shared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from codetune.data.files import Row
from codetune.data.own import tests_of
from codetune.records import AssertTest, CallTest, Document, Message, StdioTest, Test

REPEATS = "repeats"  # how often a document stands in the training data: a column of its own beside these
_TEXTS = ("id", "text", "instruction", "input", "prompt", "entry_point", "language", "source", "origin", "licence", "group", "split")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        ("rank", pa.float64()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("tests", pa.string()),  # JSON, in the form of own problems
        ("facts", pa.string()),  # JSON
    ]
)


def to_table(documents: Sequence[Document]) -> pa.Table:
    """The documents as a table with the columns of `SCHEMA`, in order."""
    columns: dict[str, list[Any]] = {name: [getattr(document, name) for document in documents] for name in (*_TEXTS, "rank")}
    columns["messages"] = [[{"role": turn.role, "content": turn.content} for turn in document.messages] for document in documents]
    columns["tests"] = [_tests_json(document) for document in documents]
    columns["facts"] = [json.dumps(document.facts, ensure_ascii=False, sort_keys=True) if document.facts else "" for document in documents]
    return pa.table(columns, schema=SCHEMA)


def to_documents(table: pa.Table) -> Iterator[Document]:
    """The documents of a table; columns that are no part of a document are passed over."""
    names = [name for name in SCHEMA.names if name in table.column_names]
    yield from map(document_of, table.select(names).to_pylist())


def document_of(row: Mapping[str, Any]) -> Document:
    """The document of one row of such a table."""
    values = {name: row[name] for name in SCHEMA.names if name in row}
    turns = tuple(Message(turn["role"], turn["content"]) for turn in values.pop("messages", None) or ())
    tests, facts = values.pop("tests", ""), values.pop("facts", "")
    tests = tests_of(Row(f"document {values['id']!r}", {"tests": json.loads(tests)})) if tests else ()
    return Document(**values, messages=turns, tests=tests, facts=json.loads(facts) if facts else {})


def unwritable(document: Document) -> str:
    """Why its texts cannot be kept, "" where they can: files of text hold neither NUL nor half of a surrogate pair."""
    streams = (text for test in document.tests if isinstance(test, StdioTest) for text in (test.stdin, test.stdout))
    for text in (document.whole, *(getattr(document, name) for name in _TEXTS), *streams):
        if "\0" in text:
            return "holds NUL characters where text should be"
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return "holds half of a surrogate pair where text should be"
    return ""


def _tests_json(document: Document) -> str:
    return json.dumps([_plain(test, document.entry_point) for test in document.tests]) if document.tests else ""


def _plain(test: Test, entry_point: str) -> Any:
    """A test in the form of own problems. Values that JSON would change (tuples, sets) are written as an assert line."""
    match test:
        case AssertTest(code):
            return code
        case StdioTest(stdin, stdout):
            return {"stdin": stdin, "stdout": stdout}
        case CallTest(given, output):
            if _survives(list(given)) and _survives(output):
                return {"input": list(given), "output": output}
            return f"assert {entry_point}({', '.join(map(repr, given))}) == {output!r}"
    raise TypeError(f"{type(test).__name__} has no form in a file")


def _survives(value: Any) -> bool:
    try:
        return repr(json.loads(json.dumps(value))) == repr(value)
    except (TypeError, ValueError):
        return False
