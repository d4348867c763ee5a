"""The published memory table on full-size models side by side: forecast, codetune, TRL with PEFT, published; and the goals G6 and G7."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from bench import gpu_shape
from bench.gpu_rates import matrix_rate_of
from bench.memory import PUBLISHED_GB, PUBLISHED_METHODS, published_gb
from bench.memory_parts import GPU_MODELS, SEVEN, MemoryPart, default, forecast_of, least
from bench.memory_peers import PeerMemoryPart
from bench.parts import Part
from bench.results import compared

Json = dict[str, Any]
CAPPED = "codellama-7b"
CAP_GB, CAPPED_ROWS = 8.0, (4, 1, 16)  # rows of 1,024 a pass; the last is beyond the cap by the forecast, and is measured without
CAPPED_STEPS = 5
GOALS_MODELS = ("codellama-7b", "mistral-7b")
HEAD = (
    "model", "method", "forecast", "codetune", "forecast, least", "codetune, least", "TRL", "TRL, no checkpointing", "TRL in bf16",
    "TRL in bf16, no checkpointing", "published",
)  # fmt: skip
SPEED_HEAD = ("model", "method", "system", "allocated GB", "reserved GB", "tokens/s", "share of the matrix rate")
ROWS = 1


def shapes(tiny: bool) -> Iterator[tuple[str, str, int, int, bool]]:
    """Model, method, rows, tokens, tiny of each line of the table."""
    tokens = 64 if tiny else 1024
    return ((model, method, ROWS, tokens, tiny) for model in GPU_MODELS for method in PUBLISHED_METHODS)


def peers(model: str, method: str, rows: int, tokens: int, tiny: bool) -> list[PeerMemoryPart]:
    """As TRL has it by default, with activations kept, and for adapters of 7B models with the base in bf16, as it is published."""
    found = [PeerMemoryPart(model, method, rows, tokens, checkpointing=twice, tiny=tiny) for twice in (True, False)]
    if model in SEVEN and method != "full":
        found += [PeerMemoryPart(model, method, rows, tokens, checkpointing=twice, dtype="bfloat16", tiny=tiny) for twice in (True, False)]
    return found


def of_goals(tiny: bool) -> list[PeerMemoryPart]:
    """What G6 is held against."""
    return [one for shape in shapes(tiny) for one in peers(*shape) if (one.model in GOALS_MODELS and one.method == "lora" and _halved(one))]


def _halved(one: PeerMemoryPart) -> bool:
    return one.dtype == "bfloat16"


def first(where: str, tiny: bool) -> list[Part]:
    """Codetune's two columns, and of TRL what goals are held against."""
    own = [way(*shape) for way in (default, least) for shape in shapes(tiny)]
    return [one.part("memory", where) for one in (*own, *of_goals(tiny))]


def rest(where: str, tiny: bool) -> list[Part]:
    """TRL's other columns."""
    return [one.part("memory", where) for shape in shapes(tiny) for one in peers(*shape) if one not in of_goals(tiny)]


def streamed(rows: int, tiny: bool) -> MemoryPart:
    """LoRA of 7B with its frozen weights in main memory, under the cap where it fits."""
    cap = CAP_GB if rows < max(CAPPED_ROWS) else 0.0
    tokens = 64 if tiny else 1024
    return MemoryPart(CAPPED, "lora", "bf16", rows, tokens, checkpointing=True, offloaded=True, cap_gb=cap, tiny=tiny, steps=CAPPED_STEPS)


def resident(rows: int, tiny: bool) -> MemoryPart:
    """The same with all weights on the device."""
    return MemoryPart(CAPPED, "lora", "bf16", rows, 64 if tiny else 1024, checkpointing=True, tiny=tiny, steps=CAPPED_STEPS)


def capped_by_trl(tiny: bool) -> PeerMemoryPart:
    return PeerMemoryPart(CAPPED, "lora", 1, 64 if tiny else 1024, dtype="bfloat16", tiny=tiny, cap_gb=CAP_GB)


def capped_parts(where: str, tiny: bool) -> list[Part]:
    """Streamed under the cap and resident without, at several tokens a pass; and TRL under the cap."""
    own = [way(rows, tiny) for rows in CAPPED_ROWS for way in (streamed, resident)]
    return [one.part("cap", where) for one in (*own, capped_by_trl(tiny))]


def forecasts(tiny: bool) -> list[Part]:
    """Of every part of codetune's."""
    own = [way(*shape) for way in (default, least) for shape in shapes(tiny)]
    own += [way(rows, tiny) for rows in CAPPED_ROWS for way in (streamed, resident)]
    return [one.forecast_part(gpu=True) for one in own]


def told(part: Part, kept: Json) -> str:
    return f"{kept['measured']['peak'] / 1e9:.2f} GB, {_speed(kept) or 0:,.0f} tokens/s"


def report(record: Json) -> str:
    """GB of the steps, one line for each model and method; then what each took, with its speed. "-" is what was not measured."""
    lines = [line for shape in shapes(record["tiny"]) if (line := _line(record, *shape))]
    speeds = [_speed_line(record, name, kept) for name, kept in record["parts"].items() if kept["group"] in ("memory", "cap")]
    if not speeds:
        return ""
    head = ["Peak of the steps in GB (10^9 bytes), one row of 1,024 tokens a pass, or the longest that fits:", "", _row(HEAD), _rule(HEAD)]
    more = ["Each part; its speed is that of its fastest step after the first, of one pass:", "", _row(SPEED_HEAD), _rule(SPEED_HEAD)]
    return "\n".join([*([*head, *lines, ""] if lines else []), *more, *speeds])


def _line(record: Json, model: str, method: str, rows: int, tokens: int, tiny: bool) -> str:
    """One line; "" where nothing of it was measured."""
    shape = (model, method, rows, tokens, tiny)
    own, others = [default(*shape).name, least(*shape).name], [one.name for one in peers(*shape)]
    if not any(name in record["parts"] for name in (*own, *others)):
        return ""
    cells = [("tiny " if tiny else "") + model, method]
    for name in own:
        cells += [_gb(forecast_of(record, name)), _peak(record, name)]
    cells += [_peak(record, name) for name in others]
    return _row([*cells, *["-"] * (len(HEAD) - 1 - len(cells)), "-" if tiny else published_gb(model, method)])


def _speed_line(record: Json, name: str, kept: Json) -> str:
    head = [("tiny " if kept["tiny"] else "") + kept["model"], kept["method"], f"{kept['settings']} {kept['rows']}x{kept['tokens']}"]
    if "measured" not in kept:
        return _row([*head, f"failed: {kept['failed']}", "-", "-", "-"])
    speed, rate = _speed(kept) or 0.0, matrix_rate_of(record)
    width = kept["measured"]["tokens"] // kept["rows"]
    share = "-" if rate is None else f"{100 * speed * _operations(kept['model'], kept['method'], width, kept['tiny']) / rate:.1f}%"
    return _row([*head, _gb(kept["measured"]["peak"]), _gb(kept["measured"]["reserved"] or None), f"{speed:,.0f}", share])


@functools.cache
def _operations(model: str, method: str, width: int, tiny: bool) -> float:
    return gpu_shape.operations_a_token(gpu_shape.config_of(model, tiny), "full" if method == "full" else "lora", [width])


def rows(record: Json) -> list[Json]:
    """Rows of G6 and G7 of what was measured."""
    tiny, tokens = record["tiny"], 64 if record["tiny"] else 1024
    found: list[Json] = []
    for theirs in of_goals(tiny):
        ours, peer = (record["parts"].get(name, {}) for name in (default(theirs.model, "lora", ROWS, tokens, tiny).name, theirs.name))
        if "measured" in ours and peer:
            same = "shapes, rank 16 on all linear layers, tokens; random weights, so no loss" if "measured" in peer else peer["failed"]
            sizes = ours["measured"]["peak"], peer["measured"]["peak"] if "measured" in peer else None
            what = f"{theirs.model} LoRA, one row of {tokens}"
            found.append(compared(what, theirs.settings, *sizes, "bytes", same, ("G6", 1 if theirs.checkpointing else 0)))
    for count in sorted(CAPPED_ROWS):
        one, whole = (record["parts"].get(way(count, tiny).name, {}) for way in (streamed, resident))
        if one and "measured" in whole:
            same = one.get("failed") or "the same numbers, bit for bit on a CPU (tests/exactness/test_offloading.py)"
            what = f"{CAPPED} LoRA, {count * tokens} tokens a pass, {streamed(count, tiny).settings}"
            what += f"; TRL under the cap: {_under_cap(record)}"
            against = "codetune, weights on the device"
            found.append(compared(what, against, _speed(one), _speed(whole), "tokens/s", same, ("G7", 0) if count > 1 else None))
    return found


def _under_cap(record: Json) -> str:
    kept = record["parts"].get(capped_by_trl(record["tiny"]).name, {})
    return str(kept.get("failed", "ran" if kept else "not measured"))


def figures(record: Json) -> list[Json]:
    """The table as bars: a group for each model and method that something was measured of."""
    bars = []
    for model, method, *others in shapes(record["tiny"]):
        shape: Any = (model, method, *others)
        theirs = [one for one in peers(*shape) if _halved(one) or model not in SEVEN or method == "full"]
        named = {"codetune": default(*shape), "codetune, least": least(*shape), "TRL": theirs[0], "TRL, no checkpointing": theirs[1]}
        values = {name: _bytes(record["parts"].get(one.name, {})) for name, one in named.items()}
        values = {name: size / 1e9 for name, size in values.items() if size}
        published = PUBLISHED_GB.get(model, (None,) * 4)[PUBLISHED_METHODS.index(method)] if not record["tiny"] else None
        if values:
            forecast = forecast_of(record, default(*shape).name)
            more = {"forecast": forecast / 1e9} if forecast else {}
            bars.append({"model": model, "method": method, "gb": values | more | ({"published": published} if published else {})})
    alt = "Peak memory of a training step by model and method: codetune, TRL with PEFT, forecast and published"
    return [{"kind": "memory", "file": "memory.svg", "alt": alt, "bars": bars}] if bars else []


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(head: tuple[str, ...]) -> str:
    return f"|---|---|{'---:|' * (len(head) - 2)}"


def _peak(record: Json, name: str) -> str:
    kept = record["parts"].get(name)
    return "-" if kept is None else _gb(kept["measured"]["peak"]) if "measured" in kept else "failed"


def _gb(size: float | None) -> str:
    return "-" if size is None else f"{size / 1e9:.2f}"


def _bytes(kept: Json) -> float | None:
    return kept["measured"]["peak"] if "measured" in kept else None


def _speed(kept: Json) -> float | None:
    return kept["measured"]["tokens"] / kept["measured"]["seconds"] if "measured" in kept else None
