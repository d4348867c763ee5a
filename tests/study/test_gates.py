"""Validity gates: each holds on good measurements, fails on bad ones at its level, and is absent where nothing was measured."""

import dataclasses
import json
import math

import pytest

from codetune.records import to_json
from codetune.study import gates
from codetune.study.gates import GenerationMeasurements, Lead, OverlapMeasurements, QualityMeasurements, TrainingMeasurements

GOOD_TRAINING = TrainingMeasurements(
    trainable_tensors=20, unmoved_trainable_tensors=0, frozen_tensors=50, moved_frozen_tensors=0, losses=100, non_finite_losses=0,
    reload_difference=0.0, saved_files_differ=0, merge_difference=1e-6, adapter_effect=0.3, eos_label_share=1.0,
)  # fmt: skip
GOOD_QUALITY = QualityMeasurements(
    "basics-known", eos_share=0.99, empty_share=0.0, length_ratio=1.0, syntax_valid=0.98, bleu=0.6, codebleu=0.7
)


def by_kind(found):
    return {gate.kind: gate for gate in found}


def test_good_measurements_pass_every_gate():
    found = [
        *gates.training_gates(GOOD_TRAINING), *gates.quality_gates(GOOD_QUALITY),
        *gates.generation_gates(GenerationMeasurements(8, 0)), gates.better_than_base("basics-known", Lead(0.77, 0.7, 0.8)),
        gates.overlap_gate(OverlapMeasurements("basics-known", 300, 0), 0.0, False),
    ]  # fmt: skip
    assert {gate.level for gate in found} == {"ok"}
    assert {gate.kind for gate in found} == {*gates.TRAINING_GATES, *gates.GENERATION_GATES, *gates.DATA_GATES, *gates.QUALITY_GATES}
    assert gates.is_valid(found)


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("trained_tensors_moved", {"unmoved_trainable_tensors": 1}),
        ("frozen_tensors_kept", {"moved_frozen_tensors": 2}),
        ("finite_loss", {"non_finite_losses": 1}),
        ("reload", {"reload_difference": 1e-3}),
        ("reload", {"reload_difference": math.nan}),
        ("saved_files", {"saved_files_differ": 1}),
        ("merge", {"merge_difference": 0.01}),
        ("adapter_effect", {"adapter_effect": 0.0}),
        ("eos_labels", {"eos_label_share": 0.98}),
    ],
)
def test_a_broken_pipeline_is_invalid_and_only_that_gate_fails(gate, change):
    found = gates.training_gates(dataclasses.replace(GOOD_TRAINING, **change))
    assert [g.kind for g in found if g.level != "ok"] == [gate]
    assert not gates.is_valid(found)
    assert by_kind(found)[gate].message


@pytest.mark.parametrize(
    ("gate", "change"),
    [
        ("eos_finish", {"eos_share": 0.2}),
        ("empty_completions", {"empty_share": 0.3}),
        ("length_ratio", {"length_ratio": 3.0}),
        ("length_ratio", {"length_ratio": 0.1}),
        ("syntax_valid", {"syntax_valid": 0.2}),
        ("codebleu_without_bleu", {"bleu": 0.0004, "codebleu": 0.25}),
    ],
)
def test_a_suspicious_result_is_a_warning_and_stays_valid(gate, change):
    found = gates.quality_gates(dataclasses.replace(GOOD_QUALITY, **change))
    assert [(g.kind, g.level) for g in found if g.level != "ok"] == [(gate, "warning")]
    assert gates.is_valid(found)


def test_thresholds_themselves_pass():
    edge = dataclasses.replace(GOOD_TRAINING, eos_label_share=0.99, merge_difference=gates.MERGE_TOLERANCE)
    assert gates.is_valid(gates.training_gates(edge))
    assert all(g.level == "ok" for g in gates.quality_gates(dataclasses.replace(GOOD_QUALITY, length_ratio=2.0, empty_share=0.05)))


def test_what_was_not_measured_has_no_gate():
    assert gates.training_gates(TrainingMeasurements()) == []
    assert gates.quality_gates(QualityMeasurements("b")) == []


def test_a_low_codebleu_beside_a_low_bleu_is_no_contradiction():
    found = by_kind(gates.quality_gates(dataclasses.replace(GOOD_QUALITY, bleu=0.0, codebleu=0.05)))
    assert found["codebleu_without_bleu"].level == "ok"


@pytest.mark.parametrize(("precision", "level"), [("fp32", "invalid"), ("bf16", "warning")])
def test_batch_dependence_is_an_error_only_where_rounding_cannot_cause_it(precision, level):
    (found,) = gates.generation_gates(GenerationMeasurements(8, 1, precision))
    assert found.level == level
    assert "1 of 8" in found.message


def test_messages_give_the_value_and_names_give_the_benchmark():
    found = by_kind(gates.quality_gates(dataclasses.replace(GOOD_QUALITY, empty_share=0.305)))
    assert found["empty_completions"].name == "basics-known:empty_completions"
    assert found["empty_completions"].benchmark == "basics-known"
    assert "30.5%" in found["empty_completions"].message


@pytest.mark.parametrize(
    ("lead", "level", "says"),
    [
        (Lead(0.01), "ok", ""),
        (Lead(0.0), "warning", "no better than the base model (difference +0.0%)"),
        (Lead(0.03, 0.01, 0.05), "ok", ""),
        (Lead(0.01, -0.01, 0.03), "warning", "cannot be told apart from the base model (difference +1.0%, 95% interval -1.0% to +3.0%)"),
        (Lead(-0.01, -0.03, 0.01), "warning", "cannot be told apart from the base model (difference -1.0%, 95% interval -3.0% to +1.0%)"),
        (Lead(-0.04, -0.06, -0.02), "warning", "worse than the base model (difference -4.0%, 95% interval -6.0% to -2.0%)"),
    ],
)
def test_a_row_that_is_not_shown_to_be_better_than_its_base_is_a_warning(lead, level, says):
    gate = gates.better_than_base("basics-known", lead)
    assert (gate.name, gate.level, gate.message) == ("basics-known:better_than_base", level, says)


def test_gates_are_plain_json_even_for_nan():
    rows = to_json(gates.training_gates(dataclasses.replace(GOOD_TRAINING, reload_difference=math.nan, adapter_effect=math.inf)))
    text = json.dumps(rows, allow_nan=False)
    assert {"name", "level", "value", "threshold", "message"} == set(json.loads(text)[0])


@pytest.mark.parametrize(
    ("overlapping", "max_overlap", "anyway", "level"),
    [(0, 0.0, False, "ok"), (1, 0.0, False, "invalid"), (1, 0.0, True, "warning"), (3, 0.03, False, "ok"), (4, 0.03, False, "invalid")],
)
def test_a_score_whose_test_is_in_the_training_data_is_invalid_or_marked(overlapping, max_overlap, anyway, level):
    gate = gates.overlap_gate(OverlapMeasurements("humaneval", 100, overlapping), max_overlap, anyway)
    assert (gate.name, gate.level, gate.value) == ("humaneval:train_test_overlap", level, overlapping / 100)
    said = f"{overlapping} of 100 problems overlap the training data"
    assert gate.message == {"ok": "", "invalid": said, "warning": f"{said}, published anyway"}[level]
