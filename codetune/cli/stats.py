"""`codetune data stats`: what went into data, what came out, and what was left out why; or what a file of problems holds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.cli.account import show
from codetune.cli.output import to_stdout
from codetune.cli.prepare import JsonFlag, ProcessesFlag, SetFlag, prepared
from codetune.config import is_recipe, load_tree, recipe_path, validate
from codetune.data.describe import Description, Lengths, describe, problems_of
from codetune.data.prepared.read import is_prepared, read_manifest
from codetune.data_recipe import DataRecipe
from codetune.records import to_json


def stats(
    path: Annotated[str, typer.Argument(help="A prepared folder, a data recipe, a file or folder of your own, or a name of `data list`.")],
    overrides: SetFlag = None,
    processes: ProcessesFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """For each source: rows in, left out by which rule with examples, documents out, lengths, licences, duplicates, overlap.

    Of a benchmark, or a file of problems with tests: how many, how long, how many with tests and references, how many twice.
    """
    given = Path(path)
    if not is_recipe(given) and (problems := problems_of(path)) is not None:
        found = describe(problems)
        if as_json:
            print(json.dumps({"path": path} | to_json(found)))
        else:
            _show_problems(path, found, to_stdout())
        return
    if is_prepared(given):
        manifest = read_manifest(given)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            manifest = prepared(_looked_at(path, overrides or [], Path(scratch)), processes, strict=False)
    if as_json:
        print(json.dumps(manifest))
    else:
        show(manifest, to_stdout())


def _looked_at(path: str, overrides: list[str], scratch: Path) -> DataRecipe:
    """The recipe that is given, or one for a single source with every rule at its default; what it makes is thrown away."""
    tree = load_tree(recipe_path(Path(path)), overrides) if is_recipe(Path(path)) else {"name": "stats", "sources": [path]}
    return validate(tree | {"out": str(scratch / "data")}, DataRecipe, path)


def _show_problems(path: str, found: Description, console: Console) -> None:
    console.print(f"[bold]{escape(path)}[/bold]: {found.problems} problems")
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
