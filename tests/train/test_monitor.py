"""What a run is watched by: answers during training that change nothing of it, and what pass rate and loss decide."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from codetune.methods import Adapted
from codetune.runs import read_rows
from codetune.train.loop import train
from codetune.train.monitor import due, validation_loss
from codetune.train.resume import Progress
from codetune.train.run import METRICS, SAMPLES, Reading, Run, Sampler
from tests.exactness.test_training import DROPOUT, STEPS, assert_equal_runs, at_step, examples, interrupt, make_run, validated_on, weights
from tests.forked import Forked


def sampled(run: Run, read: Callable[[Adapted], Reading], times: int = STEPS) -> Run:
    run.sampler = Sampler(times, read)
    return run


def reading(rate: float) -> Reading:
    return Reading(rate, 1.0, 1.0, 3.0, [{"task_id": "a", "completion": f"passes {rate}", "verdict": "passed"}])


def rates(seen: Sequence[float]) -> Callable[[Adapted], Reading]:
    """One pass rate after another, as an engine with a table of answers would come to."""
    waiting: Iterator[float] = iter(seen)
    return lambda adapted: reading(next(waiting))


def disturbing(adapted: Adapted) -> Reading:
    """Runs the model and draws random numbers; the rate depends on the weights, and is the same for the same ones."""
    assert not adapted.root.training
    assert not torch.is_grad_enabled()
    with torch.inference_mode():
        logits = adapted.model(torch.arange(3, 9)[None], use_cache=True).logits
    torch.rand(7)
    torch.nn.functional.dropout(logits)
    return reading(float(logits.float().sigmoid().mean()))


@pytest.mark.parametrize("method", ["full", "lora with dropout", "prefix_tuning", "prompt_tuning"])
def test_answers_during_training_change_no_weight(method: str, tmp_path: Path) -> None:
    """Bit for bit, dropout's random numbers included; and the sampler of this test does disturb them where nothing puts them back."""
    chosen = DROPOUT if method == "lora with dropout" else method
    plain = make_run(tmp_path / "plain", method=chosen, validations=2)
    wanted = train(plain)
    run = sampled(make_run(tmp_path / "sampled", method=chosen, validations=2), disturbing)
    progress = train(run)
    assert_weights(run, weights(plain))
    assert (progress.first_loss, progress.last_loss, progress.best_val_loss) == (wanted.first_loss, wanted.last_loss, wanted.best_val_loss)
    rows, without = read_rows(run.folder / METRICS), read_rows(plain.folder / METRICS)
    assert [row["loss"] for row in rows] == [row["loss"] for row in without]
    assert [row["step"] for row in rows if "pass_rate" in row] == list(range(1, STEPS + 1))
    assert run.adapted.root.training
    state = torch.get_rng_state()
    run.adapted.root.eval()
    with torch.no_grad():
        disturbing(run.adapted)
    assert not torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("times", "steps"), [(0, []), (1, [8]), (3, [3, 6, 8]), (99, list(range(1, 9)))])
def test_answers_are_asked_for_evenly_and_at_the_end(times: int, steps: list[int], tmp_path: Path) -> None:
    assert [step for step in range(1, STEPS + 1) if due(step, times, STEPS)] == steps
    train(sampled(make_run(tmp_path), rates([0.5] * STEPS), times))
    rows = read_rows(tmp_path / SAMPLES)
    assert [row["step"] for row in rows] == steps
    assert all(row["completion"] == "passes 0.5" and row["verdict"] == "passed" for row in rows)


def by_rate(folder: Path, seen: Sequence[float], **config: Any) -> tuple[Run, Progress]:
    """Validated on what training never shows, so that the loss gets worse at every step."""
    fresh = make_run(folder, method="full", rate=3e-2, **{"validations": 0, "monitor": "pass_rate"} | config)
    run = sampled(validated_on(fresh, examples(3, 9, tokens=(0, 3))), rates(seen))
    return run, train(run)


def weights_after(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    """What a run like those of `by_rate` has after so many steps."""
    run = make_run(folder, method="full", rate=3e-2)
    found: list[dict[str, torch.Tensor]] = []
    run.report = at_step(steps, lambda: found.append(weights(run)))
    train(run)
    return found[0]


def assert_weights(run: Run, wanted: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(parameter, wanted[name]) for name, parameter in run.adapted.trained().items())


def test_the_weights_that_pass_most_are_kept_the_earlier_of_equal_ones(tmp_path: Path) -> None:
    run, progress = by_rate(tmp_path / "run", [0.1, 0.3, 0.6, 0.2, 0.6, 0.5, 0.6, 0.4])
    assert (progress.best_pass_rate, progress.last_pass_rate) == (0.6, 0.4)
    assert_weights(run, weights_after(tmp_path / "3", 3))


def test_of_equal_pass_rates_the_lower_validation_loss_is_kept(tmp_path: Path) -> None:
    run, progress = by_rate(tmp_path / "run", [0.5] * STEPS, validations=1)
    losses = [row["val_loss"] for row in read_rows(run.folder / METRICS)]
    assert len(losses) == STEPS, "measured beside every pass rate, not only where validations are due"
    best = min(range(STEPS), key=lambda at: losses[at])
    assert best < STEPS - 1
    assert progress.kept == (-0.5, losses[best])
    assert validation_loss(run) == losses[best]


def test_the_loss_decides_nothing_where_pass_rate_is_monitored(tmp_path: Path) -> None:
    run, progress = by_rate(tmp_path, [0.1 * n for n in range(STEPS)], validations=STEPS, patience=2)
    assert progress.stopped == ""
    assert progress.best_val_loss is not None
    assert validation_loss(run) > progress.best_val_loss


def test_early_stopping_by_pass_rate(tmp_path: Path) -> None:
    run, progress = by_rate(tmp_path / "run", [0.1, 0.3, 0.3, 0.2, 0.9], patience=2)
    assert progress.stopped == "no better pass rate in 2 samplings"
    assert progress.step == 4
    assert_weights(run, weights_after(tmp_path / "2", 2))


def test_the_loss_is_what_counts_by_default(tmp_path: Path) -> None:
    run, progress = by_rate(tmp_path, [0.1 * n for n in range(STEPS)], validations=STEPS, monitor="loss", patience=2)
    assert progress.stopped == "no better validation loss in 2 validations"
    assert validation_loss(run) == progress.best_val_loss


def watched(folder: Path) -> Run:
    run = make_run(folder, validations=4, checkpoint_every_s=1e-9, monitor="pass_rate", patience=7)
    return sampled(run, disturbing)


def test_a_stopped_run_has_no_answer_twice(tmp_path: Path) -> None:
    whole = watched(tmp_path / "whole")
    wanted = train(whole)
    stopped = watched(tmp_path / "stopped")
    stopped.report = at_step(5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    assert read_rows(stopped.folder / SAMPLES)[-1]["step"] == 5
    again = watched(tmp_path / "stopped")
    first: list[int] = []
    again.report = lambda progress, steps: first.append(progress.step)
    assert_equal_runs(again, whole, progress := train(again), wanted)
    assert first[0] == 5
    assert read_rows(again.folder / SAMPLES) == read_rows(whole.folder / SAMPLES)
    for field in dataclasses.fields(Progress):
        if field.name != "seconds":
            assert getattr(progress, field.name) == getattr(wanted, field.name), field.name


def killed_in_its_fifth_answer(folder: Path) -> None:
    seen = []

    def read(adapted: Any) -> Any:
        seen.append(1)
        return os.kill(os.getpid(), signal.SIGKILL) if len(seen) == 5 else disturbing(adapted)

    train(sampled(watched(folder), read))


def test_killed_while_it_answers_it_goes_on(tmp_path: Path) -> None:
    whole = watched(tmp_path / "whole")
    wanted = train(whole)
    assert Forked(killed_in_its_fifth_answer, tmp_path / "killed").ended().returncode == -signal.SIGKILL
    again = watched(tmp_path / "killed")
    assert_equal_runs(again, whole, train(again), wanted)
    assert read_rows(again.folder / SAMPLES) == read_rows(whole.folder / SAMPLES)
