"""Whole recipes: one training run, or a study of many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from codetune.config.methods import FullConfig, Method
from codetune.config.sections import Architecture, Config, DataConfig, DecodingConfig, DecontaminateConfig, Device
from codetune.config.training import SamplesConfig, SearchConfig, Tracker, TrainConfig


def listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _seeds(value: Any) -> Any:
    """`seeds: 3` means the training seeds 0, 1 and 2."""
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class TrainRecipe(Config):
    """One model, one data set, one method, one seed: `codetune train`."""

    name: str
    model: str = Field(
        description="codetune-base (ships with codetune), a name such as gpt2 or codellama-7b, a folder, a run's folder, or a hub id"
    )
    architecture: Architecture | None = Field(None, description="start from random weights of this shape; `model` then names the tokenizer")
    data: DataConfig
    method: Method = FullConfig()
    start: Path | None = Field(None, description="an earlier run or adapter of the same method to go on from; default: none")
    train: TrainConfig = TrainConfig()
    samples: SamplesConfig | None = Field(None, description="answers written and run during training; default: none")
    search: SearchConfig | None = Field(None, description="settings searched for before the run; default: those of the recipe")
    trackers: Annotated[tuple[Tracker, ...], BeforeValidator(listed)] = Field((), description="where metrics go besides metrics.jsonl")
    device: Device = Field("auto", description="auto: a GPU where there is one")
    decontaminate: DecontaminateConfig | None = Field(None, description="training data that overlaps benchmarks; default: not looked for")
    seed: int = 0
    out: Path | None = Field(None, description="default: runs/<name>")


class StudyRecipe(Config):
    """Methods x models x data x seeds, compared fairly: `codetune study run`."""

    name: str
    models: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    data: Annotated[tuple[DataConfig, ...], BeforeValidator(listed)] = Field(min_length=1)
    methods: Annotated[tuple[Method, ...], BeforeValidator(listed)] = ()
    few_shot: int = Field(0, ge=0, description="examples in the prompt of the row `base few-shot`; 0: no such row")
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = Field((0,), min_length=1)
    train: TrainConfig = TrainConfig()
    decoding: DecodingConfig = DecodingConfig()
    benchmarks: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(min_length=1)
    decontaminate: DecontaminateConfig = Field(DecontaminateConfig(), description="training data that overlaps the benchmarks")
    max_problems: int | None = Field(None, gt=0, description="only the first so many problems of each benchmark")
    cells_at_once: int = Field(1, gt=0, description="cells that run side by side, the cores shared out evenly; 1 on a GPU")
    out: Path | None = Field(None, description="default: runs/<name>")

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.name
