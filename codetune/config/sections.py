"""The sections that recipes are made of, methods and training aside: data, decoding, shapes. Also the base of all sections."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Style = Literal["instruction", "alpaca", "docstring", "chat", "completion", "austin-0shot", "incoder"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Quantize = Literal["none", "nf4"]
LossOn = Literal["completion", "assistant", "all"]


class Config(BaseModel):
    """Base of all recipe sections: unknown keys are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InfillingConfig(Config):
    """Plain code turned into fill-in-the-middle (Bavarian et al. 2022), at a rate."""

    rate: float = Field(0.0, ge=0, le=1, description="share of plain code documents; pairs and conversations stay as they are")
    spm_share: float = Field(0.5, ge=0, le=1, description="of these, how many are written suffix first (SPM); the others prefix first")
    tokens: Literal["auto"] | tuple[str, str, str] = Field(
        "auto", description="the marks of prefix, suffix and middle; auto: those of the model's tokenizer"
    )


class DecontaminateConfig(Config):
    """Training data that overlaps a benchmark is left out, and counted."""

    against: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="benchmarks by name, in a study besides its own; auto: those of the study, else all that are found"
    )
    run_words: int = Field(13, ge=5, description="so many words in a row, in common, are an overlap (GPT-3's rule; Brown et al. 2020)")
    min_share: float = Field(0.1, ge=0, le=1, description="of a problem's text, code or tests, in such runs; fewer are set phrases")
    drop: bool = Field(True, description="leave overlapping training documents out; false: only count them")
    max_overlap: float = Field(0.0, ge=0, le=1, description="share of a benchmark's problems that training data may overlap")
    publish_anyway: bool = Field(False, description="show scores beyond max_overlap, marked, instead of striking them out")


class DataConfig(Config):
    """What is tuned on, and how it is written as text."""

    source: str = Field(description="a name of `codetune data list`, a file of your own, or a folder that `codetune data prepare` wrote")
    label: str = Field("", description="what a study's reports call it; default: its source")
    split: str = "train"
    path: Path | None = Field(None, description="a local copy of a named source; default: CODETUNE_DATA/<source>")
    root: Path | None = Field(
        None, exclude_if=lambda root: root is None,
        description="the folder of data sets, benchmarks among them, in place of the one CODETUNE_DATA names",
    )  # fmt: skip
    prompt_style: Style = "instruction"
    loss_on: LossOn = Field(
        "completion", description="which tokens count for the loss; assistant: every assistant turn of a conversation, completion: its last"
    )
    infilling: InfillingConfig = Field(InfillingConfig(), description="plain code as fill-in-the-middle")
    validation_examples: int = Field(200, ge=0, description="taken off the end where the source has no validation split")
    max_examples: int | None = Field(None, gt=0)


class DecodingConfig(Config):
    """How completions are written. Temperature 0 is greedy; 0.2 with top_p 0.95 is the published sampling."""

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, gt=0, description="samples per problem")
    max_new_tokens: int = Field(256, gt=0)
    batch_size: int = Field(32, gt=0)
    seed: int = 0


class Architecture(Config):
    """A Llama-architecture model from scratch (what `recipes/base-model.yaml` pre-trains)."""

    hidden_size: int = 256
    num_layers: int = 8
    num_heads: int = 4
    intermediate_size: int = 704
    max_positions: int = 1024
    vocab_size: int = 8192
