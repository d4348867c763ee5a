"""Families on order: sorting by keys with tie-breaks, the top few, ranks and positions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from codetune.data.basics.family import Family, Variant, family
from codetune.data.basics.vocabulary import NUMBERS, PREDICATES, Transform, calls, code

FAMILIES: list[Family] = []

# What numbers are ordered by, as "their `done`".
NUMBER_KEYS = (
    Transform("absolute", "absolute value", "abs({0})"),
    Transform("last_digit", "remainder by 10", "{0} % 10"),
    Transform("mod_3", "remainder by 3", "{0} % 3"),
    Transform("digit_sum", "digit sum (sign ignored)", "sum(int(d) for d in str(abs({0})))"),
    Transform("distance_to_10", "distance from 10", "abs({0} - 10)"),
    Transform("mod_7", "remainder by 7", "{0} % 7"),
    Transform("size", "number of digits (sign ignored)", "len(str(abs({0})))"),
)
KEYED = calls(
    [],
    [31, 4, -11, 22, 13, 40, -4, 101],
    [7, 16, -25, 9, 34, 205, -7, 11, 3],
    [18, 2, 20, -2, 27, 5, 111, 14],
    [-50, 6, 15, 42, -8, 8, 12, 33],
)
WORD_KEYS = (
    Transform("length", "length", "len(w)"),
    Transform("e_count", "number of letters 'e'", "w.count('e')"),
    Transform("variety", "number of different letters", "len(set(w))"),
    Transform("a_count", "number of letters 'a'", "w.count('a')"),
    Transform("o_count", "number of letters 'o'", "w.count('o')"),
    Transform("vowels", "number of vowels (a, e, i, o, u)", "sum(c in 'aeiou' for c in w)"),
)
SENTENCES = (
    "",
    "the green tree needs deep cellar water here",
    "oboe banana eel queue kiwi tree audio stone",
    "sum papaya level moon total aloe ease zebra eve",
    "noon bee tattoo idea radio civic geese lemon",
)


@family("sorting_by_key", FAMILIES)
def by_key() -> Iterator[Variant]:
    orders = (
        ("ascending", "numbers with the same {0} keep their order", "sorted(numbers, key=lambda n: {0})"),
        ("descending", "numbers with the same {0} keep their order", "sorted(numbers, key=lambda n: {0}, reverse=True)"),
        ("ascending", "smaller numbers first among those with the same {0}", "sorted(numbers, key=lambda n: ({0}, n))"),
        ("descending", "smaller numbers first among those with the same {0}", "sorted(numbers, key=lambda n: (-({0}), n))"),
        ("ascending", "larger numbers first among those with the same {0}", "sorted(numbers, key=lambda n: ({0}, -n))"),
        ("descending", "larger numbers first among those with the same {0}", "sorted(numbers, key=lambda n: ({0}, n), reverse=True)"),
    )
    for key, (direction, tie, expr) in product(NUMBER_KEYS, orders):
        short, rule = tie.split()[0].replace("numbers", "stable"), tie.format(key.done)
        yield Variant(
            (f"sort_by_{key.name}_{direction}_{short}", f"{direction}_by_{key.name}_{short}_first", f"order_by_{key.name}_{short}"),
            "numbers",
            (
                f"returns the numbers of the list sorted by {key.done} in {direction} order; {rule}",
                f"sorts a list of numbers by their {key.done}, {direction}, and returns the new list; {rule}",
                f"takes a list of numbers and returns it in {direction} order of {key.done} ({rule})",
            ),
            code(f"return {expr.format(key.expr.format('n'))}".replace("-(abs(n))", "-abs(n)")),
            KEYED,
        )


@family("sorting_words", FAMILIES)
def words() -> Iterator[Variant]:
    orders = (
        ("ascending", "in the given order", "sorted({0}, key=lambda w: {1})"),
        ("descending", "in the given order", "sorted({0}, key=lambda w: {1}, reverse=True)"),
        ("ascending", "in alphabetical order", "sorted({0}, key=lambda w: ({1}, w))"),
        ("descending", "in alphabetical order", "sorted({0}, key=lambda w: (-{1}, w))"),
    )
    forms = (
        ("words", "a list of words", "the sorted list", "words", "{0}"),
        ("text", "a text, split at white space,", "the words joined by single spaces", "text.split()", '" ".join({0})'),
    )
    for key, (direction, tie, expr), (arg, given, output, source, result) in product(WORD_KEYS, orders, forms):
        short = "" if "given" in tie else "_alphabetical"
        yield Variant(
            tuple(f"{verb}_{arg}_by_{key.name}_{direction}{short}" for verb in ("sort", "order", "arrange")),
            arg,
            (
                f"sorts the words of {given} by their {key.done}, {direction}, equal ones {tie}, and returns {output}",
                f"takes {given} and returns {output}, where the words are in {direction} order of their {key.done} and ties are {tie}",
                f"orders the words of {given} by {key.done} ({direction}; {tie} where that is equal) and returns {output}",
            ),
            code(f"return {result.format(expr.format(source, key.expr))}"),
            calls(*(text if arg == "text" else text.split() for text in SENTENCES)),
        )


@family("sorting_groups", FAMILIES)
def groups() -> Iterator[Variant]:
    ways = {"ascending": "sorted({0})", "descending": "sorted({0}, reverse=True)", "original": "{0}"}
    for p, (first, second) in product(PREDICATES, permutations(ways, 2)):
        yield Variant(
            (f"{p.name}_{first}_then_{second}", f"sort_{p.name}_{first}_rest_{second}", f"{p.name}_first_{first}_{second}"),
            "values",
            (
                f"returns a list with the {p.many} first in {first} order, then all other numbers in {second} order",
                f"sorts a list so that the {p.many} come first, in {first} order, followed by the rest, in {second} order",
                f"puts the {p.many} of a list ({first} order) before all the other numbers ({second} order) and returns the new list",
            ),
            code(
                f"chosen = [v for v in values if {p.test.format('v')}]",
                "rest = [v for v in values if v not in chosen]",
                f"return {ways[first].format('chosen')} + {ways[second].format('rest')}",
            ),
            NUMBERS,
        )


@family("sorting_top", FAMILIES)
def top() -> Iterator[Variant]:
    sides = (("largest", ", reverse=True", "from the largest down"), ("smallest", "", "from the smallest up"))
    sources = (
        ("", "numbers", "values", "equal numbers count separately"),
        ("distinct_", "distinct numbers", "set(values)", "repeats count once"),
    )
    outcomes = (
        ("list", "the {0} {1} {2} of a list, {3} (fewer if there are not as many)", "ranked[:{0}]"),
        ("sum", "the sum of the {0} {1} {2} of a list (of all if there are not as many)", "sum(ranked[:{0}])"),
        ("last", "the last of the {0} {1} {2} of a list, {3} (None if there are fewer)", "ranked[{4}] if len(ranked) > {4} else None"),
        ("others", "the list of the {2} of a list without its {0} {1} ones, {3}", "ranked[{0}:]"),
    )
    inputs = calls([], [5, 9, 9], [4, 7, 1, 7, 3, 1, 8], [2, 2, 6, -3, 6, 10, 5, -3], [12, 0, 3, 12, 5, 0, 9, 1, 3], [6, 2, 11, -4, 9, 0])
    for k, (side, option, order), (distinct, noun, source, rule), (name, wish, result) in product((2, 3, 4), sides, sources, outcomes):
        what = wish.format(k, side, noun, order)
        yield Variant(
            (f"{name}_of_{k}_{side}{distinct and '_distinct'}", f"{distinct}{side}_{k}_{name}", f"top_{k}_{distinct}{side}_{name}"),
            "values",
            (
                f"returns {what}; {rule}",
                f"takes a list of numbers and returns {what} ({rule})",
                f"ranks the numbers of a list, where {rule}, and returns {what}",
            ),
            code(f"ranked = sorted({source}{option})", f"return {result.format(k, side, noun, order, k - 1)}"),
            inputs,
        )


@family("sorting_pairs", FAMILIES)
def pairs() -> Iterator[Variant]:
    orders = (
        ("score_up", "lowest score first, ties in the given order", "key=lambda p: p[1]"),
        ("score_down", "highest score first, ties in the given order", "key=lambda p: p[1], reverse=True"),
        ("score_up_name", "lowest score first, ties by name", "key=lambda p: (p[1], p[0])"),
        ("score_down_name", "highest score first, ties by name", "key=lambda p: (-p[1], p[0])"),
        ("name_down", "in reverse alphabetical order of the names", "reverse=True"),
        ("length_up", "shortest name first, ties in the given order", "key=lambda p: len(p[0])"),
        ("length_score", "shortest name first, ties by highest score", "key=lambda p: (len(p[0]), -p[1])"),
        ("length_name", "longest name first, ties by name", "key=lambda p: (-len(p[0]), p[0])"),
    )
    outcomes = (
        ("pairs", "the sorted list of pairs", "ranked"),
        ("names", "the list of the names", "[name for name, score in ranked]"),
        ("last", "the name in last place (None if there is none)", "ranked[-1][0] if ranked else None"),
        ("top_3", "the list of the first three names (all if there are fewer)", "[name for name, score in ranked[:3]]"),
        ("places", "a dictionary from each name to its place (1 for the first)", "{name: i for i, (name, score) in enumerate(ranked, 1)}"),
    )
    inputs = calls(
        [],
        [("Mia", 7), ("Jo", 9), ("Abe", 7), ("Zoe", 9), ("Li", 5), ("Carlo", 5)],
        [("Tom", 3), ("Bo", 8), ("Anna", 3), ("Ed", 12), ("Ruth", 8)],
        [("Sven", 4), ("Kim", 10), ("Gustav", 1), ("Al", 10), ("Eve", 4), ("Ivo", 6)],
        [("Uwe", 2), ("Ada", 6), ("Olga", 11), ("Max", 2)],
    )
    for (order, rule, option), (name, what, result) in product(orders, outcomes):
        yield Variant(
            (f"{name}_by_{order}", f"rank_{order}_{name}", f"{order}_{name}"),
            "players",
            (
                f"sorts a list of (name, score) tuples, {rule}, and returns {what}",
                f"takes (name, score) tuples and returns {what} when they are ranked {rule}",
                f"ranks players, given as (name, score) tuples, {rule}; it returns {what}",
            ),
            code(f"ranked = sorted(players, {option})", f"return {result}"),
            inputs,
        )


@family("sorting_positions", FAMILIES)
def positions() -> Iterator[Variant]:
    outcomes = (
        ("order", "the list of the indexes of the numbers in {1} order of their {0}, the smaller index first on a tie"),
        ("ranks", "the list of the ranks of the numbers by {0}, 1 for the {2}; equal ones share the best rank, later ranks are skipped"),
        ("dense_ranks", "the list of the ranks of the numbers by {0}, 1 for the {2}; equal ones share a rank, no rank is skipped"),
    )
    directions = (("ascending", "lowest", ""), ("descending", "highest", ", reverse=True"))
    for key, (name, wish), (direction, best, option) in product(NUMBER_KEYS, outcomes, directions):
        what = wish.format(key.done, direction, best)
        returns = {
            "order": f"return sorted(range(len(data)), key=lambda i: keys[i]{option})",
            "ranks": f"return [sorted(keys{option}).index(k) + 1 for k in keys]",
            "dense_ranks": f"return [sorted(set(keys){option}).index(k) + 1 for k in keys]",
        }
        yield Variant(
            (f"{name}_by_{key.name}_{direction}", f"{direction}_{key.name}_{name}", f"{key.name}_{name}_{direction}"),
            "data",
            (
                f"takes a list of numbers and returns {what}",
                f"returns, given a list of numbers, {what}",
                f"compares the numbers in a list by {key.done} and gives {what}",
            ),
            code(f"keys = [{key.expr.format('n')} for n in data]", returns[name]),
            KEYED,
        )
