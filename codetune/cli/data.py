"""`codetune data`: what data there is, and what is in a file of your own.

    codetune data list
    codetune data stats my-problems.jsonl
    codetune data decontaminate my-problems.jsonl --out clean.jsonl
    codetune data prepare recipes/base-model.yaml
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from codetune.cli.output import to_stderr, to_stdout
from codetune.config import TrainRecipe, load_recipe, recipe_path
from codetune.data import benchmarks
from codetune.data.catalogue import ENTRIES, PACKAGE
from codetune.data.decontaminate import RUN_WORDS, BenchmarkIndex
from codetune.data.describe import Description, Lengths, describe, read_problems
from codetune.data.files import DATA_VARIABLE, Row, read_rows
from codetune.data.prepare import prepare_base
from codetune.errors import UserError
from codetune.records import to_json
from codetune.runs import read_json, write_json, write_rows

app = typer.Typer(add_completion=False, help="List, prepare and inspect data.")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
CORPUS_FOLDER = Path("runs/base-model/data")
SPARE = 1.02  # the plan of steps may overshoot its budget by part of a row; no token should come twice


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Training sources and benchmarks: what is found where, and its licence."""
    if as_json:
        print(json.dumps({"data": [to_json(entry) | {"found": entry.found() or None} for entry in ENTRIES]}))
        return
    console = to_stdout()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("name", "for", "found", "licence"):
        table.add_column(column, no_wrap=column in ("name", "for"))
    table.add_column("what it is")
    for entry in ENTRIES:
        where = entry.found()
        found = f"[green]{'yes' if entry.files else PACKAGE}[/green]" if where else "[dim]no[/dim]"
        files = f" [dim]({', '.join(entry.files)})[/dim]" if entry.files else ""
        table.add_row(entry.name, entry.use, found, entry.licence, escape(entry.content) + files)
    console.print(table)
    folder = os.environ.get(DATA_VARIABLE)
    console.print(f"\nFiles are looked for in {DATA_VARIABLE}" + (f"={folder}" if folder else ", which is not set") + ".", markup=False)
    console.print(f"'{PACKAGE}' ships with codetune. A JSON or JSONL file of your own goes wherever a name does.")


@app.command()
def prepare(
    recipe: Annotated[Path, typer.Argument(help="A training recipe, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set train.train_tokens=100000.")] = None,
) -> None:
    """Make the corpus and the tokenizer of a recipe that trains a model from scratch (`source: corpus`)."""
    loaded = load_recipe(recipe_path(recipe), TrainRecipe, overrides or [])
    if loaded.data.source != "corpus" or loaded.architecture is None:
        print(f"nothing to prepare for {loaded.data.source!r}: `codetune train` tokenises it by itself and caches that")
        return
    folder = loaded.data.path or CORPUS_FOLDER
    numbers = {
        "vocab_size": loaded.architecture.vocab_size, "max_length": loaded.train.max_seq_len,
        "train_tokens": int(loaded.train.train_tokens * SPARE), "seed": loaded.seed,
    }  # fmt: skip
    if (folder / "manifest.json").exists():
        _require_same(folder, numbers)
    else:
        write_json(folder / "prepared.json", numbers)
        say = to_stderr()
        prepare_base(folder, **numbers, say=lambda line: say.print(line, soft_wrap=True))
    print(f"{read_json(folder / 'manifest.json')['train_tokens']:,} training tokens: {folder}")


@app.command()
def stats(
    path: Annotated[str, typer.Argument(help="A JSON or JSONL file of problems or of Alpaca rows, or a name of `data list`.")],
    as_json: JsonFlag = False,
) -> None:
    """How many problems, how long, how many with tests and references, how many twice."""
    found = describe(*read_problems(path))
    if as_json:
        print(json.dumps({"path": path} | to_json(found)))
    else:
        _show(path, found)


@app.command()
def decontaminate(
    path: Annotated[Path, typer.Argument(help="A JSON or JSONL file; every string in a row counts.")],
    benchmark: Annotated[list[str] | None, typer.Option(help="Only against this one; may be repeated. Default: all found.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the clean rows to this JSONL file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find rows that share 13 words in a row with a benchmark (Brown et al. 2020), and leave them out of --out.

    A text of a benchmark that has only 8 to 12 words counts as a whole.
    """
    rows = read_rows(path)
    index, names = _index(benchmark or [])
    hits = [next(filter(None, map(index.overlap, _strings(row.values))), "") for row in rows]
    shared = Counter(filter(None, hits))
    if out is not None:
        write_rows(out, (row.values for row, hit in zip(rows, hits, strict=True) if not hit))
    if as_json:
        listed = [{"row": row.where, "benchmark": hit} for row, hit in zip(rows, hits, strict=True) if hit]
        print(json.dumps({"rows": len(rows), "shared": dict(shared), "against": names, "run_words": RUN_WORDS, "hits": listed}))
        return
    for row, hit in zip(rows, hits, strict=True):
        if hit:
            print(f"{row.where}: shares {RUN_WORDS} words, or a whole short text, with {hit}{_task(row)}")
    clean = f", the other {len(rows) - shared.total()} are in {out}" if out else ""
    print(f"{shared.total()} of {len(rows)} rows share {RUN_WORDS} words in a row, or a whole short text, with a benchmark{clean}")


def _require_same(folder: Path, numbers: dict[str, int]) -> None:
    """What was prepared stays: a model that is being trained on it must not find other tokens there."""
    if not (folder / "prepared.json").exists():
        return
    before = read_json(folder / "prepared.json")
    differing = ", ".join(f"{key} was {before.get(key)}, now {value}" for key, value in numbers.items() if before.get(key) != value)
    if differing:
        raise UserError(f"{folder} was prepared with other numbers ({differing}): remove it, or give another folder as data.path")


def _index(asked: list[str]) -> tuple[BenchmarkIndex, list[str]]:
    """All benchmarks asked for, or all that are found; says on stderr which those are."""
    entries = {entry.name: entry for entry in ENTRIES if entry.use == "benchmark"}
    names = asked or [name for name, entry in entries.items() if entry.found() and name not in ("basics", "mbpp", "basics-validation")]
    index = BenchmarkIndex()
    for name in names:
        index.add_problems(name, benchmarks.load(name).problems)
    missing = [name for name, entry in entries.items() if not asked and not entry.found()]
    lacks = f"; not found: {', '.join(missing)} (set {DATA_VARIABLE})" if missing else ""
    to_stderr().print(f"against {', '.join(names)}{lacks}")
    return index, names


def _strings(value: object) -> list[str]:
    """Every string in a row, however deep: tests and notes leak too."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _strings(item)]


def _task(row: Row) -> str:
    return f" (task_id {row.values['task_id']!r})" if "task_id" in row.values else ""


def _show(path: str, found: Description) -> None:
    console = to_stdout()
    left_out = f", {found.left_out} rows without an answer left out" if found.left_out else ""
    console.print(f"[bold]{escape(path)}[/bold]: {found.problems} problems{left_out}")
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_row("length of the wish", _lengths(found.wish_chars))
    table.add_row("length of the reference", _lengths(found.reference_chars))
    for label, share in (
        ("with tests", found.with_tests),
        ("with a reference", found.with_reference),
        ("references that parse", found.references_that_parse),
        ("wishes that came before", found.repeated_wishes),
        ("pairs that came before", found.repeated_pairs),
    ):
        table.add_row(label, f"{100 * share:.1f}%")
    console.print(table)


def _lengths(lengths: Lengths) -> str:
    return f"{lengths.median:.0f} characters at the median, {lengths.p95} at the 95th of 100, {lengths.longest} at most"
