"""What is trained: the recipe's model, as its precision policy keeps it, with the method on it; and the same again from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from codetune.config import FullConfig, TrainRecipe
from codetune.data.encode import encode_prompt
from codetune.data.training import training_data
from codetune.errors import UserError
from codetune.methods import Adapted, attach, load_adapter
from codetune.models.compatibility import require
from codetune.models.families import targets_of
from codetune.models.fast.model import speed_up
from codetune.models.load import LoadedModel, load_model, new_model, read_config
from codetune.models.offloading import offload_layers, offloading_of
from codetune.models.outline import load_outline, outline_of, settled
from codetune.models.seq2seq import refuse
from codetune.train.precision import loading, narrow, on_this_machine
from codetune.train.ready import make_ready, refuse_to_compile, refuse_to_offload
from codetune.train.start import started, whole_start

ADAPTER = "adapter"


def settle_method(recipe: TrainRecipe, processes: int = 1) -> TrainRecipe:
    """The recipe with its method's size as a number. Raises UserError, before weights load, where it cannot be had, or was found not to
    work with what else the recipe wants (docs/compatibility.md)."""
    model = load_outline(recipe).model
    require(model.config, recipe.method, recipe.train, processes)
    if recipe.train.offload_frozen_weights:
        refuse_to_offload(recipe.method.name, recipe.train)
    if recipe.train.compile:
        refuse_to_compile(model.config, recipe.train, recipe.device, getattr(recipe.method, "quantize", "none") != "none")
    if isinstance(recipe.method, FullConfig):
        return recipe
    outline = outline_of(model)
    return recipe.model_copy(update={"method": settled(recipe.method, outline)})


def load_base(recipe: TrainRecipe) -> LoadedModel:
    """The base model as the precision policy keeps it, on the recipe's device, and as it computes in training; random weights where the
    recipe gives an architecture."""
    if recipe.architecture is not None:
        loaded = new_model(Path(recipe.model), recipe.architecture, recipe.seed)
        loaded.model.to(recipe.device)
    else:
        refuse(recipe, read_config(recipe.model)[1])
        from_a_run = recipe.start is not None and isinstance(recipe.method, FullConfig)
        loaded = whole_start(recipe) if from_a_run else _loaded(recipe, **loading(recipe))
    if recipe.train.fast:
        speed_up(loaded.model, recipe.device, compiled=bool(recipe.train.compile))
    return loaded


def _loaded(recipe: TrainRecipe, **settings: Any) -> LoadedModel:
    """As `load_model`; what the recipe keeps in main memory never is on the device as a whole."""
    if not recipe.train.offload_frozen_weights:
        return load_model(recipe.model, **settings)
    loaded = load_model(recipe.model, **settings | {"device": "cpu"})
    offload_layers(loaded.model, loaded.model, recipe.device, recipe.train.offload_buffers)
    return loaded


def adapt(recipe: TrainRecipe, loaded: LoadedModel) -> Adapted:
    """The method on the model. Soft prompts start from the text of the prompt style itself, the same for every data set."""
    if recipe.start is not None:
        adapted = started(recipe, loaded)
    else:
        adapted = attach(loaded.model, recipe.method, targets_of(loaded.model), soft_prompt_start(recipe, loaded), recipe.seed)
    make_ready(adapted, recipe.train, recipe.device)
    return adapted


def soft_prompt_start(recipe: TrainRecipe, loaded: LoadedModel) -> list[int]:
    """Token ids of the recipe's `init_text`, or the first training document's prompt: what a prompt in words would say. Of plain code, its
    beginning; of a corpus that is kept as tokens, none."""
    if text := getattr(recipe.method, "init_text", ""):
        return encode_prompt(text, loaded.tokenizer)
    if recipe.data.source == "corpus":
        return []
    first = next(training_data(recipe.data, recipe.decontaminate).documents())
    rendered = loaded.template(recipe.data.prompt_style).render_document(first)
    return encode_prompt(rendered.prompt or rendered.text, loaded.tokenizer)


def save(adapted: Adapted, loaded: LoadedModel, folder: Path) -> None:
    """PEFT's adapter files, or the whole model with its tokenizer. A write that fails leaves the checkpoint to go on from."""
    try:
        adapted.save(folder)
        if adapted.peft is None:
            loaded.tokenizer.inner.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot save to {folder}: {error}; free disk space and run the same command again, the training is kept") from None


def let_go(adapted: Adapted) -> None:
    """Free a model's weights, whoever still holds the model: it computes nothing any more."""
    if (stream := offloading_of(adapted.model)) is not None:
        stream.release()
    for tensor in (*adapted.root.parameters(), *adapted.root.buffers()):
        tensor.grad = None
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reload(recipe: TrainRecipe, folder: Path, whole: bool = True) -> tuple[LoadedModel, Adapted]:
    """What a run saved, fresh from disk on its base model, in the weights of its training: float32, bf16, or a base in 4 bits.

    With `whole` a base whose matrices were in bf16 while they were frozen is in float32, to answer with; without, as in the training.
    """
    recipe = on_this_machine(recipe)
    if recipe.method.name == "full":
        loaded = load_model(str(folder / ADAPTER), **loading(recipe))
        adapted = Adapted(loaded.model, "full")
    else:
        loaded = _loaded(recipe, **loading(recipe, whole))
        adapted = load_adapter(loaded.model, folder / ADAPTER)
        if recipe.train.precision == "bf16_weights":
            narrow(adapted, recipe.train.precision)  # PEFT loads what it adds in float32
        if recipe.train.offload_frozen_weights:
            offload_layers(loaded.model, adapted.root, recipe.device, recipe.train.offload_buffers)
    if recipe.train.fast and not whole:
        speed_up(loaded.model, recipe.device, compiled=bool(recipe.train.compile))
    return loaded, adapted
