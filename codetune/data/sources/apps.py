"""APPS (Hendrycks et al. 2021): 10,000 problems from programming sites, half of them to train on.

Rows: https://huggingface.co/datasets/codeparrot/apps; `solutions` and `input_output` are JSON as text. Tests with `fn_name` call a
function, and are judged as in https://github.com/hendrycks/apps/blob/main/eval/testing_util.py
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from codetune.data.files import Row, parsed
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source, name_of
from codetune.data_recipe import SourceConfig
from codetune.prompts.extract import parse
from codetune.records import CallTest, Document, StdioTest, Test


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """The first solutions that parse as Python 3, each a document; all of a problem share its group."""
    wish, starter = row.text("question").strip(), row.text("starter_code", "").rstrip()
    if not wish:
        raise row.error("'question' is empty; there is nothing to ask for")
    solutions = _json(row, "solutions") or []
    if not isinstance(solutions, list) or not all(isinstance(each, str) for each in solutions):
        raise row.error("'solutions' must be the JSON of a list of programs")
    entry_point, tests = _tests(row, starter)
    chosen = list(islice((each for each in dict.fromkeys(solutions) if each.strip() and parse(each) is not None), config.max_solutions))
    if not chosen:
        yield Skipped(row.where, "no Python 3 solution that parses")
    group = f"APPS/{config.split or 'train'}/{name_of(row, 'problem_id' if 'problem_id' in row.values else 'id')}"
    for number, solution in enumerate(chosen):
        yield Document(
            id=f"{group}/{number}",
            instruction=f"{wish}\n\nStart from this code:\n```python\n{starter}\n```" if starter else wish,
            text=solution,
            entry_point=entry_point,
            tests=tests,
            origin=row.text("url", ""),
            group=group,
            facts={"difficulty": row.text("difficulty")} if row.values.get("difficulty") else {},
        )


def _tests(row: Row, starter: str) -> tuple[str, tuple[Test, ...]]:
    """What the tests call, "" where they are programs' input and output, and the tests."""
    given = _json(row, "input_output") or {}
    inputs, outputs = (given.get("inputs", []), given.get("outputs", [])) if isinstance(given, dict) else (None, None)
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise row.error("'input_output' must be the JSON of 'inputs' and 'outputs', equally many")
    name = given.get("fn_name")
    if name is None:
        return "", tuple(StdioTest(_text(stdin), _text(stdout)) for stdin, stdout in zip(inputs, outputs, strict=True))
    if not isinstance(name, str) or not all(isinstance(each, list) for each in inputs):
        raise row.error("with 'fn_name', each of 'inputs' must be a list of arguments")
    # APPS accepts a result that is the expected value, or its first item; in most problems the value stands in a list of its own.
    if all(isinstance(each, list) and len(each) == 1 for each in outputs):
        outputs = [each[0] for each in outputs]
    entry_point = f"Solution().{name}" if "class Solution" in starter else name
    return entry_point, tuple(CallTest(tuple(arguments), output) for arguments, output in zip(inputs, outputs, strict=True))


def _text(value: object) -> str:
    """Some rows have a program's input as a list of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _json(row: Row, key: str) -> Any:
    """The value that a column holds as JSON text; None where it is empty."""
    value = row.values.get(key)
    if value is None or value == "":
        return None
    return parsed(f"{row.where}: {key!r}", row.text(key)) if isinstance(value, str) else value


SOURCE = Source(
    "apps",
    documents,
    "5,000 problems from programming sites with solutions, tests and difficulty",
    wants=(("question", "solutions", "input_output"),),
    licence="MIT",
    schema="https://huggingface.co/datasets/codeparrot/apps",
    files={"train": ("apps/train*",), "test": ("apps/test*",)},
    hub=Hub("codeparrot/apps", files={"train": "train.jsonl", "test": "test.jsonl"}),
    settings=frozenset({"max_solutions"}),
)
