"""The small GPT-2 that the soft prompts of `bench soft-prompts` steer: GPT-2's architecture cut down, first trained by codetune itself.

It reads half of the training pairs of `basics` in two styles of prompt, `docstring` and `completion`, cut from one stream into rows as
long as its positions, as GPT-2 itself was trained: so every position has been learned, and rows whose positions run on are nothing new.
The soft prompts then learn a third style from the other half. Seconds to minutes, from the last checkpoint after a stop.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from bench.environment import say
from bench.material import STYLE, Base, attach_method, prompt_length, random_model
from codetune.batches import make_rows
from codetune.config import TrainConfig
from codetune.data.sources import load_source
from codetune.data.tokenise import TokenisedExamples, join
from codetune.data.training import Maker, tokenise_documents
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.load import LoadedModel, load_model
from codetune.prompts.template import make_template
from codetune.records import Document, Problem
from codetune.runs import read_json, write_json
from codetune.train.loop import train
from codetune.train.plan import plan_steps
from codetune.train.resume import Progress
from codetune.train.run import Material, Run

POSITIONS, WIDTH, LAYERS, HEADS, VOCABULARY = 512, 128, 4, 4, 1024
BASE_STYLES = ("docstring", "completion")  # what the base reads; soft prompts learn `material.STYLE`
BASE_TOKENS = 600_000
STEP_TOKENS = 4096
ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class SoftBase:
    """The base with the adapters' starts and what they learn from, and what it is held against."""

    base: Base
    held_out: TokenisedExamples
    about: dict[str, Any]


def soft_base(folder: Path, methods: list[str], base_tokens: int = BASE_TOKENS, held_out: int = 100) -> SoftBase:
    """Made where it is not there yet: `folder/model` in float32 with dropout 0, and `folder/<method>`, what both sides start from.

    Raises UserError where the folder has a base of another budget.
    """
    transformers.utils.logging.disable_progress_bar()
    about = _pretrained(folder, base_tokens)
    loaded = load_model(str(folder / "model"))
    problems = load_source("basics")
    examples = _pairs(problems[1::2], loaded, STYLE, POSITIONS)
    start_ids = examples.example(0)[: prompt_length(examples, 0)].tolist()
    adapters = {method: folder / method for method in methods}
    for method, start in adapters.items():
        attach_method(load_model(str(folder / "model")), method, start_ids).save(start)
    base = Base("GPT-2, cut down", loaded.model.num_parameters(), folder / "model", adapters, examples, start_ids)
    return SoftBase(base, _pairs(load_source("basics", "validation")[:held_out], loaded, STYLE, POSITIONS), about)


def _pretrained(folder: Path, tokens: int) -> dict[str, Any]:
    """Train the base, or go on with it. Returns what it took."""
    if (folder / ABOUT).exists():
        found: dict[str, Any] = read_json(folder / ABOUT)
        if abs(found["tokens"] - tokens) > STEP_TOKENS:
            raise UserError(f"the base in {folder} learned from {found['tokens']:,} tokens, not {tokens:,}: give another --folder")
        return found
    start = folder / "random"
    if not (start / "model.safetensors").exists():
        shape = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, bos_token_id=0, eos_token_id=0,
            pad_token_id=1,
        )  # fmt: skip
        random_model(shape, start, VOCABULARY)
    loaded = load_model(str(start))
    config = TrainConfig(
        train_tokens=tokens, batch_tokens=STEP_TOKENS, micro_batch_size=2, max_seq_len=POSITIONS, packing="concatenated", optimizer="muon",
        weight_decay=0.1, schedule="linear", warmup_share=0.03, final_lr_share=0.0, validations=0, keep="last", checkpoint_every_s=20,
    )  # fmt: skip
    say(f"training the base on {tokens:,} tokens of `basics`; go on after a stop by the same command")
    begun = time.process_time()
    run = Run(Adapted(loaded.model, "full"), loaded.family, _base_material(loaded, config), config, 3e-3, folder / "training", _told)
    progress = train(run)
    loaded.model.save_pretrained(folder / "model")
    loaded.tokenizer.inner.save_pretrained(folder / "model")
    about = {
        "parameters": loaded.model.num_parameters(), "positions": POSITIONS, "width": WIDTH, "layers": LAYERS, "heads": HEADS,
        "vocabulary": VOCABULARY, "tokens": progress.tokens, "first_loss": progress.first_loss, "last_loss": progress.last_loss,
        "cpu_seconds_since_last_start": time.process_time() - begun, "styles": list(BASE_STYLES),
    }  # fmt: skip
    write_json(folder / ABOUT, about)
    shutil.rmtree(folder / "training")
    return about


def _base_material(loaded: LoadedModel, config: TrainConfig) -> Material:
    """One stream of half of the pairs in two styles, all of it under the loss."""
    made = [_pairs(load_source("basics")[::2], loaded, style, POSITIONS) for style in BASE_STYLES]
    ids = [examples.example(index).tolist() for examples in made for index in range(len(examples))]
    examples = join(ids, [0] * len(ids))
    order = list(range(len(ids)))
    random.Random(0).shuffle(order)
    rows = make_rows(examples, "concatenated", config.max_seq_len, order)
    return Material(examples, rows, plan_steps(rows, config.train_tokens, config.batch_tokens, seed=0))


def _pairs(problems: Sequence[Problem], loaded: LoadedModel, style: str, limit: int) -> TokenisedExamples:
    maker = Maker(make_template(style), loaded.tokenizer, limit)
    return tokenise_documents((tuple(map(Document.of, problems)),), maker, processes=1)


def _told(progress: Progress, steps: int) -> None:
    if progress.step % 10 == 0 or progress.step == steps:
        say(f"base: step {progress.step} of {steps}, loss {progress.last_loss:.3f}")
