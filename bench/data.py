"""From raw rows to packed training rows at the size of CodeXGLUE's Python set: wall clock and memory, on rows made of real code.

    python -m bench data [--rows 251820] [--processes 2] [--keep FOLDER] [--out results.json]

The rows have CodeSearchNet's schema (Husain et al. 2019) and are made of the functions of the installed Python: documented ones
first, others with a docstring made of their names. `codetune data prepare` then reads, cleans, compares with the benchmarks that are
found, removes duplicates, splits, writes, tokenises and packs. Memory is summed over its processes, shared pages counted once (PSS).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench import environment
from bench.environment import say
from codetune.errors import UserError

WHAT = "Raw to packed at CodeXGLUE's size: minutes and memory of `codetune data prepare`."
HOW_LONG = "About ten minutes, half of them to make the rows (once: --keep)."
ROWS = 251_820  # of CodeXGLUE's Python training set
ROWS_PER_FILE = 30_000
SAMPLE_EVERY_S = 0.2
Json = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=None, help="keep the rows here, or take those that are here")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Make the rows, prepare them, print the account."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = options.keep or Path(scratch) / "rows"
        if not list(rows.glob("*.jsonl")):
            make_rows(rows, options.rows)
        record = measure(rows, Path(scratch), options.processes)
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def make_rows(folder: Path, count: int) -> None:
    """So many rows of CodeSearchNet's schema, in files as it comes; raises UserError where there is not enough code."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    undocumented: list[str] = []
    for path in _files():
        for row, documented in _rows_of(path):
            (made if documented else undocumented).append(json.dumps(row))
        if len(made) >= count:
            break
    made = [*made, *undocumented][:count]
    if len(made) < count:
        raise UserError(f"the installed Python has {len(made):,} functions of three lines or more, --rows asks for {count:,}")
    for start in range(0, count, ROWS_PER_FILE):
        path = folder / f"python_train_{start // ROWS_PER_FILE}.jsonl"
        path.write_text("".join(line + "\n" for line in made[start : start + ROWS_PER_FILE]), encoding="utf-8")
    say(f"{len(made):,} rows in {folder}")


def measure(rows: Path, scratch: Path, processes: int) -> Json:
    """One preparation in processes of its own: seconds by stage, peak memory, what came out."""
    recipe = scratch / "recipe.yaml"
    recipe.write_text(
        f"name: scale\nsources:\n  - {{source: codesearchnet, path: {rows}}}\nsplit: {{validation: 0.02}}\n"
        f"tokens: {{model: codetune-base, max_seq_len: 1024}}\nout: {scratch / 'data'}\n"
    )
    program = [sys.executable, "-c", "from codetune.cli.main import main; main()"]
    command = [*program, "data", "prepare", str(recipe), "--processes", str(processes), "--json"]
    load, started = environment.load_average(), time.monotonic()
    began: dict[str, float] = {}
    with (scratch / "out.json").open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as child:
        listener = threading.Thread(target=_listen, args=(child, began))
        listener.start()
        peak = _peak_memory(child)
        listener.join()
    seconds = time.monotonic() - started
    ends = [*list(began.values())[1:], time.monotonic()]
    stages = {name: end - start for (name, start), end in zip(began.items(), ends, strict=True)}
    if child.returncode:
        raise UserError(f"codetune data prepare ended with exit code {child.returncode}")
    manifest = json.loads((scratch / "out.json").read_text())
    size = sum(file.stat().st_size for file in rows.glob("*.jsonl"))
    return {
        "benchmark": "data", "rows": sum(source["rows"] for source in manifest["sources"]), "megabytes": size / 1e6, "processes": processes,
        "seconds": seconds, "peak_memory_bytes": peak, "splits": {name: split["documents"] for name, split in manifest["splits"].items()},
        "left_out": manifest["sources"][0]["left_out"], "tokens": manifest.get("tokens"), "stages": stages,
        "machine": environment.machine(), "load": load,
    }  # fmt: skip


def report(record: Json) -> str:
    """The account in words."""
    left_out = "\n".join(f"| {reason} | {count:,} |" for reason, count in record["left_out"].items())
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in record["stages"].items())
    machine, memory = record["machine"], record["peak_memory_bytes"] / 1e9
    return f"""\
{record["rows"]:,} rows, {record["megabytes"]:,.0f} MB of JSON, {record["processes"]} processes.
{machine["processor"]}, {machine["cores"]} cores, load {record["load"]:.1f} before.

raw to packed: **{record["seconds"]:.0f} s**, peak memory **{memory:.2f} GB**; documents by split: {record["splits"]}.
Tokens: {record["tokens"]}
Seconds from the first word of each stage: {stages} (start-up and first pieces before that).

| left out | rows |
| --- | ---: |
{left_out}"""


def _listen(child: subprocess.Popen[str], began: dict[str, float]) -> None:
    """Pass the child's narration on, and note when each stage is first told of."""
    assert child.stderr is not None
    for line in child.stderr:
        began.setdefault(line.partition(":")[0].strip(), time.monotonic())
        say(line.rstrip())


def _peak_memory(child: subprocess.Popen[str]) -> int:
    """The most that the process and all its children held at one moment, in bytes."""
    peak, ended = 0, threading.Event()
    process = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            held = [one.memory_full_info().pss for one in (process, *process.children(recursive=True))]
            peak = max(peak, sum(held))
        except psutil.Error:  # one of them has just ended
            pass
        ended.wait(SAMPLE_EVERY_S)
    return peak


def _files() -> list[Path]:
    """Python of the standard library and of all installed packages, in an order that mixes packages."""
    paths = sysconfig.get_paths()
    folders = {Path(paths["stdlib"]), Path(paths["purelib"]), Path("/usr/lib/python3/dist-packages")}
    files = {file for folder in folders for file in folder.rglob("*.py")}
    return sorted(files, key=lambda file: hashlib.blake2b(str(file).encode(), digest_size=8).digest())


def _rows_of(path: Path) -> Iterator[tuple[Json, bool]]:
    """A row for each function of three lines or more, and whether it is documented."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return
    lines = text.split("\n")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 2:
            indent = node.col_offset
            code = "\n".join(line[indent:] for line in lines[node.lineno - 1 : node.end_lineno])
            docstring = ast.get_docstring(node)
            yield _row(path, node, code, docstring or _named(node)), bool(docstring)


def _row(path: Path, node: ast.FunctionDef, code: str, docstring: str) -> Json:
    package = path.parts[-3] if len(path.parts) > 2 else path.parts[0]
    url = f"https://example.org/{'/'.join(path.parts[-4:])}#L{node.lineno}-L{node.end_lineno}"
    return {
        "repo": f"installed/{package}", "path": "/".join(path.parts[-4:]), "func_name": node.name, "original_string": code,
        "language": "python", "code": code, "code_tokens": _code_tokens(code), "docstring": docstring,
        "docstring_tokens": re.findall(r"\w+|[^\w\s]", docstring),
        "sha": hashlib.sha1(code.encode("utf-8", "surrogatepass")).hexdigest(), "url": url, "partition": "train",
    }  # fmt: skip


def _named(node: ast.FunctionDef) -> str:
    words = " ".join(re.findall(r"[A-Za-z][a-z0-9]*", node.name)).lower() or "compute a value"
    given = ", ".join(argument.arg for argument in node.args.args if argument.arg not in ("self", "cls"))
    return f"{words.capitalize()} of the given {given}." if given else f"{words.capitalize()} for this object."


def _code_tokens(code: str) -> list[str]:
    try:
        return [token.string for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.string.strip()]
    except (tokenize.TokenError, SyntaxError):
        return code.split()
