"""Training steps on a GPU beside TRL+PEFT's, and their share of the matrix rate measured in the same process: G4 and G5.

A comparison is a Case, whom it compares are SYSTEMS: another case, or another system, is a line here.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench import gpu_shape
from bench.gpu_job import GpuJob
from bench.parts import Part
from bench.results import compared

SYSTEMS = ("codetune", "TRL", "codetune plain", "TRL no checkpointing")
COMPILED = ("codetune compiled", "codetune CUDA graphs")  # `train.compile`, for small models
MIXED = (31, 402, 77, 180, 24, 512, 96, 140, 55, 260, 33, 118, 700, 48, 84, 210)  # tokens of short pairs and a few long documents
HEAD = ("case", "system", "tokens/s", "share of the matrix rate", "matrix rate, TFLOP/s", "peak GB", "first loss", "largest difference")
FIRST_WITHIN = 0.02  # of the same loss, before any weight has moved: bf16's rounding in other orders
STEPS = 8  # timed
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison. `rows` of 1,024 tokens a step; `shared` ones are filled with documents of mixed lengths."""

    name: str
    model: str  # its short name, codetune/models/published.py
    method: Literal["lora", "full"]
    rows: int
    rows_per_pass: int
    precision: str = "bf16"
    optimizer: str = "adamw"
    shared: bool = False
    systems: tuple[str, ...] = SYSTEMS
    against_trl: tuple[str, int] | None = None  # the goal and the number of its target that the ratio to TRL answers
    of_the_rate: tuple[str, int] | None = None  # and those that the share of the matrix rate does

    def part(self, system: Any, where: Any, tiny: bool) -> Part:
        """The part that measures the system in this case."""
        job, peer = job_of(self, system, where, tiny), system.startswith("TRL")
        seconds = 8.0 if tiny else 40.0 if "7b" in self.model else 20.0
        seconds *= 4 if system in COMPILED else 1  # to compile
        return Part("speed", f"{self.name} {system}", f"bench.{'peer_trl' if peer else 'ours'}_gpu", asdict(job), expected_s=seconds,
                    host="peers" if peer else "ours")  # fmt: skip


CASES = (
    Case("7b-lora", "codellama-7b", "lora", 16, 4, against_trl=("G4", 0), of_the_rate=("G5", 0)),
    # TRL's full 7B in fp32 fits no card
    Case("7b-full", "codellama-7b", "full", 16, 4, "bf16_weights", "adamw_8bit", systems=SYSTEMS[::2], of_the_rate=("G5", 1)),
    Case("7b-full-adafactor", "codellama-7b", "full", 16, 4, "bf16_weights", "adafactor", systems=SYSTEMS[:1], of_the_rate=("G5", 1)),
    Case("gpt2-full", "gpt2", "full", 32, 16, systems=SYSTEMS + COMPILED, of_the_rate=("G5", 2)),
    Case("gpt2-lora", "gpt2", "lora", 32, 16, systems=SYSTEMS + COMPILED),
    Case("7b-lora-mixed", "codellama-7b", "lora", 16, 4, shared=True),
)


def parts_of(where: str, tiny: bool) -> list[Part]:
    """What answers a goal first: codetune and TRL's defaults of every case, then the others."""
    pairs = [(case, system) for case in CASES for system in case.systems if where == "cuda" or system != COMPILED[1]]
    pairs.sort(key=lambda pair: (SYSTEMS + COMPILED).index(pair[1]) > 1)
    return [case.part(system, where, tiny) for case, system in pairs]


def job_of(case: Case, system: Any, where: Any, tiny: bool) -> GpuJob:
    """What the system is told: the same documents for all."""
    row, rows, a_pass = (64, 4, 2) if tiny else (1024, case.rows, case.rows_per_pass)
    documents = gpu_shape.documents(rows, row, [max(4, n * row // 1024) for n in MIXED] if case.shared else [row])
    per_pass = gpu_shape.documents_a_pass(len(documents), a_pass, rows)
    config = gpu_shape.config_of(case.model, tiny).to_dict()
    return GpuJob(
        system, config, case.method, documents, row, a_pass, per_pass, where, case.precision, case.optimizer, steps=STEPS,
        rate_size=256 if tiny else 8192,
    )  # fmt: skip


@functools.cache
def operations_a_token(case: Case, tiny: bool) -> float:
    documents = job_of(case, "codetune", "cpu", tiny).documents
    return gpu_shape.operations_a_token(gpu_shape.config_of(case.model, tiny), case.method, documents)


def tokens_per_s(kept: Json) -> float:
    return float(kept["measured"]["tokens"] / kept["measured"]["seconds"])


def told(part: Part, kept: Json) -> str:
    return f"{tokens_per_s(kept):,.0f} tokens/s"


def rows(record: Json) -> list[Json]:
    """What of the goals the parts answer so far."""
    return [row for case in CASES for row in _rows_of(case, record)]


def _rows_of(case: Case, record: Json) -> list[Json]:
    ours, peer = (record["parts"].get(f"{case.name} {system}", {}) for system in SYSTEMS[:2])
    found: list[Json] = []
    if "measured" not in ours:
        return found
    if case.against_trl and "measured" in peer:
        first, theirs = (each["measured"]["losses"][0] for each in (ours, peer))
        alike = abs(first - theirs) <= FIRST_WITHIN
        same = f"{'' if alike else 'no: '}first losses {first:.5f} and {theirs:.5f}, the same documents and weights"
        speeds = tokens_per_s(ours), tokens_per_s(peer) if alike else None
        found.append(compared(case.name, "TRL+PEFT defaults", *speeds, "tokens/s", same, case.against_trl))
    if case.of_the_rate:
        rate, same = ours["measured"]["matrix_rate"], "operations counted from the shape"
        used = tokens_per_s(ours) * operations_a_token(case, record["tiny"])
        found.append(compared(case.name, "a square bf16 product in the same process", used, rate, "FLOP/s", same, case.of_the_rate))
    return found


def report(record: Json) -> str:
    """The table; differences are to `codetune plain`'s losses, or to codetune's where that is not there."""
    lines = [_line(case, record, system) for case in CASES for system in case.systems if f"{case.name} {system}" in record["parts"]]
    if not lines:
        return ""
    head = "Training steps: random weights, the same on both sides; the share counts products of the forward and backward passes, \
not what is computed twice."
    return "\n".join([head, "", f"| {' | '.join(HEAD)} |", "|---|---|---:|---:|---:|---:|---:|---:|", *lines])


def _line(case: Case, record: Json, system: str) -> str:
    found = record["parts"][f"{case.name} {system}"]
    if "measured" not in found:
        return f"| {case.name} | {system} | failed: {found['failed']} | - | - | - | - | - |"
    own = [record["parts"].get(f"{case.name} {one}", {}) for one in ("codetune plain", "codetune")]
    right = next((kept["measured"]["losses"] for kept in own if "measured" in kept), None)
    one, speed = found["measured"], tokens_per_s(found)
    difference = "-" if right is None else f"{max(abs(a - b) for a, b in zip(one['losses'], right, strict=True)):.4f}"
    share = speed * operations_a_token(case, record["tiny"]) / one["matrix_rate"]
    cells = [f"{speed:,.0f}", f"{100 * share:.1f}%", f"{one['matrix_rate'] / 1e12:.1f}", f"{one['peak_memory_bytes'] / 1e9:.2f}"]
    cells += [f"{one['losses'][0]:.4f}", difference]
    return f"| {' | '.join([case.name, system, *cells])} |"
