"""Which settings a search tries, one after another: pure functions of the recipe and of what was tried before.

A ladder is one setting with its values in order. The walk starts at the recipe's own settings and goes to the neighbours of the best so
far, learning rate first: few trials find the best where a setting is better the nearer it is to one value, as learning rates are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from codetune.config import MethodConfig, SearchConfig, TrainRecipe

Point = tuple[int, ...]  # a place on every ladder
Settings = dict[str, Any]  # of the method, by key
SIZES = ("lora_rank", "num_virtual_tokens", "bottleneck_size")


@dataclass(frozen=True, slots=True)
class Ladder:
    """Values of a method's key. Ordered ones have neighbours; of the others each is every other's. `start` is the recipe's own."""

    key: str
    values: tuple[Any, ...]
    start: int
    ordered: bool = True

    def beside(self, at: int) -> list[int]:
        """Where to look from there, the higher neighbour first."""
        places = [at + 1, at - 1] if self.ordered else range(len(self.values))
        return [place for place in places if 0 <= place < len(self.values) and place != at]


def ladders_of(method: MethodConfig, config: SearchConfig) -> list[Ladder]:
    """The ladders of a method, without those that have one value alone: learning rate, size, and ways to initialise."""
    size = "trainable_share" if getattr(method, "trainable_share", None) else next((key for key in SIZES if hasattr(method, key)), "")
    found = [_numbers(method, "learning_rate", config.learning_rates)]
    if size:
        found.append(_numbers(method, size, config.sizes))
    if config.inits and "init" in type(method).model_fields:
        ways = tuple(way for way in get_args(type(method).model_fields["init"].annotation) if _can_have(method, way))
        found.append(Ladder("init", ways, ways.index(method.init), ordered=False))  # type: ignore[union-attr]
    return [ladder for ladder in found if len(ladder.values) > 1]


def start_of(ladders: Sequence[Ladder]) -> Point:
    return tuple(ladder.start for ladder in ladders)


def propose(tried: Mapping[Point, tuple[float, float]], ladders: Sequence[Ladder]) -> Point | None:
    """The next place to try; None when the best place has no neighbour that is untried.

    `tried` has what each place came to, the lower the better, in the order of the trials; of equal ones the earlier is the best.

    >>> rate = [Ladder("learning_rate", (1, 2, 3, 4, 5), 2)]
    >>> seen = {}
    >>> while (place := propose(seen, rate)) is not None:
    ...     seen[place] = (abs(rate[0].values[place[0]] - 1.2), 0.0)
    >>> [place[0] + 1 for place in seen]
    [3, 4, 2, 1]
    """
    start = start_of(ladders)
    if start not in tried:
        return start
    best = min(tried, key=lambda place: tried[place])
    for axis, ladder in enumerate(ladders):
        for place in ladder.beside(best[axis]):
            if (point := (*best[:axis], place, *best[axis + 1 :])) not in tried:
                return point
    return None


def settings_at(point: Point, ladders: Sequence[Ladder]) -> Settings:
    return {ladder.key: ladder.values[place] for ladder, place in zip(ladders, point, strict=True)}


def with_settings(recipe: TrainRecipe, settings: Settings) -> TrainRecipe:
    """The recipe with these settings of its method; a rank keeps LoRA's scale, so that it does not stand for another learning rate."""
    method = recipe.method.model_dump()
    if "lora_rank" in settings:
        settings = settings | {"lora_alpha": method["lora_alpha"] * settings["lora_rank"] / method["lora_rank"]}
    return type(recipe).model_validate(recipe.model_dump() | {"method": method | settings})


def _can_have(method: MethodConfig, init: str) -> bool:
    """Whether the method's other settings allow it: PiSSA takes whole matrices apart, and a quantised base has none."""
    try:
        type(method).model_validate(method.model_dump() | {"init": init})
    except ValidationError:
        return False
    return True


def _numbers(method: MethodConfig, key: str, factors: Sequence[float]) -> Ladder:
    """The recipe's own value and its multiples, ascending; whole numbers stay whole."""
    own = getattr(method, key)
    limit = 0.999 if key == "trainable_share" else float("inf")
    scaled = {max(1, round(own * factor)) if isinstance(own, int) else min(limit, float(f"{own * factor:.6g}")) for factor in factors}
    values = tuple(sorted(scaled | {own}))
    return Ladder(key, values, values.index(own))
