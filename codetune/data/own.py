"""Problems of the user's own, from a JSONL file: `task_id`, `prompt` or `instruction`, and optionally `input`, `entry_point`,
`reference`, `setup`, `timeout_s` and `tests`.

`tests` is a list of Python assert lines, of `{"input": [args], "output": value}`, or of `{"stdin": str, "stdout": str}`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from codetune.data.files import Row, read_rows, short
from codetune.prompts.extract import parse
from codetune.records import AssertTest, CallTest, Problem, StdioTest, Test

KEYS = ("task_id", "prompt", "instruction", "input", "entry_point", "reference", "setup", "timeout_s", "tests")
TEST_FORMS = 'an assert line, {"input": [args], "output": value} or {"stdin": str, "stdout": str}'


def load(path: Path) -> tuple[Problem, ...]:
    """The file's problems in order; a faulty or repeated row is an error that names its line."""
    problems: dict[str, Problem] = {}
    for row in read_rows(path):
        found = problem(row, path.stem)
        if found.task_id in problems:
            raise row.error(f"task_id {found.task_id!r} appears twice; every problem needs its own")
        problems[found.task_id] = found
    return tuple(problems.values())


def problem(row: Row, source: str) -> Problem:
    """One row's problem."""
    _refuse_misspelt_keys(row)
    found = Problem(
        task_id=str(row.task_id()),
        instruction=row.text("instruction", ""),
        input=row.text("input", ""),
        prompt=row.text("prompt", ""),
        reference=row.text("reference", ""),
        entry_point=row.text("entry_point", ""),
        tests=tests_of(row),
        setup=row.text("setup", ""),
        source=source,
        timeout_s=timeout_s(row),
    )
    if not (found.prompt or found.instruction):
        raise row.error("neither 'prompt' nor 'instruction' is there; give one of them")
    if any(isinstance(test, CallTest) for test in found.tests) and not found.entry_point:
        raise row.error("tests with 'input' and 'output' call a function; give its name as 'entry_point'")
    return found


def _refuse_misspelt_keys(row: Row) -> None:
    """Other keys are the user's notes; one that nearly is a key of ours ("test") would be lost in silence."""
    for key in row.values.keys() - set(KEYS):
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.8)
        if near and near[0] not in row.values:
            raise row.error(f"unknown key {key!r}; did you mean {near[0]!r}?")


def tests_of(row: Row) -> tuple[Test, ...]:
    tests = row.values.get("tests")
    if tests is None:
        return ()
    if not isinstance(tests, list):
        raise row.error(f"'tests' must be a list, each {TEST_FORMS}; got {short(tests)}")
    return tuple(test_of(row, test) for test in tests)


def test_of(row: Row, test: object) -> Test:
    """One test in any of its forms. Raises UserError for anything else."""
    match test:
        case str():
            if parse(test) is None:
                raise row.error(f"the test {short(test)} is not Python")
            return AssertTest(test)
        case {"input": list(arguments), "output": output}:
            return CallTest(tuple(arguments), output)
        case {"stdin": str(stdin), "stdout": str(stdout)}:
            return StdioTest(stdin, stdout)
    raise row.error(f"a test must be {TEST_FORMS}; got {short(test)}")


def timeout_s(row: Row) -> float:
    """Processor seconds for a program with all its tests."""
    value = row.values.get("timeout_s", 5.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        raise row.error(f"'timeout_s' must be seconds between 0 and 3600, got {short(value)}")
    return float(value)
