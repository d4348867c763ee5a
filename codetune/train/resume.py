"""The checkpoints of a run: the newest few are kept, the newest whole one is gone on from, and a full disk ends nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from codetune.errors import UserError
from codetune.records import Json
from codetune.runs import disk_error
from codetune.train.checkpoints import DamagedError, read_about, read_state, verify, write_folder
from codetune.train.optimizer import Optimizer

CHECKPOINT = "checkpoint"
STATE = "state.pt"
FORMAT = 2
Trained = dict[str, torch.nn.Parameter]


@dataclass(slots=True)
class Progress:
    """Where a run stands, next to its weights and optimiser."""

    step: int = 0  # steps of the plan that are behind, those passed over included
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0  # training time, validation and saving left out
    energy_j: float | None = 0.0  # in that time; None where a step of it could not be metered
    first_loss: float | None = None
    last_loss: float | None = None
    recent_losses: list[float] = field(default_factory=list)  # what a spike is measured against
    bad_steps: list[Json] = field(default_factory=list)  # those that were passed over, and the one that ended the run
    best_val_loss: float | None = None
    best_step: int | None = None  # whose weights are kept as the best
    last_val_loss: float | None = None
    last_pass_rate: float | None = None
    best_pass_rate: float | None = None
    kept: tuple[float, float] | None = None  # how the kept weights stand by what is monitored; see `monitor.Standing`
    monitored_at: int = 0  # the last step at which what is monitored was measured
    measurements_without_better: int = 0
    stopped: str = ""  # why training ended early, if it did
    losses_finite: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds something to go on from."""
    return any((folder / CHECKPOINT).glob("step-*"))


def go_back(folder: Path) -> None:
    """Forget a run's newest checkpoint, so that it goes on from the one before, or from the start where there is none."""
    for newest in sorted((folder / CHECKPOINT).glob("step-*"))[-1:]:
        _discard(newest)


class Checkpoints:
    """A run's `checkpoint/`: folders `step-00000123`, and `best-00000100` with the weights that a checkpoint names as its best.

    `warn` is told what a user should know, one line each; `first` is called before a checkpoint, for what must be on disk before it.
    """

    def __init__(self, folder: Path, kept: int, warn: Callable[[str], None], first: Callable[[], None] = lambda: None) -> None:
        self.home, self.kept = folder / CHECKPOINT, kept
        self._warn, self._first = warn, first
        self._newest: int | None = None  # the step of the checkpoint that is the run's present one
        self._waiting: tuple[int, dict[str, torch.Tensor]] | None = None  # best weights that the disk would not take
        self._failing = False

    def save(self, trained: Trained, optimizer: Optimizer, progress: Progress) -> bool:
        """Keep the state after the present step. What the disk refuses is said once, and training goes on with the one before."""
        try:
            self._save(trained, optimizer, progress, self.kept)
        except OSError as error:
            if not self._failing:
                older = "none is there yet" if self._newest is None else f"that of step {self._newest} is kept"
                reason = f"no checkpoint of step {progress.step} in {self.home}: {error.strerror or error}"
                self._warn(f"{reason}; {older}, training goes on and tries again")
            self._failing = True
            return False
        if self._failing:
            self._warn(f"the checkpoint of step {progress.step} is written, the disk takes files again")
        self._failing = False
        return True

    def save_last(self, trained: Trained, optimizer: Optimizer, progress: Progress, one_more: bool = False) -> None:
        """Keep the state at the end of training, with `one_more` beside those before it.

        Raises UserError where the disk takes no more; the one before is kept.
        """
        try:
            self._save(trained, optimizer, progress, self.kept + one_more)
        except OSError as error:
            raise disk_error(error, self.home) from None

    def save_best(self, trained: Trained, progress: Progress) -> None:
        """Keep the weights of the present step as the best so far: on disk, or in memory until the disk takes them."""
        progress.best_step = progress.step
        weights = {name: parameter.detach() for name, parameter in trained.items()}
        try:
            self._write_best(progress.step, weights)
            self._waiting = None
        except OSError:  # the next checkpoint, which must have them, tells
            self._waiting = progress.step, {name: weight.to("cpu", copy=True) for name, weight in weights.items()}

    def load_best(self, trained: Trained, progress: Progress) -> bool:
        """Put the best weights back; False if none were kept. Raises UserError where they are damaged."""
        if progress.best_step is None:
            return False
        path = self._best(progress.best_step)
        try:
            self._verify(path)
        except DamagedError as error:
            raise UserError(f"{path} is damaged ({error}): run the same command again, it goes on from what is whole") from None
        restore(trained, self._read(path))
        return True

    def load(self, trained: Trained, optimizer: Optimizer) -> Progress | None:
        """Put the newest whole checkpoint into model, optimiser and random numbers; None if there is none. DamagedError ones are named."""
        for leftover in self.home.glob(".*"):  # of a process that was killed while it wrote or removed
            shutil.rmtree(leftover, ignore_errors=True)
        found = self._steps()
        for step, path in reversed(found):
            try:
                progress = put_back(self._verified(path), trained, optimizer)
            except DamagedError as error:
                before = "the one before is used" if step != found[0][0] else "there is none before it, training starts anew"
                self._warn(f"{path} is damaged ({error}): {before}")
                continue
            self._newest = progress.step
            return progress
        if not found and any(self.home.glob("*.pt")):
            self._warn(f"{self.home} is of an older codetune and cannot be gone on from: training starts anew")
        return None

    def _save(self, trained: Trained, optimizer: Optimizer, progress: Progress, kept: int) -> None:
        if self._newest == progress.step:
            return
        self._first()
        if self._waiting is not None:
            self._write_best(*self._waiting)
            self._waiting = None
        target = self.home / f"step-{progress.step:08d}"
        about = {"format": FORMAT, "step": progress.step, "best_step": progress.best_step}
        self._write(target, self._state(trained, optimizer, progress), about)
        self._newest = progress.step
        self._prune(kept)

    def _write_best(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        self._write(self._best(step), weights, {"format": FORMAT, "step": step})

    def _best(self, step: int) -> Path:
        return self.home / f"best-{step:08d}"

    def _steps(self) -> list[tuple[int, Path]]:
        """All checkpoints, the oldest first."""
        return sorted((int(number), path) for path in self.home.glob("step-*") if (number := path.name[5:]).isdecimal())

    def _verified(self, path: Path) -> Any:
        """A checkpoint's state, when all of it and the best weights that it names are whole."""
        about = self._verify(path)
        if about.get("format") != FORMAT:
            raise DamagedError("it is of another codetune")
        if about["best_step"] is not None:
            best = self._best(about["best_step"])
            try:
                self._verify(best)
            except DamagedError as error:
                raise DamagedError(f"its best weights, {best.name}: {error}") from None
        return self._read(path)

    def _state(self, trained: Trained, optimizer: Optimizer, progress: Progress) -> Json:
        return state_of(trained, optimizer, progress)

    def _write(self, target: Path, state: Json, about: Json) -> None:
        write_folder(target, {STATE: state}, about)

    def _verify(self, path: Path) -> Json:
        return verify(path)

    def _read(self, path: Path) -> Any:
        return read_state(path / STATE)

    def _prune(self, kept: int) -> None:
        """Remove what is older than the newest few, what the run has gone back behind, and best weights that none of those kept names."""
        past = [path for step, path in self._steps() if step <= (self._newest or 0)]
        keep = set(past[-kept:])
        for path in list(keep):
            try:
                best = read_about(path)["best_step"]
            except DamagedError:
                continue
            keep |= {self._best(best)} if best is not None else set()
        for path in self.home.iterdir():
            if path not in keep:
                _discard(path)


def state_of(trained: Trained, optimizer: Optimizer, progress: Progress) -> Json:
    """All that a run is, beside its frozen weights, its data and its plan: those come from the recipe."""
    fields = {name: getattr(progress, name) for name in Progress.__dataclass_fields__}
    weights = {name: parameter.detach() for name, parameter in trained.items()}
    return {"trained": weights, "optimizer": optimizer.state_dict(), "progress": fields, "random": random_state()}


def put_back(state: Json, trained: Trained, optimizer: Optimizer) -> Progress:
    """Make a run what it was. Raises DamagedError for the state of another run, before anything is changed."""
    weights, fields = state["trained"], state["progress"]
    if {name: p.shape for name, p in trained.items()} != {name: w.shape for name, w in weights.items()}:
        raise DamagedError("it has the weights of another model or method")
    if fields.keys() != Progress.__dataclass_fields__.keys():
        raise DamagedError("it is of another codetune")
    restore(trained, weights)
    optimizer.load_state_dict(state["optimizer"])
    set_random_state(state["random"])
    return Progress(**fields)


def random_state() -> Json:
    """Where torch's random numbers are, on the CPU and on each GPU in use: dropout draws from them, and nothing in training from others."""
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return {"cpu": torch.get_rng_state(), "cuda": on_gpu}


def set_random_state(state: Json) -> None:
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@torch.no_grad()
def restore(trained: Trained, saved: dict[str, torch.Tensor]) -> None:
    for name, parameter in trained.items():
        parameter.copy_(saved[name])


def _discard(path: Path) -> None:
    """Remove a folder; a kill meanwhile leaves no half of it under its name."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True) if hidden.is_dir() else hidden.unlink()
    except OSError:  # it is tried again with the next checkpoint
        pass
