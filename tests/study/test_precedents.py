"""Published scores as evidence of a recommendation: found by the names of recipes, and left out where a gate of ours would strike them."""

from __future__ import annotations

from codetune.study.precedents import names_printed, precedents


def test_printed_names_are_those_of_the_recipes() -> None:
    names = names_printed()
    assert names["conala", "GPT-2 124M"] == "gpt2"
    assert names["conala", "Mistral-7B"] == "mistral-7b"


def test_rows_that_our_gates_would_strike_are_marked_with_the_cause() -> None:
    found, notes = precedents("mistral-7b", lambda name: False)
    assert [(one.method, one.metric, one.same_model) for one in found] == [("full", "bleu", True)]
    assert "CodeBLEU 0.25 beside a BLEU of 0.00019" in found[0].invalid
    assert any("not known: BLEU and CodeBLEU of all other rows" in note for note in notes)


def test_models_as_large_are_asked_too_and_figures_of_unknown_rows_never() -> None:
    own, _ = precedents("a model of my own", lambda name: name == "gpt2")
    assert {(one.model, one.method, one.same_model) for one in own} == {("GPT-2 124M", "prefix_tuning", False)}
    assert all(one.invalid for one in own)
    assert precedents("a model of my own", lambda name: False) == ([], [])
