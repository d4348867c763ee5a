"""Families that want a regular expression: finding, replacing, validating, splitting, groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

PATTERNS = (  # name, words, pattern
    ("numbers", "runs of digits", r"\d+"),
    ("letters", "runs of letters a-z or A-Z", r"[A-Za-z]+"),
    ("hashtags", "hashtags (# and one or more word characters)", r"#\w+"),
    ("mentions", "mentions (@ and one or more word characters)", r"@\w+"),
    ("capitalised", "words of one capital letter and then lower-case letters only", r"\b[A-Z][a-z]+\b"),
    ("acronyms", "words of two or more capital letters", r"\b[A-Z]{2,}\b"),
    ("times", "times of two digits, a colon and two digits", r"\d\d:\d\d"),
    ("prices", "prices (a dollar sign, digits, a point, two digits)", r"\$\d+\.\d\d"),
    ("quoted", "pieces in double quotes, quotes included", r'"[^"]*"'),
    ("bracketed", "pieces in round brackets, brackets included", r"\([^)]*\)"),
    ("percentages", "percentages (digits and a percent sign)", r"\d+%"),
    ("versions", "versions (the letter v, digits, a point, digits)", r"v\d+\.\d+"),
    ("years", "words of exactly four digits", r"\b\d{4}\b"),
)
TEXTS = (
    "",
    "no match, only vivid words",
    'In 2024 Anna (NASA) met @bob_1 at 09:30 and said "hi you"; it was v2.10 #fun',
    "Sale: 15% off, $12.50 not $9.99 (see #deal1 or #deal2), ask @shop by 18:45 in v1.0",
    '1999 USA 7:30 "Z" (a) @x @yy #tag 100% and 5% v10.2, v3.4 at 23:59 "end" (b c) Berlin $3.00',
    'IBM v1.1 EU v1.2 "w" v1.3 (p) @me (q) Rome 77 #a #b #c',
)
FIND_RESULTS = (
    (
        "all",
        ("returns a list of all {which}", "lists the {which}", "extracts in order all {which}"),
        "",
        "return re.findall({pattern}, text)",
    ),
    (
        "count",
        ("counts the {which}", "returns how many {which} there are", "computes the number of {which}"),
        "",
        "return len(re.findall({pattern}, text))",
    ),
    (
        "first",
        ("returns the first of the {which}", "finds the first of all {which}", "extracts only the first of the {which}"),
        ", or None if there is none",
        "match = re.search({pattern}, text)\n    return match.group() if match else None",
    ),
    (
        "last",
        ("returns the last of the {which}", "finds the last of all {which}", "extracts only the last of the {which}"),
        ', or "" if there is none',
        'found = re.findall({pattern}, text)\n    return found[-1] if found else ""',
    ),
)


def _quoted(pattern: str) -> str:
    """The pattern as a raw string literal."""
    return f"r'{pattern}'" if '"' in pattern else f'r"{pattern}"'


@family("regexes_find", FAMILIES)
def find() -> Iterator[Variant]:
    for (kind, which, pattern), (result, wishes, edge, code) in product(PATTERNS, FIND_RESULTS):
        yield Variant(
            names=(f"{result}_{kind}", f"{kind}_{result}", f"get_{result}_{kind}"),
            args="text",
            wishes=tuple(f"{wish.format(which=which)} in text{edge}" for wish in wishes),
            body=f"    {code.format(pattern=_quoted(pattern))}",
            inputs=tuple((text,) for text in TEXTS),
            imports="import re",
        )


REPLACEMENTS = (
    ("remove", ("removes all {which} from text", "deletes the {which} in text", "returns text without its {which}"), '""'),
    (
        "mask",
        ("replaces all {which} in text by ***", "puts *** in place of the {which} in text", 'masks the {which} in text, each as "***"'),
        '"***"',
    ),
    (
        "stars",
        (
            "replaces each of the {which} in text by as many stars as it has characters",
            "overwrites every character of the {which} in text with *",
            "returns text with a * for each character of its {which}",
        ),
        'lambda match: "*" * len(match.group())',
    ),
    (
        "mark",
        (
            "puts square brackets around all {which} in text",
            "encloses each of the {which} in text in [ and ]",
            "returns text with its {which} in square brackets",
        ),
        r'r"[\g<0>]"',
    ),
)


@family("regexes_replace", FAMILIES)
def replace() -> Iterator[Variant]:
    for (kind, which, pattern), (result, wishes, code) in product(PATTERNS, REPLACEMENTS):
        yield Variant(
            names=(f"{result}_{kind}", f"{result}_all_{kind}", f"clean_{kind}"),
            args="text",
            wishes=tuple(wish.format(which=which) for wish in wishes),
            body=f"    return re.sub({_quoted(pattern)}, {code}, text)",
            inputs=tuple((text,) for text in TEXTS),
            imports="import re",
        )


PIECES = (  # words, pattern, two examples, an example that breaks it
    ("two capital letters", "[A-Z]{2}", ("AB", "XY"), "Ab"),
    ("three digits", "[0-9]{3}", ("123", "007"), "12"),
    ("one or more lower-case letters", "[a-z]+", ("q", "word"), "wOrd"),
    ("four hexadecimal digits (0-9, a-f)", "[0-9a-f]{4}", ("1a2b", "00ff"), "1g00"),
    ("one or two digits", "[0-9]{1,2}", ("5", "42"), "421"),
)
JOINTS = (("a hyphen", "-", "-"), ("a point", r"\.", "."), ("an optional space", " ?", " "))


@family("regexes_validate", FAMILIES)
def validate() -> Iterator[Variant]:
    for (head, head_re, heads, bad_head), (joint, joint_re, sign), (tail, tail_re, tails, bad_tail) in product(PIECES, JOINTS, PIECES):
        if head == tail:
            continue
        good = [(f"{heads[0]}{sign}{tails[0]}",), (f"{heads[1]}{sign}{tails[1]}",)]
        bad = [("",), (f"{heads[0]}{sign}{bad_tail}",), (f"{bad_head}{sign}{tails[0]}",), (f"{heads[1]}_{tails[1]}",)]
        yield Variant(
            names=("is_valid", "matches", "valid_code"),
            args="code",
            wishes=(
                f"returns whether code is exactly {head}, then {joint}, then {tail}",
                f"checks that the whole string consists of {head}, {joint} and {tail}, in this order",
                f"returns True if code is made up of {head} followed by {joint} and {tail} and of nothing else, otherwise False",
            ),
            body=f'    return re.fullmatch(r"{head_re}{joint_re}{tail_re}", code) is not None',
            inputs=(*bad[:1], *good, *bad[1:]),
            imports="import re",
        )


SEPARATORS = (  # name, words, pattern
    ("lists", "commas or semicolons", "[,;]"),
    ("spaced_commas", "commas with any spaces around them", r"\s*,\s*"),
    ("digits", "runs of digits", r"\d+"),
    ("dashes", "hyphens or underscores", "[-_]"),
    ("signs", "runs of characters other than a-z, A-Z and 0-9", "[^A-Za-z0-9]+"),
    ("capitals", "single capital letters", "[A-Z]"),
    ("spaces", "runs of white space", r"\s+"),
    ("stops", "points, exclamation marks or question marks", "[.!?]"),
    ("bars", "single bars or slashes", "[|/]"),
    ("ands", 'the word "and" with white space on both sides', r"\s+and\s+"),
    ("arrows", 'the signs "->" or "=>"', "[-=]>"),
)
SPLIT_TEXTS = (
    "",
    "a,b;c , d-e_f",
    "red and blue12green , x->y! Why? one/two|three",
    "Big Cat;7 dogs => 3 mice -> tea_cup and  jam/Rum. Hm",
    "k1=>v1,k2 and K3; what?ever! no|1-2 , 3.Go  on2",
)
SPLIT_RESULTS = (
    (
        "parts",
        (
            "splits text at {which} into a list (empty parts are kept)",
            "returns the list of parts of text between {which}, empty ones too",
            "cuts text at {which} and returns all parts, even empty ones",
        ),
        "re.split({pattern}, text)",
    ),
    (
        "nonempty",
        (
            "splits text at {which} into a list, without empty parts",
            "returns the list of the parts of text between {which} that are not empty",
            "cuts text at {which} and returns the parts that have at least one character",
        ),
        "[part for part in re.split({pattern}, text) if part]",
    ),
    (
        "longest",
        (
            "returns the longest part of text between {which} (the first of equals)",
            "splits text at {which} and returns the longest part, the first one of equal length",
            "cuts text at {which} and returns the part with the most characters (the first such part)",
        ),
        "max(re.split({pattern}, text), key=len)",
    ),
    (
        "last",
        (
            "returns what follows the last of the {which} in text (the whole text without any)",
            "splits text at {which} and returns the last part",
            "cuts text at {which} and returns the final part, which may be empty",
        ),
        "re.split({pattern}, text)[-1]",
    ),
)


@family("regexes_split", FAMILIES)
def split() -> Iterator[Variant]:
    for (kind, which, pattern), (result, wishes, code) in product(SEPARATORS, SPLIT_RESULTS):
        yield Variant(
            names=(f"{result}_between_{kind}", f"{result}_by_{kind}", f"{result}_of_text"),
            args="text",
            wishes=tuple(wish.format(which=which) for wish in wishes),
            body=f"    return {code.format(pattern=_quoted(pattern))}",
            inputs=tuple((text,) for text in SPLIT_TEXTS),
            imports="import re",
        )


LINKS = (
    ("an equals sign", "=", "="),
    ("a colon", ":", ":"),
    ("a hyphen", "-", "-"),
    ("a slash", "/", "/"),
    ("an at sign", "@", "@"),
    ("a plus sign", r"\+", "+"),
    ("an arrow ->", "->", "->"),
)
PAIR_RESULTS = (
    (
        "pairs",
        "returns a list of tuples (name, number as int)",
        "lists as (name, int) tuples",
        "[(name, int(number)) for name, number in pairs]",
    ),
    (
        "dict",
        "returns a dict from name to its last number as int",
        "collects in a dict, as ints, the last one of a name counting,",
        "{name: int(number) for name, number in pairs}",
    ),
    ("total", "returns the sum of the numbers", "adds up the numbers", "sum(int(number) for name, number in pairs)"),
    (
        "names",
        "returns a sorted list of the different names",
        "lists, sorted and each once, the names",
        "sorted({name for name, number in pairs})",
    ),
    (
        "texts",
        'returns a string of "number name" joined by ", "',
        'joins with ", " the texts "number name"',
        '", ".join(f"{number} {name}" for name, number in pairs)',
    ),
    (
        "best",
        "returns the name with the largest number (None if there is no pair)",
        "finds the name of the largest number, None without any,",
        "max(pairs, key=lambda pair: int(pair[1]))[0] if pairs else None",
    ),
)


@family("regexes_pairs", FAMILIES)
def pairs() -> Iterator[Variant]:
    for (words, pattern, sign), (result, first, second, code) in product(LINKS, PAIR_RESULTS):
        texts = (
            "",
            f"a{sign}1",
            f"tom{sign}12, ann{sign}7 and tom{sign}30",
            f"x{sign}y, zoe{sign}5; bob {sign}9, al{sign}44 amy{sign}8",
            f"no 5{sign}5, pi{sign}314 e{sign}271",
        )
        yield Variant(
            names=(f"pair_{result}", f"parse_{result}", f"read_{result}"),
            args="text",
            wishes=(
                f"{first} of all pairs in text of a name (letters a-z), {words} and a number (digits), with nothing in between",
                f"{second} of the pairs in text that look like abc{sign}12: letters a-z, {words}, digits",
                f"finds in text each name of letters a-z that has {words} and digits right after it, and {first}",
            ),
            body=f'    pairs = re.findall(r"([a-z]+){pattern}(\\d+)", text)\n    return {code}',
            inputs=tuple((text,) for text in texts),
            imports="import re",
        )
