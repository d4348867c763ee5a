"""Settings searched for before a run: short trials of it under a stated budget, kept by Optuna, those without prospect cut short.

    found = search(recipe, Path("runs/mine"))
    finetune(found.recipe, Path("runs/mine"), notes={"search": found.summary()})

A trial is a run of its own in `trials/NNN`, exactly what `codetune train` makes of its recipe, on a share of the tokens. Killed at any
moment, a search goes on where it was: ended trials are in `search.db`, the one under way has its checkpoint.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetune.config import SearchConfig, TrainRecipe
from codetune.data.training import training_data
from codetune.errors import UserError
from codetune.records import Json, to_json
from codetune.runs import locked, read_json, write_json
from codetune.train.again import determining
from codetune.train.finetune import SamplerOf, finetune
from codetune.train.ladders import Point, Settings, ladders_of, propose, settings_at, with_settings
from codetune.train.resume import Progress

STORAGE = "search.db"
FOUND = "search.json"
TRIALS = "trials"
FINISHED, PRUNED, FAILED, RUNNING = "finished", "pruned", "failed", "running"
_WHOLE_TRIALS = 2  # so many are never cut short: the recipe's own settings and one to compare
_PRUNED_FROM = 0.6  # share of a trial's steps before which it is not judged: high rates look worse until they fall
_WORST = (float("inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial and what became of it. Number 0 has the recipe's own settings. `seconds` are wall clock, loading included."""

    number: int
    settings: Settings
    state: str = RUNNING
    val_loss: float | None = None  # of the weights that would be kept
    pass_rate: float | None = None
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cause: str = ""  # why it failed

    def standing(self, by_rate: bool) -> tuple[float, float]:
        """The lower the better; a trial that did not come to its end is the worst."""
        if self.state != FINISHED or self.val_loss is None:
            return _WORST
        return (-(self.pass_rate or 0.0), self.val_loss) if by_rate else (self.val_loss, 0.0)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was tried, and the recipe to train now. `best` is a trial's number; 0 is the default, the recipe as it was given."""

    recipe: TrainRecipe
    best: int
    monitor: str
    trials: tuple[Trial, ...]

    def summary(self) -> Json:
        """For `train.json`: the best and the default with their losses, all trials, and what they cost."""
        rows: list[Json] = [to_json(trial) for trial in self.trials]
        spent = {"tokens": sum(trial.tokens for trial in self.trials), "seconds": sum(trial.seconds for trial in self.trials)}
        return {"monitor": self.monitor, "best": rows[self.best], "default": rows[0], "spent": spent, "trials": rows}


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told of a search: of a trial when it begins and when it ends, of every step within it, of what a user should know."""

    trial: Callable[[Trial], None] = lambda trial: None
    step: Callable[[Progress, int], None] = lambda progress, steps: None
    warn: Callable[[str], None] = warnings.warn


class _Cut(Exception):  # noqa: N818  # no error: the trial has no prospect
    """Ends a trial from within its report."""


def search(recipe: TrainRecipe, folder: Path, told: Told | None = None, sampler_of: SamplerOf | None = None) -> SearchResult:
    """Try settings as `recipe.search` says, or go on with it; what was found is kept in `folder/search.json`.

    The samples of a recipe are written in trials only where they decide, its trackers are told of the run alone. Raises UserError where
    there is nothing to search by, Optuna is missing, the folder holds another recipe's search, or no trial came to its end.
    """
    config = recipe.search
    assert config is not None
    _require_measured(recipe)
    with locked(folder):
        if (folder / FOUND).exists() and (kept := read_json(folder / FOUND))["recipe"] == recipe.model_dump(mode="json"):
            trials = tuple(Trial(**row) for row in kept["trials"])
        else:
            trials = _Search(recipe, config, folder, told or Told(), sampler_of).run()
            rows = [to_json(trial) for trial in trials]
            write_json(folder / FOUND, {"recipe": recipe.model_dump(mode="json"), "trials": rows})
    best = min(trials, key=lambda trial: (trial.standing(recipe.train.monitor == "pass_rate"), trial.number))
    if best.state != FINISHED:
        raise UserError(f"search: none of {len(trials)} trials came to its end ({trials[0].cause}); lower method.learning_rate")
    return SearchResult(with_settings(recipe, best.settings), best.number, recipe.train.monitor, trials)


def trial_recipe(recipe: TrainRecipe, number: int, settings: Settings) -> TrainRecipe:
    """A trial as a recipe of its own: these settings, a share of the tokens, nothing that changes no result."""
    assert recipe.search is not None
    train = recipe.train.part(recipe.search.budget_share)
    samples = recipe.samples if recipe.train.monitor == "pass_rate" else None
    less = {"name": f"{recipe.name}-trial-{number}", "search": None, "trackers": (), "out": None, "samples": samples, "train": train}
    return with_settings(recipe.model_copy(update=less), settings)


def _require_measured(recipe: TrainRecipe) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("search runs in one process: search without --nproc, then train with the settings it found")
    if recipe.train.validations == 0:
        raise UserError("search goes by the validation loss: set train.validations to 1 or more")
    if recipe.data.source != "corpus" and not any(training_data(recipe.data, recipe.decontaminate).validation):
        raise UserError("search goes by the validation loss, and there is no validation data: set data.validation_examples to 1 or more")


class _Search:
    """A search under way. Optuna's study has every trial; what each came to is in the trial's `record`."""

    def __init__(self, recipe: TrainRecipe, config: SearchConfig, folder: Path, told: Told, sampler_of: SamplerOf | None) -> None:
        self.recipe, self.config, self.folder, self.told = recipe, config, folder, told
        self.optuna = _optuna()
        self.ladders = ladders_of(recipe.method, config)
        self.by_rate = recipe.train.monitor == "pass_rate"
        self.sampler_of = sampler_of if self.by_rate else None
        self.seen = Progress()  # where the trial under way stands

    def run(self) -> tuple[Trial, ...]:
        if not self.ladders:
            raise UserError("search has nothing to try: give search.learning_rates or search.sizes more than one factor")
        self.study = self._open()
        self._require_same_recipe()
        self._settle()
        while (trial := self._next()) is not None:
            self._try(trial)
        return tuple(self._records())

    def _open(self) -> Any:
        import sqlalchemy

        url = sqlalchemy.URL.create("sqlite", database=str(self.folder / STORAGE)).render_as_string()
        return self.optuna.create_study(
            storage=self.optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}}), study_name="search",
            direction="maximize" if self.by_rate else "minimize", load_if_exists=True,
            sampler=self.optuna.samplers.RandomSampler(seed=self.recipe.seed),  # never asked: what is tried is decided in `ladders`
            pruner=self.optuna.pruners.MedianPruner(n_startup_trials=_WHOLE_TRIALS, n_warmup_steps=0),
        )  # fmt: skip

    def _require_same_recipe(self) -> None:
        """Trials of other settings say nothing of these; a larger budget is the same search."""
        config = self.config.model_dump(mode="json", exclude={"trials", "minutes"})
        now = determining(self.recipe.model_dump(mode="json")) | {"search": config}
        before = self.study.user_attrs.get("recipe")
        if before is None:
            self.study.set_user_attr("recipe", now)
        elif differing := sorted(key for key in now if before.get(key) != now[key]):
            differ = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''}"
            raise UserError(f"{self.folder} holds a search of another recipe ({differ}): choose another --out, or remove it")

    def _records(self) -> Iterator[Trial]:
        for each in self.study.get_trials(deepcopy=False):
            if "record" in each.user_attrs:
                yield Trial(**each.user_attrs["record"])

    def _next(self) -> Any:
        """The trial that a kill left under way, or a new one; None when the budget is spent or all neighbours of the best are tried."""
        states = self.optuna.trial.TrialState
        if begun := self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            return self.optuna.trial.Trial(self.study, begun[0]._trial_id)
        waiting = self.study.get_trials(deepcopy=False, states=(states.WAITING,))
        if not waiting:
            done = list(self._records())
            late = self.config.minutes is not None and sum(trial.seconds for trial in done) > 60 * self.config.minutes
            tried = {self._point(trial): trial.standing(self.by_rate) for trial in done}
            point = propose(tried, self.ladders)
            if point is None or (done and (late or len(done) >= self.config.trials)):
                return None
            self.study.enqueue_trial(settings_at(point, self.ladders))
        return self.study.ask({ladder.key: self.optuna.distributions.CategoricalDistribution(ladder.values) for ladder in self.ladders})

    def _point(self, trial: Trial) -> Point:
        return tuple(ladder.values.index(trial.settings[ladder.key]) for ladder in self.ladders)

    def _try(self, trial: Any) -> None:
        """One trial to its end, whatever that is. Its record is kept before Optuna is told that it ended; see `_settle`."""
        begun = Trial(trial.number, dict(trial.params))
        self.told.trial(begun)
        started, self.seen = time.perf_counter(), Progress()
        ended = self._train(trial, begun)
        seconds = max(time.perf_counter() - started, self.seen.seconds)
        ended = replace(ended, steps=self.seen.step, tokens=self.seen.tokens, seconds=seconds)
        trial.set_user_attr("record", to_json(ended))
        self._settle()
        shutil.rmtree(self._place(trial.number) / "adapter", ignore_errors=True)  # settings are sought, not weights
        self.told.trial(ended)

    def _train(self, trial: Any, begun: Trial) -> Trial:
        recipe, place = trial_recipe(self.recipe, trial.number, begun.settings), self._place(trial.number)
        try:
            summary = finetune(recipe, place, lambda progress, steps: self._watch(trial, progress, steps), self.told.warn, self.sampler_of)
        except _Cut:
            shutil.rmtree(place / "checkpoint", ignore_errors=True)
            return replace(begun, state=PRUNED, val_loss=self.seen.best_val_loss, pass_rate=self.seen.best_pass_rate)
        except UserError as error:
            if begun.number == 0 or self.seen.step > 0:  # a recipe that cannot work, or a disk that is full
                raise
            return replace(begun, state=FAILED, cause=str(error))
        self.seen = replace(self.seen, step=summary["steps"], tokens=summary["tokens"], seconds=summary["seconds"])
        ended_badly = any(not step["passed_over"] for step in summary["bad_steps"])
        if ended_badly or not summary["losses_finite"] or not summary["held_out"]:
            return replace(begun, state=FAILED, cause=summary["stopped"] or "no validation loss was measured")
        rate = summary["best_pass_rate" if self.recipe.train.keep == "best" else "last_pass_rate"]
        return replace(begun, state=FINISHED, val_loss=summary["held_out"]["loss"][1], pass_rate=rate)

    def _watch(self, trial: Any, progress: Progress, steps: int) -> None:
        """Told of every step: what is measured goes to Optuna, which says whether to go on."""
        self.seen = replace(progress)
        self.told.step(progress, steps)
        if progress.monitored_at != progress.step:
            return
        with warnings.catch_warnings():  # a trial that goes on reports again what it had reported
            warnings.simplefilter("ignore")
            trial.report(progress.last_pass_rate if self.by_rate else progress.last_val_loss, progress.step)
        if _PRUNED_FROM * steps <= progress.step < steps and trial.should_prune():
            raise _Cut

    def _settle(self) -> None:
        """Tell Optuna of the trial that has ended; a process that was killed in between left that to this one."""
        states = self.optuna.trial.TrialState
        for each in self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            if "record" in each.user_attrs:
                ended = Trial(**each.user_attrs["record"])
                value = (ended.pass_rate if self.by_rate else ended.val_loss) if ended.state == FINISHED else None
                state = {FINISHED: states.COMPLETE, PRUNED: states.PRUNED, FAILED: states.FAIL}[ended.state]
                self.study.tell(each.number, value, state=state)

    def _place(self, number: int) -> Path:
        return self.folder / TRIALS / f"{number:03d}"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("search needs Optuna: run `pip install 'codetune[search]'`, or take `search` out of the recipe") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
