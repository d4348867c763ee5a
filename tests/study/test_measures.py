"""What follows from a cell's measured records, at points computed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from codetune.study.measures import (
    CellMeasures,
    Spread,
    changes,
    first_at,
    money,
    numbers,
    of_the_machine,
    read_measures,
    spreads,
    time_to_quality,
    with_parts,
)

CURVE = [
    {"step": 1, "tokens": 100, "seconds": 1.0, "loss": 3.0},
    {"step": 2, "tokens": 200, "seconds": 2.0, "loss": 2.0, "val_loss": 2.0},
    {"step": 4, "tokens": 400, "seconds": 4.5, "loss": 1.5, "val_loss": 1.009},
    {"step": 6, "tokens": 600, "seconds": 7.0, "loss": 1.0, "val_loss": 1.0},
    {"step": 8, "tokens": 800, "seconds": 9.0, "loss": 0.5, "val_loss": 1.2},
]


def test_every_measure_has_its_line_in_the_docs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
    missing = [each.name for each in dataclasses.fields(CellMeasures) if f"| `{each.name}` |" not in page]
    assert not missing
    for name in ("energy_j", "time_to_common_loss_s", "time_to_common_loss_tokens", "pass_rate", "codebleu_dataflow", "loads"):
        assert f"`{name}`" in page


def test_time_to_quality_is_to_within_one_percent_of_the_best() -> None:
    reached = time_to_quality(CURVE)
    assert reached is not None
    assert (reached.step, reached.tokens, reached.seconds) == (4, 400, 4.5)  # 1.009 <= 1.0 x 1.01
    exact = time_to_quality(CURVE, within=0.0)
    assert exact is not None
    assert exact.step == 6
    assert time_to_quality(CURVE[:1]) is None  # no validation


def test_time_to_a_named_loss() -> None:
    assert [reached and reached.step for reached in (first_at(CURVE, loss) for loss in (2.5, 2.0, 1.1, 0.9))] == [2, 2, 4, None]


def test_money_is_training_and_evaluation_by_the_hour() -> None:
    assert money(1800, 3.0) == 1.5
    result = {"train": {"seconds": 2700.0}, "measures": {"evaluation_s": 900.0, "of_a_newer_writer": 1}}
    assert (read_measures(result, 4.0, "EUR").cost, read_measures(result, 4.0, "EUR").currency) == (4.0, "EUR")
    assert read_measures(result, None, "EUR").cost is None
    assert read_measures({"train": None, "measures": {"evaluation_s": 360.0}}, 4.0, "EUR").cost == pytest.approx(0.4)  # the base
    assert read_measures({"train": {"seconds": 1.0}}, 4.0, "EUR").cost is None  # of a result without measures


def test_numbers_are_flat_and_energy_is_summed() -> None:
    one = CellMeasures(held_out_loss=1.0, forgetting={"old": {"loss": 2.0, "score": 0.5}}, training_energy_j=5.0, generation_energy_j=2.0)
    found = numbers(one)
    assert found == {
        "held_out_loss": 1.0, "forgetting:old:loss": 2.0, "forgetting:old:score": 0.5, "training_energy_j": 5.0, "generation_energy_j": 2.0,
        "energy_j": 7.0,
    }  # fmt: skip
    assert "energy_j" not in numbers(CellMeasures())
    assert [name for name in found if of_the_machine(name)] == ["training_energy_j", "generation_energy_j", "energy_j"]
    assert not of_the_machine("time_to_quality_tokens")


def test_rows_have_mean_and_range_and_what_was_forgotten() -> None:
    base = spreads([CellMeasures(forgetting={"old": {"loss": 2.0, "score": 0.5, "problems": 9}})])
    tuned = spreads([CellMeasures(held_out_loss=loss, forgetting={"old": {"loss": loss, "problems": 9}}) for loss in (3.0, 5.0)])
    assert tuned["held_out_loss"] == Spread(4.0, 3.0, 5.0)
    assert changes(tuned, base) == {"forgetting:old:loss_change": Spread(2.0, 1.0, 3.0)}


def test_scores_have_their_parts_and_pass_rate_is_over_samples() -> None:
    parts = {"codebleu": {"total": 0.5, "ngram": 0.1, "weighted_ngram": 0.2, "syntax": 0.3, "dataflow": None, "signature": "s"}}
    verdicts = {"passed": 3, "wrong_answer": 1, "infrastructure": 4}
    found = with_parts({"metrics": {"codebleu": 0.5}, "codebleu_parts": parts, "signatures": {"codebleu": "how"}, "verdicts": verdicts,
                        "pass_at_k": {"1": 0.6}})  # fmt: skip
    assert found["metrics"] == {"codebleu": 0.5, "codebleu_ngram": 0.1, "codebleu_weighted_ngram": 0.2, "codebleu_syntax": 0.3,
                                "pass_rate": 0.75}  # fmt: skip
    assert found["signatures"].keys() == found["metrics"].keys()
    loads = with_parts({"loads": {"loads": 0.9, "loads_ceiling": 0.92, "doctests": None}, "verdicts": {"passed": 9, "exception": 1}})
    assert loads["metrics"] == {"loads": 0.9}  # that a definition executes is no pass
    assert "0.92" in loads["signatures"]["loads"]
