"""The memory benchmark's full-size parts side by side: codetune, TRL with PEFT, the forecast, what is published; goals G6, G7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.memory import published_gb
from bench.memory_parts import Part, default, least
from bench.memory_peers import PeerPart

Json = dict[str, Any]
SEVEN = ("falcon-7b", "mistral-7b", "codellama-7b")
CAPPED = ("mistral-7b", "codellama-7b")
CAP_GB, CAPPED_ROWS = 8.0, (1, 4, 16)  # rows of 1,024 a pass; the last is beyond the cap by the forecast, and is measured without
HEAD = (
    "model", "method", "forecast", "codetune", "forecast, least", "codetune, least", "TRL", "TRL, no checkpointing", "TRL in bf16",
    "TRL in bf16, no checkpointing", "published",
)  # fmt: skip


def peers(model: str, method: str, rows: int, tokens: int, tiny: bool) -> list[PeerPart]:
    """As TRL has it by default, with activations kept, and for adapters of 7B models with the base in bf16, as it is published."""
    found = [PeerPart(model, method, rows, tokens, checkpointing=twice, tiny=tiny) for twice in (True, False)]
    if model in SEVEN and method != "full":
        found += [PeerPart(model, method, rows, tokens, checkpointing=twice, dtype="bfloat16", tiny=tiny) for twice in (True, False)]
    return found


def side_by_side(models: Sequence[str], methods: Sequence[str], rows: int, tokens: int, tiny: bool) -> list[Part | PeerPart]:
    """All parts of the table: of each model and method codetune's two and the peers'."""
    found: list[Part | PeerPart] = []
    for model in models:
        for method in methods:
            found += [default(model, method, rows, tokens, tiny), least(model, method, rows, tokens, tiny)]
            found += peers(model, method, rows, tokens, tiny)
    return found


def capped(models: Sequence[str], tokens: int, tiny: bool) -> list[Part | PeerPart]:
    """The goal of 8 GB: LoRA of 7B streamed under the cap, resident without, at several tokens a pass; and TRL under the cap."""
    found: list[Part | PeerPart] = []
    for model in (name for name in models if name in CAPPED):
        for rows in CAPPED_ROWS:
            found += [streamed(model, rows, tokens, tiny), resident(model, rows, tokens, tiny)]
        found.append(PeerPart(model, "lora", 1, tokens, dtype="bfloat16", tiny=tiny, cap_gb=CAP_GB))
    return found


def streamed(model: str, rows: int, tokens: int, tiny: bool) -> Part:
    cap = CAP_GB if rows < CAPPED_ROWS[-1] else 0.0
    return Part(model, "lora", "bf16", rows, tokens, checkpointing=True, offloaded=True, cap_gb=cap, tiny=tiny)


def resident(model: str, rows: int, tokens: int, tiny: bool) -> Part:
    return Part(model, "lora", "bf16", rows, tokens, checkpointing=True, tiny=tiny)


def table(record: Json, models: Sequence[str], methods: Sequence[str], rows: int, tokens: int, tiny: bool) -> str:
    """GB of the steps, one line for each model and method; "-" where a part was not measured, or is none."""
    lines = ["Peak of the steps in GB (10^9 bytes):", "", f"| {' | '.join(HEAD)} |", f"|---|---|{'---:|' * (len(HEAD) - 2)}"]
    for model in models:
        for method in methods:
            cells = [("tiny " if tiny else "") + model, method]
            for part in (default(model, method, rows, tokens, tiny), least(model, method, rows, tokens, tiny)):
                kept = record["parts"].get(part.key, {})
                cells += [_gb(kept.get("forecast")), _peak(kept)]
            others = [_peak(record["parts"].get(part.key, {})) for part in peers(model, method, rows, tokens, tiny)]
            cells += [*others, *["-"] * (4 - len(others))]
            lines.append(f"| {' | '.join([*cells, '-' if tiny else published_gb(model, method)])} |")
    return "\n".join(lines)


def goals(record: Json, models: Sequence[str], tokens: int, tiny: bool) -> list[Json]:
    """Rows of G6 and G7 of what was measured, as bench.results has them."""
    found: list[Json] = []
    for model in (name for name in models if name in CAPPED):
        ours = record["parts"].get(default(model, "lora", 1, tokens, tiny).key, {})
        for twice, must, aim in ((False, 0.60, 0.45), (True, 0.95, 0.85)):
            theirs = PeerPart(model, "lora", 1, tokens, checkpointing=twice, dtype="bfloat16", tiny=tiny)
            what, against = f"{model} LoRA, one row of {tokens}", theirs.settings
            same = "shapes, rank 16 on all linear layers, tokens; random weights, so no loss"
            found.append(_row("G6", what, against, _bytes(ours), _bytes(record["parts"].get(theirs.key, {})), "bytes", same, must, aim))
        for rows in CAPPED_ROWS:
            one, whole = (record["parts"].get(part(model, rows, tokens, tiny).key, {}) for part in (streamed, resident))
            what = f"{model} LoRA, {rows * tokens} tokens a pass, {streamed(model, rows, tokens, tiny).settings}"
            same = "the same numbers, bit for bit on a CPU (tests/exactness/test_offloading.py)"
            found.append(_row("G7", what, "codetune, weights on the device", _speed(one), _speed(whole), "tokens/s", same, None, 0.9))
    return found


def _row(
    goal: str, what: str, against: str, ours: float | None, peer: float | None, unit: str, same: str, must: float | None, aim: float
) -> Json:
    ratio = ours / peer if ours and peer else None
    return {
        "goal": goal, "what": what, "against": against, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "same": same,
        "must": must, "aim": aim, "limit": None,
    }  # fmt: skip


def _peak(kept: Json) -> str:
    if "measured" not in kept:
        return "refused" if "refused" in kept else "failed" if "failed" in kept else "-"
    return _gb(kept["measured"]["peak"])


def _gb(size: float | None) -> str:
    return "-" if size is None else f"{size / 1e9:.2f}"


def _bytes(kept: Json) -> float | None:
    return kept["measured"]["peak"] if "measured" in kept else None


def _speed(kept: Json) -> float | None:
    return kept["measured"]["tokens"] / kept["measured"]["seconds"] if "measured" in kept else None
