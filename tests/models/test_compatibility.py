"""What was found by probing is what probing finds, and what does not work is refused before weights are loaded."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from codetune.config import TrainRecipe, validate
from codetune.errors import UserError
from codetune.models.compatibility import FEATURES, asked_of, refusal, table, tried
from codetune.models.names import SHIPPED
from codetune.probe.forms import FORMS
from codetune.probe.probes import PROBES, begin, row_of
from codetune.probe.subject import METHODS
from codetune.train.subject import settle_method

PAIRS = [(form, method) for form in FORMS for method in METHODS]
ASKED_IN_TRAINING = {
    "packing": ({}, 1), "padding": ({"packing": "padded"}, 1),
    "checkpointing": ({"activation_checkpointing": True, "packing": "padded"}, 1),
    "ddp": ({"packing": "padded"}, 2), "fsdp": ({"parallel": "fsdp", "packing": "padded"}, 2),
}  # fmt: skip
DOES_NOT = [
    (form, method, feature, reason)
    for form, rows in table().items()
    for method, row in rows.items()
    for feature, reason in row.items()
    if reason and (feature == "refused" or feature in ASKED_IN_TRAINING)
]


def without_weights(form: str, folder: Path) -> Path:
    """A model's folder with everything but its weights."""
    FORMS[form].config(16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(SHIPPED["codetune-base"] / name, folder / name)
    return folder


def recipe_of(folder: Path, method: str, **train: Any) -> TrainRecipe:
    return validate({"name": "a", "model": str(folder), "data": {"source": "basics"}, "method": method, "train": train}, TrainRecipe, "a")


@pytest.mark.parametrize(("form", "method", "feature", "reason"), DOES_NOT, ids=lambda value: str(value)[:30])
def test_what_does_not_work_is_refused_before_loading(form: str, method: str, feature: str, reason: str, tmp_path: Path) -> None:
    settings, processes = ASKED_IN_TRAINING.get(feature, ({"packing": "padded"}, 1))
    with pytest.raises(UserError) as caught:
        settle_method(recipe_of(without_weights(form, tmp_path), method, **settings), processes)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_reason_is_a_line() -> None:
    """Words, not what a library raised."""
    reasons = {reason for rows in table().values() for row in rows.values() for reason in row.values() if reason}
    assert reasons
    for reason in reasons:
        assert "\n" not in reason
        assert "Error:" not in reason, reason


def test_the_table_is_whole() -> None:
    assert table().keys() == FORMS.keys()
    assert FEATURES.keys() == {*PROBES, "ddp", "fsdp"}
    for rows in table().values():
        assert rows.keys() == METHODS.keys()
        assert all(row.keys() in ({"refused"}, FEATURES.keys()) for row in rows.values())


def test_what_works_is_let_through(tmp_path: Path) -> None:
    recipe = recipe_of(without_weights("llama", tmp_path), "prefix_tuning", activation_checkpointing=True)
    assert settle_method(recipe) == recipe
    config = FORMS["llama"].config(16)
    assert refusal(config, "lora", asked_of(METHODS["lora"], recipe.train, 2)) == ""


def test_a_family_that_was_not_tried_is_not_refused() -> None:
    config = FORMS["llama"].config(16)
    config.model_type = "llama9"
    assert not tried(config)
    assert refusal(config, "bitfit", ("packing",)) == ""
    assert tried(FORMS["falcon-40b"].config(16))


def _sampled(pair: tuple[str, str]) -> bool:
    """One pair in twelve, the same in every run."""
    return hashlib.sha256("/".join(pair).encode()).digest()[0] % 12 == 0


@pytest.mark.parametrize(("form", "method"), [pair for pair in PAIRS if _sampled(pair)])
def test_probing_finds_what_the_table_says(form: str, method: str) -> None:
    begin()
    found = row_of((form, method))
    assert found == {feature: reason for feature, reason in table()[form][method].items() if feature in found}


@pytest.mark.slow
def test_probing_finds_all_that_the_table_says() -> None:
    begin()
    for form, method in PAIRS:
        found = row_of((form, method))
        assert found == {feature: reason for feature, reason in table()[form][method].items() if feature in found}, (form, method)
