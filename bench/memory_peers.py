"""TRL with PEFT in the memory benchmark: one part measured in a process of the peers' environment, on the same shapes as codetune's."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import environment
from bench.memory_parts import PART_S, Part
from bench.turns import error_line
from codetune.models.families import family_of
from codetune.models.machine import device

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class PeerPart:
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
    def key(self) -> str:
        return f"{'tiny ' if self.tiny else ''}{self.model} {self.method} {self.settings} {self.rows}x{self.tokens}"

    @property
    def settings(self) -> str:
        more = ["weights in bf16"] if self.dtype == "bfloat16" else []
        more += [] if self.checkpointing else ["no checkpointing"]
        more += [f"of {self.cap_gb:g} GB"] if self.cap_gb else []
        return ", ".join(["TRL", *more])

    def config(self) -> Any:
        return Part(self.model, self.method, "bf16", self.rows, self.tokens, tiny=self.tiny).config()

    def measured(self, gpu: bool) -> dict[str, Any]:
        """What a process of the peers measured, in bytes and seconds; a failure is one line under `failed`."""
        asked = dataclasses.asdict(self) | {"settings": self.settings, "peer": True}
        virtual = 20 if self.method in ("prefix_tuning", "prompt_tuning") else 0
        width = min(self.tokens, family_of(self.config()).max_positions - virtual)
        python = environment.peers_python()
        with tempfile.TemporaryDirectory() as scratch:
            job = {"config": self.config().to_dict(), "method": self.method, "rows": self.rows, "tokens": width, "dtype": self.dtype}
            job |= {"checkpointing": self.checkpointing, "precision": "bf16", "where": device(), "scratch": scratch}
            job |= {"cap_bytes": int(self.cap_gb * 1e9)}
            path = Path(scratch) / "job.json"
            path.write_text(json.dumps(job))
            command = [str(python), "-m", "bench.peer_memory", str(path)]
            alone = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WORLD_SIZE": "1"}
            try:
                done = subprocess.run(command, cwd=CHECKOUT, env=alone, capture_output=True, text=True, timeout=PART_S)
            except subprocess.TimeoutExpired:
                return asked | {"failed": f"not done after {PART_S:.0f} s"}
        if done.returncode:
            return asked | {"failed": error_line(done.stderr, done.returncode)}
        return asked | {"measured": json.loads(done.stdout.splitlines()[-1])}
