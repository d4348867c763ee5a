"""`codetune init`: the recommended recipe as a file, every value with its effect and where it comes from.

    codetune init
    codetune init --model codellama-7b --data conala --gpu 24GB --out start.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from codetune.cli.recommend import ask, command_of
from codetune.errors import UserError
from codetune.study.starting import Question
from codetune.study.written import commented, recipe_of, write_recipe

app = typer.Typer(add_completion=False)
HERE = "this machine"


@app.command()
def init(
    model: Annotated[str | None, typer.Option(help="A model as in a recipe. Default: asked for on a terminal.", show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help="What to tune on. Default: asked for on a terminal.", show_default=False)] = None,
    gpu: Annotated[str | None, typer.Option(help="For a GPU that is not here: its memory, as 24GB, or a name, as H100.")] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("recipe.yaml"),
    benchmark: Annotated[str, typer.Option(help="What counts in your own studies. Default: the first of each.")] = "",
    hours: Annotated[float | None, typer.Option(min=0.001, help="Training may take no longer.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Look at these methods alone; repeatable.")] = None,
    runs: Annotated[list[Path] | None, typer.Option(help="Where your own studies are. Default: runs.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the recipe that `codetune recommend` recommends, commented; `codetune plan` and `codetune train` take it as it is."""
    if out.exists() and not force:  # before anything long
        raise UserError(f"{out} is there already: give another --out, or --force to write over it")
    if model is None or data is None:
        model, data, gpu = _asked(model, data, gpu)
    question = Question(model, data, benchmark, hours, tuple(runs or [Path("runs")]), tuple(method or ()))
    found = ask(question, gpu)
    name = out.stem
    command = command_of(question, gpu, out)
    write_recipe(out, commented(found, command.partition(" && ")[0], name), recipe_of(found, name), force)
    print(f"{out}: {found.method} for {found.model} on {found.data}, {found.machine} ({found.by})")
    print(f"next: codetune plan {out}{f' --gpu {gpu}' if gpu else ''}; codetune train {out}")


def _asked(model: str | None, data: str | None, gpu: str | None) -> tuple[str, str, str | None]:
    """What was not given, from whoever sits at the terminal. Raises UserError where nobody does."""
    missing = [flag for flag, given in (("--model", model), ("--data", data)) if given is None]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"no {' and no '.join(missing)}, and no terminal to ask at: give --model and --data, and --gpu for another machine")
    model = model or typer.prompt("model (a name, a folder, a hub id)", default="codetune-base", err=True)
    data = data or typer.prompt("data (a name of `codetune data list`, a file, a folder)", default="basics", err=True)
    gpu = gpu or typer.prompt("GPU (24GB, H100)", default=HERE, err=True)
    return str(model), str(data), None if gpu == HERE else str(gpu)
