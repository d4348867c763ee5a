"""Families on single numbers: digits, multiples, units, bases, steps, prices, sequences, labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

DIGIT_TESTS = (  # name, words after "digits", test of the character d
    ("even", "that are even", "int(d) % 2 == 0"),
    ("odd", "that are odd", "int(d) % 2 == 1"),
    ("prime", "that are prime (2, 3, 5 or 7)", 'd in "2357"'),
    ("big", "that are greater than 5", "int(d) > 5"),
    ("small", "that are less than 4", "int(d) < 4"),
    ("middle", "that are at least 3 and at most 6", '"3" <= d <= "6"'),
    ("outer", "that are less than 2 or greater than 7", 'd in "0189"'),
    ("square", "that are squares (0, 1, 4 or 9)", 'd in "0149"'),
    ("threefold", "that are divisible by 3 (0 included)", "int(d) % 3 == 0"),
    ("other", "that are neither 0 nor 9", 'd not in "09"'),
)
DIGIT_RESULTS = (
    (
        "sum",
        (
            "returns the sum of the digits of n {which} (0 if there are none)",
            "adds up those digits of n {which}, and returns 0 if there are none",
            "computes the total of all digits {which} in the non-negative integer n, 0 without any",
        ),
        "sum(int(d) for d in str(n) if {test})",
    ),
    (
        "count",
        (
            "counts the digits of n {which}",
            "returns the number of digits {which} in the non-negative integer n",
            "returns how many digits n has {which}",
        ),
        "sum(1 for d in str(n) if {test})",
    ),
    (
        "list",
        (
            "returns the list of the digits of n {which}, from left to right",
            "lists, in order, the digits {which} of the non-negative integer n",
            "collects the digits of n {which} in a list of integers, in their order",
        ),
        "[int(d) for d in str(n) if {test}]",
    ),
    (
        "without",
        (
            "removes the digits {which} from n and returns what is left as an integer (0 if nothing is left)",
            "returns the integer that remains of n without its digits {which}, or 0 if no digit remains",
            "deletes all digits {which} from the non-negative integer n and returns the rest as an integer, 0 if it is empty",
        ),
        'int("".join(d for d in str(n) if not ({test})) or "0")',
    ),
)


@family("numbers_digits", FAMILIES)
def digits() -> Iterator[Variant]:
    for (kind, which, test), (result, wishes, code) in product(DIGIT_TESTS, DIGIT_RESULTS):
        yield Variant(
            names=(f"{kind}_digits_{result}", f"{result}_{kind}_digits", f"digits_{result}"),
            args="n",
            wishes=tuple(wish.format(which=which) for wish in wishes),
            body=f"    return {code.format(test=test)}",
            inputs=((0,), (7,), (2468,), (13579,), (90817,), (55940,)),
        )


RELATIONS = (  # name, words, test of i
    ("either", "divisible by {a} or {b}", "i % {a} == 0 or i % {b} == 0"),
    ("both", "divisible by both {a} and {b}", "i % {a} == 0 and i % {b} == 0"),
    ("only", "divisible by {a} but not by {b}", "i % {a} == 0 and i % {b} != 0"),
    ("neither", "divisible by neither {a} nor {b}", "i % {a} != 0 and i % {b} != 0"),
)
MULTIPLE_RESULTS = (
    (
        "sum",
        "sum(i for i in range(1, n + 1) if {test})",
        ("returns the sum of the numbers", "adds up all numbers", "computes the total of the numbers"),
    ),
    (
        "count",
        "sum(1 for i in range(1, n + 1) if {test})",
        ("counts the numbers", "returns how many numbers there are", "finds the number of integers"),
    ),
    (
        "list",
        "[i for i in range(1, n + 1) if {test}]",
        ("lists the numbers", "returns a list of all numbers", "collects in a list the integers"),
    ),
)


@family("numbers_multiples", FAMILIES)
def multiples() -> Iterator[Variant]:
    pairs = ((2, 3), (2, 5), (3, 5), (3, 4), (5, 7))
    for (a, b), (relation, words, test), (result, code, starts) in product(pairs, RELATIONS, MULTIPLE_RESULTS):
        which = words.format(a=a, b=b)
        yield Variant(
            names=(f"{result}_multiples", f"{relation}_multiple_{result}", f"{result}_divisible"),
            args="n",
            wishes=tuple(f"{start} from 1 to n (included) that are {which}" for start in starts),
            body=f"    return {code.format(test=test.format(a=a, b=b))}",
            inputs=((0,), (1,), (12,), (21,), (42,), (70,)),
        )


UNITS = (  # one, many, target, how many of the target one is
    ("mile", "miles", "kilometres", "1.609344"),
    ("inch", "inches", "centimetres", "2.54"),
    ("foot", "feet", "metres", "0.3048"),
    ("yard", "yards", "metres", "0.9144"),
    ("pound", "pounds", "kilograms", "0.453592"),
    ("ounce", "ounces", "grams", "28.3495"),
    ("gallon", "gallons", "litres", "3.785412"),
    ("acre", "acres", "hectares", "0.404686"),
    ("horsepower", "horsepower", "kilowatts", "0.7457"),
    ("calorie", "calories", "joules", "4.184"),
    ("bar", "bars", "psi", "14.5038"),
)


@family("numbers_units", FAMILIES)
def units() -> Iterator[Variant]:
    scales = [
        ("Celsius", "Fahrenheit", "celsius", "celsius * 9 / 5 + 32"),
        ("Fahrenheit", "Celsius", "fahrenheit", "(fahrenheit - 32) * 5 / 9"),
    ]
    conversions = [(source, target, f"degrees {source}", f"degrees {target}", arg, code) for source, target, arg, code in scales]
    for one, many, target, factor in UNITS:
        fact = f"(1 {one} is {factor} {target})"
        conversions.append((many, target, many, f"{target} {fact}", many, f"{many} * {factor}"))
        conversions.append((target, many, target, f"{many} {fact}", target, f"{target} / {factor}"))
    for (source, short, long_source, long_target, arg, code), places in product(conversions, (1, 2)):
        rounded = f"rounded to {places} decimal{'s' if places > 1 else ''}"
        yield Variant(
            names=(f"{source}_to_{short}".lower(), f"to_{short}".lower(), "convert"),
            args=arg,
            wishes=(
                f"converts {long_source} to {long_target}, {rounded}",
                f"returns the given {long_source} in {long_target}, {rounded}",
                f"takes a number of {long_source} and returns it in {long_target}, {rounded}",
            ),
            body=f"    return round({code}, {places})",
            inputs=((0,), (1,), (2.5,), (26.2,), (100,), (1234.567,)),
        )


BASE_RESULTS = (
    (
        ("to_base", "base_digits", "in_base"),
        (
            'writes the non-negative integer n as a string in base {b} ("0" for 0)',
            'returns n in base {b} as a string ("0" for 0)',
            'converts n to a string of base {b} digits ("0" for 0)',
        ),
        '    digits = ""\n    while n > 0:\n        digits = str(n % {b}) + digits\n        n //= {b}\n    return digits or "0"',
    ),
    (
        ("base_digit_sum", "digit_sum", "sum_base_digits"),
        (
            "returns the sum of the digits of n written in base {b}",
            "adds up the base {b} digits of n",
            "computes the digit sum of n in base {b}",
        ),
        "    total = 0\n    while n > 0:\n        total += n % {b}\n        n //= {b}\n    return total",
    ),
    (
        ("base_length", "count_digits", "num_base_digits"),
        (
            "returns how many digits n has in base {b} (1 for 0)",
            "counts the digits of n written in base {b} (1 for 0)",
            "computes the length of the base {b} form of n (1 for 0)",
        ),
        "    count = 1\n    while n >= {b}:\n        n //= {b}\n        count += 1\n    return count",
    ),
    (
        ("base_digit_list", "digits_in_base", "split_digits"),
        (
            "lists the base {b} digits of n, lowest first ([] for 0)",
            "returns a list of the digits of n in base {b}, from the last to the first ([] for 0)",
            "splits n into its base {b} digits as a list, the lowest one first ([] for 0)",
        ),
        "    digits = []\n    while n > 0:\n        digits.append(n % {b})\n        n //= {b}\n    return digits",
    ),
    (
        ("count_divisions", "times_divisible", "exponent_of"),
        (
            "returns how many times n can be divided by {b} without a remainder (0 for 0)",
            "counts how often {b} divides n (0 for 0)",
            "finds the largest k so that {b} to the power k divides n (0 for 0)",
        ),
        "    count = 0\n    while n > 0 and n % {b} == 0:\n        n //= {b}\n        count += 1\n    return count",
    ),
    (
        ("largest_power", "power_below", "floor_power"),
        (
            "returns the largest power of {b} that is not greater than n (0 for 0)",
            "finds the highest power of {b} up to n (included) (0 for 0)",
            "computes the biggest power of {b} that is at most n (0 for 0)",
        ),
        "    if n == 0:\n        return 0\n    power = 1\n    while power * {b} <= n:\n        power *= {b}\n    return power",
    ),
)


@family("numbers_bases", FAMILIES)
def bases() -> Iterator[Variant]:
    for b, (names, wishes, code) in product(range(2, 10), BASE_RESULTS):
        yield Variant(
            names=names,
            args="n",
            wishes=tuple(wish.format(b=b) for wish in wishes),
            body=code.format(b=b),
            inputs=((0,), (5,), (36,), (68,), (567,), (20160,)),
        )


STEP_RESULTS = (
    (
        ("round_down", "floor_to", "lower_multiple"),
        (
            "rounds n down to a multiple of {s}",
            "returns the largest multiple of {s} that is not greater than n",
            "lowers n to the nearest multiple of {s} at or below it",
        ),
        "n // {s} * {s}",
    ),
    (
        ("round_up", "ceil_to", "upper_multiple"),
        (
            "rounds n up to a multiple of {s}",
            "returns the smallest multiple of {s} that is not less than n",
            "raises n to the nearest multiple of {s} at or above it",
        ),
        "-(-n // {s}) * {s}",
    ),
    (
        ("round_to", "nearest_multiple", "snap"),
        (
            "rounds n to the nearest multiple of {s}, halves up",
            "returns the multiple of {s} closest to n (the higher one of two)",
            "snaps n to the nearest multiple of {s}; a tie goes up",
        ),
        "(n + {h}) // {s} * {s}",
    ),
    (
        ("missing", "gap_to_multiple", "padding"),
        (
            "returns how much must be added to n to reach a multiple of {s} (0 if it is one)",
            "computes the distance from n up to the next multiple of {s}, 0 if n is one",
            "finds the smallest non-negative number that makes n divisible by {s} when added",
        ),
        "-n % {s}",
    ),
    (
        ("boxes_needed", "num_pages", "count_groups"),
        (
            "returns how many boxes of {s} are needed for n items",
            "computes the number of pages for n entries with {s} entries on a page",
            "counts the groups of at most {s} that n things need",
        ),
        "-(-n // {s})",
    ),
)


@family("numbers_steps", FAMILIES)
def steps() -> Iterator[Variant]:
    for s, (names, wishes, code) in product((5, 6, 8, 10, 12, 15, 20, 25, 60), STEP_RESULTS):
        yield Variant(
            names=names,
            args="n",
            wishes=tuple(wish.format(s=s) for wish in wishes),
            body=f"    return {code.format(s=s, h=s // 2)}",
            inputs=((0,), (7,), (30,), (44,), (75,), (187,)),
        )


def _price_rules() -> Iterator[tuple[str, str]]:
    """What a rule says after the plain total, and the body that follows it."""
    for percent, t in product((5, 10, 15, 20, 25), (3, 5, 8, 12)):
        yield (
            f"with {percent} percent off the total when quantity is at least {t}",
            f"    total = price * quantity\n    if quantity >= {t}:\n        total *= {1 - percent / 100:g}\n    return round(total, 2)",
        )
    for t in range(2, 7):
        yield f"when one item in every {t} is free", f"    return round(price * (quantity - quantity // {t}), 2)"
    for fee, limit in product((2.5, 4.5, 6.0), (20, 30, 40, 60)):
        yield (
            f"plus {fee} for shipping unless the total is at least {limit}",
            f"    total = price * quantity\n    if total < {limit}:\n        total += {fee}\n    return round(total, 2)",
        )
    for percent, t in product((10, 30, 50), (3, 5, 8)):
        yield (
            f"with {percent} percent off each item beyond the first {t}",
            f"    extra = max(quantity - {t}, 0)\n    return round(price * (quantity - extra) + price * extra * {1 - percent / 100:g}, 2)",
        )


@family("numbers_prices", FAMILIES)
def prices() -> Iterator[Variant]:
    for words, body in _price_rules():
        yield Variant(
            names=("total_price", "order_total", "amount_due"),
            args="price, quantity",
            wishes=(
                f"returns the price of quantity items {words}, rounded to 2 decimals",
                f"computes what quantity items at the given price cost {words}, rounded to 2 decimals",
                f"multiplies price by quantity to get a total, {words}, and returns it rounded to 2 decimals",
            ),
            body=body,
            inputs=((9.99, 0), (6.66, 3), (5.0, 5), (3.75, 8), (4.0, 12), (3.49, 20)),
        )


RULES = (  # how a term follows from the one before
    ("twice the one before plus 1", "2 * term + 1"),
    ("three times the one before minus 1", "3 * term - 1"),
    ("the one before plus 7", "term + 7"),
    ("the one before plus the sum of its digits", "term + sum(int(d) for d in str(term))"),
    ("half the one before if that is even and otherwise three times it plus 1", "term // 2 if term % 2 == 0 else 3 * term + 1"),
)
SEQUENCE_RESULTS = (
    (
        ("first_terms", "sequence", "terms"),
        ("returns a list of the first n terms", "lists the first n numbers", "builds the list of n terms"),
        "    terms = []\n    term = {start}\n    for _ in range(n):\n        terms.append(term)\n        term = {rule}\n    return terms",
        (0, 1, 3, 4, 7),
    ),
    (
        ("nth_term", "term_at", "sequence_term"),
        (
            "returns the n-th term (n is at least 1)",
            "computes term number n, counted from 1,",
            "finds the n-th number (the first has n = 1)",
        ),
        "    term = {start}\n    for _ in range(n - 1):\n        term = {rule}\n    return term",
        (1, 2, 3, 5, 8),
    ),
    (
        ("sum_of_terms", "sequence_sum", "partial_sum"),
        ("returns the sum of the first n terms", "adds up the first n numbers", "computes the total of n terms"),
        "    total = 0\n    term = {start}\n    for _ in range(n):\n        total += term\n        term = {rule}\n    return total",
        (0, 1, 3, 4, 7),
    ),
)


@family("numbers_sequences", FAMILIES)
def sequences() -> Iterator[Variant]:
    for (words, rule), start, (names, starts, code, counts) in product(RULES, (1, 3, 6), SEQUENCE_RESULTS):
        yield Variant(
            names=names,
            args="n",
            wishes=(
                f"{starts[0]} of the sequence that starts with {start} and where each next term is {words}",
                f"{starts[1]} of the sequence that begins with {start} and goes on with {words}",
                f"{starts[2]} of the sequence whose first term is {start} and whose every later term is {words}",
            ),
            body=code.format(start=start, rule=rule),
            inputs=tuple((count,) for count in counts),
        )


LABELS = (
    ("value", "low", "medium", "high"),
    ("degrees", "cold", "mild", "hot"),
    ("points", "poor", "fair", "good"),
    ("weight", "light", "normal", "heavy"),
)
BOUNDS = ((10, 50), (0, 100), (5, 20), (18, 65), (-10, 30), (40, 75))


@family("numbers_labels", FAMILIES)
def labels() -> Iterator[Variant]:
    for (arg, first, second, third), (low, high), (words, sign) in product(LABELS, BOUNDS, (("below", "<"), ("at most", "<="))):
        yield Variant(
            names=(f"{arg}_label", f"classify_{arg}", f"rate_{arg}"),
            args=arg,
            wishes=(
                f'returns "{first}" if {arg} is {words} {low}, "{second}" if it is {words} {high}, and "{third}" otherwise',
                f'labels {arg}: "{first}" when {words} {low}, else "{second}" when {words} {high}, else "{third}"',
                f'rates {arg} as "{third}" unless it is {words} {high}; then as "{second}", or as "{first}" if also {words} {low}',
            ),
            body=(
                f'    if {arg} {sign} {low}:\n        return "{first}"\n'
                f'    if {arg} {sign} {high}:\n        return "{second}"\n    return "{third}"'
            ),
            inputs=((low - 1,), (low,), (low + 1,), (high - 1,), (high,), (high + 1,)),
        )
