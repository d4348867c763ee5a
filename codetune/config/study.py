"""Recipes of studies: what is compared with what, on which data, under which budget, and how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from codetune.config.measures import MeasuresConfig
from codetune.config.methods import Method, MethodConfig
from codetune.config.recipes import listed
from codetune.config.sections import Config, DataConfig, DecodingConfig, DecontaminateConfig, Precision
from codetune.config.training import SearchConfig, TrainConfig

PretrainedOn = Literal["text", "code", "both", ""]
_METHOD: TypeAdapter[MethodConfig] = TypeAdapter(MethodConfig)


class ModelConfig(Config):
    """A model of a study; its name alone will do. What its authors tuned it with stands here, and holds for it alone."""

    name: str = Field(description="codetune-base, a name such as gpt2 or codellama-7b, a folder, a run's folder, or a hub id")
    label: str = Field("", description="what reports call it; default: its name")
    pretrained_on: PretrainedOn = Field("", description="text, code or both: a factor of the study; rows of code models are shaded")
    train: dict[str, Any] = Field({}, description="keys of `train` that this model has other than the study")
    data: dict[str, Any] = Field({}, description="keys of `data` that this model has other than the study, as prompt_style")
    methods: dict[str, dict[str, Any]] = Field({}, description="by a method's row, keys that it has other than the study for this model")
    without: dict[str, str] = Field({}, description="rows that this model does not have, each with the reason")

    @property
    def called(self) -> str:
        """What reports call it."""
        return self.label or self.name


class BroughtRow(Config):
    """An adapter, or a whole model, that was tuned elsewhere: evaluated as a row like the others."""

    label: str = Field(description="the row's name in reports")
    model: str = Field(description="the model of the study that it is compared with: for an adapter, its base")
    adapter: Path | None = Field(None, description="a folder of an adapter in PEFT's format")
    tuned: str | None = Field(None, description="in its place: a tuned model, as a folder or hub id")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.adapter is None) == (self.tuned is None):
            raise ValueError("give either adapter or tuned")
        return self


class BudgetConfig(Config):
    """What is equal between the methods that are compared; `train` has the budget itself."""

    equal: Literal["tokens", "time", "memory"] = Field(
        "tokens",
        description="tokens: all methods see the same; time: each sees as many as take the time that the first method's take, by the "
        "forecast; memory: each in the micro-batches and checkpointing that stay under memory_gb",
    )
    memory_gb: float | None = Field(None, gt=0, description="forecast peak that no run may pass, with equal: memory")

    @model_validator(mode="after")
    def _how_much(self) -> Self:
        if (self.equal == "memory") != (self.memory_gb is not None):
            raise ValueError("memory_gb goes with equal: memory, and that needs it")
        return self


def _models(value: Any) -> Any:
    return [{"name": one} if isinstance(one, str) else one for one in listed(value)]


def _seeds(value: Any) -> Any:
    """`seeds: 3` means the training seeds 0, 1 and 2."""
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class StudyRecipe(Config):
    """Methods x models x data x seeds, compared fairly: `codetune study run`."""

    name: str
    models: Annotated[tuple[ModelConfig, ...], BeforeValidator(_models)] = Field(min_length=1)
    data: Annotated[tuple[DataConfig, ...], BeforeValidator(listed)] = Field(min_length=1)
    data_sizes: Annotated[tuple[int, ...], BeforeValidator(listed)] = Field((), description="each data set cut to so many examples")
    methods: Annotated[tuple[Method, ...], BeforeValidator(listed)] = ()
    rows: Annotated[tuple[BroughtRow, ...], BeforeValidator(listed)] = Field((), description="adapters and models tuned elsewhere")
    few_shot: int = Field(0, ge=0, description="examples in the prompt of the row `base few-shot`; 0: no such row")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field((0,), min_length=1)
    train: TrainConfig = TrainConfig()
    search: SearchConfig | None = Field(
        None, description="the same search for every method, model and data set, with its first seed: rows `... tuned` beside the defaults"
    )
    default_rows: bool = Field(True, description="with a search: rows with the recipe's own settings, too")
    budget: BudgetConfig = Field(BudgetConfig(), description="what is equal between the methods")
    decoding: DecodingConfig = DecodingConfig()
    inference: Precision = Field("fp32", description="what weights and products are in when problems are answered")
    benchmarks: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    decontaminate: DecontaminateConfig = Field(DecontaminateConfig(), description="training data that overlaps the benchmarks")
    measures: MeasuresConfig = Field(MeasuresConfig(), description="what is measured of each cell besides its scores")
    max_problems: int | None = Field(None, gt=0, description="only the first so many problems of each benchmark")
    published: str = Field("", description="published figures that the report shows beside its own, by name; default: none")
    cells_at_once: int = Field(1, gt=0, description="cells that run side by side, the cores shared out evenly; 1 on a GPU")
    out: Path | None = Field(None, description="default: runs/<name>")

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.name

    @model_validator(mode="after")
    def _every_model_can_be_made(self) -> Self:
        """Settings of one model are settings of `train`, `data` and methods; raises ValueError that names the model."""
        rows = [method.label or method.name for method in self.methods]
        if twice := sorted({row for row in rows if rows.count(row) > 1}):
            raise ValueError(f"two rows are called {twice[0]!r}: give one of them a label")
        for model in self.models:
            if unknown := sorted({*model.methods, *model.without} - set(rows)):
                raise ValueError(f"model {model.called}: no row {unknown[0]!r} (rows: {', '.join(rows)})")
            self.train_of(model), [self.data_of(model, data) for data in self.data], self.methods_of(model)
        if len({data.root for data in self.data}) > 1:
            raise ValueError("data: one root for all data sets of a study, as its benchmarks are read from there, too")
        names = {model.name for model in self.models} | {model.called for model in self.models}
        for row in self.rows:
            if row.model not in names:
                raise ValueError(f"row {row.label!r}: model {row.model!r} is none of the study's ({', '.join(sorted(names))})")
        return self

    def train_of(self, model: ModelConfig) -> TrainConfig:
        """How a model of the study is trained."""
        return self.train.changed(model.train)

    def data_of(self, model: ModelConfig, data: DataConfig) -> DataConfig:
        """A data set of the study as a model reads it."""
        return DataConfig.model_validate(data.model_dump() | model.data)

    def methods_of(self, model: ModelConfig) -> tuple[MethodConfig, ...]:
        """The methods of a model, with what it has of its own."""
        found = []
        for method in self.methods:
            row = method.label or method.name
            if row not in model.without:
                given = method.model_dump(exclude_unset=True) | {"name": method.name}
                found.append(_METHOD.validate_python(given | model.methods.get(row, {})))
        return tuple(found)
