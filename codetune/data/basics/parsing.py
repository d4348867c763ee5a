"""Families that take small text formats apart: records, units, settings, ranges, brackets, moves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

FIELD_SIGNS = (
    ("a comma", ",", ","),
    ("a semicolon", ";", ";"),
    ("a colon", ":", ":"),
    ("a bar", "|", "|"),
    ("a tab", "\t", "\\t"),
    ("an equals sign", "=", "="),
)
RECORD_RESULTS = (
    (
        "dict",
        (
            "returns a dict from name to its last amount",
            "turns text into a dict of names and amounts (the last one of a name counts)",
            "builds a dict with the last amount of each name",
        ),
        ("result = {{}}", "result[name] = int(amount)", "result"),
    ),
    (
        "pairs",
        (
            "returns a list of (name, amount) tuples",
            "turns text into a list of tuples (name, amount)",
            "lists the lines as (name, amount) tuples",
        ),
        ("result = []", "result.append((name, int(amount)))", "result"),
    ),
    (
        "total",
        ("returns the sum of the amounts", "adds up all amounts", "computes the total of the amounts (0 for empty text)"),
        ("total = 0", "total += int(amount)", "total"),
    ),
    (
        "totals",
        (
            "returns a dict from name to the sum of its amounts",
            "adds up the amounts for each name in a dict",
            "builds a dict with the total amount of each name",
        ),
        ("totals = {{}}", "totals[name] = totals.get(name, 0) + int(amount)", "totals"),
    ),
    (
        "names",
        (
            "returns the list of names whose amount is above 10",
            "lists the names with an amount over 10",
            "collects the names of amounts greater than 10 in a list",
        ),
        ("names = []", "if int(amount) > 10:\n            names.append(name)", "names"),
    ),
    (
        "largest",
        (
            "returns the largest amount (0 for empty text)",
            "finds the greatest amount, 0 for empty text",
            "computes the maximum of 0 and all amounts",
        ),
        ("largest = 0", "largest = max(largest, int(amount))", "largest"),
    ),
    (
        "groups",
        (
            "returns a dict from amount to the list of its names",
            "groups the names by amount in a dict of lists",
            "builds a dict with the list of names for each amount",
        ),
        ("groups = {{}}", "groups.setdefault(int(amount), []).append(name)", "groups"),
    ),
)


@family("parsing_records", FAMILIES)
def records() -> Iterator[Variant]:
    for (words, sign, code), (result, wishes, (first, each, last)) in product(FIELD_SIGNS, RECORD_RESULTS):
        yield Variant(
            names=(f"parse_{result}", f"{result}_from_lines", f"read_{result}"),
            args="text",
            wishes=tuple(
                f"{wish}, where each line of text is a name, {words} and a whole number (it may be negative), the amount" for wish in wishes
            ),
            body=(
                f'    {first.format()}\n    for line in text.splitlines():\n        name, amount = line.split("{code}")\n'
                f"        {each}\n    return {last}"
            ),
            inputs=(
                ("",),
                (f"tea{sign}10",),
                (f"ann{sign}7\nbob{sign}12\nann{sign}30",),
                (f"x{sign}5\ny{sign}5\nz{sign}11\nx{sign}-1",),
                (f"pen{sign}250\nink{sign}9\npad{sign}40\nink{sign}9",),
            ),
        )


UNIT_TABLES = (
    ("seconds", {"s": 1, "m": 60, "h": 3600}, "10s, 5m (minutes) or 2h (hours)"),
    ("minutes", {"m": 1, "h": 60, "d": 1440}, "10m, 2h (hours) or 3d (days)"),
    ("days", {"d": 1, "w": 7, "y": 365}, "10d, 2w (weeks) or 1y (years of 365 days)"),
    ("bytes", {"B": 1, "K": 1024, "M": 1048576}, "12B, 4K (of 1024 bytes) or 1M (of 1024 K)"),
    ("pieces", {"p": 1, "d": 12, "g": 144}, "5p, 2d (dozens) or 1g (gross, 144 pieces)"),
)
UNIT_SIGNS = (("spaces", " ", "split()"), ("plus signs", "+", 'split("+")'), ("commas", ",", 'split(",")'))
UNIT_RESULTS = (
    ("total", "returns the total in {unit}", "adds up the parts in {unit}", "sum(values)"),
    ("list", "returns a list of the parts in {unit}", "converts each part to {unit}, in a list", "values"),
    ("longest", "returns the largest part in {unit}", "finds the greatest part, in {unit}", "max(values)"),
)


@family("parsing_units", FAMILIES)
def units() -> Iterator[Variant]:
    for (unit, table, words), (signs, sign, code), (result, first, second, expression) in product(UNIT_TABLES, UNIT_SIGNS, UNIT_RESULTS):
        a, b, c = table
        literal = "{" + ", ".join(f'"{key}": {value}' for key, value in table.items()) + "}"
        yield Variant(
            names=(f"{unit}_{result}", f"parse_{unit}", f"to_{unit}"),
            args="text",
            wishes=(
                f"{first.format(unit=unit)} of text, one or more parts like {words} separated by {signs}",
                f"{second.format(unit=unit)}; the parts of text look like {words} and {signs} separate them",
                f"reads parts such as {words}, with {signs} between them, and {first.format(unit=unit)}",
            ),
            body=f"    units = {literal}\n    values = [int(part[:-1]) * units[part[-1]] for part in text.{code}]\n    return {expression}",
            inputs=tuple(
                (sign.join(parts),)
                for parts in ([f"0{a}"], [f"45{a}"], [f"2{b}", f"30{a}"], [f"1{c}", f"15{b}", f"7{a}"], [f"90{b}", f"3{c}", f"90{b}"])
            ),
        )


COMMENTS = (("a hash", "#"), ("a semicolon", ";"), ("two slashes", "//"), ("an exclamation mark", "!"))
ASSIGNS = (("an equals sign", "="), ("a colon", ":"))
SETTING_RESULTS = (
    ("settings", "returns a dict from key to its last value", "settings[key.strip()] = value.strip()"),
    ("lower_settings", "returns a dict from key in lower case to its last value", "settings[key.strip().lower()] = value.strip()"),
    (
        "first_settings",
        "returns a dict from key to value where the first line of a key counts",
        "settings.setdefault(key.strip(), value.strip())",
    ),
    ("list_settings", "returns a dict from key to the list of its values", "settings.setdefault(key.strip(), []).append(value.strip())"),
    (
        "number_settings",
        "returns a dict from key to its last value, values of digits only as int",
        "value = value.strip()\n            settings[key.strip()] = int(value) if value.isdigit() else value",
    ),
)


@family("parsing_settings", FAMILIES)
def settings() -> Iterator[Variant]:
    for (comment, mark), (assign, sign), (result, wish, code) in product(COMMENTS, ASSIGNS, SETTING_RESULTS):
        yield Variant(
            names=(f"parse_{result}", f"read_{result}", "load_config"),
            args="text",
            wishes=(
                f"{wish} for the lines key{sign}value of text, both stripped; blank lines and lines that start with {mark} are skipped",
                f"reads lines of a key, {assign} and a value, both stripped, skips empty lines and lines starting with {mark}, and {wish}",
                f"ignores blank lines and comments ({comment}, {mark}, first), splits the others at the first {sign} and {wish} (stripped)",
            ),
            body=(
                "    settings = {}\n    for line in text.splitlines():\n"
                f'        if line.strip() and not line.startswith("{mark}"):\n            key, value = line.split("{sign}", 1)\n'
                f"            {code}\n    return settings"
            ),
            inputs=(
                ("",),
                (f"{mark} only a comment{sign}1\n\n",),
                (f"Host {sign} Local\nport{sign}80\nHost{sign}Other",),
                (f"{mark}a{sign}1\nB {sign}2\n\n b{sign} x{mark}y\nC{sign}",),
                (f"   \nKey{sign}a{sign}b\n{mark} Key{sign}no\nkey{sign}007\nn{sign}12",),
            ),
        )


RANGE_SIGNS = (("a hyphen", "-"), ("two points", ".."), ("a colon", ":"), ("a tilde", "~"))
LIST_SIGNS = (("commas", ","), ("semicolons", ";"), ("spaces", " "), ("slashes", "/"))
RANGE_RESULTS = (
    (
        "list",
        "returns the list of all numbers",
        "expands text to a list of numbers",
        "numbers = []",
        "numbers.extend(range(int(first), int(last or first) + 1))",
        "numbers",
    ),
    (
        "count",
        "returns how many numbers there are",
        "counts the numbers",
        "count = 0",
        "count += int(last or first) - int(first) + 1",
        "count",
    ),
    (
        "sum",
        "returns the sum of all numbers",
        "adds up the numbers",
        "total = 0",
        "total += sum(range(int(first), int(last or first) + 1))",
        "total",
    ),
)


@family("parsing_ranges", FAMILIES)
def ranges() -> Iterator[Variant]:
    for (words, mark), (signs, sign), (result, first, second, start, each, last) in product(RANGE_SIGNS, LIST_SIGNS, RANGE_RESULTS):
        example = f"1{mark}3{sign}7"
        yield Variant(
            names=(f"range_{result}", f"parse_range_{result}", f"{result}_of_ranges"),
            args="text",
            wishes=(
                f'{first} in text like "{example}": numbers and ranges (first, {words}, last; last included) between {signs}',
                f'{second} that text stands for; {signs} separate its parts, and a part is a number or a range like "1{mark}3" (1, 2, 3)',
                f'reads page numbers such as "{example}" (pages 1, 2, 3 and 7, with {signs} between parts) and {first}',
            ),
            body=(
                f'    {start}\n    for part in text.split("{sign}"):\n        first, _, last = part.partition("{mark}")\n'
                f"        {each}\n    return {last}"
            ),
            inputs=(("5",), (example,), (f"2{sign}4{sign}9",), (f"10{mark}14",), (f"3{mark}4{sign}8{mark}11{sign}20",)),
        )


BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("/*", "*/"), ("<<", ">>"), ("{%", "%}"))
BRACKET_RESULTS = (
    (
        "inside",
        "returns the text between the first {a} and the next {b} after it",
        "finds what stands inside the first {a}...{b}",
        "inside",
    ),
    (
        "outside",
        "returns text without its first part {a}...{b}, the marks removed too",
        "deletes from text the first {a}, all up to the next {b}, and that {b}",
        "before + after",
    ),
    (
        "before",
        "returns what stands before the first {a}, where a {b} follows later",
        "finds the part of text in front of the first {a}...{b}",
        "before",
    ),
    (
        "after",
        "returns what follows the first {b} that comes after the first {a}",
        "finds the part of text behind the first {a}...{b}",
        "after",
    ),
    (
        "parts",
        "returns a tuple of what stands before, inside and after the first {a}...{b}",
        "splits text into a tuple: before the first {a}, up to the next {b}, and the rest",
        "(before, inside, after)",
    ),
    (
        "length",
        "returns the number of characters between the first {a} and the next {b}",
        "counts the characters inside the first {a}...{b}",
        "len(inside)",
    ),
)


@family("parsing_brackets", FAMILIES)
def brackets() -> Iterator[Variant]:
    for (a, b), (result, first, second, code) in product(BRACKETS, BRACKET_RESULTS):
        wish, other = first.format(a=a, b=b), second.format(a=a, b=b)
        yield Variant(
            names=(f"bracket_{result}", f"{result}_marks", f"get_{result}"),
            args="text",
            wishes=(
                f"{wish}, or None if there is no {a} with a {b} after it",
                f"{other}; it returns None if text has no {a} followed by {b}",
                f"looks in text for {a} and then {b} and {wish} (None when one of the two is missing)",
            ),
            body=(
                f'    before, opened, rest = text.partition("{a}")\n    inside, closed, after = rest.partition("{b}")\n'
                f"    if not opened or not closed:\n        return None\n    return {code}"
            ),
            inputs=(
                ("",),
                (f"no {b} then {a}",),
                (f"a{a}b{b}c",),
                (f"x {a}two words{b} and {a}more{b}.",),
                (f"{b}{a}{b} end",),
                (f"p{a[0]}q{a}r{b[-1]}s{b}{b}",),
            ),
        )


MOVES = (  # right, left, up, down
    ("E", "W", "N", "S"),
    ("R", "L", "U", "D"),
    (">", "<", "^", "v"),
    ("d", "a", "w", "s"),
    ("6", "4", "8", "2"),
    ("l", "h", "k", "j"),
    ("+", "-", "*", "/"),
)
MOVE_RESULTS = (
    ("position", "returns the end position (x, y)", "(x, y)"),
    ("distance", "returns how far the end is from the start, counted along x and y (abs(x) + abs(y))", "abs(x) + abs(y)"),
    ("returned", "returns whether the end is the start", "x == 0 and y == 0"),
    ("back", "returns the move (dx, dy) that leads back to the start", "(-x, -y)"),
    ("farther", "returns the larger one of abs(x) and abs(y) at the end", "max(abs(x), abs(y))"),
    ("square", "returns the square of the straight distance from start to end", "x * x + y * y"),
)


@family("parsing_moves", FAMILIES)
def moves() -> Iterator[Variant]:
    for (right, left, up, down), (result, wish, code) in product(MOVES, MOVE_RESULTS):
        letters = str.maketrans("RLUD", right + left + up + down)
        yield Variant(
            names=(f"walk_{result}", f"{result}_after_moves", f"follow_{result}"),
            args="moves",
            wishes=(
                f"walks from (0, 0) as moves says ({right} adds 1 to x, {left} takes 1, {up} adds 1 to y, {down} takes 1) and {wish}",
                f"follows moves ({right}: x + 1, {left}: x - 1, {up}: y + 1, {down}: y - 1) from (0, 0) and {wish}",
                f"starts at x = y = 0, goes right for {right}, left for {left}, up (y + 1) for {up} and down for {down}, and {wish}",
            ),
            body=(
                f'    x = moves.count("{right}") - moves.count("{left}")\n    y = moves.count("{up}") - moves.count("{down}")\n'
                f"    return {code}"
            ),
            inputs=tuple((path.translate(letters),) for path in ("", "R", "UUDLRD", "LLUR", "DDDRRLDL", "RUURRRU")),
        )
