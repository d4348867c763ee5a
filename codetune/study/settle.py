"""What a cell is trained with once its budget and its search have been settled: in the cell's own process, from records alone.

A search is a job of its own, run once for all seeds of a row; where it finds nothing better than the recipe's settings, the row's cells
are those of the default row, and are taken over instead of being trained again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from codetune.config import TrainRecipe
from codetune.records import Json
from codetune.runs import read_json, whole_folder, write_json
from codetune.study.budgets import equal_budget
from codetune.study.cells import BROUGHT
from codetune.study.plan import JOB, RESULT, CellConfig, SearchJob
from codetune.train.ladders import with_settings
from codetune.train.resume import Progress
from codetune.train.search import SearchResult, Told, search

_TAKEN = ("adapter", "metrics.jsonl", "config.json", "train.json")
_ANSWERS = ("samples-*.jsonl", "scores-*.jsonl")


def settled(cell: CellConfig) -> tuple[TrainRecipe | None, Json]:
    """The recipe that a cell is trained by, and notes for its summary. Raises UserError for a budget that cannot be kept."""
    if cell.train is None:
        return None, {}
    recipe, notes = equal_budget(cell.train, cell.budget, cell.reference)
    if cell.search is not None:
        found = search(_recipe(SearchJob.model_validate(read_json(cell.search / JOB))), cell.search)
        best = found.trials[found.best]
        recipe, notes = with_settings(recipe, best.settings), notes | {"search": found.summary()}
    return recipe, notes


def run_search(
    job: SearchJob, step: Callable[[Progress, int], None], say: Callable[..., None], warn: Callable[[str], None]
) -> SearchResult:
    """The trials that are not done yet."""
    trials = job.train.search.trials if job.train.search else 0
    told = Told(trial=lambda trial: say("searching", trial.number, trials, str(trial.settings)), step=step, warn=warn)
    return search(_recipe(job), job.folder, told)


def _recipe(job: SearchJob) -> TrainRecipe:
    return equal_budget(job.train, job.budget, job.reference)[0]


def take_over(cell: CellConfig, notes: Json) -> bool:
    """Make the cell of the default row's, whose settings the search found best; False where that one is not done."""
    default = cell.same_if_default
    assert default is not None
    if not (default / RESULT).is_file():
        return False
    result = read_json(default / RESULT)
    if result.get("evaluation_hash") != cell.evaluation_hash or not result.get("train"):
        return False
    config = read_json(cell.folder / "cell.json")
    with whole_folder(cell.folder) as folder:
        for pattern in (*_TAKEN, *_ANSWERS):
            for path in default.glob(pattern):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, folder / path.name)
        write_json(folder / "cell.json", config)
        train = result["train"] | notes | {"same_as": default.name}
        provenance = result["provenance"] | {"config_hash": cell.key}
        write_json(folder / RESULT, result | {"cell": named(cell), "train": train, "provenance": provenance})
    return True


def named(cell: CellConfig) -> dict[str, Any]:
    """What a result says of which cell it is."""
    return {
        "model": cell.called, "method": cell.method, "row": cell.row, "data": cell.data_label, "seed": cell.seed, "factors": cell.factors,
        "tuned": cell.search is not None, "brought": cell.method == BROUGHT,
    }  # fmt: skip
