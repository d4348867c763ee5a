"""Families on the characters and words of a text."""

# ruff: noqa: E501 (the wishes are prose; broken lines would hide how they differ)

from __future__ import annotations

from collections.abc import Iterator

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []


def _rows(*texts: str) -> tuple[tuple[str], ...]:
    return tuple((text,) for text in texts)


# plural noun phrase -> test of one character `c`
KINDS = {
    "vowels (a, e, i, o, u in either case)": 'c.lower() in "aeiou"',
    "digits": "c.isdigit()",
    "uppercase letters": "c.isupper()",
    "lowercase letters": "c.islower()",
    "letters": "c.isalpha()",
    "letters or digits": "c.isalnum()",
    "consonants (letters other than a, e, i, o, u)": 'c.isalpha() and c.lower() not in "aeiou"',
    "punctuation marks (any of .,;:!?)": 'c in ".,;:!?"',
    "round or square brackets": 'c in "()[]"',
    "arithmetic signs (any of +-*/)": 'c in "+-*/"',
    "even digits": 'c in "02468"',
    "digits greater than 4": 'c in "56789"',
    "capital vowels": 'c in "AEIOU"',
}
TEXTS = _rows(
    "",
    "Hi, Bob+Al (aged 47): [2*9-5] = 13; OK?",
    "aa1BB22?cc,,D4 ((eE8+9))!!",
    "+5+5: pay 250.50 [[NOW EA]]!",
    "ooh, AND x*y/z - 7; u+0 (nO) AA 99 **",
)

# phrase after "words" -> test of one word `w`
WORDS = {
    "with at least 4 characters": "len(w) >= 4",
    "with more than 5 characters": "len(w) > 5",
    "with fewer than 4 characters": "len(w) < 4",
    "with exactly 3 characters": "len(w) == 3",
    "with an even number of characters": "len(w) % 2 == 0",
    "that start with a vowel (in either case)": 'w[0].lower() in "aeiou"',
    "that start with an uppercase letter": "w[0].isupper()",
    "that end in 's'": 'w.endswith("s")',
    "that contain the letter 'e'": '"e" in w',
    "without the letter 'a'": '"a" not in w',
    "that consist of digits only": "w.isdigit()",
    "that read the same backwards": "w == w[::-1]",
    "that begin and end with the same character": "w[0] == w[-1]",
    "that contain a hyphen": '"-" in w',
}
SENTENCES = _rows(
    "",
    "Anna sees 12 well-known otters at noon 5 or 101 times",
    "the level of BIG rivers rises 2002 times in eve",
    "pop-up shops open on Roads near Civic us 77 ever 3 b2 4 add-on zip-up",
    "Rotor sounds echo as Two mice hide under a stats-book",
)


@family("count_characters", FAMILIES)
def count_characters() -> Iterator[Variant]:
    distinct = _rows("", "AaBb11 ++**", "Hi, Bob+Al (aged 47): [2*9-5] = 13; OK?", "ABB77 [(..!!)] 123 + 2 - 66 (x) Hobbit", "--ab, 808! (ee) AE [EE] 5/5; B? 9*9:")
    for kind, test in KINDS.items():
        yield Variant(
            ("count_chars", "how_many", "count_matching"),
            "text",
            (f"returns the number of {kind} in the text", f"counts the {kind} of a string", f"tells how many {kind} the text has"),
            f"    return sum(1 for c in text if {test})",
            TEXTS,
        )
        yield Variant(
            ("count_others", "count_rest"),
            "text",
            (
                f"returns the number of characters that are not {kind}",
                f"counts all characters of the text except {kind}",
                f"tells how many characters of the text do not belong to the {kind}",
            ),
            f"    return sum(1 for c in text if not ({test}))",
            TEXTS,
        )
        yield Variant(
            ("count_distinct", "distinct_chars", "count_different"),
            "text",
            (
                f"returns the number of different {kind} in the text ('a' and 'A' are different)",
                f"counts the distinct {kind} of a string, where upper and lower case differ",
                f"tells how many different {kind} the text has; case matters",
            ),
            f"    return len({{c for c in text if {test}}})",
            distinct,
        )
        yield Variant(
            ("count_before_space", "count_in_first_word"),
            "text",
            (
                f"returns the number of {kind} before the first space, or in the whole text if there is no space",
                f"counts the {kind} in the part of the text up to its first space (all of it where there is none)",
                f"tells how many {kind} come before the first space; a text without spaces counts as a whole",
            ),
            f'    head = text.split(" ")[0]\n    return sum(1 for c in head if {test})',
            _rows("", "aB1,+(0)[]E9 no, 2 + [8] AI", "Ok::/7*7;Ui86aaa", "HELLO+[w2]o4! Yes (1)", "x..y--z?A5O)) AEI ou-9,4"),
        )


@family("filter_characters", FAMILIES)
def filter_characters() -> Iterator[Variant]:
    for kind, test in KINDS.items():
        yield Variant(
            ("keep_only", "extract_chars", "only_matching"),
            "text",
            (f"returns only the {kind} of the text, as one string", f"keeps the {kind} of a string and drops all else", f"joins the {kind} of the text in their order"),
            f'    return "".join(c for c in text if {test})',
            TEXTS,
        )
        if kind not in ("digits", "letters"):  # families of regular expressions do that
            yield Variant(
                ("remove_chars", "strip_out", "drop_chars"),
                "text",
                (f"returns the text with all {kind} removed", f"removes the {kind} from a string", f"drops all {kind} and returns the rest of the text"),
                f'    return "".join(c for c in text if not ({test}))',
                TEXTS,
            )
        yield Variant(
            ("keep_reversed", "extract_backwards"),
            "text",
            (
                f"returns only the {kind} of the text, last one first",
                f"keeps the {kind} of a string, in reverse order and as one string",
                f"joins the {kind} of the text from its end to its start",
            ),
            f'    return "".join(c for c in reversed(text) if {test})',
            TEXTS,
        )
        yield Variant(
            ("list_chars", "find_chars"),
            "text",
            (f"returns a list of the {kind} of the text", f"lists the {kind} of a string in their order", f"collects the {kind} of the text in a list, repeats included"),
            f"    return [c for c in text if {test}]",
            TEXTS,
        )


@family("replace_characters", FAMILIES)
def replace_characters() -> Iterator[Variant]:
    for kind, test in KINDS.items():
        for symbol, called in (("*", "an asterisk"), ("_", "an underscore"), ("#", "a hash sign"), (".", "a dot")):
            if symbol == "*" and kind in ("digits", "letters"):
                continue  # families of regular expressions do that
            yield Variant(
                ("replace_chars", "mask_chars", "cover"),
                "text",
                (
                    f"returns the text with each of its {kind} replaced by '{symbol}'",
                    f"replaces the {kind} of a string by {called} each",
                    f"puts {called} in the place of all {kind}",
                ),
                f'    return "".join("{symbol}" if {test} else c for c in text)',
                TEXTS,
            )


@family("find_character", FAMILIES)
def find_character() -> Iterator[Variant]:
    texts = _rows("", "+x", "Hi, Bob+Al (aged 47): [2*9-5] = OK?", "[7] 1a2A? 6", "b (E8-0);Ku)")
    for kind, test in KINDS.items():
        for missing, called in (("-1", "-1"), ("None", "None")):
            yield Variant(
                ("first_index", "find_first", "first_position"),
                "text",
                (
                    f"returns the index of the first of the {kind} in the text, or {called} if there are none",
                    f"finds the position (from 0) where the text has the first of its {kind}; {called} where it has none",
                    f"gives the lowest index at which one of the {kind} stands, {called} if none does",
                ),
                f"    for i, c in enumerate(text):\n        if {test}:\n            return i\n    return {missing}",
                texts,
            )
            yield Variant(
                ("last_index", "find_last", "last_position"),
                "text",
                (
                    f"returns the index of the last of the {kind} in the text, or {called} if there are none",
                    f"finds the position (from 0) where the text has the last of its {kind}; {called} where it has none",
                    f"gives the highest index at which one of the {kind} stands, {called} if none does",
                ),
                f"    for i in range(len(text) - 1, -1, -1):\n        c = text[i]\n        if {test}:\n            return i\n    return {missing}",
                texts,
            )


@family("select_words", FAMILIES)
def select_words() -> Iterator[Variant]:
    for which, test in WORDS.items():
        chosen = f"[w for w in text.split() if {test}]"
        for what, code, name in (
            ("as a list in their order", f"return {chosen}", "list_words"),
            ("joined by single spaces", f'return " ".join(w for w in text.split() if {test})', "keep_words"),
            ("as a list in reverse order", f"return {chosen}[::-1]", "words_backwards"),
            ("as a sorted list", f"return sorted({chosen[1:-1]})", "sorted_words"),
        ):
            yield Variant(
                (name, "select_words", "pick_words"),
                "text",
                (
                    f"returns the words of the text {which}, {what}",
                    f"splits the text at white space and returns the words {which}, {what}",
                    f"selects the words {which} and gives them back {what}",
                ),
                f"    {code}",
                SENTENCES,
            )


@family("map_words", FAMILIES)
def map_words() -> Iterator[Variant]:
    changes = {
        "in upper case": "w.upper()",
        "reversed": "w[::-1]",
        "capitalized": "w.capitalize()",
        "cut to its first 3 characters": "w[:3]",
        "without its first character": "w[1:]",
        "written twice in a row": "w * 2",
        "in square brackets": '"[" + w + "]"',
        "replaced by its number of characters": "str(len(w))",
        "with its first character moved to the end": "w[1:] + w[0]",
        "without its vowels (a, e, i, o, u)": '"".join(c for c in w if c not in "aeiou")',
        "followed by an exclamation mark": 'w + "!"',
    }
    joins = {"by single spaces": " ", "by hyphens": "-", "by a comma and a space": ", ", "without a separator": ""}
    for change, code in changes.items():
        for how, separator in joins.items():
            yield Variant(
                ("map_words", "change_words", "convert_words"),
                "sentence",
                (
                    f"returns the words of the sentence, each {change}, joined {how}",
                    f"splits the sentence at white space and joins the words {how}, each one {change}",
                    f"takes every word {change} and joins the words {how}",
                ),
                f'    return "{separator}".join({code} for w in sentence.split())',
                _rows("", "Apple pie", "we saw a Big red fox", "  two  spaced Words ", "hello"),
            )


@family("slice_text", FAMILIES)
def slice_text() -> Iterator[Variant]:
    texts = _rows("", "ab", "Hello, world", "0123456789", "The quick brown fox")
    numbers = ("", "", "2", "3", "4", "5")
    for start in range(1, 6):
        for end in range(1, 6):
            head = "first character" if start == 1 else f"first {numbers[start]} characters"
            tail = "last character" if end == 1 else f"last {numbers[end]} characters"
            if start != end:  # equal ends are a family of lists
                yield Variant(
                    ("trim_ends", "inner_part", "cut_ends"),
                    "text",
                    (
                        f"returns the text without its {head} and its {tail}",
                        f"cuts the {head} and the {tail} off a string",
                        f"removes the {head} and the {tail} and returns what is left",
                    ),
                    f"    return text[{start}:-{end}]",
                    texts,
                )
            yield Variant(
                ("swap_ends", "ends_swapped", "exchange_ends"),
                "text",
                (
                    f"returns the {tail} of the text followed by its {head}",
                    f"joins the {tail} and then the {head} of a string, which may overlap",
                    f"puts the {head} of the text behind its {tail} and drops the middle",
                ),
                f"    return text[-{end}:] + text[:{start}]",
                texts,
            )


@family("compare_texts", FAMILIES)
def compare_texts() -> Iterator[Variant]:
    norms = {  # how -> code, what to put before, between and after the characters that the code takes away again
        "ignoring case": ("{}.lower()", None),
        "ignoring all spaces": ('{}.replace(" ", "")', ("", " ", "")),
        "ignoring all hyphens": ('{}.replace("-", "")', ("-", "-", "")),
        "ignoring all underscores": ('{}.replace("_", "")', ("_", "_", "")),
        "ignoring white space at both ends": ("{}.strip()", (" ", "", " ")),
        "ignoring dots at the end": ('{}.rstrip(".")', ("", "", "..")),
        "ignoring zeros at the start": ('{}.lstrip("0")', ("00", "", "")),
    }
    relations = {  # phrase -> name, code, answers, a pair that is so, norms that make no difference
        "are equal": ("same", "a == b", ("equal", "different"), ("abc", "abc"), ""),
        "start with the same character": ("same_start", "a[:1] == b[:1]", ("same start", "other start"), ("abc", "axy"), "endsstrip"),
        "end with the same 2 characters": ("same_end", "a[-2:] == b[-2:]", ("same end", "other end"), ("xybc", "abc"), "zeros"),
        "have the same length": ("same_length", "len(a) == len(b)", ("same length", "other length"), ("abc", "xyz"), "case"),
        "have the same characters in any order": ("same_letters", "sorted(a) == sorted(b)", ("anagram", "no anagram"), ("abc", "cab"), ""),
        "are each other's reverse": ("mirrored", "a == b[::-1]", ("mirrored", "not mirrored"), ("abc", "cba"), ""),
        "are such that a contains b": ("has_part", "b in a", ("inside", "not inside"), ("xabcx", "abc"), ""),
    }
    for relation, (name, code, (yes, no), (a, b), idle) in relations.items():
        for how, (norm, noise) in norms.items():
            if any(word in idle for word in how.split()[1:]):
                continue
            dirty_a, dirty_b = (a.upper(), b.upper()) if noise is None else (noise[0] + noise[1].join(text) + noise[2] for text in (a, b))
            yield Variant(
                (name, f"check_{name}", "compare"),
                "a, b",
                (
                    f"returns '{yes}' if the strings a and b {relation}, {how}, and '{no}' otherwise",
                    f"compares two strings a and b, {how} in both: '{yes}' if they {relation}, else '{no}'",
                    f"says '{yes}' for strings a and b that {relation} and '{no}' for others, {how}",
                ),
                f"    a, b = {norm.format('a')}, {norm.format('b')}\n    return \"{yes}\" if {code} else \"{no}\"",
                (("", ""), (dirty_a, b), (a, dirty_b), ("pq", "qrs"), (a, f"{b[0]} {b[1:]}"), (f" {a[:-1]} {a[-1]}", b)),
            )


@family("grade_text", FAMILIES)
def grade_text() -> Iterator[Variant]:
    kinds = {
        "digit": ("c.isdigit()", "7"),
        "uppercase letter": ("c.isupper()", "Q"),
        "space": ('c == " "', " "),
        "mark of .,!?": ('c in ".,!?"', "!"),
    }
    for kind, (test, example) in kinds.items():
        for least in (4, 6, 8, 12):
            full = "7!Q abcdefgh"[:least]
            texts = _rows("", full, full[:-1], full.replace(example, "z"), "z" * (least - 1) + example, "z" * least)
            for missing, name in (("weak", "check_password"), ("plain", "rate_text"), ("invalid", "validate_name")):
                yield Variant(
                    (name, "check_text", "classify"),
                    "text",
                    (
                        f"returns 'short' for fewer than {least} characters, else '{missing}' if there is no {kind}, else 'ok'",
                        f"says 'short' if the text has fewer than {least} characters, '{missing}' if it is long enough but has no {kind}, and 'ok' otherwise",
                        f"rates a text: under {least} characters is 'short', without any {kind} is '{missing}', all else is 'ok'",
                    ),
                    f'    if len(text) < {least}:\n        return "short"\n    if not any({test} for c in text):\n        return "{missing}"\n    return "ok"',
                    texts,
                )
