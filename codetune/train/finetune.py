"""From a recipe to a tuned model in a run folder: load, tokenise, pack, attach, train, save, and check what was saved.

    codetune train recipes/train-lora.yaml
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from codetune.batches import Batch, make_rows
from codetune.config import DataConfig, FullConfig, Packing, Sized, TrainRecipe
from codetune.data.encode import encode_prompt
from codetune.data.pack import tokens_of
from codetune.data.tokenise import TokenisedExamples, load_examples
from codetune.data.training import Maker, names_of, tokenise_documents, training_data
from codetune.errors import UserError
from codetune.methods import Adapted, attach, load_adapter
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.families import Family, targets_of
from codetune.models.load import LoadedModel, load_model, new_model, read_config
from codetune.models.machine import hardware, peak_memory_bytes, versions
from codetune.models.outline import load_outline, outline_of, settled
from codetune.models.seq2seq import refuse, require_pairs
from codetune.prompts.infill import infilling_of
from codetune.records import Json
from codetune.runs import locked, read_rows, spared, write_json
from codetune.train.again import ended_by_bad_step, kept_result
from codetune.train.checks import Watch, difference, eos_label_share, probe_batch, probe_logits
from codetune.train.held_out import bits_per_byte
from codetune.train.loop import train
from codetune.train.monitor import validation_loss
from codetune.train.parallel import ALONE, Group
from codetune.train.plan import plan_steps
from codetune.train.precision import autocast, loading, narrow, on_this_machine
from codetune.train.resume import CHECKPOINT, Progress, has_checkpoint
from codetune.train.run import METRICS, Material, Run, Sampler
from codetune.train.start import stands_on, started, whole_start
from codetune.train.trackers import Trackers, open_trackers, require_trackers

ADAPTER = "adapter"
RESULT = "train.json"
SamplerOf = Callable[[LoadedModel], Sampler]


def finetune(
    recipe: TrainRecipe,
    folder: Path,
    report: Callable[[Progress, int], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
    sampler_of: SamplerOf | None = None,
    notes: Json | None = None,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Train as the recipe says, from the folder's checkpoint if there is one; what is tuned is then in `folder/adapter`.

    `sampler_of` gives what has the loaded model answer during training, for a recipe with `samples`; see `codetune.tuning`. `notes` go
    into what is returned.

    Returns what a table and the gates need to know, which is also kept in `folder/train.json`: a run that has it is done and is not
    trained again. `warn` is told of damaged checkpoints, full disks and bad steps, a line each. Raises UserError for a model, data set or
    setting that cannot work, before anything is trained. The processes of a `group` call this alike; the first of them writes.
    """
    recipe = on_this_machine(recipe)
    with locked(folder) if group.leads else contextlib.nullcontext():
        config = recipe.model_dump(mode="json") | stands_on(recipe, folder)
        if (kept := group.share(kept_result(config, folder / RESULT) if group.leads else None)) is not None:
            return kept
        require_monitored(recipe, sampler_of is not None)
        require_trackers(recipe.trackers)
        if group.leads:
            write_json(folder / "config.json", config)
        recipe = settle_method(recipe)
        loaded = load_base(recipe)
        with group.leader_first():
            material = prepare(recipe, loaded)
        group.refuse_differing("models or data", f"{loaded.model_hash} {len(material.examples)} {material.steps}")
        probe = probe_batch(material.examples)
        base = Adapted(loaded.model, "base")
        untuned = _probed(recipe, base, loaded, probe)
        told = spared(report or (lambda *_: None)), spared(warn)
        run = Run(base, loaded.family, material, recipe.train, recipe.method.learning_rate, folder, *told, group)
        loss_before = validation_loss(run) if material.validation is not None else None
        run = replace(run, adapted=adapt(recipe, loaded), sampler=sampler_of(loaded) if sampler_of else None)
        watch = Watch.over(run.adapted)
        run.spread()
        begun = max((row["step"] for row in read_rows(folder / METRICS)), default=0)
        opened = open_trackers(recipe, folder, begun, warn) if group.leads else contextlib.nullcontext(Trackers())
        with opened as run.trackers, memory_limits(folder):
            progress = train(run)
        peak_memory = peak_memory_bytes(recipe.device)
        adapted = run.whole()
        if not group.leads:
            return group.share({})
        save(adapted, loaded, folder / ADAPTER)
        tuned = _probed(recipe, adapted, loaded, probe)
        summary = summarise(recipe, adapted, material, progress) | {"peak_memory_bytes": peak_memory, "model_hash": loaded.model_hash}
        summary |= {"base_format": loaded.weights_format, "processes": group.size, "hardware": hardware(), "versions": versions()}
        summary["held_out"] = held_out(loss_before, progress, material, recipe, loaded)
        summary["adapter_bytes"] = sum(file.stat().st_size for file in (folder / ADAPTER).glob("*.safetensors"))
        summary["checks"] = watch.findings(adapted) | {
            "losses": progress.step + (not progress.losses_finite), "non_finite_losses": int(not progress.losses_finite),
            "adapter_effect": difference(tuned, untuned), "eos_label_share": eos_label_share(material.examples, loaded.tokenizer.eos_id),
        }  # fmt: skip
        if recipe.decontaminate is not None:
            summary["train_test_overlap"] = training_data(recipe.data, recipe.decontaminate).overlap.summary()
        if recipe.architecture is None:
            summary["checks"]["reload_difference"] = difference(_reloaded_logits(recipe, folder, probe), tuned)
        summary |= notes or {}
        write_json(folder / RESULT, summary)
        if not ended_by_bad_step(folder):
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        return group.share(summary)


def require_monitored(recipe: TrainRecipe, samples: bool) -> None:
    """Raises UserError where the run is to go by a pass rate that nothing measures."""
    if recipe.train.monitor == "pass_rate" and not samples:
        raise UserError("train.monitor=pass_rate needs a `samples` section: give samples.benchmark, or set train.monitor=loss")


@contextlib.contextmanager
def memory_limits(folder: Path) -> Iterator[None]:
    """Memory that runs out while training is a UserError that says what to do; a checkpoint that was saved stays."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = "; the checkpoint is kept" if has_checkpoint(folder) else ""
        raise UserError(
            f"out of memory in training{kept}: halve train.micro_batch_size, or set train.activation_checkpointing=true, or "
            "train.precision=bf16 (`codetune plan` with this recipe forecasts what fits, with --gpu 24GB for another machine)"
        ) from None


def out_of_memory(error: BaseException) -> bool:
    """Of the GPU's allocator, the CPU's (which has no class of its own), or Python's."""
    told = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)


def held_out(before: float | None, progress: Progress, material: Material, recipe: TrainRecipe, loaded: LoadedModel) -> dict[str, Any]:
    """The validation loss of the base model and of the kept weights, as nats per token and bits per byte; empty without validation."""
    after = progress.last_val_loss if recipe.train.keep == "last" or progress.kept is None else progress.kept[1]
    if before is None or after is None or material.validation is None:
        return {}
    scale = bits_per_byte(1.0, material.validation, loaded.tokenizer)
    return {"loss": [before, after], "bits_per_byte": [before * scale, after * scale], "examples": len(material.validation)}


def save(adapted: Adapted, loaded: LoadedModel, folder: Path) -> None:
    """PEFT's adapter files, or the whole model with its tokenizer. A write that fails leaves the checkpoint to go on from."""
    try:
        adapted.save(folder)
        if adapted.peft is None:
            loaded.tokenizer.inner.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot save to {folder}: {error}; free disk space and run the same command again, the training is kept") from None


def reload(recipe: TrainRecipe, folder: Path) -> tuple[LoadedModel, Adapted]:
    """What a run saved, fresh from disk on its base model, in the weights of its training: float32, bf16, or a base in 4 bits."""
    recipe = on_this_machine(recipe)
    if recipe.method.name == "full":
        loaded = load_model(str(folder / ADAPTER), **loading(recipe))
        return loaded, Adapted(loaded.model, "full")
    loaded = load_model(recipe.model, **loading(recipe))
    adapted = load_adapter(loaded.model, folder / ADAPTER)
    if recipe.train.precision == "bf16_weights":
        narrow(adapted, recipe.train.precision)  # PEFT loads what it adds in float32
    return loaded, adapted


def settle_method(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with its method's size as a number. Raises UserError, before weights load, where it cannot be had."""
    if isinstance(recipe.method, FullConfig):
        return recipe
    outline = outline_of(load_outline(recipe).model)
    return recipe.model_copy(update={"method": settled(recipe.method, outline)})


def load_base(recipe: TrainRecipe) -> LoadedModel:
    """The base model as the precision policy keeps it, on the recipe's device; random weights where the recipe gives an architecture."""
    if recipe.architecture is not None:
        fresh = new_model(Path(recipe.model), recipe.architecture, recipe.seed)
        fresh.model.to(recipe.device)
        return fresh
    refuse(recipe, read_config(recipe.model)[1])
    if recipe.start is not None and isinstance(recipe.method, FullConfig):
        return whole_start(recipe)
    return load_model(recipe.model, **loading(recipe))


def _probed(recipe: TrainRecipe, adapted: Adapted, loaded: LoadedModel, probe: Batch) -> torch.Tensor:
    with autocast(recipe.train, loaded.model.device):
        return probe_logits(adapted, loaded.family, probe)


def _reloaded_logits(recipe: TrainRecipe, folder: Path, probe: Batch) -> torch.Tensor:
    """The probe's logits from disk, in the precision of the training, so that they must agree to the last bit."""
    loaded, adapted = reload(recipe, folder)
    return _probed(recipe, adapted, loaded, probe)


def prepare(recipe: TrainRecipe, loaded: LoadedModel) -> Material:
    """Tokenised and packed material, and the plan of steps: the same for every method of a comparison."""
    config, family = recipe.train, loaded.family
    refuse(recipe, family)
    virtual = getattr(recipe.method, "num_virtual_tokens", 0)
    if config.max_seq_len + virtual + len(family.marks) > family.max_positions:
        raise UserError(too_long(recipe, family))
    examples, validation, names = (*load_corpus(recipe.data), None) if recipe.data.source == "corpus" else tokenise(recipe, loaded)
    if family.encoder_decoder:
        for held in filter(None, (examples, validation)):
            require_pairs(held, recipe.data.source)
    rows = make_rows(examples, config.packing, config.max_seq_len, range(len(examples)))
    steps = plan_steps(rows, config.train_tokens, config.batch_tokens, recipe.seed)
    held_out_packing: Packing = "padded" if family.encoder_decoder else "exact"
    validation_rows = make_rows(validation, held_out_packing, config.max_seq_len, range(len(validation))) if validation is not None else []
    return Material(examples, rows, steps, validation, validation_rows, names or (lambda examples: []))


def too_long(recipe: TrainRecipe, family: Family) -> str:
    """What to say of rows that the model has no positions for."""
    virtual = getattr(recipe.method, "num_virtual_tokens", 0)
    what = f"{len(family.marks)} marks" if family.encoder_decoder else f"{virtual} virtual tokens"
    return (
        f"max_seq_len={recipe.train.max_seq_len} with {what}: {recipe.model} has {family.max_positions} positions; "
        f"set train.max_seq_len to {family.max_positions - virtual - len(family.marks)} or less"
    )


Tokenised = tuple[TokenisedExamples, TokenisedExamples | None, Callable[[Sequence[int]], list[str]]]


def tokenise(recipe: TrainRecipe, loaded: LoadedModel) -> Tokenised:
    """Training and validation examples; plain code of the training gets its holes, that of the validation none. And who is who."""
    data, tokenizer = training_data(recipe.data, recipe.decontaminate), loaded.tokenizer
    infilling = infilling_of(recipe.data.infilling, tokenizer.vocabulary, recipe.seed)
    template, limit = loaded.template(recipe.data.prompt_style), recipe.train.max_seq_len
    maker = Maker(template, tokenizer, limit, recipe.data.loss_on, infilling, data.left_out)
    examples = tokenise_documents(data.train, maker, data.folder)
    names = partial(names_of, shards=data.train, maker=maker)
    if not any(data.validation):
        return examples, None, names
    return examples, tokenise_documents(data.validation, replace(maker, infilling=None), data.folder), names


def load_corpus(data: DataConfig) -> tuple[TokenisedExamples, TokenisedExamples | None]:
    """Token folders that `codetune data prepare` wrote into the folder `data.path`."""
    folder = data.path or Path("runs/base-model/data")
    if not (folder / "train").is_dir():
        raise UserError(f"no corpus in {folder}: run `codetune data prepare` with this recipe first, into an empty folder")
    return load_examples(folder / "train"), load_examples(folder / "held_out")


def adapt(recipe: TrainRecipe, loaded: LoadedModel) -> Adapted:
    """The method on the model. Soft prompts start from the text of the prompt style itself, the same for every data set."""
    if recipe.start is not None:
        adapted = started(recipe, loaded)
    else:
        adapted = attach(loaded.model, recipe.method, targets_of(loaded.model), soft_prompt_start(recipe, loaded), recipe.seed)
    narrow(adapted, recipe.train.precision)
    if recipe.train.activation_checkpointing:
        checkpoint_layers(adapted.model)
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


def summarise(recipe: TrainRecipe, adapted: Adapted, material: Material, progress: Progress) -> dict[str, Any]:
    """What a table needs to know of the training."""
    trainable, total = adapted.trainable_share()
    config = recipe.train
    fill = sum(tokens_of(material.rows)) / (len(material.rows) * config.max_seq_len)
    return {
        "seconds": progress.seconds, "steps": progress.step, "tokens": progress.tokens, "supervised_tokens": progress.supervised_tokens,
        "tokens_per_s": progress.tokens / progress.seconds if progress.seconds else 0.0, "trainable_parameters": trainable,
        "total_parameters": total, "trainable_share": trainable / total, "learning_rate": recipe.method.learning_rate,
        "size": getattr(recipe.method, recipe.method.size_key) if isinstance(recipe.method, Sized) else None,
        "first_loss": progress.first_loss, "last_loss": progress.last_loss, "best_val_loss": progress.best_val_loss,
        "last_val_loss": progress.last_val_loss, "best_pass_rate": progress.best_pass_rate, "last_pass_rate": progress.last_pass_rate,
        "stopped": progress.stopped, "losses_finite": progress.losses_finite, "packing": config.packing, "fill": fill,
        "bad_steps": progress.bad_steps, "precision": config.precision, "device": recipe.device, "examples": len(material.examples),
        "dropped_long": material.examples.dropped_long,
    }  # fmt: skip
