"""The four splits of `basics`, drawn from the families by a seed: train, validation, known and unseen.

Known families give train, validation and `known` (the test split); a variant lives in exactly one of the three, so
no test problem is a re-worded training problem. Unseen families give `unseen` alone. Within a split the families are
balanced: their numbers of problems differ by one at most.
"""

from __future__ import annotations

import copy
import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from codetune.data.basics import (
    algorithms,
    dates,
    dicts,
    formatting,
    lists,
    numbers,
    parsing,
    regexes,
    sorting,
    strings,
    unseen,
    unseen_text,
)
from codetune.data.basics.family import Family, Variant
from codetune.errors import UserError, nearest
from codetune.records import CallTest, Problem

SPLITS = {"train": 4800, "validation": 300, "known": 300, "unseen": 300}

FRAMES = (
    "Write a Python function `{name}({args})` that {wish}.",
    "Implement `{name}({args})`, a function that {wish}.",
    "Define a function named `{name}` taking `{args}` that {wish}.",
    "I need a Python function `{name}({args})` that {wish}.",
    "Create `{name}({args})` in Python: a function that {wish}.",
    "Given `{args}`, the function `{name}({args})` {wish}. Write it.",
)

_FILES = (strings, formatting, lists, dicts, sorting, numbers, dates, regexes, parsing, algorithms, unseen, unseen_text)


def all_families() -> list[Family]:
    """Every family, known and unseen, in a fixed order."""
    return [family for file in _FILES for family in file.FAMILIES]


@functools.cache
def load(split: str, seed: int = 0) -> tuple[Problem, ...]:
    """The problems of one split, in the order that the seed gives; the same in every process.

    Raises UserError for a split that is not in `SPLITS`.
    """
    if split not in SPLITS:
        raise UserError(f"basics has no split {split!r}: {nearest(split, SPLITS)}")
    dealt = deal_variants(seed)[split]
    quotas = _shares(SPLITS[split], len(dealt))
    problems = [
        problem
        for (name, variants), quota in zip(dealt.items(), quotas, strict=True)
        for problem in _problems(name, variants, quota, random.Random(f"{seed}/{split}/{name}"))
    ]
    random.Random(f"{seed}/{split}").shuffle(problems)
    return tuple(replace(problem, task_id=f"basics/{split}/{number:04}") for number, problem in enumerate(problems, start=1))


@functools.lru_cache(maxsize=2)
def deal_variants(seed: int = 0) -> dict[str, dict[str, list[Variant]]]:
    """Who may be drawn where: split -> family name -> variants. No variant of a family is in two splits."""
    families = all_families()
    known = [family for family in families if not family.unseen]
    dealt: dict[str, dict[str, list[Variant]]] = {split: {} for split in SPLITS}
    dealt["unseen"] = {family.name: _shuffled(family, seed) for family in families if family.unseen}
    held_out = zip(_shares(SPLITS["known"], len(known)), _shares(SPLITS["validation"], len(known)), strict=True)
    for family, (num_known, num_validation) in zip(known, held_out, strict=True):
        variants = _shuffled(family, seed)
        dealt["known"][family.name] = variants[:num_known]
        dealt["validation"][family.name] = variants[num_known : num_known + num_validation]
        dealt["train"][family.name] = variants[num_known + num_validation :]
    return dealt


def compiled(variant: Variant) -> Callable[..., Any]:
    """The variant's reference as a function. It is our own code: it runs in this process, outside the sandbox."""
    namespace: dict[str, Any] = {}
    exec(variant.reference("f"), namespace)
    function: Callable[..., Any] = namespace["f"]
    return function


def call_tests(variant: Variant) -> tuple[CallTest, ...]:
    """The variant's inputs, each with the output that its reference gives."""
    function = compiled(variant)
    return tuple(CallTest(args, function(*copy.deepcopy(args))) for args in variant.inputs)


def _shuffled(family: Family, seed: int) -> list[Variant]:
    variants = list(family.variants())
    random.Random(f"{seed}/{family.name}").shuffle(variants)
    return variants


def _shares(total: int, count: int) -> list[int]:
    """`total` cut into `count` whole parts that differ by one at most."""
    return [total // count + (index < total % count) for index in range(count)]


def _problems(family_name: str, variants: Sequence[Variant], quota: int, rng: random.Random) -> Iterator[Problem]:
    """`quota` problems of a family: the variants take turns, each with a fresh wording every time."""
    tests = [call_tests(variant) for variant in variants]
    names = function_names()[family_name]
    wordings = [_wordings(variant, names, rng) for variant in variants]
    for turn in range(quota):
        index = turn % len(variants)
        variant = variants[index]
        name, wish, frame = wordings[index][turn // len(variants)]
        yield Problem(
            task_id="",
            instruction=frame.format(name=name, args=variant.args, wish=wish),
            reference=variant.reference(name),
            entry_point=name,
            tests=tests[index],
            family=family_name,
            source="basics",
        )


@functools.lru_cache(maxsize=1)
def function_names() -> dict[str, tuple[str, ...]]:
    """What a family's functions may be called: the names that all its variants share, or else the family's own name.

    A name that spells out a variant's parameters would give half of the answer away, and to copy it token by token is a skill
    apart from writing the function.
    """
    names = {}
    for family in all_families():
        variants = list(family.variants())
        counts = Counter(name for variant in variants for name in variant.names)
        names[family.name] = tuple(name for name, count in counts.items() if count == len(variants)) or (family.name,)
    return names


def _wordings(variant: Variant, names: Sequence[str], rng: random.Random) -> list[tuple[str, str, str]]:
    wordings = list(itertools.product(names, variant.wishes, FRAMES))
    rng.shuffle(wordings)
    return wordings
