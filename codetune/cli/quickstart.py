"""`codetune quickstart`: tune the shipped model four ways on the shipped problems, run what it writes, and report which way won."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codetune.cli.output import to_stderr
from codetune.cli.study import conclude, run_with_progress
from codetune.config import StudyRecipe, load_recipe, shipped_recipes

app = typer.Typer(add_completion=False)


@app.command()
def quickstart(
    out: Annotated[Path | None, typer.Option(help="The study's folder. Default: runs/quickstart.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the recipe, as in --set seeds=3.")] = None,
) -> None:
    """Offline, on CPU, in under ten minutes on two cores; a second call finds what is done."""
    recipe = load_recipe(shipped_recipes()["quickstart.yaml"], StudyRecipe, overrides or [])
    recipe = recipe.model_copy(update={"out": out}) if out else recipe
    conclude(run_with_progress(recipe))
    to_stderr().print(f"talk to what was tuned: codetune serve --adapter {recipe.folder}")
