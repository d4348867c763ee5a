"""From the assistant's feedback file to weights: prepared and trained on, the good answers are learned, what was rejected never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.config import TrainRecipe, load_recipe, validate
from codetune.data import basics
from codetune.data.prepared.make import prepare
from codetune.data.prepared.read import files_of, read_file
from codetune.data.training import documents_of, training_data
from codetune.data_recipe import DataRecipe
from codetune.models.load import load_tokenizer
from codetune.records import AssertTest, Document
from codetune.train.finetune import finetune

WRONG, RIGHT = "def area(a, b):\n    return a + b\n", "def area(a, b):\n    return a * b\n"
SECRET = "sk-proj-" + "Ab3dE5gH7jK9mN1pQ3sT5vW7xY9zB2cD4fG6hJ8k"
TEST = "assert area(2, 3) == 6"


def judged(number: int, answer: str | None, rejected: str = "", before: tuple[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A row as the server writes it."""
    turns = [*(before or ()), f"Write the function number {number}, please.", *([answer] if answer else [])]
    messages = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
    bad = [{"content": rejected, "model": "base", "why": "rated down"}] if rejected else []
    return {"id": f"answer-{number}", "kind": "rating", "conversation": f"talk-{number}", "messages": messages, "rejected": bad, **more}


def code(number: int, sign: str = "+") -> str:
    return f"def number_{number}(value, other):\n    total = value * {number} {sign} other\n    return total - {number * 7}\n"


ROWS = [
    *(judged(number, f"```python\n{code(number)}```") for number in range(6)),
    judged(6, code(6), rejected=code(6, "-")),
    judged(7, None, rejected=code(7, "-")),
    judged(8, code(8), before=("Begin.", code(80, "-")), after_rejected=True),
    judged(9, code(9), before=("How many?", "Nine of them.")),
    judged(10, f"{code(10)}KEY = '{SECRET}'\n"),
    {
        "id": "mend-1", "kind": "mend", "messages": [{"role": "user", "content": "Mend it."}, {"role": "assistant", "content": RIGHT}],
        "instruction": "Mend this program.", "input": WRONG, "entry_point": "area", "tests": [TEST],
        "rejected": [{"content": WRONG, "model": None, "why": "5 is not 6"}],
    },
]  # fmt: skip
LEARNED = (0, 1, 2, 3, 4, 5, 6, 9, 10)


@pytest.fixture
def feedback(tmp_path: Path) -> Path:
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def answers_of(documents: list[Document]) -> list[str]:
    return [text for one in documents for text in ([one.text] if one.text else [m.content for m in one.messages if m.role == "assistant"])]


def prepared_in(folder: Path) -> list[Document]:
    return [one for split in ("train", "validation") for file in files_of(folder, split) for one in read_file(file)]


def test_prepared_it_is_clean_keeps_tests_and_holds_nothing_that_was_rejected(feedback: Path, tmp_path: Path) -> None:
    source = {"source": "feedback", "path": str(feedback)}
    tree = {"name": "f", "sources": [source], "out": tmp_path / "out", "decontaminate": {"against": ["basics-known"]}}
    manifest = prepare(DataRecipe.model_validate(tree))
    documents = prepared_in(tmp_path / "out")
    assert manifest["sources"][0]["left_out"] == {"no good answer": 1, "an earlier answer of the conversation was rejected": 1}
    assert len(documents) == len(LEARNED) + 1
    mended = next(one for one in documents if one.tests)
    assert (mended.kind, mended.text, mended.tests, mended.entry_point) == ("pair", RIGHT, (AssertTest(TEST),), "area")
    learned = "\n".join(answers_of(documents))
    assert all(f"def number_{number}(" in learned for number in LEARNED)
    for bad in (code(6, "-"), code(7, "-"), code(80, "-"), "number_8", WRONG):
        assert bad not in learned
    assert SECRET not in "".join(one.whole for one in documents)
    assert SECRET in feedback.read_text()


def test_what_overlaps_a_benchmark_is_left_out_of_feedback_too(tmp_path: Path) -> None:
    """Someone asked the assistant a benchmark's question, and liked the answer."""
    leak = basics.load("known")[0]
    path = tmp_path / "feedback.jsonl"
    row = judged(1, leak.reference)
    row["messages"][0]["content"] = leak.instruction
    path.write_text(json.dumps(row) + "\n" + json.dumps(judged(2, code(2))) + "\n")
    tree = {"name": "f", "sources": [{"source": str(path)}], "out": tmp_path / "out", "decontaminate": {"against": ["basics-known"]}}
    (source,) = prepare(DataRecipe.model_validate(tree))["sources"]
    assert (source["documents"], source["left_out"]) == (1, {"overlaps a benchmark": 1})


def test_a_training_counts_the_good_answers_and_nothing_else(feedback: Path, tmp_path: Path) -> None:
    """One epoch on the file itself, on the shipped base, all turns of the assistant in the loss: good ones, to the last token."""
    recipe = validate(
        {
            "name": "f", "model": "codetune-base",
            "data": {"source": str(feedback), "prompt_style": "instruction", "loss_on": "assistant", "validation_examples": 0},
            "method": {"name": "lora"}, "train": {"epochs": 1, "batch_tokens": 256, "max_seq_len": 256, "precision": "fp32"},
        },
        TrainRecipe, "recipe",
    )  # fmt: skip
    summary = finetune(recipe, tmp_path / "run")
    tokenizer = load_tokenizer("codetune-base")
    good = [*(answer for number in LEARNED for answer in [ROWS[number]["messages"][-1]["content"]]), RIGHT]
    assert summary["supervised_tokens"] == sum(len(tokenizer.encode_continuation(answer)) + 1 for answer in [*good, "Nine of them."])
    assert summary["checks"]["unmoved_trainable_tensors"] == 0


def test_the_shipped_recipes_go_from_the_file_to_a_training(feedback: Path, tmp_path: Path) -> None:
    data = load_recipe(Path("recipes/data/feedback.yaml"), DataRecipe, [f"path={feedback}", f"out={tmp_path / 'out'}"])
    prepare(data)
    recipe = load_recipe(Path("recipes/train-from-feedback.yaml"), TrainRecipe, [f"data.source={tmp_path / 'out'}"])
    learned = training_data(recipe.data)
    held_out = {one.id for shard in learned.validation for one in documents_of(shard)}
    assert len(held_out) == 1
    assert {one.id for one in learned.documents()} | held_out == {*(f"answer-{number}" for number in LEARNED), "mend-1"}
