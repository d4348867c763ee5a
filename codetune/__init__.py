"""codetune fine-tunes open language models to write code, finds out which tuning method is best, and serves the winner.

What the command line does, Python does, with the same records:

    import codetune
    manifest = codetune.prepare(codetune.load_recipe(path, codetune.DataRecipe))
    summary = codetune.finetune(codetune.load_recipe(path, codetune.TrainRecipe), folder)
    scores = codetune.score(samples, "basics-known")
    mended = codetune.mend("stats.py", tests="test_stats.py")
    report = codetune.study(codetune.load_recipe(path, codetune.StudyRecipe))

Names are looked up when they are first used, so that `import codetune` loads neither torch nor anything else that is heavy.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "prepare": "codetune.data.prepared.make",
    "finetune": "codetune.tuning",
    "mend": "codetune.api",
    "load_recipe": "codetune.config",
    "TrainRecipe": "codetune.config",
    "StudyRecipe": "codetune.config",
    "DataRecipe": "codetune.data_recipe",
    "DecodingConfig": "codetune.config",
    "Problem": "codetune.records",
    "Sample": "codetune.records",
    "UserError": "codetune.errors",
    "shipped_recipes": "codetune.config",
}
_CALLABLE = ("evaluate", "score", "study")  # modules of these names that are functions, too: see `callable`
__all__ = sorted([*_HOME, *_CALLABLE])


def __getattr__(name: str) -> Any:
    if name in _CALLABLE:
        return importlib.import_module(f"codetune.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'codetune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
