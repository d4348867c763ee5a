"""From a recipe to a tuned model in a run folder: load, tokenise, pack, attach, train, save, and check what was saved.

    codetune train recipes/train-lora.yaml
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codetune.batches import make_rows, row_tokens
from codetune.config import DataConfig, FullConfig, TrainRecipe
from codetune.data.sources import load_source
from codetune.data.tokenise import TokenisedExamples, encode_prompt, load_examples, tokenise_problems
from codetune.errors import UserError
from codetune.methods import Adapted, attach
from codetune.models.families import linear_layers
from codetune.models.load import LoadedModel, load_model, new_model
from codetune.prompts.template import Template, make_template
from codetune.records import Problem
from codetune.runs import locked, write_json
from codetune.train.loop import Material, Run, train
from codetune.train.plan import plan_steps
from codetune.train.resume import Progress

ADAPTER = "adapter"
RESULT = "train.json"


@dataclass(slots=True)
class Tuned:
    """A finished run: the model in memory, and what was measured."""

    loaded: LoadedModel
    adapted: Adapted
    summary: dict[str, Any]


def finetune(recipe: TrainRecipe, folder: Path, report: Callable[[Progress, int], None] | None = None) -> Tuned:
    """Train as the recipe says, from the folder's checkpoint if there is one.

    Raises UserError for a model, data set or setting that cannot work, before anything is trained.
    """
    with locked(folder):
        write_json(folder / "config.json", recipe.model_dump(mode="json"))
        loaded = load_base(recipe)
        material = prepare(recipe, loaded)
        adapted = adapt(recipe, loaded)
        before = {name: parameter.detach().clone() for name, parameter in adapted.frozen().items()} if recipe.architecture is None else {}
        start = {name: parameter.detach().clone() for name, parameter in adapted.trained().items()}
        run = Run(adapted, loaded.family, material, recipe.train, recipe.method.learning_rate, folder)
        if report:
            run.report = report
        progress = train(run)
        adapted.save(folder / ADAPTER)
        if recipe.method.name == "full":
            loaded.tokenizer.inner.save_pretrained(folder / ADAPTER)
        summary = summarise(recipe, adapted, material, progress)
        summary["adapter_bytes"] = sum(file.stat().st_size for file in (folder / ADAPTER).glob("*.safetensors"))
        write_json(folder / RESULT, summary)
        return Tuned(loaded, adapted, summary)


def load_base(recipe: TrainRecipe) -> LoadedModel:
    """The base model in float32, on the GPU where there is one; the linear layers of frozen models in bf16 if so asked."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if recipe.architecture is not None:
        return new_model(Path(recipe.model), recipe.architecture, recipe.seed)
    loaded = load_model(recipe.model, device=device)
    return loaded


def template_for(data: DataConfig, loaded: LoadedModel) -> Template:
    """The data's prompt style, with this tokenizer's chat template."""
    tokenizer = loaded.tokenizer
    return make_template(data.prompt_style, tokenizer.chat_template, (), tokenizer.bos_token, tokenizer.eos_token)


def training_problems(data: DataConfig) -> tuple[list[Problem], list[Problem]]:
    """Training and validation problems. Where a source has no validation split, its last examples are taken off."""
    named = not (Path(data.source).suffix or "/" in data.source)
    problems = list(load_source(data.source, data.split, data.path))
    if named and data.source in {"basics", "mbpp"}:
        validation = list(load_source(data.source, "validation", data.path))[: data.validation_examples]
    else:
        count = min(data.validation_examples, len(problems) // 10)
        problems, validation = problems[: len(problems) - count], problems[len(problems) - count :]
    return problems[: data.max_examples], validation


def prepare(recipe: TrainRecipe, loaded: LoadedModel) -> Material:
    """Tokenised and packed material, and the plan of steps: the same for every method of a comparison."""
    config, family = recipe.train, loaded.family
    virtual = getattr(recipe.method, "num_virtual_tokens", 0)
    if config.max_seq_len + virtual > family.max_positions:
        raise UserError(
            f"max_seq_len={config.max_seq_len} with {virtual} virtual tokens: {recipe.model} has {family.max_positions} positions; "
            f"set train.max_seq_len to {family.max_positions - virtual} or less"
        )
    examples, validation = load_corpus(recipe.data) if recipe.data.source == "corpus" else tokenise(recipe, loaded)
    rows = make_rows(examples, config.packing, config.max_seq_len, range(len(examples)))
    steps = plan_steps(rows, config.train_tokens, config.batch_tokens, recipe.seed)
    validation_rows = make_rows(validation, "exact", config.max_seq_len, range(len(validation))) if validation is not None else []
    return Material(examples, rows, steps, validation, validation_rows)


def tokenise(recipe: TrainRecipe, loaded: LoadedModel) -> tuple[TokenisedExamples, TokenisedExamples | None]:
    data, template = recipe.data, template_for(recipe.data, loaded)
    problems, held = training_problems(data)
    limit = recipe.train.max_seq_len
    examples = tokenise_problems(problems, template, loaded.tokenizer, limit, data.loss_on)
    return examples, tokenise_problems(held, template, loaded.tokenizer, limit, data.loss_on) if held else None


def load_corpus(data: DataConfig) -> tuple[TokenisedExamples, TokenisedExamples | None]:
    """Token files that `codetune data prepare` wrote into the folder `data.path`."""
    folder = data.path or Path("runs/base-model/data")
    if not (folder / "train.npz").exists():
        raise UserError(f"no corpus in {folder}: run `codetune data prepare` with this recipe first")
    return load_examples(folder / "train.npz"), load_examples(folder / "held_out.npz")


def adapt(recipe: TrainRecipe, loaded: LoadedModel) -> Adapted:
    """The method on the model. Soft prompts start from the text of the prompt style itself, the same for every data set."""
    family = loaded.family
    start_ids = [] if recipe.data.source == "corpus" else soft_prompt_start(recipe, loaded)
    adapted = attach(loaded.model, recipe.method, linear_layers(loaded.model), (family.kv_heads, family.head_dim), start_ids, recipe.seed)
    if recipe.train.precision == "bf16" and not isinstance(recipe.method, FullConfig):
        halve_frozen_linears(adapted)
    return adapted


def soft_prompt_start(recipe: TrainRecipe, loaded: LoadedModel) -> list[int]:
    """Token ids of the first training problem's prompt: what a prompt in words would say."""
    problems, _ = training_problems(recipe.data)
    return encode_prompt(template_for(recipe.data, loaded).prompt(problems[0]), loaded.tokenizer)


def halve_frozen_linears(adapted: Adapted) -> None:
    """Frozen matrices of linear layers once in bf16: what autocast would make of them anew in each pass, bit for bit."""
    tied = adapted.model.get_input_embeddings().weight
    for module in adapted.model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Linear) and weight is not None and not weight.requires_grad and weight is not tied:
            module.to(torch.bfloat16)


def summarise(recipe: TrainRecipe, adapted: Adapted, material: Material, progress: Progress) -> dict[str, Any]:
    """What a table needs to know of the training."""
    trainable, total = adapted.trainable_share()
    config = recipe.train
    fill = sum(map(row_tokens, material.rows)) / (len(material.rows) * config.max_seq_len)
    return {
        "seconds": progress.seconds, "steps": progress.step, "tokens": progress.tokens, "supervised_tokens": progress.supervised_tokens,
        "tokens_per_s": progress.tokens / progress.seconds if progress.seconds else 0.0, "trainable_parameters": trainable,
        "total_parameters": total, "trainable_share": trainable / total, "learning_rate": recipe.method.learning_rate,
        "first_loss": progress.first_loss, "last_loss": progress.last_loss, "best_val_loss": progress.best_val_loss,
        "stopped": progress.stopped, "losses_finite": progress.losses_finite, "packing": config.packing, "fill": fill,
        "precision": config.precision, "examples": len(material.examples), "dropped_long": material.examples.dropped_long,
    }  # fmt: skip
