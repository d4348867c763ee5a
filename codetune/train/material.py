"""What a run learns from: documents to examples, examples to rows, rows to steps. The same for every method of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from codetune.batches import make_rows
from codetune.config import DataConfig, Packing, TrainRecipe
from codetune.data.pack import tokens_of
from codetune.data.tokenise import TokenisedExamples, load_examples
from codetune.data.training import Maker, names_of, tokenise_documents, training_data
from codetune.errors import UserError
from codetune.models.families import Family
from codetune.models.load import LoadedModel
from codetune.models.seq2seq import refuse, require_pairs
from codetune.prompts.infill import infilling_of
from codetune.train.plan import plan_steps
from codetune.train.run import Material

Tokenised = tuple[TokenisedExamples, TokenisedExamples | None, Callable[[Sequence[int]], list[str]]]


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
    steps = plan_steps(rows, config.tokens(sum(tokens_of(rows))), config.batch_tokens, recipe.seed)
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
