"""Validity gates: when a cell's number is wrong and must be struck out, and when it is right but suspicious.

Pure functions from measurements to `Gate`s; the runner measures, the report shows. A measurement that is `None` was not
taken, and its gate is left out: the report shows it as not measured, never as ok. Thresholds are the constants below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from codetune.records import Json

Level = Literal["ok", "warning", "invalid"]

RELOAD_TOLERANCE = 1e-5  # relative difference of logits; a checkpoint in the training precision reloads exactly
MERGE_TOLERANCE = 1e-3  # relative; merging rounds once per weight in fp32
MIN_ADAPTER_EFFECT = 1e-6  # relative; under it a training run changed nothing that the model says
MIN_EOS_LABEL_SHARE = 0.99  # of examples whose last supervised label is EOS: without it a model never learns to stop
MIN_EOS_FINISH_SHARE = 0.5  # of completions that end by themselves
MAX_EMPTY_SHARE = 0.05  # of completions without any code
LENGTH_RATIO_RANGE = (0.5, 2.0)  # characters of all completions over characters of all references
MIN_SYNTAX_VALID = 0.5
SUSPICIOUS_CODEBLEU = 0.2  # an empty completion gets 0.25 from the published CodeBLEU package,
NEAR_ZERO_BLEU = 0.02  # while its BLEU is 0

TRAINING_GATES: dict[str, str] = {
    "trained_tensors_moved": "every trainable tensor moved",
    "frozen_tensors_kept": "no frozen tensor moved",
    "finite_loss": "every loss is finite",
    "reload": "reloaded weights give the same logits",
    "saved_files": "what answered is what training saved",
    "merge": "merged weights give the same logits",
    "adapter_effect": "the adapter changes the logits",
    "eos_labels": "examples end with a supervised EOS",
}
OVERLAP = "train_test_overlap"
DATA_GATES: dict[str, str] = {OVERLAP: "no test problem is in the training data"}
GENERATION_GATES: dict[str, str] = {"batch_invariance": "greedy output does not depend on the batch"}
CODEBLEU_GATE = "codebleu_without_bleu"
QUALITY_GATES: dict[str, str] = {
    "eos_finish": "completions end with EOS",
    "empty_completions": "few completions are empty",
    "length_ratio": "completions are about as long as references",
    "syntax_valid": "completions are valid Python",
    "better_than_base": "better than the base model",
    CODEBLEU_GATE: "CodeBLEU is not high where BLEU is near 0",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """One check of one cell. `name` of a gate on one benchmark is `<benchmark>:<gate>`; `threshold` reads as text (`>= 0.99`)."""

    name: str
    level: Level
    value: float | None
    threshold: str
    message: str

    @property
    def benchmark(self) -> str:
        """The benchmark the gate belongs to, or `""` where it belongs to the whole cell."""
        return self.name.rpartition(":")[0]

    @property
    def kind(self) -> str:
        """The gate's name without its benchmark: a key of the `*_GATES` tables."""
        return self.name.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class TrainingMeasurements:
    """What the runner measured on one training run. Counts are of tensors, losses, examples or problems."""

    trainable_tensors: int | None = None
    unmoved_trainable_tensors: int | None = None
    frozen_tensors: int | None = None
    moved_frozen_tensors: int | None = None
    losses: int | None = None
    non_finite_losses: int | None = None
    reload_difference: float | None = None  # largest |difference| of logits over largest |logit|
    saved_files_differ: int | None = None  # 1 where the files that were loaded to answer are not those that training wrote
    merge_difference: float | None = None  # the same, where the method can be merged
    adapter_effect: float | None = None  # the same, tuned against untuned
    eos_label_share: float | None = None

    @classmethod
    def of(cls, checks: Json) -> TrainingMeasurements:
        """Of the `checks` in a `train.json`, those that gates ask for; the others are for the diagnosis."""
        return cls(**{name: value for name, value in checks.items() if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class OverlapMeasurements:
    """What of one benchmark was found in what a row has seen: its training data, or the examples in its prompt."""

    benchmark: str
    problems: int  # that were asked
    overlapping: int  # of these


@dataclass(frozen=True, slots=True)
class GenerationMeasurements:
    """Greedy completions of a few prompts, each alone and in one batch."""

    prompts: int
    different: int  # prompts whose completion was not the same
    precision: str = "fp32"  # in bf16 rounding may flip a token, so a difference is only a warning
    virtual_tokens: int = 0  # before the text, where a method has any


@dataclass(frozen=True, slots=True)
class QualityMeasurements:
    """What one cell's completions on one benchmark look like; shares and metrics are in 0..1."""

    benchmark: str
    eos_share: float | None = None
    empty_share: float | None = None
    length_ratio: float | None = None
    syntax_valid: float | None = None
    bleu: float | None = None
    codebleu: float | None = None
    references_cut: float | None = None  # of the references, those that have more tokens than an answer may have


@dataclass(frozen=True, slots=True)
class Lead:
    """A row's score minus its base's over the same problems, with the 95% interval where single problems are known; in 0..1."""

    value: float
    low: float | None = None
    high: float | None = None


def is_valid(gates: tuple[Gate, ...] | list[Gate]) -> bool:
    """Whether no gate says that the pipeline was wrong."""
    return all(gate.level != "invalid" for gate in gates)


def training_gates(measured: TrainingMeasurements) -> list[Gate]:
    """The gates on training; each failure makes the cell invalid."""
    m = measured
    return _present(
        _count("trained_tensors_moved", m.unmoved_trainable_tensors, m.trainable_tensors, "trainable tensors did not move"),
        _count("frozen_tensors_kept", m.moved_frozen_tensors, m.frozen_tensors, "frozen tensors moved"),
        _count("finite_loss", m.non_finite_losses, m.losses, "losses were NaN or infinite"),
        _at_most("reload", m.reload_difference, RELOAD_TOLERANCE, "logits differ after reloading, relatively by {value:.2g}"),
        _count("saved_files", m.saved_files_differ, None, "saved file or more changed between training and answering"),
        _at_most("merge", m.merge_difference, MERGE_TOLERANCE, "logits differ after merging, relatively by {value:.2g}"),
        _at_least("adapter_effect", m.adapter_effect, MIN_ADAPTER_EFFECT, "the adapter changes the logits only by {value:.2g}"),
        _at_least("eos_labels", m.eos_label_share, MIN_EOS_LABEL_SHARE, "only {value:.1%} of examples end with a supervised EOS"),
    )


def overlap_gate(measured: OverlapMeasurements, max_overlap: float, publish_anyway: bool) -> Gate:
    """Beyond the share that the recipe allows the score is invalid, or, where the recipe publishes it anyway, marked."""
    m = measured
    message = f"{m.overlapping} of {m.problems} problems overlap the training data" + (", published anyway" if publish_anyway else "")
    share = m.overlapping / max(1, m.problems)
    level: Level = "warning" if publish_anyway else "invalid"
    return _compared(f"{m.benchmark}:{OVERLAP}", share, share <= max_overlap, f"<= {max_overlap:g}", message, level)


def generation_gates(measured: GenerationMeasurements) -> list[Gate]:
    """Batching must change nothing in fp32 and fp64; in lower precision a difference is a warning."""
    level: Level = "invalid" if measured.precision in ("fp32", "fp64") else "warning"
    what = f"greedy completions changed with the batch in {measured.precision}"
    return _present(_count("batch_invariance", measured.different, measured.prompts, what, level))


def quality_gates(measured: QualityMeasurements) -> list[Gate]:
    """The gates on completions of one benchmark; a failure is a warning, the number stands."""
    m = measured
    gates = _present(
        _at_least("eos_finish", m.eos_share, MIN_EOS_FINISH_SHARE, "only {value:.1%} of completions end with EOS", "warning"),
        _at_most("empty_completions", m.empty_share, MAX_EMPTY_SHARE, "{value:.1%} of completions are empty", "warning"),
        _length(m.length_ratio),
        _at_least("syntax_valid", m.syntax_valid, MIN_SYNTAX_VALID, "only {value:.1%} of completions are valid Python", "warning"),
        _codebleu(m.bleu, m.codebleu),
    )
    return [Gate(f"{m.benchmark}:{g.name}", g.level, g.value, g.threshold, g.message) for g in gates]


def better_than_base(benchmark: str, lead: Lead) -> Gate:
    """The gate on a row's score beside the base model's; a failure is a warning. Scores are pass@1, or BLEU where nothing is executed.

    Where the paired interval is known it decides, so that neither a gain nor a loss within the noise is called one.
    """
    name, difference = f"{benchmark}:better_than_base", f"difference {lead.value:+.1%}"
    if lead.low is None or lead.high is None:
        message = f"no better than the base model ({difference})"
        return _compared(name, lead.value, lead.value > 0, "> 0", message, "warning")
    where = f"({difference}, 95% interval {lead.low:+.1%} to {lead.high:+.1%})"
    message = f"worse than the base model {where}" if lead.high < 0 else f"cannot be told apart from the base model {where}"
    return _compared(name, lead.value, lead.low > 0, "interval above 0", message, "warning")


def _present(*gates: Gate | None) -> list[Gate]:
    return [gate for gate in gates if gate is not None]


def _count(name: str, bad: int | None, total: int | None, what: str, level: Level = "invalid") -> Gate | None:
    if bad is None:
        return None
    of = "" if total is None else f" of {total}"
    return Gate(name, level if bad else "ok", bad, "= 0", f"{bad}{of} {what}" if bad else "")


def _at_most(name: str, value: float | None, limit: float, message: str, level: Level = "invalid") -> Gate | None:
    return None if value is None else _compared(name, value, value <= limit, f"<= {limit:g}", message, level)


def _at_least(name: str, value: float | None, limit: float, message: str, level: Level = "invalid") -> Gate | None:
    return None if value is None else _compared(name, value, value >= limit, f">= {limit:g}", message, level)


def _compared(name: str, value: float, holds: bool, threshold: str, message: str, level: Level) -> Gate:
    # NaN compares False and so fails; JSON has no NaN or infinity, so such a value is kept in the message only.
    kept = value if math.isfinite(value) else None
    return Gate(name, "ok" if holds else level, kept, threshold, "" if holds else message.format(value=value))


def _length(ratio: float | None) -> Gate | None:
    if ratio is None:
        return None
    low, high = LENGTH_RATIO_RANGE
    message = "completions are {value:.2f} times as long as the references"
    return _compared("length_ratio", ratio, low <= ratio <= high, f"{low:g} to {high:g}", message, "warning")


def _codebleu(bleu: float | None, codebleu: float | None) -> Gate | None:
    if bleu is None or codebleu is None:
        return None
    suspicious = bleu < NEAR_ZERO_BLEU and codebleu >= SUSPICIOUS_CODEBLEU
    threshold = f"< {SUSPICIOUS_CODEBLEU:g} where BLEU < {NEAR_ZERO_BLEU:g}"
    message = f"CodeBLEU is {{value:.3f}} where BLEU is {bleu:.4f}: such a CodeBLEU says nothing"
    return _compared(CODEBLEU_GATE, codebleu, not suspicious, threshold, message, "warning")
