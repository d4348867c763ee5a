"""Families on lists of numbers: filtering, finding, slicing, grouping, comparing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family
from codetune.data.basics.vocabulary import AGGREGATES, NUMBERS, PAIRINGS, PREDICATES, TRANSFORMS, Aggregate, Inputs, Transform, calls, code

FAMILIES: list[Family] = []


@family("lists_filter_map", FAMILIES)
def filter_map() -> Iterator[Variant]:
    for p, t in product(PREDICATES, TRANSFORMS):
        yield Variant(
            (f"{t.name}_{p.name}", f"{p.name}_to_{t.name}", f"filter_{p.name}_and_{t.name}"),
            "numbers",
            (
                f"returns the {p.many} in the list, each {t.done}",
                f"keeps only the {p.many} of a list and returns them {t.done}, in order",
                f"takes a list and builds a new one with every {p.one} {t.done}, leaving out all other numbers",
            ),
            code(f"return [{t.expr.format('n')} for n in numbers if {p.test.format('n')}]"),
            NUMBERS,
        )


@family("lists_filter_reduce", FAMILIES)
def filter_reduce() -> Iterator[Variant]:
    for p, a in product(PREDICATES, AGGREGATES):
        yield Variant(
            (f"{a.name}_{p.name}", f"{a.name}_of_{p.name}", f"{p.name}_{a.name}"),
            "nums",
            (
                f"returns the {a.noun} of the {p.many} in the list, or {a.empty} if there are none",
                f"looks only at the {p.many} in a list and returns their {a.noun} ({a.empty} if there are none)",
                f"computes the {a.noun} of those numbers of a list that are {p.what}, {a.empty} without any",
            ),
            code(f"chosen = [n for n in nums if {p.test.format('n')}]", f"return {a.expr.format('chosen')}"),
            NUMBERS,
            a.imports,
        )


@family("lists_replace_where", FAMILIES)
def replace_where() -> Iterator[Variant]:
    constants = (Transform("zero", "replaced by 0", "0"), Transform("blank", "replaced by None", "None"))
    for p, t in product(PREDICATES, constants + TRANSFORMS[:5]):
        yield Variant(
            (f"{t.name}_where_{p.name}", f"{t.name}_if_{p.name}", f"replace_{p.name}"),
            "values",
            (
                f"returns the list with every {p.one} {t.done} and all others unchanged",
                f"returns a copy of a list in which the {p.many} are {t.done}; the other numbers stay as they are",
                f"goes through a list and returns a new one of the same length, each {p.one} {t.done}, the rest untouched",
            ),
            code(f"return [{t.expr.format('v')} if {p.test.format('v')} else v for v in values]"),
            NUMBERS,
        )


@family("lists_find", FAMILIES)
def find() -> Iterator[Variant]:
    bodies = {
        ("first", "number"): "next((n for n in numbers if {0}), None)",
        ("first", "index"): "next((i for i, n in enumerate(numbers) if {0}), -1)",
        ("last", "number"): "next((n for n in reversed(numbers) if {0}), None)",
        ("last", "index"): "max((i for i, n in enumerate(numbers) if {0}), default=-1)",
    }
    for p, ((end, kind), body) in product(PREDICATES, bodies.items()):
        what, missing = ("", "None") if kind == "number" else ("index of the ", "-1")
        short = "" if kind == "number" else "index_of_"
        yield Variant(
            (f"{short}{end}_{p.name}", f"find_{short}{end}_{p.name}", f"{end}_{p.name}_{kind}"),
            "numbers",
            (
                f"returns the {what}{end} {p.one} in the list, or {missing} if there is none",
                f"finds the {what}{end} {p.one} in a list; {missing} if the list has none",
                f"searches a list for its {end} {p.one} and returns the {kind}, {missing} without any",
            ),
            code(f"return {body.format(p.test.format('n'))}"),
            NUMBERS,
        )


@family("lists_partition", FAMILIES)
def partition() -> Iterator[Variant]:
    outcomes = (
        ("split", "returns a tuple of two lists: the {0}, and all other numbers", "chosen, rest"),
        ("front", "returns a list with the {0} first and all other numbers after them", "chosen + rest"),
        ("back", "returns a list with the {0} last and all other numbers before them", "rest + chosen"),
        ("balance", "returns the sum of the {0} minus the sum of all other numbers", "sum(chosen) - sum(rest)"),
        ("margin", "returns the count of the {0} minus the count of all other numbers", "len(chosen) - len(rest)"),
    )
    start = ("chosen, rest = [], []", "for n in numbers:")
    unmirrored = [p for p in PREDICATES if p.name != "odd"]  # which only swaps the two sides of "even"
    for p, (name, wish, result) in product(unmirrored, outcomes):
        done = wish.format(p.many)
        yield Variant(
            (f"{name}_{p.name}", f"{p.name}_{name}", f"{name}_by_{p.name}"),
            "numbers",
            (
                f"{done}, in their original order" if "list" in done else f"{done} in the list",
                f"separates the numbers of a list, order kept, and {done}",
                f"tells apart which numbers of a list are {p.what} and which are not and, keeping their order, {done}",
            ),
            code(*start, f"    (chosen if {p.test.format('n')} else rest).append(n)", f"return {result}"),
            NUMBERS,
        )


@family("lists_take_while", FAMILIES)
def take_while() -> Iterator[Variant]:
    wishes = (
        "{verb}s numbers from the {side} of a list as long as they are {what}, and returns {result} in list order",
        "looks at the unbroken run of {many} at the {side} of a list and returns {result} (possibly an empty list)",
        "walks from the {side} of a list to the nearest number that is not {what}, {verb}s the {many} on the way and returns {result}",
    )
    loops = {
        "start": ("cut = 0", "while cut < len(nums) and {0}:", "    cut += 1", "nums[cut]"),
        "end": ("cut = len(nums)", "while cut > 0 and {0}:", "    cut -= 1", "nums[cut - 1]"),
    }
    inputs = calls(
        [], [12, 15, 8, 3, 1, -2], [9, 15, 3, 12, 4, -1, -5], [-3, -9, 0, 5, 20, 12, 30], [30, 15, 20, 6, 7, 2, 10, 5],
        [6, 4, 10, 11, 0, -6, -8, 8, 9],
    )
    for p, (verb, result), side in product(PREDICATES, (("take", "those numbers"), ("drop", "the rest")), loops):
        first, condition, step, end = loops[side]
        head = (verb == "take") == (side == "start")
        yield Variant(
            (f"{verb}_{p.name}_at_{side}", f"{verb}_{side}_while_{p.name}", f"{verb}_{p.name}_from_{side}"),
            "nums",
            tuple(wish.format(verb=verb, side=side, what=p.what, many=p.many, result=result) for wish in wishes),
            code(first, condition.format(p.test.format(end)), step, f"return {'nums[:cut]' if head else 'nums[cut:]'}"),
            inputs,
        )


@family("lists_running", FAMILIES)
def running() -> Iterator[Variant]:
    kinds = (
        ("count", "how many {0} there have been", "0", "state += 1"),
        ("total", "the sum of the {0}", "0", "state += n"),
        ("latest", "the latest of the {0} (None before any)", "None", "state = n"),
        ("largest", "the largest of the {0} (None before any)", "None", "state = n if state is None else max(state, n)"),
    )
    for p, (name, what, initial, update) in product(PREDICATES, kinds):
        wish = what.format(p.many)
        yield Variant(
            (f"running_{name}_{p.name}", f"{name}_{p.name}_so_far", f"{p.name}_running_{name}"),
            "numbers",
            (
                f"returns a list that says for each position of a list {wish} up to and including it",
                f"goes through a list of numbers and returns, after each number, {wish} so far, as a list",
                f"turns a list of numbers into a list of the same length: {wish} from the start up to that place",
            ),
            code(
                f"state, result = {initial}, []",
                "for n in numbers:",
                f"    if {p.test.format('n')}:",
                f"        {update}",
                "    result.append(state)",
                "return result",
            ),
            NUMBERS,
        )


@family("lists_chunks", FAMILIES)
def chunks() -> Iterator[Variant]:
    maps = (
        ("lists", "the chunks as lists", "{0}"),
        ("sums", "the sum of each chunk", "sum({0})"),
        ("maxima", "the largest number of each chunk", "max({0})"),
        ("minima", "the smallest number of each chunk", "min({0})"),
        ("sorted", "each chunk as a sorted list", "sorted({0})"),
        ("reversed", "each chunk as a reversed list", "{0}[::-1]"),
    )
    ends = (
        ("", "the last chunk may be shorter", "len(items)"),
        ("full_", "an incomplete last chunk is left out", "len(items) - {1}"),
    )
    inputs = calls([], [3, 1, 2, 9], [8, 5, -1, 4, 7, 6, 0, 2, 10], [2, -5, 9, 1, 12], [6, 2, 4, 8, 1, 3, 5, 7, 9, 0, 11, 10])
    for (name, what, expr), size, (full, rule, stop) in product(maps, (2, 3, 4, 5), ends):
        chunk = expr.format(f"items[i:i + {size}]")
        yield Variant(
            (f"{full}chunk_{name}_{size}", f"{name}_of_{full}chunks_of_{size}", f"{full}chunks_by_{size}_{name}"),
            "items",
            (
                f"splits a list of numbers into chunks of {size} and returns {what}; {rule}",
                f"cuts a list into consecutive pieces of length {size} ({rule}) and returns a list of {what}",
                f"groups the numbers of a list {size} at a time, in order, and returns {what} ({rule})",
            ),
            code(f"return [{chunk} for i in range(0, {stop.format(0, size - 1)}, {size})]"),
            inputs,
        )


@family("lists_windows", FAMILIES)
def windows() -> Iterator[Variant]:
    measures = (
        ("sums", "sum", "sum(values[i:i + {0}])", ""),
        ("products", "product", "math.prod(values[i:i + {0}])", "import math"),
        ("changes", "difference (last minus first)", "values[i + {1}] - values[i]", ""),
    )
    few = "for fewer than {1} numbers"
    collects = (
        ("list", "list of the {0} of every run of {1} neighbouring numbers, from left to right", "found"),
        ("largest", f"largest {{0}} that {{1}} neighbouring numbers have, or None {few}", "max(found, default=None)"),
        ("lowest", f"lowest {{0}} that {{1}} neighbouring numbers have, or None {few}", "min(found, default=None)"),
        ("place", f"index of the first run of {{1}} neighbours of largest {{0}}, or -1 {few}", "found.index(max(found)) if found else -1"),
    )
    inputs = calls([], [4, 1], [2, -3, 5, 7, 1, 0, 6], [5, 3, 8, -1, 9, 4, 4, 2, -6, 3], [-5, -4, -3, 1, 2, 3], [1, 2, 6, 3, 3, 1, 2, 9])
    for (name, noun, expr, imports), size, (collect, wish, result) in product(measures, (2, 3, 4, 5), collects):
        what, last = wish.format(noun, size), size - 1
        yield Variant(
            (f"{collect}_of_{name}_{size}", f"window_{name}_{size}_{collect}", f"sliding_{collect}_{name}_of_{size}"),
            "values",
            (
                f"takes a list of numbers and returns the {what}",
                f"slides a window over a list of numbers and returns the {what}",
                f"computes, for a list of numbers, the {what} (runs may overlap)",
            ),
            code(f"found = [{expr.format(size, last)} for i in range(len(values) - {last})]", f"return {result}"),
            inputs,
            imports,
        )


@family("lists_neighbours", FAMILIES)
def neighbours() -> Iterator[Variant]:
    relations = (
        ("rising", "greater than", "b > a"),
        ("falling", "less than", "b < a"),
        ("repeated", "equal to", "b == a"),
        ("jumping", "more than 3 away from", "abs(b - a) > 3"),
        ("next_up", "exactly 1 more than", "b == a + 1"),
        ("doubling", "exactly twice", "b == 2 * a"),
        ("sign_changing", "of the opposite sign (zero has none) to", "a * b < 0"),
        ("same_parity", "of the same parity as", "a % 2 == b % 2"),
        ("close", "at most 2 away from", "abs(b - a) <= 2"),
    )
    pairs = "zip(nums, nums[1:])"
    outcomes = (
        ("count", "the count of the numbers that are {0} the number just before them", "sum(1 for a, b in {1} if {2})"),
        ("values", "the list of the numbers that are {0} the number just before them", "[b for a, b in {1} if {2}]"),
        ("pairs", "the (a, b) tuples of neighbours where b, the later one, is {0} a", "[(a, b) for a, b in {1} if {2}]"),
        ("indexes", "the indexes of the numbers that are {0} the number just before", "[i for i, (a, b) in enumerate({1}, 1) if {2}]"),
        ("first", "the first number that is {0} the number just before it, else None", "next((b for a, b in {1} if {2}), None)"),
    )
    inputs = calls(
        [], [5, 5, 6, 12, 12, -3], [1, 2, 4, 8, 3, 3, 0, 0], [-2, 3, -3, -6, -5, 7, 9], [10, 7, 5, 4, 4, 9, 18, 16], [2, -1, 1, 2, 0]
    )
    for (name, words, test), (outcome, wish, expr) in product(relations, outcomes):
        what = wish.format(words)
        yield Variant(
            (f"{name}_{outcome}", f"{outcome}_{name}", f"{name}_neighbours_{outcome}"),
            "nums",
            (
                f"takes a list of numbers and returns {what}",
                f"compares each number of a list with its predecessor and returns {what}",
                f"looks at the neighbours in a list of numbers and gives {what}",
            ),
            code(f"return {expr.format(words, pairs, test)}"),
            inputs,
        )


@family("lists_slices", FAMILIES)
def slices() -> Iterator[Variant]:
    ordinals = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}
    kinds = (
        ("first_{0}", "the first {0} items of the list (all of them if there are fewer)", "items[:{0}]"),
        ("last_{0}", "the last {0} items of the list (all of them if there are fewer)", "items[-{0}:]"),
        ("without_first_{0}", "all but the first {0} items of the list", "items[{0}:]"),
        ("without_last_{0}", "all but the last {0} items of the list", "items[:-{0}]"),
        ("every_{1}", "every {1} item of the list, starting with the first one", "items[::{0}]"),
        ("inner_{0}", "what is left of the list after {0} items are removed from either end", "items[{0}:-{0}]"),
    )
    inputs = calls(
        [], ["a", "b", "c"], [4, 8, 15, 16, 23, 42, 7], ["red", "blue", "pink", "gold", "teal"], [9, 1, 8, 2, 7, 3, 6, 4, 5, 0, 11, 13]
    )
    for (name, what, expr), n, backwards in product(kinds, ordinals, (False, True)):
        short, items = name.format(n, ordinals[n]), what.format(n, ordinals[n])
        order = ", in reverse order" if backwards else ", in their order"
        yield Variant(
            tuple(f"{'reversed_' if backwards else ''}{form}" for form in (short, f"{short}_items", f"{short}_of_list")),
            "items",
            tuple(f"{verb} {items}{order}" for verb in ("returns", "picks", "builds a new list from")),
            code(f"return {expr.format(n)}{'[::-1]' if backwards else ''}"),
            inputs,
        )


@family("lists_zip", FAMILIES)
def zip_lists() -> Iterator[Variant]:
    ends = (
        ("", "stopping at the end of the shorter list", "zip(first, second)"),
        ("padded_", "with zeros for what the shorter list lacks", "zip_longest(first, second, fillvalue=0)"),
    )
    collects = (
        ("list", "a list of each pair's {0}", "[{0} for a, b in {1}]"),
        ("total", "the total of each pair's {0}", "sum({0} for a, b in {1})"),
        ("largest", "the largest of each pair's {0} (None without pairs)", "max(({0} for a, b in {1}), default=None)"),
        ("smallest", "the smallest of each pair's {0} (None without pairs)", "min(({0} for a, b in {1}), default=None)"),
    )
    inputs: Inputs = (
        ([], []), ([], [4, -7]), ([1, 2, 3], [5, 4, 1]), ([8, 3, 6, 10], [2, 9]), ([-5, -1], [-2, -8, -3, -20]),
        ([7, 12, -4, 3, 9], [3, 15, -9]),
    )
    for op, (end, rule, pairs), (collect, wish, expr) in product(PAIRINGS, ends, collects):
        what = wish.format(op.done)
        yield Variant(
            (f"{end}{op.name}_pairs_{collect}", f"{collect}_of_{end}{op.name}", f"zip_{end}{op.name}_{collect}"),
            "first, second",
            (
                f"pairs up the numbers of two lists, {rule}, and returns {what}",
                f"walks through two lists side by side, {rule}, and returns {what}",
                f"returns {what}, where pairs are made of the numbers at the same place of two lists, {rule}",
            ),
            code(f"return {expr.format(op.expr.format('a', 'b'), pairs)}"),
            inputs,
            "from itertools import zip_longest" if end else "",
        )


@family("lists_sets", FAMILIES)
def sets() -> Iterator[Variant]:
    relations = (
        ("common", "are in both lists", "set(a) & set(b)"),
        ("only_first", "are in the first list but not in the second", "set(a) - set(b)"),
        ("only_second", "are in the second list but not in the first", "set(b) - set(a)"),
        ("unshared", "are in exactly one of the two lists", "set(a) ^ set(b)"),
        ("combined", "are in at least one of the two lists", "set(a) | set(b)"),
    )
    orders = (
        Aggregate("sorted", "ascending list", "sorted({0})", "an empty list"),
        Aggregate("descending", "descending list", "sorted({0}, reverse=True)", "an empty list"),
    )
    inputs: Inputs = (
        ([], []), ([3, 1, 3, 9], [9, 5, 3, 1, 1]), ([7, 8, 9], [9, 4, 10, 8]), ([-6, -2, -4], [-4, -8]), ([5], [5, 11, -3, 2, 11]),
        ([1, 14, -6, 2], [20, 2, 3]),
    )
    for (name, words, expr), a in product(relations, orders + AGGREGATES):
        yield Variant(
            (f"{name}_{a.name}", f"{a.name}_{name}", f"{a.name}_of_{name}"),
            "a, b",
            (
                f"returns the {a.noun} of the distinct numbers that {words}, or {a.empty} if there are none",
                f"compares two lists of numbers and returns the {a.noun} of those that {words}, each taken once ({a.empty} without any)",
                f"collects the numbers that {words}, without repeats, and returns their {a.noun} ({a.empty} if there are none)",
            ),
            code(f"found = {expr}", f"return {a.expr.format('found')}"),
            inputs,
            a.imports,
        )


@family("lists_occurrences", FAMILIES)
def occurrences() -> Iterator[Variant]:
    conditions = (
        ("unique", "occur exactly once", "== 1"),
        ("repeated", "occur more than once", "> 1"),
        ("twice", "occur exactly twice", "== 2"),
        ("frequent", "occur at least three times", ">= 3"),
        ("thrice", "occur exactly three times", "== 3"),
        ("rare", "occur at most three times", "<= 3"),
    )
    outcomes = (
        ("in_order", "the list of the values that {0}, each once, in the order of first appearance", "found"),
        ("sorted", "the sorted list of the values that {0}, each once", "sorted(found)"),
        ("count", "how many different values {0}", "len(found)"),
        ("sum", "the sum of the values that {0}, each counted once", "sum(found)"),
        ("largest", "the largest of the values that {0}, else None", "max(found, default=None)"),
        ("first", "the value that appears first of those that {0}, else None", "found[0] if found else None"),
        ("last", "of the values that {0} the one whose first appearance is latest, else None", "found[-1] if found else None"),
    )
    inputs = calls(
        [], [6, 11, 6, 2, 9, 11, 2, 6, 9, 2, 11, 9, 4], [12, 20, 3, 12, 8, 3, 20, 7], [7, 15, 1, 13, 1, 13, 1, 16, -3],
        [8, 3, 0, 0, 3, 3, 1, 1, 1, 1], [14, 4, 14, 14, 14, 10, -1, 10],
    )
    for (name, words, test), (outcome, wish, result) in product(conditions, outcomes):
        what = wish.format(words)
        yield Variant(
            (f"{name}_{outcome}", f"{outcome}_{name}_values", f"{name}_values_{outcome}"),
            "data",
            (
                f"takes a list of numbers and returns {what}",
                f"counts how often each value of a list of numbers occurs and returns {what}",
                f"looks for repeats in a list of numbers and gives {what}",
            ),
            code("counts = Counter(data)", f"found = [x for x in counts if counts[x] {test}]", f"return {result}"),
            inputs,
            "from collections import Counter",
        )
