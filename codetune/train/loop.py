"""The one training loop, the same for every method: what differs between methods is which parameters train."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

from codetune.errors import Terminated, UserError
from codetune.records import Json
from codetune.runs import read_rows, write_rows
from codetune.train.bad_step import ROLL_BACKS, WINDOW, badness, told
from codetune.train.gradient import clip_gradients, step_gradient
from codetune.train.in_backward import StepsInBackward
from codetune.train.interrupts import held_back
from codetune.train.monitor import measure
from codetune.train.optimizer import Optimizer, make_optimizer
from codetune.train.resume import Progress, Trained, random_state, set_random_state
from codetune.train.run import METRICS, SAMPLES, Run
from codetune.train.schedule import learning_rate_share


def train(run: Run) -> Progress:
    """Train to the end of the plan, from the folder's newest whole checkpoint if there is one. Leaves the kept weights in the model.

    Every step's gradient is that of the mean loss over all supervised tokens of the step, however it is cut into
    micro-batches. Ctrl-C and SIGTERM save a checkpoint first; on CPU a resumed run ends with the same weights, bit for bit.
    """
    trained = run.trained()
    optimizer = make_optimizer(trained, run.config, run.learning_rate, run.adapted.learning_rate_factors())
    progress = run.checkpoints.load(trained, optimizer) or Progress()
    in_backward = StepsInBackward(run, trained, optimizer) if run.config.optimizer_in_backward else None
    for name in (METRICS, SAMPLES) if run.group.leads else ():
        cut_after(run.folder / name, progress.step)
    run.adapted.root.train()
    saved_at = time.monotonic()
    with held_back() as ending, in_backward or contextlib.nullcontext():
        while progress.step < len(run.material.steps) and not progress.stopped:
            _one_step(run, trained, optimizer, progress, in_backward)
            how, due = _wishes(run, ending(), time.monotonic() - saved_at)
            if how or due:
                run.checkpoints.save(trained, optimizer, progress)
                saved_at = time.monotonic()
            if how:
                raise how
        run.checkpoints.save_last(trained, optimizer, progress)
        if how := _wishes(run, ending(), 0)[0]:
            raise how
    if run.config.keep == "best":
        run.checkpoints.load_best(trained, progress)
    return progress


def _wishes(run: Run, ending: type[BaseException] | None, since_saved_s: float) -> tuple[type[BaseException] | None, bool]:
    """How the run is to end, None if it is not, and whether a checkpoint is due: what one of its processes was told or finds, all do."""
    kinds = (None, KeyboardInterrupt, Terminated)
    how, due = run.group.largest(kinds.index(ending), since_saved_s > run.config.checkpoint_every_s)
    return kinds[int(how)], bool(due)


def _one_step(run: Run, trained: Trained, optimizer: Optimizer, progress: Progress, in_backward: StepsInBackward | None) -> None:
    run.meter.lap()  # what was used since the last step is none of training's
    started, steps = time.perf_counter(), len(run.material.steps)
    rate = run.learning_rate * learning_rate_share(run.config, progress.step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    before, rows = random_state(), run.material.steps[progress.step]

    def judge(loss: float, norm: float) -> str:
        return badness(loss, norm, progress.recent_losses, progress.first_loss, run.config.spike_factor)

    if in_backward is None:
        loss_sum, supervised, tokens = step_gradient(run, rows)
        norm = clip_gradients(run, trained)
    else:
        loss_sum, supervised, tokens, norm = in_backward.first_pass(rows, judge)
        if in_backward.spoilt_by(norm):
            _spoilt(run, progress, loss_sum / supervised, norm)
    loss = loss_sum / supervised
    if why := judge(loss, norm):
        set_random_state(before)
        optimizer.zero_grad()
        _bad_step(run, trained, optimizer, progress, why)
        progress.losses_finite = not progress.stopped or (math.isfinite(loss) and math.isfinite(norm))
        return
    if in_backward is None:
        optimizer.step()
        optimizer.zero_grad()
    else:
        in_backward.finish(rows, before)
    seconds = time.perf_counter() - started
    progress.step += 1
    progress.tokens += tokens
    progress.supervised_tokens += supervised
    progress.seconds += seconds
    used = run.meter.lap()
    progress.energy_j = None if used is None or progress.energy_j is None else progress.energy_j + used
    progress.first_loss = loss if progress.first_loss is None else progress.first_loss
    progress.last_loss = loss
    progress.recent_losses = [*progress.recent_losses, loss][-WINDOW:]
    row: dict[str, Any] = {"step": progress.step, "tokens": progress.tokens, "loss": loss, "lr": rate, "grad_norm": norm}
    row |= {"seconds": progress.seconds, "tokens_per_s": tokens / seconds}
    _note(run, trained, progress, row)


def _bad_step(run: Run, trained: Trained, optimizer: Optimizer, progress: Progress, why: str) -> None:
    """Pass over a step that was not made, or end the run before it. All is as it was before the step: no update has used its gradient.

    So a run that goes back is the one that goes on: the steps since the last checkpoint would be the same again.
    """
    step, found = progress.step + 1, _found(run, progress, why)
    if run.config.on_bad_step == "roll_back" and len(progress.bad_steps) < ROLL_BACKS:
        found["passed_over"] = True
        run.warn(f"{told(found)}: passed over ({len(progress.bad_steps) + 1} of at most {ROLL_BACKS})")
        progress.step = step
        progress.bad_steps.append(found)
        _note(run, trained, progress, {"step": step, "tokens": progress.tokens, "bad_step": found})
        return
    run.checkpoints.save_last(trained, optimizer, progress, one_more=True)  # as of a run that goes on: so it may, with other settings
    progress.stopped = f"{why} at step {step}"
    progress.bad_steps.append(found)
    run.metrics.add({"step": step, "tokens": progress.tokens, "bad_step": found})


def _spoilt(run: Run, progress: Progress, loss: float, norm: float) -> None:
    """End a run whose weights have moved by gradients that are no numbers. Raises UserError: nothing of it is saved."""
    found = _found(run, progress, f"loss {loss:.4g} and gradient norm {norm:.4g}")
    run.metrics.add({"step": found["step"], "tokens": progress.tokens, "bad_step": found})
    run.metrics.flush()
    raise UserError(
        f"{told(found)}, and weights have moved by it, as with train.max_grad_norm=null nothing is known of it before: run again with "
        "--set train.max_grad_norm=1, which goes on from an earlier checkpoint"
    )


def _found(run: Run, progress: Progress, why: str) -> Json:
    """A bad step as it is kept."""
    rows = run.material.steps[progress.step]
    examples = sorted({example for number in rows for example, _, _ in run.material.rows[number]})
    documents = run.material.name_documents(examples)
    return {"step": progress.step + 1, "why": why, "passed_over": False, "rows": rows, "examples": examples, "documents": documents}


def _note(run: Run, trained: Trained, progress: Progress, row: dict[str, Any]) -> None:
    """What is measured after a step, and the step's row for those who watch."""
    row |= measure(run, trained, progress)
    run.trackers.log(row)  # first, so that a kill in between costs no tracker a row
    steps = len(run.material.steps)
    run.metrics.add({**row, "steps": steps})
    run.report(progress, steps)


def cut_after(path: Path, step: int) -> None:
    """Rows of steps that the checkpoint does not know are written again, and never twice."""
    if path.exists():
        write_rows(path, [row for row in read_rows(path) if row["step"] <= step])
