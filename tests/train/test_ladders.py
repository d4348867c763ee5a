"""Which settings a search tries: values of ladders, and the walk over them."""

from __future__ import annotations

from typing import Any

import pytest

from codetune.config import (
    FullConfig,
    LoraConfig,
    MethodConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    SearchConfig,
    TrainRecipe,
    VeraConfig,
)
from codetune.train.ladders import Ladder, Point, ladders_of, propose, settings_at, with_settings


@pytest.mark.parametrize(
    ("method", "config", "found"),
    [
        (FullConfig(learning_rate=1e-3), {"learning_rates": (0.1, 10)}, {"learning_rate": (1e-4, 1e-3, 1e-2)}),
        (LoraConfig(), {}, {"learning_rate": (2e-4, 6e-4, 2e-3, 6e-3, 2e-2), "init": ("zeros", "pissa")}),
        (LoraConfig(), {"learning_rates": (1,), "sizes": (0.5, 2), "inits": False}, {"lora_rank": (8, 16, 32)}),
        (LoraConfig(), {"inits": False, "learning_rates": (1,)}, {}),
        (PrefixTuningConfig(), {"learning_rates": (1,)}, {"init": ("text", "zeros")}),
        (PromptTuningConfig(num_virtual_tokens=1, init="vocabulary"), {"sizes": (0.1, 4), "learning_rates": (1,)},
         {"num_virtual_tokens": (1, 4), "init": ("text", "vocabulary")}),
        (LoraConfig(trainable_share=0.01), {"learning_rates": (1,), "sizes": (2,), "inits": False}, {"trainable_share": (0.01, 0.02)}),
        (VeraConfig(), {"learning_rates": (1,), "sizes": (0.5, 2)}, {}),
    ],
)
def test_ladders_have_the_recipes_own_value_among_them(method: MethodConfig, config: dict[str, Any], found: dict[str, Any]) -> None:
    ladders = ladders_of(method, SearchConfig(**config))
    assert {ladder.key: ladder.values for ladder in ladders} == found
    assert all(ladder.values[ladder.start] == getattr(method, ladder.key) for ladder in ladders)


def walk(ladders: list[Ladder], worth: Any) -> list[Point]:
    tried: dict[Point, tuple[float, float]] = {}
    while (point := propose(tried, ladders)) is not None:
        tried[point] = (worth(*point), 0.0)
    return list(tried)


RATES, WAYS = Ladder("learning_rate", (1, 2, 3, 4, 5), 2), Ladder("init", ("a", "b", "c"), 1, ordered=False)


def test_the_walk_begins_with_the_default_and_goes_towards_the_best() -> None:
    assert walk([RATES], lambda at: abs(at - 4)) == [(2,), (3,), (4,)]
    assert walk([RATES], lambda at: abs(at - 2)) == [(2,), (3,), (1,)]
    assert walk([RATES], lambda at: abs(at)) == [(2,), (3,), (1,), (0,)]


def test_other_ladders_are_walked_from_the_best_rate() -> None:
    assert walk([RATES, WAYS], lambda rate, way: abs(rate - 3) + way) == [(2, 1), (3, 1), (4, 1), (3, 0), (4, 0), (2, 0), (3, 2)]


def test_equal_results_keep_the_earlier_and_failures_are_no_way_to_go() -> None:
    assert walk([RATES], lambda at: 1.0) == [(2,), (3,), (1,)]
    assert walk([RATES], lambda at: float("inf") if at > 2 else at) == [(2,), (3,), (1,), (0,)]


def test_a_rank_keeps_the_scale() -> None:
    recipe = TrainRecipe(name="a", model="m", data={"source": "basics"}, method=LoraConfig(lora_rank=8, lora_alpha=12))  # type: ignore[arg-type]
    method = with_settings(recipe, {"lora_rank": 32, "learning_rate": 0.5}).method
    assert isinstance(method, LoraConfig)
    assert (method.lora_rank, method.lora_alpha, method.learning_rate) == (32, 48, 0.5)
    assert with_settings(recipe, {}) == recipe
    assert settings_at((0, 2), [RATES, WAYS]) == {"learning_rate": 1, "init": "c"}
