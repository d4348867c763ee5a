"""The recipe of one training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from codetune.config.methods import FullConfig, Method
from codetune.config.sections import Architecture, Config, DataConfig, DecontaminateConfig, Device
from codetune.config.training import SamplesConfig, SearchConfig, Tracker, TrainConfig


def listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


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
