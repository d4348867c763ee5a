"""Unseen families that read or write text: never trained on, so they measure what carries over to new tasks."""

# ruff: noqa: E501 (the wishes are prose; broken lines would hide how they differ)

from __future__ import annotations

from collections.abc import Iterator

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []


@family("run_lengths", FAMILIES, unseen=True)
def run_lengths() -> Iterator[Variant]:
    forms = {
        "the character and then the length": "c + str(n)",
        "the length and then the character": "str(n) + c",
        "the character, an asterisk and the length": 'c + "*" + str(n)',
        "the length, a hyphen and the character": 'str(n) + "-" + c',
        "the character and then the length in round brackets": 'c + "(" + str(n) + ")"',
        "the character alone": "c",
    }
    runs = {"": "", " of at least 2": " if n >= 2", " of at least 3": " if n >= 3", " of exactly 1": " if n == 1", " of at most 2": " if n <= 2"}
    for form, code in forms.items():
        for length, test in runs.items():
            which = f"every run{length} equal neighbouring characters" if length else "every run of equal neighbouring characters"
            yield Variant(
                ("encode_runs", "run_lengths", "compress"),
                "text",
                (
                    f"writes for {which} {form}, all in one string",
                    f"returns a string that has, for {which} in order, {form}",
                    f"finds {which} of the text and joins the results without separator, each being {form}",
                ),
                f'    runs = [(c, len(list(group))) for c, group in groupby(text)]\n    return "".join({code} for c, n in runs{test})',
                (("",), ("aaabbc",), ("xyyyzzxxxx",), ("  --- 1",), ("qqqq",)),
                imports="from itertools import groupby",
            )


@family("shift_letters", FAMILIES, unseen=True)
def shift_letters() -> Iterator[Variant]:
    kinds = (
        ("lowercase letters", 'c.islower()', "a", 26, "'a' follows 'z'"),
        ("uppercase letters", 'c.isupper()', "A", 26, "'A' follows 'Z'"),
        ("digits", 'c.isdigit()', "0", 10, "'0' follows '9'"),
    )
    for kind, test, first, size, wrap in kinds:
        for steps in (-4, -3, -2, -1, 1, 2, 3, 4, 5):
            way, sign = ("forward", "+") if steps > 0 else ("back", "-")
            places = "1 place" if abs(steps) == 1 else f"{abs(steps)} places"
            yield Variant(
                ("shift_chars", "encode", "rotate_chars"),
                "text",
                (
                    f"moves all {kind} of an ASCII text {places} {way}, where {wrap}, and leaves other characters as they are",
                    f"returns the text (ASCII only) with its {kind} shifted {way} by {places}; {wrap}",
                    f"shifts only the {kind} of an ASCII text {way} by {places}, going round at the ends ({wrap})",
                ),
                f'    return "".join(chr((ord(c) - ord("{first}") {sign} {abs(steps)}) % {size} + ord("{first}")) if {test} else c for c in text)',
                (("",), ("abc XYZ 019",), ("Zebra 2 + Yak 8",), ("Hello, World 45!",), ("mango TAXI 97",)),
            )


@family("pluralise", FAMILIES, unseen=True)
def pluralise() -> Iterator[Variant]:
    nouns = {"file": "files", "box": "boxes", "city": "cities", "child": "children", "match": "matches", "sheep": "sheep", "error": "errors"}
    for one, many in nouns.items():
        for zero, code in (
            (f"no {many}", f'"no {many}"'),
            (f"0 {many}", ""),
            ("nothing", '"nothing"'),
            ("an empty string", '""'),
        ):
            shown = zero if zero == "an empty string" else f"'{zero}'"
            body = f'    if n == 0:\n        return {code}\n' if code else ""
            yield Variant(
                (f"count_{many}", "with_noun", "say_number"),
                "n",
                (
                    f"returns '1 {one}' for 1, {shown} for 0 and otherwise the number followed by '{many}', as in '3 {many}'",
                    f"says how many {many} there are: {shown} for 0, '1 {one}' for 1, else '<n> {many}'",
                    f"formats a count of {many}, such as '5 {many}'; one is '1 {one}' and zero is {shown}",
                ),
                f'{body}    return "1 {one}" if n == 1 else f"{{n}} {many}"',
                ((0,), (1,), (2,), (15,), (100,)),
            )


@family("bar_lines", FAMILIES, unseen=True)
def bar_lines() -> Iterator[Variant]:
    orders = {
        "in the order of the dict": "counts.items()",
        "sorted by label": "sorted(counts.items())",
        "with the largest count first, ties in the order of the dict": "sorted(counts.items(), key=lambda item: -item[1])",
    }
    forms = {
        "the label, a colon, a space and the bar": '{label}: {"MARK" * n}',
        "the label, a space, the bar, a space and the count": '{label} {"MARK" * n} {n}',
        "the bar, a space and the label": '{"MARK" * n} {label}',
    }
    for form, code in forms.items():
        for order, items in orders.items():
            for mark in ("*", "#", "="):
                quoted = code.replace('"MARK"', f"'{mark}'")
                yield Variant(
                    ("bar_chart", "bar_lines", "draw_counts"),
                    "counts",
                    (
                        f"returns a list with a line of text per label of the dict counts, {order}: {form}, the bar being one '{mark}' per count",
                        f"draws a dict of label to count as a list of lines ({form}), {order}, with bars made of '{mark}'",
                        f"makes a line for each label and its count: {form}; a bar is '{mark}' repeated count times; the list of lines is {order}",
                    ),
                    f'    return [f"{quoted}" for label, n in {items}]',
                    (({},), ({"b": 2, "a": 1},), ({"cat": 3, "dog": 5, "ant": 3},), ({"x": 0, "w": 4},)),
                )


@family("fiscal_period", FAMILIES, unseen=True)
def fiscal_period() -> Iterator[Variant]:
    months = {2: "February", 4: "April", 5: "May", 7: "July", 9: "September", 10: "October", 11: "November"}
    for first, month in months.items():
        year = f"year + (month >= {first})"
        days = tuple((f"20{17 + ahead}-{(first + ahead - 1) % 12 + 1:02}-{9 + 2 * ahead:02}",) for ahead in (-1, 0, 2, 3, 6, 7))
        for result, code, name in (
            ("the fiscal year as a number", year, "fiscal_year"),
            ("the quarter of the fiscal year (1 to 4)", f"(month - {first}) % 12 // 3 + 1", "fiscal_quarter"),
            ("the number of the month in the fiscal year (1 to 12)", f"(month - {first}) % 12 + 1", "fiscal_month"),
            ("the fiscal year and the half of it, as in '2024-H1'", f'f"{{{year}}}-H{{(month - {first}) % 12 // 6 + 1}}"', "fiscal_half"),
        ):
            yield Variant(
                (name, "fiscal_period", "accounting_period"),
                "day",
                (
                    f"returns {result} of a day like '2024-05-17', where a fiscal year starts in {month} and is named after the calendar year in which it ends",
                    f"takes a date string 'YYYY-MM-DD' and gives {result}; fiscal years begin on 1 {month} and carry the number of the next calendar year",
                    f"finds {result} for an ISO date, if the fiscal year N runs from {month} of the year N - 1 to the month before {month} of N",
                ),
                f"    year, month = int(day[:4]), int(day[5:7])\n    return {code}",
                days,
            )


@family("rewrite_numbers", FAMILIES, unseen=True)
def rewrite_numbers() -> Iterator[Variant]:
    patterns = {
        "whole number (run of digits)": (r"\d+", "m[0]", "{}"),
        "number of exactly 2 digits that stands alone as a word": (r"\b\d\d\b", "m[0]", "{}"),
        "number before 'px'": (r"(\d+)px", "m[1]", "{}px"),
        "number after a dollar sign": (r"\$(\d+)", "m[1]", "${}"),
        "number in round brackets": (r"\((\d+)\)", "m[1]", "({})"),
        "number after a hash sign": (r"#(\d+)", "m[1]", "#{}"),
    }
    for what, (pattern, group, form) in patterns.items():
        for change, code in (
            ("doubled", "int({g}) * 2"),
            ("increased by 1", "int({g}) + 1"),
            ("increased by 10", "int({g}) + 10"),
            ("halved and rounded down", "int({g}) // 2"),
            ("replaced by its number of digits", "len({g})"),
        ):
            new = form.format("{" + code.format(g=group) + "}")
            yield Variant(
                ("rewrite_numbers", "update_numbers", "change_numbers"),
                "text",
                (
                    f"returns the text with each {what} {change}, all else as it was",
                    f"rewrites a text so that each {what} is {change} and nothing else changes",
                    f"finds each {what} in the text and gives the text back with it {change}",
                ),
                f'    return re.sub(r"{pattern}", lambda m: f"{new}", text)',
                (("",), ("12px and 7px, 9 em",), ("pay $15 for #3 (of 120)",), ("see #40, (8), 25 or $6",), ("$100 #12 (33) 44px 5",)),
                imports="import re",
            )


@family("match_results", FAMILIES, unseen=True)
def match_results() -> Iterator[Variant]:
    outcomes = (
        ("the points, 3 for a win and 1 for a draw", "points", "3 if ours > theirs else 1 if ours == theirs else 0"),
        ("the points, 2 for a win and 1 for a draw", "points", "2 if ours > theirs else 1 if ours == theirs else 0"),
        ("the points, 4 for a win and -1 for a defeat", "points", "4 if ours > theirs else -1 if ours < theirs else 0"),
        ("the number of wins", "count_wins", "ours > theirs"),
        ("the number of draws", "count_draws", "ours == theirs"),
        ("the number of defeats", "count_defeats", "ours < theirs"),
        ("the goals of our team minus those of the others", "goal_difference", "ours - theirs"),
        ("the goals of both sides together", "all_goals", "ours + theirs"),
        ("the points, one for every goal of ours beyond the second of a match", "bonus_points", "max(ours - 2, 0)"),
    )
    for called, sign in (("a colon", ":"), ("a hyphen", "-"), ("' to '", " to ")):
        for what, name, code in outcomes:
            yield Variant(
                (name, "season_total", "sum_up"),
                "results",
                (
                    f"sums up {what}, over a list of match results like '3{sign}1', our goals first",
                    f"returns {what}, added up over a list of results in which {called} separates our goals from theirs",
                    f"reads a list of scores (ours and theirs with {called} between them) and returns {what}, over all matches",
                ),
                f'    total = 0\n    for result in results:\n        ours, theirs = map(int, result.split("{sign}"))\n        total += {code}\n    return total',
                tuple(
                    ([f"{ours}{sign}{theirs}" for ours, theirs in matches],)
                    for matches in ((), ((3, 1),), ((0, 0), (1, 2), (4, 3)), ((2, 2), (5, 0), (1, 1)), ((0, 3), (6, 2), (1, 4), (2, 1)))
                ),
            )


@family("check_number", FAMILIES, unseen=True)
def check_number() -> Iterator[Variant]:
    weights = {
        "its position, counted from 1": "i * int(d) for i, d in enumerate(code, start=1)",
        "its position, counted from 1 at the right end": "i * int(d) for i, d in enumerate(reversed(code), start=1)",
        "3 at even positions, counted from 0, and by 1 at the others": "(3 if i % 2 == 0 else 1) * int(d) for i, d in enumerate(code)",
        "2 at odd positions, counted from 0, and by 1 at the others": "(2 if i % 2 == 1 else 1) * int(d) for i, d in enumerate(code)",
        "itself": "int(d) * int(d) for d in code",
    }
    for weight, code in weights.items():
        for modulus in (7, 9, 10, 11, 13, 97):
            yield Variant(
                ("check_number", "checksum", "control_number"),
                "code",
                (
                    f"returns the remainder, divided by {modulus}, of the sum of the digits of a string, each multiplied by {weight}",
                    f"multiplies every digit of a digit string by {weight}, adds the products up and gives the sum modulo {modulus}",
                    f"computes a checksum of a string of digits: the sum of each digit times {weight}, modulo {modulus}",
                ),
                f"    return sum({code}) % {modulus}",
                (("",), ("7",), ("9081",), ("4006381333931",), ("59737",), ("862",)),
            )
