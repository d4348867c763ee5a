"""Equal budgets: a run's recipe, so changed that it takes the time or the memory that its study allows every method.

Both are settled by the forecast, which hangs on shapes and data alone: every machine trains the same. Equal tokens need nothing.
"""

from __future__ import annotations

from codetune.config import BudgetConfig, TrainRecipe
from codetune.errors import UserError
from codetune.models.forecast import forecast_seconds, machine_here
from codetune.models.outline import outline_of, settled, without_data
from codetune.records import Json
from codetune.study.forecasting import Forecaster
from codetune.train.memory import forecast_memory

_NOMINAL = 1e12  # operations per second: a ratio of two forecasts is the same at any rate


def equal_budget(recipe: TrainRecipe, budget: BudgetConfig, reference: TrainRecipe | None) -> tuple[TrainRecipe, Json]:
    """The recipe within the budget, and what was settled (empty where nothing was), for the run's summary."""
    if budget.equal == "time" and reference is not None:
        return _of_equal_time(recipe, reference)
    if budget.equal == "memory" and budget.memory_gb is not None:
        return _within(recipe, budget.memory_gb * 1e9)
    return recipe, {}


def _of_equal_time(recipe: TrainRecipe, reference: TrainRecipe) -> tuple[TrainRecipe, Json]:
    """As many tokens as take the reference's time: a method that computes less a token sees more of them."""
    forecaster = Forecaster(machine_here(recipe.device))  # one for both: they mostly read the same data
    allowed, needed = (_seconds(each, forecaster) for each in (reference, recipe))
    train = recipe.train.part(allowed / needed)
    budget = train.model_dump(include={"train_tokens", "epochs"})
    noted = {"budget": {"equal": "time", "reference": reference.name, **budget, "share_of_its_tokens": allowed / needed}}
    return recipe.model_copy(update={"train": train}), noted


def _seconds(recipe: TrainRecipe, forecaster: Forecaster) -> float:
    """Of training alone: validations are how it is watched."""
    basis = forecaster.basis(recipe)
    outline = outline_of(without_data(basis.config))
    return forecast_seconds(outline, settled(recipe.method, outline), recipe.train, basis.passes, (), _NOMINAL)


def _within(recipe: TrainRecipe, limit: float) -> tuple[TrainRecipe, Json]:
    """The largest micro-batch that stays under the limit, layers computed twice where that is not enough. Changes no result.

    Raises UserError where even one row at a time takes more.
    """
    machine = machine_here(recipe.device)
    forecaster = Forecaster(machine)
    basis = forecaster.basis(recipe)
    method = settled(recipe.method, outline_of(without_data(basis.config)))
    least = float("inf")
    for twice in (recipe.train.layers_twice, True):
        size = recipe.train.micro_batch_size
        while size:
            train = recipe.train.model_copy(update={"micro_batch_size": size, "activation_checkpointing": twice})
            changed = recipe.model_copy(update={"train": train})
            batches = forecaster.basis(changed).longest
            peak = forecast_memory(basis.config, method, train, batches, gpu=machine.gpu).training
            if peak <= limit:
                noted = {"equal": "memory", "micro_batch_size": size, "activation_checkpointing": twice, "forecast_bytes": peak}
                return changed, {"budget": noted}
            least, size = min(least, peak), size // 2
    short = f"budget.memory_gb={limit / 1e9:g}: {recipe.name} takes {least / 1e9:.1f} GB at the least"
    raise UserError(f"{short}; allow more, or leave it out")
