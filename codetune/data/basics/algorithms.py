"""Families on classic algorithms: primes, divisors, circles, runs, coins, grids, graphs, stacks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from codetune.data.basics.family import Family, Variant, family

FAMILIES: list[Family] = []

COLLECTED = (  # what is asked of a rising list of integers: name, two wishes about {things}, code
    ("list", "lists in rising order {things}", "returns a sorted list of {things}", "{found}"),
    ("count", "counts {things}", "returns how many there are of {things}", "len({found})"),
    ("sum", "adds up {things}", "returns the sum of {things} (0 if there are none)", "sum({found})"),
    (
        "largest",
        "returns the largest of {things}, or None if there are none",
        "finds the greatest of {things}; None without any",
        "max({found}, default=None)",
    ),
)
PRIME_TESTS = (  # name, words after "primes", test of p
    ("ending_in_1", "that end in the digit 1", "p % 10 == 1"),
    ("ending_in_3", "that end in the digit 3", "p % 10 == 3"),
    ("ending_in_7", "that end in the digit 7", "p % 10 == 7"),
    ("one_over_four", "that leave the remainder 1 when divided by 4", "p % 4 == 1"),
    ("three_over_four", "that leave the remainder 3 when divided by 4", "p % 4 == 3"),
    ("one_over_six", "that leave the remainder 1 when divided by 6", "p % 6 == 1"),
    ("five_over_six", "that leave the remainder 5 when divided by 6", "p % 6 == 5"),
    ("mirrored", "that read the same backwards", "str(p) == str(p)[::-1]"),
    ("above_10", "that are greater than 10", "p > 10"),
    ("even_sum", "with an even sum of digits", "sum(map(int, str(p))) % 2 == 0"),
)


@family("algorithms_primes", FAMILIES)
def primes() -> Iterator[Variant]:
    for (kind, which, test), (result, first, second, code) in product(PRIME_TESTS, COLLECTED):
        yield Variant(
            names=(f"{result}_primes_{kind}", f"{kind}_primes_{result}", f"primes_{result}"),
            args="limit",
            wishes=(
                first.format(things=f"the primes up to limit (included) {which}"),
                second.format(things=f"the prime numbers not greater than limit {which}"),
                f"looks at the primes from 2 to limit and {first.format(things=f'those {which}')}",
            ),
            body=(
                "    primes = [n for n in range(2, limit + 1) if all(n % d for d in range(2, n))]\n"
                f"    return {code.format(found=f'[p for p in primes if {test}]')}"
            ),
            inputs=((1,), (7,), (20,), (33,), (60,), (104,)),
        )


DIVISOR_TESTS = (  # name, words after "divisors of n", test of d
    ("even", "that are even", "d % 2 == 0"),
    ("odd", "that are odd", "d % 2 == 1"),
    ("proper", "that are smaller than n", "d < n"),
    ("inner", "other than 1 and n", "1 < d < n"),
    ("big", "that are greater than 5", "d > 5"),
    ("small", "that are less than 10", "d < 10"),
    ("two_digit", "that have two digits", "10 <= d <= 99"),
    ("square", "that are squares", "int(d**0.5) ** 2 == d"),
    ("threefold", "that are divisible by 3", "d % 3 == 0"),
    ("fourless", "that are not divisible by 4", "d % 4 != 0"),
    ("lower", "whose square is less than n", "d * d < n"),
)


@family("algorithms_divisors", FAMILIES)
def divisors() -> Iterator[Variant]:
    for (kind, which, test), (result, first, second, code) in product(DIVISOR_TESTS, COLLECTED):
        yield Variant(
            names=(f"{result}_{kind}_divisors", f"{kind}_divisors_{result}", f"divisors_{result}"),
            args="n",
            wishes=(
                first.format(things=f"the positive divisors of n {which}"),
                second.format(things=f"the positive divisors of n {which}"),
                f"looks at all numbers from 1 to n that divide n and {first.format(things=f'those {which}')}",
            ),
            body=f"    return {code.format(found=f'[d for d in range(1, n + 1) if n % d == 0 and {test}]')}",
            inputs=((1,), (7,), (36,), (56,), (90,), (175,)),
        )


CIRCLE_RESULTS = (
    ("order", "the list of the persons in the order in which they leave", "order"),
    ("last", "the person who leaves last", "order[-1]"),
    ("before_last", "the person who leaves last but one (None if n is 1)", "order[-2] if n > 1 else None"),
    ("final_three", "the sorted list of the three (or fewer) who leave last", "sorted(order[-3:])"),
)
ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh")


@family("algorithms_circle", FAMILIES)
def circle() -> Iterator[Variant]:
    for (skip, ordinal), (result, words, code) in product(enumerate(ORDINALS, 1), CIRCLE_RESULTS):
        yield Variant(
            names=(f"circle_{result}", f"{result}_in_circle", f"josephus_{result}"),
            args="n",
            wishes=(
                f"lets every {ordinal} of the persons 1 to n in a circle leave, counting from 1, until none is left, and returns {words}",
                f"counts round a circle of the persons 1 to n, where each {ordinal} one counted leaves it, and returns {words}",
                f"plays the Josephus game with persons 1 to n (every {ordinal} one still there leaves) and returns {words}",
            ),
            body=(
                "    people = list(range(1, n + 1))\n    order = []\n    i = 0\n    while people:\n"
                f"        i = (i + {skip}) % len(people)\n        order.append(people.pop(i))\n    return {code}"
            ),
            inputs=((1,), (2,), (5,), (9,), (12,), (17,)),
        )


RUN_TESTS = (  # name, words on an element and the one before, test of both
    ("rising", "is greater than the one before", "number > {a}"),
    ("falling", "is less than the one before", "number < {a}"),
    ("equal", "equals the one before", "number == {a}"),
    ("changing", "differs from the one before", "number != {a}"),
    ("close", "differs from the one before by at most 2", "abs(number - {a}) <= 2"),
    ("counting", "is the one before plus 1", "number == {a} + 1"),
    ("same_parity", "has an even difference to the one before", "(number - {a}) % 2 == 0"),
    ("alternating", "has an odd difference to the one before", "(number - {a}) % 2 == 1"),
    ("doubling", "is at least twice the one before", "number >= 2 * {a}"),
    ("bounded", "makes a sum of at most 10 with the one before", "number + {a} <= 10"),
)
RUN_RESULTS = (
    ("length", "returns the length of the longest run (0 for an empty list)", "max(map(len, runs), default=0)"),
    ("longest", "returns the longest run (the first of equals, [] for an empty list)", "max(runs, key=len, default=[])"),
    ("count", "returns the number of runs (single elements count too)", "len(runs)"),
    ("split", "returns the list of runs, each of them a list", "runs"),
)


@family("algorithms_runs", FAMILIES)
def runs() -> Iterator[Variant]:
    for (kind, which, test), (result, wish, code) in product(RUN_TESTS, RUN_RESULTS):
        yield Variant(
            names=(f"{kind}_runs_{result}", f"{result}_of_{kind}_runs", f"run_{result}"),
            args="numbers",
            wishes=(
                f"cuts numbers into runs in which each element after the first {which}, and {wish}",
                f"{wish}, where a run of numbers goes on as long as the next element {which}",
                f"starts a new run at each element of numbers unless it {which}, and {wish}",
            ),
            body=(
                f"    runs = []\n    for number in numbers:\n        if runs and {test.format(a='runs[-1][-1]')}:\n"
                f"            runs[-1].append(number)\n        else:\n            runs.append([number])\n    return {code}"
            ),
            inputs=(
                ([],),
                ([5],),
                ([1, 2, 3, 3, 3, 2, 8],),
                ([4, 6, 8, 16, 7, 5, 8, 1, 2, 9],),
                ([9, 3, 4, 5, 6, 12, 30, 30, 29, 28, 2, 2, 5],),
            ),
        )


COINS = ((1, 2), (1, 3), (1, 5), (1, 2, 5), (1, 3, 7), (1, 4, 6), (1, 5, 7), (1, 6, 10), (1, 3, 9), (1, 2, 4, 8), (1, 5, 10))
COIN_RESULTS = (
    (
        "fewest_coins",
        "returns the smallest number of coins that add up to amount",
        "finds how few coins can pay amount exactly",
        "    fewest = [0]\n    for total in range(1, amount + 1):\n"
        "        options = [fewest[total - coin] for coin in {coins} if coin <= total]\n"
        "        fewest.append(min(options) + 1)\n    return fewest[amount]",
    ),
    (
        "ways_to_pay",
        "counts the ways to pay amount (the order of the coins does not matter)",
        "returns how many multisets of coins add up to amount",
        "    ways = [1] + [0] * amount\n    for coin in {coins}:\n        for total in range(coin, amount + 1):\n"
        "            ways[total] += ways[total - coin]\n    return ways[amount]",
    ),
    (
        "ordered_ways",
        "counts the sequences of coins that add up to amount (another order is another way)",
        "returns in how many ways amount can be paid coin by coin, the order counting",
        "    ways = [1]\n    for total in range(1, amount + 1):\n"
        "        ways.append(sum(ways[total - coin] for coin in {coins} if coin <= total))\n"
        "    return ways[amount]",
    ),
    (
        "greedy_coins",
        "pays amount by always taking the largest coin that still fits and returns the list of coins",
        "returns the list of coins, largest first, that the greedy rule (always the largest coin that fits) pays amount with",
        "    paid = []\n    for coin in {reverse}:\n        paid += [coin] * (amount // coin)\n        amount %= coin\n    return paid",
    ),
)


@family("algorithms_coins", FAMILIES)
def coins() -> Iterator[Variant]:
    for values, (name, first, second, code) in product(COINS, COIN_RESULTS):
        words = ", ".join(map(str, values[:-1])) + f" and {values[-1]}"
        yield Variant(
            names=(name, f"count_{name}" if "ways" in name else f"find_{name}", "pay"),
            args="amount",
            wishes=(
                f"{first}, with coins of {words} (as many of each as needed)",
                f"{second}; there are coins of {words}, any number of each",
                f"has unlimited coins of {words} and {first}",
            ),
            body=code.format(coins=values, reverse=values[::-1]),
            inputs=((0,), (3,), (9,), (12,), (20,), (30,)),
        )


CELLS = (
    ("diagonal", "on the diagonal from top left to bottom right", "i == j"),
    ("antidiagonal", "on the diagonal from top right to bottom left", "i + j == n - 1"),
    ("even_rows", "in rows with an even index, counted from 0", "i % 2 == 0"),
    ("last_column", "in the last column", "j == n - 1"),
    ("upper", "above the main diagonal (column index greater than row index)", "j > i"),
    ("lower", "below the main diagonal (row index greater than column index)", "i > j"),
    ("checkered", "whose row and column index, counted from 0, have an odd sum", "(i + j) % 2 == 1"),
    ("border", "on the border (first or last row or column)", "i in (0, n - 1) or j in (0, n - 1)"),
)
CELL_RESULTS = (
    ("sum", "the sum of the cells", "sum(cells)", " (0 without any)"),
    ("max", "the largest of the cells", "max(cells, default=None)", ", None without any"),
    ("min", "the smallest of the cells", "min(cells, default=None)", ", None without any"),
    ("list", "the list of the cells", "cells", ", row by row"),
    ("evens", "the list of the even cells", "[cell for cell in cells if cell % 2 == 0]", ", row by row"),
    ("squares", "the sum of the squares of the cells", "sum(cell * cell for cell in cells)", " (0 without any)"),
)


@family("algorithms_grid", FAMILIES)
def grid() -> Iterator[Variant]:
    for (kind, where, test), (result, what, code, edge) in product(CELLS, CELL_RESULTS):
        yield Variant(
            names=(f"{kind}_{result}", f"{result}_of_{kind}", f"grid_{result}"),
            args="grid",
            wishes=(
                f"returns {what} of the square grid (a list of rows) {where}{edge}",
                f"takes a square matrix as a list of rows and returns {what} {where}{edge}",
                f"computes for a grid, a list of n rows of n numbers, {what} {where}{edge}",
            ),
            body=(f"    n = len(grid)\n    cells = [grid[i][j] for i in range(n) for j in range(n) if {test}]\n    return {code}"),
            inputs=(
                ([[5]],),
                ([[1, 2], [4, 8]],),
                ([[7, 1, 6], [3, 5, 9], [2, 8, 4]],),
                ([[0, -3, 2], [11, 4, 4], [-6, 10, 1]],),
                ([[3, 14, 15, 9], [2, 6, 5, 35], [8, 9, 7, 9], [32, 38, 4, 6]],),
            ),
        )


ARROWS = (
    ("along", "following edges (a, b) from a to b", "{b for a, b in edges if a in reached}"),
    ("against", "following edges (a, b) backwards, from b to a", "{a for a, b in edges if b in reached}"),
    ("both", "following edges (a, b) in both directions", "{b for a, b in edges if a in reached} | {a for a, b in edges if b in reached}"),
)
REACHES = (
    ("two", "in at most 2 steps", "range(2)"),
    ("three", "in at most 3 steps", "range(3)"),
    ("four", "in at most 4 steps", "range(4)"),
    ("any", "in any number of steps", "edges"),
)
GRAPH_RESULTS = (
    ("nodes", "returns the sorted list of the nodes other than start", "sorted(reached - {start})"),
    ("count", "returns the number of nodes, start included,", "len(reached)"),
    ("sum", "returns the sum of the numbers of all nodes, start included,", "sum(reached)"),
    ("set", "returns the set of start and all nodes", "reached"),
)


@family("algorithms_graph", FAMILIES)
def graph() -> Iterator[Variant]:
    for (way, words, step), (limit, steps, loop), (result, wish, code) in product(ARROWS, REACHES, GRAPH_RESULTS):
        yield Variant(
            names=(f"reachable_{result}", f"{result}_within_{limit}_steps", f"{way}_edges_{result}"),
            args="edges, start",
            wishes=(
                f"{wish} that can be reached from start {steps}, {words}",
                f"walks from start {steps}, {words}, and {wish} that it can come to",
                f"takes a list of edges (pairs of nodes) and {wish} that are reachable from start {steps} by {words}",
            ),
            body=f"    reached = {{start}}\n    for _ in {loop}:\n        reached |= {step}\n    return {code}",
            inputs=(
                ([], 3),
                ([(1, 2), (2, 3), (4, 1)], 1),
                ([(6, 7), (5, 6), (4, 5), (3, 4), (2, 3), (1, 2), (9, 8)], 1),
                ([(6, 7), (5, 6), (4, 5), (3, 4), (2, 3), (1, 2), (9, 8)], 7),
                ([(1, 5), (5, 2), (2, 8), (8, 1), (3, 2), (6, 3), (7, 6), (8, 9), (9, 4), (4, 10)], 2),
            ),
        )


STACK_TESTS = (
    ("equal", "equals the number", "stack[-1] == number"),
    ("half", "is half of the number", "stack[-1] * 2 == number"),
    ("ten", "makes 10 with the number", "stack[-1] + number == 10"),
    ("neighbour", "differs from the number by 1", "abs(stack[-1] - number) == 1"),
    ("smaller", "is smaller than the number", "stack[-1] < number"),
    ("larger", "is larger than the number", "stack[-1] > number"),
    ("even_pair", "has an even sum with the number", "(stack[-1] + number) % 2 == 0"),
    ("odd_pair", "has an odd sum with the number", "(stack[-1] + number) % 2 == 1"),
    ("divisor", "is a multiple of the number", "stack[-1] % number == 0"),
    ("close", "differs from the number by less than 3", "abs(stack[-1] - number) < 3"),
)
STACK_RESULTS = (
    ("left", "the list of what is left, bottom first", "stack"),
    ("size", "how many numbers are left", "len(stack)"),
    ("total", "the sum of what is left", "sum(stack)"),
    ("top", "the top (None if the stack is empty)", "stack[-1] if stack else None"),
)


@family("algorithms_stack", FAMILIES)
def stack() -> Iterator[Variant]:
    for (kind, which, test), (result, what, code) in product(STACK_TESTS, STACK_RESULTS):
        yield Variant(
            names=(f"stack_{result}", f"cancel_{kind}_{result}", f"{kind}_stack_{result}"),
            args="numbers",
            wishes=(
                f"goes through the non-zero numbers, pops a stack if its top {which}, otherwise pushes the number, and returns {what}",
                f"puts each number (none is 0) on a stack, but if the top {which} it only takes that top away, and returns {what}",
                f"keeps a stack: for each number (never 0), when the top {which}, pops that, otherwise pushes the number; returns {what}",
            ),
            body=(
                f"    stack = []\n    for number in numbers:\n        if stack and {test}:\n            stack.pop()\n"
                f"        else:\n            stack.append(number)\n    return {code}"
            ),
            inputs=(
                ([],),
                ([5, 3, 1, 2, 2],),
                ([1, 2, 9, 18, 2, 3],),
                ([-2, -2, -3, 9, 8, -2, 2, 8],),
                ([1, 2, 4, 8, 8, 9, 8, 6, 12],),
                ([-4, -5, -5, 15, 30, 29, 4, 4, 4, 5, 5],),
            ),
        )
