"""`codetune data`: what data there is, what is in it, and how it becomes training data.

    codetune data list
    codetune data stats my-pairs.jsonl
    codetune data decontaminate my-pairs.jsonl --out clean.jsonl
    codetune data prepare recipes/data/own-code.yaml --set path=my-project
    codetune data preview recipes/train-lora.yaml
    codetune data push data/own-code --to me/own-code
"""

from __future__ import annotations

import json
import os

import typer
from rich.markup import escape
from rich.table import Table

from codetune.cli.decontaminate import decontaminate
from codetune.cli.output import to_stdout
from codetune.cli.prepare import JsonFlag, prepare_command, push_command
from codetune.cli.preview import preview
from codetune.cli.stats import stats
from codetune.data.catalogue import ENTRIES, PACKAGE
from codetune.data.files import DATA_VARIABLE
from codetune.records import to_json

app = typer.Typer(add_completion=False, help="List, prepare and inspect data.")
app.command()(decontaminate)
app.command("prepare")(prepare_command)
app.command()(preview)
app.command()(stats)
app.command("push")(push_command)


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
    console.print(f"'{PACKAGE}' ships with codetune. A data file of your own, or a folder of code, goes wherever a name does.")
