"""The model of the step benchmark: random weights of a true shape on disk, the adapters' starts, and the operations that a token needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import transformers

from bench.material import METHODS, attach_method, random_model
from codetune.config import TrainConfig
from codetune.models.forecast import Pass, training_operations
from codetune.models.load import load_model
from codetune.models.outline import Outline, outline_of


@dataclass(frozen=True, slots=True)
class StepModel:
    """A folder with `model` in float32 without dropout, and `<method>` for each adapter to start from."""

    name: str
    folder: Path
    vocabulary: int
    outline: Outline

    @property
    def widest(self) -> tuple[str, str, str]:
        """Tokens, inputs and outputs of the largest product of a row, for bench.rate."""
        layer = max(self.outline.linears, key=lambda linear: linear.inputs * linear.outputs)
        return "512", str(layer.inputs), str(layer.outputs)


def make_step_model(folder: Path, methods: list[str], tiny: bool) -> StepModel:
    """GPT-2 124M's shape with its vocabulary, or a tiny one of its kind."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=2048) if tiny else transformers.GPT2Config()
    random_model(config, folder / "model")
    loaded = load_model(str(folder / "model"))
    outline = outline_of(loaded.model)
    for method in methods:
        if method != "full":
            attach_method(load_model(str(folder / "model")), method, [2]).save(folder / method)
    name = f"{'tiny ' if tiny else ''}GPT-2, {outline.parameters / 1e6:.1f}M parameters, random weights"
    return StepModel(name, folder, config.vocab_size, outline)


def operations_per_token(outline: Outline, method: str, row_tokens: int) -> int:
    """What a step must compute for a token of a full row: forward and backward, nothing twice."""
    one = Pass(rows=1, width=row_tokens, targets=row_tokens - 1)
    return training_operations(outline, METHODS[method], TrainConfig(), [one]) // row_tokens
