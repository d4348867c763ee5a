"""Training steps on a GPU beside TRL+PEFT's, and their share of the matrix rate measured in the same process.

    python -m bench gpu --out gpu.json
    python -m bench gpu --tiny --out gpu-tiny.json        # the same at toy size, on the CPU too: to see that it works
    python -m bench gpu --cases 7b-lora --systems codetune,TRL

Each part is a process of its own, is done within eight minutes or has failed, and is written to --out at once; run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench import environment
from bench.environment import say
from bench.results import compared
from codetune.errors import UserError, nearest
from codetune.runs import write_json

WHAT = "Training steps on a GPU against TRL+PEFT, tokens/s and the share of the matrix rate: 7B LoRA, 7B full, GPT-2 124M."
HOW_LONG = "Under eight minutes a part, 16 parts, resumable; --tiny: half a minute a part, on a CPU too."
PART_S = 470
SYSTEMS = ("codetune", "codetune plain", "TRL", "TRL no checkpointing")
MIXED = (31, 402, 77, 180, 24, 512, 96, 140, 55, 260, 33, 118, 700, 48, 84, 210)  # tokens of short pairs and a few long documents
HEAD = ("case", "system", "tokens/s", "share of the matrix rate", "matrix rate, TFLOP/s", "peak GB", "first loss", "largest difference")
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
    peers: bool = True  # TRL's full 7B in fp32 fits no card
    against_trl: tuple[str, int] | None = None  # the goal and the number of its target that the ratio to TRL answers
    of_the_rate: tuple[str, int] | None = None  # and those that the share of the matrix rate does


CASES = (
    Case(
        "7b-lora", "codellama-7b", "lora", 16, 4, against_trl=("G4", 0), of_the_rate=("G5", 0),
    ),
    Case("7b-lora-mixed", "codellama-7b", "lora", 16, 4, shared=True),
    Case(
        "7b-full", "codellama-7b", "full", 16, 4, "bf16_weights", "adamw_8bit", peers=False, of_the_rate=("G5", 1),
    ),
    Case("gpt2-full", "gpt2", "full", 32, 16, of_the_rate=("G5", 2)),
    Case("gpt2-lora", "gpt2", "lora", 32, 16),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", default="", help=f"comma-separated, of {', '.join(case.name for case in CASES)}; default all")
    parser.add_argument("--systems", default="", help=f"comma-separated, of {', '.join(SYSTEMS)}; default all")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each part; 3 more warm up (default 8)")
    parser.add_argument("--tiny", action="store_true", help="tiny models of the same families, on whatever is here: to see that it works")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--out", type=Path, default=None, help="results, JSON, written after each part; default runs/bench-gpu.json")


def run(options: argparse.Namespace) -> None:
    """Measure what the file does not have yet, and print the table. Raises UserError for options that cannot work."""
    cases = [case for case in CASES if case.name in _named(options.cases, [case.name for case in CASES], "case")]
    systems = _named(options.systems, list(SYSTEMS), "system")
    import torch  # here, so that listing and refusing come without it

    where: Literal["cuda", "cpu"] = "cuda" if torch.cuda.is_available() else "cpu"
    if where == "cpu" and not options.tiny:
        raise UserError("no GPU here: run this where there is one; --tiny shows here that it works")
    out = options.out or Path("runs") / f"bench-gpu{'-tiny' if options.tiny else ''}.json"
    record = _record(out, options.tiny, where)
    parts = [(case, system) for case in cases for system in systems if case.peers or not system.startswith("TRL")]
    for number, (case, system) in enumerate(parts, 1):
        kept = record["parts"].get(f"{case.name} {system}")
        if kept is not None and not (options.again and "failed" in kept):
            continue
        found = _measured(case, system, where, options.steps, options.tiny) | {"load": environment.load_average()}
        record["parts"][f"{case.name} {system}"] = found
        record["load"].append(found["load"])
        record["rows"] = [row for each in cases for row in rows_of(each, record["parts"])]
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, record)
        speed = f"{found['tokens_per_s']:,.0f} tokens/s" if "measured" in found else found["failed"]
        say(f"{number}/{len(parts)} {case.name} {system}: {speed}")
    print(report(record, [case.name for case in cases]))


def _measured(case: Case, system: str, where: Literal["cuda", "cpu"], steps: int, tiny: bool) -> Json:
    """One part in a process of its own; a failure is one line under `failed`."""
    from bench import gpu_shape
    from bench.gpu_job import GpuJob

    config = gpu_shape.config_of(case.model, tiny)
    row = 64 if tiny else 1024
    documents = gpu_shape.documents(case.rows if not tiny else 4, row, [max(4, n * row // 1024) for n in MIXED] if case.shared else [row])
    per_pass = gpu_shape.documents_a_pass(len(documents), case.rows_per_pass if not tiny else 2, case.rows if not tiny else 4)
    chosen: Any = system
    job = GpuJob(
        chosen, config.to_dict(), case.method, documents, row, case.rows_per_pass if not tiny else 2, per_pass, where, case.precision,
        case.optimizer, steps=steps, rate_size=256 if tiny else 8192,
    )  # fmt: skip
    peer = system.startswith("TRL")
    python, module = (environment.peers_python(), "bench.peer_trl_gpu") if peer else (Path(sys.executable), "bench.ours_gpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        job.save(path)
        variables = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
        try:
            done = subprocess.run([str(python), "-m", module, str(path)], capture_output=True, text=True, timeout=PART_S, env=variables)
        except subprocess.TimeoutExpired:
            return {"failed": f"not done in {PART_S} s"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode} (memory?)"]
        return {"failed": lines[-1][:300]}
    found = json.loads(done.stdout.splitlines()[-1])
    speed, work = found["tokens"] / found["seconds"], gpu_shape.operations_a_token(config, case.method, documents)
    return {"measured": found, "tokens_per_s": speed, "operations_a_token": work, "share": speed * work / found["matrix_rate"]}


def _record(out: Path, tiny: bool, where: str) -> Json:
    """The file so far. Raises UserError where it is of another device."""
    from codetune.models.machine import hardware, versions

    fresh: Json = {"benchmark": "gpu", "goal": "G4, G5", "machine": hardware(), "versions": versions(), "load": [], "rows": []}
    fresh |= {"tiny": tiny, "device": where, "cases": [asdict(case) for case in CASES], "parts": {}}
    if not out.exists():
        return fresh
    record: Json = json.loads(out.read_text())
    if (record["device"], record["tiny"], record["machine"]["gpu"]) != (where, tiny, fresh["machine"]["gpu"]):
        raise UserError(f"{out} was measured on {record['device']} {record['machine']['gpu']}: choose another --out on this machine")
    return record


def rows_of(case: Case, parts: dict[str, Json]) -> list[Json]:
    """What of the goals the parts answer so far."""
    ours, peer = parts.get(f"{case.name} codetune"), parts.get(f"{case.name} TRL")
    rows: list[Json] = []
    if ours is None or "measured" not in ours:
        return rows
    if case.against_trl and peer is not None and "measured" in peer:
        first, theirs = (each["measured"]["losses"][0] for each in (ours, peer))
        same = f"first losses {first:.5f} and {theirs:.5f}, the same documents and weights"
        speeds = ours["tokens_per_s"], peer["tokens_per_s"]
        rows.append(compared(case.name, "TRL+PEFT defaults", *speeds, "tokens/s", same, case.against_trl))
    if case.of_the_rate:
        rate, same = ours["measured"]["matrix_rate"], "operations counted from the shape"
        against = "a square bf16 product in the same process"
        rows.append(compared(case.name, against, ours["share"] * rate, rate, "FLOP/s", same, case.of_the_rate))
    return rows


def report(record: Json, names: list[str]) -> str:
    """The table of these cases; the differences are to `codetune plain`'s losses, or to codetune's where that is not there."""
    lines = [
        f"Device: {record['machine']['gpu'] if record['device'] == 'cuda' else record['machine']['cpu'] + ' (no GPU)'}; "
        f"torch {record['versions']['torch']}. {'Tiny models: nothing here is a result. ' if record['tiny'] else ''}"
        "Random weights, the same on both sides; the share counts products of the forward and backward passes, not what is computed twice.",
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        own = {system: record["parts"][f"{name} {system}"] for system in SYSTEMS if f"{name} {system}" in record["parts"]}
        plain = next((own[one] for one in ("codetune plain", "codetune") if "measured" in own.get(one, {})), None)
        right = plain and plain["measured"]["losses"]
        lines += [_row(name, system, found, right) for system, found in own.items()]
    return "\n".join(lines)


def _row(case: str, system: str, found: Json, right: list[float] | None) -> str:
    if "measured" not in found:
        return f"| {case} | {system} | failed: {found['failed']} | - | - | - | - | - |"
    one = found["measured"]
    difference = "-" if right is None else f"{max(abs(a - b) for a, b in zip(one['losses'], right, strict=True)):.4f}"
    cells = [f"{found['tokens_per_s']:,.0f}", f"{100 * found['share']:.1f}%", f"{one['matrix_rate'] / 1e12:.1f}"]
    cells += [f"{one['peak_memory_bytes'] / 1e9:.2f}", f"{one['losses'][0]:.4f}", difference]
    return f"| {' | '.join([case, system, *cells])} |"


def _named(given: str, names: list[str], kind: str) -> list[str]:
    found = [name.strip() for name in given.split(",") if name.strip()]
    for name in found:
        if name not in names:
            raise UserError(f"no {kind} {name!r}: {nearest(name, names)}")
    return found or names
