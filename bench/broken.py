"""References with one mistake in each: what `bench mend` has mended."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from codetune.records import Problem, Verdict
from codetune.score.execution import Checker

_TRIES = 4  # mistakes that are tried for each problem
_TIMEOUT_S = 1.0
_WRONG = (Verdict.WRONG_ANSWER, Verdict.EXCEPTION)  # a loop without end costs its whole time in every round
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv,
}  # fmt: skip


def broken(problems: Sequence[Problem], count: int, seed: int, checker: Checker) -> list[tuple[str, Problem]]:
    """At most `count` programs that fail their problem's tests by one mistake, one for each problem, drawn with `seed`."""
    rng = random.Random(seed)
    drawn = list(problems)
    rng.shuffle(drawn)
    found: list[tuple[str, Problem]] = []
    for problem in drawn:
        if len(found) == count:
            break
        hurried = replace(problem, timeout_s=_TIMEOUT_S)
        jobs = [(program, hurried) for program in _mistakes(problem.reference_program, rng)]
        failing = [job for job, result in zip(jobs, checker.check(jobs), strict=True) if result.verdict in _WRONG]
        found += failing[:1]
    return found


def _mistakes(program: str, rng: random.Random) -> Iterator[str]:
    places = list(range(sum(1 for _ in ast.walk(ast.parse(program)))))
    rng.shuffle(places)
    made = 0
    for place in places:
        tree = ast.parse(program)
        if made < _TRIES and _spoil(list(ast.walk(tree))[place], rng):
            made += 1
            yield ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _spoil(node: ast.AST, rng: random.Random) -> bool:
    """One mistake in the node, if it has room for one: another comparison or operator, a number off by one, a statement left out."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            node.ops = [_COMPARE[type(op)]()]
        case ast.BinOp(op=op) if type(op) in _OPERATE:
            node.op = _OPERATE[type(op)]()
        case ast.BoolOp(op=op):
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            node.value = value + rng.choice((-1, 1))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), operand)
        case ast.For(body=[_, _, *_]) | ast.If(body=[_, _, *_]) | ast.While(body=[_, _, *_]):
            del node.body[rng.randrange(len(node.body))]
        case _:
            return False
    return True
