"""The grid of a study: one cell for each model x data x row x seed, keyed by the hash of all that determines what is trained.

Change a learning rate and only those cells are trained again. A finished cell whose decoding changed keeps its training and is only
evaluated anew. Benchmarks determine which training data is left out; the base row, and a study that drops none, keep theirs too.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetune.config import (
    CHANGES_NO_RESULT,
    BroughtRow,
    BudgetConfig,
    Config,
    DataConfig,
    DecodingConfig,
    DecontaminateConfig,
    MeasuresConfig,
    MethodConfig,
    ModelConfig,
    Precision,
    StudyRecipe,
    TrainRecipe,
    content_hash,
)
from codetune.data.benchmarks import Benchmark
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.files import use_root
from codetune.data.training import data_hash
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.models.stages import model_files_hash, staged_hash, stages_of
from codetune.study.cells import BASE, BROUGHT, FEW_SHOT, TUNED

RESULT = "result.json"
JOB, FOUND = "job.json", "search.json"  # of a search: what it is, and what it found
CELLS, SEARCHES = "cells", "searches"  # folders of a study


class CellConfig(Config):
    """All that one cell needs to run by itself, in a process of its own; kept as `cell.json` in its folder."""

    key: str
    folder: Path
    model: str  # what is loaded
    called: str  # the model of the study that the row stands beside, as reports call it
    method: str
    row: str
    data: DataConfig
    data_label: str
    factors: dict[str, str | int | None]
    seed: int
    train: TrainRecipe | None
    few_shot: int = 0
    adapter: Path | None = None  # brought from elsewhere
    budget: BudgetConfig = BudgetConfig()
    reference: TrainRecipe | None = None  # the run whose time the others get, where budgets are equal by time
    search: Path | None = None  # the folder of the search that settles this row
    same_if_default: Path | None = None  # the cell that this one equals where the search finds nothing better than the recipe's settings
    decoding: DecodingConfig
    inference: Precision = "fp32"
    benchmarks: tuple[str, ...]
    max_problems: int | None = None
    decontaminate: DecontaminateConfig  # `against` names the benchmarks
    measures: MeasuresConfig = MeasuresConfig()
    hashes: dict[str, Any]  # of model, data, benchmarks, and what the data is decontaminated against

    @property
    def evaluation_hash(self) -> str:
        """Of what determines the scores, beyond what was trained."""
        measures = self.measures.model_dump(mode="json", exclude={"price_per_hour", "currency"})
        how = [self.decoding.model_dump(mode="json"), self.inference, self.decontaminate.model_dump(mode="json"), measures]
        return content_hash([*how, self.benchmarks, self.max_problems, self.hashes["benchmarks"]])


class SearchJob(Config):
    """The search that settles a row, before its cells are trained; kept as `job.json` in its folder, with all its trials."""

    folder: Path
    row: str
    called: str
    data_label: str
    seed: int
    train: TrainRecipe  # with `search`
    budget: BudgetConfig
    reference: TrainRecipe | None


def plan_cells(recipe: StudyRecipe) -> list[CellConfig]:
    """All cells, each model's base rows first. Raises UserError for data or benchmarks that are not there."""
    return [cell for block in _blocks(recipe) for cell in block.cells()]


def plan_searches(recipe: StudyRecipe) -> list[SearchJob]:
    """The searches that the study's tuned rows need, one for each model x data x method."""
    return [] if recipe.search is None else [job for block in _blocks(recipe) for job in block.searches()]


def against_of(recipe: StudyRecipe) -> tuple[str, ...]:
    """The benchmarks that training data must not overlap: the study's own, and what its recipe names besides."""
    more = () if recipe.decontaminate.against == "auto" else recipe.decontaminate.against
    return tuple(dict.fromkeys([*recipe.benchmarks, *more]))


def benchmarks_of(recipe: StudyRecipe) -> dict[str, Benchmark]:
    """What is asked, by the name or path in the recipe: the study's benchmarks, then what only measures forgetting.

    Raises UserError for what is not there, and where two files have one name, since records and tables go by it.
    """
    found = {given: load_benchmark(given) for given in dict.fromkeys([*recipe.benchmarks, *recipe.measures.forgetting])}
    first: dict[str, str] = {}
    for given, benchmark in found.items():
        other = first.setdefault(benchmark.name, given)
        if found[other].sha256 != benchmark.sha256:
            raise UserError(f"benchmarks {other} and {given} are both called {benchmark.name!r} in the study's tables: rename one of them")
    return found


def _blocks(recipe: StudyRecipe) -> Iterator[_Block]:
    use_root(recipe.data[0].root)
    against = {name: load_benchmark(name).sha256 for name in against_of(recipe)}
    benchmarks = {name: each.sha256 for name, each in benchmarks_of(recipe).items()}
    for model in recipe.models:
        hashed = model_hash(model.name)
        for data in (recipe.data_of(model, each) for each in recipe.data):
            hashes = {"model": hashed, "data": _data_hash(data), "benchmarks": benchmarks, "against": against}
            yield _Block(recipe, model, data.model_copy(update={"label": ""}), data.label or _label(data), hashes)


@dataclass(frozen=True)
class _Block:
    """One model on one data set, in all its sizes."""

    recipe: StudyRecipe
    model: ModelConfig
    data: DataConfig
    label: str
    hashes: dict[str, Any]

    def cells(self) -> list[CellConfig]:
        """Rows that train nothing are the same for every size of the data: they are there once."""
        found = [self._untrained(BASE, BASE)]
        if self.recipe.few_shot:
            found.append(self._untrained(FEW_SHOT, BASE, few_shot=self.recipe.few_shot))
        for row in self.recipe.rows:
            if row.model in (self.model.name, self.model.called):
                hashed = {"model": model_hash(row.tuned)} if row.tuned else {"adapter": model_files_hash(_adapter(row))}
                model, hashes = row.tuned or self.model.name, self.hashes | hashed
                found.append(self._untrained(row.label, BROUGHT, model=model, adapter=row.adapter, hashes=hashes))
        for method, size in itertools.product(self.recipe.methods_of(self.model), self._sizes()):
            if self.recipe.default_rows or not self.recipe.search:
                found += [self._trained(method, size, seed) for seed in self.recipe.seeds]
            if self.recipe.search:
                found += [self._tuned(method, size, seed) for seed in self.recipe.seeds]
        return found

    def searches(self) -> list[SearchJob]:
        return [self._search(method, size) for method in self.recipe.methods_of(self.model) for size in self._sizes()]

    def _sizes(self) -> Sequence[int | None]:
        return self.recipe.data_sizes or (None,)

    def _untrained(self, row: str, method: str, **more: Any) -> CellConfig:
        few_shot, hashes = more.get("few_shot", 0), more.get("hashes", self.hashes)
        adapter = [hashes["adapter"]] if "adapter" in hashes else []
        twice = [model.name for model in self.recipe.models].count(self.model.name) > 1  # under two labels: each has rows of its own
        determined = [*self._determined(hashes, self.data, None, 0, few_shot), *adapter, *([self.model.called] if twice else [])]
        key = content_hash(determined)
        named = {"model": self.model.name, "data": self.data, "data_label": self.label, "seed": 0, "train": None, "hashes": hashes}
        return self._cell(key, row, method, None, **named | more)

    def _trained(self, method: MethodConfig, size: int | None, seed: int) -> CellConfig:
        train = self._recipe(method, size, seed)
        key = content_hash([*self._determined(self.hashes, train.data, method, seed, 0), *self._budget_key(method, size)])
        named = {"model": self.model.name, "data": train.data, "data_label": self._sized(size), "seed": seed, "train": train}
        named |= {"reference": self._reference(size), "budget": self.recipe.budget, "hashes": self.hashes}
        return self._cell(key, _row(method), method.name, size, **named)

    def _tuned(self, method: MethodConfig, size: int | None, seed: int) -> CellConfig:
        """As the row with the recipe's settings, but with those that the search finds."""
        cell, search = self._trained(method, size, seed), self._search(method, size)
        row, key = f"{cell.row} {TUNED}", content_hash([cell.key, search.folder.name])
        changed = {"key": key, "row": row, "folder": self._folder(row, key), "search": search.folder, "same_if_default": cell.folder}
        return cell.model_copy(update=changed)

    def _search(self, method: MethodConfig, size: int | None) -> SearchJob:
        first = self._trained(method, size, self.recipe.seeds[0])
        assert first.train is not None
        assert self.recipe.search is not None
        key = content_hash([first.key, self.recipe.search.model_dump(mode="json")])
        train = first.train.model_copy(update={"search": self.recipe.search})
        folder = self.recipe.folder / SEARCHES / self._folder(first.row, key).name
        return SearchJob(
            folder=folder, row=first.row, called=first.called, data_label=first.data_label, seed=first.seed, train=train,
            budget=first.budget, reference=first.reference,
        )  # fmt: skip

    def _recipe(self, method: MethodConfig, size: int | None, seed: int) -> TrainRecipe:
        data = self.data if size is None else self.data.model_copy(update={"max_examples": size})
        named = {"name": _row(method), "model": self.model.name, "data": data, "method": method, "seed": seed}
        return TrainRecipe(**named, train=self.recipe.train_of(self.model), decontaminate=self._leaving_out())

    def _leaving_out(self) -> DecontaminateConfig | None:
        """What determines which data is left out, and nothing that only gates ask for."""
        asked = self._decontaminate()
        if not asked.drop:
            return None
        return asked.model_copy(update=DecontaminateConfig().model_dump(include={"max_overlap", "publish_anyway"}))

    def _decontaminate(self) -> DecontaminateConfig:
        return self.recipe.decontaminate.model_copy(update={"against": tuple(self.hashes["against"])})

    def _reference(self, size: int | None) -> TrainRecipe | None:
        """The first method's run, where the others get its time."""
        if self.recipe.budget.equal != "time":
            return None
        return self._recipe(self.recipe.methods_of(self.model)[0], size, self.recipe.seeds[0])

    def _budget_key(self, method: MethodConfig, size: int | None) -> list[Any]:
        """What of the budget determines what is trained. Equal memory changes rounding alone."""
        reference = self._reference(size)
        return [] if reference is None or reference.method == method else [reference.method.model_dump(mode="json")]

    def _determined(self, hashes: dict[str, Any], data: DataConfig, method: MethodConfig | None, seed: int, few_shot: int) -> list[Any]:
        leaving_out = self._leaving_out() if method is not None or few_shot else None
        train = self.recipe.train_of(self.model).model_dump(mode="json", exclude=set(CHANGES_NO_RESULT))
        return [
            importlib.metadata.version("codetune"), hashes["model"], hashes["data"],
            data.model_dump(mode="json", exclude={"path", "label", "root"}),
            None if method is None else [method.model_dump(mode="json"), train],
            seed, few_shot, leaving_out and [leaving_out.run_words, leaving_out.min_share, sorted(hashes["against"].items())],
        ]  # fmt: skip

    def _cell(self, key: str, row: str, method: str, size: int | None, **named: Any) -> CellConfig:
        recipe = self.recipe
        factors = {"pretrained_on": self.model.pretrained_on, "corpus": self.label, "data_size": size}
        return CellConfig(
            key=key, folder=self._folder(row, key), called=self.model.called, method=method, row=row, factors=factors,
            decoding=recipe.decoding, inference=recipe.inference, benchmarks=recipe.benchmarks, max_problems=recipe.max_problems,
            measures=recipe.measures, decontaminate=self._decontaminate(), **named,
        )  # fmt: skip

    def _folder(self, row: str, key: str) -> Path:
        return self.recipe.folder / CELLS / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', row)}-{key}"

    def _sized(self, size: int | None) -> str:
        return self.label if size is None else f"{self.label} {size}"


def _row(method: MethodConfig) -> str:
    return method.label or method.name


def _label(data: DataConfig) -> str:
    return data.source if data.path is None and "/" not in data.source else Path(data.source).stem


def _adapter(row: BroughtRow) -> Path:
    """Raises UserError where the row's adapter is not there."""
    folder = row.adapter
    assert folder is not None
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"row {row.label!r}: no adapter in {folder}: give a folder with adapter_config.json, as PEFT saves it")
    return folder


def limited(benchmark: Benchmark, max_problems: int | None) -> Benchmark:
    """A benchmark with the problems that a study asks of it."""
    return replace(benchmark, problems=benchmark.problems[:max_problems])


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
