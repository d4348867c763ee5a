"""Checks that `basics` is fit to measure with: its counts, its form, its splits, and tests that no stub passes.

Everything here is pure: families or problems in, counts or a list of faults (one line each) out. References are our
own code, so they run in this process; they are called with the inputs of other families too, where most of them
raise, and that counts as failing.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import marshal
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import FrameType
from typing import Any

from codetune.data.basics.family import Family, Variant
from codetune.data.basics.splits import SPLITS, compiled, deal_variants, load
from codetune.records import CallTest, Problem

MIN_VARIANTS = {False: 40, True: 26}  # by `Family.unseen`
MIN_NAMES, MIN_WISHES, MIN_INPUTS = 2, 3, 4

_STUCK_S = 0.1  # a single call of a foreign reference is stopped between one and two of these
_LARGEST_INT = 100_000  # foreign references get no larger number: a range or a factorial of it would fill the memory
_SMALL_INT = 1_000  # what every reference deals with at once

_RAISED = object()
_NOT_CALLED = object()


def split_sizes(seed: int = 0) -> dict[str, int]:
    """Split -> number of problems."""
    return {split: len(load(split, seed)) for split in SPLITS}


def variants_per_family(families: Iterable[Family]) -> dict[str, int]:
    """Family name -> number of variants."""
    return {family.name: len(list(family.variants())) for family in families}


def form_faults(families: Sequence[Family]) -> list[str]:
    """What breaks the rules for families: too few variants, names, wishes or inputs, twin bodies, constant outputs."""
    faults = [f"{name}: {count} families have this name" for name, count in Counter(f.name for f in families).items() if count > 1]
    for family in families:
        variants = list(family.variants())
        if len(variants) < MIN_VARIANTS[family.unseen]:
            faults.append(f"{family.name}: {len(variants)} variants, at least {MIN_VARIANTS[family.unseen]} are wanted")
        for what, values in (
            ("body", [variant.imports + variant.body for variant in variants]),
            ("wish", [wish for variant in variants for wish in variant.wishes]),
        ):
            faults += [f"{family.name}: twice the same {what}: {value!r}" for value, count in Counter(values).items() if count > 1]
        for index, variant in enumerate(variants):
            faults += [f"{family.name}[{index}]: {fault}" for fault in _variant_faults(variant)]
    return faults


def split_faults(seed: int = 0) -> list[str]:
    """Instructions that occur twice in all splits together, and bodies of one family in more than one split."""
    instructions = Counter(problem.instruction for split in SPLITS for problem in load(split, seed))
    faults = [f"{count} problems say {text!r}" for text, count in instructions.items() if count > 1]
    homes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for split, families in deal_variants(seed).items():
        for name, variants in families.items():
            for variant in variants:
                homes[name, variant.body].add(split)
    return faults + [f"{name}: one body in {sorted(splits)}: {body!r}" for (name, body), splits in homes.items() if len(splits) > 1]


def fingerprint(problems: Iterable[Problem]) -> str:
    """A hash of all that problems say and test, the same in every process (sets have no order that could be printed)."""
    parts = [
        [getattr(problem, field.name) for field in fields(problem) if field.name != "tests"]
        + [(_ordered(test.input), _ordered(test.output)) for test in problem.tests if isinstance(test, CallTest)]
        for problem in problems
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A program that passes all tests of a variant without being its answer."""

    family: str
    index: int
    passed_by: str  # "constant", "identity" (returns an argument) or the family of a reference
    wish: str
    program: str

    def __str__(self) -> str:
        return f"{self.family}[{self.index}] ({self.wish}) is passed by {self.passed_by}:\n{self.program}"


def lookalikes(families: Sequence[Family]) -> tuple[list[Lookalike], list[Lookalike]]:
    """Programs that pass tests they should fail: stubs and references of other families; other variants of the same family.

    Stubs are `pass`, every constant, and returning an argument. References are tried on variants of equal arity.
    Values are compared with their types: True is not 1 and 1 is not 1.0; the order within sets and dicts is free.
    """
    exams = [_Exam.of(family.name, index, variant) for family in families for index, variant in enumerate(family.variants())]
    foreign = [stub for exam in exams for stub in exam.stubs()]
    twins: list[Lookalike] = []
    # arity -> first question -> expected answer -> exams: most programs fail at once, and one call serves many exams
    register: dict[int, dict[bytes, dict[object, list[_Exam]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for exam in exams:
        register[exam.variant.arity][exam.inputs[0]][exam.outputs[0]].append(exam)
    with _interrupting() as call:
        for author in exams:
            ask = functools.cache(functools.partial(call, author.function))
            for blob, by_output in register[author.variant.arity].items():
                result = ask(blob)
                candidates = itertools.chain(*by_output.values()) if result is _NOT_CALLED else by_output.get(result, ())
                for exam in candidates:
                    if exam is not author and exam.is_passed_by(ask):
                        found = twins if exam.family == author.family else foreign
                        found.append(Lookalike(exam.family, exam.index, author.family, exam.variant.wishes[0], author.variant.body))
    return foreign, twins


@dataclass(frozen=True, slots=True)
class _Exam:
    """A variant with its function, inputs (marshalled: a fresh copy is one cheap load) and expected outputs.

    The order is that of `inputs` backwards, large numbers last: edge cases tell programs apart least, large numbers take longest.
    """

    family: str
    index: int
    variant: Variant
    function: Callable[..., Any]
    inputs: tuple[bytes, ...]
    outputs: tuple[object, ...]

    @classmethod
    def of(cls, family: str, index: int, variant: Variant) -> _Exam:
        function = compiled(variant)
        backwards = variant.inputs[::-1]
        inputs = tuple(marshal.dumps(args) for args in sorted(backwards, key=lambda args: _has_int_above(_SMALL_INT, args)))
        outputs = tuple(_comparable(function(*marshal.loads(blob))) for blob in inputs)
        return cls(family, index, variant, function, inputs, outputs)

    def stubs(self) -> Iterator[Lookalike]:
        wish = self.variant.wishes[0]
        if len(set(self.outputs)) == 1:
            yield Lookalike(self.family, self.index, "constant", wish, f"    return {self.outputs[0]!r}")
        for position in range(self.variant.arity):
            if self.outputs == tuple(_comparable(marshal.loads(blob)[position]) for blob in self.inputs):
                yield Lookalike(self.family, self.index, "identity", wish, f"    return argument {position}")

    def is_passed_by(self, ask: Callable[[bytes], object]) -> bool:
        """An input that the function may not be given speaks for neither side."""
        return all(ask(blob) in (expected, _NOT_CALLED) for blob, expected in zip(self.inputs, self.outputs, strict=True))


_Call = Callable[[Callable[..., Any], bytes], object]


@contextmanager
def _interrupting() -> Iterator[_Call]:
    """A caller that returns comparable results and ends endless loops (in the main thread, where signals arrive)."""
    started = 0  # the number of the latest call
    running = 0  # the number of the call under way, else 0
    seen_at_last_tick = 0
    dangerous: dict[bytes, bool] = {}

    def call(function: Callable[..., Any], blob: bytes) -> object:
        nonlocal started, running
        if blob not in dangerous:
            dangerous[blob] = _has_int_above(_LARGEST_INT, marshal.loads(blob))
        if dangerous[blob]:
            return _NOT_CALLED
        started += 1
        try:
            running = started
            return _comparable(function(*marshal.loads(blob)))
        except Exception:
            return _RAISED
        finally:
            running = 0

    def on_tick(_signal: int, _frame: FrameType | None) -> None:
        nonlocal seen_at_last_tick
        if running and running == seen_at_last_tick:
            raise TimeoutError("the call did not end")
        seen_at_last_tick = running

    if threading.current_thread() is not threading.main_thread():
        yield call
        return
    previous = signal.signal(signal.SIGALRM, on_tick)
    signal.setitimer(signal.ITIMER_REAL, _STUCK_S, _STUCK_S)
    try:
        yield call
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _ordered(value: object) -> object:
    """A stand-in whose `repr` does not depend on the process: sets and dicts as sorted lists, each with its type."""
    if isinstance(value, list | tuple):
        return type(value)(map(_ordered, value))
    if isinstance(value, set | frozenset):
        return "set", sorted(map(repr, map(_ordered, value)))
    if isinstance(value, dict):
        return "dict", sorted(repr((_ordered(key), _ordered(item))) for key, item in value.items())
    return value


def _has_int_above(limit: int, value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_int_above(limit, item) for item in value)
    return isinstance(value, int) and abs(value) > limit


def _comparable(value: object) -> object:
    """A hashable stand-in: two are equal exactly when the values are equal in type and content."""
    kind = type(value)
    if kind in (int, str, bool, float, type(None)):
        return kind, value
    if kind in (list, tuple):
        return kind, tuple([_comparable(item) for item in value])  # type: ignore[attr-defined]
    if kind in (set, frozenset):
        return kind, frozenset([_comparable(item) for item in value])  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return kind, frozenset([(_comparable(key), _comparable(item)) for key, item in value.items()])
    return kind, repr(value)


def _variant_faults(variant: Variant) -> Iterator[str]:
    for what, least in (("names", MIN_NAMES), ("wishes", MIN_WISHES), ("inputs", MIN_INPUTS)):
        values = getattr(variant, what)
        if len(values) < least or len({repr(value) for value in values}) < len(values):
            yield f"{len(values)} {what}, at least {least} different ones are wanted"
    yield from (f"{name!r} is no function name" for name in variant.names if not name.isidentifier())
    yield from (f"the wish ends with a full stop: {wish!r}" for wish in variant.wishes if wish.endswith("."))
    if any(len(args) != variant.arity for args in variant.inputs):
        yield f"an input does not fit ({variant.args})"
        return
    try:
        outputs = [compiled(variant)(*marshal.loads(marshal.dumps(args))) for args in variant.inputs]
    except Exception as error:
        yield f"the reference raises {error!r}"
        return
    yield from (f"an output is no plain value: {output!r}" for output in outputs if not _is_plain(output))


def _is_plain(value: object) -> bool:
    if type(value) in (list, tuple, set):
        return all(_is_plain(item) for item in value)  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return type(value) is dict and all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    return type(value) in (int, str, bool, float, type(None)) and value == value
