"""`bench mend`: the mistakes are mistakes, both sides are given the same tries, and the table says what happened."""

from __future__ import annotations

import ast

import pytest

from bench import mend as bench_mend
from bench.__main__ import main
from bench.broken import broken
from codetune.config import DecodingConfig
from codetune.data import basics
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask
from codetune.records import Verdict
from codetune.sandbox import Sandbox


def test_mending_and_asking_anew_have_the_same_tries() -> None:
    problems = basics.load("known")[:12]
    with Sandbox(workers=2) as sandbox:
        failing = broken(problems, 5, 0, sandbox)
        assert failing == broken(problems, 5, 0, sandbox)
        assert [program for program, _ in broken(problems, 5, 1, sandbox)] != [program for program, _ in failing]
        assert len({problem.task_id for _, problem in failing}) == 5
        assert {one.verdict for one in sandbox.check(failing)} <= {Verdict.WRONG_ANSWER, Verdict.EXCEPTION}
        for program, problem in failing:
            assert ast.dump(ast.parse(program)) != ast.dump(ast.parse(problem.reference))
        right = {problem.instruction: problem.reference for _, problem in failing}

        def answer(ask: Ask, index: int) -> str:
            """Right where a mistake is shown, and from the third try on where the problem alone is; the last one never."""
            asked = ask.messages[0].content
            instruction = next(each for each in right if asked.startswith(each))
            if instruction == list(right)[-1] or (asked == instruction and ask.decoding.seed < 2):
                return "no idea"
            return right[instruction]

        cases = bench_mend.measure(failing, FakeLiveEngine(answer), "fake", DecodingConfig(), 3, sandbox)
    assert [(case.mended, case.resampled) for case in cases] == [(1, 3)] * 4 + [(0, 0)]
    lines = bench_mend.report(cases, 3).splitlines()
    assert lines[1].split() == ["1", "4/5", "(38", "to", "96%)", "0/5", "(0", "to", "43%)"]
    assert lines[3].split()[1::4] == ["4/5", "4/5"]
    assert lines[-1] == "mended alone: 0; asked anew alone: 0; both: 4"


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mend", "--rounds", "0"]) == 2
    assert "--rounds 0: at least 1 each" in capsys.readouterr().err
