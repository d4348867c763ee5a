"""What is a bad step, by hand; and that a run stops before one, goes on after one, and ends the same when it is killed besides."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from codetune.runs import read_rows
from codetune.train.bad_step import ROLL_BACKS, WINDOW, badness, told
from codetune.train.loop import train
from codetune.train.resume import has_checkpoint
from codetune.train.run import METRICS, Run
from tests.exactness.test_training import assert_equal_runs, at_step, interrupt, make_run, weights

STEADY = [1.0, 3.0] * (WINDOW // 2)  # the median is 2


@pytest.mark.parametrize(
    ("loss", "norm", "recent", "first", "factor", "says"),
    [
        (math.nan, 1.0, [], None, 0.0, "loss nan and gradient norm 1"),
        (2.0, math.inf, STEADY, 9.0, 3.0, "loss 2 and gradient norm inf"),
        (6.5, 1.0, STEADY, 6.0, 3.0, "loss 6.5, 3.2 times the median of the last 20 steps,"),
        (6.0, 1.0, STEADY, 5.0, 3.0, ""),  # not above three times the median
        (6.5, 1.0, STEADY, 6.5, 3.0, ""),  # not above the first loss
        (6.5, 1.0, STEADY[1:], 6.0, 3.0, ""),  # 19 losses are too few
        (6.5, 1.0, [100.0, *STEADY], 6.0, 3.0, "loss 6.5, 3.2 times the median of the last 20 steps,"),
        (6.5, 1.0, STEADY, 6.0, 0.0, ""),
        (6.5, 1.0, STEADY, None, 3.0, ""),
    ],
)
def test_what_is_bad(loss: float, norm: float, recent: list[float], first: float | None, factor: float, says: str) -> None:
    assert badness(loss, norm, recent, first, factor) == says


def test_a_line_names_documents_where_they_have_names() -> None:
    found = {"why": "loss nan and gradient norm 1", "step": 7, "examples": [3, 4], "documents": []}
    assert told(found) == "loss nan and gradient norm 1 at step 7 (examples: 3, 4)"
    found["documents"] = [f"d{n}" for n in range(8)]
    assert told(found) == "loss nan and gradient norm 1 at step 7 (examples: d0, d1, d2, d3, d4 and 3 more)"


def spiking(folder: Path, **config: Any) -> Run:
    """At so low a rate nothing is learnt, and with so low a factor the steps 24, 32 and 35, which are hard ones, count as spikes."""
    settings: dict[str, Any] = {"method": "full", "steps": 40, "rate": 1e-5, "spike_factor": 1.1, "checkpoint_every_s": 1e-9}
    return make_run(folder, **settings | config)


def test_a_spike_stops_before_its_step_and_says_what_it_learned_from(tmp_path: Path) -> None:
    run = spiking(tmp_path)
    free = spiking(tmp_path / "free", spike_factor=0)
    train(free)
    progress = train(run)
    [found] = progress.bad_steps
    step = progress.step + 1
    assert found["step"] == step == 24
    assert progress.stopped.startswith("loss ")
    assert progress.losses_finite
    assert found["rows"] == run.material.steps[step - 1]
    assert found["examples"] == sorted({example for row in found["rows"] for example, _, _ in run.material.rows[row]})
    rows = read_rows(tmp_path / METRICS)
    assert rows[-1]["bad_step"] == found
    unspoilt = read_rows(tmp_path / "free" / METRICS)
    assert [row["loss"] for row in rows[:-1]] == [row["loss"] for row in unspoilt[: step - 1]]
    assert f"loss {unspoilt[step - 1]['loss']:.4g}," in found["why"]


def test_a_run_that_stopped_goes_on_when_it_is_told_that_nothing_is_a_spike(tmp_path: Path) -> None:
    whole = spiking(tmp_path / "whole", spike_factor=0)
    wanted = train(whole)
    stopped = train(spiking(tmp_path / "stopped"))
    again = spiking(tmp_path / "stopped", spike_factor=0)
    first: list[int] = []
    again.report = lambda progress, steps: first.append(progress.step)
    assert_equal_runs(again, whole, train(again), wanted)
    assert first[0] == stopped.step + 1


def test_bad_steps_are_passed_over_and_after_three_the_run_stops(tmp_path: Path) -> None:
    """A rate that throws the weights out of float32 in the first step: no examples are to blame."""
    run = make_run(tmp_path, method="full", rate=1e38, on_bad_step="roll_back")
    warnings: list[str] = []
    run.warn = warnings.append
    progress = train(run)
    assert [found["step"] for found in progress.bad_steps] == [2, 3, 4, 5]
    assert [found["passed_over"] for found in progress.bad_steps] == [True] * ROLL_BACKS + [False]
    assert not progress.losses_finite
    assert len(warnings) == ROLL_BACKS
    assert warnings[0].startswith("loss nan and gradient norm nan at step 2 (examples: ")
    assert warnings[2].endswith("passed over (3 of at most 3)")


@pytest.mark.parametrize("every", [1e-9, 1e9], ids=["from right before", "from the start"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_passed_over_a_step_ends_the_same_when_it_is_stopped_besides(method: str, every: float, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": method, "on_bad_step": "roll_back", "checkpoint_every_s": every, "validations": 40}
    whole = spiking(tmp_path / "whole", **settings)
    wanted = train(whole)
    passed = wanted.bad_steps[0]["step"]
    assert wanted.bad_steps[0]["passed_over"]
    for number, step in enumerate((passed, passed + 1)):
        stopped = spiking(tmp_path / str(number), **settings)
        stopped.report = at_step(step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
        again = spiking(tmp_path / str(number), **settings)
        progress = train(again)
        assert_equal_runs(again, whole, progress, wanted)
        assert progress.bad_steps == wanted.bad_steps


def test_no_update_is_made_of_a_step_that_is_passed_over(tmp_path: Path) -> None:
    run = spiking(tmp_path, on_bad_step="roll_back")
    seen: list[dict[str, torch.Tensor]] = []
    run.report = lambda progress, steps: seen.append(weights(run))
    bad = train(run).bad_steps[0]["step"]
    assert all(torch.equal(seen[bad - 1][name], weight) for name, weight in seen[bad - 2].items())
    assert not all(torch.equal(seen[bad - 2][name], weight) for name, weight in seen[bad - 3].items())
    assert has_checkpoint(tmp_path)
