"""How a run is trained: budget, optimiser, precision, checkpoints, what it is watched by, and how settings are searched for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from codetune.config.sections import Config, DecodingConfig

Packing = Literal["exact", "padded", "concatenated"]
TrainPrecision = Literal["fp32", "bf16", "bf16_weights", "auto"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet_ml", "aim", "clearml", "dvclive", "swanlab"]


CHANGES_NO_RESULT = frozenset({"checkpoint_every_s", "checkpoints_kept"})  # of TrainConfig
CHANGES_ROUNDING = frozenset({  # no more than that: a run may go on with others
    "micro_batch_size", "activation_checkpointing", "fast", "compile", "offload_frozen_weights", "offload_buffers",
    "optimizer_in_backward",
})  # fmt: skip


class TrainConfig(Config):
    """One training run. Budgets are in tokens, never in seconds, so that every machine gets the same model."""

    train_tokens: int = Field(300_000, gt=0, description="text tokens seen in all; virtual tokens and padding do not count")
    epochs: float | None = Field(None, gt=0, description="in place of train_tokens: how often all data is seen, as published work has it")
    batch_tokens: int = Field(4096, gt=0, description="text tokens per optimiser step, rounded to whole rows")
    micro_batch_size: int = Field(
        4, gt=0, description="rows per forward pass; changes memory and speed, not the result; a stopped run may go on with another"
    )
    max_seq_len: int = Field(512, gt=1, description="text tokens per packed row; longer examples are dropped and counted")
    packing: Packing = Field("exact", description="concatenated lets documents see each other, as published work did")
    optimizer: Literal["adamw", "adam", "muon", "adamw_8bit", "adafactor"] = "adamw"
    weight_decay: float = Field(0.0, ge=0, description="never applied to norms, biases and soft prompts")
    beta2: float = Field(0.98, gt=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, lt=1, description="share of all steps")
    final_lr_share: float = Field(0.05, ge=0, le=1, description="the last step's share of the peak (cosine and linear)")
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradients are scaled down to it together; null: not at all")
    optimizer_in_backward: bool = Field(
        False, exclude_if=lambda chosen: not chosen,
        description="update each weight as soon as its gradient is whole, and drop that: for steps of one micro-batch; the same weights; "
        "with max_grad_norm every step is computed twice, as their norm must be known first",
    )  # fmt: skip
    precision: TrainPrecision = Field(
        "fp32",
        description="bf16: products in bf16, trained weights and optimiser in fp32; bf16_weights: all weights in bf16, updated with "
        "stochastic rounding, for what would not fit; auto: bf16 where the machine computes in it, else fp32",
    )
    activation_checkpointing: bool | Literal["auto"] = Field(
        False,
        description="compute layers twice instead of keeping what they computed; auto: where the forecast says that the run would not fit "
        "otherwise; a stopped run may go on with it",
    )  # fmt: skip
    offload_frozen_weights: bool = Field(
        False, exclude_if=lambda chosen: not chosen,
        description="keep the layers' frozen weights in main memory and copy them to the GPU layer by layer, the next while one computes: "
        "the same numbers, for GPUs that a base does not fit; a stopped run may go on with it",
    )  # fmt: skip
    offload_buffers: int = Field(
        2, ge=2, exclude_if=lambda chosen: chosen == 2, description="layers whose frozen weights are on the GPU at once, of those"
    )
    fast: bool = Field(
        True, exclude_if=lambda chosen: chosen,
        description="codetune's own faster computations of the same numbers; false: the plain ones of transformers and PEFT",
    )  # fmt: skip
    compile: bool | Literal["cuda_graphs"] = Field(
        False, exclude_if=lambda chosen: not chosen,
        description="have torch.compile make each decoder layer a few operations, for small models, whose many small ones a GPU waits for: "
        "the same numbers but for rounding, after up to minutes of compiling; cuda_graphs: and start each layer as one, on a CUDA GPU",
    )  # fmt: skip
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="with several processes: the whole model in each, or sharded over all (FSDP2)"
    )
    validations: int = Field(5, ge=0, description="how often the validation loss is measured; 0: never")
    monitor: Literal["loss", "pass_rate"] = Field("loss", description="what `keep: best` and `patience` go by; pass_rate needs `samples`")
    keep: Literal["best", "last"] = Field("best", description="which weights are kept, by what is monitored")
    patience: int = Field(0, ge=0, description="stop after so many measurements without a better one; 0: never")
    checkpoint_every_s: float = Field(60.0, gt=0)
    checkpoints_kept: int = Field(2, gt=0, description="the newest so many; where the newest is damaged, the one before serves")
    on_bad_step: Literal["stop", "roll_back"] = Field(
        "stop", description="after a loss that is no number, or a spike: stop and name the examples, or go back and pass over them"
    )
    spike_factor: float = Field(
        3.0, ge=0, description="a loss so many times the median of the last steps, and above the first step's, is a spike; 0: none is"
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None or key != "train_tokens"}

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.epochs is not None and "train_tokens" in self.model_fields_set:
            raise ValueError("train_tokens and epochs both say how long is trained: give one of them, the other as null")
        return self

    @model_serializer(mode="wrap")
    def _without_the_budget_that_does_not_count(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept: dict[str, Any] = dump(self)
        kept.pop("epochs" if self.epochs is None else "train_tokens", None)
        return kept

    def tokens(self, of_the_data: int) -> int:
        """Text tokens to be seen, of data that has so many in one pass."""
        return self.train_tokens if self.epochs is None else max(1, round(self.epochs * of_the_data))

    @property
    def layers_twice(self) -> bool:
        """Whether layers are computed twice; `auto` is no, until a run has settled it."""
        return self.activation_checkpointing is True

    def part(self, share: float) -> TrainConfig:
        """The same with a share of the budget."""
        if self.epochs is not None:
            return self.model_copy(update={"epochs": self.epochs * share})
        return self.model_copy(update={"train_tokens": max(1, int(self.train_tokens * share))})

    def changed(self, keys: Mapping[str, Any]) -> TrainConfig:
        """With other values for some keys; a budget among them takes the place of the one that was there, in tokens or in epochs."""
        kept = self.model_dump()
        if {"train_tokens", "epochs"} & keys.keys():
            kept = {key: value for key, value in kept.items() if key not in ("train_tokens", "epochs")}
        return TrainConfig.model_validate(kept | dict(keys))


class SamplesConfig(Config):
    """Answers written and run in the sandbox during training, so that one sees what a falling loss is worth."""

    benchmark: str = Field(description="a benchmark's name, or a JSONL file of problems; not the one that decides in the end")
    max_problems: int = Field(20, gt=0, description="only the first so many problems")
    times: int = Field(4, gt=0, description="how often, at evenly spaced steps, the last one included")
    decoding: DecodingConfig = DecodingConfig()


class SearchConfig(Config):
    """Settings searched for before the run, by Optuna, each trial pruned on its validation loss; the default is always one of them."""

    trials: int = Field(8, gt=1, description="runs in all, the default among them")
    minutes: float | None = Field(None, gt=0, description="begin no further trial after so long")
    budget_share: float = Field(0.25, gt=0, le=1, description="of train_tokens, in each trial")
    learning_rates: tuple[float, ...] = Field((0.1, 0.3, 1.0, 3.0, 10.0), min_length=1, description="factors of the method's rate")
    sizes: tuple[float, ...] = Field((1.0,), min_length=1, description="factors of lora_rank, num_virtual_tokens or bottleneck_size")
    inits: bool = Field(True, description="try the other ways to initialise, where the method has several")
