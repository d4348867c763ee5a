"""A search on the command line's own path: whose best is known, pruned, killed, gone on with, and refused where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from codetune.cli.main import run
from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.runs import read_json, read_rows
from codetune.train import search as searching
from codetune.train.finetune import finetune
from codetune.train.resume import Progress
from codetune.train.run import METRICS
from codetune.train.search import FAILED, FINISHED, PRUNED, STORAGE, TRIALS, SearchResult, Told, Trial, search, trial_recipe
from codetune.tuning import finetune as tune
from tests.cli.conftest import RECIPE
from tests.forked import Forked, codetune


def recipe(tiny_model: Path, **search_config: Any) -> TrainRecipe:
    """A learning rate of 1e-2 suits the tiny model; 1e-5 moves nothing and 10 destroys it."""
    tree: dict[str, Any] = json.loads(json.dumps(RECIPE))
    tree["method"] = {"name": "full", "learning_rate": 1e-5}
    tree["train"] |= {"train_tokens": 24_000, "validations": 5, "checkpoint_every_s": 1e-9}
    config = {"trials": 4, "budget_share": 0.25, "learning_rates": (1, 1000, 1_000_000), "inits": False} | search_config
    return TrainRecipe.model_validate(tree | {"model": str(tiny_model), "search": config})


def trial_losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_rows(folder / METRICS)]


def test_the_best_of_a_ladder_is_found_and_trained_with(tiny_model: Path, tmp_path: Path) -> None:
    told: list[Trial] = []
    asked = recipe(tiny_model)
    summary = tune(asked, tmp_path, told=Told(told.append))
    found = summary["search"]
    assert (found["default"]["number"], found["default"]["settings"]) == (0, {"learning_rate": 1e-5})
    assert found["best"]["settings"] == {"learning_rate": 1e-2}
    assert found["best"]["val_loss"] < found["default"]["val_loss"] - 0.5
    assert [(trial["number"], trial["state"]) for trial in found["trials"]] == [(0, FINISHED), (1, FINISHED), (2, PRUNED)]
    assert [trial.number for trial in told] == [0, 0, 1, 1, 2, 2]
    assert summary["learning_rate"] == 1e-2
    assert read_json(tmp_path / "config.json")["method"]["learning_rate"] == 1e-2
    assert read_json(tmp_path / "train.json")["search"] == found
    assert found["spent"]["tokens"] == sum(read_rows(tmp_path / TRIALS / f"00{n}" / METRICS)[-1]["tokens"] for n in range(3))
    pruned = found["trials"][2]
    whole = found["trials"][0]["steps"]
    assert 0.6 * whole <= pruned["steps"] < whole
    assert len(trial_losses(tmp_path / TRIALS / "002")) == pruned["steps"]
    assert tune(asked, tmp_path, told=Told(lambda trial: pytest.fail("tried again"))) == summary


def test_a_trial_is_what_train_makes_of_its_recipe(tiny_model: Path, tmp_path: Path) -> None:
    asked = recipe(tiny_model, trials=2)
    found = search(asked, tmp_path / "search")
    alone = finetune(trial_recipe(asked, 1, {"learning_rate": 1e-2}), tmp_path / "alone")
    assert trial_losses(tmp_path / "search" / TRIALS / "001") == trial_losses(tmp_path / "alone")
    assert found.trials[1].val_loss == alone["held_out"]["loss"][1]
    assert found.recipe.train == asked.train, "the run itself has all its tokens"
    assert alone["tokens"] < asked.train.train_tokens / 3


def killed(tiny_model: Path, folder: Path) -> None:
    """A search that kills itself in the fifth step of its second trial."""
    seen = [0]

    def trial(now: Trial) -> None:
        seen[0] = now.number

    def step(progress: Progress, steps: int) -> None:
        if seen[0] == 1 and progress.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    search(recipe(tiny_model), folder, Told(trial, step))


def comparable(found: SearchResult) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.settings, trial.state, trial.val_loss, trial.steps, trial.tokens) for trial in found.trials]


def test_killed_within_a_trial_it_goes_on_there(tiny_model: Path, tmp_path: Path) -> None:
    whole = search(recipe(tiny_model), tmp_path / "whole")
    folder = tmp_path / "killed"
    assert Forked(killed, tiny_model, folder).ended().returncode == -signal.SIGKILL
    first: list[int] = []
    told: list[Trial] = []
    found = search(recipe(tiny_model), folder, Told(told.append, lambda progress, steps: first.append(progress.step)))
    assert told[0].number == 1, "a finished trial was tried again"
    assert first[0] == 5, "the trial under way began anew"
    assert comparable(found) == comparable(whole)
    assert found.best == whole.best == 1


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    """From the command line, wherever the kill happens to strike, until it ends by itself."""
    path, folder = tmp_path / "search.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(recipe(tiny_model, trials=3).model_dump(mode="json") | {"out": str(folder)}))
    for delay in (0.0, 0.05, 0.4):
        process = Forked(codetune, "train", str(path))
        while process.runs() and not (folder / STORAGE).exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.ended()
    assert run(["train", str(path), "--json"]) == 0
    found = read_json(folder / "train.json")["search"]
    whole = search(recipe(tiny_model, trials=3), tmp_path / "whole")
    assert [trial["val_loss"] for trial in found["trials"]] == [trial.val_loss for trial in whole.trials]


def test_an_end_that_optuna_was_not_told_of_is_not_trained_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the trial's record and the word to Optuna."""

    def stop(self: Any) -> None:
        if self.seen.step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(searching._Search, "_settle", stop)
        with pytest.raises(KeyboardInterrupt):
            search(recipe(tiny_model, trials=2), tmp_path)
    told: list[Trial] = []
    found = search(recipe(tiny_model, trials=2), tmp_path, Told(told.append))
    assert [trial.number for trial in told] == [1, 1]
    assert [trial.state for trial in found.trials] == [FINISHED, FINISHED]


def test_a_larger_budget_goes_on_with_the_same_search(tiny_model: Path, tmp_path: Path) -> None:
    assert len(search(recipe(tiny_model, trials=2), tmp_path).trials) == 2
    told: list[Trial] = []
    assert len(search(recipe(tiny_model, trials=3), tmp_path, Told(told.append)).trials) == 3
    assert {trial.number for trial in told} == {2}


def test_another_recipe_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    search(recipe(tiny_model, trials=2), tmp_path)
    with pytest.raises(UserError, match=r"holds a search of another recipe \(search differs\): choose another --out"):
        search(recipe(tiny_model, trials=2, budget_share=0.5), tmp_path)


def test_no_time_left_means_the_default_alone(tiny_model: Path, tmp_path: Path) -> None:
    found = search(recipe(tiny_model, minutes=1e-9), tmp_path)
    assert [trial.number for trial in found.trials] == [found.best] == [0]
    assert found.recipe.method == recipe(tiny_model).method


def test_a_trial_whose_loss_is_no_number_failed_and_is_not_the_best(tiny_model: Path, tmp_path: Path) -> None:
    asked = recipe(tiny_model, trials=2, learning_rates=(1, 1e38))
    found = search(asked, tmp_path)
    assert [trial.state for trial in found.trials] == [FINISHED, FAILED]
    assert "at step" in found.trials[1].cause
    assert found.best == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"validations": 0}}, "set train.validations to 1 or more"),
        ({"search": {"learning_rates": (1,), "inits": False}}, "nothing to try: give search.learning_rates"),
        ({"data": {"source": "own.jsonl", "validation_examples": 0}}, "set data.validation_examples to 1 or more"),
    ],
    ids=["never validated", "nothing to try", "no validation data"],
)
def test_what_cannot_be_searched_is_one_line(
    changes: dict[str, Any], says: str, tiny_model: Path, tmp_path: Path, problems_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(problems_file.parent)
    tree = recipe(tiny_model).model_dump(mode="json")
    for section, values in changes.items():
        tree[section] |= values
    with pytest.raises(UserError, match=says):
        search(TrainRecipe.model_validate(tree), tmp_path / "run")


def test_without_optuna_it_is_one_line(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"search needs Optuna: run `pip install 'codetune\[search\]'`"):
        search(recipe(tiny_model), tmp_path)


def test_a_search_by_pass_rate_goes_by_what_passes(tiny_model: Path, tmp_path: Path) -> None:
    """A sampler whose pass rate falls as the model learns: the default, which learns nothing, is the best by it."""
    from codetune.train.run import Reading, Sampler

    tree = recipe(tiny_model, trials=2).model_dump(mode="json")
    tree["train"] |= {"monitor": "pass_rate"}
    tree["samples"] = {"benchmark": "basics-validation"}
    asked = TrainRecipe.model_validate(tree)

    def sampler_of(loaded: Any) -> Sampler:
        def read(adapted: Any) -> Reading:
            size = sum(float(parameter.detach().norm()) for parameter in adapted.trained().values())
            return Reading(1 / size, 1.0, 1.0, 1.0)

        return Sampler(2, read)

    found = search(asked, tmp_path, sampler_of=sampler_of)
    assert found.best == 0
    losses, rates = zip(*((trial.val_loss, trial.pass_rate) for trial in found.trials), strict=True)
    assert losses[0] > losses[1]
    assert rates[0] > rates[1]
