"""HumanEval+ and MBPP+ (EvalPlus, Liu et al. 2023): 164 and 378 tasks with many more inputs, judged by agreement with the reference.

Read as EvalPlus 0.3.1 reads them; base and plus inputs both count, but for five of Mbpp/255, whose answers have 6 to 128 million items.
Of the rows' other fields `contract` (which inputs are valid: it served to make them) and `assertion` (the base inputs once more, as
asserts) say nothing about an answer and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from codetune.data.files import Row, read_rows, short
from codetune.records import AgreementTest, AssertTest, Problem, Test

HUMANEVAL_FILE = "humanevalplus/HumanEvalPlus.jsonl.gz"
HUMANEVAL_PREFIX = "HumanEval/"
MBPP_FILE = "mbppplus/MbppPlus.jsonl.gz"
MBPP_PREFIX = "Mbpp/"

Inputs = list[Any]  # the arguments of one call

_SETS = "set(output) == set(expected)"
_NOT_NONE = "(output if isinstance(output, bool) else output is not None) == (expected is not None)"

# Tasks whose reference is not the only right answer, by entry point: when an `output` counts beside the one `expected`, after `given`.
_ORACLES = {
    "find_zero": "abs(sum(c * math.pow(output, power) for power, c in enumerate(given[0]))) <= 1e-4",
    "are_equivalent": "True",
    "sum_div": "output in (expected, 0)",
    "surface_Area": "output == expected or abs(output - pyramid(*given)) <= 1e-6",
    "digit_distance_nums": "output == expected or output == digit_distance(*given)",
    **dict.fromkeys(("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"), _SETS),
    **dict.fromkeys(("larg_nnum", "intersection_array", "find_dissimilar", "Diff"), _SETS),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _NOT_NONE),
}

# The reference runs beside the tests, never beside the program.
_ORACLE_SETUP = """\
import copy
import math

reference = {{}}
exec({program!r}, reference)


def pyramid(base, height):
    return round(base**2 + 2 * base * math.sqrt((base / 2) ** 2 + height**2))


def digit_distance(*numbers):
    width = max(len(str(number)) for number in numbers)
    return sum(abs(int(a) - int(b)) for a, b in zip(*(str(number).zfill(width) for number in numbers)))


def accepts(output, *given):
    expected = reference[{entry_point!r}](*copy.deepcopy(given))
    return {oracle}
"""


def load_humaneval(path: Path) -> tuple[Problem, ...]:
    """HumanEval+ in file order: functions to complete, prompts with their final newline."""
    return tuple(_problem(row, "humanevalplus", row.text("prompt"), "", "") for row in read_rows(path))


def load_mbpp(path: Path) -> tuple[Problem, ...]:
    """MBPP+ in file order. The row's prompt is a docstring of the wish and one assert; here they are `instruction` and `input`."""
    problems = []
    for row in read_rows(path):
        wish, _, test = row.text("prompt").strip().strip('"').strip().partition("\nassert ")
        problems.append(_problem(row, "mbppplus", "", wish, test and f"assert {test}"))
    return tuple(problems)


def _problem(row: Row, source: str, prompt: str, instruction: str, shown_test: str) -> Problem:
    task_id, entry_point, reference = str(row.task_id()), row.text("entry_point"), row.text("canonical_solution")
    oracle = _ORACLES.get(entry_point, "")
    setup = _ORACLE_SETUP.format(program=prompt + reference, entry_point=entry_point, oracle=oracle) if oracle else ""
    atol = row.values.get("atol", 0)
    if isinstance(atol, bool) or not isinstance(atol, int | float) or not 0 <= atol < 1:
        raise row.error(f"'atol' must be a number from 0 to 1, got {short(atol)}")
    inputs = enumerate([*_inputs(row, "base_input"), *_inputs(row, "plus_input")])
    kept = [each for number, each in inputs if number not in _TOO_LARGE.get(task_id, ())]
    return Problem(
        task_id=task_id,
        instruction=instruction,
        input=shown_test,
        prompt=prompt,
        reference=reference,
        entry_point=entry_point,
        tests=tuple(_accepted(entry_point, each) if oracle else AgreementTest(tuple(each), float(atol)) for each in kept),
        setup=setup,
        source=source,
        timeout_s=15.0,
    )


def _accepted(entry_point: str, given: Inputs) -> Test:
    shown = ", ".join(map(repr, given))
    return AssertTest(f"assert accepts({entry_point}({shown}), {shown})")


def _inputs(row: Row, key: str) -> list[Inputs]:
    """The calls' arguments as their types, which JSON cannot tell, were meant. One row of MBPP+ (Mbpp/793) has `{}` for none."""
    calls = row.values.get(key) or []
    if not isinstance(calls, list) or not all(isinstance(call, list) for call in calls):
        raise row.error(f"{key!r} must be a list of lists of arguments, got {short(calls)}")
    form = _MBPP_FORMS.get(str(row.task_id()))
    if form is None:
        return calls
    try:
        return [list(form(call)) for call in calls]
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise row.error(f"{key!r} does not hold what task {row.task_id()} takes ({error})") from error


def _items_to_tuples(argument: Any) -> list[Any]:
    return [tuple(item) for item in argument]


def _deep_tuple(value: Any) -> Any:
    return tuple(map(_deep_tuple, value)) if isinstance(value, list) else value


def _for_all(numbers: str, form: Callable[[Inputs], Any]) -> dict[str, Callable[[Inputs], Any]]:
    return {f"{MBPP_PREFIX}{number}": form for number in numbers.split()}


# `mbpp_deserialize_inputs` of EvalPlus 0.3.1 (v0.2.0 of the data), by task. Its empty "set" of task 115 is a dict: kept.
_MBPP_FORMS: dict[str, Callable[[Inputs], Any]] = {
    **_for_all("2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809", lambda call: map(tuple, call)),
    **_for_all("63 64 70 94 120 237 272 299 400 409 417 438 473 614 780", lambda call: map(_items_to_tuples, call)),
    **_for_all("75 413 444 753", lambda call: [_items_to_tuples(call[0]), call[1]]),
    **_for_all("106 750", lambda call: [call[0], tuple(call[1])]),
    **_for_all("115", lambda call: [[set(item) if isinstance(item, list) and item else {} for item in call[0]]]),
    **_for_all("124", lambda call: [float(call[0]), complex(call[1])]),
    **_for_all("250 405 446 617 720 763 808", lambda call: [tuple(call[0]), call[1]]),
    **_for_all("259 401 445", lambda call: [tuple(_items_to_tuples(argument)) for argument in call]),
    **_for_all("278", lambda call: [tuple(tuple(item) if isinstance(item, list) else item for item in call[0])]),
    **_for_all("307", lambda call: [tuple(call[0]), call[1], call[2]]),
    **_for_all("722", lambda call: [{key: tuple(value) for key, value in call[0].items()}, *call[1:]]),
    **_for_all("252", lambda call: [complex(call[0])]),
    **_for_all("580 615 791", lambda call: map(_deep_tuple, call)),
}

# Where the reference runs for seconds on a slow core, or gives megabytes.
_TOO_LARGE = {"Mbpp/255": frozenset({88, 89, 93, 99, 103})}  # by number among base and plus inputs
