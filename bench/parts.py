"""Benchmarks in parts: each in a process of its own with its own time, kept at once as JSON, skipped where it is kept already.

A command that is killed at any moment, or that stops at its --time-limit, goes on where it was when it is given again. The record has
under `parts` what each part gave: `measured`, with the `seconds` that it took and the machine's `load`; or `failed`, one line, tried again
only with --again. A part that the limit of the whole command cut short is under `cut` with the seconds it had: it is begun again where
there are more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.children import FailedError, Host, LateError
from bench.environment import load_average, say
from bench.results import write
from codetune.errors import UserError, nearest

Json = dict[str, Any]
PART_S = 470.0  # a part that is not done by then has failed
SAME = ("device", "tiny", "machine.gpu", "versions.torch", "versions.transformers")  # of all commands that fill one record
SAVED_S = 1.0  # that a part's end is before the command's


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement: `module`'s answer to `job` (bench/host.py)."""

    group: str
    name: str  # unique, words apart by spaces: --only chooses by them
    module: str
    job: Json = field(repr=False)
    about: Json = field(default_factory=dict, repr=False)  # kept with what was measured
    expected_s: float = 10.0
    limit_s: float = PART_S
    host: str = "ours"  # whose interpreter
    on_device: bool = True  # or on any machine


Told = Callable[[Part, Json], str]  # a part's outcome in few words


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """The options of every benchmark in parts."""
    parser.add_argument("--only", default="", help="parts that have all words of one of these, comma-separated: 'memory gpt2,rates'")
    parser.add_argument("--time-limit", type=float, default=0.0, metavar="S", help="of the whole command: what may not fit is not begun")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--out", type=Path, default=None, help=f"the record, JSON, written after each part; default {out}")


def chosen(parts: Sequence[Part], only: str) -> list[Part]:
    """Those that `only` names, in the parts' order. Raises UserError for a word that none has."""
    wanted = [item.split() for item in only.split(",") if item.strip()]
    words = {id(part): {part.group, *part.name.replace(",", " ").split()} for part in parts}
    known = {word for each in words.values() for word in each}
    for word in (word for item in wanted for word in item):
        if word not in known:
            raise UserError(f"--only {word}: no part has this word: {nearest(word, sorted(known))}")
    found = [part for part in parts if not wanted or any(words[id(part)].issuperset(item) for item in wanted)]
    if not found:
        raise UserError(f"--only {only}: no part has all these words; a comma stands between alternatives")
    return found


def record_at(out: Path, fresh: Json, measuring: bool) -> Json:
    """The file so far, or a fresh record. Raises UserError where it was measured elsewhere and something is to be measured here."""
    fresh = {"parts": {}, "cut": {}, "load": [], "rows": []} | fresh
    if not out.exists():
        return fresh
    record: Json = json.loads(out.read_text())
    if "parts" not in record:
        raise UserError(f"{out} is no record of this benchmark: choose another --out")
    for key in SAME if measuring else ():
        was, here = _at(record, key), _at(fresh, key)
        if was != here:
            raise UserError(f"{out} was measured with {key} {was!r}, and here it is {here!r}: choose another --out")
    return record


def measure(
    parts: Sequence[Part], record: Json, out: Path, hosts: Mapping[str, Host], options: argparse.Namespace, told: Told
) -> list[Part]:  # fmt: skip
    """Measure what the record does not have yet, in order. Returns what is left for another command."""
    todo = [part for part in parts if _to_do(record["parts"].get(part.name), options.again)]
    left, ends = list(todo), _ends(options.time_limit)
    for number, part in enumerate(todo, 1):
        remaining = ends - time.monotonic()
        if remaining < max(part.expected_s, record["cut"].get(part.name, 0.0) + SAVED_S):
            continue
        began = time.monotonic()
        found = _measured(part, hosts[part.host], min(part.limit_s, remaining - SAVED_S), remaining - SAVED_S < part.limit_s)
        took = time.monotonic() - began
        if found is None:
            record["cut"][part.name] = took
            outcome = "cut short by --time-limit"
        else:
            record["parts"][part.name] = part.about | found | {"group": part.group, "seconds": took, "load": load_average()}
            record["cut"].pop(part.name, None)
            loads = [*record["load"], load_average()]
            record["load"] = [min(loads), max(loads)]
            left.remove(part)
            outcome = f"failed: {found['failed']}" if "failed" in found else told(part, record["parts"][part.name])
        write(out, record)
        say(f"{number}/{len(todo)} {part.group} {part.name}: {outcome}; {took:.1f} s{_time(ends, todo[number:])}")
    return left


def _to_do(kept: Json | None, again: bool) -> bool:
    return kept is None or (again and "failed" in kept)


def _measured(part: Part, host: Host, limit_s: float, cut: bool) -> Json | None:
    """What the record gets; None where it was not done because the whole command's time (`cut`) came before the part's own."""
    try:
        return {"measured": host.measured(part.module, part.job, limit_s)}
    except LateError:
        return None if cut else {"failed": f"not done in {limit_s:.0f} s"}
    except FailedError as error:
        return {"failed": str(error)}


def _ends(limit_s: float) -> float:
    """When the command's time is over, counted from its process's start, imports included."""
    if limit_s <= 0:
        return float("inf")
    return time.monotonic() + limit_s - (time.time() - psutil.Process().create_time())


def _time(ends: float, todo: Sequence[Part]) -> str:
    to_do = f", about {sum(part.expected_s for part in todo):,.0f} s to do"
    return to_do if ends == float("inf") else f", {max(0.0, ends - time.monotonic()):.0f} s left{to_do}"


def _at(record: Json, key: str) -> Any:
    for name in key.split("."):
        record = record.get(name, {})
    return record


def remaining(left: Sequence[Part]) -> str:
    """What to say of parts that are left; "" where none are."""
    if not left:
        return ""
    seconds = sum(part.expected_s for part in left)
    return f"{len(left)} parts are left, about {seconds:,.0f} s: give the same command again"
