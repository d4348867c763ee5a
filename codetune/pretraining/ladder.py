"""The ladder: a few shapes, vocabularies and rates, each trained for a little while, of which the lowest held-out bits per byte wins.

Bits per byte are comparable between vocabularies, and the held-out files are the same for all: chosen by their hashes. Every rung sees as
many tokens, its rate falling to 0, so that none is judged in the middle of its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codetune.config import TrainRecipe
from codetune.records import Json

TOKENS = 15_000_000  # that each rung sees


@dataclass(frozen=True, slots=True)
class Rung:
    """What differs from the recipe: keys of the architecture, and the learning rate's factor."""

    name: str
    shape: tuple[tuple[str, int], ...] = ()
    rate: float = 1.0

    def of(self, start: TrainRecipe) -> TrainRecipe:
        """The start with this rung's shape and rate; a vocabulary of another size has its own corpus folder."""
        assert start.architecture is not None
        shape = start.architecture.model_copy(update=dict(self.shape))
        method = start.method.model_copy(update={"learning_rate": start.method.learning_rate * self.rate})
        return data_of(start.model_copy(update={"architecture": shape, "method": method}), start)

    def trial(self, start: TrainRecipe, folder: Path, tokens: int) -> TrainRecipe:
        """The same for so many tokens, in a folder of its own."""
        train = start.train.changed({"train_tokens": tokens, "validations": 1})
        return self.of(start).model_copy(update={"name": f"{start.name}-{self.name}", "train": train, "out": folder})


def data_of(recipe: TrainRecipe, start: TrainRecipe) -> TrainRecipe:
    """The recipe with the corpus and the tokenizer of its vocabulary."""
    assert recipe.architecture is not None
    assert start.architecture is not None
    assert start.data.path is not None
    size = recipe.architecture.vocab_size
    path = start.data.path if size == start.architecture.vocab_size else start.data.path.with_name(f"{start.data.path.name}-{size}")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": path}), "model": str(path / "tokenizer")})


_DEEP = (("hidden_size", 256), ("num_layers", 12), ("num_heads", 4), ("intermediate_size", 704))  # 11.7 million parameters
_SMALL = (("hidden_size", 256), ("num_layers", 8), ("num_heads", 4), ("intermediate_size", 704))  # 8.5 million
_WIDE = (("hidden_size", 384), ("num_layers", 6), ("num_heads", 6), ("intermediate_size", 1024))  # 13.8 million
RUNGS = (
    Rung("start"),
    Rung("rate-x2", rate=2.0),
    Rung("wide", _WIDE),
    Rung("deep", _DEEP),
    Rung("small", _SMALL),
    Rung("rate-half", rate=0.5),
)  # in the order of their worth, should time run out
VOCABULARY = Rung("vocabulary-4096", (("vocab_size", 4096),))  # with a corpus of its own, so only where it is asked for


def best(measured: dict[str, Json]) -> str:
    """The rung of the lowest bits per byte, the first of equals; "" where none of them came to an end."""
    ended = {name: found for name, found in measured.items() if "bits_per_byte" in found}
    return min(ended, key=lambda name: float(ended[name]["bits_per_byte"]), default="")
