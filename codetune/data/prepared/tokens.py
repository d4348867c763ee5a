"""The last stage, where a recipe asks for it: token ids and packed rows of a prepared folder, as `codetune train` will look for them.

`tokens.json` has their numbers by split; lengths are a histogram as in `Account`, of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from codetune.data.pack import best_fit_decreasing, save_rows
from codetune.data.prepared.account import histogram
from codetune.data.prepared.read import TOKENS, files_of
from codetune.data.training import Maker, tokenise_documents
from codetune.records import Json
from codetune.runs import write_json


def make_tokens(folder: Path, maker: Maker, processes: int, progress: Callable[[int, int], None]) -> Json:
    """Tokens and rows of training and validation; returns their numbers by split. Of validation, code keeps no hole."""
    made: Json = {}
    for split in ("train", "validation"):
        files = tuple(files_of(folder, split))
        if not files:
            continue
        examples = tokenise_documents(files, maker if split == "train" else replace(maker, infilling=None), folder, processes, progress)
        rows = best_fit_decreasing(examples.lengths, maker.max_length)
        save_rows(folder / f"rows-{split}-{maker.max_length}", rows, {"examples": len(examples)})
        made[split] = {
            "examples": len(examples), "tokens": len(examples.ids), "supervised_tokens": examples.supervised_tokens,
            "left_out_long": examples.dropped_long, "rows": len(rows), "fill": len(examples.ids) / (len(rows) * maker.max_length),
            "lengths": histogram(examples.lengths),
        }  # fmt: skip
    write_json(folder / TOKENS, made)
    return made
