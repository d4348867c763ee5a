"""What docs/studies/audit.md says, recomputed: a figure of it that no longer comes out fails here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.audit import NAMES
from bench.audit_claims import CLAIMS, ROWS, Finding
from codetune.data.sources.locate import data_folder

PAGE = Path(__file__).resolve().parents[2] / "docs/studies/audit.md"


def found(name: str, *files: str) -> Finding:
    folder = data_folder()
    for file in files:
        if folder is None or not (folder / file).exists():
            pytest.skip(f"{file} is not there: CODETUNE_DATA names the folder of data sets")
    return CLAIMS[name]()


def test_every_claim_of_the_page_has_its_command_and_every_command_its_claim() -> None:
    text = PAGE.read_text()
    assert tuple(CLAIMS) == NAMES
    assert [name for name in CLAIMS if f"python -m bench audit {name}`" not in text] == []


def test_shares_come_out_as_printed_but_for_two() -> None:
    finding = found("shares")
    wrong = [line for line in finding.lines if "NOT as printed" in line]
    assert [line.split()[:3] for line in wrong] == [["GPT-2", "124M", "lora"], ["GPT-2", "355M", "lora"]]
    assert finding.numbers["GPT-2 124M c_attn"] == pytest.approx(0.00472, abs=5e-6)
    assert finding.numbers["GPT-2 355M lora"] == pytest.approx(0.01742, abs=5e-6)


def test_peft_drops_positions_and_rows_here_do_not() -> None:
    numbers = found("positions").numbers
    assert numbers["packed"] > 0.3
    assert numbers["padded"] > 0.3
    assert numbers["exact"] < 1e-12


def test_one_set_of_answers_has_three_bleus() -> None:
    assert list(found("tokenisers").numbers.values()) == pytest.approx([87.914163, 86.5868, 40.4553], abs=1e-4)


def test_the_ends_of_what_is_printed_of_one_model() -> None:
    numbers = found("spans").numbers
    assert numbers["humaneval low"] == pytest.approx(0.360, abs=5e-4)
    assert numbers["humaneval low"] > numbers["humaneval high"] == pytest.approx(0.307, abs=5e-4)
    assert numbers["mbpp low"] < numbers["mbpp high"]


def test_an_empty_completion_by_the_packages_rule() -> None:
    assert found("empties", "conala/conala-test.json").numbers == {"flowless": 268, "problems": 500, "average": pytest.approx(0.134)}


def test_what_humaneval_and_mbpp_are() -> None:
    wanted = {"humaneval": 164, "humaneval tested": 164, "mbpp": 974, "mbpp tested": 974}
    assert found("assessors", "humaneval/HumanEval.jsonl.gz", "mbpp/mbpp.jsonl").numbers == wanted


def test_what_references_of_codexglue_reach() -> None:
    wanted = {"references": 100, "parse": 98, "execute": 92, "methods": 57, "doctests": 2, "stand alone": 6}
    assert found("syntax", ROWS).numbers == wanted


def test_the_command_prints_a_claim_and_refuses_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "tokenisers"]) == 0
    assert "BLEU  87.9142" in capsys.readouterr().out
    assert main(["audit", "tokenizers"]) == 2
    assert "did you mean 'tokenisers'?" in capsys.readouterr().err
