"""What both sides of `python -m bench study` are given: a base, pairs of one length, eight runs as a recipe and as peers' jobs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.job import Job, System
from bench.material import METHODS, STYLE, make_base, prompt_length
from codetune.config import StudyRecipe, TrainRecipe, validate
from codetune.data.sources import load_source
from codetune.data.training import Maker, tokenise_documents
from codetune.errors import UserError
from codetune.methods import attach
from codetune.models.families import targets_of
from codetune.models.load import LoadedModel, load_model, load_tokenizer
from codetune.prompts.template import make_template
from codetune.records import Document, Problem
from codetune.study.plan import CellConfig, plan_cells
from codetune.train.material import prepare

RATES, SEEDS = (5e-4, 1e-3, 2e-3, 4e-3), (0, 1)  # eight runs
EXAMPLES_PER_STEP, EXAMPLES_PER_ROW, EXAMPLES_PER_PASS = 32, 8, 8  # TRL's default batch is 8
BETA2, MAX_GRAD_NORM = 0.98, 1.0


@dataclass(frozen=True, slots=True)
class Both:
    """The same eight runs twice: codetune's study, and a job for each of its cells."""

    recipe: StudyRecipe
    jobs: dict[str, Job]  # by the cell's folder name
    tokens: int  # of one run
    parameters: int


def make_both(model: str, steps: int, system: System, threads: int, folder: Path) -> Both:
    """Model, data, recipe and jobs under the folder. Raises UserError where the steps would not be the same."""
    base = make_base(model, [], 512, folder)
    problems, length = alike(base.model)
    data, asked = folder / "pairs.jsonl", folder / "asked.jsonl"
    rows = [{"task_id": str(n), "instruction": each.instruction, "reference": each.reference} for n, each in enumerate(problems)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked.write_text(json.dumps(rows[0] | {"tests": ["assert True"]}))
    tokens = steps * EXAMPLES_PER_STEP * length
    recipe = validate(_recipe(base.model, data, asked, tokens, length, threads, folder), StudyRecipe, "bench study")
    loaded = load_model(str(base.model))
    cells = [cell for cell in plan_cells(recipe) if cell.train is not None]
    adapters = {seed: _start(str(base.model), seed, folder / f"start-{seed}") for seed in SEEDS}
    jobs = {cell.folder.name: _job(cell, loaded, adapters[cell.seed], system, threads, length, folder) for cell in cells}
    return Both(recipe, jobs, tokens, base.parameters)


def alike(model: Path) -> tuple[list[Problem], int]:
    """Training pairs of `basics` that have as many tokens as each other, whole steps of them, and how many tokens that is: no system has
    anything to pad."""
    problems = load_source("basics")
    maker = Maker(make_template(STYLE), load_tokenizer(str(model)), 1000)
    lengths = tokenise_documents((tuple(map(Document.of, problems)),), maker).lengths.tolist()
    length, count = Counter(lengths).most_common(1)[0]
    chosen = [problem for problem, each in zip(problems, lengths, strict=True) if each == length]
    if count < EXAMPLES_PER_STEP:
        raise UserError(f"no {EXAMPLES_PER_STEP} pairs have the same number of tokens with this tokenizer: choose another --model")
    return chosen[: count // EXAMPLES_PER_STEP * EXAMPLES_PER_STEP], length


def _recipe(model: Path, data: Path, asked: Path, tokens: int, length: int, at_once: int, folder: Path) -> dict[str, Any]:
    lora = METHODS["lora"].model_dump(mode="json", exclude_defaults=True) | {"name": "lora"}
    return {
        "name": "bench-study", "models": str(model), "out": str(folder / "study"), "seeds": list(SEEDS), "cells_at_once": at_once,
        "data": {"source": str(data), "prompt_style": STYLE, "validation_examples": 0},
        "methods": [lora | {"label": f"lora {rate:g}", "learning_rate": rate} for rate in RATES],
        "train": {
            "train_tokens": tokens, "batch_tokens": EXAMPLES_PER_STEP * length, "max_seq_len": EXAMPLES_PER_ROW * length,
            "micro_batch_size": 4, "beta2": BETA2, "max_grad_norm": MAX_GRAD_NORM, "schedule": "constant", "warmup_share": 0,
            "precision": "bf16", "validations": 0, "keep": "last", "checkpoint_every_s": 1e6,
        },
        "benchmarks": [str(asked)], "decoding": {"max_new_tokens": 1}, "decontaminate": {"drop": False, "publish_anyway": True},
        "measures": dict.fromkeys(("memory", "matrix_rate", "latency", "held_out"), False),
    }  # fmt: skip


def _start(model: str, seed: int, folder: Path) -> Path:
    """The adapter that codetune's cells of this seed begin with."""
    loaded = load_model(model)
    attach(loaded.model, METHODS["lora"], targets_of(loaded.model), [], seed).save(folder)
    return folder


def _job(cell: CellConfig, loaded: LoadedModel, adapter: Path, system: System, threads: int, length: int, folder: Path) -> Job:
    """A cell's examples in the order of its steps."""
    recipe = cell.train
    assert isinstance(recipe, TrainRecipe)
    material = prepare(recipe, loaded)
    steps = [[piece[0] for row in step for piece in material.rows[row]] for step in material.steps]
    if {len(step) for step in steps} != {EXAMPLES_PER_STEP}:
        raise UserError("codetune's steps have different numbers of examples, which TRL cannot have: choose another --steps")
    order = [example for step in steps for example in step]
    scratch = folder / "peer" / cell.folder.name
    scratch.mkdir(parents=True)
    return Job(
        system=system, method="lora", model=recipe.model, adapter=str(adapter), start_ids=[],
        ids=[material.examples.example(each).tolist() for each in order],
        prompt_lengths=[prompt_length(material.examples, each) for each in order], examples_per_step=EXAMPLES_PER_STEP,
        learning_rate=recipe.method.learning_rate, row_tokens=EXAMPLES_PER_ROW * length, rows_per_pass=4,
        examples_per_pass=EXAMPLES_PER_PASS, scratch=str(scratch), beta2=BETA2, max_grad_norm=MAX_GRAD_NORM, threads=threads,
        keep=str(scratch / "adapter"),
    )  # fmt: skip
