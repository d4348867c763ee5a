"""Why a cell's result is bad, as far as its stored evidence tells: the known causes, each with the figures that point to it.

    for found in diagnose(CellEvidence(gates, train, curve, benchmarks, measured)):
        print(found.cause, found.evidence, found.remedy)

Gates say that a number is wrong or suspicious, a diagnosis says why; docs/gates.md has all of both. Pure functions of what a cell's folder
holds. What was not measured points to nothing, and a healthy cell has no diagnosis. Thresholds are the constants below.
"""

from __future__ import annotations

from collections.abc import Callable

from codetune.study.cell_evidence import CellEvidence, Diagnosis
from codetune.study.gates import CODEBLEU_GATE, MIN_EOS_LABEL_SHARE, OVERLAP
from codetune.study.ladder import ladder_edge

MAX_START_SCALE = 3.0  # root mean square of virtual tokens over that of embeddings; started from embeddings it is 1, from N(0, 1) 10 to 50
MAX_START_LOSS = 1.5  # times the base model's: a text as the start costs 1.05 at the shipped model, N(0, 1) up to 4
WORSE = 1.05  # times the loss before: training that ends there has undone what the model knew
RISEN = 1.5  # times the lowest the loss has been, both smoothed
HARDLY = 0.01  # of the loss: a fall of less is none
HARDLY_MOVED = 5e-3  # changes over weights, root mean squares: a run that learns has 0.01 to 1
STUCK = 0.5  # of the weights that must have moved by now: with fewer, updates round away (PITFALLS: pure bf16 at 1e-5 moves 15%)
FEWEST_WITHIN_REACH = 0.2  # with fewer weights that must have moved nothing can be said of the precision
MOST_ENDED_BY_LENGTH = 0.5  # of the completions
MOST_REFERENCES_CUT = 0.1  # of the references: with more that need longer answers the limit is the cause
MOST_CHANGED_BY_ROUNDING = 0.5  # of greedy answers: in bf16 a batch flips tokens here and there, not in most answers


def diagnose(evidence: CellEvidence) -> list[Diagnosis]:
    """All causes that the evidence points to, those that bring about others first, the merely possible last; none for a healthy cell."""
    found = [each for rule in RULES if (each := rule(evidence)) is not None]
    return sorted(found, key=lambda each: each.grade == "possible")


def overlap(evidence: CellEvidence) -> Diagnosis | None:
    failed = evidence.failed(OVERLAP)
    if not failed:
        return None
    said = "; ".join(f"{gate.benchmark}: {gate.message}" for gate in failed)
    return Diagnosis("overlap", "certain", said, "set decontaminate.drop: true, so that training leaves out what the benchmarks ask")


def eos(evidence: CellEvidence) -> Diagnosis | None:
    share = evidence.number("eos_label_share")
    if share is None or share >= MIN_EOS_LABEL_SHARE:
        return None
    causes = evidence.checks.get("eos_label_causes") or {}
    why = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    remedy = "end every training text with an EOS that counts for the loss, and set train.max_seq_len so that no example is cut"
    if any("does not count" in cause for cause in causes):
        remedy = "mask padding by its length and never by its token: where pad = eos, masking the token masks every EOS"
    said = f"only {share:.1%} of the examples end with an EOS that counts for the loss" + (f" ({why})" if why else "")
    return Diagnosis("eos", "certain", said, remedy)


def initialisation(evidence: CellEvidence) -> Diagnosis | None:
    scale, probe, way = evidence.number("start_scale"), evidence.probe, evidence.number("learning_rate_sum")
    far = scale is not None and scale > MAX_START_SCALE
    worse = probe is not None and probe[1] > MAX_START_LOSS * probe[0]
    if not far and not worse:
        return None
    said = []
    if scale is not None and far:
        said.append(f"virtual tokens start {scale:.0f} times as large as the model's embeddings")
    if probe is not None:
        said.append(f"before the first step the method takes the loss from {probe[0]:.2f} to {probe[1]:.2f}")
    if way is not None and far:
        said.append(f"all learning rates together are {way:.2g}, which is how far a step after the other can move a weight")
    remedy = "set method.init to text (or vocabulary, for prompts): a start among the embeddings that the model knows, never N(0, 1)"
    return Diagnosis("initialisation", "certain" if far and worse else "likely", ", ".join(said), remedy)


def learning_rate_too_high(evidence: CellEvidence) -> Diagnosis | None:
    """Losses that are no numbers; a loss that ends above where it started, or far above its lowest; or the lowest rate searched is best."""
    probe, held_out, losses = evidence.probe, evidence.held_out, evidence.losses
    lower = "set method.learning_rate to a tenth, or search for it"
    if evidence.failed("finite_loss"):
        stopped = evidence.train.get("stopped") or "a loss was NaN or infinite"
        return Diagnosis("learning_rate_too_high", "likely", f"training diverged: {stopped}{_rate(evidence)}", lower)
    worse = probe is not None and probe[2] > WORSE * probe[1]
    if worse and held_out is not None:
        worse = held_out[1] > WORSE * held_out[0]
    if probe is not None and worse:
        held = "" if held_out is None else f", of held-out ones from {held_out[0]:.2f} to {held_out[1]:.2f}"
        said = f"training took the loss of its own examples from {probe[1]:.2f} to {probe[2]:.2f}{held}{_rate(evidence)}"
        return Diagnosis("learning_rate_too_high", "likely", said, lower)
    if losses and losses[-1] > RISEN * min(losses):
        said = f"the training loss rose from {min(losses):.2f} to {losses[-1]:.2f} and did not come back{_rate(evidence)}"
        return Diagnosis("learning_rate_too_high", "likely", said, lower)
    return ladder_edge(evidence, lowest=True)


def learning_rate_too_low(evidence: CellEvidence) -> Diagnosis | None:
    """A loss that hardly fell, and weights that hardly moved; or the highest rate searched is best."""
    probe, movement = evidence.probe, evidence.number("relative_movement")
    if probe is not None and movement is not None and not _stuck(evidence) and not _still(evidence):
        fall = 1 - probe[2] / probe[1] if probe[1] else 0.0
        if abs(fall) < HARDLY and movement < HARDLY_MOVED:
            said = f"training changed the loss of its own examples by {-fall:+.2%} and the weights by {movement:.2g} of their size"
            remedy = "set method.learning_rate ten times as high, or search for it; then more train.train_tokens"
            return Diagnosis("learning_rate_too_low", "likely", said + _rate(evidence), remedy)
    return ladder_edge(evidence, lowest=False)


def precision(evidence: CellEvidence) -> Diagnosis | None:
    if not _stuck(evidence):
        return None
    moved, reach = evidence.number("weights_moved_share"), evidence.number("weights_within_reach_share")
    dtype = evidence.checks.get("trained_dtype")
    said = f"{moved:.1%} of the weights moved, in {dtype}, and the learning rates were enough for {reach:.1%}: updates round away"
    remedy = "set train.precision to bf16 (what trains in float32), or to bf16_weights, which rounds at random so that small updates add up"
    return Diagnosis("precision", "likely", said, remedy)


def no_gradient(evidence: CellEvidence) -> Diagnosis | None:
    names = _still(evidence)
    if not names or _stuck(evidence):
        return None
    still, tensors = evidence.number("unmoved_trainable_tensors") or 0, evidence.number("trainable_tensors") or 0
    said = f"{still:.0f} of {tensors:.0f} trainable tensors are as they were ({', '.join(names)}), though the learning rates reach them"
    said += " and every gradient was 0" if max(evidence.gradient_norms, default=1.0) == 0 else ""
    remedy = "name other method.target_modules, or leave train.activation_checkpointing out: what these tensors do does not reach the loss"
    return Diagnosis("no_gradient", "certain", said, remedy)


def frozen_moved(evidence: CellEvidence) -> Diagnosis | None:
    failed = evidence.failed("frozen_tensors_kept")
    remedy = "train it anew; if it comes back, report it with the recipe: the method changes what it must not"
    return Diagnosis("frozen_moved", "certain", failed[0].message, remedy) if failed else None


def reload(evidence: CellEvidence) -> Diagnosis | None:
    failed = [*evidence.failed("reload"), *evidence.failed("saved_files")]
    remedy = "remove the cell's folder and run the study again: what is on disk is not what was trained"
    return Diagnosis("reload", "certain", "; ".join(gate.message for gate in failed), remedy) if failed else None


def merge(evidence: CellEvidence) -> Diagnosis | None:
    failed = evidence.failed("merge")
    if not failed:
        return None
    base = evidence.train.get("base_format") or "fp32"
    remedy = "serve the adapter unmerged, or merge it into the base in 16 or 32 bits: `codetune export --to merged`"
    return Diagnosis("merge", "certain", f"{failed[0].message}, on a base in {base}", remedy)


def padding(evidence: CellEvidence) -> Diagnosis | None:
    measured = evidence.measured.get("invariance") or {}
    asked, different = measured.get("prompts") or 0, measured.get("different") or 0
    exact = measured.get("precision") in ("fp32", "fp64")
    if not different or (not exact and different <= MOST_CHANGED_BY_ROUNDING * asked):
        return None
    said = f"{different} of {asked} greedy answers are others in a batch than alone, in {measured.get('precision')}"
    order = "[PAD][virtual tokens][text], never [virtual tokens][PAD][text]" if measured.get("virtual_tokens") else "[PAD][text]"
    remedy = f"pad on the left, {order}, with a mask over the padding and positions that start after it; until then decoding.batch_size: 1"
    return Diagnosis("padding", "certain" if exact else "likely", said, remedy)


def length_limit(evidence: CellEvidence) -> Diagnosis | None:
    cut = {name: _references_cut(evidence, name) for name in _ended_by_length(evidence)}
    said = [
        f"{name}: {share:.0%} of the references have more than the {_limit(evidence, name)} tokens that an answer may have"
        for name, share in cut.items()
        if share > MOST_REFERENCES_CUT
    ]
    return Diagnosis("length_limit", "certain", "; ".join(said), "raise decoding.max_new_tokens") if said else None


def runaway_length(evidence: CellEvidence) -> Diagnosis | None:
    said = []
    for name in _ended_by_length(evidence):
        if _references_cut(evidence, name) <= MOST_REFERENCES_CUT:
            ratio = evidence.quality(name).get("length_ratio")
            long = f", {ratio:.1f} times as long as the references" if ratio else ""
            said.append(f"{name}: {_share_by_length(evidence, name):.0%} of the completions run to {_limit(evidence, name)} tokens{long}")
    remedy = "train longer on texts that end with EOS; of a model that is not to be tuned, cut with the prompt style's stop sequences"
    return Diagnosis("runaway_length", "likely", "; ".join(said), remedy) if said else None


def codebleu_artefact(evidence: CellEvidence) -> Diagnosis | None:
    failed = evidence.failed(CODEBLEU_GATE)
    if not failed:
        return None
    said = "; ".join(f"{gate.benchmark}: {gate.message}" for gate in failed)
    empty = [share for gate in failed if (share := evidence.quality(gate.benchmark).get("empty_share"))]
    said += f" ({max(empty):.0%} of the completions are empty)" if empty else ""
    remedy = "strike these CodeBLEU values: look at the completions, and compare by tests or by BLEU"
    return Diagnosis("codebleu_artefact", "certain", said, remedy)


RULES: tuple[Callable[[CellEvidence], Diagnosis | None], ...] = (
    overlap, eos, initialisation, learning_rate_too_high, learning_rate_too_low, precision, no_gradient, frozen_moved, reload, merge,
    padding, length_limit, runaway_length, codebleu_artefact,
)  # fmt: skip


def _stuck(evidence: CellEvidence) -> bool:
    """Whether far fewer weights moved than the learning rates were enough for, in a dtype that is narrow and with gradients."""
    moved, reach = evidence.number("weights_moved_share"), evidence.number("weights_within_reach_share")
    narrow = evidence.checks.get("trained_dtype") in ("bfloat16", "float16")
    if moved is None or reach is None or not narrow or max(evidence.gradient_norms, default=1.0) == 0:
        return False
    return reach >= FEWEST_WITHIN_REACH and moved < STUCK * reach


def _still(evidence: CellEvidence) -> list[str]:
    """The first few of the tensors that did not move though the learning rates reach them."""
    found: list[str] = evidence.checks.get("unmoved_within_reach") or []
    return found


def _rate(evidence: CellEvidence) -> str:
    rate = evidence.train.get("learning_rate")
    return f" (learning rate {rate:g})" if isinstance(rate, int | float) else ""


def _ended_by_length(evidence: CellEvidence) -> list[str]:
    return [name for name in evidence.benchmarks if _share_by_length(evidence, name) > MOST_ENDED_BY_LENGTH]


def _share_by_length(evidence: CellEvidence, benchmark: str) -> float:
    finish: dict[str, int] = (evidence.benchmarks[benchmark].get("generation") or {}).get("finish") or {}
    return finish.get("length", 0) / max(1, sum(finish.values()))


def _references_cut(evidence: CellEvidence, benchmark: str) -> float:
    return float(evidence.quality(benchmark).get("references_cut") or 0.0)


def _limit(evidence: CellEvidence, benchmark: str) -> int | str:
    decoding = (evidence.benchmarks[benchmark].get("generation") or {}).get("decoding") or {}
    found: int | str = decoding.get("max_new_tokens", "allowed")
    return found
