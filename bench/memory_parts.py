"""What the memory benchmarks measure: models by shape, methods, precisions; of each a part that measures and one that forecasts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import transformers
from pydantic import TypeAdapter

from bench.parts import Part
from codetune.batches import full_rows
from codetune.config import METHOD_NAMES, MethodConfig, TrainConfig
from codetune.errors import UserError
from codetune.models.families import family_of
from codetune.models.forecast import Pass
from codetune.models.published import published_config
from codetune.train.dry_run import documents_of, job_of
from codetune.train.memory import MemoryForecast, forecast_memory

CPU_MODELS = ("gpt2", "llama-109m")
GPU_MODELS = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "falcon-7b", "mistral-7b", "codellama-7b")
FIRST = ("full", "lora", "prefix_tuning", "prompt_tuning", "qlora")
METHODS = (*FIRST, *(name for name in METHOD_NAMES if name not in FIRST))
RANK = 16  # of LoRA, as published
SEVEN = ("falcon-7b", "mistral-7b", "codellama-7b")
FORECAST = "forecast"  # begins the names of the parts that forecast
_METHOD: TypeAdapter[MethodConfig] = TypeAdapter(MethodConfig)
_LLAMA_109M: dict[str, Any] = {
    "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 2048, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
_TINY: dict[str, Any] = {  # whichever of these a family's config has
    "num_hidden_layers": 2, "n_layer": 2, "hidden_size": 64, "n_embd": 64, "num_attention_heads": 4, "n_head": 4, "intermediate_size": 128,
    "vocab_size": 512,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """A few steps of codetune's: model, method and settings."""

    model: str
    method: str
    precision: Literal["fp32", "bf16", "bf16_weights"]
    rows: int
    tokens: int  # per row, at most: virtual tokens take up positions, too
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    checkpointing: bool = False
    tiny: bool = False
    passes: int = 1  # per step: from the second on, gradients are there already
    offloaded: bool = False  # frozen weights in main memory
    in_backward: bool = False  # the optimiser's step inside the backward pass
    cap_gb: float = 0.0  # of the GPU's memory, that the process may have; 0: all
    steps: int = 2

    @property
    def name(self) -> str:
        """Of the part that measures it."""
        return f"{'tiny ' if self.tiny else ''}{self.model} {self.method} {self.settings} {self.rows}x{self.tokens}"

    @property
    def settings(self) -> str:
        more = [self.optimizer] if self.optimizer != "adamw" else []
        more += [name for name in ("checkpointing", "offloaded", "in_backward") if getattr(self, name)]
        more += [f"of {self.cap_gb:g} GB"] if self.cap_gb else []
        return " ".join([self.precision, *more])

    def config(self) -> Any:
        """transformers' config of the shape, or of a tiny one of its family."""
        found = transformers.LlamaConfig(**_LLAMA_109M) if self.model == "llama-109m" else published_config(self.model)
        if found is None:
            raise UserError(f"no shape of {self.model!r} here: take one of {', '.join(dict.fromkeys((*CPU_MODELS, *GPU_MODELS)))}")
        if not self.tiny:
            return found
        given = found.to_dict()
        small = {key: value for key, value in _TINY.items() if key in given}
        small |= {"num_key_value_heads": 2} if given.get("num_key_value_heads") else {}
        small |= {"head_dim": None} if "head_dim" in given else {}
        return type(found)(**{key: value for key, value in given.items() if key not in ("head_dim", "ffn_hidden_size")} | small)

    def trained_as(self) -> tuple[MethodConfig, TrainConfig, int]:
        """Method, settings and tokens per row."""
        method = _METHOD.validate_python({"name": self.method} | ({"lora_rank": RANK} if self.method == "lora" else {}))
        width = min(self.tokens, family_of(self.config()).max_positions - getattr(method, "num_virtual_tokens", 0))
        train = TrainConfig(
            precision=self.precision, optimizer=self.optimizer, activation_checkpointing=self.checkpointing, max_seq_len=width,
            batch_tokens=self.passes * self.rows * width, micro_batch_size=self.rows, offload_frozen_weights=self.offloaded,
            optimizer_in_backward=self.in_backward,
        )  # fmt: skip
        return method, train, width

    def forecast(self, gpu: bool) -> MemoryForecast:
        """Raises UserError where the method cannot be had on the model."""
        method, train, width = self.trained_as()
        one = Pass(self.rows, width, self.rows * (width - 1))
        return forecast_memory(self.config(), method, train, (full_rows(self.rows, width),), (one,), gpu)

    def part(self, group: str, where: str, host: str = "ours") -> Part:
        """The part that measures it."""
        method, train, width = self.trained_as()
        rows = documents_of(full_rows(self.rows, width))
        job = job_of(self.config(), method, train, rows, where, int(self.cap_gb * 1e9), self.steps)
        about = dataclasses.asdict(self) | {"settings": self.settings}
        big = self.model in SEVEN and not self.tiny
        seconds = (25.0 if self.offloaded else 10.0) if big else 5.0
        return Part(group, self.name, "codetune.train.dry_run", job, about, seconds, host=host)

    def forecast_part(self, gpu: bool, host: str = "ours") -> Part:
        """The part that forecasts it."""
        job = {"part": dataclasses.asdict(self), "gpu": gpu}
        return Part(FORECAST, f"{FORECAST} {self.name}", "bench.memory_forecast", job, host=host, on_device=False)


def forecast_of(record: dict[str, Any], name: str) -> int | None:
    """Bytes of the steps that were forecast for the part of this name."""
    found: int | None = record["parts"].get(f"{FORECAST} {name}", {}).get("measured", {}).get("training")
    return found


def cpu_parts(models: Sequence[str], methods: Sequence[str], rows: int, tokens: int, tiny: bool) -> list[MemoryPart]:
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    return [MemoryPart(model, method, one, rows, tokens, tiny=tiny) for method in methods for model in models for one in precisions]


def default(model: str, method: str, rows: int, tokens: int, tiny: bool) -> MemoryPart:
    """Products in bf16, what trains in fp32, nothing computed twice."""
    return MemoryPart(model, method, "bf16", rows, tokens, tiny=tiny)


def least(model: str, method: str, rows: int, tokens: int, tiny: bool) -> MemoryPart:
    """Layers computed twice; frozen weights in main memory, or, where all train, weights in bf16, moments in 8 bits, no gradients kept."""
    if method == "full":
        return MemoryPart(model, method, "bf16_weights", rows, tokens, "adamw_8bit", checkpointing=True, in_backward=True, tiny=tiny)
    return MemoryPart(model, method, "bf16", rows, tokens, checkpointing=True, offloaded=method != "qlora", tiny=tiny)
