"""The words and expressions that families on numbers are composed of: predicates, transforms, aggregates, pairings."""

from __future__ import annotations

from typing import Any, NamedTuple


class Predicate(NamedTuple):
    """A property of a number: its name in function names, its words after "is", its test of `{0}`."""

    name: str
    what: str
    test: str

    @property
    def one(self) -> str:
        return f"number that is {self.what}" if " " in self.what else f"{self.what} number"

    @property
    def many(self) -> str:
        return f"numbers that are {self.what}" if " " in self.what else f"{self.what} numbers"


class Transform(NamedTuple):
    """What is done to a number: the verb in function names, the participle in sentences, the expression of `{0}`."""

    name: str
    done: str
    expr: str


class Aggregate(NamedTuple):
    """One value from the list `{0}`: "the `noun` of the numbers"; `empty` is its value for an empty list."""

    name: str
    noun: str
    expr: str
    empty: str
    imports: str = ""


PREDICATES = (
    Predicate("even", "even", "{0} % 2 == 0"),
    Predicate("odd", "odd", "{0} % 2 == 1"),
    Predicate("positive", "positive", "{0} > 0"),
    Predicate("negative", "negative", "{0} < 0"),
    Predicate("over_5", "greater than 5", "{0} > 5"),
    Predicate("over_10", "greater than 10", "{0} > 10"),
    Predicate("below_3", "less than 3", "{0} < 3"),
    Predicate("at_most_8", "at most 8", "{0} <= 8"),
    Predicate("divisible_by_3", "divisible by 3", "{0} % 3 == 0"),
    Predicate("divisible_by_5", "divisible by 5", "{0} % 5 == 0"),
    Predicate("from_1_to_10", "between 1 and 10 (inclusive)", "1 <= {0} <= 10"),
)
TRANSFORMS = (
    Transform("double", "doubled", "{0} * 2"),
    Transform("triple", "tripled", "{0} * 3"),
    Transform("square", "squared", "{0} ** 2"),
    Transform("negate", "negated", "-{0}"),
    Transform("add_10", "increased by 10", "{0} + 10"),
    Transform("halve", "divided by 2 (as a float)", "{0} / 2"),
    Transform("stringify", "turned into a string", "str({0})"),
)
AGGREGATES = (
    Aggregate("sum", "sum", "sum({0})", "0"),
    Aggregate("count", "count", "len({0})", "0"),
    Aggregate("product", "product", "math.prod({0})", "1", "import math"),
    Aggregate("largest", "largest", "max({0}, default=None)", "None"),
    Aggregate("smallest", "smallest", "min({0}, default=None)", "None"),
    Aggregate("average", "average", "sum({0}) / len({0}) if {0} else 0", "0"),
)
# Operations on the two numbers of a pair, as "the `done` of the pair".
PAIRINGS = (
    Transform("add", "sum", "{0} + {1}"),
    Transform("subtract", "difference (first minus second)", "{0} - {1}"),
    Transform("larger", "larger number", "max({0}, {1})"),
    Transform("smaller", "smaller number", "min({0}, {1})"),
    Transform("distance", "absolute difference", "abs({0} - {1})"),
    Transform("average", "average", "({0} + {1}) / 2"),
)


Inputs = tuple[tuple[Any, ...], ...]


def code(*lines: str) -> str:
    """A function body of these lines."""
    return "\n".join(f"    {line}" for line in lines)


def calls(*arguments: Any) -> Inputs:
    """Inputs for a function of one argument, a call for each of these."""
    return tuple((argument,) for argument in arguments)


# Every predicate draws its line between members of these lists; the lists differ in which end the largest and smallest are at.
NUMBERS = calls(
    [],
    [5, 1, -1, 5, 5, 2, -6, 0, 4],
    [10, 9, 30, 6, 5, 8, 12, 12, 12],
    [14, 25, -10, 11, 3, 6, -9],
    [2, 7, 4, 9, 3, 5],
    [-4, 15, 18, 33, 33, 20, 12, 33, 33, 18],
)
