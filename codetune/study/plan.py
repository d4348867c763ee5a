"""The grid of a study: one cell for each model x data x row x seed, keyed by the hash of all that determines what is trained.

Change a learning rate and only those cells are trained again. A finished cell whose decoding changed keeps its training and is only
evaluated anew. Benchmarks determine which training data is left out; the base row, and a study that drops none, keep theirs too.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetune.config import (
    CHANGES_NO_RESULT,
    Config,
    DataConfig,
    DecodingConfig,
    DecontaminateConfig,
    MeasuresConfig,
    MethodConfig,
    StudyRecipe,
    TrainRecipe,
    content_hash,
)
from codetune.data.benchmarks import Benchmark
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.training import data_hash
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.models.stages import model_files_hash, staged_hash, stages_of
from codetune.study.cells import BASE, FEW_SHOT

RESULT = "result.json"


class CellConfig(Config):
    """All that one cell needs to run by itself, in a process of its own; kept as `cell.json` in its folder."""

    key: str
    folder: Path
    model: str
    method: str
    row: str
    data: DataConfig
    data_label: str
    seed: int
    train: TrainRecipe | None
    few_shot: int = 0
    decoding: DecodingConfig
    benchmarks: tuple[str, ...]
    max_problems: int | None = None
    decontaminate: DecontaminateConfig  # `against` names the benchmarks
    measures: MeasuresConfig = MeasuresConfig()
    hashes: dict[str, Any]  # of model, data, benchmarks, and what the data is decontaminated against

    @property
    def evaluation_hash(self) -> str:
        """Of what determines the scores, beyond what was trained."""
        measures = self.measures.model_dump(mode="json", exclude={"price_per_hour", "currency"})
        how = [self.decoding.model_dump(mode="json"), self.decontaminate.model_dump(mode="json"), measures]
        return content_hash([*how, self.benchmarks, self.max_problems, self.hashes["benchmarks"]])


def plan_cells(recipe: StudyRecipe) -> list[CellConfig]:
    """All cells, each model's base rows first. Raises UserError for data or benchmarks that are not there."""
    against = {name: load_benchmark(name).sha256 for name in against_of(recipe)}
    benchmarks = {name: against[name] for name in recipe.benchmarks}
    cells: list[CellConfig] = []
    for model in (each.name for each in recipe.models):
        for data in recipe.data:
            hashes = {"model": model_hash(model), "data": _data_hash(data), "benchmarks": benchmarks, "against": against}
            cells += _block(recipe, model, data, hashes)
    return cells


def against_of(recipe: StudyRecipe) -> tuple[str, ...]:
    """The benchmarks that training data must not overlap: the study's own, and what its recipe names besides."""
    more = () if recipe.decontaminate.against == "auto" else recipe.decontaminate.against
    return tuple(dict.fromkeys([*recipe.benchmarks, *more]))


def _block(recipe: StudyRecipe, model: str, data: DataConfig, hashes: dict[str, Any]) -> list[CellConfig]:
    """The rows of one model on one data set."""
    cells = [_cell(recipe, model, data, hashes, None, 0, 0)]
    if recipe.few_shot:
        cells.append(_cell(recipe, model, data, hashes, None, 0, recipe.few_shot))
    return cells + [_cell(recipe, model, data, hashes, method, seed, 0) for method in recipe.methods for seed in recipe.seeds]


def _cell(
    recipe: StudyRecipe, model: str, data: DataConfig, hashes: dict[str, Any], method: MethodConfig | None, seed: int, few_shot: int
) -> CellConfig:
    row = (FEW_SHOT if few_shot else BASE) if method is None else method.label or method.name
    decontaminate = recipe.decontaminate.model_copy(update={"against": tuple(hashes["against"])})
    leaving_out = None  # what determines which data is left out, and nothing that only gates ask for
    if decontaminate.drop and (method is not None or few_shot):
        leaving_out = decontaminate.model_copy(update=DecontaminateConfig().model_dump(include={"max_overlap", "publish_anyway"}))
    train = None
    if method is not None:
        named = {"name": row, "model": model, "data": data, "method": method, "seed": seed}
        train = TrainRecipe(**named, train=recipe.train, decontaminate=leaving_out)
    determined = [
        importlib.metadata.version("codetune"), hashes["model"], hashes["data"], data.model_dump(mode="json", exclude={"path"}),
        None if method is None else [method.model_dump(mode="json"), recipe.train.model_dump(mode="json", exclude=set(CHANGES_NO_RESULT))],
        seed, few_shot, leaving_out and [leaving_out.run_words, leaving_out.min_share, sorted(hashes["against"].items())],
    ]  # fmt: skip
    key = content_hash(determined)
    label = data.source if data.path is None and "/" not in data.source else Path(data.source).stem
    folder = recipe.folder / "cells" / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', row)}-{key}"
    return CellConfig(
        key=key, folder=folder, model=model, method=BASE if method is None else method.name, row=row, data=data, data_label=label,
        seed=seed, train=train, few_shot=few_shot, decoding=recipe.decoding, benchmarks=recipe.benchmarks,
        max_problems=recipe.max_problems, decontaminate=decontaminate, measures=recipe.measures, hashes=hashes,
    )  # fmt: skip


def limited(benchmark: Benchmark, max_problems: int | None) -> tuple[Any, ...]:
    """The problems that a study asks of a benchmark."""
    return benchmark.problems[:max_problems]


def model_hash(model: str) -> str:
    """A hash of a local model's files; a hub id stands for itself. Of an earlier run, of its base and all adapters merged into that."""
    stages = stages_of(model)
    folder = SHIPPED.get(stages.base, Path(stages.base))
    base = model_files_hash(folder) if folder.is_dir() else f"hub:{stages.base}"
    return staged_hash(base, stages.adapters)


def _data_hash(data: DataConfig) -> str:
    if data.source == "corpus":
        raise UserError("a study tunes on problems, not on the raw corpus: give data.source as basics, conala, mbpp or a file")
    return data_hash(data)


def unfinished(cells: Sequence[CellConfig], results: Sequence[dict[str, Any] | None]) -> list[CellConfig]:
    """Cells without a result, or with one of another evaluation."""
    pairs = zip(cells, results, strict=True)
    return [cell for cell, result in pairs if not result or result.get("evaluation_hash") != cell.evaluation_hash]
