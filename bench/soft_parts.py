"""The trainings of `bench soft-prompts`: which systems train which methods, with which seeds, on what."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import TYPE_CHECKING

from bench.job import Job, System

if TYPE_CHECKING:
    from bench.soft_base import SoftBase

METHODS = ("prompt_tuning", "prefix_tuning")
EXACT = System("codetune, packed exactly", peer=False, about="documents apart, the virtual tokens once a row")
SEEING = System("codetune, concatenated", peer=False, concatenated=True, about="rows cut from one stream; documents see each other")
PADDED = System("TRL, padded", peer=True, about="`packing=False`, no checkpointing: its correct setting")
PACKED = System("TRL, packed, one row a pass", peer=True, packing=True, about="the setting nearest to its defaults that runs")
SYSTEMS = (EXACT, PADDED, PACKED, SEEING)
BATCH = 8  # TRL's default, in rows or examples
# What a user of TRL meets first: each is tried on two steps, and what happens is kept.
ATTEMPTS = (
    (System("packing, all else as it comes", True, "bf16", checkpointing=True, packing=True), BATCH),
    (System("packing, without checkpointing", True, packing=True), BATCH),
    (System("packing, one row a pass, with checkpointing", True, checkpointing=True, packing=True), 1),
    (System("padded, all else as it comes", True, "bf16", checkpointing=True), BATCH),
)
LEARNING_RATES = {"prompt_tuning": 1e-2, "prefix_tuning": 1e-2}
PAIRS_PER_STEP, ROWS_PER_PASS = 32, 4
VIRTUAL_TOKENS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One training: a method by a system with a seed, which decides which pairs come in which order."""

    method: str
    system: System
    seed: int

    @property
    def key(self) -> str:
        return f"{self.method} | {self.system.name} | seed {self.seed}"


def parts(seeds: int, ours_alone: bool) -> list[Part]:
    """In turns: the systems of a method one after another, seed by seed."""
    systems = [system for system in SYSTEMS if not (ours_alone and system.peer)]
    return [Part(method, system, seed) for seed in range(seeds) for method in METHODS for system in systems]


def make_job(made: SoftBase, part: Part, steps: int, rows_per_pass: int, folder: Path) -> Job:
    """What a system is told: rows leave the positions that the virtual tokens take."""
    from bench.material import prompt_length

    base, examples = made.base, made.base.examples
    order = list(range(len(examples)))
    random.Random(part.seed).shuffle(order)
    chosen = [order[at % len(order)] for at in range(steps * PAIRS_PER_STEP)]
    return Job(
        system=part.system, method=part.method, model=str(base.model), adapter=str(base.adapters[part.method]), start_ids=base.start_ids,
        ids=[examples.example(index).tolist() for index in chosen], prompt_lengths=[prompt_length(examples, index) for index in chosen],
        examples_per_step=PAIRS_PER_STEP, learning_rate=LEARNING_RATES[part.method], row_tokens=made.about["positions"] - VIRTUAL_TOKENS,
        rows_per_pass=rows_per_pass, examples_per_pass=BATCH, scratch=str(folder),
    )  # fmt: skip


def supervised_tokens(job: Job) -> int:
    """Tokens under the loss in all steps; a token that begins a row is predicted from nothing, so cut rows have fewer."""
    from bench.ours import material

    made = material(job)
    total = sum(len(ids) - max(1, prompt) for ids, prompt in zip(job.ids, job.prompt_lengths, strict=True))
    if not job.system.concatenated:
        return total
    firsts = [row[0] for row in made.rows]
    return total - sum(start > 0 and start >= job.prompt_lengths[index] for index, start, _ in firsts)


def adapter_of(folder: Path, part: Part) -> Path:
    """Where a training's adapter is kept."""
    return folder / "adapters" / "".join(char if char.isalnum() else "-" for char in part.key)
