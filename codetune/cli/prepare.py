"""`codetune data prepare` and `codetune data stats`: sources to a data folder, and what went in, came out, and was left out why."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codetune.cli.account import show
from codetune.cli.output import progress_bar, to_stderr, to_stdout
from codetune.config import TrainRecipe, load_tree, recipe_path, validate
from codetune.data.base_corpus import prepare_corpus
from codetune.data.prepared.make import Stage, prepare
from codetune.data.prepared.tokens import make_tokens
from codetune.data.training import Maker
from codetune.data_recipe import DataRecipe, TokensConfig
from codetune.prompts.infill import infilling_of
from codetune.records import Json

SetFlag = Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set path=src --set split.test=0.1.")]
ProcessesFlag = Annotated[int | None, typer.Option(min=1, help="Processes at work; the result is the same. Default: one per core.")]
StrictFlag = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row instead of counting it.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def prepare_command(
    recipe: Annotated[Path, typer.Argument(help="A data recipe, or the name of a shipped one.")],
    overrides: SetFlag = None,
    processes: ProcessesFlag = None,
    strict: StrictFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a data folder: clean, remove duplicates and what overlaps benchmarks, split, write Parquet files with a card.

    A killed run goes on where it was. A training recipe with `source: corpus` makes the corpus of a model from scratch.
    """
    path = recipe_path(recipe)
    tree = load_tree(path, overrides or [])
    if "sources" not in tree and "data" in tree:
        say = to_stderr()
        told = partial(say.print, soft_wrap=True)
        print(prepare_corpus(validate(tree, TrainRecipe, str(path)), told, processes or len(os.sched_getaffinity(0))))
        return
    loaded = validate(tree, DataRecipe, str(path))
    manifest = prepared(loaded, processes, strict)
    if as_json:
        print(json.dumps(manifest))
        return
    show(manifest, to_stdout())
    to_stdout().print(f"\nin {loaded.folder}; next: codetune train RECIPE --set data.source={loaded.folder}", markup=False)


def push_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `codetune data prepare` wrote.")],
    to: Annotated[str, typer.Option(help="The data set on the hub, as user/name. It is made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Make a new one public. Mind the licences of what is in it.")] = False,
) -> None:
    """Upload a prepared folder to the Hugging Face hub."""
    from codetune.data.prepared.push import push

    print(push(folder, to, private=not public))


def _tokens(recipe: DataRecipe, config: TokensConfig, processes: int | None) -> Json:
    from codetune.models.load import load_tokenizer  # torch comes with it

    tokenizer = load_tokenizer(config.model)
    infilling = infilling_of(config.infilling, tokenizer.vocabulary, recipe.seed)
    maker = Maker(tokenizer.template(config.prompt_style), tokenizer, config.max_seq_len, config.loss_on, infilling)
    with _reporting(to_stderr()) as report:
        told = partial(_tell, report)
        return make_tokens(recipe.folder, maker, processes or len(os.sched_getaffinity(0)), told)


def _tell(report: Callable[[Stage], None], done: int, files: int) -> None:
    report(Stage("tokenise and pack", done / files))


def prepared(recipe: DataRecipe, processes: int | None, strict: bool) -> Json:
    """Everything that a recipe asks for, told on stderr; its account."""
    console = to_stderr()
    with _reporting(console) as report:
        manifest = prepare(recipe, processes or len(os.sched_getaffinity(0)), strict, report)
    if recipe.tokens is not None:
        manifest["tokens"] = _tokens(recipe, recipe.tokens, processes)
    return manifest


@contextmanager
def _reporting(console: Console) -> Iterator[Callable[[Stage], None]]:
    """A bar with the time left on a terminal; elsewhere a line every ten seconds and at each new stage."""
    started, told, last = time.monotonic(), [0.0], [""]
    with progress_bar(console, counts=False) as bars:
        bar = bars.add_task("", total=None)

        def report(stage: Stage) -> None:
            bars.update(bar, description=stage.name, completed=stage.share, total=1 if stage.share else None)
            now = time.monotonic()
            if not console.is_terminal and (stage.name != last[0] or now - told[0] > 10):
                last[0], told[0] = stage.name, now
                left = f": {stage.share:.0%}, {(now - started) / stage.share * (1 - stage.share):.0f} s left" if stage.share else ""
                console.print(f"{stage.name}{left}")

        yield report
