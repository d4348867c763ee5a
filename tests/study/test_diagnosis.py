"""Each known cause, planted by what brings it about in real runs, is what the diagnosis names first; a healthy run has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from codetune.cli.main import run
from codetune.config import StudyRecipe, TrainRecipe, validate
from codetune.generate import lane
from codetune.methods import Adapted
from codetune.records import Json
from codetune.runs import read_json, read_rows, write_json
from codetune.study import diagnosis as rules
from codetune.study import gates
from codetune.study.cell_evidence import CAUSES, CellEvidence, Diagnosis
from codetune.study.diagnosis import RULES, diagnose
from codetune.study.gates import QualityMeasurements, TrainingMeasurements, quality_gates, training_gates
from codetune.study.plan import CellConfig, plan_cells
from codetune.study.run import run_cell
from codetune.train import finetune as training
from codetune.train.finetune import finetune
from tests.cli.conftest import tiny_model  # noqa: F401  # fixture

WORDS = ("red", "green", "blue", "white", "black", "grey", "pink", "gold")
LONG = "green, and of the colours that are named here it is one that grows on trees and in the grass of the fields"
BUDGET = {"train_tokens": 1600, "batch_tokens": 160, "max_seq_len": 64, "micro_batch_size": 8, "validations": 2, "keep": "last"}
FULL, LORA = {"name": "full", "learning_rate": 3e-3}, {"name": "lora", "learning_rate": 1e-2}
PROMPT = {"name": "prompt_tuning", "learning_rate": 1e-2, "num_virtual_tokens": 8}


def problem(word: str, answer: int = 1) -> Json:
    code = f"def f():\n    return {answer}\n"
    return {"task_id": word, "instruction": f"Return one, {word}.", "reference": code, "tests": [f"assert f() == {answer}"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems to train on and two to be asked, so short that a tiny model learns to answer them in a second."""
    folder = tmp_path_factory.mktemp("data")
    before = [problem(word, 2) for word in (*WORDS, LONG)]
    train, test = [problem(word) for word in WORDS[2:]], [problem(WORDS[0]), problem(LONG)]
    for name, rows in {"before": before, "train": train, "test": test}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(model: Path, file: Path, method: Json, **train: Any) -> TrainRecipe:
    data = {"source": str(file), "validation_examples": 2}
    tree = {"name": "planted", "model": str(model), "data": data, "method": method, "train": BUDGET | train}
    return TrainRecipe.model_validate(tree)


@pytest.fixture(scope="module")
def base(files: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A tiny model that has learned to answer, and to stop, but with another answer: so it has something to lose."""
    folder = tmp_path_factory.mktemp("before")
    finetune(recipe(tiny_model, files / "before.jsonl", FULL | {"learning_rate": 5e-3}, train_tokens=12000, batch_tokens=200), folder)
    return folder / "adapter"


@pytest.fixture
def trained(files: Path, base: Path, tmp_path: Path) -> Callable[..., list[Diagnosis]]:
    """A run of the real training, and what its evidence points to."""

    def go(method: Json, **train: Any) -> list[Diagnosis]:
        folder = tmp_path / "run"
        summary = finetune(recipe(base, files / "train.jsonl", method, **train), folder, warn=lambda message: None)
        gates = training_gates(TrainingMeasurements.of(summary["checks"]))
        return diagnose(CellEvidence(gates, summary, list(read_rows(folder / "metrics.jsonl"))))

    return go


def causes(found: list[Diagnosis]) -> list[str]:
    assert all(each.evidence and each.remedy for each in found)
    return [each.cause for each in found]


@pytest.mark.parametrize("method", [FULL, LORA, PROMPT, {"name": "prefix_tuning"}], ids=lambda m: m["name"])
def test_a_run_with_settings_that_work_has_no_diagnosis(method: Json, trained: Callable[..., list[Diagnosis]]) -> None:
    assert trained(method) == []


@pytest.mark.parametrize("method", [FULL, LORA], ids=lambda m: m["name"])
def test_a_learning_rate_a_thousand_times_too_high(method: Json, trained: Callable[..., list[Diagnosis]]) -> None:
    found = trained(method | {"learning_rate": 1000 * method["learning_rate"]})
    assert causes(found)[0] == "learning_rate_too_high"


@pytest.mark.parametrize("method", [FULL, LORA, PROMPT], ids=lambda m: m["name"])
def test_a_learning_rate_ten_thousand_times_too_low(method: Json, trained: Callable[..., list[Diagnosis]]) -> None:
    found = trained(method | {"learning_rate": 1e-4 * method["learning_rate"]})
    assert causes(found)[0] == "learning_rate_too_low"
    assert f"learning rate {1e-4 * method['learning_rate']:g}" in found[0].evidence


def test_a_soft_prompt_that_starts_from_a_normal_distribution(
    trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapt = training.adapt

    def at_random(*arguments: Any) -> Any:
        adapted = adapt(*arguments)
        torch.nn.init.normal_(next(iter(adapted.trained().values())))
        return adapted

    monkeypatch.setattr(training, "adapt", at_random)
    found = trained(PROMPT | {"learning_rate": 5e-5})
    assert causes(found)[0] == "initialisation"
    assert "times as large as the model's embeddings" in found[0].evidence


def test_an_eos_that_is_masked_because_it_is_the_padding(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = training.prepare

    def masked(*arguments: Any) -> Any:
        material = prepare(*arguments)
        seen = material.examples.supervised & (material.examples.ids != 0)  # by the token, as collators do
        return replace(material, examples=replace(material.examples, supervised=seen))

    monkeypatch.setattr(training, "prepare", masked)
    (found,) = trained(FULL)
    assert (found.cause, found.grade) == ("eos", "certain")
    assert "0.0% of the examples" in found.evidence
    assert "pad = eos" in found.remedy


def test_an_eos_that_is_not_there(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = training.prepare

    def without(*arguments: Any) -> Any:
        material = prepare(*arguments)
        ids = np.where(material.examples.ids == 0, 5, material.examples.ids)
        return replace(material, examples=replace(material.examples, ids=ids))

    monkeypatch.setattr(training, "prepare", without)
    (found,) = trained(FULL)
    assert found.cause == "eos"
    assert "cut before their end" in found.evidence
    assert "pad = eos" not in found.remedy


def test_bf16_weights_whose_updates_round_away(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to the nearest; at the same rate, rounded at random as codetune does, nothing is found."""
    small = FULL | {"learning_rate": 1.5e-5}
    settings = {"precision": "bf16_weights", "train_tokens": 16 * 640, "schedule": "constant", "validations": 0}
    monkeypatch.setattr("codetune.train.rounding.rounded_at_random", lambda values, generator: values.bfloat16())
    found = trained(small, **settings)
    assert causes(found)[0] == "precision"
    assert "bfloat16" in found[0].evidence


def test_the_same_rounded_at_random_is_healthy(trained: Callable[..., list[Diagnosis]]) -> None:
    settings = {"precision": "bf16_weights", "train_tokens": 16 * 640, "schedule": "constant", "validations": 0}
    assert trained(FULL | {"learning_rate": 1.5e-5}, **settings) == []


def test_a_prefix_that_never_reaches_the_model(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a checkpointed layer drops its cache: the prefix is there, and gets no gradient."""
    made = Adapted.virtual_keys_values
    monkeypatch.setattr(Adapted, "virtual_keys_values", lambda self, heads: [(k.detach(), v.detach()) for k, v in made(self, heads)])
    adapt = training.adapt

    def with_a_gradient(*arguments: Any) -> Any:
        adapted = adapt(*arguments)
        adapted.model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, out: out + 0 * next(iter(adapted.trained().values())).sum()
        )
        return adapted

    monkeypatch.setattr(training, "adapt", with_a_gradient)
    found = trained({"name": "prefix_tuning"})
    assert causes(found)[0] == "no_gradient"
    assert "every gradient was 0" in found[0].evidence


def spoil(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def test_what_is_saved_is_not_what_was_trained(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    save = training.save

    def badly(adapted: Any, loaded: Any, folder: Path) -> None:
        save(adapted, loaded, folder)
        spoil(folder)

    monkeypatch.setattr(training, "save", badly)
    found = trained(LORA)
    assert causes(found) == ["reload"]
    assert "logits differ after reloading" in found[0].evidence


def test_a_frozen_tensor_that_moves(trained: Callable[..., list[Diagnosis]], monkeypatch: pytest.MonkeyPatch) -> None:
    train = training.train

    def leaking(run: Any) -> Any:
        progress = train(run)
        with torch.no_grad():
            next(iter(run.adapted.frozen().values())).mul_(1.001)
        return progress

    monkeypatch.setattr(training, "train", leaking)
    assert "frozen_moved" in causes(trained(LORA))


@pytest.fixture(scope="module")
def cell(files: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> CellConfig:
    """A cell of a study that has run: healthy. Run again, it is answered and judged anew, and its training is kept."""
    tree = {
        "name": "planted", "models": str(base), "data": {"source": str(files / "train.jsonl"), "validation_examples": 2},
        "methods": [FULL], "benchmarks": [str(files / "test.jsonl")], "train": BUDGET, "decoding": {"max_new_tokens": 48},
        "measures": {"held_out": False, "memory": False, "matrix_rate": False, "latency": False},
        "out": str(tmp_path_factory.mktemp("study")),
    }  # fmt: skip
    planned = plan_cells(validate(tree, StudyRecipe, "test"))[1]
    run_cell(planned)
    return planned


def diagnosis(cell: CellConfig) -> list[Diagnosis]:
    return [Diagnosis.read(row) for row in read_json(cell.folder / "result.json")["diagnosis"]]


def again(cell: CellConfig, **changes: Any) -> list[Diagnosis]:
    run_cell(cell.model_copy(update=changes))
    return diagnosis(cell)


def test_a_healthy_cell_has_no_diagnosis_and_every_gate_holds(cell: CellConfig) -> None:
    result = read_json(cell.folder / "result.json")
    assert result["diagnosis"] == []
    assert {gate["level"] for gate in result["gates"]} == {"ok"}, [gate for gate in result["gates"] if gate["level"] != "ok"]
    assert {"saved_files", "batch_invariance"} <= {gate["name"] for gate in result["gates"]}
    assert next(iter(result["benchmarks"].values()))["generation"]["finish"] == {"eos": 2}


def test_padding_that_is_seen(cell: CellConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention without the mask over the padding."""
    monkeypatch.setattr(
        lane.Lane, "_seen", lambda self, positions, end: torch.ones(*positions.shape, end, dtype=torch.bool)
    )
    found = again(cell)
    assert causes(found)[0] == "padding"
    assert "in a batch than alone, in fp32" in found[0].evidence


def test_answers_that_never_end(cell: CellConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that knows of no EOS."""
    monkeypatch.setattr("codetune.models.load.LoadedModel.stop_ids", property(lambda self: frozenset()))
    found = again(cell)
    assert causes(found)[0] == "runaway_length"
    assert "100% of the completions run to 48 tokens" in found[0].evidence


def test_a_limit_that_cuts_right_answers(cell: CellConfig) -> None:
    found = again(cell, decoding=cell.decoding.model_copy(update={"max_new_tokens": 3}))
    assert causes(found)[0] == "length_limit"


def test_weights_that_change_on_disk_after_training_make_the_cell_invalid_and_status_says_why(
    cell: CellConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(cell.folder / "adapter")  # the last test of this cell: it stays spoilt
    found = again(cell)
    assert causes(found)[0] == "reload"
    study = cell.folder.parent.parent
    write_json(study / "study.json", {"name": "planted"})
    assert run(["study", "status", str(study)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "invalid full" in said
    assert "what answers is not what was trained (certain)" in said


@pytest.mark.parametrize(("bleu", "codebleu"), [(0.00035, 0.25), (0.0, 0.25), (0.00019, 0.25132)])
def test_the_published_rows_with_codebleu_beside_no_bleu_are_caught(bleu: float, codebleu: float) -> None:
    """GPT-2 prefix, GPT-2 M prompt and Mistral full of the Helsinki study: as printed."""
    found = diagnose(CellEvidence(quality_gates(QualityMeasurements("conala", bleu=bleu, codebleu=codebleu))))
    assert causes(found) == ["codebleu_artefact"]
    assert diagnose(CellEvidence(quality_gates(QualityMeasurements("conala", bleu=0.25, codebleu=0.3)))) == []


def searched(best: float) -> Json:
    """As `SearchResult.summary` has it."""
    trials = [{"settings": {"learning_rate": rate}, "state": "finished", "val_loss": abs(rate - best)} for rate in (1e-3, 1e-2, 1e-1)]
    return {"search": {"trials": trials, "best": min(trials, key=lambda trial: trial["val_loss"])}}


@pytest.mark.parametrize(("best", "cause"), [(1e-3, "learning_rate_too_high"), (1e-2, ""), (1e-1, "learning_rate_too_low")])
def test_a_best_rate_at_the_edge_of_the_ladder_is_possibly_not_the_best(best: float, cause: str) -> None:
    found = diagnose(CellEvidence(train=searched(best)))
    assert [(each.cause, each.grade) for each in found] == ([(cause, "possible")] if cause else [])


def test_what_was_not_measured_points_to_nothing() -> None:
    assert diagnose(CellEvidence()) == []


def test_every_cause_has_its_rule_and_is_explained_with_its_thresholds() -> None:
    assert [rule.__name__ for rule in RULES] == list(CAUSES)
    page = (Path(__file__).parents[2] / "docs" / "gates.md").read_text(encoding="utf-8")
    kinds = {**gates.TRAINING_GATES, **gates.DATA_GATES, **gates.GENERATION_GATES, **gates.QUALITY_GATES}
    assert not [name for name in [*CAUSES, *kinds] if f"| `{name}` |" not in page]
    constants = {name: value for module in (rules, gates) for name, value in vars(module).items() if name.isupper()}
    for name, value in constants.items():
        if isinstance(value, int | float):
            assert f"{name} = {value:g}" in page, f"{name} = {value:g}"
