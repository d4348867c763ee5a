"""Everything that is measured on a GPU, in parts that are kept at once: `make bench-gpu`.

    python -m bench gpu --keep                            all of it, where there is a GPU; killed or stopped, the same command goes on
    python -m bench gpu --time-limit 540 --out gpu.json   as much as fits into nine minutes
    python -m bench gpu --only "speed codetune,rates"     some parts; `--list` names them, in their order
    python -m bench gpu --only forecast --out gpu.json --keep     on any machine: forecasts beside what was measured there, and the page
    python -m bench gpu --tiny                            the same at toy size, on a CPU too: to see that it works

In this order: the machine's rates; peak memory of codetune on the published table's shapes, and of TRL+PEFT on 7B LoRA (G6); 7B LoRA under
a cap of 8 GB (G7); training steps against TRL+PEFT's (G4, G5); profiles; the rest of TRL's memory; forecasts. To add a part, give it to its
group's module; a group more is a module more in `groups` and `every_part`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import environment, parts
from bench.children import Host
from bench.environment import say
from codetune.errors import UserError

WHAT = "Training on a GPU: the published table's memory, 7B LoRA in 8 GB, speed against TRL+PEFT, share of the matrix rate, profiles."
HOW_LONG = "Half an hour and more on one GPU of 80 GB, in parts under eight minutes each, resumable; --tiny: ten minutes, on a CPU too."
OURS = (
    "codetune.train.dry_run", "bench.ours_gpu", "bench.gpu_rates", "bench.gpu_profile", "bench.memory_forecast",
    *(f"transformers.models.{name}.modeling_{name}" for name in ("gpt2", "llama", "mistral", "falcon")),
)  # fmt: skip
PEERS = ("trl.trainer.sft_trainer", "bench.peer_memory", "bench.peer_trl_gpu", *OURS[-4:])
NO_PEERS = "no environment with trl and datasets here: --peers PYTHON names one, --peers make makes one"
Json = dict[str, Any]


def groups() -> dict[str, ModuleType]:
    """Who has `told` and `report` of a group, and perhaps `rows` and `figures`; imported late, as they take seconds."""
    from bench import gpu_profile, gpu_rates, gpu_speed, memory_error, memory_table

    found = {"rates": gpu_rates, "memory": memory_table, "cap": memory_table, "speed": gpu_speed, "profile": gpu_profile}
    return found | {"forecast": memory_error}


def every_part(where: str, tiny: bool) -> list[parts.Part]:
    """All of them, in the order of their worth: what is dear and asked for first comes first."""
    from bench import gpu_profile, gpu_rates, gpu_speed, memory_table

    return [
        *gpu_rates.parts_of(where, tiny), *memory_table.first(where, tiny), *memory_table.capped_parts(where, tiny),
        *gpu_speed.parts_of(where, tiny), *gpu_profile.parts_of(where, tiny), *memory_table.rest(where, tiny),
        *memory_table.forecasts(tiny),
    ]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts.add_arguments(parser, "runs/bench-gpu.json")
    parser.add_argument("--list", action="store_true", help="measure nothing: the parts, their seconds, and which the record has")
    parser.add_argument("--peers", default="", metavar="PYTHON", help="an interpreter that has trl, or `make`; default: one that is here")
    parser.add_argument("--tiny", action="store_true", help="tiny models of the same families, on whatever is here: to see that it works")


def run(options: argparse.Namespace) -> None:
    """Measure what the file does not have yet, and print the tables. Raises UserError for options that cannot work."""
    if options.tiny and getattr(options, "keep", False):
        raise UserError("--tiny --keep: nothing of tiny models is a result; leave one out")
    ours = Host(Path(sys.executable), OURS)
    peers_python = environment.peers_at(options.peers)
    hosts = {"ours": ours} | ({"peers": Host(peers_python, PEERS)} if peers_python else {})
    try:
        if not options.list:
            for host in hosts.values():
                host.start()  # they import while this process does
        _run(options, hosts)
    finally:
        for host in hosts.values():
            host.close()


def _run(options: argparse.Namespace, hosts: dict[str, Host]) -> None:
    from codetune.models.machine import device, hardware, versions

    where = "cuda" if device() == "cuda" else "cpu"
    todo = parts.chosen(every_part(where, options.tiny), options.only)
    out = options.out or Path("runs") / f"bench-gpu{'-tiny' if options.tiny else ''}.json"
    fresh = {"benchmark": "gpu", "goal": "G4, G5, G6, G7", "device": where, "tiny": options.tiny}
    fresh |= {"machine": hardware(), "versions": versions()}
    missing = [part for part in todo if part.host not in hosts]
    here = [part for part in todo if part.host in hosts]
    record = parts.record_at(out, fresh, measuring=not options.list and any(part.on_device for part in here))
    if options.list:
        print(listed(todo, record))
        return
    if where == "cpu" and not options.tiny and any(part.on_device for part in here):
        raise UserError("no GPU here: run this where there is one; --only forecast runs anywhere, --tiny shows here that it works")
    left = parts.measure(here, record, out, hosts, options, told)
    for key in ("rows", "figures"):
        makers = [getattr(module, key) for module in dict.fromkeys(groups().values()) if hasattr(module, key)]
        record[key] = [one for make in makers for one in make(record)]
    if record["parts"]:
        parts.write(out, record)
    print(report(record))
    for line in (f"{len(missing)} parts of TRL are left out: {NO_PEERS}" if missing else "", parts.remaining(left)):
        if line:
            say(line)


def told(part: parts.Part, kept: Json) -> str:
    """A part's outcome in few words."""
    found: str = groups()[part.group].told(part, kept)
    return found


def report(record: Json) -> str:
    """The tables of what was measured."""
    machine, versions = record["machine"], record["versions"]
    device = machine["gpu"] if record["device"] == "cuda" else f"{machine['cpu']} (no GPU)"
    tiny = " Tiny models: nothing here is a result." if record["tiny"] else ""
    head = f"Device: {device}; torch {versions['torch']}, transformers {versions['transformers']}.{tiny}"
    found = [module.report(record) for module in dict.fromkeys(groups().values())]
    return "\n\n".join([head, *(one for one in found if one)])


def listed(todo: list[parts.Part], record: Json) -> str:
    """The parts in their order, with what the record has of them."""
    lines = []
    for part in todo:
        kept = record["parts"].get(part.name)
        state = "" if kept is None else f"  done in {kept['seconds']:.1f} s" if "measured" in kept else f"  failed: {kept['failed']}"
        lines.append(f"{part.group:9} {part.expected_s:4.0f} s  {part.name}{state}")
    return "\n".join(lines)
