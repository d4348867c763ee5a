"""A model with several adapters at once, to answer with each: the base's matrices are in memory once.

A voice is a name to answer under. Voices of one tree may share a batch: the base, LoRA adapters in its layers, and soft prompts, which are
keys and values before a row's text. Any other adapter has a tree of modules of its own around the same matrices; a whole tuned model has
its own matrices.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetune.config import Precision, Quantize
from codetune.errors import UserError
from codetune.methods import Adapted, SoftPrompt, load_adapter
from codetune.methods.mixture import BASE, Mixture, mixes
from codetune.models.load import LoadedModel
from codetune.models.open import open_model, require_its_base, trained_prompt_style
from codetune.models.seq2seq import room_for_answer
from codetune.models.stages import ADAPTER_CONFIG, read, tuned_folder


@dataclass(slots=True)
class Tree:
    """Modules that a batch runs through; `mixture` says whose its rows are, where there are LoRA adapters in them."""

    model: Any
    mixture: Mixture | None = None


@dataclass(slots=True, eq=False)
class Voice:
    """A name to answer under. `soft` is set for a soft prompt alone; `mixed` is the rows' name in the tree's mixture."""

    name: str
    loaded: LoadedModel
    tree: Tree
    method: str
    trained_style: str | None
    mixed: str = BASE
    soft: Adapted | None = None

    @property
    def virtual(self) -> int:
        return self.soft.num_virtual_tokens if self.soft else 0

    def room(self, prompt: Sequence[int]) -> int:
        """New tokens that fit after the prompt; below 1 where it is too long."""
        if self.loaded.family.encoder_decoder:
            return room_for_answer(self.loaded.family, prompt)
        return self.loaded.family.max_positions - self.virtual - len(prompt)

    @property
    def styles(self) -> tuple[str, ...]:
        return self.loaded.tokenizer.styles

    @property
    def style(self) -> str:
        """The one of its training, else its chat template, else `instruction`."""
        return self.trained_style or ("chat" if self.loaded.tokenizer.chat_template else "instruction")


def open_voices(
    name: str, adapters: Mapping[str, Path], precision: Precision = "fp32", on: str = "auto", quantize: Quantize | None = None
) -> list[Voice]:
    """The model under its own name, then each adapter under the name it is given. Raises UserError in one line, as `open_model` does."""
    if name in adapters:
        raise UserError(f"an adapter is called {name!r} like the model: give it another name, as in --adapter mine={adapters[name]}")
    folders = {called: tuned_folder(path) for called, path in adapters.items()}
    quantize = quantize or next((how for folder in folders.values() if (how := _trained_in_4_bits(folder))), None)
    loaded, adapted = open_model(name, None, precision, on, quantize)
    base = Tree(loaded.model)
    voices = [Voice(name, loaded, base, adapted.method, trained_prompt_style(Path(name)), soft=soft_of(adapted))]
    # Trees of their own are copied from the base before LoRA layers are put into it.
    for called, folder in sorted(folders.items(), key=lambda item: _is_mixed(item[1])):
        voices.append(voice_on(called, folder, voices[0], precision, on))
    order = [name, *adapters]
    return sorted(voices, key=lambda voice: order.index(voice.name))


def voice_on(called: str, folder: Path, base: Voice, precision: Precision = "fp32", on: str = "auto") -> Voice:
    """An adapter beside a base that is open. LoRA layers go into the base's own tree: trees must have been copied from it before."""
    style = trained_prompt_style(folder)
    if (folder / "config.json").exists():  # a whole model
        loaded, _ = open_model(str(folder), None, precision, on)
        return Voice(called, loaded, Tree(loaded.model), "full", style)
    if read(folder.parent / "train.json").get("base_format", "fp32") == base.loaded.weights_format:
        require_its_base(base.loaded, folder)
    if _is_mixed(folder):
        base.tree.mixture = base.tree.mixture or Mixture(base.tree.model)
        mixed = base.tree.mixture.add(folder)
        return Voice(called, base.loaded, base.tree, "lora", style, mixed)
    tree = Tree(shared_copy(base.tree.model))
    adapted = load_adapter(tree.model, folder)
    if soft := soft_of(adapted):  # its virtual tokens are all that there is of it: it runs in the base's own tree
        return Voice(called, base.loaded, base.tree, adapted.method, style, soft=replace(soft, model=base.tree.model))
    tree.model.eval()
    return Voice(called, replace(base.loaded, model=tree.model), tree, adapted.method, style)


def shared_copy(model: Any) -> Any:
    """The same modules once more around the same matrices. Vectors (norms, biases), which an adapter may change, are copied."""
    shared = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dim() > 1]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def _is_mixed(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).exists() and mixes(folder)


def soft_of(adapted: Adapted) -> Adapted | None:
    """What a voice's `soft` is: the method where it has virtual tokens."""
    return None if adapted.soft_prompt is SoftPrompt.NONE else adapted


def _trained_in_4_bits(folder: Path) -> Quantize | None:
    return "nf4" if str(read(folder.parent / "train.json").get("base_format", "")).startswith("nf4") else None
