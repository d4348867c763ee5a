"""Families on dictionaries, lists of records, and matrices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family
from codetune.data.basics.vocabulary import PAIRINGS, PREDICATES, TRANSFORMS, Inputs, Transform, calls, code

FAMILIES: list[Family] = []

STOCKS = calls(
    {},
    {"pear": 5, "apple": -6, "cherry": 5, "fig": 5, "lime": 2, "kiwi": 0, "yam": -1, "corn": 9},
    {"oats": 10, "bean": 9, "rice": 30, "leek": 6, "dill": 8, "beet": 12},
    {"tea": 14, "soda": -10, "milk": 25, "ale": 11, "cola": -9, "rum": 3, "port": 1},
    {"nut": 7, "bun": 4, "pie": -3, "roll": 15},
)
WORDS = calls(
    [],
    ["apple", "Avocado", "pear", "banana", "plum", "blueberry"],
    ["Kiwi", "fig", "grape", "kale", "Fennel", "garlic", "kumquat", "tomato"],
    ["sun", "moon", "star", "earth", "Mars", "saturn", "neon"],
    ["tiger", "otter", "eel", "ant", "rat", "newt", "Panther", "ox"],
)
# Ways to collect the `{0}`s that share a `group` in the dictionary `result`.
COLLECTS = (
    ("list", "the list of its {0}s, in order", "result.setdefault(group, []).append({0})"),
    ("set", "the set of its {0}s", "result.setdefault(group, set()).add({0})"),
    ("count", "how many {0}s it has", "result[group] = result.get(group, 0) + 1"),
    ("first", "its first {0}", "result.setdefault(group, {0})"),
    ("last", "its last {0}", "result[group] = {0}"),
    ("longest", "its longest {0}, the earliest of equally long ones", 'result[group] = max(result.get(group, ""), {0}, key=len)'),
)


@family("dicts_filter", FAMILIES)
def filter_values() -> Iterator[Variant]:
    outcomes = (
        ("entries", "the dictionary of the entries whose values are {0}", "{{k: v for k, v in stock.items() if {0}}}"),
        ("keys", "the sorted list of the keys whose values are {0}", "sorted(k for k, v in stock.items() if {0})"),
        ("values", "the ascending list of the values that are {0}", "sorted(v for v in stock.values() if {0})"),
        ("total", "the sum of the values that are {0}", "sum(v for v in stock.values() if {0})"),
        ("count", "the number of values that are {0}", "sum(1 for v in stock.values() if {0})"),
    )
    for p, (name, wish, expr) in product(PREDICATES, outcomes):
        what = wish.format(p.what)
        yield Variant(
            (f"{p.name}_{name}", f"{name}_where_{p.name}", f"{name}_of_{p.name}_stock"),
            "stock",
            (
                f"takes a dictionary with numbers as values and returns {what}",
                f"goes through a dictionary of numbers and returns {what}",
                f"looks at the values of a dictionary, all numbers, and returns {what}",
            ),
            code(f"return {expr.format(p.test.format('v'))}"),
            STOCKS,
        )


@family("dicts_map", FAMILIES)
def map_items() -> Iterator[Variant]:
    key_forms = (
        Transform("same", "every key kept", "k"),
        Transform("upper", "every key in upper case", "k.upper()"),
        Transform("capitalized", "every key capitalized", "k.capitalize()"),
        Transform("backward", "every key spelled backwards", "k[::-1]"),
        Transform("tagged", "every key prefixed with 'id_'", "'id_' + k"),
        Transform("starred", "every key followed by '*'", "k + '*'"),
    )
    for t, key in product(TRANSFORMS, key_forms):
        yield Variant(
            (f"{t.name}_values_{key.name}_keys", f"{key.name}_keys_{t.name}_values", f"map_{key.name}_{t.name}"),
            "prices",
            (
                f"returns a new dictionary with {key.done} and every value {t.done}",
                f"copies a dictionary from strings to numbers with {key.done} and all values {t.done}",
                f"takes a dictionary with numbers as values and returns one with the values {t.done} and {key.done}",
            ),
            code(f"return {{{key.expr}: {t.expr.format('v')} for k, v in prices.items()}}"),
            STOCKS,
        )


@family("dicts_invert", FAMILIES)
def invert() -> Iterator[Variant]:
    groups = (
        Transform("value", "value", "value"),
        Transform("absolute", "absolute value", "abs(value)"),
        Transform("mod_3", "value's remainder by 3", "value % 3"),
        Transform("mod_5", "value's remainder by 5", "value % 5"),
        Transform("tens", "value divided by 10 and rounded down", "value // 10"),
        Transform("squared", "value squared", "value ** 2"),
        Transform("is_positive", "truth of the value being positive", "value > 0"),
    )
    for group, (name, what, line) in product(groups, COLLECTS):
        rule = what.format("key")
        yield Variant(
            (f"invert_by_{group.name}_{name}", f"{name}_by_{group.name}", f"keys_by_{group.name}_{name}"),
            "mapping",
            (
                f"groups the keys of a dictionary of numbers by the {group.done} and returns a dictionary from each group to {rule}",
                f"collects keys with the same {group.done} and returns a dictionary from the {group.done} of such a group to {rule}",
                f"inverts a dictionary of numbers: keys with the same {group.done} form a group, and the result leads from it to {rule}",
            ),
            code(
                "result = {}",
                "for key, value in mapping.items():",
                f"    group = {group.expr}",
                f"    {line.format('key')}",
                "return result",
            ),
            STOCKS,
        )


@family("dicts_group_words", FAMILIES)
def group_words() -> Iterator[Variant]:
    groups = (
        Transform("initial", "first letter", "word[0]"),
        Transform("lower_initial", "first letter in lower case", "word[0].lower()"),
        Transform("ending", "last letter", "word[-1]"),
        Transform("length", "length", "len(word)"),
        Transform("a_count", "number of letters 'a' (lower case only)", "word.count('a')"),
        Transform("last_two", "last two letters", "word[-2:]"),
        Transform("variety", "number of different letters (case matters)", "len(set(word))"),
    )
    for group, (name, what, line) in product(groups, COLLECTS):
        rule = what.format("word")
        if (group.name, name) == ("length", "longest"):  # the same as the first
            continue
        yield Variant(
            (f"group_by_{group.name}_{name}", f"{name}_by_{group.name}", f"words_by_{group.name}_{name}"),
            "words",
            (
                f"groups a list of non-empty words by their {group.done} and returns a dictionary from each group to {rule}",
                f"returns a dictionary that maps every {group.done} found in a list of words to {rule}",
                f"sorts words into groups with the same {group.done} and returns, as a dictionary, for each group {rule}",
            ),
            code("result = {}", "for word in words:", f"    group = {group.expr}", f"    {line.format('word')}", "return result"),
            WORDS,
        )


@family("dicts_merge", FAMILIES)
def merge() -> Iterator[Variant]:
    scopes = (
        ("either", "every key of either dictionary (a missing number counts as 0)", "first.keys() | second.keys()", ".get(k, 0)"),
        ("both", "every key that is in both dictionaries", "first.keys() & second.keys()", "[k]"),
        ("first", "every key of the first dictionary (0 where the second lacks it)", "first", ".get(k, 0)"),
    )
    outcomes = (
        ("dict", "returns a dictionary from {0} to the {1} of its two numbers", "merged"),
        ("nonzero", "returns a dictionary from {0} to its two numbers' {1}, no zeros kept", "{k: v for k, v in merged.items() if v != 0}"),
        ("total", "computes for {0} the {1} of its two numbers and returns the total", "sum(merged.values())"),
    )
    inputs: Inputs = (
        ({}, {}),
        ({"a": 5, "b": 0, "c": -4}, {"b": -7, "c": 4, "d": 2}),
        ({"x": 3, "y": 0}, {"x": 3, "z": -6, "y": 1, "w": 9}),
        ({"tom": -7, "ann": 12, "bob": 6}, {"ann": 15}),
        ({"red": 1}, {"red": 1, "blue": -11}),
    )
    for op, (scope, words, keys, get), (name, wish, result) in product(PAIRINGS, scopes, outcomes):
        what = wish.format(words, op.done)
        got = "first[k]" if scope != "either" else "first.get(k, 0)"
        yield Variant(
            (f"merge_{scope}_{op.name}_{name}", f"{op.name}_{scope}_{name}", f"{name}_{scope}_{op.name}"),
            "first, second",
            (what, f"takes two dictionaries of numbers and {what}", f"merges two dictionaries: it {what}"),
            code(f"merged = {{k: {op.expr.format(got, f'second{get}')} for k in {keys}}}", f"return {result}"),
            inputs,
        )


@family("dicts_best_key", FAMILIES)
def best_key() -> Iterator[Variant]:
    measures = (
        ("value", "value", "scores[k]"),
        ("size", "absolute value", "abs(scores[k])"),
        ("last_digit", "remainder of the value by 10", "scores[k] % 10"),
        ("length", "key length", "len(k)"),
    )
    ways = (
        ("largest", "the earliest", "", "max(scores, key=lambda k: {0}, default=None)"),
        ("smallest", "the earliest", "", "min(scores, key=lambda k: {0}, default=None)"),
        ("largest", "the alphabetically first", "_a_to_z", "min(scores, key=lambda k: (-{0}, k), default=None)"),
        ("smallest", "the alphabetically first", "_a_to_z", "min(scores, key=lambda k: ({0}, k), default=None)"),
        ("largest", "the alphabetically last", "_z_to_a", "max(scores, key=lambda k: ({0}, k), default=None)"),
        ("smallest", "the alphabetically last", "_z_to_a", "max(scores, key=lambda k: (-{0}, k), default=None)"),
    )
    outcomes = (
        ("key", "the key", "best"),
        ("entry", "the (key, value) tuple of the key", "None if best is None else (best, scores[best])"),
    )
    inputs = calls(
        {},
        {"mia": 8, "abe": 8, "zoe": 8, "kim": 1, "al": 1, "tom": 1, "bo": -19},
        {"pear": 29, "oak": -30, "fig": 30, "yam": -30, "elm": 9, "kiwi": 12, "ash": 29, "plum": 19},
        {"nora": 2, "gil": -2, "sue": 2, "amy": 7, "hugo": 17, "vic": -17, "dan": 17},
        {"poppy": 4, "aster": 10, "tulip": -4, "lily": 0, "fern": 5, "rose": 3},
        {"ned": -5, "eva": -5, "pia": -5, "bob": 3},
    )
    for (name, noun, measure), (side, tie, short, expr), (kind, what, result) in product(measures, ways, outcomes):
        yield Variant(
            (f"{side}_{name}_{kind}{short}", f"{kind}_of_{side}_{name}{short}", f"{kind}_with_{side}_{name}{short}"),
            "scores",
            (
                f"returns {what} with the {side} {noun} in a dictionary, {tie} on a tie, or None for an empty dictionary",
                f"finds {what} of a dictionary that has the {side} {noun}; ties go to {tie} key and an empty dictionary gives None",
                f"takes a dictionary of numbers and returns {what} whose {noun} is {side} ({tie} of several; None if it is empty)",
            ),
            code(f"best = {expr.format(measure)}", f"return {result}"),
            inputs,
        )


@family("dicts_records", FAMILIES)
def records() -> Iterator[Variant]:
    fields = (("age", "people", 30), ("score", "players", 50), ("price", "products", 20), ("stock", "items", 8))
    relations = (("over", "greater than", ">"), ("under", "less than", "<"))
    outcomes = (
        ("names", "the list of the names", '[r["name"] for r in chosen]'),
        ("sorted_names", "the alphabetical list of the names", 'sorted(r["name"] for r in chosen)'),
        ("count", "the number", "len(chosen)"),
        ("total", "the total {0}", 'sum(r["{0}"] for r in chosen)'),
        ("average", "the average {0} (0 without any)", 'sum(r["{0}"] for r in chosen) / len(chosen) if chosen else 0'),
        ("first", "the name of the first (None without any)", 'chosen[0]["name"] if chosen else None'),
    )
    rows = {"Ida": 25, "Bob": 60, "Cleo": 30, "Abe": 6, "Ned": 50, "Uma": 20, "Lou": 7, "Eli": 8, "Fay": 41, "Gus": 3, "Jon": 72}
    for (field, noun, bound), (relation, words, sign), (name, what, result) in product(fields, relations, outcomes):
        everyone = [{"name": who, field: number} for who, number in rows.items()]
        sought, keys = what.format(field), f"'name' and '{field}'"
        yield Variant(
            (f"{name}_{field}_{relation}_{bound}", f"{noun}_{relation}_{bound}_{name}", f"{name}_of_{noun}_{field}_{relation}_{bound}"),
            "records",
            (
                f"takes a list of dictionaries with the keys {keys} and returns {sought} of those whose {field} is {words} {bound}",
                f"returns {sought} of the {noun} whose {field} is {words} {bound}, given as a list of dictionaries ({keys})",
                f"picks those {noun} (dictionaries with {keys}) whose {field} is {words} {bound} and returns {sought} of them",
            ),
            code(f'chosen = [r for r in records if r["{field}"] {sign} {bound}]', f"return {result.format(field)}"),
            calls([], everyone[:4], everyone[3:9], everyone[::-1], everyone[5:]),
        )


@family("matrix_lines", FAMILIES)
def matrix() -> Iterator[Variant]:
    measures = (
        ("sum", "sum", "sum({0})"),
        ("max", "largest number", "max({0})"),
        ("min", "smallest number", "min({0})"),
        ("spread", "difference between largest and smallest number", "max({0}) - min({0})"),
    )
    axes = (("row", "row", "matrix"), ("col", "column", "zip(*matrix)"))
    outcomes = (
        ("list", "the {0} of each {1} of a matrix, as a list", "found"),
        ("sorted", "the {0} of each {1} of a matrix, as an ascending list", "sorted(found)"),
        ("best", "the index of the first {1} of a matrix whose {0} is greatest (-1 if none)", "found.index(max(found)) if found else -1"),
        ("worst", "the index of the first {1} of a matrix whose {0} is least (-1 if none)", "found.index(min(found)) if found else -1"),
        ("over_5", "the indexes of the {1}s of a matrix whose {0} is greater than 5", "[i for i, value in enumerate(found) if value > 5]"),
    )
    inputs = calls(
        [],
        [[1, 7, 2], [4, 0, 5]],
        [[3, -1], [8, 2], [6, 6], [-9, 4]],
        [[9, -6, -12, 7], [10, 8, 3, 11]],
        [[2, 0, 1], [5, 9, -4], [3, 3, 8]],
        [[-6, 28, 10], [7, 7, 6]],
    )
    for (name, noun, expr), (axis, line, lines), (outcome, wish, result) in product(measures, axes, outcomes):
        what = wish.format(noun, line)
        yield Variant(
            (f"{axis}_{name}_{outcome}", f"matrix_{axis}_{name}_{outcome}", f"{outcome}_{axis}_{name}"),
            "matrix",
            (
                f"returns {what}",
                f"takes a matrix, given as a list of rows of equal length, and returns {what}",
                f"looks at every {line} of a list of equally long lists and computes {what}",
            ),
            code(f"found = [{expr.format(axis)} for {axis} in {lines}]", f"return {result}"),
            inputs,
        )
