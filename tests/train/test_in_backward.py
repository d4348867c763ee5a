"""The optimiser's step inside the backward pass: the weights of the ordinary loop to the last bit, and no gradients beside each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers

from codetune.batches import full_rows
from codetune.config import FullConfig, TrainConfig
from codetune.errors import UserError
from codetune.models.outline import without_data
from codetune.runs import read_rows
from codetune.train.again import ended_by_bad_step
from codetune.train.in_backward import StepsInBackward
from codetune.train.loop import train
from codetune.train.memory import forecast_memory
from codetune.train.optimizer import make_optimizer
from codetune.train.resume import has_checkpoint
from codetune.train.run import METRICS, Run
from tests.exactness.test_training import DROPOUT, OPTIMIZER, assert_equal_runs, at_step, interrupt, make_run, weights

ONE_PASS = {"micro_batch_size": 9}
TWICE, ONCE = {"max_grad_norm": 0.5}, {"max_grad_norm": None}


def run_of(folder: Path, inside: bool, **settings: Any) -> Run:
    return make_run(folder, **{"method": "full"} | ONE_PASS | settings, optimizer_in_backward=inside)


def assert_the_same(folder: Path, **settings: Any) -> None:
    plain = run_of(folder / "plain", False, **settings)
    wanted = train(plain)
    inside = run_of(folder / "inside", True, **settings)  # which begins with the random numbers that the other began with
    assert_equal_runs(inside, plain, train(inside), wanted)
    assert all(parameter.grad is None for parameter in inside.adapted.trained().values())


@pytest.mark.parametrize("clipped", [TWICE, ONCE], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("precision", ["fp32", "bf16_weights"])
@pytest.mark.parametrize("optimizer", get_args(OPTIMIZER))
def test_weights_are_those_of_the_ordinary_loop(optimizer: str, precision: str, clipped: dict[str, Any], tmp_path: Path) -> None:
    assert_the_same(tmp_path, optimizer=optimizer, precision=precision, steps=4, **clipped)


@pytest.mark.parametrize("clipped", [TWICE, ONCE], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("method", ["lora_plus", "p_tuning", "prefix_tuning", "dropout"])
def test_adapters_too(method: str, clipped: dict[str, Any], tmp_path: Path) -> None:
    """LoRA+ has groups of two rates; dropout is drawn the same in both passes; validations lie between the steps."""
    assert_the_same(tmp_path, method=DROPOUT if method == "dropout" else method, steps=4, validations=2, weight_decay=0.1, **clipped)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("clipped", [TWICE, ONCE], ids=["clipped", "not clipped"])
def test_a_stopped_run_goes_on_either_way(clipped: dict[str, Any], first: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"validations": 4, "checkpoint_every_s": 1e-9, "precision": "bf16_weights", **clipped}
    whole = run_of(tmp_path / "whole", True, **settings)
    wanted = train(whole)
    stopped = run_of(tmp_path / "stopped", first, **settings)
    stopped.report = at_step(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    again = run_of(tmp_path / "stopped", not first, **settings)
    assert_equal_runs(again, whole, train(again), wanted)


@pytest.mark.parametrize("clipped", [TWICE, ONCE], ids=["clipped", "not clipped"])
def test_a_spike_is_found_before_a_weight_moves(clipped: dict[str, Any], tmp_path: Path) -> None:
    """Step 24 is a hard one, see test_bad_step."""
    settings: dict[str, Any] = {"steps": 26, "rate": 1e-5, "spike_factor": 1.1, "on_bad_step": "roll_back", **clipped}
    plain, inside = run_of(tmp_path / "plain", False, **settings), run_of(tmp_path / "inside", True, **settings)
    wanted, found = train(plain), train(inside)
    assert found.bad_steps
    assert_equal_runs(inside, plain, found, wanted)


def spoil(run: Run, step: int) -> None:
    """A gradient that is no number, and a loss that is one, from this step on."""
    embedding = run.adapted.model.get_input_embeddings()

    def act() -> None:
        embedding.register_forward_hook(lambda _, __, out: out if not out.requires_grad else _spoilt(out))

    run.report = at_step(step, act)


def _spoilt(out: torch.Tensor) -> torch.Tensor:
    out.register_hook(lambda gradient: gradient * math.nan)
    return out


def test_a_gradient_that_is_no_number_is_found_before_a_weight_moves(tmp_path: Path) -> None:
    run = run_of(tmp_path, True, **TWICE)
    spoil(run, 3)
    progress = train(run)
    assert progress.step == 3
    assert progress.stopped.endswith("at step 4")
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


def test_not_clipped_it_is_found_afterwards_and_nothing_is_saved(tmp_path: Path) -> None:
    run = run_of(tmp_path, True, checkpoint_every_s=1e-9, **ONCE)
    spoil(run, 3)
    with pytest.raises(UserError, match=r"gradient norm nan at step 4 .* run again with --set train.max_grad_norm=1") as caught:
        train(run)
    assert "\n" not in str(caught.value)
    assert has_checkpoint(tmp_path)
    assert ended_by_bad_step(tmp_path)
    assert read_rows(tmp_path / METRICS)[-1]["bad_step"]["step"] == 4
    again = run_of(tmp_path, True, **TWICE)
    assert train(again).step == 8, "the checkpoint is from before"


def test_gradients_are_never_there_together(tmp_path: Path) -> None:
    run = run_of(tmp_path, True, **TWICE)
    trained = run.trained()
    held: list[int] = []
    for parameter in trained.values():
        parameter.register_hook(lambda gradient: held.append(sum(p.grad is not None for p in trained.values())))
    with StepsInBackward(run, trained, make_optimizer(trained, run.config, 1e-3)) as inside:
        inside.first_pass(run.material.steps[0], lambda loss, norm: "")
    assert len(held) == len(trained) > 20
    assert max(held) == 0


def test_several_micro_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"steps have up to 3 rows, passes 1: set train.micro_batch_size=3"):
        train(run_of(tmp_path, True, micro_batch_size=1))


@pytest.mark.parametrize("precision", ["fp32", "bf16_weights"])
def test_forecast_has_no_gradients_beside_each_other(precision: Any) -> None:
    """Full fine-tuning of a deep model in few tokens: what is left of the gradients is the largest of them."""
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=176, num_hidden_layers=5, num_attention_heads=4, max_position_embeddings=64
    )
    settings: dict[str, Any] = {"precision": precision, "activation_checkpointing": True, "batch_tokens": 16}
    plain, inside = (
        forecast_memory(config, FullConfig(), TrainConfig(**settings, optimizer_in_backward=chosen), [full_rows(1, 16)], gpu=True)
        for chosen in (False, True)
    )
    parameters = without_data(config).num_parameters()
    width = 2 if precision == "bf16_weights" else 4
    assert plain.training - inside.training > 0.6 * width * parameters
    assert inside.gradients == 0
    assert inside.disk == plain.disk
    assert inside.reloading == plain.reloading
