"""TRL with PEFT in the memory benchmark: the same shapes as codetune's, measured in the peers' environment by bench/peer_memory.py."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from bench.memory_parts import SEVEN, MemoryPart
from bench.parts import Part
from codetune.models.families import family_of


@dataclass(frozen=True, slots=True)
class PeerMemoryPart:
    """SFTTrainer with PEFT's own settings for the method; `dtype` is that of the base, float32 being what TRL loads by default."""

    model: str
    method: str
    rows: int
    tokens: int  # per row, at most
    checkpointing: bool = True  # as TRL has it
    dtype: Literal["float32", "bfloat16"] = "float32"
    tiny: bool = False
    cap_gb: float = 0.0  # of the GPU's memory, that the process may have; 0: all

    @property
    def name(self) -> str:
        """Of the part that measures it."""
        return f"{'tiny ' if self.tiny else ''}{self.model} {self.method} {self.settings} {self.rows}x{self.tokens}"

    @property
    def settings(self) -> str:
        more = ["weights in bf16"] if self.dtype == "bfloat16" else []
        more += [] if self.checkpointing else ["no checkpointing"]
        more += [f"of {self.cap_gb:g} GB"] if self.cap_gb else []
        return ", ".join(["TRL", *more])

    def config(self) -> Any:
        return MemoryPart(self.model, self.method, "bf16", self.rows, self.tokens, tiny=self.tiny).config()

    def part(self, group: str, where: str) -> Part:
        """The part that measures it."""
        virtual = 20 if self.method in ("prefix_tuning", "prompt_tuning") else 0
        config = self.config()
        width = min(self.tokens, family_of(config).max_positions - virtual)
        job = {"config": config.to_dict(), "method": self.method, "rows": self.rows, "tokens": width, "dtype": self.dtype}
        job |= {"checkpointing": self.checkpointing, "precision": "bf16", "where": where, "cap_bytes": int(self.cap_gb * 1e9)}
        about = dataclasses.asdict(self) | {"settings": self.settings, "peer": True}
        seconds = 15.0 if self.model in SEVEN and not self.tiny else 8.0
        return Part(group, self.name, "bench.peer_memory", job, about, seconds, host="peers")
